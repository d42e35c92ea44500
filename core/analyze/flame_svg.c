// The tree as JSON, and the picture: one rectangle per node with a tooltip, root at the top as in
// the page, so that a tall graph shows its broad end first.
#include "analyze/flame_impl.h"
#include "analyze/pprof_units.h"

#include <string.h>

enum { WIDTH = 1600, ROW = 18, TOP = 34, LETTER = 7 }; // pixels

// --- JSON ---

static tm_status json_box(flame *f, size_t i) {
  const flame_box *b = &f->boxes.items[i];
  const tm_call_node *n = flame_node(f, i);
  const char *name;
  size_t size;
  TM_TRY(flame_name(f, i, &name, &size));
  FLAME_PRINT(f, "{\"name\":\"");
  TM_TRY(flame_put_json(f, name, size));
  FLAME_PRINT(f, "\",\"flat\":%lld,\"cum\":%lld", (long long)n->flat, (long long)n->cum);
  if (f->tree.is_difference) FLAME_PRINT(f, ",\"base\":%lld", (long long)n->base_cum);
  if (b->folded_cum) FLAME_PRINT(f, ",\"folded\":%lld", (long long)b->folded_cum);
  if (b->children) FLAME_PRINT(f, ",\"children\":[");
  return TM_OK;
}

tm_status flame_json(flame *f) {
  FLAME_PRINT(f, "{\"type\":\"");
  TM_TRY(flame_put_json(f, f->type, strlen(f->type)));
  FLAME_PRINT(f, "\",\"unit\":\"");
  TM_TRY(flame_put_json(f, f->unit, strlen(f->unit)));
  FLAME_PRINT(f, "\",\"total\":%lld,\"difference\":%s,\"tree\":", (long long)f->total,
              f->tree.is_difference ? "true" : "false");
  const flame_box *boxes = f->boxes.items;
  for (size_t i = 0; i < f->boxes.count; i++) {
    TM_TRY(json_box(f, i));
    if (boxes[i].children) continue;
    FLAME_PRINT(f, "}");
    uint32_t next = i + 1 < f->boxes.count ? boxes[i + 1].depth : 0;
    for (uint32_t depth = boxes[i].depth; depth > next; depth--) FLAME_PRINT(f, "]}");
    if (next) FLAME_PRINT(f, ",");
  }
  FLAME_PRINT(f, "}\n");
  return TM_OK;
}

// --- SVG ---

// Shares of what is new: 1 = all of it, -1 = all of it is gone.
static double change(const tm_call_node *n) {
  return n->weight ? (double)n->cum / (double)n->weight : 0;
}

static tm_status put_colour(flame *f, size_t i, const char *name, size_t size) {
  const tm_call_node *n = flame_node(f, i);
  if (!f->tree.is_difference) {
    if (!i)
      FLAME_PRINT(f, "hsl(210,8%%,75%%)");
    else
      FLAME_PRINT(f, "hsl(%u,62%%,74%%)", flame_hue(name, size));
    return TM_OK;
  }
  double c = change(n), much = c < 0 ? -c : c;
  FLAME_PRINT(f, "hsl(%d,%.0f%%,%.0f%%)", c < 0 ? 215 : 5, much * 85, 86 - much * 22);
  return TM_OK;
}

static tm_status put_tooltip(flame *f, size_t i, const char *name, size_t size) {
  const tm_call_node *n = flame_node(f, i);
  char flat[400], cum[400], base[400], percent[48];
  tm_pprof_label(flat, sizeof flat, n->flat, f->unit, "minimum");
  tm_pprof_label(cum, sizeof cum, n->cum, f->unit, "minimum");
  tm_pprof_percent(percent, sizeof percent, n->cum, f->total);
  FLAME_PRINT(f, "<title>");
  TM_TRY(flame_put_xml(f, name, size));
  FLAME_PRINT(f, "\ncum ");
  TM_TRY(flame_put_xml(f, cum, strlen(cum)));
  FLAME_PRINT(f, " (%s), flat ", percent + strspn(percent, " "));
  TM_TRY(flame_put_xml(f, flat, strlen(flat)));
  if (f->tree.is_difference) {
    tm_pprof_label(base, sizeof base, n->base_cum, f->unit, "minimum");
    FLAME_PRINT(f, ", base ");
    TM_TRY(flame_put_xml(f, base, strlen(base)));
  }
  FLAME_PRINT(f, "</title>");
  return TM_OK;
}

// As much of the name as fits; the start of a Go path says little, so its folders go first.
static tm_status put_caption(flame *f, double x, uint32_t y, double width, const char *name,
                             size_t size) {
  size_t room = width > 8 ? (size_t)((width - 8) / LETTER) : 0;
  if (room < 3) return TM_OK;
  if (size > room) {
    const char *short_name = name;
    for (size_t k = 0; k < size && name[k] != '('; k++)
      if (name[k] == '/') short_name = name + k + 1;
    size -= (size_t)(short_name - name);
    name = short_name;
  }
  bool cut = size > room;
  if (cut) size = room - 1;
  while (cut && size && ((uint8_t)name[size] & 0xc0) == 0x80) size--;
  FLAME_PRINT(f, "<text x=\"%.1f\" y=\"%u\">", x + 4, y + ROW - 5);
  TM_TRY(flame_put_xml(f, name, size));
  FLAME_PRINT(f, "%s</text>", cut ? "\xe2\x80\xa6" : "");
  return TM_OK;
}

static tm_status svg_box(flame *f, size_t i) {
  const tm_call_node *n = flame_node(f, i), *root = flame_node(f, 0);
  double scale = root->weight ? (double)WIDTH / (double)root->weight : 0;
  double x = (double)f->boxes.items[i].left * scale, width = (double)n->weight * scale;
  uint32_t y = TOP + f->boxes.items[i].depth * ROW;
  const char *name;
  size_t size;
  TM_TRY(flame_name(f, i, &name, &size));
  FLAME_PRINT(f, "<g>");
  TM_TRY(put_tooltip(f, i, name, size));
  FLAME_PRINT(f, "<rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" fill=\"", x, y, width);
  TM_TRY(put_colour(f, i, name, size));
  FLAME_PRINT(f, "\"/>");
  TM_TRY(put_caption(f, x, y, width, name, size));
  FLAME_PRINT(f, "</g>\n");
  return TM_OK;
}

tm_status flame_svg(flame *f) {
  uint32_t depth_max = 0;
  for (size_t i = 0; i < f->boxes.count; i++)
    if (f->boxes.items[i].depth > depth_max) depth_max = f->boxes.items[i].depth;
  uint32_t height = TOP + (depth_max + 1) * ROW + 8;
  char total[400];
  const tm_call_node *root = flame_node(f, 0);
  tm_pprof_label(total, sizeof total, f->tree.is_difference ? root->cum : f->total, f->unit,
                 "minimum");
  FLAME_PRINT(f,
              "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %u\" width=\"%d\" "
              "height=\"%u\" font-family=\"ui-monospace,monospace\" font-size=\"11.5\">\n"
              "<style>svg{background:#fff;max-width:100%%;height:auto}rect{height:%dpx;stroke:#fff;"
              "stroke-width:.6}"
              "text{pointer-events:none;fill:#14181d}.h{fill:#444;font-size:13px}"
              "g:hover rect{stroke:#000;stroke-width:1}"
              "@media(prefers-color-scheme:dark){svg{background:#15181c}.h{fill:#bbb}"
              "rect{stroke:#15181c;filter:brightness(.82)}g:hover rect{stroke:#fff}}</style>\n"
              "<text class=\"h\" x=\"6\" y=\"21\">",
              WIDTH, height, WIDTH, height, ROW - 1);
  TM_TRY(flame_put_xml(f, f->type, strlen(f->type)));
  FLAME_PRINT(f, ", %s ", f->tree.is_difference ? "change" : "total");
  TM_TRY(flame_put_xml(f, total, strlen(total)));
  if (f->tree.is_difference) {
    tm_pprof_label(total, sizeof total, root->base_cum, f->unit, "minimum");
    FLAME_PRINT(f, ", base ");
    TM_TRY(flame_put_xml(f, total, strlen(total)));
    FLAME_PRINT(f, " (red: more, blue: less)");
  }
  FLAME_PRINT(f, "</text>\n");
  for (size_t i = 0; i < f->boxes.count; i++) TM_TRY(svg_box(f, i));
  FLAME_PRINT(f, "</svg>\n");
  return TM_OK;
}
