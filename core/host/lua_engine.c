// core.engine{...}: the whole engine for trusted Lua: targets, rules, series, alerts, recordings,
// and a loop that calls back. Callbacks run on the loop's thread, inside e:run; an error in one
// ends the run and is raised from it.
#include "analyze/trend.h"
#include "base/clock.h"
#include "bind/lua_series.h"
#include "bind/plain.h"
#include "engine/history.h"
#include "engine/journal.h"
#include "engine/runner.h"
#include "host/lua_core.h"
#include "host/rulehost.h"
#include "host/rulewatch.h"
#include "net/webhook.h"
#include "read/recording.h"

#include <lauxlib.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define ENGINE_META "tidemark.Engine"
enum { MAX_TIMERS = 16, MAX_WATCHES = 16 };

typedef struct lua_timer {
  struct lua_engine *owner;
  int fn_ref;
} lua_timer;

typedef struct lua_engine {
  lua_State *L; // main thread of the state
  tm_ctx ctx;
  tm_engine *engine;
  tm_runner *runner; // NULL: virtual
  tm_rulehost *host;
  tm_history *history;
  tm_recording *recording;
  tm_journal *journal;
  tm_webhook *webhook;
  bool webhook_ended;
  tm_rulewatch *watches[MAX_WATCHES];
  size_t watch_count;
  int on_event, on_alert, on_action; // registry refs, LUA_NOREF
  lua_timer timers[MAX_TIMERS];
  size_t timer_count;
  bool failed, interrupted, timed_out, closed;
  int error_ref;
  uv_signal_t signals[2];
  uv_timer_t deadline, flusher;
  bool handles_open;
} lua_engine;

static lua_engine *check_engine(lua_State *L) {
  lua_engine *e = luaL_checkudata(L, 1, ENGINE_META);
  if (e->closed) luaL_error(L, "the engine is closed");
  return e;
}

static tm_target *check_target(lua_State *L, lua_engine *e, int index) {
  const char *id = luaL_checkstring(L, index);
  tm_target *target = tm_engine_target_by_id(e->engine, id);
  if (!target) luaL_error(L, "no target '%s' is watched", id);
  return target;
}

static void set_string(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value ? value : "");
  lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

static const char *option_string(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return NULL;
  lua_getfield(L, index, name);
  const char *text = lua_tostring(L, -1);
  lua_pop(L, 1); // the table holds it
  return text;
}

static int64_t option_integer(lua_State *L, int index, const char *name, int64_t otherwise) {
  if (!lua_istable(L, index)) return otherwise;
  lua_getfield(L, index, name);
  int64_t value = lua_isnumber(L, -1) ? (int64_t)lua_tonumber(L, -1) : otherwise;
  lua_pop(L, 1);
  return value;
}

static bool option_true(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return false;
  lua_getfield(L, index, name);
  bool yes = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return yes;
}

// ---- callbacks into Lua ----

// Calls the function of ref with the one value on top; an error stops the run.
static void call_back(lua_engine *e, int ref) {
  lua_State *L = e->L;
  lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
  lua_insert(L, -2);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return;
  if (e->failed) {
    lua_pop(L, 1);
    return;
  }
  e->failed = true;
  e->error_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  if (e->runner) tm_runner_stop(e->runner);
}

static void on_bus_event(void *ud, const tm_event *event) {
  lua_engine *e = ud;
  if (e->on_event == LUA_NOREF) return;
  lua_State *L = e->L;
  lua_createtable(L, 0, 8);
  set_string(L, "kind", tm_event_kind_name(event->kind));
  set_integer(L, "time_ns", event->time_ns);
  set_string(L, "level", tm_level_name(event->level));
  set_string(L, "rule", event->rule);
  set_string(L, "target", event->target);
  set_string(L, "text", event->text);
  set_string(L, "json", event->json);
  call_back(e, e->on_event);
}

static void push_alert(lua_State *L, const tm_alert *a) {
  lua_createtable(L, 0, 16);
  set_string(L, "rule", a->rule);
  set_string(L, "target", a->target);
  set_string(L, "key", a->key);
  set_string(L, "level", tm_level_name(a->level));
  set_string(L, "state", tm_alert_state_name(a->state));
  set_integer(L, "since_ns", a->since_ns);
  set_integer(L, "fired_ns", a->fired_ns);
  set_integer(L, "ended_ns", a->ended_ns);
  if (!isnan(a->value)) set_number(L, "value", a->value);
  set_string(L, "unit", tm_unit_name(a->unit));
  set_string(L, "text", a->text);
  set_string(L, "evidence", a->evidence_json);
  lua_pushboolean(L, a->silenced);
  lua_setfield(L, -2, "silenced");
  set_string(L, "inhibited_by", a->inhibited_by);
}

static void on_transition(void *ud, const tm_alert_transition *t) {
  lua_engine *e = ud;
  if (e->on_alert == LUA_NOREF) return;
  push_alert(e->L, t->alert);
  set_string(e->L, "state", tm_alert_state_name(t->to_state));
  set_string(e->L, "from_state", tm_alert_state_name(t->from_state));
  set_string(e->L, "from_level", tm_level_name(t->from_level));
  set_integer(e->L, "time_ns", t->time_ns);
  lua_pushboolean(e->L, t->notify);
  lua_setfield(e->L, -2, "notify");
  call_back(e, e->on_alert);
}

static void on_action_record(void *ud, const tm_action_record *r) {
  lua_engine *e = ud;
  char text[600];
  if (e->on_action == LUA_NOREF) return;
  lua_createtable(e->L, 0, 10);
  set_string(e->L, "name", r->name);
  set_string(e->L, "rule", r->rule);
  set_string(e->L, "target", r->target);
  set_string(e->L, "outcome", tm_action_outcome_name(r->outcome));
  set_string(e->L, "message", r->message);
  set_string(e->L, "text", tm_action_describe(r, text, sizeof text));
  set_integer(e->L, "gained_bytes", r->gained_bytes);
  set_integer(e->L, "time_ns", r->time_ns);
  lua_pushboolean(e->L, r->disabled);
  lua_setfield(e->L, -2, "disabled");
  call_back(e, e->on_action);
}

static int set_callback(lua_State *L, int *ref) {
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_unref(L, LUA_REGISTRYINDEX, *ref);
  lua_settop(L, 2);
  *ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static int engine_on(lua_State *L) {
  return set_callback(L, &check_engine(L)->on_event);
}

static int engine_on_alert(lua_State *L) {
  return set_callback(L, &check_engine(L)->on_alert);
}

static int engine_on_action(lua_State *L) {
  return set_callback(L, &check_engine(L)->on_action);
}

static void on_lua_timer(void *ud) {
  lua_timer *t = ud;
  lua_pushnil(t->owner->L);
  call_back(t->owner, t->fn_ref);
}

static int engine_every(lua_State *L) { // e:every(ns, fn)
  lua_engine *e = check_engine(L);
  int64_t ns = (int64_t)luaL_checknumber(L, 2);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  if (!e->runner || ns <= 0 || e->timer_count == MAX_TIMERS)
    return luaL_error(L, "every: needs a live engine and a period; at most %d timers", MAX_TIMERS);
  lua_timer *t = &e->timers[e->timer_count++];
  t->owner = e;
  lua_settop(L, 3);
  t->fn_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  if (tm_runner_every(e->runner, (uint64_t)ns, on_lua_timer, t) != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

// ---- making and ending ----

static void taken(void *ud, uint64_t id, tm_status status, const void *bytes, size_t size) {
  tm_rulehost_job_done(ud, id, status, bytes, size);
}

static void take(void *ud, tm_target *target, const char *name, const char *options_json,
                 uint64_t timeout_ns, uint64_t job_id) {
  lua_engine *e = ud;
  if (e->runner)
    tm_runner_take(e->runner, target, name, options_json, timeout_ns, job_id, taken, e->host);
  else
    tm_rulehost_job_done(e->host, job_id, TM_E_UNSUPPORTED, "not available in a replay", 25);
}

static int64_t rules_due(void *ud) {
  lua_engine *e = ud;
  return e->host ? tm_rulehost_next_due_ns(e->host) : INT64_MAX;
}

static const char *name_of_target(void *ud, const char *id) {
  const tm_target *target = tm_engine_target_by_id(ud, id);
  return target ? tm_target_get_facts(target)->name : NULL;
}

static tm_status grant_all(lua_State *L, lua_engine *e) {
  tm_status status = TM_OK;
  lua_getfield(L, 1, "allow");
  size_t n = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
  for (size_t i = 1; i <= n && status == TM_OK; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i);
    if (lua_isstring(L, -1))
      status = tm_actions_grant(tm_engine_actions(e->engine), "*", lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return status;
}

static tm_status open_runner(lua_State *L, lua_engine *e) {
  tm_runner_options options = {.every_ns = (uint64_t)option_integer(L, 1, "every_ns", 5000000000),
                               .next_due_ns = rules_due,
                               .next_due_ud = e,
                               .proc_root = option_string(L, 1, "proc_root"),
                               .sys_root = option_string(L, 1, "sys_root")};
  TM_TRY(tm_runner_new(&e->ctx, e->engine, &options, &e->runner));
  TM_TRY(tm_runner_register_actions(e->runner));
  if (option_true(L, 1, "pressure")
      && tm_runner_pressure(e->runner, 100000000, 2000000000) != TM_OK)
    tm_ctx_clear(&e->ctx);
  return TM_OK;
}

// ---- alerts outlive the process: hold and cooldown go on after a restart ----

static const char alerts_key[] = "alerts";

typedef struct ended_targets {
  tm_plat *plat;
  char ids[64][64]; // at most so many in one round; the rest ends in the next
  size_t count;
} ended_targets;

static bool collect_ended(void *ud, const tm_alert *alert) {
  ended_targets *ended = ud;
  tm_process_info info;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  char *colon = NULL;
  long long pid = strtoll(alert->target, &colon, 10);
  bool lives = colon && *colon == ':' && tm_plat_describe(&ctx, ended->plat, pid, &info) == TM_OK
               && info.id.start_ticks == strtoull(colon + 1, NULL, 10);
  tm_ctx_fini(&ctx);
  if (!lives && alert->state != TM_ALERT_GONE)
    snprintf(ended->ids[ended->count++], sizeof ended->ids[0], "%s", alert->target);
  return ended->count < TM_COUNT(ended->ids);
}

static void restore_alerts(lua_engine *e, const char *path) {
  const void *blob = NULL;
  size_t size = 0;
  tm_arena_mark mark = tm_arena_save(&e->ctx.scratch);
  if (tm_history_get(&e->ctx, path, alerts_key, &blob, &size) == TM_OK && blob && e->runner) {
    tm_alerts *alerts = tm_engine_alerts(e->engine);
    int64_t now = tm_engine_now_ns(e->engine);
    ended_targets *ended = calloc(1, sizeof *ended);
    if (ended && tm_alerts_load(alerts, now, blob, size) == TM_OK) {
      ended->plat = tm_runner_plat(e->runner);
      do {
        ended->count = 0;
        tm_alerts_each(alerts, collect_ended, ended);
        for (size_t i = 0; i < ended->count; i++) tm_alerts_target_gone(alerts, now, ended->ids[i]);
      } while (ended->count == TM_COUNT(ended->ids));
    }
    free(ended);
  }
  tm_arena_rewind(&e->ctx.scratch, mark);
  tm_ctx_clear(&e->ctx);
  tm_ctx_clear(tm_engine_ctx(e->engine));
}

static void keep_alerts(lua_engine *e) {
  tm_bytes blob = {0};
  if (e->history && tm_alerts_save(tm_engine_alerts(e->engine), &blob) == TM_OK)
    tm_history_put(e->history, alerts_key, blob.data, blob.size);
  tm_bytes_free(tm_engine_ctx(e->engine), &blob);
  tm_ctx_clear(tm_engine_ctx(e->engine));
}

// What the library has to say to people; it never prints itself. Any thread.
static void log_to_stderr(void *ud, int level, const char *area, const char *text) {
  (void)ud;
  if (level >= TM_LOG_WARN) fprintf(stderr, "tidemark: %s: %s\n", area, text);
}

static tm_status open_parts(lua_State *L, lua_engine *e) {
  bool is_virtual = option_true(L, 1, "virtual");
  const tm_log log = {option_true(L, 1, "quiet") ? NULL : log_to_stderr, NULL};
  tm_engine_options options = {.log = log,
                               .dry_run = option_true(L, 1, "dry_run"),
                               .settle_ns = (uint64_t)option_integer(L, 1, "settle_ns", 0)};
  TM_TRY(tm_engine_new(&e->ctx, &options, &e->engine));
  tm_alerts_set_namer(tm_engine_alerts(e->engine), name_of_target, e->engine);
  tm_engine_observer observer = {.ud = e, .alert = on_transition, .action = on_action_record};
  TM_TRY(tm_engine_observe(e->engine, &observer));
  uint64_t id;
  uint32_t kinds = ~(TM_EVENT_BIT(TM_EVENT_SAMPLE) | TM_EVENT_BIT(TM_EVENT_ALERT)
                     | TM_EVENT_BIT(TM_EVENT_ACTION));
  TM_TRY(tm_bus_subscribe(tm_engine_bus(e->engine), kinds, on_bus_event, e, &id));
  TM_TRY(grant_all(L, e));
  if (!is_virtual) TM_TRY(open_runner(L, e));
  const char *history = option_string(L, 1, "history");
  if (history) {
    tm_history_options keeping = {.log = log};
    TM_TRY(tm_history_open(&e->ctx, history, &keeping, &e->history));
    restore_alerts(e, history);
    TM_TRY(tm_journal_new(&e->ctx, e->engine, NULL, e->history, &e->journal));
  }
  tm_rulehost_options rules = {.threaded = !is_virtual,
                               .skip_self_tests = option_true(L, 1, "skip_self_tests"),
                               .take = take,
                               .take_ud = e};
  if (!is_virtual) {
    rules.post = tm_runner_post_fn;
    rules.post_ud = e->runner;
  }
  TM_TRY(tm_rulehost_new(&e->ctx, e->engine, &rules, &e->host));
  return tm_rulehost_start(e->host);
}

static void close_handles(lua_engine *e) {
  if (!e->handles_open) return;
  e->handles_open = false;
  uv_close((uv_handle_t *)&e->signals[0], NULL);
  uv_close((uv_handle_t *)&e->signals[1], NULL);
  uv_close((uv_handle_t *)&e->deadline, NULL);
  uv_close((uv_handle_t *)&e->flusher, NULL);
}

static void on_webhook_end(void *ud, uint64_t left_count) {
  (void)left_count;
  ((lua_engine *)ud)->webhook_ended = true;
}

// What is queued has two seconds to leave.
static void end_webhook(lua_engine *e) {
  if (!e->webhook) return;
  tm_webhook_close(e->webhook, 2000000000, on_webhook_end, e);
  while (!e->webhook_ended && uv_run(tm_runner_loop(e->runner), UV_RUN_ONCE)) {
  }
  e->webhook = NULL;
}

// The order matters: the rule thread ends first; targets end while the journal still listens; the
// loop finishes work that names the rule host before that is freed.
static void close_engine(lua_engine *e) {
  if (e->closed) return;
  e->closed = true;
  e->on_event = e->on_alert = e->on_action = LUA_NOREF;
  tm_rulehost_stop(e->host);
  if (e->engine) keep_alerts(e);
  while (e->engine && tm_engine_target_count(e->engine))
    tm_engine_remove_target(e->engine, tm_engine_target_at(e->engine, 0), "the watch ended");
  end_webhook(e);
  close_handles(e);
  for (size_t i = 0; i < e->watch_count; i++) tm_rulewatch_free(e->watches[i]);
  tm_runner_free(e->runner);
  tm_rulehost_free(e->host);
  tm_journal_free(e->journal);
  if (e->recording && tm_recording_close(&e->ctx, e->recording) != TM_OK) tm_ctx_clear(&e->ctx);
  tm_history_close(e->history);
  tm_engine_free(e->engine);
  tm_ctx_fini(&e->ctx);
}

static int engine_close(lua_State *L) {
  close_engine(luaL_checkudata(L, 1, ENGINE_META));
  return 0;
}

static int core_engine(lua_State *L) { // options -> engine | nil, err
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_engine *e = lua_newuserdatauv(L, sizeof *e, 0);
  memset(e, 0, sizeof *e);
  e->on_event = e->on_alert = e->on_action = e->error_ref = LUA_NOREF;
  tm_ctx_init(&e->ctx, NULL);
  luaL_setmetatable(L, ENGINE_META);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  e->L = lua_tothread(L, -1);
  lua_pop(L, 1);
  if (open_parts(L, e) == TM_OK) return 1;
  if (!e->ctx.error.message[0] && e->engine)
    tm_fail(&e->ctx, TM_E_IO, TM_NO_OFFSET, "%s", tm_engine_ctx(e->engine)->error.message);
  tm_lua_failed(L, &e->ctx);
  close_engine(e);
  return 2;
}

// ---- targets ----

static void push_target(lua_State *L, const tm_target *target) {
  const tm_target_facts *f = tm_target_get_facts(target);
  lua_createtable(L, 0, 9);
  set_string(L, "id", f->id);
  set_string(L, "name", f->name);
  set_string(L, "command", f->command);
  set_string(L, "exe", f->exe);
  set_integer(L, "pid", f->pid);
  set_integer(L, "uid", f->uid);
  set_integer(L, "start_time_ns", f->start_time_ns);
  set_string(L, "hook", f->hook);
  set_string(L, "endpoint", f->endpoint);
}

static int pushed(lua_State *L, lua_engine *e, tm_status status, const tm_target *target) {
  if (status != TM_OK) return tm_lua_failed(L, &e->ctx);
  push_target(L, target);
  return 1;
}

static lua_engine *check_live(lua_State *L) {
  lua_engine *e = check_engine(L);
  if (!e->runner) luaL_error(L, "a virtual engine watches no processes; feed it");
  return e;
}

static int engine_watch(lua_State *L) { // e:watch(pid, {hook=, endpoint=})
  lua_engine *e = check_live(L);
  tm_target *target = NULL;
  tm_ctx_clear(&e->ctx);
  tm_status status =
      tm_runner_watch(e->runner, luaL_checkinteger(L, 2), option_string(L, 3, "hook"),
                      option_string(L, 3, "endpoint"), &target);
  return pushed(L, e, status, target);
}

static const char **string_list(lua_State *L, int index) {
  size_t n = lua_istable(L, index) ? lua_rawlen(L, index) : 0;
  const char **list = lua_newuserdatauv(L, (n + 1) * sizeof *list, 0);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    list[i] = lua_tostring(L, -1);
    if (!list[i]) list[i] = "";
    lua_pop(L, 1);
  }
  list[n] = NULL;
  return list;
}

static int engine_spawn(lua_State *L) { // e:spawn(argv, {env=, hook=, endpoint=})
  lua_engine *e = check_live(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 3);
  const char **argv = string_list(L, 2);
  if (!argv[0]) return luaL_error(L, "spawn: the command is empty");
  const char **env = NULL;
  if (lua_istable(L, 3)) {
    lua_getfield(L, 3, "env");
    env = string_list(L, lua_gettop(L));
  }
  tm_target *target = NULL;
  tm_ctx_clear(&e->ctx);
  tm_status status = tm_runner_spawn(e->runner, argv, env, option_string(L, 3, "hook"),
                                     option_string(L, 3, "endpoint"), &target);
  return pushed(L, e, status, target);
}

static int engine_exit_code(lua_State *L) {
  lua_pushinteger(L, tm_runner_exit_code(check_live(L)->runner));
  return 1;
}

static int engine_end_spawned(lua_State *L) {
  lua_engine *e = check_live(L);
  tm_runner_end_spawned(e->runner, (uint64_t)luaL_optnumber(L, 2, 2e9));
  return 0;
}

static int engine_targets(lua_State *L) {
  lua_engine *e = check_engine(L);
  lua_newtable(L);
  for (size_t i = 0; i < tm_engine_target_count(e->engine); i++) {
    push_target(L, tm_engine_target_at(e->engine, i));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static int engine_add_target(lua_State *L) { // e:add_target{id=, name=, ...}: virtual
  lua_engine *e = check_engine(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  tm_target_facts facts = {.id = option_string(L, 2, "id"),
                           .name = option_string(L, 2, "name"),
                           .command = option_string(L, 2, "command"),
                           .exe = option_string(L, 2, "exe"),
                           .hook = option_string(L, 2, "hook"),
                           .endpoint = option_string(L, 2, "endpoint"),
                           .start_time_ns = option_integer(L, 2, "start_time_ns", 0),
                           .pid = option_integer(L, 2, "pid", 0)};
  tm_target *target = NULL;
  tm_ctx_clear(tm_engine_ctx(e->engine));
  tm_status status = tm_engine_add_target(e->engine, &facts, &target);
  if (status != TM_OK) return tm_lua_failed(L, tm_engine_ctx(e->engine));
  push_target(L, target);
  return 1;
}

static int engine_remove_target(lua_State *L) { // e:remove_target(id, why)
  lua_engine *e = check_engine(L);
  tm_engine_remove_target(e->engine, check_target(L, e, 2), luaL_optstring(L, 3, "removed"));
  return 0;
}

// ---- series ----

static int engine_feed(lua_State *L) { // e:feed(id, metric, key, time_ns, value [, unit])
  lua_engine *e = check_engine(L);
  tm_target *target = check_target(L, e, 2);
  const char *metric = luaL_checkstring(L, 3);
  tm_unit unit = lua_isstring(L, 7) ? tm_unit_by_name(lua_tostring(L, 7)) : tm_metric_unit(metric);
  tm_ctx_clear(tm_engine_ctx(e->engine));
  if (tm_engine_feed(e->engine, target, metric, luaL_optstring(L, 4, ""), unit,
                     (int64_t)luaL_checknumber(L, 5), luaL_checknumber(L, 6))
      != TM_OK)
    return tm_lua_failed(L, tm_engine_ctx(e->engine));
  lua_pushboolean(L, 1);
  return 1;
}

static int
engine_advance(lua_State *L) { // e:advance(now_ns): stops at every check that is due in between
  lua_engine *e = check_engine(L);
  int64_t to = (int64_t)luaL_checknumber(L, 2);
  if (e->runner) return luaL_error(L, "a live engine's time cannot be set");
  for (int64_t due; (due = tm_rulehost_next_due_ns(e->host)) <= to;) {
    if (due <= tm_engine_now_ns(e->engine)) due = tm_engine_now_ns(e->engine) + 1000000;
    if (due > to) break;
    tm_engine_advance(e->engine, due);
  }
  tm_engine_advance(e->engine, to);
  return 0;
}

static int engine_now(lua_State *L) {
  lua_engine *e = check_engine(L);
  lua_pushinteger(L, e->runner ? tm_runner_now_ns(e->runner) : tm_engine_now_ns(e->engine));
  return 1;
}

static int engine_demand(lua_State *L) { // e:demand(id, metric, every_ns, keep)
  lua_engine *e = check_engine(L);
  tm_demand demand = {"view", luaL_checkstring(L, 3), (uint64_t)luaL_checknumber(L, 4),
                      (size_t)luaL_optinteger(L, 5, 120)};
  if (tm_target_demand(e->engine, check_target(L, e, 2), &demand) != TM_OK)
    return tm_lua_failed(L, tm_engine_ctx(e->engine));
  lua_pushboolean(L, 1);
  return 1;
}

static int
engine_tracks(lua_State *L) { // e:tracks(id) -> list of {metric, key, unit, last, time_ns}
  lua_engine *e = check_engine(L);
  tm_target *target = check_target(L, e, 2);
  lua_newtable(L);
  for (size_t i = 0; i < tm_target_track_count(target); i++) {
    const tm_track *track = tm_target_track_at(target, i);
    int64_t time_ns = 0;
    double value = NAN;
    tm_series_last(track->series, &time_ns, &value);
    lua_createtable(L, 0, 5);
    set_string(L, "metric", track->metric);
    set_string(L, "key", track->key);
    set_string(L, "unit", tm_unit_name(track->unit));
    set_number(L, "last", value);
    set_integer(L, "time_ns", time_ns);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static tm_track *check_track(lua_State *L, lua_engine *e) {
  return tm_target_track(check_target(L, e, 2), luaL_checkstring(L, 3), luaL_optstring(L, 4, ""));
}

static int engine_last(lua_State *L) { // e:last(id, metric, key) -> value, time_ns, unit
  lua_engine *e = check_engine(L);
  tm_track *track = check_track(L, e);
  int64_t time_ns;
  double value;
  if (!track || !tm_series_last(track->series, &time_ns, &value)) return 0;
  lua_pushnumber(L, value);
  lua_pushinteger(L, time_ns);
  lua_pushstring(L, tm_unit_name(track->unit));
  return 3;
}

static size_t copy_track(lua_State *L, tm_track *track, int64_t since_ns, int64_t **times,
                         double **values) {
  size_t max = tm_series_count(track->series);
  *times = lua_newuserdatauv(L, (max + 1) * sizeof **times, 0);
  *values = lua_newuserdatauv(L, (max + 1) * sizeof **values, 0);
  return tm_series_copy(track->series, since_ns, *times, *values, max);
}

static int engine_series(lua_State *L) { // e:series(id, metric, key, since_ns) -> times, values
  lua_engine *e = check_engine(L);
  tm_track *track = check_track(L, e);
  int64_t since = (int64_t)luaL_optnumber(L, 5, 0), *times;
  double *values;
  size_t n = 0;
  if (track) n = copy_track(L, track, since, &times, &values);
  lua_createtable(L, (int)n, 0);
  lua_createtable(L, (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    lua_pushinteger(L, times[i]);
    lua_rawseti(L, -3, (lua_Integer)i + 1);
    lua_pushnumber(L, values[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 2;
}

static int
engine_envelope(lua_State *L) { // e:envelope(id, metric, key, from_ns, to_ns, n) -> min, max
  lua_engine *e = check_engine(L);
  tm_track *track = check_track(L, e);
  int64_t from = (int64_t)luaL_checknumber(L, 5), to = (int64_t)luaL_checknumber(L, 6);
  lua_Integer n = luaL_checkinteger(L, 7);
  luaL_argcheck(L, n > 0 && n <= 10000, 7, "1 to 10000 buckets");
  double *low = lua_newuserdatauv(L, (size_t)n * 2 * sizeof *low, 0);
  for (lua_Integer i = 0; i < 2 * n; i++) low[i] = NAN;
  if (track) tm_series_envelope(track->series, from, to, (size_t)n, low, low + n);
  lua_createtable(L, (int)n, 0);
  lua_createtable(L, (int)n, 0);
  for (lua_Integer i = 0; i < n; i++) {
    lua_pushnumber(L, low[i]);
    lua_rawseti(L, -3, i + 1);
    lua_pushnumber(L, low[n + i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 2;
}

static int engine_trend(lua_State *L) { // e:trend(id, metric, key, {limit=, since_ns=})
  lua_engine *e = check_engine(L);
  tm_track *track = check_track(L, e);
  if (!track) return 0;
  int64_t *times;
  double *values;
  lua_settop(L, 5);
  size_t n = copy_track(L, track, option_integer(L, 5, "since_ns", 0), &times, &values);
  tm_trend trend;
  tm_ctx_clear(&e->ctx);
  if (tm_trend_compute(&e->ctx, times, values, n, NULL, &trend) != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_createtable(L, 0, 10);
  lua_pushboolean(L, trend.leak);
  lua_setfield(L, -2, "leak");
  set_string(L, "reason", trend.reason);
  set_number(L, "slope_per_hour", trend.slope_per_s * 3600);
  set_number(L, "low", trend.slope_low_per_s * 3600);
  set_number(L, "high", trend.slope_high_per_s * 3600);
  set_number(L, "level", trend.level);
  set_number(L, "growth_ratio", trend.growth_ratio);
  set_number(L, "confidence", trend.confidence);
  set_integer(L, "n", (int64_t)trend.n_used);
  double limit = (double)option_integer(L, 5, "limit", 0);
  if (limit > 0) set_number(L, "time_to_s", tm_trend_time_to_ns(&trend, limit, NULL, NULL) / 1e9);
  return 1;
}

// ---- rules ----

typedef struct load_call {
  lua_engine *e;
  int fn_ref;
} load_call;

static void push_report(lua_State *L, const tm_load_report *r) {
  lua_createtable(L, 0, 10);
  lua_pushboolean(L, r->ok);
  lua_setfield(L, -2, "ok");
  set_string(L, "name", r->name);
  set_string(L, "origin", r->origin);
  set_string(L, "problem", r->problem);
  set_string(L, "notes", r->notes);
  lua_pushboolean(L, r->kept_old);
  lua_setfield(L, -2, "kept_old");
  lua_pushboolean(L, r->unchanged);
  lua_setfield(L, -2, "unchanged");
  set_integer(L, "rules", (int64_t)r->rules);
  set_integer(L, "tests", (int64_t)r->tests);
  set_integer(L, "took_ns", (int64_t)r->took_ns);
}

static void on_loaded(void *ud, const tm_load_report *report) {
  load_call *call = ud;
  lua_engine *e = call->e;
  if (call->fn_ref != LUA_NOREF && !e->closed) {
    push_report(e->L, report);
    call_back(e, call->fn_ref);
    luaL_unref(e->L, LUA_REGISTRYINDEX, call->fn_ref);
  }
  free(call);
}

static int engine_load_rules(lua_State *L) { // e:load_rules(name, origin, source, fn)
  lua_engine *e = check_engine(L);
  size_t size;
  const char *name = luaL_checkstring(L, 2), *origin = luaL_checkstring(L, 3),
             *source = luaL_checklstring(L, 4, &size);
  load_call *call = malloc(sizeof *call);
  if (!call) return luaL_error(L, "out of memory");
  *call = (load_call){e, LUA_NOREF};
  if (lua_isfunction(L, 5)) {
    lua_settop(L, 5);
    call->fn_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  }
  tm_ctx_clear(&e->ctx);
  if (e->recording && tm_recording_add_rules(&e->ctx, e->recording, name, source) != TM_OK)
    tm_ctx_clear(&e->ctx);
  if (tm_rulehost_load(e->host, name, origin, source, size, on_loaded, call) != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

static int engine_unload_rules(lua_State *L) {
  lua_engine *e = check_engine(L);
  tm_ctx_clear(&e->ctx);
  if (tm_rulehost_unload(e->host, luaL_checkstring(L, 2)) != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

static void on_rule_file(void *ud, const char *name, const char *path, const char *source,
                         size_t size) {
  lua_engine *e = ud;
  tm_ctx_clear(&e->ctx);
  tm_status status;
  if (source)
    status = tm_rulehost_load(e->host, name, path, source, size, NULL, NULL);
  else
    status = tm_rulehost_unload(e->host, name);
  if (status != TM_OK)
    tm_engine_note(e->engine, TM_EVENT_NOTE, TM_LEVEL_WARN, name, "", e->ctx.error.message, "{}");
}

static int
engine_watch_rules(lua_State *L) { // e:watch_rules(dir): loads what is there, then follows changes
  lua_engine *e = check_live(L);
  const char *dir = luaL_checkstring(L, 2);
  if (e->watch_count == MAX_WATCHES)
    return luaL_error(L, "at most %d folders can be watched", MAX_WATCHES);
  tm_ctx_clear(&e->ctx);
  if (tm_rulewatch_new(&e->ctx, tm_runner_loop(e->runner), dir, on_rule_file, e,
                       &e->watches[e->watch_count])
      != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  e->watch_count++;
  lua_pushboolean(L, 1);
  return 1;
}

static void set_strings(lua_State *L, const char *name, char *const *list, size_t count) {
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_pushstring(L, list[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, name);
}

static void push_rule(lua_State *L, const tm_rule *rule) {
  lua_createtable(L, 0, 24);
  set_string(L, "id", rule->id);
  set_string(L, "doc", rule->doc);
  set_string(L, "kind", rule->kind);
  set_string(L, "runtime", rule->runtime);
  set_integer(L, "every_ns", (int64_t)rule->every_ns);
  set_integer(L, "warmup_ns", (int64_t)rule->warmup_ns);
  set_integer(L, "hold_ns", (int64_t)rule->policy.hold_ns);
  set_integer(L, "linger_ns", (int64_t)rule->policy.linger_ns);
  set_integer(L, "cooldown_ns", (int64_t)rule->policy.cooldown_ns);
  set_number(L, "budget_ratio", rule->budget_ratio);
  set_integer(L, "tests", (int64_t)rule->test_count);
  set_strings(L, "caps", rule->caps, rule->cap_count);
  set_strings(L, "tags", rule->tags, rule->tag_count);
  set_strings(L, "inhibits", rule->inhibits, rule->inhibit_count);
  set_strings(L, "needs", rule->needs, rule->need_count);
  set_integer(L, "evaluations", (int64_t)rule->stats.evaluations);
  set_integer(L, "findings", (int64_t)rule->stats.findings);
  set_integer(L, "errors", (int64_t)rule->stats.errors);
  set_integer(L, "kills", (int64_t)rule->stats.kills);
  set_integer(L, "throttled", (int64_t)rule->stats.throttled);
  set_integer(L, "missed", (int64_t)rule->stats.missed);
  set_integer(L, "cpu_ns", (int64_t)rule->stats.cpu_ns);
  lua_createtable(L, (int)rule->input_count, 0);
  for (size_t i = 0; i < rule->input_count; i++) {
    const tm_rule_input *input = &rule->inputs[i];
    lua_createtable(L, 0, 6);
    set_string(L, "name", input->name);
    set_string(L, "kind", input->kind);
    set_string(L, "metric", input->metric);
    set_integer(L, "every_ns", (int64_t)input->every_ns);
    set_integer(L, "keep", (int64_t)input->keep);
    lua_pushboolean(L, input->arm);
    lua_setfield(L, -2, "arm");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "inputs");
}

typedef struct rule_list {
  lua_State *L;
  lua_Integer n;
} rule_list;

static void add_rule_view(void *ud, const tm_rule_view *view) {
  rule_list *list = ud;
  push_rule(list->L, view->rule);
  set_string(list->L, "package", view->package);
  set_string(list->L, "origin", view->origin);
  set_string(list->L, "state", view->state);
  set_string(list->L, "problem", view->problem);
  set_integer(list->L, "bound", (int64_t)view->bound_targets);
  lua_rawseti(list->L, -2, ++list->n);
}

static int engine_rules(lua_State *L) { // -> list; nil when a check holds the rules just now
  lua_engine *e = check_engine(L);
  lua_newtable(L);
  rule_list list = {L, 0};
  if (!tm_rulehost_each_rule(e->host, add_rule_view, &list)) return 0;
  return 1;
}

static int core_rules_check(lua_State *L) { // name, source -> list of rules | nil, err
  size_t size;
  const char *name = luaL_checkstring(L, 1), *source = luaL_checklstring(L, 2, &size);
  tm_ctx ctx;
  tm_package *package = NULL;
  tm_sandbox_limits limits = {0};
  tm_ctx_init(&ctx, NULL);
  if (tm_package_build(&ctx, name, name, source, size, &limits, NULL, &package) != TM_OK) {
    tm_ctx_fini(&ctx);
    return tm_lua_failed(L, &ctx);
  }
  lua_createtable(L, (int)package->rule_count, 0);
  for (size_t i = 0; i < package->rule_count; i++) {
    push_rule(L, &package->rules[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  tm_package_free(package);
  tm_ctx_fini(&ctx);
  return 1;
}

static void add_test(void *ud, const char *rule, const char *test, bool ok, const char *why) {
  rule_list *list = ud;
  lua_createtable(list->L, 0, 4);
  set_string(list->L, "rule", rule);
  set_string(list->L, "test", test);
  lua_pushboolean(list->L, ok);
  lua_setfield(list->L, -2, "ok");
  set_string(list->L, "why", why);
  lua_rawseti(list->L, -2, ++list->n);
}

static int
core_rules_test(lua_State *L) { // name, source -> ok, list of {rule, test, ok, why} | nil, err
  size_t size;
  const char *name = luaL_checkstring(L, 1), *source = luaL_checklstring(L, 2, &size);
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  lua_newtable(L);
  rule_list list = {L, 0};
  tm_status status = tm_rules_test(&ctx, name, source, size, add_test, &list);
  tm_ctx_fini(&ctx);
  if (status != TM_OK && list.n == 0) return tm_lua_failed(L, &ctx);
  lua_pushboolean(L, status == TM_OK);
  lua_insert(L, -2);
  return 2;
}

static int engine_render(lua_State *L) { // e:render(format_id, report_table) -> text | nil, err
  lua_engine *e = check_engine(L);
  const char *format = luaL_checkstring(L, 2);
  tm_bytes plain = {0}, out = {.cap_bytes = 64u << 20};
  tm_ctx_clear(&e->ctx);
  tm_status status = tm_plain_write(&e->ctx, L, 3, &plain);
  if (status == TM_OK)
    status = tm_rulehost_render(&e->ctx, e->host, format, plain.data, plain.size, &out);
  if (status == TM_OK) lua_pushlstring(L, out.data ? (const char *)out.data : "", out.size);
  tm_bytes_free(&e->ctx, &plain);
  tm_bytes_free(&e->ctx, &out);
  return status == TM_OK ? 1 : tm_lua_failed(L, &e->ctx);
}

// ---- webhook ----

static int engine_webhook(lua_State *L) { // e:webhook(url): one for the engine
  lua_engine *e = check_live(L);
  if (e->webhook) return luaL_error(L, "this engine has a webhook already");
  tm_ctx_clear(&e->ctx);
  if (tm_webhook_new(&e->ctx, tm_runner_loop(e->runner), luaL_checkstring(L, 2), NULL, &e->webhook)
      != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

static int engine_webhook_post(lua_State *L) { // e:webhook_post(json)
  lua_engine *e = check_live(L);
  size_t size;
  const char *json = luaL_checklstring(L, 2, &size);
  if (!e->webhook) return luaL_error(L, "this engine has no webhook");
  tm_ctx_clear(&e->ctx);
  if (tm_webhook_post(&e->ctx, e->webhook, json, size) != TM_OK) return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

// ---- alerts ----

static bool add_alert(void *ud, const tm_alert *alert) {
  rule_list *list = ud;
  push_alert(list->L, alert);
  lua_rawseti(list->L, -2, ++list->n);
  return true;
}

static int engine_alerts(lua_State *L) {
  lua_engine *e = check_engine(L);
  lua_newtable(L);
  rule_list list = {L, 0};
  tm_alerts_each(tm_engine_alerts(e->engine), add_alert, &list);
  return 1;
}

static int engine_silence(lua_State *L) { // e:silence{rule=, target=, key=, for_ns=, why=}
  lua_engine *e = check_engine(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  int64_t now = e->runner ? tm_runner_now_ns(e->runner) : tm_engine_now_ns(e->engine);
  tm_silence silence = {0,
                        option_string(L, 2, "rule"),
                        option_string(L, 2, "target"),
                        option_string(L, 2, "key"),
                        option_string(L, 2, "why"),
                        now + option_integer(L, 2, "for_ns", 3600000000000)};
  uint64_t id = 0;
  if (tm_alerts_silence(tm_engine_alerts(e->engine), &silence, &id) != TM_OK)
    return tm_lua_failed(L, tm_engine_ctx(e->engine));
  lua_pushinteger(L, (lua_Integer)id);
  return 1;
}

static int engine_mark(lua_State *L) { // e:mark(text)
  lua_engine *e = check_engine(L);
  tm_engine_note(e->engine, TM_EVENT_MARK, TM_LEVEL_INFO, "", "", luaL_checkstring(L, 2), "{}");
  return 0;
}

// ---- recording, costs ----

static int engine_record(lua_State *L) { // e:record(path, meta_json [, overwrite])
  lua_engine *e = check_engine(L);
  if (e->recording) return luaL_error(L, "this engine records already");
  tm_ctx_clear(&e->ctx);
  if (tm_recording_create(&e->ctx, luaL_checkstring(L, 2), lua_toboolean(L, 4),
                          luaL_optstring(L, 3, "{}"), &e->recording)
      != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  tm_journal_free(e->journal);
  e->journal = NULL;
  if (tm_journal_new(&e->ctx, e->engine, e->recording, e->history, &e->journal) != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

static int engine_stats(lua_State *L) {
  lua_engine *e = check_engine(L);
  tm_runner_stats s = {0};
  if (e->runner) tm_runner_get_stats(e->runner, &s);
  lua_createtable(L, 0, 12);
  set_integer(L, "ticks", (int64_t)s.ticks);
  set_integer(L, "wakeups", (int64_t)s.wakeups);
  set_integer(L, "samples", (int64_t)s.samples);
  set_integer(L, "missed", (int64_t)s.missed);
  set_integer(L, "sampling_cpu_ns", (int64_t)s.sampling_cpu_ns);
  set_integer(L, "cpu_ns", (int64_t)(e->runner ? s.cpu_ns : tm_clock_process_cpu_ns()));
  set_number(L, "rss_bytes", s.rss_bytes);
  set_number(L, "peak_rss_bytes", s.peak_rss_bytes);
  if (e->webhook) {
    const tm_webhook_stats *w = tm_webhook_stats_of(e->webhook);
    set_integer(L, "webhook_sent", (int64_t)w->sent_count);
    set_integer(L, "webhook_dropped", (int64_t)w->dropped_count);
    set_string(L, "webhook_error", w->last_error);
  }
  set_integer(L, "uptime_ns", e->runner ? (int64_t)(tm_clock_mono_ns() - s.started_mono_ns) : 0);
  uint64_t since;
  char where[128];
  if (tm_rulehost_busy(e->host, &since, where, sizeof where)) {
    set_integer(L, "rule_busy_ns", (int64_t)(tm_clock_mono_ns() - since));
    set_string(L, "rule_busy_at", where);
  }
  return 1;
}

// ---- running ----

static void on_signal(uv_signal_t *handle, int number) {
  (void)number;
  lua_engine *e = handle->data;
  e->interrupted = true;
  tm_runner_stop(e->runner);
}

static void on_deadline(uv_timer_t *timer) {
  lua_engine *e = timer->data;
  e->timed_out = true;
  tm_runner_stop(e->runner);
}

static void on_flush(uv_timer_t *timer) {
  lua_engine *e = timer->data;
  if (e->journal) tm_journal_flush(e->journal);
  if (e->history && tm_alerts_busy(tm_engine_alerts(e->engine))) keep_alerts(e);
}

static void open_handles(lua_engine *e) {
  uv_loop_t *loop = tm_runner_loop(e->runner);
  if (e->handles_open) return;
  e->handles_open = true;
  const int numbers[] = {SIGINT, SIGTERM};
  for (size_t i = 0; i < 2; i++) {
    uv_signal_init(loop, &e->signals[i]);
    e->signals[i].data = e;
    uv_signal_start(&e->signals[i], on_signal, numbers[i]);
    uv_unref((uv_handle_t *)&e->signals[i]);
  }
  uv_timer_init(loop, &e->deadline);
  uv_timer_init(loop, &e->flusher);
  e->deadline.data = e->flusher.data = e;
  uv_timer_start(&e->flusher, on_flush, 2000, 2000);
  uv_unref((uv_handle_t *)&e->flusher);
}

static int engine_run(
    lua_State *L) { // e:run{for_ns=, until_idle=} -> "time" | "idle" | "stopped" | "interrupted"
  lua_engine *e = check_live(L);
  e->failed = e->interrupted = e->timed_out = false;
  open_handles(e);
  int64_t for_ns = option_integer(L, 2, "for_ns", 0);
  if (for_ns > 0)
    uv_timer_start(&e->deadline, on_deadline, (uint64_t)(for_ns + 999999) / 1000000, 0);
  tm_runner_run(e->runner, option_true(L, 2, "until_idle"));
  uv_timer_stop(&e->deadline);
  if (e->journal) tm_journal_flush(e->journal);
  if (e->failed) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, e->error_ref);
    luaL_unref(L, LUA_REGISTRYINDEX, e->error_ref);
    return lua_error(L);
  }
  lua_pushstring(L, e->interrupted                           ? "interrupted"
                    : e->timed_out                           ? "time"
                    : tm_engine_target_count(e->engine) == 0 ? "idle"
                                                             : "stopped");
  return 1;
}

static int engine_stop(lua_State *L) {
  tm_runner_stop(check_live(L)->runner);
  return 0;
}

// ---- recordings ----

typedef struct reading {
  lua_State *L;
  int visitor; // stack index of the table of functions
} reading;

// Pushes the visitor's function of a name; false when there is none.
static bool push_visitor(reading *r, const char *name) {
  lua_getfield(r->L, r->visitor, name);
  if (lua_isfunction(r->L, -1)) return true;
  lua_pop(r->L, 1);
  return false;
}

static tm_status on_meta(void *ud, const char *json) {
  reading *r = ud;
  if (!push_visitor(r, "meta")) return TM_OK;
  lua_pushstring(r->L, json);
  return lua_pcall(r->L, 1, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_target(void *ud, uint32_t number, const tm_recording_target *t) {
  reading *r = ud;
  if (!push_visitor(r, "target")) return TM_OK;
  lua_pushinteger(r->L, number);
  lua_createtable(r->L, 0, 5);
  set_string(r->L, "id", t->id);
  set_integer(r->L, "pid", t->pid);
  set_integer(r->L, "start_time_ns", t->start_time_ns);
  set_string(r->L, "name", t->name);
  set_string(r->L, "command", t->command);
  return lua_pcall(r->L, 2, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_series(void *ud, uint32_t number, const tm_recording_series *s) {
  reading *r = ud;
  if (!push_visitor(r, "series")) return TM_OK;
  lua_pushinteger(r->L, number);
  lua_createtable(r->L, 0, 4);
  set_integer(r->L, "target", s->target);
  set_string(r->L, "metric", s->metric);
  set_string(r->L, "key", s->key);
  set_string(r->L, "unit", s->unit);
  return lua_pcall(r->L, 2, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_sample(void *ud, uint32_t series, int64_t time_ns, double value) {
  reading *r = ud;
  if (!push_visitor(r, "sample")) return TM_OK;
  lua_pushinteger(r->L, series);
  lua_pushinteger(r->L, time_ns);
  lua_pushnumber(r->L, value);
  return lua_pcall(r->L, 3, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_recorded_event(void *ud, const char *json) {
  reading *r = ud;
  if (!push_visitor(r, "event")) return TM_OK;
  lua_pushstring(r->L, json);
  return lua_pcall(r->L, 1, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_blob(void *ud, const tm_recording_blob *b) {
  reading *r = ud;
  if (!push_visitor(r, "blob")) return TM_OK;
  lua_createtable(r->L, 0, 4);
  set_integer(r->L, "target", b->target);
  set_integer(r->L, "time_ns", b->time_ns);
  set_string(r->L, "name", b->name);
  lua_pushlstring(r->L, b->data, b->size);
  lua_setfield(r->L, -2, "data");
  return lua_pcall(r->L, 1, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_rules_text(void *ud, const char *name, const char *text) {
  reading *r = ud;
  if (!push_visitor(r, "rules")) return TM_OK;
  lua_pushstring(r->L, name);
  lua_pushstring(r->L, text);
  return lua_pcall(r->L, 2, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static int core_read_recording(
    lua_State *L) { // path, visitor -> {records, samples, damaged, cut, message} | nil, err
  const char *path = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  reading r = {L, 2};
  tm_recording_visitor visitor = {&r,        on_meta,           on_target, on_series,
                                  on_sample, on_recorded_event, on_blob,   on_rules_text};
  tm_recording_summary summary = {0};
  tm_status status = tm_recording_read_file(&ctx, path, &visitor, &summary);
  tm_ctx_fini(&ctx);
  if (status == TM_E_LUA) return lua_error(L); // the visitor's error is on top
  if (status != TM_OK) return tm_lua_failed(L, &ctx);
  lua_createtable(L, 0, 5);
  set_integer(L, "records", (int64_t)summary.records);
  set_integer(L, "samples", (int64_t)summary.samples);
  set_integer(L, "damaged", (int64_t)summary.damaged);
  set_integer(L, "read_bytes", (int64_t)summary.read_bytes);
  lua_pushboolean(L, summary.cut);
  lua_setfield(L, -2, "cut");
  set_string(L, "message", summary.message);
  return 1;
}

// ---- registration ----

void tm_lua_add_engine(lua_State *L) {
  static const luaL_Reg methods[] = {{"watch", engine_watch},
                                     {"spawn", engine_spawn},
                                     {"exit_code", engine_exit_code},
                                     {"end_spawned", engine_end_spawned},
                                     {"targets", engine_targets},
                                     {"add_target", engine_add_target},
                                     {"remove_target", engine_remove_target},
                                     {"feed", engine_feed},
                                     {"advance", engine_advance},
                                     {"now", engine_now},
                                     {"demand", engine_demand},
                                     {"tracks", engine_tracks},
                                     {"last", engine_last},
                                     {"series", engine_series},
                                     {"envelope", engine_envelope},
                                     {"trend", engine_trend},
                                     {"load_rules", engine_load_rules},
                                     {"unload_rules", engine_unload_rules},
                                     {"watch_rules", engine_watch_rules},
                                     {"rules", engine_rules},
                                     {"render", engine_render},
                                     {"alerts", engine_alerts},
                                     {"silence", engine_silence},
                                     {"mark", engine_mark},
                                     {"webhook", engine_webhook},
                                     {"webhook_post", engine_webhook_post},
                                     {"record", engine_record},
                                     {"stats", engine_stats},
                                     {"on", engine_on},
                                     {"on_alert", engine_on_alert},
                                     {"on_action", engine_on_action},
                                     {"every", engine_every},
                                     {"run", engine_run},
                                     {"stop", engine_stop},
                                     {"close", engine_close},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"engine", core_engine},
                                       {"rules_check", core_rules_check},
                                       {"rules_test", core_rules_test},
                                       {"read_recording", core_read_recording},
                                       {NULL, NULL}};
  luaL_newmetatable(L, ENGINE_META);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, engine_close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, engine_close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
