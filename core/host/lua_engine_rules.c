// Rules and alerts of an engine, for trusted Lua.
#include "bind/plain.h"
#include "host/lua_engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    tm_lua_call_back(e, call->fn_ref);
    luaL_unref(e->L, LUA_REGISTRYINDEX, call->fn_ref);
  }
  free(call);
}

// A recording keeps the text of what ran: `tidemark replay --recorded-rules`.
static void record_rules(lua_engine *e, const char *name, const char *source) {
  tm_ctx_clear(&e->ctx);
  if (e->recording && tm_recording_add_rules(&e->ctx, e->recording, name, source) != TM_OK)
    tm_ctx_clear(&e->ctx);
}

static int engine_load_rules(lua_State *L) { // e:load_rules(name, origin, source, fn)
  lua_engine *e = tm_lua_check_engine(L);
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
  record_rules(e, name, source);
  if (tm_rulehost_load(e->host, name, origin, source, size, on_loaded, call) != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

static int engine_unload_rules(lua_State *L) {
  lua_engine *e = tm_lua_check_engine(L);
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
  if (source) record_rules(e, name, source);
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
  lua_engine *e = tm_lua_check_live(L);
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

static void add_rule_view(void *ud, const tm_rule_view *view) {
  lua_list *list = ud;
  push_rule(list->L, view->rule);
  set_string(list->L, "package", view->package);
  set_string(list->L, "origin", view->origin);
  set_string(list->L, "state", view->state);
  set_string(list->L, "problem", view->problem);
  set_integer(list->L, "bound", (int64_t)view->bound_targets);
  lua_rawseti(list->L, -2, ++list->n);
}

static int engine_rules(lua_State *L) { // -> list; nil when a check holds the rules just now
  lua_engine *e = tm_lua_check_engine(L);
  lua_newtable(L);
  lua_list list = {L, 0};
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
  lua_list *list = ud;
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
  lua_list list = {L, 0};
  tm_status status = tm_rules_test(&ctx, name, source, size, add_test, &list);
  tm_ctx_fini(&ctx);
  if (status != TM_OK && list.n == 0) return tm_lua_failed(L, &ctx);
  lua_pushboolean(L, status == TM_OK);
  lua_insert(L, -2);
  return 2;
}

static int engine_render(lua_State *L) { // e:render(format_id, report_table) -> text | nil, err
  lua_engine *e = tm_lua_check_engine(L);
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

// ---- alerts ----

static bool add_alert(void *ud, const tm_alert *alert) {
  lua_list *list = ud;
  tm_lua_push_alert(list->L, alert);
  lua_rawseti(list->L, -2, ++list->n);
  return true;
}

static int engine_alerts(lua_State *L) {
  lua_engine *e = tm_lua_check_engine(L);
  lua_newtable(L);
  lua_list list = {L, 0};
  tm_alerts_each(tm_engine_alerts(e->engine), add_alert, &list);
  return 1;
}

static int engine_silence(lua_State *L) { // e:silence{rule=, target=, key=, for_ns=, why=}
  lua_engine *e = tm_lua_check_engine(L);
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
  lua_engine *e = tm_lua_check_engine(L);
  tm_engine_note(e->engine, TM_EVENT_MARK, TM_LEVEL_INFO, "", "", luaL_checkstring(L, 2), "{}");
  return 0;
}

const luaL_Reg tm_lua_rule_methods[] = {{"load_rules", engine_load_rules},
                                        {"unload_rules", engine_unload_rules},
                                        {"rules", engine_rules},
                                        {"render", engine_render},
                                        {"alerts", engine_alerts},
                                        {"silence", engine_silence},
                                        {"mark", engine_mark},
                                        {"watch_rules", engine_watch_rules},
                                        {NULL, NULL}};

const luaL_Reg tm_lua_rule_functions[] = {
    {"rules_check", core_rules_check}, {"rules_test", core_rules_test}, {NULL, NULL}};
