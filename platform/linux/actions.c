// What may be done to a process: cgroup writes, advice about its pages, freezing, signals. The
// identity is proven right before each act: a pidfd is taken first and the start time compared
// after, so that no reused pid is ever hit. Below a fixture root only files of the tree are
// written; no signal, no advice leaves it.
// Source: process_madvise(2), pidfd_send_signal(2); cgroup-v2.rst and cgroup-v1/memory.rst.
#include "platform/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static tm_status gone(tm_ctx *ctx, const tm_proc *proc) {
  return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET, "process %lld ended", (long long)proc->id.pid);
}

static tm_status check_identity(tm_ctx *ctx, tm_proc *proc) {
  char buf[1024];
  tm_procfs_stat stat;
  return tm_proc_stat(proc, buf, sizeof buf, &stat) ? gone(ctx, proc) : TM_OK;
}

static tm_status open_pidfd(tm_ctx *ctx, tm_proc *proc, int *out_fd) {
  if (proc->plat->proc_fixture)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "process %lld is recorded: there is nobody to act on", (long long)proc->id.pid);
  int fd = (int)syscall(SYS_pidfd_open, (pid_t)proc->id.pid, 0);
  if (fd < 0) return tm_fail_errno(ctx, errno, "pidfd_open(%lld)", (long long)proc->id.pid);
  tm_status status = check_identity(ctx, proc);
  if (status == TM_OK)
    *out_fd = fd;
  else
    close(fd);
  return status;
}

tm_status tm_proc_exit_fd(tm_ctx *ctx, tm_proc *proc, int *out_fd) {
  return open_pidfd(ctx, proc, out_fd);
}

static tm_status send_signal(tm_ctx *ctx, tm_proc *proc, int number) {
  if (proc->id.pid == getpid() || number <= 0 || number > SIGRTMAX)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "signal %d to process %lld is refused", number,
                   (long long)proc->id.pid);
  int fd;
  TM_TRY(open_pidfd(ctx, proc, &fd));
  int err = syscall(SYS_pidfd_send_signal, fd, number, NULL, 0) < 0 ? errno : 0;
  close(fd);
  if (!err) return TM_OK;
  return tm_fail_errno(ctx, err, "cannot signal process %lld; it takes its user or CAP_KILL",
                       (long long)proc->id.pid);
}

// ---- Cgroups.

static tm_status find_cgroups(tm_ctx *ctx, tm_proc *proc, tm_cgroups *out) {
  if (proc->plat->proc_fixture && !proc->plat->sys_fixture)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "process %lld is recorded: its cgroup is not of this machine",
                   (long long)proc->id.pid);
  TM_TRY(check_identity(ctx, proc));
  int err = tm_proc_cgroups(proc, out);
  return err ? tm_fail_errno(ctx, err, "cannot find the cgroup of process %lld",
                             (long long)proc->id.pid)
             : TM_OK;
}

static int write_file(const tm_plat *plat, const tm_cgroup *group, const char *name,
                      const char *bytes) {
  char path[1200];
  if (!group->dir[0]) return ENOENT;
  snprintf(path, sizeof path, "%s/%s", group->dir, name);
  return tm_plat_write(plat->sys_fd, path, bytes);
}

// The whole machine sits in the root cgroup: no target is a reason to squeeze that.
static tm_status write_memory(tm_ctx *ctx, tm_proc *proc, const char *v2_name, const char *v2_bytes,
                              const char *v1_name, const char *v1_bytes) {
  tm_cgroups groups;
  TM_TRY(find_cgroups(ctx, proc, &groups));
  bool v1 = groups.memory_v1.dir[0] != '\0';
  const tm_cgroup *group = v1 ? &groups.memory_v1 : &groups.v2;
  const char *name = v1 ? v1_name : v2_name;
  if (!group->dir[0] || group->depth == 0)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "process %lld has no cgroup of its own; start it with `systemd-run --scope`",
                   (long long)proc->id.pid);
  int err = write_file(proc->plat, group, name, v1 ? v1_bytes : v2_bytes);
  if (!err || err == EAGAIN) return TM_OK; // EAGAIN: less was reclaimed than asked for
  if (err == ENOENT)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "%s has no %s; the memory controller is off there, or the kernel is too old",
                   group->dir, name);
  return tm_fail_errno(ctx, err, "cannot write %s/%s; it takes the cgroup's owner or root",
                       group->dir, name);
}

static tm_status reclaim(tm_ctx *ctx, tm_proc *proc, uint64_t bytes) {
  char text[32];
  if (!bytes) return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "reclaim needs a number of bytes");
  snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
  return write_memory(ctx, proc, "memory.reclaim", text, "memory.force_empty", "0");
}

static tm_status set_high(tm_ctx *ctx, tm_proc *proc, uint64_t bytes) {
  char text[32];
  snprintf(text, sizeof text, "%llu", (unsigned long long)bytes);
  return write_memory(ctx, proc, "memory.high", bytes ? text : "max", "memory.soft_limit_in_bytes",
                      bytes ? text : "-1");
}

// Freezing a cgroup that we sit in, or below, would freeze ourselves.
static bool holds_us(tm_plat *plat, const tm_cgroup *group) {
  tm_cgroups own;
  if (plat->proc_fixture) return false;
  if (tm_plat_own_cgroups(plat, &own)) return true;
  size_t n = strlen(group->dir);
  return strncmp(own.v2.dir, group->dir, n) == 0 && (own.v2.dir[n] == '\0' || own.v2.dir[n] == '/');
}

static tm_status freeze(tm_ctx *ctx, tm_proc *proc) {
  tm_cgroups groups;
  TM_TRY(find_cgroups(ctx, proc, &groups));
  bool own_cgroup = groups.v2.depth > 0 && !holds_us(proc->plat, &groups.v2);
  if (own_cgroup && !write_file(proc->plat, &groups.v2, "cgroup.freeze", "1")) return TM_OK;
  return send_signal(ctx, proc, SIGSTOP);
}

static tm_status thaw(tm_ctx *ctx, tm_proc *proc) {
  tm_cgroups groups;
  char path[1200];
  TM_TRY(find_cgroups(ctx, proc, &groups));
  snprintf(path, sizeof path, "%s/cgroup.freeze", groups.v2.dir);
  if (groups.v2.depth > 0 && tm_plat_value(proc->plat->sys_fd, path) == 1
      && !write_file(proc->plat, &groups.v2, "cgroup.freeze", "0"))
    return TM_OK;
  return send_signal(ctx, proc, SIGCONT);
}

// ---- Advice about pages.

// A cap counts resident bytes where that can be seen: address space may be empty for terabytes. So
// batches are no larger than what is still allowed, and RSS is looked at between them.
enum { RANGES = 256, MOST_BATCHES = 4096 };

typedef struct advice {
  tm_ctx *ctx;
  int pidfd, dir_fd, advice, err;
  uint64_t cap_bytes;  // 0 = none
  uint64_t left_bytes; // how much may still be advised
  uint64_t from;       // lower addresses had their turn
  uint64_t batch_bytes, rss_pages, page_bytes;
  uint32_t batch_count;
  tm_procfs_map previous;
  bool has_previous;
  size_t count;
  struct iovec ranges[RANGES];
} advice;

static uint64_t rss_pages(const advice *a) {
  char buf[160];
  tm_text text;
  tm_procfs_statm statm = {0};
  if (tm_plat_head(a->dir_fd, "statm", buf, sizeof buf, &text)) return 0;
  return tm_procfs_parse_statm(text, &statm) ? statm.rss_pages : 0;
}

static void account(advice *a) {
  if (!a->cap_bytes) return;
  if (a->advice == MADV_PAGEOUT) {
    uint64_t pages = rss_pages(a);
    uint64_t gone = pages < a->rss_pages ? (a->rss_pages - pages) * a->page_bytes : 0;
    a->left_bytes = gone < a->cap_bytes ? a->cap_bytes - gone : 0;
  } else {
    a->left_bytes -= a->batch_bytes;
  }
  if (++a->batch_count == MOST_BATCHES) a->left_bytes = 0;
}

// The kernel may stop inside a batch; what is left is given again, a range it refuses is skipped.
static bool flush_ranges(advice *a) {
  size_t at = 0;
  while (at < a->count && !a->err) {
    int64_t n = syscall(SYS_process_madvise, a->pidfd, &a->ranges[at], a->count - at, a->advice, 0);
    if (n < 0 && (errno == EINVAL || errno == ENOMEM))
      at++; // locked or huge pages, or unmapped meanwhile
    else if (n < 0 && errno != EINTR)
      a->err = errno;
    for (uint64_t done = n > 0 ? (uint64_t)n : 0; done && at < a->count;) {
      struct iovec *range = &a->ranges[at];
      uint64_t step = done < range->iov_len ? done : range->iov_len;
      range->iov_base = (char *)range->iov_base + step;
      range->iov_len -= step;
      done -= step;
      if (!range->iov_len) at++;
    }
    if (n == 0) at++;
    if (tm_ctx_tick(a->ctx, 0) != TM_OK) a->err = ECANCELED;
  }
  account(a);
  a->count = 0;
  a->batch_bytes = 0;
  return !a->err;
}

static bool is_advisable(const tm_procfs_map *map, tm_mapping_kind kind) {
  return memcmp(map->access, "rw-p", 4) == 0
         && (kind == TM_MAPPING_HEAP || kind == TM_MAPPING_ANON || kind == TM_MAPPING_NAMED
             || kind == TM_MAPPING_GO_ARENA);
}

static bool advise_map(void *ud, tm_text line) {
  advice *a = ud;
  tm_procfs_map map;
  if (!tm_procfs_parse_map(line, &map)) return true;
  tm_mapping_kind kind = tm_procfs_map_kind(&map, a->has_previous ? &a->previous : NULL);
  a->previous = map;
  a->has_previous = true;
  if (!is_advisable(&map, kind)) return true;
  uint64_t start = map.start > a->from ? map.start : a->from;
  while (start < map.end && a->left_bytes >= a->page_bytes) {
    uint64_t bytes = map.end - start, room = a->left_bytes - a->batch_bytes;
    if (bytes > room) bytes = room & ~(a->page_bytes - 1);
    if (bytes) {
      a->ranges[a->count].iov_base = (void *)(uintptr_t)start;
      a->ranges[a->count++].iov_len = (size_t)bytes;
      a->batch_bytes += bytes;
      a->from = start += bytes;
    }
    bool full = a->count == RANGES || a->left_bytes - a->batch_bytes < a->page_bytes;
    if ((full || !bytes) && !flush_ranges(a)) return false;
  }
  return a->left_bytes >= a->page_bytes;
}

static bool has_swap(tm_plat *plat) {
  static const tm_procfs_key key = {"SwapTotal", 0, 1024};
  tm_text text;
  double bytes = 0;
  if (!tm_plat_slurp(plat, plat->proc_fd, "meminfo", &text))
    tm_procfs_parse_keys(text, &key, 1, &bytes, 1);
  return bytes > 0;
}

static tm_status advise(tm_ctx *ctx, tm_proc *proc, int advice_number, uint64_t cap_bytes) {
  advice a = {.ctx = ctx, .advice = advice_number, .cap_bytes = cap_bytes};
  a.left_bytes = cap_bytes ? cap_bytes : UINT64_MAX;
  a.page_bytes = proc->plat->page_bytes;
  a.from = cap_bytes ? proc->advised_to : 0;
  if (!proc->plat->proc_fixture && !has_swap(proc->plat))
    return tm_fail(
        ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
        "this machine has no swap: anonymous memory has nowhere to go; add swap or zram");
  TM_TRY(open_pidfd(ctx, proc, &a.pidfd));
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd >= 0) {
    a.dir_fd = dir_fd;
    a.rss_pages = rss_pages(&a);
    err = tm_plat_each_line(proc->plat, dir_fd, "maps", advise_map, &a);
  }
  if (!err && !a.err) flush_ranges(&a);
  close(a.pidfd);
  proc->advised_to =
      a.left_bytes < a.page_bytes ? a.from : 0; // reached the end: begin anew next time
  if (!err) err = a.err;
  if (!err) return TM_OK;
  if (err == ENOENT || err == ESRCH) return gone(ctx, proc);
  return tm_fail_errno(ctx, err,
                       "cannot advise on the memory of process %lld; it takes CAP_SYS_NICE and "
                       "CAP_SYS_PTRACE, Linux 5.10",
                       (long long)proc->id.pid);
}

tm_status tm_proc_act(tm_ctx *ctx, tm_proc *proc, tm_plat_act act, uint64_t argument) {
  switch (act) {
  case TM_PLAT_ACT_RECLAIM:
    return reclaim(ctx, proc, argument);
  case TM_PLAT_ACT_HIGH:
    return set_high(ctx, proc, argument);
  case TM_PLAT_ACT_PAGE_OUT:
    return advise(ctx, proc, MADV_PAGEOUT, argument);
  case TM_PLAT_ACT_COLD:
    return advise(ctx, proc, MADV_COLD, argument);
  case TM_PLAT_ACT_FREEZE:
    return freeze(ctx, proc);
  case TM_PLAT_ACT_THAW:
    return thaw(ctx, proc);
  case TM_PLAT_ACT_SIGNAL:
    return send_signal(ctx, proc, argument > INT32_MAX ? 0 : (int)argument);
  }
  return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "there is no action %d", (int)act);
}
