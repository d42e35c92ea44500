// The platform value: roots, clock constants, the list of processes, and who a process is.
#include "base/clock.h"
#include "platform/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int64_t boot_time_ns(tm_plat *plat) {
  if (!plat->proc_fixture) {
    struct timespec up;
    clock_gettime(CLOCK_BOOTTIME, &up);
    return tm_clock_wall_ns() - ((int64_t)up.tv_sec * 1000000000 + up.tv_nsec);
  }
  static const tm_procfs_key key = {"btime", 0, 1};
  tm_text text;
  double seconds = NAN;
  if (!tm_plat_slurp(plat, plat->proc_fd, "stat", &text))
    tm_procfs_parse_keys(text, &key, 1, &seconds, 1);
  return seconds < 9e9 ? (int64_t)seconds * 1000000000 : 0;
}

// Our own descriptors are more than none: a kernel that says 0 does not count them there.
static bool fd_size_works(const tm_plat *plat) {
  struct stat st;
  return !plat->proc_fixture && fstatat(plat->proc_fd, "self/fd", &st, 0) == 0 && st.st_size > 0;
}

static uint64_t own_net_ns(const tm_plat *plat) {
  struct stat st;
  if (plat->proc_fixture || fstatat(plat->proc_fd, "self/ns/net", &st, 0)) return 0;
  return st.st_ino;
}

tm_status tm_plat_open(tm_ctx *ctx, const char *proc_root, const char *sys_root, tm_plat **out) {
  tm_plat *plat = tm_calloc(ctx, 1, sizeof *plat);
  if (!plat) return TM_E_NOMEM;
  plat->alloc = ctx->alloc;
  plat->netlink_fd = -1;
  plat->proc_fixture = proc_root != NULL;
  plat->sys_fixture = sys_root != NULL;
  plat->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
  plat->tick_ns = 1e9 / (double)sysconf(_SC_CLK_TCK);
  plat->total_bytes = NAN;
  const char *proc_path = proc_root ? proc_root : "/proc";
  const char *sys_path = sys_root ? sys_root : "/sys";
  plat->proc_fd = open(proc_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int err = plat->proc_fd < 0 ? errno : 0;
  plat->sys_fd = open(sys_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (plat->sys_fd < 0 && sys_root && !err) {
    err = errno;
    proc_path = sys_path;
  }
  if (err) {
    tm_plat_close(plat);
    return tm_fail_errno(ctx, err, "cannot open %s; is it mounted?", proc_path);
  }
  plat->boot_time_ns = boot_time_ns(plat);
  plat->fd_size_works = fd_size_works(plat);
  plat->own_net_ns = own_net_ns(plat);
  *out = plat;
  return TM_OK;
}

void tm_plat_close(tm_plat *plat) {
  if (!plat) return;
  if (plat->bulk) tm_bulk_free(plat, plat->bulk);
  if (plat->x) tm_x_free(plat);
  if (plat->proc_fd >= 0) close(plat->proc_fd);
  if (plat->sys_fd >= 0) close(plat->sys_fd);
  if (plat->netlink_fd >= 0) close(plat->netlink_fd);
  tm_plat_free(plat, plat->text.data, plat->text.room, 1);
  tm_plat_free(plat, plat->stream.data, plat->stream.room, 1);
  tm_plat_free(plat, plat->dirents.data, plat->dirents.room, 1);
  tm_plat_free(plat, plat->pids, plat->pid_room, sizeof *plat->pids);
  tm_plat_free(plat, plat->tree, plat->tree_room, sizeof *plat->tree);
  tm_plat_free(plat, plat->fd_scratch.items, plat->fd_scratch.room, sizeof *plat->fd_scratch.items);
  tm_plat_free(plat, plat->numbers, plat->number_room, sizeof *plat->numbers);
  tm_plat_free(plat, plat->held, plat->held_room, sizeof *plat->held);
  tm_plat_free(plat, plat->sockets, plat->socket_room, sizeof *plat->sockets);
  tm_plat_free(plat, plat, 1, sizeof *plat);
}

static int by_number(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

typedef struct listing {
  tm_plat *plat;
  int err;
  bool sorted;
} listing;

static bool add_pid(void *ud, int64_t pid) {
  listing *list = ud;
  tm_plat *plat = list->plat;
  list->err = tm_plat_grow(plat, (void **)&plat->pids, &plat->pid_room, plat->pid_count + 1,
                           sizeof *plat->pids);
  if (list->err) return false;
  if (pid == 0) return true;
  if (plat->pid_count && plat->pids[plat->pid_count - 1] > pid) list->sorted = false;
  plat->pids[plat->pid_count++] = pid;
  return true;
}

// The number given to the newest task: while it stands still nobody was born, and a listing (0.3 us
// a process) could only find fewer. 0 = not known.
static uint64_t newest_task(const tm_plat *plat) {
  char buf[128];
  tm_text text;
  uint64_t number = 0;
  if (plat->proc_fixture || tm_plat_head(plat->proc_fd, "loadavg", buf, sizeof buf, &text))
    return 0;
  for (int i = 0; i < 4; i++) tm_text_word(&text);
  return tm_text_u64(&text, &number) ? number : 0;
}

int tm_plat_scan_pids(tm_plat *plat) {
  listing list = {.plat = plat, .sorted = true};
  uint64_t newest = newest_task(plat); // before the listing: a birth meanwhile is seen next time
  if (newest && newest == plat->newest_task && plat->pid_count) return 0;
  plat->newest_task = 0;
  plat->pid_count = 0;
  int err = tm_plat_each_number(plat, plat->proc_fd, add_pid, &list);
  if (!err) err = list.err;
  if (err) return err;
  if (!list.sorted) qsort(plat->pids, plat->pid_count, sizeof *plat->pids, by_number);
  plat->newest_task = newest;
  return 0;
}

tm_status tm_plat_list(tm_ctx *ctx, tm_plat *plat, const int64_t **out_pids, size_t *out_count) {
  int err = tm_plat_scan_pids(plat);
  if (err) return tm_fail_errno(ctx, err, "cannot list the processes");
  *out_pids = plat->pids;
  *out_count = plat->pid_count;
  return TM_OK;
}

// Arguments end in NUL bytes: one blank each, none after the last.
static void join_command(tm_text text, char *out, size_t size) {
  while (text.at < text.end && text.end[-1] == '\0') text.end--;
  size_t n = tm_text_size(text);
  if (n > size - 1) n = size - 1;
  for (size_t i = 0; i < n; i++) {
    uint8_t byte = (uint8_t)text.at[i];
    out[i] = byte == 0 ? ' ' : byte < 0x20 || byte == 0x7f ? '?' : (char)byte;
  }
  out[n] = '\0';
}

static int describe(tm_plat *plat, int dir_fd, tm_process_info *out) {
  char buf[1024];
  tm_text text;
  tm_procfs_stat stat;
  int err = tm_plat_head(dir_fd, "stat", buf, sizeof buf, &text);
  if (err) return err;
  if (!tm_procfs_parse_stat(text, &stat)) return EBADMSG;
  out->id.start_ticks = stat.start_ticks;
  out->parent_pid = stat.parent_pid;
  double start_ns = (double)stat.start_ticks * plat->tick_ns;
  out->start_time_ns = plat->boot_time_ns + (start_ns < 9e18 ? (int64_t)start_ns : 0);
  tm_text_copy(stat.name, out->name, sizeof out->name);

  static const tm_procfs_key key = {"Uid", 0, 1};
  double uid = NAN;
  if (!tm_plat_slurp(plat, dir_fd, "status", &text)) tm_procfs_parse_keys(text, &key, 1, &uid, 1);
  out->uid = uid <= UINT32_MAX ? (uint32_t)uid : UINT32_MAX;
  if (!tm_plat_head(dir_fd, "cmdline", buf, sizeof buf, &text))
    join_command(text, out->command, sizeof out->command);
  ssize_t n = readlinkat(dir_fd, "exe", buf, sizeof buf);
  if (n > 0) tm_text_copy(tm_text_of(buf, (size_t)n), out->exe, sizeof out->exe);
  return 0;
}

tm_status tm_plat_describe(tm_ctx *ctx, tm_plat *plat, int64_t pid, tm_process_info *out) {
  tm_process_info info = {.id = {.pid = pid}};
  char name[24];
  snprintf(name, sizeof name, "%lld", (long long)pid);
  int dir_fd = openat(plat->proc_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
  int err = dir_fd < 0 ? errno : describe(plat, dir_fd, &info);
  if (dir_fd >= 0) close(dir_fd);
  if (err == ENOENT || err == ESRCH)
    return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET, "there is no process %lld", (long long)pid);
  if (err == EBADMSG)
    return tm_fail(ctx, TM_E_FORMAT, 0, "the stat file of process %lld is damaged", (long long)pid);
  if (err) return tm_fail_errno(ctx, err, "cannot read process %lld", (long long)pid);
  *out = info;
  return TM_OK;
}
