// What a timeline of a browser says about its health: work that held up a thread, operations that
// never ended, counters that grow, frames that were late, memory by allocator. Each fills an empty
// table. Read-only on the timeline; any thread. TM_E_NOMEM.
#ifndef TM_ANALYZE_TIMELINE_H
#define TM_ANALYZE_TIMELINE_H

#include "model/table.h"
#include "model/timeline.h"

typedef struct tm_tl_tasks_options {
  int64_t over_ns; // longer tasks only
  const char
      *thread; // of threads of this name; NULL = CrRendererMain, or any when none is called so
} tm_tl_tasks_options;

// A row per top-level task, the longest first: begin_ns, duration_ns, long (1 = over 50 ms), pid,
// tid, thread, script_ns, layout_ns, style_ns, forced_ns and forced_count (layout or style asked
// for by script), gc_ns, html_ns, json_ns (CPU samples in JSON.parse and JSON.stringify), work and
// work_ns (the longest script in it), hot and hot_ns (the function with most CPU samples). Notes:
// tasks, long_tasks, threads, duration_ns, over_ns. Tasks that Chrome writes under two names count
// once.
TM_NODISCARD tm_status tm_timeline_tasks(tm_ctx *ctx, const tm_timeline *t,
                                         const tm_tl_tasks_options *options, tm_table *out);

// A row per slice that begins within one of those tasks, the tasks too: begin_ns, duration_ns, pid,
// tid, name, category, detail, thread. In the order of the trace.
TM_NODISCARD tm_status tm_timeline_slices(tm_ctx *ctx, const tm_timeline *t,
                                          const tm_tl_tasks_options *options, tm_table *out);

// A row per operation that did not end, the oldest first: age_ns, begin_ns, kind, name, detail
// (url; "every 200 ms"), owner (script that began it, or else the page), fired, repeats, count,
// ended, pid, process, thread, category, eternal. Those of the same kind, name, detail and owner
// share a row: count are open, ended did end. eternal is 1 for what no script of a page began, or
// no trace sees end. Notes: open, ended (of all piles), duration_ns.
TM_NODISCARD tm_status tm_timeline_asyncs(tm_ctx *ctx, const tm_timeline *t, tm_table *out);

// From one moment to another, both included.
typedef struct tm_tl_span {
  int64_t from_ns, to_ns; // to_ns 0 = the end of the trace
} tm_tl_span;

// The moment of the first performance.mark of that name, or -1.
int64_t tm_timeline_mark_ns(const tm_timeline *t, const char *name);

// A row per series with points in the span: name, pid, process, thread, count, first, last, delta,
// least, greatest, slope_per_s (least squares). Notes: collections, pause_ns, longest_pause_ns
// (Minor- and MajorGC that began in it), duration_ns of the trace. Series that never change are
// left out unless constant.
TM_NODISCARD tm_status tm_timeline_counters(tm_ctx *ctx, const tm_timeline *t, tm_tl_span span,
                                            bool constant, tm_table *out);

// Rows `interval` and `latency` of presented frames per process: what, pid, process, count, p50_ns,
// p95_ns, p99_ns, max_ns. Notes: frames, presented, partial, dropped, not_desired, duration_ns.
TM_NODISCARD tm_status tm_timeline_frames(tm_ctx *ctx, const tm_timeline *t, tm_table *out);

// A row per process and allocator of the memory dumps in the span, the largest growth first: pid,
// process, name, dumps, first_bytes, last_bytes, growth_bytes, most_bytes, objects. Note:
// duration_ns.
TM_NODISCARD tm_status tm_timeline_memory(tm_ctx *ctx, const tm_timeline *t, tm_tl_span span,
                                          tm_table *out);

// Indexes of the slices by thread, begin, and the longer first. Free with tm_free
// (sizeof(uint32_t) * count); NULL when there are none.
TM_NODISCARD tm_status tm_timeline_order(tm_ctx *ctx, const tm_timeline *t, uint32_t **out);

// When a slice ends: the trace's end for one that did not.
int64_t tm_tl_slice_end(const tm_timeline *t, const tm_tl_slice *s);

#endif
