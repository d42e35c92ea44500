// floors: read analyze
// The call tree against sums taken by hand from every prefix of every stack, and the three forms of
// a flame graph: bounded, well-formed, and safe with names that are markup.
#include "analyze/calltree.h"
#include "analyze/flame.h"
#include "base/json_read.h"
#include "read/reader.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
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

typedef struct grown {
  tm_snapshot s;
  tm_view v;
  tm_flatcum names;
  tm_calltree tree;
} grown;

static void grow(grown *g, const char *text, tm_calltree_limits limits) {
  *g = (grown){0};
  tm_report_options o;
  tm_report_options_init(&o);
  tm_flatcum_options n = {0};
  assert_int_equal(tm_read_buffer(&ctx, text, strlen(text), "collapsed", &g->s), TM_OK);
  assert_int_equal(tm_view_init(&ctx, g->s.model, &o, &g->v), TM_OK);
  assert_int_equal(tm_flatcum_names(&ctx, &g->v, &n, &g->names), TM_OK);
  assert_int_equal(tm_calltree_init(&ctx, &g->names, limits, &g->tree), TM_OK);
}

static void fell(grown *g) {
  tm_calltree_fini(&g->tree);
  tm_flatcum_fini(&g->names);
  tm_view_fini(&g->v);
  tm_snapshot_fini(&g->s);
}

// The path of a node as "a;b;c".
static void path_of(grown *g, uint32_t node, char *out) {
  const tm_call_node *n = &g->tree.nodes.items[node];
  *out = '\0';
  if (!node) return;
  const char *label;
  path_of(g, n->parent, out);
  assert_int_equal(tm_flatcum_label(&ctx, &g->names, n->frame, &label), TM_OK);
  if (*out) strcat(out, ";");
  strcat(out, label);
}

enum { LINES = 400 };

typedef struct stacks {
  char lines[LINES][80];
  int64_t values[LINES];
  char text[LINES * 100];
} stacks;

static uint32_t seed;

static uint32_t next(uint32_t below) {
  seed = seed * 1664525u + 1013904223u;
  return (seed >> 8) % below;
}

// Random stacks over four names, recursion included.
static void make_stacks(stacks *s) {
  seed = 7;
  s->text[0] = '\0';
  for (int i = 0; i < LINES; i++) {
    uint32_t depth = 1 + next(9);
    s->lines[i][0] = '\0';
    for (uint32_t k = 0; k < depth; k++) {
      char name[4] = {k ? ';' : (char)('a' + next(4)), k ? (char)('a' + next(4)) : '\0', '\0', 0};
      strcat(s->lines[i], name);
    }
    s->values[i] = 1 + next(1000);
    char line[100];
    snprintf(line, sizeof line, "%s %lld\n", s->lines[i], (long long)s->values[i]);
    strcat(s->text, line);
  }
}

static void sums_every_prefix_of_every_stack(void **state) {
  (void)state;
  static stacks s;
  make_stacks(&s);
  grown g;
  grow(&g, s.text, (tm_calltree_limits){0});
  int64_t flats = 0, total = 0;
  for (int i = 0; i < LINES; i++) total += s.values[i];
  for (uint32_t n = 0; n < g.tree.nodes.count; n++) {
    char path[200];
    int64_t flat = 0, cum = 0;
    path_of(&g, n, path);
    size_t length = strlen(path);
    for (int i = 0; i < LINES; i++) {
      if (strncmp(s.lines[i], path, length) != 0) continue;
      char after = s.lines[i][length];
      if (n && after && after != ';') continue;
      cum += s.values[i];
      if (n && !after) flat += s.values[i];
    }
    assert_int_equal(g.tree.nodes.items[n].cum, cum);
    assert_int_equal(g.tree.nodes.items[n].flat, flat);
    assert_int_equal(g.tree.nodes.items[n].weight, cum);
    assert_true(n == 0 || g.tree.nodes.items[n].parent < n);
    flats += flat;
  }
  assert_int_equal(flats, total); // every stack ends in a node of its own path
  assert_int_equal(g.tree.nodes.items[0].cum, total);
  assert_false(g.tree.is_difference);
  fell(&g);
}

static void folding_keeps_totals(void **state) {
  (void)state;
  static stacks s;
  make_stacks(&s);
  grown whole, folded;
  grow(&whole, s.text, (tm_calltree_limits){0});
  grow(&folded, s.text, (tm_calltree_limits){.parts = 60, .depth_max = 4});
  uint64_t least = whole.tree.nodes.items[0].weight / 60;
  uint32_t expected = 0, found = 0;
  for (uint32_t n = 0; n < whole.tree.nodes.count; n++) {
    const tm_call_node *node = &whole.tree.nodes.items[n];
    if (node->weight < least || node->depth > 4) continue;
    char path[200], other[200];
    expected++;
    path_of(&whole, n, path);
    for (uint32_t m = 0; m < folded.tree.nodes.count; m++) {
      path_of(&folded, m, other);
      if (strcmp(path, other) != 0) continue;
      assert_int_equal(folded.tree.nodes.items[m].cum, node->cum);
      assert_int_equal(folded.tree.nodes.items[m].flat, node->flat);
      found++;
    }
  }
  assert_true(expected > 10 && expected < whole.tree.nodes.count);
  assert_int_equal(found, expected);
  assert_int_equal(folded.tree.nodes.count, expected);
  fell(&whole);
  fell(&folded);
}

// --- the forms ---

static void flame_of(const char *text, const char *form, tm_bytes *out) {
  tm_snapshot s = {0};
  tm_report_options o;
  tm_report_options_init(&o);
  assert_int_equal(tm_read_buffer(&ctx, text, strlen(text), "collapsed", &s), TM_OK);
  assert_int_equal(tm_flame(&ctx, s.model, &o, form, out), TM_OK);
  assert_int_equal(tm_bytes_append(&ctx, out, "", 1), TM_OK);
  out->size--;
  tm_snapshot_fini(&s);
}

static bool has(const tm_bytes *bytes, const char *text) {
  return strstr((const char *)bytes->data, text) != NULL;
}

static void writes_the_tree_as_json(void **state) {
  (void)state;
  tm_bytes out = {0};
  flame_of("a;b 5\na;c 7\na 1\nd 2\n", "json", &out);
  assert_true(has(&out,
                  "\"tree\":{\"name\":\"root\",\"flat\":0,\"cum\":15,\"children\":["
                  "{\"name\":\"a\",\"flat\":1,\"cum\":13,\"children\":["
                  "{\"name\":\"c\",\"flat\":7,\"cum\":7},{\"name\":\"b\",\"flat\":5,\"cum\":5}]},"
                  "{\"name\":\"d\",\"flat\":2,\"cum\":2}]}}\n"));
  tm_bytes_free(&ctx, &out);
}

static void hostile_names_stay_text(void **state) {
  (void)state;
  static const char text[] = "</script><script>alert(1)</script>;\"'&<b>\\ \x01\xff]]> 3\n";
  tm_bytes svg = {0}, html = {0}, json = {0};
  flame_of(text, "svg", &svg);
  flame_of(text, "html", &html);
  flame_of(text, "json", &json);
  assert_false(has(&svg, "<script"));
  assert_true(has(&svg, "&lt;script&gt;alert"));
  assert_false(has(&svg, "<b>"));
  assert_false(has(&html, "<script>alert"));
  assert_true(has(&html, "\\u003c/script\\u003e\\u003cscript\\u003ealert(1)"));
  tm_json_reader r;
  tm_json_reader_init(&r, &ctx, json.data, json.size);
  tm_json_event e;
  bool seen = false;
  while ((e = tm_json_reader_next(&r)) != TM_JSON_END && e != TM_JSON_ERROR)
    if (tm_json_reader_is(&r, "</script><script>alert(1)</script>")) seen = true;
  assert_int_equal(e, TM_JSON_END);
  assert_true(seen);
  tm_json_reader_fini(&r);
  tm_bytes_free(&ctx, &svg);
  tm_bytes_free(&ctx, &html);
  tm_bytes_free(&ctx, &json);
}

// 3,000 equal siblings with long names, and one stack of 2,000 frames: neither makes it large.
static void bounds_what_it_writes(void **state) {
  (void)state;
  tm_bytes text = {0};
  for (int i = 0; i < 3000; i++)
    assert_int_equal(tm_bytes_printf(&ctx, &text, "%0400d;leaf 10\n", i), TM_OK);
  for (int i = 0; i < 2000; i++)
    assert_int_equal(tm_bytes_printf(&ctx, &text, "%sdeep%d", i ? ";" : "", i % 7), TM_OK);
  assert_int_equal(tm_bytes_printf(&ctx, &text, " 30000\n"), TM_OK);
  assert_int_equal(tm_bytes_append(&ctx, &text, "", 1), TM_OK);
  static const char *const forms[] = {"svg", "html", "json"};
  for (size_t i = 0; i < TM_COUNT(forms); i++) {
    tm_bytes out = {0};
    flame_of((const char *)text.data, forms[i], &out);
    assert_true(out.size > 1000 && out.size <= 300000);
    assert_true(has(&out, "60000"));
    tm_bytes_free(&ctx, &out);
  }
  tm_bytes_free(&ctx, &text);
}

static void refuses_a_wrong_form(void **state) {
  (void)state;
  tm_snapshot s = {0};
  tm_bytes out = {0};
  tm_report_options o;
  tm_report_options_init(&o);
  assert_int_equal(tm_read_buffer(&ctx, "a 1\n", 4, "collapsed", &s), TM_OK);
  assert_int_equal(tm_flame(&ctx, s.model, &o, "png", &out), TM_E_ARG);
  o.focus = "(";
  assert_int_equal(tm_flame(&ctx, s.model, &o, "svg", &out), TM_E_ARG);
  tm_snapshot_fini(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(sums_every_prefix_of_every_stack, set_up, tear_down),
      cmocka_unit_test_setup_teardown(folding_keeps_totals, set_up, tear_down),
      cmocka_unit_test_setup_teardown(writes_the_tree_as_json, set_up, tear_down),
      cmocka_unit_test_setup_teardown(hostile_names_stay_text, set_up, tear_down),
      cmocka_unit_test_setup_teardown(bounds_what_it_writes, set_up, tear_down),
      cmocka_unit_test_setup_teardown(refuses_a_wrong_form, set_up, tear_down)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
