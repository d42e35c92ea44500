// Durations are sorted within each name, so that every quantile is one look. Cost: O(n log n).
// Source: Hyndman and Fan 1996, type 7 (quantiles).
#include "analyze/trace_times.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct span { // a region or task that ended
  uint32_t name;
  bool task;
  int64_t ns;
} span;

typedef struct group { // all of one kind and name
  uint32_t name;
  bool task;
  int64_t count, open, total_ns;
  int64_t p50_ns, p95_ns, p99_ns, max_ns;
} group;

typedef TM_VEC(int64_t) times;

static int by_name(const void *a, const void *b) {
  const span *x = a, *y = b;
  if (x->task != y->task) return x->task ? 1 : -1;
  if (x->name != y->name) return x->name < y->name ? -1 : 1;
  return x->ns < y->ns ? -1 : x->ns > y->ns;
}

static int by_total(const void *a, const void *b) {
  const group *x = a, *y = b;
  if (x->total_ns != y->total_ns) return x->total_ns < y->total_ns ? 1 : -1;
  if (x->task != y->task) return x->task ? 1 : -1;
  return x->name < y->name ? -1 : x->name > y->name;
}

static int by_value(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? -1 : x > y;
}

// The q-quantile of n > 0 sorted values that stand `stride` bytes apart.
static int64_t quantile(const void *sorted, size_t stride, size_t n, double q) {
  double place = q * (double)(n - 1), whole = floor(place);
  const char *at = (const char *)sorted + (size_t)whole * stride;
  int64_t low, high;
  memcpy(&low, at, sizeof low);
  if ((size_t)whole + 1 >= n) return low;
  memcpy(&high, at + stride, sizeof high);
  return low + (int64_t)((place - whole) * (double)(high - low) + 0.5);
}

static tm_status add_columns(tm_ctx *ctx, tm_table *out, const char *const *names, size_t texts,
                             size_t counts, size_t total) {
  for (size_t i = 0; i < total; i++)
    TM_TRY(tm_table_add_column(ctx, out, names[i], i < texts ? TM_CELL_TEXT : TM_CELL_INT,
                               i < texts + counts ? TM_UNIT_COUNT : TM_UNIT_NS));
  return TM_OK;
}

static int64_t open_count(const tm_trace *t) {
  int64_t open = 0;
  for (size_t i = 0; i < t->regions.count; i++) open += t->regions.items[i].end_ns < 0;
  for (size_t i = 0; i < t->tasks.count; i++) open += t->tasks.items[i].end_ns < 0;
  return open;
}

static tm_status add_notes(tm_ctx *ctx, const tm_trace *t, tm_table *out) {
  TM_TRY(tm_table_note_int(ctx, out, "regions", (int64_t)t->regions.count));
  TM_TRY(tm_table_note_int(ctx, out, "tasks", (int64_t)t->tasks.count));
  TM_TRY(tm_table_note_int(ctx, out, "open", open_count(t)));
  TM_TRY(tm_table_note_int(ctx, out, "dropped", (int64_t)t->dropped_count));
  return tm_table_note_int(ctx, out, "duration_ns", t->duration_ns);
}

static tm_status set_name(tm_ctx *ctx, const tm_trace *t, tm_table *out, size_t row, bool task,
                          uint32_t name) {
  const char *kind = task ? "task" : "region";
  TM_TRY(tm_table_set_text(ctx, out, row, 0, kind, strlen(kind)));
  return tm_table_set_text(ctx, out, row, 1, tm_trace_text(t, name),
                           tm_strtab_length(&t->strings, name));
}

// ---- regions ----

typedef struct work {
  tm_ctx *ctx;
  const tm_trace *t;
  TM_VEC(span) spans; // ns -1 = open: sorts first
  TM_VEC(group) groups;
} work;

static tm_status collect(work *w) {
  const tm_trace *t = w->t;
  for (size_t i = 0; i < t->regions.count; i++) {
    const tm_trace_region *r = &t->regions.items[i];
    if (!r->began) continue;
    span s = {r->name, false, r->end_ns < 0 ? -1 : r->end_ns - r->begin_ns};
    TM_TRY(tm_vec_push(w->ctx, &w->spans, s));
  }
  for (size_t i = 0; i < t->tasks.count; i++) {
    const tm_trace_task *k = &t->tasks.items[i];
    if (!k->began) continue;
    int64_t ns = k->end_ns < 0 ? -1 : k->end_ns < k->begin_ns ? 0 : k->end_ns - k->begin_ns;
    TM_TRY(tm_vec_push(w->ctx, &w->spans, (span){k->name, true, ns}));
  }
  if (w->spans.count) qsort(w->spans.items, w->spans.count, sizeof *w->spans.items, by_name);
  return TM_OK;
}

static tm_status group_spans(work *w) {
  for (size_t i = 0, end; i < w->spans.count; i = end) {
    const span *s = &w->spans.items[i];
    group g = {.name = s->name, .task = s->task};
    for (end = i; end < w->spans.count && w->spans.items[end].name == s->name
                  && w->spans.items[end].task == s->task;
         end++) {
      int64_t ns = w->spans.items[end].ns;
      g.open += ns < 0;
      g.total_ns += ns < 0 ? 0 : ns;
    }
    size_t first = i + (size_t)g.open, n = end - first;
    g.count = (int64_t)n;
    if (n) {
      const int64_t *ns = &w->spans.items[first].ns;
      g.p50_ns = quantile(ns, sizeof *s, n, 0.50);
      g.p95_ns = quantile(ns, sizeof *s, n, 0.95);
      g.p99_ns = quantile(ns, sizeof *s, n, 0.99);
      g.max_ns = w->spans.items[end - 1].ns;
    }
    TM_TRY(tm_vec_push(w->ctx, &w->groups, g));
  }
  if (w->groups.count) qsort(w->groups.items, w->groups.count, sizeof *w->groups.items, by_total);
  return TM_OK;
}

static tm_status write_groups(const work *w, tm_table *out) {
  static const char *const names[] = {"kind",   "name",   "count",  "open",    "p50_ns",
                                      "p95_ns", "p99_ns", "max_ns", "total_ns"};
  TM_TRY(add_columns(w->ctx, out, names, 2, 2, TM_COUNT(names)));
  for (size_t i = 0; i < w->groups.count; i++) {
    const group *g = &w->groups.items[i];
    const int64_t cells[] = {g->count,  g->open,   g->p50_ns,  g->p95_ns,
                             g->p99_ns, g->max_ns, g->total_ns};
    size_t row;
    TM_TRY(tm_table_add_row(w->ctx, out, &row));
    TM_TRY(set_name(w->ctx, w->t, out, row, g->task, g->name));
    for (size_t c = 0; c < TM_COUNT(cells); c++) tm_table_set_int(out, row, 2 + c, cells[c]);
  }
  return add_notes(w->ctx, w->t, out);
}

tm_status tm_trace_regions(tm_ctx *ctx, const tm_trace *t, tm_table *out) {
  work w = {.ctx = ctx, .t = t};
  tm_status status = collect(&w);
  if (status == TM_OK) status = group_spans(&w);
  if (status == TM_OK) status = write_groups(&w, out);
  tm_vec_free(ctx, &w.spans);
  tm_vec_free(ctx, &w.groups);
  return status;
}

// ---- what did not end ----

typedef struct unfinished {
  int64_t begin_ns;
  uint64_t id, goroutine;
  uint32_t name;
  bool task;
} unfinished;

static int by_begin(const void *a, const void *b) {
  const unfinished *x = a, *y = b;
  if (x->begin_ns != y->begin_ns) return x->begin_ns < y->begin_ns ? -1 : 1;
  return x->id < y->id ? -1 : x->id > y->id;
}

static tm_status write_unfinished(tm_ctx *ctx, const tm_trace *t, const unfinished *list,
                                  size_t count, tm_table *out) {
  static const char *const names[] = {"kind", "name", "id", "goroutine", "begin_ns", "age_ns"};
  TM_TRY(add_columns(ctx, out, names, 2, 2, TM_COUNT(names)));
  for (size_t i = 0; i < count; i++) {
    const unfinished *u = &list[i];
    size_t row;
    TM_TRY(tm_table_add_row(ctx, out, &row));
    TM_TRY(set_name(ctx, t, out, row, u->task, u->name));
    tm_table_set_int(out, row, 2, (int64_t)u->id);
    tm_table_set_int(out, row, 3, (int64_t)u->goroutine);
    tm_table_set_int(out, row, 4, u->begin_ns);
    tm_table_set_int(out, row, 5, t->duration_ns - u->begin_ns);
  }
  return add_notes(ctx, t, out);
}

tm_status tm_trace_unfinished(tm_ctx *ctx, const tm_trace *t, tm_table *out) {
  TM_VEC(unfinished) list = {0};
  tm_status status = TM_OK;
  for (size_t i = 0; i < t->tasks.count && status == TM_OK; i++) {
    const tm_trace_task *k = &t->tasks.items[i];
    unfinished u = {k->begin_ns, k->id, 0, k->name, true};
    if (k->began && k->end_ns < 0) status = tm_vec_push(ctx, &list, u);
  }
  for (size_t i = 0; i < t->regions.count && status == TM_OK; i++) {
    const tm_trace_region *r = &t->regions.items[i];
    unfinished u = {r->begin_ns, r->task, r->goroutine, r->name, false};
    if (r->began && r->end_ns < 0) status = tm_vec_push(ctx, &list, u);
  }
  if (list.count) qsort(list.items, list.count, sizeof *list.items, by_begin);
  if (status == TM_OK) status = write_unfinished(ctx, t, list.items, list.count, out);
  tm_vec_free(ctx, &list);
  return status;
}

// ---- frames ----

static tm_status add_times(tm_ctx *ctx, const tm_trace *t, const tm_frames_options *o, times *marks,
                           times *taken) {
  for (size_t i = 0; o->region && i < t->regions.count; i++) {
    const tm_trace_region *r = &t->regions.items[i];
    if (!r->began || strcmp(tm_trace_text(t, r->name), o->region) != 0) continue;
    TM_TRY(tm_vec_push(ctx, marks, r->begin_ns));
    if (r->end_ns >= 0) TM_TRY(tm_vec_push(ctx, taken, r->end_ns - r->begin_ns));
  }
  for (size_t i = 0; o->log && i < t->logs.count; i++)
    if (strcmp(tm_trace_text(t, t->logs.items[i].key), o->log) == 0)
      TM_TRY(tm_vec_push(ctx, marks, t->logs.items[i].time_ns));
  if (marks->count) qsort(marks->items, marks->count, sizeof *marks->items, by_value);
  return TM_OK;
}

// Frames that a display of that rate shows within the interval, but for the one at its end.
static int64_t missed(int64_t interval_ns, double hertz) {
  int64_t fit = (int64_t)((double)interval_ns * hertz / 1e9 + 0.5);
  return fit > 1 ? fit - 1 : 0;
}

static tm_status add_measure(tm_ctx *ctx, tm_table *out, const char *what, times *values) {
  size_t row, n = values->count;
  TM_TRY(tm_table_add_row(ctx, out, &row));
  TM_TRY(tm_table_set_text(ctx, out, row, 0, what, strlen(what)));
  tm_table_set_int(out, row, 1, (int64_t)n);
  if (!n) return TM_OK;
  qsort(values->items, n, sizeof *values->items, by_value);
  static const double shares[] = {0.50, 0.95, 0.99, 1.0};
  for (size_t i = 0; i < TM_COUNT(shares); i++)
    tm_table_set_int(out, row, 2 + i, quantile(values->items, sizeof *values->items, n, shares[i]));
  return TM_OK;
}

typedef struct frame_work {
  times marks, taken, intervals, jitter;
} frame_work;

static tm_status measure_frames(tm_ctx *ctx, const tm_frames_options *o, frame_work *w,
                                tm_table *out) {
  static const char *const names[] = {"what", "count", "p50_ns", "p95_ns", "p99_ns", "max_ns"};
  int64_t pauses = 0, at_60hz = 0, at_120hz = 0, total = 0;
  for (size_t i = 1; i < w->marks.count; i++) {
    int64_t interval = w->marks.items[i] - w->marks.items[i - 1];
    if (o->pause_ns > 0 && interval > o->pause_ns) {
      pauses++;
      continue;
    }
    total += interval;
    at_60hz += missed(interval, 60);
    at_120hz += missed(interval, 120);
    TM_TRY(tm_vec_push(ctx, &w->intervals, interval));
  }
  TM_TRY(add_columns(ctx, out, names, 1, 1, TM_COUNT(names)));
  TM_TRY(add_measure(ctx, out, "interval", &w->intervals));
  for (size_t i = 0; i < w->intervals.count; i++) {
    int64_t off = w->intervals.items[i] - tm_table_int(out, 0, 2);
    TM_TRY(tm_vec_push(ctx, &w->jitter, off < 0 ? -off : off));
  }
  TM_TRY(add_measure(ctx, out, "jitter", &w->jitter));
  if (o->region) TM_TRY(add_measure(ctx, out, "work", &w->taken));
  TM_TRY(tm_table_note_int(ctx, out, "frames", (int64_t)w->marks.count));
  TM_TRY(tm_table_note_int(ctx, out, "pauses", pauses));
  double per_second = total > 0 ? (double)w->intervals.count * 1e9 / (double)total : 0;
  TM_TRY(tm_table_note_real(ctx, out, "per_second", per_second));
  TM_TRY(tm_table_note_int(ctx, out, "missed_60hz", at_60hz));
  return tm_table_note_int(ctx, out, "missed_120hz", at_120hz);
}

tm_status tm_trace_frames(tm_ctx *ctx, const tm_trace *t, const tm_frames_options *o,
                          tm_table *out) {
  if (!o->region == !o->log)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "frames are marked by a region or by a log key");
  frame_work w = {0};
  tm_status status = add_times(ctx, t, o, &w.marks, &w.taken);
  if (status == TM_OK && !w.marks.count)
    status = tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the trace has no %s \"%s\"",
                     o->region ? "region" : "log of key", o->region ? o->region : o->log);
  if (status == TM_OK) status = measure_frames(ctx, o, &w, out);
  times *all[] = {&w.marks, &w.taken, &w.intervals, &w.jitter};
  for (size_t i = 0; i < TM_COUNT(all); i++) tm_vec_free(ctx, all[i]);
  return status;
}
