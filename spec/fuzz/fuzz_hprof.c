// floors: read analyze
// Any bytes as a JVM heap dump: read, read in part with an offset inside them, or refused; every
// edge and root leads to an object, dominators hold together, each object that a root reaches has a
// path, and what can be asked of a graph has an answer. The table of classes that one pass gives
// has the totals of the graph.
#include "analyze/objects.h"
#include "analyze/type_paths.h"
#include "read/hprof_histogram.h"
#include "read/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ASKED = 64 };

static void must(bool is_true) {
  if (!is_true) abort();
}

static bool is_packed(const uint8_t *data, size_t size) {
  return size > 1 && (data[0] == 0x1f || data[0] == 0x28);
}

static void check_model(const tm_graph *g) {
  uint64_t bytes = 0;
  must(g->edge_begin[0] == 0 && g->edge_begin[g->node_count] == g->edge_count);
  for (uint32_t n = 0; n < g->node_count; n++) {
    must(g->edge_begin[n] <= g->edge_begin[n + 1] && g->type[n] < g->types.count);
    must(g->detail->find(g, g->detail->id(g, n)) == n);
    bytes += tm_graph_size(g, n);
  }
  must(bytes == g->shallow_bytes);
  for (uint32_t e = 0; e < g->edge_count; e++) must(g->edge_to[e] < g->node_count);
  for (size_t t = 0; t < g->types.count; t++) {
    const tm_type *type = &g->types.items[t];
    must(type->name < g->strings.count);
    must(type->super == TM_NODE_NONE || type->super < g->types.count);
    must(type->loader == TM_NODE_NONE || type->loader < g->node_count);
    must(type->node == TM_NODE_NONE || type->node < g->node_count);
  }
  for (size_t r = 0; r < g->roots.count; r++) {
    const tm_root *root = &g->roots.items[r];
    must(root->node < g->node_count && root->kind < TM_ROOT_KINDS);
    must(root->label < g->strings.count);
    must(root->thread == TM_NODE_NONE || root->thread < g->node_count);
    must(!root->held || root->thread != TM_NODE_NONE);
  }
}

static void check_tree(const tm_graph *g, const tm_domtree *t) {
  uint64_t bytes = 0;
  for (uint32_t v = 1; v <= t->reached; v++) {
    must(t->idom[v] < v && t->number[t->vertex[v]] == v);
    must(t->retained[v] <= t->retained[t->idom[v]]);
    bytes += tm_graph_size(g, t->vertex[v]);
  }
  must(bytes == t->retained[0]);
}

static tm_table *new_table(tm_ctx *ctx) {
  tm_table *out;
  must(tm_table_new(ctx, &out) == TM_OK);
  return out;
}

static void ask_node(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t, uint32_t node) {
  char text[256];
  uint32_t places[ASKED];
  tm_contents contents;
  tm_field field;
  tm_table *table = new_table(ctx);
  must(tm_objects_path(ctx, g, t, node, TM_STRENGTH_SOFT, table) == TM_OK);
  must((tm_table_row_count(table) > 0) == (t->number[node] > 0));
  tm_table_free(table);
  table = new_table(ctx);
  must(g->detail->fields(ctx, g, node, table) == TM_OK);
  tm_table_free(table);
  table = new_table(ctx);
  must(g->detail->stack(ctx, g, node, table) == TM_OK);
  tm_table_free(table);
  must(g->detail->heap(g, node) < g->strings.count);
  must(g->detail->preview(ctx, g, node, text, sizeof text) == TM_OK);
  uint32_t edges = g->edge_begin[node + 1] - g->edge_begin[node];
  must(g->detail->places(g, node, places, ASKED) <= edges);
  for (uint32_t e = 0; e < edges && e < ASKED; e++)
    must(g->detail->edge_name(ctx, g, node, e, text, sizeof text) == TM_OK);
  if (g->detail->contents(g, node, &contents)) must(contents.owner < g->node_count);
  if (g->detail->field(g, node, "value", &field))
    must(field.node == TM_NODE_NONE || field.node < g->node_count);
}

static void ask_beside(tm_ctx *ctx, const tm_graph *g) {
  tm_profile *p;
  tm_table *table = new_table(ctx);
  must(g->detail->problems(ctx, g, table) == TM_OK);
  tm_table_free(table);
  must(g->detail->allocations(ctx, g, &p) == TM_OK);
  for (size_t i = 0; p && i < p->stack.count; i++) must(p->stack.items[i] < p->locations.count);
  tm_profile_free(p);
}

static void ask(tm_ctx *ctx, const tm_graph *g) {
  tm_domtree *tree;
  tm_domchildren children;
  tm_profile *paths;
  must(tm_domtree_new(ctx, g, TM_STRENGTH_SOFT, &tree) == TM_OK);
  check_tree(g, tree);
  must(tm_domtree_children(ctx, tree, &children) == TM_OK);
  tm_table *table = new_table(ctx);
  must(tm_objects_table(ctx, g, tree, &children, TM_OBJECTS_BY_RETAINED, 0, table) == TM_OK);
  tm_table_free(table);
  must(tm_type_paths(ctx, g, TM_STRENGTH_SOFT, NULL, &paths) == TM_OK);
  tm_profile_free(paths);
  ask_beside(ctx, g);
  uint32_t step = g->node_count / ASKED + 1;
  for (uint32_t n = 0; n < g->node_count; n += step) ask_node(ctx, g, tree, n);
  tm_domchildren_fini(&children);
  tm_domtree_free(tree);
}

// Two readings of one file: a class that comes twice may differ, the walk over objects must not.
static void ask_histogram(tm_ctx *ctx, const uint8_t *data, size_t size, bool whole) {
  tm_source source = {.data = data, .size = size};
  tm_table *table = new_table(ctx);
  bool partial;
  tm_status status = tm_hprof_histogram(ctx, &source, 0, table, &partial);
  must(!whole || status == TM_OK);
  must(status != TM_OK || whole == !partial);
  tm_table_free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_snapshot s = {0};
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_read_buffer(&ctx, data, size, "hprof", &s);
  must(status == TM_OK || *ctx.error.message);
  if (status != TM_OK && ctx.error.offset_bytes != TM_NO_OFFSET && !is_packed(data, size))
    must(ctx.error.offset_bytes <= size);
  must(status == TM_OK || !s.model || s.partial);
  if (s.model) {
    tm_ctx_clear(&ctx);
    check_model(s.model);
    ask(&ctx, s.model);
  }
  if (!is_packed(data, size)) ask_histogram(&ctx, data, size, status == TM_OK);
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return 0;
}
