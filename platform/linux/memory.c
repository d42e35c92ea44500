// A process's memory in detail: mappings by kind, the kernel's proportional sums under a budget of
// their own, the process tree, and interval peaks.
#include "base/clock.h"
#include "platform/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct map_walk {
  tm_reading *out;
  tm_procfs_map previous;
  bool has_previous;
  double count;
} map_walk;

static bool count_map(void *ud, tm_text line) {
  map_walk *walk = ud;
  tm_procfs_map map;
  if (!tm_procfs_parse_map(line, &map)) return true;
  tm_mapping_kind kind = tm_procfs_map_kind(&map, walk->has_previous ? &walk->previous : NULL);
  walk->out->mappings[kind] += 1;
  walk->out->mapping_bytes[kind] += (double)(map.end - map.start);
  // [vsyscall] is listed for every process but is none of its mappings.
  if (!tm_text_is(map.name, "[vsyscall]")) walk->count += 1;
  walk->previous = map;
  walk->previous.name = (tm_text){0};
  walk->has_previous = true;
  return true;
}

int tm_proc_read_maps(tm_proc *proc, tm_reading *out) {
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd < 0) return err;
  for (size_t i = 0; i < TM_MAPPING_COUNT; i++) out->mappings[i] = out->mapping_bytes[i] = 0;
  map_walk walk = {.out = out};
  err = tm_plat_each_line(proc->plat, dir_fd, "maps", count_map, &walk);
  if (!err) out->value[TM_SIGNAL_MAPS] = walk.count;
  return err;
}

typedef struct map_rows {
  bool (*fn)(void *ud, const tm_mapping_row *row);
  void *ud;
  tm_procfs_map previous;
  bool has_previous;
} map_rows;

static bool give_map(void *ud, tm_text line) {
  map_rows *rows = ud;
  tm_procfs_map map;
  if (!tm_procfs_parse_map(line, &map)) return true;
  tm_mapping_row row = {.start = map.start, .end = map.end};
  row.kind = tm_procfs_map_kind(&map, rows->has_previous ? &rows->previous : NULL);
  tm_text_copy((tm_text){map.access, map.access + 4}, row.access, sizeof row.access);
  tm_text_copy(map.name, row.name, sizeof row.name);
  rows->previous = map;
  rows->has_previous = true;
  return rows->fn(rows->ud, &row);
}

tm_status tm_proc_each_mapping(tm_ctx *ctx, tm_proc *proc,
                               bool (*fn)(void *ud, const tm_mapping_row *row), void *ud) {
  map_rows rows = {.fn = fn, .ud = ud};
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd >= 0) err = tm_plat_each_line(proc->plat, dir_fd, "maps", give_map, &rows);
  if (err == ENOENT) err = ESRCH;
  if (err)
    return tm_fail_errno(ctx, err, "cannot list the mappings of process %lld",
                         (long long)proc->id.pid);
  return TM_OK;
}

// smaps: a line as in maps, then "Key: N kB" lines until the next one.
typedef struct memory_rows {
  bool (*fn)(void *ud, const tm_memory_row *row);
  void *ud;
  tm_memory_row row;
  tm_procfs_map previous;
  bool has_row, has_previous, stopped;
} memory_rows;

static void take_size(memory_rows *rows, tm_text line) {
  static const struct {
    const char *key;
    size_t at;
  } sizes[] = {{"Rss:", offsetof(tm_memory_row, rss_bytes)},
               {"Pss:", offsetof(tm_memory_row, pss_bytes)},
               {"Swap:", offsetof(tm_memory_row, swap_bytes)}};
  for (size_t i = 0; i < TM_COUNT(sizes); i++) {
    if (!tm_text_starts(line, sizes[i].key)) continue;
    line.at += strlen(sizes[i].key);
    uint64_t kib = 0;
    if (tm_text_u64(&line, &kib) && kib <= UINT64_MAX / 1024)
      *(uint64_t *)(void *)((char *)&rows->row + sizes[i].at) = kib * 1024;
    return;
  }
}

static bool give_memory(void *ud, tm_text line) {
  memory_rows *rows = ud;
  tm_procfs_map map;
  // Keys begin with a capital letter, addresses never do.
  if (tm_text_size(line) == 0 || (*line.at >= 'A' && *line.at <= 'Z')) {
    if (rows->has_row) take_size(rows, line);
    return true;
  }
  if (!tm_procfs_parse_map(line, &map)) return true;
  if (rows->has_row && !rows->fn(rows->ud, &rows->row)) {
    rows->stopped = true;
    return false;
  }
  tm_mapping_row *mapping = &rows->row.mapping;
  rows->row = (tm_memory_row){.mapping = {.start = map.start, .end = map.end}};
  mapping->kind = tm_procfs_map_kind(&map, rows->has_previous ? &rows->previous : NULL);
  tm_text_copy((tm_text){map.access, map.access + 4}, mapping->access, sizeof mapping->access);
  tm_text_copy(map.name, mapping->name, sizeof mapping->name);
  rows->previous = map;
  rows->previous.name = (tm_text){0};
  rows->has_row = rows->has_previous = true;
  return true;
}

tm_status tm_proc_each_memory(tm_ctx *ctx, tm_proc *proc,
                              bool (*fn)(void *ud, const tm_memory_row *row), void *ud) {
  memory_rows rows = {.fn = fn, .ud = ud};
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (dir_fd >= 0) err = tm_plat_each_line(proc->plat, dir_fd, "smaps", give_memory, &rows);
  if (err == ENOENT) err = ESRCH;
  if (err)
    return tm_fail_errno(ctx, err,
                         "cannot measure the mappings of process %lld; it takes its user or root",
                         (long long)proc->id.pid);
  if (rows.has_row && !rows.stopped) rows.fn(ud, &rows.row);
  return TM_OK;
}

// The kernel walks every resident page for these sums (25-47 ns each, 12 ms for 1 GiB) and holds
// the target's mmap lock meanwhile. So one walk buys its own pause: at most 1 % of a core.
enum { ROLLUP_PAUSE = 100 };

int tm_proc_read_rollup(tm_proc *proc, tm_reading *out) {
  static const tm_procfs_key keys[] = {
      {"Pss", 0, 1024},           {"Private_Clean", 1, 1024},   {"Private_Dirty", 1, 1024},
      {"AnonHugePages", 3, 1024}, {"Private_Hugetlb", 1, 1024}, {"SwapPss", 2, 1024},
  };
  uint64_t now_ns = tm_clock_mono_ns();
  bool due = proc->plat->proc_fixture || !proc->rollup_read_ns
             || now_ns - proc->rollup_read_ns >= proc->rollup_cost_ns * ROLLUP_PAUSE;
  if (due) {
    char buf[4096];
    tm_text text;
    uint64_t cpu_ns = tm_clock_thread_cpu_ns();
    int err, dir_fd = tm_proc_dir(proc, &err);
    if (dir_fd < 0) return err;
    err = tm_plat_head(dir_fd, "smaps_rollup", buf, sizeof buf, &text);
    if (err) return err;
    tm_procfs_parse_keys(text, keys, TM_COUNT(keys), proc->rollup, TM_COUNT(proc->rollup));
    proc->rollup_read_ns = now_ns;
    proc->rollup_cost_ns = tm_clock_thread_cpu_ns() - cpu_ns;
  } else {
    char buf[1024]; // the old figures are of this process only while it lives
    tm_procfs_stat stat;
    int err = tm_proc_stat(proc, buf, sizeof buf, &stat);
    if (err) return err;
  }
  out->value[TM_SIGNAL_PSS] = proc->rollup[0];
  out->value[TM_SIGNAL_USS] = proc->rollup[1];
  out->value[TM_SIGNAL_SWAP_PSS] = proc->rollup[2];
  out->value[TM_SIGNAL_HUGE] = proc->rollup[3];
  return 0;
}

tm_status tm_proc_reset_peak(tm_ctx *ctx, tm_proc *proc) {
  int err, dir_fd = tm_proc_dir(proc, &err);
  if (proc->plat->proc_fixture)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "a recorded process has no peak to reset");
  if (dir_fd >= 0) err = tm_plat_write(dir_fd, "clear_refs", "5");
  if (!err) return TM_OK;
  if (err == ENOENT) {
    char buf[1024];
    tm_procfs_stat stat;
    if (!tm_proc_stat(proc, buf, sizeof buf, &stat))
      return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "this kernel has no clear_refs");
    err = ESRCH;
  }
  return tm_fail_errno(ctx, err, "cannot reset the peak of process %lld; it takes its user or root",
                       (long long)proc->id.pid);
}
