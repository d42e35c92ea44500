// What trusted Lua gets from apps on this machine: core.http, core.json_decode, and core.listener,
// which finds the process behind an address.
#include "host/lua_core.h"
#include "host/lua_json.h"
#include "net/http_client.h"

#include <dirent.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// ---- core.listener ----

// The process that listens on a unix socket, by asking the socket; 0 = nobody.
static int64_t listener_unix(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct ucred peer = {0};
  socklen_t size = sizeof peer;
  size_t length = strlen(path);
  if (length >= sizeof address.sun_path) return 0;
  memcpy(address.sun_path, path, length);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return 0;
  bool ok = connect(fd, (const struct sockaddr *)&address, sizeof address) == 0
            && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
  close(fd);
  return ok ? peer.pid : 0;
}

// Inode of the first socket of a /proc/net/tcp table that listens on the port where loopback
// reaches it; 0 = none. Source: proc_net_tcp of the kernel's documentation; 0A is TCP_LISTEN.
static uint64_t listening_inode(const char *table, uint32_t port) {
  static const char *const addresses[] = {
      "0100007F", "00000000", "00000000000000000000000001000000",
      "00000000000000000000000000000000", "0000000000000000FFFF00000100007F"};
  char line[512], address[40];
  uint32_t at, state;
  unsigned long long inode = 0;
  FILE *file = fopen(table, "re");
  if (!file) return 0;
  while (fgets(line, sizeof line, file)) {
    if (sscanf(line, " %*d: %39[0-9A-F]:%x %*[0-9A-F]:%*x %x %*s %*s %*s %*s %*s %llu", address,
               &at, &state, &inode)
            != 4
        || at != port || state != 0x0a)
      continue;
    for (size_t i = 0; i < TM_COUNT(addresses); i++)
      if (strcmp(address, addresses[i]) == 0) {
        fclose(file);
        return inode;
      }
  }
  fclose(file);
  return 0;
}

static bool has_socket(const char *pid, uint64_t inode) {
  char path[300], link[64], want[40];
  bool found = false;
  snprintf(want, sizeof want, "socket:[%llu]", (unsigned long long)inode);
  snprintf(path, sizeof path, "/proc/%s/fd", pid);
  DIR *dir = opendir(path);
  if (!dir) return false; // another user's, or gone
  for (struct dirent *entry; !found && (entry = readdir(dir));) {
    ssize_t size = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);
    if (size <= 0) continue;
    link[size] = '\0';
    found = strcmp(link, want) == 0;
  }
  closedir(dir);
  return found;
}

// The oldest pid that holds the socket: workers that were forked share it with their parent.
static int64_t holder_of(uint64_t inode) {
  int64_t lowest = 0;
  DIR *dir = opendir("/proc");
  if (!dir) return 0;
  for (struct dirent *entry; (entry = readdir(dir));) {
    int64_t pid = strtoll(entry->d_name, NULL, 10);
    if (pid > 0 && (!lowest || pid < lowest) && has_socket(entry->d_name, inode)) lowest = pid;
  }
  closedir(dir);
  return lowest;
}

static int64_t listener_tcp(lua_Integer port) {
  static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
  for (size_t i = 0; port > 0 && port < 65536 && i < TM_COUNT(tables); i++) {
    uint64_t inode = listening_inode(tables[i], (uint32_t)port);
    int64_t pid = inode ? holder_of(inode) : 0;
    if (pid) return pid;
  }
  return 0;
}

// core.listener("unix", path), core.listener("tcp", port) -> pid | nil: who listens there, on this
// machine. Sockets of other users are seen only by root.
static int core_listener(lua_State *L) {
  static const char *const kinds[] = {"unix", "tcp", NULL};
  int64_t pid = luaL_checkoption(L, 1, NULL, kinds) == 0 ? listener_unix(luaL_checkstring(L, 2))
                                                         : listener_tcp(luaL_checkinteger(L, 2));
  if (!pid) return 0;
  lua_pushinteger(L, pid);
  return 1;
}

void tm_lua_add_net(lua_State *L) {
  static const luaL_Reg functions[] = {{"http", tm_lua_http},
                                       {"json_decode", tm_lua_json_decode},
                                       {"listener", core_listener},
                                       {"listeners", tm_lua_listeners},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "json_null");
  lua_pushboolean(L, tm_http_has_tls());
  lua_setfield(L, -2, "https");
}
