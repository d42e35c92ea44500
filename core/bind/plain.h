// Plain data between Lua states: nil, booleans, numbers, strings and tables of them, as bytes. What
// a rule keeps in c.state crosses a reload this way; functions, userdata, cycles and metatables do
// not.
#ifndef TM_BIND_PLAIN_H
#define TM_BIND_PLAIN_H

#include "base/bytes.h"

#include <lua.h>

enum { TM_PLAIN_DEPTH = 16, TM_PLAIN_BYTES = 256 * 1024 };

// Appends the value at index. TM_E_ARG names what is not plain ("a function at .seen.callback");
// TM_E_LIMIT past TM_PLAIN_BYTES or TM_PLAIN_DEPTH. Raises no Lua error.
TM_NODISCARD tm_status tm_plain_write(tm_ctx *ctx, lua_State *L, int index, tm_bytes *out);

// Pushes the value. Raises Lua's memory error; call it protected. TM_E_FORMAT (nothing pushed) for
// damaged bytes.
TM_NODISCARD tm_status tm_plain_push(tm_ctx *ctx, lua_State *L, const uint8_t *bytes, size_t size);

#endif
