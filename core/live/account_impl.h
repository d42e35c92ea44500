// What the files of account_gather share.
#ifndef TM_LIVE_ACCOUNT_IMPL_H
#define TM_LIVE_ACCOUNT_IMPL_H

#include "base/vec.h"
#include "live/account_gather.h"
#include "platform/platform.h"

enum { TM_ACCOUNT_TEXT_MAX = 640 };

typedef struct tm_account_vmas {
  tm_account_vma *items;
  size_t count, room;
} tm_account_vmas;

typedef struct tm_account_ranges {
  tm_account_range *items;
  size_t count, room;
} tm_account_ranges;

// What a runtime tells.
typedef struct tm_account_answer {
  double told[TM_OWNER_COUNT]; // NAN = not told
  tm_account_ranges ranges;    // in any order
  const char *source;          // static
  char problem[TM_ACCOUNT_TEXT_MAX];
} tm_account_answer;

// Asks a Go program for its memory statistics: expvar, metrics, the heap profile's footer, in this
// order; *hint (0 at first) is the one that answered last and is asked first.
void tm_account_ask_go(tm_ctx *ctx, const tm_endpoint *endpoint, uint64_t timeout_ns,
                       uint32_t *hint, tm_account_answer *out);

// What texts of a HotSpot JVM say, each found by its own words: heap (GC.heap_info), code
// (Compiler.codecache), native (VM.native_memory summary scale=KB) add to *out; info (VM.info) to
// *places, which may be NULL with it. TM_E_NOMEM.
TM_NODISCARD tm_status tm_account_read_jvm(tm_ctx *ctx, const char *text, tm_account_answer *out,
                                           tm_account_ranges *places);

// Asks a JVM. The ranges that never move (class space, tables of the collector) are asked for once,
// by the dearest question, and kept in *places. gentle: not when the socket would have to be opened
// by a signal.
typedef struct tm_account_places {
  tm_account_ranges ranges;
  bool known;
} tm_account_places;
void tm_account_ask_jvm(tm_ctx *ctx, int64_t pid, uint64_t timeout_ns, bool gentle,
                        tm_account_places *places, tm_account_answer *out);

// Asks the malloc agent inside of a process, when there is one, how much is in use.
bool tm_account_ask_agent(tm_ctx *ctx, int64_t pid, uint64_t timeout_ns, tm_account_answer *out);

// Finds the mappings that malloc made for single large blocks by the heads of their chunks.
// *out_count chunks are added to ranges as TM_OWNER_C_HEAP.
TM_NODISCARD tm_status tm_account_find_chunks(tm_ctx *ctx, tm_proc *proc,
                                              const tm_account_vmas *vmas,
                                              tm_account_ranges *ranges, size_t *out_count);

#endif
