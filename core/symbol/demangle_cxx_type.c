// Types and substitutions of the Itanium C++ ABI.
#include "symbol/demangle_cxx.h"

#include <string.h>

// NOLINTBEGIN(misc-no-recursion): depth and steps are capped by demangle_enter

// --- words ---

static const char *builtin(char c) {
  static const char *const names[] = {"signed char",
                                      "bool",
                                      "char",
                                      "double",
                                      "long double",
                                      "float",
                                      "__float128",
                                      "unsigned char",
                                      "int",
                                      "unsigned int",
                                      NULL,
                                      "long",
                                      "unsigned long",
                                      "__int128",
                                      "unsigned __int128",
                                      NULL,
                                      NULL,
                                      NULL,
                                      "short",
                                      "unsigned short",
                                      NULL,
                                      "void",
                                      "wchar_t",
                                      "long long",
                                      "unsigned long long",
                                      "..."};
  return c >= 'a' && c <= 'z' ? names[c - 'a'] : NULL;
}

// The second letter behind D.
static const char *builtin_d(char c) {
  switch (c) {
  case 'd':
    return "decimal64";
  case 'e':
    return "decimal128";
  case 'f':
    return "decimal32";
  case 'h':
    return "half";
  case 's':
    return "char16_t";
  case 'i':
    return "char32_t";
  case 'u':
    return "char8_t";
  case 'a':
    return "auto";
  case 'c':
    return "decltype(auto)";
  case 'n':
    return "decltype(nullptr)";
  default:
    return NULL;
  }
}

uint32_t cxx_qualifiers(cxx *c) {
  uint32_t flags = 0;
  if (demangle_take(c->d, 'r')) flags |= CXX_RESTRICT;
  if (demangle_take(c->d, 'V')) flags |= CXX_VOLATILE;
  if (demangle_take(c->d, 'K')) flags |= CXX_CONST;
  return flags;
}

// --- references to what was before ---

static uint32_t standard_name(cxx *c, char letter) {
  const char *name = letter == 'a'   ? "allocator"
                     : letter == 'b' ? "basic_string"
                     : letter == 's' ? "string"
                     : letter == 'i' ? "istream"
                     : letter == 'o' ? "ostream"
                                     : "iostream";
  uint32_t node = cxx_add(c, CXX_NESTED, cxx_word(c, "std"), cxx_word(c, name));
  if (node) c->nodes[node].flags = 1; // a short form
  return node;
}

uint32_t cxx_substitution(cxx *c) {
  demangler *d = c->d;
  uint64_t index = 0;
  if (!demangle_take(d, 'S')) return cxx_fail(c);
  char at = demangle_peek(d);
  if (at && strchr("absiod", at)) {
    d->at++;
    uint32_t name = standard_name(c, at);
    if (!demangle_take(d, 'B')) return name;
    name = cxx_add(c, CXX_TAGGED, name, cxx_source_name(c));
    return cxx_push_sub(c, name);
  }
  if (!demangle_take(d, '_')) {
    while (!demangle_take(d, '_')) {
      at = demangle_peek(d);
      uint32_t digit = at >= '0' && at <= '9'   ? (uint32_t)(at - '0')
                       : at >= 'A' && at <= 'Z' ? (uint32_t)(at - 'A') + 10
                                                : 36;
      if (digit == 36 || index > c->room) return cxx_fail(c);
      index = index * 36 + digit;
      d->at++;
    }
    index++;
  }
  return index < c->sub_count ? c->subs[index] : cxx_fail(c);
}

uint32_t cxx_parameter(cxx *c) {
  demangler *d = c->d;
  uint64_t level = 0, index = 0;
  if (!demangle_take(d, 'T')) return cxx_fail(c);
  if (demangle_take(d, 'L')) {
    if (!demangle_read_number(d, &level) || !demangle_take(d, '_')) return cxx_fail(c);
    level++;
  }
  if (demangle_read_number(d, &index)) index++;
  if (!demangle_take(d, '_')) return cxx_fail(c);
  bool is_auto = c->lambda_depth || level; // of a generic lambda
  bool known = !is_auto && !c->in_conversion && index < c->param_count - c->param_begin;
  uint32_t of = known ? c->params[c->param_begin + index] : 0;
  if (known && c->nodes[of].kind != CXX_PACK) return of;
  uint32_t node = cxx_add(c, CXX_PARAMETER, of, 0);
  if (!node) return 0;
  c->nodes[node].number = (uint32_t)index;
  c->nodes[node].flags = is_auto;
  return node;
}

// --- compound types ---

uint32_t cxx_parameters(cxx *c, char end) {
  demangler *d = c->d;
  const char *at = d->at;
  if (demangle_take(d, 'v')) {
    if (demangle_take(d, end)) return 0;
    d->at = at;
  }
  return cxx_list(c, cxx_type, end);
}

static uint32_t function_type(cxx *c) {
  demangler *d = c->d;
  (void)demangle_take(d, 'Y');
  uint32_t returns = cxx_type(c), first = 0, last = 0, flags = 0;
  if (!demangle_take_text(d, "vE")) {
    while (!demangle_take(d, 'E')) {
      if (demangle_take_text(d, "RE"))
        flags = CXX_LVALUE;
      else if (demangle_take_text(d, "OE"))
        flags = CXX_RVALUE;
      if (flags) break;
      uint32_t one = cxx_type(c), cell = cxx_add(c, CXX_LIST, one, 0);
      if (!one || !cell) return cxx_fail(c);
      if (last)
        c->nodes[last].b = cell;
      else
        first = cell;
      last = cell;
    }
  }
  uint32_t node = cxx_add(c, CXX_FUNCTION, returns, first);
  if (node) c->nodes[node].flags = flags;
  return returns ? node : cxx_fail(c);
}

static uint32_t array_type(cxx *c) {
  demangler *d = c->d;
  const char *text = d->at;
  uint64_t n;
  uint32_t dimension = 0;
  size_t length = 0;
  if (demangle_read_number(d, &n))
    length = (size_t)(d->at - text);
  else if (demangle_peek(d) != '_')
    dimension = cxx_expression(c);
  if (!demangle_take(d, '_')) return cxx_fail(c);
  uint32_t of = cxx_type(c), node = cxx_add_text(c, CXX_ARRAY, text, length, of);
  if (node) c->nodes[node].b = dimension;
  return of ? node : cxx_fail(c);
}

uint32_t cxx_decltype(cxx *c) {
  c->d->at += 2;
  uint32_t of = cxx_expression(c);
  if (!demangle_take(c->d, 'E')) return cxx_fail(c);
  return cxx_add_text(c, CXX_WRAPPED, "decltype (", 10, of);
}

static uint32_t vector_type(cxx *c) {
  demangler *d = c->d;
  const char *text = d->at;
  uint64_t n;
  uint32_t dimension;
  if (demangle_read_number(d, &n))
    dimension = cxx_add_text(c, CXX_NAME, text, (size_t)(d->at - text), 0);
  else
    dimension = demangle_take(d, '_') ? cxx_expression(c) : 0;
  if (!dimension || !demangle_take(d, '_')) return cxx_fail(c);
  uint32_t of = cxx_type(c), node = cxx_add_text(c, CXX_SUFFIXED, " __vector(", 10, of);
  if (node) c->nodes[node].b = dimension;
  return node;
}

static uint32_t pointer(cxx *c, const char *mark) {
  uint32_t of = cxx_type(c);
  return of ? cxx_add_text(c, CXX_POINTER, mark, strlen(mark), of) : 0;
}

static uint32_t suffixed(cxx *c, const char *suffix) {
  uint32_t of = cxx_type(c);
  return of ? cxx_add_text(c, CXX_SUFFIXED, suffix, strlen(suffix), of) : 0;
}

static uint32_t float_type(cxx *c) { // DF16_, DF16b
  demangler *d = c->d;
  const char *text = d->at;
  uint64_t n;
  if (!demangle_read_number(d, &n)) return cxx_fail(c);
  uint32_t bits = cxx_add_text(c, CXX_NAME, text, (size_t)(d->at - text), 0);
  if (demangle_take(d, 'b')) return cxx_word(c, "__bf16");
  if (!demangle_take(d, '_')) return cxx_fail(c);
  uint32_t node = cxx_add_text(c, CXX_SUFFIXED, "", 0, cxx_word(c, "_Float"));
  if (node) c->nodes[node].b = bits;
  return node;
}

// --- one type ---

// Types behind 'D'; *plain: builtin, which no S_ can name.
static uint32_t type_d(cxx *c, bool *plain) {
  demangler *d = c->d;
  char then = d->end - d->at > 1 ? d->at[1] : '\0';
  const char *name = builtin_d(then);
  if (then == 't' || then == 'T') return cxx_decltype(c);
  d->at += then ? 2 : 1;
  *plain = name || then == 'F';
  if (name) return cxx_word(c, name);
  switch (then) {
  case 'p': {
    uint32_t pattern = cxx_type(c);
    return pattern ? cxx_add(c, CXX_EXPANSION, pattern, 0) : 0;
  }
  case 'v':
    return vector_type(c);
  case 'F':
    return float_type(c);
  case 'o':
  case 'x':
    *plain = true; // the function type behind it pushes itself
    return cxx_type(c);
  default:
    return cxx_fail(c);
  }
}

static uint32_t vendor_qualified(cxx *c) {
  uint32_t name = cxx_source_name(c);
  if (!name) return 0;
  if (demangle_peek(c->d) == 'I')
    name = cxx_add(c, CXX_TEMPLATE, name, cxx_template_arguments(c, false));
  uint32_t of = cxx_type(c);
  uint32_t node = cxx_add_text(c, CXX_SUFFIXED, " ", 1, of);
  if (node) c->nodes[node].b = name;
  return of ? node : 0;
}

static uint32_t qualified(cxx *c) {
  uint32_t flags = cxx_qualifiers(c), of = cxx_type(c);
  uint32_t node = of ? cxx_add(c, CXX_QUALIFIED, of, 0) : 0;
  if (node) c->nodes[node].flags = flags;
  return node;
}

static uint32_t member_pointer(cxx *c) {
  uint32_t of = cxx_type(c), member = of ? cxx_type(c) : 0;
  return member ? cxx_add(c, CXX_MEMBER, of, member) : 0;
}

static uint32_t with_arguments(cxx *c, uint32_t name, bool push) {
  if (!name || demangle_peek(c->d) != 'I' || c->no_arguments) return name;
  if (push) cxx_push_sub(c, name);
  return cxx_add(c, CXX_TEMPLATE, name, cxx_template_arguments(c, false));
}

static uint32_t class_type(cxx *c) {
  cxx_name_end end = {.is_type = true};
  bool outer = c->no_arguments;
  c->no_arguments = false;
  uint32_t node = cxx_name(c, &end);
  c->no_arguments = outer;
  return node;
}

static uint32_t type_s(cxx *c, bool *plain) {
  if (c->d->end - c->d->at > 1 && c->d->at[1] == 't') return class_type(c);
  uint32_t node = cxx_substitution(c), whole = with_arguments(c, node, false);
  *plain = whole == node;
  return whole;
}

static uint32_t one_type(cxx *c, bool *plain) {
  demangler *d = c->d;
  char at = demangle_peek(d);
  const char *name = builtin(at);
  char then = d->end - d->at > 1 ? d->at[1] : '\0';
  if (at == 'r' || at == 'V' || at == 'K') return qualified(c);
  if (at == 'D') return type_d(c, plain);
  if (at == 'S') return type_s(c, plain);
  if (at == 'T' && then != 's' && then != 'u' && then != 'e')
    return with_arguments(c, cxx_parameter(c), true);
  if (at == 'T') d->at += 2;
  if (at == 'N' || at == 'Z' || at == 'T' || (at >= '0' && at <= '9')) return class_type(c);
  if (at) d->at++;
  *plain = name != NULL;
  if (name) return cxx_word(c, name);
  switch (at) {
  case 'A':
    return array_type(c);
  case 'C':
    return suffixed(c, " _Complex");
  case 'F':
    return function_type(c);
  case 'G':
    return suffixed(c, " _Imaginary");
  case 'M':
    return member_pointer(c);
  case 'O':
    return pointer(c, "&&");
  case 'P':
    return pointer(c, "*");
  case 'R':
    return pointer(c, "&");
  case 'U':
    return vendor_qualified(c);
  case 'u':
    return cxx_source_name(c);
  default:
    return cxx_fail(c);
  }
}

uint32_t cxx_type(cxx *c) {
  bool plain = false;
  if (!demangle_enter(c->d)) return 0;
  uint32_t node = one_type(c, &plain);
  demangle_leave(c->d);
  if (!node || c->d->failed) return cxx_fail(c);
  return plain ? node : cxx_push_sub(c, node);
}

// NOLINTEND(misc-no-recursion)
