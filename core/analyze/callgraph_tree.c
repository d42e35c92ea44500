// A call tree: one node per path of frames from the root, found by a hash of (caller, frame).
// Callers come before their callees in the array, so taking nodes out is one pass. Cost: one
// look-up per frame of every stack.
#include "analyze/callgraph_impl.h"

static tm_status add_child(tm_ctx *ctx, tm_callgraph *g, uint32_t caller, uint32_t info,
                           uint32_t *out) {
  *out = (uint32_t)g->nodes.count;
  if (g->nodes.count >= UINT32_MAX - 1)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "the call tree has too many nodes: focus it");
  tm_callgraph_node n = {.info = info};
  TM_TRY(tm_vec_push(ctx, &g->nodes, n));
  if (caller != UINT32_MAX) {
    tm_callgraph_edge e = {.from = caller, .to = *out, .is_inline = true};
    TM_TRY(tm_vec_push(ctx, &g->edges, e));
  }
  return tm_idmap_put(ctx, &g->children, (uint64_t)(uint32_t)(caller + 1) << 32 | info, *out);
}

// A node's in_count tells here whether some call of it was a real one.
static tm_status add_stack(tm_ctx *ctx, tm_callgraph *g, uint32_t s, int64_t w, int64_t d) {
  const tm_view *v = g->v;
  const tm_flatcum *f = g->f;
  uint32_t caller = UINT32_MAX;
  for (uint32_t i = v->end[s]; i > v->begin[s]; i--) {
    uint32_t loc = v->stack[i - 1], last = f->frame_begin[loc + 1];
    for (uint32_t k = last; k > f->frame_begin[loc]; k--) {
      uint32_t info = f->frames.items[k - 1], node = callgraph_tree_child(g, caller, info);
      if (node == TM_IDMAP_NONE) TM_TRY(add_child(ctx, g, caller, info, &node));
      tm_callgraph_node *n = &g->nodes.items[node];
      callgraph_add(&n->cum, w);
      callgraph_add(&n->cum_divisor, d);
      n->in_count |= k == last;
      caller = node;
    }
  }
  if (caller == UINT32_MAX) return TM_OK;
  callgraph_add(&g->nodes.items[caller].flat, w);
  callgraph_add(&g->nodes.items[caller].flat_divisor, d);
  return TM_OK;
}

tm_status callgraph_tree(tm_ctx *ctx, tm_callgraph *g) {
  const tm_view *v = g->v;
  for (uint32_t s = 0; s < v->sample_count; s++) {
    int64_t w = tm_view_value(v, v->samples[s]), d = tm_view_divisor(v, v->samples[s]);
    if (w || d) TM_TRY(add_stack(ctx, g, s, w, d));
    if ((s & 0xffff) == 0xffff) TM_TRY(tm_ctx_tick(ctx, s));
  }
  for (size_t i = 0; i < g->edges.count; i++) {
    tm_callgraph_edge *e = &g->edges.items[i];
    const tm_callgraph_node *n = &g->nodes.items[e->to];
    e->weight = n->cum;
    e->weight_divisor = n->cum_divisor;
    e->is_inline = !n->in_count;
  }
  return TM_OK;
}

// Edges stand in the order of the nodes they lead to, so an edge's caller has its final edge when
// it is asked. in_edges of a tree: at most one per node.
void callgraph_tree_trim(tm_callgraph *g, const uint8_t *gone) {
  for (size_t i = 0; i < g->edges.count; i++) {
    tm_callgraph_edge *e = &g->edges.items[i];
    if (e->dead || !gone[e->from]) continue;
    uint32_t at = g->in_begin[e->from];
    const tm_callgraph_edge *above =
        at < g->in_begin[e->from + 1] ? &g->edges.items[g->in_edges[at]] : NULL;
    if (!above || above->dead) {
      e->dead = true;
      continue;
    }
    e->from = above->from;
    e->residual = true;
    e->is_inline &= above->is_inline;
  }
  for (size_t i = 0; i < g->edges.count; i++)
    if (gone[g->edges.items[i].to]) g->edges.items[i].dead = true;
}
