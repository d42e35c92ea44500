// A frame is a list of row numbers over a shared table; filters make shorter lists and copy no
// cell. Rows become Lua tables only when a rule looks at them one by one.
#include "base/glob.h"
#include "bind/lua_frame_impl.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_META "tidemark.Frame"

enum { TRACE_FRAMES = 32, FINDINGS_MAX = 50 };

// ---- names ----

static size_t distance(const char *a, const char *b) {
  size_t row[64], n = strlen(b);
  if (n >= TM_COUNT(row)) return SIZE_MAX;
  for (size_t j = 0; j <= n; j++) row[j] = j;
  for (size_t i = 0; a[i]; i++) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 1; j <= n; j++) {
      size_t best = diagonal + (a[i] != b[j - 1]);
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      diagonal = row[j];
      row[j] = best;
    }
  }
  return row[n];
}

void tm_lua_check_name(lua_State *L, const char *what, const char *name,
                       const char *const *allowed) {
  const char *nearest = allowed[0];
  size_t best = SIZE_MAX;
  for (const char *const *a = allowed; *a; a++) {
    size_t d = distance(name, *a);
    if (d == 0) return;
    if (d < best) {
      best = d;
      nearest = *a;
    }
  }
  luaL_Buffer list;
  luaL_buffinit(L, &list);
  for (const char *const *a = allowed; *a; a++) {
    if (a != allowed) luaL_addstring(&list, ", ");
    luaL_addstring(&list, *a);
  }
  luaL_pushresult(&list);
  luaL_error(L, "unknown %s '%s'; did you mean '%s'? There are %s", what, name, nearest,
             lua_tostring(L, -1));
}

void tm_lua_check_options(lua_State *L, int index, const char *const *allowed) {
  if (lua_isnoneornil(L, index)) return;
  luaL_checktype(L, index, LUA_TTABLE);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    lua_pop(L, 1);
    tm_lua_check_name(L, "option", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?",
                      allowed);
  }
}

// ---- life ----

void tm_shot_column_release(tm_shot_column *column) {
  if (!column || --column->references) return;
  tm_pivot_fini(&column->pivot);
  tm_shot_release(column->shot);
  free(column);
}

void tm_frame_base_release(tm_frame_base *base) {
  if (!base || --base->references) return;
  tm_table_free(base->table);
  tm_shot_column_release(base->newest);
  free(base);
}

tm_frame *tm_lua_check_frame(lua_State *L) {
  if (lua_getmetatable(L, 1)) {
    bool same = lua_rawequal(L, -1, lua_upvalueindex(1));
    lua_pop(L, 1);
    if (same) return lua_touserdata(L, 1);
  }
  return luaL_checkudata(L, 1, FRAME_META); // raises
}

static int frame_gc(lua_State *L) {
  tm_frame *f = tm_lua_check_frame(L);
  tm_frame_base_release(f->base);
  f->base = NULL;
  f->count = 0;
  return 0;
}

// An empty frame with room for so many rows.
static tm_frame *push_frame(lua_State *L, tm_frame_base *base, size_t room) {
  tm_frame *f = lua_newuserdatauv(L, sizeof *f + room * sizeof *f->rows, 0);
  *f = (tm_frame){base, 0};
  if (base) base->references++;
  luaL_setmetatable(L, FRAME_META);
  return f;
}

// ---- cells ----

const char *const tm_frame_columns[] = {"key",   "first",    "last",       "delta", "steps",
                                        "falls", "per_hour", "confidence", NULL};

size_t tm_frame_column(lua_State *L, const tm_frame *f, const char *name) {
  if (!f->base) return 0; // by what it is pivoted is not known, either
  if (strcmp(name, f->base->by) == 0) name = "key";
  tm_lua_check_name(L, "column", name, tm_frame_columns);
  if (strcmp(name, "confidence") == 0) name = "confidence_ratio";
  return tm_table_find_column(f->base->table, name);
}

static const char *key_of(const tm_frame *f, size_t i) {
  return tm_table_text(f->base->table, f->rows[i], 0);
}

static double number_of(const tm_frame *f, size_t i, size_t column) {
  return column ? tm_table_real(f->base->table, f->rows[i], column) : NAN;
}

void tm_frame_push_cell(lua_State *L, const tm_frame *f, size_t i, size_t column) {
  const tm_table *t = f->base->table;
  if (column == 0)
    lua_pushstring(L, key_of(f, i));
  else if (tm_table_column(t, column)->cell == TM_CELL_INT)
    lua_pushinteger(L, tm_table_int(t, f->rows[i], column));
  else
    lua_pushnumber(L, tm_table_real(t, f->rows[i], column));
}

void tm_frame_find_columns(lua_State *L, const tm_frame *f, size_t out[TM_FRAME_COLUMNS]) {
  for (size_t i = 0; i < TM_FRAME_COLUMNS; i++) out[i] = tm_frame_column(L, f, tm_frame_columns[i]);
}

int tm_frame_push_names(lua_State *L) {
  luaL_checkstack(L, TM_FRAME_COLUMNS + 8, "rows of a frame");
  for (size_t i = 0; i < TM_FRAME_COLUMNS; i++) lua_pushstring(L, tm_frame_columns[i]);
  return lua_gettop(L) - TM_FRAME_COLUMNS + 1;
}

void tm_frame_push_row(lua_State *L, const tm_frame *f, const size_t column[TM_FRAME_COLUMNS],
                       int names, size_t i) {
  lua_createtable(L, 0, TM_FRAME_COLUMNS);
  for (size_t c = 0; c < TM_FRAME_COLUMNS; c++) {
    lua_pushvalue(L, names + (int)c);
    tm_frame_push_cell(L, f, i, column[c]);
    lua_rawset(L, -3);
  }
}

static double option(lua_State *L, int index, const char *name, double otherwise) {
  if (!lua_istable(L, index)) return otherwise;
  lua_getfield(L, index, name);
  double value = otherwise;
  if (!lua_isnil(L, -1)) {
    if (lua_type(L, -1) != LUA_TNUMBER) luaL_error(L, "option %s must be a number", name);
    value = lua_tonumber(L, -1);
  }
  lua_pop(L, 1);
  return value;
}

static bool option_true(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return false;
  lua_getfield(L, index, name);
  bool yes = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return yes;
}

// ---- filters ----

// monotonic{ steps, min_delta, strict }: never fell, rose at least `steps` times (default: as often
// as there were snapshots to rise between) and by min_delta in all; strict: in every step.
static int frame_monotonic(lua_State *L) {
  static const char *const allowed[] = {"steps", "min_delta", "strict", NULL};
  tm_frame *f = tm_lua_check_frame(L);
  tm_lua_check_options(L, 2, allowed);
  size_t between = f->base && f->base->snapshot_count ? f->base->snapshot_count - 1 : 0;
  double steps = option(L, 2, "steps", between ? (double)between : 1);
  double least = option(L, 2, "min_delta", 1);
  if (option_true(L, 2, "strict") && (double)between > steps) steps = (double)between;
  tm_frame *out = push_frame(L, f->base, f->count);
  if (!f->base) return 1;
  size_t rises = tm_frame_column(L, f, "steps"), falls = tm_frame_column(L, f, "falls");
  size_t delta = tm_frame_column(L, f, "delta");
  for (size_t i = 0; i < f->count; i++)
    if (number_of(f, i, falls) == 0 && number_of(f, i, rises) >= steps
        && number_of(f, i, delta) >= least)
      out->rows[out->count++] = f->rows[i];
  return 1;
}

// Whether a key fits the glob or one of the list of globs at index.
static bool fits(lua_State *L, int index, const char *key) {
  if (lua_type(L, index) == LUA_TSTRING) return tm_glob(lua_tostring(L, index), key);
  bool found = false;
  for (lua_Integer i = 1; !found; i++) {
    if (lua_rawgeti(L, index, i) == LUA_TNIL) {
      lua_pop(L, 1);
      break;
    }
    const char *glob = lua_tostring(L, -1);
    found = glob && (strcmp(glob, key) == 0 || tm_glob(glob, key));
    lua_pop(L, 1);
  }
  return found;
}

static int keep_matching(lua_State *L, bool matching) {
  tm_frame *f = tm_lua_check_frame(L);
  if (lua_type(L, 2) != LUA_TSTRING) luaL_checktype(L, 2, LUA_TTABLE);
  tm_frame *out = push_frame(L, f->base, f->count);
  for (size_t i = 0; i < f->count; i++)
    if (fits(L, 2, key_of(f, i)) == matching) out->rows[out->count++] = f->rows[i];
  return 1;
}

static int frame_only(lua_State *L) {
  return keep_matching(L, true);
}

static int frame_reject(lua_State *L) {
  return keep_matching(L, false);
}

static int frame_over(lua_State *L) { // over("last", 10000)
  tm_frame *f = tm_lua_check_frame(L);
  size_t column = tm_frame_column(L, f, luaL_checkstring(L, 2));
  double least = luaL_checknumber(L, 3);
  tm_frame *out = push_frame(L, f->base, f->count);
  for (size_t i = 0; i < f->count; i++)
    if (number_of(f, i, column) > least) out->rows[out->count++] = f->rows[i];
  return 1;
}

// top(n) by the rank of steady growth; top(n, "last") by a column, largest first.
static int frame_top(lua_State *L) {
  tm_frame *f = tm_lua_check_frame(L);
  lua_Integer n = luaL_checkinteger(L, 2);
  size_t room = n < 0 ? 0 : (uint64_t)n < f->count ? (size_t)n : f->count;
  size_t column = lua_isnoneornil(L, 3) ? 0 : tm_frame_column(L, f, luaL_checkstring(L, 3));
  tm_frame *out = push_frame(L, f->base, room);
  for (size_t i = 0; i < f->count && room; i++) { // an insertion into the best so far
    double value = number_of(f, i, column);
    size_t at = out->count;
    while (column && at && tm_table_real(f->base->table, out->rows[at - 1], column) < value) at--;
    if (at == room) continue;
    if (out->count < room) out->count++;
    memmove(out->rows + at + 1, out->rows + at, (out->count - at - 1) * sizeof *out->rows);
    out->rows[at] = f->rows[i];
  }
  return 1;
}

// ---- terminals ----

static int frame_sum(lua_State *L) { // sum("last"); default "delta"
  tm_frame *f = tm_lua_check_frame(L);
  size_t column = tm_frame_column(L, f, luaL_optstring(L, 2, "delta"));
  double sum = 0;
  for (size_t i = 0; i < f->count; i++) sum += number_of(f, i, column);
  lua_pushnumber(L, sum);
  return 1;
}

// The stack of the key's largest sample in the newest snapshot, as text; or nil.
static void push_stack(lua_State *L, const tm_frame *f, size_t i) {
  const tm_shot_column *c = f->base->newest;
  const char *key = key_of(f, i);
  uint32_t id = c ? tm_strtab_find(&c->pivot.keys, key, strlen(key)) : UINT32_MAX;
  if (!c || id >= c->pivot.samples.count || c->pivot.samples.items[id] == UINT32_MAX) {
    lua_pushnil(L);
    return;
  }
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  char text[8192];
  tm_bytes out = {.cap_bytes = sizeof text};
  tm_status status =
      tm_pivot_stack(&ctx, c->shot->profile, c->pivot.samples.items[id], TRACE_FRAMES, &out);
  size_t size = status == TM_OK || out.size ? out.size : 0;
  if (size) memcpy(text, out.data, size);
  tm_bytes_free(&ctx, &out);
  tm_ctx_fini(&ctx);
  lua_pushlstring(L, text, size);
}

static int frame_stack(lua_State *L) { // stack(i)
  tm_frame *f = tm_lua_check_frame(L);
  lua_Integer i = luaL_optinteger(L, 2, 1);
  if (i < 1 || (uint64_t)i > f->count)
    lua_pushnil(L);
  else
    push_stack(L, f, (size_t)i - 1);
  return 1;
}

static const char *text_option(lua_State *L, int index, const char *name, const char *otherwise) {
  if (!lua_istable(L, index)) return otherwise;
  lua_getfield(L, index, name);
  const char *text = lua_isnil(L, -1) ? otherwise : luaL_checkstring(L, -1);
  lua_pop(L, 1); // the table holds it
  return text;
}

static const char *unit_of(const tm_frame *f, const char *column) {
  if (strcmp(column, "steps") == 0 || strcmp(column, "falls") == 0) return "count";
  if (strcmp(column, "confidence") == 0) return "ratio";
  return strcmp(f->base->unit, "bytes") == 0 ? "bytes" : "count";
}

// findings{ key, value = "delta", level, trace = "sample_stack", n = 50 }: what check may return;
// every column and `snapshots`, `hours` are the finding's evidence, so that `say` can name them.
static int frame_findings(lua_State *L) {
  static const char *const allowed[] = {"key", "value", "level", "trace", "n", NULL};
  static const char *const traces[] = {"sample_stack", NULL};
  tm_frame *f = tm_lua_check_frame(L);
  tm_lua_check_options(L, 2, allowed);
  const char *value = text_option(L, 2, "value", "delta"),
             *level = text_option(L, 2, "level", NULL);
  const char *trace = text_option(L, 2, "trace", NULL);
  size_t key = tm_frame_column(L, f, text_option(L, 2, "key", "key"));
  size_t column = tm_frame_column(L, f, value);
  if (trace) tm_lua_check_name(L, "trace", trace, traces);
  double most = option(L, 2, "n", FINDINGS_MAX);
  size_t place[TM_FRAME_COLUMNS];
  tm_frame_find_columns(L, f, place);
  int names = tm_frame_push_names(L);
  lua_newtable(L);
  for (size_t i = 0; i < f->count && (double)i < most; i++) {
    tm_frame_push_row(L, f, place, names, i);
    tm_frame_push_cell(L, f, i, key);
    lua_setfield(L, -2, "key");
    tm_frame_push_cell(L, f, i, column);
    lua_setfield(L, -2, "value");
    lua_pushstring(L, unit_of(f, value));
    lua_setfield(L, -2, "unit");
    lua_pushinteger(L, (lua_Integer)f->base->snapshot_count);
    lua_setfield(L, -2, "snapshots");
    lua_pushnumber(L, f->base->hours);
    lua_setfield(L, -2, "hours");
    lua_pushstring(L, level);
    lua_setfield(L, -2, "level");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "of_frame"); // list_of in dsl.lua makes it a finding
    if (trace) {
      push_stack(L, f, i);
      lua_setfield(L, -2, "trace");
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

// ---- fields ----

typedef enum frame_field {
  FIELD_SNAPSHOTS,
  FIELD_HOURS,
  FIELD_FIRST_TOTAL,
  FIELD_LAST_TOTAL,
  FIELD_UNIT,
  FIELD_TYPE
} frame_field;

static const char *const fields[] = {"snapshots",  "hours", "first_total",
                                     "last_total", "unit",  "type"};

static void push_field(lua_State *L, const tm_frame_base *b, frame_field field) {
  static const tm_frame_base none;
  if (!b) b = &none;
  switch (field) {
  case FIELD_SNAPSHOTS:
    lua_pushinteger(L, (lua_Integer)b->snapshot_count);
    break;
  case FIELD_HOURS:
    lua_pushnumber(L, b->hours);
    break;
  case FIELD_FIRST_TOTAL:
    lua_pushinteger(L, b->first_total);
    break;
  case FIELD_LAST_TOTAL:
    lua_pushinteger(L, b->last_total);
    break;
  case FIELD_UNIT:
    lua_pushstring(L, b->unit);
    break;
  case FIELD_TYPE:
    lua_pushstring(L, b->type);
    break;
  }
}

static int push_row_at(lua_State *L, const tm_frame *f, lua_Integer i) {
  size_t place[TM_FRAME_COLUMNS];
  if (i < 1 || (uint64_t)i > f->count) return 0;
  tm_frame_find_columns(L, f, place);
  tm_frame_push_row(L, f, place, tm_frame_push_names(L), (size_t)i - 1);
  return 1;
}

// Upvalue 2 has the number of each field and the function of each method.
static int frame_index(lua_State *L) {
  const tm_frame *f = tm_lua_check_frame(L);
  lua_pushvalue(L, 2);
  int is_field;
  lua_rawget(L, lua_upvalueindex(2));
  lua_Integer field = lua_tointegerx(L, -1, &is_field);
  if (is_field)
    push_field(L, f->base, (frame_field)field);
  else if (lua_isnil(L, -1) && lua_isinteger(L, 2))
    return push_row_at(L, f, lua_tointeger(L, 2));
  else if (lua_isnil(L, -1))
    return luaL_error(L, "a frame has no field or method '%s'", luaL_checkstring(L, 2));
  return 1;
}

static int frame_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)tm_lua_check_frame(L)->count);
  return 1;
}

static void make_metatable(lua_State *L) {
  static const luaL_Reg methods[] = {{"monotonic", frame_monotonic},
                                     {"only", frame_only},
                                     {"reject", frame_reject},
                                     {"over", frame_over},
                                     {"top", frame_top},
                                     {"sum", frame_sum},
                                     {"each", tm_frame_each},
                                     {"findings", frame_findings},
                                     {"stack", frame_stack},
                                     {NULL, NULL}};
  static const luaL_Reg events[] = {
      {"__index", frame_index}, {"__gc", frame_gc}, {"__len", frame_len}, {NULL, NULL}};
  if (luaL_newmetatable(L, FRAME_META)) {
    int meta = lua_gettop(L);
    luaL_newlibtable(L, methods);
    for (size_t i = 0; i < TM_COUNT(fields); i++) {
      lua_pushinteger(L, (lua_Integer)i);
      lua_setfield(L, -2, fields[i]);
    }
    lua_pushvalue(L, meta);
    tm_frame_push_book(L);
    luaL_setfuncs(L, methods, 2);
    lua_pushvalue(L, meta);
    lua_rotate(L, -2, 1); // the metatable, then the fields and methods
    luaL_setfuncs(L, events, 2);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_pop(L, 1);
}

void tm_lua_push_frame(lua_State *L, tm_frame_base *base) {
  make_metatable(L);
  size_t count = base ? tm_table_row_count(base->table) : 0;
  tm_frame *f = push_frame(L, base, count);
  for (size_t i = 0; i < count; i++) f->rows[i] = (uint32_t)i;
  f->count = count;
}
