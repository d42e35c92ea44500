// floors: base
// The JSON writer: what it writes is JSON, reads back to the same values, and misuse is an error.
#include "base/json_write.h"
#include "failing_alloc.h"
#include "unit.h"

#include <math.h>
#include <string.h>

typedef struct rig {
  tm_ctx ctx;
  tm_bytes out;
  tm_json w;
} rig;

static void open_rig(rig *r) {
  *r = (rig){0};
  tm_ctx_init(&r->ctx, NULL);
  r->w = tm_json_begin(&r->ctx, &r->out);
}

static void close_rig(rig *r, const char *expected) {
  assert_int_equal(tm_json_end(&r->w), TM_OK);
  assert_string_equal((const char *)r->out.data, expected);
  assert_int_equal(r->out.size, strlen(expected));
  tm_bytes_free(&r->ctx, &r->out);
  tm_ctx_fini(&r->ctx);
}

static void nests(void **state) {
  (void)state;
  rig r;
  open_rig(&r);
  tm_json_object(&r.w);
  tm_json_key(&r.w, "a");
  tm_json_array(&r.w);
  tm_json_int(&r.w, -1);
  tm_json_object(&r.w);
  tm_json_close(&r.w);
  tm_json_array(&r.w);
  tm_json_close(&r.w);
  tm_json_bool(&r.w, true);
  tm_json_null(&r.w);
  tm_json_close(&r.w);
  tm_json_key(&r.w, "b\"");
  tm_json_uint(&r.w, UINT64_MAX);
  tm_json_key(&r.w, "c");
  tm_json_raw(&r.w, "{\"x\":1}");
  tm_json_key(&r.w, "d");
  tm_json_string(&r.w, NULL);
  tm_json_close(&r.w);
  close_rig(
      &r, "{\"a\":[-1,{},[],true,null],\"b\\\"\":18446744073709551615,\"c\":{\"x\":1},\"d\":null}");
}

static void separates_documents_by_lines(void **state) {
  (void)state;
  rig r;
  open_rig(&r);
  tm_json_int(&r.w, INT64_MIN);
  tm_json_array(&r.w);
  tm_json_close(&r.w);
  close_rig(&r, "-9223372036854775808\n[]");
}

typedef struct text_case {
  const char *text;
  size_t size;
  const char *json;
} text_case;

#define TEXT(t, j)                                                                                 \
  { t, sizeof(t) - 1, j }
#define BAD "\xef\xbf\xbd"

static void escapes_strings(void **state) {
  (void)state;
  static const text_case cases[] = {
      TEXT("", "\"\""),
      TEXT("plain", "\"plain\""),
      TEXT("\"\\/\b\f\n\r\t", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""),
      TEXT("\x00\x01\x1f\x7f", "\"\\u0000\\u0001\\u001f\x7f\""),
      TEXT("h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\"h\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""),
      TEXT("a\xff"
           "b",
           "\"a" BAD "b\""),
      TEXT("\xc3", "\"" BAD "\""),                         // cut
      TEXT("\xe2\x82", "\"" BAD BAD "\""),                 // cut
      TEXT("\xc0\x80", "\"" BAD BAD "\""),                 // overlong NUL
      TEXT("\xe0\x80\xaf", "\"" BAD BAD BAD "\""),         // overlong
      TEXT("\xed\xa0\x80", "\"" BAD BAD BAD "\""),         // surrogate
      TEXT("\xf4\x90\x80\x80", "\"" BAD BAD BAD BAD "\""), // past U+10FFFF
      TEXT("\xf0\x8f\xbf\xbf", "\"" BAD BAD BAD BAD "\""), // overlong
      TEXT("\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\""),    // U+10FFFF
      TEXT("\xe2\x82\"", "\"" BAD BAD "\\\"\""),           // the quote is not swallowed
  };
  for (size_t i = 0; i < TM_COUNT(cases); i++) {
    rig r;
    open_rig(&r);
    tm_json_string_n(&r.w, cases[i].text, cases[i].size);
    close_rig(&r, cases[i].json);
  }
}

static void writes_the_shortest_double(void **state) {
  (void)state;
  static const struct {
    double value;
    const char *json;
  } cases[] = {{0, "0"},
               {-0.0, "-0"},
               {0.1, "0.1"},
               {1.5, "1.5"},
               {1e300, "1e+300"},
               {0.1 + 0.2, "0.30000000000000004"},
               {NAN, "null"},
               {INFINITY, "null"},
               {-INFINITY, "null"},
               {5e-324, "4.94065645841247e-324"},
               {123456789, "123456789"}};
  for (size_t i = 0; i < TM_COUNT(cases); i++) {
    rig r;
    open_rig(&r);
    tm_json_double(&r.w, cases[i].value);
    close_rig(&r, cases[i].json);
  }
}

static void every_double_reads_back(void **state) {
  (void)state;
  uint64_t seed = 88172645463325252u;
  for (int i = 0; i < 20000; i++) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    double value;
    memcpy(&value, &seed, sizeof value);
    if (!isfinite(value)) continue;
    rig r;
    open_rig(&r);
    tm_json_double(&r.w, value);
    assert_int_equal(tm_json_end(&r.w), TM_OK);
    double back = strtod((const char *)r.out.data, NULL);
    assert_memory_equal(&back, &value, sizeof value);
    tm_bytes_free(&r.ctx, &r.out);
    tm_ctx_fini(&r.ctx);
  }
}

static void assert_misuse(rig *r) {
  assert_int_equal(tm_json_end(&r->w), TM_E_ARG);
  tm_bytes_free(&r->ctx, &r->out);
  tm_ctx_fini(&r->ctx);
}

static void misuse_is_an_error(void **state) {
  (void)state;
  rig r;
  open_rig(&r);
  tm_json_object(&r.w); // left open
  assert_misuse(&r);
  open_rig(&r);
  tm_json_close(&r.w); // nothing open
  assert_misuse(&r);
  open_rig(&r);
  tm_json_object(&r.w);
  tm_json_int(&r.w, 1); // no key
  tm_json_close(&r.w);
  assert_misuse(&r);
  open_rig(&r);
  tm_json_object(&r.w);
  tm_json_key(&r.w, "a"); // no value
  tm_json_close(&r.w);
  assert_misuse(&r);
  open_rig(&r);
  tm_json_array(&r.w);
  tm_json_key(&r.w, "a"); // a key in an array
  assert_misuse(&r);
}

static void depth_is_limited(void **state) {
  (void)state;
  rig r;
  open_rig(&r);
  for (int i = 0; i < TM_JSON_DEPTH - 1; i++) tm_json_array(&r.w);
  assert_int_equal(r.w.status, TM_OK);
  for (int i = 0; i < 5; i++) tm_json_array(&r.w);
  assert_int_equal(tm_json_end(&r.w), TM_E_LIMIT);
  tm_bytes_free(&r.ctx, &r.out);
  tm_ctx_fini(&r.ctx);
}

static void no_memory_is_reported_once_at_the_end(void **state) {
  (void)state;
  for (uint64_t fail_at = 1; fail_at < 5; fail_at++) {
    failing_alloc f = {.fail_at = fail_at};
    tm_allocator alloc = failing_allocator(&f);
    rig r = {0};
    tm_ctx_init(&r.ctx, &alloc);
    r.w = tm_json_begin(&r.ctx, &r.out);
    tm_json_array(&r.w);
    for (int i = 0; i < 10000; i++) tm_json_string(&r.w, "0123456789");
    tm_json_close(&r.w);
    assert_int_equal(tm_json_end(&r.w), TM_E_NOMEM);
    tm_bytes_free(&r.ctx, &r.out);
    tm_ctx_fini(&r.ctx);
    assert_int_equal(f.held_bytes, 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nests),
      cmocka_unit_test(separates_documents_by_lines),
      cmocka_unit_test(escapes_strings),
      cmocka_unit_test(writes_the_shortest_double),
      cmocka_unit_test(every_double_reads_back),
      cmocka_unit_test(misuse_is_an_error),
      cmocka_unit_test(depth_is_limited),
      cmocka_unit_test(no_memory_is_reported_once_at_the_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
