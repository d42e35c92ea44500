// The roots of a JVM heap dump: why each one is one, of which thread, in which frame. Locals of a
// thread hang on it, behind its fields, so that it dominates them: in the graph's roots these come
// last, by thread, so that the name of such an edge is found by halving.
#include "read/hprof_impl.h"

#include <stdio.h>
#include <stdlib.h>

enum { TAG_THREAD = 0x08, NAME_BYTES = 512, LABEL_BYTES = 1500 };

tm_status hprof_add_root(hprof *h, uint8_t tag, uint8_t kind, uint8_t words, const uint8_t *body) {
  const uint8_t *p = body + h->id_bytes;
  uint64_t id = hprof_id(h, body);
  uint32_t serial = words ? (uint32_t)hprof_be32(p) : 0;
  uint32_t second = words > 1 ? (uint32_t)hprof_be32(p + 4) : 0;
  if (tag == TAG_THREAD)
    TM_TRY(tm_vec_push(h->ctx, &h->threads,
                       (hprof_thread){.object = id, .serial = serial, .trace = second}));
  hprof_local root = {id, serial, HPROF_NO_FRAME, kind};
  if (words > 1 && (kind == TM_ROOT_STACK || kind == TM_ROOT_JNI_LOCAL)) root.frame = second;
  return tm_vec_push(h->ctx, &h->root_ids, root);
}

// ---- labels ----

// "\"main\"": what the Thread object says, or what the VM said when it began.
static tm_status name_thread(hprof *h, hprof_thread *t) {
  char name[NAME_BYTES] = "", label[NAME_BYTES + 4];
  const char *text = "";
  size_t size = 0;
  if (t->node != TM_ADDR_NONE) hprof_thread_name(h->graph, t->node, name, sizeof name);
  if (!*name) {
    TM_TRY(hprof_string(h, hprof_start_name(h, t->serial), &text, &size));
    snprintf(name, sizeof name, "%.*s", (int)size, text);
  }
  if (!*name) return TM_OK;
  snprintf(label, sizeof label, "\"%s\"", name);
  return tm_strtab_intern(h->ctx, &h->graph->strings, label, strlen(label), &t->name);
}

// Of a local its frame, of what else belongs to a thread that thread.
static tm_status label_root(hprof *h, const hprof_local *r, const hprof_thread *t, uint32_t *out) {
  char label[LABEL_BYTES];
  hprof_frame f;
  *out = 0;
  if (r->kind == TM_ROOT_THREAD) {
    *out = t ? t->name : 0;
    return TM_OK;
  }
  if (t && r->frame != HPROF_NO_FRAME && hprof_frame_of(h, t->trace, r->frame, &f))
    hprof_write_frame(&f, label, sizeof label);
  else if (t && t->name)
    snprintf(label, sizeof label, "of thread %s", tm_graph_text(h->graph, t->name));
  else
    return TM_OK;
  return tm_strtab_intern(h->ctx, &h->graph->strings, label, strlen(label), out);
}

// ---- from ids to nodes ----

static hprof_thread *thread_of(const hprof *h, uint32_t serial) {
  uint32_t index = tm_idmap_get(&h->thread_index, serial);
  return serial && index != TM_IDMAP_NONE ? &h->threads.items[index] : NULL;
}

static tm_status resolve_threads(hprof *h) {
  for (size_t i = 0; i < h->threads.count; i++) {
    hprof_thread *t = &h->threads.items[i];
    t->node = tm_addr_rank_get(&h->rank, t->object);
    TM_TRY(name_thread(h, t));
    TM_TRY(tm_idmap_put(h->ctx, &h->thread_index, t->serial, (uint32_t)i));
  }
  return TM_OK;
}

static bool is_local(uint8_t kind) {
  return kind == TM_ROOT_STACK || kind == TM_ROOT_JNI_LOCAL || kind == TM_ROOT_NATIVE_STACK;
}

static tm_status resolve_root(hprof *h, const hprof_local *r) {
  uint32_t node = tm_addr_rank_get(&h->rank, r->id);
  if (node == TM_ADDR_NONE) {
    hprof_note(h, HPROF_LOST_ROOT, TM_NO_OFFSET);
    return TM_OK;
  }
  hprof_thread *thread = thread_of(h, r->thread_serial);
  tm_root root = {.node = node, .thread = thread ? thread->node : TM_NODE_NONE, .kind = r->kind};
  TM_TRY(label_root(h, r, thread, &root.label));
  if (!is_local(r->kind) || root.thread == TM_NODE_NONE)
    return tm_vec_push(h->ctx, &h->graph->roots, root);
  uint32_t *edges = &h->graph->edge_begin[root.thread + 1];
  if (*edges == UINT32_MAX - 1) return TM_OK;
  ++*edges;
  root.held = true;
  return tm_vec_push(h->ctx, &h->held, ((hprof_held){root, (uint32_t)h->held.count}));
}

static int by_thread(const void *a, const void *b) {
  const hprof_held *x = a, *y = b;
  if (x->root.thread != y->root.thread) return x->root.thread < y->root.thread ? -1 : 1;
  return x->order < y->order ? -1 : x->order > y->order;
}

tm_status hprof_resolve_roots(hprof *h) {
  TM_TRY(resolve_threads(h));
  for (size_t i = 0; i < h->root_ids.count; i++) TM_TRY(resolve_root(h, &h->root_ids.items[i]));
  if (h->held.count) qsort(h->held.items, h->held.count, sizeof *h->held.items, by_thread);
  for (size_t i = 0; i < h->held.count; i++)
    TM_TRY(tm_vec_push(h->ctx, &h->graph->roots, h->held.items[i].root));
  return TM_OK;
}

// In the holes that were counted for them, which are the last ones of each thread's edges.
void hprof_put_locals(hprof *h, uint32_t *used) {
  uint32_t *to = h->graph->edge_to, *begin = h->graph->edge_begin, e = 0;
  for (size_t i = 0; i < h->held.count; i++) {
    const tm_root *r = &h->held.items[i].root;
    if (!i || h->held.items[i - 1].root.thread != r->thread) e = begin[r->thread];
    while (e < begin[r->thread + 1] && to[e] != TM_NODE_NONE) e++;
    if (e == begin[r->thread + 1]) continue;
    to[e] = r->node;
    ++*used;
  }
}

// The first root that a thread holds, of this one or a later one.
static size_t first_held(const tm_graph *g, uint32_t thread) {
  size_t low = 0, high = g->roots.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const tm_root *r = &g->roots.items[middle];
    if (!r->held || r->thread < thread)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

void hprof_local_name(const tm_graph *g, uint32_t thread, uint32_t index, char *out, size_t size) {
  size_t at = first_held(g, thread) + index;
  bool is_there = at < g->roots.count && g->roots.items[at].thread == thread;
  const char *label = is_there ? tm_graph_text(g, g->roots.items[at].label) : "";
  if (strncmp(label, "of thread ", 10) == 0) label = ""; // its start says so
  snprintf(out, size, "<local>%s%s", *label ? " " : "", label);
}

// ---- roots that are lost ----

// Whether the type is one of `name` or below it.
static bool extends(const tm_graph *g, uint32_t type, uint32_t above) {
  for (size_t steps = g->types.count; type != TM_NODE_NONE && steps; steps--) {
    if (type == above) return true;
    type = g->types.items[type].super;
  }
  return false;
}

static uint32_t type_called(const tm_graph *g, const char *name) {
  for (uint32_t i = 0; i < g->types.count; i++)
    if (strcmp(tm_graph_text(g, g->types.items[i].name), name) == 0) return i;
  return TM_NODE_NONE - 1; // nothing extends it
}

static tm_status assume_root(hprof *h, uint32_t node) {
  tm_root root = {.node = node, .thread = TM_NODE_NONE, .kind = TM_ROOT_ASSUMED};
  hprof_note(h, HPROF_ASSUMED_ROOT, TM_NO_OFFSET);
  return tm_vec_push(h->ctx, &h->graph->roots, root);
}

// Classes of the boot loader, and those whose loader is lost, too.
static tm_status assume_classes(hprof *h) {
  for (size_t i = 0; i < h->classes.count; i++) {
    const hprof_class *c = &h->classes.items[i];
    uint32_t node = tm_addr_rank_get(&h->rank, c->id);
    bool held = c->loader_id && tm_addr_rank_get(&h->rank, c->loader_id) != TM_ADDR_NONE;
    if (node != TM_ADDR_NONE && !held) TM_TRY(assume_root(h, node));
  }
  return TM_OK;
}

static tm_status assume_threads_and_loaders(hprof *h) {
  const tm_graph *g = h->graph;
  uint32_t thread = type_called(g, "java.lang.Thread");
  uint32_t loader = type_called(g, "java.lang.ClassLoader");
  bool *wanted = tm_calloc(h->ctx, g->types.count + 1, sizeof *wanted);
  if (!wanted) return TM_E_NOMEM;
  for (uint32_t i = 0; i < g->types.count; i++)
    wanted[i] = extends(g, i, thread) || extends(g, i, loader);
  tm_status status = TM_OK;
  for (uint32_t n = 0; status == TM_OK && n < g->node_count; n++)
    if (wanted[g->type[n]]) status = assume_root(h, n);
  tm_free(h->ctx, wanted, (g->types.count + 1) * sizeof *wanted);
  return status;
}

// HotSpot writes all roots last, the classes of the system at the very end: a cut dump lacks them.
tm_status hprof_assume_roots(hprof *h) {
  const tm_graph *g = h->graph;
  bool lost = h->problems[HPROF_CUT].count > 0;
  for (size_t i = 0; lost && i < g->roots.count; i++)
    lost = g->roots.items[i].kind != TM_ROOT_STATIC;
  if (g->roots.count && !lost) return TM_OK;
  TM_TRY(assume_classes(h));
  return assume_threads_and_loaders(h);
}
