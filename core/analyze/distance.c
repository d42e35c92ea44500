// A breadth-first walk from all roots at once over an array that is its own queue: each node enters
// once. O(nodes + edges), 4 bytes a node.
#include "analyze/distance.h"

enum { TICK = 1 << 16 };

static tm_status walk(tm_ctx *ctx, const tm_graph *g, int32_t *out, uint32_t *queue) {
  uint32_t first = 0, last = 0;
  for (size_t i = 0; i < g->roots.count; i++) {
    uint32_t node = g->roots.items[i].node;
    if (out[node] != TM_DISTANCE_NONE) continue;
    out[node] = 0;
    queue[last++] = node;
  }
  while (first < last) {
    uint32_t node = queue[first++];
    for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (out[to] != TM_DISTANCE_NONE) continue;
      if (tm_graph_strength(g, node, e) > TM_STRENGTH_SOFT) continue;
      out[to] = out[node] + 1;
      queue[last++] = to;
    }
    if (first % TICK == 0) TM_TRY(tm_ctx_tick(ctx, first));
  }
  return TM_OK;
}

tm_status tm_distance(tm_ctx *ctx, const tm_graph *g, int32_t *out) {
  for (uint32_t n = 0; n < g->node_count; n++) out[n] = TM_DISTANCE_NONE;
  size_t room = ((size_t)g->node_count + 1) * sizeof(uint32_t);
  uint32_t *queue = tm_alloc(ctx, room);
  if (!queue) return TM_E_NOMEM;
  tm_status status = g->detail && g->detail->distances ? g->detail->distances(ctx, g, out, queue)
                                                       : walk(ctx, g, out, queue);
  tm_free(ctx, queue, room);
  return status;
}
