// floors: read analyze
// Listings against figures counted by hand, and the places where a Go compiler's names lead.
#include "analyze/report.h"
#include "analyze/sources.h"
#include "read/reader.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static tm_ctx ctx;
static char root[64], path[512];

static void put(const char *name, const char *text) {
  char dir[512];
  snprintf(path, sizeof path, "%s/%s", root, name);
  snprintf(dir, sizeof dir, "%s", path);
  for (char *s = strchr(dir + strlen(root) + 1, '/'); s; s = strchr(s + 1, '/')) {
    *s = '\0';
    mkdir(dir, 0700);
    *s = '/';
  }
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  snprintf(root, sizeof root, "/tmp/tm_list_XXXXXX");
  assert_non_null(mkdtemp(root));
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", root);
  assert_int_equal(system(command), 0);
  tm_ctx_fini(&ctx);
  return 0;
}

// main (line 3) calls work (lines 7 and 8); work starts at line 6.
static void fill(tm_profile *p) {
  static const char *const names[] = {"main.main", "main.work", "main.gone", "main.bare"};
  static const char *const files[] = {"app/main.go", "app/main.go", "app/gone.go", ""};
  static const int64_t lines[] = {3, 7, 8, 1, 0};
  static const uint32_t functions[] = {0, 1, 1, 2, 3};
  for (uint32_t i = 0; i < 4; i++) {
    tm_function f = {.id = i + 1, .start_line = i == 1 ? 6 : 0};
    assert_int_equal(tm_profile_intern(&ctx, p, names[i], strlen(names[i]), &f.name), TM_OK);
    assert_int_equal(tm_profile_intern(&ctx, p, files[i], strlen(files[i]), &f.file), TM_OK);
    assert_int_equal(tm_vec_push(&ctx, &p->functions, f), TM_OK);
  }
  for (uint32_t i = 0; i < 5; i++) {
    tm_location l = {.id = i + 1, .address = 0x1000 + i, .mapping = TM_PROFILE_NONE};
    l.line_begin = i;
    l.line_end = i + 1;
    assert_int_equal(tm_vec_push(&ctx, &p->locations, l), TM_OK);
    assert_int_equal(tm_vec_push(&ctx, &p->lines, (tm_line){functions[i], lines[i], 0}), TM_OK);
  }
  assert_int_equal(tm_profile_add_type(&ctx, p, "things", "count"), TM_OK);
  for (uint32_t leaf = 1; leaf < 5; leaf++) {
    int64_t value = leaf * 10;
    assert_int_equal(tm_vec_push(&ctx, &p->stack, leaf), TM_OK);
    assert_int_equal(tm_vec_push(&ctx, &p->stack, 0), TM_OK);
    assert_int_equal(tm_profile_end_sample(&ctx, p, &value), TM_OK);
  }
}

static tm_status list(const char *symbol, tm_bytes *text, tm_table *t) {
  tm_profile *p;
  tm_report_options o;
  tm_report_options_init(&o);
  o.symbol = symbol;
  o.source_path = root;
  assert_int_equal(tm_profile_new(&ctx, &p), TM_OK);
  fill(p);
  tm_status status = tm_report(&ctx, p, "list", &o, text, t);
  tm_profile_free(p);
  return status;
}

static void expect(const char *symbol, const char *want) {
  tm_bytes text = {0};
  assert_int_equal(list(symbol, &text, NULL), TM_OK);
  assert_int_equal(tm_bytes_append(&ctx, &text, "", 1), TM_OK);
  assert_string_equal((const char *)text.data, want);
  tm_bytes_free(&ctx, &text);
}

static const char source[] =
    "one\ntwo\nthree\n\nfive\r\nsix\nseven\n\teight\nnine\n10\n11\n12\n13\n14";

static void lists_lines_with_their_figures(void **state) {
  (void)state;
  put("app/main.go", source);
  expect("work", "Total: 100\n"
                 "ROUTINE ======================== main.work in app/main.go\n"
                 "        30         30 (flat, cum) 30.00% of Total\n"
                 "         .          .      6:six\n"
                 "        10         10      7:seven\n"
                 "        20         20      8:\teight\n"
                 "         .          .      9:nine\n"
                 "         .          .     10:10\n"
                 "         .          .     11:11\n"
                 "         .          .     12:12\n"
                 "         .          .     13:13\n");
}

static void says_what_is_missing(void **state) {
  (void)state;
  char want[512];
  snprintf(want, sizeof want,
           "Total: 100\nNo source information for main.bare\n"
           "ROUTINE ======================== main.gone in app/gone.go\n"
           "        30         30 (flat, cum) 30.00%% of Total\n"
           " Error: could not find file app/gone.go on path %s\n",
           root);
  expect("gone|bare", want);
  tm_bytes text = {0};
  assert_int_equal(list("nobody", &text, NULL), TM_E_ARG);
  assert_string_equal(ctx.error.message, "no matches found for regexp: nobody");
  tm_ctx_clear(&ctx);
  assert_int_equal(list("", &text, NULL), TM_E_ARG);
  tm_ctx_clear(&ctx);
  tm_bytes_free(&ctx, &text);
}

static void takes_an_address_and_fills_a_table(void **state) {
  (void)state;
  tm_table *t;
  put("app/main.go", source);
  assert_int_equal(tm_table_new(&ctx, &t), TM_OK);
  assert_int_equal(list("0x1000", NULL, t), TM_OK);
  assert_int_equal(tm_table_row_count(t), 8); // 1 .. 3 + 5
  assert_string_equal(tm_table_text(t, 2, 0), "main.main");
  assert_string_equal(tm_table_text(t, 2, 1), "app/main.go");
  assert_int_equal(tm_table_int(t, 2, 2), 3);
  assert_int_equal(tm_table_int(t, 2, 3), 0);
  assert_int_equal(tm_table_int(t, 2, 4), 100);
  assert_string_equal(tm_table_text(t, 2, 5), "three");
  assert_string_equal(tm_table_text(t, 4, 5), "five");
  tm_table_free(t);
}

static void found_at(const char *name, const char *where) {
  char buf[TM_SOURCE_PATH_MAX], search[128], want[512];
  snprintf(search, sizeof search, "/nowhere:%s/work/deep/er", root);
  snprintf(want, sizeof want, "%s/%s", root, where);
  assert_true(tm_source_find(name, search, buf));
  assert_string_equal(buf, want);
}

static void finds_what_go_compilers_name(void **state) {
  (void)state;
  char env[128], buf[TM_SOURCE_PATH_MAX];
  put("goroot/src/net/http/ours.go", "");
  put("goroot/src/vendor/golang.org/x/v.go", "");
  put("cache/github.com/!burnt!sushi/toml@v1.0.0/lex.go", "");
  put("cache/github.com/plain/m@v2.0.0+Incompatible/Upper.go", "");
  put("work/go.mod", "// us\nmodule example.com/app // x\n");
  put("work/in/ner.go", "");
  put("work/go.work", "go 1.22\nuse (\n\t./other\n)\n");
  put("work/other/go.mod", "module \"example.com/other\"\n");
  put("work/other/o.go", "");
  put("work/vendor/gopkg.in/yaml/y.go", "");
  snprintf(env, sizeof env, "%s/goroot", root);
  setenv("GOROOT", env, 1);
  snprintf(env, sizeof env, "%s/cache", root);
  setenv("GOMODCACHE", env, 1);
  found_at("net/http/ours.go", "goroot/src/net/http/ours.go");
  found_at("/opt/go1.22/x64/src/net/http/ours.go", "goroot/src/net/http/ours.go");
  found_at("vendor/golang.org/x/v.go", "goroot/src/vendor/golang.org/x/v.go");
  found_at("github.com/BurntSushi/toml@v1.0.0/lex.go",
           "cache/github.com/!burnt!sushi/toml@v1.0.0/lex.go");
  found_at("/root/go/pkg/mod/github.com/!burnt!sushi/toml@v1.0.0/lex.go",
           "cache/github.com/!burnt!sushi/toml@v1.0.0/lex.go");
  found_at("github.com/plain/m@v2.0.0+Incompatible/Upper.go",
           "cache/github.com/plain/m@v2.0.0+Incompatible/Upper.go");
  found_at("example.com/app/in/ner.go", "work/in/ner.go");
  found_at("example.com/other/o.go", "work/./other/o.go");
  found_at("/src/app/vendor/gopkg.in/yaml/y.go", "work/vendor/gopkg.in/yaml/y.go");
  found_at("gopkg.in/yaml@v3.0.1/y.go", "work/vendor/gopkg.in/yaml/y.go");
  assert_false(tm_source_find("example.com/apple/in/ner.go", root, buf));
  assert_false(tm_source_find("net/http/absent.go", root, buf));
  assert_false(tm_source_find("", "", buf));
  assert_false(tm_source_find("@", root, buf));
  assert_false(tm_source_find("/src/x/@/", root, buf));
}

static void ends_files_at_overlong_lines(void **state) {
  (void)state;
  tm_sources s;
  const tm_source_file *f, *again;
  static char text[70000];
  memset(text, 'x', sizeof text - 1);
  memcpy(text, "a\n", 2);
  put("long.c", text);
  assert_int_equal(tm_sources_init(&ctx, &s, root, ""), TM_OK);
  assert_int_equal(tm_sources_open(&ctx, &s, "long.c", &f), TM_OK);
  assert_null(f->error);
  assert_int_equal(f->line_count, 1);
  assert_null(tm_source_file_line(f, 0));
  assert_null(tm_source_file_line(f, 2));
  assert_int_equal(tm_sources_open(&ctx, &s, "/absent/x.c", &f), TM_OK);
  assert_string_equal(f->error, "open /absent/x.c: no such file or directory");
  assert_int_equal(tm_sources_open(&ctx, &s, "/absent/x.c", &again), TM_OK);
  assert_ptr_equal(f, again);
  tm_sources_fini(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(lists_lines_with_their_figures, set_up, tear_down),
      cmocka_unit_test_setup_teardown(says_what_is_missing, set_up, tear_down),
      cmocka_unit_test_setup_teardown(takes_an_address_and_fills_a_table, set_up, tear_down),
      cmocka_unit_test_setup_teardown(finds_what_go_compilers_name, set_up, tear_down),
      cmocka_unit_test_setup_teardown(ends_files_at_overlong_lines, set_up, tear_down)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
