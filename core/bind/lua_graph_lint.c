// What a heap wastes, for trusted Lua: questions to a graph about one of its sets.
#include "analyze/lint.h"
#include "bind/lua_error.h"
#include "bind/lua_graph.h"

// The Graph at 1 with the tree of its last answer (soft references hold), and a work.
static tm_lua_work *begin(lua_State *L, tm_lua_graph **box, tm_status *status) {
  *box = tm_lua_check_graph(L, 1);
  tm_lua_work *work = tm_lua_push_work(L);
  *status = tm_lua_graph_tree(&work->ctx, *box, TM_STRENGTH_SOFT);
  if (*status == TM_OK) *status = tm_table_new(&work->ctx, &work->table);
  return work;
}

static int finish(lua_State *L, tm_lua_work *work, tm_status status) {
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

static const tm_node_set *set_of(lua_State *L, const tm_lua_graph *box) {
  const tm_node_set *set = tm_lua_check_set(L, 2);
  lua_getiuservalue(L, 2, 1);
  if (tm_lua_check_graph(L, -1) != box) luaL_argerror(L, 2, "a set of another dump");
  lua_pop(L, 1);
  return set;
}

static int graph_duplicates(lua_State *L) { // g:duplicates(set, {nodecount=}) -> Table
  static const char *const allowed[] = {"nodecount", NULL};
  tm_lua_graph *box;
  tm_status status;
  lua_settop(L, 3);
  tm_lua_check_options(L, 3, allowed);
  size_t count = (size_t)tm_lua_graph_count(L, 3, "nodecount");
  tm_lua_work *work = begin(L, &box, &status);
  const tm_node_set *set = set_of(L, box);
  if (status == TM_OK)
    status =
        tm_lint_duplicates(&work->ctx, tm_lua_graph_of(box), box->tree, set, count, work->table);
  return finish(L, work, status);
}

static int graph_zeros(lua_State *L) { // g:zeros(set) -> Set
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  const tm_node_set *set = set_of(L, box);
  tm_node_set *out = tm_lua_push_set(L, 1);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_lint_zeros(&work->ctx, tm_lua_graph_of(box), set, out) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  lua_pop(L, 1);
  return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

// g:fill(set, size_field, array_field or nil) -> { count, empty_count, ... }
static int graph_fill(lua_State *L) {
  tm_lua_graph *box;
  tm_status status;
  tm_lint_fill fill;
  const char *size_field = luaL_checkstring(L, 3), *array_field = luaL_optstring(L, 4, NULL);
  tm_lua_work *work = begin(L, &box, &status);
  const tm_node_set *set = set_of(L, box);
  if (status == TM_OK)
    status = tm_lint_fill_ratios(&work->ctx, tm_lua_graph_of(box), box->tree, set, size_field,
                                 array_field, &fill);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_createtable(L, 0, 9);
  set_count(L, "count", fill.count);
  set_count(L, "empty_count", fill.empty_count);
  set_count(L, "empty_bytes", fill.empty_bytes);
  set_count(L, "sparse_count", fill.sparse_count);
  set_count(L, "elements", fill.elements);
  set_count(L, "capacity", fill.capacity);
  set_count(L, "waste_bytes", fill.waste_bytes);
  if (fill.example != TM_NODE_NONE) set_count(L, "node", fill.example);
  return 1;
}

static int graph_values(lua_State *L) { // g:values(set, field) -> how many have it, how many differ
  uint64_t count, different;
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  const tm_node_set *set = set_of(L, box);
  const char *field = luaL_checkstring(L, 3);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_lint_values(&work->ctx, tm_lua_graph_of(box), set, field, &count, &different) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  lua_pushinteger(L, (lua_Integer)count);
  lua_pushinteger(L, (lua_Integer)different);
  return 2;
}

static int graph_classes(lua_State *L) { // g:duplicate_classes() -> Table
  tm_lua_graph *box;
  tm_status status;
  tm_lua_work *work = begin(L, &box, &status);
  if (status == TM_OK)
    status = tm_lint_classes(&work->ctx, tm_lua_graph_of(box), box->tree, work->table);
  return finish(L, work, status);
}

static int graph_weak_references(lua_State *L) { // g:weak_references() -> Table
  tm_lua_graph *box;
  tm_status status;
  tm_lua_work *work = begin(L, &box, &status);
  if (status == TM_OK)
    status = tm_lint_references(&work->ctx, tm_lua_graph_of(box), box->tree, work->table);
  return finish(L, work, status);
}

// g:contents(node) -> the bytes of a string or of an array without references, or nil
static int graph_contents(lua_State *L) {
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  uint32_t node = tm_lua_graph_node(L, g, 2);
  tm_contents c;
  if (!g->detail->contents || !g->detail->contents(g, node, &c)) return 0;
  lua_pushlstring(L, (const char *)c.data, (size_t)c.size_bytes);
  return 1;
}

const luaL_Reg tm_lua_graph_lint[] = {{"duplicates", graph_duplicates},
                                      {"zeros", graph_zeros},
                                      {"fill", graph_fill},
                                      {"values", graph_values},
                                      {"duplicate_classes", graph_classes},
                                      {"weak_references", graph_weak_references},
                                      {"contents", graph_contents},
                                      {NULL, NULL}};
