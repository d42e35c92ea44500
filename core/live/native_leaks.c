// Holders are few and blocks may be many: roots are told apart by what they are called, then blocks
// of one site with the same root, behind blocks of the same site, are one row.
#include "live/native_leaks.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

tm_status tm_native_leaks_scan(tm_ctx *ctx, tm_native_leaks *l, int64_t pid,
                               const tm_heap_scan_options *options) {
  l->blocks.count = 0;
  for (size_t i = 0; i < l->sites.blocks.count; i++) {
    const tm_native_block *b = &l->sites.blocks.items[i];
    TM_TRY(tm_vec_push(ctx, &l->blocks, (tm_block){b->start, b->bytes}));
  }
  tm_heap_scan_free(l->scan);
  l->scan = NULL;
  return tm_heap_scan_run(ctx, pid, l->blocks.items, l->blocks.count, options, &l->scan);
}

void tm_native_leaks_fini(tm_ctx *ctx, tm_native_leaks *l) {
  tm_native_sites_fini(ctx, &l->sites);
  tm_heap_scan_free(l->scan);
  l->scan = NULL;
  tm_vec_free(ctx, &l->blocks);
  tm_vec_free(ctx, &l->states);
  tm_vec_free(ctx, &l->roots);
  tm_vec_free(ctx, &l->holders);
}

// ---- summing up ----

typedef struct summing {
  tm_ctx *ctx;
  tm_native_leaks *leaks;
  tm_idmap roots, holders; // by hash
} summing;

static bool lives_on(const tm_native_sites *later, const tm_native_block *block) {
  size_t low = 0, high = later->blocks.count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    const tm_native_block *b = &later->blocks.items[middle];
    if (b->start == block->start) return b->bytes == block->bytes && b->age >= block->age;
    if (b->start < block->start)
      low = middle + 1;
    else
      high = middle;
  }
  return false;
}

static tm_status root_number(summing *s, const tm_block_reference *row, uint32_t *out) {
  tm_holder root;
  tm_heap_scan_root(s->leaks->scan, row, &root);
  root.offset = 0; // one variable, whichever of its elements
  uint64_t key = tm_hash_add(root.kind, tm_hash_bytes(root.name, strlen(root.name)));
  key = tm_hash_add(key, tm_hash_bytes(root.module, strlen(root.module)));
  key = tm_hash_add(key, (uint64_t)root.tid) >> 1;
  *out = tm_idmap_get(&s->roots, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  *out = (uint32_t)s->leaks->roots.count;
  TM_TRY(tm_vec_push(s->ctx, &s->leaks->roots, root));
  return tm_idmap_put(s->ctx, &s->roots, key, *out);
}

static tm_status add_holder(summing *s, const tm_native_block *block,
                            const tm_block_reference *row) {
  tm_native_leaks *l = s->leaks;
  tm_leak_holder holder = {.site = block->site, .from_site = UINT32_MAX};
  TM_TRY(root_number(s, row, &holder.root));
  if (row->from_block != TM_BLOCK_NONE)
    holder.from_site = l->sites.blocks.items[row->from_block].site;
  holder.is_interior = row->state == TM_BLOCK_INTERIOR;
  uint64_t key =
      tm_hash_add(tm_hash_mix(holder.site), (uint64_t)holder.from_site << 32 | holder.root);
  key = tm_hash_add(key, holder.is_interior) >> 1;
  uint32_t at = tm_idmap_get(&s->holders, key);
  if (at == TM_IDMAP_NONE) {
    at = (uint32_t)l->holders.count;
    TM_TRY(tm_vec_push(s->ctx, &l->holders, holder));
    TM_TRY(tm_idmap_put(s->ctx, &s->holders, key, at));
  }
  l->holders.items[at].count += block->count;
  l->holders.items[at].bytes += block->weight_bytes;
  return TM_OK;
}

static tm_status add_block(summing *s, size_t number) {
  tm_native_leaks *l = s->leaks;
  const tm_native_block *block = &l->sites.blocks.items[number];
  const tm_block_reference *row = &tm_heap_scan_rows(l->scan)[number];
  tm_leak_states *states = &l->states.items[block->site];
  bool is_lost = row->state == TM_BLOCK_LOST || row->state == TM_BLOCK_LOST_TOO;
  if (is_lost && block->age == 0) return TM_OK; // who made it may just be about to put it somewhere
  states->count[row->state] += block->count;
  states->bytes[row->state] += block->weight_bytes;
  bool is_held = row->state == TM_BLOCK_REFERENCED || row->state == TM_BLOCK_INTERIOR;
  return is_held ? add_holder(s, block, row) : TM_OK;
}

static int by_site_and_bytes(const void *left, const void *right) {
  const tm_leak_holder *a = left, *b = right;
  if (a->site != b->site) return a->site < b->site ? -1 : 1;
  if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
  return a->root < b->root ? -1 : a->root > b->root;
}

static tm_status sum_up(summing *s, const tm_native_sites *later) {
  tm_native_leaks *l = s->leaks;
  l->states.count = l->roots.count = l->holders.count = 0;
  for (size_t i = 0; i < l->sites.sites.count; i++)
    TM_TRY(tm_vec_push(s->ctx, &l->states, (tm_leak_states){{0}, {0}}));
  for (size_t i = 0; l->scan && i < l->blocks.count; i++)
    if (!later || lives_on(later, &l->sites.blocks.items[i])) TM_TRY(add_block(s, i));
  if (l->holders.count)
    qsort(l->holders.items, l->holders.count, sizeof *l->holders.items, by_site_and_bytes);
  return TM_OK;
}

tm_status tm_native_leaks_settle(tm_ctx *ctx, tm_native_leaks *l, const tm_native_sites *later) {
  summing s = {.ctx = ctx, .leaks = l};
  tm_status status = sum_up(&s, later);
  tm_idmap_free(ctx, &s.roots);
  tm_idmap_free(ctx, &s.holders);
  return status;
}
