// floors: facade
// The public face: rules, feeds, actions and limits in virtual time; every way to run on live
// processes; who may call what from where.
#include "tidemark.h"
#include "unit.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/poll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define SECOND INT64_C(1000000000)

// Fires when the last value is above 100 MB, and asks the host to trim.
static const char high_rule[] =
    "tm.rule { id = 'doc.high', doc = 'too much undo', every = '1s', hold = '0s',\n"
    "  inputs = { undo = tm.ring('app.undo_bytes', { every = '1s', keep = 60 }) },\n"
    "  caps = { 'act:app.trim' },\n"
    "  check = function(c)\n"
    "    local v = c.undo.last\n"
    "    if v and v > 100e6 then\n"
    "      return c:finding { level = 'warn', value = v, unit = 'bytes', text = 'undo is large' }\n"
    "    end\n"
    "  end,\n"
    "  on = { warn = function(c) c:await(c:act('app.trim', { keep = 10 })) end } }\n";

static const char rss_rule[] =
    "tm.rule { id = 'self.rss', doc = 'any memory', every = '1s', hold = '0s',\n"
    "  inputs = { rss = tm.ring('proc.rss', { every = '1s', keep = 60 }) },\n"
    "  check = function(c)\n"
    "    if c.rss.last then return c:finding { level = 'info', value = c.rss.last, unit = 'bytes' "
    "} "
    "end\n"
    "  end }\n";

typedef struct seen {
  tm_embed *engine;
  int firing, resolved, notes, actions, loaded, failed;
  double value;
  char unit[16], text[256], action_word[32], problem[400];
  tm_status inside_status; // of a call that is not allowed inside
} seen;

static void on_notice(void *ud, const tm_notice *n) {
  seen *s = ud;
  assert_int_equal(n->size, sizeof *n);
  if (n->type == TM_ON_FINDING && n->tell && strcmp(n->word, "firing") == 0) {
    s->firing++;
    s->value = n->value;
    snprintf(s->unit, sizeof s->unit, "%s", n->unit);
    snprintf(s->text, sizeof s->text, "%s", n->text);
  }
  if (n->type == TM_ON_FINDING && strcmp(n->word, "resolved") == 0) s->resolved++;
  if (n->type == TM_ON_ACTION && strcmp(n->word, "measured") != 0) {
    s->actions++;
    snprintf(s->action_word, sizeof s->action_word, "%s", n->word);
  }
  if (n->type == TM_ON_NOTE) s->notes++;
  if (strcmp(n->word, "rule_loaded") == 0) s->loaded++;
  if (strcmp(n->word, "rule_load_failed") == 0) {
    s->failed++;
    snprintf(s->problem, sizeof s->problem, "%.390s", n->text);
  }
  if (s->engine) s->inside_status = tm_close(s->engine, NULL, NULL);
}

static tm_embed *open_with(uint32_t flags, void *uv_loop, seen *s) {
  tm_config config;
  tm_embed *engine = NULL;
  tm_config_init(&config, sizeof config);
  config.flags = flags;
  config.uv_loop = uv_loop;
  config.every_ns = 20000000;
  config.start_ns = 1000 * SECOND;
  assert_int_equal(tm_open(&config, &engine), TM_OK);
  if (s) assert_int_equal(tm_on_event(engine, on_notice, s), TM_OK);
  return engine;
}

// ---- virtual time ----

static int trims;

static void trim(void *ud, const tm_call *call) {
  tm_embed *engine = ud;
  assert_non_null(strstr(call->args_json, "10"));
  assert_string_equal(call->target, "report.odt");
  trims++;
  assert_int_equal(tm_action_done(engine, call->id, TM_OK, "dropped old steps"), TM_OK);
}

static void feed_until(tm_embed *engine, tm_target *doc, int64_t from, int64_t to, double value) {
  for (int64_t t = from; t <= to; t++) {
    assert_int_equal(tm_feed(engine, doc, "app.undo_bytes", t * SECOND, value), TM_OK);
    assert_int_equal(tm_clock_set(engine, t * SECOND), TM_OK);
  }
}

static void test_virtual_session(void **state) {
  (void)state;
  seen s = {0};
  tm_target *doc = NULL;
  trims = 0;
  tm_embed *engine = open_with(TM_VIRTUAL_TIME, NULL, &s);
  assert_int_equal(tm_target_virtual(engine, "report.odt", &doc), TM_OK);
  assert_string_equal(tm_target_id(doc), "report.odt");
  assert_int_equal(tm_action_register(engine, "app.trim", trim, engine), TM_OK);
  assert_int_equal(tm_action_register(engine, "app.trim", trim, engine), TM_E_ARG);
  assert_int_equal(tm_rules_load(engine, "high.lua", high_rule, sizeof high_rule - 1), TM_OK);
  assert_int_equal(s.loaded, 1);

  feed_until(engine, doc, 1001, 1010, 50e6);
  assert_int_equal(s.firing, 0);
  feed_until(engine, doc, 1011, 1015, 200e6);
  assert_int_equal(s.firing, 1);
  assert_true(fabs(s.value - 200e6) < 1);
  assert_string_equal(s.unit, "bytes");
  assert_non_null(strstr(s.text, "undo is large"));
  assert_int_equal(trims, 0); // nobody granted it
  assert_string_equal(s.action_word, "denied");

  tm_usage usage = {.size = sizeof usage};
  assert_int_equal(tm_get_usage(engine, &usage), TM_OK);
  assert_int_equal(usage.rules, 1);
  assert_int_equal(usage.firing, 1);
  assert_int_equal(usage.targets, 1);

  assert_int_equal(tm_grant(engine, "*", "act:app.trim"), TM_OK);
  feed_until(engine, doc, 1016, 1200, 10e6);
  assert_int_equal(s.resolved, 1);
  feed_until(engine, doc, 1201, 1205, 300e6);
  assert_int_equal(s.firing, 2);
  assert_int_equal(trims, 1);
  assert_string_equal(s.action_word, "done");

  assert_int_equal(tm_detach(engine, doc), TM_OK);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

static void count_finding(void *ud, const tm_notice *n) {
  assert_string_equal(n->rule, "doc.high");
  ++*(int *)ud;
}

static void test_mute_and_list(void **state) {
  (void)state;
  seen s = {0};
  tm_target *doc = NULL;
  int listed = 0;
  tm_embed *engine = open_with(TM_VIRTUAL_TIME | TM_DRY_RUN, NULL, &s);
  assert_int_equal(tm_target_virtual(engine, "a", &doc), TM_OK);
  assert_int_equal(tm_rules_load(engine, "high.lua", high_rule, sizeof high_rule - 1), TM_OK);
  assert_int_equal(tm_mute(engine, "doc.*", NULL, 2000 * SECOND, "known"), TM_OK);
  feed_until(engine, doc, 1001, 1005, 200e6);
  assert_int_equal(s.firing, 0);
  assert_int_equal(tm_findings(engine, count_finding, &listed), TM_OK);
  assert_int_equal(listed, 1);
  assert_int_equal(tm_rules_unload(engine, "high.lua"), TM_OK);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

static void test_profiles_are_fed(void **state) {
  (void)state;
  seen s = {0};
  tm_target *app = NULL;
  static const char rule[] =
      "tm.rule { id = 'heap', doc = 'd', every = '1m', hold = '0s',\n"
      "  inputs = { h = tm.snapshots('pprof.heap', { every = '1m', keep = 3 }) },\n"
      "  check = function(c) if c.h then\n"
      "    return c:finding { level = 'info', text = 'a profile came' } end end }\n";
  static const char folded[] = "main;leak 1048576\nmain;other 10\n";
  tm_embed *engine = open_with(TM_VIRTUAL_TIME, NULL, &s);
  assert_int_equal(tm_target_virtual(engine, "app", &app), TM_OK);
  assert_int_equal(tm_rules_load(engine, "heap.lua", rule, sizeof rule - 1), TM_OK);
  assert_int_equal(s.loaded, 1);
  assert_int_equal(tm_feed_profile(engine, app, "pprof.heap", 0, "no profile", 10), TM_E_FORMAT);
  assert_true(strlen(tm_message(engine)) > 0);
  assert_int_equal(tm_feed_profile(engine, app, "proc.rss", 0, folded, sizeof folded - 1),
                   TM_E_ARG);
  assert_int_equal(tm_clock_set(engine, 1060 * SECOND), TM_OK);
  assert_int_equal(tm_feed_profile(engine, app, "pprof.heap", 0, folded, sizeof folded - 1), TM_OK);
  assert_int_equal(tm_clock_set(engine, 1180 * SECOND), TM_OK);
  assert_int_equal(s.firing, 1);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

// ---- what goes wrong ----

static void test_bad_rules(void **state) {
  (void)state;
  seen s = {0};
  static const char syntax[] = "tm.rule {";
  tm_embed *engine = open_with(TM_VIRTUAL_TIME, NULL, &s);
  assert_int_not_equal(tm_rules_check(engine, "x.lua", syntax, sizeof syntax - 1), TM_OK);
  assert_non_null(strstr(tm_message(engine), "x.lua"));
  assert_int_equal(tm_rules_check(engine, "y.lua", rss_rule, sizeof rss_rule - 1), TM_OK);
  assert_string_equal(tm_message(engine), "");
  assert_int_equal(tm_rules_load(engine, "x.lua", syntax, sizeof syntax - 1), TM_OK);
  assert_int_equal(s.failed, 1);
  assert_non_null(strstr(s.problem, "LOAD_SYNTAX"));
  assert_int_equal(tm_rules_folder(engine, "/nowhere/at/all"), TM_E_IO);
  assert_int_equal(tm_attach_pid(engine, 0, NULL, NULL), TM_E_UNSUPPORTED);
  assert_int_equal(tm_start_thread(engine), TM_E_UNSUPPORTED);
  assert_int_equal(tm_clock_set(engine, 1), TM_E_ARG);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

// A rule that never ends is stopped by instructions long before its time; one that eats memory by
// the cap.
static void test_limits(void **state) {
  (void)state;
  static const char forever[] = "tm.rule { id = 'loop', doc = 'd', every = '1s', inputs = { a = "
                                "tm.ring('app.a', {every='1s'}) },\n"
                                "  check = function(c) while true do end end }\n"
                                "tm.rule { id = 'eat', doc = 'd', every = '1s', inputs = { a = "
                                "tm.ring('app.a', {every='1s'}) },\n"
                                "  check = function(c) local t = {} while true do t[#t + 1] = "
                                "('x'):rep(1000) .. #t end end }\n";
  tm_config config;
  tm_embed *engine = NULL;
  tm_target *t = NULL;
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME;
  config.start_ns = SECOND;
  config.rule_instructions = 10000;
  config.rule_memory_bytes = 1 << 20;
  config.rule_hard_ns = 60 * (uint64_t)SECOND;
  config.max_targets = 1;
  assert_int_equal(tm_open(&config, &engine), TM_OK);
  assert_int_equal(tm_target_virtual(engine, "t", &t), TM_OK);
  assert_int_equal(tm_target_virtual(engine, "u", NULL), TM_E_LIMIT);
  assert_int_equal(tm_rules_load(engine, "f.lua", forever, sizeof forever - 1), TM_OK);
  time_t begun = time(NULL);
  for (int64_t i = 2; i < 6; i++) {
    assert_int_equal(tm_feed(engine, t, "app.a", i * SECOND, 1), TM_OK);
    assert_int_equal(tm_clock_set(engine, i * SECOND), TM_OK);
  }
  assert_true(time(NULL) - begun < 50); // the time limit alone would take minutes
  tm_usage usage = {.size = sizeof usage};
  assert_int_equal(tm_get_usage(engine, &usage), TM_OK);
  assert_int_equal(usage.rules, 2);
  assert_true(usage.rules_killed >= 1);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

static void test_versions_of_structs(void **state) {
  (void)state;
  tm_config config;
  tm_embed *engine = NULL;
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME;
  config.abi = TM_ABI + 1;
  assert_int_equal(tm_open(&config, &engine), TM_E_VERSION);
  assert_null(engine);
  config.abi = TM_ABI;
  config.size = sizeof config + 8;
  assert_int_equal(tm_open(&config, &engine), TM_E_VERSION);
  config.size = offsetof(tm_config, uv_loop); // as an older program knows it
  assert_int_equal(tm_open(&config, &engine), TM_OK);
  tm_usage usage = {.size = offsetof(tm_usage, rules_killed), .rules_killed = 77};
  assert_int_equal(tm_get_usage(engine, &usage), TM_OK);
  assert_int_equal(usage.rules_killed, 77);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
  assert_int_equal(tm_open(NULL, NULL), TM_E_ARG);
  assert_int_equal(tm_open(NULL, &engine), TM_OK); // all defaults
  assert_int_equal(tm_attach_pid(engine, 0, NULL, NULL), TM_OK);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

// ---- live ----

static void test_poll_own_process(void **state) {
  (void)state;
  seen s = {0};
  tm_embed *engine = open_with(0, NULL, &s);
  assert_int_equal(tm_rules_load(engine, "rss.lua", rss_rule, sizeof rss_rule - 1), TM_OK);
  tm_target *self = NULL;
  assert_int_equal(tm_attach_pid(engine, 0, NULL, &self), TM_OK);
  assert_int_equal(tm_attach_pid(engine, 0, NULL, NULL), TM_E_ARG);
  for (int i = 0; i < 400 && !s.firing; i++) assert_int_equal(tm_poll(engine, 50), TM_OK);
  assert_int_equal(s.firing, 1);
  assert_true(s.value > 1e6);
  assert_int_equal(tm_poll(engine, 0), TM_OK);
  s.engine = engine; // from now on every event tries to close: refused inside
  assert_int_equal(tm_detach(engine, self), TM_OK);
  assert_int_equal(tm_poll(engine, 10), TM_OK);
  assert_int_equal(s.inside_status, TM_E_BUSY);
  s.engine = NULL;
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

static void note_kill(void *ud, const tm_notice *n) {
  if (strcmp(n->word, "rule_killed") == 0) ++*(int *)ud;
}

// A check of a whole second, in which the host's thread goes on. The bound is wide: the machine of
// a test may be busy, but a host that waited for the rule would take the second.
static void test_host_is_not_held(void **state) {
  (void)state;
  static const char forever[] = "tm.rule { id = 'loop', doc = 'd', every = '1s', inputs = { r = "
                                "tm.ring('proc.rss', {every='1s'}) },\n"
                                "  check = function(c) while true do end end }\n";
  tm_config config;
  tm_embed *engine = NULL;
  int killed = 0;
  tm_config_init(&config, sizeof config);
  config.rule_hard_ns = SECOND;
  config.every_ns = 10000000;
  assert_int_equal(tm_open(&config, &engine), TM_OK);
  assert_int_equal(tm_on_event(engine, note_kill, &killed), TM_OK);
  assert_int_equal(tm_rules_load(engine, "f.lua", forever, sizeof forever - 1), TM_OK);
  assert_int_equal(tm_attach_pid(engine, 0, NULL, NULL), TM_OK);
  int64_t longest = 0, end = tm_now_ns(engine) + 30 * SECOND;
  while (!killed && tm_now_ns(engine) < end) {
    int64_t before = tm_now_ns(engine);
    assert_int_equal(tm_poll(engine, 0), TM_OK);
    int64_t took = tm_now_ns(engine) - before;
    if (took > longest) longest = took;
    usleep(1000);
  }
  assert_int_equal(killed, 1);
  print_message("a rule looped for 1 s; the longest poll took %.2f ms\n", (double)longest / 1e6);
  assert_true(longest < SECOND / 2);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

static void test_poll_by_descriptor(void **state) {
  (void)state;
  seen s = {0};
  tm_embed *engine = open_with(0, NULL, &s);
  assert_int_equal(tm_rules_load(engine, "rss.lua", rss_rule, sizeof rss_rule - 1), TM_OK);
  assert_int_equal(tm_attach_pid(engine, 0, NULL, NULL), TM_OK);
  struct pollfd fd = {.fd = tm_backend_fd(engine), .events = POLLIN};
  assert_true(fd.fd >= 0);
  for (int i = 0; i < 2000 && !s.firing; i++) {
    poll(&fd, 1, tm_next_timeout_ms(engine));
    assert_int_equal(tm_poll(engine, 0), TM_OK);
  }
  assert_int_equal(s.firing, 1);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

static void mark(void *ud) {
  *(bool *)ud = true;
}

static void test_loop_of_the_host(void **state) {
  (void)state;
  seen s = {0};
  uv_loop_t loop;
  bool gone = false;
  uv_loop_init(&loop);
  tm_embed *engine = open_with(0, &loop, &s);
  assert_int_equal(tm_poll(engine, 0), TM_E_UNSUPPORTED);
  assert_int_equal(tm_rules_load(engine, "rss.lua", rss_rule, sizeof rss_rule - 1), TM_OK);
  assert_int_equal(tm_attach_pid(engine, 0, NULL, NULL), TM_OK);
  for (int i = 0; i < 2000 && !s.firing; i++) uv_run(&loop, UV_RUN_ONCE);
  assert_int_equal(s.firing, 1);
  assert_int_equal(tm_close(engine, mark, &gone), TM_OK);
  assert_false(gone);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_true(gone);
  assert_int_equal(uv_loop_close(&loop), 0);
}

typedef struct shared {
  atomic_int posted, findings;
  seen s;
} shared;

static void on_thread_notice(void *ud, const tm_notice *n) {
  shared *sh = ud;
  if (n->type == TM_ON_FINDING && n->tell) atomic_fetch_add(&sh->findings, 1);
}

static void attach_self(tm_embed *engine, void *ud) {
  shared *sh = ud;
  assert_int_equal(tm_attach_pid(engine, 0, NULL, NULL), TM_OK);
  assert_int_equal(tm_rules_load(engine, "r.lua", rss_rule, sizeof rss_rule - 1), TM_OK);
  atomic_fetch_add(&sh->posted, 1);
}

enum { ENGINES = 3 };

static void test_threads_of_their_own(void **state) {
  (void)state;
  tm_embed *engines[ENGINES];
  static shared sh[ENGINES];
  memset(sh, 0, sizeof sh);
  for (int i = 0; i < ENGINES; i++) {
    engines[i] = open_with(0, NULL, NULL);
    assert_int_equal(tm_on_event(engines[i], on_thread_notice, &sh[i]), TM_OK);
    assert_int_equal(tm_start_thread(engines[i]), TM_OK);
    assert_int_equal(tm_post(engines[i], attach_self, &sh[i]), TM_OK);
  }
  for (int i = 0; i < ENGINES; i++) {
    for (int k = 0; k < 2000 && !atomic_load(&sh[i].findings); k++) usleep(10000);
    assert_int_equal(atomic_load(&sh[i].posted), 1);
    assert_true(atomic_load(&sh[i].findings) >= 1);
    assert_int_equal(tm_feed(engines[i], NULL, "x", 0, 1), TM_E_THREAD);
    assert_int_equal(tm_close(engines[i], NULL, NULL), TM_OK);
  }
}

static void test_child_ends(void **state) {
  (void)state;
  seen s = {0};
  pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  tm_embed *engine = open_with(0, NULL, &s);
  tm_target *target = NULL;
  assert_int_equal(tm_attach_pid(engine, child, NULL, &target), TM_OK);
  assert_int_equal(tm_poll(engine, 50), TM_OK);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  tm_status status = TM_OK;
  for (int i = 0; i < 400 && status == TM_OK; i++) {
    assert_int_equal(tm_poll(engine, 50), TM_OK);
    status = tm_feed(engine, target, "x", 0, 1);
  }
  assert_int_equal(status, TM_E_GONE);
  assert_int_equal(tm_detach(engine, target), TM_OK);
  assert_int_equal(tm_attach_pid(engine, child, NULL, NULL), TM_E_GONE);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

// ---- numbers ----

// ---- files and reports ----

typedef struct written {
  char text[8192];
  size_t size, calls, most_calls; // most_calls 0 = any
} written;

static int write_text(void *ud, const char *bytes, size_t size) {
  written *w = ud;
  assert_true(w->size + size < sizeof w->text);
  memcpy(w->text + w->size, bytes, size);
  w->size += size;
  w->text[w->size] = '\0';
  w->calls++;
  return w->most_calls && w->calls > w->most_calls;
}

static tm_status shout(void *ud, const char *verb, const char *json, size_t size, tm_write_fn write,
                       void *write_ud) {
  char head[64];
  int *rows = ud;
  for (size_t i = 0; i < size; i++) *rows += json[i] == '{';
  snprintf(head, sizeof head, "%s: %d rows", verb, *rows);
  return write(write_ud, head, strlen(head)) == 0 ? TM_OK : TM_E_CANCELLED;
}

static tm_embed *open_virtual(void) {
  tm_config config;
  tm_embed *engine;
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME | TM_NO_SELF_TEST;
  config.start_ns = 1000 * SECOND;
  assert_int_equal(tm_open(&config, &engine), TM_OK);
  return engine;
}

static void test_files_are_read_and_reported(void **state) {
  (void)state;
  static const char folded[] = "main;load;parse 30\nmain;load 10\nmain;idle 60\n";
  static const char dump[] = "goroutine 1 [running]:\nmain.main()\n\t/a/main.go:5 +0x1\n\n"
                             "goroutine 7 [chan receive, 3 minutes]:\nmain.wait()\n"
                             "\t/a/main.go:9 +0x1\ncreated by main.main in goroutine 1\n"
                             "\t/a/main.go:4 +0x2\n";
  tm_embed *engine = open_virtual();
  tm_file *file;
  int rows = 0;
  assert_int_equal(tm_file_read_bytes(engine, folded, sizeof folded - 1, &file), TM_OK);
  assert_string_equal(tm_file_kind(file), "profile");
  assert_string_equal(tm_file_format(file), "collapsed");
  assert_string_equal(tm_file_problem(file), "");
  written w = {.size = 0};
  const char *const two[] = {"nodecount=1", "cum=true", NULL};
  assert_int_equal(tm_report_file(engine, file, "top", two, "json", write_text, &w), TM_OK);
  assert_non_null(strstr(w.text, "\"name\":\"main\""));
  assert_non_null(strstr(w.text, "\"cum\":100"));
  assert_null(strstr(w.text, "parse"));
  w = (written){.size = 0};
  assert_int_equal(tm_report_file(engine, file, "top", NULL, "csv", write_text, &w), TM_OK);
  assert_int_equal(strncmp(w.text, "name,flat,cum", 13), 0);
  w = (written){.size = 0};
  assert_int_equal(tm_report_file(engine, file, "tree", NULL, "text", write_text, &w), TM_OK);
  assert_non_null(strstr(w.text, "flat%"));
  w = (written){.size = 0};
  assert_int_equal(tm_format_register(engine, "shout", shout, &rows), TM_OK);
  assert_int_equal(tm_format_register(engine, "shout", shout, &rows), TM_E_ARG);
  assert_int_equal(tm_format_register(engine, "json", shout, &rows), TM_E_ARG);
  assert_int_equal(tm_report_file(engine, file, "top", NULL, "shout", write_text, &w), TM_OK);
  assert_string_equal(w.text, "top: 4 rows");
  w = (written){.most_calls = 1, .calls = 1};
  assert_int_equal(tm_report_file(engine, file, "top", NULL, "json", write_text, &w),
                   TM_E_CANCELLED);
  const char *const bad[] = {"nodecuont=1", NULL};
  w = (written){.size = 0};
  assert_int_equal(tm_report_file(engine, file, "top", bad, "json", write_text, &w), TM_E_ARG);
  assert_int_equal(tm_report_file(engine, file, "objects", NULL, "json", write_text, &w), TM_E_ARG);
  assert_non_null(strstr(tm_message(engine), "says nothing of a profile"));
  assert_int_equal(tm_report_file(engine, file, "dance", NULL, "json", write_text, &w), TM_E_ARG);
  assert_int_equal(tm_report_file(engine, file, "top", NULL, "yaml", write_text, &w), TM_E_ARG);
  assert_int_equal(w.calls, 0);
  tm_file_free(engine, file);
  assert_int_equal(tm_file_read_bytes(engine, dump, sizeof dump - 1, &file), TM_OK);
  assert_string_equal(tm_file_kind(file), "goroutines");
  assert_int_equal(tm_report_file(engine, file, "goroutines", NULL, "json", write_text, &w), TM_OK);
  assert_non_null(strstr(w.text, "chan receive"));
  tm_file_free(engine, file);
  assert_int_equal(tm_file_read_bytes(engine, "\0\1\2", 3, &file), TM_E_FORMAT);
  assert_null(file);
  assert_int_equal(tm_file_read(engine, "/nowhere/at/all", &file), TM_E_IO);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

static const struct {
  const char *verb, *option, *says;
} dump_reports[] = {{"objects", "order=shallow", "\"type\":\"Session\""},
                    {"objects", "order=size", "!order is not 'size'"},
                    {"objects", "nodes=3", "!no option 'nodes=3'"},
                    {"holders", NULL, "\"retained_bytes\":48"},
                    {"holders", "node=0", "\"node\":1"},
                    {"holders", "follow=strong", "\"children\":0"},
                    {"path", "node=1", "\"node\":1,\"type\":\"Session\""},
                    {"path", "id=3", "\"node\":1,\"type\":\"Session\""},
                    {"path", "id=7", "!'7'"},
                    {"path", "node=2", "!no object has the node '2'"},
                    {"path", "node=-1", "!no object"},
                    {"path", NULL, "!path needs"},
                    {"suspects", "share=0.5", "\"kind\":"},
                    {"suspects", "share=2", "!up to 1"},
                    {"suspects", "share=x", "!not 'x'"},
                    {"consumers", "by=root", "\"name\":"},
                    {"consumers", "by=none", "!by is not"},
                    {"info", NULL, "\"objects\":2,\"edges\":1"},
                    {"top", NULL, "!says nothing of a graph"}};

static void test_heap_dumps_are_reported(void **state) {
  (void)state;
  static const char snapshot[] =
      "{\"snapshot\":{\"meta\":{\"node_fields\":[\"type\",\"name\",\"id\",\"self_size\","
      "\"edge_count\"],\"node_types\":[[\"synthetic\",\"object\"],\"string\",\"number\","
      "\"number\",\"number\"],\"edge_fields\":[\"type\",\"name_or_index\",\"to_node\"],"
      "\"edge_types\":[[\"element\",\"property\"],\"string_or_number\",\"node\"]},"
      "\"node_count\":2,\"edge_count\":1},\"nodes\":[0,0,1,0,1,1,1,3,48,0],"
      "\"edges\":[1,1,5],\"strings\":[\"\",\"Session\"]}";
  tm_embed *engine = open_virtual();
  tm_file *file;
  written w = {.size = 0};
  assert_int_equal(tm_file_read_bytes(engine, snapshot, sizeof snapshot - 1, &file), TM_OK);
  assert_string_equal(tm_file_kind(file), "graph");
  assert_int_equal(tm_report_file(engine, file, "objects", NULL, "json", write_text, &w), TM_OK);
  assert_non_null(strstr(w.text, "\"type\":\"Session\",\"count\":1"));
  for (size_t i = 0; i < sizeof dump_reports / sizeof *dump_reports; i++) {
    const char *const options[] = {dump_reports[i].option, NULL};
    w = (written){.size = 0};
    tm_status status =
        tm_report_file(engine, file, dump_reports[i].verb, options, "json", write_text, &w);
    if (dump_reports[i].says[0] == '!') { // what is wrong
      assert_int_equal(status, TM_E_ARG);
      assert_non_null(strstr(tm_message(engine), dump_reports[i].says + 1));
    } else {
      if (status != TM_OK) fail_msg("%s: %s", dump_reports[i].verb, tm_message(engine));
      if (!strstr(w.text, dump_reports[i].says))
        fail_msg("%s %s: %s", dump_reports[i].verb, dump_reports[i].option, w.text);
    }
  }
  tm_file_free(engine, file);
  assert_int_equal(tm_file_read_bytes(engine, snapshot, sizeof snapshot - 20, &file), TM_OK);
  assert_true(strlen(tm_file_problem(file)) > 0); // cut in its strings
  tm_file_free(engine, file);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

static tm_file *folded_file(tm_embed *engine, const char *text) {
  tm_file *file = NULL;
  assert_int_equal(tm_file_read_bytes(engine, text, strlen(text), &file), TM_OK);
  return file;
}

static void test_files_are_compared(void **state) {
  (void)state;
  tm_embed *engine = open_virtual();
  tm_file *three[] = {folded_file(engine, "main;load 10\nmain;idle 50\n"),
                      folded_file(engine, "main;load 30\nmain;idle 40\n"),
                      folded_file(engine, "main;load 90\nmain;idle 60\n")};
  const tm_file *const files[] = {three[0], three[1], three[2]};
  const int64_t times[] = {3600 * SECOND, 7200 * SECOND, 10800 * SECOND};
  const int64_t back[] = {3, 2, 1};
  const char *const one[] = {"nodecount=1", "by=function", NULL};
  const char *const bad[] = {"by=file", NULL};
  tm_file *diff;
  written w = {.size = 0};
  assert_int_equal(tm_report_growth(engine, files, 3, times, NULL, "json", write_text, &w), TM_OK);
  assert_non_null(strstr(w.text, "\"key\":\"main;load\",\"first\":10,\"last\":90,\"delta\":80,"
                                 "\"steps\":2,\"falls\":0,\"per_hour\":40"));
  w = (written){.size = 0};
  assert_int_equal(tm_report_growth(engine, files, 3, NULL, one, "csv", write_text, &w), TM_OK);
  assert_non_null(strstr(w.text, "\nload,10,90,80,2,0"));
  assert_null(strstr(w.text, "idle"));
  w = (written){.size = 0};
  assert_int_equal(tm_report_growth(engine, files, 1, NULL, one, "csv", write_text, &w), TM_E_ARG);
  assert_int_equal(tm_report_growth(engine, files, 3, back, NULL, "csv", write_text, &w), TM_E_ARG);
  assert_int_equal(tm_report_growth(engine, files, 3, NULL, bad, "csv", write_text, &w), TM_E_ARG);
  assert_int_equal(tm_report_growth(engine, files, 3, NULL, one, "text", write_text, &w), TM_E_ARG);
  assert_int_equal(tm_report_growth(engine, files, 3, NULL, one, "yaml", write_text, &w), TM_E_ARG);
  assert_int_equal(w.calls, 0);
  assert_int_equal(tm_file_diff(engine, three[0], three[2], &diff), TM_OK);
  for (size_t i = 0; i < 3; i++) tm_file_free(engine, three[i]);
  assert_string_equal(tm_file_kind(diff), "profile");
  assert_int_equal(tm_report_file(engine, diff, "top", NULL, "json", write_text, &w), TM_OK);
  assert_non_null(strstr(w.text, "\"name\":\"load\",\"flat\":80"));
  assert_non_null(strstr(w.text, "\"name\":\"idle\",\"flat\":10"));
  tm_file_free(engine, diff);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

// A snapshot of one root that holds `count` objects of the type Session, of 48 bytes each.
static tm_file *sessions_file(tm_embed *engine, int count) {
  char text[4096];
  size_t n = (size_t)snprintf(
      text, sizeof text,
      "{\"snapshot\":{\"meta\":{\"node_fields\":[\"type\",\"name\",\"id\",\"self_size\","
      "\"edge_count\"],\"node_types\":[[\"synthetic\",\"object\"],\"string\",\"number\","
      "\"number\",\"number\"],\"edge_fields\":[\"type\",\"name_or_index\",\"to_node\"],"
      "\"edge_types\":[[\"element\",\"property\"],\"string_or_number\",\"node\"]},"
      "\"node_count\":%d,\"edge_count\":%d},\"nodes\":[0,0,1,0,%d",
      count + 1, count, count);
  for (int i = 0; i < count; i++)
    n += (size_t)snprintf(text + n, sizeof text - n, ",1,1,%d,48,0", 3 + 2 * i);
  n += (size_t)snprintf(text + n, sizeof text - n, "],\"edges\":[");
  for (int i = 0; i < count; i++)
    n += (size_t)snprintf(text + n, sizeof text - n, "%s0,%d,%d", i ? "," : "", i, 5 * (i + 1));
  snprintf(text + n, sizeof text - n, "],\"strings\":[\"\",\"Session\"]}");
  return folded_file(engine, text);
}

static void test_heap_dumps_are_compared(void **state) {
  (void)state;
  tm_embed *engine = open_virtual();
  tm_file *paths[3], *diff;
  for (int i = 0; i < 3; i++) {
    tm_file *dump = sessions_file(engine, 4 * (i + 1));
    assert_int_equal(tm_file_fold(engine, dump, NULL, &paths[i]), TM_OK);
    tm_file_free(engine, dump); // the fold outlives it
    assert_string_equal(tm_file_kind(paths[i]), "profile");
    assert_string_equal(tm_file_format(paths[i]), "paths");
  }
  const tm_file *const files[] = {paths[0], paths[1], paths[2]};
  const char *const objects[] = {"sample_index=objects", NULL};
  const char *const weird[] = {"follow=all", NULL};
  written w = {.size = 0};
  assert_int_equal(tm_report_growth(engine, files, 3, NULL, objects, "json", write_text, &w),
                   TM_OK);
  assert_non_null(strstr(w.text, "Session"));
  assert_non_null(strstr(w.text, "\"first\":4,\"last\":12,\"delta\":8,\"steps\":2"));
  assert_int_equal(tm_file_diff(engine, paths[0], paths[2], &diff), TM_OK);
  w = (written){.size = 0};
  assert_int_equal(tm_report_file(engine, diff, "top", objects, "json", write_text, &w), TM_OK);
  assert_non_null(strstr(w.text, "\"flat\":8"));
  tm_file *same;
  assert_int_equal(tm_file_fold(engine, paths[0], weird, &same), TM_E_ARG);
  assert_int_equal(tm_file_fold(engine, paths[0], NULL, &same), TM_OK); // a copy
  tm_file_free(engine, same);
  tm_file_free(engine, diff);
  for (int i = 0; i < 3; i++) tm_file_free(engine, paths[i]);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

static void test_findings_are_reported(void **state) {
  (void)state;
  tm_embed *engine = open_virtual();
  tm_target *t;
  written w = {.size = 0};
  assert_int_equal(tm_rules_load(engine, "high.lua", high_rule, sizeof high_rule - 1), TM_OK);
  assert_int_equal(tm_target_virtual(engine, "doc", &t), TM_OK);
  for (int64_t i = 1001; i < 1004; i++) {
    assert_int_equal(tm_feed(engine, t, "app.undo_bytes", i * SECOND, 200e6), TM_OK);
    assert_int_equal(tm_clock_set(engine, i * SECOND), TM_OK);
  }
  assert_int_equal(tm_report_findings(engine, "json", write_text, &w), TM_OK);
  assert_non_null(strstr(w.text, "\"rule\":\"doc.high\""));
  assert_non_null(strstr(w.text, "\"value\":200000000"));
  w = (written){.size = 0};
  assert_int_equal(tm_report_findings(engine, "text", write_text, &w), TM_OK);
  assert_non_null(strstr(w.text, "firing doc.high"));
  assert_int_equal(tm_report_findings(engine, "csv", write_text, &w), TM_E_ARG);
  assert_int_equal(tm_detach(engine, t), TM_OK);
  assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
}

static void test_status_numbers(void **state) {
  (void)state;
#define TM_STATUS(constant, number, word, advice)                                                  \
  assert_int_equal(constant, number);                                                              \
  assert_string_equal(tm_status_word(constant), word);
#include "base/status.def"
#undef TM_STATUS
  assert_string_equal(tm_status_word((tm_status)99), "unknown");
  assert_int_equal(tm_abi(), TM_ABI);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_virtual_session),
      cmocka_unit_test(test_mute_and_list),
      cmocka_unit_test(test_profiles_are_fed),
      cmocka_unit_test(test_bad_rules),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_versions_of_structs),
      cmocka_unit_test(test_poll_own_process),
      cmocka_unit_test(test_poll_by_descriptor),
      cmocka_unit_test(test_loop_of_the_host),
      cmocka_unit_test(test_threads_of_their_own),
      cmocka_unit_test(test_child_ends),
      cmocka_unit_test(test_host_is_not_held),
      cmocka_unit_test(test_status_numbers),
      cmocka_unit_test(test_files_are_read_and_reported),
      cmocka_unit_test(test_heap_dumps_are_reported),
      cmocka_unit_test(test_files_are_compared),
      cmocka_unit_test(test_heap_dumps_are_compared),
      cmocka_unit_test(test_findings_are_reported),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
