// V8 heap snapshots: one pass over the JSON. Nodes and edges say which texts of the string table
// are contents and which are names; the table stands behind them, and contents that are no name
// become as many x. Fields are found by their names in the snapshot's own meta. Source:
// heap-snapshot-generator.cc of V8.
#include "base/json_read.h"
#include "write/redact_impl.h"

#include <stdlib.h>
#include <string.h>

enum { CONTENT = 1, NAME = 2, TYPES_MAX = 64, KEY_MAX = 32 };

typedef enum list_kind { IGNORED, NODE_FIELDS, NODE_TYPES, EDGE_FIELDS, EDGE_TYPES } list_kind;

// One kind of rows: how many numbers each has, where type and name are, and which types count.
typedef struct rows {
  uint32_t fields, type_at, name_at;
  uint64_t content_types, name_types; // bits
} rows;

typedef struct v8_walk {
  redactor *r;
  tm_json_reader *json;
  rows nodes, edges;
  uint8_t *flags; // of each text
  size_t room;
} v8_walk;

static bool is_one_of(const tm_json_reader *json, const char *const *words) {
  for (; *words; words++)
    if (tm_json_reader_is(json, *words)) return true;
  return false;
}

static tm_status next(v8_walk *w, tm_json_event *out) {
  *out = tm_json_reader_next(w->json);
  if (*out == TM_JSON_ERROR || *out == TM_JSON_END)
    return redact_bad(w->r, (uint64_t)(w->json->at - w->json->start),
                      "its JSON is damaged or ends early");
  return TM_OK;
}

// To the end of the container that was just opened.
static tm_status skip_open(v8_walk *w) {
  uint32_t depth = w->json->depth;
  tm_json_event event;
  do {
    TM_TRY(redact_tick(w->r, (uint64_t)(w->json->at - w->json->start)));
    TM_TRY(next(w, &event));
  } while (w->json->depth >= depth);
  return TM_OK;
}

static tm_status skip_value(v8_walk *w) {
  tm_json_event event;
  TM_TRY(next(w, &event));
  return event == TM_JSON_OBJECT || event == TM_JSON_ARRAY ? skip_open(w) : TM_OK;
}

// ---- meta ----

static void note_field(rows *of, const tm_json_reader *json, uint32_t index) {
  if (tm_json_reader_is(json, "type")) of->type_at = index;
  if (tm_json_reader_is(json, "name") || tm_json_reader_is(json, "name_or_index"))
    of->name_at = index;
  of->fields = index + 1;
}

static void note_type(rows *of, const tm_json_reader *json, uint32_t index, bool of_edges) {
  static const char *const contents[] = {"string", "regexp", NULL};
  static const char *const numbered[] = {"element", "hidden", NULL}; // carry a number, no name
  if (index >= TYPES_MAX) return;
  uint64_t bit = UINT64_C(1) << index;
  bool is_content = !of_edges && is_one_of(json, contents);
  if (is_content)
    of->content_types |= bit;
  else if (!of_edges || !is_one_of(json, numbered))
    of->name_types |= bit;
}

// A list of names, or of lists of names of which the first is the types'.
static tm_status read_list(v8_walk *w, list_kind kind) {
  bool of_edges = kind == EDGE_FIELDS || kind == EDGE_TYPES;
  rows *of = of_edges ? &w->edges : &w->nodes;
  tm_json_event event;
  uint32_t index = 0, depth;
  TM_TRY(next(w, &event));
  if (event != TM_JSON_ARRAY) return redact_bad(w->r, 0, "its meta has another shape");
  depth = w->json->depth;
  bool types_first = kind == NODE_TYPES || kind == EDGE_TYPES, seen_types = false;
  for (;;) {
    TM_TRY(next(w, &event));
    if (w->json->depth < depth) return TM_OK;
    if (event == TM_JSON_ARRAY_END) seen_types = true;
    if (event != TM_JSON_STRING) continue;
    if (!types_first)
      note_field(of, w->json, index++);
    else if (w->json->depth == depth + 1 && !seen_types)
      note_type(of, w->json, index++, of_edges);
  }
}

static tm_status read_meta(v8_walk *w) {
  static const char *const names[] = {"", "node_fields", "node_types", "edge_fields", "edge_types"};
  tm_json_event event;
  TM_TRY(next(w, &event));
  if (event != TM_JSON_OBJECT) return redact_bad(w->r, 0, "its meta has another shape");
  uint32_t depth = w->json->depth;
  for (;;) {
    TM_TRY(next(w, &event));
    if (w->json->depth < depth) return TM_OK;
    if (event != TM_JSON_KEY) continue;
    list_kind kind = IGNORED;
    for (list_kind k = NODE_FIELDS; k <= EDGE_TYPES; k++)
      if (tm_json_reader_is(w->json, names[k])) kind = k;
    if (kind != IGNORED)
      TM_TRY(read_list(w, kind));
    else if (!tm_json_reader_is(w->json, "meta"))
      TM_TRY(skip_value(w));
    else
      continue; // its members come next, one level deeper
  }
}

// ---- rows ----

static tm_status flag(v8_walk *w, int64_t text, uint8_t what) {
  if (text < 0 || (uint64_t)text >= w->r->size)
    return redact_bad(w->r, (uint64_t)(w->json->at - w->json->start), "a text that cannot be");
  size_t index = (size_t)text;
  if (index >= w->room) {
    size_t room = w->room ? w->room : 4096;
    while (room <= index) room *= 2;
    uint8_t *grown = tm_realloc(w->r->ctx, w->flags, w->room, room);
    if (!grown) return TM_E_NOMEM;
    memset(grown + w->room, 0, room - w->room);
    w->flags = grown;
    w->room = room;
  }
  w->flags[index] |= what;
  return TM_OK;
}

static tm_status read_rows(v8_walk *w, const rows *of) {
  tm_json_event event;
  uint32_t column = 0;
  int64_t type = 0, name = 0;
  if (!of->fields || !(of->name_types | of->content_types))
    return redact_bad(w->r, 0, "its meta does not say what rows mean");
  TM_TRY(next(w, &event));
  if (event != TM_JSON_ARRAY) return redact_bad(w->r, 0, "rows that are no list");
  for (;;) {
    TM_TRY(redact_tick(w->r, (uint64_t)(w->json->at - w->json->start)));
    TM_TRY(next(w, &event));
    if (event == TM_JSON_ARRAY_END) return TM_OK;
    if (event != TM_JSON_NUMBER) return redact_bad(w->r, 0, "rows of what is no number");
    if (column == of->type_at) type = w->json->integer;
    if (column == of->name_at) name = w->json->integer;
    if (++column < of->fields) continue;
    column = 0;
    if (type < 0 || type >= TYPES_MAX) return redact_bad(w->r, 0, "a row of no known type");
    if (of->content_types >> type & 1) TM_TRY(flag(w, name, CONTENT));
    if (of->name_types >> type & 1) TM_TRY(flag(w, name, NAME));
  }
}

// ---- texts ----

// UTF-16 units of a text as it stands in JSON, between its quotes.
static size_t count_units(const uint8_t *at, const uint8_t *end) {
  size_t units = 0;
  while (at < end) {
    size_t left = (size_t)(end - at), step = 1;
    if (*at == '\\')
      step = left > 1 && at[1] == 'u' ? 6 : 2;
    else if (*at >= 0xf0) // beyond 16 bits: two units in four bytes
      step = 4;
    units += step == 4 && left > 1 ? 2 : step > 1 || (*at & 0xc0) != 0x80;
    at += step < left ? step : left;
  }
  return units;
}

static tm_status read_texts(v8_walk *w) {
  tm_json_event event;
  size_t index = 0;
  TM_TRY(next(w, &event));
  if (event != TM_JSON_ARRAY) return redact_bad(w->r, 0, "texts that are no list");
  for (;; index++) {
    const char *before = w->json->at;
    TM_TRY(redact_tick(w->r, (uint64_t)(before - w->json->start)));
    TM_TRY(next(w, &event));
    if (event == TM_JSON_ARRAY_END) return TM_OK;
    if (event != TM_JSON_STRING) return redact_bad(w->r, 0, "a text that is none");
    if (index >= w->room || w->flags[index] != CONTENT) continue;
    const char *start = memchr(before, '"', (size_t)(w->json->at - before));
    const uint8_t *from = (const uint8_t *)start + 1, *to = (const uint8_t *)w->json->at - 1;
    w->r->out->blanked_count++;
    TM_TRY(redact_blank(w->r, (size_t)(from - w->r->data), (size_t)(to - from),
                        count_units(from, to), 'x'));
  }
}

// ---- the document ----

static tm_status read_member(v8_walk *w, bool *has_rows, bool *has_texts) {
  if (tm_json_reader_is(w->json, "snapshot")) return read_meta(w);
  if (tm_json_reader_is(w->json, "nodes")) return read_rows(w, &w->nodes);
  if (tm_json_reader_is(w->json, "edges")) {
    *has_rows = true;
    return read_rows(w, &w->edges);
  }
  if (!tm_json_reader_is(w->json, "strings")) return skip_value(w);
  if (!*has_rows) return redact_bad(w->r, 0, "texts stand before the rows");
  *has_texts = true;
  return read_texts(w);
}

static tm_status read_document(v8_walk *w) {
  tm_json_event event;
  bool has_rows = false, has_texts = false;
  TM_TRY(next(w, &event));
  if (event != TM_JSON_OBJECT) return redact_bad(w->r, 0, "no JSON object");
  for (;;) {
    TM_TRY(next(w, &event));
    if (event == TM_JSON_OBJECT_END) break;
    TM_TRY(read_member(w, &has_rows, &has_texts));
  }
  return has_texts ? TM_OK : redact_bad(w->r, w->r->size, "it has no texts");
}

tm_status redact_v8(redactor *r) {
  v8_walk w = {.r = r};
  r->out->format = "v8heap";
  w.json = tm_alloc(r->ctx, sizeof *w.json);
  if (!w.json) return TM_E_NOMEM;
  tm_json_reader_init(w.json, r->ctx, r->data, r->size);
  tm_status status = read_document(&w);
  tm_json_reader_fini(w.json);
  tm_free(r->ctx, w.json, sizeof *w.json);
  tm_free(r->ctx, w.flags, w.room);
  return status;
}
