// floors: facade
// Functions of a host that rules call: values there and back, errors, limits, reload, threads.
#include "tidemark.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

static tm_embed *open_virtual(void) {
  tm_config config;
  tm_embed *engine = NULL;
  tm_config_init(&config, sizeof config);
  config.flags = TM_VIRTUAL_TIME;
  config.start_ns = 1000 * SECOND;
  config.rule_load_ns = config.rule_hard_ns = (uint64_t)(20 * SECOND); // sanitizers are slow
  assert_int_equal(tm_open(&config, &engine), TM_OK);
  return engine;
}

// What a rule file sees: its text ends by raising the answer.
static const char *said(tm_embed *engine, const char *text) {
  assert_int_equal(tm_rules_check(engine, "t.lua", text, strlen(text)), TM_E_RULE);
  return tm_message(engine);
}

#define SAYS(engine, lua, what)                                                                    \
  do {                                                                                             \
    const char *message = said(engine, lua);                                                       \
    if (!strstr(message, what)) fail_msg("%s\nsaid: %s\ninstead of: %s", lua, message, what);      \
  } while (0)

// ---- functions of the host ----

static tm_status echo(void *ud, const char *args, size_t size, tm_write_fn write, void *write_ud) {
  if (ud) ++*(int *)ud;
  assert_int_equal(args[size], '\0');
  assert_int_equal(write(write_ud, args, size / 2), 0); // in two parts
  return write(write_ud, args + size / 2, size - size / 2) == 0 ? TM_OK : TM_E_CANCELLED;
}

static tm_status answer(void *ud, const char *args, size_t size, tm_write_fn write,
                        void *write_ud) {
  (void)args, (void)size;
  if (ud) (void)write(write_ud, ud, strlen(ud));
  return TM_OK;
}

static tm_status refuse(void *ud, const char *args, size_t size, tm_write_fn write,
                        void *write_ud) {
  (void)args, (void)size;
  if (ud) (void)write(write_ud, ud, strlen(ud));
  return TM_E_PERM;
}

static tm_status endless(void *ud, const char *args, size_t size, tm_write_fn write,
                         void *write_ud) {
  static const char piece[4096] = {' '};
  (void)args, (void)size;
  size_t written = 0;
  while (write(write_ud, piece, sizeof piece) == 0) written += sizeof piece;
  *(size_t *)ud = written;
  return TM_OK; // although it was refused
}

static double sum(const double *args, size_t count, void *ud) {
  double total = ud ? *(double *)ud : 0;
  for (size_t i = 0; i < count; i++) total += args[i];
  return total;
}

// ---- values ----

static void test_values(void **state) {
  (void)state;
  tm_embed *e = open_virtual();
  int calls = 0;
  assert_int_equal(tm_function_register(e, "geo.echo", echo, &calls), TM_OK);
  assert_int_equal(tm_function_register(e, "geo.deep.nothing", answer, NULL), TM_OK);
  assert_int_equal(tm_function_register(e, "geo.deep.null", answer, (void *)"null"), TM_OK);
  SAYS(e,
       "local geo = require 'geo'; local r = geo.echo(1, 'x', nil, { a = true })\n"
       "error('=' .. r[1] .. r[2] .. tostring(r[3] == host.null) .. tostring(r[4].a))",
       "=1xtruetrue");
  SAYS(e, "error('=' .. tostring(#host.geo.echo()))", "=0");
  SAYS(e, "error('=' .. host.geo.echo(1.5, 1 << 53)[1])", "=1.5");
  SAYS(e, "error('=' .. math.type(host.geo.echo(1 << 60)[1]))", "=integer");
  SAYS(e, "error('=' .. host.geo.echo('\\u{e4}\"\\n')[1])", "=ä\"\n");
  SAYS(e, "error('=' .. tostring(host.geo.deep.nothing()))", "=nil");
  SAYS(e, "error('=' .. tostring(host.geo.deep.null()))", "=nil");
  SAYS(e, "error('=' .. tostring(require('geo.deep').null == host.geo.deep.null))", "=false");
  SAYS(e, "error('=' .. tostring(host.geo.none))", "=nil");
  SAYS(e, "require 'io'", "module 'io' not found");
  SAYS(e, "require 'geo.echo'", "module 'geo.echo' not found");
  SAYS(e, "host.geo.other = 1", "cannot be changed");
  SAYS(e, "error('=' .. tostring(getmetatable(host.geo)))", "=false");
  assert_int_equal(calls, 5);
  assert_int_equal(tm_close(e, NULL, NULL), TM_OK);
}

static void test_numbers(void **state) {
  (void)state;
  tm_embed *e = open_virtual();
  double first = 100;
  assert_int_equal(tm_function_register_number(e, "m.sum", sum, &first), TM_OK);
  SAYS(e, "error('=' .. host.m.sum(1, 2.5))", "=103.5");
  SAYS(e, "error('=' .. host.m.sum())", "=100.0");
  SAYS(e, "host.m.sum('x')", "number expected");
  SAYS(e, "host.m.sum(1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17)", "at most 16");
  assert_int_equal(tm_close(e, NULL, NULL), TM_OK);
}

// ---- errors and limits ----

static void test_errors(void **state) {
  (void)state;
  tm_embed *e = open_virtual();
  size_t written = 0;
  assert_int_equal(tm_function_register(e, "m.no", refuse, (void *)"not for you"), TM_OK);
  assert_int_equal(tm_function_register(e, "m.mute", refuse, NULL), TM_OK);
  assert_int_equal(tm_function_register(e, "m.bad", answer, (void *)"{\"a\":}"), TM_OK);
  assert_int_equal(tm_function_register(e, "m.two", answer, (void *)"1 2"), TM_OK);
  assert_int_equal(tm_function_register(e, "m.endless", endless, &written), TM_OK);
  SAYS(e, "\nhost.m.no()", "t.lua:2: m.no: not for you");
  SAYS(e, "local function deep() host.m.no() end\ndeep()", "stack traceback");
  SAYS(e, "host.m.mute()", "m.mute: permission");
  SAYS(e, "host.m.bad()", "m.bad: its answer is not JSON");
  SAYS(e, "host.m.two()", "something stands behind the value");
  SAYS(e, "host.m.endless()", "m.endless: its answer: ");
  assert_true(written > 900000 && written <= 1 << 20);
  SAYS(e, "host.m.bad(('x'):rep(2 << 20))", "m.bad: its arguments: ");
  SAYS(e, "local ok, why = pcall(host.m.no); error('=' .. tostring(ok) .. why)",
       "=falsem.no: not for you");
  SAYS(e, "error('=' .. tostring(select(2, pcall(host.m.bad, 1)):find('JSON') ~= nil))", "=true");

  const char *const names[] = {"",
                               "m",
                               "m.",
                               ".m",
                               "m..n",
                               "1.m",
                               "m.1",
                               "m no",
                               "m.no.x",
                               "a.ä",
                               "m.nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    assert_int_equal(tm_function_register(e, names[i], echo, NULL), TM_E_ARG);
  assert_int_equal(tm_function_register(e, NULL, echo, NULL), TM_E_ARG);
  assert_int_equal(tm_function_register(e, "m.none", NULL, NULL), TM_OK); // nothing to take away
  assert_int_equal(tm_close(e, NULL, NULL), TM_OK);
  assert_int_equal(tm_function_register(NULL, "m.a", echo, NULL), TM_E_ARG);
}

// ---- rules that live on ----

static const char calling_rule[] =
    "local m = require 'm'\n"
    "tm.rule { id = 'm.calls', doc = 'd', every = '1s', hold = '0s',\n"
    "  inputs = { x = tm.ring('app.x', { every = '1s', keep = 9 }) },\n"
    "  check = function(c)\n"
    "    if c.x.last then\n"
    "      return c:finding { level = 'info', value = m.sum(c.x.last, 1), text = 'summed' }\n"
    "    end\n"
    "  end,\n"
    "  tests = { ['it sums'] = function(t) t:feed('app.x', { { '1s', 1 } }) t:advance('5s') "
    "end } }\n";

typedef struct told {
  int errors, loaded, failed;
  char problem[600];
} told;

static void on_notice(void *ud, const tm_notice *n) {
  told *t = ud;
  t->loaded += strcmp(n->word, "rule_loaded") == 0;
  t->failed += strcmp(n->word, "rule_load_failed") == 0;
  if (strcmp(n->word, "rule_error") != 0 && strcmp(n->word, "rule_load_failed") != 0) return;
  t->errors++;
  snprintf(t->problem, sizeof t->problem, "%.590s", n->text);
}

static void step(tm_embed *e, tm_target *t, int64_t second, double value) {
  assert_int_equal(tm_feed(e, t, "app.x", second * SECOND, value), TM_OK);
  assert_int_equal(tm_clock_set(e, second * SECOND), TM_OK);
}

static void take_value(void *ud, const tm_notice *n) {
  *(double *)ud = n->value;
}

static double found(tm_embed *e) {
  double value = -1;
  assert_int_equal(tm_findings(e, take_value, &value), TM_OK);
  return value;
}

static void test_reload_and_registration(void **state) {
  (void)state;
  tm_embed *e = open_virtual();
  told t = {0};
  tm_target *target;
  double first = 10, second = 20;
  char changed[sizeof calling_rule + 8];
  assert_int_equal(tm_on_event(e, on_notice, &t), TM_OK);
  assert_int_equal(tm_target_virtual(e, "doc", &target), TM_OK);
  // nobody offers it yet
  assert_int_equal(tm_rules_load(e, "r.lua", calling_rule, sizeof calling_rule - 1), TM_OK);
  assert_int_equal(t.failed, 1);
  assert_non_null(strstr(t.problem, "module 'm' not found"));
  assert_int_equal(tm_function_register_number(e, "m.sum", sum, &first), TM_OK);
  assert_int_equal(tm_rules_load(e, "r.lua", calling_rule, sizeof calling_rule - 1), TM_OK);
  if (t.loaded != 1) fail_msg("%s", t.problem);
  step(e, target, 1001, 1);
  step(e, target, 1003, 2);
  assert_true(found(e) > 12.9 && found(e) < 13.1);
  // another in its place: the loaded rule sees it
  assert_int_equal(tm_function_register_number(e, "m.sum", sum, &second), TM_OK);
  step(e, target, 1005, 2);
  step(e, target, 1007, 3);
  assert_true(found(e) > 23.9 && found(e) < 24.1);
  snprintf(changed, sizeof changed, "%s-- 2", calling_rule);
  assert_int_equal(tm_rules_load(e, "r.lua", changed, strlen(changed)), TM_OK);
  assert_int_equal(t.loaded, 2);
  step(e, target, 1009, 4);
  SAYS(e, "error('=' .. host.m.sum(1))", "=21");
  // taken away: an error of the rule, and a reason
  t.errors = 0;
  assert_int_equal(tm_function_register_number(e, "m.sum", NULL, NULL), TM_OK);
  step(e, target, 1011, 5);
  step(e, target, 1013, 6);
  assert_true(t.errors > 0);
  assert_non_null(strstr(t.problem, "does not offer it any more"));
  // of the other kind, under the same name
  assert_int_equal(tm_function_register(e, "m.sum", answer, (void *)"77"), TM_OK);
  SAYS(e, "error('=' .. host.m.sum(1))", "=77");
  assert_int_equal(tm_close(e, NULL, NULL), TM_OK);
}

// ---- threads ----

typedef struct inside {
  tm_embed *engine;
  atomic_int calls, posted, wrong;
  pthread_t owner;
} inside;

static void on_posted(tm_embed *engine, void *ud) {
  inside *in = ud;
  if (tm_rules_unload(engine, "none") == TM_OK) atomic_fetch_add(&in->posted, 1);
}

static tm_status look_around(void *ud, const char *args, size_t size, tm_write_fn write,
                             void *write_ud) {
  inside *in = ud;
  (void)args, (void)size;
  bool owns = pthread_equal(in->owner, pthread_self());
  tm_status expected = owns ? TM_E_BUSY : TM_E_THREAD;
  if (tm_rules_unload(in->engine, "none") != expected) atomic_fetch_add(&in->wrong, 1);
  if (tm_function_register(in->engine, "m.look", NULL, NULL) != expected)
    atomic_fetch_add(&in->wrong, 1);
  if (tm_close(in->engine, NULL, NULL) != TM_E_BUSY) atomic_fetch_add(&in->wrong, 1);
  if (tm_post(in->engine, on_posted, in) != TM_OK) atomic_fetch_add(&in->wrong, 1);
  atomic_fetch_add(&in->calls, 1);
  return write(write_ud, "true", 4) == 0 ? TM_OK : TM_E_LIMIT;
}

static const char looking_rule[] =
    "tm.rule { id = 'm.looks', doc = 'd', every = '1s', hold = '0s',\n"
    "  inputs = { rss = tm.ring('proc.rss', { every = '1s', keep = 9 }) },\n"
    "  check = function(c) host.m.look(c.rss.last) end }\n";

static void test_on_the_rules_thread(void **state) {
  (void)state;
  tm_config config;
  inside in = {.owner = pthread_self()};
  tm_config_init(&config, sizeof config);
  config.every_ns = 20000000;
  assert_int_equal(tm_open(&config, &in.engine), TM_OK);
  assert_int_equal(tm_function_register(in.engine, "m.look", look_around, &in), TM_OK);
  assert_int_equal(tm_rules_load(in.engine, "l.lua", looking_rule, sizeof looking_rule - 1), TM_OK);
  assert_int_equal(tm_attach_pid(in.engine, 0, NULL, NULL), TM_OK);
  static const char top[] = "host.m.look()";
  assert_int_equal(tm_rules_check(in.engine, "t.lua", top, sizeof top - 1), TM_OK);
  for (int i = 0; i < 2000 && (atomic_load(&in.calls) < 3 || atomic_load(&in.posted) < 2); i++)
    assert_int_equal(tm_poll(in.engine, 10), TM_OK);
  assert_true(atomic_load(&in.calls) >= 3);
  assert_true(atomic_load(&in.posted) >= 2);
  assert_int_equal(atomic_load(&in.wrong), 0);
  // set anew again and again while the rules' thread calls it
  for (int i = 0; i < 200; i++) {
    assert_int_equal(tm_function_register(in.engine, "m.look", i % 3 ? look_around : NULL, &in),
                     TM_OK);
    assert_int_equal(tm_poll(in.engine, 0), TM_OK);
  }
  assert_int_equal(tm_close(in.engine, NULL, NULL), TM_OK);
  int calls = atomic_load(&in.calls);
  assert_int_equal(atomic_load(&in.wrong), 0);
  assert_int_equal(atomic_load(&in.calls), calls); // none after close
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),
      cmocka_unit_test(test_numbers),
      cmocka_unit_test(test_errors),
      cmocka_unit_test(test_reload_and_registration),
      cmocka_unit_test(test_on_the_rules_thread),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
