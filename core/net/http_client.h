// One HTTP/1.1 request on a libuv loop: TCP, unix sockets, and https when built with libcurl.
// Reads an app's /debug/pprof, /debug/vars, /metrics; posts webhooks. Never blocks the loop.
// All calls from the loop's thread, except tm_http_fetch, which runs a loop of its own.
#ifndef TM_NET_HTTP_CLIENT_H
#define TM_NET_HTTP_CLIENT_H

#include "net/http_response.h"
#include "net/url.h"

#include <uv.h>

enum { TM_HTTP_MAX_REDIRECTS = 5 };

typedef struct tm_http_header {
  const char *name, *value;
} tm_http_header;

// The answer's headers are in (answer->http_status, length_bytes; head by tm_http_head_find),
// before any body byte. Anything but TM_OK ends the call with that status. Never sees redirects.
typedef tm_status (*tm_http_answer_fn)(void *ud, const tm_http_response *answer);

// What to ask for; zeroed fields mean the defaults named. Everything is copied by tm_http_start.
typedef struct tm_http_request {
  const char *url;               // as tm_url_parse reads it
  const char *method;            // NULL = GET; capital letters
  const tm_http_header *headers; // beyond Host, Connection, Content-Length, which are ours
  size_t header_count;
  const char *header_lines; // more of them as "Name: value\n" lines, which may choose the Host;
                            // NULL = none
  const void *body;         // NULL = none
  size_t body_bytes;
  const char *host_header;        // NULL = from the URL, empty for a unix socket that refuses that;
                                  // "" is sent empty
  const char *ca_file;            // https: PEM file of trusted roots; NULL = the system's
  uint64_t connect_timeout_ns;    // name, and again each address; 0 = 5 s
  uint64_t first_byte_timeout_ns; // from connected to the answer's first byte; 0 = 30 s
  uint64_t idle_timeout_ns;       // between two pieces of the answer; 0 = 30 s
  uint64_t total_timeout_ns;      // everything, redirects included; 0 = 5 min
  size_t max_header_bytes;        // 0 = 16 KiB
  uint64_t max_body_bytes;        // 0 = 256 MiB; as it travels (content codings are not undone)
  tm_http_body_fn on_body;        // NULL = collected in the result; never sees redirects' bodies
  tm_http_answer_fn on_answer;    // NULL = not wanted
  void *on_body_ud;               // of on_body and on_answer
} tm_http_request;

// How it went. status TM_OK = an answer came in whole, whatever its http_status. Else message says
// what failed and where: TM_E_GONE nobody listens, TM_E_TIMEOUT, TM_E_LIMIT a cap, TM_E_FORMAT not
// HTTP, TM_E_IO closed early or unresolvable, TM_E_PERM, TM_E_UNSUPPORTED; http_status, head and
// body then hold what had arrived.
typedef struct tm_http_result {
  tm_status status;
  char message[480];                          // "" when status is TM_OK
  uint32_t http_status;                       // 0 = no headers arrived
  uint32_t redirects_count;                   // followed
  tm_bytes head;                              // headers: tm_http_result_header
  tm_bytes body;                              // empty with on_body
  uint64_t body_bytes;                        // that arrived, also with on_body
  uint64_t dns_ns, connect_ns, first_byte_ns; // each part of the last hop alone
  uint64_t total_ns;                          // from start to done
} tm_http_result;

typedef struct tm_http_call tm_http_call;

// The end of a call, from the loop. The result dies after it; who wants to keep it copies the
// struct and zeroes *result, and frees the copy by tm_http_result_free.
typedef void (*tm_http_done_fn)(void *ud, tm_http_result *result);

// Starts a request. done is called exactly once, from the loop, never from within this call, unless
// tm_http_cancel comes first. Fails at once (and done is not called) for a bad address, method or
// header (TM_E_ARG), https without libcurl (TM_E_UNSUPPORTED), TM_E_NOMEM. The ctx is used during
// this call only; its allocator until the call is gone. The call frees itself after done; the loop
// must run until then. out may be NULL.
TM_NODISCARD tm_status tm_http_start(tm_ctx *ctx, uv_loop_t *loop, const tm_http_request *request,
                                     tm_http_done_fn done, void *ud, tm_http_call **out);

// Ends a call without done: after it neither done nor on_body is called, so that their ud may be
// freed. Allowed until done was called, also from on_body. NULL is fine. Cancel what is running,
// then run the loop once more to its end, before uv_loop_close.
void tm_http_cancel(tm_http_call *call);

// Does one request and waits for it, on a private loop. TM_OK = an answer came in whole; else the
// error is in ctx too. result must be freed in either case. ctx->cancel is looked at every 50 ms.
// Any thread, blocking; on_body is called from this thread.
TM_NODISCARD tm_status tm_http_fetch(tm_ctx *ctx, const tm_http_request *request,
                                     tm_http_result *result);

// A header of the answer (any case), or NULL.
const char *tm_http_result_header(const tm_http_result *result, const char *name);

// With a ctx of the same allocator. A zeroed result is fine.
void tm_http_result_free(tm_ctx *ctx, tm_http_result *result);

// False: https answers TM_E_UNSUPPORTED in this build.
bool tm_http_has_tls(void);

#endif
