// Which of the known blocks of a heap are lost, and who refers to the others: as a collector would
// see it, over memory that is handed in piece by piece. Words that stand in a known block count for
// as long as that block is itself referred to; words anywhere else are roots.
#ifndef TM_ANALYZE_REFERENCES_H
#define TM_ANALYZE_REFERENCES_H

#include "analyze/pointers.h"

typedef enum tm_block_state {
  TM_BLOCK_LOST,       // no word points into it
  TM_BLOCK_LOST_TOO,   // only lost blocks do: a list whose head is lost, a ring
  TM_BLOCK_INTERIOR,   // words point into it, none to its start
  TM_BLOCK_REFERENCED, // some word points to its start
  TM_BLOCK_STATE_COUNT
} tm_block_state;

// A kind of memory, as the caller numbers it.
typedef struct tm_memory_part {
  uint32_t region; // the caller's number of it
  uint32_t rank;   // 0 to 15: of several who refer to a block, the least is named
  bool is_heap;    // the allocator's own: outside of known blocks stand blocks that are not known,
                   // or free ones
  bool is_books;   // a libc's data: words to the last 8 bytes of a block may mean the free chunk
                   // behind it, and do not count. Source: glibc's malloc.c (prev_size)
} tm_memory_part;

typedef struct tm_block_reference {
  tm_block_state state;
  uint32_t start_count, interior_count; // words that count and point to it
  uint32_t free_count;                  // words of free memory that do, and do not count
  uint32_t from_block;                  // who refers to it, or TM_BLOCK_NONE: a root does
  uint32_t root_region;                 // the root that it hangs on; 0 for lost ones
  uint64_t root_at;                     // the address of the root's word
} tm_block_reference;

typedef struct tm_references tm_references;

// blocks: see tm_pointers_new. is_complete: no other block lives in memory with is_heap, so what
// stands between the known ones is free, and words there are leftovers that count for nothing.
TM_NODISCARD tm_status tm_references_new(tm_ctx *ctx, const tm_block *blocks, size_t count,
                                         bool is_complete, tm_references **out);
void tm_references_free(tm_ctx *ctx, tm_references *references);

// Looks through words that stand at an address (a multiple of 8), each once. TM_E_NOMEM: 8 bytes
// for each word of a known block that points into another one.
TM_NODISCARD tm_status tm_references_add(tm_ctx *ctx, tm_references *references,
                                         const tm_memory_part *part, uint64_t at,
                                         const uint64_t *words, uint32_t count);

// What follows from all that was added: one row for each block, owned by the references. Call it
// once, last. O(blocks + words between blocks).
TM_NODISCARD tm_status tm_references_settle(tm_ctx *ctx, tm_references *references,
                                            const tm_block_reference **out_rows);

#endif
