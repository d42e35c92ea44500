// Tests that stand in rule files, and the shadow run of a reload: both run rules on a virtual
// engine with a clock of their own. A test feeds series written in promtool's notation and looks at
// the alerts at given times:
//
//   tests = { { name = "fires on a leak", feed = { ["proc.rss"] = "5s 500M+1Mx360" },
//               expect = { { at = "10m", is = "inactive" }, { at = "30m", is = "firing", level =
//               "high" } } } }
#include "bind/lua_series.h"
#include "engine/shots.h"
#include "host/rulehost_impl.h"
#include "host/testfeed.h"
#include "host/testshots.h"
#include "live/sampler.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T0_NS (INT64_C(1700000000) * 1000000000)
enum { MAX_CHECKPOINTS = 64, MAX_ACTS = 16 };

// ---- a rig: one engine, one host, one target ----

typedef struct rig {
  tm_ctx ctx;
  tm_engine *engine;
  tm_rulehost *host;
  tm_target *target;
  tm_package *package; // of a shadow run: freed with the rig
  size_t fired;        // alerts that began to fire
  tm_level worst;
  char acts[MAX_ACTS][64];
  size_t act_count;
  char outcomes[1000];  // "rule key level" of each firing, for the shadow run
  tm_test_shots *shots; // of a test, fed as time passes them; or NULL
} rig;

static void rig_alert(void *ud, const tm_alert_transition *t) {
  rig *r = ud;
  if (t->to_state != TM_ALERT_FIRING
      || (t->from_state == TM_ALERT_FIRING && t->to_level <= t->from_level))
    return;
  r->fired++;
  if (t->to_level > r->worst) r->worst = t->to_level;
  size_t used = strlen(r->outcomes);
  if (used + 80 < sizeof r->outcomes)
    snprintf(r->outcomes + used, sizeof r->outcomes - used, "%s%s%s%.40s %s", used ? ", " : "",
             t->alert->rule, *t->alert->key ? " " : "", t->alert->key, tm_level_name(t->to_level));
}

static void rig_action(void *ud, const tm_action_record *record) {
  rig *r = ud;
  if (r->act_count < MAX_ACTS)
    snprintf(r->acts[r->act_count++], sizeof r->acts[0], "%s", record->name);
}

// In a test every take succeeds, with a line of text: what a handler does with it can be seen.
static void rig_take(void *ud, tm_target *target, const char *name, const char *options_json,
                     uint64_t timeout_ns, uint64_t job_id) {
  (void)target, (void)name, (void)options_json, (void)timeout_ns;
  rig *r = ud;
  tm_rulehost_job_done(r->host, job_id, TM_OK, "taken in a test", 15);
}

static tm_status rig_open(rig *r, tm_package *package, const char *only_rule) {
  tm_ctx_init(&r->ctx, NULL);
  tm_engine_options engine = {.dry_run = true};
  TM_TRY(tm_engine_new(&r->ctx, &engine, &r->engine));
  tm_engine_observer observer = {.ud = r, .alert = rig_alert, .action = rig_action};
  TM_TRY(tm_engine_observe(r->engine, &observer));
  tm_engine_advance(r->engine, T0_NS);
  tm_rulehost_options options = {.only_rule = only_rule, .take = rig_take, .take_ud = r};
  TM_TRY(tm_rulehost_new(&r->ctx, r->engine, &options, &r->host));
  tm_host_adopt(r->host, package);
  return TM_OK;
}

static void rig_close(rig *r) {
  tm_rulehost_free(r->host);
  tm_engine_free(r->engine);
  tm_package_free(r->package);
  tm_ctx_fini(&r->ctx);
}

// Moves time to `to`, stopping wherever a check is due: a test's feed may be sparser than the
// rule's period.
static void rig_tick(rig *r, int64_t to_ns) {
  for (int steps = 0; steps < 1000000; steps++) {
    int64_t due = tm_rulehost_next_due_ns(r->host);
    if (due > to_ns) break;
    if (due <= tm_engine_now_ns(r->engine)) due = tm_engine_now_ns(r->engine) + 1000000;
    if (due > to_ns) break;
    tm_engine_advance(r->engine, due);
  }
  tm_engine_advance(r->engine, to_ns);
}

// The same, and feeds the snapshots that are passed.
static void rig_advance(rig *r, int64_t to_ns) {
  for (tm_test_shots *s = r->shots;
       s && s->next < s->count && s->items[s->next].time_ns <= to_ns;) {
    tm_test_shot *shot = &s->items[s->next++];
    rig_tick(r, shot->time_ns);
    tm_profile *profile = shot->profile;
    shot->profile = NULL;
    if (tm_engine_feed_snapshot(r->engine, r->target, shot->metric, shot->time_ns, profile)
        != TM_OK)
      tm_ctx_clear(tm_engine_ctx(r->engine)); // out of memory: the test then fails
  }
  rig_tick(r, to_ns);
}

// ---- one test ----

typedef struct checkpoint {
  int64_t at_ns;
  char is[16], level[16], key[64], text[128];
} checkpoint;

typedef struct test_case {
  char name[128];
  tm_feed feed;
  tm_test_shots shots;
  checkpoint checkpoints[MAX_CHECKPOINTS];
  size_t checkpoint_count;
  bool never;       // nothing may fire at all
  char fires[16];   // this level must be reached at some time; "" = not asked
  char acts[8][64]; // actions that must be requested
  size_t act_count;
  char target_name[64];
  bool has_hook, has_endpoint;
} test_case;

static bool text_field(lua_State *L, int index, const char *name, char *out, size_t size) {
  lua_getfield(L, index, name);
  bool there = lua_isstring(L, -1);
  if (there) snprintf(out, size, "%s", lua_tostring(L, -1));
  lua_pop(L, 1);
  return there;
}

static tm_status time_field(tm_ctx *ctx, lua_State *L, int index, const char *name, int64_t *out) {
  char text[40];
  if (!text_field(L, index, name, text, sizeof text))
    return tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET, "a row of expect needs at = \"10m\"");
  uint64_t ns;
  TM_TRY(tm_parse_duration(ctx, text, &ns));
  *out = T0_NS + (int64_t)ns;
  return TM_OK;
}

static tm_status read_feed(tm_ctx *ctx, lua_State *L, int index, const tm_test_shots *shots,
                           tm_feed *feed) {
  lua_getfield(L, index, "feed");
  if (!lua_istable(L, -1)) {
    bool there = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (shots->count && !there) return TM_OK;
    return tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET,
                   "it has no feed = { [\"proc.rss\"] = \"5s 100M+1Mx60\" }");
  }
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    tm_status status =
        lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING
            ? tm_feed_parse(ctx, feed, lua_tostring(L, -2), lua_tostring(L, -1), T0_NS)
            : tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET, "feed maps a metric's name to a text");
    if (status != TM_OK) {
      lua_pop(L, 3);
      return status;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return tm_feed_sort(ctx, feed);
}

static tm_status read_checkpoints(tm_ctx *ctx, lua_State *L, int index, test_case *t) {
  lua_getfield(L, index, "expect");
  size_t count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  for (size_t i = 0; i < count && t->checkpoint_count < MAX_CHECKPOINTS; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    checkpoint *c = &t->checkpoints[t->checkpoint_count];
    *c = (checkpoint){0};
    int row = lua_gettop(L);
    tm_status status = lua_istable(L, row)
                           ? time_field(ctx, L, row, "at", &c->at_ns)
                           : tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET, "expect holds tables");
    if (status == TM_OK) {
      text_field(L, row, "is", c->is, sizeof c->is);
      text_field(L, row, "level", c->level, sizeof c->level);
      text_field(L, row, "key", c->key, sizeof c->key);
      text_field(L, row, "text", c->text, sizeof c->text);
      if (!c->is[0]) snprintf(c->is, sizeof c->is, "firing");
      if (t->checkpoint_count && c->at_ns < t->checkpoints[t->checkpoint_count - 1].at_ns)
        status = tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET, "expect must go forward in time");
      t->checkpoint_count++;
    }
    if (status != TM_OK) {
      lua_pop(L, 2);
      return status;
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return TM_OK;
}

static void read_acts(lua_State *L, int index, test_case *t) {
  lua_getfield(L, index, "acts");
  size_t count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  for (size_t i = 0; i < count && t->act_count < TM_COUNT(t->acts); i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    if (lua_isstring(L, -1))
      snprintf(t->acts[t->act_count++], sizeof t->acts[0], "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static bool true_field(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  bool yes = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return yes;
}

static tm_status read_test(tm_ctx *ctx, lua_State *L, const tm_rule *rule, test_case *t) {
  int index = lua_gettop(L);
  *t = (test_case){0};
  if (!lua_istable(L, index))
    return tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET, "a test must be a table");
  if (!text_field(L, index, "name", t->name, sizeof t->name)) {
    lua_rawgeti(L, index, 1);
    snprintf(t->name, sizeof t->name, "%s", lua_isstring(L, -1) ? lua_tostring(L, -1) : "unnamed");
    lua_pop(L, 1);
  }
  text_field(L, index, "fires", t->fires, sizeof t->fires);
  t->never = true_field(L, index, "never");
  snprintf(t->target_name, sizeof t->target_name, "test");
  lua_getfield(L, index, "target");
  if (lua_istable(L, -1)) {
    text_field(L, lua_gettop(L), "name", t->target_name, sizeof t->target_name);
    t->has_hook = true_field(L, lua_gettop(L), "has_hook");
    t->has_endpoint = true_field(L, lua_gettop(L), "has_endpoint");
  }
  lua_pop(L, 1);
  read_acts(L, index, t);
  TM_TRY(tm_test_shots_read(ctx, L, index, rule->inputs, rule->input_count, T0_NS, &t->shots));
  TM_TRY(read_feed(ctx, L, index, &t->shots, &t->feed));
  TM_TRY(read_checkpoints(ctx, L, index, t));
  if (!t->never && !t->fires[0] && !t->checkpoint_count && !t->act_count)
    return tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET,
                   "it expects nothing: give it expect, fires, acts or never");
  return TM_OK;
}

typedef struct looked_for {
  const char *rule;
  const checkpoint *want;
  bool any, matched;
  char seen[200];
} looked_for;

static const char *state_word(tm_alert_state state) {
  switch (state) {
  case TM_ALERT_PENDING:
    return "pending";
  case TM_ALERT_FIRING:
    return "firing";
  case TM_ALERT_RESOLVED:
    return "resolved";
  default:
    return "inactive";
  }
}

static bool look(void *ud, const tm_alert *alert) {
  looked_for *l = ud;
  if (strcmp(alert->rule, l->rule) != 0) return true;
  if (l->want->key[0] && strcmp(alert->key, l->want->key) != 0) return true;
  const char *word = state_word(alert->state);
  if (strcmp(word, "pending") == 0 || strcmp(word, "firing") == 0) l->any = true;
  snprintf(l->seen, sizeof l->seen, "%s %s: %.120s", word, tm_level_name(alert->level),
           alert->text);
  if (strcmp(word, l->want->is) != 0) return true;
  if (l->want->level[0] && tm_level_by_name(l->want->level) != alert->level) return true;
  if (l->want->text[0] && !strstr(alert->text, l->want->text)) return true;
  l->matched = true;
  return false;
}

static bool holds(rig *r, const char *rule, const checkpoint *want, char *why, size_t why_size) {
  looked_for l = {.rule = rule, .want = want};
  tm_alerts_each(tm_engine_alerts(r->engine), look, &l);
  if (strcmp(want->is, "inactive") == 0 ? !l.any : l.matched) return true;
  char at[32];
  tm_format_value(at, sizeof at, TM_UNIT_NS, (double)(want->at_ns - T0_NS));
  snprintf(why, why_size, "at %s it should be %s%s%s, but is %s", at, want->is,
           want->level[0] ? " " : "", want->level, l.seen[0] ? l.seen : "inactive");
  return false;
}

static tm_status run_timeline(rig *r, const test_case *t, const char *rule, char *why,
                              size_t why_size) {
  size_t next = 0;
  for (size_t i = 0; i < t->feed.count; i++) {
    const tm_feed_sample *s = &t->feed.samples[i];
    while (next < t->checkpoint_count && t->checkpoints[next].at_ns < s->time_ns) {
      rig_advance(r, t->checkpoints[next].at_ns);
      if (!holds(r, rule, &t->checkpoints[next++], why, why_size)) return TM_E_RULE;
    }
    rig_advance(r, s->time_ns - 1);
    TM_TRY(tm_engine_feed(r->engine, r->target, t->feed.metrics[s->metric].name,
                          t->feed.metrics[s->metric].key,
                          tm_metric_unit(t->feed.metrics[s->metric].name), s->time_ns, s->value));
    if (i + 1 == t->feed.count || t->feed.samples[i + 1].time_ns != s->time_ns)
      rig_advance(r, s->time_ns);
  }
  for (; next < t->checkpoint_count; next++) {
    rig_advance(r, t->checkpoints[next].at_ns);
    if (!holds(r, rule, &t->checkpoints[next], why, why_size)) return TM_E_RULE;
  }
  if (t->shots.count) {
    int64_t end_ns = t->shots.items[t->shots.count - 1].time_ns;
    if (end_ns > tm_engine_now_ns(r->engine)) rig_advance(r, end_ns);
  }
  return TM_OK;
}

static bool expectations_met(const rig *r, const test_case *t, char *why, size_t why_size) {
  if (t->never && r->fired) {
    snprintf(why, why_size, "nothing should fire, but: %.400s", r->outcomes);
    return false;
  }
  if (t->fires[0] && r->worst < tm_level_by_name(t->fires)) {
    snprintf(why, why_size, "it should reach %s, but reached %s", t->fires,
             tm_level_name(r->worst));
    return false;
  }
  for (size_t i = 0; i < t->act_count; i++) {
    bool found = false;
    for (size_t k = 0; k < r->act_count; k++) found = found || strcmp(t->acts[i], r->acts[k]) == 0;
    if (!found) {
      snprintf(why, why_size, "it should ask for the action %s, but did not", t->acts[i]);
      return false;
    }
  }
  return true;
}

static bool run_test(tm_package *package, const char *rule, test_case *t, char *why,
                     size_t why_size) {
  rig r = {.shots = &t->shots};
  tm_status status = rig_open(&r, package, rule);
  if (status == TM_OK) {
    tm_target_facts facts = {.id = "test:1",
                             .name = t->target_name,
                             .command = t->target_name,
                             .exe = "",
                             .start_time_ns = T0_NS,
                             .hook = t->has_hook ? "unix:/none" : "",
                             .endpoint = t->has_endpoint ? "http://127.0.0.1:1/" : ""};
    status = tm_engine_add_target(r.engine, &facts, &r.target);
  }
  why[0] = '\0';
  if (status == TM_OK) status = run_timeline(&r, t, rule, why, why_size);
  bool ok = status == TM_OK && expectations_met(&r, t, why, why_size);
  if (status != TM_OK && !why[0])
    snprintf(why, why_size, "%s",
             r.ctx.error.message[0] ? r.ctx.error.message : tm_engine_ctx(r.engine)->error.message);
  rig_close(&r);
  return ok;
}

static tm_status run_rule_tests(tm_ctx *ctx, tm_package *package, const tm_rule *rule,
                                tm_rule_test_fn fn, void *ud) {
  lua_State *L = tm_sandbox_state(package->sandbox);
  tm_status result = TM_OK;
  test_case *t = malloc(sizeof *t);
  if (!t) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory");
  for (size_t i = 0; i < rule->test_count; i++) {
    char why[500] = "";
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rule->lua_ref);
    lua_getfield(L, -1, "tests");
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    tm_ctx own;
    tm_ctx_init(&own, NULL);
    bool ok = read_test(&own, L, rule, t) == TM_OK;
    if (!ok) snprintf(why, sizeof why, "%s", own.error.message);
    ok = ok && run_test(package, rule->id, t, why, sizeof why);
    tm_feed_free(&own, &t->feed);
    tm_test_shots_free(&t->shots);
    tm_ctx_fini(&own);
    if (fn) fn(ud, rule->id, t->name, ok, why);
    if (!ok) result = TM_E_RULE;
  }
  lua_settop(L, 0);
  free(t);
  return result;
}

tm_status tm_host_test_package(tm_ctx *ctx, tm_package *package, tm_rule_test_fn fn, void *ud) {
  tm_status result = TM_OK;
  for (size_t r = 0; r < package->rule_count; r++)
    if (run_rule_tests(ctx, package, &package->rules[r], fn, ud) != TM_OK) result = TM_E_RULE;
  if (result == TM_OK || ctx->error.status != TM_OK) return result;
  return tm_fail(ctx, result, TM_NO_OFFSET, "LOAD_TEST: %s: a test failed", package->name);
}

tm_status tm_rules_test(tm_ctx *ctx, const char *name, const char *source, size_t size,
                        tm_rule_test_fn fn, void *ud) {
  tm_sandbox_limits limits = {0};
  tm_natives natives = {.install = tm_host_install_natives};
  tm_package *package = NULL;
  TM_TRY(tm_package_build(ctx, name, name, source, size, &limits, &natives, &package));
  tm_status result = tm_host_test_package(ctx, package, fn, ud);
  tm_package_free(package);
  return result;
}

// ---- the shadow run ----

enum { SHADOW_TARGETS = 3, SHADOW_SAMPLES = 256 };

typedef struct shadow_sample {
  int64_t time_ns;
  double value;
  const tm_track *track;
} shadow_sample;

static int by_time(const void *a, const void *b) {
  const shadow_sample *x = a, *y = b;
  return x->time_ns < y->time_ns ? -1 : x->time_ns > y->time_ns;
}

static bool wanted(const tm_package *a, const tm_package *b, const char *metric) {
  const tm_package *const both[] = {a, b};
  for (size_t p = 0; p < 2; p++)
    for (size_t r = 0; r < both[p]->rule_count; r++)
      for (size_t i = 0; i < both[p]->rules[r].input_count; i++)
        if (strcmp(both[p]->rules[r].inputs[i].metric, metric) == 0) return true;
  return false;
}

// The last samples of every series that either version looks at, in order of time.
static size_t collect(tm_rulehost *host, const tm_target *target, const tm_package *old,
                      const tm_package *package, shadow_sample *out, size_t max) {
  int64_t times[SHADOW_SAMPLES]; // 4 KiB in all, copied under the lock
  double values[SHADOW_SAMPLES];
  size_t count = 0;
  tm_engine_lock(host->engine);
  for (size_t i = 0; i < tm_target_track_count(target); i++) {
    const tm_track *track = tm_target_track_at(target, i);
    if (!wanted(old, package, track->metric)) continue;
    size_t n = tm_series_copy(track->series, INT64_MIN, times, values, SHADOW_SAMPLES);
    for (size_t k = 0; k < n && count < max; k++)
      out[count++] = (shadow_sample){times[k], values[k], track};
  }
  tm_engine_unlock(host->engine);
  qsort(out, count, sizeof *out, by_time);
  return count;
}

// Runs one version over the samples; its firings land in outcomes. An error of a check is an error
// here.
typedef struct shadow_errors {
  char text[300];
} shadow_errors;

static void note_rule_error(void *ud, const tm_rule_view *view) {
  shadow_errors *e = ud;
  if (view->rule->stats.errors && !e->text[0])
    snprintf(e->text, sizeof e->text, "%s: %.200s", view->rule->id, view->problem);
}

static tm_status replay_version(tm_rulehost *host, const tm_package *of, const tm_target *target,
                                const shadow_sample *samples, size_t count, rig *r,
                                shadow_errors *errors) {
  TM_TRY(tm_package_build(&host->ctx, of->name, of->origin, of->source, of->source_size,
                          &host->options.limits, &host->natives, &r->package));
  TM_TRY(rig_open(r, r->package, NULL));
  tm_target_facts facts = *tm_target_get_facts(target);
  facts.start_time_ns = facts.start_time_ns ? facts.start_time_ns : samples[0].time_ns;
  tm_engine_advance(r->engine, samples[0].time_ns - 1);
  TM_TRY(tm_engine_add_target(r->engine, &facts, &r->target));
  for (size_t i = 0; i < count; i++) {
    if (i == 0 || samples[i].time_ns != samples[i - 1].time_ns)
      rig_advance(r, samples[i].time_ns - 1);
    const tm_track *track = samples[i].track;
    TM_TRY(tm_engine_feed(r->engine, r->target, track->metric, track->key, track->unit,
                          samples[i].time_ns, samples[i].value));
  }
  rig_advance(r, samples[count - 1].time_ns + 1);
  tm_rulehost_each_rule(r->host, note_rule_error, errors);
  return TM_OK;
}

static bool is_bound(const tm_rulehost *host, const tm_package *package, const tm_target *target) {
  for (size_t i = 0; i < host->pairs.count; i++)
    if (host->pairs.items[i]->package == package && host->pairs.items[i]->target == target)
      return true;
  return false;
}

static tm_status shadow_target(tm_rulehost *host, const tm_package *old, const tm_package *package,
                               const tm_target *target, char *notes, size_t notes_size) {
  size_t max = (size_t)SHADOW_SAMPLES * 32;
  shadow_sample *samples = malloc(max * sizeof *samples);
  if (!samples)
    return tm_fail(&host->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for the shadow run");
  size_t count = collect(host, target, old, package, samples, max);
  tm_status status = TM_OK;
  if (count) {
    rig before = {.fired = 0}, after = {.fired = 0};
    shadow_errors old_errors = {""}, new_errors = {""};
    tm_status old_status = replay_version(host, old, target, samples, count, &before, &old_errors);
    status = replay_version(host, package, target, samples, count, &after, &new_errors);
    if (status != TM_OK)
      tm_fail(&host->ctx, TM_E_RULE, TM_NO_OFFSET, "LOAD_SHADOW: %s", after.ctx.error.message);
    else if (new_errors.text[0])
      status =
          tm_fail(&host->ctx, TM_E_RULE, TM_NO_OFFSET, "LOAD_SHADOW: on the last samples of %s: %s",
                  tm_target_get_facts(target)->name, new_errors.text);
    else if (old_status == TM_OK && strcmp(before.outcomes, after.outcomes) != 0)
      snprintf(notes, notes_size,
               "on the last samples of %s it would now find: %.300s (before: %.300s)",
               tm_target_get_facts(target)->name, after.outcomes[0] ? after.outcomes : "nothing",
               before.outcomes[0] ? before.outcomes : "nothing");
    rig_close(&before);
    rig_close(&after);
  }
  free(samples);
  return status;
}

tm_status tm_host_shadow(tm_rulehost *host, const tm_package *old, const tm_package *package,
                         char *notes, size_t notes_size) {
  size_t done = 0;
  for (size_t i = 0; i < host->targets.count && done < SHADOW_TARGETS; i++) {
    if (!is_bound(host, old, host->targets.items[i])) continue;
    TM_TRY(shadow_target(host, old, package, host->targets.items[i], notes, notes_size));
    done++;
  }
  return TM_OK;
}
