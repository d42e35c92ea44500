// What lua_frame.c (filters, fields) and lua_frame_rows.c (rows one by one) share of a frame.
#ifndef TM_BIND_LUA_FRAME_IMPL_H
#define TM_BIND_LUA_FRAME_IMPL_H

#include "bind/lua_frame.h"

#include <lua.h>

enum { TM_FRAME_COLUMNS = 8 };

// What a row has, in this order; ended by NULL.
extern const char *const tm_frame_columns[TM_FRAME_COLUMNS + 1];

typedef struct tm_frame {
  tm_frame_base *base; // NULL = no snapshot yet
  size_t count;
  uint32_t rows[];
} tm_frame;

// The frame at stack index 1, or Lua's argument error. Upvalue 1 of the running C function is the
// metatable of frames, so that no call looks it up by name.
tm_frame *tm_lua_check_frame(lua_State *L);

// The table's column of that name, or an error that names the nearest. 0 is the key.
size_t tm_frame_column(lua_State *L, const tm_frame *f, const char *name);

// Where each of tm_frame_columns is in the table of the frame.
void tm_frame_find_columns(lua_State *L, const tm_frame *f, size_t out[TM_FRAME_COLUMNS]);

void tm_frame_push_cell(lua_State *L, const tm_frame *f, size_t i, size_t column);

// Pushes row i as a table. The names of the columns stand on the stack from index names on, so that
// no cell looks at their text; tm_frame_push_names puts them there and answers that index.
int tm_frame_push_names(lua_State *L);
void tm_frame_push_row(lua_State *L, const tm_frame *f, const size_t column[TM_FRAME_COLUMNS],
                       int names, size_t i);

// f:each. Its upvalue 2 is the book of tm_frame_push_book.
int tm_frame_each(lua_State *L);

// Pushes what knows which rows of which frames may be read now, and gives light userdata, which
// rows are, their fields. Once in a state.
void tm_frame_push_book(lua_State *L);

#endif
