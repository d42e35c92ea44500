// Bits by node. What a query asks of the type is answered once per type, so that choosing objects
// is one pass over the type column (and sizes when they are asked for), 64 nodes to a word.
// What a set retains is what a walk from the roots no longer meets when it stops at members.
#include "analyze/node_set.h"

#include "base/glob.h"
#include "base/regex.h"

#include <string.h>

enum { TICK_WORDS = 1 << 14, TICK = 1 << 16 };

tm_status tm_node_set_init(tm_ctx *ctx, const tm_graph *g, tm_node_set *out) {
  tm_node_set set = {.alloc = ctx->alloc, .node_count = g->node_count};
  set.bits = tm_calloc(ctx, tm_node_set_words(&set) + 1, sizeof *set.bits);
  if (!set.bits) return TM_E_NOMEM;
  *out = set;
  return TM_OK;
}

void tm_node_set_fini(tm_node_set *set) {
  if (!set->bits) return;
  tm_ctx ctx = {.alloc = set->alloc};
  tm_free(&ctx, set->bits, (tm_node_set_words(set) + 1) * sizeof *set->bits);
  *set = (tm_node_set){0};
}

uint32_t tm_node_set_next(const tm_node_set *set, uint32_t from) {
  size_t word = from / 64, words = tm_node_set_words(set);
  if (from >= set->node_count) return TM_NODE_NONE;
  uint64_t bits = set->bits[word] & UINT64_MAX << from % 64;
  while (!bits && ++word < words) bits = set->bits[word];
  return bits ? (uint32_t)(word * 64) + (uint32_t)__builtin_ctzll(bits) : TM_NODE_NONE;
}

uint32_t tm_node_set_count(const tm_node_set *set) {
  uint32_t count = 0;
  for (size_t i = 0; i < tm_node_set_words(set); i++)
    count += (uint32_t)__builtin_popcountll(set->bits[i]);
  return count;
}

uint64_t tm_node_set_shallow(const tm_node_set *set, const tm_graph *g) {
  uint64_t sum = 0;
  for (size_t i = 0; i < tm_node_set_words(set); i++)
    for (uint64_t bits = set->bits[i]; bits; bits &= bits - 1)
      sum += tm_graph_size(g, (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(bits));
  return sum;
}

void tm_node_set_join(tm_node_set *set, const tm_node_set *other, tm_node_set_op op) {
  for (size_t i = 0; i < tm_node_set_words(set); i++) {
    uint64_t b = other->bits[i];
    if (op == TM_NODE_SET_OR)
      set->bits[i] |= b;
    else
      set->bits[i] &= op == TM_NODE_SET_AND ? b : ~b;
  }
}

// ---- choosing ----

static bool extends_glob(const tm_graph *g, uint32_t type, const char *glob) {
  for (size_t steps = 0; type != TM_NODE_NONE && steps <= g->types.count; steps++) {
    if (tm_glob(glob, tm_graph_text(g, g->types.items[type].name))) return true;
    type = g->types.items[type].super; // a class that is its own is left after that many steps
  }
  return false;
}

static bool wants_type(const tm_graph *g, const tm_node_query *q, tm_regex *match, uint32_t type) {
  const tm_type *t = &g->types.items[type];
  const char *name = tm_graph_text(g, t->name);
  if (q->type && !tm_glob(q->type, name)) return false;
  if (match && !tm_regex_match(match, name, tm_strtab_length(&g->strings, t->name))) return false;
  if (q->extends && !extends_glob(g, type, q->extends)) return false;
  if (!q->loader) return true;
  return t->loader == TM_NODE_NONE ? !*q->loader
                                   : tm_glob(q->loader, tm_graph_type_name(g, t->loader));
}

// wanted[type] for every type.
static tm_status choose_types(tm_ctx *ctx, const tm_graph *g, const tm_node_query *q,
                              uint8_t *wanted) {
  tm_regex *match = NULL;
  if (q->match) TM_TRY(tm_regex_new(ctx, q->match, strlen(q->match), &match));
  for (size_t i = 0; i < g->types.count; i++) wanted[i] = wants_type(g, q, match, (uint32_t)i);
  if (match) tm_regex_free(match);
  return TM_OK;
}

static tm_status mark_types(tm_ctx *ctx, const tm_graph *g, const uint8_t *wanted,
                            tm_node_set *out) {
  for (size_t word = 0; word < tm_node_set_words(out); word++) {
    size_t first = word * 64, n = g->node_count - first < 64 ? g->node_count - first : 64;
    uint64_t bits = 0;
    for (size_t i = 0; i < n; i++) bits |= (uint64_t)wanted[g->type[first + i]] << i;
    out->bits[word] = bits;
    if (word % TICK_WORDS == 0) TM_TRY(tm_ctx_tick(ctx, first));
  }
  return TM_OK;
}

// The rest is asked only of those whose type is right.
static bool wants_node(const tm_graph *g, const tm_domtree *t, const tm_node_query *q,
                       uint32_t node) {
  uint64_t bytes = tm_graph_size(g, node);
  if (bytes < q->min_bytes || (q->max_bytes && bytes > q->max_bytes)) return false;
  if (q->only_reachable && !t->number[node]) return false;
  if (q->only_unreachable && t->number[node]) return false;
  return !q->min_retained_bytes || tm_domtree_retained(t, g, node) >= q->min_retained_bytes;
}

static bool asks_of_nodes(const tm_node_query *q) {
  return q->min_bytes || q->max_bytes || q->only_reachable || q->only_unreachable
         || q->min_retained_bytes;
}

static tm_status keep_wanted(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                             const tm_node_query *q, tm_node_set *out) {
  for (size_t word = 0; word < tm_node_set_words(out); word++) {
    for (uint64_t bits = out->bits[word]; bits; bits &= bits - 1) {
      uint32_t bit = (uint32_t)__builtin_ctzll(bits);
      if (!wants_node(g, t, q, (uint32_t)(word * 64) + bit))
        out->bits[word] &= ~(UINT64_C(1) << bit);
    }
    if (word % TICK_WORDS == 0) TM_TRY(tm_ctx_tick(ctx, word));
  }
  return TM_OK;
}

static tm_status keep_roots(tm_ctx *ctx, const tm_graph *g, uint32_t kinds, tm_node_set *out) {
  tm_node_set roots;
  TM_TRY(tm_node_set_init(ctx, g, &roots));
  for (size_t i = 0; i < g->roots.count; i++)
    if (kinds >> g->roots.items[i].kind & 1) tm_node_set_add(&roots, g->roots.items[i].node);
  tm_node_set_join(out, &roots, TM_NODE_SET_AND);
  tm_node_set_fini(&roots);
  return TM_OK;
}

static tm_status select_into(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                             const tm_node_query *q, uint8_t *wanted, tm_node_set *out) {
  TM_TRY(choose_types(ctx, g, q, wanted));
  TM_TRY(mark_types(ctx, g, wanted, out));
  if (q->only_roots) TM_TRY(keep_roots(ctx, g, q->root_kinds, out));
  return asks_of_nodes(q) ? keep_wanted(ctx, g, t, q, out) : TM_OK;
}

tm_status tm_node_set_select(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                             const tm_node_query *q, tm_node_set *out) {
  tm_node_set set;
  uint8_t *wanted = tm_calloc(ctx, g->types.count + 1, 1);
  if (!wanted) return TM_E_NOMEM;
  tm_status status = tm_node_set_init(ctx, g, &set);
  if (status == TM_OK) {
    status = select_into(ctx, g, t, q, wanted, &set);
    if (status == TM_OK)
      *out = set;
    else
      tm_node_set_fini(&set);
  }
  tm_free(ctx, wanted, g->types.count + 1);
  return status;
}

// ---- weighing ----

typedef struct walk {
  const tm_graph *g;
  tm_strength weakest;
  tm_node_set met;
  uint32_t *stack;
  size_t depth;
} walk;

static void meet(walk *w, uint32_t node) {
  if (tm_node_set_has(&w->met, node)) return;
  tm_node_set_add(&w->met, node);
  w->stack[w->depth++] = node;
}

// Follows what was met, but not out of members of barrier (NULL = none).
static tm_status walk_on(tm_ctx *ctx, walk *w, const tm_node_set *barrier) {
  const tm_graph *g = w->g;
  uint64_t steps = 0;
  while (w->depth) {
    uint32_t v = w->stack[--w->depth];
    if (++steps % TICK == 0) TM_TRY(tm_ctx_tick(ctx, steps));
    if (barrier && tm_node_set_has(barrier, v)) continue;
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++)
      if (tm_graph_strength(g, v, e) <= w->weakest) meet(w, g->edge_to[e]);
  }
  return TM_OK;
}

// Marks in w->met what roots reach without passing through members; members met are in it too.
static tm_status walk_around(tm_ctx *ctx, walk *w, const tm_node_set *set) {
  for (size_t i = 0; i < w->g->roots.count; i++)
    if (!w->g->roots.items[i].held) meet(w, w->g->roots.items[i].node);
  return walk_on(ctx, w, set);
}

tm_status tm_node_set_reach(tm_ctx *ctx, const tm_graph *g, tm_strength weakest,
                            const tm_node_set *set, const tm_node_set *around, tm_node_set *out) {
  size_t room = ((size_t)g->node_count + 1) * sizeof(uint32_t);
  walk w = {.g = g, .weakest = weakest};
  TM_TRY(tm_node_set_init(ctx, g, &w.met));
  w.stack = tm_alloc(ctx, room);
  for (uint32_t n = tm_node_set_next(set, 0); w.stack && n != TM_NODE_NONE;
       n = tm_node_set_next(set, n + 1))
    meet(&w, n);
  tm_status status = w.stack ? walk_on(ctx, &w, around) : TM_E_NOMEM;
  tm_free(ctx, w.stack, room);
  if (status == TM_OK)
    *out = w.met;
  else
    tm_node_set_fini(&w.met);
  return status;
}

tm_status tm_node_set_retained(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                               tm_strength weakest, const tm_node_set *set, tm_node_set *out) {
  size_t room = ((size_t)g->node_count + 1) * sizeof(uint32_t);
  walk w = {.g = g, .weakest = weakest};
  TM_TRY(tm_node_set_init(ctx, g, &w.met));
  w.stack = tm_alloc(ctx, room); // a node is pushed once
  tm_status status = w.stack ? walk_around(ctx, &w, set) : TM_E_NOMEM;
  tm_free(ctx, w.stack, room);
  if (status != TM_OK) {
    tm_node_set_fini(&w.met);
    return status;
  }
  for (size_t word = 0; word < tm_node_set_words(set); word++) {
    uint64_t lost = ~w.met.bits[word], kept = set->bits[word];
    for (uint64_t bits = lost & ~kept; bits; bits &= bits - 1) {
      uint32_t node = (uint32_t)(word * 64) + (uint32_t)__builtin_ctzll(bits);
      if (node < g->node_count && t->number[node]) kept |= bits & -bits;
    }
    w.met.bits[word] = kept;
  }
  *out = w.met;
  return TM_OK;
}

// covered[v]: a member dominates v strictly. Parents have smaller numbers than their children.
tm_status tm_node_set_min_retained(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                                   const tm_node_set *set, uint64_t *out_bytes) {
  size_t room = (size_t)t->reached + 1;
  uint8_t *covered = tm_calloc(ctx, room, 1);
  if (!covered) return TM_E_NOMEM;
  uint64_t sum = 0;
  for (uint32_t v = 1; v <= t->reached; v++) {
    bool member = tm_node_set_has(set, t->vertex[v]), above = covered[t->idom[v]];
    if (member && !above) sum += t->retained[v];
    covered[v] = member || above;
  }
  for (uint32_t n = tm_node_set_next(set, 0); n != TM_NODE_NONE; n = tm_node_set_next(set, n + 1))
    if (!t->number[n]) sum += tm_graph_size(g, n);
  tm_free(ctx, covered, room);
  *out_bytes = sum;
  return TM_OK;
}

// ---- following ----

// above[v]: the nearest dominator's number that is no member, 0 = none.
tm_status tm_node_set_dominators(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                                 const tm_node_set *set, tm_node_set *out) {
  size_t room = ((size_t)t->reached + 1) * sizeof(uint32_t);
  tm_node_set found;
  TM_TRY(tm_node_set_init(ctx, g, &found));
  uint32_t *above = tm_alloc(ctx, room);
  if (!above) {
    tm_node_set_fini(&found);
    return TM_E_NOMEM;
  }
  above[0] = 0;
  for (uint32_t v = 1; v <= t->reached; v++) {
    uint32_t d = t->idom[v];
    above[v] = d && tm_node_set_has(set, t->vertex[d]) ? above[d] : d;
    if (above[v] && tm_node_set_has(set, t->vertex[v]))
      tm_node_set_add(&found, t->vertex[above[v]]);
  }
  tm_free(ctx, above, room);
  *out = found;
  return TM_OK;
}

tm_status tm_node_set_outgoing(tm_ctx *ctx, const tm_graph *g, tm_strength weakest,
                               const tm_node_set *set, tm_node_set *out) {
  TM_TRY(tm_node_set_init(ctx, g, out));
  for (uint32_t n = tm_node_set_next(set, 0); n != TM_NODE_NONE; n = tm_node_set_next(set, n + 1))
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
      if (tm_graph_strength(g, n, e) <= weakest) tm_node_set_add(out, g->edge_to[e]);
  return TM_OK;
}

static bool points_into(const tm_graph *g, tm_strength weakest, const tm_node_set *set,
                        uint32_t n) {
  for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
    if (tm_node_set_has(set, g->edge_to[e]) && tm_graph_strength(g, n, e) <= weakest) return true;
  return false;
}

// One pass over all edges: no dearer than turning them.
tm_status tm_node_set_incoming(tm_ctx *ctx, const tm_graph *g, tm_strength weakest,
                               const tm_node_set *set, tm_node_set *out) {
  tm_node_set found;
  TM_TRY(tm_node_set_init(ctx, g, &found));
  for (uint32_t n = 0; n < g->node_count; n++) {
    if (points_into(g, weakest, set, n)) tm_node_set_add(&found, n);
    if (n % TICK == 0 && tm_ctx_tick(ctx, n) != TM_OK) {
      tm_node_set_fini(&found);
      return TM_E_CANCELLED;
    }
  }
  *out = found;
  return TM_OK;
}
