// floors: read analyze
// Any bytes as a Go heap dump: read, read in part with an offset inside them, or refused; every
// edge and root leads to an object, and what can be asked of a graph has an answer.
#include "analyze/goroutine_proof.h"
#include "analyze/objects.h"
#include "model/profile.h"
#include "read/goheap_typing.h"
#include "read/goheap_waits.h"
#include "read/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_model(const tm_graph *g, size_t size) {
  if (g->edge_begin[g->node_count] != g->edge_count) abort();
  if (g->shallow_bytes > size * (uint64_t)size) abort();
  for (uint32_t n = 0; n < g->node_count; n++) {
    if (g->edge_begin[n] > g->edge_begin[n + 1] || g->type[n] >= g->types.count) abort();
    if (g->detail->find(g, g->detail->id(g, n)) != n) abort();
  }
  for (uint32_t e = 0; e < g->edge_count; e++)
    if (g->edge_to[e] >= g->node_count) abort();
  for (size_t r = 0; r < g->roots.count; r++)
    if (g->roots.items[r].node >= g->node_count || g->roots.items[r].label >= g->strings.count)
      abort();
}

static void ask_allocations(tm_ctx *ctx, const tm_graph *g) {
  tm_profile *p;
  if (g->detail->allocations(ctx, g, &p) != TM_OK) abort();
  for (size_t i = 0; p && i < p->stack.count; i++)
    if (p->stack.items[i] >= p->locations.count) abort();
  tm_profile_free(p);
}

static void ask(tm_ctx *ctx, const tm_graph *g) {
  ask_allocations(ctx, g);
  tm_domtree *tree;
  tm_domchildren children;
  tm_table *table;
  char text[64];
  if (tm_domtree_new(ctx, g, TM_STRENGTH_SOFT, &tree) != TM_OK) abort();
  if (tm_domtree_children(ctx, tree, &children) != TM_OK) abort();
  if (tm_table_new(ctx, &table) != TM_OK) abort();
  if (tm_objects_table(ctx, g, tree, &children, TM_OBJECTS_BY_RETAINED, 10, table) != TM_OK)
    abort();
  tm_table_free(table);
  uint32_t last = g->node_count - 1;
  if (tm_table_new(ctx, &table) != TM_OK) abort();
  if (tm_objects_path(ctx, g, tree, last, TM_STRENGTH_SOFT, table) != TM_OK) abort();
  tm_table_free(table);
  if (tm_table_new(ctx, &table) != TM_OK) abort();
  if (g->detail->fields(ctx, g, last, table) != TM_OK) abort();
  tm_table_free(table);
  if (g->detail->preview(ctx, g, last, text, sizeof text) != TM_OK) abort();
  for (uint32_t e = 0; e < g->edge_begin[last + 1] - g->edge_begin[last] && e < 100; e++)
    if (g->detail->edge_name(ctx, g, last, e, text, sizeof text) != TM_OK || !*text) abort();
  tm_domchildren_fini(&children);
  tm_domtree_free(tree);
}

// The layout is that of Go 1.21; what the dump says of itself does not matter.
static void prove(tm_ctx *ctx, const tm_graph *g) {
  tm_go_layout layout = {
      .g_waiting = 312, .sudog_bytes = 88, .sudog_elem = 24, .sudog_waitlink = 64, .sudog_c = 80};
  tm_waits waits = {0};
  tm_profile *profile;
  tm_table *table;
  tm_proof_options options = {.stacks = true};
  const char *version;
  if (!tm_goheap_version(g, &version, &layout.pointer_bytes)) abort();
  if (tm_goheap_waits(ctx, g, &layout, &waits) != TM_OK) abort();
  if (tm_goroutine_profile(ctx, g, NULL, &profile) != TM_OK) abort();
  if (tm_table_new(ctx, &table) != TM_OK) abort();
  if (tm_goroutine_proof(ctx, g, &waits, profile, &options, table) != TM_OK) abort();
  tm_table_free(table);
  tm_profile_free(profile);
  tm_waits_fini(ctx, &waits);
}

static uint32_t add_type(tm_ctx *ctx, tm_go_types *t, tm_go_type type) {
  if (tm_vec_push(ctx, &t->types, type) != TM_OK) abort();
  return (uint32_t)t->types.count - 1;
}

static void add_field(tm_ctx *ctx, tm_go_types *t, const char *name, uint64_t offset,
                      uint32_t type) {
  tm_go_field f = {.offset = offset, .type = type};
  if (tm_strtab_intern(ctx, &t->strings, name, strlen(name), &f.name) != TM_OK) abort();
  if (tm_vec_push(ctx, &t->fields, f) != TM_OK) abort();
}

// A program of one struct that has one field of every kind, and a global of it where the seeds have
// their globals.
static tm_go_types *make_types(tm_ctx *ctx) {
  tm_go_types *t = tm_calloc(ctx, 1, sizeof *t);
  if (!t) abort();
  t->alloc = ctx->alloc;
  tm_strtab_init(&t->strings, &ctx->alloc, 0);
  uint32_t none = TM_GO_NO_TYPE, name;
  if (tm_strtab_intern(ctx, &t->strings, "map<int,int>", 12, &name) != TM_OK) abort();
  uint32_t node = add_type(ctx, t, (tm_go_type){24, name, none, none, 0, 9, TM_GO_STRUCT, false});
  uint32_t to = add_type(ctx, t, (tm_go_type){8, name, node, none, 0, 0, TM_GO_POINTER, false});
  static const uint8_t kinds[] = {TM_GO_SLICE, TM_GO_STRING, TM_GO_INTERFACE, TM_GO_INTERFACE,
                                  TM_GO_CHAN,  TM_GO_MAP,    TM_GO_FUNC,      TM_GO_ARRAY};
  add_field(ctx, t, "dirPtr", 0, to);
  for (uint32_t i = 0; i < TM_COUNT(kinds); i++) {
    uint32_t type = add_type(ctx, t,
                             (tm_go_type){i ? 8 * i : 24, name, kinds[i] == TM_GO_ARRAY ? to : node,
                                          to, 0, 0, kinds[i], i == 3});
    add_field(ctx, t, i == 1 ? "dirLen" : "f", 8 * (i % 3), type);
    if (tm_idmap_put(ctx, &t->by_runtime, 8 * i + 8, type) != TM_OK) abort();
  }
  tm_go_symbol global = {.address = 0x500000, .name = name, .type = node};
  tm_go_symbol code = {.address = 0x401000, .name = name, .type = node};
  if (tm_vec_push(ctx, &t->globals, global) != TM_OK) abort();
  if (tm_vec_push(ctx, &t->functions, code) != TM_OK) abort();
  t->runtime_types = 0x4a0000;
  return t;
}

static void use_types(tm_ctx *ctx, tm_graph *g) {
  tm_goheap_typed typed;
  char text[64];
  if (tm_goheap_use_types(ctx, g, make_types(ctx), 0, &typed) != TM_OK) abort();
  if (typed.objects > g->node_count) abort();
  for (uint32_t n = 0; n < g->node_count && n < 64; n++)
    for (uint32_t e = 0; e < g->edge_begin[n + 1] - g->edge_begin[n] && e < 8; e++)
      if (g->detail->edge_name(ctx, g, n, e, text, sizeof text) != TM_OK) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_snapshot s = {0};
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_read_buffer(&ctx, data, size, "goheap", &s);
  if (status != TM_OK && !*ctx.error.message) abort();
  if (status != TM_OK && ctx.error.offset_bytes != TM_NO_OFFSET && ctx.error.offset_bytes > size
      && !(size > 1 && (data[0] == 0x1f || data[0] == 0x28))) // packed: of the unpacked bytes
    abort();
  if (s.model) {
    tm_ctx_clear(&ctx);
    if (!(size > 1 && (data[0] == 0x1f || data[0] == 0x28))) check_model(s.model, size);
    ask(&ctx, s.model);
    prove(&ctx, s.model);
    use_types(&ctx, s.model);
  }
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return 0;
}
