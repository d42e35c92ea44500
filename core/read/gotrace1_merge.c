// The events of all processors in one order. An event may come when its goroutine is in the state
// and at the number that the event tells of; among those that may come the earliest is taken. Heads
// that may come stand in a heap by time, the others in a list that is looked through after each
// event. Cost: O(log processors) per event, O(processors) while some wait.
// Source: the Go project's internal/trace/internal/tracev1 (order.go).
#include "read/gotrace1.h"

enum { DEAD, RUNNABLE, RUNNING, WAITING };

// What an event asks of its goroutine, and what that is afterwards.
typedef struct change {
  uint64_t g;
  uint64_t seq; // it must be at; NO_SEQ = any
  uint8_t from, to;
  bool counts; // the number goes up
  bool any;    // an event without a goroutine, or one that may always come
} change;

#define NO_SEQ UINT64_MAX

static change change_of(const go1_proc *p) {
  const uint64_t *a = p->record.args;
  switch (p->record.type) {
  case V1_GO_CREATE:
    return (change){a[1], 0, DEAD, RUNNABLE, true, false};
  case V1_WAITING:
  case V1_IN_SYSCALL:
    return (change){p->g, 1, RUNNABLE, WAITING, true, false};
  case V1_GO_START:
  case V1_START_LABEL:
    return (change){p->g, a[2], RUNNABLE, RUNNING, true, false};
  case V1_START_LOCAL:
    return (change){p->g, NO_SEQ, RUNNABLE, RUNNING, true, false};
  case V1_GO_SLEEP:
  case V1_GO_BLOCK:
  case V1_BLOCK_SEND:
  case V1_BLOCK_RECEIVE:
  case V1_BLOCK_SELECT:
  case V1_BLOCK_SYNC:
  case V1_BLOCK_COND:
  case V1_BLOCK_NET:
  case V1_BLOCK_GC:
  case V1_SYSCALL_BLOCK:
    return (change){p->g, NO_SEQ, RUNNING, WAITING, false, false};
  case V1_GO_SCHED:
  case V1_GO_PREEMPT:
    return (change){p->g, NO_SEQ, RUNNING, RUNNABLE, false, false};
  case V1_GO_UNBLOCK:
  case V1_SYSCALL_EXIT:
    return (change){a[1], a[2], WAITING, RUNNABLE, true, false};
  case V1_UNBLOCK_LOCAL:
  case V1_SYSCALL_EXIT_LOCAL:
    return (change){a[1], NO_SEQ, WAITING, RUNNABLE, true, false};
  default:
    return (change){.any = true};
  }
}

static bool may_come(const go1_reader *v, const go1_proc *p, const change *c) {
  if (p->record.type == V1_GC_START) return p->record.args[1] == v->gc_seq;
  if (c->any) return true;
  uint32_t slot = tm_idmap_get(&v->r->goroutine_index, c->g);
  if (slot == TM_IDMAP_NONE) return c->from == DEAD;
  const go_work *w = &v->r->goroutines.items[slot];
  return w->step_state == c->from && (c->seq == NO_SEQ || c->seq == w->steps);
}

static tm_status apply(go1_reader *v, const go1_proc *p, const change *c) {
  uint32_t slot;
  if (p->record.type == V1_GC_START) v->gc_seq++;
  if (c->any) return TM_OK;
  TM_TRY(go_goroutine_find(v->r, c->g, &slot));
  go_work *w = &v->r->goroutines.items[slot];
  w->step_state = c->to;
  w->steps += c->counts;
  return TM_OK;
}

// ---- streams ----

// Which goroutine the event is about, and which one runs here behind it.
static void set_goroutine(go1_proc *p) {
  p->g = p->current;
  switch (p->record.type) {
  case V1_GO_START:
  case V1_START_LOCAL:
  case V1_START_LABEL:
    p->g = p->current = p->record.args[1];
    return;
  case V1_SYSCALL_EXIT:
  case V1_SYSCALL_EXIT_LOCAL:
  case V1_WAITING:
  case V1_IN_SYSCALL:
    p->g = p->record.args[1];
    return;
  case V1_GO_END:
  case V1_GO_STOP:
    p->current = 0;
    return;
  default:
    if (change_of(p).from == RUNNING) p->current = 0;
  }
}

static bool has_time(uint8_t type) {
  return type > V1_STACK && type != V1_TIMER_GOROUTINE && type != V1_STRING
         && type != V1_CPU_SAMPLE;
}

// The next event of the stream; p->event is NULL at its end.
static void next_event(go1_reader *v, go1_proc *p) {
  for (;;) {
    while (p->at == p->end) {
      p->event = NULL;
      if (p->batch == UINT32_MAX) return;
      const go1_batch *b = &v->batches.items[p->batch];
      p->ticks = b->ticks;
      p->at = b->data;
      p->end = b->end;
      p->batch = b->next;
    }
    p->event = p->at;
    if (!go1_take(v->r, &p->at, p->end, &p->record)) {
      p->event = NULL;
      return;
    }
    if (has_time(p->record.type)) break;
  }
  p->ticks += p->record.args[0];
  set_goroutine(p);
}

// ---- the heap ----

static bool earlier(const go1_reader *v, size_t a, size_t b) {
  return v->procs.items[v->heap.items[a]].ticks < v->procs.items[v->heap.items[b]].ticks;
}

static void swap(go1_reader *v, size_t a, size_t b) {
  uint32_t kept = v->heap.items[a];
  v->heap.items[a] = v->heap.items[b];
  v->heap.items[b] = kept;
}

static void sift_down(go1_reader *v, size_t i) {
  for (;;) {
    size_t least = i, left = 2 * i + 1;
    if (left < v->heap.count && earlier(v, left, least)) least = left;
    if (left + 1 < v->heap.count && earlier(v, left + 1, least)) least = left + 1;
    if (least == i) return;
    swap(v, i, least);
    i = least;
  }
}

static void push(go1_reader *v, uint32_t proc) { // room was made
  size_t i = v->heap.count++;
  v->heap.items[i] = proc;
  for (; i && earlier(v, i, (i - 1) / 2); i = (i - 1) / 2) swap(v, i, (i - 1) / 2);
}

// ---- the merge ----

static void wake(go1_reader *v) {
  for (size_t i = 0; i < v->waiting.count;) {
    const go1_proc *p = &v->procs.items[v->waiting.items[i]];
    change c = change_of(p);
    if (!may_come(v, p, &c)) {
      i++;
      continue;
    }
    push(v, v->waiting.items[i]);
    v->waiting.items[i] = v->waiting.items[--v->waiting.count];
  }
}

// Takes the earliest event that may come.
static tm_status take_top(go1_reader *v) {
  go1_proc *p = &v->procs.items[v->heap.items[0]];
  change c = change_of(p);
  if (!may_come(v, p, &c)) {
    go_problem(v->r, p->event, "two events tell the same of one goroutine");
    return TM_OK;
  }
  TM_TRY(apply(v, p, &c));
  TM_TRY(go1_event(v, p));
  next_event(v, p);
  if (p->event) {
    c = change_of(p);
    if (may_come(v, p, &c)) {
      sift_down(v, 0);
      return TM_OK;
    }
    v->waiting.items[v->waiting.count++] = v->heap.items[0];
  }
  v->heap.items[0] = v->heap.items[--v->heap.count];
  sift_down(v, 0);
  return TM_OK;
}

tm_status go1_merge(go1_reader *v) {
  go_reader *r = v->r;
  TM_TRY(tm_vec_reserve(r->ctx, &v->heap, v->procs.count));
  TM_TRY(tm_vec_reserve(r->ctx, &v->waiting, v->procs.count));
  for (uint32_t i = 0; i < v->procs.count; i++) {
    go1_proc *p = &v->procs.items[i];
    p->batch = p->first;
    next_event(v, p);
    if (p->event) v->waiting.items[v->waiting.count++] = i;
  }
  while (r->problem.status == TM_OK) {
    if (v->waiting.count) wake(v);
    if (!v->heap.count) break;
    TM_TRY(take_top(v));
    if (r->t->event_count % 65536 == 0) {
      uint64_t size = (uint64_t)(r->end - r->start), at = (uint64_t)(v->last_event - r->start);
      TM_TRY(tm_ctx_tick(r->ctx, size / 2 + at / 2));
    }
  }
  if (v->waiting.count && !v->heap.count)
    go_problem(r, v->procs.items[v->waiting.items[0]].event,
               "the events of all processors wait for each other: no order of them can be");
  if (v->backwards) go_problem(r, v->backwards, "the clock goes backwards");
  return TM_OK;
}
