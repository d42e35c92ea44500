// Names for plain objects, as DevTools infers them: "{id, name, tags}" for the properties that many
// of them share.
//
//   1. every plain object has a shape: the names of its properties in order; objects are counted by
//      shape, and shapes by the name they would get (cut at 120 letters);
//   2. names that at least 2 objects and one in 1000 would get are interfaces, the commonest first;
//   3. an object belongs to the interface with most properties that it all has, then to the
//      commoner. Interfaces stand in a tree of their sorted properties, which is walked with the
//      sorted properties of a shape once per shape, not per object.
//
// Lengths are those of JavaScript: UTF-16 units. Source: HeapSnapshot.ts of the DevTools front end.
// O(edges of plain objects), and the tree walks.
#include "base/bytes.h"
#include "base/hash.h"
#include "read/v8heap_impl.h"

#include <stdlib.h>
#include <string.h>

enum { NAME_LETTERS = 120, MIN_OBJECTS = 2, OBJECTS_PER_INTERFACE = 1000 };
#define PLAIN UINT32_MAX

typedef struct shape {
  uint32_t node; // the first object of it
  uint32_t count;
  uint32_t type;
} shape;

typedef struct candidate {
  uint32_t node;       // its properties are the first of this object's
  uint32_t properties; // so many of them
  uint32_t order;
  uint64_t count;
} candidate;

typedef struct branch { // of the tree: one more property
  uint32_t interface;   // that ends here, or PLAIN
  uint32_t depth;       // its properties
  uint32_t greatest;    // property that leads on, or 0
  uint32_t seen_by;     // the last shape that got here
} branch;

typedef struct shaping {
  v8heap *h;
  TM_VEC(shape) shapes;
  TM_VEC(candidate) candidates; // then, sorted: the interfaces
  TM_VEC(branch) tree;
  TM_VEC(uint32_t) types;      // by interface
  TM_VEC(uint32_t) properties; // of the shape at hand, sorted
  TM_VEC(uint32_t) states;     // branches that its properties lead to
  tm_idmap by_hash;
  tm_idmap children; // of branches
  uint8_t *wanted;   // a bit per string: a property of an interface
  uint64_t objects;
  tm_bytes text;
} shaping;

static bool is_plain(const v8heap *h, uint32_t node) {
  return v8heap_kind(h, node) == T_OBJECT && h->name.items[node] == h->known[S_OBJECT];
}

static bool is_property(const v8heap *h, uint32_t e) {
  return h->edge_type.items[e] == X_PROPERTY;
}

// ---- 1. shapes ----

static uint64_t shape_hash(const v8heap *h, uint32_t node) {
  const tm_graph *g = h->graph;
  uint64_t hash = 1;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++)
    if (is_property(h, e)) hash = tm_hash_add(hash, h->edge_name.items[e]);
  return hash;
}

static tm_status count_shapes(shaping *s) {
  const v8heap *h = s->h;
  uint32_t nodes = h->graph->node_count;
  for (uint32_t n = 0; n < nodes; n++) {
    if (!is_plain(h, n)) continue;
    s->objects++;
    uint64_t hash = shape_hash(h, n);
    uint32_t index = tm_idmap_get(&s->by_hash, hash);
    if (index == TM_IDMAP_NONE) {
      index = (uint32_t)s->shapes.count;
      TM_TRY(tm_vec_push(h->ctx, &s->shapes, (shape){n, 0, PLAIN}));
      TM_TRY(tm_idmap_put(h->ctx, &s->by_hash, hash, index));
    }
    s->shapes.items[index].count++;
    h->graph->type[n] = index; // until the shapes are named
    if (s->objects % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, h->size));
  }
  return TM_OK;
}

// How a property's name stands in an interface's: quoted, as JSON, when it holds what would
// confuse. Answers that, and its letters.
static bool measure_property(const v8heap *h, uint32_t string, size_t *letters) {
  const char *p, *end = h->data + h->size;
  bool odd = false;
  size_t escapes = 0;
  *letters = 0;
  if (string >= h->string_at.count) return false;
  for (p = h->data + h->string_at.items[string] + 1; p < end && *p != '"'; p++) {
    odd = odd || memchr(",'{}", *p, 4) != NULL;
    *letters += ((uint8_t)*p & 0xc0) != 0x80; // not for later bytes of a letter
    if (*p != '\\' || end - p < 6) continue;
    odd = odd || p[1] == '"';
    escapes += p[1] != 'u';
    p += p[1] == 'u' ? 5 : 1;
  }
  if (odd) *letters += 2 + escapes;
  return odd;
}

static tm_status append_property(const v8heap *h, uint32_t string, bool odd, tm_bytes *out) {
  static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
  char text[NAME_ROOM];
  size_t n = v8heap_decode(h, string, text, sizeof text);
  if (!odd) return tm_bytes_append(h->ctx, out, text, n);
  TM_TRY(tm_bytes_append(h->ctx, out, "\"", 1));
  for (size_t i = 0; i < n; i++) {
    const char *known = memchr(from, text[i], sizeof from - 1);
    char pair[2] = {'\\', known ? to[known - from] : text[i]};
    TM_TRY(tm_bytes_append(h->ctx, out, pair + !known, known ? 2 : 1));
  }
  return tm_bytes_append(h->ctx, out, "\"", 1);
}

// The properties that name an object: how many, and a hash of them. With out, the name itself.
static tm_status name_shape(const v8heap *h, uint32_t node, tm_bytes *out, uint32_t *count,
                            uint64_t *hash) {
  const tm_graph *g = h->graph;
  size_t letters = 1, more;
  *count = 0;
  *hash = 2;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
    uint32_t string = h->edge_name.items[e];
    if (!is_property(h, e) || string == h->known[S_PROTO]) continue;
    bool odd = measure_property(h, string, &more);
    if (letters > 1 && letters + more > NAME_LETTERS) break;
    if (out && *count) TM_TRY(tm_bytes_append(h->ctx, out, ", ", 2));
    if (out) TM_TRY(append_property(h, string, odd, out));
    letters += more + (letters != 1 ? 2 : 0);
    *hash = tm_hash_add(*hash, string);
    ++*count;
  }
  return TM_OK;
}

static tm_status count_names(shaping *s) {
  const v8heap *h = s->h;
  tm_idmap_free(h->ctx, &s->by_hash);
  for (size_t i = 0; i < s->shapes.count; i++) {
    uint32_t properties, index;
    uint64_t hash;
    TM_TRY(name_shape(h, s->shapes.items[i].node, NULL, &properties, &hash));
    if (!properties) continue;
    index = tm_idmap_get(&s->by_hash, hash);
    if (index == TM_IDMAP_NONE) {
      index = (uint32_t)s->candidates.count;
      candidate c = {s->shapes.items[i].node, properties, index, 0};
      TM_TRY(tm_vec_push(h->ctx, &s->candidates, c));
      TM_TRY(tm_idmap_put(h->ctx, &s->by_hash, hash, index));
    }
    s->candidates.items[index].count += s->shapes.items[i].count;
  }
  return TM_OK;
}

// ---- 2. interfaces ----

static int by_count(const void *a, const void *b) {
  const candidate *x = a, *y = b;
  if (x->count != y->count) return x->count < y->count ? 1 : -1;
  return x->order < y->order ? -1 : x->order > y->order;
}

static int by_number(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static tm_status take_properties(shaping *s, uint32_t node, uint32_t limit, bool proto) {
  const v8heap *h = s->h;
  const tm_graph *g = h->graph;
  s->properties.count = 0;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
    uint32_t string = h->edge_name.items[e];
    if (s->properties.count == limit) break;
    if (!is_property(h, e) || (!proto && string == h->known[S_PROTO])) continue;
    if (string >= h->string_at.count) continue;
    if (proto && !(s->wanted[string / 8] >> string % 8 & 1)) continue;
    TM_TRY(tm_vec_push(h->ctx, &s->properties, string));
  }
  if (s->properties.count > 1)
    qsort(s->properties.items, s->properties.count, sizeof *s->properties.items, by_number);
  return TM_OK;
}

static uint64_t child_key(uint32_t at, uint32_t property) {
  return (uint64_t)at << 32 | property;
}

// The branch below `at` for one more property, made if new. Properties come in ascending order.
static tm_status grow_branch(shaping *s, uint32_t at, uint32_t property, uint32_t *out) {
  *out = tm_idmap_get(&s->children, child_key(at, property));
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)s->tree.count;
  branch b = {PLAIN, s->tree.items[at].depth + 1, 0, PLAIN};
  if (s->tree.items[at].greatest < property) s->tree.items[at].greatest = property;
  s->wanted[property / 8] |= (uint8_t)(1u << property % 8);
  TM_TRY(tm_idmap_put(s->h->ctx, &s->children, child_key(at, property), *out));
  return tm_vec_push(s->h->ctx, &s->tree, b);
}

static tm_status add_interface(shaping *s, uint32_t index) {
  v8heap *h = s->h;
  const candidate *c = &s->candidates.items[index];
  uint32_t count, type, at = 0;
  uint64_t hash;
  s->text.size = 0;
  TM_TRY(tm_bytes_append(h->ctx, &s->text, "{", 1));
  TM_TRY(name_shape(h, c->node, &s->text, &count, &hash));
  TM_TRY(tm_bytes_append(h->ctx, &s->text, "}", 1));
  TM_TRY(v8heap_add_type(h, (const char *)s->text.data, s->text.size, &type));
  TM_TRY(tm_vec_push(h->ctx, &s->types, type));
  TM_TRY(take_properties(s, c->node, c->properties, false));
  for (size_t i = 0; i < s->properties.count; i++)
    TM_TRY(grow_branch(s, at, s->properties.items[i], &at));
  if (s->tree.items[at].interface == PLAIN) s->tree.items[at].interface = index;
  return TM_OK;
}

static tm_status find_interfaces(shaping *s) {
  size_t n = s->candidates.count;
  if (n) qsort(s->candidates.items, n, sizeof *s->candidates.items, by_count);
  TM_TRY(tm_vec_push(s->h->ctx, &s->tree, (branch){PLAIN, 0, 0, PLAIN}));
  for (size_t i = 0; i < n; i++) {
    uint64_t count = s->candidates.items[i].count;
    if (count < MIN_OBJECTS || count * OBJECTS_PER_INTERFACE < s->objects) break;
    TM_TRY(add_interface(s, (uint32_t)i));
  }
  return TM_OK;
}

// ---- 3. which shape is which interface ----

static void consider(const shaping *s, uint32_t at, uint32_t *best) {
  const branch *b = &s->tree.items[at];
  if (b->interface == PLAIN) return;
  const branch *old = *best == PLAIN ? NULL : &s->tree.items[*best];
  if (!old || b->depth > old->depth || (b->depth == old->depth && b->interface < old->interface))
    *best = at;
}

// One property more: every state that has a branch for it leads there too; those that no greater
// property leads on from are done.
static tm_status step_states(shaping *s, uint32_t shape_index, uint32_t property, uint32_t *best) {
  size_t old = s->states.count, kept = 0;
  for (size_t k = 0; k < old; k++) {
    uint32_t at = s->states.items[k], next;
    next = tm_idmap_get(&s->children, child_key(at, property));
    if (s->tree.items[at].greatest > property) s->states.items[kept++] = at;
    if (next == TM_IDMAP_NONE || s->tree.items[next].seen_by == shape_index) continue;
    s->tree.items[next].seen_by = shape_index;
    consider(s, next, best);
    TM_TRY(tm_vec_push(s->h->ctx, &s->states, next));
  }
  size_t added = s->states.count - old;
  memmove(s->states.items + kept, s->states.items + old, added * sizeof *s->states.items);
  s->states.count = kept + added;
  return TM_OK;
}

static tm_status match_shape(shaping *s, uint32_t index) {
  shape *out = &s->shapes.items[index];
  uint32_t best = PLAIN;
  TM_TRY(take_properties(s, out->node, UINT32_MAX, true));
  s->states.count = 0;
  TM_TRY(tm_vec_push(s->h->ctx, &s->states, 0));
  for (size_t i = 0; i < s->properties.count; i++)
    TM_TRY(step_states(s, index, s->properties.items[i], &best));
  if (best != PLAIN) out->type = s->types.items[s->tree.items[best].interface];
  return TM_OK;
}

static tm_status name_objects(shaping *s, uint32_t plain_type) {
  v8heap *h = s->h;
  for (size_t i = 0; i < s->shapes.count; i++) {
    TM_TRY(match_shape(s, (uint32_t)i));
    if (i % 256 == 0) TM_TRY(tm_ctx_tick(h->ctx, h->size));
  }
  for (uint32_t n = 0; n < h->graph->node_count; n++) {
    if (!is_plain(h, n)) continue;
    uint32_t type = s->shapes.items[h->graph->type[n]].type;
    h->graph->type[n] = type == PLAIN ? plain_type : type;
  }
  return TM_OK;
}

static tm_status name_shapes(shaping *s) {
  v8heap *h = s->h;
  uint32_t plain_type = PLAIN;
  for (uint32_t n = 0; n < h->graph->node_count && plain_type == PLAIN; n++)
    if (is_plain(h, n)) plain_type = h->graph->type[n];
  if (plain_type == PLAIN) return TM_OK;
  s->wanted = tm_calloc(h->ctx, h->string_at.count / 8 + 1, 1);
  if (!s->wanted) return TM_E_NOMEM;
  TM_TRY(count_shapes(s));
  TM_TRY(count_names(s));
  TM_TRY(find_interfaces(s));
  return name_objects(s, plain_type);
}

tm_status v8heap_name_shapes(v8heap *h) {
  shaping s = {.h = h};
  tm_status status = h->known[S_OBJECT] == UINT32_MAX ? TM_OK : name_shapes(&s);
  tm_vec_free(h->ctx, &s.shapes);
  tm_vec_free(h->ctx, &s.candidates);
  tm_vec_free(h->ctx, &s.tree);
  tm_vec_free(h->ctx, &s.types);
  tm_vec_free(h->ctx, &s.properties);
  tm_vec_free(h->ctx, &s.states);
  tm_idmap_free(h->ctx, &s.by_hash);
  tm_idmap_free(h->ctx, &s.children);
  tm_free(h->ctx, s.wanted, s.wanted ? h->string_at.count / 8 + 1 : 0);
  tm_bytes_free(h->ctx, &s.text);
  return status;
}
