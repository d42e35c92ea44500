// floors: base
// Numbers of addresses against a plain search: close together, with wide gaps, and so far apart
// that they are sorted instead.
#include "base/addr_rank.h"
#include "unit.h"

#include <stdlib.h>

enum { COUNT = 3000 };

static uint64_t next(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  return *seed ^= *seed << 17;
}

static int ascending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

// What the numbers must be: by a walk over the sorted addresses.
static uint32_t plain(const uint64_t *sorted, size_t n, uint64_t address, bool exact) {
  uint32_t found = TM_ADDR_NONE;
  for (size_t i = 0; i < n && sorted[i] <= address; i++) found = (uint32_t)i;
  return found != TM_ADDR_NONE && exact && sorted[found] != address ? TM_ADDR_NONE : found;
}

// Clusters of addresses, `gap` bytes apart from each other at most.
static void compare(uint64_t gap, bool expect_sorted) {
  tm_ctx ctx;
  tm_addr_rank rank;
  uint64_t seed = gap + 88172645463325252u, at = 0x7f0000000000;
  uint64_t *addresses = malloc(COUNT * sizeof *addresses), *sorted = malloc(COUNT * sizeof *sorted);
  for (size_t i = 0; i < COUNT; i++) {
    at += 8 * (1 + next(&seed) % 20) + (i % 100 ? 0 : next(&seed) % gap & ~(uint64_t)7);
    addresses[i] = sorted[i] = at;
  }
  for (size_t i = 0; i < COUNT; i++) { // in any order
    size_t other = next(&seed) % COUNT;
    uint64_t kept = addresses[i];
    addresses[i] = addresses[other];
    addresses[other] = kept;
  }
  qsort(sorted, COUNT, sizeof *sorted, ascending);
  tm_ctx_init(&ctx, NULL);
  assert_int_equal(TM_OK, tm_addr_rank_build(&ctx, &rank, addresses, COUNT, 3));
  assert_int_equal(COUNT, rank.count);
  assert_int_equal(expect_sorted, rank.sorted != NULL);
  if (!expect_sorted) assert_true(tm_addr_rank_is_whole(&rank));
  for (size_t i = 0; i < COUNT; i++) {
    const uint64_t asked[] = {sorted[i], sorted[i] - 8, sorted[i] + 1,
                              sorted[i] + next(&seed) % gap};
    for (size_t k = 0; k < TM_COUNT(asked); k++) {
      assert_int_equal(plain(sorted, COUNT, asked[k], true), tm_addr_rank_get(&rank, asked[k]));
      assert_int_equal(plain(sorted, COUNT, asked[k], false), tm_addr_rank_floor(&rank, asked[k]));
    }
  }
  tm_addr_rank_fini(&ctx, &rank);
  tm_ctx_fini(&ctx);
  free(addresses);
  free(sorted);
}

static void numbers_close_addresses(void **state) {
  (void)state;
  compare(64, false);
}

static void numbers_addresses_with_gaps(void **state) {
  (void)state;
  compare((uint64_t)1 << 20, false);
  compare((uint64_t)1 << 34, false);
}

static void sorts_addresses_that_lie_apart(void **state) {
  (void)state;
  compare((uint64_t)1 << 46, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_close_addresses),
      cmocka_unit_test(numbers_addresses_with_gaps),
      cmocka_unit_test(sorts_addresses_that_lie_apart),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
