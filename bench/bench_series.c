// floors: model
// What memory of the past costs: ns per push, bytes per idle and per busy hour, memory over 10^6
// ticks.
#include "base/clock.h"
#include "model/chunk.h"
#include "model/series.h"

#include <stdio.h>
#include <stdlib.h>

#define TICK_NS  INT64_C(5000000000)
#define START_NS INT64_C(1790000000000000000)

static double idle(int64_t i) {
  (void)i;
  return 123457536;
}

static double calm(int64_t i) {
  static double value = 1e8;
  if (i % 7 == 0) value += 4096.0 * (double)(rand() % 33 - 16);
  return value;
}

static double busy(int64_t i) {
  (void)i;
  return 4096.0 * (double)(rand() % 1000000);
}

static void bench_pushes(tm_ctx *ctx, const char *name, double (*value)(int64_t)) {
  enum { WARM = 100000, TICKS = 1000000 };
  tm_series *series;
  if (tm_series_new(ctx, 720, 16 * 1024, &series) != TM_OK) return;
  uint64_t warm_bytes = 0, start_ns = 0;
  for (int64_t i = 0; i < WARM + TICKS; i++) {
    if (i == WARM) {
      warm_bytes = tm_series_memory_bytes(series);
      start_ns = tm_clock_thread_cpu_ns();
    }
    if (tm_series_push(ctx, series, START_NS + i * TICK_NS, value(i)) != TM_OK) return;
  }
  double spent_ns = (double)(tm_clock_thread_cpu_ns() - start_ns);
  printf("series %-5s %6.1f ns/push  memory after 10^5 ticks %6llu B, after 10^6 more %6llu B, %zu "
         "samples\n",
         name, spent_ns / TICKS, (unsigned long long)warm_bytes,
         (unsigned long long)tm_series_memory_bytes(series), tm_series_count(series));
  tm_series_free(series);
}

static void bench_hour(tm_ctx *ctx, const char *name, double (*value)(int64_t), uint64_t tick_ns) {
  enum { ROUNDS = 200, HOUR = 720 };
  size_t size = 0;
  uint64_t encode_ns = 0, decode_ns = 0;
  for (int round = 0; round < ROUNDS; round++) {
    tm_chunk chunk;
    tm_chunk_init(&chunk, tick_ns);
    uint64_t start_ns = tm_clock_thread_cpu_ns();
    for (int64_t i = 0; i < HOUR; i++) {
      int64_t late_ns = tick_ns > 1 ? rand() % 1500000 : 0; // what a timer of 1 ms does
      if (tm_chunk_append(ctx, &chunk, START_NS + i * TICK_NS + late_ns, value(i)) != TM_OK) return;
    }
    encode_ns += tm_clock_thread_cpu_ns() - start_ns;
    tm_chunk_reader reader;
    int64_t time_ns;
    double got, sum = 0;
    start_ns = tm_clock_thread_cpu_ns();
    tm_chunk_reader_init(&reader, chunk.bytes.data, chunk.bytes.size);
    while (tm_chunk_next(&reader, &time_ns, &got)) sum += got;
    decode_ns += tm_clock_thread_cpu_ns() - start_ns;
    size = sum < 0 ? 0 : chunk.bytes.size;
    tm_chunk_fini(ctx, &chunk);
  }
  printf("chunk  %-5s tick %7llu ns: %5zu B/hour at 5 s, encode %5.1f, decode %5.1f ns/sample\n",
         name, (unsigned long long)tick_ns, size, (double)encode_ns / ROUNDS / HOUR,
         (double)decode_ns / ROUNDS / HOUR);
}

static void bench_thinned(tm_ctx *ctx, const char *name, double (*value)(int64_t)) {
  enum { HOURS = 36, TICKS_AN_HOUR = 720 };
  tm_series *series;
  if (tm_series_new(ctx, 60, 1 << 24, &series) != TM_OK) return;
  int64_t i = 0;
  for (; i < 4 * TICKS_AN_HOUR; i++)
    if (tm_series_push(ctx, series, START_NS + i * TICK_NS, value(i)) != TM_OK) return;
  size_t before = tm_series_memory_bytes(series);
  for (; i < (4 + HOURS) * TICKS_AN_HOUR; i++)
    if (tm_series_push(ctx, series, START_NS + i * TICK_NS, value(i)) != TM_OK) return;
  printf("series %-5s %5zu B per retained hour in the older tier\n", name,
         (tm_series_memory_bytes(series) - before) / HOURS);
  tm_series_free(series);
}

int main(void) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  bench_pushes(&ctx, "idle", idle);
  bench_pushes(&ctx, "calm", calm);
  bench_pushes(&ctx, "busy", busy);
  bench_hour(&ctx, "idle", idle, 1);
  bench_hour(&ctx, "idle", idle, 1000000);
  bench_hour(&ctx, "calm", calm, 1000000);
  bench_hour(&ctx, "busy", busy, 1000000);
  bench_thinned(&ctx, "idle", idle);
  bench_thinned(&ctx, "calm", calm);
  bench_thinned(&ctx, "busy", busy);
  tm_ctx_fini(&ctx);
  return 0;
}
