// One table of rows {library, name, function} is the whole allow-list; a row without a function
// takes the stock one. Stock libraries are opened one after the other, rows are picked out of each,
// and the rest is dropped: nothing is ever removed from what rules see, so nothing can be
// forgotten there.
//
// Metatables. setmetatable gives the table a private copy of the metamethods. Were the script's
// own table used, it could add __mode or __close afterwards, and thousands of chained ephemeron
// tables hold one garbage collection for half a minute with no hook (measured: 9 MB, 32 s).
#include "host/guarded.h"

#include "base/attr.h"
#include "host/sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <string.h>

enum {
  ITEMS_MAX = 1000000,
  STRING_MAX_BYTES = 16 << 20,
  LINE_MAX_BYTES = 4096,
  DATE_FORMAT_MAX_BYTES = 256,
  METATABLES_KEPT = 64,
  BYTES_PER_STEP = 16,
};

// Keys in the registry and in private metatables: the addresses count, not the values.
static const char key_metatables, key_script_metatable, key_randomseed;

// --- basic functions -----------------------------------------------------------------------------

static int base_collectgarbage(lua_State *L) {
  const char *what = luaL_optstring(L, 1, "collect");
  if (strcmp(what, "count") != 0) return luaL_error(L, "only collectgarbage('count') is allowed");
  int kib = lua_gc(L, LUA_GCCOUNT);
  int rest = lua_gc(L, LUA_GCCOUNTB);
  lua_pushnumber(L, (lua_Number)kib + (lua_Number)rest / 1024);
  return 1;
}

static int base_getmetatable(lua_State *L) {
  luaL_checkany(L, 1);
  if (!lua_getmetatable(L, 1)) return lua_pushnil(L), 1;
  lua_pushstring(L, "__metatable");
  if (lua_rawget(L, -2) != LUA_TNIL) return 1;
  lua_pop(L, 1);
  lua_rawgetp(L, -1, &key_script_metatable); // nil for a metatable of the host
  return 1;
}

// Pushes the private metatable that stands for the script's table at index 2. The most recent ones
// are kept; one that was dropped is made again.
static void push_private_metatable(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_metatables);
  int kept = lua_gettop(L);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, kept) == LUA_TTABLE) {
    lua_remove(L, kept);
    return;
  }
  lua_pop(L, 1);
  lua_rawgetp(L, kept, &key_metatables);
  lua_Integer count = lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (count >= METATABLES_KEPT) {
    lua_newtable(L);
    lua_copy(L, -1, kept);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_metatables);
    count = 0;
  }
  lua_createtable(L, 0, 4);
  lua_pushvalue(L, 2);
  lua_rawsetp(L, -2, &key_script_metatable);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -2);
  lua_rawset(L, kept);
  lua_pushinteger(L, count + 1);
  lua_rawsetp(L, kept, &key_metatables);
  lua_remove(L, kept);
}

static const char *const refused_metamethods[] = {"__gc", "__mode", "__close"};

static void check_metamethods(lua_State *L) {
  for (size_t i = 0; i < TM_COUNT(refused_metamethods); i++) {
    lua_pushstring(L, refused_metamethods[i]);
    if (lua_rawget(L, 2) != LUA_TNIL) {
      luaL_error(L, "a metatable may not have %s here", refused_metamethods[i]);
    }
    lua_pop(L, 1);
  }
}

static bool is_metamethod(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TSTRING) return false;
  const char *name = lua_tostring(L, index);
  return name[0] == '_' && name[1] == '_';
}

// Makes the private metatable at 3 say what the script's table at 2 says now.
static void copy_metamethods(lua_State *L) {
  lua_pushnil(L);
  while (lua_next(L, 3)) {
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING) continue;
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, 3);
  }
  lua_pushnil(L);
  while (lua_next(L, 2)) {
    tm_sandbox_spend(L, 64); // lua_next walks chains of colliding keys
    if (is_metamethod(L, -2)) {
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, 3);
    } else {
      lua_pop(L, 1);
    }
  }
}

static int base_setmetatable(lua_State *L) {
  int type = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) {
    return luaL_error(L, "cannot change a protected metatable");
  }
  lua_settop(L, 2);
  if (type == LUA_TTABLE) {
    check_metamethods(L);
    push_private_metatable(L);
    copy_metamethods(L);
  }
  lua_setmetatable(L, 1);
  lua_settop(L, 1);
  return 1;
}

// A table with a metatable of the host is the host's: read-only libraries, tm, its classes.
static int base_rawset(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checkany(L, 2);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  if (lua_getmetatable(L, 1)) {
    if (lua_rawgetp(L, -1, &key_script_metatable) == LUA_TNIL) {
      return luaL_error(L, "rawset on a protected table");
    }
    lua_settop(L, 3);
  }
  lua_rawset(L, 1);
  return 1;
}

static int xpcall_handled(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  return lua_gettop(L); // false and what the handler answered, or its own error
}

static int xpcall_called(lua_State *L, int status, lua_KContext context) {
  (void)context;
  if (status == LUA_OK || status == LUA_YIELD) {
    lua_pushboolean(L, 1);
    lua_replace(L, 1);
    return lua_gettop(L);
  }
  lua_pushboolean(L, 0);
  lua_insert(L, 1); // false, handler, error
  return xpcall_handled(L, lua_pcallk(L, 1, 1, 0, 0, xpcall_handled), 0);
}

// The handler runs after unwinding: as a message handler it would run inside of the hook that
// stops a call, where hooks are off.
static int base_xpcall(lua_State *L) {
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_pushvalue(L, 1);
  lua_copy(L, 2, 1);
  lua_replace(L, 2); // handler, f, arguments
  int nargs = lua_gettop(L) - 2;
  return xpcall_called(L, lua_pcallk(L, nargs, LUA_MULTRET, 0, 0, xpcall_called), 0);
}

static int base_print(lua_State *L) {
  luaL_Buffer line;
  int count = lua_gettop(L);
  luaL_buffinit(L, &line);
  for (int i = 1; i <= count && luaL_bufflen(&line) < LINE_MAX_BYTES; i++) {
    size_t size, left = LINE_MAX_BYTES - luaL_bufflen(&line);
    const char *text = luaL_tolstring(L, i, &size);
    if (size > left) {
      lua_pushlstring(L, text, left);
      lua_remove(L, -2);
    }
    luaL_addvalue(&line);
    if (i < count) luaL_addchar(&line, '\t');
  }
  luaL_pushresult(&line);
  size_t size;
  const char *text = lua_tolstring(L, -1, &size);
  tm_sandbox_print(L, text, size < LINE_MAX_BYTES ? size : LINE_MAX_BYTES);
  return 0;
}

// --- strings -------------------------------------------------------------------------------------

// A stock function whose time is linear in its strings and that allocates nothing. Upvalue: it.
static int linear(lua_State *L) {
  size_t bytes = 0;
  for (int i = 1; i <= 2; i++) {
    if (lua_type(L, i) == LUA_TSTRING) bytes += lua_rawlen(L, i);
  }
  tm_sandbox_spend(L, 1 + bytes / BYTES_PER_STEP);
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

static int string_rep(lua_State *L) {
  size_t size, separator_size;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_Integer count = luaL_checkinteger(L, 2);
  const char *separator = luaL_optlstring(L, 3, "", &separator_size);
  uint64_t each = (uint64_t)size + separator_size;
  if (count <= 0 || each == 0) return lua_pushliteral(L, ""), 1;
  if (each > STRING_MAX_BYTES || (uint64_t)count > STRING_MAX_BYTES / each + 1
      || each * (uint64_t)count - separator_size > STRING_MAX_BYTES) {
    return luaL_error(L, "resulting string too large (16 MiB at most)");
  }
  luaL_Buffer out;
  size_t total = (size_t)(each * (uint64_t)count - separator_size);
  char *to = luaL_buffinitsize(L, &out, total);
  for (lua_Integer i = 0; i < count; i++) {
    memcpy(to, text, size);
    to += size;
    if (i + 1 < count) {
      memcpy(to, separator, separator_size);
      to += separator_size;
    }
  }
  luaL_pushresultsize(&out, total);
  return 1;
}

// --- tables --------------------------------------------------------------------------------------

static lua_Integer table_length(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  return luaL_len(L, 1);
}

// For first <= last.
static void check_range(lua_State *L, lua_Integer first, lua_Integer last) {
  if ((uint64_t)last - (uint64_t)first >= ITEMS_MAX) {
    luaL_error(L, "too many elements (%d at most)", (int)ITEMS_MAX);
  }
}

static int table_concat(lua_State *L) {
  lua_Integer last = table_length(L);
  size_t separator_size;
  const char *separator = luaL_optlstring(L, 2, "", &separator_size);
  lua_Integer first = luaL_optinteger(L, 3, 1);
  last = luaL_optinteger(L, 4, last);
  if (first > last) return lua_pushliteral(L, ""), 1;
  check_range(L, first, last);
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  uint64_t total = 0;
  for (lua_Integer i = first;; i++) {
    size_t size = 0;
    lua_geti(L, 1, i);
    if (!lua_isstring(L, -1)) {
      return luaL_error(L, "invalid value (at index %I) in table for 'concat'", (LUAI_UACINT)i);
    }
    (void)lua_tolstring(L, -1, &size);
    total += size + separator_size;
    if (total > (uint64_t)STRING_MAX_BYTES + separator_size) {
      return luaL_error(L, "resulting string too large (16 MiB at most)");
    }
    tm_sandbox_spend(L, 1 + size / BYTES_PER_STEP);
    luaL_addvalue(&out);
    if (i == last) break;
    luaL_addlstring(&out, separator, separator_size);
  }
  luaL_pushresult(&out);
  return 1;
}

// t[i + by] = t[i] for i in first..last; from the end when by > 0.
static void shift(lua_State *L, lua_Integer first, lua_Integer last, int by) {
  if (first > last) return;
  check_range(L, first, last);
  lua_Integer i = by > 0 ? last : first;
  for (lua_Integer left = last - first + 1; left > 0; left--, i -= by) {
    tm_sandbox_spend(L, 1);
    lua_geti(L, 1, i);
    lua_seti(L, 1, (lua_Integer)((lua_Unsigned)i + (lua_Unsigned)by));
  }
}

static int table_insert(lua_State *L) {
  lua_Integer size = table_length(L);
  lua_Integer end = (lua_Integer)((lua_Unsigned)size + 1);
  lua_Integer at = end;
  switch (lua_gettop(L)) {
  case 2:
    break;
  case 3:
    at = luaL_checkinteger(L, 2);
    luaL_argcheck(L, (lua_Unsigned)at - 1u < (lua_Unsigned)end, 2, "position out of bounds");
    shift(L, at, size, 1);
    break;
  default:
    return luaL_error(L, "wrong number of arguments to 'insert'");
  }
  lua_seti(L, 1, at);
  return 0;
}

static int table_remove(lua_State *L) {
  lua_Integer size = table_length(L);
  lua_Integer at = luaL_optinteger(L, 2, size);
  if (at != size) {
    luaL_argcheck(L, (lua_Unsigned)at - 1u <= (lua_Unsigned)size, 2, "position out of bounds");
  }
  lua_geti(L, 1, at);
  if (at < size) shift(L, at + 1, size, -1);
  lua_pushnil(L);
  lua_seti(L, 1, at < size ? size : at);
  return 1;
}

static int table_move(lua_State *L) {
  lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3);
  lua_Integer to = luaL_checkinteger(L, 4);
  int target = lua_isnoneornil(L, 5) ? 1 : 5;
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, target, LUA_TTABLE);
  if (last >= first) {
    check_range(L, first, last);
    lua_Integer count = last - first + 1;
    luaL_argcheck(L, to <= LUA_MAXINTEGER - count + 1, 4, "destination wrap around");
    // Upwards within one table the end goes first, so that nothing is overwritten unread.
    bool down = to > last || to <= first || (target != 1 && !lua_compare(L, 1, 5, LUA_OPEQ));
    for (lua_Integer n = 0; n < count; n++) {
      lua_Integer i = down ? n : count - 1 - n;
      tm_sandbox_spend(L, 1);
      lua_geti(L, 1, first + i);
      lua_seti(L, target, to + i);
    }
  }
  lua_pushvalue(L, target);
  return 1;
}

static int table_unpack(lua_State *L) {
  lua_Integer first = luaL_optinteger(L, 2, 1);
  lua_Integer last = lua_isnoneornil(L, 3) ? luaL_len(L, 1) : luaL_checkinteger(L, 3);
  if (first > last) return 0;
  uint64_t count = (uint64_t)last - (uint64_t)first + 1;
  if (count == 0 || count > ITEMS_MAX || !lua_checkstack(L, (int)count)) {
    return luaL_error(L, "too many results to unpack");
  }
  for (uint64_t n = 0; n < count; n++) {
    tm_sandbox_spend(L, 1);
    lua_geti(L, 1, first + (lua_Integer)n);
  }
  return (int)count;
}

// The comparator that stock table.sort gets. Upvalue: the script's one, or nil for `<`.
static int sort_less(lua_State *L) {
  tm_sandbox_spend(L, 2);
  if (lua_isnil(L, lua_upvalueindex(1))) {
    lua_pushboolean(L, lua_compare(L, 1, 2, LUA_OPLT));
    return 1;
  }
  lua_settop(L, 2);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, 2, 1);
  return 1;
}

static int table_sort(lua_State *L) {
  lua_Integer size = table_length(L);
  if (size > 0) check_range(L, 1, size);
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  lua_pushcclosure(L, sort_less, 1);
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

// --- time ----------------------------------------------------------------------------------------

static int os_time(lua_State *L) {
  if (!lua_isnoneornil(L, 1)) return lua_tocfunction(L, lua_upvalueindex(1))(L);
  lua_pushinteger(L, tm_sandbox_now_ns(L) / 1000000000);
  return 1;
}

static int os_date(lua_State *L) {
  size_t size;
  (void)luaL_optlstring(L, 1, "%c", &size);
  luaL_argcheck(L, size <= DATE_FORMAT_MAX_BYTES, 1, "format too long (256 bytes at most)");
  tm_sandbox_spend(L, size * 64);
  if (lua_isnoneornil(L, 2)) {
    lua_settop(L, 1);
    lua_pushinteger(L, tm_sandbox_now_ns(L) / 1000000000);
  }
  return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

// --- the allow-list ------------------------------------------------------------------------------

typedef struct row {
  const char *name;
  lua_CFunction own; // NULL = the stock function (or value) of this name
} row;

// A row's own function gets the stock one as upvalue 1.
static const row base_rows[] = {
    {"assert", NULL},
    {"collectgarbage", base_collectgarbage},
    {"error", NULL},
    {"getmetatable", base_getmetatable},
    {"ipairs", NULL},
    {"next", NULL},
    {"pairs", NULL},
    {"pcall", NULL},
    {"print", base_print},
    {"rawequal", NULL},
    {"rawget", NULL},
    {"rawlen", NULL},
    {"rawset", base_rawset},
    {"select", NULL},
    {"setmetatable", base_setmetatable},
    {"tonumber", linear},
    {"tostring", NULL},
    {"type", NULL},
    {"xpcall", base_xpcall},
    {"_VERSION", NULL},
    {NULL, NULL},
};

static const row string_rows[] = {
    {"byte", NULL},
    {"char", NULL},
    {"find", tm_guarded_find},
    {"format", NULL},
    {"gmatch", tm_guarded_gmatch},
    {"gsub", tm_guarded_gsub},
    {"len", NULL},
    {"lower", NULL},
    {"match", tm_guarded_match},
    {"rep", string_rep},
    {"reverse", NULL},
    {"sub", NULL},
    {"upper", NULL},
    {NULL, NULL},
};

static const row table_rows[] = {
    {"concat", table_concat}, {"insert", table_insert}, {"move", table_move},     {"pack", NULL},
    {"remove", table_remove}, {"sort", table_sort},     {"unpack", table_unpack}, {NULL, NULL},
};

static const row math_rows[] = {
    {"abs", NULL},        {"acos", NULL}, {"asin", NULL}, {"atan", NULL},       {"ceil", NULL},
    {"cos", NULL},        {"deg", NULL},  {"exp", NULL},  {"floor", NULL},      {"fmod", NULL},
    {"huge", NULL},       {"log", NULL},  {"max", NULL},  {"maxinteger", NULL}, {"min", NULL},
    {"mininteger", NULL}, {"modf", NULL}, {"pi", NULL},   {"rad", NULL},        {"random", NULL},
    {"sin", NULL},        {"sqrt", NULL}, {"tan", NULL},  {"tointeger", NULL},  {"type", NULL},
    {"ult", NULL},        {NULL, NULL},
};

static const row utf8_rows[] = {
    {"char", NULL},  {"charpattern", NULL}, {"codepoint", linear}, {"codes", NULL},
    {"len", linear}, {"offset", linear},    {NULL, NULL},
};

static const row os_rows[] = {
    {"clock", NULL}, {"date", os_date}, {"difftime", NULL}, {"time", os_time}, {NULL, NULL},
};

static const struct library {
  const char *name;
  lua_CFunction open;
  const row *rows;
} libraries[] = {
    {"string", luaopen_string, string_rows},
    {"table", luaopen_table, table_rows},
    {"math", luaopen_math, math_rows},
    {"utf8", luaopen_utf8, utf8_rows},
    {"os", luaopen_os, os_rows},
};

// Copies rows from the stock table at `stock` to the table on top.
static void pick(lua_State *L, int stock, const row *rows) {
  for (const row *r = rows; r->name; r++) {
    lua_getfield(L, stock, r->name);
    if (r->own) lua_pushcclosure(L, r->own, 1);
    lua_setfield(L, -2, r->name);
  }
}

static int read_only(lua_State *L) {
  return luaL_error(L, "library tables are read-only");
}

// pairs over a read-only table must not hand out the table behind it. Upvalue: that table.
static int next_behind(lua_State *L) {
  lua_settop(L, 2);
  if (lua_next(L, lua_upvalueindex(1))) return 2;
  lua_pushnil(L);
  return 1;
}

static int pairs_behind(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcclosure(L, next_behind, 1);
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

void tm_guarded_freeze(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 4);
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, read_only);
  lua_setfield(L, -2, "__newindex");
  lua_pushvalue(L, -3);
  lua_pushcclosure(L, pairs_behind, 1);
  lua_setfield(L, -2, "__pairs");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_setmetatable(L, -2);
  lua_remove(L, -2);
}

// Strings index the table on top; their arithmetic ("10" + 1) pays by length.
static void guard_string_metatable(lua_State *L) {
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (lua_iscfunction(L, -1)) {
      lua_pushcclosure(L, linear, 1);
      lua_pushvalue(L, -2);
      lua_insert(L, -2);
      lua_rawset(L, -4); // an existing field: the traversal stays valid
    } else {
      lua_pop(L, 1);
    }
  }
  lua_pushvalue(L, -3);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 2);
}

static void open_library(lua_State *L, const struct library *library, int globals, int env) {
  lua_pushcfunction(L, library->open);
  lua_call(L, 0, 1);
  int stock = lua_gettop(L);
  if (library->open == luaopen_math) {
    lua_getfield(L, stock, "randomseed");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_randomseed);
  }
  lua_newtable(L);
  pick(L, stock, library->rows);
  if (library->open == luaopen_string) guard_string_metatable(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, globals, library->name);
  tm_guarded_freeze(L);
  lua_setfield(L, env, library->name);
  lua_settop(L, stock - 1);
}

void tm_guarded_open(lua_State *L) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_metatables);
  lua_pushcfunction(L, luaopen_base); // fills and answers the old global table
  lua_call(L, 0, 1);
  int stock = lua_gettop(L);
  lua_newtable(L);
  pick(L, stock, base_rows);
  lua_pushvalue(L, -1);
  lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
  lua_newtable(L);
  pick(L, stock, base_rows);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "_G");
  for (size_t i = 0; i < TM_COUNT(libraries); i++) {
    open_library(L, &libraries[i], stock + 1, stock + 2);
  }
  lua_replace(L, stock);
  lua_settop(L, stock);
}

void tm_guarded_seed(lua_State *L, lua_Integer seed) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_randomseed);
  lua_pushinteger(L, seed);
  lua_call(L, 1, 0);
}
