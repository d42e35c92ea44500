// WebSocket frames: what a server sends, read from bytes that arrive in any pieces, and what a
// client sends. No sockets, so that tests and fuzzers can feed it. Source: RFC 6455, section 5.
#ifndef TM_NET_FRAMES_H
#define TM_NET_FRAMES_H

#include "base/bytes.h"

enum {
  TM_FRAMES_CONTROL_BYTES = 125,     // payload of a control frame
  TM_FRAMES_HEADER_BYTES = 14,       // of the longest header
  TM_FRAMES_MESSAGE_BYTES = 64 << 20 // of a message, when nobody says otherwise
};

typedef enum tm_frames_item {
  TM_FRAMES_NOTHING, // more bytes are needed
  TM_FRAMES_MESSAGE, // text or binary, whole: reader->message
  TM_FRAMES_PING,    // reader->control, control_size
  TM_FRAMES_PONG,
  TM_FRAMES_CLOSE, // reader->control: a code of two bytes and words, or nothing
} tm_frames_item;

typedef enum tm_frames_opcode {
  TM_FRAMES_OP_MORE = 0,
  TM_FRAMES_OP_TEXT = 1,
  TM_FRAMES_OP_BINARY = 2,
  TM_FRAMES_OP_CLOSE = 8,
  TM_FRAMES_OP_PING = 9,
  TM_FRAMES_OP_PONG = 10,
} tm_frames_opcode;

// Zero it, and set max_message_bytes if the default is not wanted.
typedef struct tm_frames_reader {
  uint64_t max_message_bytes; // 0 = TM_FRAMES_MESSAGE_BYTES
  tm_bytes message;           // of pieces; grows with what arrives, never by what is announced
  uint8_t control[TM_FRAMES_CONTROL_BYTES];
  uint32_t control_size;
  // for the reader's own use
  uint8_t header[TM_FRAMES_HEADER_BYTES];
  uint32_t header_size;
  uint64_t left_bytes, frame_offset, offset_bytes;
  bool in_frame, in_message, message_done;
} tm_frames_reader;

// Reads up to the end of the next item; *out_used says how many bytes that took. A message stays
// until the next call. TM_E_FORMAT what the RFC forbids a server, TM_E_LIMIT a message that is
// announced or grows beyond the cap, TM_E_NOMEM.
TM_NODISCARD tm_status tm_frames_feed(tm_ctx *ctx, tm_frames_reader *reader, const void *data,
                                      size_t size, size_t *out_used, tm_frames_item *out);

void tm_frames_free(tm_ctx *ctx, tm_frames_reader *reader);

// Appends one whole frame, masked by the four bytes.
TM_NODISCARD tm_status tm_frames_append(tm_ctx *ctx, tm_bytes *out, tm_frames_opcode opcode,
                                        const void *payload, size_t size, const uint8_t mask[4]);

#endif
