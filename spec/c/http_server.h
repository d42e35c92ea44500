// A server that misbehaves by a script: a thread, one connection after the other. It reads a whole
// request, then does its steps; the n-th connection plays the n-th script, later ones the last.
#ifndef TM_SPEC_HTTP_SERVER_H
#define TM_SPEC_HTTP_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef enum step_kind {
  STEP_END,    // close
  STEP_SEND,   // text, count times (0 = once)
  STEP_WAIT,   // count ms, or until the client hangs up
  STEP_HANG,   // until the client hangs up, or the server is stopped
  STEP_RESET,  // close with a TCP reset
  STEP_UNREAD, // first in a script: does not read the request
} step_kind;

typedef struct step {
  step_kind kind;
  const char *text;
  uint32_t count;
} step;

enum { SCRIPT_STEPS = 6, SERVER_SCRIPTS = 8, SERVER_REQUEST_MAX = 8192 };

typedef struct server {
  step scripts[SERVER_SCRIPTS][SCRIPT_STEPS];
  uint32_t script_count;
  int listener, stop_pipe[2];
  pthread_t thread;
  char url[160], socket_path[108];
  pthread_mutex_t lock; // of what follows
  uint32_t connections_count;
  char request[SERVER_REQUEST_MAX]; // the last one, cut
} server;

// True when the client hung up or the server is to stop, within timeout_ms (-1 = for ever).
static inline bool server_wait(server *s, int fd, int timeout_ms) {
  struct pollfd fds[2] = {{fd, POLLIN | POLLRDHUP, 0}, {s->stop_pipe[0], POLLIN, 0}};
  return poll(fds, 2, timeout_ms) > 0;
}

static inline bool server_send(server *s, int fd, const char *text) {
  size_t size = strlen(text), at = 0;
  while (at < size) {
    ssize_t n = send(fd, text + at, size - at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      at += (size_t)n;
      continue;
    }
    struct pollfd fds[2] = {{fd, POLLOUT, 0}, {s->stop_pipe[0], POLLIN, 0}};
    if (poll(fds, 2, -1) <= 0 || fds[1].revents || (fds[0].revents & (POLLERR | POLLHUP)))
      return false;
  }
  return true;
}

// Headers and as much body as Content-Length says; the text is kept for the test to look at.
static inline void server_read(server *s, int fd) {
  char text[SERVER_REQUEST_MAX];
  size_t size = 0, body_bytes = 0, total = 0;
  char *end = NULL;
  text[0] = '\0';
  while (!end || total < (size_t)(end + 4 - text) + body_bytes) {
    char piece[4096];
    struct pollfd fds[2] = {{fd, POLLIN, 0}, {s->stop_pipe[0], POLLIN, 0}};
    poll(fds, 2, -1);
    ssize_t n = fds[0].revents ? recv(fd, piece, sizeof piece, 0) : 0;
    if (n <= 0) break;
    size_t keep = sizeof text - 1 - size;
    if (keep > (size_t)n) keep = (size_t)n;
    memcpy(text + size, piece, keep);
    size += keep;
    total += (size_t)n;
    text[size] = '\0';
    if (!end && (end = strstr(text, "\r\n\r\n"))) {
      const char *length = strcasestr(text, "\r\nContent-Length:");
      if (length && length < end) body_bytes = (size_t)strtoull(length + 17, NULL, 10);
    }
  }
  pthread_mutex_lock(&s->lock);
  memcpy(s->request, text, size + 1);
  pthread_mutex_unlock(&s->lock);
}

static inline void server_play(server *s, int fd, const step *steps) {
  if (steps->kind == STEP_UNREAD)
    steps++;
  else
    server_read(s, fd);
  for (; steps->kind != STEP_END; steps++) {
    const struct linger reset = {1, 0};
    if (steps->kind == STEP_WAIT && server_wait(s, fd, (int)steps->count)) return;
    if (steps->kind == STEP_HANG) server_wait(s, fd, -1);
    if (steps->kind == STEP_RESET) setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (steps->kind != STEP_SEND) continue;
    for (uint32_t i = 0; i < (steps->count ? steps->count : 1); i++)
      if (!server_send(s, fd, steps->text)) return;
  }
}

static inline void *server_main(void *ud) {
  server *s = ud;
  for (;;) {
    struct pollfd fds[2] = {{s->listener, POLLIN, 0}, {s->stop_pipe[0], POLLIN, 0}};
    poll(fds, 2, -1);
    if (fds[1].revents) return NULL;
    int fd = accept(s->listener, NULL, NULL);
    if (fd < 0) continue;
    pthread_mutex_lock(&s->lock);
    uint32_t number = s->connections_count++;
    pthread_mutex_unlock(&s->lock);
    server_play(s, fd, s->scripts[number < s->script_count ? number : s->script_count - 1]);
    close(fd);
  }
}

// family AF_INET, AF_INET6 or AF_UNIX. False when the machine lacks it.
static inline bool server_start(server *s, int family) {
  struct sockaddr_storage address = {.ss_family = (sa_family_t)family};
  struct sockaddr_un *un = (struct sockaddr_un *)&address;
  struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
  socklen_t size = family == AF_UNIX ? sizeof *un : family == AF_INET ? sizeof *v4 : sizeof *v6;
  v4->sin_addr.s_addr = family == AF_INET ? htonl(INADDR_LOOPBACK) : v4->sin_addr.s_addr;
  if (family == AF_INET6) v6->sin6_addr = in6addr_loopback;
  if (family == AF_UNIX) {
    snprintf(s->socket_path, sizeof s->socket_path, "/tmp/tm-http-%d.sock", (int)getpid());
    unlink(s->socket_path);
    strcpy(un->sun_path, s->socket_path);
  }
  while (s->script_count < SERVER_SCRIPTS && s->scripts[s->script_count][0].kind) s->script_count++;
  s->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&address, size)
      || listen(s->listener, 64) || pipe(s->stop_pipe)) {
    close(s->listener);
    return false;
  }
  getsockname(s->listener, (struct sockaddr *)&address, &size);
  if (family == AF_UNIX)
    snprintf(s->url, sizeof s->url, "unix:%s:/x", s->socket_path);
  else
    snprintf(s->url, sizeof s->url, "http://%s:%u/x", family == AF_INET ? "127.0.0.1" : "[::1]",
             ntohs(v4->sin_port)); // the port stands at the same place in both
  pthread_mutex_init(&s->lock, NULL);
  pthread_create(&s->thread, NULL, server_main, s);
  return true;
}

static inline void server_stop(server *s) {
  if (write(s->stop_pipe[1], "x", 1) != 1) abort();
  pthread_join(s->thread, NULL);
  close(s->listener);
  close(s->stop_pipe[0]);
  close(s->stop_pipe[1]);
  if (s->socket_path[0]) unlink(s->socket_path);
} // the lock stays: tests ask for the counts afterwards

static inline uint32_t server_connections(server *s) {
  pthread_mutex_lock(&s->lock);
  uint32_t count = s->connections_count;
  pthread_mutex_unlock(&s->lock);
  return count;
}

#endif
