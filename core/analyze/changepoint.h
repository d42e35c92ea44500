// Control charts and shapes: did the level change, and how.
#ifndef TM_ANALYZE_CHANGEPOINT_H
#define TM_ANALYZE_CHANGEPOINT_H

#include "base/ctx.h"

typedef struct tm_cusum {
  bool alarm;
  double high; // the greatest sum reached, in sigmas
  size_t at;   // index of the first alarm; 0 when there is none
} tm_cusum;

// One-sided CUSUM for a rise: sums z - k over the second half of the values, never below 0, and
// alarms above h. z is standardised by median and 1.4826 MAD of the first half. It works on the
// residuals x(t) - phi x(t-1), phi = autocorrelation of the first half at lag 1, cut to 0..0.98:
// with dependent data the bare sum raises false alarms without end. k = 0.5 and h = 5 give some 930
// samples between false alarms (a two-sided chart: 465), and see a shift of one sigma after 10. NAN
// is a gap; fewer than 10 values: no alarm. TM_E_NOMEM.
// Source: Page 1954; run lengths: Montgomery, Introduction to Statistical Quality Control, ch. 9.
TM_NODISCARD tm_status tm_cusum_compute(tm_ctx *ctx, const double *value, size_t n, double k,
                                        double h, tm_cusum *out);

typedef struct tm_ewma {
  bool alarm;       // the average was outside its limits at least once
  double value;     // the moving average now; NAN when there are too few values
  double low, high; // control limits now
} tm_ewma;

// EWMA chart over the second half of the values: alarm when the average s += lambda (x - s) leaves
// mu +- limit sigma sqrt(lambda / (2 - lambda) (1 - (1 - lambda)^2t)), mu and sigma as above.
// lambda 0.2 with limit 2.962 gives 500 samples between false alarms. NAN is a gap; fewer than 10
// values: no alarm. TM_E_NOMEM. Source: Roberts 1959; Lucas and Saccucci 1990 (limits).
TM_NODISCARD tm_status tm_ewma_compute(tm_ctx *ctx, const double *value, size_t n, double lambda,
                                       double limit, tm_ewma *out);

typedef enum tm_shape {
  TM_SHAPE_CONSTANT,
  TM_SHAPE_STEP,       // two levels: a plug-in that was loaded; no leak
  TM_SHAPE_LINE,       // steady growth, or steady decline
  TM_SHAPE_SATURATING, // 1 - exp(-t / tau): it levels off
} tm_shape;

// The shape that explains equidistant values best, by BIC = n ln(SSE / n) + parameters ln n.
// *out_step is the first index of the second level, for a step; else 0. Values without NAN; fewer
// than 6 are constant. O(n). Source: Schwarz 1978.
tm_shape tm_shape_compute(const double *value, size_t n, size_t *out_step);

// "constant", "step", "line", "saturating".
const char *tm_shape_name(tm_shape shape);

#endif
