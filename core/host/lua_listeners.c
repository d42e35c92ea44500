// core.listeners: where a process can be spoken to. Its descriptors name sockets by inode; the
// kernel's tables of listening sockets name the address of an inode. One pass over each.
#include "host/lua_core.h"

#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SOCKETS_MAX = 65536, LINE_MAX_BYTES = 512 };

typedef struct inode_set {
  size_t count;
  uint64_t items[SOCKETS_MAX]; // sorted
} inode_set;

static int compare(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

// The inodes of the sockets that the process has open; false: its descriptors cannot be read.
static bool read_sockets(lua_Integer pid, inode_set *out) {
  char path[64], link[64];
  unsigned long long inode;
  snprintf(path, sizeof path, "/proc/%lld/fd", (long long)pid);
  DIR *dir = opendir(path);
  if (!dir) return false;
  for (struct dirent *entry; out->count < SOCKETS_MAX && (entry = readdir(dir));) {
    ssize_t size = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);
    if (size <= 0) continue;
    link[size] = '\0';
    if (sscanf(link, "socket:[%llu]", &inode) == 1) out->items[out->count++] = inode;
  }
  closedir(dir);
  qsort(out->items, out->count, sizeof *out->items, compare);
  return true;
}

static bool has_socket(const inode_set *set, uint64_t inode) {
  return bsearch(&inode, set->items, set->count, sizeof inode, compare) != NULL;
}

// The host by which loopback reaches a listening address of /proc/net/tcp; NULL = it does not.
// Source: proc_net_tcp of the kernel's documentation; addresses are words of the machine's order.
static const char *reachable_host(const char *address) {
  static const char *const hosts[][2] = {
      {"0100007F", "127.0.0.1"},
      {"00000000", "127.0.0.1"},
      {"00000000000000000000000001000000", "[::1]"},
      {"00000000000000000000000000000000", "[::1]"},
      {"0000000000000000FFFF00000100007F", "127.0.0.1"},
  };
  for (size_t i = 0; i < TM_COUNT(hosts); i++)
    if (strcmp(address, hosts[i][0]) == 0) return hosts[i][1];
  return NULL;
}

static bool tcp_line(const char *line, const inode_set *set, char *out, size_t size) {
  char address[40];
  uint32_t port, state;
  unsigned long long inode;
  if (sscanf(line, " %*d: %39[0-9A-F]:%x %*[0-9A-F]:%*x %x %*s %*s %*s %*s %*s %llu", address,
             &port, &state, &inode)
          != 4
      || state != 0x0a || !has_socket(set, inode)) // 0A is TCP_LISTEN
    return false;
  const char *host = reachable_host(address);
  if (host) snprintf(out, size, "http://%s:%u", host, port);
  return host != NULL;
}

// Flags 00010000 is __SO_ACCEPTCON, type 0001 a stream. Abstract names (@...) are no files.
static bool unix_line(const char *line, const inode_set *set, char *out, size_t size) {
  uint32_t flags, type;
  unsigned long long inode;
  int at = 0;
  if (sscanf(line, "%*[^:]: %*x %*x %x %x %*x %llu %n", &flags, &type, &inode, &at) != 3 || !at)
    return false;
  const char *path = line + at;
  size_t length = strcspn(path, "\n");
  if (!(flags & 0x10000) || type != 1 || *path != '/' || !has_socket(set, inode)) return false;
  snprintf(out, size, "unix:%.*s", (int)length, path);
  return true;
}

typedef bool (*line_fn)(const char *line, const inode_set *set, char *out, size_t size);

// Appends what the lines of a table answer to the Lua table on top.
static void add_table(lua_State *L, const char *path, const inode_set *set, line_fn read) {
  char line[LINE_MAX_BYTES], address[LINE_MAX_BYTES];
  FILE *file = fopen(path, "re");
  if (!file) return;
  while (fgets(line, sizeof line, file)) {
    if (!read(line, set, address, sizeof address)) continue;
    lua_pushstring(L, address);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  }
  fclose(file);
}

int tm_lua_listeners(lua_State *L) {
  lua_Integer pid = luaL_checkinteger(L, 1);
  inode_set *set = lua_newuserdatauv(L, sizeof *set, 0); // freed by Lua, whatever is raised
  set->count = 0;
  if (!read_sockets(pid, set)) {
    int problem = errno;
    lua_pushnil(L);
    lua_pushstring(L, problem == ENOENT ? "gone" : "permission");
    return 2;
  }
  lua_newtable(L);
  add_table(L, "/proc/net/tcp", set, tcp_line);
  add_table(L, "/proc/net/tcp6", set, tcp_line);
  add_table(L, "/proc/net/unix", set, unix_line);
  return 1;
}
