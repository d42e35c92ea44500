// core.http, core.json_decode and core.listener for trusted Lua. Requests block; what they brought
// is owned by a userdata until it is copied into Lua, so that nothing leaks when Lua raises.
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

// ---- core.http ----

enum { MAX_HEADERS = 64 };

typedef struct answer {
  tm_ctx ctx;
  tm_http_result result;
} answer;

static int answer_gc(lua_State *L) {
  answer *a = lua_touserdata(L, 1);
  tm_http_result_free(&a->ctx, &a->result);
  tm_ctx_fini(&a->ctx);
  return 0;
}

static answer *push_answer(lua_State *L) {
  answer *a = lua_newuserdatauv(L, sizeof *a, 0);
  *a = (answer){0};
  tm_ctx_init(&a->ctx, NULL);
  if (luaL_newmetatable(L, "tidemark.HttpAnswer")) {
    lua_pushcfunction(L, answer_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  return a;
}

// A string field of the options at 1, which keep it alive; NULL when absent.
static const char *text_field(lua_State *L, const char *name, size_t *out_size) {
  const char *text = NULL;
  int type = lua_getfield(L, 1, name);
  if (type == LUA_TSTRING)
    text = lua_tolstring(L, -1, out_size);
  else if (type != LUA_TNIL)
    luaL_error(L, "core.http: %s must be a string", name);
  lua_pop(L, 1);
  return text;
}

static uint64_t count_field(lua_State *L, const char *name) {
  int is_integer = 1;
  lua_Integer value = 0;
  if (lua_getfield(L, 1, name) != LUA_TNIL) value = lua_tointegerx(L, -1, &is_integer);
  if (!is_integer || value < 0) luaL_error(L, "core.http: %s must be a whole number", name);
  lua_pop(L, 1);
  return (uint64_t)value;
}

static size_t header_fields(lua_State *L, tm_http_header headers[MAX_HEADERS]) {
  size_t count = 0;
  int type = lua_getfield(L, 1, "headers");
  if (type == LUA_TTABLE) {
    lua_pushnil(L);
    while (lua_next(L, -2)) {
      if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "core.http: headers are strings by name");
      if (count == MAX_HEADERS) luaL_error(L, "core.http: more than %d headers", MAX_HEADERS);
      headers[count++] = (tm_http_header){lua_tostring(L, -2), lua_tostring(L, -1)};
      lua_pop(L, 1);
    }
  } else if (type != LUA_TNIL) {
    luaL_error(L, "core.http: headers must be a table");
  }
  lua_pop(L, 1);
  return count;
}

static void check_names(lua_State *L) {
  static const char *const known[] = {"url",        "method",         "body",        "headers",
                                      "timeout_ns", "max_body_bytes", "host_header", "ca_file"};
  lua_pushnil(L);
  while (lua_next(L, 1)) {
    bool found = false;
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    for (size_t i = 0; i < TM_COUNT(known); i++) found = found || strcmp(name, known[i]) == 0;
    if (!found) luaL_error(L, "core.http: no option is called '%s'", name);
    lua_pop(L, 1);
  }
}

static tm_http_request read_request(lua_State *L, tm_http_header headers[MAX_HEADERS]) {
  size_t body_bytes = 0, unused;
  check_names(L);
  tm_http_request request = {
      .url = text_field(L, "url", &unused),
      .method = text_field(L, "method", &unused),
      .body = text_field(L, "body", &body_bytes),
      .headers = headers,
      .header_count = header_fields(L, headers),
      .host_header = text_field(L, "host_header", &unused),
      .ca_file = text_field(L, "ca_file", &unused),
      .total_timeout_ns = count_field(L, "timeout_ns"),
      .max_body_bytes = count_field(L, "max_body_bytes"),
  };
  if (!request.url) luaL_error(L, "core.http: url is missing");
  request.body_bytes = body_bytes;
  request.first_byte_timeout_ns = request.idle_timeout_ns = request.total_timeout_ns;
  return request;
}

// name -> value, names in small letters; what comes several times is joined by ", ".
static void push_headers(lua_State *L, const tm_bytes *head) {
  const char *at = (const char *)head->data, *end = at + head->size;
  lua_newtable(L);
  while (at < end) {
    const char *value = at + strlen(at) + 1;
    luaL_Buffer name;
    if (value >= end) return;
    luaL_buffinit(L, &name);
    for (const char *p = at; *p; p++)
      luaL_addchar(&name, *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p);
    luaL_pushresult(&name);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TSTRING)
      lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), value);
    else
      lua_pushstring(L, value);
    lua_remove(L, -2);
    lua_rawset(L, -3);
    at = value + strlen(value) + 1;
  }
}

// core.http{url=, method=, body=, headers={}, timeout_ns=, max_body_bytes=, host_header=, ca_file=}
// -> {status=, body=, headers={}, total_ns=} | nil, err
static int core_http(lua_State *L) {
  tm_http_header headers[MAX_HEADERS];
  luaL_checktype(L, 1, LUA_TTABLE);
  tm_http_request request = read_request(L, headers);
  answer *a = push_answer(L);
  if (tm_http_fetch(&a->ctx, &request, &a->result) != TM_OK) return tm_lua_failed(L, &a->ctx);
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, a->result.http_status);
  lua_setfield(L, -2, "status");
  lua_pushlstring(L, a->result.body.data ? (const char *)a->result.body.data : "",
                  a->result.body.size);
  lua_setfield(L, -2, "body");
  push_headers(L, &a->result.head);
  lua_setfield(L, -2, "headers");
  lua_pushinteger(L, (lua_Integer)a->result.total_ns);
  lua_setfield(L, -2, "total_ns");
  tm_http_result_free(&a->ctx, &a->result); // now, not when the collector comes
  return 1;
}

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
  static const luaL_Reg functions[] = {{"http", core_http},
                                       {"json_decode", tm_lua_json_decode},
                                       {"listener", core_listener},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "json_null");
}
