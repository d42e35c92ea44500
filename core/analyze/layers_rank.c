// Ranks: edges that close a cycle are turned round (found by a depth-first walk with its own
// stack), then every node goes one below its lowest caller, and those that are closer to their
// callees move down to them. Cost: linear.
#include "analyze/layers_impl.h"

typedef struct walk {
  uint32_t *begin, *edges;  // by the node they leave
  uint32_t *stack, *cursor; // the path; per node: next edge to take
  uint8_t *state;           // 0 new, 1 on the path, 2 done
  uint32_t *topological;    // filled from the end
  uint32_t left;
} walk;

static uint32_t upper_end(const tm_layer_edge *e) {
  return e->upwards ? e->to : e->from;
}
static uint32_t lower_end(const tm_layer_edge *e) {
  return e->upwards ? e->from : e->to;
}

static void walk_from(tm_layers *g, walk *k, uint32_t root) {
  uint32_t depth = 0;
  k->stack[depth++] = root;
  k->state[root] = 1;
  while (depth) {
    uint32_t node = k->stack[depth - 1];
    if (k->cursor[node] == k->begin[node + 1]) {
      k->state[node] = 2;
      k->topological[--k->left] = node;
      depth--;
      continue;
    }
    tm_layer_edge *e = &g->edges[k->edges[k->cursor[node]++]];
    if (k->state[e->to] == 1) e->upwards = true;
    if (k->state[e->to]) continue;
    k->state[e->to] = 1;
    k->stack[depth++] = e->to;
  }
}

static tm_status sort_nodes(layer_work *w, walk *k) {
  tm_layers *g = w->graph;
  uint32_t n = g->node_count;
  k->begin = layers_room(w, n + 2, sizeof *k->begin);
  k->edges = layers_room(w, g->edge_count + 1u, sizeof *k->edges);
  k->stack = layers_room(w, n + 1, sizeof *k->stack);
  k->cursor = layers_room(w, n + 1, sizeof *k->cursor);
  k->state = layers_room(w, n + 1, 1);
  k->topological = layers_room(w, n + 1, sizeof *k->topological);
  uint32_t *callers = layers_room(w, n + 1, sizeof *callers);
  if (!k->begin || !k->edges || !k->stack || !k->cursor || !k->state || !k->topological || !callers)
    return TM_E_NOMEM;
  for (uint32_t i = 0; i < g->edge_count; i++) {
    k->begin[g->edges[i].from + 2]++;
    callers[g->edges[i].to]++;
  }
  for (uint32_t i = 2; i < n + 2; i++) k->begin[i] += k->begin[i - 1];
  for (uint32_t i = 0; i < g->edge_count; i++) k->edges[k->begin[g->edges[i].from + 1]++] = i;
  for (uint32_t i = 0; i < n; i++) k->cursor[i] = k->begin[i];
  k->left = n;
  for (uint32_t i = 0; i < n; i++)
    if (!callers[i] && !k->state[i]) walk_from(g, k, i);
  for (uint32_t i = 0; i < n; i++)
    if (!k->state[i]) walk_from(g, k, i);
  return TM_OK;
}

// Edges by their upper end, once it is known which of them point upwards.
static void index_upper_ends(const tm_layers *g, walk *k) {
  for (uint32_t i = 0; i < g->node_count + 2; i++) k->begin[i] = 0;
  for (uint32_t i = 0; i < g->edge_count; i++) k->begin[upper_end(&g->edges[i]) + 2]++;
  for (uint32_t i = 2; i < g->node_count + 2; i++) k->begin[i] += k->begin[i - 1];
  for (uint32_t i = 0; i < g->edge_count; i++)
    k->edges[k->begin[upper_end(&g->edges[i]) + 1]++] = i;
}

static void push_down(const tm_layers *g, const walk *k, uint32_t *ranks) {
  for (uint32_t i = 0; i < g->node_count; i++) {
    uint32_t node = k->topological[i];
    for (uint32_t at = k->begin[node]; at < k->begin[node + 1]; at++) {
      uint32_t below = lower_end(&g->edges[k->edges[at]]);
      if (ranks[below] <= ranks[node]) ranks[below] = ranks[node] + 1;
    }
  }
}

// A node with more weight below it than above hangs just above its highest callee.
static void pull_down(const tm_layers *g, const walk *k, const double *above, uint32_t *ranks) {
  for (uint32_t i = g->node_count; i > 0; i--) {
    uint32_t node = k->topological[i - 1], highest = UINT32_MAX;
    double below = 0;
    for (uint32_t at = k->begin[node]; at < k->begin[node + 1]; at++) {
      const tm_layer_edge *e = &g->edges[k->edges[at]];
      uint32_t rank = ranks[lower_end(e)];
      if (rank < highest) highest = rank;
      below += e->weight;
    }
    if (highest != UINT32_MAX && below > above[node] && highest - 1 > ranks[node])
      ranks[node] = highest - 1;
  }
}

tm_status layers_rank(layer_work *w, uint32_t *ranks) {
  tm_layers *g = w->graph;
  walk k = {0};
  double *above = layers_room(w, g->node_count + 1u, sizeof *above);
  if (!above) return TM_E_NOMEM;
  TM_TRY(sort_nodes(w, &k));
  index_upper_ends(g, &k);
  for (uint32_t i = 0; i < g->edge_count; i++) above[lower_end(&g->edges[i])] += g->edges[i].weight;
  push_down(g, &k, ranks);
  pull_down(g, &k, above, ranks);
  return TM_OK;
}
