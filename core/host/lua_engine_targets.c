// Targets of an engine and their series, for trusted Lua: copies out, samples in.
#include "analyze/trend.h"
#include "engine/shots.h"
#include "host/lua_engine.h"
#include "live/shot_read.h"

#include <math.h>
#include <string.h>

// ---- targets ----

static void push_target(lua_State *L, const tm_target *target) {
  const tm_target_facts *f = tm_target_get_facts(target);
  lua_createtable(L, 0, 9);
  set_string(L, "id", f->id);
  set_string(L, "name", f->name);
  set_string(L, "command", f->command);
  set_string(L, "exe", f->exe);
  set_integer(L, "pid", f->pid);
  set_integer(L, "uid", f->uid);
  set_integer(L, "start_time_ns", f->start_time_ns);
  set_string(L, "hook", f->hook);
  set_string(L, "endpoint", f->endpoint);
}

static int pushed(lua_State *L, lua_engine *e, tm_status status, const tm_target *target) {
  if (status != TM_OK) return tm_lua_failed(L, &e->ctx);
  push_target(L, target);
  return 1;
}

// How an app is asked, from a table of options.
static tm_target_facts app_of(lua_State *L, int index) {
  return (tm_target_facts){.hook = option_string(L, index, "hook"),
                           .endpoint = option_string(L, index, "endpoint"),
                           .vars = option_string(L, index, "vars"),
                           .metrics = option_string(L, index, "metrics"),
                           .headers = option_string(L, index, "headers"),
                           .ca_file = option_string(L, index, "ca_file")};
}

// e:watch(pid, {hook=, endpoint=, vars=, metrics=, headers="Name: value\n", ca_file=})
static int engine_watch(lua_State *L) {
  lua_engine *e = tm_lua_check_live(L);
  tm_target *target = NULL;
  const tm_target_facts app = app_of(L, 3);
  tm_ctx_clear(&e->ctx);
  tm_status status = tm_runner_watch(e->runner, luaL_checkinteger(L, 2), &app, &target);
  return pushed(L, e, status, target);
}

static const char **string_list(lua_State *L, int index) {
  size_t n = lua_istable(L, index) ? lua_rawlen(L, index) : 0;
  const char **list = lua_newuserdatauv(L, (n + 1) * sizeof *list, 0);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    list[i] = lua_tostring(L, -1);
    if (!list[i]) list[i] = "";
    lua_pop(L, 1);
  }
  list[n] = NULL;
  return list;
}

static int engine_spawn(lua_State *L) { // e:spawn(argv, {env=, ...}): as watch
  lua_engine *e = tm_lua_check_live(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 3);
  const char **argv = string_list(L, 2);
  if (!argv[0]) return luaL_error(L, "spawn: the command is empty");
  const char **env = NULL;
  if (lua_istable(L, 3)) {
    lua_getfield(L, 3, "env");
    env = string_list(L, lua_gettop(L));
  }
  tm_target *target = NULL;
  tm_ctx_clear(&e->ctx);
  const tm_target_facts app = app_of(L, 3);
  tm_status status = tm_runner_spawn(e->runner, argv, env, &app, &target);
  return pushed(L, e, status, target);
}

static int engine_exit_code(lua_State *L) {
  lua_pushinteger(L, tm_runner_exit_code(tm_lua_check_live(L)->runner));
  return 1;
}

static int engine_end_spawned(lua_State *L) {
  lua_engine *e = tm_lua_check_live(L);
  tm_runner_end_spawned(e->runner, (uint64_t)luaL_optnumber(L, 2, 2e9));
  return 0;
}

static int engine_targets(lua_State *L) { // e:targets(pid): all, or those of a process
  lua_engine *e = tm_lua_check_engine(L);
  bool one = !lua_isnoneornil(L, 2);
  int64_t pid = one ? luaL_checkinteger(L, 2) : 0;
  lua_Integer n = 0;
  lua_newtable(L);
  for (size_t i = 0; i < tm_engine_target_count(e->engine); i++) {
    const tm_target *t = tm_engine_target_at(e->engine, i);
    if (one && tm_target_get_facts(t)->pid != pid) continue;
    push_target(L, t);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static int engine_add_target(lua_State *L) { // e:add_target{id=, name=, ...}: virtual
  lua_engine *e = tm_lua_check_engine(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  tm_target_facts facts = {.id = option_string(L, 2, "id"),
                           .name = option_string(L, 2, "name"),
                           .command = option_string(L, 2, "command"),
                           .exe = option_string(L, 2, "exe"),
                           .hook = option_string(L, 2, "hook"),
                           .endpoint = option_string(L, 2, "endpoint"),
                           .start_time_ns = option_integer(L, 2, "start_time_ns", 0),
                           .pid = option_integer(L, 2, "pid", 0)};
  tm_target *target = NULL;
  tm_ctx_clear(tm_engine_ctx(e->engine));
  tm_status status = tm_engine_add_target(e->engine, &facts, &target);
  if (status != TM_OK) return tm_lua_failed(L, tm_engine_ctx(e->engine));
  push_target(L, target);
  return 1;
}

static int engine_remove_target(lua_State *L) { // e:remove_target(id, why)
  lua_engine *e = tm_lua_check_engine(L);
  tm_engine_remove_target(e->engine, tm_lua_check_target(L, e, 2), luaL_optstring(L, 3, "removed"));
  return 0;
}

// ---- series ----

static int engine_feed(lua_State *L) { // e:feed(id, metric, key, time_ns, value [, unit])
  lua_engine *e = tm_lua_check_engine(L);
  tm_target *target = tm_lua_check_target(L, e, 2);
  const char *metric = luaL_checkstring(L, 3);
  tm_unit unit = lua_isstring(L, 7) ? tm_unit_by_name(lua_tostring(L, 7)) : tm_metric_unit(metric);
  tm_ctx_clear(tm_engine_ctx(e->engine));
  if (tm_engine_feed(e->engine, target, metric, luaL_optstring(L, 4, ""), unit,
                     (int64_t)luaL_checknumber(L, 5), luaL_checknumber(L, 6))
      != TM_OK)
    return tm_lua_failed(L, tm_engine_ctx(e->engine));
  lua_pushboolean(L, 1);
  return 1;
}

// e:tell(id, {v8_heap = bytes, ...}): what is known of owners of its RSS; those not named are
// unknown
static int engine_tell(lua_State *L) {
  lua_engine *e = tm_lua_check_live(L);
  tm_target *target = tm_lua_check_target(L, e, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) {
    lua_getfield(L, 3, tm_owner_describe((tm_owner)i)->name);
    double bytes = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : NAN;
    tm_runner_tell(target, (tm_owner)i, bytes);
    lua_pop(L, 1);
  }
  return 0;
}

// The numbers of a table at index, which no file carries, into a profile's stats.
static tm_status add_stats(lua_State *L, int index, tm_ctx *ctx, tm_profile *p) {
  if (!lua_istable(L, index)) return TM_OK;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    tm_profile_stat stat = {.value = lua_tonumber(L, -1)};
    bool is_stat = lua_type(L, -2) == LUA_TSTRING && lua_isnumber(L, -1);
    const char *name = is_stat ? lua_tostring(L, -2) : NULL;
    lua_pop(L, 1);
    if (!name) continue;
    TM_TRY(tm_profile_intern(ctx, p, name, strlen(name), &stat.name));
    TM_TRY(tm_vec_push(ctx, &p->stats, stat));
  }
  return TM_OK;
}

// e:feed_snapshot(id, metric, time_ns, bytes [, stats]): a profile of any known format; of "trace."
// a trace, or what was made of one with its stats (of profile:info())
static int engine_feed_snapshot(lua_State *L) {
  lua_engine *e = tm_lua_check_engine(L);
  tm_target *target = tm_lua_check_target(L, e, 2);
  const char *metric = luaL_checkstring(L, 3);
  int64_t time_ns = (int64_t)luaL_checknumber(L, 4);
  size_t size;
  const char *bytes = luaL_checklstring(L, 5, &size);
  luaL_argcheck(L, tm_shot_metric(metric), 3, "pprof.NAME, go.goroutines or trace.go");
  tm_profile *profile = NULL;
  tm_ctx *ctx = tm_engine_ctx(e->engine);
  tm_ctx_clear(ctx);
  lua_settop(L, 6);
  tm_status status = tm_shot_read(ctx, metric, bytes, size, &profile);
  if (status == TM_OK && (status = add_stats(L, 6, ctx, profile)) != TM_OK)
    tm_profile_free(profile);
  if (status == TM_OK)
    status = tm_engine_feed_snapshot(e->engine, target, metric, time_ns, profile);
  if (status != TM_OK) return tm_lua_failed(L, ctx);
  lua_pushboolean(L, 1);
  return 1;
}

static int
engine_advance(lua_State *L) { // e:advance(now_ns): stops at every check that is due in between
  lua_engine *e = tm_lua_check_engine(L);
  int64_t to = (int64_t)luaL_checknumber(L, 2);
  if (e->runner) return luaL_error(L, "a live engine's time cannot be set");
  for (int64_t due; (due = tm_rulehost_next_due_ns(e->host)) <= to;) {
    if (due <= tm_engine_now_ns(e->engine)) due = tm_engine_now_ns(e->engine) + 1000000;
    if (due > to) break;
    tm_engine_advance(e->engine, due);
  }
  tm_engine_advance(e->engine, to);
  return 0;
}

static int engine_now(lua_State *L) {
  lua_engine *e = tm_lua_check_engine(L);
  lua_pushinteger(L, e->runner ? tm_runner_now_ns(e->runner) : tm_engine_now_ns(e->engine));
  return 1;
}

static int engine_demand(lua_State *L) { // e:demand(id, metric, every_ns, keep)
  lua_engine *e = tm_lua_check_engine(L);
  tm_demand demand = {"view", luaL_checkstring(L, 3), (uint64_t)luaL_checknumber(L, 4),
                      (size_t)luaL_optinteger(L, 5, 120)};
  if (tm_target_demand(e->engine, tm_lua_check_target(L, e, 2), &demand) != TM_OK)
    return tm_lua_failed(L, tm_engine_ctx(e->engine));
  lua_pushboolean(L, 1);
  return 1;
}

static int
engine_tracks(lua_State *L) { // e:tracks(id) -> list of {metric, key, unit, last, time_ns}
  lua_engine *e = tm_lua_check_engine(L);
  tm_target *target = tm_lua_check_target(L, e, 2);
  lua_newtable(L);
  for (size_t i = 0; i < tm_target_track_count(target); i++) {
    const tm_track *track = tm_target_track_at(target, i);
    int64_t time_ns = 0;
    double value = NAN;
    tm_series_last(track->series, &time_ns, &value);
    lua_createtable(L, 0, 5);
    set_string(L, "metric", track->metric);
    set_string(L, "key", track->key);
    set_string(L, "unit", tm_unit_name(track->unit));
    set_number(L, "last", value);
    set_integer(L, "time_ns", time_ns);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static tm_track *check_track(lua_State *L, lua_engine *e) {
  return tm_target_track(tm_lua_check_target(L, e, 2), luaL_checkstring(L, 3),
                         luaL_optstring(L, 4, ""));
}

typedef struct wish {
  const char *metric;
  uint64_t every_ns; // 0 = nobody wants it
} wish;

static void find_wish(void *ud, const tm_demand *demand) {
  wish *w = ud;
  if (strcmp(demand->metric, w->metric) != 0) return;
  if (!w->every_ns || demand->every_ns < w->every_ns) w->every_ns = demand->every_ns;
}

static int engine_wanted(lua_State *L) { // e:wanted(id, metric) -> how often, ns; nil: nobody does
  lua_engine *e = tm_lua_check_engine(L);
  const tm_target *target = tm_lua_check_target(L, e, 2);
  wish w = {.metric = luaL_checkstring(L, 3)};
  tm_target_each_demand(target, find_wish, &w);
  if (w.every_ns)
    lua_pushinteger(L, (lua_Integer)w.every_ns);
  else
    lua_pushnil(L);
  return 1;
}

static int engine_last(lua_State *L) { // e:last(id, metric, key) -> value, time_ns, unit
  lua_engine *e = tm_lua_check_engine(L);
  tm_track *track = check_track(L, e);
  int64_t time_ns;
  double value;
  if (!track || !tm_series_last(track->series, &time_ns, &value)) return 0;
  lua_pushnumber(L, value);
  lua_pushinteger(L, time_ns);
  lua_pushstring(L, tm_unit_name(track->unit));
  return 3;
}

static size_t copy_track(lua_State *L, tm_track *track, int64_t since_ns, int64_t **times,
                         double **values) {
  size_t max = tm_series_count(track->series);
  *times = lua_newuserdatauv(L, (max + 1) * sizeof **times, 0);
  *values = lua_newuserdatauv(L, (max + 1) * sizeof **values, 0);
  return tm_series_copy(track->series, since_ns, *times, *values, max);
}

static int engine_series(lua_State *L) { // e:series(id, metric, key, since_ns) -> times, values
  lua_engine *e = tm_lua_check_engine(L);
  tm_track *track = check_track(L, e);
  int64_t since = (int64_t)luaL_optnumber(L, 5, 0), *times;
  double *values;
  size_t n = 0;
  if (track) n = copy_track(L, track, since, &times, &values);
  lua_createtable(L, (int)n, 0);
  lua_createtable(L, (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    lua_pushinteger(L, times[i]);
    lua_rawseti(L, -3, (lua_Integer)i + 1);
    lua_pushnumber(L, values[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 2;
}

static int
engine_envelope(lua_State *L) { // e:envelope(id, metric, key, from_ns, to_ns, n) -> min, max
  lua_engine *e = tm_lua_check_engine(L);
  tm_track *track = check_track(L, e);
  int64_t from = (int64_t)luaL_checknumber(L, 5), to = (int64_t)luaL_checknumber(L, 6);
  lua_Integer n = luaL_checkinteger(L, 7);
  luaL_argcheck(L, n > 0 && n <= 10000, 7, "1 to 10000 buckets");
  double *low = lua_newuserdatauv(L, (size_t)n * 2 * sizeof *low, 0);
  for (lua_Integer i = 0; i < 2 * n; i++) low[i] = NAN;
  if (track) tm_series_envelope(track->series, from, to, (size_t)n, low, low + n);
  lua_createtable(L, (int)n, 0);
  lua_createtable(L, (int)n, 0);
  for (lua_Integer i = 0; i < n; i++) {
    lua_pushnumber(L, low[i]);
    lua_rawseti(L, -3, i + 1);
    lua_pushnumber(L, low[n + i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 2;
}

static int engine_trend(lua_State *L) { // e:trend(id, metric, key, {limit=, since_ns=})
  lua_engine *e = tm_lua_check_engine(L);
  tm_track *track = check_track(L, e);
  if (!track) return 0;
  int64_t *times;
  double *values;
  lua_settop(L, 5);
  size_t n = copy_track(L, track, option_integer(L, 5, "since_ns", 0), &times, &values);
  tm_trend trend;
  tm_ctx_clear(&e->ctx);
  if (tm_trend_compute(&e->ctx, times, values, n, NULL, &trend) != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_createtable(L, 0, 10);
  lua_pushboolean(L, trend.leak);
  lua_setfield(L, -2, "leak");
  set_string(L, "reason", trend.reason);
  set_number(L, "slope_per_hour", trend.slope_per_s * 3600);
  set_number(L, "low", trend.slope_low_per_s * 3600);
  set_number(L, "high", trend.slope_high_per_s * 3600);
  set_number(L, "level", trend.level);
  set_number(L, "growth_ratio", trend.growth_ratio);
  set_number(L, "confidence", trend.confidence);
  set_integer(L, "n", (int64_t)trend.n_used);
  double limit = (double)option_integer(L, 5, "limit", 0);
  if (limit > 0) set_number(L, "time_to_s", tm_trend_time_to_ns(&trend, limit, NULL, NULL) / 1e9);
  return 1;
}

const luaL_Reg tm_lua_target_methods[] = {{"watch", engine_watch},
                                          {"spawn", engine_spawn},
                                          {"exit_code", engine_exit_code},
                                          {"end_spawned", engine_end_spawned},
                                          {"targets", engine_targets},
                                          {"add_target", engine_add_target},
                                          {"remove_target", engine_remove_target},
                                          {"feed", engine_feed},
                                          {"tell", engine_tell},
                                          {"feed_snapshot", engine_feed_snapshot},
                                          {"now", engine_now},
                                          {"demand", engine_demand},
                                          {"wanted", engine_wanted},
                                          {"last", engine_last},
                                          {"series", engine_series},
                                          {"trend", engine_trend},
                                          {"envelope", engine_envelope},
                                          {"tracks", engine_tracks},
                                          {"advance", engine_advance},
                                          {NULL, NULL}};
