// Looking at single objects of a V8 heap snapshot: names, edges, values. All is decoded from the
// kept columns and the file when somebody asks.
#include "read/v8heap_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const v8heap *of(const tm_graph *g) {
  return g->kept;
}

static uint64_t node_id(const tm_graph *g, uint32_t node) {
  return node < g->node_count ? of(g)->id.items[node] : 0;
}

// Ids ascend in most snapshots, but not in all of each: a plain search.
static uint32_t find_node(const tm_graph *g, uint64_t id) {
  for (uint32_t n = 0; n < g->node_count; n++)
    if (of(g)->id.items[n] == id) return n;
  return TM_NODE_NONE;
}

static tm_status no_node(tm_ctx *ctx, uint32_t node) {
  return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
}

static tm_status edge_name(tm_ctx *ctx, const tm_graph *g, uint32_t node, uint32_t index, char *out,
                           size_t size) {
  if (node >= g->node_count || index >= g->edge_begin[node + 1] - g->edge_begin[node])
    return no_node(ctx, node);
  uint32_t e = g->edge_begin[node] + index;
  uint8_t kind = of(g)->edge_type.items[e];
  if (kind != X_ELEMENT && kind != X_HIDDEN && of(g)->edge_name.items[e] >= of(g)->string_at.count)
    snprintf(out, size, "?"); // its name came behind the cut
  else if (kind != X_ELEMENT && kind != X_HIDDEN)
    v8heap_decode(of(g), of(g)->edge_name.items[e], out, size);
  else
    snprintf(out, size, "[%" PRIu32 "]", of(g)->edge_name.items[e]);
  return TM_OK;
}

enum { KEYED = 64, GLOBALS_MAX = 4096 }; // an object with more properties is a table

// How many properties make a table of an object: names of global variables are worth telling.
static uint32_t keyed_from(const tm_graph *g, uint32_t node) {
  static const char scope[] = "GlobalScope";
  const char *type = tm_graph_type_name(g, node);
  size_t n = strlen(type), tail = sizeof scope - 1;
  bool global = strcmp(type, "global") == 0 || strncmp(type, "global /", 8) == 0
                || strncmp(type, "Window", 6) == 0
                || (n > tail && strcmp(type + n - tail, scope) == 0);
  return global ? GLOBALS_MAX : KEYED;
}

static uint32_t places(const tm_graph *g, uint32_t node, uint32_t *out, uint32_t room) {
  const v8heap *h = of(g);
  uint32_t begin = g->edge_begin[node], count = g->edge_begin[node + 1] - begin, properties = 0;
  uint32_t keyed = keyed_from(g, node);
  for (uint32_t i = 0; i < count && properties <= keyed; i++)
    properties += h->edge_type.items[begin + i] == X_PROPERTY;
  for (uint32_t i = 0; i < count && i < room; i++) {
    uint8_t kind = h->edge_type.items[begin + i];
    if (kind == X_ELEMENT || kind == X_HIDDEN)
      out[i] = TM_PLACE_ELEMENT;
    else if (kind == X_PROPERTY && properties > keyed)
      out[i] = TM_PLACE_KEY;
    else
      out[i] = 1 + h->edge_name.items[begin + i];
  }
  return count;
}

// The end of the first internal edge of that name, or TM_NODE_NONE.
static uint32_t part(const v8heap *h, uint32_t node, known_string name) {
  const tm_graph *g = h->graph;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++)
    if (h->edge_type.items[e] == X_INTERNAL && h->edge_name.items[e] == h->known[name])
      return g->edge_to[e];
  return TM_NODE_NONE;
}

// A string put together of two, each of which may be: the left ones first.
static void cons_text(const v8heap *h, uint32_t node, char *out, size_t size) {
  uint32_t open[64];
  size_t n = 0, depth = 0, steps = 0;
  open[depth++] = node;
  out[0] = '\0';
  while (depth && n + 8 < size && steps++ < 4096) {
    uint32_t at = open[--depth];
    if (v8heap_kind(h, at) != T_CONS) {
      n += v8heap_decode(h, h->name.items[at], out + n, size - n);
      continue;
    }
    uint32_t first = part(h, at, S_FIRST), second = part(h, at, S_SECOND);
    if (second != TM_NODE_NONE && depth < TM_COUNT(open)) open[depth++] = second;
    if (first != TM_NODE_NONE && depth < TM_COUNT(open)) open[depth++] = first;
  }
}

static tm_status preview(tm_ctx *ctx, const tm_graph *g, uint32_t node, char *out, size_t size) {
  if (node >= g->node_count) return no_node(ctx, node);
  const v8heap *h = of(g);
  node_type kind = v8heap_kind(h, node);
  if (kind == T_CONS) {
    cons_text(h, node, out, size);
    return TM_OK;
  }
  size_t n = v8heap_node_name(h, node, out, size);
  if (kind != T_CLOSURE || n + 8 > size) return TM_OK;
  n += (size_t)snprintf(out + n, size - n, "() ");
  v8heap_source(g, node, out + n, size - n);
  if (!out[n]) out[n - 1] = '\0';
  return TM_OK;
}

static uint64_t raw_bytes(const tm_graph *g, uint32_t node) {
  return node < g->node_count ? v8heap_raw_size(of(g), node) : 0;
}

static tm_status add_field(tm_ctx *ctx, const tm_graph *g, uint32_t node, uint32_t index,
                           tm_table *out) {
  size_t row;
  char name[NAME_ROOM];
  uint32_t e = g->edge_begin[node] + index, to = g->edge_to[e];
  uint8_t type = of(g)->edge_type.items[e];
  const char *kind = type < X_OTHER ? v8heap_edge_words[type] : "other";
  TM_TRY(tm_table_add_row(ctx, out, &row));
  TM_TRY(edge_name(ctx, g, node, index, name, sizeof name));
  TM_TRY(tm_table_set_text(ctx, out, row, 0, name, strlen(name)));
  const char *type_name = tm_graph_type_name(g, to);
  TM_TRY(tm_table_set_text(ctx, out, row, 1, type_name, strlen(type_name)));
  TM_TRY(preview(ctx, g, to, name, sizeof name));
  TM_TRY(tm_table_set_text(ctx, out, row, 2, name, strlen(name)));
  tm_table_set_int(out, row, 3, to);
  return tm_table_set_text(ctx, out, row, 4, kind, strlen(kind));
}

enum { ROWS_MAX = 100000 };

static tm_status fields(tm_ctx *ctx, const tm_graph *g, uint32_t node, tm_table *out) {
  if (node >= g->node_count) return no_node(ctx, node);
  TM_TRY(tm_table_add_column(ctx, out, "name", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "value", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "node", TM_CELL_INT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "kind", TM_CELL_TEXT, TM_UNIT_NONE));
  uint32_t count = g->edge_begin[node + 1] - g->edge_begin[node];
  for (uint32_t i = 0; i < count && i < ROWS_MAX; i++) TM_TRY(add_field(ctx, g, node, i, out));
  return TM_OK;
}

// A string as it stands in the file, escapes and all. V8 cuts long ones, so its size counts too.
static bool contents(const tm_graph *g, uint32_t node, tm_contents *out) {
  const v8heap *h = of(g);
  if (node >= g->node_count || h->type.items[node] >= h->node_type_count) return false;
  if (h->node_types[h->type.items[node]] != T_STRING) return false;
  uint32_t string = h->name.items[node];
  if (string >= h->string_at.count) return false;
  const char *begin = h->data + h->string_at.items[string] + 1, *end = h->data + h->size;
  const char *p = begin;
  for (; p < end && *p != '"'; p++) p += *p == '\\' && end - p > 1;
  *out = (tm_contents){(const uint8_t *)begin, (uint64_t)(p - begin), node, g->size[node]};
  return true;
}

// "[]": the elements that are referred to; any other: the edge of that name.
static bool field(const tm_graph *g, uint32_t node, const char *name, tm_field *out) {
  const v8heap *h = of(g);
  char text[256];
  bool elements = strcmp(name, "[]") == 0;
  if (node >= g->node_count) return false;
  *out = (tm_field){0, TM_NODE_NONE};
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
    edge_type kind = (edge_type)h->edge_type.items[e];
    if (elements) {
      out->number += kind == X_ELEMENT;
    } else if (kind != X_ELEMENT && kind != X_HIDDEN) {
      v8heap_decode(h, h->edge_name.items[e], text, sizeof text);
      if (strcmp(text, name) != 0) continue;
      out->node = g->edge_to[e];
      return true;
    }
  }
  return elements;
}

static void free_kept(tm_graph *g) {
  tm_ctx ctx = {.alloc = g->alloc};
  v8heap *h = g->kept;
  tm_vec_free(&ctx, &h->type);
  tm_vec_free(&ctx, &h->name);
  tm_vec_free(&ctx, &h->id);
  tm_vec_free(&ctx, &h->self);
  tm_vec_free(&ctx, &h->self_big);
  tm_vec_free(&ctx, &h->trace);
  tm_vec_free(&ctx, &h->pairs);
  tm_vec_free(&ctx, &h->locations);
  tm_vec_free(&ctx, &h->functions);
  tm_vec_free(&ctx, &h->calls);
  tm_idmap_free(&ctx, &h->call_of_trace);
  tm_idmap_free(&ctx, &h->script_names);
  tm_free(&ctx, h->is_pair, h->is_pair_bytes);
  tm_vec_free(&ctx, &h->edge_count);
  tm_vec_free(&ctx, &h->detached);
  tm_vec_free(&ctx, &h->edge_type);
  tm_vec_free(&ctx, &h->edge_name);
  tm_vec_free(&ctx, &h->to);
  tm_vec_free(&ctx, &h->string_at);
  tm_free(&ctx, h, sizeof *h);
}

const tm_graph_detail v8heap_detail = {.id = node_id,
                                       .find = find_node,
                                       .edge_name = edge_name,
                                       .places = places,
                                       .fields = fields,
                                       .preview = preview,
                                       .source = v8heap_source,
                                       .stack = v8heap_stack,
                                       .allocations = v8heap_allocations,
                                       .raw_bytes = raw_bytes,
                                       .distances = v8heap_distances,
                                       .contents = contents,
                                       .field = field,
                                       .columns = v8heap_columns,
                                       .free = free_kept};
