// floors: model analyze
// Dominators against brute force: d dominates v when v cannot be reached without d. Random graphs,
// shapes that once broke somebody (deep chains, irreducible loops), and retained bytes per type.
#include "analyze/domtree.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252u;
static uint32_t random_below(uint32_t n) { // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state % n);
}

typedef struct edge {
  uint32_t from, to;
} edge;

static int by_from(const void *a, const void *b) {
  uint32_t x = ((const edge *)a)->from, y = ((const edge *)b)->from;
  return x < y ? -1 : x > y;
}

// A graph of n nodes with sizes 1, 2, 4, ... (mod 1000) and types n % type_count.
static tm_graph *make(tm_ctx *ctx, uint32_t n, edge *edges, uint32_t m, uint32_t type_count) {
  tm_graph *g;
  assert_int_equal(tm_graph_new(ctx, &g), TM_OK);
  assert_int_equal(tm_graph_alloc_nodes(ctx, g, n), TM_OK);
  for (uint32_t i = 0; i < type_count; i++)
    assert_int_equal(tm_vec_push(ctx, &g->types, (tm_type){.super = TM_NODE_NONE}), TM_OK);
  for (uint32_t i = 0; i < n; i++) {
    g->type[i] = i % type_count;
    assert_int_equal(tm_graph_set_size(ctx, g, i, 1 + (uint64_t)i * 7 % 1000), TM_OK);
  }
  if (m) qsort(edges, m, sizeof *edges, by_from);
  g->edge_count = m;
  g->edge_to = tm_alloc(ctx, (m + !m) * sizeof *g->edge_to);
  for (uint32_t i = 0; i < m; i++) {
    g->edge_to[i] = edges[i].to;
    g->edge_begin[edges[i].from + 1]++;
  }
  for (uint32_t i = 0; i < n; i++) g->edge_begin[i + 1] += g->edge_begin[i];
  return g;
}

static void add_root(tm_ctx *ctx, tm_graph *g, uint32_t node) {
  tm_root root = {.node = node, .thread = TM_NODE_NONE, .kind = TM_ROOT_STATIC};
  assert_int_equal(tm_vec_push(ctx, &g->roots, root), TM_OK);
}

// Marks what the roots reach when `without` is gone (TM_NODE_NONE = nothing is).
static void reach(const tm_graph *g, uint32_t without, uint8_t *mark) {
  uint32_t *stack =
      malloc(((size_t)g->node_count + g->edge_count + g->roots.count) * sizeof *stack);
  size_t n = 0;
  memset(mark, 0, g->node_count);
  for (size_t i = 0; i < g->roots.count; i++) stack[n++] = g->roots.items[i].node;
  while (n) {
    uint32_t v = stack[--n];
    if (v == without || mark[v]) continue;
    mark[v] = 1;
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++) stack[n++] = g->edge_to[e];
  }
  free(stack);
}

static void check_retained(const tm_graph *g, const tm_domtree *t, const uint8_t *all,
                           uint8_t *mark) {
  for (uint32_t d = 0; d < g->node_count; d++) {
    uint64_t retained = 0;
    reach(g, d, mark);
    for (uint32_t v = 0; v < g->node_count; v++)
      if (all[v] && !mark[v]) retained += tm_graph_size(g, v);
    if (!all[d]) retained = tm_graph_size(g, d);
    assert_int_equal(tm_domtree_retained(t, g, d), retained);
  }
}

// The immediate dominator is the dominator that retains least beside the node itself.
static void check_idoms(const tm_graph *g, const tm_domtree *t, const uint8_t *all) {
  for (uint32_t v = 0; v < g->node_count; v++) {
    uint32_t d = tm_domtree_idom(t, v);
    assert_true(all[v] || d == TM_NODE_NONE);
    assert_int_equal(t->number[v] != 0, all[v]);
    if (d != TM_NODE_NONE) assert_true(t->number[d] < t->number[v]);
  }
}

// Retained of a type = what dies when all its nodes go... of which no other type's death is needed:
// the sum over its nodes that no node of the type dominates.
static void check_types(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t) {
  tm_domchildren c;
  uint64_t have[8] = {0}, want[8] = {0};
  assert_int_equal(tm_domtree_children(ctx, t, &c), TM_OK);
  assert_int_equal(tm_domtree_retained_by_type(ctx, t, g, &c, have), TM_OK);
  for (uint32_t v = 0; v < g->node_count; v++) {
    bool topmost = t->number[v] != 0;
    for (uint32_t d = tm_domtree_idom(t, v); d != TM_NODE_NONE; d = tm_domtree_idom(t, d))
      topmost = topmost && g->type[d] != g->type[v];
    if (topmost) want[g->type[v]] += tm_domtree_retained(t, g, v);
  }
  assert_memory_equal(have, want, sizeof have);
  tm_domchildren_fini(&c);
}

static void check(tm_ctx *ctx, tm_graph *g) {
  tm_domtree *t;
  uint8_t *all = calloc(g->node_count + 1, 1), *mark = calloc(g->node_count + 1, 1);
  assert_int_equal(tm_domtree_new(ctx, g, TM_STRENGTH_PHANTOM, &t), TM_OK);
  reach(g, TM_NODE_NONE, all);
  check_idoms(g, t, all);
  check_retained(g, t, all, mark);
  check_types(ctx, g, t);
  tm_domtree_free(t);
  free(all);
  free(mark);
}

static void agrees_with_brute_force_on_random_graphs(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  edge edges[400];
  for (int round = 0; round < 400; round++) {
    uint32_t n = 1 + random_below(60), m = random_below(round % 2 ? 2 * n + 1 : 6 * n + 1);
    for (uint32_t i = 0; i < m; i++) edges[i] = (edge){random_below(n), random_below(n)};
    tm_graph *g = make(&ctx, n, edges, m, 1 + random_below(5));
    for (uint32_t i = 0; i <= random_below(4); i++) add_root(&ctx, g, random_below(n));
    check(&ctx, g);
    tm_graph_free(g);
  }
  tm_ctx_fini(&ctx);
}

static void gives_a_diamonds_tail_to_its_top(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  edge edges[] = {{0, 1}, {0, 2}, {1, 3}, {2, 3}, {3, 4}};
  tm_graph *g = make(&ctx, 6, edges, 5, 1); // node 5 is garbage
  add_root(&ctx, g, 0);
  tm_domtree *t;
  assert_int_equal(tm_domtree_new(&ctx, g, TM_STRENGTH_STRONG, &t), TM_OK);
  assert_int_equal(tm_domtree_idom(t, 3), 0);
  assert_int_equal(tm_domtree_idom(t, 4), 3);
  assert_int_equal(tm_domtree_idom(t, 0), TM_NODE_NONE);
  assert_int_equal(tm_domtree_idom(t, 5), TM_NODE_NONE);
  assert_int_equal(t->reached, 5);
  assert_int_equal(tm_domtree_retained(t, g, 3), (1 + 21) + (1 + 28));
  assert_int_equal(tm_domtree_retained(t, g, 5), 1 + 35);
  tm_domtree_free(t);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

static void follows_weak_edges_only_when_told(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  edge edges[] = {{0, 1}, {1, 2}};
  tm_graph *g = make(&ctx, 3, edges, 2, 3);
  g->types.items[1].strength = TM_STRENGTH_WEAK; // node 1 holds its first edge weakly
  add_root(&ctx, g, 0);
  tm_domtree *t;
  assert_int_equal(tm_domtree_new(&ctx, g, TM_STRENGTH_SOFT, &t), TM_OK);
  assert_int_equal(t->reached, 2);
  tm_domtree_free(t);
  assert_int_equal(tm_domtree_new(&ctx, g, TM_STRENGTH_WEAK, &t), TM_OK);
  assert_int_equal(t->reached, 3);
  tm_domtree_free(t);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

static void walks_a_chain_of_a_million_without_recursion(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  uint32_t n = 1000000;
  edge *edges = malloc(n * sizeof *edges);
  for (uint32_t i = 0; i + 1 < n; i++) edges[i] = (edge){i, i + 1};
  edges[n - 1] = (edge){n - 1, 0}; // and back
  tm_graph *g = make(&ctx, n, edges, n, 2);
  add_root(&ctx, g, 0);
  tm_domtree *t;
  assert_int_equal(tm_domtree_new(&ctx, g, TM_STRENGTH_STRONG, &t), TM_OK);
  assert_int_equal(tm_domtree_retained(t, g, 0), g->shallow_bytes);
  assert_int_equal(tm_domtree_idom(t, n - 1), n - 2);
  tm_domchildren c;
  uint64_t by_type[2] = {0};
  assert_int_equal(tm_domtree_children(&ctx, t, &c), TM_OK);
  assert_int_equal(tm_domtree_retained_by_type(&ctx, t, g, &c, by_type), TM_OK);
  assert_int_equal(by_type[0], g->shallow_bytes);
  assert_int_equal(by_type[1], g->shallow_bytes - tm_graph_size(g, 0));
  tm_domchildren_fini(&c);
  tm_domtree_free(t);
  tm_graph_free(g);
  free(edges);
  tm_ctx_fini(&ctx);
}

static void turns_edges_in_order(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  edge edges[] = {{0, 2}, {1, 2}, {2, 0}, {3, 2}};
  tm_graph *g = make(&ctx, 4, edges, 4, 1);
  tm_reverse r;
  assert_int_equal(tm_graph_reverse(&ctx, g, TM_STRENGTH_STRONG, &r), TM_OK);
  uint32_t want[] = {2, 0, 1, 3}, begin[] = {0, 1, 1, 4, 4};
  assert_memory_equal(r.from, want, sizeof want);
  assert_memory_equal(r.begin, begin, sizeof begin);
  tm_reverse_fini(&r);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

static void keeps_sizes_past_four_gigabytes(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_graph *g = make(&ctx, 3, NULL, 0, 1);
  uint64_t big = 5000000000u;
  assert_int_equal(tm_graph_set_size(&ctx, g, 1, big), TM_OK);
  assert_int_equal(tm_graph_set_size(&ctx, g, 2, UINT32_MAX), TM_OK);
  assert_int_equal(tm_graph_size(g, 1), big);
  assert_int_equal(tm_graph_size(g, 2), UINT32_MAX);
  assert_int_equal(tm_graph_size(g, 0), 1);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(agrees_with_brute_force_on_random_graphs),
      cmocka_unit_test(gives_a_diamonds_tail_to_its_top),
      cmocka_unit_test(follows_weak_edges_only_when_told),
      cmocka_unit_test(walks_a_chain_of_a_million_without_recursion),
      cmocka_unit_test(turns_edges_in_order),
      cmocka_unit_test(keeps_sizes_past_four_gigabytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
