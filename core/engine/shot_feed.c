// Demands become wants, profiles become snapshots of the engine, and trouble becomes an event. What
// an endpoint serves and what the malloc agent knows of handles come by ways of their own.
#include "engine/shot_feed.h"

#include "engine/shots.h"
#include "live/app_profiles.h"
#include "live/handle_shots.h"

#include <stdio.h>

enum { WANTS_MAX = 16 };

struct tm_shot_feed {
  tm_runner *runner;
  tm_target *target;
  tm_app_profiles *profiles; // NULL: nothing of its endpoint is wanted
  tm_handle_shots *handles;  // NULL: no handle stacks are
};

typedef struct planning {
  tm_profile_want wants[WANTS_MAX];
  size_t count;
  const char *handle_metric; // NULL: not wanted
  uint64_t handles_every_ns;
} planning;

static void add_want(void *ud, const tm_demand *demand) {
  planning *plan = ud;
  if (tm_app_profile_metric(demand->metric) && plan->count < WANTS_MAX)
    plan->wants[plan->count++] = (tm_profile_want){demand->metric, demand->every_ns};
  if (!tm_handle_shot_metric(demand->metric)) return;
  if (!plan->handle_metric || demand->every_ns < plan->handles_every_ns)
    plan->handles_every_ns = demand->every_ns;
  plan->handle_metric = demand->metric;
}

static int64_t now_ns(void *ud) {
  return tm_runner_now_ns(((tm_shot_feed *)ud)->runner);
}

static void on_profile(void *ud, const char *metric, int64_t time_ns, tm_profile *profile) {
  tm_shot_feed *feed = ud;
  tm_engine *engine = tm_runner_engine(feed->runner);
  tm_engine_advance(engine, tm_runner_now_ns(feed->runner));
  if (tm_engine_feed_snapshot(engine, feed->target, metric, time_ns, profile) != TM_OK)
    tm_log_line(tm_engine_log(engine), TM_LOG_WARN, "snapshots", "%s",
                tm_engine_ctx(engine)->error.message);
}

static void on_trouble(void *ud, const char *metric, const char *text) {
  tm_shot_feed *feed = ud;
  const tm_target_facts *facts = tm_target_get_facts(feed->target);
  char line[400];
  if (text)
    snprintf(line, sizeof line, "no snapshots %s of %s: %.250s", metric, facts->name, text);
  else
    snprintf(line, sizeof line, "snapshots %s of %s are back", metric, facts->name);
  tm_engine_note(tm_runner_engine(feed->runner), TM_EVENT_NOTE,
                 text ? TM_LEVEL_WARN : TM_LEVEL_INFO, "", facts->id, line, "{}");
  tm_log_line(tm_engine_log(tm_runner_engine(feed->runner)), text ? TM_LOG_WARN : TM_LOG_INFO,
              "snapshots", "%s", line);
}

static tm_status
plan_endpoint(tm_ctx *ctx, tm_shot_feed *feed,
              uint32_t *running, // NOLINT(readability-non-const-parameter): it counts
              const planning *plan) {
  const tm_endpoint endpoint = tm_target_endpoint(tm_target_get_facts(feed->target));
  const tm_app_profiles_options options = {.uv_loop = tm_runner_loop(feed->runner),
                                           .running = running,
                                           .now_ns = now_ns,
                                           .profile = on_profile,
                                           .trouble = on_trouble,
                                           .ud = feed};
  if (!feed->profiles) TM_TRY(tm_app_profiles_new(ctx, &options, &feed->profiles));
  return tm_app_profiles_plan(feed->profiles, &endpoint, plan->wants, plan->count);
}

static tm_status plan_handles(tm_ctx *ctx, tm_shot_feed *feed, const planning *plan) {
  const tm_handle_shots_options options = {.uv_loop = tm_runner_loop(feed->runner),
                                           .pid = tm_target_get_facts(feed->target)->pid,
                                           .now_ns = now_ns,
                                           .profile = on_profile,
                                           .ud = feed};
  if (!feed->handles) TM_TRY(tm_handle_shots_new(ctx, &options, &feed->handles));
  tm_handle_shots_plan(feed->handles, plan->handle_metric, plan->handles_every_ns);
  return TM_OK;
}

tm_status tm_shot_feed_plan(tm_ctx *ctx, tm_runner *runner, tm_target *target, uint32_t *running,
                            tm_shot_feed **out) {
  const tm_target_facts *facts = tm_target_get_facts(target);
  const tm_endpoint endpoint = tm_target_endpoint(facts);
  planning plan = {.count = 0};
  tm_target_each_demand(target, add_want, &plan);
  bool has_endpoint = tm_endpoint_has(&endpoint, TM_ENDPOINT_PROFILES);
  bool wants_profiles = has_endpoint && (plan.count || (*out && (*out)->profiles));
  bool wants_handles = facts->pid > 0 && (plan.handle_metric || (*out && (*out)->handles));
  if (!wants_profiles && !wants_handles) return TM_OK;
  if (!*out) {
    *out = tm_calloc(ctx, 1, sizeof **out);
    if (!*out) return TM_E_NOMEM;
    **out = (tm_shot_feed){.runner = runner, .target = target};
  }
  if (wants_handles) TM_TRY(plan_handles(ctx, *out, &plan));
  return wants_profiles ? plan_endpoint(ctx, *out, running, &plan) : TM_OK;
}

void tm_shot_feed_add_stats(const tm_shot_feed *feed, tm_runner_stats *stats) {
  if (!feed) return;
  if (feed->handles) {
    stats->fetched += tm_handle_shots_get_stats(feed->handles)->profiles;
    stats->fetch_cpu_ns += tm_handle_shots_get_stats(feed->handles)->cpu_ns;
  }
  if (!feed->profiles) return;
  const tm_app_profiles_stats *s = tm_app_profiles_get_stats(feed->profiles);
  stats->fetched += s->profiles;
  stats->fetch_cpu_ns += s->read_cpu_ns;
  stats->traces += s->traces;
  stats->traced_ns += s->traced_ns;
  stats->trace_bytes += s->trace_bytes;
}

void tm_shot_feed_free(tm_ctx *ctx, tm_shot_feed *feed) {
  if (!feed) return;
  tm_app_profiles_free(feed->profiles); // calls nothing of ours any more
  tm_handle_shots_free(feed->handles);  // likewise
  tm_free(ctx, feed, sizeof *feed);
}
