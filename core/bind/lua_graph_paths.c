// g:paths{follow=, of=set} -> Profile: the objects of a heap dump, or those of a set, by type path
// from the roots; every report, difference and growth of profiles works on it. g:at_paths{path,
// ...}
// -> list of Sets: the objects at paths of that profile.
#include "analyze/type_paths.h"
#include "bind/lua_error.h"
#include "bind/lua_graph.h"

static void free_profile(void *model) {
  tm_profile_free(model);
}

// The Set that the option `of` of the table at 2 names, kept by that table; NULL = none.
static const tm_node_set *set_option(lua_State *L, const tm_lua_graph *box) {
  if (!lua_istable(L, 2) || lua_getfield(L, 2, "of") == LUA_TNIL) return NULL;
  const tm_node_set *set = tm_lua_check_set(L, -1);
  lua_getiuservalue(L, -1, 1);
  if (tm_lua_check_graph(L, -1) != box) luaL_error(L, "the set is of another dump");
  return set;
}

static int graph_paths(lua_State *L) {
  static const char *const allowed[] = {"follow", "of", NULL};
  const tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  const tm_node_set *only = set_option(L, box);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *out = tm_lua_push_snapshot(L);
  tm_profile *profile;
  if (tm_type_paths(&work->ctx, tm_lua_graph_of(box), weakest, only, &profile) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  *out = (tm_snapshot){
      .kind = TM_KIND_PROFILE, .format = "paths", .model = profile, .free_model = free_profile};
  return 1;
}

// The texts of the list at 2, which keeps them alive.
static size_t read_paths(lua_State *L, const char *paths[TM_TYPE_PATHS_MAX]) {
  luaL_checktype(L, 2, LUA_TTABLE);
  size_t count = lua_rawlen(L, 2);
  luaL_argcheck(L, count <= TM_TYPE_PATHS_MAX, 2, "32 paths at most");
  for (size_t i = 0; i < count; i++) {
    lua_rawgeti(L, 2, (lua_Integer)i + 1);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 2, "paths are texts");
    paths[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  return count;
}

static int graph_at_paths(lua_State *L) { // g:at_paths({path, ...}, {follow=}) -> { Set, ... }
  static const char *const allowed[] = {"follow", NULL};
  const char *paths[TM_TYPE_PATHS_MAX];
  tm_node_set *sets[TM_TYPE_PATHS_MAX], made[TM_TYPE_PATHS_MAX] = {0};
  const tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 3);
  tm_lua_check_options(L, 3, allowed);
  tm_strength weakest = tm_lua_graph_strength(L, 3);
  size_t count = read_paths(L, paths);
  tm_lua_work *work = tm_lua_push_work(L);
  lua_createtable(L, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    sets[i] = tm_lua_push_set(L, 1);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  tm_status status =
      tm_type_paths_select(&work->ctx, tm_lua_graph_of(box), weakest, paths, count, made);
  for (size_t i = 0; i < count; i++) *sets[i] = made[i]; // theirs to free now
  return status == TM_OK ? 1 : tm_lua_failed(L, &work->ctx);
}

const luaL_Reg tm_lua_graph_path_methods[] = {
    {"paths", graph_paths}, {"at_paths", graph_at_paths}, {NULL, NULL}};
