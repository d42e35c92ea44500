// core.engine{...}: the whole engine for trusted Lua: its life, its callbacks and its loop.
// Callbacks run on the loop's thread, inside e:run; an error in one ends the run and is raised from
// it. Targets, rules and what is kept have files of their own.
#include "host/lua_engine.h"

#include "host/capture_take.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

lua_engine *tm_lua_check_engine(lua_State *L) {
  lua_engine *e = luaL_checkudata(L, 1, ENGINE_META);
  if (e->closed) luaL_error(L, "the engine is closed");
  return e;
}

lua_engine *tm_lua_check_live(lua_State *L) {
  lua_engine *e = tm_lua_check_engine(L);
  if (!e->runner) luaL_error(L, "a virtual engine watches no processes; feed it");
  return e;
}

tm_target *tm_lua_check_target(lua_State *L, lua_engine *e, int index) {
  const char *id = luaL_checkstring(L, index);
  tm_target *target = tm_engine_target_by_id(e->engine, id);
  if (!target) luaL_error(L, "no target '%s' is watched", id);
  return target;
}

// ---- callbacks into Lua ----

// Calls the function of ref with the one value on top; an error stops the run.
void tm_lua_call_back(lua_engine *e, int ref) {
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
  tm_lua_call_back(e, e->on_event);
}

void tm_lua_push_alert(lua_State *L, const tm_alert *a) {
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
  tm_lua_push_alert(e->L, t->alert);
  set_string(e->L, "state", tm_alert_state_name(t->to_state));
  set_string(e->L, "from_state", tm_alert_state_name(t->from_state));
  set_string(e->L, "from_level", tm_level_name(t->from_level));
  set_integer(e->L, "time_ns", t->time_ns);
  lua_pushboolean(e->L, t->notify);
  lua_setfield(e->L, -2, "notify");
  tm_lua_call_back(e, e->on_alert);
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
  tm_lua_call_back(e, e->on_action);
}

static int set_callback(lua_State *L, int *ref) {
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_unref(L, LUA_REGISTRYINDEX, *ref);
  lua_settop(L, 2);
  *ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static int engine_on(lua_State *L) {
  return set_callback(L, &tm_lua_check_engine(L)->on_event);
}

static int engine_on_alert(lua_State *L) {
  return set_callback(L, &tm_lua_check_engine(L)->on_alert);
}

static int engine_on_action(lua_State *L) {
  return set_callback(L, &tm_lua_check_engine(L)->on_action);
}

static void on_lua_timer(void *ud) {
  lua_timer *t = ud;
  lua_pushnil(t->owner->L);
  tm_lua_call_back(t->owner, t->fn_ref);
}

static int engine_every(lua_State *L) { // e:every(ns, fn)
  lua_engine *e = tm_lua_check_engine(L);
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

// A dump stops the program and fills the disk: it needs the grant that policies need.
static void take_capture(lua_engine *e, tm_target *target, const char *name,
                         const char *options_json, uint64_t timeout_ns, uint64_t job_id) {
  static const char refused[] = "a capture stops the program: give --allow act:snap to let rules";
  tm_capture_options options = tm_capture_of_take(name, options_json, timeout_ns);
  options.folder = *e->dump_folder ? e->dump_folder : NULL;
  if (tm_actions_granted(tm_engine_actions(e->engine), "", "act:snap"))
    tm_capture_take(e->runner, target, &options, job_id, taken, e->host);
  else
    tm_rulehost_job_done(e->host, job_id, TM_E_PERM, refused, sizeof refused - 1);
}

static void take(void *ud, tm_target *target, const char *name, const char *options_json,
                 uint64_t timeout_ns, uint64_t job_id) {
  lua_engine *e = ud;
  if (e->runner && tm_capture_is(name))
    take_capture(e, target, name, options_json, timeout_ns, job_id);
  else if (e->runner)
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
  const char *dumps = option_string(L, 1, "dumps");
  snprintf(e->dump_folder, sizeof e->dump_folder, "%s", dumps ? dumps : "");
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
  e->on_event = e->on_alert = e->on_action = e->on_line = LUA_NOREF;
  tm_line_server_close(e->control);
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
  e->on_event = e->on_alert = e->on_action = e->on_line = e->error_ref = LUA_NOREF;
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
  lua_engine *e = tm_lua_check_live(L);
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
  tm_runner_stop(tm_lua_check_live(L)->runner);
  return 0;
}

// ---- registration ----

static const luaL_Reg own_methods[] = {{"on", engine_on},
                                       {"on_alert", engine_on_alert},
                                       {"on_action", engine_on_action},
                                       {"every", engine_every},
                                       {"run", engine_run},
                                       {"stop", engine_stop},
                                       {"close", engine_close},
                                       {NULL, NULL}};

void tm_lua_add_engine(lua_State *L) {
  luaL_newmetatable(L, ENGINE_META);
  lua_newtable(L);
  luaL_setfuncs(L, own_methods, 0);
  luaL_setfuncs(L, tm_lua_target_methods, 0);
  luaL_setfuncs(L, tm_lua_rule_methods, 0);
  luaL_setfuncs(L, tm_lua_keep_methods, 0);
  luaL_setfuncs(L, tm_lua_ask_methods, 0);
  luaL_setfuncs(L, tm_lua_act_methods, 0);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, engine_close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, engine_close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
  lua_pushcfunction(L, core_engine);
  lua_setfield(L, -2, "engine");
  luaL_setfuncs(L, tm_lua_rule_functions, 0);
  luaL_setfuncs(L, tm_lua_keep_functions, 0);
}
