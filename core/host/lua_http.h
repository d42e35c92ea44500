// Private to lua_http*.c: a request as Lua writes it, and an answer as Lua reads it.
#ifndef TM_HOST_LUA_HTTP_H
#define TM_HOST_LUA_HTTP_H

#include "net/http_client.h"

#include <lua.h>

enum { TM_LUA_HTTP_HEADERS = 64 };

// The request in the table at stack index 1, which keeps its texts alive. Raises for unknown
// options and wrong types. headers: the caller's, for as long as the request is used.
tm_http_request tm_lua_http_request(lua_State *L, tm_http_header headers[TM_LUA_HTTP_HEADERS]);

// Pushes {status=, body=, bytes=, headers={}, total_ns=}. May raise when Lua has no memory.
void tm_lua_push_http_answer(lua_State *L, const tm_http_result *result);

#endif
