// A value of known type leads to others: pointers to their targets, slices to their arrays, maps
// and channels to their headers, interfaces to what their first word says. From the globals on,
// what is led to gets a type; of two types for one object the larger wins, since a pointer to a
// struct is one to its first field too. Objects that begin with a descriptor of the runtime (Go
// >= 1.22) name themselves. Only what grew is looked at again, so the walk ends.
//
// Source: the layout of strings, slices, interfaces, maps and channels in runtime/ and
// internal/runtime/maps of Go 1.19 to 1.27; the idea of golang.org/x/debug/internal/gocore.
#include "read/goheap_typing.h"

#include "base/hash.h"
#include "read/goheap_impl.h"

#include <stdio.h>

#define STRING_LETTERS (UINT32_MAX - 1) // in goheap.typed: what a string points to

enum {
  DEPTH_MAX = 48,         // of types within types
  ELEMENTS_MAX = 1 << 20, // of an array that is looked at
  TICK_VALUES = 1 << 16,
};

typedef struct value { // so many values of a type from an address on
  uint64_t address, count;
  uint32_t type;
} value;

typedef struct typing {
  tm_ctx *ctx;
  goheap *h;
  const tm_go_types *t;
  uint64_t bias;
  TM_VEC(value) todo;
  tm_idmap seen; // hash of an address inside of an object and a type
  uint64_t looked_at;
} typing;

static const tm_go_type *type_of(const typing *y, uint32_t type) {
  return &y->t->types.items[type];
}

// The bytes from an address of the heap or of a global on; 0 = it is neither.
static uint64_t bytes_at(const typing *y, uint64_t address, const uint8_t **out) {
  goheap_object o;
  uint32_t node = goheap_find(y->h, address);
  if (node != TM_NODE_NONE && goheap_object_of(y->h, node, &o)
      && address - o.address < o.contents.size) {
    *out = o.contents.data + (address - o.address);
    return o.contents.size - (address - o.address);
  }
  for (size_t i = 0; i < y->h->segments.count; i++) {
    const goheap_segment *s = &y->h->segments.items[i];
    if (address - s->address >= s->contents.size) continue;
    *out = s->contents.data + (address - s->address);
    return s->contents.size - (address - s->address);
  }
  return 0;
}

static uint64_t word_at(const typing *y, uint64_t address) {
  const uint8_t *p = NULL;
  return bytes_at(y, address, &p) >= y->h->pointer_bytes ? goheap_pointer(y->h, p) : 0;
}

static tm_status push(typing *y, uint64_t address, uint32_t type, uint64_t count) {
  return tm_vec_push(y->ctx, &y->todo, (value){address, count, type});
}

// ---- what a pointer leads to ----

// Whether an object begins with the runtime's descriptor of its type.
static bool has_header(const typing *y, const goheap_object *o) {
  return goheap_header_of(y->h, o) != 0;
}

static uint64_t size_of(const typing *y, uint32_t type) {
  return type < STRING_LETTERS ? type_of(y, type)->size : 0;
}

// An address inside of an object: what lies there is looked at, the object keeps its name.
static tm_status lead_inside(typing *y, uint64_t address, uint32_t type, uint64_t count) {
  uint64_t key = tm_hash_add(address, type);
  if (tm_idmap_get(&y->seen, key) != TM_IDMAP_NONE) return TM_OK;
  TM_TRY(tm_idmap_put(y->ctx, &y->seen, key, 1));
  return push(y, address, type, count);
}

// count: how many values lie there; 0 = as many as fit.
static tm_status lead(typing *y, uint64_t address, uint32_t type, uint64_t count) {
  goheap_object o;
  if (!address || type == TM_GO_NO_TYPE || !type_of(y, type)->size) return TM_OK;
  uint32_t node = goheap_find(y->h, address);
  if (node == TM_NODE_NONE || !goheap_object_of(y->h, node, &o)) return TM_OK;
  uint64_t size = type_of(y, type)->size, offset = address - o.address;
  uint64_t fit = (o.contents.size - offset) / size;
  if (!fit) return TM_OK; // it is smaller than its type: not of this type
  if (!count || count > fit) count = fit;
  if (offset && !(offset == GOHEAP_HEADER_BYTES && has_header(y, &o)))
    return lead_inside(y, address, type, count);
  uint32_t known = y->h->typed[node];
  // First met as one value, by a pointer to its first element, then as several, by a slice.
  if (known == type) return count > 1 ? lead_inside(y, address, type, fit) : TM_OK;
  if (known != TM_GO_NO_TYPE && size_of(y, known) >= size) return TM_OK;
  y->h->typed[node] = type;
  return push(y, address, type, count);
}

static tm_status lead_to_letters(typing *y, uint64_t address) {
  goheap_object o;
  uint32_t node = address ? goheap_find(y->h, address) : TM_NODE_NONE;
  if (node == TM_NODE_NONE || y->h->typed[node] != TM_GO_NO_TYPE) return TM_OK;
  if (goheap_object_of(y->h, node, &o) && o.address == address) y->h->typed[node] = STRING_LETTERS;
  return TM_OK;
}

// ---- values ----

static bool is_pointer_shaped(const typing *y, uint32_t type) {
  for (int depth = 0; depth < DEPTH_MAX; depth++) {
    const tm_go_type *t = type_of(y, type);
    switch (t->kind) {
    case TM_GO_POINTER:
    case TM_GO_UNSAFE_POINTER:
    case TM_GO_MAP:
    case TM_GO_CHAN:
    case TM_GO_FUNC:
      return true;
    case TM_GO_STRUCT:
      if (t->field_end - t->field_begin != 1) return false;
      type = y->t->fields.items[t->field_begin].type;
      break;
    case TM_GO_ARRAY:
      if (t->leads_to == TM_GO_NO_TYPE || t->size != y->h->pointer_bytes) return false;
      type = t->leads_to;
      break;
    default:
      return false;
    }
  }
  return false;
}

static uint32_t runtime_type(const typing *y, uint64_t descriptor) {
  if (!y->t->runtime_types || !descriptor) return TM_GO_NO_TYPE;
  uint64_t offset = descriptor - y->bias - y->t->runtime_types;
  uint32_t type = tm_idmap_get(&y->t->by_runtime, offset);
  return type == TM_IDMAP_NONE ? TM_GO_NO_TYPE : type;
}

static tm_status lead_from_pointer(typing *y, uint32_t type, uint64_t target);

static tm_status look_at_interface(typing *y, const tm_go_type *t, uint64_t address) {
  uint64_t first = word_at(y, address), data = word_at(y, address + y->h->pointer_bytes);
  uint64_t descriptor = first;
  if (t->has_methods) {
    uint32_t itab = tm_idmap_get(&y->h->itabs, first);
    descriptor = itab == TM_IDMAP_NONE ? 0 : y->h->itab_types.items[itab];
  }
  uint32_t type = runtime_type(y, descriptor);
  if (type == TM_GO_NO_TYPE || !data) return TM_OK;
  return is_pointer_shaped(y, type) ? lead_from_pointer(y, type, data) : lead(y, data, type, 1);
}

static const tm_go_field *field_named(const typing *y, const tm_go_type *t, const char *name) {
  for (uint32_t i = t->field_begin; i < t->field_end; i++)
    if (strcmp(tm_go_text(y->t, y->t->fields.items[i].name), name) == 0)
      return &y->t->fields.items[i];
  return NULL;
}

static bool begins(const typing *y, const tm_go_type *t, const char *head) {
  return strncmp(tm_go_text(y->t, t->name), head, strlen(head)) == 0;
}

// The group type of a map's tables: map.dirPtr -> *table -> table.groups.data -> group.
static uint32_t group_of(const typing *y, const tm_go_field *directory) {
  uint32_t at = type_of(y, directory->type)->leads_to;
  at = at == TM_GO_NO_TYPE ? at : type_of(y, at)->leads_to;
  const tm_go_field *groups = at == TM_GO_NO_TYPE ? NULL : field_named(y, type_of(y, at), "groups");
  const tm_go_field *data = groups ? field_named(y, type_of(y, groups->type), "data") : NULL;
  return data ? type_of(y, data->type)->leads_to : TM_GO_NO_TYPE;
}

// A map since Go 1.24: a small one has one group instead of a directory of tables.
static tm_status look_at_map(typing *y, const tm_go_type *t, uint64_t address, bool *done) {
  const tm_go_field *directory = field_named(y, t, "dirPtr"), *length = field_named(y, t, "dirLen");
  *done = directory && length;
  if (!*done) return TM_OK;
  uint64_t target = word_at(y, address + directory->offset);
  uint64_t count = word_at(y, address + length->offset);
  if (!count) return lead(y, target, group_of(y, directory), 1);
  return lead(y, target, type_of(y, directory->type)->leads_to, count);
}

static tm_status look_at_channel(typing *y, uint32_t element, uint64_t channel) {
  uint64_t size = word_at(y, channel + y->h->pointer_bytes);
  uint64_t buffer = word_at(y, channel + 2ull * y->h->pointer_bytes);
  if (element == TM_GO_NO_TYPE || !size) return TM_OK;
  // A buffer without pointers lies in the channel's own object.
  return goheap_find(y->h, buffer) == goheap_find(y->h, channel) ? TM_OK
                                                                 : lead(y, buffer, element, size);
}

static const tm_go_symbol *function_of(const typing *y, uint64_t closure) {
  uint64_t code = word_at(y, closure) - y->bias;
  const tm_go_symbol *f = tm_go_symbol_below(y->t->functions.items, y->t->functions.count, code);
  return f && f->address == code ? f : NULL;
}

// Closures are named after their function, whatever type the program has for them.
static tm_status look_at_closure(typing *y, uint64_t closure) {
  uint32_t node = closure ? goheap_find(y->h, closure) : TM_NODE_NONE;
  if (node == TM_NODE_NONE) return TM_OK;
  const tm_go_symbol *f = function_of(y, closure);
  return f && f->type != TM_GO_NO_TYPE ? lead(y, closure, f->type, 1) : TM_OK;
}

// Hash tables and arrays of groups: their pointers lead to as many as the object holds.
static bool is_table(const typing *y, uint32_t type) {
  const tm_go_type *t = type_of(y, type);
  return begins(y, t, "bucket<") || begins(y, t, "noalg.map.group[") || begins(y, t, "map.group[");
}

// A word of a pointer-shaped type.
static tm_status lead_from_pointer(typing *y, uint32_t type, uint64_t target) {
  const tm_go_type *t = type_of(y, type);
  if (!target) return TM_OK;
  switch (t->kind) {
  case TM_GO_CHAN:
    TM_TRY(lead(y, target, t->leads_to, 1));
    return look_at_channel(y, t->element, target);
  case TM_GO_FUNC:
    return look_at_closure(y, target);
  case TM_GO_POINTER:
  case TM_GO_MAP:
    if (t->leads_to == TM_GO_NO_TYPE) return TM_OK;
    return lead(y, target, t->leads_to, is_table(y, t->leads_to) ? 0 : 1);
  default:
    return TM_OK;
  }
}

// Looks at one value without what lies in its parts; true when there are parts.
static tm_status look_at_value(typing *y, uint32_t type, uint64_t address, bool *parts) {
  const tm_go_type *t = type_of(y, type);
  *parts = false;
  switch (t->kind) {
  case TM_GO_STRING:
    return lead_to_letters(y, word_at(y, address));
  case TM_GO_SLICE:
    return lead(y, word_at(y, address), t->leads_to,
                word_at(y, address + 2ull * y->h->pointer_bytes));
  case TM_GO_INTERFACE:
    return look_at_interface(y, t, address);
  case TM_GO_STRUCT: {
    bool done = false;
    if (begins(y, t, "map<")) TM_TRY(look_at_map(y, t, address, &done));
    *parts = !done;
    return TM_OK;
  }
  case TM_GO_ARRAY:
    *parts = true;
    return TM_OK;
  default:
    return lead_from_pointer(y, type, word_at(y, address));
  }
}

typedef struct level { // of a type within types
  uint64_t address, count;
  uint32_t type, next; // next: field, or element of an array
} level;

static bool next_part(const typing *y, level *l, level *out) {
  const tm_go_type *t = type_of(y, l->type);
  if (t->kind == TM_GO_STRUCT) {
    if (l->next >= t->field_end - t->field_begin) return false;
    const tm_go_field *f = &y->t->fields.items[t->field_begin + l->next++];
    *out = (level){.address = l->address + f->offset, .type = f->type};
    return true;
  }
  uint64_t size = t->leads_to == TM_GO_NO_TYPE ? 0 : type_of(y, t->leads_to)->size;
  if (!size || l->next >= t->size / size || l->next >= ELEMENTS_MAX) return false;
  *out = (level){.address = l->address + size * l->next++, .type = t->leads_to};
  return true;
}

static bool has_parts(const typing *y, uint32_t type) {
  return type_of(y, type)->kind >= TM_GO_ARRAY;
}

static tm_status look_at(typing *y, uint32_t type, uint64_t address) {
  level levels[DEPTH_MAX];
  int depth = 0;
  bool parts;
  TM_TRY(look_at_value(y, type, address, &parts));
  if (!parts) return TM_OK;
  levels[depth++] = (level){.address = address, .type = type};
  while (depth) {
    level part;
    if (!next_part(y, &levels[depth - 1], &part)) {
      depth--;
      continue;
    }
    if (!has_parts(y, part.type)) continue;
    if (++y->looked_at % TICK_VALUES == 0) TM_TRY(tm_ctx_tick(y->ctx, 0));
    TM_TRY(look_at_value(y, part.type, part.address, &parts));
    if (parts && depth < DEPTH_MAX) levels[depth++] = part;
  }
  return TM_OK;
}

static tm_status drain(typing *y) {
  while (y->todo.count) {
    value v = y->todo.items[--y->todo.count];
    uint64_t size = type_of(y, v.type)->size;
    if (!has_parts(y, v.type)) continue;
    for (uint64_t i = 0; i < v.count && i < ELEMENTS_MAX; i++)
      TM_TRY(look_at(y, v.type, v.address + i * size));
    if (++y->looked_at % TICK_VALUES == 0) TM_TRY(tm_ctx_tick(y->ctx, 0));
  }
  return TM_OK;
}

// ---- where it begins ----

static tm_status from_globals(typing *y) {
  for (size_t i = 0; i < y->t->globals.count; i++) {
    const tm_go_symbol *g = &y->t->globals.items[i];
    const uint8_t *p;
    uint64_t address = g->address + y->bias;
    if (!has_parts(y, g->type) || bytes_at(y, address, &p) < type_of(y, g->type)->size) continue;
    TM_TRY(push(y, address, g->type, 1));
    TM_TRY(drain(y));
  }
  return TM_OK;
}

static tm_status from_headers(typing *y) {
  goheap *h = y->h;
  uint32_t smallest = 8 * h->pointer_bytes * h->pointer_bytes;
  for (uint32_t node = 0; node < h->graph->node_count; node++) {
    goheap_object o;
    if (node % TICK_VALUES == 0) TM_TRY(tm_ctx_tick(y->ctx, h->at[node]));
    if (h->graph->size[node] <= smallest || !goheap_object_of(h, node, &o)) continue;
    uint32_t type = runtime_type(y, goheap_header_of(h, &o));
    if (type == TM_GO_NO_TYPE) continue;
    TM_TRY(lead(y, o.address + GOHEAP_HEADER_BYTES, type, 0));
    TM_TRY(drain(y));
  }
  return TM_OK;
}

// ---- names ----

// "main.session", "[]main.session" where several lie in the object, "func main.serve.func1".
static tm_status name_node(typing *y, uint32_t node, const goheap_object *o, uint32_t type) {
  char name[512];
  uint32_t id;
  uint64_t header = has_header(y, o) ? GOHEAP_HEADER_BYTES : 0;
  if (type == STRING_LETTERS) {
    snprintf(name, sizeof name, "string data");
  } else {
    const tm_go_type *t = type_of(y, type);
    uint64_t count = (o->contents.size - header) / t->size;
    const tm_go_symbol *f = function_of(y, o->address);
    bool is_closure = f && f->type == type;
    snprintf(name, sizeof name, "%s%.480s",
             is_closure  ? "func "
             : count > 1 ? "[]"
                         : "",
             tm_go_text(y->t, t->name));
  }
  TM_TRY(tm_strtab_intern(y->ctx, &y->h->graph->strings, name, strlen(name), &id));
  return goheap_type_named(y->h, id, &y->h->graph->type[node]);
}

static tm_status name_nodes(typing *y, tm_goheap_typed *out) {
  goheap *h = y->h;
  for (uint32_t node = 0; node < h->graph->node_count; node++) {
    goheap_object o;
    if (node % TICK_VALUES == 0) TM_TRY(tm_ctx_tick(y->ctx, h->at[node]));
    if (h->typed[node] == TM_GO_NO_TYPE || !goheap_object_of(h, node, &o)) continue;
    TM_TRY(name_node(y, node, &o, h->typed[node]));
    out->objects++;
    out->bytes += o.contents.size;
  }
  return TM_OK;
}

size_t goheap_write_place(const goheap *h, uint32_t type, uint64_t offset, char *out, size_t size) {
  const tm_go_types *t = h->types;
  size_t used = 0;
  if (size) *out = '\0';
  for (int depth = 0; depth < DEPTH_MAX && used + 1 < size; depth++) {
    const tm_go_type *of = &t->types.items[type];
    if (of->kind == TM_GO_ARRAY && of->leads_to != TM_GO_NO_TYPE) {
      uint64_t element = t->types.items[of->leads_to].size;
      if (!element) break;
      used += (size_t)snprintf(out + used, size - used, "[%llu]",
                               (unsigned long long)(offset / element));
      offset %= element;
      type = of->leads_to;
      continue;
    }
    const tm_go_field *found = NULL;
    for (uint32_t i = of->field_begin; of->kind == TM_GO_STRUCT && i < of->field_end; i++)
      if (t->fields.items[i].offset <= offset) found = &t->fields.items[i];
    if (!found) break;
    used += (size_t)snprintf(out + used, size - used, ".%.100s", tm_go_text(t, found->name));
    offset -= found->offset;
    type = found->type;
  }
  return used < size ? used : size ? size - 1 : 0;
}

// Roots of globals stand in the order of the pointer slots that made them.
static tm_status name_globals(typing *y) {
  goheap *h = y->h;
  tm_graph *g = h->graph;
  for (size_t s = 0; s < h->segments.count; s++) {
    const goheap_segment *segment = &h->segments.items[s];
    uint64_t offset;
    size_t root = segment->first_root;
    goheap_slots slots = goheap_slots_of(h, segment->fields, segment->contents.size);
    while (goheap_next_slot(&slots, &offset)) {
      char label[400];
      uint64_t address = segment->address + offset;
      if (goheap_find(h, goheap_pointer(h, segment->contents.data + offset)) == TM_NODE_NONE)
        continue;
      const tm_go_symbol *global =
          tm_go_symbol_below(y->t->globals.items, y->t->globals.count, address - y->bias);
      uint64_t inside = global ? address - y->bias - global->address : 0;
      if (global && inside < type_of(y, global->type)->size && root < g->roots.count) {
        int n = snprintf(label, sizeof label, "%.200s", tm_go_text(y->t, global->name));
        goheap_write_place(h, global->type, inside, label + n, sizeof label - (size_t)n);
        TM_TRY(tm_strtab_intern(y->ctx, &g->strings, label, strlen(label),
                                &g->roots.items[root].label));
      }
      root++;
    }
  }
  return TM_OK;
}

// Goroutines keep the names of their entries.
static void forget_goroutines(goheap *h) {
  for (size_t i = 0; i < h->graph->goroutines.count; i++) {
    uint32_t node = h->graph->goroutines.items[i].node;
    if (node != TM_NODE_NONE) h->typed[node] = TM_GO_NO_TYPE;
  }
}

static tm_status use_types(typing *y, tm_goheap_typed *out) {
  goheap *h = y->h;
  h->typed = tm_alloc(y->ctx, h->graph->node_count * sizeof *h->typed);
  if (!h->typed) return TM_E_NOMEM;
  for (uint32_t n = 0; n < h->graph->node_count; n++) h->typed[n] = TM_GO_NO_TYPE;
  TM_TRY(from_headers(y));
  TM_TRY(from_globals(y));
  forget_goroutines(h);
  TM_TRY(name_nodes(y, out));
  return name_globals(y);
}

tm_status tm_goheap_use_types(tm_ctx *ctx, tm_graph *graph, tm_go_types *types, uint64_t bias,
                              tm_goheap_typed *out) {
  if (graph->detail != &goheap_detail)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "only Go heap dumps take the types of a program");
  goheap *h = graph->kept;
  if (h->types) return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "this dump has its types already");
  typing y = {.ctx = ctx, .h = h, .t = types, .bias = bias};
  *out = (tm_goheap_typed){0};
  h->ctx = ctx;
  h->types = types;
  tm_status status = use_types(&y, out);
  h->ctx = NULL;
  tm_vec_free(ctx, &y.todo);
  tm_idmap_free(ctx, &y.seen);
  if (status != TM_OK) {
    h->types = NULL; // the caller's again
    tm_free(ctx, h->typed, graph->node_count * sizeof *h->typed);
    h->typed = NULL;
  }
  return status;
}
