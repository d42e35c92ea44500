// Heap graphs of random shape for tests of what is computed over them.
#ifndef TM_SPEC_RANDOM_GRAPH_H
#define TM_SPEC_RANDOM_GRAPH_H

#include "model/graph.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t graph_state = 88172645463325252u;
static inline uint32_t random_below(uint32_t n) { // xorshift64
  graph_state ^= graph_state << 13;
  graph_state ^= graph_state >> 7;
  graph_state ^= graph_state << 17;
  return (uint32_t)(graph_state % n);
}

typedef struct graph_edge {
  uint32_t from, to;
} graph_edge;

static inline int graph_edge_order(const void *a, const void *b) {
  uint32_t x = ((const graph_edge *)a)->from, y = ((const graph_edge *)b)->from;
  return x < y ? -1 : x > y;
}

// n nodes of 1 and more bytes; types "T0", "T1", ... by n % type_count. edges may be unordered.
static inline tm_graph *graph_of(tm_ctx *ctx, uint32_t n, graph_edge *edges, uint32_t m,
                                 uint32_t type_count) {
  tm_graph *g;
  assert_int_equal(tm_graph_new(ctx, &g), TM_OK);
  assert_int_equal(tm_graph_alloc_nodes(ctx, g, n), TM_OK);
  for (uint32_t i = 0; i < type_count; i++) {
    tm_type type = {0, TM_NODE_NONE, TM_NODE_NONE, TM_NODE_NONE, TM_STRENGTH_STRONG};
    char name[16];
    int length = snprintf(name, sizeof name, "T%u", i);
    assert_int_equal(tm_strtab_intern(ctx, &g->strings, name, (size_t)length, &type.name), TM_OK);
    assert_int_equal(tm_vec_push(ctx, &g->types, type), TM_OK);
  }
  for (uint32_t i = 0; i < n; i++) {
    g->type[i] = i % type_count;
    assert_int_equal(tm_graph_set_size(ctx, g, i, 1 + (uint64_t)i * 7 % 1000), TM_OK);
  }
  if (m) qsort(edges, m, sizeof *edges, graph_edge_order);
  g->edge_count = m;
  g->edge_to = tm_alloc(ctx, (m + !m) * sizeof *g->edge_to);
  for (uint32_t i = 0; i < m; i++) {
    g->edge_to[i] = edges[i].to;
    g->edge_begin[edges[i].from + 1]++;
  }
  for (uint32_t i = 0; i < n; i++) g->edge_begin[i + 1] += g->edge_begin[i];
  return g;
}

static inline void graph_root(tm_ctx *ctx, tm_graph *g, uint32_t node, tm_root_kind kind) {
  tm_root root = {.node = node, .thread = TM_NODE_NONE, .kind = (uint8_t)kind};
  assert_int_equal(tm_vec_push(ctx, &g->roots, root), TM_OK);
}

// Up to 60 nodes, up to 4 roots.
static inline tm_graph *random_graph(tm_ctx *ctx, bool dense) {
  graph_edge edges[400];
  uint32_t n = 1 + random_below(60), m = random_below(dense ? 6 * n + 1 : 2 * n + 1);
  for (uint32_t i = 0; i < m; i++) edges[i] = (graph_edge){random_below(n), random_below(n)};
  tm_graph *g = graph_of(ctx, n, edges, m, 1 + random_below(5));
  for (uint32_t i = 0; i <= random_below(4); i++)
    graph_root(ctx, g, random_below(n), i % 2 ? TM_ROOT_STACK : TM_ROOT_STATIC);
  return g;
}

// Marks what the roots reach when nothing leads out of the nodes with without[node] set; those
// themselves are not marked. without NULL = all count.
static inline void graph_reach(const tm_graph *g, const uint8_t *without, uint8_t *mark) {
  uint32_t *stack =
      malloc(((size_t)g->node_count + g->edge_count + g->roots.count + 1) * sizeof *stack);
  size_t n = 0;
  memset(mark, 0, g->node_count);
  for (size_t i = 0; i < g->roots.count; i++) stack[n++] = g->roots.items[i].node;
  while (n) {
    uint32_t v = stack[--n];
    if (mark[v] || (without && without[v])) continue;
    mark[v] = 1;
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++) stack[n++] = g->edge_to[e];
  }
  free(stack);
}

#endif
