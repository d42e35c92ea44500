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
void tm_lua_add_engine(lua_State *L);  // core.engine{...}, core.rules_test
void tm_lua_add_system(lua_State *L);  // processes, signals, doctor, units, hashes, files, terminal
void tm_lua_add_console(lua_State *L); // core.console: the line editor on the terminal; core.width
void tm_lua_add_net(lua_State *L);     // core.http, json_decode, listener(s), https

// core.http{url=, method=, body=, headers={}, timeout_ns=, max_body_bytes=, host_header=, ca_file=,
//   file=, progress=} -> {status=, body=, bytes=, headers={}, total_ns=} | nil, err
// file: the body of a 200 that is no web page goes there instead of into body: 0600, whole or not
// at all; links and devices are written through, "-" is standard output. progress is called five
// times a second with the bytes so far and the total or nil. With either, SIGINT and SIGTERM end
// the request: err.code is "cancelled".
int tm_lua_http(lua_State *L);

// core.listeners(pid) -> { "http://127.0.0.1:6060", "http://[::1]:80", "unix:/run/app.sock" } |
// nil, "gone" | "permission": where a process listens on this machine, reachable over loopback: TCP
// first, then unix sockets that have a path.
int tm_lua_listeners(lua_State *L);

#endif
