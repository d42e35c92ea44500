// Debug annotations as the fields that arguments of Chrome's JSON would be: dictionaries add names
// to the path, arrays "[]". A stack of open messages instead of recursion; what lies deeper than
// that is left out. Source: protos/perfetto/trace/track_event/debug_annotation.proto.
#include "base/json_read.h"
#include "read/perfetto_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 32 };

typedef enum open_kind { OPEN_EVENT, OPEN_ANNOTATION, OPEN_NESTED } open_kind;

typedef struct open_message {
  wire values, keys; // keys only of a NestedValue
  size_t path_size;
  uint8_t kind;
  bool array;    // its values are of an array
  bool in_array; // it is a value of one
} open_message;

static size_t extend_path(pf_reader *r, size_t size, const void *name, size_t name_size, bool dot) {
  if (size + name_size + 1 > sizeof r->path) return size;
  if (dot && size) r->path[size++] = '.';
  memcpy(r->path + size, name, name_size);
  return size + name_size;
}

static tm_status send_number(pf_reader *r, size_t path_size, double value) {
  tm_tl_field f = {.path = r->path,
                   .path_size = path_size,
                   .type = TM_TL_NUMBER,
                   .number = isfinite(value) ? value : 0};
  return tm_tl_add_field(r->ctx, &r->builder, &f);
}

static tm_status send_text(pf_reader *r, size_t path_size, const void *text, size_t size) {
  tm_tl_field f = {
      .path = r->path, .path_size = path_size, .type = TM_TL_TEXT, .text = text, .size = size};
  char copy[64];
  const char *first = text;
  if (size && size < sizeof copy && *first <= '9' && *first >= '+') { // sign, point or digit
    memcpy(copy, text, size);
    copy[size] = '\0';
    f.number = strtod(copy, NULL);
    if (!isfinite(f.number)) f.number = 0;
  }
  return tm_tl_add_field(r->ctx, &r->builder, &f);
}

static tm_status send_end(pf_reader *r, size_t path_size) {
  tm_tl_field f = {.path = r->path, .path_size = path_size, .type = TM_TL_END};
  return tm_tl_add_field(r->ctx, &r->builder, &f);
}

// ---- a text of JSON within an annotation ----

typedef struct open_json {
  size_t path_size;
  bool array;
} open_json;

typedef struct json_walk {
  pf_reader *r;
  tm_json_reader json;
  open_json open[DEEPEST];
  size_t depth, path_size;
} json_walk;

static tm_status send_json_value(json_walk *j, tm_json_event event) {
  size_t path_size = j->path_size;
  if (j->depth && j->open[j->depth - 1].array)
    path_size = extend_path(j->r, j->open[j->depth - 1].path_size, "[]", 2, false);
  switch (event) {
  case TM_JSON_OBJECT:
  case TM_JSON_ARRAY:
    if (j->depth == DEEPEST) return TM_E_FORMAT;
    j->open[j->depth++] = (open_json){path_size, event == TM_JSON_ARRAY};
    j->path_size = path_size;
    return TM_OK;
  case TM_JSON_STRING:
    return send_text(j->r, path_size, j->json.text, j->json.text_size);
  case TM_JSON_NUMBER:
    return send_number(j->r, path_size, j->json.number);
  case TM_JSON_TRUE:
  case TM_JSON_FALSE:
    return send_number(j->r, path_size, event == TM_JSON_TRUE);
  default:
    return TM_OK;
  }
}

static tm_status send_json_events(json_walk *j) {
  for (;;) {
    tm_json_event event = tm_json_reader_next(&j->json);
    if (event == TM_JSON_END || event == TM_JSON_ERROR) return TM_OK;
    if (event == TM_JSON_KEY) {
      size_t size = j->depth ? j->open[j->depth - 1].path_size : j->path_size;
      j->path_size = extend_path(j->r, size, j->json.text, j->json.text_size, true);
    } else if (event == TM_JSON_OBJECT_END || event == TM_JSON_ARRAY_END) {
      if (!j->depth) return TM_OK;
      j->path_size = j->open[--j->depth].path_size;
      if (event == TM_JSON_OBJECT_END && j->depth && j->open[j->depth - 1].array)
        TM_TRY(send_end(j->r, j->path_size));
    } else {
      tm_status status = send_json_value(j, event);
      if (status == TM_E_FORMAT) return TM_OK; // deeper than anybody nests
      TM_TRY(status);
    }
  }
}

// Broken JSON gives what stood before the break: the trace itself is whole.
static tm_status send_json(pf_reader *r, size_t path_size, pf_span text) {
  json_walk j = {.r = r, .path_size = path_size};
  tm_json_reader_init(&j.json, r->ctx, text.data, text.size);
  tm_status status = send_json_events(&j);
  tm_json_reader_fini(&j.json);
  if (status == TM_OK) tm_ctx_clear(r->ctx);
  return status;
}

// ---- annotations ----

// DebugAnnotation: 1 name_iid, 2 to 7 plain values, 8 nested_value, 9 legacy_json_value, 10 name,
// 11 dict_entries, 12 array_values, 17 string_value_iid.
typedef struct annotation {
  pf_span name;
  wire_field value; // number 0 = none
  uint64_t name_iid;
  bool dict, array;
} annotation;

static annotation words_of_annotation(pf_span message) {
  annotation a = {0};
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number == 1 && f.type == 0) a.name_iid = f.value;
    if (f.number == 10 && f.type == 2) a.name = pf_span_of(&f);
    if (f.number == 11 && f.type == 2) a.dict = true;
    if (f.number == 12 && f.type == 2) a.array = true;
    if ((f.number >= 2 && f.number <= 9) || f.number == 17) a.value = f;
  }
  return a;
}

static tm_status send_value(pf_reader *r, uint32_t generation, size_t path_size,
                            const wire_field *v) {
  double real;
  char pointer[24];
  switch (v->number) {
  case 2:
  case 3:
    return v->type == 0 ? send_number(r, path_size, (double)v->value) : TM_OK;
  case 4:
    return v->type == 0 ? send_number(r, path_size, (double)(int64_t)v->value) : TM_OK;
  case 5:
    if (v->type != 1) return TM_OK;
    memcpy(&real, &v->value, sizeof real);
    return send_number(r, path_size, real);
  case 6:
    return v->type == 2 ? send_text(r, path_size, v->data, v->size) : TM_OK;
  case 7: // Chrome's JSON has pointers as texts
    snprintf(pointer, sizeof pointer, "0x%llx", (unsigned long long)v->value);
    return v->type == 0 ? send_text(r, path_size, pointer, strlen(pointer)) : TM_OK;
  case 9:
    return v->type == 2 ? send_json(r, path_size, pf_span_of(v)) : TM_OK;
  case 17: {
    if (v->type != 0) return TM_OK;
    uint32_t id = pf_interned(r, generation, PF_ARG_VALUES, v->value);
    return send_text(r, path_size, tm_timeline_text(r->timeline, id),
                     tm_strtab_length(&r->timeline->strings, id));
  }
  default:
    return TM_OK;
  }
}

// NestedValue: 1 nested_type (1 dictionary, 2 array), 2 dict_keys, 3 dict_values, 4 array_values,
// 5 int, 6 double, 7 bool, 8 string.
static tm_status send_nested(pf_reader *r, pf_span message, size_t path_size, bool in_array,
                             open_message *open, size_t *depth) {
  wire w = pf_wire(message);
  uint64_t type = 0;
  for (wire_field f; pf_next(&w, &f);) {
    double real;
    if (f.number == 1 && f.type == 0) type = f.value;
    if (f.number == 5 && f.type == 0) TM_TRY(send_number(r, path_size, (double)(int64_t)f.value));
    if (f.number == 7 && f.type == 0) TM_TRY(send_number(r, path_size, (double)f.value));
    if (f.number == 8 && f.type == 2) TM_TRY(send_text(r, path_size, f.data, f.size));
    if (f.number != 6 || f.type != 1) continue;
    memcpy(&real, &f.value, sizeof real);
    TM_TRY(send_number(r, path_size, real));
  }
  if ((type == 1 || type == 2) && *depth < DEEPEST)
    open[(*depth)++] = (open_message){.values = pf_wire(message),
                                      .keys = pf_wire(message),
                                      .path_size = path_size,
                                      .kind = OPEN_NESTED,
                                      .array = type == 2,
                                      .in_array = in_array};
  return TM_OK;
}

// The next field of that number that is a message or text.
static bool next_of(wire *w, uint64_t number, pf_span *out) {
  for (wire_field f; pf_next(w, &f);) {
    if (f.number != number || f.type != 2) continue;
    *out = pf_span_of(&f);
    return true;
  }
  return false;
}

// One value of the NestedValue on top of the stack; *more is false when it has no further ones.
static tm_status step_nested(pf_reader *r, open_message *open, size_t *depth, bool *more) {
  open_message *top = &open[*depth - 1];
  pf_span key = {0}, value;
  *more = next_of(&top->values, top->array ? 4 : 3, &value);
  if (*more && !top->array) *more = next_of(&top->keys, 2, &key);
  if (!*more) return TM_OK;
  size_t size = top->array ? extend_path(r, top->path_size, "[]", 2, false)
                           : extend_path(r, top->path_size, key.data, key.size, true);
  return send_nested(r, value, size, top->array, open, depth);
}

// One annotation: of the event, of a dictionary or of an array.
static tm_status open_annotation(pf_reader *r, uint32_t generation, pf_span message,
                                 open_message *open, size_t *depth) {
  const open_message *top = &open[*depth - 1];
  annotation a = words_of_annotation(message);
  size_t size;
  if (top->array) {
    size = extend_path(r, top->path_size, "[]", 2, false);
  } else if (a.name.data) {
    size = extend_path(r, top->path_size, a.name.data, a.name.size, true);
  } else {
    uint32_t id = pf_interned(r, generation, PF_ARG_NAMES, a.name_iid);
    size = extend_path(r, top->path_size, tm_timeline_text(r->timeline, id),
                       tm_strtab_length(&r->timeline->strings, id), true);
  }
  if (a.dict || a.array) {
    if (*depth == DEEPEST) return TM_OK;
    bool in_array = top->array;
    open[(*depth)++] = (open_message){.values = pf_wire(message),
                                      .path_size = size,
                                      .kind = OPEN_ANNOTATION,
                                      .array = a.array && !a.dict,
                                      .in_array = in_array};
    return TM_OK;
  }
  if (a.value.number == 8 && a.value.type == 2)
    return send_nested(r, pf_span_of(&a.value), size, top->array, open, depth);
  return send_value(r, generation, size, &a.value);
}

static tm_status step_annotations(pf_reader *r, uint32_t generation, open_message *open,
                                  size_t *depth, bool *more) {
  open_message *top = &open[*depth - 1];
  pf_span message;
  uint64_t number = top->kind == OPEN_EVENT ? 4 : top->array ? 12 : 11;
  *more = next_of(&top->values, number, &message);
  return *more ? open_annotation(r, generation, message, open, depth) : TM_OK;
}

// Of the typed arguments the state of a frame matters: chrome_frame_reporter (32, before 2025) and
// frame_reporter (1075), both with 1 state.
static tm_status send_frame_state(pf_reader *r, pf_span message) {
  static const char *const states[] = {"STATE_NO_UPDATE_DESIRED", "STATE_PRESENTED_ALL",
                                       "STATE_PRESENTED_PARTIAL", "STATE_DROPPED"};
  static const char path[] = "frame_reporter.state";
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number != 1 || f.type != 0 || f.value >= sizeof states / sizeof *states) continue;
    size_t size = extend_path(r, 0, path, sizeof path - 1, false);
    TM_TRY(send_text(r, size, states[f.value], strlen(states[f.value])));
  }
  return TM_OK;
}

static tm_status send_typed(pf_reader *r, const pf_event *e) {
  wire w = pf_wire((pf_span){e->data, e->size});
  for (wire_field f; pf_next(&w, &f);)
    if ((f.number == 32 || f.number == 1075) && f.type == 2)
      TM_TRY(send_frame_state(r, pf_span_of(&f)));
  return TM_OK;
}

tm_status pf_send_args(pf_reader *r, const pf_event *e) {
  open_message open[DEEPEST];
  size_t depth = 1;
  open[0] = (open_message){.values = pf_wire((pf_span){e->data, e->size}), .kind = OPEN_EVENT};
  while (depth) {
    bool more;
    if (open[depth - 1].kind == OPEN_NESTED)
      TM_TRY(step_nested(r, open, &depth, &more));
    else
      TM_TRY(step_annotations(r, e->generation, open, &depth, &more));
    if (more) continue;
    const open_message *done = &open[--depth];
    if (done->in_array && !done->array) TM_TRY(send_end(r, done->path_size));
  }
  return send_typed(r, e);
}
