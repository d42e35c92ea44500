// Plain arrays of events over one table of strings: 40 bytes a slice, 24 a point of a counter.
#include "model/timeline.h"

tm_status tm_timeline_new(tm_ctx *ctx, tm_timeline **out) {
  tm_timeline *t = tm_calloc(ctx, 1, sizeof *t);
  if (!t) return TM_E_NOMEM;
  t->alloc = ctx->alloc;
  tm_strtab_init(&t->strings, &ctx->alloc, 0);
  uint32_t id;
  tm_status status = tm_strtab_intern(ctx, &t->strings, "", 0, &id);
  if (status != TM_OK) {
    tm_timeline_free(t);
    return status;
  }
  *out = t;
  return TM_OK;
}

void tm_timeline_free(tm_timeline *t) {
  if (!t) return;
  tm_ctx ctx = {.alloc = t->alloc};
  tm_strtab_fini(&t->strings);
  tm_vec_free(&ctx, &t->threads);
  tm_vec_free(&ctx, &t->slices);
  tm_vec_free(&ctx, &t->asyncs);
  tm_vec_free(&ctx, &t->series);
  tm_vec_free(&ctx, &t->points);
  tm_vec_free(&ctx, &t->marks);
  tm_vec_free(&ctx, &t->nodes);
  tm_vec_free(&ctx, &t->samples);
  tm_vec_free(&ctx, &t->memory);
  tm_free(&ctx, t, sizeof *t);
}
