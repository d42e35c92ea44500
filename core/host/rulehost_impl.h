// Private to rulehost.c, handlers.c, load.c and ruletest.c: the host's parts.
#ifndef TM_HOST_RULEHOST_IMPL_H
#define TM_HOST_RULEHOST_IMPL_H

#include "base/glob.h"
#include "base/vec.h"
#include "host/rulehost.h"

#include <pthread.h>
#include <stdatomic.h>

// A message to the rule thread: fn(host, arg) there.
typedef struct message {
  struct message *next;
  void (*fn)(tm_rulehost *host, void *arg);
  void *arg;
} message;

enum { SPARE_MESSAGES = 64 }; // for moments without memory: a lost message would lose what it owns

// One rule on one target.
typedef struct pair {
  tm_package *package;
  tm_rule *rule;
  tm_target *target; // retained
  int context_ref;
  int64_t next_ns;
  int64_t warm_ns;       // before it, samples do not count and no check runs
  bool reported;         // the last evaluation had findings, or none was made yet
  bool enabled;          // by the rule, and by overrides for this target's name
  double recent_cost_ns; // moving average of a check
} pair;

typedef struct override {
  char *package; // that declared it
  char *app, *rule;
  int enabled;                                  // -1 = unchanged
  double hold_s, linger_s, cooldown_s, every_s; // < 0 = unchanged
  tm_level level_map[TM_LEVEL_FAIL + 1];        // NONE = unchanged
  tm_bytes params;                              // plain table
} override;

typedef struct stale_note {
  char name[128], problem[400];
} stale_note;

// A replaced version whose handlers still run: they get five seconds.
typedef struct retired {
  tm_package *package;
  TM_VEC(pair *) pairs;
  int64_t until_ns;
} retired;

typedef struct handler handler;
typedef struct job job;

struct tm_rulehost {
  tm_ctx ctx; // the rule thread's own
  tm_ctx *owner;
  tm_engine *engine;
  tm_rulehost_options options;
  TM_VEC(tm_package *) packages;
  TM_VEC(pair *) pairs;
  TM_VEC(tm_target *) targets; // retained
  TM_VEC(override *) overrides;
  TM_VEC(stale_note *) stale;
  TM_VEC(retired *) retired;
  handler *handlers;
  job *jobs;
  atomic_uint_fast64_t next_job_id;
  int64_t now_ns;
  atomic_llong next_due_ns;
  pthread_t thread;
  bool running, stop;
  pthread_mutex_t queue_lock;
  pthread_cond_t queue_filled;
  message *first, *last;
  message spare[SPARE_MESSAGES], *spare_first;
  int draining;
  pthread_mutex_t state_lock; // packages, pairs and statistics against tm_rulehost_each_rule
  atomic_uint_fast64_t busy_since_ns;
  _Atomic(const tm_rule *) busy_rule;
  _Atomic(tm_sandbox *) busy_sandbox;
  tm_natives natives;
  tm_bytes dsl_code; // see tm_natives
  bool borrowed;     // its one package belongs to somebody else (tests)
};

// Takes a package that somebody else built and owns as this (inline) host's only one, and binds it.
// only_rule of the options counts. Until the host is freed the package's native functions talk to
// it.
void tm_host_adopt(tm_rulehost *host, tm_package *package);

// Queues fn for the rule thread; inline hosts run it before the current call returns.
void tm_host_tell(tm_rulehost *host, void (*fn)(tm_rulehost *, void *), void *arg);
void tm_host_drain(tm_rulehost *host);

// Runs fn on the engine's thread.
void tm_host_post(tm_rulehost *host, void (*fn)(void *), void *arg);

// Calls into a package's state, with the watchdog's marks and the rule's books kept.
tm_status tm_host_call(tm_rulehost *host, tm_package *package, tm_rule *rule, int nargs,
                       int nresults);

// Binding (binding.c). carried: the state of the pair in the version before, or NULL.
typedef struct carried carried;
void tm_host_bind_pair(tm_rulehost *host, tm_package *package, tm_rule *rule, tm_target *target,
                       const carried *from);
void tm_host_bind_package(tm_rulehost *host, tm_package *package, const tm_package *old);
// Metrics that nothing here samples: they are told by whoever knows (an app, an inspector), any
// time.
bool tm_metric_is_told(const char *metric);
void tm_host_unbind_package(tm_rulehost *host, tm_package *package);
void tm_host_set_due(tm_rulehost *host);
void tm_host_note(tm_rulehost *host, tm_event_kind kind, tm_level level, const char *rule,
                  const char *target, const char *text);

void tm_host_post_policy(tm_rulehost *host, const tm_package *package, const tm_rule *rule,
                         bool remove);
void tm_host_arm(tm_rulehost *host, pair *p, const tm_rule_input *input, bool on);
void tm_host_push_shared(lua_State *L, const char *target_id);
bool tm_host_override_matches(const override *o, const char *rule, const char *app);
void tm_host_drop_overrides(tm_rulehost *host, const char *package); // NULL = all

void tm_host_free_pair(tm_rulehost *host, pair *p);
void tm_host_free_retired(tm_rulehost *host, bool all); // those whose time is over, or all
bool tm_host_has_handlers(const tm_rulehost *host, const tm_package *package);
void tm_host_rebind_all(tm_rulehost *host);

// Handlers and jobs (handlers.c).
void tm_host_transition(tm_rulehost *host, void *arg);  // arg: transition_copy, freed here
void tm_host_action_done(tm_rulehost *host, void *arg); // arg: job_result, freed here
void tm_host_run_timers(tm_rulehost *host); // sleeps and timeouts that are due at host->now_ns
int64_t tm_host_next_timer_ns(const tm_rulehost *host);
void tm_host_cancel_handlers(tm_rulehost *host, const tm_package *package,
                             const tm_target *target); // NULL = any
void tm_host_install_natives(lua_State *L, void **owner);

typedef struct transition_copy {
  char *rule, *target, *key, *text;
  tm_level from_level, to_level;
  bool fired, resolved;
  double value;
} transition_copy;
transition_copy *tm_host_copy_transition(const tm_alert_transition *transition);

typedef struct job_result {
  uint64_t id;
  tm_status status;
  size_t size;
  char bytes[];
} job_result;
job_result *tm_host_job_result(uint64_t id, tm_status status, const void *bytes, size_t size);

// Shadow run and tests (ruletest.c): differences are written to notes.
// Runs the tests of a package that was built for it; see tm_rules_test.
tm_status tm_host_test_package(tm_ctx *ctx, tm_package *package, tm_rule_test_fn fn, void *ud);

tm_status tm_host_shadow(tm_rulehost *host, const tm_package *old, const tm_package *package,
                         char *notes, size_t notes_size);

#endif
