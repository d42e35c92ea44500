// Marks from the roots as the collector does, but stops at the goroutines in question and at the
// hidden entries of the runtime's queues. Where the walk meets what one of them waits for, that one
// may still run: its stack and queue entries are walked on. What is left at the end is leaked. Each
// node is walked once, each wait released once.
//
// Bytes: a second walk from what is left gives every node to the row that reaches it, or to
// "shared" when two do. A node's owner changes twice at most, so that walk is linear too.
#include "analyze/goroutine_proof.h"

#include "analyze/goroutines.h"

#include <stdlib.h>
#include <string.h>

enum { REACHED = 1, STOPPED = 2, TARGET = 4, HELD = 8, TICK_STEPS = 1 << 18 };

typedef struct target {
  uint32_t node, wait;
} target;

typedef struct proof {
  tm_ctx *ctx;
  const tm_graph *graph;
  const tm_waits *waits;
  uint8_t *flags; // by node
  bool *released; // by wait
  TM_VEC(target) targets;
  TM_VEC(uint32_t) todo; // nodes whose edges are to be followed
  uint64_t steps;
  uint32_t doubtful; // waits that only an object to which nothing leads could end
} proof;

static void proof_fini(proof *p) {
  tm_free(p->ctx, p->flags, p->graph->node_count);
  tm_free(p->ctx, p->released, (p->waits->items.count + 1) * sizeof *p->released);
  tm_vec_free(p->ctx, &p->targets);
  tm_vec_free(p->ctx, &p->todo);
}

static int by_node(const void *a, const void *b) {
  const target *x = a, *y = b;
  if (x->node != y->node) return x->node < y->node ? -1 : 1;
  return x->wait < y->wait ? -1 : x->wait > y->wait;
}

static tm_status index_targets(proof *p) {
  const tm_waits *w = p->waits;
  for (uint32_t i = 0; i < w->items.count; i++) {
    const tm_wait *one = &w->items.items[i];
    p->flags[p->graph->goroutines.items[one->goroutine].node] |= STOPPED;
    for (uint32_t k = one->hidden_begin; k < one->hidden_end; k++)
      p->flags[w->hidden.items[k]] |= STOPPED;
    for (uint32_t k = one->target_begin; k < one->target_end; k++) {
      TM_TRY(tm_vec_push(p->ctx, &p->targets, (target){w->targets.items[k], i}));
      p->flags[w->targets.items[k]] |= TARGET;
    }
  }
  if (p->targets.count)
    qsort(p->targets.items, p->targets.count, sizeof *p->targets.items, by_node);
  return TM_OK;
}

// ---- marking ----

static tm_status wake_node(proof *p, uint32_t node) {
  if (!(p->flags[node] & STOPPED)) return TM_OK;
  p->flags[node] &= (uint8_t)~STOPPED;
  return p->flags[node] & REACHED ? tm_vec_push(p->ctx, &p->todo, node) : TM_OK;
}

static tm_status release(proof *p, uint32_t wait) {
  if (p->released[wait]) return TM_OK;
  p->released[wait] = true;
  const tm_wait *w = &p->waits->items.items[wait];
  TM_TRY(wake_node(p, p->graph->goroutines.items[w->goroutine].node));
  for (uint32_t k = w->hidden_begin; k < w->hidden_end; k++)
    TM_TRY(wake_node(p, p->waits->hidden.items[k]));
  return TM_OK;
}

static tm_status release_waiters(proof *p, uint32_t node) {
  size_t low = 0, high = p->targets.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (p->targets.items[middle].node < node)
      low = middle + 1;
    else
      high = middle;
  }
  for (; low < p->targets.count && p->targets.items[low].node == node; low++)
    TM_TRY(release(p, p->targets.items[low].wait));
  return TM_OK;
}

static tm_status reach(proof *p, uint32_t node) {
  uint8_t flags = p->flags[node];
  if (flags & REACHED) return TM_OK;
  p->flags[node] = flags | REACHED;
  if (flags & TARGET) TM_TRY(release_waiters(p, node));
  if (flags & STOPPED && p->flags[node] & STOPPED) return TM_OK;
  return tm_vec_push(p->ctx, &p->todo, node);
}

static tm_status reach_children(proof *p, uint32_t node) {
  const tm_graph *g = p->graph;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++)
    TM_TRY(reach(p, g->edge_to[e]));
  return TM_OK;
}

static tm_status drain(proof *p) {
  while (p->todo.count) {
    if (++p->steps % TICK_STEPS == 0) TM_TRY(tm_ctx_tick(p->ctx, 0));
    TM_TRY(reach_children(p, p->todo.items[--p->todo.count]));
  }
  return TM_OK;
}

static tm_status mark(proof *p) {
  const tm_graph *g = p->graph;
  for (size_t i = 0; i < g->roots.count; i++) {
    if (!g->roots.items[i].held) TM_TRY(reach(p, g->roots.items[i].node));
    TM_TRY(drain(p));
  }
  // A finalizer may wake somebody with what its object refers to, whether that is reachable or not.
  for (size_t i = 0; i < p->waits->finalized.count; i++) {
    TM_TRY(reach_children(p, p->waits->finalized.items[i]));
    TM_TRY(drain(p));
  }
  return TM_OK;
}

// ---- cleanups ----

static tm_status hold(proof *p, uint32_t node) {
  if (p->flags[node] & (REACHED | HELD)) return TM_OK;
  p->flags[node] |= HELD;
  return tm_vec_push(p->ctx, &p->todo, node);
}

static tm_status hold_children(proof *p, uint32_t node) {
  const tm_graph *g = p->graph;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++)
    TM_TRY(hold(p, g->edge_to[e]));
  return TM_OK;
}

// All that those lead to who wait.
static tm_status hold_of_waiters(proof *p) {
  const tm_waits *w = p->waits;
  for (uint32_t i = 0; i < w->items.count; i++) {
    if (p->released[i]) continue;
    const tm_wait *one = &w->items.items[i];
    TM_TRY(hold_children(p, p->graph->goroutines.items[one->goroutine].node));
    for (uint32_t k = one->target_begin; k < one->target_end; k++)
      TM_TRY(hold(p, w->targets.items[k]));
    for (uint32_t k = one->hidden_begin; k < one->hidden_end; k++) {
      TM_TRY(hold(p, w->hidden.items[k]));
      TM_TRY(hold_children(p, w->hidden.items[k]));
    }
  }
  while (p->todo.count) {
    if (++p->steps % TICK_STEPS == 0) TM_TRY(tm_ctx_tick(p->ctx, 0));
    TM_TRY(hold_children(p, p->todo.items[--p->todo.count]));
  }
  return TM_OK;
}

static uint32_t count_leaked(const proof *p) {
  uint32_t count = 0;
  for (size_t i = 0; i < p->waits->items.count; i++) count += !p->released[i];
  return count;
}

// What nothing leads to is garbage, or held by a cleanup that may wake somebody with it: no proof.
static tm_status mark_for_cleanups(proof *p) {
  const tm_waits *w = p->waits;
  uint32_t before = count_leaked(p);
  if (!w->cleanups || !before) return TM_OK;
  TM_TRY(hold_of_waiters(p));
  size_t start = 0;
  for (uint32_t node = 0; node < p->graph->node_count; node++) {
    bool starts = start < w->starts.count && w->starts.items[start] == node;
    start += starts;
    if (starts || p->flags[node] & (REACHED | HELD)) continue;
    TM_TRY(reach(p, node));
    TM_TRY(drain(p));
  }
  p->doubtful = before - count_leaked(p);
  return TM_OK;
}

// ---- bytes ----

#define SHARED UINT32_MAX

static tm_status own(proof *p, uint32_t *owner, uint32_t node, uint32_t row) {
  if (p->flags[node] & REACHED || owner[node] == row || owner[node] == SHARED) return TM_OK;
  owner[node] = owner[node] ? SHARED : row;
  return tm_vec_push(p->ctx, &p->todo, node);
}

static tm_status own_children(proof *p, uint32_t *owner, uint32_t node, uint32_t row) {
  const tm_graph *g = p->graph;
  for (uint32_t e = g->edge_begin[node]; e < g->edge_begin[node + 1]; e++)
    TM_TRY(own(p, owner, g->edge_to[e], row));
  while (p->todo.count) {
    uint32_t from = p->todo.items[--p->todo.count];
    if (++p->steps % TICK_STEPS == 0) TM_TRY(tm_ctx_tick(p->ctx, 0));
    for (uint32_t e = g->edge_begin[from]; e < g->edge_begin[from + 1]; e++)
      TM_TRY(own(p, owner, g->edge_to[e], owner[from]));
  }
  return TM_OK;
}

// row_of[i] is 1 + the row of the i-th leaked wait's goroutine. bytes has a place for every row,
// and [0] for what several rows hold.
static tm_status count_bytes(proof *p, const uint32_t *row_of, uint64_t *bytes) {
  const tm_graph *g = p->graph;
  uint32_t *owner = tm_calloc(p->ctx, g->node_count, sizeof *owner);
  if (!owner) return TM_E_NOMEM;
  tm_status status = TM_OK;
  size_t at = 0;
  for (size_t i = 0; status == TM_OK && i < p->waits->items.count; i++) {
    if (p->released[i]) continue;
    const tm_wait *w = &p->waits->items.items[i];
    status = own_children(p, owner, g->goroutines.items[w->goroutine].node, row_of[at]);
    for (uint32_t k = w->hidden_begin; status == TM_OK && k < w->hidden_end; k++)
      status = own_children(p, owner, p->waits->hidden.items[k], row_of[at]);
    at++;
  }
  for (uint32_t n = 0; n < g->node_count; n++)
    if (owner[n]) bytes[owner[n] == SHARED ? 0 : owner[n]] += tm_graph_size(g, n);
  tm_free(p->ctx, owner, g->node_count * sizeof *owner);
  return status;
}

// ---- the table ----

typedef struct leaked {
  TM_VEC(uint32_t) samples; // of the profile, which are goroutines of the graph
  TM_VEC(uint32_t) waits;
  uint32_t *row_of; // by item of samples: its row, then 1 + it
  uint64_t *bytes;  // [0] shared, then by row
  size_t row_count;
} leaked;

static void leaked_fini(tm_ctx *ctx, leaked *l) {
  tm_free(ctx, l->row_of, (l->samples.count + 1) * sizeof *l->row_of);
  if (l->bytes) tm_free(ctx, l->bytes, (l->row_count + 1) * sizeof *l->bytes);
  tm_vec_free(ctx, &l->samples);
  tm_vec_free(ctx, &l->waits);
}

static tm_status collect(proof *p, leaked *l) {
  for (uint32_t i = 0; i < p->waits->items.count; i++) {
    if (p->released[i]) continue;
    TM_TRY(tm_vec_push(p->ctx, &l->samples, p->waits->items.items[i].goroutine));
    TM_TRY(tm_vec_push(p->ctx, &l->waits, i));
  }
  l->row_of = tm_calloc(p->ctx, l->samples.count + 1, sizeof *l->row_of);
  return l->row_of ? TM_OK : TM_E_NOMEM;
}

enum {
  COUNT,
  STATE,
  ENTRY,
  SITE,
  CREATION,
  AGE,
  RETAINED,
  STACK_BYTES,
  WAITS_ON,
  GOROUTINE,
  STACK
};

static tm_status add_columns(tm_ctx *ctx, tm_table *out, bool stacks) {
  static const struct {
    const char *name;
    tm_cell cell;
    tm_unit unit;
  } columns[] = {
      {"count", TM_CELL_INT, TM_UNIT_COUNT},          {"state", TM_CELL_TEXT, TM_UNIT_NONE},
      {"entry", TM_CELL_TEXT, TM_UNIT_NONE},          {"site", TM_CELL_TEXT, TM_UNIT_NONE},
      {"creation", TM_CELL_TEXT, TM_UNIT_NONE},       {"age_ns", TM_CELL_INT, TM_UNIT_NS},
      {"retained_bytes", TM_CELL_INT, TM_UNIT_BYTES}, {"stack_bytes", TM_CELL_INT, TM_UNIT_BYTES},
      {"waits_on", TM_CELL_TEXT, TM_UNIT_NONE},       {"goroutine", TM_CELL_INT, TM_UNIT_NONE},
      {"stack", TM_CELL_TEXT, TM_UNIT_NONE}};
  size_t last = TM_COUNT(columns) - !stacks;
  for (size_t i = 0; i < last; i++)
    TM_TRY(tm_table_add_column(ctx, out, columns[i].name, columns[i].cell, columns[i].unit));
  return TM_OK;
}

static tm_status copy_text(tm_ctx *ctx, const tm_table *from, size_t row, const char *name,
                           tm_table *out, size_t column) {
  const char *text = tm_table_text(from, row, tm_table_find_column(from, name));
  return tm_table_set_text(ctx, out, row, column, text, strlen(text));
}

static tm_status write_row(proof *p, const leaked *l, const tm_table *piles, size_t row,
                           bool stacks, tm_table *out) {
  size_t at;
  TM_TRY(tm_table_add_row(p->ctx, out, &at));
  tm_table_set_int(out, at, COUNT, tm_table_int(piles, row, tm_table_find_column(piles, "count")));
  tm_table_set_int(out, at, AGE, tm_table_int(piles, row, tm_table_find_column(piles, "age_ns")));
  tm_table_set_int(out, at, RETAINED, (int64_t)l->bytes[row + 1]);
  TM_TRY(copy_text(p->ctx, piles, row, "state", out, STATE));
  TM_TRY(copy_text(p->ctx, piles, row, "entry", out, ENTRY));
  TM_TRY(copy_text(p->ctx, piles, row, "site", out, SITE));
  TM_TRY(copy_text(p->ctx, piles, row, "creation", out, CREATION));
  return stacks ? copy_text(p->ctx, piles, row, "stack", out, STACK) : TM_OK;
}

// What is told of the first goroutine of a row, and the sum of their stacks.
static tm_status write_examples(proof *p, const leaked *l, tm_table *out) {
  const tm_graph *g = p->graph;
  for (size_t i = l->samples.count; i-- > 0;) {
    size_t row = l->row_of[i] - 1;
    if (row >= tm_table_row_count(out)) continue;
    const tm_graph_goroutine *one = &g->goroutines.items[l->samples.items[i]];
    const tm_wait *w = &p->waits->items.items[l->waits.items[i]];
    const char *on = "nothing";
    if (w->target_end > w->target_begin)
      on = tm_graph_type_name(g, p->waits->targets.items[w->target_begin]);
    tm_table_set_int(out, row, STACK_BYTES, tm_table_int(out, row, STACK_BYTES) + one->stack_bytes);
    tm_table_set_int(out, row, GOROUTINE, (int64_t)one->id);
    TM_TRY(tm_table_set_text(p->ctx, out, row, WAITS_ON, on, strlen(on)));
  }
  return TM_OK;
}

static tm_status write_notes(proof *p, const leaked *l, tm_table *out) {
  uint64_t sum = 0;
  for (size_t i = 0; i <= l->row_count; i++) sum += l->bytes[i];
  TM_TRY(tm_table_note_int(p->ctx, out, "goroutines", (int64_t)p->graph->goroutines.count));
  TM_TRY(tm_table_note_int(p->ctx, out, "examined", (int64_t)p->waits->items.count));
  TM_TRY(tm_table_note_int(p->ctx, out, "leaked", (int64_t)l->samples.count));
  TM_TRY(tm_table_note_int(p->ctx, out, "doubtful", p->doubtful));
  TM_TRY(tm_table_note_int(p->ctx, out, "retained_bytes", (int64_t)sum));
  return tm_table_note_int(p->ctx, out, "shared_bytes", (int64_t)l->bytes[0]);
}

static tm_status write_table(proof *p, leaked *l, const tm_table *piles,
                             const tm_proof_options *options, tm_table *out) {
  l->row_count = tm_table_row_count(piles);
  l->bytes = tm_calloc(p->ctx, l->row_count + 1, sizeof *l->bytes);
  if (!l->bytes) return TM_E_NOMEM;
  for (size_t i = 0; i < l->samples.count; i++) l->row_of[i]++;
  TM_TRY(count_bytes(p, l->row_of, l->bytes));
  TM_TRY(add_columns(p->ctx, out, options->stacks));
  size_t rows =
      options->row_count && options->row_count < l->row_count ? options->row_count : l->row_count;
  for (size_t row = 0; row < rows; row++) TM_TRY(write_row(p, l, piles, row, options->stacks, out));
  TM_TRY(write_examples(p, l, out));
  return write_notes(p, l, out);
}

static tm_status make_table(proof *p, const tm_profile *profile, const tm_proof_options *options,
                            tm_table *out) {
  leaked l = {0};
  tm_table *piles = NULL;
  tm_status status = collect(p, &l);
  uint32_t none = 0; // an empty list is not "all"
  tm_goroutines_options pile = {.stacks = options->stacks,
                                .samples = l.samples.count ? l.samples.items : &none,
                                .sample_count = l.samples.count,
                                .row_of = l.row_of};
  if (status == TM_OK) status = tm_table_new(p->ctx, &piles);
  if (status == TM_OK) status = tm_goroutines_of_profile(p->ctx, profile, &pile, piles);
  if (status == TM_OK) status = write_table(p, &l, piles, options, out);
  tm_table_free(piles);
  leaked_fini(p->ctx, &l);
  return status;
}

tm_status tm_goroutine_proof(tm_ctx *ctx, const tm_graph *graph, const tm_waits *waits,
                             const tm_profile *profile, const tm_proof_options *options,
                             tm_table *out) {
  proof p = {.ctx = ctx, .graph = graph, .waits = waits};
  if (profile->sample_count != graph->goroutines.count)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the profile is not of this dump's goroutines");
  p.flags = tm_calloc(ctx, graph->node_count, 1);
  p.released = tm_calloc(ctx, waits->items.count + 1, sizeof *p.released);
  tm_status status = p.flags && p.released ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK) status = index_targets(&p);
  if (status == TM_OK) status = mark(&p);
  if (status == TM_OK) status = mark_for_cleanups(&p);
  if (status == TM_OK) status = make_table(&p, profile, options, out);
  proof_fini(&p);
  return status;
}
