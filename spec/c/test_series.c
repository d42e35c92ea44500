// floors: model
// Series against a brute-force copy of everything that was pushed.
#include "model/series.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000000)

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

static tm_series *series_of(size_t capacity, size_t older_bytes) {
  tm_series *series;
  assert_int_equal(tm_series_new(&ctx, capacity, older_bytes, &series), TM_OK);
  return series;
}

static void push(tm_series *series, int64_t time_ns, double value) {
  assert_int_equal(tm_series_push(&ctx, series, time_ns, value), TM_OK);
}

static void keeps_the_newest_raw(void **state) {
  (void)state;
  tm_series *series = series_of(5, 0);
  int64_t times[16];
  double values[16];
  assert_false(tm_series_last(series, times, values));
  for (int i = 0; i < 12; i++) push(series, i * SECOND, i);
  assert_int_equal(tm_series_count(series), 5);
  assert_int_equal(tm_series_copy(series, 0, times, values, 16), 5);
  for (int i = 0; i < 5; i++) assert_true(times[i] == (7 + i) * SECOND && values[i] == 7 + i);
  assert_int_equal(tm_series_copy(series, 9 * SECOND, times, values, 16), 3);
  assert_true(values[0] == 9);
  assert_int_equal(tm_series_copy(series, 9 * SECOND + 1, times, values, 16), 2);
  assert_int_equal(tm_series_copy(series, 0, times, values, 2), 2);
  assert_true(values[0] == 10 && values[1] == 11);
  assert_int_equal(tm_series_copy(series, 99 * SECOND, times, values, 16), 0);
  assert_true(tm_series_last(series, times, values) && values[0] == 11);
  tm_series_free(series);
}

static void refuses_the_past_and_replaces_the_present(void **state) {
  (void)state;
  tm_series *series = series_of(3, 1024);
  int64_t time_ns;
  double value;
  push(series, 5 * SECOND, 1);
  push(series, 5 * SECOND, 2);
  assert_int_equal(tm_series_count(series), 1);
  assert_int_equal(tm_series_push(&ctx, series, 5 * SECOND - 1, 3), TM_E_ARG);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_series_push(&ctx, series, -1, 3), TM_E_ARG);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_series_push(&ctx, series, INT64_MAX, 3), TM_E_ARG);
  tm_ctx_clear(&ctx);
  assert_true(tm_series_last(series, &time_ns, &value) && value == 2);
  tm_series_free(series);
}

static void grows_without_losing(void **state) {
  (void)state;
  tm_series *series = series_of(4, 0);
  int64_t times[16];
  double values[16];
  for (int i = 0; i < 7; i++) push(series, i, i);
  assert_int_equal(tm_series_reserve(&ctx, series, 8), TM_OK);
  assert_int_equal(tm_series_reserve(&ctx, series, 2), TM_OK);
  for (int i = 7; i < 13; i++) push(series, i, i);
  assert_int_equal(tm_series_copy(series, 0, times, values, 16), 8);
  for (int i = 0; i < 8; i++) assert_true(values[i] == 5 + i);
  tm_series_free(series);
}

// Least and greatest of each minute of the brute-force copy must be in the thinned part.
static void keeps_the_extremes_of_each_minute(void **state) {
  (void)state;
  enum { N = 4000, RING = 50, MINUTES = N * 7 / 60 + 2 };
  static int64_t times[N];
  static double values[N];
  double least[MINUTES], most[MINUTES], got_least[MINUTES], got_most[MINUTES];
  tm_series *series = series_of(RING, 1 << 20);
  srand(3);
  for (int m = 0; m < MINUTES; m++) least[m] = most[m] = got_least[m] = got_most[m] = NAN;
  for (int i = 0; i < N; i++) {
    double value = rand() % 50 == 0 ? NAN : rand() % 100 == 0 ? 1e9 : rand() % 1000;
    int m = i * 7 / 60;
    push(series, i * 7 * SECOND + 123, value);
    least[m] = fmin(least[m], value);
    most[m] = fmax(most[m], value);
  }
  size_t n = tm_series_copy(series, 0, times, values, N);
  assert_int_equal(n, tm_series_count(series));
  assert_int_equal(tm_series_raw_count(series), RING);
  for (size_t i = 0; i < n; i++) {
    int m = (int)(times[i] / (60 * SECOND));
    if (i) assert_true(times[i] > times[i - 1]);
    got_least[m] = fmin(got_least[m], values[i]);
    got_most[m] = fmax(got_most[m], values[i]);
  }
  for (int m = 0; m < MINUTES; m++) {
    assert_true(least[m] == got_least[m] || (isnan(least[m]) && isnan(got_least[m])));
    assert_true(most[m] == got_most[m] || (isnan(most[m]) && isnan(got_most[m])));
  }
  for (size_t max = 1; max < n; max += 97) { // the newest max are the end of all
    static int64_t part_times[N];
    static double part[N];
    assert_int_equal(tm_series_copy(series, 0, part_times, part, max), max);
    assert_memory_equal(part_times, times + n - max, max * sizeof *part_times);
    assert_memory_equal(part, values + n - max, max * sizeof *part);
  }
  for (size_t i = 0; i < n; i += 41) { // and any window is the end from its start
    static int64_t part_times[N];
    static double part[N];
    assert_int_equal(tm_series_copy(series, times[i], part_times, part, N), n - i);
    assert_memory_equal(part_times, times + i, (n - i) * sizeof *part_times);
  }
  tm_series_free(series);
}

static void draws_an_envelope(void **state) {
  (void)state;
  tm_series *series = series_of(10, 4096);
  double min[4], max[4];
  for (int i = 0; i < 240; i++) push(series, i * 10 * SECOND, i == 100 ? 5000 : i == 30 ? -7 : 100);
  tm_series_envelope(series, 0, 2400 * SECOND, 4, min, max);
  assert_true(min[0] == -7 && max[0] == 100);
  assert_true(min[1] == 100 && max[1] == 5000);
  assert_true(min[3] == 100 && max[3] == 100);
  tm_series_envelope(series, 9000 * SECOND, 9001 * SECOND, 4, min, max);
  assert_true(isnan(min[0]) && isnan(max[3]));
  min[0] = 3;
  tm_series_envelope(series, 5, 5, 4, min, max);
  assert_true(min[0] == 3);
  tm_series_free(series);
}

static void stays_under_its_cap(void **state) {
  (void)state;
  enum { CAP = 4096, N = 200000 };
  tm_series *series = series_of(60, CAP);
  size_t warm_bytes = 0;
  srand(5);
  for (int i = 0; i < N; i++) {
    push(series, i * 5 * SECOND, (double)(rand() % 1000000) * 4096);
    if (i == N / 2) warm_bytes = tm_series_memory_bytes(series);
    assert_in_range(tm_series_memory_bytes(series), 0, 60 * 16 + CAP + 2048);
  }
  // Noise packs a little better or worse by the hour: flat is within a chunk.
  assert_in_range(tm_series_memory_bytes(series), 0, warm_bytes + CAP / 4);
  assert_true(tm_series_count(series) > 60 + 4 * 120); // four hours of noise
  tm_series_free(series);
}

static void an_idle_hour_is_under_200_bytes(void **state) {
  (void)state;
  tm_series *series = series_of(60, 1 << 20);
  int i = 0;
  for (; i < 720 * 4; i++) push(series, i * 5 * SECOND, 12345678);
  size_t before = tm_series_memory_bytes(series);
  for (; i < 720 * 44; i++) push(series, i * 5 * SECOND + i % 3, 12345678);
  assert_in_range((tm_series_memory_bytes(series) - before) / 40, 1, 200); // bar S7
  for (; i < 720 * 60; i++) push(series, i * 5 * SECOND, 12345678);
  before = tm_series_memory_bytes(series);
  for (; i < 720 * 300; i++) push(series, i * 5 * SECOND, 12345678);
  assert_in_range(tm_series_memory_bytes(series), 0, before + 200); // flat once two days are full
  assert_in_range(tm_series_count(series), 48 * 120, 51 * 120);
  tm_series_free(series);
}

static void *failing_realloc(void *ud, void *p, size_t old_size, size_t size) {
  int *left = ud;
  if (size && (*left)-- <= 0) return NULL;
  return tm_allocator_malloc.realloc_fn(NULL, p, old_size, size);
}

static void survives_lack_of_memory(void **state) {
  (void)state;
  for (int budget = 0; budget < 12; budget++) {
    int left = budget;
    tm_allocator alloc = {failing_realloc, &left};
    tm_ctx poor;
    tm_series *series = NULL;
    tm_ctx_init(&poor, &alloc);
    if (tm_series_new(&poor, 4, 4096, &series) == TM_OK) {
      for (int i = 0; i < 2000; i++) {
        tm_status status = tm_series_push(&poor, series, i * 30 * SECOND, i * 0.37);
        assert_true(status == TM_OK || status == TM_E_NOMEM);
        tm_ctx_clear(&poor);
      }
      double value;
      int64_t time_ns;
      assert_true(tm_series_last(series, &time_ns, &value) && value == 1999 * 0.37);
      assert_int_equal(tm_series_raw_count(series), 4);
    }
    tm_series_free(series);
    tm_ctx_fini(&poor);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_the_newest_raw),
      cmocka_unit_test(refuses_the_past_and_replaces_the_present),
      cmocka_unit_test(grows_without_losing),
      cmocka_unit_test(keeps_the_extremes_of_each_minute),
      cmocka_unit_test(draws_an_envelope),
      cmocka_unit_test(stays_under_its_cap),
      cmocka_unit_test(an_idle_hour_is_under_200_bytes),
      cmocka_unit_test(survives_lack_of_memory),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
