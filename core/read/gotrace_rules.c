// When an event of a Go trace (v2) may come, thread by thread, and what it changes: the whole
// partial order that the runtime writes by sequence numbers of goroutines and processors. A rule
// answers GO_WAITS when an event of another thread must come first, and GO_BROKEN when no order
// of the events could make this one right. Cost: O(1) per event.
// Source: the rules of the Go project's internal/trace (order.go).
#include "read/gotrace_order.h"

#include <stdarg.h>
#include <stdio.h>

TM_PRINTF(2, 3) go_step go_broken(const go_try *s, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(s->o->why, sizeof s->o->why, fmt, args);
  va_end(args);
  return GO_BROKEN;
}

static go_step no_memory(const go_try *s, tm_status status) {
  s->o->failed = status;
  return GO_BROKEN;
}

go_step go_needs(const go_try *s, go_need p, go_need g) {
  if (s->m.id == NO_ID) return go_broken(s, "an event needs a thread, and has none");
  if (p == REQUIRED && s->m.p == NO_ID) return go_broken(s, "expected a proc but didn't have one");
  if (p == ABSENT && s->m.p != NO_ID) return go_broken(s, "expected no proc but had one");
  if (g == REQUIRED && s->m.g == NO_ID)
    return go_broken(s, "expected a goroutine but didn't have one");
  if (g == ABSENT && s->m.g != NO_ID) return go_broken(s, "expected no goroutine but had one");
  return GO_TAKEN;
}

// ---- goroutines, processors ----

go_g *go_find_g(const go_order *o, uint64_t id) {
  uint32_t at = tm_idmap_get(&o->g_index, id);
  return at == TM_IDMAP_NONE ? NULL : &o->gs.items[at];
}

go_p *go_find_p(const go_order *o, uint64_t id) {
  uint32_t at = tm_idmap_get(&o->p_index, id);
  return at == TM_IDMAP_NONE ? NULL : &o->ps.items[at];
}

// The goroutine that the thread runs, or NULL when it is not known.
go_g *go_current_g(const go_try *s) {
  if (s->m.g == NO_ID) return NULL;
  if (s->m.g_at < s->o->gs.count && s->o->gs.items[s->m.g_at].id == s->m.g)
    return &s->o->gs.items[s->m.g_at];
  return go_find_g(s->o, s->m.g);
}

go_p *go_current_p(const go_try *s) {
  return s->m.p == NO_ID ? NULL : &s->o->ps.items[s->m.p_at];
}

static void run_g(go_try *s, const go_g *g) {
  s->m.g = g->id;
  s->m.g_at = (uint32_t)(g - s->o->gs.items);
}

static void take_p(go_try *s, const go_p *p) {
  s->m.p = p->id;
  s->m.p_at = (uint32_t)(p - s->o->ps.items);
}

static tm_status add_g(const go_try *s, uint64_t id, uint8_t status, go_g **out) {
  go_order *o = s->o;
  go_g g = {.id = id, .generation = s->r->generation, .regions = NO_NODE, .status = status};
  uint32_t at;
  if (o->free_gs.count) {
    at = o->free_gs.items[--o->free_gs.count];
    o->gs.items[at] = g;
  } else {
    if (o->gs.count >= TM_IDMAP_NONE)
      return tm_fail(s->r->ctx, TM_E_LIMIT, TM_NO_OFFSET, "the trace has too many goroutines");
    TM_TRY(tm_vec_push(s->r->ctx, &o->gs, g));
    at = (uint32_t)o->gs.count - 1;
  }
  *out = &o->gs.items[at];
  return tm_idmap_put(s->r->ctx, &o->g_index, id, at);
}

static tm_status end_g(const go_try *s, go_g *g) {
  go_order *o = s->o;
  while (g->regions != NO_NODE) {
    go_open_region *region = &o->regions.items[g->regions];
    uint32_t below = region->below;
    region->below = o->free_regions;
    o->free_regions = g->regions;
    g->regions = below;
  }
  for (size_t i = 0; i < o->stws.count;)
    if (o->stws.items[i].g == g->id)
      o->stws.items[i] = o->stws.items[--o->stws.count];
    else
      i++;
  tm_idmap_remove(&o->g_index, g->id);
  g->id = NO_ID;
  o->ended_count++;
  return tm_vec_push(s->r->ctx, &o->free_gs, (uint32_t)(g - o->gs.items));
}

// Whether n is the next number after what was stored in this generation.
static bool succeeds(const go_try *s, uint64_t n, uint64_t generation, uint64_t seq) {
  return generation == s->r->generation && n == seq + 1;
}

static go_step running(const go_try *s, go_g **g, uint8_t status) {
  *g = go_current_g(s);
  if (!*g) return go_broken(s, "goroutine %llu does not exist", (unsigned long long)s->m.g);
  if ((*g)->status == status) return GO_TAKEN;
  return go_broken(s, "goroutine %llu is not %s", (unsigned long long)s->m.g,
                   status == G_RUNNING ? "running" : "in a syscall");
}

// ---- rules of processors ----

static go_step proc_status(go_try *s) {
  uint64_t status = s->a[2];
  go_p *p = go_find_p(s->o, s->a[1]);
  if (status >= P_STATES) return go_broken(s, "a proc has the unknown status %u", (unsigned)status);
  if (p) {
    bool lost = status == P_ABANDONED && p->status == P_SYSCALL;
    if (!lost && p->status != status)
      return go_broken(s, "proc %llu was in status %u and is said to be in %u",
                       (unsigned long long)p->id, p->status, (unsigned)status);
    bool held = !lost;
    for (size_t i = 0; !held && i < s->o->ms.count; i++) held = s->o->ms.items[i].p == p->id;
    if (!held)
      return go_broken(s, "no thread holds proc %llu, about to be stolen",
                       (unsigned long long)p->id);
  } else {
    go_p new = {.id = s->a[1], .status = (uint8_t)status};
    tm_status put = tm_vec_push(s->r->ctx, &s->o->ps, new);
    if (put == TM_OK)
      put = tm_idmap_put(s->r->ctx, &s->o->p_index, new.id, (uint32_t)s->o->ps.count - 1);
    if (put != TM_OK) return no_memory(s, put);
    p = &s->o->ps.items[s->o->ps.count - 1];
  }
  p->generation = s->r->generation;
  p->seq = 0;
  if (status == P_RUNNING || status == P_SYSCALL) take_p(s, p);
  return GO_TAKEN;
}

static go_step proc_start(go_try *s) {
  go_p *p = go_find_p(s->o, s->a[1]);
  if (!p || p->status != P_IDLE || !succeeds(s, s->a[2], p->generation, p->seq) || s->m.p != NO_ID)
    return GO_WAITS;
  GO_TRY(go_needs(s, ABSENT, OPTIONAL));
  p->status = P_RUNNING;
  p->seq = s->a[2];
  take_p(s, p);
  return GO_TAKEN;
}

static go_step proc_stop(go_try *s) {
  GO_TRY(go_needs(s, REQUIRED, OPTIONAL));
  go_p *p = go_current_p(s);
  if (p->status != P_RUNNING && p->status != P_SYSCALL)
    return go_broken(s, "proc %llu stops and does not run", (unsigned long long)p->id);
  p->status = P_IDLE;
  s->m.p = NO_ID;
  return GO_TAKEN;
}

static go_step proc_steal(go_try *s) {
  go_p *p = go_find_p(s->o, s->a[1]);
  if (!p || (p->status != P_SYSCALL && p->status != P_ABANDONED)
      || !succeeds(s, s->a[2], p->generation, p->seq))
    return GO_WAITS;
  GO_TRY(go_needs(s, OPTIONAL, OPTIONAL));
  bool abandoned = p->status == P_ABANDONED;
  p->status = P_IDLE;
  p->seq = s->a[2];
  if (abandoned) return GO_TAKEN;
  go_m *from = &s->m;
  if (s->a[3] != s->m.id) {
    uint32_t at = tm_idmap_get(&s->o->m_index, s->a[3]);
    if (at == TM_IDMAP_NONE)
      return go_broken(s, "proc %llu is stolen from the unknown thread %llu",
                       (unsigned long long)p->id, (unsigned long long)s->a[3]);
    from = &s->o->ms.items[at];
  }
  if (from->p != p->id)
    return go_broken(s, "proc %llu is stolen from thread %llu, which does not hold it",
                     (unsigned long long)p->id, (unsigned long long)s->a[3]);
  from->p = NO_ID;
  return GO_TAKEN;
}

// ---- rules of goroutines ----

static tm_status add_m(const go_try *s, uint64_t id, uint64_t g) {
  go_m m = {.id = id, .g = g, .p = NO_ID};
  TM_TRY(tm_vec_push(s->r->ctx, &s->o->ms, m));
  return tm_idmap_put(s->r->ctx, &s->o->m_index, id, (uint32_t)s->o->ms.count - 1);
}

// A goroutine in a syscall belongs to the thread that the status names.
static go_step status_in_syscall(go_try *s, const go_g *g) {
  if (s->a[2] == NO_ID)
    return go_broken(s, "goroutine %llu is in a syscall without a thread",
                     (unsigned long long)g->id);
  uint64_t holds = g->id;
  if (s->a[2] == s->m.id) {
    if (!s->first) holds = s->m.g;
    if (holds == g->id) run_g(s, g);
  } else {
    uint32_t at = tm_idmap_get(&s->o->m_index, s->a[2]);
    if (at != TM_IDMAP_NONE) {
      holds = s->o->ms.items[at].g;
    } else {
      tm_status added = add_m(s, s->a[2], g->id);
      if (added != TM_OK) return no_memory(s, added);
    }
  }
  if (holds == g->id) return GO_TAKEN;
  return go_broken(s, "goroutine %llu is in a syscall on thread %llu, which has another goroutine",
                   (unsigned long long)g->id, (unsigned long long)s->a[2]);
}

static go_step go_status(go_try *s) {
  uint64_t status = s->a[3];
  if (status >= G_STATES)
    return go_broken(s, "a goroutine has the unknown status %u", (unsigned)status);
  go_g *g = go_find_g(s->o, s->a[1]);
  if (g) {
    if (g->status != status)
      return go_broken(s, "goroutine %llu was in status %u and is said to be in %u",
                       (unsigned long long)g->id, g->status, (unsigned)status);
  } else {
    if (!s->first)
      return go_broken(s, "goroutine %llu comes from nowhere after the first generation",
                       (unsigned long long)s->a[1]);
    tm_status added = add_g(s, s->a[1], (uint8_t)status, &g);
    if (added != TM_OK) return no_memory(s, added);
  }
  g->generation = s->r->generation;
  g->seq = 0;
  if (status == G_RUNNING) run_g(s, g);
  return status == G_SYSCALL ? status_in_syscall(s, g) : GO_TAKEN;
}

static go_step go_create(go_try *s, uint8_t status) {
  GO_TRY(status == G_SYSCALL ? go_needs(s, OPTIONAL, ABSENT) : go_needs(s, REQUIRED, OPTIONAL));
  go_g *g = go_current_g(s);
  if (g && g->status != G_RUNNING)
    return go_broken(s, "goroutine %llu creates one and does not run", (unsigned long long)g->id);
  if (go_find_g(s->o, s->a[1]))
    return go_broken(s, "goroutine %llu is created twice", (unsigned long long)s->a[1]);
  tm_status added = add_g(s, s->a[1], status, &g);
  if (added != TM_OK) return no_memory(s, added);
  s->o->created_count++;
  if (status == G_SYSCALL) run_g(s, g);
  return GO_TAKEN;
}

static go_step go_start(go_try *s) {
  go_g *g = go_find_g(s->o, s->a[1]);
  if (!g || g->status != G_RUNNABLE || !succeeds(s, s->a[2], g->generation, g->seq))
    return GO_WAITS;
  GO_TRY(go_needs(s, REQUIRED, ABSENT));
  g->status = G_RUNNING;
  g->seq = s->a[2];
  run_g(s, g);
  return GO_TAKEN;
}

// The goroutine begins to wait; `why` and `stack` are ids of the generation.
static go_step begin_wait(const go_try *s, go_g *g, uint64_t why, uint64_t stack) {
  if (!s->o->collects) return GO_TAKEN;
  g->waits = true;
  g->since = s->c->time;
  tm_status status = go_string(s->r, why, &g->reason);
  if (status == TM_OK) status = go_stack(s->r, stack, &g->site);
  return status == TM_OK ? GO_TAKEN : no_memory(s, status);
}

static go_step end_wait(const go_try *s, go_g *g) {
  if (!g->waits) return GO_TAKEN;
  g->waits = false;
  int64_t ns = go_time(s->r, s->c->time) - go_time(s->r, g->since);
  tm_status status = go_add_wait(s->r, g->site, g->reason, ns);
  return status == TM_OK ? GO_TAKEN : no_memory(s, status);
}

static go_step go_stop(go_try *s, uint8_t status) {
  go_g *g;
  GO_TRY(go_needs(s, REQUIRED, REQUIRED));
  GO_TRY(running(s, &g, G_RUNNING));
  g->status = status;
  s->m.g = NO_ID;
  return status == G_WAITING ? begin_wait(s, g, s->a[1], s->a[2]) : GO_TAKEN;
}

static go_step go_destroy(go_try *s) {
  go_g *g;
  GO_TRY(go_needs(s, REQUIRED, REQUIRED));
  GO_TRY(running(s, &g, G_RUNNING));
  tm_status ended = end_g(s, g);
  s->m.g = NO_ID;
  return ended == TM_OK ? GO_TAKEN : no_memory(s, ended);
}

static go_step go_unblock(const go_try *s) {
  go_g *g = go_find_g(s->o, s->a[1]);
  if (!g || g->status != G_WAITING || !succeeds(s, s->a[2], g->generation, g->seq)) return GO_WAITS;
  g->status = G_RUNNABLE;
  g->seq = s->a[2];
  return end_wait(s, g);
}

static go_step go_switch(go_try *s, bool destroy) {
  go_g *g;
  GO_TRY(go_needs(s, REQUIRED, REQUIRED));
  GO_TRY(running(s, &g, G_RUNNING));
  go_g *to = go_find_g(s->o, s->a[1]);
  if (!to || to->status != G_WAITING || !succeeds(s, s->a[2], to->generation, to->seq))
    return GO_WAITS;
  g->status = G_WAITING;
  to->status = G_RUNNING;
  to->seq = s->a[2];
  run_g(s, to);
  to->waits = false; // where a coroutine waits is not told
  tm_status ended = destroy ? end_g(s, g) : TM_OK;
  return ended == TM_OK ? GO_TAKEN : no_memory(s, ended);
}

static go_step syscall_begin(go_try *s) {
  go_g *g;
  GO_TRY(go_needs(s, REQUIRED, REQUIRED));
  GO_TRY(running(s, &g, G_RUNNING));
  go_p *p = go_current_p(s);
  if (!succeeds(s, s->a[1], p->generation, p->seq))
    return go_broken(s, "a syscall on proc %llu has number %llu after %llu",
                     (unsigned long long)p->id, (unsigned long long)s->a[1],
                     (unsigned long long)p->seq);
  g->status = G_SYSCALL;
  p->status = P_SYSCALL;
  p->seq = s->a[1];
  return GO_TAKEN;
}

static go_step syscall_end(go_try *s) {
  go_g *g;
  GO_TRY(go_needs(s, REQUIRED, REQUIRED));
  GO_TRY(running(s, &g, G_SYSCALL));
  go_p *p = go_current_p(s);
  if (p->status != P_SYSCALL)
    return go_broken(s, "proc %llu is in no syscall", (unsigned long long)p->id);
  g->status = G_RUNNING;
  p->status = P_RUNNING;
  return GO_TAKEN;
}

static go_step syscall_end_blocked(go_try *s) {
  go_g *g;
  const go_p *p = go_current_p(s);
  if (p && p->status == P_SYSCALL) return GO_WAITS;
  GO_TRY(go_needs(s, OPTIONAL, REQUIRED));
  GO_TRY(running(s, &g, G_SYSCALL));
  g->status = G_RUNNABLE;
  s->m.g = NO_ID;
  return GO_TAKEN;
}

static go_step destroy_in_syscall(go_try *s) {
  go_g *g;
  GO_TRY(go_needs(s, OPTIONAL, REQUIRED));
  GO_TRY(running(s, &g, G_SYSCALL));
  go_p *p = go_current_p(s);
  if (p && p->status != P_SYSCALL)
    return go_broken(s, "proc %llu is in no syscall", (unsigned long long)p->id);
  if (p) p->status = P_ABANDONED;
  tm_status ended = end_g(s, g);
  s->m.p = s->m.g = NO_ID;
  return ended == TM_OK ? GO_TAKEN : no_memory(s, ended);
}

// ---- all rules ----

static go_step rule(go_try *s) {
  switch (s->c->type) {
  case EV_PROC_START:
    return proc_start(s);
  case EV_PROC_STOP:
    return proc_stop(s);
  case EV_PROC_STEAL:
    return proc_steal(s);
  case EV_PROC_STATUS:
    return proc_status(s);
  case EV_GO_CREATE:
    return go_create(s, G_RUNNABLE);
  case EV_GO_CREATE_BLOCKED:
    return go_create(s, G_WAITING);
  case EV_GO_CREATE_SYSCALL:
    return go_create(s, G_SYSCALL);
  case EV_GO_START:
    return go_start(s);
  case EV_GO_DESTROY:
    return go_destroy(s);
  case EV_GO_DESTROY_SYSCALL:
    return destroy_in_syscall(s);
  case EV_GO_STOP:
    return go_stop(s, G_RUNNABLE);
  case EV_GO_BLOCK:
    return go_stop(s, G_WAITING);
  case EV_GO_UNBLOCK:
    return go_unblock(s);
  case EV_GO_SYSCALL_BEGIN:
    return syscall_begin(s);
  case EV_GO_SYSCALL_END:
    return syscall_end(s);
  case EV_GO_SYSCALL_END_BLOCKED:
    return syscall_end_blocked(s);
  case EV_GO_STATUS:
  case EV_GO_STATUS_STACK:
    return go_status(s);
  case EV_GO_SWITCH:
    return go_switch(s, false);
  case EV_GO_SWITCH_DESTROY:
    return go_switch(s, true);
  default:
    return go_advance_range(s);
  }
}

go_step go_advance(go_reader *r, go_order *o, const go_cursor *c) {
  go_try s = {.r = r, .o = o, .c = c, .a = c->args, .first = r->generation == o->first_generation};
  s.m = c->thread == NO_NODE ? (go_m){.id = NO_ID, .g = NO_ID, .p = NO_ID} : o->ms.items[c->thread];
  go_step step = rule(&s);
  if (step == GO_TAKEN && c->thread != NO_NODE) o->ms.items[c->thread] = s.m;
  return step;
}
