// A pattern becomes a small program (Thompson's construction), and matching walks the text once,
// holding the set of program states it may be in: never backtracking, so never more than
// |text| x |program| steps. A first-byte set skips text that cannot start a match.
//
// Parsing is precedence climbing with an explicit stack of open groups; each piece of the pattern
// is a fragment (range) of the program, and repetition copies fragments.
#include "base/regex.h"

#include "base/regex_impl.h"
#include "base/utf8.h"

#include <string.h>

#define MAX_PROGRAM (1u << 16)
#define MAX_REPEAT  1000

enum { FLAG_I = 1, FLAG_S = 2, FLAG_M = 4, FLAG_U = 8 };

// An open group: where its program and its current alternative begin.
typedef struct group {
  size_t start, branch; // of the whole group; of the branch being read
  TM_VEC(size_t) jumps; // the ends of the branches before it, to be patched
  uint32_t flags;       // to restore at ')'
} group;

typedef struct parser {
  tm_ctx *ctx;
  tm_regex *re;
  const char *pattern;
  const uint8_t *at, *end;
  uint32_t flags;
  TM_VEC(group) groups;
  size_t atom; // start of the last atom, or SIZE_MAX when there is nothing to repeat
} parser;

static tm_status bad(parser *p, const char *what) {
  size_t byte = (size_t)(p->at - (const uint8_t *)p->pattern);
  return tm_fail(p->ctx, TM_E_ARG, TM_NO_OFFSET, "pattern \"%.80s\": %s (at byte %zu of it)",
                 p->pattern, what, byte);
}

static tm_status emit(parser *p, op o, int32_t a, int32_t b) {
  if (p->re->program.count >= MAX_PROGRAM) return bad(p, "it is too large");
  return tm_vec_push(p->ctx, &p->re->program, (inst){o, a, b});
}

// Opens one slot at `where`. Fragments are self-contained and relative, so moving one is safe.
static tm_status insert(parser *p, size_t where, inst i) {
  TM_TRY(emit(p, i.op, i.a, i.b));
  inst *code = p->re->program.items;
  memmove(code + where + 1, code + where, (p->re->program.count - 1 - where) * sizeof *code);
  code[where] = i;
  return TM_OK;
}

// --- classes ---

static tm_status add_range(parser *p, uint32_t low, uint32_t high) {
  return tm_vec_push(p->ctx, &p->re->ranges, (range){low, high});
}

static int compare_ranges(const range *a, const range *b) {
  return a->low < b->low ? -1 : a->low > b->low;
}

// Sorts and joins the ranges from `begin` on (insertion sort: classes are short).
static void tidy_class(parser *p, size_t begin) {
  range *r = p->re->ranges.items + begin;
  size_t n = p->re->ranges.count - begin, kept = 0;
  for (size_t i = 1; i < n; i++)
    for (size_t k = i; k > 0 && compare_ranges(&r[k], &r[k - 1]) < 0; k--) {
      range t = r[k];
      r[k] = r[k - 1];
      r[k - 1] = t;
    }
  for (size_t i = 0; i < n; i++) {
    if (kept && r[i].low <= r[kept - 1].high + 1) {
      if (r[i].high > r[kept - 1].high) r[kept - 1].high = r[i].high;
    } else {
      r[kept++] = r[i];
    }
  }
  p->re->ranges.count = begin + kept;
}

static tm_status negate_class(parser *p, size_t begin) {
  tidy_class(p, begin);
  size_t n = p->re->ranges.count - begin;
  uint32_t low = 0;
  for (size_t i = 0; i < n; i++) {
    range r = p->re->ranges.items[begin + i];
    if (r.low > low) TM_TRY(add_range(p, low, r.low - 1));
    low = r.high + 1;
  }
  if (low <= 0x10ffff) TM_TRY(add_range(p, low, 0x10ffff));
  range *items = p->re->ranges.items;
  size_t made = p->re->ranges.count - begin - n;
  memmove(items + begin, items + begin + n, made * sizeof *items);
  p->re->ranges.count = begin + made;
  return TM_OK;
}

static tm_status fold_class(parser *p, size_t begin) {
  for (size_t i = begin, end = p->re->ranges.count; i < end; i++) {
    range r = p->re->ranges.items[i];
    for (uint32_t c = 'A'; c <= 'Z'; c++) {
      bool upper = r.low <= c && c <= r.high, lower = r.low <= c + 32 && c + 32 <= r.high;
      if (upper != lower) TM_TRY(add_range(p, upper ? c + 32 : c, upper ? c + 32 : c));
    }
  }
  return TM_OK;
}

static const struct {
  const char *name;
  const char *ranges; // pairs
} named_classes[] = {{"alnum", "09AZaz"},
                     {"alpha", "AZaz"},
                     {"ascii", "\x01\x7f"},
                     {"blank", "\t\t  "},
                     {"cntrl", "\x01\x1f\x7f\x7f"},
                     {"digit", "09"},
                     {"graph", "!~"},
                     {"lower", "az"},
                     {"print", " ~"},
                     {"punct", "!/:@[`{~"},
                     {"space", "\t\r  "},
                     {"upper", "AZ"},
                     {"word", "09AZaz__"},
                     {"xdigit", "09AFaf"}};

static tm_status add_pairs(parser *p, const char *pairs, bool with_nul, bool negated) {
  size_t begin = p->re->ranges.count;
  if (with_nul) TM_TRY(add_range(p, 0, 0));
  for (; *pairs; pairs += 2) TM_TRY(add_range(p, (uint8_t)pairs[0], (uint8_t)pairs[1]));
  return negated ? negate_class(p, begin) : TM_OK;
}

// \d \w \s and their capitals; false when c is none of them.
static bool perl_class(uint8_t c, const char **pairs, bool *negated) {
  switch (c | 32) {
  case 'd':
    *pairs = "09";
    break;
  case 'w':
    *pairs = "09AZaz__";
    break;
  case 's':
    *pairs = "\t\n\f\r  ";
    break;
  default:
    return false;
  }
  *negated = (c & 32) == 0;
  return true;
}

static int hex_digit(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static tm_status parse_hex(parser *p, uint32_t *out) {
  uint32_t value = 0;
  bool braces = p->at < p->end && *p->at == '{';
  int digits = 0, most = braces ? 6 : 2;
  if (braces) p->at++;
  while (digits < most && p->at < p->end && hex_digit(*p->at) >= 0) {
    value = value * 16 + (uint32_t)hex_digit(*p->at++);
    digits++;
  }
  if (!digits || (!braces && digits != 2) || value > 0x10ffff) return bad(p, "a wrong \\x escape");
  if (braces && (p->at == p->end || *p->at++ != '}')) return bad(p, "a wrong \\x{} escape");
  *out = value;
  return TM_OK;
}

static bool is_octal(uint8_t c) {
  return c >= '0' && c <= '7';
}

// The code point of an escape behind its backslash.
static tm_status parse_escape(parser *p, uint32_t *out) {
  if (p->at == p->end) return bad(p, "it ends in a backslash");
  uint8_t c = *p->at;
  static const char names[] = "afnrtv", values[] = "\a\f\n\r\t\v";
  const char *name = c ? strchr(names, c) : NULL;
  if (name) {
    p->at++;
    *out = (uint32_t)values[name - names];
    return TM_OK;
  }
  if (c == 'x') {
    p->at++;
    return parse_hex(p, out);
  }
  if (c == 'p' || c == 'P') return bad(p, "\\p classes are not supported");
  if (c == '0' || (is_octal(c) && p->end - p->at > 1 && is_octal(p->at[1]))) {
    *out = 0;
    for (int i = 0; i < 3 && p->at < p->end && is_octal(*p->at); i++)
      *out = *out * 8 + (uint32_t)(*p->at++ - '0');
    return TM_OK;
  }
  bool word = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || c >= 0x80;
  if (word) return bad(p, "an unknown escape");
  *out = tm_regex_rune(&p->at, p->end);
  return TM_OK;
}

// [:name:] inside brackets; *found says whether there was one.
static tm_status parse_named(parser *p, bool *found) {
  *found = false;
  size_t left = (size_t)(p->end - p->at);
  if (left < 2 || p->at[0] != '[' || p->at[1] != ':') return TM_OK;
  const uint8_t *close = p->at + 2;
  while (close + 1 < p->end && !(close[0] == ':' && close[1] == ']')) close++;
  if (close + 1 >= p->end) return TM_OK;
  bool negated = p->at[2] == '^';
  const uint8_t *name = p->at + 2 + negated;
  size_t length = close > name ? (size_t)(close - name) : 0;
  for (size_t i = 0; i < TM_COUNT(named_classes); i++) {
    const char *known = named_classes[i].name;
    if (strlen(known) != length || memcmp(known, name, length) != 0) continue;
    *found = true;
    p->at = close + 2;
    bool with_nul = strcmp(known, "ascii") == 0 || strcmp(known, "cntrl") == 0;
    return add_pairs(p, named_classes[i].ranges, with_nul, negated);
  }
  return bad(p, "an unknown [:class:]");
}

static tm_status parse_class_member(parser *p, uint32_t *low, bool *was_class) {
  *was_class = false;
  if (*p->at != '\\') {
    *low = tm_regex_rune(&p->at, p->end);
    return TM_OK;
  }
  p->at++;
  const char *pairs;
  bool negated;
  if (p->at < p->end && perl_class(*p->at, &pairs, &negated)) {
    p->at++;
    *was_class = true;
    return add_pairs(p, pairs, false, negated);
  }
  return parse_escape(p, low);
}

static tm_status parse_class(parser *p) {
  size_t begin = p->re->ranges.count;
  bool negated = p->at < p->end && *p->at == '^', was_class;
  if (negated) p->at++;
  for (bool first = true; p->at < p->end && (*p->at != ']' || first); first = false) {
    bool found;
    TM_TRY(parse_named(p, &found));
    if (found) continue;
    uint32_t low = 0, high;
    TM_TRY(parse_class_member(p, &low, &was_class));
    if (was_class) continue;
    high = low;
    if (p->end - p->at >= 2 && p->at[0] == '-' && p->at[1] != ']') {
      p->at++;
      TM_TRY(parse_class_member(p, &high, &was_class));
      if (was_class || high < low) return bad(p, "a wrong range");
    }
    TM_TRY(add_range(p, low, high));
  }
  if (p->at == p->end) return bad(p, "a missing ]");
  p->at++;
  if (p->flags & FLAG_I) TM_TRY(fold_class(p, begin));
  if (negated) TM_TRY(negate_class(p, begin));
  tidy_class(p, begin);
  return emit(p, OP_CLASS, (int32_t)begin, (int32_t)p->re->ranges.count);
}

static tm_status emit_rune(parser *p, uint32_t c) {
  if (!(p->flags & FLAG_I)) return emit(p, OP_RUNE, (int32_t)c, 0);
  if (c >= 0x80) return bad(p, "ignoring case beyond ASCII is not supported");
  uint32_t lower = c | 32;
  if (lower < 'a' || lower > 'z') return emit(p, OP_RUNE, (int32_t)c, 0);
  size_t begin = p->re->ranges.count;
  TM_TRY(add_range(p, lower - 32, lower - 32));
  TM_TRY(add_range(p, lower, lower));
  return emit(p, OP_CLASS, (int32_t)begin, (int32_t)begin + 2);
}

// --- groups, repetition ---

static tm_status open_group(parser *p, uint32_t flags_after) {
  group g = {.start = p->re->program.count, .branch = p->re->program.count, .flags = p->flags};
  p->flags = flags_after;
  p->atom = SIZE_MAX;
  if (p->groups.count >= 1000) return bad(p, "groups are nested too deep");
  return tm_vec_push(p->ctx, &p->groups, g);
}

// Ends a branch: split in front of it, jump behind it.
static tm_status end_branch(parser *p, group *g) {
  TM_TRY(insert(p, g->branch, (inst){OP_SPLIT, 1, 0}));
  TM_TRY(tm_vec_push(p->ctx, &g->jumps, p->re->program.count));
  TM_TRY(emit(p, OP_JUMP, 0, 0));
  p->re->program.items[g->branch].b = (int32_t)(p->re->program.count - g->branch);
  g->branch = p->re->program.count;
  p->atom = SIZE_MAX;
  return TM_OK;
}

static void close_group(parser *p) {
  group *g = &p->groups.items[--p->groups.count];
  size_t end = p->re->program.count;
  for (size_t i = 0; i < g->jumps.count; i++)
    p->re->program.items[g->jumps.items[i]].a = (int32_t)(end - g->jumps.items[i]);
  tm_vec_free(p->ctx, &g->jumps);
  p->flags = g->flags;
  p->atom = g->start;
}

// Behind "(?": flags, a flagged group, or a named group.
static tm_status parse_flags(parser *p) {
  size_t left = (size_t)(p->end - p->at);
  bool named = (left > 1 && p->at[0] == 'P' && p->at[1] == '<') || (left > 0 && p->at[0] == '<');
  if (named) {
    while (p->at < p->end && *p->at != '>') p->at++;
    if (p->at == p->end) return bad(p, "a group name without its >");
    p->at++;
    return open_group(p, p->flags);
  }
  uint32_t flags = p->flags;
  bool off = false;
  for (; p->at < p->end; p->at++) {
    uint32_t bit = 0;
    switch (*p->at) {
    case 'i':
      bit = FLAG_I;
      break;
    case 's':
      bit = FLAG_S;
      break;
    case 'm':
      bit = FLAG_M;
      break;
    case 'U':
      bit = FLAG_U;
      break;
    case '-':
      off = true;
      continue;
    case ':':
      p->at++;
      return open_group(p, flags);
    case ')':
      p->at++;
      p->flags = flags;
      p->atom = SIZE_MAX;
      return TM_OK;
    default:
      return bad(p, "a (? group that is not supported");
    }
    flags = off ? flags & ~bit : flags | bit;
  }
  return bad(p, "a missing )");
}

static tm_status copy_atom(parser *p, size_t start, size_t length) {
  for (size_t i = 0; i < length; i++) {
    inst c = p->re->program.items[start + i];
    TM_TRY(emit(p, c.op, c.a, c.b));
  }
  return TM_OK;
}

// x? as split-x, x* as split-x-jump.
static tm_status make_optional(parser *p, size_t start) {
  size_t length = p->re->program.count - start;
  return insert(p, start, (inst){OP_SPLIT, 1, (int32_t)length + 1});
}

static tm_status make_star(parser *p, size_t start) {
  size_t length = p->re->program.count - start;
  TM_TRY(insert(p, start, (inst){OP_SPLIT, 1, (int32_t)length + 2}));
  return emit(p, OP_JUMP, -(int32_t)(length + 1), 0);
}

// max < 0 = no end. x{2,4} becomes x x x? x?, which matches the same texts as nesting them would.
static tm_status repeat(parser *p, int min, int max) {
  size_t start = p->atom, length = p->re->program.count - start;
  if (min == 0 && max == 0) {
    p->re->program.count = start;
    return TM_OK;
  }
  if (length == 0) return TM_OK;
  for (int i = 1; i < min; i++) TM_TRY(copy_atom(p, start, length));
  int optional = max < 0 ? 1 : max - min;
  bool in_place = min == 0; // the first copy is the atom itself
  for (int i = 0; i < optional; i++) {
    size_t copy = p->re->program.count;
    if (in_place)
      copy = start;
    else
      TM_TRY(copy_atom(p, start + (min == 0), length));
    in_place = false;
    TM_TRY(max < 0 ? make_star(p, copy) : make_optional(p, copy));
  }
  return TM_OK;
}

// {m}, {m,}, {m,n}; *found is false when the braces are literal text.
static tm_status parse_counts(parser *p, int *min, int *max, bool *found) {
  const uint8_t *s = p->at + 1;
  int numbers[2] = {-1, -1};
  int n = 0;
  *found = false;
  for (; s < p->end && *s != '}'; s++) {
    if (*s == ',' && n == 0 && numbers[0] >= 0) {
      n = 1;
    } else if (*s >= '0' && *s <= '9') {
      numbers[n] = (numbers[n] < 0 ? 0 : numbers[n]) * 10 + (*s - '0');
      if (numbers[n] > MAX_REPEAT) return bad(p, "a repeat count over 1000");
    } else {
      return TM_OK;
    }
  }
  if (s == p->end || numbers[0] < 0) return TM_OK;
  *found = true;
  *min = numbers[0];
  *max = n == 0 ? numbers[0] : numbers[1];
  if (*max >= 0 && *max < *min) return bad(p, "a repeat range that runs backwards");
  p->at = s + 1;
  return TM_OK;
}

static tm_status parse_repeat(parser *p, bool *done) {
  int min = 0, max = -1;
  bool found = true;
  *done = false;
  if (p->at == p->end) return TM_OK;
  switch (*p->at) {
  case '*':
    p->at++;
    break;
  case '+':
    min = 1;
    p->at++;
    break;
  case '?':
    max = 1;
    p->at++;
    break;
  case '{':
    TM_TRY(parse_counts(p, &min, &max, &found));
    break;
  default:
    return TM_OK;
  }
  if (!found) return TM_OK;
  if (p->atom == SIZE_MAX) return bad(p, "nothing to repeat");
  if (p->at < p->end && *p->at == '?') p->at++; // lazy: the same texts match
  TM_TRY(repeat(p, min, max));
  p->atom = SIZE_MAX; // a second repetition in a row is an error, as in RE2
  *done = true;
  return TM_OK;
}

static tm_status parse_backslash(parser *p) {
  if (p->at == p->end) return bad(p, "it ends in a backslash");
  const char *pairs;
  bool negated;
  uint8_t c = *p->at;
  if (perl_class(c, &pairs, &negated)) {
    p->at++;
    size_t begin = p->re->ranges.count;
    TM_TRY(add_pairs(p, pairs, false, negated));
    tidy_class(p, begin);
    return emit(p, OP_CLASS, (int32_t)begin, (int32_t)p->re->ranges.count);
  }
  static const char asserts[] = "AzbB";
  static const int32_t which[] = {A_BEGIN_TEXT, A_END_TEXT, A_WORD, A_NOT_WORD};
  const char *found = c ? strchr(asserts, c) : NULL;
  if (found) {
    p->at++;
    return emit(p, OP_ASSERT, which[found - asserts], 0);
  }
  uint32_t rune = 0;
  TM_TRY(parse_escape(p, &rune));
  return emit_rune(p, rune);
}

// \Q...\E: every code point is an atom of its own.
static tm_status parse_quoted(parser *p) {
  while (p->at < p->end) {
    if (p->end - p->at >= 2 && p->at[0] == '\\' && p->at[1] == 'E') {
      p->at += 2;
      return TM_OK;
    }
    p->atom = p->re->program.count;
    TM_TRY(emit_rune(p, tm_regex_rune(&p->at, p->end)));
  }
  return TM_OK;
}

// A brace where nothing can be repeated: literal text, unless counts stand in it.
static tm_status parse_brace(parser *p) {
  int min, max;
  bool found;
  p->at--;
  TM_TRY(parse_counts(p, &min, &max, &found));
  if (found) return bad(p, "nothing to repeat");
  p->at++;
  return emit_rune(p, '{');
}

static tm_status parse_atom(parser *p) {
  uint8_t c = *p->at;
  if (c == '(') {
    p->at++;
    if (p->at == p->end || *p->at != '?') return open_group(p, p->flags);
    p->at++;
    return parse_flags(p);
  }
  if (c == '|') {
    p->at++;
    return end_branch(p, &p->groups.items[p->groups.count - 1]);
  }
  if (c == ')') {
    if (p->groups.count == 1) return bad(p, "an unexpected )");
    p->at++;
    close_group(p);
    return TM_OK;
  }
  if (c == '\\' && p->end - p->at >= 2 && p->at[1] == 'Q') {
    p->at += 2;
    return parse_quoted(p);
  }
  p->atom = p->re->program.count;
  uint32_t rune = tm_regex_rune(&p->at, p->end);
  bool lines = (p->flags & FLAG_M) != 0;
  switch (rune) {
  case '.':
    return emit(p, p->flags & FLAG_S ? OP_ANY : OP_LINE, 0, 0);
  case '^':
    return emit(p, OP_ASSERT, lines ? A_BEGIN_LINE : A_BEGIN_TEXT, 0);
  case '$':
    return emit(p, OP_ASSERT, lines ? A_END_LINE : A_END_TEXT, 0);
  case '[':
    return parse_class(p);
  case '\\':
    return parse_backslash(p);
  case '*':
  case '+':
  case '?':
    return bad(p, "nothing to repeat");
  case '{':
    return parse_brace(p);
  default:
    return emit_rune(p, rune);
  }
}

static tm_status parse(parser *p) {
  TM_TRY(open_group(p, 0));
  while (p->at < p->end) {
    bool repeated = false;
    if (p->atom != SIZE_MAX) TM_TRY(parse_repeat(p, &repeated));
    if (repeated) {
      if (p->at < p->end && (*p->at == '*' || *p->at == '+' || *p->at == '?'))
        return bad(p, "a repetition of a repetition");
      continue;
    }
    TM_TRY(parse_atom(p));
  }
  if (p->groups.count != 1) return bad(p, "a missing )");
  close_group(p);
  return emit(p, OP_MATCH, 0, 0);
}

// RE2 takes no pattern that is no UTF-8.
static tm_status check_utf8(tm_ctx *ctx, const char *pattern, size_t length) {
  for (size_t at = 0, size; at < length; at += size) {
    uint32_t code;
    size = tm_utf8_decode(pattern + at, length - at, &code);
    if (size == 1 && code == 0xfffd)
      return tm_fail(ctx, TM_E_ARG, at, "the pattern is no UTF-8 at byte %zu", at);
  }
  return TM_OK;
}

tm_status tm_regex_new(tm_ctx *ctx, const char *pattern, size_t length, tm_regex **out) {
  TM_TRY(check_utf8(ctx, pattern, length));
  tm_regex *re = tm_calloc(ctx, 1, sizeof *re);
  if (!re) return TM_E_NOMEM;
  re->alloc = ctx->alloc;
  const uint8_t *start = (const uint8_t *)pattern;
  parser p = {.ctx = ctx,
              .re = re,
              .pattern = pattern,
              .at = start,
              .end = start + length,
              .atom = SIZE_MAX};
  tm_status status = parse(&p);
  for (size_t i = 0; i < p.groups.count; i++) tm_vec_free(ctx, &p.groups.items[i].jumps);
  tm_vec_free(ctx, &p.groups);
  if (status == TM_OK) status = tm_regex_prepare(ctx, re);
  if (status != TM_OK) {
    tm_regex_free(re);
    return status;
  }
  *out = re;
  return TM_OK;
}

void tm_regex_free(tm_regex *re) {
  if (!re) return;
  tm_ctx ctx = {.alloc = re->alloc};
  tm_vec_free(&ctx, &re->program);
  tm_vec_free(&ctx, &re->ranges);
  tm_free(&ctx, re->list, re->states * sizeof *re->list);
  tm_free(&ctx, re->next, re->states * sizeof *re->next);
  tm_free(&ctx, re->stack, re->states * 2 * sizeof *re->stack);
  tm_free(&ctx, re->seen, re->states * sizeof *re->seen);
  tm_free(&ctx, re, sizeof *re);
}
