// core.median and core.mann_whitney: lists of numbers are copied into the arrays that the analyses
// take, and given back before the call ends.
#include "bind/lua_stats.h"

#include "analyze/stats.h"
#include "bind/lua_error.h"

#include <lauxlib.h>
#include <math.h>

enum { VALUES_MAX = 1 << 20 };

// The list at index as doubles, in a userdata that it leaves on the stack.
static double *push_values(lua_State *L, int index, size_t *out_count) {
  luaL_checktype(L, index, LUA_TTABLE);
  size_t n = lua_rawlen(L, index);
  luaL_argcheck(L, n <= VALUES_MAX, index, "too many numbers at once");
  double *values = lua_newuserdatauv(L, (n ? n : 1) * sizeof *values, 0);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    int is_number;
    values[i] = lua_tonumberx(L, -1, &is_number);
    luaL_argcheck(L, is_number, index, "a list of numbers is needed");
    lua_pop(L, 1);
  }
  *out_count = n;
  return values;
}

static int core_median(lua_State *L) { // core.median(list) -> number, or nil for none
  size_t n;
  double *values = push_values(L, 1, &n), median;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_stats_quantile(&ctx, values, n, 0.5, &median);
  tm_ctx_fini(&ctx);
  if (status != TM_OK) return luaL_error(L, "out of memory for a median");
  if (isnan(median)) return 0;
  lua_pushnumber(L, median);
  return 1;
}

static int core_mann_whitney(lua_State *L) { // core.mann_whitney(a, b) -> p, u
  size_t na, nb;
  double *a = push_values(L, 1, &na), *b = push_values(L, 2, &nb), u, p;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_stats_mann_whitney(&ctx, a, na, b, nb, &u, &p);
  tm_ctx_fini(&ctx);
  if (status != TM_OK) return luaL_error(L, "out of memory for a test");
  if (isnan(p)) return 0;
  lua_pushnumber(L, p);
  lua_pushnumber(L, u);
  return 2;
}

void tm_lua_add_stats(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"median", core_median}, {"mann_whitney", core_mann_whitney}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
