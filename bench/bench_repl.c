// floors: base
// The REPL through a pseudo-terminal: time from start to the answer of 1+1, and from a key to its
// echo, alone and while processes are sampled.
//
//   bench_repl [tidemark] [processes] [file]    file: read on a worker while keys are typed
#include "base/clock.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

enum { STARTS = 21, KEYS = 300, MAX_PROCESSES = 1000 };

static int master;
static pid_t child;
static char heard[1 << 16];
static size_t heard_size;

static void spawn(const char *binary) {
  int slave;
  struct winsize size = {.ws_row = 24, .ws_col = 80};
  if (openpty(&master, &slave, NULL, NULL, &size) != 0) exit(1);
  heard_size = 0;
  child = fork();
  if (child == 0) {
    close(master);
    login_tty(slave);
    setenv("XDG_STATE_HOME", "/tmp/tm_bench_repl", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    setenv("NO_COLOR", "1", 1);
    execl(binary, "tidemark", "repl", "--no-history", (char *)NULL);
    _exit(127);
  }
  close(slave);
}

static void type(const char *keys) {
  if (write(master, keys, strlen(keys)) < 0) exit(1);
}

// Reads until what came since the last call holds the text; exits after a minute.
static void hear(const char *text) {
  for (;;) {
    struct pollfd fd = {.fd = master, .events = POLLIN};
    heard[heard_size] = '\0';
    if (strstr(heard, text)) break;
    if (poll(&fd, 1, 60000) <= 0) {
      fprintf(stderr, "bench_repl: never heard %s\n", text);
      exit(1);
    }
    if (heard_size > sizeof heard - 4096) heard_size = 0;
    ssize_t n = read(master, heard + heard_size, 4000);
    if (n <= 0) exit(1);
    heard_size += (size_t)n;
  }
  heard_size = 0;
}

static void leave(void) {
  type("\025:quit\r");
  char rest[4096];
  while (read(master, rest, sizeof rest) > 0) {
  }
  close(master);
  waitpid(child, NULL, 0);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void report(const char *what, double *ms, size_t n) {
  qsort(ms, n, sizeof *ms, by_value);
  printf("%-44s median %6.2f ms   p99 %6.2f ms   max %6.2f ms\n", what, ms[n / 2], ms[n * 99 / 100],
         ms[n - 1]);
}

static double ms_since(uint64_t start_ns) {
  return (double)(tm_clock_mono_ns() - start_ns) / 1e6;
}

static void measure_start(const char *binary) {
  double ms[STARTS];
  for (size_t i = 0; i < STARTS; i++) {
    uint64_t start = tm_clock_mono_ns();
    spawn(binary);
    type("1+1\r");
    hear("l2\r\n"); // behind the end of bracketed paste
    ms[i] = ms_since(start);
    leave();
  }
  report("start to the answer of 1+1", ms, STARTS);
}

static void measure_keys(const char *what) {
  double ms[KEYS];
  for (size_t i = 0; i < KEYS; i++) {
    usleep(i % 7 * 1000); // at any time within the sampling
    uint64_t start = tm_clock_mono_ns();
    type("x");
    hear("x");
    ms[i] = ms_since(start);
    if (i % 40 == 39) type("\025");
  }
  report(what, ms, KEYS);
}

int main(int argc, char **argv) {
  const char *binary = argc > 1 ? argv[1] : "./tidemark";
  size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 100;
  static pid_t pids[MAX_PROCESSES];
  char line[256], what[64];
  if (count > MAX_PROCESSES) count = MAX_PROCESSES;
  measure_start(binary);
  spawn(binary);
  hear("tm> ");
  measure_keys("key to echo, nothing watched");
  type("\025");
  for (size_t i = 0; i < count; i++) {
    pids[i] = fork();
    if (pids[i] == 0) {
      pause();
      _exit(0);
    }
  }
  if (count) {
    snprintf(line, sizeof line,
             "for p = %d, %d do tm.attach(p, {every='1s'}) end return 'watch'..'ed'\r",
             (int)pids[0], (int)pids[count - 1]);
    type(line);
    hear("\"watched\"");
    snprintf(what, sizeof what, "key to echo, %zu processes each second", count);
    measure_keys(what);
  }
  if (argc > 3) {
    snprintf(line, sizeof line, "\025j = job.go(job.read '%s') return 'rea'..'ding'\r", argv[3]);
    type(line);
    hear("\"reading\"");
    measure_keys("key to echo, a file is read too");
  }
  leave();
  for (size_t i = 0; i < count; i++) {
    kill(pids[i], SIGKILL);
    waitpid(pids[i], NULL, 0);
  }
  return 0;
}
