// Native code for trusted Lua: functions and lines for profiles that lack them, and the binaries
// under disasm and weblist.
#ifndef TM_BIND_LUA_SYMBOL_H
#define TM_BIND_LUA_SYMBOL_H

#include "analyze/focus.h"

#include <lua.h>

// Adds core.symbolize and core.go_layout to the table on top of the stack.
void tm_lua_add_symbols(lua_State *L);

// For the verbs that show native code: pushes a userdata that holds the profile's binaries, found
// as the options table at index says (binary, binary_path), and points o->code at them. Pushes nil
// for other verbs. May raise.
void tm_lua_push_code(lua_State *L, const tm_profile *profile, const char *verb, int index,
                      tm_report_options *o);

#endif
