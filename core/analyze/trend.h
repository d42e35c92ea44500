// Is this series a leak? The gate that decides, with the size and the certainty of the growth.
#ifndef TM_ANALYZE_TREND_H
#define TM_ANALYZE_TREND_H

#include "base/ctx.h"

typedef enum tm_shape {
  TM_SHAPE_CONSTANT,
  TM_SHAPE_STEP,       // two levels: a warm-up, a loaded plug-in; no leak
  TM_SHAPE_LINE,       // steady growth
  TM_SHAPE_SATURATING, // growth that levels off
} tm_shape;

typedef struct tm_trend_options {
  uint32_t buckets; // the window is cut into so many; each is taken as its least value: the floor
                    // after collections
  double min_growth_ratio; // of the level at the window's start, over the window; less is no leak
  double split_ratio; // each half-step between the medians of thirds holds at least this share of
                      // the growth
  double tail_ratio;  // slope of the last third, at least this share of the whole slope
  double z_critical;  // of the corrected Mann-Kendall test, one-sided
  double walk_ratio;  // growth must exceed this many sigmas of what a random walk with such steps
                      // would do
} tm_trend_options;

// 30 buckets, 3 %, 0.25, 0.25, 2.33 (p < 0.01), 2.5.
tm_trend_options tm_trend_defaults(void);

typedef struct tm_trend {
  bool leak;
  const char *reason;     // why, in words; static
  double slope_per_s;     // Theil-Sen, of the floor
  double slope_low_per_s; // 99 % confidence interval of it
  double slope_high_per_s;
  double z, p;          // Mann-Kendall with the Hamed-Rao correction, one-sided
  double growth_ratio;  // slope over the window, relative to the floor at its start
  double level;         // the floor now
  double amplitude;     // median height of the samples above the floor: the sawtooth of a collector
  double confidence;    // 1 - p
  tm_shape shape;       // best of four by BIC, on the floor
  int64_t step_time_ns; // where the step is, for TM_SHAPE_STEP; else 0
  size_t n_used;        // samples that counted
} tm_trend;

// Decides. Refuses (leak = false, with the reason) with fewer than 10 samples or more than 20 %
// gaps. A fall by more than half starts the window anew: the process freed its memory, or was
// restarted. options NULL = defaults. Cost: O(n + buckets^2); about 15 us for 360 samples.
// TM_E_NOMEM only. Source: Theil 1950, Sen 1968; Mann 1945, Kendall 1975; Hamed and Rao 1998
// (variance under autocorrelation).
TM_NODISCARD tm_status tm_trend_compute(tm_ctx *ctx, const int64_t *time_ns, const double *value,
                                        size_t n, const tm_trend_options *options, tm_trend *out);

// When the peaks (floor + amplitude) reach limit: nanoseconds from now, INFINITY = never at this
// slope, 0 = reached. low and high (may be NULL) come from the slope's interval.
double tm_trend_time_to_ns(const tm_trend *trend, double limit, double *low_ns, double *high_ns);

#endif
