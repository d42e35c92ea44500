// The numbers that an app tells about itself, sampled over its endpoint: `expvar.<name>` from
// /debug/vars, `metrics.<name>` from /metrics, and `go.counts.<profile>` from the index page of
// /debug/pprof/ (`go.counts.goroutine`: how many there are). Asked for only while somebody wants
// one, with one request for all that is wanted of a page, and never more than one under way per
// page.
//
// A name may be a family: `expvar.queue` takes every number under queue, its name's rest as key;
// `metrics.app_open_bytes` every set of labels, as written, as key. Values are the app's own: a
// counter is not turned into a rate.
#ifndef TM_LIVE_APP_COUNTERS_H
#define TM_LIVE_APP_COUNTERS_H

#include "base/log.h"
#include "live/sampler.h"
#include "net/endpoint.h"

typedef struct tm_app_counters tm_app_counters;

typedef struct tm_app_want {
  const char *metric; // "expvar.memstats.HeapInuse"
  uint64_t every_ns;  // the shortest of a page counts; under 1 s is taken as 1 s
} tm_app_want;

typedef struct tm_app_counters_options {
  void *uv_loop; // uv_loop_t
  const tm_log *log;
  tm_sample_fn sample;         // each value; its strings die with the call
  void (*read_done)(void *ud); // after the last value of a page; may be NULL
  int64_t (*now_ns)(void *ud); // stamped on the values
  void *ud;
} tm_app_counters_options;

typedef struct tm_app_counters_stats {
  uint64_t requests, failures; // failures: no answer, no 200, or not in the format
  uint64_t cost_ns;            // CPU time of reading the answers
} tm_app_counters_stats;

// True for what this module reads: begins with "expvar.", "metrics." or "go.counts.".
bool tm_app_metric(const char *metric);

// True when the endpoint has the page of such a metric.
bool tm_app_metric_has_page(const char *metric, const tm_endpoint *endpoint);

// The unit that a name promises; TM_UNIT_NONE for other metrics.
tm_unit tm_app_metric_unit(const char *metric);

// Asks nothing until a plan comes. The ctx must outlive it. Loop thread, as everything here.
TM_NODISCARD tm_status tm_app_counters_new(tm_ctx *ctx, const tm_app_counters_options *options,
                                           tm_app_counters **out);

// Cancels what is under way; memory is given back when the loop has closed its timers.
void tm_app_counters_free(tm_app_counters *counters);

// Replaces the plan; metrics that are others' or whose page has no address are passed over. Pages
// newly wanted are asked at once. The endpoint's headers and ca_file must live until the next plan
// or the end. TM_E_ARG, TM_E_NOMEM: the plan is empty then.
TM_NODISCARD tm_status tm_app_counters_plan(tm_app_counters *counters, const tm_endpoint *endpoint,
                                            const tm_app_want *wants, size_t want_count);

const tm_app_counters_stats *tm_app_counters_get_stats(const tm_app_counters *counters);

#endif
