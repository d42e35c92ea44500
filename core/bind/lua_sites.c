// core.sites: an accumulator of profiles as userdata. Rows become Lua tables one by one, when asked
// for. The texts of its options stay alive in its user value.
#include "bind/lua_sites.h"

#include "analyze/report_options.h"
#include "analyze/sites.h"
#include "bind/lua_error.h"
#include "bind/lua_model.h"

#include <lauxlib.h>
#include <string.h>

#define SITES_META "tidemark.Sites"

enum { COLUMNS_MAX = 100000 };

typedef struct lua_sites {
  tm_sites *sites;
  size_t columns;
} lua_sites;

static lua_sites *check_sites(lua_State *L) {
  lua_sites *s = luaL_checkudata(L, 1, SITES_META);
  if (!s->sites) luaL_error(L, "these sites were closed");
  return s;
}

static size_t check_row(lua_State *L, const lua_sites *s) {
  lua_Integer i = luaL_checkinteger(L, 2);
  luaL_argcheck(L, i >= 1 && (lua_Unsigned)i <= tm_sites_row_count(s->sites), 2, "no such row");
  return (size_t)i - 1;
}

static void push_frames(lua_State *L, const tm_site_frame *frames, size_t count) {
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    lua_createtable(L, 0, 5);
    lua_pushstring(L, frames[i].name);
    lua_setfield(L, -2, "name");
    if (frames[i].file[0]) {
      lua_pushstring(L, frames[i].file);
      lua_setfield(L, -2, "file");
    }
    if (frames[i].line) {
      lua_pushinteger(L, frames[i].line);
      lua_setfield(L, -2, "line");
    }
    lua_pushboolean(L, frames[i].kind == TM_FRAME_RUNTIME);
    lua_setfield(L, -2, "runtime");
    lua_pushboolean(L, frames[i].kind != TM_FRAME_OWN);
    lua_setfield(L, -2, "standard");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static int sites_add(lua_State *L) { // s:add(profile, weight) -> true; nil, err
  lua_sites *s = check_sites(L);
  const tm_profile *p = tm_lua_check_profile(L, 2);
  double weight = luaL_optnumber(L, 3, 1);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_sites_add(&work->ctx, s->sites, p, weight) != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_end_work(work);
  lua_pushboolean(L, true);
  return 1;
}

// s:row(i) -> { values = one per column, frames = from the leaf to the owner, site = index of the
// site, 0 when all is the runtime's }
static int sites_row(lua_State *L) {
  lua_sites *s = check_sites(L);
  size_t row = check_row(L, s), site, count = tm_sites_frames(s->sites, row, NULL, 0, &site);
  tm_site_frame *frames = lua_newuserdatauv(L, count * sizeof *frames + 1, 0);
  tm_sites_frames(s->sites, row, frames, count, &site);
  lua_createtable(L, 0, 3);
  push_frames(L, frames, count);
  lua_setfield(L, -2, "frames");
  lua_pushinteger(L, site < count ? (lua_Integer)site + 1 : 0);
  lua_setfield(L, -2, "site");
  const double *values = tm_sites_values(s->sites, row);
  lua_createtable(L, (int)s->columns, 0);
  for (size_t c = 0; c < s->columns; c++) {
    lua_pushnumber(L, values[c]);
    lua_rawseti(L, -2, (lua_Integer)c + 1);
  }
  lua_setfield(L, -2, "values");
  return 1;
}

static int sites_path(lua_State *L) { // s:path(i) -> frames of the whole stack that weighs most
  lua_sites *s = check_sites(L);
  size_t row = check_row(L, s), count = tm_sites_path(s->sites, row, NULL, 0);
  tm_site_frame *frames = lua_newuserdatauv(L, count * sizeof *frames + 1, 0);
  tm_sites_path(s->sites, row, frames, count);
  push_frames(L, frames, count);
  return 1;
}

static int sites_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)tm_sites_row_count(check_sites(L)->sites));
  return 1;
}

static int sites_close(lua_State *L) {
  lua_sites *s = luaL_checkudata(L, 1, SITES_META);
  tm_sites_free(s->sites);
  s->sites = NULL;
  return 0;
}

static void push_empty(lua_State *L) {
  static const luaL_Reg methods[] = {{"add", sites_add},
                                     {"row", sites_row},
                                     {"path", sites_path},
                                     {"close", sites_close},
                                     {NULL, NULL}};
  lua_sites *s = lua_newuserdatauv(L, sizeof *s, 1);
  *s = (lua_sites){0};
  if (luaL_newmetatable(L, SITES_META)) {
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, sites_len);
    lua_setfield(L, -2, "__len");
    lua_pushcfunction(L, sites_close);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
}

// core.sites{ columns = N, by = "function" | "line", sample_index =, focus =, ... } -> Sites
static int core_sites(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  push_empty(L);
  lua_sites *s = lua_touserdata(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_report_options o;
  tm_report_options_init(&o);
  lua_newtable(L); // keeps the options' texts
  bool by_line = false;
  lua_pushnil(L);
  while (lua_next(L, 1)) {
    const char *name = luaL_checkstring(L, -2);
    if (strcmp(name, "columns") == 0) {
      lua_Integer n = luaL_checkinteger(L, -1);
      luaL_argcheck(L, n >= 1 && n <= COLUMNS_MAX, 1, "columns: 1 to 100000");
      s->columns = (size_t)n;
    } else if (strcmp(name, "by") == 0) {
      by_line = strcmp(luaL_checkstring(L, -1), "line") == 0;
    } else {
      const char *text = luaL_checkstring(L, -1);
      if (tm_report_options_set(&work->ctx, &o, name, text) != TM_OK)
        return luaL_error(L, "%s", work->ctx.error.message);
      lua_pushvalue(L, -1);
      lua_rawseti(L, 4, (lua_Integer)lua_rawlen(L, 4) + 1);
    }
    lua_pop(L, 1);
  }
  luaL_argcheck(L, s->columns, 1, "columns = N is missing");
  lua_setiuservalue(L, 2, 1);
  if (tm_sites_new(&work->ctx, &o, by_line, s->columns, &s->sites) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  tm_lua_end_work(work);
  lua_settop(L, 2);
  return 1;
}

static int core_frame_kind(lua_State *L) { // core.frame_kind(name, file) -> own, standard, runtime
  static const char *const kinds[] = {"own", "standard", "runtime"};
  lua_pushstring(L, kinds[tm_frame_kind_of(luaL_checkstring(L, 1), luaL_optstring(L, 2, NULL))]);
  return 1;
}

void tm_lua_add_sites(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"sites", core_sites}, {"frame_kind", core_frame_kind}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
