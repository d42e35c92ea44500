// tidemark: starts a Lua state with the embedded tree as its library and hands over to
// tidemark.cli.
//
// `tidemark lua FILE ARGS...` runs a script in the same state, as a stock `lua5.4` would: so the
// specs run inside the very binary that the sanitizers watch.
#include "host/lua_core.h"

#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
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

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  lua_State *L = luaL_newstate();
  if (!L) {
    fprintf(stderr, "tidemark: out of memory\n");
    return EXIT_INTERNAL;
  }
  luaL_openlibs(L);
  tm_lua_open_library(L);
  bool script = argc > 1 && strcmp(argv[1], "lua") == 0;
  int code = script ? run_script(L, argc, argv) : run_cli(L, argc, argv);
  fflush(stdout);
  lua_close(L);
  return code;
}
