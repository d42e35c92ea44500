// Bump allocator with a byte cap: a snapshot's millions of pieces die in one call. Not thread-safe.
#ifndef TM_BASE_ARENA_H
#define TM_BASE_ARENA_H

#include "base/attr.h"

#include <stddef.h>
#include <stdint.h>

// Memory from the host. realloc_fn(ud, p, old, n): n = 0 frees; NULL = out of memory.
typedef struct tm_allocator {
  void *(*realloc_fn)(void *ud, void *p, size_t old_size, size_t size);
  void *ud;
} tm_allocator;

extern const tm_allocator tm_allocator_malloc;

typedef struct tm_arena_block tm_arena_block;

typedef struct tm_arena {
  tm_allocator alloc;
  tm_arena_block *blocks; // newest first
  uint8_t *next, *end;    // free part of the newest block
  uint64_t used_bytes;    // handed out, with alignment
  uint64_t held_bytes;    // taken from the allocator
  uint64_t cap_bytes;     // held_bytes never exceeds it; 0 = no cap
} tm_arena;

typedef struct tm_arena_mark {
  tm_arena_block *block;
  uint8_t *next;
  uint64_t used_bytes;
} tm_arena_mark;

// Your storage; the first block comes with the first allocation.
void tm_arena_init(tm_arena *arena, const tm_allocator *alloc, uint64_t cap_bytes);
void tm_arena_fini(tm_arena *arena);

// 16-byte aligned memory, not zeroed; NULL when the cap or the allocator says no.
void *tm_arena_alloc(tm_arena *arena, size_t size);

// Zeroed; NULL also when count * size overflows.
void *tm_arena_calloc(tm_arena *arena, size_t count, size_t size);

// A NUL-terminated copy of length bytes; NULL as above.
char *tm_arena_strndup(tm_arena *arena, const char *text, size_t length);

// Everything allocated after the mark is forgotten; its memory is kept for the next work.
tm_arena_mark tm_arena_save(const tm_arena *arena);
void tm_arena_rewind(tm_arena *arena, tm_arena_mark mark);

#endif
