// floors: read write analyze
// The profile reader against a writer of raw wire bytes: every verdict on odd input, and a round
// trip through our own writer that must keep every field.
#include "analyze/merge.h"
#include "analyze/report.h"
#include "read/reader.h"
#include "unit.h"
#include "write/collapsed.h"
#include "write/pprof.h"
#include "write/speedscope.h"

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

// --- raw wire ---

static void put(tm_bytes *b, const void *data, size_t size) {
  assert_int_equal(tm_bytes_append(&ctx, b, data, size), TM_OK);
}

static void put_int(tm_bytes *b, uint32_t field, uint64_t value) {
  assert_int_equal(tm_bytes_varint(&ctx, b, field << 3), TM_OK);
  assert_int_equal(tm_bytes_varint(&ctx, b, value), TM_OK);
}

static void put_data(tm_bytes *b, uint32_t field, const void *data, size_t size) {
  assert_int_equal(tm_bytes_varint(&ctx, b, field << 3 | 2), TM_OK);
  assert_int_equal(tm_bytes_varint(&ctx, b, size), TM_OK);
  if (size) put(b, data, size);
}

// A message of (field, number) pairs, ended by field 0.
static void put_message(tm_bytes *b, uint32_t field, const uint64_t *pairs) {
  tm_bytes body = {0};
  for (; *pairs; pairs += 2) put_int(&body, (uint32_t)pairs[0], pairs[1]);
  put_data(b, field, body.data, body.size);
  tm_bytes_free(&ctx, &body);
}
#define MESSAGE(b, field, ...) put_message(b, field, (const uint64_t[]){__VA_ARGS__, 0})

static const char *const strings[] = {"",        "space", "bytes", "main.leaf", "main.root",
                                      "main.go", "key",   "value", "objects",   "count"};

static void put_strings(tm_bytes *b) {
  for (size_t i = 0; i < TM_COUNT(strings); i++) put_data(b, 6, strings[i], strlen(strings[i]));
}

static void put_location(tm_bytes *b, uint64_t id, uint64_t function, uint64_t line) {
  tm_bytes body = {0};
  put_int(&body, 1, id);
  MESSAGE(&body, 4, 1, function, 2, line);
  put_data(b, 4, body.data, body.size);
  tm_bytes_free(&ctx, &body);
}

// leaf 1 <- root 2, one sample of 100 bytes; strings last, as Go writes them.
static tm_bytes small_profile(void) {
  tm_bytes b = {0};
  MESSAGE(&b, 1, 1, 1, 2, 2);
  MESSAGE(&b, 2, 1, 1, 1, 2, 2, 100);
  put_location(&b, 1, 7, 10);
  put_location(&b, 2, 9, 20);
  MESSAGE(&b, 5, 1, 7, 2, 3, 4, 5);
  MESSAGE(&b, 5, 1, 9, 2, 4, 4, 5);
  put_strings(&b);
  return b;
}

static tm_status read_bytes(const tm_bytes *b, tm_snapshot *out) {
  tm_ctx_clear(&ctx);
  return tm_read_buffer(&ctx, b->data, b->size, "pprof", out);
}

static void refuse(tm_bytes b, const char *why) {
  tm_snapshot s = {0};
  assert_int_equal(read_bytes(&b, &s), TM_E_FORMAT);
  if (!strstr(ctx.error.message, why)) fail_msg("\"%s\" lacks \"%s\"", ctx.error.message, why);
  assert_true(ctx.error.offset_bytes <= b.size);
  tm_snapshot_fini(&s);
  tm_bytes_free(&ctx, &b);
}

static char *report(const tm_profile *p, const char *verb, const tm_report_options *options) {
  tm_report_options o;
  tm_report_options_init(&o);
  static tm_bytes text;
  tm_bytes_free(&ctx, &text);
  assert_int_equal(tm_report(&ctx, p, verb, options ? options : &o, &text, NULL), TM_OK);
  assert_int_equal(tm_bytes_append(&ctx, &text, "", 1), TM_OK);
  return (char *)text.data;
}

static void forget_report(tm_bytes *text) {
  tm_bytes_free(&ctx, text);
}

// --- tests ---

static void reads_fields_in_any_order(void **state) {
  (void)state;
  tm_bytes b = small_profile();
  tm_snapshot s = {0};
  assert_int_equal(read_bytes(&b, &s), TM_OK);
  const tm_profile *p = s.model;
  assert_int_equal(p->sample_count, 1);
  assert_int_equal(p->stack.count, 2);
  assert_int_equal(p->values.items[0], 100);
  assert_string_equal(tm_profile_text(p, p->functions.items[0].name), "main.leaf");
  tm_report_options o;
  tm_report_options_init(&o);
  tm_bytes text = {0};
  assert_int_equal(tm_report(&ctx, p, "top", &o, &text, NULL), TM_OK);
  static const char want[] = "Type: space\n"
                             "Showing nodes accounting for 100B, 100% of 100B total\n"
                             "      flat  flat%   sum%        cum   cum%\n"
                             "      100B   100%   100%       100B   100%  main.leaf\n"
                             "         0     0%   100%       100B   100%  main.root\n";
  assert_int_equal(text.size, sizeof want - 1);
  assert_memory_equal(text.data, want, text.size);
  forget_report(&text);
  tm_snapshot_fini(&s);
  tm_bytes_free(&ctx, &b);
}

static void names_what_is_wrong(void **state) {
  (void)state;
  tm_bytes b = small_profile();
  MESSAGE(&b, 2, 1, 55, 2, 1);
  refuse(b, "location 55");
  b = small_profile();
  put_location(&b, 3, 8, 1);
  refuse(b, "function id 8");
  b = small_profile();
  put_location(&b, 3, 0, 1);
  refuse(b, "function id 0");
  b = small_profile();
  put_location(&b, 1, 7, 1);
  refuse(b, "taken already");
  b = small_profile();
  MESSAGE(&b, 5, 2, 3);
  refuse(b, "reserved");
  b = small_profile();
  MESSAGE(&b, 3, 2, 3);
  refuse(b, "mapping 0");
  b = small_profile();
  MESSAGE(&b, 2, 1, 1, 2, 1, 2, 2);
  refuse(b, "2 values for 1");
  b = small_profile();
  MESSAGE(&b, 5, 1, 11, 2, 99);
  refuse(b, "string index 99");
  b = small_profile();
  put_int(&b, 9, 5);
  put_int(&b, 9, 6);
  refuse(b, "second time_nanos");
  b = (tm_bytes){0};
  put_data(&b, 6, "x", 1);
  refuse(b, "string_table[0]");
  b = (tm_bytes){0};
  MESSAGE(&b, 2, 2, 1);
  refuse(b, "no sample_type");
  b = small_profile();
  put(&b, "\x0b", 1); // a group
  refuse(b, "wire type");
  b = small_profile();
  put_int(&b, 4, 1); // a location as a number
  refuse(b, "wire type 0");
}

static void refuses_every_cut(void **state) {
  (void)state;
  tm_bytes b = small_profile();
  size_t read = 0;
  for (size_t size = 1; size < b.size; size++) {
    tm_bytes cut = {.data = b.data, .size = size};
    tm_snapshot s = {0};
    tm_status status = read_bytes(&cut, &s);
    if (status == TM_OK)
      read++; // a cut between the last strings, which nothing names
    else
      assert_int_equal(status, TM_E_FORMAT);
    tm_snapshot_fini(&s);
  }
  assert_true(read < 20);
  tm_bytes_free(&ctx, &b);
}

static void accepts_what_the_reference_accepts(void **state) {
  (void)state;
  tm_bytes b = small_profile(), body = {0};
  MESSAGE(&b, 2, 2, 5);                            // no stack
  MESSAGE(&b, 4, 1, 77, 2, 1234, 3, 0x40);         // no lines, unknown mapping
  MESSAGE(&b, 2, 1, 77, 2, (uint64_t)INT64_C(-3)); // negative
  put_data(&body, 1, "\x01\x02", 2);               // packed
  put_data(&body, 2, "\x07", 1);
  MESSAGE(&body, 3, 1, 6);       // says nothing: dropped
  MESSAGE(&body, 3, 1, 6, 4, 2); // 0 with a unit: kept
  MESSAGE(&body, 3, 1, 6, 2, 7);
  put_int(&body, 99, 1); // unknown field
  put_data(&b, 2, body.data, body.size);
  tm_snapshot s = {0};
  assert_int_equal(read_bytes(&b, &s), TM_OK);
  const tm_profile *p = s.model;
  assert_int_equal(p->sample_count, 4);
  assert_int_equal(p->values.items[2], -3);
  assert_int_equal(p->labels.count, 2);
  assert_true(p->labels.items[0].numeric && !p->labels.items[1].numeric);
  assert_int_equal(tm_profile_label_end(p, 2), 0);
  assert_int_equal(tm_profile_label_end(p, 3), 2);
  assert_int_equal(p->locations.items[2].mapping, TM_PROFILE_NONE);
  tm_snapshot_fini(&s);
  tm_bytes_free(&ctx, &body);
  tm_bytes_free(&ctx, &b);
}

static void keeps_every_field_on_a_round_trip(void **state) {
  (void)state;
  tm_bytes b = small_profile(), body = {0}, once = {0}, twice = {0};
  MESSAGE(&b, 3, 1, 4, 2, 0x1000, 3, 0x2000, 4, 16, 5, 5, 6, 3, 7, 1, 9, 1);
  MESSAGE(&b, 4, 1, UINT64_MAX, 2, 4, 3, 0x1234, 5, 1); // an id far from dense
  put_int(&body, 1, UINT64_MAX);
  put_int(&body, 2, (uint64_t)INT64_MIN);
  MESSAGE(&body, 3, 1, 6, 3, 42, 4, 2);
  MESSAGE(&body, 3, 1, 6, 2, 7);
  put_data(&b, 2, body.data, body.size);
  put_int(&b, 7, 3);
  put_int(&b, 8, 4);
  put_int(&b, 9, 1234567890123456789);
  put_int(&b, 10, 99);
  MESSAGE(&b, 11, 1, 1, 2, 2);
  put_int(&b, 12, 524288);
  put_int(&b, 13, 7);
  put_int(&b, 14, 1);
  put_int(&b, 15, 6);
  tm_snapshot s = {0}, again = {0};
  assert_int_equal(read_bytes(&b, &s), TM_OK);
  assert_int_equal(tm_write_pprof(&ctx, s.model, true, &once), TM_OK);
  assert_int_equal(read_bytes(&once, &again), TM_OK);
  assert_int_equal(tm_write_pprof(&ctx, again.model, true, &twice), TM_OK);
  assert_int_equal(once.size, twice.size);
  assert_memory_equal(once.data, twice.data, once.size);
  char *first = strdup(report(s.model, "raw", NULL));
  assert_non_null(strstr(first, "524288"));
  assert_non_null(strstr(first, "[F]"));
  assert_non_null(strstr(first, "key:[42 bytes]"));
  assert_string_equal(first, report(again.model, "raw", NULL));
  free(first);
  tm_snapshot_fini(&s);
  tm_snapshot_fini(&again);
  tm_bytes_free(&ctx, &b);
  tm_bytes_free(&ctx, &body);
  tm_bytes_free(&ctx, &once);
  tm_bytes_free(&ctx, &twice);
}

static void stops_a_gzip_bomb_at_the_cap(void **state) {
  (void)state;
  tm_bytes big = {0}, packed = {0};
  tm_snapshot s = {0};
  tm_profile *p;
  assert_int_equal(tm_profile_new(&ctx, &p), TM_OK);
  uint32_t id;
  char *zeros = calloc(1, 1 << 20);
  assert_int_equal(tm_profile_intern(&ctx, p, zeros, 1 << 20, &id), TM_OK);
  assert_int_equal(tm_write_pprof(&ctx, p, true, &packed), TM_OK);
  ctx.max_output_bytes = 100000;
  assert_int_equal(read_bytes(&packed, &s), TM_E_LIMIT);
  ctx.max_output_bytes = 0;
  assert_int_equal(read_bytes(&packed, &s), TM_OK);
  packed.size /= 2;
  tm_snapshot_fini(&s);
  assert_int_equal(read_bytes(&packed, &s), TM_E_FORMAT);
  free(zeros);
  tm_profile_free(p);
  tm_bytes_free(&ctx, &big);
  tm_bytes_free(&ctx, &packed);
}

static void subtracts_a_base(void **state) {
  (void)state;
  tm_bytes b = small_profile();
  MESSAGE(&b, 2, 1, 2, 2, 11);
  tm_snapshot old = {0}, new = {0};
  assert_int_equal(read_bytes(&b, &old), TM_OK);
  MESSAGE(&b, 2, 1, 1, 2, 5);
  assert_int_equal(read_bytes(&b, &new), TM_OK);
  const tm_profile *sources[] = {new.model}, *bases[] = {old.model};
  tm_profile *difference;
  tm_combine_options how = {0};
  assert_int_equal(tm_profile_combine(&ctx, sources, 1, bases, 1, &how, &difference), TM_OK);
  assert_int_equal(difference->sample_count, 1);
  assert_int_equal(difference->values.items[0], 5);
  tm_profile_free(difference);
  how.diff_base = true;
  assert_int_equal(tm_profile_combine(&ctx, sources, 1, bases, 1, &how, &difference), TM_OK);
  assert_int_equal(difference->sample_count, 5);
  assert_non_null(strstr(report(difference, "top", NULL), "5B, 4.50% of 111B total"));
  tm_profile_free(difference);
  tm_snapshot_fini(&old);
  tm_snapshot_fini(&new);
  tm_bytes_free(&ctx, &b);
}

// Ids that fall, columns, a comment of two lines, no mapping: what `go tool pprof` prints of it.
static tm_bytes odd_profile(void) {
  tm_bytes b = {0}, body = {0};
  MESSAGE(&b, 1, 1, 1, 2, 2);
  MESSAGE(&b, 2, 1, 5, 1, 2, 2, 100);
  put_int(&body, 1, 5);
  MESSAGE(&body, 4, 1, 7, 3, 30);
  MESSAGE(&body, 4, 1, 7, 2, 3, 3, 4);
  put_data(&b, 4, body.data, body.size);
  put_location(&b, 2, 9, 20);
  MESSAGE(&b, 5, 1, 7, 2, 3, 4, 5);
  MESSAGE(&b, 5, 1, 9, 2, 4, 4, 5);
  put_strings(&b);
  put_data(&b, 6, "one\ntwo", 7);
  put_int(&b, 13, TM_COUNT(strings));
  tm_bytes_free(&ctx, &body);
  return b;
}

static void prints_odd_profiles_as_pprof_does(void **state) {
  (void)state;
  tm_bytes b = odd_profile();
  tm_snapshot s = {0};
  assert_int_equal(read_bytes(&b, &s), TM_OK);
  tm_report_options o;
  tm_report_options_init(&o);
  assert_non_null(strstr(report(s.model, "raw", &o), "main.leaf main.go:0:30"));
  assert_non_null(strstr(report(s.model, "dot", &o), "cluster_L { \"one\\ltwo\" [shape"));
  assert_non_null(strstr(report(s.model, "callgrind", &o), "main.leaf [1/2]"));
  o.tag_root = "key";
  assert_non_null(strstr(report(s.model, "raw", &o), "\n     6: 0x0  key:0:0 s=0\n"));
  tm_report_options_init(&o);
  o.no_inlines = true;
  const char *raw = report(s.model, "raw", &o);
  assert_non_null(strstr(raw, "     5: 0x0 M=1 main.leaf main.go:3:0 s=0()\n"));
  tm_report_options_init(&o);
  o.ignore = "^$";
  assert_non_null(strstr(report(s.model, "top", &o), "accounting for 0, 0% of 100B total\n"));
  tm_snapshot_fini(&s);
  tm_bytes_free(&ctx, &b);
}

// Once the labels are gone, nothing says which samples are the base's.
static void hides_the_base_from_relative_percentages(void **state) {
  (void)state;
  tm_bytes b = small_profile();
  tm_snapshot s = {0};
  assert_int_equal(read_bytes(&b, &s), TM_OK);
  const tm_profile *source = s.model;
  tm_profile *both = NULL;
  tm_combine_options how = {.diff_base = true};
  assert_int_equal(tm_profile_combine(&ctx, &source, 1, &source, 1, &how, &both), TM_OK);
  tm_report_options o;
  tm_report_options_init(&o);
  o.relative_percentages = true;
  assert_non_null(strstr(report(both, "top", &o), "0% of 100B total\n"));
  o.tag_show = "key";
  assert_non_null(strstr(report(both, "top", &o), "0% of 200B total\n"));
  tm_profile_free(both);
  tm_snapshot_fini(&s);
  tm_bytes_free(&ctx, &b);
}

static void reads_text_with_its_symbols(void **state) {
  (void)state;
  static const char text[] = "heap profile: 1: 1024 [2: 4096] @ heap/2\n"
                             "1: 1024 [2: 4096] @ 0x10 0x21 0x31 0x41\n"
                             "#\t0x20\tmain.make+0x1f\t/src/a.go:7\n"
                             "#\t0x30\tmain.main+0x2f\t/src/a.go:9\n\n"
                             "# runtime.MemStats\n# Alloc = 1\n";
  tm_snapshot s = {0};
  assert_int_equal(tm_read_buffer(&ctx, text, sizeof text - 1, NULL, &s), TM_OK);
  assert_string_equal(s.format, "pprof-text");
  tm_report_options o;
  tm_report_options_init(&o);
  o.granularity = "lines";
  const char *top = report(s.model, "top", &o);
  assert_non_null(strstr(top, "1kB   100%   100%        1kB   100%  main.make /src/a.go:7\n"));
  assert_non_null(strstr(top, "main.main /src/a.go:9\n"));
  assert_null(strstr(top, "unknown"));
  tm_snapshot_fini(&s);
}

static void reads_a_goroutine_dump(void **state) {
  (void)state;
  static const char text[] =
      "panic: oh\n\n"
      "goroutine 7 gp=0x1 m=nil [chan receive, 12 minutes, locked to thread]:\n"
      "main.(*T).wait(0x1, {0x2?, 0x3})\n\t/src/a.go:7 +0x1f\n"
      "created by main.start in goroutine 1\n\t/src/a.go:3 +0x10\n\n"
      "goroutine 1 [running]:\nmain.main()\n\t/src/a.go:1 +0x2\n";
  tm_snapshot s = {0};
  assert_int_equal(tm_read_buffer(&ctx, text, sizeof text - 1, NULL, &s), TM_OK);
  assert_int_equal(s.kind, TM_KIND_GOROUTINES);
  const tm_profile *p = s.model;
  assert_int_equal(p->sample_count, 2);
  assert_true(p->values.items[1] == INT64_C(720000000000));
  tm_report_options o;
  tm_report_options_init(&o);
  o.tag_focus = "state=chan receive";
  const char *traces = report(p, "traces", &o);
  assert_non_null(strstr(traces, "         1   main.(*T).wait\n"));
  assert_non_null(strstr(traces, "created_by:  main.start\n"));
  assert_null(strstr(traces, "main.main"));
  tm_snapshot_fini(&s);
}

static void writes_and_reads_collapsed_stacks(void **state) {
  (void)state;
  static const char text[] = "main;a;b 3\nmain;c 4\n";
  tm_snapshot s = {0};
  tm_bytes out = {0};
  assert_int_equal(tm_read_buffer(&ctx, text, sizeof text - 1, NULL, &s), TM_OK);
  assert_string_equal(s.format, "collapsed");
  assert_int_equal(tm_write_collapsed(&ctx, s.model, 0, &out), TM_OK);
  assert_int_equal(out.size, sizeof text - 1);
  assert_memory_equal(out.data, text, out.size);
  tm_snapshot_fini(&s);
  tm_bytes_free(&ctx, &out);
}

static void writes_speedscope(void **state) {
  (void)state;
  tm_bytes b = small_profile(), out = {0};
  tm_snapshot s = {0};
  assert_int_equal(read_bytes(&b, &s), TM_OK);
  assert_int_equal(tm_write_speedscope(&ctx, s.model, "x", &out), TM_OK);
  const char *text = (const char *)out.data; // tm_json_end ends it with a NUL
  assert_non_null(strstr(text, "\"name\":\"main.root\",\"file\":\"main.go\",\"line\":20"));
  assert_non_null(strstr(text, "\"samples\":[[1,0]],\"weights\":[100]"));
  tm_snapshot_fini(&s);
  tm_bytes_free(&ctx, &b);
  tm_bytes_free(&ctx, &out);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_fields_in_any_order),
      cmocka_unit_test(names_what_is_wrong),
      cmocka_unit_test(refuses_every_cut),
      cmocka_unit_test(accepts_what_the_reference_accepts),
      cmocka_unit_test(keeps_every_field_on_a_round_trip),
      cmocka_unit_test(stops_a_gzip_bomb_at_the_cap),
      cmocka_unit_test(subtracts_a_base),
      cmocka_unit_test(prints_odd_profiles_as_pprof_does),
      cmocka_unit_test(hides_the_base_from_relative_percentages),
      cmocka_unit_test(reads_text_with_its_symbols),
      cmocka_unit_test(reads_a_goroutine_dump),
      cmocka_unit_test(writes_and_reads_collapsed_stacks),
      cmocka_unit_test(writes_speedscope),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
