// floors: facade
// What an embedded engine does with memory: every allocation of a session fails once in turn, the
// engine is opened and closed a thousand times, and a day passes. The linker puts our functions in
// the place of malloc and its kin (spec/CMakeLists.txt), so that nothing is left out.
#include "tidemark.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

// ---- the allocator ----

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t most);
void __wrap_free(void *p);

static atomic_llong blocks;
static atomic_ullong requests, fail_at, fail_count; // from fail_at on, so many

static bool refused(void) {
  unsigned long long n = atomic_fetch_add(&requests, 1) + 1, first = atomic_load(&fail_at);
  return first && n >= first && n - first < atomic_load(&fail_count);
}

static void *counted(void *p) {
  if (p) atomic_fetch_add(&blocks, 1);
  return p;
}

void *__wrap_malloc(size_t size) {
  return refused() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size) {
  return refused() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size) {
  if (refused()) return NULL;
  return p ? __real_realloc(p, size) : counted(__real_realloc(NULL, size));
}

char *__wrap_strdup(const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = __wrap_malloc(size);
  return copy ? memcpy(copy, text, size) : NULL;
}

char *__wrap_strndup(const char *text, size_t most) {
  size_t size = strnlen(text, most);
  char *copy = __wrap_malloc(size + 1);
  if (copy) *(char *)mempcpy(copy, text, size) = '\0';
  return copy;
}

void __wrap_free(void *p) {
  if (p) atomic_fetch_sub(&blocks, 1);
  __real_free(p);
}

// ---- a session ----

static const char rule[] =
    "tm.rule { id = 'high', doc = 'too much', every = '1s', hold = '0s',\n"
    "  inputs = { undo = tm.ring('app.undo_bytes', { every = '1s', keep = 60 }) },\n"
    "  caps = { 'act:app.trim' },\n"
    "  check = function(c)\n"
    "    if c.undo.last and c.undo.last > 100e6 then\n"
    "      return c:finding { level = 'warn', value = c.undo.last, unit = 'bytes', grown = 7 }\n"
    "    end\n"
    "  end,\n"
    "  on = { warn = function(c) c:await(c:act('app.trim', { keep = 10 })) end } }\n"
    "tm.rule { id = 'heap', doc = 'd', every = '1m', hold = '0s',\n"
    "  inputs = { h = tm.snapshots('pprof.heap', { every = '1m', keep = 3 }) },\n"
    "  check = function(c) return c:finding { level = 'info', text = 'a profile' } end }\n";
static const char calling_rule[] =
    "tm.rule { id = 'calls', doc = 'd', every = '1s', hold = '0s',\n"
    "  inputs = { undo = tm.ring('app.undo_bytes', { every = '1s', keep = 60 }) },\n"
    "  check = function(c)\n"
    "    local twice = host.app.echo(c.undo.last or 0, 'x')\n"
    "    require 'app'.sum(twice[1], 1)\n"
    "  end }\n";
static const char folded[] = "main;leak 1048576\nmain;other 10\n";

typedef struct session {
  tm_embed *engine;
  int findings, trims, calls, failures; // failures: calls that said TM_E_NOMEM
} session;

static void trim(void *ud, const tm_call *call) {
  session *s = ud;
  s->trims++;
  (void)tm_action_done(s->engine, call->id, TM_OK, "trimmed");
}

static void on_notice(void *ud, const tm_notice *n) {
  session *s = ud;
  if (n->type == TM_ON_FINDING && strcmp(n->word, "firing") == 0) s->findings++;
}

static void ignore(void *ud, const tm_notice *n) {
  (void)ud, (void)n;
}

// A call without memory says so, and nothing else is allowed to go wrong.
static bool went(session *s, tm_status status) {
  if (status == TM_E_NOMEM) s->failures++;
  if (status != TM_OK && status != TM_E_NOMEM)
    fail_msg("%s: %s", tm_status_word(status), tm_message(s->engine));
  return status == TM_OK;
}

static void feed(session *s, tm_target *t, int64_t second, double value) {
  went(s, tm_feed(s->engine, t, "app.undo_bytes", second * SECOND, value));
  went(s, tm_clock_set(s->engine, second * SECOND));
}

static void nothing(tm_embed *engine, void *ud) {
  (void)engine, (void)ud;
}

static int sink(void *ud, const char *bytes, size_t size) {
  (void)ud, (void)bytes, (void)size;
  return 0;
}

static tm_status render(void *ud, const char *verb, const char *json, size_t size,
                        tm_write_fn write, void *write_ud) {
  (void)ud, (void)verb;
  return write(write_ud, json, size) == 0 ? TM_OK : TM_E_CANCELLED;
}

static void compare(session *s, const tm_file *file) {
  const tm_file *const twice[] = {file, file};
  tm_file *made;
  if (went(s, tm_file_fold(s->engine, file, NULL, &made))) tm_file_free(s->engine, made);
  if (went(s, tm_file_diff(s->engine, file, file, &made))) tm_file_free(s->engine, made);
  went(s, tm_report_growth(s->engine, twice, 2, NULL, NULL, "json", sink, NULL));
}

static void read_and_report(session *s) {
  tm_file *file;
  went(s, tm_format_register(s->engine, "own", render, NULL));
  if (!went(s, tm_file_read_bytes(s->engine, folded, sizeof folded - 1, &file))) return;
  const char *const formats[] = {"json", "csv", "text", "own"};
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
    tm_status status = tm_report_file(s->engine, file, "top", NULL, formats[i], sink, NULL);
    if (status != TM_E_ARG) went(s, status); // the format was not registered, for want of memory
  }
  compare(s, file);
  tm_file_free(s->engine, file);
}

static tm_status echo(void *ud, const char *args, size_t size, tm_write_fn write, void *write_ud) {
  ++*(int *)ud;
  return write(write_ud, args, size) == 0 ? TM_OK : TM_E_NOMEM;
}

static double sum(const double *args, size_t count, void *ud) {
  ++*(int *)ud;
  return count > 1 ? args[0] + args[1] : 0;
}

static void virtual_session(session *s) {
  tm_config config;
  tm_target *t = NULL;
  tm_usage usage = {.size = sizeof usage};
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME | TM_NO_SELF_TEST;
  config.start_ns = 1000 * SECOND;
  if (!went(s, tm_open(&config, &s->engine))) return;
  went(s, tm_on_event(s->engine, on_notice, s));
  went(s, tm_action_register(s->engine, "app.trim", trim, s));
  went(s, tm_grant(s->engine, "*", "act:app.*"));
  went(s, tm_function_register(s->engine, "app.echo", echo, &s->calls));
  went(s, tm_function_register_number(s->engine, "app.sum", sum, &s->calls));
  went(s, tm_rules_load(s->engine, "high.lua", rule, sizeof rule - 1));
  went(s, tm_rules_load(s->engine, "calls.lua", calling_rule, sizeof calling_rule - 1));
  went(s, tm_mute(s->engine, "none.*", NULL, 2000 * SECOND, "never"));
  went(s, tm_post(s->engine, nothing, NULL));
  if (went(s, tm_target_virtual(s->engine, "doc", &t))) {
    for (int64_t i = 1001; i < 1005; i++) feed(s, t, i, 50e6);
    for (int64_t i = 1005; i < 1008; i++) feed(s, t, i, 200e6);
    went(s, tm_feed_profile(s->engine, t, "pprof.heap", 0, folded, sizeof folded - 1));
    feed(s, t, 1070, 10e6);
    went(s, tm_findings(s->engine, ignore, NULL));
    went(s, tm_report_findings(s->engine, "json", sink, NULL));
    read_and_report(s);
    went(s, tm_get_usage(s->engine, &usage));
    went(s, tm_detach(s->engine, t));
  }
  went(s, tm_close(s->engine, NULL, NULL));
}

static void live_session(session *s) {
  tm_config config;
  tm_config_init(&config, sizeof config);
  config.every_ns = 1000000;
  config.flags = TM_NO_SELF_TEST;
  if (!went(s, tm_open(&config, &s->engine))) return;
  went(s, tm_on_event(s->engine, on_notice, s));
  went(s, tm_rules_load(s->engine, "high.lua", rule, sizeof rule - 1));
  tm_status status = tm_attach_pid(s->engine, 0, NULL, NULL);
  if (status != TM_E_IO && status != TM_E_GONE) went(s, status); // the reader of /proc may say so
  for (int i = 0; i < 4; i++) went(s, tm_poll(s->engine, 2));
  went(s, tm_close(s->engine, NULL, NULL));
}

static unsigned long long run_without(void (*play)(session *), session *s, unsigned long long at,
                                      unsigned long long count) {
  *s = (session){0};
  atomic_store(&fail_count, count);
  long long before = atomic_load(&blocks);
  atomic_store(&requests, 0);
  atomic_store(&fail_at, at);
  play(s);
  atomic_store(&fail_at, 0);
  long long left = atomic_load(&blocks) - before;
  if (left) fail_msg("%lld blocks are left when allocation %llu fails", left, at);
  return atomic_load(&requests);
}

static unsigned long long run(void (*play)(session *), session *s, unsigned long long at) {
  return run_without(play, s, at, 1);
}

static void test_each_allocation_fails(void **state) {
  (void)state;
  session s;
  run(virtual_session, &s, 0); // what libraries keep for ever is there now
  unsigned long long total = run(virtual_session, &s, 0), said = 0;
  assert_int_equal(s.failures, 0);
  assert_int_equal(s.findings, 2);
  assert_int_equal(s.trims, 1);
  assert_true(s.calls >= 10);
  for (unsigned long long at = 1; at <= total; at++) {
    run(virtual_session, &s, at);
    said += s.failures > 0;
  }
  print_message("%llu allocations failed in turn, %llu calls said so\n", total, said);
  assert_true(said > 20); // the others were made good: Lua collects and asks again
}

// From one point on there is no memory at all, or not for a while.
static void test_memory_stays_out(void **state) {
  (void)state;
  session s;
  run(virtual_session, &s, 0);
  unsigned long long total = run(virtual_session, &s, 0), found = 0;
  for (unsigned long long at = 1; at <= total; at += 3) {
    run_without(virtual_session, &s, at, UINT64_MAX);
    if (at % 7 == 0) run_without(virtual_session, &s, at, 100);
    found += at % 7 == 0 && s.findings == 2;
  }
  print_message("no memory from %llu points on; after 100 refusals %llu sessions found all\n",
                total / 3, found);
  assert_true(found > 0);
}

static void test_live_allocations_fail(void **state) {
  (void)state;
  session s;
  run(live_session, &s, 0);
  unsigned long long total = run(live_session, &s, 0);
  for (unsigned long long at = 1; at <= total; at += at < 120 ? 1 : total / 40 + 1)
    run(live_session, &s, at);
}

// ---- long lives ----

static size_t rss_bytes(void) {
  size_t total = 0, resident = 0;
  FILE *f = fopen("/proc/self/statm", "re");
  assert_non_null(f);
  assert_int_equal(fscanf(f, "%zu %zu", &total, &resident), 2);
  fclose(f);
  return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static bool sanitized(void) {
#ifdef __SANITIZE_ADDRESS__
  return true; // its quarantine grows for a while: blocks are counted instead
#else
  return false;
#endif
}

static void test_thousand_lives(void **state) {
  (void)state;
  tm_config config;
  tm_config_init(&config, sizeof config);
  long long before = 0;
  size_t rss = 0;
  for (int i = 0; i < 1000; i++) {
    if (i == 100) {
      before = atomic_load(&blocks);
      rss = rss_bytes();
    }
    tm_embed *engine = NULL;
    config.flags = i % 2 ? TM_VIRTUAL_TIME : 0;
    assert_int_equal(tm_open(&config, &engine), TM_OK);
    assert_int_equal(tm_target_virtual(engine, "t", NULL), TM_OK);
    if (!(i % 2)) assert_int_equal(tm_attach_pid(engine, 0, NULL, NULL), TM_OK);
    if (!(i % 2)) assert_int_equal(tm_poll(engine, 0), TM_OK);
    if (i % 10 == 0)
      assert_int_equal(tm_rules_load(engine, "high.lua", rule, sizeof rule - 1), TM_OK);
    assert_int_equal(tm_close(engine, NULL, NULL), TM_OK);
  }
  assert_int_equal(atomic_load(&blocks), before);
  if (!sanitized()) assert_true(rss_bytes() < rss + ((size_t)1 << 20));
}

static void test_a_day_passes(void **state) {
  (void)state;
  session s = {0};
  tm_config config;
  tm_target *t = NULL;
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME | TM_NO_SELF_TEST;
  config.start_ns = SECOND;
  assert_int_equal(tm_open(&config, &s.engine), TM_OK);
  assert_int_equal(tm_on_event(s.engine, on_notice, &s), TM_OK);
  assert_int_equal(tm_action_register(s.engine, "app.trim", trim, &s), TM_OK);
  assert_int_equal(tm_grant(s.engine, "*", "act:*"), TM_OK);
  assert_int_equal(tm_rules_load(s.engine, "high.lua", rule, sizeof rule - 1), TM_OK);
  assert_int_equal(tm_target_virtual(s.engine, "doc", &t), TM_OK);
  long long early = 0;
  size_t rss = 0;
  for (int64_t i = 2; i < 24 * 3600; i += 2) { // an alert of two minutes in every 20
    feed(&s, t, i, i % 1200 < 120 ? 200e6 : 10e6);
    if (i == 3 * 3600) {
      early = atomic_load(&blocks);
      rss = rss_bytes();
    }
  }
  assert_true(s.findings >= 60);
  assert_true(s.trims >= 30);
  long long grown = atomic_load(&blocks) - early;
  print_message("blocks after 3 h %lld, in the 21 h since %+lld\n", early, grown);
  assert_true(grown < 600); // a few more of the series' older points, no more
  if (!sanitized()) assert_true(rss_bytes() < rss + ((size_t)1 << 20));
  assert_int_equal(tm_close(s.engine, NULL, NULL), TM_OK);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_each_allocation_fails), cmocka_unit_test(test_memory_stays_out),
      cmocka_unit_test(test_live_allocations_fail), cmocka_unit_test(test_thousand_lives),
      cmocka_unit_test(test_a_day_passes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
