// What the formats share: everything is copied except ranges that a format's walk names. The walk
// sees only the input, so it can be read as a parser; memory does not grow with the dump but for
// its names (V8: two bits for each string; HPROF: an entry for each name).
#include "write/redact_impl.h"

#include <string.h>

enum { TICK_RECORDS = 1 << 16 };

static tm_status flush(redactor *r) {
  size_t size = r->filled;
  r->filled = 0;
  return size ? r->fn(r->ud, r->buffer, size) : TM_OK;
}

tm_status redact_put(redactor *r, const void *bytes, size_t size) {
  if (r->filled + size > REDACT_BUFFER_BYTES) TM_TRY(flush(r));
  if (size >= REDACT_BUFFER_BYTES) return r->fn(r->ud, bytes, size);
  memcpy(r->buffer + r->filled, bytes, size);
  r->filled += size;
  return TM_OK;
}

tm_status redact_copy(redactor *r, size_t to) {
  size_t from = r->copied;
  r->copied = to;
  return to > from ? redact_put(r, r->data + from, to - from) : TM_OK;
}

tm_status redact_blank(redactor *r, size_t at, size_t size, size_t count, uint8_t byte) {
  TM_TRY(redact_copy(r, at));
  r->copied = at + size;
  r->out->blanked_bytes += count;
  while (count) {
    if (r->filled == REDACT_BUFFER_BYTES) TM_TRY(flush(r));
    size_t room = REDACT_BUFFER_BYTES - r->filled, n = count < room ? count : room;
    memset(r->buffer + r->filled, byte, n);
    r->filled += n;
    count -= n;
  }
  return TM_OK;
}

tm_status redact_bad(redactor *r, uint64_t at, const char *what) {
  return tm_fail(r->ctx, TM_E_FORMAT, at, "cannot be redacted: %s", what);
}

tm_status redact_tick(redactor *r, uint64_t at) {
  return ++r->ticks % TICK_RECORDS ? TM_OK : tm_ctx_tick(r->ctx, at);
}

static bool starts_with(const redactor *r, const char *words) {
  size_t n = strlen(words);
  return r->size >= n && memcmp(r->data, words, n) == 0;
}

static bool is_v8(const redactor *r) {
  size_t head = r->size < 4096 ? r->size : 4096;
  return memmem(r->data, head, "\"snapshot\"", 10) && memmem(r->data, head, "\"node_fields\"", 13);
}

static tm_status rewrite(redactor *r) {
  tm_status status;
  if (starts_with(r, "JAVA PROFILE 1.0"))
    status = redact_hprof(r);
  else if (starts_with(r, "go1.7 heap dump\n"))
    status = redact_go(r);
  else if (is_v8(r))
    status = redact_v8(r);
  else
    return tm_fail(r->ctx, TM_E_UNSUPPORTED, 0,
                   "no heap dump that can be redacted: HPROF, V8 heap snapshot or Go heap dump");
  if (status == TM_OK) status = redact_copy(r, r->size);
  return status == TM_OK ? flush(r) : status;
}

tm_status tm_redact(tm_ctx *ctx, const void *data, size_t size, tm_redact_fn fn, void *ud,
                    tm_redacted *out) {
  redactor *r = tm_alloc(ctx, sizeof *r);
  if (!r) return TM_E_NOMEM;
  memset(r, 0, offsetof(redactor, buffer));
  *out = (tm_redacted){0};
  r->ctx = ctx;
  r->data = data;
  r->size = size;
  r->fn = fn;
  r->ud = ud;
  r->out = out;
  ctx->total = size;
  tm_status status = rewrite(r);
  tm_idmap_free(ctx, &r->names);
  tm_free(ctx, r, sizeof *r);
  return status;
}
