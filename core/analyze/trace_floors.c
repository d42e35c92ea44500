// The runtime says how much is live at each allocation of a span and, with the world stopped, what
// a collection left: the last such word before a collection's end is its floor. The floors go
// through the gate that decides on leaks; with few of them only the slope is given.
// Source: the Go project's runtime/mgc.go (gcMarkTermination) and runtime/mgcpacer.go (resetLive).
#include "analyze/trace_floors.h"

#include "analyze/kendall.h"
#include "analyze/trend.h"

#include <math.h>

enum { FEW = 10 }; // the gate refuses fewer

typedef struct floors {
  TM_VEC(int64_t) time_ns;
  TM_VEC(double) bytes;
} floors;

// The last value at or before a time; *at moves on from call to call. 0 when there is none.
static int64_t value_at(const tm_trace_points *points, size_t *at, int64_t time_ns) {
  while (*at < points->count && points->items[*at].time_ns <= time_ns) (*at)++;
  return *at ? points->items[*at - 1].value : 0;
}

static tm_status write_rows(tm_ctx *ctx, const tm_trace *t, floors *f, tm_table *out) {
  const tm_trace_points *ends = &t->counters[TM_COUNTER_COLLECTIONS];
  size_t live_at = 0, goal_at = 0;
  TM_TRY(tm_table_add_column(ctx, out, "time_ns", TM_CELL_INT, TM_UNIT_NS));
  TM_TRY(tm_table_add_column(ctx, out, "live_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  TM_TRY(tm_table_add_column(ctx, out, "goal_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  TM_TRY(tm_table_add_column(ctx, out, "change_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  for (size_t i = 0; i < ends->count; i++) {
    int64_t time_ns = ends->items[i].time_ns;
    int64_t live = value_at(&t->counters[TM_COUNTER_HEAP_LIVE], &live_at, time_ns);
    int64_t goal = value_at(&t->counters[TM_COUNTER_HEAP_GOAL], &goal_at, time_ns);
    size_t row;
    if (!live_at) continue; // the trace began within this collection
    TM_TRY(tm_table_add_row(ctx, out, &row));
    tm_table_set_int(out, row, 0, time_ns);
    tm_table_set_int(out, row, 1, live);
    tm_table_set_int(out, row, 2, goal);
    if (row) tm_table_set_int(out, row, 3, live - tm_table_int(out, row - 1, 1));
    TM_TRY(tm_vec_push(ctx, &f->time_ns, time_ns));
    TM_TRY(tm_vec_push(ctx, &f->bytes, (double)live));
  }
  return TM_OK;
}

typedef struct verdict {
  const char *word, *reason;
  double slope_per_s, growth_ratio, p, level;
} verdict;

static tm_status judge_few(tm_ctx *ctx, const floors *f, verdict *out) {
  double time_s[TM_KENDALL_MAX];
  tm_kendall k;
  size_t n = f->bytes.count;
  for (size_t i = 0; i < n; i++) time_s[i] = (double)f->time_ns.items[i] / 1e9;
  TM_TRY(tm_kendall_compute(ctx, time_s, f->bytes.items, n, &k));
  double first = n ? f->bytes.items[0] : 0, last = n ? f->bytes.items[n - 1] : 0;
  *out = (verdict){.word = "unknown",
                   .reason = "fewer than ten collections: record a longer trace",
                   .slope_per_s = k.slope,
                   .growth_ratio = first > 0 ? last / first - 1 : 0,
                   .p = k.p,
                   .level = last};
  return TM_OK;
}

static tm_status judge(tm_ctx *ctx, const floors *f, verdict *out) {
  tm_trend trend;
  if (f->bytes.count < FEW) return judge_few(ctx, f, out);
  TM_TRY(tm_trend_compute(ctx, f->time_ns.items, f->bytes.items, f->bytes.count, NULL, &trend));
  *out = (verdict){.word = trend.leak ? "leak" : "steady",
                   .reason = trend.reason,
                   .slope_per_s = trend.slope_per_s,
                   .growth_ratio = trend.growth_ratio,
                   .p = trend.p,
                   .level = trend.level};
  return TM_OK;
}

static tm_status add_notes(tm_ctx *ctx, const tm_trace *t, const verdict *v, tm_table *out) {
  TM_TRY(tm_table_note_text(ctx, out, "verdict", v->word));
  TM_TRY(tm_table_note_text(ctx, out, "reason", v->reason));
  TM_TRY(tm_table_note_real(ctx, out, "slope_per_s", v->slope_per_s));
  TM_TRY(tm_table_note_real(ctx, out, "growth_ratio",
                            isfinite(v->growth_ratio) ? v->growth_ratio : 0));
  TM_TRY(tm_table_note_real(ctx, out, "p", v->p));
  TM_TRY(tm_table_note_int(ctx, out, "level_bytes", (int64_t)v->level));
  TM_TRY(tm_table_note_int(ctx, out, "collections", (int64_t)tm_table_row_count(out)));
  return tm_table_note_int(ctx, out, "duration_ns", t->duration_ns);
}

tm_status tm_trace_floors(tm_ctx *ctx, const tm_trace *t, tm_table *out) {
  floors f = {0};
  verdict v;
  tm_status status = write_rows(ctx, t, &f, out);
  if (status == TM_OK) status = judge(ctx, &f, &v);
  if (status == TM_OK) status = add_notes(ctx, t, &v, out);
  tm_vec_free(ctx, &f.time_ns);
  tm_vec_free(ctx, &f.bytes);
  return status;
}
