// Bytes over TLS. libcurl only resolves, connects and encrypts (CURLOPT_CONNECT_ONLY): request,
// answer, caps and redirects are the same code as for plain sockets. While it connects, curl_multi
// names sockets and a timeout, which uv_poll and uv_timer serve; afterwards one uv_poll on its
// active socket drives curl_easy_send and curl_easy_recv. Without libcurl the table is empty and
// tm_http_start refuses https before it gets here.
#include "net/http_impl.h"

#ifndef TM_HAVE_CURL

const tm_http_transport tm_http_tls = {NULL, NULL, NULL};

bool tm_http_has_tls(void) {
  return false;
}

#else

#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

// Sockets while connecting: addresses raced, and the resolver's wake-up.
enum { READ_BYTES = 65536, READS_PER_TURN = 16, WATCHES = 8 };

typedef struct tls tls;

typedef struct watch { // one socket that curl waits for
  uv_poll_t poll;
  tls *owner;
  curl_socket_t fd;
} watch;

struct tls {
  tm_http_call *call;
  CURLM *multi;
  CURL *easy;
  uv_timer_t timer;
  uint32_t open_count; // uv handles that have not closed
  bool closing, connected;
  watch *data; // the connected socket
  size_t sent_bytes;
  watch *watches[WATCHES];
  char error[CURL_ERROR_SIZE];
  uint8_t buffer[READ_BYTES];
};

// OpenSSL writes without MSG_NOSIGNAL. SIGPIPE is held back in this thread around curl's calls and
// swallowed, so that the host's own handling is never touched.
static bool hold_sigpipe(sigset_t *old) {
  sigset_t pipe_set, pending;
  sigemptyset(&pipe_set);
  sigaddset(&pipe_set, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &pipe_set, old);
  return sigismember(&pending, SIGPIPE) == 1;
}

static void release_sigpipe(const sigset_t *old, bool was_pending) {
  const struct timespec now = {0, 0};
  sigset_t pipe_set;
  sigemptyset(&pipe_set);
  sigaddset(&pipe_set, SIGPIPE);
  if (!was_pending)
    while (sigtimedwait(&pipe_set, NULL, &now) < 0 && errno == EINTR) {
    }
  pthread_sigmask(SIG_SETMASK, old, NULL);
}

static void free_when_idle(tls *t) {
  tm_http_call *call = t->call;
  if (t->open_count) return;
  tm_free(&call->ctx, t, sizeof *t);
  call->transport_state = NULL;
  tm_http_on_closed(call);
}

static void on_watch_closed(uv_handle_t *handle) {
  watch *w = handle->data;
  tls *t = w->owner;
  tm_free(&t->call->ctx, w, sizeof *w);
  t->open_count--;
  if (t->closing) free_when_idle(t);
}

static void on_timer_closed(uv_handle_t *handle) {
  tls *t = handle->data;
  t->open_count--;
  if (t->closing) free_when_idle(t);
}

static watch *add_watch(tls *t, curl_socket_t fd) {
  watch *w = tm_calloc(&t->call->ctx, 1, sizeof *w);
  if (!w) return NULL;
  w->owner = t;
  w->fd = fd;
  w->poll.data = w;
  int error = uv_poll_init_socket(t->call->loop, &w->poll, fd);
  if (error) {
    tm_free(&t->call->ctx, w, sizeof *w);
    tm_http_fail_uv(t->call, error, "cannot watch the connection");
    return NULL;
  }
  w->poll.data = w;
  t->open_count++;
  return w;
}

static void drop_watch(watch *w) {
  uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

// Records libcurl's reason. A bad certificate is a matter of trust, not of the network.
static void fail_curl(tls *t, CURLcode code, const char *what) {
  const char *reason = t->error[0] ? t->error : curl_easy_strerror(code);
  tm_status status = TM_E_IO;
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
    status = TM_E_PERM;
  if (code == CURLE_COULDNT_CONNECT) status = TM_E_GONE;
  if (code == CURLE_OPERATION_TIMEDOUT) status = TM_E_TIMEOUT;
  if (code == CURLE_OUT_OF_MEMORY) status = TM_E_NOMEM;
  tm_fail(&t->call->ctx, status, TM_NO_OFFSET, "%s: %s", what, reason);
  tm_http_on_failure(t->call);
}

// True = nothing more to send, or the peer reads no more (then its answer tells).
static bool send_rest(tls *t) {
  const tm_http_call *call = t->call;
  size_t head = call->head.size, total = head + call->body.size;
  while (t->sent_bytes < total) {
    bool in_head = t->sent_bytes < head;
    const uint8_t *at =
        in_head ? call->head.data + t->sent_bytes : call->body.data + (t->sent_bytes - head);
    size_t n = 0, left = in_head ? head - t->sent_bytes : total - t->sent_bytes;
    CURLcode code = curl_easy_send(t->easy, at, left, &n);
    if (code != CURLE_OK) return code != CURLE_AGAIN;
    t->sent_bytes += n;
  }
  return true;
}

static void on_data(uv_poll_t *poll, int error, int events);
static void on_more(uv_timer_t *timer);

// Reads until curl has nothing left, because decrypted bytes raise no event. After a full turn it
// comes back by the timer, so that other work of the loop has its share.
static void receive(tls *t) {
  for (int i = 0; i < READS_PER_TURN; i++) {
    size_t n = 0;
    CURLcode code = curl_easy_recv(t->easy, t->buffer, sizeof t->buffer, &n);
    if (code == CURLE_AGAIN) return;
    if (code != CURLE_OK) {
      fail_curl(t, code, "the connection broke");
      return;
    }
    if (n == 0) {
      tm_http_on_eof(t->call);
      return;
    }
    if (!tm_http_on_bytes(t->call, t->buffer, n) || t->closing) return;
  }
  uv_timer_start(&t->timer, on_more, 0, 0);
}

static void exchange(tls *t) {
  sigset_t old;
  if (t->closing) return;
  bool was_pending = hold_sigpipe(&old);
  bool all_sent = send_rest(t);
  uv_poll_start(&t->data->poll, all_sent ? UV_READABLE : UV_READABLE | UV_WRITABLE, on_data);
  receive(t);
  release_sigpipe(&old, was_pending);
}

static void on_more(uv_timer_t *timer) {
  exchange(timer->data);
}

static void on_data(uv_poll_t *poll, int error, int events) {
  watch *w = poll->data;
  (void)events, (void)error; // curl meets the error itself
  exchange(w->owner);
}

static void take_times(tls *t) {
  curl_off_t dns_us = 0, connect_us = 0;
  curl_easy_getinfo(t->easy, CURLINFO_NAMELOOKUP_TIME_T, &dns_us);
  curl_easy_getinfo(t->easy, CURLINFO_APPCONNECT_TIME_T, &connect_us);
  tm_http_on_open(t->call);
  t->call->result.dns_ns = (uint64_t)dns_us * 1000;
  if (connect_us > dns_us) t->call->result.connect_ns = (uint64_t)(connect_us - dns_us) * 1000;
}

static void start_talking(tls *t) {
  curl_socket_t fd = CURL_SOCKET_BAD;
  t->connected = true;
  uv_timer_stop(&t->timer);
  for (size_t i = 0; i < WATCHES; i++) {
    if (t->watches[i]) drop_watch(t->watches[i]);
    t->watches[i] = NULL;
  }
  curl_easy_getinfo(t->easy, CURLINFO_ACTIVESOCKET, &fd);
  take_times(t);
  t->data = add_watch(t, fd);
  if (!t->data) {
    tm_http_on_failure(t->call);
    return;
  }
  exchange(t);
}

static void drive(tls *t, curl_socket_t fd, int action) {
  int running = 0, left = 0;
  sigset_t old;
  bool was_pending = hold_sigpipe(&old);
  curl_multi_socket_action(t->multi, fd, action, &running);
  release_sigpipe(&old, was_pending);
  const CURLMsg *message = curl_multi_info_read(t->multi, &left);
  if (!message || message->msg != CURLMSG_DONE || t->closing) return;
  if (message->data.result == CURLE_OK)
    start_talking(t);
  else
    fail_curl(t, message->data.result, "cannot connect");
}

static void on_event(uv_poll_t *poll, int error, int events) {
  watch *w = poll->data;
  int action = (events & UV_READABLE ? CURL_CSELECT_IN : 0)
               | (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0) | (error ? CURL_CSELECT_ERR : 0);
  if (!w->owner->closing && !w->owner->connected) drive(w->owner, w->fd, action);
}

static void on_timeout(uv_timer_t *timer) {
  tls *t = timer->data;
  if (!t->closing && !t->connected) drive(t, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *ud) { // NOLINT: curl's type
  tls *t = ud;
  (void)multi;
  if (t->closing || t->connected) return 0;
  if (timeout_ms < 0)
    uv_timer_stop(&t->timer);
  else
    uv_timer_start(&t->timer, on_timeout, (uint64_t)timeout_ms, 0);
  return 0;
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *ud, void *socket_ud) {
  tls *t = ud;
  watch **slot = t->watches, **end = slot + WATCHES;
  (void)easy, (void)socket_ud;
  if (t->closing || t->connected) return 0;
  while (slot < end && !(*slot && (*slot)->fd == fd)) slot++;
  if (what == CURL_POLL_REMOVE) {
    if (slot < end) drop_watch(*slot);
    if (slot < end) *slot = NULL;
    return 0;
  }
  if (slot == end) {
    for (slot = t->watches; slot < end && *slot;) slot++;
    if (slot == end) return -1;
    *slot = add_watch(t, fd);
    if (!*slot) return -1;
  }
  int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
  uv_poll_start(&(*slot)->poll, events, on_event);
  return 0;
}

// ALPN must not offer HTTP/2, which we do not speak. The deadlines are the call's: curl's own
// connect timeout stands behind them.
static CURLMcode set_up(tls *t) {
  char url[TM_URL_ORIGIN_MAX];
  const tm_http_call *call = t->call;
  curl_easy_setopt(t->easy, CURLOPT_URL, tm_url_origin(&call->url, url));
  curl_easy_setopt(t->easy, CURLOPT_CONNECT_ONLY, 1L);
  curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->error);
  if (call->ca_file) curl_easy_setopt(t->easy, CURLOPT_CAINFO, call->ca_file);
  curl_multi_setopt(t->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
  curl_multi_setopt(t->multi, CURLMOPT_SOCKETDATA, t);
  curl_multi_setopt(t->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
  curl_multi_setopt(t->multi, CURLMOPT_TIMERDATA, t);
  return curl_multi_add_handle(t->multi, t->easy);
}

static void open_tls(tm_http_call *call) {
  tls *t = tm_alloc(&call->ctx, sizeof *t);
  if (!t) {
    tm_http_on_failure(call);
    return;
  }
  memset(t, 0, offsetof(tls, buffer));
  t->call = call;
  call->transport_state = t;
  uv_timer_init(call->loop, &t->timer);
  t->timer.data = t;
  t->open_count = 1;
  tm_http_enter(call, TM_HTTP_CONNECTING);
  t->multi = curl_multi_init();
  t->easy = curl_easy_init();
  if (t->multi && t->easy && set_up(t) == CURLM_OK) return;
  tm_fail(&call->ctx, TM_E_NOMEM, TM_NO_OFFSET, "libcurl cannot start a connection");
  tm_http_on_failure(call);
}

static bool try_next(tm_http_call *call) {
  (void)call; // curl races the addresses itself
  return false;
}

static void end_curl(tls *t) {
  sigset_t old;
  bool was_pending = hold_sigpipe(&old);
  if (t->multi && t->easy) curl_multi_remove_handle(t->multi, t->easy);
  curl_easy_cleanup(t->easy);
  curl_multi_cleanup(t->multi);
  release_sigpipe(&old, was_pending);
}

// Never called from inside one of curl's calls, so that curl may be ended here, once libuv watches
// its sockets no more.
static void close_tls(tm_http_call *call) {
  tls *t = call->transport_state;
  if (!t) {
    tm_http_on_closed(call);
    return;
  }
  t->closing = true;
  for (size_t i = 0; i < WATCHES; i++)
    if (t->watches[i]) drop_watch(t->watches[i]);
  if (t->data) drop_watch(t->data);
  uv_close((uv_handle_t *)&t->timer, on_timer_closed);
  end_curl(t);
}

const tm_http_transport tm_http_tls = {open_tls, try_next, close_tls};

bool tm_http_has_tls(void) {
  return true;
}

#endif
