// Operations, each with the script that was running on its thread when it began: slices of a thread
// nest, so that one pass over both by time keeps the open scripts on a stack. Equal ones are folded
// by sorting; of those all of which ended nothing is told. O(n log n).
#include "analyze/timeline.h"

#include <stdlib.h>
#include <string.h>

typedef struct orphan {
  const tm_tl_async *async;
  uint32_t owner; // string
  uint32_t count, ended_count, fired_count;
} orphan;

typedef TM_VEC(orphan) orphan_list;

static int by_moment(const void *left, const void *right) {
  const orphan *a = left, *b = right;
  if (a->async->thread != b->async->thread) return a->async->thread < b->async->thread ? -1 : 1;
  if (a->async->begin_ns != b->async->begin_ns)
    return a->async->begin_ns < b->async->begin_ns ? -1 : 1;
  return a->async < b->async ? -1 : a->async > b->async;
}

static int compare_groups(const orphan *a, const orphan *b) {
  const uint32_t x[] = {a->async->kind, a->async->name,   a->async->detail,
                        a->owner,       a->async->thread, a->async->repeats};
  const uint32_t y[] = {b->async->kind, b->async->name,   b->async->detail,
                        b->owner,       b->async->thread, b->async->repeats};
  for (size_t i = 0; i < sizeof x / sizeof *x; i++)
    if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
  return 0;
}

static int by_group(const void *left, const void *right) {
  const orphan *a = left, *b = right;
  int order = compare_groups(a, b);
  return order ? order : by_moment(left, right);
}

static int by_age(const void *left, const void *right) {
  const orphan *a = left, *b = right;
  if (a->async->begin_ns != b->async->begin_ns)
    return a->async->begin_ns < b->async->begin_ns ? -1 : 1;
  return by_group(left, right);
}

typedef struct scripts {
  uint32_t function, evaluate; // strings
  TM_VEC(const tm_tl_slice *) open;
} scripts;

static bool is_script(const scripts *s, const tm_tl_slice *slice) {
  return (slice->name == s->function || slice->name == s->evaluate) && slice->detail;
}

// The innermost script that is open at a moment, after those that ended before have gone.
static uint32_t owner_at(const tm_timeline *t, scripts *s, int64_t time_ns) {
  while (s->open.count && tm_tl_slice_end(t, s->open.items[s->open.count - 1]) < time_ns)
    s->open.count--;
  return s->open.count ? s->open.items[s->open.count - 1]->detail : 0;
}

static tm_status find_owners(tm_ctx *ctx, const tm_timeline *t, orphan_list *list,
                             const uint32_t *order, scripts *s) {
  size_t at = 0;
  uint32_t thread = TM_TIMELINE_NONE;
  for (size_t i = 0; i < list->count; i++) {
    orphan *o = &list->items[i];
    if (o->async->thread != thread) s->open.count = 0;
    thread = o->async->thread;
    for (; at < t->slices.count; at++) {
      const tm_tl_slice *slice = &t->slices.items[order[at]];
      if (slice->thread > thread
          || (slice->thread == thread && slice->begin_ns > o->async->begin_ns))
        break;
      if (slice->thread < thread || !is_script(s, slice)) continue;
      owner_at(t, s, slice->begin_ns);
      TM_TRY(tm_vec_push(ctx, &s->open, slice));
    }
    uint32_t script = owner_at(t, s, o->async->begin_ns);
    o->owner = o->async->owner ? o->async->owner : script ? script : o->async->page;
  }
  return TM_OK;
}

static tm_status collect(tm_ctx *ctx, const tm_timeline *t, orphan_list *list) {
  for (size_t i = 0; i < t->asyncs.count; i++) {
    const tm_tl_async *a = &t->asyncs.items[i];
    bool open = a->end_ns < 0;
    TM_TRY(tm_vec_push(ctx, list, (orphan){a, 0, open, !open, open ? a->fired_count : 0}));
  }
  if (list->count) qsort(list->items, list->count, sizeof *list->items, by_moment);
  return TM_OK;
}

// Equal ones become the oldest of them that is open; without one they go.
static void fold(orphan_list *list) {
  size_t kept = 0;
  if (!list->count) return;
  qsort(list->items, list->count, sizeof *list->items, by_group);
  for (size_t begin = 0, end; begin < list->count; begin = end) {
    orphan all = list->items[begin];
    for (end = begin + 1; end < list->count; end++) {
      const orphan *o = &list->items[end];
      if (compare_groups(&all, o) != 0) break;
      if (!all.count) all.async = o->async;
      all.count += o->count;
      all.ended_count += o->ended_count;
      all.fired_count += o->fired_count;
    }
    if (all.count) list->items[kept++] = all;
  }
  list->count = kept;
  if (kept) qsort(list->items, kept, sizeof *list->items, by_age);
}

// Whether it is none of a page's script: the browser's own, or one that no trace sees end.
static bool is_eternal(const tm_timeline *t, const orphan *o) {
  static const char *const names[] = {
      "Animation",          "AnyPageLoading",
      "AttachedPage",       "COOKIE_STORE_ALIVE",
      "FocusedPageLoading", "LayerTreeHostImpl::SetVisible",
      "LayerTreeHostSize",  "PageLoadMetrics.NavigationToLargestContentfulPaint",
      "VisiblePageLoading"};
  const tm_tl_async *a = o->async;
  if (a->kind != TM_TL_ASYNC)
    return strncmp(tm_timeline_text(t, a->detail), "chrome", 6) == 0
           || strncmp(tm_timeline_text(t, o->owner), "chrome://", 9) == 0
           || strstr(tm_timeline_text(t, o->owner), " chrome://");
  if (!strstr(tm_timeline_text(t, a->category), "blink")) return true;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(tm_timeline_text(t, a->name), names[i]) == 0) return true;
  return false;
}

static tm_status put_text(tm_ctx *ctx, tm_table *out, size_t row, size_t column, const char *text) {
  return tm_table_set_text(ctx, out, row, column, text, strlen(text));
}

static tm_status put_orphan(tm_ctx *ctx, const tm_timeline *t, const orphan *o, tm_table *out) {
  static const char *const kinds[TM_TL_KIND_COUNT] = {
      "async", "timer", "animation frame", "websocket", "request", "fetch", "xhr", "eventsource"};
  const tm_tl_async *a = o->async;
  const tm_tl_thread *thread = &t->threads.items[a->thread];
  size_t row;
  TM_TRY(tm_table_add_row(ctx, out, &row));
  tm_table_set_int(out, row, 0, t->duration_ns - a->begin_ns);
  tm_table_set_int(out, row, 1, a->begin_ns);
  TM_TRY(put_text(ctx, out, row, 2, kinds[a->kind]));
  TM_TRY(put_text(ctx, out, row, 3, tm_timeline_text(t, a->name)));
  TM_TRY(put_text(ctx, out, row, 4, tm_timeline_text(t, a->detail)));
  TM_TRY(put_text(ctx, out, row, 5, tm_timeline_text(t, o->owner)));
  tm_table_set_int(out, row, 6, o->fired_count);
  tm_table_set_int(out, row, 7, a->repeats);
  tm_table_set_int(out, row, 8, o->count);
  tm_table_set_int(out, row, 9, thread->pid);
  TM_TRY(put_text(ctx, out, row, 10, tm_timeline_text(t, thread->process)));
  TM_TRY(put_text(ctx, out, row, 11, tm_timeline_text(t, thread->name)));
  TM_TRY(put_text(ctx, out, row, 12, tm_timeline_text(t, a->category)));
  tm_table_set_int(out, row, 13, o->ended_count);
  tm_table_set_int(out, row, 14, is_eternal(t, o));
  return TM_OK;
}

static tm_status write_orphans(tm_ctx *ctx, const tm_timeline *t, orphan_list *list,
                               tm_table *out) {
  static const char *const numbers = "age_ns begin_ns fired repeats count pid ended eternal";
  static const char *const names[] = {"age_ns",  "begin_ns", "kind",     "name",  "detail",
                                      "owner",   "fired",    "repeats",  "count", "pid",
                                      "process", "thread",   "category", "ended", "eternal"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    TM_TRY(tm_table_add_column(ctx, out, names[i],
                               strstr(numbers, names[i]) ? TM_CELL_INT : TM_CELL_TEXT,
                               i < 2 ? TM_UNIT_NS : TM_UNIT_NONE));
  int64_t open = 0;
  for (size_t i = 0; i < list->count; i++) open += list->items[i].count;
  fold(list);
  for (size_t i = 0; i < list->count; i++) TM_TRY(put_orphan(ctx, t, &list->items[i], out));
  TM_TRY(tm_table_note_int(ctx, out, "open", open));
  TM_TRY(tm_table_note_int(ctx, out, "ended", (int64_t)t->asyncs.count - open));
  return tm_table_note_int(ctx, out, "duration_ns", t->duration_ns);
}

tm_status tm_timeline_asyncs(tm_ctx *ctx, const tm_timeline *t, tm_table *out) {
  orphan_list list = {0};
  scripts s = {.function = tm_strtab_find(&t->strings, "FunctionCall", 12),
               .evaluate = tm_strtab_find(&t->strings, "EvaluateScript", 14)};
  uint32_t *order = NULL;
  tm_status status = collect(ctx, t, &list);
  if (status == TM_OK && list.count) status = tm_timeline_order(ctx, t, &order);
  if (status == TM_OK) status = find_owners(ctx, t, &list, order, &s);
  if (status == TM_OK) status = write_orphans(ctx, t, &list, out);
  tm_free(ctx, order, t->slices.count * sizeof *order);
  tm_vec_free(ctx, &s.open);
  tm_vec_free(ctx, &list);
  return status;
}
