// core.read, and profiles for trusted Lua: reports, combinations, growth over many, writers. The
// options of a report are pprof's, by name, in one Lua table; an unknown name is an error that
// names the nearest.
#include "analyze/filtered.h"
#include "analyze/flame.h"
#include "analyze/growth.h"
#include "analyze/merge.h"
#include "analyze/report.h"
#include "analyze/report_options.h"
#include "base/clock.h"
#include "bind/lua_box.h"
#include "bind/lua_error.h"
#include "bind/lua_graph.h"
#include "bind/lua_model.h"
#include "bind/lua_symbol.h"
#include "read/hprof_histogram.h"
#include "read/reader.h"
#include "write/collapsed.h"
#include "write/pprof.h"
#include "write/speedscope.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define PROFILE_META "tidemark.Profile"
#define GROWTH_META  "tidemark.Growth"

// ---- the snapshot userdata ----

static tm_snapshot *check_snapshot(lua_State *L, int index) {
  tm_snapshot *s = luaL_checkudata(L, index, PROFILE_META);
  if (!s->model) luaL_error(L, "this profile was closed");
  return s;
}

const tm_profile *tm_lua_check_profile(lua_State *L, int index) {
  return check_snapshot(L, index)->model;
}

// ---- options ----

// An option name of the call itself, not of the report.
static bool is_own(const char *name, const char *const *own) {
  for (; own && *own; own++)
    if (strcmp(*own, name) == 0) return true;
  return false;
}

// Reads the table at index into o; texts stay owned by Lua (numbers are turned into texts in the
// table kept at the stack's top, which the caller leaves there).
static void read_options(lua_State *L, int index, const char *const *own, tm_report_options *o) {
  tm_report_options_init(o);
  lua_newtable(L); // keeps texts alive
  int keep = lua_gettop(L);
  if (lua_isnoneornil(L, index)) return;
  luaL_checktype(L, index, LUA_TTABLE);
  tm_lua_work *work = tm_lua_push_work(L);
  lua_pushnil(L);
  while (lua_next(L, index)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    if (is_own(name, own)) {
      lua_pop(L, 1);
      continue;
    }
    if (strcmp(name, "symbol") == 0) { // argument of peek and list
      o->symbol = luaL_checkstring(L, -1);
      lua_pop(L, 1);
      continue;
    }
    if (lua_isboolean(L, -1)) {
      bool yes = lua_toboolean(L, -1);
      lua_pop(L, 1);
      lua_pushstring(L, yes ? "true" : "false");
    }
    if (!tm_report_option_named(name))
      luaL_error(L, "unknown option '%s'; core.report_options() lists them", name);
    const char *text = lua_tostring(L, -1);
    if (!text) luaL_error(L, "option %s: a text, number or boolean is needed", name);
    if (tm_report_options_set(&work->ctx, o, name, text) != TM_OK)
      luaL_error(L, "%s", work->ctx.error.message);
    lua_rawseti(L, keep, (lua_Integer)lua_rawlen(L, keep) + 1);
  }
  tm_lua_end_work(work);
  lua_settop(L, keep);
}

static int core_report_options(lua_State *L) { // -> list of {name, kind, doc, default}
  static const char *const kinds[] = {"text", "real", "integer", "boolean"};
  tm_report_options o;
  tm_report_options_init(&o);
  lua_createtable(L, (int)tm_report_option_count, 0);
  for (size_t i = 0; i < tm_report_option_count; i++) {
    char buf[64];
    const tm_report_option *row = &tm_report_option_list[i];
    lua_createtable(L, 0, 4);
    lua_pushstring(L, row->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, kinds[row->kind]);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, row->doc);
    lua_setfield(L, -2, "doc");
    lua_pushstring(L, tm_report_options_get(&o, row, buf, sizeof buf));
    lua_setfield(L, -2, "default");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

// ---- methods ----

// p:report(verb, options, want) -> Table, text. want: "table", "text" or nothing for both. disasm
// and weblist also take the options binary and binary_path: where their binaries are.
static int profile_report(lua_State *L) {
  static const char *const wants[] = {"both", "table", "text", NULL};
  const tm_profile *p = tm_lua_check_profile(L, 1);
  const char *verb = luaL_checkstring(L, 2);
  int want = luaL_checkoption(L, 4, "both", wants);
  lua_settop(L, 3);
  static const char *const own[] = {"binary", "binary_path", NULL};
  tm_report_options o;
  read_options(L, 3, own, &o);
  tm_lua_push_code(L, p, verb, 3, &o);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = want == 2 ? TM_OK : tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK)
    status = tm_report(&work->ctx, p, verb, &o, want == 1 ? NULL : &work->bytes, work->table);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  if (work->table)
    tm_lua_push_table(L, work);
  else
    lua_pushnil(L);
  lua_pushlstring(L, work->bytes.data ? (const char *)work->bytes.data : "", work->bytes.size);
  tm_lua_end_work(work);
  return 2;
}

// p:flame(form, options) -> bytes. form: "svg", "html" or "json".
static int profile_flame(lua_State *L) {
  const tm_profile *p = tm_lua_check_profile(L, 1);
  const char *form = luaL_checkstring(L, 2);
  lua_settop(L, 3);
  tm_report_options o;
  read_options(L, 3, NULL, &o);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_flame(&work->ctx, p, &o, form, &work->bytes) != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_pushlstring(L, work->bytes.data ? (const char *)work->bytes.data : "", work->bytes.size);
  tm_lua_end_work(work);
  return 1;
}

static tm_status write_profile(tm_ctx *ctx, const tm_profile *p, const char *format,
                               const char *sample_index, tm_bytes *out) {
  uint32_t value = 0;
  TM_TRY(tm_profile_sample_index(ctx, p, sample_index, &value));
  if (strcmp(format, "pprof") == 0) return tm_write_pprof(ctx, p, true, out);
  if (strcmp(format, "proto") == 0) return tm_write_pprof(ctx, p, false, out);
  if (strcmp(format, "collapsed") == 0) return tm_write_collapsed(ctx, p, value, out);
  if (strcmp(format, "speedscope") == 0) return tm_write_speedscope(ctx, p, "", out);
  return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                 "no profile is written as \"%s\"; there are pprof, proto, topproto, "
                 "collapsed, speedscope",
                 format);
}

static tm_status write_filtered(tm_ctx *ctx, const tm_profile *p, const char *format,
                                const tm_report_options *o, tm_bytes *out) {
  const char *value = o->sample_index ? o->sample_index : "";
  tm_profile *left = NULL;
  bool top = strcmp(format, "topproto") == 0;
  if (!top && !tm_report_options_filter(o)) return write_profile(ctx, p, format, value, out);
  TM_TRY(top ? tm_report_topproto(ctx, p, o, &left) : tm_profile_filtered(ctx, p, o, &left));
  tm_status status = write_profile(ctx, left, top ? "pprof" : format, top ? "" : value, out);
  tm_profile_free(left);
  return status;
}

// p:write(format, sample_index or options) -> bytes; with options: what their filters leave.
static int profile_write(lua_State *L) {
  const tm_profile *p = tm_lua_check_profile(L, 1);
  const char *format = luaL_checkstring(L, 2);
  lua_settop(L, 3);
  tm_report_options o;
  tm_report_options_init(&o);
  if (lua_istable(L, 3))
    read_options(L, 3, NULL, &o);
  else
    o.sample_index = luaL_optstring(L, 3, "");
  tm_lua_work *work = tm_lua_push_work(L);
  if (write_filtered(&work->ctx, p, format, &o, &work->bytes) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  lua_pushlstring(L, work->bytes.data ? (const char *)work->bytes.data : "", work->bytes.size);
  tm_lua_end_work(work);
  return 1;
}

static void set_text(lua_State *L, const char *key, const tm_profile *p, uint32_t id) {
  lua_pushstring(L, tm_profile_text(p, id));
  lua_setfield(L, -2, key);
}

static void set_count(lua_State *L, const char *key, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, key);
}

static void push_value_type(lua_State *L, const tm_profile *p, const tm_value_type *t) {
  lua_createtable(L, 0, 2);
  set_text(L, "type", p, t->type);
  set_text(L, "unit", p, t->unit);
}

static void push_types(lua_State *L, const tm_profile *p) {
  lua_createtable(L, (int)p->types.count, 0);
  for (uint32_t i = 0; i < p->types.count; i++) {
    push_value_type(L, p, &p->types.items[i]);
    int64_t total = 0;
    for (size_t s = i; s < p->values.count; s += p->types.count)
      total = (int64_t)((uint64_t)total + (uint64_t)p->values.items[s]);
    set_count(L, "total", total);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void push_stats(lua_State *L, const tm_profile *p) {
  lua_createtable(L, 0, (int)p->stats.count);
  for (size_t i = 0; i < p->stats.count; i++) {
    lua_pushnumber(L, p->stats.items[i].value);
    lua_setfield(L, -2, tm_profile_text(p, p->stats.items[i].name));
  }
}

static void push_mappings(lua_State *L, const tm_profile *p) {
  lua_createtable(L, (int)p->mappings.count, 0);
  for (uint32_t i = 0; i < p->mappings.count; i++) {
    lua_createtable(L, 0, 2);
    set_text(L, "file", p, p->mappings.items[i].file);
    set_text(L, "build_id", p, p->mappings.items[i].build_id);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

// p:info() -> what the profile says of itself
static int profile_info(lua_State *L) {
  const tm_snapshot *s = check_snapshot(L, 1);
  const tm_profile *p = s->model;
  lua_createtable(L, 0, 16);
  push_types(L, p);
  lua_setfield(L, -2, "types");
  push_mappings(L, p);
  lua_setfield(L, -2, "binaries");
  push_stats(L, p);
  lua_setfield(L, -2, "stats");
  push_value_type(L, p, &p->period_type);
  lua_setfield(L, -2, "period_type");
  set_text(L, "default_type", p, p->default_type);
  set_text(L, "doc_url", p, p->doc_url);
  set_count(L, "samples", p->sample_count);
  set_count(L, "locations", (int64_t)p->locations.count);
  set_count(L, "functions", (int64_t)p->functions.count);
  set_count(L, "mappings", (int64_t)p->mappings.count);
  set_count(L, "labels", (int64_t)p->labels.count);
  set_count(L, "frames", (int64_t)p->stack.count);
  set_count(L, "time_ns", p->time_ns);
  set_count(L, "duration_ns", p->duration_ns);
  set_count(L, "period", p->period);
  lua_createtable(L, (int)p->comments.count, 0);
  for (uint32_t i = 0; i < p->comments.count; i++) {
    lua_pushstring(L, tm_profile_text(p, p->comments.items[i]));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_setfield(L, -2, "comments");
  return 1;
}

// p:sample_index(name) -> index from 0, type, unit
static int profile_sample_index(lua_State *L) {
  const tm_profile *p = tm_lua_check_profile(L, 1);
  const char *name = luaL_optstring(L, 2, "");
  uint32_t index;
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_profile_sample_index(&work->ctx, p, name, &index) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  lua_pushinteger(L, index);
  lua_pushstring(L, tm_profile_text(p, p->types.items[index].type));
  lua_pushstring(L, tm_profile_text(p, p->types.items[index].unit));
  return 3;
}

static int profile_index(lua_State *L) {
  const tm_snapshot *s = tm_lua_indexed(L, PROFILE_META);
  if (!s->model) return luaL_error(L, "this profile was closed");
  return tm_lua_snapshot_index(L, s, s->kind == TM_KIND_GOROUTINES ? "goroutines" : "profile");
}

static int profile_close(lua_State *L) { // frees the memory now
  tm_snapshot_fini(luaL_checkudata(L, 1, PROFILE_META));
  return 0;
}

static int profile_tostring(lua_State *L) {
  const tm_snapshot *s = luaL_checkudata(L, 1, PROFILE_META);
  const tm_profile *p = s->model;
  if (p)
    lua_pushfstring(L, "profile (%s, %d samples, %d functions)", s->format ? s->format : "combined",
                    (int)p->sample_count, (int)p->functions.count);
  else
    lua_pushliteral(L, "profile (closed)");
  return 1;
}

static const luaL_Reg profile_methods[] = {{"report", profile_report},
                                           {"write", profile_write},
                                           {"flame", profile_flame},
                                           {"info", profile_info},
                                           {"without", tm_lua_profile_without},
                                           {"sample_index", profile_sample_index},
                                           {"close", profile_close},
                                           {NULL, NULL}};

tm_snapshot *tm_lua_push_snapshot(lua_State *L) {
  tm_snapshot *s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = (tm_snapshot){0};
  static const luaL_Reg *const methods[] = {profile_methods, NULL};
  tm_lua_make_meta(L, PROFILE_META, methods, profile_index, profile_close, profile_tostring, NULL);
  lua_setmetatable(L, -2);
  return s;
}

// ---- core.read ----

// Calls progress(done, total) at most five times a second; what it answers true stops the reading.
typedef struct progress {
  lua_State *L;
  int function; // index on the stack
  uint64_t next_ns;
  atomic_bool cancel;
} progress;

static void on_progress(void *ud, uint64_t done, uint64_t total) {
  progress *p = ud;
  uint64_t now = tm_clock_mono_ns();
  if (now < p->next_ns) return;
  p->next_ns = now + 200000000;
  lua_pushvalue(p->L, p->function);
  lua_pushinteger(p->L, (lua_Integer)done);
  lua_pushinteger(p->L, (lua_Integer)total);
  bool stop = lua_pcall(p->L, 2, 1, 0) != LUA_OK || lua_toboolean(p->L, -1);
  lua_pop(p->L, 1);
  if (stop) atomic_store(&p->cancel, true);
}

static const char *field_text(lua_State *L, int index, const char *name, size_t *out_size) {
  if (!lua_istable(L, index)) return NULL;
  lua_getfield(L, index, name); // stays alive in its table
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, out_size) : NULL;
  lua_pop(L, 1);
  return text;
}

static uint64_t field_count(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return 0;
  lua_getfield(L, index, name);
  lua_Integer value = luaL_optinteger(L, -1, 0);
  lua_pop(L, 1);
  return value > 0 ? (uint64_t)value : 0;
}

// Pushes the userdata of what was read: s stands at `result`, and an empty Graph that waits for one
// is `graph`, on top of it (or NULL).
static void push_model(lua_State *L, int result, tm_lua_graph *graph) {
  tm_snapshot *s = lua_touserdata(L, result);
  if (s->kind == TM_KIND_GRAPH && graph) {
    graph->snapshot = *s;
    *s = (tm_snapshot){0};
    lua_pushvalue(L, result + 2);
  } else if (s->kind == TM_KIND_GRAPH) {
    tm_lua_push_graph(L, s);
  } else if (s->kind == TM_KIND_TRACE) {
    tm_lua_push_trace(L, s);
  } else if (s->kind == TM_KIND_TIMELINE) {
    tm_lua_push_timeline(L, s);
  } else {
    lua_pushvalue(L, result);
  }
}

// core.read(path, options) or core.read({bytes=}, options) -> Profile, Graph or Trace; nil, err; or
// a partial one and err. options: format, max_bytes (what it may unpack to), part (which of
// several dumps in the file, from 1), progress = f(done,
// total), index = { files } (see lua_graph_index.c).
static int core_read(lua_State *L) {
  size_t size = 0;
  const char *bytes = field_text(L, 1, "bytes", &size);
  const char *path = bytes ? NULL : luaL_checkstring(L, 1);
  const char *format = field_text(L, 2, "format", NULL);
  lua_settop(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *s = tm_lua_push_snapshot(L);
  int result = lua_gettop(L);
  tm_lua_graph *graph = path ? tm_lua_push_indexed(L, 2, &work->ctx, path, format) : NULL;
  if (graph && graph->snapshot.model) {
    if (!graph->snapshot.partial) return 1;
    tm_lua_push_error(L, &graph->snapshot.problem);
    return 2;
  }
  progress p = {.L = L};
  work->ctx.max_output_bytes = field_count(L, 2, "max_bytes");
  work->ctx.part = (uint32_t)field_count(L, 2, "part");
  if (lua_istable(L, 2) && lua_getfield(L, 2, "progress") == LUA_TFUNCTION) {
    luaL_checkstack(L, 8, "progress");
    p.function = lua_gettop(L);
    p.next_ns = tm_clock_mono_ns() + 500000000;
    work->ctx.progress = on_progress;
    work->ctx.progress_ud = &p;
    work->ctx.cancel = &p.cancel;
  }
  tm_status status = path ? tm_read_file(&work->ctx, path, format, s)
                          : tm_read_buffer(&work->ctx, bytes, size, format, s);
  work->ctx.progress = NULL;
  work->ctx.cancel = NULL;
  if (!s->model) return tm_lua_failed(L, &work->ctx);
  push_model(L, result, graph);
  if (status == TM_OK) return 1;
  tm_lua_push_error(L, &work->ctx.error);
  return 2;
}

// core.histogram(path, {nodecount=, progress=}) -> Table of type, count, shallow_bytes, partial;
// nil, err: a JVM heap dump by class in one pass, without a graph.
static int core_histogram(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  uint64_t count = field_count(L, 2, "nodecount");
  tm_lua_work *work = tm_lua_push_work(L);
  tm_source src;
  bool partial = false;
  if (tm_source_open_part(&work->ctx, path, &src) != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK)
    status = tm_hprof_histogram(&work->ctx, &src, (size_t)count, work->table, &partial);
  partial = partial || src.damage.status != TM_OK;
  tm_source_close(&src);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  lua_pushboolean(L, partial);
  return 2;
}

// ---- core.combine ----

enum { COMBINE_MAX = 1 << 16 };

static size_t list_length(lua_State *L, int index) {
  if (lua_isnoneornil(L, index)) return 0;
  luaL_checktype(L, index, LUA_TTABLE);
  size_t n = lua_rawlen(L, index);
  luaL_argcheck(L, n <= COMBINE_MAX, index, "too many profiles at once");
  return n;
}

static void fill_list(lua_State *L, int index, const tm_profile **out, size_t n) {
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    out[i] = tm_lua_check_profile(L, -1);
    lua_pop(L, 1);
  }
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

static bool flag(lua_State *L, int index, const char *name) {
  if (!lua_istable(L, index)) return false;
  lua_getfield(L, index, name);
  bool yes = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return yes;
}

// core.combine(sources, bases, {diff_base=, normalize=}) -> Profile, or nil, err
static int core_combine(lua_State *L) {
  lua_settop(L, 3);
  size_t sources = list_length(L, 1), bases = list_length(L, 2);
  luaL_argcheck(L, sources > 0, 1, "at least one profile is needed");
  tm_combine_options how = {.diff_base = flag(L, 3, "diff_base"),
                            .normalize = flag(L, 3, "normalize")};
  const tm_profile **list = lua_newuserdatauv(L, (sources + bases) * sizeof(const tm_profile *), 0);
  fill_list(L, 1, list, sources);
  fill_list(L, 2, list + sources, bases);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *s = tm_lua_push_snapshot(L);
  tm_profile *made = NULL;
  if (tm_profile_combine(&work->ctx, list, sources, list + sources, bases, &how, &made) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  *s = (tm_snapshot){
      .kind = TM_KIND_PROFILE, .format = "pprof", .model = made, .free_model = free_profile};
  return 1;
}

// ---- core.growth ----

typedef struct lua_growth {
  tm_growth *growth;
} lua_growth;

static lua_growth *check_growth(lua_State *L) {
  lua_growth *g = luaL_checkudata(L, 1, GROWTH_META);
  if (!g->growth) luaL_error(L, "this growth was closed");
  return g;
}

static int growth_add(lua_State *L) { // g:add(profile, time_ns)
  lua_growth *g = check_growth(L);
  const tm_profile *p = tm_lua_check_profile(L, 2);
  lua_Integer time_ns = luaL_optinteger(L, 3, 0);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_growth_add(&work->ctx, g->growth, p, time_ns) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  tm_lua_end_work(work);
  lua_pushboolean(L, true);
  return 1;
}

static int growth_table(lua_State *L) { // g:table(rows) -> Table
  lua_growth *g = check_growth(L);
  lua_Integer rows = luaL_optinteger(L, 2, 0);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK)
    status = tm_growth_table(&work->ctx, g->growth, rows > 0 ? (size_t)rows : 0, work->table);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

static int growth_close(lua_State *L) {
  lua_growth *g = luaL_checkudata(L, 1, GROWTH_META);
  tm_growth_free(g->growth);
  g->growth = NULL;
  return 0;
}

static const luaL_Reg growth_methods[] = {
    {"add", growth_add}, {"table", growth_table}, {"close", growth_close}, {NULL, NULL}};

// core.growth{by = "path" | "function", unchanged =, and the options of a report} -> Growth;
// unchanged: keys that never changed are in its table, too.
static int core_growth(lua_State *L) {
  static const char *const own[] = {"by", "unchanged", NULL};
  lua_settop(L, 1);
  const char *by = field_text(L, 1, "by", NULL);
  tm_growth_by how = by && strcmp(by, "function") == 0 ? TM_GROWTH_BY_FUNCTION : TM_GROWTH_BY_PATH;
  luaL_argcheck(L, !by || how == TM_GROWTH_BY_FUNCTION || strcmp(by, "path") == 0, 1,
                "by is \"path\" or \"function\"");
  tm_report_options o;
  read_options(L, 1, own, &o);
  int keep = lua_gettop(L);
  tm_lua_work *work = tm_lua_push_work(L);
  lua_growth *g = lua_newuserdatauv(L, sizeof *g, 1);
  g->growth = NULL;
  if (luaL_newmetatable(L, GROWTH_META)) {
    lua_pushcfunction(L, growth_close);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, growth_methods);
    lua_setfield(L, -2, "__index");
  }
  lua_setmetatable(L, -2);
  lua_pushvalue(L, keep); // the texts that the growth borrows
  lua_setiuservalue(L, -2, 1);
  if (tm_growth_new(&work->ctx, how, &o, &g->growth) != TM_OK) return tm_lua_failed(L, &work->ctx);
  if (lua_istable(L, 1) && lua_getfield(L, 1, "unchanged") != LUA_TNIL) {
    if (lua_toboolean(L, -1)) tm_growth_keep_unchanged(g->growth);
    lua_pop(L, 1);
  }
  lua_settop(L, keep + 2);
  return 1;
}

void tm_lua_add_models(lua_State *L) {
  static const luaL_Reg functions[] = {{"read", core_read},
                                       {"histogram", core_histogram},
                                       {"combine", core_combine},
                                       {"growth", core_growth},
                                       {"goroutines", tm_lua_profile_goroutines},
                                       {"check_trace", tm_lua_check_trace},
                                       {"trace_stream", tm_lua_trace_stream},
                                       {"repair_trace", tm_lua_repair_trace},
                                       {"report_options", core_report_options},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
