// The tree of a C++ name: made by the parser of names, types and expressions, read by the printer.
// The grammar's back references ("S1_", "T_") make it a graph without cycles.
#ifndef TM_SYMBOL_DEMANGLE_CXX_H
#define TM_SYMBOL_DEMANGLE_CXX_H

#include "symbol/demangle_impl.h"

typedef enum cxx_kind {
  CXX_NAME,        // text
  CXX_NESTED,      // a::b
  CXX_LOCAL,       // a::b, a is a function
  CXX_TEMPLATE,    // a<b>
  CXX_LIST,        // a, then the list b
  CXX_PACK,        // the elements of the list a
  CXX_ENCODING,    // function a with parameters b, returns c
  CXX_SPECIAL,     // text a: "vtable for "
  CXX_CONSTRUCTOR, // of a; flags: 1 = destructor
  CXX_CONVERSION,  // operator a
  CXX_LAMBDA,      // {lambda(a)#number}
  CXX_NUMBERED,    // {text#number}
  CXX_TAGGED,      // a[abi:b]
  CXX_QUALIFIED,   // a, flags: CXX_CONST...
  CXX_SUFFIXED,    // a and text
  CXX_POINTER,     // a, text: "*", "&" or "&&"
  CXX_FUNCTION,    // returns a, parameters b, flags
  CXX_ARRAY,       // of a, dimension: number text or expression b
  CXX_MEMBER,      // pointer to a member b of class a
  CXX_EXPANSION,   // pattern a...
  CXX_PARAMETER,   // template parameter number, a once it is known; flags 1: auto of a lambda
  CXX_LITERAL,     // (a)text
  CXX_UNARY,       // text a
  CXX_BINARY,      // a text b
  CXX_CALL,        // a(b)
  CXX_WRAPPED      // text a, b: "sizeof (" a ")", "static_cast<" a ">(" b ")"
} cxx_kind;

enum { CXX_CONST = 1, CXX_VOLATILE = 2, CXX_RESTRICT = 4, CXX_LVALUE = 8, CXX_RVALUE = 16 };

typedef struct cxx_node {
  cxx_kind kind;
  uint32_t flags, number;
  uint32_t a, b, c; // nodes, 0 = none
  const char *text;
  uint32_t length;
} cxx_node;

typedef struct cxx {
  demangler *d;
  cxx_node *nodes;
  uint32_t count, room;
  uint32_t *subs, sub_count;                  // what S_ names
  uint32_t *params, param_begin, param_count; // what T_ names in this encoding
  uint32_t lambda_depth;
  bool in_conversion; // T_ means what comes behind
  bool no_arguments;  // nor are those arguments the type's
  uint32_t top_count; // arguments of the whole name's function
  bool in_lambda;     // while the parameters of a lambda are printed
  int64_t pack_index; // while an expansion is printed; -1 = none
} cxx;

// What the end of a name decides for the function behind it.
typedef struct cxx_name_end {
  bool is_type; // set by the caller: T_ keeps its meaning
  bool has_arguments, no_return;
  uint32_t flags;
} cxx_name_end;

// Every parser answers a node, or 0 with d->failed set.
uint32_t cxx_add(cxx *c, cxx_kind kind, uint32_t a, uint32_t b);
uint32_t cxx_add_text(cxx *c, cxx_kind kind, const char *text, size_t length, uint32_t a);
uint32_t cxx_word(cxx *c, const char *text); // a CXX_NAME
uint32_t cxx_fail(cxx *c);
uint32_t cxx_push_sub(cxx *c, uint32_t node);
typedef uint32_t (*cxx_rule)(cxx *c);
uint32_t cxx_list(cxx *c, cxx_rule item, char end); // items up to end, which is taken; 0 = empty

uint32_t cxx_encoding(cxx *c);
uint32_t cxx_name(cxx *c, cxx_name_end *end);
uint32_t cxx_source_name(cxx *c);
uint32_t cxx_operator_name(cxx *c, cxx_name_end *end);
uint32_t cxx_template_arguments(cxx *c, bool of_function);
uint32_t cxx_substitution(cxx *c);
uint32_t cxx_type(cxx *c);
uint32_t cxx_parameter(cxx *c); // T_
uint32_t cxx_parameters(cxx *c, char end);
uint32_t cxx_decltype(cxx *c);
uint32_t cxx_qualifiers(cxx *c);
uint32_t cxx_expression(cxx *c);
uint32_t cxx_literal(cxx *c);

typedef struct cxx_operator {
  char code[3];
  uint8_t arity;
  const char *text;
} cxx_operator;
// The operator whose code stands here, or NULL; nothing is taken.
const cxx_operator *cxx_find_operator(const cxx *c);

void cxx_print(cxx *c, uint32_t node);
void cxx_print_top(cxx *c, uint32_t node);

#endif
