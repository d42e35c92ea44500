// Private to redact*.c: bytes out through a buffer, and one rewriter for each format.
#ifndef TM_WRITE_REDACT_IMPL_H
#define TM_WRITE_REDACT_IMPL_H

#include "base/idmap.h"
#include "write/redact.h"

enum { REDACT_BUFFER_BYTES = 1 << 16 };

typedef struct redactor {
  tm_ctx *ctx;
  const uint8_t *data;
  size_t size;
  size_t copied; // of data: everything before was given out or replaced
  tm_redact_fn fn;
  void *ud;
  tm_redacted *out;
  size_t filled;
  uint64_t ticks;
  tm_idmap names; // HPROF: ids of strings that name something
  uint8_t buffer[REDACT_BUFFER_BYTES];
} redactor;

// Gives out what stands unchanged between the last replacement and `to`.
tm_status redact_copy(redactor *r, size_t to);

// Gives out `count` times `byte` instead of `size` bytes of data, from `at` on.
tm_status redact_blank(redactor *r, size_t at, size_t size, size_t count, uint8_t byte);

// Gives out bytes that replace nothing.
tm_status redact_put(redactor *r, const void *bytes, size_t size);

tm_status redact_bad(redactor *r, uint64_t at, const char *what);

// Called for each record: progress and cancel.
tm_status redact_tick(redactor *r, uint64_t at);

tm_status redact_hprof(redactor *r);
tm_status redact_v8(redactor *r);
tm_status redact_go(redactor *r);

#endif
