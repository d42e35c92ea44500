// floors: read analyze
// Any bytes as a Go execution trace of any version: read, read in part with an offset inside them,
// or refused; what is read can be counted, and all that the model points to is there. Its order is
// checked, and one that is right has the goroutines that were read.
#include "analyze/goroutines.h"
#include "analyze/trace_profile.h"
#include "read/gotrace.h"
#include "read/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_model(const tm_trace *t) {
  for (size_t i = 0; i < t->goroutines.count; i++) {
    const tm_goroutine *g = &t->goroutines.items[i];
    if (g->site >= t->stacks.count || g->creation >= t->stacks.count) abort();
    if (g->entry >= t->strings.count || g->reason >= t->strings.count) abort();
    if (i && g[-1].id >= g->id) abort();
    for (size_t s = 0; s < TM_GO_STATE_COUNT; s++)
      if (g->state_ns[s] < 0 || g->state_ns[s] > t->duration_ns) abort();
  }
  for (size_t i = 0; i < t->stacks.count; i++)
    if (t->stacks.items[i].end > t->frames.count) abort();
  if (t->duplicate_count > t->batch_count) abort();
}

// What rules see: every goroutine of the program once, and all that began and ended.
static void check_snapshot(tm_ctx *ctx, const tm_trace *t) {
  tm_profile *p;
  uint64_t alive = 0, created = 0, counted[4] = {0}; // hostile times add up to more than 63 bits
  if (tm_trace_snapshot(ctx, t, &p) != TM_OK || p->types.count != 4) abort();
  for (size_t i = 0; i < t->goroutines.count; i++) {
    const tm_goroutine *g = &t->goroutines.items[i];
    alive += !g->foreign && !tm_goroutine_is_system(tm_trace_text(t, g->entry));
  }
  for (size_t i = 0; i < t->piles.count; i++)
    if (!t->piles.items[i].foreign
        && !tm_goroutine_is_system(tm_trace_text(t, t->piles.items[i].entry)))
      created += t->piles.items[i].created_count;
  for (size_t i = 0; i < p->values.count; i++) counted[i % 4] += (uint64_t)p->values.items[i];
  if (counted[0] != alive || counted[2] != created) abort();
  tm_profile_free(p);
}

static void check_order(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_gotrace_verdict v;
  tm_ctx_init(&ctx, NULL);
  tm_source src = {.data = data, .size = size};
  tm_trace *waits = NULL;
  tm_status status = tm_gotrace_check(&ctx, &src, &v, size % 2 ? &waits : NULL);
  for (size_t i = 0; waits && i < waits->waits.count; i++)
    if (waits->waits.items[i].site >= waits->stacks.count
        || waits->waits.items[i].reason >= waits->strings.count)
      abort();
  tm_trace_free(waits);
  if (status != TM_OK && !*ctx.error.message) abort();
  if (status == TM_OK && !v.valid
      && (!*v.problem.message || v.problem.status != TM_E_FORMAT || v.problem.offset_bytes > size))
    abort();
  if (v.ended_count > v.event_count || v.duplicate_count > v.batch_count) abort();
  tm_ctx_fini(&ctx);
}

// Fed in pieces it must come to the same goroutines as at once.
static void check_stream(const uint8_t *data, size_t size, const tm_trace *whole) {
  tm_ctx ctx;
  tm_gotrace_stream *stream;
  const tm_trace *t;
  tm_ctx_init(&ctx, NULL);
  if (tm_gotrace_stream_new(&ctx, &stream) != TM_OK) abort();
  size_t step = size % 97 + 1;
  tm_status status = TM_OK;
  for (size_t at = 0; at < size && status == TM_OK; at += step)
    status = tm_gotrace_stream_feed(&ctx, stream, data + at, size - at < step ? size - at : step);
  if (status == TM_OK) status = tm_gotrace_stream_end(&ctx, stream);
  if (status != TM_OK && !*ctx.error.message) abort();
  tm_ctx_clear(&ctx);
  if (tm_gotrace_stream_trace(&ctx, stream, &t) != TM_OK) abort();
  if (whole && whole->format_version >= 22 && !whole->duplicate_count
      && (status != TM_OK || t->goroutines.count != whole->goroutines.count
          || t->event_count != whole->event_count))
    abort();
  tm_gotrace_stream_free(stream);
  tm_ctx_fini(&ctx);
}

static void check_repair(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_bytes out = {0};
  tm_gotrace_repair done;
  tm_ctx_init(&ctx, NULL);
  tm_source src = {.data = data, .size = size};
  if (tm_gotrace_repaired(&ctx, &src, &out, &done) == TM_OK
      && (out.size > size + done.batch_count || done.cut_bytes > size))
    abort();
  tm_bytes_free(&ctx, &out);
  tm_ctx_fini(&ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  check_order(data, size);
  check_repair(data, size);
  tm_snapshot s = {0};
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_read_buffer(&ctx, data, size, "gotrace", &s);
  if (status != TM_OK && !*ctx.error.message) abort();
  if (status != TM_OK && ctx.error.offset_bytes != TM_NO_OFFSET && ctx.error.offset_bytes > size
      && !(size > 1 && data[0] == 0x1f)) // of packed input it is the offset in the unpacked bytes
    abort();
  bool packed = size > 3 && (data[0] == 0x1f || data[0] == 0x28);
  if (!packed) check_stream(data, size, status == TM_OK ? s.model : NULL);
  if (s.model) {
    tm_table *table;
    tm_goroutines_options o = {.stacks = size % 2, .gone = size % 3 == 0};
    check_model(s.model);
    tm_ctx_clear(&ctx);
    if (tm_table_new(&ctx, &table) != TM_OK) abort();
    if (tm_goroutines_of_trace(&ctx, s.model, &o, table) != TM_OK) abort();
    tm_table_free(table);
    check_snapshot(&ctx, s.model);
  }
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return 0;
}
