// Addresses to dense numbers: a bitmap over the span of a heap, 32 bits at a time, each beside the
// count of set bits before it. No hashing; an address that is no object's is seen by its clear bit.
// Objects lie 8 bytes apart at least (4 for unit_shift 2). Where a heap has gaps (its archive at
// the end of what it may grow to, regions not yet used) there is no bitmap.
//
//   add every address, seal, then ask. Numbers are in the order of addresses.
#ifndef TM_BASE_ADDR_RANK_H
#define TM_BASE_ADDR_RANK_H

#include "base/ctx.h"

#define TM_ADDR_NONE UINT32_MAX

enum { TM_ADDR_CHUNK_SHIFT = 15, TM_ADDR_CHUNK_WORDS = 1 << (TM_ADDR_CHUNK_SHIFT - 5) };

// 2^15 units: 256 KiB of heap.
typedef struct tm_addr_chunk {
  uint32_t place;  // of its words, in chunks; those of place 0 are empty and everybody's
  uint32_t before; // addresses before it
} tm_addr_chunk;

typedef struct tm_addr_rank {
  uint64_t low, high;    // span of the addresses
  uint32_t unit_shift;   // log2 of the distance that objects keep
  uint32_t count;        // of addresses
  tm_addr_chunk *chunks; // NULL = sorted holds them
  uint64_t *words;       // low half: bits; high half: bits set before
  uint64_t *sorted;      // when the span is absurd for a bitmap: ascending
  size_t chunk_count;
  size_t word_count; // of words, or of sorted
} tm_addr_rank;      // zero-initialise

// Makes the numbers of n addresses (any order, changed by the call; equal ones count once). Free
// with tm_addr_rank_fini. TM_E_NOMEM; TM_E_LIMIT past 2^32 - 2.
TM_NODISCARD tm_status tm_addr_rank_build(tm_ctx *ctx, tm_addr_rank *rank, uint64_t *addresses,
                                          size_t n, uint32_t unit_shift);
// Whether chunks and words of a rank lie within each other and count right, up to rank->count.
bool tm_addr_rank_is_whole(const tm_addr_rank *rank);
void tm_addr_rank_fini(tm_ctx *ctx, tm_addr_rank *rank);

uint32_t tm_addr_rank_search(const tm_addr_rank *rank, uint64_t address); // in sorted
uint32_t tm_addr_rank_search_floor(const tm_addr_rank *rank, uint64_t address);

// Set bits; the compilers' own is a call where the processor may lack the instruction.
static inline uint32_t tm_addr_rank_bits(uint32_t v) {
  v -= v >> 1 & 0x55555555;
  v = (v & 0x33333333) + (v >> 2 & 0x33333333);
  return ((v + (v >> 4)) & 0x0f0f0f0f) * 0x01010101 >> 24;
}

static inline uint64_t tm_addr_rank_word(const tm_addr_rank *rank, uint64_t unit) {
  size_t chunk = rank->chunks[unit >> TM_ADDR_CHUNK_SHIFT].place;
  return rank->words[chunk * TM_ADDR_CHUNK_WORDS + (unit >> 5) % TM_ADDR_CHUNK_WORDS];
}

// The number of an address, or TM_ADDR_NONE.
static inline uint32_t tm_addr_rank_get(const tm_addr_rank *rank, uint64_t address) {
  if (address < rank->low || address > rank->high) return TM_ADDR_NONE;
  if (TM_UNLIKELY(!rank->chunks)) return tm_addr_rank_search(rank, address);
  uint64_t unit = (address - rank->low) >> rank->unit_shift, word = tm_addr_rank_word(rank, unit);
  uint32_t bits = (uint32_t)word;
  if (!(bits >> (unit & 31) & 1) || (address - rank->low) & (((uint64_t)1 << rank->unit_shift) - 1))
    return TM_ADDR_NONE;
  return (uint32_t)(word >> 32) + tm_addr_rank_bits(bits & ((1u << (unit & 31)) - 1));
}

// The number of the greatest address that is not above this one (the object that an interior
// pointer may point into), or TM_ADDR_NONE below all.
static inline uint32_t tm_addr_rank_floor(const tm_addr_rank *rank, uint64_t address) {
  if (address < rank->low) return TM_ADDR_NONE;
  if (address >= rank->high) return rank->count - 1; // of none: TM_ADDR_NONE
  if (TM_UNLIKELY(!rank->chunks)) return tm_addr_rank_search_floor(rank, address);
  uint64_t unit = (address - rank->low) >> rank->unit_shift, word = tm_addr_rank_word(rank, unit);
  const tm_addr_chunk *chunk = &rank->chunks[unit >> TM_ADDR_CHUNK_SHIFT];
  if (!chunk->place) return chunk->before - 1;
  uint32_t up_to = (uint32_t)word & (UINT32_MAX >> (31 - (unit & 31)));
  return (uint32_t)(word >> 32) + tm_addr_rank_bits(up_to) - 1;
}

#endif
