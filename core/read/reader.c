// Chooses a reader by bids: each probe looks at the same first bytes and says how many bits of
// evidence it found; the highest bid reads. The list of readers stands in formats.def.
#include "read/reader.h"

#include <string.h>

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

static tm_status read_source(tm_ctx *ctx, const tm_source *src, const char *format,
                             tm_snapshot *out) {
  const tm_reader *reader = NULL;
  if (format) {
    reader = tm_reader_named(format);
    if (!reader) return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no reader is called \"%s\"", format);
  } else {
    TM_TRY(tm_reader_choose(ctx, src, &reader));
  }
  out->kind = reader->kind;
  out->format = reader->name;
  return reader->read(ctx, src, out);
}

tm_status tm_read_file(tm_ctx *ctx, const char *path, const char *format, tm_snapshot *out) {
  tm_source src;
  TM_TRY(tm_source_open(ctx, path, &src));
  tm_status status = read_source(ctx, &src, format, out);
  tm_source_close(&src);
  return status == TM_OK ? status : tm_fail_in(ctx, "reading %s", path);
}

tm_status tm_read_buffer(tm_ctx *ctx, const void *data, size_t size, const char *format,
                         tm_snapshot *out) {
  tm_source src;
  TM_TRY(tm_source_from_buffer(ctx, data, size, &src));
  tm_status status = read_source(ctx, &src, format, out);
  tm_source_close(&src);
  return status;
}
