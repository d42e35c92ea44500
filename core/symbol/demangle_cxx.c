// Names and encodings of the Itanium C++ ABI. One pass, one rule per function; the tree's nodes lie
// in one array of scratch memory whose size follows from the length of the name.
#include "symbol/demangle_cxx.h"

#include <string.h>

// NOLINTBEGIN(misc-no-recursion): depth and steps are capped by demangle_enter

uint32_t cxx_fail(cxx *c) {
  demangle_fail(c->d);
  return 0;
}

uint32_t cxx_add(cxx *c, cxx_kind kind, uint32_t a, uint32_t b) {
  if (c->d->failed || c->count == c->room) return cxx_fail(c);
  c->nodes[c->count] = (cxx_node){.kind = kind, .a = a, .b = b};
  return c->count++;
}

uint32_t cxx_add_text(cxx *c, cxx_kind kind, const char *text, size_t length, uint32_t a) {
  uint32_t node = cxx_add(c, kind, a, 0);
  if (!node) return 0;
  c->nodes[node].text = text;
  c->nodes[node].length = (uint32_t)length;
  return node;
}

uint32_t cxx_word(cxx *c, const char *text) {
  return cxx_add_text(c, CXX_NAME, text, strlen(text), 0);
}

uint32_t cxx_push_sub(cxx *c, uint32_t node) {
  if (!node || c->sub_count == c->room) return cxx_fail(c);
  return c->subs[c->sub_count++] = node;
}

uint32_t cxx_list(cxx *c, cxx_rule item, char end) {
  uint32_t first = 0, last = 0;
  while (!demangle_take(c->d, end)) {
    uint32_t one = item(c), cell = cxx_add(c, CXX_LIST, one, 0);
    if (!one || !cell) return cxx_fail(c);
    if (last)
      c->nodes[last].b = cell;
    else
      first = cell;
    last = cell;
  }
  return first;
}

// --- unqualified names ---

uint32_t cxx_source_name(cxx *c) {
  demangler *d = c->d;
  uint64_t length;
  if (!demangle_read_number(d, &length) || !length || length > (uint64_t)(d->end - d->at))
    return cxx_fail(c);
  const char *text = d->at;
  d->at += length;
  if (length >= 10 && memcmp(text, "_GLOBAL_", 8) == 0 && text[9] == 'N')
    return cxx_word(c, "(anonymous namespace)");
  return cxx_add_text(c, CXX_NAME, text, length, 0);
}

static uint32_t tags(cxx *c, uint32_t name) {
  while (name && demangle_take(c->d, 'B')) name = cxx_add(c, CXX_TAGGED, name, cxx_source_name(c));
  return name;
}

// "_" is 1, "0_" is 2.
static uint32_t ordinal(cxx *c) {
  uint64_t n;
  uint32_t value = demangle_read_number(c->d, &n) ? (uint32_t)n + 2 : 1;
  if (!demangle_take(c->d, '_')) cxx_fail(c);
  return value;
}

static uint32_t numbered(cxx *c, const char *text) {
  uint32_t node = cxx_add_text(c, CXX_NUMBERED, text, strlen(text), 0), number = ordinal(c);
  if (node) c->nodes[node].number = number;
  return node;
}

static uint32_t lambda(cxx *c) {
  c->lambda_depth++;
  uint32_t params = cxx_parameters(c, 'E'), node = cxx_add(c, CXX_LAMBDA, params, 0);
  c->lambda_depth--;
  uint32_t number = ordinal(c);
  if (node) c->nodes[node].number = number;
  return node;
}

static uint32_t structured_binding(cxx *c) {
  uint32_t node = cxx_add_text(c, CXX_WRAPPED, "[", 1, cxx_list(c, cxx_source_name, 'E'));
  return node;
}

static uint32_t unqualified(cxx *c, cxx_name_end *end) {
  demangler *d = c->d;
  uint32_t name;
  (void)demangle_take(d, 'L');
  if (demangle_take_text(d, "Ut"))
    name = numbered(c, "unnamed type");
  else if (demangle_take_text(d, "Ul"))
    name = lambda(c);
  else if (demangle_take_text(d, "DC"))
    name = structured_binding(c);
  else if (demangle_peek(d) >= '1' && demangle_peek(d) <= '9')
    name = cxx_source_name(c);
  else
    name = cxx_operator_name(c, end);
  return tags(c, name);
}

// --- nested and local names ---

// The name that a constructor repeats.
static uint32_t last_part(const cxx *c, uint32_t node) {
  for (uint32_t steps = 0; node && steps < c->room; steps++) {
    const cxx_node *n = &c->nodes[node];
    if (n->kind == CXX_NESTED || n->kind == CXX_LOCAL)
      node = n->b;
    else if (n->kind == CXX_TEMPLATE || n->kind == CXX_TAGGED)
      node = n->a;
    else
      break;
  }
  return node;
}

// "Ss" is std::string, but its constructor is that of basic_string.
static uint32_t spell_out(cxx *c, uint32_t node) {
  static const char *const names[] = {"string", "istream", "ostream", "iostream"};
  static const char *const full[] = {"basic_string", "basic_istream", "basic_ostream",
                                     "basic_iostream"};
  const cxx_node *n = &c->nodes[node];
  if (!n->flags || n->kind != CXX_NESTED) return node;
  for (size_t i = 0; i < TM_COUNT(names); i++) {
    const cxx_node *word = &c->nodes[n->b];
    if (strlen(names[i]) != word->length || memcmp(word->text, names[i], word->length) != 0)
      continue;
    uint32_t of_char = cxx_add(c, CXX_LIST, cxx_word(c, "char"), 0);
    uint32_t memory = cxx_add(c, CXX_TEMPLATE, cxx_word(c, "std::allocator"), of_char);
    uint32_t traits = cxx_add(c, CXX_TEMPLATE, cxx_word(c, "std::char_traits"), of_char);
    uint32_t list = cxx_add(c, CXX_LIST, traits, i ? 0 : cxx_add(c, CXX_LIST, memory, 0));
    list = cxx_add(c, CXX_LIST, cxx_word(c, "char"), list);
    uint32_t name = cxx_add(c, CXX_NESTED, cxx_word(c, "std"), cxx_word(c, full[i]));
    return cxx_add(c, CXX_TEMPLATE, name, list);
  }
  return node;
}

static uint32_t constructor(cxx *c, uint32_t of, cxx_name_end *end) {
  demangler *d = c->d;
  bool destroys = *d->at++ == 'D';
  bool inherits = !destroys && demangle_take(d, 'I');
  if (!of || demangle_peek(d) < '0' || demangle_peek(d) > '9') return cxx_fail(c);
  d->at++;
  if (inherits) {
    cxx_name_end ignored = {0};
    if (!cxx_name(c, &ignored)) return 0;
  }
  end->no_return = true;
  of = spell_out(c, of);
  uint32_t node = cxx_add(c, CXX_CONSTRUCTOR, last_part(c, of), 0);
  if (node) c->nodes[node].flags = destroys;
  return cxx_add(c, CXX_NESTED, of, tags(c, node));
}

static uint32_t next_part(cxx *c, uint32_t so_far, cxx_name_end *end) {
  demangler *d = c->d;
  char at = demangle_peek(d), then = d->end - d->at > 1 ? d->at[1] : '\0';
  end->has_arguments = false;
  if (at == 'T' && !so_far) return cxx_push_sub(c, cxx_parameter(c));
  if (at == 'D' && (then == 't' || then == 'T') && !so_far) return cxx_push_sub(c, cxx_decltype(c));
  if (at == 'I' && so_far) {
    end->has_arguments = true;
    return cxx_push_sub(c,
                        cxx_add(c, CXX_TEMPLATE, so_far, cxx_template_arguments(c, !end->is_type)));
  }
  if (at == 'S' && !so_far)
    return demangle_take_text(d, "St") ? cxx_word(c, "std") : cxx_substitution(c);
  if (at == 'C' || (at == 'D' && then != 'C')) return cxx_push_sub(c, constructor(c, so_far, end));
  if (at == 'M' && so_far) return d->at++, so_far;
  uint32_t part = unqualified(c, end);
  if (!part) return 0;
  return cxx_push_sub(c, so_far ? cxx_add(c, CXX_NESTED, so_far, part) : part);
}

static uint32_t nested(cxx *c, cxx_name_end *end) {
  demangler *d = c->d;
  uint32_t so_far = 0;
  (void)demangle_take(d, 'H');
  uint32_t flags = cxx_qualifiers(c);
  if (demangle_take(d, 'R'))
    flags |= CXX_LVALUE;
  else if (demangle_take(d, 'O'))
    flags |= CXX_RVALUE;
  uint32_t subs = c->sub_count;
  while (!demangle_take(d, 'E'))
    if (!(so_far = next_part(c, so_far, end))) return cxx_fail(c);
  if (!so_far || c->sub_count == subs) return cxx_fail(c);
  c->sub_count--; // the whole name is no substitute; a type pushes it itself
  end->flags = flags;
  return so_far;
}

static void discriminator(cxx *c) {
  demangler *d = c->d;
  uint64_t n;
  char then = d->end - d->at > 1 ? d->at[1] : '\0';
  if (demangle_take_text(d, "__")) {
    if (!demangle_read_number(d, &n) || !demangle_take(d, '_')) cxx_fail(c);
  } else if (demangle_peek(d) == '_' && then >= '0' && then <= '9') {
    d->at += 2;
  }
}

static uint32_t local(cxx *c, cxx_name_end *end) {
  demangler *d = c->d;
  uint32_t function = cxx_encoding(c), entity;
  if (!demangle_take(d, 'E')) return cxx_fail(c);
  if (demangle_take(d, 's')) {
    discriminator(c);
    return cxx_add(c, CXX_LOCAL, function, cxx_word(c, "string literal"));
  }
  if (demangle_take(d, 'd')) {
    uint32_t argument = numbered(c, "default arg");
    entity = cxx_name(c, end);
    return cxx_add(c, CXX_LOCAL, function, cxx_add(c, CXX_NESTED, argument, entity));
  }
  entity = cxx_name(c, end);
  discriminator(c);
  return entity ? cxx_add(c, CXX_LOCAL, function, entity) : 0;
}

static uint32_t unscoped(cxx *c, cxx_name_end *end) {
  bool in_std = demangle_take_text(c->d, "St");
  uint32_t name = unqualified(c, end);
  return in_std && name ? cxx_add(c, CXX_NESTED, cxx_word(c, "std"), name) : name;
}

static uint32_t any_name(cxx *c, cxx_name_end *end) {
  demangler *d = c->d;
  if (demangle_take(d, 'N')) return nested(c, end);
  if (demangle_take(d, 'Z')) return local(c, end);
  bool substitute = demangle_peek(d) == 'S' && d->end - d->at > 1 && d->at[1] != 't';
  uint32_t name = substitute ? cxx_substitution(c) : unscoped(c, end);
  if (!name || demangle_peek(d) != 'I') return substitute ? cxx_fail(c) : name;
  if (!substitute) cxx_push_sub(c, name);
  end->has_arguments = true;
  return cxx_add(c, CXX_TEMPLATE, name, cxx_template_arguments(c, !end->is_type));
}

uint32_t cxx_name(cxx *c, cxx_name_end *end) {
  if (!demangle_enter(c->d)) return 0;
  uint32_t name = any_name(c, end);
  demangle_leave(c->d);
  return name;
}

// --- template arguments ---

static uint32_t template_argument(cxx *c);

static uint32_t argument(cxx *c) {
  demangler *d = c->d;
  uint32_t node;
  if (demangle_take(d, 'X')) {
    node = cxx_expression(c);
    return demangle_take(d, 'E') ? node : cxx_fail(c);
  }
  if (demangle_take(d, 'J')) return cxx_add(c, CXX_PACK, cxx_list(c, template_argument, 'E'), 0);
  if (demangle_take_text(d, "LZ")) {
    node = cxx_encoding(c);
    return demangle_take(d, 'E') ? node : cxx_fail(c);
  }
  return demangle_peek(d) == 'L' ? cxx_literal(c) : cxx_type(c);
}

static uint32_t template_argument(cxx *c) {
  if (!demangle_enter(c->d)) return 0;
  uint32_t node = argument(c);
  demangle_leave(c->d);
  return node;
}

// The arguments of a function's own name are what T_ means behind it.
uint32_t cxx_template_arguments(cxx *c, bool of_function) {
  uint32_t first = 0, last = 0;
  if (!demangle_take(c->d, 'I')) return cxx_fail(c);
  if (of_function) c->param_count = c->param_begin;
  while (!demangle_take(c->d, 'E')) {
    uint32_t one = template_argument(c), cell = cxx_add(c, CXX_LIST, one, 0);
    if (!one || !cell || c->param_count == c->room) return cxx_fail(c);
    if (of_function) c->params[c->param_count++] = one;
    if (last)
      c->nodes[last].b = cell;
    else
      first = cell;
    last = cell;
  }
  return first ? first : cxx_add(c, CXX_LIST, cxx_word(c, ""), 0);
}

// --- encodings ---

static bool at_end(const demangler *d) {
  char c = demangle_peek(d);
  return d->failed || !c || c == 'E' || c == '.' || c == '_';
}

// A conversion operator's type may name arguments that come behind it.
static void resolve(cxx *c, uint32_t from) {
  for (uint32_t i = from; i < c->count; i++) {
    cxx_node *n = &c->nodes[i];
    if (n->kind == CXX_PARAMETER && !n->a && !n->flags
        && n->number < c->param_count - c->param_begin)
      n->a = c->params[c->param_begin + n->number];
  }
}

static uint32_t function(cxx *c) {
  cxx_name_end end = {0};
  uint32_t before = c->count, name = cxx_name(c, &end);
  resolve(c, before);
  if (at_end(c->d)) return name;
  uint32_t returns = end.has_arguments && !end.no_return ? cxx_type(c) : 0;
  uint32_t node = cxx_add(c, CXX_ENCODING, name, 0), first = 0, last = 0;
  if (!demangle_take(c->d, 'v')) {
    while (!at_end(c->d) && demangle_peek(c->d) != 'Q') {
      uint32_t cell = cxx_add(c, CXX_LIST, cxx_type(c), 0);
      if (!cell) return 0;
      if (last)
        c->nodes[last].b = cell;
      else
        first = cell;
      last = cell;
    }
  }
  if (!node || c->d->failed) return 0;
  c->nodes[node].b = first;
  c->nodes[node].c = returns;
  c->nodes[node].flags = end.flags;
  return node;
}

static uint32_t call_offset(cxx *c, char kind) {
  uint64_t n;
  for (int i = 0; i < (kind == 'v' ? 2 : 1); i++) {
    (void)demangle_take(c->d, 'n');
    if (!demangle_read_number(c->d, &n) || !demangle_take(c->d, '_')) return cxx_fail(c);
  }
  return 1;
}

// The vtable of a base while an object is built: type, offset, base.
static uint32_t construction_vtable(cxx *c) {
  uint64_t n;
  uint32_t whole = cxx_type(c);
  if (!demangle_read_number(c->d, &n) || !demangle_take(c->d, '_')) return cxx_fail(c);
  uint32_t base = cxx_type(c), node = cxx_add_text(c, CXX_SUFFIXED, "-in-", 4, base);
  if (!node || !whole) return cxx_fail(c);
  c->nodes[node].b = whole;
  return cxx_add_text(c, CXX_SPECIAL, "construction vtable for ", 24, node);
}

static uint32_t special_name(cxx *c) {
  static const struct {
    const char *code, *text;
    char what; // type, name or encoding
  } table[] = {{"TV", "vtable for ", 't'},
               {"TT", "VTT for ", 't'},
               {"TI", "typeinfo for ", 't'},
               {"TS", "typeinfo name for ", 't'},
               {"TA", "template parameter object for ", 'a'},
               {"TH", "TLS init function for ", 'n'},
               {"TW", "TLS wrapper function for ", 'n'},
               {"GV", "guard variable for ", 'n'},
               {"GR", "reference temporary for ", 'n'},
               {"GTt", "transaction clone for ", 'e'},
               {"GTn", "non-transaction clone for ", 'e'},
               {"Th", "non-virtual thunk to ", 'h'},
               {"Tv", "virtual thunk to ", 'v'},
               {"Tc", "covariant return thunk to ", 'c'}};
  demangler *d = c->d;
  size_t i = 0;
  cxx_name_end end = {0};
  if (demangle_take_text(d, "TC")) return construction_vtable(c);
  while (i < TM_COUNT(table) && !demangle_take_text(d, table[i].code)) i++;
  if (i == TM_COUNT(table)) return cxx_fail(c);
  char what = table[i].what;
  if ((what == 'h' || what == 'v') && !call_offset(c, what)) return 0;
  for (int k = 0; what == 'c' && k < 2; k++) {
    char kind = demangle_take(d, 'h') ? 'h' : demangle_take(d, 'v') ? 'v' : '\0';
    if (!kind || !call_offset(c, kind)) return cxx_fail(c);
  }
  uint32_t of = what == 't'   ? cxx_type(c)
                : what == 'a' ? template_argument(c)
                : what == 'n' ? cxx_name(c, &end)
                              : cxx_encoding(c);
  if (table[i].code[1] == 'R' && of) (void)ordinal(c);
  return of ? cxx_add_text(c, CXX_SPECIAL, table[i].text, strlen(table[i].text), of) : 0;
}

uint32_t cxx_encoding(cxx *c) {
  if (!demangle_enter(c->d)) return 0;
  uint32_t begin = c->param_begin, count = c->param_count;
  c->param_begin = c->param_count;
  char at = demangle_peek(c->d);
  uint32_t node = at == 'G' || at == 'T' ? special_name(c) : function(c);
  c->top_count = c->param_count - c->param_begin;
  c->param_begin = begin;
  c->param_count = count;
  demangle_leave(c->d);
  return node;
}

// NOLINTEND(misc-no-recursion)

// Compilers add ".constprop.0", ".cold" and the like to clones.
static bool is_clone_suffix(const demangler *d) {
  if (d->at == d->end) return true;
  if (*d->at != '.') return false;
  for (const char *s = d->at; s < d->end; s++) {
    bool known = (*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9') || *s == '.' || *s == '_';
    if (!known) return false;
  }
  return true;
}

bool demangle_cxx(demangler *d) {
  size_t length = (size_t)(d->end - d->at);
  cxx c = {.d = d, .count = 1, .room = 2 * (uint32_t)length + 64, .pack_index = -1};
  c.nodes = tm_arena_calloc(&d->ctx->scratch, c.room, sizeof *c.nodes);
  c.subs = tm_arena_calloc(&d->ctx->scratch, c.room, sizeof *c.subs);
  c.params = tm_arena_calloc(&d->ctx->scratch, c.room, sizeof *c.params);
  if (!c.nodes || !c.subs || !c.params) return false;
  uint32_t node = cxx_encoding(&c);
  if (!node || d->failed || !is_clone_suffix(d)) return false;
  cxx_print_top(&c, node);
  return !d->failed;
}
