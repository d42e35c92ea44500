// What survived each garbage collection of a Go trace, and whether it grows.
#ifndef TM_ANALYZE_TRACE_FLOORS_H
#define TM_ANALYZE_TRACE_FLOORS_H

#include "model/table.h"
#include "model/trace.h"

// One row per collection that ended: time_ns (of the trace), live_bytes (what it left), goal_bytes
// (when the next one begins), change_bytes (since the row before; 0 for the first). Notes: verdict
// ("leak", "steady", or "unknown" when there are fewer than ten), reason, slope_per_s (bytes),
// growth_ratio, p, level_bytes, collections, duration_ns. TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_trace_floors(tm_ctx *ctx, const tm_trace *trace, tm_table *out);

#endif
