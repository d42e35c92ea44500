// A hash table has one row for each 64 KiB page that a block touches: the first and the end of the
// blocks there, the one that reaches into the page from before included. In front of it stands a
// map of bits, some 64 for each granule that a block touches, addressed by the granule's product
// with a constant: other words cost a multiplication and a load that hits the cache. Granules are
// as small, from 64 bytes on, as the map has room for: then pointers to other blocks of the same
// heap are refused by it, too. The loop is compiled once for each size of granules: shifts by a
// variable cost more than the rest.
#include "analyze/pointers.h"

#include <string.h>

enum { PAGE_SHIFT = 16, ADDRESS_BITS = 48, LEAST_SHIFT = 6, SHIFT_STEP = 2 };
enum {
  PAGES_MAX = 1 << 26
}; // 4 TiB of blocks: 1.6 GB of rows at most, for who says he has so many
enum { LEAST_BITS = 15, GOOD_BITS = 20, MOST_BITS = 23 }; // of the map
enum { FEW_PER_GRANULE = 8, MANY_PER_GRANULE = 64, SALTS = 16 };
#define PRODUCT UINT64_C(0x9e3779b97f4a7c15)

typedef struct page_row {
  uint32_t page; // address >> 16
  uint32_t first, end;
} page_row;

struct tm_pointers {
  const tm_block *blocks;
  uint32_t block_count;
  uint32_t granule_shift;       // of the address
  uint64_t salt;                // added to granules
  uint32_t map_mask, row_shift; // of the product
  uint64_t *map;
  page_row *rows; // end 0: free
  size_t row_count;
};

// The last address that counts: of a block of some bytes its end.
static uint64_t last_of(const tm_block *block) {
  return block->start + block->bytes;
}

static uint64_t hash_of(uint64_t page) {
  return page * PRODUCT;
}

static uint64_t touched(const tm_block *block, uint32_t shift) {
  return (last_of(block) >> shift) - (block->start >> shift) + 1;
}

// ---- building ----

static tm_status check(tm_ctx *ctx, const tm_block *blocks, size_t count, uint64_t *out_pages) {
  uint64_t pages = 0, next = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t last = last_of(&blocks[i]);
    if ((i && blocks[i].start < next) || last < blocks[i].start || last >> ADDRESS_BITS)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "block %zu at %#llx is out of order", i,
                     (unsigned long long)blocks[i].start);
    pages += touched(&blocks[i], PAGE_SHIFT);
    next = blocks[i].bytes ? last : last + 1;
  }
  *out_pages = pages; // those of two blocks counted twice: only room is made by it
  if (count > INT32_MAX || pages > PAGES_MAX)
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
  if (!row->end) *row = (page_row){page, block, block};
  row->end = block + 1;
}

static void add_pages(tm_pointers *p, uint32_t number) {
  const tm_block *block = &p->blocks[number];
  uint64_t last = last_of(block) >> PAGE_SHIFT;
  for (uint64_t page = block->start >> PAGE_SHIFT; page <= last; page++)
    add_page(p, (uint32_t)page, number);
}

// Which bit of the map tells of the address.
static TM_ALWAYS_INLINE uint32_t bit_of(const tm_pointers *p, uint32_t shift, uint64_t address) {
  return (uint32_t)(hash_of((address >> shift) + p->salt) >> 32) & p->map_mask;
}

static TM_ALWAYS_INLINE bool may_point(const tm_pointers *p, uint32_t shift, uint64_t address) {
  uint32_t bit = bit_of(p, shift, address);
  return p->map[bit >> 6] >> (bit & 63) & 1;
}

// Zeros stand everywhere: a salt is looked for by which they are not taken for a block. Where a
// block begins at the very bottom there is none.
static void fill_map(tm_pointers *p) {
  uint64_t step = UINT64_C(1) << p->granule_shift;
  for (p->salt = 0;; p->salt++) {
    memset(p->map, 0, ((size_t)p->map_mask + 1) / 8);
    for (uint32_t i = 0; i < p->block_count; i++) {
      uint64_t last = last_of(&p->blocks[i]);
      for (uint64_t at = p->blocks[i].start & ~(step - 1); at <= last; at += step) {
        uint32_t bit = bit_of(p, p->granule_shift, at);
        p->map[bit >> 6] |= UINT64_C(1) << (bit & 63);
      }
    }
    if (p->salt + 1 == SALTS || !may_point(p, p->granule_shift, 0)) return;
  }
}

// The smallest granules of which the map has room for all; *out_count: how many there are.
static uint32_t choose_granule(const tm_block *blocks, size_t count, uint64_t *out_count) {
  uint64_t sum = 0;
  uint32_t shift = LEAST_SHIFT - SHIFT_STEP;
  do {
    shift += SHIFT_STEP;
    sum = 0;
    for (size_t i = 0; i < count; i++) sum += touched(&blocks[i], shift);
  } while (shift < PAGE_SHIFT && sum * FEW_PER_GRANULE > UINT64_C(1) << GOOD_BITS);
  *out_count = sum;
  return shift;
}

tm_status tm_pointers_new(tm_ctx *ctx, const tm_block *blocks, size_t count, tm_pointers **out) {
  uint64_t pages = 0;
  TM_TRY(check(ctx, blocks, count, &pages));
  tm_pointers *p = tm_calloc(ctx, 1, sizeof *p);
  if (!p) return TM_E_NOMEM;
  uint64_t granules = 0;
  p->granule_shift = choose_granule(blocks, count, &granules);
  uint32_t few = bits_for(granules * FEW_PER_GRANULE);
  uint32_t map_bits = bits_for(granules * MANY_PER_GRANULE), row_bits = bits_for(pages * 2);
  if (map_bits > GOOD_BITS) map_bits = few > GOOD_BITS ? few : GOOD_BITS;
  if (map_bits < LEAST_BITS) map_bits = LEAST_BITS;
  if (map_bits > MOST_BITS) map_bits = MOST_BITS;
  p->blocks = blocks;
  p->block_count = (uint32_t)count;
  p->map_mask = (UINT32_C(1) << map_bits) - 1;
  p->row_shift = 64 - row_bits;
  p->row_count = (size_t)1 << row_bits;
  p->map = tm_alloc(ctx, ((size_t)p->map_mask + 1) / 8);
  p->rows = p->map ? tm_calloc(ctx, p->row_count, sizeof *p->rows) : NULL;
  if (!p->rows) {
    tm_pointers_free(ctx, p);
    return TM_E_NOMEM;
  }
  for (uint32_t i = 0; i < p->block_count; i++) add_pages(p, i);
  fill_map(p);
  *out = p;
  return TM_OK;
}

void tm_pointers_free(tm_ctx *ctx, tm_pointers *p) {
  if (!p) return;
  tm_free(ctx, p->map, ((size_t)p->map_mask + 1) / 8);
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

uint32_t tm_pointers_find(const tm_pointers *p, uint64_t address) {
  return may_point(p, p->granule_shift, address) ? look_up(p, address) : TM_BLOCK_NONE;
}

typedef struct scan {
  const uint64_t *words;
  uint32_t count, at;
  tm_pointer_hit *hits;
  size_t room, found;
} scan;

static TM_ALWAYS_INLINE void scan_by(const tm_pointers *p, scan *s, uint32_t shift) {
  const uint64_t *words = s->words;
  uint32_t at = s->at, count = s->count;
  while (s->found < s->room) {
    while (at < count && TM_LIKELY(!may_point(p, shift, words[at]))) at++;
    if (at == count) break;
    uint32_t block = look_up(p, words[at]);
    if (block != TM_BLOCK_NONE) s->hits[s->found++] = (tm_pointer_hit){at, block};
    at++;
  }
  s->at = at;
}

size_t tm_pointers_scan(const tm_pointers *p, const uint64_t *words, uint32_t count, uint32_t *from,
                        tm_pointer_hit *hits, size_t room) {
  scan s = {.words = words, .count = count, .at = *from, .hits = hits, .room = room};
  switch (p->granule_shift) {
  case 6:
    scan_by(p, &s, 6);
    break;
  case 8:
    scan_by(p, &s, 8);
    break;
  case 10:
    scan_by(p, &s, 10);
    break;
  case 12:
    scan_by(p, &s, 12);
    break;
  case 14:
    scan_by(p, &s, 14);
    break;
  default:
    scan_by(p, &s, PAGE_SHIFT);
  }
  *from = s.at;
  return s.found;
}
