// Statistics over plain arrays of doubles. NAN marks a gap and is skipped. Nothing is kept;
// temporary memory comes from ctx->scratch and is given back.
#ifndef TM_ANALYZE_STATS_H
#define TM_ANALYZE_STATS_H

#include "base/ctx.h"

// Arithmetic mean; NAN when there is no value.
double tm_stats_mean(const double *value, size_t n);

// The q-quantile (0 = least, 0.5 = median, 1 = greatest), interpolated linearly between order
// statistics; NAN when there is no value. Quickselect: O(n). TM_E_NOMEM.
TM_NODISCARD tm_status tm_stats_quantile(tm_ctx *ctx, const double *value, size_t n, double q,
                                         double *out);

// Median absolute deviation from the median, times 1.4826: estimates sigma of a normal sample.
// TM_E_NOMEM.
TM_NODISCARD tm_status tm_stats_mad(tm_ctx *ctx, const double *value, size_t n, double *out);

// The k-th smallest (0-based) of n values without NAN; reorders the array.
double tm_stats_select(double *value, size_t n, size_t k);

// Mann-Whitney U of b over a (how many pairs have b > a, ties half) and the one-sided p of "b is
// greater", by the normal approximation with tie and continuity correction. p is NAN when either is
// empty. Source: Mann and Whitney 1947.
TM_NODISCARD tm_status tm_stats_mann_whitney(tm_ctx *ctx, const double *a, size_t na,
                                             const double *b, size_t nb, double *out_u,
                                             double *out_p);

typedef struct tm_growth {
  double head, tail; // medians of the first and the last samples
  double ratio;      // tail / head - 1; NAN when head is 0
  double p;          // one-sided Mann-Whitney p of "the last are greater"
} tm_growth;

// Growth of the last `tail` values over the first `head`: what a release gate compares. TM_E_NOMEM.
TM_NODISCARD tm_status tm_stats_growth(tm_ctx *ctx, const double *value, size_t n, size_t head,
                                       size_t tail, tm_growth *out);

// Whether the newest `steps` steps all rise, by min_delta together at least; *out_delta is by how
// much (may be NULL).
bool tm_stats_monotone(const double *value, size_t n, size_t steps, double min_delta,
                       double *out_delta);

#endif
