// Objects across snapshots whose ids are stable (V8): g:ids() -> Ids, what g holds, small enough to
// keep when g is closed; g:born(before, after) -> Set of g's objects that are in `after` and not in
// `before`: allocated between the two, and still alive.
#include "analyze/node_set.h"
#include "bind/lua_error.h"
#include "bind/lua_graph.h"

#include <stdlib.h>

#define IDS_META "tidemark.Ids"

enum { TICK = 1 << 20 };

typedef struct ids {
  tm_allocator alloc;
  uint64_t *items; // ascending
  size_t count;
} ids;

static int compare_ids(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static bool has(const ids *list, uint64_t id) {
  return list->count && bsearch(&id, list->items, list->count, sizeof id, compare_ids);
}

static int ids_gc(lua_State *L) {
  ids *list = luaL_checkudata(L, 1, IDS_META);
  tm_ctx ctx = {.alloc = list->alloc};
  if (list->items) tm_free(&ctx, list->items, list->count * sizeof *list->items);
  list->items = NULL;
  list->count = 0;
  return 0;
}

static int ids_length(lua_State *L) {
  const ids *list = luaL_checkudata(L, 1, IDS_META);
  lua_pushinteger(L, (lua_Integer)list->count);
  return 1;
}

static int graph_ids(lua_State *L) {
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  ids *list = lua_newuserdatauv(L, sizeof *list, 0);
  *list = (ids){0};
  if (luaL_newmetatable(L, IDS_META)) {
    lua_pushcfunction(L, ids_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, ids_length);
    lua_setfield(L, -2, "__len");
  }
  lua_setmetatable(L, -2);
  tm_lua_work *work = tm_lua_push_work(L);
  list->alloc = work->ctx.alloc;
  list->items = tm_alloc(&work->ctx, g->node_count * sizeof *list->items);
  if (!list->items) return tm_lua_failed(L, &work->ctx);
  list->count = g->node_count;
  bool sorted = true;
  for (uint32_t n = 0; n < g->node_count; n++) {
    list->items[n] = g->detail->id(g, n);
    sorted = sorted && (!n || list->items[n - 1] <= list->items[n]);
  }
  if (!sorted) qsort(list->items, list->count, sizeof *list->items, compare_ids);
  lua_pop(L, 1);
  return 1;
}

static int graph_born(lua_State *L) {
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  const ids *before = luaL_checkudata(L, 2, IDS_META), *after = luaL_checkudata(L, 3, IDS_META);
  tm_node_set *set = tm_lua_push_set(L, 1);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_node_set_init(&work->ctx, g, set);
  for (uint32_t n = 0; status == TM_OK && n < g->node_count; n++) {
    uint64_t id = g->detail->id(g, n);
    if (has(after, id) && !has(before, id)) tm_node_set_add(set, n);
    if (n % TICK == 0) status = tm_ctx_tick(&work->ctx, n);
  }
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_pop(L, 1);
  return 1;
}

const luaL_Reg tm_lua_graph_id_methods[] = {{"ids", graph_ids}, {"born", graph_born}, {NULL, NULL}};
