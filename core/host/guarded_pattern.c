// Lua patterns by backtracking, like the stock matcher, but every step is counted: a pattern whose
// backtracking explodes stops at the call's time budget, or after 100 million steps.
// A pattern is read as a list of items; an item is one class ('a', '.', '%d', '[...]') with a
// quantifier, or one of ( ) $ %b %f %1. Recursion only at captures and quantifiers, 200 deep.
// Source: Lua 5.4 reference manual, section 6.4.1.
#include "host/guarded.h"
#include "host/sandbox.h"

#include <ctype.h>
#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

enum {
  CAPTURES_MAX = 32,
  DEPTH_MAX = 200,
  PAY_EVERY_STEPS = 1024,
  STEPS_MAX = 100000000,
  RESULT_MAX_BYTES = 16 << 20,
};

enum { CAPTURE_OPEN = -1, CAPTURE_POSITION = -2 };

typedef struct matcher {
  lua_State *L;
  const char *subject, *subject_end, *pattern_end;
  uint32_t unpaid_steps, paid_steps;
  int depth;
  int captures;
  struct {
    const char *start;
    ptrdiff_t size; // or CAPTURE_OPEN, CAPTURE_POSITION
  } capture[CAPTURES_MAX];
} matcher;

static const char *match_here(matcher *m, const char *s, const char *p);

static void pay(matcher *m) {
  m->paid_steps += m->unpaid_steps;
  tm_sandbox_spend(m->L, m->unpaid_steps);
  m->unpaid_steps = 0;
  if (m->paid_steps > STEPS_MAX) luaL_error(m->L, "pattern too complex");
}

static inline void step(matcher *m) {
  if (++m->unpaid_steps >= PAY_EVERY_STEPS) pay(m);
}

// --- one character -------------------------------------------------------------------------------

static bool in_class(int c, int letter) {
  bool yes;
  switch (tolower(letter)) {
  case 'a':
    yes = isalpha(c) != 0;
    break;
  case 'c':
    yes = iscntrl(c) != 0;
    break;
  case 'd':
    yes = isdigit(c) != 0;
    break;
  case 'g':
    yes = isgraph(c) != 0;
    break;
  case 'l':
    yes = islower(c) != 0;
    break;
  case 'p':
    yes = ispunct(c) != 0;
    break;
  case 's':
    yes = isspace(c) != 0;
    break;
  case 'u':
    yes = isupper(c) != 0;
    break;
  case 'w':
    yes = isalnum(c) != 0;
    break;
  case 'x':
    yes = isxdigit(c) != 0;
    break;
  case 'z':
    yes = c == 0;
    break;
  default:
    return letter == c;
  }
  return isupper(letter) ? !yes : yes;
}

// Where the item that begins at p ends; its quantifier, if any, stands there.
static const char *item_end(matcher *m, const char *p) {
  char first = *p++;
  if (first == '%') {
    if (p == m->pattern_end) luaL_error(m->L, "malformed pattern (ends with '%%')");
    return p + 1;
  }
  if (first != '[') return p;
  if (*p == '^') p++;
  do { // a ']' in first place is a member
    if (p == m->pattern_end) luaL_error(m->L, "malformed pattern (missing ']')");
    if (*p++ == '%' && p < m->pattern_end) p++;
  } while (p == m->pattern_end || *p != ']');
  return p + 1;
}

// set points to '[', last to its ']'.
static bool in_set(matcher *m, int c, const char *set, const char *last) {
  const unsigned char *p = (const unsigned char *)set + 1, *end = (const unsigned char *)last;
  bool wanted = true;
  if (*p == '^') {
    wanted = false;
    p++;
  }
  while (p < end) {
    step(m);
    if (*p == '%' && p + 1 < end) {
      if (in_class(c, p[1])) return wanted;
      p += 2;
    } else if (p + 2 < end && p[1] == '-') {
      if (p[0] <= c && c <= p[2]) return wanted;
      p += 3;
    } else {
      if (*p == c) return wanted;
      p++;
    }
  }
  return !wanted;
}

// Does the item [p, end) match the character at s?
static bool item_matches(matcher *m, const char *s, const char *p, const char *end) {
  step(m);
  if (s >= m->subject_end) return false;
  int c = (unsigned char)*s;
  switch (*p) {
  case '.':
    return true;
  case '%':
    return in_class(c, (unsigned char)p[1]);
  case '[':
    return in_set(m, c, p, end - 1);
  default:
    return (unsigned char)*p == c;
  }
}

// --- quantifiers ---------------------------------------------------------------------------------

// NOLINTNEXTLINE(misc-no-recursion): depth and steps are capped
static const char *match_longest(matcher *m, const char *s, const char *p, const char *end,
                                 ptrdiff_t least) {
  ptrdiff_t count = 0;
  while (item_matches(m, s + count, p, end)) count++;
  for (; count >= least; count--) {
    const char *found = match_here(m, s + count, end + 1);
    if (found) return found;
  }
  return NULL;
}

// NOLINTNEXTLINE(misc-no-recursion): depth and steps are capped
static const char *match_shortest(matcher *m, const char *s, const char *p, const char *end) {
  for (;; s++) {
    const char *found = match_here(m, s, end + 1);
    if (found) return found;
    if (!item_matches(m, s, p, end)) return NULL;
  }
}

// --- captures and the items of more than one character -------------------------------------------

// NOLINTNEXTLINE(misc-no-recursion): depth and steps are capped
static const char *open_capture(matcher *m, const char *s, const char *p, ptrdiff_t kind) {
  if (m->captures >= CAPTURES_MAX) luaL_error(m->L, "too many captures");
  m->capture[m->captures].start = s;
  m->capture[m->captures].size = kind;
  m->captures++;
  const char *found = match_here(m, s, p);
  if (!found) m->captures--;
  return found;
}

// NOLINTNEXTLINE(misc-no-recursion): depth and steps are capped
static const char *close_capture(matcher *m, const char *s, const char *p) {
  int i = m->captures - 1;
  while (i >= 0 && m->capture[i].size != CAPTURE_OPEN) i--;
  if (i < 0) luaL_error(m->L, "invalid pattern capture");
  m->capture[i].size = s - m->capture[i].start;
  const char *found = match_here(m, s, p);
  if (!found) m->capture[i].size = CAPTURE_OPEN;
  return found;
}

// %1 .. %9: the same text once more.
static const char *match_again(matcher *m, const char *s, char digit) {
  int i = digit - '1';
  if (i < 0 || i >= m->captures || m->capture[i].size == CAPTURE_OPEN) {
    luaL_error(m->L, "invalid capture index %%%d in pattern", i + 1);
  }
  size_t size = (size_t)m->capture[i].size; // of a position: more than any subject has left
  if ((size_t)(m->subject_end - s) < size) return NULL;
  tm_sandbox_spend(m->L, 1 + size / 16);
  return memcmp(m->capture[i].start, s, size) == 0 ? s + size : NULL;
}

// %bxy: from an x to the y that balances it.
static const char *match_balanced(matcher *m, const char *s, const char *xy) {
  if (xy + 1 >= m->pattern_end) {
    luaL_error(m->L, "malformed pattern (missing arguments to '%%b')");
  }
  if (s >= m->subject_end || *s != xy[0]) return NULL;
  int64_t open = 1;
  for (s++; s < m->subject_end; s++) {
    step(m);
    if (*s == xy[1]) {
      if (--open == 0) return s + 1;
    } else if (*s == xy[0]) {
      open++;
    }
  }
  return NULL;
}

// %f[set] with p at the set: the end of the set when s is where it begins to hold.
static const char *match_frontier(matcher *m, const char *s, const char *p) {
  if (*p != '[') luaL_error(m->L, "missing '[' after '%%f' in pattern");
  const char *end = item_end(m, p);
  int before = s == m->subject ? 0 : (unsigned char)s[-1];
  int here = s == m->subject_end ? 0 : (unsigned char)*s;
  return !in_set(m, before, p, end - 1) && in_set(m, here, p, end - 1) ? end : NULL;
}

// --- the matcher ---------------------------------------------------------------------------------

// Does an item of its own kind (%b %f %1) begin at *p? Then both move behind it; *s = NULL when it
// does not match.
static bool match_special(matcher *m, const char **s, const char **p) {
  if (**p != '%') return false;
  char kind = (*p)[1];
  if (kind == 'b') {
    *s = match_balanced(m, *s, *p + 2);
    *p += 4;
  } else if (kind == 'f') {
    const char *end = match_frontier(m, *s, *p + 2);
    if (!end) *s = NULL;
    *p = end;
  } else if (kind >= '0' && kind <= '9') {
    *s = match_again(m, *s, kind);
    *p += 2;
  } else {
    return false;
  }
  return true;
}

// NOLINTNEXTLINE(misc-no-recursion): depth and steps are capped
static const char *match_items(matcher *m, const char *s, const char *p) {
  while (p != m->pattern_end) {
    step(m);
    if (*p == '(') {
      return p[1] == ')' ? open_capture(m, s, p + 2, CAPTURE_POSITION)
                         : open_capture(m, s, p + 1, CAPTURE_OPEN);
    }
    if (*p == ')') return close_capture(m, s, p + 1);
    if (*p == '$' && p + 1 == m->pattern_end) return s == m->subject_end ? s : NULL;
    if (match_special(m, &s, &p)) {
      if (!s) return NULL;
      continue;
    }
    const char *end = item_end(m, p);
    switch (*end) {
    case '*':
      return match_longest(m, s, p, end, 0);
    case '+':
      return match_longest(m, s, p, end, 1);
    case '-':
      return match_shortest(m, s, p, end);
    case '?':
      if (item_matches(m, s, p, end)) {
        const char *found = match_here(m, s + 1, end + 1);
        if (found) return found;
      }
      p = end + 1;
      break;
    default:
      if (!item_matches(m, s, p, end)) return NULL;
      s++;
      p = end;
    }
  }
  return s;
}

// NOLINTNEXTLINE(misc-no-recursion): depth and steps are capped
static const char *match_here(matcher *m, const char *s, const char *p) {
  if (++m->depth > DEPTH_MAX) luaL_error(m->L, "pattern too complex");
  const char *found = match_items(m, s, p);
  m->depth--;
  return found;
}

static void matcher_init(matcher *m, lua_State *L, const char *subject, size_t subject_size,
                         const char *pattern, size_t pattern_size) {
  m->L = L;
  m->subject = subject;
  m->subject_end = subject + subject_size;
  m->pattern_end = pattern + pattern_size;
  m->unpaid_steps = m->paid_steps = 0;
}

static const char *match_at(matcher *m, const char *s, const char *p) {
  m->depth = 0;
  m->captures = 0;
  return match_here(m, s, p);
}

// Pushes capture i of the match [s, e); without captures, capture 0 is the whole match.
static void push_capture(matcher *m, int i, const char *s, const char *e) {
  if (i >= m->captures) {
    if (i > 0) luaL_error(m->L, "invalid capture index %%%d", i + 1);
    lua_pushlstring(m->L, s, (size_t)(e - s));
  } else if (m->capture[i].size == CAPTURE_POSITION) {
    lua_pushinteger(m->L, m->capture[i].start - m->subject + 1);
  } else if (m->capture[i].size == CAPTURE_OPEN) {
    luaL_error(m->L, "unfinished capture");
  } else {
    lua_pushlstring(m->L, m->capture[i].start, (size_t)m->capture[i].size);
  }
}

// s NULL: no whole match where there are no captures.
static int push_captures(matcher *m, const char *s, const char *e) {
  int count = m->captures == 0 && s ? 1 : m->captures;
  luaL_checkstack(m->L, count, "too many captures");
  for (int i = 0; i < count; i++) push_capture(m, i, s, e);
  return count;
}

// --- the four functions --------------------------------------------------------------------------

// A start index of Lua (1-based, negative from the end) as an offset; beyond the end: size + 1.
static size_t start_offset(lua_Integer init, size_t size) {
  if (init > 0) return (uint64_t)init - 1 <= size ? (size_t)init - 1 : size + 1;
  if (init == 0 || init < -(lua_Integer)size) return 0;
  return (size_t)((lua_Integer)size + init);
}

static bool is_plain(const char *p, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (p[i] && strchr("^$*+?.([%-", p[i])) return false;
  }
  return true;
}

static int find_plain(lua_State *L, const char *s, size_t size, size_t init, const char *p,
                      size_t pattern_size) {
  tm_sandbox_spend(L, 1 + (size - init) / 16);
  const char *found =
      memmem(s + init, size - init, p, pattern_size); // linear, unlike the stock one
  if (!found) return lua_pushnil(L), 1;
  lua_pushinteger(L, found - s + 1);
  lua_pushinteger(L, found - s + (lua_Integer)pattern_size);
  return 2;
}

static int find_or_match(lua_State *L, bool find) {
  size_t size, pattern_size;
  const char *s = luaL_checklstring(L, 1, &size);
  const char *p = luaL_checklstring(L, 2, &pattern_size);
  size_t init = start_offset(luaL_optinteger(L, 3, 1), size);
  if (init > size) return lua_pushnil(L), 1;
  if (find && (lua_toboolean(L, 4) || is_plain(p, pattern_size))) {
    return find_plain(L, s, size, init, p, pattern_size);
  }
  bool anchored = *p == '^';
  matcher m;
  matcher_init(&m, L, s, size, p, pattern_size);
  const char *at = s + init;
  const char *end;
  while (!(end = match_at(&m, at, p + anchored))) {
    if (anchored || at++ >= m.subject_end) {
      pay(&m);
      return lua_pushnil(L), 1;
    }
  }
  pay(&m);
  if (!find) return push_captures(&m, at, end);
  lua_pushinteger(L, at - s + 1);
  lua_pushinteger(L, end - s);
  return push_captures(&m, NULL, NULL) + 2;
}

int tm_guarded_find(lua_State *L) {
  return find_or_match(L, true);
}

int tm_guarded_match(lua_State *L) {
  return find_or_match(L, false);
}

// Upvalues: subject, pattern, offset to go on from, end of the last match (-1: none).
static int gmatch_next(lua_State *L) {
  size_t size, pattern_size;
  const char *s = lua_tolstring(L, lua_upvalueindex(1), &size);
  const char *p = lua_tolstring(L, lua_upvalueindex(2), &pattern_size);
  lua_Integer from = lua_tointeger(L, lua_upvalueindex(3));
  lua_Integer last = lua_tointeger(L, lua_upvalueindex(4));
  matcher m;
  matcher_init(&m, L, s, size, p, pattern_size);
  for (lua_Integer at = from; at <= (lua_Integer)size; at++) {
    const char *end = match_at(&m, s + at, p);
    if (!end || end - s == last) continue;
    pay(&m);
    lua_pushinteger(L, end - s);
    lua_copy(L, -1, lua_upvalueindex(3));
    lua_replace(L, lua_upvalueindex(4));
    return push_captures(&m, s + at, end);
  }
  pay(&m);
  return 0;
}

int tm_guarded_gmatch(lua_State *L) {
  size_t size;
  luaL_checklstring(L, 1, &size);
  luaL_checkstring(L, 2);
  size_t init = start_offset(luaL_optinteger(L, 3, 1), size);
  lua_settop(L, 2);
  lua_pushinteger(L, (lua_Integer)init);
  lua_pushinteger(L, -1);
  lua_pushcclosure(L, gmatch_next, 4);
  return 1;
}

// Adds the replacement text at index 3 with its %0 .. %9 filled in.
static void add_template(matcher *m, luaL_Buffer *out, const char *s, const char *e) {
  size_t size;
  const char *text = lua_tolstring(m->L, 3, &size), *end = text + size;
  tm_sandbox_spend(m->L, 1 + size / 16);
  for (const char *mark; (mark = memchr(text, '%', (size_t)(end - text))); text = mark + 2) {
    luaL_addlstring(out, text, (size_t)(mark - text));
    char kind = mark[1];
    if (kind == '%') {
      luaL_addchar(out, '%');
    } else if (kind == '0') {
      luaL_addlstring(out, s, (size_t)(e - s));
    } else if (kind >= '1' && kind <= '9') {
      if (kind - '1' >= m->captures && kind != '1') {
        luaL_error(m->L, "invalid capture index %%%d in replacement string", kind - '0');
      }
      push_capture(m, kind - '1', s, e);
      luaL_addvalue(out);
    } else {
      luaL_error(m->L, "invalid use of '%%' in replacement string");
    }
  }
  luaL_addlstring(out, text, (size_t)(end - text));
}

// Adds what stands for the match [s, e) by the table or function at index 3.
static void add_answer(matcher *m, luaL_Buffer *out, const char *s, const char *e) {
  lua_State *L = m->L;
  if (lua_type(L, 3) == LUA_TTABLE) {
    push_capture(m, 0, s, e);
    lua_gettable(L, 3);
  } else {
    lua_pushvalue(L, 3);
    lua_call(L, push_captures(m, s, e), 1);
  }
  if (!lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    luaL_addlstring(out, s, (size_t)(e - s));
  } else if (lua_isstring(L, -1)) {
    luaL_addvalue(out);
  } else {
    luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  }
}

int tm_guarded_gsub(lua_State *L) {
  size_t size, pattern_size;
  const char *s = luaL_checklstring(L, 1, &size);
  const char *p = luaL_checklstring(L, 2, &pattern_size);
  int type = lua_type(L, 3);
  luaL_argexpected(
      L, type == LUA_TNUMBER || type == LUA_TSTRING || type == LUA_TFUNCTION || type == LUA_TTABLE,
      3, "string/function/table");
  lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)size + 1);
  bool anchored = *p == '^';
  bool by_template = type == LUA_TNUMBER || type == LUA_TSTRING;
  matcher m;
  matcher_init(&m, L, s, size, p, pattern_size);
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  lua_Integer count = 0;
  const char *last = NULL;
  while (count < most) {
    const char *end = match_at(&m, s, p + anchored);
    if (end && end != last) {
      count++;
      (by_template ? add_template : add_answer)(&m, &out, s, end);
      s = last = end;
    } else if (s < m.subject_end) {
      luaL_addchar(&out, *s++);
    } else {
      break;
    }
    if (luaL_bufflen(&out) > RESULT_MAX_BYTES) {
      return luaL_error(L, "resulting string too large (16 MiB at most)");
    }
    if (anchored) break;
  }
  pay(&m);
  luaL_addlstring(&out, s, (size_t)(m.subject_end - s));
  luaL_pushresult(&out);
  lua_pushinteger(L, count);
  return 2;
}
