// A forked process that does one thing per step and holds still between them, so that what tidemark
// reads of it can be compared with a second reading. It dies with the test.
#ifndef TM_SPEC_CHILD_H
#define TM_SPEC_CHILD_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct child {
  pid_t pid;
  int to, from;
} child;

// Waits until the child sleeps in its next read: only then does it hold still.
static inline void child_settle(const child *c) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", (int)c->pid);
  for (int tries = 0; tries < 5000; tries++, usleep(200)) {
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = '\0';
    const char *end = strrchr(text, ')');
    if (end && end[1] && end[2] == 'S') return;
  }
}

// Runs steps[0] at once and returns after it; child_step runs the next one.
static inline child child_start(void (*const *steps)(void)) {
  int to[2], from[2];
  if (pipe(to) || pipe(from)) abort();
  child c = {.pid = fork(), .to = to[1], .from = from[0]};
  if (c.pid < 0) abort();
  if (c.pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(to[1]);
    close(from[0]);
    char go = 1;
    do {
      if (*steps) (*steps++)();
      if (write(from[1], &go, 1) != 1) _exit(1);
    } while (read(to[0], &go, 1) == 1);
    _exit(0);
  }
  close(to[0]);
  close(from[1]);
  char done;
  if (read(c.from, &done, 1) != 1) abort();
  child_settle(&c);
  return c;
}

static inline void child_step(child *c) {
  char go = 1;
  if (write(c->to, &go, 1) != 1 || read(c->from, &go, 1) != 1) abort();
  child_settle(c);
}

static inline void child_end(child *c) {
  kill(c->pid, SIGKILL);
  waitpid(c->pid, NULL, 0);
  close(c->to);
  close(c->from);
}

#endif
