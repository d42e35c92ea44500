// core.symbolize fills a profile that was just read; the binaries of a report live in a userdata,
// so that an error raised in between frees them.
#include "bind/lua_symbol.h"

#include "bind/lua_error.h"
#include "bind/lua_model.h"
#include "symbol/code.h"
#include "symbol/go_layout.h"
#include "symbol/symbolize.h"

#include <lauxlib.h>
#include <string.h>

#define CODE_META "tidemark.Code"

static const char *text_field(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return NULL;
  lua_getfield(L, index, name);
  const char *text = luaL_optstring(L, -1, NULL);
  lua_pop(L, 1); // the table keeps it
  return text;
}

// core.symbolize(profile, {mode=, binary=, binary_path=}) -> problems, a line each; or nil, err.
// Changes the profile, so call it right behind core.read. mode is pprof's -symbolize.
static int core_symbolize(lua_State *L) {
  (void)tm_lua_check_profile(L, 1);
  tm_snapshot *s = lua_touserdata(L, 1);
  tm_symbolize_options o = {.mode = text_field(L, 2, "mode"),
                            .binary_path = text_field(L, 2, "binary_path"),
                            .main_binary = text_field(L, 2, "binary")};
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_symbolize(&work->ctx, s->model, &o, &work->bytes) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  const tm_bytes *b = &work->bytes;
  lua_pushlstring(L, b->data ? (const char *)b->data : "", b->size);
  tm_lua_end_work(work);
  return 1;
}

// core.go_layout(executable) -> offsets by name (model/go_layout.def), pointer_bytes, version; or
// nil, err.
static int core_go_layout(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  tm_go_layout layout;
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_go_layout_of_binary(&work->ctx, path, &layout) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  lua_createtable(L, 0, 24);
#define TM_GO_FIELD(name, type, field)                                                             \
  if (layout.name != TM_GO_ABSENT) {                                                               \
    lua_pushinteger(L, layout.name);                                                               \
    lua_setfield(L, -2, #name);                                                                    \
  }
#include "model/go_layout.def"
#undef TM_GO_FIELD
  lua_pushinteger(L, layout.pointer_bytes);
  lua_setfield(L, -2, "pointer_bytes");
  lua_pushstring(L, layout.version);
  lua_setfield(L, -2, "version");
  return 1;
}

static int code_gc(lua_State *L) {
  tm_code **code = luaL_checkudata(L, 1, CODE_META);
  tm_code_free(*code);
  *code = NULL;
  return 0;
}

void tm_lua_push_code(lua_State *L, const tm_profile *p, const char *verb, int index,
                      tm_report_options *o) {
  if (strcmp(verb, "disasm") != 0 && strcmp(verb, "weblist") != 0) {
    lua_pushnil(L);
    return;
  }
  const char *binary = text_field(L, index, "binary"), *path = text_field(L, index, "binary_path");
  tm_code **code = lua_newuserdatauv(L, sizeof *code, 0);
  *code = NULL;
  luaL_setmetatable(L, CODE_META);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_code_new(&work->ctx, p, path, binary, code) != TM_OK)
    luaL_error(L, "%s", work->ctx.error.message);
  tm_lua_end_work(work);
  lua_pop(L, 1);
  o->code = tm_code_as_source(*code);
}

void tm_lua_add_symbols(lua_State *L) {
  static const luaL_Reg methods[] = {{"__gc", code_gc}, {"__close", code_gc}, {NULL, NULL}};
  if (luaL_newmetatable(L, CODE_META)) luaL_setfuncs(L, methods, 0);
  lua_pop(L, 1);
  lua_pushcfunction(L, core_symbolize);
  lua_setfield(L, -2, "symbolize");
  lua_pushcfunction(L, core_go_layout);
  lua_setfield(L, -2, "go_layout");
}
