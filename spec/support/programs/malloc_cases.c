// What a malloc agent must survive, one case each, with sites whose live blocks are known exactly:
// functions leak_* leave what their case says. Built by spec/agent with -O1 -g.
//
//   malloc_cases CASE [ARG]      CASE ending in "+": waits for the end of its input afterwards
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define KEEP     __asm__ volatile("" ::: "memory") // no tail call

extern char **environ;
static char *program, *argument;
static void *volatile kept[4096];
static volatile unsigned kept_count;

static void keep(void *block) {
  kept[kept_count++ % 4096] = block;
}

// ---- plain ----

NOINLINE static void leak_basic(size_t bytes) {
  char *p = malloc(bytes);
  memset(p, 1, bytes);
  keep(p);
}
NOINLINE static void temporary(void) {
  void *volatile p = malloc(48);
  free(p);
  KEEP;
}
static void basic(void) {
  for (int i = 0; i < 100; i++) leak_basic(1000);
  for (int i = 0; i < 1000; i++) temporary();
}

// ---- constructors: before main, and before the agent's own ----

NOINLINE static void leak_early(void) {
  keep(malloc(12345));
  KEEP;
}
__attribute__((constructor)) static void early(void) {
  leak_early();
}
static void nothing(void) {
}

// ---- realloc ----

NOINLINE static void leak_realloc(void) {
  void *volatile p = realloc(NULL, 100);
  for (size_t n = 200; n <= 51200; n *= 2) p = realloc(p, n); // grows, moves
  p = realloc(p, 30000);                                      // shrinks
  void *failed = realloc(p, (size_t)PTRDIFF_MAX);
  if (failed || errno != ENOMEM) exit(3);
  keep(p); // 30000 bytes
  void *volatile q = reallocarray(NULL, 10, 1000);
  q = reallocarray(q, 20, 1000);
  if (reallocarray(q, SIZE_MAX / 2, 16) || errno != ENOMEM) exit(4);
  keep(q); // 20000
  void *volatile r = malloc(777);
  r = realloc(r, 0); // frees
  if (r) free(r);
  KEEP;
}

// ---- alignment ----

NOINLINE static void leak_aligned(void) {
  for (int round = 0; round < 2; round++) {
    void *all[6] = {NULL};
    if (posix_memalign(&all[0], 64, 1000) != 0) exit(3);
    all[1] = aligned_alloc(128, 1024);
    all[2] = memalign(256, 1000);
    all[3] = valloc(1000);
    all[4] = calloc(10, 100);
    all[5] = pvalloc(1000);
    for (int i = 0; i < 6; i++) {
      if (!all[i] || malloc_usable_size(all[i]) < 1000) exit(4);
      if (round == 0) free(all[i]);
      if (round == 1) keep(all[i]); // 6024 bytes in 6 blocks
    }
  }
  void *volatile nothing_at_all = calloc(SIZE_MAX / 4, 16);
  if (nothing_at_all) exit(5);
  KEEP;
}

// ---- threads ----

static pthread_key_t key;
static void at_thread_end(void *block) { // the agent's own thread data may be gone already
  free(block);
  for (int i = 0; i < 100; i++) temporary();
}
static void *short_thread(void *ud) {
  pthread_setspecific(key, malloc(500));
  leak_basic(1000);
  return ud;
}
static void thread_exit(void) {
  pthread_key_create(&key, at_thread_end);
  for (int i = 0; i < 100; i++) {
    pthread_t t;
    if (pthread_create(&t, NULL, short_thread, NULL) != 0) exit(3);
    pthread_join(t, NULL);
  }
}

enum { STORM = 64, SHARED = 512 };
static _Atomic(void *) shared[SHARED];
NOINLINE static void *storm_alloc(size_t bytes) {
  void *p = malloc(bytes);
  KEEP;
  return p;
}
static void *storm_thread(void *ud) { // most blocks are freed by another thread
  uint64_t random = (uintptr_t)ud * 0x9e3779b97f4a7c15u + 1;
  for (int i = 0; i < 4000; i++) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    void *old = __atomic_exchange_n((void **)&shared[random % SHARED],
                                    storm_alloc(16 + (random >> 20) % 2000), __ATOMIC_ACQ_REL);
    free(random & 1 ? old : realloc(old, 100));
  }
  return NULL;
}
static void storm(void) {
  pthread_t threads[STORM];
  for (uintptr_t i = 0; i < STORM; i++)
    if (pthread_create(&threads[i], NULL, storm_thread, (void *)i) != 0) exit(3);
  for (int i = 0; i < STORM; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < SHARED; i++) free(shared[i]);
}

// ---- signals ----

static void on_signal(int number) {
  int old = errno;
  (void)number;
  void *volatile p = malloc(333); // forbidden, and done
  free(p);
  errno = old;
}
static void signals(void) {
  struct sigaction how = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK | SA_RESTART};
  static char alternate[65536];
  stack_t other = {.ss_sp = alternate, .ss_size = sizeof alternate};
  const struct itimerval often = {{0, 1000}, {0, 1000}};
  const struct itimerval never = {{0, 0}, {0, 0}};
  sigaltstack(&other, NULL);
  sigaction(SIGALRM, &how, NULL);
  setitimer(ITIMER_REAL, &often, NULL);
  // The allocator's own lock would hang in the handler: this thread asks for tables and stacks
  // only.
  for (int i = 0; i < 300; i++) {
    struct timespec a_moment = {0, 1000000};
    nanosleep(&a_moment, NULL);
    leak_basic(10);
  }
  setitimer(ITIMER_REAL, &never, NULL);
}

// ---- processes ----

static _Atomic int is_over;
static void *busy(void *ud) {
  while (!is_over) temporary();
  return ud;
}
static void forks(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, busy, NULL);
  for (int i = 0; i < 100; i++) {
    pid_t child = fork();
    int status = 0;
    if (child == 0) {
      for (int k = 0; k < 100; k++) temporary();
      leak_basic(5000);
      exit(i % 2 ? 0 : 1); // by exit(): its last words are not the parent's
    }
    if (child < 0 || waitpid(child, &status, 0) != child || WEXITSTATUS(status) != (i + 1) % 2)
      exit(3);
  }
  is_over = 1;
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  leak_basic(1000);
}
static void spawns(void) {
  char *const words[] = {program, "nothing", NULL};
  for (int i = 0; i < 10; i++) {
    pid_t child;
    int status = 0;
    if (posix_spawn(&child, program, NULL, NULL, words, environ) != 0) exit(3);
    if (waitpid(child, &status, 0) != child || status != 0) exit(4);
    child = vfork();
    if (child == 0) _exit(0);
    waitpid(child, &status, 0);
  }
  leak_basic(1000);
}
static void execs(void) {
  char *const words[] = {program, "basic", NULL};
  leak_basic(50000); // is gone with the image
  execv(program, words);
  exit(3);
}
static void bare_clone(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, busy, NULL);
  for (int i = 0; i < 50; i++) {
    int status = 0;
    // As fork, but nobody's atfork handlers run. The child does nothing: libc's locks are lost too.
    long child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0) syscall(SYS_exit_group, 0);
    waitpid((pid_t)child, &status, 0);
  }
  is_over = 1;
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}

// ---- libraries ----

static void libraries(void) {
  for (int i = 0; i < 200; i++) {
    void *library = dlopen(argument, RTLD_NOW);
    void *(*leak)(size_t) = NULL;
    if (!library) exit(3);
    *(void **)&leak = dlsym(library, "leak_in_library");
    keep(leak(100));
    dlclose(library);
  }
}

// ---- stacks ----

static ucontext_t main_context, coroutine;
static void in_coroutine(void) {
  leak_basic(1000);
  swapcontext(&coroutine, &main_context);
}
static void coroutines(void) {
  for (int i = 0; i < 50; i++) {
    void *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    getcontext(&coroutine);
    coroutine.uc_stack = (stack_t){.ss_sp = stack, .ss_size = 65536};
    makecontext(&coroutine, in_coroutine, 0);
    swapcontext(&main_context, &coroutine);
    munmap(stack, 65536);
  }
}
NOINLINE static void deeper(int depth) {
  if (depth)
    deeper(depth - 1);
  else
    leak_basic(1000);
  KEEP;
}
static void deep(void) {
  for (int i = 0; i < 10; i++) deeper(5000);
}
NOINLINE static void realigned(int n) { // the compiler moves the stack pointer by unknown amounts
  _Alignas(128) volatile char room[128];
  char *volatile more = __builtin_alloca((size_t)n);
  room[0] = more[0] = 1;
  leak_basic(1000);
  KEEP;
}
static void realigning(void) {
  for (int i = 0; i < 10; i++) realigned(100 + 13 * i);
}

// ---- mappings ----

enum { MIB = 1 << 20 };
NOINLINE static void *leak_mapping(size_t bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  KEEP;
  return p;
}
static void mappings(void) {
  char *a = leak_mapping(4 * MIB), *b = leak_mapping(MIB), *c = leak_mapping(MIB);
  munmap(a, MIB);                              // 3 MiB of it are left
  munmap(b, MIB);                              // nothing
  c = mremap(c, MIB, 2 * MIB, MREMAP_MAYMOVE); // 2 MiB
  keep(c);
  leak_mapping(65536); // too small to be looked at
  basic();
}

// ---- hostile surroundings ----

static void no_sockets(void) {
  struct sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const struct sock_fprog filter = {sizeof rules / sizeof *rules, rules};
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) exit(3);
  basic();
  for (int i = 0; i < 1000; i++) temporary();
}
static void closes_all(void) {
  for (int i = 0; i < 2000; i++) temporary(); // the agent listens
  usleep(100000);
  for (int fd = 3; fd < 4096; fd++) close(fd);
  basic();
}
static void sites(void) { // for estimates: 8 MiB each by three sizes
  for (int i = 0; i < 131072; i++) keep(malloc(64));
  for (int i = 0; i < 4096; i++) leak_basic(2048);
  for (int i = 0; i < 32; i++) leak_basic(262144);
}

static const struct {
  const char *name;
  void (*run)(void);
} cases[] = {{"nothing", nothing},
             {"basic", basic},
             {"realloc", leak_realloc},
             {"aligned", leak_aligned},
             {"thread_exit", thread_exit},
             {"storm", storm},
             {"signals", signals},
             {"forks", forks},
             {"spawns", spawns},
             {"execs", execs},
             {"bare_clone", bare_clone},
             {"libraries", libraries},
             {"coroutines", coroutines},
             {"deep", deep},
             {"realigning", realigning},
             {"mappings", mappings},
             {"no_sockets", no_sockets},
             {"closes_all", closes_all},
             {"sites", sites}};

int main(int argc, char **argv) {
  size_t length = argc > 1 ? strlen(argv[1]) : 0;
  int waits = length && argv[1][length - 1] == '+';
  program = argv[0];
  argument = argc > 2 ? argv[2] : NULL;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (strncmp(cases[i].name, argv[1], length - (size_t)waits) != 0
        || strlen(cases[i].name) != length - (size_t)waits)
      continue;
    cases[i].run();
    printf("%d\n", getpid());
    fflush(stdout);
    while (waits && getchar() != EOF) temporary();
    return 0;
  }
  return 2;
}
