// A loop instead of recursion: open containers lie on Lua's stack (an object with the key that
// waits for its value), and a bit per level says what each is. All memory is Lua's, so that an
// error may be raised anywhere. Linear in the text.
#include "host/lua_json.h"

#include "host/lua_core.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

typedef struct decoder {
  lua_State *L;
  tm_ctx *ctx;
  const char *start, *at, *end; // *end is NUL
  uint32_t depth;
  bool is_object[TM_LUA_JSON_DEPTH];
  lua_Integer count[TM_LUA_JSON_DEPTH]; // items of an array so far
} decoder;

static tm_status bad(decoder *d, const char *what) {
  size_t offset = (size_t)(d->at - d->start);
  return tm_fail(d->ctx, TM_E_FORMAT, offset, "not JSON: %s, at byte %zu", what, offset);
}

static void skip_space(decoder *d) {
  while (*d->at == ' ' || *d->at == '\n' || *d->at == '\t' || *d->at == '\r') d->at++;
}

// ---- strings ----

// Four hexadecimal digits at p, or -1. The text ends with NUL, which is no digit.
static int32_t hex4(const char *p) {
  int32_t value = 0;
  for (int i = 0; i < 4; i++) {
    char c = p[i];
    int32_t digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

static char *put_utf8(char *out, uint32_t c) {
  if (c < 0x80) {
    *out++ = (char)c;
  } else if (c < 0x800) {
    *out++ = (char)(0xc0 | c >> 6);
    *out++ = (char)(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    *out++ = (char)(0xe0 | c >> 12);
    *out++ = (char)(0x80 | (c >> 6 & 0x3f));
    *out++ = (char)(0x80 | (c & 0x3f));
  } else {
    *out++ = (char)(0xf0 | c >> 18);
    *out++ = (char)(0x80 | (c >> 12 & 0x3f));
    *out++ = (char)(0x80 | (c >> 6 & 0x3f));
    *out++ = (char)(0x80 | (c & 0x3f));
  }
  return out;
}

// \uXXXX at d->at (behind the u), or a pair of them. Never longer than what it was written with.
static tm_status take_unicode(decoder *d, char **out) {
  int32_t c = hex4(d->at);
  if (c < 0) return bad(d, "\\u needs four hexadecimal digits");
  d->at += 4;
  if (c >= 0xd800 && c < 0xdc00 && d->at[0] == '\\' && d->at[1] == 'u') {
    int32_t low = hex4(d->at + 2);
    if (low >= 0xdc00 && low < 0xe000) {
      d->at += 6;
      *out = put_utf8(*out, 0x10000u + ((uint32_t)(c - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
      return TM_OK;
    }
  }
  *out = put_utf8(*out, c >= 0xd800 && c < 0xe000 ? 0xfffd : (uint32_t)c);
  return TM_OK;
}

static tm_status take_escape(decoder *d, char **out) {
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  char c = *d->at;
  if (c == 'u') {
    d->at++;
    return take_unicode(d, out);
  }
  const char *known = c ? strchr(names, c) : NULL;
  if (!known) return bad(d, "an unknown escape");
  d->at++;
  *(*out)++ = values[known - names];
  return TM_OK;
}

// The string whose opening quote is at d->at; pushes it.
static tm_status take_string(decoder *d) {
  const char *first = ++d->at;
  while (*d->at != '"' && *d->at != '\\' && (uint8_t)*d->at >= ' ') d->at++;
  if (*d->at == '"') {
    lua_pushlstring(d->L, first, (size_t)(d->at++ - first));
    return TM_OK;
  }
  const char *close = d->at; // no longer than up to the closing quote
  while (close < d->end && *close != '"') close += *close == '\\' && close + 1 < d->end ? 2 : 1;
  luaL_Buffer buffer;
  size_t room = (size_t)(close - first) + 4;
  char *begin = luaL_buffinitsize(d->L, &buffer, room), *out = begin + (d->at - first);
  memcpy(begin, first, (size_t)(d->at - first));
  while (*d->at != '"') {
    if ((uint8_t)*d->at < ' ')
      return bad(d, d->at == d->end ? "a string that does not end" : "a control character");
    if (*d->at != '\\') {
      *out++ = *d->at++;
      continue;
    }
    d->at++;
    TM_TRY(take_escape(d, &out));
  }
  d->at++;
  luaL_pushresultsize(&buffer, (size_t)(out - begin));
  return TM_OK;
}

// ---- numbers and words ----

static bool take_digits(decoder *d) {
  const char *first = d->at;
  while (*d->at >= '0' && *d->at <= '9') d->at++;
  return d->at > first;
}

static tm_status take_number(decoder *d) {
  const char *first = d->at;
  bool whole = true;
  if (*d->at == '-') d->at++;
  if (*d->at == '0')
    d->at++;
  else if (!take_digits(d))
    return bad(d, "a value is expected");
  if (*d->at == '.') {
    whole = false;
    d->at++;
    if (!take_digits(d)) return bad(d, "digits are expected behind the point");
  }
  if (*d->at == 'e' || *d->at == 'E') {
    whole = false;
    d->at++;
    if (*d->at == '+' || *d->at == '-') d->at++;
    if (!take_digits(d)) return bad(d, "digits are expected in the exponent");
  }
  errno = 0;
  long long integer = whole ? strtoll(first, NULL, 10) : 0;
  if (whole && errno == 0)
    lua_pushinteger(d->L, integer);
  else
    lua_pushnumber(d->L, strtod(first, NULL));
  return TM_OK;
}

static tm_status take_word(decoder *d) {
  static const char *const words[] = {"null", "false", "true"};
  for (int i = 0; i < 3; i++) {
    size_t size = strlen(words[i]);
    if (strncmp(d->at, words[i], size) != 0) continue;
    d->at += size;
    if (i == 0)
      lua_pushlightuserdata(d->L, NULL);
    else
      lua_pushboolean(d->L, i == 2);
    return TM_OK;
  }
  return take_number(d);
}

// ---- containers ----

static tm_status take_key(decoder *d) {
  skip_space(d);
  if (*d->at != '"') return bad(d, "a key in quotes is expected");
  TM_TRY(take_string(d));
  skip_space(d);
  if (*d->at != ':') return bad(d, "a colon is expected behind a key");
  d->at++;
  return TM_OK;
}

// Opens the container at d->at; *out_complete when it is closed again at once.
static tm_status open_container(decoder *d, bool *out_complete) {
  bool is_object = *d->at == '{';
  if (d->depth == TM_LUA_JSON_DEPTH) return bad(d, "more than 64 levels");
  d->at++;
  lua_newtable(d->L);
  skip_space(d);
  *out_complete = *d->at == (is_object ? '}' : ']');
  if (*out_complete) {
    d->at++;
    return TM_OK;
  }
  d->is_object[d->depth] = is_object;
  d->count[d->depth++] = 0;
  return is_object ? take_key(d) : TM_OK;
}

// Puts the complete value on top of the stack into the container below it.
static void place(decoder *d) {
  uint32_t level = d->depth - 1;
  if (!d->is_object[level]) {
    lua_rawseti(d->L, -2, ++d->count[level]);
  } else {
    if (lua_islightuserdata(d->L, -1)) {
      lua_pop(d->L, 1);
      lua_pushnil(d->L);
    }
    lua_rawset(d->L, -3);
  }
}

// Behind a placed value: closes what ends here, up to where the next value begins or to the end.
static tm_status take_ends(decoder *d) {
  while (d->depth) {
    bool is_object = d->is_object[d->depth - 1];
    place(d);
    skip_space(d);
    if (*d->at == ',') {
      d->at++;
      return is_object ? take_key(d) : TM_OK;
    }
    if (*d->at != (is_object ? '}' : ']'))
      return bad(d, is_object ? "a comma or } is expected" : "a comma or ] is expected");
    d->at++;
    d->depth--;
  }
  skip_space(d);
  return d->at == d->end ? TM_OK : bad(d, "something stands behind the value");
}

static tm_status decode(decoder *d) {
  do {
    bool complete = true;
    skip_space(d);
    if (*d->at == '{' || *d->at == '[')
      TM_TRY(open_container(d, &complete));
    else if (*d->at == '"')
      TM_TRY(take_string(d));
    else
      TM_TRY(take_word(d));
    if (complete) TM_TRY(take_ends(d));
  } while (d->depth);
  return TM_OK;
}

tm_status tm_lua_json_push(lua_State *L, tm_ctx *ctx, const char *text, size_t size) {
  decoder d = {.L = L, .ctx = ctx, .start = text, .at = text, .end = text + size};
  return decode(&d);
}

int tm_lua_json_decode(lua_State *L) {
  tm_ctx ctx;
  size_t size;
  const char *text = luaL_checklstring(L, 1, &size);
  luaL_checkstack(L, 2 * TM_LUA_JSON_DEPTH + 16, "JSON");
  tm_ctx_init(&ctx, NULL);
  if (tm_lua_json_push(L, &ctx, text, size) != TM_OK) return tm_lua_failed(L, &ctx);
  return 1;
}
