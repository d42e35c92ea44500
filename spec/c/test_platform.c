// floors: platform
// The Linux port against the live machine: every figure is compared with a second, independent
// reading of a child that holds still, or with what the child is known to hold.
#include "child.h"
#include "platform/platform.h"
#include "unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#define MIB (1 << 20)

static tm_ctx ctx;
static tm_plat *plat;
static tm_reading now;
static size_t alloc_calls;

static void *counting_realloc(void *ud, void *p, size_t old_size, size_t size) {
  alloc_calls++;
  return tm_allocator_malloc.realloc_fn(ud, p, old_size, size);
}

static int setup(void **state) {
  (void)state;
  static const tm_allocator counting = {counting_realloc, NULL};
  tm_ctx_init(&ctx, &counting);
  tm_reading_clear(&now);
  return tm_plat_open(&ctx, NULL, NULL, &plat) != TM_OK;
}

static int teardown(void **state) {
  (void)state;
  tm_plat_close(plat);
  tm_ctx_fini(&ctx);
  return 0;
}

static tm_proc *open_child(const child *c) {
  tm_proc *proc = NULL;
  assert_int_equal(tm_proc_open(&ctx, plat, c->pid, &proc), TM_OK);
  return proc;
}

static void read_groups(tm_proc *proc, uint32_t groups) {
  if (tm_proc_read(&ctx, proc, groups, &now) != TM_OK) fail_msg("%s", ctx.error.message);
}

// The number behind a word in a file of the child, by stdio; -1 when absent.
static double number_of(pid_t pid, const char *file, const char *word) {
  char path[64], line[512];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  double value = -1;
  while (value < 0 && fgets(line, sizeof line, f)) {
    const char *at = strncmp(line, word, strlen(word)) == 0 ? line + strlen(word) : NULL;
    if (at) sscanf(at, " %lf", &value);
  }
  fclose(f);
  return value;
}

static size_t lines_of(pid_t pid, const char *file, const char *without) {
  char path[64], line[8192];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  size_t count = 0;
  while (fgets(line, sizeof line, f)) count += !strstr(line, without);
  fclose(f);
  return count;
}

static size_t entries_of(pid_t pid, const char *folder) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, folder);
  DIR *dir = opendir(path);
  assert_non_null(dir);
  size_t count = 0;
  for (const struct dirent *entry; (entry = readdir(dir));) count += entry->d_name[0] != '.';
  closedir(dir);
  return count;
}

static void nothing(void) {
}

// ---- Who is there.

static void lists_processes_in_order(void **state) {
  (void)state;
  const int64_t *pids;
  size_t count;
  bool found = false;
  assert_int_equal(tm_plat_list(&ctx, plat, &pids, &count), TM_OK);
  for (size_t i = 0; i < count; i++) {
    if (i) assert_true(pids[i - 1] < pids[i]);
    found = found || pids[i] == getpid();
  }
  assert_true(found);
}

static void take_a_strange_name(void) {
  prctl(PR_SET_NAME, "a) R 1 (b\n");
}

static void describes_a_process_with_a_strange_name(void **state) {
  (void)state;
  void (*const steps[])(void) = {take_a_strange_name, NULL};
  child c = child_start(steps);
  tm_process_info info;
  assert_int_equal(tm_plat_describe(&ctx, plat, c.pid, &info), TM_OK);
  assert_string_equal(info.name, "a) R 1 (b?");
  assert_int_equal(info.parent_pid, getpid());
  assert_int_equal(info.uid, getuid());
  assert_non_null(strstr(info.exe, "test_platform"));
  assert_non_null(strstr(info.command, "test_platform"));
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  int64_t age_ns = (int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec - info.start_time_ns;
  assert_true(age_ns > -1000000000 && age_ns < 60 * (int64_t)1000000000);
  child_end(&c);
  assert_int_equal(tm_plat_describe(&ctx, plat, c.pid, &info), TM_E_GONE);
  tm_ctx_clear(&ctx);
}

static void sees_the_end_of_a_process(void **state) {
  (void)state;
  void (*const steps[])(void) = {nothing, NULL};
  child c = child_start(steps);
  tm_proc *held = open_child(&c), *idle = open_child(&c), *late = NULL;
  read_groups(held, (1u << TM_GROUP_COUNT) - 1);
  kill(c.pid, SIGKILL);
  siginfo_t info;
  waitid(P_PID, (id_t)c.pid, &info, WEXITED | WNOWAIT); // a zombie now
  for (int reaped = 0; reaped < 2; reaped++) {
    for (uint32_t group = 0; group < TM_GROUP_COUNT; group++) {
      if (group == TM_GROUP_SYSTEM || group == TM_GROUP_PSI) continue;
      bool told_when_zombie = group == TM_GROUP_STATM || group == TM_GROUP_STAT;
      if (!reaped && !told_when_zombie) continue;
      if (tm_proc_read(&ctx, held, 1u << group, &now) != TM_E_GONE)
        fail_msg("%s of a dead process", tm_group_name((tm_group)group));
      tm_ctx_clear(&ctx);
      assert_int_equal(tm_proc_read(&ctx, idle, 1u << group, &now), TM_E_GONE);
      tm_ctx_clear(&ctx);
    }
    assert_int_equal(tm_proc_open(&ctx, plat, c.pid, &late), TM_E_GONE);
    tm_ctx_clear(&ctx);
    assert_int_equal(tm_proc_act(&ctx, held, TM_PLAT_ACT_SIGNAL, SIGCONT), TM_E_GONE);
    tm_ctx_clear(&ctx);
    if (!reaped) child_end(&c);
  }
  tm_proc_close(held);
  tm_proc_close(idle);
}

static void tells_an_exit_at_once(void **state) {
  (void)state;
  void (*const steps[])(void) = {nothing, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  int fd = -1;
  assert_int_equal(tm_proc_exit_fd(&ctx, proc, &fd), TM_OK);
  struct pollfd p = {.fd = fd, .events = POLLIN};
  assert_int_equal(poll(&p, 1, 0), 0);
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_SIGNAL, SIGKILL), TM_OK);
  assert_int_equal(poll(&p, 1, 5000), 1);
  close(fd);
  tm_proc_close(proc);
  child_end(&c);
}

// ---- Figures.

static void reads_what_proc_says(void **state) {
  (void)state;
  void (*const steps[])(void) = {nothing, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  read_groups(proc, (1u << TM_GROUP_COUNT) - 1);
  double page = (double)sysconf(_SC_PAGESIZE), size, rss, shared;
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/statm", c.pid);
  FILE *f = fopen(path, "r");
  assert_int_equal(fscanf(f, "%lf %lf %lf", &size, &rss, &shared), 3);
  fclose(f);
  assert_true(now.value[TM_SIGNAL_RSS] == rss * page);
  assert_true(now.value[TM_SIGNAL_VSIZE] == size * page);
  assert_true(now.value[TM_SIGNAL_SHARED] == shared * page);
  static const struct {
    tm_signal signal;
    const char *file, *word;
    double scale;
  } rows[] = {
      {TM_SIGNAL_ANON, "status", "RssAnon:", 1024},
      {TM_SIGNAL_FILE, "status", "RssFile:", 1024},
      {TM_SIGNAL_SHMEM, "status", "RssShmem:", 1024},
      {TM_SIGNAL_SWAP, "status", "VmSwap:", 1024},
      {TM_SIGNAL_PEAK, "status", "VmHWM:", 1024},
      {TM_SIGNAL_PAGE_TABLES, "status", "VmPTE:", 1024},
      {TM_SIGNAL_DATA, "status", "VmData:", 1024},
      {TM_SIGNAL_THREADS, "status", "Threads:", 1},
      {TM_SIGNAL_HUGE, "smaps_rollup", "AnonHugePages:", 1024},
      {TM_SIGNAL_FD_LIMIT, "limits", "Max open files", 1},
      {TM_SIGNAL_WRITE_BYTES, "io", "write_bytes:", 1},
      {TM_SIGNAL_OOM_SCORE, "oom_score", "", 1},
  };
  for (size_t i = 0; i < TM_COUNT(rows); i++) {
    double expected = number_of(c.pid, rows[i].file, rows[i].word) * rows[i].scale;
    if (now.value[rows[i].signal] != expected)
      fail_msg("%s: %f is not %f", rows[i].word, now.value[rows[i].signal], expected);
  }
  // Pages shared with the test itself move a little whenever the test touches them.
  double pss_bytes = number_of(c.pid, "smaps_rollup", "Pss:") * 1024;
  assert_true(fabs(now.value[TM_SIGNAL_PSS] - pss_bytes) < MIB && pss_bytes > 0);
  double private_bytes = number_of(c.pid, "smaps_rollup", "Private_Clean:") * 1024
                         + number_of(c.pid, "smaps_rollup", "Private_Dirty:") * 1024;
  assert_true(fabs(now.value[TM_SIGNAL_USS] - private_bytes) < MIB);
  assert_int_equal(now.value[TM_SIGNAL_MAPS], lines_of(c.pid, "maps", "[vsyscall]"));
  assert_int_equal(now.value[TM_SIGNAL_FDS], entries_of(c.pid, "fd"));
  assert_true(now.value[TM_SIGNAL_MEM_LIMIT] > 0);
  assert_true(now.value[TM_SIGNAL_SYS_TOTAL] > now.value[TM_SIGNAL_SYS_AVAILABLE]);
  assert_true(now.value[TM_SIGNAL_SYS_FDS] > 0);
  assert_int_equal(now.withheld, 0);
  tm_proc_close(proc);
  child_end(&c);
}

static void counts_cpu_time(void **state) {
  (void)state;
  tm_proc *self;
  assert_int_equal(tm_proc_open(&ctx, plat, getpid(), &self), TM_OK);
  read_groups(self, TM_GROUP_BIT(TM_GROUP_STAT));
  double before_ns = now.value[TM_SIGNAL_CPU];
  struct timespec cpu;
  do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  while ((double)cpu.tv_sec * 1e9 + (double)cpu.tv_nsec < before_ns + 60e6);
  read_groups(self, TM_GROUP_BIT(TM_GROUP_STAT));
  assert_true(now.value[TM_SIGNAL_CPU] - before_ns >= 30e6);
  tm_proc_close(self);
}

static void *sleep_for_ever(void *arg) {
  pthread_barrier_wait(arg); // started: maps nothing from here on
  for (;;) pause();
  return arg;
}

static void start_five_threads(void) {
  static pthread_barrier_t started;
  pthread_t thread;
  pthread_barrier_init(&started, NULL, 6);
  for (int i = 0; i < 5; i++)
    if (pthread_create(&thread, NULL, sleep_for_ever, &started)) _exit(1);
  pthread_barrier_wait(&started);
}

static void counts_threads_and_their_stacks(void **state) {
  (void)state;
  void (*const steps[])(void) = {nothing, start_five_threads, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  uint32_t groups = TM_GROUP_BIT(TM_GROUP_STAT) | TM_GROUP_BIT(TM_GROUP_MAPS);
  read_groups(proc, groups);
  assert_int_equal(now.value[TM_SIGNAL_THREADS], 1);
  double stacks = now.mappings[TM_MAPPING_STACK];
  child_step(&c);
  read_groups(proc, groups);
  assert_int_equal(now.value[TM_SIGNAL_THREADS], 6);
  assert_true(now.mappings[TM_MAPPING_STACK] - stacks >= 5);
  assert_true(now.mapping_bytes[TM_MAPPING_STACK] >= 5 * 1.0 * MIB);
  tm_proc_close(proc);
  child_end(&c);
}

static void *hold(size_t bytes, int prot, int flags, int fd) {
  char *p = mmap(NULL, bytes, prot, flags, fd, 0);
  if (p == MAP_FAILED) _exit(1);
  if (prot & PROT_WRITE) memset(p, 1, bytes);
  return p;
}

static void map_three_kinds(void) {
  hold(MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
  int fd = memfd_create("spec", 0);
  if (ftruncate(fd, 2 * MIB)) _exit(1);
  hold(2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
  hold(MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void tells_mappings_apart(void **state) {
  (void)state;
  void (*const steps[])(void) = {nothing, map_three_kinds, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  read_groups(proc, TM_GROUP_BIT(TM_GROUP_MAPS));
  tm_reading before = now;
  child_step(&c);
  read_groups(proc, TM_GROUP_BIT(TM_GROUP_MAPS));
  assert_int_equal(now.mappings[TM_MAPPING_SHM] - before.mappings[TM_MAPPING_SHM], 1);
  assert_int_equal(now.mappings[TM_MAPPING_MEMFD], 1);
  assert_int_equal(now.mapping_bytes[TM_MAPPING_MEMFD], 2 * MIB);
  assert_int_equal(now.mapping_bytes[TM_MAPPING_GUARD] - before.mapping_bytes[TM_MAPPING_GUARD],
                   MIB);
  assert_int_equal(now.value[TM_SIGNAL_MAPS], lines_of(c.pid, "maps", "[vsyscall]"));
  tm_proc_close(proc);
  child_end(&c);
}

// ---- Descriptors.

static void open_one_of_each(void) {
  char path[] = "/tmp/tidemark-spec-XXXXXX", name[] = "/tidemark-spec";
  int two[2];
  sigset_t set;
  sigemptyset(&set);
  bool ok = open("/proc/self/exe", O_RDONLY) >= 0 && open("/", O_RDONLY | O_DIRECTORY) >= 0
            && open("/dev/null", O_RDONLY) >= 0 && eventfd(0, 0) >= 0 && epoll_create1(0) >= 0
            && timerfd_create(CLOCK_MONOTONIC, 0) >= 0 && signalfd(-1, &set, 0) >= 0
            && inotify_init() >= 0 && memfd_create("spec", 0) >= 0 && pipe(two) == 0
            && socketpair(AF_UNIX, SOCK_STREAM, 0, two) == 0
            && syscall(SYS_pidfd_open, getpid(), 0) >= 0 && mkstemp(path) >= 0 && unlink(path) == 0
            && shm_open(name, O_CREAT | O_RDWR, 0600) >= 0;
  if (!ok) _exit(1);
}

static void classifies_descriptors(void **state) {
  (void)state;
  static const struct {
    tm_handle_kind kind;
    int count;
  } rows[] = {
      {TM_HANDLE_FILE, 1},     {TM_HANDLE_DIRECTORY, 1}, {TM_HANDLE_DEVICE, 1},
      {TM_HANDLE_EVENTFD, 1},  {TM_HANDLE_EPOLL, 1},     {TM_HANDLE_TIMERFD, 1},
      {TM_HANDLE_SIGNALFD, 1}, {TM_HANDLE_INOTIFY, 1},   {TM_HANDLE_MEMFD, 1},
      {TM_HANDLE_PIPE, 2},     {TM_HANDLE_SOCKET, 2},    {TM_HANDLE_PIDFD, 1},
      {TM_HANDLE_DELETED, 1},  {TM_HANDLE_SHM, 1},
  };
  void (*const steps[])(void) = {nothing, open_one_of_each, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  read_groups(proc, TM_GROUP_BIT(TM_GROUP_HANDLES));
  tm_reading before = now;
  child_step(&c);
  read_groups(proc, TM_GROUP_BIT(TM_GROUP_HANDLES));
  double sum = 0;
  for (size_t i = 0; i < TM_HANDLE_COUNT; i++) sum += now.handles[i];
  assert_int_equal(sum, entries_of(c.pid, "fd"));
  for (size_t i = 0; i < TM_COUNT(rows); i++)
    if (now.handles[rows[i].kind] - before.handles[rows[i].kind] != rows[i].count)
      fail_msg("%s: %g more", tm_handle_kind_name(rows[i].kind),
               now.handles[rows[i].kind] - before.handles[rows[i].kind]);
  shm_unlink("/tidemark-spec");
  tm_proc_close(proc);
  child_end(&c);
}

static int spare_fd;

static void open_a_spare(void) {
  spare_fd = open("/dev/null", O_RDONLY);
}

static void swap_the_spare_for_an_eventfd(void) {
  close(spare_fd);
  if (eventfd(0, 0) != spare_fd) _exit(1);
}

static void sees_a_number_used_anew_in_time(void **state) {
  (void)state;
  void (*const steps[])(void) = {open_a_spare, swap_the_spare_for_an_eventfd, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  read_groups(proc, TM_GROUP_BIT(TM_GROUP_HANDLES));
  double before = now.handles[TM_HANDLE_EVENTFD];
  child_step(&c);
  int reads = 0;
  do {
    read_groups(proc, TM_GROUP_BIT(TM_GROUP_HANDLES));
    reads++;
  } while (now.handles[TM_HANDLE_EVENTFD] == before && reads < 100);
  assert_in_range(reads, 1, 16);
  tm_proc_close(proc);
  child_end(&c);
}

static int hidden_fd;

static void fill_a_memfd_twice_held(void) {
  static char block[MIB];
  memset(block, 1, sizeof block);
  hidden_fd = memfd_create("spec", 0);
  for (int i = 0; i < 8; i++)
    if (write(hidden_fd, block, sizeof block) != MIB) _exit(1);
  if (dup(hidden_fd) < 0) _exit(1);
}

static void map_half_of_it(void) {
  hold(4 * MIB, PROT_READ, MAP_SHARED, hidden_fd);
}

static void fill_a_deleted_file(void) {
  static char block[MIB];
  char path[] = "/dev/shm/tidemark-spec-XXXXXX";
  int fd = mkstemp(path);
  memset(block, 1, sizeof block);
  if (fd < 0 || unlink(path) || write(fd, block, sizeof block) != MIB) _exit(1);
}

static void fill_a_socket(void) {
  static char block[64 << 10];
  int two[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, two)) _exit(1);
  if (write(two[0], block, sizeof block) != sizeof block) _exit(1);
}

static void leave_a_segment(void) {
  int id = shmget(IPC_PRIVATE, MIB, 0600);
  char *p = id < 0 ? (char *)-1 : shmat(id, NULL, 0);
  if (p == (char *)-1) _exit(0);
  memset(p, 1, MIB);
  if (shmdt(p)) _exit(1);
}

static double hidden_after(child *c, tm_proc *proc) {
  if (c) child_step(c);
  for (int i = 0; i < 16; i++) read_groups(proc, TM_GROUP_BIT(TM_GROUP_HANDLES));
  return now.value[TM_SIGNAL_HIDDEN];
}

static void remove_segments_of(pid_t pid) {
  struct shm_info info;
  int last = shmctl(0, SHM_INFO, (struct shmid_ds *)(void *)&info);
  for (int i = 0; i <= last; i++) {
    struct shmid_ds segment;
    int id = shmctl(i, SHM_STAT, &segment);
    if (id >= 0 && segment.shm_cpid == pid) shmctl(id, IPC_RMID, NULL);
  }
}

static void sums_bytes_that_no_rss_shows(void **state) {
  (void)state;
  void (*const steps[])(void) = {nothing,       fill_a_memfd_twice_held, map_half_of_it,
                                 fill_a_socket, fill_a_deleted_file,     leave_a_segment,
                                 NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  double base = hidden_after(NULL, proc), value;
  value = hidden_after(&c, proc);
  assert_int_equal(value - base, 8 * MIB);
  assert_int_equal(now.handle_bytes[TM_HANDLE_MEMFD], 8 * MIB);
  assert_int_equal(hidden_after(&c, proc) - base, 4 * MIB);
  base = now.value[TM_SIGNAL_HIDDEN];
  value = hidden_after(&c, proc) - base;
  assert_true(value >= 64 << 10 && value <= 256 << 10);
  base = now.value[TM_SIGNAL_HIDDEN];
  assert_int_equal(hidden_after(&c, proc) - base, MIB);
  base = now.value[TM_SIGNAL_HIDDEN];
  assert_int_equal(hidden_after(&c, proc) - base, MIB);
  tm_proc_close(proc);
  remove_segments_of(c.pid);
  child_end(&c);
}

static bool sum_row(void *ud, const tm_handle_row *row) {
  uint64_t *sums = ud;
  sums[0]++;
  sums[1] += row->kind == TM_HANDLE_MEMFD ? row->bytes : 0;
  sums[2] += row->kind == TM_HANDLE_MEMFD && strstr(row->target, "/memfd:spec") ? 1 : 0;
  return true;
}

static bool count_mapping(void *ud, const tm_mapping_row *row) {
  ++*(uint64_t *)ud;
  return row->end > row->start;
}

static void lists_descriptors_and_mappings_as_evidence(void **state) {
  (void)state;
  void (*const steps[])(void) = {fill_a_memfd_twice_held, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  uint64_t sums[3] = {0}, mappings = 0;
  assert_int_equal(tm_proc_each_handle(&ctx, proc, sum_row, sums), TM_OK);
  assert_int_equal(sums[0], entries_of(c.pid, "fd"));
  assert_int_equal(sums[1], 16 * MIB); // each row shows its own file; only the sum counts it once
  assert_int_equal(sums[2], 2);
  assert_int_equal(tm_proc_each_mapping(&ctx, proc, count_mapping, &mappings), TM_OK);
  assert_int_equal(mappings, lines_of(c.pid, "maps", "no such mapping"));
  tm_proc_close(proc);
  child_end(&c);
}

typedef struct memory_sum {
  uint64_t rows, rss, previous_end;
} memory_sum;

static bool sum_memory(void *ud, const tm_memory_row *row) {
  memory_sum *sum = ud;
  assert_true(row->mapping.start >= sum->previous_end);
  assert_true(row->rss_bytes <= row->mapping.end - row->mapping.start);
  assert_true(row->pss_bytes <= row->rss_bytes);
  sum->previous_end = row->mapping.end;
  sum->rows++;
  sum->rss += row->rss_bytes;
  return true;
}

static void sums_the_resident_bytes_of_mappings(void **state) {
  (void)state;
  void (*const steps[])(void) = {fill_a_memfd_twice_held, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  memory_sum sum = {0};
  assert_int_equal(tm_proc_each_memory(&ctx, proc, sum_memory, &sum), TM_OK);
  assert_int_equal(sum.rows, lines_of(c.pid, "maps", "no such mapping"));
  tm_reading reading;
  tm_reading_clear(&reading);
  assert_int_equal(tm_proc_read(&ctx, proc, TM_GROUP_BIT(TM_GROUP_STATM), &reading), TM_OK);
  double rss = reading.value[TM_SIGNAL_RSS];
  assert_true(fabs((double)sum.rss - rss) <= 0.01 * rss + 512 * 1024); // counters lag by batches
  tm_proc_close(proc);
  child_end(&c);
}

// ---- Trees, peaks, pressure.

static void fork_two(void) {
  for (int i = 0; i < 2; i++) {
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (;;) pause();
    }
  }
}

static void sums_a_tree(void **state) {
  (void)state;
  void (*const steps[])(void) = {nothing, fork_two, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  read_groups(proc, TM_GROUP_BIT(TM_GROUP_TREE) | TM_GROUP_BIT(TM_GROUP_STATM));
  assert_int_equal(now.value[TM_SIGNAL_TREE_COUNT], 1);
  assert_true(now.value[TM_SIGNAL_TREE_RSS] > 0);
  child_step(&c);
  usleep(120000); // one pass serves everybody for 100 ms
  read_groups(proc, TM_GROUP_BIT(TM_GROUP_TREE) | TM_GROUP_BIT(TM_GROUP_STATM));
  assert_int_equal(now.value[TM_SIGNAL_TREE_COUNT], 3);
  assert_true(now.value[TM_SIGNAL_TREE_RSS] > now.value[TM_SIGNAL_RSS]);
  tm_proc_close(proc);
  child_end(&c);
}

static void touch_and_free(void) {
  munmap(hold(32 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1), 32 * MIB);
}

static void measures_peaks_per_interval(void **state) {
  (void)state;
  void (*const steps[])(void) = {touch_and_free, touch_and_free, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  uint32_t groups = TM_GROUP_BIT(TM_GROUP_STATUS) | TM_GROUP_BIT(TM_GROUP_STATM);
  read_groups(proc, groups);
  assert_true(now.value[TM_SIGNAL_PEAK] - now.value[TM_SIGNAL_RSS] > 30 * MIB);
  assert_int_equal(tm_proc_reset_peak(&ctx, proc), TM_OK);
  read_groups(proc, groups);
  assert_true(now.value[TM_SIGNAL_PEAK] - now.value[TM_SIGNAL_RSS] < 2 * MIB);
  child_step(&c);
  read_groups(proc, groups);
  assert_true(now.value[TM_SIGNAL_PEAK] - now.value[TM_SIGNAL_RSS] > 30 * MIB);
  tm_proc_close(proc);
  child_end(&c);
}

static void sets_a_pressure_trigger(void **state) {
  (void)state;
  int fd;
  uint64_t window_ns;
  tm_status status = tm_plat_pressure_fd(&ctx, plat, 0, 100000000, 1000000000, &fd, &window_ns);
  if (status == TM_E_UNSUPPORTED || status == TM_E_PERM) {
    tm_ctx_clear(&ctx);
    skip();
  }
  assert_int_equal(status, TM_OK);
  assert_true(window_ns == 1000000000 || window_ns == 2000000000);
  struct pollfd p = {.fd = fd, .events = POLLPRI};
  assert_true(poll(&p, 1, 0) >= 0);
  assert_false(p.revents & (POLLERR | POLLNVAL));
  close(fd);
  assert_int_equal(tm_plat_pressure_fd(&ctx, plat, 0, 3000000000, 1000000000, &fd, &window_ns),
                   TM_E_ARG);
  tm_ctx_clear(&ctx);
}

static void reads_all_processes_at_once(void **state) {
  (void)state;
  const tm_bulk_row *rows;
  size_t count, at = 0;
  tm_status status = tm_plat_bulk(&ctx, plat, &rows, &count);
  if (status == TM_E_UNSUPPORTED || status == TM_E_PERM) {
    assert_true(ctx.error.message[0]);
    tm_ctx_clear(&ctx);
    skip();
  }
  void (*const steps[])(void) = {start_five_threads, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  read_groups(proc, TM_GROUP_BIT(TM_GROUP_STATM) | TM_GROUP_BIT(TM_GROUP_MAPS)
                        | TM_GROUP_BIT(TM_GROUP_STAT));
  assert_int_equal(tm_plat_bulk(&ctx, plat, &rows, &count), TM_OK);
  while (at < count && rows[at].pid != c.pid) at++;
  assert_true(at < count);
  double slack = 64.0 * (double)sysconf(_SC_NPROCESSORS_CONF) * (double)sysconf(_SC_PAGESIZE);
  assert_true(fabs(rows[at].rss - now.value[TM_SIGNAL_RSS]) <= slack);
  assert_true(rows[at].threads == 6);
  assert_true(rows[at].maps == now.value[TM_SIGNAL_MAPS]);
  assert_true(rows[at].majflt == now.value[TM_SIGNAL_MAJFLT]);
  for (size_t i = 1; i < count; i++) assert_true(rows[i - 1].pid < rows[i].pid);
  tm_proc_close(proc);
  child_end(&c);
}

// ---- Acts and privileges.

static char state_of(pid_t pid) {
  char path[64], text[256] = "";
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  assert_non_null(fgets(text, sizeof text, f));
  fclose(f);
  return strrchr(text, ')')[2];
}

static void freezes_and_thaws(void **state) {
  (void)state;
  void (*const steps[])(void) = {nothing, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_FREEZE, 0), TM_OK);
  for (int i = 0; i < 500 && state_of(c.pid) != 'T'; i++) usleep(1000);
  assert_int_equal(state_of(c.pid), 'T');
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_THAW, 0), TM_OK);
  for (int i = 0; i < 500 && state_of(c.pid) == 'T'; i++) usleep(1000);
  assert_int_not_equal(state_of(c.pid), 'T');
  tm_proc_close(proc);
  child_end(&c);
}

static void refuses_acts_that_cannot_help(void **state) {
  (void)state;
  tm_proc *self;
  assert_int_equal(tm_proc_open(&ctx, plat, getpid(), &self), TM_OK);
  assert_int_equal(tm_proc_act(&ctx, self, TM_PLAT_ACT_SIGNAL, SIGSTOP), TM_E_ARG);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_proc_act(&ctx, self, TM_PLAT_ACT_RECLAIM, 0), TM_E_ARG);
  tm_ctx_clear(&ctx);
  read_groups(self, TM_GROUP_BIT(TM_GROUP_SYSTEM));
  if (number_of(getpid(), "../meminfo", "SwapTotal:") == 0) {
    assert_int_equal(tm_proc_act(&ctx, self, TM_PLAT_ACT_PAGE_OUT, 0), TM_E_UNSUPPORTED);
    assert_non_null(strstr(ctx.error.message, "swap"));
    tm_ctx_clear(&ctx);
  }
  tm_proc_close(self);
}

static void hold_32_mib(void) {
  hold(32 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void pages_out_what_was_asked(void **state) {
  (void)state;
  if (number_of(getpid(), "../meminfo", "SwapFree:") < 64 << 10) skip();
  void (*const steps[])(void) = {hold_32_mib, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  read_groups(proc, TM_GROUP_BIT(TM_GROUP_STATUS));
  double before = now.value[TM_SIGNAL_SWAP];
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_PAGE_OUT, 0), TM_OK);
  read_groups(proc, TM_GROUP_BIT(TM_GROUP_STATUS));
  assert_true(now.value[TM_SIGNAL_SWAP] - before > 24 * MIB);
  tm_proc_close(proc);
  child_end(&c);
}

static void count_withheld(void *ud, tm_group group, const char *what, const char *remedy) {
  uint32_t *bits = ud;
  *bits |= TM_GROUP_BIT(group);
  if (!*what || !*remedy) *bits = 0;
}

// Run as nobody: what is still there, and what is said to be withheld.
static int read_as_stranger(pid_t pid) {
  tm_proc *proc;
  uint32_t said = 0;
  uint32_t hidden = TM_GROUP_BIT(TM_GROUP_IO) | TM_GROUP_BIT(TM_GROUP_HANDLES)
                    | TM_GROUP_BIT(TM_GROUP_MAPS) | TM_GROUP_BIT(TM_GROUP_ROLLUP)
                    | TM_GROUP_BIT(TM_GROUP_GPU) | TM_GROUP_BIT(TM_GROUP_X);
  if (setgid(65534) || setuid(65534)) return 1;
  if (tm_proc_open(&ctx, plat, pid, &proc) != TM_OK) return 2;
  for (size_t i = 0; i < TM_SIGNAL_COUNT; i++) now.value[i] = 1;
  if (tm_proc_read(&ctx, proc, (1u << TM_GROUP_COUNT) - 1, &now) != TM_OK) return 3;
  if ((now.withheld & hidden) != hidden) return 4;
  if (now.withheld & ~(hidden | TM_GROUP_BIT(TM_GROUP_FDS))) return 5;
  if (!isnan(now.value[TM_SIGNAL_PSS]) || !isnan(now.value[TM_SIGNAL_HIDDEN])) return 6;
  if (!(now.value[TM_SIGNAL_RSS] > 4096) || !(now.value[TM_SIGNAL_ANON] > 4096)) return 7;
  tm_proc_withheld(proc, count_withheld, &said);
  if ((said & hidden) != hidden) return 8;
  if (tm_proc_reset_peak(&ctx, proc) != TM_E_PERM) return 9;
  tm_ctx_clear(&ctx);
  if (tm_proc_act(&ctx, proc, TM_PLAT_ACT_SIGNAL, SIGWINCH) != TM_E_PERM) return 10;
  return 0;
}

static void says_what_is_withheld(void **state) {
  (void)state;
  if (geteuid() != 0) skip();
  pid_t stranger = fork();
  if (stranger == 0) _exit(read_as_stranger(getppid()));
  int status;
  waitpid(stranger, &status, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void check_row(void *ud, const char *what, bool works, const char *detail,
                      const char *remedy) {
  int *rows = ud;
  ++*rows;
  assert_true(*what && *detail);
  assert_true(works == !*remedy);
}

static void examines_the_machine(void **state) {
  (void)state;
  int rows = 0;
  tm_plat_doctor(plat, check_row, &rows);
  assert_true(rows >= 8);
}

static void allocates_nothing_in_the_steady_state(void **state) {
  (void)state;
  void (*const steps[])(void) = {open_one_of_each, NULL};
  child c = child_start(steps);
  tm_proc *proc = open_child(&c);
  size_t own_fds = entries_of(getpid(), "fd");
  for (int i = 0; i < 40; i++) read_groups(proc, (1u << TM_GROUP_COUNT) - 1);
  size_t before = alloc_calls;
  for (int i = 0; i < 40; i++) read_groups(proc, (1u << TM_GROUP_COUNT) - 1);
  assert_int_equal(alloc_calls, before);
  size_t kept = entries_of(getpid(), "fd") - own_fds + 1; // statm was open before
  assert_in_range(kept, 1, 5);                            // four of the process, one for netlink
  shm_unlink("/tidemark-spec");
  tm_proc_close(proc);
  child_end(&c);
}

static void names_every_row_once(void **state) {
  (void)state;
  for (size_t i = 0; i < TM_SIGNAL_COUNT; i++)
    assert_int_equal(tm_signal_by_name(tm_signal_describe((tm_signal)i)->name), i);
  assert_int_equal(tm_signal_by_name("proc.nonsense"), TM_SIGNAL_COUNT);
  assert_null(tm_signal_describe(TM_SIGNAL_COUNT));
  assert_string_equal(tm_handle_kind_name(TM_HANDLE_MEMFD), "memfd");
  assert_string_equal(tm_mapping_kind_name(TM_MAPPING_GO_ARENA), "go_arena");
  assert_string_equal(tm_group_name(TM_GROUP_ROLLUP), "rollup");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(lists_processes_in_order),
      TEST(describes_a_process_with_a_strange_name),
      TEST(sees_the_end_of_a_process),
      TEST(tells_an_exit_at_once),
      TEST(reads_what_proc_says),
      TEST(counts_cpu_time),
      TEST(counts_threads_and_their_stacks),
      TEST(tells_mappings_apart),
      TEST(classifies_descriptors),
      TEST(sees_a_number_used_anew_in_time),
      TEST(sums_bytes_that_no_rss_shows),
      TEST(lists_descriptors_and_mappings_as_evidence),
      TEST(sums_the_resident_bytes_of_mappings),
      TEST(sums_a_tree),
      TEST(measures_peaks_per_interval),
      TEST(sets_a_pressure_trigger),
      TEST(reads_all_processes_at_once),
      TEST(freezes_and_thaws),
      TEST(refuses_acts_that_cannot_help),
      TEST(pages_out_what_was_asked),
      TEST(says_what_is_withheld),
      TEST(examines_the_machine),
      TEST(allocates_nothing_in_the_steady_state),
      TEST(names_every_row_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
