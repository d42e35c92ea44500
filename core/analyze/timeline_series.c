// Counters, frames and memory dumps of a timeline: folded in one pass each, with quantiles by
// sorting. O(n log n) for frames, O(n) for counters; memory rows are found by sorting, too.
#include "analyze/timeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static tm_status put_text(tm_ctx *ctx, tm_table *out, size_t row, size_t column, const char *text) {
  return tm_table_set_text(ctx, out, row, column, text, strlen(text));
}

typedef struct fold {
  uint64_t count;
  int64_t first_ns, last_ns;
  double first, last, least, greatest;
  double sum_t, sum_v, sum_tt, sum_tv; // times in seconds from the start
} fold;

static void fold_point(fold *f, const tm_tl_point *p) {
  double s = (double)p->time_ns / 1e9;
  if (!f->count || p->time_ns < f->first_ns) {
    f->first_ns = p->time_ns;
    f->first = p->value;
  }
  if (!f->count || p->time_ns >= f->last_ns) {
    f->last_ns = p->time_ns;
    f->last = p->value;
  }
  if (!f->count || p->value < f->least) f->least = p->value;
  if (!f->count || p->value > f->greatest) f->greatest = p->value;
  f->count++;
  f->sum_t += s;
  f->sum_v += p->value;
  f->sum_tt += s * s;
  f->sum_tv += s * p->value;
}

static double slope_of(const fold *f) {
  double n = (double)f->count, spread = n * f->sum_tt - f->sum_t * f->sum_t;
  double slope = spread > 1e-9 ? (n * f->sum_tv - f->sum_t * f->sum_v) / spread : 0;
  return isfinite(slope) ? slope : 0;
}

static bool in_span(tm_tl_span span, int64_t time_ns) {
  return time_ns >= span.from_ns && (!span.to_ns || time_ns <= span.to_ns);
}

int64_t tm_timeline_mark_ns(const tm_timeline *t, const char *name) {
  uint32_t id = tm_strtab_find(&t->strings, name, strlen(name));
  int64_t first_ns = -1;
  for (size_t i = 0; i < t->marks.count; i++) {
    const tm_tl_mark *m = &t->marks.items[i];
    if (m->name == id && (first_ns < 0 || m->time_ns < first_ns)) first_ns = m->time_ns;
  }
  return first_ns;
}

static tm_status note_pauses(tm_ctx *ctx, const tm_timeline *t, tm_tl_span span, tm_table *out) {
  uint32_t minor = tm_strtab_find(&t->strings, "MinorGC", 7);
  uint32_t major = tm_strtab_find(&t->strings, "MajorGC", 7);
  int64_t count = 0, total_ns = 0, longest_ns = 0;
  for (size_t i = 0; i < t->slices.count; i++) {
    const tm_tl_slice *s = &t->slices.items[i];
    if ((s->name != minor && s->name != major) || !in_span(span, s->begin_ns)) continue;
    int64_t took_ns = tm_tl_slice_end(t, s) - s->begin_ns;
    count++;
    total_ns += took_ns;
    if (took_ns > longest_ns) longest_ns = took_ns;
  }
  TM_TRY(tm_table_note_int(ctx, out, "collections", count));
  TM_TRY(tm_table_note_int(ctx, out, "pause_ns", total_ns));
  TM_TRY(tm_table_note_int(ctx, out, "longest_pause_ns", longest_ns));
  return tm_table_note_int(ctx, out, "duration_ns", t->duration_ns);
}

static tm_status put_series(tm_ctx *ctx, const tm_timeline *t, size_t series, const fold *f,
                            tm_table *out) {
  const tm_tl_thread *thread = &t->threads.items[t->series.items[series].thread];
  const double reals[] = {f->first, f->last,     f->last - f->first,
                          f->least, f->greatest, slope_of(f)};
  size_t row;
  TM_TRY(tm_table_add_row(ctx, out, &row));
  TM_TRY(put_text(ctx, out, row, 0, tm_timeline_text(t, t->series.items[series].name)));
  for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
    tm_table_set_real(out, row, 1 + i, reals[i]);
  tm_table_set_int(out, row, 7, (int64_t)f->count);
  tm_table_set_int(out, row, 8, thread->pid);
  TM_TRY(put_text(ctx, out, row, 9, tm_timeline_text(t, thread->process)));
  return put_text(ctx, out, row, 10, tm_timeline_text(t, thread->name));
}

tm_status tm_timeline_counters(tm_ctx *ctx, const tm_timeline *t, tm_tl_span span, bool constant,
                               tm_table *out) {
  static const char *const names[] = {"name",  "first",    "last",        "delta",
                                      "least", "greatest", "slope_per_s", "count",
                                      "pid",   "process",  "thread"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    TM_TRY(tm_table_add_column(ctx, out, names[i],
                               i == 0 || i > 8 ? TM_CELL_TEXT
                               : i < 7         ? TM_CELL_REAL
                                               : TM_CELL_INT,
                               TM_UNIT_NONE));
  fold *folds = tm_calloc(ctx, t->series.count + 1, sizeof *folds);
  if (!folds) return TM_E_NOMEM;
  for (size_t i = 0; i < t->points.count; i++)
    if (in_span(span, t->points.items[i].time_ns))
      fold_point(&folds[t->points.items[i].series], &t->points.items[i]);
  tm_status status = TM_OK;
  for (size_t i = 0; i < t->series.count && status == TM_OK; i++)
    if (folds[i].count && (constant || folds[i].least < folds[i].greatest))
      status = put_series(ctx, t, i, &folds[i], out);
  tm_free(ctx, folds, (t->series.count + 1) * sizeof *folds);
  return status == TM_OK ? note_pauses(ctx, t, span, out) : status;
}

// ---- frames ----

typedef struct presented {
  int64_t pid, end_ns, took_ns;
  uint32_t thread;
} presented;

typedef TM_VEC(presented) frame_list;

typedef struct frame_counts {
  int64_t frames, presented, partial, dropped, unwanted;
} frame_counts;

static int by_process_end(const void *left, const void *right) {
  const presented *a = left, *b = right;
  if (a->pid != b->pid) return a->pid < b->pid ? -1 : 1;
  return a->end_ns < b->end_ns ? -1 : a->end_ns > b->end_ns;
}

static int by_value(const void *left, const void *right) {
  int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
  return a < b ? -1 : a > b;
}

static tm_status take_frames(tm_ctx *ctx, const tm_timeline *t, frame_list *list,
                             frame_counts *counts) {
  uint32_t reporter = tm_strtab_find(&t->strings, "PipelineReporter", 16);
  for (size_t i = 0; i < t->asyncs.count; i++) {
    const tm_tl_async *a = &t->asyncs.items[i];
    if (a->name != reporter) continue;
    const char *state = tm_timeline_text(t, a->detail);
    counts->frames++;
    counts->partial += strstr(state, "PRESENTED_PARTIAL") != NULL;
    counts->presented += strstr(state, "PRESENTED_ALL") != NULL;
    counts->dropped += strstr(state, "DROPPED") != NULL;
    counts->unwanted += strstr(state, "NO_UPDATE") != NULL;
    if (!strstr(state, "PRESENTED") || a->end_ns < 0) continue;
    TM_TRY(tm_vec_push(ctx, list,
                       (presented){t->threads.items[a->thread].pid, a->end_ns,
                                   a->end_ns - a->begin_ns, a->thread}));
  }
  uint32_t dropped = tm_strtab_find(&t->strings, "DroppedFrame", 12);
  bool told = counts->dropped > 0; // each of those has a mark, too
  for (size_t i = 0; i < t->marks.count && !told; i++)
    if (t->marks.items[i].name == dropped) counts->dropped++;
  if (list->count) qsort(list->items, list->count, sizeof *list->items, by_process_end);
  return TM_OK;
}

static tm_status put_spread(tm_ctx *ctx, const tm_timeline *t, const char *what,
                            const presented *of, int64_t *values, size_t count, tm_table *out) {
  static const double quantiles[] = {0.5, 0.95, 0.99, 1};
  const tm_tl_thread *thread = &t->threads.items[of->thread];
  size_t row;
  if (!count) return TM_OK;
  qsort(values, count, sizeof *values, by_value);
  TM_TRY(tm_table_add_row(ctx, out, &row));
  TM_TRY(put_text(ctx, out, row, 0, what));
  tm_table_set_int(out, row, 1, thread->pid);
  TM_TRY(put_text(ctx, out, row, 2, tm_timeline_text(t, thread->process)));
  tm_table_set_int(out, row, 3, (int64_t)count);
  for (size_t i = 0; i < 4; i++) // nearest rank
    tm_table_set_int(out, row, 4 + i, values[(size_t)ceil(quantiles[i] * (double)count) - 1]);
  return TM_OK;
}

static tm_status put_process(tm_ctx *ctx, const tm_timeline *t, const presented *list, size_t count,
                             int64_t *values, tm_table *out) {
  for (size_t i = 0; i + 1 < count; i++) values[i] = list[i + 1].end_ns - list[i].end_ns;
  TM_TRY(put_spread(ctx, t, "interval", list, values, count - 1, out));
  for (size_t i = 0; i < count; i++) values[i] = list[i].took_ns;
  return put_spread(ctx, t, "latency", list, values, count, out);
}

static tm_status write_frames(tm_ctx *ctx, const tm_timeline *t, const frame_list *list,
                              const frame_counts *counts, tm_table *out) {
  static const char *const names[] = {"what",   "pid",    "process", "count",
                                      "p50_ns", "p95_ns", "p99_ns",  "max_ns"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    TM_TRY(tm_table_add_column(ctx, out, names[i], i == 0 || i == 2 ? TM_CELL_TEXT : TM_CELL_INT,
                               i > 3 ? TM_UNIT_NS : TM_UNIT_NONE));
  int64_t *values = tm_alloc(ctx, (list->count + 1) * sizeof *values);
  tm_status status = values ? TM_OK : TM_E_NOMEM;
  for (size_t begin = 0, end; begin < list->count && status == TM_OK; begin = end) {
    for (end = begin; end < list->count && list->items[end].pid == list->items[begin].pid;) end++;
    status = put_process(ctx, t, &list->items[begin], end - begin, values, out);
  }
  tm_free(ctx, values, (list->count + 1) * sizeof *values);
  TM_TRY(status);
  TM_TRY(tm_table_note_int(ctx, out, "frames", counts->frames));
  TM_TRY(tm_table_note_int(ctx, out, "presented", counts->presented));
  TM_TRY(tm_table_note_int(ctx, out, "partial", counts->partial));
  TM_TRY(tm_table_note_int(ctx, out, "dropped", counts->dropped));
  TM_TRY(tm_table_note_int(ctx, out, "not_desired", counts->unwanted));
  return tm_table_note_int(ctx, out, "duration_ns", t->duration_ns);
}

tm_status tm_timeline_frames(tm_ctx *ctx, const tm_timeline *t, tm_table *out) {
  frame_list list = {0};
  frame_counts counts = {0};
  tm_status status = take_frames(ctx, t, &list, &counts);
  if (status == TM_OK) status = write_frames(ctx, t, &list, &counts, out);
  tm_vec_free(ctx, &list);
  return status;
}

// ---- memory ----

typedef struct held {
  const tm_tl_memory *first, *last;
  int64_t pid, count;
  double most;
} held;

typedef TM_VEC(held) held_list;

static int by_allocator(const void *left, const void *right) {
  const held *a = left, *b = right;
  if (a->pid != b->pid) return a->pid < b->pid ? -1 : 1;
  if (a->first->name != b->first->name) return a->first->name < b->first->name ? -1 : 1;
  if (a->first->time_ns != b->first->time_ns) return a->first->time_ns < b->first->time_ns ? -1 : 1;
  return a->first < b->first ? -1 : a->first > b->first;
}

static int by_growth(const void *left, const void *right) {
  const held *a = left, *b = right;
  double x = a->last->bytes - a->first->bytes, y = b->last->bytes - b->first->bytes;
  if (x != y) return x > y ? -1 : 1;
  if (a->last->bytes != b->last->bytes) return a->last->bytes > b->last->bytes ? -1 : 1;
  return by_allocator(left, right);
}

static tm_status put_held(tm_ctx *ctx, const tm_timeline *t, const held *h, tm_table *out) {
  size_t row;
  TM_TRY(tm_table_add_row(ctx, out, &row));
  tm_table_set_int(out, row, 0, h->pid);
  TM_TRY(
      put_text(ctx, out, row, 1, tm_timeline_text(t, t->threads.items[h->first->thread].process)));
  TM_TRY(put_text(ctx, out, row, 2, tm_timeline_text(t, h->first->name)));
  const double bytes[] = {h->first->bytes, h->last->bytes, h->last->bytes - h->first->bytes,
                          h->most, h->last->objects < 0 ? 0 : h->last->objects};
  for (size_t i = 0; i < 5; i++)
    tm_table_set_int(out, row, 4 + i, fabs(bytes[i]) < 9e18 ? (int64_t)bytes[i] : 0);
  tm_table_set_int(out, row, 3, h->count);
  return TM_OK;
}

static tm_status write_memory(tm_ctx *ctx, const tm_timeline *t, held_list *list, tm_table *out) {
  static const char *const names[] = {"pid",          "process",     "name",
                                      "dumps",        "first_bytes", "last_bytes",
                                      "growth_bytes", "most_bytes",  "objects"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    TM_TRY(tm_table_add_column(ctx, out, names[i], i == 1 || i == 2 ? TM_CELL_TEXT : TM_CELL_INT,
                               i > 3 && i < 8 ? TM_UNIT_BYTES : TM_UNIT_NONE));
  size_t kept = 0;
  for (size_t i = 0; i < list->count; i++) {
    held *h = &list->items[i];
    held *last = kept ? &list->items[kept - 1] : NULL;
    if (last && last->pid == h->pid && last->first->name == h->first->name) {
      last->last = h->first;
      last->count++;
      if (h->first->bytes > last->most) last->most = h->first->bytes;
      continue;
    }
    list->items[kept++] = *h;
  }
  list->count = kept;
  if (kept) qsort(list->items, kept, sizeof *list->items, by_growth);
  for (size_t i = 0; i < kept; i++) TM_TRY(put_held(ctx, t, &list->items[i], out));
  return tm_table_note_int(ctx, out, "duration_ns", t->duration_ns);
}

tm_status tm_timeline_memory(tm_ctx *ctx, const tm_timeline *t, tm_tl_span span, tm_table *out) {
  held_list list = {0};
  tm_status status = TM_OK;
  for (size_t i = 0; i < t->memory.count && status == TM_OK; i++) {
    const tm_tl_memory *m = &t->memory.items[i];
    if (in_span(span, m->time_ns))
      status = tm_vec_push(ctx, &list, (held){m, m, t->threads.items[m->thread].pid, 1, m->bytes});
  }
  if (list.count) qsort(list.items, list.count, sizeof *list.items, by_allocator);
  if (status == TM_OK) status = write_memory(ctx, t, &list, out);
  tm_vec_free(ctx, &list);
  return status;
}
