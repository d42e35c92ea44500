// floors: host
// What the sandbox costs: a guarded call against lua_pcall, a check-like body, library functions
// against stock Lua, a new state, and how late the worst calls are stopped.
#include "base/clock.h"
#include "base/ctx.h"
#include "host/sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char check_body[] =
    "local first, last, n, sum = s[1], s[#s], #s, 0\n"
    "for i = 1, n do sum = sum + s[i] end\n"
    "local mean = sum / n\n"
    "if last - first > 0.3 * mean and last > 100 then\n"
    "  return {level = 'warn', key = 'rss', value = last, text = ('%d of %d'):format(last, n)}\n"
    "end";

static const struct {
  const char *name, *body; // a body is called with s = {1 .. 60}
} bodies[] = {
    {"empty function", ""},
    {"check over 60 values", check_body},
    {"arithmetic x1000", "local x = 0 for i = 1, 1000 do x = x + i * 2 end return x"},
    {"calls x1000", "local function f(a) return a end for i = 1, 1000 do f(i) end"},
    {"('key=value'):match x100",
     "for i = 1, 100 do local _ = ('key=value'):match('(%w+)=(%w+)') end"},
    {"gsub of 1 KB", "return (('hello world '):rep(85):gsub('o', '0'))"},
    {"sort of 60",
     "local t = table.move(s, 1, 60, 1, {}) table.sort(t, function(a, b) return a > b end)"},
    {"setmetatable x100", "local mt = {__index = s} for i = 1, 100 do setmetatable({}, mt) end"},
};

static void die(const char *what, const char *message) {
  fprintf(stderr, "%s: %s\n", what, message);
  exit(1);
}

static void check(tm_ctx *ctx, tm_status status) {
  if (status != TM_OK) die("bench", ctx->error.message);
}

static const char *wrap(const char *body, char *space, size_t size) {
  snprintf(space, size,
           "local s = {} for i = 1, 60 do s[i] = i * 3 end\nreturn function()\n%s\nend", body);
  return space;
}

typedef void (*call_fn)(tm_ctx *ctx, tm_sandbox *sandbox, lua_State *L);

static void call_plain(tm_ctx *ctx, tm_sandbox *sandbox, lua_State *L) {
  (void)ctx;
  (void)sandbox;
  if (lua_pcall(L, 0, 0, 0)) die("stock", lua_tostring(L, -1));
}

static void call_guarded(tm_ctx *ctx, tm_sandbox *sandbox, lua_State *L) {
  (void)L;
  check(ctx, tm_sandbox_call(ctx, sandbox, 0, 0, UINT64_MAX, NULL));
}

static void call_costed(tm_ctx *ctx, tm_sandbox *sandbox, lua_State *L) {
  (void)L;
  tm_sandbox_cost cost;
  check(ctx, tm_sandbox_call(ctx, sandbox, 0, 0, UINT64_MAX, &cost));
}

// Best of 5 rounds of at least 20 ms, in ns per call of the function on top of L.
static double time_calls(tm_ctx *ctx, tm_sandbox *sandbox, lua_State *L, call_fn call) {
  double best = 1e18;
  for (int round = 0; round < 5; round++) {
    uint64_t start_ns = tm_clock_mono_ns(), spent_ns;
    int count = 0;
    do {
      for (int i = 0; i < 100; i++, count++) {
        lua_pushvalue(L, -1);
        call(ctx, sandbox, L);
      }
      spent_ns = tm_clock_mono_ns() - start_ns;
    } while (spent_ns < 20000000);
    if ((double)spent_ns / count < best) best = (double)spent_ns / count;
  }
  return best;
}

static void bench_bodies(tm_ctx *ctx) {
  printf("%-26s %12s %12s %12s\n", "ns per call", "stock pcall", "guarded", "with cost");
  for (size_t i = 0; i < TM_COUNT(bodies); i++) {
    char source[2048];
    wrap(bodies[i].body, source, sizeof source);
    lua_State *stock = luaL_newstate();
    luaL_openlibs(stock);
    if (luaL_dostring(stock, source)) die(bodies[i].name, lua_tostring(stock, -1));
    tm_sandbox *sandbox;
    check(ctx, tm_sandbox_new(ctx, NULL, &sandbox));
    check(ctx, tm_sandbox_load(ctx, sandbox, "bench.lua", source, strlen(source)));
    check(ctx, tm_sandbox_run(ctx, sandbox, 1, NULL));
    lua_State *L = tm_sandbox_state(sandbox);
    printf("%-26s %12.0f %12.0f %12.0f\n", bodies[i].name, time_calls(ctx, NULL, stock, call_plain),
           time_calls(ctx, sandbox, L, call_guarded), time_calls(ctx, sandbox, L, call_costed));
    lua_close(stock);
    tm_sandbox_free(sandbox);
  }
}

static void bench_states(tm_ctx *ctx) {
  enum { COUNT = 2000 };
  uint64_t start_ns = tm_clock_mono_ns();
  size_t bytes = 0;
  for (int i = 0; i < COUNT; i++) {
    tm_sandbox *sandbox;
    check(ctx, tm_sandbox_new(ctx, NULL, &sandbox));
    lua_gc(tm_sandbox_state(sandbox), LUA_GCCOLLECT);
    bytes = tm_sandbox_memory_bytes(sandbox);
    tm_sandbox_free(sandbox);
  }
  printf("\nstate: new, one full collection, free %.1f us, %.1f KB\n",
         (double)(tm_clock_mono_ns() - start_ns) / COUNT / 1e3, (double)bytes / 1e3);
}

// Wall time of calls with a budget of 50 ms.
static void bench_stops(tm_ctx *ctx) {
  static const char *const sources[] = {
      "while true do end",
      "while true do pcall(function() while true do end end) end",
      "local s = ('a'):rep(400) s:find(('.-'):rep(6) .. 'b')",
      "local s = ('x'):rep(4e6) while true do local _ = s .. 'y' end",
      "local a = ('x'):rep(4e6) local b = a .. '' while true do local _ = a <= b end",
      "local s = ('1'):rep(6e6) while true do local _ = math.abs(s) end",
      "local t = {} for i = 1, 16385 do t[i * 32767] = true end while true do end",
      "local t = {} for i = 1, 2^15 do t[i + 0.5] = 1 end for k in pairs(t) do t[k] = nil end"
      " while true do next(t) end",
      "while true do pcall(string.rep, 'x', 15e6) end",
  };
  printf("\nms until stopped (budget 50 ms)\n");
  for (size_t i = 0; i < TM_COUNT(sources); i++) {
    tm_sandbox *sandbox;
    tm_sandbox_cost cost = {0};
    check(ctx, tm_sandbox_new(ctx, NULL, &sandbox));
    check(ctx, tm_sandbox_load(ctx, sandbox, "stop.lua", sources[i], strlen(sources[i])));
    tm_status status = tm_sandbox_call(ctx, sandbox, 0, 0, 0, &cost);
    printf("%9.1f %-10s %.70s\n", (double)cost.wall_ns / 1e6, tm_status_name(status), sources[i]);
    tm_ctx_clear(ctx);
    tm_sandbox_free(sandbox);
  }
}

int main(void) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  bench_bodies(&ctx);
  bench_states(&ctx);
  bench_stops(&ctx);
  tm_ctx_fini(&ctx);
  return 0;
}
