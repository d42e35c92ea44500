// floors: base
// The map of ids against an array: keys that collide are put, changed and removed at random, and
// every key is asked for after each step.
#include "base/idmap.h"
#include "unit.h"

enum { KEYS = 300, STEPS = 4000 };

static uint64_t rng = 7;

static uint32_t below(uint32_t n) {
  rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (uint32_t)(rng >> 33) % n;
}

// Ids in runs, far apart, and the greatest there are.
static uint64_t key_of(uint32_t i) {
  if (i < KEYS / 3) return i;
  return i < 2 * KEYS / 3 ? (uint64_t)i << 32 : UINT64_MAX - i;
}

static void check_all(const tm_idmap *map, const uint32_t *expected) {
  size_t count = 0;
  for (uint32_t i = 0; i < KEYS; i++) {
    assert_true(tm_idmap_get(map, key_of(i)) == expected[i]);
    count += expected[i] != TM_IDMAP_NONE;
  }
  assert_true(map->count == count);
}

static void test_against_an_array(void **state) {
  (void)state;
  tm_ctx ctx;
  tm_idmap map = {0};
  uint32_t expected[KEYS];
  tm_ctx_init(&ctx, NULL);
  for (uint32_t i = 0; i < KEYS; i++) expected[i] = TM_IDMAP_NONE;
  tm_idmap_remove(&map, 1); // of an empty map
  for (uint32_t step = 0; step < STEPS; step++) {
    uint32_t i = below(KEYS);
    bool grows = step < STEPS / 2 ? below(4) != 0 : below(4) == 0;
    if (grows) {
      expected[i] = step;
      assert_true(tm_idmap_put(&ctx, &map, key_of(i), step) == TM_OK);
    } else {
      expected[i] = TM_IDMAP_NONE;
      tm_idmap_remove(&map, key_of(i));
    }
    if (step % 16 == 0) check_all(&map, expected);
  }
  check_all(&map, expected);
  for (uint32_t i = 0; i < KEYS; i++) tm_idmap_remove(&map, key_of(i));
  assert_true(map.count == 0);
  tm_idmap_free(&ctx, &map);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_an_array)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
