// The engine: targets and what is known of them over time, the alerts that rules raise about them,
// and the actions that follow. It knows time only as it is told (tm_engine_advance), so that the
// same engine runs live, over a recording, and inside a rule's own tests. runner.h drives it on
// live processes.
//
// Thread: everything here belongs to the engine's thread, except where a comment says "any thread".
// The series are shared with the rule thread: tm_engine_lock guards them, for copies of
// microseconds.
#ifndef TM_ENGINE_ENGINE_H
#define TM_ENGINE_ENGINE_H

#include "base/log.h"
#include "engine/actions.h"
#include "engine/alerts.h"
#include "engine/bus.h"
#include "engine/finding.h"
#include "model/series.h"
#include "net/endpoint.h"

typedef struct tm_engine tm_engine;
typedef struct tm_target tm_target;
struct tm_shot; // see shots.h

// One series of one target. Lives as long as its target.
typedef struct tm_track {
  char *metric, *key;
  tm_unit unit;
  tm_series *series;
  size_t capacity; // raw samples kept
  // The journal's books: whether it was announced, and 1 + the numbers that it was given there (0 =
  // none).
  bool observed;
  uint32_t recording_number, history_number;
} tm_track;

// What somebody wants of one metric of one target.
typedef struct tm_demand {
  const char *owner;  // rule id or "view": a demand is withdrawn by its owner
  const char *metric; // "proc.rss"; a family takes all its keys
  uint64_t every_ns;
  size_t keep; // raw samples to keep
} tm_demand;

typedef struct tm_engine_options {
  tm_log log;
  bool dry_run;              // actions become log lines
  uint64_t settle_ns;        // after an action, before its effect is measured; 0 = 60 s
  const tm_allocator *alloc; // NULL = malloc
} tm_engine_options;

// Called on the engine's thread as things happen; any may be NULL.
typedef struct tm_engine_observer {
  void *ud;
  void (*target_added)(void *ud, tm_target *target);
  void (*target_gone)(void *ud, tm_target *target);  // its pointer dies after the call
  void (*plan_changed)(void *ud, tm_target *target); // demands were added or withdrawn
  void (*sample)(void *ud, tm_target *target, tm_track *track, int64_t time_ns, double value);
  void (*snapshot)(void *ud, tm_target *target, const char *metric, const struct tm_shot *shot);
  void (*advanced)(void *ud, int64_t now_ns);
  void (*alert)(void *ud, const tm_alert_transition *transition);
  void (*action)(void *ud, const tm_action_record *record);
} tm_engine_observer;

enum { TM_ENGINE_OBSERVERS = 6 };

TM_NODISCARD tm_status tm_engine_new(tm_ctx *ctx, const tm_engine_options *options,
                                     tm_engine **out);
void tm_engine_free(tm_engine *engine);

// At most TM_ENGINE_OBSERVERS, until the engine is freed or tm_engine_unobserve with its ud.
TM_NODISCARD tm_status tm_engine_observe(tm_engine *engine, const tm_engine_observer *observer);
void tm_engine_unobserve(tm_engine *engine, const void *ud);

// The engine's own context: errors of its calls are recorded there.
tm_ctx *tm_engine_ctx(tm_engine *engine);
tm_alerts *tm_engine_alerts(tm_engine *engine);
tm_actions *tm_engine_actions(tm_engine *engine);
tm_bus *tm_engine_bus(tm_engine *engine);
const tm_log *tm_engine_log(const tm_engine *engine);

// Targets. id is what findings carry ("4711:880211", or a name for a virtual one): unique. Strings
// are copied.
typedef struct tm_target_facts {
  const char *id, *name, *command, *exe;
  int64_t pid; // 0 = virtual
  uint32_t uid;
  int64_t start_time_ns;
  const char *hook;     // app's control hook: "unix:/path" or a URL; NULL = none
  const char *endpoint; // base URL of its /debug/pprof/; NULL = none known
  const char *vars, *metrics, *headers, *ca_file; // as tm_endpoint; NULL = none
} tm_target_facts;

// How a target is asked over HTTP; its strings are those of the facts.
tm_endpoint tm_target_endpoint(const tm_target_facts *facts);

TM_NODISCARD tm_status tm_engine_add_target(tm_engine *engine, const tm_target_facts *facts,
                                            tm_target **out);
void tm_engine_remove_target(tm_engine *engine, tm_target *target, const char *why);
size_t tm_engine_target_count(const tm_engine *engine);
tm_target *tm_engine_target_at(const tm_engine *engine, size_t index);
tm_target *tm_engine_target_by_id(const tm_engine *engine,
                                  const char *id); // NULL when there is none
const tm_target_facts *tm_target_get_facts(const tm_target *target);
void tm_target_set_endpoint(tm_target *target, const char *endpoint,
                            const char *hook); // NULL = unchanged

// A target outlives its removal while somebody holds it: any thread may retain and release; a
// removed one is no longer live and gets no more data.
tm_target *tm_target_retain(tm_target *target);
void tm_target_release(tm_target *target);
bool tm_target_is_live(const tm_target *target);

// Room for one pointer each of the runner and of the rule host.
enum {
  TM_SLOT_RUNNER,
  TM_SLOT_RULES,
  TM_SLOT_HISTORY,
  TM_SLOT_RECORDER,
  TM_SLOT_SHOTS, // shots.c's own; freed with the target
  TM_TARGET_SLOTS
};
void tm_target_set_slot(tm_target *target, int slot, void *value);
void *tm_target_get_slot(const tm_target *target, int slot);

// Demands. The plan of a target is the union of what all owners want: shortest period, longest
// memory.
TM_NODISCARD tm_status tm_target_demand(tm_engine *engine, tm_target *target,
                                        const tm_demand *demand);
void tm_target_withdraw(tm_engine *engine, tm_target *target, const char *owner);
typedef void (*tm_demand_fn)(void *ud, const tm_demand *demand);
void tm_target_each_demand(const tm_target *target, tm_demand_fn fn, void *ud);

// Data in. Creates the track on its first sample. An older time than the newest is dropped and
// counted.
TM_NODISCARD tm_status tm_engine_feed(tm_engine *engine, tm_target *target, const char *metric,
                                      const char *key, tm_unit unit, int64_t time_ns, double value);

// Tracks in order of arrival; a track's address is stable while the target lives. Any thread under
// the lock.
size_t tm_target_track_count(const tm_target *target);
tm_track *tm_target_track_at(const tm_target *target, size_t index);
tm_track *tm_target_track(const tm_target *target, const char *metric,
                          const char *key); // NULL when there is none

// Guards tracks and their series against the feeding thread. Any thread; hold it for a copy only.
void tm_engine_lock(tm_engine *engine);
void tm_engine_unlock(tm_engine *engine);

// Time moves on: timers of alerts and actions run, observers are told. now_ns never goes back.
void tm_engine_advance(tm_engine *engine, int64_t now_ns);
int64_t tm_engine_now_ns(const tm_engine *engine);

// The complete result of one evaluation of a rule on a target (n = 0: all clear).
TM_NODISCARD tm_status tm_engine_report(tm_engine *engine, const char *rule,
                                        const tm_target *target, const tm_finding *findings,
                                        size_t n);

// Tells the observers of a snapshot that was kept (shots.c; others feed with
// tm_engine_feed_snapshot).
void tm_engine_tell_snapshot(tm_engine *engine, tm_target *target, const char *metric,
                             const struct tm_shot *shot);

// Publishes one event on the bus, stamped with the engine's time.
void tm_engine_note(tm_engine *engine, tm_event_kind kind, tm_level level, const char *rule,
                    const char *target, const char *text, const char *json);

#endif
