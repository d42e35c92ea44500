// Trees are found by joining detached DOM nodes along edges (union-find); what hangs on them
// without being a DOM node (listeners, styles) may be shared by several trees and joins nothing.
// The root of a tree is its member of least distance; from there the way up goes over the retainer
// of least distance each time.
#include "analyze/detached.h"

#include "analyze/distance.h"
#include "analyze/node_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOLDER_ROOM = 160, PATH_ROOM = 512, WAY_MAX = 24 };

typedef struct dom_tree {
  uint32_t top, group, nodes;
} dom_tree;

typedef struct tree_group {
  uint32_t holder; // string
  uint32_t top;    // one of its trees' roots
  uint32_t trees, nodes, index;
  uint64_t retained_bytes;
} tree_group;

typedef struct work {
  tm_ctx *ctx;
  const tm_graph *g;
  const tm_domtree *t;
  tm_strength weakest;
  uint8_t *is_dom;    // by type
  uint32_t *joined;   // by node: towards the representative of its tree
  uint32_t *tree_of;  // by representative: index of trees, or TM_NODE_NONE
  int32_t *distance;  // by node
  tm_reverse reverse; // who refers to whom
  TM_VEC(dom_tree) trees;
  TM_VEC(tree_group) groups;
  tm_strtab holders;
  uint32_t node_count; // detached DOM nodes
} work;

// "Detached <div>", "Detached Text": kinds of nodes as Blink names them.
static bool names_dom(const char *name) {
  static const char *const words[] = {"Text",       "Comment",      "DocumentFragment",
                                      "ShadowRoot", "CDATASection", "DocumentType"};
  if (strncmp(name, "Detached ", 9) == 0) name += 9;
  for (size_t i = 0; i < TM_COUNT(words); i++)
    if (strcmp(name, words[i]) == 0) return true;
  size_t n = strlen(name);
  return *name == '<' || (n > 7 && strcmp(name + n - 7, "Element") == 0)
         || (n >= 8 && strcmp(name + n - 8, "Document") == 0);
}

static bool is_member(const work *w, uint32_t node) {
  return (w->g->flags[node] & TM_NODE_LINK) == TM_NODE_DETACHED && w->is_dom[w->g->type[node]];
}

static uint32_t find_tree(uint32_t *joined, uint32_t node) {
  while (joined[node] != node) node = joined[node] = joined[joined[node]];
  return node;
}

static tm_status join_trees(work *w) {
  const tm_graph *g = w->g;
  for (uint32_t n = 0; n < g->node_count; n++) w->joined[n] = n;
  for (uint32_t n = 0; n < g->node_count; n++) {
    if (!is_member(w, n)) continue;
    w->node_count++;
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (to == n || tm_graph_strength(g, n, e) > w->weakest || !is_member(w, to)) continue;
      uint32_t a = find_tree(w->joined, n), b = find_tree(w->joined, to);
      if (a != b) w->joined[a] = b;
    }
    if (w->node_count % 65536 == 0) TM_TRY(tm_ctx_tick(w->ctx, n));
  }
  return TM_OK;
}

static bool is_nearer(const work *w, uint32_t a, uint32_t b) {
  int32_t x = w->distance[a], y = w->distance[b];
  if (x == TM_DISTANCE_NONE || y == TM_DISTANCE_NONE) return x != TM_DISTANCE_NONE;
  return x < y;
}

static tm_status count_trees(work *w) {
  for (uint32_t n = 0; n < w->g->node_count; n++) w->tree_of[n] = TM_NODE_NONE;
  for (uint32_t n = 0; n < w->g->node_count; n++) {
    if (!is_member(w, n)) continue;
    uint32_t *index = &w->tree_of[find_tree(w->joined, n)];
    if (*index == TM_NODE_NONE) {
      *index = (uint32_t)w->trees.count;
      TM_TRY(tm_vec_push(w->ctx, &w->trees, (dom_tree){n, 0, 0}));
    }
    dom_tree *tree = &w->trees.items[*index];
    tree->nodes++;
    if (is_nearer(w, n, tree->top)) tree->top = n;
  }
  return TM_OK;
}

// ---- who holds a tree ----

// The retainer of least distance, and whether it is nearer than the node itself.
static bool step_up(const work *w, uint32_t node, uint32_t *out) {
  uint32_t best = TM_NODE_NONE;
  for (uint32_t i = w->reverse.begin[node]; i < w->reverse.begin[node + 1]; i++) {
    uint32_t from = w->reverse.from[i];
    if (from != node && (best == TM_NODE_NONE || is_nearer(w, from, best))) best = from;
  }
  *out = best;
  return best != TM_NODE_NONE && is_nearer(w, best, node);
}

// ".el", "[]" for any index: how `from` refers to `to`.
static tm_status name_edge(const work *w, uint32_t from, uint32_t to, bool fold, char *out,
                           size_t size) {
  const tm_graph *g = w->g;
  char name[HOLDER_ROOM] = "";
  for (uint32_t e = g->edge_begin[from]; e < g->edge_begin[from + 1]; e++) {
    if (g->edge_to[e] != to || tm_graph_strength(g, from, e) > w->weakest) continue;
    TM_TRY(g->detail->edge_name(w->ctx, g, from, e - g->edge_begin[from], name, sizeof name));
    break;
  }
  bool number = name[0] == '[' || (name[0] >= '0' && name[0] <= '9');
  if (number && fold)
    snprintf(out, size, "[]");
  else
    snprintf(out, size, "%s%.*s", name[0] == '[' ? "" : ".", 80, name);
  return TM_OK;
}

static tm_status name_holder(const work *w, uint32_t top, char *out, size_t size) {
  uint32_t below = top, above;
  char edge[HOLDER_ROOM];
  while (step_up(w, below, &above)) {
    if (!(w->g->flags[above] & TM_NODE_LINK)) {
      TM_TRY(name_edge(w, above, below, true, edge, sizeof edge));
      snprintf(out, size, "%.60s%s", tm_graph_type_name(w->g, above), edge);
      return TM_OK;
    }
    below = above;
  }
  snprintf(out, size, "(a root)");
  return TM_OK;
}

// "Window.leak Array[12] Row.el": the last steps before the tree.
static tm_status name_path(const work *w, uint32_t top, char *out, size_t size) {
  uint32_t way[WAY_MAX] = {top};
  size_t n = 1, used = 0;
  out[0] = '\0';
  while (n < WAY_MAX && step_up(w, way[n - 1], &way[n])) n++;
  while (n > 1 && tm_graph_type_name(w->g, way[n - 1])[0] == '(')
    n--; // "(synthetic)": the engine's
  for (size_t i = n; i-- > 1 && used + HOLDER_ROOM < size;) {
    char edge[HOLDER_ROOM];
    TM_TRY(name_edge(w, way[i], way[i - 1], false, edge, sizeof edge));
    int more = snprintf(out + used, size - used, "%s%.40s%s", used ? " " : "",
                        tm_graph_type_name(w->g, way[i]), edge);
    used += more > 0 ? (size_t)more : 0;
  }
  return TM_OK;
}

// ---- groups ----

static tm_status group_trees(work *w) {
  char text[HOLDER_ROOM * 2];
  for (size_t i = 0; i < w->trees.count; i++) {
    dom_tree *tree = &w->trees.items[i];
    uint32_t key;
    size_t k = 0;
    TM_TRY(name_holder(w, tree->top, text, sizeof text));
    TM_TRY(tm_strtab_intern(w->ctx, &w->holders, text, strlen(text), &key));
    while (k < w->groups.count
           && (w->groups.items[k].holder != key
               || w->g->type[w->groups.items[k].top] != w->g->type[tree->top]))
      k++;
    if (k == w->groups.count) {
      tree_group group = {.holder = key, .top = tree->top, .index = (uint32_t)k};
      TM_TRY(tm_vec_push(w->ctx, &w->groups, group));
    }
    tree->group = (uint32_t)k;
    w->groups.items[k].trees++;
    w->groups.items[k].nodes += tree->nodes;
  }
  return TM_OK;
}

static tm_status weigh_group(work *w, tree_group *group) {
  tm_node_set members, retained = {0};
  TM_TRY(tm_node_set_init(w->ctx, w->g, &members));
  for (uint32_t n = 0; n < w->g->node_count; n++) {
    if (!is_member(w, n)) continue;
    const dom_tree *tree = &w->trees.items[w->tree_of[find_tree(w->joined, n)]];
    if (tree->group == group->index) tm_node_set_add(&members, n);
  }
  tm_status status = tm_node_set_retained(w->ctx, w->g, w->t, w->weakest, &members, &retained);
  if (status == TM_OK) group->retained_bytes = tm_node_set_shallow(&retained, w->g);
  tm_node_set_fini(&retained);
  tm_node_set_fini(&members);
  return status;
}

static int by_nodes(const void *a, const void *b) {
  const tree_group *x = a, *y = b;
  if (x->nodes != y->nodes) return x->nodes < y->nodes ? 1 : -1;
  return x->index < y->index ? -1 : 1;
}

static int by_retained(const void *a, const void *b) {
  const tree_group *x = a, *y = b;
  if (x->retained_bytes != y->retained_bytes) return x->retained_bytes < y->retained_bytes ? 1 : -1;
  return by_nodes(a, b);
}

static tm_status write_group(work *w, const tree_group *group, tm_table *out) {
  size_t row;
  char path[PATH_ROOM];
  const char *type = tm_graph_type_name(w->g, group->top);
  const char *holder = tm_strtab_text(&w->holders, group->holder);
  TM_TRY(tm_table_add_row(w->ctx, out, &row));
  TM_TRY(tm_table_set_text(w->ctx, out, row, 0, type, strlen(type)));
  TM_TRY(tm_table_set_text(w->ctx, out, row, 1, holder, strlen(holder)));
  tm_table_set_int(out, row, 2, group->trees);
  tm_table_set_int(out, row, 3, group->nodes);
  tm_table_set_int(out, row, 4, (int64_t)group->retained_bytes);
  tm_table_set_int(out, row, 5, group->top);
  TM_TRY(name_path(w, group->top, path, sizeof path));
  return tm_table_set_text(w->ctx, out, row, 6, path, strlen(path));
}

static tm_status write_groups(work *w, size_t row_count, tm_table *out) {
  size_t n = w->groups.count, shown = row_count && row_count < n ? row_count : n;
  if (n > 1) qsort(w->groups.items, n, sizeof *w->groups.items, by_nodes);
  for (size_t i = 0; i < shown; i++) TM_TRY(weigh_group(w, &w->groups.items[i]));
  if (shown > 1) qsort(w->groups.items, shown, sizeof *w->groups.items, by_retained);
  for (size_t i = 0; i < shown; i++) TM_TRY(write_group(w, &w->groups.items[i], out));
  TM_TRY(tm_table_note_int(w->ctx, out, "nodes", w->node_count));
  return tm_table_note_int(w->ctx, out, "trees", (int64_t)w->trees.count);
}

static tm_status add_columns(tm_ctx *ctx, tm_table *out) {
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "holder", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "trees", TM_CELL_INT, TM_UNIT_COUNT));
  TM_TRY(tm_table_add_column(ctx, out, "nodes", TM_CELL_INT, TM_UNIT_COUNT));
  TM_TRY(tm_table_add_column(ctx, out, "retained_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  TM_TRY(tm_table_add_column(ctx, out, "node", TM_CELL_INT, TM_UNIT_NONE));
  return tm_table_add_column(ctx, out, "path", TM_CELL_TEXT, TM_UNIT_NONE);
}

static tm_status find_detached(work *w, size_t row_count, tm_table *out) {
  const tm_graph *g = w->g;
  if (!w->is_dom || !w->joined || !w->tree_of || !w->distance) return TM_E_NOMEM;
  for (size_t i = 0; i < g->types.count; i++)
    w->is_dom[i] = names_dom(tm_graph_text(g, g->types.items[i].name));
  TM_TRY(tm_distance(w->ctx, g, w->distance));
  TM_TRY(tm_graph_reverse(w->ctx, g, w->weakest, &w->reverse));
  TM_TRY(join_trees(w));
  TM_TRY(count_trees(w));
  TM_TRY(group_trees(w));
  TM_TRY(add_columns(w->ctx, out));
  return write_groups(w, row_count, out);
}

tm_status tm_detached_table(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree,
                            tm_strength weakest, size_t row_count, tm_table *out) {
  if (!g->flags)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET,
                   "this dump does not tell which DOM nodes are detached; a heap snapshot of a "
                   "browser does");
  size_t n = ((size_t)g->node_count + 1) * sizeof(uint32_t), types = g->types.count + 1;
  work w = {.ctx = ctx, .g = g, .t = tree, .weakest = weakest};
  tm_strtab_init(&w.holders, &ctx->alloc, 0);
  w.is_dom = tm_alloc(ctx, types);
  w.joined = tm_alloc(ctx, n);
  w.tree_of = tm_alloc(ctx, n);
  w.distance = tm_alloc(ctx, n);
  tm_status status = find_detached(&w, row_count, out);
  tm_free(ctx, w.is_dom, types);
  tm_free(ctx, w.joined, n);
  tm_free(ctx, w.tree_of, n);
  tm_free(ctx, w.distance, n);
  tm_reverse_fini(&w.reverse);
  tm_vec_free(ctx, &w.trees);
  tm_vec_free(ctx, &w.groups);
  tm_strtab_fini(&w.holders);
  return status;
}
