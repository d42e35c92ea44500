// Heap graphs for trusted Lua. The dominator tree is made when the first answer needs it and kept
// with the graph. Nodes are numbers from 0; an address or object id is found by g:find(id).
#include "bind/lua_graph.h"

#include "analyze/objects.h"
#include "bind/lua_box.h"
#include "bind/lua_error.h"

#include <lauxlib.h>
#include <string.h>

#define GRAPH_META "tidemark.Graph"

tm_lua_graph *tm_lua_check_graph(lua_State *L, int index) {
  tm_lua_graph *box = luaL_checkudata(L, index, GRAPH_META);
  if (!box->snapshot.model) luaL_error(L, "this graph was closed");
  return box;
}

static void drop_tree(tm_lua_graph *box) {
  tm_domchildren_fini(&box->children);
  tm_domtree_free(box->tree);
  box->tree = NULL;
}

tm_status tm_lua_graph_tree(tm_ctx *ctx, tm_lua_graph *box, tm_strength weakest) {
  if (box->tree && box->weakest == weakest) return TM_OK;
  drop_tree(box);
  TM_TRY(tm_domtree_new(ctx, tm_lua_graph_of(box), weakest, &box->tree));
  box->weakest = weakest;
  tm_status status = tm_domtree_children(ctx, box->tree, &box->children);
  if (status != TM_OK) drop_tree(box);
  return status;
}

// ---- options ----

tm_strength tm_lua_graph_strength(lua_State *L, int index) {
  static const char *const words[] = {"strong", "soft", "weak", "final", "phantom", NULL};
  if (!lua_istable(L, index)) return TM_STRENGTH_SOFT; // what stands between the app and its OOM
  lua_getfield(L, index, "follow");
  tm_strength strength = (tm_strength)luaL_checkoption(L, -1, "soft", words);
  lua_pop(L, 1);
  return strength;
}

lua_Integer tm_lua_graph_count(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return 0;
  lua_getfield(L, index, name);
  lua_Integer n = luaL_optinteger(L, -1, 0);
  lua_pop(L, 1);
  return n > 0 ? n : 0;
}

uint32_t tm_lua_graph_node(lua_State *L, const tm_graph *g, int index) {
  lua_Integer node = luaL_checkinteger(L, index);
  luaL_argcheck(L, node >= 0 && node < (lua_Integer)g->node_count, index, "no such object");
  return (uint32_t)node;
}

// ---- methods ----

static int graph_objects(lua_State *L) { // g:objects{order=, nodecount=, follow=} -> Table
  static const char *const allowed[] = {"order", "nodecount", "follow", NULL};
  static const char *const orders[] = {"retained", "shallow", "count", NULL};
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  int order = TM_OBJECTS_BY_RETAINED;
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "order");
    order = luaL_checkoption(L, -1, "retained", orders);
  }
  size_t count = (size_t)tm_lua_graph_count(L, 2, "nodecount");
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_lua_graph_tree(&work->ctx, box, weakest);
  if (status == TM_OK) status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK)
    status = tm_objects_table(&work->ctx, tm_lua_graph_of(box), box->tree, &box->children,
                              (tm_objects_order)order, count, work->table);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

static int
graph_dominated(lua_State *L) { // g:dominated(node or nil, {nodecount=, follow=}) -> Table
  static const char *const allowed[] = {"nodecount", "follow", NULL};
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 3);
  tm_lua_check_options(L, 3, allowed);
  uint32_t parent = lua_isnil(L, 2) ? TM_NODE_NONE : tm_lua_graph_node(L, tm_lua_graph_of(box), 2);
  size_t count = (size_t)tm_lua_graph_count(L, 3, "nodecount");
  tm_strength weakest = tm_lua_graph_strength(L, 3);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_lua_graph_tree(&work->ctx, box, weakest);
  if (status == TM_OK) status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK)
    status = tm_objects_dominated(&work->ctx, tm_lua_graph_of(box), box->tree, &box->children,
                                  parent, count, work->table);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

static int graph_path(lua_State *L) { // g:path(node, {follow=}) -> Table, from the root down
  static const char *const allowed[] = {"follow", NULL};
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 3);
  tm_lua_check_options(L, 3, allowed);
  uint32_t node = tm_lua_graph_node(L, tm_lua_graph_of(box), 2);
  tm_strength weakest = tm_lua_graph_strength(L, 3);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_lua_graph_tree(&work->ctx, box, weakest);
  if (status == TM_OK) status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK)
    status =
        tm_objects_path(&work->ctx, tm_lua_graph_of(box), box->tree, node, weakest, work->table);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

static int graph_fields(lua_State *L) { // g:fields(node) -> Table
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  const tm_graph *g = tm_lua_graph_of(box);
  uint32_t node = tm_lua_graph_node(L, g, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK) status = g->detail->fields(&work->ctx, g, node, work->table);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

static void set_integer(lua_State *L, const char *name, lua_Integer value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

// What only some dumps tell: V8's own size of a node, whether a document holds it.
static void set_told(lua_State *L, const tm_graph *g, uint32_t node) {
  static const char *const links[] = {NULL, "attached", "detached", NULL};
  const char *link = g->flags ? links[g->flags[node] & TM_NODE_LINK] : NULL;
  if (g->detail->raw_bytes) set_integer(L, "raw_bytes", (lua_Integer)g->detail->raw_bytes(g, node));
  if (!link) return;
  lua_pushstring(L, link);
  lua_setfield(L, -2, "dom");
}

static int graph_node(lua_State *L) { // g:node(n) -> { node, id, type, sizes, dominator, preview }
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  const tm_graph *g = tm_lua_graph_of(box);
  uint32_t node = tm_lua_graph_node(L, g, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  char text[512] = "";
  tm_status status =
      tm_lua_graph_tree(&work->ctx, box, box->tree ? box->weakest : TM_STRENGTH_SOFT);
  if (status == TM_OK) status = g->detail->preview(&work->ctx, g, node, text, sizeof text);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_createtable(L, 0, 8);
  set_integer(L, "node", node);
  set_integer(L, "id", (lua_Integer)g->detail->id(g, node));
  set_integer(L, "shallow_bytes", (lua_Integer)tm_graph_size(g, node));
  set_integer(L, "retained_bytes", (lua_Integer)tm_domtree_retained(box->tree, g, node));
  set_integer(L, "references", g->edge_begin[node + 1] - g->edge_begin[node]);
  uint32_t dominator = tm_domtree_idom(box->tree, node);
  if (dominator != TM_NODE_NONE) set_integer(L, "dominator", dominator);
  lua_pushboolean(L, box->tree->number[node] != 0);
  lua_setfield(L, -2, "reachable");
  lua_pushstring(L, tm_graph_type_name(g, node));
  lua_setfield(L, -2, "type");
  lua_pushstring(L, text);
  lua_setfield(L, -2, "preview");
  set_told(L, g, node);
  return 1;
}

static int graph_find(lua_State *L) { // g:find(id) -> node or nil
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  uint32_t node = g->detail->find(g, (uint64_t)luaL_checkinteger(L, 2));
  if (node == TM_NODE_NONE) return 0;
  lua_pushinteger(L, node);
  return 1;
}

static int graph_info(lua_State *L) { // g:info() -> facts
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  lua_createtable(L, 0, 6);
  set_integer(L, "nodes", g->node_count);
  set_integer(L, "edges", g->edge_begin ? g->edge_begin[g->node_count] : 0);
  set_integer(L, "types", (lua_Integer)g->types.count);
  set_integer(L, "roots", (lua_Integer)g->roots.count);
  set_integer(L, "shallow_bytes", (lua_Integer)g->shallow_bytes);
  lua_pushstring(L, g->id_word);
  lua_setfield(L, -2, "id_word");
  return 1;
}

static int graph_index(lua_State *L) {
  const tm_lua_graph *box = tm_lua_indexed(L, GRAPH_META);
  if (!box->snapshot.model) return luaL_error(L, "this graph was closed");
  return tm_lua_snapshot_index(L, &box->snapshot, "graph");
}

static int graph_close(lua_State *L) { // frees the memory now
  tm_lua_graph *box = luaL_checkudata(L, 1, GRAPH_META);
  drop_tree(box);
  tm_reverse_fini(&box->incoming);
  tm_snapshot_fini(&box->snapshot);
  return 0;
}

static int graph_tostring(lua_State *L) {
  const tm_lua_graph *box = luaL_checkudata(L, 1, GRAPH_META);
  const tm_graph *g = box->snapshot.model;
  if (g)
    lua_pushfstring(L, "heap graph (%s, %I objects)", box->snapshot.format,
                    (lua_Integer)g->node_count);
  else
    lua_pushliteral(L, "heap graph (closed)");
  return 1;
}

static const luaL_Reg methods[] = {
    {"objects", graph_objects}, {"dominated", graph_dominated}, {"path", graph_path},
    {"fields", graph_fields},   {"node", graph_node},           {"find", graph_find},
    {"info", graph_info},       {"close", graph_close},         {NULL, NULL}};

// A file of its own per noun: its methods are listed here.
static const luaL_Reg *const all_methods[] = {methods,
                                              tm_lua_graph_detached,
                                              tm_lua_graph_sets,
                                              tm_lua_graph_suspects,
                                              tm_lua_graph_lint,
                                              tm_lua_graph_goroutine_methods,
                                              tm_lua_graph_type_methods,
                                              tm_lua_graph_path_methods,
                                              tm_lua_graph_id_methods,
                                              tm_lua_graph_index_methods,
                                              tm_lua_graph_problem_methods,
                                              NULL};

// Room first, contents later: nothing leaks when Lua has no memory.
void tm_lua_push_graph(lua_State *L, tm_snapshot *from) {
  tm_lua_graph *box = lua_newuserdatauv(L, sizeof *box, 1); // its value: distances
  *box = (tm_lua_graph){0};
  tm_lua_make_meta(L, GRAPH_META, all_methods, graph_index, graph_close, graph_tostring, NULL);
  lua_setmetatable(L, -2);
  box->snapshot = *from;
  *from = (tm_snapshot){0};
}
