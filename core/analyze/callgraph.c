// From all nodes to those worth a drawing, in pprof's order of steps: cut nodes by cum, sort (a
// picture by entropy: what branches comes before what only passes on), cut labels and edges, keep
// the first nodes, count edges anew between those, and last take out edges over hidden nodes that
// another path makes needless. Cost: three passes over the stacks; per residual edge one search of
// the graph.
// Source: the rules of github.com/google/pprof (behaviour of `go tool pprof -dot`).
#include "analyze/callgraph.h"

#include "analyze/callgraph_impl.h"
#include "analyze/pprof_units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct builder {
  tm_ctx *ctx;
  tm_callgraph *g;
  const tm_callgraph_options *o;
  uint64_t node_cutoff, edge_cutoff;
} builder;

void tm_callgraph_fini(tm_ctx *ctx, tm_callgraph *g) {
  tm_vec_free(ctx, &g->nodes);
  tm_vec_free(ctx, &g->edges);
  tm_vec_free(ctx, &g->tags);
  tm_idmap_free(ctx, &g->children);
  tm_free(ctx, g->order, g->order_room * sizeof *g->order);
  tm_free(ctx, g->in_begin, (g->index_nodes + 2) * sizeof *g->in_begin);
  tm_free(ctx, g->in_edges, (g->index_edges + 1) * sizeof *g->in_edges);
  *g = (tm_callgraph){0};
}

// --- edges by the node they lead to ---

static tm_status index_edges(builder *b) {
  tm_callgraph *g = b->g;
  tm_free(b->ctx, g->in_begin, (g->index_nodes + 2) * sizeof *g->in_begin);
  tm_free(b->ctx, g->in_edges, (g->index_edges + 1) * sizeof *g->in_edges);
  g->index_nodes = g->nodes.count;
  g->index_edges = g->edges.count;
  g->in_begin = tm_calloc(b->ctx, g->index_nodes + 2, sizeof *g->in_begin);
  g->in_edges = tm_calloc(b->ctx, g->index_edges + 1, sizeof *g->in_edges);
  if (!g->in_begin || !g->in_edges) return TM_E_NOMEM;
  for (size_t i = 0; i < g->index_edges; i++) g->in_begin[g->edges.items[i].to + 2]++;
  for (size_t i = 2; i < g->index_nodes + 2; i++) g->in_begin[i] += g->in_begin[i - 1];
  for (uint32_t i = 0; i < g->index_edges; i++)
    g->in_edges[g->in_begin[g->edges.items[i].to + 1]++] = i;
  return TM_OK;
}

static void count_degrees(tm_callgraph *g) {
  for (size_t i = 0; i < g->nodes.count; i++)
    g->nodes.items[i].in_count = g->nodes.items[i].out_count = 0;
  for (size_t i = 0; i < g->edges.count; i++) {
    const tm_callgraph_edge *e = &g->edges.items[i];
    if (e->dead) continue;
    g->nodes.items[e->from].out_count++;
    g->nodes.items[e->to].in_count++;
  }
}

// Edges of a graph between the nodes that f keeps.
static tm_status graph_edges(builder *b) {
  tm_flatcum *f = b->g->f;
  f->edges.count = b->g->edges.count = 0;
  TM_TRY(tm_flatcum_edges(b->ctx, f, false, 0));
  TM_TRY(tm_vec_reserve(b->ctx, &b->g->edges, f->edges.count));
  for (size_t i = 0; i < f->edges.count; i++) {
    const tm_edge *e = &f->edges.items[i];
    b->g->edges.items[b->g->edges.count++] =
        (tm_callgraph_edge){.from = e->from,
                            .to = e->to,
                            .weight = e->weight,
                            .weight_divisor = e->weight_divisor,
                            .residual = e->residual,
                            .is_inline = e->is_inline};
  }
  return index_edges(b);
}

// Edges into shown nodes only, as the reference has it.
static void trim_edges(builder *b) {
  tm_callgraph *g = b->g;
  g->dropped_edges = 0;
  for (size_t i = 0; i < g->edges.count; i++) {
    tm_callgraph_edge *e = &g->edges.items[i];
    if (e->dead || !g->nodes.items[e->to].number) continue;
    if (callgraph_size(e->weight) >= b->edge_cutoff) continue;
    e->dead = true;
    g->dropped_edges++;
  }
}

// --- order ---

// Go's way to a base-2 logarithm, so that scores agree to the last bit nearly everywhere.
static double log_2(double x) {
  int exponent;
  double part = frexp(x, &exponent);
  if (part == 0.5) return exponent - 1;
  return log(part) * (1 / 0.693147180559945309417232121458176568) + exponent;
}

static double share_entropy(uint64_t part, uint64_t total) {
  double share = (double)(int64_t)part / (double)(int64_t)total;
  return -share * log_2(share);
}

typedef struct sort_key {
  int64_t score; // signed: the size of INT64_MIN, which not-a-number gives, sorts last
  const char *label;
  uint64_t address, flat;
  uint32_t node;
} sort_key;

static int compare_keys(const void *left, const void *right) {
  const sort_key *a = left, *b = right;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  if (a->address && b->address && a->address != b->address) return a->address < b->address ? -1 : 1;
  int order = a->label == b->label ? 0 : strcmp(a->label, b->label);
  if (order) return order;
  if (a->flat != b->flat) return a->flat > b->flat ? -1 : 1;
  return a->node < b->node ? -1 : a->node > b->node;
}

// Per node and direction: sum of positive edge weights, then the entropy of the shares.
typedef struct spread {
  uint64_t in_total, out_total;
  double in_score, out_score;
} spread;

static void score_edges(const tm_callgraph *g, spread *of) {
  for (size_t i = 0; i < g->nodes.count; i++) of[i].out_total = (uint64_t)g->nodes.items[i].flat;
  for (size_t i = 0; i < g->edges.count; i++) {
    const tm_callgraph_edge *e = &g->edges.items[i];
    if (e->dead || e->weight <= 0) continue;
    of[e->from].out_total += (uint64_t)e->weight;
    of[e->to].in_total += (uint64_t)e->weight;
  }
  for (size_t i = 0; i < g->edges.count; i++) {
    const tm_callgraph_edge *e = &g->edges.items[i];
    if (e->dead) continue;
    uint64_t size = callgraph_size(e->weight);
    if (of[e->from].out_total) of[e->from].out_score += share_entropy(size, of[e->from].out_total);
    if (of[e->to].in_total) of[e->to].in_score += share_entropy(size, of[e->to].in_total);
  }
}

static int64_t entropy_score(const tm_callgraph_node *n, const spread *s) {
  double score = n->in_count ? s->in_score : 1, out = n->out_count ? s->out_score : 1;
  if (n->out_count && n->flat > 0 && s->out_total)
    out += share_entropy((uint64_t)n->flat, s->out_total);
  return (int64_t)((uint64_t)tm_pprof_whole((score + out) * (double)n->cum) + (uint64_t)n->flat);
}

static tm_status fill_keys(builder *b, sort_key *keys, const spread *of) {
  tm_callgraph *g = b->g;
  for (uint32_t i = 0; i < g->order_count; i++) {
    uint32_t node = g->order[i];
    const tm_callgraph_node *n = &g->nodes.items[node];
    int64_t score = of ? entropy_score(n, &of[node]) : b->o->by_cum ? n->cum : n->flat;
    keys[i] = (sort_key){.score = (int64_t)callgraph_size(score),
                         .address = g->f->nodes.items[n->info].address,
                         .flat = callgraph_size(b->o->by_cum || of ? n->flat : n->cum),
                         .node = node};
    TM_TRY(tm_flatcum_label(b->ctx, g->f, n->info, &keys[i].label));
  }
  return TM_OK;
}

static tm_status sort_nodes(builder *b) {
  tm_callgraph *g = b->g;
  size_t count = g->nodes.count + 1;
  sort_key *keys = tm_alloc(b->ctx, (g->order_room + 1) * sizeof *keys);
  spread *of = b->o->visual ? tm_calloc(b->ctx, count, sizeof *of) : NULL;
  tm_status status = keys && (of || !b->o->visual) ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK) {
    count_degrees(g);
    if (of) score_edges(g, of);
    status = fill_keys(b, keys, of);
  }
  if (status == TM_OK) {
    qsort(keys, g->order_count, sizeof *keys, compare_keys);
    for (uint32_t i = 0; i < g->order_count; i++) {
      g->order[i] = keys[i].node;
      g->nodes.items[keys[i].node].number = i + 1;
    }
  }
  tm_free(b->ctx, keys, (g->order_room + 1) * sizeof *keys);
  tm_free(b->ctx, of, count * sizeof *of);
  return status;
}

// --- selection ---

static uint64_t cutoff(int64_t total, double fraction) {
  return callgraph_size(tm_pprof_whole((double)total * fraction));
}

// Shortens the order to count; hidden nodes leave a tree, and lose their edges in a graph.
static tm_status keep_first(builder *b, uint32_t count) {
  tm_callgraph *g = b->g;
  size_t size = g->nodes.count + 1;
  if (!g->is_tree) {
    memset(g->f->kept, 0, g->f->order_room);
    for (uint32_t i = 0; i < count; i++) g->f->kept[g->order[i]] = 1;
  }
  uint8_t *gone = tm_calloc(b->ctx, 1, size);
  if (!gone) return TM_E_NOMEM;
  for (uint32_t i = count; i < g->order_count; i++) {
    gone[g->order[i]] = 1;
    g->nodes.items[g->order[i]].number = 0;
  }
  g->order_count = count;
  tm_status status = TM_OK;
  if (g->is_tree)
    callgraph_tree_trim(g, gone);
  else
    status = graph_edges(b);
  tm_free(b->ctx, gone, size);
  return status == TM_OK && g->is_tree ? index_edges(b) : status;
}

static tm_status graph_nodes(builder *b) {
  tm_callgraph *g = b->g;
  tm_flatcum *f = g->f;
  TM_TRY(tm_flatcum_select(b->ctx, f, b->o->by_cum, b->o->node_fraction, 0, b->o->drop_negative));
  uint64_t total = 0;
  for (uint32_t i = 0; i < f->nodes.count; i++) {
    const tm_node *n = &f->nodes.items[i];
    bool negative = n->flat < 0 || (n->flat == 0 && n->cum < 0);
    if (!(b->o->drop_negative && negative)) total += (uint64_t)n->flat;
    tm_callgraph_node node = {.info = i,
                              .flat = n->flat,
                              .cum = n->cum,
                              .flat_divisor = n->flat_divisor,
                              .cum_divisor = n->cum_divisor};
    TM_TRY(tm_vec_push(b->ctx, &g->nodes, node));
  }
  b->node_cutoff = cutoff((int64_t)total, b->o->node_fraction);
  b->edge_cutoff = cutoff((int64_t)total, b->o->edge_fraction);
  g->order_room = f->order_count + 1;
  g->order = tm_alloc(b->ctx, g->order_room * sizeof *g->order);
  if (!g->order) return TM_E_NOMEM;
  g->order_count = f->order_count;
  if (f->order_count) memcpy(g->order, f->order, f->order_count * sizeof *g->order);
  for (uint32_t i = 0; i < g->order_count; i++) g->nodes.items[g->order[i]].number = i + 1;
  g->dropped_nodes = f->dropped_count;
  return graph_edges(b);
}

static tm_status tree_nodes(builder *b) {
  tm_callgraph *g = b->g;
  TM_TRY(callgraph_tree(b->ctx, g));
  TM_TRY(index_edges(b));
  g->order_room = g->nodes.count + 1;
  g->order = tm_alloc(b->ctx, g->order_room * sizeof *g->order);
  if (!g->order) return TM_E_NOMEM;
  uint64_t total = 0;
  for (uint32_t i = 0; i < g->nodes.count; i++) {
    const tm_callgraph_node *n = &g->nodes.items[i];
    bool negative = n->flat < 0 || (n->flat == 0 && n->cum < 0);
    if ((!n->flat && !n->cum) || (b->o->drop_negative && negative)) continue;
    g->order[g->order_count++] = i;
    total += (uint64_t)n->flat;
  }
  b->node_cutoff = cutoff((int64_t)total, b->o->node_fraction);
  b->edge_cutoff = cutoff((int64_t)total, b->o->edge_fraction);
  uint32_t kept = 0, all = g->order_count; // the small ones go behind the others
  uint32_t *small = tm_alloc(b->ctx, g->order_room * sizeof *small);
  if (!small) return TM_E_NOMEM;
  for (uint32_t i = 0; i < all; i++) {
    uint32_t node = g->order[i];
    if (callgraph_size(g->nodes.items[node].cum) < b->node_cutoff)
      small[g->dropped_nodes++] = node;
    else
      g->order[kept++] = node;
  }
  memcpy(g->order + kept, small, g->dropped_nodes * sizeof *small);
  tm_free(b->ctx, small, g->order_room * sizeof *small);
  for (uint32_t i = 0; i < kept; i++) g->nodes.items[g->order[i]].number = i + 1;
  return g->dropped_nodes ? keep_first(b, kept) : TM_OK;
}

// --- labels ---

#define NODELETS 4 // at most so many of a node are drawn

// Only nodes that may end in the picture: the first node_count of the order.
static tm_status add_tags(builder *b) {
  tm_callgraph *g = b->g;
  size_t size = g->nodes.count + 1;
  uint8_t *wanted = tm_calloc(b->ctx, 1, size);
  if (!wanted) return TM_E_NOMEM;
  uint32_t count = g->order_count;
  if (b->o->node_count > 0 && b->o->node_count < count) count = (uint32_t)b->o->node_count;
  for (uint32_t i = 0; i < count; i++) wanted[g->order[i]] = 1;
  tm_status status =
      count ? callgraph_tags(b->ctx, g, b->o->tag_unit, wanted, b->node_cutoff) : TM_OK;
  tm_free(b->ctx, wanted, size);
  return status;
}

static uint32_t choose_count(const builder *b) {
  const tm_callgraph *g = b->g;
  uint32_t limit = g->order_count;
  if (b->o->node_count < limit) limit = (uint32_t)b->o->node_count;
  int64_t sum = 0;
  for (uint32_t i = 0; b->o->visual && i < limit; i++) {
    const tm_callgraph_node *n = &g->nodes.items[g->order[i]];
    int64_t own = 0;
    for (uint32_t k = n->tag_begin; k < n->tag_end; k++) own += g->tags.items[k].flat != 0;
    sum += (own < NODELETS ? own : NODELETS) + 1;
    if (sum >= b->o->node_count) return i + 1;
  }
  return limit;
}

// --- redundant edges ---

typedef struct edge_key {
  uint64_t weight;
  const char *from, *to;
  uint32_t edge;
} edge_key;

static int compare_edges(const void *left, const void *right) {
  const edge_key *a = left, *b = right;
  if (a->weight != b->weight) return a->weight > b->weight ? -1 : 1;
  int order = strcmp(a->from, b->from);
  if (!order) order = strcmp(a->to, b->to);
  if (order) return order;
  return a->edge < b->edge ? -1 : a->edge > b->edge;
}

static tm_status edge_key_of(tm_ctx *ctx, tm_callgraph *g, uint32_t edge, edge_key *k) {
  const tm_callgraph_edge *e = &g->edges.items[edge];
  k->edge = edge;
  k->weight = callgraph_size(e->weight);
  TM_TRY(tm_flatcum_label(ctx, g->f, g->nodes.items[e->from].info, &k->from));
  return tm_flatcum_label(ctx, g->f, g->nodes.items[e->to].info, &k->to);
}

typedef struct search {
  uint32_t *queue, *seen, round;
} search;

// Whether another way leads from the edge's caller to its callee.
static bool is_redundant(const tm_callgraph *g, uint32_t edge, search *s) {
  const tm_callgraph_edge *e = &g->edges.items[edge];
  size_t head = 0, tail = 0;
  s->round++;
  s->seen[e->to] = s->round;
  s->queue[tail++] = e->to;
  while (head < tail) {
    uint32_t node = s->queue[head++];
    for (uint32_t i = g->in_begin[node]; i < g->in_begin[node + 1]; i++) {
      const tm_callgraph_edge *in = &g->edges.items[g->in_edges[i]];
      if (in->dead || in == e || s->seen[in->from] == s->round) continue;
      if (in->from == e->from) return true;
      s->seen[in->from] = s->round;
      s->queue[tail++] = in->from;
    }
  }
  return false;
}

// Lightest first, and only those lighter than every edge that is not residual.
static tm_status remove_redundant_into(builder *b, uint32_t node, edge_key *keys, search *s) {
  tm_callgraph *g = b->g;
  size_t count = 0;
  bool any = false;
  for (uint32_t i = g->in_begin[node]; i < g->in_begin[node + 1]; i++) {
    const tm_callgraph_edge *e = &g->edges.items[g->in_edges[i]];
    if (e->dead) continue;
    any |= e->residual;
    TM_TRY(edge_key_of(b->ctx, g, g->in_edges[i], &keys[count++]));
  }
  if (!any) return TM_OK;
  qsort(keys, count, sizeof *keys, compare_edges);
  while (count-- && g->edges.items[keys[count].edge].residual)
    if (is_redundant(g, keys[count].edge, s)) g->edges.items[keys[count].edge].dead = true;
  return TM_OK;
}

static tm_status remove_redundant(builder *b) {
  tm_callgraph *g = b->g;
  size_t nodes = g->nodes.count + 1, edges = g->edges.count + 1;
  search s = {.queue = tm_alloc(b->ctx, nodes * sizeof *s.queue),
              .seen = tm_calloc(b->ctx, nodes, sizeof *s.seen)};
  edge_key *keys = tm_alloc(b->ctx, edges * sizeof *keys);
  tm_status status = s.queue && s.seen && keys ? TM_OK : TM_E_NOMEM;
  for (uint32_t i = g->order_count; i > 0 && status == TM_OK; i--) {
    status = remove_redundant_into(b, g->order[i - 1], keys, &s);
    if (status == TM_OK && (i & 0xff) == 0) status = tm_ctx_tick(b->ctx, i);
  }
  tm_free(b->ctx, s.queue, nodes * sizeof *s.queue);
  tm_free(b->ctx, s.seen, nodes * sizeof *s.seen);
  tm_free(b->ctx, keys, edges * sizeof *keys);
  return status;
}

tm_status tm_callgraph_sorted_edges(tm_ctx *ctx, tm_callgraph *g, uint32_t **out,
                                    uint32_t *out_count) {
  size_t room = g->edges.count + 1;
  uint32_t count = 0;
  edge_key *keys = tm_alloc(ctx, room * sizeof *keys);
  *out = tm_alloc(ctx, room * sizeof **out);
  tm_status status = keys && *out ? TM_OK : TM_E_NOMEM;
  for (uint32_t i = 0; i < g->edges.count && status == TM_OK; i++) {
    const tm_callgraph_edge *e = &g->edges.items[i];
    if (!e->dead && g->nodes.items[e->from].number) status = edge_key_of(ctx, g, i, &keys[count++]);
  }
  if (status == TM_OK) {
    qsort(keys, count, sizeof *keys, compare_edges);
    for (uint32_t i = 0; i < count; i++) (*out)[i] = keys[i].edge;
    *out_count = count;
  } else if (*out) {
    tm_free(ctx, *out, room * sizeof **out);
    *out = NULL;
  }
  tm_free(ctx, keys, room * sizeof *keys);
  return status;
}

tm_status tm_callgraph_init(tm_ctx *ctx, tm_view *v, tm_flatcum *f, const tm_callgraph_options *o,
                            tm_callgraph *out) {
  *out = (tm_callgraph){.v = v, .f = f, .is_tree = o->tree};
  builder b = {.ctx = ctx, .g = out, .o = o};
  TM_TRY(o->tree ? tree_nodes(&b) : graph_nodes(&b));
  out->original_count = out->order_count;
  TM_TRY(sort_nodes(&b));
  if (o->visual) TM_TRY(add_tags(&b));
  if (o->node_count > 0) {
    trim_edges(&b);
    uint32_t count = choose_count(&b);
    if (count < out->order_count) {
      TM_TRY(keep_first(&b, count));
      TM_TRY(sort_nodes(&b));
    }
  }
  trim_edges(&b);
  if (o->visual) TM_TRY(remove_redundant(&b));
  count_degrees(out);
  return TM_OK;
}
