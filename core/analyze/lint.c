// One pass over the members each. Equal contents are found by a 64-bit hash and compared with the
// first of their hash, so that equal means equal. Fields are read from the kept dump by name.
#include "analyze/lint.h"

#include "base/hash.h"
#include "base/idmap.h"
#include "base/vec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICK = 1 << 12, ZEROS_BYTES = 16, PREVIEW_BYTES = 160, FIELD_BYTES = 128 };

// ---- equal contents ----

typedef struct same {
  uint32_t node;
  uint64_t count, waste_bytes;
  tm_contents contents;
} same;

typedef struct finder {
  tm_ctx *ctx;
  const tm_graph *g;
  const tm_domtree *t;
  tm_idmap by_hash; // hash of kind and bytes -> index of groups
  tm_idmap owners;  // of contents taken so far: what is shared counts once
  TM_VEC(same) groups;
  uint64_t contents;
} finder;

static bool is_equal(const tm_contents *a, const tm_contents *b) {
  return a->kind == b->kind && a->size_bytes == b->size_bytes
         && memcmp(a->data, b->data, a->size_bytes) == 0;
}

static tm_status take(finder *f, uint32_t node, const tm_contents *c) {
  if (tm_idmap_get(&f->owners, c->owner) != TM_IDMAP_NONE) return TM_OK;
  TM_TRY(tm_idmap_put(f->ctx, &f->owners, c->owner, 0));
  uint64_t hash = tm_hash_add(tm_hash_bytes(c->data, c->size_bytes), c->kind);
  uint32_t at = tm_idmap_get(&f->by_hash, hash);
  if (at == TM_IDMAP_NONE) {
    TM_TRY(tm_idmap_put(f->ctx, &f->by_hash, hash, (uint32_t)f->groups.count));
    return tm_vec_push(f->ctx, &f->groups, (same){node, 1, 0, *c});
  }
  same *s = &f->groups.items[at];
  if (!is_equal(&s->contents, c)) return TM_OK; // as rare as a 64-bit hash: passed over
  s->count++;
  s->waste_bytes += tm_domtree_retained(f->t, f->g, node);
  return TM_OK;
}

static tm_status take_all(finder *f, const tm_node_set *set) {
  uint32_t seen = 0;
  for (uint32_t n = tm_node_set_next(set, 0); n != TM_NODE_NONE; n = tm_node_set_next(set, n + 1)) {
    tm_contents c;
    if (++seen % TICK == 0) TM_TRY(tm_ctx_tick(f->ctx, seen));
    if (!f->g->detail->contents(f->g, n, &c)) continue;
    f->contents++;
    if (c.size_bytes) TM_TRY(take(f, n, &c));
  }
  return TM_OK;
}

static int by_waste(const void *a, const void *b) {
  const same *x = a, *y = b;
  if (x->waste_bytes != y->waste_bytes) return x->waste_bytes < y->waste_bytes ? 1 : -1;
  return x->node < y->node ? -1 : x->node > y->node;
}

static tm_status write_same(finder *f, const same *s, tm_table *out) {
  char text[PREVIEW_BYTES];
  const char *type = tm_graph_type_name(f->g, s->node);
  size_t row;
  TM_TRY(f->g->detail->preview(f->ctx, f->g, s->node, text, sizeof text));
  TM_TRY(tm_table_add_row(f->ctx, out, &row));
  tm_table_set_int(out, row, 0, s->node);
  TM_TRY(tm_table_set_text(f->ctx, out, row, 1, type, strlen(type)));
  tm_table_set_int(out, row, 2, (int64_t)s->count);
  tm_table_set_int(out, row, 3, (int64_t)s->contents.size_bytes);
  tm_table_set_int(out, row, 4, (int64_t)s->waste_bytes);
  return tm_table_set_text(f->ctx, out, row, 5, text, strlen(text));
}

static tm_status write_groups(finder *f, size_t row_count, tm_table *out) {
  static const struct {
    const char *name;
    tm_cell cell;
    tm_unit unit;
  } columns[] = {
      {"node", TM_CELL_INT, TM_UNIT_NONE},         {"type", TM_CELL_TEXT, TM_UNIT_NONE},
      {"count", TM_CELL_INT, TM_UNIT_COUNT},       {"bytes", TM_CELL_INT, TM_UNIT_BYTES},
      {"waste_bytes", TM_CELL_INT, TM_UNIT_BYTES}, {"preview", TM_CELL_TEXT, TM_UNIT_NONE}};
  uint64_t count = 0, waste = 0;
  for (size_t i = 0; i < TM_COUNT(columns); i++)
    TM_TRY(tm_table_add_column(f->ctx, out, columns[i].name, columns[i].cell, columns[i].unit));
  if (f->groups.count) qsort(f->groups.items, f->groups.count, sizeof *f->groups.items, by_waste);
  for (size_t i = 0; i < f->groups.count; i++) {
    const same *s = &f->groups.items[i];
    if (s->count < 2) continue;
    count += s->count - 1;
    waste += s->waste_bytes;
    if (!row_count || tm_table_row_count(out) < row_count) TM_TRY(write_same(f, s, out));
  }
  TM_TRY(tm_table_note_int(f->ctx, out, "count", (int64_t)count));
  TM_TRY(tm_table_note_int(f->ctx, out, "waste_bytes", (int64_t)waste));
  return tm_table_note_int(f->ctx, out, "contents", (int64_t)f->contents);
}

tm_status tm_lint_duplicates(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree,
                             const tm_node_set *set, size_t row_count, tm_table *out) {
  finder f = {.ctx = ctx, .g = g, .t = tree};
  tm_status status = TM_OK;
  if (g->detail && g->detail->contents) status = take_all(&f, set);
  if (status == TM_OK) status = write_groups(&f, row_count, out);
  tm_idmap_free(ctx, &f.by_hash);
  tm_idmap_free(ctx, &f.owners);
  tm_vec_free(ctx, &f.groups);
  return status;
}

static bool is_zero(const tm_contents *c) {
  if (c->size_bytes < ZEROS_BYTES || c->data[0]) return false;
  return memcmp(c->data, c->data + 1, c->size_bytes - 1) == 0;
}

tm_status tm_lint_zeros(tm_ctx *ctx, const tm_graph *g, const tm_node_set *set, tm_node_set *out) {
  uint32_t seen = 0;
  TM_TRY(tm_node_set_init(ctx, g, out));
  if (!g->detail || !g->detail->contents) return TM_OK;
  for (uint32_t n = tm_node_set_next(set, 0); n != TM_NODE_NONE; n = tm_node_set_next(set, n + 1)) {
    tm_contents c;
    if (g->detail->contents(g, n, &c) && is_zero(&c)) tm_node_set_add(out, n);
    if (++seen % TICK == 0 && tm_ctx_tick(ctx, seen) != TM_OK) {
      tm_node_set_fini(out);
      return TM_E_CANCELLED;
    }
  }
  return TM_OK;
}

// ---- fields ----

// Follows "a.b.c": the last is the field. false when one of them is not there.
static bool read_path(const tm_graph *g, uint32_t node, const char *path, tm_field *out) {
  char name[FIELD_BYTES];
  for (;;) {
    size_t n = strcspn(path, ".");
    if (n >= sizeof name) return false;
    memcpy(name, path, n);
    name[n] = '\0';
    if (!g->detail->field(g, node, name, out)) return false;
    if (!path[n]) return true;
    if (out->node == TM_NODE_NONE) return false;
    node = out->node;
    path += n + 1;
  }
}

// The count of elements that the array of the path has room for, and its node.
static uint64_t read_capacity(const tm_graph *g, uint32_t node, const char *path, uint32_t *array) {
  tm_field f, length;
  *array = TM_NODE_NONE;
  if (!path || !read_path(g, node, path, &f) || f.node == TM_NODE_NONE) return 0;
  if (!g->detail->field(g, f.node, "[]", &length) || length.number < 0) return 0;
  *array = f.node;
  return (uint64_t)length.number;
}

// The sum of the field over the elements of the array at the path "cells.value".
static int64_t sum_cells(const tm_graph *g, uint32_t node, const char *path) {
  char name[FIELD_BYTES];
  size_t n = strcspn(path, ".");
  tm_field cells, value;
  int64_t sum = 0;
  if (!path[n] || n >= sizeof name) return 0;
  memcpy(name, path, n);
  name[n] = '\0';
  if (!g->detail->field(g, node, name, &cells) || cells.node == TM_NODE_NONE) return 0;
  for (uint32_t e = g->edge_begin[cells.node]; e < g->edge_begin[cells.node + 1]; e++)
    if (g->detail->field(g, g->edge_to[e], path + n + 1, &value)) sum += value.number;
  return sum;
}

// The count of elements by the words of tm_lint_fill_ratios; false when a field is not there.
static bool read_size(const tm_graph *g, uint32_t node, const char *words, const char *array_field,
                      int64_t *out) {
  char first[FIELD_BYTES];
  size_t n = strcspn(words, "+-");
  tm_field size, other;
  if (n >= sizeof first) return false;
  memcpy(first, words, n);
  first[n] = '\0';
  if (!read_path(g, node, first, &size)) return false;
  *out = size.number;
  if (words[n] == '+') *out += sum_cells(g, node, words + n + 1);
  if (words[n] != '-') return true;
  if (!read_path(g, node, words + n + 1, &other)) return false;
  *out -= other.number;
  uint32_t array;
  if (*out < 0) *out += (int64_t)read_capacity(g, node, array_field, &array);
  return true;
}

static void add_collection(const tm_graph *g, const tm_domtree *t, uint32_t node, uint64_t size,
                           const char *array_field, tm_lint_fill *out) {
  uint32_t array;
  uint64_t capacity = read_capacity(g, node, array_field, &array), waste = 0;
  out->count++;
  out->elements += size;
  out->capacity += capacity;
  if (!size) {
    out->empty_count++;
    waste = tm_domtree_retained(t, g, node);
    out->empty_bytes += waste;
  } else if (capacity > size) {
    out->sparse_count += capacity >= 8 && size < capacity / 4;
    double unused = (double)(capacity - size) / (double)capacity;
    waste = (uint64_t)((double)tm_graph_size(g, array) * unused);
  }
  out->waste_bytes += waste;
  if (waste <= out->example_bytes) return;
  out->example = node;
  out->example_bytes = waste;
}

tm_status tm_lint_fill_ratios(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree,
                              const tm_node_set *set, const char *size_field,
                              const char *array_field, tm_lint_fill *out) {
  uint32_t seen = 0;
  *out = (tm_lint_fill){.example = TM_NODE_NONE};
  if (!g->detail || !g->detail->field) return TM_OK;
  for (uint32_t n = tm_node_set_next(set, 0); n != TM_NODE_NONE; n = tm_node_set_next(set, n + 1)) {
    int64_t size;
    if (read_size(g, n, size_field, array_field, &size) && size >= 0)
      add_collection(g, tree, n, (uint64_t)size, array_field, out);
    if (++seen % TICK == 0) TM_TRY(tm_ctx_tick(ctx, seen));
  }
  return TM_OK;
}

static tm_status count_values(tm_ctx *ctx, const tm_graph *g, const tm_node_set *set,
                              const char *name, tm_idmap *values, uint64_t *out_count) {
  uint32_t seen = 0;
  for (uint32_t n = tm_node_set_next(set, 0); n != TM_NODE_NONE; n = tm_node_set_next(set, n + 1)) {
    tm_field f;
    if (++seen % TICK == 0) TM_TRY(tm_ctx_tick(ctx, seen));
    if (!g->detail->field(g, n, name, &f)) continue;
    TM_TRY(tm_idmap_put(ctx, values, (uint64_t)f.number, 0));
    ++*out_count;
  }
  return TM_OK;
}

tm_status tm_lint_values(tm_ctx *ctx, const tm_graph *g, const tm_node_set *set, const char *field,
                         uint64_t *out_count, uint64_t *out_different) {
  tm_idmap values = {0};
  uint64_t count = 0;
  tm_status status = TM_OK;
  if (g->detail && g->detail->field) status = count_values(ctx, g, set, field, &values, &count);
  *out_count = count;
  *out_different = values.count;
  tm_idmap_free(ctx, &values);
  return status;
}

// ---- classes and references ----

typedef struct class_sum {
  uint32_t name, loaders;
  uint64_t count, retained_bytes;
  const char *text;
} class_sum;

static int by_loaders(const void *a, const void *b) {
  const class_sum *x = a, *y = b;
  if (x->loaders != y->loaders) return x->loaders < y->loaders ? 1 : -1;
  return strcmp(x->text, y->text);
}

// sums[k] for every name that types have, in any order. Types without a class object are no
// classes.
static tm_status sum_classes(tm_ctx *ctx, const tm_graph *g, const tm_domtree *t, tm_idmap *index,
                             class_sum *sums, uint32_t *of_type, uint32_t *out_count) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < g->types.count; i++) {
    const tm_type *type = &g->types.items[i];
    uint32_t at = tm_idmap_get(index, type->name);
    if (at == TM_IDMAP_NONE) {
      at = count++;
      sums[at] = (class_sum){.name = type->name, .text = tm_graph_text(g, type->name)};
      TM_TRY(tm_idmap_put(ctx, index, type->name, at));
    }
    of_type[i] = at;
    if (type->node == TM_NODE_NONE) continue;
    sums[at].loaders++;
    if (type->loader != TM_NODE_NONE)
      sums[at].retained_bytes += tm_domtree_retained(t, g, type->loader);
  }
  for (uint32_t n = 0; n < g->node_count; n++) sums[of_type[g->type[n]]].count++;
  qsort(sums, count, sizeof *sums, by_loaders);
  *out_count = count;
  return TM_OK;
}

static tm_status write_classes(tm_ctx *ctx, const class_sum *sums, uint32_t count, tm_table *out) {
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "loaders", TM_CELL_INT, TM_UNIT_COUNT));
  TM_TRY(tm_table_add_column(ctx, out, "count", TM_CELL_INT, TM_UNIT_COUNT));
  TM_TRY(tm_table_add_column(ctx, out, "retained_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  for (uint32_t i = 0; i < count && sums[i].loaders > 1; i++) {
    size_t row;
    TM_TRY(tm_table_add_row(ctx, out, &row));
    TM_TRY(tm_table_set_text(ctx, out, row, 0, sums[i].text, strlen(sums[i].text)));
    tm_table_set_int(out, row, 1, sums[i].loaders);
    tm_table_set_int(out, row, 2, (int64_t)sums[i].count);
    tm_table_set_int(out, row, 3, (int64_t)sums[i].retained_bytes);
  }
  return TM_OK;
}

tm_status tm_lint_classes(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree, tm_table *out) {
  size_t n = g->types.count + 1;
  tm_idmap index = {0};
  uint32_t count = 0;
  class_sum *sums = tm_calloc(ctx, n, sizeof *sums);
  uint32_t *of_type = tm_calloc(ctx, n, sizeof *of_type);
  tm_status status =
      sums && of_type ? sum_classes(ctx, g, tree, &index, sums, of_type, &count) : TM_E_NOMEM;
  if (status == TM_OK) status = write_classes(ctx, sums, count, out);
  tm_free(ctx, sums, n * sizeof *sums);
  tm_free(ctx, of_type, n * sizeof *of_type);
  tm_idmap_free(ctx, &index);
  return status;
}

typedef struct reference_sum {
  uint64_t count, cleared, only_count, only_bytes;
} reference_sum;

static void add_reference(const tm_graph *g, const tm_domtree *t, uint32_t node, reference_sum *s) {
  tm_field referent;
  bool told = g->detail && g->detail->field && g->detail->field(g, node, "referent", &referent);
  s->count++;
  if (told && referent.node == TM_NODE_NONE) {
    s->cleared++;
  } else if (told && !t->number[referent.node]) {
    s->only_count++;
    s->only_bytes += tm_graph_size(g, referent.node);
  }
}

static tm_status write_references(tm_ctx *ctx, const tm_graph *g, const reference_sum *sums,
                                  tm_table *out) {
  static const char *const strengths[] = {"strong", "soft", "weak", "final", "phantom"};
  static const char *const names[] = {"count", "cleared_count", "only_count"};
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "strength", TM_CELL_TEXT, TM_UNIT_NONE));
  for (size_t i = 0; i < TM_COUNT(names); i++)
    TM_TRY(tm_table_add_column(ctx, out, names[i], TM_CELL_INT, TM_UNIT_COUNT));
  TM_TRY(tm_table_add_column(ctx, out, "only_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  for (size_t i = 0; i < g->types.count; i++) {
    const tm_type *type = &g->types.items[i];
    const char *name = tm_graph_text(g, type->name), *strength = strengths[type->strength];
    size_t row;
    if (!sums[i].count) continue;
    TM_TRY(tm_table_add_row(ctx, out, &row));
    TM_TRY(tm_table_set_text(ctx, out, row, 0, name, strlen(name)));
    TM_TRY(tm_table_set_text(ctx, out, row, 1, strength, strlen(strength)));
    tm_table_set_int(out, row, 2, (int64_t)sums[i].count);
    tm_table_set_int(out, row, 3, (int64_t)sums[i].cleared);
    tm_table_set_int(out, row, 4, (int64_t)sums[i].only_count);
    tm_table_set_int(out, row, 5, (int64_t)sums[i].only_bytes);
  }
  return TM_OK;
}

tm_status tm_lint_references(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree,
                             tm_table *out) {
  size_t n = g->types.count + 1;
  reference_sum *sums = tm_calloc(ctx, n, sizeof *sums);
  if (!sums) return TM_E_NOMEM;
  for (uint32_t i = 0; i < g->node_count; i++)
    if (g->types.items[g->type[i]].strength != TM_STRENGTH_STRONG)
      add_reference(g, tree, i, &sums[g->type[i]]);
  tm_status status = write_references(ctx, g, sums, out);
  tm_free(ctx, sums, n * sizeof *sums);
  return status;
}
