// The matching half: one walk over the text with the set of states that the program may be in. A
// state is in the set once, so a step costs at most the program's length.
#include "base/regex_impl.h"

#include <string.h>

// One code point; a wrong byte is U+FFFD and takes one byte.
uint32_t tm_regex_rune(const uint8_t **at, const uint8_t *end) {
  const uint8_t *p = *at;
  uint32_t c = *p++;
  int more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : 3;
  *at = p;
  if (more == 0) return c;
  if (c < 0xc2 || c > 0xf4 || end - p < more) return 0xfffd;
  uint32_t rune = c & (0x3fu >> more);
  for (int i = 0; i < more; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0xfffd;
    rune = rune << 6 | (p[i] & 0x3fu);
  }
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  if (rune < least[more] || rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000)) return 0xfffd;
  *at = p + more;
  return rune;
}

static bool is_word(int32_t c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

// before, after: the code points around the place, -1 at the ends.
static bool holds(int32_t which, int32_t before, int32_t after) {
  switch (which) {
  case A_BEGIN_TEXT:
    return before < 0;
  case A_END_TEXT:
    return after < 0;
  case A_BEGIN_LINE:
    return before < 0 || before == '\n';
  case A_END_LINE:
    return after < 0 || after == '\n';
  case A_WORD:
    return is_word(before) != is_word(after);
  default:
    return is_word(before) == is_word(after);
  }
}

static bool in_class(const tm_regex *re, const inst *i, uint32_t c) {
  const range *r = re->ranges.items;
  for (int32_t k = i->a; k < i->b; k++)
    if (c >= r[k].low && c <= r[k].high) return true;
  return false;
}

// Adds pc and all that is reachable without reading; true when the match is reached.
static bool add_state(tm_regex *re, uint32_t *set, size_t *count, uint32_t pc, int32_t before,
                      int32_t after) {
  size_t depth = 0;
  re->stack[depth++] = pc;
  while (depth) {
    pc = re->stack[--depth];
    if (re->seen[pc] == re->step) continue;
    re->seen[pc] = re->step;
    const inst *i = &re->program.items[pc];
    switch (i->op) {
    case OP_MATCH:
      return true;
    case OP_JUMP:
      re->stack[depth++] = (uint32_t)((int32_t)pc + i->a);
      break;
    case OP_SPLIT:
      re->stack[depth++] = (uint32_t)((int32_t)pc + i->b);
      re->stack[depth++] = (uint32_t)((int32_t)pc + i->a);
      break;
    case OP_ASSERT:
      if (holds(i->a, before, after)) re->stack[depth++] = pc + 1;
      break;
    default:
      set[(*count)++] = pc;
      break;
    }
  }
  return false;
}

static bool takes(const tm_regex *re, const inst *i, uint32_t c) {
  switch (i->op) {
  case OP_RUNE:
    return (uint32_t)i->a == c;
  case OP_CLASS:
    return in_class(re, i, c);
  case OP_ANY:
    return true;
  default:
    return c != '\n';
  }
}

static void next_step(tm_regex *re) {
  if (++re->step == 0) { // the counter came round: forget all marks
    memset(re->seen, 0, re->states * sizeof *re->seen);
    re->step = 1;
  }
}

bool tm_regex_match(tm_regex *re, const char *text, size_t length) {
  const uint8_t *at = (const uint8_t *)text, *end = at + length;
  int32_t before = -1;
  size_t count = 0;
  next_step(re);
  for (;;) {
    if (!count && !re->any_first) { // nothing is under way: jump to a byte that can begin
      const uint8_t *skip = at;
      while (skip < end && !re->first[*skip]) skip++;
      if (skip == end) return false;
      if (skip != at) before = skip[-1] < 0x80 ? skip[-1] : 0xfffd;
      at = skip;
    }
    const uint8_t *then = at;
    int32_t c = at < end ? (int32_t)tm_regex_rune(&then, end) : -1;
    if (add_state(re, re->list, &count, 0, before, c)) return true;
    if (c < 0) return false;
    const uint8_t *peek = then;
    int32_t after = then < end ? (int32_t)tm_regex_rune(&peek, end) : -1;
    size_t next_count = 0;
    next_step(re);
    for (size_t i = 0; i < count; i++) {
      uint32_t pc = re->list[i];
      if (takes(re, &re->program.items[pc], (uint32_t)c)
          && add_state(re, re->next, &next_count, pc + 1, c, after))
        return true;
    }
    uint32_t *swap = re->list;
    re->list = re->next;
    re->next = swap;
    count = next_count;
    before = c;
    at = then;
  }
}

// Which bytes can begin a match. Assertions or an empty match give up: everything can.
static void find_first(tm_regex *re) {
  size_t count = 0;
  next_step(re);
  re->any_first = true;
  for (size_t i = 0; i < re->program.count; i++)
    if (re->program.items[i].op == OP_ASSERT) return;
  if (add_state(re, re->list, &count, 0, -1, -1)) return;
  for (size_t i = 0; i < count; i++) {
    const inst *in = &re->program.items[re->list[i]];
    for (uint32_t c = 0; c < 256; c++)
      if (c >= 0x80 || takes(re, in, c)) re->first[c] = true;
  }
  re->any_first = false;
}

tm_status tm_regex_prepare(tm_ctx *ctx, tm_regex *re) {
  re->states = re->program.count + 2;
  re->list = tm_calloc(ctx, re->states, sizeof *re->list);
  re->next = tm_calloc(ctx, re->states, sizeof *re->next);
  re->stack = tm_calloc(ctx, re->states * 2, sizeof *re->stack);
  re->seen = tm_calloc(ctx, re->states, sizeof *re->seen);
  if (!re->list || !re->next || !re->stack || !re->seen) return TM_E_NOMEM;
  find_first(re);
  return TM_OK;
}
