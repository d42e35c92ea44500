// Who holds a heap, for trusted Lua: suspects and what piles up below one, consumers by many keys,
// and what garbage held. All answer Tables.
#include "analyze/consumers.h"
#include "analyze/garbage.h"
#include "analyze/suspects.h"
#include "bind/lua_error.h"
#include "bind/lua_graph.h"

static tm_status begin(tm_lua_work *work, tm_lua_graph *box, tm_strength weakest) {
  TM_TRY(tm_lua_graph_tree(&work->ctx, box, weakest));
  return tm_table_new(&work->ctx, &work->table);
}

static int finish(lua_State *L, tm_lua_work *work, tm_status status) {
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

static int graph_suspects(lua_State *L) { // g:suspects{share=0.1, references=, fans=, follow=}
  static const char *const allowed[] = {"share", "references", "fans", "follow", NULL};
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  tm_suspects_options options = {0};
  lua_Integer references = tm_lua_graph_count(L, 2, "references");
  options.min_references = references > UINT32_MAX ? UINT32_MAX : (uint32_t)references;
  options.fan_count = (size_t)tm_lua_graph_count(L, 2, "fans");
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "share");
    options.min_share_ratio = luaL_optnumber(L, -1, 0);
  }
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = begin(work, box, weakest);
  if (status == TM_OK)
    status = tm_suspects_table(&work->ctx, tm_lua_graph_of(box), box->tree, &box->children,
                               &options, work->table);
  return finish(L, work, status);
}

static int graph_piles(lua_State *L) { // g:piles(node, {levels=6, most_bytes=, follow=})
  static const char *const allowed[] = {"levels", "most_bytes", "follow", NULL};
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 3);
  uint32_t node = tm_lua_graph_node(L, tm_lua_graph_of(box), 2);
  tm_lua_check_options(L, 3, allowed);
  lua_Integer levels = tm_lua_graph_count(L, 3, "levels");
  uint64_t most_bytes = (uint64_t)tm_lua_graph_count(L, 3, "most_bytes");
  tm_strength weakest = tm_lua_graph_strength(L, 3);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = begin(work, box, weakest);
  if (status == TM_OK)
    status =
        tm_suspects_pile(&work->ctx, tm_lua_graph_of(box), box->tree, &box->children, node,
                         levels && levels < 64 ? (uint32_t)levels : 6, most_bytes, work->table);
  return finish(L, work, status);
}

// g:consumers("package", {nodecount=, follow=}) -> Table
static int graph_consumers(lua_State *L) {
  static const char *const allowed[] = {"nodecount", "follow", NULL};
  static const char *const keys[] = {"type",   "package", "loader", "module", "context",
                                     "global", "root",    "thread", "heap",   NULL};
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 3);
  tm_consumer by = (tm_consumer)luaL_checkoption(L, 2, "type", keys);
  tm_lua_check_options(L, 3, allowed);
  size_t count = (size_t)tm_lua_graph_count(L, 3, "nodecount");
  tm_strength weakest = tm_lua_graph_strength(L, 3);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = begin(work, box, weakest);
  if (status == TM_OK)
    status = tm_consumers_table(&work->ctx, tm_lua_graph_of(box), box->tree, &box->children,
                                weakest, by, count, work->table);
  return finish(L, work, status);
}

static int graph_garbage(lua_State *L) { // g:garbage{nodecount=, follow=} -> Table
  static const char *const allowed[] = {"nodecount", "follow", NULL};
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  size_t count = (size_t)tm_lua_graph_count(L, 2, "nodecount");
  tm_strength weakest = tm_lua_graph_strength(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = begin(work, box, weakest);
  if (status == TM_OK)
    status =
        tm_garbage_table(&work->ctx, tm_lua_graph_of(box), box->tree, weakest, count, work->table);
  return finish(L, work, status);
}

const luaL_Reg tm_lua_graph_suspects[] = {{"suspects", graph_suspects},
                                          {"piles", graph_piles},
                                          {"consumers", graph_consumers},
                                          {"garbage", graph_garbage},
                                          {NULL, NULL}};
