// Private to lua_console.c and what runs on its loop.
#ifndef TM_HOST_LUA_CONSOLE_H
#define TM_HOST_LUA_CONSOLE_H

#include "host/lua_core.h"

#include <uv.h>

typedef struct console tm_console;

// The console at a stack index; raises when it is none or closed.
tm_console *tm_lua_check_console(lua_State *L, int index);

// The loop that runs while the console waits: its own, or the bound engine's.
uv_loop_t *tm_console_loop(const tm_console *console);

// Ends that wait soon; nothing when the console is closed. Loop's thread.
void tm_console_wake(tm_console *console);

// Add core.http_start and core.read_start to the table on top of the stack.
void tm_lua_add_http_start(lua_State *L);
void tm_lua_add_read_start(lua_State *L);

#endif
