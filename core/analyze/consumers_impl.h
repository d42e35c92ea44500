// Private to consumers*.c: rows that are gathered, then ranked and written.
#ifndef TM_ANALYZE_CONSUMERS_IMPL_H
#define TM_ANALYZE_CONSUMERS_IMPL_H

#include "analyze/consumers.h"
#include "base/vec.h"

typedef struct consumer {
  uint32_t name;   // in consumers.names
  uint32_t parent; // row above it, UINT32_MAX = none
  uint32_t node;   // or TM_NODE_NONE
  uint32_t edge;   // of node: named by it when the row is written; UINT32_MAX = by name
  uint64_t count, shallow_bytes, retained_bytes;
} consumer;

typedef struct consumers {
  tm_ctx *ctx;
  const tm_graph *g;
  const tm_domtree *t;
  const tm_domchildren *c;
  tm_strtab names;
  TM_VEC(consumer) rows;
} consumers;

// Adds a row of that name; answers its index.
tm_status consumers_add(consumers *s, const char *name, size_t length, consumer row,
                        uint32_t *out_index);

// consumers_roots.c: exact holdings of groups of roots.
tm_status consumers_by_root(consumers *s, tm_strength weakest);
tm_status consumers_by_label(consumers *s, tm_strength weakest);

#endif
