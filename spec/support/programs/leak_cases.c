// Blocks of a native heap whose holders are known: each site has its count and its way of being
// held, or lost. Built by specs with -O1 -g; says its pid, then works by words of its input:
//
//   leak_cases [CASE...]     without: hold. A line "go" does a round, the end of the input ends it.
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define KEEP     __asm__ volatile("" ::: "memory")

typedef struct node {
  struct node *next;
  char payload[56];
} node;

// ---- who holds ----

static void *volatile table_of_pages[40]; // a global
static node *volatile list_head;          // a global with a list in the heap
static char *volatile middle;             // a global that points into a block
static __thread void *volatile of_thread; // thread-local
static void *volatile *in_mapping;        // memory of mmap
static void *volatile *in_freed;          // leftovers in free memory

NOINLINE static void *site_lost(void) {
  void *p = malloc(1000);
  KEEP;
  return p;
}
NOINLINE static node *site_lost_list(void) {
  node *n = malloc(sizeof *n);
  KEEP;
  return n;
}
NOINLINE static void *site_global(void) {
  void *p = malloc(200);
  KEEP;
  return p;
}
NOINLINE static node *site_list(void) {
  node *n = malloc(sizeof *n);
  KEEP;
  return n;
}
NOINLINE static void *site_stack(void) {
  void *p = malloc(300);
  KEEP;
  return p;
}
NOINLINE static void *site_thread_stack(void) {
  void *p = malloc(310);
  KEEP;
  return p;
}
NOINLINE static void *site_tls(void) {
  void *p = malloc(320);
  KEEP;
  return p;
}
NOINLINE static char *site_interior(void) {
  char *p = malloc(400);
  KEEP;
  return p;
}
NOINLINE static void *site_mapping(void) {
  void *p = malloc(500);
  KEEP;
  return p;
}
NOINLINE static void *site_freed(void) {
  void *p = malloc(600);
  KEEP;
  return p;
}

// Overwrites what earlier calls left below on the stack and in registers.
NOINLINE static void wipe(void) {
  volatile char room[16384];
  memset((void *)room, 0, sizeof room);
  KEEP;
}

NOINLINE static void lose(void) {
  for (int i = 0; i < 30; i++) memset(site_lost(), 1, 1000);
  node *first = NULL;
  for (int i = 0; i < 25; i++) {
    node *n = site_lost_list();
    n->next = first;
    first = n;
  }
  KEEP;
}

NOINLINE static void hold_by_data(void) {
  for (int i = 0; i < 40; i++) table_of_pages[i] = site_global();
  for (int i = 0; i < 50; i++) {
    node *n = site_list();
    n->next = list_head;
    list_head = n;
  }
  middle = site_interior() + 100;
  of_thread = site_tls();
  in_mapping = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 7; i++) in_mapping[i] = site_mapping();
}

// What stood in a block stays there when it is freed, but for its first 16 bytes.
NOINLINE static void leave_in_free_memory(void) {
  in_freed = malloc(2000);
  for (int i = 0; i < 9; i++) in_freed[100 + i] = site_freed();
  free((void *)in_freed);
  in_freed = NULL;
}

static pthread_barrier_t barrier;
NOINLINE static void *thread(void *ud) {
  void *volatile mine[5];
  for (int i = 0; i < 5; i++) mine[i] = site_thread_stack();
  wipe();
  pthread_barrier_wait(&barrier);
  pause();
  return mine[0] == ud ? NULL : ud;
}

// ---- rounds ----

enum { CACHE = 64 };
static void *volatile cache[CACHE];
static unsigned cache_at;
static void *volatile growing[100000];
static unsigned growing_count;

NOINLINE static void *site_cache(void) {
  void *p = malloc(10000);
  KEEP;
  return p;
}
NOINLINE static void *site_growing(void) {
  void *p = malloc(700);
  KEEP;
  return p;
}
NOINLINE static void *site_drip(void) {
  void *p = malloc(800);
  KEEP;
  return p;
}
NOINLINE static void *site_burst(void) {
  void *p = malloc(4000);
  KEEP;
  return p;
}

static void cache_round(void) { // bounded: each new one takes an old one's place
  for (int i = 0; i < 48; i++) {
    free(cache[cache_at]);
    cache[cache_at] = site_cache();
    cache_at = (cache_at + 1) % CACHE;
  }
}
static void grow_round(void) {
  for (int i = 0; i < 40 && growing_count < 100000; i++) growing[growing_count++] = site_growing();
}
static void drip_round(void) {
  for (int i = 0; i < 20; i++) memset(site_drip(), 1, 800);
}
// Much is freed, but a small block above each keeps the memory from going back to the system.
static void burst_round(void) {
  enum { BURST = 8000 };
  static void *volatile burst[BURST], *volatile keep[BURST / 50];
  static int is_done;
  if (is_done) return;
  is_done = 1;
  for (int i = 0; i < BURST; i++) {
    burst[i] = memset(site_burst(), 1, 4000);
    if (i % 50 == 0) keep[i / 50] = site_growing();
  }
  for (int i = 0; i < BURST; i++) free(burst[i]);
  memset((void *)burst, 0, sizeof burst);
}

static int has(int argc, char **argv, const char *name) {
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], name) == 0) return 1;
  return 0;
}

static void a_round(int argc, char **argv) {
  if (has(argc, argv, "cache")) cache_round();
  if (has(argc, argv, "grow")) grow_round();
  if (has(argc, argv, "drip")) drip_round();
  if (has(argc, argv, "burst")) burst_round();
  wipe();
}

int main(int argc, char **argv) {
  void *volatile on_stack[6];
  char line[64];
  int rounds_ms = 0;
  pthread_t other;
  static void *volatile early[300]; // fills what the heap was before the agent began
  for (int i = 0; i < 300; i++) early[i] = malloc(1024);
  setvbuf(stdin, line, _IOFBF, sizeof line); // no block of theirs
  if (argc == 1 || has(argc, argv, "hold")) {
    pthread_barrier_init(&barrier, NULL, 2);
    for (int i = 0; i < 6; i++) on_stack[i] = site_stack();
    lose();
    hold_by_data();
    leave_in_free_memory();
    pthread_create(&other, NULL, thread, NULL);
    pthread_barrier_wait(&barrier);
  }
  if (has(argc, argv, "every10ms")) rounds_ms = 10;
  wipe();
  printf("%d\n", getpid());
  fflush(stdout);
  struct pollfd input = {0, POLLIN, 0};
  while (rounds_ms && poll(&input, 1, rounds_ms) == 0) a_round(argc, argv);
  char word[16];
  while (read(0, word, sizeof word) > 0) a_round(argc, argv);
  return on_stack[0] == NULL;
}
