// Which words of memory point into blocks that are known: the search of a scan for references.
// Nearly all words are refused by one bit of a small map of where blocks are; the rest is looked up
// by its 64 KiB page in that page's part of the sorted starts.
#ifndef TM_ANALYZE_POINTERS_H
#define TM_ANALYZE_POINTERS_H

#include "base/ctx.h"

#define TM_BLOCK_NONE UINT32_MAX

typedef struct tm_block {
  uint64_t start, bytes; // a block of 0 bytes is met by its start only
} tm_block;

typedef struct tm_pointers tm_pointers;

// blocks: ascending, none over another, below 2^48; they must outlive the index. TM_E_ARG where
// they are not so, TM_E_NOMEM, TM_E_LIMIT past 2^31 blocks or pages. Readable from any thread.
// O(blocks + pages they cover), 12 to 24 bytes each page.
TM_NODISCARD tm_status tm_pointers_new(tm_ctx *ctx, const tm_block *blocks, size_t count,
                                       tm_pointers **out);
void tm_pointers_free(tm_ctx *ctx, tm_pointers *pointers);

// The block that the address points to, or TM_BLOCK_NONE. Its end still does, unless another block
// begins there: some programs keep nothing else of a buffer.
uint32_t tm_pointers_find(const tm_pointers *pointers, uint64_t address);

// One word that points into a block.
typedef struct tm_pointer_hit {
  uint32_t word, block; // which of the words; which of the blocks
} tm_pointer_hit;

// Looks through words from *from on, until all are done or there is no more room for hits; *from is
// then behind the last one that was looked at. Answers the number of hits. Any thread.
size_t tm_pointers_scan(const tm_pointers *pointers, const uint64_t *words, uint32_t count,
                        uint32_t *from, tm_pointer_hit *hits, size_t room);

#endif
