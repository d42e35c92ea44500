// The gate, in order: enough samples; buckets, each reduced to its floor; Theil-Sen slope of the
// floors with its interval; Mann-Kendall with the variance corrected for autocorrelation; then four
// questions that a real leak answers with yes and the known impostors with no:
//   large    growth over the window is >= 3 % (noise is not)
//   even     each half of the growth between the medians of thirds is >= 25 % of it (a step is not)
//   lasting  the last third still climbs (a warm-up does not)
//   steady   the growth is more than a random walk with steps of the same size would wander
// Buckets must span a collection cycle to see its floor. The cycle is looked for by the first peak
// of the autocorrelation; when buckets are shorter than 1.2 cycles, fewer and longer ones are used.
#include "analyze/trend.h"

#include "analyze/changepoint.h"
#include "analyze/stats.h"

#include <math.h>
#include <string.h>

enum { MAX_BUCKETS = 64, MIN_BUCKETS = 8, MIN_SAMPLES = 10, CYCLE_POINTS = 128 };

tm_trend_options tm_trend_defaults(void) {
  return (tm_trend_options){30, 0.03, 0.25, 0.25, 2.33, 2.5};
}

// ---- the window ----

// Where the window starts: behind the last fall by more than half, which begins a new life. A
// collector's fall that comes back within the window's sawtooth is none: it must not have been
// reached before at the same depth.
static size_t window_start(const double *value, size_t n) {
  size_t start = 0;
  double peak = -INFINITY, floor = INFINITY;
  for (size_t i = 0; i < n; i++) {
    if (isnan(value[i])) continue;
    if (peak > 0 && value[i] < 0.5 * peak && value[i] < 0.5 * floor) {
      start = i;
      peak = value[i];
      floor = value[i];
    }
    if (value[i] > peak) peak = value[i];
    if (value[i] < floor) floor = value[i];
  }
  return start;
}

// Length of the sawtooth's cycle in samples, 0 = none seen: the first strong peak of the
// autocorrelation of the detrended series, on at most CYCLE_POINTS points.
static double cycle_samples(const double *value, size_t n) {
  double x[CYCLE_POINTS];
  size_t stride = (n + CYCLE_POINTS - 1) / CYCLE_POINTS, m = 0;
  double last = 0, sum = 0;
  for (size_t i = 0; i < n; i += stride) {
    if (!isnan(value[i])) last = value[i];
    x[m++] = last;
  }
  if (m < 16) return 0;
  double slope = (x[m - 1] - x[0]) / (double)(m - 1), origin = x[0];
  for (size_t i = 0; i < m; i++) sum += x[i] -= origin + slope * (double)i;
  double mean = sum / (double)m, variance = 0;
  for (size_t i = 0; i < m; i++) {
    x[i] -= mean;
    variance += x[i] * x[i];
  }
  if (variance <= 0) return 0;
  bool fell = false;
  double before = 1;
  for (size_t lag = 1; lag < m / 2; lag++) {
    double r = 0;
    for (size_t i = 0; i + lag < m; i++) r += x[i] * x[i + lag];
    r /= variance;
    if (r < 0.1) fell = true;
    if (fell && r < before && before > 0.3) return (double)((lag - 1) * stride);
    before = r;
  }
  return 0;
}

typedef struct floors {
  double t[MAX_BUCKETS], v[MAX_BUCKETS]; // seconds since the window's start, floor
  size_t n;
} floors;

static void make_floors(const int64_t *time_ns, const double *value, size_t n, size_t buckets,
                        floors *out) {
  out->n = 0;
  for (size_t b = 0; b < buckets; b++) {
    size_t from = b * n / buckets, to = (b + 1) * n / buckets;
    double least = INFINITY;
    size_t at = from;
    for (size_t i = from; i < to; i++)
      if (value[i] < least) {
        least = value[i];
        at = i;
      }
    if (!isfinite(least)) continue;
    out->t[out->n] = (double)(time_ns[at] - time_ns[0]) / 1e9;
    out->v[out->n++] = least;
  }
}

static size_t bucket_count(const double *value, size_t n, uint32_t wanted) {
  size_t buckets = wanted ? wanted : MAX_BUCKETS;
  if (buckets > MAX_BUCKETS) buckets = MAX_BUCKETS;
  if (buckets > n) buckets = n;
  double cycle = cycle_samples(value, n);
  if (cycle > 0 && (double)n / (double)buckets < 1.2 * cycle) {
    buckets = (size_t)((double)n / (1.2 * cycle));
    if (buckets < MIN_BUCKETS) buckets = MIN_BUCKETS;
  }
  return buckets < n ? buckets : n;
}

// ---- slope and test ----

static double rank_variance(const floors *f) {
  double n = (double)f->n, ties = 0;
  bool seen[MAX_BUCKETS] = {false};
  for (size_t i = 0; i < f->n; i++) {
    if (seen[i]) continue;
    double t = 1;
    for (size_t j = i + 1; j < f->n; j++)
      if (f->v[j] == f->v[i]) {
        seen[j] = true;
        t++;
      }
    ties += t * (t - 1) * (2 * t + 5);
  }
  return (n * (n - 1) * (2 * n + 5) - ties) / 18;
}

// Ranks of the residuals of a line; few values, so counting will do.
static void residual_ranks(const floors *f, double slope, double *rank) {
  double r[MAX_BUCKETS];
  for (size_t i = 0; i < f->n; i++) r[i] = f->v[i] - slope * f->t[i];
  for (size_t i = 0; i < f->n; i++) {
    double less = 0, equal = 0;
    for (size_t j = 0; j < f->n; j++) {
      less += r[j] < r[i];
      equal += r[j] == r[i];
    }
    rank[i] = less + (equal + 1) / 2;
  }
}

// Factor by which autocorrelation widens the variance, >= 1 (Hamed and Rao 1998, their equation for
// n/n*).
static double hamed_rao(const floors *f, double slope) {
  double rank[MAX_BUCKETS], n = (double)f->n, mean = (n + 1) / 2, variance = 0, sum = 0;
  residual_ranks(f, slope, rank);
  for (size_t i = 0; i < f->n; i++) variance += (rank[i] - mean) * (rank[i] - mean);
  if (variance <= 0) return 1;
  for (size_t k = 1; k < f->n; k++) {
    double r = 0;
    for (size_t i = 0; i + k < f->n; i++) r += (rank[i] - mean) * (rank[i + k] - mean);
    r /= variance;
    if (fabs(r) <= 1.96 / sqrt(n)) continue;
    double dk = (double)k;
    sum += (n - dk) * (n - dk - 1) * (n - dk - 2) * r;
  }
  double factor = 1 + 2 / (n * (n - 1) * (n - 2)) * sum;
  return factor > 1 ? factor : 1;
}

static void slope_and_test(const floors *f, double *slopes, tm_trend *out) {
  size_t count = 0;
  double s = 0;
  for (size_t i = 0; i < f->n; i++)
    for (size_t j = i + 1; j < f->n; j++) {
      double d = f->v[j] - f->v[i], dt = f->t[j] - f->t[i];
      s += (d > 0) - (d < 0);
      if (dt > 0) slopes[count++] = d / dt;
    }
  if (!count) return;
  out->slope_per_s = tm_stats_select(slopes, count, count / 2);
  if (count % 2 == 0)
    out->slope_per_s = (out->slope_per_s + tm_stats_select(slopes, count, count / 2 - 1)) / 2;
  double variance = rank_variance(f) * hamed_rao(f, out->slope_per_s);
  out->z = variance > 0 && s != 0 ? (s - (s > 0 ? 1 : -1)) / sqrt(variance) : 0;
  out->p = 0.5 * erfc(out->z / sqrt(2));
  double half = 2.576 * sqrt(variance), low = ((double)count - half) / 2,
         high = ((double)count + half) / 2 + 1;
  size_t last = count - 1;
  out->slope_low_per_s = tm_stats_select(slopes, count, low < 0 ? 0 : (size_t)low);
  out->slope_high_per_s = tm_stats_select(slopes, count, high > (double)last ? last : (size_t)high);
}

// ---- the questions ----

static double median_of(const double *v, size_t n) {
  double copy[MAX_BUCKETS];
  memcpy(copy, v, n * sizeof *copy);
  return tm_stats_select(copy, n, n / 2);
}

static bool grows_evenly(const floors *f, double share) {
  size_t third = f->n / 3;
  double first = median_of(f->v, third), middle = median_of(f->v + third, f->n - 2 * third);
  double last = median_of(f->v + f->n - third, third), total = last - first;
  return total > 0 && middle - first >= share * total && last - middle >= share * total;
}

static bool still_climbs(const floors *f, double slope, double share) {
  size_t third = f->n / 3;
  double slopes[(MAX_BUCKETS / 3) * (MAX_BUCKETS / 3) / 2];
  size_t count = 0;
  for (size_t i = f->n - third; i < f->n; i++)
    for (size_t j = i + 1; j < f->n; j++)
      if (f->t[j] > f->t[i]) slopes[count++] = (f->v[j] - f->v[i]) / (f->t[j] - f->t[i]);
  return count && tm_stats_select(slopes, count, count / 2) >= share * slope;
}

// How far a random walk with steps of this size would wander over the window. The steps' spread is
// taken around their mean, so that steady growth with little noise has a small one; steps over two
// and four buckets tell a walk (their spread grows with the distance) from noise around a line (it
// does not).
static double walk_sigma(const floors *f) {
  static const size_t distances[] = {1, 2, 4};
  double least = INFINITY;
  for (size_t d = 0; d < TM_COUNT(distances); d++) {
    size_t k = distances[d], m = f->n - k;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < m; i++) sum += f->v[i + k] - f->v[i];
    double mean = sum / (double)m;
    for (size_t i = 0; i < m; i++) {
      double e = f->v[i + k] - f->v[i] - mean;
      squares += e * e;
    }
    double per_step = sqrt(squares / (double)(m - 1) / (double)k);
    if (per_step < least) least = per_step;
  }
  return least * sqrt((double)(f->n - 1));
}

static const char *judge(const floors *f, const tm_trend_options *o, tm_trend *t) {
  double span = f->t[f->n - 1] - f->t[0], growth = t->slope_per_s * span;
  double start = t->level - growth;
  t->growth_ratio = start > 0 ? growth / start : growth > 0 ? INFINITY : 0;
  if (t->z <= o->z_critical) return "no monotone trend";
  if (t->slope_low_per_s <= 0) return "the slope's interval includes zero";
  if (t->growth_ratio < o->min_growth_ratio) return "growth is below the minimum";
  if (!grows_evenly(f, o->split_ratio))
    return t->shape == TM_SHAPE_STEP ? "it came in one step" : "growth is uneven";
  if (!still_climbs(f, t->slope_per_s, o->tail_ratio)) return "it levelled off";
  if (growth < o->walk_ratio * walk_sigma(f)) return "it could be a random walk";
  return NULL;
}

static double sawtooth(const int64_t *time_ns, const double *value, size_t n, const tm_trend *t,
                       double *scratch) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) {
    if (isnan(value[i])) continue;
    double floor = t->level - t->slope_per_s * (double)(time_ns[n - 1] - time_ns[i]) / 1e9;
    scratch[count++] = value[i] - floor;
  }
  // Twice the median height of a linear sawtooth is its amplitude.
  double height = count ? 2 * tm_stats_select(scratch, count, count / 2) : 0;
  return height > 0 ? height : 0;
}

static tm_status compute(tm_ctx *ctx, const int64_t *time_ns, const double *value, size_t n,
                         const tm_trend_options *o, tm_trend *out) {
  floors f;
  make_floors(time_ns, value, n, bucket_count(value, n, o->buckets), &f);
  if (f.n < MIN_BUCKETS || f.t[f.n - 1] <= f.t[0]) {
    out->reason = "too few samples";
    return TM_OK;
  }
  double *slopes = tm_arena_alloc(&ctx->scratch, (n + MAX_BUCKETS * MAX_BUCKETS) * sizeof *slopes);
  if (!slopes)
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for a trend of %zu samples", n);
  slope_and_test(&f, slopes, out);
  size_t step = 0;
  out->shape = tm_shape_of(f.v, f.n, &step);
  if (out->shape == TM_SHAPE_STEP) out->step_time_ns = time_ns[0] + (int64_t)(f.t[step] * 1e9);
  double residual[MAX_BUCKETS];
  for (size_t i = 0; i < f.n; i++) residual[i] = f.v[i] - out->slope_per_s * f.t[i];
  out->level =
      median_of(residual, f.n) + out->slope_per_s * (double)(time_ns[n - 1] - time_ns[0]) / 1e9;
  const char *objection = judge(&f, o, out);
  out->amplitude = sawtooth(time_ns, value, n, out, slopes);
  out->confidence = 1 - out->p;
  out->leak = objection == NULL;
  out->reason = objection ? objection : "steady growth of the floor";
  return TM_OK;
}

tm_status tm_trend_compute(tm_ctx *ctx, const int64_t *time_ns, const double *value, size_t n,
                           const tm_trend_options *options, tm_trend *out) {
  tm_trend_options defaults = tm_trend_defaults();
  *out = (tm_trend){.p = 1, .reason = "too few samples"};
  size_t start = window_start(value, n), gaps = 0;
  time_ns += start;
  value += start;
  n -= start;
  for (size_t i = 0; i < n; i++) gaps += isfinite(value[i]) ? 0 : 1;
  out->n_used = n - gaps;
  if (out->n_used < MIN_SAMPLES) return TM_OK;
  if ((double)gaps > 0.2 * (double)n) {
    out->reason = "more than a fifth of the samples is missing";
    return TM_OK;
  }
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  tm_status status = compute(ctx, time_ns, value, n, options ? options : &defaults, out);
  tm_arena_rewind(&ctx->scratch, mark);
  return status;
}

static double time_at(double room, double slope) {
  if (room <= 0) return 0;
  return slope > 0 ? room / slope * 1e9 : INFINITY;
}

double tm_trend_time_to_ns(const tm_trend *trend, double limit, double *low_ns, double *high_ns) {
  double room = limit - trend->level - trend->amplitude;
  if (low_ns) *low_ns = time_at(room, trend->slope_high_per_s);
  if (high_ns) *high_ns = time_at(room, trend->slope_low_per_s);
  return time_at(room, trend->slope_per_s);
}
