// floors: symbol
// Names of compilers against what they stand for; hostile ones come back as they are.
#include "symbol/demangle.h"
#include "unit.h"

#include <stdio.h>
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

static void expect(const char *name, tm_demangle_mode mode, const char *want) {
  tm_bytes text = {0};
  bool changed;
  assert_int_equal(tm_demangle(&ctx, name, mode, &text, &changed), TM_OK);
  assert_int_equal(changed, strcmp(name, want) != 0);
  assert_int_equal(tm_bytes_append(&ctx, &text, "", 1), TM_OK);
  assert_string_equal(changed ? (const char *)text.data : name, want);
  tm_bytes_free(&ctx, &text);
}

typedef struct example {
  const char *name, *names, *templates, *full;
} example;

static void check(const example *examples, size_t count) {
  for (size_t i = 0; i < count; i++) {
    expect(examples[i].name, TM_DEMANGLE_NAMES, examples[i].names);
    expect(examples[i].name, TM_DEMANGLE_TEMPLATES, examples[i].templates);
    expect(examples[i].name, TM_DEMANGLE_FULL, examples[i].full);
    expect(examples[i].name, TM_DEMANGLE_NONE, examples[i].name);
  }
}

static void reads_cxx(void **state) {
  (void)state;
  static const example examples[] = {
      {"_Z3foov", "foo", "foo", "foo()"},
      {"__Z3foov", "foo", "foo", "foo()"},
      {"_ZL3foov.constprop.0", "foo", "foo", "foo()"},
      {"_ZN12_GLOBAL__N_13fooEv", "(anonymous namespace)::foo", "(anonymous namespace)::foo",
       "(anonymous namespace)::foo()"},
      {"_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector::push_back",
       "std::vector<int, std::allocator<int> >::push_back",
       "std::vector<int, std::allocator<int> >::push_back(int&&)"},
      {"_ZNSsC1Ev", "std::basic_string::basic_string",
       "std::basic_string<char, std::char_traits<char>, std::allocator<char> >::basic_string",
       "std::basic_string<char, std::char_traits<char>, std::allocator<char> >::basic_string()"},
      {"_ZZ3fooiENKUlicE_clEic", "foo()::{lambda(int, char)#1}::operator()",
       "foo()::{lambda(int, char)#1}::operator()",
       "foo(int)::{lambda(int, char)#1}::operator()(int, char) const"},
      {"_ZStlsISt11char_traitsIcEERSt13basic_ostreamIcT_ES5_PKc", "std::operator<<",
       "std::operator<< <std::char_traits<char> >",
       "std::basic_ostream<char, std::char_traits<char> >& std::operator<< "
       "<std::char_traits<char> >(std::basic_ostream<char, std::char_traits<char> >&, "
       "char const*)"},
      {"_Z1fPFvPKcEA3_iRA4_dM1AKFivE", "f", "f",
       "f(void (*)(char const*), int [3], double (&) [4], int (A::*)() const)"},
      {"_Z1fIJidEEvDpT_", "f", "f<int, double>", "void f<int, double>(int, double)"},
      {"_Z1fIJEEvDpT_", "f", "f<>", "void f<>()"},
      {"_ZN3FoocvT_IiEEv", "Foo::operator int", "Foo::operator int<int>",
       "Foo::operator int<int>()"},
      {"_Z3fooILb1ELj3ELc97ELl5ELin2EEvv", "foo", "foo<true, 3u, (char)97, 5l, -2>",
       "void foo<true, 3u, (char)97, 5l, -2>()"},
      {"_ZTV3Foo", "vtable for Foo", "vtable for Foo", "vtable for Foo"},
      {"_ZThn16_N3Foo3barEv", "non-virtual thunk to Foo::bar()", "non-virtual thunk to Foo::bar()",
       "non-virtual thunk to Foo::bar()"},
      {"_ZN3fooB5cxx11Ev", "foo[abi:cxx11]", "foo[abi:cxx11]", "foo[abi:cxx11]()"}};
  check(examples, TM_COUNT(examples));
}

// The v0 names with generic arguments are of RFC 2603 and of rustc's own tests.
static void reads_rust(void **state) {
  (void)state;
  static const example examples[] = {
      {"_ZN4core3ptr13drop_in_place17h0123456789abcdefE", "core::ptr::drop_in_place",
       "core::ptr::drop_in_place", "core::ptr::drop_in_place"},
      {"_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar"
       "17h930b740aa94f1d3aE.llvm.123",
       "<Test + 'static as foo::Bar<Test>>::bar", "<Test + 'static as foo::Bar<Test>>::bar",
       "<Test + 'static as foo::Bar<Test>>::bar"},
      {"_RNvNtCs1234_7mycrate3foo3bar", "mycrate::foo::bar", "mycrate::foo::bar",
       "mycrate::foo::bar"},
      {"_RINvNtC3std3mem8align_ofNtNtC3std3mem12DiscriminantE", "std::mem::align_of::<>",
       "std::mem::align_of::<std::mem::Discriminant>",
       "std::mem::align_of::<std::mem::Discriminant>"},
      {"_RNCNvC7mycrate4mains0_0", "mycrate::main::{closure#2}", "mycrate::main::{closure#2}",
       "mycrate::main::{closure#2}"},
      {"_RNCNCNvC7mycrate4main03foo", "mycrate::main::{closure#0}::{closure:foo#0}",
       "mycrate::main::{closure#0}::{closure:foo#0}",
       "mycrate::main::{closure#0}::{closure:foo#0}"},
      {"_RNqCs4fqI2P2rA04_11utf8_identsu30____7hkackfecea1cbdathfdh9hlq6y",
       "utf8_idents::\xe1\x83\xa1\xe1\x83\x90\xe1\x83\xad\xe1\x83\x9b\xe1\x83\x94\xe1\x83\x9a\xe1"
       "\x83\x90\xe1\x83\x93_\xe1\x83\x92\xe1\x83\x94\xe1\x83\x9b\xe1\x83\xa0\xe1\x83\x98\xe1\x83"
       "\x94\xe1\x83\x9a\xe1\x83\x98_\xe1\x83\xa1\xe1\x83\x90\xe1\x83\x93\xe1\x83\x98\xe1\x83\x9a"
       "\xe1\x83\x98",
       "utf8_idents::\xe1\x83\xa1\xe1\x83\x90\xe1\x83\xad\xe1\x83\x9b\xe1\x83\x94\xe1\x83\x9a\xe1"
       "\x83\x90\xe1\x83\x93_\xe1\x83\x92\xe1\x83\x94\xe1\x83\x9b\xe1\x83\xa0\xe1\x83\x98\xe1\x83"
       "\x94\xe1\x83\x9a\xe1\x83\x98_\xe1\x83\xa1\xe1\x83\x90\xe1\x83\x93\xe1\x83\x98\xe1\x83\x9a"
       "\xe1\x83\x98",
       "utf8_idents::\xe1\x83\xa1\xe1\x83\x90\xe1\x83\xad\xe1\x83\x9b\xe1\x83\x94\xe1\x83\x9a\xe1"
       "\x83\x90\xe1\x83\x93_\xe1\x83\x92\xe1\x83\x94\xe1\x83\x9b\xe1\x83\xa0\xe1\x83\x98\xe1\x83"
       "\x94\xe1\x83\x9a\xe1\x83\x98_\xe1\x83\xa1\xe1\x83\x90\xe1\x83\x93\xe1\x83\x98\xe1\x83\x9a"
       "\xe1\x83\x98"}};
  check(examples, TM_COUNT(examples));
  expect("_RINvC1a1fDNtC1b1Tp4ItemjEL_RlQhTlEThmEAsj8_SbPcOdFKCeEuFG0_URL0_yEaKj7b_Kb1_Kc61_Kln5_E",
         TM_DEMANGLE_FULL,
         "a::f::<dyn b::T<Item = usize>, &i32, &mut u8, (i32,), (u8, u32), [i16; 8], [bool], "
         "*const char, *mut f64, extern \"C\" fn(str), for<'a, 'b> unsafe fn(&'b u64) -> i8, 123, "
         "true, 'a', -5>");
}

static void leaves_other_names_alone(void **state) {
  (void)state;
  static const char *const names[] = {"",
                                      "_",
                                      "main",
                                      "main.(*T).Method",
                                      "_Z",
                                      "_ZN",
                                      "_R",
                                      "_RNvC",
                                      "_Zfoo",
                                      "_ZNE",
                                      "_Z3fo",
                                      "_ZS_",
                                      "_Z1fS9_",
                                      "_Z1fT",
                                      "_ZN1fIiEv",
                                      "_RB_",
                                      "_RNvB_1a",
                                      "_RNvC3abc3d",
                                      "_ZZZZZZZZ",
                                      "_Z99999999999999999999x",
                                      "_RNvC99999999999999999999x1a",
                                      "_Znonsense",
                                      "_Z3foov.CAPS",
                                      "_ZN4core17h0000000000000000E!"};
  for (size_t i = 0; i < TM_COUNT(names); i++) expect(names[i], TM_DEMANGLE_FULL, names[i]);
}

static void any_answer(const char *name) {
  tm_bytes text = {0};
  bool changed;
  assert_int_equal(tm_demangle(&ctx, name, TM_DEMANGLE_FULL, &text, &changed), TM_OK);
  assert_true(text.size <= 65536);
  tm_bytes_free(&ctx, &text);
}

// Each pair doubles the one before: 2^40 words in 600 bytes. And nesting without an end.
static void stands_bombs_and_towers(void **state) {
  (void)state;
  static char name[60000];
  size_t n = (size_t)snprintf(name, sizeof name, "_Z1fSt4pairIiiE");
  for (int i = 0; i < 40; i++)
    n += (size_t)snprintf(name + n, sizeof name - n, "St4pairIS%c_S%c_E", 'A' + i % 20,
                          'A' + i % 20);
  any_answer(name);
  n = (size_t)snprintf(name, sizeof name, "_Z1fSt4pairIiiES_IS0_S0_E");
  for (int i = 1; i < 9; i++)
    n += (size_t)snprintf(name + n, sizeof name - n, "S_IS%d_S%d_E", i, i);
  any_answer(name);
  static const char towers[] = "PKNIXJFRUlZ";
  for (size_t i = 0; towers[i]; i++) {
    memset(name, towers[i], sizeof name - 1);
    memcpy(name, "_Z1f", 4);
    name[sizeof name - 1] = '\0';
    any_answer(name);
    memcpy(name, "_RIC", 4);
    any_answer(name);
  }
  any_answer("_RNvB0_1a");
  any_answer("_RINvC1a1fTB7_B7_B7_B7_B7_B7_EE");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(reads_cxx, set_up, tear_down),
      cmocka_unit_test_setup_teardown(reads_rust, set_up, tear_down),
      cmocka_unit_test_setup_teardown(leaves_other_names_alone, set_up, tear_down),
      cmocka_unit_test_setup_teardown(stands_bombs_and_towers, set_up, tear_down)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
