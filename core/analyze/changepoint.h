// Control charts and shapes: did the level change, and how.
#ifndef TM_ANALYZE_CHANGEPOINT_H
#define TM_ANALYZE_CHANGEPOINT_H

#include "analyze/trend.h"

typedef struct tm_cusum {
  bool alarm;
  double high; // the greatest sum reached, in sigmas
  size_t at;   // where the alarm came first
} tm_cusum;

// One-sided CUSUM for a rise: sums z - k over the second half, z standardised by median and 1.4826
// MAD of the first half, of the residuals x_t - phi x_(t-1) (phi = lag-1 autocorrelation of the
// first half, 0..0.98), since CUSUM on dependent data raises false alarms without end. k = 0.5, h =
// 5: an average run of some 460 independent samples between false alarms. Source: Page 1954.
// TM_E_NOMEM.
TM_NODISCARD tm_status tm_cusum_compute(tm_ctx *ctx, const double *value, size_t n, double k,
                                        double h, tm_cusum *out);

typedef struct tm_ewma {
  bool alarm;
  double value;     // the moving average now
  double low, high; // control limits around the baseline's mean
} tm_ewma;

// EWMA chart: baseline = median and MAD of the first half; alarm when the average leaves mu +-
// limit sigma sqrt(l/(2-l)(1-(1-l)^2t)). lambda 0.2 with limit 2.962: an average run of 500.
// Source: Roberts 1959; limits of Lucas and Saccucci 1990. TM_E_NOMEM.
TM_NODISCARD tm_status tm_ewma_compute(tm_ctx *ctx, const double *value, size_t n, double lambda,
                                       double limit, tm_ewma *out);

// The shape that explains equidistant values best by BIC: a constant, two constants (*out_step =
// first index of the second), a line, or 1 - exp(-t/tau) growth. n < 6 = constant. O(n).
tm_shape tm_shape_of(const double *value, size_t n, size_t *out_step);

#endif
