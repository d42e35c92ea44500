// The tree grows level by level: every sample holds a cursor into its stack and the node it has
// come to, and one pass moves all of them a frame leafwards. A level's weights are known when its
// pass ends, so light nodes go at once and their samples with them: what cannot be seen is never
// walked. Within a level (parent, frame) finds the child in a table that stamps make empty; a
// sample that goes where the one before it went needs no look-up. Cost: one step per frame of
// what stays, none per frame that is folded away.
#include "analyze/calltree.h"

#include "base/hash.h"

#define NO_NODE UINT32_MAX

typedef struct walker {
  int64_t value;
  uint32_t node;      // where it stands
  uint32_t at, begin; // stack range still to walk, from at down to begin
  uint32_t line;      // frames of stack[at] still to walk
  bool is_base;
} walker;

typedef struct slot {
  uint32_t stamp, node;
} slot;

typedef struct grower {
  tm_ctx *ctx;
  const tm_flatcum *names;
  tm_calltree *tree;
  walker *walkers;
  size_t walker_count, walker_room;
  slot *slots;
  size_t slot_count, slots_used;
  uint32_t stamp;
  uint32_t first_new;    // nodes of the level under way start here
  TM_VEC(uint32_t) kept; // per node of the last level: its index now, or NO_NODE
  uint32_t kept_from;
} grower;

void tm_calltree_fini(tm_calltree *tree) {
  if (!tree->alloc.realloc_fn) return;
  tm_ctx ctx = {.alloc = tree->alloc};
  tm_vec_free(&ctx, &tree->nodes);
  *tree = (tm_calltree){0};
}

static void add(int64_t *sum, int64_t value) {
  *sum = (int64_t)((uint64_t)*sum + (uint64_t)value);
}

static uint64_t size_of(int64_t v) {
  return v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
}

// Saturates: a wrapped weight would hide the heaviest node.
static void add_weight(uint64_t *sum, uint64_t value) {
  *sum = *sum + value < *sum ? UINT64_MAX : *sum + value;
}

static void add_cum(tm_call_node *n, const walker *w) {
  add(&n->cum, w->value);
  if (w->is_base) add(&n->base_cum, (int64_t)(0 - (uint64_t)w->value));
  add_weight(&n->weight, size_of(w->value));
}

static void add_flat(tm_call_node *n, const walker *w) {
  add(&n->flat, w->value);
  if (w->is_base) add(&n->base_flat, (int64_t)(0 - (uint64_t)w->value));
}

// --- children ---

static size_t slot_of(const grower *g, uint32_t parent, uint32_t frame) {
  const tm_call_node *nodes = g->tree->nodes.items;
  size_t mask = g->slot_count - 1;
  size_t i = (size_t)tm_hash_mix((uint64_t)parent << 32 | frame) & mask;
  for (; g->slots[i].stamp == g->stamp; i = (i + 1) & mask) {
    const tm_call_node *n = &nodes[g->slots[i].node];
    if (n->parent == parent && n->frame == frame) break;
  }
  return i;
}

static tm_status grow_slots(grower *g) {
  size_t old_count = g->slot_count;
  slot *old = g->slots, *fresh;
  size_t count = old_count ? old_count * 2 : 1024;
  fresh = tm_calloc(g->ctx, count, sizeof *fresh);
  if (!fresh) return TM_E_NOMEM;
  g->slots = fresh;
  g->slot_count = count;
  for (uint32_t n = g->first_new; n < g->tree->nodes.count; n++) {
    const tm_call_node *node = &g->tree->nodes.items[n];
    fresh[slot_of(g, node->parent, node->frame)] = (slot){g->stamp, n};
  }
  tm_free(g->ctx, old, old_count * sizeof *old);
  return TM_OK;
}

static tm_status child_of(grower *g, uint32_t parent, uint32_t frame, uint32_t *out) {
  if ((g->slots_used + 1) * 2 > g->slot_count) TM_TRY(grow_slots(g));
  slot *s = &g->slots[slot_of(g, parent, frame)];
  if (s->stamp != g->stamp) {
    uint32_t depth = g->tree->nodes.items[parent].depth + 1;
    tm_call_node n = {.parent = parent, .frame = frame, .depth = depth};
    if (g->tree->nodes.count >= NO_NODE - 1)
      return tm_fail(g->ctx, TM_E_LIMIT, TM_NO_OFFSET, "over 4 G call paths");
    TM_TRY(tm_vec_push(g->ctx, &g->tree->nodes, n));
    *s = (slot){g->stamp, (uint32_t)g->tree->nodes.count - 1};
    g->slots_used++;
  }
  *out = s->node;
  return TM_OK;
}

// --- one level ---

// The next frame leafwards; false at the end of the stack.
static bool next_frame(const tm_flatcum *names, walker *w, uint32_t *out) {
  const uint32_t *stack = names->v->stack, *begin = names->frame_begin;
  while (!w->line) {
    if (w->at == w->begin) return false;
    uint32_t loc = stack[--w->at];
    w->line = begin[loc + 1] - begin[loc];
  }
  *out = names->frames.items[begin[stack[w->at]] + --w->line];
  return true;
}

static tm_status walk_level(grower *g) {
  size_t left = 0;
  uint32_t last_parent = NO_NODE, last_frame = 0, last_child = 0;
  for (size_t i = 0; i < g->walker_count; i++) {
    walker w = g->walkers[i];
    w.node = g->kept.count ? g->kept.items[w.node - g->kept_from] : w.node;
    if (w.node == NO_NODE) continue;
    uint32_t frame;
    if (!next_frame(g->names, &w, &frame)) {
      add_flat(&g->tree->nodes.items[w.node], &w);
      continue;
    }
    if (w.node != last_parent || frame != last_frame) {
      last_parent = w.node;
      last_frame = frame;
      TM_TRY(child_of(g, w.node, frame, &last_child));
    }
    w.node = last_child;
    add_cum(&g->tree->nodes.items[last_child], &w);
    g->walkers[left++] = w;
  }
  g->walker_count = left;
  return TM_OK;
}

// Drops the level's light nodes and closes the gaps.
static tm_status fold_level(grower *g, const tm_calltree_limits *limits) {
  tm_call_node *nodes = g->tree->nodes.items;
  uint64_t least = limits->parts ? nodes[0].weight / limits->parts : 0;
  uint32_t count = (uint32_t)g->tree->nodes.count, next = g->first_new;
  bool too_deep = limits->depth_max && nodes[count - 1].depth > limits->depth_max;
  g->kept.count = 0;
  TM_TRY(tm_vec_reserve(g->ctx, &g->kept, count - g->first_new));
  for (uint32_t n = g->first_new; n < count; n++) {
    bool keep = !too_deep && nodes[n].weight >= least;
    g->kept.items[g->kept.count++] = keep ? next : NO_NODE;
    if (keep) nodes[next++] = nodes[n];
  }
  g->kept_from = g->first_new;
  g->tree->nodes.count = next;
  return TM_OK;
}

static tm_status grow(grower *g, const tm_calltree_limits *limits) {
  while (g->walker_count) {
    g->stamp++;
    g->slots_used = 0;
    g->first_new = (uint32_t)g->tree->nodes.count;
    TM_TRY(walk_level(g));
    if (g->tree->nodes.count == g->first_new) break;
    TM_TRY(fold_level(g, limits));
    if (g->tree->nodes.count == g->first_new) break;
    TM_TRY(tm_ctx_tick(g->ctx, g->tree->nodes.count));
  }
  return TM_OK;
}

// --- samples ---

static bool is_base(const tm_profile *p, uint32_t sample, uint32_t key, uint32_t yes) {
  uint32_t end = tm_profile_label_end(p, sample);
  for (uint32_t i = tm_profile_label_begin(p, sample); i < end; i++) {
    const tm_label *l = &p->labels.items[i];
    if (l->key == key && !l->numeric && l->text == yes) return true;
  }
  return false;
}

static void start_walkers(grower *g) {
  const tm_view *v = g->names->v;
  uint32_t key = tm_strtab_find(&v->profile->strings, "pprof::base", 11);
  uint32_t yes = tm_strtab_find(&v->profile->strings, "true", 4);
  tm_call_node *root = g->tree->nodes.items;
  for (uint32_t s = 0; s < v->sample_count; s++) {
    int64_t value = tm_view_value(v, v->samples[s]);
    if (!value) continue;
    bool base = key != UINT32_MAX && is_base(v->profile, v->samples[s], key, yes);
    walker w = {.value = value, .at = v->end[s], .begin = v->begin[s], .is_base = base};
    if (base || value < 0) g->tree->is_difference = true;
    add_cum(root, &w);
    g->walkers[g->walker_count++] = w;
  }
}

tm_status tm_calltree_init(tm_ctx *ctx, const tm_flatcum *names, tm_calltree_limits limits,
                           tm_calltree *out) {
  *out = (tm_calltree){.alloc = ctx->alloc};
  grower g = {.ctx = ctx, .names = names, .tree = out};
  TM_TRY(tm_vec_push(ctx, &out->nodes, (tm_call_node){0}));
  g.walker_room = (size_t)names->v->sample_count + 1;
  g.walkers = tm_alloc(ctx, g.walker_room * sizeof *g.walkers);
  tm_status status = g.walkers ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK) {
    start_walkers(&g);
    status = grow(&g, &limits);
  }
  tm_free(ctx, g.walkers, g.walker_room * sizeof *g.walkers);
  tm_free(ctx, g.slots, g.slot_count * sizeof *g.slots);
  tm_vec_free(ctx, &g.kept);
  return status;
}
