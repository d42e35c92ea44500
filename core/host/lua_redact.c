// core.redact for trusted Lua: a heap dump into a file of mode 0600 that has its shape and none of
// its data.
#include "bind/lua_error.h"
#include "host/lua_capture.h"
#include "host/lua_fields.h"
#include "read/source.h"
#include "write/redact.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

typedef struct sink {
  tm_ctx *ctx;
  const char *path;
  int fd;
  gzFile gz; // NULL = plain
} sink;

static tm_status write_out(void *ud, const void *data, size_t size) {
  sink *s = ud;
  const uint8_t *at = data;
  while (size) {
    ssize_t n = s->gz ? gzwrite(s->gz, at, size < INT32_MAX ? (unsigned)size : INT32_MAX)
                      : write(s->fd, at, size);
    if (n < 0 && !s->gz && errno == EINTR) continue;
    if (n <= 0) return tm_fail_errno(s->ctx, errno ? errno : EIO, "cannot write %s", s->path);
    at += n;
    size -= (size_t)n;
  }
  return TM_OK;
}

static tm_status open_sink(tm_ctx *ctx, const char *path, bool gz, sink *out) {
  *out = (sink){.ctx = ctx, .path = path};
  out->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (out->fd < 0 || fchmod(out->fd, 0600) != 0)
    return tm_fail_errno(ctx, errno, "cannot write %s", path);
  if (gz && !(out->gz = gzdopen(out->fd, "wb1")))
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory");
  return TM_OK;
}

static tm_status close_sink(sink *s, tm_status status) {
  errno = 0;
  bool ok = s->gz ? gzclose(s->gz) == Z_OK : s->fd < 0 || close(s->fd) == 0;
  if (status == TM_OK && !ok)
    status = tm_fail_errno(s->ctx, errno ? errno : EIO, "cannot write %s", s->path);
  if (status != TM_OK && s->fd >= 0) unlink(s->path);
  return status;
}

static tm_status redact_file(tm_ctx *ctx, const char *from, const char *to, bool gz,
                             tm_redacted *out) {
  tm_source source;
  sink s;
  TM_TRY(tm_source_open(ctx, from, &source));
  tm_status status = open_sink(ctx, to, gz, &s);
  if (status == TM_OK) status = tm_redact(ctx, source.data, source.size, write_out, &s, out);
  status = close_sink(&s, status);
  tm_source_close(&source);
  return status;
}

// core.redact(from, to, {gz=, progress=} | nil) -> {format, blanked_count, blanked_bytes} | nil,
// err
static int core_redact(lua_State *L) {
  const char *from = luaL_checkstring(L, 1), *to = luaL_checkstring(L, 2);
  tm_lua_waiting w;
  tm_redacted done;
  lua_settop(L, 3);
  bool gz = option_true(L, 3, "gz");
  tm_lua_wait_begin(L, 3, &w);
  tm_status status = redact_file(&w.ctx, from, to, gz, &done);
  tm_lua_wait_end(&w);
  if (status != TM_OK) return tm_lua_failed(L, &w.ctx);
  lua_createtable(L, 0, 3);
  set_string(L, "format", done.format);
  set_integer(L, "blanked_count", (int64_t)done.blanked_count);
  set_integer(L, "blanked_bytes", (int64_t)done.blanked_bytes);
  return 1;
}

void tm_lua_add_redact(lua_State *L) {
  lua_pushcfunction(L, core_redact);
  lua_setfield(L, -2, "redact");
}
