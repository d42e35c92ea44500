// floors: read analyze
// Growth over a series of collapsed stacks against points kept by hand.
#include "analyze/growth.h"
#include "read/reader.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define HOUR INT64_C(3600000000000)

static tm_ctx ctx;

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tm_ctx_fini(&ctx);
  return 0;
}

static void add(tm_growth *g, const char *text, int64_t time_ns) {
  tm_snapshot s = {0};
  assert_int_equal(tm_read_buffer(&ctx, text, strlen(text), "collapsed", &s), TM_OK);
  assert_int_equal(tm_growth_add(&ctx, g, s.model, time_ns), TM_OK);
  tm_snapshot_fini(&s); // the growth keeps nothing of it
}

static tm_table *grow(tm_growth_by by, tm_growth **g) {
  tm_report_options o;
  tm_report_options_init(&o);
  assert_int_equal(tm_growth_new(&ctx, by, &o, g), TM_OK);
  for (int i = 0; i < 6; i++) {
    char text[200];
    snprintf(text, sizeof text, "main;leak %d\nmain;flat 50\nmain;noise %d\nmain;a;leak %d\n%s",
             100 + 10 * i, i % 2 ? 900 : 10, 5 * i, i >= 4 ? "main;late 7\n" : "");
    add(*g, text, (i + 1) * HOUR);
  }
  tm_table *t;
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  assert_int_equal(tm_growth_table(&ctx, *g, 0, t), TM_OK);
  return t;
}

static void ranks_what_rises_in_every_step(void **state) {
  (void)state;
  tm_growth *g;
  tm_table *t = grow(TM_GROWTH_BY_FUNCTION, &g);
  assert_string_equal(tm_table_text(t, 0, 0), "leak");
  assert_int_equal(tm_table_int(t, 0, 1), 100);
  assert_int_equal(tm_table_int(t, 0, 2), 175);
  assert_int_equal(tm_table_int(t, 0, 3), 75);
  assert_int_equal(tm_table_int(t, 0, 4), 5);
  assert_int_equal(tm_table_int(t, 0, 5), 0);
  double per_hour = tm_table_real(t, 0, 6);
  assert_true(per_hour > 14.999 && per_hour < 15.001);
  assert_true(tm_table_real(t, 0, 8) > 0.999);
  for (size_t i = 0; i < tm_table_row_count(t); i++)
    assert_string_not_equal(tm_table_text(t, i, 0), "flat"); // what stays is not listed
  assert_int_equal(tm_table_row_count(t), 3);
  tm_table_free(t);
  tm_growth_free(g);
}

static void tells_paths_apart(void **state) {
  (void)state;
  tm_growth *g;
  tm_table *t = grow(TM_GROWTH_BY_PATH, &g);
  assert_string_equal(tm_table_text(t, 0, 0), "main;leak");
  assert_int_equal(tm_table_int(t, 0, 3), 50);
  assert_string_equal(tm_table_text(t, 1, 0), "main;a;leak");
  assert_int_equal(tm_table_int(t, 1, 3), 25);
  bool late = false;
  for (size_t i = 0; i < tm_table_row_count(t); i++)
    if (strcmp(tm_table_text(t, i, 0), "main;late") == 0) {
      late = true;
      assert_int_equal(tm_table_int(t, i, 1), 0); // it was not there at first
      assert_int_equal(tm_table_int(t, i, 4), 1);
    }
  assert_true(late);
  tm_table_free(t);
  tm_growth_free(g);
}

static void refuses_snapshots_out_of_order(void **state) {
  (void)state;
  tm_growth *g;
  tm_report_options o;
  tm_report_options_init(&o);
  assert_int_equal(tm_growth_new(&ctx, TM_GROWTH_BY_PATH, &o, &g), TM_OK);
  add(g, "a;b 1\n", 2 * HOUR);
  tm_snapshot s = {0};
  assert_int_equal(tm_read_buffer(&ctx, "a;b 1\n", 6, "collapsed", &s), TM_OK);
  assert_int_equal(tm_growth_add(&ctx, g, s.model, HOUR), TM_E_ARG);
  tm_snapshot_fini(&s);
  tm_growth_free(g);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(ranks_what_rises_in_every_step),
                                     cmocka_unit_test(tells_paths_apart),
                                     cmocka_unit_test(refuses_snapshots_out_of_order)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
