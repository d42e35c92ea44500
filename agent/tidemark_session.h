/* tidemark_session.h - tell tidemark what a session of your program holds. One header, C99 or C++,
 * nothing but POSIX.
 *
 *   static void release(void *ud, const char *session, const char *kind, const char *id) { ... }
 *
 *   tidemark_session link;
 *   tidemark_session_open(&link, NULL, release, NULL);     // $TIDEMARK_CONTROL; `run` sets it
 *   tidemark_session_register(&link, "doc-7", "image", "cover", 1 << 20);
 *   ...
 *   tidemark_session_done(&link, "doc-7", "cover");        // given back by the program itself
 *   tidemark_session_end(&link, "doc-7");                  // what is still registered was leaked
 *   tidemark_session_poll(&link);                          // now and then: calls release
 *   tidemark_session_close(&link);
 *
 * No call blocks, allocates, or raises a signal. Where nobody listens, or nobody reads fast enough,
 * messages are dropped and counted (link.dropped_count); the program goes on. One thread at a time
 * per link. Strings are any bytes up to 200 each; longer ones are cut.
 */
#ifndef TIDEMARK_SESSION_H
#define TIDEMARK_SESSION_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Asked to release one resource; afterwards tidemark is told that it is done. */
typedef void (*tidemark_release_fn)(void *ud, const char *session, const char *kind,
                                    const char *id);

typedef struct tidemark_session {
  int fd; /* -1: nobody listens */
  tidemark_release_fn release_fn;
  void *ud;
  uint64_t dropped_count;
  size_t out_size, in_size;
  char out[16384]; /* what the socket did not take yet */
  char in[8192];   /* lines that are not whole yet */
} tidemark_session;

static inline void tidemark_session_flush_(tidemark_session *s) {
  while (s->fd >= 0 && s->out_size) {
    ssize_t n = send(s->fd, s->out, s->out_size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (n <= 0) {
      close(s->fd);
      s->fd = -1;
      return;
    }
    s->out_size -= (size_t)n;
    memmove(s->out, s->out + n, s->out_size);
  }
}

/* Appends text as a JSON string; bytes that are no ASCII go through as they are (UTF-8). */
static inline size_t tidemark_session_quote_(char *out, const char *text) {
  static const char hex[] = "0123456789abcdef";
  size_t n = 0, i;
  out[n++] = '"';
  for (i = 0; text && text[i] && i < 200; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c == '"' || c == '\\') out[n++] = '\\';
    if (c >= 0x20) {
      out[n++] = (char)c;
      continue;
    }
    memcpy(out + n, "\\u00", 4);
    out[n + 4] = hex[c >> 4];
    out[n + 5] = hex[c & 15];
    n += 6;
  }
  out[n++] = '"';
  return n;
}

static inline void tidemark_session_send_(tidemark_session *s, const char *cmd, const char *session,
                                          const char *kind, const char *id, uint64_t bytes) {
  char line[4096];
  size_t n;
  tidemark_session_flush_(s);
  n = (size_t)snprintf(
      line, 128, "{\"cmd\":\"%s\",\"pid\":%ld,\"bytes\":%llu,\"releasable\":%s,\"session\":", cmd,
      (long)getpid(), (unsigned long long)bytes, s->release_fn ? "true" : "false");
  n += tidemark_session_quote_(line + n, session);
  if (kind) {
    memcpy(line + n, ",\"kind\":", 8);
    n += 8 + tidemark_session_quote_(line + n + 8, kind);
  }
  if (id) {
    memcpy(line + n, ",\"id\":", 6);
    n += 6 + tidemark_session_quote_(line + n + 6, id);
  }
  line[n++] = '}';
  line[n++] = '\n';
  if (s->fd < 0 || s->out_size + n > sizeof s->out) {
    s->dropped_count++;
    return;
  }
  memcpy(s->out + s->out_size, line, n);
  s->out_size += n;
  tidemark_session_flush_(s);
}

/* Connects to tidemark's control socket: path, or $TIDEMARK_CONTROL (with or without "unix:" before
 * it). 0, or an errno: then every other call does nothing. release_fn may be NULL. */
static inline int tidemark_session_open(tidemark_session *s, const char *path,
                                        tidemark_release_fn release_fn, void *ud) {
  struct sockaddr_un address;
  int error = ENOENT;
  memset(s, 0, sizeof *s);
  s->fd = -1;
  s->release_fn = release_fn;
  s->ud = ud;
  if (!path) path = getenv("TIDEMARK_CONTROL");
  if (!path) return error;
  if (strncmp(path, "unix:", 5) == 0) path += 5;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  if (strlen(path) >= sizeof address.sun_path) return ENAMETOOLONG;
  strcpy(address.sun_path, path);
  s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (s->fd < 0) return errno;
  if (connect(s->fd, (const struct sockaddr *)&address, sizeof address) == 0) return 0;
  error = errno;
  close(s->fd);
  s->fd = -1;
  return error;
}

/* A resource of a session; the same id again replaces what was registered. */
static inline void tidemark_session_register(tidemark_session *s, const char *session,
                                             const char *kind, const char *id, uint64_t bytes) {
  tidemark_session_send_(s, "register", session, kind, id, bytes);
}

/* The program gave it back. */
static inline void tidemark_session_done(tidemark_session *s, const char *session, const char *id) {
  tidemark_session_send_(s, "done", session, NULL, id, 0);
}

/* The session is over. */
static inline void tidemark_session_end(tidemark_session *s, const char *session) {
  tidemark_session_send_(s, "end", session, NULL, NULL, 0);
}

/* The string of one field of a line that tidemark wrote, without its quotes; "" when absent. */
static inline void tidemark_session_field_(const char *line, const char *name, char *out) {
  char want[32];
  const char *at;
  size_t n = 0;
  snprintf(want, sizeof want, "\"%s\":\"", name);
  at = strstr(line, want);
  for (at = at ? at + strlen(want) : ""; *at && *at != '"' && n < 200; at++) {
    unsigned value;
    char digits[5];
    if (*at == '\\' && at[1] == 'u' && strlen(at) > 5) {
      memcpy(digits, at + 2, 4);
      digits[4] = '\0';
      value = (unsigned)strtoul(digits, NULL, 16);
      out[n++] = (char)value; /* it escapes control characters only */
      at += 5;
    } else {
      if (*at == '\\' && at[1]) {
        at++;
        out[n++] = *at == 'n'   ? '\n'
                   : *at == 't' ? '\t'
                   : *at == 'r' ? '\r'
                   : *at == 'b' ? '\b'
                   : *at == 'f' ? '\f'
                                : *at;
      } else {
        out[n++] = *at;
      }
    }
  }
  out[n] = '\0';
}

static inline int tidemark_session_line_(tidemark_session *s, const char *line) {
  char cmd[201], session[201], kind[201], id[201];
  tidemark_session_field_(line, "cmd", cmd);
  if (strcmp(cmd, "release") != 0) return 0; /* an answer */
  tidemark_session_field_(line, "session", session);
  tidemark_session_field_(line, "kind", kind);
  tidemark_session_field_(line, "id", id);
  if (s->release_fn) s->release_fn(s->ud, session, kind, id);
  tidemark_session_send_(s, "released", session, NULL, id, 0);
  return 1;
}

/* Sends what waits, and does what tidemark asked for. Answers how many resources were released. */
static inline int tidemark_session_poll(tidemark_session *s) {
  int released = 0;
  tidemark_session_flush_(s);
  while (s->fd >= 0) {
    ssize_t n = recv(s->fd, s->in + s->in_size, sizeof s->in - 1 - s->in_size, MSG_DONTWAIT);
    char *line = s->in, *end;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n <= 0) {
      close(s->fd);
      s->fd = -1;
      break;
    }
    s->in_size += (size_t)n;
    s->in[s->in_size] = '\0';
    while ((end = strchr(line, '\n'))) {
      *end = '\0';
      released += tidemark_session_line_(s, line);
      line = end + 1;
    }
    s->in_size -= (size_t)(line - s->in);
    memmove(s->in, line, s->in_size);
    if (s->in_size >= sizeof s->in - 1) s->in_size = 0; /* no line of ours is so long */
  }
  return released;
}

/* Hangs up. What is registered stays with tidemark until the program ends. */
static inline void tidemark_session_close(tidemark_session *s) {
  tidemark_session_flush_(s);
  if (s->fd >= 0) close(s->fd);
  s->fd = -1;
}

#ifdef __cplusplus
}
#endif

#endif
