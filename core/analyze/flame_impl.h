// What the writers of flame graphs share; nobody else includes it.
#ifndef TM_ANALYZE_FLAME_IMPL_H
#define TM_ANALYZE_FLAME_IMPL_H

#include "analyze/calltree.h"
#include "analyze/flame.h"

enum { FLAME_NAME_BYTES = 240, FLAME_DEPTH = 500, FLAME_BYTES = 300000 };

// A node that is shown, in the order of drawing: a parent, then its children, heaviest first.
typedef struct flame_box {
  uint32_t node;      // of the call tree
  uint32_t depth;     // 0 = the root
  uint32_t children;  // that are shown
  uint64_t left;      // weight of what stands left of it
  int64_t folded_cum; // of its children that are not shown
} flame_box;

typedef struct flame {
  tm_ctx *ctx;
  tm_bytes *out;
  tm_view view;
  tm_flatcum names;
  tm_calltree tree;
  uint32_t *by_weight; // nodes of the tree, heaviest first, parents before children
  size_t by_weight_count;
  TM_VEC(flame_box) boxes;
  int64_t total;
  const char *type, *unit;
} flame;

static inline const tm_call_node *flame_node(const flame *f, size_t box) {
  return &f->tree.nodes.items[f->boxes.items[box].node];
}

// The name of a box, cut to FLAME_NAME_BYTES; size_bytes tells its length.
tm_status flame_name(flame *f, size_t box, const char **out, size_t *size_bytes);

// Text inside XML, or inside a JSON string that may stand in a page's script. What is no UTF-8 or a
// control becomes U+FFFD.
tm_status flame_put_xml(flame *f, const char *text, size_t size_bytes);
tm_status flame_put_json(flame *f, const char *text, size_t size_bytes);

// Hue (degrees) of a function's package: the same for every function of it, in every profile.
uint32_t flame_hue(const char *name, size_t size_bytes);

tm_status flame_json(flame *f);
tm_status flame_svg(flame *f);
tm_status flame_html(flame *f);

#define FLAME_PRINT(f, ...) TM_TRY(tm_bytes_printf((f)->ctx, (f)->out, __VA_ARGS__))

#endif
