// Small helpers for tables: fields set on the table on top, options read from a table at an index
// (a missing table has none).
#ifndef TM_HOST_LUA_FIELDS_H
#define TM_HOST_LUA_FIELDS_H

#include <lauxlib.h>
#include <stdbool.h>
#include <stdint.h>

static inline void set_string(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value ? value : "");
  lua_setfield(L, -2, name);
}

static inline void set_integer(lua_State *L, const char *name, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static inline void set_number(lua_State *L, const char *name, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

static inline const char *option_string(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return NULL;
  lua_getfield(L, index, name);
  const char *text = lua_tostring(L, -1);
  lua_pop(L, 1); // the table holds it
  return text;
}

static inline int64_t option_integer(lua_State *L, int index, const char *name, int64_t otherwise) {
  if (!lua_istable(L, index)) return otherwise;
  lua_getfield(L, index, name);
  int64_t value = lua_isnumber(L, -1) ? (int64_t)lua_tonumber(L, -1) : otherwise;
  lua_pop(L, 1);
  return value;
}

static inline bool option_true(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return false;
  lua_getfield(L, index, name);
  bool yes = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return yes;
}

// A list that is being filled: the table is on top, n rows are in it.
typedef struct lua_list {
  lua_State *L;
  lua_Integer n;
} lua_list;

#endif
