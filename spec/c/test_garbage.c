// floors: model analyze
// Garbage against brute force: every unreachable object has a top that leads to it, no top leads to
// another, and what a type retains is what nothing else unreachable keeps.
#include "analyze/garbage.h"
#include "random_graph.h"

static tm_table *ask(tm_ctx *ctx, const tm_graph *g) {
  tm_domtree *t;
  tm_table *out;
  assert_int_equal(tm_domtree_new(ctx, g, TM_STRENGTH_SOFT, &t), TM_OK);
  assert_int_equal(tm_table_new(ctx, &out), TM_OK);
  assert_int_equal(tm_garbage_table(ctx, g, t, TM_STRENGTH_SOFT, 0, out), TM_OK);
  tm_domtree_free(t);
  return out;
}

// reach[a][b]: a leads to b over unreachable nodes only.
static void close_over(const tm_graph *g, const uint8_t *live, uint8_t reach[64][64]) {
  memset(reach, 0, 64 * 64);
  for (uint32_t n = 0; n < g->node_count; n++)
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
      if (!live[n] && !live[g->edge_to[e]]) reach[n][g->edge_to[e]] = 1;
  for (uint32_t k = 0; k < g->node_count; k++)
    for (uint32_t i = 0; i < g->node_count; i++)
      for (uint32_t j = 0; j < g->node_count; j++) reach[i][j] |= reach[i][k] && reach[k][j];
}

// Parts that no node outside of them leads to.
static uint32_t count_sources(const tm_graph *g, const uint8_t *live, uint8_t reach[64][64]) {
  uint32_t sources = 0;
  for (uint32_t n = 0; n < g->node_count; n++) {
    bool first = !live[n];
    for (uint32_t m = 0; m < g->node_count; m++) {
      if (reach[m][n] && !reach[n][m]) first = false;         // led to from outside
      if (m < n && reach[m][n] && reach[n][m]) first = false; // another stands for the part
    }
    sources += first;
  }
  return sources;
}

static void finds_the_tops_of_garbage(void **unused) {
  (void)unused;
  static uint8_t reach[64][64];
  for (int round = 0; round < 300; round++) {
    tm_ctx ctx;
    tm_ctx_init(&ctx, NULL);
    tm_graph *g = random_graph(&ctx, false);
    uint8_t live[64];
    int64_t bytes = 0, count = 0, shallow = 0, tops = 0;
    g->roots.count = round % 4 == 0 ? 0 : g->roots.count;
    graph_reach(g, NULL, live);
    tm_table *t = ask(&ctx, g);
    close_over(g, live, reach);
    for (uint32_t n = 0; n < g->node_count; n++)
      if (!live[n]) bytes += (int64_t)tm_graph_size(g, n);
    for (size_t row = 0; row < tm_table_row_count(t); row++) {
      count += tm_table_int(t, row, 1);
      shallow += tm_table_int(t, row, 2);
      tops += tm_table_int(t, row, 4);
      assert_true(tm_table_int(t, row, 3) >= tm_table_int(t, row, 2));
      assert_true(tm_table_int(t, row, 3) <= bytes);
    }
    assert_int_equal(shallow, bytes);
    assert_int_equal(tops, count_sources(g, live, reach));
    for (uint32_t n = 0; n < g->node_count; n++) count -= !live[n];
    assert_int_equal(count, 0);
    tm_table_free(t);
    tm_graph_free(g);
    tm_ctx_fini(&ctx);
  }
}

static void gives_garbage_to_what_held_it(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  graph_edge edges[] = {{0, 3}, {1, 2}, {2, 3}, {2, 4}, {4, 1}}; // 1 -> 2 -> 4 -> 1, live 0 -> 3
  tm_graph *g = graph_of(&ctx, 5, edges, 5, 5);                  // bytes 1 8 15 22 29
  graph_root(&ctx, g, 0, TM_ROOT_STATIC);
  tm_table *t = ask(&ctx, g);
  assert_int_equal(tm_table_row_count(t), 3);
  assert_int_equal(tm_table_int(t, 0, 3), 8 + 15 + 29); // the circle, without the live tail
  tm_table_free(t);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_the_tops_of_garbage),
      cmocka_unit_test(gives_garbage_to_what_held_it),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
