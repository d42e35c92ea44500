// floors: net
// Webhooks: delivery, retries, refusals, a bounded queue, hanging receivers, Retry-After, closing.
#include "failing_alloc.h"
#include "http_server.h"
#include "net/webhook.h"
#include "unit.h"

#define MS     1000000ull
#define SECOND 1000000000ull

static const step taken[] = {{STEP_SEND, "HTTP/1.1 204 No Content\r\n\r\n", 1}, {0}};

typedef struct fixture {
  failing_alloc memory;
  tm_allocator allocator;
  tm_ctx ctx;
  uv_loop_t loop;
  server server;
  tm_webhook *hook;
  uint64_t left_count;
  tm_webhook_stats stats; // at the end
} fixture;

// A receiver that plays first to the first connection and takes everything after it.
static fixture *begin(const step *first, const tm_webhook_options *options) {
  fixture *f = calloc(1, sizeof *f);
  tm_webhook_options o = options ? *options : (tm_webhook_options){0};
  assert_non_null(f);
  f->allocator = failing_allocator(&f->memory);
  tm_ctx_init(&f->ctx, &f->allocator);
  uv_loop_init(&f->loop);
  for (size_t i = 0; i < SCRIPT_STEPS; i++) {
    f->server.scripts[0][i] = first[i];
    if (first[i].kind == STEP_END) break;
  }
  f->server.scripts[1][0] = taken[0];
  assert_true(server_start(&f->server, AF_INET));
  if (!o.backoff_base_ns) o.backoff_base_ns = 2 * MS;
  o.seed = 1;
  assert_int_equal(tm_webhook_new(&f->ctx, &f->loop, f->server.url, &o, &f->hook), TM_OK);
  return f;
}

static void on_closed(void *ud, uint64_t left_count) {
  fixture *f = ud;
  f->left_count = left_count;
  f->stats = *tm_webhook_stats_of(f->hook);
}

static void post(fixture *f, const char *json) {
  assert_int_equal(tm_webhook_post(&f->ctx, f->hook, json, strlen(json)), TM_OK);
}

// Closes with that grace time, and checks that nothing is left behind.
static void close_and_check(fixture *f, uint64_t grace_ns) {
  tm_webhook_close(f->hook, grace_ns, on_closed, f);
  uv_run(&f->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&f->loop), 0);
  tm_ctx_fini(&f->ctx);
  assert_int_equal(f->memory.held_bytes, 0);
  server_stop(&f->server);
}

static void delivers_in_order(void **state) {
  const tm_http_header secret = {"Authorization", "Bearer s"};
  const tm_webhook_options options = {.headers = &secret, .header_count = 1};
  fixture *f = begin(taken, &options);
  (void)state;
  post(f, "{\"n\":1}");
  post(f, "{\"n\":2}");
  close_and_check(f, 10 * SECOND);
  assert_int_equal(f->stats.sent_count, 2);
  assert_int_equal(f->stats.retried_count, 0);
  assert_int_equal(f->left_count, 0);
  assert_string_equal(f->stats.last_error, "");
  assert_int_equal(f->stats.last_http_status, 204);
  assert_non_null(strstr(f->server.request, "POST /x HTTP/1.1\r\n"));
  assert_non_null(strstr(f->server.request, "Content-Type: application/json\r\n"));
  assert_non_null(strstr(f->server.request, "Authorization: Bearer s\r\n"));
  assert_non_null(strstr(f->server.request, "\r\n\r\n{\"n\":2}"));
  free(f);
}

// What the first try meets, and whether there is a second one.
static void tries_again_when_it_helps(void **state) {
  static const struct {
    step steps[SCRIPT_STEPS];
    uint64_t sent_count, retried_count, refused_count;
  } rows[] = {
      {{{STEP_SEND, "HTTP/1.1 500 E\r\nContent-Length: 0\r\n\r\n", 1}}, 1, 1, 0},
      {{{STEP_SEND, "HTTP/1.1 503 E\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", 1}}, 1, 1, 0},
      {{{STEP_SEND, "HTTP/1.1 408 E\r\nContent-Length: 0\r\n\r\n", 1}}, 1, 1, 0},
      {{{STEP_SEND, "HTTP/1.1 429 E\r\nContent-Length: 0\r\n\r\n", 1}}, 1, 1, 0},
      {{{STEP_SEND, "garbage", 1}}, 1, 1, 0},
      {{{STEP_WAIT, NULL, 1}}, 1, 1, 0},
      {{{STEP_HANG, NULL, 0}}, 1, 1, 0}, // by the timeout
      {{{STEP_SEND, "HTTP/1.1 400 E\r\nContent-Length: 0\r\n\r\n", 1}}, 0, 0, 1},
      {{{STEP_SEND, "HTTP/1.1 404 E\r\nContent-Length: 0\r\n\r\n", 1}}, 0, 0, 1},
      {{{STEP_SEND, "HTTP/1.1 302 F\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n", 1}}, 0, 0, 1},
      // A taken event is not sent twice, however its answer ends.
      {{{STEP_SEND, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", 1}}, 1, 0, 0},
      {{{STEP_SEND, "HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n", 1}}, 1, 0, 0},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const tm_webhook_options options = {.timeout_ns = 60 * MS};
    fixture *f = begin(rows[i].steps, &options);
    post(f, "{}");
    close_and_check(f, 10 * SECOND);
    if (f->stats.sent_count != rows[i].sent_count) fail_msg("row %zu", i);
    assert_int_equal(f->stats.retried_count, rows[i].retried_count);
    assert_int_equal(f->stats.refused_count, rows[i].refused_count);
    assert_int_equal(f->stats.dropped_count, 0);
    assert_int_equal(server_connections(&f->server), 1 + rows[i].retried_count);
    free(f);
  }
}

static void gives_up_after_max_tries(void **state) {
  const tm_webhook_options options = {.max_tries = 3};
  fixture *f = begin((const step[]){{STEP_SEND, "HTTP/1.1 500 E\r\n\r\n", 1}, {0}}, &options);
  (void)state;
  f->server.script_count = 1; // every connection
  post(f, "{}");
  close_and_check(f, 10 * SECOND);
  assert_int_equal(f->stats.sent_count, 0);
  assert_int_equal(f->stats.retried_count, 2);
  assert_int_equal(f->stats.dropped_count, 1);
  assert_string_equal(f->stats.last_error, "the receiver answered HTTP 500");
  free(f);
}

// While the receiver hangs, posting stays instant; the oldest that is not under way is dropped.
static void drops_the_oldest(void **state) {
  const tm_webhook_options options = {.max_queue_count = 3};
  fixture *f = begin((const step[]){{STEP_WAIT, NULL, 50}, taken[0], {0}}, &options);
  (void)state;
  post(f, "{\"n\":1}");
  while (server_connections(&f->server) == 0) uv_run(&f->loop, UV_RUN_NOWAIT);
  for (int n = 2; n < 10; n++) {
    char json[16];
    snprintf(json, sizeof json, "{\"n\":%d}", n);
    post(f, json);
    uv_run(&f->loop, UV_RUN_NOWAIT);
  }
  assert_int_equal(tm_webhook_stats_of(f->hook)->queued_count, 3);
  assert_int_equal(tm_webhook_stats_of(f->hook)->dropped_count, 6);
  close_and_check(f, 10 * SECOND);
  assert_int_equal(f->stats.posted_count, 9);
  assert_int_equal(f->stats.sent_count, 3);            // 1 (under way), 8 and 9
  assert_int_equal(server_connections(&f->server), 3); // nothing was broken off
  assert_non_null(strstr(f->server.request, "{\"n\":9}"));
  free(f);
}

static void the_grace_time_ends_a_hanging_receiver(void **state) {
  fixture *f = begin((const step[]){{STEP_HANG, NULL, 0}, {0}}, NULL);
  (void)state;
  post(f, "{\"n\":1}");
  post(f, "{\"n\":2}");
  close_and_check(f, 30 * MS);
  assert_int_equal(f->left_count, 2);
  assert_int_equal(f->stats.dropped_count, 2);
  assert_int_equal(f->stats.sent_count, 0);
  free(f);
}

static void respects_retry_after_while_closing(void **state) {
  fixture *f =
      begin((const step[]){{STEP_SEND, "HTTP/1.1 429 E\r\nRetry-After: 30\r\n\r\n", 1}, {0}}, NULL);
  (void)state;
  post(f, "{}");
  while (!tm_webhook_stats_of(f->hook)->last_http_status) uv_run(&f->loop, UV_RUN_ONCE);
  close_and_check(f, 20 * MS);
  assert_int_equal(f->left_count, 1);
  assert_int_equal(server_connections(&f->server), 1); // it was not asked again
  free(f);
}

static void closing_does_not_wait_for_a_backoff(void **state) {
  const tm_webhook_options options = {.backoff_base_ns = 300 * SECOND};
  fixture *f = begin((const step[]){{STEP_SEND, "HTTP/1.1 500 E\r\n\r\n", 1}, {0}}, &options);
  (void)state;
  post(f, "{}");
  while (!tm_webhook_stats_of(f->hook)->last_http_status) uv_run(&f->loop, UV_RUN_ONCE);
  close_and_check(f, 200 * SECOND);
  assert_int_equal(f->stats.sent_count, 1);
  free(f);
}

static void on_flushed(void *ud, uint64_t left_count) {
  fixture *f = ud;
  f->left_count += 100 + left_count;
}

static void flushes_and_lives_on(void **state) {
  fixture *f = begin(taken, NULL);
  (void)state;
  assert_int_equal(tm_webhook_flush(&f->ctx, f->hook, SECOND, on_flushed, f), TM_OK);
  assert_int_equal(f->left_count, 0); // answered from the loop, not from the call
  assert_int_equal(tm_webhook_flush(&f->ctx, f->hook, SECOND, on_flushed, f), TM_E_BUSY);
  uv_run(&f->loop, UV_RUN_DEFAULT);
  assert_int_equal(f->left_count, 100);
  post(f, "{}");
  tm_ctx_clear(&f->ctx);
  assert_int_equal(tm_webhook_flush(&f->ctx, f->hook, 10 * SECOND, on_flushed, f), TM_OK);
  uv_run(&f->loop, UV_RUN_DEFAULT);
  assert_int_equal(f->left_count, 200);
  assert_int_equal(tm_webhook_stats_of(f->hook)->sent_count, 1);
  close_and_check(f, 0);
  free(f);
}

static void close_on_flushed(void *ud, uint64_t left_count) {
  fixture *f = ud;
  (void)left_count;
  tm_webhook_close(f->hook, SECOND, on_closed, f);
}

static void may_be_closed_from_its_callback(void **state) {
  fixture *f = begin(taken, NULL);
  (void)state;
  post(f, "{}");
  assert_int_equal(tm_webhook_flush(&f->ctx, f->hook, 10 * SECOND, close_on_flushed, f), TM_OK);
  close_and_check(f, 10 * SECOND); // answers the flush, whose callback closes first
  assert_int_equal(f->stats.posted_count, 1);
  free(f);
}

static void refuses_what_cannot_be_sent(void **state) {
  fixture *f = begin(taken, NULL);
  tm_webhook *none = NULL;
  const tm_http_header bad = {"Host", "x"};
  const tm_webhook_options options = {.headers = &bad, .header_count = 1};
  (void)state;
  assert_int_equal(tm_webhook_new(&f->ctx, &f->loop, "nonsense", NULL, &none), TM_E_ARG);
  tm_ctx_clear(&f->ctx);
  assert_int_equal(tm_webhook_new(&f->ctx, &f->loop, "http://h/", &options, &none), TM_E_ARG);
  tm_ctx_clear(&f->ctx);
  assert_int_equal(tm_webhook_post(&f->ctx, f->hook, "", 0), TM_E_ARG);
  tm_ctx_clear(&f->ctx);
  assert_int_equal(tm_webhook_post(&f->ctx, f->hook, "x", (1u << 20) + 1), TM_E_LIMIT);
  tm_ctx_clear(&f->ctx);
  for (uint64_t n = 1; n < 12; n++) { // lack of memory at each step of making one
    f->memory.requests = 0;
    f->memory.fail_at = n;
    f->memory.once = true;
    tm_ctx_clear(&f->ctx);
    if (tm_webhook_new(&f->ctx, &f->loop, "http://h/", NULL, &none) == TM_OK)
      tm_webhook_close(none, 0, NULL, NULL);
    else
      assert_int_equal(f->ctx.error.status, TM_E_NOMEM);
  }
  f->memory.fail_at = 0;
  close_and_check(f, 0);
  free(f);
}

static void reads_retry_after(void **state) {
  const int64_t now_ns = 784111777ll * 1000000000; // Sun, 06 Nov 1994 08:49:37 GMT
  static const struct {
    const char *value;
    bool ok;
    uint64_t seconds;
  } rows[] = {
      {"0", true, 0},
      {"120", true, 120},
      {"99999999999999999999999", true, 1000000000},
      {"Sun, 06 Nov 1994 08:49:37 GMT", true, 0},
      {"Sun, 06 Nov 1994 08:50:37 GMT", true, 60},
      {"Mon, 07 Nov 1994 08:49:37 GMT", true, 86400},
      {"Thu, 29 Feb 1996 00:00:00 GMT", true, 825552000 - 784111777},
      {"Sat, 05 Nov 1994 08:49:37 GMT", true, 0},
      {"", false, 0},
      {"soon", false, 0},
      {"-5", false, 0},
      {"5 s", false, 0},
      {"Sun, 06 Foo 1994 08:49:37 GMT", false, 0},
      {"Sun, 06 anF 1994 08:49:37 GMT", false, 0},
      {"Sun, 06 Nov 1994 25:49:37 GMT", false, 0},
      {"Sun, 06 Nov 1994 08:49:37 CET", false, 0},
      {"Sun, 06 Nov 1994 08:49:37 GMT x", false, 0},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    uint64_t ns = 77;
    if (tm_http_retry_after(rows[i].value, now_ns, &ns) != rows[i].ok) fail_msg("row %zu", i);
    assert_int_equal(ns, rows[i].ok ? rows[i].seconds * SECOND : 77);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(delivers_in_order),
      cmocka_unit_test(tries_again_when_it_helps),
      cmocka_unit_test(gives_up_after_max_tries),
      cmocka_unit_test(drops_the_oldest),
      cmocka_unit_test(the_grace_time_ends_a_hanging_receiver),
      cmocka_unit_test(respects_retry_after_while_closing),
      cmocka_unit_test(closing_does_not_wait_for_a_backoff),
      cmocka_unit_test(flushes_and_lives_on),
      cmocka_unit_test(may_be_closed_from_its_callback),
      cmocka_unit_test(refuses_what_cannot_be_sent),
      cmocka_unit_test(reads_retry_after),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
