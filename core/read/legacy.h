// What pprof's legacy forms share: addresses that become locations, the memory map behind them, the
// functions that every report leaves out. For readers only.
#ifndef TM_READ_LEGACY_H
#define TM_READ_LEGACY_H

#include "model/snapshot.h"
#include "read/lines.h"
#include "read/source.h"

typedef struct tm_legacy {
  tm_ctx *ctx;
  tm_profile *p;
  lines l;
  tm_frames frames;
  tm_idmap addresses; // -> location
} tm_legacy;

typedef enum tm_legacy_kind {
  TM_LEGACY_HEAP,
  TM_LEGACY_JEMALLOC,
  TM_LEGACY_LOCKS,
  TM_LEGACY_OTHER
} tm_legacy_kind;

// Runs form over a new profile, which out owns from then on; after a failure it is marked partial.
TM_NODISCARD tm_status tm_legacy_run(tm_ctx *ctx, const tm_source *src, tm_snapshot *out,
                                     tm_status (*form)(tm_legacy *));

// TM_E_FORMAT with the byte and the start of the line.
tm_status tm_legacy_bad_line(tm_legacy *lg, const char *what);

// The location of that address (made if new).
TM_NODISCARD tm_status tm_legacy_location(tm_legacy *lg, uint64_t address, uint32_t *out);

// Pushes the stack " 0x1 0x2 …". The first `exact` addresses stay as they are; the others are
// return addresses, and 1 is taken from them. TM_E_FORMAT for anything else in t.
TM_NODISCARD tm_status tm_legacy_stack(tm_legacy *lg, tm_text t, size_t exact);

// Adds count / 2 value types from pairs of type and unit.
TM_NODISCARD tm_status tm_legacy_types(tm_legacy *lg, const char *const *names, size_t count);
TM_NODISCARD tm_status tm_legacy_period(tm_legacy *lg, const char *type, const char *unit,
                                        int64_t period);

// Sets drop_frames and keep_frames to what reports leave out of this kind: the allocator's, the
// lock's or the profiler's own functions.
TM_NODISCARD tm_status tm_legacy_leave_out(tm_legacy *lg, tm_legacy_kind kind);

// What a sampled pair of objects and bytes stands for, when one byte in rate is sampled.
// TM_E_FORMAT when that does not fit.
// Source: a Poisson process takes an object of s bytes with probability 1 - exp(-s / rate).
TM_NODISCARD tm_status tm_legacy_unsample(tm_legacy *lg, int64_t *count, int64_t *size,
                                          int64_t rate);

// Orders locations by their first use and forgets the unused, whose frames were taken out. After it
// tm_legacy_location must not be called.
TM_NODISCARD tm_status tm_legacy_renumber(tm_legacy *lg);

// Takes the leaf's duplicate out of each stack: the signal's own address and the unwinder's,
// less 1.
void tm_legacy_drop_double_leaves(tm_profile *p);

bool tm_legacy_is_map_start(tm_text line);

// Reads the lines that follow as a memory map and gives every location its mapping. Unless
// `at_map`, skips to the map's headline first.
TM_NODISCARD tm_status tm_legacy_read_map(tm_legacy *lg, bool at_map);

#endif
