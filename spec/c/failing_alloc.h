// An allocator that counts what is held and says no from the n-th request on, or just once.
#ifndef TM_SPEC_FAILING_ALLOC_H
#define TM_SPEC_FAILING_ALLOC_H

#include "base/ctx.h"

#include <stdlib.h>

typedef struct failing_alloc {
  int64_t held_bytes;
  uint64_t requests, fail_at; // fail_at 0 = never
  bool once;                  // only that request fails
} failing_alloc;

static void *failing_realloc(void *ud, void *p, size_t old_size, size_t size) {
  failing_alloc *f = ud;
  if (!size) {
    f->held_bytes -= (int64_t)old_size;
    free(p);
    return NULL;
  }
  f->requests++;
  if (f->fail_at && (f->once ? f->requests == f->fail_at : f->requests >= f->fail_at)) return NULL;
  void *q = realloc(p, size);
  if (q) f->held_bytes += (int64_t)size - (int64_t)old_size;
  return q;
}

static inline tm_allocator failing_allocator(failing_alloc *f) {
  return (tm_allocator){failing_realloc, f};
}

#endif
