// One shape for all errors, so that `assert(core.read(file))` reads well.
#include "bind/lua_error.h"

#include <lauxlib.h>

static int error_tostring(lua_State *L) {
  lua_getfield(L, 1, "message");
  return 1;
}

void tm_lua_push_error(lua_State *L, const tm_error *error) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, tm_status_name(error->status));
  lua_setfield(L, -2, "code");
  lua_pushstring(L, error->message);
  lua_setfield(L, -2, "message");
  lua_pushstring(L, tm_status_advice(error->status));
  lua_setfield(L, -2, "advice");
  if (error->offset_bytes != TM_NO_OFFSET) {
    lua_pushinteger(L, (lua_Integer)error->offset_bytes);
    lua_setfield(L, -2, "offset");
  }
  if (luaL_newmetatable(L, "tidemark.Error")) {
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
  }
  lua_setmetatable(L, -2);
}

int tm_lua_failed(lua_State *L, const tm_ctx *ctx) {
  lua_pushnil(L);
  tm_lua_push_error(L, &ctx->error);
  return 2;
}
