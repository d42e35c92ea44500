// floors: read analyze
// The call graph of small profiles against figures by hand, its three texts, and the layered
// drawing against what any drawing must keep: nothing overlaps, callers stand above callees.
#include "analyze/callgraph_text.h"
#include "analyze/layers.h"
#include "analyze/report.h"
#include "read/reader.h"
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tm_ctx ctx;

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tm_ctx_fini(&ctx);
  return 0;
}

static tm_status report_of(const char *stacks, const char *verb, const tm_report_options *o,
                           tm_bytes *text, tm_table *table) {
  tm_snapshot s = {0};
  assert_int_equal(tm_read_buffer(&ctx, stacks, strlen(stacks), "collapsed", &s), TM_OK);
  tm_status status = tm_report(&ctx, s.model, verb, o, text, table);
  if (text && status == TM_OK) assert_int_equal(tm_bytes_append(&ctx, text, "", 1), TM_OK);
  tm_snapshot_fini(&s);
  return status;
}

static char *text_of(const char *stacks, const char *verb, const tm_report_options *o) {
  static char copy[65536];
  tm_bytes text = {0};
  assert_int_equal(report_of(stacks, verb, o, &text, NULL), TM_OK);
  assert_true(text.size < sizeof copy);
  memcpy(copy, text.data, text.size);
  tm_bytes_free(&ctx, &text);
  return copy;
}

static tm_report_options defaults(void) {
  tm_report_options o;
  tm_report_options_init(&o);
  return o;
}

static const char stacks[] = "main;a;b 60\nmain;a;c 30\nmain;d;a;b 10\n";

static void finds_nodes_and_edges(void **state) {
  (void)state;
  tm_report_options o = defaults();
  tm_table *t;
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  assert_int_equal(report_of(stacks, "dot", &o, NULL, t), TM_OK);
  size_t kind = tm_table_find_column(t, "kind"), name = tm_table_find_column(t, "name");
  size_t flat = tm_table_find_column(t, "flat"), cum = tm_table_find_column(t, "cum");
  size_t from = tm_table_find_column(t, "from"), to = tm_table_find_column(t, "to");
  size_t weight = tm_table_find_column(t, "weight");
  static const struct {
    const char *name;
    int64_t flat, cum;
  } nodes[] = {{"main", 0, 100}, {"a", 0, 100}, {"b", 70, 70}, {"c", 30, 30}, {"d", 0, 10}};
  static const struct {
    const char *from, *to;
    int64_t weight;
  } edges[] = {
      {"main", "a", 90}, {"a", "b", 70}, {"a", "c", 30}, {"main", "d", 10}, {"d", "a", 10}};
  assert_int_equal(tm_table_row_count(t), TM_COUNT(nodes) + TM_COUNT(edges));
  for (size_t i = 0; i < TM_COUNT(nodes); i++) {
    size_t row = 0;
    while (row < 5 && strcmp(tm_table_text(t, row, name), nodes[i].name) != 0) row++;
    assert_true(row < 5);
    assert_string_equal(tm_table_text(t, row, kind), "node");
    assert_int_equal(tm_table_int(t, row, flat), nodes[i].flat);
    assert_int_equal(tm_table_int(t, row, cum), nodes[i].cum);
  }
  for (size_t i = 0; i < TM_COUNT(edges); i++) {
    bool found = false;
    for (size_t row = 5; row < 10; row++) {
      size_t a = (size_t)tm_table_int(t, row, from) - 1, b = (size_t)tm_table_int(t, row, to) - 1;
      if (strcmp(tm_table_text(t, a, name), edges[i].from) == 0
          && strcmp(tm_table_text(t, b, name), edges[i].to) == 0) {
        found = true;
        assert_int_equal(tm_table_int(t, row, weight), edges[i].weight);
      }
    }
    assert_true(found);
  }
  tm_table_free(t);
}

static void writes_dot(void **state) {
  (void)state;
  tm_report_options o = defaults();
  const char *text = text_of(stacks, "dot", &o);
  assert_non_null(strstr(text, "digraph \"unnamed\" {\nnode [style=filled"));
  assert_non_null(strstr(text, "label=\"b\\n70 (70.00%)\" id=\"node"));
  assert_non_null(strstr(text, "label=\"d\\n0 of 10 (10.00%)\""));
  assert_non_null(strstr(text, "[label=\" 90\" weight=91 penwidth=5 color="));
  assert_non_null(strstr(text, "tooltip=\"main -> a (90)\""));
  assert_string_equal(text + strlen(text) - 3, "\n}\n");
}

// Hidden nodes leave dotted edges; those that another path makes needless go.
static void joins_over_hidden_nodes(void **state) {
  (void)state;
  tm_report_options o = defaults();
  o.node_fraction = 0.2;
  const char *text = text_of(stacks, "dot", &o);
  assert_non_null(strstr(text, "Dropped 1 node (cum <= 20)"));
  assert_non_null(strstr(text, "tooltip=\"main ... a (100)\"")); // 90 real and 10 over d
  assert_null(strstr(text, "label=\"d\\n"));
}

static void tells_contexts_apart(void **state) {
  (void)state;
  tm_report_options o = defaults();
  o.call_tree = true;
  tm_table *t;
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  // main, main/a, main/a/b, main/a/c, main/d, main/d/a, main/d/a/b; recursion is a deeper node.
  assert_int_equal(report_of(stacks, "dot", &o, NULL, t), TM_OK);
  assert_int_equal(tm_table_row_count(t), 7 + 6);
  tm_table_free(t);
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  assert_int_equal(report_of("r;r;r 5\n", "dot", &o, NULL, t), TM_OK);
  assert_int_equal(tm_table_row_count(t), 3 + 2);
  tm_table_free(t);
  const char *text = text_of(stacks, "callgrind", &o);
  assert_non_null(strstr(text, " a [1/2]\n"));
  assert_non_null(strstr(text, " a [2/2]\n"));
}

static void writes_callgrind(void **state) {
  (void)state;
  tm_report_options o = defaults();
  const char *text = text_of("main;b 7\nmain 3\n", "callgrind", &o);
  assert_string_equal(text, "positions: instr line\nevents: samples(count)\n"
                            "\nob=\nfl=\nfn=(1) b\n0x0 0 7\n"
                            "\nob=\nfl=\nfn=(2) main\n* 0 3\n"
                            "cfl=\ncfn=(1)\ncalls=0 * 0\n* * 7\n");
}

static void draws_svg(void **state) {
  (void)state;
  tm_report_options o = defaults();
  const char *text = text_of("ma<in;a&b 10\nma<in 5\n", "svg", &o);
  assert_int_equal(strncmp(text, "<svg xmlns=", 11), 0);
  assert_non_null(strstr(text, ">ma&lt;in</text>"));
  assert_non_null(strstr(text, "<title>ma&lt;in -&gt; a&amp;b (10)</title>"));
  assert_string_equal(text + strlen(text) - 7, "</svg>\n");
  assert_null(strstr(text, "<script"));
}

static void refuses_what_is_too_large(void **state) {
  (void)state;
  tm_report_options o = defaults();
  tm_bytes stack = {0}, text = {0};
  for (int i = 0; i < 2000; i++)
    assert_int_equal(tm_bytes_printf(&ctx, &stack, "main;f%d 1\n", i), TM_OK);
  assert_int_equal(tm_bytes_append(&ctx, &stack, "", 1), TM_OK);
  o.trim = false;
  assert_int_equal(report_of((const char *)stack.data, "svg", &o, &text, NULL), TM_E_LIMIT);
  assert_non_null(strstr(ctx.error.message, "nodecount"));
  tm_ctx_clear(&ctx);
  tm_bytes_free(&ctx, &text);
  tm_bytes_free(&ctx, &stack);
}

static void shortens_names(void **state) {
  (void)state;
  static const char *const names[][2] = {{"runtime.main", "runtime.main"},
                                         {"net/http.(*conn).serve", "http.(*conn).serve"},
                                         {"github.com/a/b/v2.Do", "b.Do"},
                                         {"github.com/a/b/v1/c.Do", "c.Do"},
                                         {"github.com/a/b/v12/c.Do", "c.Do"},
                                         {"com.google.perf.Type.run(int)", "Type.run"},
                                         {"java.lang.Thread.<init>(x)", "Thread.<init>"},
                                         {"ns::inner::Type::method(int)", "Type::method"},
                                         {"ns::Type::~Type()", "Type::~Type"},
                                         {"(anonymous namespace)::Bar::baz()", "Bar::baz()"},
                                         {"std::vector<int>::push", "std::vector<int>::push"},
                                         {"a::B::c<D<e>>(f)", "B::c<D<e>>"},
                                         {"", ""}};
  for (size_t i = 0; i < TM_COUNT(names); i++) {
    char buf[80];
    size_t length;
    const char *have = callgraph_short_name(names[i][0], buf, &length);
    assert_int_equal(length, strlen(names[i][1]));
    assert_memory_equal(have, names[i][1], length);
  }
}

// --- drawing ---

static uint32_t next_random(uint32_t *seed) {
  *seed = *seed * 1664525 + 1013904223;
  return *seed >> 8;
}

static bool overlap(double ax, double aw, double ay, double ah, double bx, double bw, double by,
                    double bh) {
  return fabs(ax - bx) * 2 < aw + bw - 1e-6 && fabs(ay - by) * 2 < ah + bh - 1e-6;
}

static void check_drawing(const tm_layers *g) {
  for (uint32_t i = 0; i < g->node_count; i++) {
    const tm_layer_node *a = &g->nodes[i];
    assert_true(a->x - a->width / 2 >= 0 && a->x + a->width / 2 <= g->width);
    assert_true(a->y - a->height / 2 >= 0 && a->y + a->height / 2 <= g->height);
    for (uint32_t k = 0; k < i; k++) {
      const tm_layer_node *b = &g->nodes[k];
      assert_false(overlap(a->x, a->width, a->y, a->height, b->x, b->width, b->y, b->height));
    }
    for (uint32_t k = 0; k < g->edge_count; k++) {
      const tm_layer_edge *e = &g->edges[k];
      assert_false(overlap(a->x, a->width, a->y, a->height, e->label_x, e->label_width, e->label_y,
                           e->label_height));
    }
  }
  for (uint32_t k = 0; k < g->edge_count; k++) {
    const tm_layer_edge *e = &g->edges[k];
    const tm_layer_point *p = &g->points.items[e->point_begin];
    double way = e->upwards ? -1 : 1;
    assert_true(e->point_count >= 2);
    assert_true((g->nodes[e->to].y - g->nodes[e->from].y) * way > 0);
    for (uint32_t i = 1; i < e->point_count; i++) assert_true((p[i].y - p[i - 1].y) * way >= 0);
    assert_true(fabs(p[0].x - g->nodes[e->from].x) <= g->nodes[e->from].width / 2);
    for (uint32_t i = 0; i < k; i++) {
      const tm_layer_edge *o = &g->edges[i];
      assert_false(overlap(e->label_x, e->label_width, e->label_y, e->label_height, o->label_x,
                           o->label_width, o->label_y, o->label_height));
    }
  }
}

// Random graphs with cycles: what a drawing must keep, whatever comes.
static void draws_any_graph(void **state) {
  (void)state;
  uint32_t seed = 1;
  for (uint32_t round = 0; round < 60; round++) {
    tm_layer_node nodes[40];
    tm_layer_edge edges[90];
    uint32_t count = 0, n = 1 + next_random(&seed) % 40;
    for (uint32_t i = 0; i < n; i++)
      nodes[i] = (tm_layer_node){.width = 20 + next_random(&seed) % 200,
                                 .height = 20 + next_random(&seed) % 80};
    for (uint32_t i = 0; i < 90; i++) {
      uint32_t from = next_random(&seed) % n, to = next_random(&seed) % n;
      if (from == to) continue;
      edges[count++] = (tm_layer_edge){
          .from = from, .to = to, .weight = 0.1, .label_width = 40, .label_height = 12};
    }
    tm_layers g = {.nodes = nodes, .node_count = n, .edges = edges, .edge_count = count};
    assert_int_equal(tm_layers_draw(&ctx, &g), TM_OK);
    check_drawing(&g);
    tm_vec_free(&ctx, &g.points);
  }
}

// Without cycles no edge points upwards, and a chain is drawn straight.
static void keeps_callers_above(void **state) {
  (void)state;
  tm_layer_node nodes[6];
  tm_layer_edge edges[5];
  for (uint32_t i = 0; i < 6; i++) nodes[i] = (tm_layer_node){.width = 30, .height = 20};
  for (uint32_t i = 0; i < 5; i++) edges[i] = (tm_layer_edge){.from = i, .to = i + 1, .weight = 1};
  tm_layers g = {.nodes = nodes, .node_count = 6, .edges = edges, .edge_count = 5};
  assert_int_equal(tm_layers_draw(&ctx, &g), TM_OK);
  check_drawing(&g);
  for (uint32_t i = 0; i < 5; i++) {
    assert_false(edges[i].upwards);
    assert_true(fabs(nodes[i].x - nodes[i + 1].x) < 0.01);
  }
  tm_vec_free(&ctx, &g.points);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_nodes_and_edges),     cmocka_unit_test(writes_dot),
      cmocka_unit_test(joins_over_hidden_nodes),   cmocka_unit_test(tells_contexts_apart),
      cmocka_unit_test(writes_callgrind),          cmocka_unit_test(draws_svg),
      cmocka_unit_test(refuses_what_is_too_large), cmocka_unit_test(shortens_names),
      cmocka_unit_test(draws_any_graph),           cmocka_unit_test(keeps_callers_above)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
