// What the parts of the Perfetto reader share: the state that packets leave behind (sequences,
// interned strings, clocks, tracks) and the events that are kept until all packets are known.
// Source for all field numbers: protos/perfetto/trace/*.proto of the Perfetto project.
#ifndef TM_READ_PERFETTO_IMPL_H
#define TM_READ_PERFETTO_IMPL_H

#include "base/hash.h"
#include "base/idmap.h"
#include "model/snapshot.h"
#include "read/source.h"
#include "read/timeline_build.h"
#include "read/wire.h"

#define PF_NONE    UINT32_MAX
#define PF_MOST_NS (INT64_C(1) << 60)

typedef struct pf_span { // a message or string in place; data NULL = absent
  const uint8_t *data;
  size_t size;
} pf_span;

// Fields of TracePacket that are read here; all others are stepped over.
enum {
  PF_CLOCK_SNAPSHOT = 6,
  PF_PROCESS_STATS = 9,
  PF_TRACK_EVENT = 11,
  PF_CONFIG = 33,
  PF_THREAD_DESCRIPTOR = 44,
  PF_COMPRESSED = 50,
  PF_TRACK_DESCRIPTOR = 60,
  PF_MEMORY_SNAPSHOT = 73,
  PF_ZSTD_COMPRESSED = 133,
};

enum { // which table of InternedData: its field numbers
  PF_CATEGORIES = 1,
  PF_EVENT_NAMES = 2,
  PF_ARG_NAMES = 3,
  PF_ARG_VALUES = 29,
};

typedef struct pf_clock { // of a sequence, ids 64 to 127; or of the whole trace
  uint64_t id;
  int64_t source_ns, trace_ns; // the same moment on it and on the trace's clock
  int64_t last;                // of an incremental one, in its unit
  int64_t unit_ns;
  bool incremental, placed;
} pf_clock;

typedef struct pf_sequence { // the packets of one writer, mostly one thread
  uint32_t generation;       // counts clears of incremental state, over all sequences
  uint32_t owner;            // of owners: the thread it described last
  uint64_t track_uuid;       // where events go that name no track
  uint64_t clock_id;
  int64_t reference_ns; // what timestamp_delta_us counts from
  TM_VEC(pf_clock) clocks;
  bool valid, seen;
} pf_sequence;

typedef struct pf_owner {
  int64_t pid, tid;
} pf_owner;

typedef enum pf_track_kind {
  PF_TRACK_UNKNOWN, // named by an event or as a parent, not described
  PF_TRACK_PLAIN,
  PF_TRACK_PROCESS,
  PF_TRACK_THREAD,
} pf_track_kind;

typedef struct pf_track {
  uint64_t uuid, parent_uuid;
  int64_t pid, tid;
  double sum;              // of an incremental counter
  int64_t unit_multiplier; // of a counter
  uint32_t name;           // of the counter, thread or process
  uint32_t top;            // the innermost open event while pairing
  uint32_t sum_generation;
  uint8_t kind;
  bool incremental, builtin_counter, well_named;
  bool resolved, child; // pid and tid are those of the thread or process above
  uint8_t scope;        // when resolved: kind of the root
} pf_track;

enum { PF_END = 1 }; // stands in pf_event.phase for the end of a slice

typedef struct pf_event {
  int64_t time_ns;
  const uint8_t *data; // the TrackEvent
  uint64_t offset;     // of its packet in the unpacked input
  uint32_t size;
  uint32_t name, category; // strings of the timeline
  uint32_t generation, track, owner;
  uint32_t mate; // of a slice's begin its end and the other way; while open: the next outer one
  char phase;    // as in Chrome's JSON, or PF_END
  bool legacy;   // has a LegacyEvent with an id or a phase of its own
} pf_event;

typedef struct pf_dump { // a packet about memory, kept for its time
  int64_t time_ns;
  pf_span message;
  uint64_t offset;
  uint32_t field; // of TracePacket
} pf_dump;

typedef struct pf_recent { // a string that was looked up
  uint64_t key;
  uint32_t string;
} pf_recent;

enum { PF_RECENT = 512 };

typedef struct pf_reader {
  tm_ctx *ctx;
  const tm_source *src;
  tm_timeline *timeline;
  tm_tl_builder builder;
  TM_VEC(pf_sequence) sequences;
  tm_idmap sequence_ids;
  uint32_t last_sequence; // index; PF_NONE = none
  uint64_t last_sequence_id;
  uint32_t generations;
  tm_idmap interned; // hash of generation, table and id -> string
  pf_recent recent[PF_RECENT];
  TM_VEC(pf_clock) clocks;
  uint64_t trace_clock;
  bool has_trace_clock;
  TM_VEC(pf_track) tracks;
  tm_idmap track_ids;
  uint64_t last_track_uuid;
  uint32_t last_track;
  TM_VEC(pf_owner) owners;
  TM_VEC(pf_event) events;
  int64_t least_ns, most_ns; // of them
  TM_VEC(pf_dump) dumps;
  TM_VEC(tm_source) unpacked; // of compressed packets: the events point into them
  uint64_t unpacked_bytes;
  // what was not usable, and where the first of it stood
  uint64_t lost_count, lost_offset;       // packets that the writer dropped
  uint64_t damaged_count, damaged_offset; // packets of packets that do not unpack
  uint64_t undated_count, undated_offset; // packets whose clock is not known
  char path[4096];                        // of the argument being sent
} pf_reader;

typedef struct pf_packet {
  uint64_t timestamp, clock_id, sequence_id, flags;
  uint64_t offset;
  pf_span interned, defaults, payload;
  uint32_t field;  // of the payload
  int64_t time_ns; // on the trace's clock, when dated
  bool timed, clocked, dated, cleared, dropped, first;
} pf_packet;

// ---- perfetto_state.c ----

// The sequence of the packet, after what it says about it: losses, cleared state, defaults and
// interned strings. *usable is false when the packet needs state that was lost.
TM_NODISCARD tm_status pf_enter_sequence(pf_reader *r, const pf_packet *p, uint32_t *out,
                                         bool *usable);

// The interned string of the table for a generation; 0 when unknown.
uint32_t pf_interned(pf_reader *r, uint32_t generation, uint32_t table, uint64_t iid);

// The packet's time on the trace's clock; false when its clock has no relation to that.
bool pf_packet_time(pf_reader *r, const pf_packet *p, uint32_t sequence, int64_t *out_ns);

// A value of one of the clocks that all sequences share, in nanoseconds, on the trace's clock.
bool pf_shared_time(const pf_reader *r, uint64_t clock_id, int64_t value_ns, int64_t *out_ns);

TM_NODISCARD tm_status pf_read_clocks(pf_reader *r, const pf_packet *p, uint32_t sequence);

// ---- perfetto_unpack.c ----

// Unpacked bytes, which the caller closes. TM_E_FORMAT when damaged, TM_E_LIMIT past the cap of
// all.
TM_NODISCARD tm_status pf_inflate(pf_reader *r, pf_span packed, tm_source *out);
TM_NODISCARD tm_status pf_unzstd(pf_reader *r, pf_span packed, tm_source *out);

// ---- perfetto_track.c ----

TM_NODISCARD tm_status pf_find_track(pf_reader *r, uint64_t uuid, uint32_t *out);
TM_NODISCARD tm_status pf_read_track(pf_reader *r, const pf_packet *p, uint32_t sequence);
TM_NODISCARD tm_status pf_read_thread(pf_reader *r, pf_span message, uint32_t sequence);

// A track that stands for a thread which no descriptor gave a track of its own.
TM_NODISCARD tm_status pf_thread_track(pf_reader *r, int64_t pid, int64_t tid, uint32_t *out);

// Gives a track the process and thread of its nearest parent that has one.
const pf_track *pf_resolve_track(pf_reader *r, uint32_t track);

// Names of threads and processes, as metadata events.
TM_NODISCARD tm_status pf_send_names(pf_reader *r);

// ---- perfetto_event.c, perfetto_send.c, perfetto_args.c, perfetto_memory.c ----

// Keeps the TrackEvent of the packet.
TM_NODISCARD tm_status pf_read_event(pf_reader *r, const pf_packet *p, uint32_t sequence);

// Puts the kept events in order of time, joins begins and ends and hands them to the builder.
TM_NODISCARD tm_status pf_send_events(pf_reader *r);

// The arguments of an event as fields, named as in Chrome's JSON.
TM_NODISCARD tm_status pf_send_args(pf_reader *r, const pf_event *e);

// The kept memory dumps as events of phase 'v'.
TM_NODISCARD tm_status pf_send_dumps(pf_reader *r);

// As wire_next, for messages whose keys and numbers mostly are of one byte, and leaves alone what
// the field's type does not have.
static inline bool pf_next(wire *w, wire_field *f) {
  if (w->at == w->end) return false;
  uint64_t key = *w->at, size = 0;
  if (key < 0x80)
    w->at++;
  else if (!wire_small_varint(w, &key))
    return false;
  f->number = key >> 3;
  f->type = (uint32_t)(key & 7);
  if (f->type == 0) {
    if (w->at == w->end || *w->at >= 0x80) return wire_varint(w, &f->value);
    f->value = *w->at++;
    return true;
  }
  if (f->type != 2) {
    size = f->type == 1 ? 8 : f->type == 5 ? 4 : 0;
    if (!size || (size_t)(w->end - w->at) < size) {
      w->fault = size ? "a fixed-size field runs past the end" : "a wire type that protobuf lacks";
      return false;
    }
    f->value = 0;
    for (size_t i = size; i-- > 0;) f->value = f->value << 8 | w->at[i];
    w->at += size;
    return true;
  }
  if (!wire_small_varint(w, &size)) return false;
  if (size > (uint64_t)(w->end - w->at)) {
    w->fault = "a field runs past the end";
    return false;
  }
  f->data = w->at;
  f->size = (size_t)size;
  w->at += size;
  return true;
}

static inline pf_span pf_span_of(const wire_field *f) {
  return (pf_span){f->data, f->size};
}

// The fields of a message; of one that is absent, none.
static inline wire pf_wire(pf_span message) {
  return message.data ? wire_of(message.data, message.size) : (wire){0};
}

static inline tm_status pf_intern(pf_reader *r, pf_span text, uint32_t *out) {
  *out = 0;
  if (!text.size) return TM_OK;
  return tm_strtab_intern(r->ctx, &r->timeline->strings, text.data, text.size, out);
}

#endif
