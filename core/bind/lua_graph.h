// What the files of Graph's methods share: the userdata, its dominator tree, and options.
#ifndef TM_BIND_LUA_GRAPH_H
#define TM_BIND_LUA_GRAPH_H

#include "analyze/node_set.h"
#include "bind/lua_frame.h"
#include "bind/lua_model.h"
#include "model/graph_index.h"

#include <lauxlib.h>

typedef struct tm_lua_graph {
  tm_snapshot snapshot;
  tm_domtree *tree; // over edges at most as weak as `weakest`; NULL = not made yet
  tm_domchildren children;
  tm_strength weakest;
  tm_reverse incoming;        // edges of every strength; empty = not made yet
  tm_index_identity identity; // of the file it was read from, when its index may be saved
  bool has_identity;
  char index_problem[256]; // why a saved index was not taken
} tm_lua_graph;

// When the table at `options` has a field `index`: pushes a Graph, and fills it from the first of
// its files that is a saved index of the dump. It stays empty when none is. NULL = not asked for.
tm_lua_graph *tm_lua_push_indexed(lua_State *L, int options, tm_ctx *ctx, const char *path,
                                  const char *format);

// The Graph at index, or Lua's argument error; raises when it was closed.
tm_lua_graph *tm_lua_check_graph(lua_State *L, int index);

static inline const tm_graph *tm_lua_graph_of(const tm_lua_graph *box) {
  return box->snapshot.model;
}

// Makes box->tree and box->children over edges at most as weak as `weakest`, unless they stand.
tm_status tm_lua_graph_tree(tm_ctx *ctx, tm_lua_graph *box, tm_strength weakest);

// Methods in files of their own; ended by {NULL, NULL}.
extern const luaL_Reg tm_lua_graph_goroutine_methods[]; // lua_graph_goroutines.c
extern const luaL_Reg tm_lua_graph_type_methods[];      // lua_graph_types.c
extern const luaL_Reg tm_lua_graph_path_methods[];      // lua_graph_paths.c
extern const luaL_Reg tm_lua_graph_id_methods[];        // lua_graph_ids.c
extern const luaL_Reg tm_lua_graph_index_methods[];     // lua_graph_index.c
extern const luaL_Reg tm_lua_graph_problem_methods[];   // lua_graph_problems.c

// ---- options: the table at index, or nothing; tm_lua_check_options checks its names ----

// Its `follow`: "strong", "soft" (the default), "weak", "final", "phantom".
tm_strength tm_lua_graph_strength(lua_State *L, int index);
// Its field `name`, a count; 0 when it is absent or negative.
lua_Integer tm_lua_graph_count(lua_State *L, int index, const char *name);
// The node number at index, checked.
uint32_t tm_lua_graph_node(lua_State *L, const tm_graph *g, int index);

// ---- sets (lua_graph_sets.c) ----

// The Set at index, or Lua's argument error.
tm_node_set *tm_lua_check_set(lua_State *L, int index);
// Pushes an empty Set of the Graph at index `graph`, to be filled: nothing leaks when Lua has no
// memory.
tm_node_set *tm_lua_push_set(lua_State *L, int graph);

// Methods of Graph in files of their own, each list ended by NULL.
extern const luaL_Reg tm_lua_graph_sets[];
extern const luaL_Reg tm_lua_graph_detached[];
extern const luaL_Reg tm_lua_graph_suspects[];
extern const luaL_Reg tm_lua_graph_lint[];

#endif
