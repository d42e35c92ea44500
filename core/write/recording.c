// Samples wait in one small chunk per series; a flush makes one record of all of them, packs it
// with zstd when that pays, and writes the buffer at a file offset of our own. A write that fails
// half way is repeated at the same offset, so that a full disk leaves no hole: either the record is
// whole or it is the cut tail. Cost: a sample is an append of 1-10 bytes; a flush is one write.
#include "write/recording.h"

#include "base/bytes.h"
#include "base/vec.h"
#include "model/chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum {
  FLUSH_SAMPLES = 64 * 1024,           // a batch is closed early at this size
  WAITING_MAX_BYTES = 8 * 1024 * 1024, // kept while the disk refuses
  OUT_MAX_BYTES = 160 * 1024 * 1024,   // with events and evidence
  PACK_MIN_BYTES = 96,
  PACK_LEVEL = 3,
};

struct tm_recording {
  int fd;
  uint64_t offset_bytes; // everything before it is in the file
  uint32_t target_count;
  TM_VEC(tm_chunk) series;
  uint32_t batch_samples;
  tm_bytes payload, packed, out; // out = whole records that wait for the disk
  ZSTD_CCtx *zstd;
  tm_recording_stats stats;
  tm_allocator alloc; // of everything above
};

static void free_recording(tm_recording *rec) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, &rec->alloc);
  if (rec->fd >= 0) close(rec->fd);
  for (size_t i = 0; i < rec->series.count; i++) tm_chunk_fini(&ctx, &rec->series.items[i]);
  tm_vec_free(&ctx, &rec->series);
  tm_bytes_free(&ctx, &rec->payload);
  tm_bytes_free(&ctx, &rec->packed);
  tm_bytes_free(&ctx, &rec->out);
  ZSTD_freeCCtx(rec->zstd);
  tm_free(&ctx, rec, sizeof *rec);
  tm_ctx_fini(&ctx);
}

static tm_status put_string(tm_ctx *ctx, tm_bytes *out, const char *text) {
  size_t size = text ? strlen(text) : 0;
  TM_TRY(tm_bytes_varint(ctx, out, size));
  return tm_bytes_append(ctx, out, text, size);
}

// Packs the payload into rec->packed; false when that does not pay.
static bool pack(tm_ctx *ctx, tm_recording *rec) {
  const tm_bytes *raw = &rec->payload;
  size_t bound = ZSTD_compressBound(raw->size);
  if (raw->size < PACK_MIN_BYTES) return false;
  rec->packed.size = 0;
  if (tm_bytes_varint(ctx, &rec->packed, raw->size) != TM_OK) return false;
  if (rec->packed.room < rec->packed.size + bound) {
    size_t room = rec->packed.size + bound;
    void *p = tm_realloc(ctx, rec->packed.data, rec->packed.room, room);
    if (!p) {
      tm_ctx_clear(ctx); // unpacked is as good
      return false;
    }
    rec->packed.data = p;
    rec->packed.room = room;
  }
  size_t n = ZSTD_compressCCtx(rec->zstd, rec->packed.data + rec->packed.size, bound, raw->data,
                               raw->size, PACK_LEVEL);
  if (ZSTD_isError(n)) return false;
  rec->packed.size += n;
  return rec->packed.size < raw->size - raw->size / 8;
}

// Frames rec->payload as one record behind rec->out; out is unchanged on failure.
static tm_status put_record(tm_ctx *ctx, tm_recording *rec, tm_record_type type) {
  if (rec->payload.size > TM_RECORDING_PAYLOAD_MAX)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "a record of %zu bytes is larger than 64 MiB",
                   rec->payload.size);
  bool packed = pack(ctx, rec);
  const tm_bytes *body = packed ? &rec->packed : &rec->payload;
  uint8_t head = (uint8_t)((uint32_t)type | (packed ? TM_RECORD_PACKED : 0u));
  size_t start = rec->out.size;
  tm_status status = tm_bytes_append(ctx, &rec->out, &head, 1);
  if (status == TM_OK) status = tm_bytes_varint(ctx, &rec->out, body->size);
  if (status == TM_OK) status = tm_bytes_append(ctx, &rec->out, body->data, body->size);
  if (status == TM_OK) {
    uint32_t sum = (uint32_t)crc32_z(0, rec->out.data + start, rec->out.size - start);
    uint8_t le[4] = {(uint8_t)sum, (uint8_t)(sum >> 8), (uint8_t)(sum >> 16), (uint8_t)(sum >> 24)};
    status = tm_bytes_append(ctx, &rec->out, le, sizeof le);
  }
  if (status != TM_OK) rec->out.size = start;
  return status;
}

static tm_status put_batch(tm_ctx *ctx, tm_recording *rec) {
  for (uint32_t i = 0; i < rec->series.count; i++) {
    const tm_chunk *chunk = &rec->series.items[i];
    if (!chunk->count) continue;
    TM_TRY(tm_bytes_varint(ctx, &rec->payload, i));
    TM_TRY(tm_bytes_varint(ctx, &rec->payload, chunk->bytes.size));
    TM_TRY(tm_bytes_append(ctx, &rec->payload, chunk->bytes.data, chunk->bytes.size));
  }
  return put_record(ctx, rec, TM_RECORD_SAMPLES);
}

static void empty_chunks(tm_recording *rec) {
  for (size_t i = 0; i < rec->series.count; i++) {
    tm_bytes kept = rec->series.items[i].bytes; // its memory serves the next batch
    kept.size = 0;
    tm_chunk_init(&rec->series.items[i], 1);
    rec->series.items[i].bytes = kept;
  }
  rec->batch_samples = 0;
}

// Turns the waiting samples into a record; drops them when the disk has refused for too long.
static tm_status close_batch(tm_ctx *ctx, tm_recording *rec) {
  if (!rec->batch_samples) return TM_OK;
  rec->payload.size = 0;
  tm_status status = TM_OK;
  if (rec->out.size < WAITING_MAX_BYTES)
    status = put_batch(ctx, rec);
  else
    rec->stats.dropped += rec->batch_samples;
  if (status == TM_OK) empty_chunks(rec);
  return status;
}

static tm_status write_out(tm_ctx *ctx, tm_recording *rec) {
  size_t done = 0;
  while (done < rec->out.size) {
    ssize_t n = pwrite(rec->fd, rec->out.data + done, rec->out.size - done,
                       (off_t)(rec->offset_bytes + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return tm_fail_errno(ctx, n ? errno : ENOSPC,
                           "recording: cannot write at byte %" PRIu64 "; free disk space",
                           rec->offset_bytes + done);
    done += (size_t)n;
  }
  rec->offset_bytes += done;
  rec->stats.written_bytes = rec->offset_bytes;
  rec->out.size = 0;
  return TM_OK;
}

tm_status tm_recording_flush(tm_ctx *ctx, tm_recording *rec) {
  TM_TRY(close_batch(ctx, rec));
  return write_out(ctx, rec);
}

static tm_status open_file(tm_ctx *ctx, tm_recording *rec, const char *path, bool overwrite) {
  int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (overwrite ? O_TRUNC : O_EXCL);
  rec->fd = open(path, flags, 0600);
  if (rec->fd < 0 && errno == EEXIST)
    return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "%s exists already; choose another name", path);
  if (rec->fd < 0) return tm_fail_errno(ctx, errno, "cannot create %s", path);
  return TM_OK;
}

tm_status tm_recording_create(tm_ctx *ctx, const char *path, bool overwrite, const char *meta_json,
                              tm_recording **out) {
  tm_recording *rec = tm_calloc(ctx, 1, sizeof *rec);
  if (!rec) return TM_E_NOMEM;
  rec->alloc = ctx->alloc;
  rec->fd = -1;
  rec->out.cap_bytes = OUT_MAX_BYTES;
  rec->zstd = ZSTD_createCCtx();
  tm_status status = rec->zstd ? TM_OK : tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory");
  if (status == TM_OK) status = open_file(ctx, rec, path, overwrite);
  if (status == TM_OK)
    status = tm_bytes_append(ctx, &rec->out, TM_RECORDING_MAGIC, TM_RECORDING_MAGIC_SIZE);
  if (status == TM_OK) status = tm_bytes_append(ctx, &rec->payload, meta_json, strlen(meta_json));
  if (status == TM_OK) status = put_record(ctx, rec, TM_RECORD_META);
  if (status == TM_OK) status = write_out(ctx, rec);
  if (status != TM_OK) {
    free_recording(rec);
    return status;
  }
  *out = rec;
  return TM_OK;
}

tm_status tm_recording_close(tm_ctx *ctx, tm_recording *rec) {
  if (!rec) return TM_OK;
  tm_status status = tm_recording_flush(ctx, rec);
  if (status == TM_OK && fsync(rec->fd) != 0 && errno != EINVAL && errno != EROFS)
    status = tm_fail_errno(ctx, errno, "recording: cannot sync");
  free_recording(rec);
  return status;
}

tm_status tm_recording_add_target(tm_ctx *ctx, tm_recording *rec, const tm_recording_target *target,
                                  uint32_t *out_number) {
  if (rec->target_count >= TM_RECORDING_SERIES_MAX)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "a recording holds at most 2^20 targets");
  tm_bytes *p = &rec->payload;
  p->size = 0;
  TM_TRY(tm_bytes_varint(ctx, p, rec->target_count));
  TM_TRY(put_string(ctx, p, target->id));
  TM_TRY(tm_bytes_varint(ctx, p, tm_zigzag(target->pid)));
  TM_TRY(tm_bytes_varint(ctx, p, tm_zigzag(target->start_time_ns)));
  TM_TRY(put_string(ctx, p, target->name));
  TM_TRY(put_string(ctx, p, target->command));
  TM_TRY(put_string(ctx, p, target->labels_json));
  TM_TRY(put_record(ctx, rec, TM_RECORD_TARGET));
  *out_number = rec->target_count++;
  return TM_OK;
}

tm_status tm_recording_add_series(tm_ctx *ctx, tm_recording *rec, const tm_recording_series *series,
                                  uint32_t *out_number) {
  if (series->target >= rec->target_count)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no target %u in this recording", series->target);
  if (rec->series.count >= TM_RECORDING_SERIES_MAX)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "a recording holds at most 2^20 series");
  tm_bytes *p = &rec->payload;
  p->size = 0;
  TM_TRY(tm_bytes_varint(ctx, p, rec->series.count));
  TM_TRY(tm_bytes_varint(ctx, p, series->target));
  TM_TRY(put_string(ctx, p, series->metric));
  TM_TRY(put_string(ctx, p, series->key));
  TM_TRY(put_string(ctx, p, series->unit));
  TM_TRY(tm_vec_reserve(ctx, &rec->series, 1));
  TM_TRY(put_record(ctx, rec, TM_RECORD_SERIES));
  tm_chunk_init(&rec->series.items[rec->series.count], 1);
  *out_number = (uint32_t)rec->series.count++;
  return TM_OK;
}

tm_status tm_recording_sample(tm_ctx *ctx, tm_recording *rec, uint32_t series, int64_t time_ns,
                              double value) {
  if (series >= rec->series.count)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no series %u in this recording", series);
  if (rec->batch_samples >= FLUSH_SAMPLES) TM_TRY(close_batch(ctx, rec));
  TM_TRY(tm_chunk_append(ctx, &rec->series.items[series], time_ns, value));
  rec->batch_samples++;
  rec->stats.samples++;
  return TM_OK;
}

tm_status tm_recording_event(tm_ctx *ctx, tm_recording *rec, const char *json) {
  TM_TRY(close_batch(ctx, rec));
  rec->payload.size = 0;
  TM_TRY(tm_bytes_append(ctx, &rec->payload, json, strlen(json)));
  return put_record(ctx, rec, TM_RECORD_EVENT);
}

tm_status tm_recording_add_blob(tm_ctx *ctx, tm_recording *rec, const tm_recording_blob *blob,
                                size_t cap_bytes) {
  if (blob->size > cap_bytes)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "evidence %s has %zu bytes, %zu are allowed",
                   blob->name, blob->size, cap_bytes);
  TM_TRY(close_batch(ctx, rec));
  tm_bytes *p = &rec->payload;
  p->size = 0;
  TM_TRY(tm_bytes_varint(ctx, p, blob->target));
  TM_TRY(tm_bytes_varint(ctx, p, tm_zigzag(blob->time_ns)));
  TM_TRY(put_string(ctx, p, blob->name));
  TM_TRY(tm_bytes_append(ctx, p, blob->data, blob->size));
  return put_record(ctx, rec, TM_RECORD_BLOB);
}

tm_status tm_recording_add_rules(tm_ctx *ctx, tm_recording *rec, const char *file_name,
                                 const char *text) {
  TM_TRY(close_batch(ctx, rec));
  rec->payload.size = 0;
  TM_TRY(put_string(ctx, &rec->payload, file_name));
  TM_TRY(put_string(ctx, &rec->payload, text));
  return put_record(ctx, rec, TM_RECORD_RULES);
}

tm_recording_stats tm_recording_get_stats(const tm_recording *rec) {
  return rec->stats;
}
