// Every stack once: rows are appended and never change, an index of their numbers is probed by the
// hash without a lock, and only a new stack takes one. Two stacks with the same 64-bit hash would
// be taken for one (one in 10^9 runs with a full table).
#include "agent_tables.h"

#include <string.h>

enum { INDEX_ROWS = TM_STACKS * 2 };

static tm_stack *stacks;
static uintptr_t *frames_of_all;
static _Atomic uint32_t *index_rows; // numbers; 0 = free
static _Atomic uint32_t stack_end;
static uint32_t frame_end;
tm_spin tm_stacks_lock;

bool tm_stacks_init(void) {
  if (stacks) return true;
  frames_of_all = tm_pages_get(TM_STACK_FRAMES * sizeof *frames_of_all);
  index_rows = tm_pages_get(INDEX_ROWS * sizeof *index_rows);
  stacks = tm_pages_get(TM_STACKS * sizeof *stacks); // touched as far as it fills
  atomic_store(&stack_end, 1);
  return stacks && frames_of_all && index_rows;
}

static uint64_t hash_of(const uintptr_t *frames, uint32_t count, uint32_t kind) {
  uint64_t hash = (uint64_t)kind << 32 | count;
  for (uint32_t i = 0; i < count; i++) {
    hash = (hash ^ frames[i]) * UINT64_C(0x9fb21c651e98df25);
    hash ^= hash >> 29;
  }
  return hash;
}

// The number at the hash, or 0 and the free place.
static uint32_t find(uint64_t hash, uint32_t *place) {
  for (uint32_t i = (uint32_t)(hash >> 20) & (INDEX_ROWS - 1);; i = (i + 1) & (INDEX_ROWS - 1)) {
    uint32_t number = atomic_load_explicit(&index_rows[i], memory_order_acquire);
    *place = i;
    if (number == 0 || stacks[number].hash == hash) return number;
  }
}

static uint32_t append(uint64_t hash, const uintptr_t *frames, uint32_t count, uint32_t kind) {
  uint32_t place, number;
  tm_spin_lock(&tm_stacks_lock);
  number = find(hash, &place);
  uint32_t end = atomic_load_explicit(&stack_end, memory_order_relaxed);
  if (number == 0 && end < TM_STACKS && frame_end + count <= TM_STACK_FRAMES) {
    stacks[end].hash = hash;
    stacks[end].first_frame = frame_end;
    stacks[end].kind_and_count = kind << 16 | count;
    memcpy(frames_of_all + frame_end, frames, count * sizeof *frames);
    frame_end += count;
    number = end;
    atomic_store_explicit(&stack_end, end + 1, memory_order_release);
    atomic_store_explicit(&index_rows[place], number, memory_order_release);
  }
  tm_spin_unlock(&tm_stacks_lock);
  return number;
}

uint32_t tm_stack_intern(const uintptr_t *frames, uint32_t count, uint32_t kind) {
  uint64_t hash = hash_of(frames, count, kind);
  uint32_t place, number = find(hash, &place);
  return number ? number : append(hash, frames, count, kind);
}

tm_stack *tm_stack_at(uint32_t number) {
  return &stacks[number];
}

const uintptr_t *tm_stack_frames(const tm_stack *stack) {
  return frames_of_all + stack->first_frame;
}

uint32_t tm_stack_number_end(void) {
  return atomic_load_explicit(&stack_end, memory_order_acquire);
}

// Numbers stay: a thread may hold one. Only what they counted is forgotten.
void tm_stacks_reset(void) {
  uint32_t end = tm_stack_number_end();
  for (uint32_t i = 0; i < end; i++) {
    atomic_store_explicit(&stacks[i].made_count, 0, memory_order_relaxed);
    atomic_store_explicit(&stacks[i].made_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&stacks[i].temporary_count, 0, memory_order_relaxed);
    atomic_store_explicit(&stacks[i].lived_ms, 0, memory_order_relaxed);
  }
}
