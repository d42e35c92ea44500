// JSON text to Lua values.
#ifndef TM_HOST_LUA_JSON_H
#define TM_HOST_LUA_JSON_H

#include "base/ctx.h"

#include <lua.h>

enum { TM_LUA_JSON_DEPTH = 64 }; // open objects and arrays; deeper is an error

// core.json_decode(text) -> value | nil, err. err.offset is the byte where reading stopped. Whole
// numbers within 64 bits are integers, others floats. A null in an object is an absent key; in an
// array, or alone, it is core.json_null. Of equal keys the last one counts. Lone surrogates become
// U+FFFD; other bytes of strings are taken as they are. Source: RFC 8259.
int tm_lua_json_decode(lua_State *L);

// The same for C: pushes the value of a text that ends with a NUL at text[size]. A failure
// (TM_E_FORMAT) leaves more or less on the stack; may raise for want of memory. The caller made
// room for 2 * TM_LUA_JSON_DEPTH + 16 values.
TM_NODISCARD tm_status tm_lua_json_push(lua_State *L, tm_ctx *ctx, const char *text, size_t size);

#endif
