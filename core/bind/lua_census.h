// Looks at the goroutines of live processes, for trusted Lua.
#ifndef TM_BIND_LUA_CENSUS_H
#define TM_BIND_LUA_CENSUS_H

#include <lua.h>

// Adds core.go_census to the table on top of the stack.
void tm_lua_add_census(lua_State *L);

#endif
