// floors: host
// Every known way out of a Lua sandbox, tried. Each attempt must be
// refused or stopped, and the state must work afterwards.
#include "base/clock.h"
#include "base/ctx.h"
#include "host/sandbox.h"
#include "unit.h"

#include <lauxlib.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HARD_NS 20000000u
#define HANG_NS UINT64_C(60000000000) // a stop that takes longer is a hang; usual is HARD_NS + 1 ms

typedef struct fixture {
  tm_ctx ctx;
  tm_sandbox *sandbox;
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  tm_ctx_init(&f->ctx, NULL);
  tm_sandbox_limits limits = {.hard_ns = HARD_NS, .load_ns = 1000000000};
  assert_int_equal(tm_sandbox_new(&f->ctx, &limits, &f->sandbox), TM_OK);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  tm_sandbox_free(f->sandbox);
  tm_ctx_fini(&f->ctx);
  free(f);
  return 0;
}

static tm_status run_within(fixture *f, uint64_t hard_ns, const char *source, int nresults,
                            tm_sandbox_cost *cost) {
  tm_ctx_clear(&f->ctx);
  TM_TRY(tm_sandbox_load(&f->ctx, f->sandbox, "rule.lua", source, strlen(source)));
  return tm_sandbox_call(&f->ctx, f->sandbox, 0, nresults, hard_ns, cost);
}

static tm_status run(fixture *f, const char *source, int nresults, tm_sandbox_cost *cost) {
  return run_within(f, HANG_NS, source, nresults, cost);
}

static void works(fixture *f) {
  lua_State *L = tm_sandbox_state(f->sandbox);
  assert_int_equal(lua_gettop(L), 0);
  tm_status status = run(f,
                         "local t = {} for i = 1, 100 do t[i] = ('x'):rep(i) end\n"
                         "return #table.concat(t) + ('a1b2'):gsub('%d', ''):len()",
                         1, NULL);
  if (status != TM_OK) fail_msg("the state is unusable afterwards: %s", f->ctx.error.message);
  assert_int_equal(lua_tointeger(L, -1), 5052);
  lua_settop(L, 0);
}

// --- one row per escape --------------------------------------------------------------------------

typedef struct attempt {
  tm_status expected;
  const char *message; // part of it
  const char *source;
} attempt;

static void try_all(fixture *f, const attempt *attempts, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const attempt *a = &attempts[i];
    tm_sandbox_cost cost = {0};
    uint64_t hard_ns = a->expected == TM_E_TIMEOUT ? HARD_NS : HANG_NS;
    tm_status status = run_within(f, hard_ns, a->source, 0, &cost);
    if (status != a->expected || (a->message && !strstr(f->ctx.error.message, a->message))) {
      fail_msg("%s\n  answered %s: %s", a->source, tm_status_name(status),
               status ? f->ctx.error.message : "");
    }
    if (cost.wall_ns > HANG_NS) fail_msg("%s\n  took %g s", a->source, (double)cost.wall_ns / 1e9);
    assert_int_equal(cost.killed, status == TM_E_TIMEOUT);
    works(f);
  }
}
#define TRY_ALL(state, attempts) try_all(*(state), attempts, sizeof(attempts) / sizeof *(attempts))

#define LOOP "(function() while true do end end)"

static void endless_calls_are_stopped(void **state) {
  static const attempt attempts[] = {
      {TM_E_TIMEOUT, "rule.lua:2: stopped", "local x\nwhile true do x = 1 end"},
      {TM_E_TIMEOUT, "rule.lua:1", "local function f() return f() end f()"},
      {TM_E_TIMEOUT, NULL, "while true do pcall" LOOP " end"},
      {TM_E_TIMEOUT, NULL, "while true do pcall(pcall, " LOOP ") end"},
      {TM_E_TIMEOUT, NULL, "return pcall" LOOP},
      {TM_E_TIMEOUT, NULL, "local ok = pcall" LOOP " while true do end"},
      {TM_E_TIMEOUT, NULL, "local function f() pcall(f) f() end f()"},
      {TM_E_TIMEOUT, NULL, "return xpcall(error, " LOOP ")"},
      {TM_E_TIMEOUT, NULL, "return xpcall(" LOOP ", " LOOP ")"},
      {TM_E_TIMEOUT, NULL, "while true do xpcall(" LOOP ", " LOOP ") end"},
      {TM_E_TIMEOUT, NULL, "return setmetatable({}, {__index = " LOOP "}).x"},
      {TM_E_TIMEOUT, NULL, "return tostring(setmetatable({}, {__tostring = " LOOP "}))"},
      {TM_E_TIMEOUT, NULL, "for _ in " LOOP " do end"},
      {TM_E_TIMEOUT, NULL, "for i = 1, math.huge do end"},
      {TM_E_TIMEOUT, NULL, "::a:: goto a"},
      // An error object's __tostring is not run when the error is reported.
      {TM_E_LUA, "table value", "error(setmetatable({}, {__tostring = " LOOP "}))"},
  };
  TRY_ALL(state, attempts);
}

static void long_work_inside_one_instruction_is_stopped(void **state) {
  static const attempt attempts[] = {
      {TM_E_TIMEOUT, NULL, "local s = ('a'):rep(26) s:find(('a?'):rep(26) .. s)"},
      {TM_E_TIMEOUT, NULL, "local s = ('a'):rep(400) s:find(('.-'):rep(6) .. 'b')"},
      {TM_E_TIMEOUT, NULL, "local s = ('a'):rep(400) s:match(('.*'):rep(6) .. 'b')"},
      {TM_E_TIMEOUT, NULL,
       "local s = ('a'):rep(400) for _ in s:gmatch(('a*'):rep(6) .. 'b') do end"},
      {TM_E_TIMEOUT, NULL, "local s = ('a'):rep(3e5) s:gsub('.-b', '')"},
      {TM_E_TIMEOUT, NULL, "local s = ('a'):rep(3e5) s:match('(.*)%1b')"},
      {TM_E_TIMEOUT, NULL, "local s = ('('):rep(3e5) s:gsub('%b()', '')"},
      {TM_E_TIMEOUT, NULL,
       "local s = ('a'):rep(3e5) s:find(('[^' .. ('b'):rep(1e5) .. ']'):rep(9))"
       " while true do s:find(('[' .. ('b'):rep(1e5) .. ']')) end"},
      {TM_E_TIMEOUT, NULL,
       "while true do pcall(string.find, ('a'):rep(400), ('.-'):rep(6) .. 'b') end"},
      {TM_OK, NULL, "local s = ('a'):rep(4e6) assert(not s:find(('a'):rep(2e6) .. 'b', 1, true))"},
      {TM_OK, NULL, "assert((''):rep(1 << 62) == '')"},
      {TM_E_LUA, "too large", "return ('x'):rep(1 << 30)"},
      {TM_E_LUA, "too large", "return ('x'):rep(1 << 62, 'abc')"},
      {TM_E_LUA, "too large", "return string.rep('x', math.maxinteger)"},
      {TM_E_LUA, "too many", "table.move({}, 1, 1 << 40, 2)"},
      {TM_E_LUA, "too many", "table.move({}, math.mininteger, math.maxinteger, 2)"},
      {TM_E_LUA, "too many", "return table.unpack({}, 1, 1 << 31)"},
      {TM_E_LUA, "too many", "return table.unpack({}, math.mininteger, math.maxinteger)"},
      {TM_E_LUA, "too many", "return table.concat({}, ',', 1, 1 << 40)"},
      {TM_E_LUA, "too many",
       "local n = 0\n" // a length that grows between two looks at it
       "local t = setmetatable({}, {__len = function() n = n + 1\n"
       "  return n > 1 and 4 or 1 << 40 end})\n"
       "table.insert(t, 1, 0)"},
      {TM_E_LUA, "too many",
       "table.remove(setmetatable({}, {__len = function() return 1 << 40 end}), 1)"},
      {TM_E_LUA, "too many",
       "table.sort(setmetatable({}, {__len = function() return 2^31 - 3 | 0 end,"
       " __index = type, __newindex = type}))"},
      {TM_E_TIMEOUT, NULL,
       "while true do table.sort(setmetatable({}, {__len = function() return 1000000 "
       "end, __index = type, __newindex = type})) end"},
      {TM_E_TIMEOUT, NULL,
       "while true do pcall(table.move, setmetatable({}, {__index = type}), 1, 1000000,"
       " 2, setmetatable({}, {__newindex = type})) end"},
      {TM_E_LUA, "format too long", "os.date(('%c'):rep(1e6))"},
  };
  TRY_ALL(state, attempts);
}

// Single instructions that take a millisecond each must not add up between two hooks.
static void slow_instructions_are_stopped(void **state) {
  static const attempt attempts[] = {
      {TM_E_TIMEOUT, NULL, "local s = ('x'):rep(2e6) while true do local _ = s .. 'y' end"},
      {TM_E_TIMEOUT, NULL, "local s = ('x'):rep(2e6) while true do local _ = s:upper() end"},
      {TM_E_TIMEOUT, NULL, "local s = ('x'):rep(2e6) while true do local _ = s:byte(1, 1e5) end"},
      {TM_E_TIMEOUT, NULL,
       "local a = ('x'):rep(4e6) local b = a .. '' while true do local _ = a <= b end"},
      {TM_E_TIMEOUT, NULL, "local s = ('x'):rep(4e6) while true do utf8.len(s) end"},
      {TM_E_TIMEOUT, NULL, "local s = ('1'):rep(4e6) while true do tonumber(s) end"},
      {TM_E_TIMEOUT, NULL, "local s = ('1'):rep(4e6) while true do local _ = s + 1 end"},
      {TM_E_TIMEOUT, NULL, "local s = ('1'):rep(4e6) while true do s:find('2', 1, true) end"},
      {TM_E_TIMEOUT, NULL, "while true do pcall(string.rep, 'x', 15e6) end"},
      {TM_E_TIMEOUT, NULL, "local t = {} while true do table.unpack(t, 1, 3e5) end"},
  };
  TRY_ALL(state, attempts);
}

static void finalizers_weak_tables_and_closers_are_refused(void **state) {
  static const attempt attempts[] = {
      {TM_E_LUA, "__gc", "setmetatable({}, {__gc = " LOOP "})"},
      {TM_E_LUA, "__gc", "setmetatable({}, {__gc = true})"},
      {TM_E_LUA, "__mode", "setmetatable({}, {__mode = 'k'})"},
      {TM_E_LUA, "__close", "setmetatable({}, {__close = " LOOP "})"},
      // The same, smuggled in after setmetatable has looked.
      {TM_E_LUA, "non-closable",
       "local mt = {} local t = setmetatable({}, mt) mt.__close = " LOOP " local x <close> = t"},
      {TM_OK, NULL,
       "for i = 1, 1e4 do local mt = {} local t = setmetatable({}, mt) mt.__gc = " LOOP " end"},
      {TM_OK, NULL,
       "local mt = {} local t = setmetatable({}, mt) mt.__mode = 'k'\n"
       "t[{}] = 1 for i = 1, 1e4 do local _ = {} end assert(next(t))"},
  };
  TRY_ALL(state, attempts);
}

// A chain of ephemeron tables in random order keeps one collection of stock Lua busy for the square
// of its length: half a minute for 9 MB.
static void no_chain_of_ephemeron_tables_can_be_built(void **state) {
  fixture *f = *state;
  static const char source[] =
      "local mt, list, k = {}, {}, {}\n"
      "first = k\n"
      "for i = 1, 20000 do\n"
      "  local e, n = setmetatable({}, mt), {}\n"
      "  e[k] = n; list[i] = e; k = n\n"
      "end\n"
      "mt.__mode = 'k'\n"
      "for i = 1, #list do\n"
      "  local j = math.random(#list) list[i], list[j] = list[j], list[i]\n"
      "end\n"
      "kept = list";
  assert_int_equal(tm_sandbox_load(&f->ctx, f->sandbox, "rule.lua", source, strlen(source)), TM_OK);
  assert_int_equal(tm_sandbox_call(&f->ctx, f->sandbox, 0, 0, HANG_NS, NULL), TM_OK);
  uint64_t start_ns = tm_clock_mono_ns();
  lua_gc(tm_sandbox_state(f->sandbox), LUA_GCCOLLECT);
  assert_true(tm_clock_mono_ns() - start_ns < 1000000000u); // with __mode: 3 s and more
  works(f);
}

static void shared_things_cannot_be_changed(void **state) {
  static const attempt attempts[] = {
      {TM_OK, NULL, "assert(getmetatable('') == false and getmetatable(string) == false)"},
      {TM_E_LUA, "read-only", "string.rep = 1"},
      {TM_E_LUA, "read-only", "function math.max() end"},
      {TM_E_LUA, "protected", "rawset(string, 'rep', 1)"},
      {TM_E_LUA, "protected", "setmetatable(string, {})"},
      {TM_E_LUA, "protected", "setmetatable(table, nil)"},
      {TM_E_LUA, "read-only", "table.insert(string, 1)"},
      {TM_E_LUA, "read-only", "table.move({1}, 1, 1, 1, os)"},
      {TM_E_LUA, "index a boolean", "getmetatable('').__index = {}"},
      {TM_E_LUA, "table expected", "setmetatable('', {})"},
      {TM_OK, NULL,
       "local _, t, k = pairs(string) assert(t == string and k == nil)\n"
       "local n = 0 for k, v in pairs(string) do n = n + 1 assert(string[k] == v) end\n"
       "assert(n == 13 and next(string) == nil and rawget(string, 'rep') == nil)"},
      {TM_E_LUA, "only collectgarbage('count')", "collectgarbage()"},
      {TM_E_LUA, "only collectgarbage('count')", "collectgarbage('generational')"},
      {TM_E_LUA, "only collectgarbage('count')", "collectgarbage('step', 1e9)"},
      {TM_OK, NULL, "assert(collectgarbage('count') > 1 and collectgarbage('count') < 20000)"},
  };
  TRY_ALL(state, attempts);
}

static void memory_and_depth_end_cleanly(void **state) {
  static const attempt attempts[] = {
      {TM_E_NOMEM, "cap 16384 KiB", "local s = 'x' while true do s = s .. s end"},
      {TM_E_NOMEM, NULL, "local t = {} for i = 1, 1e9 do t[i] = i end"},
      {TM_E_NOMEM, NULL, "return (('x'):rep(2e6)):rep(8)"},
      {TM_E_NOMEM, NULL,
       "return ('%s'):rep(40):format(table.unpack((function() local s = ('x'):rep(1e6)\n"
       "local t = {} for i = 1, 40 do t[i] = s end return t end)()))"},
      {TM_E_NOMEM, NULL, "return (('x'):rep(1e5):gsub('x', ('y'):rep(1000)))"},
      {TM_E_NOMEM, NULL,
       "local t = {} for i = 1, 64 do t[i] = ('x'):rep(2e5 + i) end return "
       "table.concat(t)"},
      {TM_E_NOMEM, NULL, "local function f(...) return (f(1, ...)) end f()"},
      {TM_E_NOMEM, NULL, "local function f() return 1 + f() end f()"},
      {TM_E_LUA, "overflow",
       "local t = setmetatable({}, {}) getmetatable(t).__index = 1\n"
       "local function f(s) return s:gsub('x', f) end f('x')"},
      {TM_E_LUA, "overflow",
       "local mt = {} mt.__index = function(t, k) return t[k] end\n"
       "return setmetatable({}, mt).x"},
      {TM_E_LUA, "loop", "local t = {} setmetatable(t, {__index = t}) return t.x"},
      {TM_E_LUA, "too complex", "return ('x'):rep(300):match(('x?'):rep(250))"},
      {TM_E_LUA, "too many captures", "return ('x'):match(('()'):rep(33))"},
      {TM_OK, NULL,
       "assert(not pcall(string.rep, 'x', 15e6)) local ok, e = pcall(function()\n"
       "local s = ('x'):rep(1e6) while true do s = s .. s end end)\n"
       "assert(e == 'not enough memory')"},
  };
  fixture *f = *state;
  TRY_ALL(state, attempts);
  assert_true(tm_sandbox_memory_peak_bytes(f->sandbox) <= 16u << 20);
  lua_gc(tm_sandbox_state(f->sandbox), LUA_GCCOLLECT);
  assert_true(tm_sandbox_memory_bytes(f->sandbox) < 100u << 10);
}

// Integer keys that collide at one size of a table and at none before: 131072 of them keep stock
// Lua busy for half a minute inside one instruction.
static void colliding_keys_cannot_stall(void **state) {
  static const attempt attempts[] = {
      {TM_E_NOMEM, "more than 32768 keyed entries",
       "local t = {} for i = 1, 131073 do t[i * 262143] = true end"},
      {TM_E_NOMEM, NULL, "local t = {} for i = 1, 32769 do t['k' .. i] = i end"},
      {TM_OK, NULL, "local t = {} for i = 1, 32768 do t['k' .. i] = i end"},
      {TM_OK, NULL, "local t = {} for i = 1, 300000 do t[i] = i end assert(#t == 300000)"},
      {TM_E_TIMEOUT, NULL,
       "local t = {} for i = 1, 16385 do t[i * 32767] = true end"
       " while true do end"},
      {TM_E_TIMEOUT, NULL,
       "local t = {} for i = 1, 8193 do t[i * 16383] = true end"
       " while true do setmetatable({}, t) end"},
  };
  TRY_ALL(state, attempts);
}

// 150 functions inside of each other with 190 locals each: every global name searches them all.
static void parsing_has_a_budget(void **state) {
  fixture *f = *state;
  tm_sandbox_free(f->sandbox);
  assert_int_equal(tm_sandbox_new(&f->ctx, &(tm_sandbox_limits){.load_ns = HARD_NS}, &f->sandbox),
                   TM_OK);
  size_t capacity = 1 << 20, size = 0;
  char *source = malloc(capacity);
  for (int level = 0; level < 150; level++) {
    size += (size_t)snprintf(source + size, capacity - size, "local function f() local a");
    for (int i = 0; i < 190; i++) size += (size_t)snprintf(source + size, 9, ",a");
    source[size++] = ' ';
  }
  while (size + 4 < capacity) {
    memcpy(source + size, "x=x ", 4);
    size += 4;
  }
  uint64_t start_ns = tm_clock_mono_ns();
  assert_int_equal(tm_sandbox_load(&f->ctx, f->sandbox, "slow.lua", source, size), TM_E_TIMEOUT);
  assert_true(tm_clock_mono_ns() - start_ns < HANG_NS);
  assert_non_null(strstr(f->ctx.error.message, "parsing slow.lua"));
  free(source);
  works(f);
}

static void deep_sources_are_refused(void **state) {
  static const char *const parts[][2] = {
      {"return ", "("},      {"return ", "{"},  {"", "do "},         {"", "if x then "},
      {"", "function f() "}, {"return ", "- "}, {"return ", "not "}, {"return ", "a.."},
      {"return ", "2^"},     {"return ", "f("}, {"", "a,"},          {"return ", "[["},
  };
  fixture *f = *state;
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    size_t size = strlen(parts[i][1]), head = strlen(parts[i][0]);
    char *source = malloc(head + size * 20000);
    memcpy(source, parts[i][0], head);
    for (size_t k = 0; k < 20000; k++) memcpy(source + head + k * size, parts[i][1], size);
    tm_ctx_clear(&f->ctx);
    assert_int_equal(tm_sandbox_load(&f->ctx, f->sandbox, "deep.lua", source, head + size * 20000),
                     TM_E_LUA);
    free(source);
    works(f);
  }
}

// --- what can be named ---------------------------------------------------------------------------

static void rules_see_exactly_these_names(void **state) {
  static const char expected[] =
      "_G _VERSION assert collectgarbage error getmetatable ipairs math.abs math.acos math.asin "
      "math.atan math.ceil math.cos math.deg math.exp math.floor math.fmod math.huge math.log "
      "math.max math.maxinteger math.min math.mininteger math.modf math.pi math.rad math.random "
      "math.sin math.sqrt math.tan math.tointeger math.type math.ult next os.clock os.date "
      "os.difftime os.time pairs pcall print rawequal rawget rawlen rawset select setmetatable "
      "string.byte string.char string.find string.format string.gmatch string.gsub string.len "
      "string.lower string.match string.rep string.reverse string.sub string.upper table.concat "
      "table.insert table.move table.pack table.remove table.sort table.unpack tonumber tostring "
      "type utf8.char utf8.charpattern utf8.codepoint utf8.codes utf8.len utf8.offset xpcall";
  fixture *f = *state;
  assert_int_equal(run(f,
                       "local names = {}\n"
                       "for k, v in pairs(_G) do\n"
                       "  if type(v) == 'table' and v ~= _G then\n"
                       "    for m in pairs(v) do names[#names + 1] = k .. '.' .. m end\n"
                       "  else names[#names + 1] = k end\n"
                       "end\n"
                       "table.sort(names)\n"
                       "return table.concat(names, ' ')",
                       1, NULL),
                   TM_OK);
  assert_string_equal(lua_tostring(tm_sandbox_state(f->sandbox), -1), expected);
  lua_settop(tm_sandbox_state(f->sandbox), 0);
  // Methods of strings are the same guarded functions, not a second set.
  assert_int_equal(run(f,
                       "assert(('').rep == string.rep and ('').find == string.find)\n"
                       "assert(('').dump == nil and ('').pack == nil)",
                       0, NULL),
                   TM_OK);
}

static void env_cannot_be_named(void **state) {
  static const attempt attempts[] = {
      {TM_E_LUA, "rule.lua:2: _ENV", "local a\nlocal _ENV <const> = 11; X = 'hi'"},
      {TM_E_LUA, "rule.lua:1: _ENV", "_ENV.x = 1"},
  };
  TRY_ALL(state, attempts);
}

static int append(lua_State *L, const void *p, size_t size, void *ud) {
  (void)L;
  luaL_addlstring(ud, p, size);
  return 0;
}

static void bytecode_is_refused(void **state) {
  fixture *f = *state;
  lua_State *stock = luaL_newstate();
  luaL_Buffer buffer;
  assert_int_equal(
      luaL_loadstring(stock, "local t = {} for i = 1, 9 do t[i] = i .. 'x' end return t"), LUA_OK);
  lua_pushvalue(stock, -1);
  luaL_buffinit(stock, &buffer);
  lua_pushvalue(stock, 1); // lua_dump wants the function on top
  assert_int_equal(lua_dump(stock, append, &buffer, 0), 0);
  lua_pop(stock, 1);
  luaL_pushresult(&buffer);
  size_t size;
  const char *code = lua_tolstring(stock, -1, &size);
  char mutant[1024];
  assert_true(size > 100 && size <= sizeof mutant);
  uint32_t seed = 1;
  for (int round = 0; round < 400; round++) {
    memcpy(mutant, code, size);
    for (int k = 0; k < round % 4; k++) {
      seed = seed * 1664525 + 1013904223;
      mutant[1 + (seed >> 8) % (size - 1)] = (char)(seed >> 3);
    }
    tm_ctx_clear(&f->ctx);
    assert_int_equal(tm_sandbox_load(&f->ctx, f->sandbox, "rule.luac", mutant, size), TM_E_LUA);
    assert_non_null(strstr(f->ctx.error.message, "binary chunk"));
  }
  lua_close(stock);
  works(f);
}

static void large_sources_are_refused(void **state) {
  fixture *f = *state;
  size_t size = (1 << 20) + 1;
  char *source = malloc(size);
  memset(source, ' ', size);
  assert_int_equal(tm_sandbox_load(&f->ctx, f->sandbox, "big.lua", source, size), TM_E_LIMIT);
  tm_ctx_clear(&f->ctx);
  assert_int_equal(tm_sandbox_load(&f->ctx, f->sandbox, "big.lua", source, size - 1), TM_OK);
  lua_settop(tm_sandbox_state(f->sandbox), 0);
  free(source);
  works(f);
}

static void messages_name_file_and_line(void **state) {
  static const attempt attempts[] = {
      {TM_E_LUA, "rule.lua:3: attempt to index a nil value (local 'x')", "local x\n\nreturn x.y"},
      {TM_E_LUA, "rule.lua:2: syntax error near 'bar'", "local x\nfoo bar"},
      {TM_E_LUA, "rule.lua:1: bad argument #1 to 'rep'", "string.rep()"},
      {TM_E_LUA, "42", "error(42)"},
      {TM_E_LUA, "nil value", "error()"},
  };
  TRY_ALL(state, attempts);
}

// --- budgets -------------------------------------------------------------------------------------

static int nested(lua_State *L) {
  tm_sandbox *sandbox = tm_sandbox_of(L);
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  lua_settop(L, 2); // function, budget
  uint64_t hard_ns = (uint64_t)lua_tointeger(L, 2);
  lua_settop(L, 1);
  tm_status status = tm_sandbox_call(&ctx, sandbox, 0, 0, hard_ns, NULL);
  tm_ctx_fini(&ctx);
  lua_pushstring(L, tm_status_name(status));
  return 1;
}

static void a_nested_call_keeps_the_outer_deadline(void **state) {
  fixture *f = *state;
  lua_State *L = tm_sandbox_state(f->sandbox);
  tm_sandbox_env(f->sandbox);
  lua_pushcfunction(L, nested);
  lua_setfield(L, -2, "nested");
  lua_settop(L, 0);
  static const attempt attempts[] = {
      {TM_E_TIMEOUT, NULL, "nested(" LOOP ", math.maxinteger)"},
      {TM_E_TIMEOUT, NULL, "while true do pcall(nested, " LOOP ", math.maxinteger) end"},
      // The inner call alone is over its budget: the outer one goes on.
      {TM_OK, NULL,
       "assert(nested(" LOOP ", 1000000) == 'timeout')\n"
       "for i = 1, 1000 do local _ = i end assert(nested(function() end, 1) ~= nil)"},
      {TM_E_TIMEOUT, NULL, "nested(" LOOP ", 1000000) while true do end"},
  };
  TRY_ALL(state, attempts);
}

static void cost_tells_soft_from_hard(void **state) {
  fixture *f = *state;
  tm_sandbox_free(f->sandbox);
  tm_sandbox_limits limits = {.soft_ns = 1, .hard_ns = HANG_NS};
  assert_int_equal(tm_sandbox_new(&f->ctx, &limits, &f->sandbox), TM_OK);
  tm_sandbox_cost cost = {0};
  assert_int_equal(run(f, "for i = 1, 1e5 do end", 0, &cost), TM_OK);
  assert_true(cost.soft_exceeded && !cost.killed && cost.wall_ns > 0 && cost.cpu_ns > 0);
  assert_int_equal(tm_sandbox_load(&f->ctx, f->sandbox, "r.lua", "while true do end", 17), TM_OK);
  assert_int_equal(tm_sandbox_call(&f->ctx, f->sandbox, 0, 0, 1000000, &cost), TM_E_TIMEOUT);
  assert_true(cost.killed && cost.wall_ns >= 1000000);
}

static int await(lua_State *L) {
  return lua_yield(L, lua_gettop(L));
}

static lua_State *coroutine(fixture *f, const char *source) {
  lua_State *L = tm_sandbox_state(f->sandbox);
  tm_ctx_clear(&f->ctx);
  tm_sandbox_env(f->sandbox);
  lua_pushcfunction(L, await);
  lua_setfield(L, -2, "await");
  lua_settop(L, 0);
  lua_State *co = lua_newthread(L); // stays on the stack of L
  assert_int_equal(tm_sandbox_load(&f->ctx, f->sandbox, "on.lua", source, strlen(source)), TM_OK);
  lua_xmove(L, co, 1);
  return co;
}

static void coroutines_wait_and_go_on(void **state) {
  fixture *f = *state;
  lua_State *co = coroutine(f, "local a = await(1)\n"
                               "local ok, b = pcall(function() return await(a + 1) end)\n"
                               "local _, c = xpcall(function() error(await(b + 1), 0) end,\n"
                               "  function(e) return e + 1 end)\n"
                               "return c + 1");
  int64_t value = 0;
  int nresults = 0;
  bool yielded = true;
  for (int64_t i = 1; i <= 3; i++) {
    if (i > 1) lua_pushinteger(co, value);
    assert_int_equal(
        tm_sandbox_resume(&f->ctx, f->sandbox, co, i > 1, &nresults, &yielded, 0, NULL), TM_OK);
    assert_true(yielded && nresults == 1);
    value = lua_tointeger(co, -1);
    lua_pop(co, 1);
    assert_int_equal(value, i);
  }
  lua_pushinteger(co, 10);
  assert_int_equal(tm_sandbox_resume(&f->ctx, f->sandbox, co, 1, &nresults, &yielded, 0, NULL),
                   TM_OK);
  assert_true(!yielded && nresults == 1 && lua_tointeger(co, -1) == 12);
  lua_settop(tm_sandbox_state(f->sandbox), 0);
  works(f);
}

static void coroutines_have_a_budget_for_each_resume(void **state) {
  static const char *const sources[] = {
      "await() while true do end",
      "await() while true do pcall" LOOP " end",
      "await() while true do xpcall(" LOOP ", " LOOP ") end",
      "await() return pcall" LOOP,
      "pcall(function() await() while true do pcall" LOOP " end end) while true do end",
      "await() local s = ('a'):rep(400) s:find(('.-'):rep(6) .. 'b')",
      "await() while true do pcall(await) end", // each resume is short, and stays so
  };
  fixture *f = *state;
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    lua_State *co = coroutine(f, sources[i]);
    bool yielded = false, endless = i == 6;
    int nresults;
    tm_sandbox_cost cost;
    assert_int_equal(tm_sandbox_resume(&f->ctx, f->sandbox, co, 0, &nresults, &yielded, 0, &cost),
                     TM_OK);
    assert_true(yielded && nresults == 0);
    tm_status status = tm_sandbox_resume(&f->ctx, f->sandbox, co, 0, &nresults, &yielded, 0, &cost);
    assert_int_equal(status, endless ? TM_OK : TM_E_TIMEOUT);
    assert_int_equal(cost.killed, !endless);
    assert_true(cost.wall_ns < HANG_NS);
    lua_settop(tm_sandbox_state(f->sandbox), 0);
    works(f);
  }
}

typedef struct watcher {
  tm_sandbox *sandbox;
  char where[100];
} watcher;

static void *interrupt_when_running(void *ud) {
  watcher *w = ud;
  while (!tm_sandbox_running_since_ns(w->sandbox)) usleep(100);
  do {
    usleep(100);
    tm_sandbox_where(w->sandbox, w->where, sizeof w->where);
  } while (w->where[0] == '?');
  tm_sandbox_interrupt(w->sandbox);
  return NULL;
}

static void another_thread_can_see_and_interrupt(void **state) {
  static const char *const sources[] = {
      "\nwhile true do end", "\nwhile true do pcall" LOOP " end",
      "\nlocal n = 0 while n < 1e6 do n = n + 1 end"
      " while true do (('a'):rep(400)):find(('.-'):rep(6) .. 'b') end"};
  fixture *f = *state;
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    watcher w = {.sandbox = f->sandbox};
    pthread_t thread;
    tm_ctx_clear(&f->ctx);
    assert_int_equal(
        tm_sandbox_load(&f->ctx, f->sandbox, "rule.lua", sources[i], strlen(sources[i])), TM_OK);
    assert_int_equal(pthread_create(&thread, NULL, interrupt_when_running, &w), 0);
    assert_int_equal(tm_sandbox_call(&f->ctx, f->sandbox, 0, 0, UINT64_MAX, NULL), TM_E_CANCELLED);
    pthread_join(thread, NULL);
    assert_string_equal(w.where, "rule.lua:2");
    assert_true(tm_sandbox_running_since_ns(f->sandbox) == 0);
    works(f);
  }
  tm_sandbox_interrupt(f->sandbox); // while nothing runs: no call pays for it
  works(f);
}

// --- the outside ---------------------------------------------------------------------------------

static void take_line(void *ud, const char *text, size_t size) {
  char *out = ud;
  snprintf(out + strlen(out), 10000 - strlen(out), "%.*s;", (int)size, text);
}

static int64_t at_1e9(void *ud) {
  (void)ud;
  return 1000000000999999999;
}

static void print_and_clock_are_the_hosts(void **state) {
  fixture *f = *state;
  char lines[10000] = "";
  tm_sandbox_set_outside(
      f->sandbox, &(tm_sandbox_outside){.print_fn = take_line, .now_ns_fn = at_1e9, .ud = lines});
  assert_int_equal(run(f,
                       "print('a', 1, nil, 2.5) print() print(os.time(), os.date('!%Y-%m-%d'))\n"
                       "print(setmetatable({}, {__tostring = function() return 'T' end}))",
                       0, NULL),
                   TM_OK);
  assert_string_equal(lines, "a\t1\tnil\t2.5;;1000000000\t2001-09-09;T;");
  lines[0] = 0;
  assert_int_equal(run(f, "print(('x'):rep(1e6), ('y'):rep(1e6))", 0, NULL), TM_OK);
  assert_int_equal(strlen(lines), 4096 + 1);
  works(f);
}

static void random_numbers_repeat(void **state) {
  static const char source[] = "return math.random(1 << 40)";
  fixture *f = *state;
  lua_Integer first[3];
  for (int i = 0; i < 3; i++) {
    tm_sandbox *other;
    assert_int_equal(tm_sandbox_new(&f->ctx, NULL, &other), TM_OK);
    fixture g = {.sandbox = other};
    tm_ctx_init(&g.ctx, NULL);
    if (i == 2) assert_int_equal(tm_sandbox_seed(&g.ctx, other, 5), TM_OK);
    assert_int_equal(run(&g, source, 1, NULL), TM_OK);
    first[i] = lua_tointeger(tm_sandbox_state(other), -1);
    tm_sandbox_free(other);
  }
  assert_true(first[0] == first[1] && first[0] != first[2]);
}

typedef struct scarce {
  int left;
  size_t held_bytes;
} scarce;

static void *scarce_realloc(void *ud, void *p, size_t old_size, size_t size) {
  scarce *s = ud;
  if (size > old_size && s->left-- <= 0) return NULL;
  void *result = tm_allocator_malloc.realloc_fn(tm_allocator_malloc.ud, p, old_size, size);
  if (result || !size) s->held_bytes += size - old_size;
  return result;
}

static void lack_of_memory_at_birth_is_reported(void **state) {
  (void)state;
  int refused = 0;
  for (int allowed = 0;; allowed++) {
    scarce s = {.left = allowed};
    tm_allocator alloc = {scarce_realloc, &s};
    tm_ctx ctx;
    tm_ctx_init(&ctx, &alloc);
    tm_sandbox *sandbox = NULL;
    tm_status status = tm_sandbox_new(&ctx, NULL, &sandbox);
    if (status == TM_OK) tm_sandbox_free(sandbox);
    tm_ctx_fini(&ctx);
    assert_int_equal(s.held_bytes, 0);
    if (status == TM_OK) break;
    assert_int_equal(status, TM_E_NOMEM);
    refused++;
  }
  assert_true(refused > 50);
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_sandbox *sandbox;
  tm_sandbox_limits limits = {.memory_bytes = 10000};
  assert_int_equal(tm_sandbox_new(&ctx, &limits, &sandbox), TM_E_NOMEM);
  tm_ctx_fini(&ctx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(endless_calls_are_stopped),
      TEST(long_work_inside_one_instruction_is_stopped),
      TEST(slow_instructions_are_stopped),
      TEST(finalizers_weak_tables_and_closers_are_refused),
      TEST(no_chain_of_ephemeron_tables_can_be_built),
      TEST(shared_things_cannot_be_changed),
      TEST(memory_and_depth_end_cleanly),
      TEST(colliding_keys_cannot_stall),
      TEST(parsing_has_a_budget),
      TEST(deep_sources_are_refused),
      TEST(rules_see_exactly_these_names),
      TEST(env_cannot_be_named),
      TEST(bytecode_is_refused),
      TEST(large_sources_are_refused),
      TEST(messages_name_file_and_line),
      TEST(a_nested_call_keeps_the_outer_deadline),
      TEST(cost_tells_soft_from_hard),
      TEST(coroutines_wait_and_go_on),
      TEST(coroutines_have_a_budget_for_each_resume),
      TEST(another_thread_can_see_and_interrupt),
      TEST(print_and_clock_are_the_hosts),
      TEST(random_numbers_repeat),
      cmocka_unit_test(lack_of_memory_at_birth_is_reported),
  };
  alarm(400);
  return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
