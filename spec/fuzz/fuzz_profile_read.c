// floors: read
// Any bytes as a profile of every kind, and no more: ten times as many inputs as fuzz_pprof,
// which makes reports of them, too. A refusal says why and names a byte of the input.
#include "model/profile.h"
#include "read/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_profile(const tm_profile *p) {
  size_t text = 0;
  for (uint32_t s = 0; s < p->sample_count; s++) {
    for (uint32_t i = tm_profile_stack_begin(p, s); i < p->stack_end.items[s]; i++)
      if (p->stack.items[i] >= p->locations.count) abort();
    for (uint32_t i = tm_profile_label_begin(p, s); i < tm_profile_label_end(p, s); i++)
      text += strlen(tm_profile_text(p, p->labels.items[i].key));
  }
  for (size_t i = 0; i < p->locations.count; i++) {
    const tm_location *l = &p->locations.items[i];
    if (l->line_begin > l->line_end || l->line_end > p->lines.count) abort();
    if (l->mapping != TM_PROFILE_NONE && l->mapping >= p->mappings.count) abort();
  }
  for (size_t i = 0; i < p->lines.count; i++)
    if (p->lines.items[i].function >= p->functions.count) abort();
  for (size_t i = 0; i < p->functions.count; i++)
    text += strlen(tm_profile_text(p, p->functions.items[i].name));
  if (p->values.count != (size_t)p->sample_count * p->types.count || text > 1 << 28) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const formats[] = {NULL,         "pprof",     "pprof-text", "pprof-cpu",
                                        "pprof-java", "jemalloc",  "goroutines", "collapsed",
                                        "v8-profile", "speedscope"};
  uint8_t *copy = malloc(size ? size : 1); // so that ASan sees a read behind it
  if (!copy) abort();
  if (size) memcpy(copy, data, size);
  for (size_t i = 0; i < TM_COUNT(formats); i++) {
    tm_ctx ctx;
    tm_snapshot s = {0};
    tm_ctx_init(&ctx, NULL);
    ctx.max_output_bytes = 1 << 22;
    tm_status status = tm_read_buffer(&ctx, copy, size, formats[i], &s);
    if (status != TM_OK && !ctx.error.message[0]) abort();
    if (status == TM_OK && (s.kind == TM_KIND_PROFILE || s.kind == TM_KIND_GOROUTINES))
      check_profile(s.model);
    tm_snapshot_fini(&s);
    tm_ctx_fini(&ctx);
  }
  free(copy);
  return 0;
}
