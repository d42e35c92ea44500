// A channel, a reader of frames, and a buffer between them: bytes behind an item's end stay in the
// buffer for the next call. Masks come from the kernel's generator, one for each message.
#include "net/websocket.h"

#include "base/clock.h"
#include "net/channel.h"
#include "net/frames.h"
#include "net/sha1.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

enum { BUFFER_BYTES = 65536, ANSWER_BYTES = 16384, SAID_BYTES = 80 };

struct tm_websocket {
  tm_channel channel;
  tm_frames_reader frames;
  tm_bytes out;
  size_t at, filled; // of buffer: what was read and not yet looked at
  uint8_t buffer[BUFFER_BYTES];
};

// ---- handshake ----

static void base64(const uint8_t *data, size_t size, char *out) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t n = 0;
  for (size_t i = 0; i < size; i += 3) {
    uint32_t v = (uint32_t)data[i] << 16 | (i + 1 < size ? (uint32_t)data[i + 1] << 8 : 0)
                 | (i + 2 < size ? data[i + 2] : 0u);
    out[n++] = digits[v >> 18];
    out[n++] = digits[v >> 12 & 63];
    out[n++] = i + 1 < size ? digits[v >> 6 & 63] : '=';
    out[n++] = i + 2 < size ? digits[v & 63] : '=';
  }
  out[n] = '\0';
}

void tm_websocket_accept(const char *key, char out[29]) {
  char text[64];
  uint8_t hash[20];
  int size = snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
  tm_sha1_short(text, (size_t)size, hash);
  base64(hash, sizeof hash, out);
}

// Only the kernel's early boot has no randomness; a mask needs no secrecy then.
static void fill_random(void *out, size_t size) {
  if (getrandom(out, size, GRND_NONBLOCK) == (ssize_t)size) return;
  uint64_t seed = tm_clock_mono_ns();
  for (size_t i = 0; i < size; i++) ((uint8_t *)out)[i] = (uint8_t)(seed >> (8 * (i & 7)));
}

// ws:// is http:// to the address; unix: stays.
static tm_status read_url(tm_ctx *ctx, const char *text, tm_url *out) {
  char http[TM_URL_FORMAT_MAX];
  if (strncasecmp(text, "wss:", 4) == 0)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "wss:// is not spoken: give ws://");
  if (strncasecmp(text, "ws://", 5) != 0) return tm_url_parse(ctx, text, out);
  int size = snprintf(http, sizeof http, "http%s", text + 2);
  if (size >= (int)sizeof http)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the address is too long");
  return tm_url_parse(ctx, http, out);
}

static tm_status send_request(tm_ctx *ctx, tm_websocket *ws, const tm_url *url, const char *key) {
  char host[TM_URL_ORIGIN_MAX];
  ws->out.size = 0;
  TM_TRY(tm_bytes_printf(ctx, &ws->out,
                         "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                         "Sec-WebSocket-Version: 13\r\n\r\n",
                         url->target, tm_url_host_header(url, host), key));
  return tm_channel_send(ctx, &ws->channel, ws->out.data, ws->out.size);
}

// The answer's first line, or its first bytes, fit to be shown.
static const char *said(const tm_websocket *ws, char out[SAID_BYTES]) {
  size_t n = 0;
  for (size_t i = 0; i < ws->filled && n + 1 < SAID_BYTES && ws->buffer[i] != '\r'; i++) {
    uint8_t c = ws->buffer[i];
    if (c == '\n') break;
    out[n++] = c >= ' ' && c < 0x7f ? (char)c : '?';
  }
  out[n] = '\0';
  return out;
}

// Reads up to the blank line; frames may follow it in the buffer.
static tm_status read_answer(tm_ctx *ctx, tm_websocket *ws) {
  char words[SAID_BYTES];
  for (;;) {
    size_t n;
    const uint8_t *end = memmem(ws->buffer, ws->filled, "\r\n\r\n", 4);
    if (end) {
      ws->at = (size_t)(end - ws->buffer) + 4;
      return TM_OK;
    }
    if (ws->filled == ANSWER_BYTES || (ws->filled >= 5 && memcmp(ws->buffer, "HTTP/", 5) != 0))
      return tm_fail(ctx, TM_E_FORMAT, 0, "who answers speaks no HTTP: \"%s\"", said(ws, words));
    TM_TRY(tm_channel_receive(ctx, &ws->channel, ws->buffer + ws->filled, ANSWER_BYTES - ws->filled,
                              &n));
    if (!n)
      return tm_fail(ctx, TM_E_GONE, ws->filled, "the peer hung up during the handshake%s%s",
                     ws->filled ? ": " : "", said(ws, words));
    ws->filled += n;
  }
}

// The value of a header in the answer, without blanks around it; *out_size 0 = not there.
static const char *find_header(const tm_websocket *ws, const char *name, size_t *out_size) {
  const char *at = (const char *)ws->buffer, *end = at + ws->at;
  size_t length = strlen(name);
  *out_size = 0;
  while (at < end) {
    const char *stop = memchr(at, '\r', (size_t)(end - at));
    if (!stop) break;
    if ((size_t)(stop - at) > length && at[length] == ':' && strncasecmp(at, name, length) == 0) {
      at += length + 1;
      while (at < stop && *at == ' ') at++;
      while (stop > at && stop[-1] == ' ') stop--;
      *out_size = (size_t)(stop - at);
      return at;
    }
    at = stop + 2;
  }
  return NULL;
}

static tm_status shake_hands(tm_ctx *ctx, tm_websocket *ws, const tm_url *url) {
  uint8_t nonce[16];
  char key[25], want[29], words[SAID_BYTES];
  size_t size;
  fill_random(nonce, sizeof nonce);
  base64(nonce, sizeof nonce, key);
  TM_TRY(send_request(ctx, ws, url, key));
  TM_TRY(read_answer(ctx, ws));
  if (ws->at < 13 || memcmp(ws->buffer + 8, " 101 ", 5) != 0)
    return tm_fail(ctx, TM_E_FORMAT, 0, "the peer opens no WebSocket: \"%s\"", said(ws, words));
  tm_websocket_accept(key, want);
  const char *accept = find_header(ws, "Sec-WebSocket-Accept", &size);
  if (size != strlen(want) || memcmp(accept, want, size) != 0)
    return tm_fail(ctx, TM_E_FORMAT, 0, "the peer's Sec-WebSocket-Accept is wrong: no WebSocket");
  return TM_OK;
}

tm_status tm_websocket_open(tm_ctx *ctx, const char *text, uint64_t timeout_ns,
                            tm_websocket **out) {
  tm_url url;
  TM_TRY(read_url(ctx, text, &url));
  tm_websocket *ws = tm_alloc(ctx, sizeof *ws);
  if (!ws) return TM_E_NOMEM;
  memset(ws, 0, offsetof(tm_websocket, buffer));
  ws->channel.fd = -1;
  tm_status status = tm_channel_open(ctx, &url, timeout_ns, &ws->channel);
  if (status == TM_OK) status = shake_hands(ctx, ws, &url);
  if (status == TM_OK) {
    *out = ws;
    return TM_OK;
  }
  tm_channel_close(&ws->channel);
  tm_websocket_close(ctx, ws);
  return status;
}

// ---- messages ----

static tm_status send_frame(tm_ctx *ctx, tm_websocket *ws, tm_frames_opcode opcode,
                            const void *data, size_t size) {
  uint8_t mask[4];
  fill_random(mask, sizeof mask);
  ws->out.size = 0;
  TM_TRY(tm_frames_append(ctx, &ws->out, opcode, data, size, mask));
  return tm_channel_send(ctx, &ws->channel, ws->out.data, ws->out.size);
}

tm_status tm_websocket_send(tm_ctx *ctx, tm_websocket *ws, const void *text, size_t size) {
  return send_frame(ctx, ws, TM_FRAMES_OP_TEXT, text, size);
}

static tm_status fill(tm_ctx *ctx, tm_websocket *ws) {
  ws->at = ws->filled = 0;
  TM_TRY(tm_channel_receive(ctx, &ws->channel, ws->buffer, sizeof ws->buffer, &ws->filled));
  if (ws->filled) return TM_OK;
  return tm_fail(ctx, TM_E_GONE, ws->channel.received_bytes, "the peer hung up after %llu bytes%s",
                 (unsigned long long)ws->channel.received_bytes,
                 ws->frames.in_message ? ", within a message" : "");
}

static tm_status goodbye(tm_ctx *ctx, const tm_frames_reader *r) {
  char words[TM_FRAMES_CONTROL_BYTES + 1] = "";
  uint32_t n = 0;
  for (uint32_t i = 2; i < r->control_size; i++)
    words[n++] = r->control[i] >= ' ' && r->control[i] < 0x7f ? (char)r->control[i] : '?';
  words[n] = '\0';
  return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET, "the peer closed the WebSocket%s%s", n ? ": " : "",
                 words);
}

tm_status tm_websocket_receive(tm_ctx *ctx, tm_websocket *ws, const tm_bytes **out_message) {
  for (;;) {
    size_t used;
    tm_frames_item item;
    if (ws->at == ws->filled) TM_TRY(fill(ctx, ws));
    TM_TRY(
        tm_frames_feed(ctx, &ws->frames, ws->buffer + ws->at, ws->filled - ws->at, &used, &item));
    ws->at += used;
    if (item == TM_FRAMES_CLOSE) return goodbye(ctx, &ws->frames);
    if (item == TM_FRAMES_PING)
      TM_TRY(send_frame(ctx, ws, TM_FRAMES_OP_PONG, ws->frames.control, ws->frames.control_size));
    if (item == TM_FRAMES_MESSAGE) {
      *out_message = &ws->frames.message;
      return TM_OK;
    }
  }
}

void tm_websocket_set_timeout(tm_websocket *ws, uint64_t timeout_ns) {
  uint64_t now_ns = tm_clock_mono_ns();
  ws->channel.deadline_ns = timeout_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + timeout_ns;
}

uint64_t tm_websocket_received_bytes(const tm_websocket *ws) {
  return ws->channel.received_bytes;
}

// A peer that no longer reads is not waited for: a goodbye that does not fit is not sent.
void tm_websocket_close(tm_ctx *ctx, tm_websocket *ws) {
  static const uint8_t code[2] = {1000 >> 8, 1000 & 255};
  if (!ws) return;
  if (ws->channel.fd >= 0) {
    tm_ctx quiet;
    tm_ctx_init(&quiet, &ctx->alloc);
    ws->channel.deadline_ns = 0;
    if (send_frame(&quiet, ws, TM_FRAMES_OP_CLOSE, code, sizeof code) != TM_OK)
      tm_ctx_clear(&quiet);
    tm_ctx_fini(&quiet);
  }
  tm_channel_close(&ws->channel);
  tm_frames_free(ctx, &ws->frames);
  tm_bytes_free(ctx, &ws->out);
  tm_free(ctx, ws, sizeof *ws);
}
