// core.*: processes and signals of this machine, units, hashes, files and the terminal, for trusted
// Lua.
#include "base/clock.h"
#include "base/units.h"
#include "bind/lua_error.h"
#include "bind/lua_model.h"
#include "bind/lua_series.h"
#include "host/lua_core.h"
#include "host/lua_fields.h"
#include "live/exe_runtime.h"
#include "platform/platform.h"
#include "write/gzip.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>
#include <xxhash.h>

static void set_boolean(lua_State *L, const char *name, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}

// ---- processes ----

static void push_info(lua_State *L, const tm_process_info *info) {
  lua_createtable(L, 0, 9);
  set_integer(L, "pid", info->id.pid);
  set_integer(L, "start_ticks", (int64_t)info->id.start_ticks);
  set_integer(L, "parent", info->parent_pid);
  set_integer(L, "uid", info->uid);
  set_integer(L, "start_time_ns", info->start_time_ns);
  set_string(L, "name", info->name);
  set_string(L, "command", info->command);
  set_string(L, "exe", info->exe);
}

static int core_processes(lua_State *L) { // -> list of process tables
  tm_ctx ctx;
  tm_plat *plat = NULL;
  const int64_t *pids;
  size_t count;
  tm_ctx_init(&ctx, NULL);
  if (tm_plat_open(&ctx, NULL, NULL, &plat) != TM_OK
      || tm_plat_list(&ctx, plat, &pids, &count) != TM_OK) {
    tm_plat_close(plat);
    tm_ctx_fini(&ctx);
    return tm_lua_failed(L, &ctx);
  }
  lua_createtable(L, (int)count, 0);
  lua_Integer n = 0;
  for (size_t i = 0; i < count; i++) {
    tm_process_info info;
    tm_ctx_clear(&ctx);
    if (tm_plat_describe(&ctx, plat, pids[i], &info) != TM_OK) continue;
    push_info(L, &info);
    lua_rawseti(L, -2, ++n);
  }
  tm_plat_close(plat);
  tm_ctx_fini(&ctx);
  return 1;
}

typedef struct withheld_rows {
  lua_State *L;
  lua_Integer n;
} withheld_rows;

static void add_withheld(void *ud, tm_group group, const char *what, const char *remedy) {
  withheld_rows *rows = ud;
  lua_createtable(rows->L, 0, 3);
  set_string(rows->L, "group", tm_group_name(group));
  set_string(rows->L, "what", what);
  set_string(rows->L, "remedy", remedy);
  lua_rawseti(rows->L, -2, ++rows->n);
}

static void push_reading(lua_State *L, const tm_reading *reading) {
  lua_newtable(L);
  for (size_t s = 0; s < TM_SIGNAL_COUNT; s++)
    if (!isnan(reading->value[s]))
      set_number(L, tm_signal_describe((tm_signal)s)->name, reading->value[s]);
  lua_newtable(L);
  for (size_t h = 0; h < TM_HANDLE_COUNT; h++)
    if (reading->handles[h] > 0)
      set_number(L, tm_handle_kind_name((tm_handle_kind)h), reading->handles[h]);
  lua_setfield(L, -2, "handles");
  lua_newtable(L);
  for (size_t m = 0; m < TM_MAPPING_COUNT; m++)
    if (reading->mappings[m] > 0)
      set_number(L, tm_mapping_kind_name((tm_mapping_kind)m), reading->mappings[m]);
  lua_setfield(L, -2, "mappings");
}

static int core_describe(lua_State *L) { // pid -> {process..., signals = {...}, withheld = {...}}
  tm_ctx ctx;
  tm_plat *plat = NULL;
  tm_proc *proc = NULL;
  tm_process_info info;
  tm_reading *reading = malloc(sizeof *reading);
  int64_t pid = luaL_checkinteger(L, 1);
  if (!reading) return luaL_error(L, "out of memory");
  tm_ctx_init(&ctx, NULL);
  tm_reading_clear(reading);
  tm_status status = tm_plat_open(&ctx, NULL, NULL, &plat);
  if (status == TM_OK) status = tm_plat_describe(&ctx, plat, pid, &info);
  if (status == TM_OK) status = tm_proc_open(&ctx, plat, pid, &proc);
  if (status == TM_OK) status = tm_proc_read(&ctx, proc, (1u << TM_GROUP_COUNT) - 1, reading);
  if (status == TM_OK) {
    push_info(L, &info);
    push_reading(L, reading);
    lua_setfield(L, -2, "signals");
    lua_newtable(L);
    withheld_rows rows = {L, 0};
    tm_proc_withheld(proc, add_withheld, &rows);
    lua_setfield(L, -2, "withheld");
  }
  tm_proc_close(proc);
  tm_plat_close(plat);
  free(reading);
  tm_ctx_fini(&ctx);
  return status == TM_OK ? 1 : tm_lua_failed(L, &ctx);
}

static int core_system(lua_State *L) { // -> machine-wide signals
  tm_ctx ctx;
  tm_plat *plat = NULL;
  tm_reading reading;
  tm_ctx_init(&ctx, NULL);
  tm_reading_clear(&reading);
  tm_status status = tm_plat_open(&ctx, NULL, NULL, &plat);
  if (status == TM_OK)
    status = tm_plat_read_system(
        &ctx, plat, TM_GROUP_BIT(TM_GROUP_SYSTEM) | TM_GROUP_BIT(TM_GROUP_PSI), &reading);
  tm_plat_close(plat);
  tm_ctx_fini(&ctx);
  if (status != TM_OK) return tm_lua_failed(L, &ctx);
  push_reading(L, &reading);
  return 1;
}

typedef struct doctor_rows {
  lua_State *L;
  lua_Integer n;
} doctor_rows;

static void add_check(void *ud, const char *what, bool works, const char *detail,
                      const char *remedy) {
  doctor_rows *rows = ud;
  lua_createtable(rows->L, 0, 4);
  set_string(rows->L, "what", what);
  set_boolean(rows->L, "works", works);
  set_string(rows->L, "detail", detail);
  set_string(rows->L, "remedy", remedy);
  lua_rawseti(rows->L, -2, ++rows->n);
}

static int core_doctor(lua_State *L) { // -> list of {what, works, detail, remedy}
  tm_ctx ctx;
  tm_plat *plat = NULL;
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_plat_open(&ctx, NULL, NULL, &plat);
  lua_newtable(L);
  doctor_rows rows = {L, 0};
  if (status == TM_OK) tm_plat_doctor(plat, add_check, &rows);
  tm_plat_close(plat);
  tm_ctx_fini(&ctx);
  return status == TM_OK ? 1 : tm_lua_failed(L, &ctx);
}

static int core_signals(lua_State *L) { // -> list of {name, unit, group, kind, doc}
  lua_createtable(L, TM_SIGNAL_COUNT, 0);
  for (size_t s = 0; s < TM_SIGNAL_COUNT; s++) {
    const tm_signal_info *info = tm_signal_describe((tm_signal)s);
    lua_createtable(L, 0, 5);
    set_string(L, "name", info->name);
    set_string(L, "unit", tm_unit_name(info->unit));
    set_string(L, "group", tm_group_name(info->group));
    set_string(L, "kind", info->kind == TM_SIGNAL_IS_COUNTER ? "counter" : "gauge");
    set_string(L, "doc", info->doc);
    lua_rawseti(L, -2, (lua_Integer)s + 1);
  }
  return 1;
}

// ---- units ----

static int core_format(lua_State *L) { // value, unit -> text for people
  char text[64];
  lua_pushstring(L, tm_format_value(text, sizeof text, tm_unit_by_name(luaL_optstring(L, 2, "")),
                                    luaL_checknumber(L, 1)));
  return 1;
}

typedef tm_status (*parse_fn)(tm_ctx *ctx, const char *text, uint64_t *out);

static int parse(lua_State *L, parse_fn fn) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  uint64_t value;
  if (fn(&ctx, luaL_checkstring(L, 1), &value) != TM_OK) return tm_lua_failed(L, &ctx);
  lua_pushinteger(L, (lua_Integer)value);
  return 1;
}

static int core_bytes(lua_State *L) { // "512MB" -> bytes
  return parse(L, tm_parse_bytes);
}

static int core_duration(lua_State *L) { // "10s" -> ns
  return parse(L, tm_parse_duration);
}

// ---- time, hashes, JSON ----

static int core_now(lua_State *L) { // -> wall ns, monotonic ns
  lua_pushinteger(L, tm_clock_wall_ns());
  lua_pushinteger(L, (lua_Integer)tm_clock_mono_ns());
  return 2;
}

static int core_hash(lua_State *L) { // text -> 16 hex digits (XXH3-64)
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  char hex[20];
  snprintf(hex, sizeof hex, "%016llx", (unsigned long long)XXH3_64bits(text, size));
  lua_pushstring(L, hex);
  return 1;
}

static int core_json(lua_State *L) { // value -> JSON text
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_bytes json = {0};
  tm_status status = tm_lua_json(&ctx, L, 1, &json);
  if (status == TM_OK) lua_pushlstring(L, (const char *)json.data, json.size);
  tm_bytes_free(&ctx, &json);
  tm_ctx_fini(&ctx);
  return status == TM_OK ? 1 : tm_lua_failed(L, &ctx);
}

// ---- files ----

static int failed_errno(lua_State *L, const char *what, const char *path) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_fail_errno(&ctx, errno, "%s %s", what, path);
  return tm_lua_failed(L, &ctx);
}

static int core_stat(lua_State *L) { // path -> {kind, size_bytes, mtime_ns, uid, mode}
  struct stat st;
  const char *path = luaL_checkstring(L, 1);
  if (stat(path, &st) != 0) return failed_errno(L, "cannot look at", path);
  lua_createtable(L, 0, 5);
  set_string(L, "kind",
             S_ISDIR(st.st_mode)    ? "directory"
             : S_ISREG(st.st_mode)  ? "file"
             : S_ISSOCK(st.st_mode) ? "socket"
                                    : "other");
  set_integer(L, "size_bytes", st.st_size);
  set_integer(L, "mtime_ns", (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec);
  set_integer(L, "uid", st.st_uid);
  set_integer(L, "mode", st.st_mode & 07777);
  return 1;
}

static int core_list(lua_State *L) { // folder -> sorted names
  const char *path = luaL_checkstring(L, 1);
  struct dirent **entries;
  int n = scandir(path, &entries, NULL, alphasort);
  if (n < 0) return failed_errno(L, "cannot list", path);
  lua_createtable(L, n, 0);
  lua_Integer count = 0;
  for (int i = 0; i < n; i++) {
    const char *name = entries[i]->d_name;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
      lua_pushstring(L, name);
      lua_rawseti(L, -2, ++count);
    }
    free(entries[i]);
  }
  free(entries);
  return 1;
}

static int core_mkdir(lua_State *L) { // path: with parents, 0700
  char path[1024];
  snprintf(path, sizeof path, "%s", luaL_checkstring(L, 1));
  for (char *p = path + 1; *p; p++) {
    if (*p != '/') continue;
    *p = '\0';
    mkdir(path, 0700);
    *p = '/';
  }
  if (mkdir(path, 0700) != 0 && errno != EEXIST) return failed_errno(L, "cannot make", path);
  lua_pushboolean(L, 1);
  return 1;
}

static int core_realpath(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  char *real = realpath(path, NULL);
  if (!real) return failed_errno(L, "cannot resolve", path);
  lua_pushstring(L, real);
  free(real);
  return 1;
}

static int core_write_private(lua_State *L) { // path, text: replaced as a whole, 0600
  size_t size;
  const char *path = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &size);
  char temporary[1100];
  snprintf(temporary, sizeof temporary, "%s.new", path);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return failed_errno(L, "cannot write", temporary);
  bool ok = write(fd, text, size) == (ssize_t)size;
  ok = close(fd) == 0 && ok && rename(temporary, path) == 0;
  if (!ok) return failed_errno(L, "cannot write", path);
  lua_pushboolean(L, 1);
  return 1;
}

static int core_gzip(lua_State *L) { // bytes -> a gzip member of them
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  tm_lua_work *work = tm_lua_push_work(L);
  if (tm_gzip(&work->ctx, bytes, size, 6, &work->bytes) != TM_OK)
    return tm_lua_failed(L, &work->ctx);
  lua_pushlstring(L, (const char *)work->bytes.data, work->bytes.size);
  tm_lua_end_work(work);
  return 1;
}

// path -> {name=, version=} | nil, err
static int core_exe_runtime(lua_State *L) {
  tm_ctx ctx;
  tm_exe_runtime found;
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_exe_find_runtime(&ctx, luaL_checkstring(L, 1), &found);
  tm_ctx_fini(&ctx);
  if (status != TM_OK) return tm_lua_failed(L, &ctx);
  lua_createtable(L, 0, 2);
  set_string(L, "name", found.name);
  set_string(L, "version", found.version);
  return 1;
}

static int core_uid(lua_State *L) {
  lua_pushinteger(L, geteuid());
  return 1;
}

// ---- the terminal ----

static int core_terminal(lua_State *L) { // fd -> {tty, columns, rows}
  int fd = (int)luaL_optinteger(L, 1, 1);
  struct winsize size = {0};
  bool tty = isatty(fd);
  lua_createtable(L, 0, 3);
  set_boolean(L, "tty", tty);
  if (tty && ioctl(fd, TIOCGWINSZ, &size) == 0) {
    set_integer(L, "columns", size.ws_col);
    set_integer(L, "rows", size.ws_row);
  }
  return 1;
}

void tm_lua_add_system(lua_State *L) {
  static const luaL_Reg functions[] = {{"processes", core_processes},
                                       {"describe", core_describe},
                                       {"system", core_system},
                                       {"doctor", core_doctor},
                                       {"signals", core_signals},
                                       {"format", core_format},
                                       {"bytes", core_bytes},
                                       {"duration", core_duration},
                                       {"now", core_now},
                                       {"hash", core_hash},
                                       {"json", core_json},
                                       {"stat", core_stat},
                                       {"list", core_list},
                                       {"mkdir", core_mkdir},
                                       {"realpath", core_realpath},
                                       {"write_private", core_write_private},
                                       {"gzip", core_gzip},
                                       {"exe_runtime", core_exe_runtime},
                                       {"uid", core_uid},
                                       {"terminal", core_terminal},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
