// Events, thread by thread: which goroutine a thread runs follows from its own stream, so batches
// are decoded in file order without the global order of events. Times per state are sums of
// "left at" minus "entered at", which do not care about order; the last state is the one with the
// greatest sequence number. A thread whose first event is about a goroutine that another thread's
// batch introduces waits until all other batches were read. Cost: one pass, one lookup per event
// that names another goroutine.
// Source: the Go project's internal/trace/tracev2 (event table) and runtime/traceruntime.go.
#include "base/hash.h"
#include "read/gotrace_impl.h"

#include <stdlib.h>
#include <string.h>

static bool needs_current(uint8_t type) {
  if (type >= EV_GO_DESTROY && type <= EV_GO_SYSCALL_END_BLOCKED) return type != EV_GO_UNBLOCK;
  return type == EV_GO_SWITCH || type == EV_GO_SWITCH_DESTROY || type == EV_REGION_BEGIN
         || type == EV_REGION_END || type == EV_TASK_BEGIN || type == EV_LOG;
}

void go_set_args(go_reader *r) {
  // Behind the type, the time included; types 9 to 48.
  static const uint8_t args[] = {3, 3, 1, 4, 3, 4, 2, 3, 1, 1, 3, 3, 4, 3, 1, 1, 4, 3, 1, 2,
                                 3, 2, 2, 2, 3, 2, 2, 1, 2, 2, 2, 5, 3, 4, 4, 5, 3, 3, 4, 5};
  static const uint8_t experiments[] = {4, 4, 2, 3, 3, 2, 3, 3, 2};
  size_t last = r->version < 23 ? EV_LOG : EV_GO_STATUS_STACK;
  for (size_t type = EV_PROCS; type <= last; type++) r->args[type] = args[type - EV_PROCS];
  for (unsigned type = 0; type < 256; type++) r->needs_current[type] = needs_current((uint8_t)type);
  if (r->version < 23) return;
  memcpy(r->args + EV_EXPERIMENTS, experiments, sizeof experiments);
}

// ---- goroutines ----

tm_status go_goroutine_find(go_reader *r, uint64_t id, uint32_t *out) {
  *out = tm_idmap_get(&r->goroutine_index, id);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  go_work w = {.g.id = id};
  if (r->free.count) {
    *out = r->free.items[--r->free.count];
    w.listed = r->goroutines.items[*out].listed;
    r->goroutines.items[*out] = w;
    return tm_idmap_put(r->ctx, &r->goroutine_index, id, *out);
  }
  if (r->goroutines.count >= TM_IDMAP_NONE)
    return tm_fail(r->ctx, TM_E_LIMIT, TM_NO_OFFSET, "the trace has too many goroutines");
  TM_TRY(tm_vec_push(r->ctx, &r->goroutines, w));
  *out = (uint32_t)r->goroutines.count - 1;
  return tm_idmap_put(r->ctx, &r->goroutine_index, id, *out);
}

// The goroutine carries ids of this generation, to be resolved at its end.
tm_status go_goroutine_touch(go_reader *r, uint32_t index) {
  go_work *w = &r->goroutines.items[index];
  if (w->listed) return TM_OK;
  w->listed = true;
  return tm_vec_push(r->ctx, &r->touched, index);
}

// Ids of this generation become those of the trace.
static tm_status resolve(go_reader *r, go_work *w) {
  if (w->raw_reason) TM_TRY(go_string(r, w->raw_reason, &w->g.reason));
  if (w->raw_creation) TM_TRY(go_stack(r, w->raw_creation, &w->g.creation));
  if (w->raw_start) TM_TRY(go_entry_of(r, w->raw_start, &w->g.entry));
  if (!w->g.entry && w->raw_site) TM_TRY(go_entry_of(r, w->raw_site, &w->g.entry));
  if (w->raw_site && !w->ended) TM_TRY(go_stack(r, w->raw_site, &w->g.site));
  w->raw_reason = w->raw_creation = w->raw_start = w->raw_site = 0;
  return TM_OK;
}

static tm_status pile_of(go_reader *r, const tm_goroutine *g, tm_go_pile **out) {
  uint64_t key = ((uint64_t)g->entry << 32) | (uint64_t)g->creation << 1 | g->foreign;
  uint32_t slot = tm_idmap_get(&r->pile_index, key);
  if (slot == TM_IDMAP_NONE) {
    tm_go_pile pile = {.entry = g->entry, .creation = g->creation, .foreign = g->foreign};
    TM_TRY(tm_vec_push(r->ctx, &r->t->piles, pile));
    slot = (uint32_t)r->t->piles.count - 1;
    TM_TRY(tm_idmap_put(r->ctx, &r->pile_index, key, slot));
  }
  *out = &r->t->piles.items[slot];
  return TM_OK;
}

static tm_status fold(go_reader *r, const go_work *w) {
  tm_go_pile *pile;
  TM_TRY(pile_of(r, &w->g, &pile));
  int64_t lived = w->ended_ns - w->g.created_ns;
  pile->created_count += w->g.born;
  pile->ended_count++;
  pile->lived_ns = (int64_t)((uint64_t)pile->lived_ns + (uint64_t)(lived > 0 ? lived : 0));
  if (lived > pile->longest_ns) pile->longest_ns = lived;
  return TM_OK;
}

// Folds a goroutine whose life was read to its end: born and ended in this generation, and as many
// steps read as its last one has for number, so that no thread's batch can hold more of it. Its
// slot is free then, which keeps the memory of a program that starts millions of them small.
static tm_status retire(go_reader *r, uint32_t index) {
  go_work *w = &r->goroutines.items[index];
  if (!w->ended || w->gone || w->born_in != r->generation || w->steps != w->last_step) return TM_OK;
  TM_TRY(resolve(r, w));
  TM_TRY(fold(r, w));
  w->gone = true;
  tm_idmap_remove(&r->goroutine_index, w->g.id);
  return tm_vec_push(r->ctx, &r->free, index);
}

// Time leaves one state and enters another; the newest event decides where the goroutine is.
bool go_goroutine_move(go_reader *r, uint32_t index, uint64_t seq, tm_go_state from, tm_go_state to,
                       int64_t time_ns) {
  go_work *w = &r->goroutines.items[index];
  w->spent_ns[from] += (uint64_t)time_ns;
  w->spent_ns[to] -= (uint64_t)time_ns;
  if (w->generation == (uint32_t)r->generation && seq < w->seq) return false;
  w->generation = (uint32_t)r->generation;
  w->seq = seq;
  w->g.state = to;
  w->g.since_ns = time_ns;
  if (!w->g.entry && !w->raw_start) w->raw_start = w->raw_site; // its root is the entry
  w->g.reason = w->g.site = 0;
  w->raw_reason = w->raw_site = 0;
  return true;
}

static tm_status stop_at(go_reader *r, uint32_t index, uint64_t seq, tm_go_state to,
                         int64_t time_ns, uint64_t reason, uint64_t stack) {
  if (!go_goroutine_move(r, index, seq, TM_GO_RUNNING, to, time_ns)) return TM_OK;
  go_work *w = &r->goroutines.items[index];
  w->raw_reason = reason;
  w->raw_site = stack;
  return go_goroutine_touch(r, index);
}

tm_status go_goroutine_create(go_reader *r, uint64_t id, tm_go_state state, int64_t time_ns,
                              uint64_t start, uint64_t creation) {
  uint32_t index;
  TM_TRY(go_goroutine_find(r, id, &index));
  go_work *w = &r->goroutines.items[index];
  if (w->g.born) return TM_OK; // ids are never used twice: a damaged file
  w->g.born = true;
  w->g.created_ns = time_ns;
  w->raw_start = start;
  w->raw_creation = creation;
  w->born_in = r->generation;
  r->t->created_count++;
  go_goroutine_move(r, index, 0, TM_GO_UNKNOWN, state, time_ns);
  TM_TRY(go_goroutine_touch(r, index));
  return retire(r, index);
}

tm_status go_goroutine_end(go_reader *r, uint32_t index, uint64_t seq, int64_t time_ns) {
  go_work *w = &r->goroutines.items[index];
  if (w->ended) return TM_OK;
  w->ended = true;
  w->ended_ns = time_ns;
  w->last_step = seq;
  r->t->ended_count++;
  return retire(r, index);
}

// What the runtime says about a goroutine before its first event of a generation.
static tm_status status(go_reader *r, uint32_t index, uint64_t word, uint64_t stack) {
  static const tm_go_state states[] = {TM_GO_UNKNOWN, TM_GO_RUNNABLE, TM_GO_RUNNING, TM_GO_SYSCALL,
                                       TM_GO_WAITING};
  go_work *w = &r->goroutines.items[index];
  tm_go_state state = word < TM_COUNT(states) ? states[word] : TM_GO_UNKNOWN;
  if (w->generation == (uint32_t)r->generation) return TM_OK; // newer ones were read already
  w->generation = (uint32_t)r->generation;
  w->seq = 0;
  if (w->g.state == TM_GO_UNKNOWN) w->g.state = state;
  if (!stack || w->g.site) return TM_OK;
  w->raw_site = stack;
  return go_goroutine_touch(r, index);
}

// ---- threads ----

static tm_status find_thread(go_reader *r, uint64_t m, uint32_t *out) {
  *out = tm_idmap_get(&r->thread_index, m);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  go_thread thread = {.m = m, .goroutine = NO_GOROUTINE};
  TM_TRY(tm_vec_push(r->ctx, &r->threads, thread));
  *out = (uint32_t)r->threads.count - 1;
  return tm_idmap_put(r->ctx, &r->thread_index, m, *out);
}

static void run_on(go_reader *r, go_thread *m, uint32_t index, uint64_t seq) {
  m->goroutine = index;
  m->goroutine_id = r->goroutines.items[index].g.id;
  m->seq = seq;
}

static tm_status on_status(go_reader *r, go_thread *m, const uint64_t *a, uint64_t stack) {
  enum { RUNNING = 2, SYSCALL = 3 };
  uint32_t index;
  TM_TRY(go_goroutine_find(r, a[1], &index));
  TM_TRY(status(r, index, a[3], stack));
  if (a[3] == RUNNING) run_on(r, m, index, 0);
  if (a[3] != SYSCALL || a[2] == UINT64_MAX) return TM_OK;
  uint64_t self = m->m;
  uint32_t other;
  TM_TRY(find_thread(r, a[2], &other)); // may move the threads
  go_thread *in = &r->threads.items[other];
  if (in->goroutine == NO_GOROUTINE || a[2] == self) run_on(r, in, index, 0);
  return TM_OK;
}

// ---- events ----

// Events about the goroutine that the thread runs.
static tm_status on_current(go_reader *r, go_thread *m, uint8_t type, const uint64_t *a,
                            int64_t ns) {
  uint32_t g = m->goroutine;
  switch (type) {
  case EV_GO_DESTROY:
  case EV_GO_DESTROY_SYSCALL:
    m->goroutine = NO_GOROUTINE;
    return go_goroutine_end(r, g, m->seq, ns);
  case EV_GO_STOP:
    m->goroutine = NO_GOROUTINE;
    return stop_at(r, g, m->seq, TM_GO_RUNNABLE, ns, a[1], a[2]);
  case EV_GO_BLOCK:
    m->goroutine = NO_GOROUTINE;
    return stop_at(r, g, m->seq, TM_GO_WAITING, ns, a[1], a[2]);
  case EV_GO_SYSCALL_BEGIN:
    return stop_at(r, g, m->seq, TM_GO_SYSCALL, ns, 0, a[2]);
  case EV_GO_SYSCALL_END:
    go_goroutine_move(r, g, m->seq, TM_GO_SYSCALL, TM_GO_RUNNING, ns);
    return TM_OK;
  case EV_GO_SYSCALL_END_BLOCKED:
    go_goroutine_move(r, g, m->seq, TM_GO_SYSCALL, TM_GO_RUNNABLE, ns);
    m->goroutine = NO_GOROUTINE;
    return TM_OK;
  default:
    return go_user_event(r, type, a, m, ns);
  }
}

// A coroutine hands its thread to another goroutine.
static tm_status on_switch(go_reader *r, uint32_t thread, bool destroy, const uint64_t *a,
                           int64_t ns) {
  uint32_t self = r->threads.items[thread].goroutine, to;
  uint64_t seq = r->threads.items[thread].seq;
  TM_TRY(go_goroutine_find(r, a[1], &to));
  r->goroutines.items[to].steps++;
  go_goroutine_move(r, to, a[2], TM_GO_WAITING, TM_GO_RUNNING, ns);
  run_on(r, &r->threads.items[thread], to, a[2]);
  if (destroy) return go_goroutine_end(r, self, seq, ns);
  go_goroutine_move(r, self, seq, TM_GO_RUNNING, TM_GO_WAITING, ns);
  return TM_OK;
}

// Events that name their goroutine, or none.
static tm_status on_other(go_reader *r, uint32_t thread, uint8_t type, const uint64_t *a,
                          int64_t ns) {
  go_thread *m = &r->threads.items[thread];
  uint32_t g;
  switch (type) {
  case EV_GO_CREATE:
    return go_goroutine_create(r, a[1], TM_GO_RUNNABLE, ns, a[2], a[3]);
  case EV_GO_CREATE_BLOCKED:
    return go_goroutine_create(r, a[1], TM_GO_WAITING, ns, a[2], a[3]);
  case EV_GO_CREATE_SYSCALL:
    TM_TRY(go_goroutine_create(r, a[1], TM_GO_SYSCALL, ns, 0, 0));
    TM_TRY(go_goroutine_find(r, a[1], &g));
    r->goroutines.items[g].g.foreign = true;
    run_on(r, m, g, 0);
    return TM_OK;
  case EV_GO_START:
    TM_TRY(go_goroutine_find(r, a[1], &g));
    r->goroutines.items[g].steps++;
    go_goroutine_move(r, g, a[2], TM_GO_RUNNABLE, TM_GO_RUNNING, ns);
    run_on(r, m, g, a[2]);
    return TM_OK;
  case EV_GO_UNBLOCK:
    TM_TRY(go_goroutine_find(r, a[1], &g));
    r->goroutines.items[g].steps++;
    go_goroutine_move(r, g, a[2], TM_GO_WAITING, TM_GO_RUNNABLE, ns);
    return retire(r, g);
  case EV_GO_STATUS:
    return on_status(r, m, a, 0);
  case EV_GO_STATUS_STACK:
    return on_status(r, m, a, a[4]);
  case EV_PROCS:
    return go_count(r, TM_COUNTER_PROCS, ns, a[1]);
  case EV_HEAP_ALLOC:
    return go_count(r, TM_COUNTER_HEAP_LIVE, ns, a[1]);
  case EV_HEAP_GOAL:
    return go_count(r, TM_COUNTER_HEAP_GOAL, ns, a[1]);
  case EV_GC_BEGIN:
    r->t->gc_count++;
    return TM_OK;
  case EV_GC_END:
    return go_count(r, TM_COUNTER_COLLECTIONS, ns, a[1]);
  case EV_TASK_END:
    return go_user_event(r, type, a, m, ns);
  default:
    return TM_OK;
  }
}

static tm_status on_event(go_reader *r, uint32_t thread, uint8_t type, const uint64_t *a,
                          uint64_t time) {
  int64_t ns = go_time(r, time);
  go_thread *m = &r->threads.items[thread];
  if (!r->needs_current[type]) return on_other(r, thread, type, a, ns);
  if (m->goroutine == NO_GOROUTINE) return TM_OK; // cut or damaged: nobody to tell it of
  if (type == EV_GO_SWITCH || type == EV_GO_SWITCH_DESTROY)
    return on_switch(r, thread, type == EV_GO_SWITCH_DESTROY, a, ns);
  return on_current(r, m, type, a, ns);
}

// Decodes a batch; when `wait` is allowed and it needs a goroutine that is not known yet, what is
// left of it is kept for later.
static tm_status read_batch(go_reader *r, const go_batch *b, bool may_wait) {
  const uint8_t *at = b->data, *end = at + b->size;
  uint64_t a[MOST_ARGS] = {0}, time = b->time, events = 0;
  uint32_t thread;
  TM_TRY(find_thread(r, b->m, &thread));
  bool stuck = may_wait && r->threads.items[thread].stuck;
  while (at < end) {
    const uint8_t *event = at;
    stuck = stuck
            || (may_wait && r->needs_current[*at]
                && r->threads.items[thread].goroutine == NO_GOROUTINE);
    if (stuck) {
      r->threads.items[thread].stuck = true;
      go_batch rest = {b->m, time, at, (uint32_t)(end - at), true};
      TM_TRY(tm_vec_push(r->ctx, &r->retries, rest));
      break;
    }
    if (!go_take_event(r, &at, end, a)) {
      go_problem(r, event, r->args[*event] ? "an event is cut" : "an event is of no known type");
      break;
    }
    time += a[0];
    events++;
    TM_TRY(on_event(r, thread, *event, a, time));
  }
  r->t->event_count += events;
  int64_t ns = go_time(r, time);
  if (ns > r->last_ns) r->last_ns = ns;
  return TM_OK;
}

// ---- the end of a generation ----

// Folds what ended into the piles and closes the gaps; threads find their goroutines again.
static tm_status compact(go_reader *r) {
  size_t kept = 0;
  for (size_t i = 0; i < r->goroutines.count; i++) {
    go_work *w = &r->goroutines.items[i];
    if (w->ended && !w->gone) TM_TRY(fold(r, w));
    if (!w->ended) r->goroutines.items[kept++] = *w;
  }
  r->free.count = 0;
  if (kept == r->goroutines.count) return TM_OK;
  r->goroutines.count = kept;
  tm_idmap_free(r->ctx, &r->goroutine_index);
  for (size_t i = 0; i < kept; i++)
    TM_TRY(tm_idmap_put(r->ctx, &r->goroutine_index, r->goroutines.items[i].g.id, (uint32_t)i));
  for (size_t i = 0; i < r->threads.count; i++) {
    go_thread *m = &r->threads.items[i];
    if (m->goroutine != NO_GOROUTINE)
      m->goroutine = tm_idmap_get(&r->goroutine_index, m->goroutine_id);
  }
  return TM_OK;
}

static tm_status read_retries(go_reader *r) {
  for (size_t i = 0; i < r->threads.count; i++) r->threads.items[i].stuck = false;
  for (size_t i = 0; i < r->retries.count; i++) TM_TRY(read_batch(r, &r->retries.items[i], false));
  r->retries.count = 0;
  return TM_OK;
}

tm_status go_read_events(go_reader *r) {
  for (size_t i = 0; i < r->batches.count; i++)
    if (r->batches.items[i].events) TM_TRY(read_batch(r, &r->batches.items[i], true));
  TM_TRY(read_retries(r));
  return go_close_generation(r);
}

tm_status go_close_generation(go_reader *r) {
  TM_TRY(go_close_users(r));
  for (size_t i = 0; i < r->touched.count; i++) {
    go_work *w = &r->goroutines.items[r->touched.items[i]];
    TM_TRY(resolve(r, w));
    w->listed = false;
  }
  r->touched.count = 0;
  TM_TRY(compact(r));
  return go_count(r, TM_COUNTER_GOROUTINES, r->last_ns, r->goroutines.count);
}

static int by_id(const void *a, const void *b) {
  const tm_goroutine *x = a, *y = b;
  return x->id < y->id ? -1 : x->id > y->id;
}

static void close_times(const go_reader *r, const go_work *w, tm_goroutine *out) {
  *out = w->g;
  for (size_t s = 0; s < TM_GO_STATE_COUNT; s++) {
    uint64_t still = s == (size_t)w->g.state ? (uint64_t)r->last_ns : 0;
    int64_t spent = (int64_t)(w->spent_ns[s] + still);
    if (spent > r->last_ns) spent = r->last_ns;
    out->state_ns[s] = spent < 0 || s == TM_GO_UNKNOWN ? 0 : spent;
  }
}

tm_status go_finish_goroutines(go_reader *r) {
  tm_trace *t = r->t;
  for (size_t i = 0; i < r->counted.count; i++) t->piles.items[r->counted.items[i]].created_count--;
  r->counted.count = t->goroutines.count = 0;
  TM_TRY(tm_vec_reserve(r->ctx, &t->goroutines, r->goroutines.count));
  for (size_t i = 0; i < r->goroutines.count; i++) {
    const go_work *w = &r->goroutines.items[i];
    tm_go_pile *pile;
    if (w->g.born) {
      TM_TRY(pile_of(r, &w->g, &pile));
      TM_TRY(tm_vec_push(r->ctx, &r->counted, (uint32_t)(pile - t->piles.items)));
      pile->created_count++;
    }
    close_times(r, w, &t->goroutines.items[t->goroutines.count++]);
  }
  if (t->goroutines.count)
    qsort(t->goroutines.items, t->goroutines.count, sizeof *t->goroutines.items, by_id);
  t->duration_ns = r->last_ns;
  return TM_OK;
}
