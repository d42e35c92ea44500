// Charts take their baseline from the first half of the values, robustly, and watch the second
// half. Shapes are least-squares fits: the step by running sums over all splits, the saturating
// curve by five time constants from 5 % to 80 % of the window, its exponentials by one product per
// value.
#include "analyze/changepoint.h"

#include "analyze/stats.h"

#include <float.h>
#include <math.h>

enum { MIN_CHART = 10, MIN_SHAPE = 6 };

#define MAX_PHI 0.98

// ---- charts ----

static double lag_one(const double *x, size_t n) {
  double mean = tm_stats_mean(x, n), top = 0, bottom = 0;
  for (size_t i = 0; i < n; i++) {
    if (isnan(x[i])) continue;
    double d = x[i] - mean;
    bottom += d * d;
    if (i && !isnan(x[i - 1])) top += d * (x[i - 1] - mean);
  }
  double phi = bottom > 0 ? top / bottom : 0;
  return phi > MAX_PHI ? MAX_PHI : phi > 0 ? phi : 0;
}

// A baseline that never moved has no spread: then a thousandth of its level counts as one sigma.
static tm_status baseline(tm_ctx *ctx, const double *x, size_t n, double *mu, double *sigma) {
  TM_TRY(tm_stats_quantile(ctx, x, n, 0.5, mu));
  TM_TRY(tm_stats_mad(ctx, x, n, sigma));
  double least = fmax(fabs(*mu) / 1000, DBL_MIN);
  if (!(*sigma > 0)) *sigma = least;
  return TM_OK;
}

static void sum_up(const double *x, size_t from, size_t n, double mu, double sigma, double k,
                   double h, tm_cusum *out) {
  double sum = 0;
  for (size_t i = from; i < n; i++) {
    if (isnan(x[i])) continue;
    sum = fmax(0, sum + (x[i] - mu) / sigma - k);
    if (sum > out->high) out->high = sum;
    if (!(sum > h) || out->alarm) continue;
    out->alarm = true;
    out->at = i;
  }
}

tm_status tm_cusum_compute(tm_ctx *ctx, const double *value, size_t n, double k, double h,
                           tm_cusum *out) {
  *out = (tm_cusum){false, 0, 0};
  if (n < MIN_CHART) return TM_OK;
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  double *residual = tm_arena_alloc(&ctx->scratch, n * sizeof *residual), mu, sigma;
  if (!residual) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %zu values", n);
  double phi = lag_one(value, n / 2);
  residual[0] = phi > 0 ? NAN : value[0]; // it has no one before
  for (size_t i = 1; i < n; i++) residual[i] = phi > 0 ? value[i] - phi * value[i - 1] : value[i];
  tm_status status = baseline(ctx, residual, n / 2, &mu, &sigma);
  if (status == TM_OK) sum_up(residual, n / 2, n, mu, sigma, k, h, out);
  tm_arena_rewind(&ctx->scratch, mark);
  return status;
}

tm_status tm_ewma_compute(tm_ctx *ctx, const double *value, size_t n, double lambda, double limit,
                          tm_ewma *out) {
  *out = (tm_ewma){false, NAN, NAN, NAN};
  if (n < MIN_CHART) return TM_OK;
  double mu, sigma, forgotten = 1;
  TM_TRY(baseline(ctx, value, n / 2, &mu, &sigma));
  if (isnan(mu)) return TM_OK;
  out->value = mu;
  for (size_t i = n / 2; i < n; i++) {
    if (isnan(value[i])) continue;
    out->value += lambda * (value[i] - out->value);
    forgotten *= (1 - lambda) * (1 - lambda);
    double width = limit * sigma * sqrt(lambda / (2 - lambda) * (1 - forgotten));
    out->low = mu - width;
    out->high = mu + width;
    if (out->value > out->high || out->value < out->low) out->alarm = true;
  }
  return TM_OK;
}

// ---- shapes ----

// Sums over the values, all around their mean.
typedef struct sums {
  double n, mean, yy;
} sums;

static sums sums_of(const double *y, size_t n) {
  sums s = {(double)n, tm_stats_mean(y, n), 0};
  for (size_t i = 0; i < n; i++) s.yy += (y[i] - s.mean) * (y[i] - s.mean);
  return s;
}

static double line_error(const double *y, size_t n, const sums *s) {
  double middle = (s->n - 1) / 2, xx = s->n * (s->n * s->n - 1) / 12, xy = 0;
  for (size_t i = 0; i < n; i++) xy += ((double)i - middle) * (y[i] - s->mean);
  return s->yy - xy * xy / xx;
}

static double saturating_error(const double *y, size_t n, const sums *s, double tau) {
  double keep = exp(-1 / (tau * s->n)), e = 1, x = 0, xx = 0, xy = 0;
  for (size_t i = 0; i < n; i++, e *= keep) {
    x += e;
    xx += e * e;
    xy += e * (y[i] - s->mean);
  }
  return s->yy - xy * xy / (xx - x * x / s->n);
}

static double step_error(const double *y, size_t n, const sums *s, size_t *out_at) {
  double left = 0, best = -1;
  for (size_t i = 1; i < n; i++) {
    left += y[i - 1] - s->mean; // and what is right of it sums to -left
    double gain = left * left * (1 / (double)i + 1 / (double)(n - i));
    if (gain <= best) continue;
    best = gain;
    *out_at = i;
  }
  return s->yy - best;
}

tm_shape tm_shape_compute(const double *value, size_t n, size_t *out_step) {
  *out_step = 0;
  if (n < MIN_SHAPE) return TM_SHAPE_CONSTANT;
  sums s = sums_of(value, n);
  if (!(s.yy > 0)) return TM_SHAPE_CONSTANT;
  size_t at = 0;
  double error[] = {s.yy, step_error(value, n, &s, &at), line_error(value, n, &s), s.yy};
  static const double parameters[] = {1, 3, 2, 3}, taus[] = {0.05, 0.1, 0.2, 0.4, 0.8};
  for (size_t i = 0; i < TM_COUNT(taus); i++)
    error[TM_SHAPE_SATURATING] =
        fmin(error[TM_SHAPE_SATURATING], saturating_error(value, n, &s, taus[i]));
  size_t best = 0;
  double least = INFINITY;
  for (size_t i = 0; i < TM_COUNT(error); i++) {
    // A perfect fit is not infinitely better: rounding would choose among several.
    double bic = s.n * log(fmax(error[i] / s.yy, 1e-9)) + parameters[i] * log(s.n);
    if (bic >= least) continue;
    least = bic;
    best = i;
  }
  if (best == TM_SHAPE_STEP) *out_step = at;
  return (tm_shape)best;
}

const char *tm_shape_name(tm_shape shape) {
  static const char *const names[] = {"constant", "step", "line", "saturating"};
  return names[shape];
}
