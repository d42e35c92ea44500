// The blank port: says "unsupported" everywhere. A new OS begins as a copy of this file in a folder
// of its own name; what it then implements replaces one function at a time.
#include "platform/platform.h"

static tm_status unsupported(tm_ctx *ctx, const char *what) {
  return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "%s: not implemented for this system", what);
}

tm_status tm_plat_open(tm_ctx *ctx, const char *proc_root, const char *sys_root, tm_plat **out) {
  (void)proc_root, (void)sys_root, (void)out;
  return unsupported(ctx, "reading processes");
}

void tm_plat_close(tm_plat *plat) {
  (void)plat;
}

tm_status tm_plat_list(tm_ctx *ctx, tm_plat *plat, const int64_t **out_pids, size_t *out_count) {
  (void)plat, (void)out_pids, (void)out_count;
  return unsupported(ctx, "listing processes");
}

tm_status tm_plat_describe(tm_ctx *ctx, tm_plat *plat, int64_t pid, tm_process_info *out) {
  (void)plat, (void)pid, (void)out;
  return unsupported(ctx, "describing a process");
}

tm_status tm_proc_open(tm_ctx *ctx, tm_plat *plat, int64_t pid, tm_proc **out) {
  (void)plat, (void)pid, (void)out;
  return unsupported(ctx, "opening a process");
}

void tm_proc_close(tm_proc *proc) {
  (void)proc;
}

tm_identity tm_proc_identity(const tm_proc *proc) {
  (void)proc;
  return (tm_identity){0};
}

tm_status tm_proc_read(tm_ctx *ctx, tm_proc *proc, uint32_t groups, tm_reading *out) {
  (void)proc, (void)groups, (void)out;
  return unsupported(ctx, "reading a process");
}

tm_status tm_proc_reset_peak(tm_ctx *ctx, tm_proc *proc) {
  (void)proc;
  return unsupported(ctx, "resetting a peak");
}

tm_status tm_proc_each_handle(tm_ctx *ctx, tm_proc *proc,
                              bool (*fn)(void *ud, const tm_handle_row *row), void *ud) {
  (void)proc, (void)fn, (void)ud;
  return unsupported(ctx, "listing descriptors");
}

tm_status tm_proc_inject(tm_ctx *ctx, tm_proc *proc, const tm_inject *options,
                         tm_inject_result *out) {
  (void)proc, (void)options, (void)out;
  return unsupported(ctx, "loading a library into a process");
}

tm_status tm_proc_each_gpu_region(tm_ctx *ctx, tm_proc *proc,
                                  void (*fn)(void *ud, const tm_gpu_row *row), void *ud) {
  (void)proc, (void)fn, (void)ud;
  return unsupported(ctx, "GPU memory of a process");
}

tm_status tm_proc_each_x_resource(tm_ctx *ctx, tm_proc *proc,
                                  void (*fn)(void *ud, const tm_x_row *row), void *ud) {
  (void)proc, (void)fn, (void)ud;
  return unsupported(ctx, "X resources of a process");
}

tm_status tm_proc_each_memory(tm_ctx *ctx, tm_proc *proc,
                              bool (*fn)(void *ud, const tm_memory_row *row), void *ud) {
  (void)proc, (void)fn, (void)ud;
  return unsupported(ctx, "measuring mappings");
}

tm_status tm_proc_each_mapping(tm_ctx *ctx, tm_proc *proc,
                               bool (*fn)(void *ud, const tm_mapping_row *row), void *ud) {
  (void)proc, (void)fn, (void)ud;
  return unsupported(ctx, "listing mappings");
}

tm_status tm_proc_copy(tm_ctx *ctx, tm_proc *proc, tm_memory_range *ranges, size_t count) {
  (void)proc, (void)ranges, (void)count;
  return unsupported(ctx, "reading a process's memory");
}

tm_status tm_proc_each_resident(tm_ctx *ctx, tm_proc *proc, const tm_span *spans, size_t count,
                                bool (*fn)(void *ud, const tm_words *words), void *ud) {
  (void)proc, (void)spans, (void)count, (void)fn, (void)ud;
  return unsupported(ctx, "reading a process's memory");
}

tm_status tm_proc_each_thread(tm_ctx *ctx, tm_proc *proc,
                              bool (*fn)(void *ud, const tm_thread_row *row), void *ud) {
  (void)proc, (void)fn, (void)ud;
  return unsupported(ctx, "listing a process's threads");
}

tm_status tm_proc_each_registers(tm_ctx *ctx, tm_proc *proc,
                                 bool (*fn)(void *ud, const tm_registers *registers), void *ud) {
  (void)proc, (void)fn, (void)ud;
  return unsupported(ctx, "reading a process's registers");
}

tm_status tm_plat_bulk(tm_ctx *ctx, tm_plat *plat, const tm_bulk_row **out_rows,
                       size_t *out_count) {
  (void)plat, (void)out_rows, (void)out_count;
  return unsupported(ctx, "reading all processes at once");
}

tm_status tm_plat_read_system(tm_ctx *ctx, tm_plat *plat, uint32_t groups, tm_reading *out) {
  (void)plat, (void)groups, (void)out;
  return unsupported(ctx, "reading the machine's memory");
}

tm_status tm_plat_pressure_fd(tm_ctx *ctx, tm_plat *plat, int64_t cgroup_of, uint64_t stall_ns,
                              uint64_t window_ns, int *out_fd, uint64_t *out_window_ns) {
  (void)plat, (void)cgroup_of, (void)stall_ns, (void)window_ns, (void)out_fd, (void)out_window_ns;
  return unsupported(ctx, "pressure triggers");
}

tm_status tm_proc_exit_fd(tm_ctx *ctx, tm_proc *proc, int *out_fd) {
  (void)proc, (void)out_fd;
  return unsupported(ctx, "waiting for an exit");
}

tm_status tm_proc_act(tm_ctx *ctx, tm_proc *proc, tm_plat_act act, uint64_t argument) {
  (void)proc, (void)act, (void)argument;
  return unsupported(ctx, "acting on a process");
}

void tm_proc_withheld(tm_proc *proc,
                      void (*fn)(void *ud, tm_group group, const char *what, const char *remedy),
                      void *ud) {
  (void)proc, (void)fn, (void)ud;
}

void tm_plat_doctor(tm_plat *plat, tm_doctor_fn fn, void *ud) {
  (void)plat;
  fn(ud, "platform", false, "this system has no port yet", "copy platform/none and begin");
}
