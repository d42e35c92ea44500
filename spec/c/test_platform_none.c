// floors: base
// The blank port compiles on every machine and answers "unsupported" to everything, so that a new
// port can begin as its copy. It is compiled in here because the build links the real one.
#include "platform/common.c"
#include "platform/none/none.c"
#include "unit.h"

static tm_ctx ctx;

static void expect_unsupported(tm_status status) {
  assert_int_equal(status, TM_E_UNSUPPORTED);
  assert_true(ctx.error.message[0]);
  tm_ctx_clear(&ctx);
}

static void count_row(void *ud, const char *what, bool works, const char *detail,
                      const char *remedy) {
  assert_true(*what && *detail && *remedy && !works);
  ++*(int *)ud;
}

static void says_unsupported_everywhere(void **state) {
  (void)state;
  tm_plat *plat = NULL;
  tm_proc *proc = NULL;
  tm_process_info info;
  tm_reading reading;
  const tm_bulk_row *rows;
  const int64_t *pids;
  size_t count;
  int fd, checks = 0;
  uint64_t window_ns;
  tm_ctx_init(&ctx, NULL);
  expect_unsupported(tm_plat_open(&ctx, NULL, NULL, &plat));
  expect_unsupported(tm_plat_list(&ctx, plat, &pids, &count));
  expect_unsupported(tm_plat_describe(&ctx, plat, 1, &info));
  expect_unsupported(tm_proc_open(&ctx, plat, 1, &proc));
  expect_unsupported(tm_proc_read(&ctx, proc, 1, &reading));
  expect_unsupported(tm_proc_reset_peak(&ctx, proc));
  expect_unsupported(tm_proc_each_handle(&ctx, proc, NULL, NULL));
  expect_unsupported(tm_proc_each_mapping(&ctx, proc, NULL, NULL));
  expect_unsupported(tm_proc_each_memory(&ctx, proc, NULL, NULL));
  expect_unsupported(tm_plat_bulk(&ctx, plat, &rows, &count));
  expect_unsupported(tm_plat_read_system(&ctx, plat, 1, &reading));
  expect_unsupported(tm_plat_pressure_fd(&ctx, plat, 0, 1, 1, &fd, &window_ns));
  expect_unsupported(tm_proc_exit_fd(&ctx, proc, &fd));
  expect_unsupported(tm_proc_act(&ctx, proc, TM_PLAT_ACT_SIGNAL, 15));
  assert_int_equal(tm_proc_identity(proc).start_ticks, 0);
  tm_proc_withheld(proc, NULL, NULL);
  tm_plat_doctor(plat, count_row, &checks);
  assert_int_equal(checks, 1);
  tm_proc_close(proc);
  tm_plat_close(plat);
  tm_ctx_fini(&ctx);
}

static void clears_one_group_alone(void **state) {
  (void)state;
  tm_reading reading;
  for (size_t i = 0; i < TM_SIGNAL_COUNT; i++) reading.value[i] = 1;
  tm_reading_clear_groups(&reading, TM_GROUP_BIT(TM_GROUP_STATM));
  for (size_t i = 0; i < TM_SIGNAL_COUNT; i++)
    assert_int_equal(isnan(reading.value[i]),
                     tm_signal_describe((tm_signal)i)->group == TM_GROUP_STATM);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(says_unsupported_everywhere),
                                     cmocka_unit_test(clears_one_group_alone)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
