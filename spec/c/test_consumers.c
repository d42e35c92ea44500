// floors: model analyze
// Who holds how much, against brute force: what only one group of roots reaches.
#include "analyze/consumers.h"
#include "random_graph.h"

static tm_table *ask(tm_ctx *ctx, const tm_graph *g, tm_consumer by) {
  tm_domtree *t;
  tm_domchildren c;
  tm_table *out;
  assert_int_equal(tm_domtree_new(ctx, g, TM_STRENGTH_SOFT, &t), TM_OK);
  assert_int_equal(tm_domtree_children(ctx, t, &c), TM_OK);
  assert_int_equal(tm_table_new(ctx, &out), TM_OK);
  assert_int_equal(tm_consumers_table(ctx, g, t, &c, TM_STRENGTH_SOFT, by, 0, out), TM_OK);
  tm_domchildren_fini(&c);
  tm_domtree_free(t);
  return out;
}

enum { NAME, DEPTH, NODE, COUNT, SHALLOW, RETAINED };

static int64_t cell_of(const tm_table *t, const char *name, size_t column) {
  for (size_t row = 0; row < tm_table_row_count(t); row++)
    if (strcmp(tm_table_text(t, row, NAME), name) == 0) return tm_table_int(t, row, column);
  return 0;
}

// What is reached when the roots of one kind are left out.
static void reach_without(const tm_graph *g, tm_root_kind kind, uint8_t *mark) {
  tm_graph copy = *g;
  tm_root roots[8];
  size_t n = 0;
  for (size_t i = 0; i < g->roots.count; i++)
    if (g->roots.items[i].kind != kind) roots[n++] = g->roots.items[i];
  copy.roots.items = roots;
  copy.roots.count = n;
  graph_reach(&copy, NULL, mark);
}

static void gives_to_roots_what_only_they_reach(void **unused) {
  (void)unused;
  static const tm_root_kind kinds[] = {TM_ROOT_STATIC, TM_ROOT_STACK};
  for (int round = 0; round < 500; round++) {
    tm_ctx ctx;
    tm_ctx_init(&ctx, NULL);
    tm_graph *g = random_graph(&ctx, round % 2);
    uint8_t all[64], without[64];
    int64_t total = 0, alone = 0;
    tm_table *t = ask(&ctx, g, TM_CONSUMER_ROOT);
    graph_reach(g, NULL, all);
    for (uint32_t n = 0; n < g->node_count; n++)
      if (all[n]) total += (int64_t)tm_graph_size(g, n);
    for (size_t k = 0; k < TM_COUNT(kinds); k++) {
      int64_t bytes = 0, count = 0;
      reach_without(g, kinds[k], without);
      for (uint32_t n = 0; n < g->node_count; n++) {
        if (!all[n] || without[n]) continue;
        bytes += (int64_t)tm_graph_size(g, n);
        count++;
      }
      assert_int_equal(cell_of(t, tm_root_kind_name(kinds[k]), RETAINED), bytes);
      assert_int_equal(cell_of(t, tm_root_kind_name(kinds[k]), COUNT), count);
      alone += bytes;
    }
    assert_int_equal(cell_of(t, "(several)", RETAINED), total - alone);
    tm_table_free(t);
    tm_graph_free(g);
    tm_ctx_fini(&ctx);
  }
}

static tm_graph *named(tm_ctx *ctx, graph_edge *edges, uint32_t m, const char *const *names,
                       uint32_t n) {
  tm_graph *g = graph_of(ctx, n, edges, m, n);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t id;
    assert_int_equal(tm_strtab_intern(ctx, &g->strings, names[i], strlen(names[i]), &id), TM_OK);
    g->types.items[i].name = id;
  }
  return g;
}

static void sums_packages_by_prefix(void **unused) {
  (void)unused;
  static const char *const names[] = {"com.acme.App", "com.acme.db.Pool[]", "com.other.X",
                                      "map<string,*main.T>", "net/http.(*conn).serve 512 B"};
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  graph_edge edges[] = {{0, 1}, {1, 2}, {2, 3}, {0, 4}};
  tm_graph *g = named(&ctx, edges, 4, names, 5); // bytes: 1, 8, 15, 22, 29
  graph_root(&ctx, g, 0, TM_ROOT_STATIC);
  tm_table *t = ask(&ctx, g, TM_CONSUMER_PACKAGE);
  assert_int_equal(cell_of(t, "com", RETAINED), 75);
  assert_int_equal(cell_of(t, "com", SHALLOW), 24);
  assert_int_equal(cell_of(t, "com", COUNT), 3);
  assert_int_equal(cell_of(t, "com.acme.db", RETAINED), 45);
  assert_int_equal(cell_of(t, "com.acme.db", DEPTH), 2);
  assert_int_equal(cell_of(t, "com.other", RETAINED), 37);
  assert_int_equal(cell_of(t, "(none)", RETAINED), 22);
  assert_int_equal(cell_of(t, "net/http", RETAINED), 29);
  tm_table_free(t);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

static void keeps_loaders_apart(void **unused) {
  (void)unused;
  static const char *const names[] = {"Loader", "a.X", "a.X"};
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  graph_edge edges[] = {{0, 1}, {0, 2}};
  tm_graph *g = named(&ctx, edges, 2, names, 3);
  g->types.items[1].loader = 0;
  graph_root(&ctx, g, 0, TM_ROOT_STATIC);
  tm_table *t = ask(&ctx, g, TM_CONSUMER_LOADER);
  assert_int_equal(tm_table_row_count(t), 2);
  assert_int_equal(cell_of(t, "Loader", RETAINED), 24); // with itself, which holds all
  assert_int_equal(cell_of(t, "Loader", NODE), 0);
  assert_int_equal(cell_of(t, "(none)", RETAINED), 15);
  tm_table_free(t);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

static void lists_threads_once(void **unused) {
  (void)unused;
  static const char *const names[] = {"Thread", "Worker", "a", "b"};
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  graph_edge edges[] = {{1, 2}, {2, 3}};
  tm_graph *g = named(&ctx, edges, 2, names, 4);
  graph_root(&ctx, g, 0, TM_ROOT_THREAD);
  graph_root(&ctx, g, 1, TM_ROOT_THREAD);
  graph_root(&ctx, g, 2, TM_ROOT_STACK);
  g->roots.items[2].thread = 1;
  g->roots.items[2].held = true; // the edge of its thread holds it
  tm_table *t = ask(&ctx, g, TM_CONSUMER_THREAD);
  assert_int_equal(tm_table_row_count(t), 2);
  assert_string_equal(tm_table_text(t, 0, NAME), "Worker");
  assert_int_equal(tm_table_int(t, 0, RETAINED), 8 + 15 + 22);
  assert_int_equal(tm_table_int(t, 1, RETAINED), 1);
  tm_table_free(t);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

static void holds_globals_apart(void **unused) {
  (void)unused;
  static const char *const names[] = {"a", "b", "c", "d", "both"};
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  graph_edge edges[] = {{0, 2}, {1, 2}, {3, 4}, {0, 4}};
  tm_graph *g = named(&ctx, edges, 4, names, 5);
  for (uint32_t i = 0; i < 2; i++) graph_root(&ctx, g, i, TM_ROOT_STATIC);
  graph_root(&ctx, g, 3, TM_ROOT_STACK);
  uint32_t id;
  assert_int_equal(tm_strtab_intern(&ctx, &g->strings, "main.cache", 10, &id), TM_OK);
  g->roots.items[0].label = g->roots.items[1].label = id; // two words of one global
  tm_table *t = ask(&ctx, g, TM_CONSUMER_GLOBAL);
  assert_int_equal(cell_of(t, "main.cache", RETAINED), 1 + 8 + 15);
  assert_int_equal(cell_of(t, "main.cache", COUNT), 3);
  assert_int_equal(cell_of(t, "(other roots)", RETAINED), 22);
  assert_int_equal(cell_of(t, "(several)", RETAINED), 29);
  tm_table_free(t);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gives_to_roots_what_only_they_reach),
      cmocka_unit_test(sums_packages_by_prefix),
      cmocka_unit_test(keeps_loaders_apart),
      cmocka_unit_test(lists_threads_once),
      cmocka_unit_test(holds_globals_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
