// Who is recorded, and with what weight. Each thread draws how many bytes it may allocate until its
// next sample, from an exponential distribution with mean `rate`: then every byte is the one that
// is caught with the same chance, whatever the sizes are. A block of n bytes is caught with
// p = 1 - exp(-n / rate) and stands for 1/p blocks like it, so sums over samples are unbiased;
// p is settled when the sample is taken, so the rate may change at any time.
#include "agent_handles.h"
#include "agent_tables.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHECK_BYTES INT64_C(262144) // idle threads look so often whether somebody wants to listen
#define ALWAYS_DUE  (INT64_MIN / 2)

_Thread_local tm_agent_thread tm_self __attribute__((tls_model("initial-exec")));
tm_agent_counters tm_counters;
static _Atomic uint64_t known_from = UINT64_MAX;
static _Atomic bool was_early; // somebody allocated before the agent was ready

// ---- the filter ----

// Three sizes of it are kept at once; the free path looks at the smallest that is still mostly
// empty, so it can be changed while everybody reads.
enum { SMALL_BITS = 12, MIDDLE_BITS = 16, LARGE_BITS = 20, SMALL_ROWS = 256, MIDDLE_ROWS = 4096 };
static _Atomic uint8_t small_counts[1 << SMALL_BITS], middle_counts[1 << MIDDLE_BITS];
static _Atomic uint8_t large_counts[1 << LARGE_BITS], all_counts[2] = {1, 1};
static const tm_agent_filter filters[] = {{64 - SMALL_BITS, small_counts},
                                          {64 - MIDDLE_BITS, middle_counts},
                                          {64 - LARGE_BITS, large_counts}};
static const tm_agent_filter all_filter = {63, all_counts}; // full mode: everything may be ours

tm_agent_settings tm_agent = {.filter = &filters[0], .rate_bytes = TM_AGENT_RATE_BYTES};

static void filter_add(uintptr_t block, int step) {
  uint64_t hash = tm_agent_hash((const void *)block);
  for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
    _Atomic uint8_t *place = &filters[i].counts[hash >> filters[i].shift];
    uint8_t was = atomic_load_explicit(place, memory_order_relaxed);
    // Full ones stay: they only cost a look into the table. Empty ones were reset meanwhile.
    while (was != UINT8_MAX && !(was == 0 && step < 0)
           && !atomic_compare_exchange_weak_explicit(place, &was, (uint8_t)(was + step),
                                                     memory_order_relaxed, memory_order_relaxed))
      ;
  }
}

static void filter_fit(uint64_t rows) {
  const tm_agent_filter *now = atomic_load_explicit(&tm_agent.filter, memory_order_relaxed);
  const tm_agent_filter *want = &filters[rows <= SMALL_ROWS ? 0 : rows <= MIDDLE_ROWS ? 1 : 2];
  if (now == &all_filter || now >= want) return; // it never shrinks but by a reset
  atomic_store_explicit(&tm_agent.filter, want, memory_order_release);
}

bool tm_agent_sees_all(void) {
  return atomic_load_explicit(&tm_agent.filter, memory_order_relaxed) == &all_filter;
}

// ---- numbers without libm ----

static double natural_log(double x) { // of a normal x > 0
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  int64_t exponent = (int64_t)(bits >> 52) - 1023;
  bits = (bits & UINT64_C(0xfffffffffffff)) | UINT64_C(0x3ff0000000000000);
  double m, sum = 0.0;
  memcpy(&m, &bits, sizeof m); // 1 <= m < 2
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent++;
  }
  double s = (m - 1.0) / (m + 1.0), square = s * s;
  for (int k = 15; k >= 1; k -= 2) sum = sum * square + 1.0 / k; // artanh
  return 2.0 * s * sum + (double)exponent * 0.69314718055994531;
}

static double chance_of(double bytes, double rate) { // 1 - exp(-bytes / rate)
  double x = bytes / rate, term = 1.0, sum = 0.0;
  int halvings = 0;
  if (x > 40.0) return 1.0;
  while (x > 0.25) {
    x *= 0.5;
    halvings++;
  }
  for (int k = 1; k < 12; k++) {
    term *= -x / k;
    sum -= term;
  }
  while (halvings-- > 0) sum *= 2.0 - sum; // 1 - e^2y out of 1 - e^y
  return sum;
}

static int64_t draw(uint64_t rate) {
  tm_agent_thread *self = &tm_self;
  if (!self->random) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    self->random = ((uint64_t)now.tv_nsec << 20 ^ (uint64_t)(uintptr_t)self) * 0x9e3779b97f4a7c15u;
    self->random = (self->random ^ (uint64_t)tm_gettid() << 32) | 1;
  }
  self->random ^= self->random >> 12;
  self->random ^= self->random << 25;
  self->random ^= self->random >> 27;
  uint64_t bits = (self->random * UINT64_C(0x2545f4914f6cdd1d)) >> 11;
  double bytes = -natural_log(((double)bits + 1.0) * 0x1p-53) * (double)rate;
  return bytes < 1e18 ? (int64_t)bytes : INT64_C(1000000000000000000);
}

// ---- recording ----

uint32_t tm_agent_now_ms(void) {
  static _Atomic int64_t begin_ms;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, zero = 0;
  if (TM_UNLIKELY(!atomic_load_explicit(&begin_ms, memory_order_relaxed)))
    atomic_compare_exchange_strong(&begin_ms, &zero, ms - 1);
  return (uint32_t)(ms - atomic_load_explicit(&begin_ms, memory_order_relaxed));
}

static void keep(void *block, size_t bytes, uint32_t kind, double weight, const void *frame) {
  bool is_full = tm_agent_sees_all();
  tm_live_expect((uintptr_t)block);
  tm_agent_live row = {.block = (uintptr_t)block,
                       .bytes = bytes,
                       .weight = (float)weight,
                       .stack = (uint16_t)tm_unwind_stack(frame, kind, is_full),
                       .born_ms = tm_agent_now_ms(),
                       .epoch =
                           (uint16_t)atomic_load_explicit(&tm_agent.epoch, memory_order_relaxed),
                       .slot = tm_thread_slot(),
                       .kind = (uint8_t)kind,
                       .is_counted = !is_full && kind == TM_AGENT_MALLOC};
  tm_stack *stack = tm_stack_at(row.stack);
  atomic_fetch_add_explicit(&stack->made_count, (uint64_t)(weight * TM_WEIGHT_ONE + 0.5),
                            memory_order_relaxed);
  atomic_fetch_add_explicit(&stack->made_bytes, (uint64_t)(weight * (double)bytes + 0.5),
                            memory_order_relaxed);
  // Counted before it is in the table: whoever frees it must be led there.
  if (row.is_counted) filter_add(row.block, 1);
  if (!tm_live_insert(&row)) {
    if (row.is_counted) filter_add(row.block, -1);
    atomic_fetch_add_explicit(&tm_counters.dropped, 1, memory_order_relaxed);
  } else if (row.is_counted) {
    filter_fit(atomic_fetch_add_explicit(&tm_counters.filtered, 1, memory_order_relaxed) + 1);
  }
  if (is_full) tm_self.last_block = ~row.block;
}

static void record_guarded(void *block, size_t bytes, const void *frame) {
  tm_agent_thread *self = &tm_self;
  uint32_t generation = atomic_load_explicit(&tm_agent.generation, memory_order_acquire);
  uint32_t mode = atomic_load_explicit(&tm_agent.mode, memory_order_relaxed);
  uint64_t rate = atomic_load_explicit(&tm_agent.rate_bytes, memory_order_relaxed);
  bool is_new = self->generation != generation;
  double weight = 1.0;
  self->generation = generation;
  if (generation == 0) atomic_store_explicit(&was_early, true, memory_order_relaxed);
  if (generation == 0 || mode == TM_AGENT_IDLE) {
    if (generation != 0 && (!is_new || bytes >= CHECK_BYTES)) tm_control_wake();
    self->left_bytes = CHECK_BYTES;
    return;
  }
  if (mode == TM_AGENT_SAMPLED) {
    if (is_new) { // nothing was drawn for this block yet
      self->left_bytes = draw(rate) - (int64_t)bytes;
      if (self->left_bytes >= 0) return;
    }
    self->left_bytes = draw(rate);
    weight = 1.0 / chance_of(bytes ? (double)bytes : 1.0, (double)rate);
  } else {
    self->left_bytes = ALWAYS_DUE;
  }
  if (bytes < atomic_load_explicit(&tm_agent.min_size_bytes, memory_order_relaxed)) return;
  keep(block, bytes, TM_AGENT_MALLOC, weight, frame);
  tm_control_wake();
}

TM_NOINLINE void tm_agent_record(void *block, size_t bytes, const void *frame) {
  if (tm_self.guard) return;
  int kept_errno = errno;
  tm_self.guard = 1;
  record_guarded(block, bytes, frame);
  tm_self.guard = 0;
  errno = kept_errno;
}

TM_NOINLINE void tm_agent_record_whole(void *block, size_t bytes, uint32_t kind,
                                       const void *frame) {
  if (tm_self.guard || !atomic_load_explicit(&tm_agent.generation, memory_order_acquire)
      || atomic_load_explicit(&tm_agent.mode, memory_order_relaxed) == TM_AGENT_IDLE)
    return;
  int kept_errno = errno;
  tm_self.guard = 1;
  if (kind == TM_AGENT_MMAP)
    atomic_store_explicit(&tm_counters.has_maps, true, memory_order_relaxed);
  keep(block, bytes, kind, 1.0, frame);
  tm_control_wake();
  tm_self.guard = 0;
  errno = kept_errno;
}

// ---- forgetting ----

// An atomic sum would have to wait here until the program's writes to its last block have reached
// memory, which costs more than all the rest: sums of lifetimes may miss one where two threads
// meet.
static void count_life(const tm_agent_live *row) {
  tm_stack *stack = tm_stack_at(row->stack);
  uint64_t lived_ms = atomic_load_explicit(&stack->lived_ms, memory_order_relaxed);
  lived_ms += tm_agent_now_ms() - row->born_ms;
  atomic_store_explicit(&stack->lived_ms, lived_ms, memory_order_relaxed);
  if (tm_self.last_block == ~row->block)
    atomic_fetch_add_explicit(&stack->temporary_count, 1, memory_order_relaxed);
}

TM_NOINLINE bool tm_agent_forget(void *block, tm_agent_live *out) {
  tm_agent_live row;
  if (tm_self.guard) { // inside of a signal handler that met the agent at work: it must not wait
    atomic_fetch_add_explicit(&tm_counters.missed_frees, 1, memory_order_relaxed);
    return false;
  }
  tm_self.guard = 1;
  __builtin_prefetch((const uint8_t *)block - 2 * sizeof(size_t), 1); // its free reads there next
  bool is_known = tm_live_remove((uintptr_t)block, out != NULL, &row);
  if (is_known && row.is_counted) {
    filter_add(row.block, -1);
    atomic_fetch_sub_explicit(&tm_counters.filtered, 1, memory_order_relaxed);
  }
  if (is_known && !row.is_counted) count_life(&row);
  tm_self.guard = 0;
  if (is_known && out) *out = row;
  return is_known;
}

void tm_agent_put_back(const tm_agent_live *row) {
  if (tm_self.guard) return;
  tm_self.guard = 1;
  if (row->is_counted) {
    filter_add(row->block, 1);
    atomic_fetch_add_explicit(&tm_counters.filtered, 1, memory_order_relaxed);
  }
  tm_live_insert(row);
  tm_self.guard = 0;
}

// ---- what is not known ----

uint64_t tm_agent_known_from(void) {
  if (!tm_agent_sees_all() || atomic_load(&tm_counters.dropped)) return UINT64_MAX;
  return atomic_load(&known_from);
}

// Constructors of other libraries may have been first: their blocks lie in what the heap was then.
void tm_agent_begin_to_know(void) {
  atomic_store(&known_from, atomic_load(&was_early) ? (uint64_t)(uintptr_t)sbrk(0) : 0);
}

// ---- verbs ----

void tm_agent_configure(uint32_t mode, uint64_t rate_bytes, uint64_t min_size_bytes) {
  atomic_store(&tm_agent.rate_bytes, rate_bytes ? rate_bytes : 1);
  atomic_store(&tm_agent.min_size_bytes, min_size_bytes);
  if (mode == TM_AGENT_FULL) atomic_store(&tm_agent.filter, &all_filter);
  if (mode != TM_AGENT_FULL || min_size_bytes) atomic_store(&known_from, UINT64_MAX);
  atomic_store(&tm_agent.mode, mode);
  // Last, and never 0: threads take over what stands when they see another number.
  if (atomic_fetch_add(&tm_agent.generation, 1) == UINT32_MAX)
    atomic_fetch_add(&tm_agent.generation, 1);
}

void tm_agent_pause(void) {
  tm_agent_configure(TM_AGENT_IDLE, atomic_load(&tm_agent.rate_bytes),
                     atomic_load(&tm_agent.min_size_bytes));
}

// Rows that threads are about to insert may survive it; they are what was allocated after.
void tm_agent_reset(void) {
  uint32_t guard = tm_self.guard;
  tm_self.guard = 1;
  tm_live_reset();
  atomic_store(&tm_counters.filtered, 0);
  for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
    for (size_t k = 0; k < (size_t)1 << (64 - filters[i].shift); k++)
      if (atomic_load_explicit(&filters[i].counts[k], memory_order_relaxed))
        atomic_store_explicit(&filters[i].counts[k], 0, memory_order_relaxed);
  if (atomic_load(&tm_agent.mode) != TM_AGENT_FULL) atomic_store(&tm_agent.filter, &filters[0]);
  tm_handles_reset();
  tm_stacks_reset();
  atomic_store(&known_from, UINT64_MAX);
  atomic_store(&tm_agent.epoch, 0);
  tm_self.guard = guard;
}
