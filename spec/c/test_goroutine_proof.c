// floors: model analyze
// The proof against the rule read literally, on random graphs: mark everything from the roots and
// from goroutines that are not in question, release who waits for something marked, begin anew.
#include "analyze/goroutine_proof.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

enum { NODES = 60, EDGES = 110, WAITS = 12, ROUNDS = 3000, HIDDEN = 2 };

static uint64_t state = 88172645463325252u;
static uint32_t random_below(uint32_t n) { // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state % n);
}

static uint32_t from[EDGES], to[EDGES];

// Nodes 0 .. WAITS-1 are goroutines, the next HIDDEN * WAITS the queue entries of each.
static tm_graph *make_graph(tm_ctx *ctx) {
  tm_graph *g;
  assert_int_equal(tm_graph_new(ctx, &g), TM_OK);
  assert_int_equal(tm_graph_alloc_nodes(ctx, g, NODES), TM_OK);
  assert_int_equal(tm_vec_push(ctx, &g->types, (tm_type){.super = TM_NODE_NONE}), TM_OK);
  g->edge_count = EDGES;
  g->edge_to = tm_alloc(ctx, EDGES * sizeof *g->edge_to);
  for (uint32_t e = 0; e < EDGES; e++) {
    from[e] = random_below(NODES);
    to[e] = random_below(NODES);
  }
  uint32_t at = 0;
  for (uint32_t n = 0; n < NODES; n++) {
    assert_int_equal(tm_graph_set_size(ctx, g, n, 1 + n), TM_OK);
    for (uint32_t e = 0; e < EDGES; e++)
      if (from[e] == n) g->edge_to[at++] = to[e];
    g->edge_begin[n + 1] = at;
  }
  for (uint32_t i = 0; i < 4; i++) {
    tm_root root = {.node = random_below(NODES), .thread = TM_NODE_NONE, .held = i == 3};
    assert_int_equal(tm_vec_push(ctx, &g->roots, root), TM_OK);
  }
  for (uint32_t i = 0; i < WAITS; i++) {
    tm_graph_goroutine one = {.id = 100 + i, .node = i, .waits = true, .stack_bytes = 1};
    assert_int_equal(tm_vec_push(ctx, &g->goroutines, one), TM_OK);
  }
  return g;
}

static void make_waits(tm_ctx *ctx, tm_waits *w) {
  for (uint32_t i = 0; i < WAITS; i++) {
    if (random_below(4) == 0) continue; // not understood: alive
    tm_wait one = {.goroutine = i,
                   .target_begin = (uint32_t)w->targets.count,
                   .hidden_begin = (uint32_t)w->hidden.count};
    for (uint32_t k = random_below(3); k > 0; k--)
      assert_int_equal(tm_vec_push(ctx, &w->targets, random_below(NODES)), TM_OK);
    for (uint32_t k = 0; k < HIDDEN; k++)
      assert_int_equal(tm_vec_push(ctx, &w->hidden, WAITS + HIDDEN * i + k), TM_OK);
    one.target_end = (uint32_t)w->targets.count;
    one.hidden_end = (uint32_t)w->hidden.count;
    assert_int_equal(tm_vec_push(ctx, &w->items, one), TM_OK);
  }
  assert_int_equal(tm_vec_push(ctx, &w->finalized, random_below(NODES)), TM_OK);
}

static bool is_stopped(const tm_graph *g, const tm_waits *w, const bool *released, uint32_t node) {
  for (size_t i = 0; i < w->items.count; i++) {
    const tm_wait *one = &w->items.items[i];
    if (released[i]) continue;
    if (g->goroutines.items[one->goroutine].node == node) return true;
    for (uint32_t k = one->hidden_begin; k < one->hidden_end; k++)
      if (w->hidden.items[k] == node) return true;
  }
  return false;
}

static void mark(const tm_graph *g, const tm_waits *w, const bool *released, bool *marked) {
  memset(marked, 0, NODES);
  for (size_t i = 0; i < g->roots.count; i++)
    if (!g->roots.items[i].held) marked[g->roots.items[i].node] = true;
  for (bool again = true; again;) {
    again = false;
    for (uint32_t e = 0; e < EDGES; e++) {
      bool final = from[e] == w->finalized.items[0];
      bool open = marked[from[e]] && !is_stopped(g, w, released, from[e]);
      if (marked[to[e]] || (!open && !final)) continue;
      marked[to[e]] = again = true;
    }
  }
}

static void release_all(const tm_graph *g, const tm_waits *w, bool *released, bool *marked) {
  for (bool again = true; again;) {
    again = false;
    mark(g, w, released, marked);
    for (size_t i = 0; i < w->items.count; i++) {
      const tm_wait *one = &w->items.items[i];
      for (uint32_t k = one->target_begin; k < one->target_end && !released[i]; k++)
        if (marked[w->targets.items[k]]) released[i] = again = true;
    }
  }
}

// Bytes that leaked goroutines reach through what nobody else does.
static uint64_t forsaken_bytes(const tm_waits *w, const bool *released, const bool *marked) {
  bool held[NODES] = {0}, source[NODES] = {0};
  uint64_t bytes = 0;
  for (size_t i = 0; i < w->items.count; i++) {
    const tm_wait *one = &w->items.items[i];
    if (released[i]) continue;
    source[one->goroutine] = true;
    for (uint32_t k = one->hidden_begin; k < one->hidden_end; k++)
      source[w->hidden.items[k]] = true;
  }
  for (bool again = true; again;) {
    again = false;
    for (uint32_t e = 0; e < EDGES; e++)
      if ((source[from[e]] || held[from[e]]) && !held[to[e]] && !marked[to[e]])
        held[to[e]] = again = true;
  }
  for (uint32_t n = 0; n < NODES; n++) bytes += held[n] ? 1 + n : 0;
  return bytes;
}

static int64_t note(const tm_table *t, const char *key) {
  for (size_t i = 0; i < tm_table_note_count(t); i++)
    if (strcmp(tm_table_string(t, tm_table_note(t, i)->key), key) == 0)
      return tm_table_note(t, i)->integer;
  return -1;
}

static void check_one(tm_ctx *ctx) {
  bool released[WAITS] = {0}, marked[NODES];
  tm_graph *g = make_graph(ctx);
  tm_waits w = {0};
  tm_profile *p;
  tm_table *t;
  tm_proof_options options = {0};
  int64_t leaked = 0;
  make_waits(ctx, &w);
  assert_int_equal(tm_goroutine_profile(ctx, g, NULL, &p), TM_OK);
  assert_int_equal(tm_table_new(ctx, &t), TM_OK);
  assert_int_equal(tm_goroutine_proof(ctx, g, &w, p, &options, t), TM_OK);
  release_all(g, &w, released, marked);
  for (size_t i = 0; i < w.items.count; i++) leaked += !released[i];
  assert_int_equal(note(t, "leaked"), leaked);
  assert_int_equal(note(t, "examined"), w.items.count);
  assert_int_equal(note(t, "retained_bytes"), forsaken_bytes(&w, released, marked));
  if (leaked) assert_int_equal(tm_table_int(t, 0, 0), leaked); // all alike: no names, no stacks
  tm_table_free(t);
  tm_profile_free(p);
  tm_waits_fini(ctx, &w);
  tm_graph_free(g);
}

static void is_the_rule_read_literally(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  for (int i = 0; i < ROUNDS; i++) check_one(&ctx);
  tm_ctx_fini(&ctx);
}

static void refuses_a_foreign_profile(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_graph *g = make_graph(&ctx);
  tm_waits w = {0};
  tm_profile *p;
  tm_table *t;
  tm_proof_options options = {0};
  assert_int_equal(tm_profile_new(&ctx, &p), TM_OK);
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  assert_int_equal(tm_goroutine_proof(&ctx, g, &w, p, &options, t), TM_E_ARG);
  tm_table_free(t);
  tm_profile_free(p);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(is_the_rule_read_literally),
                                     cmocka_unit_test(refuses_a_foreign_profile)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
