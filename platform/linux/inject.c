// Loads a library into a running program: one thread is stopped, made to call dlopen and the
// library's entry on a stack of its own, and put back where it was, registers, signal mask, errno
// and an interrupted system call included; the others run on.
//
// The calls are made by a few instructions that are written beside that stack. They end in a wait
// for us; if we are killed meanwhile, they go on after a second and put the thread back themselves
// by sigreturn, from a frame prepared before. Only for the two system calls by which that memory
// comes and goes (some 20 us each) the program is at our mercy.
//
// A thread that holds a lock of the loader or the allocator must not be taken: it has to sleep in a
// system call that neither of them makes, or run in code that is neither's. That it can allocate is
// tried before anything is loaded.
// Source: ptrace(2), sigreturn(2); arch/x86/kernel/signal.c for restarted calls and the frame.
#include "inject.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
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

#include <dirent.h>
#include <elf.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define MS_NS UINT64_C(1000000)

enum {
  SCRATCH_BYTES = 512 * 1024, // a stack for dlopen, and above it what follows
  TOP_BYTES = 8 * 1024,       // code, words, texts, the frame
  STATE_BYTES = 12 * 1024,    // of the vector registers, at most
  TEXT_BYTES = 1024,
  CANDIDATES = 64
};

// ---- what runs in the program ----

// Its words. The code below knows their places.
typedef struct words {
  uint64_t errno_location, malloc, free, dlopen, dlsym, dlerror, entry; // 0 .. 48
  uint64_t path, symbol, argument, frame;                               // 56 .. 80
  uint64_t step;              // 88: 1 allocating, 2 loading, 3 in the library, 4 done
  uint64_t library;           // 96
  uint64_t returned;          // 104: by the library's entry
  uint64_t problem;           // 112: dlerror's text
  uint64_t go;                // 120: set by us: no wait
  uint64_t pause_s, pause_us; // 128, 136
} words;
_Static_assert(offsetof(words, frame) == 80 && offsetof(words, step) == 88
                   && offsetof(words, go) == 120 && offsetof(words, pause_us) == 136,
               "the code knows the places");

extern const uint8_t tm_inject_code[], tm_inject_code_end[];
__asm__(
    ".pushsection .rodata\n"
    ".globl tm_inject_code, tm_inject_code_end\n"
    ".hidden tm_inject_code, tm_inject_code_end\n"
    "tm_inject_code:\n"
    "  cld\n"
    "  xor %r12d, %r12d\n"
    "  call *0(%rbx)\n" // errno is kept
    "  mov %rax, %r12\n"
    "  mov (%rax), %r13d\n"
    "  movq $1, 88(%rbx)\n"
    "  mov $200000, %edi\n" // more than any cache of the thread's own: takes the lock
    "  call *8(%rbx)\n"
    "  mov %rax, %rdi\n"
    "  call *16(%rbx)\n"
    "  movq $2, 88(%rbx)\n"
    "  cmpq $0, 48(%rbx)\n" // it is there already
    "  jne 1f\n"
    "  mov 56(%rbx), %rdi\n"
    "  mov $2, %esi\n" // RTLD_NOW
    "  call *24(%rbx)\n"
    "  mov %rax, 96(%rbx)\n"
    "  test %rax, %rax\n"
    "  jz 2f\n"
    "  mov %rax, %rdi\n"
    "  mov 64(%rbx), %rsi\n"
    "  call *32(%rbx)\n"
    "  mov %rax, 48(%rbx)\n"
    "  test %rax, %rax\n"
    "  jz 2f\n"
    "1:\n"
    "  movq $3, 88(%rbx)\n"
    "  mov 72(%rbx), %rdi\n"
    "  call *48(%rbx)\n"
    "  movslq %eax, %rax\n"
    "  mov %rax, 104(%rbx)\n"
    "  jmp 3f\n"
    "2:\n"
    "  call *40(%rbx)\n"
    "  mov %rax, 112(%rbx)\n"
    "3:\n"
    "  mov %r13d, (%r12)\n"
    "  movq $4, 88(%rbx)\n"
    "  mov $1000, %r14d\n"
    "4:\n" // select leaves the kernel's note of an interrupted wait alone, as nanosleep does not
    "  cmpq $0, 120(%rbx)\n"
    "  jne 5f\n"
    "  movq $0, 128(%rbx)\n"
    "  movq $1000, 136(%rbx)\n"
    "  xor %edi, %edi\n"
    "  xor %esi, %esi\n"
    "  xor %edx, %edx\n"
    "  xor %r10d, %r10d\n"
    "  lea 128(%rbx), %r8\n"
    "  mov $23, %eax\n"
    "  syscall\n"
    "  dec %r14d\n"
    "  jnz 4b\n"
    "5:\n"
    "  mov 80(%rbx), %rsp\n"
    "  mov $15, %eax\n" // rt_sigreturn
    "  syscall\n"
    "  ud2\n"
    "tm_inject_code_end:\n"
    ".popsection\n");

// What the kernel reads at sigreturn, behind the return address.
typedef struct frame {
  uint64_t flags, link;
  uint64_t stack[3]; // the alternate one; a size of 0 leaves it as it is
  uint64_t regs[16]; // r8 .. r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp
  uint64_t rip, eflags;
  uint16_t cs, gs, fs, ss;
  uint64_t err, trap, old_mask, cr2, state, reserved[8];
  uint64_t mask;
} frame;

// ---- one thread ----

typedef struct thread {
  const tm_inject_plan *plan;
  pid_t tid;
  struct user_regs_struct regs;
  uint8_t state[STATE_BYTES] __attribute__((aligned(64)));
  size_t state_bytes;
  uint64_t mask, stopped_at_ns, scratch;
  uint8_t image[TOP_BYTES]; // what is written to the upper part of the scratch
  int remote_fd;            // of the library, where its path says nothing to the program
  bool is_gone;
} thread;

typedef enum stop { STOP_OURS, STOP_OTHER, STOP_NONE, STOP_GONE } stop;

// Waits for the next stop. OURS: by PTRACE_INTERRUPT; OTHER: *out_signal is about to be delivered.
static stop wait_stop(thread *t, uint64_t timeout_ns, int *out_signal) {
  uint64_t until = tm_clock_mono_ns() + timeout_ns;
  const struct timespec pause = {.tv_nsec = 20000};
  int status;
  for (;;) {
    pid_t got = waitpid(t->tid, &status, __WALL | WNOHANG);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 || (got == t->tid && !WIFSTOPPED(status))) {
      t->is_gone = true;
      return STOP_GONE;
    }
    if (got == t->tid) {
      *out_signal = WSTOPSIG(status);
      return status >> 16 == PTRACE_EVENT_STOP ? STOP_OURS : STOP_OTHER;
    }
    if (tm_clock_mono_ns() > until) return STOP_NONE;
    nanosleep(&pause, NULL);
  }
}

// Signals that come in between are delivered as ever.
static stop interrupt(thread *t, uint64_t timeout_ns) {
  int number;
  if (ptrace(PTRACE_INTERRUPT, t->tid, NULL, NULL) != 0) return STOP_GONE;
  for (;;) {
    stop s = wait_stop(t, timeout_ns, &number);
    if (s != STOP_OTHER) return s;
    if (ptrace(PTRACE_CONT, t->tid, NULL, (void *)(intptr_t)number) != 0) return STOP_GONE;
  }
}

static bool save(thread *t) {
  struct iovec state = {t->state, sizeof t->state};
  bool is_saved = ptrace(PTRACE_GETREGS, t->tid, NULL, &t->regs) == 0
                  && ptrace(PTRACE_GETREGSET, t->tid, (void *)NT_X86_XSTATE, &state) == 0
                  && ptrace(PTRACE_GETSIGMASK, t->tid, (void *)sizeof t->mask, &t->mask) == 0;
  t->state_bytes = state.iov_len;
  return is_saved;
}

// A call that a pending signal would have ended was ended by us only: it is begun again.
static void restore(thread *t) {
  struct iovec state = {t->state, t->state_bytes};
  struct user_regs_struct regs = t->regs;
  if ((int64_t)regs.orig_rax >= 0 && (int64_t)regs.rax == -EINTR) {
    regs.rax = regs.orig_rax;
    regs.rip -= 2;
    regs.orig_rax = UINT64_MAX;
  }
  ptrace(PTRACE_SETREGSET, t->tid, (void *)NT_X86_XSTATE, &state);
  ptrace(PTRACE_SETSIGMASK, t->tid, (void *)sizeof t->mask, &t->mask);
  ptrace(PTRACE_SETREGS, t->tid, NULL, &regs);
}

// One system call of the thread's. False: it could not be made.
static bool remote_syscall(thread *t, long number, const uint64_t args[6], int64_t *out) {
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
  if (ptrace(PTRACE_SETREGS, t->tid, NULL, &regs) != 0
      || ptrace(PTRACE_SINGLESTEP, t->tid, NULL, NULL) != 0)
    return false;
  if (wait_stop(t, 1000 * MS_NS, &signal_number) != STOP_OTHER || signal_number != SIGTRAP)
    return false;
  if (ptrace(PTRACE_GETREGS, t->tid, NULL, &regs) != 0) return false;
  *out = (int64_t)regs.rax;
  return true;
}

// All that can wait does.
static uint64_t quiet_mask(void) {
  static const int needed[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
  uint64_t mask = UINT64_MAX;
  for (size_t i = 0; i < TM_COUNT(needed); i++) mask &= ~(UINT64_C(1) << (needed[i] - 1));
  return mask;
}

static bool make_scratch(thread *t) {
  const uint64_t args[6] = {
      0, SCRATCH_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, UINT64_MAX,
      0};
  uint64_t mask = quiet_mask();
  int64_t at;
  ptrace(PTRACE_SETSIGMASK, t->tid, (void *)sizeof mask, &mask);
  if (!remote_syscall(t, SYS_mmap, args, &at) || at < 0) return false;
  t->scratch = (uint64_t)at;
  return true;
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
static bool send_library(thread *t, const char *path) {
  static const char name[] = "tidemark-malloc";
  const uint64_t args[6] = {t->scratch, MFD_CLOEXEC, 0, 0, 0, 0};
  char place[64];
  int64_t fd;
  if (!tm_inject_write(t->plan->pid, t->scratch, name, sizeof name)
      || !remote_syscall(t, SYS_memfd_create, args, &fd) || fd < 0)
    return false;
  t->remote_fd = (int)fd;
  snprintf(place, sizeof place, "/proc/%lld/fd/%lld", (long long)t->plan->pid, (long long)fd);
  int from = open(path, O_RDONLY | O_CLOEXEC), to = open(place, O_WRONLY | O_CLOEXEC);
  bool is_sent = from >= 0 && to >= 0 && copy_file(from, to);
  if (from >= 0) close(from);
  if (to >= 0) close(to);
  return is_sent;
}

// ---- the calls ----

// Where things are in the upper part of the scratch.
static uint64_t top(const thread *t) {
  return t->scratch + SCRATCH_BYTES - TOP_BYTES;
}

enum { AT_WORDS = 1024, AT_TEXTS = 1280, AT_FRAME = 1280 + 3 * TEXT_BYTES };

static void fill_frame(const thread *t, frame *f) {
  const struct user_regs_struct *r = &t->regs;
  bool in_call = (int64_t)r->orig_rax >= 0 && (int64_t)r->rax < 0 && (int64_t)r->rax > -4096;
  *f =
      (frame){.flags = 2 | 4, // the stack segment stands in the frame
              .regs = {r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rdi, r->rsi,
                       r->rbp, r->rbx, r->rdx, in_call ? r->orig_rax : r->rax, r->rcx, r->rsp},
              .rip = in_call ? r->rip - 2 : r->rip,
              .eflags = r->eflags,
              .cs = (uint16_t)r->cs,
              .ss = (uint16_t)r->ss,
              .mask = t->mask};
}

// The whole upper part at once. False: it could not be written.
static bool write_top(thread *t, const tm_inject *options) {
  const tm_inject_calls *c = &t->plan->calls;
  uint64_t at = top(t), texts = at + AT_TEXTS;
  size_t code_bytes = (size_t)(tm_inject_code_end - tm_inject_code);
  words w = {.errno_location = c->errno_location,
             .malloc = c->malloc,
             .free = c->free,
             .dlopen = c->dlopen,
             .dlsym = c->dlsym,
             .dlerror = c->dlerror,
             .entry = c->entry,
             .path = texts,
             .symbol = texts + TEXT_BYTES,
             .argument = texts + 2 * (uint64_t)TEXT_BYTES,
             .frame = at + AT_FRAME};
  frame f;
  char *text = (char *)t->image + AT_TEXTS;
  fill_frame(t, &f);
  memcpy(t->image, tm_inject_code, code_bytes);
  memcpy(t->image + AT_WORDS, &w, sizeof w);
  if (t->remote_fd >= 0)
    snprintf(text, TEXT_BYTES, "/proc/self/fd/%d", t->remote_fd);
  else
    snprintf(text, TEXT_BYTES, "%s", options->library);
  snprintf(text + TEXT_BYTES, TEXT_BYTES, "%s", options->entry);
  snprintf(text + 2 * (size_t)TEXT_BYTES, TEXT_BYTES, "%s", options->argument);
  memcpy(t->image + AT_FRAME, &f, sizeof f);
  return tm_inject_write(t->plan->pid, at, t->image, sizeof t->image);
}

static bool read_words(const thread *t, words *out) {
  return tm_inject_read(t->plan->pid, top(t) + AT_WORDS, out, sizeof *out);
}

// Lets the code run until it is done (step 4), or hangs. False: the thread ended or crashed.
static bool run_code(thread *t, uint64_t timeout_ns, words *out) {
  struct user_regs_struct regs = t->regs;
  uint64_t began = tm_clock_mono_ns();
  const struct timespec pause = {.tv_nsec = 50000};
  regs.rip = top(t);
  regs.rbx = top(t) + AT_WORDS;
  regs.rsp = top(t) & ~UINT64_C(63);
  regs.rbp = 0;
  regs.orig_rax = UINT64_MAX;
  if (ptrace(PTRACE_SETREGS, t->tid, NULL, &regs) != 0
      || ptrace(PTRACE_CONT, t->tid, NULL, NULL) != 0)
    return false;
  for (;;) {
    int status;
    pid_t got = waitpid(t->tid, &status, __WALL | WNOHANG);
    if (got != 0) {
      t->is_gone = got < 0 || !WIFSTOPPED(status);
      return false;
    }
    uint64_t took = tm_clock_mono_ns() - began;
    if (!read_words(t, out)) return false;
    bool hangs = took > timeout_ns || (out->step == 1 && took > 50 * MS_NS);
    if (out->step == 4 || hangs)
      return interrupt(t, 1000 * MS_NS) == STOP_OURS && read_words(t, out);
    nanosleep(&pause, NULL);
  }
}

static void drop_scratch(thread *t) {
  const uint64_t args[6] = {t->scratch, SCRATCH_BYTES, 0, 0, 0, 0};
  const uint64_t fd[6] = {(uint64_t)t->remote_fd, 0, 0, 0, 0, 0};
  int64_t answer;
  if (t->remote_fd >= 0) remote_syscall(t, SYS_close, fd, &answer);
  if (t->scratch) remote_syscall(t, SYS_munmap, args, &answer);
}

static void read_text(const thread *t, uint64_t from, char *to, size_t size) {
  size_t n = 0;
  while (n + 1 < size && tm_inject_read(t->plan->pid, from + n, &to[n], 1) && to[n]) n++;
  to[n] = '\0';
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)to[i] < ' ') to[i] = ' ';
}

// What came of it. TM_E_BUSY: this thread holds a lock; another may do.
static tm_status judge(tm_ctx *ctx, const thread *t, bool ran, const words *w,
                       tm_inject_result *out) {
  long long pid = t->plan->pid;
  if (t->is_gone) return tm_fail(ctx, TM_E_GONE, TM_NO_OFFSET, "process %lld ended meanwhile", pid);
  if (!ran)
    return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET,
                   "process %lld could not load the agent; its thread is back where it was", pid);
  if (w->step == 4 && w->problem) {
    char text[256];
    read_text(t, w->problem, text, sizeof text);
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "process %lld cannot load the agent: %s",
                   pid, text);
  }
  if (w->step != 4)
    return tm_fail(ctx, TM_E_TIMEOUT, TM_NO_OFFSET,
                   "process %lld did not load the agent in time; somebody in it holds the loader",
                   pid);
  out->returned = (int64_t)w->returned;
  return TM_OK;
}

// Takes the stopped thread through all of it and puts it back.
static tm_status use(tm_ctx *ctx, thread *t, const tm_inject *options, bool *out_is_busy,
                     tm_inject_result *out) {
  words w = {0};
  bool ran = false;
  *out_is_busy = false;
  bool is_ready = make_scratch(t)
                  && (t->plan->calls.entry || is_visible(t->plan, options->library)
                      || send_library(t, options->library))
                  && write_top(t, options);
  if (is_ready) ran = run_code(t, options->timeout_ns, &w);
  *out_is_busy = ran && w.step == 1;
  tm_status status = *out_is_busy ? TM_OK : judge(ctx, t, ran, &w, out);
  if (!t->is_gone) {
    if (!ran || w.step == 4) drop_scratch(t); // who hangs in it may still look there
    restore(t);
  }
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
  case 441: // epoll_pwait2
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
static bool may_be_taken(const thread *t, const candidate *c) {
  const struct user_regs_struct *r = &t->regs;
  bool sleeps = (int64_t)r->orig_rax >= 0 && (int64_t)r->rax < 0 && (int64_t)r->rax > -4096;
  long long number = sleeps ? (long long)r->orig_rax : -1;
  if (c->number >= 0 && number != c->number) return false;
  return rank_of(t->plan, number, r->rsi, r->rip) >= 0;
}

// TM_OK with *out_is_done false: not this one now.
static tm_status try_thread(tm_ctx *ctx, const tm_inject_plan *plan, const candidate *c,
                            const tm_inject *options, bool *out_is_done, tm_inject_result *out) {
  thread *t = tm_calloc(ctx, 1, sizeof *t + 64);
  tm_status status = TM_OK;
  bool is_busy = true;
  *out_is_done = false;
  if (!t) return TM_E_NOMEM;
  t->plan = plan;
  t->tid = c->tid;
  t->remote_fd = -1;
  if (ptrace(PTRACE_SEIZE, c->tid, NULL, NULL) != 0) {
    if (errno == EPERM)
      status = tm_fail(ctx, TM_E_PERM, TM_NO_OFFSET,
                       "process %lld may not be traced; it wants CAP_SYS_PTRACE or the same user "
                       "with kernel.yama.ptrace_scope 0",
                       (long long)plan->pid);
    tm_free(ctx, t, sizeof *t + 64);
    return status;
  }
  t->stopped_at_ns = tm_clock_mono_ns();
  if (interrupt(t, 100 * MS_NS) == STOP_OURS && save(t) && may_be_taken(t, c))
    status = use(ctx, t, options, &is_busy, out);
  if (!t->is_gone) ptrace(PTRACE_DETACH, t->tid, NULL, NULL);
  *out_is_done = !is_busy || t->is_gone;
  if (*out_is_done) {
    out->stopped_ns = tm_clock_mono_ns() - t->stopped_at_ns;
    out->thread = t->tid;
  }
  tm_free(ctx, t, sizeof *t + 64);
  return status;
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
      TM_TRY(try_thread(ctx, &plan, &candidates[i], &how, &is_done, out));
      out->tried_count++;
      if (is_done) return TM_OK;
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
