// floors: analyze
// Words that point into blocks, against a plain search through all of them: small blocks, blocks of
// many pages, neighbours, gaps, none at all; and that a scan goes on where its room ended.
#include "analyze/pointers.h"
#include "unit.h"

#include <stdlib.h>

enum { BLOCKS = 700, WORDS = 20000 };

static uint64_t next(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  return *seed ^= *seed << 17;
}

static uint32_t plain(const tm_block *blocks, size_t count, uint64_t address) {
  for (size_t i = count; i-- > 0;) // the end belongs to the block, unless the next one begins there
    if (address >= blocks[i].start && address - blocks[i].start <= blocks[i].bytes)
      return (uint32_t)i;
  return TM_BLOCK_NONE;
}

static size_t make_blocks(tm_block *blocks, uint64_t *seed, uint64_t most_bytes, uint64_t gap) {
  uint64_t at = 0x555500000000 + next(seed) % 0x10000 * 16;
  for (size_t i = 0; i < BLOCKS; i++) {
    at += (next(seed) % gap) & ~UINT64_C(15);
    if (i == BLOCKS / 2) at = 0x7ffff0000000;
    blocks[i] = (tm_block){at, next(seed) % most_bytes};
    at += ((blocks[i].bytes | 1) + 15) & ~UINT64_C(15);
  }
  return BLOCKS;
}

// Mostly close to a block's ends, else anything.
static uint64_t make_word(const tm_block *blocks, size_t count, uint64_t *seed) {
  const tm_block *b = &blocks[count ? next(seed) % count : 0];
  switch (count ? next(seed) % 8 : 7) {
  case 0:
    return b->start;
  case 1:
    return b->start - 1;
  case 2:
    return b->start + b->bytes;
  case 3:
    return b->start + b->bytes - 1;
  case 4:
    return b->start + (b->bytes ? next(seed) % b->bytes : 0);
  case 5:
    return b->start | UINT64_C(1) << (48 + next(seed) % 16); // no address at all
  case 6:
    return next(seed) % 1000;
  default:
    return next(seed);
  }
}

static void compare(const tm_block *blocks, size_t count, uint64_t *seed) {
  tm_ctx ctx;
  tm_pointers *p;
  uint64_t *words = malloc(WORDS * sizeof *words);
  tm_pointer_hit *hits = malloc(WORDS * sizeof *hits);
  tm_ctx_init(&ctx, NULL);
  assert_int_equal(TM_OK, tm_pointers_new(&ctx, blocks, count, &p));
  for (size_t i = 0; i < WORDS; i++) words[i] = make_word(blocks, count, seed);
  size_t found = 0;
  for (uint32_t from = 0; from < WORDS;) {
    uint32_t was = from;
    size_t some = tm_pointers_scan(p, words, WORDS, &from, hits + found, 1 + next(seed) % 64);
    assert_true(from > was);
    found += some;
  }
  size_t at = 0;
  for (uint32_t i = 0; i < WORDS; i++) {
    uint32_t block = plain(blocks, count, words[i]);
    assert_int_equal(block, tm_pointers_find(p, words[i]));
    if (block == TM_BLOCK_NONE) continue;
    assert_true(at < found);
    assert_int_equal(i, hits[at].word);
    assert_int_equal(block, hits[at].block);
    at++;
  }
  assert_int_equal(at, found);
  if (count) assert_true(found > WORDS / 4);
  tm_pointers_free(&ctx, p);
  tm_ctx_fini(&ctx);
  free(words);
  free(hits);
}

static void finds_what_a_plain_search_finds(void **state) {
  (void)state;
  static const uint64_t sizes[][2] = {{64, 32}, {4096, 100000}, {1000000, 70000}, {1, 16}, {40, 5}};
  uint64_t seed = 88172645463325252u;
  tm_block *blocks = malloc(BLOCKS * sizeof *blocks);
  for (size_t i = 0; i < TM_COUNT(sizes); i++)
    for (int round = 0; round < 3; round++) {
      size_t count = make_blocks(blocks, &seed, sizes[i][0], sizes[i][1] + 1);
      compare(blocks, count, &seed);
    }
  compare(blocks, 0, &seed);
  compare(blocks, 1, &seed);
  free(blocks);
}

static void refuses_blocks_over_each_other(void **state) {
  (void)state;
  static const tm_block wrong[][2] = {{{100, 50}, {149, 1}},
                                      {{200, 1}, {100, 1}},
                                      {{100, 0}, {100, 0}},
                                      {{100, 1}, {UINT64_C(1) << 48, 1}},
                                      {{100, 1}, {200, UINT64_MAX - 10}}};
  tm_ctx ctx;
  tm_pointers *p;
  tm_ctx_init(&ctx, NULL);
  for (size_t i = 0; i < TM_COUNT(wrong); i++) {
    assert_int_equal(TM_E_ARG, tm_pointers_new(&ctx, wrong[i], 2, &p));
    tm_ctx_clear(&ctx);
  }
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(finds_what_a_plain_search_finds),
                                     cmocka_unit_test(refuses_blocks_over_each_other)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
