// Shallow sizes and distances as DevTools shows them.
//
// Sizes: what only one object refers to and no program can name (hidden parts, backing arrays,
// bytes of external strings) gives its bytes to that object. An owner is found by letting every
// other node pass its own number along the edges: a part that two numbers reach has no one owner.
// A snapshot without objects of the user (taken with V8's internals exposed) keeps its raw sizes.
// Distances: a breadth-first walk from the objects of the user, then one from the root for the
// rest. Source: HeapSnapshot.ts of the DevTools front end. Both O(nodes + edges).
#include "read/v8heap_impl.h"

#include <string.h>

static bool is_named(const v8heap *h, uint32_t node, known_string name) {
  return h->known[name] != UINT32_MAX && h->name.items[node] == h->known[name];
}

bool v8heap_is_user_root(const v8heap *h, uint32_t node) {
  return v8heap_kind(h, node) != T_SYNTHETIC || is_named(h, node, S_DOCUMENT_TREES);
}

// ---- shallow sizes ----

#define UNOWNED UINT32_MAX
#define SHARED  (UINT32_MAX - 1)

typedef struct owning {
  uint32_t *owner; // by node: itself unless it is a part
  TM_VEC(uint32_t) changed;
} owning;

static bool is_part(const v8heap *h, uint32_t node) {
  node_type kind = v8heap_kind(h, node);
  return kind == T_HIDDEN || kind == T_ARRAY
         || (kind == T_NATIVE && is_named(h, node, S_EXTERNAL_STRING));
}

static tm_status pass_owner(v8heap *h, owning *w, uint32_t node) {
  const tm_graph *g = h->graph;
  uint32_t owner = w->owner[node];
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
    uint32_t to = g->edge_to[e], before = w->owner[to];
    if (before == to || before == owner || before == SHARED) continue;
    if (h->edge_type.items[e] == X_WEAK) continue;
    w->owner[to] = before == UNOWNED ? owner : SHARED;
    TM_TRY(tm_vec_push(h->ctx, &w->changed, to));
  }
  return TM_OK;
}

static tm_status find_owners(v8heap *h, owning *w) {
  uint32_t nodes = h->graph->node_count;
  for (uint32_t n = 0; n < nodes; n++) w->owner[n] = is_part(h, n) ? UNOWNED : n;
  for (uint32_t n = 0; n < nodes; n++) {
    if (w->owner[n] != n) continue;
    TM_TRY(pass_owner(h, w, n));
    while (w->changed.count) TM_TRY(pass_owner(h, w, w->changed.items[--w->changed.count]));
    if (n % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, h->size));
  }
  return TM_OK;
}

static bool gives(const v8heap *h, const uint32_t *owner, uint32_t n) {
  uint32_t to = owner[n];
  return to < SHARED && to != n && to != 0 && v8heap_kind(h, to) != T_SYNTHETIC;
}

// got: by node, what its parts gave it.
static tm_status write_sizes(v8heap *h, const uint32_t *owner, uint64_t *got) {
  tm_graph *g = h->graph;
  for (uint32_t n = 0; owner && n < g->node_count; n++)
    if (gives(h, owner, n)) got[owner[n]] += v8heap_raw_size(h, n);
  for (uint32_t n = 0; n < g->node_count; n++) {
    bool given = owner && gives(h, owner, n);
    uint64_t bytes = given ? 0 : v8heap_raw_size(h, n) + (owner ? got[n] : 0);
    TM_TRY(tm_graph_set_size(h->ctx, g, n, bytes));
  }
  return TM_OK;
}

static bool has_user_roots(const v8heap *h) {
  const tm_graph *g = h->graph;
  for (uint32_t e = g->edge_begin[0]; e < g->edge_begin[1]; e++)
    if (v8heap_is_user_root(h, g->edge_to[e])) return true;
  return false;
}

tm_status v8heap_set_sizes(v8heap *h) {
  size_t n = h->graph->node_count;
  if (!has_user_roots(h)) return write_sizes(h, NULL, NULL);
  owning w = {.owner = tm_alloc(h->ctx, n * sizeof *w.owner)};
  tm_status status = w.owner ? find_owners(h, &w) : TM_E_NOMEM;
  tm_vec_free(h->ctx, &w.changed);
  uint64_t *got = status == TM_OK ? tm_calloc(h->ctx, n, sizeof *got) : NULL;
  if (status == TM_OK) status = got ? write_sizes(h, w.owner, got) : TM_E_NOMEM;
  tm_free(h->ctx, got, n * sizeof *got);
  tm_free(h->ctx, w.owner, n * sizeof *w.owner);
  return status;
}

// ---- distances ----

enum { USER_DISTANCE = 1, SYSTEM_DISTANCE = 100000000 };

typedef struct far_walk {
  const v8heap *h;
  int32_t *out;
  uint32_t *queue;
  size_t first, last, room;
  uint8_t *waiting; // a bit per pair: its first edge was met
} far_walk;

// An array of descriptors is shared by maps that use only some of them: its keys, types and values
// are not followed.
static bool is_descriptor(const v8heap *h, uint32_t e) {
  char name[24] = "";
  uint64_t index = h->edge_name.items[e];
  if (h->edge_type.items[e] != X_ELEMENT && h->edge_type.items[e] != X_HIDDEN) {
    size_t n = v8heap_decode(h, h->edge_name.items[e], name, sizeof name);
    if (!v8heap_number(name, name + n, &index)) return false;
  }
  return index >= 2 && index % 3 == 1;
}

// What a walk for distances does not follow, beside weak edges. A value of a WeakMap is as far as
// the farther of key and table: only the second of its two edges counts.
static bool is_skipped(far_walk *w, uint32_t node, uint32_t e) {
  const v8heap *h = w->h;
  node_type kind = v8heap_kind(h, node);
  if (kind == T_HIDDEN && is_named(h, node, S_NATIVE_CONTEXT)
      && h->edge_name.items[e] == h->known[S_SLOPPY_MAP])
    return true;
  if (kind == T_ARRAY && is_named(h, node, S_DESCRIPTORS)) return is_descriptor(h, e);
  if (h->edge_type.items[e] != X_INTERNAL) return false;
  const v8heap_pair *pair = v8heap_pair_of(h, h->edge_name.items[e]);
  if (!pair) return false;
  w->waiting[pair->pair / 8] ^= (uint8_t)(1u << pair->pair % 8);
  return w->waiting[pair->pair / 8] >> pair->pair % 8 & 1;
}

static tm_status walk_far(tm_ctx *ctx, far_walk *w) {
  const tm_graph *g = w->h->graph;
  while (w->first < w->last) {
    uint32_t node = w->queue[w->first++];
    for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (w->out[to] != -5 || w->h->edge_type.items[e] == X_WEAK) continue;
      if (is_skipped(w, node, e)) continue;
      w->out[to] = w->out[node] + 1;
      if (w->last < w->room) w->queue[w->last++] = to;
    }
    if (w->first % TICK == 0) TM_TRY(tm_ctx_tick(ctx, w->first));
  }
  return TM_OK;
}

static tm_status measure(tm_ctx *ctx, far_walk *w) {
  const tm_graph *g = w->h->graph;
  for (uint32_t e = g->edge_begin[0]; e < g->edge_begin[1] && w->last < w->room; e++) {
    uint32_t to = g->edge_to[e];
    if (!v8heap_is_user_root(w->h, to)) continue;
    w->out[to] = USER_DISTANCE;
    w->queue[w->last++] = to;
  }
  bool users = w->last > 0;
  TM_TRY(walk_far(ctx, w));
  w->out[0] = users ? SYSTEM_DISTANCE : 0;
  w->queue[0] = 0;
  w->first = 0;
  w->last = 1;
  return walk_far(ctx, w);
}

// NOLINTNEXTLINE(readability-non-const-parameter): the walk writes through out and queue
tm_status v8heap_distances(tm_ctx *ctx, const tm_graph *g, int32_t *out, uint32_t *queue) {
  const v8heap *h = g->kept;
  size_t bits = h->pair_count / 8 + 1;
  far_walk w = {.h = h, .out = out, .queue = queue, .room = (size_t)g->node_count + 1};
  if (!g->node_count) return TM_OK;
  w.waiting = tm_calloc(ctx, bits, 1);
  tm_status status = w.waiting ? measure(ctx, &w) : TM_E_NOMEM;
  tm_free(ctx, w.waiting, bits);
  return status;
}
