// A goroutine that waits on channels has g.waiting: a chain of sudogs, one per channel. Since Go
// 1.26 the chain also tells the semaphore of a lock or WaitGroup and the list of a condition. In
// older dumps those sudogs hang in the runtime's table of semaphores or in the condition; they are
// found by looking at every object of their size whose first word is the goroutine.
//
// The sudogs of locks hang on a global, which would keep every lock alive: they are hidden. The
// rules are those of the runtime's own detector. Source: runtime/mgc.go
// (setSyncObjectsUntraceable), chan.go, select.go, sema.go of Go 1.19 to 1.27.
#include "read/goheap_waits.h"

#include "read/goheap_impl.h"

#include <stdlib.h>

enum {
  CASES_MAX = 1 << 16, // of a select
  SLACK_BYTES = 32,    // between a sudog and the slot that the allocator gives it
  TICK_NODES = 1 << 20,
};

typedef enum wait_kind {
  WAIT_ALIVE,
  WAIT_NEVER,
  WAIT_CHANNEL,
  WAIT_LOCK,
  WAIT_CONDITION
} wait_kind;

static wait_kind kind_of(const char *state) {
  static const struct {
    const char *state;
    wait_kind kind;
  } known[] = {{"chan receive (nil chan)", WAIT_NEVER},
               {"chan send (nil chan)", WAIT_NEVER},
               {"select (no cases)", WAIT_NEVER},
               {"chan receive", WAIT_CHANNEL},
               {"chan send", WAIT_CHANNEL},
               {"select", WAIT_CHANNEL},
               {"semacquire", WAIT_LOCK},
               {"sync.Mutex.Lock", WAIT_LOCK},
               {"sync.RWMutex.RLock", WAIT_LOCK},
               {"sync.RWMutex.Lock", WAIT_LOCK},
               {"sync.WaitGroup.Wait", WAIT_LOCK},
               {"sync.Cond.Wait", WAIT_CONDITION}};
  for (size_t i = 0; i < TM_COUNT(known); i++)
    if (strcmp(state, known[i].state) == 0) return known[i].kind;
  return WAIT_ALIVE;
}

typedef struct finder {
  tm_ctx *ctx;
  const goheap *h;
  const tm_graph *graph;
  const tm_go_layout *layout;
  tm_waits *out;
  tm_idmap sought; // address of a g -> index in out->items: its sudog must be looked for
} finder;

// The word at an address of the dumped heap; false outside of it.
static bool word_at(const finder *f, uint64_t address, uint64_t *out) {
  goheap_object o;
  uint32_t node = goheap_find(f->h, address);
  if (node == TM_NODE_NONE || !goheap_object_of(f->h, node, &o)) return false;
  uint64_t offset = address - o.address;
  if (o.contents.size < f->h->pointer_bytes || offset > o.contents.size - f->h->pointer_bytes)
    return false;
  *out = goheap_pointer(f->h, o.contents.data + offset);
  return true;
}

// ---- by g.waiting ----

// One sudog of a chain: what it waits for and itself. false when that makes no sense.
static bool add_sudog(finder *f, wait_kind kind, uint64_t sudog, tm_status *status) {
  uint64_t target;
  uint32_t at = kind == WAIT_CHANNEL ? f->layout->sudog_c : f->layout->sudog_elem;
  uint32_t node = goheap_find(f->h, sudog);
  if (node == TM_NODE_NONE || !word_at(f, sudog + at, &target)) return false;
  uint32_t target_node = goheap_find(f->h, target);
  if (target_node == TM_NODE_NONE) return false; // a global: anybody may use it
  *status = tm_vec_push(f->ctx, &f->out->targets, target_node);
  if (*status == TM_OK) *status = tm_vec_push(f->ctx, &f->out->hidden, node);
  return *status == TM_OK;
}

// true when the whole chain was understood.
static bool follow_chain(finder *f, wait_kind kind, uint64_t sudog, tm_status *status) {
  for (int n = 0; sudog; n++) {
    if (n == CASES_MAX || !add_sudog(f, kind, sudog, status)) return false;
    if (!word_at(f, sudog + f->layout->sudog_waitlink, &sudog)) return false;
    if (kind != WAIT_CHANNEL) break; // there it links the waiters of one lock
  }
  return true;
}

static tm_status add_goroutine(finder *f, uint32_t index) {
  const tm_graph_goroutine *g = &f->graph->goroutines.items[index];
  if (!g->waits || g->system || g->node == TM_NODE_NONE) return TM_OK;
  wait_kind kind = kind_of(tm_graph_text(f->graph, g->state));
  if (kind == WAIT_ALIVE) return TM_OK;
  tm_waits *out = f->out;
  uint32_t target = (uint32_t)out->targets.count, hidden = (uint32_t)out->hidden.count;
  uint64_t sudog = 0;
  tm_status status = TM_OK;
  bool known = kind == WAIT_NEVER || word_at(f, g->address + f->layout->g_waiting, &sudog);
  bool sought = known && !sudog && (kind == WAIT_LOCK || kind == WAIT_CONDITION);
  if (known && kind != WAIT_NEVER && !sought)
    known = sudog && follow_chain(f, kind, sudog, &status);
  TM_TRY(status);
  if (!known) {
    out->targets.count = target;
    out->hidden.count = hidden;
    return TM_OK;
  }
  if (sought) TM_TRY(tm_idmap_put(f->ctx, &f->sought, g->address, (uint32_t)out->items.count));
  return tm_vec_push(
      f->ctx, &out->items,
      (tm_wait){index, target, (uint32_t)out->targets.count, hidden, (uint32_t)out->hidden.count});
}

// ---- by looking at every object ----

typedef struct found {
  uint32_t wait, target, hidden; // hidden may be TM_NODE_NONE
} found;

typedef struct find_list {
  TM_VEC(found) items;
} find_list;

// An object that may be a sudog of a goroutine that is sought.
static tm_status look_at(finder *f, uint32_t node, const goheap_object *o, find_list *list) {
  const tm_go_layout *l = f->layout;
  uint64_t g = goheap_pointer(f->h, o->contents.data + l->sudog_g);
  uint32_t wait = g ? tm_idmap_get(&f->sought, g) : TM_IDMAP_NONE;
  if (wait == TM_IDMAP_NONE) return TM_OK;
  uint64_t elem = goheap_pointer(f->h, o->contents.data + l->sudog_elem);
  if (goheap_pointer(f->h, o->contents.data + l->sudog_c)) return TM_OK; // of a channel
  const tm_graph_goroutine *one = &f->graph->goroutines.items[f->out->items.items[wait].goroutine];
  // One that a condition uses points nowhere: who reaches it can wake it. One that is not in use
  // looks the same, and hangs on the processor that keeps it, which is alive.
  if (kind_of(tm_graph_text(f->graph, one->state)) == WAIT_CONDITION)
    return elem ? TM_OK : tm_vec_push(f->ctx, &list->items, (found){wait, node, TM_NODE_NONE});
  if (!elem) return TM_OK; // an old one
  return tm_vec_push(f->ctx, &list->items, (found){wait, goheap_find(f->h, elem), node});
}

static tm_status look_at_all(finder *f, find_list *list) {
  uint64_t least = f->layout->sudog_bytes;
  for (uint32_t node = 0; node < f->graph->node_count; node++) {
    goheap_object o;
    if (node % TICK_NODES == 0) TM_TRY(tm_ctx_tick(f->ctx, f->h->at[node]));
    uint32_t size = f->graph->size[node];
    if (size < least || size > least + SLACK_BYTES || !goheap_object_of(f->h, node, &o)) continue;
    TM_TRY(look_at(f, node, &o, list));
  }
  return TM_OK;
}

static int by_wait(const void *a, const void *b) {
  const found *x = a, *y = b;
  if (x->wait != y->wait) return x->wait < y->wait ? -1 : 1;
  return x->target < y->target ? -1 : x->target > y->target;
}

// Takes what was found of one wait, the items from i to end; false when it is not to be trusted.
static tm_status take_found(finder *f, const found *from, size_t count, bool *trusted) {
  tm_waits *out = f->out;
  tm_wait *w = &out->items.items[from->wait];
  w->target_begin = w->target_end = (uint32_t)out->targets.count;
  w->hidden_begin = w->hidden_end = (uint32_t)out->hidden.count;
  *trusted = true;
  for (size_t i = 0; i < count; i++) {
    if (from[i].target == TM_NODE_NONE) *trusted = false; // a global, or a stack
    if (from[i].target == TM_NODE_NONE) continue;
    TM_TRY(tm_vec_push(f->ctx, &out->targets, from[i].target));
    if (from[i].hidden != TM_NODE_NONE) TM_TRY(tm_vec_push(f->ctx, &out->hidden, from[i].hidden));
  }
  w->target_end = (uint32_t)out->targets.count;
  w->hidden_end = (uint32_t)out->hidden.count;
  return TM_OK;
}

// Gives every sought wait what was found of it, and drops those of which nothing was.
static tm_status settle(finder *f, const find_list *list) {
  const tm_graph *graph = f->graph;
  size_t kept = 0, at = 0;
  for (size_t i = 0; i < f->out->items.count; i++) {
    tm_wait *w = &f->out->items.items[i];
    bool trusted = true;
    if (tm_idmap_get(&f->sought, graph->goroutines.items[w->goroutine].address) == i) {
      size_t from = at;
      while (at < list->items.count && list->items.items[at].wait == i) at++;
      trusted = at > from;
      if (trusted) TM_TRY(take_found(f, list->items.items + from, at - from, &trusted));
    }
    if (trusted) f->out->items.items[kept++] = *w;
  }
  f->out->items.count = kept;
  return TM_OK;
}

static tm_status seek(finder *f) {
  find_list list = {0};
  tm_status status = look_at_all(f, &list);
  if (status == TM_OK && list.items.count)
    qsort(list.items.items, list.items.count, sizeof *list.items.items, by_wait);
  if (status == TM_OK) status = settle(f, &list);
  tm_vec_free(f->ctx, &list.items);
  return status;
}

// ---- cleanups ----

// Who calls cleanups is there from the first one on. In Go 1.24 it is also who calls finalizers.
static bool has_cleanups(const finder *f) {
  bool old = strncmp(f->h->version, "go1.24", 6) == 0;
  const char *caller = old ? "runtime.runfinq" : "runtime.runCleanups";
  for (size_t i = 0; i < f->graph->frames.count; i++)
    if (strcmp(tm_graph_text(f->graph, f->graph->frames.items[i].function), caller) == 0)
      return true;
  return false;
}

// The closures that goroutines were started with are garbage from then on, and common.
static tm_status find_starts(finder *f) {
  const tm_graph *graph = f->graph;
  tm_idmap entries = {0};
  tm_status status = TM_OK;
  for (size_t i = 0; status == TM_OK && i < graph->goroutines.count; i++) {
    const tm_graph_goroutine *g = &graph->goroutines.items[i];
    for (uint32_t k = g->frame_begin; status == TM_OK && k < g->frame_end; k++)
      if (k + 2 >= g->frame_end) // the outermost two: below runtime.goexit
        status = tm_idmap_put(f->ctx, &entries, graph->frames.items[k].entry, 0);
  }
  for (uint32_t node = 0; status == TM_OK && node < graph->node_count; node++) {
    goheap_object o;
    if (!goheap_object_of(f->h, node, &o) || o.contents.size < f->h->pointer_bytes) continue;
    uint64_t word = goheap_pointer(f->h, o.contents.data);
    if (word && tm_idmap_get(&entries, word) != TM_IDMAP_NONE)
      status = tm_vec_push(f->ctx, &f->out->starts, node);
  }
  tm_idmap_free(f->ctx, &entries);
  return status;
}

// ---- all ----

bool tm_goheap_version(const tm_graph *graph, const char **out_version, uint32_t *out_pointer) {
  if (graph->detail != &goheap_detail) return false;
  const goheap *h = graph->kept;
  *out_version = h->version;
  *out_pointer = h->pointer_bytes;
  return true;
}

static tm_status check_layout(tm_ctx *ctx, const goheap *h, const tm_go_layout *l) {
  const uint32_t needed[] = {l->g_waiting,  l->sudog_bytes,    l->sudog_g,
                             l->sudog_elem, l->sudog_waitlink, l->sudog_c};
  if (l->pointer_bytes != h->pointer_bytes)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                   "the layout is of %u-bit programs, the dump of %u-bit", l->pointer_bytes * 8,
                   h->pointer_bytes * 8);
  for (size_t i = 0; i < TM_COUNT(needed); i++)
    if (needed[i] > 1 << 16)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                     "the layout lacks an offset that the proof needs");
  if (l->sudog_g + h->pointer_bytes > l->sudog_bytes
      || l->sudog_c + h->pointer_bytes > l->sudog_bytes
      || l->sudog_elem + h->pointer_bytes > l->sudog_bytes)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the layout has offsets outside of their struct");
  return TM_OK;
}

tm_status tm_goheap_waits(tm_ctx *ctx, const tm_graph *graph, const tm_go_layout *layout,
                          tm_waits *out) {
  if (graph->detail != &goheap_detail)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "goroutines wait in Go heap dumps only");
  finder f = {.ctx = ctx, .h = graph->kept, .graph = graph, .layout = layout, .out = out};
  TM_TRY(check_layout(ctx, f.h, layout));
  tm_status status = TM_OK;
  for (uint32_t i = 0; status == TM_OK && i < graph->goroutines.count; i++)
    status = add_goroutine(&f, i);
  for (size_t i = 0; status == TM_OK && i < f.h->finalized.count; i++)
    status = tm_vec_push(ctx, &out->finalized, f.h->finalized.items[i]);
  if (status == TM_OK && f.sought.count) status = seek(&f);
  tm_idmap_free(ctx, &f.sought);
  out->cleanups = has_cleanups(&f);
  return status == TM_OK && out->cleanups ? find_starts(&f) : status;
}
