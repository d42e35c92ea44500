// floors: analyze
// How far the leak gate can be trusted: percent of simulated series on which it alarms, by kind of
// series and window length, against a bar; then what one call costs. Seeds are fixed, so that each
// run prints the same table. Exit 1 when a bar is missed. bench_gate [runs of each series]
#include "analyze/trend.h"
#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PI 3.14159265358979323846

enum { MOST_SAMPLES = 720, DEFAULT_RUNS = 1000, CALLS = 20000 };

static const size_t lengths[] = {120, 360, 720};

// ---- random numbers: splitmix64, Box-Muller ----

static uint64_t rng_state;

static double uniform(void) {
  uint64_t z = rng_state += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return ((double)((z ^ (z >> 31)) >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void) {
  return sqrt(-2 * log(uniform())) * cos(2 * PI * uniform());
}

// ---- the series: a level of 1, noise, a shape, a leak ----

typedef enum noise { IID, AR1, WALK } noise;
typedef enum shape { FLAT, WARM_UP, STEP, SINE } shape;
typedef enum expectation { LEAK_FREE, LEAK, PRINTED } expectation;

typedef struct kind {
  const char *name;
  expectation expected;
  noise noise;
  double sigma; // stationary for AR(1), of one step for the walk
  shape shape;
  double extent;        // height of the shape; for SINE: 0.1 high, so many periods in the window
  double leak;          // growth over the window
  double tooth;         // height of the collector's sawtooth
  double cycle_samples; // its length; each cycle varies by a tenth
  double cycles;        // or: so many cycles in the window, if not 0
} kind;

static const kind kinds[] = {
    {"flat, iid 1 %", LEAK_FREE, IID, .01, FLAT, 0, 0, 0, 0, 0},
    {"flat, AR(1) .95, 2 %", LEAK_FREE, AR1, .02, FLAT, 0, 0, 0, 0, 0},
    {"random walk, 0.3 % a step", LEAK_FREE, WALK, .003, FLAT, 0, 0, 0, 0, 0},
    {"random walk, 1 % a step", LEAK_FREE, WALK, .01, FLAT, 0, 0, 0, 0, 0},
    {"warm-up +30 %, then flat", LEAK_FREE, IID, .01, WARM_UP, .3, 0, 0, 0, 0},
    {"warm-up +30 %, AR(1)", LEAK_FREE, AR1, .02, WARM_UP, .3, 0, 0, 0, 0},
    {"one step +10 %", LEAK_FREE, IID, .01, STEP, .1, 0, 0, 0, 0},
    {"one step +10 %, AR(1)", LEAK_FREE, AR1, .02, STEP, .1, 0, 0, 0, 0},
    {"half a daily sine", LEAK_FREE, IID, .01, SINE, .5, 0, 0, 0, 0},
    {"a full daily sine", LEAK_FREE, IID, .01, SINE, 1, 0, 0, 0, 0},
    {"sawtooth 40 %, cycle 7", LEAK_FREE, IID, .01, FLAT, 0, 0, .4, 7, 0},
    {"sawtooth 40 %, cycle 20", LEAK_FREE, IID, .01, FLAT, 0, 0, .4, 20, 0},
    {"sawtooth 40 %, cycle 45", LEAK_FREE, IID, .01, FLAT, 0, 0, .4, 45, 0},
    {"sawtooth 40 %, 5 cycles", LEAK_FREE, IID, .01, FLAT, 0, 0, .4, 0, 5},
    {"sawtooth 40 %, 3 cycles", LEAK_FREE, IID, .01, FLAT, 0, 0, .4, 0, 3},
    {"sawtooth 40 %, 2 cycles", LEAK_FREE, IID, .01, FLAT, 0, 0, .4, 0, 2},
    {"sawtooth 70 %, 5 cycles", LEAK_FREE, IID, .01, FLAT, 0, 0, 2.3, 0, 5},
    {"leak 30 %", LEAK, IID, .01, FLAT, 0, .3, 0, 0, 0},
    {"leak 30 %, AR(1)", LEAK, AR1, .02, FLAT, 0, .3, 0, 0, 0},
    {"leak 30 %, sawtooth, cycle 7", LEAK, IID, .01, FLAT, 0, .3, .4, 7, 0},
    {"leak 30 %, sawtooth, cycle 12", LEAK, IID, .01, FLAT, 0, .3, .4, 12, 0},
    {"leak 30 %, sawtooth, cycle 20", LEAK, IID, .01, FLAT, 0, .3, .4, 20, 0},
    {"leak 30 %, sawtooth, 12 cycles", LEAK, IID, .01, FLAT, 0, .3, .4, 0, 12},
    {"leak 30 %, sawtooth, 6 cycles", PRINTED, IID, .01, FLAT, 0, .3, .4, 0, 6},
    {"leak 10 %", PRINTED, IID, .01, FLAT, 0, .1, 0, 0, 0},
    {"leak 10 %, AR(1)", PRINTED, AR1, .02, FLAT, 0, .1, 0, 0, 0},
    {"leak 10 %, sawtooth, 12 cycles", PRINTED, IID, .01, FLAT, 0, .1, .4, 0, 12},
};

static double shape_at(const kind *k, double x, double place) {
  switch (k->shape) {
  case WARM_UP:
    return k->extent * (1 - exp(-x / 0.1)); // settled after a third of the window
  case STEP:
    return x >= place ? k->extent : 0;
  case SINE:
    return 0.1 * sin(2 * PI * k->extent * x); // half a day: up and down again
  case FLAT:
    break;
  }
  return 0;
}

static void make_series(const kind *k, size_t n, uint64_t seed, int64_t *time_ns, double *value) {
  rng_state = seed * 0xD1342543DE82EF95u;
  double place = 0.2 + 0.6 * uniform(), phase = uniform(), length = 1;
  double cycle = k->cycles > 0 ? (double)n / k->cycles : k->cycle_samples;
  double wander = k->noise == AR1 ? k->sigma * normal() : 0;
  for (size_t i = 0; i < n; i++) {
    double x = (double)i / (double)n, e = k->sigma * normal();
    if (k->noise == AR1) e = wander = 0.95 * wander + e * sqrt(1 - 0.95 * 0.95);
    if (k->noise == WALK) e = wander += e;
    if (cycle > 0 && (phase += 1 / (cycle * length)) >= 1) {
      phase -= 1;
      length = 0.9 + 0.2 * uniform();
    }
    time_ns[i] = INT64_C(1790000000000000000) + (int64_t)i * 10000000000;
    value[i] = 1e8 * (1 + shape_at(k, x, place) + k->leak * x + k->tooth * phase + e);
  }
}

// ---- rates and cost ----

static double alarm_percent(tm_ctx *ctx, size_t which, size_t n, int runs) {
  static int64_t time_ns[MOST_SAMPLES];
  static double value[MOST_SAMPLES];
  int alarms = 0;
  for (int run = 0; run < runs; run++) {
    make_series(&kinds[which], n, (which * 1000 + n) * 1000003 + (uint64_t)run, time_ns, value);
    tm_trend trend;
    if (tm_trend_compute(ctx, time_ns, value, n, NULL, &trend) != TM_OK) exit(2);
    alarms += trend.leak;
  }
  return 100.0 * alarms / runs;
}

static bool meets(expectation expected, double percent) {
  return expected == PRINTED || (expected == LEAK ? percent >= 95 : percent <= 4);
}

static bool print_rates(tm_ctx *ctx, int runs) {
  static const char *const bars[] = {"<= 4", ">= 95", "-"};
  bool all = true;
  printf("%-32s %5s %9s %6s\n", "series", "n", "alarms %", "bar");
  for (size_t i = 0; i < TM_COUNT(kinds); i++)
    for (size_t j = 0; j < TM_COUNT(lengths); j++) {
      double percent = alarm_percent(ctx, i, lengths[j], runs);
      bool ok = meets(kinds[i].expected, percent);
      const char *verdict = kinds[i].expected == PRINTED ? "" : ok ? "  ok" : "  FAIL";
      printf("%-32s %5zu %9.1f %6s%s\n", kinds[i].name, lengths[j], percent,
             bars[kinds[i].expected], verdict);
      all = all && ok;
    }
  return all;
}

static void print_cost(tm_ctx *ctx) {
  static int64_t time_ns[MOST_SAMPLES];
  static double value[MOST_SAMPLES];
  printf("\n%-32s %5s %9s\n", "cost", "n", "us/call");
  for (size_t i = 0; i < TM_COUNT(kinds); i++) {
    if (i != 1 && kinds[i].expected != LEAK) continue;
    for (size_t j = 0; j < TM_COUNT(lengths); j++) {
      make_series(&kinds[i], lengths[j], i, time_ns, value);
      tm_trend trend;
      uint64_t began = tm_clock_thread_cpu_ns();
      for (int call = 0; call < CALLS; call++)
        if (tm_trend_compute(ctx, time_ns, value, lengths[j], NULL, &trend) != TM_OK) exit(2);
      double us = (double)(tm_clock_thread_cpu_ns() - began) / 1e3 / CALLS;
      printf("%-32s %5zu %9.1f\n", kinds[i].name, lengths[j], us);
    }
  }
}

int main(int argc, char **argv) {
  int runs = argc > 1 ? atoi(argv[1]) : DEFAULT_RUNS;
  if (runs < 1) {
    fputs("usage: bench_gate [runs of each series]\n", stderr);
    return 2;
  }
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  bool all = print_rates(&ctx, runs);
  print_cost(&ctx);
  tm_ctx_fini(&ctx);
  return all ? 0 : 1;
}
