// Private to v8heap*.c: a V8 heap snapshot while it is read, and what is kept of it for looking at
// single objects.
#ifndef TM_READ_V8HEAP_IMPL_H
#define TM_READ_V8HEAP_IMPL_H

#include "base/idmap.h"
#include "base/json_read.h"
#include "model/graph.h"
#include "model/snapshot.h"
#include "read/source.h"

enum { FIELDS_MAX = 16, TYPE_NAMES_MAX = 64, TICK = 1 << 16, NAME_ROOM = 1024 };

typedef enum node_field {
  N_TYPE,
  N_NAME,
  N_ID,
  N_SIZE,
  N_EDGES,
  N_TRACE,
  N_DETACHED,
  N_OTHER
} node_field;
typedef enum edge_field { E_TYPE, E_NAME, E_TO, E_OTHER } edge_field;
typedef enum location_field {
  L_NODE,
  L_SCRIPT,
  L_SCRIPT_NODE,
  L_LINE,
  L_COLUMN,
  L_OTHER
} location_field;
typedef enum function_field {
  F_ID,
  F_NAME,
  F_FILE,
  F_SCRIPT,
  F_LINE,
  F_COLUMN,
  F_OTHER
} function_field;

typedef enum node_type {
  T_HIDDEN,
  T_ARRAY,
  T_STRING,
  T_OBJECT,
  T_CODE,
  T_CLOSURE,
  T_REGEXP,
  T_NUMBER,
  T_NATIVE,
  T_SYNTHETIC,
  T_CONS,
  T_OTHER
} node_type;

typedef enum edge_type {
  X_CONTEXT,
  X_ELEMENT,
  X_PROPERTY,
  X_INTERNAL,
  X_HIDDEN,
  X_SHORTCUT,
  X_WEAK,
  X_OTHER
} edge_type;

// Strings whose meaning the rules know: their index in the file, or UINT32_MAX.
typedef enum known_string {
  S_OBJECT,
  S_PROTO,
  S_DOCUMENT_TREES,
  S_NATIVE_CONTEXT,
  S_SLOPPY_MAP,
  S_DESCRIPTORS,
  S_EXTERNAL_STRING,
  S_SHARED,
  S_SCRIPT,
  S_SCRIPT_OR_DEBUG_INFO,
  S_NAME,
  S_FIRST,
  S_SECOND,
  S_COUNT
} known_string;

// An edge's name that tells of a WeakMap: "12 / part of key (Foo @3) -> value (Bar @5) pair in
// WeakMap (table @7)". V8 writes it twice, from the key and from the table, behind other numbers.
typedef struct v8heap_pair {
  uint32_t string; // ascending
  uint32_t pair;   // the same for both
  uint64_t table;  // id
} v8heap_pair;

typedef struct v8heap_location {
  uint32_t node, script, script_node, line, column; // from 0; script_node TM_NODE_NONE: not told
} v8heap_location;

typedef struct v8heap_function {
  uint32_t name, file, line, column; // strings; from 0, UINT32_MAX = unknown
} v8heap_function;

typedef struct v8heap_call {
  uint32_t function, parent; // indexes of functions and calls; parent TM_NODE_NONE = outermost
  uint64_t count, bytes;     // of objects that were allocated there
} v8heap_call;

typedef struct v8heap {
  tm_ctx *ctx;
  tm_snapshot *out;
  tm_graph *graph;
  const tm_source *source; // while it is read
  const char *data;
  uint64_t size;
  tm_json_reader *json;

  uint8_t node_fields[FIELDS_MAX], edge_fields[FIELDS_MAX];
  uint8_t location_fields[FIELDS_MAX], function_fields[FIELDS_MAX];
  uint32_t node_field_count, edge_field_count, location_field_count, function_field_count;
  uint8_t node_at[N_OTHER], edge_at[E_OTHER]; // places of fields in a record
  uint8_t node_types[TYPE_NAMES_MAX], edge_types[TYPE_NAMES_MAX];
  char node_type_names[TYPE_NAMES_MAX][24];
  uint32_t node_type_count, edge_type_count;
  uint64_t told_nodes, told_edges;

  TM_VEC(uint8_t) type; // by node: index into node_types
  TM_VEC(uint32_t) name;
  TM_VEC(uint32_t) id;
  TM_VEC(uint32_t) edge_count;
  TM_VEC(uint32_t) self; // UINT32_MAX: look into self_big
  TM_VEC(tm_big_size) self_big;
  TM_VEC(uint32_t) trace;    // only when has_trace
  TM_VEC(uint8_t) detached;  // only when has_detached
  TM_VEC(uint8_t) edge_type; // an edge_type
  TM_VEC(uint32_t) edge_name;
  TM_VEC(uint32_t) to;
  TM_VEC(uint64_t) string_at; // offset of the opening quote
  uint32_t known[S_COUNT];
  TM_VEC(v8heap_pair) pairs;
  uint32_t pair_count;
  uint8_t *is_pair; // a bit per string
  size_t is_pair_bytes;
  TM_VEC(v8heap_location) locations; // ascending by node
  TM_VEC(v8heap_function) functions;
  TM_VEC(v8heap_call) calls;
  tm_idmap call_of_trace; // trace id -> index of calls
  tm_idmap script_names;  // script id -> string
  bool has_detached, has_trace;
} v8heap;

// ---- v8heap_scan.c: the great arrays ----

// Reads records of `fields` numbers up to the closing bracket, which is left to the pull parser.
tm_status v8heap_read_numbers(v8heap *h, const char *what, uint32_t fields,
                              tm_status (*push)(v8heap *, const uint64_t *));
tm_status v8heap_read_nodes(v8heap *h);
tm_status v8heap_read_edges(v8heap *h);
tm_status v8heap_read_strings(v8heap *h);
// "trace_tree": who called whom when something was allocated (v8heap_traces.c).
tm_status v8heap_read_trace_tree(v8heap *h);
tm_status v8heap_read_functions(v8heap *h);
tm_status v8heap_read_locations(v8heap *h);

// The failure of an array that ends or holds no number at `at`.
tm_status v8heap_cut(v8heap *h, const char *at, const char *what);

// Decodes a string of the file into out, cut to size; answers its length.
size_t v8heap_decode(const v8heap *h, uint32_t string, char *out, size_t size);

static inline const char *v8heap_skip_gap(const char *p, const char *end) {
  while (p < end && (*p == ',' || *p == '\n' || *p == ' ' || *p == '\r' || *p == '\t')) p++;
  return p;
}

// The whole number at p; NULL when there is none. Eight digits at once: the bytes that are no
// digits end it, the others are shifted up and weighed in pairs.
static TM_ALWAYS_INLINE const char *v8heap_number(const char *p, const char *end, uint64_t *out) {
  uint64_t value = 0;
  if (end - p > 8) {
    const uint8_t *b = (const uint8_t *)p;
    uint64_t w = (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24
                 | (uint64_t)b[4] << 32 | (uint64_t)b[5] << 40 | (uint64_t)b[6] << 48
                 | (uint64_t)b[7] << 56;
    w ^= UINT64_C(0x3030303030303030);
    uint64_t other = ((w + UINT64_C(0x7676767676767676)) | w) & UINT64_C(0x8080808080808080);
    if (other) {
      int digits = __builtin_ctzll(other) / 8;
      if (!digits) return NULL;
      w <<= 64 - 8 * digits;
      w = w * 10 + (w >> 8);
      w = (((w & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x000f424000000064))
           + ((w >> 16 & UINT64_C(0x000000ff000000ff)) * UINT64_C(0x0000271000000001)))
          >> 32;
      *out = w;
      return p + digits;
    }
  }
  const char *start = p;
  for (; p < end && (unsigned)(*p - '0') < 10; p++) value = value * 10 + (unsigned)(*p - '0');
  *out = value;
  return p == start || p - start > 19 ? NULL : p;
}

static inline node_type v8heap_kind(const v8heap *h, uint32_t node) {
  return (node_type)h->node_types[h->type.items[node]];
}

// A node's size as the dump has it.
static inline uint64_t v8heap_raw_size(const v8heap *h, uint32_t node) {
  if (TM_LIKELY(h->self.items[node] != UINT32_MAX)) return h->self.items[node];
  size_t low = 0, high = h->self_big.count;
  while (low + 1 < high) {
    size_t middle = low + (high - low) / 2;
    if (h->self_big.items[middle].node <= node)
      low = middle;
    else
      high = middle;
  }
  return h->self_big.items[low].bytes;
}

// ---- from arrays to the graph ----

// Columns, types, which edges retain, roots (v8heap_graph.c).
tm_status v8heap_make_graph(v8heap *h);

// What the nodes are called (v8heap_names.c, v8heap_shapes.c).
enum { NAME_DETACHED = 4 }; // in flags: "Detached " stands before the name
tm_status v8heap_spread_detached(v8heap *h);
tm_status v8heap_name_types(v8heap *h);
tm_status v8heap_name_shapes(v8heap *h);
// Adds a type of that name.
tm_status v8heap_add_type(v8heap *h, const char *name, size_t length, uint32_t *out);
// A node's name with what DevTools puts before it.
size_t v8heap_node_name(const v8heap *h, uint32_t node, char *out, size_t size);

// Sizes and distances by DevTools' rules (v8heap_sizes.c).
bool v8heap_is_user_root(const v8heap *h, uint32_t node);
tm_status v8heap_set_sizes(v8heap *h);
tm_status v8heap_distances(tm_ctx *ctx, const tm_graph *g, int32_t *out, uint32_t *queue);

// The pair that the name of an edge tells of, or NULL.
const v8heap_pair *v8heap_pair_of(const v8heap *h, uint32_t string);

// Where a node's code is, or NULL.
const v8heap_location *v8heap_location_of(const v8heap *h, uint32_t node);
void v8heap_source(const tm_graph *g, uint32_t node, char *out, size_t size);
tm_status v8heap_stack(tm_ctx *ctx, const tm_graph *g, uint32_t node, tm_table *out);
tm_status v8heap_name_scripts(v8heap *h);

// What was allocated on each recorded stack, and what of it is there still (v8heap_allocations.c).
tm_status v8heap_allocations(tm_ctx *ctx, const tm_graph *graph, struct tm_profile **out);

// To and from a saved index (v8heap_columns.c).
struct tm_columns;
tm_status v8heap_columns(struct tm_columns *c, tm_graph *g);
tm_status v8heap_restore(tm_ctx *ctx, const tm_source *src, tm_graph **out);

extern const tm_graph_detail v8heap_detail;
extern const char *const v8heap_edge_words[]; // by edge_type, without X_OTHER

#endif
