// tm_ctx is to the core what lua_State is to Lua: the first argument of everything that can fail.
// It holds the last error, the allocator, scratch memory, cancel, progress and the caps. One ctx
// belongs to one thread.
#ifndef TM_BASE_CTX_H
#define TM_BASE_CTX_H

#include "base/arena.h"
#include "base/attr.h"
#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TM_NO_OFFSET UINT64_MAX // an error that has no place in a file

typedef struct tm_error {
  tm_status status;      // TM_OK while nothing failed
  uint64_t offset_bytes; // where in the input, or TM_NO_OFFSET
  char message[480];     // what and where; frames of tm_fail_in stand in front
} tm_error;

// done and total in the unit of the work (mostly bytes); total 0 = not known.
typedef void (*tm_progress_fn)(void *ud, uint64_t done, uint64_t total);

typedef struct tm_ctx {
  tm_error error;
  tm_allocator alloc;  // malloc unless the host gave its own
  tm_arena scratch;    // temporary memory: mark, work, rewind
  atomic_bool *cancel; // set by anybody to stop long work; NULL = cannot be cancelled
  tm_progress_fn progress;
  void *progress_ud;
  uint64_t total;            // what progress counts towards; 0 = unknown
  uint64_t max_output_bytes; // cap for what one input may inflate to; 0 = 16 GiB
  uint32_t part;             // which of several dumps in one input is read, from 1; 0 = the first
} tm_ctx;

// Makes a ctx in the caller's storage. alloc NULL = malloc. tm_ctx_fini frees its scratch memory.
void tm_ctx_init(tm_ctx *ctx, const tm_allocator *alloc);
void tm_ctx_fini(tm_ctx *ctx);

// Forgets the last error.
void tm_ctx_clear(tm_ctx *ctx);

// Records an error and returns its status; the first error wins until tm_ctx_clear. Never
// allocates. The message says what, where and what to do; offset_bytes is the place in the input.
tm_status tm_fail(tm_ctx *ctx, tm_status status, uint64_t offset_bytes, const char *fmt, ...)
    TM_PRINTF(4, 5);

// The same for an errno value: the status is chosen from it, its text is appended.
tm_status tm_fail_errno(tm_ctx *ctx, int sys_errno, const char *fmt, ...) TM_PRINTF(3, 4);

// Puts a frame ("reading app.hprof") in front of the recorded error; returns its status.
tm_status tm_fail_in(tm_ctx *ctx, const char *fmt, ...) TM_PRINTF(2, 3);

// Called by long loops every ~64 Ki items: reports progress, answers TM_E_CANCELLED when cancelled.
TM_NODISCARD tm_status tm_ctx_tick(tm_ctx *ctx, uint64_t done);

// Returns from the caller when the call did not give TM_OK.
#define TM_TRY(call)                                                                               \
  do {                                                                                             \
    tm_status tm_try_status = (call);                                                              \
    if (TM_UNLIKELY(tm_try_status != TM_OK)) return tm_try_status;                                 \
  } while (0)

// Memory through the ctx's allocator. NULL and TM_E_NOMEM recorded on failure; tm_free(NULL) is
// fine.
void *tm_alloc(tm_ctx *ctx, size_t size);
void *tm_calloc(tm_ctx *ctx, size_t count, size_t size);
void *tm_realloc(tm_ctx *ctx, void *p, size_t old_size, size_t size);
void tm_free(tm_ctx *ctx, void *p, size_t size);

#endif
