// Bytes in: mmap for regular files, a growing buffer for pipes. gzip goes through libdeflate where
// it is there (twice the speed of zlib; whole buffers only), else zlib; zstd through its stream.
// The output grows by doubling from the size that the trailer claims, and never past the cap.
#include "read/source.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#ifdef TM_HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif

#define DEFAULT_CAP (UINT64_C(16) << 30)

typedef struct growing {
  uint8_t *data;
  size_t size, room;
  uint64_t cap;
} growing;

static tm_status grow_to(tm_ctx *ctx, growing *g, size_t room) {
  if (room > g->cap) room = (size_t)g->cap;
  if (room <= g->room)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET,
                   "the input unpacks to more than %llu bytes; raise max_output_bytes to allow it",
                   (unsigned long long)g->cap);
  uint8_t *p = tm_realloc(ctx, g->data, g->room, room);
  if (!p) return TM_E_NOMEM;
  g->data = p;
  g->room = room;
  return TM_OK;
}

static tm_status grow(tm_ctx *ctx, growing *g) {
  return grow_to(ctx, g, g->room < 4096 ? 65536 : g->room * 2);
}

// What came before damage stays in `out`, unlike with libdeflate.
static tm_status gunzip_stream(tm_ctx *ctx, const uint8_t *in, size_t in_size, growing *out) {
  z_stream z = {0};
  if (inflateInit2(&z, 15 + 16) != Z_OK)
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (gunzip)");
  size_t at = 0;
  int r = Z_OK;
  tm_status status = TM_OK;
  while (status == TM_OK && (at < in_size || r != Z_STREAM_END)) {
    if (out->size == out->room && (status = grow(ctx, out)) != TM_OK) break;
    size_t give = in_size - at < (1u << 30) ? in_size - at : (1u << 30);
    size_t room = out->room - out->size < (1u << 30) ? out->room - out->size : (1u << 30);
    z.next_in = (Bytef *)(uintptr_t)(in + at);
    z.avail_in = (uInt)give;
    z.next_out = out->data + out->size;
    z.avail_out = (uInt)room;
    r = inflate(&z, Z_NO_FLUSH);
    at += give - z.avail_in;
    out->size += room - z.avail_out;
    if (r == Z_STREAM_END) {
      if (at < in_size) inflateReset(&z);
    } else if (r != Z_OK || (z.avail_out && at == in_size)) {
      status = tm_fail(ctx, TM_E_FORMAT, at, "gzip data is cut or damaged at byte %zu", at);
    }
  }
  inflateEnd(&z);
  return status;
}

#ifdef TM_HAVE_LIBDEFLATE
static tm_status gunzip(tm_ctx *ctx, const uint8_t *in, size_t in_size, growing *out) {
  struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
  if (!d) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (gunzip)");
  size_t at = 0;
  tm_status status = TM_OK;
  while (status == TM_OK && at < in_size) {
    size_t used = 0, made = 0;
    enum libdeflate_result r = libdeflate_gzip_decompress_ex(
        d, in + at, in_size - at, out->data + out->size, out->room - out->size, &used, &made);
    if (r == LIBDEFLATE_INSUFFICIENT_SPACE) {
      status = grow(ctx, out);
    } else if (r != LIBDEFLATE_SUCCESS) {
      out->size = 0;
      status = gunzip_stream(ctx, in, in_size, out);
      break;
    } else {
      at += used;
      out->size += made;
    }
  }
  libdeflate_free_decompressor(d);
  return status;
}
#else
static tm_status gunzip(tm_ctx *ctx, const uint8_t *in, size_t in_size, growing *out) {
  return gunzip_stream(ctx, in, in_size, out);
}
#endif

static tm_status unzstd(tm_ctx *ctx, const uint8_t *in, size_t in_size, growing *out) {
  ZSTD_DStream *z = ZSTD_createDStream();
  if (!z) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (zstd)");
  ZSTD_inBuffer source = {in, in_size, 0};
  tm_status status = TM_OK;
  size_t left = 1;
  while (status == TM_OK && (source.pos < in_size || left)) {
    if (out->size == out->room && (status = grow(ctx, out)) != TM_OK) break;
    ZSTD_outBuffer sink = {out->data, out->room, out->size};
    left = ZSTD_decompressStream(z, &sink, &source);
    bool stuck = sink.pos == out->size && source.pos == in_size && left;
    if (ZSTD_isError(left) || (stuck && sink.pos < sink.size))
      status = tm_fail(ctx, TM_E_FORMAT, source.pos, "zstd data is cut or damaged at byte %zu",
                       source.pos);
    out->size = sink.pos;
  }
  ZSTD_freeDStream(z);
  return status;
}

// What the gzip trailer claims, kept within what deflate can reach (1032:1) and the cap.
static size_t first_room(const uint8_t *in, size_t size, uint64_t cap) {
  uint64_t claim = size < 18 ? 0
                             : (uint64_t)in[size - 4] | (uint64_t)in[size - 3] << 8
                                   | (uint64_t)in[size - 2] << 16 | (uint64_t)in[size - 1] << 24;
  uint64_t most = (uint64_t)size * 1032;
  if (claim < size) claim = (uint64_t)size * 4;
  if (claim > most) claim = most;
  claim += 64;
  return (size_t)(claim < cap ? claim : cap);
}

// A frame of zstd, or one to skip, as pzstd puts in front of each.
static bool is_zstd(const uint8_t *d, size_t size) {
  if (size < 4) return false;
  return memcmp(d, "\x28\xb5\x2f\xfd", 4) == 0
         || ((d[0] & 0xf0) == 0x50 && memcmp(d + 1, "\x2a\x4d\x18", 3) == 0);
}

// Unpacks src in place when its first bytes say that it is packed. is_part: damage is no failure
// when something was unpacked.
static tm_status see_through(tm_ctx *ctx, bool is_part, tm_source *src) {
  const uint8_t *d = src->data;
  bool gz = src->size >= 2 && d[0] == 0x1f && d[1] == 0x8b;
  bool zstd = is_zstd(d, src->size);
  src->packing = gz ? "gzip" : zstd ? "zstd" : "";
  src->stored_bytes = src->size;
  if (!gz && !zstd) return TM_OK;

  growing out = {.cap = ctx->max_output_bytes ? ctx->max_output_bytes : DEFAULT_CAP};
  tm_status status = grow_to(ctx, &out, gz ? first_room(d, src->size, out.cap) : 65536);
  if (status == TM_OK)
    status = gz ? gunzip(ctx, d, src->size, &out) : unzstd(ctx, d, src->size, &out);
  tm_error damage = {0};
  if (is_part && status == TM_E_FORMAT && out.size) {
    damage = ctx->error;
    tm_ctx_clear(ctx);
    status = TM_OK;
  }
  if (status != TM_OK) {
    tm_free(ctx, out.data, out.room);
    return status;
  }
  const char *packing = src->packing;
  uint64_t stored_bytes = src->stored_bytes;
  tm_source_close(src); // the packed bytes are not needed any more
  *src = (tm_source){.data = out.data,
                     .size = out.size,
                     .packing = packing,
                     .stored_bytes = stored_bytes,
                     .damage = damage,
                     .alloc = ctx->alloc,
                     .owned = out.data,
                     .owned_bytes = out.room};
  return TM_OK;
}

static tm_status read_all(tm_ctx *ctx, int fd, const char *path, tm_source *src) {
  growing g = {.cap = ctx->max_output_bytes ? ctx->max_output_bytes : DEFAULT_CAP};
  tm_status status = TM_OK;
  for (;;) {
    if (g.size == g.room && (status = grow(ctx, &g)) != TM_OK) break;
    ssize_t n = read(fd, g.data + g.size, g.room - g.size);
    if (n < 0) status = tm_fail(ctx, TM_E_IO, g.size, "cannot read %s", path);
    if (n <= 0) break;
    g.size += (size_t)n;
  }
  if (status != TM_OK) {
    tm_free(ctx, g.data, g.room);
    return status;
  }
  src->data = src->owned = g.data;
  src->size = g.size;
  src->owned_bytes = g.room;
  return TM_OK;
}

static tm_status map_file(tm_ctx *ctx, int fd, const char *path, tm_source *src) {
  struct stat st;
  if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode))
    return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "%s is no readable file", path);
  if (!S_ISREG(st.st_mode) || st.st_size == 0) return read_all(ctx, fd, path, src);
  void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (p == MAP_FAILED) return read_all(ctx, fd, path, src);
  (void)madvise(p, (size_t)st.st_size, MADV_SEQUENTIAL);
  src->mapped = p;
  src->mapped_bytes = src->size = (size_t)st.st_size;
  src->data = p;
  return TM_OK;
}

static tm_status open_source(tm_ctx *ctx, const char *path, bool is_part, tm_source *out) {
  tm_source src = {.packing = "", .alloc = ctx->alloc};
  tm_status status;
  if (strcmp(path, "-") == 0) {
    status = read_all(ctx, STDIN_FILENO, "stdin", &src);
  } else {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "cannot open %s", path);
    status = map_file(ctx, fd, path, &src);
    close(fd);
  }
  if (status == TM_OK) status = see_through(ctx, is_part, &src);
  if (status != TM_OK) {
    tm_source_close(&src);
    return tm_fail_in(ctx, "reading %s", path);
  }
  *out = src;
  return TM_OK;
}

tm_status tm_source_open(tm_ctx *ctx, const char *path, tm_source *out) {
  return open_source(ctx, path, false, out);
}

tm_status tm_source_open_part(tm_ctx *ctx, const char *path, tm_source *out) {
  return open_source(ctx, path, true, out);
}

static tm_status look_at(tm_ctx *ctx, const void *data, size_t size, bool is_part, tm_source *out) {
  tm_source src = {.data = data, .size = size, .packing = "", .alloc = ctx->alloc};
  tm_status status = see_through(ctx, is_part, &src);
  if (status == TM_OK) *out = src;
  return status;
}

tm_status tm_source_from_buffer(tm_ctx *ctx, const void *data, size_t size, tm_source *out) {
  return look_at(ctx, data, size, false, out);
}

tm_status tm_source_part_from_buffer(tm_ctx *ctx, const void *data, size_t size, tm_source *out) {
  return look_at(ctx, data, size, true, out);
}

void tm_source_forget(const tm_source *src, uint64_t begin, uint64_t end) {
  uint64_t page = 4096;
  begin = (begin + page - 1) / page * page;
  end = end / page * page;
  if (src->mapped && src->mapped == src->data && begin < end && end <= src->mapped_bytes)
    (void)madvise((uint8_t *)src->mapped + begin, end - begin, MADV_DONTNEED);
}

void tm_source_close(tm_source *src) {
  if (src->owned) src->alloc.realloc_fn(src->alloc.ud, src->owned, src->owned_bytes, 0);
  if (src->mapped) munmap(src->mapped, src->mapped_bytes);
  memset(src, 0, sizeof *src);
}
