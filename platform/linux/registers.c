// What threads hold in their registers. Each is stopped for itself, for the time of one question:
// seized, interrupted, read, let go; some 30 us. A thread that waits in a call goes on waiting: the
// few calls that the kernel does not restart itself (epoll_wait) are begun again by us, on x86-64.
#include "linux.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// A second and more for each of ten times: a busy machine is slow, not stuck.
enum { TRIES = 50000, WAIT_NS = 20000, PATIENCE = 10 };

// Waits for the stop that was asked for; *out_signal: what came before it and must be passed on.
static bool has_stopped(pid_t tid, int *out_signal) {
  const struct timespec moment = {0, WAIT_NS};
  for (int i = 0; i < TRIES; i++) {
    int status;
    pid_t got = waitpid(tid, &status, __WALL | WNOHANG);
    if (got < 0 && errno != EINTR) return false;
    if (got == tid) {
      *out_signal = status >> 16 == 0 ? WSTOPSIG(status) : 0;
      return WIFSTOPPED(status);
    }
    nanosleep(&moment, NULL);
  }
  return false;
}

// Who sleeps deep in the kernel (a parent in vfork) would stop only when that is over.
static bool is_stoppable(int task_fd, const char *tid) {
  char path[64], buf[512];
  tm_text text;
  snprintf(path, sizeof path, "%.32s/stat", tid);
  if (tm_plat_head(task_fd, path, buf, sizeof buf, &text) != 0) return false;
  for (const char *at = text.end; at-- > text.at;) // the name may hold anything
    if (*at == ')') return text.end - at > 2 && at[2] != 'D' && at[2] != 'Z' && at[2] != 'X';
  return false;
}

// A call that answers EINTR was ended by us, unless a signal is on its way to the thread.
static void begin_again(pid_t tid, struct user_regs_struct *r, int signal) {
#if defined(__x86_64__)
  if (signal || (long long)r->orig_rax < 0 || (long long)r->rax != -EINTR) return;
  r->rax = r->orig_rax;
  r->rip -= 2; // the syscall instruction
  r->orig_rax = ~0ull;
  ptrace(PTRACE_SETREGS, tid, NULL, r);
#else
  (void)tid, (void)r, (void)signal;
#endif
}

static int read_thread(pid_t tid, tm_registers *out) {
  struct user_regs_struct general;
  struct iovec here = {&general, sizeof general};
  int signal = 0;
  if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0) return errno;
  if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) != 0) return ESRCH;
  if (!has_stopped(tid, &signal)) { // it still comes to it, and must not wait there for us
    for (int i = 0; i < PATIENCE && !has_stopped(tid, &signal); i++) continue;
    ptrace(PTRACE_DETACH, tid, NULL, (void *)(intptr_t)signal);
    return ESRCH;
  }
  int err = ptrace(PTRACE_GETREGSET, tid, (void *)(intptr_t)NT_PRSTATUS, &here) == 0 ? 0 : errno;
  struct user_regs_struct restarted = general;
  if (!err) begin_again(tid, &restarted, signal);
  ptrace(PTRACE_DETACH, tid, NULL, (void *)(intptr_t)signal);
  *out = (tm_registers){.tid = tid, .count = here.iov_len / sizeof *out->words};
#if defined(__x86_64__)
  out->stack_pointer = general.rsp;
#elif defined(__aarch64__)
  out->stack_pointer = general.sp;
#endif
  if (out->count > TM_COUNT(out->words)) out->count = TM_COUNT(out->words);
  for (size_t i = 0; !err && i < out->count; i++)
    out->words[i] = ((const unsigned long long *)(const void *)&general)[i];
  return err;
}

tm_status tm_proc_each_registers(tm_ctx *ctx, tm_proc *proc,
                                 bool (*fn)(void *ud, const tm_registers *registers), void *ud) {
  int err = 0, dir_fd = tm_proc_dir(proc, &err);
  int task_fd = dir_fd < 0 ? -1 : openat(dir_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = task_fd < 0 ? NULL : fdopendir(task_fd);
  if (!dir && task_fd >= 0) close(task_fd);
  if (!dir) err = err ? err : ESRCH;
  for (const struct dirent *e; dir && !err && (e = readdir(dir));) {
    tm_registers registers;
    if (e->d_name[0] < '0' || e->d_name[0] > '9' || !is_stoppable(task_fd, e->d_name)) continue;
    err = read_thread((pid_t)strtol(e->d_name, NULL, 10), &registers);
    if (err == ESRCH)
      err = 0; // it ended, or does not stop
    else if (!err && !fn(ud, &registers))
      break;
  }
  if (dir) closedir(dir);
  if (!err) return TM_OK;
  return tm_fail_errno(ctx, err, "cannot look at the registers of process %lld",
                       (long long)proc->id.pid);
}
