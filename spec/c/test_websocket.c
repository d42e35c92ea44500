// floors: net
// WebSocket frames against the RFC's own examples, in every cut, and the client against servers
// that hang, lie, claim 2 GB, or hang up in the middle.
#include "failing_alloc.h"
#include "net/frames.h"
#include "net/websocket.h"
#include "unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS UINT64_C(1000000)

// ---- frames ----

typedef struct seen {
  tm_frames_item items[16];
  char texts[16][300];
  size_t count;
  tm_status status;
} seen;

// Feeds data in pieces of `step` bytes and notes what comes out.
static void feed(tm_ctx *ctx, const void *data, size_t size, size_t step, uint64_t cap, seen *out) {
  tm_frames_reader reader = {.max_message_bytes = cap};
  const uint8_t *at = data, *end = at + size;
  *out = (seen){.status = TM_OK};
  tm_ctx_clear(ctx);
  while (at < end && out->status == TM_OK) {
    size_t used, piece = (size_t)(end - at) < step ? (size_t)(end - at) : step;
    tm_frames_item item;
    out->status = tm_frames_feed(ctx, &reader, at, piece, &used, &item);
    if (out->status != TM_OK || item == TM_FRAMES_NOTHING) {
      at += piece;
      continue;
    }
    at += used;
    bool is_message = item == TM_FRAMES_MESSAGE;
    size_t length = is_message ? reader.message.size : reader.control_size;
    if (length)
      memcpy(out->texts[out->count], is_message ? reader.message.data : reader.control, length);
    out->items[out->count++] = item;
  }
  tm_frames_free(ctx, &reader);
}

// RFC 6455, 5.7: "Hello" whole; "Hel" + ping + "lo"; then a text of 256 bytes; then a close.
static size_t example(uint8_t out[400]) {
  static const uint8_t head[] = {0x81, 5,    'H', 'e',  'l', 'l',  'o',  0x01, 3,
                                 'H',  'e',  'l', 0x89, 5,   'H',  'e',  'l',  'l',
                                 'o',  0x80, 2,   'l',  'o', 0x82, 0x7e, 0x01, 0x00};
  static const uint8_t tail[] = {0x88, 5, 3, 0xe8, 'b', 'y', 'e'};
  memcpy(out, head, sizeof head);
  memset(out + sizeof head, 'x', 256);
  memcpy(out + sizeof head + 256, tail, sizeof tail);
  return sizeof head + 256 + sizeof tail;
}

static void test_frames_in_every_cut(void **state) {
  (void)state;
  uint8_t bytes[400];
  tm_ctx ctx;
  size_t size = example(bytes);
  tm_ctx_init(&ctx, NULL);
  for (size_t step = 1; step <= size; step++) {
    seen s;
    feed(&ctx, bytes, size, step, 0, &s);
    assert_int_equal(s.status, TM_OK);
    assert_int_equal(s.count, 5);
    assert_int_equal(s.items[0], TM_FRAMES_MESSAGE);
    assert_string_equal(s.texts[0], "Hello");
    assert_int_equal(s.items[1], TM_FRAMES_PING);
    assert_string_equal(s.texts[1], "Hello");
    assert_int_equal(s.items[2], TM_FRAMES_MESSAGE);
    assert_string_equal(s.texts[2], "Hello");
    assert_int_equal(strlen(s.texts[3]), 256);
    assert_int_equal(s.items[4], TM_FRAMES_CLOSE);
    assert_string_equal(s.texts[4] + 2, "bye");
  }
  tm_ctx_fini(&ctx);
}

static void test_frames_that_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t size;
    tm_status status;
    const char *words;
  } cases[] = {
      {"\x81\x85"
       "mask?????",
       11, TM_E_FORMAT, "does not mask"},
      {"\xc1\x01x", 3, TM_E_FORMAT, "reserved"},
      {"\x83\x01x", 3, TM_E_FORMAT, "unknown"},
      {"\x8b\x00", 2, TM_E_FORMAT, "unknown"},
      {"\x80\x01x", 3, TM_E_FORMAT, "never began"},
      {"\x01\x01x\x81\x01y", 6, TM_E_FORMAT, "within another"},
      {"\x09\x01x", 3, TM_E_FORMAT, "in pieces"},
      {"\x89\x7e\x00\x80", 4, TM_E_FORMAT, "control frame is long"},
      {"\x81\x7f\x80\0\0\0\0\0\0\0", 10, TM_E_FORMAT, "2^63"},
      {"\x81\x7f\0\0\0\0\x80\0\0\0", 10, TM_E_LIMIT, "2147483648"},
      {"\x81\x7e\x04\x01", 4, TM_E_LIMIT, "1025"},
      {"\x01\x7e\x04\x00", 4, TM_OK, ""},
  };
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    seen s;
    feed(&ctx, cases[i].bytes, cases[i].size, 1, 1024, &s);
    assert_int_equal(s.status, cases[i].status);
    assert_non_null(strstr(ctx.error.message, cases[i].words));
  }
  tm_ctx_fini(&ctx);
}

// What a client sends, unmasked again by hand; lengths around both borders.
static void test_frames_of_a_client(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, 125, 126, 65535, 65536};
  const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
  tm_ctx ctx;
  tm_bytes out = {0};
  char *text = malloc(65536);
  assert_non_null(text);
  for (size_t i = 0; i < 65536; i++) text[i] = (char)('a' + i % 26);
  tm_ctx_init(&ctx, NULL);
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
    size_t size = sizes[k], head = size < 126 ? 2 : size < 65536 ? 4 : 10;
    out.size = 0;
    assert_int_equal(tm_frames_append(&ctx, &out, TM_FRAMES_OP_TEXT, text, size, mask), TM_OK);
    assert_int_equal(out.size, head + 4 + size);
    assert_int_equal(out.data[0], 0x81);
    assert_int_equal(out.data[1], 0x80 | (head == 2 ? size : head == 4 ? 126 : 127));
    for (size_t i = 0; i < size; i++)
      assert_int_equal(out.data[head + 4 + i] ^ mask[i & 3], (uint8_t)text[i]);
  }
  // RFC 6455, 5.7: a single-frame masked text message.
  out.size = 0;
  assert_int_equal(tm_frames_append(&ctx, &out, TM_FRAMES_OP_TEXT, "Hello", 5, mask), TM_OK);
  assert_memory_equal(out.data, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
  tm_bytes_free(&ctx, &out);
  tm_ctx_fini(&ctx);
  free(text);
}

static void test_accept(void **state) {
  (void)state;
  char out[29];
  tm_websocket_accept("dGhlIHNhbXBsZSBub25jZQ==", out); // RFC 6455, 1.3
  assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

// ---- the client ----

typedef struct peer {
  const char *answer; // instead of the handshake's
  const char *bytes;  // behind it
  size_t size;
  bool hangs;            // keeps the connection until the client goes
  size_t expect_bytes;   // waits for so many before it ends
  uint8_t received[256]; // from the client, behind the handshake
  size_t received_size;
  int listener;
  char url[80];
  pthread_t thread;
} peer;

static void send_all(int fd, const void *data, size_t size) {
  const char *at = data;
  while (size) {
    ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
    if (n <= 0) return;
    at += n;
    size -= (size_t)n;
  }
}

static void greet(const peer *p, int fd) {
  char request[2048] = "", accept[29], text[300];
  size_t size = 0;
  while (!strstr(request, "\r\n\r\n")) {
    ssize_t n = recv(fd, request + size, sizeof request - 1 - size, 0);
    if (n <= 0) return;
    size += (size_t)n;
    request[size] = '\0';
  }
  const char *key = strstr(request, "Sec-WebSocket-Key: ");
  if (!key) return;
  tm_websocket_accept(key + 19, accept);
  int length = snprintf(text, sizeof text,
                        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n"
                        "sec-websocket-accept:  %s \r\n\r\n",
                        accept);
  if (p->answer)
    send_all(fd, p->answer, strlen(p->answer));
  else
    send_all(fd, text, (size_t)length);
}

static void *play(void *ud) {
  peer *p = ud;
  int fd = accept(p->listener, NULL, NULL);
  greet(p, fd);
  if (p->size) send_all(fd, p->bytes, p->size);
  while (p->hangs || p->received_size < p->expect_bytes) {
    ssize_t n = recv(fd, p->received + p->received_size, sizeof p->received - p->received_size, 0);
    if (n <= 0) break;
    p->received_size += (size_t)n;
  }
  close(fd);
  return NULL;
}

static void peer_start(peer *p) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof address;
  p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(p->listener, (struct sockaddr *)&address, size), 0);
  assert_int_equal(listen(p->listener, 1), 0);
  getsockname(p->listener, (struct sockaddr *)&address, &size);
  snprintf(p->url, sizeof p->url, "ws://127.0.0.1:%u/x", ntohs(address.sin_port));
  pthread_create(&p->thread, NULL, play, p);
}

typedef struct talk {
  tm_status opened, received;
  char message[400], error[480];
} talk;

// Opens, takes one message, closes; nothing is left behind.
static talk converse(peer *p, uint64_t timeout_ns) {
  talk t = {0};
  failing_alloc memory = {0};
  tm_allocator allocator = failing_allocator(&memory);
  tm_websocket *ws = NULL;
  const tm_bytes *message = NULL;
  tm_ctx ctx;
  tm_ctx_init(&ctx, &allocator);
  peer_start(p);
  t.opened = t.received = tm_websocket_open(&ctx, p->url, timeout_ns, &ws);
  if (t.opened == TM_OK) t.received = tm_websocket_receive(&ctx, ws, &message);
  if (t.received == TM_OK)
    snprintf(t.message, sizeof t.message, "%.*s", (int)message->size, (const char *)message->data);
  snprintf(t.error, sizeof t.error, "%s", ctx.error.message);
  if (t.opened == TM_OK) tm_websocket_close(&ctx, ws);
  pthread_join(p->thread, NULL);
  close(p->listener);
  tm_ctx_fini(&ctx);
  assert_int_equal(memory.held_bytes, 0);
  return t;
}

static void test_client_answers_pings(void **state) {
  (void)state;
  peer p = {.bytes = "\x89\x02hi\x01\x02"
                     "ab\x80\x01"
                     "c",
            .size = 11,
            .expect_bytes = 8};
  talk t = converse(&p, 5000 * MS);
  assert_int_equal(t.received, TM_OK);
  assert_string_equal(t.message, "abc");
  assert_true(p.received_size >= 8);
  assert_int_equal(p.received[0], 0x8a); // a pong with the ping's words
  assert_int_equal(p.received[1], 0x82);
  assert_int_equal(p.received[6] ^ p.received[2], 'h');
  assert_int_equal(p.received[7] ^ p.received[3], 'i');
}

static void test_client_and_bad_peers(void **state) {
  (void)state;
  static const struct {
    peer peer;
    tm_status status;
    const char *words;
  } cases[] = {
      {{.answer = "HTTP/1.0 400 Bad Request\r\n\r\n"}, TM_E_FORMAT, "400 Bad Request"},
      {{.answer = "HTTP/1.1 101 X\r\nSec-WebSocket-Accept: AAAA\r\n\r\n"}, TM_E_FORMAT, "wrong"},
      {{.answer = "HTTP/1.1 101 X\r\n\r\n"}, TM_E_FORMAT, "wrong"},
      {{.answer = "SSH-2.0-x\r\n"}, TM_E_FORMAT, "SSH-2.0-x"},
      {{.answer = "HTTP/1.1 1"}, TM_E_GONE, "during the handshake"},
      {{.answer = "", .hangs = true}, TM_E_TIMEOUT, "timed out"},
      {{.hangs = true}, TM_E_TIMEOUT, "timed out"},
      {{.bytes = "\x81\x7f\0\0\0\0\x80\0\0\0", .size = 10, .hangs = true},
       TM_E_LIMIT,
       "2147483648"},
      {{.bytes = "\x81\x7e\x01\0half", .size = 8}, TM_E_GONE, "within a message"},
      {{.bytes = "garbage!", .size = 8, .hangs = true}, TM_E_FORMAT, "reserved"},
      {{.bytes = "\x88\x06\x03\xe9gone", .size = 8}, TM_E_GONE, "closed the WebSocket: gone"},
      {{.bytes = "\x88\x00", .size = 2}, TM_E_GONE, "closed the WebSocket"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    peer p = cases[i].peer;
    talk t = converse(&p, 300 * MS);
    if (t.received != cases[i].status || !strstr(t.error, cases[i].words))
      fail_msg("case %zu: %s: %s", i, tm_status_name(t.received), t.error);
  }
}

static void test_client_and_bad_addresses(void **state) {
  (void)state;
  tm_ctx ctx;
  tm_websocket *ws;
  tm_ctx_init(&ctx, NULL);
  assert_int_equal(tm_websocket_open(&ctx, "wss://h/x", MS, &ws), TM_E_UNSUPPORTED);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_websocket_open(&ctx, "ws://", MS, &ws), TM_E_ARG);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_websocket_open(&ctx, "unix:/nowhere/x.sock:/y", MS, &ws), TM_E_GONE);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_websocket_open(&ctx, "ws://127.0.0.1:1/", 1000 * MS, &ws), TM_E_GONE);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_frames_in_every_cut),
      cmocka_unit_test(test_frames_that_are_refused),
      cmocka_unit_test(test_frames_of_a_client),
      cmocka_unit_test(test_accept),
      cmocka_unit_test(test_client_answers_pings),
      cmocka_unit_test(test_client_and_bad_peers),
      cmocka_unit_test(test_client_and_bad_addresses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
