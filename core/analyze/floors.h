// The floor of a window: equal spans of time, each reduced to its least value. Under a garbage
// collector that is what survived; without one it costs nothing.
#ifndef TM_ANALYZE_FLOORS_H
#define TM_ANALYZE_FLOORS_H

#include "base/ctx.h"

enum { TM_FLOORS_MAX = 64, TM_FLOORS_MIN = 8 };

typedef struct tm_floors {
  double time_s[TM_FLOORS_MAX];  // of the least value, seconds since the first sample
  double value[TM_FLOORS_MAX];   // least value of the bucket, in units
  double ceiling[TM_FLOORS_MAX]; // greatest value of the bucket, in units
  size_t at[TM_FLOORS_MAX];      // index of the sample with the least value
  size_t n;                      // buckets that hold a sample
  double unit;                   // a power of two near the greatest value: squares stay finite
  double span_s;                 // from the first to the last sample
  double cycle_s;                // the collection cycle that was seen; 0 = none
  size_t used;                   // samples that counted
} tm_floors;

// Cuts the window into `buckets` spans of time (1..64; 0 = 64), at most one per sample. When the
// autocorrelation shows a cycle so long that a bucket would span less than 1.2 of it, fewer buckets
// are made, but 8 at least. Samples that are not finite, or not later than the one before, do not
// count. O(n + 6000). TM_E_NOMEM.
TM_NODISCARD tm_status tm_floors_compute(tm_ctx *ctx, const int64_t *time_ns, const double *value,
                                         size_t n, uint32_t buckets, tm_floors *out);

#endif
