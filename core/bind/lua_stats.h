// Statistics over plain Lua lists, for trusted Lua: what a gate compares two groups of runs with.
#ifndef TM_BIND_LUA_STATS_H
#define TM_BIND_LUA_STATS_H

#include <lua.h>

// Adds core.median(list) -> number or nil, and core.mann_whitney(a, b) -> p, u (one-sided: "b is
// greater"; nil when one of them is empty) to the table on top of the stack.
void tm_lua_add_stats(lua_State *L);

#endif
