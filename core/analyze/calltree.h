// The call tree of a view: one node per distinct path of frames from the root, with what its
// samples weigh. Light branches can be folded into their parents while the tree grows, so that its
// size depends on what can be seen and not on the profile.
#ifndef TM_ANALYZE_CALLTREE_H
#define TM_ANALYZE_CALLTREE_H

#include "analyze/flatcum.h"

typedef struct tm_call_node {
  uint32_t parent; // always a smaller index; the root is its own
  uint32_t frame;  // node of the tm_flatcum; meaningless for the root
  uint32_t depth;  // 0 = the root
  int64_t flat, cum;
  int64_t base_flat, base_cum; // what the base had: already taken off in flat and cum
  uint64_t weight;             // sum of |value| of its samples: never more than the parent's
} tm_call_node;

typedef struct tm_calltree {
  tm_allocator alloc;
  TM_VEC(tm_call_node) nodes; // node 0 = the root: every sample
  bool is_difference;         // some value is negative or the base's
} tm_calltree;

typedef struct tm_calltree_limits {
  uint64_t parts;     // nodes below 1/parts of the root's weight are folded; 0 = none is
  uint32_t depth_max; // frames below this depth are folded; 0 = no limit
} tm_calltree_limits;

// Paths by the frames of names (tm_flatcum_names; inlined lines are frames). What is folded counts
// in the cum of the parent only: cum - flat - the children's cum is its sum. Sums wrap like the
// reports'. Free with tm_calltree_fini, also on failure.
TM_NODISCARD tm_status tm_calltree_init(tm_ctx *ctx, const tm_flatcum *names,
                                        tm_calltree_limits limits, tm_calltree *out);
void tm_calltree_fini(tm_calltree *tree);

#endif
