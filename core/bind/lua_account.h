// core.account for trusted Lua.
#ifndef TM_BIND_LUA_ACCOUNT_H
#define TM_BIND_LUA_ACCOUNT_H

#include <lua.h>

// Adds `account` and `owners` to the table on the stack's top.
void tm_lua_add_account(lua_State *L);

#endif
