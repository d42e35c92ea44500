// The shortest period of all demands is the plan; values go into the engine as samples do.
#include "engine/account_feed.h"

#include <stdio.h>

struct tm_account_feed {
  tm_runner *runner;
  tm_target *target;
  tm_account_series *series;
};

static void add_demand(void *ud, const tm_demand *demand) {
  uint64_t *every_ns = ud;
  if (!tm_account_metric(demand->metric)) return;
  if (!*every_ns || demand->every_ns < *every_ns) *every_ns = demand->every_ns;
}

static int64_t now_ns(void *ud) {
  return tm_runner_now_ns(((tm_account_feed *)ud)->runner);
}

static void on_sample(void *ud, const tm_sample *sample) {
  tm_account_feed *feed = ud;
  tm_engine *engine = tm_runner_engine(feed->runner);
  if (tm_engine_feed(engine, feed->target, sample->metric, sample->key, sample->unit,
                     sample->time_ns, sample->value)
      == TM_OK)
    return;
  tm_log_line(tm_engine_log(engine), TM_LOG_WARN, "account", "%s",
              tm_engine_ctx(engine)->error.message);
  tm_ctx_clear(tm_engine_ctx(engine));
}

static void on_read(void *ud) {
  const tm_account_feed *feed = ud; // the target may end in the next line
  tm_engine_advance(tm_runner_engine(feed->runner), tm_runner_now_ns(feed->runner));
}

static void on_trouble(void *ud, const char *text) {
  const tm_account_feed *feed = ud;
  const tm_target_facts *facts = tm_target_get_facts(feed->target);
  char line[400];
  snprintf(line, sizeof line, "no accounting of %s: %.300s", facts->name, text);
  tm_engine_note(tm_runner_engine(feed->runner), TM_EVENT_NOTE, TM_LEVEL_WARN, "", facts->id, line,
                 "{}");
  tm_log_line(tm_engine_log(tm_runner_engine(feed->runner)), TM_LOG_WARN, "account", "%s", line);
}

static tm_status make_feed(tm_ctx *ctx, tm_runner *runner, tm_target *target,
                           tm_account_turns *turns, tm_account_feed **out) {
  const tm_target_facts *facts = tm_target_get_facts(target);
  const tm_endpoint endpoint = tm_target_endpoint(facts);
  tm_account_feed *feed = tm_calloc(ctx, 1, sizeof *feed);
  if (!feed) return TM_E_NOMEM;
  feed->runner = runner;
  feed->target = target;
  const tm_account_series_options options = {.uv_loop = tm_runner_loop(runner),
                                             .turns = turns,
                                             .pid = facts->pid,
                                             .endpoint = &endpoint,
                                             .sample = on_sample,
                                             .read_done = on_read,
                                             .now_ns = now_ns,
                                             .trouble = on_trouble,
                                             .ud = feed};
  tm_status status = tm_account_series_new(ctx, &options, &feed->series);
  if (status != TM_OK)
    tm_free(ctx, feed, sizeof *feed);
  else
    *out = feed;
  return status;
}

void tm_account_feed_plan(tm_ctx *ctx, tm_runner *runner, tm_target *target,
                          tm_account_turns *turns, tm_account_feed **feed) {
  uint64_t every_ns = 0;
  tm_target_each_demand(target, add_demand, &every_ns);
  if (!every_ns && !*feed) return;
  tm_ctx_clear(ctx);
  if (!*feed && make_feed(ctx, runner, target, turns, feed) != TM_OK)
    tm_log_line(tm_engine_log(tm_runner_engine(runner)), TM_LOG_WARN, "account", "%s",
                ctx->error.message);
  else
    tm_account_series_plan((*feed)->series, every_ns);
}

void tm_account_feed_tell(const tm_account_feed *feed, tm_owner owner, double bytes) {
  if (feed) tm_account_series_tell(feed->series, owner, bytes);
}

void tm_account_feed_add_stats(const tm_account_feed *feed, tm_runner_stats *stats) {
  if (feed) stats->sampling_cpu_ns += tm_account_series_get_stats(feed->series)->cpu_ns;
}

void tm_account_feed_end(tm_ctx *ctx, tm_account_feed *feed, tm_runner_stats *stats) {
  if (!feed) return;
  tm_account_feed_add_stats(feed, stats);
  tm_account_series_free(feed->series); // calls nothing of ours any more
  tm_free(ctx, feed, sizeof *feed);
}
