// Growing byte string, by doubling.
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void tm_bytes_free(tm_ctx *ctx, tm_bytes *bytes) {
  tm_free(ctx, bytes->data, bytes->room);
  *bytes = (tm_bytes){.cap_bytes = bytes->cap_bytes};
}

static tm_status reserve(tm_ctx *ctx, tm_bytes *bytes, size_t more) {
  if (bytes->cap_bytes && (more > bytes->cap_bytes || bytes->size > bytes->cap_bytes - more))
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "output would exceed its cap of %zu bytes",
                   bytes->cap_bytes);
  if (bytes->room - bytes->size >= more) return TM_OK;
  size_t room = bytes->room ? bytes->room * 2 : 256;
  while (room - bytes->size < more) room *= 2;
  void *p = tm_realloc(ctx, bytes->data, bytes->room, room);
  if (!p) return TM_E_NOMEM;
  bytes->data = p;
  bytes->room = room;
  return TM_OK;
}

tm_status tm_bytes_append(tm_ctx *ctx, tm_bytes *bytes, const void *data, size_t size) {
  TM_TRY(reserve(ctx, bytes, size));
  if (size) memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
  return TM_OK;
}

tm_status tm_bytes_varint(tm_ctx *ctx, tm_bytes *bytes, uint64_t value) {
  uint8_t out[10];
  size_t n = 0;
  while (value >= 0x80) {
    out[n++] = (uint8_t)(value | 0x80);
    value >>= 7;
  }
  out[n++] = (uint8_t)value;
  return tm_bytes_append(ctx, bytes, out, n);
}

tm_status tm_bytes_printf(tm_ctx *ctx, tm_bytes *bytes, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(NULL, 0, fmt, args);
  va_end(args);
  if (n < 0) return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "bad format");
  TM_TRY(reserve(ctx, bytes, (size_t)n + 1));
  va_start(args, fmt);
  vsnprintf((char *)bytes->data + bytes->size, (size_t)n + 1, fmt, args);
  va_end(args);
  bytes->size += (size_t)n;
  return TM_OK;
}
