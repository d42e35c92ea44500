// core.native_sites(profile, {whole=}) -> NativeSites: a snapshot of the malloc agent by sites.
//   s:scan(pid, {known_from=, passes=, registers=}) -> {bytes=, took_ns=, regions=, threads=,
//   running=, blocks=} s:rows(later) -> {{key=, owner=, caller=, frames={{name=, file=, line=}...},
//   live_count=, ...}} s:close(). later: NativeSites of a snapshot after the scan, or nil.
#include "bind/lua_leaks.h"

#include "bind/lua_error.h"
#include "bind/lua_model.h"
#include "live/native_leaks.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define SITES_META "tidemark.NativeSites"

typedef struct lua_sites {
  tm_allocator alloc;
  bool is_closed;
  const tm_profile *profile; // kept alive by the user value
  tm_native_leaks leaks;
} lua_sites;

static lua_sites *check_sites(lua_State *L, int index) {
  lua_sites *s = luaL_checkudata(L, index, SITES_META);
  if (s->is_closed) luaL_error(L, "these sites were closed");
  lua_getiuservalue(L, index, 1);
  s->profile = tm_lua_check_profile(L, -1); // or it was closed
  lua_pop(L, 1);
  return s;
}

static bool is_set(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return false;
  lua_getfield(L, index, name);
  bool yes = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return yes;
}

static void set_integer(lua_State *L, const char *name, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *text) {
  if (!*text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

static int core_native_sites(lua_State *L) {
  const tm_profile *p = tm_lua_check_profile(L, 1);
  lua_settop(L, 2);
  lua_sites *s = lua_newuserdatauv(L, sizeof *s, 1);
  *s = (lua_sites){.profile = p};
  tm_lua_work *work = tm_lua_push_work(L);
  s->alloc = work->ctx.alloc;
  lua_pushvalue(L, 3);
  luaL_setmetatable(L, SITES_META);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (tm_native_sites_read(&work->ctx, p, is_set(L, 2, "whole"), &s->leaks.sites) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  tm_lua_end_work(work);
  return 1;
}

static int sites_scan(lua_State *L) {
  lua_sites *s = check_sites(L, 1);
  int64_t pid = luaL_checkinteger(L, 2), passes = 2, known_from = -1;
  lua_settop(L, 3);
  if (lua_istable(L, 3)) {
    lua_getfield(L, 3, "passes");
    passes = luaL_optinteger(L, -1, passes);
    lua_getfield(L, 3, "known_from"); // -1 is the agent's UINT64_MAX
    known_from = luaL_optinteger(L, -1, known_from);
    lua_pop(L, 2);
  }
  luaL_argcheck(L, passes >= 1 && passes <= 100, 3, "passes is 1 to 100");
  const tm_heap_scan_options options = {.passes = (uint32_t)passes,
                                        .known_from = (uint64_t)known_from,
                                        .with_registers = is_set(L, 3, "registers")};
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_native_leaks_scan(&work->ctx, &s->leaks, pid, &options) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  tm_lua_end_work(work);
  tm_heap_look look = tm_heap_scan_about(s->leaks.scan);
  lua_createtable(L, 0, 6);
  set_integer(L, "bytes", (int64_t)look.bytes);
  set_integer(L, "took_ns", (int64_t)look.took_ns);
  set_integer(L, "regions", look.regions);
  set_integer(L, "threads", look.threads);
  set_integer(L, "running", look.running);
  set_integer(L, "registers", look.registers);
  set_integer(L, "blocks", (int64_t)s->leaks.blocks.count);
  return 1;
}

// ---- rows ----

static const char *last_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static void frame_name(const lua_sites *s, const tm_native_frame *f, char *out, size_t room) {
  const tm_profile *p = s->profile;
  if (f->name) {
    snprintf(out, room, "%s", tm_profile_text(p, f->name));
  } else if (f->mapping != TM_PROFILE_NONE && f->mapping < p->mappings.count) {
    const tm_mapping *m = &p->mappings.items[f->mapping];
    uint64_t offset = f->address - m->start + m->file_offset;
    snprintf(out, room, "%s+%#llx", last_name(tm_profile_text(p, m->file)),
             (unsigned long long)offset);
  } else {
    snprintf(out, room, "%#llx", (unsigned long long)f->address);
  }
}

static void push_frames(lua_State *L, const lua_sites *s, uint32_t begin, uint32_t end) {
  char name[1024];
  lua_Integer n = 0;
  lua_createtable(L, (int)(end - begin), 0);
  for (uint32_t i = begin; i < end; i++) {
    const tm_native_frame *f = &s->leaks.sites.frames.items[i];
    frame_name(s, f, name, sizeof name);
    lua_createtable(L, 0, 3);
    set_text(L, "name", name);
    set_text(L, "file", tm_profile_text(s->profile, f->file));
    if (f->line) set_integer(L, "line", f->line);
    lua_rawseti(L, -2, ++n);
  }
}

static void push_ages(lua_State *L, const tm_native_site *site) {
  lua_createtable(L, TM_AGE_STEPS, 0);
  for (int i = 0; i < TM_AGE_STEPS; i++) {
    lua_createtable(L, 0, 3);
    set_integer(L, "seconds", tm_age_steps_s[i]);
    set_integer(L, "count", site->age_count[i]);
    set_integer(L, "bytes", site->age_bytes[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "ages");
}

static void push_holder(lua_State *L, const lua_sites *s, const tm_leak_holder *h) {
  const tm_holder *root = &s->leaks.roots.items[h->root];
  lua_createtable(L, 0, 8);
  lua_pushstring(L, tm_holder_kind_name(root->kind));
  lua_setfield(L, -2, "kind");
  set_text(L, "name", root->name);
  set_text(L, "module", root->module);
  if (root->tid) set_integer(L, "tid", root->tid);
  if (h->from_site != UINT32_MAX) set_integer(L, "through", (int64_t)h->from_site + 1);
  lua_pushboolean(L, h->is_interior);
  lua_setfield(L, -2, "interior");
  set_integer(L, "count", h->count);
  set_integer(L, "bytes", h->bytes);
}

// The holders of a site follow each other; *at is the first of them that may be.
static void push_holders(lua_State *L, const lua_sites *s, uint32_t site, size_t *at) {
  lua_newtable(L);
  for (lua_Integer n = 1; *at < s->leaks.holders.count; ++*at, n++) {
    const tm_leak_holder *h = &s->leaks.holders.items[*at];
    if (h->site != site) break;
    push_holder(L, s, h);
    lua_rawseti(L, -2, n);
  }
  lua_setfield(L, -2, "holders");
}

static void push_states(lua_State *L, const tm_leak_states *states) {
  static const char *const names[TM_BLOCK_STATE_COUNT][2] = {{"lost_count", "lost_bytes"},
                                                             {"lost_too_count", "lost_too_bytes"},
                                                             {"interior_count", "interior_bytes"},
                                                             {"held_count", "held_bytes"}};
  for (int i = 0; i < TM_BLOCK_STATE_COUNT; i++) {
    set_integer(L, names[i][0], states->count[i]);
    set_integer(L, names[i][1], states->bytes[i]);
  }
}

static void push_site(lua_State *L, const lua_sites *s, const tm_native_site *site) {
  char text[1024];
  const tm_native_frame *frames = &s->leaks.sites.frames.items[site->frame_begin];
  lua_createtable(L, 0, 24);
  snprintf(text, sizeof text, "%016llx", (unsigned long long)site->key);
  set_text(L, "key", text);
  if (site->frame_count) {
    frame_name(s, &frames[site->owner], text, sizeof text);
    set_text(L, "owner", text);
  }
  if (site->caller != UINT32_MAX) {
    frame_name(s, &frames[site->caller], text, sizeof text);
    set_text(L, "caller", text);
    set_integer(L, "caller_frame", (int64_t)site->caller + 1);
  }
  set_integer(L, "owner_frame", (int64_t)site->owner + 1);
  push_frames(L, s, site->frame_begin, site->frame_begin + site->frame_count);
  lua_setfield(L, -2, "frames");
  push_frames(L, s, site->frame_begin, site->frame_end);
  lua_setfield(L, -2, "stack");
  set_integer(L, "samples", site->sample_count);
  set_integer(L, "live_count", site->live_count);
  set_integer(L, "live_bytes", site->live_bytes);
  set_integer(L, "made_count", site->made_count);
  set_integer(L, "made_bytes", site->made_bytes);
  push_ages(L, site);
}

static int sites_rows(lua_State *L) {
  lua_sites *s = check_sites(L, 1);
  const tm_native_sites *later = lua_isnoneornil(L, 2) ? NULL : &check_sites(L, 2)->leaks.sites;
  size_t holder = 0;
  tm_lua_work *work = tm_lua_push_work(L);
  if (s->leaks.scan && tm_native_leaks_settle(&work->ctx, &s->leaks, later) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  tm_lua_end_work(work);
  lua_createtable(L, (int)s->leaks.sites.sites.count, 0);
  for (uint32_t i = 0; i < s->leaks.sites.sites.count; i++) {
    push_site(L, s, &s->leaks.sites.sites.items[i]);
    if (s->leaks.scan) {
      push_states(L, &s->leaks.states.items[i]);
      push_holders(L, s, i, &holder);
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static int sites_close(lua_State *L) {
  lua_sites *s = luaL_checkudata(L, 1, SITES_META);
  if (s->is_closed) return 0;
  tm_ctx ctx;
  tm_ctx_init(&ctx, &s->alloc);
  tm_native_leaks_fini(&ctx, &s->leaks);
  tm_ctx_fini(&ctx);
  s->is_closed = true;
  return 0;
}

void tm_lua_add_leaks(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"scan", sites_scan}, {"rows", sites_rows}, {"close", sites_close}, {NULL, NULL}};
  luaL_newmetatable(L, SITES_META);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, sites_close);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, sites_close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
  lua_pushcfunction(L, core_native_sites);
  lua_setfield(L, -2, "native_sites");
}
