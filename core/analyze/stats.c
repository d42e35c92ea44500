// Order statistics by quickselect with median-of-three; ranks by sorting, since U needs all of
// them.
#include "analyze/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double tm_stats_mean(const double *value, size_t n) {
  double sum = 0;
  size_t count = 0;
  for (size_t i = 0; i < n; i++) {
    if (isnan(value[i])) continue;
    sum += value[i];
    count++;
  }
  return count ? sum / (double)count : NAN;
}

static void swap_values(double *a, double *b) {
  double t = *a;
  *a = *b;
  *b = t;
}

static double median_of_three(double a, double b, double c) {
  if ((a <= b && b <= c) || (c <= b && b <= a)) return b;
  if ((b <= a && a <= c) || (c <= a && a <= b)) return a;
  return c;
}

double tm_stats_select(double *value, size_t n, size_t k) {
  size_t low = 0, high = n;
  while (high - low > 1) {
    double pivot = median_of_three(value[low], value[low + (high - low) / 2], value[high - 1]);
    // Three parts: < pivot, == pivot, > pivot; equal values cannot make it quadratic.
    size_t less = low, at = low, more = high;
    while (at < more) {
      if (value[at] < pivot)
        swap_values(&value[less++], &value[at++]);
      else if (value[at] > pivot)
        swap_values(&value[at], &value[--more]);
      else
        at++;
    }
    if (k < less)
      high = less;
    else if (k >= more)
      low = more;
    else
      return pivot;
  }
  return value[low];
}

static size_t without_gaps(const double *value, size_t n, double *out) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++)
    if (!isnan(value[i])) out[count++] = value[i];
  return count;
}

static double interpolated(double *value, size_t n, double q) {
  if (n == 0) return NAN;
  double place = (q < 0 ? 0 : q > 1 ? 1 : q) * (double)(n - 1);
  size_t below = (size_t)place;
  double a = tm_stats_select(value, n, below);
  double fraction = place - (double)below;
  if (fraction <= 0 || below + 1 >= n) return a;
  double b = tm_stats_select(value, n, below + 1);
  return a == b ? a : a + fraction * (b - a); // equal infinities must not give NAN
}

tm_status tm_stats_quantile(tm_ctx *ctx, const double *value, size_t n, double q, double *out) {
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  double *copy = tm_arena_alloc(&ctx->scratch, n * sizeof *copy);
  if (!copy) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %zu values", n);
  *out = interpolated(copy, without_gaps(value, n, copy), q);
  tm_arena_rewind(&ctx->scratch, mark);
  return TM_OK;
}

tm_status tm_stats_mad(tm_ctx *ctx, const double *value, size_t n, double *out) {
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  double *copy = tm_arena_alloc(&ctx->scratch, n * sizeof *copy);
  if (!copy) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %zu values", n);
  size_t count = without_gaps(value, n, copy);
  double median = interpolated(copy, count, 0.5);
  for (size_t i = 0; i < count; i++) copy[i] = fabs(copy[i] - median);
  *out = 1.4826 * interpolated(copy, count, 0.5);
  tm_arena_rewind(&ctx->scratch, mark);
  return TM_OK;
}

typedef struct ranked {
  double value;
  bool second;
} ranked;

static int by_value(const void *a, const void *b) {
  double x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
  return x < y ? -1 : x > y;
}

static size_t add_ranked(ranked *out, size_t at, const double *value, size_t n, bool second,
                         size_t *count) {
  for (size_t i = 0; i < n; i++) {
    if (isnan(value[i])) continue;
    out[at++] = (ranked){value[i], second};
    (*count)++;
  }
  return at;
}

tm_status tm_stats_mann_whitney(tm_ctx *ctx, const double *a, size_t na, const double *b, size_t nb,
                                double *out_u, double *out_p) {
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  ranked *all = tm_arena_calloc(&ctx->scratch, na + nb, sizeof *all);
  if (!all) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %zu values", na + nb);
  size_t m = 0, k = 0, n = add_ranked(all, 0, a, na, false, &m);
  n = add_ranked(all, n, b, nb, true, &k);
  qsort(all, n, sizeof *all, by_value);
  double rank_sum = 0, ties = 0;
  for (size_t i = 0; i < n;) {
    size_t j = i, seconds = 0;
    while (j < n && all[j].value == all[i].value) seconds += all[j++].second;
    double t = (double)(j - i);
    rank_sum += (double)seconds * ((double)(i + j + 1) / 2); // mean of ranks i+1 .. j
    ties += t * t * t - t;
    i = j;
  }
  tm_arena_rewind(&ctx->scratch, mark);
  double dm = (double)m, dk = (double)k, dn = (double)n;
  double u = rank_sum - dk * (dk + 1) / 2;
  *out_u = u;
  *out_p = NAN;
  if (!m || !k) return TM_OK;
  double variance = dm * dk / 12 * (dn + 1 - ties / (dn * (dn - 1)));
  *out_p = variance > 0 ? 0.5 * erfc((u - dm * dk / 2 - 0.5) / sqrt(2 * variance)) : 1;
  return TM_OK;
}

tm_status tm_stats_growth(tm_ctx *ctx, const double *value, size_t n, size_t head, size_t tail,
                          tm_growth *out) {
  *out = (tm_growth){NAN, NAN, NAN, NAN};
  if (head > n) head = n;
  if (tail > n) tail = n;
  double u;
  TM_TRY(tm_stats_quantile(ctx, value, head, 0.5, &out->head));
  TM_TRY(tm_stats_quantile(ctx, value + n - tail, tail, 0.5, &out->tail));
  TM_TRY(tm_stats_mann_whitney(ctx, value, head, value + n - tail, tail, &u, &out->p));
  if (out->head != 0) out->ratio = out->tail / out->head - 1;
  return TM_OK;
}

bool tm_stats_monotone(const double *value, size_t n, size_t steps, double min_delta,
                       double *out_delta) {
  if (out_delta) *out_delta = 0;
  if (steps == 0 || n < steps + 1) return false;
  for (size_t i = n - steps; i < n; i++)
    if (!(value[i] > value[i - 1])) return false;
  double delta = value[n - 1] - value[n - 1 - steps];
  if (out_delta) *out_delta = delta;
  return delta >= min_delta;
}
