// floors: read
// V8 profiles and the JSON parser under them.
#include "base/json_read.h"
#include "model/profile.h"
#include "read/reader.h"
#include "unit.h"

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

static tm_status read_text(const char *text, tm_snapshot *s) {
  tm_ctx_clear(&ctx);
  return tm_read_buffer(&ctx, text, strlen(text), NULL, s);
}

static const char *frame(const tm_profile *p, uint32_t at) {
  const tm_location *loc = &p->locations.items[p->stack.items[at]];
  return tm_profile_text(p, p->functions.items[p->lines.items[loc->line_begin].function].name);
}

#define FRAME(name)                                                                                \
  "\"callFrame\":{\"functionName\":\"" name "\",\"url\":\"x.js\",\"lineNumber\":3}"

// A sample lasts until the next one.
static void gives_time_to_the_node_that_ran(void **state) {
  (void)state;
  tm_snapshot s = {0};
  assert_int_equal(
      read_text(
          "{\"nodes\":[{\"id\":1," FRAME("(root)") ",\"children\":[2,3]},{\"id\":2," FRAME(
              "a") ",\"children\":[4]},{\"id\":3," FRAME("b") "},{\"id\":4," FRAME("c") "}],"
                                                                                        "\"startTim"
                                                                                        "e\":0,"
                                                                                        "\"endTime"
                                                                                        "\":60,"
                                                                                        "\"samples"
                                                                                        "\":[4,2,4,"
                                                                                        "3],"
                                                                                        "\"timeDelt"
                                                                                        "as\":[5,"
                                                                                        "10,20,30]"
                                                                                        "}",
          &s),
      TM_OK);
  const tm_profile *p = s.model;
  assert_string_equal(s.format, "v8-profile");
  assert_int_equal(p->sample_count, 3);
  static const int64_t want[] = {1, 20000, 1, 0, 2, 40000}; // a, b, c: hits and ns
  assert_memory_equal(p->values.items, want, sizeof want);
  assert_int_equal(p->stack.count, 4);
  assert_string_equal(frame(p, 2), "c");
  assert_string_equal(frame(p, 3), "a");
  assert_int_equal(p->lines.items[0].line, 4);
  assert_true(p->duration_ns == 60000);
  tm_snapshot_fini(&s);
}

static void reads_a_heap_tree(void **state) {
  (void)state;
  tm_snapshot s = {0};
  assert_int_equal(
      read_text("{\"head\":{" FRAME(
                    "(root)") ",\"selfSize\":0,\"id\":1,\"children\":"
                              "[{\"selfSize\":7," FRAME("a") ",\"id\":2,\"children\":[{" FRAME(
                                  "") ",\"selfSize\":9,\"id\":3,\"children\":[]}]}]},\"samples\":[{"
                                      "\"size\":"
                                      "99,\"nodeId\":3}]}",
                &s),
      TM_OK);
  const tm_profile *p = s.model;
  assert_int_equal(p->sample_count, 2);
  assert_int_equal(p->values.items[0], 7);
  assert_int_equal(p->values.items[1], 9);
  assert_string_equal(frame(p, 1), "(anonymous)");
  assert_string_equal(frame(p, 2), "a");
  tm_snapshot_fini(&s);
}

static void refuses_circles_and_strangers(void **state) {
  (void)state;
  static const char *const wrong[] = {
      "{\"nodes\":[{\"id\":1,\"hitCount\":1," FRAME("a") ",\"children\":[1]}]}",
      "{\"nodes\":[{\"id\":1," FRAME("a") ",\"children\":[5]}]}",
      "{\"nodes\":[{\"id\":1," FRAME("a") "}],\"samples\":[9],\"timeDeltas\":[1]}",
      "{\"nodes\":[{\"id\":1," FRAME("a") "}",
      "{\"nodes\":{\"callFrame\":1}}",
  };
  for (size_t i = 0; i < TM_COUNT(wrong); i++) {
    tm_snapshot s = {0};
    if (read_text(wrong[i], &s) == TM_OK) fail_msg("taken: %s", wrong[i]);
    assert_true(ctx.error.message[0] != '\0');
    tm_snapshot_fini(&s);
  }
}

static bool parses(const char *text) {
  static tm_json_reader json;
  tm_ctx_clear(&ctx);
  tm_json_reader_init(&json, &ctx, text, strlen(text));
  tm_json_event e;
  while ((e = tm_json_reader_next(&json)) > TM_JSON_ERROR) continue;
  tm_json_reader_fini(&json);
  return e == TM_JSON_END;
}

static void parses_json_and_nothing_else(void **state) {
  (void)state;
  static const char *const right[] = {"1",
                                      " [] ",
                                      "{}",
                                      "[1,2.5e3,-0]",
                                      "{\"a\":[{\"b\":null}]}",
                                      "\"\\u0041\\n\\ud83d\\ude00\"",
                                      "[true,false]",
                                      "[[],{}]"};
  static const char *const wrong[] = {"",         "[",     "[1",        "[1 2]",   "{\"a\"}",
                                      "{\"a\":}", "{a:1}", "[}",        "tru",     "\"\\x\"",
                                      "\"a",      "1 2",   "{\"a\":1]", "[\"\n\"]"};
  for (size_t i = 0; i < TM_COUNT(right); i++)
    if (!parses(right[i])) fail_msg("refused: %s", right[i]);
  for (size_t i = 0; i < TM_COUNT(wrong); i++)
    if (parses(wrong[i])) fail_msg("taken: %s", wrong[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(gives_time_to_the_node_that_ran),
                                     cmocka_unit_test(reads_a_heap_tree),
                                     cmocka_unit_test(refuses_circles_and_strangers),
                                     cmocka_unit_test(parses_json_and_nothing_else)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
