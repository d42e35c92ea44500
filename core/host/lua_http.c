// core.http for trusted Lua: one request on a loop of its own, which also hears Ctrl-C and reports
// progress. A body goes into memory, piece by piece to a function, or straight into a file that
// appears under its name only when all of it has come. What a request holds is owned by a userdata,
// so that nothing leaks when Lua raises; Lua's own functions run protected, since the loop must end
// in any case.
#include "host/lua_http.h"

#include "host/lua_core.h"
#include "host/lua_fields.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  PROGRESS_MS = 200,
  REFUSAL_BYTES = 65536, // kept of a body that is no 200 and was meant for a file
};

typedef struct exchange {
  tm_ctx ctx;
  tm_http_result result;
  lua_State *L;
  int progress, sink; // stack indexes of functions, 0 = none
  bool raised;        // one of them did; its message is on the stack
  bool to_file, to_sink;
  const char *file; // held by the options
  char part[1100];  // what is written until all has come; "" = file itself
  int fd;           // -1 = not open
  uint64_t length_bytes, written_bytes;
  uv_loop_t loop;
  bool loop_open;
  uv_signal_t signals[2];
  uv_timer_t timer;
  tm_http_call *call; // NULL = over
} exchange;

static void drop_file(exchange *x) {
  if (x->fd >= 0) close(x->fd);
  if (x->fd >= 0 && x->part[0]) unlink(x->part);
  x->fd = -1;
}

static int exchange_gc(lua_State *L) {
  exchange *x = lua_touserdata(L, 1);
  drop_file(x);
  tm_http_result_free(&x->ctx, &x->result);
  tm_ctx_fini(&x->ctx);
  return 0;
}

static exchange *push_exchange(lua_State *L) {
  exchange *x = lua_newuserdatauv(L, sizeof *x, 0);
  *x = (exchange){.L = L, .fd = -1, .length_bytes = TM_HTTP_NO_LENGTH};
  tm_ctx_init(&x->ctx, NULL);
  if (luaL_newmetatable(L, "tidemark.HttpExchange")) {
    lua_pushcfunction(L, exchange_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return x;
}

// ---- options ----

// A string field of the options at 1, which keep it alive; NULL when absent.
static const char *text_field(lua_State *L, const char *name, size_t *out_size) {
  const char *text = NULL;
  int type = lua_getfield(L, 1, name);
  if (type == LUA_TSTRING)
    text = lua_tolstring(L, -1, out_size);
  else if (type != LUA_TNIL)
    luaL_error(L, "core.http: %s must be a string", name);
  lua_pop(L, 1);
  return text;
}

static uint64_t count_field(lua_State *L, const char *name) {
  int is_integer = 1;
  lua_Integer value = 0;
  if (lua_getfield(L, 1, name) != LUA_TNIL) value = lua_tointegerx(L, -1, &is_integer);
  if (!is_integer || value < 0) luaL_error(L, "core.http: %s must be a whole number", name);
  lua_pop(L, 1);
  return (uint64_t)value;
}

static size_t header_fields(lua_State *L, tm_http_header headers[TM_LUA_HTTP_HEADERS]) {
  size_t count = 0;
  int type = lua_getfield(L, 1, "headers");
  if (type == LUA_TTABLE) {
    lua_pushnil(L);
    while (lua_next(L, -2)) {
      if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "core.http: headers are strings by name");
      if (count == TM_LUA_HTTP_HEADERS)
        luaL_error(L, "core.http: more than %d headers", TM_LUA_HTTP_HEADERS);
      headers[count++] = (tm_http_header){lua_tostring(L, -2), lua_tostring(L, -1)};
      lua_pop(L, 1);
    }
  } else if (type != LUA_TNIL) {
    luaL_error(L, "core.http: headers must be a table");
  }
  lua_pop(L, 1);
  return count;
}

static void check_names(lua_State *L) {
  static const char *const known[] = {
      "url",         "method", "body",     "headers", "timeout_ns", "ca_file", "max_body_bytes",
      "host_header", "file",   "progress", "sink"};
  lua_pushnil(L);
  while (lua_next(L, 1)) {
    bool found = false;
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    for (size_t i = 0; i < TM_COUNT(known); i++) found = found || strcmp(name, known[i]) == 0;
    if (!found) luaL_error(L, "core.http: no option is called '%s'", name);
    lua_pop(L, 1);
  }
}

tm_http_request tm_lua_http_request(lua_State *L, tm_http_header headers[TM_LUA_HTTP_HEADERS]) {
  size_t body_bytes = 0, unused;
  check_names(L);
  tm_http_request request = {
      .url = text_field(L, "url", &unused),
      .method = text_field(L, "method", &unused),
      .body = text_field(L, "body", &body_bytes),
      .headers = headers,
      .header_count = header_fields(L, headers),
      .host_header = text_field(L, "host_header", &unused),
      .ca_file = text_field(L, "ca_file", &unused),
      .total_timeout_ns = count_field(L, "timeout_ns"),
      .max_body_bytes = count_field(L, "max_body_bytes"),
  };
  if (!request.url) luaL_error(L, "core.http: url is missing");
  request.body_bytes = body_bytes;
  request.first_byte_timeout_ns = request.idle_timeout_ns = request.total_timeout_ns;
  return request;
}

// ---- the file ----

static tm_status fail_file(exchange *x, int error, const char *what) {
  return tm_fail_errno(&x->ctx, error, "%s %s", what, x->file);
}

// "-" is standard output. A plain file is written anew beside its name, and takes its place at the
// end; anything else (a pipe, a link, also /dev/stdout) is written through, never replaced.
static tm_status open_file(exchange *x) {
  struct stat st;
  if (strcmp(x->file, "-") == 0) {
    x->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  } else if (lstat(x->file, &st) == 0 && !S_ISREG(st.st_mode)) {
    x->fd = open(x->file, O_WRONLY | O_TRUNC | O_CLOEXEC);
  } else {
    int size = snprintf(x->part, sizeof x->part, "%s.XXXXXX", x->file);
    if (size >= (int)sizeof x->part) return fail_file(x, ENAMETOOLONG, "cannot write");
    x->fd = mkostemp(x->part, O_CLOEXEC); // 0600
  }
  return x->fd >= 0 ? TM_OK : fail_file(x, errno, "cannot write");
}

static tm_status close_file(exchange *x) {
  int error = close(x->fd) == 0 ? 0 : errno;
  if (!error && x->part[0] && rename(x->part, x->file) != 0) error = errno;
  if (error && x->part[0]) unlink(x->part);
  x->fd = -1;
  return error ? fail_file(x, error, "cannot write") : TM_OK;
}

static tm_status write_piece(exchange *x, const uint8_t *data, size_t size) {
  while (size) {
    ssize_t n = write(x->fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_file(x, errno, "cannot write");
    data += n;
    size -= (size_t)n;
    x->written_bytes += (uint64_t)n;
  }
  return TM_OK;
}

// A web page is no profile, whatever its status: it stays out of the file.
static tm_status on_answer(void *ud, const tm_http_response *answer) {
  exchange *x = ud;
  const char *type = tm_http_head_find(&answer->head, "content-type");
  bool is_page = type && strncasecmp(type, "text/html", 9) == 0;
  bool wanted = answer->http_status == 200 && !is_page;
  x->length_bytes = answer->length_bytes;
  x->to_sink = wanted && x->sink;
  return wanted && x->to_file ? open_file(x) : TM_OK;
}

// What it raises ends the request, and is raised when the loop has ended.
static tm_status call_sink(exchange *x, const uint8_t *data, size_t size) {
  if (x->raised) return TM_E_LUA;
  lua_pushvalue(x->L, x->sink);
  lua_pushlstring(x->L, (const char *)data, size);
  if (lua_pcall(x->L, 1, 0, 0) == LUA_OK) return TM_OK;
  x->raised = true;
  return tm_fail(&x->ctx, TM_E_LUA, TM_NO_OFFSET, "sink failed");
}

// A refusal's words are kept, but not without end.
static tm_status on_body(void *ud, const uint8_t *data, size_t size) {
  exchange *x = ud;
  if (x->fd >= 0) return write_piece(x, data, size);
  if (x->to_sink) return call_sink(x, data, size);
  size_t room = REFUSAL_BYTES - x->result.body.size;
  return tm_bytes_append(&x->ctx, &x->result.body, data, size < room ? size : room);
}

// ---- the exchange ----

static void close_handles(exchange *x) {
  uv_close((uv_handle_t *)&x->timer, NULL);
  for (size_t i = 0; i < TM_COUNT(x->signals); i++) uv_close((uv_handle_t *)&x->signals[i], NULL);
}

static void give_up(exchange *x, tm_status status, const char *why) {
  if (!x->call) return;
  tm_http_cancel(x->call);
  x->call = NULL;
  x->result.status = tm_fail(&x->ctx, status, TM_NO_OFFSET, "%s", why);
  close_handles(x);
}

static void on_signal(uv_signal_t *handle, int number) {
  (void)number;
  give_up(handle->data, TM_E_CANCELLED, "interrupted");
}

// progress(done_bytes, total_bytes | nil); what it raises is raised when the loop has ended.
static void on_timer(uv_timer_t *timer) {
  exchange *x = timer->data;
  lua_State *L = x->L;
  lua_pushvalue(L, x->progress);
  lua_pushinteger(L, (lua_Integer)x->written_bytes);
  if (x->length_bytes != TM_HTTP_NO_LENGTH)
    lua_pushinteger(L, (lua_Integer)x->length_bytes);
  else
    lua_pushnil(L);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
  x->raised = true;
  give_up(x, TM_E_LUA, "progress failed");
}

static void on_done(void *ud, tm_http_result *result) {
  exchange *x = ud;
  tm_bytes refusal = x->result.body;
  x->call = NULL;
  x->result = *result;
  *result = (tm_http_result){0};
  if (x->to_file || x->sink) x->result.body = refusal;
  // The reader of the body has said more than the client knows.
  if (x->result.status != TM_OK && x->ctx.error.status == TM_OK)
    tm_fail(&x->ctx, x->result.status, TM_NO_OFFSET, "%s", x->result.message);
  close_handles(x);
}

static void listen_to_signals(exchange *x) {
  const int numbers[] = {SIGINT, SIGTERM};
  for (size_t i = 0; i < TM_COUNT(numbers); i++) {
    uv_signal_init(&x->loop, &x->signals[i]);
    x->signals[i].data = x;
    if (x->to_file || x->sink || x->progress)
      uv_signal_start(&x->signals[i], on_signal, numbers[i]);
    uv_unref((uv_handle_t *)&x->signals[i]);
  }
  uv_timer_init(&x->loop, &x->timer);
  x->timer.data = x;
  if (x->progress) uv_timer_start(&x->timer, on_timer, PROGRESS_MS, PROGRESS_MS);
  uv_unref((uv_handle_t *)&x->timer);
}

// Does the request to its end; the loop is closed in any case.
static tm_status perform(exchange *x, const tm_http_request *request) {
  int error = uv_loop_init(&x->loop);
  if (error) return tm_fail_errno(&x->ctx, -error, "cannot make a loop for a request");
  listen_to_signals(x);
  tm_status status = tm_http_start(&x->ctx, &x->loop, request, on_done, x, &x->call);
  if (status != TM_OK) close_handles(x);
  uv_run(&x->loop, UV_RUN_DEFAULT);
  uv_loop_close(&x->loop);
  if (status == TM_OK) status = x->result.status;
  if (status == TM_OK && x->fd >= 0) status = close_file(x);
  drop_file(x);
  return status;
}

// ---- the answer ----

// name -> value, names in small letters; what comes several times is joined by ", ".
static void push_headers(lua_State *L, const tm_bytes *head) {
  const char *at = (const char *)head->data, *end = at + head->size;
  lua_newtable(L);
  while (at < end) {
    const char *value = at + strlen(at) + 1;
    luaL_Buffer name;
    if (value >= end) return;
    luaL_buffinit(L, &name);
    for (const char *p = at; *p; p++)
      luaL_addchar(&name, *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p);
    luaL_pushresult(&name);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TSTRING)
      lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), value);
    else
      lua_pushstring(L, value);
    lua_remove(L, -2);
    lua_rawset(L, -3);
    at = value + strlen(value) + 1;
  }
}

void tm_lua_push_http_answer(lua_State *L, const tm_http_result *result) {
  lua_createtable(L, 0, 5);
  set_integer(L, "status", result->http_status);
  set_integer(L, "total_ns", (int64_t)result->total_ns);
  set_integer(L, "bytes", (int64_t)result->body_bytes);
  lua_pushlstring(L, result->body.data ? (const char *)result->body.data : "", result->body.size);
  lua_setfield(L, -2, "body");
  push_headers(L, &result->head);
  lua_setfield(L, -2, "headers");
}

static int push_answer(lua_State *L, exchange *x) {
  tm_lua_push_http_answer(L, &x->result);
  tm_http_result_free(&x->ctx, &x->result); // now, not when the collector comes
  return 1;
}

// Pushes it, or nil.
static bool function_field(lua_State *L, const char *name) {
  int type = lua_getfield(L, 1, name);
  if (type != LUA_TNIL && type != LUA_TFUNCTION)
    luaL_error(L, "core.http: %s must be a function", name);
  return type == LUA_TFUNCTION;
}

int tm_lua_http(lua_State *L) {
  tm_http_header headers[TM_LUA_HTTP_HEADERS];
  size_t unused;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  tm_http_request request = tm_lua_http_request(L, headers);
  const char *file = text_field(L, "file", &unused);
  bool has_progress = function_field(L, "progress"), has_sink = function_field(L, "sink");
  if (file && has_sink) luaL_error(L, "core.http: file and sink exclude each other");
  luaL_checkstack(L, 16, "core.http");
  exchange *x = push_exchange(L);
  x->progress = has_progress ? 2 : 0;
  x->sink = has_sink ? 3 : 0;
  x->file = file;
  x->to_file = file != NULL;
  if (file || has_sink) {
    request.on_answer = on_answer;
    request.on_body = on_body;
    request.on_body_ud = x;
  }
  tm_status status = perform(x, &request);
  if (x->raised) return lua_error(L);
  return status == TM_OK ? push_answer(L, x) : tm_lua_failed(L, &x->ctx);
}
