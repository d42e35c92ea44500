// The gate, in order: enough samples; the floor (floors.h); Theil-Sen slope and corrected
// Mann-Kendall test of it (kendall.h); then questions that a leak answers with yes and its known
// impostors with no:
//   large    growth over the window is 3 % at least            noise is not
//   even     each half of the growth holds 25 % of it          a step does not
//   lasting  the last third still climbs                       a warm-up does not
//   steady   a random walk with such steps would not get here  a drifting cache would
#include "analyze/trend.h"

#include "analyze/floors.h"
#include "analyze/kendall.h"
#include "analyze/stats.h"

#include <math.h>
#include <string.h>

enum { MIN_SAMPLES = 10, MIN_TAIL = 5 };

#define MAX_GAP_RATIO    0.2
#define MIN_WARMUP_RATIO 0.2
#define RESTART_RATIO    0.5

tm_trend_options tm_trend_defaults(void) {
  return (tm_trend_options){.buckets = 30,
                            .min_growth_ratio = 0.03,
                            .split_ratio = 0.25,
                            .tail_ratio = 0.25,
                            .z_critical = 2.33,
                            .walk_sigmas = 2.6,
                            .return_ratio = 0.6};
}

// ---- the window ----

typedef struct window {
  const int64_t *time_ns;
  const double *value;
  size_t n;
} window;

static void drop(window *w, size_t count) {
  w->time_ns += count;
  w->value += count;
  w->n -= count;
}

// A collector's fall goes back to a floor that was there before; a restart's goes below half of it.
static void drop_former_life(window *w) {
  size_t start = 0;
  double least = INFINITY;
  for (size_t i = 0; i < w->n; i++) {
    if (!isfinite(w->value[i])) continue;
    if (least < INFINITY && least > 0 && w->value[i] < RESTART_RATIO * least) {
      start = i;
      least = w->value[i];
    }
    if (w->value[i] < least) least = w->value[i];
  }
  drop(w, start);
}

static void drop_warmup(window *w, uint64_t warmup_ns) {
  if (warmup_ns == 0) return;
  double span_ns = (double)w->time_ns[w->n - 1] - (double)w->time_ns[0],
         from_ns = (double)warmup_ns;
  if (from_ns < MIN_WARMUP_RATIO * span_ns) from_ns = MIN_WARMUP_RATIO * span_ns;
  size_t count = 0;
  while (count < w->n && (double)w->time_ns[count] - (double)w->time_ns[0] < from_ns) count++;
  drop(w, count);
}

// ---- the questions ----

static double median_of(const double *v, size_t n) {
  double copy[TM_FLOORS_MAX];
  memcpy(copy, v, n * sizeof *copy);
  return tm_stats_median_in_place(copy, n);
}

static bool grows_evenly(const tm_floors *f, double share) {
  size_t third = f->n / 3;
  double first = median_of(f->value, third), middle = median_of(f->value + third, f->n - 2 * third);
  double last = median_of(f->value + f->n - third, third), total = last - first;
  return total > 0 && middle - first >= share * total && last - middle >= share * total;
}

// Variance of the steps over `distance` buckets, per bucket.
static double step_variance(const tm_floors *f, size_t distance) {
  size_t m = f->n - distance;
  double mean = 0, squares = 0;
  for (size_t i = 0; i < m; i++) mean += (f->value[i + distance] - f->value[i]) / (double)m;
  for (size_t i = 0; i < m; i++) {
    double e = f->value[i + distance] - f->value[i] - mean;
    squares += e * e;
  }
  return squares / (double)(m - 1) / (double)distance;
}

// Is the growth more than where a random walk with steps like these would end? The spread of a
// walk's steps grows with the distance, that of noise around a line does not: the least counts.
// n / (n - 4) stands for Student's wider tails, since few steps know their spread badly.
static bool outgrows_walk(const tm_floors *f, double growth, double sigmas) {
  double variance = INFINITY, n = (double)f->n;
  for (size_t distance = 1; distance == 1 || distance <= f->n / 7; distance *= 2)
    variance = fmin(variance, step_variance(f, distance));
  return growth >= sigmas * sqrt(variance * (n - 1) * n / (n - 4));
}

// Do the residuals return to the line? By von Neumann's ratio, squared steps over squared
// residuals: 2 for noise; a walk has 7.5 / n on the average (around its own line), twice which is
// taken off.
static bool returns_to_line(const tm_floors *f, double ratio) {
  tm_line line = tm_stats_line(f->time_s, f->value, f->n);
  double squares = 0;
  for (size_t i = 0; i < f->n; i++) {
    double e = f->value[i] - line.intercept - line.slope * f->time_s[i];
    squares += e * e;
  }
  return step_variance(f, 1) >= (ratio + 15 / (double)f->n) * squares / (double)f->n;
}

// slope and tail_slope in units per second.
static const char *objection(const tm_floors *f, const tm_trend_options *o, const tm_trend *t,
                             double slope, double tail_slope) {
  double growth = slope * (f->time_s[f->n - 1] - f->time_s[0]);
  if (t->z <= o->z_critical || t->slope_low_per_s <= 0) return "no monotone trend";
  if (t->growth_ratio < o->min_growth_ratio) return "growth is below the minimum";
  if (!grows_evenly(f, o->split_ratio))
    return t->shape == TM_SHAPE_STEP ? "it came in one step" : "growth is uneven";
  if (!(tail_slope >= o->tail_ratio * slope)) return "it levelled off";
  if (!outgrows_walk(f, growth, o->walk_sigmas) && !returns_to_line(f, o->return_ratio))
    return "it may be a random walk";
  return NULL;
}

// ---- the verdict ----

// Floors and ceilings are in units; what the caller sees is not.
static void describe(const window *w, const tm_floors *f, const tm_kendall *k, tm_trend *t) {
  double rest[TM_FLOORS_MAX], over[TM_FLOORS_MAX], growth = k->slope * f->span_s;
  for (size_t i = 0; i < f->n; i++) rest[i] = f->value[i] - k->slope * f->time_s[i];
  double start = median_of(rest, f->n);
  for (size_t i = 0; i < f->n; i++) over[i] = f->ceiling[i] - k->slope * f->time_s[i] - start;
  t->slope_per_s = k->slope * f->unit;
  t->slope_low_per_s = k->slope_low * f->unit;
  t->slope_high_per_s = k->slope_high * f->unit;
  t->level = (start + growth) * f->unit;
  t->amplitude = fmax(0, median_of(over, f->n)) * f->unit;
  t->growth_ratio = start > 0 ? growth / start : growth > 0 ? INFINITY : 0;
  t->z = k->z;
  t->p = k->p;
  t->confidence = 1 - k->p;
  t->cycle_ns = (uint64_t)(f->cycle_s * 1e9);
  size_t step = 0;
  t->shape = tm_shape_compute(f->value, f->n, &step);
  if (t->shape == TM_SHAPE_STEP) t->step_time_ns = w->time_ns[f->at[step]];
}

static tm_status judge(tm_ctx *ctx, const window *w, const tm_floors *f, const tm_trend_options *o,
                       tm_trend *out) {
  tm_kendall k;
  double tail_slope;
  size_t tail = f->n / 3 > MIN_TAIL ? f->n / 3 : MIN_TAIL, before = f->n - tail;
  TM_TRY(tm_kendall_compute(ctx, f->time_s, f->value, f->n, &k));
  TM_TRY(tm_kendall_slope(ctx, f->time_s + before, f->value + before, tail, &tail_slope));
  describe(w, f, &k, out);
  const char *why = objection(f, o, out, k.slope, tail_slope);
  out->leak = !why;
  out->reason = why ? why : "steady growth of the floor";
  return TM_OK;
}

tm_status tm_trend_compute(tm_ctx *ctx, const int64_t *time_ns, const double *value, size_t n,
                           const tm_trend_options *options, tm_trend *out) {
  tm_trend_options o = options ? *options : tm_trend_defaults();
  window w = {time_ns, value, n};
  tm_floors f;
  if (n) {
    drop_former_life(&w);
    drop_warmup(&w, o.warmup_ns);
  }
  TM_TRY(tm_floors_compute(ctx, w.time_ns, w.value, w.n, o.buckets, &f));
  *out = (tm_trend){.p = 1, .reason = "too few samples", .n_used = f.used};
  if (f.used < MIN_SAMPLES) return TM_OK;
  out->reason = "gaps: more than a fifth of the samples is missing";
  if ((double)(w.n - f.used) > MAX_GAP_RATIO * (double)w.n) return TM_OK;
  out->reason = "gaps: samples come in too few spurts";
  if (f.n < TM_FLOORS_MIN) return TM_OK;
  return judge(ctx, &w, &f, &o, out);
}

static double time_at(double room, double slope_per_s) {
  if (room <= 0) return 0;
  return slope_per_s > 0 ? room / slope_per_s * 1e9 : INFINITY;
}

double tm_trend_time_to_ns(const tm_trend *trend, double limit, double *low_ns, double *high_ns) {
  double room = limit - trend->level - trend->amplitude;
  if (low_ns) *low_ns = time_at(room, trend->slope_high_per_s);
  if (high_ns) *high_ns = time_at(room, trend->slope_low_per_s);
  return time_at(room, trend->slope_per_s);
}
