// Knowing a dump again without reading it: 192 KiB of it whatever its size.
#include "model/graph_index.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { END_BYTES = 65536, PAGE_BYTES = 4096, PAGES = 16 };

uint64_t tm_index_hash(const void *data, size_t bytes) {
  return XXH3_64bits(data, bytes);
}

static tm_status add(tm_ctx *ctx, int fd, uint64_t at, size_t bytes, uint64_t *hash) {
  uint8_t buffer[PAGE_BYTES];
  while (bytes) {
    ssize_t n = pread(fd, buffer, bytes < sizeof buffer ? bytes : sizeof buffer, (off_t)at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return tm_fail_errno(ctx, errno, "cannot read the dump");
    if (!n) return TM_OK; // it shrinks: its size tells
    *hash = XXH3_64bits_withSeed(buffer, (size_t)n, *hash);
    at += (size_t)n;
    bytes -= (size_t)n;
  }
  return TM_OK;
}

tm_status tm_index_identify(tm_ctx *ctx, int fd, tm_index_identity *out) {
  struct stat st;
  if (fstat(fd, &st) != 0) return tm_fail_errno(ctx, errno, "cannot look at the dump");
  if (!S_ISREG(st.st_mode))
    return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "only a regular file has an index");
  uint64_t size = (uint64_t)st.st_size, hash = size;
  TM_TRY(add(ctx, fd, 0, END_BYTES, &hash));
  TM_TRY(add(ctx, fd, size > END_BYTES ? size - END_BYTES : 0, END_BYTES, &hash));
  for (uint64_t i = 1; i <= PAGES && size > 2 * END_BYTES; i++)
    TM_TRY(add(ctx, fd, size / (PAGES + 1) * i, PAGE_BYTES, &hash));
  *out =
      (tm_index_identity){size, (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec, hash};
  return TM_OK;
}
