// The call graph as an SVG picture of its own: legend, boxes scaled by the flat value, edges with
// their values, tooltips with whole names and label shares. Text is monospaced, so that the width
// of a box is known without a font. Needs no script and no Graphviz.
#include "analyze/callgraph_text.h"
#include "analyze/layers.h"
#include "analyze/pprof_units.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

#define COLUMN_WIDTH 0.61 // of the font size: the widest of the common monospaced fonts
#define LINE_HEIGHT  1.2
#define LINE_COLUMNS 48 // longer lines are cut; the tooltip has the whole
#define LINES        12
#define PAD          6
#define LEGEND_FONT  12
#define EDGE_FONT    10
#define TAGS_SHOWN   8

// What one box or edge says: lines of text.
typedef struct lines {
  char text[LINES][LINE_COLUMNS * 4 + 4];
  uint32_t count, columns; // columns of the widest
} lines;

typedef struct svg {
  report *r;
  tm_callgraph *g;
  tm_layers layers;
  tm_layer_node *boxes;
  tm_layer_edge *arrows;
  const uint32_t *edges; // of the graph, per arrow
  uint64_t max_flat;
  double legend_height, legend_width, width;
  tm_bytes legend;
} svg;

// --- text ---

// What stands for a character in XML; NULL = itself.
static const char *xml_of(uint32_t code) {
  switch (code) {
  case '&':
    return "&amp;";
  case '<':
    return "&lt;";
  case '>':
    return "&gt;";
  case '"':
    return "&quot;";
  case 0xfffd:
    return "\xef\xbf\xbd";
  case 0xfffe:
  case 0xffff:
    return " ";
  default:
    return code < 32 && code != '\n' ? " " : NULL;
  }
}

static tm_status put_xml(report *r, const char *text, size_t size) {
  for (size_t i = 0, n; i < size; i += n) {
    uint32_t code;
    n = tm_utf8_decode(text + i, size - i, &code);
    const char *put = xml_of(code);
    TM_TRY(tm_bytes_append(r->ctx, r->text, put ? put : text + i, put ? strlen(put) : n));
  }
  return TM_OK;
}

static void add_line(lines *l, const char *text, size_t size) {
  uint32_t columns = 0;
  size_t end = 0;
  if (l->count == LINES) return;
  char *out = l->text[l->count++];
  while (end < size) {
    uint32_t code;
    size_t n = tm_utf8_decode(text + end, size - end, &code);
    uint32_t width = code < 32 ? 1 : tm_char_width(code);
    if (columns + width > LINE_COLUMNS - 1 || end + n > LINE_COLUMNS * 4 - 4) break;
    columns += width;
    end += n;
  }
  memcpy(out, text, end);
  bool cut = end < size;
  memcpy(out + end, cut ? "\xe2\x80\xa6" : "", cut ? 4 : 1);
  columns += cut;
  if (columns > l->columns) l->columns = columns;
}

// One line per part of a name, as in pprof's graphs; "[...]" stays whole.
static void add_name(lines *l, const char *name, size_t size) {
  size_t begin = 0, i = 0;
  while (i < size) {
    size_t skip = 0;
    if (size - i >= 5 && memcmp(name + i, "[...]", 5) == 0) {
      i += 5;
      continue;
    }
    if (name[i] == '.') skip = 1;
    if (size - i >= 2 && name[i] == ':' && name[i + 1] == ':') skip = 2;
    if (skip && i > begin && l->count < LINES - 4) {
      add_line(l, name + begin, i - begin);
      begin = i + skip;
    }
    i += skip ? skip : 1;
  }
  add_line(l, name + begin, size - begin);
}

static tm_status box_lines(svg *s, uint32_t node, lines *l) {
  report *r = s->r;
  const tm_callgraph_node *n = &s->g->nodes.items[node];
  const tm_node *info = &s->g->f->nodes.items[n->info];
  const char *name = tm_view_text(s->g->v, info->name), *label;
  char text[440], value[400], percent[48];
  *l = (lines){.count = 0};
  TM_TRY(tm_flatcum_label(r->ctx, s->g->f, n->info, &label));
  size_t name_size = strlen(name), size;
  if (!name_size) {
    const char *base = strrchr(label, '/');
    base = base && base[1] ? base + 1 : label;
    add_line(l, base, strlen(base));
  } else {
    char *buf = tm_alloc(r->ctx, name_size + 1);
    if (!buf) return TM_E_NOMEM;
    const char *shorter = callgraph_short_name(name, buf, &size);
    add_name(l, shorter, size);
    tm_free(r->ctx, buf, name_size + 1);
    const char *place = strrchr(label, '/'), *file = tm_view_text(s->g->v, info->file);
    if (*file) add_line(l, place ? place + 1 : file, strlen(place ? place + 1 : file));
  }
  int64_t flat = tm_callgraph_flat(n), cum = tm_callgraph_cum(n);
  if (flat) {
    snprintf(text, sizeof text, "%s (%s)", report_value(r, flat, value, sizeof value),
             callgraph_percent(percent, sizeof percent, flat, r->total));
    add_line(l, text, strlen(text));
  }
  if (cum != flat || !flat) {
    snprintf(text, sizeof text, "%s%s (%s)", flat ? "of " : "0 of ",
             report_value(r, cum, value, sizeof value),
             callgraph_percent(percent, sizeof percent, cum, r->total));
    add_line(l, text, strlen(text));
  }
  return TM_OK;
}

static tm_status put_title(svg *s, const char *text) {
  REPORT_PRINT(s->r, "<title>");
  TM_TRY(put_xml(s->r, text, strlen(text)));
  return TM_OK;
}

// --- sizes ---

static int font_of(const svg *s, uint32_t node) {
  return callgraph_font_size(tm_callgraph_flat(&s->g->nodes.items[node]), s->max_flat);
}

static void edge_text(svg *s, uint32_t edge, char *buf, size_t size) {
  const tm_callgraph_edge *e = &s->g->edges.items[edge];
  char value[400];
  report_value(s->r, tm_per(e->weight, e->weight_divisor), value, sizeof value);
  snprintf(buf, size, "%.40s%s", value, e->is_inline ? " (inline)" : "");
}

static tm_status measure(svg *s) {
  tm_callgraph *g = s->g;
  lines l;
  for (uint32_t i = 0; i < g->order_count; i++) {
    int64_t flat = tm_callgraph_flat(&g->nodes.items[g->order[i]]);
    uint64_t size = flat < 0 ? 0 - (uint64_t)flat : (uint64_t)flat;
    if (size > s->max_flat) s->max_flat = size;
  }
  for (uint32_t i = 0; i < g->order_count; i++) {
    TM_TRY(box_lines(s, g->order[i], &l));
    double font = font_of(s, g->order[i]);
    s->boxes[i].width = l.columns * font * COLUMN_WIDTH + 2 * PAD;
    s->boxes[i].height = l.count * font * LINE_HEIGHT + 2 * PAD;
  }
  for (uint32_t i = 0; i < s->layers.edge_count; i++) {
    const tm_callgraph_edge *e = &g->edges.items[s->edges[i]];
    char text[80];
    edge_text(s, s->edges[i], text, sizeof text);
    double share = callgraph_score(e->weight, s->r->total);
    if (!(share > 0)) share = -share;
    s->arrows[i] = (tm_layer_edge){
        .from = g->nodes.items[e->from].number - 1,
        .to = g->nodes.items[e->to].number - 1,
        .weight = 0.02 + (share < 1 ? share : 1),
        .label_width = (double)tm_text_width(text, strlen(text)) * EDGE_FONT * COLUMN_WIDTH + 8,
        .label_height = EDGE_FONT * LINE_HEIGHT};
  }
  const char *text = (const char *)s->legend.data;
  for (size_t at = 0; at < s->legend.size;) {
    size_t n = strcspn(text + at, "\n");
    double width = (double)tm_text_width(text + at, n) * LEGEND_FONT * COLUMN_WIDTH + 4 * PAD;
    if (width > s->legend_width) s->legend_width = width;
    s->legend_height += LEGEND_FONT * LINE_HEIGHT;
    at += n + 1;
  }
  s->legend_height += 4 * PAD;
  return TM_OK;
}

// --- drawing ---

static tm_status put_legend(svg *s) {
  report *r = s->r;
  const char *text = (const char *)s->legend.data;
  double y = 2 * PAD + LEGEND_FONT;
  REPORT_PRINT(r,
               "<rect class=\"legend\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%.1f\"/>\n"
               "<g font-size=\"%d\">\n",
               PAD, PAD, s->legend_width - 2 * PAD, s->legend_height - 2 * PAD, LEGEND_FONT);
  for (size_t at = 0; at < s->legend.size;) {
    size_t n = strcspn(text + at, "\n");
    REPORT_PRINT(r, "<text x=\"%d\" y=\"%.1f\">", 2 * PAD, y);
    TM_TRY(put_xml(r, text + at, n));
    REPORT_PRINT(r, "</text>\n");
    y += LEGEND_FONT * LINE_HEIGHT;
    at += n + 1;
  }
  REPORT_PRINT(r, "</g>\n");
  return TM_OK;
}

// The tooltip: whole name, value, and the heaviest shares by label.
static tm_status put_node_title(svg *s, uint32_t node) {
  report *r = s->r;
  const tm_callgraph_node *n = &s->g->nodes.items[node];
  const char *label;
  char value[400];
  TM_TRY(tm_flatcum_label(r->ctx, s->g->f, n->info, &label));
  TM_TRY(put_title(s, label));
  REPORT_PRINT(r, " (%s)", report_value(r, tm_callgraph_cum(n), value, sizeof value));
  uint32_t end = n->tag_end - n->tag_begin > TAGS_SHOWN ? n->tag_begin + TAGS_SHOWN : n->tag_end;
  for (uint32_t i = n->tag_begin; i < end; i++) {
    const tm_callgraph_tag *t = &s->g->tags.items[i];
    const char *group = tm_view_text(s->g->v, t->group), *name = tm_view_text(s->g->v, t->name);
    int64_t amount = tm_per(t->cum, t->cum_divisor);
    REPORT_PRINT(r, "\n");
    TM_TRY(put_xml(r, group, strlen(group)));
    if (*group && *name) REPORT_PRINT(r, ", ");
    TM_TRY(put_xml(r, name, strlen(name)));
    REPORT_PRINT(r, ": %s", report_value(r, amount, value, sizeof value));
  }
  if (end < n->tag_end) REPORT_PRINT(r, "\nand %u more", n->tag_end - end);
  REPORT_PRINT(r, "</title>\n");
  return TM_OK;
}

static tm_status put_box(svg *s, uint32_t i) {
  report *r = s->r;
  uint32_t node = s->g->order[i];
  const tm_layer_node *b = &s->boxes[i];
  char dark[8], light[8];
  lines l;
  int font = font_of(s, node);
  double score = callgraph_score(tm_callgraph_cum(&s->g->nodes.items[node]), r->total);
  callgraph_color(dark, score, false);
  callgraph_color(light, score, true);
  TM_TRY(box_lines(s, node, &l));
  REPORT_PRINT(r, "<g id=\"node%u\" font-size=\"%d\">", i + 1, font);
  TM_TRY(put_node_title(s, node));
  REPORT_PRINT(r,
               "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" rx=\"3\" fill=\"%s\" "
               "stroke=\"%s\"/>\n",
               b->x - b->width / 2, b->y - b->height / 2, b->width, b->height, light, dark);
  double y = b->y - b->height / 2 + PAD + font * 0.92;
  for (uint32_t k = 0; k < l.count; k++, y += font * LINE_HEIGHT) {
    REPORT_PRINT(r, "<text x=\"%.1f\" y=\"%.1f\">", b->x, y);
    TM_TRY(put_xml(r, l.text[k], strlen(l.text[k])));
    REPORT_PRINT(r, "</text>\n");
  }
  REPORT_PRINT(r, "</g>\n");
  return TM_OK;
}

// Vertical at every point: an S between points apart, straight where they are not.
static tm_status put_path(svg *s, const tm_layer_edge *a, double arrow) {
  report *r = s->r;
  const tm_layer_point *p = s->layers.points.items + a->point_begin;
  double back = a->upwards ? arrow : -arrow;
  REPORT_PRINT(r, "M%.1f,%.1f", p[0].x, p[0].y);
  for (uint32_t i = 1; i < a->point_count; i++) {
    double x = p[i].x, y = i + 1 == a->point_count ? p[i].y + back : p[i].y;
    double middle = (p[i - 1].y + y) / 2, dx = x - p[i - 1].x;
    if (dx < 0.05 && dx > -0.05)
      REPORT_PRINT(r, "V%.1f", y);
    else
      REPORT_PRINT(r, "C%.1f,%.1f %.1f,%.1f %.1f,%.1f", p[i - 1].x, middle, x, middle, x, y);
  }
  return TM_OK;
}

static tm_status put_arrow(svg *s, uint32_t i) {
  report *r = s->r;
  tm_callgraph *g = s->g;
  const tm_layer_edge *a = &s->arrows[i];
  const tm_callgraph_edge *e = &g->edges.items[s->edges[i]];
  const char *from, *to;
  char text[80], color[8];
  double score = callgraph_score(tm_per(e->weight, e->weight_divisor), r->total);
  double size = score < 0 ? -score : score, pen = 1 + 5 * (size < 1 ? size : 1);
  if (!(size >= 0)) pen = 1;
  double head = 5 + pen;
  callgraph_color(color, score, false);
  edge_text(s, s->edges[i], text, sizeof text);
  TM_TRY(tm_flatcum_label(r->ctx, g->f, g->nodes.items[e->from].info, &from));
  TM_TRY(tm_flatcum_label(r->ctx, g->f, g->nodes.items[e->to].info, &to));
  REPORT_PRINT(r, "<g class=\"edge\">");
  TM_TRY(put_title(s, from));
  REPORT_PRINT(r, " %s ", e->residual ? "..." : "-&gt;");
  TM_TRY(put_xml(r, to, strlen(to)));
  REPORT_PRINT(r, " (");
  TM_TRY(put_xml(r, text, strlen(text)));
  REPORT_PRINT(r, ")</title>\n<path class=\"line\" d=\"");
  TM_TRY(put_path(s, a, head));
  REPORT_PRINT(r, "\" stroke=\"%s\" stroke-width=\"%.1f\"%s/>\n", color, pen,
               e->residual ? " stroke-dasharray=\"2,4\"" : "");
  const tm_layer_point *tip = &s->layers.points.items[a->point_begin + a->point_count - 1];
  double base = tip->y + (a->upwards ? head : -head), half = 2.5 + pen / 2;
  REPORT_PRINT(r, "<path d=\"M%.1f,%.1fL%.1f,%.1fL%.1f,%.1fZ\" fill=\"%s\"/>\n", tip->x - half,
               base, tip->x + half, base, tip->x, tip->y, color);
  REPORT_PRINT(r, "<text x=\"%.1f\" y=\"%.1f\">", a->label_x - a->label_width / 2 + 5,
               a->label_y + EDGE_FONT * 0.35);
  TM_TRY(put_xml(r, text, strlen(text)));
  REPORT_PRINT(r, "</text></g>\n");
  return TM_OK;
}

static const char style[] =
    "<style>\n"
    "svg { background: #fff; font-family: 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', "
    "monospace }\n"
    "text { white-space: pre; text-anchor: middle; fill: #000 }\n"
    ".line { fill: none }\n"
    ".edge text, .legend + g text { text-anchor: start }\n"
    ".edge text { paint-order: stroke; stroke: #fff; stroke-width: 3px }\n"
    ".legend { fill: #f8f8f8; stroke: #000 }\n"
    "</style>\n";

static tm_status put_picture(svg *s) {
  report *r = s->r;
  double width = s->layers.width > s->legend_width ? s->layers.width : s->legend_width;
  double height = s->layers.height + s->legend_height;
  REPORT_PRINT(r,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
               "viewBox=\"0 0 %.0f %.0f\">\n%s",
               width, height, width, height, style);
  TM_TRY(put_legend(s));
  REPORT_PRINT(r, "<g transform=\"translate(%.1f,%.1f)\">\n<g font-size=\"%d\">\n",
               (width - s->layers.width) / 2, s->legend_height, EDGE_FONT);
  for (uint32_t i = s->layers.edge_count; i > 0; i--) TM_TRY(put_arrow(s, i - 1));
  REPORT_PRINT(r, "</g>\n");
  for (uint32_t i = 0; i < s->g->order_count; i++) TM_TRY(put_box(s, i));
  REPORT_PRINT(r, "</g>\n</svg>\n");
  return TM_OK;
}

static tm_status draw(svg *s, uint32_t *edges, uint32_t edge_count) {
  report *r = s->r;
  tm_callgraph *g = s->g;
  uint32_t kept = 0; // edges to nodes that are not shown have no place here
  for (uint32_t i = 0; i < edge_count; i++)
    if (g->nodes.items[g->edges.items[edges[i]].to].number) edges[kept++] = edges[i];
  size_t box_size = (g->order_count + 1u) * sizeof *s->boxes;
  size_t arrow_size = (kept + 1u) * sizeof *s->arrows;
  s->boxes = tm_calloc(r->ctx, 1, box_size);
  s->arrows = tm_calloc(r->ctx, 1, arrow_size);
  s->edges = edges;
  s->layers = (tm_layers){
      .nodes = s->boxes, .node_count = g->order_count, .edges = s->arrows, .edge_count = kept};
  tm_status status = s->boxes && s->arrows ? callgraph_legend(r, g, &s->legend) : TM_E_NOMEM;
  if (status == TM_OK) status = measure(s);
  if (status == TM_OK) status = tm_layers_draw(r->ctx, &s->layers);
  if (status == TM_OK) status = put_picture(s);
  tm_vec_free(r->ctx, &s->layers.points);
  tm_bytes_free(r->ctx, &s->legend);
  tm_free(r->ctx, s->boxes, box_size);
  tm_free(r->ctx, s->arrows, arrow_size);
  return status;
}

tm_status report_svg(report *r) {
  tm_callgraph g = {0};
  uint32_t *edges = NULL, edge_count = 0;
  svg s = {.r = r, .g = &g};
  tm_status status = callgraph_of_report(r, r->o.call_tree, true, &g);
  if (status == TM_OK) status = tm_callgraph_sorted_edges(r->ctx, &g, &edges, &edge_count);
  if (status == TM_OK) status = callgraph_table(r, &g, edges, edge_count);
  if (status == TM_OK && r->text) status = draw(&s, edges, edge_count);
  if (edges) tm_free(r->ctx, edges, (g.edges.count + 1) * sizeof *edges);
  tm_callgraph_fini(r->ctx, &g);
  return status;
}
