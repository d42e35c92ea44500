// floors: net
// Addresses: what is read, what is refused and at which byte, joining, redirects; by tables.
#include "net/url.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static void reads_every_form(void **state) {
  static const struct {
    const char *text;
    tm_url_scheme scheme;
    const char *host;
    uint16_t port;
    const char *target, *host_header;
  } rows[] = {
      {"http://h:6060/debug/pprof", TM_URL_HTTP, "h", 6060, "/debug/pprof", "h:6060"},
      {"http://example.org", TM_URL_HTTP, "example.org", 80, "/", "example.org"},
      {"HTTPS://Example.org/x?y=1#frag", TM_URL_HTTPS, "Example.org", 443, "/x?y=1", "Example.org"},
      {"https://e.org:80?q", TM_URL_HTTPS, "e.org", 80, "/?q", "e.org:80"},
      {"localhost:8080", TM_URL_HTTP, "localhost", 8080, "/", "localhost:8080"},
      {"127.0.0.1:1/a%20b/%2F", TM_URL_HTTP, "127.0.0.1", 1, "/a%20b/%2F", "127.0.0.1:1"},
      {"http://[::1]:6060/x", TM_URL_HTTP, "::1", 6060, "/x", "[::1]:6060"},
      {"http://[fe80::1%25eth0]/", TM_URL_HTTP, "fe80::1%eth0", 80, "/", "[fe80::1]"},
      {"[::1]:9", TM_URL_HTTP, "::1", 9, "/", "[::1]:9"},
      {"unix:/run/x.sock", TM_URL_UNIX, "/run/x.sock", 0, "/", "localhost"},
      {"unix:/run/x.sock:/debug/pprof?a=:/b", TM_URL_UNIX, "/run/x.sock", 0, "/debug/pprof?a=:/b",
       "localhost"},
      {"unix:///run/x.sock", TM_URL_UNIX, "/run/x.sock", 0, "/", "localhost"},
      {"unix://////run/x:/y", TM_URL_UNIX, "/run/x", 0, "/y", "localhost"},
      {"http://h:1/go?to=http://other:2/", TM_URL_HTTP, "h", 1, "/go?to=http://other:2/", "h:1"},
      {"h:1/x://y", TM_URL_HTTP, "h", 1, "/x://y", "h:1"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    tm_ctx ctx;
    tm_url url, again;
    char text[TM_URL_FORMAT_MAX], host[TM_URL_ORIGIN_MAX];
    tm_ctx_init(&ctx, NULL);
    assert_int_equal(tm_url_parse(&ctx, rows[i].text, &url), TM_OK);
    assert_int_equal(url.scheme, rows[i].scheme);
    assert_string_equal(url.host, rows[i].host);
    assert_int_equal(url.port, rows[i].port);
    assert_string_equal(url.target, rows[i].target);
    assert_string_equal(tm_url_host_header(&url, host), rows[i].host_header);
    assert_int_equal(tm_url_parse(&ctx, tm_url_format(&url, text), &again), TM_OK);
    assert_true(tm_url_same_origin(&url, &again));
    assert_string_equal(again.target, url.target);
    tm_ctx_fini(&ctx);
  }
}

static void refuses_with_the_byte(void **state) {
  static const struct {
    const char *text;
    uint64_t offset_bytes;
    const char *says;
  } rows[] = {
      {"", 0, "host is missing"},
      {"localhost", 0, "port or the scheme is missing"},
      {"ftp://h/", 0, "only http, https and unix"},
      {"http://", 7, "host is missing"},
      {"http://:80/", 7, "host is missing"},
      {"http://h:0/", 9, "missing or 0"},
      {"http://h:/", 9, "missing or 0"},
      {"http://h:65536/", 9, "over 65535"},
      {"http://h:99999999999999999999/", 9, "over 65535"},
      {"http://h:8x/", 10, "not a number"},
      {"http://h:1:2/", 10, "not a number"},
      {"http://h/a b", 10, "percent-encoded"},
      {"http://h/a\r\nX: y", 10, "percent-encoded"},
      {"http://h/\xc3\xa4", 9, "percent-encoded"},
      {"http://h\\x/", 8, "character"},
      {"http://[::1", 7, "no ]"},
      {"http://[::1]x:1", 7, "after ]"},
      {"http://[127.0.0.1]/", 8, "not an IPv6"},
      {"http://[::1%25]/", 8, "not an IPv6"},
      {"http://[::1%25a/b]/", 7, "no ]"},
      {"unix:x.sock", 5, "starts with /"},
      {"unix:/", 5, "missing"},
      {"unix:", 5, "starts with /"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    tm_ctx ctx;
    tm_url url = {.port = 77};
    tm_ctx_init(&ctx, NULL);
    assert_int_equal(tm_url_parse(&ctx, rows[i].text, &url), TM_E_ARG);
    if (!strstr(ctx.error.message, rows[i].says))
      fail_msg("%s: %s", rows[i].text, ctx.error.message);
    assert_int_equal(ctx.error.offset_bytes, rows[i].offset_bytes);
    assert_int_equal(url.port, 77); // untouched
    tm_ctx_fini(&ctx);
  }
}

static void never_repeats_a_password(void **state) {
  tm_ctx ctx;
  tm_url url;
  (void)state;
  tm_ctx_init(&ctx, NULL);
  assert_int_equal(tm_url_parse(&ctx, "http://bob:hunter2@h/x", &url), TM_E_ARG);
  assert_null(strstr(ctx.error.message, "hunter2"));
  assert_non_null(strstr(ctx.error.message, "Authorization"));
  tm_ctx_fini(&ctx);
}

// Lengths one under, at and over each buffer.
static void keeps_its_bounds(void **state) {
  static const struct {
    const char *prefix, *suffix;
    size_t max;
  } rows[] = {{"http://", "/", 255}, {"http://h", "", 2047}, {"unix:", "", 107}};
  (void)state;
  for (size_t r = 0; r < 3; r++)
    for (size_t n = rows[r].max - 1; n <= rows[r].max + 1; n++) {
      tm_ctx ctx;
      tm_url url;
      char text[2400], fill[2100];
      tm_ctx_init(&ctx, NULL);
      memset(fill, 'a', sizeof fill);
      if (r) fill[0] = '/';
      fill[n] = '\0';
      snprintf(text, sizeof text, "%s%s%s", rows[r].prefix, fill, rows[r].suffix);
      assert_int_equal(tm_url_parse(&ctx, text, &url), n <= rows[r].max ? TM_OK : TM_E_ARG);
      tm_ctx_fini(&ctx);
    }
}

static void joins_names_and_queries(void **state) {
  static const struct {
    const char *base, *name, *query, *target;
  } rows[] = {
      {"http://h:1/app/debug/pprof", "heap", "gc=1", "/app/debug/pprof/heap?gc=1"},
      {"http://h:1/app/debug/pprof/", "/heap", NULL, "/app/debug/pprof/heap"},
      {"http://h:1", "metrics", "", "/metrics"},
      {"http://h:1/p?token=x", "heap", "debug=1", "/p/heap?token=x&debug=1"},
      {"http://h:1/p?token=x", "heap", NULL, "/p/heap?token=x"},
      {"unix:/run/x.sock:/debug/pprof", "goroutine", "debug=2", "/debug/pprof/goroutine?debug=2"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    tm_ctx ctx;
    tm_url url;
    tm_ctx_init(&ctx, NULL);
    assert_int_equal(tm_url_parse(&ctx, rows[i].base, &url), TM_OK);
    assert_int_equal(tm_url_join(&ctx, &url, rows[i].name, rows[i].query, &url), TM_OK);
    assert_string_equal(url.target, rows[i].target);
    assert_int_equal(tm_url_join(&ctx, &url, "a b", NULL, &url), TM_E_ARG);
    assert_string_equal(url.target, rows[i].target);
    tm_ctx_fini(&ctx);
  }
}

// The rows with /b/c/d;p?q are those of RFC 3986 §5.4 that concern http.
static void resolves_like_the_rfc(void **state) {
  static const struct {
    const char *base, *location, *whole;
  } rows[] = {
      {"http://a/b/c/d;p?q", "g", "http://a:80/b/c/g"},
      {"http://a/b/c/d;p?q", "./g", "http://a:80/b/c/g"},
      {"http://a/b/c/d;p?q", "g/", "http://a:80/b/c/g/"},
      {"http://a/b/c/d;p?q", "/g", "http://a:80/g"},
      {"http://a/b/c/d;p?q", "//g", "http://g:80/"},
      {"http://a/b/c/d;p?q", "?y", "http://a:80/b/c/d;p?y"},
      {"http://a/b/c/d;p?q", "g?y", "http://a:80/b/c/g?y"},
      {"http://a/b/c/d;p?q", ".", "http://a:80/b/c/"},
      {"http://a/b/c/d;p?q", "..", "http://a:80/b/"},
      {"http://a/b/c/d;p?q", "../g", "http://a:80/b/g"},
      {"http://a/b/c/d;p?q", "../..", "http://a:80/"},
      {"http://a/b/c/d;p?q", "../../g", "http://a:80/g"},
      {"http://a/b/c/d;p?q", "../../../g", "http://a:80/g"},
      {"http://a/b/c/d;p?q", "/./g", "http://a:80/g"},
      {"http://a/b/c/d;p?q", "/../g", "http://a:80/g"},
      {"http://a/b/c/d;p?q", "g.", "http://a:80/b/c/g."},
      {"http://a/b/c/d;p?q", "..g", "http://a:80/b/c/..g"},
      {"http://a/b/c/d;p?q", "./g/.", "http://a:80/b/c/g/"},
      {"http://a/b/c/d;p?q", "g/../h", "http://a:80/b/c/h"},
      {"http://a/b/c/d;p?q", "g?y/../x", "http://a:80/b/c/g?y/../x"},
      {"http://a/b/c/d;p?q", "", "http://a:80/b/c/d;p?q"},
      {"http://a/b/c/d;p?q", "#s", "http://a:80/b/c/d;p?q"},
      {"https://a/x", "//b:1/y", "https://b:1/y"},
      {"http://a/x", "https://b/y", "https://b:443/y"},
      {"unix:/s:/x", "/y", "unix:/s:/y"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    tm_ctx ctx;
    tm_url url;
    char text[TM_URL_FORMAT_MAX];
    tm_ctx_init(&ctx, NULL);
    assert_int_equal(tm_url_parse(&ctx, rows[i].base, &url), TM_OK);
    assert_int_equal(tm_url_resolve(&ctx, &url, rows[i].location, &url), TM_OK);
    assert_string_equal(tm_url_format(&url, text), rows[i].whole);
    tm_ctx_fini(&ctx);
  }
}

static void compares_origins(void **state) {
  static const struct {
    const char *a, *b;
    bool same;
  } rows[] = {
      {"http://h/x", "http://H:80/y", true},       {"http://h/x", "https://h/x", false},
      {"http://h:1", "http://h:2", false},         {"http://h", "http://i", false},
      {"unix:/a:/x", "unix:/a:/y", true},          {"unix:/a", "unix:/A", false},
      {"http://[::1]:1/", "http://[::1]:1", true},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    tm_ctx ctx;
    tm_url a, b;
    tm_ctx_init(&ctx, NULL);
    assert_int_equal(tm_url_parse(&ctx, rows[i].a, &a), TM_OK);
    assert_int_equal(tm_url_parse(&ctx, rows[i].b, &b), TM_OK);
    assert_int_equal(tm_url_same_origin(&a, &b), rows[i].same);
    tm_ctx_fini(&ctx);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_every_form),         cmocka_unit_test(refuses_with_the_byte),
      cmocka_unit_test(never_repeats_a_password), cmocka_unit_test(keeps_its_bounds),
      cmocka_unit_test(joins_names_and_queries),  cmocka_unit_test(resolves_like_the_rfc),
      cmocka_unit_test(compares_origins),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
