// floors: read analyze
// Prints every node and class of a V8 heap snapshot as v8_peer.mjs does for DevTools' worker:
//   v8_nodes FILE           N id self retained distance detachedness class ...
//   v8_nodes FILE --time    only what DevTools has when a snapshot is loaded: no sums by class
#include "analyze/distance.h"
#include "analyze/domtree.h"
#include "read/reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct class_sum {
  uint64_t count, bytes;
  int32_t distance;
} class_sum;

typedef struct answers {
  const tm_graph *g;
  tm_domtree *tree;
  tm_domchildren children;
  int32_t *distance;
  uint64_t *retained_by_type;
} answers;

static tm_status compute(tm_ctx *ctx, answers *a, bool sums) {
  a->distance = malloc(((size_t)a->g->node_count + 1) * sizeof *a->distance);
  a->retained_by_type = calloc(a->g->types.count + 1, sizeof *a->retained_by_type);
  TM_TRY(tm_domtree_new(ctx, a->g, TM_STRENGTH_SOFT, &a->tree));
  TM_TRY(tm_domtree_children(ctx, a->tree, &a->children));
  if (sums)
    TM_TRY(tm_domtree_retained_by_type(ctx, a->tree, a->g, &a->children, a->retained_by_type));
  return tm_distance(ctx, a->g, a->distance);
}

static void put_name(const char *name) {
  for (; *name; name++) putchar(strchr("\t\n\r", *name) ? ' ' : *name);
  putchar('\n');
}

static void print_nodes(const answers *a) {
  const tm_graph *g = a->g;
  for (uint32_t n = 0; n < g->node_count; n++) {
    // The root of the dump stands for all: what nothing holds is its too.
    uint64_t retained = n ? tm_domtree_retained(a->tree, g, n) : a->tree->retained[0];
    printf("N\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%d\t%d\t", g->detail->id(g, n),
           tm_graph_size(g, n), retained, a->distance[n],
           g->flags ? g->flags[n] & TM_NODE_LINK : 0);
    put_name(tm_graph_type_name(g, n));
  }
}

static void print_classes(const answers *a) {
  const tm_graph *g = a->g;
  class_sum *sums = calloc(g->types.count + 1, sizeof *sums);
  if (!sums) return;
  for (uint32_t n = 0; n < g->node_count; n++) {
    class_sum *s = &sums[g->type[n]];
    if (!tm_graph_size(g, n)) continue;
    if (!s->count || a->distance[n] < s->distance) s->distance = a->distance[n];
    s->count++;
    s->bytes += tm_graph_size(g, n);
  }
  for (size_t i = 0; i < g->types.count; i++) {
    if (!sums[i].count) continue;
    printf("C\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%d\t", sums[i].count, sums[i].bytes,
           a->retained_by_type[i], sums[i].distance);
    put_name(tm_graph_text(g, g->types.items[i].name));
  }
  free(sums);
}

static void print_cost(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
                 + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
  printf("cpu_s %.2f rss_mb %.0f\n", cpu_s, (double)used.ru_maxrss / 1024);
}

int main(int argc, char **argv) {
  tm_ctx ctx;
  tm_snapshot snapshot = {0};
  answers a = {0};
  if (argc < 2) return 2;
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_read_file(&ctx, argv[1], NULL, &snapshot);
  if (snapshot.kind == TM_KIND_GRAPH && snapshot.model) {
    a.g = snapshot.model;
    status = compute(&ctx, &a, argc == 2);
  }
  if (status != TM_OK) fprintf(stderr, "%s: %s\n", argv[1], ctx.error.message);
  if (status == TM_OK && argc > 2) print_cost();
  if (status == TM_OK && argc == 2) {
    print_nodes(&a);
    print_classes(&a);
  }
  free(a.distance);
  free(a.retained_by_type);
  tm_domchildren_fini(&a.children);
  tm_domtree_free(a.tree);
  tm_snapshot_fini(&snapshot);
  tm_ctx_fini(&ctx);
  return status == TM_OK ? 0 : 1;
}
