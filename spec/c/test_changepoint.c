// floors: analyze
// Control charts against the run lengths of the textbooks, by simulation with fixed seeds; shapes
// against series made of them.
#include "analyze/changepoint.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>

enum { BASELINE = 2000, MOST = 2 * BASELINE };

static tm_ctx ctx;
static uint64_t rng;
static double value[2 * MOST];

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  rng = 7;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tm_ctx_fini(&ctx);
  return 0;
}

static double uniform(void) {
  rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return ((double)(rng >> 33) + 0.5) / 2147483648.0;
}

static double normal(void) {
  double r = sqrt(-2 * log(uniform()));
  return r * cos(6.283185307179586 * uniform());
}

// The quantile of the standard normal distribution, by bisection.
static double normal_quantile(double p) {
  double low = -10, high = 10;
  for (int i = 0; i < 60; i++) {
    double middle = (low + high) / 2;
    if (0.5 * erfc(-middle / sqrt(2)) < p)
      low = middle;
    else
      high = middle;
  }
  return low;
}

// A baseline with median 0 and sigma 1 exactly, so that its estimate does not blur the run lengths.
static void fill_baseline(size_t n) {
  for (size_t i = 0; i < n; i++) value[i] = normal_quantile(((double)i + 0.5) / (double)n);
  for (size_t i = n; i-- > 1;) {
    size_t j = (size_t)(uniform() * (double)(i + 1));
    double t = value[i];
    value[i] = value[j];
    value[j] = t;
  }
}

static tm_cusum cusum(size_t n, double k, double h) {
  tm_cusum out;
  assert_int_equal(tm_cusum_compute(&ctx, value, n, k, h, &out), TM_OK);
  return out;
}

static tm_ewma ewma(size_t n, double lambda, double limit) {
  tm_ewma out;
  assert_int_equal(tm_ewma_compute(&ctx, value, n, lambda, limit, &out), TM_OK);
  return out;
}

static void assert_about(double got, double expected, double tolerance) {
  if (fabs(got / expected - 1) > tolerance) fail_msg("%.3g is not about %.3g", got, expected);
}

// From the alarms within `watch` values: runs are exponential, but for their first few.
static double cusum_run_length(size_t watch, double h, int runs) {
  double alarms = 0, waited = 0;
  fill_baseline(watch);
  for (int run = 0; run < runs; run++) {
    for (size_t i = 0; i < watch; i++) value[watch + i] = normal();
    tm_cusum c = cusum(2 * watch, 0.5, h);
    alarms += c.alarm;
    waited += c.alarm ? (double)(c.at - watch + 1) : (double)watch;
  }
  return waited / alarms;
}

// A two-sided chart alarms after 168 (h = 4) and 465 (h = 5) values; one side alone half as often.
static void cusum_waits_as_long_as_the_textbook_says(void **state) {
  (void)state;
  assert_about(cusum_run_length(BASELINE, 4, 600), 2 * 168, 0.15);
  assert_about(cusum_run_length(BASELINE, 5, 600), 2 * 465, 0.15);
}

static void cusum_sees_one_sigma_after_ten(void **state) {
  (void)state;
  double sum = 0;
  fill_baseline(BASELINE);
  for (int run = 0; run < 500; run++) {
    for (size_t i = BASELINE; i < MOST; i++) value[i] = 1 + normal();
    tm_cusum c = cusum(MOST, 0.5, 5);
    assert_true(c.alarm && c.high > 5);
    sum += (double)(c.at - BASELINE + 1);
  }
  assert_about(sum / 500, 10.4, 0.1);
}

// phi = .9: the bare chart alarms every 29 values; on residuals it must keep its length about.
static void cusum_stands_dependent_data(void **state) {
  (void)state;
  double alarms = 0, waited = 0;
  for (int run = 0; run < 300; run++) {
    double x = normal();
    for (size_t i = 0; i < MOST; i++) {
      x = 0.9 * x + sqrt(1 - 0.81) * normal();
      value[i] = 1e6 + 1e3 * x;
    }
    tm_cusum c = cusum(MOST, 0.5, 5);
    alarms += c.alarm;
    waited += c.alarm ? (double)(c.at - BASELINE + 1) : BASELINE;
  }
  assert_about(waited / alarms, 2 * 465, 0.3);
}

static void ewma_waits_as_long_as_the_textbook_says(void **state) {
  (void)state;
  enum { WATCH = 500, RUNS = 1500 };
  double quiet = 0;
  fill_baseline(WATCH);
  for (int run = 0; run < RUNS; run++) {
    for (size_t i = 0; i < WATCH; i++) value[WATCH + i] = normal();
    quiet += !ewma(2 * WATCH, 0.2, 2.962).alarm;
  }
  // Quiet runs are exp(-watch / length) of all; 500 in the textbook.
  assert_about(-WATCH / log(quiet / RUNS), 500, 0.12);
}

static void ewma_sees_one_sigma_after_ten(void **state) {
  (void)state;
  enum { WATCH = 200, RUNS = 300 };
  double sum = 0;
  fill_baseline(WATCH);
  for (int run = 0; run < RUNS; run++) {
    for (size_t i = 0; i < WATCH; i++) value[WATCH + i] = NAN; // what has not come yet
    size_t t = 0;
    do {
      value[WATCH + t] = 1 + normal();
      t++;
    } while (!ewma(2 * WATCH, 0.2, 2.962).alarm && t < WATCH);
    sum += (double)t;
  }
  assert_about(sum / RUNS, 9.5, 0.12);
}

static void charts_by_hand(void **state) {
  (void)state;
  // Baseline -2..2: median 0, MAD 1, so sigma is 1.4826; zigzag: its autocorrelation is below 0.
  const double base[] = {-1, 1, -2, 2, 0};
  for (size_t i = 0; i < 10; i++) value[i] = i < 5 ? base[i] : 1.4826 * 2;
  tm_cusum c = cusum(10, 0.5, 4);
  assert_true(c.alarm && c.at == 7); // 1.5, 3, 4.5
  assert_true(fabs(c.high - 7.5) < 1e-9);
  assert_false(cusum(10, 0.5, 7.6).alarm);
  for (size_t i = 5; i < 10; i++) value[i] = -1000;
  assert_false(cusum(10, 0.5, 4).alarm); // only a rise
  tm_ewma e = ewma(10, 0.5, 3);
  assert_true(e.alarm && fabs(e.value + 1000 * (1 - pow(0.5, 5))) < 1e-9);
  double width = 3 * 1.4826 * sqrt(0.5 / 1.5 * (1 - pow(0.5, 10)));
  assert_true(fabs(e.high - width) < 1e-9 && fabs(e.low + width) < 1e-9);
}

static void charts_without_data(void **state) {
  (void)state;
  assert_false(cusum(0, 0.5, 5).alarm);
  assert_false(cusum(1, 0.5, 5).alarm);
  assert_true(isnan(ewma(0, 0.2, 3).value));
  for (size_t i = 0; i < 40; i++) value[i] = NAN;
  assert_false(cusum(40, 0.5, 5).alarm);
  assert_false(ewma(40, 0.2, 3).alarm);
  for (size_t i = 0; i < 40; i++) value[i] = 42;
  assert_false(cusum(40, 0.5, 5).alarm);
  assert_false(ewma(40, 0.2, 3).alarm);
  for (size_t i = 20; i < 40; i++) value[i] = 63; // it never moved, now by half
  assert_true(cusum(40, 0.5, 5).alarm);
  assert_true(ewma(40, 0.2, 3).alarm);
}

static void charts_skip_gaps_and_keep_scale_and_shift(void **state) {
  (void)state;
  fill_baseline(100);
  for (size_t i = 100; i < 200; i++) value[i] = normal() + (i >= 150 ? 1.5 : 0);
  for (size_t i = 3; i < 200; i += 17) value[i] = NAN;
  tm_cusum c = cusum(200, 0.5, 5);
  assert_true(c.alarm && c.at >= 150);
  for (size_t i = 0; i < 200; i++) value[i] = 1024 * value[i];
  tm_cusum scaled = cusum(200, 0.5, 5);
  assert_true(scaled.at == c.at && fabs(scaled.high - c.high) < 1e-9);
  for (size_t i = 0; i < 200; i++) value[i] += 4096;
  tm_cusum shifted = cusum(200, 0.5, 5);
  assert_true(shifted.at == c.at && fabs(shifted.high - c.high) < 1e-6);
}

static tm_shape shape(size_t n, size_t *out_step) {
  return tm_shape_compute(value, n, out_step);
}

static void names_the_shape(void **state) {
  (void)state;
  for (size_t n = 12; n <= 240; n *= 2)
    for (int round = 0; round < 20; round++) {
      size_t at, where = n / 4 + (size_t)(uniform() * (double)n / 2);
      for (size_t i = 0; i < n; i++) value[i] = 50 + 0.01 * normal() + (i >= where ? 10 : 0);
      assert_int_equal(shape(n, &at), TM_SHAPE_STEP);
      assert_int_equal(at, where);
      for (size_t i = 0; i < n; i++) value[i] = -(double)i + 0.01 * normal();
      assert_int_equal(shape(n, &at), TM_SHAPE_LINE);
      assert_int_equal(at, 0);
      for (size_t i = 0; i < n; i++)
        value[i] = 10 * (1 - exp(-(double)i / (0.2 * (double)n))) + 0.01 * normal();
      assert_int_equal(shape(n, &at), TM_SHAPE_SATURATING);
    }
}

static void noise_is_mostly_constant(void **state) {
  (void)state;
  size_t at, constant = 0;
  for (int round = 0; round < 200; round++) {
    for (size_t i = 0; i < 60; i++) value[i] = normal();
    constant += shape(60, &at) == TM_SHAPE_CONSTANT;
  }
  assert_true(constant >= 160);
}

// The split with the least squared error, tried one by one.
static size_t best_split(size_t n) {
  size_t best = 0;
  double least = INFINITY;
  for (size_t at = 1; at < n; at++) {
    double left = 0, right = 0, error = 0;
    for (size_t i = 0; i < n; i++) *(i < at ? &left : &right) += value[i];
    left /= (double)at;
    right /= (double)(n - at);
    for (size_t i = 0; i < n; i++) error += pow(value[i] - (i < at ? left : right), 2);
    if (error >= least) continue;
    least = error;
    best = at;
  }
  return best;
}

static void finds_the_best_split(void **state) {
  (void)state;
  int steps = 0;
  for (int round = 0; round < 300; round++) {
    size_t n = 8 + (size_t)(uniform() * 60), at;
    for (size_t i = 0; i < n; i++) value[i] = normal() + (i > n / 3 ? 3 : 0);
    if (shape(n, &at) != TM_SHAPE_STEP) continue;
    steps++;
    assert_int_equal(at, best_split(n));
  }
  assert_true(steps > 150);
}

static void shapes_keep_scale_and_shift(void **state) {
  (void)state;
  for (int round = 0; round < 100; round++) {
    size_t at, again;
    for (size_t i = 0; i < 50; i++) value[i] = normal() + (round % 2 ? (double)i / 20 : i > 20);
    tm_shape first = shape(50, &at);
    for (size_t i = 0; i < 50; i++) value[i] = 1e6 * value[i] - 3e6;
    assert_int_equal(shape(50, &again), first);
    assert_int_equal(again, at);
  }
}

static void shapes_without_data(void **state) {
  (void)state;
  size_t at;
  assert_int_equal(shape(0, &at), TM_SHAPE_CONSTANT);
  assert_int_equal(shape(1, &at), TM_SHAPE_CONSTANT);
  for (size_t i = 0; i < 30; i++) value[i] = 1e300;
  assert_int_equal(shape(30, &at), TM_SHAPE_CONSTANT);
  for (size_t i = 0; i < 30; i++) value[i] = i < 15 ? 1 : 2; // a perfect fit
  assert_int_equal(shape(30, &at), TM_SHAPE_STEP);
  assert_int_equal(at, 15);
  assert_string_equal(tm_shape_name(TM_SHAPE_SATURATING), "saturating");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(cusum_waits_as_long_as_the_textbook_says, set_up, tear_down),
      cmocka_unit_test_setup_teardown(cusum_sees_one_sigma_after_ten, set_up, tear_down),
      cmocka_unit_test_setup_teardown(cusum_stands_dependent_data, set_up, tear_down),
      cmocka_unit_test_setup_teardown(ewma_waits_as_long_as_the_textbook_says, set_up, tear_down),
      cmocka_unit_test_setup_teardown(ewma_sees_one_sigma_after_ten, set_up, tear_down),
      cmocka_unit_test_setup_teardown(charts_by_hand, set_up, tear_down),
      cmocka_unit_test_setup_teardown(charts_without_data, set_up, tear_down),
      cmocka_unit_test_setup_teardown(charts_skip_gaps_and_keep_scale_and_shift, set_up, tear_down),
      cmocka_unit_test_setup_teardown(names_the_shape, set_up, tear_down),
      cmocka_unit_test_setup_teardown(noise_is_mostly_constant, set_up, tear_down),
      cmocka_unit_test_setup_teardown(finds_the_best_split, set_up, tear_down),
      cmocka_unit_test_setup_teardown(shapes_keep_scale_and_shift, set_up, tear_down),
      cmocka_unit_test_setup_teardown(shapes_without_data, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
