// Handle stacks of a process as profiles, again and again while somebody wants them: who opened the
// descriptors and made the pixmaps that it holds. The malloc agent inside of the process is told to
// record when the first is wanted and to stop when none is any more; a program without an agent is
// asked now and then, in vain and in silence. Asked and read on a worker, handed over on the loop.
#ifndef TM_LIVE_HANDLE_SHOTS_H
#define TM_LIVE_HANDLE_SHOTS_H

#include "base/ctx.h"
#include "model/profile.h"

typedef struct tm_handle_shots tm_handle_shots;

typedef struct tm_handle_shots_options {
  void *uv_loop; // uv_loop_t
  int64_t pid;
  int64_t (*now_ns)(void *ud); // engine time
  // Takes the profile: types handles/count and space/bytes, with functions.
  void (*profile)(void *ud, const char *metric, int64_t time_ns, tm_profile *profile);
  void *ud;
} tm_handle_shots_options;

typedef struct tm_handle_shots_stats {
  uint64_t profiles, failures;
  uint64_t cpu_ns; // of the worker
} tm_handle_shots_stats;

// "agent.handles", with or without "?armed=1".
bool tm_handle_shot_metric(const char *metric);

// Asks nothing until a plan comes. The ctx must outlive it. Loop thread, as everything here.
TM_NODISCARD tm_status tm_handle_shots_new(tm_ctx *ctx, const tm_handle_shots_options *options,
                                           tm_handle_shots **out);

// Recording ends, if it began here: the agent is waited for, 100 ms at most.
void tm_handle_shots_free(tm_handle_shots *shots);

// metric (copied): what the profiles are called from now on. every_ns: 0 = no more; under 1 s is
// taken as 1 s. The first comes at once, before anything was recorded.
void tm_handle_shots_plan(tm_handle_shots *shots, const char *metric, uint64_t every_ns);

const tm_handle_shots_stats *tm_handle_shots_get_stats(const tm_handle_shots *shots);

#endif
