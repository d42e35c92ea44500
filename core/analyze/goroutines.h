// Goroutines by what they do and where they come from: the same keys from a trace, a goroutine dump
// and a goroutine profile, so that they can be joined.
#ifndef TM_ANALYZE_GOROUTINES_H
#define TM_ANALYZE_GOROUTINES_H

#include "model/profile.h"
#include "model/table.h"
#include "model/trace.h"

typedef struct tm_goroutines_options {
  bool stacks;      // a column `stack` ("function file:line" per line, leaf first), part of the key
  bool gone;        // also rows of piles of which none is alive (count 0)
  bool system;      // also the runtime's own ("runtime.…" but for runtime.main)
  size_t row_count; // 0 = all
  // Of a profile: only these samples, in this order, or NULL for all; and where to say in which row
  // each was counted (row_count must be 0), or NULL.
  const uint32_t *samples;
  size_t sample_count;
  uint32_t *row_of;
} tm_goroutines_options;

// Whether a goroutine with this first function is the runtime's own, or writes the trace.
bool tm_goroutine_is_system(const char *entry);

// The function with the `go` statement, of a creation stack of the trace; "" = not known.
const char *tm_goroutine_creator(const tm_trace *trace, uint32_t creation);

// Its state at the end, in the words of the tables below: why it waits, else running, runnable,
// syscall; "waiting" when neither the trace nor its stack says why, "" when nothing is known.
const char *tm_goroutine_state(const tm_trace *trace, const tm_goroutine *g);

// One row per (state, entry, site, creation), the most goroutines first. Columns: count (alive at
// the end), state (why it waits, else running, runnable, syscall), entry (its first function), site
// ("function file:line": where it stopped, the runtime's own frames left out), creation (function
// with the `go` statement), age_ns (the oldest: in that state since), created_count, ended_count
// (within the trace, of all with this entry and creation). "" = not known. Calls from C into Go
// (foreign goroutines) are only in the notes. Notes: alive, created, ended, foreign,
// system (of the runtime's own, left out unless asked for), unit.
// TM_E_NOMEM.
TM_NODISCARD tm_status tm_goroutines_of_trace(tm_ctx *ctx, const tm_trace *trace,
                                              const tm_goroutines_options *options, tm_table *out);

// The same of a dump (labels state, created_by) or a profile of goroutines (neither state nor
// creation is in it); created_count and ended_count are 0. Values of the first sample type.
TM_NODISCARD tm_status tm_goroutines_of_profile(tm_ctx *ctx, const tm_profile *profile,
                                                const tm_goroutines_options *options,
                                                tm_table *out);

#endif
