// floors: bind
// What crossing from Lua to C costs: a call on a model, a million rows filtered and summed by verbs
// of a frame, and one by one in Lua; a loop in C over the same numbers beside them, in the same
// run.
#include "base/clock.h"
#include "bind/lua_frame.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 1000000, CALLS = 2000000, ROUNDS = 7 };

static tm_table *make_table(tm_ctx *ctx) {
  static const char *const names[] = {"first", "last",     "delta",           "steps",
                                      "falls", "per_hour", "confidence_ratio"};
  tm_table *t;
  if (tm_table_new(ctx, &t) != TM_OK) exit(1);
  if (tm_table_add_column(ctx, t, "key", TM_CELL_TEXT, TM_UNIT_NONE) != TM_OK) exit(1);
  for (size_t i = 0; i < TM_COUNT(names); i++)
    if (tm_table_add_column(ctx, t, names[i], TM_CELL_REAL, TM_UNIT_NONE) != TM_OK) exit(1);
  for (size_t r = 0; r < ROWS; r++) {
    size_t row;
    if (tm_table_add_row(ctx, t, &row) != TM_OK) exit(1);
    if (tm_table_set_text(ctx, t, row, 0, "main.main;main.leak", 19) != TM_OK) exit(1);
    for (size_t c = 1; c <= TM_COUNT(names); c++)
      tm_table_set_real(t, row, c, (double)((r * 2654435761u + c) % 1000));
  }
  return t;
}

// Nanoseconds of thread CPU of the best round, over n.
static double best_in_lua(lua_State *L, const char *body, double n) {
  double best = 1e300;
  if (luaL_loadstring(L, body) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    exit(1);
  }
  for (int i = 0; i < ROUNDS; i++) {
    lua_gc(L, LUA_GCCOLLECT);
    lua_pushvalue(L, -1);
    uint64_t start_ns = tm_clock_thread_cpu_ns();
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
      fprintf(stderr, "%s\n", lua_tostring(L, -1));
      exit(1);
    }
    double ns = (double)(tm_clock_thread_cpu_ns() - start_ns) / n;
    if (ns < best) best = ns;
  }
  lua_pop(L, 1);
  return best;
}

static double best_in_c(const tm_table *t) {
  double best = 1e300;
  volatile double sink = 0;
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t start_ns = tm_clock_thread_cpu_ns();
    double sum = 0;
    for (size_t r = 0; r < ROWS; r++)
      if (tm_table_real(t, r, 2) > 500) sum += tm_table_real(t, r, 3);
    sink = sum;
    double ns = (double)(tm_clock_thread_cpu_ns() - start_ns) / ROWS;
    if (ns < best) best = ns;
  }
  (void)sink;
  return best;
}

int main(void) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  lua_State *L = luaL_newstate();
  tm_frame_base *base = calloc(1, sizeof *base);
  if (!L || !base) return 1;
  luaL_openlibs(L);
  *base = (tm_frame_base){.references = 1, .table = make_table(&ctx), .snapshot_count = 2};
  strcpy(base->by, "path");
  tm_lua_push_frame(L, base);
  lua_setglobal(L, "f");
  char calls[120];
  snprintf(calls, sizeof calls, "local f = f for i = 1, %d do local n = f.snapshots end", CALLS);
  char lengths[120];
  snprintf(lengths, sizeof lengths, "local f = f for i = 1, %d do local n = #f end", CALLS);
  const struct {
    const char *what, *body;
    double n, bar_ns;
  } cases[] = {
      {"a call on a model (#f)", lengths, CALLS, 60},
      {"a field of a model", calls, CALLS, 60},
      {"1 M rows filtered and summed by verbs", "return f:over('last', 500):sum('delta')", ROWS, 5},
      {"each: a row to a Lua function", "local n = 0 f:each(function(r) n = n + 1 end)", ROWS, 40},
      {"each: two columns to a Lua function",
       "local n = 0 f:each({'last', 'delta'}, function(last, delta) n = n + last - delta end)",
       ROWS, 40},
      {"each: a row, of which two fields are read",
       "local n = 0 f:each(function(r) n = n + r.last - r.delta end)", ROWS, 0},
      {"each: key and a number to a Lua function",
       "local n = 0 f:each({'key', 'last'}, function(key, last) n = n + last end)", ROWS, 0},
      {"each: a row copied to a table", "f:each(function(r) local t = r:copy() end)", ROWS, 0},
  };
  printf("%-40s %10s %8s\n", "ns", "best of 7", "bar");
  printf("%-40s %10.2f\n", "the same filter and sum in C, a row", best_in_c(base->table));
  for (size_t i = 0; i < TM_COUNT(cases); i++)
    printf("%-40s %10.2f %8.0f\n", cases[i].what, best_in_lua(L, cases[i].body, cases[i].n),
           cases[i].bar_ns);
  lua_close(L);
  tm_frame_base_release(base);
  tm_ctx_fini(&ctx);
  return 0;
}
