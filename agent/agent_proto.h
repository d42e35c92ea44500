// Just enough of protobuf's wire format, for the answers and for the profile.
#ifndef TM_AGENT_PROTO_H
#define TM_AGENT_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { TM_MESSAGE_BYTES = 4096 };

// A small message that is built in place; what does not fit is left out and `is_cut` said.
typedef struct tm_message {
  size_t size;
  bool is_cut;
  uint8_t data[TM_MESSAGE_BYTES];
} tm_message;

static inline void tm_message_clear(tm_message *m) {
  m->size = 0;
  m->is_cut = false;
}

static inline void tm_message_bytes(tm_message *m, const void *data, size_t size) {
  m->is_cut = m->is_cut || size > sizeof m->data - m->size;
  if (m->is_cut) return;
  memcpy(m->data + m->size, data, size);
  m->size += size;
}

static inline void tm_message_varint(tm_message *m, uint64_t value) {
  uint8_t bytes[10];
  size_t size = 0;
  for (; value >= 0x80; value >>= 7) bytes[size++] = (uint8_t)(value | 0x80);
  bytes[size++] = (uint8_t)value;
  tm_message_bytes(m, bytes, size);
}

static inline void tm_message_number(tm_message *m, uint32_t field, uint64_t value) {
  tm_message_varint(m, (uint64_t)field << 3);
  tm_message_varint(m, value);
}

static inline void tm_message_block(tm_message *m, uint32_t field, const void *data, size_t size) {
  tm_message_varint(m, (uint64_t)field << 3 | 2);
  tm_message_varint(m, size);
  tm_message_bytes(m, data, size);
}

static inline void tm_message_text(tm_message *m, uint32_t field, const char *text) {
  tm_message_block(m, field, text, strlen(text));
}

#endif
