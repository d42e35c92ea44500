// All pairs, n <= 64, so 2016 slopes at most; their quantiles by quickselect, each within what the
// one before left of it. Ranks of the residuals come from counting. About 5 us for 30 points.
#include "analyze/kendall.h"

#include "analyze/stats.h"

#include <math.h>

#define Z_95 1.959963984540054

typedef struct points {
  const double *time, *value;
  size_t n;
} points;

static size_t pairwise(const points *p, double *slope, double *out_s) {
  size_t count = 0;
  int64_t s = 0;
  for (size_t i = 0; i < p->n; i++)
    for (size_t j = i + 1; j < p->n; j++) {
      double rise = p->value[j] - p->value[i], run = p->time[j] - p->time[i];
      s += (rise > 0) - (rise < 0);
      if (run > 0) slope[count++] = rise / run;
    }
  *out_s = (double)s;
  return count;
}

// Var(S) = [n(n-1)(2n+5) - sum over tie groups of t(t-1)(2t+5)] / 18.
static double variance_of_s(const points *p) {
  double n = (double)p->n, ties = 0;
  for (size_t i = 0; i < p->n; i++) {
    double equal = 0;
    for (size_t j = 0; j < p->n; j++) equal += p->value[j] == p->value[i];
    ties += (equal - 1) * (2 * equal + 5); // each member brings its share of t(t-1)(2t+5)
  }
  return (n * (n - 1) * (2 * n + 5) - ties) / 18;
}

// Ranks of what a line leaves over, their mean taken off.
static double residual_ranks(const points *p, double slope, double *rank) {
  double r[TM_KENDALL_MAX], squares = 0, middle = ((double)p->n + 1) / 2;
  for (size_t i = 0; i < p->n; i++) r[i] = p->value[i] - slope * p->time[i];
  for (size_t i = 0; i < p->n; i++) {
    double less = 0, equal = 0;
    for (size_t j = 0; j < p->n; j++) {
      less += r[j] < r[i];
      equal += r[j] == r[i];
    }
    rank[i] = less + (equal + 1) / 2 - middle;
    squares += rank[i] * rank[i];
  }
  return squares;
}

// 1 + 2 / (n(n-1)(n-2)) sum of (n-k)(n-k-1)(n-k-2) r_k, over the r_k beyond +-1.96 / sqrt n.
static double hamed_rao(const points *p, double slope) {
  double rank[TM_KENDALL_MAX], n = (double)p->n, sum = 0;
  if (p->n < 3) return 1;
  double squares = residual_ranks(p, slope, rank);
  if (!(squares > 0)) return 1;
  for (size_t k = 1; k + 2 < p->n; k++) {
    double r = 0, rest = n - (double)k;
    for (size_t i = 0; i + k < p->n; i++) r += rank[i] * rank[i + k];
    r /= squares;
    if (fabs(r) > Z_95 / sqrt(n)) sum += rest * (rest - 1) * (rest - 2) * r;
  }
  double factor = 1 + 2 / (n * (n - 1) * (n - 2)) * sum;
  return factor > 1 ? factor : 1;
}

// The ranks (N - C) / 2 and (N + C) / 2 + 1 (from 1) of the sorted slopes, C = z sqrt Var(S). The
// middle one has been selected: nothing before it is greater, nothing behind it less.
static void interval(double *slope, size_t count, double sigma, tm_kendall *out) {
  size_t middle = count / 2;
  double median = slope[middle];
  out->slope = median;
  if (count % 2 == 0) out->slope += (tm_stats_select(slope, middle, middle - 1) - median) / 2;
  double half = Z_95 * sigma, low = floor(((double)count - half) / 2) - 1;
  double high = ceil(((double)count + half) / 2);
  size_t from = low > 0 ? (size_t)low : 0;
  size_t to = high < (double)(count - 1) ? (size_t)high : count - 1;
  out->slope_low = from < middle ? tm_stats_select(slope, middle, from) : median;
  out->slope_high = to > middle
                        ? tm_stats_select(slope + middle + 1, count - middle - 1, to - middle - 1)
                        : median;
}

tm_status tm_kendall_compute(tm_ctx *ctx, const double *time, const double *value, size_t n,
                             tm_kendall *out) {
  *out = (tm_kendall){.correction = 1, .p = 1};
  if (n < 2 || n > TM_KENDALL_MAX) return TM_OK;
  points p = {time, value, n};
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  double *slope = tm_arena_alloc(&ctx->scratch, n * (n - 1) / 2 * sizeof *slope);
  if (!slope)
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %zu slopes", n * n / 2);
  size_t count = pairwise(&p, slope, &out->s);
  out->variance = variance_of_s(&p);
  double middle = count ? tm_stats_select(slope, count, count / 2) : 0;
  out->correction = hamed_rao(&p, middle);
  double sigma = sqrt(out->variance * out->correction);
  if (count) interval(slope, count, sigma, out);
  if (sigma > 0 && out->s != 0) out->z = (out->s - (out->s > 0 ? 1 : -1)) / sigma;
  out->p = 0.5 * erfc(out->z / sqrt(2));
  tm_arena_rewind(&ctx->scratch, mark);
  return TM_OK;
}

tm_status tm_kendall_slope(tm_ctx *ctx, const double *time, const double *value, size_t n,
                           double *out) {
  *out = NAN;
  if (n < 2 || n > TM_KENDALL_MAX) return TM_OK;
  points p = {time, value, n};
  double s;
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  double *slope = tm_arena_alloc(&ctx->scratch, n * (n - 1) / 2 * sizeof *slope);
  if (!slope)
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %zu slopes", n * n / 2);
  *out = tm_stats_median_in_place(slope, pairwise(&p, slope, &s));
  tm_arena_rewind(&ctx->scratch, mark);
  return TM_OK;
}
