// Rust's legacy mangling is C++'s nested name whose last part is "h" and 16 hexadecimal digits;
// characters that C does not know are written $LT$, $u20$ and so on, "::" as "..".
#include "symbol/demangle_impl.h"

#include <string.h>

#define HASH_PART 19 // "17h" + 16 digits

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// A hash has many different digits; a C++ name that happens to look like one has few.
static bool is_hash(const char *digits) {
  uint32_t seen = 0, different = 0;
  for (int i = 0; i < 16; i++) {
    int value = hex_value(digits[i]);
    if (value < 0) return false;
    seen |= UINT32_C(1) << value;
  }
  for (; seen; seen &= seen - 1) different++;
  return different >= 5;
}

static void put_code_point(demangler *d, uint32_t c) {
  char text[4];
  size_t n = 0;
  if (c < 0x20 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
    demangle_fail(d);
    return;
  }
  if (c < 0x80)
    text[n++] = (char)c;
  else if (c < 0x800)
    text[n++] = (char)(0xc0 | c >> 6);
  else if (c < 0x10000)
    text[n++] = (char)(0xe0 | c >> 12);
  else
    text[n++] = (char)(0xf0 | c >> 18);
  if (c >= 0x10000) text[n++] = (char)(0x80 | (c >> 12 & 63));
  if (c >= 0x800) text[n++] = (char)(0x80 | (c >> 6 & 63));
  if (c >= 0x80) text[n++] = (char)(0x80 | (c & 63));
  demangle_put(d, text, n);
}

// "LT", "u7e": what stands between two dollars. False for unknown ones.
static bool put_escape(demangler *d, const char *code, size_t length) {
  static const struct {
    const char *code, *text;
  } known[] = {{"SP", "@"}, {"BP", "*"}, {"RF", "&"}, {"LT", "<"},
               {"GT", ">"}, {"LP", "("}, {"RP", ")"}, {"C", ","}};
  for (size_t i = 0; i < TM_COUNT(known); i++)
    if (strlen(known[i].code) == length && memcmp(known[i].code, code, length) == 0)
      return demangle_puts(d, known[i].text), true;
  if (length < 2 || length > 7 || *code != 'u') return false;
  uint32_t c = 0;
  for (size_t i = 1; i < length; i++) {
    int value = hex_value(code[i]);
    if (value < 0) return false;
    c = c << 4 | (uint32_t)value;
  }
  put_code_point(d, c);
  return true;
}

static void put_part(demangler *d, const char *s, size_t length) {
  const char *end = s + length;
  if (length > 1 && s[0] == '_' && s[1] == '$') s++;
  while (s < end && !d->failed) {
    const char *dollar = *s == '$' ? memchr(s + 1, '$', (size_t)(end - s - 1)) : NULL;
    if (dollar && put_escape(d, s + 1, (size_t)(dollar - s - 1))) {
      s = dollar + 1;
    } else if (end - s > 1 && s[0] == '.' && s[1] == '.') {
      demangle_puts(d, "::");
      s += 2;
    } else {
      demangle_put(d, s, 1);
      s++;
    }
  }
}

// Compilers add ".llvm.123" and the like behind the name.
static const char *end_of_name(const demangler *d) {
  const char *e = d->end;
  while (e > d->at && !(e[-1] == 'E' && (e == d->end || *e == '.'))) e--;
  return e > d->at ? e - 1 : d->end;
}

bool demangle_rust_legacy(demangler *d) {
  const char *end = end_of_name(d);
  if (end == d->end || end - d->at < HASH_PART) return false;
  const char *hash = end - HASH_PART;
  if (memcmp(hash, "17h", 3) != 0 || !is_hash(hash + 3)) return false;
  while (d->at < hash) {
    uint64_t length;
    if (!demangle_read_number(d, &length) || d->at > hash) return false;
    if (length > (uint64_t)(hash - d->at)) return false;
    if (d->size) demangle_puts(d, "::");
    put_part(d, d->at, length);
    d->at += length;
  }
  return d->at == hash;
}
