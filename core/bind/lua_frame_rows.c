// Rows of a frame, one by one. A row is a light userdata: the number of its `each` and its place in
// the frame in 64 bits. It costs nothing to make, never shows another row, and is read by a lookup
// of its `each` among those that run now; after that it answers an error.
#include "bind/lua_frame_impl.h"

#include <lauxlib.h>
#include <string.h>

_Static_assert(sizeof(void *) == sizeof(uint64_t), "a row is a number of 64 bits in a pointer");

enum { MAX_CELLS = 16 };

typedef struct row_walk row_walk;

typedef struct row_book {
  row_walk *open; // the innermost first
  uint32_t last_number;
} row_book;

// Where the cells of one argument are.
typedef struct cell_source {
  size_t column;
  const double *reals; // NULL = not a column of reals
} cell_source;

// One running `each`.
struct row_walk {
  row_book *book; // NULL = ended
  row_walk *outer;
  const tm_frame *frame;
  uint32_t number;
  size_t next_row;
  lua_Integer kept_count;
  size_t column[TM_FRAME_COLUMNS]; // of tm_frame_columns
  size_t cell_count;               // 0 = the function is given the row
  cell_source cell[MAX_CELLS];
};

enum { SELF = 1, FUNCTION, KEPT, NAMES, WALK = NAMES + TM_FRAME_COLUMNS };

// ---- a row ----

static void push_value_of_row(lua_State *L, const row_walk *w, size_t i) {
  lua_pushlightuserdata(L, (void *)(uintptr_t)((uint64_t)w->number << 32 | i));
}

// The `each` of the row at index 1 and its place in the frame.
static const row_walk *walk_of(lua_State *L, size_t *out_row) {
  const row_book *book = lua_touserdata(L, lua_upvalueindex(2));
  uint64_t value = (uint64_t)(uintptr_t)lua_touserdata(L, 1);
  uint32_t number = (uint32_t)(value >> 32);
  const row_walk *w = lua_islightuserdata(L, 1) ? book->open : NULL;
  while (w && w->number != number) w = w->outer;
  *out_row = (size_t)(uint32_t)value;
  if (w && *out_row < w->frame->count) return w;
  if (!number) luaL_error(L, "this value is no row and has no fields");
  luaL_error(L, "this row was read after its each() had ended; "
                "keep row:copy() or the fields you need");
  return NULL;
}

static int row_copy(lua_State *L) { // row:copy() -> a table of the row's own
  size_t i;
  const row_walk *w = walk_of(L, &i);
  tm_frame_push_row(L, w->frame, w->column, tm_frame_push_names(L), i);
  return 1;
}

static int row_index(lua_State *L) {
  size_t i;
  const row_walk *w = walk_of(L, &i);
  lua_pushvalue(L, 2);
  int is_column; // a place among tm_frame_columns, else the method
  lua_rawget(L, lua_upvalueindex(1));
  lua_Integer place = lua_tointegerx(L, -1, &is_column);
  if (is_column) {
    tm_frame_push_cell(L, w->frame, i, w->column[place]);
  } else if (lua_isnil(L, -1)) {
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    tm_frame_push_cell(L, w->frame, i, tm_frame_column(L, w->frame, name));
  }
  return 1;
}

static int row_newindex(lua_State *L) {
  return luaL_error(L, "a row of a frame cannot be changed; row:copy() makes a table of it");
}

static int next_of_copy(lua_State *L) {
  lua_settop(L, 2);
  return lua_next(L, 1) ? 2 : 0;
}

static int row_pairs(lua_State *L) {
  row_copy(L);
  lua_pushcfunction(L, next_of_copy);
  lua_rotate(L, -2, 1);
  return 2;
}

static int row_tostring(lua_State *L) {
  uint64_t value = (uint64_t)(uintptr_t)lua_touserdata(L, 1);
  if (value >> 32)
    lua_pushfstring(L, "row %d of a frame", (int)(uint32_t)value + 1);
  else
    lua_pushfstring(L, "userdata: %p", lua_touserdata(L, 1));
  return 1;
}

// ---- each ----

static int walk_end(lua_State *L) {
  row_walk *w = lua_touserdata(L, 1);
  if (!w->book) return 0;
  row_walk **at = &w->book->open;
  while (*at != w) at = &(*at)->outer;
  *at = w->outer;
  w->book = NULL;
  return 0;
}

// Ended when `each` is left in whatever way; by the collector when a coroutine is given up in it.
static row_walk *push_walk(lua_State *L, const tm_frame *f) {
  row_book *book = lua_touserdata(L, lua_upvalueindex(2));
  row_walk *w = lua_newuserdatauv(L, sizeof *w, 0);
  memset(w, 0, sizeof *w);
  if (luaL_newmetatable(L, "tidemark.Each")) {
    lua_pushcfunction(L, walk_end);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, walk_end);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  *w = (row_walk){.book = book, .outer = book->open, .frame = f, .number = ++book->last_number};
  if (!w->number) w->number = ++book->last_number; // 0 is in no row
  book->open = w;
  lua_toclose(L, -1);
  return w;
}

// Takes what the function returned for row i: nil is dropped, a row becomes a table of its own.
static void keep(lua_State *L, row_walk *w) {
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return;
  }
  uint64_t value = (uint64_t)(uintptr_t)lua_touserdata(L, -1);
  if (lua_islightuserdata(L, -1) && value >> 32 == w->number) {
    lua_pop(L, 1);
    tm_frame_push_row(L, w->frame, w->column, NAMES, (uint32_t)value);
  }
  lua_rawseti(L, KEPT, ++w->kept_count);
}

static void push_cells(lua_State *L, const row_walk *w, size_t i) {
  for (size_t c = 0; c < w->cell_count; c++)
    if (w->cell[c].reals)
      lua_pushnumber(L, w->cell[c].reals[w->frame->rows[i]]);
    else
      tm_frame_push_cell(L, w->frame, i, w->cell[c].column);
}

static int go_on(lua_State *L, int status, lua_KContext at);

static int walk(lua_State *L, row_walk *w) {
  const tm_frame *f = w->frame;
  while (w->next_row < f->count) {
    size_t i = w->next_row++;
    lua_pushvalue(L, FUNCTION);
    if (w->cell_count)
      push_cells(L, w, i);
    else
      push_value_of_row(L, w, i);
    lua_callk(L, w->cell_count ? (int)w->cell_count : 1, 1, 0, go_on);
    keep(L, w);
  }
  lua_pushvalue(L, KEPT);
  return 1;
}

static int go_on(lua_State *L, int status, lua_KContext at) { // after a yield in the function
  (void)status, (void)at;
  row_walk *w = lua_touserdata(L, WALK);
  keep(L, w);
  return walk(L, w);
}

// Takes the names of the list at index 2 off the arguments.
static size_t take_cells(lua_State *L, const tm_frame *f, cell_source cells[MAX_CELLS]) {
  if (lua_type(L, 2) != LUA_TTABLE) return 0;
  size_t n = lua_rawlen(L, 2);
  if (!n || n > MAX_CELLS)
    luaL_error(L, "each() takes 1 to %d names of columns, not %d", (int)MAX_CELLS, (int)n);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, 2, (lua_Integer)i + 1);
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
    size_t column = tm_frame_column(L, f, name);
    const tm_column *c = f->base ? tm_table_column(f->base->table, column) : NULL;
    cells[i] = (cell_source){column, c && c->cell == TM_CELL_REAL ? c->reals : NULL};
    lua_pop(L, 1);
  }
  lua_remove(L, 2);
  return n;
}

// each(fn(row)), each({"key", "last"}, fn(key, last)) -> list of what was returned
int tm_frame_each(lua_State *L) {
  const tm_frame *f = tm_lua_check_frame(L);
  cell_source cells[MAX_CELLS];
  size_t cell_count = take_cells(L, f, cells);
  luaL_checktype(L, FUNCTION, LUA_TFUNCTION);
  lua_settop(L, FUNCTION);
  luaL_checkstack(L, WALK + MAX_CELLS, "each");
  lua_newtable(L);
  tm_frame_push_names(L);
  row_walk *w = push_walk(L, f);
  tm_frame_find_columns(L, f, w->column);
  w->cell_count = cell_count;
  memcpy(w->cell, cells, cell_count * sizeof *cells);
  return walk(L, w);
}

// ---- the book ----

void tm_frame_push_book(lua_State *L) {
  static const luaL_Reg events[] = {{"__index", row_index},
                                    {"__newindex", row_newindex},
                                    {"__pairs", row_pairs},
                                    {"__tostring", row_tostring},
                                    {NULL, NULL}};
  row_book *book = lua_newuserdatauv(L, sizeof *book, 0);
  *book = (row_book){0};
  int at = lua_gettop(L);
  lua_pushlightuserdata(L, NULL);
  lua_newtable(L);                         // the metatable of all rows
  lua_createtable(L, 0, TM_FRAME_COLUMNS); // upvalue 1: fields and methods
  for (int i = 0; i < TM_FRAME_COLUMNS; i++) {
    lua_pushinteger(L, i);
    lua_setfield(L, -2, tm_frame_columns[i]);
  }
  lua_pushnil(L);
  lua_pushvalue(L, at);
  lua_pushcclosure(L, row_copy, 2);
  lua_setfield(L, -2, "copy");
  lua_pushvalue(L, at);
  luaL_setfuncs(L, events, 2);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}
