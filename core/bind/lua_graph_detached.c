// Heap graphs of programs with a DOM, and what only some dumps tell of an object, for trusted Lua:
// detached trees, distances, places in the source, allocation stacks.
#include "analyze/detached.h"
#include "analyze/distance.h"
#include "bind/lua_error.h"
#include "bind/lua_graph.h"

static int finish(lua_State *L, tm_lua_work *work, tm_status status) {
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

static int graph_detached(lua_State *L) { // g:detached{nodecount=, follow=} -> Table
  static const char *const allowed[] = {"nodecount", "follow", NULL};
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  size_t count = (size_t)tm_lua_graph_count(L, 2, "nodecount");
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_lua_graph_tree(&work->ctx, box, weakest);
  if (status == TM_OK) status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK)
    status =
        tm_detached_table(&work->ctx, tm_lua_graph_of(box), box->tree, weakest, count, work->table);
  return finish(L, work, status);
}

static int graph_stack(lua_State *L) { // g:stack(node) -> Table: who allocated it, leaf first
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  uint32_t node = tm_lua_graph_node(L, g, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK && g->detail->stack)
    status = g->detail->stack(&work->ctx, g, node, work->table);
  return finish(L, work, status);
}

static int graph_source(lua_State *L) { // g:source(node) -> "app.js:10:4" or nil
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  uint32_t node = tm_lua_graph_node(L, g, 2);
  char text[1024] = "";
  if (g->detail->source) g->detail->source(g, node, text, sizeof text);
  if (!text[0]) return 0;
  lua_pushstring(L, text);
  return 1;
}

// g:distance(node) -> its distance, or nil: nothing leads there. The first call measures all.
static int graph_distance(lua_State *L) {
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  const tm_graph *g = tm_lua_graph_of(box);
  uint32_t node = tm_lua_graph_node(L, g, 2);
  if (lua_getiuservalue(L, 1, 1) != LUA_TUSERDATA) {
    tm_lua_work *work = tm_lua_push_work(L);
    int32_t *all = lua_newuserdatauv(L, ((size_t)g->node_count + 1) * sizeof *all, 0);
    if (tm_distance(&work->ctx, g, all) != TM_OK) return tm_lua_failed(L, &work->ctx);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 1);
  }
  const int32_t *all = lua_touserdata(L, -1);
  if (all[node] == TM_DISTANCE_NONE) return 0;
  lua_pushinteger(L, all[node]);
  return 1;
}

const luaL_Reg tm_lua_graph_detached[] = {{"detached", graph_detached},
                                          {"stack", graph_stack},
                                          {"source", graph_source},
                                          {"distance", graph_distance},
                                          {NULL, NULL}};
