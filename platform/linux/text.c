// Hand-written scanners over the bytes of procfs files: no locale, no copies, no stdio.
#include "platform/linux/linux.h"

#include <string.h>

tm_text tm_text_of(const char *bytes, size_t size) {
  return (tm_text){bytes, bytes + size};
}

size_t tm_text_size(tm_text text) {
  return (size_t)(text.end - text.at);
}

bool tm_text_line(tm_text *text, tm_text *out_line) {
  if (text->at >= text->end) return false;
  const char *newline = memchr(text->at, '\n', tm_text_size(*text));
  out_line->at = text->at;
  out_line->end = newline ? newline : text->end;
  text->at = newline ? newline + 1 : text->end;
  return true;
}

static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

static void skip_blanks(tm_text *text) {
  while (text->at < text->end && is_blank(*text->at)) text->at++;
}

tm_text tm_text_word(tm_text *text) {
  skip_blanks(text);
  const char *start = text->at;
  while (text->at < text->end && !is_blank(*text->at)) text->at++;
  return (tm_text){start, text->at};
}

bool tm_text_u64(tm_text *text, uint64_t *out) {
  skip_blanks(text);
  const char *start = text->at;
  uint64_t value = 0;
  bool over = false;
  for (; text->at < text->end; text->at++) {
    uint32_t digit = (uint32_t)(uint8_t)*text->at - '0';
    if (digit > 9) break;
    over = over || value > (UINT64_MAX - digit) / 10;
    value = value * 10 + digit;
  }
  if (text->at == start) return false;
  *out = over ? UINT64_MAX : value;
  return true;
}

static uint32_t hex_digit(char c) {
  if (c >= '0' && c <= '9') return (uint32_t)(c - '0');
  if (c >= 'a' && c <= 'f') return (uint32_t)(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return (uint32_t)(c - 'A' + 10);
  return 16;
}

bool tm_text_hex(tm_text *text, uint64_t *out) {
  skip_blanks(text);
  const char *start = text->at;
  uint64_t value = 0;
  bool over = false;
  for (; text->at < text->end; text->at++) {
    uint32_t digit = hex_digit(*text->at);
    if (digit > 15) break;
    over = over || value >> 60;
    value = (value << 4) | digit;
  }
  if (text->at == start) return false;
  *out = over ? UINT64_MAX : value;
  return true;
}

bool tm_text_is(tm_text text, const char *word) {
  size_t n = strlen(word);
  return tm_text_size(text) == n && memcmp(text.at, word, n) == 0;
}

bool tm_text_starts(tm_text text, const char *prefix) {
  size_t n = strlen(prefix);
  return tm_text_size(text) >= n && memcmp(text.at, prefix, n) == 0;
}

bool tm_text_ends(tm_text text, const char *suffix) {
  size_t n = strlen(suffix);
  return tm_text_size(text) >= n && memcmp(text.end - n, suffix, n) == 0;
}

bool tm_text_has(tm_text text, const char *part) {
  return tm_text_size(text) > 0 && memmem(text.at, tm_text_size(text), part, strlen(part));
}

void tm_text_copy(tm_text text, char *out, size_t size) {
  size_t n = tm_text_size(text);
  if (n > size - 1) n = size - 1;
  for (size_t i = 0; i < n; i++) {
    uint8_t byte = (uint8_t)text.at[i];
    out[i] = byte < 0x20 || byte == 0x7f ? '?' : (char)byte;
  }
  out[n] = '\0';
}
