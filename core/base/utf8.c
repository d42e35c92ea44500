// UTF-8 decoding by the lead byte and a check of the range; widths by binary search in two sorted
// tables of ranges (some 450, so nine steps). Clusters are a useful part of Unicode's rules (UAX
// 29): marks and joiners stay with what is before them, a joiner takes what is behind it, flags are
// pairs.
#include "base/utf8.h"

#include "base/attr.h"

typedef struct char_range {
  uint32_t first, last;
} char_range;

static const char_range zero_ranges[] = {
#define TM_ZERO(a, b) {a, b},
#define TM_WIDE(a, b)
#include "base/char_width.def"
#undef TM_ZERO
#undef TM_WIDE
};

static const char_range wide_ranges[] = {
#define TM_ZERO(a, b)
#define TM_WIDE(a, b) {a, b},
#include "base/char_width.def"
#undef TM_ZERO
#undef TM_WIDE
};

enum { REPLACEMENT = 0xfffd, JOINER = 0x200d, FLAG_FIRST = 0x1f1e6, FLAG_LAST = 0x1f1ff };

size_t tm_utf8_decode(const char *text, size_t size_bytes, uint32_t *code_out) {
  const uint8_t *p = (const uint8_t *)text;
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  *code_out = p[0];
  if (p[0] < 0x80) return 1;
  size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
  *code_out = REPLACEMENT;
  if (p[0] < 0xc2 || p[0] > 0xf4 || n > size_bytes) return 1;
  uint32_t code = p[0] & (0xffu >> (n + 1));
  for (size_t i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80) return 1;
    code = code << 6 | (p[i] & 0x3f);
  }
  if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return 1;
  *code_out = code;
  return n;
}

size_t tm_utf8_encode(uint32_t code, char out[4]) {
  static const uint32_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
  size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
  out[0] = (char)(leads[n] | code);
  return n;
}

static bool in_ranges(const char_range *ranges, size_t count, uint32_t code) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (code > ranges[middle].last)
      low = middle + 1;
    else if (code < ranges[middle].first)
      high = middle;
    else
      return true;
  }
  return false;
}

uint32_t tm_char_width(uint32_t code) {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return 0;
  if (code < 0xad) return 1;
  if (in_ranges(zero_ranges, TM_COUNT(zero_ranges), code)) return 0;
  return in_ranges(wide_ranges, TM_COUNT(wide_ranges), code) ? 2 : 1;
}

size_t tm_text_width(const char *text, size_t size_bytes) {
  size_t columns = 0;
  uint32_t code;
  for (size_t at = 0; at < size_bytes; columns += tm_char_width(code))
    at += tm_utf8_decode(text + at, size_bytes - at, &code);
  return columns;
}

static bool is_flag(uint32_t code) {
  return code >= FLAG_FIRST && code <= FLAG_LAST;
}

// What never starts a cluster behind a printable: marks, joiners, the skin tones of emoji.
static bool extends(uint32_t code) {
  return (code >= 0xa0 && tm_char_width(code) == 0) || (code >= 0x1f3fb && code <= 0x1f3ff);
}

size_t tm_cluster_next(const char *text, size_t size_bytes, size_t at) {
  uint32_t code, next;
  if (at >= size_bytes) return size_bytes;
  at += tm_utf8_decode(text + at, size_bytes - at, &code);
  bool flag = is_flag(code), control = code < 0x20;
  while (at < size_bytes && !control) {
    size_t n = tm_utf8_decode(text + at, size_bytes - at, &next);
    bool joined = code == JOINER && next >= 0x1000;
    if (!extends(next) && !joined && !(flag && is_flag(next))) break;
    flag = false;
    code = next;
    at += n;
  }
  return at;
}

// The rules look forward only, so a start from which they are certain is sought: behind a plain
// ASCII character, or 64 bytes back.
size_t tm_cluster_prev(const char *text, size_t at) {
  if (at == 0) return 0;
  size_t start = at - 1;
  while (start > 0 && at - start < 64 && (uint8_t)text[start] >= 0x80) start--;
  while (start > 0 && ((uint8_t)text[start] & 0xc0) == 0x80) start--;
  for (;;) {
    size_t next = tm_cluster_next(text, at, start);
    if (next >= at) return start;
    start = next;
  }
}
