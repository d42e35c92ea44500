// floors: analyze
// The ship gate against simulated series: percent that raise the alarm, per series and length, and
// the bar each has to meet. Seeds are fixed, so a run can be repeated; exits with 1 when a bar is
// missed. Also prints the cost of one call. Usage: bench_gate [RUNS], 1000 by default.
#include "analyze/trend.h"
#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_N = 720, BATCH = 50, DEFAULT_RUNS = 1000 };

#define SECOND INT64_C(1000000000)
#define TWO_PI 6.283185307179586
#define NO_BAR (-1)
#define MOST   4  // percent of false alarms
#define LEAST  95 // percent of 30 % leaks found

// ---- chance: xorshift64*, Box-Muller ----

typedef struct chance {
  uint64_t state;
} chance;

static double uniform(chance *c) {
  c->state ^= c->state >> 12;
  c->state ^= c->state << 25;
  c->state ^= c->state >> 27;
  return ((double)((c->state * UINT64_C(2685821657736338717)) >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(chance *c) {
  double r = sqrt(-2 * log(uniform(c)));
  return r * cos(TWO_PI * uniform(c));
}

// ---- series: level 100 at the start ----

static void noise(chance *c, double *x, size_t n, double sigma) {
  for (size_t i = 0; i < n; i++) x[i] += sigma * normal(c);
}

// Stationary, with this sigma.
static void correlated(chance *c, double *x, size_t n, double phi, double sigma) {
  double e = normal(c);
  for (size_t i = 0; i < n; i++) {
    x[i] += sigma * e;
    e = phi * e + sqrt(1 - phi * phi) * normal(c);
  }
}

static void flat(chance *c, double *x, size_t n) {
  noise(c, x, n, 1);
}

static void ar1(chance *c, double *x, size_t n) {
  correlated(c, x, n, 0.95, 2);
}

static void walk(chance *c, double *x, size_t n, double sigma) {
  double at = 0;
  for (size_t i = 0; i < n; i++) {
    x[i] += at;
    at += sigma * normal(c);
  }
}

static void walk_small(chance *c, double *x, size_t n) {
  walk(c, x, n, 0.1);
}

static void walk_middle(chance *c, double *x, size_t n) {
  walk(c, x, n, 0.3);
}

static void walk_great(chance *c, double *x, size_t n) {
  walk(c, x, n, 1);
}

static void warmup(chance *c, double *x, size_t n) {
  double tau = (0.05 + 0.15 * uniform(c)) * (double)n;
  for (size_t i = 0; i < n; i++) x[i] += 30 * (1 - exp(-(double)i / tau));
  noise(c, x, n, 1);
}

static void step(chance *c, double *x, size_t n) {
  size_t at = (size_t)((0.1 + 0.8 * uniform(c)) * (double)n);
  for (size_t i = at; i < n; i++) x[i] += 10;
  noise(c, x, n, 1);
}

static void half_sine(chance *c, double *x, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] += 10 * sin(TWO_PI / 2 * (double)i / (double)n);
  noise(c, x, n, 1);
}

static void full_sine(chance *c, double *x, size_t n) {
  double phase = uniform(c);
  for (size_t i = 0; i < n; i++) x[i] += 10 * sin(TWO_PI * ((double)i / (double)n + phase));
  noise(c, x, n, 1);
}

// Collections every 5 samples to every tenth of the window, each cycle within 10 % of that.
static void sawtooth(chance *c, double *x, size_t n) {
  double period = 5 + uniform(c) * ((double)n / 10 - 5), at = uniform(c) * period, length = period;
  for (size_t i = 0; i < n; i++) {
    x[i] += 40 * at / period;
    if ((at += 1) < length) continue;
    at -= length;
    length = period * (0.9 + 0.2 * uniform(c));
  }
  noise(c, x, n, 1);
}

static void leak(double *x, size_t n, double percent) {
  for (size_t i = 0; i < n; i++) x[i] += percent * (double)i / (double)n;
}

static void leak_10(chance *c, double *x, size_t n) {
  leak(x, n, 10);
  ar1(c, x, n);
}

static void leak_30(chance *c, double *x, size_t n) {
  leak(x, n, 30);
  ar1(c, x, n);
}

static void leak_10_sawtooth(chance *c, double *x, size_t n) {
  leak(x, n, 10);
  sawtooth(c, x, n);
}

static void leak_30_sawtooth(chance *c, double *x, size_t n) {
  leak(x, n, 30);
  sawtooth(c, x, n);
}

static const struct {
  const char *name;
  void (*make)(chance *c, double *x, size_t n);
  int most, least; // percent; NO_BAR = none
} series[] = {
    // clang-format off
    {"flat, iid 1 %", flat, MOST, NO_BAR},
    {"flat, AR(1) .95 2 %", ar1, MOST, NO_BAR},
    {"random walk, 0.1 % a step", walk_small, MOST, NO_BAR},
    {"random walk, 0.3 % a step", walk_middle, MOST, NO_BAR},
    {"random walk, 1 % a step", walk_great, MOST, NO_BAR},
    {"warm-up +30 %, then flat", warmup, MOST, NO_BAR},
    {"one step +10 %", step, MOST, NO_BAR},
    {"half a daily sine", half_sine, MOST, NO_BAR},
    {"full daily sine", full_sine, MOST, NO_BAR},
    {"GC sawtooth 40 %", sawtooth, MOST, NO_BAR},
    {"LEAK 10 % + AR(1)", leak_10, NO_BAR, NO_BAR},
    {"LEAK 10 % under sawtooth", leak_10_sawtooth, NO_BAR, NO_BAR},
    {"LEAK 30 % + AR(1)", leak_30, NO_BAR, LEAST},
    {"LEAK 30 % under sawtooth", leak_30_sawtooth, NO_BAR, LEAST},
    // clang-format on
};

// ---- the run ----

typedef struct tally {
  uint64_t calls, cpu_ns;
} tally;

// A batch of series is made first, then judged, so that the clock sees only the calls.
static double alarms_pct(tm_ctx *ctx, size_t kind, size_t n, size_t runs, tally *t) {
  static int64_t time_ns[MAX_N];
  static double x[BATCH][MAX_N];
  size_t alarms = 0;
  for (size_t i = 0; i < n; i++) time_ns[i] = (int64_t)i * 5 * SECOND;
  for (size_t run = 0; run < runs;) {
    size_t batch = 0;
    for (; batch < BATCH && run < runs; batch++, run++) {
      chance c = {UINT64_C(0x9E3779B97F4A7C15) * (1 + run + 100000 * (kind * 1000 + n))};
      for (size_t i = 0; i < n; i++) x[batch][i] = 100;
      for (size_t i = 0; i < 4; i++) uniform(&c); // neighbouring seeds part
      series[kind].make(&c, x[batch], n);
    }
    uint64_t from_ns = tm_clock_thread_cpu_ns();
    for (size_t i = 0; i < batch; i++) {
      tm_trend trend;
      if (tm_trend_compute(ctx, time_ns, x[i], n, NULL, &trend) != TM_OK) exit(1);
      alarms += trend.leak;
    }
    t->cpu_ns += tm_clock_thread_cpu_ns() - from_ns;
    t->calls += batch;
  }
  return 100 * (double)alarms / (double)runs;
}

// Prints one row; answers whether the bar is met.
static bool report(size_t kind, size_t n, double pct) {
  int most = series[kind].most, least = series[kind].least;
  bool met = (most == NO_BAR || pct <= most) && (least == NO_BAR || pct >= least);
  char bar[16] = "";
  if (most != NO_BAR) snprintf(bar, sizeof bar, "<= %d", most);
  if (least != NO_BAR) snprintf(bar, sizeof bar, ">= %d", least);
  printf("%-26s %5zu %9.1f  %-6s%s\n", series[kind].name, n, pct, bar,
         !bar[0] ? ""
         : met   ? "ok"
                 : "FAIL");
  return met;
}

int main(int argc, char **argv) {
  static const size_t lengths[] = {120, 360, 720};
  size_t runs = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : DEFAULT_RUNS;
  if (runs == 0) {
    fprintf(stderr, "usage: bench_gate [RUNS]\n");
    return 2;
  }
  tm_ctx ctx;
  tally cost[TM_COUNT(lengths)] = {{0, 0}};
  bool met = true;
  tm_ctx_init(&ctx, NULL);
  printf("%-26s %5s %9s  %s\n", "series", "n", "alarms %", "bar");
  for (size_t kind = 0; kind < TM_COUNT(series); kind++)
    for (size_t l = 0; l < TM_COUNT(lengths); l++)
      met &= report(kind, lengths[l], alarms_pct(&ctx, kind, lengths[l], runs, &cost[l]));
  for (size_t l = 0; l < TM_COUNT(lengths); l++)
    printf("n = %zu: %.1f us per call\n", lengths[l],
           (double)cost[l].cpu_ns / (double)cost[l].calls / 1e3);
  tm_ctx_fini(&ctx);
  return met ? 0 : 1;
}
