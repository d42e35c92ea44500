// g:use_exe(path) -> { objects=, bytes=, version= }: names the objects of a Go heap dump by the
// types of the program that wrote it. Call it right behind core.read.
#include "bind/lua_error.h"
#include "bind/lua_graph.h"
#include "read/goheap_typing.h"
#include "symbol/go_types.h"

#include <string.h>

// Functions that both the dump and the program name tell where the program was loaded; when they do
// not agree, it is another build.
static tm_status find_bias(tm_ctx *ctx, const tm_graph *g, const tm_go_types *t, const char *path,
                           uint64_t *out) {
  enum { LOOKED_AT = 256 };
  bool found = false;
  for (size_t i = 0; i < g->frames.count && i < LOOKED_AT; i++) {
    const tm_graph_frame *f = &g->frames.items[i];
    const char *name = tm_graph_text(g, f->function);
    for (size_t k = 0; k < t->functions.count; k++) {
      uint64_t bias = f->entry - t->functions.items[k].address;
      if (strcmp(tm_go_text(t, t->functions.items[k].name), name) != 0) continue;
      if (found && bias != *out)
        return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                       "%s is another build than the one that wrote the dump: %s is elsewhere",
                       path, name);
      *out = bias;
      found = true;
      break;
    }
  }
  return TM_OK;
}

static int graph_use_exe(lua_State *L) {
  tm_lua_graph *box = tm_lua_check_graph(L, 1);
  const char *path = luaL_checkstring(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_graph *g = box->snapshot.model;
  tm_go_types *types;
  tm_goheap_typed typed;
  if (box->tree && !box->snapshot.more)
    return luaL_error(L, "use_exe comes before the first question");
  if (tm_go_types_of_binary(&work->ctx, path, &types) != TM_OK) return tm_lua_failed(L, &work->ctx);
  uint64_t bias = 0;
  if (find_bias(&work->ctx, g, types, path, &bias) != TM_OK
      || tm_goheap_use_types(&work->ctx, g, types, bias, &typed) != TM_OK) {
    tm_go_types_free(types);
    return tm_lua_failed(L, &work->ctx);
  }
  lua_createtable(L, 0, 3);
  lua_pushinteger(L, typed.objects);
  lua_setfield(L, -2, "objects");
  lua_pushinteger(L, (lua_Integer)typed.bytes);
  lua_setfield(L, -2, "bytes");
  lua_pushstring(L, types->version);
  lua_setfield(L, -2, "version");
  return 1;
}

const luaL_Reg tm_lua_graph_type_methods[] = {{"use_exe", graph_use_exe}, {NULL, NULL}};
