// What is kept of a JVM heap dump, to an index and back: where its objects, strings and classes lie
// in the file, and how instances are laid out. Offsets into the file are checked when they are
// used, places within an instance here.
#include "model/columns.h"
#include "read/hprof_impl.h"

static bool strings_fit(const hprof *h) {
  for (size_t i = 0; i < h->string_at.count; i++) {
    uint64_t at = h->string_at.items[i];
    if (at < 4 || at >= h->size) return false;
    uint64_t length = hprof_be32(h->data + at - 4);
    if (length < h->id_bytes || length > h->size - at) return false;
  }
  return true;
}

static bool indexes_fit(const tm_idmap *map, size_t count) {
  for (size_t i = 0; i < map->slot_count; i++)
    if (map->values[i] != TM_IDMAP_NONE && map->values[i] >= count) return false;
  return true;
}

// The fields of a class and of those above it: in all as many bytes as it says.
static bool fields_fit(const hprof *h, const hprof_class *c) {
  uint64_t bytes = 0;
  for (const hprof_class *up = c;;) {
    if (up->field_begin > up->field_end || up->field_end > h->fields.count) return false;
    for (uint32_t f = up->field_begin; f < up->field_end; f++)
      bytes += hprof_value_bytes(h, h->fields.items[f].type);
    if (up->super == UINT32_MAX) break;
    if (up->super >= h->classes.count || h->classes.items[up->super].depth >= up->depth)
      return false;
    up = &h->classes.items[up->super];
  }
  return bytes == c->field_bytes;
}

static bool class_fits(const hprof *h, const hprof_class *c) {
  const bool *flags[] = {&c->laid_out, &c->laying_out, &c->is_measured, &c->is_grown};
  for (size_t i = 0; i < TM_COUNT(flags); i++)
    if (*(const uint8_t *)flags[i] > 1) return false;
  if (c->strength > TM_STRENGTH_PHANTOM) return false;
  if (c->type >= h->graph->types.count || c->ref_begin > c->ref_end) return false;
  if (c->ref_end > h->refs.count || !fields_fit(h, c)) return false;
  if (c->strength != TM_STRENGTH_STRONG && c->ref_begin == c->ref_end) return false;
  for (uint32_t r = c->ref_begin; r < c->ref_end; r++)
    if (c->field_bytes < h->id_bytes || h->refs.items[r] > c->field_bytes - h->id_bytes)
      return false;
  return true;
}

static bool layout_fits(const hprof *h) {
  for (size_t i = 0; i < h->fields.count; i++)
    if (!hprof_value_bytes(h, h->fields.items[i].type)) return false;
  for (size_t i = 0; i < h->classes.count; i++)
    if (!class_fits(h, &h->classes.items[i])) return false;
  return true;
}

tm_status hprof_columns(tm_columns *c, tm_graph *g) {
  hprof *h = g->kept;
  struct {
    uint32_t id_bytes, oop_bytes, header_bytes, align;
    uint32_t android, heap_count;
    uint64_t sites_at;
    hprof_problem problems[HPROF_PROBLEMS];
  } head = {h->id_bytes, h->oop_bytes,  h->header_bytes, h->align,
            h->android,  h->heap_count, h->sites_at,     {{0}}};
  memcpy(head.problems, h->problems, sizeof head.problems);
  TM_TRY(tm_columns_value(c, &head, sizeof head));
  if (head.id_bytes != 4 && head.id_bytes != 8) return tm_columns_damaged(c, "ids of odd size");
  h->id_bytes = head.id_bytes;
  h->oop_bytes = head.oop_bytes;
  h->header_bytes = head.header_bytes;
  h->align = head.align;
  h->android = head.android != 0;
  if (head.heap_count > HPROF_HEAPS_MAX) return tm_columns_damaged(c, "too many heaps");
  h->heap_count = head.heap_count;
  h->sites_at = head.sites_at;
  memcpy(h->problems, head.problems, sizeof h->problems);
  TM_TRY(tm_columns_value(c, h->heap_names, sizeof h->heap_names));
  TM_TRY(tm_columns_vec(c, &h->place_at));
  TM_TRY(tm_columns_idmap(c, &h->frame_index));
  TM_TRY(tm_columns_idmap(c, &h->trace_index));
  TM_TRY(tm_columns_idmap(c, &h->class_serials));
  TM_TRY(tm_columns_vec(c, &h->string_at));
  TM_TRY(tm_columns_idmap(c, &h->strings));
  TM_TRY(tm_columns_vec(c, &h->classes));
  TM_TRY(tm_columns_idmap(c, &h->class_index));
  TM_TRY(tm_columns_vec(c, &h->fields));
  TM_TRY(tm_columns_vec(c, &h->refs));
  TM_TRY(tm_columns_rank(c, &h->rank, g->node_count));
  TM_TRY(tm_columns_array(c, (void **)&h->at_low, g->node_count, sizeof *h->at_low));
  TM_TRY(tm_columns_array(c, (void **)&h->at_high, g->node_count, 1));
  if (!c->taking) return TM_OK;
  if (!strings_fit(h) || !indexes_fit(&h->strings, h->string_at.count)
      || !indexes_fit(&h->class_serials, h->string_at.count))
    return tm_columns_damaged(c, "a string lies outside of the dump");
  if (!layout_fits(h) || !indexes_fit(&h->class_index, h->classes.count))
    return tm_columns_damaged(c, "a class is of no sense");
  return TM_OK;
}

tm_status hprof_restore(tm_ctx *ctx, const tm_source *src, tm_graph **out) {
  hprof *h = tm_calloc(ctx, 1, sizeof *h);
  if (!h) return TM_E_NOMEM;
  tm_status status = tm_graph_new(ctx, &h->graph);
  if (status != TM_OK) {
    tm_free(ctx, h, sizeof *h);
    return status;
  }
  h->data = src->data;
  h->size = src->size;
  for (size_t i = 0; i < HPROF_TYPES; i++) h->array_class[i] = UINT32_MAX;
  h->graph->kept = h;
  h->graph->detail = &hprof_detail;
  h->graph->id_word = "address";
  *out = h->graph;
  return TM_OK;
}
