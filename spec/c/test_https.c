// floors: net
// TLS: broken handshakes against the scripted server; real ones against `openssl s_server`, where
// the machine has it (skipped otherwise, and in builds without libcurl).
#include "failing_alloc.h"
#include "http_server.h"
#include "net/http_client.h"
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define MS 1000000ull

typedef struct peer { // an `openssl s_server`
  pid_t pid;
  int in; // its standard input: open as long as it shall live
  char folder[32], cert[64], key[64], url[64];
} peer;

static pid_t run(const peer *p, const char *const *argv, int in, int out) {
  pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); // a test that crashes leaves nothing behind
    if (chdir(p->folder)) _exit(126);
    int null = open("/dev/null", O_RDWR);
    dup2(in < 0 ? null : in, 0);
    dup2(out < 0 ? null : out, 1);
    dup2(null, 2);
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
  }
  return pid;
}

static bool make_certificate(const peer *p) {
  const char *const argv[] = {"openssl",
                              "req",
                              "-x509",
                              "-newkey",
                              "ec",
                              "-pkeyopt",
                              "ec_paramgen_curve:prime256v1",
                              "-nodes",
                              "-keyout",
                              p->key,
                              "-out",
                              p->cert,
                              "-subj",
                              "/CN=localhost",
                              "-addext",
                              "subjectAltName=IP:127.0.0.1",
                              NULL};
  int status = 1;
  waitpid(run(p, argv, -1, -1), &status, 0);
  return status == 0;
}

// mode "-www" answers with a page, "-msg" never answers, "-HTTP" sends the file x.
static bool peer_start(peer *p, const char *mode) {
  char text[256] = "";
  size_t size = 0;
  int in[2], out[2];
  strcpy(p->folder, "/tmp/tm-https-XXXXXX");
  if (!mkdtemp(p->folder) || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) return false;
  snprintf(p->cert, sizeof p->cert, "%s/cert.pem", p->folder);
  snprintf(p->key, sizeof p->key, "%s/key.pem", p->folder);
  if (!make_certificate(p)) return false;
  const char *const argv[] = {"openssl", "s_server", "-accept", "127.0.0.1:0", "-cert",
                              p->cert,   "-key",     p->key,    mode,          NULL};
  p->pid = run(p, argv, in[0], out[1]);
  p->in = in[1];
  close(in[0]);
  close(out[1]);
  while (!strstr(text, "ACCEPT 127.0.0.1:") || text[size - 1] != '\n') {
    ssize_t n = read(out[0], text + size, sizeof text - 1 - size);
    if (n <= 0) break;
    size += (size_t)n;
    text[size] = '\0';
  }
  close(out[0]);
  const char *accepts = strstr(text, "ACCEPT 127.0.0.1:");
  if (accepts) snprintf(p->url, sizeof p->url, "https://127.0.0.1:%d/x", atoi(accepts + 17));
  return accepts != NULL;
}

static void peer_stop(const peer *p) {
  if (p->pid > 0) {
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    close(p->in);
  }
  unlink(p->cert);
  unlink(p->key);
  rmdir(p->folder);
}

typedef struct memory {
  failing_alloc counter;
  tm_allocator allocator;
  tm_ctx ctx;
} memory;

static void memory_init(memory *m) {
  m->counter = (failing_alloc){0};
  m->allocator = failing_allocator(&m->counter);
  tm_ctx_init(&m->ctx, &m->allocator);
}

static void memory_check(memory *m) {
  tm_ctx_fini(&m->ctx);
  assert_int_equal(m->counter.held_bytes, 0);
}

static void expect(const tm_http_request *request, tm_status status, const char *says) {
  memory m;
  tm_http_result result;
  memory_init(&m);
  assert_int_equal(tm_http_fetch(&m.ctx, request, &result), status);
  if (!strstr(result.message, says)) fail_msg("\"%s\" lacks \"%s\"", result.message, says);
  tm_http_result_free(&m.ctx, &result);
  memory_check(&m);
}

typedef struct canceller {
  tm_http_call *call; // NULL once it has ended
  bool cancelled;
} canceller;

// A call may end before it is cancelled, but never after.
static void before_cancel(void *ud, tm_http_result *result) {
  canceller *c = ud;
  if (c->cancelled) fail_msg("done after cancel: %s", result->message);
  c->call = NULL;
}

// Cancels after so many turns of the loop with a millisecond between them: some stage or other.
static void cancel_after(const tm_http_request *request, int turns) {
  memory m;
  uv_loop_t loop;
  canceller c = {0};
  memory_init(&m);
  uv_loop_init(&loop);
  assert_int_equal(tm_http_start(&m.ctx, &loop, request, before_cancel, &c, &c.call), TM_OK);
  for (int i = 0; i < turns; i++) {
    uv_run(&loop, UV_RUN_NOWAIT);
    usleep(1000);
  }
  tm_http_cancel(c.call);
  c.cancelled = true;
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  memory_check(&m);
}

// Whether a hang-up is seen as a reset or as an end depends on the moment.
static void survives_broken_handshakes(void **state) {
  static const step scripts[][SCRIPT_STEPS] = {
      {{STEP_UNREAD, NULL, 0}, {STEP_SEND, "HTTP/1.1 400 Bad Request\r\n\r\n", 1}},
      {{STEP_UNREAD, NULL, 0}, {STEP_WAIT, NULL, 1}},
      {{STEP_UNREAD, NULL, 0}, {STEP_RESET, NULL, 0}},
  };
  (void)state;
  if (!tm_http_has_tls()) skip();
  for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
    memory m;
    char url[160];
    server s = {0};
    tm_http_result result;
    memory_init(&m);
    memcpy(s.scripts[0], scripts[i], sizeof scripts[i]);
    assert_true(server_start(&s, AF_INET));
    snprintf(url, sizeof url, "https%s", s.url + 4);
    tm_status status = tm_http_fetch(&m.ctx, &(tm_http_request){.url = url}, &result);
    assert_true(status == TM_E_IO || status == TM_E_GONE);
    assert_non_null(strstr(result.message, "cannot connect"));
    tm_http_result_free(&m.ctx, &result);
    memory_check(&m);
    server_stop(&s);
  }
}

static void survives_hanging_handshakes(void **state) {
  char url[160];
  server s = {.scripts = {{{STEP_HANG, NULL, 0}}}};
  (void)state;
  if (!tm_http_has_tls()) skip();
  assert_true(server_start(&s, AF_INET));
  snprintf(url, sizeof url, "https%s", s.url + 4);
  const tm_http_request request = {.url = url, .connect_timeout_ns = 80 * MS};
  expect(&request, TM_E_TIMEOUT, "while connecting");
  for (int turns = 0; turns < 10; turns += 3) cancel_after(&request, turns);
  server_stop(&s);
}

static void reads_over_tls(void **state) {
  peer p = {0};
  (void)state;
  if (!tm_http_has_tls()) skip();
  if (peer_start(&p, "-www")) {
    const tm_http_request trusting = {.url = p.url, .ca_file = p.cert};
    const tm_http_request doubting = {.url = p.url};
    const tm_http_request small = {.url = p.url, .ca_file = p.cert, .max_body_bytes = 100};
    memory m;
    tm_http_result result;
    memory_init(&m);
    assert_int_equal(tm_http_fetch(&m.ctx, &trusting, &result), TM_OK);
    assert_int_equal(result.http_status, 200);
    assert_non_null(memmem(result.body.data, result.body.size, "s_server", 8));
    tm_http_result_free(&m.ctx, &result);
    memory_check(&m);
    expect(&doubting, TM_E_PERM, "certificate");
    expect(&small, TM_E_LIMIT, "cap of 100 B");
  }
  peer_stop(&p);
}

static void times_out_and_cancels_over_tls(void **state) {
  peer p = {0};
  (void)state;
  if (!tm_http_has_tls()) skip();
  if (peer_start(&p, "-msg")) {
    tm_http_request request = {.url = p.url, .ca_file = p.cert, .first_byte_timeout_ns = 60 * MS};
    expect(&request, TM_E_TIMEOUT, "while waiting for the first byte");
    request.first_byte_timeout_ns = 0;
    for (int turns = 0; turns < 24; turns += 3) cancel_after(&request, turns);
  }
  peer_stop(&p);
}

// Every answer sends on to itself; cancelled between polling and closing, a connection that closes
// already is closed again.
typedef struct turns {
  uv_check_t check;
  canceller c;
  int left_count;
} turns;

static void on_check(uv_check_t *check) {
  turns *t = check->data;
  if (--t->left_count > 0 && t->c.call) return;
  tm_http_cancel(t->c.call);
  t->c.cancelled = true;
  uv_close((uv_handle_t *)check, NULL);
}

static void cancel_in_turn(const tm_http_request *request, int count) {
  memory m;
  uv_loop_t loop;
  turns t = {.left_count = count};
  memory_init(&m);
  uv_loop_init(&loop);
  uv_check_init(&loop, &t.check);
  t.check.data = &t;
  uv_check_start(&t.check, on_check);
  assert_int_equal(tm_http_start(&m.ctx, &loop, request, before_cancel, &t.c, &t.c.call), TM_OK);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  memory_check(&m);
}

static void redirects_over_tls(void **state) {
  char path[64];
  peer p = {0};
  (void)state;
  if (!tm_http_has_tls()) skip();
  if (peer_start(&p, "-HTTP")) {
    const tm_http_request request = {.url = p.url, .ca_file = p.cert};
    snprintf(path, sizeof path, "%s/x", p.folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", file);
    fclose(file);
    expect(&request, TM_E_LIMIT, "redirected more than 5 times");
    for (int count = 1; count < 16; count++) cancel_in_turn(&request, count);
    unlink(path);
  }
  peer_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(survives_broken_handshakes),
      cmocka_unit_test(survives_hanging_handshakes),
      cmocka_unit_test(reads_over_tls),
      cmocka_unit_test(redirects_over_tls),
      cmocka_unit_test(times_out_and_cancels_over_tls),
  };
  signal(SIGPIPE, SIG_DFL); // whoever starts the test may ignore it, which would hide one
  return cmocka_run_group_tests(tests, NULL, NULL);
}
