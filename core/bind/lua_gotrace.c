// Go execution traces as files, for trusted Lua: core.check_trace(path or {bytes=}) says whether a
// trace is whole and in order; core.trace_stream() reads one that is still written;
// core.repair_trace(path or {bytes=}) answers one without batches that were written twice.
#include "analyze/trace_profile.h"
#include "bind/lua_error.h"
#include "bind/lua_model.h"
#include "read/gotrace.h"

#include <lauxlib.h>

#define STREAM_META "tidemark.TraceStream"

// Opens what stands at index 1. Nothing may raise until it is closed again.
static tm_status open_source(lua_State *L, tm_ctx *ctx, tm_source *src) {
  if (!lua_istable(L, 1)) return tm_source_open(ctx, lua_tostring(L, 1), src);
  size_t size = 0;
  lua_getfield(L, 1, "bytes");
  const char *bytes = lua_tolstring(L, -1, &size);
  return tm_source_from_buffer(ctx, bytes, bytes ? size : 0, src);
}

static void check_argument(lua_State *L) {
  if (lua_istable(L, 1)) {
    luaL_argcheck(L, lua_getfield(L, 1, "bytes") == LUA_TSTRING, 1, "bytes are needed");
    lua_pop(L, 1);
  } else {
    luaL_argcheck(L, lua_type(L, 1) == LUA_TSTRING, 1, "a path is needed");
  }
  lua_settop(L, 1);
}

static void set_count(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

static void free_profile(void *profile) {
  tm_profile_free(profile);
}

// core.check_trace(path or {bytes=}, waits) -> { valid=, problem=, offset=, events=, … }, and a
// Profile of what goroutines waited for when asked; nil, err
int tm_lua_check_trace(lua_State *L) {
  static const char *const states[] = {NULL, "runnable", "running", "syscall", "waiting"};
  bool wants = lua_toboolean(L, 2);
  check_argument(L);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_snapshot *waits = wants ? tm_lua_push_snapshot(L) : NULL;
  int waits_at = lua_gettop(L);
  tm_trace *t = NULL;
  tm_gotrace_verdict v;
  tm_source src;
  tm_status status = open_source(L, &work->ctx, &src);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  status = tm_gotrace_check(&work->ctx, &src, &v, wants ? &t : NULL);
  tm_source_close(&src);
  tm_profile *profile = NULL;
  if (t && status == TM_OK) status = tm_trace_wait_profile(&work->ctx, t, &profile);
  tm_trace_free(t);
  if (profile)
    *waits = (tm_snapshot){
        .kind = TM_KIND_PROFILE, .format = "gotrace", .model = profile, .free_model = free_profile};
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_createtable(L, 0, 16);
  lua_pushboolean(L, v.valid);
  lua_setfield(L, -2, "valid");
  if (!v.valid) {
    lua_pushstring(L, v.problem.message);
    lua_setfield(L, -2, "problem");
    if (v.problem.offset_bytes != TM_NO_OFFSET) set_count(L, "offset", v.problem.offset_bytes);
  }
  set_count(L, "format_version", v.format_version);
  set_count(L, "generations", v.generation_count);
  set_count(L, "batches", v.batch_count);
  set_count(L, "duplicates", v.duplicate_count);
  set_count(L, "events", v.event_count);
  set_count(L, "waited", v.waited_count);
  set_count(L, "created", v.created_count);
  set_count(L, "ended", v.ended_count);
  uint64_t alive = v.state_count[TM_GO_UNKNOWN];
  for (size_t i = 1; i < TM_GO_STATE_COUNT; i++) {
    set_count(L, states[i], v.state_count[i]);
    alive += v.state_count[i];
  }
  set_count(L, "alive", alive);
  if (!wants) return 1;
  lua_pushvalue(L, waits_at);
  return 2;
}

// ---- a trace that is still written ----

typedef struct stream_box {
  tm_gotrace_stream *stream;
} stream_box;

static tm_gotrace_stream *check_stream(lua_State *L) {
  stream_box *box = luaL_checkudata(L, 1, STREAM_META);
  if (!box->stream) luaL_error(L, "this stream was closed");
  return box->stream;
}

static int stream_close(lua_State *L) {
  stream_box *box = luaL_checkudata(L, 1, STREAM_META);
  tm_gotrace_stream_free(box->stream);
  box->stream = NULL;
  return 0;
}

// The count of whole generations; and an error when the trace is damaged.
static int answer_count(lua_State *L, tm_lua_work *work, tm_gotrace_stream *stream,
                        tm_status status) {
  tm_error error = work->ctx.error;
  const tm_trace *t;
  tm_ctx_clear(&work->ctx);
  if (tm_gotrace_stream_trace(&work->ctx, stream, &t) != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_pushinteger(L, (lua_Integer)t->generation_count);
  if (status == TM_OK) return 1;
  tm_lua_push_error(L, &error);
  return 2;
}

static int stream_feed(lua_State *L) { // s:feed(bytes) -> whole generations so far [, err]
  tm_gotrace_stream *stream = check_stream(L);
  size_t size;
  const char *bytes = luaL_checklstring(L, 2, &size);
  tm_lua_work *work = tm_lua_push_work(L);
  return answer_count(L, work, stream, tm_gotrace_stream_feed(&work->ctx, stream, bytes, size));
}

static int stream_finish(lua_State *L) { // s:finish() -> whole generations [, err]
  tm_gotrace_stream *stream = check_stream(L);
  tm_lua_work *work = tm_lua_push_work(L);
  return answer_count(L, work, stream, tm_gotrace_stream_end(&work->ctx, stream));
}

static int stream_trace(lua_State *L) { // s:trace() -> Trace, which changes with the next bytes
  tm_gotrace_stream *stream = check_stream(L);
  const tm_trace *t;
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_gotrace_stream_trace(&work->ctx, stream, &t) != TM_OK) return tm_lua_failed(L, &work->ctx);
  tm_lua_push_trace_view(L, (tm_trace *)t, 1);
  return 1;
}

int tm_lua_trace_stream(lua_State *L) {
  static const luaL_Reg methods[] = {{"feed", stream_feed},
                                     {"finish", stream_finish},
                                     {"trace", stream_trace},
                                     {"__gc", stream_close},
                                     {NULL, NULL}};
  tm_lua_work *work = tm_lua_push_work(L);
  stream_box *box = lua_newuserdatauv(L, sizeof *box, 0);
  box->stream = NULL;
  if (luaL_newmetatable(L, STREAM_META)) {
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
  }
  lua_setmetatable(L, -2);
  if (tm_gotrace_stream_new(&work->ctx, &box->stream) != TM_OK) return tm_lua_failed(L, &work->ctx);
  return 1;
}

// ---- repair ----

int tm_lua_repair_trace(lua_State *L) {
  check_argument(L);
  tm_lua_work *work = tm_lua_push_work(L);
  tm_gotrace_repair done;
  tm_source src;
  tm_status status = open_source(L, &work->ctx, &src);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  status = tm_gotrace_repaired(&work->ctx, &src, &work->bytes, &done);
  tm_source_close(&src);
  if (status != TM_OK) return tm_lua_failed(L, &work->ctx);
  lua_pushlstring(L, work->bytes.size ? (const char *)work->bytes.data : "", work->bytes.size);
  lua_createtable(L, 0, 4);
  set_count(L, "batches", done.batch_count);
  set_count(L, "dropped", done.dropped_count);
  set_count(L, "moved", done.moved_count);
  set_count(L, "cut_bytes", done.cut_bytes);
  return 2;
}
