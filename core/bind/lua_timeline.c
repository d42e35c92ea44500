// Timelines for trusted Lua: t:tasks{over_ns=, thread=}, t:asyncs(), t:counters{constant=},
// t:frames(), t:memory() answer Tables, t:info() the facts, t:mark(name) a moment.
#include "analyze/timeline.h"
#include "analyze/timeline_profile.h"
#include "bind/lua_box.h"
#include "bind/lua_error.h"
#include "bind/lua_model.h"

#include <lauxlib.h>
#include <string.h>

#define TIMELINE_META "tidemark.Timeline"

static tm_snapshot *check_box(lua_State *L) {
  tm_snapshot *box = luaL_checkudata(L, 1, TIMELINE_META);
  if (!box->model) luaL_error(L, "this timeline was closed");
  return box;
}

static int finish_table(lua_State *L, tm_lua_work *work, tm_status status) {
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_table(L, work);
  return 1;
}

typedef tm_status task_analysis(tm_ctx *ctx, const tm_timeline *t,
                                const tm_tl_tasks_options *options, tm_table *out);

static int ask_of_tasks(lua_State *L, task_analysis *of) {
  const tm_snapshot *box = check_box(L);
  tm_tl_tasks_options o = {0};
  lua_settop(L, 2);
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "over_ns"); // the text stays on the stack
    o.over_ns = luaL_optinteger(L, -1, 0);
    lua_getfield(L, 2, "thread");
    o.thread = luaL_optstring(L, -1, NULL);
  }
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK) status = of(&work->ctx, box->model, &o, work->table);
  return finish_table(L, work, status);
}

static int timeline_tasks(lua_State *L) { // t:tasks{over_ns=, thread=} -> Table
  return ask_of_tasks(L, tm_timeline_tasks);
}

static int timeline_slices(lua_State *L) { // t:slices{over_ns=, thread=} -> Table: within tasks
  return ask_of_tasks(L, tm_timeline_slices);
}

// { from_ns=, to_ns= } at 2, if there is a table
static tm_tl_span read_span(lua_State *L) {
  tm_tl_span span = {0};
  lua_settop(L, 2);
  if (!lua_istable(L, 2)) return span;
  lua_getfield(L, 2, "from_ns");
  span.from_ns = luaL_optinteger(L, -1, 0);
  lua_getfield(L, 2, "to_ns");
  span.to_ns = luaL_optinteger(L, -1, 0);
  return span;
}

static int timeline_counters(lua_State *L) { // t:counters{constant=, from_ns=, to_ns=} -> Table
  const tm_snapshot *box = check_box(L);
  tm_tl_span span = read_span(L);
  bool constant = false;
  if (lua_istable(L, 2)) {
    lua_getfield(L, 2, "constant");
    constant = lua_toboolean(L, -1);
  }
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK)
    status = tm_timeline_counters(&work->ctx, box->model, span, constant, work->table);
  return finish_table(L, work, status);
}

typedef tm_status timeline_analysis(tm_ctx *ctx, const tm_timeline *t, tm_table *out);

static int analyze(lua_State *L, timeline_analysis *of) {
  const tm_snapshot *box = check_box(L);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK) status = of(&work->ctx, box->model, work->table);
  return finish_table(L, work, status);
}

static int timeline_asyncs(lua_State *L) { // t:asyncs() -> Table
  return analyze(L, tm_timeline_asyncs);
}

static int timeline_frames(lua_State *L) { // t:frames() -> Table
  return analyze(L, tm_timeline_frames);
}

static int timeline_memory(lua_State *L) { // t:memory{from_ns=, to_ns=} -> Table
  const tm_snapshot *box = check_box(L);
  tm_tl_span span = read_span(L);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_status status = tm_table_new(&work->ctx, &work->table);
  if (status == TM_OK) status = tm_timeline_memory(&work->ctx, box->model, span, work->table);
  return finish_table(L, work, status);
}

static int timeline_mark(lua_State *L) { // t:mark(name) -> time_ns of a performance.mark, or nil
  int64_t time_ns = tm_timeline_mark_ns(check_box(L)->model, luaL_checkstring(L, 2));
  if (time_ns < 0)
    lua_pushnil(L);
  else
    lua_pushinteger(L, time_ns);
  return 1;
}

static void set_integer(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

static int timeline_info(lua_State *L) { // t:info() -> facts
  const tm_timeline *t = check_box(L)->model;
  lua_createtable(L, 0, 12);
  set_integer(L, "events", t->event_count);
  set_integer(L, "threads", t->threads.count);
  set_integer(L, "slices", t->slices.count);
  set_integer(L, "asyncs", t->asyncs.count);
  set_integer(L, "series", t->series.count);
  set_integer(L, "points", t->points.count);
  set_integer(L, "marks", t->marks.count);
  set_integer(L, "samples", t->samples.count);
  set_integer(L, "memory", t->memory.count);
  set_integer(L, "flows", t->flow_count);
  set_integer(L, "strays", t->stray_count);
  set_integer(L, "duration_ns", (uint64_t)t->duration_ns);
  return 1;
}

static void free_profile(void *profile) {
  tm_profile_free(profile);
}

static int timeline_snapshot(lua_State *L) { // t:snapshot() -> Profile: what rules compare of it
  const tm_snapshot *box = check_box(L);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *s = tm_lua_push_snapshot(L);
  tm_profile *made = NULL;
  if (tm_timeline_snapshot(&work->ctx, box->model, &made) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  *s = (tm_snapshot){
      .kind = TM_KIND_PROFILE, .format = "chrome", .model = made, .free_model = free_profile};
  return 1;
}

static int timeline_index(lua_State *L) {
  const tm_snapshot *box = tm_lua_indexed(L, TIMELINE_META);
  if (!box->model) return luaL_error(L, "this timeline was closed");
  return tm_lua_snapshot_index(L, box, "timeline");
}

static int timeline_close(lua_State *L) { // frees the memory now
  tm_snapshot_fini(luaL_checkudata(L, 1, TIMELINE_META));
  return 0;
}

static int timeline_tostring(lua_State *L) {
  const tm_snapshot *box = luaL_checkudata(L, 1, TIMELINE_META);
  const tm_timeline *t = box->model;
  if (t)
    lua_pushfstring(L, "timeline (%s, %I events, %I threads)", box->format,
                    (lua_Integer)t->event_count, (lua_Integer)t->threads.count);
  else
    lua_pushliteral(L, "timeline (closed)");
  return 1;
}

static const luaL_Reg methods[] = {{"tasks", timeline_tasks},
                                   {"slices", timeline_slices},
                                   {"asyncs", timeline_asyncs},
                                   {"counters", timeline_counters},
                                   {"frames", timeline_frames},
                                   {"memory", timeline_memory},
                                   {"mark", timeline_mark},
                                   {"snapshot", timeline_snapshot},
                                   {"info", timeline_info},
                                   {"close", timeline_close},
                                   {NULL, NULL}};

// Room first, contents later: nothing leaks when Lua has no memory.
void tm_lua_push_timeline(lua_State *L, tm_snapshot *from) {
  tm_snapshot *box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = (tm_snapshot){0};
  static const luaL_Reg *const lists[] = {methods, NULL};
  tm_lua_make_meta(L, TIMELINE_META, lists, timeline_index, timeline_close, timeline_tostring,
                   NULL);
  lua_setmetatable(L, -2);
  *box = *from;
  *from = (tm_snapshot){0};
}
