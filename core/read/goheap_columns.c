// What is kept of a Go heap dump, to an index and back. Records are told by where they begin in the
// file; they are read with checks again whenever somebody looks at them.
#include "model/columns.h"
#include "read/goheap_impl.h"

// A goheap_segment with places instead of pointers.
typedef struct segment_row {
  uint64_t address, contents_at, size, fields_at, first_root;
} segment_row;

static tm_status take_segments(tm_columns *c, goheap *h, const segment_row *rows, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const segment_row *r = &rows[i];
    if (r->contents_at > h->size || r->size > h->size - r->contents_at || r->fields_at > h->size)
      return tm_columns_damaged(c, "globals lie outside of the dump");
    goheap_segment s = {r->address,
                        {h->data + r->contents_at, (size_t)r->size},
                        h->data + r->fields_at,
                        (size_t)r->first_root};
    TM_TRY(tm_vec_push(c->ctx, &h->segments, s));
  }
  return TM_OK;
}

static tm_status segments(tm_columns *c, goheap *h) {
  TM_VEC(segment_row) rows = {0};
  tm_status status = TM_OK;
  for (size_t i = 0; status == TM_OK && !c->taking && i < h->segments.count; i++) {
    const goheap_segment *s = &h->segments.items[i];
    segment_row row = {s->address, (uint64_t)(s->contents.data - h->data), s->contents.size,
                       (uint64_t)(s->fields - h->data), s->first_root};
    status = tm_vec_push(c->ctx, &rows, row);
  }
  if (status == TM_OK) status = tm_columns_vec(c, &rows);
  if (status == TM_OK && c->taking) status = take_segments(c, h, rows.items, rows.count);
  tm_vec_free(c->ctx, &rows);
  return status;
}

static bool below(const uint64_t *items, size_t count, uint64_t limit) {
  uint64_t greatest = 0;
  for (size_t i = 0; i < count; i++) greatest = items[i] > greatest ? items[i] : greatest;
  return !count || greatest < limit;
}

static bool indexes_fit(const tm_idmap *map, size_t count) {
  for (size_t i = 0; i < map->slot_count; i++)
    if (map->values[i] != TM_IDMAP_NONE && map->values[i] >= count) return false;
  return true;
}

static bool all_fit(const goheap *h) {
  const tm_graph *g = h->graph;
  for (size_t i = 0; i < h->held.count; i++)
    if (h->held.items[i].value >= g->roots.count) return false;
  for (size_t i = 0; i < h->finalized.count; i++)
    if (h->finalized.items[i] >= g->node_count) return false;
  return below(h->at, g->node_count, h->size) && below(h->buckets.items, h->buckets.count, h->size)
         && indexes_fit(&h->itabs, h->itab_types.count)
         && indexes_fit(&h->type_of_name, g->types.count);
}

static tm_status facts(tm_columns *c, goheap *h) {
  struct {
    uint32_t pointer_bytes, go_minor, reserve_bytes, big_endian;
    char version[sizeof h->version];
  } head = {h->pointer_bytes, h->go_minor, h->reserve_bytes, h->big_endian, ""};
  memcpy(head.version, h->version, sizeof head.version);
  TM_TRY(tm_columns_value(c, &head, sizeof head));
  if (head.pointer_bytes != 4 && head.pointer_bytes != 8)
    return tm_columns_damaged(c, "pointers of odd size");
  h->pointer_bytes = head.pointer_bytes;
  h->go_minor = head.go_minor;
  h->reserve_bytes = head.reserve_bytes;
  h->big_endian = head.big_endian != 0;
  head.version[sizeof head.version - 1] = '\0';
  memcpy(h->version, head.version, sizeof head.version);
  return TM_OK;
}

tm_status goheap_columns(tm_columns *c, tm_graph *g) {
  goheap *h = g->kept;
  if (!c->taking && h->types)
    return tm_fail(c->ctx, TM_E_ARG, TM_NO_OFFSET, "an index is made before types are named");
  TM_TRY(facts(c, h));
  TM_TRY(tm_columns_rank(c, &h->rank, g->node_count));
  TM_TRY(tm_columns_array(c, (void **)&h->at, g->node_count, sizeof *h->at));
  TM_TRY(tm_columns_vec(c, &h->held));
  TM_TRY(segments(c, h));
  TM_TRY(tm_columns_vec(c, &h->buckets));
  TM_TRY(tm_columns_idmap(c, &h->itabs));
  TM_TRY(tm_columns_vec(c, &h->itab_types));
  TM_TRY(tm_columns_vec(c, &h->finalized));
  TM_TRY(tm_columns_idmap(c, &h->type_of_name));
  if (c->taking && !all_fit(h)) return tm_columns_damaged(c, "a record is of no sense");
  return TM_OK;
}

tm_status goheap_restore(tm_ctx *ctx, const tm_source *src, tm_graph **out) {
  goheap *h = tm_calloc(ctx, 1, sizeof *h);
  if (!h) return TM_E_NOMEM;
  tm_status status = tm_graph_new(ctx, &h->graph);
  if (status != TM_OK) {
    tm_free(ctx, h, sizeof *h);
    return status;
  }
  h->data = src->data;
  h->size = src->size;
  h->goroutine = TM_NODE_NONE;
  h->graph->kept = h;
  h->graph->detail = &goheap_detail;
  h->graph->id_word = "address";
  *out = h->graph;
  return TM_OK;
}
