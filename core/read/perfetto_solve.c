// Effective sizes of a memory dump, as Chrome's own tools attribute them: an owner's memory is the
// owned one's, counted at the owner; owners of the same importance share, those of less get what is
// left. One order serves all steps: children and owners stand before what they are of, so that
// forwards sums what lies below and backwards hands shares down. O(n · depth), depth is bounded.
// Source: the memory-infra documentation of Chromium ("effective size").
#include "read/perfetto_graph.h"

#include <stdlib.h>
#include <string.h>

static pf_node *node_at(const pf_graph *g, uint32_t at) {
  return at == PF_NONE ? NULL : &g->nodes.items[at];
}

static void link_owners(pf_graph *g) {
  for (size_t i = g->nodes.count; i-- > 0;) {
    pf_node *n = &g->nodes.items[i];
    pf_node *owned = node_at(g, n->owns);
    if (!owned) continue;
    n->next_owner = owned->first_owner;
    owned->first_owner = (uint32_t)i;
  }
}

#define LEAVE (UINT32_C(1) << 31)

// ---- the order ----

typedef TM_VEC(uint32_t) index_list;

static tm_status push_below(pf_graph *g, index_list *stack, const pf_node *n) {
  for (uint32_t at = n->first_child; at != PF_NONE; at = g->nodes.items[at].next_sibling)
    if (!g->nodes.items[at].seen) TM_TRY(tm_vec_push(g->ctx, stack, at));
  for (uint32_t at = n->first_owner; at != PF_NONE; at = g->nodes.items[at].next_owner)
    if (!g->nodes.items[at].seen) TM_TRY(tm_vec_push(g->ctx, stack, at));
  return TM_OK;
}

// A node comes out when it is met again on the stack, all below it being out. In a circle of owners
// the one met first stands last.
static tm_status order_from(pf_graph *g, index_list *stack, uint32_t root) {
  TM_TRY(tm_vec_push(g->ctx, stack, root));
  while (stack->count) {
    uint32_t at = stack->items[--stack->count];
    if (at & LEAVE) {
      TM_TRY(tm_vec_push(g->ctx, &g->order, at & ~LEAVE));
      continue;
    }
    if (g->nodes.items[at].seen) continue;
    g->nodes.items[at].seen = true;
    TM_TRY(tm_vec_push(g->ctx, stack, at | LEAVE));
    TM_TRY(push_below(g, stack, &g->nodes.items[at]));
  }
  return TM_OK;
}

static tm_status set_order(pf_graph *g) {
  index_list stack = {0};
  tm_status status = TM_OK;
  g->order.count = 0;
  for (size_t i = 0; i < g->nodes.count; i++) g->nodes.items[i].seen = false;
  for (size_t i = 0; i < g->nodes.count && status == TM_OK; i++)
    if (g->nodes.items[i].parent == PF_NONE) status = order_from(g, &stack, (uint32_t)i);
  tm_vec_free(g->ctx, &stack);
  return status;
}

// ---- weak nodes ----

// A parent that nobody told is weak when all below it are; then what is below a weak one, or owns
// one, is weak.
static void mark_weak(pf_graph *g) {
  for (size_t i = 0; i < g->order.count; i++) {
    pf_node *n = &g->nodes.items[g->order.items[i]];
    if (n->explicit_node || n->parent == PF_NONE) continue;
    n->weak = true;
    for (uint32_t at = n->first_child; at != PF_NONE; at = g->nodes.items[at].next_sibling)
      n->weak = n->weak && g->nodes.items[at].weak;
  }
  for (size_t i = g->order.count; i-- > 0;) {
    pf_node *n = &g->nodes.items[g->order.items[i]];
    const pf_node *parent = node_at(g, n->parent), *owned = node_at(g, n->owns);
    if ((parent && parent->weak) || (owned && owned->weak)) n->weak = true;
  }
}

// Cuts the weak ones off: nothing below looks at them again.
static void remove_weak(pf_graph *g) {
  for (size_t i = 0; i < g->nodes.count; i++) {
    pf_node *n = &g->nodes.items[i];
    for (uint32_t *at = &n->first_child; *at != PF_NONE;) {
      pf_node *child = &g->nodes.items[*at];
      if (child->weak)
        *at = child->next_sibling;
      else
        at = &child->next_sibling;
    }
    for (uint32_t *at = &n->first_owner; *at != PF_NONE;) {
      pf_node *owner = &g->nodes.items[*at];
      if (owner->weak)
        *at = owner->next_owner;
      else
        at = &owner->next_owner;
    }
  }
}

// ---- sizes ----

static bool lies_below(const pf_graph *g, uint32_t at, uint32_t root) {
  while (at != PF_NONE && at != root) at = g->nodes.items[at].parent;
  return at == root;
}

// What the leaves below a node sum up to, without shares of what lies below it, too.
static bool sum_below(const pf_graph *g, uint32_t root, uint64_t *sum) {
  uint32_t at = g->nodes.items[root].first_child;
  bool any = at != PF_NONE;
  *sum = 0;
  while (at != PF_NONE) {
    const pf_node *n = &g->nodes.items[at];
    bool inside = n->owns != PF_NONE && lies_below(g, n->owns, root);
    if (!inside && n->first_child != PF_NONE) {
      at = n->first_child;
      continue;
    }
    if (!inside) *sum += n->size;
    while (n->next_sibling == PF_NONE && n->parent != root) n = &g->nodes.items[n->parent];
    at = n->next_sibling;
  }
  return any;
}

static tm_status add_unspecified(pf_graph *g, uint32_t parent, uint64_t size) {
  static const char name[] = "<unspecified>";
  pf_node n = {.parent = parent,
               .first_child = PF_NONE,
               .next_sibling = g->nodes.items[parent].first_child,
               .owns = PF_NONE,
               .first_owner = PF_NONE,
               .next_owner = PF_NONE,
               .process = g->nodes.items[parent].process,
               .depth = g->nodes.items[parent].depth + 1,
               .name = {(const uint8_t *)name, sizeof name - 1},
               .size = size,
               .sized = true,
               .owning_part = 1,
               .owned_part = 1};
  g->nodes.items[parent].first_child = (uint32_t)g->nodes.count;
  return tm_vec_push(g->ctx, &g->nodes, n);
}

static tm_status set_size(pf_graph *g, uint32_t at) {
  uint64_t below = 0, most = g->nodes.items[at].size;
  bool parent = sum_below(g, at, &below);
  bool sized = g->nodes.items[at].sized || parent;
  if (below > most) most = below;
  for (uint32_t o = g->nodes.items[at].first_owner; o != PF_NONE;
       o = g->nodes.items[o].next_owner) {
    sized = sized || g->nodes.items[o].sized;
    if (g->nodes.items[o].size > most) most = g->nodes.items[o].size;
  }
  g->nodes.items[at].size = most;
  g->nodes.items[at].sized = sized;
  return parent && most > below ? add_unspecified(g, at, most - below) : TM_OK;
}

// ---- shares ----

static uint64_t largest_owner(const pf_graph *g, const pf_node *n) {
  uint64_t most = 0;
  for (uint32_t at = n->first_owner; at != PF_NONE; at = g->nodes.items[at].next_owner)
    if (g->nodes.items[at].size > most) most = g->nodes.items[at].size;
  return most;
}

static void set_sub_sizes(pf_graph *g, pf_node *n) {
  if (!n->sized) return;
  if (n->first_child == PF_NONE) {
    n->not_owning = n->not_owned = n->size;
    return;
  }
  for (uint32_t at = n->first_child; at != PF_NONE; at = g->nodes.items[at].next_sibling) {
    const pf_node *child = &g->nodes.items[at];
    if (child->owns == PF_NONE) n->not_owning += child->not_owning;
    if (child->first_owner == PF_NONE) {
      n->not_owned += child->not_owned;
      continue;
    }
    uint64_t owned = largest_owner(g, child);
    n->not_owned += child->size > owned ? child->size - owned : 0;
  }
}

typedef struct owner {
  int64_t priority;
  uint64_t not_owning;
  uint32_t node;
} owner;

static int by_priority(const void *left, const void *right) {
  const owner *a = left, *b = right;
  if (a->priority != b->priority) return a->priority > b->priority ? -1 : 1;
  if (a->not_owning != b->not_owning) return a->not_owning < b->not_owning ? -1 : 1;
  return a->node < b->node ? -1 : a->node > b->node;
}

// Owners from first to last of one importance: each part of the memory is split among those that
// reach so far. Returns what is attributed after them.
static uint64_t share(pf_graph *g, const owner *first, const owner *last, uint64_t attributed) {
  double sum = 0;
  for (const owner *o = first; o < last; o++) {
    if (o->not_owning > attributed) {
      sum += (double)(o->not_owning - attributed) / (double)(last - o);
      attributed = o->not_owning;
    }
    if (o->not_owning) g->nodes.items[o->node].owning_part = sum / (double)o->not_owning;
  }
  return attributed;
}

static tm_status set_parts(pf_graph *g, pf_node *n) {
  TM_VEC(owner) owners = {0};
  tm_status status = TM_OK;
  if (!n->sized || n->first_owner == PF_NONE) return TM_OK;
  for (uint32_t at = n->first_owner; at != PF_NONE && status == TM_OK;
       at = g->nodes.items[at].next_owner) {
    const pf_node *o = &g->nodes.items[at];
    status = tm_vec_push(g->ctx, &owners, (owner){o->priority, o->not_owning, at});
  }
  if (status == TM_OK && owners.items) {
    qsort(owners.items, owners.count, sizeof *owners.items, by_priority);
    uint64_t attributed = 0;
    for (size_t from = 0, to; from < owners.count; from = to) {
      for (to = from;
           to < owners.count && owners.items[to].priority == owners.items[from].priority;)
        to++;
      attributed = share(g, owners.items + from, owners.items + to, attributed);
    }
    if (n->not_owned)
      n->owned_part = n->not_owned > attributed
                          ? (double)(n->not_owned - attributed) / (double)n->not_owned
                          : 0;
  }
  tm_vec_free(g->ctx, &owners);
  return status;
}

static void set_all_parts(pf_graph *g, pf_node *n) {
  const pf_node *parent = node_at(g, n->parent), *owned = node_at(g, n->owns);
  if (!n->sized) return;
  n->all_owned = n->owned_part * (parent ? parent->all_owned : 1);
  n->all_owning = owned ? n->owning_part * owned->all_owning : parent ? parent->all_owning : 1;
}

static void set_effective(pf_graph *g, pf_node *n) {
  if (!n->sized) return;
  if (n->first_child == PF_NONE) {
    double value = (double)n->size * n->all_owning * n->all_owned;
    n->effective = value < 1.8e19 ? (uint64_t)value : UINT64_MAX;
    return;
  }
  for (uint32_t at = n->first_child; at != PF_NONE; at = g->nodes.items[at].next_sibling)
    n->effective += g->nodes.items[at].effective;
}

tm_status pf_graph_solve(pf_graph *g) {
  link_owners(g);
  TM_TRY(set_order(g));
  mark_weak(g);
  remove_weak(g);
  for (size_t i = 0; i < g->order.count; i++) TM_TRY(set_size(g, g->order.items[i]));
  TM_TRY(set_order(g)); // with the nodes that were added
  size_t count = g->order.count;
  for (size_t i = 0; i < count; i++) set_sub_sizes(g, &g->nodes.items[g->order.items[i]]);
  for (size_t i = 0; i < count; i++) TM_TRY(set_parts(g, &g->nodes.items[g->order.items[i]]));
  for (size_t i = count; i-- > 0;) set_all_parts(g, &g->nodes.items[g->order.items[i]]);
  for (size_t i = 0; i < count; i++) set_effective(g, &g->nodes.items[g->order.items[i]]);
  return TM_OK;
}
