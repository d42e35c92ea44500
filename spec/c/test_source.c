// floors: read
// Compressed input: several members, damage, and bombs, which must stop at the cap without ever
// taking much more memory than it.
#include "read/source.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define MIB (UINT64_C(1) << 20)

typedef struct meter {
  uint64_t now_bytes, peak_bytes;
} meter;

static void *metered(void *ud, void *p, size_t old_size, size_t size) {
  meter *m = ud;
  m->now_bytes += size;
  m->now_bytes -= old_size;
  if (m->now_bytes > m->peak_bytes) m->peak_bytes = m->now_bytes;
  if (size) return realloc(p, size);
  free(p);
  return NULL;
}

static meter used;
static tm_ctx ctx;

static int set_up(void **state) {
  (void)state;
  used = (meter){0};
  tm_allocator allocator = {.realloc_fn = metered, .ud = &used};
  tm_ctx_init(&ctx, &allocator);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tm_ctx_fini(&ctx);
  assert_int_equal(used.now_bytes, 0);
  return 0;
}

// One gzip member that unpacks to size bytes of c.
static size_t put_gzip(uint8_t *to, size_t room, int c, size_t size) {
  z_stream z = {0};
  uint8_t *bytes = malloc(size ? size : 1);
  memset(bytes, c, size);
  assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = bytes;
  z.avail_in = (uInt)size;
  z.next_out = to;
  z.avail_out = (uInt)room;
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  size_t made = room - z.avail_out;
  deflateEnd(&z);
  free(bytes);
  return made;
}

static void joins_members(void **state) {
  (void)state;
  uint8_t data[4096];
  size_t size = put_gzip(data, sizeof data, 'a', 70000);
  size += put_gzip(data + size, sizeof data - size, 'b', 5);
  size += put_gzip(data + size, sizeof data - size, 'c', 0);
  tm_source src;
  assert_int_equal(tm_source_from_buffer(&ctx, data, size, &src), TM_OK);
  assert_int_equal(src.size, 70005);
  assert_memory_equal(src.data + 69999, "abbbbb", 6);
  assert_string_equal(src.packing, "gzip");
  tm_source_close(&src);
  data[size] = 'x'; // junk behind the last member
  assert_int_equal(tm_source_from_buffer(&ctx, data, size + 1, &src), TM_E_FORMAT);
  assert_true(ctx.error.offset_bytes <= size + 1);
}

static void refuses_every_cut(void **state) {
  (void)state;
  uint8_t data[256];
  size_t size = put_gzip(data, sizeof data, 'a', 1000);
  for (size_t cut = 3; cut < size; cut++) {
    tm_source src;
    tm_ctx_clear(&ctx);
    assert_int_equal(tm_source_from_buffer(&ctx, data, cut, &src), TM_E_FORMAT);
    assert_true(ctx.error.offset_bytes <= cut);
  }
  data[size - 1] ^= 0x40; // the trailer claims another size
  tm_source src;
  assert_int_equal(tm_source_from_buffer(&ctx, data, size, &src), TM_E_FORMAT);
}

static void refuse_bomb(const uint8_t *data, size_t size) {
  tm_source src;
  tm_ctx_clear(&ctx);
  used.peak_bytes = used.now_bytes;
  uint64_t before = used.now_bytes;
  ctx.max_output_bytes = 2 * MIB;
  assert_int_equal(tm_source_from_buffer(&ctx, data, size, &src), TM_E_LIMIT);
  assert_true(used.peak_bytes - before <= 4 * MIB); // the buffer while it grows, old and new
  ctx.max_output_bytes = 0;
}

static void stops_bombs_at_the_cap(void **state) {
  (void)state;
  size_t room = 4 * MIB;
  uint8_t *data = malloc(room);
  size_t one = put_gzip(data, room, 0, 64 * MIB); // 64 MiB in 64 KiB
  refuse_bomb(data, one);
  size_t many = 0; // 4096 members of 16 KiB
  while (many < 4096 * 45) many += put_gzip(data + many, room - many, 0, 16384);
  refuse_bomb(data, many);
  uint8_t *zeros = calloc(1, 64 * MIB);
  size_t packed = ZSTD_compress(data, room, zeros, 64 * MIB, 3);
  free(zeros);
  assert_false(ZSTD_isError(packed));
  refuse_bomb(data, packed);
  free(data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(joins_members, set_up, tear_down),
      cmocka_unit_test_setup_teardown(refuses_every_cut, set_up, tear_down),
      cmocka_unit_test_setup_teardown(stops_bombs_at_the_cap, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
