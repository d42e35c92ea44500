// floors: read
// expvar and OpenMetrics as streams of numbers: names, units, values, and what is refused.
#include "base/bytes.h"
#include "read/counters.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef tm_status (*read_fn)(tm_ctx *ctx, const void *data, size_t size, tm_counter_fn fn,
                             void *ud);

// Everything told, as lines "name{labels} value unit".
static void note(void *ud, const tm_counter *c) {
  tm_bytes *out = ud;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  const char *unit = tm_unit_name(c->unit);
  assert_int_equal(tm_bytes_printf(&ctx, out, "%.*s{%.*s} %.17g%s%s\n", (int)c->name_size, c->name,
                                   (int)c->labels_size, c->labels, c->value, *unit ? " " : "",
                                   unit),
                   TM_OK);
  tm_ctx_fini(&ctx);
}

// Reads from a copy that ends where the text ends, so that ASan sees a read behind it.
static tm_status told(read_fn read, const char *text, const char *want) {
  tm_ctx ctx;
  tm_bytes out = {0};
  size_t size = strlen(text);
  char *copy = malloc(size ? size : 1);
  assert_non_null(copy);
  memcpy(copy, text, size);
  tm_ctx_init(&ctx, NULL);
  tm_status status = read(&ctx, copy, size, note, &out);
  free(copy);
  assert_int_equal(tm_bytes_append(&ctx, &out, "", 1), TM_OK);
  if (want) assert_string_equal((const char *)out.data, want);
  assert_int_equal(ctx.error.status, status);
  tm_bytes_free(&ctx, &out);
  tm_ctx_fini(&ctx);
  return status;
}

static void flattens_expvar_by_dots(void **state) {
  (void)state;
  assert_int_equal(
      told(tm_read_expvar,
           "{\"cmdline\":[\"./app\",\"-x\"],\"n\":7,\"q\":{\"waiting\":3,\"on\":true},"
           "\"mixed\":[1,\"a\",null,{\"x\":2},[5]],\"s\":\"text\",\"z\":null,"
           "\"deep\":{\"a\":{\"b\":{}},\"c\":-1.5e3}}",
           "n{} 7\nq.waiting{} 3\nq.on{} 1\nmixed.0{} 1\nmixed.3.x{} 2\nmixed.4.0{} 5\n"
           "deep.c{} -1500\n"),
      TM_OK);
}

static void knows_the_units_of_memstats(void **state) {
  (void)state;
  assert_int_equal(told(tm_read_expvar,
                        "{\"memstats\":{\"HeapInuse\":4096,\"Mallocs\":5,\"PauseNs\":[9],"
                        "\"LastGC\":1,\"GCCPUFraction\":0.5,\"EnableGC\":true,"
                        "\"BySize\":[{\"Size\":16,\"Frees\":2}]},"
                        "\"cache_bytes\":1,\"cacheBytes\":1,\"load_ratio\":1,\"wait_ns\":1,"
                        "\"HeapInuse\":1}",
                        "memstats.HeapInuse{} 4096 bytes\nmemstats.Mallocs{} 5 count\n"
                        "memstats.PauseNs.0{} 9 ns\nmemstats.LastGC{} 1 time\n"
                        "memstats.GCCPUFraction{} 0.5 ratio\nmemstats.EnableGC{} 1\n"
                        "memstats.BySize.0.Size{} 16 bytes\nmemstats.BySize.0.Frees{} 2 count\n"
                        "cache_bytes{} 1 bytes\ncacheBytes{} 1 bytes\nload_ratio{} 1 ratio\n"
                        "wait_ns{} 1 ns\nHeapInuse{} 1\n"),
                   TM_OK);
}

static void passes_over_what_is_too_deep_or_too_long(void **state) {
  (void)state;
  char text[2000] = "{\"a\":1,\"long";
  for (int i = 0; i < 255; i++) strcat(text, "x");
  strcat(text, "\":{\"y\":2,\"z\":[3]},\"deep\":");
  for (int i = 0; i < 40; i++) strcat(text, "{\"k\":");
  strcat(text, "4");
  for (int i = 0; i < 40; i++) strcat(text, "}");
  strcat(text, ",\"b\":5}");
  assert_int_equal(told(tm_read_expvar, text, "a{} 1\nb{} 5\n"), TM_OK);
}

static void refuses_what_is_no_expvar(void **state) {
  (void)state;
  assert_int_equal(told(tm_read_expvar, "", ""), TM_E_FORMAT);
  assert_int_equal(told(tm_read_expvar, "[1]", ""), TM_E_FORMAT);
  assert_int_equal(told(tm_read_expvar, "{\"a\":1,", "a{} 1\n"), TM_E_FORMAT);
  assert_int_equal(told(tm_read_expvar, "<html>", ""), TM_E_FORMAT);
}

static void reads_lines_of_both_formats(void **state) {
  (void)state;
  assert_int_equal(
      told(tm_read_metrics,
           "# HELP go_goroutines Number of goroutines.\n# TYPE go_goroutines gauge\n"
           "go_goroutines 11\n"
           "go_memstats_alloc_bytes 1.5e+06 1700000000000\r\n"
           "x_total{a=\"}\\\"\",b=\"2\",} 3 # {trace=\"y\"} 0.5\n"
           "\n  spaced { } 4\n"
           "h_bucket{le=\"+Inf\"} 9\nnan NaN\nup +Inf\ndown -Inf\n"
           "{\"my.name\",k=\"v\"} 6\n{\"alone\"} 7\n"
           "last_ratio -0.25\n# EOF",
           "go_goroutines{} 11\ngo_memstats_alloc_bytes{} 1500000 bytes\n"
           "x_total{a=\"}\\\"\",b=\"2\"} 3 count\nspaced{ } 4\nh_bucket{le=\"+Inf\"} 9\n"
           "my.name{k=\"v\"} 6\nalone{} 7\nlast_ratio{} -0.25 ratio\n"),
      TM_OK);
  assert_int_equal(told(tm_read_metrics, "", ""), TM_OK);
}

static void names_the_line_that_is_none(void **state) {
  static const char *const bad[] = {"a",       "a b",      "a{x=\"1\" 2", "1a 2",   "a 0x10",
                                    "a {",     "{} 1",     "{\"x} 1",     "a 1e",   "a nan(1)",
                                    "a{\"} 1", "{\"\"} 1", "a 12ab",      "<html>", "a infinity"};
  (void)state;
  for (size_t i = 0; i < TM_COUNT(bad); i++) {
    char text[100];
    tm_ctx ctx;
    tm_bytes out = {0};
    tm_ctx_init(&ctx, NULL);
    snprintf(text, sizeof text, "good 1\n%s\nnever 2\n", bad[i]);
    assert_int_equal(tm_read_metrics(&ctx, text, strlen(text), note, &out), TM_E_FORMAT);
    assert_int_equal(ctx.error.offset_bytes, 7);
    assert_int_equal(out.size, strlen("good{} 1\n"));
    tm_bytes_free(&ctx, &out);
    tm_ctx_fini(&ctx);
  }
}

static void counts_what_the_index_of_pprof_lists(void **state) {
  (void)state;
  assert_int_equal(
      told(tm_read_pprof_index,
           "<html><body>/debug/pprof/<br><table>\n<thead><td>Count</td><td>Profile</td></thead>\n"
           "<tr><td>4</td><td><a href='allocs?debug=1'>allocs</a></td></tr>\n"
           "<tr>\n<td>105</td><td><a href='goroutine?debug=1'>goroutine</a></td>\n</tr>\n"
           "<tr><td>7</td><td>no link</td></tr>"
           "<tr><td>9</td><td><a href=\"x?debug=1\">example.com/own</a></td></tr>"
           "<tr><td>1</td><td><a href='cut",
           "allocs{} 4 count\ngoroutine{} 105 count\nexample.com/own{} 9 count\n"),
      TM_OK);
  assert_int_equal(told(tm_read_pprof_index, "<html>404</html>", ""), TM_E_FORMAT);
  assert_int_equal(told(tm_read_pprof_index, "", ""), TM_E_FORMAT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(flattens_expvar_by_dots),
      cmocka_unit_test(counts_what_the_index_of_pprof_lists),
      cmocka_unit_test(knows_the_units_of_memstats),
      cmocka_unit_test(passes_over_what_is_too_deep_or_too_long),
      cmocka_unit_test(refuses_what_is_no_expvar),
      cmocka_unit_test(reads_lines_of_both_formats),
      cmocka_unit_test(names_the_line_that_is_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
