// Operators, literals and expressions of the Itanium C++ ABI. Expressions stand in template
// arguments and in decltype; the rare forms that are not known here make the name stay as it is.
#include "symbol/demangle_cxx.h"

#include <string.h>

// NOLINTBEGIN(misc-no-recursion): depth and steps are capped by demangle_enter

// Sorted by nothing: the list is short, and names with operators are few.
static const cxx_operator operators[] = {
    {"aN", 2, "&="},  {"aS", 2, "="},         {"aa", 2, "&&"}, {"ad", 1, "&"},
    {"an", 2, "&"},   {"cl", 0, "()"},        {"cm", 2, ","},  {"co", 1, "~"},
    {"dV", 2, "/="},  {"da", 1, "delete[] "}, {"de", 1, "*"},  {"dl", 1, "delete "},
    {"ds", 2, ".*"},  {"dv", 2, "/"},         {"eO", 2, "^="}, {"eo", 2, "^"},
    {"eq", 2, "=="},  {"ge", 2, ">="},        {"gt", 2, ">"},  {"ix", 2, "[]"},
    {"lS", 2, "<<="}, {"le", 2, "<="},        {"ls", 2, "<<"}, {"lt", 2, "<"},
    {"mI", 2, "-="},  {"mL", 2, "*="},        {"mi", 2, "-"},  {"ml", 2, "*"},
    {"mm", 1, "--"},  {"na", 0, "new[]"},     {"ne", 2, "!="}, {"ng", 1, "-"},
    {"nt", 1, "!"},   {"nw", 0, "new"},       {"oR", 2, "|="}, {"oo", 2, "||"},
    {"or", 2, "|"},   {"pL", 2, "+="},        {"pl", 2, "+"},  {"pm", 2, "->*"},
    {"pp", 1, "++"},  {"ps", 1, "+"},         {"pt", 2, "->"}, {"qu", 3, "?"},
    {"rM", 2, "%="},  {"rS", 2, ">>="},       {"rm", 2, "%"},  {"rs", 2, ">>"},
    {"ss", 2, "<=>"}, {"aw", 1, "co_await "}};

const cxx_operator *cxx_find_operator(const cxx *c) {
  if (c->d->failed || c->d->end - c->d->at < 2) return NULL;
  for (size_t i = 0; i < TM_COUNT(operators); i++)
    if (memcmp(operators[i].code, c->d->at, 2) == 0) return &operators[i];
  return NULL;
}

static uint32_t conversion(cxx *c, cxx_name_end *end) {
  bool outer = c->in_conversion;
  c->in_conversion = c->no_arguments = true;
  uint32_t to = cxx_type(c);
  c->in_conversion = c->no_arguments = outer;
  end->no_return = true;
  return to ? cxx_add(c, CXX_CONVERSION, to, 0) : 0;
}

uint32_t cxx_operator_name(cxx *c, cxx_name_end *end) {
  demangler *d = c->d;
  if (demangle_take_text(d, "cv")) return conversion(c, end);
  if (demangle_take_text(d, "li"))
    return cxx_add_text(c, CXX_UNARY, "operator\"\" ", 11, cxx_source_name(c));
  const cxx_operator *o = cxx_find_operator(c);
  if (!o) return cxx_fail(c);
  d->at += 2;
  bool word = o->text[0] >= 'a' && o->text[0] <= 'z';
  size_t length = strlen(o->text);
  while (length && o->text[length - 1] == ' ') length--;
  uint32_t name = cxx_add_text(c, CXX_NAME, o->text, length, 0);
  return cxx_add_text(c, CXX_UNARY, word ? "operator " : "operator", word ? 9 : 8, name);
}

// --- literals ---

static const char *literal_suffix(char type) {
  switch (type) {
  case 'i':
    return "";
  case 'j':
    return "u";
  case 'l':
    return "l";
  case 'm':
    return "ul";
  case 'x':
    return "ll";
  case 'y':
    return "ull";
  default:
    return NULL;
  }
}

static uint32_t literal_value(cxx *c, char type, uint32_t type_node) {
  demangler *d = c->d;
  bool negative = demangle_take(d, 'n');
  const char *text = d->at, *suffix = literal_suffix(type);
  while (d->at < d->end && *d->at != 'E') d->at++;
  size_t length = (size_t)(d->at - text);
  if (!demangle_take(d, 'E')) return cxx_fail(c);
  if (type == 'b' && length == 1 && (*text == '0' || *text == '1'))
    return cxx_word(c, *text == '0' ? "false" : "true");
  uint32_t value = cxx_add_text(c, CXX_NAME, text, length, 0);
  if (negative) value = cxx_add_text(c, CXX_UNARY, "-", 1, value);
  if (negative && value) c->nodes[value].flags = 1; // no parentheses
  if (suffix) return cxx_add_text(c, CXX_SUFFIXED, suffix, strlen(suffix), value);
  uint32_t node = cxx_add(c, CXX_LITERAL, type_node, value);
  if (node && (type == 'f' || type == 'd' || type == 'e')) c->nodes[node].flags = 1;
  return node;
}

uint32_t cxx_literal(cxx *c) {
  demangler *d = c->d;
  if (!demangle_take(d, 'L')) return cxx_fail(c);
  if (demangle_take_text(d, "_Z") || demangle_take(d, 'Z')) {
    uint32_t of = cxx_encoding(c);
    return demangle_take(d, 'E') ? of : cxx_fail(c);
  }
  char type = demangle_peek(d);
  uint32_t node = cxx_type(c);
  return node ? literal_value(c, type, node) : 0;
}

// --- names within expressions ---

static uint32_t with_arguments(cxx *c, uint32_t name) {
  if (!name || demangle_peek(c->d) != 'I') return name;
  return cxx_add(c, CXX_TEMPLATE, name, cxx_template_arguments(c, false));
}

static uint32_t simple_id(cxx *c) {
  return with_arguments(c, cxx_source_name(c));
}

static uint32_t base_name(cxx *c) {
  demangler *d = c->d;
  cxx_name_end end = {.is_type = true};
  if (demangle_take_text(d, "on")) return with_arguments(c, cxx_operator_name(c, &end));
  if (demangle_take_text(d, "dn")) {
    bool plain = demangle_peek(d) >= '0' && demangle_peek(d) <= '9';
    return cxx_add_text(c, CXX_UNARY, "~", 1, plain ? simple_id(c) : cxx_type(c));
  }
  if (demangle_peek(d) >= '0' && demangle_peek(d) <= '9') return simple_id(c);
  return with_arguments(c, cxx_operator_name(c, &end));
}

// Behind "sr".
static uint32_t unresolved_name(cxx *c) {
  demangler *d = c->d;
  bool chain = demangle_take(d, 'N');
  bool plain = !chain && demangle_peek(d) >= '0' && demangle_peek(d) <= '9';
  if (plain) { // old compilers put a whole type and one name, new ones names up to E
    const char *at = d->at;
    uint32_t count = c->count, subs = c->sub_count, name = 0;
    while (demangle_peek(d) >= '0' && demangle_peek(d) <= '9') {
      uint32_t part = simple_id(c);
      name = name ? cxx_add(c, CXX_NESTED, name, part) : part;
      if (!part) return 0;
    }
    if (demangle_take(d, 'E')) return cxx_add(c, CXX_NESTED, name, base_name(c));
    d->at = at;
    c->count = count;
    c->sub_count = subs;
  }
  uint32_t name = cxx_type(c);
  while (chain && name && !demangle_take(d, 'E')) {
    uint32_t part = simple_id(c);
    if (!part) return 0;
    name = cxx_add(c, CXX_NESTED, name, part);
  }
  return name ? cxx_add(c, CXX_NESTED, name, base_name(c)) : 0;
}

// fp_, fp0_, fpT, fL0p_: the parameters of the function.
static uint32_t function_parameter(cxx *c) {
  demangler *d = c->d;
  uint64_t n = 0;
  bool outer = demangle_take_text(d, "fL");
  if (!outer && !demangle_take_text(d, "fp")) return cxx_fail(c);
  if (outer && (!demangle_read_number(d, &n) || !demangle_take(d, 'p'))) return cxx_fail(c);
  if (demangle_take(d, 'T')) return cxx_word(c, "this");
  (void)cxx_qualifiers(c);
  uint32_t number = demangle_read_number(d, &n) && !d->failed ? (uint32_t)n + 2 : 1;
  uint32_t node = cxx_add_text(c, CXX_NUMBERED, "parm", 4, 0);
  if (node) c->nodes[node].number = number;
  return demangle_take(d, '_') ? node : cxx_fail(c);
}

// --- expressions ---

static uint32_t wrapped(cxx *c, const char *text, uint32_t a, uint32_t b) {
  uint32_t node = cxx_add_text(c, CXX_WRAPPED, text, strlen(text), a);
  if (node) c->nodes[node].b = b;
  return node;
}

static uint32_t call(cxx *c) {
  uint32_t of = cxx_expression(c);
  return of ? cxx_add(c, CXX_CALL, of, cxx_list(c, cxx_expression, 'E')) : 0;
}

static uint32_t cast(cxx *c) {
  uint32_t to = cxx_type(c);
  if (!to) return 0;
  if (demangle_take(c->d, '_')) {
    uint32_t list = cxx_list(c, cxx_expression, 'E'), node = cxx_add(c, CXX_CALL, to, list);
    if (node) c->nodes[node].flags = 1; // (type)(list)
    return node;
  }
  uint32_t of = cxx_expression(c);
  return of ? cxx_add(c, CXX_LITERAL, to, wrapped(c, "(", of, 0)) : 0;
}

static uint32_t new_cast(cxx *c, const char *text) {
  uint32_t to = cxx_type(c), of = to ? cxx_expression(c) : 0;
  return of ? wrapped(c, text, to, of) : 0;
}

static uint32_t of_type(cxx *c, const char *text) {
  uint32_t of = cxx_type(c);
  return of ? wrapped(c, text, of, 0) : 0;
}

static uint32_t of_expression(cxx *c, const char *text) {
  uint32_t of = cxx_expression(c);
  return of ? wrapped(c, text, of, 0) : 0;
}

static uint32_t braced(cxx *c, uint32_t type) {
  uint32_t list = wrapped(c, "{", cxx_list(c, cxx_expression, 'E'), 0);
  return type ? cxx_add(c, CXX_SUFFIXED, type, list) : list;
}

// new and new[]: "[placement] _ type [pi initialisers] E".
static uint32_t allocation(cxx *c) {
  demangler *d = c->d;
  (void)cxx_list(c, cxx_expression, '_');
  uint32_t of = cxx_type(c);
  if (demangle_take_text(d, "pi"))
    (void)cxx_list(c, cxx_expression, 'E');
  else if (!demangle_take(d, 'E'))
    return cxx_fail(c);
  return of ? cxx_add_text(c, CXX_UNARY, "new ", 4, of) : 0;
}

// (a op ...), (... op a), and those with a start value.
static uint32_t fold(cxx *c) {
  demangler *d = c->d;
  char side = d->at[1];
  d->at += 2;
  const cxx_operator *o = cxx_find_operator(c);
  if (!o) return cxx_fail(c);
  d->at += 2;
  uint32_t a = cxx_expression(c), dots = cxx_word(c, "...");
  uint32_t b = a && (side == 'L' || side == 'R') ? cxx_expression(c) : dots;
  uint32_t left = side == 'l' ? dots : a, right = side == 'l' ? a : b;
  uint32_t node = cxx_add_text(c, CXX_BINARY, o->text, strlen(o->text), left);
  if (node) c->nodes[node].b = right;
  return wrapped(c, "(", node, 0);
}

static uint32_t operation(cxx *c) {
  demangler *d = c->d;
  const cxx_operator *o = cxx_find_operator(c);
  if (!o) return cxx_fail(c);
  d->at += 2;
  if (o->text[0] == 'n' && o->arity == 0) return allocation(c);
  if (o->arity == 1) {
    (void)demangle_take(d, '_'); // prefix ++ and --
    uint32_t of = cxx_expression(c);
    return of ? cxx_add_text(c, CXX_UNARY, o->text, strlen(o->text), of) : 0;
  }
  uint32_t a = cxx_expression(c), b = a ? cxx_expression(c) : 0;
  if (!b) return 0;
  uint32_t node = cxx_add_text(c, CXX_BINARY, o->text, strlen(o->text), a);
  if (o->arity == 3) {
    uint32_t other = cxx_expression(c);
    b = cxx_add_text(c, CXX_BINARY, ":", 1, b);
    if (b) c->nodes[b].b = other;
  }
  if (node) c->nodes[node].b = b;
  return node;
}

static uint32_t special_s(cxx *c) {
  demangler *d = c->d;
  if (demangle_take_text(d, "sr")) return unresolved_name(c);
  if (demangle_take_text(d, "st")) return of_type(c, "sizeof (");
  if (demangle_take_text(d, "sz")) return of_expression(c, "sizeof (");
  if (demangle_take_text(d, "sZ")) return of_expression(c, "sizeof...(");
  if (demangle_take_text(d, "sP"))
    return wrapped(c, "sizeof...(", cxx_add(c, CXX_PACK, cxx_list(c, cxx_type, 'E'), 0), 0);
  if (demangle_take_text(d, "sp")) {
    uint32_t of = cxx_expression(c);
    return of ? cxx_add(c, CXX_EXPANSION, of, 0) : 0;
  }
  return demangle_take_text(d, "sc") ? new_cast(c, "static_cast<") : operation(c);
}

static uint32_t special_other(cxx *c) {
  demangler *d = c->d;
  if (demangle_take_text(d, "cl")) return call(c);
  if (demangle_take_text(d, "cv")) return cast(c);
  if (demangle_take_text(d, "cc")) return new_cast(c, "const_cast<");
  if (demangle_take_text(d, "dc")) return new_cast(c, "dynamic_cast<");
  if (demangle_take_text(d, "rc")) return new_cast(c, "reinterpret_cast<");
  if (demangle_take_text(d, "at")) return of_type(c, "alignof (");
  if (demangle_take_text(d, "az")) return of_expression(c, "alignof (");
  if (demangle_take_text(d, "ti")) return of_type(c, "typeid (");
  if (demangle_take_text(d, "te")) return of_expression(c, "typeid (");
  if (demangle_take_text(d, "nx")) return of_expression(c, "noexcept (");
  if (demangle_take_text(d, "tr")) return cxx_word(c, "throw");
  if (demangle_take_text(d, "il")) return braced(c, 0);
  if (demangle_take_text(d, "tl")) {
    uint32_t type = cxx_type(c);
    return type ? braced(c, type) : 0;
  }
  if (demangle_take_text(d, "dt")) {
    uint32_t a = cxx_expression(c), b = a ? base_name(c) : 0;
    uint32_t node = cxx_add_text(c, CXX_SUFFIXED, ".", 1, a);
    if (node) c->nodes[node].b = b;
    return b ? node : 0;
  }
  if (demangle_take_text(d, "gs")) return cxx_add_text(c, CXX_UNARY, "::", 2, cxx_expression(c));
  return operation(c);
}

static uint32_t one_expression(cxx *c) {
  demangler *d = c->d;
  char at = demangle_peek(d), then = d->end - d->at > 1 ? d->at[1] : '\0';
  switch (at) {
  case 'L':
    return cxx_literal(c);
  case 'T':
    return cxx_parameter(c);
  case 's':
    return special_s(c);
  case 'f':
    return then == 'p' || (then == 'L' && d->end - d->at > 2 && d->at[2] >= '0' && d->at[2] <= '9')
               ? function_parameter(c)
               : fold(c);
  case 'o':
    if (then == 'n') return base_name(c);
    return operation(c);
  default:
    return at >= '0' && at <= '9' ? simple_id(c) : special_other(c);
  }
}

uint32_t cxx_expression(cxx *c) {
  if (!demangle_enter(c->d)) return 0;
  uint32_t node = one_expression(c);
  demangle_leave(c->d);
  return node;
}

// NOLINTEND(misc-no-recursion)
