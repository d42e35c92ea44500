// Charts take their baseline from the first half of the window, robustly. Shapes are least-squares
// fits compared by BIC = n ln(SSE/n) + parameters ln n; the saturating curve tries five time
// constants.
#include "analyze/changepoint.h"

#include "analyze/stats.h"

#include <math.h>

static double lag_one(const double *x, size_t n) {
  double mean = tm_stats_mean(x, n), top = 0, bottom = 0;
  for (size_t i = 0; i < n; i++) {
    double d = isnan(x[i]) ? 0 : x[i] - mean;
    bottom += d * d;
    if (i && !isnan(x[i - 1])) top += d * (x[i - 1] - mean);
  }
  double phi = bottom > 0 ? top / bottom : 0;
  return phi < 0 ? 0 : phi > 0.98 ? 0.98 : phi;
}

static tm_status baseline(tm_ctx *ctx, const double *x, size_t n, double *mu, double *sigma) {
  TM_TRY(tm_stats_quantile(ctx, x, n, 0.5, mu));
  TM_TRY(tm_stats_mad(ctx, x, n, sigma));
  // A baseline that never moved has no spread: then any step of a thousandth (or of one thing)
  // counts as a sigma.
  double least = fabs(*mu) / 1000;
  if (least < 1e-9) least = 1e-9;
  if (!(*sigma > least)) *sigma = least;
  return TM_OK;
}

tm_status tm_cusum_compute(tm_ctx *ctx, const double *value, size_t n, double k, double h,
                           tm_cusum *out) {
  *out = (tm_cusum){false, 0, 0};
  size_t half = n / 2;
  if (half < 5) return TM_OK;
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  double *r = tm_arena_alloc(&ctx->scratch, n * sizeof *r), mu, sigma;
  if (!r) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %zu values", n);
  double phi = lag_one(value, half);
  r[0] = value[0] * (1 - phi);
  for (size_t i = 1; i < n; i++) r[i] = value[i] - phi * value[i - 1];
  tm_status status = baseline(ctx, r, half, &mu, &sigma);
  double sum = 0;
  for (size_t i = half; status == TM_OK && i < n; i++) {
    if (isnan(r[i])) continue;
    sum = fmax(0, sum + (r[i] - mu) / sigma - k);
    if (sum > out->high) out->high = sum;
    if (sum > h && !out->alarm) {
      out->alarm = true;
      out->at = i;
    }
  }
  tm_arena_rewind(&ctx->scratch, mark);
  return status;
}

tm_status tm_ewma_compute(tm_ctx *ctx, const double *value, size_t n, double lambda, double limit,
                          tm_ewma *out) {
  *out = (tm_ewma){false, NAN, NAN, NAN};
  size_t half = n / 2, t = 0;
  if (half < 5) return TM_OK;
  double mu, sigma;
  TM_TRY(baseline(ctx, value, half, &mu, &sigma));
  double s = mu;
  for (size_t i = half; i < n; i++) {
    if (isnan(value[i])) continue;
    s += lambda * (value[i] - s);
    t++;
    double width =
        limit * sigma * sqrt(lambda / (2 - lambda) * (1 - pow(1 - lambda, 2 * (double)t)));
    out->low = mu - width;
    out->high = mu + width;
    if (s > out->high || s < out->low) out->alarm = true;
  }
  out->value = s;
  return TM_OK;
}

// ---- shapes ----

// Squared error of the best a + b x; x given by a function of the index.
static double fit(const double *x, const double *y, size_t n) {
  double sx = 0, sy = 0, sxx = 0, sxy = 0, syy = 0, dn = (double)n;
  for (size_t i = 0; i < n; i++) {
    sx += x[i];
    sy += y[i];
  }
  sx /= dn;
  sy /= dn;
  for (size_t i = 0; i < n; i++) {
    sxx += (x[i] - sx) * (x[i] - sx);
    sxy += (x[i] - sx) * (y[i] - sy);
    syy += (y[i] - sy) * (y[i] - sy);
  }
  return sxx > 0 ? fmax(0, syy - sxy * sxy / sxx) : syy;
}

// Squared error of the best two constants, by running sums.
static double best_step(const double *y, size_t n, size_t *at) {
  double mean = tm_stats_mean(y, n), total = 0, squares = 0, left = 0, best = INFINITY;
  for (size_t i = 0; i < n; i++) {
    total += y[i] - mean;
    squares += (y[i] - mean) * (y[i] - mean);
  }
  for (size_t i = 1; i < n; i++) {
    left += y[i - 1] - mean;
    double right = total - left,
           error = squares - left * left / (double)i - right * right / (double)(n - i);
    if (error < best) {
      best = error;
      *at = i;
    }
  }
  return fmax(0, best);
}

static double bic(double error, size_t n, double parameters, double floor) {
  double dn = (double)n;
  return dn * log(fmax(error, floor) / dn) + parameters * log(dn);
}

tm_shape tm_shape_of(const double *value, size_t n, size_t *out_step) {
  enum { MOST = 256 };
  *out_step = 0;
  if (n < 6 || n > MOST) return TM_SHAPE_CONSTANT;
  double x[MOST], constant = 0, mean = tm_stats_mean(value, n);
  for (size_t i = 0; i < n; i++) constant += (value[i] - mean) * (value[i] - mean);
  if (!(constant > 0)) return TM_SHAPE_CONSTANT;
  double floor = constant * 1e-9; // a perfect fit is not infinitely better
  double score[4] = {bic(constant, n, 1, floor), bic(best_step(value, n, out_step), n, 3, floor), 0,
                     INFINITY};
  for (size_t i = 0; i < n; i++) x[i] = (double)i;
  score[TM_SHAPE_LINE] = bic(fit(x, value, n), n, 2, floor);
  for (double tau = 0.05; tau < 0.9; tau *= 2) {
    for (size_t i = 0; i < n; i++) x[i] = -exp(-(double)i / (tau * (double)n));
    score[TM_SHAPE_SATURATING] =
        fmin(score[TM_SHAPE_SATURATING], bic(fit(x, value, n), n, 3, floor));
  }
  size_t best = 0;
  for (size_t s = 1; s < TM_COUNT(score); s++)
    if (score[s] < score[best]) best = s;
  return (tm_shape)best;
}
