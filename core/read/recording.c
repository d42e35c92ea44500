// A window over the input holds at least one whole record: type, varint length, payload, CRC-32. A
// record with a wrong checksum is skipped when the next one fits (a flipped bit in a payload); when
// it does not, the length itself is damaged and reading ends there. Samples of a batch are
// unpacked, sorted by time and handed on, at most TM_RECORDING_BATCH_MAX.
#include "read/recording.h"

#include "base/bytes.h"
#include "base/vec.h"
#include "model/chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

enum {
  READ_BYTES = 256 * 1024,
  FRAME_MAX = 1 + 10 + 4, // type, length, checksum
};

#define DEFAULT_OUTPUT_MAX (UINT64_C(16) << 30)

typedef struct sample {
  int64_t time_ns;
  double value;
  uint32_t series, order;
} sample;

typedef struct reading {
  tm_ctx *ctx;
  const tm_recording_visitor *visitor;
  tm_recording_summary *summary;
  // The window: memory as given, or `held` filled from fd.
  int fd; // -1 = memory
  tm_bytes held;
  const uint8_t *at;
  size_t left;
  uint64_t offset_bytes; // of `at`
  // What was announced: one byte per number, 1 = known.
  TM_VEC(uint8_t) targets;
  TM_VEC(uint8_t) series;
  TM_VEC(sample) samples;
  tm_bytes unpacked;
  uint64_t unpacked_bytes; // of all records so far
} reading;

typedef struct record {
  uint8_t head;
  const uint8_t *payload;
  size_t payload_size, frame_size; // frame: with head, length and checksum
} record;

// Makes `need` bytes visible at r->at if the input has them; r->left tells.
static tm_status look(reading *r, size_t need) {
  if (r->left >= need || r->fd < 0) return TM_OK;
  if (r->left) memmove(r->held.data, r->at, r->left);
  r->held.size = r->left;
  size_t room = need > READ_BYTES ? need : READ_BYTES;
  if (r->held.room < room) {
    void *p = tm_realloc(r->ctx, r->held.data, r->held.room, room);
    if (!p) return TM_E_NOMEM;
    r->held.data = p;
    r->held.room = room;
  }
  while (r->held.size < need) {
    ssize_t n = read(r->fd, r->held.data + r->held.size, r->held.room - r->held.size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return tm_fail_errno(r->ctx, errno, "reading the recording");
    if (n == 0) break;
    r->held.size += (size_t)n;
  }
  r->at = r->held.data;
  r->left = r->held.size;
  return TM_OK;
}

static void advance(reading *r, size_t size) {
  r->at += size;
  r->left -= size;
  r->offset_bytes += size;
}

TM_PRINTF(2, 3)
static void say(reading *r, const char *fmt, ...) {
  if (r->summary->message[0]) return; // the first one is the one that explains
  va_list args;
  va_start(args, fmt);
  vsnprintf(r->summary->message, sizeof r->summary->message, fmt, args);
  va_end(args);
}

static void leave_out(reading *r, uint64_t offset_bytes, const char *why) {
  r->summary->damaged++;
  say(r, "damaged at byte %llu (%s): left out", (unsigned long long)offset_bytes, why);
}

typedef enum frame_state { FRAME_OK, FRAME_CUT, FRAME_NONSENSE, FRAME_BAD_SUM } frame_state;

// The record at `skip` bytes behind the window's start.
static tm_status parse_frame(reading *r, size_t skip, record *out, frame_state *out_frame) {
  TM_TRY(look(r, skip + FRAME_MAX));
  *out_frame = FRAME_CUT;
  if (r->left <= skip) return TM_OK;
  tm_cursor c = tm_cursor_of(r->at + skip, r->left - skip, 0);
  out->head = tm_get_u8(&c);
  uint64_t size = tm_get_varint(&c);
  uint32_t type = out->head & (TM_RECORD_PACKED - 1u);
  if (!c.ok && tm_cursor_left(&c) == 0 && r->left - skip < FRAME_MAX) return TM_OK;
  *out_frame = FRAME_NONSENSE;
  if (!c.ok || type < TM_RECORD_META || type > TM_RECORD_RULES || size > TM_RECORDING_PAYLOAD_MAX)
    return TM_OK;
  size_t head_size = (size_t)tm_cursor_offset(&c);
  out->payload_size = (size_t)size;
  out->frame_size = head_size + out->payload_size + 4;
  TM_TRY(look(r, skip + out->frame_size));
  *out_frame = FRAME_CUT;
  if (r->left - skip < out->frame_size) return TM_OK;
  const uint8_t *start = r->at + skip;
  out->payload = start + head_size;
  c = tm_cursor_of(start + out->frame_size - 4, 4, 0);
  uint32_t sum = (uint32_t)crc32_z(0, start, out->frame_size - 4);
  *out_frame = sum == tm_get_u32le(&c) ? FRAME_OK : FRAME_BAD_SUM;
  return TM_OK;
}

// A string of a payload in scratch memory; NULL and c not ok when it is cut or holds a NUL.
static const char *get_string(reading *r, tm_cursor *c) {
  uint64_t size = tm_get_varint(c);
  const uint8_t *p = size <= tm_cursor_left(c) ? tm_get_bytes(c, (size_t)size) : NULL;
  if (!p || memchr(p, 0, (size_t)size)) {
    c->ok = false;
    return NULL;
  }
  char *text = tm_arena_strndup(&r->ctx->scratch, (const char *)p, (size_t)size);
  if (!text) c->ok = false;
  return text;
}

static const char *get_rest(reading *r, tm_cursor *c) {
  size_t size = tm_cursor_left(c);
  const uint8_t *p = tm_get_bytes(c, size);
  char *text =
      memchr(p, 0, size) ? NULL : tm_arena_strndup(&r->ctx->scratch, (const char *)p, size);
  if (!text) c->ok = false;
  return text;
}

static uint32_t get_number(tm_cursor *c) {
  uint64_t number = tm_get_varint(c);
  if (number >= TM_RECORDING_SERIES_MAX) c->ok = false;
  return c->ok ? (uint32_t)number : 0;
}

static tm_status on_meta(reading *r, tm_cursor *c) {
  const char *json = get_rest(r, c);
  if (!c->ok || !r->visitor->meta) return TM_OK;
  return r->visitor->meta(r->visitor->ud, json);
}

static tm_status on_event(reading *r, tm_cursor *c) {
  const char *json = get_rest(r, c);
  if (!c->ok || !r->visitor->event) return TM_OK;
  return r->visitor->event(r->visitor->ud, json);
}

#define KNOWN(table, number) ((number) < (table).count && (table).items[number])

static tm_status on_target(reading *r, tm_cursor *c) {
  tm_recording_target target = {0};
  uint32_t number = get_number(c);
  target.id = get_string(r, c);
  target.pid = tm_unzigzag(tm_get_varint(c));
  target.start_time_ns = tm_unzigzag(tm_get_varint(c));
  target.name = get_string(r, c);
  target.command = get_string(r, c);
  target.labels_json = get_string(r, c);
  if (KNOWN(r->targets, number)) c->ok = false;
  if (!c->ok) return TM_OK;
  while (r->targets.count < number) TM_TRY(tm_vec_push(r->ctx, &r->targets, 0));
  if (r->targets.count == number) TM_TRY(tm_vec_push(r->ctx, &r->targets, 0));
  r->targets.items[number] = 1;
  return r->visitor->target ? r->visitor->target(r->visitor->ud, number, &target) : TM_OK;
}

static tm_status on_series(reading *r, tm_cursor *c) {
  tm_recording_series series = {0};
  uint32_t number = get_number(c);
  series.target = get_number(c);
  series.metric = get_string(r, c);
  series.key = get_string(r, c);
  series.unit = get_string(r, c);
  if (KNOWN(r->series, number) || !KNOWN(r->targets, series.target)) c->ok = false;
  if (!c->ok) return TM_OK;
  while (r->series.count < number) TM_TRY(tm_vec_push(r->ctx, &r->series, 0));
  if (r->series.count == number) TM_TRY(tm_vec_push(r->ctx, &r->series, 0));
  r->series.items[number] = 1;
  return r->visitor->series ? r->visitor->series(r->visitor->ud, number, &series) : TM_OK;
}

static int by_time(const void *a, const void *b) {
  const sample *x = a, *y = b;
  if (x->time_ns != y->time_ns) return x->time_ns < y->time_ns ? -1 : 1;
  return x->order < y->order ? -1 : x->order > y->order;
}

// Unpacks the chunk of one series; c is not ok when it is damaged or the batch too large.
static tm_status take_chunk(reading *r, tm_cursor *c, uint32_t series, size_t size) {
  tm_chunk_reader reader;
  sample s = {.series = series};
  tm_chunk_reader_init(&reader, tm_get_bytes(c, size), size);
  while (tm_chunk_next(&reader, &s.time_ns, &s.value)) {
    if (r->samples.count >= TM_RECORDING_BATCH_MAX) {
      c->ok = false;
      return TM_OK;
    }
    s.order = (uint32_t)r->samples.count;
    TM_TRY(tm_vec_push(r->ctx, &r->samples, s));
  }
  if (!reader.in.ok) c->ok = false;
  return TM_OK;
}

static tm_status on_samples(reading *r, tm_cursor *c) {
  r->samples.count = 0;
  while (c->ok && tm_cursor_left(c)) {
    uint32_t series = get_number(c);
    uint64_t size = tm_get_varint(c);
    if (size > tm_cursor_left(c)) c->ok = false;
    if (!c->ok) break;
    if (!KNOWN(r->series, series)) { // its series record was damaged
      tm_get_bytes(c, (size_t)size);
      leave_out(r, r->offset_bytes, "samples of an unknown series");
      continue;
    }
    TM_TRY(take_chunk(r, c, series, (size_t)size));
  }
  if (r->samples.count > 1)
    qsort(r->samples.items, r->samples.count, sizeof *r->samples.items, by_time);
  r->summary->samples += r->samples.count;
  for (size_t i = 0; r->visitor->sample && i < r->samples.count; i++) {
    const sample *s = &r->samples.items[i];
    TM_TRY(r->visitor->sample(r->visitor->ud, s->series, s->time_ns, s->value));
  }
  return TM_OK;
}

static tm_status on_blob(reading *r, tm_cursor *c) {
  tm_recording_blob blob = {0};
  blob.target = get_number(c);
  blob.time_ns = tm_unzigzag(tm_get_varint(c));
  blob.name = get_string(r, c);
  blob.size = tm_cursor_left(c);
  blob.data = tm_get_bytes(c, blob.size);
  if (!KNOWN(r->targets, blob.target)) c->ok = false;
  if (!c->ok || !r->visitor->blob) return TM_OK;
  return r->visitor->blob(r->visitor->ud, &blob);
}

static tm_status on_rules(reading *r, tm_cursor *c) {
  const char *name = get_string(r, c), *text = get_string(r, c);
  if (!c->ok || !r->visitor->rules) return TM_OK;
  return r->visitor->rules(r->visitor->ud, name, text);
}

static tm_status (*const handlers[])(reading *, tm_cursor *) = {
    [TM_RECORD_META] = on_meta,     [TM_RECORD_TARGET] = on_target,
    [TM_RECORD_SERIES] = on_series, [TM_RECORD_SAMPLES] = on_samples,
    [TM_RECORD_EVENT] = on_event,   [TM_RECORD_BLOB] = on_blob,
    [TM_RECORD_RULES] = on_rules,
};

// Replaces a packed payload by what it unpacks to; c not ok when it does not.
static tm_status unpack(reading *r, tm_cursor *c) {
  uint64_t size = tm_get_varint(c);
  if (!size || size > TM_RECORDING_PAYLOAD_MAX) c->ok = false;
  if (!c->ok) return TM_OK;
  uint64_t cap = r->ctx->max_output_bytes ? r->ctx->max_output_bytes : DEFAULT_OUTPUT_MAX;
  if ((r->unpacked_bytes += size) > cap)
    return tm_fail(r->ctx, TM_E_LIMIT, r->offset_bytes,
                   "the recording unpacks to more than %llu bytes", (unsigned long long)cap);
  if (r->unpacked.room < size) {
    void *p = tm_realloc(r->ctx, r->unpacked.data, r->unpacked.room, (size_t)size);
    if (!p) return TM_E_NOMEM;
    r->unpacked.data = p;
    r->unpacked.room = (size_t)size;
  }
  size_t n = ZSTD_decompress(r->unpacked.data, (size_t)size, c->at, tm_cursor_left(c));
  if (ZSTD_isError(n) || n != size)
    c->ok = false;
  else
    *c = tm_cursor_of(r->unpacked.data, n, 0);
  return TM_OK;
}

static tm_status visit(reading *r, const record *rec) {
  tm_cursor c = tm_cursor_of(rec->payload, rec->payload_size, 0);
  tm_arena_mark mark = tm_arena_save(&r->ctx->scratch);
  tm_status status = rec->head & TM_RECORD_PACKED ? unpack(r, &c) : TM_OK;
  if (status == TM_OK && c.ok) status = handlers[rec->head & (TM_RECORD_PACKED - 1u)](r, &c);
  tm_arena_rewind(&r->ctx->scratch, mark);
  if (status == TM_OK && !c.ok) leave_out(r, r->offset_bytes, "its content makes no sense");
  return status;
}

// A record with a wrong checksum is left out when what follows it is whole (or is the end);
// otherwise its length cannot be trusted either.
static tm_status judge_bad_sum(reading *r, const record *rec, frame_state *frame) {
  record next = {0};
  frame_state after;
  TM_TRY(parse_frame(r, rec->frame_size, &next, &after));
  if (after == FRAME_OK || r->left == rec->frame_size)
    leave_out(r, r->offset_bytes, "wrong checksum");
  else
    *frame = FRAME_NONSENSE;
  return TM_OK;
}

static void end_early(reading *r, frame_state frame) {
  r->summary->cut = true;
  say(r, "%s at byte %llu: everything before it was read, what follows is lost",
      frame == FRAME_CUT ? "cut" : "damaged", (unsigned long long)r->offset_bytes);
}

static tm_status take_record(reading *r, record *rec, frame_state *frame) {
  TM_TRY(parse_frame(r, 0, rec, frame));
  if (*frame == FRAME_BAD_SUM) return judge_bad_sum(r, rec, frame);
  if (*frame != FRAME_OK) return TM_OK;
  r->summary->records++;
  return visit(r, rec);
}

static tm_status read_records(reading *r) {
  record rec = {0};
  frame_state frame;
  for (;; advance(r, rec.frame_size)) {
    r->summary->read_bytes = r->offset_bytes;
    TM_TRY(tm_ctx_tick(r->ctx, r->offset_bytes));
    TM_TRY(take_record(r, &rec, &frame));
    if (!r->left) return TM_OK;
    if (frame == FRAME_CUT || frame == FRAME_NONSENSE) break;
  }
  end_early(r, frame);
  return TM_OK;
}

static tm_status read_all(reading *r) {
  TM_TRY(look(r, TM_RECORDING_MAGIC_SIZE));
  if (r->left < TM_RECORDING_MAGIC_SIZE
      || memcmp(r->at, TM_RECORDING_MAGIC, TM_RECORDING_MAGIC_SIZE - 1) != 0)
    return tm_fail(r->ctx, TM_E_FORMAT, 0, "not a tidemark recording (.tmr)");
  if (r->at[TM_RECORDING_MAGIC_SIZE - 1] != 1)
    return tm_fail(r->ctx, TM_E_VERSION, TM_RECORDING_MAGIC_SIZE - 1,
                   "recording of version %u; this tidemark reads version 1",
                   r->at[TM_RECORDING_MAGIC_SIZE - 1]);
  advance(r, TM_RECORDING_MAGIC_SIZE);
  return read_records(r);
}

static tm_status run(reading *r, tm_recording_summary *out) {
  tm_recording_summary unwanted;
  r->summary = out ? out : &unwanted;
  *r->summary = (tm_recording_summary){0};
  tm_status status = read_all(r);
  tm_bytes_free(r->ctx, &r->held);
  tm_bytes_free(r->ctx, &r->unpacked);
  tm_vec_free(r->ctx, &r->targets);
  tm_vec_free(r->ctx, &r->series);
  tm_vec_free(r->ctx, &r->samples);
  return status;
}

tm_status tm_recording_read(tm_ctx *ctx, const void *bytes, size_t size,
                            const tm_recording_visitor *visitor, tm_recording_summary *out) {
  reading r = {.ctx = ctx, .visitor = visitor, .fd = -1, .at = bytes, .left = size};
  return run(&r, out);
}

tm_status tm_recording_read_file(tm_ctx *ctx, const char *path, const tm_recording_visitor *visitor,
                                 tm_recording_summary *out) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return tm_fail_errno(ctx, errno, "cannot open %s", path);
  reading r = {.ctx = ctx, .visitor = visitor, .fd = fd};
  tm_status status = run(&r, out);
  close(fd);
  if (ctx->error.status != TM_OK) tm_fail_in(ctx, "%s", path);
  return status;
}
