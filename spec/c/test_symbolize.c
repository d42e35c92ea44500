// floors: symbol
// Binaries that gcc makes here, asked for addresses whose functions and lines are known; the same
// binaries cut and garbled must be refused or answered, never crash.
#include "symbol/locate.h"
#include "symbol/symbolize.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static tm_ctx ctx;
static char root[64], path[256];

// work is on line 4, the inlined call on line 5, what is inlined on line 2.
static const char source[] =
    "volatile int sink;\n"
    "static inline __attribute__((always_inline)) void in(int a) { sink = a; }\n"
    "\n"
    "__attribute__((noinline)) int work(int a) {\n"
    "  in(a);\n"
    "  return a + 1;\n"
    "}\n"
    "int main(void) { return work(1); }\n";

static void run(const char *fmt, ...) TM_PRINTF(1, 2);

static void run(const char *fmt, ...) {
  char command[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(command, sizeof command, fmt, args);
  va_end(args);
  assert_int_equal(system(command), 0);
}

static const char *in_root(const char *name) {
  snprintf(path, sizeof path, "%s/%s", root, name);
  return path;
}

static int set_up(void **state) {
  (void)state;
  tm_ctx_init(&ctx, NULL);
  snprintf(root, sizeof root, "/tmp/tm_symbol_XXXXXX");
  assert_non_null(mkdtemp(root));
  FILE *f = fopen(in_root("prog.c"), "w");
  assert_non_null(f);
  fputs(source, f);
  fclose(f);
  run("cd %s && gcc -g -O1 -Wl,--build-id -o prog prog.c", root);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  run("rm -rf %s", root);
  tm_ctx_fini(&ctx);
  return 0;
}

static tm_binary *open_binary(const char *name) {
  tm_binary *b = NULL;
  assert_int_equal(tm_binary_open(&ctx, in_root(name), &b), TM_OK);
  return b;
}

static uint64_t address_of(const tm_binary *b, const char *function) {
  size_t count;
  const tm_code_symbol *s = tm_binary_symbols(b, &count);
  for (size_t i = 0; i < count; i++)
    if (strcmp(s[i].name, function) == 0) return s[i].address;
  fail();
  return 0;
}

// A sample per address, within a mapping of the file that starts at 0x10000000.
static tm_profile *profile_of(const char *file, const char *id, const uint64_t *offsets,
                              uint32_t count) {
  tm_profile *p;
  int64_t one = 1;
  tm_mapping m = {.id = 1, .start = 0x10000000, .limit = 0x20000000};
  assert_int_equal(tm_profile_new(&ctx, &p), TM_OK);
  assert_int_equal(tm_profile_add_type(&ctx, p, "samples", "count"), TM_OK);
  assert_int_equal(tm_profile_intern(&ctx, p, file, strlen(file), &m.file), TM_OK);
  assert_int_equal(tm_profile_intern(&ctx, p, id, strlen(id), &m.build_id), TM_OK);
  assert_int_equal(tm_vec_push(&ctx, &p->mappings, m), TM_OK);
  for (uint32_t i = 0; i < count; i++) {
    tm_location l = {.id = i + 1, .address = m.start + offsets[i]};
    assert_int_equal(tm_vec_push(&ctx, &p->locations, l), TM_OK);
    assert_int_equal(tm_vec_push(&ctx, &p->stack, i), TM_OK);
    assert_int_equal(tm_profile_end_sample(&ctx, p, &one), TM_OK);
  }
  return p;
}

static const char *name_at(const tm_profile *p, uint32_t location, uint32_t frame) {
  const tm_location *l = &p->locations.items[location];
  if (l->line_begin + frame >= l->line_end) return "";
  return tm_profile_text(p,
                         p->functions.items[p->lines.items[l->line_begin + frame].function].name);
}

static int64_t line_at(const tm_profile *p, uint32_t location, uint32_t frame) {
  const tm_location *l = &p->locations.items[location];
  return p->lines.items[l->line_begin + frame].line;
}

static void symbolize(tm_profile *p, const char *mode, const char *search, const char *want) {
  tm_symbolize_options o = {.mode = mode, .binary_path = search};
  tm_bytes problems = {0};
  assert_int_equal(tm_symbolize(&ctx, p, &o, &problems), TM_OK);
  assert_int_equal(tm_bytes_append(&ctx, &problems, "", 1), TM_OK);
  if (!*want)
    assert_string_equal((const char *)problems.data, "");
  else
    assert_non_null(strstr((const char *)problems.data, want));
  tm_bytes_free(&ctx, &problems);
}

// The first offset in work with so many frames: 2 = the store of in(), 1 = line 6.
static uint64_t offset_with(tm_binary *b, uint32_t wanted) {
  tm_code_frame frames[8];
  uint32_t count;
  uint64_t work = address_of(b, "work");
  for (uint64_t at = work; at < work + 64; at++) {
    assert_int_equal(tm_binary_frames(&ctx, b, at, frames, 8, &count), TM_OK);
    if (count == wanted) return at;
  }
  fail();
  return 0;
}

static void names_functions_lines_and_inlined_calls(void **state) {
  (void)state;
  tm_binary *b = open_binary("prog");
  uint64_t offsets[] = {offset_with(b, 1), offset_with(b, 2), address_of(b, "main"), 0x9000000};
  tm_profile *p = profile_of(in_root("prog"), "", offsets, 4);
  symbolize(p, "", "", "");
  assert_string_equal(name_at(p, 0, 0), "work");
  assert_int_equal(line_at(p, 0, 0), 6);
  assert_string_equal(name_at(p, 1, 0), "in");
  assert_int_equal(line_at(p, 1, 0), 2);
  assert_string_equal(name_at(p, 1, 1), "work");
  assert_int_equal(line_at(p, 1, 1), 5);
  assert_string_equal(name_at(p, 2, 0), "main");
  assert_int_equal(line_at(p, 2, 0), 8);
  assert_string_equal(name_at(p, 3, 0), "");
  assert_int_equal(p->locations.items[1].address, 0x10000000 + offsets[1]);
  const tm_function *f =
      &p->functions.items[p->lines.items[p->locations.items[0].line_begin].function];
  assert_int_equal(f->start_line, 4);
  assert_string_equal(strrchr(tm_profile_text(p, f->file), '/'), "/prog.c");
  assert_true(p->mappings.items[0].has_functions && p->mappings.items[0].has_line_numbers);
  uint32_t functions = (uint32_t)p->functions.count;
  symbolize(p, "", "", ""); // again: nothing to do
  assert_int_equal(p->functions.count, functions);
  tm_profile_free(p);
  tm_binary_free(b);
}

static void takes_symbols_when_there_is_no_debug_data(void **state) {
  (void)state;
  run("cd %s && strip -g -o plain prog && strip -s -o bare prog", root);
  tm_binary *b = open_binary("plain");
  uint64_t offsets[] = {address_of(b, "work") + 1};
  tm_profile *p = profile_of(in_root("plain"), "", offsets, 1);
  symbolize(p, "local", "", "");
  assert_string_equal(name_at(p, 0, 0), "work");
  assert_int_equal(line_at(p, 0, 0), 0);
  tm_profile_free(p);
  p = profile_of(in_root("bare"), "", offsets, 1);
  symbolize(p, "local", "", "");
  assert_string_equal(name_at(p, 0, 0), "");
  tm_profile_free(p);
  p = profile_of(in_root("prog"), "", offsets, 1);
  symbolize(p, "fastlocal", "", "");
  assert_string_equal(name_at(p, 0, 0), "work");
  assert_int_equal(line_at(p, 0, 0), 0);
  tm_profile_free(p);
  tm_binary_free(b);
}

static void finds_binaries_by_build_id(void **state) {
  (void)state;
  tm_binary *b = open_binary("prog");
  char id[130], search[128], other[130];
  snprintf(id, sizeof id, "%s", tm_binary_build_id(b));
  assert_int_equal(strlen(id), 40);
  uint64_t offsets[] = {offset_with(b, 1)};
  tm_binary_free(b);
  run("cd %s && objcopy --only-keep-debug prog prog.dbg && strip -s prog && mkdir -p s/%.2s s/%s",
      root, id, id);
  snprintf(search, sizeof search, "%s/s", root);
  run("cd %s && mv prog.dbg s/%.2s/%s.debug && cp prog s/%s/other", root, id, id + 2, id);
  tm_profile *p = profile_of("/absent/prog", id, offsets, 1);
  symbolize(p, "", search, "");
  assert_string_equal(name_at(p, 0, 0), "work");
  assert_int_equal(line_at(p, 0, 0), 6);
  tm_profile_free(p);
  snprintf(other, sizeof other, "%s", id);
  other[0] = other[0] == 'a' ? 'b' : 'a';
  p = profile_of(in_root("prog"), other, offsets, 1);
  symbolize(p, "", search, "another build");
  assert_string_equal(name_at(p, 0, 0), "");
  tm_profile_free(p);
  p = profile_of("/absent/prog", "", offsets, 1);
  symbolize(p, "", "", "no binary /absent/prog here");
  tm_profile_free(p);
}

static void follows_the_mode(void **state) {
  (void)state;
  tm_binary *b = open_binary("prog");
  uint64_t offsets[] = {address_of(b, "work")};
  tm_binary_free(b);
  tm_profile *p = profile_of(in_root("prog"), "", offsets, 1);
  symbolize(p, "none", "", "");
  assert_string_equal(name_at(p, 0, 0), "");
  tm_function f = {.id = 9};
  assert_int_equal(tm_profile_intern(&ctx, p, "_Z1fIiEvT_", 10, &f.name), TM_OK);
  f.system_name = f.name;
  assert_int_equal(tm_vec_push(&ctx, &p->functions, f), TM_OK);
  static const char *const modes[] = {"demangle=none", "demangle=templates", "demangle=full",
                                      "force:demangle=default"};
  static const char *const names[] = {"_Z1fIiEvT_", "f<int>", "void f<int>(int)", "f"};
  for (size_t i = 0; i < TM_COUNT(modes); i++) {
    symbolize(p, modes[i], "", "");
    assert_string_equal(tm_profile_text(p, p->functions.items[0].name), names[i]);
    assert_string_equal(tm_profile_text(p, p->functions.items[0].system_name), "_Z1fIiEvT_");
  }
  tm_symbolize_options o = {.mode = "loud"};
  assert_int_equal(tm_symbolize(&ctx, p, &o, NULL), TM_E_ARG);
  tm_ctx_clear(&ctx);
  tm_profile_free(p);
}

static void ask_all(void *data, size_t size, uint64_t address) {
  tm_binary *b = NULL;
  tm_code_frame frames[8];
  uint32_t count;
  if (tm_binary_from_buffer(&ctx, data, size, &b) != TM_OK) {
    assert_true(ctx.error.message[0]);
    tm_ctx_clear(&ctx);
    return;
  }
  for (uint64_t at = address; at < address + 64; at += 3)
    if (tm_binary_frames(&ctx, b, at, frames, 8, &count) != TM_OK) tm_ctx_clear(&ctx);
  tm_binary_free(b);
}

static void stands_damaged_binaries(void **state) {
  (void)state;
  tm_binary *b = open_binary("prog");
  uint64_t address = address_of(b, "work");
  tm_binary_free(b);
  FILE *f = fopen(in_root("prog"), "rb");
  static uint8_t whole[65536], part[65536];
  size_t size = fread(whole, 1, sizeof whole, f);
  fclose(f);
  assert_true(size < sizeof whole);
  for (size_t cut = 0; cut < size; cut += size / 97) {
    memcpy(part, whole, cut);
    ask_all(part, cut, address);
  }
  uint64_t seed = 1;
  for (int round = 0; round < 400; round++) {
    memcpy(part, whole, size);
    for (int i = 0; i < 1 + round % 30; i++) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      part[(seed >> 33) % size] = (uint8_t)(seed >> 20);
    }
    ask_all(part, size, address);
  }
  assert_int_equal(tm_binary_open(&ctx, in_root("prog.c"), &b), TM_E_FORMAT);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_binary_open(&ctx, root, &b), TM_E_FORMAT);
  tm_ctx_clear(&ctx);
  assert_int_equal(tm_binary_open(&ctx, "/absent", &b), TM_E_IO);
  tm_ctx_clear(&ctx);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(names_functions_lines_and_inlined_calls, set_up, tear_down),
      cmocka_unit_test_setup_teardown(takes_symbols_when_there_is_no_debug_data, set_up, tear_down),
      cmocka_unit_test_setup_teardown(finds_binaries_by_build_id, set_up, tear_down),
      cmocka_unit_test_setup_teardown(follows_the_mode, set_up, tear_down),
      cmocka_unit_test_setup_teardown(stands_damaged_binaries, set_up, tear_down)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
