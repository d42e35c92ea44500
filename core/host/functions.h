// Functions of an embedding program that rules call: `require "geo".distance(a, b)`, or
// `host.geo.distance(a, b)`.
//
// Arguments go out as a JSON array and the answer comes back as JSON text, or both are numbers: the
// program needs nothing of Lua. Nothing of Lua runs between the program's frames and ours, so no
// error is ever raised over the former.
#ifndef TM_HOST_FUNCTIONS_H
#define TM_HOST_FUNCTIONS_H

#include "base/ctx.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

enum {
  TM_FUNCTION_NAME_BYTES = 64,      // with its NUL
  TM_FUNCTION_TEXT_BYTES = 1 << 20, // of arguments, and of an answer
  TM_FUNCTION_NUMBERS = 16,         // arguments of a function of numbers
};

typedef struct tm_functions tm_functions;

// Takes a part of the answer's text; 0, or nonzero when it is too long or there is no memory.
typedef int (*tm_function_write_fn)(void *ud, const char *bytes, size_t size);

// Answers by write(write_ud, ...) and TM_OK: one JSON value, nothing = nil. Any other status raises
// an error; what was written is its text then.
typedef tm_status (*tm_function_fn)(void *ud, const char *args_json, size_t size,
                                    tm_function_write_fn write, void *write_ud);
typedef double (*tm_function_number_fn)(const double *args, size_t count, void *ud);

// ctx outlives it. Free it after the last Lua state that it was opened in.
TM_NODISCARD tm_status tm_functions_new(tm_ctx *ctx, tm_functions **out);
void tm_functions_free(tm_functions *functions);

// Sets a function (one of json and number), puts another in its place, or, with neither, takes it
// away. Waits for a call that is under way. One thread. TM_E_ARG: the name is no "module.name" of
// letters, digits and _, or is a module's; TM_E_NOMEM.
TM_NODISCARD tm_status tm_functions_set(tm_ctx *ctx, tm_functions *functions, const char *name,
                                        tm_function_fn json, tm_function_number_fn number,
                                        void *ud);

// Whether the calling thread is inside of one of the program's functions. Any thread.
bool tm_functions_inside(const tm_functions *functions);

// Adds `host` and `require` to the table on top of the stack, an environment of rules. What is set
// later is seen, too. May raise.
void tm_functions_open(lua_State *L, tm_functions *functions);

#endif
