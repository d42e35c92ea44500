// `tidemark repl` on a pseudo-terminal, for tests that type: spawn, type, see. Waiting is for a
// state of the screen, never for a time. One session at a time; each static inline function may go
// unused.
#ifndef TM_SPEC_REPL_PTY_H
#define TM_SPEC_REPL_PTY_H

#include "screen.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <utmp.h>

enum { PATIENCE_MS = 60000, QUIET_MS = 150 };

static screen *term;
static int master = -1, slave = -1;
static pid_t child;
static char home[] = "/tmp/tm_repl_XXXXXX";
static char binary[PATH_MAX];

static inline int find_binary(void **state) {
  (void)state;
  char self[PATH_MAX] = "";
  if (readlink("/proc/self/exe", self, sizeof self - 1) < 0 || !mkdtemp(home)) return -1;
  const char *given = getenv("TIDEMARK");
  snprintf(binary, sizeof binary, "%.4000s%s", given ? given : dirname(self),
           given ? "" : "/../tidemark");
  return access(binary, X_OK);
}

static inline int remove_home(void **state) {
  (void)state;
  char line[64];
  snprintf(line, sizeof line, "rm -rf %s", home);
  return system(line); // NOLINT(cert-env33-c): a name of mkdtemp's
}

// ---- the terminal ----

static inline void spawn(const char *word) {
  struct winsize size = {.ws_row = 20, .ws_col = 70};
  if (openpty(&master, &slave, NULL, NULL, &size) != 0) skip(); // no /dev/pts, as in a bare chroot
  term = screen_new(70, 20);
  child = fork();
  assert_true(child >= 0);
  if (child > 0) return;
  close(master);
  login_tty(slave);
  setenv("HOME", home, 1);
  setenv("XDG_STATE_HOME", home, 1);
  setenv("XDG_CONFIG_HOME", home, 1);
  setenv("LC_ALL", "C.UTF-8", 1);
  setenv("NO_COLOR", "1", 1);
  unsetenv("TIDEMARK_LUA");
  execl(binary, "tidemark", "repl", "--no-history", word, (char *)NULL);
  _exit(127);
}

// Reads what there is for at most so long; false at the end of the program.
static inline bool take(int ms) {
  char bytes[4096];
  struct pollfd fd = {.fd = master, .events = POLLIN};
  if (poll(&fd, 1, ms) <= 0) return true;
  ssize_t n = read(master, bytes, sizeof bytes);
  if (n <= 0) return false;
  screen_write(term, bytes, (size_t)n);
  return true;
}

static inline void type_sized(const char *keys, size_t size) {
  while (size) {
    ssize_t n = write(master, keys, size > 512 ? 512 : size);
    assert_true(n > 0);
    keys += n;
    size -= (size_t)n;
    take(1);
  }
}

static inline void type(const char *keys) {
  type_sized(keys, strlen(keys));
}

static inline bool shows(const char *text) {
  for (size_t r = 0; r < term->rows; r++)
    if (strstr(screen_row_text(term, r), text)) return true;
  return false;
}

static inline void fail_with_screen(const char *wanted) {
  fprintf(stderr, "the screen, cursor at %zu,%zu:\n", term->row, term->column);
  for (size_t r = 0; r < term->rows; r++) fprintf(stderr, "|%s\n", screen_row_text(term, r));
  fail_msg("never seen: %s", wanted);
}

static inline int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline void see(const char *text) {
  int64_t until = now_ms() + PATIENCE_MS;
  while (!shows(text)) {
    if (now_ms() > until) fail_with_screen(text);
    if (!take(50) && !shows(text)) fail_with_screen(text);
  }
}

// The row under the cursor is exactly this (a prompt with what was typed), and stays it.
static inline void see_line(const char *text) {
  int64_t until = now_ms() + PATIENCE_MS;
  for (;;) {
    if (strcmp(screen_row_text(term, term->row), text) == 0) return;
    if (now_ms() > until) fail_with_screen(text);
    take(50);
  }
}

static inline void row_above_is(size_t above, const char *want) {
  assert_true(term->row >= above);
  assert_string_equal(screen_row_text(term, term->row - above), want);
}

static inline void start(void) {
  spawn(NULL);
  see_line("tm>");
}

// Types a line, sees it echoed and the next prompt.
static inline void run(const char *line) {
  char echoed[256];
  snprintf(echoed, sizeof echoed, "tm> %s", line);
  type(line);
  see(echoed);
  type("\r");
  see_line("tm>");
}

static inline int exit_code(void) {
  int status = 0;
  int64_t until = now_ms() + PATIENCE_MS;
  while (waitpid(child, &status, WNOHANG) == 0) {
    take(20);
    if (now_ms() > until) fail_with_screen("the end of the program");
  }
  child = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static inline int set_up(void **state) {
  (void)state;
  child = 0;
  master = slave = -1;
  return 0;
}

static inline int end_session(void **state) {
  (void)state;
  if (child > 0) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
  }
  if (master >= 0) close(master);
  if (slave >= 0) close(slave);
  screen_free(term);
  return 0;
}

#endif
