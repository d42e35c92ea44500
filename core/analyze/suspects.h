// Where a heap piles up: single objects and groups that hold more than a share of it, the place
// where the pile lies, and what it is made of.
// Source: the idea of Eclipse MAT's leak suspects (drop of 0.7 on the way down); descending into
// every great branch, chains and levels of a pile are ours.
#ifndef TM_ANALYZE_SUSPECTS_H
#define TM_ANALYZE_SUSPECTS_H

#include "analyze/domtree.h"

typedef struct tm_suspects_options {
  double min_share_ratio;  // of all reachable bytes; 0 = 0.1
  uint32_t min_references; // of a fan; 0 = 1000
  size_t fan_count;        // fans at most; 0 = 10
} tm_suspects_options;

// Rows by kind, then by bytes, ties by node or type:
//   object  node = the accumulation point: more than the share lies below it, but in no single
//           object below; top_node = the uppermost object on the way (child of the roots)
//   chain   node = where a list or other chain of one type (or of a short cycle of types) begins;
//           count = its links
//   group   objects of one type, none great by itself, that only the roots together hold
//   fan     node refers to more than min_references objects of one type, great or not
// Columns: kind, node (-1), top_node (-1), type, count (of a group, chain: its objects; fan: its
// references), retained_bytes (object: what piles up, great branches below not counted; fan:
// shallow bytes of what is referred to), share_ratio, piled_type, piled_count, piled_bytes (what
// retains most directly below node, by type; of a fan what it refers to). Notes: reachable_bytes.
// O(nodes + edges). TM_E_NOMEM, TM_E_CANCELLED.
TM_NODISCARD tm_status tm_suspects_table(tm_ctx *ctx, const tm_graph *graph, const tm_domtree *tree,
                                         const tm_domchildren *children,
                                         const tm_suspects_options *options, tm_table *out);

// What lies below a node, level by level: of what the level before is mostly made, by retained
// bytes. At most `levels` rows; what retains more than most_bytes right below node is left out (0 =
// nothing is). Columns: level (from 1), type, count, shallow_bytes,
// retained_bytes, node (the greatest).
TM_NODISCARD tm_status tm_suspects_pile(tm_ctx *ctx, const tm_graph *graph, const tm_domtree *tree,
                                        const tm_domchildren *children, uint32_t node,
                                        uint32_t levels, uint64_t most_bytes, tm_table *out);

#endif
