// What packets leave behind for later ones. A sequence's interned strings live until it clears
// them; each clear begins a generation, and a string is found by the hash of generation, table and
// id, so that events can look theirs up after all packets were read. A clock is one moment on it
// and on the trace's clock: the last that a snapshot told. O(1) a packet.
#include "read/perfetto_impl.h"

static uint64_t interned_key(uint32_t generation, uint32_t table, uint64_t iid) {
  return tm_hash_add(tm_hash_mix((uint64_t)generation << 8 | table), iid) >> 1;
}

// Few strings are used over and over: those are found without going far.
uint32_t pf_interned(pf_reader *r, uint32_t generation, uint32_t table, uint64_t iid) {
  uint64_t key = interned_key(generation, table, iid);
  pf_recent *recent = &r->recent[key % PF_RECENT];
  if (recent->key == key) return recent->string;
  uint32_t id = tm_idmap_get(&r->interned, key);
  *recent = (pf_recent){key, id == TM_IDMAP_NONE ? 0 : id};
  return recent->string;
}

// All of them are {1: iid, 2: text}.
static tm_status read_interned(pf_reader *r, pf_span message, uint32_t generation) {
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    bool wanted = f.number == PF_CATEGORIES || f.number == PF_EVENT_NAMES
                  || f.number == PF_ARG_NAMES || f.number == PF_ARG_VALUES;
    if (!wanted || f.type != 2) continue;
    uint64_t iid = 0;
    pf_span text = {0};
    wire entry = pf_wire(pf_span_of(&f));
    for (wire_field e; pf_next(&entry, &e);) {
      if (e.number == 1 && e.type == 0) iid = e.value;
      if (e.number == 2 && e.type == 2) text = pf_span_of(&e);
    }
    uint32_t id;
    TM_TRY(pf_intern(r, text, &id));
    uint64_t key = interned_key(generation, (uint32_t)f.number, iid);
    TM_TRY(tm_idmap_put(r->ctx, &r->interned, key, id));
    r->recent[key % PF_RECENT] = (pf_recent){key, id};
  }
  return TM_OK;
}

// TracePacketDefaults: 58 clock, 11 TrackEventDefaults with 11 track_uuid.
static void read_defaults(pf_sequence *s, pf_span message) {
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number == 58 && f.type == 0) s->clock_id = f.value;
    if (f.number != 11 || f.type != 2) continue;
    wire defaults = pf_wire(pf_span_of(&f));
    for (wire_field d; pf_next(&defaults, &d);)
      if (d.number == 11 && d.type == 0) s->track_uuid = d.value;
  }
}

static tm_status find_sequence(pf_reader *r, uint64_t id, uint32_t *out) {
  if (r->last_sequence != PF_NONE && r->last_sequence_id == id) {
    *out = r->last_sequence;
    return TM_OK;
  }
  *out = tm_idmap_get(&r->sequence_ids, id);
  if (*out == TM_IDMAP_NONE) {
    *out = (uint32_t)r->sequences.count;
    TM_TRY(tm_vec_push(r->ctx, &r->sequences,
                       (pf_sequence){.owner = PF_NONE, .generation = r->generations++}));
    TM_TRY(tm_idmap_put(r->ctx, &r->sequence_ids, id, *out));
  }
  r->last_sequence = *out;
  r->last_sequence_id = id;
  return TM_OK;
}

static void begin_generation(pf_reader *r, pf_sequence *s) {
  s->generation = r->generations++;
  s->track_uuid = 0;
  s->clock_id = 0;
  s->valid = true;
}

tm_status pf_enter_sequence(pf_reader *r, const pf_packet *p, uint32_t *out, bool *usable) {
  enum { CLEARED = 1, NEEDS_STATE = 2 }; // TracePacket.SequenceFlags
  TM_TRY(find_sequence(r, p->sequence_id, out));
  pf_sequence *s = &r->sequences.items[*out];
  // the first packet of a sequence says dropped, too: nothing is known of what was before
  if (p->dropped && !p->first && s->seen) {
    if (!r->lost_count++) r->lost_offset = p->offset;
    s->valid = false;
  }
  s->seen = true;
  if (p->cleared || (p->flags & CLEARED)) begin_generation(r, s);
  if (p->interned.data) TM_TRY(read_interned(r, p->interned, s->generation));
  s = &r->sequences.items[*out];
  if (p->defaults.data) read_defaults(s, p->defaults);
  *usable = s->valid || !(p->flags & NEEDS_STATE);
  return TM_OK;
}

// ---- clocks: 1 to 63 known to all, 64 to 127 of one sequence, above chosen by the writers ----

enum { BOOTTIME = 6, FIRST_LOCAL = 64, LAST_LOCAL = 127 };

static int64_t clamp_ns(int64_t value, int64_t unit_ns) {
  int64_t out;
  if (__builtin_mul_overflow(value, unit_ns, &out)) return value < 0 ? -PF_MOST_NS : PF_MOST_NS;
  return out > PF_MOST_NS ? PF_MOST_NS : out < -PF_MOST_NS ? -PF_MOST_NS : out;
}

static int64_t signed_of(uint64_t value) {
  return value > (uint64_t)PF_MOST_NS ? PF_MOST_NS : (int64_t)value;
}

static bool shared(uint64_t id) {
  return id < FIRST_LOCAL || id > LAST_LOCAL;
}

static pf_clock *clock_in(pf_clock *items, size_t count, uint64_t id) {
  for (size_t i = 0; i < count; i++)
    if (items[i].id == id) return &items[i];
  return NULL;
}

static uint64_t trace_clock(const pf_reader *r) {
  return r->has_trace_clock ? r->trace_clock : BOOTTIME;
}

bool pf_shared_time(const pf_reader *r, uint64_t clock_id, int64_t value_ns, int64_t *out_ns) {
  const pf_clock *c = clock_in(r->clocks.items, r->clocks.count, clock_id);
  *out_ns = value_ns;
  if (clock_id == trace_clock(r)) return true;
  if (c) *out_ns = clamp_ns(value_ns - c->source_ns + c->trace_ns, 1);
  return c || !r->clocks.count;
}

bool pf_packet_time(pf_reader *r, const pf_packet *p, uint32_t sequence, int64_t *out_ns) {
  pf_sequence *s = &r->sequences.items[sequence];
  uint64_t id = p->clocked ? p->clock_id : s->clock_id ? s->clock_id : BOOTTIME;
  if (shared(id)) return pf_shared_time(r, id, signed_of(p->timestamp), out_ns);
  pf_clock *c = clock_in(s->clocks.items, s->clocks.count, id);
  if (!c || !c->placed) return false;
  int64_t value = signed_of(p->timestamp);
  if (c->incremental) {
    c->last = clamp_ns(c->last + value, 1);
    value = c->last;
  }
  *out_ns = clamp_ns(clamp_ns(value, c->unit_ns) - c->source_ns + c->trace_ns, 1);
  return true;
}

// ClockSnapshot.Clock: 1 id, 2 timestamp, 3 is_incremental, 4 unit_multiplier_ns.
static pf_clock read_clock(pf_span message) {
  pf_clock c = {.unit_ns = 1};
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.type != 0) continue;
    if (f.number == 1) c.id = f.value;
    if (f.number == 2) c.last = signed_of(f.value);
    if (f.number == 3) c.incremental = f.value != 0;
    if (f.number == 4 && f.value) c.unit_ns = signed_of(f.value);
  }
  c.source_ns = clamp_ns(c.last, c.unit_ns);
  return c;
}

static tm_status place_clock(pf_reader *r, uint32_t sequence, pf_clock c) {
  pf_sequence *s = &r->sequences.items[sequence];
  pf_clock *old = shared(c.id) ? clock_in(r->clocks.items, r->clocks.count, c.id)
                               : clock_in(s->clocks.items, s->clocks.count, c.id);
  if (old) {
    *old = c;
    return TM_OK;
  }
  // few are in use; a file that names thousands only wants to be slow
  if ((shared(c.id) ? r->clocks.count : s->clocks.count) >= 256) return TM_OK;
  return shared(c.id) ? tm_vec_push(r->ctx, &r->clocks, c) : tm_vec_push(r->ctx, &s->clocks, c);
}

// The moment of a snapshot: by the trace's clock, or any other whose relation is known.
static bool moment_of(const pf_reader *r, pf_span snapshot, int64_t *out_ns) {
  bool found = false;
  wire w = pf_wire(snapshot);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number != 1 || f.type != 2) continue;
    pf_clock c = read_clock(pf_span_of(&f));
    if (c.id == trace_clock(r)) {
      *out_ns = c.source_ns;
      return true;
    }
    // the first snapshot may lack it: then the first clock there stands for it
    if (!found && shared(c.id)) found = pf_shared_time(r, c.id, c.source_ns, out_ns);
  }
  return found;
}

// ClockSnapshot: 1 clocks, 2 primary_trace_clock.
tm_status pf_read_clocks(pf_reader *r, const pf_packet *p, uint32_t sequence) {
  wire w = pf_wire(p->payload);
  wire_field f;
  while (!r->has_trace_clock && pf_next(&w, &f)) {
    if (f.number != 2 || f.type != 0) continue;
    r->has_trace_clock = true;
    r->trace_clock = f.value;
  }
  int64_t now_ns;
  if (!moment_of(r, p->payload, &now_ns)) return TM_OK;
  w = pf_wire(p->payload);
  while (pf_next(&w, &f)) {
    if (f.number != 1 || f.type != 2) continue;
    pf_clock c = read_clock(pf_span_of(&f));
    c.trace_ns = now_ns;
    c.placed = true;
    TM_TRY(place_clock(r, sequence, c));
  }
  return TM_OK;
}
