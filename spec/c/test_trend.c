// floors: analyze
// The gate: its figures against slow oracles over all pairs, its verdicts on a leak and on each of
// the impostors. How often it errs on noisy series is bench_gate's matter.
#include "analyze/trend.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 720, PAIRS = 64 * 63 / 2 };

#define SECOND INT64_C(1000000000)
#define START  INT64_C(1790000000000000000)

static tm_ctx ctx;
static uint64_t rng;
static int64_t time_ns[MOST];
static double value[MOST];
static double slope[PAIRS]; // too much for a stack frame

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  rng = 11;
  for (size_t i = 0; i < MOST; i++) time_ns[i] = START + (int64_t)i * 10 * SECOND;
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

static tm_trend trend_with(size_t n, const tm_trend_options *options) {
  tm_trend out;
  assert_int_equal(tm_trend_compute(&ctx, time_ns, value, n, options, &out), TM_OK);
  assert_non_null(out.reason);
  assert_true(out.p >= 0 && out.p <= 1);
  assert_true(out.slope_low_per_s <= out.slope_per_s && out.slope_per_s <= out.slope_high_per_s);
  return out;
}

static tm_trend trend(size_t n) {
  return trend_with(n, NULL);
}

static void assert_near(double got, double expected) {
  if (fabs(got - expected) > 1e-9 * (1e-9 + fabs(expected)))
    fail_msg("got %.17g instead of %.17g", got, expected);
}

// ---- oracles ----

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double seconds(size_t i) {
  return (double)(time_ns[i] - time_ns[0]) / 1e9;
}

// All of them, sorted, in `slope`.
static size_t sorted_slopes(size_t n) {
  size_t count = 0;
  for (size_t j = 1; j < n; j++)
    for (size_t i = 0; i < j; i++)
      slope[count++] = (value[j] - value[i]) / (seconds(j) - seconds(i));
  qsort(slope, count, sizeof *slope, by_value);
  return count;
}

static double theil_sen(size_t n) {
  size_t count = sorted_slopes(n);
  return (slope[(count - 1) / 2] + slope[count / 2]) / 2;
}

// Tie groups are counted on the sorted values.
static double kendall_variance(size_t n) {
  double sorted[64], m = (double)n, ties = 0;
  memcpy(sorted, value, n * sizeof *value);
  qsort(sorted, n, sizeof *sorted, by_value);
  for (size_t i = 0, j; i < n; i = j) {
    for (j = i; j < n && sorted[j] == sorted[i];) j++;
    double t = (double)(j - i);
    ties += t * (t - 1) * (2 * t + 5);
  }
  return (m * (m - 1) * (2 * m + 5) - ties) / 18;
}

// Ranks of the residuals are looked up in their sorted order; ties take the mean of their places.
static double hamed_rao(size_t n, double tilt) {
  double rest[64], sorted[64], rank[64], mean = 0, m = (double)n, whole = 0, sum = 0;
  for (size_t i = 0; i < n; i++) sorted[i] = rest[i] = value[i] - tilt * seconds(i);
  qsort(sorted, n, sizeof *sorted, by_value);
  for (size_t i = 0; i < n; i++) {
    size_t from = 0, to = 0;
    while (sorted[from] < rest[i]) from++;
    for (to = from; to < n && sorted[to] == rest[i];) to++;
    rank[i] = (double)(from + 1 + to) / 2;
    mean += rank[i] / m;
  }
  for (size_t i = 0; i < n; i++) whole += pow(rank[i] - mean, 2);
  for (size_t k = 1; whole > 0 && k < n; k++) {
    double r = 0, left = (double)(n - k);
    for (size_t i = k; i < n; i++) r += (rank[i] - mean) * (rank[i - k] - mean);
    if (fabs(r / whole) > 1.959964 / sqrt(m)) sum += left * (left - 1) * (left - 2) * r / whole;
  }
  return fmax(1, 1 + 2 / (m * (m - 1) * (m - 2)) * sum);
}

static double kendall_z(size_t n, double tilt) {
  double s = 0;
  for (size_t j = 1; j < n; j++)
    for (size_t i = 0; i < j; i++) s += (value[j] > value[i]) - (value[j] < value[i]);
  double variance = kendall_variance(n) * hamed_rao(n, tilt);
  return s == 0 || variance <= 0 ? 0 : (s > 0 ? s - 1 : s + 1) / sqrt(variance);
}

// The line that is taken off for the ranks may have either of the two middle slopes when their
// count is even, or their mean.
static void assert_z(size_t n, double z) {
  size_t count = sorted_slopes(n);
  double a = slope[(count - 1) / 2], b = slope[count / 2], middles[] = {a, (a + b) / 2, b};
  for (size_t i = 0; i < TM_COUNT(middles); i++)
    if (fabs(z - kendall_z(n, middles[i])) < 1e-9 * (1 + fabs(z))) return;
  fail_msg("z = %.12g instead of %.12g, n = %zu", z, kendall_z(n, middles[1]), n);
}

// ---- figures ----

// With a bucket for every sample the floor is the series itself.
static void slope_and_test_match_the_oracles(void **state) {
  (void)state;
  tm_trend_options options = tm_trend_defaults();
  options.buckets = 64;
  int compared = 0;
  for (int round = 0; round < 400; round++) {
    size_t n = 10 + (size_t)(uniform() * 54.9);
    double tilt = round % 3, steps = round % 2 ? 1 : 1000;
    for (size_t i = 0; i < n; i++)
      value[i] =
          100000 + floor((tilt * (double)i + 20 * normal()) * steps / 10); // odd rounds: ties
    tm_trend t = trend_with(n, &options);
    if (t.cycle_ns) continue; // a chance cycle: fewer buckets
    compared++;
    assert_near(t.slope_per_s, theil_sen(n));
    assert_z(n, t.z);
    assert_near(t.p, 0.5 * erfc(t.z / sqrt(2)));
    assert_near(t.confidence, 1 - t.p);
    assert_int_equal(t.n_used, n);
  }
  assert_true(compared > 300);
}

// 10 values without ties: S = 45, Var = 10 * 9 * 25 / 18 = 125; on the line nothing is correlated.
static void ten_points_on_a_line_by_hand(void **state) {
  (void)state;
  for (size_t i = 0; i < 10; i++) value[i] = 1000 + 20 * (double)i;
  tm_trend t = trend(10);
  assert_near(t.z, 44 / sqrt(125));
  assert_near(t.slope_per_s, 2);
  assert_near(t.slope_low_per_s, 2);
  assert_near(t.slope_high_per_s, 2);
  assert_near(t.level, 1180);
  assert_near(t.growth_ratio, 0.18);
  assert_near(t.amplitude, 0);
  assert_int_equal(t.shape, TM_SHAPE_LINE);
  assert_true(t.leak);
}

static void interval_holds_the_true_slope(void **state) {
  (void)state;
  int held = 0, narrow = 0;
  for (int round = 0; round < 300; round++) {
    for (size_t i = 0; i < 60; i++)
      value[i] = 1000 + 10 * (double)i + 20 * normal(); // 1 per second
    tm_trend_options options = tm_trend_defaults();
    options.buckets = 60;
    tm_trend t = trend_with(60, &options);
    held += t.slope_low_per_s <= 1 && 1 <= t.slope_high_per_s;
    narrow += t.slope_high_per_s - t.slope_low_per_s < 0.1;
  }
  assert_true(held >= 270); // 95 % of 300, less what chance allows
  assert_true(narrow >= 270);
}

// ---- verdicts ----

static void noise_of(double sigma, size_t n) {
  for (size_t i = 0; i < n; i++) value[i] += sigma * normal();
}

static double sawtooth(size_t i, size_t cycle, double height) {
  return height * (double)(i % cycle) / (double)cycle;
}

static void tells_leaks_from_their_impostors(void **state) {
  (void)state;
  static const size_t lengths[] = {120, 360, 720};
  for (size_t l = 0; l < TM_COUNT(lengths); l++) {
    size_t n = lengths[l];
    double last = (double)n;
    for (size_t i = 0; i < n; i++) value[i] = 1000 + 300 * (double)i / last;
    noise_of(5, n);
    tm_trend t = trend(n);
    assert_true(t.leak && t.shape == TM_SHAPE_LINE);
    assert_true(fabs(t.growth_ratio - 0.3) < 0.03 && fabs(t.level - 1300) < 30);

    for (size_t i = 0; i < n; i++) value[i] = 1000;
    noise_of(5, n);
    assert_false(trend(n).leak);

    for (size_t i = 0; i < n; i++) value[i] = 1000 - 300 * (double)i / last;
    noise_of(5, n);
    t = trend(n);
    assert_true(!t.leak && t.slope_per_s < 0 && t.p > 0.99);

    for (size_t i = 0; i < n; i++) value[i] = i < n / 2 ? 1000 : 1100;
    noise_of(5, n);
    t = trend(n);
    assert_true(!t.leak && t.shape == TM_SHAPE_STEP);
    int64_t off_ns = t.step_time_ns - time_ns[n / 2];
    assert_true(llabs(off_ns) <= (time_ns[n - 1] - time_ns[0]) / 20);

    for (size_t i = 0; i < n; i++) value[i] = 1000 + 300 * (1 - exp(-8 * (double)i / last));
    noise_of(5, n);
    t = trend(n);
    assert_true(!t.leak && t.step_time_ns == 0);

    for (size_t i = 0; i < n; i++) value[i] = 1000 + sawtooth(i, n / 12, 400);
    noise_of(5, n);
    assert_false(trend(n).leak);

    for (size_t i = 0; i < n; i++) value[i] += 300 * (double)i / last;
    t = trend(n);
    assert_true(t.leak && t.amplitude > 250 && t.amplitude < 600);
  }
}

static void small_growth_is_none(void **state) {
  (void)state;
  tm_trend_options options = tm_trend_defaults();
  for (size_t i = 0; i < 360; i++) value[i] = 1000 + 20 * (double)i / 360; // 2 %
  assert_false(trend(360).leak);
  options.min_growth_ratio = 0.01;
  assert_true(trend_with(360, &options).leak);
}

static void a_restart_begins_a_new_window(void **state) {
  (void)state;
  for (size_t i = 0; i < 360; i++) value[i] = i < 160 ? 1000 : 300 + 0.5 * (double)(i - 160);
  tm_trend t = trend(360);
  assert_int_equal(t.n_used, 200);
  assert_true(t.leak);
  assert_near(t.slope_per_s, 0.05);
  for (size_t i = 0; i < 360; i++) value[i] = i < 355 ? 1000 : 300;
  assert_false(trend(360).leak); // too short a life
  assert_int_equal(trend(360).n_used, 5);
}

static void a_shallow_fall_is_no_restart(void **state) {
  (void)state;
  for (size_t i = 0; i < 360; i++) value[i] = i < 160 ? 1000 : 600;
  assert_int_equal(trend(360).n_used, 360);
}

static void warmup_is_a_fifth_at_least(void **state) {
  (void)state;
  tm_trend_options options = tm_trend_defaults();
  for (size_t i = 0; i < 360; i++) value[i] = 1000 + normal();
  options.warmup_ns = 1; // of 3590 s, the samples up to 710 s go
  assert_int_equal(trend_with(360, &options).n_used, 288);
  options.warmup_ns = 1800 * (uint64_t)SECOND;
  assert_int_equal(trend_with(360, &options).n_used, 180);
  for (size_t i = 160; i < 360; i++) value[i] = 300 + normal(); // a new life of 1990 s
  assert_int_equal(trend_with(360, &options).n_used, 20);
  options.warmup_ns = 1;
  assert_int_equal(trend_with(360, &options).n_used, 160);
  options.warmup_ns = UINT64_MAX;
  assert_int_equal(trend_with(360, &options).n_used, 0);
}

// Rises by `early` per sample up to the bend, by `late` behind it.
static void bent(double bend, double early, double late) {
  for (size_t i = 0; i < 360; i++) {
    double at = (double)i, knee = fmin(at, bend * 360);
    value[i] = 1000 + early * knee + late * (at - knee) + normal();
  }
}

static void says_which_question_failed(void **state) {
  (void)state;
  bent(0.75, 1, 0);
  assert_string_equal(trend(360).reason, "it levelled off");
  bent(0.75, 1, 0.5);
  assert_true(trend(360).leak);
  bent(0.4, 2, 0.45); // most of the way in the first half, yet it still climbs
  assert_string_equal(trend(360).reason, "growth is uneven");
  bent(0.6, 0, 2);
  assert_false(trend(360).leak);
  bent(0.5, 0.05, 0.05);
  assert_string_equal(trend(360).reason, "growth is below the minimum");
  bent(0.5, 0, 0);
  assert_string_equal(trend(360).reason, "no monotone trend");
}

// Of random walks some 10 % would be called leaks if nobody asked whether they are walks.
static void walks_seldom_pass_for_leaks(void **state) {
  (void)state;
  tm_trend_options careless = tm_trend_defaults();
  careless.walk_sigmas = 0;
  int leaks = 0, careless_leaks = 0;
  for (int round = 0; round < 500; round++) {
    double at = 1000;
    for (size_t i = 0; i < MOST; i++) value[i] = at += 10 * normal();
    leaks += trend(MOST).leak;
    careless_leaks += trend_with(MOST, &careless).leak;
  }
  assert_true(leaks <= 20 && careless_leaks >= 30);
}

static void a_deep_sawtooth_is_no_restart(void **state) {
  (void)state;
  // Each collection frees 70 %; the first tooth is seen from its middle.
  for (size_t i = 0; i < 360; i++) value[i] = 300 + sawtooth(i + 30, 60, 700);
  tm_trend t = trend(360);
  assert_false(t.leak);
  assert_true(t.n_used >= 330);
}

// ---- what it refuses and what changes nothing ----

static void fill_leak(size_t n) {
  for (size_t i = 0; i < n; i++)
    value[i] = 4096 + floor(1024 * (double)i / (double)n + 9 * normal());
}

static void refuses_too_little(void **state) {
  (void)state;
  tm_trend t;
  assert_int_equal(tm_trend_compute(&ctx, NULL, NULL, 0, NULL, &t), TM_OK);
  assert_true(!t.leak && t.p == 1 && t.n_used == 0);
  fill_leak(MOST);
  for (size_t n = 1; n < 10; n++) assert_false(trend(n).leak);
  assert_int_equal(trend(1).n_used, 1);
}

static void gaps_up_to_a_fifth(void **state) {
  (void)state;
  fill_leak(300);
  for (size_t i = 2; i < 300; i += 5) value[i] = i % 2 ? NAN : INFINITY;
  tm_trend t = trend(300);
  assert_true(t.leak && t.n_used == 240);
  value[150] = NAN;
  t = trend(300);
  assert_true(!t.leak && t.n_used == 239);
  for (size_t i = 0; i < 300; i++) value[i] = NAN;
  assert_int_equal(trend(300).n_used, 0);
}

static void constant_values(void **state) {
  (void)state;
  for (size_t i = 0; i < 100; i++) value[i] = 5e9;
  tm_trend t = trend(100);
  assert_true(!t.leak && t.slope_per_s == 0 && t.z == 0 && t.shape == TM_SHAPE_CONSTANT);
  assert_near(t.level, 5e9);
  for (size_t i = 0; i < 100; i++) value[i] = 0;
  assert_false(trend(100).leak);
}

static void equal_times(void **state) {
  (void)state;
  fill_leak(300);
  for (size_t i = 0; i < 300; i++) time_ns[i] = START;
  assert_false(trend(300).leak);
  for (size_t i = 0; i < 300; i++) time_ns[i] = START + (int64_t)(i - i % 20) * SECOND;
  (void)trend(300); // any verdict, but no slope out of nothing
  for (size_t i = 0; i < 300; i++) time_ns[i] = START - (int64_t)i * SECOND;
  assert_false(trend(300).leak);
}

static void assert_same(const tm_trend *a, const tm_trend *b, double scale) {
  assert_int_equal(a->leak, b->leak);
  assert_string_equal(a->reason, b->reason);
  assert_near(b->z, a->z);
  assert_int_equal(a->shape, b->shape);
  assert_near(b->slope_per_s, a->slope_per_s * scale);
  assert_near(b->level, a->level * scale);
  assert_near(b->growth_ratio, a->growth_ratio);
}

static void scale_and_time_change_no_verdict(void **state) {
  (void)state;
  static const double scales[] = {0x1p-200, 0x1p-30, 0x1p40, 0x1p300};
  for (int kind = 0; kind < 4; kind++) {
    double kept[360], walk = 0;
    for (size_t i = 0; i < 360; i++) {
      walk += normal();
      kept[i] = 4096
                + (kind == 0   ? 1024 * (double)i / 360 + normal()
                   : kind == 1 ? 20 * normal()
                   : kind == 2 ? 40 * walk
                               : (i > 150 ? 900 : 0) + normal());
    }
    memcpy(value, kept, sizeof kept);
    tm_trend first = trend(360);
    assert_int_equal(first.leak, kind == 0);
    for (size_t s = 0; s < TM_COUNT(scales); s++) {
      for (size_t i = 0; i < 360; i++) value[i] = kept[i] * scales[s];
      tm_trend scaled = trend(360);
      assert_same(&first, &scaled, scales[s]);
    }
    memcpy(value, kept, sizeof kept);
    for (size_t i = 0; i < 360; i++) time_ns[i] -= START;
    tm_trend shifted = trend(360);
    assert_same(&first, &shifted, 1);
    for (size_t i = 0; i < 360; i++) time_ns[i] += START;
  }
}

// 1e300, whose squares overflow.
static void huge_values_are_judged_alike(void **state) {
  (void)state;
  for (int leaks = 0; leaks < 2; leaks++) {
    for (size_t i = 0; i < 360; i++)
      value[i] = 0x1p20 * (4096 + leaks * 1024 * (double)i / 360 + 3 * normal());
    tm_trend first = trend(360);
    for (size_t i = 0; i < 360; i++) value[i] *= 0x1p964;
    tm_trend huge = trend(360);
    assert_true(first.leak == leaks);
    assert_same(&first, &huge, 0x1p964);
  }
}

static void a_shift_keeps_slope_and_certainty(void **state) {
  (void)state;
  fill_leak(360);
  tm_trend first = trend(360);
  for (size_t i = 0; i < 360; i++) value[i] += 1 << 20;
  tm_trend shifted = trend(360);
  assert_near(shifted.slope_per_s, first.slope_per_s);
  assert_near(shifted.z, first.z);
  assert_near(shifted.level, first.level + (1 << 20));
  assert_true(first.leak && !shifted.leak); // 0.1 % of the higher level
}

static void time_to_a_limit(void **state) {
  (void)state;
  tm_trend t = {.slope_per_s = 2, .slope_low_per_s = 1, .slope_high_per_s = 4, .level = 100};
  t.amplitude = 20;
  double low, high;
  assert_near(tm_trend_time_to_ns(&t, 200, &low, &high), 40e9);
  assert_near(low, 20e9);
  assert_near(high, 80e9);
  assert_true(tm_trend_time_to_ns(&t, 120, NULL, NULL) == 0); // peaks count
  assert_true(tm_trend_time_to_ns(&t, 90, &low, &high) == 0 && low == 0 && high == 0);
  t.slope_low_per_s = -1;
  tm_trend_time_to_ns(&t, 200, NULL, &high);
  assert_true(isinf(high));
  t.slope_per_s = 0;
  assert_true(isinf(tm_trend_time_to_ns(&t, 200, NULL, NULL)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(slope_and_test_match_the_oracles, set_up, tear_down),
      cmocka_unit_test_setup_teardown(ten_points_on_a_line_by_hand, set_up, tear_down),
      cmocka_unit_test_setup_teardown(interval_holds_the_true_slope, set_up, tear_down),
      cmocka_unit_test_setup_teardown(tells_leaks_from_their_impostors, set_up, tear_down),
      cmocka_unit_test_setup_teardown(small_growth_is_none, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_restart_begins_a_new_window, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_shallow_fall_is_no_restart, set_up, tear_down),
      cmocka_unit_test_setup_teardown(warmup_is_a_fifth_at_least, set_up, tear_down),
      cmocka_unit_test_setup_teardown(says_which_question_failed, set_up, tear_down),
      cmocka_unit_test_setup_teardown(walks_seldom_pass_for_leaks, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_deep_sawtooth_is_no_restart, set_up, tear_down),
      cmocka_unit_test_setup_teardown(refuses_too_little, set_up, tear_down),
      cmocka_unit_test_setup_teardown(gaps_up_to_a_fifth, set_up, tear_down),
      cmocka_unit_test_setup_teardown(constant_values, set_up, tear_down),
      cmocka_unit_test_setup_teardown(equal_times, set_up, tear_down),
      cmocka_unit_test_setup_teardown(scale_and_time_change_no_verdict, set_up, tear_down),
      cmocka_unit_test_setup_teardown(huge_values_are_judged_alike, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_shift_keeps_slope_and_certainty, set_up, tear_down),
      cmocka_unit_test_setup_teardown(time_to_a_limit, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
