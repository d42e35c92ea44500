// Takes the events of a generation in order. Each thread's batches are one stream; a heap of the
// streams by the time of their next event says whose is tried first. When that event has to wait,
// the others are tried by time; when all wait, no order exists and the trace is broken. Times only
// guide the search: they may lie. Cost: O(log threads) per event, O(threads) per one that waits.
// Source: the Go project's internal/trace (reader.go).
#include "read/gotrace_order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void go_order_fini(tm_ctx *ctx, go_order *o) {
  tm_vec_free(ctx, &o->gs);
  tm_vec_free(ctx, &o->free_gs);
  tm_vec_free(ctx, &o->ps);
  tm_vec_free(ctx, &o->ms);
  tm_vec_free(ctx, &o->regions);
  tm_vec_free(ctx, &o->stws);
  tm_vec_free(ctx, &o->cursors);
  tm_vec_free(ctx, &o->next_batch);
  tm_vec_free(ctx, &o->heap);
  tm_idmap *maps[] = {&o->g_index, &o->p_index,      &o->m_index,
                      &o->tasks,   &o->cursor_index, &o->wait_index};
  for (size_t i = 0; i < TM_COUNT(maps); i++) tm_idmap_free(ctx, maps[i]);
}

tm_status go_add_wait(go_reader *r, uint32_t site, uint32_t reason, int64_t ns) {
  uint64_t key = (uint64_t)site << 32 | reason;
  uint32_t at = tm_idmap_get(&r->order->wait_index, key);
  if (at == TM_IDMAP_NONE) {
    at = (uint32_t)r->t->waits.count;
    TM_TRY(tm_vec_push(r->ctx, &r->t->waits, (tm_trace_wait){.site = site, .reason = reason}));
    TM_TRY(tm_idmap_put(r->ctx, &r->order->wait_index, key, at));
  }
  tm_trace_wait *w = &r->t->waits.items[at];
  w->count++;
  w->total_ns = (int64_t)((uint64_t)w->total_ns + (uint64_t)(ns > 0 ? ns : 0)); // may lie: wraps
  return TM_OK;
}

// ---- streams ----

static tm_status thread_of(go_reader *r, uint64_t m, uint32_t *out) {
  go_order *o = r->order;
  *out = NO_NODE;
  if (m == NO_ID) return TM_OK;
  *out = tm_idmap_get(&o->m_index, m);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  go_m thread = {.id = m, .g = NO_ID, .p = NO_ID};
  TM_TRY(tm_vec_push(r->ctx, &o->ms, thread));
  *out = (uint32_t)o->ms.count - 1;
  return tm_idmap_put(r->ctx, &o->m_index, m, *out);
}

// Chains the batches of each thread, in the order of the file.
static tm_status make_cursors(go_reader *r) {
  go_order *o = r->order;
  o->cursors.count = o->next_batch.count = 0;
  tm_idmap_free(r->ctx, &o->cursor_index);
  for (uint32_t i = 0; i < r->batches.count; i++) {
    const go_batch *b = &r->batches.items[i];
    TM_TRY(tm_vec_push(r->ctx, &o->next_batch, NO_NODE));
    if (!b->events) continue;
    uint32_t at = tm_idmap_get(&o->cursor_index, b->m);
    if (at != TM_IDMAP_NONE) {
      o->next_batch.items[o->cursors.items[at].last_batch] = i;
      o->cursors.items[at].last_batch = i;
      continue;
    }
    go_cursor c = {
        .time = b->time, .at = b->data, .end = b->data + b->size, .batch = i, .last_batch = i};
    c.event = c.at;
    TM_TRY(thread_of(r, b->m, &c.thread));
    TM_TRY(tm_idmap_put(r->ctx, &o->cursor_index, b->m, (uint32_t)o->cursors.count));
    TM_TRY(tm_vec_push(r->ctx, &o->cursors, c));
  }
  return TM_OK;
}

// The next event of the stream. False at its end, or with a problem.
static bool next_event(go_reader *r, go_cursor *c) {
  while (c->at == c->end) {
    uint32_t next = r->order->next_batch.items[c->batch];
    if (next == NO_NODE) return false;
    const go_batch *b = &r->batches.items[next];
    c->batch = next;
    c->time = b->time;
    c->at = b->data;
    c->end = b->data + b->size;
  }
  c->event = c->at;
  c->type = *c->at;
  if (!go_take_event(r, &c->at, c->end, c->args)) {
    go_problem(r, c->event, r->args[c->type] ? "an event is cut" : "an event is of no known type");
    return false;
  }
  c->time += c->args[0];
  return true;
}

// ---- the heap ----

static bool earlier(const go_order *o, size_t a, size_t b) {
  return o->cursors.items[o->heap.items[a]].time < o->cursors.items[o->heap.items[b]].time;
}

static void swap(go_order *o, size_t a, size_t b) {
  uint32_t kept = o->heap.items[a];
  o->heap.items[a] = o->heap.items[b];
  o->heap.items[b] = kept;
}

static void sift_down(go_order *o, size_t i) {
  for (;;) {
    size_t least = i, left = 2 * i + 1;
    if (left < o->heap.count && earlier(o, left, least)) least = left;
    if (left + 1 < o->heap.count && earlier(o, left + 1, least)) least = left + 1;
    if (least == i) return;
    swap(o, i, least);
    i = least;
  }
}

static void sift_up(go_order *o, size_t i) {
  for (; i && earlier(o, i, (i - 1) / 2); i = (i - 1) / 2) swap(o, i, (i - 1) / 2);
}

static void sort_heap(go_order *o) { // nearly sorted already; a sorted array is a heap
  for (size_t i = 1; i < o->heap.count; i++)
    for (size_t k = i; k && earlier(o, k, k - 1); k--) swap(o, k, k - 1);
}

// ---- taking events ----

// Arguments that must be ids of stacks and strings of the generation, as bits, by type.
static const uint8_t stack_args[EV_EXPERIMENT] = {[EV_PROCS] = 4,
                                                  [EV_GO_CREATE] = 12,
                                                  [EV_GO_STOP] = 4,
                                                  [EV_GO_BLOCK] = 4,
                                                  [EV_GO_UNBLOCK] = 8,
                                                  [EV_STW_BEGIN] = 4,
                                                  [EV_GC_BEGIN] = 4,
                                                  [EV_GO_SYSCALL_BEGIN] = 4,
                                                  [EV_SWEEP_BEGIN] = 2,
                                                  [EV_ASSIST_BEGIN] = 2,
                                                  [EV_TASK_BEGIN] = 16,
                                                  [EV_TASK_END] = 4,
                                                  [EV_REGION_BEGIN] = 8,
                                                  [EV_REGION_END] = 8,
                                                  [EV_LOG] = 16,
                                                  [EV_GO_CREATE_BLOCKED] = 12,
                                                  [EV_GO_STATUS_STACK] = 16};
static const uint8_t string_args[EV_EXPERIMENT] = {
    [EV_GO_STOP] = 2,    [EV_GO_BLOCK] = 2,     [EV_STW_BEGIN] = 2,  [EV_GO_LABEL] = 2,
    [EV_TASK_BEGIN] = 8, [EV_REGION_BEGIN] = 4, [EV_REGION_END] = 4, [EV_LOG] = 12};

static bool known_ids(const go_ids *ids, unsigned bits, const uint64_t *args) {
  for (int i = 1; bits >> i; i++)
    if ((bits >> i & 1) && args[i] && go_ids_get(ids, args[i]) == TM_IDMAP_NONE) return false;
  return true;
}

static void check_ids(go_reader *r, const go_cursor *c) {
  if (c->type >= EV_EXPERIMENT || r->order->cut) return;
  if (!known_ids(&r->stack_index, stack_args[c->type], c->args))
    go_problem(r, c->event, "an event names a stack that its generation does not have");
  if (!known_ids(&r->string_index, string_args[c->type], c->args))
    go_problem(r, c->event, "an event names a string that its generation does not have");
}

// Tries the event of the stream at place i of the heap.
static tm_status try_one(go_reader *r, size_t i, go_step *step) {
  go_order *o = r->order;
  go_cursor *c = &o->cursors.items[o->heap.items[i]];
  *step = go_advance(r, o, c);
  if (*step == GO_WAITS) return TM_OK;
  if (*step == GO_BROKEN) {
    if (o->failed == TM_OK) go_problem(r, c->event, o->why);
    return o->failed;
  }
  check_ids(r, c);
  r->t->event_count++;
  if (next_event(r, c)) {
    sift_down(o, i);
    if (i) sift_up(o, i); // its time may lie
    return TM_OK;
  }
  o->heap.items[i] = o->heap.items[--o->heap.count];
  if (i >= o->heap.count) return TM_OK;
  sift_down(o, i);
  sift_up(o, i);
  return TM_OK;
}

static void nothing_may_come(go_reader *r) {
  const go_cursor *c = &r->order->cursors.items[r->order->heap.items[0]];
  char what[200];
  snprintf(what, sizeof what,
           "all %zu threads wait for each other: the event of type %u (%llu, %llu) can never come",
           r->order->heap.count, c->type, (unsigned long long)c->args[1],
           (unsigned long long)c->args[2]);
  go_problem(r, c->event, what);
}

static tm_status take_next(go_reader *r) {
  go_order *o = r->order;
  go_step step;
  TM_TRY(try_one(r, 0, &step));
  if (step != GO_WAITS) return TM_OK;
  o->waited_count++;
  sort_heap(o);
  for (size_t i = 1; i < o->heap.count && step == GO_WAITS; i++) TM_TRY(try_one(r, i, &step));
  if (step == GO_WAITS) nothing_may_come(r);
  return TM_OK;
}

tm_status go_order_generation(go_reader *r) {
  go_order *o = r->order;
  if (!o->first_generation) {
    o->first_generation = r->generation;
    o->free_regions = NO_NODE;
  }
  tm_error before = r->problem; // of a cut generation: what is there is still put in order
  r->problem.status = TM_OK;
  o->cut = before.status != TM_OK && !r->whole_generation;
  if (!o->cut) go_check_tables(r);
  TM_TRY(make_cursors(r));
  o->heap.count = 0;
  TM_TRY(tm_vec_reserve(r->ctx, &o->heap, o->cursors.count));
  for (uint32_t i = 0; i < o->cursors.count; i++) {
    if (!next_event(r, &o->cursors.items[i])) continue;
    o->heap.items[o->heap.count++] = i;
    sift_up(o, o->heap.count - 1);
  }
  while (o->heap.count && r->problem.status == TM_OK) TM_TRY(take_next(r));
  if (before.status != TM_OK && !(r->whole_generation && r->problem.status != TM_OK))
    r->problem = before;
  return TM_OK;
}
