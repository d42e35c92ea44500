// floors: read write
// Recordings: what was written comes back; every cut and every flipped bit is survived and said; a
// killed writer loses only what it had not flushed; a full disk loses nothing that came back.
#include "base/bytes.h"
#include "read/recording.h"
#include "unit.h"
#include "write/recording.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static tm_ctx ctx;
static char path[64];

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  snprintf(path, sizeof path, "/tmp/tm_recording_%d.tmr", (int)getpid());
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  unlink(path);
  tm_ctx_fini(&ctx);
  return 0;
}

// What a visitor saw, as lines of text: comparable, and readable when a test fails.
static tm_bytes seen;

#define SEE(...) return tm_bytes_printf(&ctx, &seen, __VA_ARGS__)

static tm_status see_meta(void *ud, const char *json) {
  (void)ud;
  SEE("meta %s\n", json);
}
static tm_status see_target(void *ud, uint32_t number, const tm_recording_target *t) {
  (void)ud;
  SEE("target %u %s %lld %lld %s|%s|%s\n", number, t->id, (long long)t->pid,
      (long long)t->start_time_ns, t->name, t->command, t->labels_json);
}
static tm_status see_series(void *ud, uint32_t number, const tm_recording_series *s) {
  (void)ud;
  SEE("series %u %u %s %s %s\n", number, s->target, s->metric, s->key, s->unit);
}
static tm_status see_sample(void *ud, uint32_t series, int64_t time_ns, double value) {
  (void)ud;
  SEE("sample %u %lld %a\n", series, (long long)time_ns, value);
}
static tm_status see_event(void *ud, const char *json) {
  (void)ud;
  SEE("event %s\n", json);
}
static tm_status see_blob(void *ud, const tm_recording_blob *blob) {
  (void)ud;
  SEE("blob %u %lld %s %.*s\n", blob->target, (long long)blob->time_ns, blob->name, (int)blob->size,
      (const char *)blob->data);
}
static tm_status see_rules(void *ud, const char *name, const char *text) {
  (void)ud;
  SEE("rules %s %s\n", name, text);
}

static const tm_recording_visitor visitor = {NULL,       see_meta,  see_target, see_series,
                                             see_sample, see_event, see_blob,   see_rules};

static tm_recording_summary read_bytes(const void *bytes, size_t size) {
  tm_recording_summary summary;
  seen.size = 0;
  assert_int_equal(tm_recording_read(&ctx, bytes, size, &visitor, &summary), TM_OK);
  return summary;
}

static tm_recording_summary read_path(void) {
  tm_recording_summary summary;
  seen.size = 0;
  assert_int_equal(tm_recording_read_file(&ctx, path, &visitor, &summary), TM_OK);
  return summary;
}

static size_t load(uint8_t *bytes, size_t room) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  size_t n = fread(bytes, 1, room, f);
  fclose(f);
  assert_true(n < room);
  return n;
}

#define OK(call) assert_int_equal(call, TM_OK)

static tm_recording *start(uint32_t *series) {
  tm_recording *rec;
  uint32_t target;
  const tm_recording_target facts = {"47:8",         47,  1790000000000000000, "leaky",
                                     "leaky --fast", "{}"};
  OK(tm_recording_create(&ctx, path, true, "{\"version\":\"0.1.0\"}", &rec));
  OK(tm_recording_add_target(&ctx, rec, &facts, &target));
  OK(tm_recording_add_series(&ctx, rec, &(tm_recording_series){target, "proc.rss", "", "bytes"},
                             &series[0]));
  OK(tm_recording_add_series(
      &ctx, rec, &(tm_recording_series){target, "proc.handles", "socket", "count"}, &series[1]));
  return rec;
}

// One of everything; the text that a visitor must see.
static const char *write_small(void) {
  uint32_t s[2];
  tm_recording *rec = start(s);
  char long_text[300];
  static char expected[2048];
  memset(long_text, 'x', sizeof long_text);
  long_text[299] = '\0';
  OK(tm_recording_add_rules(&ctx, rec, "rules/a.lua", long_text));
  OK(tm_recording_sample(&ctx, rec, s[1], 1000, 7));
  OK(tm_recording_sample(&ctx, rec, s[1], 2000, 8));
  OK(tm_recording_sample(&ctx, rec, s[0], 1500, 0.1));
  OK(tm_recording_sample(&ctx, rec, s[0], 2000, NAN));
  OK(tm_recording_event(&ctx, rec, "{\"type\":\"finding\"}"));
  OK(tm_recording_sample(&ctx, rec, s[0], 3000, 5));
  OK(tm_recording_add_blob(&ctx, rec, &(tm_recording_blob){0, 3000, "fds", "0 /dev/null", 11},
                           100));
  OK(tm_recording_flush(&ctx, rec));
  OK(tm_recording_flush(&ctx, rec));
  OK(tm_recording_sample(&ctx, rec, s[0], 4000, 6));
  OK(tm_recording_close(&ctx, rec));
  snprintf(expected, sizeof expected,
           "meta {\"version\":\"0.1.0\"}\n"
           "target 0 47:8 47 1790000000000000000 leaky|leaky --fast|{}\n"
           "series 0 0 proc.rss  bytes\nseries 1 0 proc.handles socket count\n"
           "rules rules/a.lua %s\n"
           "sample 1 1000 0x1.cp+2\nsample 0 1500 0x1.999999999999ap-4\nsample 0 2000 nan\n"
           "sample 1 2000 0x1p+3\nevent {\"type\":\"finding\"}\nsample 0 3000 0x1.4p+2\n"
           "blob 0 3000 fds 0 /dev/null\nsample 0 4000 0x1.8p+2\n",
           long_text);
  return expected;
}

static void gives_back_what_was_written(void **state) {
  (void)state;
  const char *expected = write_small();
  tm_recording_summary summary = read_path();
  OK(tm_bytes_append(&ctx, &seen, "", 1));
  assert_string_equal((char *)seen.data, expected);
  assert_int_equal(summary.samples, 6);
  assert_false(summary.cut);
  assert_int_equal(summary.damaged, 0);
  assert_string_equal(summary.message, "");
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(st.st_size, summary.read_bytes);
}

static void keeps_an_existing_file(void **state) {
  (void)state;
  tm_recording *rec;
  write_small();
  assert_int_equal(tm_recording_create(&ctx, path, false, "{}", &rec), TM_E_IO);
  assert_non_null(strstr(ctx.error.message, "choose another name"));
  tm_ctx_clear(&ctx);
  assert_int_equal(read_path().samples, 6);
}

static void refuses_what_it_cannot_take(void **state) {
  (void)state;
  uint32_t s[2];
  tm_recording *rec = start(s);
  assert_int_equal(tm_recording_sample(&ctx, rec, 2, 0, 0), TM_E_ARG);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_recording_add_series(&ctx, rec, &(tm_recording_series){9, "a", "", ""}, s),
                   TM_E_ARG);
  tm_ctx_clear(&ctx);
  assert_int_equal(
      tm_recording_add_blob(&ctx, rec, &(tm_recording_blob){0, 0, "big", "123456", 6}, 5),
      TM_E_LIMIT);
  tm_ctx_clear(&ctx);
  OK(tm_recording_close(&ctx, rec));
  tm_recording_summary summary;
  assert_int_equal(tm_recording_read(&ctx, "PK\x03\x04 a zip", 10, &visitor, &summary),
                   TM_E_FORMAT);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_recording_read(&ctx, "\x89TMR\r\n\x1a\x09", 8, &visitor, NULL), TM_E_VERSION);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_recording_read_file(&ctx, "/nowhere/x.tmr", &visitor, &summary), TM_E_IO);
  tm_ctx_clear(&ctx);
}

static void reads_up_to_any_cut(void **state) {
  (void)state;
  static uint8_t bytes[8192];
  write_small();
  size_t size = load(bytes, sizeof bytes);
  read_bytes(bytes, size);
  tm_bytes whole = seen;
  seen = (tm_bytes){0};
  size_t before = 0;
  for (size_t cut = TM_RECORDING_MAGIC_SIZE; cut < size; cut++) {
    uint8_t *part = malloc(cut); // ASan sees a read past the cut
    memcpy(part, bytes, cut);
    tm_recording_summary summary = read_bytes(part, cut);
    assert_true(seen.size <= whole.size && seen.size >= before);
    assert_memory_equal(seen.data, whole.data, seen.size);
    assert_int_equal(summary.cut, summary.read_bytes < cut);
    assert_int_equal(summary.damaged, 0);
    if (summary.cut) {
      char place[40];
      snprintf(place, sizeof place, "cut at byte %d:", (int)summary.read_bytes);
      assert_non_null(strstr(summary.message, place));
    }
    before = seen.size;
    free(part);
  }
  assert_true(before > 0);
  tm_bytes_free(&ctx, &whole);
}

static size_t count_lines(const tm_bytes *text) {
  size_t n = 0;
  for (size_t i = 0; i < text->size; i++) n += text->data[i] == '\n';
  return n;
}

// Every line seen after damage stands in the whole text too: nothing is made up.
static void assert_lines_of(const tm_bytes *part, const tm_bytes *whole) {
  size_t start = 0;
  for (size_t i = 0; i < part->size; i++) {
    if (part->data[i] != '\n') continue;
    assert_non_null(memmem(whole->data, whole->size, part->data + start, i + 1 - start));
    start = i + 1;
  }
}

static void survives_every_flipped_bit(void **state) {
  (void)state;
  static uint8_t bytes[8192];
  write_small();
  size_t size = load(bytes, sizeof bytes), went_on = 0;
  read_bytes(bytes, size);
  tm_bytes whole = seen;
  seen = (tm_bytes){0};
  for (size_t bit = TM_RECORDING_MAGIC_SIZE * 8; bit < size * 8; bit++) {
    bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    tm_recording_summary summary = read_bytes(bytes, size);
    bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    assert_true(summary.cut || summary.damaged);
    assert_true(summary.message[0]);
    assert_lines_of(&seen, &whole);
    went_on += !summary.cut && count_lines(&seen) + 8 >= count_lines(&whole);
  }
  assert_true(went_on > size * 8 / 2); // most flips hit a payload and cost one record
  tm_bytes_free(&ctx, &whole);
}

static void write_until_killed(int pipe_fd) {
  uint32_t s[2];
  tm_recording *rec = start(s);
  for (int64_t i = 1;; i++) {
    OK(tm_recording_sample(&ctx, rec, s[0], i, (double)i));
    if (i % 10) continue;
    OK(tm_recording_flush(&ctx, rec));
    if (write(pipe_fd, &i, sizeof i) != sizeof i) _exit(1);
  }
}

static tm_status check_order(void *ud, uint32_t series, int64_t time_ns, double value) {
  int64_t *last = ud;
  (void)series;
  if (time_ns != *last + 1 || value != (double)time_ns) return TM_E_FORMAT;
  *last = time_ns;
  return TM_OK;
}

static void a_killed_writer_loses_only_what_was_not_flushed(void **state) {
  (void)state;
  srand(11);
  for (int round = 0; round < 12; round++) {
    int ends[2];
    int64_t flushed = 0, got, last = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) write_until_killed(ends[1]);
    close(ends[1]);
    if (read(ends[0], &got, sizeof got) == sizeof got) flushed = got;
    usleep((useconds_t)(rand() % 20000));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    while (read(ends[0], &got, sizeof got) == sizeof got) flushed = got;
    close(ends[0]);
    const tm_recording_visitor order = {.ud = &last, .sample = check_order};
    OK(tm_recording_read_file(&ctx, path, &order, NULL));
    assert_true(flushed > 0);
    assert_true(last >= flushed);
  }
}

static void a_full_disk_loses_nothing_that_came_back(void **state) {
  (void)state;
  uint32_t s[2];
  int64_t last = 0, i = 1;
  struct rlimit old, tight = {2000, 0};
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, SIG_IGN);
  tm_recording *rec = start(s);
  tight.rlim_max = old.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
  tm_status status = TM_OK;
  for (; i < 20000; i++) {
    OK(tm_recording_sample(&ctx, rec, s[0], i, (double)i));
    if (i % 7 == 0) {
      tm_status now = tm_recording_flush(&ctx, rec);
      if (now != TM_OK) status = now;
      tm_ctx_clear(&ctx);
    }
  }
  assert_int_equal(status, TM_E_IO);
  assert_true(tm_recording_get_stats(rec).written_bytes <= 2000);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
  OK(tm_recording_close(&ctx, rec));
  const tm_recording_visitor order = {.ud = &last, .sample = check_order};
  tm_recording_summary summary;
  OK(tm_recording_read_file(&ctx, path, &order, &summary));
  assert_false(summary.cut);
  assert_true(last == i - 1);
}

static void packs_a_busy_hour(void **state) {
  (void)state;
  enum { SERIES = 40 };
  uint32_t s[2], number[SERIES];
  tm_recording *rec = start(s);
  for (int k = 0; k < SERIES; k++)
    OK(tm_recording_add_series(&ctx, rec, &(tm_recording_series){0, "m", "k", "bytes"},
                               &number[k]));
  for (int64_t t = 0; t < 720; t++) {
    for (int k = 0; k < SERIES; k++)
      OK(tm_recording_sample(&ctx, rec, number[k], 1790000000000000000 + t * 5000000000,
                             (double)(k * 1000000 + t / 50 * 4096)));
    OK(tm_recording_flush(&ctx, rec));
  }
  OK(tm_recording_close(&ctx, rec));
  tm_recording_summary summary;
  OK(tm_recording_read_file(&ctx, path, &(tm_recording_visitor){0}, &summary));
  assert_int_equal(summary.samples, 720 * SERIES);
  assert_in_range(summary.read_bytes, 1000, 720 * SERIES * 16); // flushed every 5 s
}

static tm_status stop_at_event(void *ud, const char *json) {
  (void)ud;
  (void)json;
  return TM_E_CANCELLED;
}

static void stops_when_the_visitor_says_so(void **state) {
  (void)state;
  write_small();
  const tm_recording_visitor stop = {.event = stop_at_event};
  tm_recording_summary summary;
  assert_int_equal(tm_recording_read_file(&ctx, path, &stop, &summary), TM_E_CANCELLED);
  assert_int_equal(summary.samples, 4);
  tm_ctx_clear(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gives_back_what_was_written),
      cmocka_unit_test(keeps_an_existing_file),
      cmocka_unit_test(refuses_what_it_cannot_take),
      cmocka_unit_test(reads_up_to_any_cut),
      cmocka_unit_test(survives_every_flipped_bit),
      cmocka_unit_test(a_killed_writer_loses_only_what_was_not_flushed),
      cmocka_unit_test(a_full_disk_loses_nothing_that_came_back),
      cmocka_unit_test(packs_a_busy_hour),
      cmocka_unit_test(stops_when_the_visitor_says_so),
  };
  int failed = cmocka_run_group_tests(tests, set_up, tear_down);
  tm_bytes_free(&ctx, &seen);
  return failed;
}
