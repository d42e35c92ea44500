// floors: analyze
// The two steps below the gate: rank statistics of short series against sorting and textbook
// figures, and the floor of a window against the series it was made of.
#include "analyze/floors.h"
#include "analyze/kendall.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 720, PAIRS = 64 * 63 / 2 };

#define SECOND INT64_C(1000000000)

static tm_ctx ctx;
static uint64_t rng;
static int64_t time_ns[MOST];
static double value[MOST];

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  rng = 5;
  for (size_t i = 0; i < MOST; i++) time_ns[i] = (int64_t)i * 5 * SECOND;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  assert_true(ctx.scratch.used_bytes == 0); // everything borrowed was given back
  tm_ctx_fini(&ctx);
  return 0;
}

static double uniform(void) {
  rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return ((double)(rng >> 33) + 0.5) / 2147483648.0;
}

static void assert_near(double got, double expected) {
  if (fabs(got - expected) <= 1e-9 * (1 + fabs(expected))) return;
  fail_msg("got %.17g instead of %.17g", got, expected);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static tm_kendall kendall(const double *t, const double *v, size_t n) {
  tm_kendall out;
  assert_int_equal(tm_kendall_compute(&ctx, t, v, n, &out), TM_OK);
  return out;
}

// ---- kendall ----

// S is spread over all orders of the values: its variance, counted, must be the formula's. Five
// values have 120 orders; equal values are ties.
static void variance_is_that_of_all_orders(void **state) {
  (void)state;
  static const double sets[][5] = {
      {1, 2, 3, 4, 5}, {1, 2, 2, 3, 4}, {1, 1, 2, 2, 2}, {7, 7, 7, 7, 8}, {3, 3, 3, 3, 3}};
  static const double t[] = {0, 1, 2, 3, 4};
  for (size_t set = 0; set < TM_COUNT(sets); set++) {
    double sum = 0, squares = 0, formula = 0, orders = 0;
    for (size_t code = 0; code < 3125; code++) {
      double v[5];
      bool taken[5] = {false}, all = true;
      for (size_t i = 0, c = code; i < 5; i++, c /= 5) {
        all = all && !taken[c % 5];
        taken[c % 5] = true;
        v[i] = sets[set][c % 5];
      }
      if (!all) continue;
      tm_kendall k = kendall(t, v, 5);
      sum += k.s;
      squares += k.s * k.s;
      formula = k.variance;
      orders++;
    }
    assert_near(orders, 120);
    assert_near(sum, 0);
    assert_near(formula, squares / orders);
  }
}

// Times at odd distances, some of them equal.
static void slope_and_interval_match_sorting(void **state) {
  (void)state;
  static double slope[PAIRS];
  double t[64], v[64];
  for (int round = 0; round < 300; round++) {
    size_t n = 2 + (size_t)(uniform() * 62.9), count = 0;
    for (size_t i = 0; i < n; i++) {
      t[i] = (i ? t[i - 1] : 0) + floor(3 * uniform());
      v[i] = floor((round % 2 ? 4 : 4000) * uniform()) + 10 * t[i];
    }
    tm_kendall k = kendall(t, v, n);
    for (size_t i = 0; i < n; i++)
      for (size_t j = i + 1; j < n; j++)
        if (t[j] > t[i]) slope[count++] = (v[j] - v[i]) / (t[j] - t[i]);
    if (count == 0) {
      assert_true(k.slope == 0 && k.slope_low == 0 && k.slope_high == 0);
      continue;
    }
    qsort(slope, count, sizeof *slope, by_value);
    assert_near(k.slope, (slope[(count - 1) / 2] + slope[count / 2]) / 2);
    double c = 1.959963984540054 * sqrt(k.variance * k.correction), pairs = (double)count;
    double low = floor((pairs - c) / 2), high = ceil((pairs + c) / 2) + 1; // ranks from 1
    assert_near(k.slope_low, slope[low < 1 ? 0 : (size_t)low - 1]);
    assert_near(k.slope_high, slope[high > pairs ? count - 1 : (size_t)high - 1]);
    double alone;
    assert_int_equal(tm_kendall_slope(&ctx, t, v, n, &alone), TM_OK);
    assert_near(alone, k.slope);
  }
}

static void one_wild_point_moves_nothing(void **state) {
  (void)state;
  double t[20], v[20];
  for (size_t i = 0; i < 20; i++) {
    t[i] = (double)i;
    v[i] = 3 + 2 * (double)i;
  }
  v[13] = 1e9;
  assert_near(kendall(t, v, 20).slope, 2);
}

static void correlation_widens_and_never_narrows(void **state) {
  (void)state;
  double t[60], v[60], e = 0;
  size_t wide = 0;
  for (int round = 0; round < 200; round++) {
    for (size_t i = 0; i < 60; i++) {
      t[i] = (double)i;
      e = 0.9 * e + uniform() - 0.5;
      v[i] = e;
    }
    wide += kendall(t, v, 60).correction > 1.5;
    for (size_t i = 0; i < 60; i++) v[i] = (i % 2 ? 10 : -10) + uniform(); // each against the last
    assert_true(kendall(t, v, 60).correction >= 1);
  }
  assert_true(wide > 150);
}

static void too_few_and_too_many(void **state) {
  (void)state;
  static const double t[65] = {0, 1}, v[65] = {5, 9};
  double slope;
  assert_true(kendall(t, v, 0).p == 1 && kendall(t, v, 1).p == 1 && kendall(t, v, 65).p == 1);
  assert_near(kendall(t, v, 2).slope, 4);
  assert_int_equal(tm_kendall_slope(&ctx, t, v, 1, &slope), TM_OK);
  assert_true(isnan(slope));
  ctx.scratch.cap_bytes = 1;
  tm_kendall k;
  assert_int_equal(tm_kendall_compute(&ctx, t, v, 64, &k), TM_E_NOMEM);
}

// ---- floors ----

static tm_floors floors_of(size_t n, uint32_t buckets) {
  tm_floors f;
  assert_int_equal(tm_floors_compute(&ctx, time_ns, value, n, buckets, &f), TM_OK);
  for (size_t i = 0; i < f.n; i++) { // each is a sample of the series, in order
    assert_near(f.value[i] * f.unit, value[f.at[i]]);
    assert_near(f.time_s[i], (double)time_ns[f.at[i]] / 1e9);
    assert_true(f.ceiling[i] >= f.value[i] && (i == 0 || f.at[i] > f.at[i - 1]));
  }
  return f;
}

static void takes_the_least_of_equal_spans(void **state) {
  (void)state;
  for (int round = 0; round < 200; round++) {
    uint32_t buckets = 8 + (uint32_t)(uniform() * 56);
    size_t per_bucket = 1 + (size_t)(uniform() * 11), n = buckets * per_bucket;
    for (size_t i = 0; i < n; i++) value[i] = 100 + floor(50 * uniform());
    tm_floors f = floors_of(n, buckets);
    if (f.cycle_s > 0) continue; // seen by chance
    assert_int_equal(f.n, buckets);
    assert_int_equal(f.used, n);
    for (size_t b = 0; b < buckets; b++) { // a slot of two samples may straddle
      size_t edge = per_bucket > 5 ? 2 : 0, to = (b + 1) * per_bucket - edge;
      double inner = INFINITY;
      for (size_t i = b * per_bucket + edge; i < to; i++) inner = fmin(inner, value[i]);
      if (per_bucket <= 5)
        assert_near(f.value[b] * f.unit, inner);
      else
        assert_true(f.value[b] * f.unit <= inner);
    }
  }
}

static void finds_the_collection_cycle(void **state) {
  (void)state;
  for (size_t cycle = 14; cycle <= 72; cycle += 2) {
    for (size_t i = 0; i < MOST; i++)
      value[i] = 1000 + 400 * (double)(i % cycle) / (double)cycle + 10 * uniform();
    tm_floors f = floors_of(MOST, 30);
    double seen = f.cycle_s / 5; // in samples; the slots are 5 samples wide
    double times = seen / (double)cycle;
    assert_true(seen == 0 ? cycle <= 20 : fabs(times - round(times)) * (double)cycle <= 5);
    for (size_t i = 0; i < f.n; i++) // every bucket saw a collection
      assert_true(f.value[i] * f.unit < 1000 + 400.0 / (double)cycle + 30);
    assert_true(f.n >= TM_FLOORS_MIN && f.n <= 30);
  }
}

static void leaves_out_what_is_no_sample(void **state) {
  (void)state;
  for (size_t i = 0; i < 100; i++) value[i] = 50 + (double)i;
  value[0] = NAN;
  value[20] = -INFINITY;
  value[99] = INFINITY;
  time_ns[30] = 0;                             // the clock went back
  value[40] = -1e9, time_ns[40] = time_ns[39]; // twice at the same time
  tm_floors f;
  assert_int_equal(tm_floors_compute(&ctx, time_ns, value, 100, 20, &f), TM_OK);
  assert_int_equal(f.used, 95);
  assert_near(f.span_s, 97 * 5);
  for (size_t i = 0; i < f.n; i++) assert_true(f.value[i] > 0);
}

static void odd_windows_have_no_floor(void **state) {
  (void)state;
  tm_floors f;
  assert_int_equal(tm_floors_compute(&ctx, NULL, NULL, 0, 30, &f), TM_OK);
  assert_true(f.n == 0 && f.used == 0);
  value[0] = 7;
  assert_int_equal(tm_floors_compute(&ctx, time_ns, value, 1, 30, &f), TM_OK);
  assert_true(f.n == 0 && f.used == 1);
  // All of time, and all there is of doubles.
  for (size_t i = 0; i < 100; i++) {
    time_ns[i] = (int64_t)((uint64_t)INT64_MIN + 1 + i * (UINT64_MAX / 100));
    value[i] = i % 2 ? 1.7e308 : -1.7e308;
  }
  assert_int_equal(tm_floors_compute(&ctx, time_ns, value, 100, 10, &f), TM_OK);
  assert_true(f.n == 10 && f.used == 100 && isfinite(f.value[0] * f.value[0]));
  for (size_t i = 0; i < 100; i++) value[i] = 5e-324;
  assert_int_equal(tm_floors_compute(&ctx, time_ns, value, 100, 10, &f), TM_OK);
  assert_true(f.n == 10 && f.unit > 0 && isfinite(f.value[0]));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(variance_is_that_of_all_orders, set_up, tear_down),
      cmocka_unit_test_setup_teardown(slope_and_interval_match_sorting, set_up, tear_down),
      cmocka_unit_test_setup_teardown(one_wild_point_moves_nothing, set_up, tear_down),
      cmocka_unit_test_setup_teardown(correlation_widens_and_never_narrows, set_up, tear_down),
      cmocka_unit_test_setup_teardown(too_few_and_too_many, set_up, tear_down),
      cmocka_unit_test_setup_teardown(takes_the_least_of_equal_spans, set_up, tear_down),
      cmocka_unit_test_setup_teardown(finds_the_collection_cycle, set_up, tear_down),
      cmocka_unit_test_setup_teardown(leaves_out_what_is_no_sample, set_up, tear_down),
      cmocka_unit_test_setup_teardown(odd_windows_have_no_floor, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
