// Loads a library into a running program: one thread is stopped, made to call dlopen and the
// library's entry on a stack of its own, and put back where it was, registers, signal mask, errno
// and an interrupted system call included; the others run on.
//
// The calls are made by a few instructions that are written beside that stack (inject_code.c). They
// end in a wait for us; if we are killed meanwhile, they go on after a second and put the thread
// back themselves. Only for the two system calls by which that memory comes and goes (some 20 us
// each) the program is at our mercy.
//
// A thread that holds a lock of the loader or the allocator must not be taken: it has to sleep in a
// system call that neither of them makes, or run in code that is neither's. That it can allocate is
// tried before anything is loaded. One that waits for such a lock is put back, another one is
// tried; one that may hold a lock itself by now is let go on until it is through, without us if
// need be.
#include "inject.h"

#include <string.h>

#if !defined(__x86_64__)

tm_status tm_proc_inject(tm_ctx *ctx, tm_proc *proc, const tm_inject *options,
                         tm_inject_result *out) {
  tm_inject_plan plan;
  *out = (tm_inject_result){0};
  TM_TRY(tm_inject_prepare(ctx, proc, options, &plan));
  return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                 "bringing the agent into running programs is built for x86-64 only");
}

#else

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS_NS UINT64_C(1000000)

enum { PAGE_BYTES = 4096, SCRATCH_BYTES = 512 * 1024, PATH_BYTES = 512, CANDIDATES = 64 };

typedef struct job {
  tm_inject_thread t;
  tm_inject_place place;
  uint8_t image[TM_INJECT_IMAGE_BYTES];
  uint64_t lock; // for which it waits, when it only does that
  int remote_fd; // of the library, where its path says nothing to the program
} job;

typedef enum outcome {
  WENT,   // it has called all, and waits
  WAITS,  // for a lock, and holds none
  LEFT,   // it goes on without us
  CRASHED // or was never begun
} outcome;

// ---- the memory ----

// Reaches what the program itself may not write.
static bool poke(const job *j, uint64_t to, const void *from, size_t bytes) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%lld/mem", (long long)j->t.plan->pid);
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t got = pwrite(fd, from, bytes, (off_t)to);
  close(fd);
  return got == (ssize_t)bytes;
}

// Never to be written and executed at once: some programs may not have that.
static bool make_scratch(job *j) {
  const uint64_t args[6] = {
      0, SCRATCH_BYTES, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, UINT64_MAX, 0};
  int64_t at;
  if (!tm_inject_syscall(&j->t, SYS_mmap, args, &at) || at < 0) return false;
  j->place.code = (uint64_t)at;
  j->place.data = j->place.code + PAGE_BYTES;
  j->place.image = j->place.code + SCRATCH_BYTES - TM_INJECT_IMAGE_BYTES;
  return true;
}

static void drop_scratch(job *j) {
  const uint64_t args[6] = {j->place.code, SCRATCH_BYTES, 0, 0, 0, 0};
  const uint64_t fd[6] = {(uint64_t)j->remote_fd, 0, 0, 0, 0, 0};
  int64_t answer;
  if (j->remote_fd >= 0) tm_inject_syscall(&j->t, SYS_close, fd, &answer);
  if (j->place.code) tm_inject_syscall(&j->t, SYS_munmap, args, &answer);
}

// ---- the library ----

static bool is_visible(const tm_inject_plan *plan, const char *path) {
  char theirs[512];
  struct stat here, there, process;
  snprintf(theirs, sizeof theirs, "/proc/%lld", (long long)plan->pid);
  if (stat(theirs, &process) != 0 || process.st_uid != geteuid()) return false;
  snprintf(theirs, sizeof theirs, "/proc/%lld/root%s", (long long)plan->pid, path);
  return stat(path, &here) == 0 && stat(theirs, &there) == 0 && here.st_dev == there.st_dev
         && here.st_ino == there.st_ino;
}

static bool copy_file(int from, int to) {
  char bytes[8192];
  ssize_t got;
  while ((got = read(from, bytes, sizeof bytes)) > 0)
    if (write(to, bytes, (size_t)got) != got) return false;
  return got == 0;
}

// Gives the program the library as a file without a name. False: it could not be made.
static bool send_library(job *j, const char *path) {
  static const char name[] = "tidemark-malloc";
  const uint64_t args[6] = {j->place.code, MFD_CLOEXEC, 0, 0, 0, 0};
  char place[64];
  int64_t fd;
  if (!poke(j, j->place.code, name, sizeof name)
      || !tm_inject_syscall(&j->t, SYS_memfd_create, args, &fd) || fd < 0)
    return false;
  j->remote_fd = (int)fd;
  snprintf(place, sizeof place, "/proc/%lld/fd/%lld", (long long)j->t.plan->pid, (long long)fd);
  int from = open(path, O_RDONLY | O_CLOEXEC), to = open(place, O_WRONLY | O_CLOEXEC);
  bool is_sent = from >= 0 && to >= 0 && copy_file(from, to);
  if (from >= 0) close(from);
  if (to >= 0) close(to);
  return is_sent;
}

// ---- the calls ----

static bool fill(job *j, const tm_inject *options) {
  char path[PATH_BYTES];
  size_t bytes;
  const void *code = tm_inject_code_of(&bytes);
  if (j->remote_fd >= 0)
    snprintf(path, sizeof path, "/proc/self/fd/%d", j->remote_fd);
  else
    snprintf(path, sizeof path, "%s", options->library);
  tm_inject_fill(&j->t, &j->place, path, options, j->image);
  return poke(j, j->place.code, code, bytes) && poke(j, j->place.image, j->image, sizeof j->image);
}

static bool read_words(const job *j, tm_inject_words *out) {
  return tm_inject_read(j->t.plan->pid, j->place.image, out, sizeof *out);
}

static bool is_in_code(const job *j) {
  struct user_regs_struct r;
  return ptrace(PTRACE_GETREGS, j->t.tid, NULL, &r) == 0 && r.rip >= j->place.code
         && r.rip < j->place.data;
}

// It is through, and waits for us. If we were late it went back without us.
static outcome fetch(job *j) {
  if (tm_inject_interrupt(&j->t, 1000 * MS_NS) != TM_INJECT_OURS) return CRASHED;
  if (is_in_code(j)) return WENT;
  if (!tm_inject_save(&j->t)) return CRASHED;
  tm_inject_hush(&j->t);
  return WENT;
}

// It is not through in time, and may hold a lock.
static outcome leave(job *j, tm_inject_words *out) {
  const uint64_t one = 1;
  tm_inject_write(j->t.plan->pid, j->place.image + offsetof(tm_inject_words, go), &one, sizeof one);
  if (tm_inject_interrupt(&j->t, 1000 * MS_NS) != TM_INJECT_OURS) return CRASHED;
  return read_words(j, out) && out->step == TM_INJECT_DONE && is_in_code(j) ? WENT : LEFT;
}

// Looks whether it waits for a lock that somebody else holds.
static bool waits(job *j, uint64_t step) {
  if (tm_inject_interrupt(&j->t, 1000 * MS_NS) != TM_INJECT_OURS) return false;
  if (tm_inject_only_waits(&j->t, step, &j->lock)) return true;
  ptrace(PTRACE_CONT, j->t.tid, NULL, NULL);
  return false;
}

// False: it ended or crashed. The whole program may be stopped meanwhile; it will be, later.
static bool goes_on(job *j) {
  int status;
  pid_t got = waitpid(j->t.tid, &status, __WALL | WNOHANG);
  if (got == 0 || (got < 0 && errno == EINTR)) return true;
  j->t.is_gone = got < 0 || !WIFSTOPPED(status);
  if (j->t.is_gone) return false;
  bool is_group = status >> 16 == PTRACE_EVENT_STOP;
  if (!is_group && WSTOPSIG(status) != SIGSTOP) return false;
  j->t.is_owed_a_stop = j->t.is_owed_a_stop || !is_group;
  return ptrace(PTRACE_CONT, j->t.tid, NULL, NULL) == 0;
}

static outcome run_code(job *j, uint64_t timeout_ns, tm_inject_words *out) {
  enum { PATIENCE_MS = 5 };
  struct user_regs_struct regs = j->t.regs;
  uint64_t began = tm_clock_mono_ns(), looked = began;
  const struct timespec pause = {.tv_nsec = 50000};
  regs.rip = j->place.code;
  regs.rbx = j->place.image;
  regs.rsp = j->place.image & ~UINT64_C(63);
  regs.rbp = 0;
  regs.orig_rax = UINT64_MAX;
  if (ptrace(PTRACE_SETREGS, j->t.tid, NULL, &regs) != 0
      || ptrace(PTRACE_CONT, j->t.tid, NULL, NULL) != 0)
    return CRASHED;
  while (goes_on(j)) {
    uint64_t now = tm_clock_mono_ns();
    if (!read_words(j, out)) return CRASHED;
    if (out->step == TM_INJECT_DONE) return fetch(j);
    if (now - began > timeout_ns) return leave(j, out);
    if (now - looked > PATIENCE_MS * MS_NS) {
      looked = now;
      if (waits(j, out->step)) return WAITS;
    }
    nanosleep(&pause, NULL);
  }
  return CRASHED;
}

static void read_text(const job *j, uint64_t from, char *to, size_t size) {
  size_t n = 0;
  while (n + 1 < size && tm_inject_read(j->t.plan->pid, from + n, &to[n], 1) && to[n]) n++;
  to[n] = '\0';
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)to[i] < ' ') to[i] = ' ';
}

// What came of it.
static tm_status judge(tm_ctx *ctx, const job *j, outcome how, const tm_inject_words *w,
                       tm_inject_result *out) {
  long long pid = j->t.plan->pid;
  if (j->t.is_gone)
    return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET, "process %lld ended meanwhile", pid);
  if (!j->place.code)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "process %lld may not map memory to execute (seccomp, SELinux)", pid);
  if (how == CRASHED)
    return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET,
                   "process %lld could not load the agent; its thread is back where it was", pid);
  if (how == LEFT)
    return tm_fail(ctx, TM_E_TIMEOUT, TM_NO_OFFSET,
                   "thread %d of process %lld did not load the agent in time; it goes on, and back "
                   "where it was when it is through",
                   (int)j->t.tid, pid);
  if (w->problem) {
    char text[256];
    read_text(j, w->problem, text, sizeof text);
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "process %lld cannot load the agent: %s",
                   pid, text);
  }
  out->returned = (int64_t)w->returned;
  return TM_OK;
}

// Takes the stopped thread through all of it and puts it back. *out_is_busy: another may do.
static tm_status use(tm_ctx *ctx, job *j, const tm_inject *options, bool *out_is_busy,
                     tm_inject_result *out) {
  tm_inject_words w = {0};
  outcome how = CRASHED;
  *out_is_busy = false;
  TM_TRY(tm_inject_ask_filters(ctx, &j->t));
  tm_inject_hush(&j->t);
  tm_inject_hurry(j->t.tid, &j->t.turns);
  bool is_ready = make_scratch(j)
                  && (j->t.plan->calls.entry || is_visible(j->t.plan, options->library)
                      || send_library(j, options->library))
                  && fill(j, options);
  if (is_ready) how = run_code(j, options->timeout_ns, &w);
  *out_is_busy = how == WAITS;
  tm_status status = how == WAITS ? TM_OK : judge(ctx, j, how, &w, out);
  if (j->t.is_gone) return status;
  if (how != LEFT) {
    drop_scratch(j);
    tm_inject_restore(&j->t);
  }
  tm_inject_unhurry(j->t.tid, &j->t.turns);
  return status;
}

// ---- which thread ----

typedef struct candidate {
  pid_t tid;
  int rank;         // lower is better
  long long number; // of the system call it sleeps in; -1: it runs
} candidate;

static int find_range(const tm_inject_plan *plan, uint64_t pc) {
  for (size_t i = 0; i < plan->unsafe_count; i++)
    if (pc >= plan->unsafe[i].begin && pc < plan->unsafe[i].end) return (int)i;
  return -1;
}

// Calls that neither the loader nor an allocator sleeps in. -1: not one of them.
static int rank_of_call(long long number, uint64_t futex_operation, bool in_libc) {
  switch (number) {
  case SYS_nanosleep:
  case SYS_clock_nanosleep:
  case SYS_pause:
  case SYS_poll:
  case SYS_ppoll:
  case SYS_select:
  case SYS_pselect6:
  case SYS_wait4:
  case SYS_waitid:
  case SYS_accept:
  case SYS_accept4:
  case SYS_rt_sigsuspend:
  case SYS_recvfrom:
  case SYS_recvmsg:
    return 0;
  case SYS_read:
  case SYS_readv:
  case SYS_write:
  case SYS_rt_sigtimedwait:
    return 1;
  case SYS_epoll_wait:
  case SYS_epoll_pwait:
  case 441:                 // epoll_pwait2
  case SYS_restart_syscall: // of a timed wait, out of which it was taken before; locks have no time
    return 2;
  case SYS_futex:
    // Conditions, semaphores and joins wait by bit sets, locks of libc do not.
    return !in_libc || (futex_operation & (uint32_t)FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET ? 3 : -1;
  default:
    return -1;
  }
}

static int rank_of(const tm_inject_plan *plan, long long number, uint64_t second, uint64_t pc) {
  int range = find_range(plan, pc);
  if (range >= 0 && plan->unsafe[range].is_loader) return -1;
  if (number < 0) return range < 0 ? 9 : -1;
  return rank_of_call(number, second, range >= 0);
}

static bool look_at(const tm_inject_plan *plan, pid_t tid, candidate *out) {
  char path[96], text[256];
  unsigned long long a[6], sp, pc;
  long long number;
  snprintf(path, sizeof path, "/proc/%lld/task/%d/syscall", (long long)plan->pid, (int)tid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
  if (fd >= 0) close(fd);
  if (got <= 0) return false;
  text[got] = '\0';
  *out = (candidate){.tid = tid, .rank = 9, .number = -1}; // "running": seen when it is stopped
  if (sscanf(text, "%lld %llx %llx %llx %llx %llx %llx %llx %llx", &number, &a[0], &a[1], &a[2],
             &a[3], &a[4], &a[5], &sp, &pc)
          == 9
      && number >= 0) {
    out->number = number;
    out->rank = rank_of(plan, number, a[1], pc);
  }
  return out->rank >= 0;
}

static int by_rank(const void *left, const void *right) {
  const candidate *a = left, *b = right;
  return a->rank != b->rank ? a->rank - b->rank : (a->tid > b->tid) - (a->tid < b->tid);
}

static size_t find_candidates(const tm_inject_plan *plan, candidate *out) {
  char path[64];
  size_t count = 0;
  snprintf(path, sizeof path, "/proc/%lld/task", (long long)plan->pid);
  DIR *folder = opendir(path);
  for (const struct dirent *entry; folder && count < CANDIDATES && (entry = readdir(folder));) {
    int tid = atoi(entry->d_name);
    count += tid > 0 && look_at(plan, tid, &out[count]);
  }
  if (folder) closedir(folder);
  qsort(out, count, sizeof *out, by_rank);
  return count;
}

// Is it still where it was seen, and may it be taken from there?
static bool may_be_taken(const tm_inject_thread *t, const candidate *c) {
  const struct user_regs_struct *r = &t->regs;
  bool sleeps = tm_inject_waited(r);
  long long number = sleeps ? (long long)r->orig_rax : -1;
  if (c->number >= 0 && number != c->number) return false;
  return rank_of(t->plan, number, r->rsi, r->rip) >= 0;
}

// A stop that was to come while the thread was ours.
static void pay(const tm_inject_thread *t) {
  if (t->is_owed_a_stop) syscall(SYS_tgkill, (pid_t)t->plan->pid, t->tid, SIGSTOP);
}

static tm_status seize(tm_ctx *ctx, const tm_inject_plan *plan, pid_t tid, bool *out_is_seized) {
  *out_is_seized = ptrace(PTRACE_SEIZE, tid, NULL, NULL) == 0;
  if (*out_is_seized || errno != EPERM) return TM_OK;
  return tm_fail(ctx, TM_E_PERM, TM_NO_OFFSET,
                 "process %lld may not be traced; it wants CAP_SYS_PTRACE or the same user with "
                 "kernel.yama.ptrace_scope 0",
                 (long long)plan->pid);
}

// TM_OK with *out_is_done false: not this one now, because of *out_lock if that is known.
static tm_status try_thread(tm_ctx *ctx, const tm_inject_plan *plan, const candidate *c,
                            const tm_inject *options, bool *out_is_done, uint64_t *out_lock,
                            tm_inject_result *out) {
  bool is_busy = true, is_seized;
  *out_is_done = false;
  *out_lock = 0;
  TM_TRY(seize(ctx, plan, c->tid, &is_seized));
  if (!is_seized) return TM_OK;
  job *j = tm_calloc(ctx, 1, sizeof *j + 64);
  if (!j) return TM_E_NOMEM; // the kernel lets the thread go with us
  j->t.plan = plan;
  j->t.tid = c->tid;
  j->remote_fd = -1;
  tm_status status = TM_OK;
  bool is_stopped = tm_inject_interrupt(&j->t, 100 * MS_NS) == TM_INJECT_OURS;
  uint64_t began = j->t.seen_running_ns; // until then it ran, or waited for its turn
  if (is_stopped && tm_inject_save(&j->t) && may_be_taken(&j->t, c))
    status = use(ctx, j, options, &is_busy, out);
  tm_inject_let_go(&j->t);
  pay(&j->t);
  *out_lock = j->lock;
  if (is_stopped) out->stopped_ns += tm_clock_mono_ns() - began;
  out->thread = j->t.tid;
  *out_is_done = !is_busy || j->t.is_gone;
  tm_free(ctx, j, sizeof *j + 64);
  return status;
}

// Nobody is away meanwhile.
static void wait_for_lock(const tm_inject_plan *plan, uint64_t lock, uint64_t until_ns) {
  const struct timespec pause = {.tv_nsec = 1000000};
  uint32_t word;
  while (lock && tm_inject_read(plan->pid, lock, &word, sizeof word) && word
         && tm_clock_mono_ns() < until_ns)
    nanosleep(&pause, NULL);
}

tm_status tm_proc_inject(tm_ctx *ctx, tm_proc *proc, const tm_inject *options,
                         tm_inject_result *out) {
  tm_inject_plan plan;
  candidate candidates[CANDIDATES];
  uint64_t timeout_ns = options->timeout_ns ? options->timeout_ns : 5000 * MS_NS;
  tm_inject how = *options;
  *out = (tm_inject_result){0};
  how.timeout_ns = timeout_ns;
  TM_TRY(tm_inject_prepare(ctx, proc, &how, &plan));
  uint64_t began = tm_clock_mono_ns();
  const struct timespec pause = {.tv_nsec = 1000000};
  do {
    size_t count = find_candidates(&plan, candidates);
    for (size_t i = 0; i < count; i++) {
      bool is_done;
      uint64_t lock;
      tm_inject_turns turns;
      tm_inject_hurry(0, &turns);
      tm_status status = try_thread(ctx, &plan, &candidates[i], &how, &is_done, &lock, out);
      tm_inject_unhurry(0, &turns);
      TM_TRY(status);
      out->tried_count++;
      if (is_done) return TM_OK;
      wait_for_lock(&plan, lock, began + timeout_ns);
      if (lock) break; // what was seen is old
    }
    TM_TRY(tm_ctx_tick(ctx, 0));
    nanosleep(&pause, NULL);
  } while (tm_clock_mono_ns() - began < timeout_ns);
  return tm_fail(ctx, TM_E_TIMEOUT, TM_NO_OFFSET,
                 "no thread of process %lld could be taken: all are in its allocator or loader, or "
                 "cannot be interrupted",
                 (long long)plan.pid);
}

#endif
