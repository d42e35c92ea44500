// What the files of the agent share; nothing here is seen outside of it. The agent lives inside of
// programs that know nothing of it: it allocates only by mmap, keeps errno, takes no lock of libc,
// and while it is at work (guard) the thread's own allocations pass by unrecorded.
#ifndef TM_AGENT_IMPL_H
#define TM_AGENT_IMPL_H

#include "agent_wire.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TM_LIKELY(x)     __builtin_expect(!!(x), 1)
#define TM_UNLIKELY(x)   __builtin_expect(!!(x), 0)
#define TM_NOINLINE      __attribute__((noinline))
#define TM_ALWAYS_INLINE inline __attribute__((always_inline)) // measured paths only
#define TM_EXPORT        __attribute__((visibility("default")))

enum {
  TM_AGENT_FRAMES = 128,        // of one stack at most; the outermost are left out
  TM_AGENT_BIG_BYTES = 131072,  // mappings from this size on are recorded
  TM_AGENT_STATIC_BYTES = 65536 // memory before the allocator can be found
};

// ---- what is replaced (agent_hooks.c, agent_maps.c) ----

// The replaced functions. Until tm_agent_resolve has run they find themselves first.
typedef struct tm_agent_next {
  void *(*malloc)(size_t);
  void (*free)(void *);
  void *(*calloc)(size_t, size_t);
  void *(*realloc)(void *, size_t);
  void *(*reallocarray)(void *, size_t, size_t);
  void *(*memalign)(size_t, size_t);
  void *(*aligned_alloc)(size_t, size_t);
  int (*posix_memalign)(void **, size_t, size_t);
  void *(*valloc)(size_t);
  void *(*pvalloc)(size_t);
  size_t (*malloc_usable_size)(void *);
  void (*cfree)(void *);
  void (*free_sized)(void *, size_t);
  void (*free_aligned_sized)(void *, size_t, size_t);
  void *(*mmap)(void *, size_t, int, int, int, off_t);
  int (*munmap)(void *, size_t);
  void *(*mremap)(void *, size_t, size_t, int, ...);
  int (*dlclose)(void *);
} tm_agent_next;
extern tm_agent_next tm_next;

// The replacements that are not the allocator's. agent_maps.c
void *tm_hook_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset);
int tm_hook_munmap(void *at, size_t bytes);
void *tm_hook_mremap(void *old, size_t old_bytes, size_t new_bytes, int flags, ...);
int tm_hook_dlclose(void *library);

// Memory for who asks before the allocator is known; never given back. agent_early.c
void *tm_early_alloc(size_t bytes, size_t alignment); // zeroed; NULL: used up
extern uint8_t tm_early[TM_AGENT_STATIC_BYTES];
static inline bool tm_early_owns(const void *block) {
  return TM_UNLIKELY((uintptr_t)block - (uintptr_t)tm_early < TM_AGENT_STATIC_BYTES);
}
size_t tm_early_size(const void *block);

// ---- one thread (agent_sample.c) ----

struct tm_memo;

typedef struct tm_agent_thread {
  int64_t left_bytes;  // to the next sample
  uint32_t generation; // of the settings that left_bytes was drawn by; 0 = none yet
  uint32_t guard;      // the agent is at work on this thread
  uint64_t random;     // state of the generator
  uintptr_t stack_low; // the mapping that the thread's stack is in, for the unwinder
  uintptr_t stack_high;
  struct tm_memo *memo; // full mode: the last stack, see agent_unwind.c
  uintptr_t last_block; // full mode: ~ of what was allocated last (no reference to it)
  uint32_t slot;        // in the table of threads, 0 = none
} tm_agent_thread;
// Static TLS is scarce in a library that is loaded late.
_Static_assert(sizeof(tm_agent_thread) <= 64, "the surplus of static TLS is small");
extern _Thread_local tm_agent_thread tm_self __attribute__((tls_model("initial-exec")));

// ---- all threads (agent_sample.c) ----

// Bytes that count the sampled blocks by a hash of the address: zero = surely none of ours.
typedef struct tm_agent_filter {
  uint32_t shift;
  _Atomic uint8_t *counts;
} tm_agent_filter;

typedef struct tm_agent_settings {
  _Atomic uint32_t generation; // changes with each start and stop; 0 = not ready
  _Atomic uint32_t mode;
  _Atomic(const tm_agent_filter *) filter;
  _Atomic uint64_t rate_bytes, min_size_bytes;
  _Atomic uint32_t epoch;
  int64_t pid; // whose locks and thread these are: not ours after a bare clone()
} tm_agent_settings;
extern tm_agent_settings tm_agent;

static inline uint64_t tm_agent_hash(const void *block) {
  return ((uint64_t)(uintptr_t)block >> 4) * UINT64_C(0x9e3779b97f4a7c15);
}

// The whole price of an allocation that is not sampled.
static inline bool tm_agent_is_due(size_t bytes) {
  tm_self.left_bytes -= (int64_t)bytes;
  return TM_UNLIKELY(tm_self.left_bytes < 0
                     || tm_self.generation
                            != atomic_load_explicit(&tm_agent.generation, memory_order_relaxed));
}
// The whole price of a free of what was not sampled.
static inline bool tm_agent_is_watched(const void *block) {
  const tm_agent_filter *f = atomic_load_explicit(&tm_agent.filter, memory_order_acquire);
  return TM_UNLIKELY(
      atomic_load_explicit(&f->counts[tm_agent_hash(block) >> f->shift], memory_order_relaxed));
}

// Records a block that was just made, or draws the next sample. frame: of the hook, see
// tm_unwind. Keeps errno.
void tm_agent_record(void *block, size_t bytes, const void *frame);
// Records it for sure, with weight 1 (mappings).
void tm_agent_record_whole(void *block, size_t bytes, uint32_t kind, const void *frame);
// Takes a block out before it is freed; false: it was not known. What was known goes to *out (may
// be NULL), and can be put back if the free turns out not to have been one.
typedef struct tm_agent_live {
  uintptr_t block; // 0: a free place of the table
  uint64_t bytes;
  float weight;     // how many blocks of this size it stands for
  uint32_t born_ms; // since the agent's begin
  uint16_t stack, epoch;
  uint16_t slot; // of the thread
  uint8_t kind;
  bool is_counted; // the filter knows it; not in full mode
} tm_agent_live;
_Static_assert(sizeof(tm_agent_live) == 32, "two rows in a cache line");
bool tm_agent_forget(void *block, tm_agent_live *out);
void tm_agent_put_back(const tm_agent_live *live);

// The verbs.
void tm_agent_configure(uint32_t mode, uint64_t rate_bytes, uint64_t min_size_bytes);
void tm_agent_pause(void);
void tm_agent_reset(void);
uint32_t tm_agent_now_ms(void);
bool tm_agent_sees_all(void); // full mode, now or since the last reset
// From which address on all blocks of the brk heap, and all of other arenas, are known: what stands
// between them is free. UINT64_MAX: not all blocks are known.
uint64_t tm_agent_known_from(void);
void tm_agent_begin_to_know(void); // before the first tm_agent_configure of a preloaded program

#endif
