// The call graph that a report draws: which nodes, in which order, which edges and labels between
// them. A graph has one node per function (or what the granularity makes equal); a call tree has
// one per context. Others write it as dot, callgrind or SVG.
#ifndef TM_ANALYZE_CALLGRAPH_H
#define TM_ANALYZE_CALLGRAPH_H

#include "analyze/flatcum.h"
#include "base/idmap.h"

typedef struct tm_callgraph_node {
  uint32_t info; // node of the flatcum: what it is
  int64_t flat, cum, flat_divisor, cum_divisor;
  uint32_t number;              // place in order, from 1; 0 = not shown, though edges may touch it
  uint32_t in_count, out_count; // live edges
  uint32_t tag_begin, tag_end;  // range in tags
} tm_callgraph_node;

typedef struct tm_callgraph_edge {
  uint32_t from, to; // nodes
  int64_t weight, weight_divisor;
  bool residual;  // over nodes that are not shown
  bool is_inline; // every call was inlined
  bool dead;
} tm_callgraph_edge;

// A share of a node by the labels of its samples: all string labels joined, or under them one value
// of the numeric label "bytes".
typedef struct tm_callgraph_tag {
  uint32_t node;
  uint32_t group; // view string id of the joined labels, 0 = none
  uint32_t name;  // view string id of the numeric label as printed, 0 = the group itself
  int64_t number; // numeric only
  int64_t flat, cum, flat_divisor, cum_divisor;
} tm_callgraph_tag;

typedef struct tm_callgraph {
  tm_view *v;
  tm_flatcum *f;
  TM_VEC(tm_callgraph_node) nodes;
  TM_VEC(tm_callgraph_edge) edges;
  TM_VEC(tm_callgraph_tag) tags;
  uint32_t *order; // of the nodes shown
  size_t order_room;
  uint32_t order_count, original_count, dropped_nodes, dropped_edges;
  uint32_t *in_begin, *in_edges; // per node: its incoming edges, dead ones too
  size_t index_nodes, index_edges;
  tm_idmap children; // of a tree: (caller, flatcum node) -> node
  bool is_tree;
} tm_callgraph;

typedef struct tm_callgraph_options {
  double node_fraction, edge_fraction;
  int64_t node_count; // 0 = all
  bool tree;          // a call tree
  bool visual;        // entropy order, labels count as nodes, redundant edges go
  bool by_cum;        // order when not visual
  bool drop_negative;
  const char *tag_unit; // how numeric labels print
} tm_callgraph_options;

// The graph over f, which tm_flatcum_init filled. Free with tm_callgraph_fini, also on failure.
TM_NODISCARD tm_status tm_callgraph_init(tm_ctx *ctx, tm_view *v, tm_flatcum *f,
                                         const tm_callgraph_options *o, tm_callgraph *out);
void tm_callgraph_fini(tm_ctx *ctx, tm_callgraph *g);

// Live edges that leave a shown node, heaviest first, ties by names; *out_count of them. Free with
// tm_free(ctx, *out, (g->edges.count + 1) * sizeof **out).
TM_NODISCARD tm_status tm_callgraph_sorted_edges(tm_ctx *ctx, tm_callgraph *g, uint32_t **out,
                                                 uint32_t *out_count);

static inline int64_t tm_per(int64_t sum, int64_t divisor) {
  return divisor == 0 ? sum : divisor == -1 ? (int64_t)(0 - (uint64_t)sum) : sum / divisor;
}
static inline int64_t tm_callgraph_flat(const tm_callgraph_node *n) {
  return tm_per(n->flat, n->flat_divisor);
}
static inline int64_t tm_callgraph_cum(const tm_callgraph_node *n) {
  return tm_per(n->cum, n->cum_divisor);
}

#endif
