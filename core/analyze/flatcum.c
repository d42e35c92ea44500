// Every line of every location becomes a node by its identity (a hash over what the granularity
// keeps); then one pass over all stacks adds flat and cum, with a stamp per node instead of a set
// per stack. Edges are counted in a second pass, only when a report asks, and only between nodes
// that it shows. Cost: 1 GB/s of stacks for flat and cum; edges about a fifth of that.
#include "analyze/flatcum.h"

#include "analyze/paths.h"
#include "analyze/pprof_units.h"
#include "base/both.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct builder {
  tm_ctx *ctx;
  tm_view *v;
  tm_flatcum *f;
  const tm_flatcum_options *o;
  bool names, files, lines, columns, addresses;
  uint32_t *slots; // node + 1
  size_t slot_count;
  uint32_t *clean_files; // per string id of the profile: id + 1, 0 = not asked
} builder;

void tm_flatcum_fini(tm_flatcum *f) {
  if (!f->v) return;
  tm_ctx ctx = {.alloc = f->v->alloc};
  tm_vec_free(&ctx, &f->nodes);
  tm_vec_free(&ctx, &f->frames);
  tm_vec_free(&ctx, &f->edges);
  tm_free(&ctx, f->frame_begin, (f->location_count + 1) * sizeof *f->frame_begin);
  tm_free(&ctx, f->order, f->order_room * sizeof *f->order);
  tm_free(&ctx, f->kept, f->order_room);
  tm_arena_fini(&f->arena);
  *f = (tm_flatcum){0};
}

// --- identity ---

static bool choose_identity(builder *b) {
  const char *g = b->o->granularity && *b->o->granularity ? b->o->granularity : "functions";
  if (strcmp(g, "addresses") == 0) {
    b->names = b->files = b->lines = b->addresses = true;
    b->columns = b->o->no_inlines ? b->o->show_columns : true;
  } else if (strcmp(g, "lines") == 0) {
    b->names = b->files = b->lines = true;
    b->columns = b->o->show_columns;
  } else if (strcmp(g, "files") == 0) {
    b->files = true;
  } else if (strcmp(g, "functions") == 0) {
    b->names = true;
  } else if (strcmp(g, "filefunctions") == 0) {
    b->names = b->files = true;
  } else {
    return false;
  }
  return true;
}

static tm_status clean_file(builder *b, uint32_t file, uint32_t *out) {
  const char *text = tm_view_text(b->v, file);
  *out = 0;
  if (!*text) return TM_OK;
  bool known = file < b->v->profile->strings.count;
  if (known && b->clean_files[file]) {
    *out = b->clean_files[file] - 1;
    return TM_OK;
  }
  if (b->o->trim_path) text = tm_path_trim(text, b->o->trim_path, b->o->source_path);
  size_t size = strlen(text) + 2;
  char *buf = tm_arena_alloc(&b->f->arena, size);
  if (!buf) return tm_fail(b->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (file names)");
  if (*text) TM_TRY(tm_view_intern(b->ctx, b->v, buf, tm_path_clean(buf, text), out));
  if (known) b->clean_files[file] = *out + 1;
  return TM_OK;
}

static tm_status describe(builder *b, const tm_location *loc, const tm_line *line, tm_node *n) {
  uint32_t object =
      loc->mapping == TM_PROFILE_NONE ? 0 : b->v->profile->mappings.items[loc->mapping].file;
  *n = (tm_node){.address = b->addresses ? loc->address : 0};
  if (!line) {
    n->object = object;
    return TM_OK;
  }
  const tm_view_function *fn = &b->v->functions.items[line->function];
  if (b->names) n->name = *tm_view_text(b->v, fn->name) ? fn->name : 0;
  if (b->files) TM_TRY(clean_file(b, fn->file, &n->file));
  if (b->lines) n->line = line->line;
  if (b->lines && b->columns) n->column = line->column;
  if (b->o->object_names || !n->name) {
    n->object = object;
    n->start_line = fn->start_line;
  }
  return TM_OK;
}

static bool same_node(const tm_node *a, const tm_node *b) {
  return a->name == b->name && a->file == b->file && a->object == b->object
         && a->start_line == b->start_line && a->line == b->line && a->column == b->column
         && a->address == b->address;
}

static size_t node_slot(const builder *b, const tm_node *n) {
  uint64_t h = tm_hash_add(n->name, n->file);
  h = tm_hash_add(h, (uint64_t)n->line ^ (uint64_t)n->column << 40);
  h = tm_hash_add(h, n->address ^ (uint64_t)n->object << 44 ^ (uint64_t)n->start_line << 20);
  size_t mask = b->slot_count - 1, i = (size_t)h & mask;
  while (b->slots[i] && !same_node(&b->f->nodes.items[b->slots[i] - 1], n)) i = (i + 1) & mask;
  return i;
}

static tm_status grow_slots(builder *b) {
  size_t old_count = b->slot_count;
  uint32_t *old = b->slots;
  b->slot_count = old_count ? old_count * 2 : 1024;
  b->slots = tm_calloc(b->ctx, b->slot_count, sizeof *b->slots);
  if (!b->slots) {
    b->slots = old;
    b->slot_count = old_count;
    return TM_E_NOMEM;
  }
  for (size_t i = 0; i < b->f->nodes.count; i++)
    b->slots[node_slot(b, &b->f->nodes.items[i])] = (uint32_t)i + 1;
  tm_free(b->ctx, old, old_count * sizeof *old);
  return TM_OK;
}

static tm_status add_frame(builder *b, const tm_location *loc, const tm_line *line) {
  tm_node n;
  TM_TRY(describe(b, loc, line, &n));
  if ((b->f->nodes.count + 1) * 2 > b->slot_count) TM_TRY(grow_slots(b));
  size_t slot = node_slot(b, &n);
  if (!b->slots[slot]) {
    TM_TRY(tm_vec_push(b->ctx, &b->f->nodes, n));
    b->slots[slot] = (uint32_t)b->f->nodes.count;
  }
  return tm_vec_push(b->ctx, &b->f->frames, b->slots[slot] - 1);
}

static tm_status add_location(builder *b, uint32_t k) {
  const tm_view *v = b->v;
  const tm_location *loc = &v->locations.items[k];
  b->f->frame_begin[k] = (uint32_t)b->f->frames.count;
  if (tm_view_is_hidden(v, k)) return TM_OK;
  if (loc->line_begin == loc->line_end) return add_frame(b, loc, NULL);
  uint32_t begin = b->o->no_inlines ? loc->line_end - 1 : loc->line_begin;
  for (uint32_t i = begin; i < loc->line_end; i++) TM_TRY(add_frame(b, loc, &v->lines.items[i]));
  return TM_OK;
}

static tm_status build_nodes(builder *b) {
  tm_flatcum *f = b->f;
  f->location_count = b->v->locations.count;
  f->frame_begin = tm_calloc(b->ctx, f->location_count + 1, sizeof *f->frame_begin);
  if (!f->frame_begin) return TM_E_NOMEM;
  TM_TRY(grow_slots(b));
  for (uint32_t k = 0; k < f->location_count; k++) {
    if ((k & 0xffff) == 0xffff) TM_TRY(tm_ctx_tick(b->ctx, k));
    TM_TRY(add_location(b, k));
  }
  f->frame_begin[f->location_count] = (uint32_t)f->frames.count;
  return TM_OK;
}

tm_status tm_flatcum_names(tm_ctx *ctx, tm_view *v, const tm_flatcum_options *o, tm_flatcum *out) {
  *out = (tm_flatcum){.v = v};
  tm_arena_init(&out->arena, &ctx->alloc, 0);
  builder b = {.ctx = ctx, .v = v, .f = out, .o = o};
  if (!choose_identity(&b))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                   "granularity \"%s\" is none of functions, filefunctions, files, lines, "
                   "addresses",
                   o->granularity);
  size_t strings = v->profile->strings.count;
  b.clean_files = tm_calloc(ctx, strings, sizeof *b.clean_files);
  tm_status status = b.clean_files ? build_nodes(&b) : TM_E_NOMEM;
  tm_free(ctx, b.clean_files, strings * sizeof *b.clean_files);
  tm_free(ctx, b.slots, b.slot_count * sizeof *b.slots);
  return status;
}

// --- values ---

// Sums of a hostile file may overflow; they wrap, as the reference's do.
static void add(int64_t *sum, int64_t value) {
  *sum = (int64_t)((uint64_t)*sum + (uint64_t)value);
}

// What the hot loop touches of a node: one cache line's worth of four.
typedef struct tally {
  uint64_t cum;  // sums wrap, as the reference's do
  uint32_t mark; // sample + 1 of the last stack that counted it
} tally;

// Divisors of means, in a pass of their own: few reports ask for them.
static void add_divisor(tm_flatcum *f, uint32_t s, int64_t d, tally *tallies) {
  const tm_view *v = f->v;
  for (uint32_t i = v->begin[s]; i < v->end[s]; i++) {
    uint32_t loc = v->stack[i];
    for (uint32_t k = f->frame_begin[loc]; k < f->frame_begin[loc + 1]; k++) {
      uint32_t n = f->frames.items[k];
      if (tallies[n].mark == s + 1) continue;
      tallies[n].mark = s + 1;
      add(&f->nodes.items[n].cum_divisor, d);
    }
  }
}

// The nodes of a location, innermost first: one or two, as nearly all have. One has its second in a
// tally that nobody reads, so that the hot loop has no branch on the number, which no predictor
// guesses. NONE in first: no node, or more than two; then the frames are asked.
typedef struct node_pair {
  uint32_t first, second;
} node_pair;
#define NO_PAIR UINT32_MAX

static inline void count_node(tally *t, uint32_t mark, uint64_t w) {
  t->cum += t->mark == mark ? 0 : w;
  t->mark = mark;
}

// One stack: every node once into cum, the leaf into flat.
static void add_stack(tm_flatcum *f, uint32_t s, int64_t w, int64_t d, const node_pair *pairs,
                      tally *tallies, uint64_t *flats) {
  const tm_view *v = f->v;
  const uint32_t *frames = f->frames.items, *frame_begin = f->frame_begin;
  uint32_t mark = s + 1, leaf = UINT32_MAX;
  for (uint32_t i = v->begin[s]; i < v->end[s]; i++) {
    uint32_t loc = v->stack[i];
    node_pair pair = pairs[loc];
    if (TM_LIKELY(pair.first != NO_PAIR)) {
      count_node(&tallies[pair.first], mark, (uint64_t)w);
      count_node(&tallies[pair.second], mark, (uint64_t)w);
      if (leaf == UINT32_MAX) leaf = pair.first;
      continue;
    }
    uint32_t k = frame_begin[loc], end = frame_begin[loc + 1];
    if (leaf == UINT32_MAX && k < end) leaf = frames[k];
    for (; k < end; k++) count_node(&tallies[frames[k]], mark, (uint64_t)w);
  }
  if (leaf == UINT32_MAX) return;
  flats[leaf] += (uint64_t)w;
  if (d) add(&f->nodes.items[leaf].flat_divisor, d);
}

static node_pair *make_pairs(tm_ctx *ctx, const tm_flatcum *f) {
  node_pair *pairs = tm_alloc(ctx, (f->location_count + 1) * sizeof *pairs);
  uint32_t nobody = (uint32_t)f->nodes.count;
  for (size_t k = 0; pairs && k < f->location_count; k++) {
    const uint32_t *nodes = f->frames.items; // NULL when all are hidden
    uint32_t at = f->frame_begin[k], n = f->frame_begin[k + 1] - at;
    pairs[k] = n == 1   ? (node_pair){nodes[at], nobody}
               : n == 2 ? (node_pair){nodes[at], nodes[at + 1]}
                        : (node_pair){NO_PAIR, nobody};
  }
  return pairs;
}

// A range of samples and sums of its own.
typedef struct part {
  tm_ctx *ctx; // NULL on a second thread: no progress, no cancelling
  tm_flatcum *f;
  const node_pair *pairs;
  uint32_t begin, end;
  tally *tallies;
  uint64_t *flats; // apart from the nodes, which are wide
  tm_status status;
} part;

static void add_part(void *arg) {
  part *p = arg;
  const tm_view *v = p->f->v;
  for (uint32_t s = p->begin; p->status == TM_OK && s < p->end; s++) {
    int64_t w = tm_view_value(v, v->samples[s]), d = tm_view_divisor(v, v->samples[s]);
    if (w || d) add_stack(p->f, s, w, d, p->pairs, p->tallies, p->flats);
    if (p->ctx && (s & 0xffff) == 0xffff) p->status = tm_ctx_tick(p->ctx, s);
  }
}

static bool part_init(tm_ctx *ctx, part *p) {
  size_t count = p->f->nodes.count + 1;
  p->tallies = tm_calloc(ctx, count, sizeof *p->tallies);
  p->flats = tm_calloc(ctx, count, sizeof *p->flats);
  return p->tallies && p->flats;
}

static void part_fini(tm_ctx *ctx, part *p) {
  size_t count = p->f->nodes.count + 1;
  tm_free(ctx, p->tallies, count * sizeof *p->tallies);
  tm_free(ctx, p->flats, count * sizeof *p->flats);
}

static void take_sums(tm_flatcum *f, part *p) {
  for (size_t i = 0; i < f->nodes.count; i++) {
    add(&f->nodes.items[i].cum, (int64_t)p->tallies[i].cum);
    add(&f->nodes.items[i].flat, (int64_t)p->flats[i]);
    p->tallies[i].mark = 0;
  }
}

// Frames that make a second thread worth its start; means divide in one thread, they write to
// nodes.
enum { TWO_THREADS_FRAMES = 1 << 21 };

static tm_status add_values(tm_ctx *ctx, tm_flatcum *f) {
  const tm_view *v = f->v;
  node_pair *pairs = make_pairs(ctx, f);
  bool two =
      !v->mean && v->sample_count > 1
      && (v->own_stack.count ? v->own_stack.count : v->profile->stack.count) > TWO_THREADS_FRAMES;
  part here = {.ctx = ctx, .f = f, .pairs = pairs, .end = v->sample_count};
  part there = {.f = f, .pairs = pairs};
  tm_status status = pairs && part_init(ctx, &here) ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK && two && part_init(ctx, &there)) {
    here.begin = there.end = v->sample_count / 2;
    tm_do_both(add_part, &there, &here);
    take_sums(f, &there);
  } else if (status == TM_OK) {
    if (two) tm_ctx_clear(ctx); // no memory for the second: one thread does
    add_part(&here);
  }
  if (status == TM_OK) status = here.status;
  if (status == TM_OK) take_sums(f, &here);
  for (uint32_t s = 0; status == TM_OK && v->mean && s < v->sample_count; s++)
    add_divisor(f, s, tm_view_divisor(v, v->samples[s]), here.tallies);
  part_fini(ctx, &here);
  part_fini(ctx, &there);
  tm_free(ctx, pairs, (f->location_count + 1) * sizeof *pairs);
  return status;
}

tm_status tm_flatcum_init(tm_ctx *ctx, tm_view *v, const tm_flatcum_options *o, tm_flatcum *out) {
  TM_TRY(tm_flatcum_names(ctx, v, o, out));
  return add_values(ctx, out);
}

// --- names ---

static size_t format_label(const tm_flatcum *f, const tm_node *n, char *buf, size_t size) {
  const char *name = tm_view_text(f->v, n->name), *file = tm_view_text(f->v, n->file);
  char address[24] = "", place[48] = "";
  if (n->address) snprintf(address, sizeof address, "%016llx ", (unsigned long long)n->address);
  int length;
  if (n->line) {
    int at = snprintf(place, sizeof place, ":%lld", (long long)n->line);
    if (n->column) snprintf(place + at, sizeof place - (size_t)at, ":%lld", (long long)n->column);
  }
  if (n->line || *file) {
    length = snprintf(buf, size, "%s%s%s%s%s", address, name, *name ? " " : "", file, place);
  } else if (*name) {
    length = snprintf(buf, size, "%s%s", address, name);
  } else if (*tm_view_text(f->v, n->object)) {
    size_t n_base;
    const char *base = tm_path_base(tm_view_text(f->v, n->object), &n_base);
    length = snprintf(buf, size, "%s[%.*s]", address, (int)n_base, base);
  } else {
    length = snprintf(buf, size, "%s<unknown>", address);
  }
  return length < 0 ? 0 : (size_t)length;
}

tm_status tm_flatcum_label(tm_ctx *ctx, tm_flatcum *f, uint32_t node, const char **out) {
  tm_node *n = &f->nodes.items[node];
  if (!n->label) {
    size_t size = format_label(f, n, NULL, 0) + 1;
    char *text = tm_arena_alloc(&f->arena, size);
    if (!text) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (names)");
    format_label(f, n, text, size);
    n->label = text;
  }
  *out = n->label;
  return TM_OK;
}

// --- choosing what is shown ---

static uint64_t size_of(int64_t v) {
  return v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
}

typedef struct sort_key {
  uint64_t value;
  const tm_node *node;
  uint32_t index;
} sort_key;

static int compare_keys(const void *left, const void *right) {
  const sort_key *a = left, *b = right;
  if (a->value != b->value) return a->value > b->value ? -1 : 1;
  uint64_t x = a->node->address, y = b->node->address;
  if (x && y && x != y) return x < y ? -1 : 1;
  int order = strcmp(a->node->label, b->node->label);
  if (order) return order;
  return a->index < b->index ? -1 : a->index > b->index;
}

static tm_status sort_order(tm_ctx *ctx, tm_flatcum *f, bool by_cum) {
  sort_key *keys = tm_alloc(ctx, (f->order_count + 1) * sizeof *keys);
  if (!keys) return TM_E_NOMEM;
  tm_status status = TM_OK;
  for (uint32_t i = 0; i < f->order_count && status == TM_OK; i++) {
    const char *label;
    const tm_node *n = &f->nodes.items[f->order[i]];
    status = tm_flatcum_label(ctx, f, f->order[i], &label);
    if (status == TM_OK && (i & 0xffff) == 0xffff) status = tm_ctx_tick(ctx, i);
    keys[i] = (sort_key){size_of(by_cum ? n->cum : n->flat), n, f->order[i]};
  }
  if (status == TM_OK) {
    qsort(keys, f->order_count, sizeof *keys, compare_keys);
    for (uint32_t i = 0; i < f->order_count; i++) f->order[i] = keys[i].index;
  }
  tm_free(ctx, keys, (f->order_count + 1) * sizeof *keys);
  return status;
}

static bool is_negative(const tm_node *n) {
  return n->flat < 0 || (n->flat == 0 && n->cum < 0);
}

// From now on edges touch only what is in the order.
static void keep_order(tm_flatcum *f) {
  memset(f->kept, 0, f->order_room);
  for (uint32_t i = 0; i < f->order_count; i++) f->kept[f->order[i]] = 1;
}

tm_status tm_flatcum_select(tm_ctx *ctx, tm_flatcum *f, bool by_cum, double node_fraction,
                            int64_t node_count, bool drop_negative) {
  f->order_room = f->nodes.count + 1;
  f->order = tm_alloc(ctx, f->order_room * sizeof *f->order);
  f->kept = tm_alloc(ctx, f->order_room);
  if (!f->order || !f->kept) return TM_E_NOMEM;
  memset(f->kept, 1, f->order_room);
  uint64_t total = 0;
  for (uint32_t i = 0; i < f->nodes.count; i++) {
    const tm_node *n = &f->nodes.items[i];
    if ((!n->flat && !n->cum) || (drop_negative && is_negative(n))) continue;
    f->order[f->order_count++] = i;
    total += (uint64_t)n->flat;
  }
  uint64_t cutoff = size_of(tm_pprof_whole((double)(int64_t)total * node_fraction));
  uint32_t kept = 0;
  for (uint32_t i = 0; i < f->order_count; i++)
    if (size_of(f->nodes.items[f->order[i]].cum) >= cutoff) f->order[kept++] = f->order[i];
  f->dropped_count = f->order_count - kept;
  f->order_count = kept;
  if (f->dropped_count) keep_order(f);
  f->original_count = kept;
  TM_TRY(sort_order(ctx, f, by_cum));
  if (node_count > 0 && node_count < f->order_count) {
    f->order_count = (uint32_t)node_count;
    keep_order(f);
  }
  return TM_OK;
}

// --- edges ---

typedef struct edge_builder {
  tm_ctx *ctx;
  tm_flatcum *f;
  tm_idmap index;  // from << 32 | to -> edge
  uint8_t *wanted; // per node: edges into it are counted
} edge_builder;

static tm_status add_edge(edge_builder *b, uint32_t from, uint32_t to, uint32_t s, int64_t w,
                          int64_t d, bool residual, bool is_inline) {
  uint64_t key = (uint64_t)from << 32 | to;
  uint32_t i = tm_idmap_get(&b->index, key);
  if (i == TM_IDMAP_NONE) {
    i = (uint32_t)b->f->edges.count;
    tm_edge e = {.from = from, .to = to, .is_inline = is_inline};
    TM_TRY(tm_vec_push(b->ctx, &b->f->edges, e));
    TM_TRY(tm_idmap_put(b->ctx, &b->index, key, i));
  }
  tm_edge *e = &b->f->edges.items[i];
  if (e->last_sample == s + 1) return TM_OK; // once per stack
  e->last_sample = s + 1;
  add(&e->weight, w);
  add(&e->weight_divisor, d);
  e->residual |= residual;
  e->is_inline &= is_inline;
  return TM_OK;
}

static tm_status add_stack_edges(edge_builder *b, uint32_t s, int64_t w, int64_t d) {
  tm_flatcum *f = b->f;
  const tm_view *v = f->v;
  uint32_t parent = UINT32_MAX;
  bool residual = false;
  for (uint32_t i = v->end[s]; i > v->begin[s]; i--) {
    uint32_t loc = v->stack[i - 1], last = f->frame_begin[loc + 1];
    for (uint32_t k = last; k > f->frame_begin[loc]; k--) {
      uint32_t n = f->frames.items[k - 1];
      if (!f->kept[n]) {
        residual = true;
        continue;
      }
      if (parent != UINT32_MAX && n != parent && b->wanted[n])
        TM_TRY(add_edge(b, parent, n, s, w, d, residual, k != last));
      parent = n;
      residual = false;
    }
  }
  return TM_OK;
}

// Which nodes have in-edges worth counting; false = none.
static bool choose_wanted(edge_builder *b, bool inlined_only) {
  tm_flatcum *f = b->f;
  if (!inlined_only) {
    memset(b->wanted, 1, f->nodes.count);
    return true;
  }
  bool any = false;
  for (size_t k = 0; k < f->location_count; k++)
    for (uint32_t i = f->frame_begin[k]; i + 1 < f->frame_begin[k + 1]; i++) {
      b->wanted[f->frames.items[i]] = 1;
      any |= f->kept[f->frames.items[i]];
    }
  return any;
}

static void cut_edges(tm_flatcum *f, uint8_t *shown, int64_t cutoff) {
  size_t kept = 0;
  memset(shown, 0, f->nodes.count);
  for (uint32_t i = 0; i < f->order_count; i++) shown[f->order[i]] = 1;
  for (size_t i = 0; i < f->edges.count; i++) {
    const tm_edge *e = &f->edges.items[i];
    if (!shown[e->to] || size_of(e->weight) >= (uint64_t)cutoff) f->edges.items[kept++] = *e;
  }
  f->edges.count = kept;
}

tm_status tm_flatcum_edges(tm_ctx *ctx, tm_flatcum *f, bool inlined_only, int64_t cutoff) {
  const tm_view *v = f->v;
  edge_builder b = {.ctx = ctx, .f = f};
  b.wanted = tm_calloc(ctx, 1, f->nodes.count + 1);
  tm_status status = b.wanted ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK && choose_wanted(&b, inlined_only)) {
    for (uint32_t s = 0; s < v->sample_count && status == TM_OK; s++) {
      int64_t w = tm_view_value(v, v->samples[s]), d = tm_view_divisor(v, v->samples[s]);
      if (w || d) status = add_stack_edges(&b, s, w, d);
    }
    if (status == TM_OK) cut_edges(f, b.wanted, cutoff);
  }
  tm_idmap_free(ctx, &b.index);
  tm_free(ctx, b.wanted, f->nodes.count + 1);
  return status;
}
