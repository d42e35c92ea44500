// Sites of a native heap, who holds their blocks and what is lost, for trusted Lua.
#ifndef TM_BIND_LUA_LEAKS_H
#define TM_BIND_LUA_LEAKS_H

#include <lua.h>

// Adds core.native_sites to the table on top of the stack.
void tm_lua_add_leaks(lua_State *L);

#endif
