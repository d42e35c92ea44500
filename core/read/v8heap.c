// V8's heap snapshots (.heapsnapshot), as Chrome, Electron and Node write them.
//
// The document is JSON, but 99 % of it are two arrays of numbers and one of strings. The pull
// parser reads what is small; at the arrays a scanner of a few instructions a byte takes over
// (v8heap_scan.c). All is positional through "meta", whose names decide, never their places.
// Source: v8/src/profiler/heap-snapshot-generator.cc.
#include "read/reader.h"
#include "read/v8heap_impl.h"

#include <stdio.h>
#include <string.h>

static const char *const node_words[] = {"hidden",
                                         "array",
                                         "string",
                                         "object",
                                         "code",
                                         "closure",
                                         "regexp",
                                         "number",
                                         "native",
                                         "synthetic",
                                         "concatenated string"};
const char *const v8heap_edge_words[] = {"context", "element",  "property", "internal",
                                         "hidden",  "shortcut", "weak"};
static const char *const node_field_words[] = {
    "type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness"};
static const char *const edge_field_words[] = {"type", "name_or_index", "to_node"};
static const char *const location_field_words[] = {"object_index", "script_id",
                                                   "script_object_index", "line", "column"};
static const char *const function_field_words[] = {"function_id", "name", "script_name",
                                                   "script_id",   "line", "column"};

// ---- meta ----

static uint8_t word_index(const v8heap *h, const char *const *words, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (tm_json_reader_is(h->json, words[i])) return (uint8_t)i;
  return (uint8_t)count;
}

// ["type","name",...] as kinds; the array is open.
static tm_status read_fields(v8heap *h, uint8_t *fields, uint32_t *count, const char *const *words,
                             size_t word_count) {
  tm_json_event event;
  while ((event = tm_json_reader_next(h->json)) == TM_JSON_STRING) {
    if (*count == FIELDS_MAX)
      return tm_fail(h->ctx, TM_E_FORMAT, 0, "more than %d fields a record", FIELDS_MAX);
    fields[(*count)++] = word_index(h, words, word_count);
  }
  if (event == TM_JSON_ARRAY_END) return TM_OK;
  return event == TM_JSON_ERROR
             ? h->ctx->error.status
             : tm_fail(h->ctx, TM_E_FORMAT, 0, "\"meta\" names its fields oddly");
}

// [["hidden","array",...],"string",...]: the inner list is the first item.
static tm_status read_types(v8heap *h, uint8_t *types, uint32_t *count, const char *const *words,
                            size_t word_count, char names[][24]) {
  uint32_t depth = h->json->depth;
  for (;;) {
    tm_json_event event = tm_json_reader_next(h->json);
    if (event == TM_JSON_ERROR || event == TM_JSON_END) return h->ctx->error.status;
    if (event == TM_JSON_ARRAY_END && h->json->depth < depth) return TM_OK;
    if (event != TM_JSON_STRING || h->json->depth == depth || *count >= TYPE_NAMES_MAX - 1)
      continue;
    if (names) snprintf(names[*count], 24, "%.*s", (int)h->json->text_size, h->json->text);
    types[(*count)++] = word_index(h, words, word_count);
  }
}

static tm_status skip_value(v8heap *h, tm_json_event event) {
  uint32_t depth = h->json->depth;
  if (event != TM_JSON_OBJECT && event != TM_JSON_ARRAY) return TM_OK;
  while (h->json->depth >= depth) {
    event = tm_json_reader_next(h->json);
    if (event == TM_JSON_ERROR || event == TM_JSON_END) return h->ctx->error.status;
  }
  return TM_OK;
}

// One key of "snapshot" or of "meta" inside it.
static tm_status read_fact(v8heap *h) {
  tm_json_reader *j = h->json;
  static const char *const keys[] = {"meta",        "node_count",      "edge_count",
                                     "node_fields", "edge_fields",     "node_types",
                                     "edge_types",  "location_fields", "trace_function_info_fields",
                                     NULL};
  enum { META, NODES, EDGES, NODE_FIELDS, EDGE_FIELDS, NODE_TYPES, EDGE_TYPES, PLACES, FUNCTIONS };
  int key = 0;
  while (keys[key] && !tm_json_reader_is(j, keys[key])) key++;
  tm_json_event event = tm_json_reader_next(j);
  if (event == TM_JSON_NUMBER && key == NODES)
    h->told_nodes = j->integer > 0 ? (uint64_t)j->integer : 0;
  if (event == TM_JSON_NUMBER && key == EDGES)
    h->told_edges = j->integer > 0 ? (uint64_t)j->integer : 0;
  if (event == TM_JSON_OBJECT && key == META) return TM_OK; // its keys follow
  if (event == TM_JSON_ARRAY && key == NODE_FIELDS)
    return read_fields(h, h->node_fields, &h->node_field_count, node_field_words, N_OTHER);
  if (event == TM_JSON_ARRAY && key == EDGE_FIELDS)
    return read_fields(h, h->edge_fields, &h->edge_field_count, edge_field_words, E_OTHER);
  if (event == TM_JSON_ARRAY && key == PLACES)
    return read_fields(h, h->location_fields, &h->location_field_count, location_field_words,
                       L_OTHER);
  if (event == TM_JSON_ARRAY && key == FUNCTIONS)
    return read_fields(h, h->function_fields, &h->function_field_count, function_field_words,
                       F_OTHER);
  if (event == TM_JSON_ARRAY && key == NODE_TYPES)
    return read_types(h, h->node_types, &h->node_type_count, node_words, T_OTHER,
                      h->node_type_names);
  if (event == TM_JSON_ARRAY && key == EDGE_TYPES)
    return read_types(h, h->edge_types, &h->edge_type_count, v8heap_edge_words, X_OTHER, NULL);
  return skip_value(h, event);
}

static bool has_field(const uint8_t *fields, uint32_t count, uint8_t wanted) {
  return memchr(fields, wanted, count) != NULL;
}

static tm_status check_meta(v8heap *h) {
  static const uint8_t node_needs[] = {N_TYPE, N_NAME, N_ID, N_SIZE, N_EDGES};
  static const uint8_t edge_needs[] = {E_TYPE, E_NAME, E_TO};
  bool good = h->node_type_count && h->edge_type_count;
  for (size_t i = 0; i < TM_COUNT(node_needs); i++)
    good = good && has_field(h->node_fields, h->node_field_count, node_needs[i]);
  for (size_t i = 0; i < TM_COUNT(edge_needs); i++)
    good = good && has_field(h->edge_fields, h->edge_field_count, edge_needs[i]);
  h->has_detached = has_field(h->node_fields, h->node_field_count, N_DETACHED);
  h->has_trace = has_field(h->node_fields, h->node_field_count, N_TRACE);
  if (good) return TM_OK;
  return tm_fail(
      h->ctx, TM_E_FORMAT, 0,
      "not a V8 heap snapshot: \"meta\" does not name type, name, id, self_size and edge_count");
}

static tm_status read_snapshot(v8heap *h) {
  uint32_t depth = h->json->depth;
  if (h->node_field_count) return tm_fail(h->ctx, TM_E_FORMAT, 0, "\"snapshot\" comes twice");
  for (;;) {
    tm_json_event event = tm_json_reader_next(h->json);
    if (event == TM_JSON_ERROR || event == TM_JSON_END) return h->ctx->error.status;
    if (event == TM_JSON_KEY) TM_TRY(read_fact(h));
    if (event == TM_JSON_OBJECT_END && h->json->depth < depth) return check_meta(h);
  }
}

// One of the document's own keys. What comes after the edges is of use only with them.
static tm_status read_key(v8heap *h) {
  static const struct {
    const char *key;
    tm_status (*read)(v8heap *);
  } arrays[] = {{"nodes", v8heap_read_nodes},
                {"edges", v8heap_read_edges},
                {"strings", v8heap_read_strings},
                {"locations", v8heap_read_locations},
                {"trace_function_infos", v8heap_read_functions},
                {"trace_tree", v8heap_read_trace_tree}};
  tm_json_reader *j = h->json;
  bool snapshot = tm_json_reader_is(j, "snapshot");
  size_t i = 0;
  while (i < TM_COUNT(arrays) && !tm_json_reader_is(j, arrays[i].key)) i++;
  tm_json_event event = tm_json_reader_next(j);
  if (snapshot && event == TM_JSON_OBJECT) return read_snapshot(h);
  if (i == TM_COUNT(arrays) || event != TM_JSON_ARRAY) return skip_value(h, event);
  return arrays[i].read(h); // the bracket follows
}

static tm_status read_document(v8heap *h) {
  for (;;) {
    tm_json_event event = tm_json_reader_next(h->json);
    if (event == TM_JSON_ERROR) return h->ctx->error.status;
    if (event == TM_JSON_END) return TM_OK;
    if (event == TM_JSON_KEY && h->json->depth == 1) TM_TRY(read_key(h));
  }
}

// ---- the reader ----

static unsigned probe(const uint8_t *head, size_t size) {
  static const char key[] = "\"node_fields\"";
  const uint8_t *p = head;
  if (!size || *head != '{') return 0;
  for (; (p = memchr(p, '"', size - (size_t)(p - head))); p++)
    if (size - (size_t)(p - head) >= sizeof key - 1 && memcmp(p, key, sizeof key - 1) == 0)
      return 100;
  return 0;
}

// No node may have more edges than are left; whether one had.
static bool clamp_edges(v8heap *h) {
  uint64_t sum = 0;
  bool clamped = false;
  for (size_t n = 0; n < h->type.count; n++) {
    uint64_t left = h->to.count - sum;
    if (h->edge_count.items[n] > left) {
      h->edge_count.items[n] = (uint32_t)left;
      clamped = true;
    }
    sum += h->edge_count.items[n];
  }
  return clamped;
}

// What was read of a broken document is kept when there are nodes in it: nodes, edges and strings
// come in this order, so a cut in the strings costs names only.
static tm_status read_all(v8heap *h) {
  tm_status status = read_document(h);
  if (status == TM_E_NOMEM || status == TM_E_CANCELLED) return status;
  if (!h->type.count)
    return status != TM_OK ? status
                           : tm_fail(h->ctx, TM_E_FORMAT, h->size, "the snapshot has no nodes");
  if (clamp_edges(h) && status == TM_OK)
    status = tm_fail(h->ctx, TM_E_FORMAT, TM_NO_OFFSET,
                     "its nodes claim more edges than the %zu there are", h->to.count);
  if (status != TM_OK) {
    h->out->partial = true;
    h->out->problem = h->ctx->error;
    tm_ctx_clear(h->ctx);
  }
  return v8heap_make_graph(h);
}

static void free_graph(void *graph) {
  tm_graph_free(graph);
}

static tm_status read_v8heap(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  tm_graph *g;
  v8heap *h = tm_calloc(ctx, 1, sizeof *h);
  tm_json_reader *json = tm_alloc(ctx, sizeof *json);
  tm_status status = h && json ? tm_graph_new(ctx, &g) : TM_E_NOMEM;
  if (status != TM_OK) {
    tm_free(ctx, h, sizeof *h);
    tm_free(ctx, json, sizeof *json);
    return status;
  }
  h->ctx = ctx;
  h->out = out;
  h->graph = g;
  h->source = src;
  h->data = (const char *)src->data;
  h->size = src->size;
  h->json = json;
  memset(h->node_types, T_OTHER, sizeof h->node_types);
  memset(h->edge_types, X_OTHER, sizeof h->edge_types);
  memset(h->known, 0xff, sizeof h->known);
  g->kept = h;
  g->detail = &v8heap_detail;
  ctx->total = src->size;
  tm_json_reader_init(json, ctx, src->data, src->size);
  status = read_all(h);
  tm_json_reader_fini(json);
  tm_free(ctx, json, sizeof *json);
  if (status != TM_OK) {
    tm_graph_free(g);
    return status;
  }
  out->model = g;
  out->free_model = free_graph;
  if (!out->partial) return TM_OK;
  ctx->error = out->problem; // building on after it may have recorded others
  return ctx->error.status;
}

const tm_reader tm_reader_v8heap = {.name = "v8heap",
                                    .title = "V8 heap snapshot (.heapsnapshot)",
                                    .kind = TM_KIND_GRAPH,
                                    .keeps_source = true,
                                    .takes_part = true,
                                    .probe = probe,
                                    .read = read_v8heap,
                                    .restore = v8heap_restore};
