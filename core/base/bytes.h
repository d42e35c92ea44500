// A growing byte string: what writers fill. Zero-initialise with tm_bytes_init; a failed append
// records TM_E_NOMEM (or TM_E_LIMIT past cap_bytes) and leaves the bytes as they were.
#ifndef TM_BASE_BYTES_H
#define TM_BASE_BYTES_H

#include "base/ctx.h"

typedef struct tm_bytes {
  uint8_t *data;
  size_t size, room;
  size_t cap_bytes; // 0 = no cap
} tm_bytes;

void tm_bytes_free(tm_ctx *ctx, tm_bytes *bytes);
TM_NODISCARD tm_status tm_bytes_append(tm_ctx *ctx, tm_bytes *bytes, const void *data, size_t size);
TM_NODISCARD tm_status tm_bytes_varint(tm_ctx *ctx, tm_bytes *bytes, uint64_t value);
TM_NODISCARD tm_status tm_bytes_printf(tm_ctx *ctx, tm_bytes *bytes, const char *fmt, ...)
    TM_PRINTF(3, 4);

#endif
