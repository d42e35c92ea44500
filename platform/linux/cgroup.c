// A process's cgroup: found through /proc/PID/cgroup and our mount table, read from v1, v2 or a mix
// of both (memory on v1, pressure and freezer on v2). Limits count up the hierarchy: the lowest
// ancestor's stops the process.
// Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the kernel.
#include "platform/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Mount tables write blanks, tabs, newlines and backslashes as \ooo.
static bool copy_unescaped(tm_text text, char *out, size_t size) {
  size_t n = 0;
  while (text.at < text.end) {
    char c = *text.at++;
    if (c == '\\' && tm_text_size(text) >= 3) {
      int value = (text.at[0] - '0') * 64 + (text.at[1] - '0') * 8 + (text.at[2] - '0');
      c = (char)value;
      text.at += 3;
    }
    if (n + 1 >= size) return false;
    out[n++] = c;
  }
  out[n] = '\0';
  return true;
}

static bool has_option(tm_text options, const char *name) {
  size_t n = strlen(name);
  while (tm_text_size(options) >= n) {
    const char *comma = memchr(options.at, ',', tm_text_size(options));
    const char *end = comma ? comma : options.end;
    if (tm_text_is((tm_text){options.at, end}, name)) return true;
    if (!comma) break;
    options.at = comma + 1;
  }
  return false;
}

// "id parent major:minor ROOT DIR options [fields] - TYPE source OPTIONS"
bool tm_procfs_parse_mount(tm_text line, tm_procfs_mount *out) {
  for (int i = 0; i < 3; i++) tm_text_word(&line);
  tm_text root = tm_text_word(&line), dir = tm_text_word(&line), word;
  do {
    word = tm_text_word(&line);
    if (!tm_text_size(word)) return false;
  } while (!tm_text_is(word, "-"));
  tm_text type = tm_text_word(&line);
  out->v2 = tm_text_is(type, "cgroup2");
  if (!out->v2 && !tm_text_is(type, "cgroup")) return false;
  tm_text_word(&line);
  tm_text options = tm_text_word(&line);
  out->has_memory = !out->v2 && has_option(options, "memory");
  out->has_freezer = !out->v2 && has_option(options, "freezer");
  return copy_unescaped(root, out->root, sizeof out->root)
         && copy_unescaped(dir, out->dir, sizeof out->dir);
}

// "hierarchy:controllers:path"
bool tm_procfs_parse_cgroup(tm_text line, tm_procfs_cgroup *out) {
  uint64_t hierarchy;
  if (!tm_text_u64(&line, &hierarchy) || tm_text_size(line) < 1 || *line.at++ != ':') return false;
  const char *colon = tm_text_size(line) ? memchr(line.at, ':', tm_text_size(line)) : NULL;
  if (!colon) return false;
  tm_text controllers = {line.at, colon};
  out->path = (tm_text){colon + 1, line.end};
  out->v2 = hierarchy == 0 && !tm_text_size(controllers);
  out->has_memory = has_option(controllers, "memory");
  return tm_text_starts(out->path, "/");
}

// Below sys_fd where the mount is under /sys; elsewhere only on the live machine.
static bool place_mount(const tm_plat *plat, tm_procfs_mount *mount) {
  static const char sys[] = "/sys/";
  if (strncmp(mount->dir, sys, sizeof sys - 1) != 0) return !plat->sys_fixture;
  memmove(mount->dir, mount->dir + sizeof sys - 1, strlen(mount->dir) - sizeof sys + 2);
  return true;
}

static bool take_mount(void *ud, tm_text line) {
  tm_plat *plat = ud;
  tm_procfs_mount mount;
  if (!tm_procfs_parse_mount(line, &mount) || !place_mount(plat, &mount)) return true;
  if (mount.v2 && !plat->mount_v2.dir[0]) plat->mount_v2 = mount;
  if (mount.has_memory && !plat->mount_v1.dir[0]) plat->mount_v1 = mount;
  return true;
}

static bool exists(const tm_plat *plat, const char *path) {
  return faccessat(plat->sys_fd, path, F_OK, 0) == 0;
}

static void read_mounts(tm_plat *plat) {
  if (plat->mounts_read) return;
  plat->mounts_read = true;
  tm_plat_each_line(plat, plat->proc_fd, "self/mountinfo", take_mount, plat);
  if (plat->mount_v1.dir[0] || plat->mount_v2.dir[0]) return;
  static const tm_procfs_mount usual_v2 = {.root = "/", .dir = "fs/cgroup", .v2 = true};
  static const tm_procfs_mount usual_v1 = {.root = "/", .dir = "fs/cgroup/memory"};
  if (exists(plat, "fs/cgroup/cgroup.controllers")) plat->mount_v2 = usual_v2;
  if (exists(plat, "fs/cgroup/memory/memory.stat")) plat->mount_v1 = usual_v1;
}

// mount.dir + what of the path lies below mount.root. A path outside of the mounted part (a
// container's own view) leaves the mount itself, which is then the container's cgroup.
static void place_cgroup(const tm_procfs_mount *mount, tm_text path, tm_cgroup *out) {
  *out = (tm_cgroup){0};
  if (!mount->dir[0] || tm_text_has(path, "..")) return;
  size_t n = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);
  bool below =
      n == 0
      || (tm_text_starts(path, mount->root) && (tm_text_size(path) == n || path.at[n] == '/'));
  if (below)
    path.at += n;
  else
    path.at = path.end;
  while (path.at < path.end && path.end[-1] == '/') path.end--;
  if (tm_text_size(path) >= sizeof out->dir - sizeof mount->dir) return;
  snprintf(out->dir, sizeof out->dir, "%s%.*s", mount->dir, (int)tm_text_size(path), path.at);
  for (const char *p = path.at; p < path.end; p++) out->depth += *p == '/';
}

static int read_cgroups(tm_plat *plat, int dir_fd, const char *name, tm_cgroups *out) {
  read_mounts(plat);
  memset(out, 0, sizeof *out);
  char buf[4096];
  tm_text text, line;
  int err = tm_plat_head(dir_fd, name, buf, sizeof buf, &text);
  if (err) return err;
  while (tm_text_line(&text, &line)) {
    tm_procfs_cgroup group;
    if (!tm_procfs_parse_cgroup(line, &group)) continue;
    if (group.v2) place_cgroup(&plat->mount_v2, group.path, &out->v2);
    if (group.has_memory) place_cgroup(&plat->mount_v1, group.path, &out->memory_v1);
  }
  return 0;
}

int tm_proc_cgroups(tm_proc *proc, tm_cgroups *out) {
  int err, dir_fd = tm_proc_dir(proc, &err);
  return dir_fd < 0 ? err : read_cgroups(proc->plat, dir_fd, "cgroup", out);
}

int tm_plat_own_cgroups(tm_plat *plat, tm_cgroups *out) {
  return read_cgroups(plat, plat->proc_fd, "self/cgroup", out);
}

static double lower(double a, double b) {
  return isnan(a) || b < a ? b : a;
}

// The lowest value of a file in this folder and in each above it, down to the mount.
static double lowest_up(int cgroup_fd, uint32_t depth, const char *name) {
  enum { DEEPEST = 64 };
  char path[DEEPEST * 3 + 32] = "";
  size_t used = 0;
  double lowest = NAN;
  for (uint32_t level = 0; level <= depth && level < DEEPEST; level++, used += 3) {
    snprintf(path + used, sizeof path - used, "%s", name);
    double value = tm_plat_value(cgroup_fd, path);
    if (!isnan(value)) lowest = lower(lowest, value);
    memcpy(path + used, "../", 3);
  }
  return lowest;
}

static int open_cgroup(const tm_plat *plat, const tm_cgroup *group) {
  if (!group->dir[0]) return -1;
  return openat(plat->sys_fd, group->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int read_keys(tm_plat *plat, int dir_fd, const char *name, const tm_procfs_key *keys,
                     size_t key_count, double *values, size_t slot_count) {
  tm_text text = {0};
  int err = tm_plat_slurp(plat, dir_fd, name, &text);
  if (err) text = (tm_text){0};
  tm_procfs_parse_keys(text, keys, key_count, values, slot_count);
  return err;
}

static void read_v2(tm_plat *plat, int cgroup_fd, uint32_t depth, double *value) {
  enum { ANON, CACHE, SHMEM, KERNEL, SOCK, PARTS, SLOTS };
  static const tm_procfs_key keys[] = {
      {"anon", ANON, 1},          {"file", CACHE, 1},       {"kernel", KERNEL, 1},
      {"kernel_stack", PARTS, 1}, {"pagetables", PARTS, 1}, {"percpu", PARTS, 1},
      {"sock", SOCK, 1},          {"shmem", SHMEM, 1},      {"slab", PARTS, 1},
  };
  static const tm_procfs_key oom_key = {"oom_kill", 0, 1};
  double stat[SLOTS], kills;
  read_keys(plat, cgroup_fd, "memory.stat", keys, TM_COUNT(keys), stat, SLOTS);
  read_keys(plat, cgroup_fd, "memory.events", &oom_key, 1, &kills, 1);
  value[TM_SIGNAL_CG_ANON] = stat[ANON];
  value[TM_SIGNAL_CG_FILE] = stat[CACHE];
  value[TM_SIGNAL_CG_SHMEM] = stat[SHMEM];
  // "kernel" is the whole since Linux 5.18; before, the sum of its parts.
  value[TM_SIGNAL_CG_KERNEL] = isnan(stat[KERNEL]) ? stat[PARTS] : stat[KERNEL];
  value[TM_SIGNAL_CG_SOCK] = stat[SOCK];
  value[TM_SIGNAL_CG_OOM_KILLS] = kills;
  value[TM_SIGNAL_CG_CURRENT] = tm_plat_value(cgroup_fd, "memory.current");
  value[TM_SIGNAL_CG_PEAK] = tm_plat_value(cgroup_fd, "memory.peak");
  value[TM_SIGNAL_CG_SWAP] = tm_plat_value(cgroup_fd, "memory.swap.current");
  value[TM_SIGNAL_CG_LIMIT] = lowest_up(cgroup_fd, depth, "memory.max");
  value[TM_SIGNAL_CG_HIGH] = lowest_up(cgroup_fd, depth, "memory.high");
}

// v1 says "no limit" with the largest page-aligned number.
static double v1_limit(double bytes) {
  return bytes >= 0x1p62 ? NAN : bytes;
}

static void read_v1(tm_plat *plat, int cgroup_fd, double *value) {
  enum { CACHE, ANON, SHMEM, SWAP, LIMIT, SLOTS };
  static const tm_procfs_key keys[] = {
      {"hierarchical_memory_limit", LIMIT, 1},
      {"total_cache", CACHE, 1},
      {"total_rss", ANON, 1},
      {"total_shmem", SHMEM, 1},
      {"total_swap", SWAP, 1},
  };
  static const tm_procfs_key oom_key = {"oom_kill", 0, 1};
  double stat[SLOTS], kills;
  read_keys(plat, cgroup_fd, "memory.stat", keys, TM_COUNT(keys), stat, SLOTS);
  read_keys(plat, cgroup_fd, "memory.oom_control", &oom_key, 1, &kills, 1);
  if (isnan(stat[LIMIT])) stat[LIMIT] = tm_plat_value(cgroup_fd, "memory.limit_in_bytes");
  value[TM_SIGNAL_CG_ANON] = stat[ANON];
  value[TM_SIGNAL_CG_FILE] = stat[CACHE];
  value[TM_SIGNAL_CG_SHMEM] = stat[SHMEM];
  value[TM_SIGNAL_CG_SWAP] = stat[SWAP];
  value[TM_SIGNAL_CG_LIMIT] = v1_limit(stat[LIMIT]);
  value[TM_SIGNAL_CG_OOM_KILLS] = kills;
  value[TM_SIGNAL_CG_CURRENT] = tm_plat_value(cgroup_fd, "memory.usage_in_bytes");
  value[TM_SIGNAL_CG_PEAK] = tm_plat_value(cgroup_fd, "memory.max_usage_in_bytes");
  value[TM_SIGNAL_CG_KERNEL] = tm_plat_value(cgroup_fd, "memory.kmem.usage_in_bytes");
  value[TM_SIGNAL_CG_SOCK] = tm_plat_value(cgroup_fd, "memory.kmem.tcp.usage_in_bytes");
}

static void read_pressure(int cgroup_fd, double *value) {
  char buf[512];
  tm_text text = {0};
  tm_procfs_psi psi;
  if (tm_plat_head(cgroup_fd, "memory.pressure", buf, sizeof buf, &text)) text = (tm_text){0};
  tm_procfs_parse_psi(text, &psi);
  value[TM_SIGNAL_CG_PSI_SOME] = psi.some_avg10;
  value[TM_SIGNAL_CG_PSI_FULL] = psi.full_avg10;
}

// What stops the process first: its cgroup, its address space limit, or the machine.
static int read_memory_limit(tm_proc *proc, double *value) {
  tm_reading *scratch = NULL;
  size_t room = 0;
  int err = 0;
  if (!proc->limits_known || isnan(proc->plat->total_bytes)) {
    err = tm_plat_grow(proc->plat, (void **)&scratch, &room, 1, sizeof *scratch);
    if (err) return err;
    tm_proc_read_limits(proc, scratch);
    err = tm_plat_read_memory(proc->plat, scratch);
    tm_plat_free(proc->plat, scratch, room, sizeof *scratch);
  }
  double limit = lower(proc->plat->total_bytes, value[TM_SIGNAL_CG_LIMIT]);
  if (proc->as_limit_bytes > 0) limit = lower(limit, proc->as_limit_bytes);
  value[TM_SIGNAL_MEM_LIMIT] = limit;
  return err;
}

int tm_proc_read_cgroup(tm_proc *proc, tm_reading *out) {
  tm_cgroups groups;
  tm_reading_clear_groups(out, TM_GROUP_BIT(TM_GROUP_CGROUP));
  int err = tm_proc_cgroups(proc, &groups);
  if (err == ENOENT) { // a kernel without cgroups, or no process any more
    char buf[1024];
    tm_procfs_stat stat;
    err = tm_proc_stat(proc, buf, sizeof buf, &stat);
  }
  if (err) return err;
  tm_plat *plat = proc->plat;
  int v1_fd = open_cgroup(plat, &groups.memory_v1), v2_fd = open_cgroup(plat, &groups.v2);
  if (v1_fd >= 0)
    read_v1(plat, v1_fd, out->value);
  else if (v2_fd >= 0)
    read_v2(plat, v2_fd, groups.v2.depth, out->value);
  if (v2_fd >= 0) read_pressure(v2_fd, out->value);
  if (v1_fd >= 0) close(v1_fd);
  if (v2_fd >= 0) close(v2_fd);
  return read_memory_limit(proc, out->value);
}
