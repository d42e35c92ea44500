// The four clocks, by clock_gettime.
#include "base/clock.h"

#include <time.h>

static uint64_t read_ns(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t tm_clock_wall_ns(void) {
  return (int64_t)read_ns(CLOCK_REALTIME);
}

uint64_t tm_clock_mono_ns(void) {
  return read_ns(CLOCK_MONOTONIC);
}

uint64_t tm_clock_thread_cpu_ns(void) {
  return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t tm_clock_process_cpu_ns(void) {
  return read_ns(CLOCK_PROCESS_CPUTIME_ID);
}
