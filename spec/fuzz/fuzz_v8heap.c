// floors: read analyze
// Any bytes as a heap snapshot of V8 or JavaScriptCore: read, read in part with an offset inside
// them, or refused; every edge leads to an object, every object has a type, and what can be asked
// of a graph has an answer.
#include "analyze/distance.h"
#include "analyze/objects.h"
#include "model/profile.h"
#include "read/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_model(const tm_graph *g, size_t size) {
  if (g->node_count > size || g->edge_count > size) abort();
  if (g->edge_begin[g->node_count] != g->edge_count) abort();
  for (uint32_t n = 0; n < g->node_count; n++)
    if (g->edge_begin[n] > g->edge_begin[n + 1] || g->type[n] >= g->types.count) abort();
  for (uint32_t e = 0; e < g->edge_count; e++)
    if (g->edge_to[e] >= g->node_count) abort();
  for (size_t r = 0; r < g->roots.count; r++)
    if (g->roots.items[r].node >= g->node_count || g->roots.items[r].label >= g->strings.count)
      abort();
}

static void ask_node(tm_ctx *ctx, const tm_graph *g, uint32_t node) {
  tm_table *table;
  char text[64];
  if (tm_table_new(ctx, &table) != TM_OK) abort();
  if (g->detail->fields(ctx, g, node, table) != TM_OK) abort();
  tm_table_free(table);
  if (tm_table_new(ctx, &table) != TM_OK) abort();
  if (g->detail->stack && g->detail->stack(ctx, g, node, table) != TM_OK) abort();
  tm_table_free(table);
  if (g->detail->preview(ctx, g, node, text, sizeof text) != TM_OK) abort();
  if (g->detail->source) g->detail->source(g, node, text, sizeof text);
  if (g->detail->raw_bytes) g->detail->raw_bytes(g, node);
  if (g->detail->find(g, g->detail->id(g, node)) == TM_NODE_NONE) abort();
  for (uint32_t e = 0; e < g->edge_begin[node + 1] - g->edge_begin[node] && e < 100; e++)
    if (g->detail->edge_name(ctx, g, node, e, text, sizeof text) != TM_OK) abort();
}

static void ask_allocations(tm_ctx *ctx, const tm_graph *g) {
  tm_profile *p;
  if (!g->detail->allocations) return;
  if (g->detail->allocations(ctx, g, &p) != TM_OK) abort();
  for (size_t i = 0; p && i < p->stack.count; i++)
    if (p->stack.items[i] >= p->locations.count) abort();
  tm_profile_free(p);
}

static void ask(tm_ctx *ctx, const tm_graph *g) {
  ask_allocations(ctx, g);
  tm_domtree *tree;
  tm_domchildren children;
  tm_table *table;
  int32_t *distance = malloc(((size_t)g->node_count + 1) * sizeof *distance);
  if (!distance || tm_distance(ctx, g, distance) != TM_OK) abort();
  free(distance);
  if (tm_domtree_new(ctx, g, TM_STRENGTH_SOFT, &tree) != TM_OK) abort();
  if (g->edge_kind && tree->reached != g->node_count) abort(); // V8: what nothing holds is a root
  if (tm_domtree_children(ctx, tree, &children) != TM_OK) abort();
  if (tm_table_new(ctx, &table) != TM_OK) abort();
  if (tm_objects_table(ctx, g, tree, &children, TM_OBJECTS_BY_RETAINED, 10, table) != TM_OK)
    abort();
  tm_table_free(table);
  for (uint32_t n = 0; n < g->node_count && n < 100; n++) ask_node(ctx, g, n);
  tm_domchildren_fini(&children);
  tm_domtree_free(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_snapshot s = {0};
  if (size > 1 && (data[0] == 0x1f || data[0] == 0x28)) return 0; // packed: of the other targets
  tm_ctx_init(&ctx, NULL);
  bool jsc = size && data[size - 1] == 'j'; // the last byte chooses the reader
  tm_status status = tm_read_buffer(&ctx, data, size, jsc ? "jscheap" : "v8heap", &s);
  if (status != TM_OK && !*ctx.error.message) abort();
  if (status != TM_OK && ctx.error.offset_bytes != TM_NO_OFFSET && ctx.error.offset_bytes > size)
    abort();
  if (s.model) {
    tm_ctx_clear(&ctx);
    check_model(s.model, size);
    ask(&ctx, s.model);
  }
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return 0;
}
