// The slices of a thread, by begin and the longer first, are walked with a stack of those that are
// open: the outermost that is called a task is one, and the work below it is added by kind, each
// kind at its outermost slice only. O(n log n) for the order. CPU samples are searched by time.
#include "analyze/timeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONG_TASK_NS INT64_C(50000000)

typedef enum work {
  WORK_OTHER,
  WORK_TASK,
  WORK_SCRIPT,
  WORK_LAYOUT,
  WORK_STYLE,
  WORK_GC,
  WORK_HTML,
  WORKS
} work;

typedef struct long_task {
  const tm_tl_slice *slice;
  const tm_tl_slice *script; // the longest
  int64_t ns[WORKS], forced_ns, json_ns, hot_ns;
  uint32_t forced_count, hot_node;
} long_task;

typedef TM_VEC(long_task) task_list;

typedef struct spot { // an open slice
  int64_t end_ns;
  work work;
} spot;

typedef struct walk {
  const tm_timeline *t;
  uint8_t *works; // by string: what a slice of that name is
  TM_VEC(spot) open;
  uint32_t inside[WORKS]; // how many of each kind are open
  task_list tasks;
  tm_tl_sample *samples;
  long_task *current;
} walk;

typedef struct order_key {
  int64_t begin_ns, duration_ns;
  uint32_t thread, slice;
} order_key;

int64_t tm_tl_slice_end(const tm_timeline *t, const tm_tl_slice *s) {
  return s->duration_ns < 0 ? t->duration_ns : s->begin_ns + s->duration_ns;
}

static int by_place(const void *left, const void *right) {
  const order_key *a = left, *b = right;
  if (a->thread != b->thread) return a->thread < b->thread ? -1 : 1;
  if (a->begin_ns != b->begin_ns) return a->begin_ns < b->begin_ns ? -1 : 1;
  if (a->duration_ns != b->duration_ns) return a->duration_ns > b->duration_ns ? -1 : 1;
  return a->slice < b->slice ? -1 : a->slice > b->slice;
}

tm_status tm_timeline_order(tm_ctx *ctx, const tm_timeline *t, uint32_t **out) {
  size_t n = t->slices.count;
  *out = NULL;
  if (!n) return TM_OK;
  order_key *keys = tm_alloc(ctx, n * sizeof *keys);
  uint32_t *order = keys ? tm_alloc(ctx, n * sizeof *order) : NULL;
  if (!order) {
    tm_free(ctx, keys, n * sizeof *keys);
    return TM_E_NOMEM;
  }
  for (size_t i = 0; i < n; i++) {
    const tm_tl_slice *s = &t->slices.items[i];
    keys[i] = (order_key){s->begin_ns, tm_tl_slice_end(t, s) - s->begin_ns, s->thread, (uint32_t)i};
  }
  qsort(keys, n, sizeof *keys, by_place);
  for (size_t i = 0; i < n; i++) order[i] = keys[i].slice;
  tm_free(ctx, keys, n * sizeof *keys);
  *out = order;
  return TM_OK;
}

static void know(walk *w, const char *name, work is) {
  uint32_t id = tm_strtab_find(&w->t->strings, name, strlen(name));
  if (id != UINT32_MAX) w->works[id] = (uint8_t)is;
}

static void know_names(walk *w) {
  know(w, "RunTask", WORK_TASK);
  know(w, "ThreadControllerImpl::RunTask", WORK_TASK);
  know(w, "FunctionCall", WORK_SCRIPT);
  know(w, "EvaluateScript", WORK_SCRIPT);
  know(w, "v8.evaluateModule", WORK_SCRIPT);
  know(w, "v8.compile", WORK_SCRIPT);
  know(w, "RunMicrotasks", WORK_SCRIPT);
  know(w, "Layout", WORK_LAYOUT);
  know(w, "UpdateLayoutTree", WORK_STYLE);
  know(w, "RecalculateStyles", WORK_STYLE);
  know(w, "MinorGC", WORK_GC);
  know(w, "MajorGC", WORK_GC);
  know(w, "ParseHTML", WORK_HTML);
}

static void leave(walk *w, int64_t begin_ns) {
  while (w->open.count && w->open.items[w->open.count - 1].end_ns <= begin_ns) {
    w->inside[w->open.items[w->open.count - 1].work]--;
    w->open.count--;
  }
  if (!w->inside[WORK_TASK]) w->current = NULL;
}

static tm_status enter(tm_ctx *ctx, walk *w, const tm_tl_slice *s) {
  int64_t end_ns = tm_tl_slice_end(w->t, s), took_ns = end_ns - s->begin_ns;
  work is = (work)w->works[s->name];
  if (is == WORK_TASK && !w->inside[WORK_TASK]) {
    TM_TRY(tm_vec_push(ctx, &w->tasks, (long_task){.slice = s, .hot_node = TM_TIMELINE_NONE}));
    w->current = &w->tasks.items[w->tasks.count - 1];
  }
  if (w->current && is > WORK_TASK) {
    long_task *now = w->current;
    if (!w->inside[is]) now->ns[is] += took_ns;
    bool forced = w->inside[WORK_SCRIPT] && !w->inside[WORK_LAYOUT] && !w->inside[WORK_STYLE];
    if (forced && (is == WORK_LAYOUT || is == WORK_STYLE)) {
      now->forced_ns += took_ns;
      now->forced_count++;
    }
    if (is == WORK_SCRIPT && s->detail
        && (!now->script || took_ns > tm_tl_slice_end(w->t, now->script) - now->script->begin_ns))
      now->script = s;
  }
  if (is == WORK_OTHER) return TM_OK;
  w->inside[is]++;
  return tm_vec_push(ctx, &w->open, (spot){end_ns, is});
}

static bool is_wanted(const tm_timeline *t, uint32_t thread, const char *name) {
  return !name || strcmp(tm_timeline_text(t, t->threads.items[thread].name), name) == 0;
}

static tm_status walk_slices(tm_ctx *ctx, walk *w, const uint32_t *order, const char *thread) {
  uint32_t last = TM_TIMELINE_NONE;
  for (size_t i = 0; i < w->t->slices.count; i++) {
    const tm_tl_slice *s = &w->t->slices.items[order[i]];
    if (!is_wanted(w->t, s->thread, thread)) continue;
    if (s->thread != last) {
      w->open.count = 0;
      memset(w->inside, 0, sizeof w->inside);
      w->current = NULL;
      last = s->thread;
    }
    leave(w, s->begin_ns);
    TM_TRY(enter(ctx, w, s));
    if (i % 65536 == 0) TM_TRY(tm_ctx_tick(ctx, i));
  }
  return TM_OK;
}

static int by_duration(const void *left, const void *right) {
  const long_task *a = left, *b = right;
  int64_t x = a->slice->duration_ns, y = b->slice->duration_ns;
  if ((x < 0) != (y < 0)) return x < 0 ? -1 : 1; // one that did not end
  if (x != y) return x > y ? -1 : 1;
  return a->slice < b->slice ? -1 : a->slice > b->slice;
}

static int by_sample(const void *left, const void *right) {
  const tm_tl_sample *a = left, *b = right;
  if (a->thread != b->thread) return a->thread < b->thread ? -1 : 1;
  return a->time_ns < b->time_ns ? -1 : a->time_ns > b->time_ns;
}

static size_t first_sample(const walk *w, uint32_t thread, int64_t time_ns) {
  size_t low = 0, high = w->t->samples.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    tm_tl_sample key = {.time_ns = time_ns, .thread = thread};
    if (by_sample(&w->samples[middle], &key) < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static bool is_json(const tm_timeline *t, const tm_tl_node *n) {
  const char *name = tm_timeline_text(t, n->function);
  if (strncmp(name, "JSON.", 5) == 0) return true;
  return !*tm_timeline_text(t, n->url) && (!strcmp(name, "parse") || !strcmp(name, "stringify"));
}

// Each sample stands for the time to the next one. spent is zero for every node, before and after.
static void add_samples(walk *w, long_task *task, int64_t *spent) {
  const tm_tl_slice *s = task->slice;
  int64_t end_ns = tm_tl_slice_end(w->t, s);
  size_t begin = first_sample(w, s->thread, s->begin_ns), at = begin;
  for (; at < w->t->samples.count; at++) {
    const tm_tl_sample *sample = &w->samples[at];
    if (sample->thread != s->thread || sample->time_ns >= end_ns) break;
    if (sample->node >= w->t->nodes.count) continue;
    int64_t until_ns = end_ns;
    if (at + 1 < w->t->samples.count && sample[1].thread == s->thread && sample[1].time_ns < end_ns)
      until_ns = sample[1].time_ns;
    const tm_tl_node *node = &w->t->nodes.items[sample->node];
    if (is_json(w->t, node)) task->json_ns += until_ns - sample->time_ns;
    if (*tm_timeline_text(w->t, node->function) == '(') continue; // (program), (idle), (root)
    spent[sample->node] += until_ns - sample->time_ns;
    if (spent[sample->node] > task->hot_ns) {
      task->hot_ns = spent[sample->node];
      task->hot_node = sample->node;
    }
  }
  for (; begin < at; begin++)
    if (w->samples[begin].node < w->t->nodes.count) spent[w->samples[begin].node] = 0;
}

static tm_status put_text(tm_ctx *ctx, tm_table *out, size_t row, size_t column, const char *text) {
  return tm_table_set_text(ctx, out, row, column, text, strlen(text));
}

static tm_status put_hot(tm_ctx *ctx, const tm_timeline *t, const long_task *task, tm_table *out,
                         size_t row, size_t column) {
  if (task->hot_node == TM_TIMELINE_NONE) return TM_OK;
  const tm_tl_node *n = &t->nodes.items[task->hot_node];
  const char *name = tm_timeline_text(t, n->function), *url = tm_timeline_text(t, n->url);
  char text[512];
  int size = snprintf(text, sizeof text, *url ? "%.200s %.240s:%u" : "%.200s",
                      *name ? name : "(anonymous)", url, n->line);
  tm_table_set_int(out, row, column + 1, task->hot_ns);
  return tm_table_set_text(ctx, out, row, column, text, size > 0 ? strlen(text) : 0);
}

enum {
  BEGIN,
  DURATION,
  LONG,
  PID,
  TID,
  THREAD,
  SCRIPT,
  LAYOUT,
  STYLE,
  FORCED,
  FORCED_COUNT,
  GC,
  HTML,
  JSON,
  WORK,
  WORK_NS,
  HOT,
  HOT_NS
};

static tm_status add_columns(tm_ctx *ctx, tm_table *out) {
  static const struct {
    const char *name;
    tm_cell cell;
    tm_unit unit;
  } columns[] = {
      {"begin_ns", TM_CELL_INT, TM_UNIT_NS},        {"duration_ns", TM_CELL_INT, TM_UNIT_NS},
      {"long", TM_CELL_INT, TM_UNIT_COUNT},         {"pid", TM_CELL_INT, TM_UNIT_NONE},
      {"tid", TM_CELL_INT, TM_UNIT_NONE},           {"thread", TM_CELL_TEXT, TM_UNIT_NONE},
      {"script_ns", TM_CELL_INT, TM_UNIT_NS},       {"layout_ns", TM_CELL_INT, TM_UNIT_NS},
      {"style_ns", TM_CELL_INT, TM_UNIT_NS},        {"forced_ns", TM_CELL_INT, TM_UNIT_NS},
      {"forced_count", TM_CELL_INT, TM_UNIT_COUNT}, {"gc_ns", TM_CELL_INT, TM_UNIT_NS},
      {"html_ns", TM_CELL_INT, TM_UNIT_NS},         {"json_ns", TM_CELL_INT, TM_UNIT_NS},
      {"work", TM_CELL_TEXT, TM_UNIT_NONE},         {"work_ns", TM_CELL_INT, TM_UNIT_NS},
      {"hot", TM_CELL_TEXT, TM_UNIT_NONE},          {"hot_ns", TM_CELL_INT, TM_UNIT_NS}};
  for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
    TM_TRY(tm_table_add_column(ctx, out, columns[i].name, columns[i].cell, columns[i].unit));
  return TM_OK;
}

static tm_status put_task(tm_ctx *ctx, const tm_timeline *t, const long_task *task, tm_table *out) {
  const tm_tl_slice *s = task->slice;
  const tm_tl_thread *thread = &t->threads.items[s->thread];
  int64_t took_ns = tm_tl_slice_end(t, s) - s->begin_ns;
  size_t row;
  TM_TRY(tm_table_add_row(ctx, out, &row));
  tm_table_set_int(out, row, BEGIN, s->begin_ns);
  tm_table_set_int(out, row, DURATION, took_ns);
  tm_table_set_int(out, row, LONG, took_ns > LONG_TASK_NS);
  tm_table_set_int(out, row, PID, thread->pid);
  tm_table_set_int(out, row, TID, thread->tid);
  TM_TRY(put_text(ctx, out, row, THREAD, tm_timeline_text(t, thread->name)));
  tm_table_set_int(out, row, SCRIPT, task->ns[WORK_SCRIPT]);
  tm_table_set_int(out, row, LAYOUT, task->ns[WORK_LAYOUT]);
  tm_table_set_int(out, row, STYLE, task->ns[WORK_STYLE]);
  tm_table_set_int(out, row, FORCED, task->forced_ns);
  tm_table_set_int(out, row, FORCED_COUNT, task->forced_count);
  tm_table_set_int(out, row, GC, task->ns[WORK_GC]);
  tm_table_set_int(out, row, HTML, task->ns[WORK_HTML]);
  tm_table_set_int(out, row, JSON, task->json_ns);
  if (task->script) {
    TM_TRY(put_text(ctx, out, row, WORK, tm_timeline_text(t, task->script->detail)));
    tm_table_set_int(out, row, WORK_NS, tm_tl_slice_end(t, task->script) - task->script->begin_ns);
  }
  return put_hot(ctx, t, task, out, row, HOT);
}

static tm_status write_tasks(tm_ctx *ctx, walk *w, int64_t over_ns, int64_t *spent, tm_table *out) {
  const tm_timeline *t = w->t;
  int64_t long_count = 0;
  TM_TRY(add_columns(ctx, out));
  if (w->tasks.count) qsort(w->tasks.items, w->tasks.count, sizeof *w->tasks.items, by_duration);
  for (size_t i = 0; i < w->tasks.count; i++) {
    long_task *task = &w->tasks.items[i];
    int64_t took_ns = tm_tl_slice_end(t, task->slice) - task->slice->begin_ns;
    if (took_ns > LONG_TASK_NS) long_count++;
    if (took_ns <= over_ns) continue;
    add_samples(w, task, spent);
    TM_TRY(put_task(ctx, t, task, out));
  }
  TM_TRY(tm_table_note_int(ctx, out, "tasks", (int64_t)w->tasks.count));
  TM_TRY(tm_table_note_int(ctx, out, "long_tasks", long_count));
  TM_TRY(tm_table_note_int(ctx, out, "over_ns", over_ns));
  return tm_table_note_int(ctx, out, "duration_ns", t->duration_ns);
}

static const char *thread_to_watch(const tm_timeline *t, const char *wanted) {
  if (wanted) return wanted;
  for (size_t i = 0; i < t->threads.count; i++)
    if (is_wanted(t, (uint32_t)i, "CrRendererMain")) return "CrRendererMain";
  return NULL;
}

tm_status tm_timeline_tasks(tm_ctx *ctx, const tm_timeline *t, const tm_tl_tasks_options *o,
                            tm_table *out) {
  walk w = {.t = t};
  size_t sample_bytes = t->samples.count * sizeof *t->samples.items + 1;
  size_t spent_bytes = t->nodes.count * sizeof(int64_t) + 1;
  uint32_t *order = NULL;
  int64_t *spent = tm_calloc(ctx, 1, spent_bytes);
  w.works = tm_calloc(ctx, 1, t->strings.count + 1);
  w.samples = tm_alloc(ctx, sample_bytes);
  tm_status status = spent && w.works && w.samples ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK) status = tm_timeline_order(ctx, t, &order);
  if (status == TM_OK) {
    know_names(&w);
    if (t->samples.count) {
      memcpy(w.samples, t->samples.items, t->samples.count * sizeof *w.samples);
      qsort(w.samples, t->samples.count, sizeof *w.samples, by_sample);
    }
    status = walk_slices(ctx, &w, order, thread_to_watch(t, o->thread));
  }
  if (status == TM_OK) status = write_tasks(ctx, &w, o->over_ns, spent, out);
  tm_free(ctx, order, t->slices.count * sizeof *order);
  tm_free(ctx, w.works, t->strings.count + 1);
  tm_free(ctx, w.samples, sample_bytes);
  tm_free(ctx, spent, spent_bytes);
  tm_vec_free(ctx, &w.open);
  tm_vec_free(ctx, &w.tasks);
  return status;
}
