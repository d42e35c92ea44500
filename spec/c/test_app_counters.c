// floors: live
// expvar and metrics as samples, against a scripted server: what is asked when, what is told, and
// what happens when the app fails, lies, or the watch ends within a callback.
#include "base/bytes.h"
#include "base/clock.h"
#include "http_server.h"
#include "live/app_counters.h"
#include "unit.h"

#include <uv.h>

#define OK(body_size) "HTTP/1.1 200 OK\r\nContent-Length: " #body_size "\r\n\r\n"
#define EXPVAR                                                                                     \
  "{\"n\":7,\"memstats\":{\"HeapInuse\":4096,\"HeapIdle\":1},\"queue\":{\"a\":1,\"b\":2}}"

typedef struct rig {
  server server;
  tm_ctx ctx;
  uv_loop_t loop;
  tm_app_counters *counters;
  tm_bytes told; // "metric{key} value unit" lines; "." after a page
  tm_log log;
  char logged[2000];
  uint32_t reads, stop_after_samples, samples;
} rig;

static void on_sample(void *ud, const tm_sample *s) {
  rig *r = ud;
  assert_int_equal(s->time_ns, 42);
  assert_int_equal(tm_bytes_printf(&r->ctx, &r->told, "%s{%s} %g %s\n", s->metric, s->key, s->value,
                                   tm_unit_name(s->unit)),
                   TM_OK);
  if (++r->samples != r->stop_after_samples) return;
  tm_app_counters_free(r->counters);
  r->counters = NULL;
}

static void on_read(void *ud) {
  rig *r = ud;
  r->reads++;
  assert_non_null(r->counters);
}

static int64_t now_ns(void *ud) {
  (void)ud;
  return 42;
}

static void on_log(void *ud, int level, const char *area, const char *text) {
  rig *r = ud;
  (void)level, (void)area;
  snprintf(r->logged + strlen(r->logged), sizeof r->logged - strlen(r->logged), "%s\n", text);
}

static rig *begin(const char *answer) {
  rig *r = calloc(1, sizeof *r);
  assert_non_null(r);
  r->server.scripts[0][0] = *answer ? (step){STEP_SEND, answer, 1} : (step){STEP_HANG, NULL, 0};
  assert_true(server_start(&r->server, AF_INET));
  r->server.url[strlen(r->server.url) - 2] = '\0'; // without /x
  tm_ctx_init(&r->ctx, NULL);
  assert_int_equal(uv_loop_init(&r->loop), 0);
  r->log = (tm_log){on_log, r};
  const tm_app_counters_options options = {&r->loop, &r->log, on_sample, on_read, now_ns, r};
  assert_int_equal(tm_app_counters_new(&r->ctx, &options, &r->counters), TM_OK);
  return r;
}

static void plan(rig *r, const tm_app_want *wants, size_t count) {
  const tm_endpoint endpoint = {.address = r->server.url};
  assert_int_equal(tm_app_counters_plan(r->counters, &endpoint, wants, count), TM_OK);
}

// Runs until the server was asked n times and the answers are in, for at most 10 s.
static void run(rig *r, uint32_t n) {
  uint64_t until_ns = tm_clock_mono_ns() + 10000000000ull;
  while (r->counters && tm_clock_mono_ns() < until_ns) {
    const tm_app_counters_stats *stats = tm_app_counters_get_stats(r->counters);
    if (r->reads + stats->failures >= n) return;
    uv_run(&r->loop, UV_RUN_ONCE);
  }
}

static void end(rig *r) {
  tm_app_counters_free(r->counters);
  uv_run(&r->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&r->loop), 0);
  server_stop(&r->server);
  tm_bytes_free(&r->ctx, &r->told);
  tm_ctx_fini(&r->ctx);
  free(r);
}

static void assert_told(rig *r, const char *want) {
  assert_int_equal(tm_bytes_append(&r->ctx, &r->told, "", 1), TM_OK);
  assert_string_equal((const char *)r->told.data, want);
}

static void tells_what_is_wanted_of_expvar(void **state) {
  (void)state;
  static const tm_app_want wants[] = {{"expvar.memstats.HeapInuse", 5000000000ull},
                                      {"expvar.queue", 60000000000ull},
                                      {"expvar.memstats.HeapInuse", 9000000000ull},
                                      {"expvar.que", 5000000000ull},
                                      {"proc.rss", 1}};
  rig *r = begin("HTTP/1.1 200 OK\r\n\r\n" EXPVAR);
  plan(r, wants, TM_COUNT(wants));
  run(r, 1);
  assert_told(r,
              "expvar.memstats.HeapInuse{} 4096 bytes\nexpvar.queue{a} 1 \nexpvar.queue{b} 2 \n");
  assert_non_null(strstr(r->server.request, "GET /debug/vars HTTP/1.1"));
  assert_int_equal(server_connections(&r->server), 1);
  end(r);
}

static void tells_label_sets_of_metrics(void **state) {
  (void)state;
  static const tm_app_want wants[] = {{"metrics.x_bytes", 1000000000ull}};
  rig *r = begin(OK(60) "# TYPE x_bytes gauge\nx_bytes{k=\"a\"} 1\nx_bytes{k=\"b\"} 2\ny 3\n\n\n");
  plan(r, wants, TM_COUNT(wants));
  run(r, 1);
  assert_told(r, "metrics.x_bytes{k=\"a\"} 1 bytes\nmetrics.x_bytes{k=\"b\"} 2 bytes\n");
  assert_non_null(strstr(r->server.request, "GET /metrics HTTP/1.1"));
  end(r);
}

static void asks_nothing_that_nobody_wants(void **state) {
  (void)state;
  static const tm_app_want other[] = {{"proc.rss", 1}}, want[] = {{"expvar.n", 1}};
  rig *r = begin("HTTP/1.1 200 OK\r\n\r\n" EXPVAR);
  plan(r, other, 1);
  uv_run(&r->loop, UV_RUN_NOWAIT);
  plan(r, want, 1);
  plan(r, NULL, 0); // withdrawn before it was asked
  uv_run(&r->loop, UV_RUN_DEFAULT);
  assert_int_equal(tm_app_counters_get_stats(r->counters)->requests, 0);
  assert_int_equal(server_connections(&r->server), 0);
  end(r);
}

static void asks_again_after_the_period_but_not_more_often_than_each_second(void **state) {
  (void)state;
  static const tm_app_want wants[] = {{"expvar.n", 1}};
  rig *r = begin("HTTP/1.1 200 OK\r\n\r\n" EXPVAR);
  uint64_t start_ns = tm_clock_mono_ns();
  plan(r, wants, 1);
  run(r, 1);
  plan(r, wants, 1); // a new plan does not ask sooner
  run(r, 2);
  assert_true(tm_clock_mono_ns() - start_ns >= 1000000000ull);
  assert_told(r, "expvar.n{} 7 \nexpvar.n{} 7 \n");
  end(r);
}

static void says_once_that_an_app_fails_and_asks_more_rarely(void **state) {
  static const char *const answers[] = {"HTTP/1.1 404 No\r\n\r\n", OK(2) "[]", "noise\r\n\r\n"};
  static const char *const words[] = {"HTTP 404", "not expvar", "garbage instead of HTTP"};
  static const tm_app_want wants[] = {{"expvar.n", 1}};
  (void)state;
  for (size_t i = 0; i < TM_COUNT(answers); i++) {
    rig *r = begin(answers[i]);
    uint64_t start_ns = tm_clock_mono_ns();
    plan(r, wants, 1);
    run(r, 1);
    assert_non_null(strstr(r->logged, "no expvar.* series from /debug/vars: "));
    assert_non_null(strstr(r->logged, words[i]));
    *r->logged = '\0';
    if (i == 0) {
      run(r, 3); // a second after the first, then two: it may just be starting
      assert_true(tm_clock_mono_ns() - start_ns >= 3000000000ull);
      assert_string_equal(r->logged, "");
    }
    end(r);
  }
}

static void comes_back_when_the_app_does(void **state) {
  (void)state;
  static const tm_app_want wants[] = {{"expvar.n", 1}};
  rig *r = begin("HTTP/1.1 503 No\r\n\r\n");
  plan(r, wants, 1);
  run(r, 1);
  r->server.scripts[0][0].text = "HTTP/1.1 200 OK\r\n\r\n" EXPVAR;
  run(r, 2);
  assert_non_null(strstr(r->logged, "expvar.* series are back"));
  end(r);
}

static void ends_within_a_sample_or_a_request(void **state) {
  (void)state;
  static const tm_app_want wants[] = {{"expvar.memstats", 1}, {"expvar.n", 1}};
  rig *r = begin("HTTP/1.1 200 OK\r\n\r\n" EXPVAR);
  r->stop_after_samples = 2;
  plan(r, wants, 2);
  run(r, 1);
  assert_null(r->counters);
  assert_told(r, "expvar.n{} 7 \nexpvar.memstats{HeapInuse} 4096 bytes\n");
  end(r);
  r = begin(""); // hangs
  plan(r, wants, 2);
  for (int i = 0; i < 20; i++) uv_run(&r->loop, UV_RUN_NOWAIT);
  assert_int_equal(tm_app_counters_get_stats(r->counters)->requests, 1);
  end(r);
}

static void cuts_families_that_are_too_large(void **state) {
  (void)state;
  static const tm_app_want wants[] = {{"expvar.many", 1}};
  static char answer[20000];
  strcpy(answer, "HTTP/1.1 200 OK\r\n\r\n{\"many\":[");
  for (int i = 0; i < 300; i++) strcat(answer, "1,");
  strcat(answer, "1]}");
  rig *r = begin(answer);
  plan(r, wants, 1);
  run(r, 1);
  assert_int_equal(r->samples, 256);
  assert_non_null(strstr(r->logged, "expvar.many has 301 members; the first 256 are kept"));
  end(r);
}

static void refuses_a_bad_endpoint(void **state) {
  (void)state;
  static const tm_app_want wants[] = {{"expvar.n", 1}};
  rig *r = begin("x");
  const tm_endpoint endpoint = {.address = "gopher://x"};
  assert_int_equal(tm_app_counters_plan(r->counters, &endpoint, wants, 1), TM_E_ARG);
  uv_run(&r->loop, UV_RUN_DEFAULT);
  end(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tells_what_is_wanted_of_expvar),
      cmocka_unit_test(tells_label_sets_of_metrics),
      cmocka_unit_test(asks_nothing_that_nobody_wants),
      cmocka_unit_test(asks_again_after_the_period_but_not_more_often_than_each_second),
      cmocka_unit_test(says_once_that_an_app_fails_and_asks_more_rarely),
      cmocka_unit_test(comes_back_when_the_app_does),
      cmocka_unit_test(ends_within_a_sample_or_a_request),
      cmocka_unit_test(cuts_families_that_are_too_large),
      cmocka_unit_test(refuses_a_bad_endpoint),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
