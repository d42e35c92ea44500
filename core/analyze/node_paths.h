// The shortest ways from the roots to the members of a set, merged where they run together.
#ifndef TM_ANALYZE_NODE_PATHS_H
#define TM_ANALYZE_NODE_PATHS_H

#include "analyze/node_set.h"

// One row per place of the tree, children behind their parent, those with most members first.
// by_type: objects of one type under one parent are one place, and a place whose type is its
// parent's is the parent (chains); else every object is a place. The row_count places with most
// members below are shown (0 = 1000), never one without its parent. Columns: depth, node (the first
// of the place), type, edge (of that node; of a first row the root's kind and label), count
// (members at and below), bytes (their shallow bytes), objects (of the place that are on the way),
// preview (of the first). Notes: members, reached, places. O(nodes + edges). TM_E_NOMEM,
// TM_E_CANCELLED.
TM_NODISCARD tm_status tm_node_paths_table(tm_ctx *ctx, const tm_graph *graph, tm_strength weakest,
                                           const tm_node_set *set, bool by_type, size_t row_count,
                                           tm_table *out);

#endif
