// The recorded blocks that live: 64 hash tables. A bucket is a cache line of five blocks, each with
// what its free needs to know: the stack and when it was born. The rest of a row stands elsewhere.
// A row is in its home bucket or in one of the three behind it.
//
// Removing takes no lock and no atomic instruction that would wait for the program's own writes to
// reach memory: a block's row is its freer's alone, who reads it and then clears its key.
// Inserting and growing hold the lock. A table that grew is not unmapped, only emptied: somebody
// may still look into it. That nobody clears a key in it unseen takes the kernel's membarrier: the
// grower first makes the version odd, then has every thread pass a barrier. Who cleared a key
// before, is seen; who does later, sees the version, and does it again under the lock.
#include "agent_tables.h"

#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WAYS = 5, REACH = 4, FIRST_BUCKETS = 8 };
enum { KEY_SHIFT = 19, STACK_SHIFT = 3, KIND_SHIFT = 1 };
#define LIMIT_BYTES (UINT64_C(96) << 20)

typedef struct bucket {
  _Atomic uint64_t keys[WAYS]; // address / 8 (45 bits), stack (16), kind (2), is_counted; 0 = free
  uint32_t born_ms[WAYS];
  uint32_t apart;
} bucket;
_Static_assert(sizeof(bucket) == 64, "one cache line");

typedef struct rest {
  uint64_t bytes;
  float weight;
  uint16_t epoch, slot;
} rest;

typedef struct table {
  uint32_t mask; // buckets - 1
  size_t bytes;
  rest *rests; // WAYS for each bucket
  bucket buckets[] __attribute__((aligned(64)));
} table;

// Where a row is.
typedef struct place {
  bucket *bucket; // NULL: nowhere
  uint32_t way;
} place;

typedef struct shard {
  tm_spin lock;
  _Atomic uint32_t version; // odd: it is being changed as a whole
  _Atomic(table *) table;
  _Atomic uint64_t inserted;
  uint8_t apart[40]; // a cache line of its own
} shard;
_Static_assert(sizeof(shard) == 64, "one line each");

static shard shards[TM_SHARDS] __attribute__((aligned(64)));
static _Atomic uint64_t table_bytes;
static bool has_barrier;

static shard *shard_of(uint64_t hash) {
  return &shards[hash >> 58];
}

static bool all_pass_a_barrier(void) {
  if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0) return true;
  syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void tm_live_init(void) {
  has_barrier = all_pass_a_barrier();
}

// ---- one table ----

static uint32_t home(const table *t, uintptr_t block) {
  return (uint32_t)(tm_agent_hash((const void *)block) >> 24)
         & t->mask; // NOLINT(performance-no-int-to-ptr): only hashed
}

static uint64_t key_of(const tm_agent_live *row) {
  return (uint64_t)(row->block >> 3) << KEY_SHIFT | (uint64_t)row->stack << STACK_SHIFT
         | (uint64_t)(row->kind & 3) << KIND_SHIFT | row->is_counted;
}

static TM_ALWAYS_INLINE place find(table *t, uintptr_t block) {
  uint32_t from = home(t, block);
  for (uint32_t reach = 0; reach < REACH; reach++) {
    bucket *b = &t->buckets[(from + reach) & t->mask];
    for (uint32_t i = 0; i < WAYS; i++)
      if (atomic_load_explicit(&b->keys[i], memory_order_acquire) >> KEY_SHIFT == block >> 3)
        return (place){b, i};
  }
  return (place){NULL, 0};
}

// The place of the block (a free of it was missed) or the first free one.
static TM_ALWAYS_INLINE place find_room(table *t, uintptr_t block) {
  uint32_t from = home(t, block);
  for (uint32_t reach = 0; reach < REACH; reach++) {
    place found = {&t->buckets[(from + reach) & t->mask], WAYS};
    for (uint32_t i = WAYS; i-- > 0;) {
      uint64_t key = atomic_load_explicit(&found.bucket->keys[i], memory_order_acquire);
      if (key && key >> KEY_SHIFT == block >> 3) return (place){found.bucket, i};
      if (!key) found.way = i;
    }
    if (found.way < WAYS) return found;
  }
  return (place){NULL, 0};
}

static rest *rest_of(const table *t, place at) {
  return &t->rests[(size_t)(at.bucket - t->buckets) * WAYS + at.way];
}

static TM_ALWAYS_INLINE bool put(table *t, const tm_agent_live *row) {
  place at = find_room(t, row->block);
  if (!at.bucket) return false;
  *rest_of(t, at) = (rest){row->bytes, row->weight, row->epoch, row->slot};
  at.bucket->born_ms[at.way] = row->born_ms;
  atomic_store_explicit(&at.bucket->keys[at.way], key_of(row), memory_order_release);
  return true;
}

static void read_row(const table *t, place at, uint64_t key, bool is_whole, tm_agent_live *out) {
  out->block = (uintptr_t)(key >> KEY_SHIFT << 3);
  out->stack = (uint16_t)(key >> STACK_SHIFT);
  out->kind = key >> KIND_SHIFT & 3;
  out->is_counted = key & 1;
  out->born_ms = at.bucket->born_ms[at.way];
  if (!is_whole) return;
  const rest *more = rest_of(t, at);
  out->bytes = more->bytes;
  out->weight = more->weight;
  out->epoch = more->epoch;
  out->slot = more->slot;
}

static TM_ALWAYS_INLINE bool take(table *t, uintptr_t block, bool is_whole, tm_agent_live *out) {
  place at = t ? find(t, block) : (place){NULL, 0};
  if (!at.bucket) return false;
  _Atomic uint64_t *key = &at.bucket->keys[at.way];
  read_row(t, at, atomic_load_explicit(key, memory_order_acquire), is_whole, out);
  atomic_store_explicit(key, 0, memory_order_release);
  return true;
}

static table *new_table(uint32_t buckets) {
  size_t head = sizeof(table) + buckets * sizeof(bucket);
  size_t bytes = head + (size_t)buckets * WAYS * sizeof(rest);
  if (atomic_load_explicit(&table_bytes, memory_order_relaxed) + bytes > LIMIT_BYTES) return NULL;
  table *t = tm_pages_get(bytes);
  if (!t) return NULL;
  t->mask = buckets - 1;
  t->bytes = bytes;
  t->rests = (rest *)(void *)((uint8_t *)t + head);
  atomic_fetch_add_explicit(&table_bytes, bytes, memory_order_relaxed);
  return t;
}

// The rows of a table from bucket *from on, as many as there is room for.
static uint32_t read_rows(const table *t, uint32_t *from, tm_agent_live *out, uint32_t room) {
  uint32_t count = 0;
  for (; *from <= t->mask && count + WAYS <= room; ++*from)
    for (uint32_t i = 0; i < WAYS; i++) {
      place at = {(bucket *)&t->buckets[*from], i};
      uint64_t key = atomic_load_explicit(&at.bucket->keys[i], memory_order_acquire);
      if (key) read_row(t, at, key, true, &out[count++]);
    }
  return count;
}

static bool put_all(const table *from, table *to) {
  tm_agent_live rows[4 * WAYS];
  for (uint32_t number = 0; number <= from->mask;) {
    uint32_t count = read_rows(from, &number, rows, 4 * WAYS);
    for (uint32_t i = 0; i < count; i++)
      if (!put(to, &rows[i])) return false;
  }
  return true;
}

// ---- growing ----

// No key is cleared unseen from here to end_change. The lock is held.
static void begin_change(shard *s) {
  atomic_fetch_add(&s->version, 1);
  if (has_barrier) all_pass_a_barrier();
}

static void end_change(shard *s) {
  atomic_fetch_add(&s->version, 1);
}

static void retire(table *t) { // its first page stays, the others read as empty
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  if (t->bytes > page) madvise((uint8_t *)t + page, t->bytes - page, MADV_DONTNEED);
  atomic_fetch_sub_explicit(&table_bytes, t->bytes, memory_order_relaxed);
}

static bool grow(shard *s) {
  table *old = atomic_load(&s->table), *grown = NULL;
  uint32_t buckets = old ? old->mask + 1 : FIRST_BUCKETS / 2;
  bool is_done = false;
  begin_change(s);
  while (!is_done) { // a crowded place may need to be doubled twice
    if (grown) {
      atomic_fetch_sub_explicit(&table_bytes, grown->bytes, memory_order_relaxed);
      tm_pages_drop(grown, grown->bytes);
    }
    buckets *= 2;
    grown = new_table(buckets);
    if (!grown) break;
    is_done = !old || put_all(old, grown);
  }
  if (is_done) {
    atomic_store_explicit(&s->table, grown, memory_order_release);
    if (old) retire(old);
  }
  end_change(s);
  return is_done;
}

// ---- asked by others ----

void tm_live_expect(uintptr_t block) {
  shard *s = shard_of(
      tm_agent_hash((const void *)block)); // NOLINT(performance-no-int-to-ptr): only hashed
  table *t = atomic_load_explicit(&s->table, memory_order_acquire);
  if (!t) return;
  place first = {&t->buckets[home(t, block)], 0};
  __builtin_prefetch(first.bucket, 1);
  __builtin_prefetch(rest_of(t, first), 1);
}

bool tm_live_insert(const tm_agent_live *row) {
  shard *s = shard_of(
      tm_agent_hash((const void *)row->block)); // NOLINT(performance-no-int-to-ptr): only hashed
  bool is_in = true;
  tm_spin_lock(&s->lock);
  table *t = atomic_load_explicit(&s->table, memory_order_relaxed);
  while (is_in && (!t || !put(t, row))) {
    is_in = grow(s);
    t = atomic_load_explicit(&s->table, memory_order_relaxed);
  }
  uint64_t inserted = atomic_load_explicit(&s->inserted, memory_order_relaxed);
  atomic_store_explicit(&s->inserted, inserted + is_in, memory_order_relaxed);
  tm_spin_unlock(&s->lock);
  return is_in;
}

static bool take_locked(shard *s, uintptr_t block, bool is_whole, tm_agent_live *out) {
  tm_spin_lock(&s->lock);
  table *t = atomic_load_explicit(&s->table, memory_order_relaxed);
  bool is_known = take(t, block, is_whole, out);
  tm_spin_unlock(&s->lock);
  return is_known;
}

bool tm_live_remove(uintptr_t block, bool is_whole, tm_agent_live *out) {
  shard *s = shard_of(
      tm_agent_hash((const void *)block)); // NOLINT(performance-no-int-to-ptr): only hashed
  tm_agent_live again;
  if (!block) return false;
  uint32_t version = atomic_load_explicit(&s->version, memory_order_acquire);
  if (TM_UNLIKELY(version & 1 || !has_barrier)) return take_locked(s, block, is_whole, out);
  bool is_known = take(atomic_load_explicit(&s->table, memory_order_acquire), block, is_whole, out);
  atomic_signal_fence(memory_order_seq_cst); // the other half of the barrier is the grower's
  if (TM_LIKELY(atomic_load_explicit(&s->version, memory_order_acquire) == version))
    return is_known;
  if (!take_locked(s, block, is_whole, &again)) return is_known;
  *out = again;
  return true;
}

void tm_live_reset(void) {
  for (uint32_t i = 0; i < TM_SHARDS; i++) {
    shard *s = &shards[i];
    tm_spin_lock(&s->lock);
    table *t = atomic_load(&s->table);
    begin_change(s);
    if (t) retire(t);
    atomic_store(&s->table, NULL);
    end_change(s);
    tm_spin_unlock(&s->lock);
  }
}

uint64_t tm_live_count(void) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < TM_SHARDS; i++) {
    tm_spin_lock(&shards[i].lock);
    const table *t = atomic_load(&shards[i].table);
    for (uint32_t b = 0; t && b <= t->mask; b++)
      for (uint32_t way = 0; way < WAYS; way++)
        sum += atomic_load_explicit(&t->buckets[b].keys[way], memory_order_relaxed) != 0;
    tm_spin_unlock(&shards[i].lock);
  }
  return sum;
}

uint64_t tm_live_inserted(void) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < TM_SHARDS; i++)
    sum += atomic_load_explicit(&shards[i].inserted, memory_order_relaxed);
  return sum;
}

uint64_t tm_live_table_bytes(void) {
  return atomic_load_explicit(&table_bytes, memory_order_relaxed);
}

// The lock is held for the time of copying one 64th of the rows; it keeps others from inserting
// only.
uint32_t tm_live_copy(uint32_t number, tm_agent_live **rows, size_t *room) {
  shard *s = &shards[number];
  tm_spin_lock(&s->lock);
  table *t = atomic_load(&s->table);
  size_t need = t ? (size_t)(t->mask + 1) * WAYS : 0;
  while (need > *room) { // memory is fetched without the lock
    tm_spin_unlock(&s->lock);
    if (*rows) tm_pages_drop(*rows, *room * sizeof **rows);
    *rows = tm_pages_get(need * sizeof **rows);
    *room = *rows ? need : 0;
    if (!*rows) return 0;
    tm_spin_lock(&s->lock);
    t = atomic_load(&s->table);
    need = t ? (size_t)(t->mask + 1) * WAYS : 0;
  }
  uint32_t from = 0, count = t ? read_rows(t, &from, *rows, (uint32_t)*room) : 0;
  tm_spin_unlock(&s->lock);
  return count;
}

void tm_live_lock_all(void) {
  for (uint32_t i = 0; i < TM_SHARDS; i++) tm_spin_lock(&shards[i].lock);
}

void tm_live_unlock_all(void) {
  for (uint32_t i = 0; i < TM_SHARDS; i++) tm_spin_unlock(&shards[i].lock);
}
