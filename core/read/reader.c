// Chooses a reader by bids: each probe looks at the same first bytes and says how many bits of
// evidence it found; the highest bid reads. The list of readers stands in formats.def.
#include "read/reader.h"

#include "read/graph_index.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define TM_FORMAT(reader) extern const tm_reader reader;
#include "read/formats.def"
#undef TM_FORMAT

const tm_reader *const tm_readers[] = {
#define TM_FORMAT(reader) &reader,
#include "read/formats.def"
#undef TM_FORMAT
    NULL};

const tm_reader *tm_reader_named(const char *name) {
  for (size_t i = 0; tm_readers[i]; i++)
    if (strcmp(tm_readers[i]->name, name) == 0) return tm_readers[i];
  return NULL;
}

tm_status tm_reader_choose(tm_ctx *ctx, const tm_source *src, const tm_reader **out) {
  size_t head = src->size < TM_READER_HEAD_BYTES ? src->size : TM_READER_HEAD_BYTES;
  unsigned best = 0;
  for (size_t i = 0; tm_readers[i]; i++) {
    unsigned bid = tm_readers[i]->probe(src->data, head);
    if (bid > best) {
      best = bid;
      *out = tm_readers[i];
    }
  }
  if (best) return TM_OK;
  if (!src->size) return tm_fail(ctx, TM_E_FORMAT, 0, "the input is empty");
  char start[3 * 8 + 1] = "";
  static const char hex[] = "0123456789abcdef";
  for (size_t i = 0; i < 8 && i < src->size; i++) {
    start[3 * i] = hex[src->data[i] >> 4];
    start[3 * i + 1] = hex[src->data[i] & 15];
    start[3 * i + 2] = i < 7 && i + 1 < src->size ? ' ' : '\0';
  }
  return tm_fail(ctx, TM_E_FORMAT, 0, "no reader knows this format (it starts with %s)", start);
}

static tm_status choose(tm_ctx *ctx, const tm_source *src, const char *format,
                        const tm_reader **out) {
  if (!format) return tm_reader_choose(ctx, src, out);
  *out = tm_reader_named(format);
  if (*out) return TM_OK;
  return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no reader is called \"%s\"", format);
}

// A source on the heap, for a snapshot to keep.
typedef struct kept_source {
  tm_allocator alloc;
  tm_source source;
  void *copy; // of a caller's buffer
  size_t copy_bytes;
  tm_graph_index *index; // that the model came from
} kept_source;

static void free_kept(void *kept) {
  kept_source *k = kept;
  tm_ctx ctx = {.alloc = k->alloc};
  tm_source_close(&k->source);
  tm_graph_index_close(k->index);
  tm_free(&ctx, k->copy, k->copy_bytes);
  tm_free(&ctx, k, sizeof *k);
}

// Moves the source into the snapshot. One that looks at the caller's buffer is copied first.
static tm_status keep_source(tm_ctx *ctx, tm_source *src, bool borrowed, tm_snapshot *out) {
  kept_source *k = tm_calloc(ctx, 1, sizeof *k);
  if (!k) return TM_E_NOMEM;
  k->alloc = ctx->alloc;
  if (borrowed && !src->owned) {
    k->copy_bytes = src->size + !src->size;
    k->copy = tm_alloc(ctx, k->copy_bytes);
    if (!k->copy) {
      tm_free(ctx, k, sizeof *k);
      return TM_E_NOMEM;
    }
    memcpy(k->copy, src->data, src->size);
    src->data = k->copy;
  }
  k->source = *src;
  *src = (tm_source){0};
  out->kept = k;
  out->free_kept = free_kept;
  return TM_OK;
}

static tm_status fail_as(tm_ctx *ctx, const tm_error *damage) {
  ctx->error = *damage;
  return damage->status;
}

// What broke the packing is why the model is partial, whatever the reader found at the end.
static tm_status end_part(tm_ctx *ctx, const tm_error *damage, tm_status status, tm_snapshot *out) {
  if (status != TM_OK && status != TM_E_FORMAT) return status;
  (void)fail_as(ctx, damage);
  if (!out->model) return damage->status;
  (void)tm_fail_in(ctx, "only what came before is counted");
  out->partial = true;
  out->problem = ctx->error;
  return damage->status;
}

static tm_status read_source(tm_ctx *ctx, tm_source *src, bool borrowed, const char *format,
                             tm_snapshot *out) {
  const tm_reader *reader = NULL;
  tm_error damage = src->damage;
  tm_status status = choose(ctx, src, format, &reader);
  if (damage.status != TM_OK && (status == TM_E_FORMAT || (reader && !reader->takes_part)))
    return fail_as(ctx, &damage);
  TM_TRY(status);
  out->kind = reader->kind;
  out->format = reader->name;
  if (reader->keeps_source) TM_TRY(keep_source(ctx, src, borrowed, out));
  status = reader->read(ctx, reader->keeps_source ? &((kept_source *)out->kept)->source : src, out);
  return damage.status == TM_OK ? status : end_part(ctx, &damage, status, out);
}

tm_status tm_read_file(tm_ctx *ctx, const char *path, const char *format, tm_snapshot *out) {
  tm_source src;
  TM_TRY(tm_source_open_part(ctx, path, &src));
  tm_status status = read_source(ctx, &src, false, format, out);
  tm_source_close(&src);
  return status == TM_OK ? status : tm_fail_in(ctx, "reading %s", path);
}

// ---- by a saved index ----

static tm_status identify(tm_ctx *ctx, const char *path, tm_index_identity *out) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return tm_fail_errno(ctx, errno, "cannot open %s", path);
  tm_status status = tm_index_identify(ctx, fd, out);
  close(fd);
  return status;
}

static tm_status take_graph(tm_ctx *ctx, const char *path, tm_graph_index *index,
                            tm_snapshot *out) {
  tm_source src;
  TM_TRY(tm_source_open_part(ctx, path, &src));
  tm_status status = keep_source(ctx, &src, false, out);
  tm_source_close(&src);
  TM_TRY(status);
  TM_TRY(tm_graph_index_take(ctx, index, &((kept_source *)out->kept)->source, out));
  ((kept_source *)out->kept)->index = index;
  out->more = tm_graph_index_more(ctx, index);
  return TM_OK;
}

tm_status tm_read_by_index(tm_ctx *ctx, const char *path, const char *format,
                           const char *index_path, tm_snapshot *out) {
  tm_index_identity of;
  tm_graph_index *index;
  TM_TRY(identify(ctx, path, &of));
  TM_TRY(tm_graph_index_open(ctx, index_path, &of, format, &index));
  tm_status status = take_graph(ctx, path, index, out);
  if (status == TM_OK) return TM_OK;
  tm_snapshot_fini(out);
  tm_graph_index_close(index);
  return status;
}

tm_status tm_read_buffer(tm_ctx *ctx, const void *data, size_t size, const char *format,
                         tm_snapshot *out) {
  tm_source src;
  TM_TRY(tm_source_part_from_buffer(ctx, data, size, &src));
  tm_status status = read_source(ctx, &src, true, format, out);
  tm_source_close(&src);
  return status;
}
