// floors: platform
// The sampling bars S1-S7 against a raw C loop and psutil, interleaved round by round, so that a
// noisy machine is noisy for all of them. 1,000 idle children stand in for a busy desktop; they die
// with this process. Figures are medians of CPU time. Usage: bench_sampling [PYTHON SCRIPT]
#include "base/clock.h"
#include "platform/platform.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 1000, MOST = 8192, ROUNDS = 15, FDS = 10000, NEW_FDS = 100 };

typedef struct bench {
  tm_ctx ctx;
  tm_plat *plat;
  pid_t children[CHILDREN];
  tm_proc *procs[MOST];
  int raw_fds[MOST];
  size_t count;
  tm_reading reading;
  FILE *to_psutil, *from_psutil; // NULL = not there
  double sink;                   // keeps the raw loops from being optimised away
} bench;

static void die(const char *what) {
  fprintf(stderr, "bench_sampling: %s\n", what);
  exit(1);
}

static void row(const char *id, const char *bar, const char *measured, bool ok) {
  printf("%-4s  %-58s  %-34s  %s\n", id, bar, measured, ok ? "yes" : "no");
  fflush(stdout);
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, by_value);
  return values[count / 2];
}

static double cpu_us(void) {
  return (double)tm_clock_process_cpu_ns() / 1e3;
}

// ---- Children.

static pid_t start_child(void (*run)(int go_fd, int done_fd), int *go_fd, int *done_fd) {
  int go[2], done[2];
  if (pipe(go) || pipe(done)) die("pipe");
  pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(go[1]);
    close(done[0]);
    run(go[0], done[1]);
    _exit(0);
  }
  close(go[0]);
  close(done[1]);
  *go_fd = go[1];
  *done_fd = done[0];
  return pid;
}

static void step(int go_fd, int done_fd) {
  char byte = 1;
  if (write(go_fd, &byte, 1) != 1 || read(done_fd, &byte, 1) != 1) die("a child is gone");
}

static void end_child(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

static void start_idle_children(bench *b) {
  for (size_t i = 0; i < CHILDREN; i++) {
    b->children[i] = fork();
    if (b->children[i] < 0) die("cannot fork 1,000 children");
    if (b->children[i] == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) pause();
    }
  }
}

static void hold_descriptors(int go_fd, int done_fd) {
  char byte = 1;
  struct rlimit limit = {20000, 20000};
  if (setrlimit(RLIMIT_NOFILE, &limit)) _exit(1);
  for (int fd = 3; fd < 20000; fd++) // what it inherited
    if (fd != go_fd && fd != done_fd) close(fd);
  for (int i = 0; i < FDS - 5; i++)
    if (open("/dev/null", O_RDONLY) < 0) _exit(1);
  while (read(go_fd, &byte, 1) == 1) {
    if (write(done_fd, &byte, 1) != 1 || read(go_fd, &byte, 1) != 1) _exit(1);
    for (int i = 0; i < NEW_FDS; i++)
      if (open("/dev/null", O_RDONLY) < 0) _exit(1);
    if (write(done_fd, &byte, 1) != 1) _exit(1);
  }
}

static void hold_a_gibibyte(int go_fd, int done_fd) {
  size_t size = (size_t)1 << 30;
  char byte = 1;
  char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) _exit(1);
  madvise(p, size, MADV_NOHUGEPAGE);
  for (size_t i = 0; i < size; i += 4096) p[i] = 1;
  while (read(go_fd, &byte, 1) == 1)
    if (write(done_fd, &byte, 1) != 1) _exit(1);
}

// ---- Passes over all processes.

static void open_all(bench *b) {
  const int64_t *pids;
  size_t count;
  char path[64];
  if (tm_plat_list(&b->ctx, b->plat, &pids, &count) != TM_OK) die(b->ctx.error.message);
  for (size_t i = 0; i < count && b->count < MOST; i++) {
    snprintf(path, sizeof path, "/proc/%lld/statm", (long long)pids[i]);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    tm_ctx_clear(&b->ctx);
    if (fd < 0 || tm_proc_open(&b->ctx, b->plat, pids[i], &b->procs[b->count]) != TM_OK) {
      if (fd >= 0) close(fd);
      continue;
    }
    b->raw_fds[b->count++] = fd;
  }
  tm_ctx_clear(&b->ctx);
}

static double pass_raw(bench *b) {
  double start = cpu_us();
  DIR *dir = opendir("/proc");
  for (const struct dirent *entry; dir && (entry = readdir(dir));)
    b->sink += atoi(entry->d_name) > 0;
  closedir(dir);
  for (size_t i = 0; i < b->count; i++) {
    char buf[128];
    ssize_t n = pread(b->raw_fds[i], buf, sizeof buf - 1, 0);
    if (n <= 0) continue;
    buf[n] = '\0';
    char *at = buf;
    strtoul(at, &at, 10);
    b->sink += (double)strtoul(at, &at, 10) * 4096;
  }
  return cpu_us() - start;
}

static double pass_ours(bench *b, uint32_t groups) {
  const int64_t *pids;
  size_t count;
  double start = cpu_us();
  if (tm_plat_list(&b->ctx, b->plat, &pids, &count) != TM_OK) die(b->ctx.error.message);
  for (uint32_t left = groups; left; left &= left - 1) // group by group, as platform.h advises
    for (size_t i = 0; i < b->count; i++) {
      tm_status status = tm_proc_read(&b->ctx, b->procs[i], left & -left, &b->reading);
      if (status != TM_OK) tm_ctx_clear(&b->ctx);
      b->sink += b->reading.value[TM_SIGNAL_RSS];
    }
  return cpu_us() - start;
}

static void start_psutil(bench *b, const char *python, const char *script) {
  int to[2], from[2];
  if (!script || pipe(to) || pipe(from)) return;
  pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(to[0], 0);
    dup2(from[1], 1);
    execlp(python, python, script, (char *)NULL);
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  signal(SIGPIPE, SIG_IGN);
  b->to_psutil = fdopen(to[1], "w");
  b->from_psutil = fdopen(from[0], "r");
}

static double pass_psutil(bench *b, const char *what) {
  double us = NAN;
  if (!b->to_psutil) return us;
  fprintf(b->to_psutil, "%s\n", what);
  fflush(b->to_psutil);
  char line[64];
  return fgets(line, sizeof line, b->from_psutil) ? atof(line) : NAN;
}

// A bar against psutil: how many times cheaper we are.
static void compare(const char *id, const char *bar, double psutil_us, double our_us, double n,
                    double least) {
  char text[96];
  double times = psutil_us / our_us;
  snprintf(text, sizeof text, "%.1fx (%.2f / %.1f us each)", times, our_us / n, psutil_us / n);
  row(id, bar, isnan(times) ? "psutil is not installed" : text, times >= least);
}

static void check_passes(bench *b) {
  double raw[ROUNDS], rss[ROUNDS], core[ROUNDS], psutil_rss[ROUNDS], psutil_core[ROUNDS];
  const uint32_t rss_groups = TM_GROUP_BIT(TM_GROUP_STATM);
  const uint32_t core_groups =
      rss_groups | TM_GROUP_BIT(TM_GROUP_STAT) | TM_GROUP_BIT(TM_GROUP_FDS);
  for (size_t i = 0; i < ROUNDS; i++) {
    for (int warm = 0; warm < 2; warm++) raw[i] = pass_raw(b); // each counts its second pass
    for (int warm = 0; warm < 2; warm++) rss[i] = pass_ours(b, rss_groups);
    for (int warm = 0; warm < 2; warm++) psutil_rss[i] = pass_psutil(b, "rss");
    for (int warm = 0; warm < 2; warm++) core[i] = pass_ours(b, core_groups);
    for (int warm = 0; warm < 2; warm++) psutil_core[i] = pass_psutil(b, "core");
  }
  char text[96];
  double n = (double)b->count, raw_us = median(raw, ROUNDS), rss_us = median(rss, ROUNDS);
  double core_us = median(core, ROUNDS);
  snprintf(text, sizeof text, "%.2fx (%.2f / %.2f us each)", rss_us / raw_us, rss_us / n,
           raw_us / n);
  row("S1", "RSS of 1,000 processes <= 1.5x the raw loop", text, rss_us <= 1.5 * raw_us);
  compare("S1", "RSS of 1,000 processes >= 20x cheaper than psutil", median(psutil_rss, ROUNDS),
          rss_us, n, 20);
  compare("S2", "core row of 1,000 >= 10x cheaper than psutil", median(psutil_core, ROUNDS),
          core_us, n, 10);
  snprintf(text, sizeof text, "%.2f ms a pass", core_us / 1e3);
  row("S2", "core row < 1/4 of an htop refresh (34 ms when measured)", text, core_us < 34e3 / 4);
}

// ---- One process with many descriptors.

static double read_us(bench *b, tm_proc *proc, uint32_t groups) {
  double start = cpu_us();
  if (tm_proc_read(&b->ctx, proc, groups, &b->reading) != TM_OK) die(b->ctx.error.message);
  return cpu_us() - start;
}

static double bare_stat_us(bench *b, const char *path) {
  struct stat st;
  double start = cpu_us();
  if (stat(path, &st)) die(path);
  b->sink += (double)st.st_size;
  return cpu_us() - start;
}

// What a tick after k new descriptors cannot do without: the listing and k links.
static double listing_us(bench *b, pid_t pid) {
  char path[64], target[256];
  double start = cpu_us();
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *dir = opendir(path);
  for (const struct dirent *entry; dir && (entry = readdir(dir));) b->sink += entry->d_name[0];
  for (int i = 10; i < 10 + NEW_FDS; i++) {
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, i);
    b->sink += (double)readlink(path, target, sizeof target);
  }
  closedir(dir);
  return cpu_us() - start;
}

static void check_descriptors(bench *b) {
  enum { TIMES = 2001, TICKS = 20 };
  static double bare[TIMES], count[TIMES], kinds[TIMES];
  double listing[TICKS], after[TICKS], ratios[TICKS];
  const uint32_t fds = TM_GROUP_BIT(TM_GROUP_FDS), handles = TM_GROUP_BIT(TM_GROUP_HANDLES);
  int go, done;
  char path[64], text[96];
  tm_proc *proc;
  pid_t pid = start_child(hold_descriptors, &go, &done);
  step(go, done);
  if (tm_proc_open(&b->ctx, b->plat, pid, &proc) != TM_OK) die(b->ctx.error.message);
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  read_us(b, proc, fds | handles);
  for (size_t i = 0; i < TIMES; i++) {
    bare[i] = bare_stat_us(b, path);
    count[i] = read_us(b, proc, fds);
    kinds[i] = i % 100 ? count[i] : read_us(b, proc, handles);
  }
  size_t unchanged = 0;
  for (size_t i = 0; i < TIMES; i++) { // few full looks come between: the median skips them
    if (i % 100 == 0) kinds[unchanged++] = kinds[i];
  }
  for (size_t i = 0; i < TICKS; i++) {
    step(go, done);
    if (i % 2) listing[i] = listing_us(b, pid); // whoever comes first makes the kernel's dentries
    after[i] = read_us(b, proc, handles);
    if (i % 2 == 0) listing[i] = listing_us(b, pid);
    ratios[i] = after[i] / listing[i];
    step(go, done);
  }
  double count_us = median(count, TIMES), bare_us = median(bare, TIMES);
  double kinds_us = median(kinds, unchanged);
  snprintf(text, sizeof text, "%.2fx (%.2f / %.2f us), %.0f found", count_us / bare_us, count_us,
           bare_us, b->reading.value[TM_SIGNAL_FDS]);
  row("S3", "count of 10,000 descriptors <= 2x a bare stat()", text, count_us <= 2 * bare_us);
  snprintf(text, sizeof text, "%.2fx (%.2f us)", kinds_us / count_us, kinds_us);
  row("S4", "kinds of 10,000, nothing changed <= 2x the count", text, kinds_us <= 2 * count_us);
  double after_us = median(after, TICKS), ratio = median(ratios, TICKS);
  snprintf(text, sizeof text, "%.2fx (%.0f us)", ratio, after_us);
  row("S4", "kinds after 100 new <= a listing and 100 readlinks", text, ratio <= 1);
  tm_proc_close(proc);
  end_child(pid);
}

// ---- Budgets, bulk, memory.

static void check_rollup(bench *b) {
  enum { TICKS = 40 };
  int go, done;
  tm_proc *proc;
  char text[96];
  pid_t pid = start_child(hold_a_gibibyte, &go, &done);
  step(go, done);
  if (tm_proc_open(&b->ctx, b->plat, pid, &proc) != TM_OK) die(b->ctx.error.message);
  const uint32_t groups = TM_GROUP_BIT(TM_GROUP_STATM) | TM_GROUP_BIT(TM_GROUP_ROLLUP);
  double first_us = read_us(b, proc, groups);
  uint64_t wall_ns = tm_clock_mono_ns();
  double start = cpu_us();
  for (int i = 0; i < TICKS; i++) {
    usleep(100000); // ten times the rate of the bar
    read_us(b, proc, groups);
  }
  double share = (cpu_us() - start) * 1e3 / (double)(tm_clock_mono_ns() - wall_ns);
  snprintf(text, sizeof text, "%.2f %% (one walk %.1f ms)", share * 100, first_us / 1e3);
  row("S5", "PSS of 1 GiB asked for 10 times a second <= 2 % CPU", text, share <= 0.02);
  tm_proc_close(proc);
  end_child(pid);
}

static void check_bulk(bench *b) {
  const tm_bulk_row *rows;
  size_t count;
  double us[ROUNDS];
  char text[96];
  if (tm_plat_bulk(&b->ctx, b->plat, &rows, &count) != TM_OK) {
    row("S6", "all processes at once", b->ctx.error.message, false);
    tm_ctx_clear(&b->ctx);
    return;
  }
  for (size_t i = 0; i < ROUNDS; i++) {
    double start = cpu_us();
    if (tm_plat_bulk(&b->ctx, b->plat, &rows, &count) != TM_OK) die(b->ctx.error.message);
    us[i] = cpu_us() - start;
  }
  double slack = 64.0 * (double)sysconf(_SC_NPROCESSORS_CONF) * (double)sysconf(_SC_PAGESIZE);
  size_t same = 0, seen = 0, at = 0;
  const uint32_t groups =
      TM_GROUP_BIT(TM_GROUP_STATM) | TM_GROUP_BIT(TM_GROUP_STAT) | TM_GROUP_BIT(TM_GROUP_MAPS);
  for (size_t i = 0; i < b->count; i++) {
    int64_t pid = tm_proc_identity(b->procs[i]).pid;
    while (at < count && rows[at].pid < pid) at++;
    if (at == count || rows[at].pid != pid || pid < b->children[0]
        || pid > b->children[CHILDREN - 1])
      continue;
    if (tm_proc_read(&b->ctx, b->procs[i], groups, &b->reading) != TM_OK) continue;
    seen++;
    same += rows[at].maps == b->reading.value[TM_SIGNAL_MAPS]
            && rows[at].threads == b->reading.value[TM_SIGNAL_THREADS]
            && fabs(rows[at].rss - b->reading.value[TM_SIGNAL_RSS]) <= slack;
  }
  double bulk_us = median(us, ROUNDS);
  snprintf(text, sizeof text, "%.0f us for %zu", bulk_us, count);
  row("S6", "1,000 processes at once (BPF) <= 0.5 ms", text, bulk_us <= 500);
  snprintf(text, sizeof text, "%zu of %zu", same, seen);
  row("S6", "maps, threads equal; RSS within 64 pages x CPUs", text, same == seen && seen);
}

static double own_rss(bench *b, tm_proc *self) {
  tm_reading reading = {0};
  if (tm_proc_read(&b->ctx, self, TM_GROUP_BIT(TM_GROUP_STATM), &reading) != TM_OK) die("self");
  return reading.value[TM_SIGNAL_RSS];
}

static void check_memory(bench *b) {
  enum { TICKS = 1000000 };
  tm_proc *self;
  char text[96];
  if (tm_proc_open(&b->ctx, b->plat, getpid(), &self) != TM_OK) die(b->ctx.error.message);
  const uint32_t cheap = TM_GROUP_BIT(TM_GROUP_STATM) | TM_GROUP_BIT(TM_GROUP_FDS);
  tm_proc *proc = b->procs[b->count / 2];
  for (int i = 0; i < 1000; i++) read_us(b, proc, cheap);
  own_rss(b, self);
  double before = own_rss(b, self), start = cpu_us();
  for (int i = 0; i < TICKS; i++)
    if (tm_proc_read(&b->ctx, proc, cheap, &b->reading) != TM_OK) die(b->ctx.error.message);
  double each_us = (cpu_us() - start) / TICKS, growth = own_rss(b, self) - before;
  snprintf(text, sizeof text, "%.0f bytes (%.2f us a tick)", growth, each_us);
  row("S7", "own RSS grows by 0 over 1,000,000 ticks", text, growth == 0);
  tm_proc_close(self);
}

// For strace: nothing but counts of descriptors.
static int count_only(bench *b) {
  int go, done;
  tm_proc *proc;
  pid_t pid = start_child(hold_descriptors, &go, &done);
  step(go, done);
  if (tm_proc_open(&b->ctx, b->plat, pid, &proc) != TM_OK) die(b->ctx.error.message);
  for (int i = 0; i < 100; i++) read_us(b, proc, TM_GROUP_BIT(TM_GROUP_FDS));
  tm_proc_close(proc);
  end_child(pid);
  tm_plat_close(b->plat);
  return 0;
}

int main(int argc, char **argv) {
  static bench b;
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  tm_ctx_init(&b.ctx, NULL);
  if (tm_plat_open(&b.ctx, NULL, NULL, &b.plat) != TM_OK) die(b.ctx.error.message);
  if (argc > 1 && strcmp(argv[1], "--fd-count") == 0) return count_only(&b);
  printf("%-4s  %-58s  %-34s  %s\n", "id", "bar", "measured", "ok");
  start_idle_children(&b);
  open_all(&b);
  start_psutil(&b, argc > 2 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL);
  check_passes(&b);
  check_descriptors(&b);
  check_bulk(&b);
  check_memory(&b);
  for (size_t i = 0; i < b.count; i++) tm_proc_close(b.procs[i]);
  for (size_t i = 0; i < CHILDREN; i++) kill(b.children[i], SIGKILL);
  for (size_t i = 0; i < CHILDREN; i++) waitpid(b.children[i], NULL, 0);
  check_rollup(&b);
  tm_plat_close(b.plat);
  return b.sink < 0; // never: but the compiler cannot know
}
