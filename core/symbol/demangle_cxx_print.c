// Writes the tree as C++: a type is printed in two halves around its declarator, as in
// "void (*)(int)". Parts may be shared and repeat; steps and output are capped by the demangler.
#include "symbol/demangle_cxx.h"

#include <string.h>

// NOLINTBEGIN(misc-no-recursion): depth and steps are capped by demangle_enter

static void left(cxx *c, uint32_t node);
static void right(cxx *c, uint32_t node);

static void put(cxx *c, const char *text) {
  demangle_puts(c->d, text);
}

static char last_char(const cxx *c) {
  return c->d->size ? c->d->out[c->d->size - 1] : '\0';
}

// A lambda's auto, named again outside of the lambda, is an argument of the whole name's function.
static uint32_t argument_of(const cxx *c, const cxx_node *n) {
  bool is_argument = n->flags && !c->in_lambda && n->number < c->top_count;
  return is_argument ? c->params[n->number] : n->a;
}

// A parameter is what it stands for, an element of a pack while the pack is expanded.
static uint32_t resolve(const cxx *c, uint32_t node) {
  for (uint32_t steps = 0; steps < 64; steps++) {
    const cxx_node *n = &c->nodes[node];
    if (n->kind != CXX_PARAMETER) break;
    uint32_t of = argument_of(c, n);
    if (!of) break;
    node = of;
    if (c->nodes[of].kind != CXX_PACK || c->pack_index < 0) continue;
    uint32_t cell = c->nodes[of].a;
    for (int64_t i = 0; cell && i < c->pack_index; i++) cell = c->nodes[cell].b;
    if (!cell) break;
    node = c->nodes[cell].a;
  }
  return node;
}

static bool is_kind(const cxx *c, uint32_t node, cxx_kind kind) {
  node = resolve(c, node);
  while (c->nodes[node].kind == CXX_QUALIFIED) node = resolve(c, c->nodes[node].a);
  return c->nodes[node].kind == kind;
}

static void list(cxx *c, uint32_t cell) {
  bool first = true;
  for (; cell && !c->d->failed; cell = c->nodes[cell].b) {
    size_t before = c->d->size;
    if (!first) put(c, ", ");
    size_t begin = c->d->size;
    cxx_print(c, c->nodes[cell].a);
    if (c->d->size == begin)
      c->d->size = before; // an empty pack
    else
      first = false;
  }
}

static void flags(cxx *c, uint32_t f) {
  if (f & CXX_CONST) put(c, " const");
  if (f & CXX_VOLATILE) put(c, " volatile");
  if (f & CXX_RESTRICT) put(c, " restrict");
  if (f & CXX_LVALUE) put(c, " &");
  if (f & CXX_RVALUE) put(c, " &&");
}

// "const" of what is const already says nothing new.
static uint32_t flags_of(const cxx *c, uint32_t node) {
  const cxx_node *n = &c->nodes[resolve(c, node)];
  return n->kind == CXX_QUALIFIED ? n->flags : 0;
}

static void arguments(cxx *c, uint32_t cell) {
  if (c->d->mode == TM_DEMANGLE_NAMES) return;
  if (last_char(c) == '<') put(c, " ");
  put(c, "<");
  list(c, cell);
  put(c, last_char(c) == '>' ? " >" : ">");
}

static void number(cxx *c, uint32_t value) {
  demangle_number(c->d, value);
}

// --- packs ---

// How many elements the first pack under the pattern has; -1 = there is none.
static int64_t pack_length(cxx *c, uint32_t node) {
  int64_t length = -1;
  if (!node || !demangle_enter(c->d)) return -1;
  const cxx_node n = c->nodes[node];
  uint32_t of = n.kind == CXX_PARAMETER ? argument_of(c, &n) : 0;
  if (c->nodes[of].kind == CXX_PACK) {
    length = 0;
    for (uint32_t cell = c->nodes[of].a; cell; cell = c->nodes[cell].b) length++;
  } else if (n.kind != CXX_EXPANSION) {
    const uint32_t parts[] = {n.a, n.b, n.c};
    for (size_t i = 0; i < TM_COUNT(parts) && length < 0; i++) length = pack_length(c, parts[i]);
  }
  demangle_leave(c->d);
  return length;
}

static void expansion(cxx *c, uint32_t pattern) {
  int64_t outer = c->pack_index, length = pack_length(c, pattern);
  if (length < 0) {
    bool plain = !is_kind(c, pattern, CXX_PARAMETER);
    if (!plain) put(c, "(");
    cxx_print(c, pattern);
    put(c, plain ? "..." : ")...");
    return;
  }
  for (int64_t i = 0; i < length && !c->d->failed; i++) {
    if (i) put(c, ", ");
    c->pack_index = i;
    cxx_print(c, pattern);
  }
  c->pack_index = outer;
}

// --- types ---

// "& &&" is "&".
static const char *collapse(cxx *c, uint32_t *of, const char *mark) {
  uint32_t inner = resolve(c, *of);
  while (*mark == '&' && c->nodes[inner].kind == CXX_POINTER && *c->nodes[inner].text == '&') {
    if (c->nodes[inner].length == 1) mark = "&";
    *of = c->nodes[inner].a;
    inner = resolve(c, *of);
  }
  return mark;
}

static void pointer_left(cxx *c, const cxx_node *n) {
  uint32_t of = n->a;
  const char *mark = collapse(c, &of, n->text);
  left(c, of);
  if (is_kind(c, of, CXX_ARRAY)) put(c, " (");
  if (is_kind(c, of, CXX_FUNCTION)) put(c, "(");
  put(c, mark);
}

static void pointer_right(cxx *c, const cxx_node *n) {
  uint32_t of = n->a;
  (void)collapse(c, &of, n->text);
  if (is_kind(c, of, CXX_ARRAY) || is_kind(c, of, CXX_FUNCTION)) put(c, ")");
  right(c, of);
}

static void member_left(cxx *c, const cxx_node *n) {
  left(c, n->b);
  put(c, is_kind(c, n->b, CXX_FUNCTION) || is_kind(c, n->b, CXX_ARRAY) ? "(" : " ");
  cxx_print(c, n->a);
  put(c, "::*");
}

static void array_right(cxx *c, const cxx_node *n) {
  put(c, last_char(c) == ']' ? "[" : " [");
  demangle_put(c->d, n->text, n->length);
  if (n->b) cxx_print(c, n->b);
  put(c, "]");
  right(c, n->a);
}

static void right(cxx *c, uint32_t node) {
  if (!node || !demangle_enter(c->d)) return;
  const cxx_node n = c->nodes[resolve(c, node)];
  switch (n.kind) {
  case CXX_POINTER:
    pointer_right(c, &n);
    break;
  case CXX_QUALIFIED:
    right(c, n.a);
    if (is_kind(c, n.a, CXX_FUNCTION)) flags(c, n.flags);
    break;
  case CXX_FUNCTION:
    put(c, "(");
    list(c, n.b);
    put(c, ")");
    flags(c, n.flags);
    right(c, n.a);
    break;
  case CXX_ARRAY:
    array_right(c, &n);
    break;
  case CXX_MEMBER:
    if (is_kind(c, n.b, CXX_FUNCTION) || is_kind(c, n.b, CXX_ARRAY)) put(c, ")");
    right(c, n.b);
    break;
  default:
    break;
  }
  demangle_leave(c->d);
}

// --- functions ---

static void encoding(cxx *c, const cxx_node *n, bool parameters) {
  cxx_print(c, n->a);
  put(c, "(");
  if (parameters) list(c, n->b);
  put(c, ")");
  flags(c, n->flags);
}

// The outermost function shows what the mode asks for; one that others stand in has no return type.
static void outermost(cxx *c, const cxx_node *n) {
  if (c->d->mode != TM_DEMANGLE_FULL) {
    cxx_print(c, n->a);
    return;
  }
  if (n->c) {
    left(c, n->c);
    if (!is_kind(c, n->c, CXX_POINTER) || !is_kind(c, c->nodes[resolve(c, n->c)].a, CXX_FUNCTION))
      put(c, " ");
  }
  encoding(c, n, true);
  if (n->c) right(c, n->c);
}

// A lambda shows its parameters in every mode: they are part of what it is called.
static void lambda(cxx *c, const cxx_node *n) {
  bool outer = c->in_lambda;
  c->in_lambda = true;
  put(c, "{lambda(");
  list(c, n->a);
  c->in_lambda = outer;
  put(c, ")#");
  number(c, n->number);
  put(c, "}");
}

// --- expressions ---

static void operand(cxx *c, uint32_t node) {
  cxx_kind kind = c->nodes[resolve(c, node)].kind;
  bool plain = kind == CXX_NAME || kind == CXX_NUMBERED || kind == CXX_NESTED;
  if (!plain) put(c, "(");
  cxx_print(c, node);
  if (!plain) put(c, ")");
}

static void closing(cxx *c, char opening) {
  if (opening == '(') put(c, ")");
  if (opening == '[') put(c, "]");
  if (opening == '{') put(c, "}");
}

static void wrapped(cxx *c, const cxx_node *n) {
  demangle_put(c->d, n->text, n->length);
  if (c->nodes[n->a].kind == CXX_LIST)
    list(c, n->a);
  else
    cxx_print(c, n->a);
  if (n->text[n->length - 1] == '<') {
    put(c, ">(");
    cxx_print(c, n->b);
    put(c, ")");
  }
  closing(c, n->text[n->length - 1]);
}

static void binary(cxx *c, const cxx_node *n) {
  bool greater = n->length == 1 && *n->text == '>'; // is no end of arguments
  if (greater) put(c, "(");
  operand(c, n->a);
  if (n->length == 2 && memcmp(n->text, "[]", 2) == 0) {
    put(c, "[");
    cxx_print(c, n->b);
    put(c, "]");
    return;
  }
  demangle_put(c->d, n->text, n->length);
  operand(c, n->b);
  if (greater) put(c, ")");
}

static void unary(cxx *c, const cxx_node *n) {
  bool is_name = n->length > 1 || n->flags || n->text[0] == '~';
  demangle_put(c->d, n->text, n->length);
  if (is_name)
    cxx_print(c, n->a);
  else
    operand(c, n->a);
}

static void literal(cxx *c, const cxx_node *n) {
  put(c, "(");
  cxx_print(c, n->a);
  put(c, n->flags ? ")[" : ")");
  cxx_print(c, n->b);
  if (n->flags) put(c, "]");
}

static void call(cxx *c, const cxx_node *n) {
  if (n->flags) put(c, "(");
  if (n->flags || c->nodes[n->a].kind == CXX_ENCODING)
    cxx_print(c, n->a);
  else
    operand(c, n->a);
  put(c, n->flags ? ")(" : "(");
  list(c, n->b);
  put(c, ")");
}

// --- all nodes ---

static void left_name(cxx *c, const cxx_node *n) {
  switch (n->kind) {
  case CXX_NAME:
    demangle_put(c->d, n->text, n->length);
    if (n->number) number(c, n->number);
    break;
  case CXX_NESTED:
  case CXX_LOCAL:
    if (n->kind == CXX_LOCAL && c->nodes[n->a].kind == CXX_ENCODING)
      encoding(c, &c->nodes[n->a], c->d->mode == TM_DEMANGLE_FULL);
    else
      cxx_print(c, n->a);
    put(c, "::");
    cxx_print(c, n->b);
    break;
  case CXX_TEMPLATE:
    cxx_print(c, n->a);
    arguments(c, n->b);
    break;
  case CXX_ENCODING:
    encoding(c, n, true);
    break;
  case CXX_SPECIAL:
    demangle_put(c->d, n->text, n->length);
    cxx_print(c, n->a);
    break;
  case CXX_CONSTRUCTOR:
    if (n->flags) put(c, "~");
    cxx_print(c, n->a);
    break;
  case CXX_CONVERSION:
    put(c, "operator ");
    cxx_print(c, n->a);
    break;
  case CXX_LAMBDA:
    lambda(c, n);
    break;
  case CXX_NUMBERED:
    put(c, "{");
    demangle_put(c->d, n->text, n->length);
    put(c, "#");
    number(c, n->number);
    put(c, "}");
    break;
  case CXX_TAGGED:
    cxx_print(c, n->a);
    put(c, "[abi:");
    cxx_print(c, n->b);
    put(c, "]");
    break;
  default:
    break;
  }
}

static void left_type(cxx *c, const cxx_node *n) {
  switch (n->kind) {
  case CXX_LIST:
  case CXX_PACK:
    list(c, n->kind == CXX_PACK ? n->a : 0);
    break;
  case CXX_QUALIFIED:
    left(c, n->a);
    if (!is_kind(c, n->a, CXX_FUNCTION)) flags(c, n->flags & ~flags_of(c, n->a));
    break;
  case CXX_SUFFIXED:
    cxx_print(c, n->a);
    demangle_put(c->d, n->text, n->length);
    if (n->b) cxx_print(c, n->b);
    if (n->length) closing(c, n->text[n->length - 1]);
    break;
  case CXX_POINTER:
    pointer_left(c, n);
    break;
  case CXX_FUNCTION:
    left(c, n->a);
    put(c, " ");
    break;
  case CXX_ARRAY:
    left(c, n->a);
    break;
  case CXX_MEMBER:
    member_left(c, n);
    break;
  case CXX_EXPANSION:
    expansion(c, n->a);
    break;
  case CXX_PARAMETER:
    put(c, "auto:");
    number(c, n->number + 1);
    break;
  case CXX_LITERAL:
    literal(c, n);
    break;
  case CXX_UNARY:
    unary(c, n);
    break;
  case CXX_BINARY:
    binary(c, n);
    break;
  case CXX_CALL:
    call(c, n);
    break;
  case CXX_WRAPPED:
    wrapped(c, n);
    break;
  default:
    left_name(c, n);
  }
}

static void left(cxx *c, uint32_t node) {
  if (!node || !demangle_enter(c->d)) return;
  const cxx_node n = c->nodes[resolve(c, node)];
  left_type(c, &n);
  demangle_leave(c->d);
}

void cxx_print(cxx *c, uint32_t node) {
  left(c, node);
  right(c, node);
}

void cxx_print_top(cxx *c, uint32_t node) {
  const cxx_node n = c->nodes[node];
  c->d->steps = 0;
  if (n.kind == CXX_ENCODING)
    outermost(c, &n);
  else
    cxx_print(c, node);
}

// NOLINTEND(misc-no-recursion)
