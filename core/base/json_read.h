// JSON as a stream of events: nothing is built, nothing recurses, memory does not depend on the
// document. For formats of other makers (V8, Chrome, speedscope).
#ifndef TM_BASE_JSON_READ_H
#define TM_BASE_JSON_READ_H

#include "base/bytes.h"

#define TM_JSON_MAX_DEPTH 16384

typedef enum tm_json_event {
  TM_JSON_END,   // the document is over
  TM_JSON_ERROR, // recorded in ctx with the byte; repeats
  TM_JSON_OBJECT,
  TM_JSON_OBJECT_END,
  TM_JSON_ARRAY,
  TM_JSON_ARRAY_END,
  TM_JSON_KEY,    // text
  TM_JSON_STRING, // text
  TM_JSON_NUMBER, // number, and integer when it has no fraction and fits
  TM_JSON_TRUE,
  TM_JSON_FALSE,
  TM_JSON_NULL
} tm_json_event;

typedef struct tm_json_reader {
  tm_ctx *ctx;
  const char *start, *at, *end;
  const char *text; // of KEY and STRING; unescaped, valid until the next event
  size_t text_size;
  double number;
  int64_t integer; // number cut to an integer, clamped
  uint32_t depth;
  bool failed, done, want_value, after_key;
  tm_bytes unescaped;
  uint8_t is_object[TM_JSON_MAX_DEPTH / 8]; // a bit per open container
} tm_json_reader;

// Your storage (it is a few KiB: not for small stacks). End with tm_json_reader_fini.
void tm_json_reader_init(tm_json_reader *json, tm_ctx *ctx, const void *data, size_t size);
void tm_json_reader_fini(tm_json_reader *json);

tm_json_event tm_json_reader_next(tm_json_reader *json);

// Whether text is exactly that word.
bool tm_json_reader_is(const tm_json_reader *json, const char *word);

#endif
