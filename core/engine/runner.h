// The runner drives an engine on live processes: a libuv loop, one timer for what is due next,
// samplers, process exits by pidfd, pressure triggers, spawned commands, built-in actions and takes
// of evidence.
//
// Engine time is the wall clock at start plus the monotone time since, so it never goes back; when
// the wall clock runs ahead (suspend, NTP) by more than 2 s, engine time follows it.
#ifndef TM_ENGINE_RUNNER_H
#define TM_ENGINE_RUNNER_H

#include "analyze/accounting.h"
#include "engine/engine.h"
#include "live/sampler.h"

typedef struct tm_runner tm_runner;

typedef struct tm_runner_options {
  void *uv_loop;                    // uv_loop_t of the host; NULL = a loop of its own
  const char *proc_root, *sys_root; // NULL = the machine's
  uint64_t every_ns;                // period of proc.rss for every target; 0 = 5 s
  double sampling_budget_ratio; // share of a core that the dear groups of one target may cost; 0 =
                                // 0.005
  int64_t (*next_due_ns)(
      void *ud); // engine time at which somebody else (rules) wants a tick; may be NULL
  void *next_due_ud;
} tm_runner_options;

typedef struct tm_runner_stats {
  uint64_t ticks, samples, wakeups;
  uint64_t missed;          // group readings that came a whole period late
  uint64_t sampling_cpu_ns; // CPU time of the sampling alone
  uint64_t cpu_ns;          // of the whole process
  uint64_t started_mono_ns;
  uint64_t fetched, fetch_cpu_ns;          // snapshots of apps, and CPU time of their reading
  uint64_t traces, traced_ns, trace_bytes; // of them that traced: how many, how long, how large
  double rss_bytes, peak_rss_bytes;        // of this process
} tm_runner_stats;

TM_NODISCARD tm_status tm_runner_new(tm_ctx *ctx, tm_engine *engine,
                                     const tm_runner_options *options, tm_runner **out);

// Closes all handles and, if the loop is its own, the loop. Spawned commands go on unless killed
// before.
void tm_runner_free(tm_runner *runner);

// Watches a process. app: how it is asked (hook, endpoint and what goes with it; the rest is not
// looked at); NULL = not at all. TM_E_GONE, TM_E_ARG when it is watched already.
TM_NODISCARD tm_status tm_runner_watch(tm_runner *runner, int64_t pid, const tm_target_facts *app,
                                       tm_target **out);

// What is known of an owner of a watched process's RSS from elsewhere (V8's heap, from its
// inspector): counted in account.* from the next reading on; NAN = not known any more. Nothing
// happens when account.* is not demanded of the target.
void tm_runner_tell(tm_target *target, tm_owner owner, double bytes);

// Starts a command with the caller's standard streams and watches it. env_add: "NAME=value"
// strings, NULL-terminated, or NULL.
TM_NODISCARD tm_status tm_runner_spawn(tm_runner *runner, const char *const *argv,
                                       const char *const *env_add, const tm_target_facts *app,
                                       tm_target **out);

// Ends a spawned command: SIGTERM, and SIGKILL after grace_ns. Nothing for other targets.
void tm_runner_end_spawned(tm_runner *runner, uint64_t grace_ns);

// Exit status of the last spawned command that ended: 0-255, 128 + signal, or -1 while it runs.
int tm_runner_exit_code(const tm_runner *runner);

// Runs the loop until tm_runner_stop, or until nothing is left to watch when until_idle.
void tm_runner_run(tm_runner *runner, bool until_idle);

// Any thread and signal handlers: ends tm_runner_run soon.
void tm_runner_stop(tm_runner *runner);

// Any thread: runs fn(arg) on the loop's thread, in order.
void tm_runner_post(tm_runner *runner, void (*fn)(void *arg), void *arg);
void tm_runner_post_fn(void *runner, void (*fn)(void *arg), void *arg); // the same, as a callback

// Calls fn every period on the loop's thread until the runner ends; period_ns > 0.
TM_NODISCARD tm_status tm_runner_every(tm_runner *runner, uint64_t period_ns, void (*fn)(void *ud),
                                       void *ud);

// Arms a pressure trigger for the machine: an event TM_EVENT_PRESSURE and a tick at once when it
// fires.
TM_NODISCARD tm_status tm_runner_pressure(tm_runner *runner, uint64_t stall_ns, uint64_t window_ns);

// Takes evidence of a target: handle_table, mapping_table, status, heap_profile, goroutines, ...
// (acts.c lists them). done is called once on the loop's thread with text or bytes, or with a
// status and its message.
typedef void (*tm_taken_fn)(void *ud, uint64_t id, tm_status status, const void *bytes,
                            size_t size);
void tm_runner_take(tm_runner *runner, tm_target *target, const char *name,
                    const char *options_json, uint64_t timeout_ns, uint64_t id, tm_taken_fn done,
                    void *ud);

// Registers the built-in actions with the engine's action queue (acts.c).
TM_NODISCARD tm_status tm_runner_register_actions(tm_runner *runner);

tm_plat *tm_runner_plat(tm_runner *runner);
void *tm_runner_loop(tm_runner *runner); // uv_loop_t *
tm_engine *tm_runner_engine(tm_runner *runner);
tm_sampler *tm_runner_sampler(const tm_target *target); // NULL for a virtual target
void tm_runner_get_stats(tm_runner *runner, tm_runner_stats *out);
int64_t tm_runner_now_ns(const tm_runner *runner);

#endif
