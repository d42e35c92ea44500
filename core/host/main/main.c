// tidemark: starts a Lua state with the embedded tree as its library and hands over to
// tidemark.cli.
//
// `tidemark lua FILE ARGS...` runs a script in the same state, as a stock `lua5.4` would: so the
// specs run inside the very binary that the sanitizers watch.
#include "host/lua_core.h"

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_INTERNAL = 70 };

static int traceback(lua_State *L) {
  const char *text = lua_tostring(L, 1);
  if (!text) text = luaL_tolstring(L, 1, NULL);
  if (getenv("TIDEMARK_DEBUG"))
    luaL_traceback(L, L, text, 1);
  else
    lua_pushstring(L, text);
  return 1;
}

static void push_arguments(lua_State *L, int argc, char **argv, int from) {
  lua_createtable(L, argc - from, 1);
  for (int i = from; i < argc; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - from);
  }
}

static int run_script(lua_State *L, int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: tidemark lua FILE [ARGS...]\n");
    return 2;
  }
  push_arguments(L, argc, argv, 2);
  lua_setglobal(L, "arg");
  lua_pushcfunction(L, traceback);
  if (luaL_loadfile(L, argv[2]) != LUA_OK) {
    fprintf(stderr, "tidemark: %s\n", lua_tostring(L, -1));
    return 2;
  }
  for (int i = 3; i < argc; i++) lua_pushstring(L, argv[i]);
  if (lua_pcall(L, argc - 3, 0, 1) == LUA_OK) return 0;
  fprintf(stderr, "tidemark: %s\n", lua_tostring(L, -1));
  return 1;
}

static int run_cli(lua_State *L, int argc, char **argv) {
  lua_pushcfunction(L, traceback);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "tidemark.cli");
  if (lua_pcall(L, 1, 1, 1) == LUA_OK) {
    lua_getfield(L, -1, "main");
    push_arguments(L, argc, argv, 0);
    if (lua_pcall(L, 1, 1, 1) == LUA_OK)
      return lua_isinteger(L, -1) ? (int)lua_tointeger(L, -1) : 0;
  }
  fprintf(stderr, "tidemark: internal error: %s\n", lua_tostring(L, -1));
  return EXIT_INTERNAL;
}

// ---- Ctrl-C in a running Lua line, for the REPL ----

// A signal handler knows nothing but statics. This is the program, not the library: there is one.
static struct {
  lua_State *volatile running; // the coroutine that is to be stopped
  volatile sig_atomic_t hits;
  atomic_bool cancel; // what long work in C looks at
  struct sigaction before;
} interrupt;

static void stop_running(lua_State *L, lua_Debug *ar) {
  (void)ar; // the hook stays: what catches the error is stopped at its next step
  luaL_error(L, "interrupted");
}

static void stop_at_next_step(lua_State *L) {
  lua_sethook(L, stop_running, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

static void on_interrupt(int number) {
  atomic_store(&interrupt.cancel, true);
  interrupt.hits++;
  if (!interrupt.running) return; // kept for the next that enters
  if (interrupt.hits >= 3) {      // it does not listen: as if nobody caught the signal
    signal(number, SIG_DFL);
    raise(number);
  }
  stop_at_next_step(interrupt.running);
}

// Loops install handlers of their own, so this is asked for again whenever something runs.
static void hold_signal(void) {
  struct sigaction ours = {.sa_handler = on_interrupt}, found;
  sigaction(SIGINT, &ours, &found);
  if (found.sa_handler != on_interrupt) interrupt.before = found;
}

static void forget_hits(void) {
  interrupt.hits = 0;
  atomic_store(&interrupt.cancel, false);
}

// catch(yes): SIGINT no longer ends the program; it stops what has entered.
static int interrupt_catch(lua_State *L) {
  forget_hits();
  if (lua_toboolean(L, 1))
    hold_signal();
  else
    sigaction(SIGINT, &interrupt.before, NULL);
  return 0;
}

// enter(co): from now on SIGINT stops co. Answers the one before, for leave.
static int interrupt_enter(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTHREAD);
  lua_State *before = interrupt.running;
  hold_signal();
  interrupt.running = lua_tothread(L, 1);
  if (interrupt.hits > 0) stop_at_next_step(interrupt.running);
  if (!before) return 0;
  lua_pushthread(before);
  lua_xmove(before, L, 1);
  return 1;
}

// leave(co, before) -> true when it was interrupted.
static int interrupt_leave(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTHREAD);
  lua_State *before = lua_tothread(L, 2);
  bool hit = interrupt.hits > 0;
  interrupt.running = before;
  lua_sethook(lua_tothread(L, 1), NULL, 0, 0);
  if (hit && before)
    stop_at_next_step(before); // who resumed it is stopped too
  else
    forget_hits();
  lua_pushboolean(L, hit);
  return 1;
}

static int open_interrupt(lua_State *L) {
  static const luaL_Reg functions[] = {{"catch", interrupt_catch},
                                       {"enter", interrupt_enter},
                                       {"leave", interrupt_leave},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushlightuserdata(L, &interrupt.cancel);
  lua_setfield(L, LUA_REGISTRYINDEX, TM_LUA_CANCEL);
  return 1;
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  lua_State *L = luaL_newstate();
  if (!L) {
    fprintf(stderr, "tidemark: out of memory\n");
    return EXIT_INTERNAL;
  }
  luaL_openlibs(L);
  tm_lua_open_library(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, open_interrupt);
  lua_setfield(L, -2, "tidemark.interrupt");
  lua_pop(L, 1);
  bool script = argc > 1 && strcmp(argv[1], "lua") == 0;
  int code = script ? run_script(L, argc, argv) : run_cli(L, argc, argv);
  fflush(stdout);
  lua_close(L);
  return code;
}
