// floors: model analyze
// Type paths against the rule read literally on random graphs (every object at one path that is a
// walk of the graph, owned by the first class of roots that reaches it), deep chains, and threads.
#include "analyze/type_paths.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 40, EDGES = 70, TYPES = 6, ROUNDS = 1500 };

// Kinds of roots as they own: the index of THREAD, and how many.
enum { THREAD = 2, KINDS = 4 };

static uint64_t state = 88172645463325252u;
static uint32_t random_below(uint32_t n) { // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state % n);
}

static tm_status edge_name(tm_ctx *ctx, const tm_graph *g, uint32_t node, uint32_t index, char *out,
                           size_t size) {
  (void)ctx, (void)g, (void)node;
  snprintf(out, size, "f%u", index % 3);
  return TM_OK;
}

static uint32_t places(const tm_graph *g, uint32_t node, uint32_t *out, uint32_t room) {
  uint32_t n = g->edge_begin[node + 1] - g->edge_begin[node];
  for (uint32_t i = 0; i < n && i < room; i++) out[i] = 1 + i % 3;
  return n;
}

static const tm_graph_detail named = {.edge_name = edge_name};
static const tm_graph_detail placed = {.edge_name = edge_name, .places = places};

static tm_graph *make(tm_ctx *ctx, uint32_t n, uint32_t types) {
  tm_graph *g;
  assert_int_equal(tm_graph_new(ctx, &g), TM_OK);
  assert_int_equal(tm_graph_alloc_nodes(ctx, g, n), TM_OK);
  for (uint32_t i = 0; i < types; i++) {
    char name[16];
    tm_type t = {.super = TM_NODE_NONE, .loader = TM_NODE_NONE, .node = TM_NODE_NONE};
    int size = snprintf(name, sizeof name, "T%u", i);
    assert_int_equal(tm_strtab_intern(ctx, &g->strings, name, (size_t)size, &t.name), TM_OK);
    assert_int_equal(tm_vec_push(ctx, &g->types, t), TM_OK);
  }
  for (uint32_t i = 0; i < n; i++) {
    g->type[i] = random_below(types);
    assert_int_equal(tm_graph_set_size(ctx, g, i, 1 + i), TM_OK);
  }
  return g;
}

static void add_root(tm_ctx *ctx, tm_graph *g, uint32_t node, tm_root_kind kind) {
  tm_root root = {.node = node, .thread = TM_NODE_NONE, .kind = (uint8_t)kind};
  assert_int_equal(tm_vec_push(ctx, &g->roots, root), TM_OK);
}

static tm_graph *make_random(tm_ctx *ctx) {
  uint32_t from[EDGES], to[EDGES], at = 0;
  tm_graph *g = make(ctx, NODES, TYPES);
  for (uint32_t e = 0; e < EDGES; e++) from[e] = random_below(NODES), to[e] = random_below(NODES);
  g->edge_count = EDGES;
  g->edge_to = tm_alloc(ctx, EDGES * sizeof *g->edge_to);
  for (uint32_t n = 0; n < NODES; n++) {
    for (uint32_t e = 0; e < EDGES; e++)
      if (from[e] == n) g->edge_to[at++] = to[e];
    g->edge_begin[n + 1] = at;
  }
  add_root(ctx, g, random_below(NODES), TM_ROOT_STATIC);
  add_root(ctx, g, random_below(NODES), TM_ROOT_JNI_GLOBAL);
  add_root(ctx, g, random_below(NODES), TM_ROOT_THREAD);
  add_root(ctx, g, random_below(NODES), TM_ROOT_STACK);
  return g;
}

static void reach(const tm_graph *g, uint32_t from, const bool *stop, bool *seen) {
  uint32_t stack[NODES + EDGES + 1], n = 0;
  stack[n++] = from;
  while (n) {
    uint32_t v = stack[--n];
    if (seen[v]) continue;
    seen[v] = true;
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++)
      if (!stop[g->edge_to[e]]) stack[n++] = g->edge_to[e];
  }
}

// Bytes owned by the roots of each kind, in the order of KIND.
static void owned_bytes(const tm_graph *g, uint64_t out[KINDS]) {
  bool stop[NODES] = {0}, seen[NODES] = {0};
  uint32_t thread = g->roots.items[THREAD].node;
  stop[thread] = true;
  memset(out, 0, KINDS * sizeof *out);
  for (int i = 0; i < KINDS; i++) {
    uint64_t before = 0, after = 0;
    for (uint32_t n = 0; n < NODES; n++) before += seen[n] ? 1 + n : 0;
    if (i != THREAD && g->roots.items[i].node == thread) continue; // it is a thread first
    if (!seen[g->roots.items[i].node]) reach(g, g->roots.items[i].node, stop, seen);
    for (uint32_t n = 0; n < NODES; n++) after += seen[n] ? 1 + n : 0;
    out[i] = after - before;
  }
}

static const char *function_at(const tm_profile *p, uint32_t location) {
  const tm_location *l = &p->locations.items[location];
  return tm_profile_text(p, p->functions.items[p->lines.items[l->line_begin].function].name);
}

// Per kind of root: bytes of the samples under it. No step repeats the type before it or that
// before.
static void profile_bytes(const tm_profile *p, uint64_t out[KINDS]) {
  static const char *const kinds[KINDS] = {"static ", "jni global ", "thread ", "stack "};
  memset(out, 0, KINDS * sizeof *out);
  for (uint32_t s = 0; s < p->sample_count; s++) {
    uint32_t begin = tm_profile_stack_begin(p, s), end = p->stack_end.items[s];
    const char *root = function_at(p, p->stack.items[end - 1]);
    for (int i = 0; i < KINDS; i++)
      if (strncmp(root, kinds[i], strlen(kinds[i])) == 0)
        out[i] += (uint64_t)p->values.items[2 * s + 1];
    for (uint32_t i = begin; i + 1 < end; i++) {
      const char *here = strrchr(function_at(p, p->stack.items[i]), ' ');
      assert_string_not_equal(here, strrchr(function_at(p, p->stack.items[i + 1]), ' '));
      if (i + 2 < end)
        assert_string_not_equal(here, strrchr(function_at(p, p->stack.items[i + 2]), ' '));
    }
  }
}

// The path of a sample as a key: frames from the root on, joined by ';'.
static void key_of(const tm_profile *p, uint32_t s, char *out, size_t size) {
  size_t used = 0;
  for (uint32_t i = p->stack_end.items[s]; i > tm_profile_stack_begin(p, s); i--) {
    const char *frame = function_at(p, p->stack.items[i - 1]);
    int n = snprintf(out + used, size - used, "%s%s", used ? ";" : "", frame);
    assert_in_range(n, 1, size - used - 1);
    used += (size_t)n;
  }
}

// What is found at a path is what its samples count, and a set counts where its objects are.
static void check_selection(tm_ctx *ctx, const tm_graph *g, const tm_profile *p) {
  char keys[2][4096];
  const char *const wanted[] = {keys[0], keys[1], "static nothing", ""};
  tm_node_set sets[4] = {0};
  tm_profile *only;
  for (int i = 0; i < 2; i++)
    key_of(p, random_below((uint32_t)p->sample_count), keys[i], sizeof keys[i]);
  assert_int_equal(tm_type_paths_select(ctx, g, TM_STRENGTH_SOFT, wanted, 4, sets), TM_OK);
  for (int i = 0; i < 2; i++) {
    uint64_t objects = 0, bytes = 0;
    char key[4096];
    for (uint32_t s = 0; s < p->sample_count; s++) {
      key_of(p, s, key, sizeof key);
      if (strcmp(key, wanted[i]) != 0) continue;
      objects += (uint64_t)p->values.items[2 * s], bytes += (uint64_t)p->values.items[2 * s + 1];
    }
    assert_int_equal(tm_node_set_count(&sets[i]), objects);
    assert_int_equal(tm_node_set_shallow(&sets[i], g), bytes);
  }
  assert_int_equal(tm_node_set_count(&sets[2]), 0);
  assert_int_equal(tm_node_set_count(&sets[3]), 0);
  assert_int_equal(tm_type_paths(ctx, g, TM_STRENGTH_SOFT, &sets[0], &only), TM_OK);
  for (uint32_t s = 0; s < only->sample_count; s++) {
    char key[4096];
    key_of(only, s, key, sizeof key);
    assert_string_equal(key, wanted[0]);
  }
  tm_profile_free(only);
  for (int i = 0; i < 4; i++) tm_node_set_fini(&sets[i]);
}

static void owns_each_object_once(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  for (int i = 0; i < ROUNDS; i++) {
    tm_graph *g = make_random(&ctx);
    uint64_t expected[KINDS], found[KINDS];
    tm_profile *p;
    g->detail = i % 2 ? &named : &placed;
    assert_int_equal(tm_type_paths(&ctx, g, TM_STRENGTH_SOFT, NULL, &p), TM_OK);
    owned_bytes(g, expected);
    profile_bytes(p, found);
    for (int k = 0; k < KINDS; k++) assert_int_equal(found[k], expected[k]);
    check_selection(&ctx, g, p);
    tm_profile_free(p);
    tm_graph_free(g);
  }
  tm_ctx_fini(&ctx);
}

// root -> A -> B -> A -> B ... a million deep, and B -> C at its end.
static void folds_what_repeats(void **unused) {
  (void)unused;
  enum { DEEP = 1000000 };
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_graph *g = make(&ctx, DEEP + 1, 3);
  tm_profile *p;
  g->edge_count = DEEP;
  g->edge_to = tm_alloc(&ctx, DEEP * sizeof *g->edge_to);
  for (uint32_t n = 0; n <= DEEP; n++) {
    g->type[n] = n == DEEP ? 2 : n % 2;
    if (n < DEEP) g->edge_to[n] = n + 1;
    g->edge_begin[n + 1] = n < DEEP ? n + 1 : DEEP;
  }
  g->detail = &placed;
  add_root(&ctx, g, 0, TM_ROOT_STATIC);
  assert_int_equal(tm_type_paths(&ctx, g, TM_STRENGTH_SOFT, NULL, &p), TM_OK);
  assert_int_equal(p->sample_count, 3);
  assert_int_equal(p->values.items[0], DEEP / 2);
  assert_int_equal(p->values.items[2], DEEP / 2);
  assert_int_equal(p->values.items[4], 1);
  assert_string_equal(function_at(p, p->stack.items[tm_profile_stack_begin(p, 2)]), "f0 T2");
  tm_profile_free(p);
  tm_graph_free(g);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(owns_each_object_once),
                                     cmocka_unit_test(folds_what_repeats)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
