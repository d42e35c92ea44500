// One thread of another program: stopped, read, made to do one thing, put back, let go.
// Source: ptrace(2); arch/x86/kernel/signal.c for restarted calls; sched_setattr(2).
#include "inject.h"

#if defined(__x86_64__)

#include "base/clock.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SECOND_NS = 1000000000, LET_GO_S = 10 };

tm_inject_stop tm_inject_wait(tm_inject_thread *t, uint64_t timeout_ns, int *out_signal) {
  uint64_t until = tm_clock_mono_ns() + timeout_ns;
  const struct timespec pause = {.tv_nsec = 20000};
  int status;
  for (;;) {
    uint64_t now = tm_clock_mono_ns();
    pid_t got = waitpid(t->tid, &status, __WALL | WNOHANG);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || (got == t->tid && !WIFSTOPPED(status))) {
      t->is_gone = true;
      return TM_INJECT_GONE;
    }
    if (got == t->tid) {
      *out_signal = WSTOPSIG(status);
      return status >> 16 == PTRACE_EVENT_STOP ? TM_INJECT_OURS : TM_INJECT_OTHER;
    }
    t->seen_running_ns = now;
    if (now > until) return TM_INJECT_NONE;
    nanosleep(&pause, NULL);
  }
}

tm_inject_stop tm_inject_interrupt(tm_inject_thread *t, uint64_t timeout_ns) {
  int number;
  t->seen_running_ns = tm_clock_mono_ns();
  if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) != 0) return TM_INJECT_GONE;
  for (;;) {
    tm_inject_stop s = tm_inject_wait(t, timeout_ns, &number);
    if (s != TM_INJECT_OTHER) return s;
    if (ptrace(PTRACE_CONT, t->tid, NULL, (void *)(intptr_t)number) != 0) return TM_INJECT_GONE;
  }
}

void tm_inject_let_go(tm_inject_thread *t) {
  int number = 0;
  if (t->is_gone || ptrace(PTRACE_DETACH, t->tid, NULL, NULL) == 0) return;
  tm_inject_stop s = tm_inject_wait(t, (uint64_t)LET_GO_S * SECOND_NS, &number);
  if (s == TM_INJECT_OURS) ptrace(PTRACE_DETACH, t->tid, NULL, NULL);
  if (s == TM_INJECT_OTHER) ptrace(PTRACE_DETACH, t->tid, NULL, (void *)(intptr_t)number);
}

// ---- what it holds ----

bool tm_inject_waited(const struct user_regs_struct *r) {
  enum { RESTART_FIRST = 512, RESTART_LAST = 516, NO_IOCTL = 515 };
  int64_t answer = -(int64_t)r->rax;
  if ((int64_t)r->orig_rax < 0) return false;
  return answer == EINTR
         || (answer >= RESTART_FIRST && answer <= RESTART_LAST && answer != NO_IOCTL);
}

bool tm_inject_save(tm_inject_thread *t) {
  struct iovec state = {t->state, sizeof t->state};
  bool is_saved = ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs) == 0
                  && ptrace(PTRACE_GETREGSET, t->tid, (void *)NT_X86_XSTATE, &state) == 0
                  && ptrace(PTRACE_GETSIGMASK, t->tid, (void *)sizeof t->mask, &t->mask) == 0;
  t->state_bytes = state.iov_len;
  return is_saved;
}

bool tm_inject_status(const tm_inject_thread *t, char *text, size_t size) {
  char path[80];
  snprintf(path, sizeof path, "/proc/%lld/task/%d/status", (long long)t->plan->pid, (int)t->tid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd >= 0 ? read(fd, text, size - 1) : -1;
  if (fd >= 0) close(fd);
  text[got > 0 ? got : 0] = '\0';
  return got > 0;
}

static uint64_t hex_of(const char *text, const char *key) {
  const char *at = strstr(text, key);
  return at ? strtoull(at + strlen(key), NULL, 16) : 0;
}

// Is a signal on its way that the thread lets in?
static bool has_signal(const tm_inject_thread *t) {
  char text[4096];
  if (!tm_inject_status(t, text, sizeof text)) return false;
  return ((hex_of(text, "\nSigPnd:") | hex_of(text, "\nShdPnd:")) & ~t->mask) != 0;
}

// The kernel begins all calls again but those that answer EINTR: with these only we came between.
void tm_inject_restore(tm_inject_thread *t) {
  struct iovec state = {t->state, t->state_bytes};
  struct user_regs_struct regs = t->regs;
  if (tm_inject_waited(&regs) && (int64_t)regs.rax == -EINTR && !has_signal(t)) {
    regs.rax = regs.orig_rax;
    regs.rip -= 2;
    regs.orig_rax = UINT64_MAX;
  }
  ptrace(PTRACE_SETREGSET, t->tid, (void *)NT_X86_XSTATE, &state);
  ptrace(PTRACE_SETSIGMASK, t->tid, (void *)sizeof t->mask, &t->mask);
  ptrace(PTRACE_SETREGS, t->tid, NULL, &regs);
}

void tm_inject_hush(tm_inject_thread *t) {
  static const int needed[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
  uint64_t mask = UINT64_MAX;
  for (size_t i = 0; i < TM_COUNT(needed); i++) mask &= ~(UINT64_C(1) << (needed[i] - 1));
  ptrace(PTRACE_SETSIGMASK, t->tid, (void *)sizeof mask, &mask);
}

// ---- one thing ----

bool tm_inject_syscall(tm_inject_thread *t, long number, const uint64_t args[6], int64_t *out) {
  struct user_regs_struct regs = t->regs;
  int signal_number;
  regs.rip = t->plan->calls.syscall_at;
  regs.rax = (uint64_t)number;
  regs.orig_rax = UINT64_MAX; // nothing to begin again
  regs.rdi = args[0];
  regs.rsi = args[1];
  regs.rdx = args[2];
  regs.r10 = args[3];
  regs.r8 = args[4];
  regs.r9 = args[5];
  if (ptrace(PTRACE_SETREGS, t->tid, NULL, &regs) != 0) return false;
  for (;;) {
    if (ptrace(PTRACE_SINGLESTEP, t->tid, NULL, NULL) != 0) return false;
    tm_inject_stop s = tm_inject_wait(t, SECOND_NS, &signal_number);
    if (s == TM_INJECT_OTHER && signal_number == SIGTRAP) break;
    // The whole program is being stopped: it will be, when the thread is back.
    bool is_stop = s == TM_INJECT_OURS || (s == TM_INJECT_OTHER && signal_number == SIGSTOP);
    if (!is_stop) return false;
    if (s == TM_INJECT_OTHER) t->is_owed_a_stop = true;
    if (ptrace(PTRACE_GETREGS, t->tid, NULL, &regs) != 0) return false;
    if (regs.rip != t->plan->calls.syscall_at) break;
  }
  if (ptrace(PTRACE_GETREGS, t->tid, NULL, &regs) != 0) return false;
  *out = (int64_t)regs.rax;
  return true;
}

// ---- when it runs ----

// Before all that wait for their turn. What it makes meanwhile, the agent's thread, is as others
// are.
void tm_inject_hurry(pid_t tid, tm_inject_turns *out) {
  enum { RESET_ON_FORK = 1 };
  tm_inject_turns own = {0};
  *out = (tm_inject_turns){0};
  if (syscall(SYS_sched_getattr, tid, &own, sizeof own, 0) != 0 || own.policy != SCHED_OTHER)
    return;
  const tm_inject_turns first = {
      .size = sizeof first, .policy = SCHED_FIFO, .flags = RESET_ON_FORK, .priority = 1};
  if (syscall(SYS_sched_setattr, tid, &first, 0) != 0) return;
  *out = own;
  out->size = sizeof own;
}

void tm_inject_unhurry(pid_t tid, const tm_inject_turns *own) {
  if (own->size) syscall(SYS_sched_setattr, tid, own, 0);
}

// ---- locks ----

// The number that the program itself knows it by.
static uint32_t own_number(const tm_inject_thread *t) {
  char text[4096];
  const char *at = tm_inject_status(t, text, sizeof text) ? strstr(text, "\nNSpid:") : NULL;
  uint32_t number = (uint32_t)t->tid;
  for (at = at ? at + strlen("\nNSpid:") : NULL; at && *at && *at != '\n'; at++)
    if (at[0] == '\t' && at[1] >= '0' && at[1] <= '9') number = (uint32_t)strtoul(at + 1, NULL, 10);
  return number;
}

// The loader's locks stand in a row and name their owners. Who waits for the first of them holds
// none; who waits for another one has the first.
static bool holds_a_lock_near(const tm_inject_thread *t, uint64_t lock) {
  enum { WORDS = 64 };
  uint32_t words[WORDS], number = own_number(t);
  if (!tm_inject_read(t->plan->pid, lock - sizeof words / 2, words, sizeof words)) return true;
  for (size_t i = 0; i < WORDS; i++)
    if (words[i] == number) return true;
  return false;
}

bool tm_inject_only_waits(const tm_inject_thread *t, uint64_t step, uint64_t *out_lock) {
  struct user_regs_struct r;
  if (ptrace(PTRACE_GETREGS, t->tid, NULL, &r) != 0 || !tm_inject_waited(&r)) return false;
  if (r.orig_rax != SYS_futex || ((uint32_t)r.rsi & (uint32_t)FUTEX_CMD_MASK) != FUTEX_WAIT)
    return false;
  *out_lock = r.rdi;
  if (step == TM_INJECT_TRIES) return true;
  return step == TM_INJECT_LOADS && r.rdi >= t->plan->loader_begin && r.rdi < t->plan->loader_end
         && !holds_a_lock_near(t, r.rdi);
}

#endif
