// One walk in breadth from all roots gives every node a parent; read backwards, its order passes
// the counts of members up; read forwards, it gives every node that leads to a member its place.
// The greatest places are taken with a heap from the top down, as a parent counts for its children.
#include "analyze/node_paths.h"

#include "base/idmap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICK = 1 << 16, ROWS = 1000 };

typedef struct place {
  uint32_t parent; // place, UINT32_MAX = under the roots
  uint32_t node;   // the first
  uint32_t objects, count;
  uint64_t bytes;
  uint32_t child, next; // first child, next sibling; UINT32_MAX = none
  uint32_t depth;
  bool shown;
} place;

typedef struct ways {
  tm_ctx *ctx;
  const tm_graph *g;
  const tm_node_set *set;
  bool by_type;
  tm_node_set classes; // class objects: never one place, though of one type
  uint32_t *parent;    // by node: node, itself = root, TM_NODE_NONE = not met
  uint32_t *by_edge;   // by node: index of the edge of its parent, or of its root
  uint32_t *queue;     // nodes in the order they were met
  uint32_t *place_of;
  uint32_t met;
  tm_idmap index; // parent place and type or node -> place
  TM_VEC(place) places;
  TM_VEC(uint32_t) heap;
} ways;

// ---- the walk ----

static void begin(ways *w) {
  memset(w->parent, 0xff, (size_t)w->g->node_count * sizeof *w->parent);
  for (size_t i = 0; i < w->g->roots.count; i++) {
    const tm_root *root = &w->g->roots.items[i];
    if (root->held || w->parent[root->node] != TM_NODE_NONE) continue;
    w->parent[root->node] = root->node;
    w->by_edge[root->node] = (uint32_t)i;
    w->queue[w->met++] = root->node;
  }
}

static tm_status walk(ways *w, tm_strength weakest) {
  const tm_graph *g = w->g;
  for (uint32_t head = 0; head < w->met; head++) {
    uint32_t v = w->queue[head];
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (w->parent[to] != TM_NODE_NONE || tm_graph_strength(g, v, e) > weakest) continue;
      w->parent[to] = v;
      w->by_edge[to] = e - g->edge_begin[v];
      w->queue[w->met++] = to;
    }
    if (head % TICK == 0) TM_TRY(tm_ctx_tick(w->ctx, head));
  }
  return TM_OK;
}

// place_of[node] = 1 when it is a member or leads to one.
static void mark_ways(ways *w) {
  memset(w->place_of, 0, (size_t)w->g->node_count * sizeof *w->place_of);
  for (uint32_t i = w->met; i-- > 0;) {
    uint32_t v = w->queue[i];
    if (tm_node_set_has(w->set, v)) w->place_of[v] = 1;
    if (w->place_of[v]) w->place_of[w->parent[v]] = 1;
  }
}

// ---- places ----

static tm_status find_place(ways *w, uint32_t v, uint32_t above, uint32_t *out) {
  const tm_graph *g = w->g;
  bool by_type = w->by_type && !tm_node_set_has(&w->classes, v);
  if (by_type && above != UINT32_MAX && g->type[w->places.items[above].node] == g->type[v]) {
    *out = above;
    return TM_OK;
  }
  uint64_t key = (uint64_t)above << 33 | (uint64_t)!by_type << 32 | (by_type ? g->type[v] : v);
  *out = tm_idmap_get(&w->index, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)w->places.count;
  place p = {above, v, 0, 0, 0, UINT32_MAX, UINT32_MAX, 0, false};
  if (above != UINT32_MAX) p.depth = w->places.items[above].depth + 1;
  TM_TRY(tm_vec_push(w->ctx, &w->places, p));
  return tm_idmap_put(w->ctx, &w->index, key, *out);
}

static tm_status mark_classes(ways *w) {
  TM_TRY(tm_node_set_init(w->ctx, w->g, &w->classes));
  for (size_t i = 0; i < w->g->types.count; i++) {
    uint32_t node = w->g->types.items[i].node;
    if (node < w->g->node_count) tm_node_set_add(&w->classes, node);
  }
  return TM_OK;
}

static tm_status make_places(ways *w) {
  TM_TRY(mark_classes(w));
  mark_ways(w);
  for (uint32_t i = 0; i < w->met; i++) {
    uint32_t v = w->queue[i], above = UINT32_MAX, at;
    if (!w->place_of[v]) continue;
    if (w->parent[v] != v) above = w->place_of[w->parent[v]];
    TM_TRY(find_place(w, v, above, &at));
    w->place_of[v] = at;
    place *p = &w->places.items[at];
    p->objects++;
    if (tm_node_set_has(w->set, v)) {
      p->count++;
      p->bytes += tm_graph_size(w->g, v);
    }
    if (i % TICK == 0) TM_TRY(tm_ctx_tick(w->ctx, i));
  }
  for (size_t i = w->places.count; i-- > 0;) { // a place lies behind its parent
    place *p = &w->places.items[i];
    if (p->parent == UINT32_MAX) continue;
    w->places.items[p->parent].count += p->count;
    w->places.items[p->parent].bytes += p->bytes;
  }
  return TM_OK;
}

// ---- the greatest ----

static bool is_greater(const ways *w, uint32_t a, uint32_t b) {
  const place *x = &w->places.items[a], *y = &w->places.items[b];
  if (x->count != y->count) return x->count > y->count;
  return x->bytes != y->bytes ? x->bytes > y->bytes : a < b;
}

static tm_status push(ways *w, uint32_t at) {
  TM_TRY(tm_vec_push(w->ctx, &w->heap, at));
  uint32_t *h = w->heap.items;
  for (size_t i = w->heap.count - 1; i && is_greater(w, h[i], h[(i - 1) / 2]); i = (i - 1) / 2) {
    uint32_t swap = h[i];
    h[i] = h[(i - 1) / 2];
    h[(i - 1) / 2] = swap;
  }
  return TM_OK;
}

static uint32_t pop(ways *w) {
  uint32_t *h = w->heap.items, top = h[0], n = (uint32_t)--w->heap.count;
  h[0] = h[n];
  for (uint32_t i = 0, child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && is_greater(w, h[child + 1], h[child])) child++;
    if (!is_greater(w, h[child], h[i])) break;
    uint32_t swap = h[i];
    h[i] = h[child];
    h[child] = swap;
  }
  return top;
}

// Links children so that the greatest comes first among those that are shown: they are linked in
// the order in which the heap gives them up, the least first.
static tm_status choose(ways *w, size_t row_count, uint32_t *out_first) {
  size_t n = w->places.count, shown = 0;
  uint32_t *child = tm_alloc(w->ctx, (n + 1) * sizeof *child), *order = w->queue;
  if (!child) return TM_E_NOMEM;
  memset(child, 0xff, (n + 1) * sizeof *child); // heads of lists of all children; [n] = the roots'
  tm_status status = TM_OK;
  for (uint32_t i = (uint32_t)n; i-- > 0;) {
    uint32_t above =
        w->places.items[i].parent == UINT32_MAX ? (uint32_t)n : w->places.items[i].parent;
    w->places.items[i].next = child[above];
    child[above] = i;
  }
  for (uint32_t i = child[n]; i != UINT32_MAX && status == TM_OK; i = w->places.items[i].next)
    status = push(w, i);
  while (status == TM_OK && w->heap.count && shown < row_count) {
    uint32_t at = pop(w);
    w->places.items[at].shown = true;
    order[shown++] = at;
    for (uint32_t i = child[at]; i != UINT32_MAX && status == TM_OK; i = w->places.items[i].next)
      status = push(w, i);
  }
  tm_free(w->ctx, child, (n + 1) * sizeof *child);
  *out_first = UINT32_MAX;
  while (shown-- > 0) {
    place *p = &w->places.items[order[shown]];
    uint32_t *head = p->parent == UINT32_MAX ? out_first : &w->places.items[p->parent].child;
    p->next = *head;
    *head = order[shown];
  }
  return status;
}

// ---- rows ----

static tm_status write_place(ways *w, const place *p, tm_table *out) {
  const tm_graph *g = w->g;
  char name[512] = "";
  uint32_t v = p->node;
  size_t row;
  if (w->parent[v] == v) {
    const tm_root *root = &g->roots.items[w->by_edge[v]];
    snprintf(name, sizeof name, "%s%s%s", tm_root_kind_name((tm_root_kind)root->kind),
             root->label ? " " : "", tm_graph_text(g, root->label));
  } else if (g->detail && g->detail->edge_name) {
    TM_TRY(g->detail->edge_name(w->ctx, g, w->parent[v], w->by_edge[v], name, sizeof name));
  }
  const char *type = tm_graph_type_name(g, v);
  TM_TRY(tm_table_add_row(w->ctx, out, &row));
  tm_table_set_int(out, row, 0, p->depth);
  tm_table_set_int(out, row, 1, v);
  TM_TRY(tm_table_set_text(w->ctx, out, row, 2, type, strlen(type)));
  TM_TRY(tm_table_set_text(w->ctx, out, row, 3, name, strlen(name)));
  tm_table_set_int(out, row, 4, p->count);
  tm_table_set_int(out, row, 5, (int64_t)p->bytes);
  tm_table_set_int(out, row, 6, p->objects);
  name[0] = '\0';
  if (g->detail && g->detail->preview) TM_TRY(g->detail->preview(w->ctx, g, v, name, sizeof name));
  return tm_table_set_text(w->ctx, out, row, 7, name, strlen(name));
}

static tm_status write_places(ways *w, uint32_t first, tm_table *out) {
  static const struct {
    const char *name;
    tm_cell cell;
    tm_unit unit;
  } columns[] = {{"depth", TM_CELL_INT, TM_UNIT_NONE},    {"node", TM_CELL_INT, TM_UNIT_NONE},
                 {"type", TM_CELL_TEXT, TM_UNIT_NONE},    {"edge", TM_CELL_TEXT, TM_UNIT_NONE},
                 {"count", TM_CELL_INT, TM_UNIT_COUNT},   {"bytes", TM_CELL_INT, TM_UNIT_BYTES},
                 {"objects", TM_CELL_INT, TM_UNIT_COUNT}, {"preview", TM_CELL_TEXT, TM_UNIT_NONE}};
  uint32_t at = first;
  for (size_t i = 0; i < TM_COUNT(columns); i++)
    TM_TRY(tm_table_add_column(w->ctx, out, columns[i].name, columns[i].cell, columns[i].unit));
  while (at != UINT32_MAX) {
    const place *p = &w->places.items[at];
    TM_TRY(write_place(w, p, out));
    uint32_t next = p->child;
    while (next == UINT32_MAX && at != UINT32_MAX) { // up until there is a sibling
      next = w->places.items[at].next;
      at = w->places.items[at].parent;
    }
    at = next;
  }
  return TM_OK;
}

static tm_status answer(ways *w, tm_strength weakest, size_t row_count, tm_table *out) {
  uint32_t first, reached = 0;
  begin(w);
  TM_TRY(walk(w, weakest));
  TM_TRY(make_places(w));
  for (size_t i = 0; i < w->places.count; i++)
    if (w->places.items[i].parent == UINT32_MAX) reached += w->places.items[i].count;
  size_t places = w->places.count;
  TM_TRY(choose(w, row_count ? row_count : ROWS, &first));
  TM_TRY(write_places(w, first, out));
  TM_TRY(tm_table_note_int(w->ctx, out, "members", tm_node_set_count(w->set)));
  TM_TRY(tm_table_note_int(w->ctx, out, "reached", reached));
  return tm_table_note_int(w->ctx, out, "places", (int64_t)places);
}

tm_status tm_node_paths_table(tm_ctx *ctx, const tm_graph *g, tm_strength weakest,
                              const tm_node_set *set, bool by_type, size_t row_count,
                              tm_table *out) {
  size_t room = ((size_t)g->node_count + 1) * sizeof(uint32_t);
  ways w = {.ctx = ctx, .g = g, .set = set, .by_type = by_type};
  w.parent = tm_alloc(ctx, room);
  w.by_edge = tm_alloc(ctx, room);
  w.queue = tm_alloc(ctx, room);
  w.place_of = tm_alloc(ctx, room);
  tm_status status = w.parent && w.by_edge && w.queue && w.place_of
                         ? answer(&w, weakest, row_count, out)
                         : TM_E_NOMEM;
  tm_free(ctx, w.parent, room);
  tm_free(ctx, w.by_edge, room);
  tm_free(ctx, w.queue, room);
  tm_free(ctx, w.place_of, room);
  tm_node_set_fini(&w.classes);
  tm_idmap_free(ctx, &w.index);
  tm_vec_free(ctx, &w.places);
  tm_vec_free(ctx, &w.heap);
  return status;
}
