// floors: engine
// What the history costs: ns per sample for the caller, CPU of the writer, bytes written and kept
// per sample. One hour of 40 series at 5 s, committed every tick as in real life.
#include "base/clock.h"
#include "engine/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SERIES = 40, TICKS = 720 };

static uint64_t written_bytes(void) { // what this process handed to the kernel
  unsigned long long value = 0;
  char line[128];
  FILE *f = fopen("/proc/self/io", "r");
  while (f && fgets(line, sizeof line, f))
    if (sscanf(line, "wchar: %llu", &value) == 1) break;
  if (f) fclose(f);
  return value;
}

int main(void) {
  const char *path = "/tmp/tm_bench_history.db";
  const int64_t start_ns = tm_clock_wall_ns() - INT64_C(3600000000000);
  uint32_t series[SERIES];
  double level[SERIES];
  struct stat st;
  tm_ctx ctx;
  tm_history *h;
  unlink(path);
  tm_ctx_init(&ctx, NULL);
  if (tm_history_open(&ctx, path, NULL, &h) != TM_OK) return 1;
  const tm_history_target facts = {.id = "47:8", .pid = 47, .name = "leaky"};
  uint32_t target = tm_history_add_target(h, &facts);
  for (int k = 0; k < SERIES; k++) {
    char metric[32];
    snprintf(metric, sizeof metric, "proc.m%d", k);
    series[k] = tm_history_add_series(h, target, metric, "", TM_UNIT_BYTES);
    level[k] = 4096.0 * (rand() % 100000);
  }
  uint64_t before_bytes = written_bytes(), before_ns = tm_clock_process_cpu_ns(), caller_ns = 0;
  for (int64_t i = 0; i < TICKS; i++) {
    int64_t time_ns = start_ns + i * INT64_C(5000000000) + rand() % 1500000;
    for (int k = 0; k < SERIES; k++)
      if (k % 4 == 0 && i % 3 == 0) level[k] += 4096.0 * (rand() % 33 - 16);
    uint64_t from_ns = tm_clock_thread_cpu_ns();
    for (int k = 0; k < SERIES; k++) tm_history_sample(h, series[k], time_ns, level[k]);
    caller_ns += tm_clock_thread_cpu_ns() - from_ns;
    if (!tm_history_sync(h, UINT64_C(10000000000))) return 1;
  }
  tm_history_close(h);
  uint64_t cpu_ns = tm_clock_process_cpu_ns() - before_ns;
  stat(path, &st);
  double samples = (double)SERIES * TICKS;
  printf("caller %.0f ns/sample; all CPU %.1f ms for an hour (%.4f %% of a core)\n",
         (double)caller_ns / samples, (double)cpu_ns / 1e6, (double)cpu_ns / 3600e9 * 100);
  printf("written %.1f B/sample, kept %.2f B/sample (%lld B)\n",
         (double)(written_bytes() - before_bytes) / samples, (double)st.st_size / samples,
         (long long)st.st_size);
  unlink(path);
  tm_ctx_fini(&ctx);
  return 0;
}
