// A series: what is kept in memory of one signal of one target. The newest samples as they came (a
// ring of fixed capacity), older ones as the least and the greatest value of each minute, packed
// into chunks under a byte cap, so that spikes stay visible for hours. Not thread-safe: the engine
// locks.
#ifndef TM_MODEL_SERIES_H
#define TM_MODEL_SERIES_H

#include "base/ctx.h"

// What one pair of the older tier stands for.
#define TM_SERIES_BUCKET_NS (60 * INT64_C(1000000000))

// Minutes older than this are forgotten; the history on disk has them.
#define TM_SERIES_OLDER_NS (INT64_C(48) * 60 * TM_SERIES_BUCKET_NS)

typedef struct tm_series tm_series;

// An empty series that keeps `capacity` raw samples (at least 1; 16 bytes each, taken at once) and
// spends at most older_bytes on the minutes before them, two days of them at most (0 = forgets
// them; 4096 holds four hours of pure noise, half a day of a calm signal, two days of an idle one).
// It keeps a copy of ctx's allocator. TM_E_NOMEM.
TM_NODISCARD tm_status tm_series_new(tm_ctx *ctx, size_t capacity, size_t older_bytes,
                                     tm_series **out);
void tm_series_free(tm_series *series);

// Raises the raw capacity; never lowers it. TM_E_NOMEM leaves the series as it was.
TM_NODISCARD tm_status tm_series_reserve(tm_ctx *ctx, tm_series *series, size_t capacity);

// Adds a sample; NAN marks a gap. The time of the newest one replaces its value; an older time is
// refused with TM_E_ARG, as is one outside 0 .. INT64_MAX / 2. TM_E_NOMEM: the sample is in, the
// minute that had to make room for it is lost.
TM_NODISCARD tm_status tm_series_push(tm_ctx *ctx, tm_series *series, int64_t time_ns,
                                      double value);

// Samples held, raw and thinned together; and how many of them are raw.
size_t tm_series_count(const tm_series *series);
size_t tm_series_raw_count(const tm_series *series);

// The newest sample; false while there is none.
bool tm_series_last(const tm_series *series, int64_t *out_time_ns, double *out_value);

// Copies the samples at or after since_ns, ascending in time; the newest `max` of them when there
// are more. A minute of the older tier gives two samples: its extremes in the order in which they
// happened, at its start and its middle. Returns how many were written.
size_t tm_series_copy(const tm_series *series, int64_t since_ns, int64_t *times_ns, double *values,
                      size_t max);

// The least and greatest value in each of `buckets` equal parts of [from_ns, to_ns), NAN where
// there is none: what a sparkline draws. Does nothing when to_ns <= from_ns.
void tm_series_envelope(const tm_series *series, int64_t from_ns, int64_t to_ns, size_t buckets,
                        double *min, double *max);

// Memory held, in bytes, this struct included.
size_t tm_series_memory_bytes(const tm_series *series);

#endif
