// Order statistics by quickselect with the median of three as pivot; a lopsided cut is followed by
// one that takes the pivot's equals out, so that constant data are as cheap as any. Mann-Whitney
// sorts once, for the ranks; its exact tail counts arrangements of m and k values by which kind is
// on top: N(u; m, k) = N(u; m - 1, k) + N(u - m; m, k - 1).
#include "analyze/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double tm_stats_min(const double *value, size_t n) {
  double least = NAN;
  for (size_t i = 0; i < n; i++)
    if (!(value[i] >= least) && !isnan(value[i])) least = value[i];
  return least;
}

double tm_stats_max(const double *value, size_t n) {
  double greatest = NAN;
  for (size_t i = 0; i < n; i++)
    if (!(value[i] <= greatest) && !isnan(value[i])) greatest = value[i];
  return greatest;
}

double tm_stats_mean(const double *value, size_t n) {
  double sum = 0, mean = 0, count = 0;
  for (size_t i = 0; i < n; i++) {
    if (isnan(value[i])) continue;
    sum += value[i];
    count++;
  }
  if (count == 0) return NAN;
  if (isfinite(sum)) return sum / count;
  for (size_t i = 0; i < n; i++) // the sum overflowed, or an infinity is among them
    if (!isnan(value[i])) mean += value[i] / count;
  return mean;
}

// ---- order ----

static void swap_values(double *a, double *b) {
  double t = *a;
  *a = *b;
  *b = t;
}

static double median_of_three(double a, double b, double c) {
  if (a > b) swap_values(&a, &b);
  if (b > c) swap_values(&b, &c);
  return a > b ? a : b;
}

// Moves what is below the pivot (or equal to it) to the front of [low, high); answers where that
// ends. Random comparisons would fool the branch predictor every other time: there is no branch.
static size_t partition(double *value, size_t low, size_t high, double pivot, bool equal) {
  size_t end = low;
  if (equal)
    for (size_t i = low; i < high; i++) {
      double v = value[i];
      value[i] = value[end];
      value[end] = v;
      end += v <= pivot;
    }
  else
    for (size_t i = low; i < high; i++) {
      double v = value[i];
      value[i] = value[end];
      value[end] = v;
      end += v < pivot;
    }
  return end;
}

double tm_stats_select(double *value, size_t n, size_t k) {
  size_t low = 0, high = n;
  while (high - low > 1) {
    size_t size = high - low;
    double pivot = median_of_three(value[low], value[low + size / 2], value[high - 1]);
    size_t less = partition(value, low, high, pivot, false);
    if (k < less) {
      high = less;
      continue;
    }
    if (less - low <= size / 8) { // few are below it: many may equal it
      less = partition(value, less, high, pivot, true);
      if (k < less) break;
    }
    low = less;
  }
  return value[k];
}

static size_t without_gaps(const double *value, size_t n, double *out) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++)
    if (!isnan(value[i])) out[count++] = value[i];
  return count;
}

static double quantile_in_place(double *value, size_t n, double q) {
  if (n == 0 || isnan(q)) return NAN;
  double place = (q < 0 ? 0 : q > 1 ? 1 : q) * (double)(n - 1);
  size_t below = (size_t)place;
  double a = tm_stats_select(value, n, below), fraction = place - (double)below;
  if (fraction <= 0) return a;
  double b = tm_stats_min(value + below + 1, n - below - 1);
  return a == b ? a : (1 - fraction) * a + fraction * b; // equal infinities must not give NAN
}

double tm_stats_median_in_place(double *value, size_t n) {
  return quantile_in_place(value, n, 0.5);
}

tm_status tm_stats_quantile(tm_ctx *ctx, const double *value, size_t n, double q, double *out) {
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  double *copy = tm_arena_alloc(&ctx->scratch, n * sizeof *copy);
  if (!copy) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %zu values", n);
  *out = quantile_in_place(copy, without_gaps(value, n, copy), q);
  tm_arena_rewind(&ctx->scratch, mark);
  return TM_OK;
}

tm_status tm_stats_mad(tm_ctx *ctx, const double *value, size_t n, double *out) {
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  double *copy = tm_arena_alloc(&ctx->scratch, n * sizeof *copy);
  if (!copy) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %zu values", n);
  size_t count = without_gaps(value, n, copy);
  double median = tm_stats_median_in_place(copy, count);
  for (size_t i = 0; i < count; i++) copy[i] = copy[i] == median ? 0 : fabs(copy[i] - median);
  *out = 1.4826 * tm_stats_median_in_place(copy, count);
  tm_arena_rewind(&ctx->scratch, mark);
  return TM_OK;
}

// ---- change ----

// Index of the newest value before `end` that is no gap and not newer than at_ns; n when none.
static size_t newest(const int64_t *time_ns, const double *value, size_t n, int64_t at_ns) {
  for (size_t i = n; i-- > 0;)
    if (!isnan(value[i]) && time_ns[i] <= at_ns) return i;
  return n;
}

static size_t oldest(const double *value, size_t n) {
  size_t i = 0;
  while (i < n && isnan(value[i])) i++;
  return i;
}

double tm_stats_change(const int64_t *time_ns, const double *value, size_t n, uint64_t span_ns) {
  size_t last = newest(time_ns, value, n, INT64_MAX);
  if (last == n || oldest(value, n) == last) return NAN;
  int64_t since_ns = span_ns > (uint64_t)time_ns[last] - (uint64_t)INT64_MIN
                         ? INT64_MIN
                         : (int64_t)((uint64_t)time_ns[last] - span_ns);
  size_t from = newest(time_ns, value, last, since_ns);
  if (from == last) from = oldest(value, n);
  return value[last] - value[from];
}

double tm_stats_rate(const int64_t *time_ns, const double *value, size_t n) {
  size_t first = oldest(value, n), last = newest(time_ns, value, n, INT64_MAX);
  if (first == n || time_ns[last] <= time_ns[first]) return NAN;
  double span_s = ((double)time_ns[last] - (double)time_ns[first]) / 1e9;
  return (value[last] - value[first]) / span_s;
}

tm_line tm_stats_line(const double *x, const double *y, size_t n) {
  double mx = 0, my = 0, count = 0, xx = 0, xy = 0, yy = 0;
  for (size_t i = 0; i < n; i++) { // Welford's update: no great numbers are subtracted
    if (isnan(x[i]) || isnan(y[i])) continue;
    count++;
    double dx = x[i] - mx, dy = y[i] - my;
    mx += dx / count;
    my += dy / count;
    xx += dx * (x[i] - mx);
    xy += dx * (y[i] - my);
    yy += dy * (y[i] - my);
  }
  if (count == 0) return (tm_line){NAN, NAN, NAN};
  double slope = xx > 0 ? xy / xx : 0;
  return (tm_line){slope, my - slope * mx, yy > 0 && xx > 0 ? slope * xy / yy : yy > 0 ? 0 : 1};
}

// ---- two samples ----

enum { EXACT_MAX = 12 };

typedef struct ranked {
  double value;
  bool second;
} ranked;

static int by_value(const void *a, const void *b) {
  double x = ((const ranked *)a)->value, y = ((const ranked *)b)->value;
  return x < y ? -1 : x > y;
}

static size_t add_ranked(ranked *out, size_t at, const double *value, size_t n, bool second) {
  for (size_t i = 0; i < n; i++)
    if (!isnan(value[i])) out[at++] = (ranked){value[i], second};
  return at;
}

// P(U >= u) when all arrangements of m and k values are equally likely.
static double exact_tail(size_t m, size_t k, size_t u) {
  double ways[EXACT_MAX + 1][EXACT_MAX * EXACT_MAX + 1], all = 0, tail = 0; // [b's][u], a's grow
  memset(ways, 0, sizeof ways);
  for (size_t b = 0; b <= k; b++) ways[b][0] = 1;
  for (size_t a = 1; a <= m; a++)
    for (size_t b = 1; b <= k; b++) // the greatest is an a (no new pair) or a b (above all a's)
      for (size_t w = a * b; w >= a; w--) ways[b][w] += ways[b - 1][w - a];
  for (size_t w = 0; w <= m * k; w++) {
    all += ways[k][w];
    if (w >= u) tail += ways[k][w];
  }
  return tail / all;
}

static double normal_tail(double m, double k, double u, double ties) {
  double n = m + k, variance = m * k / 12 * (n + 1 - ties / (n * (n - 1)));
  return variance > 0 ? 0.5 * erfc((u - m * k / 2 - 0.5) / sqrt(2 * variance)) : 1;
}

tm_status tm_stats_mann_whitney(tm_ctx *ctx, const double *a, size_t na, const double *b, size_t nb,
                                double *out_u, double *out_p) {
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  ranked *all = tm_arena_calloc(&ctx->scratch, na + nb, sizeof *all);
  if (!all) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for %zu values", na + nb);
  size_t m = add_ranked(all, 0, a, na, false), n = add_ranked(all, m, b, nb, true), k = n - m;
  qsort(all, n, sizeof *all, by_value);
  double rank_sum = 0, ties = 0;
  for (size_t i = 0; i < n;) {
    size_t j = i, seconds = 0;
    while (j < n && all[j].value == all[i].value) seconds += all[j++].second;
    double t = (double)(j - i);
    rank_sum += (double)seconds * ((double)(i + j + 1) / 2); // mean of the ranks i+1 .. j
    ties += t * t * t - t;
    i = j;
  }
  tm_arena_rewind(&ctx->scratch, mark);
  double u = rank_sum - (double)k * ((double)k + 1) / 2;
  *out_u = u;
  if (m == 0 || k == 0)
    *out_p = NAN;
  else if (m <= EXACT_MAX && k <= EXACT_MAX && ties == 0)
    *out_p = exact_tail(m, k, (size_t)u);
  else
    *out_p = normal_tail((double)m, (double)k, u, ties);
  return TM_OK;
}

tm_status tm_stats_growth(tm_ctx *ctx, const double *value, size_t n, size_t head, size_t tail,
                          tm_growth *out) {
  *out = (tm_growth){NAN, NAN, NAN, NAN};
  if (head > n || tail > n - head) head = tail = n / 2;
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
  if (steps == 0 || steps >= n) return false;
  for (size_t i = n - steps; i < n; i++)
    if (!(value[i] > value[i - 1])) return false;
  double delta = value[n - 1] - value[n - 1 - steps];
  if (out_delta) *out_delta = delta;
  return delta >= min_delta;
}
