// Depth-first, with the depth capped at 16, so the recursion is bounded by a constant and not by
// input.
#include "bind/plain.h"

#include "base/cursor.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

enum { NIL, IS_FALSE, IS_TRUE, INTEGER, FLOAT, STRING, TABLE, END };

typedef struct writer {
  tm_ctx *ctx;
  lua_State *L;
  tm_bytes *out;
  char path[160]; // of the value being written, for messages
} writer;

static tm_status put(writer *w, uint8_t tag, const void *data, size_t size) {
  TM_TRY(tm_bytes_append(w->ctx, w->out, &tag, 1));
  if (w->out->size + size > TM_PLAIN_BYTES)
    return tm_fail(w->ctx, TM_E_LIMIT, TM_NO_OFFSET, "state is larger than %d KiB at %s",
                   TM_PLAIN_BYTES / 1024, w->path);
  return tm_bytes_append(w->ctx, w->out, data, size);
}

static tm_status write_value(writer *w, int index, int depth);

static tm_status write_string(writer *w, int index) {
  size_t size;
  const char *text = lua_tolstring(w->L, index, &size);
  uint32_t length = (uint32_t)size;
  if (size > TM_PLAIN_BYTES)
    return tm_fail(w->ctx, TM_E_LIMIT, TM_NO_OFFSET,
                   "a string of %zu bytes is too large for state at %s", size, w->path);
  TM_TRY(put(w, STRING, &length, sizeof length));
  return tm_bytes_append(w->ctx, w->out, text, size);
}

static void describe_key(writer *w, size_t length) {
  size_t room = sizeof w->path - length;
  if (lua_type(w->L, -2) == LUA_TSTRING)
    snprintf(w->path + length, room, ".%.40s", lua_tostring(w->L, -2));
  else if (lua_isinteger(w->L, -2))
    snprintf(w->path + length, room, "[%lld]", (long long)lua_tointeger(w->L, -2));
}

// NOLINTNEXTLINE(misc-no-recursion): depth is capped
static tm_status write_table(writer *w, int index, int depth) {
  if (depth >= TM_PLAIN_DEPTH)
    return tm_fail(w->ctx, TM_E_LIMIT, TM_NO_OFFSET,
                   "state is nested deeper than %d (or refers to itself) at %s", TM_PLAIN_DEPTH,
                   w->path);
  if (!lua_checkstack(w->L, 4))
    return tm_fail(w->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of Lua stack");
  TM_TRY(put(w, TABLE, NULL, 0));
  size_t length = strlen(w->path);
  lua_pushnil(w->L);
  while (lua_next(w->L, index)) {
    describe_key(w, length);
    tm_status status = write_value(w, lua_gettop(w->L) - 1, depth + 1);
    if (status == TM_OK) status = write_value(w, lua_gettop(w->L), depth + 1);
    w->path[length] = '\0';
    if (status != TM_OK) {
      lua_pop(w->L, 2);
      return status;
    }
    lua_pop(w->L, 1);
  }
  return put(w, END, NULL, 0);
}

// NOLINTNEXTLINE(misc-no-recursion): depth is capped
static tm_status write_value(writer *w, int index, int depth) {
  switch (lua_type(w->L, index)) {
  case LUA_TNIL:
    return put(w, NIL, NULL, 0);
  case LUA_TBOOLEAN:
    return put(w, lua_toboolean(w->L, index) ? IS_TRUE : IS_FALSE, NULL, 0);
  case LUA_TNUMBER:
    if (lua_isinteger(w->L, index)) {
      int64_t number = lua_tointeger(w->L, index);
      return put(w, INTEGER, &number, sizeof number);
    } else {
      double number = lua_tonumber(w->L, index);
      return put(w, FLOAT, &number, sizeof number);
    }
  case LUA_TSTRING:
    return write_string(w, index);
  case LUA_TTABLE:
    return write_table(w, index, depth);
  default:
    return tm_fail(w->ctx, TM_E_ARG, TM_NO_OFFSET,
                   "a %s at %s is no plain data and cannot be kept in state",
                   lua_typename(w->L, lua_type(w->L, index)), w->path);
  }
}

tm_status tm_plain_write(tm_ctx *ctx, lua_State *L, int index, tm_bytes *out) {
  writer w = {.ctx = ctx, .L = L, .out = out, .path = "state"};
  return write_value(&w, lua_absindex(L, index), 0);
}

static bool push_value(lua_State *L, tm_cursor *c, int depth);

// NOLINTNEXTLINE(misc-no-recursion): depth is capped
static bool push_table(lua_State *L, tm_cursor *c, int depth) {
  if (depth >= TM_PLAIN_DEPTH) return false;
  luaL_checkstack(L, 4, "plain data");
  lua_newtable(L);
  for (;;) {
    if (tm_cursor_left(c) == 0) return false;
    if (*c->at == END) {
      tm_get_u8(c);
      return true;
    }
    if (!push_value(L, c, depth + 1) || lua_isnil(L, -1)) return false;
    if (lua_type(L, -1) == LUA_TNUMBER && lua_tonumber(L, -1) != lua_tonumber(L, -1)) return false;
    if (!push_value(L, c, depth + 1)) return false;
    lua_rawset(L, -3);
  }
}

// NOLINTNEXTLINE(misc-no-recursion): depth is capped
static bool push_value(lua_State *L, tm_cursor *c, int depth) {
  uint8_t tag = tm_get_u8(c);
  if (!c->ok) return false;
  const uint8_t *data;
  switch (tag) {
  case NIL:
    lua_pushnil(L);
    return true;
  case IS_FALSE:
  case IS_TRUE:
    lua_pushboolean(L, tag == IS_TRUE);
    return true;
  case INTEGER: {
    int64_t number;
    if (!(data = tm_get_bytes(c, sizeof number))) return false;
    memcpy(&number, data, sizeof number);
    lua_pushinteger(L, number);
    return true;
  }
  case FLOAT: {
    double number;
    if (!(data = tm_get_bytes(c, sizeof number))) return false;
    memcpy(&number, data, sizeof number);
    lua_pushnumber(L, number);
    return true;
  }
  case STRING: {
    uint32_t length;
    if (!(data = tm_get_bytes(c, sizeof length))) return false;
    memcpy(&length, data, sizeof length);
    if (!(data = tm_get_bytes(c, length))) return false;
    lua_pushlstring(L, (const char *)data, length);
    return true;
  }
  case TABLE:
    return push_table(L, c, depth);
  default:
    return false;
  }
}

tm_status tm_plain_push(tm_ctx *ctx, lua_State *L, const uint8_t *bytes, size_t size) {
  int top = lua_gettop(L);
  tm_cursor c = tm_cursor_of(bytes, size, 0);
  luaL_checkstack(L, 4, "plain data");
  if (push_value(L, &c, 0) && tm_cursor_left(&c) == 0) return TM_OK;
  lua_settop(L, top);
  return tm_fail(ctx, TM_E_FORMAT, tm_cursor_offset(&c), "kept state is damaged");
}
