// dot, callgrind and svg: what the three share between the report's options and the call graph.
#include "analyze/callgraph_text.h"

#include <math.h>
#include <string.h>

tm_status callgraph_of_report(report *r, bool tree, bool visual, tm_callgraph *out) {
  tm_flatcum_options names = {.granularity = r->o.granularity,
                              .no_inlines = r->o.no_inlines,
                              .show_columns = r->o.show_columns,
                              .source_path = r->o.source_path,
                              .trim_path = r->o.trim_path ? r->o.trim_path : "",
                              .object_names = r->object_names};
  TM_TRY(tm_flatcum_init(r->ctx, &r->view, &names, &r->nodes));
  tm_callgraph_options o = {.node_fraction = r->o.node_fraction,
                            .edge_fraction = r->o.edge_fraction,
                            .node_count = r->o.node_count,
                            .tree = tree,
                            .visual = visual,
                            .by_cum = r->o.cum,
                            .drop_negative = r->o.drop_negative,
                            .tag_unit = r->output_unit};
  TM_TRY(tm_callgraph_init(r->ctx, &r->view, &r->nodes, &o, out));
  int64_t least = 0;
  for (uint32_t i = 0; i < out->order_count; i++) {
    const tm_callgraph_node *n = &out->nodes.items[out->order[i]];
    report_least(&least, tm_callgraph_flat(n), tm_callgraph_cum(n));
  }
  if (out->order_count) report_unit_from(r, least, visual);
  return TM_OK;
}

// --- legend ---

static int64_t shown_total(const tm_callgraph *g) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < g->order_count; i++)
    total += (uint64_t)tm_callgraph_flat(&g->nodes.items[g->order[i]]);
  return (int64_t)total;
}

static tm_status dropped_line(report *r, uint32_t count, const char *what, const char *how,
                              double fraction) {
  char value[400];
  double cut = fabs(trunc((double)r->total * fraction));
  if (!count) return TM_OK;
  REPORT_PRINT(r, "Dropped %u %s%s (%s <= %s)\n", count, what, count > 1 ? "s" : "", how,
               report_value(r, (int64_t)cut, value, sizeof value));
  return TM_OK;
}

static tm_status legend_lines(report *r, const tm_callgraph *g) {
  char a[400], b[400], percent[48];
  int64_t shown = shown_total(g);
  TM_TRY(report_profile_labels(r));
  TM_TRY(report_filter_labels(r));
  REPORT_PRINT(r, "Showing nodes accounting for %s, %s of %s total\n",
               report_value(r, shown, a, sizeof a),
               callgraph_percent(percent, sizeof percent, shown, r->total),
               report_value(r, r->total, b, sizeof b));
  if (!r->total) return TM_OK;
  TM_TRY(dropped_line(r, g->dropped_nodes, "node", "cum", r->o.node_fraction));
  TM_TRY(dropped_line(r, g->dropped_edges, "edge", "freq", r->o.edge_fraction));
  if (g->order_count && g->order_count < g->original_count)
    REPORT_PRINT(r, "Showing top %u nodes out of %u\n", g->order_count, g->original_count);
  return TM_OK;
}

tm_status callgraph_legend(report *r, const tm_callgraph *g, tm_bytes *out) {
  tm_bytes *text = r->text;
  r->text = out;
  tm_status status = legend_lines(r, g);
  r->text = text;
  return status;
}

// --- table ---

enum { KIND, NAME, FLAT, CUM, FROM, TO, WEIGHT, RESIDUAL, INLINE, ID, COLUMNS };

static tm_status add_columns(report *r) {
  static const struct {
    const char *name;
    char kind; // t text, v value, i integer
  } columns[COLUMNS] = {{"kind", 't'},   {"name", 't'}, {"flat", 'v'},   {"cum", 'v'},
                        {"from", 'i'},   {"to", 'i'},   {"weight", 'v'}, {"residual", 'i'},
                        {"inline", 'i'}, {"node", 'i'}};
  for (size_t i = 0; i < COLUMNS; i++) {
    bool text = columns[i].kind == 't';
    tm_unit unit = text ? TM_UNIT_NONE : columns[i].kind == 'v' ? report_unit(r) : TM_UNIT_COUNT;
    TM_TRY(tm_table_add_column(r->ctx, r->table, columns[i].name, text ? TM_CELL_TEXT : TM_CELL_INT,
                               unit));
  }
  return TM_OK;
}

static tm_status add_notes(report *r, const tm_callgraph *g) {
  TM_TRY(tm_table_note_int(r->ctx, r->table, "total", r->total));
  TM_TRY(tm_table_note_int(r->ctx, r->table, "shown", shown_total(g)));
  TM_TRY(tm_table_note_int(r->ctx, r->table, "dropped_nodes", g->dropped_nodes));
  TM_TRY(tm_table_note_int(r->ctx, r->table, "dropped_edges", g->dropped_edges));
  return tm_table_note_int(r->ctx, r->table, "original_nodes", g->original_count);
}

static tm_status node_row(report *r, const tm_callgraph *g, uint32_t number) {
  const tm_callgraph_node *n = &g->nodes.items[g->order[number]];
  const char *name;
  size_t row;
  TM_TRY(tm_flatcum_label(r->ctx, g->f, n->info, &name));
  TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, KIND, "node", 4));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, NAME, name, strlen(name)));
  tm_table_set_int(r->table, row, FLAT, tm_callgraph_flat(n));
  tm_table_set_int(r->table, row, CUM, tm_callgraph_cum(n));
  tm_table_set_int(r->table, row, ID, number + 1);
  return TM_OK;
}

static tm_status edge_row(report *r, const tm_callgraph *g, const tm_callgraph_edge *e) {
  size_t row;
  TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, KIND, "edge", 4));
  tm_table_set_int(r->table, row, FROM, g->nodes.items[e->from].number);
  tm_table_set_int(r->table, row, TO, g->nodes.items[e->to].number);
  tm_table_set_int(r->table, row, WEIGHT, tm_per(e->weight, e->weight_divisor));
  tm_table_set_int(r->table, row, RESIDUAL, e->residual);
  tm_table_set_int(r->table, row, INLINE, e->is_inline);
  return TM_OK;
}

tm_status callgraph_table(report *r, tm_callgraph *g, const uint32_t *edges, uint32_t edge_count) {
  if (!r->table) return TM_OK;
  TM_TRY(add_notes(r, g));
  TM_TRY(add_columns(r));
  for (uint32_t i = 0; i < g->order_count; i++) TM_TRY(node_row(r, g, i));
  for (uint32_t i = 0; i < edge_count; i++) {
    const tm_callgraph_edge *e = &g->edges.items[edges[i]];
    if (g->nodes.items[e->to].number) TM_TRY(edge_row(r, g, e));
  }
  return TM_OK;
}
