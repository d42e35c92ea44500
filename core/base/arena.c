// Bump allocator: blocks grow geometrically from 16 KiB to 16 MiB; one allocation is an add and a
// compare. Freed blocks of a rewind go back to the allocator at once. Under ASan the free part of a
// block is poisoned, so that use after rewind is seen.
#include "base/arena.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n)   ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 16, FIRST_BLOCK = 16 * 1024, LAST_BLOCK = 16 * 1024 * 1024 };

struct tm_arena_block {
  tm_arena_block *older;
  size_t size; // with this header
};

static void *malloc_realloc(void *ud, void *p, size_t old_size, size_t size) {
  (void)ud;
  (void)old_size;
  if (size == 0) {
    free(p);
    return NULL;
  }
  return realloc(p, size);
}

const tm_allocator tm_allocator_malloc = {malloc_realloc, NULL};

void tm_arena_init(tm_arena *arena, const tm_allocator *alloc, uint64_t cap_bytes) {
  *arena = (tm_arena){.alloc = alloc ? *alloc : tm_allocator_malloc, .cap_bytes = cap_bytes};
}

static void drop_newest(tm_arena *arena) {
  tm_arena_block *block = arena->blocks;
  size_t size = block->size;
  arena->blocks = block->older;
  arena->held_bytes -= size;
  UNPOISON(block, size);
  arena->alloc.realloc_fn(arena->alloc.ud, block, size, 0);
}

void tm_arena_fini(tm_arena *arena) {
  while (arena->blocks) drop_newest(arena);
  arena->next = arena->end = NULL;
  arena->used_bytes = 0;
}

static bool grow(tm_arena *arena, size_t need) {
  size_t header = (sizeof(tm_arena_block) + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  size_t size = arena->blocks ? arena->blocks->size * 2 : FIRST_BLOCK;
  if (size > LAST_BLOCK) size = LAST_BLOCK;
  if (need > SIZE_MAX - header) return false;
  if (size < need + header) size = need + header;
  if (arena->cap_bytes && (size > arena->cap_bytes || arena->held_bytes > arena->cap_bytes - size))
    return false;
  tm_arena_block *block = arena->alloc.realloc_fn(arena->alloc.ud, NULL, 0, size);
  if (!block) return false;
  block->older = arena->blocks;
  block->size = size;
  arena->blocks = block;
  arena->held_bytes += size;
  arena->next = (uint8_t *)block + header;
  arena->end = (uint8_t *)block + size;
  POISON(arena->next, (size_t)(arena->end - arena->next));
  return true;
}

void *tm_arena_alloc(tm_arena *arena, size_t size) {
  if (size > SIZE_MAX - ALIGN) return NULL;
  size_t need = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
  if (need == 0) need = ALIGN;
  if ((size_t)(arena->end - arena->next) < need && !grow(arena, need)) return NULL;
  void *p = arena->next;
  arena->next += need;
  arena->used_bytes += need;
  UNPOISON(p, size);
  return p;
}

void *tm_arena_calloc(tm_arena *arena, size_t count, size_t size) {
  if (size && count > SIZE_MAX / size) return NULL;
  void *p = tm_arena_alloc(arena, count * size);
  if (p) memset(p, 0, count * size);
  return p;
}

char *tm_arena_strndup(tm_arena *arena, const char *text, size_t length) {
  if (length == SIZE_MAX) return NULL;
  char *copy = tm_arena_alloc(arena, length + 1);
  if (!copy) return NULL;
  memcpy(copy, text, length);
  copy[length] = '\0';
  return copy;
}

tm_arena_mark tm_arena_save(const tm_arena *arena) {
  return (tm_arena_mark){arena->blocks, arena->next, arena->used_bytes};
}

void tm_arena_rewind(tm_arena *arena, tm_arena_mark mark) {
  while (arena->blocks != mark.block) drop_newest(arena);
  arena->next = mark.next;
  arena->end = arena->blocks ? (uint8_t *)arena->blocks + arena->blocks->size : NULL;
  arena->used_bytes = mark.used_bytes;
  if (arena->next) POISON(arena->next, (size_t)(arena->end - arena->next));
}
