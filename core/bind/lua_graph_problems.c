// What a heap dump had that could not be read or resolved.
#include "bind/lua_error.h"
#include "bind/lua_graph.h"

// g:problems() -> Table of problem, count, offset (of the first, or -1), loses (1: objects or
// references that the program had). Empty for formats that do not count any.
static int graph_problems(lua_State *L) {
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK && g->detail->problems)
    status = g->detail->problems(&work->ctx, g, work->table);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

const luaL_Reg tm_lua_graph_problem_methods[] = {{"problems", graph_problems}, {NULL, NULL}};
