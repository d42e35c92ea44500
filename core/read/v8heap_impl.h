// Private to v8heap*.c: a V8 heap snapshot while it is read, and what is kept of it for looking at
// single objects.
#ifndef TM_READ_V8HEAP_IMPL_H
#define TM_READ_V8HEAP_IMPL_H

#include "base/json_read.h"
#include "model/graph.h"
#include "model/snapshot.h"

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

typedef struct v8heap {
  tm_ctx *ctx;
  tm_snapshot *out;
  tm_graph *graph;
  const char *data;
  uint64_t size;
  tm_json_reader *json;

  uint8_t node_fields[FIELDS_MAX], edge_fields[FIELDS_MAX];
  uint32_t node_field_count, edge_field_count;
  uint8_t node_types[TYPE_NAMES_MAX], edge_types[TYPE_NAMES_MAX];
  char node_type_names[TYPE_NAMES_MAX][24];
  uint32_t node_type_count, edge_type_count;
  uint64_t told_nodes, told_edges;

  TM_VEC(uint8_t) type; // by node: index into node_types
  TM_VEC(uint32_t) name;
  TM_VEC(uint32_t) id;
  TM_VEC(uint32_t) edge_count;
  TM_VEC(uint64_t) self;
  TM_VEC(uint8_t) detached;
  TM_VEC(uint8_t) edge_type; // by edge: index into edge_types
  TM_VEC(uint32_t) edge_name;
  TM_VEC(uint32_t) to;
  TM_VEC(uint64_t) string_at; // offset of the opening quote
  bool has_detached;
} v8heap;

// Decodes a string of the file into out, cut to size; answers its length.
size_t v8heap_decode(const v8heap *h, uint32_t string, char *out, size_t size);

// The next whole number at p; NULL when there is none.
static inline const char *v8heap_number(const char *p, const char *end, uint64_t *out) {
  uint64_t value = 0;
  const char *start = p;
  for (; p < end && (unsigned)(*p - '0') < 10; p++) value = value * 10 + (unsigned)(*p - '0');
  *out = value;
  return p == start || p - start > 19 ? NULL : p;
}

// Makes the graph of what was read: columns, types, which edges retain, roots (v8heap_graph.c).
tm_status v8heap_make_graph(v8heap *h);

extern const tm_graph_detail v8heap_detail;
extern const char *const v8heap_edge_words[]; // by edge_type, without X_OTHER

#endif
