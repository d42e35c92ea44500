// Between the call (deadlines, parsing, redirects) and its two ways to move bytes: plain sockets
// and TLS. Not for users of the floor.
#ifndef TM_NET_HTTP_IMPL_H
#define TM_NET_HTTP_IMPL_H

#include "base/clock.h"
#include "net/http_client.h"

// A way to move bytes. Its state is allocated by open and freed before tm_http_on_closed.
typedef struct tm_http_transport {
  // Starts to connect; answers by tm_http_on_open, or by tm_http_on_failure.
  void (*open)(tm_http_call *call);
  // Connecting takes too long: true when it goes on with another address instead.
  bool (*try_next)(tm_http_call *call);
  // Gives everything back, at any stage, also after a failed open; answers once by
  // tm_http_on_closed, at once or later.
  void (*close)(tm_http_call *call);
} tm_http_transport;

extern const tm_http_transport tm_http_plain;
extern const tm_http_transport tm_http_tls; // NULL members without libcurl

typedef enum tm_http_stage {
  TM_HTTP_STARTING,
  TM_HTTP_RESOLVING,
  TM_HTTP_CONNECTING,
  TM_HTTP_WAITING, // connected; the first byte has not come
  TM_HTTP_READING,
  TM_HTTP_ENDED, // nothing is reported any more
} tm_http_stage;

struct tm_http_call {
  tm_ctx ctx; // the call's own error and allocator
  uv_loop_t *loop;
  const tm_http_transport *transport;
  void *transport_state; // NULL = not open
  tm_http_stage stage;
  bool redirecting, timer_closed, transport_closing, transport_closed;
  tm_url url;
  char *method, *host_header, *ca_file; // host_header, ca_file may be NULL
  tm_bytes fields;                      // the caller's headers as lines
  tm_bytes body;
  tm_bytes head; // the request as it is sent, without body
  uint64_t connect_timeout_ns, first_byte_timeout_ns, idle_timeout_ns;
  uint64_t total_timeout_ns;
  tm_http_body_fn on_body;
  tm_http_answer_fn on_answer;
  void *on_body_ud;
  tm_http_done_fn done;
  void *done_ud;
  tm_http_response response;
  tm_http_result result;
  uv_timer_t timer;
  uint64_t start_ns, stage_ns;                 // monotone clock
  uint64_t stage_deadline_ns, all_deadline_ns; // monotone clock
};

// The transport enters resolving or connecting: measures, and sets the deadline.
void tm_http_enter(tm_http_call *call, tm_http_stage stage);

// The transport is connected: it now sends call->head and call->body and reads.
void tm_http_on_open(tm_http_call *call);

// Bytes of the answer. False = stop reading: the call has ended or moves on.
bool tm_http_on_bytes(tm_http_call *call, const void *data, size_t size);

// The peer closed its side; nothing more comes.
void tm_http_on_eof(tm_http_call *call);

// It failed; recorded in call->ctx by tm_fail before.
void tm_http_on_failure(tm_http_call *call);

// Everything that open made is gone.
void tm_http_on_closed(tm_http_call *call);

// Records what a libuv error means for the user: "http://h:1: cannot connect: connection refused".
void tm_http_fail_uv(tm_http_call *call, int uv_error, const char *what);

#endif
