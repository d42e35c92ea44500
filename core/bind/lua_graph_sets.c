// Sets of objects for trusted Lua: g:where{...} chooses, operators join, methods weigh and follow.
// All but filter() works in C over whole columns; a Set keeps its Graph alive.
#include "analyze/node_paths.h"
#include "analyze/node_tables.h"
#include "base/units.h"
#include "bind/lua_error.h"
#include "bind/lua_graph.h"

#include <string.h>

#define SET_META "tidemark.Set"

tm_node_set *tm_lua_check_set(lua_State *L, int index) {
  tm_node_set *set = luaL_checkudata(L, index, SET_META);
  if (!set->bits) luaL_error(L, "this set was freed");
  return set;
}

// The graph of the set at index; its userdata is pushed.
static tm_lua_graph *push_graph_of(lua_State *L, int index) {
  lua_getiuservalue(L, index, 1);
  return tm_lua_check_graph(L, -1);
}

static int set_gc(lua_State *L) {
  tm_node_set_fini(luaL_checkudata(L, 1, SET_META));
  return 0;
}

static void push_methods(lua_State *L);

tm_node_set *tm_lua_push_set(lua_State *L, int graph) {
  graph = lua_absindex(L, graph);
  // Lua sees a few bytes only: what the bits weigh is told to its collector as a step.
  lua_gc(L, LUA_GCSTEP, (int)(tm_lua_graph_of(tm_lua_check_graph(L, graph))->node_count >> 13));
  tm_node_set *set = lua_newuserdatauv(L, sizeof *set, 1);
  *set = (tm_node_set){0};
  lua_pushvalue(L, graph);
  lua_setiuservalue(L, -2, 1);
  if (luaL_newmetatable(L, SET_META)) push_methods(L);
  lua_setmetatable(L, -2);
  return set;
}

// ---- what is asked ----

// The text field `name` of the options, kept alive by them; NULL = absent.
static const char *text_option(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
    luaL_error(L, "'%s' must be text (a size with its unit: '1MB')", name);
  const char *text = lua_tostring(L, -1);
  lua_pop(L, 1);
  return text;
}

static bool flag_option(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  bool set = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return set;
}

// A size with its unit ("1MB"), or 0.
static tm_status size_option(lua_State *L, tm_ctx *ctx, int index, const char *name,
                             uint64_t *out) {
  const char *text = text_option(L, index, name);
  return text ? tm_parse_bytes(ctx, text, out) : TM_OK;
}

static void root_option(lua_State *L, int index, tm_node_query *q) {
  lua_getfield(L, index, "root");
  q->only_roots = lua_toboolean(L, -1);
  if (lua_isboolean(L, -1)) q->root_kinds = UINT32_MAX;
  const char *word = lua_isboolean(L, -1) ? NULL : luaL_optstring(L, -1, NULL);
  for (int kind = 0; word && kind < TM_ROOT_KINDS; kind++)
    if (strcmp(word, tm_root_kind_name((tm_root_kind)kind)) == 0) q->root_kinds |= 1u << kind;
  if (word && !q->root_kinds) luaL_error(L, "there is no kind of root '%s'", word);
  lua_pop(L, 1);
}

// Adds the nodes or ids that the field `name` holds: one, or a list. Answers whether it is there.
static bool add_listed(lua_State *L, int index, const char *name, const tm_graph *g,
                       tm_node_set *set) {
  bool is_id = strcmp(name, "id") == 0;
  lua_getfield(L, index, name);
  bool there = !lua_isnil(L, -1), list = lua_istable(L, -1);
  lua_Integer count = list ? (lua_Integer)lua_rawlen(L, -1) : there;
  for (lua_Integer i = 1; i <= count; i++) {
    if (list)
      lua_rawgeti(L, -1, i);
    else
      lua_pushvalue(L, -1);
    lua_Integer value = luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    uint32_t node = is_id                             ? g->detail->find(g, (uint64_t)value)
                    : (uint64_t)value < g->node_count ? (uint32_t)value
                                                      : TM_NODE_NONE;
    if (node != TM_NODE_NONE) tm_node_set_add(set, node);
  }
  lua_pop(L, 1);
  return there;
}

static tm_status read_query(lua_State *L, tm_ctx *ctx, int index, tm_node_query *q) {
  q->type = text_option(L, index, "type");
  q->match = text_option(L, index, "match");
  q->extends = text_option(L, index, "extends");
  q->loader = text_option(L, index, "loader");
  q->only_reachable = flag_option(L, index, "reachable");
  q->only_unreachable = flag_option(L, index, "unreachable");
  root_option(L, index, q);
  TM_TRY(size_option(L, ctx, index, "min_size", &q->min_bytes));
  TM_TRY(size_option(L, ctx, index, "max_size", &q->max_bytes));
  return size_option(L, ctx, index, "min_retained", &q->min_retained_bytes);
}

static bool asks_for_all(const tm_node_query *q) {
  return !q->type && !q->match && !q->extends && !q->loader && !q->min_bytes && !q->max_bytes
         && !q->min_retained_bytes && !q->only_reachable && !q->only_unreachable && !q->only_roots;
}

// What is listed by id or node is not searched for among all.
static tm_status choose(lua_State *L, tm_ctx *ctx, const tm_lua_graph *box, const tm_node_query *q,
                        tm_node_set *set, tm_node_set *listed) {
  const tm_graph *g = tm_lua_graph_of(box);
  TM_TRY(tm_node_set_init(ctx, g, listed));
  bool ids = add_listed(L, 2, "id", g, listed), nodes = add_listed(L, 2, "node", g, listed);
  if ((ids || nodes) && asks_for_all(q)) {
    *set = *listed;
    *listed = (tm_node_set){0};
    return TM_OK;
  }
  TM_TRY(tm_node_set_select(ctx, g, box->tree, q, set));
  if (ids || nodes) tm_node_set_join(set, listed, TM_NODE_SET_AND);
  return TM_OK;
}

// g:where{type=glob, match=regexp, extends=, loader=, min_size=, max_size=, min_retained=,
//         reachable=, unreachable=, root=kind or true, id=, node=, follow=} -> Set
static int graph_where(lua_State *L) {
  static const char *const allowed[] = {
      "type", "match", "extends",   "loader",      "min_size", "max_size", "min_retained",
      "id",   "node",  "reachable", "unreachable", "root",     "follow",   NULL};
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) {
    lua_newtable(L);
    lua_replace(L, 2);
  }
  tm_lua_check_options(L, 2, allowed);
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_node_set *set = tm_lua_push_set(L, 1), *listed = tm_lua_push_set(L, 1);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_node_query q = {0};
  tm_status status = read_query(L, &work->ctx, 2, &q);
  if (status == TM_OK && (q.only_reachable || q.only_unreachable || q.min_retained_bytes))
    status = tm_lua_graph_tree(&work->ctx, box, weakest);
  if (status == TM_OK) status = choose(L, &work->ctx, box, &q, set, listed);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_settop(L, 3);
  return 1;
}

// ---- sets ----

static int set_len(lua_State *L) {
  lua_pushinteger(L, tm_node_set_count(tm_lua_check_set(L, 1)));
  return 1;
}

static int set_tostring(lua_State *L) {
  lua_pushfstring(L, "set of %I objects", (lua_Integer)tm_node_set_count(tm_lua_check_set(L, 1)));
  return 1;
}

static int join(lua_State *L, tm_node_set_op op) {
  const tm_node_set *a = tm_lua_check_set(L, 1), *b = tm_lua_check_set(L, 2);
  tm_lua_graph *box = push_graph_of(L, 1);
  if (push_graph_of(L, 2) != box) return luaL_error(L, "these sets are of different dumps");
  tm_node_set *set = tm_lua_push_set(L, 3);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_node_set_init(&work->ctx, tm_lua_graph_of(box), set) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  tm_node_set_join(set, a, TM_NODE_SET_OR);
  tm_node_set_join(set, b, op);
  lua_pop(L, 1);
  return 1;
}

static int set_or(lua_State *L) {
  return join(L, TM_NODE_SET_OR);
}
static int set_and(lua_State *L) {
  return join(L, TM_NODE_SET_AND);
}
static int set_without(lua_State *L) {
  return join(L, TM_NODE_SET_WITHOUT);
}

static int set_shallow(lua_State *L) { // s:shallow() -> bytes
  const tm_node_set *set = tm_lua_check_set(L, 1);
  lua_pushinteger(L, (lua_Integer)tm_node_set_shallow(set, tm_lua_graph_of(push_graph_of(L, 1))));
  return 1;
}

typedef enum follow_what { RETAINED, DOMINATORS, INCOMING, OUTGOING } follow_what;

// Pushes the Set that lies beside the one at 1; its options stand at 2. NULL = failed, and
// tm_lua_failed's values are pushed.
static tm_node_set *follow(lua_State *L, follow_what what) {
  static const char *const allowed[] = {"follow", "exact", NULL};
  const tm_node_set *set = tm_lua_check_set(L, 1);
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_lua_graph *box = push_graph_of(L, 1);
  const tm_graph *g = tm_lua_graph_of(box);
  tm_node_set *out = tm_lua_push_set(L, 3);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_ctx *ctx = &work->ctx;
  tm_status status = what <= DOMINATORS ? tm_lua_graph_tree(ctx, box, weakest) : TM_OK;
  if (status == TM_OK)
    status = what == RETAINED     ? tm_node_set_retained(ctx, g, box->tree, weakest, set, out)
             : what == DOMINATORS ? tm_node_set_dominators(ctx, g, box->tree, set, out)
             : what == INCOMING   ? tm_node_set_incoming(ctx, g, weakest, set, out)
                                  : tm_node_set_outgoing(ctx, g, weakest, set, out);
  if (status != TM_OK) {
    tm_lua_failed(L, ctx);
    return NULL;
  }
  lua_settop(L, 4);
  return out;
}

static int set_retained_set(lua_State *L) { // s:retained_set{follow=} -> Set
  return follow(L, RETAINED) ? 1 : 2;
}
static int set_dominators(lua_State *L) { // s:dominators{follow=} -> Set
  return follow(L, DOMINATORS) ? 1 : 2;
}
static int set_incoming(lua_State *L) { // s:incoming{follow=} -> Set
  return follow(L, INCOMING) ? 1 : 2;
}
static int set_outgoing(lua_State *L) { // s:outgoing{follow=} -> Set
  return follow(L, OUTGOING) ? 1 : 2;
}

// s:reach{around=set, follow=} -> Set: all that the members lead to, not through those of around
static int set_reach(lua_State *L) {
  static const char *const allowed[] = {"around", "follow", NULL};
  const tm_node_set *set = tm_lua_check_set(L, 1), *around = NULL;
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_lua_graph *box = push_graph_of(L, 1);
  if (lua_istable(L, 2) && lua_getfield(L, 2, "around") != LUA_TNIL) {
    around = tm_lua_check_set(L, -1);
    if (push_graph_of(L, -1) != box) return luaL_error(L, "these sets are of different dumps");
  }
  lua_settop(L, 3);
  tm_node_set *out = tm_lua_push_set(L, 3);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_node_set_reach(&work->ctx, tm_lua_graph_of(box), weakest, set, around, out) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  lua_settop(L, 4);
  return 1;
}

static int least_retained(lua_State *L) {
  const tm_node_set *set = tm_lua_check_set(L, 1);
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_lua_graph *box = push_graph_of(L, 1);
  tm_lua_work *work = tm_lua_push_work(L);
  uint64_t bytes = 0;
  tm_status status = tm_lua_graph_tree(&work->ctx, box, weakest);
  if (status == TM_OK)
    status = tm_node_set_min_retained(&work->ctx, tm_lua_graph_of(box), box->tree, set, &bytes);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_pushinteger(L, (lua_Integer)bytes);
  return 1;
}

static int set_retained(lua_State *L) { // s:retained{follow=, exact=true} -> bytes
  bool exact = true;
  lua_settop(L, 2);
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "exact");
    exact = lua_isnil(L, -1) || lua_toboolean(L, -1);
    lua_pop(L, 1);
  }
  if (!exact) return least_retained(L);
  tm_node_set *out = follow(L, RETAINED);
  if (!out) return 2;
  lua_pushinteger(L, (lua_Integer)tm_node_set_shallow(out, tm_lua_graph_of(push_graph_of(L, 1))));
  tm_node_set_fini(out);
  return 1;
}

static int set_nodes(lua_State *L) { // s:nodes(limit) -> list of nodes
  const tm_node_set *set = tm_lua_check_set(L, 1);
  lua_Integer limit = luaL_optinteger(L, 2, LUA_MAXINTEGER), i = 0;
  lua_newtable(L);
  for (uint32_t n = tm_node_set_next(set, 0); n != TM_NODE_NONE && i < limit;
       n = tm_node_set_next(set, n + 1)) {
    lua_pushinteger(L, n);
    lua_rawseti(L, -2, ++i);
  }
  return 1;
}

static int set_filter(lua_State *L) { // s:filter(function(object) return keep end) -> Set
  const tm_node_set *set = tm_lua_check_set(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  tm_lua_graph *box = push_graph_of(L, 1);
  tm_node_set *out = tm_lua_push_set(L, 3);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_node_set_init(&work->ctx, tm_lua_graph_of(box), out) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  lua_getfield(L, 3, "node");
  for (uint32_t n = tm_node_set_next(set, 0); n != TM_NODE_NONE; n = tm_node_set_next(set, n + 1)) {
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 6); // g:node(n), as the caller would
    lua_pushvalue(L, 3);
    lua_pushinteger(L, n);
    lua_call(L, 2, 1);
    lua_call(L, 1, 1);
    if (lua_toboolean(L, -1)) tm_node_set_add(out, n);
    lua_pop(L, 1);
  }
  lua_settop(L, 4);
  return 1;
}

// ---- tables ----

static int finish(lua_State *L, tm_lua_work *work, tm_status status) {
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

// Begins a table method over the tree: the box, a work with a new table. Options stand at index.
static tm_status begin_table(tm_lua_work *work, tm_lua_graph *box, tm_strength weakest) {
  TM_TRY(tm_lua_graph_tree(&work->ctx, box, weakest));
  return tm_table_new(&work->ctx, &work->table);
}

static int option_word(lua_State *L, int index, const char *name, const char *otherwise,
                       const char *const *words) {
  if (!lua_istable(L, index)) return luaL_checkoption(L, lua_gettop(L) + 1, otherwise, words);
  lua_getfield(L, index, name);
  int word = luaL_checkoption(L, -1, otherwise, words);
  lua_pop(L, 1);
  return word;
}

static int set_rows(lua_State *L) { // s:rows{order=, nodecount=, follow=} -> Table
  static const char *const allowed[] = {"order", "nodecount", "follow", NULL};
  static const char *const orders[] = {"retained", "shallow", "node", NULL};
  const tm_node_set *set = tm_lua_check_set(L, 1);
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  tm_node_order order = (tm_node_order)option_word(L, 2, "order", "retained", orders);
  size_t count = (size_t)tm_lua_graph_count(L, 2, "nodecount");
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_lua_graph *box = push_graph_of(L, 1);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = begin_table(work, box, weakest);
  if (status == TM_OK)
    status = tm_node_rows_table(&work->ctx, tm_lua_graph_of(box), box->tree, set, order, count,
                                work->table);
  return finish(L, work, status);
}

static int set_group(lua_State *L) { // s:group("type", {nodecount=, follow=}) -> Table
  static const char *const allowed[] = {"nodecount", "follow", NULL};
  static const char *const groups[] = {"type", "package", "loader", "dominator", NULL};
  const tm_node_set *set = tm_lua_check_set(L, 1);
  lua_settop(L, 3);
  tm_node_group by = (tm_node_group)luaL_checkoption(L, 2, "type", groups);
  tm_lua_check_options(L, 3, allowed);
  size_t count = (size_t)tm_lua_graph_count(L, 3, "nodecount");
  tm_strength weakest = tm_lua_graph_strength(L, 3);
  tm_lua_graph *box = push_graph_of(L, 1);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = begin_table(work, box, weakest);
  if (status == TM_OK)
    status = tm_node_group_table(&work->ctx, tm_lua_graph_of(box), box->tree, &box->children, set,
                                 by, count, work->table);
  return finish(L, work, status);
}

static int set_paths(lua_State *L) { // s:paths{by="object", nodecount=, follow=} -> Table
  static const char *const allowed[] = {"by", "nodecount", "follow", NULL};
  static const char *const words[] = {"object", "type", NULL};
  const tm_node_set *set = tm_lua_check_set(L, 1);
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  bool by_type = option_word(L, 2, "by", "object", words);
  size_t count = (size_t)tm_lua_graph_count(L, 2, "nodecount");
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_lua_graph *box = push_graph_of(L, 1);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK)
    status = tm_node_paths_table(&work->ctx, tm_lua_graph_of(box), weakest, set, by_type, count,
                                 work->table);
  return finish(L, work, status);
}

static int references(lua_State *L, bool incoming) {
  static const char *const allowed[] = {"nodecount", "follow", NULL};
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  const tm_graph *g = tm_lua_graph_of(box);
  lua_settop(L, 3);
  uint32_t node = tm_lua_graph_node(L, g, 2);
  tm_lua_check_options(L, 3, allowed);
  size_t count = (size_t)tm_lua_graph_count(L, 3, "nodecount");
  tm_strength weakest = tm_lua_graph_strength(L, 3);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = begin_table(work, box, weakest);
  if (status == TM_OK && incoming && !box->incoming.begin)
    status = tm_graph_reverse(&work->ctx, g, TM_STRENGTH_PHANTOM, &box->incoming);
  if (status == TM_OK)
    status = tm_node_references_table(&work->ctx, g, box->tree, incoming ? &box->incoming : NULL,
                                      node, count, work->table);
  return finish(L, work, status);
}

static int graph_incoming(lua_State *L) { // g:incoming(node, {nodecount=, follow=}) -> Table
  return references(L, true);
}
static int graph_outgoing(lua_State *L) { // g:outgoing(node, {nodecount=, follow=}) -> Table
  return references(L, false);
}

// ---- registration ----

static const luaL_Reg set_methods[] = {{"shallow", set_shallow},
                                       {"retained", set_retained},
                                       {"retained_set", set_retained_set},
                                       {"dominators", set_dominators},
                                       {"incoming", set_incoming},
                                       {"outgoing", set_outgoing},
                                       {"reach", set_reach},
                                       {"nodes", set_nodes},
                                       {"filter", set_filter},
                                       {"rows", set_rows},
                                       {"group", set_group},
                                       {"paths", set_paths},
                                       {NULL, NULL}};

static const luaL_Reg set_operators[] = {
    {"__gc", set_gc},  {"__len", set_len},  {"__tostring", set_tostring},
    {"__bor", set_or}, {"__band", set_and}, {"__sub", set_without},
    {NULL, NULL}};

static void push_methods(lua_State *L) { // fills the metatable on top
  luaL_setfuncs(L, set_operators, 0);
  luaL_newlib(L, set_methods);
  lua_setfield(L, -2, "__index");
}

const luaL_Reg tm_lua_graph_sets[] = {{"where", graph_where},
                                      {"incoming", graph_incoming},
                                      {"outgoing", graph_outgoing},
                                      {NULL, NULL}};
