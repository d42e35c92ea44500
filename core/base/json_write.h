// Writes JSON onto a tm_bytes. The status is sticky: write everything, ask once at the end.
//   tm_json w = tm_json_begin(ctx, &bytes);
//   tm_json_object(&w); tm_json_key(&w, "rss_bytes"); tm_json_uint(&w, 4096); tm_json_close(&w);
//   TM_TRY(tm_json_end(&w));
#ifndef TM_BASE_JSON_WRITE_H
#define TM_BASE_JSON_WRITE_H

#include "base/bytes.h"

enum { TM_JSON_DEPTH = 64 }; // open objects and arrays; deeper is TM_E_LIMIT

typedef struct tm_json {
  tm_ctx *ctx;
  tm_bytes *out;
  tm_status status;   // the first failure
  uint32_t depth;     // open objects and arrays
  uint64_t is_object; // bit per depth
  uint64_t has_items; // bit per depth: the next item takes a comma
  bool after_key;
} tm_json;

tm_json tm_json_begin(tm_ctx *ctx, tm_bytes *out);

void tm_json_object(tm_json *w);
void tm_json_array(tm_json *w);
void tm_json_close(tm_json *w); // the innermost object or array

void tm_json_key(tm_json *w, const char *key);

// Text as it is, escaped; what is not UTF-8 becomes U+FFFD. NULL = null.
void tm_json_string(tm_json *w, const char *text);
void tm_json_string_n(tm_json *w, const char *text, size_t size);
void tm_json_int(tm_json *w, int64_t value);
void tm_json_uint(tm_json *w, uint64_t value);
void tm_json_double(tm_json *w, double value); // 15 to 17 digits, reads back equal; NaN, inf = null
void tm_json_bool(tm_json *w, bool value);
void tm_json_null(tm_json *w);
void tm_json_raw(tm_json *w, const char *json); // one finished value; NULL or "" = null

// Puts a NUL behind the bytes (not counted in their size), so that they are also a C string.
// TM_E_ARG when something is still open or a key waits for its value.
TM_NODISCARD tm_status tm_json_end(tm_json *w);

#endif
