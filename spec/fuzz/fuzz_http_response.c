// floors: net
// Any bytes as an HTTP answer: whole, and byte by byte. Both must end alike, and the caps must
// hold.
#include "net/http_response.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER_MAX = 512, BODY_MAX = 2048 };

// A streamed body is collected here, to be compared with one that the answer collects itself.
static tm_status collect(void *ud, const uint8_t *data, size_t size) {
  tm_http_response *r = ud;
  return tm_bytes_append(r->ctx, &r->body, data, size);
}

// One copy per piece, so that ASan sees a read behind it.
static tm_status feed(tm_http_response *r, const uint8_t *data, size_t size, size_t piece_bytes) {
  tm_status status = TM_OK;
  for (size_t at = 0; at < size && status == TM_OK && !r->done;) {
    size_t n = size - at < piece_bytes ? size - at : piece_bytes;
    uint8_t *piece = malloc(n);
    if (!piece) abort();
    memcpy(piece, data + at, n);
    status = tm_http_response_feed(r, piece, n);
    free(piece);
    at += n;
  }
  return status == TM_OK ? tm_http_response_end(r) : status;
}

static void check(const tm_http_response *r, tm_status status) {
  size_t nul_count = 0;
  if ((status == TM_OK) != r->done) abort();
  if (status != TM_OK && !r->ctx->error.message[0]) abort();
  if (r->body.size > BODY_MAX || r->body_bytes > BODY_MAX || r->head.size > HEADER_MAX) abort();
  if (r->done && r->length_bytes != TM_HTTP_NO_LENGTH && r->body_bytes != r->length_bytes
      && !r->no_body && r->http_status != 204 && r->http_status != 304)
    abort();
  for (size_t i = 0; i < r->head.size; i++) nul_count += r->head.data[i] == 0;
  if (r->head_done && nul_count % 2) abort(); // names and values come in pairs
  const char *location = tm_http_head_find(&r->head, "location");
  if (r->head_done && location && strlen(location) > HEADER_MAX) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const size_t piece_bytes[] = {SIZE_MAX, 1, 7};
  tm_http_response answers[3];
  tm_ctx ctxs[3];
  tm_status status[3];
  bool no_body = size && data[0] == 'h'; // first byte in lower case: as answer to a HEAD
  for (size_t i = 0; i < 3; i++) {
    tm_http_response *r = &answers[i];
    tm_ctx_init(&ctxs[i], NULL);
    tm_http_response_init(&ctxs[i], r);
    r->max_header_bytes = HEADER_MAX;
    r->max_body_bytes = BODY_MAX;
    r->no_body = no_body;
    r->on_body = i == 2 ? collect : NULL;
    r->ud = r;
    status[i] = feed(r, no_body ? data + 1 : data, no_body ? size - 1 : size, piece_bytes[i]);
    check(r, status[i]);
  }
  for (size_t i = 1; i < 3; i++) {
    const tm_http_response *a = &answers[0], *b = &answers[i];
    if (status[0] != status[i] || a->http_status != b->http_status) abort();
    if (status[0] != TM_OK) continue; // a cap may cut a piece that came whole
    if (a->body.size != b->body.size || a->head.size != b->head.size) abort();
    if (a->body.size && memcmp(a->body.data, b->body.data, a->body.size) != 0) abort();
    if (a->head.size && memcmp(a->head.data, b->head.data, a->head.size) != 0) abort();
  }
  for (size_t i = 0; i < 3; i++) {
    tm_http_response_fini(&answers[i]);
    tm_ctx_fini(&ctxs[i]);
  }
  return 0;
}
