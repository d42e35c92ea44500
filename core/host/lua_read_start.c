// core.read_start: a file read on a worker thread, so that keys and sampling go on. The worker has
// a ctx of its own and touches no Lua; the model is handed to Lua when the loop hears that it is
// done.
#include "bind/lua_model.h"
#include "host/lua_console.h"
#include "read/reader.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#define READ_META "tidemark.ReadCall"

typedef struct read_call {
  uv_work_t work;
  tm_ctx ctx;
  atomic_bool cancel;
  tm_status status;
  tm_snapshot snapshot;
  char *path, *format; // owned; format NULL = by evidence
  lua_State *L;        // main thread of the state
  int self_ref, fn_ref;
  tm_console *console; // held by the userdata's user value
} read_call;

static void read_file(uv_work_t *work) { // worker
  read_call *c = work->data;
  c->status = tm_read_file(&c->ctx, c->path, c->format, &c->snapshot);
}

// (call) -> fn(model [, err]) or fn(nil, err); protected, since the loop must go on.
static int deliver(lua_State *L) {
  read_call *c = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->fn_ref);
  if (!c->snapshot.model) {
    lua_call(L, tm_lua_failed(L, &c->ctx), 0);
    return 0;
  }
  if (c->snapshot.kind == TM_KIND_GRAPH) {
    tm_lua_push_graph(L, &c->snapshot);
  } else if (c->snapshot.kind == TM_KIND_TRACE) {
    tm_lua_push_trace(L, &c->snapshot);
  } else if (c->snapshot.kind == TM_KIND_TIMELINE) {
    tm_lua_push_timeline(L, &c->snapshot);
  } else {
    tm_snapshot *to = tm_lua_push_snapshot(L);
    *to = c->snapshot;
    c->snapshot = (tm_snapshot){0};
  }
  if (c->status == TM_OK)
    lua_pushnil(L);
  else
    tm_lua_push_error(L, &c->ctx.error);
  lua_call(L, 2, 0);
  return 0;
}

static void on_read(uv_work_t *work, int status) {
  read_call *c = work->data;
  lua_State *L = c->L;
  if (status != 0) c->status = tm_fail(&c->ctx, TM_E_CANCELLED, TM_NO_OFFSET, "cancelled");
  lua_pushcfunction(L, deliver);
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->self_ref);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1); // fn is the REPL's own; it does not raise
  luaL_unref(L, LUA_REGISTRYINDEX, c->fn_ref);
  luaL_unref(L, LUA_REGISTRYINDEX, c->self_ref);
  tm_console_wake(c->console);
}

static int call_cancel(lua_State *L) { // the answer comes all the same: cancelled, or done
  read_call *c = luaL_checkudata(L, 1, READ_META);
  atomic_store(&c->cancel, true);
  return 0;
}

static int call_gc(lua_State *L) { // never while the worker runs: the registry holds the call then
  read_call *c = lua_touserdata(L, 1);
  tm_snapshot_fini(&c->snapshot);
  free(c->path);
  free(c->format);
  c->path = c->format = NULL;
  tm_ctx_fini(&c->ctx);
  return 0;
}

// core.read_start(path, format | nil, console, fn) -> call. fn(model [, err]) or fn(nil, err) is
// called once from the loop.
static int core_read_start(lua_State *L) {
  const char *path = luaL_checkstring(L, 1), *format = luaL_optstring(L, 2, NULL);
  luaL_checktype(L, 4, LUA_TFUNCTION);
  lua_settop(L, 4);
  tm_console *console = tm_lua_check_console(L, 3);
  read_call *c = lua_newuserdatauv(L, sizeof *c, 1);
  memset(c, 0, sizeof *c);
  tm_ctx_init(&c->ctx, NULL);
  c->ctx.cancel = &c->cancel;
  luaL_setmetatable(L, READ_META);
  c->path = strdup(path);
  c->format = format ? strdup(format) : NULL;
  if (!c->path || (format && !c->format)) return luaL_error(L, "out of memory");
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, 1);
  c->console = console;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  c->L = lua_tothread(L, -1);
  lua_pop(L, 1);
  lua_pushvalue(L, 4);
  c->fn_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushvalue(L, -1);
  c->self_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  c->work.data = c;
  uv_queue_work(tm_console_loop(console), &c->work, read_file, on_read);
  return 1;
}

void tm_lua_add_read_start(lua_State *L) {
  static const luaL_Reg methods[] = {{"cancel", call_cancel}, {NULL, NULL}};
  luaL_newmetatable(L, READ_META);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, call_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_pushcfunction(L, core_read_start);
  lua_setfield(L, -2, "read_start");
}
