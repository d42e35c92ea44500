// V8's heap snapshots (.heapsnapshot), as Chrome, Electron and Node write them.
//
// The document is JSON, but 99 % of it are two arrays of numbers and one of strings. The pull
// parser reads what is small; at the three arrays a scanner of a few instructions a byte takes
// over. All is positional through "meta", whose names decide, never their places. Strings stay in
// the file: an offset each, decoded when somebody asks.
// Source: v8/src/profiler/heap-snapshot-generator.cc.
#include "read/reader.h"
#include "read/v8heap_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const node_words[] = {"hidden",  "array",  "string", "object", "code",
                                         "closure", "regexp", "number", "native", "synthetic"};
const char *const v8heap_edge_words[] = {"context", "element",  "property", "internal",
                                         "hidden",  "shortcut", "weak"};
static const char *const node_field_words[] = {
    "type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness"};
static const char *const edge_field_words[] = {"type", "name_or_index", "to_node"};

// ---- numbers and strings of the great arrays ----

static tm_status cut(v8heap *h, const char *at, const char *what) {
  uint64_t offset = (uint64_t)(at - h->data);
  if (at >= h->data + h->size)
    return tm_fail(h->ctx, TM_E_FORMAT, offset, "the snapshot ends inside %s, at byte %" PRIu64,
                   what, offset);
  return tm_fail(h->ctx, TM_E_FORMAT, offset, "a number is expected in %s, at byte %" PRIu64, what,
                 offset);
}

static inline const char *skip_gap(const char *p, const char *end) {
  while (p < end && (*p == ',' || *p == '\n' || *p == ' ' || *p == '\r' || *p == '\t')) p++;
  return p;
}

// Fills values[0 .. count) from p; *p at the closing bracket = TM_OK with *ended set.
static inline const char *take_record(const char *p, const char *end, uint64_t *values,
                                      uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    p = skip_gap(p, end);
    p = v8heap_number(p, end, &values[i]);
    if (!p) return NULL;
  }
  return p;
}

static tm_status push_node(v8heap *h, const uint64_t *v) {
  uint64_t f[N_OTHER + 1] = {0};
  for (uint32_t i = 0; i < h->node_field_count; i++) f[h->node_fields[i]] = v[i];
  if (f[N_TYPE] >= h->node_type_count) f[N_TYPE] = TYPE_NAMES_MAX - 1;
  tm_ctx *ctx = h->ctx;
  if (h->has_detached) TM_TRY(tm_vec_push(ctx, &h->detached, (uint8_t)f[N_DETACHED]));
  TM_TRY(tm_vec_push(ctx, &h->name, (uint32_t)f[N_NAME]));
  TM_TRY(tm_vec_push(ctx, &h->id, (uint32_t)f[N_ID]));
  TM_TRY(tm_vec_push(ctx, &h->self, f[N_SIZE]));
  TM_TRY(tm_vec_push(ctx, &h->edge_count, (uint32_t)f[N_EDGES]));
  return tm_vec_push(ctx, &h->type, (uint8_t)f[N_TYPE]);
}

static tm_status push_edge(v8heap *h, const uint64_t *v) {
  uint64_t f[E_OTHER + 1] = {0};
  for (uint32_t i = 0; i < h->edge_field_count; i++) f[h->edge_fields[i]] = v[i];
  uint64_t to = f[E_TO] / h->node_field_count;
  if (f[E_TYPE] >= h->edge_type_count) f[E_TYPE] = TYPE_NAMES_MAX - 1;
  if (to >= h->type.count || f[E_TO] % h->node_field_count)
    return tm_fail(h->ctx, TM_E_FORMAT, TM_NO_OFFSET, "edge %zu leads to no node", h->to.count);
  TM_TRY(tm_vec_push(h->ctx, &h->edge_type, (uint8_t)f[E_TYPE]));
  TM_TRY(tm_vec_push(h->ctx, &h->edge_name, (uint32_t)f[E_NAME]));
  return tm_vec_push(h->ctx, &h->to, (uint32_t)to);
}

// Reads records up to the closing bracket, which is left to the pull parser.
static tm_status read_numbers(v8heap *h, const char *what, uint32_t fields,
                              tm_status (*push)(v8heap *, const uint64_t *)) {
  uint64_t values[FIELDS_MAX], count = 0;
  const char *p = h->json->at, *end = h->data + h->size;
  if (!fields) return tm_fail(h->ctx, TM_E_FORMAT, 0, "%s come before their \"meta\"", what);
  for (;;) {
    p = skip_gap(p, end);
    if (p < end && *p == ']') break;
    const char *next = take_record(p, end, values, fields);
    if (!next) return cut(h, p, what);
    TM_TRY(push(h, values));
    p = next;
    if (++count % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, (uint64_t)(p - h->data)));
  }
  h->json->at = p;
  return TM_OK;
}

// A string's end, behind its quote; NULL when the file ends first.
static const char *string_end(const char *p, const char *end) {
  for (p++; p < end; p++) {
    p = memchr(p, '"', (size_t)(end - p));
    if (!p) return NULL;
    const char *slash = p;
    while (slash[-1] == '\\') slash--;
    if ((p - slash) % 2 == 0) return p + 1;
  }
  return NULL;
}

static tm_status read_strings(v8heap *h) {
  const char *p = h->json->at, *end = h->data + h->size;
  for (;;) {
    p = skip_gap(p, end);
    if (p < end && *p == ']') break;
    const char *next = p < end && *p == '"' ? string_end(p, end) : NULL;
    if (!next) return cut(h, p < end && *p != '"' ? p : end, "its strings");
    TM_TRY(tm_vec_push(h->ctx, &h->string_at, (uint64_t)(p - h->data)));
    p = next;
    if (h->string_at.count % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, (uint64_t)(p - h->data)));
  }
  h->json->at = p;
  return TM_OK;
}

static size_t put_utf8(char *out, uint32_t c) {
  if (c < 0x80) return out[0] = (char)c, 1;
  if (c < 0x800) {
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
  }
  if (c >= 0xd800 && c < 0xe000) c = 0xfffd;
  out[0] = (char)(0xe0 | c >> 12);
  out[1] = (char)(0x80 | (c >> 6 & 0x3f));
  out[2] = (char)(0x80 | (c & 0x3f));
  return 3;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *take_unicode(const char *p, uint32_t *out) {
  uint32_t c = 0;
  for (int i = 0; i < 4; i++) {
    int digit = hex_digit(p[i]);
    if (digit < 0) break;
    c = c * 16 + (uint32_t)digit;
  }
  *out = c;
  return p + 4;
}

size_t v8heap_decode(const v8heap *h, uint32_t string, char *out, size_t size) {
  size_t n = 0;
  out[0] = '\0';
  if (string >= h->string_at.count) return 0;
  const char *p = h->data + h->string_at.items[string] + 1, *end = h->data + h->size;
  while (p < end && *p != '"' && n + 4 < size) {
    if (*p != '\\') {
      out[n++] = *p++;
      continue;
    }
    if (end - p < 6) break;
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *known = strchr(from, p[1]);
    uint32_t c;
    if (p[1] == 'u') {
      p = take_unicode(p + 2, &c);
      n += put_utf8(out + n, c);
    } else {
      out[n++] = known ? to[known - from] : p[1];
      p += 2;
    }
  }
  out[n] = '\0';
  return n;
}

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
  bool nodes = tm_json_reader_is(j, "node_fields"), edges = tm_json_reader_is(j, "edge_fields");
  bool node_types = tm_json_reader_is(j, "node_types"),
       edge_types = tm_json_reader_is(j, "edge_types");
  bool node_count = tm_json_reader_is(j, "node_count"),
       edge_count = tm_json_reader_is(j, "edge_count");
  bool meta = tm_json_reader_is(j, "meta");
  tm_json_event event = tm_json_reader_next(j);
  if (event == TM_JSON_NUMBER && node_count)
    h->told_nodes = j->integer > 0 ? (uint64_t)j->integer : 0;
  if (event == TM_JSON_NUMBER && edge_count)
    h->told_edges = j->integer > 0 ? (uint64_t)j->integer : 0;
  if (event == TM_JSON_OBJECT && meta) return TM_OK; // its keys follow
  if (event == TM_JSON_ARRAY && nodes)
    return read_fields(h, h->node_fields, &h->node_field_count, node_field_words,
                       TM_COUNT(node_field_words));
  if (event == TM_JSON_ARRAY && edges)
    return read_fields(h, h->edge_fields, &h->edge_field_count, edge_field_words,
                       TM_COUNT(edge_field_words));
  if (event == TM_JSON_ARRAY && node_types)
    return read_types(h, h->node_types, &h->node_type_count, node_words, TM_COUNT(node_words),
                      h->node_type_names);
  if (event == TM_JSON_ARRAY && edge_types)
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
  if (good) return TM_OK;
  return tm_fail(
      h->ctx, TM_E_FORMAT, 0,
      "not a V8 heap snapshot: \"meta\" does not name type, name, id, self_size and edge_count");
}

static tm_status read_snapshot(v8heap *h) {
  uint32_t depth = h->json->depth;
  for (;;) {
    tm_json_event event = tm_json_reader_next(h->json);
    if (event == TM_JSON_ERROR || event == TM_JSON_END) return h->ctx->error.status;
    if (event == TM_JSON_KEY) TM_TRY(read_fact(h));
    if (event == TM_JSON_OBJECT_END && h->json->depth < depth) return check_meta(h);
  }
}

// Room as the document claims, but never more than its size can hold.
static tm_status reserve(v8heap *h) {
  uint64_t nodes = h->told_nodes, edges = h->told_edges;
  if (nodes > h->size / (2 * (uint64_t)h->node_field_count)) nodes = 0;
  if (edges > h->size / (2 * (uint64_t)h->edge_field_count)) edges = 0;
  TM_TRY(tm_vec_reserve(h->ctx, &h->type, nodes));
  TM_TRY(tm_vec_reserve(h->ctx, &h->name, nodes));
  TM_TRY(tm_vec_reserve(h->ctx, &h->id, nodes));
  TM_TRY(tm_vec_reserve(h->ctx, &h->self, nodes));
  TM_TRY(tm_vec_reserve(h->ctx, &h->edge_count, nodes));
  TM_TRY(tm_vec_reserve(h->ctx, &h->edge_type, edges));
  TM_TRY(tm_vec_reserve(h->ctx, &h->edge_name, edges));
  return tm_vec_reserve(h->ctx, &h->to, edges);
}

static tm_status read_key(v8heap *h) {
  tm_json_reader *j = h->json;
  bool snapshot = tm_json_reader_is(j, "snapshot"), nodes = tm_json_reader_is(j, "nodes");
  bool edges = tm_json_reader_is(j, "edges"), strings = tm_json_reader_is(j, "strings");
  tm_json_event event = tm_json_reader_next(j);
  if (snapshot && event == TM_JSON_OBJECT) {
    TM_TRY(read_snapshot(h));
    return reserve(h);
  }
  if (event == TM_JSON_ARRAY && (nodes || edges || strings)) {
    if (nodes) TM_TRY(read_numbers(h, "its nodes", h->node_field_count, push_node));
    if (edges) TM_TRY(read_numbers(h, "its edges", h->edge_field_count, push_edge));
    if (strings) TM_TRY(read_strings(h));
    return TM_OK; // the bracket follows
  }
  return skip_value(h, event);
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

// What was read of a broken document is kept when there is a graph in it: nodes, edges and strings
// come in this order, so a cut in the strings costs names only.
static tm_status read_all(v8heap *h) {
  tm_status status = read_document(h);
  bool usable = h->type.count && h->to.count;
  if (status != TM_OK && (!usable || status == TM_E_NOMEM || status == TM_E_CANCELLED))
    return status;
  if (status == TM_OK && !h->type.count)
    return tm_fail(h->ctx, TM_E_FORMAT, h->size, "the snapshot has no nodes");
  if (status != TM_OK) {
    h->out->partial = true;
    h->out->problem = h->ctx->error;
    tm_ctx_clear(h->ctx);
    for (uint64_t sum = 0, n = 0; n < h->type.count; n++) { // edges that are not there any more
      uint64_t left = h->to.count - sum;
      if (h->edge_count.items[n] > left) h->edge_count.items[n] = (uint32_t)left;
      sum += h->edge_count.items[n];
    }
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
  h->data = (const char *)src->data;
  h->size = src->size;
  h->json = json;
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
                                    .probe = probe,
                                    .read = read_v8heap};
