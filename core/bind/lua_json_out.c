// Lua values as JSON, for findings, evidence and documents. Depth is capped, so recursion is
// bounded by a constant.
#include "base/json_write.h"
#include "bind/lua_series.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_DEPTH = 16, JSON_KEYS = 1000 };

static void json_value(tm_json *w, lua_State *L, int index, int depth);

// NOLINTNEXTLINE(misc-no-recursion): depth is capped
static void json_array(tm_json *w, lua_State *L, int index, int depth) {
  lua_Integer n = (lua_Integer)lua_rawlen(L, index);
  tm_json_array(w);
  for (lua_Integer i = 1; i <= n && w->status == TM_OK; i++) {
    lua_rawgeti(L, index, i);
    json_value(w, L, lua_gettop(L), depth + 1);
    lua_pop(L, 1);
  }
  tm_json_close(w);
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Keys are sorted so that equal tables give equal text. Keys that are no strings are left out.
// NOLINTNEXTLINE(misc-no-recursion): depth is capped
static void json_object(tm_json *w, lua_State *L, int index, int depth) {
  const char **keys = tm_alloc(w->ctx, JSON_KEYS * sizeof *keys);
  if (!keys) {
    w->status = TM_E_NOMEM;
    return;
  }
  size_t n = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    if (lua_type(L, -1) == LUA_TSTRING && n < JSON_KEYS) keys[n++] = lua_tostring(L, -1);
  }
  qsort(keys, n, sizeof *keys, by_name);
  tm_json_object(w);
  for (size_t i = 0; i < n && w->status == TM_OK; i++) {
    tm_json_key(w, keys[i]);
    lua_pushstring(L, keys[i]);
    lua_rawget(L, index);
    json_value(w, L, lua_gettop(L), depth + 1);
    lua_pop(L, 1);
  }
  tm_json_close(w);
  tm_free(w->ctx, keys, JSON_KEYS * sizeof *keys);
}

// NOLINTNEXTLINE(misc-no-recursion): depth is capped
static void json_table(tm_json *w, lua_State *L, int index, int depth) {
  if (depth >= JSON_DEPTH || !lua_checkstack(L, 6)) {
    tm_json_null(w);
    return;
  }
  lua_rawgeti(L, index, 1);
  bool array = !lua_isnil(L, -1);
  lua_pop(L, 1);
  if (!array && luaL_getmetafield(L, index, "__name") == LUA_TSTRING) {
    array = strcmp(lua_tostring(L, -1), "tidemark.Array") == 0; // an empty list that wants to be []
    lua_pop(L, 1);
  }
  if (array)
    json_array(w, L, index, depth);
  else
    json_object(w, L, index, depth);
}

// NOLINTNEXTLINE(misc-no-recursion): depth is capped
static void json_value(tm_json *w, lua_State *L, int index, int depth) {
  size_t size;
  const char *text;
  switch (lua_type(L, index)) {
  case LUA_TBOOLEAN:
    tm_json_bool(w, lua_toboolean(L, index));
    break;
  case LUA_TNUMBER:
    if (lua_isinteger(L, index))
      tm_json_int(w, lua_tointeger(L, index));
    else
      tm_json_double(w, lua_tonumber(L, index));
    break;
  case LUA_TSTRING:
    text = lua_tolstring(L, index, &size);
    tm_json_string_n(w, text, size);
    break;
  case LUA_TTABLE:
    json_table(w, L, index, depth);
    break;
  default:
    tm_json_null(w);
  }
}

tm_status tm_lua_json(tm_ctx *ctx, lua_State *L, int index, tm_bytes *out) {
  tm_json w = tm_json_begin(ctx, out);
  json_value(&w, L, lua_absindex(L, index), 0);
  return tm_json_end(&w);
}
