// The rules of order for what does not move goroutines: collections (numbered, so that their
// events wait for each other), ranges on goroutines and processors (stop the world, mark assist,
// sweep), and what the program itself wrote. Open regions are linked lists in one array.
// Source: the rules of the Go project's internal/trace (order.go).
#include "read/gotrace_order.h"

enum { MOST_STW = 64 };

static go_step no_memory(const go_try *s, tm_status status) {
  s->o->failed = status;
  return GO_BROKEN;
}

// ---- collections ----

static go_step gc_event(go_try *s) {
  go_order *o = s->o;
  uint8_t type = s->c->type;
  bool begins = type == EV_GC_BEGIN, active = type == EV_GC_ACTIVE;
  if (active && s->first && o->gc != GC_UNKNOWN)
    return go_broken(s, "an active collection is not the first thing known of collections");
  if ((active && s->first) || (begins && o->gc == GC_UNKNOWN)) {
    o->gc_seq = s->a[1];
    o->gc = GC_ON;
    return GO_TAKEN;
  }
  if (s->a[1] != o->gc_seq + 1) return GO_WAITS;
  if (begins ? o->gc == GC_ON : o->gc != GC_ON)
    return go_broken(s, begins ? "a collection begins within a collection"
                               : "a collection goes on or ends that did not begin");
  GO_TRY(go_needs(s, REQUIRED, REQUIRED));
  o->gc_seq = s->a[1];
  o->gc = type == EV_GC_END ? GC_OFF : GC_ON;
  return GO_TAKEN;
}

// ---- ranges ----

static go_step begin(const go_try *s, bool *open, const char *what) {
  if (*open) return go_broken(s, "a %s begins within another", what);
  *open = true;
  return GO_TAKEN;
}

static go_step end(const go_try *s, bool *open, const char *what) {
  if (!*open) return go_broken(s, "a %s ends that did not begin", what);
  *open = false;
  return GO_TAKEN;
}

// Told of at the start of a generation: it is open, or becomes so in the first one.
static go_step go_on(const go_try *s, bool *open, const char *what) {
  if (s->first) return begin(s, open, what);
  return *open ? GO_TAKEN : go_broken(s, "a %s goes on that did not begin", what);
}

static go_step stw(const go_try *s) {
  go_order *o = s->o;
  bool begins = s->c->type == EV_STW_BEGIN;
  GO_TRY(go_needs(s, REQUIRED, REQUIRED));
  if (!go_current_g(s)) return go_broken(s, "an unknown goroutine stops the world");
  for (size_t i = 0; i < o->stws.count; i++) {
    if (o->stws.items[i].g != s->m.g) continue;
    if (begins && o->stws.items[i].kind != s->a[1]) continue;
    if (begins) return go_broken(s, "a goroutine stops the world twice");
    o->stws.items[i] = o->stws.items[--o->stws.count];
    return GO_TAKEN;
  }
  if (!begins) return go_broken(s, "the world starts that was not stopped");
  if (o->stws.count >= MOST_STW) return go_broken(s, "the world is stopped by too many");
  tm_status put = tm_vec_push(s->r->ctx, &o->stws, (go_stw){s->m.g, s->a[1]});
  return put == TM_OK ? GO_TAKEN : no_memory(s, put);
}

static go_step assist(const go_try *s) {
  GO_TRY(go_needs(s, REQUIRED, REQUIRED));
  go_g *g = go_current_g(s);
  if (!g) return go_broken(s, "an unknown goroutine assists");
  return s->c->type == EV_ASSIST_BEGIN ? begin(s, &g->assists, "mark assist")
                                       : end(s, &g->assists, "mark assist");
}

static go_step assist_active(const go_try *s) {
  go_g *g = go_find_g(s->o, s->a[1]);
  return g ? go_on(s, &g->assists, "mark assist") : go_broken(s, "an unknown goroutine assists");
}

static go_step sweep(const go_try *s) {
  GO_TRY(go_needs(s, REQUIRED, OPTIONAL));
  go_p *p = go_current_p(s);
  return s->c->type == EV_SWEEP_BEGIN ? begin(s, &p->sweeps, "sweep") : end(s, &p->sweeps, "sweep");
}

static go_step sweep_active(const go_try *s) {
  go_p *p = go_find_p(s->o, s->a[1]);
  return p ? go_on(s, &p->sweeps, "sweep") : go_broken(s, "an unknown proc sweeps");
}

// ---- what the program wrote ----

static go_step task(const go_try *s) {
  go_order *o = s->o;
  bool begins = s->c->type == EV_TASK_BEGIN;
  if (begins && tm_idmap_get(&o->tasks, s->a[1]) != TM_IDMAP_NONE)
    return go_broken(s, "task %llu begins twice", (unsigned long long)s->a[1]);
  GO_TRY(go_needs(s, REQUIRED, REQUIRED));
  if (!begins) {
    tm_idmap_remove(&o->tasks, s->a[1]);
    return GO_TAKEN;
  }
  tm_status put = tm_idmap_put(s->r->ctx, &o->tasks, s->a[1], 1);
  return put == TM_OK ? GO_TAKEN : no_memory(s, put);
}

static tm_status open_region(const go_try *s, go_g *g, go_open_region region) {
  go_order *o = s->o;
  region.below = g->regions;
  if (o->free_regions != NO_NODE) {
    g->regions = o->free_regions;
    o->free_regions = o->regions.items[g->regions].below;
    o->regions.items[g->regions] = region;
    return TM_OK;
  }
  if (o->regions.count >= NO_NODE)
    return tm_fail(s->r->ctx, TM_E_LIMIT, TM_NO_OFFSET, "the trace has too many open regions");
  TM_TRY(tm_vec_push(s->r->ctx, &o->regions, region));
  g->regions = (uint32_t)o->regions.count - 1;
  return TM_OK;
}

static go_step region(const go_try *s) {
  go_order *o = s->o;
  GO_TRY(go_needs(s, REQUIRED, REQUIRED));
  go_g *g = go_current_g(s);
  if (!g) return go_broken(s, "an unknown goroutine has a region");
  go_open_region it = {.task = s->a[1]};
  tm_status status = go_string(s->r, s->a[2], &it.name);
  if (status == TM_OK && s->c->type == EV_REGION_BEGIN) status = open_region(s, g, it);
  if (status != TM_OK) return no_memory(s, status);
  if (s->c->type == EV_REGION_BEGIN || g->regions == NO_NODE) return GO_TAKEN;
  uint32_t top = g->regions;
  go_open_region *open = &o->regions.items[top];
  if (open->task != it.task || open->name != it.name)
    return go_broken(s, "a region of goroutine %llu ends that is not its innermost",
                     (unsigned long long)g->id);
  g->regions = open->below;
  open->below = o->free_regions;
  o->free_regions = top;
  return GO_TAKEN;
}

go_step go_advance_range(go_try *s) {
  switch (s->c->type) {
  case EV_GC_ACTIVE:
  case EV_GC_BEGIN:
  case EV_GC_END:
    return gc_event(s);
  case EV_STW_BEGIN:
  case EV_STW_END:
    return stw(s);
  case EV_ASSIST_BEGIN:
  case EV_ASSIST_END:
    return assist(s);
  case EV_ASSIST_ACTIVE:
    return assist_active(s);
  case EV_SWEEP_BEGIN:
  case EV_SWEEP_END:
    return sweep(s);
  case EV_SWEEP_ACTIVE:
    return sweep_active(s);
  case EV_HEAP_ALLOC:
  case EV_HEAP_GOAL:
    return go_needs(s, REQUIRED, OPTIONAL);
  case EV_TASK_BEGIN:
  case EV_TASK_END:
    return task(s);
  case EV_REGION_BEGIN:
  case EV_REGION_END:
    return region(s);
  default: // GOMAXPROCS, labels and logs need all; experiments only a thread
    return s->c->type >= EV_EXPERIMENTS ? go_needs(s, OPTIONAL, OPTIONAL)
                                        : go_needs(s, REQUIRED, REQUIRED);
  }
}
