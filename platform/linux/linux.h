// What the files of the Linux port share. Two layers: pure parsers over bytes (tm_procfs_*, fuzzed
// by spec/fuzz/fuzz_procfs.c), and readers that answer errno numbers; only the functions of
// platform.h turn those into tm_status. ESRCH = gone, EACCES = withheld, ENOENT = the file is not
// there, EBADMSG = not what the kernel would write.
#ifndef TM_PLATFORM_LINUX_H
#define TM_PLATFORM_LINUX_H

#include "platform/platform.h"

#include <sys/types.h>

// ---- Bytes of a file, consumed from the front.

typedef struct tm_text {
  const char *at, *end;
} tm_text;

tm_text tm_text_of(const char *bytes, size_t size);
size_t tm_text_size(tm_text text);
// Takes the next line, without its newline; false at the end.
bool tm_text_line(tm_text *text, tm_text *out_line);
// Takes the next word (blanks and tabs divide); empty at the end.
tm_text tm_text_word(tm_text *text);
// Skips blanks and takes a number; false and nothing taken when there is none. A number above
// UINT64_MAX stays at UINT64_MAX.
bool tm_text_u64(tm_text *text, uint64_t *out);
bool tm_text_hex(tm_text *text, uint64_t *out);
bool tm_text_is(tm_text text, const char *word);
bool tm_text_starts(tm_text text, const char *prefix);
bool tm_text_ends(tm_text text, const char *suffix);
bool tm_text_has(tm_text text, const char *part);
// Copies to a terminated string, cut to size; control bytes become '?'.
void tm_text_copy(tm_text text, char *out, size_t size);

// ---- Parsers. Each answers false when the bytes are not what the kernel writes.

typedef struct tm_procfs_statm {
  uint64_t size_pages, rss_pages, shared_pages;
} tm_procfs_statm;
bool tm_procfs_parse_statm(tm_text text, tm_procfs_statm *out);

typedef struct tm_procfs_stat {
  tm_text name; // may hold blanks and brackets
  char state;
  int64_t parent_pid;
  uint64_t minflt_count, majflt_count, cpu_ticks, thread_count, start_ticks, rss_pages;
} tm_procfs_stat;
bool tm_procfs_parse_stat(tm_text text, tm_procfs_stat *out);

// "Key:   12 kB" and "key 12" lines. values[slot] is NAN unless a line names it; lines of one slot
// are summed.
typedef struct tm_procfs_key {
  const char *key;
  uint32_t slot;
  uint32_t scale;
} tm_procfs_key;
void tm_procfs_parse_keys(tm_text text, const tm_procfs_key *keys, size_t key_count, double *values,
                          size_t slot_count);

typedef struct tm_procfs_psi {
  double some_avg10, some_avg60, some_total_ns, full_avg10; // ratios; NAN where absent
} tm_procfs_psi;
void tm_procfs_parse_psi(tm_text text, tm_procfs_psi *out);

// The soft limit of a row of /proc/PID/limits ("Max open files"); NAN when unlimited or absent.
double tm_procfs_parse_limit(tm_text text, const char *row);

typedef struct tm_procfs_map {
  uint64_t start, end, inode;
  uint32_t dev_major, dev_minor;
  char access[5];
  tm_text name;
} tm_procfs_map;
bool tm_procfs_parse_map(tm_text line, tm_procfs_map *out);

// The kind of a mapping; previous (may be NULL) is the one below it, which tells thread stacks.
tm_mapping_kind tm_procfs_map_kind(const tm_procfs_map *map, const tm_procfs_map *previous);

// The kind of a descriptor by its link; *out_inode is the socket's, else 0. A plain path answers
// FILE: only a stat can tell a folder.
tm_handle_kind tm_procfs_link_kind(tm_text target, uint64_t *out_inode);

typedef struct tm_procfs_mount {
  char root[512]; // which part of the hierarchy is mounted
  char dir[512];  // where
  bool v2, has_memory, has_freezer;
} tm_procfs_mount;
// False for lines that are no cgroup mount.
bool tm_procfs_parse_mount(tm_text line, tm_procfs_mount *out);

typedef struct tm_procfs_cgroup {
  tm_text path;
  bool v2, has_memory;
} tm_procfs_cgroup;
bool tm_procfs_parse_cgroup(tm_text line, tm_procfs_cgroup *out);

typedef struct tm_procfs_socket {
  uint64_t inode, bytes;
  tm_text local, remote; // "0100007F:1F90": address and port as the kernel prints them
} tm_procfs_socket;
// A line of /proc/PID/net/{tcp,tcp6,udp,udp6}: bytes in both queues.
bool tm_procfs_parse_socket(tm_text line, tm_procfs_socket *out);

// "127.0.0.1:8080" or "[::1]:8080" of such an address; false for other lengths.
bool tm_procfs_format_address(tm_text address, char *out, size_t size);
// The path of a line of /proc/PID/net/unix ("" = none); '@' stands for an abstract one.
bool tm_procfs_parse_unix(tm_text line, uint64_t *out_inode, tm_text *out_path);

// A line of /proc/sysvipc/shm.
typedef struct tm_procfs_segment {
  int64_t creator_pid;
  uint64_t attach_count, resident_bytes, swap_bytes;
} tm_procfs_segment;
bool tm_procfs_parse_segment(tm_text line, tm_procfs_segment *out);

// ---- The platform value.

typedef struct tm_buffer {
  char *data;
  size_t room;
} tm_buffer;

typedef struct tm_tree_row {
  int64_t pid, parent_pid;
  double rss_bytes;
  uint32_t parent_index; // UINT32_MAX = none
  uint32_t mark;         // of the walk in progress
} tm_tree_row;

typedef struct tm_fd_entry {
  uint64_t inode; // of a socket, else 0
  int32_t number;
  tm_handle_kind kind;
} tm_fd_entry;

typedef struct tm_fd_list {
  tm_fd_entry *items;
  size_t count, room;
} tm_fd_list;

// A file held by a descriptor only: several descriptors of one file count once.
typedef struct tm_held_file {
  uint64_t inode, bytes, mapped_bytes;
  uint32_t dev_major, dev_minor;
  tm_handle_kind kind;
} tm_held_file;

// A socket of the process that was measured last.
typedef struct tm_socket {
  uint64_t inode, bytes;
} tm_socket;

typedef struct tm_bulk tm_bulk;

struct tm_plat {
  tm_allocator alloc;
  int proc_fd, sys_fd; // the roots
  bool proc_fixture;   // pids are nobody's: nothing is kept open, nothing is signalled
  bool sys_fixture;
  bool fd_size_works; // st_size of /proc/PID/fd is the count (Linux 6.2)
  uint64_t page_bytes;
  double tick_ns;
  int64_t boot_time_ns;
  double total_bytes; // of the machine; NAN = not known

  tm_buffer text;    // one whole file
  tm_buffer stream;  // a file read in pieces
  tm_buffer dirents; // a folder
  int64_t *pids;
  size_t pid_count, pid_room;
  uint64_t newest_task; // when pids were listed; 0 = list again

  tm_tree_row *tree;
  size_t tree_count, tree_room;
  uint64_t tree_read_ns;
  uint32_t tree_mark;

  tm_fd_list fd_scratch;
  int32_t *numbers;
  size_t number_count, number_room;
  tm_held_file *held;
  size_t held_count, held_room;
  tm_socket *sockets;
  size_t socket_count, socket_room;
  int netlink_fd;      // sock_diag; -1 = not opened
  uint64_t own_net_ns; // inode of our network namespace; 0 = not known

  bool mounts_read;
  tm_procfs_mount mount_v1, mount_v2; // dir "" = none

  tm_bulk *bulk;          // NULL until the first tm_plat_bulk
  struct tm_x_servers *x; // NULL until the first process with a display
};

struct tm_proc {
  tm_plat *plat;
  tm_identity id;
  int statm_fd;  // kept: ends the race with a reused pid
  int dir_fd;    // /proc/PID, opened when a group needs it; -1 before
  int stat_fd;   // kept once read
  int status_fd; // kept once read

  bool fds_known;
  uint32_t fds_reads;
  tm_fd_list fds; // ascending by number
  uint64_t kind_counts[TM_HANDLE_COUNT];
  uint64_t kind_bytes[TM_HANDLE_COUNT];
  uint64_t segment_bytes;  // SysV segments that nobody attached
  uint64_t unmapped_bytes; // of the memfds and deleted files, what no mapping counts

  uint8_t x_state;  // see x11.c
  uint8_t x_server; // index in plat->x
  uint32_t x_retry; // readings until the display is looked for again

  double as_limit_bytes; // last seen; NAN = unlimited
  bool limits_known;

  uint64_t advised_to; // where the last capped advice ended: the next one goes on from there
  uint64_t rollup_read_ns, rollup_cost_ns;
  double rollup[4];
};

// ---- Files. dir_fd + name as openat; answers 0 or an errno.

// The whole file; *out points into plat->text until the next call.
int tm_plat_slurp(tm_plat *plat, int dir_fd, const char *name, tm_text *out);
// The file's first bytes, into the caller's buffer.
int tm_plat_head(int dir_fd, const char *name, char *buf, size_t size, tm_text *out);
// A file with one number; "max" answers UINT64_MAX. ENODATA when it holds none.
int tm_plat_number(int dir_fd, const char *name, uint64_t *out);
// NAN where the file is absent or holds none, or (unlimited) says "max".
double tm_plat_value(int dir_fd, const char *name);
int tm_plat_write(int dir_fd, const char *name, const char *bytes);

// Calls fn for each line of a file of any size, in pieces; stops when it answers false.
int tm_plat_each_line(tm_plat *plat, int dir_fd, const char *name,
                      bool (*fn)(void *ud, tm_text line), void *ud);
// Calls fn for each entry of a folder whose name is a number.
int tm_plat_each_number(tm_plat *plat, int dir_fd, bool (*fn)(void *ud, int64_t number), void *ud);

// Lists all pids into plat->pids, ascending.
int tm_plat_scan_pids(tm_plat *plat);

// Makes room for `need` items; ENOMEM leaves all as it was.
int tm_plat_grow(tm_plat *plat, void **items, size_t *room, size_t need, size_t item_bytes);
void tm_plat_free(tm_plat *plat, void *items, size_t room, size_t item_bytes);

// ---- Parts of a process.

// /proc/PID as a folder, proven to be this process; -1 and *err otherwise.
int tm_proc_dir(tm_proc *proc, int *err);
// Parses stat and proves the identity: ESRCH when gone, a zombie, or another process by now.
int tm_proc_stat(tm_proc *proc, char *buf, size_t size, tm_procfs_stat *out);

// Group readers: 0 or an errno; each writes every signal of its group.
int tm_proc_read_handles(tm_proc *proc, tm_reading *out);
int tm_proc_read_gpu(tm_proc *proc, tm_reading *out);
int tm_proc_read_x(tm_proc *proc, tm_reading *out);
int tm_proc_read_maps(tm_proc *proc, tm_reading *out);
int tm_proc_read_rollup(tm_proc *proc, tm_reading *out);
int tm_proc_read_tree(tm_proc *proc, tm_reading *out);
int tm_proc_read_cgroup(tm_proc *proc, tm_reading *out);
int tm_proc_read_limits(tm_proc *proc, tm_reading *out);
int tm_plat_read_memory(tm_plat *plat, tm_reading *out);
int tm_plat_read_psi(tm_plat *plat, tm_reading *out);

// Brings the table of descriptors up to date; all: their kinds, too.
int tm_proc_refresh_fds(tm_proc *proc, bool all);

// Sets all values, and leaves the names.
void tm_named_set(tm_named_value *values, size_t room, double value);

// Adds to the value of that name, to a new one, or to "other" when there is no room.
void tm_named_add(tm_named_value *values, size_t room, const char *name, double value);

// One line of a DRM descriptor's fdinfo: "drm-resident-vram0:	12 KiB". False for other lines.
typedef struct tm_procfs_drm {
  tm_text key, region; // key: "driver", "pdev", "client-id", "total", "resident", "memory", ...
  tm_text word;
  uint64_t bytes;
} tm_procfs_drm;
bool tm_procfs_parse_drm(tm_text line, tm_procfs_drm *out);

// X servers that were asked, see x11.c.
void tm_x_free(tm_plat *plat);

// Number of descriptors; the folder is listed only where its st_size does not tell.
int tm_proc_count_fds(tm_proc *proc, uint64_t *out);

// Queue bytes of the sockets in plat->sockets (ascending by inode, no inode twice), filled in
// place; those of sockets that nobody tells of stay 0.
void tm_proc_fill_sockets(tm_proc *proc);

// Calls fn for each socket of the process's network namespace that has an address or a path.
void tm_proc_each_address(tm_proc *proc, void (*fn)(void *ud, uint64_t inode, const char *text),
                          void *ud);

// The process's cgroup folder: v2 or v1 with the memory controller. relative to plat->sys_fd.
typedef struct tm_cgroup {
  char dir[1100]; // "" = none
  uint32_t depth; // folders below the mount
} tm_cgroup;
typedef struct tm_cgroups {
  tm_cgroup memory_v1, v2;
} tm_cgroups;
int tm_proc_cgroups(tm_proc *proc, tm_cgroups *out);
// The same for the reader itself (fixture roots: PID folder "self").
int tm_plat_own_cgroups(tm_plat *plat, tm_cgroups *out);

void tm_bulk_free(tm_plat *plat, tm_bulk *bulk);

#endif
