// A hash table has one row for each 64 KiB page that a block touches: the first and the end of the
// blocks there, the one that reaches into the page from before included. In front of it stands a
// map of bits, some 16 for a page, addressed by the upper bits of the page's product with a
// constant: words that are no pointers (small numbers, text, code) cost a multiplication and a load
// that hits the first-level cache.
#include "analyze/pointers.h"

#include <string.h>

enum { PAGE_SHIFT = 16, ADDRESS_BITS = 48, LEAST_BITS = 15, MOST_BITS = 22, BITS_PER_PAGE = 16 };
#define PRODUCT UINT64_C(0x9e3779b97f4a7c15)

typedef struct page_row {
  uint32_t page; // address >> 16
  uint32_t first, end;
} page_row;

struct tm_pointers {
  const tm_block *blocks;
  uint32_t block_count;
  uint32_t map_shift, row_shift; // of the product
  uint64_t *map;
  page_row *rows; // end 0: free
  size_t map_words, row_count;
};

static uint64_t last_of(const tm_block *block) {
  return block->start + (block->bytes ? block->bytes - 1 : 0);
}

static uint64_t hash_of(uint64_t page) {
  return page * PRODUCT;
}

// ---- building ----

static tm_status check(tm_ctx *ctx, const tm_block *blocks, size_t count, uint64_t *out_pages) {
  uint64_t pages = 0, next = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t last = last_of(&blocks[i]);
    if (blocks[i].start < next || last < blocks[i].start || last >> ADDRESS_BITS)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "block %zu at %#llx is out of order", i,
                     (unsigned long long)blocks[i].start);
    pages += (last >> PAGE_SHIFT) - (blocks[i].start >> PAGE_SHIFT) + 1;
    next = last + 1;
  }
  *out_pages = pages; // those of two blocks counted twice: only room is made by it
  if (count > INT32_MAX || pages > INT32_MAX)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "%zu blocks over %llu pages are too many", count,
                   (unsigned long long)pages);
  return TM_OK;
}

static uint32_t bits_for(uint64_t count) {
  uint32_t bits = 1;
  while (bits < 40 && UINT64_C(1) << bits < count) bits++;
  return bits;
}

static page_row *row_of(const tm_pointers *p, uint32_t page) {
  size_t mask = p->row_count - 1, at = (size_t)(hash_of(page) >> p->row_shift);
  while (p->rows[at].end && p->rows[at].page != page) at = (at + 1) & mask;
  return &p->rows[at];
}

static void add_page(tm_pointers *p, uint32_t page, uint32_t block) {
  page_row *row = row_of(p, page);
  uint64_t bit = hash_of(page) >> p->map_shift;
  if (!row->end) *row = (page_row){page, block, block};
  row->end = block + 1;
  p->map[bit >> 6] |= UINT64_C(1) << (bit & 63);
}

tm_status tm_pointers_new(tm_ctx *ctx, const tm_block *blocks, size_t count, tm_pointers **out) {
  uint64_t pages = 0;
  TM_TRY(check(ctx, blocks, count, &pages));
  tm_pointers *p = tm_calloc(ctx, 1, sizeof *p);
  if (!p) return TM_E_NOMEM;
  uint32_t map_bits = bits_for(pages * BITS_PER_PAGE), row_bits = bits_for(pages * 2);
  if (map_bits < LEAST_BITS) map_bits = LEAST_BITS;
  if (map_bits > MOST_BITS) map_bits = MOST_BITS;
  p->blocks = blocks;
  p->block_count = (uint32_t)count;
  p->map_shift = 64 - map_bits;
  p->row_shift = 64 - row_bits;
  p->map_words = (size_t)1 << (map_bits - 6);
  p->row_count = (size_t)1 << row_bits;
  p->map = tm_calloc(ctx, p->map_words, sizeof *p->map);
  p->rows = p->map ? tm_calloc(ctx, p->row_count, sizeof *p->rows) : NULL;
  if (!p->rows) {
    tm_pointers_free(ctx, p);
    return TM_E_NOMEM;
  }
  for (uint32_t i = 0; i < p->block_count; i++) {
    uint64_t last = last_of(&blocks[i]) >> PAGE_SHIFT;
    for (uint64_t page = blocks[i].start >> PAGE_SHIFT; page <= last; page++)
      add_page(p, (uint32_t)page, i);
  }
  *out = p;
  return TM_OK;
}

void tm_pointers_free(tm_ctx *ctx, tm_pointers *p) {
  if (!p) return;
  tm_free(ctx, p->map, p->map_words * sizeof *p->map);
  tm_free(ctx, p->rows, p->row_count * sizeof *p->rows);
  tm_free(ctx, p, sizeof *p);
}

// ---- asking ----

// The map knows the page, or takes it for another one.
static uint32_t look_up(const tm_pointers *p, uint64_t address) {
  const page_row *row = row_of(p, (uint32_t)(address >> PAGE_SHIFT));
  uint32_t low = row->first, high = row->end;
  if (address >> ADDRESS_BITS || low == high) return TM_BLOCK_NONE;
  while (high - low > 1) { // the last one that does not begin behind the address
    uint32_t middle = low + (high - low) / 2;
    if (p->blocks[middle].start <= address)
      low = middle;
    else
      high = middle;
  }
  const tm_block *block = &p->blocks[low];
  return address >= block->start && address <= last_of(block) ? low : TM_BLOCK_NONE;
}

static TM_ALWAYS_INLINE bool may_point(const tm_pointers *p, uint64_t address) {
  uint64_t bit = hash_of(address >> PAGE_SHIFT) >> p->map_shift;
  return p->map[bit >> 6] >> (bit & 63) & 1;
}

uint32_t tm_pointers_find(const tm_pointers *p, uint64_t address) {
  return may_point(p, address) ? look_up(p, address) : TM_BLOCK_NONE;
}

size_t tm_pointers_scan(const tm_pointers *p, const uint64_t *words, uint32_t count, uint32_t *from,
                        tm_pointer_hit *hits, size_t room) {
  size_t found = 0;
  uint32_t i = *from;
  for (; i < count && found < room; i++) {
    if (TM_LIKELY(!may_point(p, words[i]))) continue;
    uint32_t block = look_up(p, words[i]);
    if (block != TM_BLOCK_NONE) hits[found++] = (tm_pointer_hit){i, block};
  }
  *from = i;
  return found;
}
