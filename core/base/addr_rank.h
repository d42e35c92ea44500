// Addresses to dense numbers: a bitmap over the span of a heap, and the count of set bits before
// each block. One or two cache lines a lookup, no hashing; an address that is no object's is seen
// by its clear bit. Objects lie 8 bytes apart at least (4 for unit_shift 2).
//
//   add every address, seal, then ask. Numbers are in the order of addresses.
#ifndef TM_BASE_ADDR_RANK_H
#define TM_BASE_ADDR_RANK_H

#include "base/ctx.h"

#define TM_ADDR_NONE UINT32_MAX

typedef struct tm_addr_rank {
  uint64_t low, high;  // span of the addresses
  uint32_t unit_shift; // log2 of the distance that objects keep
  uint32_t count;      // of addresses
  uint64_t *bits;      // NULL = sorted holds them
  uint32_t *before;    // set bits before each block of 512
  size_t word_count;
  uint64_t *sorted; // when the span is absurd for a bitmap: ascending
} tm_addr_rank;     // zero-initialise

// Makes the numbers of n addresses (any order, changed by the call; equal ones count once). Free
// with tm_addr_rank_fini. TM_E_NOMEM; TM_E_LIMIT past 2^32 - 2.
TM_NODISCARD tm_status tm_addr_rank_build(tm_ctx *ctx, tm_addr_rank *rank, uint64_t *addresses,
                                          size_t n, uint32_t unit_shift);
// Makes `before` and `count` of a rank that has low, high, unit_shift, bits and word_count.
TM_NODISCARD tm_status tm_addr_rank_count(tm_ctx *ctx, tm_addr_rank *rank);
void tm_addr_rank_fini(tm_ctx *ctx, tm_addr_rank *rank);

uint32_t tm_addr_rank_search(const tm_addr_rank *rank, uint64_t address); // in sorted
uint32_t tm_addr_rank_search_floor(const tm_addr_rank *rank, uint64_t address);

// The number of an address, or TM_ADDR_NONE.
static inline uint32_t tm_addr_rank_get(const tm_addr_rank *rank, uint64_t address) {
  if (address < rank->low || address > rank->high) return TM_ADDR_NONE;
  if (TM_UNLIKELY(!rank->bits)) return tm_addr_rank_search(rank, address);
  uint64_t bit = (address - rank->low) >> rank->unit_shift;
  const uint64_t *word = &rank->bits[bit >> 6];
  uint64_t below = *word & (((uint64_t)1 << (bit & 63)) - 1);
  if (!(*word >> (bit & 63) & 1) || (address - rank->low) & (((uint64_t)1 << rank->unit_shift) - 1))
    return TM_ADDR_NONE;
  uint32_t number = rank->before[bit >> 9];
  for (const uint64_t *w = &rank->bits[bit >> 9 << 3]; w < word; w++)
    number += (uint32_t)__builtin_popcountll(*w);
  return number + (uint32_t)__builtin_popcountll(below);
}

// The number of the greatest address that is not above this one (the object that an interior
// pointer may point into), or TM_ADDR_NONE below all.
static inline uint32_t tm_addr_rank_floor(const tm_addr_rank *rank, uint64_t address) {
  if (address < rank->low) return TM_ADDR_NONE;
  if (address >= rank->high) return rank->count - 1; // of none: TM_ADDR_NONE
  if (TM_UNLIKELY(!rank->bits)) return tm_addr_rank_search_floor(rank, address);
  uint64_t bit = (address - rank->low) >> rank->unit_shift;
  const uint64_t *word = &rank->bits[bit >> 6];
  uint64_t up_to = *word & (UINT64_MAX >> (63 - (bit & 63)));
  uint32_t number = rank->before[bit >> 9];
  for (const uint64_t *w = &rank->bits[bit >> 9 << 3]; w < word; w++)
    number += (uint32_t)__builtin_popcountll(*w);
  return number + (uint32_t)__builtin_popcountll(up_to) - 1;
}

#endif
