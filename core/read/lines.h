// Scanning text line by line over bytes that no NUL ends. For readers only.
#ifndef TM_READ_LINES_H
#define TM_READ_LINES_H

#include "read/frames.h"

#include <string.h>

typedef struct lines {
  const char *start, *next, *end;
  tm_text line; // without its \n and \r
} lines;

static inline lines lines_of(const uint8_t *data, size_t size) {
  const char *p = (const char *)data;
  return (lines){.start = p, .next = p, .end = p + size};
}

static inline bool lines_next(lines *l) {
  if (l->next == l->end) return false;
  const char *stop = memchr(l->next, '\n', (size_t)(l->end - l->next));
  const char *end = stop ? stop : l->end;
  l->line = (tm_text){l->next, (size_t)(end - l->next)};
  l->next = stop ? stop + 1 : l->end;
  if (l->line.size && l->line.at[l->line.size - 1] == '\r') l->line.size--;
  return true;
}

static inline uint64_t lines_offset(const lines *l) {
  return (uint64_t)(l->line.at - l->start);
}

static inline bool text_starts(tm_text t, const char *prefix) {
  size_t n = strlen(prefix);
  return t.size >= n && memcmp(t.at, prefix, n) == 0;
}

static inline tm_text text_skip(tm_text t, size_t n) {
  if (n > t.size) n = t.size;
  return (tm_text){t.at + n, t.size - n};
}

static inline bool text_is_space(char c) {
  return c == ' ' || c == '\t' || c == '\v' || c == '\f' || c == '\r';
}

static inline tm_text text_trim(tm_text t) {
  while (t.size && text_is_space(t.at[0])) t = text_skip(t, 1);
  while (t.size && text_is_space(t.at[t.size - 1])) t.size--;
  return t;
}

// Takes one character when it is next.
static inline bool text_take(tm_text *t, char c) {
  if (!t->size || t->at[0] != c) return false;
  *t = text_skip(*t, 1);
  return true;
}

static inline void text_spaces(tm_text *t) {
  while (t->size && text_is_space(t->at[0])) *t = text_skip(*t, 1);
}

// Takes a decimal number; false when there is none or it does not fit.
static inline bool text_int(tm_text *t, int64_t *out) {
  bool minus = text_take(t, '-');
  uint64_t value = 0;
  size_t digits = 0;
  while (t->size && t->at[0] >= '0' && t->at[0] <= '9') {
    if (value > (UINT64_C(1) << 63) / 10) return false;
    value = value * 10 + (uint64_t)(t->at[0] - '0');
    *t = text_skip(*t, 1);
    digits++;
  }
  if (!digits || value > INT64_MAX) return false;
  *out = minus ? -(int64_t)value : (int64_t)value;
  return true;
}

// Takes hexadecimal digits, with or without 0x.
static inline bool text_hex(tm_text *t, uint64_t *out) {
  if (t->size > 2 && t->at[0] == '0' && t->at[1] == 'x') *t = text_skip(*t, 2);
  uint64_t value = 0;
  size_t digits = 0;
  for (; t->size; digits++) {
    char c = t->at[0], low = (char)(c | 32);
    int d = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
    if (d < 0) break;
    if (digits == 16) return false;
    value = value << 4 | (uint64_t)d;
    *t = text_skip(*t, 1);
  }
  *out = value;
  return digits > 0;
}

#endif
