// A dominator tree to an index and back. Every vertex is checked to hang below a smaller one and to
// stand once in the list of its dominator's children: walks over either end.
#include "analyze/domtree.h"
#include "model/columns.h"

static bool numbers_fit(const tm_domtree *t) {
  uint32_t greatest = 0;
  for (size_t n = 0; n < t->node_count; n++)
    greatest = t->number[n] > greatest ? t->number[n] : greatest;
  uint32_t last = 0;
  bool up = t->vertex[0] == TM_NODE_NONE && t->idom[0] == 0;
  for (uint32_t v = 1; v <= t->reached; v++) {
    last = t->vertex[v] > last ? t->vertex[v] : last;
    up &= t->idom[v] < v;
  }
  return greatest <= t->reached && last < t->node_count && up;
}

static bool children_fit(const tm_domtree *t, const tm_domchildren *c) {
  bool fits = c->begin[0] == 0 && c->begin[t->reached + 1] == t->reached;
  for (uint32_t v = 0; v <= t->reached && fits; v++) {
    uint32_t before = v;
    if (c->begin[v] > c->begin[v + 1] || c->begin[v + 1] > t->reached) return false;
    for (uint32_t i = c->begin[v]; i < c->begin[v + 1]; i++) {
      uint32_t child = c->child[i];
      if (child <= before || child > t->reached || t->idom[child] != v) return false;
      before = child;
    }
  }
  return fits;
}

static tm_status walk(tm_columns *c, tm_domtree *t, tm_domchildren *k) {
  TM_TRY(tm_columns_value(c, &t->reached, sizeof t->reached));
  if (t->reached > t->node_count) return tm_columns_damaged(c, "more is reached than there is");
  k->reached = t->reached;
  size_t vertices = (size_t)t->reached + 1;
  TM_TRY(tm_columns_array(c, (void **)&t->number, t->node_count, sizeof *t->number));
  TM_TRY(tm_columns_array(c, (void **)&t->vertex, vertices, sizeof *t->vertex));
  TM_TRY(tm_columns_array(c, (void **)&t->idom, vertices, sizeof *t->idom));
  TM_TRY(tm_columns_array(c, (void **)&t->retained, vertices, sizeof *t->retained));
  TM_TRY(tm_columns_array(c, (void **)&k->begin, vertices + 1, sizeof *k->begin));
  TM_TRY(tm_columns_array(c, (void **)&k->child, t->reached, sizeof *k->child));
  if (!c->taking) return TM_OK;
  if (!numbers_fit(t) || !children_fit(t, k))
    return tm_columns_damaged(c, "its dominators are no tree");
  return TM_OK;
}

tm_status tm_domtree_store(struct tm_columns *c, const tm_domtree *tree,
                           const tm_domchildren *children) {
  tm_domtree t = *tree;
  tm_domchildren k = *children;
  return walk(c, &t, &k);
}

tm_status tm_domtree_take(struct tm_columns *c, const tm_graph *graph, tm_domtree **out,
                          tm_domchildren *children) {
  tm_domtree *t = tm_calloc(c->ctx, 1, sizeof *t);
  if (!t) return TM_E_NOMEM;
  tm_domchildren k = {.alloc = c->alloc};
  t->alloc = c->alloc;
  t->node_count = graph->node_count;
  tm_status status = walk(c, t, &k);
  if (status != TM_OK) {
    tm_domtree_free(t);
    tm_domchildren_fini(&k);
    return status;
  }
  *out = t;
  *children = k;
  return TM_OK;
}
