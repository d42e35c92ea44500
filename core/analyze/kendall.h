// Rank statistics of a short series of points: which way it goes, how steeply, and how surely.
#ifndef TM_ANALYZE_KENDALL_H
#define TM_ANALYZE_KENDALL_H

#include "base/ctx.h"

enum { TM_KENDALL_MAX = 64 }; // points; the pairs grow with the square

typedef struct tm_kendall {
  double s;                     // pairs that rise minus pairs that fall
  double variance;              // of s if the points were independent, with ties
  double correction;            // factor >= 1 by which autocorrelation widens it (Hamed-Rao)
  double z, p;                  // (s -+ 1) / sqrt(variance * correction); one-sided p of "it rises"
  double slope;                 // Theil-Sen: median of all pairwise slopes; 0 when there is none
  double slope_low, slope_high; // its 95 % confidence interval
} tm_kendall;

// Theil-Sen slope with interval and Mann-Kendall test with the Hamed-Rao correction of n <= 64
// points (finite; times need not be equidistant, pairs at equal times have no slope). n < 2, or n >
// 64: all zero, p = 1. O(n^2). TM_E_NOMEM. Source: Theil 1950; Sen 1968 (interval); Mann 1945,
// Kendall 1975 (ties); Hamed and Rao 1998, J. Hydrology 204:182-196.
TM_NODISCARD tm_status tm_kendall_compute(tm_ctx *ctx, const double *time, const double *value,
                                          size_t n, tm_kendall *out);

// Median of the pairwise slopes alone; NAN when there is none. Same limits.
TM_NODISCARD tm_status tm_kendall_slope(tm_ctx *ctx, const double *time, const double *value,
                                        size_t n, double *out);

#endif
