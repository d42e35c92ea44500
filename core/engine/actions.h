// What rules may do about an alert: named actions behind a gate of capabilities and limits, run
// asynchronously with a timeout, audited, and judged by what they gained. Time is told from
// outside.
//
// Every measured action is an experiment: memory and pressure are probed before it runs and again
// settle_ns after it is done. One that gained less than max(1 MiB, 1 % of RSS) twice in a row for
// the same (rule, target, action) is disabled until tm_actions_enable or until the rule changes.
// Actions that overlap on one target share their effect.
//
// Thread: the engine's. Callbacks may call back.
#ifndef TM_ENGINE_ACTIONS_H
#define TM_ENGINE_ACTIONS_H

#include "base/ctx.h"

typedef struct tm_actions tm_actions;

typedef enum tm_action_outcome {
  TM_ACTION_DONE,
  TM_ACTION_FAILED,   // it ran and failed, could not run, or there is none of this name
  TM_ACTION_DENIED,   // no grant, no confirmation, or no fresh evidence
  TM_ACTION_DRY_RUN,  // not run; `would` says what would have come of it at the gate
  TM_ACTION_LIMITED,  // cooldown, too many per hour, or the queue is full
  TM_ACTION_DISABLED, // gained nothing twice
  TM_ACTION_TIMEOUT,
  TM_ACTION_MEASURED, // follows DONE after settle_ns: before, after, gained_bytes; its tag is 0
} tm_action_outcome;

const char *tm_action_outcome_name(tm_action_outcome outcome); // "done", "dry_run", ...

// What an action is judged by; a figure that cannot be read is 0 on both sides.
typedef struct tm_action_probe {
  uint64_t rss_bytes, swap_bytes;
  uint64_t psi_some_us; // total stall time so far
  uint64_t refaults_count;
} tm_action_probe;

// false when the target cannot be read; then the action is not judged.
typedef bool (*tm_action_probe_fn)(void *ud, const char *target, tm_action_probe *out);

// One run of an action. Valid until it is done, timed out or its target is gone.
typedef struct tm_action_call {
  uint64_t id;
  const char *rule, *package, *target, *name, *args_json;
  int64_t deadline_ns;
} tm_action_call;

// A kind of action. run starts it and returns soon; the end is reported by tm_actions_done, at once
// or later. cancel (or NULL) tells that nobody waits any more. Strings are copied.
typedef struct tm_action_def {
  const char *name;       // "runtime.gc"
  const char *capability; // "act:runtime.gc", "signal:TERM"
  bool kill_like;         // needs confirm and evidence of the last 30 s
  bool unmeasured;        // not meant to free memory: never judged by it
  void (*run)(void *ud, const tm_action_call *call);
  void (*cancel)(void *ud, uint64_t call_id);
  void *ud;
} tm_action_def;

// All strings are borrowed for the call; NULL = "".
typedef struct tm_action_request {
  const char *rule, *package, *target, *name;
  const char *args_json; // one JSON object; NULL = "{}"
  uint64_t cooldown_ns;  // since the last run of this (rule, target, name)
  uint64_t timeout_ns;   // 0 = 30 s; waiting in the queue counts apart
  bool dry_run;          // as if the whole queue were dry
  bool confirm;          // the rule says that it means a kill-like action
  uint64_t tag;          // given back in the record; 0 = none
} tm_action_request;

// Everything for a sentence about one outcome. Strings are borrowed for the call.
typedef struct tm_action_record {
  tm_action_outcome outcome;
  tm_action_outcome would; // of a dry run: DONE = it would have run; otherwise = outcome
  tm_status status;        // of DONE and FAILED: what the action reported
  uint64_t call_id, tag;   // call_id 0 when it never ran
  const char *rule, *package, *target, *name, *capability, *args_json;
  const char *message;                                    // why, or what the action says it did
  int64_t time_ns, requested_ns, started_ns, finished_ns; // 0 when it never happened
  bool has_before, has_after;
  tm_action_probe before, after;
  int64_t gained_bytes; // of MEASURED: RSS before - after
  bool disabled;        // of MEASURED: this was the second in a row that gained nothing
} tm_action_record;

typedef void (*tm_action_audit_fn)(void *ud, const tm_action_record *record);

typedef struct tm_actions_options {
  tm_action_audit_fn audit_fn; // NULL = nobody
  void *audit_ud;
  bool dry_run;
  uint64_t settle_ns;    // 0 = 60 s
  uint32_t max_running;  // at once, over all targets; 0 = 4
  uint32_t max_per_hour; // per (rule, target); 0 = 30, at most 120
} tm_actions_options;

// ctx lends its allocator and takes the errors; it must outlive the actions.
TM_NODISCARD tm_status tm_actions_new(tm_ctx *ctx, const tm_actions_options *options,
                                      tm_actions **out);
// Cancels what runs; no records are made of that.
void tm_actions_free(tm_actions *actions);

void tm_actions_set_probe(tm_actions *actions, tm_action_probe_fn fn, void *ud);

// A second action of the same name is refused with TM_E_ARG.
TM_NODISCARD tm_status tm_actions_register(tm_actions *actions, const tm_action_def *def);
typedef bool (*tm_action_def_fn)(void *ud, const tm_action_def *def);
void tm_actions_each_def(const tm_actions *actions, tm_action_def_fn fn, void *ud);

// Grants capabilities (glob) to packages (glob). From the start every package has "take:*" and
// nothing else. tm_actions_revoke_all goes back to that.
TM_NODISCARD tm_status tm_actions_grant(tm_actions *actions, const char *package_glob,
                                        const char *capability_glob);
void tm_actions_revoke_all(tm_actions *actions);
bool tm_actions_granted(const tm_actions *actions, const char *package, const char *capability);

// Evidence about a target was taken now: opens the 30 s window of kill-like actions.
TM_NODISCARD tm_status tm_actions_note_evidence(tm_actions *actions, int64_t now_ns,
                                                const char *target);

// Asks for an action. Whatever comes of it, also at once, comes as a record.
void tm_actions_request(tm_actions *actions, int64_t now_ns, const tm_action_request *request);

// The end of a run: TM_OK or why not, and one sentence (NULL = ""). An id that is no longer running
// (timed out, target gone) is ignored.
void tm_actions_done(tm_actions *actions, int64_t now_ns, uint64_t call_id, tm_status status,
                     const char *message);

// Timeouts, the queue, and measurements that are due.
void tm_actions_tick(tm_actions *actions, int64_t now_ns);

// Whether anything waits for tm_actions_tick.
bool tm_actions_busy(const tm_actions *actions);

// Ends runs on the target (FAILED, TM_E_GONE) and forgets its limits and verdicts.
void tm_actions_target_gone(tm_actions *actions, int64_t now_ns, const char *target);

// A rule was loaded: another hash than before re-enables its disabled actions.
TM_NODISCARD tm_status tm_actions_rule_loaded(tm_actions *actions, const char *rule, uint64_t hash);

// Re-enables what was disabled; NULL = any. Returns how many.
size_t tm_actions_enable(tm_actions *actions, const char *rule, const char *target,
                         const char *name);

// Why (rule, target, name) is disabled, or NULL when it is not. Valid until the next call.
const char *tm_actions_disabled_why(const tm_actions *actions, const char *rule, const char *target,
                                    const char *name);

// Writes a record as one sentence into buf (always terminated); returns buf.
const char *tm_action_describe(const tm_action_record *record, char *buf, size_t size);

#endif
