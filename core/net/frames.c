// One state: collecting a header, or inside a frame with left_bytes to come. Data frames append to
// the message, control frames (which may stand between a message's pieces) fill their own buffer.
#include "net/frames.h"

#include <string.h>

enum { FIN = 0x80, RESERVED = 0x70, MASKED = 0x80, LENGTH_16 = 126, LENGTH_64 = 127 };

static uint32_t opcode_of(const tm_frames_reader *r) {
  return r->header[0] & 0x0f;
}

static bool is_control(uint32_t opcode) {
  return opcode >= TM_FRAMES_OP_CLOSE;
}

static uint64_t max_bytes(const tm_frames_reader *r) {
  return r->max_message_bytes ? r->max_message_bytes : TM_FRAMES_MESSAGE_BYTES;
}

static uint32_t header_need(const tm_frames_reader *r) {
  if (r->header_size < 2) return 2;
  uint32_t length = r->header[1] & 0x7f;
  return length == LENGTH_64 ? 10 : length == LENGTH_16 ? 4 : 2;
}

static uint64_t length_of(const tm_frames_reader *r) {
  uint32_t length = r->header[1] & 0x7f, need = header_need(r);
  uint64_t value = 0;
  if (length < LENGTH_16) return length;
  for (uint32_t i = 2; i < need; i++) value = value << 8 | r->header[i];
  return value;
}

static tm_status wrong(tm_ctx *ctx, const tm_frames_reader *r, const char *what) {
  return tm_fail(ctx, TM_E_FORMAT, r->frame_offset, "not a WebSocket's frame: %s", what);
}

static tm_status check_data(tm_ctx *ctx, tm_frames_reader *r, uint32_t opcode, uint64_t length) {
  if (opcode > TM_FRAMES_OP_BINARY) return wrong(ctx, r, "unknown kind");
  if ((opcode == TM_FRAMES_OP_MORE) != r->in_message)
    return wrong(ctx, r,
                 r->in_message ? "a message starts within another"
                               : "a message goes on that never began");
  if (length > max_bytes(r) || r->message.size > max_bytes(r) - length)
    return tm_fail(ctx, TM_E_LIMIT, r->frame_offset,
                   "a message of over %llu bytes is announced (%llu); not taken",
                   (unsigned long long)max_bytes(r), (unsigned long long)length);
  r->in_message = true;
  return TM_OK;
}

// The header is complete: what it announces is allowed, or the connection ends.
static tm_status begin_frame(tm_ctx *ctx, tm_frames_reader *r) {
  uint32_t opcode = opcode_of(r);
  uint64_t length = length_of(r);
  if (r->header[0] & RESERVED) return wrong(ctx, r, "reserved bits are set");
  if (r->header[1] & MASKED) return wrong(ctx, r, "a server does not mask");
  if (length >> 63) return wrong(ctx, r, "a length of over 2^63");
  if (!is_control(opcode)) {
    TM_TRY(check_data(ctx, r, opcode, length));
  } else {
    if (opcode > TM_FRAMES_OP_PONG) return wrong(ctx, r, "unknown kind");
    if (length > TM_FRAMES_CONTROL_BYTES || !(r->header[0] & FIN))
      return wrong(ctx, r, "a control frame is long or in pieces");
    r->control_size = 0;
  }
  r->left_bytes = length;
  r->in_frame = true;
  return TM_OK;
}

static tm_status take_payload(tm_ctx *ctx, tm_frames_reader *r, const uint8_t *data, size_t size) {
  if (is_control(opcode_of(r))) {
    memcpy(r->control + r->control_size, data, size);
    r->control_size += (uint32_t)size;
    return TM_OK;
  }
  return tm_bytes_append(ctx, &r->message, data, size);
}

static tm_frames_item end_frame(tm_frames_reader *r) {
  uint32_t opcode = opcode_of(r);
  r->in_frame = false;
  r->header_size = 0;
  if (opcode == TM_FRAMES_OP_PING) return TM_FRAMES_PING;
  if (opcode == TM_FRAMES_OP_PONG) return TM_FRAMES_PONG;
  if (opcode == TM_FRAMES_OP_CLOSE) return TM_FRAMES_CLOSE;
  if (!(r->header[0] & FIN)) return TM_FRAMES_NOTHING;
  r->in_message = false;
  r->message_done = true;
  return TM_FRAMES_MESSAGE;
}

static void take_header(tm_frames_reader *r, const uint8_t **at, const uint8_t *end) {
  if (!r->header_size) r->frame_offset = r->offset_bytes;
  while (*at < end && r->header_size < header_need(r)) {
    r->header[r->header_size++] = *(*at)++;
    r->offset_bytes++;
  }
}

tm_status tm_frames_feed(tm_ctx *ctx, tm_frames_reader *r, const void *data, size_t size,
                         size_t *out_used, tm_frames_item *out) {
  const uint8_t *at = data, *end = at + size;
  *out = TM_FRAMES_NOTHING;
  *out_used = 0;
  if (r->message_done) r->message.size = 0;
  r->message_done = false;
  while (*out == TM_FRAMES_NOTHING) {
    if (!r->in_frame) {
      take_header(r, &at, end);
      if (r->header_size < 2 || r->header_size < header_need(r)) break;
      TM_TRY(begin_frame(ctx, r));
    }
    uint64_t here = (uint64_t)(end - at) < r->left_bytes ? (uint64_t)(end - at) : r->left_bytes;
    if (here) TM_TRY(take_payload(ctx, r, at, (size_t)here));
    at += here;
    r->offset_bytes += here;
    r->left_bytes -= here;
    if (r->left_bytes) break;
    *out = end_frame(r);
  }
  *out_used = (size_t)(at - (const uint8_t *)data);
  return TM_OK;
}

void tm_frames_free(tm_ctx *ctx, tm_frames_reader *reader) {
  tm_bytes_free(ctx, &reader->message);
}

tm_status tm_frames_append(tm_ctx *ctx, tm_bytes *out, tm_frames_opcode opcode, const void *payload,
                           size_t size, const uint8_t mask[4]) {
  const uint8_t *from = payload;
  uint8_t header[TM_FRAMES_HEADER_BYTES] = {(uint8_t)(FIN | opcode)};
  size_t n = 2, start;
  uint32_t length_bytes = size < LENGTH_16 ? 0 : size <= UINT16_MAX ? 2 : 8;
  header[1] = (uint8_t)(MASKED
                        | (length_bytes == 0   ? size
                           : length_bytes == 2 ? LENGTH_16
                                               : LENGTH_64));
  for (uint32_t i = length_bytes; i-- > 0;) header[n++] = (uint8_t)((uint64_t)size >> (8 * i));
  memcpy(header + n, mask, 4);
  TM_TRY(tm_bytes_append(ctx, out, header, n + 4));
  start = out->size;
  if (size) TM_TRY(tm_bytes_append(ctx, out, from, size));
  for (size_t i = 0; i < size; i++) out->data[start + i] ^= mask[i & 3];
  return TM_OK;
}
