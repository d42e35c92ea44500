// Flat and cumulative values of every node of a view, and the edges between nodes. A node is what
// the granularity makes equal: a function, a file, a line, an address. Flat counts the leaf frame
// only; cum counts a node once per stack, however often it recurs; an edge likewise.
#ifndef TM_ANALYZE_FLATCUM_H
#define TM_ANALYZE_FLATCUM_H

#include "analyze/focus.h"
#include "base/idmap.h"

typedef struct tm_node {
  uint32_t name, file, object; // string ids of the view; 0 = none
  int64_t start_line, line, column;
  uint64_t address;
  int64_t flat, cum, flat_divisor, cum_divisor;
  const char *label; // printable name, once asked for
} tm_node;

typedef struct tm_edge {
  uint32_t from, to; // nodes
  int64_t weight, weight_divisor;
  uint32_t last_sample; // + 1; while counting
  bool is_inline, residual;
} tm_edge;

typedef struct tm_flatcum {
  const tm_view *v;
  tm_arena arena;
  TM_VEC(tm_node) nodes;
  // location -> its nodes, leaf first; frame i of a location is inlined unless it is the last
  TM_VEC(uint32_t) frames;
  uint32_t *frame_begin; // locations + 1
  size_t location_count;
  TM_VEC(tm_edge) edges;
  uint32_t *order; // of the nodes shown, sorted
  size_t order_room;
  uint32_t order_count;
  uint32_t original_count, dropped_count; // before node_count cut; cut by node_fraction
  uint8_t *kept;                          // per node, NULL = all: what edges may touch
} tm_flatcum;

static inline int64_t tm_node_flat(const tm_node *n) {
  return n->flat_divisor ? n->flat / n->flat_divisor : n->flat;
}
static inline int64_t tm_node_cum(const tm_node *n) {
  return n->cum_divisor ? n->cum / n->cum_divisor : n->cum;
}

typedef struct tm_flatcum_options {
  const char *granularity; // as in tm_report_options
  bool no_inlines, show_columns, drop_negative, object_names;
  const char *source_path, *trim_path; // NULL trim_path = leave file names as they are
} tm_flatcum_options;

// The nodes with flat and cum. Free with tm_flatcum_fini, also on failure.
TM_NODISCARD tm_status tm_flatcum_init(tm_ctx *ctx, tm_view *v, const tm_flatcum_options *o,
                                       tm_flatcum *out);
void tm_flatcum_fini(tm_flatcum *f);

// Counts only nodes, without values (for traces).
TM_NODISCARD tm_status tm_flatcum_names(tm_ctx *ctx, tm_view *v, const tm_flatcum_options *o,
                                        tm_flatcum *out);

// Chooses and sorts what is shown, by pprof's rules: cut |cum| < node_fraction x sum of flat, sort
// by flat or cum with ties by name, keep node_count (0 = all).
TM_NODISCARD tm_status tm_flatcum_select(tm_ctx *ctx, tm_flatcum *f, bool by_cum,
                                         double node_fraction, int64_t node_count,
                                         bool drop_negative);

// Counts the edges between kept nodes; only those into nodes that are inlined somewhere when
// inlined_only is set. Edges of the shown nodes below cutoff are left out.
TM_NODISCARD tm_status tm_flatcum_edges(tm_ctx *ctx, tm_flatcum *f, bool inlined_only,
                                        int64_t cutoff);

// "[address ]function [file:line[:column]]", "[binary]" or "<unknown>". Lives as long as f.
TM_NODISCARD tm_status tm_flatcum_label(tm_ctx *ctx, tm_flatcum *f, uint32_t node,
                                        const char **out);

#endif
