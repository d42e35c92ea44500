// Who holds how much: the heap by type, package, loader, module, context, global, root, thread or
// heap.
#ifndef TM_ANALYZE_CONSUMERS_H
#define TM_ANALYZE_CONSUMERS_H

#include "analyze/domtree.h"

typedef enum tm_consumer {
  TM_CONSUMER_TYPE,
  TM_CONSUMER_PACKAGE, // a tree of prefixes: "com", "com.acme", ...
  TM_CONSUMER_LOADER,  // every class loader for itself
  TM_CONSUMER_MODULE,  // V8: npm package (or "node", "(app)") of the script of the nearest closure
  TM_CONSUMER_CONTEXT, // V8: global objects, one a realm
  TM_CONSUMER_GLOBAL,  // static fields, properties of global objects, Go's globals
  TM_CONSUMER_ROOT,    // by kind of root
  TM_CONSUMER_THREAD,  // threads and goroutines
  TM_CONSUMER_HEAP,    // Android: "app", "zygote", "image"; "(none)" where the dump does not say
} tm_consumer;

// Rows by retained bytes, ties by name. Columns: name, depth (of a package), node (of what the row
// is about, or -1), count, shallow_bytes, retained_bytes.
// Type, package: count and shallow bytes of their objects, retained bytes of these, nothing twice.
// Loader: likewise of itself, its classes and their objects. Module: objects whose nearest
// dominator with a script is of it. Context, global, thread: the one object. Root: count and bytes
// of all that only roots of that kind reach; what several kinds hold together is a row "(several)".
// Go's globals likewise. weakest must be the tree's. Notes: reachable_bytes. row_count 0 = all.
// TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_consumers_table(tm_ctx *ctx, const tm_graph *graph,
                                          const tm_domtree *tree, const tm_domchildren *children,
                                          tm_strength weakest, tm_consumer by, size_t row_count,
                                          tm_table *out);

#endif
