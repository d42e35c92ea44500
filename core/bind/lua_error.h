// The world's mistakes as Lua sees them: nil and an error table.
#ifndef TM_BIND_LUA_ERROR_H
#define TM_BIND_LUA_ERROR_H

#include "base/ctx.h"

#include <lua.h>

// Registry field with a light userdata, an atomic_bool: while it is set, calls that work on models
// end with TM_E_CANCELLED. Absent: they cannot be cancelled.
#define TM_LUA_CANCEL "tidemark.cancel"

// Pushes nil, {code=, message=, advice=, offset=} for the ctx's error; answers 2, so that a C
// function can return it. The table prints as its message.
int tm_lua_failed(lua_State *L, const tm_ctx *ctx);

// Pushes the error table alone.
void tm_lua_push_error(lua_State *L, const tm_error *error);

#endif
