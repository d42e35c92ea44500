// floors: analyze
// disasm and weblist over code that is made up here: three functions at 0x100, 0x200 and 0x300 of a
// binary that is mapped at 0x10000, with figures counted by hand.
#include "analyze/report.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

// --- the code ---

static const tm_code_function functions[] = {{"app::alpha", "_ZN3app5alphaEv", 0x100, 0x140},
                                             {"beta", "beta", 0x200, 0x210},
                                             {"gone", "gone", 0x300, 0x310}};

static tm_status list_functions(tm_ctx *c, void *ud, uint32_t mapping, tm_code_visit visit,
                                void *visit_ud) {
  (void)ud, (void)mapping;
  for (size_t i = 0; i < TM_COUNT(functions); i++) TM_TRY(visit(c, visit_ud, &functions[i]));
  return TM_OK;
}

static bool local_address(tm_ctx *c, void *ud, uint32_t mapping, uint64_t address, uint64_t *out) {
  (void)c, (void)ud, (void)mapping;
  *out = address - 0x10000;
  return address >= 0x10000;
}

// alpha is lines 10.. of a.c; its second instruction is beta, inlined from line 11.
static tm_status frames(tm_ctx *c, void *ud, uint32_t mapping, uint64_t address, tm_code_frame *out,
                        uint32_t room, uint32_t *out_count) {
  (void)c, (void)ud, (void)mapping;
  *out_count = 0;
  if (room < 2) return TM_OK;
  if (address == 0x104) out[(*out_count)++] = (tm_code_frame){"beta", "b.c", 21, 0, 20};
  bool alpha = address < 0x200;
  out[(*out_count)++] = (tm_code_frame){alpha ? "app::alpha" : "beta", alpha ? "a.c" : "b.c",
                                        address == 0x104 ? 11
                                        : alpha          ? 10
                                                         : 21,
                                        0, 0};
  return TM_OK;
}

static tm_status disassemble(tm_ctx *c, void *ud, uint32_t mapping, uint64_t begin, uint64_t end,
                             bool intel, tm_instructions *out) {
  static const char *const texts[] = {"push", "add <x>&", "ret"};
  (void)ud, (void)mapping, (void)end;
  for (uint32_t i = 0; i < 3; i++) {
    tm_instruction one = {begin + 4 * i, intel ? "intel" : texts[i], "", "", 0};
    TM_TRY(tm_vec_push(c, out, one));
  }
  return TM_OK;
}

static const tm_code_source code = {NULL, list_functions, local_address, frames, disassemble};

// --- the profile ---

static uint32_t intern(tm_profile *p, const char *text) {
  uint32_t id;
  assert_int_equal(tm_profile_intern(&ctx, p, text, strlen(text), &id), TM_OK);
  return id;
}

// Samples at alpha+0 (1), alpha+5 (10, within the second instruction) and beta+0 (100) called from
// alpha+8.
static tm_profile *make_profile(void) {
  static const uint64_t addresses[] = {0x10100, 0x10105, 0x10200, 0x10108};
  static const uint32_t of[] = {0, 0, 1, 0}, leaves[] = {0, 1, 2};
  static const int64_t lines[] = {10, 11, 21, 10}, values[] = {1, 10, 100};
  tm_profile *p;
  assert_int_equal(tm_profile_new(&ctx, &p), TM_OK);
  assert_int_equal(tm_profile_add_type(&ctx, p, "n", "count"), TM_OK);
  tm_mapping m = {.id = 1, .start = 0x10000, .limit = 0x20000, .file = intern(p, "/bin/app")};
  assert_int_equal(tm_vec_push(&ctx, &p->mappings, m), TM_OK);
  tm_function alpha = {1, intern(p, "app::alpha"), intern(p, "_ZN3app5alphaEv"), intern(p, "a.c"),
                       0};
  tm_function beta = {2, intern(p, "beta"), intern(p, "beta"), intern(p, "b.c"), 0};
  assert_int_equal(tm_vec_push(&ctx, &p->functions, alpha), TM_OK);
  assert_int_equal(tm_vec_push(&ctx, &p->functions, beta), TM_OK);
  for (uint32_t i = 0; i < 4; i++) {
    tm_location l = {.id = i + 1, .address = addresses[i], .line_begin = i, .line_end = i + 1};
    assert_int_equal(tm_vec_push(&ctx, &p->locations, l), TM_OK);
    assert_int_equal(tm_vec_push(&ctx, &p->lines, (tm_line){of[i], lines[i], 0}), TM_OK);
  }
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(tm_vec_push(&ctx, &p->stack, leaves[i]), TM_OK);
    if (i == 2) assert_int_equal(tm_vec_push(&ctx, &p->stack, 3), TM_OK);
    assert_int_equal(tm_profile_end_sample(&ctx, p, &values[i]), TM_OK);
  }
  return p;
}

static tm_status report(const char *verb, const char *symbol, const tm_code_source *from,
                        tm_bytes *text, tm_table *t) {
  tm_profile *p = make_profile();
  tm_report_options o;
  tm_report_options_init(&o);
  o.symbol = symbol;
  o.code = from;
  o.source_path = "/nonexistent";
  text->size = 0;
  tm_status status = tm_report(&ctx, p, verb, &o, text, t);
  tm_profile_free(p);
  if (status == TM_OK) assert_int_equal(tm_bytes_append(&ctx, text, "", 1), TM_OK);
  return status;
}

// --- the tests ---

static void shows_instructions_with_figures(void **state) {
  (void)state;
  tm_bytes text = {0};
  assert_int_equal(report("disasm", "alpha", &code, &text, NULL), TM_OK);
  assert_string_equal((const char *)text.data,
                      "Total: 111\n"
                      "ROUTINE ======================== app::alpha\n"
                      "    AKA ======================== _ZN3app5alphaEv\n"
                      "        11        111 (flat, cum)   100% of Total\n"
                      "         1          1        100: push                                    "
                      ";app::alpha a.c:10\n"
                      "        10         10        104: add <x>&                                "
                      ";app::alpha a.c:11\n"
                      "         .        100        108: ret                                     "
                      ";app::alpha a.c:10\n");
  tm_bytes_free(&ctx, &text);
}

static void fills_a_table(void **state) {
  (void)state;
  tm_bytes text = {0};
  tm_table *t;
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  assert_int_equal(report("disasm", "0x10203", &code, &text, t), TM_OK);
  assert_int_equal(tm_table_row_count(t), 3);
  assert_string_equal(tm_table_text(t, 0, 0), "beta");
  assert_int_equal(tm_table_int(t, 0, 1), 0x200);
  assert_int_equal(tm_table_int(t, 0, 2), 100);
  assert_string_equal(tm_table_text(t, 1, 4), "add <x>&");
  tm_table_free(t);
  tm_bytes_free(&ctx, &text);
}

static void expect_error(const char *verb, const char *symbol, const tm_code_source *from,
                         tm_status status, const char *message) {
  tm_bytes text = {0};
  assert_int_equal(report(verb, symbol, from, &text, NULL), status);
  assert_non_null(strstr(ctx.error.message, message));
  tm_ctx_clear(&ctx);
  tm_bytes_free(&ctx, &text);
}

static void says_what_it_did_not_find(void **state) {
  (void)state;
  expect_error("disasm", "nobody", &code, TM_E_ARG, "no matches found for regexp nobody");
  expect_error("disasm", "0x99", &code, TM_E_ARG, "no matches found for address 0x99");
  expect_error("disasm", "0x10302", &code, TM_E_ARG, "do not have samples");
  expect_error("disasm", "alpha", NULL, TM_E_UNSUPPORTED, "binary");
  expect_error("disasm", "", &code, TM_E_ARG, "needs a regexp");
  expect_error("weblist", "nobody", &code, TM_E_ARG, "no matches found for regexp: nobody");
}

// Line 11 of a.c holds the inlined instruction; so does line 21 of b.c, when beta is asked for too.
static void lays_instructions_under_lines(void **state) {
  (void)state;
  tm_bytes text = {0};
  tm_table *t;
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  assert_int_equal(report("weblist", "alpha", &code, &text, t), TM_OK);
  assert_int_equal(tm_table_row_count(t), 2);
  assert_int_equal(tm_table_int(t, 0, 2), 10);
  assert_int_equal(tm_table_int(t, 0, 3), 1);
  assert_int_equal(tm_table_int(t, 0, 4), 101);
  assert_int_equal(tm_table_int(t, 1, 2), 11);
  assert_int_equal(tm_table_int(t, 1, 3), 10);
  assert_string_equal(tm_table_text(t, 1, 5), "???");
  const char *page = (const char *)text.data;
  assert_non_null(strstr(page, "<!DOCTYPE html>"));
  assert_non_null(strstr(page, "add &lt;x&gt;&amp; <b>b.c:21</b>"));
  assert_null(strstr(page, "add <x>"));
  assert_null(strstr(page, "http"));
  tm_table_free(t);
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  assert_int_equal(report("weblist", "alpha|beta", &code, &text, t), TM_OK);
  assert_int_equal(tm_table_row_count(t), 3);
  assert_string_equal(tm_table_text(t, 2, 1), "b.c");
  assert_int_equal(tm_table_int(t, 2, 3), 110);
  tm_table_free(t);
  tm_bytes_free(&ctx, &text);
}

static void lists_lines_without_code(void **state) {
  (void)state;
  tm_bytes text = {0};
  tm_table *t;
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  assert_int_equal(report("weblist", "alpha|beta", NULL, &text, t), TM_OK);
  assert_int_equal(tm_table_row_count(t), 3);
  assert_int_equal(tm_table_int(t, 0, 3), 1);
  assert_int_equal(tm_table_int(t, 1, 3), 10);
  assert_int_equal(tm_table_int(t, 2, 3), 100);
  assert_null(strstr((const char *)text.data, "<details>"));
  tm_table_free(t);
  tm_bytes_free(&ctx, &text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(shows_instructions_with_figures, set_up, tear_down),
      cmocka_unit_test_setup_teardown(fills_a_table, set_up, tear_down),
      cmocka_unit_test_setup_teardown(says_what_it_did_not_find, set_up, tear_down),
      cmocka_unit_test_setup_teardown(lays_instructions_under_lines, set_up, tear_down),
      cmocka_unit_test_setup_teardown(lists_lines_without_code, set_up, tear_down)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
