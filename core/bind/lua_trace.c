// Traces for trusted Lua: t:goroutines{} answers a Table, t:info() the facts, t:counter(name) the
// points of a counter. goroutines of a profile or dump: core.goroutines(p, options).
#include "analyze/goroutines.h"
#include "analyze/trace_floors.h"
#include "analyze/trace_profile.h"
#include "analyze/trace_times.h"
#include "bind/lua_box.h"
#include "bind/lua_error.h"
#include "bind/lua_frame.h"
#include "bind/lua_model.h"

#include <lauxlib.h>
#include <string.h>

#define TRACE_META "tidemark.Trace"

static tm_snapshot *check_box(lua_State *L) {
  tm_snapshot *box = luaL_checkudata(L, 1, TRACE_META);
  if (!box->model) luaL_error(L, "this trace was closed");
  return box;
}

static bool option_flag(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

static tm_goroutines_options check_options(lua_State *L, int index) {
  static const char *const allowed[] = {"stacks", "gone", "system", "nodecount", NULL};
  tm_goroutines_options o = {0};
  if (lua_isnoneornil(L, index)) return o;
  tm_lua_check_options(L, index, allowed);
  o.stacks = option_flag(L, index, "stacks");
  o.gone = option_flag(L, index, "gone");
  o.system = option_flag(L, index, "system");
  lua_getfield(L, index, "nodecount");
  lua_Integer n = luaL_optinteger(L, -1, 0);
  lua_pop(L, 1);
  o.row_count = n > 0 ? (size_t)n : 0;
  return o;
}

static int finish_table(lua_State *L, tm_lua_work *work, tm_status status) {
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

static int trace_goroutines(lua_State *L) { // t:goroutines{stacks=, gone=, nodecount=} -> Table
  const tm_snapshot *box = check_box(L);
  lua_settop(L, 2);
  tm_goroutines_options o = check_options(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK) status = tm_goroutines_of_trace(&work->ctx, box->model, &o, work->table);
  return finish_table(L, work, status);
}

// core.goroutines(profile or dump, options) -> Table
int tm_lua_profile_goroutines(lua_State *L) {
  const tm_profile *p = tm_lua_check_profile(L, 1);
  lua_settop(L, 2);
  tm_goroutines_options o = check_options(L, 2);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK) status = tm_goroutines_of_profile(&work->ctx, p, &o, work->table);
  return finish_table(L, work, status);
}

typedef tm_status trace_analysis(tm_ctx *ctx, const tm_trace *trace, tm_table *out);

static int analyze(lua_State *L, trace_analysis *of) {
  const tm_snapshot *box = check_box(L);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK) status = of(&work->ctx, box->model, work->table);
  return finish_table(L, work, status);
}

static int trace_spans(lua_State *L) { // t:spans() -> Table: regions and tasks by name
  return analyze(L, tm_trace_regions);
}

static int trace_unfinished(lua_State *L) { // t:unfinished() -> Table
  return analyze(L, tm_trace_unfinished);
}

static int trace_floors(lua_State *L) { // t:floors() -> Table: what each collection left
  return analyze(L, tm_trace_floors);
}

// t:frames{region= or log=, pause_ns=} -> Table
static int trace_frames(lua_State *L) {
  const tm_snapshot *box = check_box(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  tm_frames_options o = {0};
  lua_getfield(L, 2, "region"); // the texts stay on the stack
  o.region = luaL_optstring(L, -1, NULL);
  lua_getfield(L, 2, "log");
  o.log = luaL_optstring(L, -1, NULL);
  lua_getfield(L, 2, "pause_ns");
  o.pause_ns = luaL_optinteger(L, -1, 0);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK) status = tm_trace_frames(&work->ctx, box->model, &o, work->table);
  return finish_table(L, work, status);
}

static void set_integer(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

static int trace_info(lua_State *L) { // t:info() -> facts
  const tm_trace *t = check_box(L)->model;
  lua_createtable(L, 0, 20);
  set_integer(L, "format_version", t->format_version);
  set_integer(L, "generations", t->generation_count);
  set_integer(L, "batches", t->batch_count);
  set_integer(L, "duplicates", t->duplicate_count);
  set_integer(L, "events", t->event_count);
  set_integer(L, "goroutines", t->goroutines.count);
  set_integer(L, "created", t->created_count);
  set_integer(L, "ended", t->ended_count);
  set_integer(L, "regions", t->regions.count);
  set_integer(L, "tasks", t->tasks.count);
  set_integer(L, "logs", t->logs.count);
  set_integer(L, "dropped", t->dropped_count);
  set_integer(L, "gc", t->gc_count);
  set_integer(L, "duration_ns", (uint64_t)t->duration_ns);
  set_integer(L, "clock_at_ns", (uint64_t)t->clock_at_ns);
  set_integer(L, "clock_monotonic_ns", (uint64_t)t->clock_monotonic_ns);
  set_integer(L, "time_ns", (uint64_t)t->clock_unix_ns);
  return 1;
}

// t:counter("heap_live"|"heap_goal"|"procs"|"goroutines"|"collections") -> { time_ns... }, {
// value... }
static int trace_counter(lua_State *L) {
  static const char *const names[] = {"heap_live",  "heap_goal",   "procs",
                                      "goroutines", "collections", NULL};
  const tm_trace *t = check_box(L)->model;
  const tm_trace_points *points = &t->counters[luaL_checkoption(L, 2, NULL, names)];
  lua_createtable(L, (int)points->count, 0);
  lua_createtable(L, (int)points->count, 0);
  for (size_t i = 0; i < points->count; i++) {
    lua_pushinteger(L, points->items[i].time_ns);
    lua_rawseti(L, -3, (lua_Integer)i + 1);
    lua_pushinteger(L, points->items[i].value);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 2;
}

static void push_stack(lua_State *L, const tm_trace *t, uint32_t stack) { // { "function", … }
  const tm_trace_stack *s = &t->stacks.items[stack];
  lua_createtable(L, (int)(s->end - s->begin), 0);
  for (uint32_t i = s->begin; i < s->end; i++) {
    lua_pushstring(L, tm_trace_text(t, t->frames.items[i].function));
    lua_rawseti(L, -2, (lua_Integer)(i - s->begin) + 1);
  }
}

static int trace_goroutine(lua_State *L) { // t:goroutine(index) -> one that is alive, or nil
  static const char *const states[] = {"", "runnable", "running", "syscall", "waiting"};
  static const char *const spent[] = {NULL, "runnable_ns", "running_ns", "syscall_ns",
                                      "waiting_ns"};
  const tm_trace *t = check_box(L)->model;
  lua_Integer i = luaL_checkinteger(L, 2);
  if (i < 1 || (uint64_t)i > t->goroutines.count) return 0;
  const tm_goroutine *g = &t->goroutines.items[i - 1];
  lua_createtable(L, 0, 12);
  set_integer(L, "id", g->id);
  set_integer(L, "created_ns", (uint64_t)g->created_ns);
  set_integer(L, "since_ns", (uint64_t)g->since_ns);
  for (size_t s = 1; s < TM_GO_STATE_COUNT; s++) set_integer(L, spent[s], (uint64_t)g->state_ns[s]);
  lua_pushstring(L, states[g->state]);
  lua_setfield(L, -2, "state");
  lua_pushstring(L, tm_trace_text(t, g->reason));
  lua_setfield(L, -2, "reason");
  lua_pushstring(L, tm_trace_text(t, g->entry));
  lua_setfield(L, -2, "entry");
  lua_pushstring(L, tm_goroutine_creator(t, g->creation));
  lua_setfield(L, -2, "creation");
  lua_pushboolean(L, tm_goroutine_is_system(tm_trace_text(t, g->entry)));
  lua_setfield(L, -2, "system");
  push_stack(L, t, g->site);
  lua_setfield(L, -2, "stack");
  lua_pushboolean(L, g->born);
  lua_setfield(L, -2, "born");
  lua_pushboolean(L, g->foreign);
  lua_setfield(L, -2, "foreign");
  return 1;
}

static void free_profile(void *profile) {
  tm_profile_free(profile);
}

static int push_made(lua_State *L, bool for_rules, bool system) {
  const tm_snapshot *box = check_box(L);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *s = tm_lua_push_snapshot(L);
  tm_profile *made = NULL;
  tm_status status = for_rules ? tm_trace_snapshot(&work->ctx, box->model, &made)
                               : tm_trace_profile(&work->ctx, box->model, system, &made);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  *s = (tm_snapshot){
      .kind = TM_KIND_PROFILE, .format = "gotrace", .model = made, .free_model = free_profile};
  return 1;
}

// t:profile(system) -> Profile of the goroutines alive, by what they wait for
static int trace_profile(lua_State *L) {
  return push_made(L, false, lua_toboolean(L, 2));
}

static int trace_snapshot(lua_State *L) { // t:snapshot() -> Profile: what rules compare of it
  return push_made(L, true, false);
}

static int trace_regions(lua_State *L) { // t:regions() -> { {name=, begin_ns=, end_ns=, …}, … }
  const tm_trace *t = check_box(L)->model;
  lua_createtable(L, (int)t->regions.count, 0);
  for (size_t i = 0; i < t->regions.count; i++) {
    const tm_trace_region *r = &t->regions.items[i];
    lua_createtable(L, 0, 5);
    set_integer(L, "goroutine", r->goroutine);
    set_integer(L, "task", r->task);
    if (r->began) set_integer(L, "begin_ns", (uint64_t)r->begin_ns);
    if (r->end_ns >= 0) set_integer(L, "end_ns", (uint64_t)r->end_ns);
    lua_pushstring(L, tm_trace_text(t, r->name));
    lua_setfield(L, -2, "name");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static int trace_index(lua_State *L) {
  const tm_snapshot *box = tm_lua_indexed(L, TRACE_META);
  if (!box->model) return luaL_error(L, "this trace was closed");
  return tm_lua_snapshot_index(L, box, "trace");
}

static int trace_close(lua_State *L) { // frees the memory now
  tm_snapshot_fini(luaL_checkudata(L, 1, TRACE_META));
  return 0;
}

static int trace_tostring(lua_State *L) {
  const tm_snapshot *box = luaL_checkudata(L, 1, TRACE_META);
  const tm_trace *t = box->model;
  if (t)
    lua_pushfstring(L, "trace (%s, %I events, %I goroutines alive)", box->format,
                    (lua_Integer)t->event_count, (lua_Integer)t->goroutines.count);
  else
    lua_pushliteral(L, "trace (closed)");
  return 1;
}

static const luaL_Reg methods[] = {{"goroutines", trace_goroutines},
                                   {"goroutine", trace_goroutine},
                                   {"counter", trace_counter},
                                   {"regions", trace_regions},
                                   {"spans", trace_spans},
                                   {"profile", trace_profile},
                                   {"unfinished", trace_unfinished},
                                   {"frames", trace_frames},
                                   {"floors", trace_floors},
                                   {"snapshot", trace_snapshot},
                                   {"info", trace_info},
                                   {"close", trace_close},
                                   {NULL, NULL}};

static tm_snapshot *new_box(lua_State *L, int user_values) {
  tm_snapshot *box = lua_newuserdatauv(L, sizeof *box, user_values);
  *box = (tm_snapshot){0};
  static const luaL_Reg *const lists[] = {methods, NULL};
  tm_lua_make_meta(L, TRACE_META, lists, trace_index, trace_close, trace_tostring, NULL);
  lua_setmetatable(L, -2);
  return box;
}

// Room first, contents later: nothing leaks when Lua has no memory.
void tm_lua_push_trace(lua_State *L, tm_snapshot *from) {
  tm_snapshot *box = new_box(L, 0);
  *box = *from;
  *from = (tm_snapshot){0};
}

void tm_lua_push_trace_view(lua_State *L, tm_trace *trace, int owner) {
  owner = lua_absindex(L, owner);
  tm_snapshot *box = new_box(L, 1);
  lua_pushvalue(L, owner);
  lua_setiuservalue(L, -2, 1);
  *box = (tm_snapshot){.kind = TM_KIND_TRACE, .format = "gotrace", .model = trace};
}
