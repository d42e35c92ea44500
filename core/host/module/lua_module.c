// `require "tidemark"` in a stock Lua 5.4: the module's C half finds the Lua half in itself. Lua's
// own functions come from the program that loads it.
#include "host/lua_core.h"

#include <lauxlib.h>

TM_API int luaopen_tidemark(lua_State *L);
TM_API int luaopen_tidemark_core(lua_State *L);

// The searcher of embedded modules stands behind preload: from now on every `require "tidemark.x"`
// ends there.
static void open_once(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  bool known = lua_getfield(L, -1, "tidemark.core") != LUA_TNIL;
  lua_pop(L, 2);
  if (!known) tm_lua_open_library(L);
}

int luaopen_tidemark_core(lua_State *L) {
  open_once(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_getfield(L, -1, "tidemark.core");
  lua_pushliteral(L, "tidemark.core");
  lua_call(L, 1, 1);
  return 1;
}

int luaopen_tidemark(lua_State *L) {
  open_once(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L,
                  "tidemark.init"); // lua/tidemark/init.lua, under a name that is not being loaded
  lua_call(L, 1, 1);
  return 1;
}
