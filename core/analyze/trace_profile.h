// The goroutines alive at the end of a Go trace as a profile.
#ifndef TM_ANALYZE_TRACE_PROFILE_H
#define TM_ANALYZE_TRACE_PROFILE_H

#include "model/profile.h"
#include "model/trace.h"

// One sample per goroutine that is alive at the end, with the stack where it stopped. Values:
// goroutines/count (1) and blocked/nanoseconds (since it waits or is in a syscall, within the
// trace; the default). Labels: state (why it waits), created_by (function with the `go` statement).
// Those without a stack get one frame, their entry. The runtime's own are left out unless `system`.
// The caller frees *out. TM_E_NOMEM, TM_E_LIMIT.
TM_NODISCARD tm_status tm_trace_profile(tm_ctx *ctx, const tm_trace *trace, bool system,
                                        tm_profile **out);

// All waits of a trace that was put in order (tm_trace.waits), as Go's own block profile has them:
// contentions/count and delay/nanoseconds (the default) by stack, label reason. TM_E_NOMEM.
TM_NODISCARD tm_status tm_trace_wait_profile(tm_ctx *ctx, const tm_trace *trace, tm_profile **out);

// What rules compare over traces: goroutines alive at the end, folded by where they stopped, state,
// entry and creation, and how many began and ended. Values: count (alive; the default),
// blocked/nanoseconds (sum over them), created and ended (counts within the trace, by entry and
// creation). A sample has either count and blocked, with the stack where they stopped, or created
// and ended, with the stack of the `go` statement (their entry where it is not known). Labels:
// state (only of those alive), entry ("unknown" where it is), created_by (where it is known). The
// runtime's own and calls from C are left out. Stats: Seconds (the trace's length), Created, Ended,
// Alive, Collections, HeapFloor (the least live bytes; left out when there is none). The caller
// frees *out. TM_E_NOMEM, TM_E_LIMIT.
TM_NODISCARD tm_status tm_trace_snapshot(tm_ctx *ctx, const tm_trace *trace, tm_profile **out);

#endif
