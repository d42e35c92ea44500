// One TrackEvent to one kept event of 72 bytes: its time, name, category and track. Arguments stay
// where they are until somebody wants them. Source: protos/perfetto/trace/track_event/*.proto.
#include "read/perfetto_impl.h"

typedef struct event_words {
  pf_span message, legacy, name, category;
  uint64_t type, name_iid, category_iid, track_uuid;
  int64_t delta_us, absolute_us;
  uint32_t category_count;
  bool has_track, has_delta, has_absolute;
} event_words;

typedef struct legacy_words {
  uint64_t name_iid;
  int64_t pid, tid;
  char phase;
  bool has_pid, has_tid;
} legacy_words;

// TrackEvent: 1 timestamp_delta_us, 3 category_iids, 6 legacy_event, 9 type, 10 name_iid,
// 11 track_uuid, 16 timestamp_absolute_us, 22 categories, 23 name.
static event_words words_of_event(pf_span message) {
  event_words e = {.message = message};
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.type == 2) {
      if (f.number == 6) e.legacy = pf_span_of(&f);
      if (f.number == 23) e.name = pf_span_of(&f);
      if (f.number == 22 || f.number == 3) e.category_count++;
      if (f.number == 22) e.category = pf_span_of(&f);
      continue;
    }
    if (f.type != 0) continue;
    switch (f.number) {
    case 1:
      e.delta_us = (int64_t)f.value;
      e.has_delta = true;
      break;
    case 3:
      e.category_iid = f.value;
      e.category_count++;
      break;
    case 9:
      e.type = f.value;
      break;
    case 10:
      e.name_iid = f.value;
      break;
    case 11:
      e.track_uuid = f.value;
      e.has_track = true;
      break;
    case 16:
      e.absolute_us = (int64_t)f.value;
      e.has_absolute = true;
      break;
    default:
      break;
    }
  }
  return e;
}

// LegacyEvent: 1 name_iid, 2 phase, 18 pid_override, 19 tid_override.
static legacy_words words_of_legacy(pf_span message) {
  legacy_words l = {0};
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.type != 0) continue;
    if (f.number == 1) l.name_iid = f.value;
    if (f.number == 2 && f.value > ' ' && f.value < 127) l.phase = (char)f.value;
    if (f.number == 18) {
      l.pid = (int32_t)f.value;
      l.has_pid = true;
    }
    if (f.number == 19) {
      l.tid = (int32_t)f.value;
      l.has_tid = true;
    }
  }
  return l;
}

typedef struct joined {
  char text[256];
  size_t size;
} joined;

static void join(joined *j, const void *text, size_t size) {
  if (j->size + size + 1 > sizeof j->text) return;
  if (j->size) j->text[j->size++] = ',';
  memcpy(j->text + j->size, text, size);
  j->size += size;
}

static void join_iid(pf_reader *r, joined *j, uint32_t generation, uint64_t iid) {
  uint32_t id = pf_interned(r, generation, PF_CATEGORIES, iid);
  if (id) join(j, tm_timeline_text(r->timeline, id), tm_strtab_length(&r->timeline->strings, id));
}

// Several categories are one text with commas, as in JSON; ids may come packed.
static tm_status join_categories(pf_reader *r, pf_span message, uint32_t generation,
                                 uint32_t *out) {
  joined j = {.size = 0};
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number == 3 && f.type == 0) join_iid(r, &j, generation, f.value);
    if (f.number == 22 && f.type == 2) join(&j, f.data, f.size);
    if (f.number != 3 || f.type != 2) continue;
    wire packed = pf_wire(pf_span_of(&f));
    for (uint64_t iid; packed.at < packed.end && wire_varint(&packed, &iid);)
      join_iid(r, &j, generation, iid);
  }
  return pf_intern(r, (pf_span){(const uint8_t *)j.text, j.size}, out);
}

static tm_status find_category(pf_reader *r, const event_words *e, uint32_t generation,
                               uint32_t *out) {
  *out = 0;
  if (!e->category_count) return TM_OK;
  if (e->category_count > 1 || (!e->category_iid && !e->category.data))
    return join_categories(r, e->message, generation, out);
  if (e->category.data) return pf_intern(r, e->category, out);
  *out = pf_interned(r, generation, PF_CATEGORIES, e->category_iid);
  return TM_OK;
}

static tm_status find_name(pf_reader *r, const event_words *e, uint64_t iid, uint32_t generation,
                           uint32_t *out) {
  if (!iid) return pf_intern(r, e->name, out);
  *out = pf_interned(r, generation, PF_EVENT_NAMES, iid);
  return TM_OK;
}

// By track, else the sequence's own thread, or the one that the event names itself.
static tm_status find_place(pf_reader *r, const event_words *e, const legacy_words *l,
                            const pf_sequence *s, uint32_t *out) {
  uint64_t uuid = e->has_track ? e->track_uuid : s->track_uuid;
  if (uuid && !l->has_pid && !l->has_tid) return pf_find_track(r, uuid, out);
  pf_owner o = {0};
  if (s->owner != PF_NONE) o = r->owners.items[s->owner];
  if (l->has_pid) o = (pf_owner){l->pid, -1};
  if (l->has_tid) o.tid = l->tid;
  return pf_thread_track(r, o.pid, o.tid, out);
}

static char phase_of(const event_words *e, const legacy_words *l) {
  static const char of_type[] = {0, 'B', PF_END, 'I', 'C'}; // TrackEvent.Type
  if (l->phase) return l->phase == 'E' ? (char)PF_END : l->phase;
  return e->type < sizeof of_type ? of_type[e->type] : 0;
}

static int64_t ns_of_us(int64_t us) {
  if (us > PF_MOST_NS / 1000) return PF_MOST_NS;
  return us < -PF_MOST_NS / 1000 ? -PF_MOST_NS : us * 1000;
}

// Times within the event are of the monotonic clock; else it happened when its packet says.
static bool time_of(pf_reader *r, const event_words *e, const pf_packet *p, uint32_t sequence,
                    int64_t *out_ns) {
  enum { MONOTONIC = 3 };
  pf_sequence *s = &r->sequences.items[sequence];
  if (e->has_delta) {
    int64_t sum = s->reference_ns + ns_of_us(e->delta_us);
    s->reference_ns = sum > PF_MOST_NS ? PF_MOST_NS : sum < -PF_MOST_NS ? -PF_MOST_NS : sum;
    if (!pf_shared_time(r, MONOTONIC, s->reference_ns, out_ns)) *out_ns = s->reference_ns;
    return true;
  }
  if (e->has_absolute) {
    *out_ns = ns_of_us(e->absolute_us);
    if (!pf_shared_time(r, MONOTONIC, *out_ns, out_ns)) *out_ns = ns_of_us(e->absolute_us);
    return true;
  }
  *out_ns = p->time_ns;
  return p->dated;
}

tm_status pf_read_event(pf_reader *r, const pf_packet *p, uint32_t sequence) {
  event_words e = words_of_event(p->payload);
  legacy_words l = {0};
  if (e.legacy.data) l = words_of_legacy(e.legacy);
  pf_event event = {.data = p->payload.data,
                    .size = (uint32_t)p->payload.size,
                    .offset = p->offset,
                    .mate = PF_NONE,
                    .phase = phase_of(&e, &l),
                    .legacy = e.legacy.data != NULL};
  if (!event.phase) return TM_OK; // states, and what newer writers add
  if (!time_of(r, &e, p, sequence, &event.time_ns)) {
    if (!r->undated_count++) r->undated_offset = p->offset;
    return TM_OK;
  }
  if (event.time_ns < r->least_ns) r->least_ns = event.time_ns;
  if (event.time_ns > r->most_ns) r->most_ns = event.time_ns;
  const pf_sequence *s = &r->sequences.items[sequence];
  event.generation = s->generation;
  event.owner = s->owner;
  uint64_t name_iid = e.name_iid ? e.name_iid : l.name_iid;
  TM_TRY(find_place(r, &e, &l, s, &event.track));
  TM_TRY(find_name(r, &e, name_iid, s->generation, &event.name));
  TM_TRY(find_category(r, &e, s->generation, &event.category));
  return tm_vec_push(r->ctx, &r->events, event);
}
