// Bytes over TCP and unix sockets: a non-blocking socket under uv_poll, because uv_write may raise
// SIGPIPE in a host that did not ask for it. A name may have several addresses: each is tried in
// the resolver's order. The state lives until its handle has closed and its lookup has come back (a
// lookup that runs in libuv's pool cannot be stopped).
#include "net/http_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { READ_BYTES = 65536, READS_PER_TURN = 16 };

typedef struct plain {
  tm_http_call *call;
  uv_poll_t poll;
  int fd; // under poll
  bool poll_open, resolving, closing, connected;
  uv_getaddrinfo_t lookup;
  struct sockaddr_storage fixed; // the address when no lookup is needed
  struct addrinfo *addresses, *next;
  uint32_t tried_count;
  size_t sent_bytes; // of head and body together
  uint8_t buffer[READ_BYTES];
} plain;

static void connect_next(plain *p);

static void free_when_idle(plain *p) {
  tm_http_call *call = p->call;
  if (p->poll_open || p->resolving) return;
  uv_freeaddrinfo(p->addresses);
  tm_free(&call->ctx, p, sizeof *p);
  call->transport_state = NULL;
  tm_http_on_closed(call);
}

static void on_poll_closed(uv_handle_t *handle) {
  plain *p = handle->data;
  close(p->fd);
  p->poll_open = false;
  if (p->closing)
    free_when_idle(p);
  else
    connect_next(p);
}

static void fail(plain *p, int sys_errno, const char *what) {
  tm_http_fail_uv(p->call, uv_translate_sys_error(sys_errno), what);
  tm_http_on_failure(p->call);
}

static void give_up(plain *p, int sys_errno) {
  fail(p, sys_errno,
       p->tried_count > 1 ? "cannot connect to any of its addresses" : "cannot connect");
}

// Sends what the socket takes. A peer may answer and hang up before it has read everything: then
// reading tells how it ended, so a broken pipe is no failure here. True = nothing more to send.
static bool send_rest(plain *p) {
  const tm_http_call *call = p->call;
  size_t head = call->head.size, total = head + call->body.size;
  while (p->sent_bytes < total) {
    bool in_head = p->sent_bytes < head;
    const uint8_t *at =
        in_head ? call->head.data + p->sent_bytes : call->body.data + (p->sent_bytes - head);
    size_t left = in_head ? head - p->sent_bytes : total - p->sent_bytes;
    ssize_t n = send(p->fd, at, left, MSG_NOSIGNAL | (in_head && call->body.size ? MSG_MORE : 0));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno != EAGAIN && errno != EWOULDBLOCK;
    p->sent_bytes += (size_t)n;
  }
  return true;
}

// A few buffers per turn, so that a fast peer does not keep the loop from its other work.
static void receive(plain *p) {
  for (int i = 0; i < READS_PER_TURN && !p->closing; i++) {
    ssize_t n = recv(p->fd, p->buffer, sizeof p->buffer, 0);
    if (n > 0) {
      if (!tm_http_on_bytes(p->call, p->buffer, (size_t)n)) return;
    } else if (n == 0) {
      tm_http_on_eof(p->call);
      return;
    } else if (errno != EINTR) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) fail(p, errno, "the connection broke");
      return;
    }
  }
}

// How connecting ended; false = it failed and was dealt with.
static bool finish_connect(plain *p) {
  int failure = 0;
  socklen_t size = sizeof failure;
  getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &failure, &size);
  if (failure && p->next)
    uv_close((uv_handle_t *)&p->poll, on_poll_closed); // which tries the next address
  else if (failure)
    give_up(p, failure);
  if (failure) return false;
  p->connected = true;
  tm_http_on_open(p->call);
  return true;
}

// libuv gives every error of the socket as EBADF and stops: getsockopt or recv know the true one,
// and recv first hands out what had come before it.
static void on_poll(uv_poll_t *poll, int error, int events) {
  plain *p = poll->data;
  if (p->closing || (!p->connected && !finish_connect(p))) return;
  bool all_sent = error || send_rest(p);
  uv_poll_start(poll, all_sent ? UV_READABLE : UV_READABLE | UV_WRITABLE, on_poll);
  if (error || (events & UV_READABLE)) receive(p);
}

// The first writable event tells how connecting ended, also when it was done at once (as on unix
// sockets). Gives an errno when the kernel refuses at once.
static int try_address(plain *p, const struct addrinfo *address) {
  int fd = socket(address->ai_addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int error = connect(fd, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS || error == EINTR) error = 0;
  if (!error) error = -uv_poll_init_socket(p->call->loop, &p->poll, fd);
  if (error) {
    close(fd);
    return error;
  }
  p->fd = fd;
  p->poll.data = p;
  p->poll_open = true;
  uv_poll_start(&p->poll, UV_WRITABLE, on_poll);
  return 0;
}

// Takes the next address; when it is refused at once, the one after it.
static void connect_next(plain *p) {
  int error = 0;
  do {
    const struct addrinfo *address = p->next;
    p->next = address->ai_next;
    p->tried_count++;
    tm_http_enter(p->call, TM_HTTP_CONNECTING);
    error = try_address(p, address);
  } while (error && p->next);
  if (error) give_up(p, error);
}

static bool try_next(tm_http_call *call) {
  plain *p = call->transport_state;
  if (!p || !p->poll_open || !p->next || uv_is_closing((uv_handle_t *)&p->poll)) return false;
  uv_close((uv_handle_t *)&p->poll, on_poll_closed);
  return true;
}

static void on_resolved(uv_getaddrinfo_t *request, int error, struct addrinfo *addresses) {
  plain *p = request->data;
  p->resolving = false;
  p->addresses = p->next = addresses;
  if (p->closing) {
    free_when_idle(p);
  } else if (error || !addresses) {
    tm_fail(&p->call->ctx, TM_E_IO, TM_NO_OFFSET, "the name cannot be resolved: %s",
            error ? uv_strerror(error) : "no address");
    tm_http_on_failure(p->call);
  } else {
    connect_next(p);
  }
}

// Sockets' paths and addresses written as numbers need no lookup, whose pool others may have
// filled. 0 = a name.
static socklen_t read_fixed(plain *p) {
  const tm_url *url = &p->call->url;
  struct sockaddr_un *un = (struct sockaddr_un *)&p->fixed;
  struct sockaddr_in *v4 = (struct sockaddr_in *)&p->fixed;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&p->fixed;
  if (url->scheme == TM_URL_UNIX) {
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, url->host, sizeof un->sun_path);
    return sizeof *un;
  }
  if (url->is_ipv6) return uv_ip6_addr(url->host, url->port, v6) == 0 ? sizeof *v6 : 0;
  return uv_ip4_addr(url->host, url->port, v4) == 0 ? sizeof *v4 : 0;
}

static void look_up(plain *p) {
  char port[8];
  const tm_url *url = &p->call->url;
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  snprintf(port, sizeof port, "%u", url->port);
  p->lookup.data = p;
  p->resolving = true;
  tm_http_enter(p->call, TM_HTTP_RESOLVING);
  int error = uv_getaddrinfo(p->call->loop, &p->lookup, on_resolved, url->host, port, &hints);
  if (!error) return;
  p->resolving = false;
  tm_http_fail_uv(p->call, error, "the name cannot be resolved");
  tm_http_on_failure(p->call);
}

static void open_plain(tm_http_call *call) {
  plain *p = tm_alloc(&call->ctx, sizeof *p);
  if (!p) {
    tm_http_on_failure(call);
    return;
  }
  memset(p, 0, offsetof(plain, buffer));
  p->call = call;
  call->transport_state = p;
  struct addrinfo fixed = {.ai_addr = (struct sockaddr *)&p->fixed, .ai_addrlen = read_fixed(p)};
  if (!fixed.ai_addrlen) {
    look_up(p);
    return;
  }
  p->next = &fixed; // connect_next moves on to ai_next, which is NULL
  connect_next(p);
}

static void close_plain(tm_http_call *call) {
  plain *p = call->transport_state;
  if (!p) {
    tm_http_on_closed(call);
    return;
  }
  p->closing = true;
  if (p->resolving) uv_cancel((uv_req_t *)&p->lookup);
  if (p->poll_open && !uv_is_closing((uv_handle_t *)&p->poll))
    uv_close((uv_handle_t *)&p->poll, on_poll_closed);
  free_when_idle(p);
}

const tm_http_transport tm_http_plain = {open_plain, try_next, close_plain};
