// Heap snapshots of JavaScriptCore (Safari, WebKitGTK, WKWebView), as the Inspector's heap agent
// and GC debugging write them.
//
// JSON with flat arrays: nodes of id, bytes, class, flags (and label, cell, wrapped cell in the
// debugging form), edges of from, to, type, data. Ids are sparse: a map leads to dense numbers, a
// counting sort orders the edges by their start. The heap's root is the node of id 0.
// Source: JavaScriptCore/heap/HeapSnapshotBuilder.cpp, versions 1 to 3.
#include "base/idmap.h"
#include "base/json_read.h"
#include "model/graph.h"
#include "read/reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TICK = 1 << 16, NODE_FIELDS = 4, DEBUG_NODE_FIELDS = 7, EDGE_FIELDS = 4 };

typedef struct jsc_node {
  uint64_t id, bytes;
  uint32_t class_name, label; // indexes; label UINT32_MAX = none
} jsc_node;

typedef struct jsc_edge {
  uint64_t from, to;
  uint32_t type, data;
} jsc_edge;

typedef TM_VEC(uint32_t) jsc_names; // strings of the graph

typedef struct jscheap {
  tm_ctx *ctx;
  tm_graph *graph;
  tm_json_reader *json;
  bool debugging;
  uint64_t record[DEBUG_NODE_FIELDS];
  TM_VEC(jsc_node) nodes;
  TM_VEC(jsc_edge) edges;
  jsc_names classes, edge_types, edge_names, labels;
} jscheap;

// What is kept of it beside the graph.
typedef struct jsc_kept {
  tm_idmap node_of_id;
  TM_VEC(uint64_t) id;
  TM_VEC(uint32_t) label;     // string by node
  TM_VEC(uint32_t) edge_name; // by edge: a string, or an index when is_index
  TM_VEC(uint32_t) edge_type; // string
  TM_VEC(uint8_t) is_index;
} jsc_kept;

// ---- the document ----

static tm_status push_node(jscheap *j) {
  const uint64_t *r = j->record;
  jsc_node node = {r[0], r[1], (uint32_t)r[2], j->debugging ? (uint32_t)r[4] : UINT32_MAX};
  return tm_vec_push(j->ctx, &j->nodes, node);
}

static tm_status push_edge(jscheap *j) {
  const uint64_t *r = j->record;
  return tm_vec_push(j->ctx, &j->edges, (jsc_edge){r[0], r[1], (uint32_t)r[2], (uint32_t)r[3]});
}

// A flat array of records; texts in it (addresses) count as zero.
static tm_status read_records(jscheap *j, uint32_t fields, tm_status (*push)(jscheap *)) {
  uint32_t have = 0;
  uint64_t count = 0;
  for (;;) {
    tm_json_event event = tm_json_reader_next(j->json);
    if (event == TM_JSON_ERROR || event == TM_JSON_END) return j->ctx->error.status;
    if (event == TM_JSON_ARRAY_END) return TM_OK;
    if (event != TM_JSON_NUMBER && event != TM_JSON_STRING)
      return tm_fail(j->ctx, TM_E_FORMAT, (uint64_t)(j->json->at - j->json->start),
                     "a number is expected in a list of nodes or edges");
    bool number = event == TM_JSON_NUMBER && j->json->integer >= 0;
    j->record[have++] = number ? (uint64_t)j->json->integer : 0;
    if (have < fields) continue;
    have = 0;
    TM_TRY(push(j));
    if (++count % TICK == 0) TM_TRY(tm_ctx_tick(j->ctx, (uint64_t)(j->json->at - j->json->start)));
  }
}

static tm_status read_names(jscheap *j, jsc_names *out) {
  for (;;) {
    uint32_t id;
    tm_json_event event = tm_json_reader_next(j->json);
    if (event == TM_JSON_ERROR || event == TM_JSON_END) return j->ctx->error.status;
    if (event == TM_JSON_ARRAY_END) return TM_OK;
    if (event != TM_JSON_STRING) continue;
    TM_TRY(tm_strtab_intern(j->ctx, &j->graph->strings, j->json->text, j->json->text_size, &id));
    TM_TRY(tm_vec_push(j->ctx, out, id));
  }
}

static tm_status skip_value(jscheap *j, tm_json_event event) {
  uint32_t depth = j->json->depth;
  if (event != TM_JSON_OBJECT && event != TM_JSON_ARRAY) return TM_OK;
  while (j->json->depth >= depth) {
    event = tm_json_reader_next(j->json);
    if (event == TM_JSON_ERROR || event == TM_JSON_END) return j->ctx->error.status;
  }
  return TM_OK;
}

static tm_status read_key(jscheap *j) {
  static const char *const keys[] = {"type",      "nodes",     "edges",  "nodeClassNames",
                                     "edgeTypes", "edgeNames", "labels", NULL};
  int key = 0;
  while (keys[key] && !tm_json_reader_is(j->json, keys[key])) key++;
  tm_json_event event = tm_json_reader_next(j->json);
  if (key == 0 && event == TM_JSON_STRING) j->debugging = tm_json_reader_is(j->json, "GCDebugging");
  if (event != TM_JSON_ARRAY) return skip_value(j, event);
  switch (key) {
  case 1:
    return read_records(j, j->debugging ? DEBUG_NODE_FIELDS : NODE_FIELDS, push_node);
  case 2:
    return read_records(j, EDGE_FIELDS, push_edge);
  case 3:
    return read_names(j, &j->classes);
  case 4:
    return read_names(j, &j->edge_types);
  case 5:
    return read_names(j, &j->edge_names);
  case 6:
    return read_names(j, &j->labels);
  default:
    return skip_value(j, event);
  }
}

static tm_status read_document(jscheap *j) {
  for (;;) {
    tm_json_event event = tm_json_reader_next(j->json);
    if (event == TM_JSON_ERROR) return j->ctx->error.status;
    if (event == TM_JSON_END) return TM_OK;
    if (event == TM_JSON_KEY && j->json->depth == 1) TM_TRY(read_key(j));
  }
}

// ---- the graph ----

static uint32_t name_at(const jsc_names *names, uint32_t index) {
  return index < names->count ? names->items[index] : 0;
}

// The last type is for classes whose name the dump lost.
static tm_status make_types(jscheap *j) {
  for (size_t i = 0; i <= j->classes.count; i++) {
    uint32_t name = 0;
    if (i == j->classes.count)
      TM_TRY(tm_strtab_intern(j->ctx, &j->graph->strings, "(unknown class)", 15, &name));
    else
      name = j->classes.items[i];
    tm_type type = {name, TM_NODE_NONE, TM_NODE_NONE, TM_NODE_NONE, TM_STRENGTH_STRONG};
    TM_TRY(tm_vec_push(j->ctx, &j->graph->types, type));
  }
  return TM_OK;
}

static tm_status make_nodes(jscheap *j, jsc_kept *kept) {
  tm_graph *g = j->graph;
  size_t n = j->nodes.count;
  if (n >= UINT32_MAX) return tm_fail(j->ctx, TM_E_LIMIT, TM_NO_OFFSET, "too many nodes");
  TM_TRY(tm_graph_alloc_nodes(j->ctx, g, (uint32_t)n));
  for (uint32_t i = 0; i < n; i++) {
    const jsc_node *node = &j->nodes.items[i];
    g->type[i] =
        node->class_name < j->classes.count ? node->class_name : (uint32_t)j->classes.count;
    TM_TRY(tm_graph_set_size(j->ctx, g, i, node->bytes));
    TM_TRY(tm_vec_push(j->ctx, &kept->id, node->id));
    TM_TRY(tm_vec_push(j->ctx, &kept->label, name_at(&j->labels, node->label)));
    if (tm_idmap_get(&kept->node_of_id, node->id) == TM_IDMAP_NONE)
      TM_TRY(tm_idmap_put(j->ctx, &kept->node_of_id, node->id, i));
  }
  uint32_t root = tm_idmap_get(&kept->node_of_id, 0);
  if (root == TM_IDMAP_NONE) return TM_OK;
  return tm_vec_push(j->ctx, &g->roots,
                     (tm_root){.node = root, .thread = TM_NODE_NONE, .kind = TM_ROOT_VM});
}

// Edges whose ends the dump has, counted by start; others are dropped.
static tm_status count_edges(jscheap *j, const jsc_kept *kept) {
  tm_graph *g = j->graph;
  size_t good = 0;
  for (size_t i = 0; i < j->edges.count; i++) {
    jsc_edge *e = &j->edges.items[i];
    uint32_t from = tm_idmap_get(&kept->node_of_id, e->from);
    uint32_t to = tm_idmap_get(&kept->node_of_id, e->to);
    if (from == TM_IDMAP_NONE || to == TM_IDMAP_NONE) continue;
    j->edges.items[good++] = (jsc_edge){from, to, e->type, e->data};
    g->edge_begin[from + 1]++;
  }
  j->edges.count = good;
  if (good >= UINT32_MAX) return tm_fail(j->ctx, TM_E_LIMIT, TM_NO_OFFSET, "too many edges");
  for (uint32_t n = 0; n < g->node_count; n++) g->edge_begin[n + 1] += g->edge_begin[n];
  g->edge_count = (uint32_t)good;
  return TM_OK;
}

static bool is_word(const tm_graph *g, uint32_t string, const char *word) {
  return strcmp(tm_graph_text(g, string), word) == 0;
}

static void place_edge(const jscheap *j, jsc_kept *kept, const jsc_edge *e, uint32_t at) {
  uint32_t type = name_at(&j->edge_types, e->type);
  bool index = is_word(j->graph, type, "Index"), internal = is_word(j->graph, type, "Internal");
  j->graph->edge_to[at] = (uint32_t)e->to;
  kept->edge_type.items[at] = type;
  kept->is_index.items[at] = index;
  kept->edge_name.items[at] = index ? e->data : internal ? 0 : name_at(&j->edge_names, e->data);
}

static tm_status make_edges(jscheap *j, jsc_kept *kept) {
  tm_graph *g = j->graph;
  TM_TRY(count_edges(j, kept));
  size_t n = j->edges.count + !j->edges.count;
  g->edge_to = tm_alloc(j->ctx, n * sizeof *g->edge_to);
  if (!g->edge_to) return TM_E_NOMEM;
  TM_TRY(tm_vec_reserve(j->ctx, &kept->edge_name, n));
  TM_TRY(tm_vec_reserve(j->ctx, &kept->edge_type, n));
  TM_TRY(tm_vec_reserve(j->ctx, &kept->is_index, n));
  uint32_t *next = tm_alloc(j->ctx, ((size_t)g->node_count + 1) * sizeof *next);
  if (!next) return TM_E_NOMEM;
  memcpy(next, g->edge_begin, ((size_t)g->node_count + 1) * sizeof *next);
  for (size_t i = 0; i < j->edges.count; i++)
    place_edge(j, kept, &j->edges.items[i], next[j->edges.items[i].from]++);
  tm_free(j->ctx, next, ((size_t)g->node_count + 1) * sizeof *next);
  return TM_OK;
}

// ---- looking at single objects ----

static const jsc_kept *of(const tm_graph *g) {
  return g->kept;
}

static uint64_t node_id(const tm_graph *g, uint32_t node) {
  return node < g->node_count ? of(g)->id.items[node] : 0;
}

static uint32_t find_node(const tm_graph *g, uint64_t id) {
  uint32_t node = tm_idmap_get(&of(g)->node_of_id, id);
  return node == TM_IDMAP_NONE ? TM_NODE_NONE : node;
}

static tm_status edge_name(tm_ctx *ctx, const tm_graph *g, uint32_t node, uint32_t index, char *out,
                           size_t size) {
  if (node >= g->node_count || index >= g->edge_begin[node + 1] - g->edge_begin[node])
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
  uint32_t e = g->edge_begin[node] + index, name = of(g)->edge_name.items[e];
  if (of(g)->is_index.items[e])
    snprintf(out, size, "[%" PRIu32 "]", name);
  else
    snprintf(out, size, "%s", name ? tm_graph_text(g, name) : "(internal)");
  return TM_OK;
}

static tm_status preview(tm_ctx *ctx, const tm_graph *g, uint32_t node, char *out, size_t size) {
  if (node >= g->node_count)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
  snprintf(out, size, "%s", tm_graph_text(g, of(g)->label.items[node]));
  return TM_OK;
}

static tm_status set_text(tm_ctx *ctx, tm_table *out, size_t row, size_t column, const char *text) {
  return tm_table_set_text(ctx, out, row, column, text, strlen(text));
}

enum { ROWS_MAX = 100000, NAME_ROOM = 1024 };

static tm_status fields(tm_ctx *ctx, const tm_graph *g, uint32_t node, tm_table *out) {
  if (node >= g->node_count)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
  TM_TRY(tm_table_add_column(ctx, out, "name", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "value", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "node", TM_CELL_INT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "kind", TM_CELL_TEXT, TM_UNIT_NONE));
  uint32_t count = g->edge_begin[node + 1] - g->edge_begin[node];
  for (uint32_t i = 0; i < count && i < ROWS_MAX; i++) {
    size_t row;
    char name[NAME_ROOM];
    uint32_t e = g->edge_begin[node] + i, to = g->edge_to[e];
    TM_TRY(edge_name(ctx, g, node, i, name, sizeof name));
    TM_TRY(tm_table_add_row(ctx, out, &row));
    TM_TRY(set_text(ctx, out, row, 0, name));
    TM_TRY(set_text(ctx, out, row, 1, tm_graph_type_name(g, to)));
    TM_TRY(set_text(ctx, out, row, 2, tm_graph_text(g, of(g)->label.items[to])));
    tm_table_set_int(out, row, 3, to);
    TM_TRY(set_text(ctx, out, row, 4, tm_graph_text(g, of(g)->edge_type.items[e])));
  }
  return TM_OK;
}

static void free_kept(tm_graph *g) {
  tm_ctx ctx = {.alloc = g->alloc};
  jsc_kept *kept = g->kept;
  tm_idmap_free(&ctx, &kept->node_of_id);
  tm_vec_free(&ctx, &kept->id);
  tm_vec_free(&ctx, &kept->label);
  tm_vec_free(&ctx, &kept->edge_name);
  tm_vec_free(&ctx, &kept->edge_type);
  tm_vec_free(&ctx, &kept->is_index);
  tm_free(&ctx, kept, sizeof *kept);
}

static const tm_graph_detail detail = {.id = node_id,
                                       .find = find_node,
                                       .edge_name = edge_name,
                                       .fields = fields,
                                       .preview = preview,
                                       .free = free_kept};

// ---- the reader ----

static bool holds(const uint8_t *head, size_t size, const char *word) {
  return memmem(head, size, word, strlen(word)) != NULL;
}

static unsigned probe(const uint8_t *head, size_t size) {
  if (!size || *head != '{' || !holds(head, size < 64 ? size : 64, "\"version\"")) return 0;
  if (!holds(head, size, "\"nodes\"") || holds(head, size, "\"node_fields\"")) return 0;
  return holds(head, size, "\"Inspector\"") || holds(head, size, "\"GCDebugging\"") ? 90 : 0;
}

// What was read of a broken document is kept when there are nodes in it.
static tm_status read_all(jscheap *j, tm_snapshot *out) {
  jsc_kept *kept = j->graph->kept;
  tm_status status = read_document(j);
  if (status == TM_E_NOMEM || status == TM_E_CANCELLED) return status;
  if (!j->nodes.count)
    return status != TM_OK ? status : tm_fail(j->ctx, TM_E_FORMAT, 0, "the snapshot has no nodes");
  if (status != TM_OK) {
    out->partial = true;
    out->problem = j->ctx->error;
    tm_ctx_clear(j->ctx);
  }
  TM_TRY(make_types(j));
  TM_TRY(make_nodes(j, kept));
  return make_edges(j, kept);
}

static void free_graph(void *graph) {
  tm_graph_free(graph);
}

static void free_lists(jscheap *j) {
  tm_vec_free(j->ctx, &j->nodes);
  tm_vec_free(j->ctx, &j->edges);
  tm_vec_free(j->ctx, &j->classes);
  tm_vec_free(j->ctx, &j->edge_types);
  tm_vec_free(j->ctx, &j->edge_names);
  tm_vec_free(j->ctx, &j->labels);
}

static tm_status read_jscheap(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  jscheap j = {.ctx = ctx};
  TM_TRY(tm_graph_new(ctx, &j.graph));
  j.graph->kept = tm_calloc(ctx, 1, sizeof(jsc_kept));
  j.json = tm_alloc(ctx, sizeof *j.json);
  tm_status status = j.graph->kept && j.json ? TM_OK : TM_E_NOMEM;
  if (j.graph->kept) j.graph->detail = &detail;
  if (status == TM_OK) {
    ctx->total = src->size;
    tm_json_reader_init(j.json, ctx, src->data, src->size);
    status = read_all(&j, out);
    tm_json_reader_fini(j.json);
  }
  tm_free(ctx, j.json, sizeof *j.json);
  free_lists(&j);
  if (status != TM_OK) {
    tm_graph_free(j.graph);
    return status;
  }
  out->model = j.graph;
  out->free_model = free_graph;
  if (!out->partial) return TM_OK;
  ctx->error = out->problem; // building on after it may have recorded others
  return ctx->error.status;
}

const tm_reader tm_reader_jscheap = {.name = "jscheap",
                                     .title = "JavaScriptCore heap snapshot (Safari, WebKitGTK)",
                                     .kind = TM_KIND_GRAPH,
                                     .takes_part = true,
                                     .probe = probe,
                                     .read = read_jscheap};
