// What rises over many snapshots of one process: a series per call path, function or file, ranked
// by steady growth. Snapshots are added one by one and can be freed at once: memory depends on the
// number of distinct keys, not of snapshots.
#ifndef TM_ANALYZE_GROWTH_H
#define TM_ANALYZE_GROWTH_H

#include "analyze/focus.h"
#include "analyze/pivot.h"
#include "model/table.h"

typedef enum tm_growth_by { TM_GROWTH_BY_FUNCTION, TM_GROWTH_BY_PATH } tm_growth_by;

typedef struct tm_growth tm_growth;

// options: filters, granularity and sample index, as in the reports; copied but for its strings,
// which must outlive the growth. Free with tm_growth_free.
TM_NODISCARD tm_status tm_growth_new(tm_ctx *ctx, tm_growth_by by, const tm_report_options *options,
                                     tm_growth **out);
void tm_growth_free(tm_growth *growth);

// Adds the next snapshot; time_ns 0 = the profile's own time. TM_E_ARG when it is older than the
// one before or lacks the sample type.
TM_NODISCARD tm_status tm_growth_add(tm_ctx *ctx, tm_growth *growth, const tm_profile *p,
                                     int64_t time_ns);

// The same from a pivot, whose keys then are the growth's; a growth takes either kind alone.
TM_NODISCARD tm_status tm_growth_add_pivot(tm_ctx *ctx, tm_growth *growth, const tm_pivot *pivot,
                                           int64_t time_ns);

// Puts keys that never changed into the table, too, below the others; they are left out otherwise.
void tm_growth_keep_unchanged(tm_growth *growth);

// Keys by rank, at most row_count (0 = all). Columns: key, first, last, delta, steps (rises),
// falls, per_hour, monotone_ratio (rises of the changes), fit_ratio (r squared of the line through
// the points), confidence_ratio. Value of a function = its flat value; of a
// path = the samples of exactly that path. Notes: snapshots, type, unit, first_total, last_total,
// hours. The rank is delta x net x fit, net being (rises - falls) / changes squared with its sign:
// what jumps about falls behind.
TM_NODISCARD tm_status tm_growth_table(tm_ctx *ctx, const tm_growth *growth, size_t row_count,
                                       tm_table *out);

#endif
