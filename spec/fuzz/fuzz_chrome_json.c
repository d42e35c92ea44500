// floors: read analyze
// Any bytes as trace events of Chrome: read, read in part with an offset inside them, or refused;
// all that the model points to is there, no time is before the first, and every analysis answers.
#include "analyze/timeline.h"
#include "read/reader.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool right) {
  if (!right) abort();
}

static void check_model(const tm_timeline *t) {
  size_t threads = t->threads.count, strings = t->strings.count;
  check(t->duration_ns >= 0);
  for (size_t i = 0; i < t->slices.count; i++) {
    const tm_tl_slice *s = &t->slices.items[i];
    check(s->thread < threads && s->name < strings && s->category < strings && s->detail < strings);
    check(s->begin_ns >= 0 && tm_tl_slice_end(t, s) <= t->duration_ns && s->duration_ns >= -1);
  }
  for (size_t i = 0; i < t->asyncs.count; i++) {
    const tm_tl_async *a = &t->asyncs.items[i];
    check(a->thread < threads && a->name < strings && a->detail < strings);
    check(a->kind < TM_TL_KIND_COUNT && (a->end_ns == -1 || a->end_ns >= a->begin_ns));
    check(a->below == TM_TIMELINE_NONE || a->below < i);
  }
  for (size_t i = 0; i < t->points.count; i++) check(t->points.items[i].series < t->series.count);
  for (size_t i = 0; i < t->nodes.count; i++) {
    const tm_tl_node *n = &t->nodes.items[i];
    check((n->parent == TM_TIMELINE_NONE || n->parent < i) && n->function < strings);
  }
  for (size_t i = 0; i < t->samples.count; i++) {
    const tm_tl_sample *s = &t->samples.items[i];
    check((s->node == TM_TIMELINE_NONE || s->node < t->nodes.count) && s->thread < threads);
  }
}

static void check_analyses(tm_ctx *ctx, const tm_timeline *t) {
  tm_table *tables[5] = {NULL};
  tm_tl_tasks_options o = {0};
  for (size_t i = 0; i < 5; i++) check(tm_table_new(ctx, &tables[i]) == TM_OK);
  check(tm_timeline_tasks(ctx, t, &o, tables[0]) == TM_OK);
  check(tm_timeline_asyncs(ctx, t, tables[1]) == TM_OK);
  check(tm_timeline_counters(ctx, t, (tm_tl_span){0}, true, tables[2]) == TM_OK);
  check(tm_timeline_frames(ctx, t, tables[3]) == TM_OK);
  check(tm_timeline_memory(ctx, t, (tm_tl_span){0}, tables[4]) == TM_OK);
  for (size_t i = 0; i < 5; i++) tm_table_free(tables[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_snapshot s = {0};
  tm_ctx_init(&ctx, NULL);
  tm_source src = {.data = data, .size = size};
  tm_status status = tm_reader_named("chrome")->read(&ctx, &src, &s);
  check(status == TM_OK || *ctx.error.message);
  check((status == TM_OK) == (s.model && !s.partial));
  if (s.partial) check(s.model && s.problem.offset_bytes <= size);
  if (s.model) {
    check_model(s.model);
    check_analyses(&ctx, s.model);
  }
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return 0;
}
