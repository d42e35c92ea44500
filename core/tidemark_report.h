// Private to tidemark_files.c and tidemark_graphs.c: one report that a host asks for.
#ifndef TM_TIDEMARK_REPORT_H
#define TM_TIDEMARK_REPORT_H

#include "analyze/domtree.h"
#include "read/reader.h"
#include "tidemark_impl.h"

// What reports of a heap dump ask for again and again.
typedef struct tm_embed_tree {
  tm_domtree *tree; // NULL = not made yet
  tm_domchildren children;
  tm_strength weakest;
} tm_embed_tree;

struct tm_file {
  tm_snapshot snapshot;
  void *bytes; // a copy of the host's, which the model may look into
  size_t size;
  tm_embed_tree *dominators; // of a heap dump; NULL of others
};

typedef struct tm_embed_request {
  tm_ctx *ctx;
  const tm_file *file;
  const char *verb;
  const char *const *options; // never NULL
  bool wants_text;
  tm_bytes text; // of a profile's report
  tm_table *table;
} tm_embed_request;

// The value of the option `name`, or NULL.
const char *tm_embed_option(const tm_embed_request *r, const char *name);
// Its nodecount, 50 when it has none; 0 = all.
size_t tm_embed_row_count(const tm_embed_request *r);
// TM_E_ARG unless every option is one of `known`, which ends with NULL.
tm_status tm_embed_check_options(const tm_embed_request *r, const char *const *known);

// Reports of heap dumps.
tm_status tm_embed_report_graph(tm_embed_request *r);
void tm_embed_drop_tree(tm_embed_tree *tree);

#endif
