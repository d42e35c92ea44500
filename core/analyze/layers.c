// Sugiyama's method in its steps: ranks, steps of edges through the layers between, order within
// layers, coordinates. The label of an edge is a step with a size, so that nothing overlaps it.
#include "analyze/layers.h"

#include "analyze/layers_impl.h"

#include <stdlib.h>

#define MARGIN    12
#define LAYER_GAP 18 // between two layers; nodes are two apart

void *layers_room(layer_work *w, size_t count, size_t size) {
  void *p = tm_arena_calloc(&w->arena, count, size);
  if (!p) tm_fail(w->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (drawing)");
  return p;
}

static uint32_t upper_end(const tm_layer_edge *e) {
  return e->upwards ? e->to : e->from;
}
static uint32_t lower_end(const tm_layer_edge *e) {
  return e->upwards ? e->from : e->to;
}

// --- items and links ---

static uint32_t step_count(const tm_layer_edge *e, const uint32_t *ranks) {
  return 2 * (ranks[lower_end(e)] - ranks[upper_end(e)]) - 1;
}

static tm_status count_items(layer_work *w, const uint32_t *ranks) {
  const tm_layers *g = w->graph;
  uint64_t steps = 0;
  for (uint32_t i = 0; i < g->edge_count; i++) steps += step_count(&g->edges[i], ranks);
  if (steps > TM_LAYER_STEPS_MAX)
    return tm_fail(w->ctx, TM_E_LIMIT, TM_NO_OFFSET,
                   "a graph of %u nodes and %u edges is too large to draw: lower nodecount or "
                   "raise edgefraction",
                   g->node_count, g->edge_count);
  w->item_count = g->node_count + (uint32_t)steps;
  w->link_count = (uint32_t)steps + g->edge_count;
  for (uint32_t i = 0; i < g->node_count; i++)
    if (2 * ranks[i] + 1 > w->layer_count) w->layer_count = 2 * ranks[i] + 1;
  w->items = layers_room(w, w->item_count + 1u, sizeof *w->items);
  w->links = layers_room(w, w->link_count + 1u, sizeof *w->links);
  w->first_step = layers_room(w, g->edge_count + 1u, sizeof *w->first_step);
  w->layer_begin = layers_room(w, w->layer_count + 2u, sizeof *w->layer_begin);
  w->order = layers_room(w, w->item_count + 1u, sizeof *w->order);
  bool ok = w->items && w->links && w->first_step && w->layer_begin && w->order;
  return ok ? TM_OK : TM_E_NOMEM;
}

static void make_items(layer_work *w, const uint32_t *ranks) {
  const tm_layers *g = w->graph;
  uint32_t item = g->node_count, link = 0;
  for (uint32_t i = 0; i < g->node_count; i++)
    w->items[i] = (layer_item){
        .left = g->nodes[i].width / 2, .right = g->nodes[i].width / 2, .layer = 2 * ranks[i]};
  for (uint32_t i = 0; i < g->edge_count; i++) {
    const tm_layer_edge *e = &g->edges[i];
    uint32_t steps = step_count(e, ranks), above = upper_end(e), layer = 2 * ranks[above];
    // The label stands in the odd layer nearest the middle.
    uint32_t labelled = steps / 2 & ~UINT32_C(1);
    w->first_step[i] = item;
    for (uint32_t k = 0; k < steps; k++) {
      w->items[item] = (layer_item){
          .right = k == labelled ? e->label_width : 1, .layer = layer + 1 + k, .is_step = true};
      w->links[link++] = (layer_link){above, item, e->weight, (k ? 8 : 2) * e->weight};
      above = item++;
    }
    w->links[link++] = (layer_link){above, lower_end(e), e->weight, 2 * e->weight};
  }
}

static tm_status index_links(layer_work *w, bool by_upper, layer_index *x) {
  x->begin = layers_room(w, w->item_count + 2u, sizeof *x->begin);
  x->links = layers_room(w, w->link_count + 1u, sizeof *x->links);
  if (!x->begin || !x->links) return TM_E_NOMEM;
  for (uint32_t i = 0; i < w->link_count; i++)
    x->begin[(by_upper ? w->links[i].upper : w->links[i].lower) + 2]++;
  for (uint32_t i = 2; i < w->item_count + 2; i++) x->begin[i] += x->begin[i - 1];
  for (uint32_t i = 0; i < w->link_count; i++)
    x->links[x->begin[(by_upper ? w->links[i].upper : w->links[i].lower) + 1]++] = i;
  return TM_OK;
}

// First order: as a walk from the top meets the items, so that what belongs together is near.
static tm_status first_order(layer_work *w) {
  uint32_t *stack = layers_room(w, w->link_count + w->item_count + 1u, sizeof *stack);
  uint8_t *seen = layers_room(w, w->item_count + 1u, 1);
  uint32_t *next = layers_room(w, w->layer_count + 2u, sizeof *next);
  if (!stack || !seen || !next) return TM_E_NOMEM;
  for (uint32_t i = 0; i < w->item_count; i++) w->layer_begin[w->items[i].layer + 1]++;
  for (uint32_t i = 0; i < w->layer_count; i++) w->layer_begin[i + 1] += w->layer_begin[i];
  for (uint32_t i = 0; i < w->layer_count; i++) next[i] = w->layer_begin[i];
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t root = 0; root < w->item_count; root++) {
      if (!pass && w->up.begin[root] != w->up.begin[root + 1]) continue; // roots first
      uint32_t depth = 0;
      stack[depth++] = root;
      while (depth) {
        uint32_t item = stack[--depth];
        if (seen[item]) continue;
        seen[item] = 1;
        w->order[next[w->items[item].layer]++] = item;
        for (uint32_t k = w->down.begin[item + 1]; k > w->down.begin[item]; k--)
          stack[depth++] = w->links[w->down.links[k - 1]].lower;
      }
    }
  return TM_OK;
}

// --- geometry ---

static void layer_heights(layer_work *w, double *tops, double *heights) {
  tm_layers *g = w->graph;
  for (uint32_t i = 0; i < g->node_count; i++) {
    double *h = &heights[w->items[i].layer];
    if (g->nodes[i].height > *h) *h = g->nodes[i].height;
  }
  for (uint32_t i = 0; i < g->edge_count; i++) {
    uint32_t first = w->first_step[i];
    const tm_layer_edge *e = &g->edges[i];
    uint32_t steps = w->items[lower_end(e)].layer - w->items[upper_end(e)].layer - 1;
    double *h = &heights[w->items[first + (steps / 2 & ~UINT32_C(1))].layer];
    if (e->label_height > *h) *h = e->label_height;
  }
  double y = MARGIN;
  for (uint32_t i = 0; i < w->layer_count; i++) {
    tops[i] = y;
    y += heights[i] + LAYER_GAP;
  }
  g->height = y - LAYER_GAP + MARGIN;
}

static void shift_right(layer_work *w) {
  double least = 0, most = 0;
  for (uint32_t i = 0; i < w->item_count; i++) {
    const layer_item *it = &w->items[i];
    if (!i || it->x - it->left < least) least = it->x - it->left;
    if (!i || it->x + it->right > most) most = it->x + it->right;
  }
  for (uint32_t i = 0; i < w->item_count; i++) w->items[i].x += MARGIN - least;
  w->graph->width = most - least + 2 * MARGIN;
}

typedef struct port {
  double x; // where the edge is headed
  uint32_t edge;
} port;

static int compare_ports(const void *left, const void *right) {
  const port *a = left, *b = right;
  if (a->x != b->x) return a->x < b->x ? -1 : 1;
  return a->edge < b->edge ? -1 : a->edge > b->edge;
}

// Edges leave a box side by side, in the order of where they go. out = x per edge.
static tm_status spread_ports(layer_work *w, bool upper, double *out) {
  const tm_layers *g = w->graph;
  const layer_index *x = upper ? &w->down : &w->up;
  port *ports = layers_room(w, g->edge_count + 1u, sizeof *ports);
  uint32_t *edge_of = layers_room(w, w->item_count + 1u, sizeof *edge_of);
  if (!ports || !edge_of) return TM_E_NOMEM;
  for (uint32_t i = 0; i < g->edge_count; i++) {
    uint32_t last = i + 1 < g->edge_count ? w->first_step[i + 1] : w->item_count;
    for (uint32_t k = w->first_step[i]; k < last; k++) edge_of[k] = i;
  }
  for (uint32_t node = 0; node < g->node_count; node++) {
    uint32_t count = 0;
    for (uint32_t k = x->begin[node]; k < x->begin[node + 1]; k++) {
      uint32_t step = upper ? w->links[x->links[k]].lower : w->links[x->links[k]].upper;
      ports[count++] = (port){w->items[step].x, edge_of[step]};
    }
    if (count > 1) qsort(ports, count, sizeof *ports, compare_ports);
    double room = g->nodes[node].width * 0.8, apart = count > 1 ? room / (count - 1) : 0;
    if (apart > 14) apart = 14;
    for (uint32_t k = 0; k < count; k++)
      out[ports[k].edge] = w->items[node].x + apart * (k - (count - 1) / 2.0);
  }
  return TM_OK;
}

static tm_status add_point(layer_work *w, double x, double y) {
  tm_layer_point p = {x, y};
  return tm_vec_push(w->ctx, &w->graph->points, p);
}

// From the upper box's lower side through every step, straight down inside a layer.
static tm_status draw_edge(layer_work *w, uint32_t edge, const double *tops, const double *heights,
                           double from_x, double to_x) {
  tm_layers *g = w->graph;
  tm_layer_edge *e = &g->edges[edge];
  const tm_layer_node *upper = &g->nodes[upper_end(e)], *lower = &g->nodes[lower_end(e)];
  uint32_t first = w->first_step[edge];
  uint32_t steps = w->items[lower_end(e)].layer - w->items[upper_end(e)].layer - 1;
  uint32_t labelled = first + (steps / 2 & ~UINT32_C(1));
  e->point_begin = (uint32_t)g->points.count;
  uint32_t top = w->items[upper_end(e)].layer, bottom = w->items[lower_end(e)].layer;
  TM_TRY(add_point(w, from_x, upper->y + upper->height / 2));
  if (upper->height < heights[top]) TM_TRY(add_point(w, from_x, tops[top] + heights[top]));
  for (uint32_t k = first; k < first + steps; k++) {
    uint32_t layer = w->items[k].layer;
    double x = w->items[k].x;
    if (k == labelled) { // the line runs along the label's left side
      e->label_x = x + e->label_width / 2;
      e->label_y = tops[layer] + heights[layer] / 2;
    }
    TM_TRY(add_point(w, x, tops[layer]));
    if (heights[layer] > 0) TM_TRY(add_point(w, x, tops[layer] + heights[layer]));
  }
  if (lower->height < heights[bottom]) TM_TRY(add_point(w, to_x, tops[bottom]));
  TM_TRY(add_point(w, to_x, lower->y - lower->height / 2));
  e->point_count = (uint32_t)g->points.count - e->point_begin;
  for (uint32_t i = 0; e->upwards && i < e->point_count / 2; i++) {
    tm_layer_point *a = &g->points.items[e->point_begin + i];
    tm_layer_point *b = &g->points.items[e->point_begin + e->point_count - 1 - i], t = *a;
    *a = *b;
    *b = t;
  }
  return TM_OK;
}

static tm_status draw(layer_work *w) {
  tm_layers *g = w->graph;
  double *tops = layers_room(w, w->layer_count + 1u, sizeof *tops);
  double *heights = layers_room(w, w->layer_count + 1u, sizeof *heights);
  double *from_x = layers_room(w, g->edge_count + 1u, sizeof *from_x);
  double *to_x = layers_room(w, g->edge_count + 1u, sizeof *to_x);
  if (!tops || !heights || !from_x || !to_x) return TM_E_NOMEM;
  layer_heights(w, tops, heights);
  shift_right(w);
  for (uint32_t i = 0; i < g->node_count; i++) {
    uint32_t layer = w->items[i].layer;
    g->nodes[i].x = w->items[i].x;
    g->nodes[i].y = tops[layer] + heights[layer] / 2;
  }
  TM_TRY(spread_ports(w, true, from_x));
  TM_TRY(spread_ports(w, false, to_x));
  for (uint32_t i = 0; i < g->edge_count; i++)
    TM_TRY(draw_edge(w, i, tops, heights, from_x[i], to_x[i]));
  return TM_OK;
}

static tm_status run(layer_work *w) {
  uint32_t *ranks = layers_room(w, w->graph->node_count + 1u, sizeof *ranks);
  if (!ranks) return TM_E_NOMEM;
  TM_TRY(layers_rank(w, ranks));
  TM_TRY(count_items(w, ranks));
  make_items(w, ranks);
  TM_TRY(index_links(w, true, &w->down));
  TM_TRY(index_links(w, false, &w->up));
  TM_TRY(first_order(w));
  TM_TRY(layers_order(w));
  TM_TRY(layers_place(w));
  return draw(w);
}

tm_status tm_layers_draw(tm_ctx *ctx, tm_layers *graph) {
  layer_work w = {.ctx = ctx, .graph = graph};
  graph->points.count = 0;
  graph->width = graph->height = 2 * MARGIN;
  if (graph->node_count > TM_LAYER_NODES_MAX)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET,
                   "a graph of %u nodes is too large to draw (at most %d): lower nodecount",
                   graph->node_count, TM_LAYER_NODES_MAX);
  for (uint32_t i = 0; i < graph->edge_count; i++) graph->edges[i].upwards = false;
  if (!graph->node_count) return TM_OK;
  tm_arena_init(&w.arena, &ctx->alloc, 0);
  tm_status status = run(&w);
  tm_arena_fini(&w.arena);
  return status;
}
