// floors: read write analyze
// speedscope files: both kinds of profiles, several in one file, and what we write read back.
#include "read/reader.h"
#include "unit.h"
#include "write/collapsed.h"
#include "write/speedscope.h"

#include <string.h>

static tm_ctx ctx;

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  tm_ctx_fini(&ctx);
  return 0;
}

#define FRAMES                                                                                     \
  "\"shared\":{\"frames\":[{\"name\":\"main\",\"file\":\"a.c\",\"line\":3},{\"name\":\"f\"},"      \
  "{\"name\":\"g\",\"col\":7}]}"

static void expect_collapsed(const tm_profile *p, uint32_t column, const char *want) {
  tm_bytes out = {0};
  assert_int_equal(tm_write_collapsed(&ctx, p, column, &out), TM_OK);
  assert_int_equal(tm_bytes_append(&ctx, &out, "", 1), TM_OK);
  assert_string_equal((const char *)out.data, want);
  tm_bytes_free(&ctx, &out);
}

static const tm_profile *read_text(const char *text, tm_snapshot *s) {
  tm_ctx_clear(&ctx);
  if (tm_read_buffer(&ctx, text, strlen(text), NULL, s) != TM_OK) fail_msg("%s", ctx.error.message);
  assert_string_equal(s->format, "speedscope");
  return s->model;
}

static void reads_sampled_profiles(void **state) {
  (void)state;
  tm_snapshot s = {0};
  const tm_profile *p = read_text(
      "{\"profiles\":[{\"samples\":[[0,1],[0,1,2],[]],\"weights\":[0.5,2,1e-3],\"unit\":"
      "\"seconds\","
      "\"type\":\"sampled\",\"name\":\"t\",\"startValue\":0,\"endValue\":2.501}]," FRAMES "}",
      &s);
  expect_collapsed(p, 0, "main;f 500000000\nmain;f;g 2000000000\n");
  assert_string_equal(tm_profile_text(p, p->types.items[0].unit), "nanoseconds");
  assert_int_equal(p->labels.count, 0);
  assert_int_equal(p->values.items[2], 1000000); // without a stack
  assert_int_equal(p->lines.items[p->locations.items[1].line_begin].line, 3);
  tm_snapshot_fini(&s);
}

static void plays_events(void **state) {
  (void)state;
  tm_snapshot s = {0};
  const tm_profile *p = read_text(
      "{" FRAMES ",\"profiles\":[{\"type\":\"evented\",\"name\":\"t\",\"unit\":\"milliseconds\","
      "\"startValue\":10,\"endValue\":20,\"events\":["
      "{\"type\":\"O\",\"frame\":0,\"at\":10},{\"type\":\"O\",\"frame\":1,\"at\":11},"
      "{\"type\":\"C\",\"frame\":1,\"at\":15},{\"type\":\"O\",\"frame\":2,\"at\":15},"
      "{\"type\":\"C\",\"frame\":2,\"at\":15.5},{\"type\":\"C\",\"frame\":0,\"at\":20}]}]}",
      &s);
  expect_collapsed(p, 0, "main 1000000\nmain;f 4000000\nmain;g 500000\nmain 4500000\n");
  tm_snapshot_fini(&s);
}

static void tells_profiles_apart(void **state) {
  (void)state;
  tm_snapshot s = {0};
  const tm_profile *p = read_text(
      "{" FRAMES ",\"profiles\":["
      "{\"type\":\"sampled\",\"name\":\"one\",\"unit\":\"none\",\"samples\":[[0]],\"weights\":[3]},"
      "{\"type\":\"sampled\",\"name\":\"two\",\"unit\":\"none\",\"samples\":[[1]],\"weights\":[4]},"
      "{\"type\":\"evented\",\"name\":\"three\",\"unit\":\"bytes\",\"events\":["
      "{\"type\":\"O\",\"frame\":0,\"at\":0},{\"type\":\"C\",\"frame\":0,\"at\":5}]}]}",
      &s);
  assert_int_equal(p->types.count, 2);
  expect_collapsed(p, 0, "main 3\nf 4\n");
  expect_collapsed(p, 1, "main 5\n");
  assert_int_equal(p->labels.count, 3);
  assert_string_equal(tm_profile_text(p, p->labels.items[1].key), "profile");
  assert_string_equal(tm_profile_text(p, p->labels.items[1].text), "two");
  tm_snapshot_fini(&s);
}

static void reads_what_we_write(void **state) {
  (void)state;
  static const char text[] = "heap profile: 3: 30 [5: 70] @ heap/2\n"
                             "1: 10 [2: 20] @ 0x11 0x21\n2: 20 [3: 50] @ 0x21\n";
  tm_snapshot s = {0}, again = {0};
  tm_bytes once = {0};
  assert_int_equal(tm_read_buffer(&ctx, text, sizeof text - 1, NULL, &s), TM_OK);
  assert_int_equal(tm_write_speedscope(&ctx, s.model, "x", &once), TM_OK);
  assert_int_equal(tm_read_buffer(&ctx, once.data, once.size, NULL, &again), TM_OK);
  const tm_profile *p = s.model, *q = again.model;
  assert_int_equal(q->types.count, 4);
  assert_int_equal(q->sample_count, 2);
  assert_int_equal(q->labels.count, 0);
  assert_memory_equal(q->values.items, p->values.items, 8 * sizeof(int64_t));
  assert_string_equal(tm_profile_text(q, q->types.items[3].type), "inuse_space");
  expect_collapsed(q, 1, "0x20;0x10 20\n0x20 50\n");
  tm_snapshot_fini(&s);
  tm_snapshot_fini(&again);
  tm_bytes_free(&ctx, &once);
}

static void refuses_damage(void **state) {
  (void)state;
  static const struct {
    const char *text, *why;
  } cases[] = {
      {"{" FRAMES ",\"profiles\":[]}", "without profiles"},
      {"{" FRAMES ",\"profiles\":[{\"samples\":[[0]],\"weights\":[]}]}", "as many samples"},
      {"{" FRAMES ",\"profiles\":[{\"samples\":[[9]],\"weights\":[1]}]}", "frame 9 of 3"},
      {"{" FRAMES ",\"profiles\":[{\"samples\":[[-1]],\"weights\":[1]}]}", "index of a frame"},
      {"{" FRAMES ",\"profiles\":[{\"samples\":[0],\"weights\":[1]}]}", "array was expected"},
      {"{" FRAMES ",\"profiles\":[{\"type\":\"evented\",\"events\":[{\"type\":\"C\",\"frame\":0,"
       "\"at\":1}]}]}",
       "closes frame 0"},
      {"{" FRAMES ",\"profiles\":[{\"type\":\"evented\",\"events\":[{\"type\":\"O\",\"frame\":0,"
       "\"at\":2},{\"type\":\"C\",\"frame\":0,\"at\":1}]}]}",
       "back in time"},
      {"{" FRAMES ",\"profiles\":[{\"type\":", "ends early"},
      {"{" FRAMES "} {}", ""},
  };
  for (size_t i = 0; i < TM_COUNT(cases); i++) {
    tm_snapshot s = {0};
    tm_ctx_clear(&ctx);
    const char *text = cases[i].text;
    assert_int_not_equal(tm_read_buffer(&ctx, text, strlen(text), NULL, &s), TM_OK);
    if (ctx.error.status != TM_E_FORMAT || !strstr(ctx.error.message, cases[i].why))
      fail_msg("\"%s\" lacks \"%s\"", ctx.error.message, cases[i].why);
    assert_true(s.partial);
    tm_snapshot_fini(&s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_sampled_profiles), cmocka_unit_test(plays_events),
      cmocka_unit_test(tells_profiles_apart),   cmocka_unit_test(reads_what_we_write),
      cmocka_unit_test(refuses_damage),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
