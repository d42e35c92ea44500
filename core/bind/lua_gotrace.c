// Go execution traces as files, for trusted Lua: core.check_trace(path or {bytes=}) says whether a
// trace is whole and in order.
#include "bind/lua_error.h"
#include "bind/lua_model.h"
#include "read/gotrace.h"

#include <lauxlib.h>

// Opens what stands at index 1. Nothing may raise until it is closed again.
static tm_status open_source(lua_State *L, tm_ctx *ctx, tm_source *src) {
  if (!lua_istable(L, 1)) return tm_source_open(ctx, lua_tostring(L, 1), src);
  size_t size = 0;
  lua_getfield(L, 1, "bytes");
  const char *bytes = lua_tolstring(L, -1, &size);
  return tm_source_from_buffer(ctx, bytes, bytes ? size : 0, src);
}

static void check_argument(lua_State *L) {
  if (lua_istable(L, 1)) {
    luaL_argcheck(L, lua_getfield(L, 1, "bytes") == LUA_TSTRING, 1, "bytes are needed");
    lua_pop(L, 1);
  } else {
    luaL_argcheck(L, lua_type(L, 1) == LUA_TSTRING, 1, "a path is needed");
  }
  lua_settop(L, 1);
}

static void set_count(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

// core.check_trace(path or {bytes=}) -> { valid=, problem=, offset=, events=, … }; nil, err
int tm_lua_check_trace(lua_State *L) {
  static const char *const states[] = {NULL, "runnable", "running", "syscall", "waiting"};
  check_argument(L);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_gotrace_verdict v;
  tm_source src;
  tm_status status = open_source(L, &work->ctx, &src);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  status = tm_gotrace_check(&work->ctx, &src, &v);
  tm_source_close(&src);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_createtable(L, 0, 16);
  lua_pushboolean(L, v.valid);
  lua_setfield(L, -2, "valid");
  if (!v.valid) {
    lua_pushstring(L, v.problem.message);
    lua_setfield(L, -2, "problem");
    if (v.problem.offset_bytes != TM_NO_OFFSET) set_count(L, "offset", v.problem.offset_bytes);
  }
  set_count(L, "format_version", v.format_version);
  set_count(L, "generations", v.generation_count);
  set_count(L, "batches", v.batch_count);
  set_count(L, "duplicates", v.duplicate_count);
  set_count(L, "events", v.event_count);
  set_count(L, "waited", v.waited_count);
  set_count(L, "created", v.created_count);
  set_count(L, "ended", v.ended_count);
  uint64_t alive = v.state_count[TM_GO_UNKNOWN];
  for (size_t i = 1; i < TM_GO_STATE_COUNT; i++) {
    set_count(L, states[i], v.state_count[i]);
    alive += v.state_count[i];
  }
  set_count(L, "alive", alive);
  return 1;
}
