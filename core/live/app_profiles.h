// Profiles of an app, fetched again and again over its endpoint while somebody wants them: heap
// (behind a collection, too), allocs, goroutines, mutex, block, threadcreate, and short execution
// traces. Asked on the loop, read on a worker, handed over on the loop. One request per target and
// two per loop at a time; an app is left alone for 50 times as long as its last answer took, and
// traced for at most 1 % of the time, whatever all its rules ask for; failures back off.
#ifndef TM_LIVE_APP_PROFILES_H
#define TM_LIVE_APP_PROFILES_H

#include "base/ctx.h"
#include "model/profile.h"
#include "net/endpoint.h"

typedef struct tm_app_profiles tm_app_profiles;

typedef struct tm_profile_want {
  const char *metric; // "pprof.heap?gc=1", "go.goroutines", "trace.go?seconds=2"
  uint64_t every_ns;  // under 1 s is taken as 1 s
} tm_profile_want;

typedef struct tm_app_profiles_options {
  void *uv_loop;               // uv_loop_t
  uint32_t *running;           // shared by all of one loop
  uint64_t timeout_ns;         // 0 = twice the period, 5 to 30 s
  uint64_t max_bytes;          // of one answer; 0 = 64 MiB
  int64_t (*now_ns)(void *ud); // engine time
  void (*profile)(void *ud, const char *metric, int64_t time_ns, tm_profile *profile); // takes it
  void (*trouble)(void *ud, const char *metric, const char *text); // text NULL = it works again
  void *ud;
} tm_app_profiles_options;

typedef struct tm_app_profiles_stats {
  uint64_t requests, failures, profiles, waits; // waits: turns that others had
  uint64_t read_cpu_ns;                         // of the worker, for all that was read
  uint64_t traces, traced_ns, trace_bytes;      // takes of traces that were answered
} tm_app_profiles_stats;

// "pprof.NAME" and "go.goroutines", with or without "?gc=1"; "trace.go" with or without
// "?seconds=N", which is 1, and at most 10.
bool tm_app_profile_metric(const char *metric);

// Asks nothing until a plan comes. The ctx must outlive it. Loop thread, as everything here.
TM_NODISCARD tm_status tm_app_profiles_new(tm_ctx *ctx, const tm_app_profiles_options *options,
                                           tm_app_profiles **out);

// Cancels what is under way; memory is given back when the loop closed its timer and the worker
// ended.
void tm_app_profiles_free(tm_app_profiles *profiles);

// Replaces the plan; other metrics in it are passed over. The endpoint's headers and ca_file must
// live until the next plan or the end. TM_E_ARG, TM_E_NOMEM: the plan is empty then.
TM_NODISCARD tm_status tm_app_profiles_plan(tm_app_profiles *profiles, const tm_endpoint *endpoint,
                                            const tm_profile_want *wants, size_t want_count);

const tm_app_profiles_stats *tm_app_profiles_get_stats(const tm_app_profiles *profiles);

#endif
