// Sums by type are one pass over the nodes; ranks sort indexes. A path is a breadth-first walk from
// all roots at once that remembers by which edge each node was met first.
#include "analyze/objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICK = 1 << 16, PREVIEW_BYTES = 160 };

// ---- by type ----

typedef struct type_sum {
  uint32_t type;
  uint64_t count, shallow_bytes, retained_bytes, lost_count, lost_bytes;
  uint64_t rank;
  const char *name;
} type_sum;

static int by_rank(const void *a, const void *b) {
  const type_sum *x = a, *y = b;
  if (x->rank != y->rank) return x->rank < y->rank ? 1 : -1;
  return strcmp(x->name, y->name);
}

static tm_status sum_nodes(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t, type_sum *sums) {
  for (uint32_t n = 0; n < g->node_count; n++) {
    type_sum *s = &sums[g->type[n]];
    uint64_t bytes = tm_graph_size(g, n);
    s->count += bytes != 0; // one whose bytes all went to its owner is no row's
    s->shallow_bytes += bytes;
    if (bytes && !t->number[n]) {
      s->lost_count++;
      s->lost_bytes += bytes;
    }
    if (n % TICK == 0) TM_TRY(tm_ctx_tick(ctx, n));
  }
  return TM_OK;
}

static void set_ranks(const tm_graph *g, const uint64_t *retained, tm_objects_order order,
                      type_sum *sums) {
  for (size_t i = 0; i < g->types.count; i++) {
    type_sum *s = &sums[i];
    s->type = (uint32_t)i;
    s->name = tm_graph_text(g, g->types.items[i].name);
    s->retained_bytes = retained[i];
    s->rank = order == TM_OBJECTS_BY_COUNT     ? s->count
              : order == TM_OBJECTS_BY_SHALLOW ? s->shallow_bytes
                                               : s->retained_bytes;
  }
}

static tm_status object_columns(tm_ctx *ctx, tm_table *out) {
  static const struct {
    const char *name;
    tm_unit unit;
  } numbers[] = {{"count", TM_UNIT_COUNT},
                 {"shallow_bytes", TM_UNIT_BYTES},
                 {"retained_bytes", TM_UNIT_BYTES},
                 {"unreachable_count", TM_UNIT_COUNT},
                 {"unreachable_bytes", TM_UNIT_BYTES}};
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  for (size_t i = 0; i < TM_COUNT(numbers); i++)
    TM_TRY(tm_table_add_column(ctx, out, numbers[i].name, TM_CELL_INT, numbers[i].unit));
  return TM_OK;
}

static tm_status write_sums(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                            const type_sum *sums, size_t row_count, tm_table *out) {
  uint64_t lost_count = 0, lost_bytes = 0;
  TM_TRY(object_columns(ctx, out));
  for (size_t i = 0; i < g->types.count; i++) {
    const type_sum *s = &sums[i];
    lost_count += s->lost_count;
    lost_bytes += s->lost_bytes;
    if (!s->count || (row_count && tm_table_row_count(out) >= row_count)) continue;
    size_t row;
    TM_TRY(tm_table_add_row(ctx, out, &row));
    TM_TRY(tm_table_set_text(ctx, out, row, 0, s->name, strlen(s->name)));
    tm_table_set_int(out, row, 1, (int64_t)s->count);
    tm_table_set_int(out, row, 2, (int64_t)s->shallow_bytes);
    tm_table_set_int(out, row, 3, (int64_t)s->retained_bytes);
    tm_table_set_int(out, row, 4, (int64_t)s->lost_count);
    tm_table_set_int(out, row, 5, (int64_t)s->lost_bytes);
  }
  TM_TRY(tm_table_note_int(ctx, out, "objects", g->node_count));
  TM_TRY(tm_table_note_int(ctx, out, "shallow_bytes", (int64_t)g->shallow_bytes));
  TM_TRY(tm_table_note_int(ctx, out, "reachable_bytes", (int64_t)t->retained[0]));
  TM_TRY(tm_table_note_int(ctx, out, "unreachable_count", (int64_t)lost_count));
  return tm_table_note_int(ctx, out, "unreachable_bytes", (int64_t)lost_bytes);
}

tm_status tm_objects_table(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree,
                           const tm_domchildren *children, tm_objects_order order, size_t row_count,
                           tm_table *out) {
  size_t n = g->types.count + 1;
  type_sum *sums = tm_calloc(ctx, n, sizeof *sums);
  uint64_t *retained = tm_calloc(ctx, n, sizeof *retained);
  tm_status status = sums && retained ? sum_nodes(ctx, g, tree, sums) : TM_E_NOMEM;
  if (status == TM_OK) status = tm_domtree_retained_by_type(ctx, tree, g, children, retained);
  if (status == TM_OK) {
    set_ranks(g, retained, order, sums);
    qsort(sums, g->types.count, sizeof *sums, by_rank);
    status = write_sums(ctx, g, tree, sums, row_count, out);
  }
  tm_free(ctx, sums, n * sizeof *sums);
  tm_free(ctx, retained, n * sizeof *retained);
  return status;
}

// ---- the dominator tree, level by level ----

typedef struct holder {
  uint32_t vertex;
  uint64_t retained;
} holder;

static int by_retained(const void *a, const void *b) {
  const holder *x = a, *y = b;
  if (x->retained != y->retained) return x->retained < y->retained ? 1 : -1;
  return x->vertex < y->vertex ? -1 : x->vertex > y->vertex;
}

static tm_status add_node_columns(tm_ctx *ctx, tm_table *out, const char *last, tm_cell cell) {
  TM_TRY(tm_table_add_column(ctx, out, "node", TM_CELL_INT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "shallow_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  TM_TRY(tm_table_add_column(ctx, out, "retained_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  TM_TRY(tm_table_add_column(ctx, out, last, cell, TM_UNIT_NONE));
  return tm_table_add_column(ctx, out, "preview", TM_CELL_TEXT, TM_UNIT_NONE);
}

static tm_status add_node_row(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t, uint32_t node,
                              tm_table *out, size_t *row) {
  const char *type = tm_graph_type_name(g, node);
  char text[PREVIEW_BYTES] = "";
  if (g->detail && g->detail->preview) TM_TRY(g->detail->preview(ctx, g, node, text, sizeof text));
  TM_TRY(tm_table_add_row(ctx, out, row));
  TM_TRY(tm_table_set_text(ctx, out, *row, 5, text, strlen(text)));
  tm_table_set_int(out, *row, 0, node);
  TM_TRY(tm_table_set_text(ctx, out, *row, 1, type, strlen(type)));
  tm_table_set_int(out, *row, 2, (int64_t)tm_graph_size(g, node));
  tm_table_set_int(out, *row, 3, (int64_t)tm_domtree_retained(t, g, node));
  return TM_OK;
}

static tm_status write_holders(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                               const tm_domchildren *c, const holder *list, size_t n,
                               tm_table *out) {
  TM_TRY(add_node_columns(ctx, out, "children", TM_CELL_INT));
  for (size_t i = 0; i < n; i++) {
    size_t row;
    uint32_t v = list[i].vertex;
    TM_TRY(add_node_row(ctx, g, t, t->vertex[v], out, &row));
    tm_table_set_int(out, row, 4, (int64_t)c->begin[v + 1] - c->begin[v]);
  }
  return TM_OK;
}

typedef TM_VEC(holder) holder_list;

static tm_status add_children(tm_ctx *ctx, const tm_domtree *t, const tm_domchildren *c, uint32_t v,
                              holder_list *list) {
  for (uint32_t i = c->begin[v]; i < c->begin[v + 1]; i++)
    TM_TRY(tm_vec_push(ctx, list, (holder){c->child[i], t->retained[c->child[i]]}));
  return TM_OK;
}

// V8's dumps have nodes for its roots, which hold nearly all and say nothing: who hangs on them
// stands in.
static tm_status open_roots(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                            const tm_domchildren *c, holder_list *list) {
  for (size_t i = 0; i < list->count;) {
    holder at = list->items[i];
    uint32_t node = t->vertex[at.vertex];
    if (tm_graph_size(g, node) || at.retained / 9 < t->retained[0] / 10
        || strcmp(tm_graph_type_name(g, node), "(synthetic)") != 0) {
      i++;
      continue;
    }
    list->items[i] = list->items[--list->count];
    TM_TRY(add_children(ctx, t, c, at.vertex, list));
  }
  return TM_OK;
}

tm_status tm_objects_dominated(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                               const tm_domchildren *c, uint32_t parent, size_t row_count,
                               tm_table *out) {
  uint32_t v = 0;
  if (parent != TM_NODE_NONE) {
    if (parent >= g->node_count)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", parent);
    v = t->number[parent];
    if (!v) return add_node_columns(ctx, out, "children", TM_CELL_INT); // holds nothing alive
  }
  holder_list list = {0};
  tm_status status = add_children(ctx, t, c, v, &list);
  if (status == TM_OK && !v) status = open_roots(ctx, g, t, c, &list);
  if (list.count) qsort(list.items, list.count, sizeof *list.items, by_retained);
  size_t shown = row_count && row_count < list.count ? row_count : list.count;
  if (status == TM_OK) status = write_holders(ctx, g, t, c, list.items, shown, out);
  tm_vec_free(ctx, &list);
  return status;
}

// ---- the way to a root ----

typedef struct walk {
  tm_ctx *ctx;
  const tm_graph *g;
  uint32_t *parent, *by_edge, *queue;
} walk;

static bool start_walk(walk *w, uint32_t wanted, size_t *tail) {
  memset(w->parent, 0xff, w->g->node_count * sizeof *w->parent);
  for (size_t i = 0; i < w->g->roots.count; i++) {
    const tm_root *root = &w->g->roots.items[i];
    if (root->held || w->parent[root->node] != TM_NODE_NONE) continue;
    w->parent[root->node] = root->node;
    w->by_edge[root->node] = (uint32_t)i;
    w->queue[(*tail)++] = root->node;
    if (root->node == wanted) return true;
  }
  return false;
}

static tm_status find_way(walk *w, uint32_t wanted, tm_strength weakest, bool *found) {
  const tm_graph *g = w->g;
  size_t head = 0, tail = 0;
  *found = start_walk(w, wanted, &tail);
  while (head < tail && !*found) {
    uint32_t v = w->queue[head++];
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (w->parent[to] != TM_NODE_NONE || tm_graph_strength(g, v, e) > weakest) continue;
      w->parent[to] = v;
      w->by_edge[to] = e - g->edge_begin[v];
      w->queue[tail++] = to;
      if (to == wanted) *found = true;
    }
    if (head % TICK == 0) TM_TRY(tm_ctx_tick(w->ctx, head));
  }
  return TM_OK;
}

static tm_status write_way(walk *w, const tm_domtree *t, uint32_t wanted, tm_table *out) {
  const tm_graph *g = w->g;
  size_t n = 0;
  uint32_t *way = w->queue; // not needed any more
  for (uint32_t v = wanted;; v = w->parent[v]) {
    way[n++] = v;
    if (w->parent[v] == v) break;
  }
  for (size_t i = n; i-- > 0;) {
    char name[512] = "";
    size_t row;
    uint32_t v = way[i];
    TM_TRY(add_node_row(w->ctx, g, t, v, out, &row));
    if (w->parent[v] != v && g->detail && g->detail->edge_name)
      TM_TRY(g->detail->edge_name(w->ctx, g, w->parent[v], w->by_edge[v], name, sizeof name));
    if (w->parent[v] == v) {
      const tm_root *root = &g->roots.items[w->by_edge[v]];
      snprintf(name, sizeof name, "%s%s%s", tm_root_kind_name((tm_root_kind)root->kind),
               root->label ? " " : "", tm_graph_text(g, root->label));
    }
    TM_TRY(tm_table_set_text(w->ctx, out, row, 4, name, strlen(name)));
  }
  return TM_OK;
}

tm_status tm_objects_path(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree, uint32_t node,
                          tm_strength weakest, tm_table *out) {
  if (node >= g->node_count)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
  size_t bytes = ((size_t)g->node_count + 1) * sizeof(uint32_t);
  walk w = {ctx, g, tm_alloc(ctx, bytes), tm_alloc(ctx, bytes), tm_alloc(ctx, bytes)};
  bool found = false;
  tm_status status =
      w.parent && w.by_edge && w.queue ? find_way(&w, node, weakest, &found) : TM_E_NOMEM;
  if (status == TM_OK) status = add_node_columns(ctx, out, "edge", TM_CELL_TEXT);
  if (status == TM_OK && found) status = write_way(&w, tree, node, out);
  tm_free(ctx, w.parent, bytes);
  tm_free(ctx, w.by_edge, bytes);
  tm_free(ctx, w.queue, bytes);
  return status;
}
