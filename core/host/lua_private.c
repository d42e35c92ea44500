// What captures need of the file system and of /proc: a folder of their own, a file put in its
// place with mode 0600, room on a disk, the ports of a process, and Node's signal.
#include "bind/lua_error.h"
#include "host/lua_capture.h"
#include "host/lua_fields.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PATH_ROOM = 1100, COPY_BYTES = 1 << 16, PORTS_MAX = 64 };

static int failed_errno(lua_State *L, int error, const char *what, const char *path) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_fail_errno(&ctx, error, "%s %s", what, path);
  tm_ctx_fini(&ctx);
  return tm_lua_failed(L, &ctx);
}

// ---- files ----

// core.private_folder(parent, uid | nil, gid | nil) -> path: new, 0700, of that user
static int core_private_folder(lua_State *L) {
  char path[PATH_ROOM];
  const char *parent = luaL_checkstring(L, 1);
  lua_Integer uid = luaL_optinteger(L, 2, -1), gid = luaL_optinteger(L, 3, -1);
  if (snprintf(path, sizeof path, "%s/.tidemark-XXXXXX", parent) >= (int)sizeof path)
    return failed_errno(L, ENAMETOOLONG, "cannot make a folder in", parent);
  if (!mkdtemp(path)) return failed_errno(L, errno, "cannot make a folder in", parent);
  if (uid >= 0 && uid != (lua_Integer)geteuid() && chown(path, (uid_t)uid, (gid_t)gid) != 0) {
    int error = errno;
    rmdir(path);
    return failed_errno(L, error, "cannot give a folder away in", parent);
  }
  lua_pushstring(L, path);
  return 1;
}

// core.remove_folder(path): with the files in it, no folders below
static int core_remove_folder(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  DIR *dir = opendir(path);
  if (!dir) return failed_errno(L, errno, "cannot remove", path);
  for (struct dirent *entry; (entry = readdir(dir));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      unlinkat(dirfd(dir), entry->d_name, 0);
  closedir(dir);
  if (rmdir(path) != 0) return failed_errno(L, errno, "cannot remove", path);
  lua_pushboolean(L, 1);
  return 1;
}

static int copy_bytes(int from, int to) { // errno or 0
  char *buffer = malloc(COPY_BYTES);
  int error = buffer ? 0 : ENOMEM;
  while (!error) {
    ssize_t n = read(from, buffer, COPY_BYTES);
    if (n == 0) break;
    if (n < 0 && errno != EINTR) error = errno;
    for (ssize_t at = 0; at < n && !error;) {
      ssize_t m = write(to, buffer + at, (size_t)(n - at));
      if (m < 0 && errno != EINTR) error = errno;
      if (m > 0) at += m;
    }
  }
  free(buffer);
  return error;
}

// Another file system: copied beside the name first, so that the file is whole or not there.
static int copy_over(int from, const char *to) {
  char part[PATH_ROOM];
  if (snprintf(part, sizeof part, "%s.XXXXXX", to) >= (int)sizeof part) return ENAMETOOLONG;
  int fd = mkostemp(part, O_CLOEXEC); // 0600
  if (fd < 0) return errno;
  int error = copy_bytes(from, fd);
  if (close(fd) != 0 && !error) error = errno;
  if (!error && rename(part, to) != 0) error = errno;
  if (error) unlink(part);
  return error;
}

// core.move_private(from, to) -> bytes: a plain file, whoever wrote it, becomes ours with 0600
static int core_move_private(lua_State *L) {
  struct stat st;
  const char *from = luaL_checkstring(L, 1), *to = luaL_checkstring(L, 2);
  int fd = open(from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return failed_errno(L, errno, "cannot read", from);
  int error = fstat(fd, &st) == 0 ? 0 : errno;
  if (!error && !S_ISREG(st.st_mode)) error = EINVAL;
  if (!error && st.st_uid == geteuid() && st.st_nlink == 1) {
    error = fchmod(fd, 0600) == 0 && rename(from, to) == 0 ? 0 : errno;
    if (error == EXDEV) error = copy_over(fd, to);
  } else if (!error) {
    error = copy_over(fd, to);
  }
  close(fd);
  if (error) return failed_errno(L, error, "cannot write", to);
  unlink(from);
  lua_pushinteger(L, st.st_size);
  return 1;
}

static int core_disk_free(lua_State *L) { // path of a folder -> bytes that may be written there
  struct statvfs st;
  const char *path = luaL_checkstring(L, 1);
  if (statvfs(path, &st) != 0) return failed_errno(L, errno, "cannot look at", path);
  uint64_t free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
  lua_pushinteger(L, (lua_Integer)free_bytes);
  return 1;
}

// ---- ports of a process ----

typedef struct listening {
  uint64_t inode;
  uint32_t port;
} listening;

// Adds the listening sockets of one table. Source: proc_net_tcp; 0A is TCP_LISTEN.
static size_t read_table(lua_Integer pid, const char *name, listening *out, size_t count) {
  char line[512];
  uint32_t port, state;
  unsigned long long inode;
  snprintf(line, sizeof line, "/proc/%lld/net/%s", (long long)pid, name);
  FILE *file = fopen(line, "re");
  while (file && count < PORTS_MAX && fgets(line, sizeof line, file))
    if (sscanf(line, " %*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x %*s %*s %*s %*s %*s %llu", &port,
               &state, &inode)
            == 3
        && state == 0x0a && inode)
      out[count++] = (listening){inode, port};
  if (file) fclose(file);
  return count;
}

// core.ports(pid) -> list of TCP ports where the process listens, by its descriptors
static int core_ports(lua_State *L) {
  listening rows[PORTS_MAX];
  char path[300], link[64];
  unsigned long long inode;
  lua_Integer pid = luaL_checkinteger(L, 1), n = 0;
  size_t count = read_table(pid, "tcp6", rows, read_table(pid, "tcp", rows, 0));
  snprintf(path, sizeof path, "/proc/%lld/fd", (long long)pid);
  DIR *dir = opendir(path);
  if (!dir) return failed_errno(L, errno, "cannot list", path);
  lua_newtable(L);
  for (struct dirent *entry; (entry = readdir(dir));) {
    ssize_t size = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);
    if (size <= 0) continue;
    link[size] = '\0';
    if (sscanf(link, "socket:[%llu]", &inode) != 1) continue;
    for (size_t i = 0; i < count; i++)
      if (rows[i].inode == inode) {
        lua_pushinteger(L, rows[i].port);
        lua_rawseti(L, -2, ++n);
      }
  }
  closedir(dir);
  return 1;
}

// core.ask_inspector(pid) -> true | nil, err: SIGUSR1, which opens Node's inspector. A process that
// does not catch it would end by it: TM_E_UNSUPPORTED.
static int core_ask_inspector(lua_State *L) {
  char line[256];
  lua_Integer pid = luaL_checkinteger(L, 1);
  bool catches = false;
  snprintf(line, sizeof line, "/proc/%lld/status", (long long)pid);
  FILE *file = fopen(line, "re");
  if (!file) return failed_errno(L, errno == ENOENT ? ESRCH : errno, "cannot look at", line);
  while (fgets(line, sizeof line, file))
    if (strncmp(line, "SigCgt:", 7) == 0)
      catches = strtoull(line + 7, NULL, 16) >> (SIGUSR1 - 1) & 1;
  fclose(file);
  snprintf(line, sizeof line, "process %lld", (long long)pid);
  if (!catches) return failed_errno(L, ENOSYS, "SIGUSR1 would end what is no Node:", line);
  if (kill((pid_t)pid, SIGUSR1) != 0) return failed_errno(L, errno, "cannot signal", line);
  lua_pushboolean(L, 1);
  return 1;
}

void tm_lua_add_private(lua_State *L) {
  static const luaL_Reg functions[] = {{"private_folder", core_private_folder},
                                       {"remove_folder", core_remove_folder},
                                       {"move_private", core_move_private},
                                       {"disk_free", core_disk_free},
                                       {"ports", core_ports},
                                       {"ask_inspector", core_ask_inspector},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  tm_lua_add_redact(L);
}
