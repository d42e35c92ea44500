// g:paths{follow=} -> Profile: the objects of a heap dump by type path from the roots. Values
// objects and space; every report, difference and growth of profiles works on it.
#include "analyze/type_paths.h"
#include "bind/lua_error.h"
#include "bind/lua_graph.h"

static void free_profile(void *model) {
  tm_profile_free(model);
}

static int graph_paths(lua_State *L) {
  static const char *const allowed[] = {"follow", NULL};
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  lua_settop(L, 2);
  tm_lua_graph_names(L, 2, allowed);
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *out = tm_lua_push_snapshot(L);
  tm_profile *profile;
  if (tm_type_paths(&work->ctx, g, weakest, &profile) != TM_OK) return tm_lua_failed(L, &work->ctx);
  *out = (tm_snapshot){
      .kind = TM_KIND_PROFILE, .format = "paths", .model = profile, .free_model = free_profile};
  return 1;
}

const luaL_Reg tm_lua_graph_path_methods[] = {{"paths", graph_paths}, {NULL, NULL}};
