// floors: model analyze
// Merged ways from the roots, against the distance and reachability that brute force gives.
#include "analyze/node_paths.h"
#include "random_graph.h"

static void find_distances(const tm_graph *g, uint32_t *distance) {
  for (uint32_t n = 0; n < g->node_count; n++) distance[n] = UINT32_MAX;
  for (size_t i = 0; i < g->roots.count; i++) distance[g->roots.items[i].node] = 0;
  for (uint32_t round = 0; round < g->node_count; round++)
    for (uint32_t n = 0; n < g->node_count; n++)
      for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
        if (distance[n] == round && distance[g->edge_to[e]] > round + 1)
          distance[g->edge_to[e]] = round + 1;
}

static int64_t note(const tm_table *t, const char *key) {
  for (size_t i = 0; i < tm_table_note_count(t); i++)
    if (strcmp(tm_table_string(t, tm_table_note(t, i)->key), key) == 0)
      return tm_table_note(t, i)->integer;
  return -1;
}

enum { DEPTH, NODE, COUNT = 4, BYTES };

// Each place holds its children's members and its own, and lies behind its parent.
static void check_tree(const tm_node_set *set, const tm_table *t, const uint32_t *distance) {
  int64_t top = 0, members = 0, open[64] = {0};
  for (size_t row = 0; row < tm_table_row_count(t); row++) {
    int64_t depth = tm_table_int(t, row, DEPTH), node = tm_table_int(t, row, NODE);
    assert_int_equal(depth, distance[node]);
    if (depth == 0) top += tm_table_int(t, row, COUNT);
    if (depth > 0) open[depth - 1] -= tm_table_int(t, row, COUNT);
    assert_true(depth == 0 || open[depth - 1] >= 0);
    bool member = tm_node_set_has(set, (uint32_t)node);
    open[depth] = tm_table_int(t, row, COUNT) - member;
    members += member;
  }
  assert_int_equal(top, note(t, "reached"));
  assert_int_equal(top, members);
}

static void merges_shortest_ways(void **unused) {
  (void)unused;
  for (int round = 0; round < 300; round++) {
    tm_ctx ctx;
    tm_ctx_init(&ctx, NULL);
    tm_graph *g = random_graph(&ctx, round % 2);
    uint32_t distance[64], reached = 0;
    tm_node_set set;
    tm_table *t;
    assert_int_equal(tm_node_set_init(&ctx, g, &set), TM_OK);
    for (uint32_t i = random_below(9); i > 0; i--)
      tm_node_set_add(&set, random_below(g->node_count));
    find_distances(g, distance);
    for (uint32_t n = 0; n < g->node_count; n++)
      reached += tm_node_set_has(&set, n) && distance[n] != UINT32_MAX;
    assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
    assert_int_equal(tm_node_paths_table(&ctx, g, TM_STRENGTH_SOFT, &set, false, 0, t), TM_OK);
    assert_int_equal(note(t, "reached"), reached);
    check_tree(&set, t, distance);
    tm_table_free(t);
    assert_int_equal(tm_table_new(&ctx, &t), TM_OK); // by type, and few rows
    assert_int_equal(tm_node_paths_table(&ctx, g, TM_STRENGTH_SOFT, &set, true, 3, t), TM_OK);
    assert_true(tm_table_row_count(t) <= 3);
    for (size_t row = 1; row < tm_table_row_count(t); row++)
      assert_true(tm_table_int(t, row, DEPTH) <= tm_table_int(t, row - 1, DEPTH) + 1);
    tm_table_free(t);
    tm_node_set_fini(&set);
    tm_graph_free(g);
    tm_ctx_fini(&ctx);
  }
}

// A list of a million of one type is one place.
static void folds_chains_by_type(void **unused) {
  (void)unused;
  enum { N = 100000 };
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  graph_edge *edges = malloc(N * sizeof *edges);
  for (uint32_t i = 0; i + 1 < N; i++) edges[i] = (graph_edge){i, i + 1};
  tm_graph *g = graph_of(&ctx, N, edges, N - 1, 1);
  tm_node_set set;
  tm_table *t;
  graph_root(&ctx, g, 0, TM_ROOT_STATIC);
  assert_int_equal(tm_node_set_init(&ctx, g, &set), TM_OK);
  tm_node_set_add(&set, N - 1);
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  assert_int_equal(tm_node_paths_table(&ctx, g, TM_STRENGTH_SOFT, &set, true, 0, t), TM_OK);
  assert_int_equal(tm_table_row_count(t), 1);
  assert_int_equal(tm_table_int(t, 0, 6), N);
  tm_table_free(t);
  tm_node_set_fini(&set);
  tm_graph_free(g);
  free(edges);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(merges_shortest_ways),
      cmocka_unit_test(folds_chains_by_type),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
