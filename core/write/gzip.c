// zlib in one go, chunk by chunk into the growing bytes.
#include "write/gzip.h"

#include <zlib.h>

tm_status tm_gzip(tm_ctx *ctx, const void *data, size_t size, int level, tm_bytes *out) {
  z_stream z = {0};
  uint8_t chunk[8192];
  if (size > UINT32_MAX)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "more than 4 GiB cannot be packed as one");
  if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (gzip)");
  z.next_in = (Bytef *)(uintptr_t)data; // zlib only reads there
  z.avail_in = (uInt)size;
  tm_status status = TM_OK;
  for (int r = Z_OK; r != Z_STREAM_END && status == TM_OK;) {
    z.next_out = chunk;
    z.avail_out = sizeof chunk;
    r = deflate(&z, Z_FINISH);
    status = tm_bytes_append(ctx, out, chunk, sizeof chunk - z.avail_out);
  }
  deflateEnd(&z);
  return status;
}
