// What is kept of a V8 heap snapshot, to an index and back: the columns that the graph has no room
// for, places of strings in the file, WeakMap pairs, locations and allocation stacks.
#include "model/columns.h"
#include "read/v8heap_impl.h"

#include <string.h>

static bool pairs_fit(const v8heap *h) {
  for (size_t i = 0; i < h->pairs.count; i++) {
    const v8heap_pair *p = &h->pairs.items[i];
    if (p->string >= h->string_at.count || p->pair >= h->pair_count) return false;
    if (i && p[-1].string >= p->string) return false;
  }
  return h->pair_count <= h->pairs.count;
}

static bool places_fit(const v8heap *h) {
  uint32_t nodes = h->graph->node_count;
  for (size_t i = 0; i < h->locations.count; i++) {
    const v8heap_location *at = &h->locations.items[i];
    if (at->node >= nodes || (at->script_node != TM_NODE_NONE && at->script_node >= nodes))
      return false;
  }
  for (size_t i = 0; i < h->calls.count; i++) // upwards only
    if (h->calls.items[i].parent != TM_NODE_NONE && h->calls.items[i].parent >= i) return false;
  return true;
}

// Kinds within their table, strings within the file, sizes where they are looked for.
static bool nodes_fit(const v8heap *h) {
  uint32_t nodes = h->graph->node_count;
  uint8_t kind = 0;
  bool big = false;
  for (uint32_t n = 0; n < nodes; n++) {
    kind = h->type.items[n] > kind ? h->type.items[n] : kind;
    big |= h->self.items[n] == UINT32_MAX;
  }
  uint64_t last = 0;
  for (size_t i = 0; i < h->string_at.count; i++)
    last = h->string_at.items[i] > last ? h->string_at.items[i] : last;
  return kind < TYPE_NAMES_MAX && (!big || h->self_big.count) && last < h->size;
}

static tm_status mark_pairs(tm_columns *c, v8heap *h) {
  h->is_pair_bytes = h->string_at.count / 8 + 1;
  h->is_pair = tm_calloc(c->ctx, h->is_pair_bytes, 1);
  if (!h->is_pair) return TM_E_NOMEM;
  for (size_t i = 0; i < h->pairs.count; i++)
    h->is_pair[h->pairs.items[i].string / 8] |= (uint8_t)(1u << h->pairs.items[i].string % 8);
  return TM_OK;
}

static tm_status facts(tm_columns *c, v8heap *h) {
  struct {
    uint32_t node_type_count, pair_count, has_detached, has_trace;
    uint32_t known[S_COUNT];
  } head = {.node_type_count = h->node_type_count,
            .pair_count = h->pair_count,
            .has_detached = h->has_detached,
            .has_trace = h->has_trace};
  memcpy(head.known, h->known, sizeof head.known);
  TM_TRY(tm_columns_value(c, &head, sizeof head));
  TM_TRY(tm_columns_value(c, h->node_types, sizeof h->node_types));
  TM_TRY(tm_columns_value(c, h->node_type_names, sizeof h->node_type_names));
  if (!c->taking) return TM_OK;
  memcpy(h->known, head.known, sizeof head.known);
  h->node_type_count = head.node_type_count < TYPE_NAMES_MAX ? head.node_type_count : 0;
  h->pair_count = head.pair_count;
  h->has_detached = head.has_detached != 0;
  h->has_trace = head.has_trace != 0;
  for (size_t i = 0; i < TYPE_NAMES_MAX; i++) h->node_type_names[i][23] = '\0';
  return TM_OK;
}

// A column of as many items as there are nodes; of edges, the columns may hold some that no node
// claims.
static tm_status columns(tm_columns *c, v8heap *h) {
  const tm_graph *g = h->graph;
  TM_TRY(tm_columns_big_vec(c, &h->type));
  TM_TRY(tm_columns_big_vec(c, &h->name));
  TM_TRY(tm_columns_big_vec(c, &h->id));
  TM_TRY(tm_columns_big_vec(c, &h->self));
  TM_TRY(tm_columns_vec(c, &h->self_big));
  TM_TRY(tm_columns_big_vec(c, &h->trace));
  TM_TRY(tm_columns_big_vec(c, &h->edge_type));
  TM_TRY(tm_columns_big_vec(c, &h->edge_name));
  size_t n = g->node_count;
  bool whole = h->type.count == n && h->name.count == n && h->id.count == n && h->self.count == n
               && h->edge_type.count >= g->edge_count && h->edge_name.count >= g->edge_count;
  return whole ? TM_OK : tm_columns_damaged(c, "a column is of another length");
}

tm_status v8heap_columns(tm_columns *c, tm_graph *g) {
  v8heap *h = g->kept;
  TM_TRY(facts(c, h));
  TM_TRY(columns(c, h));
  TM_TRY(tm_columns_big_vec(c, &h->string_at));
  TM_TRY(tm_columns_vec(c, &h->pairs));
  TM_TRY(tm_columns_vec(c, &h->locations));
  TM_TRY(tm_columns_vec(c, &h->functions));
  TM_TRY(tm_columns_vec(c, &h->calls));
  TM_TRY(tm_columns_idmap(c, &h->call_of_trace));
  TM_TRY(tm_columns_idmap(c, &h->script_names));
  if (!c->taking) return TM_OK;
  if (!g->flags || (g->edge_count && !g->edge_kind))
    return tm_columns_damaged(c, "a column is missing");
  if (!nodes_fit(h)) return tm_columns_damaged(c, "an object is of no sense");
  if (!pairs_fit(h) || !places_fit(h)) return tm_columns_damaged(c, "a place is of no sense");
  return mark_pairs(c, h);
}

tm_status v8heap_restore(tm_ctx *ctx, const tm_source *src, tm_graph **out) {
  v8heap *h = tm_calloc(ctx, 1, sizeof *h);
  if (!h) return TM_E_NOMEM;
  tm_status status = tm_graph_new(ctx, &h->graph);
  if (status != TM_OK) {
    tm_free(ctx, h, sizeof *h);
    return status;
  }
  h->data = (const char *)src->data;
  h->size = src->size;
  h->graph->kept = h;
  h->graph->detail = &v8heap_detail;
  *out = h->graph;
  return TM_OK;
}
