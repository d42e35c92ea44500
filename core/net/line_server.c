// A poll handle for the listener and one per client, over plain non-blocking sockets (uv_pipe_t
// would raise SIGPIPE and chmod after the fact). A client is freed when its handle has closed, the
// server when the last handle has.
#include "net/line_server.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct client {
  tm_line_server *server;
  uv_poll_t poll;
  int fd;
  uint64_t id;         // 0 = a free place
  bool closing, ended; // ended: it says nothing more, but may wait for answers
  uint32_t unanswered_count;
  tm_bytes in, out;
} client;

struct tm_line_server {
  tm_ctx *ctx;
  uv_loop_t *loop;
  tm_line_fn on_line;
  void *ud;
  uv_poll_t poll;
  int fd;
  bool closing;
  struct sockaddr_un address;
  struct stat socket_stat; // what was made: only that is removed
  uint64_t next_id;
  uint32_t open_handles;
  client clients[TM_LINE_CLIENTS];
};

static void free_when_closed(tm_line_server *s) {
  if (s->closing && s->open_handles == 0) tm_free(s->ctx, s, sizeof *s);
}

static void on_client_closed(uv_handle_t *handle) {
  client *c = handle->data;
  tm_line_server *s = c->server;
  close(c->fd);
  tm_bytes_free(s->ctx, &c->in);
  tm_bytes_free(s->ctx, &c->out);
  *c = (client){0};
  s->open_handles--;
  free_when_closed(s);
}

static void hang_up(client *c) {
  if (c->closing) return;
  c->closing = true;
  uv_close((uv_handle_t *)&c->poll, on_client_closed);
}

static void on_client(uv_poll_t *poll, int error, int events);

// What the socket takes now; the rest waits for it to be writable.
static void send_rest(client *c) {
  while (c->out.size) {
    ssize_t n = send(c->fd, c->out.data, c->out.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n < 0) {
      hang_up(c);
      return;
    }
    memmove(c->out.data, c->out.data + n, c->out.size - (size_t)n);
    c->out.size -= (size_t)n;
  }
  if (c->ended && !c->out.size && !c->unanswered_count) {
    hang_up(c);
    return;
  }
  int events = (c->ended ? 0 : UV_READABLE) | (c->out.size ? UV_WRITABLE : 0);
  if (events)
    uv_poll_start(&c->poll, events, on_client);
  else
    uv_poll_stop(&c->poll);
}

static tm_status queue(client *c, const char *line, size_t size) {
  tm_ctx *ctx = c->server->ctx;
  if (c->out.size + size + 1 > TM_LINE_PENDING_BYTES) {
    hang_up(c);
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "the control client does not read its answers");
  }
  TM_TRY(tm_bytes_append(ctx, &c->out, line, size));
  TM_TRY(tm_bytes_append(ctx, &c->out, "\n", 1));
  send_rest(c);
  return TM_OK;
}

static void say_and_hang_up(client *c, const char *text) {
  if (queue(c, text, strlen(text)) != TM_OK) tm_ctx_clear(c->server->ctx);
  hang_up(c);
}

// Hands out whole lines; what is left begins the next one.
static void take_lines(client *c) {
  tm_line_server *s = c->server;
  size_t at = 0;
  while (!c->closing) {
    const char *start = (const char *)c->in.data + at;
    const char *end = memchr(start, '\n', c->in.size - at);
    if (!end) break;
    size_t size = (size_t)(end - start);
    at += size + 1;
    if (size && start[size - 1] == '\r') size--;
    if (!size) continue;
    c->unanswered_count++;
    s->on_line(s->ud, c->id, start, size);
  }
  if (at) memmove(c->in.data, c->in.data + at, c->in.size - at);
  c->in.size -= at;
  if (c->in.size > TM_LINE_MAX_BYTES) say_and_hang_up(c, "{\"ok\":false,\"error\":\"too long\"}");
}

static void on_client(uv_poll_t *poll, int error, int events) {
  char piece[4096];
  client *c = poll->data;
  if (error) {
    hang_up(c);
    return;
  }
  if (events & UV_WRITABLE) send_rest(c);
  if (c->closing || !(events & UV_READABLE)) return;
  ssize_t n = recv(c->fd, piece, sizeof piece, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  c->ended = n == 0;
  if (c->ended && c->in.size) piece[n++] = '\n'; // the last line needs no end
  if (n < 0 || tm_bytes_append(c->server->ctx, &c->in, piece, (size_t)n) != TM_OK) {
    hang_up(c);
    return;
  }
  take_lines(c);
  if (c->ended && !c->closing) send_rest(c);
}

// Who may speak: the user that tidemark runs as, and root.
static bool may_speak(int fd) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == geteuid() || peer.uid == 0;
}

static void refuse(int fd, const char *text) {
  if (send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) errno = 0;
  close(fd);
}

static void on_listener(uv_poll_t *poll, int error, int events) {
  tm_line_server *s = poll->data;
  client *c = NULL;
  (void)events;
  if (error) return;
  int fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  for (size_t i = 0; i < TM_LINE_CLIENTS && !c; i++)
    if (!s->clients[i].id) c = &s->clients[i];
  if (!may_speak(fd)) {
    refuse(fd, "{\"ok\":false,\"error\":\"this socket is another user's\"}\n");
  } else if (!c) {
    refuse(fd, "{\"ok\":false,\"error\":\"too many clients\"}\n");
  } else if (uv_poll_init_socket(s->loop, &c->poll, fd) != 0) {
    close(fd);
  } else {
    c->server = s;
    c->fd = fd;
    c->id = ++s->next_id;
    c->poll.data = c;
    s->open_handles++;
    uv_poll_start(&c->poll, UV_READABLE, on_client);
  }
}

// ---- the socket ----

// True when the path is a socket that nobody serves: what a killed tidemark leaves behind.
static bool is_left_over(const struct sockaddr_un *address) {
  struct stat st;
  if (lstat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) return false;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  bool refused =
      connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
  close(fd);
  return refused;
}

// The mode is set before the name exists: nobody else can connect in between.
static tm_status listen_at(tm_ctx *ctx, tm_line_server *s) {
  const char *path = s->address.sun_path;
  const struct sockaddr *address = (const struct sockaddr *)&s->address;
  s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (s->fd < 0) return tm_fail_errno(ctx, errno, "cannot make a control socket");
  if (is_left_over(&s->address)) unlink(path);
  int error = fchmod(s->fd, 0600) == 0 && bind(s->fd, address, sizeof s->address) == 0 ? 0 : errno;
  if (error == EADDRINUSE)
    return tm_fail(ctx, TM_E_BUSY, TM_NO_OFFSET,
                   "the control socket %s is in use; give another path", path);
  if (error) return tm_fail_errno(ctx, error, "cannot listen at %s", path);
  if (chmod(path, 0600) != 0 || lstat(path, &s->socket_stat) != 0 || listen(s->fd, 16) != 0) {
    error = errno;
    unlink(path);
    return tm_fail_errno(ctx, error, "cannot listen at %s", path);
  }
  return TM_OK;
}

tm_status tm_line_server_open(tm_ctx *ctx, uv_loop_t *loop, const char *path, tm_line_fn on_line,
                              void *ud, tm_line_server **out) {
  size_t size = strlen(path);
  if (!size || size >= sizeof((struct sockaddr_un *)0)->sun_path)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "a socket's path has 1 to 107 bytes");
  tm_line_server *s = tm_calloc(ctx, 1, sizeof *s);
  if (!s) return TM_E_NOMEM;
  s->ctx = ctx;
  s->loop = loop;
  s->on_line = on_line;
  s->ud = ud;
  s->address.sun_family = AF_UNIX;
  memcpy(s->address.sun_path, path, size);
  tm_status status = listen_at(ctx, s);
  if (status == TM_OK && uv_poll_init_socket(loop, &s->poll, s->fd) != 0) {
    unlink(path);
    status = tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "the control socket cannot be polled");
  }
  if (status != TM_OK) {
    if (s->fd >= 0) close(s->fd);
    tm_free(ctx, s, sizeof *s);
    return status;
  }
  s->poll.data = s;
  s->open_handles = 1;
  uv_poll_start(&s->poll, UV_READABLE, on_listener);
  *out = s;
  return TM_OK;
}

static tm_status answer(client *c, const char *line, size_t size) {
  if (c->unanswered_count) c->unanswered_count--;
  return queue(c, line, size);
}

tm_status tm_line_server_send(tm_line_server *s, uint64_t id, const char *line, size_t size) {
  for (size_t i = 0; i < TM_LINE_CLIENTS; i++)
    if (id && s->clients[i].id == id && !s->clients[i].closing)
      return answer(&s->clients[i], line, size);
  return tm_fail(s->ctx, TM_E_GONE, TM_NO_OFFSET, "the control client has hung up");
}

static void on_listener_closed(uv_handle_t *handle) {
  tm_line_server *s = handle->data;
  close(s->fd);
  s->open_handles--;
  free_when_closed(s);
}

void tm_line_server_close(tm_line_server *s) {
  struct stat st;
  if (!s || s->closing) return;
  s->closing = true;
  if (lstat(s->address.sun_path, &st) == 0 && st.st_ino == s->socket_stat.st_ino
      && st.st_dev == s->socket_stat.st_dev)
    unlink(s->address.sun_path);
  for (size_t i = 0; i < TM_LINE_CLIENTS; i++)
    if (s->clients[i].id) hang_up(&s->clients[i]);
  uv_close((uv_handle_t *)&s->poll, on_listener_closed);
}
