// Builds the trees and edges of a memory dump. Names deeper than Chrome nests keep the rest of
// their path as one part, so that work per node stays bounded. O(n). Source:
// protos/perfetto/trace/memory_graph.proto.
#include "read/perfetto_graph.h"

#include <string.h>

enum { DEEPEST = 16 };

void pf_graph_fini(pf_graph *g) {
  tm_vec_free(g->ctx, &g->nodes);
  tm_vec_free(g->ctx, &g->pids);
  tm_vec_free(g->ctx, &g->order);
  tm_idmap_free(g->ctx, &g->by_name);
  tm_idmap_free(g->ctx, &g->by_id);
}

static tm_status new_node(pf_graph *g, uint32_t parent, uint32_t process, pf_span name,
                          uint32_t *out) {
  pf_node n = {.parent = parent,
               .first_child = PF_NONE,
               .next_sibling = PF_NONE,
               .owns = PF_NONE,
               .first_owner = PF_NONE,
               .next_owner = PF_NONE,
               .process = process,
               .name = name,
               .owning_part = 1,
               .owned_part = 1};
  *out = (uint32_t)g->nodes.count;
  if (parent != PF_NONE) {
    n.depth = g->nodes.items[parent].depth + 1;
    n.next_sibling = g->nodes.items[parent].first_child;
    g->nodes.items[parent].first_child = *out;
  }
  return tm_vec_push(g->ctx, &g->nodes, n);
}

// The root of a process is its node of no name; roots stand first among the process's nodes.
static tm_status find_process(pf_graph *g, int64_t pid, uint32_t *process, uint32_t *root) {
  uint64_t key = tm_hash_add(tm_hash_mix((uint64_t)pid), 7) >> 1;
  *root = tm_idmap_get(&g->by_name, key);
  if (*root != TM_IDMAP_NONE) {
    *process = g->nodes.items[*root].process;
    return TM_OK;
  }
  *process = (uint32_t)g->pids.count;
  TM_TRY(tm_vec_push(g->ctx, &g->pids, pid));
  TM_TRY(new_node(g, PF_NONE, *process, (pf_span){0}, root));
  return tm_idmap_put(g->ctx, &g->by_name, key, *root);
}

static tm_status find_child(pf_graph *g, uint32_t parent, pf_span name, uint32_t *out) {
  uint64_t key = tm_hash_add(tm_hash_bytes(name.data, name.size), (uint64_t)parent + 11) >> 1;
  *out = tm_idmap_get(&g->by_name, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  TM_TRY(new_node(g, parent, g->nodes.items[parent].process, name, out));
  return tm_idmap_put(g->ctx, &g->by_name, key, *out);
}

static tm_status find_path(pf_graph *g, uint32_t root, pf_span path, uint32_t *out) {
  *out = root;
  while (path.size) {
    const uint8_t *slash =
        g->nodes.items[*out].depth + 1 < DEEPEST ? memchr(path.data, '/', path.size) : NULL;
    pf_span part = {path.data, slash ? (size_t)(slash - path.data) : path.size};
    TM_TRY(find_child(g, *out, part, out));
    size_t used = part.size + (slash != NULL);
    path = (pf_span){path.data + used, path.size - used};
  }
  return TM_OK;
}

typedef struct node_words {
  pf_span name;
  uint64_t id, size, objects;
  bool weak, sized, counted;
} node_words;

// MemoryNodeEntry: 1 name, 3 value_uint64.
static void read_entry(pf_span message, node_words *n) {
  pf_span name = {0};
  uint64_t value = 0;
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number == 1 && f.type == 2) name = pf_span_of(&f);
    if (f.number == 3 && f.type == 0) value = f.value;
  }
  if (name.size != 12 || memcmp(name.data, "object_count", 12) != 0) return;
  n->objects = value;
  n->counted = true;
}

// MemoryNode: 1 id, 2 absolute_name, 3 weak, 4 size_bytes, 5 entries.
static node_words words_of_node(pf_span message) {
  node_words n = {0};
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number == 1 && f.type != 2) n.id = f.value;
    if (f.number == 2 && f.type == 2) n.name = pf_span_of(&f);
    if (f.number == 3 && f.type == 0) n.weak = f.value != 0;
    if (f.number == 4 && f.type == 0) {
      n.size = f.value;
      n.sized = true;
    }
    if (f.number == 5 && f.type == 2) read_entry(pf_span_of(&f), &n);
  }
  return n;
}

// Nodes below "global/" are of all processes: the first that tells them sets them.
static tm_status add_node(pf_graph *g, uint32_t root, uint32_t shared, pf_span message) {
  node_words words = words_of_node(message);
  bool global = words.name.size > 7 && memcmp(words.name.data, "global/", 7) == 0;
  if (!words.name.size) return TM_OK;
  uint32_t at;
  TM_TRY(find_path(g, global ? shared : root, words.name, &at));
  pf_node *n = &g->nodes.items[at];
  if (!n->explicit_node) n->weak = words.weak;
  n->explicit_node = true;
  if (words.sized && !n->sized) {
    n->size = words.size;
    n->sized = true;
  }
  if (words.counted && !n->counted) {
    n->objects = words.objects;
    n->counted = true;
  }
  return tm_idmap_put(g->ctx, &g->by_id, words.id, at);
}

// ProcessSnapshot: 1 pid, 2 allocator_dumps, 3 memory_edges.
tm_status pf_graph_add(pf_graph *g, pf_span snapshot) {
  int64_t pid = 0;
  uint32_t process, root, shared;
  wire_field f;
  wire w = pf_wire(snapshot);
  while (pf_next(&w, &f))
    if (f.number == 1 && f.type == 0) pid = (int32_t)f.value;
  TM_TRY(find_process(g, 0, &process, &shared));
  TM_TRY(find_process(g, pid, &process, &root));
  w = pf_wire(snapshot);
  while (pf_next(&w, &f))
    if (f.number == 2 && f.type == 2) TM_TRY(add_node(g, root, shared, pf_span_of(&f)));
  return TM_OK;
}

// MemoryEdge: 1 source_id, 2 target_id, 3 importance. A node owns one other; a later edge counts.
static void add_edge(pf_graph *g, pf_span message) {
  uint64_t source = 0, target = 0;
  int64_t priority = 0;
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number == 1 && f.type != 2) source = f.value;
    if (f.number == 2 && f.type != 2) target = f.value;
    if (f.number == 3 && f.type == 0) priority = (int32_t)f.value;
  }
  uint32_t from = tm_idmap_get(&g->by_id, source), to = tm_idmap_get(&g->by_id, target);
  if (from == TM_IDMAP_NONE || to == TM_IDMAP_NONE || from == to) return;
  g->nodes.items[from].owns = to;
  g->nodes.items[from].priority = priority;
}

void pf_graph_link(pf_graph *g, pf_span snapshot) {
  wire w = pf_wire(snapshot);
  for (wire_field f; pf_next(&w, &f);)
    if (f.number == 3 && f.type == 2) add_edge(g, pf_span_of(&f));
}
