// floors: base platform model read analyze symbol net live
// The gather: what a JVM's words say, and readings of children whose memory is known: blocks of
// malloc of both kinds, anonymous mappings, shared memory, files.
#include "live/account_impl.h"
#include "unit.h"

#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MB (UINT64_C(1) << 20)

static tm_ctx ctx;

static int setup(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  tm_ctx_fini(&ctx);
  return 0;
}

// ---- a JVM's words ----

static const char g1_17[] = " garbage-first heap   total 389120K, used 62721K [0x00000000e0000000, "
                            "0x0000000100000000)\n  region size 1024K, 41 young (41984K)\n"
                            " Metaspace       used 134K, committed 320K, reserved 1114112K\n"
                            "  class space    used 4K, committed 128K, reserved 1048576K\n";
static const char g1_25[] =
    "garbage-first heap   total reserved 524288K, committed 389120K, used 74099K "
    "[0x00000000e0000000, 0x0000000100000000)\n region size 1024K, 57 young (58368K)\n";
static const char parallel_17[] =
    " PSYoungGen      total 76288K, used 6561K [0x6ab000000, 0x6b0500000, 0x700000000)\n"
    "  eden space 65536K, 10% used [0x6ab000000,0x6ab668510,0x6af000000)\n"
    " ParOldGen       total 175104K, used 0K [0x601000000, 0x60bb00000, 0x6ab000000)\n"
    "  object space 175104K, 0% used [0x601000000,0x601000000,0x60bb00000)\n";
static const char codecache[] =
    "CodeHeap 'non-profiled nmethods': size=120036Kb used=15Kb max_used=15Kb free=120021Kb\n"
    " bounds [0x00007f6247ec7000, 0x00007f6248137000, 0x00007f624f400000]\n"
    "CodeHeap 'non-nmethods': size=5692Kb used=1328Kb max_used=1328Kb free=4363Kb\n"
    " bounds [0x00007f6247938000, 0x00007f6247ba8000, 0x00007f6247ec7000]\n";
static const char native[] =
    "Total: reserved=2007133KB, committed=470657KB\n"
    "       mmap:   reserved=1995772KB, committed=459296KB\n"
    "-                 Java Heap (reserved=524288KB, committed=389120KB)\n"
    "                            (mmap: reserved=524288KB, committed=389120KB) \n"
    "-                        GC (reserved=57533KB, committed=52517KB)\n"
    "                            (malloc=5237KB #1555) (peak=5242KB #1558) \n"
    "                            (mmap: reserved=52296KB, committed=47280KB) \n"
    "-                  Internal (reserved=4239KB, committed=4239KB)\n"
    "                            (mmap: reserved=36KB, committed=36KB) \n";
static const char info[] =
    "Compressed class space mapped at: 0x000000002c000000-0x000000006c000000, reserved size: 1\n"
    "Card table byte_map: [0x00007f625c818000,0x00007f625c918000] _byte_map_base: 0x7f625c118000\n"
    " Prev Bits: [0x00007f4ae5a00000, 0x00007f4ae6200000)\n"
    "Event: 0.3 Protecting memory [0x00007f623ccfe000,0x00007f623cd02000] with modes 0\n";

static tm_account_answer answer;

static void read_text(const char *text, tm_account_ranges *places) {
  assert_int_equal(tm_account_read_jvm(&ctx, text, &answer, places), TM_OK);
}

static void clear_answer(void) {
  answer.ranges.count = 0;
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) answer.told[i] = NAN;
}

static void check_range(const tm_account_ranges *ranges, size_t i, uint64_t start, uint64_t end,
                        tm_owner owner) {
  assert_true(i < ranges->count);
  assert_true(ranges->items[i].start == start && ranges->items[i].end == end);
  assert_int_equal(ranges->items[i].owner, owner);
}

static void reads_the_heap_of_each_collector(void **state) {
  (void)state;
  clear_answer();
  read_text(g1_17, NULL);
  assert_float_equal(answer.told[TM_OWNER_JVM_HEAP], 389120. * 1024, 0);
  assert_float_equal(answer.told[TM_OWNER_JVM_METASPACE], 320. * 1024, 0);
  assert_int_equal(answer.ranges.count, 1);
  check_range(&answer.ranges, 0, 0xe0000000, 0x100000000, TM_OWNER_JVM_HEAP);
  clear_answer();
  read_text(g1_25, NULL);
  assert_float_equal(answer.told[TM_OWNER_JVM_HEAP], 389120. * 1024, 0);
  assert_int_equal(answer.ranges.count, 1);
  clear_answer();
  read_text(parallel_17, NULL);
  assert_float_equal(answer.told[TM_OWNER_JVM_HEAP], (76288. + 175104) * 1024, 0);
  assert_int_equal(answer.ranges.count, 2);
  check_range(&answer.ranges, 0, 0x6ab000000, 0x700000000, TM_OWNER_JVM_HEAP);
  check_range(&answer.ranges, 1, 0x601000000, 0x6ab000000, TM_OWNER_JVM_HEAP);
}

static void reads_code_native_memory_and_places(void **state) {
  (void)state;
  clear_answer();
  read_text(codecache, NULL);
  assert_int_equal(answer.ranges.count, 2);
  check_range(&answer.ranges, 0, 0x7f6247ec7000, 0x7f624f400000, TM_OWNER_JVM_CODE);
  assert_float_equal(answer.told[TM_OWNER_JVM_CODE], 2. * 0x270000, 0);
  read_text(native, NULL);
  assert_float_equal(answer.told[TM_OWNER_JVM_OTHER], (47280. + 36) * 1024, 0);
  assert_true(isnan(answer.told[TM_OWNER_JVM_HEAP]));
  tm_account_ranges places = {0};
  read_text(info, &places);
  assert_int_equal(places.count, 3);
  check_range(&places, 0, 0x2c000000, 0x6c000000, TM_OWNER_JVM_METASPACE);
  check_range(&places, 1, 0x7f625c818000, 0x7f625c918000, TM_OWNER_JVM_OTHER);
  check_range(&places, 2, 0x7f4ae5a00000, 0x7f4ae6200000, TM_OWNER_JVM_OTHER);
  tm_vec_free(&ctx, &places);
  tm_vec_free(&ctx, &answer.ranges);
}

// Any piece of any text, and nonsense, is read without harm.
static void reads_pieces_without_harm(void **state) {
  (void)state;
  const char *const texts[] = {g1_17, g1_25, parallel_17, codecache, native, info};
  tm_account_ranges places = {0};
  char piece[2048];
  for (size_t t = 0; t < TM_COUNT(texts); t++)
    for (size_t n = 0; n < strlen(texts[t]); n += 3) {
      clear_answer();
      places.count = 0;
      memcpy(piece, texts[t] + n / 2, n - n / 2);
      piece[n - n / 2] = '\0';
      read_text(piece, NULL);
      read_text(piece, &places);
    }
  tm_vec_free(&ctx, &places);
  tm_vec_free(&ctx, &answer.ranges);
}

// ---- a Go program's words ----

static const char expvar_page[] = "{\"cmdline\":[],\"memstats\":{\"HeapInuse\":3000000,"
                                  "\"HeapIdle\":900000,\"HeapReleased\":400000,"
                                  "\"StackSys\":50000,\"MSpanSys\":1,\"MCacheSys\":2,"
                                  "\"BuckHashSys\":3,\"GCSys\":4,\"OtherSys\":5}}";
static const char metrics_page[] =
    "# TYPE go_memstats_heap_inuse_bytes gauge\ngo_memstats_heap_inuse_bytes 2e+06\n"
    "go_memstats_heap_idle_bytes 500000\ngo_memstats_heap_released_bytes 100000\n"
    "go_memstats_stack_sys_bytes 40000\ngo_memstats_gc_sys_bytes 7000\n";
static const char classes_page[] = "go_memory_classes_heap_objects_bytes 1000000\n"
                                   "go_memory_classes_heap_unused_bytes 200000\n"
                                   "go_memory_classes_heap_free_bytes 300000\n"
                                   "go_memory_classes_heap_stacks_bytes 30000\n"
                                   "go_memory_classes_metadata_other_bytes 6000\n";
static const char profile_page[] =
    "heap profile: 0: 0 [0: 0] @ heap/1048576\n\n# runtime.MemStats\n# Alloc = 20784800\n"
    "# HeapIdle = 3563520\n# HeapInuse = 21307392\n# HeapReleased = 3489792\n"
    "# Stack = 294912 / 300000\n# MSpan = 105760 / 114240\n# MCache = 4592 / 16072\n"
    "# BuckHashSys = 1444003\n# GCSys = 2315520\n# OtherSys = 478829\n# NextGC = 33736554\n";

typedef struct pages {
  const char *vars, *metrics, *profile; // NULL = 404
} pages;

static void serve(int listener, const pages *served) {
  char request[4096], head[128];
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    ssize_t n = fd < 0 ? 0 : read(fd, request, sizeof request - 1);
    request[n > 0 ? n : 0] = '\0';
    const char *page = strstr(request, "GET /debug/vars ")                 ? served->vars
                       : strstr(request, "GET /metrics ")                  ? served->metrics
                       : strstr(request, "GET /debug/pprof/heap?debug=1 ") ? served->profile
                                                                           : NULL;
    int size = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n",
                        page ? "200 OK" : "404 Not Found", page ? strlen(page) : 0);
    if (fd >= 0 && write(fd, head, (size_t)size) == size && page)
      (void)!write(fd, page, strlen(page));
    close(fd);
  }
}

static pid_t start_server(const pages *served, char address[64]) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t size = sizeof at;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&at, size), 0);
  assert_int_equal(listen(listener, 8), 0);
  assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
  snprintf(address, 64, "http://127.0.0.1:%u", ntohs(at.sin_port));
  pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve(listener, served);
  }
  close(listener);
  return pid;
}

static void ask_go(const pages *served, uint32_t *hint) {
  char address[64];
  pid_t pid = start_server(served, address);
  const tm_endpoint endpoint = {.address = address};
  clear_answer();
  answer.source = "";
  answer.problem[0] = '\0';
  tm_account_ask_go(&ctx, &endpoint, 2000000000, hint, &answer);
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

static void check_go(const char *source, double inuse, double idle, double stacks, double own) {
  assert_string_equal(answer.source, source);
  assert_string_equal(answer.problem, "");
  assert_float_equal(answer.told[TM_OWNER_GO_HEAP_INUSE], inuse, 0);
  assert_float_equal(answer.told[TM_OWNER_GO_HEAP_IDLE], idle, 0);
  assert_float_equal(answer.told[TM_OWNER_GO_STACKS], stacks, 0);
  assert_float_equal(answer.told[TM_OWNER_GO_RUNTIME], own, 0);
}

static void asks_go_where_it_answers(void **state) {
  (void)state;
  uint32_t hint = 0;
  ask_go(&(pages){expvar_page, metrics_page, profile_page}, &hint);
  check_go("expvar", 3000000, 500000, 50000, 15);
  ask_go(&(pages){NULL, metrics_page, profile_page}, &hint);
  check_go("metrics", 2000000, 400000, 40000, 7000);
  assert_int_equal(hint, 1); // asked first from now on
  ask_go(&(pages){expvar_page, classes_page, NULL}, &hint);
  check_go("metrics", 1200000, 300000, 30000, 6000);
  ask_go(&(pages){NULL, "other_metric 1\n", profile_page}, &hint);
  check_go("pprof", 21307392, 73728, 300000, 114240 + 16072 + 1444003 + 2315520 + 478829);
  hint = 0;
  ask_go(&(pages){"{}", "x y z", NULL}, &hint);
  assert_string_equal(answer.source, "");
  assert_non_null(strstr(answer.problem, "expvar: no memory statistics"));
  assert_non_null(strstr(answer.problem, "pprof: HTTP 404"));
  assert_true(isnan(answer.told[TM_OWNER_GO_HEAP_INUSE]));
}

// ---- a process ----

static void *map(size_t bytes, int flags) {
  char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);
  memset(at, 1, bytes);
  return at;
}

// Written by hand as malloc writes it: under ASan malloc is another.
static void map_as_malloc(size_t blocks, size_t bytes) {
  uint64_t *at = map(blocks * bytes, MAP_PRIVATE);
  for (size_t i = 0; i < blocks; i++) {
    at[i * bytes / 8] = 0;
    at[i * bytes / 8 + 1] = bytes | 2;
  }
}

// The kernel shows the first two as one mapping: the blocks begin somewhere in it.
static void fill(void) {
  map_as_malloc(12, 2 * MB);
  map(20 * MB, MAP_PRIVATE);
  map(16 * MB, MAP_SHARED);
}

static pid_t child(void) {
  int ready[2];
  char byte = 0;
  assert_int_equal(pipe(ready), 0);
  pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fill();
    if (write(ready[1], &byte, 1) == 1)
      for (;;) pause();
    _exit(1);
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  close(ready[1]);
  return pid;
}

static void end_child(pid_t pid) {
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
}

static double rows_sum(const tm_account *account) {
  double sum = 0;
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) sum += account->rows[i].bytes;
  return sum;
}

static void accounts_for_a_process(void **state) {
  (void)state;
  pid_t pid = child();
  const tm_account_gather_options options = {.pid = pid};
  tm_account_gather *gather;
  assert_int_equal(tm_account_gather_open(&ctx, &options, &gather), TM_OK);
  tm_account account;
  for (int i = 0; i < 2; i++) {
    assert_int_equal(tm_account_gather_read(&ctx, gather, &account), TM_OK);
    const tm_account_facts *facts = tm_account_gather_facts(gather);
    assert_int_equal(facts->runtime, TM_RUNTIME_NATIVE);
    assert_true(fabs(account.rss_bytes - facts->rss_bytes) < 0.01 * facts->rss_bytes + 256 * 1024);
    assert_true(fabs(rows_sum(&account) - account.rss_bytes) < 1);
    assert_true(facts->chunk_count >= 12);
    assert_true(account.rows[TM_OWNER_C_HEAP].bytes >= 24 * MB);
    assert_true(account.rows[TM_OWNER_SHARED].bytes >= 16 * MB);
    assert_true(account.rows[TM_OWNER_UNEXPLAINED].bytes >= 20 * MB);
    assert_true(account.rows[TM_OWNER_EXECUTABLE].bytes > 0);
    assert_true(account.rows[TM_OWNER_LIBRARIES].bytes > 0);
  }
  tm_account_gather_tell(gather, TM_OWNER_C_HEAP_INUSE, 10 * MB);
  assert_int_equal(tm_account_gather_read(&ctx, gather, &account), TM_OK);
  assert_float_equal(account.rows[TM_OWNER_C_HEAP_INUSE].bytes, 10 * MB, 0);
  assert_true(account.rows[TM_OWNER_C_HEAP_FREE].bytes >= 14 * MB);
  end_child(pid);
  assert_int_equal(tm_account_gather_read(&ctx, gather, &account), TM_E_GONE);
  tm_account_gather_free(gather);
}

static void refuses_what_is_gone(void **state) {
  (void)state;
  const tm_account_gather_options options = {.pid = 0x7ffffff0};
  tm_account_gather *gather = NULL;
  assert_int_equal(tm_account_gather_open(&ctx, &options, &gather), TM_E_GONE);
  assert_null(gather);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(reads_the_heap_of_each_collector), TEST(reads_code_native_memory_and_places),
      TEST(reads_pieces_without_harm),        TEST(asks_go_where_it_answers),
      TEST(accounts_for_a_process),           TEST(refuses_what_is_gone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
