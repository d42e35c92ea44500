// From the arrays of a V8 heap snapshot to a graph: roots, and which edges hold their end. Weak
// edges do not, nor shortcuts that are not the root's, nor the table's half of a WeakMap entry, nor
// edges that lead from the engine into a page: DevTools' rules. Source: HeapSnapshot.ts of the
// DevTools front-end.
#include "read/v8heap_impl.h"

#include <string.h>

// ---- edges ----

enum { PAGE = 1 };

static bool is_document_trees(const v8heap *h, uint32_t node) {
  return v8heap_kind(h, node) == T_SYNTHETIC && v8heap_is_user_root(h, node);
}

// Marks what belongs to pages: all that windows (shortcuts of the root) and document trees reach.
static void mark_pages(v8heap *h, uint8_t *mark, uint32_t *stack) {
  const tm_graph *g = h->graph;
  size_t n = 0;
  for (uint32_t e = g->edge_begin[0]; g->node_count && e < g->edge_begin[1]; e++) {
    uint8_t kind = h->edge_type.items[e];
    uint32_t to = g->edge_to[e];
    if (kind != X_SHORTCUT && !(kind == X_ELEMENT && is_document_trees(h, to))) continue;
    if (!(mark[to] & PAGE)) stack[n++] = to;
    mark[to] |= PAGE;
  }
  while (n) {
    uint32_t v = stack[--n];
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (mark[to] & PAGE || h->edge_type.items[e] == X_WEAK) continue;
      mark[to] |= PAGE;
      stack[n++] = to;
    }
  }
}

// DevTools' "essential" edges are strong, all others weak.
static bool retains(const v8heap *h, const uint8_t *mark, uint32_t from, uint32_t e) {
  uint32_t to = h->graph->edge_to[e];
  uint8_t kind = h->edge_type.items[e];
  if (kind == X_WEAK || from == to) return false;
  if (from != 0) {
    if (kind == X_SHORTCUT) return false;
    if (mark[to] & PAGE && !(mark[from] & PAGE)) return false;
  }
  if (kind != X_INTERNAL) return true;
  const v8heap_pair *pair = v8heap_pair_of(h, h->edge_name.items[e]);
  return !pair || pair->table != h->id.items[from];
}

static tm_status weigh_edges(v8heap *h, uint8_t *mark, uint32_t *stack) {
  tm_graph *g = h->graph;
  mark_pages(h, mark, stack);
  for (uint32_t n = 0; n < g->node_count; n++) {
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
      g->edge_kind[e] = retains(h, mark, n, e) ? TM_STRENGTH_STRONG : TM_STRENGTH_WEAK;
    if (n % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, h->size));
  }
  return TM_OK;
}

// ---- roots ----

static void reach(const tm_graph *g, uint32_t from, uint8_t *seen, uint32_t *stack) {
  size_t n = 0;
  if (seen[from]) return;
  seen[from] = 1;
  stack[n++] = from;
  while (n) {
    uint32_t v = stack[--n];
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (seen[to] || g->edge_kind[e] != TM_STRENGTH_STRONG) continue;
      seen[to] = 1;
      stack[n++] = to;
    }
  }
}

static tm_status add_root(v8heap *h, uint32_t node, tm_root_kind kind) {
  tm_root root = {.node = node, .thread = TM_NODE_NONE, .kind = (uint8_t)kind};
  return tm_vec_push(h->ctx, &h->graph->roots, root);
}

// The dump's own root first. Whatever it does not reach is in the dump all the same: nodes that
// only weak edges lead to become roots too. What is left hangs on circles that nothing holds: each
// node of them is a root that holds nothing, as in DevTools, so that all is counted.
static tm_status find_roots(v8heap *h, uint8_t *seen, uint32_t *stack) {
  tm_graph *g = h->graph;
  enum { REACHED = 1, HELD = 2 };
  memset(seen, 0, g->node_count);
  TM_TRY(add_root(h, 0, TM_ROOT_VM));
  reach(g, 0, seen, stack);
  if (!memchr(seen, 0, g->node_count)) return TM_OK;
  for (uint32_t n = 0; n < g->node_count; n++)
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
      if (g->edge_kind[e] == TM_STRENGTH_STRONG && !seen[g->edge_to[e]]) seen[g->edge_to[e]] = HELD;
  for (uint32_t n = 1; n < g->node_count; n++)
    if (!seen[n]) TM_TRY(add_root(h, n, TM_ROOT_OTHER));
  for (uint32_t n = 0; n < g->node_count; n++)
    if (seen[n] == HELD) seen[n] = 0;
  for (size_t i = 1; i < g->roots.count; i++) reach(g, g->roots.items[i].node, seen, stack);
  for (uint32_t n = 1; n < g->node_count; n++) {
    if (seen[n]) continue;
    TM_TRY(add_root(h, n, TM_ROOT_OTHER));
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
      g->edge_kind[e] = TM_STRENGTH_WEAK;
  }
  return TM_OK;
}

// ---- the graph ----

static tm_status make_columns(v8heap *h) {
  tm_graph *g = h->graph;
  uint64_t sum = 0;
  TM_TRY(tm_graph_alloc_nodes(h->ctx, g, (uint32_t)h->type.count));
  for (uint32_t n = 0; n < g->node_count; n++) {
    sum += h->edge_count.items[n]; // read_all saw to it that they are there
    g->edge_begin[n + 1] = (uint32_t)sum;
  }
  tm_vec_free(h->ctx, &h->edge_count);
  g->edge_count = (uint32_t)sum;
  g->edge_kind = tm_calloc(h->ctx, (size_t)sum + !sum, 1);
  g->edge_to = tm_realloc(h->ctx, h->to.items, h->to.room * sizeof *g->edge_to,
                          ((size_t)sum + !sum) * sizeof *g->edge_to);
  if (!g->edge_to) return TM_E_NOMEM;
  h->to.items = NULL; // the graph's now
  h->to.room = 0;
  return g->edge_kind ? TM_OK : TM_E_NOMEM;
}

static tm_status weigh(v8heap *h) {
  size_t n = (size_t)h->graph->node_count + 1;
  uint8_t *mark = tm_calloc(h->ctx, n, 1);
  uint32_t *stack = tm_alloc(h->ctx, n * sizeof *stack);
  tm_status status = mark && stack ? weigh_edges(h, mark, stack) : TM_E_NOMEM;
  if (status == TM_OK) status = find_roots(h, mark, stack);
  tm_free(h->ctx, mark, n);
  tm_free(h->ctx, stack, n * sizeof *stack);
  return status;
}

tm_status v8heap_make_graph(v8heap *h) {
  TM_TRY(make_columns(h));
  TM_TRY(v8heap_spread_detached(h));
  TM_TRY(weigh(h));
  TM_TRY(v8heap_set_sizes(h));
  TM_TRY(v8heap_name_types(h));
  return v8heap_name_scripts(h);
}
