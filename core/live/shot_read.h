// Bytes become what a target keeps of a metric: a profile as it stands in the file, or what rules
// compare of a trace.
#ifndef TM_LIVE_SHOT_READ_H
#define TM_LIVE_SHOT_READ_H

#include "base/ctx.h"
#include "model/profile.h"

// "trace.go", with or without "?seconds=N"; "trace.chrome".
bool tm_shot_is_trace(const char *metric);

// "trace.chrome".
bool tm_shot_is_browser(const char *metric);

// Reads bytes of any known format. The answer belongs to a metric "trace.KIND" when they are a
// trace (tm_trace_snapshot, tm_timeline_snapshot; one that breaks off counts as far as it is whole)
// or the profile that was made of one, else to one of profiles; a trace serves "go.goroutines",
// too. The caller frees *out. TM_E_FORMAT when they are something else, or as the readers say.
TM_NODISCARD tm_status tm_shot_read(tm_ctx *ctx, const char *metric, const void *data, size_t size,
                                    tm_profile **out);

#endif
