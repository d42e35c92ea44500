// floors: bind
// Rows of frames in coroutines, which rules have only by c:await: a yield in the function, a
// coroutine that is closed or given up there, and the table that a frame stands on freed.
#include "bind/lua_frame.h"
#include "unit.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 5 };

static tm_frame_base *make_base(void) {
  static const char *const names[] = {"first", "last",     "delta",           "steps",
                                      "falls", "per_hour", "confidence_ratio"};
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_frame_base *base = calloc(1, sizeof *base);
  assert_non_null(base);
  base->references = 1;
  strcpy(base->by, "path");
  assert_int_equal(tm_table_new(&ctx, &base->table), TM_OK);
  assert_int_equal(tm_table_add_column(&ctx, base->table, "key", TM_CELL_TEXT, TM_UNIT_NONE),
                   TM_OK);
  for (size_t i = 0; i < TM_COUNT(names); i++)
    assert_int_equal(tm_table_add_column(&ctx, base->table, names[i],
                                         i ? TM_CELL_REAL : TM_CELL_INT, TM_UNIT_NONE),
                     TM_OK);
  for (int r = 0; r < ROWS; r++) {
    const char key[] = {(char)('a' + r)};
    size_t row;
    assert_int_equal(tm_table_add_row(&ctx, base->table, &row), TM_OK);
    assert_int_equal(tm_table_set_text(&ctx, base->table, row, 0, key, 1), TM_OK);
    tm_table_set_int(base->table, row, 1, 10 * r);
    for (size_t c = 2; c <= TM_COUNT(names); c++)
      tm_table_set_real(base->table, row, c, r + (double)c / 10);
  }
  tm_ctx_fini(&ctx);
  return base;
}

// Runs the body, which sees the frame as f and is to return what is expected.
static void expect(const char *expected, const char *body) {
  lua_State *L = luaL_newstate();
  tm_frame_base *base = make_base();
  assert_non_null(L);
  luaL_openlibs(L);
  tm_lua_push_frame(L, base);
  lua_setglobal(L, "f");
  tm_frame_base_release(base);
  if (luaL_dostring(L, body) != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
  assert_string_equal(lua_tostring(L, -1), expected);
  lua_close(L);
}

static void a_yield_in_the_function(void **state) {
  (void)state;
  expect("a0 b10 c20 d30 e40 | A B C D E",
         "local out, co = {}, coroutine.wrap(function() return f:each(function(row)"
         "  return coroutine.yield(row.key .. row.first) end) end)"
         "local got = co()"
         "while type(got) == 'string' do out[#out + 1] = got got = co(got:sub(1, 1):upper()) end "
         "return table.concat(out, ' ') .. ' | ' .. table.concat(got, ' ')");
  expect("a b c d e", "local co = coroutine.wrap(function() return f:each({'path'}, function(key)"
                      "  coroutine.yield() return key end) end)"
                      "local got repeat got = co() until got return table.concat(got, ' ')");
}

static void two_at_once(void **state) {
  (void)state;
  expect("a a b b c c d d e e",
         "local out = {}"
         "local function walk() f:each(function(row)"
         "  coroutine.yield() out[#out + 1] = row.key end) end "
         "local one, two = coroutine.wrap(walk), coroutine.wrap(walk)"
         "one() two() for i = 1, 5 do one() two() end return table.concat(out, ' ')");
}

static void a_coroutine_left_there(void **state) {
  (void)state;
  const char *closed = "local kept local co = coroutine.create(function() f:each(function(row)"
                       "  kept = row coroutine.yield() end) end)"
                       "coroutine.resume(co) local alive = kept.key coroutine.close(co)"
                       "return alive .. tostring(pcall(function() return kept.key end))";
  expect("afalse", closed);
  const char *lost =
      "local kept local co = coroutine.create(function() f:each(function(row)"
      "  kept = row coroutine.yield() end) end)"
      "coroutine.resume(co) f = nil collectgarbage() local alive = kept.key co = nil "
      "collectgarbage() collectgarbage()"
      "return alive .. tostring(pcall(function() return kept.key end))";
  expect("afalse", lost);
}

static void a_frame_finalized_first(void **state) {
  (void)state;
  expect("ok", "local co = coroutine.create(function() f:each(function(row)"
               "  setmetatable({}, {__gc = function() pcall(function() return row.key end) end})"
               "  coroutine.yield() end) end)"
               "coroutine.resume(co) f = nil co = nil return 'ok'");
}

static void other_light_userdata(void **state) {
  (void)state;
  lua_State *L = luaL_newstate();
  assert_non_null(L);
  luaL_openlibs(L);
  tm_lua_push_frame(L, NULL);
  lua_setglobal(L, "f");
  lua_pushlightuserdata(L, NULL);
  lua_setglobal(L, "null");
  assert_int_equal(luaL_dostring(L, "assert(#f:each(print) == 0)"
                                    "local ok, why = pcall(function() return null.key end)"
                                    "assert(not ok and why:find('is no row'), why)"
                                    "assert(tostring(null):find('userdata'))"),
                   LUA_OK);
  lua_close(L);
}

static void a_kind_of_cell_each(void **state) {
  (void)state;
  expect("d 30 integer 3.2 float",
         "local out f:each({'key', 'first', 'last'}, function(key, first, last)"
         "  if key == 'd' then out = table.concat({key, first, math.type(first), last,"
         "    math.type(last)}, ' ') end end) return out");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_yield_in_the_function), cmocka_unit_test(two_at_once),
      cmocka_unit_test(a_coroutine_left_there),  cmocka_unit_test(a_frame_finalized_first),
      cmocka_unit_test(other_light_userdata),    cmocka_unit_test(a_kind_of_cell_each),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
