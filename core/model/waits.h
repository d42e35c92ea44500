// What the blocked goroutines of a Go heap dump wait for. Filled by a reader, used by the leak
// proof (analyze/goroutine_proof.h).
#ifndef TM_MODEL_WAITS_H
#define TM_MODEL_WAITS_H

#include "base/vec.h"

// A goroutine that only another goroutine can wake. Without targets nothing ever can: it waits on a
// nil channel or in select{}.
typedef struct tm_wait {
  uint32_t goroutine;                // index in graph->goroutines; its node exists
  uint32_t target_begin, target_end; // in targets: the channels, locks or conditions, any will do
  uint32_t hidden_begin, hidden_end; // in hidden
} tm_wait;

typedef struct tm_waits {
  TM_VEC(tm_wait) items;
  TM_VEC(uint32_t) targets;   // nodes
  TM_VEC(uint32_t) hidden;    // nodes of the runtime's own queues, whose edges count once it wakes
  TM_VEC(uint32_t) finalized; // nodes whose finalizer may use what they refer to
  // Whether the program has cleanups, which dumps do not show: they may hold any object that
  // nothing else leads to, but for those in starts (what a goroutine was started with).
  bool cleanups;
  TM_VEC(uint32_t) starts; // nodes, ascending
} tm_waits;                // zero-initialise

static inline void tm_waits_fini(tm_ctx *ctx, tm_waits *waits) {
  tm_vec_free(ctx, &waits->items);
  tm_vec_free(ctx, &waits->targets);
  tm_vec_free(ctx, &waits->hidden);
  tm_vec_free(ctx, &waits->finalized);
  tm_vec_free(ctx, &waits->starts);
}

#endif
