// See lua_box.h. A field costs two raw lookups and a comparison of metatables; luaL_checkudata and
// lua_getfield would each make a string first.
#include "bind/lua_box.h"

#include <string.h>

enum { METHODS = 1, META = 2 }; // upvalues of __index; __len has the second

static void set_function(lua_State *L, int meta, const char *name, lua_CFunction fn) {
  if (!fn) return;
  lua_pushcfunction(L, fn);
  lua_setfield(L, meta, name);
}

void tm_lua_make_meta(lua_State *L, const char *name, const luaL_Reg *const *lists,
                      lua_CFunction index, lua_CFunction close, lua_CFunction tostring,
                      lua_CFunction len) {
  if (!luaL_newmetatable(L, name)) return;
  int meta = lua_gettop(L);
  set_function(L, meta, "__gc", close);
  set_function(L, meta, "__close", close);
  set_function(L, meta, "__tostring", tostring);
  if (len) {
    lua_pushnil(L);
    lua_pushvalue(L, meta);
    lua_pushcclosure(L, len, META);
    lua_setfield(L, meta, "__len");
  }
  lua_newtable(L);
  for (; *lists; lists++) luaL_setfuncs(L, *lists, 0);
  lua_pushvalue(L, meta);
  lua_pushcclosure(L, index, META);
  lua_setfield(L, meta, "__index");
}

void *tm_lua_indexed(lua_State *L, const char *name) {
  void *box = lua_touserdata(L, 1);
  if (box && lua_getmetatable(L, 1)) {
    bool same = lua_rawequal(L, -1, lua_upvalueindex(META));
    lua_pop(L, 1);
    if (same) return box;
  }
  return luaL_checkudata(L, 1, name); // which raises
}

bool tm_lua_find_method(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(METHODS)) != LUA_TNIL) return true;
  lua_pop(L, 1);
  return false;
}

int tm_lua_snapshot_index(lua_State *L, const tm_snapshot *s, const char *kind) {
  const char *key = luaL_checkstring(L, 2);
  if (*key == 'k' && strcmp(key, "kind") == 0)
    lua_pushstring(L, kind);
  else if (*key == 'f' && strcmp(key, "format") == 0)
    lua_pushstring(L, s->format);
  else if (*key == 'p' && strcmp(key, "partial") == 0)
    lua_pushboolean(L, s->partial);
  else if (*key == 'p' && s->partial && strcmp(key, "problem") == 0)
    lua_pushstring(L, s->problem.message);
  else
    return tm_lua_find_method(L);
  return 1;
}
