// A process and its descendants. One pass over the stat files of all processes (which hold parent
// and RSS) serves every target asked within 100 ms; a target's tree is then one walk up the parent
// indexes per process, remembered by marks: linear in the number of processes.
#include "base/clock.h"
#include "platform/linux/linux.h"

#include <errno.h>
#include <stdio.h>

enum { FRESH_NS = 100 * 1000 * 1000 };
#define NO_PARENT UINT32_MAX

static uint32_t find_pid(const tm_plat *plat, int64_t pid) {
  size_t low = 0, high = plat->tree_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (plat->tree[middle].pid < pid)
      low = middle + 1;
    else
      high = middle;
  }
  return low < plat->tree_count && plat->tree[low].pid == pid ? (uint32_t)low : NO_PARENT;
}

static void read_row(tm_plat *plat, int64_t pid) {
  char name[32], buf[1024];
  tm_text text;
  tm_procfs_stat stat;
  snprintf(name, sizeof name, "%lld/stat", (long long)pid);
  if (tm_plat_head(plat->proc_fd, name, buf, sizeof buf, &text)) return; // ended meanwhile
  if (!tm_procfs_parse_stat(text, &stat)) return;
  plat->tree[plat->tree_count++] =
      (tm_tree_row){.pid = pid,
                    .parent_pid = stat.parent_pid,
                    .rss_bytes = (double)stat.rss_pages * (double)plat->page_bytes};
}

static int read_tree(tm_plat *plat, int64_t root_pid) {
  uint64_t now_ns = tm_clock_mono_ns();
  bool fresh = plat->tree_read_ns && now_ns - plat->tree_read_ns < FRESH_NS;
  if (fresh && !plat->proc_fixture && find_pid(plat, root_pid) != NO_PARENT) return 0;
  int err = tm_plat_scan_pids(plat);
  if (!err)
    err = tm_plat_grow(plat, (void **)&plat->tree, &plat->tree_room, plat->pid_count,
                       sizeof *plat->tree);
  if (err) return err;
  plat->tree_count = 0;
  plat->tree_mark = 0;
  for (size_t i = 0; i < plat->pid_count; i++) read_row(plat, plat->pids[i]);
  for (size_t i = 0; i < plat->tree_count; i++)
    plat->tree[i].parent_index = find_pid(plat, plat->tree[i].parent_pid);
  plat->tree_read_ns = now_ns;
  return 0;
}

// Marks of one walk: `in` = below the root, `in` + 1 = not.
static bool is_below(tm_plat *plat, uint32_t index, uint32_t in) {
  uint32_t at = index, out = in + 1;
  size_t steps = 0; // parents read at different moments might form a ring
  while (at != NO_PARENT && plat->tree[at].mark < in && steps++ <= plat->tree_count)
    at = plat->tree[at].parent_index;
  uint32_t verdict = at != NO_PARENT && plat->tree[at].mark == in ? in : out;
  for (at = index; at != NO_PARENT && plat->tree[at].mark < in; at = plat->tree[at].parent_index)
    plat->tree[at].mark = verdict;
  return verdict == in;
}

int tm_proc_read_tree(tm_proc *proc, tm_reading *out) {
  tm_plat *plat = proc->plat;
  char buf[1024];
  tm_procfs_stat stat; // proves that the number is still ours
  int err = tm_proc_stat(proc, buf, sizeof buf, &stat);
  if (!err) err = read_tree(plat, proc->id.pid);
  if (err) return err;
  uint32_t root = find_pid(plat, proc->id.pid);
  if (root == NO_PARENT) return ENOENT;
  if (plat->tree_mark > UINT32_MAX - 4) { // marks ran out: begin anew
    for (size_t i = 0; i < plat->tree_count; i++) plat->tree[i].mark = 0;
    plat->tree_mark = 0;
  }
  uint32_t in = plat->tree_mark + 1;
  plat->tree_mark += 2;
  plat->tree[root].mark = in;
  double bytes = 0, count = 0;
  for (uint32_t i = 0; i < plat->tree_count; i++) {
    if (!is_below(plat, i, in)) continue;
    bytes += plat->tree[i].rss_bytes;
    count += 1;
  }
  out->value[TM_SIGNAL_TREE_RSS] = bytes;
  out->value[TM_SIGNAL_TREE_COUNT] = count;
  return 0;
}
