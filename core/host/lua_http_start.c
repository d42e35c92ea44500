// core.http_start: a request on the loop of the console or of an engine, so that the REPL's line
// waits while sampling goes on. The call is a userdata that the registry holds until it is over.
#include "host/lua_console.h"
#include "host/lua_engine.h"
#include "host/lua_http.h"

#include <lauxlib.h>

#define CALL_META "tidemark.HttpCall"

typedef struct http_call {
  tm_ctx ctx;
  tm_http_call *call; // NULL = over
  lua_State *L;       // main thread of the state
  int self_ref, fn_ref;
  tm_console *console; // NULL: an engine; either is held by the userdata's user value
} http_call;

static void end_call(http_call *c) {
  luaL_unref(c->L, LUA_REGISTRYINDEX, c->self_ref);
  luaL_unref(c->L, LUA_REGISTRYINDEX, c->fn_ref);
  c->self_ref = c->fn_ref = LUA_NOREF;
  c->call = NULL;
}

// (call, result) -> fn(answer) or fn(nil, err); protected, since the loop must go on.
static int deliver(lua_State *L) {
  http_call *c = lua_touserdata(L, 1);
  tm_http_result *result = lua_touserdata(L, 2);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->fn_ref);
  if (result->status == TM_OK) {
    tm_lua_push_http_answer(L, result);
    lua_pushnil(L);
  } else {
    tm_fail(&c->ctx, result->status, TM_NO_OFFSET, "%s", result->message);
    tm_lua_failed(L, &c->ctx);
  }
  lua_call(L, 2, 0);
  return 0;
}

static void on_done(void *ud, tm_http_result *result) {
  http_call *c = ud;
  lua_State *L = c->L;
  tm_console *console = c->console;
  c->call = NULL;
  lua_pushcfunction(L, deliver);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->self_ref);
  lua_pushlightuserdata(L, result);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) lua_pop(L, 1); // fn is our own; it does not raise
  end_call(c);
  if (console) tm_console_wake(console);
}

static int call_cancel(lua_State *L) {
  http_call *c = luaL_checkudata(L, 1, CALL_META);
  if (c->call) {
    tm_http_cancel(c->call);
    end_call(c);
  }
  return 0;
}

static int call_gc(lua_State *L) {
  http_call *c = lua_touserdata(L, 1);
  if (c->call) tm_http_cancel(c->call);
  c->call = NULL;
  tm_ctx_fini(&c->ctx);
  return 0;
}

// core.http_start(request, console | engine, fn) -> call | nil, err. fn(answer | nil, err) is
// called once from the loop, unless call:cancel() comes first: before an engine is closed, its
// calls must be over. Bodies go into memory.
static int core_http_start(lua_State *L) {
  tm_http_header headers[TM_LUA_HTTP_HEADERS];
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  lua_settop(L, 3);
  const lua_engine *engine = luaL_testudata(L, 2, ENGINE_META);
  tm_console *console = engine ? NULL : tm_lua_check_console(L, 2);
  if (engine && (engine->closed || !engine->runner)) return luaL_error(L, "the engine has no loop");
  uv_loop_t *loop = engine ? tm_runner_loop(engine->runner) : tm_console_loop(console);
  tm_http_request request = tm_lua_http_request(L, headers);
  http_call *c = lua_newuserdatauv(L, sizeof *c, 1);
  *c = (http_call){.self_ref = LUA_NOREF, .fn_ref = LUA_NOREF, .console = console};
  tm_ctx_init(&c->ctx, NULL);
  luaL_setmetatable(L, CALL_META);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  c->L = lua_tothread(L, -1);
  lua_pop(L, 1);
  if (tm_http_start(&c->ctx, loop, &request, on_done, c, &c->call) != TM_OK)
    return tm_lua_failed(L, &c->ctx);
  lua_pushvalue(L, 3);
  c->fn_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, -1);
  c->self_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 1;
}

void tm_lua_add_http_start(lua_State *L) {
  static const luaL_Reg methods[] = {{"cancel", call_cancel}, {NULL, NULL}};
  luaL_newmetatable(L, CALL_META);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, call_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_pushcfunction(L, core_http_start);
  lua_setfield(L, -2, "http_start");
}
