// Goroutines that can never run again: proven from one heap dump, without the program.
//
// A goroutine that waits for a channel, lock or condition can only go on when somebody else uses
// that. If nothing that can still run leads there, nobody ever will. Source: the rules of Go 1.26's
// goroutineleak profile (runtime/mgc.go, findMaybeRunnableGoroutines), applied to a dump.
#ifndef TM_ANALYZE_GOROUTINE_PROOF_H
#define TM_ANALYZE_GOROUTINE_PROOF_H

#include "model/code.h"
#include "model/graph.h"
#include "model/profile.h"
#include "model/table.h"
#include "model/waits.h"

// Functions and lines of the program that was dumped. frames is tm_binary_frames for an address of
// the process, behind which a call returns.
typedef struct tm_goroutine_code {
  void *ud;
  tm_status (*frames)(tm_ctx *ctx, void *ud, uint64_t pc, tm_code_frame *frames, uint32_t room,
                      uint32_t *out_count);
} tm_goroutine_code;

// The goroutines of a dump as a profile: one sample each, in the dump's order, with its stack and
// the labels goroutine, state, created_by (the function, or the address of the go statement where
// no code tells); values goroutine/count and wait/nanoseconds. code may be NULL: functions as the
// dump names them, without lines. The caller frees it.
TM_NODISCARD tm_status tm_goroutine_profile(tm_ctx *ctx, const tm_graph *graph,
                                            const tm_goroutine_code *code, tm_profile **out);

typedef struct tm_proof_options {
  bool stacks;      // a column `stack`, part of the key
  size_t row_count; // 0 = all
} tm_proof_options;

// One row per (state, entry, site, creation) of goroutines that are proven to be leaked, the most
// first. Columns: count, state, entry, site, creation, age_ns (of the oldest, at least; 0 = not
// known), retained_bytes (of heap objects that only goroutines of this row hold), stack_bytes,
// waits_on (type of what the first one waits for; "nothing" when nothing can wake it), goroutine
// (id of the first one), stack. profile is of tm_goroutine_profile, symbolized or not. Notes:
// goroutines, leaked, doubtful (a cleanup, or else nobody, could wake them: not in the table),
// examined (waits that were understood), retained_bytes (of all leaked ones), shared_bytes (held by
// several rows, part of that). O(nodes + edges). TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_goroutine_proof(tm_ctx *ctx, const tm_graph *graph, const tm_waits *waits,
                                          const tm_profile *profile,
                                          const tm_proof_options *options, tm_table *out);

#endif
