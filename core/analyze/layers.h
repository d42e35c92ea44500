// A layered drawing of a directed graph (Sugiyama's method): callers above callees, few crossings,
// straight long edges. Geometry only; knows nothing of profiles. Units: whatever the sizes are in.
#ifndef TM_ANALYZE_LAYERS_H
#define TM_ANALYZE_LAYERS_H

#include "base/vec.h"

#include <stdbool.h>

typedef struct tm_layer_node {
  double width, height; // in
  double x, y;          // out: the centre
} tm_layer_node;

typedef struct tm_layer_edge {
  uint32_t from, to;                 // in: nodes, from != to
  double weight;                     // in: > 0; heavy edges are kept short and straight
  double label_width, label_height;  // in
  double label_x, label_y;           // out: the label's centre
  uint32_t point_begin, point_count; // out: in points, from `from` to `to`
  bool upwards;                      // out: part of a cycle, drawn against the others
} tm_layer_edge;

typedef struct tm_layer_point {
  double x, y;
} tm_layer_point;

#define TM_LAYER_NODES_MAX 1500
#define TM_LAYER_STEPS_MAX 60000 // layers that all edges pass

typedef struct tm_layers {
  tm_layer_node *nodes; // the caller's
  uint32_t node_count;
  tm_layer_edge *edges; // the caller's
  uint32_t edge_count;
  TM_VEC(tm_layer_point) points; // out: an edge runs vertically through every point
  double width, height;          // out
} tm_layers;

// Fills what is marked out. TM_E_LIMIT above the caps. Cost: 80 nodes and 200 edges in about 5 ms.
// Free the points with tm_vec_free, also on failure.
TM_NODISCARD tm_status tm_layers_draw(tm_ctx *ctx, tm_layers *graph);

#endif
