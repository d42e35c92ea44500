// Programs into which the agent is brought while they are busy with something: inject_cases CASE.
// Prints its pid, does its case, prints "ok", and ends with its input. Whatever goes wrong that
// would not without the agent ends it with a number.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BLOCKS = 1000, LINE_BYTES = 100 };
static double wait_s = 1.0;

void *volatile sink;

__attribute__((noinline)) void leak_line(void) {
  for (int i = 0; i < LINE_BLOCKS; i++) sink = malloc(LINE_BYTES);
  __asm__ volatile("" ::: "memory");
}

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void say(const char *text) {
  printf("%s\n", text);
  fflush(stdout);
}

// Each line of input but "echo" leaks; "dlopen PATH" loads a library and "call" calls its leak.
static int lines(void) {
  char line[512];
  void *library = NULL;
  void (*leak)(void) = NULL;
  for (;;) {
    size_t n = 0;
    ssize_t got = 0;
    while (n + 1 < sizeof line && (got = read(0, line + n, 1)) == 1 && line[n] != '\n') n++;
    if (got < 0) return 3;
    if (got == 0) return 0;
    line[n] = '\0';
    if (strncmp(line, "dlopen ", 7) == 0) {
      library = dlopen(line + 7, RTLD_NOW);
      if (!library) return 4;
      *(void **)&leak = dlsym(library, "leak_in_library");
    } else if (strcmp(line, "call") == 0) {
      leak();
    } else if (strcmp(line, "dlclose") == 0) {
      dlclose(library);
    } else if (strcmp(line, "echo") != 0) {
      leak_line();
    }
    say(line);
  }
}

static void *load(void *path) {
  return dlopen(path, RTLD_NOW);
}

// Another thread loads a library whose constructor takes its time.
static int loading(const char *path) {
  pthread_t thread;
  void *loaded = NULL;
  pthread_create(&thread, NULL, load, (void *)path);
  int problem = lines();
  pthread_join(thread, &loaded);
  return loaded ? problem : 4;
}

static volatile sig_atomic_t signals_seen;

static void on_signal(int number) {
  (void)number;
  signals_seen++;
}

// Each line is answered with the signals so far; nothing but they may interrupt a read.
static int signalled(void) {
  char line[64], answer[80];
  struct sigaction action = {.sa_handler = on_signal};
  int interrupted = 0;
  sigaction(SIGUSR1, &action, NULL);
  for (;;) {
    ssize_t got = read(0, line, sizeof line - 1);
    if (got == 0) return interrupted == signals_seen ? 0 : 9;
    if (got < 0 && errno == EINTR && ++interrupted == signals_seen) continue;
    if (got < 0) return 3;
    line[got - 1] = 0;
    snprintf(answer, sizeof answer, "%s %d", line, (int)signals_seen);
    say(answer);
  }
}

// Less than others may do: `kill CALL` dies of a system call, `deny CALL` gets an error, `strict`
// may only read and write, `sealed` may not make memory executable.
static int confine(const char *how, const char *call) {
  static const struct {
    const char *name;
    unsigned number;
  } calls[] = {{"socket", SYS_socket}, {"mmap", SYS_mmap}, {"reboot", SYS_reboot}, {"clone3", 435}};
  enum { MDWE = 65, NO_GAIN = 1 };
  unsigned action =
      strcmp(how, "kill") == 0 ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | ENOSYS;
  if (strcmp(how, "strict") == 0) return prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
  if (strcmp(how, "sealed") == 0) return prctl(MDWE, NO_GAIN, 0, 0, 0);
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    if (strcmp(call, calls[i].name) != 0) continue;
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                                 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 1),
                                 BPF_STMT(BPF_RET | BPF_K, action),
                                 BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {4, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
           || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
  }
  return -1;
}

static int timed(const char *name) {
  double began = now_s(), took;
  long answer = 0;
  errno = 0;
  if (strcmp(name, "nanosleep") == 0) {
    const struct timespec t = {.tv_sec = (time_t)wait_s};
    answer = nanosleep(&t, NULL);
  } else if (strcmp(name, "poll") == 0) {
    answer = poll(NULL, 0, (int)(wait_s * 1000));
  } else if (strcmp(name, "select") == 0) {
    struct timeval t = {.tv_sec = (time_t)wait_s};
    answer = select(0, NULL, NULL, NULL, &t);
  } else if (strcmp(name, "epoll") == 0) {
    struct epoll_event event;
    answer = epoll_wait(epoll_create1(0), &event, 1, (int)(wait_s * 1000));
  } else if (strcmp(name, "condition") == 0) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += (time_t)wait_s;
    pthread_mutex_lock(&mutex);
    do answer = pthread_cond_timedwait(&condition, &mutex, &t);
    while (answer == 0);
    answer = answer == ETIMEDOUT ? 0 : answer;
  } else if (strcmp(name, "wait") == 0) {
    pid_t child = fork();
    if (child == 0) {
      usleep((useconds_t)(wait_s * 1e6));
      _exit(0);
    }
    answer = waitpid(child, NULL, 0) == child ? 0 : -1;
  } else if (strcmp(name, "recv") == 0) {
    int pair[2];
    struct timeval t = {.tv_sec = (time_t)wait_s};
    char byte;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
    answer = recv(pair[0], &byte, 1, 0) == -1 && errno == EAGAIN ? 0 : -1;
    errno = 0;
  } else {
    return 2;
  }
  took = now_s() - began;
  if (answer != 0 || errno != 0) {
    fprintf(stderr, "%s: %ld, %s\n", name, answer, strerror(errno));
    return 5;
  }
  if (took < wait_s - 0.01) {
    fprintf(stderr, "%s: %g s\n", name, took);
    return 6;
  }
  return 0;
}

// Nothing but arithmetic, in registers of all kinds.
static int spin(void) {
  double until = now_s() + wait_s;
  do {
    double sum = 0, other = 1;
    uint64_t mixed = 1;
    for (int i = 1; i < 2000000; i++) {
      sum += 1.0 / i;
      other = other * 1.0000001 + sum;
      mixed = mixed * 6364136223846793005u + (uint64_t)i;
    }
    static double first_sum, first_other;
    static uint64_t first_mixed;
    if (!first_mixed) {
      first_sum = sum;
      first_other = other;
      first_mixed = mixed;
    }
    if (sum != first_sum || other != first_other || mixed != first_mixed) return 7;
  } while (now_s() < until);
  return 0;
}

static volatile int is_over;

static void *storm_thread(void *ud) {
  enum { KEPT = 64 };
  unsigned char *blocks[KEPT] = {0};
  size_t sizes[KEPT] = {0};
  unsigned random = (unsigned)(uintptr_t)ud * 2654435761u + 1;
  while (!is_over) {
    random = random * 1664525 + 1013904223;
    unsigned i = random >> 8 & (KEPT - 1);
    for (size_t k = 0; k < sizes[i]; k++)
      if (blocks[i][k] != (unsigned char)i) abort();
    free(blocks[i]);
    sizes[i] = random >> 16 & 4095;
    blocks[i] = malloc(sizes[i] + 1);
    memset(blocks[i], (int)i, sizes[i]);
  }
  for (int i = 0; i < KEPT; i++) free(blocks[i]);
  return NULL;
}

// No thread sleeps.
static int storm(int count) {
  pthread_t threads[64];
  double until = now_s() + 3 * wait_s;
  for (int i = 1; i < count; i++)
    pthread_create(&threads[i], NULL, storm_thread, (void *)(intptr_t)i);
  for (volatile unsigned i = 0; now_s() < until; i++) free(malloc(i & 1023));
  is_over = 1;
  for (int i = 1; i < count; i++) pthread_join(threads[i], NULL);
  return 0;
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "";
  int problem;
  printf("%d\n", getpid());
  fflush(stdout);
  if (strcmp(name, "lines") == 0)
    problem = lines();
  else if (strcmp(name, "signalled") == 0)
    problem = signalled();
  else if (strcmp(name, "loading") == 0)
    problem = loading(argc > 2 ? argv[2] : "");
  else if (strcmp(name, "confined") == 0)
    problem = confine(argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "") ? 8 : lines();
  else if (strcmp(name, "spin") == 0) {
    if (argc > 2) wait_s = atof(argv[2]);
    problem = spin();
  } else if (strcmp(name, "storm") == 0) {
    if (argc > 3) wait_s = atof(argv[3]) / 3;
    problem = storm(argc > 2 ? atoi(argv[2]) : 16);
  } else {
    if (argc > 2) wait_s = atof(argv[2]);
    problem = timed(name);
  }
  if (problem) return problem;
  say("ok");
  while (getchar() != EOF) continue;
  return 0;
}
