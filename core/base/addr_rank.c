// Only chunks that have addresses get a bitmap. When that would need more than 32 bytes an address
// (8 KiB while it is below 64 MiB), the addresses are sorted instead and searched.
#include "base/addr_rank.h"

#include <stdlib.h>
#include <string.h>

enum {
  BITMAP_BYTES_PER_ADDRESS = 32,
  FREE_BYTES_PER_ADDRESS = 8192, // few addresses far apart: clearing a bitmap is what would cost
  FREE_BITMAP_BYTES = 64 << 20,
};

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

// Counts through a chunk's words: sets the counts, or answers whether they were set so.
static bool count_chunk(const tm_addr_chunk *chunk, uint64_t *words, uint32_t *sum, bool set) {
  uint64_t *w = words + (size_t)chunk->place * TM_ADDR_CHUNK_WORDS;
  bool same = true;
  for (size_t i = 0; i < TM_ADDR_CHUNK_WORDS; i++) {
    if (set) w[i] |= (uint64_t)*sum << 32;
    same &= w[i] >> 32 == *sum;
    *sum += tm_addr_rank_bits((uint32_t)w[i]);
  }
  return same;
}

bool tm_addr_rank_is_whole(const tm_addr_rank *rank) {
  uint32_t sum = 0, places = (uint32_t)(rank->word_count / TM_ADDR_CHUNK_WORDS);
  if (rank->word_count % TM_ADDR_CHUNK_WORDS || !places) return false;
  for (size_t i = 0; i < TM_ADDR_CHUNK_WORDS; i++)
    if (rank->words[i]) return false;
  for (size_t i = 0; i < rank->chunk_count; i++) {
    const tm_addr_chunk *c = &rank->chunks[i];
    if (c->before != sum || c->place >= places) return false;
    if (c->place && !count_chunk(c, rank->words, &sum, false)) return false;
  }
  return sum == rank->count;
}

static uint64_t unit_of(const tm_addr_rank *rank, uint64_t address) {
  return (address - rank->low) >> rank->unit_shift;
}

// Gives places to the chunks that have addresses; answers how many.
static uint32_t place_chunks(tm_addr_rank *rank, const uint64_t *addresses, size_t n) {
  uint32_t places = 0;
  for (size_t i = 0; i < n; i++)
    rank->chunks[unit_of(rank, addresses[i]) >> TM_ADDR_CHUNK_SHIFT].place = 1;
  for (size_t i = 0; i < rank->chunk_count; i++)
    if (rank->chunks[i].place) rank->chunks[i].place = ++places;
  return places;
}

static tm_status use_bitmap(tm_ctx *ctx, tm_addr_rank *rank, const uint64_t *addresses, size_t n) {
  rank->words = tm_calloc(ctx, rank->word_count, sizeof *rank->words);
  if (!rank->words) return TM_E_NOMEM;
  for (size_t i = 0; i < n; i++) {
    uint64_t unit = unit_of(rank, addresses[i]);
    size_t chunk = rank->chunks[unit >> TM_ADDR_CHUNK_SHIFT].place;
    rank->words[chunk * TM_ADDR_CHUNK_WORDS + (unit >> 5) % TM_ADDR_CHUNK_WORDS] |= (uint64_t)1
                                                                                    << (unit & 31);
  }
  for (size_t i = 0; i < rank->chunk_count; i++) {
    rank->chunks[i].before = rank->count;
    if (rank->chunks[i].place) count_chunk(&rank->chunks[i], rank->words, &rank->count, true);
  }
  return TM_OK;
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
  uint64_t chunks = (unit_of(rank, rank->high) >> TM_ADDR_CHUNK_SHIFT) + 1;
  uint64_t extra = (uint64_t)n * FREE_BYTES_PER_ADDRESS;
  if (extra > FREE_BITMAP_BYTES) extra = FREE_BITMAP_BYTES;
  uint64_t most = (uint64_t)n * BITMAP_BYTES_PER_ADDRESS + extra;
  if (chunks > most / sizeof *rank->chunks || !fits_units(rank, addresses, n))
    return use_sorted(ctx, rank, addresses, n);
  rank->chunk_count = (size_t)chunks;
  rank->chunks = tm_calloc(ctx, rank->chunk_count, sizeof *rank->chunks);
  if (!rank->chunks) return TM_E_NOMEM;
  rank->word_count = ((size_t)place_chunks(rank, addresses, n) + 1) * TM_ADDR_CHUNK_WORDS;
  if (rank->word_count <= most / sizeof *rank->words) return use_bitmap(ctx, rank, addresses, n);
  tm_free(ctx, rank->chunks, rank->chunk_count * sizeof *rank->chunks);
  rank->chunks = NULL;
  return use_sorted(ctx, rank, addresses, n);
}

void tm_addr_rank_fini(tm_ctx *ctx, tm_addr_rank *rank) {
  if (rank->chunks) tm_free(ctx, rank->chunks, rank->chunk_count * sizeof *rank->chunks);
  if (rank->words) tm_free(ctx, rank->words, rank->word_count * sizeof *rank->words);
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
