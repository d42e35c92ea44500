// The arguments of an event, field by field. Chrome nests them by event: "data.url", "beginData",
// "frame_reporter.state"; the last name decides where that is enough. Nodes of a CPU profile come
// as objects of an array, its samples and their time deltas as two arrays in any order.
#include "read/timeline_args.h"

#include "base/hash.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool field_is(const tm_tl_field *f, const char *path) {
  size_t size = strlen(path);
  return f->path_size == size && memcmp(f->path, path, size) == 0;
}

static bool field_ends(const tm_tl_field *f, const char *name) {
  size_t size = strlen(name);
  if (f->path_size < size || memcmp(f->path + f->path_size - size, name, size) != 0) return false;
  return f->path_size == size || f->path[f->path_size - size - 1] == '.';
}

static tm_status keep_text(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_field *f, uint32_t *out) {
  return tm_strtab_intern(ctx, &b->timeline->strings, f->text, f->size, out);
}

static uint32_t line_of(double number) {
  return number >= 0 && number < 4e9 ? (uint32_t)number : 0;
}

static tm_status add_place(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_field *f) {
  tm_tl_args *a = &b->args;
  if (f->type == TM_TL_NUMBER) {
    if (field_is(f, "data.lineNumber")) a->line = line_of(f->number);
    if (field_is(f, "data.stackTrace[].lineNumber") && !a->caller_line)
      a->caller_line = line_of(f->number);
    return TM_OK;
  }
  if (f->type != TM_TL_TEXT || !f->size) return TM_OK;
  if (field_is(f, "data.url") || field_is(f, "beginData.url") || field_is(f, "fileName"))
    return keep_text(ctx, b, f, &a->url);
  if (field_is(f, "data.functionName")) return keep_text(ctx, b, f, &a->function);
  if (field_is(f, "data.type") || field_is(f, "data.resourceType"))
    return keep_text(ctx, b, f, &a->type);
  if (field_is(f, "data.stackTrace[].functionName") && !a->caller)
    return keep_text(ctx, b, f, &a->caller);
  if (field_is(f, "data.stackTrace[].url") && !a->caller_url)
    return keep_text(ctx, b, f, &a->caller_url);
  return TM_OK;
}

// How a request was made: by its own word, by the one who made it, or by what answered.
static uint8_t request_kind(const tm_tl_field *f) {
  static const struct {
    const char *path, *text;
    uint8_t kind;
  } known[] = {{"data.resourceType", "EventSource", TM_TL_EVENT_SOURCE},
               {"data.resourceType", "Fetch", TM_TL_FETCH},
               {"data.resourceType", "XHR", TM_TL_XHR},
               {"data.initiator.fetchType", "fetch", TM_TL_FETCH},
               {"data.initiator.fetchType", "xmlhttprequest", TM_TL_XHR},
               {"data.mimeType", "text/event-stream", TM_TL_EVENT_SOURCE}};
  for (size_t i = 0; i < sizeof known / sizeof *known && f->type == TM_TL_TEXT; i++)
    if (field_is(f, known[i].path) && strlen(known[i].text) == f->size
        && memcmp(f->text, known[i].text, f->size) == 0)
      return known[i].kind;
  return 0;
}

static tm_status add_owner(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_field *f) {
  tm_tl_args *a = &b->args;
  if (field_is(f, "data.singleShot")) {
    a->repeats = f->number == 0;
    return TM_OK;
  }
  if (field_is(f, "data.timerId") || field_is(f, "data.identifier") || field_is(f, "data.id")) {
    a->key = f->number;
    a->keyed = true;
    return TM_OK;
  }
  if (field_is(f, "data.timeout")) {
    a->timeout_ms = f->number;
    a->has_timeout = true;
    return TM_OK;
  }
  if (field_is(f, "data.initiator.url") && f->type == TM_TL_TEXT)
    return keep_text(ctx, b, f, &a->initiator);
  uint8_t kind = request_kind(f);
  if (kind) a->request_kind = kind;
  if (field_is(f, "data.requestId") && f->type == TM_TL_TEXT)
    return keep_text(ctx, b, f, &a->request);
  return add_place(ctx, b, f);
}

static void add_heap(tm_tl_builder *b, const tm_tl_field *f) {
  if (field_ends(f, "usedHeapSizeBefore")) b->args.size_before = f->number;
  if (field_ends(f, "usedHeapSizeAfter")) {
    b->args.size_after = f->number;
    b->args.after = true;
  }
}

static tm_status add_point(tm_ctx *ctx, tm_tl_builder *b, const char *name, size_t size,
                           double value) {
  uint32_t id;
  if (!b->event.timed || !isfinite(value)) return TM_OK;
  TM_TRY(tm_strtab_intern(ctx, &b->timeline->strings, name, size, &id));
  // the counters of a frame belong to its thread, others to their process
  bool whole = b->event.phase == 'C';
  uint64_t key = tm_hash_add(tm_hash_mix((uint64_t)b->event.pid + 1), id);
  key = tm_hash_add(key, whole ? b->event.id : (uint64_t)b->event.tid + 1) >> 1;
  uint32_t at = tm_idmap_get(&b->series, key);
  if (at == TM_IDMAP_NONE) {
    at = (uint32_t)b->timeline->series.count;
    TM_TRY(tm_vec_push(ctx, &b->timeline->series, (tm_tl_series){.name = id, .thread = b->thread}));
    TM_TRY(tm_idmap_put(ctx, &b->series, key, at));
  }
  return tm_vec_push(ctx, &b->timeline->points, (tm_tl_point){b->event.time_ns, value, at});
}

static tm_status add_counter(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_field *f) {
  if (f->type != TM_TL_NUMBER || memchr(f->path, '[', f->path_size)) return TM_OK;
  if (b->event.phase != 'C') {
    if (f->path_size <= 5 || memcmp(f->path, "data.", 5) != 0) return TM_OK;
    return add_point(ctx, b, f->path + 5, f->path_size - 5, f->number);
  }
  char name[256];
  int n = snprintf(name, sizeof name, "%.120s.%.*s", tm_timeline_text(b->timeline, b->event.name),
                   (int)(f->path_size < 120 ? f->path_size : 120), f->path);
  return n > 0 ? add_point(ctx, b, name, (size_t)n, f->number) : TM_OK;
}

// The statistics are a JSON text within the JSON; of it four numbers matter.
static tm_status add_stats(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_field *f) {
  static const char *const wanted[] = {"\"used_heap_size\":", "\"total_heap_size\":",
                                       "\"malloced_memory\":", "\"external_memory\":"};
  if (!field_ends(f, "stats") || f->type != TM_TL_TEXT) return TM_OK;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    size_t size = strlen(wanted[i]);
    const char *at = memmem(f->text, f->size, wanted[i], size);
    if (!at) continue;
    double value = 0;
    const char *end = f->text + f->size;
    for (at += size; at < end && *at >= '0' && *at <= '9' && value < 1e18; at++)
      value = value * 10 + (*at - '0');
    char name[64];
    int n = snprintf(name, sizeof name, "v8.%.*s", (int)(size - 3), wanted[i] + 1);
    TM_TRY(add_point(ctx, b, name, (size_t)n, value));
  }
  return TM_OK;
}

static double hex_of(const tm_tl_field *f) {
  double value = 0;
  for (size_t i = 0; i < f->size; i++) {
    char c = f->text[i];
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0) return 0;
    value = value * 16 + digit;
  }
  return value;
}

static tm_status add_memory_value(tm_ctx *ctx, tm_tl_builder *b, const char *name, size_t size,
                                  double value, bool objects) {
  uint32_t id;
  TM_TRY(tm_strtab_intern(ctx, &b->timeline->strings, name, size, &id));
  size_t count = b->timeline->memory.count;
  if (count) { // the attributes of an allocator come one after another
    tm_tl_memory *last = &b->timeline->memory.items[count - 1];
    if (last->name == id && last->thread == b->thread && last->time_ns == b->event.time_ns) {
      if (objects)
        last->objects = value;
      else
        last->bytes = value;
      return TM_OK;
    }
  }
  return tm_vec_push(ctx, &b->timeline->memory,
                     (tm_tl_memory){.time_ns = b->event.time_ns,
                                    .bytes = objects ? 0 : value,
                                    .objects = objects ? value : -1,
                                    .name = id,
                                    .thread = b->thread});
}

// dumps.process_totals.NAME, dumps.allocators.NAME.attrs.effective_size.value: numbers are hex
// texts. effective_size comes before size, and what it says stays.
static tm_status add_memory(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_field *f) {
  static const char totals[] = "dumps.process_totals.", allocators[] = "dumps.allocators.";
  if (f->type != TM_TL_TEXT || !b->event.timed) return TM_OK;
  if (f->path_size > sizeof totals && memcmp(f->path, totals, sizeof totals - 1) == 0)
    return add_memory_value(ctx, b, f->path + sizeof totals - 1, f->path_size - sizeof totals + 1,
                            hex_of(f), false);
  if (f->path_size <= sizeof allocators || memcmp(f->path, allocators, sizeof allocators - 1) != 0
      || !field_ends(f, "value"))
    return TM_OK;
  const char *name = f->path + sizeof allocators - 1;
  const char *end = f->path + f->path_size;
  const char *attrs = memmem(name, (size_t)(end - name), ".attrs.", 7);
  if (!attrs) return TM_OK;
  size_t size = (size_t)(attrs - name);
  tm_tl_field attr = {.path = attrs + 7, .path_size = (size_t)(end - attrs) - 7};
  bool objects = field_is(&attr, "object_count.value");
  bool effective = field_is(&attr, "effective_size.value");
  if (!objects && !effective && !field_is(&attr, "size.value")) return TM_OK;
  if (!objects && !effective) {
    size_t count = b->timeline->memory.count;
    const tm_tl_memory *last = count ? &b->timeline->memory.items[count - 1] : NULL;
    if (last && last->bytes > 0 && last->thread == b->thread && last->time_ns == b->event.time_ns
        && tm_strtab_length(&b->timeline->strings, last->name) == size
        && memcmp(tm_timeline_text(b->timeline, last->name), name, size) == 0)
      return TM_OK;
  }
  return add_memory_value(ctx, b, name, size, hex_of(f), objects);
}

static uint64_t profile_key(const tm_tl_builder *b) {
  return tm_hash_add(tm_hash_mix((uint64_t)b->event.pid + 1), b->event.id) >> 1;
}

tm_status tm_tl_open_chunk(tm_ctx *ctx, tm_tl_builder *b) {
  b->profile = tm_idmap_get(&b->profile_ids, profile_key(b));
  b->first_sample = b->timeline->samples.count;
  b->delta_count = 0;
  if (b->profile != TM_IDMAP_NONE) return TM_OK;
  b->profile = (uint32_t)b->profiles.count;
  TM_TRY(tm_vec_push(ctx, &b->profiles,
                     (tm_tl_profile){.time_ns = b->event.time_ns, .thread = b->thread}));
  return tm_idmap_put(ctx, &b->profile_ids, profile_key(b), b->profile);
}

static tm_status add_node(tm_ctx *ctx, tm_tl_builder *b) {
  tm_tl_profile *p = &b->profiles.items[b->profile];
  const tm_tl_args *a = &b->args;
  uint32_t parent = TM_TIMELINE_NONE;
  if (a->has_parent) {
    parent = tm_idmap_get(&p->nodes, (uint64_t)a->parent);
    if (parent == TM_IDMAP_NONE) parent = TM_TIMELINE_NONE;
  }
  uint32_t at = (uint32_t)b->timeline->nodes.count;
  TM_TRY(tm_vec_push(ctx, &b->timeline->nodes, (tm_tl_node){parent, a->function, a->url, a->line}));
  TM_TRY(tm_idmap_put(ctx, &p->nodes, (uint64_t)a->node, at));
  b->args = (tm_tl_args){.caller_line = 0};
  return TM_OK;
}

static tm_status add_time_delta(tm_ctx *ctx, tm_tl_builder *b, double delta_us) {
  if (!(fabs(delta_us) < 1e12)) delta_us = 0;
  tm_tl_profile *p = &b->profiles.items[b->profile];
  p->time_ns += (int64_t)(delta_us * 1000);
  if (p->time_ns > INT64_C(1) << 60) p->time_ns = INT64_C(1) << 60;
  if (p->time_ns < -(INT64_C(1) << 60)) p->time_ns = -(INT64_C(1) << 60);
  return tm_vec_push(ctx, &b->timeline->samples,
                     (tm_tl_sample){p->time_ns, TM_TIMELINE_NONE, p->thread});
}

static tm_status add_chunk(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_field *f) {
  static const char nodes[] = "data.cpuProfile.nodes[]";
  tm_tl_profile *p = &b->profiles.items[b->profile];
  bool number = f->type == TM_TL_NUMBER;
  if (number && field_is(f, "data.timeDeltas[]")) return add_time_delta(ctx, b, f->number);
  if (number && field_is(f, "data.cpuProfile.samples[]")) {
    uint32_t node = f->number >= 0 && f->number < 9e15
                        ? tm_idmap_get(&p->nodes, (uint64_t)f->number)
                        : TM_IDMAP_NONE;
    return tm_vec_push(ctx, &p->waiting, node);
  }
  size_t size = sizeof nodes - 1;
  if (f->path_size < size || memcmp(f->path, nodes, size) != 0) return TM_OK;
  if (f->path_size == size) return f->type == TM_TL_END ? add_node(ctx, b) : TM_OK;
  if (field_ends(f, "functionName") && f->type == TM_TL_TEXT)
    return keep_text(ctx, b, f, &b->args.function);
  if (field_ends(f, "url") && f->type == TM_TL_TEXT) return keep_text(ctx, b, f, &b->args.url);
  double value = f->number >= 0 && f->number < 9e15 ? f->number : 0;
  if (field_ends(f, "lineNumber")) b->args.line = line_of(value + 1);
  if (f->path_size == size + 3 && field_ends(f, "id")) b->args.node = value;
  if (field_ends(f, "parent")) {
    b->args.parent = value;
    b->args.has_parent = true;
  }
  return TM_OK;
}

tm_status tm_tl_close_chunk(tm_ctx *ctx, tm_tl_builder *b) {
  if (b->wants == TM_TL_WANTS_PROFILE) {
    TM_TRY(tm_tl_open_chunk(ctx, b));
    tm_tl_profile *p = &b->profiles.items[b->profile];
    p->thread = b->thread;
    if (b->args.start_us > 0 && b->args.start_us < 1e15)
      p->time_ns = (int64_t)(b->args.start_us * 1000);
    return TM_OK;
  }
  if (b->wants != TM_TL_WANTS_CHUNK) return TM_OK;
  tm_tl_profile *p = &b->profiles.items[b->profile];
  size_t made = b->timeline->samples.count - b->first_sample;
  for (size_t i = 0; i < made && i < p->waiting.count; i++)
    b->timeline->samples.items[b->first_sample + i].node = p->waiting.items[i];
  p->waiting.count = 0;
  return TM_OK;
}

tm_status tm_tl_add_field(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_field *f) {
  switch (b->wants) {
  case TM_TL_WANTS_NAME:
    return field_is(f, "name") && f->type == TM_TL_TEXT ? keep_text(ctx, b, f, &b->args.name)
                                                        : TM_OK;
  case TM_TL_WANTS_PLACE:
  case TM_TL_WANTS_MARK:
    return add_place(ctx, b, f);
  case TM_TL_WANTS_STATE:
    return field_ends(f, "state") && f->type == TM_TL_TEXT ? keep_text(ctx, b, f, &b->args.state)
                                                           : TM_OK;
  case TM_TL_WANTS_HEAP:
    add_heap(b, f);
    return TM_OK;
  case TM_TL_WANTS_COUNTERS:
    return add_counter(ctx, b, f);
  case TM_TL_WANTS_STATS:
    return add_stats(ctx, b, f);
  case TM_TL_WANTS_PROFILE:
    if (field_is(f, "data.startTime")) b->args.start_us = f->number;
    return TM_OK;
  case TM_TL_WANTS_CHUNK:
    return add_chunk(ctx, b, f);
  case TM_TL_WANTS_OWNER:
    return add_owner(ctx, b, f);
  case TM_TL_WANTS_MEMORY:
    return add_memory(ctx, b, f);
  default:
    return TM_OK;
  }
}
