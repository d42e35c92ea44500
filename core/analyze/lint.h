// Waste in a heap: equal contents, zeros, collections that are empty or mostly so, numbers in
// boxes, classes loaded twice, references that hold nothing. Everything here is asked of a set.
#ifndef TM_ANALYZE_LINT_H
#define TM_ANALYZE_LINT_H

#include "analyze/node_set.h"

// Members with equal contents (tm_contents: strings, arrays without references), most waste first,
// ties by node. Members that share their bytes count once. Columns: node (the first), type, count,
// bytes (of one's contents), waste_bytes (of all but one: retained by each alone), preview. Notes:
// count, waste_bytes (of all, shown or not), contents (members that have some). row_count 0 = all.
// O(bytes). TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_lint_duplicates(tm_ctx *ctx, const tm_graph *graph,
                                          const tm_domtree *tree, const tm_node_set *set,
                                          size_t row_count, tm_table *out);

// Members of at least 16 bytes of contents that are all zero. out is made here.
TM_NODISCARD tm_status tm_lint_zeros(tm_ctx *ctx, const tm_graph *graph, const tm_node_set *set,
                                     tm_node_set *out);

// How full the members are, collections that keep their count in one field ("size", or "[]") and
// their elements in the array of another. Without an array (not allocated yet, or told by no dump)
// the capacity is 0.
typedef struct tm_lint_fill {
  uint64_t count;         // members whose size could be read
  uint64_t empty_count;   // hold nothing
  uint64_t empty_bytes;   // that these retain
  uint64_t sparse_count;  // not empty, room for 8 and more, less than a quarter of it used
  uint64_t elements;      // of all
  uint64_t capacity;      // of all
  uint64_t waste_bytes;   // empty_bytes, and of the others' arrays the unused share
  uint32_t example;       // the member that wastes most, or TM_NODE_NONE
  uint64_t example_bytes; // its waste
} tm_lint_fill;

// size_field is a path ("map.size"); "base+cells.value" adds a field of all elements of an array,
// "tail-head" is how far two places in the array lie apart, around its end. TM_E_CANCELLED.
TM_NODISCARD tm_status tm_lint_fill_ratios(tm_ctx *ctx, const tm_graph *graph,
                                           const tm_domtree *tree, const tm_node_set *set,
                                           const char *size_field, const char *array_field,
                                           tm_lint_fill *out);

// How many different values the members' field has, of those that have it.
TM_NODISCARD tm_status tm_lint_values(tm_ctx *ctx, const tm_graph *graph, const tm_node_set *set,
                                      const char *field, uint64_t *out_count,
                                      uint64_t *out_different);

// Classes of one name that several loaders have, most loaders first. Columns: type, loaders, count
// (objects of all), retained_bytes (of those loaders, each counted).
TM_NODISCARD tm_status tm_lint_classes(tm_ctx *ctx, const tm_graph *graph, const tm_domtree *tree,
                                       tm_table *out);

// Reference objects (soft, weak, final, phantom) by type. Columns: type, strength, count,
// cleared_count (their referent is gone), only_count (nothing else the tree follows holds the
// referent), only_bytes (of those referents).
TM_NODISCARD tm_status tm_lint_references(tm_ctx *ctx, const tm_graph *graph,
                                          const tm_domtree *tree, tm_table *out);

#endif
