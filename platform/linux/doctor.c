// What this machine gives, and what a missing privilege keeps back, in sentences: each answer comes
// from trying, not from version numbers.
#include "base/clock.h"
#include "platform/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int try_open(int dir_fd, const char *name, int flags) {
  int fd = openat(dir_fd, name, flags | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno;
  close(fd);
  return 0;
}

void tm_proc_withheld(tm_proc *proc,
                      void (*fn)(void *ud, tm_group group, const char *what, const char *remedy),
                      void *ud) {
  static const char ptrace_remedy[] = "run as the process's user, as root, or with CAP_SYS_PTRACE";
  static const struct {
    tm_group group;
    const char *file, *what;
    int flags;
  } rows[] = {
      {TM_GROUP_IO, "io", "bytes read from and written to storage", O_RDONLY},
      {TM_GROUP_HANDLES, "fd", "kinds of descriptors and the bytes behind them",
       O_RDONLY | O_DIRECTORY},
      {TM_GROUP_MAPS, "maps", "memory mappings by kind", O_RDONLY},
      {TM_GROUP_ROLLUP, "smaps_rollup", "proportional and unique memory (PSS, USS)", O_RDONLY},
      {TM_GROUP_GPU, "fdinfo", "GPU memory", O_RDONLY | O_DIRECTORY},
      {TM_GROUP_X, "environ", "its X display: pixmaps and windows", O_RDONLY},
      {TM_GROUP_STATUS, "clear_refs", "memory peaks per interval (the peak since start is there)",
       O_WRONLY},
  };
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd < 0) return;
  uint64_t count;
  err = tm_proc_count_fds(proc, &count);
  if (err == EACCES || err == EPERM)
    fn(ud, TM_GROUP_FDS, "the number of descriptors (this kernel, older than 6.2, must list them)",
       ptrace_remedy);
  for (size_t i = 0; i < TM_COUNT(rows); i++) {
    err = try_open(dir_fd, rows[i].file, rows[i].flags);
    if (err == EACCES || err == EPERM) fn(ud, rows[i].group, rows[i].what, ptrace_remedy);
  }
}

typedef struct report {
  tm_plat *plat;
  tm_doctor_fn fn;
  void *ud;
} report;

static void say(const report *r, const char *what, bool works, const char *detail,
                const char *remedy) {
  r->fn(r->ud, what, works, detail, works ? "" : remedy);
}

static void check_kernel(const report *r) {
  char buf[160];
  char detail[80] = "not known";
  tm_text text;
  bool known = !tm_plat_head(r->plat->proc_fd, "sys/kernel/osrelease", buf, sizeof buf, &text);
  tm_text line;
  if (known && tm_text_line(&text, &line)) tm_text_copy(line, detail, sizeof detail);
  say(r, "kernel", known, detail, "mount /proc");
  say(r, "descriptor count without listing", r->plat->fd_size_works,
      r->plat->fd_size_works ? "st_size of /proc/PID/fd tells it, for every user's processes"
                             : "descriptors are listed: 1 us for each 5",
      "Linux 6.2 or newer");
}

static void check_pressure(const report *r) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  int fd = -1;
  uint64_t window_ns = 0;
  char detail[480];
  bool works =
      tm_plat_pressure_fd(&ctx, r->plat, 0, 100000000, 1000000000, &fd, &window_ns) == TM_OK;
  if (works)
    snprintf(detail, sizeof detail, "the kernel wakes us; windows from %.1f s",
             (double)window_ns / 1e9);
  else
    snprintf(detail, sizeof detail, "%s", ctx.error.message);
  if (fd >= 0) close(fd);
  tm_ctx_fini(&ctx);
  say(r, "memory pressure triggers", works, detail,
      "a kernel with CONFIG_PSI, booted with psi=1; until then averages are polled");
}

static void check_cgroup(const report *r) {
  tm_cgroups own;
  bool v1 = false, v2 = false;
  if (!tm_plat_own_cgroups(r->plat, &own)) {
    v1 = own.memory_v1.dir[0];
    v2 = own.v2.dir[0];
  }
  const char *detail = v1 && v2 ? "memory on v1, pressure and freezing on v2"
                       : v1     ? "v1"
                       : v2     ? "v2"
                                : "none is mounted";
  say(r, "cgroup memory accounting", v1 || v2, detail, "mount cgroup2 at /sys/fs/cgroup");
}

static void check_privileges(const report *r) {
  char detail[120];
  uint64_t scope = 0;
  int yama = tm_plat_number(r->plat->proc_fd, "sys/kernel/yama/ptrace_scope", &scope);
  bool sees_all = !try_open(r->plat->proc_fd, "1/smaps_rollup", O_RDONLY)
                  && !try_open(r->plat->proc_fd, "1/fd", O_RDONLY | O_DIRECTORY);
  say(r, "details of other users' processes", sees_all,
      sees_all ? "mappings, descriptors and PSS of every process"
               : "only of your own; RSS, threads and descriptor counts are there for all",
      "root, or `setcap cap_sys_ptrace+ep` on tidemark");
  snprintf(detail, sizeof detail, "ptrace_scope is %llu", (unsigned long long)scope);
  say(r, "attaching to a running process", yama || scope == 0 || geteuid() == 0,
      yama ? "no yama: your own processes" : detail,
      "sysctl kernel.yama.ptrace_scope=0, or root; starting it by `tidemark run --` needs neither");
  uint64_t paranoid;
  bool perf = !tm_plat_number(r->plat->proc_fd, "sys/kernel/perf_event_paranoid", &paranoid);
  snprintf(detail, sizeof detail, perf ? "perf_event_paranoid is %llu" : "the kernel has none",
           (unsigned long long)(perf ? paranoid : 0));
  say(r, "page-fault sampling", perf && (paranoid <= 2 || geteuid() == 0), detail,
      "sysctl kernel.perf_event_paranoid=2");
}

static void check_swap(const report *r) {
  static const tm_procfs_key key = {"SwapTotal", 0, 1024};
  tm_text text;
  double bytes = 0;
  char detail[80], amount[32];
  if (!tm_plat_slurp(r->plat, r->plat->proc_fd, "meminfo", &text))
    tm_procfs_parse_keys(text, &key, 1, &bytes, 1);
  if (bytes > 0)
    snprintf(detail, sizeof detail, "%s of swap",
             tm_format_value(amount, sizeof amount, TM_UNIT_BYTES, bytes));
  else
    snprintf(detail, sizeof detail, "no swap: paging out would do nothing");
  say(r, "paging out", bytes > 0, detail, "add swap, or zram");
}

static void check_bulk(const report *r) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  const tm_bulk_row *rows;
  size_t count;
  char detail[480];
  bool works = tm_plat_bulk(&ctx, r->plat, &rows, &count) == TM_OK;
  if (works)
    snprintf(detail, sizeof detail, "%zu processes in one read", count);
  else
    snprintf(detail, sizeof detail, "%s", ctx.error.message);
  tm_ctx_fini(&ctx);
  say(r, "all processes at once (BPF)", works, detail,
      "root (CAP_BPF and CAP_PERFMON), a kernel with BTF, a build with clang and libbpf-dev; "
      "without it each process is read by itself");
}

void tm_plat_doctor(tm_plat *plat, tm_doctor_fn fn, void *ud) {
  report r = {plat, fn, ud};
  check_kernel(&r);
  check_pressure(&r);
  check_cgroup(&r);
  check_privileges(&r);
  check_swap(&r);
  check_bulk(&r);
}
