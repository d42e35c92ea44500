// Snapshots of a target: the last few profiles of each kind that somebody demands, sealed and
// counted, so that a rule's thread computes on them while the next one is fetched.
//
// The metric names what is kept: "pprof.heap", "pprof.heap?gc=1" (behind a collection),
// "go.goroutines" (every goroutine with state and creator). Demands are tm_target_demand's; `keep`
// is the number of profiles.
#ifndef TM_ENGINE_SHOTS_H
#define TM_ENGINE_SHOTS_H

#include "engine/engine.h"
#include "model/profile.h"

enum { TM_SHOTS_MAX = 64 }; // profiles kept of one metric, whatever is demanded

// One profile of one moment. Immutable; any thread may read, retain and release it.
typedef struct tm_shot {
  const tm_profile *profile;
  int64_t time_ns;  // engine time
  uint64_t ordinal; // from 1, by target and metric
} tm_shot;

const tm_shot *tm_shot_retain(const tm_shot *shot);
void tm_shot_release(const tm_shot *shot); // NULL is fine

// Data in, as tm_engine_feed: keeps the profile, which it takes over in every case, drops the
// oldest above what is demanded, and tells the observers. A profile older than the newest is
// dropped. Engine's thread.
TM_NODISCARD tm_status tm_engine_feed_snapshot(tm_engine *engine, tm_target *target,
                                               const char *metric, int64_t time_ns,
                                               tm_profile *profile);

// The newest `room` profiles of a metric, oldest first, each retained. Any thread, without the lock
// held.
size_t tm_target_shots(tm_engine *engine, const tm_target *target, const char *metric,
                       const tm_shot **out, size_t room);

// The ordinal of the newest one; 0 = none yet. Any thread, without the lock held.
uint64_t tm_target_shot_ordinal(tm_engine *engine, const tm_target *target, const char *metric);

// True for "pprof.NAME" and "go.goroutines", with or without "?gc=1", and "dump.FORMAT": the type
// paths of a heap dump (analyze/type_paths.h), which nobody fetches: who takes dumps feeds them;
// "trace.go": what rules compare of an execution trace (analyze/trace_profile.h), "trace.chrome":
// of a browser's (analyze/timeline_profile.h), which nobody fetches; "agent.handles": who opened
// what a process holds (live/handle_shots.h).
bool tm_shot_metric(const char *metric);

// Private to engine.c: frees what a target kept.
typedef struct tm_shot_book tm_shot_book;
void tm_shot_book_free(tm_shot_book *book);

#endif
