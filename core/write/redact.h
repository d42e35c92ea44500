// Heap dumps without their contents, so that they can be given away: the same objects, references,
// types, sizes and lengths, and none of the data. Formats: HPROF, V8 heap snapshots, Go heap dumps.
//
// Blanked: HPROF - elements of primitive arrays (which are the contents of strings, too), strings
// of the table of symbols that name no class, field, method, source file, thread or heap. V8 -
// texts of strings (scripts are strings, too) and sources of regular expressions. Go - every word
// that is no pointer, of objects, globals and stack frames.
// Kept: names of types, fields, functions and threads' ids; HPROF also single numbers in fields; V8
// also property names, even when a program uses data as such.
#ifndef TM_WRITE_REDACT_H
#define TM_WRITE_REDACT_H

#include "base/ctx.h"

typedef struct tm_redacted {
  const char *format;     // "hprof", "v8heap", "goheap"; static
  uint64_t blanked_bytes; // of contents (V8: characters; Go: with the pointers that stay)
  uint64_t blanked_count; // arrays, strings or objects
} tm_redacted;

// Takes bytes of the new dump; anything but TM_OK ends it with that status.
typedef tm_status (*tm_redact_fn)(void *ud, const void *data, size_t size);

// Rewrites the dump at data. What is damaged or ends early is refused (TM_E_FORMAT): half a
// redaction is none. TM_E_UNSUPPORTED it is no heap dump of these formats; TM_E_NOMEM,
// TM_E_CANCELLED, and what fn gives.
TM_NODISCARD tm_status tm_redact(tm_ctx *ctx, const void *data, size_t size, tm_redact_fn fn,
                                 void *ud, tm_redacted *out);

#endif
