// Small things: pages, locks, and the table of the threads that allocated.
#include "agent_tables.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// ---- pages ----

void *tm_pages_get(size_t bytes) {
  const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  long at = syscall(SYS_mmap, NULL, bytes, PROT_READ | PROT_WRITE, how, -1, 0L);
  return at < 0 ? NULL : (void *)at; // NOLINT(performance-no-int-to-ptr): what the kernel answers
}

void tm_pages_drop(void *pages, size_t bytes) {
  if (pages) syscall(SYS_munmap, pages, bytes);
}

// ---- locks ----

TM_NOINLINE void tm_spin_lock_slow(tm_spin *lock) {
  enum { SPINS = 64, WAITS = 20000 };
  for (uint32_t i = 0;; i++) {
    if (!atomic_load_explicit(&lock->is_held, memory_order_relaxed)
        && !atomic_exchange_explicit(&lock->is_held, 1, memory_order_acquire))
      return;
    if (i < SPINS) continue;
    sched_yield();
    // A child of a bare clone(), with the lock of a thread that was not copied.
    if (i > WAITS && syscall(SYS_getpid) != tm_agent.pid) {
      tm_agent.pid = syscall(SYS_getpid);
      return;
    }
  }
}

// ---- threads ----

static tm_thread_row threads[TM_THREADS];
static _Atomic uint32_t thread_end = 1;

int32_t tm_gettid(void) {
  return (int32_t)syscall(SYS_gettid);
}

uint16_t tm_thread_slot(void) {
  if (TM_LIKELY(tm_self.slot)) return (uint16_t)(tm_self.slot % TM_THREADS);
  uint32_t slot = atomic_fetch_add(&thread_end, 1);
  if (slot >= TM_THREADS) {
    atomic_store(&thread_end, TM_THREADS);
    slot = TM_THREADS; // 0 after all, without asking again
  } else {
    threads[slot].tid = tm_gettid();
    prctl(PR_GET_NAME, threads[slot].name);
  }
  tm_self.slot = slot;
  return (uint16_t)(slot % TM_THREADS);
}

const tm_thread_row *tm_thread_at(uint32_t slot) {
  return &threads[slot % TM_THREADS];
}
