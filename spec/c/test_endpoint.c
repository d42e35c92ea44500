// floors: net
// Where profiles, counters and metrics stand, for every way to write an endpoint.
#include "net/endpoint.h"
#include "unit.h"

#include <string.h>

static void finds_every_place(void **state) {
  static const struct {
    const char *endpoint, *profile, *vars, *metrics;
  } rows[] = {
      {"localhost:6060", "http://localhost:6060/debug/pprof/heap?gc=1",
       "http://localhost:6060/debug/vars", "http://localhost:6060/metrics"},
      {"http://h:1/debug/pprof/", "http://h:1/debug/pprof/heap?gc=1", "http://h:1/debug/vars",
       "http://h:1/metrics"},
      {"http://h:1/app/debug/pprof?token=x", "http://h:1/app/debug/pprof/heap?token=x&gc=1",
       "http://h:1/app/debug/vars?token=x", "http://h:1/app/metrics?token=x"},
      {"http://h:1/app//", "http://h:1/app/debug/pprof/heap?gc=1", "http://h:1/app/debug/vars",
       "http://h:1/app/metrics"},
      {"http://h:1/pprof", "http://h:1/pprof/heap?gc=1", "http://h:1/vars", "http://h:1/metrics"},
      {"unix:/run/x.sock", "unix:/run/x.sock:/debug/pprof/heap?gc=1",
       "unix:/run/x.sock:/debug/vars", "unix:/run/x.sock:/metrics"},
  };
  (void)state;
  tm_ctx ctx;
  char out[TM_URL_FORMAT_MAX];
  tm_ctx_init(&ctx, NULL);
  for (size_t i = 0; i < TM_COUNT(rows); i++) {
    const char *endpoint = rows[i].endpoint;
    assert_int_equal(tm_endpoint_address(&ctx, endpoint, TM_ENDPOINT_PROFILES, "heap", "gc=1", out),
                     TM_OK);
    assert_string_equal(out, rows[i].profile);
    assert_int_equal(tm_endpoint_address(&ctx, endpoint, TM_ENDPOINT_VARS, NULL, NULL, out), TM_OK);
    assert_string_equal(out, rows[i].vars);
    assert_int_equal(tm_endpoint_address(&ctx, endpoint, TM_ENDPOINT_METRICS, NULL, NULL, out),
                     TM_OK);
    assert_string_equal(out, rows[i].metrics);
  }
  tm_ctx_fini(&ctx);
}

static void refuses_what_is_no_address_or_too_long(void **state) {
  (void)state;
  tm_ctx ctx;
  char out[TM_URL_FORMAT_MAX], long_one[TM_URL_PATH_MAX + 20];
  tm_ctx_init(&ctx, NULL);
  assert_int_equal(tm_endpoint_address(&ctx, "gopher://x", TM_ENDPOINT_VARS, NULL, NULL, out),
                   TM_E_ARG);
  memset(long_one, 'x', sizeof long_one);
  memcpy(long_one, "http://h/", 9);
  long_one[9 + TM_URL_PATH_MAX - 8] = '\0';
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_endpoint_address(&ctx, long_one, TM_ENDPOINT_VARS, NULL, NULL, out),
                   TM_E_ARG);
  tm_ctx_fini(&ctx);
}

static void finds_pages_that_stand_elsewhere(void **state) {
  (void)state;
  tm_ctx ctx;
  char out[TM_URL_FORMAT_MAX];
  tm_ctx_init(&ctx, NULL);
  const tm_endpoint both = {.address = "h:1", .metrics = "unix:/run/m.sock:/own/m", .vars = ""};
  assert_int_equal(tm_endpoint_page(&ctx, &both, TM_ENDPOINT_METRICS, out), TM_OK);
  assert_string_equal(out, "unix:/run/m.sock:/own/m");
  assert_int_equal(tm_endpoint_page(&ctx, &both, TM_ENDPOINT_VARS, out), TM_OK);
  assert_string_equal(out, "http://h:1/debug/vars");
  const tm_endpoint vars = {.vars = "http://h:2/v?token=x"};
  assert_int_equal(tm_endpoint_page(&ctx, &vars, TM_ENDPOINT_VARS, out), TM_OK);
  assert_string_equal(out, "http://h:2/v?token=x");
  assert_true(tm_endpoint_has(&vars, TM_ENDPOINT_VARS));
  assert_false(tm_endpoint_has(&vars, TM_ENDPOINT_METRICS));
  assert_false(tm_endpoint_has(&vars, TM_ENDPOINT_PROFILES));
  assert_int_equal(tm_endpoint_page(&ctx, &vars, TM_ENDPOINT_METRICS, out), TM_E_ARG);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_every_place),
      cmocka_unit_test(finds_pages_that_stand_elsewhere),
      cmocka_unit_test(refuses_what_is_no_address_or_too_long),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
