// From the arrays of a V8 heap snapshot to a graph: names of types as DevTools has them, roots, and
// which edges hold their end. Weak edges do not, nor shortcuts that are not the root's, nor the
// table's half of a WeakMap entry, nor edges that lead from the engine into a page: DevTools'
// rules. Source: HeapSnapshot.ts of the DevTools front-end.
#include "read/v8heap_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// ---- types ----

// DevTools' names of what has none of its own.
static void class_name(v8heap *h, uint32_t node, char *out, size_t size) {
  uint8_t type = h->type.items[node];
  uint8_t kind = type < h->node_type_count ? h->node_types[type] : T_OTHER;
  switch (kind) {
  case T_HIDDEN:
    snprintf(out, size, "(system)");
    break;
  case T_CODE:
    snprintf(out, size, "(compiled code)");
    break;
  case T_CLOSURE:
    snprintf(out, size, "Function");
    break;
  case T_REGEXP:
    snprintf(out, size, "RegExp");
    break;
  case T_OBJECT:
  case T_NATIVE: {
    size_t n = v8heap_decode(h, h->name.items[node], out, size);
    char *space = strchr(out, ' ');
    if (out[0] == '<' && n && out[n - 1] == '>' && space) memcpy(space, ">", 2);
    break;
  }
  default:
    snprintf(out, size, "(%s)", type < h->node_type_count ? h->node_type_names[type] : "?");
  }
}

static tm_status intern_type(v8heap *h, const char *name, uint32_t *out, uint32_t **type_of_string,
                             size_t *room) {
  uint32_t id;
  TM_TRY(tm_strtab_intern(h->ctx, &h->graph->strings, name, strlen(name), &id));
  size_t old = *room;
  TM_TRY(
      tm_vec_grow(h->ctx, (void **)type_of_string, room, (size_t)id + 1, sizeof **type_of_string));
  for (; old < *room; old++) (*type_of_string)[old] = UINT32_MAX;
  if ((*type_of_string)[id] == UINT32_MAX) {
    tm_type type = {id, TM_NODE_NONE, TM_NODE_NONE, TM_NODE_NONE, TM_STRENGTH_STRONG};
    (*type_of_string)[id] = (uint32_t)h->graph->types.count;
    TM_TRY(tm_vec_push(h->ctx, &h->graph->types, type));
  }
  *out = (*type_of_string)[id];
  return TM_OK;
}

// by_name: the type of an object or native node, by the string of its name; others by their kind.
static tm_status name_types(v8heap *h, uint32_t *by_name, uint32_t **type_of_string, size_t *room) {
  uint32_t by_kind[TYPE_NAMES_MAX];
  char name[NAME_ROOM];
  memset(by_kind, 0xff, sizeof by_kind);
  for (uint32_t n = 0; n < h->graph->node_count; n++) {
    uint8_t type = h->type.items[n];
    uint8_t kind = type < h->node_type_count ? h->node_types[type] : T_OTHER;
    bool own_name = kind == T_OBJECT || kind == T_NATIVE;
    uint32_t string = h->name.items[n];
    if (own_name && string >= h->string_at.count) own_name = false;
    uint32_t *known = own_name ? &by_name[string] : &by_kind[type];
    if (*known == UINT32_MAX) {
      class_name(h, n, name, sizeof name);
      TM_TRY(intern_type(h, name, known, type_of_string, room));
    }
    h->graph->type[n] = *known;
    if (n % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, h->size));
  }
  return TM_OK;
}

static tm_status make_types(v8heap *h) {
  uint32_t *type_of_string = NULL;
  size_t room = 0, strings = h->string_at.count + 1;
  uint32_t *by_name = tm_alloc(h->ctx, strings * sizeof *by_name);
  if (!by_name) return TM_E_NOMEM;
  memset(by_name, 0xff, strings * sizeof *by_name);
  tm_status status = name_types(h, by_name, &type_of_string, &room);
  tm_free(h->ctx, by_name, strings * sizeof *by_name);
  tm_free(h->ctx, type_of_string, room * sizeof *type_of_string);
  return status;
}

// ---- edges ----

static edge_type kind_of_edge(const v8heap *h, uint32_t e) {
  uint8_t type = h->edge_type.items[e];
  return type < h->edge_type_count ? (edge_type)h->edge_types[type] : X_OTHER;
}

static bool is_named(const v8heap *h, uint32_t e) {
  edge_type kind = kind_of_edge(h, e);
  return kind != X_ELEMENT && kind != X_HIDDEN;
}

// Of "12 / part of key (Foo @3) -> value (Bar @5) pair in WeakMap (table @7)": 7, else 0.
static uint64_t ephemeron_table(const v8heap *h, uint32_t e) {
  if (kind_of_edge(h, e) != X_INTERNAL) return 0;
  uint32_t string = h->edge_name.items[e];
  if (string >= h->string_at.count) return 0;
  const char *p = h->data + h->string_at.items[string] + 1;
  if ((unsigned)(*p - '0') >= 10) return 0; // most names end the question here
  char name[NAME_ROOM];
  v8heap_decode(h, string, name, sizeof name);
  const char *table = strstr(name, " pair in WeakMap (table @");
  if (!table || !strstr(name, " / part of key (")) return 0;
  uint64_t id = 0;
  v8heap_number(table + 25, name + sizeof name, &id);
  return id;
}

enum { PAGE = 1 };

static bool is_document_trees(const v8heap *h, uint32_t node) {
  char name[40];
  v8heap_decode(h, h->name.items[node], name, sizeof name);
  return strcmp(name, "(Document DOM trees)") == 0;
}

// Marks what belongs to pages: all that windows (shortcuts of the root) and document trees reach.
static void mark_pages(v8heap *h, uint8_t *mark, uint32_t *stack) {
  const tm_graph *g = h->graph;
  size_t n = 0;
  for (uint32_t e = g->edge_begin[0]; g->node_count && e < g->edge_begin[1]; e++) {
    edge_type kind = kind_of_edge(h, e);
    uint32_t to = g->edge_to[e];
    if (kind != X_SHORTCUT && !(kind == X_ELEMENT && is_document_trees(h, to))) continue;
    if (!(mark[to] & PAGE)) stack[n++] = to;
    mark[to] |= PAGE;
  }
  while (n) {
    uint32_t v = stack[--n];
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (mark[to] & PAGE || kind_of_edge(h, e) == X_WEAK) continue;
      mark[to] |= PAGE;
      stack[n++] = to;
    }
  }
}

// DevTools' "essential" edges are strong, all others weak.
static bool retains(const v8heap *h, const uint8_t *mark, uint32_t from, uint32_t e) {
  uint32_t to = h->graph->edge_to[e];
  edge_type kind = kind_of_edge(h, e);
  if (kind == X_WEAK || from == to) return false;
  if (from != 0) {
    if (kind == X_SHORTCUT) return false;
    if (mark[to] & PAGE && !(mark[from] & PAGE)) return false;
  }
  uint64_t table = ephemeron_table(h, e);
  return !table || table != h->id.items[from];
}

static tm_status weigh_edges(v8heap *h, uint8_t *mark, uint32_t *stack) {
  tm_graph *g = h->graph;
  mark_pages(h, mark, stack);
  for (uint32_t n = 0; n < g->node_count; n++) {
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
      g->edge_kind[e] = retains(h, mark, n, e) ? TM_STRENGTH_STRONG : TM_STRENGTH_WEAK;
    if (n % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, h->size));
  }
  return TM_OK;
}

// ---- roots ----

static void reach(const tm_graph *g, uint32_t from, uint8_t *seen, uint32_t *stack) {
  size_t n = 0;
  if (seen[from]) return;
  seen[from] = 1;
  stack[n++] = from;
  while (n) {
    uint32_t v = stack[--n];
    for (uint32_t e = g->edge_begin[v]; e < g->edge_begin[v + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (seen[to] || g->edge_kind[e] != TM_STRENGTH_STRONG) continue;
      seen[to] = 1;
      stack[n++] = to;
    }
  }
}

static tm_status add_root(v8heap *h, uint32_t node, tm_root_kind kind) {
  tm_root root = {.node = node, .thread = TM_NODE_NONE, .kind = (uint8_t)kind};
  return tm_vec_push(h->ctx, &h->graph->roots, root);
}

// The dump's own root first. Whatever it does not reach is in the dump all the same: nodes that
// only weak edges lead to, then one of each circle that is left, become roots too, so that all is
// counted.
static tm_status find_roots(v8heap *h, uint8_t *seen, uint32_t *stack) {
  tm_graph *g = h->graph;
  if (!g->node_count) return TM_OK;
  memset(seen, 0, g->node_count);
  TM_TRY(add_root(h, 0, TM_ROOT_VM));
  reach(g, 0, seen, stack);
  for (uint32_t n = 0; n < g->node_count; n++) // seen = 2: something holds it strongly
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
      if (g->edge_kind[e] == TM_STRENGTH_STRONG && !seen[g->edge_to[e]]) seen[g->edge_to[e]] = 2;
  for (uint32_t n = 1; n < g->node_count; n++) {
    if (seen[n]) continue;
    TM_TRY(add_root(h, n, TM_ROOT_OTHER));
    seen[n] = 1;
  }
  for (uint32_t n = 0; n < g->node_count; n++)
    if (seen[n] == 2) seen[n] = 0;
  for (size_t i = 1; i < g->roots.count; i++) {
    seen[g->roots.items[i].node] = 0;
    reach(g, g->roots.items[i].node, seen, stack);
  }
  for (uint32_t n = 1; n < g->node_count; n++) {
    if (seen[n]) continue;
    TM_TRY(add_root(h, n, TM_ROOT_OTHER));
    reach(g, n, seen, stack);
  }
  return TM_OK;
}

// ---- the graph ----

static tm_status make_columns(v8heap *h) {
  tm_graph *g = h->graph;
  uint64_t sum = 0;
  TM_TRY(tm_graph_alloc_nodes(h->ctx, g, (uint32_t)h->type.count));
  for (uint32_t n = 0; n < g->node_count; n++) {
    TM_TRY(tm_graph_set_size(h->ctx, g, n, h->self.items[n]));
    sum += h->edge_count.items[n];
    if (sum > h->to.count)
      return tm_fail(h->ctx, TM_E_FORMAT, TM_NO_OFFSET,
                     "its nodes claim more edges than the %zu there are", h->to.count);
    g->edge_begin[n + 1] = (uint32_t)sum;
  }
  g->edge_count = (uint32_t)sum;
  g->edge_to = tm_alloc(h->ctx, ((size_t)sum + !sum) * sizeof *g->edge_to);
  g->edge_kind = tm_calloc(h->ctx, (size_t)sum + !sum, 1);
  if (!g->edge_to || !g->edge_kind) return TM_E_NOMEM;
  if (sum) memcpy(g->edge_to, h->to.items, (size_t)sum * sizeof *g->edge_to);
  tm_vec_free(h->ctx, &h->to);
  tm_vec_free(h->ctx, &h->self);
  tm_vec_free(h->ctx, &h->edge_count);
  if (h->has_detached) {
    g->flags = tm_alloc(h->ctx, (size_t)g->node_count + !g->node_count);
    if (!g->flags) return TM_E_NOMEM;
    if (g->node_count) memcpy(g->flags, h->detached.items, g->node_count);
    tm_vec_free(h->ctx, &h->detached);
  }
  return TM_OK;
}

static tm_status weigh(v8heap *h) {
  size_t n = (size_t)h->graph->node_count + 1;
  uint8_t *mark = tm_calloc(h->ctx, n, 1);
  uint32_t *stack = tm_alloc(h->ctx, n * sizeof *stack);
  tm_status status = mark && stack ? weigh_edges(h, mark, stack) : TM_E_NOMEM;
  if (status == TM_OK) status = find_roots(h, mark, stack);
  tm_free(h->ctx, mark, n);
  tm_free(h->ctx, stack, n * sizeof *stack);
  return status;
}

tm_status v8heap_make_graph(v8heap *h) {
  TM_TRY(make_columns(h));
  TM_TRY(make_types(h));
  return weigh(h);
}

// ---- detail ----

static const v8heap *of(const tm_graph *g) {
  return g->kept;
}

static uint64_t node_id(const tm_graph *g, uint32_t node) {
  return node < g->node_count ? of(g)->id.items[node] : 0;
}

// Ids ascend in most snapshots, but not in all of each: a plain search.
static uint32_t find_node(const tm_graph *g, uint64_t id) {
  for (uint32_t n = 0; n < g->node_count; n++)
    if (of(g)->id.items[n] == id) return n;
  return TM_NODE_NONE;
}

static tm_status no_node(tm_ctx *ctx, uint32_t node) {
  return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
}

static tm_status edge_name(tm_ctx *ctx, const tm_graph *g, uint32_t node, uint32_t index, char *out,
                           size_t size) {
  if (node >= g->node_count || index >= g->edge_begin[node + 1] - g->edge_begin[node])
    return no_node(ctx, node);
  uint32_t e = g->edge_begin[node] + index;
  if (is_named(of(g), e))
    v8heap_decode(of(g), of(g)->edge_name.items[e], out, size);
  else
    snprintf(out, size, "[%" PRIu32 "]", of(g)->edge_name.items[e]);
  return TM_OK;
}

static tm_status preview(tm_ctx *ctx, const tm_graph *g, uint32_t node, char *out, size_t size) {
  if (node >= g->node_count) return no_node(ctx, node);
  v8heap_decode(of(g), of(g)->name.items[node], out, size);
  return TM_OK;
}

static tm_status add_field(tm_ctx *ctx, const tm_graph *g, uint32_t node, uint32_t index,
                           tm_table *out) {
  size_t row;
  char name[NAME_ROOM];
  uint32_t e = g->edge_begin[node] + index, to = g->edge_to[e];
  uint8_t type = of(g)->edge_type.items[e];
  const char *kind = type < of(g)->edge_type_count && of(g)->edge_types[type] < X_OTHER
                         ? v8heap_edge_words[of(g)->edge_types[type]]
                         : "other";
  TM_TRY(tm_table_add_row(ctx, out, &row));
  TM_TRY(edge_name(ctx, g, node, index, name, sizeof name));
  TM_TRY(tm_table_set_text(ctx, out, row, 0, name, strlen(name)));
  const char *type_name = tm_graph_type_name(g, to);
  TM_TRY(tm_table_set_text(ctx, out, row, 1, type_name, strlen(type_name)));
  TM_TRY(preview(ctx, g, to, name, sizeof name));
  TM_TRY(tm_table_set_text(ctx, out, row, 2, name, strlen(name)));
  tm_table_set_int(out, row, 3, to);
  return tm_table_set_text(ctx, out, row, 4, kind, strlen(kind));
}

enum { ROWS_MAX = 100000 };

static tm_status fields(tm_ctx *ctx, const tm_graph *g, uint32_t node, tm_table *out) {
  if (node >= g->node_count) return no_node(ctx, node);
  TM_TRY(tm_table_add_column(ctx, out, "name", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "value", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "node", TM_CELL_INT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "kind", TM_CELL_TEXT, TM_UNIT_NONE));
  uint32_t count = g->edge_begin[node + 1] - g->edge_begin[node];
  for (uint32_t i = 0; i < count && i < ROWS_MAX; i++) TM_TRY(add_field(ctx, g, node, i, out));
  return TM_OK;
}

static void free_kept(tm_graph *g) {
  tm_ctx ctx = {.alloc = g->alloc};
  v8heap *h = g->kept;
  tm_vec_free(&ctx, &h->type);
  tm_vec_free(&ctx, &h->name);
  tm_vec_free(&ctx, &h->id);
  tm_vec_free(&ctx, &h->self);
  tm_vec_free(&ctx, &h->edge_count);
  tm_vec_free(&ctx, &h->detached);
  tm_vec_free(&ctx, &h->edge_type);
  tm_vec_free(&ctx, &h->edge_name);
  tm_vec_free(&ctx, &h->to);
  tm_vec_free(&ctx, &h->string_at);
  tm_free(&ctx, h, sizeof *h);
}

const tm_graph_detail v8heap_detail = {.id = node_id,
                                       .find = find_node,
                                       .edge_name = edge_name,
                                       .fields = fields,
                                       .preview = preview,
                                       .free = free_kept};
