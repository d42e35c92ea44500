// Commas come from one bit per open level; strings are copied in runs of bytes that need no escape.
// A wrong order of calls (a value without a key, a close too many) is TM_E_ARG, as is an unclosed
// document: a test sees it, a reader never sees broken JSON.
#include "base/json_write.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tm_json tm_json_begin(tm_ctx *ctx, tm_bytes *out) {
  return (tm_json){.ctx = ctx, .out = out, .status = TM_OK};
}

static void put(tm_json *w, const char *text, size_t size) {
  if (w->status == TM_OK) w->status = tm_bytes_append(w->ctx, w->out, text, size);
}

static void misuse(tm_json *w, const char *what) {
  if (w->status == TM_OK)
    w->status = tm_fail(w->ctx, TM_E_ARG, TM_NO_OFFSET, "writing JSON: %s", what);
}

// The bit of the innermost open object or array; bit 0 stands for the document itself.
static uint64_t bit(const tm_json *w) {
  return UINT64_C(1) << w->depth;
}

static void before_item(tm_json *w) {
  if (w->has_items & bit(w)) put(w, w->depth ? "," : "\n", 1);
  w->has_items |= bit(w);
}

static void before_value(tm_json *w) {
  if (w->after_key)
    w->after_key = false;
  else if (w->is_object & bit(w))
    misuse(w, "a value in an object needs a key");
  else
    before_item(w);
}

static void open_level(tm_json *w, bool object) {
  before_value(w);
  put(w, object ? "{" : "[", 1);
  if (w->depth + 1 >= TM_JSON_DEPTH) {
    if (w->status == TM_OK)
      w->status = tm_fail(w->ctx, TM_E_LIMIT, TM_NO_OFFSET, "writing JSON: nested deeper than %d",
                          TM_JSON_DEPTH - 1);
    return;
  }
  w->depth++;
  w->has_items &= ~bit(w);
  w->is_object = object ? w->is_object | bit(w) : w->is_object & ~bit(w);
}

void tm_json_object(tm_json *w) {
  open_level(w, true);
}

void tm_json_array(tm_json *w) {
  open_level(w, false);
}

void tm_json_close(tm_json *w) {
  if (!w->depth || w->after_key) {
    misuse(w, "nothing to close here");
    return;
  }
  put(w, w->is_object & bit(w) ? "}" : "]", 1);
  w->depth--;
}

// ---- strings ----

// Length of the well-formed UTF-8 sequence at p, 0 when there is none.
// Source: The Unicode Standard, table 3-7.
static size_t utf8_length(const uint8_t *p, size_t left) {
  uint8_t low = 0x80, high = 0xbf;
  size_t length;
  if (p[0] < 0x80) return 1;
  if (p[0] >= 0xc2 && p[0] <= 0xdf) {
    length = 2;
  } else if ((p[0] & 0xf0) == 0xe0) {
    length = 3;
    if (p[0] == 0xe0) low = 0xa0;
    if (p[0] == 0xed) high = 0x9f; // surrogates
  } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
    length = 4;
    if (p[0] == 0xf0) low = 0x90;
    if (p[0] == 0xf4) high = 0x8f;
  } else {
    return 0;
  }
  if (length > left || p[1] < low || p[1] > high) return 0;
  for (size_t i = 2; i < length; i++)
    if ((p[i] & 0xc0) != 0x80) return 0;
  return length;
}

static void put_escape(tm_json *w, uint8_t c) {
  static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
  char out[8];
  const char *at = c ? strchr(from, c) : NULL;
  if (at)
    snprintf(out, sizeof out, "\\%c", to[at - from]);
  else
    snprintf(out, sizeof out, "\\u%04x", c);
  put(w, out, strlen(out));
}

static void put_text(tm_json *w, const char *text, size_t size) {
  const uint8_t *p = (const uint8_t *)text;
  size_t run = 0, i = 0;
  put(w, "\"", 1);
  while (i < size) {
    size_t length = utf8_length(p + i, size - i);
    if (length && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\') {
      i += length;
      continue;
    }
    put(w, text + run, i - run);
    if (length)
      put_escape(w, p[i]);
    else
      put(w, "\xef\xbf\xbd", 3); // U+FFFD for each byte that fits nowhere
    run = ++i;
  }
  put(w, text + run, size - run);
  put(w, "\"", 1);
}

void tm_json_key(tm_json *w, const char *key) {
  if (!(w->is_object & bit(w)) || w->after_key) {
    misuse(w, "a key stands in an object, before its value");
    return;
  }
  before_item(w);
  put_text(w, key, strlen(key));
  put(w, ":", 1);
  w->after_key = true;
}

void tm_json_string(tm_json *w, const char *text) {
  if (text)
    tm_json_string_n(w, text, strlen(text));
  else
    tm_json_null(w);
}

void tm_json_string_n(tm_json *w, const char *text, size_t size) {
  before_value(w);
  put_text(w, text, size);
}

// ---- numbers and words ----

void tm_json_raw(tm_json *w, const char *json) {
  if (!json || !*json) json = "null";
  before_value(w);
  put(w, json, strlen(json));
}

void tm_json_int(tm_json *w, int64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%" PRId64, value);
  tm_json_raw(w, text);
}

void tm_json_uint(tm_json *w, uint64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%" PRIu64, value);
  tm_json_raw(w, text);
}

void tm_json_double(tm_json *w, double value) {
  char text[40];
  if (!isfinite(value)) {
    tm_json_null(w);
    return;
  }
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value) break;
  }
  char *comma = strchr(text, ','); // of a host's locale
  if (comma) *comma = '.';
  tm_json_raw(w, text);
}

void tm_json_bool(tm_json *w, bool value) {
  tm_json_raw(w, value ? "true" : "false");
}

void tm_json_null(tm_json *w) {
  tm_json_raw(w, "null");
}

tm_status tm_json_end(tm_json *w) {
  if (w->depth || w->after_key) misuse(w, "something is still open");
  put(w, "", 1);
  if (w->status == TM_OK) w->out->size--;
  return w->status;
}
