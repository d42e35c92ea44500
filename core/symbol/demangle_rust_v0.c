// Reads Rust's v0 grammar and writes as it reads. A back reference reads an earlier part again, so
// rules count as steps and nest up to a cap; what must not be seen (impl paths, and generic
// arguments in the short form) is read muted.
#include "symbol/demangle_impl.h"

#include <string.h>

#define MAX_IDENTIFIER 512 // code points of an identifier in punycode

typedef struct rust {
  demangler *d;
  uint64_t lifetimes; // bound so far
} rust;

typedef void (*rule)(rust *r);

// NOLINTBEGIN(misc-no-recursion): depth and steps are capped by demangle_enter
static void path(rust *r, bool in_value);
static void type(rust *r);
static void constant(rust *r);

static void say(rust *r, const char *text) {
  demangle_puts(r->d, text);
}

static void fail(rust *r) {
  demangle_fail(r->d);
}

static char next(rust *r) {
  if (r->d->failed || r->d->at == r->d->end) return fail(r), '\0';
  return *r->d->at++;
}

// digits and letters to "_": "_" is 0, "0_" is 1.
static uint64_t base62(rust *r) {
  uint64_t value = 0;
  if (demangle_take(r->d, '_')) return 0;
  for (char c; (c = next(r)) != '_';) {
    uint64_t digit = c >= '0' && c <= '9'   ? (uint64_t)(c - '0')
                     : c >= 'a' && c <= 'z' ? (uint64_t)(c - 'a') + 10
                     : c >= 'A' && c <= 'Z' ? (uint64_t)(c - 'A') + 36
                                            : 62;
    if (digit == 62 || value > UINT64_MAX / 62 - 1) return fail(r), 0;
    value = value * 62 + digit;
  }
  return value + 1;
}

static uint64_t optional62(rust *r, char tag) {
  return demangle_take(r->d, tag) ? base62(r) + 1 : 0;
}

// --- identifiers ---

static void put_utf8(rust *r, uint32_t c) {
  char text[4];
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = n; i-- > 1; c >>= 6) text[i] = (char)(0x80 | (c & 63));
  text[0] = (char)(lead[n] | c);
  demangle_put(r->d, text, n);
}

static uint32_t adapt(uint32_t delta, uint32_t points, bool first) {
  uint32_t k = 0;
  delta /= first ? 700 : 2;
  for (delta += delta / points; delta > 455; k += 36) delta /= 35;
  return k + 36 * delta / (delta + 38);
}

// The distance to the next insertion. Source: RFC 3492.
static bool punycode_delta(const char **s, const char *end, uint32_t bias, uint32_t *delta) {
  uint64_t weight = 1, sum = *delta;
  for (uint32_t k = 36;; k += 36) {
    if (*s == end) return false;
    char c = *(*s)++;
    uint32_t digit = c >= 'a' && c <= 'z' ? (uint32_t)(c - 'a') : (uint32_t)(c - '0') + 26;
    uint32_t limit = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
    if (digit > 35) return false;
    sum += digit * weight;
    if (sum > INT32_MAX) return false;
    if (digit < limit) break;
    weight *= 36 - limit;
    if (weight > INT32_MAX) return false;
  }
  *delta = (uint32_t)sum;
  return true;
}

static void punycode(rust *r, const char *s, size_t length) {
  uint32_t points[MAX_IDENTIFIER], count = 0, code = 128, bias = 72, at = 0;
  const char *end = s + length, *split = NULL;
  for (const char *c = s; c < end; c++)
    if (*c == '_') split = c;
  for (; split && s < split && count < MAX_IDENTIFIER; s++) points[count++] = (uint8_t)*s;
  if (split) s = split + 1;
  while (s < end) {
    uint32_t before = at;
    if (count == MAX_IDENTIFIER || !punycode_delta(&s, end, bias, &at)) {
      fail(r);
      return;
    }
    bias = adapt(at - before, count + 1, before == 0);
    code += at / (count + 1);
    at %= count + 1;
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
      fail(r);
      return;
    }
    memmove(points + at + 1, points + at, (count - at) * sizeof *points);
    points[at++] = code;
    count++;
  }
  for (uint32_t i = 0; i < count; i++) put_utf8(r, points[i]);
}

typedef struct identifier {
  const char *text;
  size_t length;
  bool coded; // punycode
} identifier;

static identifier read_identifier(rust *r) {
  identifier id = {.coded = demangle_take(r->d, 'u')};
  uint64_t length;
  if (!demangle_read_number(r->d, &length)) return fail(r), id;
  (void)demangle_take(r->d, '_');
  if (length > (uint64_t)(r->d->end - r->d->at)) return fail(r), id;
  id.text = r->d->at;
  id.length = length;
  r->d->at += length;
  return id;
}

static void put_identifier(rust *r, const identifier *id) {
  if (r->d->failed) return;
  if (id->coded)
    punycode(r, id->text, id->length);
  else
    demangle_put(r->d, id->text, id->length);
}

// --- back references and binders ---

// What was read at an earlier place, read again there.
static const char *back(rust *r) {
  const char *tag = r->d->at - 1, *after;
  uint64_t offset = base62(r);
  after = r->d->at;
  if (r->d->failed || offset >= (uint64_t)(tag - r->d->begin)) return fail(r), NULL;
  r->d->at = r->d->begin + offset;
  return after;
}

static void put_lifetime(rust *r, uint64_t index) {
  if (index > r->lifetimes) {
    fail(r);
    return;
  }
  if (!index) {
    say(r, "'_");
    return;
  }
  uint64_t depth = r->lifetimes - index;
  char name[3] = {'\'', (char)('a' + depth % 26), '\0'};
  if (depth < 26) {
    say(r, name);
    return;
  }
  say(r, "'z");
  demangle_number(r->d, depth - 26 + 1);
}

// "for<'a, 'b> "; the caller gives the lifetimes back.
static void binder(rust *r) {
  uint64_t count = optional62(r, 'G');
  if (!count) return;
  if (count > 64) {
    fail(r);
    return;
  }
  say(r, "for<");
  for (uint64_t i = 0; i < count; i++) {
    if (i) say(r, ", ");
    r->lifetimes++;
    put_lifetime(r, 1);
  }
  say(r, "> ");
}

// --- paths ---

static void generic_argument(rust *r) {
  if (demangle_take(r->d, 'L'))
    put_lifetime(r, base62(r));
  else if (demangle_take(r->d, 'K'))
    constant(r);
  else
    type(r);
}

static void generic_arguments(rust *r) {
  bool hide = r->d->mode == TM_DEMANGLE_NAMES;
  if (hide) r->d->mute++;
  for (bool first = true; !r->d->failed && !demangle_take(r->d, 'E'); first = false) {
    if (!first) say(r, ", ");
    generic_argument(r);
  }
  if (hide) r->d->mute--;
}

static void muted_path(rust *r) {
  (void)optional62(r, 's');
  r->d->mute++;
  path(r, false);
  r->d->mute--;
}

static void nested_path(rust *r, bool in_value) {
  char space = next(r);
  path(r, in_value);
  uint64_t number = optional62(r, 's');
  identifier id = read_identifier(r);
  if (space >= 'a' && space <= 'z') {
    if (id.length) say(r, "::");
    put_identifier(r, &id);
    return;
  }
  if (space < 'A' || space > 'Z') {
    fail(r);
    return;
  }
  char other[2] = {space, '\0'};
  say(r, "::{");
  say(r, space == 'C' ? "closure" : space == 'S' ? "shim" : other);
  if (id.length) say(r, ":");
  put_identifier(r, &id);
  say(r, "#");
  demangle_number(r->d, number);
  say(r, "}");
}

static void crate_root(rust *r) {
  (void)optional62(r, 's');
  identifier id = read_identifier(r);
  put_identifier(r, &id);
}

static void as_trait(rust *r) {
  say(r, "<");
  type(r);
  say(r, " as ");
  path(r, false);
  say(r, ">");
}

static bool open_path(rust *r, bool in_value, bool leave_open);

static bool path_again(rust *r, bool in_value, bool leave_open) {
  const char *after = back(r);
  bool open = after && open_path(r, in_value, leave_open);
  if (after) r->d->at = after;
  return open;
}

// A path whose generic arguments may stay open, for "dyn Trait<A, Name = B>". True when they are.
static bool open_path(rust *r, bool in_value, bool leave_open) {
  bool open = false;
  if (!demangle_enter(r->d)) return false;
  switch (next(r)) {
  case 'B':
    open = path_again(r, in_value, leave_open);
    break;
  case 'C':
    crate_root(r);
    break;
  case 'N':
    nested_path(r, in_value);
    break;
  case 'M':
    muted_path(r);
    say(r, "<");
    type(r);
    say(r, ">");
    break;
  case 'X':
    muted_path(r);
    as_trait(r);
    break;
  case 'Y':
    as_trait(r);
    break;
  case 'I':
    path(r, in_value);
    say(r, in_value ? "::<" : "<");
    generic_arguments(r);
    open = leave_open;
    if (!open) say(r, ">");
    break;
  default:
    fail(r);
  }
  demangle_leave(r->d);
  return open;
}

static void path(rust *r, bool in_value) {
  (void)open_path(r, in_value, false);
}

// --- types ---

static const char *basic_type(char c) {
  static const char *const names[] = {"i8",   "bool",  "char",  "f64", "str", "f32", NULL,
                                      "u8",   "isize", "usize", NULL,  "i32", "u32", "i128",
                                      "u128", "_",     NULL,    NULL,  "i16", "u16", "()",
                                      "...",  NULL,    "i64",   "u64", "!"};
  return c >= 'a' && c <= 'z' ? names[c - 'a'] : NULL;
}

static void reference(rust *r, bool is_mutable) {
  say(r, "&");
  if (demangle_take(r->d, 'L')) {
    uint64_t lifetime = base62(r);
    if (lifetime) {
      put_lifetime(r, lifetime);
      say(r, " ");
    }
  }
  if (is_mutable) say(r, "mut ");
  type(r);
}

// Types up to E, with commas. Answers how many.
static uint64_t list(rust *r) {
  uint64_t count = 0;
  for (; !r->d->failed && !demangle_take(r->d, 'E'); count++) {
    if (count) say(r, ", ");
    type(r);
  }
  return count;
}

static void tuple(rust *r) {
  say(r, "(");
  if (list(r) == 1) say(r, ",");
  say(r, ")");
}

static void abi(rust *r) {
  say(r, "extern \"");
  if (demangle_take(r->d, 'C')) {
    say(r, "C");
  } else {
    identifier id = read_identifier(r);
    for (size_t i = 0; i < id.length; i++)
      demangle_put(r->d, id.text[i] == '_' ? "-" : id.text + i, 1);
  }
  say(r, "\" ");
}

static void function(rust *r) {
  uint64_t outer = r->lifetimes;
  binder(r);
  if (demangle_take(r->d, 'U')) say(r, "unsafe ");
  if (demangle_take(r->d, 'K')) abi(r);
  say(r, "fn(");
  (void)list(r);
  say(r, ")");
  if (!demangle_take(r->d, 'u')) {
    say(r, " -> ");
    type(r);
  }
  r->lifetimes = outer;
}

static void dyn_trait(rust *r) {
  bool open = open_path(r, false, true);
  while (demangle_take(r->d, 'p')) {
    say(r, open ? ", " : "<");
    open = true;
    identifier id = read_identifier(r);
    put_identifier(r, &id);
    say(r, " = ");
    type(r);
  }
  if (open) say(r, ">");
}

static void dyn_bounds(rust *r) {
  uint64_t outer = r->lifetimes;
  say(r, "dyn ");
  binder(r);
  for (bool first = true; !r->d->failed && !demangle_take(r->d, 'E'); first = false) {
    if (!first) say(r, " + ");
    dyn_trait(r);
  }
  r->lifetimes = outer;
  if (!demangle_take(r->d, 'L')) {
    fail(r);
    return;
  }
  uint64_t lifetime = base62(r);
  if (!lifetime) return;
  say(r, " + ");
  put_lifetime(r, lifetime);
}

static void again(rust *r, rule of) {
  const char *after = back(r);
  if (!after) return;
  of(r);
  r->d->at = after;
}

static void compound_type(rust *r, char tag) {
  switch (tag) {
  case 'A':
  case 'S':
    say(r, "[");
    type(r);
    if (tag == 'A') {
      say(r, "; ");
      constant(r);
    }
    say(r, "]");
    break;
  case 'B':
    again(r, type);
    break;
  case 'D':
    dyn_bounds(r);
    break;
  case 'F':
    function(r);
    break;
  case 'O':
  case 'P':
    say(r, tag == 'O' ? "*mut " : "*const ");
    type(r);
    break;
  case 'Q':
  case 'R':
    reference(r, tag == 'Q');
    break;
  case 'T':
    tuple(r);
    break;
  default:
    r->d->at--;
    path(r, false);
  }
}

static void type(rust *r) {
  if (!demangle_enter(r->d)) return;
  char tag = next(r);
  const char *basic = basic_type(tag);
  if (basic)
    say(r, basic);
  else if (!r->d->failed)
    compound_type(r, tag);
  demangle_leave(r->d);
}

// --- constants ---

static void put_character(rust *r, uint64_t c) {
  const char *escaped = c == '\t'   ? "\\t"
                        : c == '\r' ? "\\r"
                        : c == '\n' ? "\\n"
                        : c == '\\' ? "\\\\"
                        : c == '\'' ? "\\'"
                                    : NULL;
  if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
    fail(r);
    return;
  }
  say(r, "'");
  if (escaped)
    say(r, escaped);
  else
    put_utf8(r, (uint32_t)c);
  say(r, "'");
}

static void number(rust *r, char kind) {
  if (demangle_take(r->d, 'n')) say(r, "-");
  const char *digits = r->d->at;
  uint64_t value = 0;
  for (char c; (c = next(r)) != '_' && !r->d->failed;) {
    if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) {
      fail(r);
      return;
    }
    value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  size_t length = (size_t)(r->d->at - digits) - 1;
  if (r->d->failed) return;
  if (kind == 'b') {
    say(r, value ? "true" : "false");
    return;
  }
  if (kind == 'c') {
    put_character(r, value);
    return;
  }
  if (length <= 16) {
    demangle_number(r->d, value);
    return;
  }
  say(r, "0x");
  demangle_put(r->d, digits, length);
}

static void constant(rust *r) {
  if (!demangle_enter(r->d)) return;
  char kind = next(r);
  if (kind == 'B')
    again(r, constant);
  else if (kind == 'p')
    say(r, "_");
  else if (kind && strchr("abchijlmnostxy", kind))
    number(r, kind);
  else
    fail(r);
  demangle_leave(r->d);
}

// NOLINTEND(misc-no-recursion)

// --- the whole name ---

bool demangle_rust_v0(demangler *d) {
  rust r = {d, 0};
  const char *dot = memchr(d->at, '.', (size_t)(d->end - d->at)); // ".llvm.123"
  if (dot) d->end = dot;
  path(&r, true);
  if (d->failed) return false;
  if (d->at < d->end) { // the crate that instantiated it
    d->mute++;
    path(&r, false);
    d->mute--;
  }
  return !d->failed && d->at == d->end;
}
