// Sets of objects of a heap graph: chosen by what they are, joined, followed, weighed.
#ifndef TM_ANALYZE_NODE_SET_H
#define TM_ANALYZE_NODE_SET_H

#include "analyze/domtree.h"

// One bit per node. Zero-initialise, then tm_node_set_init; free with tm_node_set_fini.
typedef struct tm_node_set {
  tm_allocator alloc;
  uint32_t node_count;
  uint64_t *bits;
} tm_node_set;

// An empty set over the graph's nodes. TM_E_NOMEM.
TM_NODISCARD tm_status tm_node_set_init(tm_ctx *ctx, const tm_graph *graph, tm_node_set *out);
void tm_node_set_fini(tm_node_set *set);

static inline bool tm_node_set_has(const tm_node_set *set, uint32_t node) {
  return set->bits[node / 64] >> node % 64 & 1;
}
static inline void tm_node_set_add(tm_node_set *set, uint32_t node) {
  set->bits[node / 64] |= UINT64_C(1) << node % 64;
}

static inline size_t tm_node_set_words(const tm_node_set *set) {
  return ((size_t)set->node_count + 63) / 64;
}

// The first member at or after `from`, or TM_NODE_NONE:
//   for (uint32_t n = tm_node_set_next(s, 0); n != TM_NODE_NONE; n = tm_node_set_next(s, n + 1))
uint32_t tm_node_set_next(const tm_node_set *set, uint32_t from);

uint32_t tm_node_set_count(const tm_node_set *set);
// Sum of the members' own bytes.
uint64_t tm_node_set_shallow(const tm_node_set *set, const tm_graph *graph);

typedef enum tm_node_set_op { TM_NODE_SET_OR, TM_NODE_SET_AND, TM_NODE_SET_WITHOUT } tm_node_set_op;

// Joins `other` into `set`; both over the same graph.
void tm_node_set_join(tm_node_set *set, const tm_node_set *other, tm_node_set_op op);

// Which nodes are wanted: all that is asked must hold. Zeroed = every node.
typedef struct tm_node_query {
  const char *type;    // glob over the type's name ("java.util.*"); NULL = any
  const char *match;   // regular expression in it; NULL = any
  const char *extends; // glob over the names of the type and of those above it; NULL = any
  const char *loader;  // glob over the type of what loaded its type, "" = nothing did; NULL = any
  uint64_t min_bytes;  // shallow
  uint64_t max_bytes;  // shallow; 0 = no limit
  uint64_t min_retained_bytes; // needs the tree
  bool only_reachable;         // needs the tree
  bool only_unreachable;       // needs the tree
  bool only_roots;             // a root of root_kinds
  uint32_t root_kinds;         // bits 1 << tm_root_kind, when only_roots
} tm_node_query;

// The nodes that the query wants; out is made here. tree may be NULL when the query does not need
// it. One pass over two columns. TM_E_NOMEM, TM_E_CANCELLED, TM_E_ARG for a wrong pattern.
TM_NODISCARD tm_status tm_node_set_select(tm_ctx *ctx, const tm_graph *graph,
                                          const tm_domtree *tree, const tm_node_query *query,
                                          tm_node_set *out);

// What dies with the whole set, nothing twice: all that is reachable, but not when no edge out of
// the set counts (and the set itself, reachable or not). Exact: a walk from the roots that stops at
// members. weakest must be the tree's. O(nodes + edges). TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_node_set_retained(tm_ctx *ctx, const tm_graph *graph,
                                            const tm_domtree *tree, tm_strength weakest,
                                            const tm_node_set *set, tm_node_set *out);

// At least so many bytes die with the set: retained bytes of its topmost members in the dominator
// tree. What several of them hold together is not in it. O(nodes). TM_E_NOMEM.
TM_NODISCARD tm_status tm_node_set_min_retained(tm_ctx *ctx, const tm_graph *graph,
                                                const tm_domtree *tree, const tm_node_set *set,
                                                uint64_t *out_bytes);

// The nearest dominators of members that are no members themselves; those of garbage and of what
// only the roots together hold have none.
TM_NODISCARD tm_status tm_node_set_dominators(tm_ctx *ctx, const tm_graph *graph,
                                              const tm_domtree *tree, const tm_node_set *set,
                                              tm_node_set *out);

// Everything that members lead to over edges at most as weak as `weakest`, themselves included;
// what `around` holds is reached, but not left (NULL = no such).
TM_NODISCARD tm_status tm_node_set_reach(tm_ctx *ctx, const tm_graph *graph, tm_strength weakest,
                                         const tm_node_set *set, const tm_node_set *around,
                                         tm_node_set *out);

// What members refer to, and what refers to members (by edges at most as weak as `weakest`).
TM_NODISCARD tm_status tm_node_set_outgoing(tm_ctx *ctx, const tm_graph *graph, tm_strength weakest,
                                            const tm_node_set *set, tm_node_set *out);
TM_NODISCARD tm_status tm_node_set_incoming(tm_ctx *ctx, const tm_graph *graph, tm_strength weakest,
                                            const tm_node_set *set, tm_node_set *out);

#endif
