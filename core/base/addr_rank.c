// The bitmap spans all addresses; untouched pages of it cost nothing. When the span would need more
// than 32 bytes of bitmap an address, the addresses are sorted instead and searched.
#include "base/addr_rank.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_WORDS = 8, FREE_BITMAP_BYTES = 64 << 20, BITMAP_BYTES_PER_ADDRESS = 32 };

static int ascending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static tm_status use_sorted(tm_ctx *ctx, tm_addr_rank *rank, uint64_t *addresses, size_t n) {
  qsort(addresses, n, sizeof *addresses, ascending);
  size_t unique = 0;
  for (size_t i = 0; i < n; i++)
    if (!i || addresses[i] != addresses[i - 1]) addresses[unique++] = addresses[i];
  rank->word_count = unique;
  rank->sorted = tm_alloc(ctx, unique * sizeof *rank->sorted);
  if (!rank->sorted) return TM_E_NOMEM;
  memcpy(rank->sorted, addresses, unique * sizeof *addresses);
  rank->count = (uint32_t)unique;
  return TM_OK;
}

static size_t block_count(const tm_addr_rank *rank) {
  return (rank->word_count + BLOCK_WORDS - 1) / BLOCK_WORDS;
}

tm_status tm_addr_rank_count(tm_ctx *ctx, tm_addr_rank *rank) {
  uint32_t sum = 0;
  rank->before = tm_alloc(ctx, block_count(rank) * sizeof *rank->before);
  if (!rank->before) return TM_E_NOMEM;
  for (size_t w = 0; w < rank->word_count; w++) {
    if (w % BLOCK_WORDS == 0) rank->before[w / BLOCK_WORDS] = sum;
    sum += (uint32_t)__builtin_popcountll(rank->bits[w]);
  }
  rank->count = sum;
  return TM_OK;
}

static tm_status use_bitmap(tm_ctx *ctx, tm_addr_rank *rank, const uint64_t *addresses, size_t n) {
  rank->bits = tm_calloc(ctx, rank->word_count, sizeof *rank->bits);
  if (!rank->bits) return TM_E_NOMEM;
  for (size_t i = 0; i < n; i++) {
    uint64_t bit = (addresses[i] - rank->low) >> rank->unit_shift;
    rank->bits[bit >> 6] |= (uint64_t)1 << (bit & 63);
  }
  return tm_addr_rank_count(ctx, rank);
}

// Whether all addresses keep the distance, so that a bit stands for one address only.
static bool fits_units(const tm_addr_rank *rank, const uint64_t *addresses, size_t n) {
  uint64_t odd = 0;
  for (size_t i = 0; i < n; i++) odd |= addresses[i] - rank->low;
  return !(odd & (((uint64_t)1 << rank->unit_shift) - 1));
}

tm_status tm_addr_rank_build(tm_ctx *ctx, tm_addr_rank *rank, uint64_t *addresses, size_t n,
                             uint32_t unit_shift) {
  if (n >= TM_ADDR_NONE)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "more than %u objects", TM_ADDR_NONE - 1);
  *rank = (tm_addr_rank){.low = 1, .unit_shift = unit_shift};
  if (!n) return TM_OK;
  rank->low = UINT64_MAX;
  for (size_t i = 0; i < n; i++) {
    if (addresses[i] < rank->low) rank->low = addresses[i];
    if (addresses[i] > rank->high) rank->high = addresses[i];
  }
  uint64_t words = ((rank->high - rank->low) >> unit_shift >> 6) + 1;
  bool sparse = words / BITMAP_BYTES_PER_ADDRESS * sizeof *rank->bits
                > n + FREE_BITMAP_BYTES / BITMAP_BYTES_PER_ADDRESS;
  if (sparse || !fits_units(rank, addresses, n)) return use_sorted(ctx, rank, addresses, n);
  rank->word_count = (size_t)words;
  return use_bitmap(ctx, rank, addresses, n);
}

void tm_addr_rank_fini(tm_ctx *ctx, tm_addr_rank *rank) {
  if (rank->bits) tm_free(ctx, rank->bits, rank->word_count * sizeof *rank->bits);
  if (rank->before) tm_free(ctx, rank->before, block_count(rank) * sizeof *rank->before);
  if (rank->sorted) tm_free(ctx, rank->sorted, rank->word_count * sizeof *rank->sorted);
  *rank = (tm_addr_rank){0};
}

uint32_t tm_addr_rank_search_floor(const tm_addr_rank *rank, uint64_t address) {
  size_t low = 0, high = rank->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (rank->sorted[middle] <= address)
      low = middle + 1;
    else
      high = middle;
  }
  return low ? (uint32_t)(low - 1) : TM_ADDR_NONE;
}

uint32_t tm_addr_rank_search(const tm_addr_rank *rank, uint64_t address) {
  uint32_t at = tm_addr_rank_search_floor(rank, address);
  return at != TM_ADDR_NONE && rank->sorted[at] == address ? at : TM_ADDR_NONE;
}
