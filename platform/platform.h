// The platform seam: what tidemark asks of an operating system, and nothing else. One folder per OS
// implements it; none/ is the blank port that a new one is copied from. Plain functions, chosen at
// build time. Everything here may be called from any thread, one object from one thread at a time.
//
// "Not available" has three faces: a value is NAN when this OS or kernel lacks it; the group's bit
// is set in `withheld` when a missing privilege hides it (tm_plat_privilege says which would help);
// and a call answers TM_E_UNSUPPORTED when the OS lacks the whole thing.
#ifndef TM_PLATFORM_H
#define TM_PLATFORM_H

#include "base/ctx.h"
#include "base/units.h"

#include <math.h>

typedef enum tm_signal {
#define TM_SIGNAL(id, name, unit, group, kind, doc) TM_SIGNAL_##id,
#include "platform/signals.def"
#undef TM_SIGNAL
  TM_SIGNAL_COUNT
} tm_signal;

typedef enum tm_signal_kind { TM_SIGNAL_IS_GAUGE, TM_SIGNAL_IS_COUNTER } tm_signal_kind;

// What is read together, dearest last; costs are measured ones of Linux, warm, for one process.
typedef enum tm_group {
  TM_GROUP_STATM,   // 0.7-1.2 us (kept open, pread)
  TM_GROUP_STAT,    // 2-4 us
  TM_GROUP_FDS,     // 0.6 us (st_size of the fd folder), or a listing on old kernels
  TM_GROUP_OOM,     // 0.4 us
  TM_GROUP_IO,      // 1 us
  TM_GROUP_STATUS,  // 4-6 us
  TM_GROUP_LIMITS,  // 3 us
  TM_GROUP_CGROUP,  // 20 us
  TM_GROUP_SYSTEM,  // 25 us, per machine
  TM_GROUP_PSI,     // 4 us, per machine
  TM_GROUP_TREE,    // a listing of all processes
  TM_GROUP_HANDLES, // 1 us per new descriptor
  TM_GROUP_GPU,     // 3 us per DRM descriptor; the descriptors' kinds before that
  TM_GROUP_X,       // 0.1 ms and 0.4 us per pixmap, spent by the X server
  TM_GROUP_MAPS,    // 0.15 us per mapping
  TM_GROUP_ROLLUP,  // 25-47 ns per resident page; see tm_proc_read
  TM_GROUP_COUNT
} tm_group;

#define TM_GROUP_BIT(group) (1u << (group))

typedef struct tm_signal_info {
  const char *name; // "proc.rss"
  tm_unit unit;
  tm_group group;
  tm_signal_kind kind;
  const char *doc;
} tm_signal_info;

// Rows by tm_signal; NULL for a number out of range.
const tm_signal_info *tm_signal_describe(tm_signal signal);

// The signal of a name, or TM_SIGNAL_COUNT when there is none.
tm_signal tm_signal_by_name(const char *name);

typedef enum tm_handle_kind {
#define TM_HANDLE(id, name, doc) TM_HANDLE_##id,
#include "platform/handles.def"
#undef TM_HANDLE
  TM_HANDLE_COUNT
} tm_handle_kind;

typedef enum tm_mapping_kind {
#define TM_MAPPING(id, name, doc) TM_MAPPING_##id,
#include "platform/mappings.def"
#undef TM_MAPPING
  TM_MAPPING_COUNT
} tm_mapping_kind;

const char *tm_handle_kind_name(tm_handle_kind kind);
const char *tm_mapping_kind_name(tm_mapping_kind kind);

// A value of a kind that only the driver or the server knows the names of.
typedef struct tm_named_value {
  char name[28];
  double value;
} tm_named_value;
enum { TM_GPU_REGIONS = 12, TM_X_KINDS = 20 }; // more are summed as "other"

// One reading of one process.
typedef struct tm_reading {
  double value[TM_SIGNAL_COUNT];          // in the unit of the signal; NAN = not read or not there
  double handles[TM_HANDLE_COUNT];        // descriptors by kind; NAN unless HANDLES was read
  double handle_bytes[TM_HANDLE_COUNT];   // bytes behind them where that can be known (memfd,
                                          // deleted, socket)
  double mappings[TM_MAPPING_COUNT];      // mappings by kind; NAN unless MAPS was read
  double mapping_bytes[TM_MAPPING_COUNT]; // address space by kind
  tm_named_value gpu[TM_GPU_REGIONS];     // resident bytes by "driver/region"; name "" = no more
  tm_named_value x[TM_X_KINDS];           // X resources by type: "PIXMAP", "WINDOW", "GC"; likewise
  uint32_t withheld;                      // bits of groups that a missing privilege hid
} tm_reading;

// Sets every value to NAN.
void tm_reading_clear(tm_reading *reading);

// Sets the values of the groups whose bits are set to NAN, and touches no others.
void tm_reading_clear_groups(tm_reading *reading, uint32_t groups);

// Who a process is, for good: a pid is reused, a pid with its start time is not.
typedef struct tm_identity {
  int64_t pid;
  uint64_t start_ticks; // clock ticks after boot; 0 = not known
} tm_identity;

typedef struct tm_process_info {
  tm_identity id;
  int64_t parent_pid;
  uint32_t uid;
  int64_t start_time_ns; // since the epoch
  char name[64];         // short name (comm)
  char command[512];     // command line, arguments joined by blanks, control bytes shown as '?'
  char exe[512];         // executable; "" when withheld
} tm_process_info;

// Where /proc and /sys stand: tests and recordings point them at a fixture tree. A platform value
// is per reader, never global; it holds the buffers that all its processes read through, so a
// tm_plat and its tm_procs belong to one thread at a time.
typedef struct tm_plat tm_plat;
typedef struct tm_proc tm_proc;

// Opens the seam. proc_root, sys_root: NULL = the machine's own. Below a given root nothing is kept
// open and nothing is signalled: its files are data, its pids are nobody's. Free with tm_plat_close
// (after every tm_proc of it). TM_E_UNSUPPORTED on the blank port.
TM_NODISCARD tm_status tm_plat_open(tm_ctx *ctx, const char *proc_root, const char *sys_root,
                                    tm_plat **out);
void tm_plat_close(tm_plat *plat);

// All pids, ascending; *out_pids belongs to plat until the next call. Processes that ended since
// the last birth may still be among them. Cost: 2 us while no task was born, else one listing, 0.33
// us a process.
TM_NODISCARD tm_status tm_plat_list(tm_ctx *ctx, tm_plat *plat, const int64_t **out_pids,
                                    size_t *out_count);

// Describes a process. TM_E_GONE when it does not exist (any more).
TM_NODISCARD tm_status tm_plat_describe(tm_ctx *ctx, tm_plat *plat, int64_t pid,
                                        tm_process_info *out);

// Opens a process for repeated reading (keeps descriptors open: 1 for STATM, more as groups are
// read, at most 4). TM_E_GONE, TM_E_PERM, TM_E_IO. Close with tm_proc_close; NULL is fine.
TM_NODISCARD tm_status tm_proc_open(tm_ctx *ctx, tm_plat *plat, int64_t pid, tm_proc **out);
void tm_proc_close(tm_proc *proc);
tm_identity tm_proc_identity(const tm_proc *proc);

// Reads the groups whose bits are set into *out, which is not cleared first: values of other groups
// stay as they are. TM_E_GONE once the process ended, is a zombie, or its pid belongs to another
// one now. A group that a privilege hides sets its `withheld` bit and is no error.
// ROLLUP keeps itself to 1 % of a core per process: asked sooner, it answers its last figures.
// HANDLES looks only at descriptors not seen before, and at all of them every 16th time.
// TREE shares one listing among all processes asked within 100 ms.
// Of hundreds of processes read one group of all, then the next: that takes half the time of all
// groups of one process after the other, because the kernel's buffers of one kind stay in the
// cache.
TM_NODISCARD tm_status tm_proc_read(tm_ctx *ctx, tm_proc *proc, uint32_t groups, tm_reading *out);

// Starts a new interval for PEAK: after it, proc.peak_rss is the highest RSS since this call.
// TM_E_PERM or TM_E_UNSUPPORTED where that is not to be had; PEAK then stays the peak since start.
TM_NODISCARD tm_status tm_proc_reset_peak(tm_ctx *ctx, tm_proc *proc);

// One descriptor, as evidence.
typedef struct tm_handle_row {
  int64_t number;
  tm_handle_kind kind;
  uint64_t bytes;   // behind it where known (memfd, deleted, socket queue), else 0
  char target[256]; // path, socket address or object
} tm_handle_row;

// Calls fn for each descriptor in ascending order until it answers false. Evidence, not sampling:
// costs a readlink each.
TM_NODISCARD tm_status tm_proc_each_handle(tm_ctx *ctx, tm_proc *proc,
                                           bool (*fn)(void *ud, const tm_handle_row *row),
                                           void *ud);

typedef struct tm_mapping_row {
  uint64_t start, end;
  tm_mapping_kind kind;
  char access[5]; // rwxp
  char name[256];
} tm_mapping_row;
TM_NODISCARD tm_status tm_proc_each_mapping(tm_ctx *ctx, tm_proc *proc,
                                            bool (*fn)(void *ud, const tm_mapping_row *row),
                                            void *ud);

// One mapping with what is resident of it.
typedef struct tm_memory_row {
  tm_mapping_row mapping;
  uint64_t rss_bytes, pss_bytes, swap_bytes;
} tm_memory_row;

// Calls fn for each mapping in ascending order until it answers false. Reads smaps once: 1 us a
// mapping and 25-47 ns a resident page, under the target's mmap lock. TM_E_PERM, TM_E_GONE.
TM_NODISCARD tm_status tm_proc_each_memory(tm_ctx *ctx, tm_proc *proc,
                                           bool (*fn)(void *ud, const tm_memory_row *row),
                                           void *ud);

// Copies memory of a process that runs on: what is read may be torn. Ranges that are not mapped
// stay unread; the rest is read nevertheless. TM_E_PERM where the process may not be looked into,
// TM_E_GONE. Costs a system call per 256 ranges.
typedef struct tm_memory_range {
  uint64_t address;
  void *to;
  size_t bytes;
  bool read; // out: all of it
} tm_memory_range;
TM_NODISCARD tm_status tm_proc_copy(tm_ctx *ctx, tm_proc *proc, tm_memory_range *ranges,
                                    size_t count);

// A piece of a process's addresses, and of what it holds at a moment.
typedef struct tm_span {
  uint64_t start, end; // whole pages
} tm_span;
typedef struct tm_words {
  size_t span; // which of the spans
  uint64_t address;
  const uint64_t *words; // until fn returns
  size_t count;
} tm_words;

// Copies what spans of a process hold, as tm_proc_copy does, and hands it to fn in pieces of whole
// pages, ascending in a span, until it answers false. Pages that were never touched are left out,
// so that looking makes none; so is what cannot be read. TM_E_PERM, TM_E_GONE, TM_E_NOMEM,
// TM_E_CANCELLED. Costs a copy and 8 bytes for each page of the spans; 256 KiB of memory.
TM_NODISCARD tm_status tm_proc_each_resident(tm_ctx *ctx, tm_proc *proc, const tm_span *spans,
                                             size_t count,
                                             bool (*fn)(void *ud, const tm_words *words), void *ud);

// A thread of a process. stack_pointer: where it waits; 0 while it runs or may not be known.
typedef struct tm_thread_row {
  int64_t tid;
  char name[17];
  uint64_t stack_pointer;
} tm_thread_row;
TM_NODISCARD tm_status tm_proc_each_thread(tm_ctx *ctx, tm_proc *proc,
                                           bool (*fn)(void *ud, const tm_thread_row *row),
                                           void *ud);

// Calls fn with the general registers of each thread until it answers false. Stops each thread for
// itself, some 30 us (a call that the kernel never restarts, like epoll_wait, then returns EINTR).
// Threads that do not stop are left out. TM_E_PERM: also when somebody traces the process already.
typedef struct tm_registers {
  int64_t tid;
  uint64_t stack_pointer;
  size_t count;
  uint64_t words[40];
} tm_registers;
TM_NODISCARD tm_status tm_proc_each_registers(tm_ctx *ctx, tm_proc *proc,
                                              bool (*fn)(void *ud, const tm_registers *registers),
                                              void *ud);

// Loads a library into a running process and calls int entry(const char *argument) of it, which
// must return at once.
typedef struct tm_inject {
  const char *library; // its path here; the process need not see it there
  const char *entry, *argument;
  uint64_t timeout_ns; // 0 = 5 s
} tm_inject;
typedef struct tm_inject_result {
  int64_t returned;    // by entry
  int64_t thread;      // that made the calls
  uint64_t stopped_ns; // for which that thread, and others that were tried, were away; the rest ran
  uint64_t tried_count;
} tm_inject_result;

// One thread of the process makes the calls and is put back where it was. TM_E_UNSUPPORTED what the
// process is speaks against it (static, another libc, a sanitizer, traced, stopped, a child of this
// one), TM_E_PERM, TM_E_GONE, TM_E_TIMEOUT no thread could be taken, or the loader was busy. What
// it has loaded stays. Blocking; the calling thread is its tracer.
TM_NODISCARD tm_status tm_proc_inject(tm_ctx *ctx, tm_proc *proc, const tm_inject *options,
                                      tm_inject_result *out);

// What a process has of a GPU's memory, one region of one driver. Source: the kernel's
// Documentation/gpu/drm-usage-stats.rst. Old drivers tell of resident bytes only.
typedef struct tm_gpu_row {
  char driver[24], device[24], region[24]; // "amdgpu", "0000:03:00.0", "vram"
  uint64_t total_bytes, resident_bytes, shared_bytes, active_bytes, purgeable_bytes;
  uint32_t client_count; // of the driver that have something there
} tm_gpu_row;

// Calls fn for each region; several descriptors of one client of a driver count once. None: the
// process uses no GPU, or its driver tells nothing (NVIDIA's own).
TM_NODISCARD tm_status tm_proc_each_gpu_region(tm_ctx *ctx, tm_proc *proc,
                                               void (*fn)(void *ud, const tm_gpu_row *row),
                                               void *ud);

// What a process has in its X server, by type. Source: the X-Resource extension 1.2.
typedef struct tm_x_row {
  char type[28]; // "PIXMAP", "WINDOW", "GC", "PICTURE", ...
  uint64_t count;
  uint64_t bytes; // of pixmaps as the server counts them; 0 for other types
} tm_x_row;

// TM_E_UNSUPPORTED when the process has no X display here or its server lacks the extension,
// TM_E_TIMEOUT when the server did not answer in 20 ms, TM_E_PERM when it refuses us.
TM_NODISCARD tm_status tm_proc_each_x_resource(tm_ctx *ctx, tm_proc *proc,
                                               void (*fn)(void *ud, const tm_x_row *row), void *ud);

// Bulk reading of RSS, anon/file/shmem/swap, threads, mapping count and major faults of all
// processes at once. TM_E_UNSUPPORTED or TM_E_PERM where it is not to be had: then read each
// process. row.value holds the groups' values.
typedef struct tm_bulk_row {
  int64_t pid;
  double rss, anon, file, shmem, swap, threads, maps, majflt; // bytes, bytes..., counts
} tm_bulk_row;
TM_NODISCARD tm_status tm_plat_bulk(tm_ctx *ctx, tm_plat *plat, const tm_bulk_row **out_rows,
                                    size_t *out_count);

// Groups of machine-wide signals only (SYSTEM, PSI), without a process.
TM_NODISCARD tm_status tm_plat_read_system(tm_ctx *ctx, tm_plat *plat, uint32_t groups,
                                           tm_reading *out);

// A pollable memory-pressure trigger: *out_fd becomes readable by POLLPRI when tasks stalled for
// stall_ns within window_ns. cgroup_of: a pid whose cgroup is meant, or 0 for the machine. The
// window is raised to a multiple of 2 s where the kernel wants that; *out_window_ns says what was
// taken. Close the fd to end it.
TM_NODISCARD tm_status tm_plat_pressure_fd(tm_ctx *ctx, tm_plat *plat, int64_t cgroup_of,
                                           uint64_t stall_ns, uint64_t window_ns, int *out_fd,
                                           uint64_t *out_window_ns);

// A descriptor that becomes readable when the process ends (pidfd), so that an exit is seen at
// once. TM_E_UNSUPPORTED = poll.
TM_NODISCARD tm_status tm_proc_exit_fd(tm_ctx *ctx, tm_proc *proc, int *out_fd);

// Cleanup actions. Each answers TM_E_PERM, TM_E_GONE or TM_E_UNSUPPORTED with a message that names
// what would help.
typedef enum tm_plat_act {
  TM_PLAT_ACT_RECLAIM,  // cgroup memory.reclaim (v2) or force_empty (v1); argument: bytes
  TM_PLAT_ACT_HIGH,     // cgroup memory.high (v2) or soft limit (v1); argument: bytes, 0 = lift
  TM_PLAT_ACT_PAGE_OUT, // process_madvise(MADV_PAGEOUT) of anonymous mappings; argument: RSS
                        // bytes at most (the next call goes on behind them), 0 = all
  TM_PLAT_ACT_COLD,     // process_madvise(MADV_COLD)
  TM_PLAT_ACT_FREEZE,   // cgroup.freeze, else SIGSTOP
  TM_PLAT_ACT_THAW,
  TM_PLAT_ACT_SIGNAL, // argument: signal number
} tm_plat_act;
TM_NODISCARD tm_status tm_proc_act(tm_ctx *ctx, tm_proc *proc, tm_plat_act act, uint64_t argument);

// Lists what a missing privilege withholds for this process, as sentences: calls fn(group, "what is
// missing", "which privilege would add it"). Used by `attach` and `doctor`.
void tm_proc_withheld(tm_proc *proc,
                      void (*fn)(void *ud, tm_group group, const char *what, const char *remedy),
                      void *ud);

// One check of the machine ("PSI triggers": "works", "" | "absent": remedy), for `doctor`.
typedef void (*tm_doctor_fn)(void *ud, const char *what, bool works, const char *detail,
                             const char *remedy);
void tm_plat_doctor(tm_plat *plat, tm_doctor_fn fn, void *ud);

const char *tm_group_name(tm_group group);

#endif
