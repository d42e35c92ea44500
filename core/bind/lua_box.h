// What models in Lua share: userdata with methods, which are freed once, and fields of the file
// that they came from.
#ifndef TM_BIND_LUA_BOX_H
#define TM_BIND_LUA_BOX_H

#include "model/snapshot.h"

#include <lauxlib.h>

// Makes the metatable of that name, if it is new, and leaves it on the stack. __index has the
// methods of all lists (ended by NULL) and the metatable as upvalues, so that finding a field looks
// nothing up by name; __gc and __close are `close`; __tostring and __len may be NULL.
void tm_lua_make_meta(lua_State *L, const char *name, const luaL_Reg *const *lists,
                      lua_CFunction index, lua_CFunction close, lua_CFunction tostring,
                      lua_CFunction len);

// In __index and __len of such a metatable: the userdata at 1, or Lua's argument error.
void *tm_lua_indexed(lua_State *L, const char *name);

// In an __index: pushes the method that the key at 2 names and answers true, or pushes nothing.
bool tm_lua_find_method(lua_State *L);

// In an __index: the method or field of a snapshot; kind: what it calls itself.
int tm_lua_snapshot_index(lua_State *L, const tm_snapshot *s, const char *kind);

#endif
