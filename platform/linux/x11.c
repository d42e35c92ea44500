// What a process holds in its X server: pixmaps, windows, GCs. They are in no RSS of the client, so
// a leak of them shows in the server only, and only the server knows whose they are.
//
// The server is asked over its socket by the core protocol and the X-Resource extension: which of
// its clients belongs to the pid, what they have by type, and the bytes of their pixmaps. libxcb
// would wait for an answer as long as the server likes; this waits 20 ms in all, and a server that
// did not answer is asked again a few readings later, a process without a display much later.
// Source: X Window System Protocol X11R7.7 (appendix B); The X-Resource Extension 1.2 (resproto).
#include "base/clock.h"
#include "platform/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_NS UINT64_C(20000000)

enum {
  SERVERS_MAX = 4,
  ATOMS_MAX = 64,
  REPLY_MAX_BYTES = 1 << 18, // a client has some 20 types, a server some 1000 clients
  RETRY_NONE = 60,           // readings until a display is looked for again
  RETRY_BUSY = 4,            // ... until a server that was busy is asked again
  CLIENTS_MAX = 32,          // connections of one process
};

// ids of requests and the like
enum {
  X_GET_ATOM_NAME = 17,
  X_QUERY_EXTENSION = 98,
  XRES_QUERY_VERSION = 0,
  XRES_QUERY_CLIENT_RESOURCES = 2,
  XRES_QUERY_CLIENT_PIXMAP_BYTES = 3,
  XRES_QUERY_CLIENT_IDS = 4,
  XRES_LOCAL_CLIENT_PID = 2, // bit of the mask
};

typedef struct atom_name {
  uint32_t atom;
  char name[28];
} atom_name;

typedef struct x_server {
  char display[64];
  int fd; // -1: not connected
  uint8_t xres;
  atom_name atoms[ATOMS_MAX];
  size_t atom_count;
} x_server;

typedef struct tm_x_servers {
  x_server items[SERVERS_MAX];
  uint8_t reply[REPLY_MAX_BYTES];
} tm_x_servers;

// ---- bytes, in the machine's own order, which the connection was opened with

static uint16_t get16(const uint8_t *p) {
  uint16_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static uint32_t get32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return v;
}

static void put16(uint8_t *p, uint16_t v) {
  memcpy(p, &v, sizeof v);
}

static void put32(uint8_t *p, uint32_t v) {
  memcpy(p, &v, sizeof v);
}

// ---- waiting

typedef struct talk {
  tm_x_servers *servers;
  x_server *server;
  uint64_t until_ns;
} talk;

static int wait_for(const talk *w, short events) {
  for (;;) {
    uint64_t now_ns = tm_clock_mono_ns();
    if (now_ns >= w->until_ns) return ETIMEDOUT;
    struct pollfd p = {.fd = w->server->fd, .events = events};
    int n = poll(&p, 1, (int)((w->until_ns - now_ns) / 1000000) + 1);
    if (n > 0) return 0;
    if (n < 0 && errno != EINTR) return errno;
  }
}

static int send_all(const talk *w, const uint8_t *data, size_t size) {
  while (size) {
    ssize_t n = send(w->server->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) return errno;
    if (n < 0) {
      int err = wait_for(w, POLLOUT);
      if (err) return err;
      continue;
    }
    data += n;
    size -= (size_t)n;
  }
  return 0;
}

static int read_all(const talk *w, uint8_t *out, size_t size) {
  while (size) {
    ssize_t n = recv(w->server->fd, out, size, MSG_DONTWAIT);
    if (n == 0) return ECONNRESET;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) return errno;
    if (n < 0) {
      int err = wait_for(w, POLLIN);
      if (err) return err;
      continue;
    }
    out += n;
    size -= (size_t)n;
  }
  return 0;
}

// The reply to the one request under way, whole in servers->reply; events are passed over. An X
// error is ENOENT: what was asked for went away meanwhile.
static int read_reply(const talk *w, size_t *out_size) {
  uint8_t *reply = w->servers->reply;
  for (;;) {
    int err = read_all(w, reply, 32);
    if (err) return err;
    if (reply[0] == 0) return ENOENT;
    if (reply[0] != 1) continue; // an event; we asked for none
    uint64_t more = (uint64_t)get32(reply + 4) * 4;
    if (more > REPLY_MAX_BYTES - 32) return EMSGSIZE;
    *out_size = 32 + (size_t)more;
    return read_all(w, reply + 32, (size_t)more);
  }
}

static int ask(const talk *w, uint8_t *request, size_t size, size_t least, size_t *out_size) {
  put16(request + 2, (uint16_t)(size / 4));
  int err = send_all(w, request, size);
  if (!err) err = read_reply(w, out_size);
  return !err && *out_size < least ? EBADMSG : err;
}

// ---- connecting

// What an environment block says; the value's bytes, or an empty text.
static tm_text variable(tm_text environment, const char *name) {
  size_t size = strlen(name);
  const char *at = environment.at;
  while (at < environment.end) {
    size_t left = (size_t)(environment.end - at);
    size_t length = strnlen(at, left);
    if (length > size && memcmp(at, name, size) == 0 && at[size] == '=')
      return (tm_text){at + size + 1, at + length};
    at += length + 1;
  }
  return (tm_text){NULL, NULL};
}

// ":0", ":1.0", "unix:3": the number of a display on this machine; -1 for others.
static int display_number(tm_text display) {
  uint64_t number;
  if (tm_text_starts(display, "unix:")) display.at += 4;
  if (!tm_text_starts(display, ":")) return -1;
  display.at++;
  return tm_text_u64(&display, &number) && number < 65536 ? (int)number : -1;
}

typedef struct cookie {
  uint8_t bytes[64];
  size_t size;
} cookie;

static bool take_counted(const uint8_t **at, const uint8_t *end, const uint8_t **out,
                         size_t *out_size) {
  if (end - *at < 2) return false;
  *out_size = (size_t)(*at)[0] << 8 | (*at)[1];
  *at += 2;
  if ((size_t)(end - *at) < *out_size) return false;
  *out = *at;
  *at += *out_size;
  return true;
}

// The MIT-MAGIC-COOKIE-1 of a display in an Xauthority file: records of family, address, number,
// name and data, each counted in big-endian. Source: libXau (AuRead.c).
static bool find_cookie(const uint8_t *at, const uint8_t *end, int number, cookie *out) {
  static const char method[] = "MIT-MAGIC-COOKIE-1";
  char wanted[16];
  snprintf(wanted, sizeof wanted, "%d", number);
  while (end - at > 2) {
    const uint8_t *address, *display, *name, *data;
    size_t address_size, display_size, name_size, data_size;
    at += 2; // the family: any that is kept on this machine will do
    if (!take_counted(&at, end, &address, &address_size)
        || !take_counted(&at, end, &display, &display_size)
        || !take_counted(&at, end, &name, &name_size) || !take_counted(&at, end, &data, &data_size))
      return false;
    bool here = display_size == 0
                || (display_size == strlen(wanted) && memcmp(display, wanted, display_size) == 0);
    if (!here || name_size != sizeof method - 1 || memcmp(name, method, name_size) != 0) continue;
    if (data_size > sizeof out->bytes) continue;
    memcpy(out->bytes, data, data_size);
    out->size = data_size;
    return true;
  }
  return false;
}

static void read_cookie(const talk *w, tm_text environment, int number, cookie *out) {
  char path[512];
  tm_text file = variable(environment, "XAUTHORITY"), home = variable(environment, "HOME");
  out->size = 0;
  int n = file.at ? snprintf(path, sizeof path, "%.*s", (int)tm_text_size(file), file.at)
                  : snprintf(path, sizeof path, "%.*s/.Xauthority",
                             home.at ? (int)tm_text_size(home) : 0, home.at ? home.at : "");
  if (n < 0 || n >= (int)sizeof path) return;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return;
  ssize_t size = read(fd, w->servers->reply, REPLY_MAX_BYTES);
  close(fd);
  if (size > 0) find_cookie(w->servers->reply, w->servers->reply + size, number, out);
}

static int connect_to(x_server *server, int number) {
  for (int abstract = 1; abstract >= 0; abstract--) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path + abstract, sizeof address.sun_path - 1, "/tmp/.X11-unix/X%d",
                     number);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)(n + 1));
    server->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->fd < 0) return errno;
    if (connect(server->fd, (const struct sockaddr *)&address, size) == 0) return 0;
    close(server->fd);
    server->fd = -1;
  }
  return ECONNREFUSED;
}

// Says hello; the server's description of itself is read and dropped.
static int shake_hands(const talk *w, const cookie *c) {
  static const char method[] = "MIT-MAGIC-COOKIE-1";
  uint8_t hello[128] = {0}, head[8];
  const uint16_t order = 0x426c; // 'B' or 'l' first, as the machine's order is
  size_t size = 12;
  hello[0] = *(const uint8_t *)&order == 0x42 ? 'B' : 'l';
  put16(hello + 2, 11);
  if (c->size) {
    put16(hello + 6, sizeof method - 1);
    put16(hello + 8, (uint16_t)c->size);
    memcpy(hello + size, method, sizeof method - 1);
    size += (sizeof method - 1 + 3) / 4 * 4;
    memcpy(hello + size, c->bytes, c->size);
    size += (c->size + 3) / 4 * 4;
  }
  int err = send_all(w, hello, size);
  if (!err) err = read_all(w, head, sizeof head);
  if (!err) err = read_all(w, w->servers->reply, (size_t)get16(head + 6) * 4);
  return !err && head[0] != 1 ? EACCES : err;
}

static int find_extension(const talk *w) {
  static const char name[] = "X-Resource";
  uint8_t request[20] = {X_QUERY_EXTENSION}, version[8] = {0};
  size_t size;
  put16(request + 4, sizeof name - 1);
  memcpy(request + 8, name, sizeof name - 1);
  int err = ask(w, request, sizeof request, 32, &size);
  if (err) return err;
  if (!w->servers->reply[8]) return ENOTSUP;
  w->server->xres = w->servers->reply[9];
  version[0] = w->server->xres;
  version[1] = XRES_QUERY_VERSION;
  version[4] = 1;
  version[5] = 2;
  err = ask(w, version, sizeof version, 32, &size);
  if (err) return err;
  uint32_t told = (uint32_t)get16(w->servers->reply + 8) << 16 | get16(w->servers->reply + 10);
  return told >= (1u << 16 | 2) ? 0 : ENOTSUP; // 1.2 knows pids
}

// ---- questions

// The server's connections of a pid: their resource bases.
static int clients_of(const talk *w, int64_t pid, uint32_t *bases, size_t *out_count) {
  uint8_t request[16] = {w->server->xres, XRES_QUERY_CLIENT_IDS};
  size_t size;
  put32(request + 4, 1);
  put32(request + 12, XRES_LOCAL_CLIENT_PID);
  int err = ask(w, request, sizeof request, 32, &size);
  *out_count = 0;
  if (err) return err;
  const uint8_t *at = w->servers->reply + 32, *end = w->servers->reply + size;
  uint32_t count = get32(w->servers->reply + 8);
  for (uint32_t i = 0; i < count && end - at >= 12; i++) {
    uint32_t client = get32(at), mask = get32(at + 4), bytes = get32(at + 8);
    at += 12;
    if (bytes > (size_t)(end - at)) break;
    if (mask == XRES_LOCAL_CLIENT_PID && bytes >= 4 && get32(at) == (uint32_t)pid
        && *out_count < CLIENTS_MAX)
      bases[(*out_count)++] = client;
    at += bytes;
  }
  return 0;
}

static int name_of(const talk *w, uint32_t atom, const char **out) {
  x_server *s = w->server;
  for (size_t i = 0; i < s->atom_count; i++)
    if (s->atoms[i].atom == atom) {
      *out = s->atoms[i].name;
      return 0;
    }
  uint8_t request[8] = {X_GET_ATOM_NAME};
  size_t size;
  put32(request + 4, atom);
  int err = ask(w, request, sizeof request, 32, &size);
  *out = "other";
  if (err == ENOENT || s->atom_count == ATOMS_MAX) return 0;
  if (err) return err;
  atom_name *a = &s->atoms[s->atom_count++];
  size_t length = get16(w->servers->reply + 8);
  if (length > size - 32) length = size - 32;
  a->atom = atom;
  tm_text_copy(tm_text_of((const char *)w->servers->reply + 32, length), a->name, sizeof a->name);
  *out = a->name;
  return 0;
}

typedef struct type_count {
  uint32_t atom, count;
} type_count;

static int add_types(const talk *w, uint32_t base, type_count *types, size_t *type_count_out) {
  uint8_t request[8] = {w->server->xres, XRES_QUERY_CLIENT_RESOURCES};
  size_t size;
  put32(request + 4, base);
  int err = ask(w, request, sizeof request, 32, &size);
  if (err) return err == ENOENT ? 0 : err;
  const uint8_t *at = w->servers->reply + 32, *end = w->servers->reply + size;
  uint32_t count = get32(w->servers->reply + 8);
  for (uint32_t i = 0; i < count && end - at >= 8; i++, at += 8) {
    size_t t = 0;
    while (t < *type_count_out && types[t].atom != get32(at)) t++;
    if (t == *type_count_out) {
      if (t == ATOMS_MAX) continue;
      types[(*type_count_out)++] = (type_count){.atom = get32(at)};
    }
    types[t].count += get32(at + 4);
  }
  return 0;
}

static int add_pixmap_bytes(const talk *w, uint32_t base, uint64_t *bytes) {
  uint8_t request[8] = {w->server->xres, XRES_QUERY_CLIENT_PIXMAP_BYTES};
  size_t size;
  put32(request + 4, base);
  int err = ask(w, request, sizeof request, 32, &size);
  if (err) return err == ENOENT ? 0 : err;
  *bytes += (uint64_t)get32(w->servers->reply + 12) << 32 | get32(w->servers->reply + 8);
  return 0;
}

typedef struct holdings {
  type_count types[ATOMS_MAX];
  size_t type_count;
  uint64_t pixmap_bytes;
  size_t client_count;
} holdings;

static int ask_server(const talk *w, int64_t pid, holdings *out) {
  uint32_t bases[CLIENTS_MAX];
  memset(out, 0, sizeof *out);
  int err = clients_of(w, pid, bases, &out->client_count);
  for (size_t i = 0; !err && i < out->client_count; i++) {
    err = add_types(w, bases[i], out->types, &out->type_count);
    if (!err) err = add_pixmap_bytes(w, bases[i], &out->pixmap_bytes);
  }
  return err;
}

// ---- one process

enum { X_UNKNOWN, X_NONE, X_HAS };

static void hang_up(x_server *server) {
  if (server->fd >= 0) close(server->fd);
  server->fd = -1;
  server->atom_count = 0;
}

static int open_server(const talk *w, tm_text environment, int number) {
  cookie c;
  read_cookie(w, environment, number, &c);
  int err = connect_to(w->server, number);
  if (!err) err = shake_hands(w, &c);
  if (!err) err = find_extension(w);
  if (err) hang_up(w->server);
  return err;
}

// Which server, connected; from the environment that the process was started with.
static int find_server(tm_proc *proc, talk *w) {
  tm_plat *plat = proc->plat;
  tm_text environment;
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd < 0) return err;
  err = tm_plat_slurp(plat, dir_fd, "environ", &environment);
  if (err) return err;
  tm_text display = variable(environment, "DISPLAY");
  int number = display.at && !plat->proc_fixture ? display_number(display) : -1;
  if (number < 0) return ENOTSUP;
  char name[64];
  snprintf(name, sizeof name, ":%d", number);
  if (!plat->x) {
    size_t room = 0;
    void *storage = NULL;
    if (tm_plat_grow(plat, &storage, &room, 1, sizeof *plat->x)) return ENOMEM;
    plat->x = storage;
    for (size_t i = 0; i < SERVERS_MAX; i++) plat->x->items[i] = (x_server){.fd = -1};
  }
  size_t at = 0;
  while (at < SERVERS_MAX && plat->x->items[at].display[0]
         && strcmp(plat->x->items[at].display, name) != 0)
    at++;
  if (at == SERVERS_MAX) return ENOTSUP;
  w->servers = plat->x;
  w->server = &plat->x->items[at];
  proc->x_server = (uint8_t)at;
  memcpy(w->server->display, name, sizeof name);
  return w->server->fd >= 0 ? 0 : open_server(w, environment, number);
}

static int read_holdings(tm_proc *proc, talk *w, holdings *out) {
  tm_plat *plat = proc->plat;
  int err = 0;
  w->until_ns = tm_clock_mono_ns() + PATIENCE_NS;
  if (proc->x_state == X_HAS && plat->x->items[proc->x_server].fd >= 0) {
    w->servers = plat->x;
    w->server = &plat->x->items[proc->x_server];
  } else {
    err = find_server(proc, w);
  }
  if (!err) err = ask_server(w, proc->id.pid, out);
  if (err && w->server)
    hang_up(w->server); // an answer that comes late must not be taken for the next
  bool busy = err == ETIMEDOUT || err == ECONNRESET || err == ECONNREFUSED;
  proc->x_state = err ? X_NONE : X_HAS;
  proc->x_retry = busy ? RETRY_BUSY : RETRY_NONE;
  return err;
}

int tm_proc_read_x(tm_proc *proc, tm_reading *out) {
  talk w = {.server = NULL};
  holdings h;
  out->value[TM_SIGNAL_X_BYTES] = out->value[TM_SIGNAL_X_RESOURCES] = NAN;
  tm_named_set(out->x, TM_X_KINDS, NAN);
  char buf[1024];
  tm_procfs_stat stat;
  int err = tm_proc_stat(proc, buf, sizeof buf, &stat); // the server may not know of its end yet
  if (err) return err;
  if (proc->x_state == X_NONE && proc->x_retry && proc->x_retry--) return 0;
  err = read_holdings(proc, &w, &h);
  if (err == ESRCH || err == EACCES || err == ENOMEM) return err;
  if (err || !h.client_count) return 0; // no display here: no series of zeros
  double count = 0;
  tm_named_set(out->x, TM_X_KINDS, 0); // types that were there before, and are not now
  for (size_t i = 0; i < h.type_count; i++) {
    const char *name;
    err = name_of(&w, h.types[i].atom, &name);
    if (err) return 0;
    tm_named_add(out->x, TM_X_KINDS, name, h.types[i].count);
    count += h.types[i].count;
  }
  out->value[TM_SIGNAL_X_BYTES] = (double)h.pixmap_bytes;
  out->value[TM_SIGNAL_X_RESOURCES] = count;
  return 0;
}

static tm_status fail_x(tm_ctx *ctx, const tm_proc *proc, int err) {
  long long pid = (long long)proc->id.pid;
  if (err == ENOTSUP)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "process %lld has no X display on this machine, or its server lacks X-Resource",
                   pid);
  if (err == ETIMEDOUT)
    return tm_fail(ctx, TM_E_TIMEOUT, TM_NO_OFFSET,
                   "the X server of process %lld did not answer in 20 ms", pid);
  if (err == ENOENT) err = ESRCH;
  return tm_fail_errno(ctx, err, "cannot ask the X server of process %lld", pid);
}

tm_status tm_proc_each_x_resource(tm_ctx *ctx, tm_proc *proc,
                                  void (*fn)(void *ud, const tm_x_row *row), void *ud) {
  talk w = {.server = NULL};
  holdings h;
  int err = read_holdings(proc, &w, &h);
  for (size_t i = 0; !err && i < h.type_count; i++) {
    const char *name;
    err = name_of(&w, h.types[i].atom, &name);
    if (err) break;
    tm_x_row row = {.count = h.types[i].count};
    snprintf(row.type, sizeof row.type, "%s", name);
    if (strcmp(name, "PIXMAP") == 0) row.bytes = h.pixmap_bytes;
    fn(ud, &row);
  }
  return err ? fail_x(ctx, proc, err) : TM_OK;
}

void tm_x_free(tm_plat *plat) {
  for (size_t i = 0; i < SERVERS_MAX; i++) hang_up(&plat->x->items[i]);
  tm_plat_free(plat, plat->x, 1, sizeof *plat->x);
}
