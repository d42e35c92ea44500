// Coordinates: in turns, every layer takes the places nearest (in least squares) to the weighted
// means of its neighbours that keep order and distances: an isotonic regression, solved by pooling
// neighbours that want to overlap. Links between steps of one edge pull hardest, so that long edges
// are straight. Cost: rounds x links.
#include "analyze/layers_impl.h"

enum { ROUNDS = 24, LAST_ROUNDS = 8 };

typedef struct pool {
  double mean, weight;
  uint32_t end; // of the items that it holds
} pool;

static double gap(const layer_item *a, const layer_item *b) {
  double room = a->is_step && b->is_step ? 10 : 18;
  return a->right + b->left + room;
}

static void pull(const layer_work *w, uint32_t item, const layer_index *x, bool above, double *sum,
                 double *weight) {
  for (uint32_t k = x->begin[item]; k < x->begin[item + 1]; k++) {
    const layer_link *l = &w->links[x->links[k]];
    *sum += l->pull * w->items[above ? l->upper : l->lower].x;
    *weight += l->pull;
  }
}

static void place_layer(layer_work *w, uint32_t layer, bool above, bool below, pool *pools) {
  uint32_t begin = w->layer_begin[layer], end = w->layer_begin[layer + 1], count = 0;
  double offset = 0;
  for (uint32_t i = begin; i < end; i++) {
    layer_item *item = &w->items[w->order[i]];
    double weight = 0.01, sum = weight * item->x;
    if (above) pull(w, w->order[i], &w->up, true, &sum, &weight);
    if (below) pull(w, w->order[i], &w->down, false, &sum, &weight);
    if (i > begin) offset += gap(&w->items[w->order[i - 1]], item);
    item->key = offset;
    pools[count++] = (pool){sum / weight - offset, weight, i + 1};
    while (count > 1 && pools[count - 2].mean > pools[count - 1].mean) {
      pool *a = &pools[count - 2], *b = &pools[count - 1];
      a->mean = (a->mean * a->weight + b->mean * b->weight) / (a->weight + b->weight);
      a->weight += b->weight;
      a->end = b->end;
      count--;
    }
  }
  for (uint32_t i = begin, k = 0; i < end; i++) {
    while (i >= pools[k].end) k++;
    w->items[w->order[i]].x = pools[k].mean + w->items[w->order[i]].key;
  }
}

tm_status layers_place(layer_work *w) {
  pool *pools = layers_room(w, w->item_count + 1u, sizeof *pools);
  if (!pools) return TM_E_NOMEM;
  for (uint32_t layer = 0; layer < w->layer_count; layer++) {
    double x = 0;
    for (uint32_t i = w->layer_begin[layer]; i < w->layer_begin[layer + 1]; i++) {
      layer_item *item = &w->items[w->order[i]];
      if (i > w->layer_begin[layer]) x += gap(&w->items[w->order[i - 1]], item);
      item->x = x;
    }
    for (uint32_t i = w->layer_begin[layer]; i < w->layer_begin[layer + 1]; i++)
      w->items[w->order[i]].x -= x / 2;
  }
  for (uint32_t round = 0; round < ROUNDS; round++) {
    bool both = round >= ROUNDS - LAST_ROUNDS, down = round % 2 == 0;
    for (uint32_t i = 0; i < w->layer_count; i++)
      place_layer(w, down ? i : w->layer_count - 1 - i, down || both, !down || both, pools);
    TM_TRY(tm_ctx_tick(w->ctx, round));
  }
  return TM_OK;
}
