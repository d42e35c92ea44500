// Private to tidemark_files.c, tidemark_graphs.c and tidemark_compare.c: one report that a host
// asks for.
#ifndef TM_TIDEMARK_REPORT_H
#define TM_TIDEMARK_REPORT_H

#include "analyze/domtree.h"
#include "analyze/report.h"
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

// The edges that hold, of the option follow: a tm_strength, soft when it is absent.
tm_status tm_embed_follow(const tm_embed_request *r, uint32_t *out);
// One "name=value" of `go tool pprof` into the options of a profile's report.
tm_status tm_embed_set_option(const tm_embed_request *r, tm_report_options *options,
                              const char *text);
// TM_E_ARG unless tidemark or the host has a format of that name.
tm_status tm_embed_check_format(tm_embed *engine, const char *name);
// The request's table in a format other than text.
tm_status tm_embed_write_table(tm_embed *engine, tm_embed_request *r, const char *format,
                               tm_write_fn write, void *ud);

// Reports of heap dumps.
tm_status tm_embed_report_graph(tm_embed_request *r);
void tm_embed_drop_tree(tm_embed_tree *tree);

#endif
