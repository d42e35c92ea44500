// The sampler of one live process: reads, group by group, what somebody demands, each group at its
// own period and never more often than its cost budget allows, and hands the values on as samples.
//
// Nothing demanded = nothing read. The engine demands what rules and views declare; `proc.rss` at 5
// s is the only standing demand.
#ifndef TM_LIVE_SAMPLER_H
#define TM_LIVE_SAMPLER_H

#include "base/log.h"
#include "platform/platform.h"

typedef struct tm_sampler tm_sampler;

// One value: metric "proc.rss" or a family ("proc.handles", "proc.handle_bytes", "proc.mappings",
// "proc.mapping_bytes") with its kind as key ("" otherwise). Counters arrive as rates per second
// (proc.cpu as a ratio of one core).
typedef struct tm_sample {
  const char *metric, *key; // static strings
  tm_unit unit;
  int64_t time_ns;
  double value;
} tm_sample;

typedef void (*tm_sample_fn)(void *ud, const tm_sample *sample);

typedef struct tm_sampler_stats {
  uint64_t reads[TM_GROUP_COUNT];   // how often each group was read
  uint64_t cost_ns[TM_GROUP_COUNT]; // CPU time spent on it
  uint64_t skipped[TM_GROUP_COUNT]; // readings left out by the cost budget
  uint64_t missed;                  // ticks that came too late to be taken
  uint32_t withheld;                // bits of groups that a privilege hides
} tm_sampler_stats;

// Opens the process. plat must outlive the sampler. TM_E_GONE, TM_E_PERM, TM_E_IO.
TM_NODISCARD tm_status tm_sampler_new(tm_ctx *ctx, tm_plat *plat, int64_t pid, tm_sampler **out);
void tm_sampler_free(tm_sampler *sampler);

// Replaces the whole plan: period_ns per group (0 = not wanted). Groups newly wanted are due at
// once.
void tm_sampler_plan(tm_sampler *sampler, const uint64_t period_ns[TM_GROUP_COUNT]);

// Share of one core that the dear groups (HANDLES, MAPS, ROLLUP, TREE) may cost together; default
// 0.005.
void tm_sampler_budget(tm_sampler *sampler, double core_ratio);

// Makes proc.peak_rss the peak of each interval instead of the peak since start: after each reading
// of STATUS the kernel's mark is reset. Off unless a rule demands the signal, since other tools see
// the reset too.
void tm_sampler_interval_peaks(tm_sampler *sampler, bool on);

// When the next group is due, on the monotone clock; UINT64_MAX = never.
uint64_t tm_sampler_next_due_ns(const tm_sampler *sampler);

// Reads all groups due at mono_ns and calls fn for each value got. time_ns is stamped on them.
// TM_E_GONE when the process ended (or its pid is another process now).
TM_NODISCARD tm_status tm_sampler_tick(tm_ctx *ctx, tm_sampler *sampler, uint64_t mono_ns,
                                       int64_t time_ns, tm_sample_fn fn, void *ud);

const tm_sampler_stats *tm_sampler_get_stats(const tm_sampler *sampler);
tm_proc *tm_sampler_proc(const tm_sampler *sampler);

// The group that a metric name is read with, or TM_GROUP_COUNT when the platform has no such
// metric.
tm_group tm_metric_group(const char *metric);

// The unit in which samples of a metric arrive (rates for counters).
tm_unit tm_metric_unit(const char *metric);

#endif
