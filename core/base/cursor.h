// Sticky bounds-checked reads over bytes in memory: a read past the end gives 0 and clears `ok`,
// so that a parser checks once per record instead of once per byte.
#ifndef TM_BASE_CURSOR_H
#define TM_BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct tm_cursor {
  const uint8_t *at, *end;
  uint64_t offset_bytes; // of `end` minus what is left: see tm_cursor_offset
  const uint8_t *start;
  bool ok;
} tm_cursor;

// Looks at size bytes whose first one has the given offset in the file (for error messages). No
// bytes may be NULL.
static inline tm_cursor tm_cursor_of(const void *bytes, size_t size, uint64_t offset_bytes) {
  const uint8_t *p = bytes ? bytes : "";
  return (tm_cursor){p, p + size, offset_bytes, p, true};
}

static inline size_t tm_cursor_left(const tm_cursor *c) {
  return (size_t)(c->end - c->at);
}

static inline uint64_t tm_cursor_offset(const tm_cursor *c) {
  return c->offset_bytes + (uint64_t)(c->at - c->start);
}

// size bytes in place, or NULL (and not ok) when fewer are left.
static inline const uint8_t *tm_get_bytes(tm_cursor *c, size_t size) {
  if (size > tm_cursor_left(c)) {
    c->at = c->end;
    c->ok = false;
    return NULL;
  }
  const uint8_t *p = c->at;
  c->at += size;
  return p;
}

static inline uint8_t tm_get_u8(tm_cursor *c) {
  const uint8_t *p = tm_get_bytes(c, 1);
  return p ? *p : 0;
}

#define TM_GET_FIXED(name, type, size, expr)                                                       \
  static inline type name(tm_cursor *c) {                                                          \
    const uint8_t *p = tm_get_bytes(c, size);                                                      \
    if (!p) return 0;                                                                              \
    return (type)(expr);                                                                           \
  }
TM_GET_FIXED(tm_get_u16be, uint16_t, 2, (p[0] << 8) | p[1])
TM_GET_FIXED(tm_get_u16le, uint16_t, 2, p[0] | (p[1] << 8))
TM_GET_FIXED(tm_get_u32be, uint32_t, 4,
             ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | p[3])
TM_GET_FIXED(tm_get_u32le, uint32_t, 4,
             ((uint32_t)p[3] << 24) | ((uint32_t)p[2] << 16) | ((uint32_t)p[1] << 8) | p[0])
#undef TM_GET_FIXED

static inline uint64_t tm_get_u64be(tm_cursor *c) {
  uint64_t high = tm_get_u32be(c);
  return (high << 32) | tm_get_u32be(c);
}

static inline uint64_t tm_get_u64le(tm_cursor *c) {
  uint64_t low = tm_get_u32le(c);
  return low | ((uint64_t)tm_get_u32le(c) << 32);
}

// LEB128, at most 10 bytes; a longer or cut one clears ok.
static inline uint64_t tm_get_varint(tm_cursor *c) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    uint8_t byte = tm_get_u8(c);
    if (!c->ok) return 0;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) return value;
  }
  c->ok = false;
  return 0;
}

static inline int64_t tm_unzigzag(uint64_t v) {
  return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
static inline uint64_t tm_zigzag(int64_t v) {
  return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

#endif
