// Actions that trusted Lua does for rules: the engine gates, limits and audits them like its own,
// and Lua says when each has ended.
#include "host/lua_engine.h"

static void run_act(void *ud, const tm_action_call *call) {
  lua_act *a = ud;
  lua_State *L = a->owner->L;
  if (a->owner->closed) return;
  lua_createtable(L, 0, 5);
  set_integer(L, "call", (int64_t)call->id);
  set_string(L, "name", call->name);
  set_string(L, "rule", call->rule);
  set_string(L, "target", call->target);
  set_string(L, "args", call->args_json);
  tm_lua_call_back(a->owner, a->fn_ref);
}

// e:action(name, capability, fn): fn{call=, name=, rule=, target=, args= (JSON)} begins one; it
// ends with e:acted. Such actions are not judged by the memory that they gained.
static int engine_action(lua_State *L) {
  lua_engine *e = tm_lua_check_live(L);
  tm_action_def def = {.name = luaL_checkstring(L, 2),
                       .capability = luaL_checkstring(L, 3),
                       .unmeasured = true,
                       .run = run_act};
  luaL_checktype(L, 4, LUA_TFUNCTION);
  if (e->act_count == MAX_ACTS) return luaL_error(L, "action: at most %d", MAX_ACTS);
  lua_act *a = &e->acts[e->act_count];
  def.ud = a;
  tm_ctx_clear(tm_engine_ctx(e->engine));
  if (tm_actions_register(tm_engine_actions(e->engine), &def) != TM_OK)
    return tm_lua_failed(L, tm_engine_ctx(e->engine));
  lua_settop(L, 4);
  *a = (lua_act){e, luaL_ref(L, LUA_REGISTRYINDEX)};
  e->act_count++;
  lua_pushboolean(L, 1);
  return 1;
}

// e:acted(call, ok, message): what came of it; a call that nobody waits for any more is passed
// over.
static int engine_acted(lua_State *L) {
  lua_engine *e = tm_lua_check_live(L);
  int64_t now_ns = tm_runner_now_ns(e->runner);
  uint64_t call = (uint64_t)luaL_checkinteger(L, 2);
  bool ok = lua_toboolean(L, 3);
  tm_engine_advance(e->engine, now_ns);
  tm_actions_done(tm_engine_actions(e->engine), now_ns, call, ok ? TM_OK : TM_E_IO,
                  luaL_optstring(L, 4, ""));
  return 0;
}

const luaL_Reg tm_lua_act_methods[] = {
    {"action", engine_action}, {"acted", engine_acted}, {NULL, NULL}};
