// The allocator's functions as the program sees them: each calls the one it replaces and then, for
// one block in some 512 KiB, the recorder. The exported names are aliases of functions with names
// of our own, because a name like malloc means somebody else's when this library came by dlopen.
#include "agent_hooks.h"

#include "agent_impl.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

// The frame from which the unwinder starts: the hook's own, so that the hook's caller is the first
// frame that is seen.
#define HERE __builtin_frame_address(0)

static inline void *made(void *block, size_t bytes, const void *frame) {
  if (block && tm_agent_is_due(bytes)) tm_agent_record(block, bytes, frame);
  return block;
}

static inline void gone(void *block) {
  if (tm_agent_is_watched(block)) tm_agent_forget(block, NULL);
}

// ---- allocating ----

static void *hook_malloc(size_t bytes) {
  return made(tm_next.malloc(bytes), bytes, HERE);
}

static void *hook_calloc(size_t count, size_t bytes) {
  return made(tm_next.calloc(count, bytes), count * bytes, HERE); // made: so it did not overflow
}

static void *hook_memalign(size_t alignment, size_t bytes) {
  return made(tm_next.memalign(alignment, bytes), bytes, HERE);
}

static void *hook_aligned_alloc(size_t alignment, size_t bytes) {
  return made(tm_next.aligned_alloc(alignment, bytes), bytes, HERE);
}

static int hook_posix_memalign(void **out, size_t alignment, size_t bytes) {
  int problem = tm_next.posix_memalign(out, alignment, bytes);
  if (!problem) made(*out, bytes, HERE);
  return problem;
}

static void *hook_valloc(size_t bytes) {
  return made(tm_next.valloc(bytes), bytes, HERE);
}

static void *hook_pvalloc(size_t bytes) {
  return made(tm_next.pvalloc(bytes), bytes, HERE);
}

// ---- changing ----

// A block that moved may be somebody else's as soon as realloc returns: it is taken out before.
static void *resize(void *block, size_t bytes, const void *frame) {
  tm_agent_live known;
  bool is_known = block && tm_agent_is_watched(block) && tm_agent_forget(block, &known);
  void *moved = tm_next.realloc(block, bytes);
  if (!moved && bytes > 0 && is_known) tm_agent_put_back(&known); // it failed: the block lives on
  return made(moved, bytes, frame);
}

static void *out_of_early(const void *block, size_t bytes) {
  void *moved = tm_next.malloc(bytes);
  size_t old = tm_early_size(block);
  if (moved) memcpy(moved, block, old < bytes ? old : bytes);
  return moved;
}

static void *hook_realloc(void *block, size_t bytes) {
  if (TM_UNLIKELY(tm_early_owns(block))) return out_of_early(block, bytes);
  return resize(block, bytes, HERE);
}

static void *hook_reallocarray(void *block, size_t count, size_t bytes) {
  size_t total;
  if (__builtin_mul_overflow(count, bytes, &total)) {
    errno = ENOMEM;
    return NULL;
  }
  if (TM_UNLIKELY(tm_early_owns(block))) return out_of_early(block, total);
  return resize(block, total, HERE);
}

// ---- freeing ----

static void hook_free(void *block) {
  gone(block);
  if (TM_UNLIKELY(tm_early_owns(block))) return;
  tm_next.free(block);
}

static void hook_cfree(void *block) {
  gone(block);
  if (tm_early_owns(block)) return;
  (tm_next.cfree ? tm_next.cfree : tm_next.free)(block);
}

static void hook_free_sized(void *block, size_t bytes) {
  gone(block);
  if (tm_early_owns(block)) return;
  if (tm_next.free_sized)
    tm_next.free_sized(block, bytes);
  else
    tm_next.free(block);
}

static void hook_free_aligned_sized(void *block, size_t alignment, size_t bytes) {
  gone(block);
  if (tm_early_owns(block)) return;
  if (tm_next.free_aligned_sized)
    tm_next.free_aligned_sized(block, alignment, bytes);
  else
    tm_next.free(block);
}

static size_t hook_malloc_usable_size(void *block) {
  if (TM_UNLIKELY(tm_early_owns(block))) return tm_early_size(block);
  return tm_next.malloc_usable_size(block);
}

// ---- before the allocator is known ----

static void *first_malloc(size_t bytes) {
  tm_agent_resolve();
  if (tm_next.malloc == first_malloc) return tm_early_alloc(bytes, 16); // dlsym itself asks
  return tm_next.malloc(bytes);
}

static void first_free(void *block) {
  tm_agent_resolve();
  if (tm_next.free != first_free) tm_next.free(block);
}

static void *first_calloc(size_t count, size_t bytes) {
  size_t total;
  tm_agent_resolve();
  if (tm_next.calloc != first_calloc) return tm_next.calloc(count, bytes);
  return __builtin_mul_overflow(count, bytes, &total) ? NULL : tm_early_alloc(total, 16);
}

static void *first_realloc(void *block, size_t bytes) {
  tm_agent_resolve();
  if (tm_next.realloc != first_realloc) return tm_next.realloc(block, bytes);
  return block ? NULL : tm_early_alloc(bytes, 16);
}

static void *first_memalign(size_t alignment, size_t bytes) {
  tm_agent_resolve();
  if (tm_next.memalign != first_memalign) return tm_next.memalign(alignment, bytes);
  return tm_early_alloc(bytes, alignment);
}

static void *first_aligned_alloc(size_t alignment, size_t bytes) {
  tm_agent_resolve();
  if (tm_next.aligned_alloc != first_aligned_alloc) return tm_next.aligned_alloc(alignment, bytes);
  return tm_early_alloc(bytes, alignment);
}

static int first_posix_memalign(void **out, size_t alignment, size_t bytes) {
  tm_agent_resolve();
  if (tm_next.posix_memalign != first_posix_memalign)
    return tm_next.posix_memalign(out, alignment, bytes);
  *out = tm_early_alloc(bytes, alignment);
  return *out ? 0 : ENOMEM;
}

static void *first_valloc(size_t bytes) {
  return first_memalign(4096, bytes);
}

static size_t first_usable_size(void *block) {
  tm_agent_resolve();
  return tm_next.malloc_usable_size == first_usable_size ? 0 : tm_next.malloc_usable_size(block);
}

tm_agent_next tm_next = {.malloc = first_malloc,
                         .free = first_free,
                         .calloc = first_calloc,
                         .realloc = first_realloc,
                         .memalign = first_memalign,
                         .aligned_alloc = first_aligned_alloc,
                         .posix_memalign = first_posix_memalign,
                         .valloc = first_valloc,
                         .pvalloc = first_valloc,
                         .malloc_usable_size = first_usable_size};

// ---- the names ----

#define HOOK(name)                                                                                 \
  { #name, (void (*)(void))hook_##name, &tm_next.name }
#define MAPPING(name)                                                                              \
  { #name, (void (*)(void))tm_hook_##name, &tm_next.name }
#define ALIAS(name) TM_EXPORT __attribute__((alias("hook_" #name)))

const tm_agent_hook tm_agent_hooks[] = {
    HOOK(malloc),         HOOK(free),
    HOOK(calloc),         HOOK(realloc),
    HOOK(reallocarray),   HOOK(memalign),
    HOOK(valloc),         HOOK(aligned_alloc),
    HOOK(posix_memalign), HOOK(pvalloc),
    HOOK(cfree),          HOOK(malloc_usable_size),
    HOOK(free_sized),     HOOK(free_aligned_sized),
    MAPPING(mmap),        {"mmap64", (void (*)(void))tm_hook_mmap, &tm_next.mmap},
    MAPPING(munmap),      MAPPING(mremap),
    MAPPING(dlclose),     {0},
};

ALIAS(malloc) void *malloc(size_t bytes);
ALIAS(free) void free(void *block);
ALIAS(calloc) void *calloc(size_t count, size_t bytes);
ALIAS(realloc) void *realloc(void *block, size_t bytes);
ALIAS(reallocarray) void *reallocarray(void *block, size_t count, size_t bytes);
ALIAS(memalign) void *memalign(size_t alignment, size_t bytes);
ALIAS(aligned_alloc) void *aligned_alloc(size_t alignment, size_t bytes);
ALIAS(posix_memalign) int posix_memalign(void **out, size_t alignment, size_t bytes);
ALIAS(valloc) void *valloc(size_t bytes);
ALIAS(pvalloc) void *pvalloc(size_t bytes);
ALIAS(malloc_usable_size) size_t malloc_usable_size(void *block);
ALIAS(cfree) void cfree(void *block);
ALIAS(free_sized) void free_sized(void *block, size_t bytes);
ALIAS(free_aligned_sized) void free_aligned_sized(void *block, size_t alignment, size_t bytes);
