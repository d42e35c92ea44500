// What a heap graph holds, by type: counts, shallow and retained bytes, what is unreachable.
#ifndef TM_ANALYZE_OBJECTS_H
#define TM_ANALYZE_OBJECTS_H

#include "analyze/domtree.h"

typedef enum tm_objects_order {
  TM_OBJECTS_BY_RETAINED,
  TM_OBJECTS_BY_SHALLOW,
  TM_OBJECTS_BY_COUNT,
} tm_objects_order;

// One row per type that has objects of any bytes, the greatest first, ties by name. Columns: type,
// count, shallow_bytes, retained_bytes (what its objects retain, nothing twice),
// unreachable_count, unreachable_bytes (shallow; no root leads there). Notes: objects,
// shallow_bytes, reachable_bytes, unreachable_count, unreachable_bytes. row_count 0 = all.
// TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_objects_table(tm_ctx *ctx, const tm_graph *graph, const tm_domtree *tree,
                                        const tm_domchildren *children, tm_objects_order order,
                                        size_t row_count, tm_table *out);

// The way from a root to a node over the fewest edges no weaker than `weakest`. Columns: node,
// type, edge (its name; of the first row the kind of the root and its label), shallow_bytes,
// retained_bytes, preview (a few words of what it is, or ""). No rows when nothing leads there.
// O(nodes + edges).
TM_NODISCARD tm_status tm_objects_path(tm_ctx *ctx, const tm_graph *graph, const tm_domtree *tree,
                                       uint32_t node, tm_strength weakest, tm_table *out);

// The biggest single holders: children of the virtual root (parent TM_NODE_NONE) or of a node in
// the dominator tree, by retained bytes. Columns: node, type, shallow_bytes, retained_bytes,
// children, preview. Of V8's dumps, whose roots are nodes that hold nearly all, below these.
// row_count 0 = all.
TM_NODISCARD tm_status tm_objects_dominated(tm_ctx *ctx, const tm_graph *graph,
                                            const tm_domtree *tree, const tm_domchildren *children,
                                            uint32_t parent, size_t row_count, tm_table *out);

#endif
