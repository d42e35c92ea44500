// What the objects of a heap snapshot are called, as DevTools has it: constructors by their name,
// elements by their tag ("<div>"), the engine's own by their kind ("(array)"), and detached DOM
// nodes with "Detached " before it.
//
// Classes of the same name but at different places in the source are different types, as they are
// in DevTools. Whether a document holds a DOM node is told by some nodes only and spread from them
// over native ones: first what documents hold, then what detached ones do.
// Source: HeapSnapshot.ts of the DevTools front end. O(nodes + edges).
#include "base/hash.h"
#include "read/v8heap_impl.h"

#include <stdio.h>
#include <string.h>

// ---- detached DOM nodes ----

typedef struct spread {
  v8heap *h;
  uint8_t *seen; // by node
  TM_VEC(uint32_t) attached;
  TM_VEC(uint32_t) detached;
} spread;

// Gives the state to a native node that has none yet. No state goes through JavaScript: every way
// back into the DOM is a node that knows its own.
static tm_status set_state(spread *s, uint32_t node, uint8_t state) {
  uint8_t *flags = s->h->graph->flags;
  if (s->seen[node]) return TM_OK;
  s->seen[node] = 1;
  if (v8heap_kind(s->h, node) != T_NATIVE) return TM_OK;
  flags[node] = (uint8_t)((flags[node] & ~TM_NODE_LINK) | state);
  if (state == TM_NODE_ATTACHED) return tm_vec_push(s->h->ctx, &s->attached, node);
  if (state != TM_NODE_DETACHED) return TM_OK;
  flags[node] |= NAME_DETACHED;
  return tm_vec_push(s->h->ctx, &s->detached, node);
}

static tm_status spread_from(spread *s, uint32_t node, uint8_t state) {
  const tm_graph *g = s->h->graph;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
    uint8_t kind = s->h->edge_type.items[e];
    if (kind != X_HIDDEN && kind != X_WEAK) TM_TRY(set_state(s, g->edge_to[e], state));
  }
  return TM_OK;
}

static tm_status spread_all(spread *s) {
  const tm_graph *g = s->h->graph;
  for (uint32_t n = 0; n < g->node_count; n++)
    if (g->flags[n] & TM_NODE_LINK) TM_TRY(set_state(s, n, g->flags[n] & TM_NODE_LINK));
  while (s->attached.count)
    TM_TRY(spread_from(s, s->attached.items[--s->attached.count], TM_NODE_ATTACHED));
  while (s->detached.count)
    TM_TRY(spread_from(s, s->detached.items[--s->detached.count], TM_NODE_DETACHED));
  return TM_OK;
}

// Before 2020 only the name told.
static void spread_by_name(v8heap *h) {
  char name[16];
  for (uint32_t n = 0; n < h->graph->node_count; n++) {
    if (v8heap_kind(h, n) != T_NATIVE) continue;
    v8heap_decode(h, h->name.items[n], name, sizeof name);
    if (strncmp(name, "Detached ", 9) == 0) h->graph->flags[n] = TM_NODE_DETACHED;
  }
}

tm_status v8heap_spread_detached(v8heap *h) {
  tm_graph *g = h->graph;
  size_t n = g->node_count;
  g->flags = tm_calloc(h->ctx, n, 1);
  if (!g->flags) return TM_E_NOMEM;
  if (!h->has_detached) {
    spread_by_name(h);
    return TM_OK;
  }
  memcpy(g->flags, h->detached.items, n);
  tm_vec_free(h->ctx, &h->detached);
  spread s = {.h = h, .seen = tm_calloc(h->ctx, n, 1)};
  tm_status status = s.seen ? spread_all(&s) : TM_E_NOMEM;
  tm_free(h->ctx, s.seen, n);
  tm_vec_free(h->ctx, &s.attached);
  tm_vec_free(h->ctx, &s.detached);
  return status;
}

// ---- types ----

size_t v8heap_node_name(const v8heap *h, uint32_t node, char *out, size_t size) {
  static const char prefix[] = "Detached ";
  size_t n = 0;
  if (h->graph->flags[node] & NAME_DETACHED) {
    n = sizeof prefix - 1;
    memcpy(out, prefix, n);
  }
  return n + v8heap_decode(h, h->name.items[node], out + n, size - n);
}

// "<div id=\"a\">" is a "<div>".
static size_t cut_tag(char *name, size_t length) {
  char *tag = strncmp(name, "Detached <", 10) == 0 ? name + 9 : name;
  char *space = *tag == '<' ? strchr(tag, ' ') : NULL;
  if (!space) return length;
  memcpy(space, ">", 2);
  return (size_t)(space - name) + 1;
}

// Objects whose names the end of a cut file took are named by their kind.
static size_t class_name(const v8heap *h, uint32_t node, char *out, size_t size) {
  bool named = h->name.items[node] < h->string_at.count;
  switch (v8heap_kind(h, node)) {
  case T_HIDDEN:
    return (size_t)snprintf(out, size, "(system)");
  case T_CODE:
    return (size_t)snprintf(out, size, "(compiled code)");
  case T_CLOSURE:
    return (size_t)snprintf(out, size, "Function");
  case T_REGEXP:
    return (size_t)snprintf(out, size, "RegExp");
  case T_OBJECT:
  case T_NATIVE:
    if (named) return cut_tag(out, v8heap_node_name(h, node, out, size));
    // fall through
  default: {
    uint8_t type = h->type.items[node];
    return (size_t)snprintf(out, size, "(%s)",
                            type < h->node_type_count ? h->node_type_names[type] : "?");
  }
  }
}

typedef struct naming {
  uint32_t *by_string[2];           // the type of a name, plain and detached
  uint32_t by_kind[TYPE_NAMES_MAX]; // of nodes that have none of their own
  tm_idmap by_text;                 // string of the graph -> type
  tm_idmap by_place;                // (type, place) -> type
} naming;

static tm_status add_type(v8heap *h, uint32_t name, uint32_t *out) {
  tm_type type = {name, TM_NODE_NONE, TM_NODE_NONE, TM_NODE_NONE, TM_STRENGTH_STRONG};
  *out = (uint32_t)h->graph->types.count;
  return tm_vec_push(h->ctx, &h->graph->types, type);
}

tm_status v8heap_add_type(v8heap *h, const char *name, size_t length, uint32_t *out) {
  uint32_t id;
  TM_TRY(tm_strtab_intern(h->ctx, &h->graph->strings, name, length, &id));
  return add_type(h, id, out);
}

static tm_status type_of_text(v8heap *h, naming *w, const char *name, size_t length,
                              uint32_t *out) {
  uint32_t id;
  TM_TRY(tm_strtab_intern(h->ctx, &h->graph->strings, name, length, &id));
  *out = tm_idmap_get(&w->by_text, id);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  TM_TRY(add_type(h, id, out));
  return tm_idmap_put(h->ctx, &w->by_text, id, *out);
}

static tm_status name_node(v8heap *h, naming *w, uint32_t node) {
  char name[NAME_ROOM];
  node_type kind = v8heap_kind(h, node);
  uint32_t string = h->name.items[node], *known = &w->by_kind[h->type.items[node]];
  if ((kind == T_OBJECT || kind == T_NATIVE) && string < h->string_at.count)
    known = &w->by_string[(h->graph->flags[node] & NAME_DETACHED) != 0][string];
  if (*known == UINT32_MAX) {
    size_t length = class_name(h, node, name, sizeof name);
    TM_TRY(type_of_text(h, w, name, length, known));
  }
  h->graph->type[node] = *known;
  return TM_OK;
}

// Instances of classes at different places are of different types.
static tm_status place_node(v8heap *h, naming *w, const v8heap_location *at) {
  uint32_t *type = &h->graph->type[at->node], placed;
  uint64_t key = tm_hash_add(tm_hash_add((uint64_t)*type << 32 | at->script, at->line), at->column);
  placed = tm_idmap_get(&w->by_place, key);
  if (placed == TM_IDMAP_NONE) {
    TM_TRY(add_type(h, h->graph->types.items[*type].name, &placed));
    TM_TRY(tm_idmap_put(h->ctx, &w->by_place, key, placed));
  }
  *type = placed;
  return TM_OK;
}

static tm_status name_all(v8heap *h, naming *w) {
  uint32_t nodes = h->graph->node_count;
  for (uint32_t n = 0; n < nodes; n++) {
    TM_TRY(name_node(h, w, n));
    if (n % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, h->size));
  }
  TM_TRY(v8heap_name_shapes(h));
  for (size_t i = 0; i < h->locations.count; i++) {
    const v8heap_location *at = &h->locations.items[i];
    if (i && at[-1].node == at->node) continue; // named twice: the first place is it
    if (v8heap_kind(h, at->node) == T_OBJECT) TM_TRY(place_node(h, w, at));
  }
  return TM_OK;
}

tm_status v8heap_name_types(v8heap *h) {
  naming w = {0};
  size_t room = (h->string_at.count + 1) * sizeof(uint32_t);
  memset(w.by_kind, 0xff, sizeof w.by_kind);
  w.by_string[0] = tm_alloc(h->ctx, room);
  w.by_string[1] = tm_alloc(h->ctx, room);
  tm_status status = w.by_string[0] && w.by_string[1] ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK) {
    memset(w.by_string[0], 0xff, room);
    memset(w.by_string[1], 0xff, room);
    status = name_all(h, &w);
  }
  tm_free(h->ctx, w.by_string[0], room);
  tm_free(h->ctx, w.by_string[1], room);
  tm_idmap_free(h->ctx, &w.by_text);
  tm_idmap_free(h->ctx, &w.by_place);
  return status;
}
