// Flame graphs of a profile: a picture, a page or the tree itself, each of bounded size.
#ifndef TM_ANALYZE_FLAME_H
#define TM_ANALYZE_FLAME_H

#include "analyze/focus.h"
#include "base/bytes.h"

// form: "svg" (a picture with tooltips), "html" (one file that needs nothing else: zoom, search,
// invert, keyboard) or "json": {type, unit, total, difference, tree: {name, flat, cum, children}},
// in a difference with "base" (what the base had of cum), and "folded" where branches were left
// out. Nodes narrower than half a pixel of 1,600 are folded into their parents, then the lightest
// ones until the bytes are at most 300 kB; cum of the parents keeps them. Filters, label frames,
// granularity and sample_index of the options count as in the reports; mean does not (means do not
// add up), and percents are of pprof's total. A node is as wide as the sum of its samples' sizes;
// in a difference that is what base and profile have together. Appends to out. TM_E_ARG for a
// wrong form or option.
TM_NODISCARD tm_status tm_flame(tm_ctx *ctx, const tm_profile *profile,
                                const tm_report_options *options, const char *form, tm_bytes *out);

#endif
