// Where the objects of a heap snapshot come from: the place of a closure's code or of an instance's
// class ("locations"), and who allocated an object, when allocations were recorded ("trace_tree").
//
// Locations name a script by its number only. Its name is found once per script: the newer form
// tells the script's node, the older leads there from a closure over its shared function.
#include "read/v8heap_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- locations ----

static tm_status push_location(v8heap *h, const uint64_t *v) {
  uint64_t f[L_OTHER + 1] = {0};
  if (!h->node_field_count) return TM_OK;
  f[L_NODE] = f[L_SCRIPT_NODE] = UINT64_MAX;
  for (uint32_t i = 0; i < h->location_field_count; i++) f[h->location_fields[i]] = v[i];
  uint64_t node = f[L_NODE] / h->node_field_count, script = f[L_SCRIPT_NODE] / h->node_field_count;
  if (node >= h->type.count) return TM_OK; // of no node: tells nothing
  v8heap_location location = {(uint32_t)node, (uint32_t)f[L_SCRIPT],
                              script && script < h->type.count ? (uint32_t)script : TM_NODE_NONE,
                              (uint32_t)f[L_LINE], (uint32_t)f[L_COLUMN]};
  return tm_vec_push(h->ctx, &h->locations, location);
}

static int by_node(const void *a, const void *b) {
  const v8heap_location *x = a, *y = b;
  return x->node < y->node ? -1 : x->node > y->node;
}

tm_status v8heap_read_locations(v8heap *h) {
  if (!h->location_field_count) h->location_fields[h->location_field_count++] = L_OTHER; // old
  tm_status status =
      v8heap_read_numbers(h, "its locations", h->location_field_count, push_location);
  bool ascending = true;
  for (size_t i = 1; i < h->locations.count && ascending; i++)
    ascending = h->locations.items[i - 1].node <= h->locations.items[i].node;
  if (!ascending)
    qsort(h->locations.items, h->locations.count, sizeof *h->locations.items, by_node);
  return status;
}

const v8heap_location *v8heap_location_of(const v8heap *h, uint32_t node) {
  size_t low = 0, high = h->locations.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (h->locations.items[middle].node < node)
      low = middle + 1;
    else
      high = middle;
  }
  return low < h->locations.count && h->locations.items[low].node == node ? &h->locations.items[low]
                                                                          : NULL;
}

// The end of the first internal edge of that name, or TM_NODE_NONE.
static uint32_t follow(const v8heap *h, uint32_t node, known_string name) {
  const tm_graph *g = h->graph;
  if (node == TM_NODE_NONE || h->known[name] == UINT32_MAX) return TM_NODE_NONE;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++)
    if (h->edge_type.items[e] == X_INTERNAL && h->edge_name.items[e] == h->known[name])
      return g->edge_to[e];
  return TM_NODE_NONE;
}

static uint32_t script_of(const v8heap *h, const v8heap_location *location) {
  if (location->script_node != TM_NODE_NONE) return location->script_node;
  if (v8heap_kind(h, location->node) != T_CLOSURE) return TM_NODE_NONE;
  uint32_t shared = follow(h, location->node, S_SHARED);
  uint32_t script = follow(h, shared, S_SCRIPT);
  return script != TM_NODE_NONE ? script : follow(h, shared, S_SCRIPT_OR_DEBUG_INFO);
}

tm_status v8heap_name_scripts(v8heap *h) {
  for (size_t i = 0; i < h->locations.count; i++) {
    const v8heap_location *location = &h->locations.items[i];
    if (tm_idmap_get(&h->script_names, location->script) != TM_IDMAP_NONE) continue;
    uint32_t name = follow(h, script_of(h, location), S_NAME);
    if (name == TM_NODE_NONE) continue;
    TM_TRY(tm_idmap_put(h->ctx, &h->script_names, location->script, h->name.items[name]));
  }
  return TM_OK;
}

void v8heap_source(const tm_graph *g, uint32_t node, char *out, size_t size) {
  const v8heap *h = g->kept;
  const v8heap_location *at = v8heap_location_of(h, node);
  char name[NAME_ROOM] = "";
  out[0] = '\0';
  if (!at) return;
  uint32_t string = tm_idmap_get(&h->script_names, at->script);
  if (string != TM_IDMAP_NONE) v8heap_decode(h, string, name, sizeof name);
  if (!name[0]) snprintf(name, sizeof name, "script#%" PRIu32, at->script);
  snprintf(out, size, "%s:%" PRIu64 ":%" PRIu64, name, (uint64_t)at->line + 1,
           (uint64_t)at->column + 1);
}

// ---- allocations ----

static tm_status push_function(v8heap *h, const uint64_t *v) {
  uint64_t f[F_OTHER + 1] = {0};
  for (uint32_t i = 0; i < h->function_field_count; i++) f[h->function_fields[i]] = v[i];
  v8heap_function function = {(uint32_t)f[F_NAME], (uint32_t)f[F_FILE], (uint32_t)f[F_LINE],
                              (uint32_t)f[F_COLUMN]};
  return tm_vec_push(h->ctx, &h->functions, function);
}

tm_status v8heap_read_functions(v8heap *h) {
  if (!h->function_field_count) h->function_fields[h->function_field_count++] = F_OTHER; // old
  return v8heap_read_numbers(h, "its functions", h->function_field_count, push_function);
}

typedef struct tree_walk {
  TM_VEC(uint32_t) open; // the call that each open bracket belongs to
  uint64_t record[4];    // id, function, count, bytes
  uint32_t have;
} tree_walk;

static tm_status add_call(v8heap *h, tree_walk *w) {
  uint32_t index = (uint32_t)h->calls.count;
  v8heap_call call = {(uint32_t)w->record[1], w->open.items[w->open.count - 1], w->record[2],
                      w->record[3]};
  w->have = 0;
  TM_TRY(tm_vec_push(h->ctx, &h->calls, call));
  return tm_idmap_put(h->ctx, &h->call_of_trace, w->record[0], index);
}

// [id, function, count, bytes, [the same again, ...], ...], behind its first bracket.
static tm_status walk_tree(v8heap *h, tree_walk *w) {
  const char *p = h->json->at, *end = h->data + h->size;
  TM_TRY(tm_vec_push(h->ctx, &w->open, TM_NODE_NONE));
  for (;;) {
    p = v8heap_skip_gap(p, end);
    if (p < end && *p == '[') {
      uint32_t last = h->calls.count ? (uint32_t)h->calls.count - 1 : TM_NODE_NONE;
      TM_TRY(tm_vec_push(h->ctx, &w->open, last));
      p++;
    } else if (p < end && *p == ']') {
      if (--w->open.count == 0) break; // left to the pull parser
      p++;
    } else {
      const char *next = v8heap_number(p, end, &w->record[w->have]);
      if (!next) return v8heap_cut(h, p, "its allocation stacks");
      p = next;
      if (++w->have == 4) TM_TRY(add_call(h, w));
    }
  }
  h->json->at = p;
  return TM_OK;
}

tm_status v8heap_read_trace_tree(v8heap *h) {
  tree_walk w = {0};
  tm_status status = walk_tree(h, &w);
  tm_vec_free(h->ctx, &w.open);
  return status;
}

static tm_status add_frame(tm_ctx *ctx, const v8heap *h, const v8heap_function *f, tm_table *out) {
  size_t row;
  char text[NAME_ROOM];
  TM_TRY(tm_table_add_row(ctx, out, &row));
  size_t n = v8heap_decode(h, f->name, text, sizeof text);
  TM_TRY(n ? tm_table_set_text(ctx, out, row, 0, text, n)
           : tm_table_set_text(ctx, out, row, 0, "(anonymous)", 11));
  n = v8heap_decode(h, f->file, text, sizeof text);
  TM_TRY(tm_table_set_text(ctx, out, row, 1, text, n));
  tm_table_set_int(out, row, 2, f->line);
  tm_table_set_int(out, row, 3, f->column);
  return TM_OK;
}

tm_status v8heap_stack(tm_ctx *ctx, const tm_graph *g, uint32_t node, tm_table *out) {
  const v8heap *h = g->kept;
  TM_TRY(tm_table_add_column(ctx, out, "function", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "file", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "line", TM_CELL_INT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "column", TM_CELL_INT, TM_UNIT_NONE));
  if (!h->has_trace || node >= h->trace.count || !h->trace.items[node]) return TM_OK;
  uint32_t call = tm_idmap_get(&h->call_of_trace, h->trace.items[node]);
  while (call < h->calls.count && h->calls.items[call].parent != TM_NODE_NONE) { // not "(root)"
    uint32_t function = h->calls.items[call].function;
    if (function < h->functions.count)
      TM_TRY(add_frame(ctx, h, &h->functions.items[function], out));
    call = h->calls.items[call].parent;
  }
  return TM_OK;
}
