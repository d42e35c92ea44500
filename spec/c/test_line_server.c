// floors: net
// Lines over a unix socket: pieces, many at once, late answers, caps, leftovers, and who may speak.
#include "net/line_server.h"
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534 };

typedef struct rig {
  tm_ctx ctx;
  uv_loop_t loop;
  tm_line_server *server;
  char path[100], told[4000];
  bool answers; // at once, with the line in brackets
  uint64_t last;
  uint32_t lines;
} rig;

static void on_line(void *ud, uint64_t client, const char *line, size_t size) {
  rig *r = ud;
  char text[100];
  r->last = client;
  r->lines++;
  if (strlen(r->told) + size + 2 < sizeof r->told) {
    strncat(r->told, line, size);
    strcat(r->told, "|");
  }
  if (!r->answers) return;
  int n = snprintf(text, sizeof text, "[%.*s]", (int)size, line);
  assert_int_equal(tm_line_server_send(r->server, client, text, (size_t)n), TM_OK);
}

static tm_status open_again(rig *r, tm_line_server **out) {
  tm_ctx_clear(&r->ctx);
  return tm_line_server_open(&r->ctx, &r->loop, r->path, on_line, r, out);
}

static rig *begin(bool answers) {
  rig *r = calloc(1, sizeof *r);
  assert_non_null(r);
  tm_ctx_init(&r->ctx, NULL);
  assert_int_equal(uv_loop_init(&r->loop), 0);
  snprintf(r->path, sizeof r->path, "/tmp/tm-line-%d.sock", (int)getpid());
  r->answers = answers;
  assert_int_equal(open_again(r, &r->server), TM_OK);
  return r;
}

static void end(rig *r) {
  tm_line_server_close(r->server);
  uv_run(&r->loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&r->loop), 0);
  assert_int_not_equal(access(r->path, F_OK), 0);
  tm_ctx_fini(&r->ctx);
  free(r);
}

static int dial(const rig *r) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  strcpy(address.sun_path, r->path);
  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  return fd;
}

static void turn(rig *r) {
  for (int i = 0; i < 20; i++) uv_run(&r->loop, UV_RUN_NOWAIT);
}

static void say(rig *r, int fd, const char *text) {
  assert_int_equal(write(fd, text, strlen(text)), strlen(text));
  turn(r);
}

// What has come by now; "" for nothing yet, "<end>" when the server hung up.
static const char *heard(int fd, char out[200]) {
  ssize_t n = recv(fd, out, 199, MSG_DONTWAIT);
  out[n > 0 ? n : 0] = '\0';
  if (n == 0) strcpy(out, "<end>");
  return out;
}

static void hands_out_whole_lines(void **state) {
  (void)state;
  char got[200];
  rig *r = begin(true);
  int a = dial(r), b = dial(r);
  say(r, a, "on");
  say(r, b, "other\r\n");
  say(r, a, "e\ntwo\n\nthr");
  say(r, a, "ee\n");
  assert_string_equal(r->told, "other|one|two|three|");
  assert_string_equal(heard(a, got), "[one]\n[two]\n[three]\n");
  assert_string_equal(heard(b, got), "[other]\n");
  close(a);
  turn(r);
  say(r, b, "still\n");
  assert_string_equal(heard(b, got), "[still]\n");
  close(b);
  end(r);
}

static void waits_for_the_answer_of_one_who_ended(void **state) {
  (void)state;
  char got[200];
  rig *r = begin(false);
  int fd = dial(r);
  assert_int_equal(write(fd, "snap", 4), 4); // no line end
  shutdown(fd, SHUT_WR);
  turn(r);
  assert_string_equal(r->told, "snap|");
  assert_string_equal(heard(fd, got), "");
  assert_int_equal(tm_line_server_send(r->server, r->last, "done", 4), TM_OK);
  turn(r);
  assert_string_equal(heard(fd, got), "done\n");
  assert_string_equal(heard(fd, got), "<end>");
  assert_int_equal(tm_line_server_send(r->server, r->last, "more", 4), TM_E_GONE);
  close(fd);
  fd = dial(r); // and of one who is gone altogether
  say(r, fd, "again\n");
  close(fd);
  turn(r);
  tm_ctx_clear(&r->ctx);
  tm_status status = tm_line_server_send(r->server, r->last, "late", 4);
  assert_true(status == TM_OK || status == TM_E_GONE);
  turn(r);
  end(r);
}

static void keeps_its_caps(void **state) {
  (void)state;
  char got[200];
  static char big[TM_LINE_MAX_BYTES + 10];
  rig *r = begin(false);
  int fds[TM_LINE_CLIENTS + 1];
  memset(big, 'x', sizeof big);
  for (size_t i = 0; i < TM_COUNT(fds); i++) {
    fds[i] = dial(r);
    turn(r);
  }
  assert_non_null(strstr(heard(fds[TM_LINE_CLIENTS], got), "too many clients"));
  for (size_t at = 0; at < sizeof big;) {
    ssize_t n = send(fds[0], big + at, sizeof big - at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) at += (size_t)n;
    turn(r);
    if (n <= 0) break;
  }
  turn(r);
  assert_non_null(strstr(heard(fds[0], got), "too long"));
  assert_int_equal(r->lines, 0);
  say(r, fds[1], "x\n"); // does not read what it is told
  tm_status status = TM_OK;
  for (int i = 0; i < 100 && status == TM_OK; i++)
    status = tm_line_server_send(r->server, r->last, big, 60000);
  assert_int_equal(status, TM_E_LIMIT);
  for (size_t i = 0; i < TM_COUNT(fds); i++) close(fds[i]);
  end(r);
}

static void belongs_to_its_owner(void **state) {
  (void)state;
  struct stat st;
  tm_line_server *second = NULL;
  rig *r = begin(true);
  assert_int_equal(lstat(r->path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(open_again(r, &second), TM_E_BUSY);
  end(r);
}

static void replaces_only_what_nobody_serves(void **state) {
  (void)state;
  tm_line_server *second = NULL;
  char got[200];
  rig *r = begin(true);
  tm_line_server_close(r->server);
  turn(r);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, r->path);
  int dead = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof address), 0);
  close(dead); // the name stays, as after a kill
  assert_int_equal(open_again(r, &r->server), TM_OK);
  int fd = dial(r);
  say(r, fd, "hello\n");
  assert_string_equal(heard(fd, got), "[hello]\n");
  close(fd);
  tm_line_server_close(r->server);
  turn(r);
  FILE *file = fopen(r->path, "w");
  assert_non_null(file);
  fclose(file);
  assert_int_equal(open_again(r, &second), TM_E_BUSY);
  unlink(r->path);
  snprintf(r->path, sizeof r->path, "/nowhere/x.sock");
  assert_int_equal(open_again(r, &second), TM_E_IO);
  snprintf(r->path, sizeof r->path, "/tmp/tm-line-%d.sock", (int)getpid());
  assert_int_equal(open_again(r, &r->server), TM_OK);
  end(r);
}

// What another user hears who speaks to the socket: "connect: <reason>", or the answer.
static void hear_as_nobody(const rig *r, int out) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char got[200] = "setuid";
  if (setgid(NOBODY) == 0 && setuid(NOBODY) == 0) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(address.sun_path, r->path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
      snprintf(got, sizeof got, "connect: %s", strerror(errno));
    } else {
      ssize_t sent = send(fd, "{}\n", 3, MSG_NOSIGNAL);
      ssize_t n = read(fd, got, sizeof got - 1);
      snprintf(got + (n > 0 ? n : 0), sizeof got - (size_t)(n > 0 ? n : 0), "|%zd", sent);
    }
  }
  _exit(write(out, got, strlen(got)) < 0);
}

static void ask_as_nobody(rig *r, char *got, size_t room) {
  int pipes[2], status;
  assert_int_equal(pipe(pipes), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (!child) hear_as_nobody(r, pipes[1]);
  close(pipes[1]);
  while (waitpid(child, &status, WNOHANG) == 0) {
    turn(r);
    usleep(1000);
  }
  ssize_t n = read(pipes[0], got, room - 1);
  got[n > 0 ? n : 0] = '\0';
  close(pipes[0]);
}

// Two walls: the socket's mode, and, should somebody open that, the peer's user.
static void refuses_other_users(void **state) {
  (void)state;
  char got[200];
  if (geteuid() != 0) skip();
  rig *r = begin(true);
  ask_as_nobody(r, got, sizeof got);
  assert_string_equal(got, "connect: Permission denied");
  assert_int_equal(chmod(r->path, 0666), 0);
  ask_as_nobody(r, got, sizeof got);
  assert_non_null(strstr(got, "this socket is another user's"));
  assert_int_equal(r->lines, 0);
  int fd = dial(r); // its own user still may
  say(r, fd, "mine\n");
  assert_string_equal(r->told, "mine|");
  close(fd);
  turn(r);
  end(r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hands_out_whole_lines),
      cmocka_unit_test(waits_for_the_answer_of_one_who_ended),
      cmocka_unit_test(keeps_its_caps),
      cmocka_unit_test(belongs_to_its_owner),
      cmocka_unit_test(replaces_only_what_nobody_serves),
      cmocka_unit_test(refuses_other_users),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
