// Targets of the host: processes, and what it feeds itself.
#include "base/clock.h"
#include "engine/shots.h"
#include "live/shot_read.h"
#include "tidemark_impl.h"

#include <string.h>
#include <unistd.h>

// ---- coming and going ----

static tm_status room_for_target(tm_embed *e) {
  if (tm_engine_target_count(e->engine) < e->config.max_targets) return TM_OK;
  return tm_fail(&e->ctx, TM_E_LIMIT, TM_NO_OFFSET, "max_targets (%u) are watched already",
                 e->config.max_targets);
}

// The host holds what it was given until it detaches or closes.
static tm_status hold(tm_embed *e, tm_target *target, tm_target **out) {
  if (tm_vec_push(&e->ctx, &e->targets, target) != TM_OK) {
    tm_engine_remove_target(e->engine, target, "no memory to watch it");
    return TM_E_NOMEM;
  }
  tm_target_retain(target);
  if (out) *out = target;
  return TM_OK;
}

tm_status tm_attach_pid(tm_embed *engine, int64_t pid, const tm_target_options *options,
                        tm_target **out) {
  TM_TRY(tm_embed_enter(engine));
  if (!engine->runner)
    return tm_fail(&engine->ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "an engine in virtual time watches no processes; feed it");
  if (options && options->size < sizeof *options)
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "tm_target_options.size is not set");
  TM_TRY(room_for_target(engine));
  tm_target_facts facts = {.id = NULL};
  if (options) {
    facts.endpoint = options->endpoint;
    facts.hook = options->hook;
  }
  tm_target *target = NULL;
  TM_TRY(tm_runner_watch(engine->runner, pid ? pid : getpid(), &facts, &target));
  return hold(engine, target, out);
}

// Nobody samples a virtual target, so nobody's timer asks its rules.
static void beat(void *ud) {
  tm_embed *e = ud;
  tm_engine_advance(e->engine, tm_runner_now_ns(e->runner));
}

tm_status tm_target_virtual(tm_embed *engine, const char *name, tm_target **out) {
  TM_TRY(tm_embed_enter(engine));
  if (!name || !*name)
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "a virtual target needs a name");
  TM_TRY(room_for_target(engine));
  if (engine->runner && !engine->has_beat) {
    TM_TRY(tm_runner_every(engine->runner, UINT64_C(1000000000), beat, engine));
    engine->has_beat = true;
  }
  tm_target_facts facts = {.id = name, .name = name, .start_time_ns = tm_now_ns(engine)};
  tm_target *target = NULL;
  tm_status status = tm_engine_add_target(engine->engine, &facts, &target);
  if (status != TM_OK) return tm_embed_fail(engine, status);
  return hold(engine, target, out);
}

static size_t index_of(const tm_embed *e, const tm_target *target) {
  size_t i = 0;
  while (i < e->targets.count && e->targets.items[i] != target) i++;
  return i;
}

tm_status tm_detach(tm_embed *engine, tm_target *target) {
  TM_TRY(tm_embed_enter(engine));
  size_t i = index_of(engine, target);
  if (i == engine->targets.count)
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET, "this engine has no such target");
  engine->targets.items[i] = engine->targets.items[--engine->targets.count];
  if (tm_target_is_live(target))
    tm_engine_remove_target(engine->engine, target, "the host detached it");
  tm_target_release(target);
  return TM_OK;
}

const char *tm_target_id(const tm_target *target) {
  return target ? tm_target_get_facts(target)->id : "";
}

// ---- data in ----

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n >= m && strcmp(text + n - m, end) == 0;
}

static tm_unit unit_of(const char *metric) {
  tm_unit known = tm_metric_unit(metric);
  if (known != TM_UNIT_NONE) return known;
  if (ends_with(metric, "_bytes")) return TM_UNIT_BYTES;
  if (ends_with(metric, "_ns")) return TM_UNIT_NS;
  return ends_with(metric, "_ratio") ? TM_UNIT_RATIO : TM_UNIT_COUNT;
}

static tm_status check_feed(tm_embed *e, const tm_target *target, const char *metric) {
  if (!target || !metric || !*metric)
    return tm_fail(&e->ctx, TM_E_ARG, TM_NO_OFFSET, "a target and a metric are needed");
  if (!tm_target_is_live(target))
    return tm_fail(&e->ctx, TM_E_GONE, TM_NO_OFFSET, "%s is no longer watched",
                   tm_target_id(target));
  return TM_OK;
}

tm_status tm_feed_key(tm_embed *engine, tm_target *target, const char *metric, const char *key,
                      int64_t time_ns, double value) {
  TM_TRY(tm_embed_enter(engine));
  TM_TRY(check_feed(engine, target, metric));
  tm_status status = tm_engine_feed(engine->engine, target, metric, key ? key : "", unit_of(metric),
                                    time_ns ? time_ns : tm_now_ns(engine), value);
  return tm_embed_fail(engine, status);
}

tm_status tm_feed(tm_embed *engine, tm_target *target, const char *metric, int64_t time_ns,
                  double value) {
  return tm_feed_key(engine, target, metric, "", time_ns, value);
}

tm_status tm_feed_profile(tm_embed *engine, tm_target *target, const char *metric, int64_t time_ns,
                          const void *bytes, size_t size) {
  TM_TRY(tm_embed_enter(engine));
  TM_TRY(check_feed(engine, target, metric));
  if (!bytes || !tm_shot_metric(metric))
    return tm_fail(&engine->ctx, TM_E_ARG, TM_NO_OFFSET,
                   "'%s' is no metric of profiles: pprof.NAME, go.goroutines or trace.go", metric);
  tm_profile *profile = NULL;
  tm_status status = tm_shot_read(&engine->ctx, metric, bytes, size, &profile);
  if (status == TM_OK) // the engine takes it over, whatever comes of it
    status = tm_engine_feed_snapshot(engine->engine, target, metric,
                                     time_ns ? time_ns : tm_now_ns(engine), profile);
  return tm_embed_fail(engine, status);
}
