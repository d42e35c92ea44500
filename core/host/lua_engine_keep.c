// What leaves an engine, for trusted Lua: webhooks, recordings (written and read), its own costs.
#include "base/clock.h"
#include "host/lua_engine.h"
#include "read/recording.h"

#include <string.h>

// ---- webhook ----

static int engine_webhook(lua_State *L) { // e:webhook(url): one for the engine
  lua_engine *e = tm_lua_check_live(L);
  if (e->webhook) return luaL_error(L, "this engine has a webhook already");
  tm_ctx_clear(&e->ctx);
  if (tm_webhook_new(&e->ctx, tm_runner_loop(e->runner), luaL_checkstring(L, 2), NULL, &e->webhook)
      != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

static int engine_webhook_post(lua_State *L) { // e:webhook_post(json)
  lua_engine *e = tm_lua_check_live(L);
  size_t size;
  const char *json = luaL_checklstring(L, 2, &size);
  if (!e->webhook) return luaL_error(L, "this engine has no webhook");
  tm_ctx_clear(&e->ctx);
  if (tm_webhook_post(&e->ctx, e->webhook, json, size) != TM_OK) return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

// ---- recording, costs ----

static int engine_record(lua_State *L) { // e:record(path, meta_json [, overwrite])
  lua_engine *e = tm_lua_check_engine(L);
  if (e->recording) return luaL_error(L, "this engine records already");
  tm_ctx_clear(&e->ctx);
  if (tm_recording_create(&e->ctx, luaL_checkstring(L, 2), lua_toboolean(L, 4),
                          luaL_optstring(L, 3, "{}"), &e->recording)
      != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  tm_journal_free(e->journal);
  e->journal = NULL;
  if (tm_journal_new(&e->ctx, e->engine, e->recording, e->history, &e->journal) != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

static int engine_stats(lua_State *L) {
  lua_engine *e = tm_lua_check_engine(L);
  tm_runner_stats s = {0};
  if (e->runner) tm_runner_get_stats(e->runner, &s);
  lua_createtable(L, 0, 12);
  set_integer(L, "ticks", (int64_t)s.ticks);
  set_integer(L, "wakeups", (int64_t)s.wakeups);
  set_integer(L, "samples", (int64_t)s.samples);
  set_integer(L, "missed", (int64_t)s.missed);
  set_integer(L, "sampling_cpu_ns", (int64_t)s.sampling_cpu_ns);
  set_integer(L, "cpu_ns", (int64_t)(e->runner ? s.cpu_ns : tm_clock_process_cpu_ns()));
  set_integer(L, "fetched", (int64_t)s.fetched);
  set_integer(L, "fetch_cpu_ns", (int64_t)s.fetch_cpu_ns);
  set_integer(L, "traces", (int64_t)s.traces);
  set_integer(L, "traced_ns", (int64_t)s.traced_ns);
  set_integer(L, "trace_bytes", (int64_t)s.trace_bytes);
  set_number(L, "rss_bytes", s.rss_bytes);
  set_number(L, "peak_rss_bytes", s.peak_rss_bytes);
  if (e->webhook) {
    const tm_webhook_stats *w = tm_webhook_stats_of(e->webhook);
    set_integer(L, "webhook_sent", (int64_t)w->sent_count);
    set_integer(L, "webhook_dropped", (int64_t)w->dropped_count);
    set_string(L, "webhook_error", w->last_error);
  }
  set_integer(L, "uptime_ns", e->runner ? (int64_t)(tm_clock_mono_ns() - s.started_mono_ns) : 0);
  uint64_t since;
  char where[128];
  if (tm_rulehost_busy(e->host, &since, where, sizeof where)) {
    set_integer(L, "rule_busy_ns", (int64_t)(tm_clock_mono_ns() - since));
    set_string(L, "rule_busy_at", where);
  }
  return 1;
}

// ---- recordings ----

typedef struct reading {
  lua_State *L;
  int visitor; // stack index of the table of functions
} reading;

// Pushes the visitor's function of a name; false when there is none.
static bool push_visitor(reading *r, const char *name) {
  lua_getfield(r->L, r->visitor, name);
  if (lua_isfunction(r->L, -1)) return true;
  lua_pop(r->L, 1);
  return false;
}

static tm_status on_meta(void *ud, const char *json) {
  reading *r = ud;
  if (!push_visitor(r, "meta")) return TM_OK;
  lua_pushstring(r->L, json);
  return lua_pcall(r->L, 1, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_target(void *ud, uint32_t number, const tm_recording_target *t) {
  reading *r = ud;
  if (!push_visitor(r, "target")) return TM_OK;
  lua_pushinteger(r->L, number);
  lua_createtable(r->L, 0, 5);
  set_string(r->L, "id", t->id);
  set_integer(r->L, "pid", t->pid);
  set_integer(r->L, "start_time_ns", t->start_time_ns);
  set_string(r->L, "name", t->name);
  set_string(r->L, "command", t->command);
  return lua_pcall(r->L, 2, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_series(void *ud, uint32_t number, const tm_recording_series *s) {
  reading *r = ud;
  if (!push_visitor(r, "series")) return TM_OK;
  lua_pushinteger(r->L, number);
  lua_createtable(r->L, 0, 4);
  set_integer(r->L, "target", s->target);
  set_string(r->L, "metric", s->metric);
  set_string(r->L, "key", s->key);
  set_string(r->L, "unit", s->unit);
  return lua_pcall(r->L, 2, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_sample(void *ud, uint32_t series, int64_t time_ns, double value) {
  reading *r = ud;
  if (!push_visitor(r, "sample")) return TM_OK;
  lua_pushinteger(r->L, series);
  lua_pushinteger(r->L, time_ns);
  lua_pushnumber(r->L, value);
  return lua_pcall(r->L, 3, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_recorded_event(void *ud, const char *json) {
  reading *r = ud;
  if (!push_visitor(r, "event")) return TM_OK;
  lua_pushstring(r->L, json);
  return lua_pcall(r->L, 1, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_blob(void *ud, const tm_recording_blob *b) {
  reading *r = ud;
  if (!push_visitor(r, "blob")) return TM_OK;
  lua_createtable(r->L, 0, 4);
  set_integer(r->L, "target", b->target);
  set_integer(r->L, "time_ns", b->time_ns);
  set_string(r->L, "name", b->name);
  lua_pushlstring(r->L, b->data, b->size);
  lua_setfield(r->L, -2, "data");
  return lua_pcall(r->L, 1, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static tm_status on_rules_text(void *ud, const char *name, const char *text) {
  reading *r = ud;
  if (!push_visitor(r, "rules")) return TM_OK;
  lua_pushstring(r->L, name);
  lua_pushstring(r->L, text);
  return lua_pcall(r->L, 2, 0, 0) == LUA_OK ? TM_OK : TM_E_LUA;
}

static int core_read_recording(
    lua_State *L) { // path, visitor -> {records, samples, damaged, cut, message} | nil, err
  const char *path = luaL_checkstring(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  reading r = {L, 2};
  tm_recording_visitor visitor = {&r,        on_meta,           on_target, on_series,
                                  on_sample, on_recorded_event, on_blob,   on_rules_text};
  tm_recording_summary summary = {0};
  tm_status status = tm_recording_read_file(&ctx, path, &visitor, &summary);
  tm_ctx_fini(&ctx);
  if (status == TM_E_LUA) return lua_error(L); // the visitor's error is on top
  if (status != TM_OK) return tm_lua_failed(L, &ctx);
  lua_createtable(L, 0, 5);
  set_integer(L, "records", (int64_t)summary.records);
  set_integer(L, "samples", (int64_t)summary.samples);
  set_integer(L, "damaged", (int64_t)summary.damaged);
  set_integer(L, "read_bytes", (int64_t)summary.read_bytes);
  lua_pushboolean(L, summary.cut);
  lua_setfield(L, -2, "cut");
  set_string(L, "message", summary.message);
  return 1;
}

const luaL_Reg tm_lua_keep_methods[] = {{"webhook", engine_webhook},
                                        {"webhook_post", engine_webhook_post},
                                        {"record", engine_record},
                                        {"stats", engine_stats},
                                        {NULL, NULL}};

const luaL_Reg tm_lua_keep_functions[] = {{"read_recording", core_read_recording}, {NULL, NULL}};
