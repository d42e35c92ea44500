// A flame graph is chosen in three steps: the call tree without what is too narrow to see, the
// heaviest nodes of it (a child is never heavier than its parent, so these hang together), and
// their order of drawing. A form that comes out too large is written again with fewer nodes.
#include "analyze/flame.h"

#include "analyze/flame_impl.h"
#include "base/hash.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define PARTS 3200 // half pixels of 1,600

typedef struct form {
  const char *name;
  tm_status (*write)(flame *f);
  size_t box_max; // to begin with
} form;

static const form forms[] = {
    {"svg", flame_svg, 1500}, {"html", flame_html, 6000}, {"json", flame_json, 3000}};

// --- texts ---

tm_status flame_name(flame *f, size_t box, const char **out, size_t *size_bytes) {
  *out = "root";
  if (box) TM_TRY(tm_flatcum_label(f->ctx, &f->names, flame_node(f, box)->frame, out));
  *size_bytes = strlen(*out);
  if (*size_bytes <= FLAME_NAME_BYTES) return TM_OK;
  *size_bytes = FLAME_NAME_BYTES;
  while (*size_bytes && ((uint8_t)(*out)[*size_bytes] & 0xc0) == 0x80) --*size_bytes;
  return TM_OK;
}

static const char *xml_entity(uint32_t code) {
  return code == '<'   ? "&lt;"
         : code == '>' ? "&gt;"
         : code == '&' ? "&amp;"
         : code == '"' ? "&quot;"
                       : NULL;
}

static const char *json_escape(uint32_t code) {
  return code == '<'    ? "\\u003c"
         : code == '>'  ? "\\u003e"
         : code == '&'  ? "\\u0026"
         : code == '"'  ? "\\\""
         : code == '\\' ? "\\\\"
                        : NULL;
}

static bool is_unprintable(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029
         || code == 0xfffe || code == 0xffff;
}

static tm_status put_escaped(flame *f, const char *text, size_t size_bytes,
                             const char *(*escape)(uint32_t)) {
  for (size_t i = 0; i < size_bytes;) {
    uint32_t code;
    size_t n = tm_utf8_decode(text + i, size_bytes - i, &code);
    const char *instead = escape(code);
    if (is_unprintable(code)) code = 0xfffd;
    if (instead) {
      TM_TRY(tm_bytes_append(f->ctx, f->out, instead, strlen(instead)));
    } else {
      char utf8[4];
      TM_TRY(tm_bytes_append(f->ctx, f->out, utf8, tm_utf8_encode(code, utf8)));
    }
    i += n;
  }
  return TM_OK;
}

tm_status flame_put_xml(flame *f, const char *text, size_t size_bytes) {
  return put_escaped(f, text, size_bytes, xml_entity);
}

tm_status flame_put_json(flame *f, const char *text, size_t size_bytes) {
  return put_escaped(f, text, size_bytes, json_escape);
}

// "a.org/b/c.(*T).M" -> "a.org/b/c"; "ns::T::f" -> "ns"; "/x/y.c:12" -> "/x/y"; "f" -> "f".
static size_t package_length(const char *name, size_t size) {
  size_t at = 0, stop = 0;
  for (; stop < size && name[stop] != '(' && name[stop] != '['; stop++)
    if (name[stop] == '/') at = stop + 1;
  for (; at < stop; at++)
    if (name[at] == '.' || (name[at] == ':' && at + 1 < size && name[at + 1] == ':')) break;
  return at ? at : size;
}

uint32_t flame_hue(const char *name, size_t size_bytes) {
  return (uint32_t)(tm_hash_bytes(name, package_length(name, size_bytes)) % 360);
}

// --- which nodes, in which order ---

typedef struct weighed {
  uint64_t weight;
  uint32_t node;
} weighed;

static int compare_weights(const void *left, const void *right) {
  const weighed *a = left, *b = right;
  if (a->weight != b->weight) return a->weight > b->weight ? -1 : 1;
  return a->node < b->node ? -1 : a->node > b->node;
}

static tm_status sort_nodes(flame *f) {
  size_t count = f->tree.nodes.count;
  weighed *keys = tm_alloc(f->ctx, count * sizeof *keys);
  f->by_weight = tm_alloc(f->ctx, count * sizeof *f->by_weight);
  f->by_weight_count = count;
  if (keys && f->by_weight) {
    for (uint32_t i = 0; i < count; i++) keys[i] = (weighed){f->tree.nodes.items[i].weight, i};
    qsort(keys, count, sizeof *keys, compare_weights);
    for (size_t i = 0; i < count; i++) f->by_weight[i] = keys[i].node;
  }
  tm_status status = keys && f->by_weight ? TM_OK : TM_E_NOMEM;
  tm_free(f->ctx, keys, count * sizeof *keys);
  return status;
}

typedef struct family {
  uint32_t first_child, next_sibling, box;
  uint64_t next_left; // where its next child begins
} family;

static tm_status add_box(flame *f, family *families, uint32_t node) {
  const tm_call_node *n = &f->tree.nodes.items[node];
  family *parent = &families[n->parent];
  flame_box box = {.node = node,
                   .depth = n->depth,
                   .folded_cum = (int64_t)((uint64_t)n->cum - (uint64_t)n->flat)};
  families[node].box = (uint32_t)f->boxes.count;
  if (node) {
    flame_box *above = &f->boxes.items[parent->box];
    above->children++;
    above->folded_cum = (int64_t)((uint64_t)above->folded_cum - (uint64_t)n->cum);
    box.left = parent->next_left;
    parent->next_left += n->weight;
  }
  families[node].next_left = box.left;
  return tm_vec_push(f->ctx, &f->boxes, box);
}

static tm_status order_boxes(flame *f, family *families) {
  f->boxes.count = 0;
  for (uint32_t node = 0;;) {
    TM_TRY(add_box(f, families, node));
    if (families[node].first_child) {
      node = families[node].first_child;
      continue;
    }
    while (node && !families[node].next_sibling) node = f->tree.nodes.items[node].parent;
    if (!node) return TM_OK;
    node = families[node].next_sibling;
  }
}

// The box_max heaviest nodes. Linked from the lightest on, so that every list of children begins
// with the heaviest.
static tm_status choose_boxes(flame *f, size_t box_max) {
  size_t count = f->by_weight_count < box_max ? f->by_weight_count : box_max;
  family *families = tm_calloc(f->ctx, f->by_weight_count, sizeof *families);
  if (!families) return TM_E_NOMEM;
  for (size_t i = count; i-- > 1;) {
    uint32_t node = f->by_weight[i];
    family *parent = &families[f->tree.nodes.items[node].parent];
    families[node].next_sibling = parent->first_child;
    parent->first_child = node;
  }
  tm_status status = order_boxes(f, families);
  tm_free(f->ctx, families, f->by_weight_count * sizeof *families);
  return status;
}

// --- the whole ---

static tm_status prepare(flame *f, const tm_profile *p, const tm_report_options *options) {
  tm_report_options o = *options;
  tm_view *v = &f->view;
  o.mean = false;
  TM_TRY(tm_view_init(f->ctx, p, &o, v));
  TM_TRY(tm_view_add_label_frames(f->ctx, v, &o));
  if (o.relative_percentages) TM_TRY(tm_view_filter(f->ctx, v, &o));
  f->total = tm_view_total(v);
  if (!o.relative_percentages) TM_TRY(tm_view_filter(f->ctx, v, &o));
  f->type = tm_profile_text(p, p->types.items[v->value_index].type);
  f->unit = tm_profile_text(p, p->types.items[v->value_index].unit);
  tm_flatcum_options n = {.granularity = o.granularity,
                          .no_inlines = o.no_inlines,
                          .show_columns = o.show_columns,
                          .source_path = o.source_path,
                          .trim_path = o.trim_path ? o.trim_path : ""};
  TM_TRY(tm_flatcum_names(f->ctx, v, &n, &f->names));
  tm_calltree_limits limits = {.parts = PARTS, .depth_max = FLAME_DEPTH};
  TM_TRY(tm_calltree_init(f->ctx, &f->names, limits, &f->tree));
  return sort_nodes(f);
}

static tm_status write_bounded(flame *f, const form *as) {
  size_t start = f->out->size;
  for (size_t box_max = as->box_max;;) {
    TM_TRY(choose_boxes(f, box_max));
    TM_TRY(as->write(f));
    size_t made = f->out->size - start;
    if (made <= FLAME_BYTES || f->boxes.count <= 1) return TM_OK;
    f->out->size = start;
    double share = 0.9 * FLAME_BYTES / (double)made;
    box_max = (size_t)((double)f->boxes.count * share);
    if (!box_max) box_max = 1;
  }
}

tm_status tm_flame(tm_ctx *ctx, const tm_profile *profile, const tm_report_options *options,
                   const char *name, tm_bytes *out) {
  const form *as = NULL;
  for (size_t i = 0; i < TM_COUNT(forms); i++)
    if (strcmp(forms[i].name, name) == 0) as = &forms[i];
  if (!as)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                   "a flame graph is written as svg, html or json, not as \"%s\"", name);
  flame f = {.ctx = ctx, .out = out};
  tm_status status = prepare(&f, profile, options);
  if (status == TM_OK) status = write_bounded(&f, as);
  tm_vec_free(ctx, &f.boxes);
  tm_free(ctx, f.by_weight, f.by_weight_count * sizeof *f.by_weight);
  tm_calltree_fini(&f.tree);
  tm_flatcum_fini(&f.names);
  tm_view_fini(&f.view);
  return status;
}
