// What no root reaches: by type, with what each type holds within the garbage.
#ifndef TM_ANALYZE_GARBAGE_H
#define TM_ANALYZE_GARBAGE_H

#include "analyze/domtree.h"

// One row per type that has unreachable objects, by retained bytes, ties by name. Columns: type,
// count, shallow_bytes, retained_bytes (what would have gone with these objects alone, counted
// once), tops (objects of the type that nothing unreachable holds, one of a circle). Notes: count,
// shallow_bytes, tops. row_count 0 = all. O(nodes + edges) and dominators of the garbage.
// TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_garbage_table(tm_ctx *ctx, const tm_graph *graph, const tm_domtree *tree,
                                        tm_strength weakest, size_t row_count, tm_table *out);

#endif
