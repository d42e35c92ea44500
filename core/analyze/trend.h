// Is this series a leak? The gate that decides, with the size and the certainty of the growth.
#ifndef TM_ANALYZE_TREND_H
#define TM_ANALYZE_TREND_H

#include "analyze/changepoint.h"

typedef struct tm_trend_options {
  uint32_t buckets; // the window is cut into so many spans, each taken as its least value (the
                    // floor after collections); 0 = 64, at most one per sample
  double min_growth_ratio; // over the window, of the floor at its start; less is no leak
  double split_ratio;      // share of the growth that each half of the way, between the medians of
                           // thirds, must hold at least
  double tail_ratio;       // slope of the last third, at least this share of the whole slope
  double z_critical;       // of the corrected Mann-Kendall test, one-sided
  double walk_sigmas;      // growth, in sigmas of where a random walk with such steps would end; or
  double return_ratio;     // von Neumann ratio of the residuals (2 = noise, 0 = walk): one suffices
  uint64_t warmup_ns; // 0 = keep all; else this much is dropped from the start of the window (or
                      // of the new life after a restart), and 20 % of it at least
} tm_trend_options;

// What the figures of docs/statistics.md were made with: 30 buckets, growth 3 %, split .25, tail
// .25, z 2.33 (p < .01), walk 2.8 or return 1.1, no warm-up.
tm_trend_options tm_trend_defaults(void);

typedef struct tm_trend {
  bool leak;
  const char *reason;     // why, in words; static
  double slope_per_s;     // Theil-Sen, of the floor
  double slope_low_per_s; // its 95 % confidence interval
  double slope_high_per_s;
  double z, p;          // Mann-Kendall with the Hamed-Rao correction, one-sided
  double growth_ratio;  // growth over the window, of the floor at its start
  double level;         // the floor now
  double amplitude;     // of the peaks above the floor (median over buckets): the sawtooth
  double confidence;    // 1 - p
  tm_shape shape;       // best of four by BIC, on the floor
  int64_t step_time_ns; // where the step is, for TM_SHAPE_STEP; else 0
  uint64_t cycle_ns;    // length of the collection cycle; 0 = none seen
  size_t n_used;        // samples that counted
} tm_trend;

// Decides. A sample counts when it is finite and later than the one before; with fewer than 10, or
// more than 20 % that do not count, it refuses: leak = false, reason says so, the figures are 0 (p
// is 1). A fall below half of the least value so far starts the window anew: a restart, or memory
// given back. options NULL = defaults. Scaling or shifting time, and scaling the values, changes no
// verdict. O(n + buckets^2), no more than 20 us for 360 samples. TM_E_NOMEM, TM_E_CANCELLED.
// Source: docs/statistics.md names the papers.
TM_NODISCARD tm_status tm_trend_compute(tm_ctx *ctx, const int64_t *time_ns, const double *value,
                                        size_t n, const tm_trend_options *options, tm_trend *out);

// Nanoseconds from the newest sample until the peaks (floor + amplitude) reach limit: INFINITY =
// never at this slope, 0 = reached. *low_ns (soonest) and *high_ns (latest), both may be NULL, come
// from the slope's interval.
double tm_trend_time_to_ns(const tm_trend *trend, double limit, double *low_ns, double *high_ns);

#endif
