// A pull parser: the grammar is a small state (what is open, whether a value or a key is due) and
// each call consumes one token. Strings without escapes are given in place. Source: RFC 8259.
#include "base/json_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void tm_json_reader_init(tm_json_reader *json, tm_ctx *ctx, const void *data, size_t size) {
  memset(json, 0, sizeof *json);
  json->ctx = ctx;
  json->start = json->at = data;
  json->end = json->start + size;
  json->want_value = true;
}

void tm_json_reader_fini(tm_json_reader *json) {
  tm_bytes_free(json->ctx, &json->unescaped);
}

bool tm_json_reader_is(const tm_json_reader *json, const char *word) {
  return strlen(word) == json->text_size && memcmp(word, json->text, json->text_size) == 0;
}

static tm_json_event fail(tm_json_reader *json, const char *what) {
  uint64_t byte = (uint64_t)(json->at - json->start);
  if (!json->failed)
    tm_fail(json->ctx, TM_E_FORMAT, byte, "JSON: %s at byte %llu", what, (unsigned long long)byte);
  json->failed = true;
  return TM_JSON_ERROR;
}

static void skip_space(tm_json_reader *json) {
  while (json->at < json->end
         && (*json->at == ' ' || *json->at == '\n' || *json->at == '\t' || *json->at == '\r'))
    json->at++;
}

static bool in_object(const tm_json_reader *json) {
  uint32_t d = json->depth - 1;
  return json->depth && (json->is_object[d / 8] >> (d % 8) & 1);
}

// --- strings ---

static bool hex4(tm_json_reader *json, uint32_t *out) {
  if (json->end - json->at < 4) return false;
  *out = 0;
  for (int i = 0; i < 4; i++) {
    char c = *json->at++, low = (char)(c | 32);
    int d = c >= '0' && c <= '9' ? c - '0' : low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
    if (d < 0) return false;
    *out = *out << 4 | (uint32_t)d;
  }
  return true;
}

static tm_status put_rune(tm_json_reader *json, uint32_t c) {
  char b[4];
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = n; i-- > 1; c >>= 6) b[i] = (char)(0x80 | (c & 0x3f));
  b[0] = (char)(lead[n] | c);
  return tm_bytes_append(json->ctx, &json->unescaped, b, n);
}

// \uXXXX, with its second half when it is the first of a pair; lone halves are U+FFFD.
static bool unicode_escape(tm_json_reader *json) {
  uint32_t c, low;
  if (!hex4(json, &c)) return false;
  if (c >= 0xd800 && c < 0xdc00 && json->end - json->at >= 6 && json->at[0] == '\\'
      && json->at[1] == 'u') {
    const char *before = json->at;
    json->at += 2;
    if (!hex4(json, &low)) return false;
    if (low >= 0xdc00 && low < 0xe000)
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    else
      json->at = before;
  }
  if (c >= 0xd800 && c < 0xe000) c = 0xfffd;
  return put_rune(json, c) == TM_OK;
}

static bool escape(tm_json_reader *json) {
  static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
  if (json->at == json->end) return false;
  char c = *json->at++;
  if (c == 'u') return unicode_escape(json);
  const char *name = c ? strchr(names, c) : NULL;
  return name && tm_bytes_append(json->ctx, &json->unescaped, &values[name - names], 1) == TM_OK;
}

// Behind the opening quote. The first escape makes a copy of what came before.
static bool string(tm_json_reader *json) {
  const char *begin = json->at;
  bool copied = false;
  json->unescaped.size = 0;
  while (json->at < json->end && *json->at != '"') {
    if ((uint8_t)*json->at < 0x20) return false;
    if (*json->at != '\\') {
      json->at++;
      continue;
    }
    copied = true;
    size_t plain = (size_t)(json->at - begin);
    if (plain && tm_bytes_append(json->ctx, &json->unescaped, begin, plain) != TM_OK) return false;
    json->at++;
    if (!escape(json)) return false;
    begin = json->at;
  }
  if (json->at == json->end) return false;
  size_t plain = (size_t)(json->at++ - begin);
  json->text = begin;
  json->text_size = plain;
  if (!copied) return true;
  if (plain && tm_bytes_append(json->ctx, &json->unescaped, begin, plain) != TM_OK) return false;
  json->text = json->unescaped.data ? (const char *)json->unescaped.data : "";
  json->text_size = json->unescaped.size;
  return true;
}

// --- values ---

static size_t number_size(const tm_json_reader *json) {
  const char *p = json->at;
  while (p < json->end && *p && strchr("+-.eE0123456789", *p)) p++;
  return (size_t)(p - json->at);
}

static tm_json_event number(tm_json_reader *json) {
  char buf[64], *stop;
  const char *text = buf;
  size_t n = number_size(json);
  if (n < sizeof buf) {
    memcpy(buf, json->at, n);
    buf[n] = '\0';
  } else { // rare, but the grammar knows no longest number
    json->unescaped.size = 0;
    if (tm_bytes_append(json->ctx, &json->unescaped, json->at, n) != TM_OK
        || tm_bytes_append(json->ctx, &json->unescaped, "", 1) != TM_OK)
      return fail(json, "a number that is too long");
    text = (const char *)json->unescaped.data;
  }
  json->number = strtod(text, &stop);
  if (!n || *stop) return fail(json, "a wrong number");
  json->at += n;
  json->integer = json->number >= 9.2e18    ? INT64_MAX
                  : json->number <= -9.2e18 ? INT64_MIN
                  : isnan(json->number)     ? 0
                                            : (int64_t)json->number;
  if (!strpbrk(text, ".eE")) json->integer = strtoll(text, NULL, 10);
  return TM_JSON_NUMBER;
}

static tm_json_event word(tm_json_reader *json, const char *text, tm_json_event event) {
  size_t n = strlen(text);
  if ((size_t)(json->end - json->at) < n || memcmp(json->at, text, n) != 0)
    return fail(json, "an unknown word");
  json->at += n;
  return event;
}

static tm_json_event open_container(tm_json_reader *json, bool object) {
  if (json->depth == TM_JSON_MAX_DEPTH) return fail(json, "nested too deep");
  uint8_t bit = (uint8_t)(1u << (json->depth % 8)), *byte = &json->is_object[json->depth / 8];
  *byte = (uint8_t)(object ? *byte | bit : *byte & ~bit);
  json->depth++;
  json->at++;
  json->want_value = true;
  json->after_key = false;
  return object ? TM_JSON_OBJECT : TM_JSON_ARRAY;
}

static tm_json_event close_container(tm_json_reader *json) {
  bool object = in_object(json);
  if (*json->at != (object ? '}' : ']')) return fail(json, "the wrong bracket");
  json->at++;
  json->depth--;
  json->want_value = false;
  return object ? TM_JSON_OBJECT_END : TM_JSON_ARRAY_END;
}

static tm_json_event value(tm_json_reader *json) {
  char c = *json->at;
  if (c == '{' || c == '[') return open_container(json, c == '{');
  json->want_value = json->after_key = false;
  switch (c) {
  case '"':
    json->at++;
    return string(json) ? TM_JSON_STRING : fail(json, "a broken string");
  case 't':
    return word(json, "true", TM_JSON_TRUE);
  case 'f':
    return word(json, "false", TM_JSON_FALSE);
  case 'n':
    return word(json, "null", TM_JSON_NULL);
  default:
    return number(json);
  }
}

static tm_json_event key(tm_json_reader *json) {
  if (*json->at != '"') return fail(json, "a missing key");
  json->at++;
  if (!string(json)) return fail(json, "a broken key");
  skip_space(json);
  if (json->at == json->end || *json->at != ':') return fail(json, "a missing colon");
  json->at++;
  json->after_key = true;
  return TM_JSON_KEY;
}

tm_json_event tm_json_reader_next(tm_json_reader *json) {
  if (json->failed) return TM_JSON_ERROR;
  skip_space(json);
  if (json->at == json->end) {
    if (json->depth || json->want_value) return fail(json, "the text ends early");
    return TM_JSON_END;
  }
  if (!json->depth) return json->want_value ? value(json) : fail(json, "text behind the document");
  if (json->after_key) return value(json);
  bool closing = *json->at == '}' || *json->at == ']';
  if (closing) return close_container(json);
  if (!json->want_value) { // something stood before: a comma is due
    if (*json->at != ',') return fail(json, "a missing comma");
    json->at++;
    skip_space(json);
    if (json->at == json->end) return fail(json, "the text ends early");
  }
  return in_object(json) ? key(json) : value(json);
}
