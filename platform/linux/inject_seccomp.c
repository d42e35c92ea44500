// Would a program's filters of system calls let the agent live? A call that they answer with a
// signal ends the program, so the filters are read out of a stopped thread and run over the calls
// that bringing the agent takes, and those of its own thread.
// Source: seccomp(2), linux/filter.h (classic BPF), PTRACE_SECCOMP_GET_FILTER of ptrace(2).
#include "inject.h"

#if defined(__x86_64__)

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct call {
  const char *name;
  int number;
  uint64_t args[3];
  bool may_fail; // an error number is fine, a signal is not
} call;

enum {
  THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD
                 | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID
};

static const call calls[] = {
    {"mmap", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC}, false},
    {"mmap", SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE}, false},
    {"mprotect", SYS_mprotect, {0, 4096, PROT_READ | PROT_WRITE}, false},
    {"mprotect", SYS_mprotect, {0, 4096, PROT_READ}, false},
    {"munmap", SYS_munmap, {0}, false},
    {"madvise", SYS_madvise, {0}, true},
    {"openat", SYS_openat, {(uint64_t)AT_FDCWD, 0, O_RDONLY | O_CLOEXEC}, false},
    {"newfstatat", SYS_newfstatat, {0}, false},
    {"read", SYS_read, {0}, false},
    {"write", SYS_write, {0}, true},
    {"close", SYS_close, {0}, false},
    {"futex", SYS_futex, {0}, false},
    {"select", SYS_select, {0}, true},
    {"rt_sigreturn", SYS_rt_sigreturn, {0}, false},
    {"rt_sigprocmask", SYS_rt_sigprocmask, {0}, false},
    {"sched_setscheduler", SYS_sched_setscheduler, {0}, true},
    {"clone3", SYS_clone3, {0}, true}, // libc tries clone then
    {"clone", SYS_clone, {THREAD_FLAGS}, false},
    {"set_robust_list", SYS_set_robust_list, {0}, true},
    {"rseq", 334, {0}, true},
    {"prctl", SYS_prctl, {PR_SET_NAME}, true},
    {"gettid", SYS_gettid, {0}, true},
    {"getpid", SYS_getpid, {0}, false},
    {"geteuid", SYS_geteuid, {0}, false},
    {"mkdir", SYS_mkdir, {0}, true},
    {"unlink", SYS_unlink, {0}, true},
    {"chmod", SYS_chmod, {0}, false},
    {"fcntl", SYS_fcntl, {0, F_DUPFD_CLOEXEC}, true},
    {"socket", SYS_socket, {AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC}, false},
    {"bind", SYS_bind, {0}, false},
    {"listen", SYS_listen, {0}, false},
    {"accept4", SYS_accept4, {0}, false},
    {"getsockopt", SYS_getsockopt, {0, SOL_SOCKET, SO_PEERCRED}, false},
    {"setsockopt", SYS_setsockopt, {0, SOL_SOCKET, SO_SNDTIMEO}, true},
    {"sendto", SYS_sendto, {0}, false},
    {"recvfrom", SYS_recvfrom, {0}, false},
    {"poll", SYS_poll, {0}, false},
    {"exit", SYS_exit, {0}, false}};

// ---- a filter ----

typedef struct machine {
  uint32_t a, x, memory[BPF_MEMWORDS];
} machine;

static void count(machine *m, const struct sock_filter *f) {
  uint32_t k = BPF_SRC(f->code) == BPF_X ? m->x : f->k;
  switch (BPF_OP(f->code)) {
  case BPF_ADD:
    m->a += k;
    break;
  case BPF_SUB:
    m->a -= k;
    break;
  case BPF_MUL:
    m->a *= k;
    break;
  case BPF_DIV:
    m->a = k ? m->a / k : 0;
    break;
  case BPF_OR:
    m->a |= k;
    break;
  case BPF_AND:
    m->a &= k;
    break;
  case BPF_XOR:
    m->a ^= k;
    break;
  case BPF_LSH:
    m->a = k < 32 ? m->a << k : 0;
    break;
  case BPF_RSH:
    m->a = k < 32 ? m->a >> k : 0;
    break;
  default:
    m->a = 0u - m->a; // BPF_NEG
  }
}

static uint32_t load(const machine *m, const struct sock_filter *f,
                     const struct seccomp_data *data) {
  uint32_t word = 0;
  if (BPF_MODE(f->code) == BPF_IMM) return f->k;
  if (BPF_MODE(f->code) == BPF_LEN) return sizeof *data;
  if (BPF_MODE(f->code) == BPF_MEM) return f->k < BPF_MEMWORDS ? m->memory[f->k] : 0;
  if (f->k <= sizeof *data - sizeof word) memcpy(&word, (const char *)data + f->k, sizeof word);
  return word;
}

static bool holds(const machine *m, const struct sock_filter *f) {
  uint32_t k = BPF_SRC(f->code) == BPF_X ? m->x : f->k;
  switch (BPF_OP(f->code)) {
  case BPF_JEQ:
    return m->a == k;
  case BPF_JGT:
    return m->a > k;
  case BPF_JGE:
    return m->a >= k;
  default:
    return (m->a & k) != 0; // BPF_JSET
  }
}

// Jumps lead forward only, so it ends. What is not understood counts as a kill.
static uint32_t run(const struct sock_filter *f, size_t length, const struct seccomp_data *data) {
  machine m = {0};
  for (size_t at = 0; at < length; at++) {
    switch (BPF_CLASS(f[at].code)) {
    case BPF_LD:
      m.a = load(&m, &f[at], data);
      break;
    case BPF_LDX:
      m.x = load(&m, &f[at], data);
      break;
    case BPF_ST:
    case BPF_STX:
      if (f[at].k < BPF_MEMWORDS) m.memory[f[at].k] = BPF_CLASS(f[at].code) == BPF_ST ? m.a : m.x;
      break;
    case BPF_ALU:
      count(&m, &f[at]);
      break;
    case BPF_JMP:
      if (BPF_OP(f[at].code) == BPF_JA)
        at += f[at].k;
      else
        at += holds(&m, &f[at]) ? f[at].jt : f[at].jf;
      break;
    case BPF_RET:
      return BPF_RVAL(f[at].code) == BPF_A ? m.a : f[at].k;
    default: // BPF_MISC
      if (BPF_MISCOP(f[at].code) == BPF_TAX)
        m.x = m.a;
      else
        m.a = m.x;
    }
  }
  return SECCOMP_RET_KILL_PROCESS;
}

static const char *first_refused(const struct sock_filter *f, size_t length) {
  for (size_t i = 0; i < TM_COUNT(calls); i++) {
    struct seccomp_data data = {.nr = calls[i].number, .arch = AUDIT_ARCH_X86_64};
    for (size_t k = 0; k < TM_COUNT(calls[i].args); k++) data.args[k] = calls[i].args[k];
    uint32_t answer = run(f, length, &data) & SECCOMP_RET_ACTION_FULL;
    bool is_let = answer == SECCOMP_RET_ALLOW || answer == SECCOMP_RET_LOG
                  || (answer == SECCOMP_RET_ERRNO && calls[i].may_fail);
    if (!is_let) return calls[i].name;
  }
  return NULL;
}

// ---- of a thread ----

typedef struct filters {
  long mode, count;
} filters;

static filters filters_of(const char *status) {
  static const char mode[] = "\nSeccomp:", count[] = "\nSeccomp_filters:";
  const char *mode_at = strstr(status, mode), *count_at = strstr(status, count);
  return (filters){.mode = mode_at ? strtol(mode_at + sizeof mode - 1, NULL, 10) : 0,
                   .count = count_at ? strtol(count_at + sizeof count - 1, NULL, 10) : -1};
}

static filters own_filters(void) {
  char text[4096];
  int fd = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
  ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
  if (fd >= 0) close(fd);
  text[got > 0 ? got : 0] = '\0';
  return filters_of(text);
}

// NULL: all let the agent live, or *out_err says why they cannot be seen.
static const char *find_refused(const tm_inject_thread *t, struct sock_filter *room, int *out_err) {
  for (uintptr_t i = 0;; i++) {
    long length = ptrace(PTRACE_SECCOMP_GET_FILTER, t->tid, (void *)i, room);
    if (length <= 0) {
      *out_err = i > 0 && errno == ENOENT ? 0 : errno; // no more of them
      return NULL;
    }
    const char *refused = first_refused(room, (size_t)length);
    if (refused) return refused;
  }
}

tm_status tm_inject_ask_filters(tm_ctx *ctx, const tm_inject_thread *t) {
  char text[4096];
  int err = 0;
  long long pid = t->plan->pid;
  if (!tm_inject_status(t, text, sizeof text)) return TM_OK; // it ends
  filters theirs = filters_of(text), ours = own_filters();
  if (theirs.mode == 0) return TM_OK;
  if (theirs.mode == 1)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "the malloc agent is not for process %lld: it is in seccomp's strict mode", pid);
  // Those of a container are ours, too: they cannot be seen from within, and let us live.
  if (ours.mode == 2 && theirs.count >= 0 && theirs.count == ours.count) return TM_OK;
  struct sock_filter *room = tm_alloc(ctx, BPF_MAXINSNS * sizeof *room);
  if (!room) return TM_E_NOMEM;
  const char *refused = find_refused(t, room, &err);
  tm_free(ctx, room, BPF_MAXINSNS * sizeof *room);
  if (refused)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "the malloc agent is not for process %lld: its seccomp filter does not let it "
                   "call %s",
                   pid, refused);
  if (!err) return TM_OK;
  return tm_fail(ctx, TM_E_PERM, TM_NO_OFFSET,
                 "process %lld filters its system calls (seccomp); only root (CAP_SYS_ADMIN) can "
                 "see whether the agent would live there",
                 pid);
}

#endif
