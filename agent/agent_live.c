// The recorded blocks that live: 64 hash tables, each with its lock, linear probing, and rows moved
// up behind a removed one, so that no graves are left. A table doubles when it is three quarters
// full; all of them together stop at LIMIT_BYTES and drop what is more.
#include "agent_tables.h"

#include <string.h>

enum { FIRST_ROWS = 64 };
#define LIMIT_BYTES (UINT64_C(96) << 20)

typedef struct shard {
  tm_spin lock;
  uint32_t capacity; // a power of two, or 0
  _Atomic uint32_t count;
  _Atomic uint64_t inserted;
  tm_agent_live *rows;
  uint8_t apart[32]; // a cache line of its own
} shard;
_Static_assert(sizeof(shard) == 64, "one line each");

static shard shards[TM_SHARDS] __attribute__((aligned(64)));
static _Atomic uint64_t table_bytes;

// Changed under the lock only; read without it for sums.
static uint32_t count_of(const shard *s) {
  return atomic_load_explicit(&s->count, memory_order_relaxed);
}

static void set_count(shard *s, uint32_t count) {
  atomic_store_explicit(&s->count, count, memory_order_relaxed);
}

static shard *shard_of(uint64_t hash) {
  return &shards[hash >> 58];
}

static uint32_t home(const shard *s, uintptr_t block) {
  return (uint32_t)(tm_agent_hash((const void *)block) >> 24) & (s->capacity - 1);
}

// Where the block is, or the free place for it.
static uint32_t probe(const shard *s, uintptr_t block) {
  uint32_t i = home(s, block);
  while (s->rows[i].block && s->rows[i].block != block) i = (i + 1) & (s->capacity - 1);
  return i;
}

static bool grow(shard *s) {
  uint32_t old_capacity = s->capacity, capacity = old_capacity ? old_capacity * 2 : FIRST_ROWS;
  tm_agent_live *old = s->rows;
  size_t old_bytes = old_capacity * sizeof *old, bytes = capacity * sizeof *old;
  if (atomic_load_explicit(&table_bytes, memory_order_relaxed) + bytes > LIMIT_BYTES) return false;
  tm_agent_live *rows = tm_pages_get(bytes);
  if (!rows) return false;
  s->rows = rows;
  s->capacity = capacity;
  for (uint32_t i = 0; i < old_capacity; i++)
    if (old[i].block) rows[probe(s, old[i].block)] = old[i];
  if (old) tm_pages_drop(old, old_bytes);
  atomic_fetch_add_explicit(&table_bytes, bytes - old_bytes, memory_order_relaxed);
  return true;
}

bool tm_live_insert(const tm_agent_live *row) {
  shard *s = shard_of(tm_agent_hash((const void *)row->block));
  bool is_in = true;
  tm_spin_lock(&s->lock);
  if ((uint64_t)count_of(s) * 4 >= (uint64_t)s->capacity * 3 && !grow(s)) is_in = false;
  if (is_in) {
    uint32_t i = probe(s, row->block);
    if (!s->rows[i].block) set_count(s, count_of(s) + 1);
    s->rows[i] = *row;
    uint64_t inserted = atomic_load_explicit(&s->inserted, memory_order_relaxed);
    atomic_store_explicit(&s->inserted, inserted + 1, memory_order_relaxed);
  }
  tm_spin_unlock(&s->lock);
  return is_in;
}

static void close_gap(shard *s, uint32_t gap) {
  uint32_t mask = s->capacity - 1;
  for (uint32_t i = (gap + 1) & mask; s->rows[i].block; i = (i + 1) & mask) {
    uint32_t wanted = home(s, s->rows[i].block);
    if (((i - wanted) & mask) < ((i - gap) & mask)) continue; // it is at home behind the gap
    s->rows[gap] = s->rows[i];
    gap = i;
  }
  s->rows[gap].block = 0;
}

bool tm_live_remove(uintptr_t block, tm_agent_live *out) {
  shard *s = shard_of(tm_agent_hash((const void *)block));
  bool is_known = false;
  if (!block) return false;
  tm_spin_lock(&s->lock);
  if (count_of(s)) {
    uint32_t i = probe(s, block);
    is_known = s->rows[i].block != 0;
    if (is_known) {
      *out = s->rows[i];
      close_gap(s, i);
      set_count(s, count_of(s) - 1);
    }
  }
  tm_spin_unlock(&s->lock);
  return is_known;
}

void tm_live_reset(void) {
  for (uint32_t i = 0; i < TM_SHARDS; i++) {
    shard *s = &shards[i];
    tm_spin_lock(&s->lock);
    if (s->rows) tm_pages_drop(s->rows, s->capacity * sizeof *s->rows);
    atomic_fetch_sub_explicit(&table_bytes, s->capacity * sizeof *s->rows, memory_order_relaxed);
    s->rows = NULL;
    s->capacity = 0;
    set_count(s, 0);
    tm_spin_unlock(&s->lock);
  }
}

uint64_t tm_live_count(void) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < TM_SHARDS; i++) sum += count_of(&shards[i]);
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

// The lock is held for the time of copying one 64th of the rows.
uint32_t tm_live_copy(uint32_t number, tm_agent_live **rows, size_t *room) {
  shard *s = &shards[number];
  uint32_t count = 0;
  for (;;) {
    tm_spin_lock(&s->lock);
    size_t need = count_of(s);
    if (need <= *room) break;
    tm_spin_unlock(&s->lock);
    if (*rows) tm_pages_drop(*rows, *room * sizeof **rows);
    *room = need + need / 4 + 64;
    *rows = tm_pages_get(*room * sizeof **rows);
    if (!*rows) *room = 0;
    if (!*rows) return 0;
  }
  for (uint32_t i = 0; i < s->capacity; i++)
    if (s->rows[i].block) (*rows)[count++] = s->rows[i];
  tm_spin_unlock(&s->lock);
  return count;
}

void tm_live_lock_all(void) {
  for (uint32_t i = 0; i < TM_SHARDS; i++) tm_spin_lock(&shards[i].lock);
}

void tm_live_unlock_all(void) {
  for (uint32_t i = 0; i < TM_SHARDS; i++) tm_spin_unlock(&shards[i].lock);
}
