// Demands become wants, profiles become snapshots of the engine, and trouble becomes an event.
#include "engine/shot_feed.h"

#include "engine/shots.h"
#include "live/app_profiles.h"

#include <stdio.h>

enum { WANTS_MAX = 16 };

struct tm_shot_feed {
  tm_runner *runner;
  tm_target *target;
  tm_app_profiles *profiles;
};

typedef struct planning {
  tm_profile_want wants[WANTS_MAX];
  size_t count;
} planning;

static void add_want(void *ud, const tm_demand *demand) {
  planning *plan = ud;
  if (tm_app_profile_metric(demand->metric) && plan->count < WANTS_MAX)
    plan->wants[plan->count++] = (tm_profile_want){demand->metric, demand->every_ns};
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

static tm_status make_feed(tm_ctx *ctx, tm_runner *runner, tm_target *target,
                           uint32_t *running, // NOLINT(readability-non-const-parameter): it counts
                           tm_shot_feed **out) {
  tm_shot_feed *feed = tm_calloc(ctx, 1, sizeof *feed);
  if (!feed) return TM_E_NOMEM;
  feed->runner = runner;
  feed->target = target;
  const tm_app_profiles_options options = {.uv_loop = tm_runner_loop(runner),
                                           .running = running,
                                           .now_ns = now_ns,
                                           .profile = on_profile,
                                           .trouble = on_trouble,
                                           .ud = feed};
  tm_status status = tm_app_profiles_new(ctx, &options, &feed->profiles);
  if (status != TM_OK)
    tm_free(ctx, feed, sizeof *feed);
  else
    *out = feed;
  return status;
}

tm_status tm_shot_feed_plan(tm_ctx *ctx, tm_runner *runner, tm_target *target, uint32_t *running,
                            tm_shot_feed **feed) {
  const tm_endpoint endpoint = tm_target_endpoint(tm_target_get_facts(target));
  planning plan = {.count = 0};
  tm_target_each_demand(target, add_want, &plan);
  if (!tm_endpoint_has(&endpoint, TM_ENDPOINT_PROFILES) || (!plan.count && !*feed)) return TM_OK;
  if (!*feed) TM_TRY(make_feed(ctx, runner, target, running, feed));
  return tm_app_profiles_plan((*feed)->profiles, &endpoint, plan.wants, plan.count);
}

void tm_shot_feed_add_stats(const tm_shot_feed *feed, tm_runner_stats *stats) {
  if (!feed) return;
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
  tm_free(ctx, feed, sizeof *feed);
}
