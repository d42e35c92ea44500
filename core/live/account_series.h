// The accounting of RSS as samples: `account.<owner>` for each owner that ever had something,
// `account.<group>` for the sums (account.c_heap, account.go), `account.unexplained` and
// `account.rss`, all of one reading under one time. Read on a worker, handed over on the loop. A
// reading is put off until its CPU time is under 0.5 % of a core; waiting for the program's answers
// costs no CPU and is not counted.
#ifndef TM_LIVE_ACCOUNT_SERIES_H
#define TM_LIVE_ACCOUNT_SERIES_H

#include "live/account_gather.h"
#include "live/sampler.h"

typedef struct tm_account_series tm_account_series;

// Several series that take turns, so that a thousand programs do not fill every worker and core. It
// outlives the series.
typedef struct tm_account_turns {
  uint32_t most_readings; // at once
  uint32_t reading_count;
  tm_account_series *first, *last; // those that wait, in order
} tm_account_turns;

typedef struct tm_account_series_options {
  void *uv_loop;           // uv_loop_t
  tm_account_turns *turns; // NULL = waits for nobody
  int64_t pid;
  const tm_endpoint *endpoint;                 // copied; NULL = none
  tm_sample_fn sample;                         // each value; its strings are static
  void (*read_done)(void *ud);                 // after the last value of a reading; may be NULL
  int64_t (*now_ns)(void *ud);                 // stamped on the values
  void (*trouble)(void *ud, const char *text); // said once until a reading works again
  void *ud;
} tm_account_series_options;

typedef struct tm_account_series_stats {
  uint64_t readings, failures, put_off;
  uint64_t cpu_ns; // of the worker
} tm_account_series_stats;

// "account.NAME" of an owner, a group or "rss".
bool tm_account_metric(const char *metric);

// Reads nothing until a plan comes. The ctx must outlive it. Loop thread, as everything here.
TM_NODISCARD tm_status tm_account_series_new(tm_ctx *ctx, const tm_account_series_options *options,
                                             tm_account_series **out);

// What is under way ends on its worker and is thrown away.
void tm_account_series_free(tm_account_series *series);

// every_ns: 0 = stop; under 1 s is taken as 1 s. The first reading comes at once.
void tm_account_series_plan(tm_account_series *series, uint64_t every_ns);

// What is known of an owner from elsewhere (V8's from its inspector): holds for all readings from
// the next on. NAN = not known any more.
void tm_account_series_tell(tm_account_series *series, tm_owner owner, double bytes);

const tm_account_series_stats *tm_account_series_get_stats(const tm_account_series *series);

#endif
