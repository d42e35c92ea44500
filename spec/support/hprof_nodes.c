// floors: read analyze
// Holds a JVM heap dump against what VisualVM's heap library printed of it (hprof_diff.java):
//   hprof_nodes FILE PEER      compares counts of all classes, sizes and retained sizes of all
//   objects hprof_nodes FILE --time    only the cost, to the retained sizes of every object
//
// Retained sizes are compared by what each object adds to those of the objects that it dominates,
// so that a difference shows where it arises and not at all of its holders.
//
// VisualVM differs in six ways, which are undone here before retained sizes are compared:
//   - shallow sizes of some classes: theirs are used. Which classes differ is printed; ours are
//   held
//     against those of the VM.
//   - a class object, with what it holds, counts for what its holder retains there, or not: both
//   are
//     right here.
//   - a class refers neither to its signers nor to its protection domain there: not here, either.
//   - what only references weaker than strong ones reach is unreachable there and retains 0: not
//   compared.
//   - among what is held strongly, weaker references count as holders, and what something not held
//     strongly refers to is dominated by nothing: here these are followed and made roots.
//   - locals are roots there, here held by their thread: made roots. One that a single object
//   refers
//     to may count for that object there.
#include "analyze/domtree.h"
#include "read/reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct compare {
  tm_ctx *ctx;
  tm_graph *g;
  tm_domtree *tree;
  uint64_t *retained;     // theirs, by node
  uint64_t *shallow;      // theirs, by node
  uint64_t *type_count;   // ours
  uint32_t *size_differs; // by type: how many objects
  uint64_t *whole;        // by number of the tree: see sum_whole
  bool *met;              // by node: they have it, too
  bool *is_class;         // by node
  bool *held;             // by node: strongly
  bool *is_root;          // by node, of the dump's own
  int failures;
} compare;

enum { SHOWN = 60 };

static void report(compare *c, const char *what, uint64_t id, uint64_t theirs, uint64_t ours,
                   const char *name) {
  if (c->failures++ < SHOWN)
    printf("differs: %s of %" PRIx64 " %s: %" PRIu64 ", ours %" PRIu64 "\n", what, id, name, theirs,
           ours);
}

static void compare_count(compare *c, uint64_t id, uint64_t count, const char *name) {
  for (size_t i = 0; i < c->g->types.count; i++) {
    uint32_t node = c->g->types.items[i].node;
    if (node == TM_NODE_NONE || c->g->detail->id(c->g, node) != id) continue;
    // Objects of java.lang.Class are classes themselves there, but for int.class and its like.
    if (c->type_count[i] != count && strcmp(name, "java.lang.Class") != 0)
      report(c, "count", id, count, c->type_count[i], name);
    return;
  }
  report(c, "class", id, 1, 0, name);
}

static void take_sizes(compare *c, uint32_t node, bool is_class, uint64_t shallow,
                       uint64_t retained) {
  c->retained[node] = retained;
  c->shallow[node] = shallow;
  c->met[node] = true;
  c->is_class[node] = is_class;
  if (!is_class && tm_graph_size(c->g, node) != shallow) c->size_differs[c->g->type[node]]++;
}

static void read_peer(compare *c, FILE *f) {
  char line[4096];
  while (fgets(line, sizeof line, f)) {
    char *at = line + 2;
    uint64_t id = strtoull(at, &at, 16), first = strtoull(at, &at, 10);
    line[strcspn(line, "\n")] = '\0';
    if (*line == 'C') {
      compare_count(c, id, first, at + 1);
      continue;
    }
    uint64_t retained = strtoull(at, &at, 10);
    uint32_t node = c->g->detail->find(c->g, id);
    if (node == TM_NODE_NONE)
      report(c, "object", id, 1, 0, at + 1);
    else
      take_sizes(c, node, *line == 'K', first, retained);
  }
}

// A root for every object that something else refers to which is not held strongly.
static tm_status add_roots(compare *c, const tm_domtree *strong) {
  tm_graph *g = c->g;
  for (size_t i = 0; i < g->roots.count; i++) {
    c->is_root[g->roots.items[i].node] = true;
    g->roots.items[i].held = false;
  }
  for (uint32_t n = 0; n < g->node_count; n++) {
    c->held[n] = strong->number[n] != 0;
    for (uint32_t e = g->edge_begin[n]; !c->held[n] && e < g->edge_begin[n + 1]; e++) {
      tm_root root = {.node = g->edge_to[e], .thread = TM_NODE_NONE, .kind = TM_ROOT_OTHER};
      if (strong->number[root.node]) TM_TRY(tm_vec_push(c->ctx, &g->roots, root));
    }
  }
  return TM_OK;
}

// Turns references that they do not see, of classes to signers and protection domain, to their
// start.
static tm_status drop_domains(compare *c) {
  char name[64];
  tm_graph *g = c->g;
  for (uint32_t n = 0; n < g->node_count; n++) {
    for (uint32_t e = g->edge_begin[n]; c->is_class[n] && e < g->edge_begin[n + 1]; e++) {
      TM_TRY(g->detail->edge_name(c->ctx, g, n, e - g->edge_begin[n], name, sizeof name));
      if (strcmp(name, "<signers>") == 0 || strcmp(name, "<domain>") == 0) g->edge_to[e] = n;
    }
  }
  return TM_OK;
}

// Their sizes of all that a vertex dominates.
static bool sum_whole(compare *c) {
  c->whole = calloc((size_t)c->tree->reached + 1, sizeof *c->whole);
  if (!c->whole) return false;
  for (uint32_t v = c->tree->reached; v > 0; v--) {
    c->whole[v] += c->shallow[c->tree->vertex[v]];
    c->whole[c->tree->idom[v]] += c->whole[v];
  }
  return true;
}

// What they say the node's children retain, and how much of it may not have been added to what the
// node retains: see the head of this file.
static uint64_t sum_children(const compare *c, const tm_domchildren *children, uint32_t v,
                             uint64_t *unsure) {
  uint64_t sum = 0;
  for (uint32_t i = children->begin[v]; i < children->begin[v + 1]; i++) {
    uint32_t child = c->tree->vertex[children->child[i]];
    uint64_t bytes = c->held[child] ? c->retained[child] : 0;
    if (c->is_class[child]) {
      uint64_t whole = c->whole[children->child[i]];
      if (bytes < whole) bytes = whole;
      *unsure += bytes;
    }
    sum += bytes;
  }
  return sum;
}

// What a node adds to the retained sizes of those that it dominates is its own size.
static void compare_retained(compare *c, const tm_domchildren *children) {
  const tm_graph *g = c->g;
  for (uint32_t n = 0; n < g->node_count; n++) {
    uint64_t unsure = 0;
    if (!c->met[n]) report(c, "object", g->detail->id(g, n), 0, 1, tm_graph_type_name(g, n));
    if (!c->held[n] || (c->is_class[n] && !c->retained[n])) continue;
    uint64_t most = c->shallow[n] + sum_children(c, children, c->tree->number[n], &unsure);
    if (c->is_class[n]) unsure += c->shallow[n];
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++) {
      uint32_t to = g->edge_to[e];
      if (!c->is_root[to] || tm_domtree_idom(c->tree, to) == n) continue;
      most += c->retained[to];
      unsure += c->retained[to];
    }
    if (c->retained[n] > most || most - c->retained[n] > unsure)
      report(c, "retained", g->detail->id(g, n), c->retained[n], most, tm_graph_type_name(g, n));
  }
}

// Each class's bytes by its count, as the VM itself has them: "1: 20 640 java.lang.Thread
// (module)".
static void compare_with_vm(compare *c, FILE *f) {
  char line[4096], name[2048];
  uint64_t rank, count, bytes;
  uint32_t known = 0;
  while (fgets(line, sizeof line, f)) {
    if (sscanf(line, "%" SCNu64 ": %" SCNu64 " %" SCNu64 " %2047s", &rank, &count, &bytes, name)
        != 4)
      continue;
    for (uint32_t n = 0; n < c->g->node_count && *name != '['; n++) {
      if (strcmp(tm_graph_type_name(c->g, n), name) != 0 || strcmp(name, "java.lang.Class") == 0)
        continue;
      known++;
      if (tm_graph_size(c->g, n) != bytes / count)
        report(c, "the VM's size", c->g->detail->id(c->g, n), bytes / count, tm_graph_size(c->g, n),
               name);
      break;
    }
  }
  printf("%u classes have sizes by the VM\n", known);
}

static void print_summary(const compare *c, const char *path) {
  uint64_t sizes = 0;
  for (size_t i = 0; i < c->g->types.count; i++) {
    if (!c->size_differs[i]) continue;
    printf("shallow size differs: %u of %s\n", c->size_differs[i],
           tm_graph_text(&*c->g, c->g->types.items[i].name));
    sizes += c->size_differs[i];
  }
  printf("%s: %s, %u objects, %zu types, %" PRIu64 " of another shallow size, %d differences\n",
         c->failures ? "differs" : "same", path, c->g->node_count, c->g->types.count, sizes,
         c->failures);
}

static tm_status compare_all(compare *c, const char *peer, const char *histogram) {
  size_t n = c->g->node_count;
  c->retained = calloc(n + 1, sizeof *c->retained);
  c->shallow = calloc(n + 1, sizeof *c->shallow);
  c->met = calloc(n + 1, sizeof *c->met);
  c->is_class = calloc(n + 1, sizeof *c->is_class);
  c->held = calloc(n + 1, sizeof *c->held);
  c->is_root = calloc(n + 1, sizeof *c->is_root);
  c->type_count = calloc(c->g->types.count + 1, sizeof *c->type_count);
  c->size_differs = calloc(c->g->types.count + 1, sizeof *c->size_differs);
  FILE *f = fopen(peer, "r");
  if (!f || !c->retained || !c->shallow || !c->met || !c->is_class || !c->held || !c->is_root
      || !c->type_count || !c->size_differs)
    return tm_fail(c->ctx, TM_E_IO, TM_NO_OFFSET, "cannot read %s", peer);
  for (size_t i = 0; i < n; i++) c->type_count[c->g->type[i]]++;
  read_peer(c, f);
  fclose(f);
  tm_domtree *strong;
  tm_domchildren children;
  TM_TRY(drop_domains(c));
  TM_TRY(tm_domtree_new(c->ctx, c->g, TM_STRENGTH_STRONG, &strong));
  tm_status status = add_roots(c, strong);
  tm_domtree_free(strong);
  TM_TRY(status);
  TM_TRY(tm_domtree_new(c->ctx, c->g, TM_STRENGTH_PHANTOM, &c->tree));
  TM_TRY(tm_domtree_children(c->ctx, c->tree, &children));
  if (sum_whole(c)) compare_retained(c, &children);
  f = histogram ? fopen(histogram, "r") : NULL;
  if (f) compare_with_vm(c, f);
  if (f) fclose(f);
  tm_domchildren_fini(&children);
  return TM_OK;
}

static tm_status print_cost(compare *c) {
  struct rusage used;
  TM_TRY(tm_domtree_new(c->ctx, c->g, TM_STRENGTH_STRONG, &c->tree));
  getrusage(RUSAGE_SELF, &used);
  double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
                 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
  printf("objects %u cpu_s %.2f rss_mb %.0f\n", c->g->node_count, cpu_s,
         (double)used.ru_maxrss / 1024);
  return TM_OK;
}

int main(int argc, char **argv) {
  tm_ctx ctx;
  tm_snapshot snapshot = {0};
  compare c = {.ctx = &ctx};
  if (argc < 3) return 2;
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_read_file(&ctx, argv[1], NULL, &snapshot);
  c.g = snapshot.kind == TM_KIND_GRAPH ? snapshot.model : NULL;
  if (status == TM_OK && c.g)
    status = strcmp(argv[2], "--time") == 0 ? print_cost(&c) : compare_all(&c, argv[2], argv[3]);
  if (status != TM_OK || !c.g) fprintf(stderr, "%s: %s\n", argv[1], ctx.error.message);
  if (c.size_differs && status == TM_OK) print_summary(&c, argv[1]);
  free(c.retained);
  free(c.shallow);
  free(c.met);
  free(c.is_class);
  free(c.held);
  free(c.whole);
  free(c.is_root);
  free(c.type_count);
  free(c.size_differs);
  tm_domtree_free(c.tree);
  tm_snapshot_fini(&snapshot);
  tm_ctx_fini(&ctx);
  return status == TM_OK && c.g && !c.failures ? 0 : 1;
}
