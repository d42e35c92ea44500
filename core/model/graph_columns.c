// A graph's arrays to an index and back. The great ones stay in the index; what is read from it is
// checked in one pass each: types and ends of edges in range, ranges of edges ascending, lists of
// things that few dumps have many of looked at one by one.
#include "model/columns.h"
#include "model/graph.h"

enum { SUPERS_MAX = 1001 }; // types above one another; readers cut longer chains

static bool all_below(const uint32_t *items, size_t count, uint32_t limit) {
  uint32_t greatest = 0;
  for (size_t i = 0; i < count; i++) greatest = items[i] > greatest ? items[i] : greatest;
  return !count || greatest < limit;
}

static bool is_node(const tm_graph *g, uint32_t node) {
  return node == TM_NODE_NONE || node < g->node_count;
}

// A byte that a bool was copied from may only be one of two.
static bool is_bool(const bool *flag) {
  return *(const uint8_t *)flag <= 1;
}

static bool ends_above(const tm_graph *g, uint32_t type) {
  for (int i = 0; i < SUPERS_MAX; i++) {
    type = g->types.items[type].super;
    if (type == TM_NODE_NONE) return true;
    if (type >= g->types.count) return false;
  }
  return false;
}

static bool types_fit(const tm_graph *g) {
  for (size_t i = 0; i < g->types.count; i++) {
    const tm_type *t = &g->types.items[i];
    if (!is_node(g, t->loader) || !is_node(g, t->node)) return false;
    if (t->strength > TM_STRENGTH_PHANTOM || !ends_above(g, (uint32_t)i)) return false;
  }
  return true;
}

static bool roots_fit(const tm_graph *g) {
  for (size_t i = 0; i < g->roots.count; i++) {
    const tm_root *r = &g->roots.items[i];
    if (r->node >= g->node_count || !is_node(g, r->thread)) return false;
    if (r->kind >= TM_ROOT_KINDS || !is_bool(&r->held)) return false;
  }
  return true;
}

static bool goroutines_fit(const tm_graph *g) {
  for (size_t i = 0; i < g->goroutines.count; i++) {
    const tm_graph_goroutine *r = &g->goroutines.items[i];
    if (!is_node(g, r->node) || !is_bool(&r->waits) || !is_bool(&r->system)) return false;
    if (r->frame_begin > r->frame_end || r->frame_end > g->frames.count) return false;
  }
  return true;
}

static bool sizes_fit(const tm_graph *g) {
  for (size_t i = 1; i < g->big.count; i++)
    if (g->big.items[i - 1].node >= g->big.items[i].node) return false;
  return true;
}

static bool edges_fit(const tm_graph *g) {
  bool back = g->edge_begin[0] != 0;
  for (uint32_t n = 0; n < g->node_count; n++) back |= g->edge_begin[n] > g->edge_begin[n + 1];
  if (back || g->edge_begin[g->node_count] > g->edge_count) return false;
  uint8_t weakest = 0;
  for (size_t e = 0; g->edge_kind && e < g->edge_count; e++)
    weakest = g->edge_kind[e] > weakest ? g->edge_kind[e] : weakest;
  return weakest <= TM_STRENGTH_PHANTOM && all_below(g->edge_to, g->edge_count, g->node_count);
}

static tm_status check(tm_columns *c, const tm_graph *g) {
  if (!types_fit(g)) return tm_columns_damaged(c, "a type is of no sense");
  if (!roots_fit(g)) return tm_columns_damaged(c, "a root is of no sense");
  if (!goroutines_fit(g)) return tm_columns_damaged(c, "a goroutine is of no sense");
  if (!sizes_fit(g)) return tm_columns_damaged(c, "its sizes are out of order");
  if (!all_below(g->type, g->node_count, (uint32_t)g->types.count))
    return tm_columns_damaged(c, "an object is of no type");
  return edges_fit(g) ? TM_OK : tm_columns_damaged(c, "a reference leads nowhere");
}

tm_status tm_graph_columns(tm_columns *c, tm_graph *g) {
  struct {
    uint64_t shallow_bytes;
    uint32_t node_count, edge_count;
    uint32_t has_kinds, has_flags;
  } head = {g->shallow_bytes, g->node_count, g->edge_count, g->edge_kind != NULL, g->flags != NULL};
  TM_TRY(tm_columns_value(c, &head, sizeof head));
  if (!head.node_count || head.node_count == TM_NODE_NONE)
    return tm_columns_damaged(c, "it has no objects");
  g->shallow_bytes = head.shallow_bytes;
  g->node_count = head.node_count;
  g->edge_count = head.edge_count;
  TM_TRY(tm_columns_strings(c, &g->strings));
  TM_TRY(tm_columns_vec(c, &g->types));
  TM_TRY(tm_columns_vec(c, &g->roots));
  TM_TRY(tm_columns_vec(c, &g->big));
  TM_TRY(tm_columns_vec(c, &g->goroutines));
  TM_TRY(tm_columns_vec(c, &g->frames));
  size_t nodes = g->node_count, edges = g->edge_count;
  TM_TRY(tm_columns_array(c, (void **)&g->type, nodes, sizeof *g->type));
  TM_TRY(tm_columns_array(c, (void **)&g->size, nodes, sizeof *g->size));
  TM_TRY(tm_columns_array(c, (void **)&g->edge_begin, nodes + 1, sizeof *g->edge_begin));
  TM_TRY(tm_columns_array(c, (void **)&g->edge_to, edges, sizeof *g->edge_to));
  if (head.has_kinds) TM_TRY(tm_columns_array(c, (void **)&g->edge_kind, edges, 1));
  if (head.has_flags) TM_TRY(tm_columns_array(c, (void **)&g->flags, nodes, 1));
  return c->taking ? check(c, g) : TM_OK;
}
