// Signals of the machine: memory, reclaim, open files, pressure; and the kernel's own trigger for
// memory pressure, which costs nothing until it fires.
// Source: proc(5); Documentation/accounting/psi.rst of the kernel.
#include "platform/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int read_meminfo(tm_plat *plat, tm_reading *out) {
  static const tm_procfs_key keys[] = {
      {"MemTotal", 0, 1024}, {"MemAvailable", 1, 1024}, {"SwapFree", 2, 1024},
      {"Shmem", 3, 1024},    {"Slab", 4, 1024},         {"Committed_AS", 5, 1024},
  };
  double values[TM_COUNT(keys)];
  tm_text text;
  int err = tm_plat_slurp(plat, plat->proc_fd, "meminfo", &text);
  if (err) return err;
  tm_procfs_parse_keys(text, keys, TM_COUNT(keys), values, TM_COUNT(values));
  plat->total_bytes = values[0];
  out->value[TM_SIGNAL_SYS_TOTAL] = values[0];
  out->value[TM_SIGNAL_SYS_AVAILABLE] = values[1];
  out->value[TM_SIGNAL_SYS_SWAP_FREE] = values[2];
  out->value[TM_SIGNAL_SYS_SHMEM] = values[3];
  out->value[TM_SIGNAL_SYS_SLAB] = values[4];
  out->value[TM_SIGNAL_SYS_COMMITTED] = values[5];
  return 0;
}

static int read_vmstat(tm_plat *plat, tm_reading *out) {
  static const tm_procfs_key keys[] = {
      // several lines of one slot are summed
      {"workingset_refault_anon", 0, 1},
      {"workingset_refault_file", 0, 1},
      {"workingset_refault", 0, 1},
      {"pgmajfault", 1, 1},
      {"pgsteal_kswapd", 3, 1},
      {"pgsteal_direct", 3, 1},
      {"pgscan_kswapd", 2, 1},
      {"pgscan_direct", 2, 1},
      {"oom_kill", 5, 1},
      {"allocstall_dma", 4, 1},
      {"allocstall_dma32", 4, 1},
      {"allocstall_normal", 4, 1},
      {"allocstall_movable", 4, 1},
      {"allocstall_device", 4, 1},
      {"allocstall", 4, 1},
  };
  enum { SLOTS = 6 };
  static const tm_signal signals[SLOTS] = {TM_SIGNAL_SYS_REFAULTS, TM_SIGNAL_SYS_MAJFLT,
                                           TM_SIGNAL_SYS_SCAN,     TM_SIGNAL_SYS_STEAL,
                                           TM_SIGNAL_SYS_STALLS,   TM_SIGNAL_SYS_OOM_KILLS};
  double values[SLOTS];
  tm_text text;
  int err = tm_plat_slurp(plat, plat->proc_fd, "vmstat", &text);
  if (err) return err;
  tm_procfs_parse_keys(text, keys, TM_COUNT(keys), values, SLOTS);
  for (size_t i = 0; i < SLOTS; i++) out->value[signals[i]] = values[i];
  return 0;
}

int tm_plat_read_memory(tm_plat *plat, tm_reading *out) {
  tm_reading_clear_groups(out, TM_GROUP_BIT(TM_GROUP_SYSTEM)); // each file may be missing alone
  int err = read_meminfo(plat, out);
  if (err == ENOMEM) return err;
  err = read_vmstat(plat, out);
  out->value[TM_SIGNAL_SYS_FDS] = tm_plat_value(plat->proc_fd, "sys/fs/file-nr");
  return err == ENOMEM ? err : 0;
}

static void read_pressure(tm_plat *plat, const char *name, tm_procfs_psi *out) {
  char buf[512];
  tm_text text = {0};
  if (tm_plat_head(plat->proc_fd, name, buf, sizeof buf, &text)) text = (tm_text){0};
  tm_procfs_parse_psi(text, out);
}

int tm_plat_read_psi(tm_plat *plat, tm_reading *out) {
  tm_procfs_psi memory, io, cpu;
  read_pressure(plat, "pressure/memory", &memory);
  read_pressure(plat, "pressure/io", &io);
  read_pressure(plat, "pressure/cpu", &cpu);
  out->value[TM_SIGNAL_PSI_SOME_AVG10] = memory.some_avg10;
  out->value[TM_SIGNAL_PSI_FULL_AVG10] = memory.full_avg10;
  out->value[TM_SIGNAL_PSI_SOME_AVG60] = memory.some_avg60;
  out->value[TM_SIGNAL_PSI_SOME_TOTAL] = memory.some_total_ns;
  out->value[TM_SIGNAL_PSI_IO_SOME] = io.some_avg10;
  out->value[TM_SIGNAL_PSI_CPU_SOME] = cpu.some_avg10;
  return 0;
}

tm_status tm_plat_read_system(tm_ctx *ctx, tm_plat *plat, uint32_t groups, tm_reading *out) {
  int err = 0;
  if (groups & TM_GROUP_BIT(TM_GROUP_SYSTEM)) err = tm_plat_read_memory(plat, out);
  if (!err && groups & TM_GROUP_BIT(TM_GROUP_PSI)) err = tm_plat_read_psi(plat, out);
  return err ? tm_fail_errno(ctx, err, "reading the machine's memory") : TM_OK;
}

// ---- Triggers.

static int open_pressure(tm_plat *plat, int64_t cgroup_of, int *err) {
  int fd;
  if (cgroup_of == 0) {
    fd = openat(plat->proc_fd, "pressure/memory", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  } else {
    char path[1200];
    tm_cgroups groups;
    tm_proc proc = {.plat = plat, .id = {.pid = cgroup_of}, .dir_fd = -1};
    snprintf(path, sizeof path, "%lld", (long long)cgroup_of);
    proc.dir_fd = openat(plat->proc_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *err = proc.dir_fd < 0 ? ESRCH : tm_proc_cgroups(&proc, &groups);
    if (proc.dir_fd >= 0) close(proc.dir_fd);
    if (!*err && !groups.v2.dir[0]) *err = ENOENT;
    if (*err) return -1;
    snprintf(path, sizeof path, "%s/memory.pressure", groups.v2.dir);
    fd = openat(plat->sys_fd, path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  }
  *err = fd < 0 ? errno : 0;
  return fd;
}

static int write_trigger(int fd, uint64_t stall_us, uint64_t window_us) {
  char line[80];
  int n = snprintf(line, sizeof line, "some %llu %llu", (unsigned long long)stall_us,
                   (unsigned long long)window_us);
  return write(fd, line, (size_t)n + 1) < 0 ? errno : 0;
}

tm_status tm_plat_pressure_fd(tm_ctx *ctx, tm_plat *plat, int64_t cgroup_of, uint64_t stall_ns,
                              uint64_t window_ns, int *out_fd, uint64_t *out_window_ns) {
  enum { LEAST_US = 500000, MOST_US = 10000000, STEP_US = 2000000 };
  if (plat->proc_fixture || plat->sys_fixture)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "a recorded machine has no triggers");
  uint64_t window_us = window_ns / 1000, stall_us = stall_ns / 1000;
  if (window_us < LEAST_US) window_us = LEAST_US;
  if (window_us > MOST_US) window_us = MOST_US;
  if (stall_us == 0 || stall_us > window_us)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                   "a stall must be longer than 0 and no longer than its window (at most 10 s)");
  int err, fd = open_pressure(plat, cgroup_of, &err);
  if (err == ENOENT || err == EOPNOTSUPP)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "no pressure file here; the kernel needs CONFIG_PSI, and psi=1 at boot");
  if (err) return tm_fail_errno(ctx, err, "cannot open the pressure file");
  err = write_trigger(fd, stall_us, window_us);
  if (err == EINVAL) { // without CAP_SYS_RESOURCE only whole multiples of 2 s are taken
    window_us = (window_us + STEP_US - 1) / STEP_US * STEP_US;
    err = write_trigger(fd, stall_us, window_us);
  }
  if (err) {
    close(fd);
    return tm_fail_errno(ctx, err, "the kernel refused a pressure trigger");
  }
  *out_fd = fd;
  *out_window_ns = window_us * 1000;
  return TM_OK;
}
