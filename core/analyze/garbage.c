// The garbage becomes a graph of its own: unreachable nodes under new numbers and the edges between
// them. Its roots are one node of every strongly connected part that nothing else leads to: a
// depth-first walk notes the order in which nodes are left; taken backwards, the first node that
// was not met yet begins such a part (Kosaraju), and a second walk marks what it reaches. The
// dominator tree of that graph is the forest that answers what holds what.
#include "analyze/garbage.h"

#include <stdlib.h>
#include <string.h>

enum { TICK = 1 << 16 };

typedef struct heap {
  tm_ctx *ctx;
  const tm_graph *g;
  const tm_domtree *t;
  tm_strength weakest;
  uint32_t *number; // by node of g: its node in lost, or TM_NODE_NONE
  tm_graph *lost;
  tm_domtree *forest;
  tm_domchildren children;
} heap;

// ---- the graph of the garbage ----

static bool is_lost_edge(const heap *h, uint32_t node, uint32_t e) {
  return h->number[h->g->edge_to[e]] != TM_NODE_NONE
         && tm_graph_strength(h->g, node, e) <= h->weakest;
}

static tm_status copy_nodes(heap *h) {
  const tm_graph *g = h->g;
  uint32_t count = 0;
  for (uint32_t n = 0; n < g->node_count; n++)
    h->number[n] = h->t->number[n] ? TM_NODE_NONE : count++;
  TM_TRY(tm_graph_alloc_nodes(h->ctx, h->lost, count));
  for (size_t i = 0; i < g->types.count; i++) {
    tm_type type = g->types.items[i];
    type.strength = TM_STRENGTH_STRONG; // edges that are weaker than wanted are left out
    TM_TRY(tm_vec_push(h->ctx, &h->lost->types, type));
  }
  for (uint32_t n = 0; n < g->node_count; n++) {
    uint32_t to = h->number[n];
    if (to == TM_NODE_NONE) continue;
    h->lost->type[to] = g->type[n];
    TM_TRY(tm_graph_set_size(h->ctx, h->lost, to, tm_graph_size(g, n)));
  }
  return TM_OK;
}

static tm_status copy_edges(heap *h) {
  const tm_graph *g = h->g;
  tm_graph *lost = h->lost;
  uint32_t sum = 0;
  for (uint32_t n = 0; n < g->node_count; n++) {
    if (h->number[n] == TM_NODE_NONE) continue;
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++) sum += is_lost_edge(h, n, e);
    lost->edge_begin[h->number[n] + 1] = sum;
  }
  lost->edge_count = sum;
  lost->edge_to = tm_alloc(h->ctx, ((size_t)sum + !sum) * sizeof *lost->edge_to);
  if (!lost->edge_to) return TM_E_NOMEM;
  uint32_t at = 0;
  for (uint32_t n = 0; n < g->node_count; n++) {
    if (h->number[n] == TM_NODE_NONE) continue;
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
      if (is_lost_edge(h, n, e)) lost->edge_to[at++] = h->number[g->edge_to[e]];
    if (n % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, n));
  }
  return TM_OK;
}

// ---- its roots ----

typedef struct order {
  uint32_t *parent, *cursor, *left; // left: nodes in the order in which they were left
  uint32_t count;
} order;

// Walks everything below v that has no parent yet, without a stack.
static void leave_below(const tm_graph *g, order *o, uint32_t v) {
  o->parent[v] = v;
  o->cursor[v] = g->edge_begin[v];
  for (;;) {
    if (o->cursor[v] < g->edge_begin[v + 1]) {
      uint32_t to = g->edge_to[o->cursor[v]++];
      if (o->parent[to] != TM_NODE_NONE) continue;
      o->parent[to] = v;
      o->cursor[to] = g->edge_begin[to];
      v = to;
      continue;
    }
    o->left[o->count++] = v;
    if (o->parent[v] == v) return;
    v = o->parent[v];
  }
}

// Marks what v reaches; cursor serves as the stack: every node is pushed once.
static void mark_below(const tm_graph *g, order *o, uint8_t *mark, uint32_t v) {
  size_t n = 0;
  mark[v] = 1;
  o->cursor[n++] = v;
  while (n) {
    v = o->cursor[--n];
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (!mark[to]) o->cursor[n++] = to;
      mark[to] = 1;
    }
  }
}

static tm_status add_tops(heap *h, order *o, uint8_t *mark) {
  tm_graph *lost = h->lost;
  memset(o->parent, 0xff, (size_t)lost->node_count * sizeof *o->parent);
  for (uint32_t n = 0; n < lost->node_count; n++) {
    if (o->parent[n] == TM_NODE_NONE) leave_below(lost, o, n);
    if (n % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, n));
  }
  for (uint32_t i = o->count; i-- > 0;) {
    uint32_t v = o->left[i];
    if (mark[v]) continue;
    tm_root root = {.node = v, .thread = TM_NODE_NONE, .kind = TM_ROOT_ASSUMED};
    TM_TRY(tm_vec_push(h->ctx, &lost->roots, root));
    mark_below(lost, o, mark, v);
  }
  return TM_OK;
}

static tm_status find_tops(heap *h) {
  size_t n = (size_t)h->lost->node_count + 1, room = n * sizeof(uint32_t);
  order o = {tm_alloc(h->ctx, room), tm_alloc(h->ctx, room), tm_alloc(h->ctx, room), 0};
  uint8_t *mark = tm_calloc(h->ctx, n, 1);
  tm_status status = o.parent && o.cursor && o.left && mark ? add_tops(h, &o, mark) : TM_E_NOMEM;
  tm_free(h->ctx, o.parent, room);
  tm_free(h->ctx, o.cursor, room);
  tm_free(h->ctx, o.left, room);
  tm_free(h->ctx, mark, n);
  return status;
}

// ---- by type ----

typedef struct type_sum {
  const char *name;
  uint64_t count, shallow_bytes, retained_bytes, tops;
} type_sum;

static int by_retained(const void *a, const void *b) {
  const type_sum *x = a, *y = b;
  if (x->retained_bytes != y->retained_bytes) return x->retained_bytes < y->retained_bytes ? 1 : -1;
  return strcmp(x->name, y->name);
}

static tm_status sum_types(heap *h, type_sum *sums, uint64_t *retained) {
  const tm_graph *lost = h->lost;
  TM_TRY(tm_domtree_retained_by_type(h->ctx, h->forest, lost, &h->children, retained));
  for (size_t i = 0; i < lost->types.count; i++) {
    sums[i].name = tm_graph_text(h->g, lost->types.items[i].name);
    sums[i].retained_bytes = retained[i];
  }
  for (uint32_t n = 0; n < lost->node_count; n++) {
    sums[lost->type[n]].count++;
    sums[lost->type[n]].shallow_bytes += tm_graph_size(lost, n);
  }
  for (size_t i = 0; i < lost->roots.count; i++) sums[lost->type[lost->roots.items[i].node]].tops++;
  qsort(sums, lost->types.count, sizeof *sums, by_retained);
  return TM_OK;
}

static tm_status write_sums(heap *h, const type_sum *sums, size_t row_count, tm_table *out) {
  static const char *const names[] = {"count", "shallow_bytes", "retained_bytes", "tops"};
  tm_ctx *ctx = h->ctx;
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  for (size_t i = 0; i < TM_COUNT(names); i++)
    TM_TRY(tm_table_add_column(ctx, out, names[i], TM_CELL_INT,
                               i == 1 || i == 2 ? TM_UNIT_BYTES : TM_UNIT_COUNT));
  for (size_t i = 0; i < h->lost->types.count; i++) {
    size_t row;
    if (!sums[i].count) continue;
    if (row_count && tm_table_row_count(out) >= row_count) break;
    TM_TRY(tm_table_add_row(ctx, out, &row));
    TM_TRY(tm_table_set_text(ctx, out, row, 0, sums[i].name, strlen(sums[i].name)));
    tm_table_set_int(out, row, 1, (int64_t)sums[i].count);
    tm_table_set_int(out, row, 2, (int64_t)sums[i].shallow_bytes);
    tm_table_set_int(out, row, 3, (int64_t)sums[i].retained_bytes);
    tm_table_set_int(out, row, 4, (int64_t)sums[i].tops);
  }
  TM_TRY(tm_table_note_int(ctx, out, "count", h->lost->node_count));
  TM_TRY(tm_table_note_int(ctx, out, "shallow_bytes", (int64_t)h->lost->shallow_bytes));
  return tm_table_note_int(ctx, out, "tops", (int64_t)h->lost->roots.count);
}

static tm_status answer(heap *h, size_t row_count, tm_table *out) {
  tm_ctx *ctx = h->ctx;
  size_t n = h->g->types.count + 1;
  TM_TRY(tm_graph_new(ctx, &h->lost));
  TM_TRY(copy_nodes(h));
  TM_TRY(copy_edges(h));
  TM_TRY(find_tops(h));
  TM_TRY(tm_domtree_new(ctx, h->lost, TM_STRENGTH_STRONG, &h->forest));
  TM_TRY(tm_domtree_children(ctx, h->forest, &h->children));
  type_sum *sums = tm_calloc(ctx, n, sizeof *sums);
  uint64_t *retained = tm_calloc(ctx, n, sizeof *retained);
  tm_status status = sums && retained ? sum_types(h, sums, retained) : TM_E_NOMEM;
  if (status == TM_OK) status = write_sums(h, sums, row_count, out);
  tm_free(ctx, sums, n * sizeof *sums);
  tm_free(ctx, retained, n * sizeof *retained);
  return status;
}

tm_status tm_garbage_table(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree,
                           tm_strength weakest, size_t row_count, tm_table *out) {
  heap h = {.ctx = ctx, .g = g, .t = tree, .weakest = weakest};
  size_t room = ((size_t)g->node_count + 1) * sizeof *h.number;
  h.number = tm_alloc(ctx, room);
  tm_status status = h.number ? answer(&h, row_count, out) : TM_E_NOMEM;
  tm_free(ctx, h.number, room);
  tm_domchildren_fini(&h.children);
  tm_domtree_free(h.forest);
  tm_graph_free(h.lost);
  return status;
}
