// floors: read analyze
// A heap dump to the retained bytes of every object: bench_graph FILE [RUNS]. Prints the best of
// RUNS (CPU time) of reading and of the dominator tree, and the peak of memory.
#include "analyze/domtree.h"
#include "base/clock.h"
#include "read/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A line of /proc/self/status in KiB.
static long long status_kib(const char *key) {
  char line[256];
  long long kib = 0;
  FILE *f = fopen("/proc/self/status", "r");
  while (f && fgets(line, sizeof line, f))
    if (strncmp(line, key, strlen(key)) == 0) kib = atoll(line + strlen(key));
  if (f) fclose(f);
  return kib;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    printf("usage: bench_graph FILE [RUNS]\n");
    return 0;
  }
  int runs = argc > 2 ? atoi(argv[2]) : 3;
  double best_read = 1e9, best_tree = 1e9;
  for (int i = 0; i < runs; i++) {
    tm_ctx ctx;
    tm_snapshot s = {0};
    tm_domtree *tree = NULL;
    tm_ctx_init(&ctx, NULL);
    uint64_t start_ns = tm_clock_process_cpu_ns();
    if (tm_read_file(&ctx, argv[1], NULL, &s) != TM_OK) printf("%s\n", ctx.error.message);
    uint64_t read_ns = tm_clock_process_cpu_ns() - start_ns;
    if (!s.model || s.kind != TM_KIND_GRAPH) return 1;
    tm_ctx_clear(&ctx);
    if (tm_domtree_new(&ctx, s.model, TM_STRENGTH_SOFT, &tree) != TM_OK) return 1;
    uint64_t tree_ns = tm_clock_process_cpu_ns() - start_ns - read_ns;
    const tm_graph *g = s.model;
    if (i == 0)
      printf("%u objects, %u references, %u reachable, %zu types, %zu roots; peak %lld MiB\n",
             g->node_count, g->edge_count, tree->reached, g->types.count, g->roots.count,
             status_kib("VmHWM:") >> 10);
    if ((double)read_ns / 1e9 < best_read) best_read = (double)read_ns / 1e9;
    if ((double)tree_ns / 1e9 < best_tree) best_tree = (double)tree_ns / 1e9;
    tm_domtree_free(tree);
    tm_snapshot_fini(&s);
    tm_ctx_fini(&ctx);
  }
  printf("read %.2f s + retained sizes %.2f s = %.2f s of CPU\n", best_read, best_tree,
         best_read + best_tree);
  return 0;
}
