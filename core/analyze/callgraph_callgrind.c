// The call graph as callgrind's text, which kcachegrind reads: names and addresses compressed as
// that format allows, contexts of a call tree told apart by a number behind the name.
// Source: the output of `go tool pprof -callgrind`.
#include "analyze/callgraph_text.h"
#include "analyze/pprof_units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Names are numbered as they come; a callee's name may carry a suffix, which makes it another name.
typedef struct names {
  tm_strtab texts; // id = number; 0 is the empty name
} names;

typedef struct callgrind {
  report *r;
  tm_callgraph *g;
  names objects, files, functions;
  uint32_t *context, *contexts; // per node: which of how many functions of its name
  const tm_node *last;
} callgrind;

static tm_status put_name(callgrind *c, names *n, const char *field, const char *name) {
  uint32_t known = n->texts.count ? n->texts.count : 1, id;
  REPORT_PRINT(c->r, "%s=", field);
  if (*name) {
    TM_TRY(tm_strtab_intern(c->r->ctx, &n->texts, name, strlen(name), &id));
    REPORT_PRINT(c->r, id >= known ? "(%u) %s" : "(%u)", id, name);
  }
  REPORT_PRINT(c->r, "\n");
  return TM_OK;
}

static void address_text(const callgrind *c, uint64_t address, char buf[32]) {
  char relative[32];
  snprintf(buf, 32, "0x%llx", (unsigned long long)address);
  if (!c->last) return;
  if (address == c->last->address) {
    memcpy(buf, "*", 2);
    return;
  }
  snprintf(relative, sizeof relative, "%+lld", (long long)(address - c->last->address));
  if (strlen(relative) < strlen(buf)) memcpy(buf, relative, strlen(relative) + 1);
}

static const tm_node *info_of(const callgrind *c, uint32_t node) {
  return &c->g->f->nodes.items[c->g->nodes.items[node].info];
}

static tm_status callee_name(callgrind *c, uint32_t node, const char **out) {
  const char *name = tm_view_text(c->g->v, info_of(c, node)->name);
  *out = name;
  if (!c->g->nodes.items[node].number) return *out = "", TM_OK; // not listed: has no name there
  if (c->contexts[node] < 2) return TM_OK;
  size_t size = strlen(name) + 32;
  char *text = tm_arena_alloc(&c->r->ctx->scratch, size);
  if (!text) return tm_fail(c->r->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (names)");
  snprintf(text, size, "%s [%u/%u]", name, c->context[node] + 1, c->contexts[node]);
  *out = text;
  return TM_OK;
}

static int64_t scaled(const callgrind *c, int64_t value) {
  return tm_pprof_whole(tm_pprof_scale(value, c->r->sample_unit, c->r->output_unit).value);
}

static tm_status put_edge(callgrind *c, const tm_callgraph_edge *e) {
  const tm_node *callee = info_of(c, e->to);
  char address[32];
  const char *name;
  tm_arena_mark mark = tm_arena_save(&c->r->ctx->scratch);
  TM_TRY(put_name(c, &c->files, "cfl", tm_view_text(c->g->v, callee->file)));
  TM_TRY(callee_name(c, e->to, &name));
  TM_TRY(put_name(c, &c->functions, "cfn", name));
  tm_arena_rewind(&c->r->ctx->scratch, mark);
  address_text(c, callee->address, address);
  REPORT_PRINT(c->r, "calls=0 %s %lld\n* * %lld\n", address, (long long)callee->line,
               (long long)scaled(c, e->weight));
  return TM_OK;
}

static tm_status put_node(callgrind *c, uint32_t node) {
  const tm_view *v = c->g->v;
  const tm_node *n = info_of(c, node), *last = c->last;
  char address[32];
  if (!last || n->object != last->object || n->file != last->file || n->name != last->name) {
    REPORT_PRINT(c->r, "\n");
    TM_TRY(put_name(c, &c->objects, "ob", tm_view_text(v, n->object)));
    TM_TRY(put_name(c, &c->files, "fl", tm_view_text(v, n->file)));
    TM_TRY(put_name(c, &c->functions, "fn", tm_view_text(v, n->name)));
  }
  address_text(c, n->address, address);
  REPORT_PRINT(c->r, "%s %lld %lld\n", address, (long long)n->line,
               (long long)scaled(c, tm_callgraph_flat(&c->g->nodes.items[node])));
  return TM_OK;
}

// --- functions of one name ---

typedef struct function_key {
  uint32_t node, caller; // caller UINT32_MAX = none or not a tree
  const tm_node *info;
  uint32_t number;
} function_key;

static int compare_u64(uint64_t a, uint64_t b) {
  return a < b ? -1 : a > b;
}

static int compare_names(const function_key *a, const function_key *b) {
  int order = compare_u64(a->info->file, b->info->file);
  return order ? order : compare_u64(a->info->name, b->info->name);
}

// pprof takes a node without address and line for a function of its own, whatever its column.
static uint64_t own_column(const tm_node *n) {
  return n->address || n->line ? 0 : (uint64_t)n->column;
}

static int compare_functions(const function_key *a, const function_key *b) {
  int order = compare_u64(a->caller, b->caller);
  if (!order) order = compare_u64(a->info->object, b->info->object);
  if (!order) order = compare_u64((uint64_t)a->info->start_line, (uint64_t)b->info->start_line);
  return order ? order : compare_u64(own_column(a->info), own_column(b->info));
}

static int compare_keys(const void *left, const void *right) {
  const function_key *a = left, *b = right;
  int order = compare_names(a, b);
  if (!order) order = compare_functions(a, b);
  return order ? order : compare_u64(a->number, b->number);
}

static int compare_numbers(const void *left, const void *right) {
  return compare_u64(*(const uint64_t *)left, *(const uint64_t *)right);
}

// Keys first .. end have one name: numbers their functions in the order of their first nodes.
static void number_functions(callgrind *c, const function_key *keys, size_t count,
                             uint64_t *firsts) {
  uint32_t functions = 0;
  for (size_t i = 0; i < count; i++)
    if (!i || compare_functions(&keys[i - 1], &keys[i]) != 0)
      firsts[functions++] = (uint64_t)keys[i].number << 32 | (uint32_t)i;
  qsort(firsts, functions, sizeof *firsts, compare_numbers);
  for (uint32_t k = 0; k < functions; k++) {
    size_t i = (uint32_t)firsts[k], first = i;
    for (; i < count && compare_functions(&keys[first], &keys[i]) == 0; i++) {
      c->context[keys[i].node] = k;
      c->contexts[keys[i].node] = functions;
    }
  }
}

static tm_status find_contexts(callgrind *c) {
  tm_callgraph *g = c->g;
  size_t count = g->order_count;
  function_key *keys = tm_alloc(c->r->ctx, (count + 1) * sizeof *keys);
  uint64_t *firsts = tm_alloc(c->r->ctx, (count + 1) * sizeof *firsts);
  tm_status status = keys && firsts ? TM_OK : TM_E_NOMEM;
  for (uint32_t i = 0; i < count && status == TM_OK; i++) {
    uint32_t node = g->order[i], caller = UINT32_MAX;
    if (g->is_tree && g->in_begin[node] < g->in_begin[node + 1])
      caller = g->edges.items[g->in_edges[g->in_begin[node]]].from;
    keys[i] = (function_key){node, caller, info_of(c, node), i};
  }
  if (status == TM_OK) {
    qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 0, n; i < count; i += n) {
      for (n = 1; i + n < count && compare_names(&keys[i], &keys[i + n]) == 0; n++) continue;
      number_functions(c, keys + i, n, firsts);
    }
  }
  tm_free(c->r->ctx, keys, (count + 1) * sizeof *keys);
  tm_free(c->r->ctx, firsts, (count + 1) * sizeof *firsts);
  return status;
}

// --- the whole ---

// Edges of all nodes, heaviest first, by the node they leave: begin[node] .. begin[node + 1].
static tm_status put_nodes(callgrind *c, const uint32_t *edges, uint32_t edge_count,
                           uint32_t *begin, uint32_t *by_node) {
  const tm_callgraph *g = c->g;
  for (uint32_t i = 0; i < edge_count; i++) begin[g->edges.items[edges[i]].from + 2]++;
  for (size_t i = 2; i < g->nodes.count + 2; i++) begin[i] += begin[i - 1];
  for (uint32_t i = 0; i < edge_count; i++)
    by_node[begin[g->edges.items[edges[i]].from + 1]++] = edges[i];
  for (uint32_t i = 0; i < g->order_count; i++) {
    uint32_t node = g->order[i];
    TM_TRY(put_node(c, node));
    for (uint32_t k = begin[node]; k < begin[node + 1]; k++)
      TM_TRY(put_edge(c, &g->edges.items[by_node[k]]));
    c->last = info_of(c, node);
  }
  return TM_OK;
}

static tm_status put_all(callgrind *c, const uint32_t *edges, uint32_t edge_count) {
  report *r = c->r;
  size_t nodes = c->g->nodes.count + 2, room = edge_count + 1u;
  const char *type = tm_profile_text(r->p, r->p->types.items[r->view.value_index].type);
  REPORT_PRINT(r, "positions: instr line\nevents: %s%s(%s)\n", r->o.mean ? "mean_" : "", type,
               r->output_unit);
  uint32_t *begin = tm_calloc(r->ctx, nodes, sizeof *begin);
  uint32_t *by_node = tm_alloc(r->ctx, room * sizeof *by_node);
  c->context = tm_calloc(r->ctx, nodes, sizeof *c->context);
  c->contexts = tm_calloc(r->ctx, nodes, sizeof *c->contexts);
  bool ok = begin && by_node && c->context && c->contexts;
  tm_status status = ok ? find_contexts(c) : TM_E_NOMEM;
  if (status == TM_OK) status = put_nodes(c, edges, edge_count, begin, by_node);
  tm_free(r->ctx, begin, nodes * sizeof *begin);
  tm_free(r->ctx, by_node, room * sizeof *by_node);
  tm_free(r->ctx, c->context, nodes * sizeof *c->context);
  tm_free(r->ctx, c->contexts, nodes * sizeof *c->contexts);
  return status;
}

tm_status report_callgrind(report *r) {
  tm_callgraph g = {0};
  uint32_t *edges = NULL, edge_count = 0;
  callgrind c = {.r = r, .g = &g};
  r->object_names = true;
  tm_strtab_init(&c.objects.texts, &r->ctx->alloc, 0);
  tm_strtab_init(&c.files.texts, &r->ctx->alloc, 0);
  tm_strtab_init(&c.functions.texts, &r->ctx->alloc, 0);
  tm_status status = callgraph_of_report(r, r->o.call_tree, false, &g);
  if (status == TM_OK) status = tm_callgraph_sorted_edges(r->ctx, &g, &edges, &edge_count);
  if (status == TM_OK) status = callgraph_table(r, &g, edges, edge_count);
  if (status == TM_OK && r->text) status = put_all(&c, edges, edge_count);
  if (edges) tm_free(r->ctx, edges, (g.edges.count + 1) * sizeof *edges);
  tm_callgraph_fini(r->ctx, &g);
  tm_strtab_fini(&c.objects.texts);
  tm_strtab_fini(&c.files.texts);
  tm_strtab_fini(&c.functions.texts);
  return status;
}
