// speedscope's JSON: frames shared by several profiles, each "sampled" (stacks with weights) or
// "evented" (frames that open and close at times). Profiles over the same stacks become value types
// of the same samples, which is how tidemark writes its own; otherwise each unit is a value type
// and the label "profile" says where a sample comes from. Times become nanoseconds. One pass over
// the JSON, then one over its samples. Source: speedscope's file-format schema.
#include "base/json_read.h"
#include "read/frames.h"
#include "read/reader.h"

#include <math.h>
#include <string.h>

#define MAX_FRAMES (UINT32_C(1) << 26) // of all stacks: hostile events grow by their square

typedef struct frame {
  uint32_t name, file;
  int64_t line;
  uint32_t location; // UINT32_MAX until it is used
} frame;

typedef struct change { // a frame that opens or closes
  uint32_t frame;
  bool open;
  double at;
} change;

typedef struct track { // a profile of the file, as ranges of the arrays below
  uint32_t name, unit;
  bool evented;
  size_t stacks, stacks_end, weights, weights_end, events, events_end;
} track;

typedef struct ss_reader {
  tm_ctx *ctx;
  tm_profile *p;
  tm_json_reader *json;
  tm_frames map;
  TM_VEC(frame) frames;
  TM_VEC(track) tracks;
  TM_VEC(uint32_t) stack;     // frames, root first
  TM_VEC(uint64_t) stack_end; // one per sample
  TM_VEC(double) weights;
  TM_VEC(change) events;
} ss_reader;

static tm_status bad(ss_reader *r, const char *what) {
  uint64_t at = (uint64_t)(r->json->at - r->json->start);
  return tm_fail(r->ctx, TM_E_FORMAT, at, "%s at byte %llu", what, (unsigned long long)at);
}

// --- the document ---

static tm_status next(ss_reader *r, tm_json_event *out) {
  *out = tm_json_reader_next(r->json);
  if (*out == TM_JSON_ERROR) return r->ctx->error.status;
  return *out == TM_JSON_END ? bad(r, "the document ends early") : TM_OK;
}

// Passes over the value that begins with this event.
static tm_status skip(ss_reader *r, tm_json_event event) {
  uint32_t depth = r->json->depth;
  if (event != TM_JSON_OBJECT && event != TM_JSON_ARRAY) return TM_OK;
  while (r->json->depth >= depth) TM_TRY(next(r, &event));
  return TM_OK;
}

static tm_status intern(ss_reader *r, tm_json_event event, uint32_t *out) {
  if (event != TM_JSON_STRING) return bad(r, "a text was expected");
  return tm_profile_intern(r->ctx, r->p, r->json->text, r->json->text_size, out);
}

static tm_status to_frame(ss_reader *r, tm_json_event event, uint32_t *out) {
  double n = event == TM_JSON_NUMBER ? r->json->number : -1;
  if (!(n >= 0 && n < MAX_FRAMES)) return bad(r, "the index of a frame was expected");
  *out = (uint32_t)n;
  return TM_OK;
}

// Calls field(r, event, key, item) for each key of the object that has begun; event is that of the
// value, which field consumes.
typedef tm_status field_reader(ss_reader *r, tm_json_event event, const char *key, void *item);

static tm_status read_object(ss_reader *r, field_reader *field, void *item) {
  for (;;) {
    tm_json_event event;
    char key[32] = "";
    TM_TRY(next(r, &event));
    if (event == TM_JSON_OBJECT_END) return TM_OK;
    if (r->json->text_size < sizeof key) memcpy(key, r->json->text, r->json->text_size);
    TM_TRY(next(r, &event));
    TM_TRY(field(r, event, key, item));
  }
}

// The same for each item of an array; a value that is no array is an error.
typedef tm_status item_reader(ss_reader *r, tm_json_event event);

static tm_status read_array(ss_reader *r, tm_json_event event, item_reader *item) {
  if (event != TM_JSON_ARRAY) return bad(r, "an array was expected");
  for (;;) {
    TM_TRY(next(r, &event));
    if (event == TM_JSON_ARRAY_END) return TM_OK;
    TM_TRY(item(r, event));
  }
}

static tm_status frame_field(ss_reader *r, tm_json_event event, const char *key, void *item) {
  frame *f = item;
  if (strcmp(key, "name") == 0) return intern(r, event, &f->name);
  if (strcmp(key, "file") == 0 && event == TM_JSON_STRING) return intern(r, event, &f->file);
  if (strcmp(key, "line") == 0 && event == TM_JSON_NUMBER) f->line = r->json->integer;
  return skip(r, event);
}

static tm_status read_frame(ss_reader *r, tm_json_event event) {
  frame f = {.location = UINT32_MAX};
  if (event != TM_JSON_OBJECT) return bad(r, "a frame was expected");
  TM_TRY(read_object(r, frame_field, &f));
  return tm_vec_push(r->ctx, &r->frames, f);
}

static tm_status shared_field(ss_reader *r, tm_json_event event, const char *key, void *item) {
  (void)item;
  return strcmp(key, "frames") == 0 ? read_array(r, event, read_frame) : skip(r, event);
}

static tm_status read_stack_frame(ss_reader *r, tm_json_event event) {
  uint32_t index = 0;
  TM_TRY(to_frame(r, event, &index));
  return tm_vec_push(r->ctx, &r->stack, index);
}

static tm_status read_stack(ss_reader *r, tm_json_event event) {
  TM_TRY(read_array(r, event, read_stack_frame));
  return tm_vec_push(r->ctx, &r->stack_end, r->stack.count);
}

static tm_status read_weight(ss_reader *r, tm_json_event event) {
  if (event != TM_JSON_NUMBER) return bad(r, "a weight was expected");
  return tm_vec_push(r->ctx, &r->weights, r->json->number);
}

static tm_status event_field(ss_reader *r, tm_json_event event, const char *key, void *item) {
  change *e = item;
  if (strcmp(key, "type") == 0 && event == TM_JSON_STRING) e->open = r->json->text[0] == 'O';
  if (strcmp(key, "at") == 0 && event == TM_JSON_NUMBER) e->at = r->json->number;
  if (strcmp(key, "frame") == 0) return to_frame(r, event, &e->frame);
  return skip(r, event);
}

static tm_status read_event(ss_reader *r, tm_json_event event) {
  change e = {.frame = UINT32_MAX};
  if (event != TM_JSON_OBJECT) return bad(r, "an event was expected");
  TM_TRY(read_object(r, event_field, &e));
  if (e.frame == UINT32_MAX) return bad(r, "an event without a frame");
  return tm_vec_push(r->ctx, &r->events, e);
}

static tm_status track_field(ss_reader *r, tm_json_event event, const char *key, void *item) {
  track *t = item;
  if (strcmp(key, "name") == 0) return intern(r, event, &t->name);
  if (strcmp(key, "unit") == 0) return intern(r, event, &t->unit);
  if (strcmp(key, "type") == 0 && event == TM_JSON_STRING)
    t->evented = tm_json_reader_is(r->json, "evented");
  if (strcmp(key, "samples") == 0) return read_array(r, event, read_stack);
  if (strcmp(key, "weights") == 0) return read_array(r, event, read_weight);
  if (strcmp(key, "events") == 0) return read_array(r, event, read_event);
  return skip(r, event);
}

static tm_status read_track(ss_reader *r, tm_json_event event) {
  track t = {.stacks = r->stack_end.count, .weights = r->weights.count, .events = r->events.count};
  if (event != TM_JSON_OBJECT) return bad(r, "a profile was expected");
  TM_TRY(read_object(r, track_field, &t));
  t.stacks_end = r->stack_end.count;
  t.weights_end = r->weights.count;
  t.events_end = r->events.count;
  if (!t.evented && t.stacks_end - t.stacks != t.weights_end - t.weights)
    return bad(r, "a profile with as many samples as weights was expected");
  return tm_vec_push(r->ctx, &r->tracks, t);
}

static tm_status root_field(ss_reader *r, tm_json_event event, const char *key, void *item) {
  (void)item;
  if (strcmp(key, "profiles") == 0) return read_array(r, event, read_track);
  if (strcmp(key, "shared") != 0) return skip(r, event);
  return event == TM_JSON_OBJECT ? read_object(r, shared_field, NULL) : bad(r, "no shared frames");
}

// --- samples ---

static const struct {
  const char *unit, *type, *our_unit;
  double factor;
} units[] = {{"none", "samples", "count", 1},
             {"bytes", "space", "bytes", 1},
             {"nanoseconds", "time", "nanoseconds", 1},
             {"microseconds", "time", "nanoseconds", 1e3},
             {"milliseconds", "time", "nanoseconds", 1e6},
             {"seconds", "time", "nanoseconds", 1e9}};

static size_t unit_of(const ss_reader *r, const track *t) {
  for (size_t i = TM_COUNT(units); i-- > 1;)
    if (strcmp(tm_profile_text(r->p, t->unit), units[i].unit) == 0) return i;
  return 0;
}

static int64_t to_value(double weight, double factor) {
  double v = weight * factor;
  if (isnan(v)) return 0;
  return fabs(v) < 9.2e18 ? (int64_t)llround(v) : v < 0 ? INT64_MIN : INT64_MAX;
}

static tm_text text_of(const tm_profile *p, uint32_t id) {
  return (tm_text){tm_profile_text(p, id), tm_strtab_length(&p->strings, id)};
}

static tm_status push_frame(ss_reader *r, uint32_t index) {
  if (index >= r->frames.count)
    return tm_fail(r->ctx, TM_E_FORMAT, TM_NO_OFFSET, "a stack names frame %u of %zu", index,
                   r->frames.count);
  if (r->p->stack.count >= MAX_FRAMES)
    return tm_fail(r->ctx, TM_E_LIMIT, TM_NO_OFFSET, "the stacks have more than %u frames",
                   MAX_FRAMES);
  frame *f = &r->frames.items[index];
  if (f->location == UINT32_MAX)
    TM_TRY(tm_frames_location(r->ctx, &r->map, r->p, text_of(r->p, f->name), text_of(r->p, f->file),
                              f->line, &f->location));
  return tm_vec_push(r->ctx, &r->p->stack, f->location);
}

static size_t stack_begin(const ss_reader *r, size_t s) {
  return s ? (size_t)r->stack_end.items[s - 1] : 0;
}

static tm_status push_stack(ss_reader *r, size_t s) {
  for (size_t i = (size_t)r->stack_end.items[s]; i > stack_begin(r, s); i--)
    TM_TRY(push_frame(r, r->stack.items[i - 1]));
  return TM_OK;
}

// Whether all profiles are sampled, over the same stacks in the same order.
static bool same_stacks(const ss_reader *r) {
  const track *first = r->tracks.items;
  size_t count = first->stacks_end - first->stacks, from = stack_begin(r, first->stacks);
  for (size_t i = 0; i < r->tracks.count; i++) {
    const track *t = &r->tracks.items[i];
    if (t->evented || t->stacks_end - t->stacks != count) return false;
    size_t to = stack_begin(r, t->stacks);
    for (size_t s = 0; s < count; s++)
      if (r->stack_end.items[first->stacks + s] - from != r->stack_end.items[t->stacks + s] - to)
        return false;
    size_t frames = count ? (size_t)r->stack_end.items[first->stacks_end - 1] - from : 0;
    if (frames
        && memcmp(r->stack.items + from, r->stack.items + to, frames * sizeof *r->stack.items) != 0)
      return false;
  }
  return true;
}

// A value type per profile, named as the profile.
static tm_status join_columns(ss_reader *r, int64_t *row) {
  for (size_t i = 0; i < r->tracks.count; i++) {
    const track *t = &r->tracks.items[i];
    size_t unit = unit_of(r, t);
    bool named = r->tracks.count > 1 && t->name;
    TM_TRY(tm_profile_add_type(r->ctx, r->p,
                               named ? tm_profile_text(r->p, t->name) : units[unit].type,
                               units[unit].our_unit));
  }
  const track *first = r->tracks.items;
  for (size_t s = first->stacks; s < first->stacks_end; s++) {
    for (size_t i = 0; i < r->tracks.count; i++) {
      const track *t = &r->tracks.items[i];
      row[i] =
          to_value(r->weights.items[t->weights + s - first->stacks], units[unit_of(r, t)].factor);
    }
    TM_TRY(push_stack(r, s));
    TM_TRY(tm_profile_end_sample(r->ctx, r->p, row));
  }
  return TM_OK;
}

// --- profiles of their own stacks ---

typedef struct column {
  size_t index;
  double factor;
  uint32_t label; // key of "profile"
} column;

static tm_status end_sample(ss_reader *r, const track *t, const column *c, double weight,
                            int64_t *row) {
  row[c->index] = to_value(weight, c->factor);
  tm_label l = {.key = c->label, .text = t->name};
  if (r->tracks.count > 1 && t->name) TM_TRY(tm_vec_push(r->ctx, &r->p->labels, l));
  TM_TRY(tm_profile_end_sample(r->ctx, r->p, row));
  row[c->index] = 0;
  return TM_OK;
}

// Between two events the open frames, root first in r->stack from `base` on, are the stack.
static tm_status play_events(ss_reader *r, const track *t, const column *c, int64_t *row) {
  size_t base = r->stack.count;
  double before = t->events < t->events_end ? r->events.items[t->events].at : 0;
  for (size_t e = t->events; e < t->events_end; e++) {
    const change *ev = &r->events.items[e];
    if (!(ev->at >= before))
      return tm_fail(r->ctx, TM_E_FORMAT, TM_NO_OFFSET, "event %zu goes back in time", e);
    if (ev->at > before && r->stack.count > base) {
      for (size_t i = r->stack.count; i > base; i--) TM_TRY(push_frame(r, r->stack.items[i - 1]));
      TM_TRY(end_sample(r, t, c, ev->at - before, row));
    }
    before = ev->at;
    if (ev->open) {
      TM_TRY(tm_vec_push(r->ctx, &r->stack, ev->frame));
    } else if (r->stack.count == base || r->stack.items[--r->stack.count] != ev->frame) {
      return tm_fail(r->ctx, TM_E_FORMAT, TM_NO_OFFSET,
                     "event %zu closes frame %u, which is not the innermost", e, ev->frame);
    }
  }
  r->stack.count = base;
  return TM_OK;
}

// The value type of that unit (made if new).
static tm_status column_of(ss_reader *r, size_t unit, size_t *out) {
  for (*out = 0; *out < r->p->types.count; (*out)++)
    if (strcmp(tm_profile_text(r->p, r->p->types.items[*out].unit), units[unit].our_unit) == 0)
      return TM_OK;
  return tm_profile_add_type(r->ctx, r->p, units[unit].type, units[unit].our_unit);
}

static tm_status add_tracks(ss_reader *r, int64_t *row) {
  column c;
  TM_TRY(tm_profile_intern(r->ctx, r->p, "profile", 7, &c.label));
  for (size_t i = 0; i < r->tracks.count; i++) // all types first: rows have one length
    TM_TRY(column_of(r, unit_of(r, &r->tracks.items[i]), &c.index));
  for (size_t i = 0; i < r->tracks.count; i++) {
    const track *t = &r->tracks.items[i];
    TM_TRY(column_of(r, unit_of(r, t), &c.index));
    c.factor = units[unit_of(r, t)].factor;
    if (t->evented) TM_TRY(play_events(r, t, &c, row));
    for (size_t s = t->stacks; s < t->stacks_end && !t->evented; s++) {
      TM_TRY(push_stack(r, s));
      TM_TRY(end_sample(r, t, &c, r->weights.items[t->weights + s - t->stacks], row));
    }
  }
  return TM_OK;
}

static tm_status read_all(ss_reader *r) {
  tm_json_event event;
  TM_TRY(next(r, &event));
  if (event != TM_JSON_OBJECT) return bad(r, "an object was expected");
  TM_TRY(read_object(r, root_field, NULL));
  if (tm_json_reader_next(r->json) != TM_JSON_END) return bad(r, "more than one document");
  if (!r->tracks.count) return bad(r, "a speedscope file without profiles");
  int64_t *row = tm_calloc(r->ctx, r->tracks.count, sizeof *row);
  if (!row) return TM_E_NOMEM;
  tm_status status = same_stacks(r) ? join_columns(r, row) : add_tracks(r, row);
  tm_free(r->ctx, row, r->tracks.count * sizeof *row);
  if (status == TM_OK) r->p->period_type = r->p->types.items[r->p->types.count - 1];
  return status;
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

static tm_status speedscope_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  ss_reader r = {.ctx = ctx};
  tm_json_reader json;
  TM_TRY(tm_profile_new(ctx, &r.p));
  out->model = r.p;
  out->free_model = free_profile;
  tm_json_reader_init(&json, ctx, src->data, src->size);
  r.json = &json;
  tm_status status = read_all(&r);
  if (status != TM_OK) {
    out->partial = true;
    out->problem = ctx->error;
  }
  tm_json_reader_fini(&json);
  tm_frames_fini(ctx, &r.map);
  tm_vec_free(ctx, &r.frames);
  tm_vec_free(ctx, &r.tracks);
  tm_vec_free(ctx, &r.stack);
  tm_vec_free(ctx, &r.stack_end);
  tm_vec_free(ctx, &r.weights);
  tm_vec_free(ctx, &r.events);
  return status;
}

static bool holds(const uint8_t *head, size_t size, const char *word) {
  return memmem(head, size, word, strlen(word)) != NULL;
}

// An object whose start names the schema, or both of its parts.
static unsigned speedscope_probe(const uint8_t *head, size_t head_bytes) {
  size_t i = 0;
  while (i < head_bytes && memchr(" \t\r\n", head[i], 4)) i++;
  if (i == head_bytes || head[i] != '{') return 0;
  if (holds(head, head_bytes, "speedscope.app/file-format-schema.json")) return 90;
  bool parts = holds(head, head_bytes, "\"shared\"") && holds(head, head_bytes, "\"frames\"");
  return parts ? 50 : 0;
}

const tm_reader tm_reader_speedscope = {.name = "speedscope",
                                        .title = "speedscope JSON (sampled or evented)",
                                        .kind = TM_KIND_PROFILE,
                                        .probe = speedscope_probe,
                                        .read = speedscope_read};
