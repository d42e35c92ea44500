// floors: analyze
// Lost and held blocks of random memory, against a fixed point over all words (by plain search),
// and small heaps whose answer is known.
#include "analyze/references.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 300, HEAP_WORDS = 8192, ROOT_WORDS = 128 };
#define HEAP_AT  UINT64_C(0x560000000000)
#define ROOTS_AT UINT64_C(0x7f0000000000)

typedef struct memory {
  tm_block blocks[BLOCKS];
  size_t count;
  uint64_t heap[HEAP_WORDS], roots[ROOT_WORDS];
} memory;

static uint64_t next(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  return *seed ^= *seed << 17;
}

static uint32_t find(const memory *m, uint64_t address) {
  for (size_t i = 0; i < m->count; i++)
    if (address - m->blocks[i].start < m->blocks[i].bytes) return (uint32_t)i;
  return TM_BLOCK_NONE;
}

// The end of a block points to it, too, if no other begins there.
static uint32_t pointee(const memory *m, uint64_t address) {
  for (size_t i = m->count; i-- > 0;)
    if (address - m->blocks[i].start <= m->blocks[i].bytes) return (uint32_t)i;
  return TM_BLOCK_NONE;
}

static uint64_t some_pointer(const memory *m, uint64_t *seed) {
  const tm_block *b = &m->blocks[next(seed) % m->count];
  return next(seed) % 3 ? b->start : b->start + next(seed) % (b->bytes + 1);
}

static void fill(memory *m, uint64_t *seed, uint32_t one_in) {
  uint64_t at = HEAP_AT;
  memset(m, 0, sizeof *m);
  for (m->count = 0; m->count < BLOCKS; m->count++) {
    at += next(seed) % 4 * 16;
    m->blocks[m->count] = (tm_block){at, 8 + next(seed) % 160};
    at += (m->blocks[m->count].bytes + 15) & ~UINT64_C(15);
  }
  assert_true(at <= HEAP_AT + sizeof m->heap);
  for (size_t i = 0; i < HEAP_WORDS; i++)
    if (next(seed) % one_in == 0) m->heap[i] = some_pointer(m, seed);
  for (size_t i = 0; i < ROOT_WORDS; i++)
    if (next(seed) % 8 == 0) m->roots[i] = some_pointer(m, seed);
}

// ---- the oracle ----

typedef struct answer {
  bool is_held;
  uint32_t starts, interiors, frees, lost_from;
} answer;

static void count_words(const memory *m, bool is_complete, answer *out) {
  for (size_t i = 0; i < m->count; i++)
    out[i].starts = out[i].interiors = out[i].frees = out[i].lost_from = 0;
  for (size_t i = 0; i < HEAP_WORDS + ROOT_WORDS; i++) {
    bool is_root = i >= HEAP_WORDS;
    uint64_t word = is_root ? m->roots[i - HEAP_WORDS] : m->heap[i];
    uint32_t to = pointee(m, word), from = is_root ? TM_BLOCK_NONE : find(m, HEAP_AT + 8 * i);
    if (to == TM_BLOCK_NONE || from == to) continue;
    if (from != TM_BLOCK_NONE && !out[from].is_held) {
      out[to].lost_from++;
    } else if (!is_root && from == TM_BLOCK_NONE && is_complete) {
      out[to].frees++;
    } else if (word == m->blocks[to].start) {
      out[to].starts++;
    } else {
      out[to].interiors++;
    }
  }
}

static void oracle(const memory *m, bool is_complete, answer *out) {
  bool is_changed = true;
  memset(out, 0, BLOCKS * sizeof *out);
  while (is_changed) {
    is_changed = false;
    count_words(m, is_complete, out);
    for (size_t i = 0; i < m->count; i++) {
      bool is_held = out[i].starts + out[i].interiors > 0;
      is_changed = is_changed || is_held != out[i].is_held;
      out[i].is_held = is_held;
    }
  }
}

static tm_block_state state_of(const answer *a) {
  if (a->is_held) return a->starts ? TM_BLOCK_REFERENCED : TM_BLOCK_INTERIOR;
  return a->lost_from ? TM_BLOCK_LOST_TOO : TM_BLOCK_LOST;
}

// ---- tests ----

static void add_all(tm_ctx *ctx, tm_references *r, const memory *m) {
  const tm_memory_part heap = {7, 5, true}, data = {3, 0, false, false};
  const uint32_t piece = 1000; // pieces do not end where blocks do
  for (uint32_t i = 0; i < HEAP_WORDS; i += piece) {
    uint32_t n = HEAP_WORDS - i < piece ? HEAP_WORDS - i : piece;
    assert_int_equal(TM_OK,
                     tm_references_add(ctx, r, &heap, HEAP_AT + 8 * (uint64_t)i, m->heap + i, n));
  }
  assert_int_equal(TM_OK, tm_references_add(ctx, r, &data, ROOTS_AT, m->roots, ROOT_WORDS));
}

// The named root is a word outside of blocks that points into one.
static void check_root(const memory *m, const tm_block_reference *row) {
  bool is_data = row->root_region == 3;
  uint64_t word =
      is_data ? m->roots[(row->root_at - ROOTS_AT) / 8] : m->heap[(row->root_at - HEAP_AT) / 8];
  assert_int_equal(TM_BLOCK_NONE, find(m, row->root_at));
  assert_int_not_equal(TM_BLOCK_NONE, pointee(m, word));
}

static void compare(const memory *m, bool is_complete, size_t states[TM_BLOCK_STATE_COUNT]) {
  tm_ctx ctx;
  tm_references *r;
  const tm_block_reference *rows;
  answer expected[BLOCKS];
  tm_ctx_init(&ctx, NULL);
  assert_int_equal(TM_OK, tm_references_new(&ctx, m->blocks, m->count, is_complete, &r));
  add_all(&ctx, r, m);
  assert_int_equal(TM_OK, tm_references_settle(&ctx, r, &rows));
  oracle(m, is_complete, expected);
  for (size_t i = 0; i < m->count; i++) {
    assert_int_equal(state_of(&expected[i]), rows[i].state);
    assert_int_equal(expected[i].starts, rows[i].start_count);
    assert_int_equal(expected[i].interiors, rows[i].interior_count);
    assert_int_equal(expected[i].frees, rows[i].free_count);
    if (expected[i].is_held) check_root(m, &rows[i]);
    states[rows[i].state]++;
  }
  tm_references_free(&ctx, r);
  tm_ctx_fini(&ctx);
}

static void agrees_with_a_fixed_point(void **state) {
  (void)state;
  uint64_t seed = 0x1234567890abcdef;
  size_t states[TM_BLOCK_STATE_COUNT] = {0};
  memory *m = malloc(sizeof *m);
  for (int round = 0; round < 24; round++) {
    fill(m, &seed, 4u << round % 6);
    compare(m, round % 2, states);
  }
  for (size_t i = 0; i < TM_BLOCK_STATE_COUNT; i++) assert_true(states[i] > 50);
  free(m);
}

static void names_who_holds(void **state) {
  (void)state;
  // root -> 0 -> 1, a ring 2 <-> 3 with a tail 4, 5 points to itself only, 6 by its middle
  static const tm_block blocks[] = {{0x1000, 16}, {0x1010, 16}, {0x1020, 16}, {0x1030, 16},
                                    {0x1040, 16}, {0x1050, 16}, {0x1060, 16}};
  static const uint64_t heap[] = {0x1010, 0, 0, 0,      0x1030, 0, 0x1020,
                                  0x1040, 0, 0, 0x1050, 0,      0, 0};
  static const uint64_t stack[] = {0, 0x1000}, data[] = {0x1068, 0, 0x1000};
  static const tm_block_state states[] = {
      TM_BLOCK_REFERENCED, TM_BLOCK_REFERENCED, TM_BLOCK_LOST_TOO, TM_BLOCK_LOST_TOO,
      TM_BLOCK_LOST_TOO,   TM_BLOCK_LOST,       TM_BLOCK_INTERIOR};
  tm_ctx ctx;
  tm_references *r;
  const tm_block_reference *rows;
  tm_ctx_init(&ctx, NULL);
  assert_int_equal(TM_OK, tm_references_new(&ctx, blocks, TM_COUNT(blocks), true, &r));
  assert_int_equal(TM_OK, tm_references_add(&ctx, r, &(tm_memory_part){1, 5, true, false}, 0x1000,
                                            heap, TM_COUNT(heap)));
  assert_int_equal(TM_OK, tm_references_add(&ctx, r, &(tm_memory_part){2, 1, false, false}, 0x9000,
                                            stack, TM_COUNT(stack)));
  assert_int_equal(TM_OK, tm_references_add(&ctx, r, &(tm_memory_part){3, 0, false, false}, 0x5000,
                                            data, TM_COUNT(data)));
  assert_int_equal(TM_OK, tm_references_settle(&ctx, r, &rows));
  for (size_t i = 0; i < TM_COUNT(blocks); i++) assert_int_equal(states[i], rows[i].state);
  assert_int_equal(3, rows[0].root_region); // rather than the stack
  assert_int_equal(0x5010, rows[0].root_at);
  assert_int_equal(2, rows[0].start_count);
  assert_int_equal(0, rows[1].from_block);
  assert_int_equal(3, rows[1].root_region);
  assert_int_equal(0x5010, rows[1].root_at);
  assert_int_equal(3, rows[4].from_block);
  assert_int_equal(1, rows[6].interior_count);
  tm_references_free(&ctx, r);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_a_fixed_point),
                                     cmocka_unit_test(names_who_holds)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
