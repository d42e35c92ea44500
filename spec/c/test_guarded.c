// floors: host
// The guarded library against stock Lua: the same programs run in a sandbox and in a state with
// luaL_openlibs, and must answer the same; then random patterns and table calls likewise.
#include "base/ctx.h"
#include "host/sandbox.h"
#include "unit.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Serialises what f answers: types, exact floats, tables with sorted keys, "error" when it raises.
static const char show[] =
    "local function one(v, depth)\n"
    "  if math.type(v) == 'float' then return string.format('%.17g', v) end\n"
    "  if type(v) == 'string' then return string.format('%q', v) end\n"
    "  if type(v) ~= 'table' or depth > 3 then\n"
    "    return type(v) == 'number' and tostring(v) or type(v) == 'boolean' and tostring(v) or "
    "type(v)\n"
    "  end\n"
    "  local out = {}\n"
    "  for k, w in pairs(v) do out[#out + 1] = one(k, 9) .. '=' .. one(w, depth + 1) end\n"
    "  table.sort(out)\n"
    "  return '{' .. table.concat(out, ',') .. '}'\n"
    "end\n"
    "local function all(ok, ...)\n"
    "  if not ok then return 'error' end\n"
    "  local out = {}\n"
    "  for i = 1, select('#', ...) do out[i] = one((select(i, ...)), 0) end\n"
    "  return table.concat(out, ' ')\n"
    "end\n"
    "local function f() ";

static const char *const expressions[] = {
    "return 1 + 1, 7 // 2, 7 % -3, 2^0.5, 1 // 0.0, -7 // 2.0, 7 & 3, 1 << 62, '10' + 5, '3' * '4'",
    "return math.maxinteger + 1 == math.mininteger, math.maxinteger // -1, 5 // 0.0",
    "return 1 // 0",
    "return assert(1, 'x')",
    "assert(false, 'x')",
    "assert()",
    "error('x', 0)",
    "return pcall(error, 'x')",
    "return pcall(error)",
    "return pcall(function(...) return ... end, 1, nil, 3)",
    "return xpcall(function(...) return ... end, print, 1, nil, 3)",
    "return xpcall(error, function(e) return e .. '!' end, 'x')",
    "return xpcall(function() local x = nil; return x.y end, function(e) return type(e), 2 end)",
    "return xpcall()",
    "return xpcall(print, 1)",
    "return select('#', 1, nil, nil), select(2, 'a', 'b', 'c'), select(-1, 'a', 'b')",
    "return select(0)",
    "return select(math.mininteger, 1)",
    "return tonumber('0x10'), tonumber(' 12 '), tonumber('1e1'), tonumber('z', 36), tonumber('8', "
    "8)",
    "return tonumber(), 1",
    "return tonumber('7', 99)",
    "return tonumber({}), tonumber('1' .. ('0'):rep(30)), tonumber('')",
    "return tostring(1), tostring(1.0), tostring(nil), tostring(true), tostring('x'), "
    "tostring(-0.0)",
    "return tostring(setmetatable({}, {__tostring = function() return 'T' end}))",
    "return tostring(setmetatable({}, {__tostring = function() return 1 end}))",
    "return type(nil), type(print), type({}), type()",
    "return rawequal('a', 'a'), rawlen({1, 2}), rawlen('abc'), rawget({5}, 1)",
    "local t = rawset({}, 1, 2); return t",
    "return rawset(1, 2, 3)",
    "return next({}), next({5}), next({5}, 1)",
    "return next({}, 'no')",
    "local o = {}; for i, v in ipairs({1, 2, nil, 4}) do o[i] = v end; return o",
    "local n = 0; for k, v in pairs({a = 1, b = 2, 3}) do n = n + v end; return n",
    "for k, v in pairs(setmetatable({}, {__pairs = function() return next, {9} end})) do return k, "
    "v "
    "end",
    "local mt = {}; local t = setmetatable({}, mt); return getmetatable(t) == mt",
    "return getmetatable(setmetatable({}, {__metatable = 'no'}))",
    "return setmetatable(setmetatable({}, {__metatable = 1}), {})",
    "return getmetatable(setmetatable(setmetatable({}, {}), nil))",
    "return setmetatable({}, 1)",
    "return setmetatable(1, {})",
    "local C = {}; C.__index = C; function C.f(s) return s.v end\n"
    "local o, p = setmetatable({v = 3}, C), setmetatable({v = 4}, C)\n"
    "return o:f(), p:f(), getmetatable(o) == getmetatable(p), rawequal(getmetatable(o), C)",
    "local mt = {__add = function(a, b) return 'add' end, __call = function(_, x) return x end,\n"
    "  __len = function() return 7 end, __eq = function() return true end, __lt = function() "
    "return "
    "true end,\n"
    "  __le = function() return false end, __concat = function() return 'cat' end, __unm = "
    "function() "
    "return 'unm' end,\n"
    "  __idiv = function() return 'idiv' end, __band = function() return 'band' end, __shl = "
    "function() return 'shl' end}\n"
    "local a, b = setmetatable({}, mt), setmetatable({}, mt)\n"
    "return a + b, a(5), #a, a == b, a < b, a <= b, a .. 'x', -a, a // 1, a & 1, a << 1",
    "local a = setmetatable({}, {__index = function(_, k) return k .. k end})\n"
    "local seen; local b = setmetatable({}, {__newindex = function(_, k, v) seen = k end}); b.z = "
    "1\n"
    "return a.x, seen, rawget(b, 'z')",
    "local t = setmetatable({}, {__index = table}); t:insert(4); t:insert(1, 3); return "
    "t:concat(','), #t",
    "local ts = {} for i = 1, 300 do ts[i] = setmetatable({}, {__index = {v = i}}) end\n"
    "local sum = 0 for i = 1, 300 do sum = sum + ts[i].v end return sum",
    "return ('x'):rep(3), ('x'):rep(0), ('x'):rep(-1), ('ab'):rep(3, ','), ('x'):rep(1, ','), "
    "(''):rep(9)",
    "return ('hello'):byte(1, -1)",
    "return ('hello'):sub(2, -2), ('hello'):sub(-3), ('hello'):sub(0), ('hello'):sub(10)",
    "return ('aB'):upper(), ('aB'):lower(), ('abc'):reverse(), ('abc'):len(), string.char(65, 66)",
    "return string.char(256)",
    "return ('%d %5.2f %s %q %x %5s|%-5s|%c %i %g %%'):format(1, 2.5, 'a', 'b\\n', 255, 'r', 'l', "
    "65, "
    "3.0, 1e20)",
    "return ('%d'):format(1.5)",
    "return ('%y'):format(1)",
    "return ('%s'):format()",
    "return ('%.3s'):format('abcdef'), ('%q'):format(1/3), ('%a'):format(1)",
    "return ('hello world'):find('o w'), ('hello'):find('l', 1, true), ('hello'):find('xyz')",
    "return ('hello'):find('l', -2), ('hello'):find('', 10), ('hello'):find('', 6), "
    "('a.b'):find('.', "
    "2, true)",
    "return ('hello'):find('(l)(l)'), ('hello'):find('()ll()')",
    "return ('key = value'):match('^(%w+)%s*=%s*(%w+)$')",
    "return ('  trim  '):match('^%s*(.-)%s*$'), ('2024-01-02'):match('(%d+)-(%d+)-(%d+)')",
    "return ('THE (quick) fox'):find('%((%a+)%)'), ('f(a(b)c)d'):match('%b()')",
    "return ('THE (quick) fox'):gsub('%f[%a]%a+', string.lower)",
    "return ('hello'):gsub('', '-'), ('abc'):gsub('%w', '%0%0'), ('abc'):gsub('(a)(b)', '%2%1')",
    "return ('hello world'):gsub('o', {o = 0}), ('hello'):gsub('l', false and 1 or function() end)",
    "return ('abc'):gsub('b', '%%'), ('abc'):gsub('b', '%1'), ('abc'):gsub('^a', 'x', 0)",
    "return ('abc'):gsub('b', '%2')",
    "return ('abc'):gsub('b', '%x')",
    "return ('abc'):gsub('b', function() return {} end)",
    "return ('abc'):gsub('(b', 'x')",
    "return ('abc'):gsub('b')",
    "return ('abc'):find('[a'), 1",
    "return ('abc'):find('%')",
    "return ('abc'):match('%1')",
    "return ('aa'):match('(a)%1'), ('x=[[y]]'):match('%[(=*)%[(.-)%]%1%]'), ('[a]'):match('[]]')",
    "local o = {} for k, v in ('a=1, b=2'):gmatch('(%w+)=(%w+)') do o[k] = v end return o",
    "local o = {} for w in ('one two'):gmatch('%a*') do o[#o + 1] = w end return o",
    "local o = {} for w in ('abc'):gmatch('()', 2) do o[#o + 1] = w end return o",
    "return ('a\\0b'):find('\\0'), ('a\\0b'):match('%z'), ('a\\0b'):len(), ('a\\0.'):find('.', 3, "
    "true)",
    "return table.concat({1, 2, 'x', 4.5}, ', '), table.concat({}), table.concat({1, 2, 3}, '-', "
    "2, "
    "3)",
    "return table.concat({1, {}, 3})",
    "return table.concat({1}, ',', 1, 3)",
    "local t = {1, 2, 3}; table.insert(t, 4); table.insert(t, 1, 0); return t, table.remove(t), t",
    "return table.insert({1, 2}, 5, 1)",
    "return table.insert({1, 2}, 0, 1)",
    "return table.insert({}, 1, 2, 3)",
    "return table.insert({})",
    "local t = {1, 2, 3}; return table.remove(t, 1), t, table.remove({}), table.remove({}, 0)",
    "local t = {1, 2, 3}; return table.remove(t, 4), t",
    "return table.remove({1, 2, 3}, 7)",
    "local t = {n = 0, [0] = 'z'}; return table.remove(t, 0), t, table.remove({[0] = 1}, #{})",
    "return table.move({1, 2, 3}, 1, 3, 2), table.move({1, 2, 3}, 2, 3, 1), table.move({1, 2}, 1, "
    "2, "
    "3, {9})",
    "return table.move({1}, 1, 0, 5), table.move({1}, math.mininteger, math.mininteger, 1)",
    "return table.move({}, 1, 2, math.maxinteger)",
    "return table.pack(1, nil, 3), table.unpack({1, 2, 3}), table.unpack({1, 2, 3}, 2), "
    "table.unpack({}, 1, 3)",
    "return table.unpack({}, 1, 1e8)",
    "return table.unpack({}, math.mininteger, math.maxinteger)",
    "return table.unpack({1, 2}, math.maxinteger, math.maxinteger)",
    "local t = {3, 1, 2}; table.sort(t); return t",
    "local t = {3, 1, 2}; table.sort(t, function(a, b) return a > b end); return t",
    "local t = {'b', 'a', 'C'}; table.sort(t); return t",
    "return table.sort({1, 'x'})",
    "return table.sort({1, 2}, 5)",
    "return table.sort({3, 1, 2, 5, 4}, function() return true end)",
    "return math.abs(-3), math.ceil(1.2), math.floor(-1.2), math.max(1, 5, 3), math.min(2.5, 1)",
    "return math.sqrt(2), math.sin(1), math.cos(1), math.tan(1), math.exp(1), math.log(8, 2), "
    "math.log(10)",
    "return math.fmod(7, 3), math.fmod(-7, 3), math.modf(3.7), math.tointeger('8'), "
    "math.tointeger(3.0)",
    "return math.fmod(1, 0)",
    "return math.type(1), math.type(1.0), math.type('1'), math.ult(1, -1), math.pi, math.huge",
    "return math.floor('x')",
    "return utf8.char(72, 228, 8364), utf8.len('häß'), utf8.codepoint('häß', 1, -1), "
    "utf8.offset('häß', 3)",
    "return utf8.len('\\xff'), utf8.charpattern",
    "return utf8.codepoint('\\xff')",
    "local o = {} for p, c in utf8.codes('hä') do o[p] = c end return o",
    "return os.time({year = 2024, month = 2, day = 30, hour = 12}), os.date('!%Y-%m-%d', 86400)",
    "return os.date('*t', 1e9), os.date('!*t', 1e9), os.difftime(5, 3)",
    "return os.date('%Ez', 0)",
    "return os.date('%', 0)",
    "return os.date('*t', 1e300)",
    "return os.time({year = 1})",
    "goto done; do return 1 end ::done:: return 2",
    "local x <const> = 5; local n = 0; for i = 10, 1, -3 do n = n + i end; return x, n",
    "return #'abc', 'a' .. 1 .. 2.0, 'a' < 'b', 'Z' < 'a', not nil, 1 < 2.5, 1 == 1.0, '1' == 1",
    "for i = 1, 10, 0 do end",
    "return 1 < 'x'",
    "return nil .. 'x'",
    "local t = setmetatable({}, {}); getmetatable(t).x = 1; return getmetatable(t).x",
};

typedef struct pair {
  tm_ctx ctx;
  tm_sandbox *sandbox;
  lua_State *stock;
} pair;

static int setup(void **state) {
  pair *p = calloc(1, sizeof *p);
  tm_ctx_init(&p->ctx, NULL);
  tm_sandbox_limits limits = {.hard_ns = UINT64_MAX};
  assert_int_equal(tm_sandbox_new(&p->ctx, &limits, &p->sandbox), TM_OK);
  p->stock = luaL_newstate();
  luaL_openlibs(p->stock);
  *state = p;
  return 0;
}

static int teardown(void **state) {
  pair *p = *state;
  tm_sandbox_free(p->sandbox);
  lua_close(p->stock);
  tm_ctx_fini(&p->ctx);
  free(p);
  return 0;
}

// Runs source in both states; fails unless they answer the same string.
static void same(pair *p, const char *what, const char *source) {
  lua_State *L = tm_sandbox_state(p->sandbox);
  tm_ctx_clear(&p->ctx);
  tm_status status = tm_sandbox_load(&p->ctx, p->sandbox, "same.lua", source, strlen(source));
  if (status == TM_OK) status = tm_sandbox_call(&p->ctx, p->sandbox, 0, 1, 0, NULL);
  if (status != TM_OK) fail_msg("%s: sandbox: %s", what, p->ctx.error.message);
  if (luaL_dostring(p->stock, source)) fail_msg("%s: stock: %s", what, lua_tostring(p->stock, -1));
  const char *got = lua_tostring(L, -1), *expected = lua_tostring(p->stock, -1);
  if (!got || !expected || strcmp(got, expected) != 0) {
    fail_msg("%s\n  sandbox: %s\n  stock:   %s", what, got, expected);
  }
  lua_settop(L, 0);
  lua_settop(p->stock, 0);
}

static void allowed_functions_answer_like_stock_lua(void **state) {
  pair *p = *state;
  for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++) {
    char source[4096];
    snprintf(source, sizeof source, "%s%s\nend\nreturn all(pcall(f))", show, expressions[i]);
    same(p, expressions[i], source);
  }
}

static uint32_t next_random(uint64_t *seed) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*seed >> 33);
}

static void random_text(uint64_t *seed, const char *letters, size_t most, char *out) {
  size_t size = next_random(seed) % (most + 1), count = strlen(letters);
  for (size_t i = 0; i < size; i++) out[i] = letters[next_random(seed) % count];
  out[size] = 0;
}

// Calls string.<name>(subject, pattern, extra) and writes its results, or its error, to out.
static void call_string(lua_State *L, const char *name, const char *subject, const char *pattern,
                        const char *extra, char *out, size_t size) {
  lua_getglobal(L, "string");
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
  lua_pushstring(L, subject);
  lua_pushstring(L, pattern);
  if (extra) lua_pushstring(L, extra);
  size_t used = 0;
  if (lua_pcall(L, extra ? 3 : 2, LUA_MULTRET, 0)) {
    const char *text = lua_tostring(L, -1); // some messages end differently: "... in pattern"
    snprintf(out, size, "error %.20s", text);
  } else {
    out[0] = 0;
    for (int i = 1; i <= lua_gettop(L) && used < size; i++) {
      const char *text = lua_isnil(L, i) ? "nil" : lua_tostring(L, i);
      used += (size_t)snprintf(out + used, size - used, "%s|", text);
    }
  }
  lua_settop(L, 0);
}

static void random_patterns_match_like_stock_lua(void **state) {
  pair *p = *state;
  uint64_t seed = 20240607;
  lua_State *L = tm_sandbox_state(p->sandbox);
  int errors = 0, hits = 0;
  for (int round = 0; round < 60000; round++) {
    char subject[16], pattern[16], replacement[8], got[512], expected[512];
    random_text(&seed, "aab1 ]-(", 10, subject);
    random_text(&seed, "aab1.%%%[]^-*+?()$dwfbW", 9, pattern);
    random_text(&seed, "xy%%012", 4, replacement);
    static const char *const names[] = {"find", "match", "gsub"};
    const char *name = names[round % 3];
    const char *extra = round % 3 == 2 ? replacement : NULL;
    call_string(L, name, subject, pattern, extra, got, sizeof got);
    call_string(p->stock, name, subject, pattern, extra, expected, sizeof expected);
    errors += strncmp(expected, "error", 5) == 0;
    hits += strncmp(expected, "error", 5) != 0 && strncmp(expected, "nil", 3) != 0;
    if (strcmp(got, expected) != 0) {
      fail_msg("%s('%s', '%s', '%s')\n  sandbox: %s\n  stock:   %s", name, subject, pattern,
               extra ? extra : "", got, expected);
    }
  }
  assert_true(errors > 1000 && hits > 1000); // the generator reaches both
}

static void random_gmatch_and_table_calls_answer_like_stock_lua(void **state) {
  static const char body[] =
      "local seed = 7\n"
      "local function r(n) seed = (seed * 1103515245 + 12345) & 0x7fffffff; return (seed >> 8) % n "
      "end\n"
      "local out = {}\n"
      "local parts = {'a', '%w', '.', '-', '*', '()', '(b)', '[ab]', '%s', '+', '?', '$', "
      "'%f[%w]'}\n"
      "for i = 1, 3000 do\n"
      "  local p, s = '', ''\n"
      "  for _ = 1, r(4) do p = p .. parts[r(#parts) + 1] end\n"
      "  for _ = 1, r(9) do s = s .. ('ab c'):sub(r(4) + 1, -1):sub(1, 1) end\n"
      "  out[#out + 1] = all(pcall(function()\n"
      "    local o = {}\n"
      "    for a, b in s:gmatch(p, r(5) - 2) do o[#o + 1] = a; o[#o + 1] = b end\n"
      "    return o\n"
      "  end))\n"
      "  local t = {}\n"
      "  for k = 1, r(6) do t[k] = r(100) end\n"
      "  out[#out + 1] = all(pcall(table.insert, t, r(8) - 1, 'x'))\n"
      "  out[#out + 1] = all(pcall(table.remove, t, r(8) - 1))\n"
      "  out[#out + 1] = all(pcall(table.move, t, r(6) - 1, r(8) - 1, r(8) - 2))\n"
      "  out[#out + 1] = all(pcall(table.concat, t, ',', r(4), r(7)))\n"
      "  out[#out + 1] = all(pcall(table.unpack, t, r(4), r(7)))\n"
      "  out[#out + 1] = all(true, t)\n"
      "end\n"
      "return table.concat(out, '\\n')";
  char source[4096];
  snprintf(source, sizeof source, "%s end\n%s", show, body);
  same(*state, "random calls", source);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(allowed_functions_answer_like_stock_lua, setup, teardown),
      cmocka_unit_test_setup_teardown(random_patterns_match_like_stock_lua, setup, teardown),
      cmocka_unit_test_setup_teardown(random_gmatch_and_table_calls_answer_like_stock_lua, setup,
                                      teardown),
  };
  return cmocka_run_group_tests_name("guarded", tests, NULL, NULL);
}
