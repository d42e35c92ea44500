// core.go_census(pid, {exe=}) -> Census; census:look{system=} -> Profile, {seen=, alive=, system=,
// torn=, took_ns=}. The Profile is what core.goroutines takes.
#include "bind/lua_census.h"

#include "bind/lua_error.h"
#include "bind/lua_model.h"
#include "live/go_census.h"

#include <lauxlib.h>

#define CENSUS_META "tidemark.Census"

static int core_go_census(lua_State *L) {
  int64_t pid = luaL_checkinteger(L, 1);
  const char *exe = NULL;
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "exe");
    exe = luaL_optstring(L, -1, NULL);
    lua_pop(L, 1); // the table keeps it
  }
  tm_go_census **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, CENSUS_META);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_go_census_open(&work->ctx, pid, exe, box) != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_end_work(work);
  lua_pop(L, 1);
  return 1;
}

static void set_integer(lua_State *L, const char *name, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

static int census_look(lua_State *L) {
  tm_go_census **box = luaL_checkudata(L, 1, CENSUS_META);
  if (!*box) return luaL_error(L, "this census was closed");
  lua_settop(L, 2);
  bool with_system = false;
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "system");
    with_system = lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *out = tm_lua_push_snapshot(L);
  tm_profile *profile;
  tm_go_look look;
  if (tm_go_census_look(&work->ctx, *box, with_system, &profile, &look) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  *out = (tm_snapshot){
      .kind = TM_KIND_GOROUTINES, .format = "census", .model = profile, .free_model = free_profile};
  lua_createtable(L, 0, 5);
  set_integer(L, "seen", look.seen);
  set_integer(L, "alive", look.alive);
  set_integer(L, "system", look.system);
  set_integer(L, "torn", look.torn);
  set_integer(L, "took_ns", look.took_ns);
  return 2;
}

static int census_close(lua_State *L) {
  tm_go_census **box = luaL_checkudata(L, 1, CENSUS_META);
  tm_go_census_free(*box);
  *box = NULL;
  return 0;
}

void tm_lua_add_census(lua_State *L) {
  static const luaL_Reg methods[] = {{"look", census_look}, {"close", census_close}, {NULL, NULL}};
  if (luaL_newmetatable(L, CENSUS_META)) {
    lua_pushcfunction(L, census_close);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, census_close);
    lua_setfield(L, -2, "__close");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
  }
  lua_pop(L, 1);
  lua_pushcfunction(L, core_go_census);
  lua_setfield(L, -2, "go_census");
}
