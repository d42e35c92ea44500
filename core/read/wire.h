// Walking protobuf's wire format: varints eight bytes at a time, fields one by one. Every read is
// checked against the end. Source: protobuf encoding (wire types 0, 1, 2, 5; groups are refused).
#ifndef TM_READ_WIRE_H
#define TM_READ_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct wire {
  const uint8_t *at, *end;
  const char *fault; // NULL while well-formed; else what broke, at `at`
} wire;

typedef struct wire_field {
  uint64_t number;
  uint32_t type;       // 0 varint, 1 fixed64, 2 bytes, 5 fixed32
  uint64_t value;      // types 0, 1, 5
  const uint8_t *data; // type 2
  size_t size;
} wire_field;

// No bytes may be NULL.
static inline wire wire_of(const uint8_t *data, size_t size) {
  const uint8_t *at = data ? data : (const uint8_t *)"";
  return (wire){at, at + size, NULL};
}

static inline bool wire_varint_slow(wire *w, uint64_t *out) {
  uint64_t value = 0;
  const uint8_t *p = w->at;
  for (unsigned shift = 0; shift < 70 && p < w->end; shift += 7) {
    uint8_t byte = *p++;
    if (shift < 64) value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      w->at = p;
      *out = value;
      return true;
    }
  }
  w->fault = p < w->end ? "a number of more than 10 bytes" : "the message ends inside a number";
  return false;
}

// One varint. Up to eight bytes are gathered without a branch on their count: find the first byte
// without the high bit, then fold the 7-bit groups together pairwise.
static inline bool wire_varint(wire *w, uint64_t *out) {
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  if (w->end - w->at >= 8) {
    uint64_t x;
    memcpy(&x, w->at, 8);
    uint64_t stops = ~x & UINT64_C(0x8080808080808080);
    if (stops) {
      w->at += ((unsigned)__builtin_ctzll(stops) >> 3) + 1;
      x &= stops ^ (stops - 1);
      x &= UINT64_C(0x7f7f7f7f7f7f7f7f);
      x = (x & UINT64_C(0x007f007f007f007f)) | ((x & UINT64_C(0x7f007f007f007f00)) >> 1);
      x = (x & UINT64_C(0x00003fff00003fff)) | ((x & UINT64_C(0x3fff00003fff0000)) >> 2);
      *out = (x & UINT64_C(0x0fffffff)) | ((x & UINT64_C(0x0fffffff00000000)) >> 4);
      return true;
    }
  }
#endif
  return wire_varint_slow(w, out);
}

// The same for numbers that mostly are small, such as ids: one to three bytes by branches, which
// predict well when most take the same.
static inline bool wire_small_varint(wire *w, uint64_t *out) {
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  if (w->end - w->at >= 4) {
    uint32_t x;
    memcpy(&x, w->at, 4);
    if (!(x & 0x80)) {
      *out = x & 0x7f;
      w->at += 1;
      return true;
    }
    if (!(x & 0x8000)) {
      *out = (x & 0x7f) | (x >> 1 & 0x3f80);
      w->at += 2;
      return true;
    }
    if (!(x & 0x800000)) {
      *out = (x & 0x7f) | (x >> 1 & 0x3f80) | (x >> 2 & 0x1fc000);
      w->at += 3;
      return true;
    }
  }
#endif
  return wire_varint(w, out);
}

// The next field; false at the end or at a fault.
static inline bool wire_next(wire *w, wire_field *f) {
  *f = (wire_field){0};
  if (w->at == w->end) return false;
  uint64_t key = 0;
  if (!wire_varint(w, &key)) return false;
  f->number = key >> 3;
  f->type = (uint32_t)(key & 7);
  if (f->type == 0) return wire_varint(w, &f->value);
  if (f->type == 2) {
    uint64_t size = 0;
    if (!wire_varint(w, &size)) return false;
    if (size > (uint64_t)(w->end - w->at)) {
      w->fault = "a field runs past the end";
      return false;
    }
    f->data = w->at;
    f->size = (size_t)size;
    w->at += size;
    return true;
  }
  size_t size = f->type == 1 ? 8 : f->type == 5 ? 4 : 0;
  if (!size || (size_t)(w->end - w->at) < size) {
    w->fault = size ? "a fixed-size field runs past the end" : "a wire type that protobuf lacks";
    return false;
  }
  f->value = 0;
  for (size_t i = size; i-- > 0;) f->value = f->value << 8 | w->at[i];
  w->at += size;
  return true;
}

#endif
