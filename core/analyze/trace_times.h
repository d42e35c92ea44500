// How long what a program marked in a Go trace took: regions, tasks, and the frames it drew.
#ifndef TM_ANALYZE_TRACE_TIMES_H
#define TM_ANALYZE_TRACE_TIMES_H

#include "model/table.h"
#include "model/trace.h"

// One row per kind and name, the most time first. Columns: kind ("region" or "task"), name, count
// (ended, with their begin in the trace), open (begun and not ended), p50_ns, p95_ns, p99_ns,
// max_ns, total_ns. Quantiles are linear between order statistics. Notes: regions, tasks, open,
// dropped, duration_ns. TM_E_NOMEM.
TM_NODISCARD tm_status tm_trace_regions(tm_ctx *ctx, const tm_trace *trace, tm_table *out);

// Regions and tasks that did not end, the oldest first. Columns: kind, name, id (of the task),
// goroutine (of the region; 0 for a task), begin_ns, age_ns. Notes as above. TM_E_NOMEM.
TM_NODISCARD tm_status tm_trace_unfinished(tm_ctx *ctx, const tm_trace *trace, tm_table *out);

typedef struct tm_frames_options {
  const char *region; // frames begin where regions of this name begin; or
  const char *log;    // where the program logged this key
  int64_t pause_ns;   // a longer interval is a pause, not a frame; 0 = none is
} tm_frames_options;

// Rows: "interval" from one frame to the next, "jitter" (how far intervals are from their median),
// and of regions "work" (how long they took). Columns: what, count, p50_ns, p95_ns, p99_ns, max_ns.
// Notes: frames, pauses, per_second (real), missed_60hz and missed_120hz: frames that would have
// fitted into the intervals at that rate and did not come. TM_E_ARG when neither or both are given
// or nothing of that name is in the trace, TM_E_NOMEM.
TM_NODISCARD tm_status tm_trace_frames(tm_ctx *ctx, const tm_trace *trace,
                                       const tm_frames_options *options, tm_table *out);

#endif
