// The numbers that an app tells about itself, read as a stream of names and values: expvar's JSON
// and the text of OpenMetrics and Prometheus. Nothing is kept; memory does not depend on the input.
#ifndef TM_READ_COUNTERS_H
#define TM_READ_COUNTERS_H

#include "base/units.h"

// One number. name and labels are not NUL-terminated and die with the call.
typedef struct tm_counter {
  const char *name; // "memstats.HeapInuse"; "go_goroutines"
  size_t name_size;
  const char *labels; // what stands between { and }, as written; "" for none
  size_t labels_size;
  tm_unit unit;
  double value; // finite
} tm_counter;

typedef void (*tm_counter_fn)(void *ud, const tm_counter *counter);

// expvar: nested names joined by dots, members of arrays by their number
// ("memstats.BySize.3.Size"); true is 1. Strings, nulls and what is not finite are left out, and
// names over 255 bytes. TM_E_FORMAT with the byte: what came before was told. Source: expvar and
// runtime.MemStats of Go.
TM_NODISCARD tm_status tm_read_expvar(tm_ctx *ctx, const void *data, size_t size, tm_counter_fn fn,
                                      void *ud);

// OpenMetrics 1.0 and Prometheus text 0.0.4: every sample line, buckets and quantiles too;
// timestamps, exemplars and comments are passed over. TM_E_FORMAT with the byte of the first line
// that is none. Source: the OpenMetrics specification; Prometheus' exposition formats.
TM_NODISCARD tm_status tm_read_metrics(tm_ctx *ctx, const void *data, size_t size, tm_counter_fn fn,
                                       void *ud);

// The index page of net/http/pprof: how many of each kind there are ("goroutine", "threadcreate",
// "heap", an app's own). TM_E_FORMAT when it is another page.
TM_NODISCARD tm_status tm_read_pprof_index(tm_ctx *ctx, const void *data, size_t size,
                                           tm_counter_fn fn, void *ud);

// The unit that a name promises: fields of Go's memstats, and endings such as _bytes and _ratio.
// Seconds stay plain numbers, since the values are the app's own.
tm_unit tm_counter_unit(const char *name, size_t size);

#endif
