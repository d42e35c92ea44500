// What the files of the layered drawing share; nobody else includes it.
#ifndef TM_ANALYZE_LAYERS_IMPL_H
#define TM_ANALYZE_LAYERS_IMPL_H

#include "analyze/layers.h"

#define LAYERS_NONE UINT32_MAX

// A node of the graph or a step of an edge through a layer. Nodes stand in even layers, so that
// every edge has a step in an odd layer, which holds its label.
typedef struct layer_item {
  double left, right, x, key; // reaches from x - left to x + right
  uint32_t layer, place;      // place in its layer
  bool is_step;
} layer_item;

typedef struct layer_link {
  uint32_t upper, lower; // items
  double weight, pull;   // for crossings; for straightness
} layer_link;

// Links by their upper or lower item: begin[item] .. begin[item + 1] in links.
typedef struct layer_index {
  uint32_t *begin, *links;
} layer_index;

typedef struct layer_work {
  tm_ctx *ctx;
  tm_layers *graph;
  tm_arena arena; // everything below
  layer_item *items;
  uint32_t item_count;
  layer_link *links;
  uint32_t link_count;
  uint32_t *first_step;  // per edge
  uint32_t *layer_begin; // layers + 1, in order
  uint32_t *order;       // items by layer and place
  uint32_t layer_count;
  layer_index up, down; // links to the layer above, below
} layer_work;

tm_status layers_rank(layer_work *w, uint32_t *ranks); // per node; sets edges' upwards
tm_status layers_order(layer_work *w);                 // few crossings
tm_status layers_place(layer_work *w);                 // x of every item

void *layers_room(layer_work *w, size_t count, size_t size); // zeroed; NULL = recorded TM_E_NOMEM

#endif
