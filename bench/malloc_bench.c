// A program that does little but malloc and free, from many stacks, to measure what recording
// costs: 2,048 stacks of 20 frames, sizes from 16 bytes to 42 KiB (430 on average), 20,000 live
// blocks in each thread, every block written to; eight pairs of free and malloc at the end of each
// descent. Prints CPU and wall time for a pair.
//
//   malloc_bench THREADS PAIRS [WAIT_S]      WAIT_S: lives so long afterwards
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { LIVE = 20000, DEPTH = 16, PER_DESCENT = 8 };

typedef struct worker {
  uint64_t random, pairs;
  void **blocks;
} worker;

static uint64_t next(worker *w) {
  w->random ^= w->random << 13;
  w->random ^= w->random >> 7;
  w->random ^= w->random << 17;
  return w->random;
}

static size_t a_size(worker *w) { // each doubling is half as frequent
  uint64_t r = next(w);
  return 16 + ((r >> 16) % 168 << __builtin_ctzll(r | 256));
}

static void pairs(worker *w) {
  for (int i = 0; i < PER_DESCENT; i++) {
    void **place = &w->blocks[next(w) % LIVE];
    size_t size = a_size(w);
    free(*place);
    *place = malloc(size);
    memset(*place, 1, size);
  }
  w->pairs += PER_DESCENT;
}

// Two functions that call each other or themselves by the bits of the path.
static void left(worker *w, uint32_t path, int depth);
static void __attribute__((noinline)) right(worker *w, uint32_t path, int depth) {
  if (depth == 0)
    pairs(w);
  else if (path & 1)
    left(w, path >> 1, depth - 1);
  else
    right(w, path >> 1, depth - 1);
  __asm__ volatile("" ::: "memory"); // no tail calls
}
static void __attribute__((noinline)) left(worker *w, uint32_t path, int depth) {
  if (depth == 0)
    pairs(w);
  else if (path & 1)
    right(w, path >> 1, depth - 1);
  else
    left(w, path >> 1, depth - 1);
  __asm__ volatile("" ::: "memory");
}

static uint64_t wanted;

static void *work(void *ud) {
  worker *w = ud;
  w->blocks = calloc(LIVE, sizeof *w->blocks);
  while (w->pairs < wanted) left(w, (uint32_t)(next(w) % 2048), DEPTH);
  return NULL;
}

static uint64_t ns_of(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv) {
  static worker workers[64];
  pthread_t threads[64];
  int count = argc > 1 ? atoi(argv[1]) : 1;
  wanted = argc > 2 ? strtoull(argv[2], NULL, 10) : 2000000;
  if (count < 1 || count > 64) return 2;
  uint64_t wall = ns_of(CLOCK_MONOTONIC), cpu = ns_of(CLOCK_PROCESS_CPUTIME_ID), all = 0;
  for (int i = 0; i < count; i++) {
    workers[i].random = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
    if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) return 1;
  }
  for (int i = 0; i < count; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < count; i++) all += workers[i].pairs;
  cpu = ns_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  wall = ns_of(CLOCK_MONOTONIC) - wall;
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("%.1f %.1f %ld\n", (double)cpu / (double)all, (double)wall / (double)all, usage.ru_maxrss);
  fflush(stdout);
  if (argc > 3) sleep((unsigned)atoi(argv[3]));
  return 0;
}
