// Private to what lua_capture*.c share: a call that waits under Ctrl-C, with progress.
#ifndef TM_HOST_LUA_CAPTURE_H
#define TM_HOST_LUA_CAPTURE_H

#include "base/ctx.h"

#include <lua.h>
#include <signal.h>

// Lives on the C stack around calls that wait. While it stands, SIGINT, SIGTERM and the REPL's
// cancel end the call with TM_E_CANCELLED.
typedef struct tm_lua_waiting {
  tm_ctx ctx;
  lua_State *L;
  int progress; // stack index of the function(bytes), 0 = none
  bool failed;  // it raised: its message is on top of the stack
  uint64_t told_ns;
  atomic_bool cancel;
  const atomic_bool *outer; // of the REPL; may be NULL
  sigset_t old_mask;
} tm_lua_waiting;

// options: index of a table whose progress is a function, or nil. Leaves that function on the
// stack.
void tm_lua_wait_begin(lua_State *L, int options, tm_lua_waiting *w);

// Frees the ctx's scratch memory and gives signals back; raises what progress raised. The error of
// the ctx stays readable.
void tm_lua_wait_end(tm_lua_waiting *w);

// Adds core.pause, jvm, jvm_find, websocket to the table on top of the stack.
void tm_lua_add_capture(lua_State *L);

// Adds core.private_folder, move_private, remove_folder, disk_free, ports, ask_inspector.
void tm_lua_add_private(lua_State *L);

// Adds core.malloc_agent, malloc_keeper, inject.
void tm_lua_add_agent(lua_State *L);

// Adds core.redact.
void tm_lua_add_redact(lua_State *L);

#endif
