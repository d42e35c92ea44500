// What each group of roots (a kind, a global) holds alone, exactly. A tree over all roots cannot
// say: what two roots of one kind hold together hangs under the virtual root. So the
// heap is shrunk to the subtrees directly under the virtual root (an edge that leaves such a
// subtree always ends at the top of another one), a node per group is put above its roots, and
// dominators are found again in that small graph.
#include "analyze/consumers_impl.h"
#include "base/idmap.h"

#include <stdio.h>
#include <string.h>

#define NONE UINT32_MAX

enum { TICK = 1 << 16 };

typedef enum group_key { BY_KIND, BY_LABEL } group_key;

typedef struct shrunk {
  consumers *s;
  tm_strength weakest;
  group_key key;
  uint32_t *top; // by vertex: index of its subtree
  size_t vertex_room;
  uint32_t tops, groups;
  uint32_t *group_of; // by root, NONE = no start of a walk
  uint64_t *count;    // by subtree: objects
  tm_graph *graph;    // subtrees, then groups
  tm_domtree *tree;
} shrunk;

// ---- subtrees ----

static tm_status find_tops(shrunk *k) {
  const tm_domtree *t = k->s->t;
  for (uint32_t v = 1; v <= t->reached; v++) {
    bool is_top = t->idom[v] == 0;
    k->top[v] = is_top ? k->tops++ : k->top[t->idom[v]];
  }
  k->count = tm_calloc(k->s->ctx, (size_t)k->tops + 1, sizeof *k->count);
  if (!k->count) return TM_E_NOMEM;
  for (uint32_t v = 1; v <= t->reached; v++) k->count[k->top[v]]++;
  return TM_OK;
}

// ---- groups ----

static uint64_t key_of(const shrunk *k, const tm_root *root) {
  if (k->key == BY_KIND) return root->kind;
  return root->kind == TM_ROOT_STATIC && root->label ? root->label : NONE;
}

static tm_status add_group(shrunk *k, const tm_root *root, uint64_t key, uint32_t *out) {
  char name[768];
  consumer row = {.parent = NONE, .node = TM_NODE_NONE, .edge = NONE};
  if (key == NONE) {
    snprintf(name, sizeof name, "(other roots)");
  } else if (k->key == BY_KIND) {
    snprintf(name, sizeof name, "%s", tm_root_kind_name((tm_root_kind)root->kind));
  } else {
    snprintf(name, sizeof name, "%s", tm_graph_text(k->s->g, root->label));
  }
  k->groups++;
  return consumers_add(k->s, name, strlen(name), row, out);
}

static tm_status find_groups(shrunk *k) {
  tm_idmap index = {0};
  const tm_graph *g = k->s->g;
  tm_status status = TM_OK;
  for (size_t i = 0; i < g->roots.count && status == TM_OK; i++) {
    const tm_root *root = &g->roots.items[i];
    uint64_t key = key_of(k, root);
    k->group_of[i] = NONE;
    if (root->held) continue;
    uint32_t group = tm_idmap_get(&index, key);
    if (group == TM_IDMAP_NONE) {
      status = add_group(k, root, key, &group);
      if (status == TM_OK) status = tm_idmap_put(k->s->ctx, &index, key, group);
    }
    k->group_of[i] = group;
  }
  tm_idmap_free(k->s->ctx, &index);
  return status;
}

// ---- the small graph ----

// Calls for every edge between subtrees; those of groups come from the roots.
typedef void edge_fn(shrunk *k, uint32_t from, uint32_t to);

static void count_edge(shrunk *k, uint32_t from, uint32_t to) {
  (void)to;
  k->graph->edge_begin[from]++;
}

static void put_edge(shrunk *k, uint32_t from, uint32_t to) {
  k->graph->edge_to[--k->graph->edge_begin[from]] = to;
}

static tm_status each_edge(shrunk *k, edge_fn *fn) {
  const tm_graph *g = k->s->g;
  const tm_domtree *t = k->s->t;
  for (uint32_t v = 1; v <= t->reached; v++) {
    uint32_t node = t->vertex[v], last = NONE;
    for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
      uint32_t w = t->number[g->edge_to[e]];
      if (!w || t->idom[w] || k->top[w] == k->top[v] || k->top[w] == last) continue;
      if (tm_graph_strength(g, node, e) > k->weakest) continue;
      last = k->top[w];
      fn(k, k->top[v], last);
    }
    if (v % TICK == 0) TM_TRY(tm_ctx_tick(k->s->ctx, v));
  }
  for (size_t i = 0; i < g->roots.count; i++)
    if (k->group_of[i] != NONE)
      fn(k, k->tops + k->group_of[i], k->top[t->number[g->roots.items[i].node]]);
  return TM_OK;
}

static tm_status size_subtrees(shrunk *k) {
  const tm_domtree *t = k->s->t;
  for (uint32_t v = 1; v <= t->reached; v++)
    if (!t->idom[v]) TM_TRY(tm_graph_set_size(k->s->ctx, k->graph, k->top[v], t->retained[v]));
  return TM_OK;
}

static tm_status make_graph(shrunk *k) {
  tm_ctx *ctx = k->s->ctx;
  TM_TRY(tm_graph_new(ctx, &k->graph));
  tm_graph *g = k->graph;
  TM_TRY(tm_graph_alloc_nodes(ctx, g, k->tops + k->groups));
  tm_type type = {0, TM_NODE_NONE, TM_NODE_NONE, TM_NODE_NONE, TM_STRENGTH_STRONG};
  TM_TRY(tm_vec_push(ctx, &g->types, type));
  TM_TRY(size_subtrees(k));
  TM_TRY(each_edge(k, count_edge));
  uint64_t sum = 0;
  for (uint32_t n = 0; n < g->node_count; n++)
    g->edge_begin[n] = (uint32_t)(sum += g->edge_begin[n]);
  g->edge_begin[g->node_count] = g->edge_count = (uint32_t)sum;
  g->edge_to = tm_alloc(ctx, ((size_t)sum + !sum) * sizeof *g->edge_to);
  if (!g->edge_to) return TM_E_NOMEM;
  TM_TRY(each_edge(k, put_edge));
  for (uint32_t i = 0; i < k->groups; i++) {
    tm_root root = {.node = k->tops + i, .thread = TM_NODE_NONE, .kind = TM_ROOT_OTHER};
    TM_TRY(tm_vec_push(ctx, &g->roots, root));
  }
  return tm_domtree_new(ctx, g, TM_STRENGTH_STRONG, &k->tree);
}

// ---- rows ----

static tm_status fill_rows(shrunk *k) {
  const tm_domtree *t = k->tree;
  consumer several = {.parent = NONE, .node = TM_NODE_NONE, .edge = NONE};
  size_t room = ((size_t)t->reached + 1) * sizeof(uint64_t);
  uint64_t *objects = tm_alloc(k->s->ctx, room);
  uint32_t row;
  if (!objects) return TM_E_NOMEM;
  for (uint32_t v = 1; v <= t->reached; v++)
    objects[v] = t->vertex[v] < k->tops ? k->count[t->vertex[v]] : 0;
  for (uint32_t v = t->reached; v >= 1; v--) {
    uint32_t node = t->vertex[v];
    if (t->idom[v]) {
      objects[t->idom[v]] += objects[v];
    } else if (node < k->tops) {
      several.count += objects[v];
      several.retained_bytes += t->retained[v];
    } else {
      consumer *r = &k->s->rows.items[node - k->tops];
      r->count = objects[v];
      r->retained_bytes = r->shallow_bytes = t->retained[v];
    }
  }
  tm_free(k->s->ctx, objects, room);
  several.shallow_bytes = several.retained_bytes;
  return consumers_add(k->s, "(several)", 9, several, &row);
}

static tm_status hold(consumers *s, tm_strength weakest, group_key key) {
  shrunk k = {.s = s, .weakest = weakest, .key = key};
  size_t roots = (s->g->roots.count + 1) * sizeof *k.group_of;
  k.vertex_room = ((size_t)s->t->reached + 1) * sizeof *k.top;
  k.top = tm_alloc(s->ctx, k.vertex_room);
  k.group_of = tm_alloc(s->ctx, roots);
  tm_status status = k.top && k.group_of ? find_tops(&k) : TM_E_NOMEM;
  if (status == TM_OK) status = find_groups(&k);
  if (status == TM_OK) status = make_graph(&k);
  if (status == TM_OK) status = fill_rows(&k);
  tm_free(s->ctx, k.top, k.vertex_room);
  tm_free(s->ctx, k.group_of, roots);
  if (k.count) tm_free(s->ctx, k.count, ((size_t)k.tops + 1) * sizeof *k.count);
  tm_domtree_free(k.tree);
  tm_graph_free(k.graph);
  return status;
}

tm_status consumers_by_root(consumers *s, tm_strength weakest) {
  return hold(s, weakest, BY_KIND);
}

tm_status consumers_by_label(consumers *s, tm_strength weakest) {
  return hold(s, weakest, BY_LABEL);
}
