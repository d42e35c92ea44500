// Statistics over plain arrays of doubles, oldest first. NAN marks a gap and is skipped; infinities
// are values. "Without the newest 20" or "the last 20" is the caller's pointer arithmetic. Nothing
// is kept; temporary memory comes from ctx->scratch and is given back.
#ifndef TM_ANALYZE_STATS_H
#define TM_ANALYZE_STATS_H

#include "base/ctx.h"

// Least, greatest, arithmetic mean; NAN when there is no value.
double tm_stats_min(const double *value, size_t n);
double tm_stats_max(const double *value, size_t n);
double tm_stats_mean(const double *value, size_t n);

// The q-quantile (0 = least, 0.5 = median, 1 = greatest), linear between order statistics; NAN when
// there is no value. O(n). TM_E_NOMEM.
// Source: Hyndman and Fan 1996, type 7; Hoare 1961 (quickselect).
TM_NODISCARD tm_status tm_stats_quantile(tm_ctx *ctx, const double *value, size_t n, double q,
                                         double *out);

// Median absolute deviation from the median, times 1.4826: estimates sigma of a normal sample, and
// half of the values may be wild. NAN when there is no value. O(n). TM_E_NOMEM.
TM_NODISCARD tm_status tm_stats_mad(tm_ctx *ctx, const double *value, size_t n, double *out);

// The k-th smallest (from 0) of n values without NAN; k < n. Reorders the array: value[k] is the
// answer, nothing before it is greater, nothing behind it is less. O(n).
double tm_stats_select(double *value, size_t n, size_t k);

// The median of n values without NAN; reorders the array. NAN for n = 0.
double tm_stats_median_in_place(double *value, size_t n);

// By how much the value changed over the last span_ns: the newest value minus the newest one that
// is at least span_ns older. When the data are shorter, its oldest value is taken. NAN when there
// are not two values. time_ns rises.
double tm_stats_change(const int64_t *time_ns, const double *value, size_t n, uint64_t span_ns);

// Change per second between the oldest and the newest value; NAN when there are not two.
double tm_stats_rate(const int64_t *time_ns, const double *value, size_t n);

typedef struct tm_line {
  double slope;     // per unit of x
  double intercept; // at x = 0
  double r2;        // share of the variance that the line explains, 0..1; 1 when there is none
} tm_line;

// Least-squares line through (x, y), pairs with NAN skipped. With fewer than two different x the
// slope is 0. Times and values of any size, as long as their squares are finite.
tm_line tm_stats_line(const double *x, const double *y, size_t n);

// Mann-Whitney: *out_u counts the pairs with b > a (ties half); *out_p is the one-sided p of "b is
// greater". Exact when both have at most 12 values and nothing ties, else the normal approximation
// with tie and continuity correction. p is NAN when either is empty. O(n log n). TM_E_NOMEM.
// Source: Mann and Whitney 1947.
TM_NODISCARD tm_status tm_stats_mann_whitney(tm_ctx *ctx, const double *a, size_t na,
                                             const double *b, size_t nb, double *out_u,
                                             double *out_p);

typedef struct tm_growth {
  double head, tail; // medians of the first and the last samples
  double ratio;      // tail / head - 1; NAN when head is 0
  double p;          // one-sided Mann-Whitney p of "the last are greater"
} tm_growth;

// Growth of the last `tail` values over the first `head`: what a release gate compares. The two
// must not overlap: both are cut to half of the values when they would. TM_E_NOMEM.
TM_NODISCARD tm_status tm_stats_growth(tm_ctx *ctx, const double *value, size_t n, size_t head,
                                       size_t tail, tm_growth *out);

// Whether each of the newest `steps` steps rises, and by min_delta in all; *out_delta is the rise
// over these steps, 0 when one of them does not rise (may be NULL). A gap is no rise.
bool tm_stats_monotone(const double *value, size_t n, size_t steps, double min_delta,
                       double *out_delta);

#endif
