// floors: read analyze
// Any bytes as a heap dump (the last byte chooses the format), asked everything that can be asked
// of its objects: sets, ways, suspects, consumers, garbage, contents. Sums must agree: what a set
// retains is at least what is known of it, and no more than the heap.
#include "analyze/consumers.h"
#include "analyze/garbage.h"
#include "analyze/lint.h"
#include "analyze/node_paths.h"
#include "analyze/node_tables.h"
#include "analyze/suspects.h"
#include "read/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct asked {
  tm_ctx *ctx;
  const tm_graph *g;
  tm_domtree *t;
  tm_domchildren c;
  tm_node_set set, all;
} asked;

static void must(tm_status status) {
  if (status != TM_OK) abort();
}

static tm_table *table(const asked *a) {
  tm_table *out;
  must(tm_table_new(a->ctx, &out));
  return out;
}

static void ask_set(asked *a) {
  tm_node_set retained, beside;
  uint64_t least;
  must(tm_node_set_retained(a->ctx, a->g, a->t, TM_STRENGTH_SOFT, &a->set, &retained));
  must(tm_node_set_min_retained(a->ctx, a->g, a->t, &a->set, &least));
  uint64_t exact = tm_node_set_shallow(&retained, a->g);
  if (least > exact || exact > a->g->shallow_bytes) abort();
  tm_node_set_fini(&retained);
  must(tm_node_set_dominators(a->ctx, a->g, a->t, &a->set, &beside));
  tm_node_set_fini(&beside);
  must(tm_node_set_reach(a->ctx, a->g, TM_STRENGTH_SOFT, &a->set, NULL, &beside));
  tm_node_set_join(&beside, &a->set, TM_NODE_SET_AND);
  if (tm_node_set_count(&beside) != tm_node_set_count(&a->set)) abort();
  tm_node_set_fini(&beside);
  tm_table *t = table(a);
  must(tm_node_paths_table(a->ctx, a->g, TM_STRENGTH_SOFT, &a->set, true, 50, t));
  tm_table_free(t);
  t = table(a);
  must(tm_node_rows_table(a->ctx, a->g, a->t, &a->set, TM_NODES_BY_RETAINED, 20, t));
  tm_table_free(t);
  t = table(a);
  must(tm_node_group_table(a->ctx, a->g, a->t, &a->c, &a->set, TM_GROUP_PACKAGE, 20, t));
  tm_table_free(t);
}

static void ask_heap(asked *a) {
  tm_suspects_options options = {.min_share_ratio = 0.05, .min_references = 2};
  tm_table *t = table(a);
  must(tm_suspects_table(a->ctx, a->g, a->t, &a->c, &options, t));
  tm_table_free(t);
  t = table(a);
  must(tm_garbage_table(a->ctx, a->g, a->t, TM_STRENGTH_SOFT, 10, t));
  tm_table_free(t);
  for (int by = TM_CONSUMER_TYPE; by <= TM_CONSUMER_HEAP; by++) {
    t = table(a);
    must(tm_consumers_table(a->ctx, a->g, a->t, &a->c, TM_STRENGTH_SOFT, (tm_consumer)by, 10, t));
    tm_table_free(t);
  }
}

static void ask_contents(asked *a) {
  tm_node_set zeros;
  tm_lint_fill fill;
  tm_table *t = table(a);
  must(tm_lint_duplicates(a->ctx, a->g, a->t, &a->all, 10, t));
  tm_table_free(t);
  must(tm_lint_zeros(a->ctx, a->g, &a->all, &zeros));
  tm_node_set_fini(&zeros);
  must(tm_lint_fill_ratios(a->ctx, a->g, a->t, &a->all, "size", "table", &fill));
  t = table(a);
  must(tm_lint_references(a->ctx, a->g, a->t, t));
  tm_table_free(t);
  t = table(a);
  must(tm_lint_classes(a->ctx, a->g, a->t, t));
  tm_table_free(t);
}

static void ask(tm_ctx *ctx, const tm_graph *g, uint8_t seed) {
  asked a = {.ctx = ctx, .g = g};
  tm_node_query everything = {0};
  must(tm_domtree_new(ctx, g, TM_STRENGTH_SOFT, &a.t));
  must(tm_domtree_children(ctx, a.t, &a.c));
  must(tm_node_set_select(ctx, g, a.t, &everything, &a.all));
  if (tm_node_set_count(&a.all) != g->node_count) abort();
  must(tm_node_set_init(ctx, g, &a.set));
  for (uint32_t n = seed % 7; n < g->node_count; n += 1 + seed % 5) tm_node_set_add(&a.set, n);
  ask_set(&a);
  ask_heap(&a);
  ask_contents(&a);
  tm_node_set_fini(&a.set);
  tm_node_set_fini(&a.all);
  tm_domchildren_fini(&a.c);
  tm_domtree_free(a.t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const formats[] = {"hprof", "v8heap", "goheap"};
  tm_ctx ctx;
  tm_snapshot s = {0};
  if (size < 2 || data[0] == 0x1f || data[0] == 0x28) return 0; // packed: of the other targets
  uint8_t last = data[size - 1];
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_read_buffer(&ctx, data, size - 1, formats[last % 3], &s);
  (void)status; // what is whole of a damaged dump is asked, too
  if (s.model) {
    tm_ctx_clear(&ctx);
    ask(&ctx, s.model, data[size / 2]);
  }
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return 0;
}
