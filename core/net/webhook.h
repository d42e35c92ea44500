// Posts JSON to one address and tries again until the receiver takes it: a bounded queue, one
// request at a time, full-jitter backoff. Never blocks; a hanging receiver costs one timer.
// All calls from the loop's thread.
#ifndef TM_NET_WEBHOOK_H
#define TM_NET_WEBHOOK_H

#include "net/http_client.h"

typedef struct tm_webhook_options { // zeroed fields mean the defaults named
  const tm_http_header *headers;    // beyond Content-Type; copied
  size_t header_count;
  const char *ca_file;         // as in tm_http_request; copied
  uint32_t max_queue_count;    // 0 = 256; when full the oldest (not under way) is dropped
  uint64_t timeout_ns;         // of one try; 0 = 10 s
  uint64_t backoff_base_ns;    // 0 = 1 s: try n waits a random part of base * 2^n …
  uint64_t backoff_max_ns;     // … but of no more than this; 0 = 5 min
  uint64_t retry_after_max_ns; // what a Retry-After may ask for; 0 = 1 h
  uint32_t max_tries;          // then it counts as dropped; 0 = until newer ones push it out
  uint64_t seed;               // of the jitter; 0 = from the clock
} tm_webhook_options;

typedef struct tm_webhook_stats {
  uint64_t posted_count;  // taken by tm_webhook_post
  uint64_t sent_count;    // answered with 2xx
  uint64_t retried_count; // tries after the first
  uint64_t dropped_count; // pushed out by newer ones, out of tries, or left at close
  uint64_t refused_count; // answered with 3xx or 4xx (but 408, 429): never tried again
  uint32_t queued_count;  // waiting now, the one under way included
  uint32_t last_http_status;
  char last_error[480]; // "" when the last try was taken
} tm_webhook_stats;

typedef struct tm_webhook tm_webhook;

// left_count = what is still queued (flush) or was dropped (close).
typedef void (*tm_webhook_done_fn)(void *ud, uint64_t left_count);

// Makes a sender; the address is checked now (TM_E_ARG, TM_E_UNSUPPORTED), not whether anybody
// listens. options NULL = defaults. The ctx is used during this call and its allocator until the
// end; tm_webhook_close ends it.
TM_NODISCARD tm_status tm_webhook_new(tm_ctx *ctx, uv_loop_t *loop, const char *url,
                                      const tm_webhook_options *options, tm_webhook **out);

// Queues a copy of the JSON. Delivery is at least once: a receiver that hangs after it has taken an
// event sees it again. TM_E_NOMEM; TM_E_LIMIT over 1 MiB; TM_E_GONE after close.
TM_NODISCARD tm_status tm_webhook_post(tm_ctx *ctx, tm_webhook *hook, const void *json,
                                       size_t json_bytes);

// Calls done when the queue is empty, or after grace_ns, whichever comes first; always from the
// loop. Something that waits for its backoff is tried at once (but a Retry-After is respected).
// TM_E_BUSY while another flush or close is waited for.
TM_NODISCARD tm_status tm_webhook_flush(tm_ctx *ctx, tm_webhook *hook, uint64_t grace_ns,
                                        tm_webhook_done_fn done, void *ud);

// The same, then drops what is left and frees the hook; done (may be NULL) is its last call, and
// may read tm_webhook_stats_of. A flush that is waited for is answered first. Once only.
void tm_webhook_close(tm_webhook *hook, uint64_t grace_ns, tm_webhook_done_fn done, void *ud);

// Valid until the next call.
const tm_webhook_stats *tm_webhook_stats_of(tm_webhook *hook);

// What a Retry-After header asks for from now_wall_ns on (ns since the epoch): seconds or an
// IMF-fixdate; a date that is past gives 0. False = neither. Source: RFC 9110 §10.2.3, §5.6.7.
bool tm_http_retry_after(const char *value, int64_t now_wall_ns, uint64_t *out_ns);

#endif
