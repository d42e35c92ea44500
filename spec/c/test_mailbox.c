// floors: base platform model read write analyze symbol net live engine
// Posts run in order and once, in slices, whoever posts meanwhile; none is lost without memory.
#include "base/clock.h"
#include "engine/mailbox.h"
#include "unit.h"

#include <stdlib.h>

typedef struct note {
  tm_mailbox *box;
  int number;
  bool posts, slow;
} note;

static int seen[1000];
static size_t seen_count;

static void read_note(void *arg) {
  note *n = arg;
  seen[seen_count++] = n->number;
  if (n->posts) {
    n->posts = false;
    n->number += 100;
    tm_mailbox_post(n->box, read_note, n);
  }
  if (n->slow) {
    uint64_t until = tm_clock_mono_ns() + 2000000;
    while (tm_clock_mono_ns() < until) {
    }
  }
}

static void expect_order(const int *numbers, size_t count) {
  assert_int_equal(seen_count, count);
  for (size_t i = 0; i < count; i++) assert_int_equal(seen[i], numbers[i]);
}

static void in_order_with_what_comes_meanwhile_last(void **state) {
  (void)state;
  tm_ctx ctx;
  tm_mailbox box;
  tm_ctx_init(&ctx, NULL);
  tm_mailbox_init(&box, &ctx);
  note notes[] = {{&box, 1, true, false}, {&box, 2, false, false}, {&box, 3, false, false}};
  seen_count = 0;
  for (size_t i = 0; i < TM_COUNT(notes); i++) tm_mailbox_post(&box, read_note, &notes[i]);
  while (tm_mailbox_run(&box, 1000000000)) {
  }
  expect_order((const int[]){1, 2, 3, 101}, 4);
  tm_mailbox_fini(&box);
  tm_ctx_fini(&ctx);
}

static void in_slices(void **state) {
  (void)state;
  tm_ctx ctx;
  tm_mailbox box;
  tm_ctx_init(&ctx, NULL);
  tm_mailbox_init(&box, &ctx);
  note notes[] = {{&box, 1, true, true}, {&box, 2, false, true}, {&box, 3, false, true}};
  seen_count = 0;
  for (size_t i = 0; i < TM_COUNT(notes); i++) tm_mailbox_post(&box, read_note, &notes[i]);
  // Each is longer than the slice: one a turn, however slow the machine is.
  size_t turns = 1;
  for (; tm_mailbox_run(&box, 1000000); turns++) assert_true(seen_count <= turns);
  assert_true(turns >= 4);
  expect_order((const int[]){1, 2, 3, 101}, 4);
  tm_mailbox_fini(&box);
  tm_ctx_fini(&ctx);
}

static void all_at_the_end(void **state) {
  (void)state;
  tm_ctx ctx;
  tm_mailbox box;
  tm_ctx_init(&ctx, NULL);
  tm_mailbox_init(&box, &ctx);
  note notes[] = {{&box, 1, false, true}, {&box, 2, false, true}, {&box, 3, false, false}};
  seen_count = 0;
  tm_mailbox_post(&box, read_note, &notes[0]);
  tm_mailbox_post(&box, read_note, &notes[1]);
  tm_mailbox_run(&box, 1000000); // leaves the second
  tm_mailbox_post(&box, read_note, &notes[2]);
  tm_mailbox_run_all(&box);
  expect_order((const int[]){1, 2, 3}, 3);
  assert_false(tm_mailbox_run(&box, 1000000));
  tm_mailbox_fini(&box);
  tm_ctx_fini(&ctx);
}

static void *no_memory(void *ud, void *p, size_t old_size, size_t new_size) {
  (void)ud, (void)old_size;
  if (!new_size) free(p);
  return NULL;
}

static void without_memory(void **state) {
  (void)state;
  tm_ctx ctx;
  tm_mailbox box;
  const tm_allocator none = {.realloc_fn = no_memory};
  tm_ctx_init(&ctx, NULL);
  ctx.alloc = none;
  tm_mailbox_init(&box, &ctx);
  note n = {&box, 7, false, false};
  seen_count = 0;
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < TM_MAILBOX_SPARE; i++) tm_mailbox_post(&box, read_note, &n);
    while (tm_mailbox_run(&box, 1000000)) {
    }
  }
  assert_int_equal(seen_count, 3 * TM_MAILBOX_SPARE);
  tm_mailbox_fini(&box);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(in_order_with_what_comes_meanwhile_last),
      cmocka_unit_test(in_slices),
      cmocka_unit_test(all_at_the_end),
      cmocka_unit_test(without_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
