// The module searcher and the core module's table.
#include "host/lua_core.h"

#include "bind/lua_account.h"
#include "bind/lua_census.h"
#include "bind/lua_leaks.h"
#include "bind/lua_model.h"
#include "bind/lua_sites.h"
#include "bind/lua_stats.h"
#include "bind/lua_symbol.h"
#include "host/embedded.h"
#include "host/lua_capture.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// "tidemark.cli.watch" -> "lua/tidemark/cli/watch.lua" or ".../init.lua"
static int find_embedded(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  if (strncmp(name, "tidemark", 8) != 0) {
    lua_pushfstring(L, "no embedded module '%s'", name);
    return 1;
  }
  char base[160], path[200];
  size_t n = 0;
  for (; name[n] && n + 1 < sizeof base; n++) base[n] = name[n] == '.' ? '/' : name[n];
  base[n] = '\0';
  static const char *const endings[] = {".lua", "/init.lua"};
  const char *tree = getenv("TIDEMARK_LUA");
  for (size_t i = 0; i < TM_COUNT(endings); i++) {
    snprintf(path, sizeof path, "lua/%s%s", base, endings[i]);
    const tm_embedded_file *file = tm_embedded_find(path);
    if (tree) {
      char outside[600];
      snprintf(outside, sizeof outside, "%s/%s%s", tree, base, endings[i]);
      if (luaL_loadfilex(L, outside, "t") == LUA_OK) {
        lua_pushstring(L, outside);
        return 2;
      }
      if (file) return luaL_error(L, "%s", lua_tostring(L, -1));
      lua_pop(L, 1);
    }
    if (!file) continue;
    char chunk[220];
    snprintf(chunk, sizeof chunk, "@%s", path);
    if (luaL_loadbufferx(L, file->start, (size_t)(file->end - file->start), chunk, "t") != LUA_OK)
      return lua_error(L);
    lua_pushstring(L, path);
    return 2;
  }
  lua_pushfstring(L, "no embedded module '%s'", name);
  return 1;
}

static int core_embedded(lua_State *L) { // path -> text or nil; no argument: list of paths
  if (lua_isnoneornil(L, 1)) {
    lua_newtable(L);
    lua_Integer n = 0;
    for (const tm_embedded_file *file = tm_embedded_files; file->path; file++) {
      lua_pushstring(L, file->path);
      lua_rawseti(L, -2, ++n);
    }
    return 1;
  }
  const tm_embedded_file *file = tm_embedded_find(luaL_checkstring(L, 1));
  if (!file) return 0;
  lua_pushlstring(L, file->start, (size_t)(file->end - file->start));
  return 1;
}

static int open_core(lua_State *L) {
  lua_newtable(L);
  lua_pushliteral(L, TM_VERSION);
  lua_setfield(L, -2, "version");
  lua_pushcfunction(L, core_embedded);
  lua_setfield(L, -2, "embedded");
  tm_lua_add_system(L);
  tm_lua_add_net(L);
  tm_lua_add_capture(L);
  tm_lua_add_private(L);
  tm_lua_add_agent(L);
  tm_lua_add_console(L);
  tm_lua_add_engine(L);
  tm_lua_add_models(L);
  tm_lua_add_sites(L);
  tm_lua_add_symbols(L);
  tm_lua_add_account(L);
  tm_lua_add_census(L);
  tm_lua_add_leaks(L);
  tm_lua_add_stats(L);
  return 1;
}

void tm_lua_open_library(lua_State *L) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
  for (lua_Integer i = n; i >= 2; i--) { // ours comes second, behind preload
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushcfunction(L, find_embedded);
  lua_rawseti(L, -2, 2);
  lua_pop(L, 1);
  lua_getfield(L, -1, "preload");
  lua_pushcfunction(L, open_core);
  lua_setfield(L, -2, "tidemark.core");
  lua_pop(L, 2);
}
