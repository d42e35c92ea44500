// floors: model analyze
// Sets of objects against brute force on random graphs: what is chosen, what a set retains, who
// dominates it, and who is beside it.
#include "analyze/node_set.h"
#include "random_graph.h"

typedef struct fixture {
  tm_ctx ctx;
  tm_graph *g;
  tm_domtree *t;
  tm_node_set set;
  uint8_t all[64], in[64];
} fixture;

static void begin(fixture *f, int round) {
  tm_ctx_init(&f->ctx, NULL);
  f->g = random_graph(&f->ctx, round % 2 == 0);
  assert_int_equal(tm_domtree_new(&f->ctx, f->g, TM_STRENGTH_SOFT, &f->t), TM_OK);
  assert_int_equal(tm_node_set_init(&f->ctx, f->g, &f->set), TM_OK);
  memset(f->in, 0, sizeof f->in);
  for (uint32_t i = random_below(6); i > 0; i--) f->in[random_below(f->g->node_count)] = 1;
  for (uint32_t n = 0; n < f->g->node_count; n++)
    if (f->in[n]) tm_node_set_add(&f->set, n);
  graph_reach(f->g, NULL, f->all);
}

static void end(fixture *f) {
  tm_node_set_fini(&f->set);
  tm_domtree_free(f->t);
  tm_graph_free(f->g);
  tm_ctx_fini(&f->ctx);
}

static void expect(const tm_graph *g, tm_node_set *have, const uint8_t *want) {
  for (uint32_t n = 0; n < g->node_count; n++) assert_int_equal(tm_node_set_has(have, n), want[n]);
  tm_node_set_fini(have);
}

static void retains_what_dies_with_it(void **unused) {
  (void)unused;
  for (int round = 0; round < 500; round++) {
    fixture f;
    uint8_t left[64], want[64] = {0};
    begin(&f, round);
    graph_reach(f.g, f.in, left);
    uint64_t bytes = 0, least;
    for (uint32_t n = 0; n < f.g->node_count; n++) {
      want[n] = f.in[n] || (f.all[n] && !left[n]);
      if (want[n]) bytes += tm_graph_size(f.g, n);
    }
    tm_node_set have;
    assert_int_equal(tm_node_set_retained(&f.ctx, f.g, f.t, TM_STRENGTH_SOFT, &f.set, &have),
                     TM_OK);
    assert_int_equal(tm_node_set_shallow(&have, f.g), bytes);
    expect(f.g, &have, want);
    assert_int_equal(tm_node_set_min_retained(&f.ctx, f.g, f.t, &f.set, &least), TM_OK);
    assert_true(least <= bytes);
    if (tm_node_set_count(&f.set) == 1) assert_int_equal(least, bytes);
    end(&f);
  }
}

static void knows_who_dominates_it(void **unused) {
  (void)unused;
  for (int round = 0; round < 300; round++) {
    fixture f;
    uint8_t want[64] = {0};
    begin(&f, round);
    for (uint32_t n = 0; n < f.g->node_count; n++) {
      if (!f.in[n]) continue;
      uint32_t d = tm_domtree_idom(f.t, n);
      while (d != TM_NODE_NONE && f.in[d]) d = tm_domtree_idom(f.t, d);
      if (d != TM_NODE_NONE) want[d] = 1;
    }
    tm_node_set have;
    assert_int_equal(tm_node_set_dominators(&f.ctx, f.g, f.t, &f.set, &have), TM_OK);
    expect(f.g, &have, want);
    end(&f);
  }
}

static void knows_its_neighbours(void **unused) {
  (void)unused;
  for (int round = 0; round < 300; round++) {
    fixture f;
    uint8_t in[64] = {0}, out[64] = {0};
    begin(&f, round);
    for (uint32_t n = 0; n < f.g->node_count; n++) {
      for (uint32_t e = f.g->edge_begin[n]; e < f.g->edge_begin[n + 1]; e++) {
        if (f.in[n]) out[f.g->edge_to[e]] = 1;
        if (f.in[f.g->edge_to[e]]) in[n] = 1;
      }
    }
    tm_node_set have;
    assert_int_equal(tm_node_set_outgoing(&f.ctx, f.g, TM_STRENGTH_SOFT, &f.set, &have), TM_OK);
    expect(f.g, &have, out);
    assert_int_equal(tm_node_set_incoming(&f.ctx, f.g, TM_STRENGTH_SOFT, &f.set, &have), TM_OK);
    expect(f.g, &have, in);
    end(&f);
  }
}

static void reaches_what_it_leads_to(void **unused) {
  (void)unused;
  for (int round = 0; round < 300; round++) {
    fixture f;
    uint8_t want[64];
    begin(&f, round);
    tm_node_set around;
    uint32_t wall = random_below(f.g->node_count); // what is there is not left
    assert_int_equal(tm_node_set_init(&f.ctx, f.g, &around), TM_OK);
    tm_node_set_add(&around, wall);
    memcpy(want, f.in, sizeof want);
    for (uint32_t again = 0; again < f.g->node_count; again++)
      for (uint32_t n = 0; n < f.g->node_count; n++)
        for (uint32_t e = f.g->edge_begin[n]; want[n] && n != wall && e < f.g->edge_begin[n + 1];
             e++)
          want[f.g->edge_to[e]] = 1;
    tm_node_set have;
    assert_int_equal(tm_node_set_reach(&f.ctx, f.g, TM_STRENGTH_SOFT, &f.set, &around, &have),
                     TM_OK);
    expect(f.g, &have, want);
    tm_node_set_fini(&around);
    end(&f);
  }
}

static void chooses_what_is_asked(void **unused) {
  (void)unused;
  for (int round = 0; round < 300; round++) {
    fixture f;
    uint8_t want[64] = {0};
    begin(&f, round);
    tm_node_query q = {.min_bytes = random_below(200), .max_bytes = random_below(300)};
    if (round % 3 == 0) q.type = "*1";
    if (round % 5 == 0) q.match = "^T[13]$";
    q.only_reachable = round % 4 == 1;
    q.only_unreachable = round % 4 == 2;
    for (uint32_t n = 0; n < f.g->node_count; n++) {
      uint64_t bytes = tm_graph_size(f.g, n);
      uint32_t type = f.g->type[n];
      want[n] = bytes >= q.min_bytes && (!q.max_bytes || bytes <= q.max_bytes)
                && (!q.type || type == 1) && (!q.match || type == 1 || type == 3)
                && (!q.only_reachable || f.all[n]) && (!q.only_unreachable || !f.all[n]);
    }
    tm_node_set have;
    assert_int_equal(tm_node_set_select(&f.ctx, f.g, f.t, &q, &have), TM_OK);
    expect(f.g, &have, want);
    end(&f);
  }
}

static void chooses_roots_by_kind(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_graph *g = graph_of(&ctx, 130, NULL, 0, 2);
  graph_root(&ctx, g, 3, TM_ROOT_STACK);
  graph_root(&ctx, g, 129, TM_ROOT_STATIC);
  tm_node_set have;
  tm_node_query q = {.only_roots = true, .root_kinds = 1u << TM_ROOT_STATIC};
  assert_int_equal(tm_node_set_select(&ctx, g, NULL, &q, &have), TM_OK);
  assert_int_equal(tm_node_set_count(&have), 1);
  assert_int_equal(tm_node_set_next(&have, 0), 129);
  assert_int_equal(tm_node_set_next(&have, 130), TM_NODE_NONE);
  tm_node_set_fini(&have);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

// A class that claims to be its own superclass asks no endless question.
static void asks_for_classes_above(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_graph *g = graph_of(&ctx, 4, NULL, 0, 4);
  g->types.items[3].super = 2;
  g->types.items[2].super = 1;
  g->types.items[0].super = 0;
  tm_node_set have;
  tm_node_query q = {.extends = "T1"};
  assert_int_equal(tm_node_set_select(&ctx, g, NULL, &q, &have), TM_OK);
  expect(g, &have, (uint8_t[]){0, 1, 1, 1});
  q = (tm_node_query){.match = "["};
  assert_int_equal(tm_node_set_select(&ctx, g, NULL, &q, &have), TM_E_ARG);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

static void joins_as_sets_do(void **unused) {
  (void)unused;
  for (int round = 0; round < 100; round++) {
    fixture f;
    begin(&f, round);
    tm_node_set other;
    uint8_t in[64] = {0}, want[3][64];
    assert_int_equal(tm_node_set_init(&f.ctx, f.g, &other), TM_OK);
    for (uint32_t n = 0; n < f.g->node_count; n++)
      if ((in[n] = (uint8_t)random_below(2))) tm_node_set_add(&other, n);
    for (uint32_t n = 0; n < f.g->node_count; n++) {
      want[TM_NODE_SET_OR][n] = f.in[n] || in[n];
      want[TM_NODE_SET_AND][n] = f.in[n] && in[n];
      want[TM_NODE_SET_WITHOUT][n] = f.in[n] && !in[n];
    }
    tm_node_set_op op = (tm_node_set_op)(round % 3);
    tm_node_set_join(&f.set, &other, op);
    for (uint32_t n = 0; n < f.g->node_count; n++)
      assert_int_equal(tm_node_set_has(&f.set, n), want[op][n]);
    tm_node_set_fini(&other);
    end(&f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(retains_what_dies_with_it), cmocka_unit_test(knows_who_dominates_it),
      cmocka_unit_test(knows_its_neighbours),      cmocka_unit_test(chooses_what_is_asked),
      cmocka_unit_test(chooses_roots_by_kind),     cmocka_unit_test(asks_for_classes_above),
      cmocka_unit_test(joins_as_sets_do),          cmocka_unit_test(reaches_what_it_leads_to),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
