// A block that malloc maps alone begins with two words: 0, and its size with the bit that says so.
// Such mappings lie side by side and the kernel shows them as one, so from each head the next is
// found by the size. All heads of one round are copied in one call. Where there is no head,
// somebody else's memory lies beside it in the same mapping: the pages behind it are looked at one
// by one, as long as the budget of a reading lasts and only where most of the mapping is resident.
// Source: sysmalloc_mmap of glibc malloc/malloc.c (prev_size, IS_MMAPPED).
#include "live/account_impl.h"

enum {
  BATCH = 128,
  HEADS_MAX = 1 << 16,    // per reading: 0.1 s at most
  LEAST_BYTES = 32 << 10, // mallopt can put the threshold down, rarely below
  IS_MMAPPED = 2,
  FLAGS = 7,
  PAGE = 4096,
  SEARCHED_MAX = 1 << 16, // pages per reading: 10 to 20 ms
};

typedef struct walk {
  size_t vma;
  uint64_t at;
  bool begun;
} walk;

typedef struct head {
  uint64_t previous_bytes, size;
} head;

// What a runtime says is its own is not searched.
static bool may_begin(const tm_account_vma *v, const tm_account_ranges *owned) {
  if (v->place != TM_PLACE_ANON || !v->writable || v->rss_bytes + v->swap_bytes == 0
      || v->end - v->start < LEAST_BYTES)
    return false;
  for (size_t i = 0; i < owned->count; i++)
    if (owned->items[i].start < v->end && v->start < owned->items[i].end) return false;
  return true;
}

// The chunk's bytes, or 0 when this is no head.
static uint64_t chunk_bytes(const head *h, uint64_t room) {
  uint64_t size = h->size & ~(uint64_t)FLAGS;
  if (h->previous_bytes || (h->size & FLAGS) != IS_MMAPPED) return 0;
  return size % PAGE == 0 && size >= LEAST_BYTES && size <= room ? size : 0;
}

// The next page with a head on it, or 0.
static tm_status search(tm_ctx *ctx, tm_proc *proc, const tm_account_vma *v, uint64_t at,
                        uint32_t *budget, uint64_t *out) {
  head heads[BATCH];
  tm_memory_range wanted[BATCH];
  *out = 0;
  if ((v->rss_bytes + v->swap_bytes) * 2 < v->end - v->start) return TM_OK;
  while (at + LEAST_BYTES <= v->end && *budget >= BATCH) {
    size_t n = 0;
    for (; n < BATCH && at + n * PAGE + LEAST_BYTES <= v->end; n++)
      wanted[n] = (tm_memory_range){at + n * PAGE, &heads[n], sizeof *heads, false};
    *budget -= (uint32_t)n;
    TM_TRY(tm_proc_copy(ctx, proc, wanted, n));
    for (size_t i = 0; i < n; i++) {
      uint64_t here = at + i * PAGE;
      if (!wanted[i].read || !chunk_bytes(&heads[i], v->end - here)) continue;
      *out = here;
      return TM_OK;
    }
    at += n * PAGE;
  }
  return TM_OK;
}

// One round: a step of each walk; those that ended are taken out.
static tm_status step(tm_ctx *ctx, tm_proc *proc, const tm_account_vmas *vmas, walk *walks,
                      size_t *count, tm_account_ranges *ranges, uint32_t *budget) {
  head heads[BATCH];
  tm_memory_range wanted[BATCH];
  size_t kept = 0, all = *count;
  for (size_t from = 0; from < all; from += BATCH) {
    size_t n = all - from < BATCH ? all - from : BATCH;
    for (size_t i = 0; i < n; i++)
      wanted[i] = (tm_memory_range){walks[from + i].at, &heads[i], sizeof *heads, false};
    TM_TRY(tm_proc_copy(ctx, proc, wanted, n));
    for (size_t i = 0; i < n; i++) {
      walk w = walks[from + i];
      uint64_t end = vmas->items[w.vma].end;
      uint64_t bytes = wanted[i].read ? chunk_bytes(&heads[i], end - w.at) : 0;
      if (!bytes) {
        TM_TRY(search(ctx, proc, &vmas->items[w.vma], w.at + PAGE, budget, &w.at));
        if (w.at) walks[kept++] = w;
        continue;
      }
      TM_TRY(tm_vec_push(ctx, ranges, (tm_account_range){w.at, w.at + bytes, TM_OWNER_C_HEAP}));
      w.at += bytes;
      w.begun = true;
      if (end - w.at >= LEAST_BYTES) walks[kept++] = w;
    }
  }
  *count = kept;
  return TM_OK;
}

tm_status tm_account_find_chunks(tm_ctx *ctx, tm_proc *proc, const tm_account_vmas *vmas,
                                 tm_account_ranges *ranges, size_t *out_count) {
  TM_VEC(walk) walks = {0};
  tm_status status = TM_OK;
  uint32_t budget = SEARCHED_MAX;
  size_t before = ranges->count;
  for (size_t i = 0; i < vmas->count && status == TM_OK; i++)
    if (may_begin(&vmas->items[i], ranges))
      status = tm_vec_push(ctx, &walks, (walk){i, vmas->items[i].start, false});
  while (status == TM_OK && walks.count && ranges->count - before < HEADS_MAX)
    status = step(ctx, proc, vmas, walks.items, &walks.count, ranges, &budget);
  *out_count = ranges->count - before;
  // Past the limit: what began with thousands of chunks goes on with them.
  for (size_t i = 0; i < walks.count && status == TM_OK; i++) {
    const walk *w = &walks.items[i];
    if (w->begun)
      status = tm_vec_push(ctx, ranges,
                           (tm_account_range){w->at, vmas->items[w->vma].end, TM_OWNER_C_HEAP});
  }
  tm_vec_free(ctx, &walks);
  return status;
}
