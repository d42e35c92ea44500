// Long tasks are asked for as people ask, put in order of thread and time, and each slice finds the
// task that it begins in by halving. O((slices + tasks) log tasks).
#include "analyze/timeline.h"

#include <stdlib.h>
#include <string.h>

typedef struct stretch {
  int64_t pid, tid, begin_ns, end_ns;
} stretch;

static int by_begin(const void *left, const void *right) {
  const stretch *a = left, *b = right;
  if (a->pid != b->pid) return a->pid < b->pid ? -1 : 1;
  if (a->tid != b->tid) return a->tid < b->tid ? -1 : 1;
  return a->begin_ns < b->begin_ns ? -1 : a->begin_ns > b->begin_ns;
}

static int64_t int_at(const tm_table *tasks, size_t row, const char *column) {
  return tm_table_int(tasks, row, tm_table_find_column(tasks, column));
}

// The stretch that the slice begins in; tasks of a thread do not overlap.
static const stretch *find(const stretch *list, size_t count, const tm_timeline *t,
                           const tm_tl_slice *s) {
  const tm_tl_thread *thread = &t->threads.items[s->thread];
  stretch key = {thread->pid, thread->tid, s->begin_ns, 0};
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (by_begin(&list[middle], &key) <= 0)
      low = middle + 1;
    else
      high = middle;
  }
  const stretch *found = low ? &list[low - 1] : NULL;
  bool inside =
      found && found->pid == key.pid && found->tid == key.tid && s->begin_ns < found->end_ns;
  return inside ? found : NULL;
}

static tm_status put_slice(tm_ctx *ctx, const tm_timeline *t, const tm_tl_slice *s, tm_table *out) {
  const tm_tl_thread *thread = &t->threads.items[s->thread];
  const uint32_t texts[] = {s->name, s->category, s->detail, thread->name};
  size_t row;
  TM_TRY(tm_table_add_row(ctx, out, &row));
  tm_table_set_int(out, row, 0, s->begin_ns);
  tm_table_set_int(out, row, 1, tm_tl_slice_end(t, s) - s->begin_ns);
  tm_table_set_int(out, row, 2, thread->pid);
  tm_table_set_int(out, row, 3, thread->tid);
  for (size_t i = 0; i < 4; i++) {
    const char *text = tm_timeline_text(t, texts[i]);
    TM_TRY(tm_table_set_text(ctx, out, row, 4 + i, text, strlen(text)));
  }
  return TM_OK;
}

static tm_status write_slices(tm_ctx *ctx, const tm_timeline *t, const tm_table *tasks,
                              stretch *list, tm_table *out) {
  static const char *const names[] = {"begin_ns", "duration_ns", "pid",    "tid",
                                      "name",     "category",    "detail", "thread"};
  size_t count = tm_table_row_count(tasks);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    TM_TRY(tm_table_add_column(ctx, out, names[i], i < 4 ? TM_CELL_INT : TM_CELL_TEXT,
                               i < 2 ? TM_UNIT_NS : TM_UNIT_NONE));
  for (size_t row = 0; row < count; row++) {
    int64_t begin_ns = int_at(tasks, row, "begin_ns");
    list[row] = (stretch){int_at(tasks, row, "pid"), int_at(tasks, row, "tid"), begin_ns,
                          begin_ns + int_at(tasks, row, "duration_ns")};
  }
  if (count) qsort(list, count, sizeof *list, by_begin);
  for (size_t i = 0; i < t->slices.count && count; i++)
    if (find(list, count, t, &t->slices.items[i]))
      TM_TRY(put_slice(ctx, t, &t->slices.items[i], out));
  return TM_OK;
}

tm_status tm_timeline_slices(tm_ctx *ctx, const tm_timeline *t, const tm_tl_tasks_options *options,
                             tm_table *out) {
  tm_table *tasks = NULL;
  stretch *list = NULL;
  tm_status status = tm_table_new(ctx, &tasks);
  if (status == TM_OK) status = tm_timeline_tasks(ctx, t, options, tasks);
  size_t bytes = status == TM_OK ? (tm_table_row_count(tasks) + 1) * sizeof *list : 0;
  if (status == TM_OK) {
    list = tm_alloc(ctx, bytes);
    status = list ? write_slices(ctx, t, tasks, list, out) : TM_E_NOMEM;
  }
  tm_free(ctx, list, bytes);
  tm_table_free(tasks);
  return status;
}
