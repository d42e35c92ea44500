// Rows are sorted indexes. A group is a small number per type (or per dominator's type); what it
// retains is summed on one walk down the dominator tree that counts, per group, the members that
// are open above: only the topmost add their retained bytes. References come from the edges, or
// from the turned ones.
#include "analyze/node_tables.h"

#include <stdlib.h>
#include <string.h>

// Naming an edge reads its node from the start, so that all names of a great array would cost the
// square of its length.
enum { TICK = 1 << 16, PREVIEW_BYTES = 160, REFERENCES_MAX = 10000 };

static tm_status add_columns(tm_ctx *ctx, tm_table *out, const char *const *names, size_t n) {
  for (size_t i = 0; i < n; i++) {
    size_t length = strlen(names[i]);
    bool bytes = length > 6 && strcmp(names[i] + length - 6, "_bytes") == 0;
    bool count = strcmp(names[i], "count") == 0, number = bytes || count;
    number = number || strcmp(names[i], "node") == 0;
    TM_TRY(tm_table_add_column(ctx, out, names[i], number ? TM_CELL_INT : TM_CELL_TEXT,
                               bytes   ? TM_UNIT_BYTES
                               : count ? TM_UNIT_COUNT
                                       : TM_UNIT_NONE));
  }
  return TM_OK;
}

static tm_status set_text(tm_ctx *ctx, tm_table *out, size_t row, size_t column, const char *text) {
  return tm_table_set_text(ctx, out, row, column, text, strlen(text));
}

// node, type, shallow_bytes, retained_bytes, preview from `column` on.
static tm_status set_node(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t, uint32_t node,
                          size_t row, size_t column, tm_table *out) {
  char text[PREVIEW_BYTES] = "";
  tm_table_set_int(out, row, column, node);
  TM_TRY(set_text(ctx, out, row, column + 1, tm_graph_type_name(g, node)));
  tm_table_set_int(out, row, column + 2, (int64_t)tm_graph_size(g, node));
  tm_table_set_int(out, row, column + 3, (int64_t)tm_domtree_retained(t, g, node));
  if (g->detail && g->detail->preview) TM_TRY(g->detail->preview(ctx, g, node, text, sizeof text));
  return set_text(ctx, out, row, column + 4, text);
}

// ---- rows ----

typedef struct ranked {
  uint64_t bytes;
  uint32_t index;
  const char *name;
} ranked;

static int by_rank(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  int order = x->name && y->name ? strcmp(x->name, y->name) : 0;
  return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

static tm_status write_rows(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t, const ranked *list,
                            size_t n, tm_table *out) {
  static const char *const names[] = {"node", "type", "shallow_bytes", "retained_bytes", "preview"};
  TM_TRY(add_columns(ctx, out, names, TM_COUNT(names)));
  for (size_t i = 0; i < n; i++) {
    size_t row;
    TM_TRY(tm_table_add_row(ctx, out, &row));
    TM_TRY(set_node(ctx, g, t, list[i].index, row, 0, out));
    if (i % 1024 == 0) TM_TRY(tm_ctx_tick(ctx, i));
  }
  return TM_OK;
}

tm_status tm_node_rows_table(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                             const tm_node_set *set, tm_node_order order, size_t row_count,
                             tm_table *out) {
  size_t count = tm_node_set_count(set), i = 0;
  ranked *list = tm_alloc(ctx, (count + 1) * sizeof *list);
  if (!list) return TM_E_NOMEM;
  for (uint32_t n = tm_node_set_next(set, 0); n != TM_NODE_NONE; n = tm_node_set_next(set, n + 1))
    list[i++] = (ranked){order == TM_NODES_BY_RETAINED  ? tm_domtree_retained(t, g, n)
                         : order == TM_NODES_BY_SHALLOW ? tm_graph_size(g, n)
                                                        : 0,
                         n, NULL};
  if (count && order != TM_NODES_IN_ORDER) qsort(list, count, sizeof *list, by_rank);
  size_t shown = row_count && row_count < count ? row_count : count;
  tm_status status = write_rows(ctx, g, t, list, shown, out);
  tm_free(ctx, list, (count + 1) * sizeof *list);
  if (status == TM_OK) status = tm_table_note_int(ctx, out, "count", (int64_t)count);
  if (status != TM_OK) return status;
  return tm_table_note_int(ctx, out, "shallow_bytes", (int64_t)tm_node_set_shallow(set, g));
}

// ---- groups ----

size_t tm_type_package(const char *name) {
  size_t length = strlen(name);
  bool go = length > 2 && strcmp(name + length - 2, " B") == 0; // "... 512 B": a function of Go
  size_t end = strcspn(name, "([{< "), dot = 0;
  size_t slash = 0;
  for (size_t i = 0; go && i < end; i++)
    if (name[i] == '/') slash = i;
  for (size_t i = slash; i < end; i++) {
    if (name[i] != '.') continue;
    dot = i;
    if (go) break;
  }
  return dot;
}

typedef struct grouping {
  tm_strtab names;
  uint32_t *of_type; // by type
  uint32_t type_count;
} grouping;

static tm_status name_group(tm_ctx *ctx, const tm_graph *g, tm_node_group by, uint32_t type,
                            grouping *out) {
  const tm_type *t = &g->types.items[type];
  const char *name = tm_graph_text(g, t->name);
  size_t length = strlen(name);
  if (by == TM_GROUP_PACKAGE) {
    length = tm_type_package(name);
  } else if (by == TM_GROUP_LOADER) {
    name = t->loader == TM_NODE_NONE ? "" : tm_graph_type_name(g, t->loader);
    length = strlen(name);
  }
  return tm_strtab_intern(ctx, &out->names, name, length, &out->of_type[type]);
}

static tm_status make_groups(tm_ctx *ctx, const tm_graph *g, tm_node_group by, grouping *out) {
  out->type_count = (uint32_t)g->types.count;
  tm_strtab_init(&out->names, &ctx->alloc, 0);
  uint32_t none;
  TM_TRY(tm_strtab_intern(ctx, &out->names, "", 0, &none));
  out->of_type = tm_alloc(ctx, ((size_t)out->type_count + 1) * sizeof *out->of_type);
  if (!out->of_type) return TM_E_NOMEM;
  for (uint32_t i = 0; i < out->type_count; i++) TM_TRY(name_group(ctx, g, by, i, out));
  return TM_OK;
}

static void drop_groups(tm_ctx *ctx, grouping *s) {
  tm_free(ctx, s->of_type, ((size_t)s->type_count + 1) * sizeof *s->of_type);
  tm_strtab_fini(&s->names);
}

typedef struct group_sum {
  uint64_t count, shallow_bytes, retained_bytes;
} group_sum;

static uint32_t group_of(const tm_graph *g, const tm_domtree *t, tm_node_group by,
                         const grouping *groups, uint32_t node) {
  if (by != TM_GROUP_DOMINATOR) return groups->of_type[g->type[node]];
  uint32_t d = tm_domtree_idom(t, node);
  return d == TM_NODE_NONE ? 0 : groups->of_type[g->type[d]];
}

// A walk over the tree that counts, per group, how many members are open above.
typedef struct group_walk {
  const tm_graph *g;
  const tm_domtree *t;
  const tm_domchildren *c;
  const tm_node_set *set;
  tm_node_group by;
  const grouping *groups;
  uint32_t *cursor, *open;
  group_sum *sums;
} group_walk;

// The group of vertex v when it is a member, else UINT32_MAX.
static uint32_t member_group(const group_walk *w, uint32_t v) {
  uint32_t node = w->t->vertex[v];
  return tm_node_set_has(w->set, node) ? group_of(w->g, w->t, w->by, w->groups, node) : UINT32_MAX;
}

static tm_status walk_groups(tm_ctx *ctx, group_walk *w) {
  uint32_t v = 0, seen = 0;
  w->cursor[0] = w->c->begin[0];
  for (;;) {
    if (w->cursor[v] < w->c->begin[v + 1]) {
      v = w->c->child[w->cursor[v]++];
      uint32_t group = member_group(w, v);
      if (group != UINT32_MAX && w->open[group]++ == 0)
        w->sums[group].retained_bytes += w->t->retained[v];
      w->cursor[v] = w->c->begin[v];
      if (++seen % TICK == 0) TM_TRY(tm_ctx_tick(ctx, seen));
    } else {
      if (!v) return TM_OK;
      uint32_t group = member_group(w, v);
      if (group != UINT32_MAX) w->open[group]--;
      v = w->t->idom[v];
    }
  }
}

static tm_status sum_groups(tm_ctx *ctx, group_walk *w) {
  const tm_node_set *set = w->set;
  TM_TRY(walk_groups(ctx, w));
  for (uint32_t n = tm_node_set_next(set, 0); n != TM_NODE_NONE; n = tm_node_set_next(set, n + 1)) {
    group_sum *s = &w->sums[group_of(w->g, w->t, w->by, w->groups, n)];
    uint64_t bytes = tm_graph_size(w->g, n);
    s->count++;
    s->shallow_bytes += bytes;
    if (!w->t->number[n]) s->retained_bytes += bytes;
  }
  return TM_OK;
}

static tm_status write_groups(tm_ctx *ctx, const grouping *groups, const group_sum *sums,
                              ranked *list, size_t row_count, tm_table *out) {
  static const char *const names[] = {"name", "count", "shallow_bytes", "retained_bytes"};
  size_t n = 0;
  for (uint32_t i = 0; i < groups->names.count; i++)
    if (sums[i].count)
      list[n++] = (ranked){sums[i].retained_bytes, i, tm_strtab_text(&groups->names, i)};
  if (n) qsort(list, n, sizeof *list, by_rank);
  if (row_count && row_count < n) n = row_count;
  TM_TRY(add_columns(ctx, out, names, TM_COUNT(names)));
  for (size_t i = 0; i < n; i++) {
    size_t row;
    const group_sum *s = &sums[list[i].index];
    TM_TRY(tm_table_add_row(ctx, out, &row));
    TM_TRY(set_text(ctx, out, row, 0, *list[i].name ? list[i].name : "(none)"));
    tm_table_set_int(out, row, 1, (int64_t)s->count);
    tm_table_set_int(out, row, 2, (int64_t)s->shallow_bytes);
    tm_table_set_int(out, row, 3, (int64_t)s->retained_bytes);
  }
  return TM_OK;
}

tm_status tm_node_group_table(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                              const tm_domchildren *c, const tm_node_set *set, tm_node_group by,
                              size_t row_count, tm_table *out) {
  grouping groups = {0};
  tm_status status = make_groups(ctx, g, by, &groups);
  size_t n = (size_t)groups.names.count + 1, vertices = (size_t)t->reached + 1;
  group_sum *sums = tm_calloc(ctx, n, sizeof *sums);
  ranked *list = tm_alloc(ctx, n * sizeof *list);
  group_walk w = {.g = g, .t = t, .c = c, .set = set, .by = by, .groups = &groups, .sums = sums};
  w.cursor = tm_alloc(ctx, vertices * sizeof *w.cursor);
  w.open = tm_calloc(ctx, n, sizeof *w.open);
  if (!sums || !list || !w.cursor || !w.open) status = TM_E_NOMEM;
  if (status == TM_OK) status = sum_groups(ctx, &w);
  if (status == TM_OK) status = write_groups(ctx, &groups, sums, list, row_count, out);
  tm_free(ctx, sums, n * sizeof *sums);
  tm_free(ctx, list, n * sizeof *list);
  tm_free(ctx, w.cursor, vertices * sizeof *w.cursor);
  tm_free(ctx, w.open, n * sizeof *w.open);
  drop_groups(ctx, &groups);
  return status;
}

// ---- references ----

static tm_status add_reference(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t, uint32_t from,
                               uint32_t edge, uint32_t shown, tm_table *out) {
  static const char *const strengths[] = {"strong", "soft", "weak", "final", "phantom"};
  char name[256] = "";
  size_t row;
  TM_TRY(tm_table_add_row(ctx, out, &row));
  if (g->detail && g->detail->edge_name)
    TM_TRY(g->detail->edge_name(ctx, g, from, edge - g->edge_begin[from], name, sizeof name));
  TM_TRY(set_text(ctx, out, row, 0, name));
  TM_TRY(set_text(ctx, out, row, 1, strengths[tm_graph_strength(g, from, edge)]));
  return set_node(ctx, g, t, shown, row, 2, out);
}

static bool is_full(const tm_table *out, size_t row_count) {
  size_t most = row_count && row_count < REFERENCES_MAX ? row_count : REFERENCES_MAX;
  return tm_table_row_count(out) >= most;
}

// Every edge of `from` that leads to `to`.
static tm_status add_edges_to(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t, uint32_t from,
                              uint32_t to, size_t row_count, tm_table *out) {
  for (uint32_t e = g->edge_begin[from]; e < g->edge_begin[from + 1]; e++)
    if (g->edge_to[e] == to && !is_full(out, row_count))
      TM_TRY(add_reference(ctx, g, t, from, e, from, out));
  return TM_OK;
}

tm_status tm_node_references_table(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t,
                                   const tm_reverse *incoming, uint32_t node, size_t row_count,
                                   tm_table *out) {
  static const char *const names[] = {"edge",          "strength",       "node",   "type",
                                      "shallow_bytes", "retained_bytes", "preview"};
  TM_TRY(add_columns(ctx, out, names, TM_COUNT(names)));
  uint32_t begin = incoming ? incoming->begin[node] : g->edge_begin[node];
  uint32_t end = incoming ? incoming->begin[node + 1] : g->edge_begin[node + 1];
  for (uint32_t i = begin; i < end && !is_full(out, row_count); i++) {
    if (!incoming)
      TM_TRY(add_reference(ctx, g, t, node, i, g->edge_to[i], out));
    else if (i == begin || incoming->from[i] != incoming->from[i - 1]) // one stands for all
      TM_TRY(add_edges_to(ctx, g, t, incoming->from[i], node, row_count, out));
  }
  return tm_table_note_int(ctx, out, "count", end - begin);
}
