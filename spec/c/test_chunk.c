// floors: model
// Chunks: what goes in comes out bit by bit, idle costs nearly nothing, damage never reads too far.
#include "model/chunk.h"
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct row {
  int64_t time_ns;
  double value;
} row;

static uint64_t seed;
static uint64_t next_random(void) { // xorshift64
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static double double_of(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void assert_round_trip(const row *rows, size_t n) {
  tm_ctx ctx;
  tm_chunk chunk;
  tm_chunk_reader reader;
  row got;
  tm_ctx_init(&ctx, NULL);
  tm_chunk_init(&chunk, 1);
  for (size_t i = 0; i < n; i++)
    assert_int_equal(tm_chunk_append(&ctx, &chunk, rows[i].time_ns, rows[i].value), TM_OK);
  assert_int_equal(chunk.count, n);
  uint8_t *exact = malloc(chunk.bytes.size ? chunk.bytes.size : 1); // ASan sees one byte too far
  if (n) memcpy(exact, chunk.bytes.data, chunk.bytes.size);
  tm_chunk_reader_init(&reader, exact, chunk.bytes.size);
  for (size_t i = 0; i < n; i++) {
    assert_true(tm_chunk_next(&reader, &got.time_ns, &got.value));
    assert_true(got.time_ns == rows[i].time_ns);
    assert_memory_equal(&got.value, &rows[i].value, sizeof got.value);
  }
  assert_false(tm_chunk_next(&reader, &got.time_ns, &got.value));
  assert_true(reader.in.ok);
  free(exact);
  tm_chunk_fini(&ctx, &chunk);
  tm_ctx_fini(&ctx);
}

static void keeps_every_double(void **state) {
  (void)state;
  static const double odd[] = {0.0,
                               -0.0,
                               1,
                               -1,
                               0.1,
                               INFINITY,
                               -INFINITY,
                               NAN,
                               1e300,
                               5e-324,
                               9007199254740992.0,
                               -9007199254740992.0,
                               9007199254740994.0,
                               0.5,
                               1};
  row rows[TM_COUNT(odd) * TM_COUNT(odd) * 2 + 1];
  size_t n = 0;
  for (size_t i = 0; i < TM_COUNT(odd); i++)
    for (size_t j = 0; j < TM_COUNT(odd); j++) {
      rows[n] = (row){(int64_t)n * 1000, odd[i]};
      n++;
      rows[n] = (row){(int64_t)n * 1000, odd[j]};
      n++;
    }
  rows[n++] = (row){-5, double_of(UINT64_C(0x7ff800000000beef))};
  assert_round_trip(rows, n);
  assert_round_trip(rows, 0);
}

static void keeps_random_series(void **state) {
  (void)state;
  enum { N = 2000 };
  static row rows[N];
  for (uint64_t round = 1; round <= 60; round++) {
    seed = round;
    int64_t time_ns = (int64_t)next_random() >> 2;
    double value = 0;
    for (size_t i = 0; i < N; i++) {
      uint64_t dice = next_random() % 16;
      time_ns = dice == 0 ? (int64_t)next_random() : (int64_t)((uint64_t)time_ns + 5000000000u);
      if (dice == 1) value = double_of(next_random());
      if (dice == 2) value = NAN;
      if (dice > 12) value = (double)(int64_t)(next_random() >> (round % 60));
      rows[i] = (row){time_ns, value};
    }
    assert_round_trip(rows, N);
  }
}

static void is_whole_after_each_append(void **state) {
  (void)state;
  tm_ctx ctx;
  tm_chunk chunk;
  tm_ctx_init(&ctx, NULL);
  tm_chunk_init(&chunk, 1);
  for (uint32_t i = 0; i < 400; i++) {
    row got;
    tm_chunk_reader reader;
    uint32_t n = 0;
    assert_int_equal(tm_chunk_append(&ctx, &chunk, i * 10, i < 200 ? 7 : i * 0.3), TM_OK);
    tm_chunk_reader_init(&reader, chunk.bytes.data, chunk.bytes.size);
    while (tm_chunk_next(&reader, &got.time_ns, &got.value)) n++;
    assert_int_equal(n, i + 1);
    assert_true(got.time_ns == i * 10);
  }
  tm_chunk_fini(&ctx, &chunk);
  tm_ctx_fini(&ctx);
}

static size_t coded_size(uint64_t tick_ns, double (*value)(int i), int64_t jitter_ns) {
  tm_ctx ctx;
  tm_chunk chunk;
  tm_ctx_init(&ctx, NULL);
  tm_chunk_init(&chunk, tick_ns);
  for (int i = 0; i < 720; i++) {
    int64_t time_ns = INT64_C(1790000000000000000) + i * INT64_C(5000000000);
    if (jitter_ns) time_ns += (int64_t)(next_random() % (uint64_t)jitter_ns);
    assert_int_equal(tm_chunk_append(&ctx, &chunk, time_ns, value(i)), TM_OK);
  }
  size_t size = chunk.bytes.size;
  tm_chunk_fini(&ctx, &chunk);
  tm_ctx_fini(&ctx);
  return size;
}

static double still(int i) {
  (void)i;
  return 123457536;
}
static double climbing(int i) {
  return 4096.0 * i;
}
static double pages(int i) {
  return 123457536 + 4096.0 * (double)(i % 7 == 0 ? next_random() % 32 : 0);
}

static void an_idle_hour_is_under_200_bytes(void **state) {
  (void)state;
  seed = 42;
  assert_in_range(coded_size(1, still, 0), 8, 200); // bar S7
  assert_in_range(coded_size(1, climbing, 0), 8, 200);
  assert_in_range(coded_size(1000000, pages, 0), 8, 1500);
  assert_in_range(coded_size(1, pages, 200000), 8, 720 * 6);
}

static void cuts_times_to_the_tick(void **state) {
  (void)state;
  tm_ctx ctx;
  tm_chunk chunk;
  tm_chunk_reader reader;
  row got;
  tm_ctx_init(&ctx, NULL);
  tm_chunk_init(&chunk, 1000000);
  assert_int_equal(tm_chunk_append(&ctx, &chunk, 5999999, 1), TM_OK);
  assert_int_equal(tm_chunk_append(&ctx, &chunk, 11000001, 2), TM_OK);
  assert_true(chunk.first_ns == 5000000 && chunk.last_ns == 11000000);
  tm_chunk_reader_init(&reader, chunk.bytes.data, chunk.bytes.size);
  assert_true(tm_chunk_next(&reader, &got.time_ns, &got.value));
  assert_true(got.time_ns == 5000000);
  assert_true(tm_chunk_next(&reader, &got.time_ns, &got.value));
  assert_true(got.time_ns == 11000000 && got.value == 2);
  tm_chunk_fini(&ctx, &chunk);
  tm_ctx_fini(&ctx);
}

static size_t read_all(const uint8_t *bytes, size_t size) {
  tm_chunk_reader reader;
  row got;
  size_t n = 0;
  tm_chunk_reader_init(&reader, bytes, size);
  while (tm_chunk_next(&reader, &got.time_ns, &got.value)) n++;
  return n;
}

static void survives_damage(void **state) {
  (void)state;
  uint8_t *bytes = malloc(64);
  seed = 7;
  for (int round = 0; round < 20000; round++) {
    size_t size = next_random() % 65;
    uint8_t *at = bytes + 64 - size; // ends where the allocation ends
    for (size_t i = 0; i < size; i++) at[i] = (uint8_t)next_random();
    if (size > 2 && round % 4) at[0] = 1, at[1] = 1;
    assert_in_range(read_all(at, size), 0, size * 128);
  }
  free(bytes);
}

static void says_when_bytes_are_damaged(void **state) {
  (void)state;
  static const uint8_t cases[][4] = {{2, 1, 0, 0},       // version
                                     {1, 0, 0, 0},       // tick 0
                                     {1, 1, 0x8b, 0},    // unknown value kind
                                     {1, 1, 0x89, 0x59}, // XOR part longer than 8
                                     {1, 1, 0xf0, 1}};   // time part cut
  for (size_t i = 0; i < TM_COUNT(cases); i++) {
    tm_chunk_reader reader;
    row got;
    tm_chunk_reader_init(&reader, cases[i], 4);
    while (tm_chunk_next(&reader, &got.time_ns, &got.value)) continue;
    assert_false(reader.in.ok);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_every_double),
      cmocka_unit_test(keeps_random_series),
      cmocka_unit_test(is_whole_after_each_append),
      cmocka_unit_test(an_idle_hour_is_under_200_bytes),
      cmocka_unit_test(cuts_times_to_the_tick),
      cmocka_unit_test(survives_damage),
      cmocka_unit_test(says_when_bytes_are_damaged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
