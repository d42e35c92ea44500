// What the events of version 1 say of goroutines, in order. A trace begins with one creation for
// each goroutine that is there already, with what it does; the first GOMAXPROCS ends that list. A
// syscall is one only when it blocked: short ones leave the goroutine running.
// Source: the Go project's internal/trace (tracev1.go) and internal/trace/internal/tracev1.
#include "read/gotrace1.h"
#include "read/gotrace_order.h"

#include <string.h>

tm_status go1_prepare(go1_reader *v) {
  static const struct {
    uint8_t type;
    const char *text;
  } reasons[] = {{V1_GO_STOP, "forever"},
                 {V1_GO_SCHED, "runtime.Gosched"},
                 {V1_GO_PREEMPT, "preempted"},
                 {V1_GO_SLEEP, "sleep"},
                 {V1_BLOCK_SEND, "chan send"},
                 {V1_BLOCK_RECEIVE, "chan receive"},
                 {V1_BLOCK_SELECT, "select"},
                 {V1_BLOCK_SYNC, "sync"},
                 {V1_BLOCK_COND, "sync.(*Cond).Wait"},
                 {V1_BLOCK_NET, "network"},
                 {V1_BLOCK_GC, "GC mark assist wait for work"}};
  for (size_t i = 0; i < TM_COUNT(reasons); i++)
    TM_TRY(tm_trace_intern(v->r->ctx, v->r->t, reasons[i].text, strlen(reasons[i].text),
                           &v->reasons[reasons[i].type]));
  return TM_OK;
}

static int64_t time_of(const go1_reader *v, uint64_t ticks) {
  return ticks > v->zero_ticks ? go_time(v->r, ticks - v->zero_ticks) : 0;
}

// ---- goroutines ----

static void go_on(go1_reader *v, uint32_t slot, tm_go_state from, tm_go_state to, int64_t ns) {
  go_goroutine_move(v->r, slot, v->r->t->event_count, from, to, ns);
}

static tm_status stop(go1_reader *v, uint32_t slot, tm_go_state to, int64_t ns, uint32_t reason,
                      uint64_t stack) {
  go_on(v, slot, TM_GO_RUNNING, to, ns);
  go_work *w = &v->r->goroutines.items[slot];
  w->g.reason = reason;
  w->raw_site = stack;
  return go_goroutine_touch(v->r, slot);
}

static tm_status on_create(go1_reader *v, const uint64_t *a, int64_t ns) {
  uint32_t slot;
  if (v->started) return go_goroutine_create(v->r, a[1], TM_GO_RUNNABLE, ns, a[2], a[3]);
  TM_TRY(go_goroutine_find(v->r, a[1], &slot));
  go_on(v, slot, TM_GO_UNKNOWN, TM_GO_RUNNABLE, ns);
  go_work *w = &v->r->goroutines.items[slot];
  w->born_in = v->r->generation; // no event of it can come before this one
  w->raw_start = a[2];
  w->g.since_ns = 0;
  return go_goroutine_touch(v->r, slot);
}

// For those who ask for waits: one that began in the trace ends.
static tm_status end_wait(go1_reader *v, const go_work *w, int64_t ns) {
  uint32_t site;
  if (!v->r->order || !v->r->order->collects || !w->g.since_ns) return TM_OK;
  TM_TRY(go_stack(v->r, w->raw_site, &site));
  return go_add_wait(v->r, site, w->g.reason, ns - w->g.since_ns);
}

// Events about one goroutine, which is there.
static tm_status on_goroutine(go1_reader *v, const go1_proc *p, uint32_t slot, int64_t ns) {
  const go1_record *e = &p->record;
  go_work *w = &v->r->goroutines.items[slot];
  switch (e->type) {
  case V1_GO_START:
  case V1_START_LOCAL:
  case V1_START_LABEL:
    go_on(v, slot, TM_GO_RUNNABLE, TM_GO_RUNNING, ns);
    return TM_OK;
  case V1_GO_END:
    return go_goroutine_end(v->r, slot, w->steps, ns);
  case V1_GO_SCHED:
  case V1_GO_PREEMPT:
    return stop(v, slot, TM_GO_RUNNABLE, ns, v->reasons[e->type], e->args[1]);
  case V1_SYSCALL:
    w->raw_call = e->args[1];
    return TM_OK;
  case V1_SYSCALL_BLOCK:
    return stop(v, slot, TM_GO_SYSCALL, ns, 0, w->raw_call);
  case V1_SYSCALL_EXIT:
  case V1_SYSCALL_EXIT_LOCAL: {
    uint64_t left = e->args[e->count - 1]; // when it truly left; 0 = the event's time
    go_on(v, slot, TM_GO_SYSCALL, TM_GO_RUNNABLE, left ? time_of(v, left) : ns);
    return TM_OK;
  }
  case V1_WAITING:
  case V1_IN_SYSCALL:
    go_on(v, slot, TM_GO_RUNNABLE, e->type == V1_WAITING ? TM_GO_WAITING : TM_GO_SYSCALL, ns);
    v->r->goroutines.items[slot].g.since_ns = 0;
    return TM_OK;
  case V1_GO_UNBLOCK:
  case V1_UNBLOCK_LOCAL:
    TM_TRY(end_wait(v, w, ns));
    go_on(v, slot, TM_GO_WAITING, TM_GO_RUNNABLE, ns);
    return TM_OK;
  default:
    return stop(v, slot, TM_GO_WAITING, ns, v->reasons[e->type], e->args[1]);
  }
}

// The goroutine that the event is about; false when it is about none.
static bool subject(const go1_proc *p, uint64_t *out) {
  uint8_t type = p->record.type;
  *out = type == V1_GO_UNBLOCK || type == V1_UNBLOCK_LOCAL ? p->record.args[1] : p->g;
  return (type >= V1_GO_START && type <= V1_IN_SYSCALL)
         || (type >= V1_START_LOCAL && type <= V1_BLOCK_GC);
}

// ---- the rest ----

static tm_status on_user(go1_reader *v, const go1_proc *p, int64_t ns) {
  const go1_record *e = &p->record;
  const go_thread m = {.goroutine_id = p->g};
  if (e->type == V1_TASK_CREATE) return go_user_event(v->r, EV_TASK_BEGIN, e->args, &m, ns);
  if (e->type == V1_TASK_END) return go_user_event(v->r, EV_TASK_END, e->args, &m, ns);
  if (e->type == V1_REGION) {
    const uint64_t args[] = {0, e->args[1], e->args[3]};
    return go_user_event(v->r, e->args[2] ? EV_REGION_END : EV_REGION_BEGIN, args, &m, ns);
  }
  tm_trace_log log = {.goroutine = p->g, .task = e->args[1], .time_ns = ns};
  TM_TRY(go_string(v->r, e->args[2], &log.key));
  TM_TRY(tm_trace_intern(v->r->ctx, v->r->t, e->data, (size_t)(e->end - e->data), &log.value));
  return go_log(v->r, &log);
}

static tm_status on_other(go1_reader *v, const go1_proc *p, int64_t ns) {
  const uint64_t *a = p->record.args;
  switch (p->record.type) {
  case V1_PROCS:
    v->started = true;
    return go_count(v->r, TM_COUNTER_PROCS, ns, a[1]);
  case V1_GO_CREATE:
    return on_create(v, a, ns);
  case V1_GC_START:
    v->r->t->gc_count++;
    return TM_OK;
  case V1_GC_DONE:
    return go_count(v->r, TM_COUNTER_COLLECTIONS, ns, 0);
  case V1_HEAP_ALLOC:
    return go_count(v->r, TM_COUNTER_HEAP_LIVE, ns, a[1]);
  case V1_HEAP_GOAL:
    return go_count(v->r, TM_COUNTER_HEAP_GOAL, ns, a[1]);
  case V1_TASK_CREATE:
  case V1_TASK_END:
  case V1_REGION:
  case V1_LOG:
    return on_user(v, p, ns);
  default:
    return TM_OK;
  }
}

tm_status go1_event(go1_reader *v, const go1_proc *p) {
  go_reader *r = v->r;
  if (!v->has_zero) v->zero_ticks = v->last_ticks = p->ticks;
  v->has_zero = true;
  if (p->ticks < v->last_ticks && !v->backwards) v->backwards = p->event;
  v->last_ticks = p->ticks;
  v->last_event = p->event;
  r->t->event_count++;
  int64_t ns = time_of(v, p->ticks);
  if (ns > r->last_ns) r->last_ns = ns;
  uint64_t id;
  if (!subject(p, &id)) return on_other(v, p, ns);
  uint32_t slot = tm_idmap_get(&r->goroutine_index, id);
  return slot == TM_IDMAP_NONE ? TM_OK : on_goroutine(v, p, slot, ns);
}
