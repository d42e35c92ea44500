// floors: engine read
// What a target keeps of snapshots: how many, in what order, and for how long somebody holds them.
#include "engine/shots.h"
#include "read/reader.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static tm_ctx ctx;
static tm_engine *engine;
static tm_target *target;

static int set_up(void **state) {
  (void)state;
  tm_engine_options options = {.dry_run = true};
  tm_target_facts facts = {.id = "t:1", .name = "t", .command = "t", .exe = ""};
  tm_ctx_init(&ctx, NULL);
  assert_int_equal(tm_engine_new(&ctx, &options, &engine), TM_OK);
  return tm_engine_add_target(engine, &facts, &target) != TM_OK;
}

static int tear_down(void **state) {
  (void)state;
  tm_engine_free(engine);
  tm_ctx_fini(&ctx);
  return 0;
}

static void feed(const char *metric, int64_t time_ns, int value) {
  char text[80];
  snprintf(text, sizeof text, "main;leak %d\n", value);
  tm_snapshot s = {0};
  assert_int_equal(tm_read_buffer(&ctx, text, strlen(text), "collapsed", &s), TM_OK);
  assert_int_equal(tm_engine_feed_snapshot(engine, target, metric, time_ns, s.model), TM_OK);
  s.model = NULL;
  tm_snapshot_fini(&s);
}

static void keeps_as_many_as_the_longest_demand(void **state) {
  (void)state;
  const tm_demand short_one = {"a", "pprof.heap", 1, 2}, long_one = {"b", "pprof.heap", 1, 4};
  assert_int_equal(tm_target_demand(engine, target, &short_one), TM_OK);
  assert_int_equal(tm_target_demand(engine, target, &long_one), TM_OK);
  for (int i = 1; i <= 10; i++) feed("pprof.heap", i * 1000, i);
  const tm_shot *list[TM_SHOTS_MAX];
  assert_int_equal(tm_target_shots(engine, target, "pprof.heap", list, TM_SHOTS_MAX), 4);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(list[i]->time_ns, (7 + i) * 1000);
    assert_int_equal(list[i]->ordinal, 7 + i);
    assert_int_equal(list[i]->profile->values.items[0], 7 + i);
    tm_shot_release(list[i]);
  }
  assert_int_equal(tm_target_shots(engine, target, "pprof.heap", list, 1), 1);
  assert_int_equal(list[0]->ordinal, 10); // the newest of them
  tm_shot_release(list[0]);
}

static void metrics_do_not_mix_and_late_ones_are_dropped(void **state) {
  (void)state;
  feed("pprof.heap", 1000, 1);
  feed("pprof.heap?gc=1", 1000, 2);
  feed("pprof.heap", 900, 3);
  feed("pprof.heap", 1000, 4);
  assert_int_equal(tm_target_shot_ordinal(engine, target, "pprof.heap"), 1);
  assert_int_equal(tm_target_shot_ordinal(engine, target, "pprof.heap?gc=1"), 1);
  assert_int_equal(tm_target_shot_ordinal(engine, target, "go.goroutines"), 0);
}

// ASan would tell of a freed profile.
static void a_held_one_outlives_its_target(void **state) {
  (void)state;
  const tm_shot *held[1];
  feed("pprof.heap", 1000, 42);
  assert_int_equal(tm_target_shots(engine, target, "pprof.heap", held, 1), 1);
  tm_engine_remove_target(engine, target, "test");
  assert_int_equal(held[0]->profile->values.items[0], 42);
  tm_shot_release(held[0]);
}

typedef struct told {
  int count;
  char metric[40];
  int64_t time_ns;
} told;

static void on_snapshot(void *ud, tm_target *of, const char *metric, const tm_shot *shot) {
  told *t = ud;
  assert_ptr_equal(of, target);
  t->count++;
  t->time_ns = shot->time_ns;
  snprintf(t->metric, sizeof t->metric, "%s", metric);
}

static void observers_are_told(void **state) {
  (void)state;
  told t = {0};
  const tm_engine_observer observer = {.ud = &t, .snapshot = on_snapshot};
  assert_int_equal(tm_engine_observe(engine, &observer), TM_OK);
  feed("pprof.mutex", 5000, 1);
  feed("pprof.mutex", 4000, 1);
  assert_int_equal(t.count, 1);
  assert_int_equal(t.time_ns, 5000);
  assert_string_equal(t.metric, "pprof.mutex");
  tm_engine_unobserve(engine, &t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(keeps_as_many_as_the_longest_demand, set_up, tear_down),
      cmocka_unit_test_setup_teardown(metrics_do_not_mix_and_late_ones_are_dropped, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(a_held_one_outlives_its_target, set_up, tear_down),
      cmocka_unit_test_setup_teardown(observers_are_told, set_up, tear_down)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
