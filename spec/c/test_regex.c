// floors: base
// The matcher against a table whose answers are RE2's, and patterns that would hang a backtracker.
#include "base/regex.h"
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

static bool match(const char *pattern, const char *text) {
  tm_regex *re;
  if (tm_regex_new(&ctx, pattern, strlen(pattern), &re) != TM_OK)
    fail_msg("%s: %s", pattern, ctx.error.message);
  bool found = tm_regex_match(re, text, strlen(text));
  tm_regex_free(re);
  return found;
}

static void answers_as_re2_does(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *text;
    bool found;
  } rows[] = {
      {"", "", true},
      {"", "abc", true},
      {"b", "abc", true},
      {"^b", "abc", false},
      {"c$", "abc", true},
      {"^abc$", "abc", true},
      {"a|x", "zzx", true},
      {"^(a|b)*$", "abba", true},
      {"^(a|b)*$", "abca", false},
      {"^a{2,3}$", "a", false},
      {"^a{2,3}$", "aa", true},
      {"^a{2,3}$", "aaaa", false},
      {"^a{0}b$", "b", true},
      {"^a{2,}$", "aaaaa", true},
      {"^(ab){2}$", "abab", true},
      {"^(ab){0,2}c$", "ababc", true},
      {"a{,2}", "a{,2}", true},
      {"x*", "aaa", true},
      {"^x+$", "", false},
      {"colou?r", "the color", true},
      {"[a-c]x", "bx", true},
      {"[^a-c]x", "bx", false},
      {"[]a]", "]", true},
      {"[a-]", "-", true},
      {"[[:digit:]]+z", "12z", true},
      {"[[:^digit:]]", "123", false},
      {"\\d\\w\\s\\D", "1a z", true},
      {"[\\d-]x", "-x", true},
      {"\\bfoo\\b", "a foo b", true},
      {"\\bfoo\\b", "afoo b", false},
      {"\\Boo", "foo", true},
      {"(?i)HeLLo", "hEllO", true},
      {"(?i:A)b", "ab", true},
      {"(?i:A)b", "aB", false},
      {"(?i)[^a]", "A", false},
      {"a.c", "a\nc", false},
      {"(?s)a.c", "a\nc", true},
      {"(?m)^b$", "a\nb\nc", true},
      {"^b$", "a\nb\nc", false},
      {"\\x41\\x{42}", "AB", true},
      {"\\Qa.b\\E+", "xa.bbb", true},
      {"\\Qa.b\\E", "axb", false},
      {"^.$", "\xc3\xa9", true},
      {"^..$", "\xc3\xa9", false},
      {"[\xc3\xa0-\xc3\xbf]", "\xc3\xa9", true},
      {"^.$", "\xff", true},
      {"runtime\\.(mallocgc|newobject)$", "runtime.newobject", true},
      {"(?P<name>a)(?:b)", "ab", true},
      {"a|b|", "zzz", true},
      {"(|a)b", "b", true},
      {"(a*)*b", "aaaab", true},
      {"a*?b", "aab", true},
      {"^\\101\\0$", "A", false},
      {"^\\1012$", "A2", true},
      {"^\\07$", "\a", true},
      {"^{a}{,2}$", "{a}{,2}", true},
  };
  for (size_t i = 0; i < TM_COUNT(rows); i++)
    if (match(rows[i].pattern, rows[i].text) != rows[i].found)
      fail_msg("\"%s\" on \"%s\" is not %d", rows[i].pattern, rows[i].text, rows[i].found);
}

static void refuses_with_a_reason(void **state) {
  (void)state;
  static const char *const wrong[] = {"(",        ")",
                                      "[a",       "*a",
                                      "a**",      "\\",
                                      "a{2,1}",   "a{1001}",
                                      "\\pL",     "[b-a]",
                                      "(?=a)",    "\\x4",
                                      "\\8",      "(?i)\xc3\xa9",
                                      "[[:no:]]", "((a{999}){999}){9}",
                                      "a\xff",    "\\1",
                                      "{2}",      "a*{2}",
                                      "a{2}{2}",  "\\\xc3\xa9"};
  for (size_t i = 0; i < TM_COUNT(wrong); i++) {
    tm_regex *re;
    tm_ctx_clear(&ctx);
    if (tm_regex_new(&ctx, wrong[i], strlen(wrong[i]), &re) != TM_E_ARG)
      fail_msg("\"%s\" was taken", wrong[i]);
    assert_non_null(strstr(ctx.error.message, "at byte"));
  }
}

// (a?){n}a{n} on a^n takes 2^n steps by backtracking, and n^2 here.
static void never_backtracks(void **state) {
  (void)state;
  char text[1001];
  memset(text, 'a', 1000);
  text[1000] = '\0';
  assert_true(match("^(a?){300}a{300}$", text + 500));
  assert_false(match("^(a+)+b", text));
  assert_false(match("^(a|a)*b$", text));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(answers_as_re2_does),
                                     cmocka_unit_test(refuses_with_a_reason),
                                     cmocka_unit_test(never_backtracks)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
