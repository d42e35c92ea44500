// list: the source lines of the functions that match, with the flat and cum of every line. Nodes
// are lines; those of one function and file are one listing, which shows the lines from the
// function's start to some lines behind its last sample. Cost: a sort of the matching nodes.
#include "analyze/pprof_units.h"
#include "analyze/report_impl.h"
#include "analyze/sources.h"

#include <stdlib.h>
#include <string.h>

#define MARGIN_LINES     5
#define MAX_LISTED_LINES 200000 // of one function: line numbers come from strangers

typedef struct listed {
  const char *name, *file;
  const tm_node *node;
} listed;

typedef struct list {
  report *r;
  tm_sources sources;
  TM_VEC(listed) nodes;
} list;

enum { FUNCTION, FILE_NAME, LINE, FLAT, CUM, SOURCE };

static int compare_listed(const void *left, const void *right) {
  const listed *a = left, *b = right;
  int order = strcmp(a->name, b->name);
  if (!order) order = strcmp(a->file, b->file);
  if (order) return order;
  if (a->node->line != b->node->line) return a->node->line < b->node->line ? -1 : 1;
  return a->node < b->node ? -1 : a->node > b->node;
}

// An argument that is a number may be an address: the functions of the locations there.
static tm_status match_address(list *l, bool *matched) {
  report *r = l->r;
  char *end;
  uint64_t address = strtoull(r->o.symbol, &end, 0);
  if (end == r->o.symbol || *end) return TM_OK;
  for (size_t i = 0; i < r->nodes.location_count && i < r->p->locations.count; i++) {
    if (r->p->locations.items[i].address != address) continue;
    for (uint32_t k = r->nodes.frame_begin[i]; k < r->nodes.frame_begin[i + 1]; k++)
      matched[r->nodes.nodes.items[r->nodes.frames.items[k]].name] = true;
  }
  return TM_OK;
}

static tm_status match_names(list *l, bool *matched) {
  report *r = l->r;
  bool any = false;
  for (uint32_t i = 0; i < r->nodes.order_count; i++) {
    const tm_node *n = &r->nodes.nodes.items[r->nodes.order[i]];
    const char *name = tm_view_text(&r->view, n->name);
    if (tm_regex_match(r->symbol, name, strlen(name))) any = matched[n->name] = true;
  }
  return any ? TM_OK : match_address(l, matched);
}

static tm_status collect(list *l) {
  report *r = l->r;
  size_t names = (size_t)r->p->strings.count + r->view.extra.count + 1;
  bool *matched = tm_calloc(r->ctx, names, sizeof *matched);
  if (!matched) return TM_E_NOMEM;
  tm_status status = match_names(l, matched);
  for (uint32_t i = 0; i < r->nodes.order_count && status == TM_OK; i++) {
    const tm_node *n = &r->nodes.nodes.items[r->nodes.order[i]];
    if (!matched[n->name]) continue;
    listed one = {tm_view_text(&r->view, n->name), tm_view_text(&r->view, n->file), n};
    status = tm_vec_push(r->ctx, &l->nodes, one);
  }
  tm_free(r->ctx, matched, names * sizeof *matched);
  TM_TRY(status);
  if (!l->nodes.count)
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "no matches found for regexp: %s", r->o.symbol);
  qsort(l->nodes.items, l->nodes.count, sizeof *l->nodes.items, compare_listed);
  return TM_OK;
}

// Undivided also under -mean, as in the reference's listings.
typedef struct sum {
  int64_t flat, cum;
} sum;

static void add(sum *s, const tm_node *n) {
  s->flat = (int64_t)((uint64_t)s->flat + (uint64_t)n->flat);
  s->cum = (int64_t)((uint64_t)s->cum + (uint64_t)n->cum);
}

static const char *value_or_dot(const report *r, int64_t value, char *buf, size_t size) {
  return value ? report_value(r, value, buf, size) : ".";
}

static tm_status print_line(list *l, const listed *of, int64_t number, const sum *s,
                            const tm_source_line *source) {
  report *r = l->r;
  char flat[400], cum[400];
  REPORT_PRINT(r, "%10s %10s %6lld:%.*s\n", value_or_dot(r, s->flat, flat, sizeof flat),
               value_or_dot(r, s->cum, cum, sizeof cum), (long long)number, (int)source->length,
               source->text);
  if (!r->table) return TM_OK;
  size_t row;
  TM_TRY(tm_table_add_row(r->ctx, r->table, &row));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, FUNCTION, of->name, strlen(of->name)));
  TM_TRY(tm_table_set_text(r->ctx, r->table, row, FILE_NAME, of->file, strlen(of->file)));
  tm_table_set_int(r->table, row, LINE, number);
  tm_table_set_int(r->table, row, FLAT, s->flat);
  tm_table_set_int(r->table, row, CUM, s->cum);
  return tm_table_set_text(r->ctx, r->table, row, SOURCE, source->text, source->length);
}

static int64_t first_line(const listed *of, size_t count) {
  int64_t first = INT64_MAX;
  for (size_t i = 0; i < count; i++) {
    const tm_node *n = of[i].node;
    int64_t start = n->start_line ? n->start_line : n->line - MARGIN_LINES;
    if (start < first) first = start;
  }
  return first < 1 ? 1 : first;
}

// The nodes come in the order of their lines.
static tm_status print_lines(list *l, const listed *of, size_t count, const tm_source_file *file) {
  size_t next = 0;
  int64_t first = first_line(of, count), last = of[count - 1].node->line;
  while (next < count && of[next].node->line < first) next++;
  if (last > file->line_count) last = file->line_count;
  if (last - first > MAX_LISTED_LINES) last = first + MAX_LISTED_LINES;
  for (int64_t number = first; number <= last + MARGIN_LINES; number++) {
    const tm_source_line *source = tm_source_file_line(file, number);
    if (!source) break;
    sum here = {0};
    for (; next < count && of[next].node->line == number; next++) add(&here, of[next].node);
    TM_TRY(print_line(l, of, number, &here, source));
  }
  return TM_OK;
}

// One function in one file.
static tm_status print_routine(list *l, const listed *of, size_t count) {
  report *r = l->r;
  const tm_source_file *file;
  char flat[400], cum[400], percent[48];
  sum all = {0};
  for (size_t i = 0; i < count; i++) add(&all, of[i].node);
  TM_TRY(tm_sources_open(r->ctx, &l->sources, of->file, &file));
  tm_pprof_percent(percent, sizeof percent, all.cum, r->total);
  REPORT_PRINT(r, "ROUTINE ======================== %s in %s\n", of->name, of->file);
  REPORT_PRINT(r, "%10s %10s (flat, cum) %s of Total\n",
               report_value(r, all.flat, flat, sizeof flat),
               report_value(r, all.cum, cum, sizeof cum), percent);
  if (!file->error) return print_lines(l, of, count, file);
  REPORT_PRINT(r, " Error: %s\n", file->error);
  return r->table ? tm_table_note_text(r->ctx, r->table, "missing", file->error) : TM_OK;
}

static size_t run_length(const list *l, size_t begin, bool same_file) {
  const listed *all = l->nodes.items;
  size_t end = begin + 1;
  while (end < l->nodes.count && strcmp(all[end].name, all[begin].name) == 0
         && (!same_file || strcmp(all[end].file, all[begin].file) == 0))
    end++;
  return end - begin;
}

static tm_status print_all(list *l) {
  report *r = l->r;
  for (size_t i = 0; i < l->nodes.count;) {
    size_t of_name = run_length(l, i, false), of_file = run_length(l, i, true);
    const listed *first = &l->nodes.items[i];
    if (!*first->file && of_name == of_file)
      REPORT_PRINT(r, "No source information for %s\n", first->name);
    if (*first->file) TM_TRY(print_routine(l, first, of_file));
    i += of_file;
  }
  return TM_OK;
}

static tm_status add_columns(report *r) {
  static const char *const names[] = {"function", "file", "line", "flat", "cum", "source"};
  for (size_t i = 0; i < TM_COUNT(names) && r->table; i++)
    TM_TRY(tm_table_add_column(r->ctx, r->table, names[i],
                               i >= LINE && i <= CUM ? TM_CELL_INT : TM_CELL_TEXT,
                               i == FLAT || i == CUM ? report_unit(r) : TM_UNIT_NONE));
  return r->table ? tm_table_note_int(r->ctx, r->table, "total", r->total) : TM_OK;
}

tm_status report_list(report *r) {
  char total[400];
  list l = {.r = r};
  if (!r->symbol)
    return tm_fail(r->ctx, TM_E_ARG, TM_NO_OFFSET, "list needs a regexp or an address");
  r->object_names = true;
  TM_TRY(report_graph(r));
  TM_TRY(add_columns(r));
  tm_status status = tm_sources_init(r->ctx, &l.sources, r->o.source_path, r->o.trim_path);
  if (status == TM_OK) status = collect(&l);
  if (status == TM_OK && r->text)
    status = tm_bytes_printf(r->ctx, r->text, "Total: %s\n",
                             report_value(r, r->total, total, sizeof total));
  if (status == TM_OK) status = print_all(&l);
  tm_vec_free(r->ctx, &l.nodes);
  tm_sources_fini(&l.sources);
  return status;
}
