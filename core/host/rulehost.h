// Where rules live: packages, their bindings to targets, when each check runs, what its findings
// become, and the coroutines of on.<level>. Live, it has a thread of its own, so that no rule ever
// delays a sample; inline (rule tests, replays) everything happens inside tm_engine_advance.
//
// The engine tells it of targets and time through an observer; it answers through `post`, which
// runs a function on the engine's thread. Rules touch the engine's data only through copies taken
// under tm_engine_lock.
#ifndef TM_HOST_RULEHOST_H
#define TM_HOST_RULEHOST_H

#include "engine/engine.h"
#include "host/package.h"

typedef struct tm_rulehost tm_rulehost;

// Starts to take evidence of a target ("handle_table", "heap_profile"...); options is a JSON
// object. The taker answers exactly once through tm_rulehost_job_done, from any thread.
typedef void (*tm_take_fn)(void *ud, tm_target *target, const char *name, const char *options_json,
                           uint64_t timeout_ns, uint64_t job_id);

typedef struct tm_rulehost_options {
  bool threaded;            // a thread of its own, begun by tm_rulehost_start; else inline
  bool skip_self_tests;     // of packages when they are loaded
  tm_sandbox_limits limits; // zeros = the defaults
  void (*post)(void *ud, void (*fn)(void *arg),
               void *arg); // any thread; NULL = run at once (inline only)
  void *post_ud;
  tm_take_fn take; // NULL = takes fail with "not available here"
  void *take_ud;
  tm_functions *functions; // that rules may call, of the embedding program; NULL = none
  const char *only_rule;   // NULL = all: load only this rule of each package
} tm_rulehost_options;

TM_NODISCARD tm_status tm_rulehost_new(tm_ctx *ctx, tm_engine *engine,
                                       const tm_rulehost_options *options, tm_rulehost **out);

// Ends the thread (a wedged check is interrupted); from then on messages run inline. What was
// posted to the engine's thread may still name the host: let it run before tm_rulehost_free.
void tm_rulehost_stop(tm_rulehost *host);

// Stops and frees everything. Engine's thread.
void tm_rulehost_free(tm_rulehost *host);

// Begins the thread. Before it, and without `threaded`, calls run inline on the caller's thread.
TM_NODISCARD tm_status tm_rulehost_start(tm_rulehost *host);

// What became of one file; strings live for the call.
typedef struct tm_load_report {
  bool ok;
  const char *name, *origin;
  const char *problem; // "" when ok; begins with the stable code LOAD_...
  bool kept_old;       // a version that was loaded before goes on running
  bool unchanged;      // same text as before: nothing was done
  size_t rules, tests; // declared; run and passed
  uint64_t took_ns;    // from reading to swap
  const char *notes;   // differences that the shadow run saw, migrate problems; "" = none
} tm_load_report;
typedef void (*tm_load_fn)(void *ud, const tm_load_report *report);

// Loads or reloads one file by the whole protocol: hash, build, validate, the file's own tests,
// shadow run, swap, state carried. Any failure keeps the old version. fn is called on the engine's
// thread (at once when inline).
TM_NODISCARD tm_status tm_rulehost_load(tm_rulehost *host, const char *name, const char *origin,
                                        const char *source, size_t size, tm_load_fn fn, void *ud);

// Takes a package out (its file vanished); its alerts end.
TM_NODISCARD tm_status tm_rulehost_unload(tm_rulehost *host, const char *name);

// Any thread: the result of a take. bytes are copied.
void tm_rulehost_job_done(tm_rulehost *host, uint64_t job_id, tm_status status, const void *bytes,
                          size_t size);

// Describes every rule: fn is called for each, with strings that live for the call. Any thread;
// false (nothing was called) when a check holds the host for more than 20 ms.
typedef struct tm_rule_view {
  const char *package, *origin;
  const tm_rule *rule;
  size_t bound_targets;
  const char *state; // ok, disabled, error, quarantined, stale (an edit was rejected)
  const char *problem;
} tm_rule_view;
typedef void (*tm_rule_view_fn)(void *ud, const tm_rule_view *view);
bool tm_rulehost_each_rule(tm_rulehost *host, tm_rule_view_fn fn, void *ud);

// Runs the tests that stand in one file. fn is called per test. TM_E_RULE when the file does not
// load or a test failed.
typedef void (*tm_rule_test_fn)(void *ud, const char *rule, const char *test, bool ok,
                                const char *why);
TM_NODISCARD tm_status tm_rules_test(tm_ctx *ctx, const char *name, const char *source, size_t size,
                                     tm_rule_test_fn fn, void *ud);

// When the next check or timer is due, in engine time; INT64_MAX = never. Any thread.
int64_t tm_rulehost_next_due_ns(tm_rulehost *host);

// What the rule thread is doing since when (monotonic ns), for the watchdog: false when idle. Any
// thread.
bool tm_rulehost_busy(tm_rulehost *host, uint64_t *since_ns, char *rule, size_t rule_size);

// Renders a report by a format that some package declared. report_plain: tm_plain bytes of the
// report's table. Inline hosts only.
TM_NODISCARD tm_status tm_rulehost_render(tm_ctx *ctx, tm_rulehost *host, const char *format_id,
                                          const uint8_t *report_plain, size_t size, tm_bytes *out);

#endif
