// floors: analyze
// Flat and cum of a profile that is large enough for two threads, against counting by hand.
#include "analyze/flatcum.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FUNCTIONS = 500, SAMPLES = 90000, DEPTH = 30 };

static uint64_t state = 88172645463325252u;
static uint32_t random_below(uint32_t n) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state % n);
}

// Location i: function i, and function (i + 1) inlined into it for every third.
static tm_profile *make(tm_ctx *ctx, int64_t *flat, int64_t *cum) {
  tm_profile *p;
  assert_int_equal(tm_profile_new(ctx, &p), TM_OK);
  assert_int_equal(tm_profile_add_type(ctx, p, "samples", "count"), TM_OK);
  for (uint32_t i = 0; i < FUNCTIONS; i++) {
    char name[16];
    tm_function f = {.id = i + 1};
    int n = snprintf(name, sizeof name, "f%u", i);
    assert_int_equal(tm_profile_intern(ctx, p, name, (size_t)n, &f.name), TM_OK);
    assert_int_equal(tm_vec_push(ctx, &p->functions, f), TM_OK);
    tm_location loc = {
        .id = i + 1, .mapping = TM_PROFILE_NONE, .line_begin = (uint32_t)p->lines.count};
    if (i % 3 == 0)
      assert_int_equal(tm_vec_push(ctx, &p->lines, (tm_line){.function = (i + 1) % FUNCTIONS}),
                       TM_OK);
    assert_int_equal(tm_vec_push(ctx, &p->lines, (tm_line){.function = i}), TM_OK);
    loc.line_end = (uint32_t)p->lines.count;
    assert_int_equal(tm_vec_push(ctx, &p->locations, loc), TM_OK);
  }
  static uint32_t seen[FUNCTIONS];
  for (uint32_t s = 0; s < SAMPLES; s++) {
    int64_t value = 1 + random_below(9);
    for (uint32_t d = 0; d < DEPTH; d++) {
      uint32_t i = random_below(FUNCTIONS), inner = i % 3 == 0 ? (i + 1) % FUNCTIONS : i;
      assert_int_equal(tm_vec_push(ctx, &p->stack, i), TM_OK);
      if (!d) flat[inner] += value;
      if (seen[inner] != s + 1) cum[inner] += value;
      seen[inner] = s + 1;
      if (seen[i] != s + 1) cum[i] += value;
      seen[i] = s + 1;
    }
    assert_int_equal(tm_profile_end_sample(ctx, p, &value), TM_OK);
  }
  return p;
}

static void counts_a_great_profile_as_by_hand(void **unused) {
  (void)unused;
  tm_ctx ctx;
  tm_view view = {0};
  tm_flatcum nodes = {0};
  tm_report_options o;
  static int64_t flat[FUNCTIONS], cum[FUNCTIONS];
  tm_ctx_init(&ctx, NULL);
  tm_report_options_init(&o);
  tm_profile *p = make(&ctx, flat, cum);
  assert_int_equal(tm_view_init(&ctx, p, &o, &view), TM_OK);
  assert_int_equal(tm_flatcum_init(&ctx, &view, &(tm_flatcum_options){0}, &nodes), TM_OK);
  assert_int_equal(nodes.nodes.count, FUNCTIONS);
  for (size_t i = 0; i < nodes.nodes.count; i++) {
    const tm_node *n = &nodes.nodes.items[i];
    uint32_t f = (uint32_t)atoi(tm_view_text(&view, n->name) + 1);
    assert_int_equal(n->flat, flat[f]);
    assert_int_equal(n->cum, cum[f]);
  }
  tm_flatcum_fini(&nodes);
  tm_view_fini(&view);
  tm_profile_free(p);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(counts_a_great_profile_as_by_hand)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
