// Every key gives each node a row (or none); one walk down the dominator tree sums what the topmost
// nodes of a row retain, counting the open ones above as it goes. A package's rows are its prefixes
// too, so that a node opens several. Roots need more: see consumers_roots.c.
#include "analyze/consumers.h"

#include "analyze/consumers_impl.h"
#include "analyze/node_tables.h"
#include "base/idmap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

enum { TICK = 1 << 16, NAME_BYTES = 512 };

tm_status consumers_add(consumers *s, const char *name, size_t length, consumer row,
                        uint32_t *out_index) {
  TM_TRY(tm_strtab_intern(s->ctx, &s->names, name, length, &row.name));
  *out_index = (uint32_t)s->rows.count;
  return tm_vec_push(s->ctx, &s->rows, row);
}

// ---- what is summed down the tree ----

typedef struct down {
  consumers *s;
  const uint32_t *row_of; // by type, or by vertex
  bool by_vertex;
  uint32_t *cursor, *open;
} down;

static uint32_t row_at(const down *d, uint32_t v) {
  return d->by_vertex ? d->row_of[v] : d->row_of[d->s->g->type[d->s->t->vertex[v]]];
}

static void enter(const down *d, uint32_t v) {
  for (uint32_t r = row_at(d, v); r != NONE; r = d->s->rows.items[r].parent)
    if (d->open[r]++ == 0) d->s->rows.items[r].retained_bytes += d->s->t->retained[v];
}

static void leave(const down *d, uint32_t v) {
  for (uint32_t r = row_at(d, v); r != NONE; r = d->s->rows.items[r].parent) d->open[r]--;
}

static tm_status walk_down(down *d) {
  const tm_domchildren *c = d->s->c;
  uint32_t v = 0, seen = 0;
  d->cursor[0] = c->begin[0];
  for (;;) {
    if (d->cursor[v] < c->begin[v + 1]) {
      v = c->child[d->cursor[v]++];
      enter(d, v);
      d->cursor[v] = c->begin[v];
      if (++seen % TICK == 0) TM_TRY(tm_ctx_tick(d->s->ctx, seen));
    } else {
      if (!v) return TM_OK;
      leave(d, v);
      v = d->s->t->idom[v];
    }
  }
}

static tm_status sum_retained(consumers *s, const uint32_t *row_of, bool by_vertex) {
  size_t vertices = (size_t)s->t->reached + 1, rows = s->rows.count + 1;
  down d = {.s = s, .row_of = row_of, .by_vertex = by_vertex};
  d.cursor = tm_alloc(s->ctx, vertices * sizeof *d.cursor);
  d.open = tm_calloc(s->ctx, rows, sizeof *d.open);
  tm_status status = d.cursor && d.open ? walk_down(&d) : TM_E_NOMEM;
  tm_free(s->ctx, d.cursor, vertices * sizeof *d.cursor);
  tm_free(s->ctx, d.open, rows * sizeof *d.open);
  return status;
}

static void count_in(consumers *s, uint32_t row, uint64_t bytes) {
  for (uint32_t r = row; r != NONE; r = s->rows.items[r].parent) {
    s->rows.items[r].count++;
    s->rows.items[r].shallow_bytes += bytes;
  }
}

// ---- by what the type says ----

static const consumer empty = {.parent = NONE, .node = TM_NODE_NONE, .edge = NONE};

// The row of a package, and those of its prefixes above it.
static tm_status package_row(consumers *s, tm_idmap *index, const char *name, size_t length,
                             uint32_t *out) {
  char separator = memchr(name, '/', length) ? '/' : '.';
  uint32_t parent = NONE;
  size_t at = 0;
  do {
    at++;
    while (at < length && name[at] != separator) at++;
    uint32_t id, row;
    TM_TRY(tm_strtab_intern(s->ctx, &s->names, length ? name : "(none)", length ? at : 6, &id));
    row = tm_idmap_get(index, id);
    if (row == TM_IDMAP_NONE) {
      consumer r = empty;
      r.parent = parent;
      TM_TRY(consumers_add(s, length ? name : "(none)", length ? at : 6, r, &row));
      TM_TRY(tm_idmap_put(s->ctx, index, id, row));
    }
    parent = row;
  } while (at < length);
  *out = parent;
  return TM_OK;
}

static tm_status type_rows(consumers *s, tm_consumer by, tm_idmap *index, uint32_t *row_of) {
  for (uint32_t i = 0; i < s->g->types.count; i++) {
    const tm_type *type = &s->g->types.items[i];
    const char *name = tm_graph_text(s->g, type->name);
    if (by == TM_CONSUMER_PACKAGE)
      TM_TRY(package_row(s, index, name, tm_type_package(name), &row_of[i]));
    else
      TM_TRY(consumers_add(s, name, strlen(name), empty, &row_of[i]));
  }
  return TM_OK;
}

static tm_status by_type(consumers *s, tm_consumer by) {
  const tm_graph *g = s->g;
  tm_idmap index = {0};
  size_t room = (g->types.count + 1) * sizeof(uint32_t);
  uint32_t *row_of = tm_alloc(s->ctx, room);
  tm_status status = row_of ? type_rows(s, by, &index, row_of) : TM_E_NOMEM;
  for (uint32_t n = 0; status == TM_OK && n < g->node_count; n++)
    if (s->t->number[n]) count_in(s, row_of[g->type[n]], tm_graph_size(g, n));
  if (status == TM_OK) status = sum_retained(s, row_of, false);
  tm_free(s->ctx, row_of, room);
  tm_idmap_free(s->ctx, &index);
  return status;
}

// ---- by script ----

// Where the edge of that name leads, or TM_NODE_NONE. Only closures and shared functions are asked.
static tm_status follow_edge(consumers *s, uint32_t node, const char *const *names, uint32_t *out) {
  const tm_graph *g = s->g;
  char name[NAME_BYTES];
  *out = TM_NODE_NONE;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
    TM_TRY(g->detail->edge_name(s->ctx, g, node, e - g->edge_begin[node], name, sizeof name));
    for (const char *const *wanted = names; *wanted; wanted++)
      if (strcmp(*wanted, name) == 0) {
        *out = g->edge_to[e];
        return TM_OK;
      }
  }
  return TM_OK;
}

// The npm package of a script's path, "node" of the engine's own, "(app)" of any other.
static size_t module_of(const char *path, const char **out) {
  static const char folder[] = "node_modules/";
  const char *last = NULL;
  for (const char *p = path; (p = strstr(p, folder)); p++) last = p + sizeof folder - 1;
  if (!last) {
    *out = strncmp(path, "node:", 5) == 0 ? "node" : "(app)";
    return strlen(*out);
  }
  *out = last;
  size_t length = strcspn(last, "/");
  if (*last == '@' && last[length]) length += 1 + strcspn(last + length + 1, "/");
  return length;
}

static tm_status module_row(consumers *s, tm_idmap *index, uint32_t closure, uint32_t *out) {
  static const char *const shared[] = {"shared", NULL};
  static const char *const script[] = {"script", "script_or_debug_info", NULL};
  char path[NAME_BYTES];
  const char *name;
  uint32_t node, id;
  *out = NONE;
  TM_TRY(follow_edge(s, closure, shared, &node));
  if (node != TM_NODE_NONE) TM_TRY(follow_edge(s, node, script, &node));
  if (node == TM_NODE_NONE) return TM_OK;
  TM_TRY(s->g->detail->preview(s->ctx, s->g, node, path, sizeof path));
  size_t length = module_of(path, &name);
  TM_TRY(tm_strtab_intern(s->ctx, &s->names, name, length, &id));
  *out = tm_idmap_get(index, id);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  TM_TRY(consumers_add(s, name, length, empty, out));
  return tm_idmap_put(s->ctx, index, id, *out);
}

// A vertex without a script of its own is its dominator's.
static tm_status module_rows(consumers *s, tm_idmap *index, uint32_t *row_of) {
  uint32_t function = NONE;
  for (uint32_t i = 0; i < s->g->types.count; i++)
    if (strcmp(tm_graph_text(s->g, s->g->types.items[i].name), "Function") == 0) function = i;
  TM_TRY(consumers_add(s, "(none)", 6, empty, &row_of[0]));
  for (uint32_t v = 1; v <= s->t->reached; v++) {
    uint32_t node = s->t->vertex[v], own = NONE;
    if (s->g->type[node] == function && s->g->detail && s->g->detail->preview)
      TM_TRY(module_row(s, index, node, &own));
    row_of[v] = own == NONE ? row_of[s->t->idom[v]] : own;
    count_in(s, row_of[v], tm_graph_size(s->g, node));
    if (v % TICK == 0) TM_TRY(tm_ctx_tick(s->ctx, v));
  }
  return TM_OK;
}

static tm_status by_vertex(consumers *s, tm_status (*rows)(consumers *, tm_idmap *, uint32_t *)) {
  tm_idmap index = {0};
  size_t room = ((size_t)s->t->reached + 1) * sizeof(uint32_t);
  uint32_t *row_of = tm_alloc(s->ctx, room);
  tm_status status = row_of ? rows(s, &index, row_of) : TM_E_NOMEM;
  if (status == TM_OK) status = sum_retained(s, row_of, true);
  tm_free(s->ctx, row_of, room);
  tm_idmap_free(s->ctx, &index);
  return status;
}

// ---- by class loader ----

static tm_status loader_row(consumers *s, tm_idmap *index, uint32_t loader, uint32_t *out) {
  *out = tm_idmap_get(index, loader);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  consumer r = empty;
  r.node = loader;
  const char *name = loader == TM_NODE_NONE ? "(none)" : tm_graph_type_name(s->g, loader);
  TM_TRY(consumers_add(s, name, strlen(name), r, out));
  return tm_idmap_put(s->ctx, index, loader, *out);
}

// By class object: the row of its loader.
static tm_status class_rows(consumers *s, tm_idmap *index, tm_idmap *by_class, uint32_t *by_type) {
  for (uint32_t i = 0; i < s->g->types.count; i++) {
    const tm_type *type = &s->g->types.items[i];
    TM_TRY(loader_row(s, index, type->loader, &by_type[i]));
    if (type->node != TM_NODE_NONE) TM_TRY(tm_idmap_put(s->ctx, by_class, type->node, by_type[i]));
  }
  return TM_OK;
}

// A loader has itself, its classes with their statics, and the objects of these.
static tm_status loader_rows(consumers *s, tm_idmap *index, uint32_t *row_of) {
  const tm_graph *g = s->g;
  tm_idmap by_class = {0};
  size_t room = (g->types.count + 1) * sizeof(uint32_t);
  uint32_t *by_type = tm_alloc(s->ctx, room);
  tm_status status = by_type ? class_rows(s, index, &by_class, by_type) : TM_E_NOMEM;
  for (uint32_t v = 1; status == TM_OK && v <= s->t->reached; v++) {
    uint32_t node = s->t->vertex[v];
    row_of[v] = tm_idmap_get(index, node);
    if (row_of[v] == TM_IDMAP_NONE) row_of[v] = tm_idmap_get(&by_class, node);
    if (row_of[v] == TM_IDMAP_NONE) row_of[v] = by_type[g->type[node]];
    count_in(s, row_of[v], tm_graph_size(g, node));
    if (v % TICK == 0) status = tm_ctx_tick(s->ctx, v);
  }
  tm_free(s->ctx, by_type, room);
  tm_idmap_free(s->ctx, &by_class);
  return status;
}

// ---- by part of the heap ----

static tm_status heap_rows(consumers *s, tm_idmap *index, uint32_t *row_of) {
  const tm_graph *g = s->g;
  for (uint32_t v = 1; v <= s->t->reached; v++) {
    uint32_t node = s->t->vertex[v];
    uint32_t heap = g->detail && g->detail->heap ? g->detail->heap(g, node) : 0;
    row_of[v] = tm_idmap_get(index, heap);
    if (row_of[v] == TM_IDMAP_NONE) {
      const char *name = heap ? tm_graph_text(g, heap) : "(none)";
      TM_TRY(consumers_add(s, name, strlen(name), empty, &row_of[v]));
      TM_TRY(tm_idmap_put(s->ctx, index, heap, row_of[v]));
    }
    count_in(s, row_of[v], tm_graph_size(g, node));
    if (v % TICK == 0) TM_TRY(tm_ctx_tick(s->ctx, v));
  }
  return TM_OK;
}

// ---- by one object ----

static bool is_realm(const char *type) {
  static const char *const names[] = {"global", "Window", "system / NativeContext"};
  for (size_t i = 0; i < TM_COUNT(names); i++) {
    size_t n = strlen(names[i]);
    if (strncmp(type, names[i], n) != 0) continue;
    const char *rest = type + n;
    if (!*rest || (*rest == ' ' && rest[1] != '(')) return true; // "(": its prototype, a cache
  }
  return false;
}

static tm_status by_context(consumers *s) {
  const tm_graph *g = s->g;
  for (uint32_t n = 0; n < g->node_count; n++) {
    const char *type = tm_graph_type_name(g, n);
    if (!s->t->number[n] || !is_realm(type)) continue;
    char name[NAME_BYTES] = "";
    uint32_t row;
    consumer r = empty;
    r.node = n;
    r.count = 1;
    r.shallow_bytes = tm_graph_size(g, n);
    r.retained_bytes = tm_domtree_retained(s->t, g, n);
    if (g->detail && g->detail->preview)
      TM_TRY(g->detail->preview(s->ctx, g, n, name, sizeof name));
    if (!*name) snprintf(name, sizeof name, "%s", type);
    TM_TRY(consumers_add(s, name, strlen(name), r, &row));
  }
  return TM_OK;
}

// The text of where the node's edge of that name leads: a thread's name.
static tm_status named_by(consumers *s, uint32_t node, char *out, size_t size) {
  static const char *const names[] = {"name", NULL};
  const tm_graph *g = s->g;
  uint32_t to = TM_NODE_NONE;
  out[0] = '\0';
  if (!g->detail || !g->detail->edge_name || !g->detail->preview) return TM_OK;
  TM_TRY(follow_edge(s, node, names, &to));
  return to == TM_NODE_NONE ? TM_OK : g->detail->preview(s->ctx, g, to, out, size);
}

// A goroutine by its label; a thread of a JVM by its type and name, or that of its field "name".
static tm_status add_thread(consumers *s, const tm_root *root, uint32_t node) {
  const tm_graph *g = s->g;
  char name[NAME_BYTES] = "", text[2 * NAME_BYTES];
  const char *label = root->kind == TM_ROOT_THREAD ? tm_graph_text(g, root->label) : "";
  uint32_t index;
  consumer r = {.parent = NONE, .node = node, .edge = NONE, .count = 1};
  r.shallow_bytes = tm_graph_size(g, node);
  r.retained_bytes = tm_domtree_retained(s->t, g, node);
  if (!*label) TM_TRY(named_by(s, node, name, sizeof name));
  if (*label && g->goroutines.count)
    snprintf(text, sizeof text, "%s", label);
  else if (*label)
    snprintf(text, sizeof text, "%s %s", tm_graph_type_name(g, node), label);
  else
    snprintf(text, sizeof text, "%s%s%s%s", tm_graph_type_name(g, node), *name ? " \"" : "", name,
             *name ? "\"" : "");
  return consumers_add(s, text, strlen(text), r, &index);
}

static tm_status by_thread(consumers *s) {
  const tm_graph *g = s->g;
  tm_idmap seen = {0};
  tm_status status = TM_OK;
  for (size_t i = 0; i < g->roots.count && status == TM_OK; i++) {
    const tm_root *root = &g->roots.items[i];
    uint32_t node = root->kind == TM_ROOT_THREAD ? root->node : root->thread;
    if (node == TM_NODE_NONE || tm_idmap_get(&seen, node) != TM_IDMAP_NONE) continue;
    status = tm_idmap_put(s->ctx, &seen, node, 0);
    if (status == TM_OK) status = add_thread(s, root, node);
  }
  tm_idmap_free(s->ctx, &seen);
  return status;
}

// Everything that the fields of one object hold alone: a class's statics, a realm's properties.
static tm_status add_fields(consumers *s, uint32_t holder) {
  const tm_graph *g = s->g;
  uint32_t number = s->t->number[holder], row;
  if (!number) return TM_OK;
  for (uint32_t e = g->edge_begin[holder]; e < g->edge_begin[holder + 1]; e++) {
    uint32_t to = g->edge_to[e], v = s->t->number[to];
    bool again = false;
    if (!v || v == number || s->t->idom[v] != number) continue;
    for (uint32_t f = g->edge_begin[holder]; f < e && !again && e - f < 64; f++)
      again = g->edge_to[f] == to;
    if (again) continue;
    consumer r = {.parent = NONE, .node = holder, .edge = e - g->edge_begin[holder], .count = 1};
    r.shallow_bytes = tm_graph_size(g, to);
    r.retained_bytes = s->t->retained[v];
    TM_TRY(consumers_add(s, "", 0, r, &row));
  }
  return TM_OK;
}

static tm_status by_global(consumers *s, tm_strength weakest) {
  const tm_graph *g = s->g;
  for (uint32_t i = 0; i < g->types.count; i++)
    if (g->types.items[i].node < g->node_count) TM_TRY(add_fields(s, g->types.items[i].node));
  if (s->rows.count) return TM_OK;
  for (uint32_t n = 0; n < g->node_count; n++)
    if (is_realm(tm_graph_type_name(g, n))) TM_TRY(add_fields(s, n));
  return s->rows.count ? TM_OK : consumers_by_label(s, weakest);
}

// ---- rows ----

typedef struct rank {
  const consumer *row;
  const char *name;
} rank;

static int by_rank(const void *a, const void *b) {
  const rank *x = a, *y = b;
  uint64_t p = x->row->retained_bytes, q = y->row->retained_bytes;
  if (p != q) return p < q ? 1 : -1;
  int order = strcmp(x->name, y->name);
  if (order) return order;
  if (x->row->node != y->row->node) return x->row->node < y->row->node ? -1 : 1;
  return x->row->edge < y->row->edge ? -1 : x->row->edge > y->row->edge;
}

static tm_status name_row(const consumers *s, const consumer *r, char *out, size_t size) {
  char holder[NAME_BYTES] = "";
  const tm_graph *g = s->g;
  if (r->edge == NONE) {
    snprintf(out, size, "%s", tm_strtab_text(&s->names, r->name));
    return TM_OK;
  }
  if (g->detail && g->detail->preview)
    TM_TRY(g->detail->preview(s->ctx, g, r->node, holder, sizeof holder));
  const char *from = strncmp(holder, "class ", 6) == 0 ? holder + 6 : holder;
  size_t used = (size_t)snprintf(out, size, "%s.", from);
  if (used >= size || !g->detail || !g->detail->edge_name) return TM_OK;
  return g->detail->edge_name(s->ctx, g, r->node, r->edge, out + used, size - used);
}

static tm_status write_row(const consumers *s, const consumer *r, tm_table *out) {
  char name[2 * NAME_BYTES];
  size_t row;
  int64_t depth = 0, node = r->node == TM_NODE_NONE ? -1 : (int64_t)r->node;
  for (uint32_t p = r->parent; p != NONE; p = s->rows.items[p].parent) depth++;
  if (r->edge != NONE) node = s->g->edge_to[s->g->edge_begin[r->node] + r->edge];
  TM_TRY(name_row(s, r, name, sizeof name));
  TM_TRY(tm_table_add_row(s->ctx, out, &row));
  TM_TRY(tm_table_set_text(s->ctx, out, row, 0, name, strlen(name)));
  tm_table_set_int(out, row, 1, depth);
  tm_table_set_int(out, row, 2, node);
  tm_table_set_int(out, row, 3, (int64_t)r->count);
  tm_table_set_int(out, row, 4, (int64_t)r->shallow_bytes);
  tm_table_set_int(out, row, 5, (int64_t)r->retained_bytes);
  return TM_OK;
}

static tm_status write_rows(const consumers *s, size_t row_count, tm_table *out) {
  size_t n = 0, room = (s->rows.count + 1) * sizeof(rank);
  rank *list = tm_alloc(s->ctx, room);
  if (!list) return TM_E_NOMEM;
  for (size_t i = 0; i < s->rows.count; i++) {
    const consumer *r = &s->rows.items[i];
    if (r->count) list[n++] = (rank){r, tm_strtab_text(&s->names, r->name)};
  }
  if (n) qsort(list, n, sizeof *list, by_rank);
  if (row_count && row_count < n) n = row_count;
  tm_status status = TM_OK;
  for (size_t i = 0; i < n && status == TM_OK; i++) status = write_row(s, list[i].row, out);
  tm_free(s->ctx, list, room);
  return status;
}

static tm_status gather(consumers *s, tm_consumer by, tm_strength weakest) {
  switch (by) {
  case TM_CONSUMER_MODULE:
    return by_vertex(s, module_rows);
  case TM_CONSUMER_CONTEXT:
    return by_context(s);
  case TM_CONSUMER_GLOBAL:
    return by_global(s, weakest);
  case TM_CONSUMER_ROOT:
    return consumers_by_root(s, weakest);
  case TM_CONSUMER_THREAD:
    return by_thread(s);
  case TM_CONSUMER_LOADER:
    return by_vertex(s, loader_rows);
  case TM_CONSUMER_HEAP:
    return by_vertex(s, heap_rows);
  default:
    return by_type(s, by);
  }
}

static tm_status make_columns(tm_ctx *ctx, tm_table *out) {
  TM_TRY(tm_table_add_column(ctx, out, "name", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "depth", TM_CELL_INT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "node", TM_CELL_INT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "count", TM_CELL_INT, TM_UNIT_COUNT));
  TM_TRY(tm_table_add_column(ctx, out, "shallow_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  return tm_table_add_column(ctx, out, "retained_bytes", TM_CELL_INT, TM_UNIT_BYTES);
}

tm_status tm_consumers_table(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree,
                             const tm_domchildren *children, tm_strength weakest, tm_consumer by,
                             size_t row_count, tm_table *out) {
  consumers s = {.ctx = ctx, .g = g, .t = tree, .c = children};
  tm_strtab_init(&s.names, &ctx->alloc, 0);
  tm_status status = gather(&s, by, weakest);
  if (status == TM_OK) status = make_columns(ctx, out);
  if (status == TM_OK) status = write_rows(&s, row_count, out);
  if (status == TM_OK)
    status = tm_table_note_int(ctx, out, "reachable_bytes", (int64_t)tree->retained[0]);
  tm_vec_free(ctx, &s.rows);
  tm_strtab_fini(&s.names);
  return status;
}
