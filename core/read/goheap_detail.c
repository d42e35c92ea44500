// One object of a Go heap dump, decoded again from the file: its words by offset, what its edges
// are called, and the letters of one without pointers.
#include "read/goheap_impl.h"

#include <inttypes.h>
#include <stdio.h>

static goheap *of(const tm_graph *g) {
  return g->kept;
}

static uint64_t node_id(const tm_graph *g, uint32_t node) {
  goheap_object o;
  return goheap_object_of(of(g), node, &o) ? o.address : 0;
}

static uint32_t find_node(const tm_graph *g, uint64_t id) {
  return goheap_find(of(g), id);
}

static tm_status no_object(tm_ctx *ctx, uint32_t node) {
  return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
}

// ---- edges ----

// The label of the root that the goroutine holds as its wanted-th, or NULL.
static const char *held_label(const tm_graph *g, uint32_t node, uint32_t wanted) {
  const goheap *h = of(g);
  size_t low = 0, high = h->held.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (h->held.items[middle].node < node)
      low = middle + 1;
    else
      high = middle;
  }
  if (wanted >= h->held.count - low || h->held.items[low + wanted].node != node) return NULL;
  return tm_graph_text(g, g->roots.items[h->held.items[low + wanted].value].label);
}

// A place in an object: by fields and elements when its type is known, else "+16".
static void write_slot(const goheap *h, uint32_t node, const goheap_object *o, uint64_t offset,
                       char *out, size_t size) {
  uint32_t type = h->typed ? h->typed[node] : TM_GO_NO_TYPE;
  uint64_t header = h->typed && goheap_header_of(h, o) ? GOHEAP_HEADER_BYTES : 0;
  snprintf(out, size, "+%" PRIu64, offset);
  if (type >= (h->types ? h->types->types.count : 0) || offset < header) return;
  uint64_t one = h->types->types.items[type].size, in = offset - header;
  int n = 0;
  char place[256];
  if (!one) return;
  if ((o->contents.size - header) / one > 1)
    n = snprintf(place, sizeof place, "[%" PRIu64 "]", in / one);
  goheap_write_place(h, type, in % one, place + n, sizeof place - (size_t)n);
  if (*place || n) snprintf(out, size, "%s", place);
}

static tm_status edge_name(tm_ctx *ctx, const tm_graph *g, uint32_t node, uint32_t index, char *out,
                           size_t size) {
  const goheap *h = of(g);
  goheap_object o;
  uint64_t offset;
  if (!goheap_object_of(h, node, &o)) return no_object(ctx, node);
  goheap_slots slots = goheap_slots_of(h, o.fields, o.contents.size);
  uint32_t at = 0;
  while (goheap_next_slot(&slots, &offset)) {
    if (goheap_find(h, goheap_pointer(h, o.contents.data + offset)) == TM_NODE_NONE) continue;
    if (at++ < index) continue;
    write_slot(h, node, &o, offset, out, size);
    return TM_OK;
  }
  const char *label = held_label(g, node, index - at);
  snprintf(out, size, "%s", label ? label : "");
  return TM_OK;
}

enum { UNTYPED_FIELDS = 32 }; // an object of more words without a type is an array

// By the offset within a value, or within one of an array's. What a goroutine holds has own names.
static uint32_t places(const tm_graph *g, uint32_t node, uint32_t *out, uint32_t room) {
  const goheap *h = of(g);
  goheap_object o;
  uint64_t offset;
  if (!goheap_object_of(h, node, &o)) return 0;
  uint32_t type = h->typed ? h->typed[node] : TM_GO_NO_TYPE, n = 0;
  bool typed = h->types && type < h->types->types.count && h->types->types.items[type].size;
  uint64_t header = h->typed && goheap_header_of(h, &o) ? GOHEAP_HEADER_BYTES : 0;
  uint64_t element = typed ? h->types->types.items[type].size : o.contents.size;
  bool elements = !typed && o.contents.size > (uint64_t)UNTYPED_FIELDS * h->pointer_bytes;
  goheap_slots slots = goheap_slots_of(h, o.fields, o.contents.size);
  while (n < room && goheap_next_slot(&slots, &offset)) {
    if (goheap_find(h, goheap_pointer(h, o.contents.data + offset)) == TM_NODE_NONE) continue;
    uint64_t in = offset < header ? offset : (offset - header) % element;
    out[n++] = elements ? TM_PLACE_ELEMENT : (uint32_t)(1 + in / h->pointer_bytes);
  }
  return n;
}

// ---- fields ----

enum { ROWS_MAX = 100000 }; // of an object that is shown

static tm_status add_row(tm_ctx *ctx, const tm_graph *g, const char *name, uint64_t value,
                         bool pointer, tm_table *out) {
  char text[32];
  size_t row;
  uint32_t node = pointer ? goheap_find(of(g), value) : TM_NODE_NONE;
  const char *type = node != TM_NODE_NONE ? tm_graph_type_name(g, node)
                     : pointer            ? "pointer"
                                          : "word";
  int text_size = pointer && !value ? snprintf(text, sizeof text, "nil")
                                    : snprintf(text, sizeof text, "0x%" PRIx64, value);
  TM_TRY(tm_table_add_row(ctx, out, &row));
  TM_TRY(tm_table_set_text(ctx, out, row, 0, name, strlen(name)));
  TM_TRY(tm_table_set_text(ctx, out, row, 1, type, strlen(type)));
  TM_TRY(tm_table_set_text(ctx, out, row, 2, text, (size_t)text_size));
  tm_table_set_int(out, row, 3, node == TM_NODE_NONE ? -1 : (int64_t)node);
  return TM_OK;
}

static tm_status fields(tm_ctx *ctx, const tm_graph *g, uint32_t node, tm_table *out) {
  const goheap *h = of(g);
  goheap_object o;
  if (!goheap_object_of(h, node, &o)) return no_object(ctx, node);
  TM_TRY(tm_table_add_column(ctx, out, "name", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "value", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "node", TM_CELL_INT, TM_UNIT_NONE));
  goheap_slots slots = goheap_slots_of(h, o.fields, o.contents.size);
  uint64_t slot;
  bool more = goheap_next_slot(&slots, &slot);
  for (uint64_t offset = 0;
       o.contents.size - offset >= h->pointer_bytes && offset / h->pointer_bytes < ROWS_MAX;
       offset += h->pointer_bytes) {
    bool pointer = more && slot == offset;
    uint64_t value = goheap_pointer(h, o.contents.data + offset);
    char name[256];
    write_slot(h, node, &o, offset, name, sizeof name);
    TM_TRY(add_row(ctx, g, name, value, pointer, out));
    while (more && slot <= offset) more = goheap_next_slot(&slots, &slot);
  }
  return TM_OK;
}

// ---- previews ----

static bool is_printable(uint8_t c) {
  return (c >= 0x20 && c < 0x7f) || c == '\t' || c == '\n';
}

// The first letters of an object without pointers, when it starts with some.
static tm_status preview(tm_ctx *ctx, const tm_graph *g, uint32_t node, char *out, size_t size) {
  goheap_object o;
  uint64_t offset;
  size_t n = 0;
  if (!goheap_object_of(of(g), node, &o)) return no_object(ctx, node);
  goheap_slots slots = goheap_slots_of(of(g), o.fields, o.contents.size);
  if (!goheap_next_slot(&slots, &offset))
    while (n + 1 < size && n < o.contents.size && is_printable(o.contents.data[n])) n++;
  if (n < 4) n = 0; // numbers look like letters too
  memcpy(out, o.contents.data, n);
  out[n] = '\0';
  return TM_OK;
}

// An object without pointers: a string's letters, a slice of numbers.
static bool contents(const tm_graph *g, uint32_t node, tm_contents *out) {
  goheap_object o;
  uint64_t offset;
  if (!goheap_object_of(of(g), node, &o)) return false;
  goheap_slots slots = goheap_slots_of(of(g), o.fields, o.contents.size);
  if (goheap_next_slot(&slots, &offset)) return false;
  *out = (tm_contents){o.contents.data, o.contents.size, node, 0};
  return true;
}

static void free_kept(tm_graph *g) {
  goheap_free_kept(of(g));
}

const tm_graph_detail goheap_detail = {.id = node_id,
                                       .find = find_node,
                                       .edge_name = edge_name,
                                       .places = places,
                                       .family = goheap_family,
                                       .fields = fields,
                                       .preview = preview,
                                       .allocations = goheap_allocations,
                                       .contents = contents,
                                       .columns = goheap_columns,
                                       .free = free_kept};
