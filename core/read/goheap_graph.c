// The graph of a Go heap dump: roots from the records of goroutines, globals and finalizers, then
// sizes, types and edges of all objects in the order of their addresses. A goroutine is the object
// of its runtime.g: it is a root, and what its frames hold hangs on it, so that it dominates that.
#include "read/goheap_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { TICK_OBJECTS = 1 << 16 };

uint32_t goheap_find(const goheap *h, uint64_t address) {
  uint32_t node = tm_addr_rank_get(&h->rank, address);
  if (node != TM_ADDR_NONE) return node;
  goheap_object o;
  node = tm_addr_rank_floor(&h->rank, address);
  if (node == TM_ADDR_NONE || !goheap_object_of(h, node, &o)) return TM_NODE_NONE;
  return address - o.address < o.contents.size ? node : TM_NODE_NONE;
}

static tm_status intern(goheap *h, const char *text, uint32_t *out) {
  return tm_strtab_intern(h->ctx, &h->graph->strings, text, strlen(text), out);
}

// ---- roots ----

tm_status goheap_add_root(goheap *h, uint64_t pointer, tm_root_kind kind, const char *label) {
  uint32_t node = goheap_find(h, pointer);
  if (node == TM_NODE_NONE) return TM_OK;
  tm_root root = {.node = node, .thread = TM_NODE_NONE, .kind = (uint8_t)kind};
  TM_TRY(intern(h, label, &root.label));
  return tm_vec_push(h->ctx, &h->graph->roots, root);
}

static tm_status add_globals(goheap *h, const goheap_record *r) {
  char label[64];
  uint64_t offset;
  TM_TRY(tm_vec_push(h->ctx, &h->segments,
                     (goheap_segment){r->number[0], r->text[0], r->fields, h->graph->roots.count}));
  goheap_slots slots = goheap_slots_of(h, r->fields, r->text[0].size);
  while (goheap_next_slot(&slots, &offset)) {
    snprintf(label, sizeof label, "%s+0x%" PRIx64 " (0x%" PRIx64 ")",
             r->tag == GOHEAP_DATA ? "data" : "bss", offset, r->number[0] + offset);
    TM_TRY(goheap_add_root(h, goheap_pointer(h, r->text[0].data + offset), TM_ROOT_STATIC, label));
  }
  return TM_OK;
}

static tm_status add_finalizer(goheap *h, const goheap_record *r) {
  TM_TRY(goheap_add_root(h, r->number[1], TM_ROOT_FINALIZER, "finalizer's function"));
  if (r->tag != GOHEAP_QUEUED) {
    uint32_t node = goheap_find(h, r->number[0]);
    return node == TM_NODE_NONE ? TM_OK : tm_vec_push(h->ctx, &h->finalized, node);
  }
  return goheap_add_root(h, r->number[0], TM_ROOT_FINALIZER, "waits for its finalizer");
}

static tm_status add_type(goheap *h, const goheap_record *r) {
  uint32_t id;
  size_t size = r->text[0].size;
  if (!size || size > UINT16_MAX) return TM_OK;
  TM_TRY(tm_strtab_intern(h->ctx, &h->graph->strings, r->text[0].data, size, &id));
  return tm_idmap_put(h->ctx, &h->type_names, r->number[0], id);
}

static tm_status add_other_root(goheap *h, const goheap_record *r) {
  char label[128];
  snprintf(label, sizeof label, "%.*s", r->text[0].size > 100 ? 100 : (int)r->text[0].size,
           (const char *)r->text[0].data);
  return goheap_add_root(h, r->number[0], TM_ROOT_OTHER, label);
}

static tm_status add_record(goheap *h, const goheap_record *r, uint64_t at) {
  switch (r->tag) {
  case GOHEAP_ROOT:
    return add_other_root(h, r);
  case GOHEAP_TYPE:
    return add_type(h, r);
  case GOHEAP_GOROUTINE:
    return goheap_open_goroutine(h, r);
  case GOHEAP_FRAME:
    return goheap_add_frame(h, r);
  case GOHEAP_FINALIZER:
  case GOHEAP_QUEUED:
    return add_finalizer(h, r);
  case GOHEAP_DATA:
  case GOHEAP_BSS:
    return add_globals(h, r);
  case GOHEAP_DEFER:
  case GOHEAP_PANIC:
    return goheap_add_call(h, r);
  case GOHEAP_BUCKET:
    TM_TRY(tm_vec_push(h->ctx, &h->buckets, at));
    return goheap_add_bucket(h, at);
  case GOHEAP_SAMPLE:
    return goheap_add_sample(h, r->number[0], r->number[1]);
  default:
    return TM_OK;
  }
}

static int by_node(const void *a, const void *b) {
  const goheap_mark *x = a, *y = b;
  if (x->node != y->node) return x->node < y->node ? -1 : 1;
  return x->value < y->value ? -1 : x->value > y->value;
}

static tm_status add_records(goheap *h) {
  for (size_t i = 0; i < h->others.count; i++) {
    uint64_t at = h->others.items[i];
    goheap_record r = {0};
    wire w = wire_of(h->data + at, h->size - at);
    if (goheap_read_record(&w, &r)) TM_TRY(add_record(h, &r, at));
    if (h->graph->roots.count >= UINT32_MAX)
      return tm_fail(h->ctx, TM_E_LIMIT, at, "more than 2^32 roots");
    if (i % TICK_OBJECTS == 0) TM_TRY(tm_ctx_tick(h->ctx, at));
  }
  TM_TRY(goheap_close_goroutine(h));
  goheap_count_waits(h);
  tm_vec_free(h->ctx, &h->frames);
  tm_vec_free(h->ctx, &h->others);
  if (h->held.count) qsort(h->held.items, h->held.count, sizeof *h->held.items, by_node);
  if (h->names.count) qsort(h->names.items, h->names.count, sizeof *h->names.items, by_node);
  return TM_OK;
}

// ---- objects ----

// Where the next edge goes, and the marks that are still ahead.
typedef struct filler {
  uint32_t edges;
  size_t held, name;
} filler;

static tm_status fill_object(goheap *h, filler *f, uint32_t node) {
  tm_graph *g = h->graph;
  goheap_object o;
  uint64_t offset;
  if (!goheap_object_of(h, node, &o)) return TM_OK;
  TM_TRY(tm_graph_set_size(h->ctx, g, node, o.contents.size));
  goheap_slots slots = goheap_slots_of(h, o.fields, o.contents.size);
  while (goheap_next_slot(&slots, &offset)) {
    uint64_t pointer = goheap_pointer(h, o.contents.data + offset);
    uint32_t to = pointer ? goheap_find(h, pointer) : TM_NODE_NONE;
    if (to != TM_NODE_NONE) g->edge_to[f->edges++] = to;
  }
  for (; f->held < h->held.count && h->held.items[f->held].node == node; f->held++)
    g->edge_to[f->edges++] = g->roots.items[h->held.items[f->held].value].node;
  g->edge_begin[node + 1] = f->edges;
  if (f->name == h->names.count || h->names.items[f->name].node != node)
    return goheap_type_of(h, &o, slots.w.at, &g->type[node]);
  TM_TRY(goheap_type_named(h, h->names.items[f->name].value, &g->type[node]));
  while (f->name < h->names.count && h->names.items[f->name].node == node) f->name++;
  return TM_OK;
}

static tm_status fill_objects(goheap *h) {
  tm_graph *g = h->graph;
  filler f = {0};
  uint64_t most = h->pointer_count + h->held.count;
  if (most >= UINT32_MAX)
    return tm_fail(h->ctx, TM_E_LIMIT, TM_NO_OFFSET, "more than 2^32 references");
  TM_TRY(tm_graph_alloc_nodes(h->ctx, g, h->rank.count));
  g->edge_to = tm_alloc(h->ctx, (size_t)(most + !most) * sizeof *g->edge_to);
  if (!g->edge_to) return TM_E_NOMEM;
  g->edge_count = (uint32_t)most;
  for (uint32_t node = 0; node < g->node_count; node++) {
    TM_TRY(fill_object(h, &f, node));
    if (node % TICK_OBJECTS == 0) TM_TRY(tm_ctx_tick(h->ctx, h->at[node]));
  }
  size_t old = (size_t)(most + !most) * sizeof *g->edge_to;
  uint32_t *smaller =
      tm_realloc(h->ctx, g->edge_to, old, ((size_t)f.edges + !f.edges) * sizeof *g->edge_to);
  if (!smaller) return TM_E_NOMEM;
  g->edge_to = smaller;
  g->edge_count = f.edges;
  return TM_OK;
}

enum { GLOBAL_RECORDS = 2 }; // data and bss

// Globals come behind objects and goroutines. A cut dump that lacks them has lost nearly all of its
// roots: what no object refers to stands in.
static tm_status assume_roots(goheap *h) {
  tm_graph *g = h->graph;
  if (h->segments.count >= GLOBAL_RECORDS || !h->out->partial) return TM_OK;
  bool *referred = tm_calloc(h->ctx, g->node_count, sizeof *referred);
  if (!referred) return TM_E_NOMEM;
  for (uint32_t e = 0; e < g->edge_count; e++) referred[g->edge_to[e]] = true;
  for (size_t i = 0; i < g->roots.count; i++) referred[g->roots.items[i].node] = true;
  tm_status status = TM_OK;
  for (uint32_t node = 0; status == TM_OK && node < g->node_count; node++) {
    tm_root root = {.node = node, .thread = TM_NODE_NONE, .kind = TM_ROOT_ASSUMED};
    if (!referred[node]) status = tm_vec_push(h->ctx, &g->roots, root);
  }
  tm_free(h->ctx, referred, g->node_count * sizeof *referred);
  return status;
}

tm_status goheap_fill_graph(goheap *h) {
  TM_TRY(add_records(h));
  TM_TRY(fill_objects(h));
  tm_vec_free(h->ctx, &h->names);
  return assume_roots(h);
}
