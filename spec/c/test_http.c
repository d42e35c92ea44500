// floors: net
// The HTTP client against a server that misbehaves by a script: every ending has its status and its
// sentence, and nothing is left behind (counted by the allocator, and by LeakSanitizer).
#include "base/units.h"
#include "failing_alloc.h"
#include "http_server.h"
#include "net/http_client.h"
#include "unit.h"

#include <signal.h>

#define MS 1000000ull

typedef struct fixture {
  failing_alloc memory;
  tm_allocator allocator;
  tm_ctx ctx;
  server server;
  tm_http_result result;
} fixture;

static fixture *begin(int family, const step *first) {
  fixture *f = calloc(1, sizeof *f);
  assert_non_null(f);
  f->allocator = failing_allocator(&f->memory);
  tm_ctx_init(&f->ctx, &f->allocator);
  for (size_t i = 0; first && i < SCRIPT_STEPS; i++) {
    f->server.scripts[0][i] = first[i];
    if (first[i].kind == STEP_END) break;
  }
  if (!server_start(&f->server, family)) {
    free(f);
    return NULL;
  }
  return f;
}

static void end(fixture *f) {
  tm_http_result_free(&f->ctx, &f->result);
  tm_ctx_fini(&f->ctx);
  assert_int_equal(f->memory.held_bytes, 0);
  server_stop(&f->server);
  free(f);
}

static tm_status get(fixture *f, tm_http_request request) {
  if (!request.url) request.url = f->server.url;
  return tm_http_fetch(&f->ctx, &request, &f->result);
}

static void assert_says(const fixture *f, const char *words) {
  if (!strstr(f->result.message, words)) fail_msg("\"%s\" lacks \"%s\"", f->result.message, words);
  if (!strstr(f->ctx.error.message, words)) fail_msg("ctx: \"%s\"", f->ctx.error.message);
}

static void assert_body(const fixture *f, const char *text) {
  assert_int_equal(f->result.body.size, strlen(text));
  assert_memory_equal(f->result.body.data, text, strlen(text));
}

#define SCRIPT(...)                                                                                \
  (const step[]) {                                                                                 \
    __VA_ARGS__, {                                                                                 \
      0                                                                                            \
    }                                                                                              \
  }
#define SEND(text)                                                                                 \
  { STEP_SEND, text, 1 }

static void reads_an_answer(void **state) {
  fixture *f =
      begin(AF_INET, SCRIPT(SEND("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Go-Pprof: 1\r\n"
                                 "Content-Encoding: gzip\r\nEmpty:\r\n\r\nhello")));
  const tm_http_header headers[] = {{"Accept", "*/*"}, {"Authorization", "Bearer x"}};
  (void)state;
  assert_int_equal(get(f, (tm_http_request){.headers = headers, .header_count = 2}), TM_OK);
  assert_int_equal(f->result.http_status, 200);
  assert_body(f, "hello");
  assert_string_equal(tm_http_result_header(&f->result, "x-go-pprof"), "1");
  assert_string_equal(tm_http_result_header(&f->result, "content-encoding"), "gzip");
  assert_string_equal(tm_http_result_header(&f->result, "empty"), "");
  assert_null(tm_http_result_header(&f->result, "nothing"));
  assert_true(f->result.total_ns > 0 && f->result.connect_ns <= f->result.total_ns);
  assert_string_equal(f->result.message, "");
  assert_non_null(strstr(f->server.request, "GET /x HTTP/1.1\r\nHost: 127.0.0.1:"));
  assert_non_null(strstr(f->server.request, "Connection: close\r\n"));
  assert_non_null(strstr(f->server.request, "Authorization: Bearer x\r\n"));
  assert_null(strstr(f->server.request, "Content-Length"));
  end(f);
}

static void reads_every_framing(void **state) {
  static const struct {
    const char *bytes, *body;
    uint32_t http_status;
  } rows[] = {
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
       "chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n"
       "T: 1\r\n\r\n",
       "abc0123456789", 200},
      {"HTTP/1.0 200 OK\r\n\r\nuntil the end", "until the end", 200},
      {"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", "gone", 404},
      {"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok",
       200},
      {"HTTP/1.1 204 No Content\r\n\r\n", "", 204},
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", 200},
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more than that", "ok", 200},
      {"HTTP/1.1 301 Moved\r\nContent-Length: 2\r\n\r\nno", "no", 301}, // without a Location
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    fixture *f = begin(AF_INET, SCRIPT(SEND(rows[i].bytes)));
    assert_int_equal(get(f, (tm_http_request){0}), TM_OK);
    assert_int_equal(f->result.http_status, rows[i].http_status);
    assert_body(f, rows[i].body);
    end(f);
  }
}

static void head_has_no_body(void **state) {
  fixture *f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"),
                                     {STEP_HANG, NULL, 0}));
  (void)state;
  assert_int_equal(get(f, (tm_http_request){.method = "HEAD"}), TM_OK);
  assert_string_equal(tm_http_result_header(&f->result, "Content-Length"), "9999");
  end(f);
}

static void speaks_over_unix_and_ipv6(void **state) {
  static const int families[] = {AF_UNIX, AF_INET6};
  (void)state;
  for (size_t i = 0; i < 2; i++) {
    fixture *f = begin(families[i], SCRIPT(SEND("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")));
    if (!f) continue; // no IPv6 here
    assert_int_equal(get(f, (tm_http_request){0}), TM_OK);
    assert_body(f, "ok");
    assert_non_null(strstr(f->server.request, i ? "Host: [::1]:" : "Host: localhost\r\n"));
    end(f);
  }
}

static void resolves_names(void **state) {
  fixture *f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")));
  char url[64];
  (void)state;
  snprintf(url, sizeof url, "http://localhost:%s", strrchr(f->server.url, ':') + 1);
  assert_int_equal(get(f, (tm_http_request){.url = url}), TM_OK); // ::1 refuses, 127.0.0.1 answers
  assert_body(f, "ok");
  tm_http_result_free(&f->ctx, &f->result);
  assert_int_equal(get(f, (tm_http_request){.url = "http://no-such-name.invalid:1/"}), TM_E_IO);
  assert_says(f, "cannot be resolved");
  end(f);
}

static void sends_the_host_it_is_told(void **state) {
  static const char *const hosts[] = {"", "caddy.local:2019"};
  (void)state;
  for (size_t i = 0; i < 2; i++) {
    char line[64];
    fixture *f = begin(AF_UNIX, SCRIPT(SEND("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")));
    assert_int_equal(get(f, (tm_http_request){.host_header = hosts[i]}), TM_OK);
    snprintf(line, sizeof line, "\r\nHost: %s\r\n", hosts[i]);
    assert_non_null(strstr(f->server.request, line));
    end(f);
  }
}

static void sends_headers_given_as_lines(void **state) {
  static const char lines[] = "Authorization: Bearer a b\nHost:\nX-Two:2\n";
  static const char *const bad[] = {"no colon\n", "Host: a\nHost: b", "A b: c", "Connection: x\n",
                                    "A: x\rB: y"};
  (void)state;
  fixture *f = begin(AF_UNIX, SCRIPT(SEND("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")));
  assert_int_equal(get(f, (tm_http_request){.header_lines = lines}), TM_OK);
  assert_non_null(strstr(f->server.request, "\r\nHost: \r\n"));
  assert_non_null(strstr(f->server.request, "\r\nAuthorization: Bearer a b\r\nX-Two: 2\r\n"));
  tm_http_result_free(&f->ctx, &f->result);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    tm_ctx_clear(&f->ctx);
    assert_int_equal(get(f, (tm_http_request){.header_lines = bad[i]}), TM_E_ARG);
  }
  end(f);
}

static void posts_a_large_body(void **state) {
  size_t size = 8u << 20;
  char *body = malloc(size);
  (void)state;
  assert_non_null(body);
  memset(body, 'b', size);
  fixture *f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")));
  assert_int_equal(get(f, (tm_http_request){.method = "POST", .body = body, .body_bytes = size}),
                   TM_OK);
  assert_body(f, "ok");
  assert_non_null(strstr(f->server.request, "Content-Length: 8388608\r\n"));
  end(f);
  free(body);
}

// A peer that hangs up without reading must not raise SIGPIPE in the host (which would end this
// test), and what it said before is heard.
static void survives_a_peer_that_does_not_read(void **state) {
  static const int families[] = {AF_UNIX, AF_INET};
  size_t size = 8u << 20;
  char *body = calloc(1, size);
  (void)state;
  assert_non_null(body);
  for (size_t i = 0; i < 2; i++) {
    fixture *f =
        begin(families[i], SCRIPT({STEP_UNREAD, NULL, 0},
                                  SEND("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"),
                                  {STEP_WAIT, NULL, 1}));
    tm_http_request request = {.method = "POST", .body = body, .body_bytes = size};
    tm_status status = get(f, request);
    // TCP may lose the answer to the reset; a unix socket does not.
    assert_true(status == TM_OK || (i == 1 && (status == TM_E_GONE || status == TM_E_IO)));
    if (status == TM_OK) assert_int_equal(f->result.http_status, 413);
    end(f);
  }
  free(body);
}

static void says_how_it_failed(void **state) {
  static const struct {
    step steps[SCRIPT_STEPS];
    tm_status status;
    const char *says;
  } rows[] = {
      {{{STEP_HANG, NULL, 0}}, TM_E_TIMEOUT, "while waiting for the first byte"},
      {{SEND("HTTP/1.1 200 OK\r\nConte"), {STEP_HANG, NULL, 0}},
       TM_E_TIMEOUT,
       "within the headers, at byte 22"},
      {{SEND("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), {STEP_HANG, NULL, 0}},
       TM_E_TIMEOUT,
       "of silence, at body byte 3"},
      {{SEND("HTTP/1.1 200 OK\r\n\r\n."), {STEP_WAIT, NULL, 20}, SEND("."), {STEP_HANG, NULL, 0}},
       TM_E_TIMEOUT,
       "of silence, at body byte 2"},
      {{SEND("SSH-2.0-OpenSSH_9.2\r\n")},
       TM_E_FORMAT,
       "it begins with \"SSH-2.0-OpenSSH_9.2\\x0d\\x0a\""},
      {{SEND("\x15\x03\x01")}, TM_E_FORMAT, "speaks TLS"},
      {{SEND("HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\nabc"), {STEP_HANG, NULL, 0}},
       TM_E_LIMIT,
       "announces 2 GiB (2147483648 bytes), over the body cap of 256 MiB"},
      {{SEND("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n")},
       TM_E_FORMAT,
       "Content-Length overflow"},
      {{SEND("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")}, TM_E_IO, "at byte 3 of 10"},
      {{SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")},
       TM_E_IO,
       "at byte 2, before the last chunk"},
      {{SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n")},
       TM_E_FORMAT,
       "damaged after 2 bytes"},
      {{SEND("HTTP/1.1 200 OK\r\nContent-Le")}, TM_E_IO, "within the headers, at byte 27"},
      {{{STEP_WAIT, NULL, 1}}, TM_E_IO, "without an answer"},
      {{SEND("HTTP/1.1 200 OK\r\n"), {STEP_SEND, "A: 0123456789012345678901234567\r\n", 600}},
       TM_E_LIMIT,
       "headers exceed the cap of 16384 bytes"},
      {{SEND("HTTP/1.1 200 OK\r\nA: "), {STEP_SEND, "0123456789abcdef", 2000}},
       TM_E_LIMIT,
       "headers exceed the cap of 16384 bytes"},
      {{{STEP_SEND, "HTTP/1.1 100 Continue\r\n\r\n", 2000}}, TM_E_LIMIT, "headers exceed the cap"},
      {{SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
        {STEP_SEND, "T: 0123456789012345678901234567\r\n", 1000}},
       TM_E_LIMIT,
       "trailers and chunk extensions exceed"},
      {{SEND("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")},
       TM_E_FORMAT,
       "switches protocols"},
      {{SEND("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), {STEP_RESET, NULL, 0}},
       TM_E_GONE,
       "connection reset"},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const tm_http_request request = {.first_byte_timeout_ns = 60 * MS, .idle_timeout_ns = 60 * MS};
    fixture *f = begin(AF_INET, rows[i].steps);
    tm_status status = get(f, request);
    if (status != rows[i].status) fail_msg("row %zu: %d %s", i, status, f->result.message);
    assert_says(f, rows[i].says);
    assert_non_null(strstr(f->result.message, "http://127.0.0.1:"));
    assert_null(strstr(f->result.message, "/x"));
    end(f);
  }
}

static void a_drip_ends_with_the_total_time(void **state) {
  fixture *f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 200 OK\r\n\r\n"), {STEP_SEND, ".", 1},
                                     {STEP_WAIT, NULL, 40}, SEND("."), {STEP_HANG, NULL, 0}));
  (void)state;
  assert_int_equal(get(f, (tm_http_request){.total_timeout_ns = 100 * MS}), TM_E_TIMEOUT);
  assert_says(f, "for the whole request, at body byte 2");
  assert_body(f, ".."); // what had come
  assert_int_equal(f->result.http_status, 200);
  end(f);
}

static void caps_what_it_collects(void **state) {
  static const char *const heads[] = {"HTTP/1.1 200 OK\r\n\r\n",
                                      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"};
  static const char *const pieces[] = {"0123456789abcdef", "10\r\n0123456789abcdef\r\n"};
  (void)state;
  for (size_t i = 0; i < 2; i++) {
    fixture *f = begin(AF_INET, SCRIPT(SEND(heads[i]), {STEP_SEND, pieces[i], 100000}));
    assert_int_equal(get(f, (tm_http_request){.max_body_bytes = 1000}), TM_E_LIMIT);
    assert_says(f, "the body exceeds the cap of 1000 B (1000 bytes)");
    assert_true(f->result.body.size <= 1000);
    end(f);
  }
}

static void nobody_listens(void **state) {
  fixture *f = begin(AF_INET, SCRIPT(SEND("x")));
  char url[160];
  (void)state;
  strcpy(url, f->server.url);
  close(f->server.listener); // the thread only waits for its stop
  f->server.listener = dup(0);
  server_stop(&f->server);
  assert_int_equal(get(f, (tm_http_request){.url = url}), TM_E_GONE);
  assert_says(f, "connection refused: nothing listens there");
  tm_ctx_clear(&f->ctx);
  assert_int_equal(get(f, (tm_http_request){.url = "unix:/tmp/no/such.sock:/x"}), TM_E_GONE);
  assert_says(f, "unix:/tmp/no/such.sock: cannot connect: no such file or directory");
  tm_ctx_fini(&f->ctx);
  assert_int_equal(f->memory.held_bytes, 0);
  free(f);
}

// A listener whose queue is full: the kernel drops what knocks (TCP), or says so (unix).
static void a_full_listener(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    fixture *f = begin(i ? AF_UNIX : AF_INET, SCRIPT({STEP_HANG, NULL, 0}));
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    int held[4];
    listen(f->server.listener, 0);
    getsockname(f->server.listener, (struct sockaddr *)&address, &size);
    for (size_t k = 0; k < 4; k++) { // the first is accepted, and then hangs
      held[k] = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      connect(held[k], (struct sockaddr *)&address, size);
      while (k == 0 && server_connections(&f->server) == 0) usleep(1000);
    }
    tm_status status = get(f, (tm_http_request){.connect_timeout_ns = 60 * MS});
    assert_int_equal(status, i ? TM_E_BUSY : TM_E_TIMEOUT);
    assert_says(f, i ? "cannot connect" : "while connecting");
    for (size_t k = 0; k < 4; k++) close(held[k]);
    end(f);
  }
}

static void follows_redirects_of_the_same_host(void **state) {
  fixture *f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 302 Found\r\nLocation: ../y?a=1\r\n\r\njunk")));
  (void)state;
  f->server.scripts[1][0] =
      (step)SEND("HTTP/1.1 308 P\r\nLocation: /z\r\nContent-Length: 0\r\n\r\n");
  f->server.scripts[2][0] = (step)SEND("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  f->server.script_count = 3;
  assert_int_equal(get(f, (tm_http_request){0}), TM_OK);
  assert_body(f, "ok");
  assert_int_equal(f->result.redirects_count, 2);
  assert_non_null(strstr(f->server.request, "GET /z HTTP/1.1\r\n"));
  end(f);
}

static void hides_the_host_from_a_unix_socket_that_refuses_it(void **state) {
  (void)state;
  fixture *f = begin(AF_UNIX, SCRIPT(SEND("HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nhost")));
  f->server.scripts[1][0] = (step)SEND("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  f->server.script_count = 2;
  assert_int_equal(get(f, (tm_http_request){0}), TM_OK);
  assert_body(f, "ok");
  assert_non_null(strstr(f->server.request, "Host: \r\n"));
  end(f);
  // Once only; never when the caller chose a name, for other methods, or over TCP.
  f = begin(AF_UNIX, SCRIPT(SEND("HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nhost")));
  assert_int_equal(get(f, (tm_http_request){0}), TM_OK);
  assert_int_equal(f->result.http_status, 403);
  assert_int_equal(server_connections(&f->server), 2);
  tm_http_result_free(&f->ctx, &f->result);
  assert_int_equal(get(f, (tm_http_request){.host_header = "x"}), TM_OK);
  tm_http_result_free(&f->ctx, &f->result);
  assert_int_equal(get(f, (tm_http_request){.method = "POST"}), TM_OK);
  assert_int_equal(server_connections(&f->server), 4);
  end(f);
  f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nhost")));
  assert_int_equal(get(f, (tm_http_request){0}), TM_OK);
  assert_int_equal(server_connections(&f->server), 1);
  end(f);
}

static void does_not_follow_everything(void **state) {
  static const struct {
    const char *answer, *method;
    tm_status status;
    const char *says;
    uint32_t connections_count;
  } rows[] = {
      {"HTTP/1.1 302 F\r\nLocation: /x\r\n\r\n", "GET", TM_E_LIMIT, "more than 5 times", 6},
      {"HTTP/1.1 302 F\r\nLocation: http://127.0.0.2:1/\r\n\r\n", "GET", TM_E_IO,
       "redirected to http://127.0.0.2:1: not followed", 1},
      {"HTTP/1.1 302 F\r\nLocation: https://127.0.0.1/\r\n\r\n", "GET", TM_E_IO, "not followed", 1},
      {"HTTP/1.1 302 F\r\nLocation: gopher://x\r\n\r\n", "GET", TM_E_FORMAT, "cannot be read", 1},
      {"HTTP/1.1 302 F\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n", "POST", TM_OK, "", 1},
      {"HTTP/1.1 307 F\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n", "POST", TM_E_LIMIT, "5", 6},
  };
  (void)state;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    fixture *f = begin(AF_INET, SCRIPT(SEND(rows[i].answer)));
    assert_int_equal(get(f, (tm_http_request){.method = rows[i].method}), rows[i].status);
    assert_says(f, rows[i].says);
    assert_int_equal(server_connections(&f->server), rows[i].connections_count);
    end(f);
  }
}

typedef struct reader {
  uint64_t seen_bytes, stop_at_bytes;
  tm_http_call *cancel; // from within on_body
} reader;

static tm_status read_body(void *ud, const uint8_t *data, size_t size) {
  reader *r = ud;
  for (size_t i = 0; i < size; i++) assert_int_equal(data[i], 'z');
  r->seen_bytes += size;
  if (r->cancel) tm_http_cancel(r->cancel);
  return r->stop_at_bytes && r->seen_bytes >= r->stop_at_bytes ? TM_E_BUSY : TM_OK;
}

static void streams_bodies(void **state) {
  fixture *f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 302 F\r\nLocation: /y\r\n\r\nnot seen")));
  reader r = {0};
  (void)state;
  f->server.scripts[1][0] = (step)SEND("HTTP/1.1 200 OK\r\n\r\n");
  f->server.scripts[1][1] = (step){STEP_SEND, "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", 100000};
  f->server.script_count = 2;
  assert_int_equal(get(f, (tm_http_request){.on_body = read_body, .on_body_ud = &r}), TM_OK);
  assert_int_equal(r.seen_bytes, 3200000);
  assert_int_equal(f->result.body_bytes, 3200000);
  assert_int_equal(f->result.body.size, 0);
  end(f);
}

static void a_reader_may_stop(void **state) {
  fixture *f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 200 OK\r\n\r\n"), {STEP_SEND, "zz", 100000}));
  reader r = {.stop_at_bytes = 1};
  (void)state;
  assert_int_equal(get(f, (tm_http_request){.on_body = read_body, .on_body_ud = &r}), TM_E_BUSY);
  assert_says(f, "the reader of the body stopped");
  end(f);
}

static void refuses_bad_requests(void **state) {
  static const tm_http_header bad[] = {{"Host", "x"}, {"content-length", "1"},
                                       {"A b", "x"},  {"A", "x\r\nB: y"},
                                       {"", "x"},     {"Transfer-Encoding", "chunked"}};
  fixture *f = begin(AF_INET, SCRIPT(SEND("x")));
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    tm_ctx_clear(&f->ctx);
    assert_int_equal(get(f, (tm_http_request){.headers = &bad[i], .header_count = 1}), TM_E_ARG);
  }
  tm_ctx_clear(&f->ctx);
  assert_int_equal(get(f, (tm_http_request){.method = "GET /\r\n"}), TM_E_ARG);
  tm_ctx_clear(&f->ctx);
  assert_int_equal(get(f, (tm_http_request){.host_header = "a\r\nb"}), TM_E_ARG);
  tm_ctx_clear(&f->ctx);
  assert_int_equal(get(f, (tm_http_request){.url = "nonsense"}), TM_E_ARG);
  tm_ctx_clear(&f->ctx);
  if (!tm_http_has_tls()) {
    assert_int_equal(get(f, (tm_http_request){.url = "https://127.0.0.1/"}), TM_E_UNSUPPORTED);
    assert_non_null(strstr(f->ctx.error.message, "libcurl"));
  }
  assert_int_equal(server_connections(&f->server), 0);
  end(f);
}

typedef struct canceller {
  uv_timer_t timer;
  tm_http_call *call; // NULL once it has ended or was cancelled
  bool cancelled;
} canceller;

// A call may end before it is cancelled, but never after.
static void before_cancel(void *ud, tm_http_result *result) {
  canceller *c = ud;
  if (c->cancelled) fail_msg("done after cancel: %s", result->message);
  c->call = NULL;
}

static void cancel(canceller *c) {
  tm_http_cancel(c->call);
  c->cancelled = true;
}

static void on_cancel(uv_timer_t *timer) {
  cancel(timer->data);
  uv_close((uv_handle_t *)timer, NULL);
}

// Cancels one request after delay_ms (0: before the loop ever ran).
static void cancel_after(const char *url, fixture *f, uint64_t delay_ms) {
  uv_loop_t loop;
  canceller c = {0};
  const tm_http_request request = {.url = url};
  uv_loop_init(&loop);
  assert_int_equal(tm_http_start(&f->ctx, &loop, &request, before_cancel, &c, &c.call), TM_OK);
  if (delay_ms) {
    uv_timer_init(&loop, &c.timer);
    c.timer.data = &c;
    uv_timer_start(&c.timer, on_cancel, delay_ms, 0);
  } else {
    cancel(&c);
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void cancels_in_every_state(void **state) {
  static const step hang[] = {{STEP_HANG, NULL, 0}, {0}};
  static const step headers[] = {SEND("HTTP/1.1 200 OK\r\nA:"), {STEP_HANG, NULL, 0}, {0}};
  static const step body[] = {SEND("HTTP/1.1 200 OK\r\n\r\nabc"), {STEP_HANG, NULL, 0}, {0}};
  static const step endless[] = {SEND("HTTP/1.1 200 OK\r\n\r\n"), {STEP_SEND, "zz", 4000000}, {0}};
  static const step *const scripts[] = {hang, headers, body, endless};
  (void)state;
  for (size_t i = 0; i < 4; i++)
    for (uint64_t delay_ms = 0; delay_ms < 12; delay_ms += delay_ms ? 10 : 1) {
      fixture *f = begin(AF_INET, scripts[i]);
      cancel_after(f->server.url, f, delay_ms);
      end(f);
    }
  fixture *f = begin(AF_INET, hang);
  cancel_after("http://localhost:1/", f, 0); // while the name is looked up
  cancel_after("http://no-such-name.invalid:1/", f, 1);
  cancel_after("unix:/tmp/no/such.sock", f, 0);
  end(f);
}

typedef struct turns {
  uv_check_t check;
  canceller c;
  int left_count;
} turns;

// Runs after the loop has polled and before it closes handles: where a connection may be closing.
static void on_check(uv_check_t *check) {
  turns *t = check->data;
  if (--t->left_count > 0 && t->c.call) return;
  cancel(&t->c);
  uv_close((uv_handle_t *)check, NULL);
}

static void cancel_in_turn(fixture *f, const char *url, int count) {
  uv_loop_t loop;
  turns t = {.left_count = count};
  const tm_http_request request = {.url = url};
  uv_loop_init(&loop);
  uv_check_init(&loop, &t.check);
  t.check.data = &t;
  uv_check_start(&t.check, on_check);
  assert_int_equal(tm_http_start(&f->ctx, &loop, &request, before_cancel, &t.c, &t.c.call), TM_OK);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void cancels_in_every_turn(void **state) {
  fixture *f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 302 F\r\nLocation: /x\r\n\r\n")));
  (void)state;
  for (int count = 1; count < 40; count++) cancel_in_turn(f, f->server.url, count);
  end(f);
}

static void cancels_while_a_name_is_looked_up(void **state) {
  fixture *f = begin(AF_INET, SCRIPT({STEP_HANG, NULL, 0}));
  uv_loop_t loop;
  canceller c = {0};
  const tm_http_request request = {.url = "http://no-such-name.invalid:1/"};
  (void)state;
  uv_loop_init(&loop);
  for (int i = 0; i < 20; i++) { // more than the pool has threads: some wait, some run
    c.cancelled = false;
    assert_int_equal(tm_http_start(&f->ctx, &loop, &request, before_cancel, &c, &c.call), TM_OK);
    uv_run(&loop, UV_RUN_NOWAIT);
    cancel(&c);
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  end(f);
}

static void must_not_be_called(void *ud, tm_http_result *result) {
  (void)ud;
  fail_msg("done after cancel: %s", result->message);
}

static void cancels_from_the_body(void **state) {
  fixture *f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 200 OK\r\n\r\n"), {STEP_SEND, "zz", 4000000}));
  uv_loop_t loop;
  reader r = {0};
  const tm_http_request request = {.url = f->server.url, .on_body = read_body, .on_body_ud = &r};
  (void)state;
  uv_loop_init(&loop);
  assert_int_equal(tm_http_start(&f->ctx, &loop, &request, must_not_be_called, NULL, &r.cancel),
                   TM_OK);
  uv_run(&loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(&loop), 0);
  assert_true(r.seen_bytes > 0);
  end(f);
}

static void a_fetch_can_be_cancelled(void **state) {
  fixture *f = begin(AF_INET, SCRIPT({STEP_HANG, NULL, 0}));
  atomic_bool cancel = true;
  (void)state;
  f->ctx.cancel = &cancel;
  assert_int_equal(get(f, (tm_http_request){0}), TM_E_CANCELLED);
  end(f);
}

static void survives_a_lack_of_memory(void **state) {
  fixture *f = begin(AF_INET, SCRIPT(SEND("HTTP/1.1 302 F\r\nLocation: /y\r\n\r\n")));
  const tm_http_header header = {"Accept", "*/*"};
  const tm_http_request request = {.url = f->server.url,
                                   .headers = &header,
                                   .header_count = 1,
                                   .host_header = "h",
                                   .max_header_bytes = 4096};
  tm_status status = TM_E_NOMEM;
  (void)state;
  f->server.scripts[1][0] = (step)SEND("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  f->server.script_count = 2;
  for (uint64_t n = 1; n < 100 && status != TM_OK; n++) {
    pthread_mutex_lock(&f->server.lock);
    f->server.connections_count = 0;
    pthread_mutex_unlock(&f->server.lock);
    tm_ctx_clear(&f->ctx);
    f->memory.requests = 0;
    f->memory.fail_at = n;
    f->memory.once = true;
    status = tm_http_fetch(&f->ctx, &request, &f->result);
    if (status != TM_OK) assert_int_equal(status, TM_E_NOMEM);
    tm_http_result_free(&f->ctx, &f->result);
    assert_int_equal(f->memory.held_bytes, 0);
  }
  assert_int_equal(status, TM_OK);
  end(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_an_answer),
      cmocka_unit_test(reads_every_framing),
      cmocka_unit_test(head_has_no_body),
      cmocka_unit_test(speaks_over_unix_and_ipv6),
      cmocka_unit_test(resolves_names),
      cmocka_unit_test(sends_the_host_it_is_told),
      cmocka_unit_test(sends_headers_given_as_lines),
      cmocka_unit_test(posts_a_large_body),
      cmocka_unit_test(survives_a_peer_that_does_not_read),
      cmocka_unit_test(says_how_it_failed),
      cmocka_unit_test(a_drip_ends_with_the_total_time),
      cmocka_unit_test(caps_what_it_collects),
      cmocka_unit_test(nobody_listens),
      cmocka_unit_test(a_full_listener),
      cmocka_unit_test(follows_redirects_of_the_same_host),
      cmocka_unit_test(hides_the_host_from_a_unix_socket_that_refuses_it),
      cmocka_unit_test(does_not_follow_everything),
      cmocka_unit_test(streams_bodies),
      cmocka_unit_test(a_reader_may_stop),
      cmocka_unit_test(refuses_bad_requests),
      cmocka_unit_test(cancels_in_every_state),
      cmocka_unit_test(cancels_in_every_turn),
      cmocka_unit_test(cancels_while_a_name_is_looked_up),
      cmocka_unit_test(cancels_from_the_body),
      cmocka_unit_test(a_fetch_can_be_cancelled),
      cmocka_unit_test(survives_a_lack_of_memory),
  };
  signal(SIGPIPE, SIG_DFL); // whoever starts the test may ignore it, which would hide one
  return cmocka_run_group_tests(tests, NULL, NULL);
}
