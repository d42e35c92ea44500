// One process: identity, and the cheap groups. statm, stat and status stay open and are read by
// pread (0.7-3 us instead of 2-6). A descriptor of /proc/PID names that process for good: once it
// ended it answers ESRCH, whoever has the number now. Below a fixture root files are opened each
// time and the start time is compared instead.
#include "platform/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_dir(const tm_plat *plat, int64_t pid) {
  char name[24];
  snprintf(name, sizeof name, "%lld", (long long)pid);
  return openat(plat->proc_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

// A process whose first thread ended is shown as a zombie while its other threads live.
static bool is_dead(const tm_procfs_stat *stat) {
  return (stat->state == 'Z' || stat->state == 'X') && stat->thread_count <= 1;
}

static int parse_live_stat(const tm_proc *proc, tm_text text, tm_procfs_stat *out) {
  if (!tm_procfs_parse_stat(text, out)) return EBADMSG;
  return is_dead(out) || out->start_ticks != proc->id.start_ticks ? ESRCH : 0;
}

// Proves that dir_fd is our process, keeping its stat file open on the way.
static int adopt_dir(tm_proc *proc, int dir_fd) {
  char buf[1024];
  tm_procfs_stat stat;
  int fd = openat(dir_fd, "stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  ssize_t n = pread(fd, buf, sizeof buf, 0);
  int err = n < 0 ? errno : parse_live_stat(proc, tm_text_of(buf, (size_t)n), &stat);
  if (err || proc->plat->proc_fixture)
    close(fd);
  else
    proc->stat_fd = fd;
  return err;
}

int tm_proc_dir(tm_proc *proc, int *err) {
  *err = 0;
  if (proc->dir_fd >= 0) return proc->dir_fd;
  int dir_fd = open_dir(proc->plat, proc->id.pid);
  *err = dir_fd < 0 ? errno : adopt_dir(proc, dir_fd);
  if (*err) {
    if (dir_fd >= 0) close(dir_fd);
    return -1;
  }
  proc->dir_fd = dir_fd;
  return dir_fd;
}

// Reads a file of the process through *kept, which is opened at need and kept outside of fixtures.
static int read_kept(tm_proc *proc, int *kept, const char *name, char *buf, size_t size,
                     tm_text *out) {
  int fd = *kept, err = 0;
  if (fd < 0) {
    int dir_fd = tm_proc_dir(proc, &err);
    if (dir_fd < 0) return err;
    fd = *kept >= 0 ? *kept : openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
  }
  ssize_t n = pread(fd, buf, size, 0);
  if (n < 0) err = errno;
  if (!err) *out = tm_text_of(buf, (size_t)n);
  if (proc->plat->proc_fixture)
    close(fd);
  else
    *kept = fd;
  return err;
}

int tm_proc_stat(tm_proc *proc, char *buf, size_t size, tm_procfs_stat *out) {
  tm_text text;
  int err = read_kept(proc, &proc->stat_fd, "stat", buf, size, &text);
  return err ? err : parse_live_stat(proc, text, out);
}

static int read_statm(tm_proc *proc, tm_reading *out) {
  char buf[160];
  tm_text text;
  tm_procfs_statm statm;
  int err = read_kept(proc, &proc->statm_fd, "statm", buf, sizeof buf, &text);
  if (err) return err;
  if (!tm_procfs_parse_statm(text, &statm)) return EBADMSG;
  double page_bytes = (double)proc->plat->page_bytes;
  out->value[TM_SIGNAL_RSS] = (double)statm.rss_pages * page_bytes;
  out->value[TM_SIGNAL_SHARED] = (double)statm.shared_pages * page_bytes;
  out->value[TM_SIGNAL_VSIZE] = (double)statm.size_pages * page_bytes;
  if (TM_LIKELY(statm.size_pages)) return 0;

  char stat_buf[1024]; // no memory: a zombie, a kernel thread, or a dead first thread
  tm_procfs_stat stat;
  err = tm_proc_stat(proc, stat_buf, sizeof stat_buf, &stat);
  if (!err && stat.state == 'Z') tm_reading_clear_groups(out, TM_GROUP_BIT(TM_GROUP_STATM));
  return err;
}

static int read_stat(tm_proc *proc, tm_reading *out) {
  char buf[1024];
  tm_procfs_stat stat;
  int err = tm_proc_stat(proc, buf, sizeof buf, &stat);
  if (err) return err;
  out->value[TM_SIGNAL_CPU] = (double)stat.cpu_ticks * proc->plat->tick_ns;
  out->value[TM_SIGNAL_THREADS] = (double)stat.thread_count;
  out->value[TM_SIGNAL_MINFLT] = (double)stat.minflt_count;
  out->value[TM_SIGNAL_MAJFLT] = (double)stat.majflt_count;
  return 0;
}

static bool count_one(void *ud, int64_t number) {
  (void)number;
  ++*(uint64_t *)ud;
  return true;
}

int tm_proc_count_fds(tm_proc *proc, uint64_t *out) {
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd < 0) return err;
  if (TM_LIKELY(proc->plat->fd_size_works)) {
    struct stat st;
    if (fstatat(dir_fd, "fd", &st, 0)) return errno;
    *out = (uint64_t)st.st_size;
    return 0;
  }
  int fd = openat(dir_fd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  *out = 0;
  err = tm_plat_each_number(proc->plat, fd, count_one, out);
  close(fd);
  return err;
}

static int read_fds(tm_proc *proc, tm_reading *out) {
  uint64_t count;
  int err = tm_proc_count_fds(proc, &count);
  if (!err) out->value[TM_SIGNAL_FDS] = (double)count;
  return err;
}

static int read_oom(tm_proc *proc, tm_reading *out) {
  uint64_t score;
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd < 0) return err;
  err = tm_plat_number(dir_fd, "oom_score", &score);
  if (!err) out->value[TM_SIGNAL_OOM_SCORE] = (double)score;
  return err;
}

static int read_io(tm_proc *proc, tm_reading *out) {
  static const tm_procfs_key keys[] = {{"read_bytes", 0, 1}, {"write_bytes", 1, 1}};
  char buf[512];
  tm_text text;
  double values[2];
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd < 0) return err;
  err = tm_plat_head(dir_fd, "io", buf, sizeof buf, &text);
  if (err) return err;
  tm_procfs_parse_keys(text, keys, TM_COUNT(keys), values, 2);
  out->value[TM_SIGNAL_READ_BYTES] = values[0];
  out->value[TM_SIGNAL_WRITE_BYTES] = values[1];
  return 0;
}

static int read_status(tm_proc *proc, tm_reading *out) {
  static const tm_procfs_key keys[] = {
      {"VmLck", 0, 1024},   {"VmPin", 1, 1024},   {"VmHWM", 2, 1024},
      {"RssAnon", 3, 1024}, {"RssFile", 4, 1024}, {"RssShmem", 5, 1024},
      {"VmData", 6, 1024},  {"VmPTE", 7, 1024},   {"VmSwap", 8, 1024},
  };
  static const tm_signal signals[] = {
      TM_SIGNAL_LOCKED, TM_SIGNAL_PINNED, TM_SIGNAL_PEAK,        TM_SIGNAL_ANON, TM_SIGNAL_FILE,
      TM_SIGNAL_SHMEM,  TM_SIGNAL_DATA,   TM_SIGNAL_PAGE_TABLES, TM_SIGNAL_SWAP,
  };
  char buf[4096];
  tm_text text;
  double values[TM_COUNT(keys)];
  int err = read_kept(proc, &proc->status_fd, "status", buf, sizeof buf, &text);
  if (err) return err;
  tm_procfs_parse_keys(text, keys, TM_COUNT(keys), values, TM_COUNT(values));
  for (size_t i = 0; i < TM_COUNT(signals); i++) out->value[signals[i]] = values[i];
  return 0;
}

int tm_proc_read_limits(tm_proc *proc, tm_reading *out) {
  char buf[2048];
  tm_text text;
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd < 0) return err;
  err = tm_plat_head(dir_fd, "limits", buf, sizeof buf, &text);
  if (err) return err;
  proc->as_limit_bytes = tm_procfs_parse_limit(text, "Max address space");
  proc->limits_known = true;
  out->value[TM_SIGNAL_AS_LIMIT] = proc->as_limit_bytes;
  out->value[TM_SIGNAL_FD_LIMIT] = tm_procfs_parse_limit(text, "Max open files");
  return 0;
}

static int read_memory(tm_proc *proc, tm_reading *out) {
  return tm_plat_read_memory(proc->plat, out);
}

static int read_psi(tm_proc *proc, tm_reading *out) {
  return tm_plat_read_psi(proc->plat, out);
}

typedef int group_reader(tm_proc *proc, tm_reading *out);

static group_reader *const readers[TM_GROUP_COUNT] = {
    [TM_GROUP_STATM] = read_statm,
    [TM_GROUP_STAT] = read_stat,
    [TM_GROUP_FDS] = read_fds,
    [TM_GROUP_OOM] = read_oom,
    [TM_GROUP_IO] = read_io,
    [TM_GROUP_STATUS] = read_status,
    [TM_GROUP_LIMITS] = tm_proc_read_limits,
    [TM_GROUP_CGROUP] = tm_proc_read_cgroup,
    [TM_GROUP_SYSTEM] = read_memory,
    [TM_GROUP_PSI] = read_psi,
    [TM_GROUP_TREE] = tm_proc_read_tree,
    [TM_GROUP_HANDLES] = tm_proc_read_handles,
    [TM_GROUP_GPU] = tm_proc_read_gpu,
    [TM_GROUP_X] = tm_proc_read_x,
    [TM_GROUP_MAPS] = tm_proc_read_maps,
    [TM_GROUP_ROLLUP] = tm_proc_read_rollup,
};

static tm_status gone(tm_ctx *ctx, const tm_proc *proc) {
  return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET, "process %lld ended", (long long)proc->id.pid);
}

// What a failed group means: the process is gone, a privilege is missing, the kernel lacks the
// file, or something is wrong.
static tm_status settle(tm_ctx *ctx, tm_proc *proc, tm_group group, int err, tm_reading *out) {
  if (err == ENOENT || err == ESRCH || err == ENOTDIR) {
    char buf[1024];
    tm_procfs_stat stat;
    err = err == ENOENT ? tm_proc_stat(proc, buf, sizeof buf, &stat) : ESRCH;
    if (err == ENOENT || err == ESRCH) return gone(ctx, proc);
    if (!err) {
      tm_reading_clear_groups(out, TM_GROUP_BIT(group));
      return TM_OK;
    }
  }
  if (err == EACCES || err == EPERM) {
    tm_reading_clear_groups(out, TM_GROUP_BIT(group));
    out->withheld |= TM_GROUP_BIT(group);
    return TM_OK;
  }
  if (err == EBADMSG)
    return tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET, "the %s file of process %lld is damaged",
                   tm_group_name(group), (long long)proc->id.pid);
  return tm_fail_errno(ctx, err, "reading %s of process %lld", tm_group_name(group),
                       (long long)proc->id.pid);
}

tm_status tm_proc_read(tm_ctx *ctx, tm_proc *proc, uint32_t groups, tm_reading *out) {
  if (proc->plat->proc_fixture) { // no kept descriptor proves the identity there
    char buf[1024];
    tm_procfs_stat stat;
    int err = tm_proc_stat(proc, buf, sizeof buf, &stat);
    if (err) TM_TRY(settle(ctx, proc, TM_GROUP_STAT, err, out));
  }
  for (uint32_t left = groups & (TM_GROUP_BIT(TM_GROUP_COUNT) - 1); left; left &= left - 1) {
    tm_group group = (tm_group)__builtin_ctz(left);
    int err = readers[group](proc, out);
    if (TM_UNLIKELY(err))
      TM_TRY(settle(ctx, proc, group, err, out));
    else
      out->withheld &= ~TM_GROUP_BIT(group);
  }
  return TM_OK;
}

// Opens statm through the folder that stat proved, so that no reused pid can slip in between.
static int open_proc(tm_proc *proc) {
  char buf[1024];
  tm_text text;
  tm_procfs_stat stat;
  int dir_fd = open_dir(proc->plat, proc->id.pid);
  if (dir_fd < 0) return errno;
  int err = tm_plat_head(dir_fd, "stat", buf, sizeof buf, &text);
  if (!err) err = tm_procfs_parse_stat(text, &stat) ? 0 : EBADMSG;
  if (!err && is_dead(&stat)) err = ESRCH;
  if (!err) {
    proc->id.start_ticks = stat.start_ticks;
    if (!proc->plat->proc_fixture) {
      proc->statm_fd = openat(dir_fd, "statm", O_RDONLY | O_CLOEXEC);
      if (proc->statm_fd < 0) err = errno;
    }
  }
  close(dir_fd);
  return err;
}

tm_status tm_proc_open(tm_ctx *ctx, tm_plat *plat, int64_t pid, tm_proc **out) {
  void *storage = NULL;
  size_t room = 0;
  if (tm_plat_grow(plat, &storage, &room, sizeof(tm_proc), 1))
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory opening process %lld",
                   (long long)pid);
  tm_proc *proc = storage;
  *proc = (tm_proc){.plat = plat,
                    .id = {.pid = pid},
                    .statm_fd = -1,
                    .dir_fd = -1,
                    .stat_fd = -1,
                    .status_fd = -1,
                    .as_limit_bytes = NAN};
  int err = open_proc(proc);
  if (!err) {
    *out = proc;
    return TM_OK;
  }
  tm_proc_close(proc);
  if (err == ENOENT || err == ESRCH)
    return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET, "there is no process %lld", (long long)pid);
  if (err == EBADMSG)
    return tm_fail(ctx, TM_E_FORMAT, 0, "the stat file of process %lld is damaged", (long long)pid);
  if (err == EMFILE || err == ENFILE)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET,
                   "no descriptor is left for process %lld; raise `ulimit -n`", (long long)pid);
  return tm_fail_errno(ctx, err, "cannot open process %lld", (long long)pid);
}

static void close_kept(int fd) {
  if (fd >= 0) close(fd);
}

void tm_proc_close(tm_proc *proc) {
  if (!proc) return;
  close_kept(proc->statm_fd);
  close_kept(proc->dir_fd);
  close_kept(proc->stat_fd);
  close_kept(proc->status_fd);
  tm_plat_free(proc->plat, proc->fds.items, proc->fds.room, sizeof *proc->fds.items);
  tm_plat_free(proc->plat, proc, 1, sizeof *proc);
}

tm_identity tm_proc_identity(const tm_proc *proc) {
  return proc->id;
}
