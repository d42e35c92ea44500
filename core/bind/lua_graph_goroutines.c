// Goroutines of a Go heap dump for trusted Lua: g:goroutine_profile{exe=} is a Profile of them,
// g:proof{layout=, exe=} a Table of those that can never run again.
#include "analyze/goroutine_proof.h"
#include "bind/lua_error.h"
#include "bind/lua_graph.h"
#include "read/goheap_waits.h"
#include "symbol/binary.h"
#include "symbol/go_layout.h"

#include <string.h>

// The executable of a dump and how far from its own addresses it was loaded.
typedef struct program {
  tm_binary *binary;
  uint64_t bias;
} program;

static tm_status program_frames(tm_ctx *ctx, void *ud, uint64_t pc, tm_code_frame *frames,
                                uint32_t room, uint32_t *out_count) {
  const program *p = ud;
  return tm_binary_frames(ctx, p->binary, pc - 1 - p->bias, frames, room, out_count);
}

// A function that both the dump and the file name tells how they differ.
static uint64_t find_bias(const tm_graph *g, const tm_binary *binary) {
  size_t count;
  const tm_code_symbol *symbols = tm_binary_symbols(binary, &count);
  for (size_t i = 0; i < g->frames.count && i < 64; i++) {
    const tm_graph_frame *f = &g->frames.items[i];
    const char *name = tm_graph_text(g, f->function);
    for (size_t k = 0; k < count; k++)
      if (strcmp(symbols[k].name, name) == 0) return f->entry - symbols[k].address;
  }
  return 0;
}

// The profile of the dump's goroutines; exe may be NULL.
static tm_status make_profile(tm_ctx *ctx, const tm_graph *g, const char *exe, tm_profile **out) {
  if (!exe) return tm_goroutine_profile(ctx, g, NULL, out);
  program p = {0};
  tm_goroutine_code code = {&p, program_frames};
  TM_TRY(tm_binary_open(ctx, exe, &p.binary));
  p.bias = find_bias(g, p.binary);
  tm_status status = tm_goroutine_profile(ctx, g, &code, out);
  tm_binary_free(p.binary);
  return status;
}

static const char *option_text(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return NULL;
  lua_getfield(L, index, name);
  const char *text = luaL_optstring(L, -1, NULL);
  lua_pop(L, 1); // the table keeps it
  return text;
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

// g:goroutine_profile{exe=} -> Profile; nil, err. Empty for dumps of other makers.
static int graph_goroutine_profile(lua_State *L) {
  static const char *const allowed[] = {"exe", NULL};
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  lua_settop(L, 2);
  tm_lua_check_options(L, 2, allowed);
  const char *exe = option_text(L, 2, "exe");
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *out = tm_lua_push_snapshot(L);
  tm_profile *profile;
  if (make_profile(&work->ctx, g, exe, &profile) != TM_OK) return tm_lua_failed(L, &work->ctx);
  *out = (tm_snapshot){
      .kind = TM_KIND_GOROUTINES, .format = "goheap", .model = profile, .free_model = free_profile};
  return 1;
}

// g:allocations() -> Profile: what the dump tells of allocations by stack; nil when it tells
// nothing.
static int graph_allocations(lua_State *L) {
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  if (!g->detail->allocations) return 0;
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *out = tm_lua_push_snapshot(L);
  tm_profile *profile;
  if (g->detail->allocations(&work->ctx, g, &profile) != TM_OK) return tm_lua_failed(L, &work->ctx);
  if (!profile) return 0;
  *out = (tm_snapshot){.kind = TM_KIND_PROFILE,
                       .format = "allocations",
                       .model = profile,
                       .free_model = free_profile};
  return 1;
}

// g:go_version() -> "go1.26.8", pointer_bytes; nothing for dumps of other makers.
static int graph_go_version(lua_State *L) {
  const char *version;
  uint32_t pointer_bytes;
  if (!tm_goheap_version(tm_lua_graph_of(tm_lua_check_graph(L, 1)), &version, &pointer_bytes))
    return 0;
  lua_pushstring(L, version);
  lua_pushinteger(L, pointer_bytes);
  return 2;
}

static uint32_t layout_field(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  lua_Integer value = lua_tointeger(L, -1);
  bool there = lua_isinteger(L, -1) && value >= 0 && value < TM_GO_ABSENT;
  lua_pop(L, 1);
  return there ? (uint32_t)value : TM_GO_ABSENT;
}

static tm_go_layout check_layout(lua_State *L, int index) {
  tm_go_layout l = {0};
  lua_getfield(L, index, "layout");
  luaL_checktype(L, -1, LUA_TTABLE);
  int table = lua_gettop(L);
  l.pointer_bytes = layout_field(L, table, "pointer_bytes");
#define TM_GO_FIELD(name, type, path) l.name = layout_field(L, table, #name);
#include "model/go_layout.def"
#undef TM_GO_FIELD
  lua_pop(L, 1);
  return l;
}

static tm_status prove(tm_lua_work *work, const tm_graph *g, const tm_go_layout *layout,
                       const char *exe, const tm_proof_options *options) {
  tm_ctx *ctx = &work->ctx;
  tm_waits waits = {0};
  tm_profile *profile = NULL;
  tm_status status = tm_goheap_waits(ctx, g, layout, &waits);
  if (status == TM_OK) status = make_profile(ctx, g, exe, &profile);
  if (status == TM_OK) status = tm_table_new(ctx, &work->table);
  if (status == TM_OK) status = tm_goroutine_proof(ctx, g, &waits, profile, options, work->table);
  tm_waits_fini(ctx, &waits);
  tm_profile_free(profile);
  return status;
}

// g:proof{layout=, exe=, stacks=, nodecount=} -> Table; nil, err
static int graph_proof(lua_State *L) {
  static const char *const allowed[] = {"layout", "exe", "stacks", "nodecount", NULL};
  const tm_graph *g = tm_lua_graph_of(tm_lua_check_graph(L, 1));
  lua_settop(L, 2);
  luaL_checktype(L, 2, LUA_TTABLE);
  tm_lua_check_options(L, 2, allowed);
  tm_go_layout layout = check_layout(L, 2);
  const char *exe = option_text(L, 2, "exe");
  tm_proof_options options = {.row_count = (size_t)tm_lua_graph_count(L, 2, "nodecount")};
  lua_getfield(L, 2, "stacks");
  options.stacks = lua_toboolean(L, -1);
  tm_lua_work *work = tm_lua_push_work(L);
  if (prove(work, g, &layout, exe, &options) != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

const luaL_Reg tm_lua_graph_goroutine_methods[] = {{"goroutine_profile", graph_goroutine_profile},
                                                   {"go_version", graph_go_version},
                                                   {"proof", graph_proof},
                                                   {"allocations", graph_allocations},
                                                   {NULL, NULL}};
