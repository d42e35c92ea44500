// llhttp finds the pieces; this file keeps the caps, joins headers that arrive split, skips 1xx
// answers and puts failures into sentences. Linear in the bytes; memory = headers + body, both
// capped. While the head is incomplete llhttp is handed at most what the cap leaves, so that the
// cap counts raw bytes, whatever they are.
#include "net/http_response.h"

#include "base/units.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static int stop(tm_http_response *r, tm_status status) {
  r->status = status;
  return HPE_USER;
}

static int append(tm_http_response *r, const char *at, size_t size) {
  tm_status status = tm_bytes_append(r->ctx, &r->head, at, size);
  return status == TM_OK ? 0 : stop(r, status);
}

// Trailers and chunk extensions are of no use here, but they must not be endless.
static int skip_extra(tm_http_response *r, size_t size) {
  r->extra_bytes += size;
  if (r->extra_bytes <= r->max_header_bytes) return 0;
  return stop(r, tm_fail(r->ctx, TM_E_LIMIT, r->raw_bytes,
                         "trailers and chunk extensions exceed the cap of %zu bytes",
                         r->max_header_bytes));
}

static int on_field(llhttp_t *parser, const char *at, size_t size) {
  tm_http_response *r = parser->data;
  return r->head_done ? skip_extra(r, size) : append(r, at, size);
}

static int on_piece_complete(llhttp_t *parser) {
  tm_http_response *r = parser->data;
  return r->head_done ? 0 : append(r, "", 1);
}

static int on_extension(llhttp_t *parser, const char *at, size_t size) {
  (void)at;
  return skip_extra(parser->data, size);
}

static bool is_interim(const llhttp_t *parser) {
  return parser->status_code >= 100 && parser->status_code < 200 && parser->status_code != 101;
}

static int on_headers_complete(llhttp_t *parser) {
  tm_http_response *r = parser->data;
  if (is_interim(parser)) return 0;
  if (parser->status_code == 101)
    return stop(r, tm_fail(r->ctx, TM_E_FORMAT, 0, "the peer switches protocols unasked"));
  r->http_status = parser->status_code;
  r->head_done = true;
  if (parser->flags & F_CONTENT_LENGTH) r->length_bytes = parser->content_length;
  if (r->on_head) {
    tm_status status = r->on_head(r->ud);
    if (status != TM_OK) return stop(r, status);
  }
  if (r->no_body) return 1;
  if (r->length_bytes != TM_HTTP_NO_LENGTH && r->length_bytes > r->max_body_bytes) {
    char says[32], cap[32];
    tm_format_value(says, sizeof says, TM_UNIT_BYTES, (double)r->length_bytes);
    tm_format_value(cap, sizeof cap, TM_UNIT_BYTES, (double)r->max_body_bytes);
    return stop(r, tm_fail(r->ctx, TM_E_LIMIT, 0,
                           "the answer announces %s (%llu bytes), over the body cap of %s", says,
                           (unsigned long long)r->length_bytes, cap));
  }
  return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t size) {
  tm_http_response *r = parser->data;
  if (size > r->max_body_bytes - r->body_bytes) {
    char cap[32];
    tm_format_value(cap, sizeof cap, TM_UNIT_BYTES, (double)r->max_body_bytes);
    return stop(r, tm_fail(r->ctx, TM_E_LIMIT, r->body_bytes,
                           "the body exceeds the cap of %s (%llu bytes)", cap,
                           (unsigned long long)r->max_body_bytes));
  }
  r->body_bytes += size;
  tm_status status = r->on_body ? r->on_body(r->ud, (const uint8_t *)at, size)
                                : tm_bytes_append(r->ctx, &r->body, at, size);
  return status == TM_OK ? 0 : stop(r, status);
}

static int on_message_complete(llhttp_t *parser) {
  tm_http_response *r = parser->data;
  if (!r->head_done) { // of a 1xx answer: the real one follows
    r->head.size = 0;
    return 0;
  }
  r->done = true;
  return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_field,
    .on_header_value = on_field,
    .on_header_field_complete = on_piece_complete,
    .on_header_value_complete = on_piece_complete,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void tm_http_response_init(tm_ctx *ctx, tm_http_response *r) {
  *r = (tm_http_response){.ctx = ctx,
                          .max_header_bytes = 16384,
                          .max_body_bytes = 256ull << 20,
                          .length_bytes = TM_HTTP_NO_LENGTH};
  llhttp_init(&r->parser, HTTP_RESPONSE, &settings);
  r->parser.data = r;
}

void tm_http_response_fini(tm_http_response *r) {
  tm_bytes_free(r->ctx, &r->head);
  tm_bytes_free(r->ctx, &r->body);
}

// The first bytes for people: printable ones as they are, the rest as \xNN.
static void show_first(const tm_http_response *r, char *out, size_t room) {
  size_t count = r->raw_bytes < sizeof r->first ? (size_t)r->raw_bytes : sizeof r->first;
  size_t n = 0;
  out[0] = '\0';
  for (size_t i = 0; i < count && n + 5 < room; i++) {
    uint8_t c = r->first[i];
    bool plain = c >= ' ' && c < 0x7f && c != '"' && c != '\\';
    n += (size_t)snprintf(out + n, room - n, plain ? "%c" : "\\x%02x", c);
  }
}

static tm_status fail_garbage(tm_http_response *r) {
  char first[sizeof r->first * 4 + 8];
  show_first(r, first, sizeof first);
  if (r->head_done)
    return tm_fail(r->ctx, TM_E_FORMAT, r->body_bytes, "the body is damaged after %llu bytes: %s",
                   (unsigned long long)r->body_bytes, llhttp_get_error_reason(&r->parser));
  if (r->raw_bytes >= 2 && (r->first[0] == 0x15 || r->first[0] == 0x16) && r->first[1] == 3)
    return tm_fail(r->ctx, TM_E_FORMAT, 0, "the port speaks TLS: use https://");
  return tm_fail(r->ctx, TM_E_FORMAT, 0, "garbage instead of HTTP (%s), it begins with \"%s\"",
                 llhttp_get_error_reason(&r->parser), first);
}

static tm_status execute(tm_http_response *r, const uint8_t *data, size_t size) {
  if (r->raw_bytes < sizeof r->first) {
    size_t room = sizeof r->first - (size_t)r->raw_bytes;
    memcpy(r->first + r->raw_bytes, data, size < room ? size : room);
  }
  r->raw_bytes += size;
  llhttp_errno_t code = llhttp_execute(&r->parser, (const char *)data, size);
  if (r->done) return TM_OK;
  if (r->status != TM_OK) return r->status;
  return code == HPE_OK ? TM_OK : fail_garbage(r);
}

tm_status tm_http_response_feed(tm_http_response *r, const void *data, size_t size) {
  const uint8_t *at = data;
  if (r->status != TM_OK) return r->status;
  while (size && !r->done) {
    size_t piece = size;
    if (!r->head_done) {
      uint64_t left = r->max_header_bytes - r->raw_bytes;
      if (r->raw_bytes >= r->max_header_bytes)
        return r->status = tm_fail(r->ctx, TM_E_LIMIT, r->raw_bytes,
                                   "the headers exceed the cap of %zu bytes", r->max_header_bytes);
      if (piece > left) piece = (size_t)left;
    }
    tm_status status = execute(r, at, piece);
    if (status != TM_OK) return r->status = status;
    at += piece;
    size -= piece;
  }
  return TM_OK;
}

tm_status tm_http_response_end(tm_http_response *r) {
  if (r->done) return TM_OK;
  if (r->status != TM_OK) return r->status;
  if (r->raw_bytes == 0)
    return tm_fail(r->ctx, TM_E_IO, 0, "closed the connection without an answer");
  llhttp_errno_t code = llhttp_finish(&r->parser);
  if (r->done) return TM_OK;
  if (r->status != TM_OK) return r->status;
  (void)code;
  if (!r->head_done)
    return tm_fail(r->ctx, TM_E_IO, r->raw_bytes, "closed early within the headers, at byte %llu",
                   (unsigned long long)r->raw_bytes);
  if (r->length_bytes != TM_HTTP_NO_LENGTH)
    return tm_fail(r->ctx, TM_E_IO, r->body_bytes, "closed early at byte %llu of %llu",
                   (unsigned long long)r->body_bytes, (unsigned long long)r->length_bytes);
  return tm_fail(r->ctx, TM_E_IO, r->body_bytes, "closed early at byte %llu, before the last chunk",
                 (unsigned long long)r->body_bytes);
}

// A head that was cut may end within a name or a value: such a rest is not looked at.
const char *tm_http_head_find(const tm_bytes *head, const char *name) {
  size_t at = 0, ends[2];
  while (at < head->size) {
    const char *text = (const char *)head->data + at;
    for (int i = 0; i < 2; i++) {
      const char *end = memchr(head->data + at, 0, head->size - at);
      if (!end) return NULL;
      ends[i] = at = (size_t)(end + 1 - (const char *)head->data);
    }
    if (strcasecmp(text, name) == 0) return (const char *)head->data + ends[0];
  }
  return NULL;
}
