// What the recorder keeps: which stacks allocated, which blocks live, which threads there were. All
// in memory of mmap, bounded; rows are found by hashing.
#ifndef TM_AGENT_TABLES_H
#define TM_AGENT_TABLES_H

#include "agent_impl.h"

// ---- locks that a fork and a signal handler survive ----

// Taken only with the guard set, so never twice by one thread. After a bare clone() the holder may
// not exist: who waits too long in another process than the agent's takes the lock over.
typedef struct tm_spin {
  _Atomic uint32_t is_held;
} tm_spin;

void tm_spin_lock_slow(tm_spin *lock);
static inline void tm_spin_lock(tm_spin *lock) {
  if (TM_UNLIKELY(atomic_exchange_explicit(&lock->is_held, 1, memory_order_acquire)))
    tm_spin_lock_slow(lock);
}
static inline void tm_spin_unlock(tm_spin *lock) {
  atomic_store_explicit(&lock->is_held, 0, memory_order_release);
}

// Memory of whole pages, zeroed; NULL if there is none. Never through the hooked mmap.
void *tm_pages_get(size_t bytes);
void tm_pages_drop(void *pages, size_t bytes);

// ---- mappings (agent_map.c) ----

typedef struct tm_agent_map {
  uintptr_t begin, end;
  bool is_writable;
} tm_agent_map;
// False: nothing is mapped there, or /proc cannot be read; *out is zero then.
bool tm_map_find(uintptr_t address, tm_agent_map *out);

// ---- stacks (agent_stacks.c) ----

enum {
  TM_STACKS = 65536,         // different ones at most; 0 is "no room for another"
  TM_STACK_FRAMES = 1572864, // frames of all of them
  TM_WEIGHT_ONE = 1024       // counts are kept in fractions, because samples stand for 1.3 blocks
};

typedef struct tm_stack {
  uint64_t hash;
  uint32_t first_frame, kind_and_count;    // kind << 16 | number of frames
  _Atomic uint64_t made_count, made_bytes; // count in 1/TM_WEIGHT_ONE
  _Atomic uint64_t temporary_count;        // full mode: freed before the thread allocated again
  _Atomic uint64_t lived_ms;               // of the freed ones, summed
} tm_stack;

// The number of a stack, new or known. 0 if the table is full.
uint32_t tm_stack_intern(const uintptr_t *frames, uint32_t count, uint32_t kind);
tm_stack *tm_stack_at(uint32_t number);
const uintptr_t *tm_stack_frames(const tm_stack *stack);
uint32_t tm_stack_number_end(void); // numbers are 0 .. end-1
bool tm_stacks_init(void);
void tm_stacks_reset(void);
extern tm_spin tm_stacks_lock;

// ---- live blocks (agent_live.c) ----

enum { TM_SHARDS = 64 };

void tm_live_init(void);
void tm_live_expect(uintptr_t block); // it will be inserted soon: its place is fetched meanwhile
bool tm_live_insert(const tm_agent_live *row); // false: no room. Replaces a stale row of the block
// is_whole false: only block, stack, kind, is_counted and born_ms are wanted.
bool tm_live_remove(uintptr_t block, bool is_whole, tm_agent_live *out);
void tm_live_reset(void);
uint64_t tm_live_count(void);    // goes through all of them
uint64_t tm_live_inserted(void); // so far
uint64_t tm_live_table_bytes(void);
// The rows of one shard, copied to memory of *room rows (grown by need through tm_pages).
uint32_t tm_live_copy(uint32_t shard, tm_agent_live **rows, size_t *room);
void tm_live_lock_all(void);
void tm_live_unlock_all(void);

// ---- threads (agent_threads.c) ----

enum { TM_THREADS = 4096, TM_THREAD_NAME = 16 };

typedef struct tm_thread_row {
  int32_t tid;
  char name[TM_THREAD_NAME];
} tm_thread_row;

uint16_t tm_thread_slot(void); // of the calling thread; 0: the table is full
const tm_thread_row *tm_thread_at(uint32_t slot);
int32_t tm_gettid(void);

// ---- the unwinder (agent_unwind.c) ----

// The number of the stack of callers of the function whose frame is given. is_often: it will be
// asked again and again (full mode), so that remembering the last one is worth its memory.
uint32_t tm_unwind_stack(const void *frame, uint32_t kind, bool is_often);
// Copies own memory that may not be there: bytes copied.
size_t tm_peek(uintptr_t from, void *to, size_t bytes);
// Modules went: what was learnt about their code counts no more.
void tm_unwind_forget(void);
void tm_unwind_init(void);

// ---- serving (agent_control.c) ----

void tm_control_begin(void);       // makes sure that somebody listens
void tm_control_wake(void);        // the same, once there is something to tell
void tm_control_wake_late(void);   // the same, but not in who ends or execs at once
void tm_control_stop(void);        // nobody listens any more, until:
void tm_control_begin_again(void); // also after a stop
void tm_control_set_exit(const char *path);
void tm_control_say_last(void); // dials the exit socket
bool tm_control_holds(int fd);  // one of its own descriptors
void tm_control_forked(void);   // in the child: thread and socket were the parent's
// How the profile leaves: false = the reader went.
typedef struct tm_agent_sink {
  bool (*write)(void *ud, const void *data, size_t size);
  void *ud;
} tm_agent_sink;
typedef struct tm_agent_filter_ask {
  uint32_t since_epoch, kinds, flags;
  uint64_t min_age_ms;
} tm_agent_filter_ask;
bool tm_pprof_write(const tm_agent_filter_ask *ask, tm_agent_sink *sink); // agent_pprof.c

// ---- numbers about the agent itself ----

typedef struct tm_agent_counters {
  _Atomic uint64_t dropped, missed_frees, filtered; // filtered: live rows that the filter knows
  _Atomic bool has_maps;                            // some mapping was recorded
} tm_agent_counters;
extern tm_agent_counters tm_counters;

void tm_fork_init(void); // agent_fork.c

#endif
