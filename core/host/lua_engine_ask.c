// What is asked of a running engine from outside and by policies: profiles taken at once, notes in
// the journal, and a control socket. Answers come as calls of Lua functions from the loop.
#include "base/clock.h"
#include "host/capture_take.h"
#include "host/lua_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- taking ----

typedef struct lua_take {
  lua_engine *e;
  int fn_ref;
  uint64_t start_ns;
} lua_take;

// The engine may be closing: then nobody is called any more.
static void on_taken(void *ud, uint64_t id, tm_status status, const void *bytes, size_t size) {
  lua_take *t = ud;
  lua_engine *e = t->e;
  (void)id;
  if (!e->closed) {
    lua_State *L = e->L;
    lua_createtable(L, 0, 3);
    set_integer(L, "took_ns", (int64_t)(tm_clock_mono_ns() - t->start_ns));
    if (status != TM_OK) set_string(L, "code", tm_status_name(status));
    lua_pushlstring(L, bytes ? bytes : "", size);
    lua_setfield(L, -2, status == TM_OK ? "bytes" : "message");
    tm_lua_call_back(e, t->fn_ref);
  }
  luaL_unref(e->L, LUA_REGISTRYINDEX, t->fn_ref);
  free(t);
}

// e:take(id, name, {gc=, seconds=, timeout_ns=}, fn): fn({bytes=, took_ns=} | {code=, message=,
// took_ns=}), once, perhaps before take returns.
static int engine_take(lua_State *L) {
  lua_engine *e = tm_lua_check_live(L);
  tm_target *target = tm_lua_check_target(L, e, 2);
  const char *name = luaL_checkstring(L, 3);
  char json[80];
  luaL_checktype(L, 5, LUA_TFUNCTION);
  lua_settop(L, 5);
  int64_t seconds = option_integer(L, 4, "seconds", 0);
  int64_t timeout_ns = option_integer(L, 4, "timeout_ns", 60000000000);
  int size = snprintf(json, sizeof json, "{\"gc\":%s", option_true(L, 4, "gc") ? "true" : "false");
  if (seconds > 0)
    size +=
        snprintf(json + size, sizeof json - (size_t)size, ",\"seconds\":%lld", (long long)seconds);
  snprintf(json + size, sizeof json - (size_t)size, "}");
  lua_take *t = calloc(1, sizeof *t);
  if (!t) return luaL_error(L, "out of memory");
  *t = (lua_take){e, luaL_ref(L, LUA_REGISTRYINDEX), tm_clock_mono_ns()};
  tm_runner_take(e->runner, target, name, json, (uint64_t)timeout_ns, 0, on_taken, t);
  return 0;
}

// e:capture(id, {kind=, folder=, redact=, timeout_ns=}, fn): as take, of a heap dump; the bytes are
// the document of `tidemark snap --json`.
static int engine_capture(lua_State *L) {
  lua_engine *e = tm_lua_check_live(L);
  tm_target *target = tm_lua_check_target(L, e, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  luaL_checktype(L, 4, LUA_TFUNCTION);
  lua_settop(L, 4);
  tm_capture_options options = {.kind = option_string(L, 3, "kind"),
                                .folder = option_string(L, 3, "folder"),
                                .word = option_string(L, 3, "word"),
                                .seconds = (double)option_integer(L, 3, "seconds", 0),
                                .redact = option_true(L, 3, "redact"),
                                .json = true};
  options.timeout_ns = (uint64_t)option_integer(L, 3, "timeout_ns", 1800000000000);
  if (!options.kind) return luaL_error(L, "capture: kind is missing");
  lua_take *t = calloc(1, sizeof *t);
  if (!t) return luaL_error(L, "out of memory");
  *t = (lua_take){e, luaL_ref(L, LUA_REGISTRYINDEX), tm_clock_mono_ns()};
  tm_capture_take(e->runner, target, &options, 0, on_taken, t);
  return 0;
}

// ---- notes ----

// e:note(level, target_id, text, json): a sentence in the stream, the journal and the recording.
static int engine_note(lua_State *L) {
  lua_engine *e = tm_lua_check_engine(L);
  tm_level level = TM_LEVEL_INFO;
  if (strcmp(luaL_checkstring(L, 2), "warn") == 0) level = TM_LEVEL_WARN;
  tm_engine_note(e->engine, TM_EVENT_NOTE, level, "", luaL_optstring(L, 3, ""),
                 luaL_checkstring(L, 4), luaL_optstring(L, 5, "{}"));
  return 0;
}

// ---- the control socket ----

static void on_line(void *ud, uint64_t client, const char *line, size_t size) {
  lua_engine *e = ud;
  lua_State *L = e->L;
  if (e->on_line == LUA_NOREF || e->closed) return;
  lua_createtable(L, 0, 2);
  set_integer(L, "client", (int64_t)client);
  lua_pushlstring(L, line, size);
  lua_setfield(L, -2, "line");
  tm_lua_call_back(e, e->on_line);
}

// e:control(path, fn): fn{client=, line=} for each line; each wants one e:answer.
static int engine_control(lua_State *L) {
  lua_engine *e = tm_lua_check_live(L);
  const char *path = luaL_checkstring(L, 2);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  if (e->control) return luaL_error(L, "this engine has a control socket already");
  tm_ctx_clear(&e->ctx);
  if (tm_line_server_open(&e->ctx, tm_runner_loop(e->runner), path, on_line, e, &e->control)
      != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_settop(L, 3);
  e->on_line = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_pushboolean(L, 1);
  return 1;
}

static int engine_answer(lua_State *L) { // e:answer(client, line) -> true | nil, err
  lua_engine *e = tm_lua_check_live(L);
  size_t size;
  uint64_t client = (uint64_t)luaL_checkinteger(L, 2);
  const char *line = luaL_checklstring(L, 3, &size);
  if (!e->control) return luaL_error(L, "this engine has no control socket");
  tm_ctx_clear(&e->ctx);
  if (tm_line_server_send(e->control, client, line, size) != TM_OK)
    return tm_lua_failed(L, &e->ctx);
  lua_pushboolean(L, 1);
  return 1;
}

const luaL_Reg tm_lua_ask_methods[] = {{"take", engine_take},     {"capture", engine_capture},
                                       {"note", engine_note},     {"control", engine_control},
                                       {"answer", engine_answer}, {NULL, NULL}};
