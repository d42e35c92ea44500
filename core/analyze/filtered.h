// A profile as its filters leave it, to be written: what `go tool pprof -proto -focus=x` saves.
#ifndef TM_ANALYZE_FILTERED_H
#define TM_ANALYZE_FILTERED_H

#include "analyze/focus.h"

// Whether an option is set that changes what tm_profile_filtered keeps.
bool tm_report_options_filter(const tm_report_options *o);

// A copy without the samples, frames and labels that the options take away, with the frames that
// tag_root and tag_leaf add and values divided by divide_by. All value types are kept; functions
// and locations that no sample has left stay too. TM_E_ARG for a wrong option. Free with
// tm_profile_free.
TM_NODISCARD tm_status tm_profile_filtered(tm_ctx *ctx, const tm_profile *p,
                                           const tm_report_options *o, tm_profile **out);

#endif
