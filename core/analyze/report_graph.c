// top, tree and peek: the reports over nodes and edges.
#include "analyze/pprof_units.h"
#include "analyze/report_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t shown_total(const tm_flatcum *f) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < f->order_count; i++)
    total += (uint64_t)tm_node_flat(&f->nodes.items[f->order[i]]);
  return (int64_t)total;
}

static int64_t edge_cutoff(const report *r) {
  uint64_t total = 0; // of all nodes, shown or not
  for (uint32_t i = 0; i < r->nodes.nodes.count; i++) {
    const tm_node *n = &r->nodes.nodes.items[i];
    bool negative = n->flat < 0 || (n->flat == 0 && n->cum < 0);
    if (!(r->o.drop_negative && negative)) total += (uint64_t)n->flat;
  }
  int64_t cut = tm_pprof_whole((double)(int64_t)total * r->o.edge_fraction);
  return cut < 0 ? (int64_t)(0 - (uint64_t)cut) : cut;
}

// --- top ---

// Per node: 1 = reached by an inlined call, 2 = by a real one.
static tm_status inline_marks(report *r, uint8_t **out) {
  tm_flatcum *f = &r->nodes;
  TM_TRY(tm_flatcum_edges(r->ctx, f, true, edge_cutoff(r)));
  uint8_t *marks = tm_calloc(r->ctx, 1, f->nodes.count + 1);
  if (!marks) return TM_E_NOMEM;
  for (size_t i = 0; i < f->edges.count; i++)
    marks[f->edges.items[i].to] |= f->edges.items[i].is_inline ? 1 : 2;
  *out = marks;
  return TM_OK;
}

static const char *inline_word(uint8_t mark) {
  return mark == 1 ? "(inline)" : mark == 3 ? "(partial-inline)" : "";
}

static tm_status top_row(report *r, const char *name, const tm_node *n, uint8_t mark) {
  size_t row;
  const char *word = inline_word(mark);
  TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, 0, name, strlen(name)));
  tm_table_set_int(r->table, row, 1, tm_node_flat(n));
  tm_table_set_int(r->table, row, 2, tm_node_cum(n));
  return tm_table_set_text(r->ctx, r->table, row, 3, word, strlen(word));
}

tm_unit report_unit(const report *r) {
  tm_scaled bytes = tm_pprof_scale(1, r->sample_unit, "B");
  if (strcmp(r->sample_unit, "nanoseconds") == 0) return TM_UNIT_NS;
  if (strcmp(bytes.unit, "B") == 0 && bytes.value == 1 && strcmp(r->sample_unit, "count") != 0)
    return TM_UNIT_BYTES;
  return TM_UNIT_COUNT;
}

static tm_status top_lines(report *r, const uint8_t *marks) {
  char flat_text[400], cum_text[400], flat_pct[48], sum_pct[48], cum_pct[48];
  uint64_t sum = 0;
  for (uint32_t i = 0; i < r->nodes.order_count; i++) {
    uint32_t node = r->nodes.order[i];
    const tm_node *n = &r->nodes.nodes.items[node];
    int64_t flat = tm_node_flat(n), cum = tm_node_cum(n);
    const char *name;
    TM_TRY(tm_flatcum_label(r->ctx, &r->nodes, node, &name));
    if (r->table) TM_TRY(top_row(r, name, n, marks[node]));
    sum += (uint64_t)flat;
    tm_pprof_percent(flat_pct, sizeof flat_pct, flat, r->total);
    tm_pprof_percent(sum_pct, sizeof sum_pct, (int64_t)sum, r->total);
    tm_pprof_percent(cum_pct, sizeof cum_pct, cum, r->total);
    const char *word = inline_word(marks[node]);
    REPORT_PRINT(r, "%10s %s %s %10s %s  %s%s%s\n",
                 report_value(r, flat, flat_text, sizeof flat_text), flat_pct, sum_pct,
                 report_value(r, cum, cum_text, sizeof cum_text), cum_pct, name, *word ? " " : "",
                 word);
  }
  return TM_OK;
}

tm_status report_top(report *r) {
  uint8_t *marks = NULL;
  TM_TRY(report_graph(r));
  report_choose_unit(r);
  TM_TRY(report_labels(r, shown_total(&r->nodes)));
  if (r->table) {
    tm_unit unit = report_unit(r);
    TM_TRY(tm_table_add_column(r->ctx, r->table, "name", TM_CELL_TEXT, TM_UNIT_NONE));
    TM_TRY(tm_table_add_column(r->ctx, r->table, "flat", TM_CELL_INT, unit));
    TM_TRY(tm_table_add_column(r->ctx, r->table, "cum", TM_CELL_INT, unit));
    TM_TRY(tm_table_add_column(r->ctx, r->table, "inline", TM_CELL_TEXT, TM_UNIT_NONE));
  }
  REPORT_PRINT(r, "%10s %5s%% %5s%% %10s %5s%%\n", "flat", "flat", "sum", "cum", "cum");
  TM_TRY(inline_marks(r, &marks));
  tm_status status = top_lines(r, marks);
  tm_free(r->ctx, marks, r->nodes.nodes.count + 1);
  return status;
}

// --- tree and peek ---

typedef struct edge_key {
  uint64_t weight;
  const char *from, *to;
  uint32_t edge;
} edge_key;

static int compare_edges(const void *left, const void *right) {
  const edge_key *a = left, *b = right;
  if (a->weight != b->weight) return a->weight > b->weight ? -1 : 1;
  int order = strcmp(a->from, b->from);
  if (!order) order = strcmp(a->to, b->to);
  if (order) return order;
  return a->edge < b->edge ? -1 : a->edge > b->edge;
}

// Edges by their node (`to` for callers, `from` for callees): begin[node] .. begin[node + 1].
typedef struct edge_index {
  edge_key *keys;
  uint32_t *begin;
  size_t key_count, node_count;
} edge_index;

static void free_index(report *r, edge_index *x) {
  tm_free(r->ctx, x->keys, (x->key_count + 1) * sizeof *x->keys);
  tm_free(r->ctx, x->begin, (x->node_count + 2) * sizeof *x->begin);
}

static tm_status index_edges(report *r, bool callers, edge_index *x) {
  tm_flatcum *f = &r->nodes;
  *x = (edge_index){.key_count = f->edges.count, .node_count = f->nodes.count};
  x->keys = tm_alloc(r->ctx, (x->key_count + 1) * sizeof *x->keys);
  x->begin = tm_calloc(r->ctx, x->node_count + 2, sizeof *x->begin);
  if (!x->keys || !x->begin) return TM_E_NOMEM;
  for (size_t i = 0; i < f->edges.count; i++)
    x->begin[(callers ? f->edges.items[i].to : f->edges.items[i].from) + 2]++;
  for (size_t i = 2; i < x->node_count + 2; i++) x->begin[i] += x->begin[i - 1];
  for (uint32_t i = 0; i < f->edges.count; i++) {
    const tm_edge *e = &f->edges.items[i];
    edge_key *k = &x->keys[x->begin[(callers ? e->to : e->from) + 1]++];
    k->edge = i;
    k->weight = e->weight < 0 ? 0 - (uint64_t)e->weight : (uint64_t)e->weight;
    TM_TRY(tm_flatcum_label(r->ctx, f, e->from, &k->from));
    TM_TRY(tm_flatcum_label(r->ctx, f, e->to, &k->to));
  }
  for (size_t i = 0; i < x->node_count; i++)
    qsort(x->keys + x->begin[i], x->begin[i + 1] - x->begin[i], sizeof *x->keys, compare_edges);
  return TM_OK;
}

static tm_status tree_row(report *r, uint32_t node, const char *relation, const char *name,
                          int64_t flat, int64_t cum, int64_t weight, bool is_inline) {
  size_t row;
  if (!r->table) return TM_OK;
  TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
  tm_table_set_int(r->table, row, 0, node);
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, 1, relation, strlen(relation)));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, 2, name, strlen(name)));
  tm_table_set_int(r->table, row, 3, flat);
  tm_table_set_int(r->table, row, 4, cum);
  tm_table_set_int(r->table, row, 5, weight);
  tm_table_set_int(r->table, row, 6, is_inline);
  return TM_OK;
}

static tm_status print_edges(report *r, const edge_index *x, uint32_t node, bool callers,
                             uint32_t number) {
  char value[400], percent[48];
  int64_t cum = tm_node_cum(&r->nodes.nodes.items[node]);
  for (uint32_t i = x->begin[node]; i < x->begin[node + 1]; i++) {
    const tm_edge *e = &r->nodes.edges.items[x->keys[i].edge];
    const char *name = callers ? x->keys[i].from : x->keys[i].to;
    const tm_node *other = &r->nodes.nodes.items[callers ? e->from : e->to];
    tm_pprof_percent(percent, sizeof percent, e->weight, cum);
    REPORT_PRINT(r, "%50s %s |   %s%s\n", report_value(r, e->weight, value, sizeof value), percent,
                 name, e->is_inline ? " (inline)" : "");
    TM_TRY(tree_row(r, number, callers ? "caller" : "callee", name, tm_node_flat(other),
                    tm_node_cum(other), e->weight, e->is_inline));
  }
  return TM_OK;
}

static const char separator[] =
    "----------------------------------------------------------+-------------\n";

static tm_status print_tree(report *r, const edge_index *in, const edge_index *out,
                            uint32_t *matched) {
  char a[400], b[400], flat_pct[48], sum_pct[48], cum_pct[48];
  uint64_t sum = 0;
  for (uint32_t i = 0; i < r->nodes.order_count; i++) {
    uint32_t node = r->nodes.order[i];
    const tm_node *n = &r->nodes.nodes.items[node];
    const char *name;
    TM_TRY(tm_flatcum_label(r->ctx, &r->nodes, node, &name));
    if (r->symbol && !tm_regex_match(r->symbol, name, strlen(name))) continue;
    (*matched)++;
    int64_t flat = tm_node_flat(n), cum = tm_node_cum(n);
    REPORT_PRINT(r, "%s", separator);
    TM_TRY(print_edges(r, in, node, true, i));
    sum += (uint64_t)flat;
    tm_pprof_percent(flat_pct, sizeof flat_pct, flat, r->total);
    tm_pprof_percent(sum_pct, sizeof sum_pct, (int64_t)sum, r->total);
    tm_pprof_percent(cum_pct, sizeof cum_pct, cum, r->total);
    REPORT_PRINT(r, "%10s %s %s %10s %s                | %s\n", report_value(r, flat, a, sizeof a),
                 flat_pct, sum_pct, report_value(r, cum, b, sizeof b), cum_pct, name);
    TM_TRY(tree_row(r, i, "self", name, flat, cum, 0, false));
    TM_TRY(print_edges(r, out, node, false, i));
  }
  return TM_OK;
}

static tm_status tree_columns(report *r) {
  if (!r->table) return TM_OK;
  static const char *const names[] = {"node", "relation", "name",  "flat",
                                      "cum",  "weight",   "inline"};
  tm_unit unit = report_unit(r);
  for (size_t i = 0; i < TM_COUNT(names); i++) {
    bool text = i == 1 || i == 2, value = i >= 3 && i <= 5;
    TM_TRY(tm_table_add_column(r->ctx, r->table, names[i], text ? TM_CELL_TEXT : TM_CELL_INT,
                               text    ? TM_UNIT_NONE
                               : value ? unit
                                       : TM_UNIT_COUNT));
  }
  return TM_OK;
}

tm_status report_tree(report *r) {
  TM_TRY(report_graph(r));
  TM_TRY(tm_flatcum_edges(r->ctx, &r->nodes, false, edge_cutoff(r)));
  report_choose_unit(r);
  TM_TRY(report_labels(r, shown_total(&r->nodes)));
  TM_TRY(tree_columns(r));
  REPORT_PRINT(r,
               "%s      flat  flat%%   sum%%        cum   cum%%   calls calls%% + context \t \t "
               "\n",
               separator);
  edge_index in = {0}, out = {0};
  uint32_t matched = 0;
  tm_status status = index_edges(r, true, &in);
  if (status == TM_OK) status = index_edges(r, false, &out);
  if (status == TM_OK) status = print_tree(r, &in, &out, &matched);
  free_index(r, &in);
  free_index(r, &out);
  TM_TRY(status);
  if (r->nodes.order_count) REPORT_PRINT(r, "%s", separator);
  if (r->symbol && !matched)
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "no matches found for regexp: %s", r->o.symbol);
  return TM_OK;
}
