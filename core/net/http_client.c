// A call is one small state machine: start, resolve, connect, wait, read, end. Its transport moves
// bytes, http_response.c understands them; here are deadlines, redirects and the end. One timer
// serves all deadlines: it fires at the earlier of stage and total, and is moved on when bytes have
// come in between. Memory is given back only when the timer and the transport have both closed, so
// that cancelling is right at every stage, also from inside a callback.
#include "base/units.h"
#include "net/http_impl.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MS_NS     1000000ull
#define SECOND_NS 1000000000ull

enum { HEADER_LINE_MAX = 8192 };

static void free_call(tm_http_call *call) {
  tm_ctx ctx = call->ctx;
  if (call->method) tm_free(&ctx, call->method, strlen(call->method) + 1);
  if (call->host_header) tm_free(&ctx, call->host_header, strlen(call->host_header) + 1);
  if (call->ca_file) tm_free(&ctx, call->ca_file, strlen(call->ca_file) + 1);
  tm_bytes_free(&ctx, &call->fields);
  tm_bytes_free(&ctx, &call->body);
  tm_bytes_free(&ctx, &call->head);
  tm_http_response_fini(&call->response);
  tm_http_result_free(&ctx, &call->result);
  tm_free(&ctx, call, sizeof *call);
}

static void free_when_closed(tm_http_call *call) {
  if (call->timer_closed && call->transport_closed) free_call(call);
}

static void on_timer_closed(uv_handle_t *handle) {
  tm_http_call *call = handle->data;
  call->timer_closed = true;
  free_when_closed(call);
}

static void close_transport(tm_http_call *call) {
  if (call->transport_closing) return; // of a redirect that is cancelled meanwhile
  call->transport_closing = true;
  call->transport->close(call);
}

// The transport may answer at once, the timer never does: the call outlives this function.
static void release(tm_http_call *call) {
  call->stage = TM_HTTP_ENDED;
  call->redirecting = false;
  uv_close((uv_handle_t *)&call->timer, on_timer_closed);
  close_transport(call);
}

static void finish(tm_http_call *call, tm_status status) {
  char origin[TM_URL_ORIGIN_MAX];
  tm_http_result *result = &call->result;
  if (call->stage == TM_HTTP_ENDED) return;
  call->stage = TM_HTTP_ENDED;
  result->status = status;
  if (status != TM_OK) {
    tm_fail_in(&call->ctx, "%s", tm_url_origin(&call->url, origin));
    snprintf(result->message, sizeof result->message, "%s", call->ctx.error.message);
  }
  result->http_status = call->response.http_status;
  result->body_bytes = call->response.body_bytes;
  result->head = call->response.head;
  result->body = call->response.body;
  call->response.head = call->response.body = (tm_bytes){0};
  result->total_ns = tm_clock_mono_ns() - call->start_ns;
  call->done(call->done_ud, result);
  release(call);
}

static void arm(tm_http_call *call);

// Says what took too long, after how much time.
static void fail_late(tm_http_call *call, bool total) {
  static const char *const doing[] = {"before the start", "while resolving the name",
                                      "while connecting", "while waiting for the first byte", ""};
  char limit[32];
  uint64_t ns = total                            ? call->total_timeout_ns
                : call->stage == TM_HTTP_READING ? call->idle_timeout_ns
                : call->stage == TM_HTTP_WAITING ? call->first_byte_timeout_ns
                                                 : call->connect_timeout_ns;
  const char *what = total ? "for the whole request" : "of silence";
  tm_format_value(limit, sizeof limit, TM_UNIT_NS, (double)ns);
  if (call->stage == TM_HTTP_READING)
    tm_fail(&call->ctx, TM_E_TIMEOUT, call->response.body_bytes,
            "timed out after %s %s, %s byte %llu", limit, what,
            call->response.head_done ? "at body" : "within the headers, at",
            (unsigned long long)(call->response.head_done ? call->response.body_bytes
                                                          : call->response.raw_bytes));
  else
    tm_fail(&call->ctx, TM_E_TIMEOUT, TM_NO_OFFSET, "timed out after %s %s%s", limit,
            total ? "for the whole request, " : "", doing[call->stage]);
}

static void on_timer(uv_timer_t *timer) {
  tm_http_call *call = timer->data;
  uint64_t now_ns = tm_clock_mono_ns();
  if (call->stage == TM_HTTP_ENDED) return;
  if (call->stage == TM_HTTP_STARTING) {
    tm_http_enter(call, TM_HTTP_CONNECTING);
    call->transport->open(call);
    return;
  }
  bool total = now_ns >= call->all_deadline_ns;
  if (!total && now_ns < call->stage_deadline_ns) {
    arm(call);
    return;
  }
  if (!total && call->stage == TM_HTTP_CONNECTING && call->transport->try_next(call)) return;
  fail_late(call, total);
  finish(call, TM_E_TIMEOUT);
}

static void arm(tm_http_call *call) {
  uint64_t now_ns = tm_clock_mono_ns();
  uint64_t at_ns = call->stage_deadline_ns;
  if (call->all_deadline_ns < at_ns) at_ns = call->all_deadline_ns;
  uint64_t ms = at_ns > now_ns ? (at_ns - now_ns + MS_NS - 1) / MS_NS : 0;
  uv_timer_start(&call->timer, on_timer, ms, 0);
}

static uint64_t add_ns(uint64_t a, uint64_t b) {
  return b > UINT64_MAX / 2 - a ? UINT64_MAX / 2 : a + b;
}

void tm_http_enter(tm_http_call *call, tm_http_stage stage) {
  uint64_t now_ns = tm_clock_mono_ns(), spent_ns = now_ns - call->stage_ns, limit_ns;
  if (call->stage == TM_HTTP_RESOLVING) call->result.dns_ns = spent_ns;
  if (call->stage == TM_HTTP_CONNECTING) call->result.connect_ns = spent_ns;
  if (call->stage == TM_HTTP_WAITING) call->result.first_byte_ns = spent_ns;
  switch (stage) {
  case TM_HTTP_WAITING:
    limit_ns = call->first_byte_timeout_ns;
    break;
  case TM_HTTP_READING:
    limit_ns = call->idle_timeout_ns;
    break;
  default:
    limit_ns = call->connect_timeout_ns;
  }
  call->stage = stage;
  call->stage_ns = now_ns;
  call->stage_deadline_ns = add_ns(now_ns, limit_ns);
  arm(call);
}

void tm_http_on_open(tm_http_call *call) {
  tm_http_enter(call, TM_HTTP_WAITING);
}

void tm_http_on_failure(tm_http_call *call) {
  finish(call, call->ctx.error.status);
}

void tm_http_fail_uv(tm_http_call *call, int uv_error, const char *what) {
  tm_status status = TM_E_IO;
  const char *hint = "";
  if (uv_error == UV_ECONNREFUSED || uv_error == UV_ENOENT) {
    status = TM_E_GONE;
    hint = ": nothing listens there";
  } else if (uv_error == UV_ECONNRESET || uv_error == UV_EPIPE) {
    status = TM_E_GONE;
  } else if (uv_error == UV_EACCES || uv_error == UV_EPERM) {
    status = TM_E_PERM;
  } else if (uv_error == UV_ETIMEDOUT) {
    status = TM_E_TIMEOUT;
  } else if (uv_error == UV_EAGAIN) { // a unix socket whose queue is full
    status = TM_E_BUSY;
  } else if (uv_error == UV_ENOMEM) {
    status = TM_E_NOMEM;
  }
  tm_fail(&call->ctx, status, TM_NO_OFFSET, "%s: %s%s", what, uv_strerror(uv_error), hint);
}

// Closes this connection and starts anew; open follows in tm_http_on_closed.
static bool follow_redirect(tm_http_call *call) {
  tm_http_response_fini(&call->response);
  call->redirecting = true;
  call->stage = TM_HTTP_STARTING;
  uv_timer_stop(&call->timer);
  close_transport(call);
  return false;
}

bool tm_http_on_bytes(tm_http_call *call, const void *data, size_t size) {
  if (call->stage == TM_HTTP_WAITING) tm_http_enter(call, TM_HTTP_READING);
  call->stage_deadline_ns = add_ns(tm_clock_mono_ns(), call->idle_timeout_ns);
  tm_status status = tm_http_response_feed(&call->response, data, size);
  if (call->redirecting) return follow_redirect(call);
  if (status == TM_OK && !call->response.done) return true;
  finish(call, status);
  return false;
}

void tm_http_on_eof(tm_http_call *call) {
  tm_status status = tm_http_response_end(&call->response);
  finish(call, status);
}

static bool is_redirect(uint32_t http_status) {
  return (http_status >= 301 && http_status <= 303) || http_status == 307 || http_status == 308;
}

// A body is not sent twice on a guess: only 307 and 308 promise that the method stays.
static bool may_follow(const tm_http_call *call) {
  bool reading = strcmp(call->method, "GET") == 0 || strcmp(call->method, "HEAD") == 0;
  return is_redirect(call->response.http_status) && (reading || call->response.http_status >= 307)
         && tm_http_head_find(&call->response.head, "location");
}

static tm_status stopped(tm_http_call *call, tm_status status) {
  if (call->stage == TM_HTTP_ENDED) return TM_E_CANCELLED;
  if (status == TM_OK) return TM_OK;
  return tm_fail(&call->ctx, status, call->response.body_bytes,
                 "the reader of the body stopped at byte %llu",
                 (unsigned long long)call->response.body_bytes);
}

static tm_status tell_answer(tm_http_call *call) {
  if (!call->on_answer) return TM_OK;
  return stopped(call, call->on_answer(call->on_body_ud, &call->response));
}

static tm_status copy_text(tm_ctx *ctx, const char *text, char **out) {
  if (!text) return TM_OK;
  size_t size = strlen(text) + 1;
  char *copy = tm_alloc(ctx, size);
  if (!copy) return TM_E_NOMEM;
  memcpy(copy, text, size);
  *out = copy;
  return TM_OK;
}

// Servers on unix sockets (Caddy's admin) may refuse any host name, since the socket has none: such
// a refusal is answered by asking once more with an empty Host.
static bool must_hide_host(tm_http_call *call) {
  if (call->url.scheme != TM_URL_UNIX || call->host_header || call->response.http_status != 403
      || (strcmp(call->method, "GET") != 0 && strcmp(call->method, "HEAD") != 0))
    return false;
  return copy_text(&call->ctx, "", &call->host_header) == TM_OK;
}

static tm_status on_head(void *ud) {
  tm_http_call *call = ud;
  tm_url next;
  if (must_hide_host(call)) {
    call->redirecting = true;
    return TM_E_CANCELLED; // ends this answer; tm_http_on_bytes asks anew
  }
  if (!may_follow(call)) return tell_answer(call);
  const char *location = tm_http_head_find(&call->response.head, "location");
  tm_status status = tm_url_resolve(&call->ctx, &call->url, location, &next);
  if (status != TM_OK) {
    call->ctx.error.status = TM_E_FORMAT;
    tm_fail_in(&call->ctx, "redirected to a place that cannot be read");
    return TM_E_FORMAT;
  }
  if (!tm_url_same_origin(&call->url, &next)) {
    char origin[TM_URL_ORIGIN_MAX];
    return tm_fail(
        &call->ctx, TM_E_IO, TM_NO_OFFSET,
        "redirected to %s: not followed to another host; give that address if it is meant",
        tm_url_origin(&next, origin));
  }
  if (call->result.redirects_count == TM_HTTP_MAX_REDIRECTS)
    return tm_fail(&call->ctx, TM_E_LIMIT, TM_NO_OFFSET, "redirected more than %d times",
                   TM_HTTP_MAX_REDIRECTS);
  call->result.redirects_count++;
  call->url = next;
  call->redirecting = true;
  return TM_E_CANCELLED; // ends this answer; tm_http_on_bytes goes on
}

static tm_status take_body(void *ud, const uint8_t *data, size_t size) {
  tm_http_call *call = ud;
  return stopped(call, call->on_body(call->on_body_ud, data, size));
}

// A fresh answer with the caps and callbacks of the one before.
static void reset_response(tm_http_call *call) {
  size_t max_header_bytes = call->response.max_header_bytes;
  uint64_t max_body_bytes = call->response.max_body_bytes;
  tm_http_response_init(&call->ctx, &call->response);
  call->response.max_header_bytes = max_header_bytes;
  call->response.max_body_bytes = max_body_bytes;
  call->response.no_body = strcmp(call->method, "HEAD") == 0;
  call->response.on_head = on_head;
  call->response.on_body = call->on_body ? take_body : NULL;
  call->response.ud = call;
}

static tm_status write_head(tm_http_call *call) {
  char host[TM_URL_ORIGIN_MAX];
  tm_bytes *out = &call->head;
  out->size = 0;
  const char *name = call->host_header ? call->host_header : tm_url_host_header(&call->url, host);
  TM_TRY(tm_bytes_printf(&call->ctx, out, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n",
                         call->method, call->url.target, name));
  if (call->body.size || strcmp(call->method, "POST") == 0 || strcmp(call->method, "PUT") == 0)
    TM_TRY(tm_bytes_printf(&call->ctx, out, "Content-Length: %zu\r\n", call->body.size));
  TM_TRY(tm_bytes_append(&call->ctx, out, call->fields.data, call->fields.size));
  return tm_bytes_append(&call->ctx, out, "\r\n", 2);
}

void tm_http_on_closed(tm_http_call *call) {
  call->transport_closing = false;
  if (call->stage == TM_HTTP_ENDED) {
    call->transport_closed = true;
    free_when_closed(call);
    return;
  }
  tm_ctx_clear(&call->ctx);
  call->redirecting = false;
  call->result.dns_ns = call->result.connect_ns = call->result.first_byte_ns = 0;
  reset_response(call);
  if (write_head(call) != TM_OK) {
    finish(call, TM_E_NOMEM);
    return;
  }
  uv_timer_start(&call->timer, on_timer, 0, 0);
}

static bool is_token(const char *text) {
  size_t n = strspn(text, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                          "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  return n && !text[n];
}

static bool is_line(const char *text) {
  for (; *text; text++)
    if ((uint8_t)*text < ' ' && *text != '\t') return false;
  return true;
}

static tm_status copy_header(tm_ctx *ctx, const tm_http_header *h, size_t place, tm_bytes *out) {
  static const char *const ours[] = {"Host", "Connection", "Content-Length", "Transfer-Encoding"};
  if (!is_token(h->name) || !is_line(h->value))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                   "header %zu is not sendable: a name is letters and -, a value is one line",
                   place);
  for (size_t k = 0; k < sizeof ours / sizeof *ours; k++)
    if (strcasecmp(h->name, ours[k]) == 0)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "header %s is set by the client%s", h->name,
                     k == 0 ? ": use host_header" : "");
  return tm_bytes_printf(ctx, out, "%s: %s\r\n", h->name, h->value);
}

// One line of header_lines, cut into its parts in place.
static tm_status copy_header_line(tm_ctx *ctx, char *line, size_t place, tm_http_call *call) {
  char *colon = strchr(line, ':');
  if (!colon) return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "header line %zu has no colon", place);
  *colon = '\0';
  const tm_http_header h = {line, colon + 1 + strspn(colon + 1, " \t")};
  if (strcasecmp(line, "Host") != 0) return copy_header(ctx, &h, place, &call->fields);
  if (call->host_header || !is_line(h.value))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the Host header must be one, and one line");
  return copy_text(ctx, h.value, &call->host_header);
}

static tm_status copy_headers(tm_ctx *ctx, const tm_http_request *request, tm_http_call *call) {
  char line[HEADER_LINE_MAX];
  size_t place = 0;
  for (; place < request->header_count; place++)
    TM_TRY(copy_header(ctx, &request->headers[place], place, &call->fields));
  for (const char *at = request->header_lines; at && *at; place++) {
    size_t size = strcspn(at, "\n");
    if (size >= sizeof line)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "header line %zu is over %d bytes", place,
                     HEADER_LINE_MAX - 1);
    memcpy(line, at, size);
    line[size] = '\0';
    if (size) TM_TRY(copy_header_line(ctx, line, place, call));
    at += size + (at[size] == '\n');
  }
  return TM_OK;
}

static uint64_t or_default(uint64_t value, uint64_t standard) {
  return value ? value : standard;
}

static tm_status check_request(tm_ctx *ctx, const tm_http_request *request, const tm_url *url) {
  const char *method = request->method;
  if (url->scheme == TM_URL_HTTPS && !tm_http_has_tls())
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "https needs a build with libcurl (cmake -DTM_TLS=ON, package "
                   "libcurl4-openssl-dev); use http:// or a unix socket");
  if (method && (!is_token(method) || strcmp(method, "CONNECT") == 0))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the method is not one that can be sent");
  if (request->host_header && !is_line(request->host_header))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the Host header must be one line");
  if (request->body_bytes > 1u << 30)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "a request's body has at most 1 GiB");
  return TM_OK;
}

static void fill_limits(tm_http_call *call, const tm_http_request *request) {
  call->connect_timeout_ns = or_default(request->connect_timeout_ns, 5 * SECOND_NS);
  call->first_byte_timeout_ns = or_default(request->first_byte_timeout_ns, 30 * SECOND_NS);
  call->idle_timeout_ns = or_default(request->idle_timeout_ns, 30 * SECOND_NS);
  call->total_timeout_ns = or_default(request->total_timeout_ns, 300 * SECOND_NS);
  call->response.max_header_bytes = (size_t)or_default(request->max_header_bytes, 16384);
  call->response.max_body_bytes = or_default(request->max_body_bytes, 256ull << 20);
}

// Copies the request; what was copied so far is freed by the caller when this fails.
static tm_status fill_call(tm_ctx *ctx, const tm_http_request *request, tm_http_call *call) {
  TM_TRY(tm_url_parse(ctx, request->url, &call->url));
  TM_TRY(check_request(ctx, request, &call->url));
  TM_TRY(copy_text(ctx, request->method ? request->method : "GET", &call->method));
  TM_TRY(copy_text(ctx, request->host_header, &call->host_header));
  TM_TRY(copy_text(ctx, request->ca_file, &call->ca_file));
  TM_TRY(copy_headers(ctx, request, call));
  TM_TRY(tm_bytes_append(ctx, &call->body, request->body, request->body_bytes));
  call->on_body = request->on_body;
  call->on_answer = request->on_answer;
  call->on_body_ud = request->on_body_ud;
  fill_limits(call, request);
  reset_response(call);
  if (write_head(call) != TM_OK)
    return tm_fail(ctx, call->ctx.error.status, TM_NO_OFFSET, "%s", call->ctx.error.message);
  return TM_OK;
}

tm_status tm_http_start(tm_ctx *ctx, uv_loop_t *loop, const tm_http_request *request,
                        tm_http_done_fn done, void *ud, tm_http_call **out) {
  tm_http_call *call = tm_calloc(ctx, 1, sizeof *call);
  if (!call) return TM_E_NOMEM;
  tm_ctx_init(&call->ctx, &ctx->alloc);
  tm_http_response_init(&call->ctx, &call->response);
  call->loop = loop;
  call->done = done;
  call->done_ud = ud;
  tm_status status = fill_call(ctx, request, call);
  if (status != TM_OK) {
    free_call(call);
    return status;
  }
  call->transport = call->url.scheme == TM_URL_HTTPS ? &tm_http_tls : &tm_http_plain;
  uv_timer_init(loop, &call->timer); // cannot fail
  call->timer.data = call;
  call->start_ns = call->stage_ns = tm_clock_mono_ns();
  call->all_deadline_ns = add_ns(call->start_ns, call->total_timeout_ns);
  uv_update_time(loop);
  uv_timer_start(&call->timer, on_timer, 0, 0);
  if (out) *out = call;
  return TM_OK;
}

void tm_http_cancel(tm_http_call *call) {
  if (!call || call->stage == TM_HTTP_ENDED) return;
  release(call);
}

const char *tm_http_result_header(const tm_http_result *result, const char *name) {
  return tm_http_head_find(&result->head, name);
}

void tm_http_result_free(tm_ctx *ctx, tm_http_result *result) {
  tm_bytes_free(ctx, &result->head);
  tm_bytes_free(ctx, &result->body);
}
