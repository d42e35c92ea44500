// The questions are asked as people ask them, and their tables become samples. Counters are walked
// once more for the least values of six equal parts. O(n log n) as the questions are.
#include "analyze/timeline_profile.h"

#include "analyze/timeline.h"
#include "base/idmap.h"

#include <stdio.h>
#include <string.h>

enum { COUNT, TIME, BEGAN, ENDED, VALUE, GROWTH, PARTS = 6, RISES = 3 };

#define LONG_TASK_NS INT64_C(50000000)

typedef struct maker {
  tm_ctx *ctx;
  const tm_timeline *t;
  tm_profile *p;
  tm_idmap locations; // string -> location
} maker;

tm_status tm_timeline_snapshot_types(tm_ctx *ctx, tm_profile *p) {
  static const char *const types[TM_TL_SNAPSHOT_TYPES][2] = {
      {"count", "count"}, {"time", "nanoseconds"}, {"began", "count"},
      {"ended", "count"}, {"value", "count"},      {"growth", "count"}};
  for (size_t i = 0; i < TM_TL_SNAPSHOT_TYPES; i++)
    TM_TRY(tm_profile_add_type(ctx, p, types[i][0], types[i][1]));
  return tm_profile_intern(ctx, p, "count", 5, &p->default_type);
}

static tm_status push_frame(maker *m, const char *name) {
  tm_profile *p = m->p;
  uint32_t id;
  TM_TRY(tm_profile_intern(m->ctx, p, name, strlen(name), &id));
  uint32_t at = tm_idmap_get(&m->locations, id);
  if (at == TM_IDMAP_NONE) {
    at = (uint32_t)p->locations.count;
    tm_function function = {.id = (uint64_t)at + 1, .name = id, .system_name = id};
    tm_location made = {
        .id = (uint64_t)at + 1, .mapping = TM_PROFILE_NONE, .line_begin = at, .line_end = at + 1};
    TM_TRY(tm_vec_push(m->ctx, &p->functions, function));
    TM_TRY(tm_vec_push(m->ctx, &p->lines, (tm_line){at, 0, 0}));
    TM_TRY(tm_vec_push(m->ctx, &p->locations, made));
    TM_TRY(tm_idmap_put(m->ctx, &m->locations, id, at));
  }
  return tm_vec_push(m->ctx, &p->stack, at);
}

static tm_status push_label(maker *m, const char *key, const char *text) {
  tm_label label = {0};
  if (!*text) return TM_OK;
  TM_TRY(tm_profile_intern(m->ctx, m->p, key, strlen(key), &label.key));
  TM_TRY(tm_profile_intern(m->ctx, m->p, text, strlen(text), &label.text));
  return tm_vec_push(m->ctx, &m->p->labels, label);
}

static tm_status add_stat(maker *m, const char *name, double value) {
  tm_profile_stat stat = {.value = value};
  TM_TRY(tm_profile_intern(m->ctx, m->p, name, strlen(name), &stat.name));
  return tm_vec_push(m->ctx, &m->p->stats, stat);
}

static int64_t note_of(const tm_table *table, const char *key) {
  for (size_t i = 0; i < tm_table_note_count(table); i++) {
    const tm_note *note = tm_table_note(table, i);
    if (strcmp(tm_table_string(table, note->key), key) == 0) return note->integer;
  }
  return 0;
}

static int64_t int_at(const tm_table *table, size_t row, const char *column) {
  return tm_table_int(table, row, tm_table_find_column(table, column));
}

static const char *text_at(const tm_table *table, size_t row, const char *column) {
  return tm_table_text(table, row, tm_table_find_column(table, column));
}

// ---- tasks ----

static const char *work_of(const tm_table *tasks, size_t row) {
  static const char *const kinds[][2] = {
      {"layout_ns", "layout"}, {"style_ns", "style"}, {"gc_ns", "collection"}, {"html_ns", "html"}};
  const char *work = text_at(tasks, row, "work");
  if (!*work) work = text_at(tasks, row, "hot");
  if (*work) return work;
  int64_t most = int_at(tasks, row, "duration_ns") / 4;
  work = "other";
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    int64_t took = int_at(tasks, row, kinds[i][0]);
    if (took <= most) continue;
    most = took;
    work = kinds[i][1];
  }
  return work;
}

static tm_status add_tasks(maker *m, tm_table *tasks) {
  const tm_tl_tasks_options options = {.over_ns = LONG_TASK_NS};
  TM_TRY(tm_timeline_tasks(m->ctx, m->t, &options, tasks));
  for (size_t row = 0; row < tm_table_row_count(tasks); row++) {
    const char *work = work_of(tasks, row);
    int64_t values[TM_TL_SNAPSHOT_TYPES] = {
        [COUNT] = 1, [TIME] = int_at(tasks, row, "duration_ns")};
    TM_TRY(push_frame(m, work));
    TM_TRY(push_label(m, "what", "task"));
    TM_TRY(push_label(m, "work", work));
    TM_TRY(push_label(m, "thread", text_at(tasks, row, "thread")));
    TM_TRY(tm_profile_end_sample(m->ctx, m->p, values));
  }
  TM_TRY(add_stat(m, "Tasks", (double)note_of(tasks, "tasks")));
  return add_stat(m, "LongTasks", (double)note_of(tasks, "long_tasks"));
}

// ---- operations ----

static tm_status add_asyncs(maker *m, tm_table *asyncs) {
  static const char *const labels[] = {"kind", "name", "detail", "owner", "process"};
  TM_TRY(tm_timeline_asyncs(m->ctx, m->t, asyncs));
  for (size_t row = 0; row < tm_table_row_count(asyncs); row++) {
    if (int_at(asyncs, row, "eternal")) continue;
    const char *owner = text_at(asyncs, row, "owner");
    int64_t open = int_at(asyncs, row, "count"), ended = int_at(asyncs, row, "ended");
    int64_t values[TM_TL_SNAPSHOT_TYPES] = {
        [COUNT] = open, [BEGAN] = open + ended, [ENDED] = ended};
    TM_TRY(push_frame(m, *owner ? owner : text_at(asyncs, row, "name")));
    TM_TRY(push_label(m, "what", "async"));
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++)
      TM_TRY(push_label(m, labels[i], text_at(asyncs, row, labels[i])));
    TM_TRY(tm_profile_end_sample(m->ctx, m->p, values));
  }
  return TM_OK;
}

// ---- counters ----

typedef struct parts {
  double floors[PARTS], ends[PARTS]; // least and last value of each part
  int64_t at[PARTS];                 // when the last was
  bool any[PARTS];
  bool seen;
  int64_t first_ns; // from where the parts count
} parts;

static void note_first(parts *of, const tm_tl_point *p) {
  if (!of->seen || p->time_ns < of->first_ns) of->first_ns = p->time_ns;
  of->seen = true;
}

static void note_point(parts *of, const tm_timeline *t, const tm_tl_point *p) {
  int64_t part_ns = (t->duration_ns - of->first_ns) / PARTS + 1;
  int64_t part = (p->time_ns - of->first_ns) / part_ns;
  if (part >= PARTS) part = PARTS - 1; // a point after the last event that spreads time
  if (!of->any[part] || p->value < of->floors[part]) of->floors[part] = p->value;
  if (!of->any[part] || p->time_ns >= of->at[part]) {
    of->ends[part] = p->value;
    of->at[part] = p->time_ns;
  }
  of->any[part] = true;
}

// A part without a point goes on with the value before it.
static double steady_growth(const parts *of) {
  double floor = 0, value = 0, first = 0;
  int rises = 0;
  for (int i = 0; i < PARTS; i++) {
    double least = of->any[i] ? of->floors[i] : value;
    if (of->any[i]) value = of->ends[i];
    if (i == 1) first = least;
    if (i > 1 && least < floor) return 0;
    bool rose = i > 1 && least > floor;
    rises += rose;
    if (i == PARTS - 1 && !rose) return 0; // it stands still by now
    floor = least;
  }
  return rises >= RISES && value > first ? value - first : 0;
}

static double last_value(const parts *of) {
  for (int i = PARTS - 1; i >= 0; i--)
    if (of->any[i]) return of->ends[i];
  return 0;
}

static int64_t whole(double value) {
  return value > -9e18 && value < 9e18 ? (int64_t)value : 0;
}

static tm_status add_counters(maker *m, parts *all) {
  const tm_timeline *t = m->t;
  for (size_t i = 0; i < t->points.count; i++)
    note_first(&all[t->points.items[i].series], &t->points.items[i]);
  for (size_t i = 0; i < t->points.count; i++)
    note_point(&all[t->points.items[i].series], t, &t->points.items[i]);
  for (size_t i = 0; i < t->series.count; i++) {
    const tm_tl_thread *thread = &t->threads.items[t->series.items[i].thread];
    const char *name = tm_timeline_text(t, t->series.items[i].name);
    int64_t values[TM_TL_SNAPSHOT_TYPES] = {
        [VALUE] = whole(last_value(&all[i])), [GROWTH] = whole(steady_growth(&all[i]))};
    char pid[24];
    snprintf(pid, sizeof pid, "%lld", (long long)thread->pid);
    TM_TRY(push_frame(m, name));
    TM_TRY(push_label(m, "what", "counter"));
    TM_TRY(push_label(m, "name", name));
    TM_TRY(push_label(m, "pid", pid));
    TM_TRY(push_label(m, "process", tm_timeline_text(t, thread->process)));
    TM_TRY(tm_profile_end_sample(m->ctx, m->p, values));
  }
  return TM_OK;
}

static tm_status add_health(maker *m, tm_table *frames, tm_table *counters) {
  TM_TRY(tm_timeline_frames(m->ctx, m->t, frames));
  TM_TRY(tm_timeline_counters(m->ctx, m->t, (tm_tl_span){0}, false, counters));
  TM_TRY(add_stat(m, "Frames", (double)note_of(frames, "frames")));
  TM_TRY(add_stat(m, "Dropped", (double)note_of(frames, "dropped")));
  TM_TRY(add_stat(m, "Collections", (double)note_of(counters, "collections")));
  TM_TRY(add_stat(m, "PauseSeconds", (double)note_of(counters, "pause_ns") / 1e9));
  return add_stat(m, "Seconds", (double)m->t->duration_ns / 1e9);
}

static tm_status fill(maker *m) {
  tm_table *tables[4] = {NULL};
  size_t part_bytes = (m->t->series.count + 1) * sizeof(parts);
  parts *all = tm_calloc(m->ctx, 1, part_bytes);
  tm_status status = all ? tm_timeline_snapshot_types(m->ctx, m->p) : TM_E_NOMEM;
  for (size_t i = 0; i < 4 && status == TM_OK; i++) status = tm_table_new(m->ctx, &tables[i]);
  if (status == TM_OK) status = add_tasks(m, tables[0]);
  if (status == TM_OK) status = add_asyncs(m, tables[1]);
  if (status == TM_OK) status = add_counters(m, all);
  if (status == TM_OK) status = add_health(m, tables[2], tables[3]);
  for (size_t i = 0; i < 4; i++) tm_table_free(tables[i]);
  tm_free(m->ctx, all, part_bytes);
  return status;
}

tm_status tm_timeline_snapshot(tm_ctx *ctx, const tm_timeline *t, tm_profile **out) {
  maker m = {.ctx = ctx, .t = t};
  *out = NULL;
  TM_TRY(tm_profile_new(ctx, &m.p));
  m.p->duration_ns = t->duration_ns;
  tm_status status = fill(&m);
  tm_idmap_free(ctx, &m.locations);
  if (status == TM_OK)
    *out = m.p;
  else
    tm_profile_free(m.p);
  return status;
}
