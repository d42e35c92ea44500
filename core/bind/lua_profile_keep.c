// p:without(fn): a profile without the samples that a function of Lua knows. Frames are made once
// for each location, and shared by all samples; the function must not change them.
#include "bind/lua_error.h"
#include "bind/lua_model.h"

#include <lauxlib.h>
#include <string.h>

static void set_text(lua_State *L, const tm_profile *p, uint32_t id, const char *key) {
  if (!id) return;
  lua_pushlstring(L, tm_profile_text(p, id), tm_strtab_length(&p->strings, id));
  lua_setfield(L, -2, key);
}

static void push_frame(lua_State *L, const tm_profile *p, const tm_location *l,
                       const tm_line *line) {
  lua_createtable(L, 0, 5);
  lua_pushinteger(L, (lua_Integer)l->address);
  lua_setfield(L, -2, "address");
  if (l->mapping != TM_PROFILE_NONE) set_text(L, p, p->mappings.items[l->mapping].file, "module");
  if (!line) return;
  const tm_function *f = &p->functions.items[line->function];
  set_text(L, p, f->name, "name");
  set_text(L, p, f->file, "file");
  lua_pushinteger(L, (lua_Integer)line->line);
  lua_setfield(L, -2, "line");
}

// The list of a location's frames, innermost first, out of the table at `cache`.
static void push_frames(lua_State *L, int cache, const tm_profile *p, uint32_t location) {
  const tm_location *l = &p->locations.items[location];
  if (lua_rawgeti(L, cache, (lua_Integer)location + 1) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  if (l->line_begin == l->line_end) {
    push_frame(L, p, l, NULL);
    lua_rawseti(L, -2, 1);
  }
  for (uint32_t i = l->line_begin; i < l->line_end; i++) {
    push_frame(L, p, l, &p->lines.items[i]);
    lua_rawseti(L, -2, (lua_Integer)(i - l->line_begin) + 1);
  }
  lua_pushvalue(L, -1);
  lua_rawseti(L, cache, (lua_Integer)location + 1);
}

// {frames = {{name=, file=, line=, module=, address=}, ...} from the leaf, values = {type = n}}
static void push_site(lua_State *L, int cache, const tm_profile *p, uint32_t sample) {
  lua_Integer n = 0;
  lua_createtable(L, 0, 2);
  lua_newtable(L);
  for (uint32_t s = tm_profile_stack_begin(p, sample); s < p->stack_end.items[sample]; s++) {
    push_frames(L, cache, p, p->stack.items[s]);
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i <= count; i++) {
      lua_rawgeti(L, -1, i);
      lua_rawseti(L, -3, ++n);
    }
    lua_pop(L, 1);
  }
  lua_setfield(L, -2, "frames");
  lua_createtable(L, 0, (int)p->types.count);
  for (size_t t = 0; t < p->types.count; t++) {
    lua_pushinteger(L, p->values.items[sample * p->types.count + t]);
    lua_setfield(L, -2, tm_profile_text(p, p->types.items[t].type));
  }
  lua_setfield(L, -2, "values");
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

// p:without(fn) -> Profile, count: fn(site) answers true for what shall not be in it. count:
// samples that are not.
int tm_lua_profile_without(lua_State *L) {
  const tm_profile *p = tm_lua_check_profile(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  lua_Integer dropped = 0;
  bool *kept = lua_newuserdatauv(L, (p->sample_count + 1) * sizeof *kept, 0);
  lua_newtable(L);
  int cache = lua_gettop(L);
  for (uint32_t i = 0; i < p->sample_count; i++) {
    lua_pushvalue(L, 2);
    push_site(L, cache, p, i);
    lua_call(L, 1, 1);
    if (tm_lua_check_profile(L, 1) != p) return luaL_error(L, "this profile was closed");
    kept[i] = !lua_toboolean(L, -1);
    dropped += !kept[i];
    lua_pop(L, 1);
  }
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *s = tm_lua_push_snapshot(L);
  tm_profile *made = NULL;
  if (tm_profile_keep(&work->ctx, p, kept, &made) != TM_OK) return tm_lua_failed(L, &work->ctx);
  *s = (tm_snapshot){
      .kind = TM_KIND_PROFILE, .format = "pprof", .model = made, .free_model = free_profile};
  lua_pushinteger(L, dropped);
  return 2;
}
