// floors: engine
// Takes and collections over an app's endpoint, through the runner, against a scripted server: what
// is asked for, what comes back, and that no ending is forgotten.
#include "engine/runner.h"
#include "http_server.h"
#include "unit.h"

#include <unistd.h>
#include <uv.h>

#define SECOND_NS 1000000000ull

typedef struct rig {
  server server;
  tm_ctx ctx;
  tm_engine *engine;
  tm_runner *runner;
  tm_target *target;
  char endpoint[220];
  // what came of it
  uint32_t done_count;
  uint64_t id;
  tm_status status;
  char text[600];
  size_t size;
} rig;

static void on_taken(void *ud, uint64_t id, tm_status status, const void *bytes, size_t size) {
  rig *r = ud;
  r->done_count++;
  r->id = id;
  r->status = status;
  r->size = size;
  snprintf(r->text, sizeof r->text, "%.*s", (int)size, (const char *)bytes);
  tm_runner_stop(r->runner);
}

static void on_action(void *ud, const tm_action_record *record) {
  rig *r = ud;
  if (record->outcome != TM_ACTION_DONE && record->outcome != TM_ACTION_FAILED) return;
  on_taken(r, record->call_id, record->status, record->message, strlen(record->message));
}

// path replaces the server's /x; NULL = no endpoint. An empty answer hangs.
static rig *begin(int family, const char *answer, const char *path) {
  rig *r = calloc(1, sizeof *r);
  assert_non_null(r);
  r->server.scripts[0][0] = *answer ? (step){STEP_SEND, answer, 1} : (step){STEP_HANG, NULL, 0};
  assert_true(server_start(&r->server, family));
  if (path)
    snprintf(r->endpoint, sizeof r->endpoint, "%.*s%s", (int)strlen(r->server.url) - 2,
             r->server.url, path);
  const tm_runner_options options = {.every_ns = 3600 * SECOND_NS};
  const tm_engine_options engine_options = {.settle_ns = SECOND_NS};
  const tm_target_facts app = {.endpoint = path ? r->endpoint : NULL};
  const tm_engine_observer observer = {.ud = r, .action = on_action};
  tm_ctx_init(&r->ctx, NULL);
  assert_int_equal(tm_engine_new(&r->ctx, &engine_options, &r->engine), TM_OK);
  assert_int_equal(tm_engine_observe(r->engine, &observer), TM_OK);
  assert_int_equal(tm_runner_new(&r->ctx, r->engine, &options, &r->runner), TM_OK);
  assert_int_equal(tm_runner_register_actions(r->runner), TM_OK);
  assert_int_equal(tm_runner_watch(r->runner, getpid(), &app, &r->target), TM_OK);
  return r;
}

static void end(rig *r) {
  tm_runner_free(r->runner);
  tm_engine_free(r->engine);
  tm_ctx_fini(&r->ctx);
  server_stop(&r->server);
  free(r);
}

static void take(rig *r, const char *name, const char *options_json, uint64_t timeout_ns) {
  r->done_count = 0;
  tm_runner_take(r->runner, r->target, name, options_json, timeout_ns, 77, on_taken, r);
  if (!r->done_count) tm_runner_run(r->runner, false);
  assert_int_equal(r->done_count, 1);
  assert_int_equal(r->id, 77);
}

// Has the last request this target? ("GET <target> HTTP/1.1")
static void assert_asked(rig *r, const char *target) {
  char line[200];
  snprintf(line, sizeof line, "GET %s HTTP/1.1\r\n", target);
  if (strncmp(r->server.request, line, strlen(line)) != 0)
    fail_msg("asked \"%.60s\" instead of %s", r->server.request, target);
}

#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbytes"

static void asks_for_each_kind(void **state) {
  static const struct {
    const char *name, *options, *target;
  } kinds[] = {
      {"heap_profile", "{}", "/debug/pprof/heap"},
      {"heap_profile", "{\"gc\":true,\"name\":\"heap_profile\"}", "/debug/pprof/heap?gc=1"},
      {"heap_profile", "{\"gc\":false}", "/debug/pprof/heap"},
      {"allocs", "{\"gc\":true}", "/debug/pprof/allocs"},
      {"goroutines", "{}", "/debug/pprof/goroutine?debug=2"},
      {"goroutine_profile", NULL, "/debug/pprof/goroutine"},
      {"mutex", "{}", "/debug/pprof/mutex"},
      {"block", "{}", "/debug/pprof/block"},
      {"threadcreate", "{}", "/debug/pprof/threadcreate"},
      {"cpu_profile", "{\"seconds\":7}", "/debug/pprof/profile?seconds=7"},
      {"cpu_profile", "{\"seconds\":\"12s\"}", "/debug/pprof/profile?seconds=12"},
      {"cpu_profile", "{}", "/debug/pprof/profile?seconds=5"},
      {"trace", "{\"seconds\":2}", "/debug/pprof/trace?seconds=2"},
      {"goroutineleak", "{}", "/debug/pprof/goroutineleak"},
      {"pprof:example.com/app.documents", "{}", "/debug/pprof/example.com/app.documents"},
      {"expvar", "{}", "/debug/vars"},
  };
  (void)state;
  rig *r = begin(AF_INET, ANSWER, "/debug/pprof/");
  for (size_t i = 0; i < TM_COUNT(kinds); i++) {
    take(r, kinds[i].name, kinds[i].options, 30 * SECOND_NS);
    assert_int_equal(r->status, TM_OK);
    assert_int_equal(r->size, 5);
    assert_string_equal(r->text, "bytes");
    assert_asked(r, kinds[i].target);
  }
  end(r);
}

static void keeps_prefix_and_token_of_the_endpoint(void **state) {
  (void)state;
  rig *r = begin(AF_UNIX, ANSWER, "/app/debug/pprof?token=s");
  take(r, "heap_profile", "{\"gc\":true}", 5 * SECOND_NS);
  assert_int_equal(r->status, TM_OK);
  assert_asked(r, "/app/debug/pprof/heap?token=s&gc=1");
  take(r, "expvar", "{}", 5 * SECOND_NS);
  assert_asked(r, "/app/debug/vars?token=s");
  end(r);
}

static void says_why_it_cannot(void **state) {
  (void)state;
  rig *r = begin(AF_INET, "HTTP/1.1 404 Not Found\r\n\r\nUnknown profile\x01\nmore", "/wrong");
  take(r, "heap_profile", "{}", 5 * SECOND_NS);
  assert_int_equal(r->status, TM_E_IO);
  assert_non_null(strstr(r->text, "heap is answered with status 404: Unknown profile; "));
  assert_non_null(strstr(r->text, "/debug/pprof/"));
  take(r, "expvar", "{}", 5 * SECOND_NS);
  assert_int_equal(r->status, TM_E_IO);
  assert_non_null(strstr(r->text, "expvar"));
  take(r, "core_dump", "{}", 5 * SECOND_NS);
  assert_int_equal(r->status, TM_E_UNSUPPORTED);
  take(r, "cpu_profile", "{\"seconds\":9}", 5 * SECOND_NS);
  assert_int_equal(r->status, TM_E_ARG);
  assert_non_null(strstr(r->text, "does not end within the timeout of 5 s"));
  take(r, "cpu_profile", "{\"seconds\":0}", 5 * SECOND_NS);
  assert_int_equal(r->status, TM_E_ARG);
  end(r);
  r = begin(AF_INET, ANSWER, NULL);
  take(r, "heap_profile", "{}", 5 * SECOND_NS);
  assert_int_equal(r->status, TM_E_UNSUPPORTED);
  assert_non_null(strstr(r->text, "--endpoint"));
  end(r);
}

static void gives_up_after_its_timeout(void **state) {
  (void)state;
  rig *r = begin(AF_INET, "", "/debug/pprof/");
  take(r, "heap_profile", "{}", SECOND_NS / 5);
  assert_int_equal(r->status, TM_E_TIMEOUT);
  end(r);
}

static void asks_for_a_collection(void **state) {
  const tm_action_request request = {
      .rule = "r", .package = "p", .name = "runtime.gc", .tag = 1, .timeout_ns = 10 * SECOND_NS};
  (void)state;
  rig *r = begin(AF_INET, ANSWER, "/debug/pprof/");
  tm_actions *actions = tm_engine_actions(r->engine);
  tm_action_request for_target = request;
  for_target.target = tm_target_get_facts(r->target)->id;
  assert_int_equal(tm_actions_grant(actions, "*", "act:*"), TM_OK);
  tm_actions_request(actions, tm_runner_now_ns(r->runner), &for_target);
  tm_runner_run(r->runner, false);
  assert_int_equal(r->status, TM_OK);
  assert_string_equal(r->text, "collection asked for, 5 bytes of profile read");
  assert_asked(r, "/debug/pprof/heap?gc=1");
  end(r);
}

// A request that hangs must not hold up the end, and its taker hears of it.
static void ends_with_its_target(void **state) {
  (void)state;
  rig *r = begin(AF_INET, "", "/debug/pprof/");
  tm_runner_take(r->runner, r->target, "heap_profile", "{}", 60 * SECOND_NS, 5, on_taken, r);
  while (!server_connections(&r->server)) uv_run(tm_runner_loop(r->runner), UV_RUN_NOWAIT);
  tm_engine_remove_target(r->engine, r->target, "test");
  tm_runner_run(r->runner, false);
  assert_int_equal(r->done_count, 1);
  assert_int_equal(r->status, TM_E_GONE);
  end(r);
  r = begin(AF_INET, "", "/debug/pprof/");
  tm_runner_take(r->runner, r->target, "heap_profile", "{}", 60 * SECOND_NS, 5, on_taken, r);
  tm_runner_free(r->runner); // with the request on its way
  assert_int_equal(r->done_count, 1);
  assert_int_equal(r->status, TM_E_GONE);
  r->runner = NULL;
  end(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(asks_for_each_kind),
      cmocka_unit_test(keeps_prefix_and_token_of_the_endpoint),
      cmocka_unit_test(says_why_it_cannot),
      cmocka_unit_test(gives_up_after_its_timeout),
      cmocka_unit_test(asks_for_a_collection),
      cmocka_unit_test(ends_with_its_target),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
