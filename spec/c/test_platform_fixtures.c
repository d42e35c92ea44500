// floors: platform
// The Linux port against recorded and hostile trees: cgroup v1 and v2, what this machine lacks,
// and bytes that no kernel writes. What a test changes it writes into a folder of its own.
#include "platform/platform.h"
#include "unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIXTURES TM_SOURCE_DIR "/spec/support/fixtures/"
#define MIB      (1024.0 * 1024)

static tm_ctx ctx;
static tm_plat *plat;
static tm_proc *proc;
static tm_reading now;
static char root[64]; // of the trees that tests write

static int setup(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  tm_reading_clear(&now);
  plat = NULL;
  proc = NULL;
  strcpy(root, "/tmp/tidemark-spec-XXXXXX");
  return !mkdtemp(root);
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
  (void)st, (void)flag, (void)ftw;
  return remove(path);
}

static int teardown(void **state) {
  (void)state;
  tm_proc_close(proc);
  tm_plat_close(plat);
  tm_ctx_fini(&ctx);
  return nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void open_fixture(const char *name) {
  char proc_root[300], sys_root[300];
  snprintf(proc_root, sizeof proc_root, FIXTURES "%s/proc", name);
  snprintf(sys_root, sizeof sys_root, FIXTURES "%s/sys", name);
  assert_int_equal(tm_plat_open(&ctx, proc_root, sys_root, &plat), TM_OK);
  if (tm_proc_open(&ctx, plat, 42, &proc) != TM_OK) fail_msg("%s", ctx.error.message);
}

static void read_groups(uint32_t groups) {
  if (tm_proc_read(&ctx, proc, groups, &now) != TM_OK) fail_msg("%s", ctx.error.message);
}

static void expect(tm_signal signal, double value) {
  double got = now.value[signal];
  if (isnan(value) ? !isnan(got) : !(fabs(got - value) <= 1e-9 * fabs(value)))
    fail_msg("%s: %f is not %f", tm_signal_describe(signal)->name, got, value);
}

// ---- Writing trees.

static void path_of(char *out, size_t size, const char *path) {
  snprintf(out, size, "%s/%s", root, path);
}

static void make_folders(char *path) {
  for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
    *p = '\0';
    mkdir(path, 0700);
    *p = '/';
  }
}

static void put_bytes(const char *path, const char *bytes, size_t size) {
  char full[512];
  path_of(full, sizeof full, path);
  make_folders(full);
  FILE *f = fopen(full, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, size, f), size);
  fclose(f);
}

static void put(const char *path, const char *text) {
  put_bytes(path, text, strlen(text));
}

static void put_stat(int pid, const char *name, char state, int parent, const char *start) {
  char path[64], text[512];
  snprintf(path, sizeof path, "proc/%d/stat", pid);
  snprintf(text, sizeof text,
           "%d (%s) %c %d 1 1 0 -1 0 11 0 3 0 20 10 0 0 20 0 2 0 %s 4096 7 0 0 0 0\n", pid, name,
           state, parent, start);
  put(path, text);
}

static void expect_file(const char *path, const char *text) {
  char full[512], got[64] = "";
  path_of(full, sizeof full, path);
  FILE *f = fopen(full, "r");
  assert_non_null(f);
  size_t n = fread(got, 1, sizeof got - 1, f);
  fclose(f);
  got[n] = '\0';
  assert_string_equal(got, text);
}

static void open_root(bool with_sys) {
  char proc_root[128], sys_root[128];
  path_of(proc_root, sizeof proc_root, "proc");
  path_of(sys_root, sizeof sys_root, "sys");
  if (with_sys) mkdir(sys_root, 0700);
  assert_int_equal(tm_plat_open(&ctx, proc_root, with_sys ? sys_root : NULL, &plat), TM_OK);
}

static void open_42(void) {
  if (tm_proc_open(&ctx, plat, 42, &proc) != TM_OK) fail_msg("%s", ctx.error.message);
}

// ---- Recorded trees.

static void reads_cgroup_v2(void **state) {
  (void)state;
  open_fixture("proc-cgroup2");
  read_groups(TM_GROUP_BIT(TM_GROUP_CGROUP));
  expect(TM_SIGNAL_CG_CURRENT, 256 * MIB);
  expect(TM_SIGNAL_CG_PEAK, 288 * MIB);
  expect(TM_SIGNAL_CG_LIMIT, 1024 * MIB); // its own is "max": the lowest ancestor's counts
  expect(TM_SIGNAL_CG_HIGH, 768 * MIB);
  expect(TM_SIGNAL_CG_SWAP, MIB);
  expect(TM_SIGNAL_CG_ANON, 128 * MIB);
  expect(TM_SIGNAL_CG_FILE, 64 * MIB);
  expect(TM_SIGNAL_CG_SHMEM, 4 * MIB);
  expect(TM_SIGNAL_CG_KERNEL, 8 * MIB);
  expect(TM_SIGNAL_CG_SOCK, 65536);
  expect(TM_SIGNAL_CG_OOM_KILLS, 3);
  expect(TM_SIGNAL_CG_PSI_SOME, 0.07);
  expect(TM_SIGNAL_CG_PSI_FULL, 0.02);
  expect(TM_SIGNAL_MEM_LIMIT, 1024 * MIB);
}

static void reads_cgroup_v1_in_a_container(void **state) {
  (void)state;
  open_fixture("proc-cgroup1");
  read_groups(TM_GROUP_BIT(TM_GROUP_CGROUP));
  expect(TM_SIGNAL_CG_CURRENT, 100 * MIB);
  expect(TM_SIGNAL_CG_PEAK, 200 * MIB);
  expect(TM_SIGNAL_CG_LIMIT, 700 * MIB);
  expect(TM_SIGNAL_CG_HIGH, NAN);
  expect(TM_SIGNAL_CG_SWAP, 4096);
  expect(TM_SIGNAL_CG_ANON, 40 * MIB);
  expect(TM_SIGNAL_CG_FILE, 50 * MIB);
  expect(TM_SIGNAL_CG_SHMEM, MIB);
  expect(TM_SIGNAL_CG_KERNEL, 2 * MIB);
  expect(TM_SIGNAL_CG_SOCK, 8192);
  expect(TM_SIGNAL_CG_OOM_KILLS, 5);
  expect(TM_SIGNAL_CG_PSI_SOME, NAN);
  expect(TM_SIGNAL_MEM_LIMIT, 512 * MIB); // RLIMIT_AS is lower still
}

static void reads_a_recorded_process(void **state) {
  (void)state;
  open_fixture("proc-cgroup2");
  read_groups((1u << TM_GROUP_COUNT) - 1);
  double page = (double)sysconf(_SC_PAGESIZE);
  expect(TM_SIGNAL_RSS, 2500 * page);
  expect(TM_SIGNAL_SHARED, 750 * page);
  expect(TM_SIGNAL_CPU, 400 * 1e9 / (double)sysconf(_SC_CLK_TCK));
  expect(TM_SIGNAL_MINFLT, 100);
  expect(TM_SIGNAL_MAJFLT, 7);
  expect(TM_SIGNAL_PINNED, 8 * 1024);
  expect(TM_SIGNAL_LOCKED, 16 * 1024);
  expect(TM_SIGNAL_SWAP, 300 * 1024);
  expect(TM_SIGNAL_PSS, 8000 * 1024);
  expect(TM_SIGNAL_USS, 7000 * 1024);
  expect(TM_SIGNAL_SWAP_PSS, 250 * 1024);
  expect(TM_SIGNAL_HUGE, 2 * MIB);
  expect(TM_SIGNAL_FD_LIMIT, 1024);
  expect(TM_SIGNAL_AS_LIMIT, NAN);
  expect(TM_SIGNAL_READ_BYTES, 8192);
  expect(TM_SIGNAL_OOM_SCORE, 700);
  expect(TM_SIGNAL_TREE_COUNT, 3); // 42 <- 43 <- 44, whose name looks like a state
  expect(TM_SIGNAL_TREE_RSS, 4000 * page);
  expect(TM_SIGNAL_SYS_AVAILABLE, 6000000 * 1024.0);
  expect(TM_SIGNAL_SYS_SWAP_FREE, 1500000 * 1024.0);
  expect(TM_SIGNAL_SYS_FDS, 5120);
  expect(TM_SIGNAL_SYS_REFAULTS, 100);
  expect(TM_SIGNAL_SYS_SCAN, 840);
  expect(TM_SIGNAL_SYS_STEAL, 520);
  expect(TM_SIGNAL_SYS_STALLS, 7);
  expect(TM_SIGNAL_SYS_OOM_KILLS, 2);
  expect(TM_SIGNAL_PSI_SOME_AVG10, 0.1234);
  expect(TM_SIGNAL_PSI_FULL_AVG10, 0.05);
  expect(TM_SIGNAL_PSI_SOME_AVG60, 0.015);
  expect(TM_SIGNAL_PSI_SOME_TOTAL, 123456000);
  expect(TM_SIGNAL_PSI_CPU_SOME, 0.9999);
  assert_int_equal(now.withheld, 0);
}

static void tells_recorded_mappings_apart(void **state) {
  (void)state;
  static const double counts[TM_MAPPING_COUNT] = {
      [TM_MAPPING_HEAP] = 1,    [TM_MAPPING_ANON] = 1,     [TM_MAPPING_NAMED] = 1,
      [TM_MAPPING_STACK] = 3,   [TM_MAPPING_GO_ARENA] = 1, [TM_MAPPING_FILE] = 1,
      [TM_MAPPING_DELETED] = 1, [TM_MAPPING_SHM] = 2,      [TM_MAPPING_MEMFD] = 1,
      [TM_MAPPING_GPU] = 1,     [TM_MAPPING_GUARD] = 2,    [TM_MAPPING_SPECIAL] = 3,
  };
  open_fixture("proc-cgroup2");
  read_groups(TM_GROUP_BIT(TM_GROUP_MAPS));
  for (size_t i = 0; i < TM_MAPPING_COUNT; i++)
    if (now.mappings[i] != counts[i])
      fail_msg("%s: %g", tm_mapping_kind_name((tm_mapping_kind)i), now.mappings[i]);
  expect(TM_SIGNAL_MAPS, 17);
  assert_true(now.mapping_bytes[TM_MAPPING_GO_ARENA] == 64 * MIB);
}

static void tells_recorded_descriptors_apart(void **state) {
  (void)state;
  static const double counts[TM_HANDLE_COUNT] = {
      [TM_HANDLE_TTY] = 1,     [TM_HANDLE_DEVICE] = 1,  [TM_HANDLE_FILE] = 1,
      [TM_HANDLE_SOCKET] = 3,  [TM_HANDLE_DMABUF] = 1,  [TM_HANDLE_PIPE] = 1,
      [TM_HANDLE_EVENTFD] = 1, [TM_HANDLE_EPOLL] = 1,   [TM_HANDLE_MEMFD] = 1,
      [TM_HANDLE_DELETED] = 1, [TM_HANDLE_DRM] = 1,     [TM_HANDLE_IO_URING] = 1,
      [TM_HANDLE_BPF] = 1,     [TM_HANDLE_INOTIFY] = 1, [TM_HANDLE_PIDFD] = 1,
      [TM_HANDLE_SHM] = 1,
  };
  open_fixture("proc-cgroup2");
  read_groups(TM_GROUP_BIT(TM_GROUP_HANDLES) | TM_GROUP_BIT(TM_GROUP_FDS));
  for (size_t i = 0; i < TM_HANDLE_COUNT; i++)
    if (now.handles[i] != counts[i])
      fail_msg("%s: %g", tm_handle_kind_name((tm_handle_kind)i), now.handles[i]);
  expect(TM_SIGNAL_FDS, 18); // a recorded folder's st_size is no count
  assert_true(now.handle_bytes[TM_HANDLE_DMABUF] == 8294400);
  assert_true(now.handle_bytes[TM_HANDLE_SOCKET] == 0x1200);
  expect(TM_SIGNAL_HIDDEN, 0x1200 + 1048576 + 4096); // and the segment that nobody attached
}

static void describes_a_recorded_process(void **state) {
  (void)state;
  open_fixture("proc-cgroup2");
  tm_process_info info;
  assert_int_equal(tm_plat_describe(&ctx, plat, 42, &info), TM_OK);
  assert_string_equal(info.name, "app");
  assert_string_equal(info.command, "/usr/bin/app --flag two?lines");
  assert_int_equal(info.uid, 1000);
  assert_int_equal(info.start_time_ns,
                   1700000000000000000 + 5000 * (1000000000 / sysconf(_SC_CLK_TCK)));
  assert_int_equal(tm_plat_describe(&ctx, plat, 44, &info), TM_OK);
  assert_string_equal(info.name, "helper) R 1 (x");
  assert_int_equal(info.parent_pid, 43);
}

static void leaves_absent_files_absent(void **state) {
  (void)state;
  open_fixture("proc-cgroup1"); // holds stat, statm, limits and a cgroup only
  for (size_t i = 0; i < TM_SIGNAL_COUNT; i++) now.value[i] = 1;
  read_groups((1u << TM_GROUP_COUNT) - 1);
  expect(TM_SIGNAL_PSS, NAN);
  expect(TM_SIGNAL_ANON, NAN);
  expect(TM_SIGNAL_HIDDEN, NAN);
  expect(TM_SIGNAL_FDS, NAN);
  expect(TM_SIGNAL_PSI_SOME_AVG10, NAN);
  expect(TM_SIGNAL_SYS_MAJFLT, NAN);
  assert_true(now.value[TM_SIGNAL_RSS] > 0);
  assert_int_equal(now.withheld, 0);
}

// ---- Written trees.

static void sees_a_reused_pid(void **state) {
  (void)state;
  put_stat(42, "app", 'S', 1, "5000");
  put("proc/42/statm", "100 50 10 0 0 0 0\n");
  open_root(false);
  open_42();
  assert_int_equal(tm_proc_identity(proc).start_ticks, 5000);
  read_groups(TM_GROUP_BIT(TM_GROUP_STATM));
  put_stat(42, "app", 'S', 1, "9000");
  assert_int_equal(tm_proc_read(&ctx, proc, TM_GROUP_BIT(TM_GROUP_STATM), &now), TM_E_GONE);
}

static void takes_a_zombie_for_gone_but_not_a_dead_first_thread(void **state) {
  (void)state;
  put_stat(42, "app", 'S', 1, "5000"); // two threads
  put("proc/42/statm", "0 0 0 0 0 0 0\n");
  open_root(false);
  open_42();
  read_groups(TM_GROUP_BIT(TM_GROUP_STATM)); // a kernel thread has no memory, and lives
  expect(TM_SIGNAL_RSS, 0);
  put_stat(42, "app", 'Z', 1, "5000");
  read_groups(TM_GROUP_BIT(TM_GROUP_STATM));
  expect(TM_SIGNAL_RSS, NAN);
  put("proc/42/stat", "42 (app) Z 1 1 1 0 -1 0 11 0 3 0 20 10 0 0 20 0 1 0 5000 0 0\n");
  assert_int_equal(tm_proc_read(&ctx, proc, TM_GROUP_BIT(TM_GROUP_STATM), &now), TM_E_GONE);
}

static void survives_damaged_files(void **state) {
  (void)state;
  static const char *const stats[] = {
      "",
      "42",
      "42 (app",
      "42 )app( S 1",
      "42 (app) S",
      "42 (app) S 1 1 1 0 -1 0 11 0",
      "42 (app)) S 1 1 1 0 x 0 11 0 3 0 20 10 0 0 20 0 2 0 y 4096 7\n",
  };
  put("proc/42/statm", "100 50 10\n");
  for (size_t i = 0; i < TM_COUNT(stats); i++) {
    put("proc/42/stat", stats[i]);
    open_root(false);
    if (tm_proc_open(&ctx, plat, 42, &proc) != TM_E_FORMAT) fail_msg("'%s' is taken", stats[i]);
    assert_non_null(strstr(ctx.error.message, "damaged"));
    tm_ctx_clear(&ctx);
    tm_plat_close(plat);
  }
  put_stat(42, "app", 'S', 1, "5000");
  open_root(false);
  open_42();
  put("proc/42/statm", "100 fifty");
  assert_int_equal(tm_proc_read(&ctx, proc, TM_GROUP_BIT(TM_GROUP_STATM), &now), TM_E_FORMAT);
  tm_ctx_clear(&ctx);
  put("proc/42/stat", "42 (app) S 1");
  assert_int_equal(tm_proc_read(&ctx, proc, TM_GROUP_BIT(TM_GROUP_STAT), &now), TM_E_FORMAT);
}

static void survives_huge_numbers_and_endless_lines(void **state) {
  (void)state;
  static char long_line[200000];
  memset(long_line, 'x', sizeof long_line);
  memcpy(long_line, "7f0000000000-7f0000001000 rw-p 0 0:0 0 ", 39);
  put_stat(42, "app", 'S', 1, "99999999999999999999999999");
  put("proc/42/statm", "99999999999999999999 18446744073709551615 1 0\n");
  put("proc/42/status", "VmHWM:\t99999999999999999999999 kB\nVmSwap: kB\n:\nRssAnon\n\n\n");
  put_bytes("proc/42/maps", long_line, sizeof long_line);
  put("proc/42/smaps_rollup", "Pss: -1 kB\n");
  put("proc/42/limits", "Max open files");
  put("proc/42/cgroup", "0::/../../etc\n4:memory\n:::\n9:memory:relative\n");
  put("proc/self/mountinfo", "1 2 3:4 / /sys/fs/cgroup rw\n1 2 3 - cgroup2\n- - - - - - - - -\n");
  put("proc/pressure/memory", "some avg10=99999999999999999999.1 avg60= total=\nfull\nsome");
  put("proc/meminfo", "MemTotal:\nMemAvailable: 99999999999999999999 kB");
  put("proc/42/fd/99999999999999999999", "");
  put("proc/42/fd/7", "no link");
  put("proc/42/oom_score", "");
  put("proc/0/stat", "");
  put("proc/99999999999/stat", "");
  put("proc/12x/stat", "");
  open_root(true);
  open_42();
  const int64_t *pids;
  size_t count;
  assert_int_equal(tm_plat_list(&ctx, plat, &pids, &count), TM_OK);
  assert_int_equal(count, 1);
  uint32_t all = (1u << TM_GROUP_COUNT) - 1;
  all &= ~(TM_GROUP_BIT(TM_GROUP_HANDLES) | TM_GROUP_BIT(TM_GROUP_GPU) // of the descriptors
           | TM_GROUP_BIT(TM_GROUP_OOM));
  read_groups(all);
  expect(TM_SIGNAL_PSS, NAN);
  expect(TM_SIGNAL_SWAP, NAN);
  expect(TM_SIGNAL_ANON, NAN);
  expect(TM_SIGNAL_CG_CURRENT, NAN);
  expect(TM_SIGNAL_PEAK, 18446744073709551615.0 * 1024);
  assert_true(tm_proc_read(&ctx, proc, TM_GROUP_BIT(TM_GROUP_HANDLES), &now) != TM_OK);
  tm_ctx_clear(&ctx);
  assert_true(tm_proc_read(&ctx, proc, TM_GROUP_BIT(TM_GROUP_GPU), &now) != TM_OK);
  tm_ctx_clear(&ctx);
}

static bool count_row(void *ud, const tm_mapping_row *row) {
  (void)row;
  return ++*(int *)ud < 2;
}

static void stops_a_listing_when_told(void **state) {
  (void)state;
  open_fixture("proc-cgroup2");
  int count = 0;
  assert_int_equal(tm_proc_each_mapping(&ctx, proc, count_row, &count), TM_OK);
  assert_int_equal(count, 2);
}

static bool note_socket(void *ud, const tm_handle_row *row) {
  char *text = ud;
  if (row->kind != TM_HANDLE_SOCKET) return true;
  size_t n = strlen(text);
  snprintf(text + n, 300 - n, "%d %s %d\n", (int)row->number, row->target, (int)row->bytes);
  return true;
}

static void names_sockets_by_their_addresses(void **state) {
  (void)state;
  char text[300] = "";
  open_fixture("proc-cgroup2");
  assert_int_equal(tm_proc_each_handle(&ctx, proc, note_socket, text), TM_OK);
  assert_string_equal(text, "3 tcp 127.0.0.1:8080 0\n"
                            "4 tcp 127.0.0.1:8080 -> 127.0.0.1:54000 4608\n"
                            "17 tcp 127.0.0.1:8080 -> 127.0.0.1:54000 4608\n");
}

// ---- Acts below a fixture root touch its files and nothing else.

static void write_v2_tree(void) {
  put_stat(42, "app", 'S', 1, "5000");
  put("proc/42/cgroup", "0::/app.scope\n");
  put("proc/self/mountinfo", "31 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  put("sys/fs/cgroup/app.scope/memory.reclaim", "");
  put("sys/fs/cgroup/app.scope/memory.high", "max\n");
  put("sys/fs/cgroup/app.scope/cgroup.freeze", "0\n");
}

static void acts_on_a_cgroup_v2(void **state) {
  (void)state;
  write_v2_tree();
  open_root(true);
  open_42();
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_RECLAIM, 1048576), TM_OK);
  expect_file("sys/fs/cgroup/app.scope/memory.reclaim", "1048576");
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_HIGH, 4096), TM_OK);
  expect_file("sys/fs/cgroup/app.scope/memory.high", "4096");
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_HIGH, 0), TM_OK);
  expect_file("sys/fs/cgroup/app.scope/memory.high", "max");
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_FREEZE, 0), TM_OK);
  expect_file("sys/fs/cgroup/app.scope/cgroup.freeze", "1");
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_THAW, 0), TM_OK);
  expect_file("sys/fs/cgroup/app.scope/cgroup.freeze", "0");
}

static void acts_on_a_cgroup_v1(void **state) {
  (void)state;
  put_stat(42, "app", 'S', 1, "5000");
  put("proc/42/cgroup", "4:memory:/app\n");
  put("proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  put("sys/fs/cgroup/memory/app/memory.force_empty", "");
  put("sys/fs/cgroup/memory/app/memory.soft_limit_in_bytes", "");
  open_root(true);
  open_42();
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_RECLAIM, 4096), TM_OK);
  expect_file("sys/fs/cgroup/memory/app/memory.force_empty", "0");
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_HIGH, 8192), TM_OK);
  expect_file("sys/fs/cgroup/memory/app/memory.soft_limit_in_bytes", "8192");
}

static void never_squeezes_the_root_cgroup(void **state) {
  (void)state;
  write_v2_tree();
  put("proc/42/cgroup", "0::/\n");
  put("sys/fs/cgroup/memory.high", "max\n");
  open_root(true);
  open_42();
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_HIGH, 4096), TM_E_UNSUPPORTED);
  expect_file("sys/fs/cgroup/memory.high", "max\n");
}

static void never_signals_a_recorded_process(void **state) {
  (void)state;
  int fd;
  uint64_t window_ns;
  char path[64];
  // A recording that names this very test and its real start time must still not reach it.
  snprintf(path, sizeof path, "proc/%d/cgroup", getpid());
  put(path, "0::/app.scope\n");
  put_stat(getpid(), "app", 'S', 1, "5000");
  open_root(false);
  assert_int_equal(tm_proc_open(&ctx, plat, getpid(), &proc), TM_OK);
  static const tm_plat_act acts[] = {TM_PLAT_ACT_PAGE_OUT, TM_PLAT_ACT_COLD, TM_PLAT_ACT_FREEZE,
                                     TM_PLAT_ACT_THAW, TM_PLAT_ACT_RECLAIM};
  for (size_t i = 0; i < TM_COUNT(acts); i++) {
    assert_int_equal(tm_proc_act(&ctx, proc, acts[i], 4096), TM_E_UNSUPPORTED);
    tm_ctx_clear(&ctx);
  }
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_SIGNAL, SIGKILL), TM_E_ARG);
  tm_ctx_clear(&ctx);
  tm_proc_close(proc);
  put_stat(1, "init", 'S', 0, "1");
  assert_int_equal(tm_proc_open(&ctx, plat, 1, &proc), TM_OK);
  assert_int_equal(tm_proc_act(&ctx, proc, TM_PLAT_ACT_SIGNAL, SIGCONT), TM_E_UNSUPPORTED);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_proc_exit_fd(&ctx, proc, &fd), TM_E_UNSUPPORTED);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_proc_reset_peak(&ctx, proc), TM_E_UNSUPPORTED);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_plat_pressure_fd(&ctx, plat, 0, 1, 1, &fd, &window_ns), TM_E_UNSUPPORTED);
}

static void says_when_a_root_is_missing(void **state) {
  (void)state;
  assert_int_equal(tm_plat_open(&ctx, "/nonexistent/proc", NULL, &plat), TM_E_IO);
  assert_non_null(strstr(ctx.error.message, "/nonexistent/proc"));
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_plat_open(&ctx, FIXTURES "proc-cgroup2/proc", "/nonexistent/sys", &plat),
                   TM_E_IO);
  assert_non_null(strstr(ctx.error.message, "/nonexistent/sys"));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(reads_cgroup_v2),
      TEST(reads_cgroup_v1_in_a_container),
      TEST(reads_a_recorded_process),
      TEST(tells_recorded_mappings_apart),
      TEST(tells_recorded_descriptors_apart),
      TEST(describes_a_recorded_process),
      TEST(leaves_absent_files_absent),
      TEST(sees_a_reused_pid),
      TEST(takes_a_zombie_for_gone_but_not_a_dead_first_thread),
      TEST(survives_damaged_files),
      TEST(survives_huge_numbers_and_endless_lines),
      TEST(stops_a_listing_when_told),
      TEST(names_sockets_by_their_addresses),
      TEST(acts_on_a_cgroup_v2),
      TEST(acts_on_a_cgroup_v1),
      TEST(never_squeezes_the_root_cgroup),
      TEST(never_signals_a_recorded_process),
      TEST(says_when_a_root_is_missing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
