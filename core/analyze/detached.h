// DOM trees that no document holds any more, but the program does: what they are, who holds them.
#ifndef TM_ANALYZE_DETACHED_H
#define TM_ANALYZE_DETACHED_H

#include "analyze/domtree.h"

// Detached DOM nodes that refer to one another make a tree; its root is the one nearest to the
// roots of the heap, which is what the program holds. Trees are grouped by the class of their root
// and by who holds it: the first object on the way up that is no part of a DOM.
//
// One row per group, by retained bytes. Columns: type (of the root), holder ("Row.el": class and
// edge), trees, nodes (DOM nodes in them), retained_bytes (what would go with all of them, nothing
// twice), node (one root), path (from a root of the heap down to it). Notes: nodes, trees.
// row_count 0 = all. weakest must be the tree's. O(nodes + edges) a row. TM_E_UNSUPPORTED when the
// dump does not tell what is detached, TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_detached_table(tm_ctx *ctx, const tm_graph *graph, const tm_domtree *tree,
                                         tm_strength weakest, size_t row_count, tm_table *out);

#endif
