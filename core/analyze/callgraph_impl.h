// What the files of the call graph share; nobody else includes it.
#ifndef TM_ANALYZE_CALLGRAPH_IMPL_H
#define TM_ANALYZE_CALLGRAPH_IMPL_H

#include "analyze/callgraph.h"

// Fills the nodes and edges of a tree.
tm_status callgraph_tree(tm_ctx *ctx, tm_callgraph *g);

// The node of a frame called from caller (UINT32_MAX = none), or TM_IDMAP_NONE.
static inline uint32_t callgraph_tree_child(const tm_callgraph *g, uint32_t caller, uint32_t info) {
  return tm_idmap_get(&g->children, (uint64_t)(uint32_t)(caller + 1) << 32 | info);
}

// Takes the nodes with gone[node] out of a tree; their callees go to their callers.
void callgraph_tree_trim(tm_callgraph *g, const uint8_t *gone);

// Tags of the nodes with wanted[node], grouped by node; those below cutoff are left out.
tm_status callgraph_tags(tm_ctx *ctx, tm_callgraph *g, const char *unit, const uint8_t *wanted,
                         uint64_t cutoff);

static inline uint64_t callgraph_size(int64_t v) {
  return v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
}
static inline void callgraph_add(int64_t *sum, int64_t value) {
  *sum = (int64_t)((uint64_t)*sum + (uint64_t)value); // wraps, as the reference's sums do
}

#endif
