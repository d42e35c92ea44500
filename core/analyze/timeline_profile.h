// What rules compare of a browser's traces, as a profile.
#ifndef TM_ANALYZE_TIMELINE_PROFILE_H
#define TM_ANALYZE_TIMELINE_PROFILE_H

#include "model/profile.h"
#include "model/timeline.h"

// The types of tm_timeline_snapshot, in their order: count, time (nanoseconds), began, ended,
// value, growth. The default is count.
enum { TM_TL_SNAPSHOT_TYPES = 6 };
TM_NODISCARD tm_status tm_timeline_snapshot_types(tm_ctx *ctx, tm_profile *p);

// Three kinds of samples, told apart by the label `what`:
// - task: tasks over 50 ms of main threads, by `work`, the script in them that took longest, or
//   "layout", "style", "collection", "html", "other" where there is none. count, and time in all.
// - async: piles of operations, some of which did not end, by `kind`, `name`, `owner` and `detail`
//   (tm_timeline_asyncs; eternal ones are left out). count did not end; began and ended.
// - counter: by `name` ("nodes") and `pid`. value is the last; growth, how much it rose when it
//   rose all the time, else 0: from its first point on the trace is cut into six parts, of which
//   the first, where a page loads, is left aside; from each to the next the least value must not
//   fall, must rise but for one time, and rise to the last.
// The stack is one frame: work, owner or name. Label `process` where it is known. Stats: Seconds,
// Tasks, LongTasks, Frames, Dropped, Collections, PauseSeconds. The caller frees *out. TM_E_NOMEM,
// TM_E_LIMIT.
TM_NODISCARD tm_status tm_timeline_snapshot(tm_ctx *ctx, const tm_timeline *t, tm_profile **out);

#endif
