// A tm_table as userdata: t[i] is a new Lua table of one row, t.notes and t.columns describe it,
// t:json() and t:csv() render all rows in C.
#include "bind/lua_box.h"
#include "bind/lua_error.h"
#include "bind/lua_model.h"
#include "model/table_text.h"

#include <lauxlib.h>
#include <string.h>

#define TABLE_META "tidemark.Table"
#define WORK_META  "tidemark.Work"

// ---- work ----

void tm_lua_end_work(tm_lua_work *work) {
  tm_table_free(work->table);
  tm_bytes_free(&work->ctx, &work->bytes);
  work->table = NULL;
  tm_ctx_fini(&work->ctx);
  tm_ctx_init(&work->ctx, NULL);
}

static int work_gc(lua_State *L) {
  tm_lua_work *work = lua_touserdata(L, 1);
  tm_lua_end_work(work);
  tm_ctx_fini(&work->ctx);
  return 0;
}

tm_lua_work *tm_lua_push_work(lua_State *L) {
  tm_lua_work *work = lua_newuserdatauv(L, sizeof *work, 0);
  *work = (tm_lua_work){0};
  tm_ctx_init(&work->ctx, NULL);
  lua_getfield(L, LUA_REGISTRYINDEX, TM_LUA_CANCEL);
  work->ctx.cancel = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (luaL_newmetatable(L, WORK_META)) {
    lua_pushcfunction(L, work_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return work;
}

// ---- rows ----

static tm_table *check_table(lua_State *L) {
  tm_table *t = *(tm_table **)luaL_checkudata(L, 1, TABLE_META);
  if (!t) luaL_error(L, "this table was freed");
  return t;
}

static void push_cell(lua_State *L, const tm_table *t, size_t row, size_t column) {
  switch (tm_table_column(t, column)->cell) {
  case TM_CELL_INT:
    lua_pushinteger(L, tm_table_int(t, row, column));
    break;
  case TM_CELL_REAL:
    lua_pushnumber(L, tm_table_real(t, row, column));
    break;
  case TM_CELL_TEXT:
    lua_pushstring(L, tm_table_text(t, row, column));
    break;
  }
}

static void push_row(lua_State *L, const tm_table *t, size_t row) {
  size_t columns = tm_table_column_count(t);
  lua_createtable(L, 0, (int)columns);
  for (size_t c = 0; c < columns; c++) {
    push_cell(L, t, row, c);
    lua_setfield(L, -2, tm_table_column_name(t, c));
  }
}

// Notes that may stand more than once: lists, [] when there is none.
static const struct {
  const char *note, *list;
} repeated[] = {{"warning", "warnings"}, {"missing", "missing"}};

static void push_note_value(lua_State *L, const tm_table *t, const tm_note *note) {
  if (note->cell == TM_CELL_INT)
    lua_pushinteger(L, note->integer);
  else if (note->cell == TM_CELL_REAL)
    lua_pushnumber(L, note->real);
  else
    lua_pushstring(L, tm_table_string(t, note->text));
}

static void push_note_list(lua_State *L, const tm_table *t, const char *name) {
  lua_Integer n = 0;
  lua_newtable(L);
  luaL_newmetatable(L, "tidemark.Array");
  lua_setmetatable(L, -2);
  for (size_t i = 0; i < tm_table_note_count(t); i++) {
    const tm_note *note = tm_table_note(t, i);
    if (strcmp(tm_table_string(t, note->key), name) != 0) continue;
    push_note_value(L, t, note);
    lua_rawseti(L, -2, ++n);
  }
}

static void push_notes(lua_State *L, const tm_table *t) {
  lua_newtable(L);
  for (size_t i = 0; i < tm_table_note_count(t); i++) {
    const tm_note *note = tm_table_note(t, i);
    push_note_value(L, t, note);
    lua_setfield(L, -2, tm_table_string(t, note->key));
  }
  for (size_t i = 0; i < TM_COUNT(repeated); i++) {
    push_note_list(L, t, repeated[i].note);
    bool wanted = lua_rawlen(L, -1) > 0 || i == 0;
    if (wanted) {
      lua_setfield(L, -2, repeated[i].list);
    } else {
      lua_pop(L, 1);
    }
    if (strcmp(repeated[i].note, repeated[i].list) != 0) {
      lua_pushnil(L);
      lua_setfield(L, -2, repeated[i].note);
    }
  }
}

static void push_columns(lua_State *L, const tm_table *t) {
  static const char *const cells[] = {"int", "real", "text"};
  lua_newtable(L);
  for (size_t c = 0; c < tm_table_column_count(t); c++) {
    lua_createtable(L, 0, 3);
    lua_pushstring(L, tm_table_column_name(t, c));
    lua_setfield(L, -2, "name");
    lua_pushstring(L, tm_unit_name(tm_table_column(t, c)->unit));
    lua_setfield(L, -2, "unit");
    lua_pushstring(L, cells[tm_table_column(t, c)->cell]);
    lua_setfield(L, -2, "cell");
    lua_rawseti(L, -2, (lua_Integer)c + 1);
  }
}

// Of __index and __len.
static const tm_table *indexed_table(lua_State *L) {
  const tm_table *t = *(tm_table **)tm_lua_indexed(L, TABLE_META);
  if (!t) luaL_error(L, "this table was freed");
  return t;
}

static int table_index(lua_State *L) {
  const tm_table *t = indexed_table(L);
  int is_integer;
  lua_Integer i = lua_tointegerx(L, 2, &is_integer);
  if (is_integer) {
    if (i < 1 || (lua_Unsigned)i > tm_table_row_count(t)) return 0;
    push_row(L, t, (size_t)i - 1);
    return 1;
  }
  if (tm_lua_find_method(L)) return 1;
  const char *key = luaL_checkstring(L, 2);
  if (strcmp(key, "notes") == 0)
    push_notes(L, t);
  else if (strcmp(key, "columns") == 0)
    push_columns(L, t);
  else
    return 0;
  return 1;
}

static int table_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)tm_table_row_count(indexed_table(L)));
  return 1;
}

static int next_row(lua_State *L) {
  lua_Integer i = luaL_checkinteger(L, 2) + 1;
  const tm_table *t = check_table(L);
  if ((lua_Unsigned)i > tm_table_row_count(t)) return 0;
  lua_pushinteger(L, i);
  push_row(L, t, (size_t)i - 1);
  return 2;
}

static int table_rows(lua_State *L) { // for i, row in t:rows() do
  check_table(L);
  lua_pushcfunction(L, next_row);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 0);
  return 3;
}

static int table_column(lua_State *L) { // t:column("flat") -> list of its cells
  const tm_table *t = check_table(L);
  const char *name = luaL_checkstring(L, 2);
  size_t column = tm_table_find_column(t, name);
  if (column == SIZE_MAX) return luaL_error(L, "this table has no column '%s'", name);
  lua_createtable(L, (int)tm_table_row_count(t), 0);
  for (size_t row = 0; row < tm_table_row_count(t); row++) {
    push_cell(L, t, row, column);
    lua_rawseti(L, -2, (lua_Integer)row + 1);
  }
  return 1;
}

// ---- rendering ----

static int render(lua_State *L, tm_status (*fn)(tm_ctx *, const tm_table *, tm_bytes *)) {
  const tm_table *t = check_table(L);
  tm_lua_work *work = tm_lua_push_work(L);
  if (fn(&work->ctx, t, &work->bytes) != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_pushlstring(L, work->bytes.data ? (const char *)work->bytes.data : "", work->bytes.size);
  tm_lua_end_work(work);
  return 1;
}

static int table_json(lua_State *L) { // -> "[{...},...]"
  return render(L, tm_table_json);
}

static int table_csv(lua_State *L) { // -> text with a head line
  return render(L, tm_table_csv);
}

static int table_gc(lua_State *L) {
  tm_table **t = lua_touserdata(L, 1);
  tm_table_free(*t);
  *t = NULL;
  return 0;
}

static const luaL_Reg methods[] = {{"rows", table_rows},
                                   {"column", table_column},
                                   {"json", table_json},
                                   {"csv", table_csv},
                                   {NULL, NULL}};

void tm_lua_push_table(lua_State *L, tm_lua_work *work) {
  tm_table **box = lua_newuserdatauv(L, sizeof(tm_table *), 0);
  *box = NULL;
  static const luaL_Reg *const lists[] = {methods, NULL};
  tm_lua_make_meta(L, TABLE_META, lists, table_index, table_gc, NULL, table_len);
  lua_setmetatable(L, -2);
  *box = work->table;
  work->table = NULL;
}
