// floors: analyze
// Statistics against slow and obvious oracles: sorting, counting all pairs, trying all
// arrangements.
#include "analyze/stats.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static tm_ctx ctx;
static uint64_t rng = 1;

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  rng = 1;
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  assert_true(ctx.scratch.used_bytes == 0); // everything borrowed was given back
  tm_ctx_fini(&ctx);
  return 0;
}

static uint32_t random_below(uint32_t end) {
  rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t)(rng >> 33) % end;
}

static void assert_near(double got, double expected) {
  if (isnan(expected) ? isnan(got) : fabs(got - expected) <= 1e-9 * (1 + fabs(expected))) return;
  fail_msg("got %.17g instead of %.17g", got, expected);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double quantile(const double *value, size_t n, double q) {
  double out;
  assert_int_equal(tm_stats_quantile(&ctx, value, n, q, &out), TM_OK);
  return out;
}

static double mad(const double *value, size_t n) {
  double out;
  assert_int_equal(tm_stats_mad(&ctx, value, n, &out), TM_OK);
  return out;
}

static double sorted_quantile(const double *value, size_t n, double q) {
  double copy[64];
  size_t count = 0;
  for (size_t i = 0; i < n; i++)
    if (!isnan(value[i])) copy[count++] = value[i];
  if (count == 0) return NAN;
  qsort(copy, count, sizeof *copy, by_value);
  double place = q * (double)(count - 1), below = floor(place);
  double a = copy[(size_t)below], b = copy[(size_t)ceil(place)];
  return a + (place - below) * (b - a);
}

// Small integers, so that many tie; some are gaps.
static void fill(double *value, size_t n, uint32_t kinds, bool gaps) {
  for (size_t i = 0; i < n; i++)
    value[i] = gaps && random_below(6) == 0 ? NAN : (double)random_below(kinds);
}

static void select_splits_as_sorting_does(void **state) {
  (void)state;
  double value[64], sorted[64];
  for (int round = 0; round < 2000; round++) {
    size_t n = 1 + random_below(63), k = random_below((uint32_t)n);
    fill(value, n, 1 + random_below(80), false);
    memcpy(sorted, value, n * sizeof *value);
    qsort(sorted, n, sizeof *sorted, by_value);
    assert_near(tm_stats_select(value, n, k), sorted[k]);
    assert_near(value[k], sorted[k]);
    for (size_t i = 0; i < n; i++) assert_true(i < k ? value[i] <= value[k] : value[i] >= value[k]);
    qsort(value, n, sizeof *value, by_value);
    assert_memory_equal(value, sorted, n * sizeof *value); // nothing lost
  }
}

static void quantiles_and_mad_are_those_of_the_sorted_values(void **state) {
  (void)state;
  static const double qs[] = {0, 0.05, 0.25, 0.5, 0.9, 0.99, 1};
  double value[64], deviation[64];
  for (int round = 0; round < 500; round++) {
    size_t n = random_below(64);
    fill(value, n, 1 + random_below(200), true);
    for (size_t i = 0; i < TM_COUNT(qs); i++)
      assert_near(quantile(value, n, qs[i]), sorted_quantile(value, n, qs[i]));
    double median = sorted_quantile(value, n, 0.5);
    for (size_t i = 0; i < n; i++) deviation[i] = fabs(value[i] - median);
    assert_near(mad(value, n), 1.4826 * sorted_quantile(deviation, n, 0.5));
  }
}

static void edges_of_quantiles(void **state) {
  (void)state;
  const double gaps[] = {NAN, NAN}, one[] = {7}, same[] = {3, 3, 3, 3},
               huge[] = {-1e300, 1e300, 1e300};
  const double far[] = {-1.7e308, 1.7e308}, endless[] = {INFINITY, INFINITY, INFINITY};
  assert_near(quantile(NULL, 0, 0.5), NAN);
  assert_near(quantile(gaps, 2, 0.5), NAN);
  assert_near(mad(gaps, 2), NAN);
  assert_near(quantile(one, 1, 0.9), 7);
  assert_near(mad(one, 1), 0);
  assert_near(quantile(same, 4, 0.3), 3);
  assert_near(mad(same, 4), 0);
  assert_near(quantile(one, 1, -5), 7);
  assert_near(quantile(huge, 3, 2), 1e300);         // q is cut to 0..1
  assert_true(fabs(quantile(far, 2, 0.5)) < 1e300); // b - a would overflow
  assert_true(quantile(endless, 3, 0.5) == INFINITY);
}

static void means_and_extremes(void **state) {
  (void)state;
  const double value[] = {NAN, 4, -2, NAN, 10}, huge[] = {1.5e308, 1.5e308, 1.5e308};
  assert_near(tm_stats_mean(value, 5), 4);
  assert_near(tm_stats_min(value, 5), -2);
  assert_near(tm_stats_max(value, 5), 10);
  assert_near(tm_stats_mean(value, 1), NAN);
  assert_near(tm_stats_mean(NULL, 0), NAN);
  assert_near(tm_stats_min(value, 1), NAN);
  assert_near(tm_stats_max(NULL, 0), NAN);
  assert_true(fabs(tm_stats_mean(huge, 3) / 1.5e308 - 1) < 1e-12); // their sum is infinite
}

static double pairs_won(const double *a, size_t na, const double *b, size_t nb) {
  double u = 0;
  for (size_t i = 0; i < na; i++)
    for (size_t j = 0; j < nb; j++) u += b[j] > a[i] ? 1 : b[j] == a[i] ? 0.5 : 0;
  return u;
}

static void assert_mann_whitney(const double *a, size_t na, const double *b, size_t nb,
                                double expected_p, double tolerance) {
  double u, p;
  assert_int_equal(tm_stats_mann_whitney(&ctx, a, na, b, nb, &u, &p), TM_OK);
  assert_near(u, pairs_won(a, na, b, nb));
  if (fabs(p - expected_p) > tolerance) fail_msg("p = %.6f instead of %.6f", p, expected_p);
}

// P(U >= u) over all ways to choose which of m + k different values are b's.
static double enumerated_p(size_t m, size_t k, double u) {
  size_t n = m + k;
  double all = 0, tail = 0;
  for (uint32_t set = 0; set < (UINT32_C(1) << n); set++) {
    if ((size_t)__builtin_popcount(set) != k) continue;
    double won = 0, a = 0;
    for (size_t i = 0; i < n; i++) {
      if (set >> i & 1)
        won += a;
      else
        a++;
    }
    all++;
    tail += won >= u;
  }
  return tail / all;
}

static void mann_whitney_matches_enumeration(void **state) {
  (void)state;
  for (int round = 0; round < 60; round++) {
    size_t m = 1 + random_below(7), k = 1 + random_below(7), n = m + k;
    double value[14];
    for (size_t i = 0; i < n; i++) value[i] = (double)i * 1.25 - 3;
    for (size_t i = n; i-- > 1;) { // shuffled: no ties
      size_t j = random_below((uint32_t)i + 1);
      double t = value[i];
      value[i] = value[j];
      value[j] = t;
    }
    double u = pairs_won(value, m, value + m, k);
    assert_mann_whitney(value, m, value + m, k, enumerated_p(m, k, u), 1e-12);
  }
}

static void mann_whitney_with_many_values_and_ties(void **state) {
  (void)state;
  // By hand: m = k = 20, half of each 0, half 1: U = 200, no effect.
  double a[20], b[20];
  for (size_t i = 0; i < 20; i++) a[i] = b[i] = i < 10 ? 0 : 1;
  // Ties: two groups of 20, variance = 400/12 (41 - 2 (8000 - 20) / (40 * 39)) = 1025.641.
  assert_mann_whitney(a, 20, b, 20, 0.5 * erfc(-0.5 / sqrt(2 * 1025.6410256410256)), 1e-9);
  b[0] = b[1] = b[2] = b[3] = 1; // U = 10 * 6 / 2 + 10 * 14 + 10 * 14 / 2 = 240
  // Groups of 16 and 24: 400/12 (41 - (4080 + 13800) / 1560) = 984.615.
  assert_mann_whitney(a, 20, b, 20, 0.5 * erfc(39.5 / sqrt(2 * 984.61538461538464)), 1e-9);
  // Gaps do not count; the normal approximation comes near the exact figure.
  double c[16], d[16];
  for (size_t i = 0; i < 16; i++) {
    c[i] = i < 13 ? (double)i : NAN;
    d[i] = i < 13 ? (double)i + 4.5 : NAN;
  }
  double u, p;
  assert_int_equal(tm_stats_mann_whitney(&ctx, c, 16, d, 16, &u, &p), TM_OK);
  assert_near(u, pairs_won(c, 13, d, 13));
  assert_true(p > 0.001 && p < 0.02);
}

static void mann_whitney_edges(void **state) {
  (void)state;
  const double one[] = {1}, gap[] = {NAN}, same[] = {5, 5, 5};
  double u, p;
  assert_int_equal(tm_stats_mann_whitney(&ctx, one, 1, gap, 1, &u, &p), TM_OK);
  assert_near(p, NAN);
  assert_int_equal(tm_stats_mann_whitney(&ctx, NULL, 0, NULL, 0, &u, &p), TM_OK);
  assert_near(p, NAN);
  assert_mann_whitney(same, 3, same, 3, 1, 0); // no variance: nothing to see
}

static void growth_compares_the_ends(void **state) {
  (void)state;
  double value[100];
  tm_growth g;
  for (size_t i = 0; i < 100; i++) value[i] = 100 + (double)(i % 7) + (i >= 50 ? 20 : 0);
  assert_int_equal(tm_stats_growth(&ctx, value, 100, 20, 20, &g), TM_OK);
  assert_near(g.head, sorted_quantile(value, 20, 0.5));
  assert_near(g.tail, sorted_quantile(value + 80, 20, 0.5));
  assert_near(g.ratio, g.tail / g.head - 1);
  assert_true(g.p < 1e-6);
  assert_int_equal(tm_stats_growth(&ctx, value, 50, 20, 20, &g), TM_OK);
  assert_true(g.p > 0.05);
  // More asked for than there is: halves, which do not share a value.
  const double two[] = {1, 2};
  assert_int_equal(tm_stats_growth(&ctx, two, 2, 9, 9, &g), TM_OK);
  assert_true(g.head == 1 && g.tail == 2 && g.ratio == 1);
  const double zero[] = {0, 5};
  assert_int_equal(tm_stats_growth(&ctx, zero, 2, 1, 1, &g), TM_OK);
  assert_near(g.ratio, NAN);
  assert_int_equal(tm_stats_growth(&ctx, NULL, 0, 5, 5, &g), TM_OK);
  assert_near(g.head, NAN);
}

static void monotone_needs_every_step(void **state) {
  (void)state;
  const double rising[] = {9, 1, 2, 4, 8}, flat[] = {1, 2, 2, 3}, gap[] = {1, 2, NAN, 4};
  double delta;
  assert_true(tm_stats_monotone(rising, 5, 3, 7, &delta));
  assert_near(delta, 7);
  assert_false(tm_stats_monotone(rising, 5, 3, 7.5, NULL)); // rises, but by too little
  assert_false(tm_stats_monotone(rising, 5, 4, 0, &delta)); // 9 -> 1
  assert_near(delta, 0);
  assert_false(tm_stats_monotone(rising, 5, 5, 0, NULL)); // five steps need six values
  assert_false(tm_stats_monotone(rising, 5, SIZE_MAX, 0, NULL));
  assert_false(tm_stats_monotone(rising, 5, 0, 0, NULL));
  assert_false(tm_stats_monotone(flat, 4, 3, 0, NULL));
  assert_false(tm_stats_monotone(gap, 4, 3, 0, NULL));
  assert_false(tm_stats_monotone(NULL, 0, 1, 0, NULL));
}

static void change_and_rate(void **state) {
  (void)state;
  const int64_t s = 1000000000, times[] = {0, 10 * s, 20 * s, 30 * s, 40 * s};
  const double value[] = {5, 6, 9, 14, NAN};
  assert_near(tm_stats_change(times, value, 5, 10u * (uint64_t)s), 5); // 14 - 9
  assert_near(tm_stats_change(times, value, 5, 15u * (uint64_t)s),
              8);                                               // the one at least 15 s older
  assert_near(tm_stats_change(times, value, 5, UINT64_MAX), 9); // the oldest there is
  assert_near(tm_stats_change(times, value, 1, 1), NAN);
  assert_near(tm_stats_rate(times, value, 5), 0.3);
  assert_near(tm_stats_rate(times, value, 1), NAN);
  const int64_t same[] = {s, s};
  assert_near(tm_stats_rate(same, value, 2), NAN);
}

static void line_through_points(void **state) {
  (void)state;
  double x[50], y[50];
  for (size_t i = 0; i < 50; i++) {
    x[i] = 1e9 + (double)i;
    y[i] = 3 * (double)i - 8;
  }
  y[7] = NAN;
  tm_line line = tm_stats_line(x, y, 50);
  assert_true(fabs(line.slope - 3) < 1e-6 && line.r2 > 1 - 1e-6);
  assert_true(fabs(line.intercept + line.slope * 1e9 + 8) < 1e-5);
  const double at[] = {0, 1, 2}, v[] = {0, 1, 0}; // by hand: no slope, nothing explained
  line = tm_stats_line(at, v, 3);
  assert_near(line.slope, 0);
  assert_near(line.r2, 0);
  assert_near(tm_stats_line(NULL, NULL, 0).slope, NAN);
  assert_near(tm_stats_line(x, y, 1).slope, 0);
}

static void infinities_are_values(void **state) {
  (void)state;
  const double wild[] = {-INFINITY, NAN, INFINITY, INFINITY, 3, INFINITY};
  assert_true(quantile(wild, 6, 0.5) == INFINITY && quantile(wild, 6, 0.9) == INFINITY);
  assert_true(tm_stats_min(wild, 6) == -INFINITY && tm_stats_max(wild, 6) == INFINITY);
  assert_true(mad(wild, 6) == 0); // most are as infinite as the median
  assert_true(tm_stats_mean(wild + 2, 4) == INFINITY);
}

static void shift_and_scale_carry_over(void **state) {
  (void)state;
  double value[60], moved[60];
  for (int round = 0; round < 200; round++) {
    double scale = ldexp(1, (int)random_below(60) - 30), shift = random_below(1 << 20) * scale;
    fill(value, 60, 1 + random_below(5000), true);
    for (size_t i = 0; i < 60; i++) moved[i] = value[i] * scale + shift;
    double q = random_below(1001) / 1000.0;
    assert_near(quantile(moved, 60, q) / scale, quantile(value, 60, q) + shift / scale);
    assert_near(mad(moved, 60) / scale, mad(value, 60));
    assert_near(tm_stats_mean(moved, 60) / scale, tm_stats_mean(value, 60) + shift / scale);
  }
}

static void change_skips_gaps_and_spans_all_of_time(void **state) {
  (void)state;
  const int64_t s = 1000000000, times[] = {0, 5 * s, 10 * s, 15 * s, 20 * s};
  const double holes[] = {NAN, 20, NAN, 45, NAN}, v[] = {10, 20};
  assert_near(tm_stats_change(times, holes, 5, 1), 25);
  assert_near(tm_stats_rate(times, holes, 5), 2.5);
  assert_near(tm_stats_change(times, holes, 3, 1), NAN);
  assert_near(tm_stats_change(NULL, NULL, 0, 1), NAN);
  assert_near(tm_stats_rate(NULL, NULL, 0), NAN);
  const int64_t far[] = {INT64_MIN, INT64_MAX};
  assert_near(tm_stats_rate(far, v, 2) * 1e9, 10 / 18.446744073709552);
  assert_near(tm_stats_change(far, v, 2, UINT64_MAX), 10);
}

// The first of Anscombe's four sets: y = 3 + x / 2, r2 = .67.
static void line_of_anscombe(void **state) {
  (void)state;
  const double x[] = {10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5};
  const double y[] = {8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68};
  tm_line line = tm_stats_line(x, y, 11);
  assert_true(fabs(line.slope - 0.5000909) < 1e-7 && fabs(line.intercept - 3.0000909) < 1e-7);
  assert_true(fabs(line.r2 - 0.6665425) < 1e-7);
}

static void says_when_memory_ends(void **state) {
  (void)state;
  const double v[] = {1, 2, 3};
  double u, p;
  tm_growth g;
  tm_ctx_fini(&ctx);
  tm_ctx_init(&ctx, NULL);
  ctx.scratch.cap_bytes = 1;
  assert_int_equal(tm_stats_quantile(&ctx, v, 3, 0.5, &u), TM_E_NOMEM);
  assert_int_equal(tm_stats_mad(&ctx, v, 3, &u), TM_E_NOMEM);
  assert_int_equal(tm_stats_mann_whitney(&ctx, v, 3, v, 3, &u, &p), TM_E_NOMEM);
  assert_int_equal(tm_stats_growth(&ctx, v, 3, 1, 1, &g), TM_E_NOMEM);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(select_splits_as_sorting_does, set_up, tear_down),
      cmocka_unit_test_setup_teardown(quantiles_and_mad_are_those_of_the_sorted_values, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(edges_of_quantiles, set_up, tear_down),
      cmocka_unit_test_setup_teardown(means_and_extremes, set_up, tear_down),
      cmocka_unit_test_setup_teardown(mann_whitney_matches_enumeration, set_up, tear_down),
      cmocka_unit_test_setup_teardown(mann_whitney_with_many_values_and_ties, set_up, tear_down),
      cmocka_unit_test_setup_teardown(mann_whitney_edges, set_up, tear_down),
      cmocka_unit_test_setup_teardown(growth_compares_the_ends, set_up, tear_down),
      cmocka_unit_test_setup_teardown(monotone_needs_every_step, set_up, tear_down),
      cmocka_unit_test_setup_teardown(change_and_rate, set_up, tear_down),
      cmocka_unit_test_setup_teardown(line_through_points, set_up, tear_down),
      cmocka_unit_test_setup_teardown(line_of_anscombe, set_up, tear_down),
      cmocka_unit_test_setup_teardown(infinities_are_values, set_up, tear_down),
      cmocka_unit_test_setup_teardown(shift_and_scale_carry_over, set_up, tear_down),
      cmocka_unit_test_setup_teardown(change_skips_gaps_and_spans_all_of_time, set_up, tear_down),
      cmocka_unit_test_setup_teardown(says_when_memory_ends, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
