// What trusted Lua needs to take dumps of JVMs and V8s: the attach protocol's commands and a
// WebSocket. Both wait; Ctrl-C is fetched from the pending signals at each tick, so no handler and
// no global is needed.
#include "host/lua_capture.h"

#include "base/clock.h"
#include "bind/lua_error.h"
#include "host/lua_fields.h"
#include "live/jvm_attach.h"
#include "net/websocket.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define WEBSOCKET_META "tidemark.WebSocket"
#define TELL_NS        UINT64_C(200000000)
#define TIMEOUT_NS     INT64_C(60000000000)
#define PAUSE_NS       20000000

// ---- waiting ----

static void ends_of(sigset_t *out) {
  sigemptyset(out);
  sigaddset(out, SIGINT);
  sigaddset(out, SIGTERM);
}

static void on_tick(void *ud, uint64_t done, uint64_t total) {
  tm_lua_waiting *w = ud;
  sigset_t ends;
  const struct timespec at_once = {0, 0};
  (void)total;
  ends_of(&ends);
  if (sigtimedwait(&ends, NULL, &at_once) > 0 || (w->outer && atomic_load(w->outer)))
    atomic_store(&w->cancel, true);
  uint64_t now_ns = tm_clock_mono_ns();
  if (!w->progress || w->failed || now_ns - w->told_ns < TELL_NS) return;
  w->told_ns = now_ns;
  lua_pushvalue(w->L, w->progress);
  lua_pushinteger(w->L, (lua_Integer)done);
  if (lua_pcall(w->L, 1, 0, 0) == LUA_OK) return;
  w->failed = true; // its message stays on the stack
  atomic_store(&w->cancel, true);
}

void tm_lua_wait_begin(lua_State *L, int options, tm_lua_waiting *w) {
  sigset_t ends;
  luaL_checkstack(L, 16, "too many values");
  *w = (tm_lua_waiting){.L = L, .told_ns = tm_clock_mono_ns()};
  lua_getfield(L, LUA_REGISTRYINDEX, TM_LUA_CANCEL);
  w->outer = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (lua_istable(L, options)) {
    lua_getfield(L, options, "progress");
    if (lua_isfunction(L, -1))
      w->progress = lua_gettop(L);
    else
      lua_pop(L, 1);
  }
  tm_ctx_init(&w->ctx, NULL);
  w->ctx.cancel = &w->cancel;
  w->ctx.progress = on_tick;
  w->ctx.progress_ud = w;
  ends_of(&ends);
  pthread_sigmask(SIG_BLOCK, &ends, &w->old_mask);
}

void tm_lua_wait_end(tm_lua_waiting *w) {
  pthread_sigmask(SIG_SETMASK, &w->old_mask, NULL);
  tm_ctx_fini(&w->ctx);
  if (w->failed) lua_error(w->L);
}

// core.pause(ns, {progress=} | nil) -> true | nil, err
static int core_pause(lua_State *L) {
  const struct timespec slice = {0, PAUSE_NS};
  lua_Integer ns = luaL_checkinteger(L, 1);
  uint64_t end_ns = tm_clock_mono_ns() + (uint64_t)(ns > 0 ? ns : 0);
  tm_status status = TM_OK;
  tm_lua_waiting w;
  lua_settop(L, 2);
  tm_lua_wait_begin(L, 2, &w);
  while (status == TM_OK && tm_clock_mono_ns() < end_ns) {
    nanosleep(&slice, NULL);
    status = tm_ctx_tick(&w.ctx, 0);
  }
  tm_lua_wait_end(&w);
  if (status != TM_OK) return tm_lua_failed(L, &w.ctx);
  lua_pushboolean(L, 1);
  return 1;
}

// ---- JVMs ----

static int core_jvm_find(lua_State *L) { // pid -> {pid, own_pid, uid, gid, apart} | nil, err
  tm_ctx ctx;
  tm_jvm jvm;
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_jvm_find(&ctx, luaL_checkinteger(L, 1), &jvm);
  tm_ctx_fini(&ctx);
  if (status != TM_OK) return tm_lua_failed(L, &ctx);
  lua_createtable(L, 0, 5);
  set_integer(L, "pid", jvm.pid);
  set_integer(L, "own_pid", jvm.own_pid);
  set_integer(L, "uid", jvm.uid);
  set_integer(L, "gid", jvm.gid);
  lua_pushboolean(L, jvm.is_apart);
  lua_setfield(L, -2, "apart");
  return 1;
}

// core.jvm(pid, command, {arg...} | nil, {timeout_ns=, progress=} | nil) -> text | nil, err
static int core_jvm(lua_State *L) {
  int64_t pid = luaL_checkinteger(L, 1);
  const char *command = luaL_checkstring(L, 2), *args[TM_JVM_ARGS] = {0};
  tm_lua_waiting w;
  tm_bytes text = {0};
  tm_jvm jvm;
  lua_settop(L, 4);
  for (int i = 0; i < TM_JVM_ARGS && lua_istable(L, 3); i++) {
    lua_rawgeti(L, 3, i + 1);
    args[i] = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1); // the table holds it
  }
  uint64_t timeout_ns = (uint64_t)option_integer(L, 4, "timeout_ns", TIMEOUT_NS);
  tm_lua_wait_begin(L, 4, &w);
  tm_status status = tm_jvm_find(&w.ctx, pid, &jvm);
  if (status == TM_OK) status = tm_jvm_command(&w.ctx, &jvm, timeout_ns, command, args, &text);
  if (status == TM_OK && !w.failed)
    lua_pushlstring(L, text.data ? (const char *)text.data : "", text.size);
  tm_bytes_free(&w.ctx, &text);
  tm_lua_wait_end(&w);
  return status == TM_OK ? 1 : tm_lua_failed(L, &w.ctx);
}

// ---- WebSockets ----

typedef struct lua_socket {
  tm_ctx ctx; // for closing
  tm_websocket *ws;
} lua_socket;

static lua_socket *check_socket(lua_State *L) {
  lua_socket *s = luaL_checkudata(L, 1, WEBSOCKET_META);
  if (!s->ws) luaL_error(L, "this WebSocket is closed");
  return s;
}

static int socket_close(lua_State *L) {
  lua_socket *s = luaL_checkudata(L, 1, WEBSOCKET_META);
  tm_websocket_close(&s->ctx, s->ws);
  s->ws = NULL;
  return 0;
}

static int socket_gc(lua_State *L) {
  lua_socket *s = lua_touserdata(L, 1);
  socket_close(L);
  tm_ctx_fini(&s->ctx);
  return 0;
}

static int socket_send(lua_State *L) { // ws:send(text, {timeout_ns=}) -> true | nil, err
  lua_socket *s = check_socket(L);
  size_t size;
  const char *text = luaL_checklstring(L, 2, &size);
  tm_lua_waiting w;
  lua_settop(L, 3);
  tm_lua_wait_begin(L, 3, &w);
  tm_websocket_set_timeout(s->ws, (uint64_t)option_integer(L, 3, "timeout_ns", TIMEOUT_NS));
  tm_status status = tm_websocket_send(&w.ctx, s->ws, text, size);
  tm_lua_wait_end(&w);
  if (status != TM_OK) return tm_lua_failed(L, &w.ctx);
  lua_pushboolean(L, 1);
  return 1;
}

static int socket_receive(lua_State *L) { // ws:receive{timeout_ns=, progress=} -> text | nil, err
  lua_socket *s = check_socket(L);
  const tm_bytes *message = NULL;
  tm_lua_waiting w;
  lua_settop(L, 2);
  tm_lua_wait_begin(L, 2, &w);
  tm_websocket_set_timeout(s->ws, (uint64_t)option_integer(L, 2, "timeout_ns", TIMEOUT_NS));
  tm_status status = tm_websocket_receive(&w.ctx, s->ws, &message);
  tm_lua_wait_end(&w);
  if (status != TM_OK) return tm_lua_failed(L, &w.ctx);
  lua_pushlstring(L, message->data ? (const char *)message->data : "", message->size);
  return 1;
}

// core.websocket(url, {timeout_ns=}) -> ws | nil, err. Messages of up to 64 MiB.
static int core_websocket(lua_State *L) {
  const char *url = luaL_checkstring(L, 1);
  tm_lua_waiting w;
  lua_settop(L, 2);
  lua_socket *s = lua_newuserdatauv(L, sizeof *s, 0);
  s->ws = NULL;
  tm_ctx_init(&s->ctx, NULL);
  luaL_setmetatable(L, WEBSOCKET_META);
  tm_lua_wait_begin(L, 2, &w);
  uint64_t timeout_ns = (uint64_t)option_integer(L, 2, "timeout_ns", TIMEOUT_NS);
  tm_status status = tm_websocket_open(&w.ctx, url, timeout_ns, &s->ws);
  tm_lua_wait_end(&w);
  if (status != TM_OK) return tm_lua_failed(L, &w.ctx);
  lua_pushvalue(L, 3);
  return 1;
}

void tm_lua_add_capture(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"send", socket_send}, {"receive", socket_receive}, {"close", socket_close}, {NULL, NULL}};
  static const luaL_Reg functions[] = {{"pause", core_pause},
                                       {"jvm", core_jvm},
                                       {"jvm_find", core_jvm_find},
                                       {"websocket", core_websocket},
                                       {NULL, NULL}};
  luaL_newmetatable(L, WEBSOCKET_META);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, socket_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushcfunction(L, socket_close);
  lua_setfield(L, -2, "__close");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
