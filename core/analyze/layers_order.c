// Few crossings: layers are swept down and up, each sorted by the weighted mean place of what its
// items are linked to above (or below); the order with the fewest crossings is kept. Crossings of
// two layers are inversions, counted with a Fenwick tree. Cost: sweeps x links x log.
#include "analyze/layers_impl.h"

#include <stdlib.h>
#include <string.h>

enum { SWEEPS = 16 };

typedef struct placed {
  double key;
  uint32_t place, item;
} placed;

static int compare_placed(const void *left, const void *right) {
  const placed *a = left, *b = right;
  if (a->key != b->key) return a->key < b->key ? -1 : 1;
  return a->place < b->place ? -1 : a->place > b->place;
}

// Items without links on that side keep their place among the others.
static void sort_layer(layer_work *w, uint32_t layer, const layer_index *x, bool above,
                       placed *room) {
  uint32_t begin = w->layer_begin[layer], count = w->layer_begin[layer + 1] - begin;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t item = w->order[begin + i];
    double sum = 0, weight = 0;
    for (uint32_t k = x->begin[item]; k < x->begin[item + 1]; k++) {
      const layer_link *l = &w->links[x->links[k]];
      sum += l->weight * w->items[above ? l->upper : l->lower].place;
      weight += l->weight;
    }
    room[i] = (placed){weight > 0 ? sum / weight : -1, i, item};
  }
  double last = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (room[i].key < 0) room[i].key = last;
    last = room[i].key;
  }
  qsort(room, count, sizeof *room, compare_placed);
  for (uint32_t i = 0; i < count; i++) {
    w->order[begin + i] = room[i].item;
    w->items[room[i].item].place = i;
  }
}

static int compare_places(const void *left, const void *right) {
  uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
  return a < b ? -1 : a > b;
}

static uint64_t count_below(layer_work *w, uint32_t layer, uint32_t *tree, uint32_t *targets) {
  uint32_t width = w->layer_begin[layer + 2] - w->layer_begin[layer + 1];
  uint64_t crossings = 0, seen = 0;
  memset(tree, 0, (width + 1) * sizeof *tree);
  for (uint32_t i = w->layer_begin[layer]; i < w->layer_begin[layer + 1]; i++) {
    uint32_t item = w->order[i], count = 0;
    for (uint32_t k = w->down.begin[item]; k < w->down.begin[item + 1]; k++)
      targets[count++] = w->items[w->links[w->down.links[k]].lower].place;
    if (count > 1) qsort(targets, count, sizeof *targets, compare_places);
    for (uint32_t k = 0; k < count; k++) {
      uint64_t left = 0;
      for (uint32_t at = targets[k] + 1; at; at &= at - 1) left += tree[at];
      crossings += seen - left;
    }
    for (uint32_t k = 0; k < count; k++, seen++)
      for (uint32_t at = targets[k] + 1; at <= width; at += at & (~at + 1)) tree[at]++;
  }
  return crossings;
}

static uint64_t count_crossings(layer_work *w, uint32_t *tree, uint32_t *targets) {
  uint64_t sum = 0;
  for (uint32_t layer = 0; layer + 1 < w->layer_count; layer++)
    sum += count_below(w, layer, tree, targets);
  return sum;
}

static void number_places(layer_work *w) {
  for (uint32_t layer = 0; layer < w->layer_count; layer++)
    for (uint32_t i = w->layer_begin[layer]; i < w->layer_begin[layer + 1]; i++)
      w->items[w->order[i]].place = i - w->layer_begin[layer];
}

tm_status layers_order(layer_work *w) {
  placed *room = layers_room(w, w->item_count + 1u, sizeof *room);
  uint32_t *best = layers_room(w, w->item_count + 1u, sizeof *best);
  uint32_t *tree = layers_room(w, w->item_count + 2u, sizeof *tree);
  uint32_t *targets = layers_room(w, w->link_count + 1u, sizeof *targets);
  if (!room || !best || !tree || !targets) return TM_E_NOMEM;
  number_places(w);
  uint64_t fewest = count_crossings(w, tree, targets);
  memcpy(best, w->order, w->item_count * sizeof *best);
  for (uint32_t sweep = 0; sweep < SWEEPS && fewest; sweep++) {
    for (uint32_t i = 1; i < w->layer_count; i++) {
      if (sweep % 2 == 0)
        sort_layer(w, i, &w->up, true, room);
      else
        sort_layer(w, w->layer_count - 1 - i, &w->down, false, room);
    }
    uint64_t crossings = count_crossings(w, tree, targets);
    if (crossings < fewest) {
      fewest = crossings;
      memcpy(best, w->order, w->item_count * sizeof *best);
    }
    TM_TRY(tm_ctx_tick(w->ctx, sweep));
  }
  memcpy(w->order, best, w->item_count * sizeof *best);
  number_places(w);
  return TM_OK;
}
