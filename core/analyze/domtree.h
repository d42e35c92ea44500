// Dominators: which object's death frees which others, and so how much each one retains.
//
// A node dominates another when every path from the roots to the other leads through it. Retained
// bytes of a node = shallow bytes of all that it dominates, itself included. All roots hang under a
// virtual one.
// Source: Georgiadis, Tarjan, Werneck, "Finding Dominators in Practice" (2006): semi-NCA.
#ifndef TM_ANALYZE_DOMTREE_H
#define TM_ANALYZE_DOMTREE_H

#include "model/graph.h"

typedef struct tm_domtree {
  tm_allocator alloc;
  uint32_t node_count;
  uint32_t reached;   // nodes that the roots reach; their numbers are 1 .. reached
  uint32_t *number;   // by node: its number in depth-first order, 0 = unreachable
  uint32_t *vertex;   // by number: the node; [0] is the virtual root, TM_NODE_NONE
  uint32_t *idom;     // by number: the number of its dominator, smaller than its own; 0 = the root
  uint64_t *retained; // by number: bytes; [0] = of all that is reached
} tm_domtree;

// Follows edges at most as weak as `weakest` (STRONG: only strong ones). O(m log n) in theory, near
// linear on heaps; 24 bytes a node and 4 for about a third of the edges while it works, 20 bytes a
// node afterwards.
// TM_E_NOMEM, TM_E_CANCELLED. Free with tm_domtree_free.
TM_NODISCARD tm_status tm_domtree_new(tm_ctx *ctx, const tm_graph *graph, tm_strength weakest,
                                      tm_domtree **out);
void tm_domtree_free(tm_domtree *tree);

// Bytes that die with the node; its own size when nothing reaches it.
static inline uint64_t tm_domtree_retained(const tm_domtree *tree, const tm_graph *graph,
                                           uint32_t node) {
  uint32_t v = tree->number[node];
  return v ? tree->retained[v] : tm_graph_size(graph, node);
}

// The node that alone holds this one, or TM_NODE_NONE: only the roots together do, or nothing does.
static inline uint32_t tm_domtree_idom(const tm_domtree *tree, uint32_t node) {
  uint32_t v = tree->number[node];
  return v && tree->idom[v] ? tree->vertex[tree->idom[v]] : TM_NODE_NONE;
}

// The children of every vertex, by number: child[begin[v] .. begin[v + 1]], v from 0 to reached.
typedef struct tm_domchildren {
  tm_allocator alloc;
  uint32_t reached;
  uint32_t *begin, *child;
} tm_domchildren;

TM_NODISCARD tm_status tm_domtree_children(tm_ctx *ctx, const tm_domtree *tree,
                                           tm_domchildren *out);
void tm_domchildren_fini(tm_domchildren *children);

// The tree and its children to an index, and from one (model/columns.h): free as usual.
struct tm_columns;
TM_NODISCARD tm_status tm_domtree_store(struct tm_columns *columns, const tm_domtree *tree,
                                        const tm_domchildren *children);
TM_NODISCARD tm_status tm_domtree_take(struct tm_columns *columns, const tm_graph *graph,
                                       tm_domtree **out, tm_domchildren *children);

// For every type, the retained bytes of the set of its nodes: those of its topmost nodes in the
// tree, so that nothing counts twice; nodes of no bytes are not looked at. out[type] has
// types.count items and is added to.
TM_NODISCARD tm_status tm_domtree_retained_by_type(tm_ctx *ctx, const tm_domtree *tree,
                                                   const tm_graph *graph,
                                                   const tm_domchildren *children, uint64_t *out);

#endif
