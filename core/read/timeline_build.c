// Events come in any order of time; begins and ends of one thread or one id come in theirs. Slices
// that B opened form a stack per thread, operations a stack per (id, name): both are chains through
// the events themselves, with a hash map or an array to the innermost. O(1) an event.
#include "read/timeline_build.h"

#include "base/hash.h"
#include "read/timeline_args.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct known_name {
  const char *name;
  tm_tl_meaning meaning;
} known_name;

static const known_name known[] = {
    {"thread_name", {.wants = TM_TL_WANTS_NAME}},
    {"process_name", {.wants = TM_TL_WANTS_NAME}},
    {"FunctionCall", {.wants = TM_TL_WANTS_PLACE}},
    {"EvaluateScript", {.wants = TM_TL_WANTS_PLACE}},
    {"v8.compile", {.wants = TM_TL_WANTS_PLACE}},
    {"EventDispatch", {.wants = TM_TL_WANTS_PLACE}},
    {"ParseHTML", {.wants = TM_TL_WANTS_PLACE}},
    {"MinorGC", {.wants = TM_TL_WANTS_HEAP}},
    {"MajorGC", {.wants = TM_TL_WANTS_HEAP}},
    {"PipelineReporter", {.wants = TM_TL_WANTS_STATE}},
    {"DroppedFrame", {.wants = TM_TL_WANTS_MARK}},
    {"UpdateCounters", {.wants = TM_TL_WANTS_COUNTERS}},
    {"V8.GC_Heap_Stats", {.wants = TM_TL_WANTS_STATS}},
    {"Profile", {.wants = TM_TL_WANTS_PROFILE}},
    {"ProfileChunk", {.wants = TM_TL_WANTS_CHUNK}},
    {"TimerInstall", {TM_TL_WANTS_OWNER, TM_TL_TIMER, TM_TL_BEGIN}},
    {"TimerFire", {TM_TL_WANTS_OWNER, TM_TL_TIMER, TM_TL_FIRE}},
    {"TimerRemove", {TM_TL_WANTS_OWNER, TM_TL_TIMER, TM_TL_CLOSE}},
    {"RequestAnimationFrame", {TM_TL_WANTS_OWNER, TM_TL_ANIMATION_FRAME, TM_TL_BEGIN}},
    {"FireAnimationFrame", {TM_TL_WANTS_OWNER, TM_TL_ANIMATION_FRAME, TM_TL_FIRE}},
    {"CancelAnimationFrame", {TM_TL_WANTS_OWNER, TM_TL_ANIMATION_FRAME, TM_TL_CLOSE}},
    {"WebSocketCreate", {TM_TL_WANTS_OWNER, TM_TL_WEBSOCKET, TM_TL_BEGIN}},
    {"WebSocketDestroy", {TM_TL_WANTS_OWNER, TM_TL_WEBSOCKET, TM_TL_CLOSE}},
    {"ResourceSendRequest", {TM_TL_WANTS_OWNER, TM_TL_REQUEST, TM_TL_BEGIN}},
    {"ResourceReceiveResponse", {TM_TL_WANTS_OWNER, TM_TL_REQUEST, TM_TL_TELL}},
    {"ResourceFinish", {TM_TL_WANTS_OWNER, TM_TL_REQUEST, TM_TL_CLOSE}},
};

tm_status tm_tl_builder_init(tm_ctx *ctx, tm_tl_builder *b, tm_timeline *timeline) {
  *b = (tm_tl_builder){.timeline = timeline,
                       .least_ns = INT64_MAX,
                       .most_ns = INT64_MIN,
                       .last_thread = TM_TIMELINE_NONE};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    uint32_t id;
    TM_TRY(tm_strtab_intern(ctx, &timeline->strings, known[i].name, strlen(known[i].name), &id));
    while (b->meanings.count <= id) TM_TRY(tm_vec_push(ctx, &b->meanings, (tm_tl_meaning){0}));
    b->meanings.items[id] = known[i].meaning;
  }
  return tm_strtab_intern(ctx, &timeline->strings, "blink.user_timing", 17, &b->user_timing);
}

void tm_tl_builder_fini(tm_ctx *ctx, tm_tl_builder *b) {
  for (size_t i = 0; i < b->profiles.count; i++) {
    tm_idmap_free(ctx, &b->profiles.items[i].nodes);
    tm_vec_free(ctx, &b->profiles.items[i].waiting);
  }
  tm_vec_free(ctx, &b->profiles);
  tm_vec_free(ctx, &b->meanings);
  tm_vec_free(ctx, &b->tops);
  tm_idmap_free(ctx, &b->threads);
  tm_idmap_free(ctx, &b->processes);
  tm_idmap_free(ctx, &b->open);
  tm_idmap_free(ctx, &b->series);
  tm_idmap_free(ctx, &b->profile_ids);
  tm_idmap_free(ctx, &b->under);
}

static tm_status find_thread(tm_ctx *ctx, tm_tl_builder *b, int64_t pid, int64_t tid) {
  if (b->last_thread != TM_TIMELINE_NONE && b->last_pid == pid && b->last_tid == tid) {
    b->thread = b->last_thread;
    return TM_OK;
  }
  uint64_t key = tm_hash_add(tm_hash_mix((uint64_t)pid + 1), (uint64_t)tid) >> 1;
  uint32_t thread = tm_idmap_get(&b->threads, key);
  if (thread == TM_IDMAP_NONE) {
    thread = (uint32_t)b->timeline->threads.count;
    TM_TRY(tm_vec_push(ctx, &b->timeline->threads, (tm_tl_thread){.pid = pid, .tid = tid}));
    TM_TRY(tm_vec_push(ctx, &b->tops, TM_TIMELINE_NONE));
    TM_TRY(tm_idmap_put(ctx, &b->threads, key, thread));
  }
  b->thread = b->last_thread = thread;
  b->last_pid = pid;
  b->last_tid = tid;
  return TM_OK;
}

// Memory dumps, counters of a process and metadata speak of a process; only work spreads time.
static bool spreads(char phase) {
  static const bool of_work[256] = {
      ['X'] = true, ['B'] = true, ['E'] = true, ['b'] = true, ['e'] = true,
      ['n'] = true, ['S'] = true, ['T'] = true, ['F'] = true, ['I'] = true,
      ['C'] = true, ['P'] = true, ['i'] = true, ['R'] = true};
  return of_work[(unsigned char)phase];
}

tm_status tm_tl_open(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_event *event, bool *wants_fields) {
  b->event = *event;
  b->args = (tm_tl_args){.caller_line = 0};
  b->timeline->event_count++;
  if (event->timed && spreads(event->phase)) {
    int64_t end_ns = event->time_ns + (event->duration_ns > 0 ? event->duration_ns : 0);
    if (event->time_ns < b->least_ns) b->least_ns = event->time_ns;
    if (end_ns > b->most_ns) b->most_ns = end_ns;
  }
  TM_TRY(find_thread(ctx, b, event->pid, event->tid));
  b->wants = event->name < b->meanings.count ? b->meanings.items[event->name].wants : 0;
  if (event->phase == 'C') b->wants = TM_TL_WANTS_COUNTERS;
  if (event->phase == 'v') b->wants = TM_TL_WANTS_MEMORY;
  if (b->wants == TM_TL_WANTS_CHUNK) TM_TRY(tm_tl_open_chunk(ctx, b));
  *wants_fields = b->wants != 0;
  return TM_OK;
}

// "function url:line" as far as known, 0 when nothing is.
static tm_status place_of(tm_ctx *ctx, tm_tl_builder *b, uint32_t function, uint32_t url,
                          uint32_t line, uint32_t *out) {
  *out = 0;
  if (!function && !url) return TM_OK;
  char text[512];
  int n = snprintf(text, sizeof text, "%.120s%s%.360s", tm_timeline_text(b->timeline, function),
                   function && url ? " " : "", tm_timeline_text(b->timeline, url));
  if (n > 0 && (size_t)n < sizeof text && line)
    n += snprintf(text + n, sizeof text - (size_t)n, ":%u", line);
  size_t size = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  return tm_strtab_intern(ctx, &b->timeline->strings, text, size, out);
}

// What the event tells: a state, sizes, or the place of what it ran.
static tm_status detail_of(tm_ctx *ctx, tm_tl_builder *b, uint32_t *out) {
  const tm_tl_args *a = &b->args;
  *out = a->state;
  if (b->wants == TM_TL_WANTS_HEAP && a->after) {
    char text[64];
    int n = snprintf(text, sizeof text, "%.0f -> %.0f", a->size_before, a->size_after);
    return tm_strtab_intern(ctx, &b->timeline->strings, text, (size_t)n, out);
  }
  uint32_t function = a->function ? a->function : a->caller;
  uint32_t url = a->url ? a->url : a->caller_url;
  if (function || url)
    return place_of(ctx, b, function, url, a->line ? a->line : a->caller_line, out);
  if (a->type) *out = a->type;
  return TM_OK;
}

static tm_status begin_slice(tm_ctx *ctx, tm_tl_builder *b, int64_t duration_ns) {
  const tm_tl_event *e = &b->event;
  uint32_t detail = 0;
  if (b->wants) TM_TRY(detail_of(ctx, b, &detail));
  uint32_t slice = (uint32_t)b->timeline->slices.count;
  TM_TRY(tm_vec_push(ctx, &b->timeline->slices,
                     (tm_tl_slice){.begin_ns = e->time_ns,
                                   .duration_ns = duration_ns,
                                   .offset = e->offset,
                                   .name = e->name,
                                   .category = e->category,
                                   .thread = b->thread,
                                   .detail = detail}));
  if (duration_ns >= 0) return TM_OK;
  if (b->tops.items[b->thread] != TM_TIMELINE_NONE)
    TM_TRY(tm_idmap_put(ctx, &b->under, slice, b->tops.items[b->thread]));
  b->tops.items[b->thread] = slice;
  return TM_OK;
}

// An E closes the innermost B of its thread; what it tells beyond completes the slice.
static tm_status end_slice(tm_ctx *ctx, tm_tl_builder *b) {
  uint32_t top = b->tops.items[b->thread];
  if (top == TM_TIMELINE_NONE) {
    b->timeline->stray_count++;
    return TM_OK;
  }
  tm_tl_slice *s = &b->timeline->slices.items[top];
  int64_t duration_ns = b->event.time_ns - s->begin_ns;
  s->duration_ns = duration_ns > 0 ? duration_ns : 0;
  uint32_t detail = 0;
  if (b->wants) TM_TRY(detail_of(ctx, b, &detail));
  if (!s->detail) s->detail = detail;
  uint32_t under = tm_idmap_get(&b->under, top);
  b->tops.items[b->thread] = under == TM_IDMAP_NONE ? TM_TIMELINE_NONE : under;
  tm_idmap_remove(&b->under, top);
  return TM_OK;
}

static tm_status begin_async(tm_ctx *ctx, tm_tl_builder *b, uint64_t key, const tm_tl_async *like) {
  const tm_tl_event *e = &b->event;
  tm_tl_async async = *like;
  uint32_t below = tm_idmap_get(&b->open, key);
  uint32_t at = (uint32_t)b->timeline->asyncs.count;
  async.begin_ns = e->time_ns;
  async.end_ns = -1;
  async.offset = e->offset;
  async.name = e->name;
  async.category = e->category;
  async.thread = b->thread;
  async.below = below == TM_IDMAP_NONE ? TM_TIMELINE_NONE : below;
  TM_TRY(tm_vec_push(ctx, &b->timeline->asyncs, async));
  return tm_idmap_put(ctx, &b->open, key, at);
}

static tm_status begin_plain(tm_ctx *ctx, tm_tl_builder *b, uint64_t key) {
  tm_tl_async like = {.kind = TM_TL_ASYNC};
  if (b->wants) TM_TRY(detail_of(ctx, b, &like.detail));
  return begin_async(ctx, b, key, &like);
}

// A timer, socket or request: for how long or whereto, and who began it.
static tm_status begin_owned(tm_ctx *ctx, tm_tl_builder *b, uint64_t key, uint8_t kind) {
  const tm_tl_args *a = &b->args;
  tm_tl_async like = {.kind = kind, .repeats = a->repeats, .detail = a->url, .page = a->initiator};
  if (kind == TM_TL_TIMER && a->has_timeout) {
    char text[64];
    int n =
        snprintf(text, sizeof text, "%s %.10g ms", a->repeats ? "every" : "after", a->timeout_ms);
    TM_TRY(tm_strtab_intern(ctx, &b->timeline->strings, text, (size_t)n, &like.detail));
  }
  TM_TRY(place_of(ctx, b, a->caller, a->caller_url, a->caller_line, &like.owner));
  return begin_async(ctx, b, key, &like);
}

static tm_status end_async(tm_ctx *ctx, tm_tl_builder *b, uint64_t key) {
  uint32_t at = tm_idmap_get(&b->open, key);
  if (at == TM_IDMAP_NONE) {
    b->timeline->stray_count++;
    return TM_OK;
  }
  tm_tl_async *a = &b->timeline->asyncs.items[at];
  a->end_ns = b->event.time_ns > a->begin_ns ? b->event.time_ns : a->begin_ns;
  if (b->wants && !a->detail) TM_TRY(detail_of(ctx, b, &a->detail));
  if (a->below == TM_TIMELINE_NONE) {
    tm_idmap_remove(&b->open, key);
    return TM_OK;
  }
  return tm_idmap_put(ctx, &b->open, key, a->below);
}

// Timers and the like: their events are instants or slices that name an operation of the process.
static tm_status follow_owner(tm_ctx *ctx, tm_tl_builder *b) {
  const tm_tl_meaning *m = &b->meanings.items[b->event.name];
  if (b->event.phase == 'E') return TM_OK;
  uint64_t key = tm_hash_add(tm_hash_mix(m->kind), (uint64_t)b->event.pid);
  if (m->kind != TM_TL_REQUEST) {
    if (!b->args.keyed || !isfinite(b->args.key)) return TM_OK;
    uint64_t bits;
    memcpy(&bits, &b->args.key, 8);
    key = tm_hash_add(tm_hash_add(key, bits), (uint64_t)b->event.tid);
  } else if (b->args.request) {
    key = tm_hash_add(key, b->args.request);
  } else {
    return TM_OK;
  }
  uint8_t kind = m->kind;
  if (kind == TM_TL_REQUEST && b->args.request_kind) kind = b->args.request_kind;
  if (m->step == TM_TL_BEGIN) return begin_owned(ctx, b, key >> 1, kind);
  uint32_t at = tm_idmap_get(&b->open, key >> 1);
  if (at == TM_IDMAP_NONE) return TM_OK; // it began before the trace
  tm_tl_async *a = &b->timeline->asyncs.items[at];
  if (m->step == TM_TL_TELL) {
    if (kind == TM_TL_EVENT_SOURCE) a->kind = kind;
    return TM_OK;
  }
  if (m->step == TM_TL_FIRE) {
    a->fired_count++;
    if (a->repeats) return TM_OK;
  }
  return end_async(ctx, b, key >> 1);
}

static tm_status add_mark(tm_ctx *ctx, tm_tl_builder *b) {
  uint32_t detail = 0;
  TM_TRY(detail_of(ctx, b, &detail));
  return tm_vec_push(ctx, &b->timeline->marks,
                     (tm_tl_mark){.time_ns = b->event.time_ns,
                                  .name = b->event.name,
                                  .thread = b->thread,
                                  .detail = detail});
}

static uint64_t process_key(int64_t pid) {
  return tm_hash_mix((uint64_t)pid + 1) >> 1;
}

static tm_status close_metadata(tm_ctx *ctx, tm_tl_builder *b) {
  if (!b->args.name) return TM_OK;
  if (strcmp(tm_timeline_text(b->timeline, b->event.name), "thread_name") != 0)
    return tm_idmap_put(ctx, &b->processes, process_key(b->event.pid), b->args.name);
  b->timeline->threads.items[b->thread].name = b->args.name;
  return TM_OK;
}

tm_status tm_tl_close(tm_ctx *ctx, tm_tl_builder *b) {
  const tm_tl_event *e = &b->event;
  if (e->phase == 'M') return close_metadata(ctx, b);
  if (e->phase == 's' || e->phase == 't' || e->phase == 'f') {
    b->timeline->flow_count++;
    return TM_OK;
  }
  if (!e->timed) return TM_OK;
  if (b->wants == TM_TL_WANTS_OWNER) TM_TRY(follow_owner(ctx, b));
  uint64_t key = tm_hash_add(tm_hash_add(e->id, e->category), e->name) >> 1;
  switch (e->phase) {
  case 'X':
    return begin_slice(ctx, b, e->duration_ns > 0 ? e->duration_ns : 0);
  case 'B':
    return begin_slice(ctx, b, -1);
  case 'E':
    return end_slice(ctx, b);
  case 'b':
  case 'S':
    return begin_plain(ctx, b, key);
  case 'e':
  case 'F':
    return end_async(ctx, b, key);
  case 'P':
    return tm_tl_close_chunk(ctx, b);
  case 'I':
  case 'i':
  case 'R':
    if (b->wants == TM_TL_WANTS_MARK || e->category == b->user_timing) return add_mark(ctx, b);
    return b->wants == TM_TL_WANTS_CHUNK ? tm_tl_close_chunk(ctx, b) : TM_OK;
  default:
    return TM_OK;
  }
}

// Threads get the names of their processes; all times count from the first event.
void tm_tl_finish(tm_tl_builder *b) {
  tm_timeline *t = b->timeline;
  int64_t start_ns = b->least_ns == INT64_MAX ? 0 : b->least_ns;
  t->start_us = start_ns / 1000;
  t->duration_ns = b->least_ns == INT64_MAX ? 0 : b->most_ns - start_ns;
  for (size_t i = 0; i < t->slices.count; i++) t->slices.items[i].begin_ns -= start_ns;
  for (size_t i = 0; i < t->asyncs.count; i++) {
    t->asyncs.items[i].begin_ns -= start_ns;
    if (t->asyncs.items[i].end_ns >= 0) t->asyncs.items[i].end_ns -= start_ns;
  }
  for (size_t i = 0; i < t->points.count; i++) t->points.items[i].time_ns -= start_ns;
  for (size_t i = 0; i < t->marks.count; i++) t->marks.items[i].time_ns -= start_ns;
  for (size_t i = 0; i < t->samples.count; i++) t->samples.items[i].time_ns -= start_ns;
  for (size_t i = 0; i < t->memory.count; i++) t->memory.items[i].time_ns -= start_ns;
  for (size_t i = 0; i < t->threads.count; i++) {
    uint32_t name = tm_idmap_get(&b->processes, process_key(t->threads.items[i].pid));
    t->threads.items[i].process = name == TM_IDMAP_NONE ? 0 : name;
  }
}
