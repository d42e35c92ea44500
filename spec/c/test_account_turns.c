// floors: base platform model read analyze symbol net live
// Series that take turns: as many readings at once as is allowed, every series gets its own, and
// who leaves while it waits or reads holds up nobody.
#include "base/clock.h"
#include "live/account_series.h"
#include "unit.h"

#include <unistd.h>
#include <uv.h>

enum { SERIES = 6 };

typedef struct one {
  tm_account_series *series;
  const tm_account_turns *turns;
  size_t readings;
} one;

static one all[SERIES];

static void on_sample(void *ud, const tm_sample *sample) {
  const one *o = ud;
  (void)sample;
  assert_true(o->turns->reading_count <= o->turns->most_readings);
}

static void on_done(void *ud) {
  ((one *)ud)->readings++;
}

static int64_t now_ns(void *ud) {
  (void)ud;
  return tm_clock_wall_ns();
}

static void on_trouble(void *ud, const char *text) {
  (void)ud;
  fail_msg("%s", text);
}

static void start(tm_ctx *ctx, uv_loop_t *loop, tm_account_turns *turns) {
  for (size_t i = 0; i < SERIES; i++) {
    all[i] = (one){NULL, turns, 0};
    const tm_account_series_options options = {.uv_loop = loop,
                                               .turns = turns,
                                               .pid = getpid(),
                                               .sample = on_sample,
                                               .read_done = on_done,
                                               .now_ns = now_ns,
                                               .trouble = on_trouble,
                                               .ud = &all[i]};
    assert_int_equal(tm_account_series_new(ctx, &options, &all[i].series), TM_OK);
    tm_account_series_plan(all[i].series, UINT64_C(3600000000000));
  }
}

static void end(uv_loop_t *loop) {
  for (size_t i = 0; i < SERIES; i++) tm_account_series_free(all[i].series);
  uv_run(loop, UV_RUN_DEFAULT);
  assert_int_equal(uv_loop_close(loop), 0);
}

// Runs the loop until all series but those in the set have been read once.
static void run_until_read(uv_loop_t *loop, uint32_t except) {
  for (;;) {
    size_t missing = 0;
    for (size_t i = 0; i < SERIES; i++) missing += !(except >> i & 1) && !all[i].readings;
    if (!missing) return;
    uv_run(loop, UV_RUN_ONCE);
  }
}

static void everyone_is_read(void **state) {
  (void)state;
  for (uint32_t most = 1; most <= 3; most++) {
    tm_ctx ctx;
    uv_loop_t loop;
    tm_account_turns turns = {.most_readings = most};
    tm_ctx_init(&ctx, NULL);
    uv_loop_init(&loop);
    start(&ctx, &loop, &turns);
    run_until_read(&loop, 0);
    assert_int_equal(turns.reading_count, 0);
    assert_null(turns.first);
    for (size_t i = 0; i < SERIES; i++) assert_int_equal(all[i].readings, 1);
    end(&loop);
    tm_ctx_fini(&ctx);
  }
}

static void who_leaves_holds_up_nobody(void **state) {
  (void)state;
  tm_ctx ctx;
  uv_loop_t loop;
  tm_account_turns turns = {.most_readings = 1};
  tm_ctx_init(&ctx, NULL);
  uv_loop_init(&loop);
  start(&ctx, &loop, &turns);
  while (!turns.first) uv_run(&loop, UV_RUN_NOWAIT); // one reads, the others wait
  assert_int_equal(turns.reading_count, 1);
  uint32_t gone = 0;
  for (size_t i = 0; i < SERIES; i += SERIES - 1) { // whoever reads, and one that waits
    tm_account_series_free(all[i].series);
    all[i].series = NULL;
    gone |= UINT32_C(1) << i;
  }
  tm_account_series_plan(all[3].series, 0); // waits no longer
  gone |= UINT32_C(1) << 3;
  run_until_read(&loop, gone);
  tm_account_series_plan(all[3].series, UINT64_C(3600000000000)); // waits again
  run_until_read(&loop, gone & ~(UINT32_C(1) << 3));
  end(&loop);
  assert_int_equal(turns.reading_count, 0);
  assert_null(turns.first);
  tm_ctx_fini(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everyone_is_read),
      cmocka_unit_test(who_leaves_holds_up_nobody),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
