// What the program itself wrote into a Go trace (regions, tasks, logs), and the counters. Batches
// of threads are read unordered, so the ends of regions are paired per goroutine when a generation
// is complete: runs of its marks sorted by (sequence number, file order), which is their exact
// order. All arrays have caps; what goes beyond is counted as dropped. Cost: O(n log n) of the
// marks.
#include "read/gotrace_impl.h"

#include <stdlib.h>
#include <string.h>

enum { CAP = 1 << 18 };

// ---- tasks, logs, marks ----

static tm_status find_task(go_reader *r, uint64_t id, tm_trace_task **out) {
  uint32_t slot = tm_idmap_get(&r->task_index, id);
  *out = NULL;
  if (slot == TM_IDMAP_NONE) {
    if (r->t->tasks.count >= CAP) {
      r->t->dropped_count++;
      return TM_OK;
    }
    tm_trace_task task = {.id = id, .end_ns = -1};
    TM_TRY(tm_vec_push(r->ctx, &r->t->tasks, task));
    slot = (uint32_t)r->t->tasks.count - 1;
    TM_TRY(tm_idmap_put(r->ctx, &r->task_index, id, slot));
  }
  *out = &r->t->tasks.items[slot];
  return TM_OK;
}

static tm_status on_task(go_reader *r, uint8_t type, const uint64_t *a, int64_t time_ns) {
  tm_trace_task *task;
  TM_TRY(find_task(r, a[1], &task));
  if (!task) return TM_OK;
  if (type == EV_TASK_END) {
    task->end_ns = time_ns;
    return TM_OK;
  }
  task->began = true;
  task->begin_ns = time_ns;
  task->parent = a[2];
  return go_string(r, a[3], &task->name);
}

tm_status go_log(go_reader *r, const tm_trace_log *log) {
  if (r->t->logs.count < CAP) return tm_vec_push(r->ctx, &r->t->logs, *log);
  r->t->dropped_count++;
  return TM_OK;
}

static tm_status on_log(go_reader *r, const uint64_t *a, const go_thread *m, int64_t time_ns) {
  tm_trace_log log = {.goroutine = m->goroutine_id, .task = a[1], .time_ns = time_ns};
  TM_TRY(go_string(r, a[2], &log.key));
  TM_TRY(go_string(r, a[3], &log.value));
  return go_log(r, &log);
}

static tm_status on_mark(go_reader *r, bool begin, const uint64_t *a, const go_thread *m,
                         int64_t time_ns) {
  r->regions_full = r->regions_full || r->marks.count >= CAP || r->t->regions.count >= CAP;
  if (r->regions_full) {
    r->t->dropped_count++;
    return TM_OK;
  }
  go_mark mark = {.goroutine = m->goroutine_id,
                  .seq = m->seq,
                  .task = a[1],
                  .time_ns = time_ns,
                  .begin = begin};
  TM_TRY(go_string(r, a[2], &mark.name));
  return tm_vec_push(r->ctx, &r->marks, mark);
}

tm_status go_user_event(go_reader *r, uint8_t type, const uint64_t *a, const go_thread *m,
                        int64_t time_ns) {
  switch (type) {
  case EV_TASK_BEGIN:
  case EV_TASK_END:
    return on_task(r, type, a, time_ns);
  case EV_REGION_BEGIN:
  case EV_REGION_END:
    return on_mark(r, type == EV_REGION_BEGIN, a, m, time_ns);
  case EV_LOG:
    return on_log(r, a, m, time_ns);
  default:
    return TM_OK;
  }
}

// ---- counters ----

tm_status go_count(go_reader *r, tm_trace_counter counter, int64_t time_ns, uint64_t value) {
  tm_trace_points *points = &r->t->counters[counter];
  if (points->count >= CAP) {
    r->t->dropped_count++;
    return TM_OK;
  }
  tm_trace_point point = {time_ns, value > INT64_MAX ? INT64_MAX : (int64_t)value};
  return tm_vec_push(r->ctx, points, point);
}

static int by_time(const void *a, const void *b) {
  const tm_trace_point *x = a, *y = b;
  return x->time_ns < y->time_ns ? -1 : x->time_ns > y->time_ns;
}

// ---- regions ----

static int by_goroutine(const void *a, const void *b) {
  const go_run *x = a, *y = b;
  if (x->goroutine != y->goroutine) return x->goroutine < y->goroutine ? -1 : 1;
  if (x->seq != y->seq) return x->seq < y->seq ? -1 : 1;
  return x->first < y->first ? -1 : 1;
}

// Marks are many and come in runs: only the runs are sorted.
static tm_status make_runs(go_reader *r) {
  r->runs.count = 0;
  for (uint32_t i = 0; i < r->marks.count; i++) {
    const go_mark *m = &r->marks.items[i];
    go_run *last = r->runs.count ? &r->runs.items[r->runs.count - 1] : NULL;
    if (last && last->goroutine == m->goroutine && last->seq == m->seq)
      last->count++;
    else
      TM_TRY(tm_vec_push(r->ctx, &r->runs, (go_run){m->goroutine, m->seq, i, 1}));
  }
  qsort(r->runs.items, r->runs.count, sizeof *r->runs.items, by_goroutine);
  return TM_OK;
}

static int by_owner(const void *a, const void *b) {
  const tm_trace_region *x = a, *y = b;
  if (x->goroutine != y->goroutine) return x->goroutine < y->goroutine ? -1 : 1;
  return x->begin_ns < y->begin_ns ? -1 : x->begin_ns > y->begin_ns;
}

// The marks of one goroutine, over its regions open since before, which stand in stack (top last).
static tm_status pair_marks(go_reader *r, const go_mark *marks, size_t count, size_t bottom) {
  for (size_t i = 0; i < count; i++) {
    const go_mark *m = &marks[i];
    tm_trace_region region = {m->goroutine, m->task, m->time_ns, -1, m->name, true};
    if (m->begin) {
      TM_TRY(tm_vec_push(r->ctx, &r->open_regions, region));
      continue;
    }
    if (r->open_regions.count > bottom) {
      region = r->open_regions.items[--r->open_regions.count];
    } else {
      region.began = false;
      region.begin_ns = 0;
    }
    region.end_ns = m->time_ns;
    TM_TRY(tm_vec_push(r->ctx, &r->t->regions, region));
  }
  return TM_OK;
}

// Merges by goroutine: `before` holds the regions open since earlier generations.
static tm_status pair_all(go_reader *r, const tm_trace_region *before, size_t before_count) {
  size_t b = 0, i = 0;
  while (b < before_count || i < r->runs.count) {
    const go_run *run = r->runs.items + i;
    bool has_run = i < r->runs.count;
    uint64_t g = b < before_count && (!has_run || before[b].goroutine < run->goroutine)
                     ? before[b].goroutine
                     : run->goroutine;
    size_t bottom = r->open_regions.count;
    while (b < before_count && before[b].goroutine == g)
      TM_TRY(tm_vec_push(r->ctx, &r->open_regions, before[b++]));
    for (; i < r->runs.count && run->goroutine == g; i++, run++)
      TM_TRY(pair_marks(r, &r->marks.items[run->first], run->count, bottom));
  }
  return TM_OK;
}

static tm_status close_regions(go_reader *r) {
  if (!r->marks.count) return TM_OK;
  TM_TRY(make_runs(r));
  size_t count = r->open_regions.count;
  if (count) qsort(r->open_regions.items, count, sizeof *r->open_regions.items, by_owner);
  tm_trace_region *before = r->open_regions.items;
  size_t room = r->open_regions.room;
  r->open_regions.items = NULL;
  r->open_regions.count = r->open_regions.room = 0;
  tm_status status = pair_all(r, before, count);
  tm_free(r->ctx, before, room * sizeof *before);
  r->marks.count = 0;
  return status;
}

tm_status go_close_users(go_reader *r) {
  for (size_t c = 0; c < TM_COUNTER_COUNT; c++) {
    tm_trace_points *points = &r->t->counters[c];
    size_t from = r->sorted_points[c];
    if (points->count > from)
      qsort(points->items + from, points->count - from, sizeof *points->items, by_time);
    r->sorted_points[c] = points->count;
  }
  return close_regions(r);
}

tm_status go_finish_users(go_reader *r) {
  if (r->regions_full) { // their ends may be among what was dropped
    r->t->dropped_count += r->open_regions.count;
    return TM_OK;
  }
  for (size_t i = 0; i < r->open_regions.count; i++)
    TM_TRY(tm_vec_push(r->ctx, &r->t->regions, r->open_regions.items[i]));
  return TM_OK;
}
