// Debian's static Lua is compiled for programs: it reads stdin, stdout and stderr in a way that a
// shared library cannot. cmake/library.cmake renames them in a copy of it to these, which are set
// when the library is loaded and never again. Only code that rules cannot reach would use them.
#include <stdio.h>

extern FILE *tm_lua_stdin, *tm_lua_stdout, *tm_lua_stderr;
FILE *tm_lua_stdin, *tm_lua_stdout, *tm_lua_stderr;

#if defined(__GNUC__)
__attribute__((constructor)) static void set_streams(void) {
  tm_lua_stdin = stdin;
  tm_lua_stdout = stdout;
  tm_lua_stderr = stderr;
}
#endif
