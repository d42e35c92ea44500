// What becomes of findings over time: one alert per fingerprint (rule, target, key), with hold,
// linger, cooldown, inhibition, silences, limits and de-duplication. It knows time only as it is
// told, so that a replay decides as the live engine did.
//
//   (none) -> PENDING -> FIRING -> RESOLVED -> (forgotten after retain_ns)
//                |          \----> GONE (the target ended) -> (forgotten)
//                \-> back to where it came from, when the condition clears before hold_ns
//
// Level: rises at once; is left only after linger_ns below it, one step at a time; when the key is
// absent for linger_ns the alert resolves from any level. A finding of a lower level whose value is
// still within leave_ratio of the lowest value that the level was reported with holds the level.
//
// Thread: the engine's. Functions may be called from inside the callback: what they cause is
// delivered after the present transition, in order.
#ifndef TM_ENGINE_ALERTS_H
#define TM_ENGINE_ALERTS_H

#include "base/bytes.h"
#include "engine/finding.h"

typedef struct tm_alerts tm_alerts;

typedef enum tm_alert_state {
  TM_ALERT_INACTIVE, // not there, or forgotten: no such alert is ever listed
  TM_ALERT_PENDING,  // seen, but not yet for hold_ns (or held back by cooldown_ns)
  TM_ALERT_FIRING,
  TM_ALERT_RESOLVED,
  TM_ALERT_GONE, // it was firing when its target ended
} tm_alert_state;

const char *tm_alert_state_name(tm_alert_state state); // "inactive", "pending", ...

// How a rule's findings become alerts. 0 takes the default where one is named.
typedef struct tm_alert_policy {
  uint64_t hold_ns;            // seen this long before it fires
  uint64_t linger_ns;          // clear this long before a level is left
  uint64_t cooldown_ns;        // after it ended, this long no firing of the same fingerprint
  uint64_t retain_ns;          // ended ones are listed this long; 0 = 15 min
  uint64_t repeat_ns;          // tell again this often while it fires; 0 = never
  uint32_t limit;              // alerts of one rule on one target; 0 = 50, at most 1000
  double leave_ratio;          // 0 = 0.8; 1 or more = only linger counts
  const char *const *inhibits; // rule ids (or globs) that this rule mutes on its target
  size_t inhibit_count;
} tm_alert_policy;

// One alert as others see it. Strings live as long as the alert; silence_why and inhibited_by are
// valid for the call that shows the alert. Times are 0 when it never happened.
typedef struct tm_alert {
  uint64_t fingerprint;
  const char *rule, *target, *key;
  tm_alert_state state;
  tm_level level;           // now; of an ended one, its last
  tm_level peak_level;      // worst since it fired
  int64_t since_ns;         // in this state
  int64_t pending_since_ns; // the condition was first seen (this time)
  int64_t fired_ns;
  int64_t ended_ns; // resolved or gone
  int64_t last_seen_ns;
  int64_t told_ns;  // last notification
  double value;     // NAN when there is none
  tm_unit unit;     // of value
  const char *text; // last sentence
  const char *evidence_json;
  uint64_t evaluations_count; // that saw it, since it became pending
  bool silenced;
  const char *silence_why;  // "" unless silenced
  const char *inhibited_by; // id of the rule that mutes it, or NULL
  bool cooling;             // held back in PENDING by cooldown_ns only
} tm_alert;

// The levels are NONE in a state that has none (inactive, resolved, gone).
typedef struct tm_alert_transition {
  const tm_alert *alert;
  tm_alert_state from_state, to_state;
  tm_level from_level, to_level;
  int64_t time_ns;
  bool notify; // somebody should be told: it fired, rose, ended after it was told, or is repeated
} tm_alert_transition;

typedef void (*tm_alert_fn)(void *ud, const tm_alert_transition *transition);

// ctx lends its allocator and takes the errors; it must outlive the alerts. fn NULL = nobody.
TM_NODISCARD tm_status tm_alerts_new(tm_ctx *ctx, tm_alert_fn fn, void *ud, tm_alerts **out);
void tm_alerts_free(tm_alerts *alerts);

// Sets the policy of a rule, also for its present alerts, whose state is kept. Strings are copied.
TM_NODISCARD tm_status tm_alerts_policy(tm_alerts *alerts, const char *rule,
                                        const tm_alert_policy *policy);

// The complete result of one evaluation: keys that are not among the findings are clear. Of two
// findings with one key the worse counts; rule and target of the findings are not looked at.
// Findings beyond the policy's limit are counted into one alert with the key TM_ALERT_MORE_KEY.
// TM_E_NOMEM: alerts that found no memory are missing, the others are up to date.
TM_NODISCARD tm_status tm_alerts_evaluate(tm_alerts *alerts, int64_t now_ns, const char *rule,
                                          const char *target, const tm_finding *findings, size_t n);
#define TM_ALERT_MORE_KEY "+more"

// Runs the timers: falling levels, resolution, forgetting, repeats, and what becomes due when a
// silence or an inhibition ends. Nothing fires by time alone: that takes an evaluation.
void tm_alerts_tick(tm_alerts *alerts, int64_t now_ns);

void tm_alerts_target_gone(tm_alerts *alerts, int64_t now_ns, const char *target);
void tm_alerts_rule_removed(tm_alerts *alerts, int64_t now_ns,
                            const char *rule); // resolves its own

// Whether a rule has a firing alert on a target: what `needs` asks.
bool tm_alerts_is_firing(const tm_alerts *alerts, const char *rule, const char *target);

// Whether anything waits for tm_alerts_tick. NULL = no.
bool tm_alerts_busy(const tm_alerts *alerts);

// Shows the alerts until fn answers false. fn must not evaluate or tick.
typedef bool (*tm_alert_each_fn)(void *ud, const tm_alert *alert);
void tm_alerts_each(tm_alerts *alerts, tm_alert_each_fn fn, void *ud);

typedef struct tm_alerts_stats {
  uint64_t pending_count, firing_count, ended_count;                     // listed now
  uint64_t evaluations_count, overflowed_count, told_count, muted_count; // since the beginning
} tm_alerts_stats;
tm_alerts_stats tm_alerts_get_stats(const tm_alerts *alerts);

// Silences: matching alerts live on, but nobody is told until the silence ends. Globs; NULL = "*".
// target matches the id or, when a namer is set, the name of the target.
typedef struct tm_silence {
  uint64_t id;
  const char *rule, *target, *key, *why;
  int64_t until_ns;
} tm_silence;

enum { TM_SILENCE_LIMIT = 1000 }; // TM_E_LIMIT past it

// id of the given silence is not looked at; out_id may be NULL.
TM_NODISCARD tm_status tm_alerts_silence(tm_alerts *alerts, const tm_silence *silence,
                                         uint64_t *out_id);
bool tm_alerts_unsilence(tm_alerts *alerts, uint64_t id); // false when there is none
typedef bool (*tm_silence_each_fn)(void *ud, const tm_silence *silence);
void tm_alerts_each_silence(const tm_alerts *alerts, tm_silence_each_fn fn, void *ud);

// Answers the name of a target id, or NULL.
typedef const char *(*tm_target_namer_fn)(void *ud, const char *target);
void tm_alerts_set_namer(tm_alerts *alerts, tm_target_namer_fn fn, void *ud);

// Appends the alerts and silences as a blob; policies are not in it. Loading gives an empty
// tm_alerts the same state: the same calls then give the same transitions. Times after now_ns are
// taken as now_ns. The caller ends what no longer exists (tm_alerts_target_gone). Any bytes are
// safe: TM_E_FORMAT and nothing loaded when they are damaged, TM_E_VERSION when they are newer.
TM_NODISCARD tm_status tm_alerts_save(const tm_alerts *alerts, tm_bytes *out);
TM_NODISCARD tm_status tm_alerts_load(tm_alerts *alerts, int64_t now_ns, const void *bytes,
                                      size_t size);

#endif
