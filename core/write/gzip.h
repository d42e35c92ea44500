// Bytes as a gzip member.
#ifndef TM_WRITE_GZIP_H
#define TM_WRITE_GZIP_H

#include "base/bytes.h"

// Appends size bytes of data to out, packed at that level (1 = fast .. 9 = small), without a name
// or a time: the same bytes give the same file. TM_E_LIMIT past 4 GiB, TM_E_NOMEM.
TM_NODISCARD tm_status tm_gzip(tm_ctx *ctx, const void *data, size_t size, int level,
                               tm_bytes *out);

#endif
