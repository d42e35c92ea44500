// expvar: a walk over JSON's events with the dotted name in one buffer; a container remembers how
// long the name was before it, so that leaving it is one number. Containers more than MAX_DEPTH
// deep are passed over. Linear in the input.
#include "read/counters.h"

#include "base/json_read.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_BYTES = 255, MAX_DEPTH = 32 };

typedef struct level {
  size_t name_size; // of the container itself
  uint32_t index;   // of the next member, in arrays
  bool is_array;
} level;

typedef struct walk {
  tm_counter_fn fn;
  void *ud;
  char name[NAME_MAX_BYTES + 1];
  size_t name_size; // of the value that comes; SIZE_MAX = too long to be told
  level levels[MAX_DEPTH];
  uint32_t depth, skipped_depth; // containers open; how many of them are passed over
} walk;

// ---- units ----

typedef struct unit_row {
  const char *name;
  size_t size;
  tm_unit unit;
} unit_row;

#define FIELD(name, unit)                                                                          \
  { name, sizeof name - 1, unit }
static const unit_row go_fields[] = {
    FIELD("Alloc", TM_UNIT_BYTES),         FIELD("TotalAlloc", TM_UNIT_BYTES),
    FIELD("Sys", TM_UNIT_BYTES),           FIELD("Lookups", TM_UNIT_COUNT),
    FIELD("Mallocs", TM_UNIT_COUNT),       FIELD("Frees", TM_UNIT_COUNT),
    FIELD("HeapAlloc", TM_UNIT_BYTES),     FIELD("HeapSys", TM_UNIT_BYTES),
    FIELD("HeapIdle", TM_UNIT_BYTES),      FIELD("HeapInuse", TM_UNIT_BYTES),
    FIELD("HeapReleased", TM_UNIT_BYTES),  FIELD("HeapObjects", TM_UNIT_COUNT),
    FIELD("StackInuse", TM_UNIT_BYTES),    FIELD("StackSys", TM_UNIT_BYTES),
    FIELD("MSpanInuse", TM_UNIT_BYTES),    FIELD("MSpanSys", TM_UNIT_BYTES),
    FIELD("MCacheInuse", TM_UNIT_BYTES),   FIELD("MCacheSys", TM_UNIT_BYTES),
    FIELD("BuckHashSys", TM_UNIT_BYTES),   FIELD("GCSys", TM_UNIT_BYTES),
    FIELD("OtherSys", TM_UNIT_BYTES),      FIELD("NextGC", TM_UNIT_BYTES),
    FIELD("LastGC", TM_UNIT_TIME),         FIELD("PauseTotalNs", TM_UNIT_NS),
    FIELD("PauseNs", TM_UNIT_NS),          FIELD("PauseEnd", TM_UNIT_TIME),
    FIELD("GCCPUFraction", TM_UNIT_RATIO), FIELD("NumGC", TM_UNIT_COUNT),
    FIELD("NumForcedGC", TM_UNIT_COUNT),   FIELD("Size", TM_UNIT_BYTES),
};

static const unit_row endings[] = {
    FIELD("_bytes", TM_UNIT_BYTES),
    FIELD("Bytes", TM_UNIT_BYTES),
    FIELD("_bytes_total", TM_UNIT_BYTES),
    FIELD("_ratio", TM_UNIT_RATIO),
    FIELD("_ns", TM_UNIT_NS),
    FIELD("_total", TM_UNIT_COUNT),
};

static bool ends_with(const char *text, size_t size, const unit_row *ending) {
  return size > ending->size && memcmp(text + size - ending->size, ending->name, ending->size) == 0;
}

// "memstats.BySize.3.Size" is of the field Size, "memstats.PauseNs.7" of PauseNs.
static tm_unit go_unit(const char *name, size_t size) {
  while (size && name[size - 1] >= '0' && name[size - 1] <= '9') size--;
  if (size && name[size - 1] == '.') size--;
  size_t start = size;
  while (start && name[start - 1] != '.') start--;
  for (size_t i = 0; i < TM_COUNT(go_fields); i++)
    if (go_fields[i].size == size - start
        && memcmp(go_fields[i].name, name + start, size - start) == 0)
      return go_fields[i].unit;
  return TM_UNIT_NONE;
}

tm_unit tm_counter_unit(const char *name, size_t size) {
  static const char prefix[] = "memstats.";
  if (size >= sizeof prefix && memcmp(name, prefix, sizeof prefix - 1) == 0)
    return go_unit(name, size);
  for (size_t i = 0; i < TM_COUNT(endings); i++)
    if (ends_with(name, size, &endings[i])) return endings[i].unit;
  return TM_UNIT_NONE;
}

// ---- expvar ----

// Puts text behind the container's own name; a name that grows too long is not told.
static void set_name(walk *w, const char *text, size_t size) {
  size_t at = w->depth ? w->levels[w->depth - 1].name_size : 0;
  w->name_size = SIZE_MAX;
  if (at == SIZE_MAX || at + 1 + size > NAME_MAX_BYTES) return;
  if (at) w->name[at++] = '.';
  memcpy(w->name + at, text, size);
  w->name_size = at + size;
}

// A member of an array has no key: its number names it.
static void name_member(walk *w) {
  char digits[16];
  if (!w->depth || !w->levels[w->depth - 1].is_array) return;
  int n = snprintf(digits, sizeof digits, "%u", w->levels[w->depth - 1].index++);
  set_name(w, digits, (size_t)n);
}

static void tell(walk *w, double value) {
  name_member(w);
  if (w->name_size == SIZE_MAX || !w->name_size || !isfinite(value)) return;
  w->name[w->name_size] = '\0';
  const tm_counter counter = {w->name, w->name_size, "", 0, tm_counter_unit(w->name, w->name_size),
                              value};
  w->fn(w->ud, &counter);
}

static void enter(walk *w, bool is_array) {
  if (w->skipped_depth || w->depth == MAX_DEPTH) {
    w->skipped_depth++;
    return;
  }
  name_member(w);
  const level inner = {w->depth ? w->name_size : 0, 0, is_array};
  w->levels[w->depth++] = inner;
}

static void leave(walk *w) {
  if (w->skipped_depth)
    w->skipped_depth--;
  else
    w->depth--;
}

static void take(walk *w, const tm_json_reader *json, tm_json_event event) {
  switch (event) {
  case TM_JSON_OBJECT:
  case TM_JSON_ARRAY:
    enter(w, event == TM_JSON_ARRAY);
    return;
  case TM_JSON_OBJECT_END:
  case TM_JSON_ARRAY_END:
    leave(w);
    return;
  default:
    break;
  }
  if (w->skipped_depth) return;
  if (event == TM_JSON_KEY)
    set_name(w, json->text, json->text_size);
  else if (event == TM_JSON_NUMBER)
    tell(w, json->number);
  else if (event == TM_JSON_TRUE || event == TM_JSON_FALSE)
    tell(w, event == TM_JSON_TRUE);
  else
    name_member(w); // a string or null still counts in its array
}

tm_status tm_read_expvar(tm_ctx *ctx, const void *data, size_t size, tm_counter_fn fn, void *ud) {
  tm_json_reader json;
  walk w = {.fn = fn, .ud = ud, .name_size = SIZE_MAX};
  tm_json_reader_init(&json, ctx, data, size);
  tm_json_event event = tm_json_reader_next(&json);
  tm_status status = TM_OK;
  if (event != TM_JSON_OBJECT && event != TM_JSON_ERROR)
    status = tm_fail(ctx, TM_E_FORMAT, 0, "not expvar: no JSON object");
  while (status == TM_OK && event != TM_JSON_END) {
    if (event == TM_JSON_ERROR)
      status = ctx->error.status;
    else
      take(&w, &json, event);
    if (status == TM_OK) event = tm_json_reader_next(&json);
  }
  tm_json_reader_fini(&json);
  return status;
}
