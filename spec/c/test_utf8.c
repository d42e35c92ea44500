// floors: base
// Widths against the C library's table, decoding against its own rules written the slow way, and
// cluster steps that must agree forwards and backwards.
#include "base/utf8.h"
#include "unit.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

static size_t encode(uint32_t code, char *out) {
  if (code < 0x80) return (size_t)(out[0] = (char)code, 1);
  size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
  out[0] = (char)(leads[n] | code);
  return n;
}

static void every_code_point_comes_back(void **state) {
  (void)state;
  char text[4];
  uint32_t code;
  for (uint32_t c = 0; c <= 0x10ffff; c++) {
    size_t n = encode(c, text);
    bool surrogate = c >= 0xd800 && c <= 0xdfff;
    assert_int_equal(tm_utf8_decode(text, n, &code), surrogate ? 1 : n);
    assert_int_equal(code, surrogate ? 0xfffd : c);
    if (n > 1) assert_int_equal(tm_utf8_decode(text, n - 1, &code), 1); // cut
  }
}

static void garbage_is_one_byte(void **state) {
  (void)state;
  static const char *const bad[] = {
      "\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf4\x90\x80\x80",
      "\xfe", "\xc3(",    "\xe2\x82("};
  uint32_t code;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(tm_utf8_decode(bad[i], strlen(bad[i]), &code), 1);
    assert_int_equal(code, 0xfffd);
  }
}

// The two tables are of different years and differ on purpose in few places (soft hyphen, format
// characters, Hangul letters); what most texts are made of must be the same.
static void widths_are_those_of_the_c_library(void **state) {
  (void)state;
  if (!setlocale(LC_CTYPE, "C.UTF-8")) skip();
  size_t differ = 0, seen = 0;
  for (uint32_t c = 0x20; c <= 0x10ffff; c++) {
    int theirs = wcwidth((wchar_t)c);
    if (theirs < 0) continue;
    seen++;
    differ += (uint32_t)theirs != tm_char_width(c);
  }
  setlocale(LC_CTYPE, "C");
  assert_true(seen > 100000);
  assert_true(differ < 400);
}

static void texts_have_their_columns(void **state) {
  (void)state;
  static const struct {
    const char *text;
    size_t columns;
  } rows[] = {{"", 0},
              {"abc", 3},
              {"h\xc3\xa9", 2},
              {"he\xcc\x81", 2},
              {"\xe6\x97\xa5\xe6\x9c\xac", 4},
              {"\xf0\x9f\x98\x80", 2},
              {"\xe2\x80\x8b", 0},
              {"\xef\xbd\xb1", 1},
              {"a\tb", 2},
              {"\xff", 1}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    assert_int_equal(tm_text_width(rows[i].text, strlen(rows[i].text)), rows[i].columns);
}

static void clusters_hold_together(void **state) {
  (void)state;
  static const char *const whole[] = {"a",
                                      "e\xcc\x81",
                                      "e\xcc\x81\xcc\xa3",
                                      "\xf0\x9f\x87\xa9\xf0\x9f\x87\xaa",
                                      "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x9a\x80",
                                      "\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd"};
  for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
    size_t n = strlen(whole[i]);
    assert_int_equal(tm_cluster_next(whole[i], n, 0), n);
    assert_int_equal(tm_cluster_prev(whole[i], n), 0);
  }
  const char *flags = "\xf0\x9f\x87\xa9\xf0\x9f\x87\xaa\xf0\x9f\x87\xa9\xf0\x9f\x87\xaa";
  assert_int_equal(tm_cluster_next(flags, 16, 0), 8);
  assert_int_equal(tm_cluster_prev(flags, 16), 8);
}

static void steps_back_undo_steps_forward(void **state) {
  (void)state;
  static const uint32_t pool[] = {'a',    '\n',    0xe9,    0x301,   0x65e5,
                                  0x200d, 0x1f600, 0x1f1e9, 0x1f3fd, 0xfe0f};
  srand(7);
  for (int round = 0; round < 2000; round++) {
    char text[128];
    size_t size = 0, starts[64], count = 0;
    for (int i = 0; i < 24; i++) size += encode(pool[(size_t)rand() % 10], text + size);
    for (size_t at = 0; at < size; at = tm_cluster_next(text, size, at)) starts[count++] = at;
    for (size_t at = size; count > 0;) {
      at = tm_cluster_prev(text, at);
      assert_int_equal(at, starts[--count]);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_code_point_comes_back),
      cmocka_unit_test(garbage_is_one_byte),
      cmocka_unit_test(widths_are_those_of_the_c_library),
      cmocka_unit_test(texts_have_their_columns),
      cmocka_unit_test(clusters_hold_together),
      cmocka_unit_test(steps_back_undo_steps_forward),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
