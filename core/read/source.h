// Bytes in: a file, a buffer or a pipe as one range of memory, with compression seen through. Every
// byte of that range has its index as offset, which is what errors name.
#ifndef TM_READ_SOURCE_H
#define TM_READ_SOURCE_H

#include "base/ctx.h"

typedef struct tm_source {
  const uint8_t *data;
  size_t size;
  const char *packing; // "", "gzip" or "zstd": how it was stored
  uint64_t stored_bytes;
  tm_error damage; // of the packing, where it was opened as a part: data is what came before
  // how to give the memory back
  tm_allocator alloc;
  void *owned;
  size_t owned_bytes;
  void *mapped;
  size_t mapped_bytes;
} tm_source;

// Opens a file; "-" reads stdin to its end. Regular files are mapped, so a file that shrinks under
// us is the caller's risk. gzip (several members) and zstd are unpacked up to
// ctx->max_output_bytes. TM_E_IO, TM_E_FORMAT for damaged packing, TM_E_LIMIT past the cap. Free
// with tm_source_close.
TM_NODISCARD tm_status tm_source_open(tm_ctx *ctx, const char *path, tm_source *out);

// Looks at bytes that the caller keeps until tm_source_close; unpacks as above.
TM_NODISCARD tm_status tm_source_from_buffer(tm_ctx *ctx, const void *data, size_t size,
                                             tm_source *out);

// The same, but packing that is cut or damaged behind its first bytes is no failure: the source
// holds what came before, and its damage says where and why.
TM_NODISCARD tm_status tm_source_open_part(tm_ctx *ctx, const char *path, tm_source *out);
TM_NODISCARD tm_status tm_source_part_from_buffer(tm_ctx *ctx, const void *data, size_t size,
                                                  tm_source *out);

void tm_source_close(tm_source *source);

// Says that bytes begin .. end are not needed soon: memory that a mapped file took for them is
// given back, and read again should somebody look. No effect on buffers.
void tm_source_forget(const tm_source *source, uint64_t begin, uint64_t end);

#endif
