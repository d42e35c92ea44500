// Targets, tracks, demands and observers: the bookkeeping under everything. A target's tracks stand
// in an array of pointers (stable addresses) with a small hash index by metric and key; there are
// some tens of them.
#include "engine/engine.h"

#include "base/vec.h"
#include "engine/shots.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <xxhash.h>

enum { TRACK_INDEX = 256, DEFAULT_KEEP = 120, MAX_TRACKS = 4096, OLDER_BYTES = 4096 };

typedef struct demand_row {
  char *owner, *metric;
  uint64_t every_ns;
  size_t keep;
} demand_row;

struct tm_target {
  tm_engine *engine; // while it is live
  tm_allocator alloc;
  atomic_int references;
  atomic_bool live;
  tm_target_facts facts;
  char *strings[10]; // id, name, command, exe, hook, endpoint, vars, metrics, headers, ca_file
  TM_VEC(tm_track *) tracks;
  int16_t index[TRACK_INDEX]; // 1 + place in tracks; open addressing; only the first 192 tracks are
                              // in it
  TM_VEC(demand_row) demands;
  void *slots[TM_TARGET_SLOTS];
};

struct tm_engine {
  tm_ctx ctx;
  tm_engine_options options;
  tm_alerts *alerts;
  tm_actions *actions;
  tm_bus *bus;
  TM_VEC(tm_target *) targets;
  tm_engine_observer observers[TM_ENGINE_OBSERVERS];
  size_t observer_count;
  pthread_mutex_t lock;
  int64_t now_ns;
  uint64_t late_samples;
};

#define EACH_OBSERVER(engine, call, ...)                                                           \
  for (size_t i_ = 0; i_ < (engine)->observer_count; i_++)                                         \
    if ((engine)->observers[i_].call)                                                              \
  (engine)->observers[i_].call((engine)->observers[i_].ud, __VA_ARGS__)

static void on_transition(void *ud, const tm_alert_transition *transition) {
  tm_engine *engine = ud;
  EACH_OBSERVER(engine, alert, transition);
}

static void on_action(void *ud, const tm_action_record *record) {
  tm_engine *engine = ud;
  EACH_OBSERVER(engine, action, record);
}

tm_status tm_engine_new(tm_ctx *ctx, const tm_engine_options *options, tm_engine **out) {
  tm_engine *engine = tm_calloc(ctx, 1, sizeof *engine);
  if (!engine) return TM_E_NOMEM;
  tm_ctx_init(&engine->ctx, &ctx->alloc);
  engine->options = *options;
  pthread_mutex_init(&engine->lock, NULL);
  tm_status status = tm_alerts_new(&engine->ctx, on_transition, engine, &engine->alerts);
  tm_actions_options actions = {.audit_fn = on_action,
                                .audit_ud = engine,
                                .dry_run = options->dry_run,
                                .settle_ns = options->settle_ns};
  if (status == TM_OK) status = tm_actions_new(&engine->ctx, &actions, &engine->actions);
  if (status == TM_OK) status = tm_bus_new(&engine->ctx, &engine->bus);
  if (status != TM_OK) {
    tm_fail(ctx, status, TM_NO_OFFSET, "%s", engine->ctx.error.message);
    tm_engine_free(engine);
    return status;
  }
  *out = engine;
  return TM_OK;
}

void tm_engine_free(tm_engine *engine) {
  if (!engine) return;
  while (engine->targets.count)
    tm_engine_remove_target(engine, engine->targets.items[engine->targets.count - 1],
                            "the engine ends");
  tm_actions_free(engine->actions);
  tm_alerts_free(engine->alerts);
  tm_bus_free(engine->bus);
  tm_vec_free(&engine->ctx, &engine->targets);
  pthread_mutex_destroy(&engine->lock);
  tm_allocator alloc = engine->ctx.alloc;
  tm_ctx_fini(&engine->ctx);
  alloc.realloc_fn(alloc.ud, engine, sizeof *engine, 0);
}

tm_status tm_engine_observe(tm_engine *engine, const tm_engine_observer *observer) {
  for (size_t i = 0; i < engine->observer_count; i++)
    if (!engine->observers[i].ud) {
      engine->observers[i] = *observer;
      return TM_OK;
    }
  if (engine->observer_count == TM_ENGINE_OBSERVERS)
    return tm_fail(&engine->ctx, TM_E_LIMIT, TM_NO_OFFSET, "an engine takes %d observers",
                   TM_ENGINE_OBSERVERS);
  engine->observers[engine->observer_count++] = *observer;
  return TM_OK;
}

void tm_engine_unobserve(tm_engine *engine, const void *ud) {
  for (size_t i = 0; i < engine->observer_count; i++)
    if (engine->observers[i].ud == ud)
      engine->observers[i] = (tm_engine_observer){0}; // its place stays empty
}

tm_ctx *tm_engine_ctx(tm_engine *engine) {
  return &engine->ctx;
}

tm_alerts *tm_engine_alerts(tm_engine *engine) {
  return engine->alerts;
}

tm_actions *tm_engine_actions(tm_engine *engine) {
  return engine->actions;
}

tm_bus *tm_engine_bus(tm_engine *engine) {
  return engine->bus;
}

const tm_log *tm_engine_log(const tm_engine *engine) {
  return &engine->options.log;
}

// ---- targets ----

static char *copy_text(tm_ctx *ctx, const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = tm_alloc(ctx, size);
  if (copy) memcpy(copy, text, size);
  return copy;
}

static void free_text(tm_ctx *ctx, char *text) {
  if (text) tm_free(ctx, text, strlen(text) + 1);
}

// Makes the facts point at the target's own strings.
static void point_facts(tm_target *target) {
  target->facts.id = target->strings[0];
  target->facts.name = target->strings[1];
  target->facts.command = target->strings[2];
  target->facts.exe = target->strings[3];
  target->facts.hook = target->strings[4];
  target->facts.endpoint = target->strings[5];
  target->facts.vars = target->strings[6];
  target->facts.metrics = target->strings[7];
  target->facts.headers = target->strings[8];
  target->facts.ca_file = target->strings[9];
}

// The last holder may outlive the engine: only the allocator is needed.
static void destroy_target(tm_target *target) {
  tm_ctx own, *ctx = &own;
  tm_allocator alloc = target->alloc;
  tm_ctx_init(ctx, &alloc);
  for (size_t i = 0; i < target->tracks.count; i++) {
    tm_track *track = target->tracks.items[i];
    tm_series_free(track->series);
    free_text(ctx, track->metric);
    free_text(ctx, track->key);
    tm_free(ctx, track, sizeof *track);
  }
  tm_vec_free(ctx, &target->tracks);
  for (size_t i = 0; i < target->demands.count; i++) {
    free_text(ctx, target->demands.items[i].owner);
    free_text(ctx, target->demands.items[i].metric);
  }
  tm_vec_free(ctx, &target->demands);
  tm_shot_book_free(target->slots[TM_SLOT_SHOTS]);
  for (size_t i = 0; i < TM_COUNT(target->strings); i++) free_text(ctx, target->strings[i]);
  tm_free(ctx, target, sizeof *target);
}

tm_target *tm_target_retain(tm_target *target) {
  atomic_fetch_add_explicit(&target->references, 1, memory_order_relaxed);
  return target;
}

void tm_target_release(tm_target *target) {
  if (target && atomic_fetch_sub_explicit(&target->references, 1, memory_order_acq_rel) == 1)
    destroy_target(target);
}

bool tm_target_is_live(const tm_target *target) {
  return atomic_load_explicit(&target->live, memory_order_acquire);
}

tm_status tm_engine_add_target(tm_engine *engine, const tm_target_facts *facts, tm_target **out) {
  if (!facts->id || !*facts->id || tm_engine_target_by_id(engine, facts->id))
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "target '%s' is watched already",
                   facts->id ? facts->id : "");
  tm_target *target = tm_calloc(&engine->ctx, 1, sizeof *target);
  if (!target) return TM_E_NOMEM;
  target->engine = engine;
  target->alloc = engine->ctx.alloc;
  atomic_init(&target->references, 1);
  atomic_init(&target->live, true);
  target->facts = *facts;
  const char *const texts[] = {facts->id,      facts->name,     facts->command, facts->exe,
                               facts->hook,    facts->endpoint, facts->vars,    facts->metrics,
                               facts->headers, facts->ca_file};
  tm_status status = TM_OK;
  for (size_t i = 0; i < TM_COUNT(texts) && status == TM_OK; i++) {
    target->strings[i] = copy_text(&engine->ctx, texts[i] ? texts[i] : "");
    if (!target->strings[i]) status = TM_E_NOMEM;
  }
  point_facts(target);
  if (status == TM_OK) status = tm_vec_push(&engine->ctx, &engine->targets, target);
  if (status != TM_OK) {
    destroy_target(target);
    return status;
  }
  EACH_OBSERVER(engine, target_added, target);
  tm_engine_note(engine, TM_EVENT_TARGET_ADDED, TM_LEVEL_INFO, "", target->facts.id,
                 target->facts.name, "{}");
  if (out) *out = target;
  return TM_OK;
}

void tm_engine_remove_target(tm_engine *engine, tm_target *target, const char *why) {
  atomic_store_explicit(&target->live, false, memory_order_release);
  tm_engine_note(engine, TM_EVENT_TARGET_GONE, TM_LEVEL_INFO, "", target->facts.id, why, "{}");
  tm_alerts_target_gone(engine->alerts, engine->now_ns, target->facts.id);
  tm_actions_target_gone(engine->actions, engine->now_ns, target->facts.id);
  EACH_OBSERVER(engine, target_gone, target);
  for (size_t i = 0; i < engine->targets.count; i++)
    if (engine->targets.items[i] == target) {
      memmove(&engine->targets.items[i], &engine->targets.items[i + 1],
              (engine->targets.count - i - 1) * sizeof(tm_target *));
      engine->targets.count--;
      break;
    }
  tm_target_release(target);
}

size_t tm_engine_target_count(const tm_engine *engine) {
  return engine->targets.count;
}

tm_target *tm_engine_target_at(const tm_engine *engine, size_t index) {
  return index < engine->targets.count ? engine->targets.items[index] : NULL;
}

tm_target *tm_engine_target_by_id(const tm_engine *engine, const char *id) {
  for (size_t i = 0; i < engine->targets.count; i++)
    if (strcmp(engine->targets.items[i]->facts.id, id) == 0) return engine->targets.items[i];
  return NULL;
}

const tm_target_facts *tm_target_get_facts(const tm_target *target) {
  return &target->facts;
}

tm_endpoint tm_target_endpoint(const tm_target_facts *facts) {
  return (tm_endpoint){.address = facts->endpoint,
                       .vars = facts->vars,
                       .metrics = facts->metrics,
                       .headers = facts->headers,
                       .ca_file = facts->ca_file};
}

void tm_target_set_endpoint(tm_target *target, const char *endpoint, const char *hook) {
  tm_ctx *ctx = &target->engine->ctx;
  const char *const texts[] = {hook, endpoint};
  for (size_t i = 0; i < 2; i++) {
    char *copy = texts[i] ? copy_text(ctx, texts[i]) : NULL;
    if (!copy) continue;
    free_text(ctx, target->strings[4 + i]);
    target->strings[4 + i] = copy;
  }
  point_facts(target);
}

void tm_target_set_slot(tm_target *target, int slot, void *value) {
  target->slots[slot] = value;
}

void *tm_target_get_slot(const tm_target *target, int slot) {
  return target->slots[slot];
}

// ---- demands ----

tm_status tm_target_demand(tm_engine *engine, tm_target *target, const tm_demand *demand) {
  for (size_t i = 0; i < target->demands.count; i++) {
    demand_row *row = &target->demands.items[i];
    if (strcmp(row->owner, demand->owner) != 0 || strcmp(row->metric, demand->metric) != 0)
      continue;
    // One rule may declare a metric twice: the demand is the union.
    if (demand->every_ns < row->every_ns) row->every_ns = demand->every_ns;
    if (demand->keep > row->keep) row->keep = demand->keep;
    EACH_OBSERVER(engine, plan_changed, target);
    return TM_OK;
  }
  demand_row row = {copy_text(&engine->ctx, demand->owner), copy_text(&engine->ctx, demand->metric),
                    demand->every_ns, demand->keep};
  if (!row.owner || !row.metric || tm_vec_push(&engine->ctx, &target->demands, row) != TM_OK) {
    free_text(&engine->ctx, row.owner);
    free_text(&engine->ctx, row.metric);
    return TM_E_NOMEM;
  }
  tm_engine_lock(engine);
  tm_status status = TM_OK;
  for (size_t i = 0; i < target->tracks.count && status == TM_OK; i++) {
    tm_track *track = target->tracks.items[i];
    if (strcmp(track->metric, demand->metric) != 0 || track->capacity >= demand->keep) continue;
    status = tm_series_reserve(&engine->ctx, track->series, demand->keep);
    if (status == TM_OK) track->capacity = demand->keep;
  }
  tm_engine_unlock(engine);
  EACH_OBSERVER(engine, plan_changed, target);
  return status;
}

void tm_target_withdraw(tm_engine *engine, tm_target *target, const char *owner) {
  size_t kept = 0;
  for (size_t i = 0; i < target->demands.count; i++) {
    demand_row *row = &target->demands.items[i];
    if (strcmp(row->owner, owner) != 0) {
      target->demands.items[kept++] = *row;
      continue;
    }
    free_text(&engine->ctx, row->owner);
    free_text(&engine->ctx, row->metric);
  }
  if (kept == target->demands.count) return;
  target->demands.count = kept;
  EACH_OBSERVER(engine, plan_changed, target);
}

void tm_target_each_demand(const tm_target *target, tm_demand_fn fn, void *ud) {
  for (size_t i = 0; i < target->demands.count; i++) {
    const demand_row *row = &target->demands.items[i];
    tm_demand demand = {row->owner, row->metric, row->every_ns, row->keep};
    fn(ud, &demand);
  }
}

// ---- tracks ----

static uint32_t track_hash(const char *metric, const char *key) {
  return (uint32_t)(XXH3_64bits(metric, strlen(metric)) * 31 + XXH3_64bits(key, strlen(key)));
}

static bool is_track(const tm_track *track, const char *metric, const char *key) {
  return strcmp(track->metric, metric) == 0 && strcmp(track->key, key) == 0;
}

enum { INDEXED_TRACKS = 192 };

tm_track *tm_target_track(const tm_target *target, const char *metric, const char *key) {
  uint32_t at = track_hash(metric, key) % TRACK_INDEX;
  for (; target->index[at]; at = (at + 1) % TRACK_INDEX) {
    tm_track *track = target->tracks.items[target->index[at] - 1];
    if (is_track(track, metric, key)) return track;
  }
  for (size_t i = INDEXED_TRACKS; i < target->tracks.count; i++)
    if (is_track(target->tracks.items[i], metric, key)) return target->tracks.items[i];
  return NULL;
}

static size_t wanted_keep(const tm_target *target, const char *metric) {
  size_t keep = 0;
  for (size_t i = 0; i < target->demands.count; i++)
    if (strcmp(target->demands.items[i].metric, metric) == 0
        && target->demands.items[i].keep > keep)
      keep = target->demands.items[i].keep;
  return keep ? keep : DEFAULT_KEEP;
}

static tm_status add_track(tm_engine *engine, tm_target *target, const char *metric,
                           const char *key, tm_unit unit, tm_track **out) {
  if (target->tracks.count >= MAX_TRACKS)
    return tm_fail(&engine->ctx, TM_E_LIMIT, TM_NO_OFFSET, "%s has more than %d series",
                   target->facts.name, MAX_TRACKS);
  tm_track *track = tm_calloc(&engine->ctx, 1, sizeof *track);
  if (!track) return TM_E_NOMEM;
  track->metric = copy_text(&engine->ctx, metric);
  track->key = copy_text(&engine->ctx, key);
  track->unit = unit;
  track->capacity = wanted_keep(target, metric);
  tm_status status = track->metric && track->key ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK)
    status = tm_series_new(&engine->ctx, track->capacity, OLDER_BYTES, &track->series);
  if (status == TM_OK) status = tm_vec_push(&engine->ctx, &target->tracks, track);
  if (status != TM_OK) {
    tm_series_free(track->series);
    free_text(&engine->ctx, track->metric);
    free_text(&engine->ctx, track->key);
    tm_free(&engine->ctx, track, sizeof *track);
    return status;
  }
  if (target->tracks.count <= INDEXED_TRACKS) {
    uint32_t at = track_hash(metric, key) % TRACK_INDEX;
    while (target->index[at]) at = (at + 1) % TRACK_INDEX;
    target->index[at] = (int16_t)target->tracks.count;
  }
  *out = track;
  return TM_OK;
}

tm_status tm_engine_feed(tm_engine *engine, tm_target *target, const char *metric, const char *key,
                         tm_unit unit, int64_t time_ns, double value) {
  tm_engine_lock(engine);
  tm_track *track = tm_target_track(target, metric, key);
  tm_status status = track ? TM_OK : add_track(engine, target, metric, key, unit, &track);
  if (status == TM_OK) status = tm_series_push(&engine->ctx, track->series, time_ns, value);
  tm_engine_unlock(engine);
  if (status == TM_E_ARG) { // older than the newest: said by the counter, not by stopping the feed
    engine->late_samples++;
    tm_ctx_clear(&engine->ctx);
    return TM_OK;
  }
  TM_TRY(status);
  EACH_OBSERVER(engine, sample, target, track, time_ns, value);
  return TM_OK;
}

void tm_engine_tell_snapshot(tm_engine *engine, tm_target *target, const char *metric,
                             const tm_shot *shot) {
  EACH_OBSERVER(engine, snapshot, target, metric, shot);
}

size_t tm_target_track_count(const tm_target *target) {
  return target->tracks.count;
}

tm_track *tm_target_track_at(const tm_target *target, size_t index) {
  return index < target->tracks.count ? target->tracks.items[index] : NULL;
}

void tm_engine_lock(tm_engine *engine) {
  pthread_mutex_lock(&engine->lock);
}

void tm_engine_unlock(tm_engine *engine) {
  pthread_mutex_unlock(&engine->lock);
}

// ---- time and events ----

void tm_engine_advance(tm_engine *engine, int64_t now_ns) {
  if (now_ns < engine->now_ns) return;
  engine->now_ns = now_ns;
  tm_alerts_tick(engine->alerts, now_ns);
  tm_actions_tick(engine->actions, now_ns);
  EACH_OBSERVER(engine, advanced, now_ns);
}

int64_t tm_engine_now_ns(const tm_engine *engine) {
  return engine->now_ns;
}

tm_status tm_engine_report(tm_engine *engine, const char *rule, const tm_target *target,
                           const tm_finding *findings, size_t n) {
  return tm_alerts_evaluate(engine->alerts, engine->now_ns, rule, target->facts.id, findings, n);
}

void tm_engine_note(tm_engine *engine, tm_event_kind kind, tm_level level, const char *rule,
                    const char *target, const char *text, const char *json) {
  tm_event event = {.kind = kind,
                    .time_ns = engine->now_ns,
                    .level = level,
                    .rule = rule,
                    .target = target,
                    .text = text,
                    .json = json};
  tm_bus_publish(engine->bus, &event);
}
