// Perfetto traces, which Chromium writes: packets one after another, each of a sequence whose state
// it builds on. One pass over all packets keeps small events that point to their place; then they
// are sorted by time and given to the builder, arguments only where it wants them. About 100 bytes
// an event beside the input. Source: protos/perfetto/trace/trace_packet.proto, trace.proto.
#include "read/perfetto_impl.h"
#include "read/reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TICK_PACKETS = 1 << 16, LEAST_PACKET_BYTES = 40 };

static bool is_payload(uint64_t number) {
  switch (number) {
  case PF_CLOCK_SNAPSHOT:
  case PF_PROCESS_STATS:
  case PF_TRACK_EVENT:
  case PF_THREAD_DESCRIPTOR:
  case PF_COMPRESSED:
  case PF_TRACK_DESCRIPTOR:
  case PF_MEMORY_SNAPSHOT:
  case PF_ZSTD_COMPRESSED:
    return true;
  default:
    return false;
  }
}

static void set_number(pf_packet *p, const wire_field *f) {
  switch (f->number) {
  case 8:
    p->timestamp = f->value;
    p->timed = true;
    break;
  case 10:
    p->sequence_id = f->value;
    break;
  case 13:
    p->flags = f->value;
    break;
  case 41:
    p->cleared = f->value != 0;
    break;
  case 42:
    p->dropped = f->value != 0;
    break;
  case 58:
    p->clock_id = f->value;
    p->clocked = true;
    break;
  case 87:
    p->first = f->value != 0;
    break;
  default:
    break;
  }
}

// False when the bytes are no message.
static bool words_of_packet(pf_span message, uint64_t offset, pf_packet *p) {
  *p = (pf_packet){.offset = offset};
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.type == 0) set_number(p, &f);
    if (f.type != 2) continue;
    if (f.number == 12) p->interned = pf_span_of(&f);
    if (f.number == 59) p->defaults = pf_span_of(&f);
    if (!is_payload(f.number)) continue;
    p->payload = pf_span_of(&f);
    p->field = (uint32_t)f.number;
  }
  return !w.fault && p->payload.size <= UINT32_MAX;
}

static tm_status keep_dump(pf_reader *r, const pf_packet *p) {
  if (!p->dated) return TM_OK;
  return tm_vec_push(r->ctx, &r->dumps, (pf_dump){p->time_ns, p->payload, p->offset, p->field});
}

static tm_status read_payload(pf_reader *r, pf_packet *p, uint32_t sequence) {
  switch (p->field) {
  case PF_CLOCK_SNAPSHOT:
    return pf_read_clocks(r, p, sequence);
  case PF_TRACK_EVENT:
    return pf_read_event(r, p, sequence);
  case PF_THREAD_DESCRIPTOR:
    return pf_read_thread(r, p->payload, sequence);
  case PF_TRACK_DESCRIPTOR:
    return pf_read_track(r, p, sequence);
  case PF_PROCESS_STATS:
  case PF_MEMORY_SNAPSHOT:
    return keep_dump(r, p);
  default:
    return TM_OK;
  }
}

typedef struct packet_list { // bytes of a Trace message
  const uint8_t *start, *at, *end;
  const char *fault; // why it ends before its end
  uint64_t inside;   // of the compressed packet that held it, or TM_NO_OFFSET
} packet_list;

static uint64_t list_offset(const packet_list *list) {
  return list->inside == TM_NO_OFFSET ? (uint64_t)(list->at - list->start) : list->inside;
}

static tm_status read_packet(pf_reader *r, pf_packet *p) {
  uint32_t sequence;
  bool usable;
  TM_TRY(pf_enter_sequence(r, p, &sequence, &usable));
  // also where the rest is of no use: an incremental clock goes on with each packet
  if (p->timed) p->dated = pf_packet_time(r, p, sequence, &p->time_ns);
  return usable ? read_payload(r, p, sequence) : TM_OK;
}

// Trace: 1 packet. Stops at the first that is cut or no packet, with a fault.
static tm_status read_packets(pf_reader *r, packet_list *list, pf_packet *compressed) {
  uint64_t count = 0;
  *compressed = (pf_packet){0};
  while (list->at < list->end) {
    wire w = wire_of(list->at, (size_t)(list->end - list->at));
    wire_field f;
    if (!pf_next(&w, &f)) {
      list->fault = w.fault;
      return TM_OK;
    }
    pf_packet p;
    bool packet = f.number == 1 && f.type == 2;
    if (packet && !words_of_packet(pf_span_of(&f), list_offset(list), &p)) {
      list->fault = "no packet of a trace";
      return TM_OK;
    }
    list->at = w.at;
    if (!packet) continue;
    if (p.field == PF_COMPRESSED || p.field == PF_ZSTD_COMPRESSED) {
      *compressed = p;
      if (list->inside == TM_NO_OFFSET) return TM_OK;
      continue; // nobody packs twice
    }
    TM_TRY(read_packet(r, &p));
    if (++count % TICK_PACKETS == 0) TM_TRY(tm_ctx_tick(r->ctx, list_offset(list)));
  }
  return TM_OK;
}

// Packets within a packet. What does not unpack is noted and left out.
static tm_status read_compressed(pf_reader *r, const pf_packet *p) {
  tm_source unpacked;
  tm_status status = p->field == PF_COMPRESSED ? pf_inflate(r, p->payload, &unpacked)
                                               : pf_unzstd(r, p->payload, &unpacked);
  packet_list list = {.inside = p->offset, .fault = "does not unpack"};
  if (status == TM_OK) {
    r->unpacked_bytes += unpacked.size;
    status = tm_vec_push(r->ctx, &r->unpacked, unpacked);
    if (status != TM_OK) {
      tm_source_close(&unpacked);
      return status;
    }
    list = (packet_list){.start = unpacked.data,
                         .at = unpacked.data,
                         .end = unpacked.data + unpacked.size,
                         .inside = p->offset};
    pf_packet nested;
    TM_TRY(read_packets(r, &list, &nested));
  }
  if (status != TM_OK && status != TM_E_FORMAT) return status;
  tm_ctx_clear(r->ctx);
  if (list.fault && !r->damaged_count++) r->damaged_offset = p->offset;
  return TM_OK;
}

// The first problem is the one that is told.
static void note(pf_reader *r, tm_snapshot *out, uint64_t offset, const char *what,
                 uint64_t count) {
  if (out->partial) return;
  out->partial = true;
  if (count)
    (void)tm_fail(r->ctx, TM_E_FORMAT, offset, "%" PRIu64 " %s, first at byte %" PRIu64, count,
                  what, offset);
  else
    (void)tm_fail(r->ctx, TM_E_FORMAT, offset, "%s, at byte %" PRIu64 "; what came before was read",
                  what, offset);
  out->problem = r->ctx->error;
  tm_ctx_clear(r->ctx);
}

static void note_problems(pf_reader *r, tm_snapshot *out) {
  if (r->damaged_count)
    note(r, out, r->damaged_offset, "compressed packets are damaged and left out",
         r->damaged_count);
  if (r->lost_count)
    note(r, out, r->lost_offset, "times the browser dropped packets: its buffer was full",
         r->lost_count);
  if (r->undated_count)
    note(r, out, r->undated_offset, "events of clocks that no snapshot relates are left out",
         r->undated_count);
}

static tm_status read_trace(pf_reader *r, tm_snapshot *out) {
  const tm_source *src = r->src;
  packet_list list = {
      .start = src->data, .at = src->data, .end = src->data + src->size, .inside = TM_NO_OFFSET};
  while (list.at < list.end && !list.fault) {
    pf_packet compressed;
    TM_TRY(read_packets(r, &list, &compressed));
    if (compressed.field) TM_TRY(read_compressed(r, &compressed));
  }
  if (list.fault) {
    uint64_t offset = list_offset(&list);
    if (!offset) return tm_fail(r->ctx, TM_E_FORMAT, 0, "no packet of a Perfetto trace here");
    char what[96];
    snprintf(what, sizeof what, "the trace ends within its packets (%s)", list.fault);
    note(r, out, offset, what, 0);
  }
  note_problems(r, out);
  TM_TRY(pf_send_names(r));
  TM_TRY(pf_send_events(r));
  TM_TRY(pf_send_dumps(r));
  tm_tl_finish(&r->builder);
  return TM_OK;
}

static void free_reader(pf_reader *r) {
  tm_tl_builder_fini(r->ctx, &r->builder);
  for (size_t i = 0; i < r->sequences.count; i++)
    tm_vec_free(r->ctx, &r->sequences.items[i].clocks);
  tm_vec_free(r->ctx, &r->sequences);
  tm_idmap_free(r->ctx, &r->sequence_ids);
  tm_idmap_free(r->ctx, &r->interned);
  tm_vec_free(r->ctx, &r->clocks);
  tm_vec_free(r->ctx, &r->tracks);
  tm_idmap_free(r->ctx, &r->track_ids);
  tm_vec_free(r->ctx, &r->owners);
  tm_vec_free(r->ctx, &r->events);
  tm_vec_free(r->ctx, &r->dumps);
  for (size_t i = 0; i < r->unpacked.count; i++) tm_source_close(&r->unpacked.items[i]);
  tm_vec_free(r->ctx, &r->unpacked);
}

static void free_timeline(void *model) {
  tm_timeline_free(model);
}

static tm_status read_perfetto(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  tm_timeline *timeline = NULL;
  TM_TRY(tm_timeline_new(ctx, &timeline));
  ctx->total = src->size;
  pf_reader r = {.ctx = ctx,
                 .src = src,
                 .timeline = timeline,
                 .last_sequence = PF_NONE,
                 .last_track = PF_NONE,
                 .least_ns = INT64_MAX,
                 .most_ns = INT64_MIN};
  tm_status status = tm_tl_builder_init(ctx, &r.builder, timeline);
  // room that is not used costs nothing
  if (status == TM_OK) status = tm_vec_reserve(ctx, &r.events, src->size / LEAST_PACKET_BYTES);
  if (status == TM_OK) status = read_trace(&r, out);
  free_reader(&r);
  if (status != TM_OK) {
    tm_timeline_free(timeline);
    return status;
  }
  out->model = timeline;
  out->free_model = free_timeline;
  if (!out->partial) return TM_OK;
  ctx->error = out->problem;
  return out->problem.status;
}

// The wire types that known fields of TracePacket have; newer ones may have any.
static bool belongs(const wire_field *f) {
  static const uint8_t numbers[] = {3, 8, 10, 13, 41, 42, 58, 79, 87, 98};
  if (!f->number || f->number > PF_ZSTD_COMPRESSED) return f->number != 0;
  return f->type == (memchr(numbers, (int)f->number, sizeof numbers) ? 0 : 2);
}

// What only such packets have: a sequence, a user, a configuration, or packed packets.
static unsigned signs_of(const wire_field *f) {
  if (f->type == 0) return f->number == 3 || f->number == 10;
  if (f->number == PF_CONFIG || f->number == PF_MEMORY_SNAPSHOT) return 1;
  if (f->number == PF_COMPRESSED) return f->size > 2 && (f->data[0] & 15) == 8 ? 4 : 0;
  if (f->number != PF_ZSTD_COMPRESSED || f->size < 4) return 0;
  return memcmp(f->data, "\x28\xb5\x2f\xfd", 4) == 0 ? 4 : 0;
}

// The packets at the start; the last may be cut.
static unsigned probe_perfetto(const uint8_t *head, size_t size) {
  const uint8_t *at = head, *end = head + size;
  unsigned packets = 0, signs = 0;
  while (at < end && packets < 8) {
    wire w = wire_of(at, (size_t)(end - at));
    uint64_t key, length;
    if (!wire_varint(&w, &key) || !wire_varint(&w, &length)) break;
    if (key != 10 || !length) break;
    size_t left = (size_t)(w.end - w.at);
    bool cut = length > left;
    wire packet = wire_of(w.at, cut ? left : (size_t)length);
    wire_field f = {0};
    while (pf_next(&packet, &f)) {
      if (!belongs(&f)) return 0;
      signs += signs_of(&f);
    }
    if (packet.fault && !cut) return 0;
    if (packet.fault && f.type == 2) { // what is seen of a long field
      f.data = packet.at;
      f.size = (size_t)(packet.end - packet.at);
      signs += signs_of(&f);
    }
    at = packet.end;
    packets++;
  }
  return signs ? 20 + 4 * (signs < 10 ? signs : 10) : 0;
}

const tm_reader tm_reader_perfetto = {.name = "perfetto",
                                      .title = "Perfetto trace (protobuf) of Chrome",
                                      .kind = TM_KIND_TIMELINE,
                                      .takes_part = true,
                                      .probe = probe_perfetto,
                                      .read = read_perfetto};
