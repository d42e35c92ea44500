// floors: analyze
// Division of resident memory: rows always add up to the mappings, runtimes never own more than is
// resident, and what nobody tells is left over. Places: layouts as glibc, Go 1.25 and Go 1.26 make
// them.
#include "analyze/accounting.h"
#include "unit.h"

#include <math.h>
#include <string.h>

#define MB (UINT64_C(1) << 20)

static tm_account out;

static tm_account_input empty(const tm_account_vma *vmas, size_t count) {
  tm_account_input in = {.vmas = vmas, .vma_count = count};
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) in.told[i] = NAN;
  return in;
}

static double bytes(tm_owner owner) {
  return out.rows[owner].bytes;
}

static void check_sum(void) {
  double sum = 0;
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) sum += out.rows[i].bytes;
  assert_true(fabs(sum - out.rss_bytes) < 1);
}

#define ROW(at, size, rss, where, ...)                                                             \
  {                                                                                                \
    .start = (at), .end = (at) + (size), .rss_bytes = (rss), .place = TM_PLACE_##where,            \
    .name = "", __VA_ARGS__                                                                        \
  }

static void test_every_place_has_its_owner(void **state) {
  (void)state;
  const tm_account_vma vmas[] = {
      ROW(1 * MB, 1 * MB, 1 * MB, EXECUTABLE), ROW(3 * MB, 2 * MB, 2 * MB, C_HEAP),
      ROW(10 * MB, 4 * MB, 3 * MB, ANON),      ROW(20 * MB, 4 * MB, 4 * MB, SHARED),
      ROW(30 * MB, 5 * MB, 5 * MB, LIBRARY),   ROW(40 * MB, 6 * MB, 6 * MB, FILE),
      ROW(50 * MB, 7 * MB, 7 * MB, GPU),       ROW(60 * MB, 8 * MB, 8 * MB, STACK),
  };
  tm_account_input in = empty(vmas, TM_COUNT(vmas));
  tm_account_divide(&in, &out);
  assert_float_equal(bytes(TM_OWNER_EXECUTABLE), 1 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_C_HEAP), 2 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_UNEXPLAINED), 3 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_SHARED), 4 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_LIBRARIES), 5 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_FILES), 6 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_GPU), 7 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_STACKS), 8 * MB, 0);
  assert_float_equal(out.rss_bytes, 36 * MB, 0);
  assert_float_equal(tm_account_group_bytes(&out, "files"), 12 * MB, 0);
  in.runtime = TM_RUNTIME_JVM;
  tm_account_divide(&in, &out);
  assert_float_equal(bytes(TM_OWNER_JVM_THREADS), 8 * MB, 0);
  check_sum();
}

// What Go tells is cut to what is resident of its heap; the rest of the heap is held free.
static void test_go_numbers_clip_to_what_is_resident(void **state) {
  (void)state;
  const tm_account_vma vmas[] = {ROW(0, 64 * MB, 40 * MB, GO_HEAP),
                                 ROW(100 * MB, 9 * MB, 9 * MB, ANON)};
  tm_account_input in = empty(vmas, TM_COUNT(vmas));
  tm_account_divide(&in, &out);
  assert_float_equal(bytes(TM_OWNER_GO_HEAP), 40 * MB, 0); // nobody tells
  in.told[TM_OWNER_GO_HEAP_INUSE] = 30 * MB;
  in.told[TM_OWNER_GO_STACKS] = 2 * MB;
  in.told[TM_OWNER_GO_RUNTIME] = 4 * MB;
  tm_account_divide(&in, &out);
  assert_float_equal(bytes(TM_OWNER_GO_HEAP_INUSE), 30 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_GO_STACKS), 2 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_GO_HEAP_IDLE), 8 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_GO_RUNTIME), 4 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_UNEXPLAINED), 5 * MB, 0);
  in.told[TM_OWNER_GO_HEAP_INUSE] = 90 * MB;
  in.told[TM_OWNER_GO_RUNTIME] = 90 * MB;
  tm_account_divide(&in, &out);
  assert_float_equal(bytes(TM_OWNER_GO_HEAP_INUSE), 40 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_GO_STACKS), 0, 0);
  assert_float_equal(bytes(TM_OWNER_GO_RUNTIME), 9 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_UNEXPLAINED), 0, 0);
  assert_float_equal(out.rows[TM_OWNER_GO_HEAP_INUSE].told_bytes, 90 * MB, 0);
  check_sum();
}

static void test_ranges_own_their_part_and_no_more(void **state) {
  (void)state;
  const tm_account_vma vmas[] = {ROW(0, 10 * MB, 10 * MB, ANON), ROW(20 * MB, 8 * MB, 4 * MB, ANON),
                                 ROW(40 * MB, 4 * MB, 4 * MB, ANON)};
  const tm_account_range ranges[] = {{2 * MB, 4 * MB, TM_OWNER_C_HEAP},
                                     {4 * MB, 5 * MB, TM_OWNER_C_HEAP},
                                     {18 * MB, 24 * MB, TM_OWNER_JVM_HEAP},
                                     {24 * MB, 30 * MB, TM_OWNER_JVM_CODE}};
  tm_account_input in = empty(vmas, TM_COUNT(vmas));
  in.ranges = ranges;
  in.range_count = TM_COUNT(ranges);
  in.told[TM_OWNER_JVM_HEAP] = 6 * MB;
  tm_account_divide(&in, &out);
  assert_float_equal(bytes(TM_OWNER_C_HEAP), 3 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_JVM_CODE), 2 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_JVM_HEAP), 4 * MB, 0); // its range has 4 of the 6, half there
  assert_float_equal(bytes(TM_OWNER_UNEXPLAINED), 9 * MB, 0);
  check_sum();
}

static void test_malloc_tells_use_and_rest(void **state) {
  (void)state;
  const tm_account_vma vmas[] = {ROW(0, 10 * MB, 10 * MB, C_HEAP), ROW(20 * MB, MB, MB, ANON)};
  tm_account_input in = empty(vmas, TM_COUNT(vmas));
  in.told[TM_OWNER_C_HEAP_INUSE] = 3 * MB;
  in.told[TM_OWNER_V8_ARRAY_BUFFERS] = 2 * MB;
  tm_account_divide(&in, &out);
  assert_float_equal(bytes(TM_OWNER_V8_ARRAY_BUFFERS), 2 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_C_HEAP_INUSE), 3 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_C_HEAP_FREE), 5 * MB, 0);
  assert_float_equal(bytes(TM_OWNER_C_HEAP), 0, 0);
  assert_float_equal(tm_account_group_bytes(&out, "c_heap"), 8 * MB, 0);
  check_sum();
}

static void test_arenas_of_malloc_are_known_by_their_shape(void **state) {
  (void)state;
  const uint64_t at = UINT64_C(0x7f8a24000000);
  tm_account_vma vmas[] = {
      ROW(at, MB, MB, ANON, .writable = true), // used from below
      ROW(at + MB, 63 * MB, 0, NO_ACCESS),
      ROW(at + 64 * MB, 64 * MB, 64 * MB, ANON, .writable = true), // full
      ROW(at + 130 * MB, MB, MB, ANON, .writable = true),          // not aligned
      ROW(at + 131 * MB, 61 * MB, 0, NO_ACCESS),
      ROW(at + 192 * MB, MB, MB, ANON, .writable = true),            // nothing reserved above
      ROW(at + 256 * MB, 64 * MB, 64 * MB, STACK, .writable = true), // behind a full one's end
      ROW(at + 321 * MB, 8 * MB, MB, STACK, .writable = true),
  };
  tm_account_place_vmas(vmas, TM_COUNT(vmas), TM_RUNTIME_NATIVE);
  assert_int_equal(vmas[0].place, TM_PLACE_C_HEAP);
  assert_int_equal(vmas[2].place, TM_PLACE_C_HEAP);
  assert_int_equal(vmas[6].place, TM_PLACE_C_HEAP);
  assert_int_equal(vmas[7].place, TM_PLACE_STACK);
  assert_int_equal(vmas[3].place, TM_PLACE_ANON);
  assert_int_equal(vmas[5].place, TM_PLACE_ANON);
}

static void test_the_heap_of_go_is_whole_arenas_far_below(void **state) {
  (void)state;
  const uint64_t go = UINT64_C(0x334810000000), so = UINT64_C(0x7f8a83631000);
  tm_account_vma vmas[] = {
      ROW(4 * MB, MB, MB, EXECUTABLE, .writable = true),
      ROW(5 * MB, 2 * MB, MB, ANON, .writable = true), // its bss, the program has no name here
      ROW(go, 60 * MB, 0, NO_ACCESS),
      ROW(go + 60 * MB, 24 * MB, 20 * MB, ANON, .writable = true),
      ROW(go + 84 * MB, 44 * MB, 0, NO_ACCESS),
      ROW(UINT64_C(0x7f8a24000000), 64 * MB, MB, ANON, .writable = true),
      ROW(so, MB, MB, LIBRARY, .writable = true),
      ROW(so + MB, MB, MB, ANON, .writable = true), // the library's bss
  };
  vmas[0].name = "/usr/bin/app";
  vmas[6].name = "/lib/libc.so.6";
  tm_account_place_vmas(vmas, TM_COUNT(vmas), TM_RUNTIME_GO);
  assert_int_equal(vmas[1].place, TM_PLACE_EXECUTABLE);
  assert_int_equal(vmas[3].place, TM_PLACE_GO_HEAP);
  assert_int_equal(vmas[5].place, TM_PLACE_C_HEAP);
  assert_int_equal(vmas[7].place, TM_PLACE_LIBRARY);
}

static void test_the_heap_of_v8_is_pages_at_random(void **state) {
  (void)state;
  const uint64_t page = UINT64_C(0x51dfe00000), so = UINT64_C(0x7f8a83631000);
  tm_account_vma vmas[] = {
      ROW(4 * MB, MB, MB, EXECUTABLE, .writable = true),
      ROW(5 * MB, MB, MB, ANON, .writable = true),
      ROW(page, MB / 4, MB / 4, ANON, .writable = true),
      ROW(so - 8 * MB, MB, MB, ANON, .writable = true),
      ROW(so, MB, MB, LIBRARY),
  };
  vmas[0].name = "/usr/bin/node";
  vmas[4].name = "/lib/libc.so.6";
  tm_account_place_vmas(vmas, TM_COUNT(vmas), TM_RUNTIME_V8);
  assert_int_equal(vmas[1].place, TM_PLACE_EXECUTABLE);
  assert_int_equal(vmas[2].place, TM_PLACE_V8_HEAP);
  assert_int_equal(vmas[3].place, TM_PLACE_ANON);
}

// As a renderer of Chromium 156 has them: malloc's pool, Blink's heap, the sandbox of V8.
static void test_chromium_reserves_in_shapes(void **state) {
  (void)state;
  const uint64_t gib = UINT64_C(1) << 30, so = UINT64_C(0x7f8a83631000);
  const uint64_t blink = UINT64_C(0x108c00000000), v8 = UINT64_C(0x2a8f00000000);
  const uint64_t pool = UINT64_C(0x315c00000000);
  tm_account_vma vmas[] = {
      ROW(blink, 32 * MB, 0, NO_ACCESS),
      ROW(blink + 32 * MB, 56 * MB, 56 * MB, ANON, .writable = true),
      ROW(blink + 88 * MB, 16 * gib - 88 * MB, 0, NO_ACCESS),
      ROW(v8, 64 * gib, 0, NO_ACCESS),
      ROW(v8 + 64 * gib, 3 * MB, 3 * MB, ANON, .writable = true),
      ROW(v8 + 64 * gib + 3 * MB, MB, 0, NO_ACCESS),
      ROW(v8 + 64 * gib + 4 * MB, MB, MB, STACK, .writable = true), // behind a guard, and no stack
      ROW(v8 + 64 * gib + 5 * MB, 16 * gib, 0, NO_ACCESS),
      ROW(v8 + 80 * gib + 5 * MB, MB, MB, ANON, .writable = true),
      ROW(v8 + 80 * gib + 6 * MB, 900 * gib, 0, NO_ACCESS),
      ROW(pool, 0x4000, 0, NO_ACCESS),
      ROW(pool + 0x4000, 2 * MB - 0x8000, MB, ANON, .writable = true),
      ROW(pool + 2 * MB - 0x4000, 16 * gib, 0, NO_ACCESS),
      ROW(so, MB, MB, LIBRARY),
      ROW(so + 2 * MB, MB, MB, STACK, .writable = true),
  };
  tm_account_place_vmas(vmas, TM_COUNT(vmas), TM_RUNTIME_NATIVE);
  assert_int_equal(vmas[1].place, TM_PLACE_BLINK_HEAP);
  assert_int_equal(vmas[4].place, TM_PLACE_V8_HEAP);
  assert_int_equal(vmas[6].place, TM_PLACE_V8_HEAP);
  assert_int_equal(vmas[8].place, TM_PLACE_V8_BUFFERS);
  assert_int_equal(vmas[11].place, TM_PLACE_C_HEAP);
  assert_int_equal(vmas[14].place, TM_PLACE_STACK);
}

// Where the kernel chose the place, other mappings touch it.
static void test_a_sandbox_may_lie_among_libraries(void **state) {
  (void)state;
  const uint64_t gib = UINT64_C(1) << 30, v8 = UINT64_C(0x7db700000000);
  tm_account_vma vmas[] = {
      ROW(v8 - MB, MB, MB, ANON, .writable = true),
      ROW(v8, 64 * gib, 0, NO_ACCESS),
      ROW(v8 + 64 * gib, 9 * MB, 9 * MB, ANON, .writable = true),
      ROW(v8 + 64 * gib + 9 * MB, 900 * gib, 0, NO_ACCESS),
      ROW(v8 + 964 * gib + 9 * MB, MB, MB, ANON, .writable = true),
      ROW(v8 + 970 * gib, MB, MB, LIBRARY),
  };
  tm_account_place_vmas(vmas, TM_COUNT(vmas), TM_RUNTIME_NATIVE);
  assert_int_equal(vmas[0].place, TM_PLACE_ANON);
  assert_int_equal(vmas[2].place, TM_PLACE_V8_HEAP);
  assert_int_equal(vmas[4].place, TM_PLACE_ANON);
}

// Random mappings, ranges and numbers: the sum holds, and nothing is negative.
static void test_sums_hold_for_anything(void **state) {
  (void)state;
  uint64_t rng = 7;
  for (int round = 0; round < 2000; round++) {
    tm_account_vma vmas[12];
    tm_account_range ranges[6];
    uint64_t at = 0;
    for (size_t i = 0; i < TM_COUNT(vmas); i++) {
      rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
      uint64_t size = 4096 * (1 + (rng >> 33) % 64);
      at += 4096 * ((rng >> 40) % 4);
      vmas[i] = (tm_account_vma){.start = at, .end = at + size, .name = ""};
      vmas[i].rss_bytes = (rng >> 50) % 2 ? size : size / 2;
      vmas[i].place = (tm_account_place)((rng >> 45) % TM_PLACE_COUNT);
      at += size;
    }
    for (size_t i = 0; i < TM_COUNT(ranges); i++) {
      uint64_t from = at * i / 6;
      ranges[i] = (tm_account_range){from, from + at / 7, (tm_owner)(rng >> (20 + i) & 15)};
    }
    tm_account_input in = empty(vmas, TM_COUNT(vmas));
    in.ranges = ranges;
    in.range_count = TM_COUNT(ranges);
    for (size_t i = 0; i < TM_OWNER_COUNT; i++)
      if (rng >> i & 1) in.told[i] = (double)((rng >> (i % 30)) % (512 * 1024));
    tm_account_divide(&in, &out);
    check_sum();
    for (size_t i = 0; i < TM_OWNER_COUNT; i++) assert_true(bytes((tm_owner)i) >= 0);
  }
}

static void test_owners_have_names(void **state) {
  (void)state;
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) {
    const tm_owner_info *info = tm_owner_describe((tm_owner)i);
    assert_int_equal(tm_owner_by_name(info->name), i);
  }
  assert_null(tm_owner_describe(TM_OWNER_COUNT));
  assert_int_equal(tm_owner_by_name("nobody"), TM_OWNER_COUNT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_place_has_its_owner),
      cmocka_unit_test(test_go_numbers_clip_to_what_is_resident),
      cmocka_unit_test(test_ranges_own_their_part_and_no_more),
      cmocka_unit_test(test_malloc_tells_use_and_rest),
      cmocka_unit_test(test_arenas_of_malloc_are_known_by_their_shape),
      cmocka_unit_test(test_the_heap_of_go_is_whole_arenas_far_below),
      cmocka_unit_test(test_the_heap_of_v8_is_pages_at_random),
      cmocka_unit_test(test_chromium_reserves_in_shapes),
      cmocka_unit_test(test_a_sandbox_may_lie_among_libraries),
      cmocka_unit_test(test_sums_hold_for_anything),
      cmocka_unit_test(test_owners_have_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
