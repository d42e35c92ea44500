// How far every object is from the roots: the fewest edges that lead there.
#ifndef TM_ANALYZE_DISTANCE_H
#define TM_ANALYZE_DISTANCE_H

#include "model/graph.h"

#define TM_DISTANCE_NONE (-5) // nothing leads there; the number that DevTools shows nobody

// Writes the distance of every node to out[node_count]. A reader whose format has rules of its own
// gives them (V8: objects of the user count from 1, those that only the engine holds from
// 100 000 000); elsewhere a root has 0 and edges no weaker than SOFT count. O(nodes + edges).
// TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_distance(tm_ctx *ctx, const tm_graph *graph, int32_t *out);

#endif
