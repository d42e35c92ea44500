// Non-blocking sockets under poll: each wait is at most TICK_MS long, so that cancel and progress
// are served while nothing comes.
#include "net/channel.h"

#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TICK_MS = 100 };

#define MS_NS UINT64_C(1000000)

static tm_status fail_socket(tm_ctx *ctx, int error, const char *what) {
  tm_status status =
      error == ECONNREFUSED || error == ENOENT || error == ECONNRESET || error == EPIPE ? TM_E_GONE
      : error == ETIMEDOUT                ? TM_E_TIMEOUT
      : error == EACCES || error == EPERM ? TM_E_PERM
                                          : TM_E_IO;
  return tm_fail(ctx, status, TM_NO_OFFSET, "%s: %s", what, strerror(error));
}

// Until one of the events, or an error of the socket that the next call on it will name.
static tm_status wait_for(tm_ctx *ctx, tm_channel *channel, short events, const char *what) {
  for (;;) {
    struct pollfd fd = {channel->fd, events, 0};
    TM_TRY(tm_ctx_tick(ctx, channel->received_bytes));
    uint64_t now_ns = tm_clock_mono_ns();
    if (now_ns >= channel->deadline_ns)
      return tm_fail(ctx, TM_E_TIMEOUT, channel->received_bytes,
                     "timed out while %s, after %llu bytes", what,
                     (unsigned long long)channel->received_bytes);
    uint64_t left_ms = (channel->deadline_ns - now_ns + MS_NS - 1) / MS_NS;
    int n = poll(&fd, 1, left_ms < TICK_MS ? (int)left_ms : TICK_MS);
    if (n > 0) return TM_OK;
    if (n < 0 && errno != EINTR) return fail_socket(ctx, errno, what);
  }
}

static void open_socket(tm_channel *channel, int family) {
  channel->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static tm_status connect_to(tm_ctx *ctx, tm_channel *channel, const struct sockaddr *address,
                            socklen_t size) {
  int failure = 0;
  socklen_t length = sizeof failure;
  open_socket(channel, address->sa_family);
  if (channel->fd < 0) return fail_socket(ctx, errno, "cannot make a socket");
  if (connect(channel->fd, address, size) == 0) return TM_OK;
  failure = errno;
  if (failure == EINPROGRESS) {
    TM_TRY(wait_for(ctx, channel, POLLOUT, "connecting"));
    getsockopt(channel->fd, SOL_SOCKET, SO_ERROR, &failure, &length);
  }
  return failure ? fail_socket(ctx, failure, "cannot connect") : TM_OK;
}

static void begin(tm_channel *channel, uint64_t timeout_ns) {
  uint64_t now_ns = tm_clock_mono_ns();
  *channel = (tm_channel){.fd = -1, .peer_uid = -1};
  channel->deadline_ns = timeout_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + timeout_ns;
}

static tm_status connect_tcp(tm_ctx *ctx, const tm_url *url, tm_channel *channel) {
  char port[8];
  struct addrinfo *list = NULL;
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  snprintf(port, sizeof port, "%u", url->port);
  int error = getaddrinfo(url->host, port, &hints, &list);
  if (error || !list)
    return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "%s cannot be resolved: %s", url->host,
                   error ? gai_strerror(error) : "no address");
  tm_status status = TM_OK;
  for (const struct addrinfo *at = list; at; at = at->ai_next) {
    tm_ctx_clear(ctx);
    status = connect_to(ctx, channel, at->ai_addr, at->ai_addrlen);
    if (status == TM_OK || status == TM_E_CANCELLED) break;
    tm_channel_close(channel);
  }
  freeaddrinfo(list);
  return status;
}

tm_status tm_channel_open(tm_ctx *ctx, const tm_url *url, uint64_t timeout_ns, tm_channel *out) {
  if (url->scheme == TM_URL_UNIX) return tm_channel_open_unix(ctx, url->host, timeout_ns, out);
  begin(out, timeout_ns);
  if (url->scheme == TM_URL_HTTPS)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "TLS is not spoken here");
  tm_status status = connect_tcp(ctx, url, out);
  if (status == TM_OK) return TM_OK;
  tm_channel_close(out);
  char origin[TM_URL_ORIGIN_MAX];
  return tm_fail_in(ctx, "%s", tm_url_origin(url, origin));
}

tm_status tm_channel_open_unix(tm_ctx *ctx, const char *path, uint64_t timeout_ns,
                               tm_channel *out) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct ucred peer;
  socklen_t size = sizeof peer;
  size_t length = strlen(path);
  begin(out, timeout_ns);
  if (length >= sizeof address.sun_path)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the socket's path is longer than %zu bytes",
                   sizeof address.sun_path - 1);
  memcpy(address.sun_path, path, length);
  tm_status status = connect_to(ctx, out, (const struct sockaddr *)&address, sizeof address);
  if (status == TM_OK && getsockopt(out->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    status = fail_socket(ctx, errno, "the peer cannot be seen");
  if (status != TM_OK) {
    tm_channel_close(out);
    return tm_fail_in(ctx, "unix:%s", path);
  }
  out->peer_pid = peer.pid;
  out->peer_uid = peer.uid;
  return TM_OK;
}

tm_status tm_channel_send(tm_ctx *ctx, tm_channel *channel, const void *data, size_t size) {
  const uint8_t *at = data;
  while (size) {
    ssize_t n = send(channel->fd, at, size, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      TM_TRY(wait_for(ctx, channel, POLLOUT, "sending"));
    } else if (n < 0 && errno != EINTR) {
      return fail_socket(ctx, errno, "the connection broke");
    } else if (n > 0) {
      at += n;
      size -= (size_t)n;
    }
  }
  return TM_OK;
}

tm_status tm_channel_receive(tm_ctx *ctx, tm_channel *channel, void *data, size_t room,
                             size_t *out_size) {
  *out_size = 0;
  for (;;) {
    ssize_t n = recv(channel->fd, data, room, 0);
    if (n >= 0) {
      *out_size = (size_t)n;
      channel->received_bytes += (uint64_t)n;
      return TM_OK;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
      TM_TRY(wait_for(ctx, channel, POLLIN, "waiting for an answer"));
    else if (errno != EINTR)
      return fail_socket(ctx, errno, "the connection broke");
  }
}

void tm_channel_close(tm_channel *channel) {
  if (channel->fd >= 0) close(channel->fd);
  channel->fd = -1;
}
