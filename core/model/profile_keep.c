// A profile with some of its samples: everything else as it was, ids and order too.
#include "model/profile.h"

#include <string.h>

#define COPY(ctx, from, to)                                                                        \
  copy_items((ctx), (from)->items, (from)->count * sizeof *(from)->items, (void **)&(to)->items,   \
             &(to)->room, &(to)->count, (from)->count, sizeof *(from)->items)

static tm_status copy_items(tm_ctx *ctx, const void *from, size_t bytes, void **to, size_t *room,
                            size_t *count, size_t n, size_t each) {
  TM_TRY(tm_vec_grow(ctx, to, room, n, each));
  if (bytes) memcpy(*to, from, bytes);
  *count = n;
  return TM_OK;
}

// In the order of their ids, which are the same then.
static tm_status copy_strings(tm_ctx *ctx, const tm_profile *from, tm_profile *to) {
  for (uint32_t id = 1; id < from->strings.count; id++) {
    uint32_t same;
    TM_TRY(tm_profile_intern(ctx, to, tm_strtab_text(&from->strings, id),
                             tm_strtab_length(&from->strings, id), &same));
  }
  return TM_OK;
}

static tm_status copy_tables(tm_ctx *ctx, const tm_profile *from, tm_profile *to) {
  TM_TRY(COPY(ctx, &from->types, &to->types));
  TM_TRY(COPY(ctx, &from->mappings, &to->mappings));
  TM_TRY(COPY(ctx, &from->functions, &to->functions));
  TM_TRY(COPY(ctx, &from->locations, &to->locations));
  TM_TRY(COPY(ctx, &from->lines, &to->lines));
  TM_TRY(COPY(ctx, &from->comments, &to->comments));
  TM_TRY(COPY(ctx, &from->stats, &to->stats));
  to->drop_frames = from->drop_frames;
  to->keep_frames = from->keep_frames;
  to->default_type = from->default_type;
  to->doc_url = from->doc_url;
  to->period_type = from->period_type;
  to->period = from->period;
  to->time_ns = from->time_ns;
  to->duration_ns = from->duration_ns;
  return TM_OK;
}

static tm_status copy_sample(tm_ctx *ctx, const tm_profile *from, uint32_t i, tm_profile *to) {
  for (uint32_t s = tm_profile_stack_begin(from, i); s < from->stack_end.items[i]; s++)
    TM_TRY(tm_vec_push(ctx, &to->stack, from->stack.items[s]));
  for (uint32_t l = tm_profile_label_begin(from, i); l < tm_profile_label_end(from, i); l++)
    TM_TRY(tm_vec_push(ctx, &to->labels, from->labels.items[l]));
  return tm_profile_end_sample(ctx, to, from->values.items + i * from->types.count);
}

tm_status tm_profile_keep(tm_ctx *ctx, const tm_profile *p, const bool *kept, tm_profile **out) {
  tm_profile *made;
  TM_TRY(tm_profile_new(ctx, &made));
  tm_status status = copy_strings(ctx, p, made);
  if (status == TM_OK) status = copy_tables(ctx, p, made);
  for (uint32_t i = 0; status == TM_OK && i < p->sample_count; i++)
    if (kept[i]) status = copy_sample(ctx, p, i, made);
  if (status != TM_OK) {
    tm_profile_free(made);
    return status;
  }
  *out = made;
  return TM_OK;
}
