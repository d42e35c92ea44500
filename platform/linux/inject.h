// What the files of the injector share: reading a program from outside, what is known of it before
// one of its threads is stopped, that thread, and what it is made to run.
#ifndef TM_PLATFORM_LINUX_INJECT_H
#define TM_PLATFORM_LINUX_INJECT_H

#include "linux.h"

#include <sys/user.h>

enum { TM_INJECT_RANGES = 64 };

// Where the functions that a thread is made to call stand in the program.
typedef struct tm_inject_calls {
  uint64_t malloc, free, dlopen, dlsym, dlerror, errno_location;
  uint64_t syscall_at; // a syscall instruction
  uint64_t entry;      // of the library, when it is there already; else 0
} tm_inject_calls;

typedef struct tm_inject_plan {
  int64_t pid;
  tm_inject_calls calls;
  // Code in which a thread may hold a lock that loading takes: the loader's, the allocators'.
  struct {
    uint64_t begin, end;
    bool is_loader;
  } unsafe[TM_INJECT_RANGES];
  size_t unsafe_count;
  uint64_t loader_begin, loader_end; // all of the loader, its locks included
} tm_inject_plan;

// Reads memory; true: all of it.
bool tm_inject_read(int64_t pid, uint64_t from, void *to, size_t bytes);
bool tm_inject_write(int64_t pid, uint64_t to, const void *from, size_t bytes);

// The address of a function that a module of the process defines; 0: it does not.
// base: where its ELF header is mapped. Source: the ELF specification, DT_GNU_HASH of GNU binutils.
uint64_t tm_inject_symbol(int64_t pid, uint64_t base, const char *name);

// Finds what is needed and what speaks against it. TM_E_UNSUPPORTED, TM_E_GONE, TM_E_PERM.
TM_NODISCARD tm_status tm_inject_prepare(tm_ctx *ctx, tm_proc *proc, const tm_inject *options,
                                         tm_inject_plan *out);

#if defined(__x86_64__)

// ---- one thread (inject_thread.c) ----

enum { TM_INJECT_STATE_BYTES = 12 * 1024 }; // of the vector registers, at most

// Of struct sched_attr what is looked at; the kernel takes this much of it. Source:
// sched_setattr(2).
typedef struct tm_inject_turns {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
} tm_inject_turns;

typedef struct tm_inject_thread {
  const tm_inject_plan *plan;
  pid_t tid;
  struct user_regs_struct regs; // as they were when it was stopped
  uint8_t state[TM_INJECT_STATE_BYTES] __attribute__((aligned(64)));
  size_t state_bytes;
  uint64_t mask;            // of blocked signals
  tm_inject_turns turns;    // how it is scheduled; size 0: that was not changed
  uint64_t seen_running_ns; // before the last stop
  bool is_gone, is_owed_a_stop;
} tm_inject_thread;

typedef enum tm_inject_stop {
  TM_INJECT_OURS,  // asked for
  TM_INJECT_OTHER, // a signal is about to be delivered
  TM_INJECT_NONE,  // not in time
  TM_INJECT_GONE
} tm_inject_stop;

// Waits for the next stop; *out_signal: why.
tm_inject_stop tm_inject_wait(tm_inject_thread *t, uint64_t timeout_ns, int *out_signal);

// Stops it. Signals that come in between are delivered as ever.
tm_inject_stop tm_inject_interrupt(tm_inject_thread *t, uint64_t timeout_ns);

// Detaches, stopped or not: who was not stopped in time (a busy machine) still comes to it, and
// must not wait there for us, nor be taken for traced by somebody else.
void tm_inject_let_go(tm_inject_thread *t);

// What it holds, and back. A system call in which it waited is begun again, unless a signal waits
// for the thread that would have ended it.
bool tm_inject_save(tm_inject_thread *t);
void tm_inject_restore(tm_inject_thread *t);

// Its /proc/PID/task/TID/status. False: it cannot be read.
bool tm_inject_status(const tm_inject_thread *t, char *text, size_t size);

// Blocks the signals that can wait.
void tm_inject_hush(tm_inject_thread *t);

// One system call of the thread's. False: it could not be made.
bool tm_inject_syscall(tm_inject_thread *t, long number, const uint64_t args[6], int64_t *out);

// A thread is away for as long as it takes to be scheduled: it goes first, where that is allowed.
// tid 0: the calling thread. *out: what it was, for the way back; size 0: nothing was changed.
void tm_inject_hurry(pid_t tid, tm_inject_turns *out);
void tm_inject_unhurry(pid_t tid, const tm_inject_turns *own);

// Does it wait for a lock, and holds none itself? Then it can be put back. step: of the words.
// *out_lock: the word that is 0 when the lock is free.
bool tm_inject_only_waits(const tm_inject_thread *t, uint64_t step, uint64_t *out_lock);

// Did it wait in a system call, out of which it was taken? Source: include/linux/errno.h.
bool tm_inject_waited(const struct user_regs_struct *r);

// ---- its filters (inject_seccomp.c) ----

// Of a stopped thread; TM_OK when it has none, too. TM_E_UNSUPPORTED, TM_E_PERM: they cannot be
// seen.
TM_NODISCARD tm_status tm_inject_ask_filters(tm_ctx *ctx, const tm_inject_thread *t);

// ---- what it runs (inject_code.c) ----

enum { TM_INJECT_IMAGE_BYTES = 20 * 1024, TM_INJECT_TEXT_BYTES = 1024 };
enum { TM_INJECT_TRIES = 1, TM_INJECT_LOADS, TM_INJECT_ENTERS, TM_INJECT_DONE }; // steps

// Its words; the code knows their places.
typedef struct tm_inject_words {
  uint64_t errno_location, malloc, free, dlopen, dlsym, dlerror, entry; // 0 .. 48
  uint64_t path, symbol, argument, frame;                               // 56 .. 80
  uint64_t step;                                                        // 88
  uint64_t library;                                                     // 96
  uint64_t returned;            // 104: by the library's entry
  uint64_t problem;             // 112: dlerror's text
  uint64_t go;                  // 120: set by us: no wait
  uint64_t pause_s, pause_us;   // 128, 136
  uint64_t has_hurry;           // 144
  uint64_t data_at, data_bytes; // 152, 160
} tm_inject_words;

// Where it is put: first the code, then its stack, at the end the image.
typedef struct tm_inject_place {
  uint64_t code, data, image; // data: what is no code
} tm_inject_place;

// The image: words (they stand first), texts, and the frame by which the thread goes back alone.
// library: its path in the program.
void tm_inject_fill(const tm_inject_thread *t, const tm_inject_place *place, const char *library,
                    const tm_inject *options, uint8_t image[TM_INJECT_IMAGE_BYTES]);

// The code runs anywhere; rbx leads to the words, rsp to a stack.
const void *tm_inject_code_of(size_t *out_bytes);

#endif
#endif
