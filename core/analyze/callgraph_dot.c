// The call graph in Graphviz's language: legend, nodes with their label boxes, edges by weight.
// Source: the output of `go tool pprof -dot`.
#include "analyze/callgraph_text.h"
#include "analyze/paths.h"
#include "analyze/pprof_units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODELETS 4

typedef struct dot {
  report *r;
  tm_callgraph *g;
  uint64_t max_flat;
} dot;

// --- texts ---

static tm_status put_escaped(report *r, const char *text, size_t length) {
  for (size_t i = 0; i < length; i++) {
    char c = text[i];
    const char *put = c == '\\' ? "\\\\" : c == '"' ? "\\\"" : c == '\n' ? "\\l" : NULL;
    TM_TRY(tm_bytes_append(r->ctx, r->text, put ? put : &c, put ? 2 : 1));
  }
  return TM_OK;
}

// A name on many lines: one per namespace, package and method.
static tm_status put_name_lines(report *r, const char *name) {
  size_t length, size = strlen(name) + 1;
  char *buf = tm_alloc(r->ctx, size);
  if (!buf) return TM_E_NOMEM;
  const char *s = callgraph_short_name(name, buf, &length), *end = s + length;
  tm_status status = TM_OK;
  for (size_t n = 1; s < end && status == TM_OK; s += n) {
    n = 1;
    if (end - s >= 2 && s[0] == ':' && s[1] == ':') {
      status = tm_bytes_append(r->ctx, r->text, "\\n", n = 2);
    } else if (end - s >= 5 && strncmp(s, "[...]", 5) == 0) {
      status = tm_bytes_append(r->ctx, r->text, "[\xe2\x80\xa6]", n = 5);
    } else if (*s == '.') {
      status = tm_bytes_append(r->ctx, r->text, "\\n", 2);
    } else {
      status = put_escaped(r, s, 1);
    }
  }
  tm_free(r->ctx, buf, size);
  return status;
}

// Address, name, and file:line:column or binary, each on its lines.
static tm_status put_label_lines(dot *d, const tm_node *n) {
  report *r = d->r;
  const char *name = tm_view_text(d->g->v, n->name), *file = tm_view_text(d->g->v, n->file);
  size_t length = 0;
  const char *base = *file ? tm_path_base(file, &length) : "";
  if (n->address) REPORT_PRINT(r, "%016llx\\n", (unsigned long long)n->address);
  if (*name) {
    TM_TRY(put_name_lines(r, name));
    REPORT_PRINT(r, "\\n");
  }
  if (n->line) {
    REPORT_PRINT(r, "%.*s:%lld", (int)length, base, (long long)n->line);
    if (n->column) REPORT_PRINT(r, ":%lld", (long long)n->column);
    REPORT_PRINT(r, "\\n");
  } else if (*file) {
    REPORT_PRINT(r, "%.*s\\n", (int)length, base);
  } else if (!*name) {
    const char *object = tm_view_text(d->g->v, n->object);
    base = tm_path_base(object, &length);
    if (*object)
      REPORT_PRINT(r, "[%.*s]\\n", (int)length, base);
    else
      REPORT_PRINT(r, "<unknown>\\n");
  }
  return TM_OK;
}

// --- nodes ---

static tm_status put_node(dot *d, uint32_t node) {
  report *r = d->r;
  const tm_callgraph_node *n = &d->g->nodes.items[node];
  int64_t flat = tm_callgraph_flat(n), cum = tm_callgraph_cum(n);
  char flat_text[400], cum_text[400], percent[48], dark[8], light[8];
  const char *label;
  REPORT_PRINT(r, "N%u [label=\"", n->number);
  TM_TRY(put_label_lines(d, &d->g->f->nodes.items[n->info]));
  report_value(r, flat, flat_text, sizeof flat_text);
  report_value(r, cum, cum_text, sizeof cum_text);
  if (flat)
    REPORT_PRINT(r, "%s (%s)", flat_text,
                 callgraph_percent(percent, sizeof percent, flat, r->total));
  else
    REPORT_PRINT(r, "0");
  if (cum != flat)
    REPORT_PRINT(r, "%sof %s (%s)", flat ? "\\n" : " ", cum_text,
                 callgraph_percent(percent, sizeof percent, cum, r->total));
  REPORT_PRINT(r, "\" id=\"node%u\" fontsize=%d shape=box tooltip=\"", n->number,
               callgraph_font_size(flat, d->max_flat));
  TM_TRY(tm_flatcum_label(r->ctx, d->g->f, n->info, &label));
  TM_TRY(put_escaped(r, label, strlen(label)));
  double score = callgraph_score(cum, r->total);
  callgraph_color(dark, score, false);
  callgraph_color(light, score, true);
  REPORT_PRINT(r, " (%s)\" color=\"%s\" fillcolor=\"%s\"]\n", cum_text, dark, light);
  return TM_OK;
}

// --- label boxes ---

// A tag as drawn: of one label, or of a range of numbers.
typedef struct box {
  const char *name;
  int64_t flat, cum;
  const tm_callgraph_tag *tag;
} box;

static int compare_amounts(int64_t left, int64_t right) {
  uint64_t a = left < 0 ? 0 - (uint64_t)left : (uint64_t)left;
  uint64_t b = right < 0 ? 0 - (uint64_t)right : (uint64_t)right;
  return a > b ? -1 : a < b;
}

static int compare_flat(const void *left, const void *right) {
  const box *a = left, *b = right;
  int order = compare_amounts(a->flat, b->flat);
  return order ? order : strcmp(a->name, b->name);
}

static int compare_cum(const void *left, const void *right) {
  int order = compare_amounts(((const box *)left)->cum, ((const box *)right)->cum);
  return order ? order : compare_flat(left, right);
}

static void sort_boxes(box *boxes, size_t count, bool by_flat) {
  qsort(boxes, count, sizeof *boxes, by_flat ? compare_flat : compare_cum);
}

static double distance(const char *unit, int64_t of, int64_t to) {
  double v = tm_pprof_scale(to, unit, unit).value;
  return v < (double)of ? (double)of - v : v - (double)of;
}

static const char *range_name(report *r, const char *unit, int64_t low, int64_t high, bool one) {
  char a[400], b[400];
  tm_pprof_label(a, sizeof a, low, unit, "auto");
  tm_pprof_label(b, sizeof b, high, unit, "auto");
  size_t n = strlen(a);
  if (!one) {
    if (n + 2 + strlen(b) >= sizeof a) return NULL;
    memcpy(a + n, "..", 2);
    memcpy(a + n + 2, b, strlen(b) + 1);
    n += 2 + strlen(b);
  }
  return tm_arena_strndup(&r->ctx->scratch, a, n);
}

typedef struct range {
  const tm_callgraph_tag *first;
  int64_t low, high;
  uint64_t flat, cum, flat_divisor, cum_divisor;
  size_t count;
} range;

static void add_to_range(range *x, const char *unit, const tm_callgraph_tag *t) {
  int64_t v = tm_pprof_whole(tm_pprof_scale(t->number, unit, unit).value);
  if (!x->count) {
    x->first = t;
    x->low = x->high = t->number;
  } else {
    if (v < x->low) x->low = t->number;
    if (v > x->high) x->high = t->number;
  }
  x->count++;
  x->flat += (uint64_t)t->flat;
  x->cum += (uint64_t)t->cum;
  x->flat_divisor += (uint64_t)t->flat_divisor;
  x->cum_divisor += (uint64_t)t->cum_divisor;
}

// The heaviest four values gather what is nearest to them: "1kB..4kB".
static tm_status collapse(report *r, const char *unit, box *boxes, size_t *count, bool by_flat) {
  range ranges[NODELETS] = {0};
  sort_boxes(boxes, *count, by_flat);
  if (*count <= NODELETS) return TM_OK;
  for (size_t i = 0; i < *count; i++) {
    const tm_callgraph_tag *t = boxes[i].tag;
    size_t nearest = i < NODELETS ? i : 0;
    for (size_t k = 1; i >= NODELETS && k < NODELETS; k++)
      if (distance(unit, t->number, ranges[k].first->number)
          < distance(unit, t->number, ranges[nearest].first->number))
        nearest = k;
    add_to_range(&ranges[nearest], unit, t);
  }
  for (size_t k = 0; k < NODELETS; k++) {
    const range *x = &ranges[k];
    boxes[k].name = range_name(r, unit, x->low, x->high, x->count == 1);
    if (!boxes[k].name) return tm_fail(r->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (labels)");
    boxes[k].flat = tm_per((int64_t)x->flat, (int64_t)x->flat_divisor);
    boxes[k].cum = tm_per((int64_t)x->cum, (int64_t)x->cum_divisor);
    boxes[k].tag = NULL;
  }
  sort_boxes(boxes, *count = NODELETS, by_flat);
  return TM_OK;
}

// A tag's boxes divide only when shown: sorting is over sums.
static int64_t box_flat(const box *b) {
  return b->tag ? tm_per(b->tag->flat, b->tag->flat_divisor) : b->flat;
}
static int64_t box_cum(const box *b) {
  return b->tag ? tm_per(b->tag->cum, b->tag->cum_divisor) : b->cum;
}

static tm_status put_box(report *r, const char *source, const char *prefix, size_t number,
                         const char *name, int64_t value, const char *style) {
  char v[400];
  report_value(r, value, v, sizeof v);
  REPORT_PRINT(r,
               "%s%s_%zu [label = \"%s\" id=\"%s%s_%zu\" fontsize=8 shape=box3d tooltip=\"%s\"]\n",
               prefix, source, number, name, prefix, source, number, v);
  REPORT_PRINT(r,
               "%s -> %s%s_%zu [label=\" %s\" weight=100 tooltip=\"%s\" labeltooltip=\"%s\"%s]\n",
               source, prefix, source, number, v, v, v, style);
  return TM_OK;
}

static tm_status collect(dot *d, const tm_callgraph_node *n, uint32_t group, bool numeric,
                         box *boxes, size_t *count) {
  *count = 0;
  for (uint32_t i = n->tag_begin; i < n->tag_end; i++) {
    const tm_callgraph_tag *t = &d->g->tags.items[i];
    if (numeric ? t->group != group || !t->name : t->name != 0) continue;
    boxes[(*count)++] = (box){.name = tm_view_text(d->g->v, numeric ? t->name : t->group),
                              .flat = t->flat,
                              .cum = t->cum,
                              .tag = t};
  }
  return TM_OK;
}

static const char *number_unit(const tm_view *v) {
  uint32_t key = tm_strtab_find(&v->profile->strings, "bytes", 5);
  return key < v->key_room ? tm_view_text(v, v->number_units[key]) : "bytes";
}

static tm_status put_numbers(dot *d, const tm_callgraph_node *n, uint32_t group, const char *source,
                             box *boxes, bool *any) {
  report *r = d->r;
  size_t count;
  bool by_flat = n->out_count > 0;
  TM_TRY(collect(d, n, group, true, boxes, &count));
  TM_TRY(collapse(r, number_unit(d->g->v), boxes, &count, by_flat));
  for (size_t i = 0; i < count; i++) {
    int64_t flat = box_flat(&boxes[i]), cum = box_cum(&boxes[i]);
    bool solid = by_flat || flat == cum;
    int64_t value = solid ? flat : cum;
    if (!value) continue;
    *any = true;
    TM_TRY(put_box(r, source, "N", i, boxes[i].name, value, solid ? "" : " style=\"dotted\""));
  }
  return TM_OK;
}

// The boxes of a node; any = there were some.
static tm_status put_boxes(dot *d, uint32_t node, bool *any) {
  const tm_callgraph_node *n = &d->g->nodes.items[node];
  size_t size = (n->tag_end - n->tag_begin + 1) * sizeof(box), count;
  bool by_flat = n->out_count > 0;
  char source[64];
  if (n->tag_begin == n->tag_end) return TM_OK;
  tm_arena_mark mark = tm_arena_save(&d->r->ctx->scratch);
  box *groups = tm_alloc(d->r->ctx, size), *numbers = tm_alloc(d->r->ctx, size);
  tm_status status = groups && numbers ? collect(d, n, 0, false, groups, &count) : TM_E_NOMEM;
  if (status == TM_OK) sort_boxes(groups, count, by_flat);
  for (size_t i = 0; status == TM_OK && i < count && i < NODELETS; i++) {
    int64_t value = by_flat ? box_flat(&groups[i]) : box_cum(&groups[i]);
    if (!value) continue;
    *any = true;
    snprintf(source, sizeof source, "N%u", n->number);
    status = put_box(d->r, source, "", i, groups[i].name, value, "");
    snprintf(source, sizeof source, "N%u_%zu", n->number, i);
    if (status == TM_OK) status = put_numbers(d, n, groups[i].tag->group, source, numbers, any);
  }
  snprintf(source, sizeof source, "N%u", n->number);
  if (status == TM_OK) status = put_numbers(d, n, 0, source, numbers, any);
  tm_free(d->r->ctx, groups, size);
  tm_free(d->r->ctx, numbers, size);
  tm_arena_rewind(&d->r->ctx->scratch, mark);
  return status;
}

// --- edges ---

// 1 + |weight * times / total|, at most 1 + times; sums of a hostile file wrap.
static int64_t share_of(int64_t weight, int64_t total, int64_t times, int64_t most) {
  int64_t x = tm_per((int64_t)((uint64_t)weight * (uint64_t)times), total);
  if (x < 0) x = (int64_t)(0 - (uint64_t)x);
  return 1 + (x < most ? x : most);
}

static tm_status put_edge(dot *d, const tm_callgraph_edge *e, bool has_boxes) {
  report *r = d->r;
  const tm_callgraph_node *from = &d->g->nodes.items[e->from], *to = &d->g->nodes.items[e->to];
  int64_t weight = tm_per(e->weight, e->weight_divisor);
  char value[400], color[8];
  const char *from_label, *to_label;
  report_value(r, weight, value, sizeof value);
  REPORT_PRINT(r, "N%u -> N%u [label=\" %s%s\"", from->number, to->number, value,
               e->is_inline ? "\\n (inline)" : "");
  if (r->total) {
    int64_t pull = share_of(weight, r->total, 100, 100), pen = share_of(weight, r->total, 5, 5);
    if (pull > 1) REPORT_PRINT(r, " weight=%lld", (long long)pull);
    if (pen > 1) REPORT_PRINT(r, " penwidth=%lld", (long long)pen);
    callgraph_color(color, callgraph_score(weight, r->total), false);
    REPORT_PRINT(r, " color=\"%s\"", color);
  }
  TM_TRY(tm_flatcum_label(r->ctx, d->g->f, from->info, &from_label));
  TM_TRY(tm_flatcum_label(r->ctx, d->g->f, to->info, &to_label));
  for (int i = 0; i < 2; i++) {
    REPORT_PRINT(r, " %s=\"", i ? "labeltooltip" : "tooltip");
    TM_TRY(put_escaped(r, from_label, strlen(from_label)));
    REPORT_PRINT(r, " %s ", e->residual ? "..." : "->");
    TM_TRY(put_escaped(r, to_label, strlen(to_label)));
    REPORT_PRINT(r, " (%s)\"", value);
  }
  REPORT_PRINT(r, "%s%s]\n", e->residual ? " style=\"dotted\"" : "", has_boxes ? " minlen=2" : "");
  return TM_OK;
}

// --- the whole ---

// The legend's first entry, which is a comment of many lines at times.
static size_t first_label(const report *r, const char *legend) {
  const tm_profile *p = r->p;
  const tm_mapping *m = p->mappings.items;
  bool named =
      p->mappings.count && (*tm_profile_text(p, m->file) || *tm_profile_text(p, m->build_id));
  for (size_t i = 0; i < p->comments.count && !named; i++) {
    const char *comment = tm_profile_text(p, p->comments.items[i]);
    if (*comment != '#') return strlen(comment);
  }
  return strcspn(legend, "\n");
}

static tm_status put_legend(dot *d, const char *title, int title_length) {
  report *r = d->r;
  tm_bytes lines = {0};
  tm_status status = callgraph_legend(r, d->g, &lines);
  if (status == TM_OK)
    status =
        tm_bytes_printf(r->ctx, &lines, "\nSee https://git.io/JfYMW for how to read the graph\n");
  const char *text = (const char *)lines.data;
  if (status == TM_OK) status = tm_bytes_printf(r->ctx, r->text, "subgraph cluster_L { \"");
  if (status == TM_OK) status = put_escaped(r, text, first_label(r, text));
  if (status == TM_OK)
    status = tm_bytes_printf(r->ctx, r->text, "\" [shape=box fontsize=16 label=\"");
  if (status == TM_OK) status = put_escaped(r, text, lines.size);
  if (status == TM_OK) status = tm_bytes_printf(r->ctx, r->text, "\"");
  if (status == TM_OK && title_length)
    status = tm_bytes_printf(r->ctx, r->text, " tooltip=\"%.*s\"", title_length, title);
  if (status == TM_OK) status = tm_bytes_printf(r->ctx, r->text, "] }\n");
  tm_bytes_free(r->ctx, &lines);
  return status;
}

static tm_status put_body(dot *d, const uint32_t *edges, uint32_t edge_count, uint8_t *has_boxes) {
  tm_callgraph *g = d->g;
  for (uint32_t i = 0; i < g->order_count; i++) {
    bool any = false;
    TM_TRY(put_node(d, g->order[i]));
    TM_TRY(put_boxes(d, g->order[i], &any));
    has_boxes[g->order[i]] = any;
  }
  for (uint32_t i = 0; i < edge_count; i++) {
    const tm_callgraph_edge *e = &g->edges.items[edges[i]];
    TM_TRY(put_edge(d, e, has_boxes[e->from]));
  }
  return TM_OK;
}

static tm_status put_dot(dot *d, const uint32_t *edges, uint32_t edge_count) {
  report *r = d->r;
  tm_callgraph *g = d->g;
  size_t title_length = 0, size = g->nodes.count + 1;
  const char *title = "";
  if (r->p->mappings.count) {
    const char *file = tm_profile_text(r->p, r->p->mappings.items[0].file);
    if (*file) title = tm_path_base(file, &title_length);
  }
  for (uint32_t i = 0; i < g->order_count; i++) {
    int64_t flat = tm_callgraph_flat(&g->nodes.items[g->order[i]]);
    uint64_t amount = flat < 0 ? 0 - (uint64_t)flat : (uint64_t)flat;
    if (amount > d->max_flat) d->max_flat = amount;
  }
  REPORT_PRINT(r, "digraph \"%.*s\" {\nnode [style=filled fillcolor=\"#f8f8f8\"]\n",
               title_length ? (int)title_length : 7, title_length ? title : "unnamed");
  TM_TRY(put_legend(d, title, (int)title_length));
  uint8_t *has_boxes = tm_calloc(r->ctx, 1, size);
  tm_status status = has_boxes ? put_body(d, edges, edge_count, has_boxes) : TM_E_NOMEM;
  tm_free(r->ctx, has_boxes, size);
  TM_TRY(status);
  REPORT_PRINT(r, "}\n");
  return TM_OK;
}

tm_status report_dot(report *r) {
  tm_callgraph g = {0};
  uint32_t *edges = NULL, edge_count = 0;
  dot d = {.r = r, .g = &g};
  tm_status status = callgraph_of_report(r, r->o.call_tree, true, &g);
  if (status == TM_OK) status = tm_callgraph_sorted_edges(r->ctx, &g, &edges, &edge_count);
  if (status == TM_OK) status = callgraph_table(r, &g, edges, edge_count);
  if (status == TM_OK && r->text) status = put_dot(&d, edges, edge_count);
  if (edges) tm_free(r->ctx, edges, (g.edges.count + 1) * sizeof *edges);
  tm_callgraph_fini(r->ctx, &g);
  return status;
}
