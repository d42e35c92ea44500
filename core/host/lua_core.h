// The library of trusted Lua: the command line, the REPL and scripts. `require "tidemark.core"` is
// C (lua_engine.c, lua_system.c); `require "tidemark.x"` comes from the embedded tree, or from
// $TIDEMARK_LUA while one works on it.
#ifndef TM_HOST_LUA_CORE_H
#define TM_HOST_LUA_CORE_H

#include "base/ctx.h"
#include "bind/lua_error.h"

#include <lua.h>

// Puts the searcher of embedded modules and the core module into a fresh state.
void tm_lua_open_library(lua_State *L);

// Adds functions to the table on top of the stack.
void tm_lua_add_engine(lua_State *L); // core.engine{...}, core.rules_test
void tm_lua_add_system(lua_State *L); // processes, signals, doctor, units, hashes, files, terminal
void tm_lua_add_net(lua_State *L);    // core.http

#endif
