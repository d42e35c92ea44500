// Saved indexes of heap dumps: core.read(path, { index = { files } }) answers from the first file
// that is one of this very dump; g:indexed() says whether it did, g:index_problem() why a file that
// is there was not taken, and g:save_index(path) writes one. The tree of soft references goes with
// it: the default of all questions.
#include "bind/lua_error.h"
#include "bind/lua_graph.h"
#include "read/graph_index.h"
#include "read/reader.h"
#include "write/graph_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { INDEXES_MAX = 8 };
static const tm_strength with_tree = TM_STRENGTH_SOFT;

static tm_status try_index(tm_ctx *ctx, const char *path, const char *format, const char *index,
                           tm_lua_graph *box) {
  TM_TRY(tm_read_by_index(ctx, path, format, index, &box->snapshot));
  tm_status status =
      tm_domtree_take(box->snapshot.more, box->snapshot.model, &box->tree, &box->children);
  if (status != TM_OK) tm_snapshot_fini(&box->snapshot);
  box->weakest = with_tree;
  return status;
}

static void identify(tm_ctx *ctx, const char *path, tm_lua_graph *box) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  box->has_identity = tm_index_identify(ctx, fd, &box->identity) == TM_OK;
  close(fd);
  tm_ctx_clear(ctx);
}

// Whether the file is simply not there.
static bool is_absent(const char *path) {
  return access(path, F_OK) != 0 && errno != EACCES;
}

tm_lua_graph *tm_lua_push_indexed(lua_State *L, int options, tm_ctx *ctx, const char *path,
                                  const char *format) {
  tm_snapshot none = {0};
  if (!lua_istable(L, options) || lua_getfield(L, options, "index") != LUA_TTABLE) return NULL;
  tm_lua_push_graph(L, &none);
  tm_lua_graph *box = lua_touserdata(L, -1);
  identify(ctx, path, box);
  for (lua_Integer i = 1; i <= INDEXES_MAX && box->has_identity && !box->tree; i++) {
    const char *index = lua_rawgeti(L, -2, i) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1); // its table keeps it
    if (!index) break;
    if (is_absent(index)) continue;
    if (try_index(ctx, path, format, index, box) != TM_OK && !box->index_problem[0])
      snprintf(box->index_problem, sizeof box->index_problem, "%.255s", ctx->error.message);
    tm_ctx_clear(ctx);
  }
  return box;
}

static int graph_indexed(lua_State *L) { // g:indexed() -> whether it came from a saved index
  lua_pushboolean(L, tm_lua_check_graph(L, 1)->snapshot.more != NULL);
  return 1;
}

static int graph_index_problem(lua_State *L) { // g:index_problem() -> text or nil
  const tm_lua_graph *box = tm_lua_check_graph(L, 1);
  if (!box->index_problem[0]) return 0;
  lua_pushstring(L, box->index_problem);
  return 1;
}

static tm_status store_tree(tm_columns *columns, void *ud) {
  const tm_lua_graph *box = ud;
  return tm_domtree_store(columns, box->tree, &box->children);
}

static int graph_save_index(lua_State *L) { // g:save_index(path) -> bytes; nil, err
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  const char *path = luaL_checkstring(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_ctx *ctx = &work->ctx;
  uint64_t bytes = 0;
  tm_status status = TM_OK;
  if (!box->has_identity)
    status = tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                     "an index is of a file that was read with { index = { ... } }");
  if (status == TM_OK) status = tm_lua_graph_tree(ctx, box, with_tree);
  if (status == TM_OK)
    status =
        tm_graph_index_write(ctx, path, &box->snapshot, &box->identity, store_tree, box, &bytes);
  if (status != TM_OK) return tm_lua_failed(L, ctx);
  lua_pushinteger(L, (lua_Integer)bytes);
  return 1;
}

const luaL_Reg tm_lua_graph_index_methods[] = {{"indexed", graph_indexed},
                                               {"index_problem", graph_index_problem},
                                               {"save_index", graph_save_index},
                                               {NULL, NULL}};
