// From the virtual root down the dominator tree into every branch that is great (holds more than
// the share). A vertex whose small branches together are still great is an accumulation point;
// under the roots themselves, and under V8's synthetic nodes, small branches are grouped by type
// instead. A chain would be followed to its middle: where types repeat over many steps, its first
// link is reported. Everything is sums over lists of children, sorted so that ties are decided.
#include "analyze/suspects.h"

#include "base/idmap.h"
#include "base/vec.h"

#include <stdlib.h>
#include <string.h>

enum { TICK = 1 << 16, CHAIN_STEPS = 18, LONGEST_CYCLE = 3 };

typedef enum kind { OBJECT, CHAIN, GROUP, FAN } kind;

typedef struct suspect {
  kind kind;
  uint32_t node, top, type;
  uint64_t count, bytes;
  uint32_t piled_type;
  uint64_t piled_count, piled_bytes;
} suspect;

typedef struct type_pile {
  uint32_t type, greatest; // vertex
  uint64_t count, shallow_bytes, bytes;
} type_pile;

typedef struct hunt {
  tm_ctx *ctx;
  const tm_graph *g;
  const tm_domtree *t;
  const tm_domchildren *c;
  uint64_t great_bytes; // more than this is great
  TM_VEC(suspect) found;
  TM_VEC(uint32_t) open; // vertices to look at
  TM_VEC(type_pile) piles;
  tm_idmap pile_of; // type -> index of piles
} hunt;

static uint32_t type_of(const hunt *h, uint32_t v) {
  return h->g->type[h->t->vertex[v]];
}

static uint32_t top_of(const hunt *h, uint32_t v) {
  while (h->t->idom[v]) v = h->t->idom[v];
  return h->t->vertex[v];
}

// ---- piles by type ----

static void clear_piles(hunt *h) {
  h->piles.count = 0;
  tm_idmap_free(h->ctx, &h->pile_of);
}

static tm_status add_to_pile(hunt *h, uint32_t v) {
  uint32_t type = type_of(h, v), at = tm_idmap_get(&h->pile_of, type);
  if (at == TM_IDMAP_NONE) {
    at = (uint32_t)h->piles.count;
    TM_TRY(tm_vec_push(h->ctx, &h->piles, (type_pile){.type = type, .greatest = v}));
    TM_TRY(tm_idmap_put(h->ctx, &h->pile_of, type, at));
  }
  type_pile *p = &h->piles.items[at];
  p->count++;
  p->shallow_bytes += tm_graph_size(h->g, h->t->vertex[v]);
  p->bytes += h->t->retained[v];
  if (h->t->retained[v] > h->t->retained[p->greatest]) p->greatest = v;
  return TM_OK;
}

// The pile with most bytes, ties by name; NULL when there is none.
static const type_pile *greatest_pile(const hunt *h) {
  const type_pile *best = NULL;
  for (size_t i = 0; i < h->piles.count; i++) {
    const type_pile *p = &h->piles.items[i];
    if (!best || p->bytes > best->bytes
        || (p->bytes == best->bytes
            && strcmp(tm_graph_text(h->g, h->g->types.items[p->type].name),
                      tm_graph_text(h->g, h->g->types.items[best->type].name))
                   < 0))
      best = p;
  }
  return best;
}

// ---- chains ----

// The child that holds at least 0.7 of what v holds, or 0.
static uint32_t main_child(const hunt *h, uint32_t v) {
  const uint64_t *retained = h->t->retained;
  for (uint32_t i = h->c->begin[v]; i < h->c->begin[v + 1]; i++) {
    uint32_t child = h->c->child[i];
    if ((double)retained[child] >= 0.7 * (double)retained[v]) return child;
  }
  return 0;
}

// The length of the cycle of types in which v begins a chain, or 0.
static uint32_t cycle_of_chain(const hunt *h, uint32_t v) {
  uint32_t types[CHAIN_STEPS];
  for (uint32_t i = 0; i < CHAIN_STEPS; i++) {
    if (!v) return 0;
    types[i] = type_of(h, v);
    v = main_child(h, v);
  }
  for (uint32_t cycle = 1; cycle <= LONGEST_CYCLE; cycle++) {
    uint32_t same = 0;
    for (uint32_t i = 0; i + cycle < CHAIN_STEPS; i++) same += types[i] == types[i + cycle];
    if (same == CHAIN_STEPS - cycle) return cycle;
  }
  return 0;
}

// Down the chain as long as the types keep their cycle; far down the rest is so small that
// main_child may fail, which is its end too. Every link is of some weight: steps of less than 0.7
// are passed over by the greatest child.
static uint64_t count_links(const hunt *h, uint32_t v, uint32_t cycle) {
  uint32_t types[LONGEST_CYCLE] = {0};
  uint64_t steps = 0;
  while (v) {
    if (steps < cycle)
      types[steps] = type_of(h, v);
    else if (types[steps % cycle] != type_of(h, v))
      break;
    steps++;
    uint32_t next = 0;
    for (uint32_t i = h->c->begin[v]; i < h->c->begin[v + 1]; i++) {
      uint32_t child = h->c->child[i];
      bool fits = steps < cycle || type_of(h, child) == types[steps % cycle];
      if (fits && (!next || h->t->retained[child] > h->t->retained[next])) next = child;
    }
    v = next;
  }
  return (steps + cycle - 1) / cycle;
}

static tm_status report_chain(hunt *h, uint32_t v, uint32_t cycle) {
  uint32_t node = h->t->vertex[v];
  suspect s = {.kind = CHAIN,
               .node = node,
               .top = top_of(h, v),
               .type = type_of(h, v),
               .count = count_links(h, v, cycle),
               .bytes = h->t->retained[v],
               .piled_type = type_of(h, v),
               .piled_bytes = h->t->retained[v]};
  s.piled_count = s.count;
  return tm_vec_push(h->ctx, &h->found, s);
}

// ---- accumulation points ----

// Nodes that stand for no object of the program.
static bool is_hub(const hunt *h, uint32_t v) {
  return !v || strcmp(tm_graph_type_name(h->g, h->t->vertex[v]), "(synthetic)") == 0;
}

static tm_status report_groups(hunt *h) {
  for (size_t i = 0; i < h->piles.count; i++) {
    const type_pile *p = &h->piles.items[i];
    if (p->bytes <= h->great_bytes) continue;
    suspect s = {.kind = GROUP,
                 .node = TM_NODE_NONE,
                 .top = TM_NODE_NONE,
                 .type = p->type,
                 .count = p->count,
                 .bytes = p->bytes,
                 .piled_type = p->type,
                 .piled_count = p->count,
                 .piled_bytes = p->bytes};
    TM_TRY(tm_vec_push(h->ctx, &h->found, s));
  }
  return TM_OK;
}

static tm_status report_object(hunt *h, uint32_t v, uint64_t rest) {
  const type_pile *p = greatest_pile(h);
  suspect s = {.kind = OBJECT,
               .node = h->t->vertex[v],
               .top = top_of(h, v),
               .type = type_of(h, v),
               .count = 1,
               .bytes = rest,
               .piled_type = p ? p->type : TM_NODE_NONE,
               .piled_count = p ? p->count : 0,
               .piled_bytes = p ? p->bytes : 0};
  return tm_vec_push(h->ctx, &h->found, s);
}

static tm_status look_at(hunt *h, uint32_t v) {
  uint64_t rest = h->t->retained[v];
  uint32_t cycle = v ? cycle_of_chain(h, v) : 0;
  if (cycle) return report_chain(h, v, cycle);
  clear_piles(h);
  for (uint32_t i = h->c->begin[v]; i < h->c->begin[v + 1]; i++) {
    uint32_t child = h->c->child[i];
    if (h->t->retained[child] > h->great_bytes) {
      rest -= h->t->retained[child];
      TM_TRY(tm_vec_push(h->ctx, &h->open, child));
    } else {
      TM_TRY(add_to_pile(h, child));
    }
  }
  if (rest <= h->great_bytes) return TM_OK;
  return is_hub(h, v) ? report_groups(h) : report_object(h, v, rest);
}

static tm_status find_piles(hunt *h) {
  TM_TRY(tm_vec_push(h->ctx, &h->open, 0));
  for (uint32_t steps = 0; h->open.count; steps++) {
    if (steps % 1024 == 0) TM_TRY(tm_ctx_tick(h->ctx, steps));
    TM_TRY(look_at(h, h->open.items[--h->open.count]));
  }
  return TM_OK;
}

// ---- fans ----

// The type that most of the node's references lead to, by Boyer and Moore's majority vote.
static uint32_t majority_type(const tm_graph *g, uint32_t node) {
  uint32_t candidate = TM_NODE_NONE, votes = 0;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
    uint32_t type = g->type[g->edge_to[e]];
    if (!votes) candidate = type;
    votes += candidate == type ? 1 : (uint32_t)-1;
  }
  return candidate;
}

static tm_status add_fan(hunt *h, uint32_t node, uint32_t min_references) {
  const tm_graph *g = h->g;
  suspect s = {.kind = FAN, .node = node, .type = g->type[node]};
  s.piled_type = majority_type(g, node);
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++) {
    if (g->type[g->edge_to[e]] != s.piled_type || tm_graph_strength(g, node, e) > TM_STRENGTH_SOFT)
      continue;
    s.piled_count++;
    s.piled_bytes += tm_graph_size(g, g->edge_to[e]);
  }
  if (s.piled_count < min_references) return TM_OK;
  s.top = top_of(h, h->t->number[node]);
  s.count = s.piled_count;
  s.bytes = s.piled_bytes;
  return tm_vec_push(h->ctx, &h->found, s);
}

static int by_count(const void *a, const void *b) {
  const suspect *x = a, *y = b;
  if (x->count != y->count) return x->count < y->count ? 1 : -1;
  return x->node < y->node ? -1 : x->node > y->node;
}

static tm_status find_fans(hunt *h, uint32_t min_references, size_t most) {
  size_t first = h->found.count;
  const tm_graph *g = h->g;
  for (uint32_t n = 0; n < g->node_count; n++) {
    if (n % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, n));
    uint32_t v = h->t->number[n];
    if (g->edge_begin[n + 1] - g->edge_begin[n] < min_references || !v || is_hub(h, v)) continue;
    bool known = false;
    for (size_t i = 0; i < first && !known; i++) known = h->found.items[i].node == n;
    if (!known) TM_TRY(add_fan(h, n, min_references));
  }
  size_t count = h->found.count - first;
  if (count) qsort(h->found.items + first, count, sizeof *h->found.items, by_count);
  if (count > most) h->found.count = first + most;
  return TM_OK;
}

// ---- the table ----

static int by_kind(const void *a, const void *b) {
  const suspect *x = a, *y = b;
  bool fan_x = x->kind == FAN, fan_y = y->kind == FAN;
  if (fan_x != fan_y) return fan_x ? 1 : -1;
  if (fan_x) return by_count(a, b);
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  if (x->node != y->node) return x->node < y->node ? -1 : 1;
  return x->type < y->type ? -1 : x->type > y->type;
}

static tm_status set_type(const hunt *h, tm_table *out, size_t row, size_t column, uint32_t type) {
  const char *name = type == TM_NODE_NONE ? "" : tm_graph_text(h->g, h->g->types.items[type].name);
  return tm_table_set_text(h->ctx, out, row, column, name, strlen(name));
}

static tm_status write_suspect(const hunt *h, const suspect *s, tm_table *out) {
  static const char *const kinds[] = {"object", "chain", "group", "fan"};
  size_t row;
  double total = (double)h->t->retained[0];
  TM_TRY(tm_table_add_row(h->ctx, out, &row));
  TM_TRY(tm_table_set_text(h->ctx, out, row, 0, kinds[s->kind], strlen(kinds[s->kind])));
  tm_table_set_int(out, row, 1, s->node == TM_NODE_NONE ? -1 : (int64_t)s->node);
  tm_table_set_int(out, row, 2, s->top == TM_NODE_NONE ? -1 : (int64_t)s->top);
  TM_TRY(set_type(h, out, row, 3, s->type));
  tm_table_set_int(out, row, 4, (int64_t)s->count);
  tm_table_set_int(out, row, 5, (int64_t)s->bytes);
  tm_table_set_real(out, row, 6, total > 0 ? (double)s->bytes / total : 0);
  TM_TRY(set_type(h, out, row, 7, s->piled_type));
  tm_table_set_int(out, row, 8, (int64_t)s->piled_count);
  tm_table_set_int(out, row, 9, (int64_t)s->piled_bytes);
  return TM_OK;
}

static tm_status write_suspects(const hunt *h, tm_table *out) {
  static const struct {
    const char *name;
    tm_cell cell;
    tm_unit unit;
  } columns[] = {
      {"kind", TM_CELL_TEXT, TM_UNIT_NONE},         {"node", TM_CELL_INT, TM_UNIT_NONE},
      {"top_node", TM_CELL_INT, TM_UNIT_NONE},      {"type", TM_CELL_TEXT, TM_UNIT_NONE},
      {"count", TM_CELL_INT, TM_UNIT_COUNT},        {"retained_bytes", TM_CELL_INT, TM_UNIT_BYTES},
      {"share_ratio", TM_CELL_REAL, TM_UNIT_RATIO}, {"piled_type", TM_CELL_TEXT, TM_UNIT_NONE},
      {"piled_count", TM_CELL_INT, TM_UNIT_COUNT},  {"piled_bytes", TM_CELL_INT, TM_UNIT_BYTES}};
  for (size_t i = 0; i < TM_COUNT(columns); i++)
    TM_TRY(tm_table_add_column(h->ctx, out, columns[i].name, columns[i].cell, columns[i].unit));
  for (size_t i = 0; i < h->found.count; i++) TM_TRY(write_suspect(h, &h->found.items[i], out));
  return tm_table_note_int(h->ctx, out, "reachable_bytes", (int64_t)h->t->retained[0]);
}

static void drop(hunt *h) {
  clear_piles(h);
  tm_vec_free(h->ctx, &h->found);
  tm_vec_free(h->ctx, &h->open);
  tm_vec_free(h->ctx, &h->piles);
}

tm_status tm_suspects_table(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree,
                            const tm_domchildren *children, const tm_suspects_options *options,
                            tm_table *out) {
  double share = options->min_share_ratio > 0 ? options->min_share_ratio : 0.1;
  uint32_t references = options->min_references ? options->min_references : 1000;
  hunt h = {.ctx = ctx, .g = g, .t = tree, .c = children};
  h.great_bytes = (uint64_t)((double)tree->retained[0] * share);
  tm_status status = find_piles(&h);
  if (status == TM_OK)
    status = find_fans(&h, references, options->fan_count ? options->fan_count : 10);
  if (status == TM_OK) {
    if (h.found.count) qsort(h.found.items, h.found.count, sizeof *h.found.items, by_kind);
    status = write_suspects(&h, out);
  }
  drop(&h);
  return status;
}

// ---- levels of a pile ----

typedef struct level {
  TM_VEC(uint32_t) now, below;
} level;

static tm_status write_level(const hunt *h, uint32_t depth, const type_pile *p, tm_table *out) {
  size_t row;
  TM_TRY(tm_table_add_row(h->ctx, out, &row));
  tm_table_set_int(out, row, 0, depth);
  TM_TRY(set_type(h, out, row, 1, p->type));
  tm_table_set_int(out, row, 2, (int64_t)p->count);
  tm_table_set_int(out, row, 3, (int64_t)p->shallow_bytes);
  tm_table_set_int(out, row, 4, (int64_t)p->bytes);
  tm_table_set_int(out, row, 5, h->t->vertex[p->greatest]);
  return TM_OK;
}

// One level: sums the children of l->now by type, and makes those of the greatest type l->now.
static tm_status descend(hunt *h, level *l, uint32_t depth, tm_table *out) {
  clear_piles(h);
  l->below.count = 0;
  for (size_t i = 0; i < l->now.count; i++)
    for (uint32_t k = h->c->begin[l->now.items[i]]; k < h->c->begin[l->now.items[i] + 1]; k++) {
      if (depth == 1 && h->t->retained[h->c->child[k]] > h->great_bytes) continue;
      TM_TRY(add_to_pile(h, h->c->child[k]));
      TM_TRY(tm_vec_push(h->ctx, &l->below, h->c->child[k]));
    }
  const type_pile *p = greatest_pile(h);
  l->now.count = 0;
  if (!p) return TM_OK;
  for (size_t i = 0; i < l->below.count; i++)
    if (type_of(h, l->below.items[i]) == p->type)
      TM_TRY(tm_vec_push(h->ctx, &l->now, l->below.items[i]));
  return write_level(h, depth, p, out);
}

static tm_status pile_columns(tm_ctx *ctx, tm_table *out) {
  TM_TRY(tm_table_add_column(ctx, out, "level", TM_CELL_INT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "type", TM_CELL_TEXT, TM_UNIT_NONE));
  TM_TRY(tm_table_add_column(ctx, out, "count", TM_CELL_INT, TM_UNIT_COUNT));
  TM_TRY(tm_table_add_column(ctx, out, "shallow_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  TM_TRY(tm_table_add_column(ctx, out, "retained_bytes", TM_CELL_INT, TM_UNIT_BYTES));
  return tm_table_add_column(ctx, out, "node", TM_CELL_INT, TM_UNIT_NONE);
}

tm_status tm_suspects_pile(tm_ctx *ctx, const tm_graph *g, const tm_domtree *tree,
                           const tm_domchildren *children, uint32_t node, uint32_t levels,
                           uint64_t most_bytes, tm_table *out) {
  hunt h = {.ctx = ctx, .g = g, .t = tree, .c = children};
  h.great_bytes = most_bytes ? most_bytes : UINT64_MAX;
  level l = {0};
  if (node >= g->node_count)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "no object %u in this dump", node);
  tm_status status = pile_columns(ctx, out);
  uint32_t v = tree->number[node];
  if (status == TM_OK && v) status = tm_vec_push(ctx, &l.now, v);
  for (uint32_t depth = 1; depth <= levels && l.now.count && status == TM_OK; depth++)
    status = descend(&h, &l, depth, out);
  tm_vec_free(ctx, &l.now);
  tm_vec_free(ctx, &l.below);
  drop(&h);
  return status;
}
