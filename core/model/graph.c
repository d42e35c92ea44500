// Columns on the graph's allocator. Turning the edges is a counting sort: two passes over them.
#include "model/graph.h"

#include <stdlib.h>
#include <string.h>

static const char *const root_words[TM_ROOT_KINDS] = {
    [TM_ROOT_UNKNOWN] = "unknown",
    [TM_ROOT_STATIC] = "static",
    [TM_ROOT_THREAD] = "thread",
    [TM_ROOT_STACK] = "stack",
    [TM_ROOT_JNI_LOCAL] = "jni local",
    [TM_ROOT_JNI_GLOBAL] = "jni global",
    [TM_ROOT_MONITOR] = "monitor",
    [TM_ROOT_NATIVE_STACK] = "native stack",
    [TM_ROOT_FINALIZER] = "finalizer",
    [TM_ROOT_INTERNED] = "interned",
    [TM_ROOT_VM] = "vm",
    [TM_ROOT_ASSUMED] = "assumed",
    [TM_ROOT_OTHER] = "other",
};

const char *tm_root_kind_name(tm_root_kind kind) {
  return (unsigned)kind < TM_ROOT_KINDS ? root_words[kind] : "unknown";
}

tm_status tm_graph_new(tm_ctx *ctx, tm_graph **out) {
  tm_graph *g = tm_calloc(ctx, 1, sizeof *g);
  if (!g) return TM_E_NOMEM;
  g->alloc = ctx->alloc;
  g->id_word = "id";
  tm_strtab_init(&g->strings, &ctx->alloc, 0);
  uint32_t empty;
  if (tm_strtab_intern(ctx, &g->strings, "", 0, &empty) != TM_OK) {
    tm_graph_free(g);
    return TM_E_NOMEM;
  }
  *out = g;
  return TM_OK;
}

void tm_graph_free(tm_graph *g) {
  if (!g) return;
  if (g->detail && g->detail->free) g->detail->free(g);
  tm_ctx ctx = {.alloc = g->alloc};
  size_t n = g->node_count;
  tm_free(&ctx, g->type, (n + !n) * sizeof *g->type);
  tm_free(&ctx, g->size, (n + !n) * sizeof *g->size);
  tm_free(&ctx, g->flags, n);
  tm_free(&ctx, g->edge_begin, (n + 1) * sizeof *g->edge_begin);
  tm_free(&ctx, g->edge_to, ((size_t)g->edge_count + !g->edge_count) * sizeof *g->edge_to);
  tm_free(&ctx, g->edge_kind, g->edge_count);
  tm_vec_free(&ctx, &g->types);
  tm_vec_free(&ctx, &g->roots);
  tm_vec_free(&ctx, &g->big);
  tm_vec_free(&ctx, &g->goroutines);
  tm_vec_free(&ctx, &g->frames);
  tm_strtab_fini(&g->strings);
  tm_free(&ctx, g, sizeof *g);
}

tm_status tm_graph_alloc_nodes(tm_ctx *ctx, tm_graph *g, uint32_t node_count) {
  g->node_count = node_count;
  g->type = tm_calloc(ctx, (size_t)node_count + !node_count, sizeof *g->type);
  g->size = tm_calloc(ctx, (size_t)node_count + !node_count, sizeof *g->size);
  g->edge_begin = tm_calloc(ctx, (size_t)node_count + 1, sizeof *g->edge_begin);
  return g->type && g->size && g->edge_begin ? TM_OK : TM_E_NOMEM;
}

tm_status tm_graph_set_size(tm_ctx *ctx, tm_graph *g, uint32_t node, uint64_t bytes) {
  g->shallow_bytes += bytes;
  if (TM_LIKELY(bytes < UINT32_MAX)) {
    g->size[node] = (uint32_t)bytes;
    return TM_OK;
  }
  g->size[node] = UINT32_MAX;
  return tm_vec_push(ctx, &g->big, (tm_big_size){node, bytes});
}

uint64_t tm_graph_big_size(const tm_graph *g, uint32_t node) {
  size_t low = 0, high = g->big.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (g->big.items[middle].node < node)
      low = middle + 1;
    else
      high = middle;
  }
  return low < g->big.count && g->big.items[low].node == node ? g->big.items[low].bytes
                                                              : UINT32_MAX;
}

// ---- incoming edges ----

enum { TICK_NODES = 1 << 16 };

static tm_status count_incoming(tm_ctx *ctx, const tm_graph *g, tm_strength weakest,
                                uint32_t *count) {
  for (uint32_t n = 0; n < g->node_count; n++) {
    for (uint32_t e = g->edge_begin[n]; e < g->edge_begin[n + 1]; e++)
      if (tm_graph_strength(g, n, e) <= weakest) count[g->edge_to[e]]++;
    if (n % TICK_NODES == 0) TM_TRY(tm_ctx_tick(ctx, n));
  }
  return TM_OK;
}

// Fills from the end of each range, which leaves begin[] at the ranges' starts.
static tm_status fill_incoming(tm_ctx *ctx, const tm_graph *g, tm_strength weakest, tm_reverse *r) {
  for (uint32_t n = g->node_count; n-- > 0;) {
    for (uint32_t e = g->edge_begin[n + 1]; e-- > g->edge_begin[n];)
      if (tm_graph_strength(g, n, e) <= weakest) r->from[--r->begin[g->edge_to[e]]] = n;
    if (n % TICK_NODES == 0) TM_TRY(tm_ctx_tick(ctx, g->node_count - n));
  }
  return TM_OK;
}

tm_status tm_graph_reverse(tm_ctx *ctx, const tm_graph *g, tm_strength weakest, tm_reverse *out) {
  tm_reverse r = {.alloc = ctx->alloc, .node_count = g->node_count};
  r.begin = tm_calloc(ctx, (size_t)g->node_count + 1, sizeof *r.begin);
  tm_status status = r.begin ? count_incoming(ctx, g, weakest, r.begin) : TM_E_NOMEM;
  uint32_t sum = 0;
  for (uint32_t n = 0; status == TM_OK && n < g->node_count; n++) {
    sum += r.begin[n];
    r.begin[n] = sum;
  }
  if (status == TM_OK) {
    r.begin[g->node_count] = r.edge_count = sum;
    r.from = tm_alloc(ctx, ((size_t)sum + !sum) * sizeof *r.from);
    status = r.from ? fill_incoming(ctx, g, weakest, &r) : TM_E_NOMEM;
  }
  if (status != TM_OK) {
    tm_reverse_fini(&r);
    return status;
  }
  *out = r;
  return TM_OK;
}

void tm_reverse_fini(tm_reverse *r) {
  tm_ctx ctx = {.alloc = r->alloc};
  if (!r->alloc.realloc_fn) return;
  tm_free(&ctx, r->begin, ((size_t)r->node_count + 1) * sizeof *r->begin);
  tm_free(&ctx, r->from, ((size_t)r->edge_count + !r->edge_count) * sizeof *r->from);
  *r = (tm_reverse){0};
}
