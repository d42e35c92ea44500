// From kept events to the builder: sorted by time (radix sort, stable), then the begins and ends of
// each track joined with a stack, so that a slice goes out whole with the arguments of both its
// ends, as the JSON that Chrome exports has it. Work on a thread's own track is a slice; on any
// other track it is an operation beside threads. O(n).
#include "read/perfetto_impl.h"

#include <string.h>

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, MOST_PASSES = 6, DEEPEST_SEARCH = 64 };

typedef struct place {
  uint64_t key;
  uint32_t event;
} place;

typedef struct sorter {
  place *from, *to; // of count each; the result is in from
  size_t count;
  size_t starts[MOST_PASSES][DIGITS];
} sorter;

static unsigned digit_of(uint64_t key, unsigned pass) {
  return (unsigned)(key >> (pass * DIGIT_BITS)) & (DIGITS - 1);
}

// Fills the places and counts their digits.
static unsigned fill_places(const pf_reader *r, sorter *s) {
  unsigned passes = 0;
  uint64_t greatest = (uint64_t)(r->most_ns - r->least_ns);
  while (passes < MOST_PASSES && greatest >> (passes * DIGIT_BITS)) passes++;
  for (size_t i = 0; i < s->count; i++) {
    uint64_t key = (uint64_t)(r->events.items[i].time_ns - r->least_ns);
    s->from[i] = (place){key, (uint32_t)i};
    for (unsigned pass = 0; pass < passes; pass++) s->starts[pass][digit_of(key, pass)]++;
  }
  return passes;
}

// By the lowest digit first; equal times stay as they are.
static void sort_places(sorter *s, unsigned passes) {
  for (unsigned pass = 0; pass < passes; pass++) {
    size_t *starts = s->starts[pass], sum = 0;
    for (size_t d = 0; d < DIGITS; d++) {
      size_t n = starts[d];
      starts[d] = sum;
      sum += n;
    }
    for (size_t i = 0; i < s->count; i++)
      s->to[starts[digit_of(s->from[i].key, pass)]++] = s->from[i];
    place *swap = s->from;
    s->from = s->to;
    s->to = swap;
  }
}

// ---- begins and ends ----

static void open_slice(pf_reader *r, uint32_t at) {
  pf_event *e = &r->events.items[at];
  pf_track *t = &r->tracks.items[e->track];
  e->mate = t->top;
  t->top = at;
}

// The open slice that an end means: the innermost of its name, or just the innermost.
static uint32_t find_open(const pf_reader *r, const pf_event *end, uint32_t *above) {
  uint32_t at = r->tracks.items[end->track].top;
  *above = PF_NONE;
  for (int i = 0; at != PF_NONE && i < DEEPEST_SEARCH; i++) {
    const pf_event *begin = &r->events.items[at];
    if (!end->name || begin->name == end->name) return at;
    *above = at;
    at = begin->mate;
  }
  return PF_NONE;
}

static void close_slice(pf_reader *r, uint32_t at) {
  pf_event *end = &r->events.items[at];
  uint32_t above, found = find_open(r, end, &above);
  if (found == PF_NONE) return;
  pf_event *begin = &r->events.items[found];
  if (above == PF_NONE)
    r->tracks.items[end->track].top = begin->mate;
  else
    r->events.items[above].mate = begin->mate;
  begin->mate = at;
  end->mate = found;
}

// Those still open have no mate.
static void forget_open(pf_reader *r) {
  for (size_t i = 0; i < r->tracks.count; i++) {
    uint32_t at = r->tracks.items[i].top;
    while (at != PF_NONE) {
      uint32_t under = r->events.items[at].mate;
      r->events.items[at].mate = PF_NONE;
      at = under;
    }
    r->tracks.items[i].top = PF_NONE;
  }
}

// The events lie as they were read: what comes a little later is fetched ahead.
static const pf_event *event_at(const pf_reader *r, const place *order, size_t i) {
  enum { AHEAD = 12 };
  if (i + AHEAD < r->events.count) __builtin_prefetch(&r->events.items[order[i + AHEAD].event]);
  return &r->events.items[order[i].event];
}

static size_t join_slices(pf_reader *r, const place *order) {
  size_t begun = 0;
  for (size_t i = 0; i < r->events.count; i++) {
    const pf_event *e = event_at(r, order, i);
    if (e->phase == 'B') {
      open_slice(r, order[i].event);
      begun++;
    }
    if (e->phase == PF_END) close_slice(r, order[i].event);
  }
  forget_open(r);
  return begun;
}

// ---- to the builder ----

typedef struct id_words {
  uint64_t unscoped, local, global;
  int64_t duration_us;
  pf_span scope;
  bool has_unscoped, has_local, has_global;
} id_words;

// LegacyEvent: 3 duration_us, 6 unscoped_id, 7 id_scope, 10 local_id, 11 global_id.
static id_words words_of_ids(const pf_event *e) {
  id_words ids = {0};
  wire w = pf_wire((pf_span){e->data, e->size});
  wire_field f;
  pf_span legacy = {0};
  while (pf_next(&w, &f))
    if (f.number == 6 && f.type == 2) legacy = pf_span_of(&f);
  w = pf_wire(legacy);
  while (legacy.data && pf_next(&w, &f)) {
    if (f.number == 7 && f.type == 2) ids.scope = pf_span_of(&f);
    if (f.type != 0) continue;
    if (f.number == 3) ids.duration_us = (int64_t)f.value;
    if (f.number == 6) {
      ids.unscoped = f.value;
      ids.has_unscoped = true;
    }
    if (f.number == 10) {
      ids.local = f.value;
      ids.has_local = true;
    }
    if (f.number == 11) {
      ids.global = f.value;
      ids.has_global = true;
    }
  }
  return ids;
}

static void set_ids(tm_tl_event *out, const pf_event *e) {
  id_words ids = words_of_ids(e);
  if (ids.duration_us > 0)
    out->duration_ns = ids.duration_us > PF_MOST_NS / 1000 ? PF_MOST_NS : ids.duration_us * 1000;
  out->has_id = ids.has_unscoped || ids.has_local || ids.has_global;
  if (!out->has_id) return;
  uint64_t hash = ids.has_unscoped ? ids.unscoped : ids.has_global ? ids.global : ids.local;
  hash = tm_hash_mix(hash + 1);
  if (!ids.has_unscoped && !ids.has_global) hash = tm_hash_add(hash, (uint64_t)out->pid);
  if (ids.scope.size) hash = tm_hash_add(hash, tm_hash_bytes(ids.scope.data, ids.scope.size));
  out->id = hash;
}

// Beside threads an event's thread is the one that wrote it, when that is of the same process.
static void set_thread(const pf_reader *r, const pf_event *e, const pf_track *t, tm_tl_event *out) {
  const pf_owner *o = e->owner == PF_NONE ? NULL : &r->owners.items[e->owner];
  out->pid = t->pid;
  out->tid = t->tid;
  if (t->scope == PF_TRACK_THREAD) return;
  if (o && (o->pid == t->pid || t->scope != PF_TRACK_PROCESS)) {
    out->pid = o->pid;
    out->tid = o->tid;
  }
}

// What the event is in Chrome's JSON; 0 = nothing of its own.
static char phase_of(const pf_event *e, const pf_track *t, int64_t duration_ns) {
  bool beside = t->scope != PF_TRACK_THREAD || t->child;
  if (e->phase == 'B') {
    if (e->mate == PF_NONE) return beside ? 'b' : 'B';
    if (!duration_ns) return beside ? 'n' : 'I';
    return beside ? 'b' : 'X';
  }
  // an instant of a track that is no thread's or process's own
  if (e->phase == 'I' && t->kind != PF_TRACK_THREAD && t->kind != PF_TRACK_PROCESS) return 'n';
  if (e->phase == PF_END) return beside && e->mate != PF_NONE && duration_ns ? 'e' : 0;
  return e->phase;
}

// TrackEvent: 30 counter_value, 44 double_counter_value.
static double counter_value(const pf_event *e) {
  double value = 0;
  wire w = pf_wire((pf_span){e->data, e->size});
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number == 30 && f.type == 0) value = (double)(int64_t)f.value;
    if (f.number == 44 && f.type == 1) memcpy(&value, &f.value, sizeof value);
  }
  return value;
}

// A counter's event is named by its track.
static tm_status send_counter(pf_reader *r, const pf_event *e, tm_tl_event *out) {
  pf_track *t = &r->tracks.items[e->track];
  if (t->builtin_counter) return TM_OK; // time of the thread, at each event
  double value = counter_value(e);
  if (t->incremental) {
    if (t->sum_generation != e->generation) t->sum = 0;
    t->sum_generation = e->generation;
    t->sum += value;
    value = t->sum;
  }
  if (!out->name) out->name = t->name;
  out->id = tm_hash_mix(t->uuid);
  bool wants;
  TM_TRY(tm_tl_open(r->ctx, &r->builder, out, &wants));
  tm_tl_field f = {.path = "value",
                   .path_size = 5,
                   .type = TM_TL_NUMBER,
                   .number = value * (double)t->unit_multiplier};
  if (wants) TM_TRY(tm_tl_add_field(r->ctx, &r->builder, &f));
  return tm_tl_close(r->ctx, &r->builder);
}

static tm_status send_event(pf_reader *r, const pf_event *e) {
  const pf_track *t = pf_resolve_track(r, e->track);
  const pf_event *mate = e->mate == PF_NONE ? NULL : &r->events.items[e->mate];
  int64_t duration_ns = mate ? mate->time_ns - e->time_ns : 0;
  char phase = phase_of(e, t, duration_ns);
  if (e->phase == PF_END && !mate) r->timeline->stray_count++;
  if (!phase) return TM_OK;
  const pf_event *first =
      e->phase == PF_END && mate ? mate : e; // who has name, category and thread
  tm_tl_event out = {.phase = phase,
                     .timed = true,
                     .name = first->name,
                     .category = first->category,
                     .time_ns = e->time_ns,
                     .duration_ns = phase == 'X' && mate ? duration_ns : 0,
                     .offset = e->offset};
  set_thread(r, first, t, &out);
  if (phase == 'C' && !e->legacy) return send_counter(r, e, &out);
  if (e->legacy) set_ids(&out, e);
  if (!out.has_id) {
    out.has_id = true;
    out.id = tm_hash_mix(t->uuid + 1);
  }
  bool wants;
  TM_TRY(tm_tl_open(r->ctx, &r->builder, &out, &wants));
  if (wants && e->phase != PF_END) {
    TM_TRY(pf_send_args(r, e));
    if (mate) TM_TRY(pf_send_args(r, mate));
  }
  return tm_tl_close(r->ctx, &r->builder);
}

static tm_status send_in_order(pf_reader *r, const place *order) {
  size_t begun = join_slices(r, order);
  TM_TRY(tm_vec_reserve(r->ctx, &r->timeline->slices, begun));
  for (size_t i = 0; i < r->events.count; i++) {
    TM_TRY(send_event(r, event_at(r, order, i)));
    if (i % 65536 == 65535) TM_TRY(tm_ctx_tick(r->ctx, r->src->size));
  }
  return TM_OK;
}

tm_status pf_send_events(pf_reader *r) {
  size_t count = r->events.count, bytes = 2 * count * sizeof(place);
  if (!count) return TM_OK;
  place *places = tm_alloc(r->ctx, bytes);
  sorter *s = tm_calloc(r->ctx, 1, sizeof *s);
  tm_status status = places && s ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK) {
    s->from = places;
    s->to = places + count;
    s->count = count;
    sort_places(s, fill_places(r, s));
    status = send_in_order(r, s->from);
  }
  tm_free(r->ctx, places, bytes);
  tm_free(r->ctx, s, sizeof *s);
  return status;
}
