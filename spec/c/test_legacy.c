// floors: read analyze
// pprof's legacy forms. What the reference makes of the same bytes (go tool pprof -raw
// -symbolize=none, Go 1.26) is written down here as the expected text.
#include "analyze/report.h"
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

// Reads by evidence; the format must be that one, and "raw" must print exactly this.
static void expect_raw(const void *data, size_t size, const char *format, const char *raw) {
  tm_snapshot s = {0};
  tm_report_options o;
  tm_bytes text = {0};
  tm_ctx_clear(&ctx);
  if (tm_read_buffer(&ctx, data, size, NULL, &s) != TM_OK) fail_msg("%s", ctx.error.message);
  assert_string_equal(s.format, format);
  tm_report_options_init(&o);
  assert_int_equal(tm_report(&ctx, s.model, "raw", &o, &text, NULL), TM_OK);
  assert_int_equal(tm_bytes_append(&ctx, &text, "", 1), TM_OK);
  assert_string_equal((const char *)text.data, raw);
  tm_bytes_free(&ctx, &text);
  tm_snapshot_fini(&s);
}

static void expect_text(const char *text, const char *format, const char *raw) {
  expect_raw(text, strlen(text), format, raw);
}

static void refuse(const void *data, size_t size, const char *format, const char *why) {
  tm_snapshot s = {0};
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_read_buffer(&ctx, data, size, format, &s), TM_E_FORMAT);
  if (!strstr(ctx.error.message, why)) fail_msg("\"%s\" lacks \"%s\"", ctx.error.message, why);
  assert_true(ctx.error.offset_bytes <= size);
  tm_snapshot_fini(&s);
}

static void refuse_text(const char *text, const char *why) {
  refuse(text, strlen(text), "pprof-text", why);
}

// --- binary CPU profiles ---

static size_t put_words(uint8_t *to, unsigned size, bool big, const uint64_t *words, size_t count) {
  for (size_t w = 0; w < count; w++)
    for (unsigned i = 0; i < size; i++)
      to[w * size + (big ? size - 1 - i : i)] = (uint8_t)(words[w] >> (8 * i));
  return count * size;
}

// 0x501 stands second everywhere: the signal handler. The last sample has its leaf twice.
static const uint64_t cpu_words[] = {0, 3, 0,      10000, 0,              // header
                                     2, 3, 0x1000, 0x502, 0x2001,         //
                                     1, 4, 0x1000, 0x502, 0x3001, 0x2001, //
                                     5, 3, 0x1004, 0x502, 0x1004,         //
                                     0, 1, 0};
static const char cpu_map[] = "00001000-00004000 r-xp 00000000 08:01 12 /bin/x\n"
                              "00004000-00005000 rw-p 00003000 08:01 12 /bin/x\n";
static const char cpu_raw[] = "PeriodType: cpu nanoseconds\n"
                              "Period: 10000000\n"
                              "Samples:\n"
                              "samples/count cpu/nanoseconds\n"
                              "          2   20000000: 1 2 \n"
                              "          1   10000000: 1 3 2 \n"
                              "          5   50000000: 4 \n"
                              "Locations\n"
                              "     1: 0x1000 M=1 \n"
                              "     2: 0x2000 M=1 \n"
                              "     3: 0x3000 M=1 \n"
                              "     4: 0x1004 M=1 \n"
                              "     5: 0x1003 M=1 \n"
                              "Mappings\n"
                              "1: 0x1000/0x4000/0x0 /bin/x  \n";

static void reads_binary_cpu_profiles_of_every_word(void **state) {
  (void)state;
  for (unsigned form = 0; form < 4; form++) {
    uint8_t data[1024];
    size_t size = put_words(data, form & 1 ? 8 : 4, form & 2, cpu_words, TM_COUNT(cpu_words));
    memcpy(data + size, cpu_map, sizeof cpu_map - 1);
    expect_raw(data, size + sizeof cpu_map - 1, "pprof-cpu", cpu_raw);
  }
}

static void refuses_cut_binary_cpu_profiles(void **state) {
  (void)state;
  uint8_t data[1024];
  size_t size = put_words(data, 8, false, cpu_words, TM_COUNT(cpu_words));
  size_t refused = 0;
  for (size_t cut = 0; cut < size; cut++) {
    tm_snapshot s = {0};
    tm_ctx_clear(&ctx);
    if (tm_read_buffer(&ctx, data, cut, "pprof-cpu", &s) != TM_OK) refused++;
    tm_snapshot_fini(&s);
  }
  assert_int_equal(refused, size - 4); // but behind the header and behind each sample
  uint64_t deep[] = {0, 3, 0, 100, 0, 1, UINT64_MAX};
  size = put_words(data, 8, true, deep, TM_COUNT(deep));
  refuse(data, size, "pprof-cpu", "runs past the end");
}

// --- Java ---

static void reads_java(void **state) {
  (void)state;
  expect_text("--- contentionz 1 ---\nformat = java\nresolution = microseconds\n"
              "sampling period = 100\nms since reset = 6019923\n"
              "            1     1 @ 0x3 0x4\n"
              "           14     2 @ 0x4 0x5 0x6\n"
              " 0x3 com.example.Queue.take (Queue.java:12)\n"
              " 0x4 com.example.Main.run (Main.java:-1)\n"
              " 0x5 memcpy (/lib/x86/libc.so.6)\n"
              " 0x6 GC\n",
              "pprof-java",
              "PeriodType: contentions count\n"
              "Period: 100\n"
              "Duration: 1h40\n"
              "Samples:\n"
              "contentions/count delay/microseconds\n"
              "        100        100: 1 2 \n"
              "        200       1400: 2 3 4 \n"
              "Locations\n"
              "     1: 0x0 M=1 com.example.Queue.take Queue.java:12:0 s=0\n"
              "     2: 0x0 M=1 com.example.Main.run Main.java:0:0 s=0\n"
              "     3: 0x0 M=1 memcpy libc.so.6:0:0 s=0\n"
              "     4: 0x0 M=1 GC :0:0 s=0\n"
              "Mappings\n"
              "1: 0x0/0x0/0x0   \n");
  expect_text("--- heapz 1 ---\nformat = java\nresolution = bytes\n"
              " 7048 1 @ 0x10 0x20\n 4752 2 @ 0x20\n\n 0x10 a (A.java:1)\n",
              "pprof-java",
              "PeriodType:  \n"
              "Period: 0\n"
              "Samples:\n"
              "inuse_objects/count inuse_space/bytes\n"
              "         74     527819: 1 2 \n"
              "                bytes:[7048]\n"
              "        442    1050953: 2 \n"
              "                bytes:[2376]\n"
              "Locations\n"
              "     1: 0x0 a A.java:1:0 s=0\n"
              "     2: 0x0 M=1 \n"
              "Mappings\n"
              "1: 0x0/0xffffffffffffffff/0x0   \n");
}

static void refuses_damaged_java(void **state) {
  (void)state;
  static const struct {
    const char *text, *why;
  } cases[] = {
      {"--- heapz 1 ---\nformat = c\n", "lack"},
      {"--- heapz 1 ---\nformat = java\n 1 1 @ 0x1\n", "without a resolution"},
      {"--- heapz 1 ---\nformat = java\nresolution = bytes\n 1 0 @ 0x1\n", "without objects"},
      {"--- heapz 1 ---\nformat = java\nresolution = bytes\n 01 1 @ 0x1\n", "another shape"},
      {"--- heapz 1 ---\nformat = java\nresolution = bytes\n 1 1 @ 0x1 y\n", "list of addresses"},
      {"--- heapz 1 ---\nformat = java\nsampling period = 3\n", "lack"},
  };
  for (size_t i = 0; i < TM_COUNT(cases); i++)
    refuse(cases[i].text, strlen(cases[i].text), "pprof-java", cases[i].why);
}

// --- text ---

static void reads_heaps_of_tcmalloc(void **state) {
  (void)state;
  expect_text("heap profile:      3:      320 [     5:   1000] @ heapz_v2/1024\n"
              "     1:      128 [     3:      600] @ 0x1001 0x2001\n"
              "     0:        0 [     2:      400] @ 0x1001\n"
              "MAPPED_LIBRARIES:\n"
              "build=/opt/app\n"
              "1000-2000 r-xp 00000000 00:00 0 [heap]\n"
              "  2000-3000: $build/bin (@40) abc12\n",
              "pprof-text",
              "PeriodType: space bytes\n"
              "Period: 1024\n"
              "Samples:\n"
              "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes\n"
              "         16       3381          8       1089: 1 2 \n"
              "                bytes:[128]\n"
              "         11       2254          0          0: 1 \n"
              "                bytes:[200]\n"
              "Locations\n"
              "     1: 0x1000 M=2 \n"
              "     2: 0x2000 M=1 \n"
              "Mappings\n"
              "1: 0x2000/0x3000/0x40 /opt/app/bin abc12 \n"
              "2: 0x1000/0x2000/0x0 [heap]  \n");
}

static void reads_growth_without_scaling(void **state) {
  (void)state;
  expect_text("heap profile:      2:      320 [     5:   1000] @ growthz\n"
              "     1:      128 [     3:      600] @ 0x1001\n"
              "     0:        0 [     1:       64] @ 0x1001\n",
              "pprof-text",
              "PeriodType: space bytes\n"
              "Period: 1\n"
              "Samples:\n"
              "objects/count space/bytes\n"
              "          1        128: 1 \n"
              "                bytes:[128]\n"
              "          0          0: 1 \n"
              "                bytes:[0]\n"
              "Locations\n"
              "     1: 0x1000 M=1 \n"
              "Mappings\n"
              "1: 0x0/0xffffffffffffffff/0x0   \n");
  expect_text("heap profile:      2:      320 [     5:   1000] @ fragmentationz\n"
              "     1:      128 [     3:      600] @ 0x1001\n",
              "pprof-text",
              "PeriodType: space bytes\n"
              "Period: 1\n"
              "Samples:\n"
              "objects/count space/bytes\n"
              "          1        128: 1 \n"
              "                bytes:[128]\n"
              "Locations\n"
              "     1: 0x1000 M=1 \n"
              "Mappings\n"
              "1: 0x0/0xffffffffffffffff/0x0   \n");
}

static void reads_threads(void **state) {
  (void)state;
  expect_text("--- threadz 1 ---\n\n"
              "--- Thread 7f94 (name: main/14748) stack: ---\n"
              "  PC:  0x40: f(int)\n  0x41\n  0x10 0x20\n"
              "--- Thread 7f95 (name: x/14749) stack: ---\n [same as previous thread]\n"
              "--- Memory map: ---\n"
              "  00000010-00000020 r-xp 00000000 00:00 1 /bin/x\n"
              " 30-40: /lib/y.so (@20) abc\n",
              "pprof-text",
              "PeriodType: thread count\n"
              "Period: 1\n"
              "Samples:\n"
              "thread/count\n"
              "          2: 1 1 2 3 \n"
              "Locations\n"
              "     1: 0x40 M=3 \n"
              "     2: 0xf M=3 \n"
              "     3: 0x1f M=1 \n"
              "Mappings\n"
              "1: 0x10/0x20/0x0 /bin/x  \n"
              "2: 0x30/0x40/0x20 /lib/y.so abc \n"
              "3: 0x0/0xffffffffffffffff/0x0   \n");
}

// Variables, log prefixes, pieces of a split mapping, ranges without a separator; after the first
// address that no mapping holds, pieces are not looked for any more.
static void reads_odd_memory_maps(void **state) {
  (void)state;
  expect_text("heap profile: 1: 8 [1: 8] @ heapprofile\n"
              "1: 8 [1: 8] @ 0x2801 0x1801 0x99999 0x3801 0x5011 0x7002\n"
              "MAPPED_LIBRARIES:\n"
              "W0101 main.cc:12] root=/srv\n"
              "main.cc:13] 2000-3000 r-xp 00001000 08:01 7 $root/lib/libx.so.1\n"
              "4000-5000 r-xp 00001000 08:01 7 /opt/y.so\n"
              "5000-60000 r-xp 00002000 08:01 7 /opt/y.so\n"
              "70000x71000 /joined\n"
              "00007000 00:00 5 /bin/app\n",
              "pprof-text",
              "PeriodType: space bytes\n"
              "Period: 1\n"
              "Samples:\n"
              "objects/count space/bytes\n"
              "          1          8: 1 2 3 4 5 6 \n"
              "                bytes:[8]\n"
              "Locations\n"
              "     1: 0x2800 M=3 \n"
              "     2: 0x1800 M=3 \n"
              "     3: 0x99998 M=5 \n"
              "     4: 0x3800 M=5 \n"
              "     5: 0x5010 M=2 \n"
              "     6: 0x7001 M=1 \n"
              "Mappings\n"
              "1: 0x7000/0x71000/0x0 /joined  \n"
              "2: 0x4000/0x60000/0x1000 /opt/y.so  \n"
              "3: 0x1000/0x3000/0x0 /srv/lib/libx.so.1  \n"
              "4: 0x700/0x0/0x0 /bin/app  \n"
              "5: 0x0/0xffffffffffffffff/0x0   \n");
}

static void keeps_the_numbers_beside_the_samples(void **state) {
  (void)state;
  static const char text[] = "heap profile: 1: 8 [1: 8] @ heap/2\n1: 8 [1: 8] @ 0x11\n\n"
                             "# runtime.MemStats\n# Alloc = 123\n# Stack = 98304 / 131072\n"
                             "# PauseNs = [1 2 3]\n# GCCPUFraction = 0.25\n# DebugGC = false\n"
                             "# MaxRSS = 4096\n";
  static const struct {
    const char *name;
    double value;
  } want[] = {{"Alloc", 123},
              {"Stack", 98304},
              {"StackSys", 131072},
              {"GCCPUFraction", 0.25},
              {"MaxRSS", 4096}};
  tm_snapshot s = {0};
  assert_int_equal(tm_read_buffer(&ctx, text, sizeof text - 1, NULL, &s), TM_OK);
  const tm_profile *p = s.model;
  assert_int_equal(p->stats.count, TM_COUNT(want));
  for (size_t i = 0; i < TM_COUNT(want); i++) {
    assert_string_equal(tm_profile_text(p, p->stats.items[i].name), want[i].name);
    assert_true(p->stats.items[i].value == want[i].value);
  }
  tm_snapshot_fini(&s);
}

// 10 objects of 100 bytes at one in 1000 bytes: 1 / (1 - exp(-0.1)) = 10.508 times as many.
static void shares_jemallocs_stacks_among_threads(void **state) {
  (void)state;
  expect_text(
      "heap_v2/1000\n  t*: 13: 1300 [0: 0]\n  t0: 12: 1200 [0: 0]\n"
      "@ 0x1001 0x2001\n  t*: 10: 1000 [0: 0]\n  t0: 7: 700 [0: 0]\n  t3: 3: 300 [0: 0] io\n"
      "@ 0x2001\n  t*: 3: 300 [0: 0]\n  t0: 2: 200 [0: 0]\n"
      "\nMAPPED_LIBRARIES:\n00001000-00004000 r-xp 00000000 08:01 12 /bin/x\n",
      "jemalloc",
      "PeriodType: space bytes\n"
      "Period: 1000\n"
      "Samples:\n"
      "inuse_objects/count inuse_space/bytes\n"
      "         73       7355: 1 2 \n"
      "                thread:[0]\n"
      "         32       3153: 1 2 \n"
      "                thread:[3] thread_name:[io]\n"
      "         21       2101: 2 \n"
      "                thread:[0]\n"
      "         10       1051: 2 \n"
      "Locations\n"
      "     1: 0x1000 M=1 \n"
      "     2: 0x2000 M=1 \n"
      "Mappings\n"
      "1: 0x1000/0x4000/0x0 /bin/x  \n");
  static const char *const bad[] = {"heap_v2/0\n", "heap_v2/9\n@ 0x1\n", "heap_v2/9\n t*: 1\n",
                                    "heap_v2/9\n@ 0x1\n t*: 1: 9 [0: 0]\n t0: 2: 9 [0: 0]\n"};
  for (size_t i = 0; i < TM_COUNT(bad); i++) refuse(bad[i], strlen(bad[i]), "jemalloc", "");
}

static void refuses_what_the_reference_would_skip(void **state) {
  (void)state;
  refuse_text("heap profile: 1: 8 [1: 8] @ heap/2\n0: 8 [1: 8] @ 0x1\n", "bytes without objects");
  refuse_text("heap profile: 1: 8 [1: 8] @ heap/2\n1: 8 [1: 8] @ 0x1 0xG\n", "list of addresses");
  refuse_text("heap profile: 1: 8 [1: 8] @ heap/2\n1: 8 [1: 8] @ 0xAB\n", "list of addresses");
  refuse_text("heap profile: 1: 8 [1: 8] @ heap_v2/4611686018427387904\n"
              "4611686018427387904: 4611686018427387904 [1: 8] @ 0x1\n",
              "more than 64 bits");
  refuse_text("goroutine profile: total 1\n010 @ 0x1\n", "another shape");
  refuse_text("--- mutex:\ncycles/second=0x10\n", "contention profiles lack");
  refuse_text("--- mutex:\ncycles/second=1\n-5 1 @ 0x1\n", "another shape");
  refuse_text("--- threadz 1 ---\n\n--- Thread 7 (name: x/1) stack: ---\n 0x1\n", "cut");
  refuse_text("\nheap profile: 1: 8 [1: 8] @ heap/2\n", "begins like this");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_binary_cpu_profiles_of_every_word),
      cmocka_unit_test(refuses_cut_binary_cpu_profiles),
      cmocka_unit_test(reads_java),
      cmocka_unit_test(refuses_damaged_java),
      cmocka_unit_test(reads_heaps_of_tcmalloc),
      cmocka_unit_test(reads_growth_without_scaling),
      cmocka_unit_test(reads_threads),
      cmocka_unit_test(reads_odd_memory_maps),
      cmocka_unit_test(keeps_the_numbers_beside_the_samples),
      cmocka_unit_test(shares_jemallocs_stacks_among_threads),
      cmocka_unit_test(refuses_what_the_reference_would_skip),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
