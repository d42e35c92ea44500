// Tables about sets of objects and about single ones: rows, groups, references, ways from roots.
#ifndef TM_ANALYZE_NODE_TABLES_H
#define TM_ANALYZE_NODE_TABLES_H

#include "analyze/node_set.h"

typedef enum tm_node_order {
  TM_NODES_BY_RETAINED,
  TM_NODES_BY_SHALLOW,
  TM_NODES_IN_ORDER
} tm_node_order;

// The members, the greatest first (or in the order of the dump), ties by node. Columns: node, type,
// shallow_bytes, retained_bytes, preview. Notes: count, shallow_bytes. row_count 0 = all.
TM_NODISCARD tm_status tm_node_rows_table(tm_ctx *ctx, const tm_graph *graph,
                                          const tm_domtree *tree, const tm_node_set *set,
                                          tm_node_order order, size_t row_count, tm_table *out);

typedef enum tm_node_group {
  TM_GROUP_TYPE,
  TM_GROUP_PACKAGE,
  TM_GROUP_LOADER,
  TM_GROUP_DOMINATOR, // the type of the nearest dominator
} tm_node_group;

// The members in groups, by retained bytes. Columns: name, count, shallow_bytes, retained_bytes (of
// the group's topmost members in the dominator tree: nothing twice). row_count 0 = all.
TM_NODISCARD tm_status tm_node_group_table(tm_ctx *ctx, const tm_graph *graph,
                                           const tm_domtree *tree, const tm_domchildren *children,
                                           const tm_node_set *set, tm_node_group by,
                                           size_t row_count, tm_table *out);

// The package of a type's name: "java.util" of "java.util.HashMap$Node[]", "net/http" of
// "net/http.(*conn).serve 512 B", "" when it has none. Answers its length in name.
size_t tm_type_package(const char *name);

// What a node refers to (by its edges, in their order), or what refers to it (by node). Columns:
// edge, strength, node, type, shallow_bytes, retained_bytes, preview. incoming NULL = outgoing; it
// must hold edges of every strength. row_count 0 = as many as there are, 10 000 at most. Notes:
// count.
TM_NODISCARD tm_status tm_node_references_table(tm_ctx *ctx, const tm_graph *graph,
                                                const tm_domtree *tree, const tm_reverse *incoming,
                                                uint32_t node, size_t row_count, tm_table *out);

#endif
