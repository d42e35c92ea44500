// Call paths by the code that they are charged to, for trusted Lua: hotspots and gates.
#ifndef TM_BIND_LUA_SITES_H
#define TM_BIND_LUA_SITES_H

#include <lua.h>

// Adds core.sites{...} and core.frame_kind(name, file) to the table on top of the stack.
void tm_lua_add_sites(lua_State *L);

#endif
