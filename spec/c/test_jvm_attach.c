// floors: live
// The attach protocol against processes that look like a JVM: a mapping called libjvm.so, SIGQUIT
// caught, a socket in /tmp. They answer, refuse, babble, hang, hang up, or listen only when woken.
#include "live/jvm_attach.h"
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

typedef struct fake {
  const char *answer;
  size_t size;       // 0 = strlen(answer)
  bool hangs;        // keeps the connection open
  bool listens_late; // only after SIGQUIT and with the attach file there
  bool deaf;         // never listens
  bool no_handler;   // SIGQUIT would end it
  bool no_library;
} fake;

static void on_quit(int number) {
  (void)number;
}

static void map_library(void) {
  char path[64];
  snprintf(path, sizeof path, "/tmp/tm-jvm-%d", (int)getpid());
  mkdir(path, 0700);
  strcat(path, "/libjvm.so");
  int fd = open(path, O_RDWR | O_CREAT, 0600);
  if (ftruncate(fd, 4096) != 0 || mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
    _exit(9);
  unlink(path);
  *strrchr(path, '/') = '\0';
  rmdir(path);
}

static int listen_at_tmp(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "/tmp/.java_pid%d", (int)getpid());
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  unlink(address.sun_path);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4)) _exit(9);
  return fd;
}

// Five strings, each with its NUL; they are written to the pipe for the test to look at.
static void read_command(int fd, int told) {
  char text[512];
  size_t size = 0, strings = 0;
  while (strings < 5 && size < sizeof text) {
    ssize_t n = recv(fd, text + size, 1, 0);
    if (n <= 0) return;
    strings += !text[size++];
  }
  if (write(told, text, size) < 0) _exit(9);
}

static void serve(const fake *f, int ready, int told) {
  char file[64];
  struct sigaction action = {.sa_handler = on_quit};
  sigset_t quit, old;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGQUIT, SIG_DFL);
  if (!f->no_handler) sigaction(SIGQUIT, &action, NULL);
  if (!f->no_library) map_library();
  sigemptyset(&quit);
  sigaddset(&quit, SIGQUIT);
  if (f->listens_late) sigprocmask(SIG_BLOCK, &quit, &old);
  int listener = f->deaf || f->listens_late ? -1 : listen_at_tmp();
  if (write(ready, "x", 1) != 1) _exit(9);
  if (f->listens_late) {
    struct stat st;
    int number;
    sigwait(&quit, &number);
    snprintf(file, sizeof file, "/tmp/.attach_pid%d", (int)getpid());
    if (stat(file, &st) != 0 || st.st_uid != getuid() || (st.st_mode & 077)) _exit(8);
    listener = listen_at_tmp();
  }
  for (;;) {
    int fd = listener < 0 ? -1 : accept(listener, NULL, NULL);
    if (fd < 0) {
      pause();
      continue;
    }
    read_command(fd, told);
    size_t size = f->size ? f->size : strlen(f->answer);
    if (write(fd, f->answer, size) < 0) continue;
    if (f->hangs) pause();
    close(fd);
  }
}

typedef struct outcome {
  tm_status status;
  char text[200], error[480], told[200];
  size_t told_size;
  bool lives;
} outcome;

// Runs one command against a fake; the fake must survive it.
static outcome ask(const fake *f, uint64_t timeout_ns) {
  static const char *const args[TM_JVM_ARGS] = {"-live", NULL, "1"};
  outcome o = {0};
  int ready[2], told[2], ended;
  char byte, path[64];
  tm_ctx ctx;
  tm_jvm jvm;
  tm_bytes text = {0};
  assert_int_equal(pipe(ready), 0);
  assert_int_equal(pipe2(told, O_NONBLOCK), 0);
  pid_t pid = fork();
  if (!pid) serve(f, ready[1], told[1]);
  assert_int_equal(read(ready[0], &byte, 1), 1);
  tm_ctx_init(&ctx, NULL);
  o.status = tm_jvm_find(&ctx, pid, &jvm);
  if (o.status == TM_OK)
    o.status = tm_jvm_command(&ctx, &jvm, timeout_ns, "inspectheap", args, &text);
  snprintf(o.text, sizeof o.text, "%.*s", (int)text.size, text.data ? (char *)text.data : "");
  snprintf(o.error, sizeof o.error, "%s", ctx.error.message);
  tm_bytes_free(&ctx, &text);
  tm_ctx_fini(&ctx);
  ssize_t n = read(told[0], o.told, sizeof o.told);
  o.told_size = n > 0 ? (size_t)n : 0;
  o.lives = waitpid(pid, &ended, WNOHANG) == 0;
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  snprintf(path, sizeof path, "/tmp/.attach_pid%d", (int)pid);
  assert_int_not_equal(access(path, F_OK), 0); // taken away again
  snprintf(path, sizeof path, "/tmp/.java_pid%d", (int)pid);
  unlink(path);
  for (int i = 0; i < 2; i++) close(ready[i]), close(told[i]);
  return o;
}

static void test_commands(void **state) {
  (void)state;
  static const char sent[] = "1\0inspectheap\0-live\0\0"
                             "1";
  fake plain = {.answer = "0\nrows\nmore"}, late = {.answer = "0\nlate", .listens_late = true};
  outcome o = ask(&plain, 5000 * MS);
  assert_int_equal(o.status, TM_OK);
  assert_string_equal(o.text, "rows\nmore");
  assert_int_equal(o.told_size, sizeof sent);
  assert_memory_equal(o.told, sent, sizeof sent);
  o = ask(&late, 5000 * MS);
  assert_int_equal(o.status, TM_OK);
  assert_string_equal(o.text, "late");
}

static void test_bad_peers(void **state) {
  (void)state;
  static const struct {
    fake fake;
    tm_status status;
    const char *words;
  } cases[] = {
      {{.answer = "100\nOperation x not\trecognized!\n"}, TM_E_IO, "Operation x not recognized!"},
      {{.answer = "101\n"}, TM_E_IO, "no reason given"},
      {{.answer = "HTTP/1.1 200 OK\r\n\r\n"}, TM_E_FORMAT, "no attach protocol"},
      {{.answer = "0"}, TM_E_FORMAT, "no attach protocol"},
      {{.answer = "", .size = 0}, TM_E_GONE, "without an answer"},
      {{.answer = "0\nhalf", .hangs = true}, TM_E_TIMEOUT, "timed out"},
      {{.answer = "", .hangs = true}, TM_E_TIMEOUT, "timed out"},
      {{.answer = "", .deaf = true}, TM_E_TIMEOUT, "DisableAttachMechanism"},
      {{.answer = "", .no_handler = true}, TM_E_UNSUPPORTED, "does not catch SIGQUIT"},
      {{.answer = "", .no_library = true}, TM_E_UNSUPPORTED, "no HotSpot JVM"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    outcome o = ask(&cases[i].fake, 400 * MS);
    if (o.status != cases[i].status || !strstr(o.error, cases[i].words) || *o.text || !o.lives)
      fail_msg("case %zu: %s: %s", i, tm_status_name(o.status), o.error);
  }
}

static void test_no_process(void **state) {
  (void)state;
  tm_ctx ctx;
  tm_jvm jvm;
  tm_ctx_init(&ctx, NULL);
  assert_int_equal(tm_jvm_find(&ctx, 0x7ffffff0, &jvm), TM_E_GONE);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_commands),
                                     cmocka_unit_test(test_bad_peers),
                                     cmocka_unit_test(test_no_process)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
