// What parsing and matching share; only regex.c and regex_match.c include it.
#ifndef TM_BASE_REGEX_IMPL_H
#define TM_BASE_REGEX_IMPL_H

#include "base/regex.h"
#include "base/vec.h"

typedef enum op {
  OP_RUNE,   // a = code point
  OP_CLASS,  // a, b = range of ranges
  OP_ANY,    // any code point
  OP_LINE,   // any but \n
  OP_SPLIT,  // both offsets a and b (relative)
  OP_JUMP,   // offset a (relative)
  OP_ASSERT, // a = which
  OP_MATCH
} op;

enum { A_BEGIN_TEXT, A_END_TEXT, A_BEGIN_LINE, A_END_LINE, A_WORD, A_NOT_WORD };

typedef struct inst {
  op op;
  int32_t a, b;
} inst;

typedef struct range {
  uint32_t low, high;
} range;

struct tm_regex {
  tm_allocator alloc;
  TM_VEC(inst) program;
  TM_VEC(range) ranges;
  uint32_t *list, *next, *stack, *seen; // state sets while matching; `seen` holds step numbers
  uint32_t step;
  size_t states;   // allocated length of each of the four
  bool first[256]; // bytes that can begin a match
  bool any_first;
};

// One code point, and *at behind it; a wrong byte is U+FFFD and takes one byte.
uint32_t tm_regex_rune(const uint8_t **at, const uint8_t *end);

// Makes the memory that matching needs, once the program is whole.
tm_status tm_regex_prepare(tm_ctx *ctx, tm_regex *re);

#endif
