// A profile is a handful of growing arrays that point into each other by index; see profile.h.
// Building is append-only. Freeing costs one call per array.
#include "model/profile.h"

#include <stdlib.h>
#include <string.h>

tm_status tm_profile_new(tm_ctx *ctx, tm_profile **out) {
  tm_profile *p = tm_calloc(ctx, 1, sizeof *p);
  if (!p) return TM_E_NOMEM;
  p->alloc = ctx->alloc;
  tm_strtab_init(&p->strings, &ctx->alloc, 0);
  uint32_t empty;
  if (tm_strtab_intern(ctx, &p->strings, "", 0, &empty) != TM_OK) {
    tm_profile_free(p);
    return TM_E_NOMEM;
  }
  *out = p;
  return TM_OK;
}

void tm_profile_free(tm_profile *p) {
  if (!p) return;
  tm_ctx ctx = {.alloc = p->alloc}; // the arrays remember no allocator of their own
  tm_vec_free(&ctx, &p->types);
  tm_vec_free(&ctx, &p->mappings);
  tm_vec_free(&ctx, &p->functions);
  tm_vec_free(&ctx, &p->locations);
  tm_vec_free(&ctx, &p->lines);
  tm_vec_free(&ctx, &p->values);
  tm_vec_free(&ctx, &p->stack);
  tm_vec_free(&ctx, &p->stack_end);
  tm_vec_free(&ctx, &p->labels);
  tm_vec_free(&ctx, &p->label_end);
  tm_vec_free(&ctx, &p->comments);
  tm_vec_free(&ctx, &p->stats);
  tm_strtab_fini(&p->strings);
  tm_free(&ctx, p, sizeof *p);
}

tm_status tm_profile_intern(tm_ctx *ctx, tm_profile *p, const char *text, size_t length,
                            uint32_t *out_id) {
  return tm_strtab_intern(ctx, &p->strings, text, length, out_id);
}

tm_status tm_profile_add_type(tm_ctx *ctx, tm_profile *p, const char *type, const char *unit) {
  tm_value_type t;
  TM_TRY(tm_profile_intern(ctx, p, type, strlen(type), &t.type));
  TM_TRY(tm_profile_intern(ctx, p, unit, strlen(unit), &t.unit));
  return tm_vec_push(ctx, &p->types, t);
}

// label_end stays empty until the first label, then says 0 for all samples before it.
static tm_status end_labels(tm_ctx *ctx, tm_profile *p) {
  if (!p->labels.count) return TM_OK;
  TM_TRY(tm_vec_reserve(ctx, &p->label_end, p->sample_count + 1 - p->label_end.count));
  while (p->label_end.count < p->sample_count) p->label_end.items[p->label_end.count++] = 0;
  p->label_end.items[p->label_end.count++] = (uint32_t)p->labels.count;
  return TM_OK;
}

tm_status tm_profile_end_sample(tm_ctx *ctx, tm_profile *p, const int64_t *values) {
  if (p->stack.count >= UINT32_MAX || p->sample_count >= UINT32_MAX - 1)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "over 4 G frames in one profile");
  TM_TRY(tm_vec_reserve(ctx, &p->values, p->types.count));
  if (p->types.count)
    memcpy(p->values.items + p->values.count, values, p->types.count * sizeof *values);
  TM_TRY(tm_vec_push(ctx, &p->stack_end, (uint32_t)p->stack.count));
  TM_TRY(end_labels(ctx, p));
  p->values.count += p->types.count;
  p->sample_count++;
  return TM_OK;
}

// The types' names, for an error message.
static void list_types(const tm_profile *p, char *buf, size_t size) {
  size_t at = 0;
  buf[0] = '\0';
  for (size_t i = 0; i < p->types.count && at + 1 < size; i++) {
    const char *name = tm_profile_text(p, p->types.items[i].type);
    for (const char *s = i ? ", " : ""; *s && at + 1 < size; s++) buf[at++] = *s;
    for (; *name && at + 1 < size; name++) buf[at++] = *name;
    buf[at] = '\0';
  }
}

static bool is_type(const tm_profile *p, size_t i, const char *name) {
  return strcmp(tm_profile_text(p, p->types.items[i].type), name) == 0;
}

tm_status tm_profile_sample_index(tm_ctx *ctx, const tm_profile *p, const char *name,
                                  uint32_t *out_index) {
  if (!p->types.count)
    return tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET, "the profile has no sample types");
  *out_index = (uint32_t)(p->types.count - 1);
  if (!name || !*name) {
    for (size_t i = 0; p->default_type && i < p->types.count; i++)
      if (p->types.items[i].type == p->default_type) {
        *out_index = (uint32_t)i;
        break;
      }
    return TM_OK;
  }
  char *end, types[200];
  long long number = strtoll(name, &end, 10);
  if (end != name && !*end) {
    if (number < 0 || (size_t)number >= p->types.count)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "sample_index %s is outside 0..%zu", name,
                     p->types.count - 1);
    *out_index = (uint32_t)number;
    return TM_OK;
  }
  const char *bare = strncmp(name, "inuse_", 6) == 0 ? name + 6 : name;
  for (size_t i = 0; i < p->types.count; i++)
    if (is_type(p, i, name) || is_type(p, i, bare)) {
      *out_index = (uint32_t)i;
      return TM_OK;
    }
  list_types(p, types, sizeof types);
  return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "sample_index \"%s\" is none of: %s", name, types);
}
