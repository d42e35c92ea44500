// The control hook: a unix socket, one command a line, answered at once. It is what an app offers
// so that a watcher under memory pressure can ask it to give something back.
#include "leaky.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int listen_at(const struct sockaddr_un *address) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  if (bind(fd, (const struct sockaddr *)address, sizeof *address) == 0 && listen(fd, 4) == 0)
    return fd;
  int why = errno;
  close(fd);
  errno = why;
  return -1;
}

// A socket file to which nobody listens any more.
static bool is_stale(const struct sockaddr_un *address) {
  struct stat st;
  if (lstat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) return false;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  bool stale =
      connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
  close(fd);
  return stale;
}

bool leaky_hook_open(leaky *app) {
  const char *path = app->options.hook_path;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (path == NULL) return true;
  if (strlen(path) >= sizeof address.sun_path) {
    fprintf(stderr, "leaky: --hook: the path is longer than a unix socket allows (%zu)\n",
            sizeof address.sun_path - 1);
    return false;
  }
  memcpy(address.sun_path, path, strlen(path));
  if (is_stale(&address)) unlink(path);
  app->listen_fd = listen_at(&address);
  if (app->listen_fd < 0) fprintf(stderr, "leaky: --hook %s: %s\n", path, strerror(errno));
  return app->listen_fd >= 0;
}

static void drop(leaky_client *client) {
  close(client->fd);
  client->fd = -1;
  client->used_bytes = 0;
}

void leaky_hook_close(leaky *app) {
  if (app->listen_fd < 0) return;
  for (uint32_t i = 0; i < LEAKY_CLIENTS_MAX; i++)
    if (app->clients[i].fd >= 0) drop(&app->clients[i]);
  close(app->listen_fd);
  app->listen_fd = -1;
  unlink(app->options.hook_path);
}

void leaky_hook_accept(leaky *app) {
  int fd = accept4(app->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  for (uint32_t i = 0; i < LEAKY_CLIENTS_MAX; i++) {
    if (app->clients[i].fd >= 0) continue;
    app->clients[i] = (leaky_client){.fd = fd};
    return;
  }
  close(fd); // all places taken
}

static void answer(leaky *app, leaky_client *client) {
  char text[64];
  if (strcmp(client->line, "clear-caches") == 0)
    snprintf(text, sizeof text, "ok freed %" PRIu64 "\n", leaky_clear_caches(app));
  else if (strcmp(client->line, "collect") == 0)
    snprintf(text, sizeof text, "ok freed %" PRIu64 "\n", leaky_collect(app));
  else
    snprintf(text, sizeof text, "error unknown command; say clear-caches or collect\n");
  if (send(client->fd, text, strlen(text), MSG_NOSIGNAL) < 0) drop(client);
}

void leaky_hook_read(leaky *app, leaky_client *client) {
  char bytes[256];
  ssize_t got = recv(client->fd, bytes, sizeof bytes, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    drop(client);
    return;
  }
  for (ssize_t i = 0; i < got && client->fd >= 0; i++) {
    if (bytes[i] == '\r') continue;
    if (bytes[i] != '\n') {
      client->line[client->used_bytes++] = bytes[i];
      if (client->used_bytes == sizeof client->line) drop(client); // no command is that long
      continue;
    }
    client->line[client->used_bytes] = '\0';
    client->used_bytes = 0;
    answer(app, client);
  }
}
