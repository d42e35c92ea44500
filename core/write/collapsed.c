// Collapsed stacks: what flame graph scripts and speedscope read. One pass, one line per sample.
#include "write/collapsed.h"

static tm_status put_name(tm_ctx *ctx, tm_bytes *out, const char *name, size_t length) {
  size_t begin = out->size;
  if (length) TM_TRY(tm_bytes_append(ctx, out, name, length));
  for (size_t i = begin; i < out->size; i++)
    if (out->data[i] == ';' || out->data[i] == '\n' || out->data[i] == '\r') out->data[i] = '_';
  return TM_OK;
}

static tm_status put_location(tm_ctx *ctx, const tm_profile *p, const tm_location *loc, bool *first,
                              tm_bytes *out) {
  if (loc->line_begin == loc->line_end) {
    TM_TRY(
        tm_bytes_printf(ctx, out, "%s0x%llx", *first ? "" : ";", (unsigned long long)loc->address));
    *first = false;
  }
  for (uint32_t k = loc->line_end; k > loc->line_begin; k--) {
    uint32_t name = p->functions.items[p->lines.items[k - 1].function].name;
    if (!*first) TM_TRY(tm_bytes_append(ctx, out, ";", 1));
    TM_TRY(put_name(ctx, out, tm_profile_text(p, name), tm_strtab_length(&p->strings, name)));
    *first = false;
  }
  return TM_OK;
}

tm_status tm_write_collapsed(tm_ctx *ctx, const tm_profile *p, uint32_t value_index,
                             tm_bytes *out) {
  for (uint32_t s = 0; s < p->sample_count; s++) {
    int64_t value = p->values.items[(size_t)s * p->types.count + value_index];
    uint32_t begin = tm_profile_stack_begin(p, s);
    bool first = true;
    if (!value || begin == p->stack_end.items[s]) continue;
    for (uint32_t i = p->stack_end.items[s]; i > begin; i--)
      TM_TRY(put_location(ctx, p, &p->locations.items[p->stack.items[i - 1]], &first, out));
    TM_TRY(tm_bytes_printf(ctx, out, " %lld\n", (long long)value));
  }
  return TM_OK;
}
