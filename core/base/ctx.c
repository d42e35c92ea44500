// The context: error text is formatted into a fixed buffer, so that failing never allocates.
#include "base/ctx.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tm_ctx_init(tm_ctx *ctx, const tm_allocator *alloc) {
  *ctx = (tm_ctx){.alloc = alloc ? *alloc : tm_allocator_malloc};
  ctx->error.offset_bytes = TM_NO_OFFSET;
  tm_arena_init(&ctx->scratch, &ctx->alloc, 0);
}

void tm_ctx_fini(tm_ctx *ctx) {
  tm_arena_fini(&ctx->scratch);
}

void tm_ctx_clear(tm_ctx *ctx) {
  ctx->error.status = TM_OK;
  ctx->error.offset_bytes = TM_NO_OFFSET;
  ctx->error.message[0] = '\0';
}

tm_status tm_fail(tm_ctx *ctx, tm_status status, uint64_t offset_bytes, const char *fmt, ...) {
  if (ctx->error.status != TM_OK) return ctx->error.status;
  ctx->error.status = status;
  ctx->error.offset_bytes = offset_bytes;
  va_list args;
  va_start(args, fmt);
  vsnprintf(ctx->error.message, sizeof ctx->error.message, fmt, args);
  va_end(args);
  return status;
}

static tm_status status_of_errno(int sys_errno) {
  switch (sys_errno) {
  case EPERM:
  case EACCES:
    return TM_E_PERM;
  case ENOMEM:
    return TM_E_NOMEM;
  case ESRCH:
    return TM_E_GONE;
  case EBUSY:
  case EAGAIN:
    return TM_E_BUSY;
  case ENOSYS:
  case EOPNOTSUPP:
    return TM_E_UNSUPPORTED;
  case ETIMEDOUT:
    return TM_E_TIMEOUT;
  case ECANCELED:
    return TM_E_CANCELLED;
  case EINVAL:
    return TM_E_ARG;
  default:
    return TM_E_IO;
  }
}

tm_status tm_fail_errno(tm_ctx *ctx, int sys_errno, const char *fmt, ...) {
  if (ctx->error.status != TM_OK) return ctx->error.status;
  ctx->error.status = status_of_errno(sys_errno);
  ctx->error.offset_bytes = TM_NO_OFFSET;
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(ctx->error.message, sizeof ctx->error.message, fmt, args);
  va_end(args);
  if (n >= 0 && (size_t)n < sizeof ctx->error.message) {
    char text[128];
    const char *words = strerror_r(sys_errno, text, sizeof text);
    snprintf(ctx->error.message + n, sizeof ctx->error.message - (size_t)n, ": %s", words);
  }
  return ctx->error.status;
}

tm_status tm_fail_in(tm_ctx *ctx, const char *fmt, ...) {
  char frame[sizeof ctx->error.message], rest[sizeof ctx->error.message];
  va_list args;
  va_start(args, fmt);
  vsnprintf(frame, sizeof frame, fmt, args);
  va_end(args);
  memcpy(rest, ctx->error.message, sizeof rest);
  size_t n = strnlen(frame, sizeof frame - 3);
  memcpy(ctx->error.message, frame, n);
  memcpy(ctx->error.message + n, ": ", 3);
  size_t room = sizeof ctx->error.message - n - 3;
  size_t m = strnlen(rest, room);
  memcpy(ctx->error.message + n + 2, rest, m);
  ctx->error.message[n + 2 + m] = '\0';
  return ctx->error.status;
}

tm_status tm_ctx_tick(tm_ctx *ctx, uint64_t done) {
  if (ctx->cancel && atomic_load_explicit(ctx->cancel, memory_order_relaxed))
    return tm_fail(ctx, TM_E_CANCELLED, done, "cancelled");
  if (ctx->progress) ctx->progress(ctx->progress_ud, done, ctx->total);
  return TM_OK;
}

void *tm_alloc(tm_ctx *ctx, size_t size) {
  return tm_realloc(ctx, NULL, 0, size);
}

void *tm_calloc(tm_ctx *ctx, size_t count, size_t size) {
  if (size && count > SIZE_MAX / size) {
    tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (%zu x %zu bytes)", count, size);
    return NULL;
  }
  void *p = tm_alloc(ctx, count * size);
  if (p) memset(p, 0, count * size);
  return p;
}

void *tm_realloc(tm_ctx *ctx, void *p, size_t old_size, size_t size) {
  if (size == 0) size = 1;
  void *q = ctx->alloc.realloc_fn(ctx->alloc.ud, p, old_size, size);
  if (!q) tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (%zu bytes)", size);
  return q;
}

void tm_free(tm_ctx *ctx, void *p, size_t size) {
  if (p) ctx->alloc.realloc_fn(ctx->alloc.ud, p, size, 0);
}
