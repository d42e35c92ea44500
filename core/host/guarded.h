// The library that rules see: stock Lua where stock Lua is safe, and replacements for functions
// that can run long inside one VM instruction, grow without bound, or change what others rely on.
#ifndef TM_HOST_GUARDED_H
#define TM_HOST_GUARDED_H

#include <lua.h>

// Fills the state's global table (for Lua code of the host) and pushes a fresh environment for
// rules with the same functions, libraries read-only. Raises on lack of memory. Once per state.
void tm_guarded_open(lua_State *L);

// Seeds math.random of this state.
void tm_guarded_seed(lua_State *L, lua_Integer seed);

// Replaces the table on top of the stack by an empty one that shows it (index, pairs) and refuses
// changes. Tables inside of it are not covered.
void tm_guarded_freeze(lua_State *L);

// string.find, match, gmatch, gsub with stock semantics; backtracking is paid for in
// tm_sandbox_spend and ends with "pattern too complex" after 100 million steps.
// Source: Lua 5.4 reference manual, section 6.4.1.
int tm_guarded_find(lua_State *L);
int tm_guarded_match(lua_State *L);
int tm_guarded_gmatch(lua_State *L);
int tm_guarded_gsub(lua_State *L);

#endif
