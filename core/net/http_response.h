// An HTTP/1.x answer, read from bytes that arrive in any pieces: no sockets, so that tests and
// fuzzers can feed it. Caps on headers and body are kept here.
#ifndef TM_NET_HTTP_RESPONSE_H
#define TM_NET_HTTP_RESPONSE_H

#include "base/bytes.h"

#include <llhttp/llhttp.h>

#define TM_HTTP_NO_LENGTH UINT64_MAX // the answer did not say how long its body is

// Takes body bytes as they arrive. Anything but TM_OK ends the answer with that status.
typedef tm_status (*tm_http_body_fn)(void *ud, const uint8_t *data, size_t size);

// Called once when the status line and all headers are there, before any body byte. Anything but
// TM_OK ends the answer with that status.
typedef tm_status (*tm_http_head_fn)(void *ud);

typedef struct tm_http_response {
  tm_ctx *ctx;             // where failures are recorded
  size_t max_header_bytes; // cap for status line and headers, and again for trailers
  uint64_t max_body_bytes; // cap for the body
  bool no_body;            // the request was HEAD
  tm_http_head_fn on_head; // NULL = not wanted
  tm_http_body_fn on_body; // NULL = collected in body
  void *ud;                // of both
  uint32_t http_status;    // 0 until the headers are complete
  uint64_t length_bytes;   // Content-Length, or TM_HTTP_NO_LENGTH
  uint64_t body_bytes;     // that have arrived
  bool head_done, done;    // headers complete; answer complete
  tm_bytes head;           // name NUL value NUL name NUL value NUL …
  tm_bytes body;           // unless on_body takes it
  // for the parser's own use
  llhttp_t parser;
  tm_status status; // what a callback failed with
  uint64_t raw_bytes, extra_bytes;
  uint8_t first[48]; // of the answer, for messages
} tm_http_response;

// Your storage; set caps and callbacks after it. tm_http_response_fini frees what was collected.
void tm_http_response_init(tm_ctx *ctx, tm_http_response *r);
void tm_http_response_fini(tm_http_response *r);

// Reads the next bytes; what follows a complete answer is ignored. TM_E_FORMAT for what is not
// HTTP (the message shows the first bytes), TM_E_LIMIT past a cap, TM_E_NOMEM.
TM_NODISCARD tm_status tm_http_response_feed(tm_http_response *r, const void *data, size_t size);

// The peer closed the connection: TM_OK when the answer is complete (or ended by the close, as it
// may), TM_E_IO with "closed early at byte N of M" when not.
TM_NODISCARD tm_status tm_http_response_end(tm_http_response *r);

// The first header of that name (any case) in a head as collected above, or NULL.
const char *tm_http_head_find(const tm_bytes *head, const char *name);

#endif
