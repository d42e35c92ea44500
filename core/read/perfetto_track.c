// Tracks by uuid: threads, processes, counters, and what hangs below them. Descriptors come in any
// order and again with more; an event's track is resolved to a thread or process only after all
// packets were read, by walking up at most a few parents. O(1) an event.
#include "read/perfetto_impl.h"

#include <string.h>

enum { MOST_PARENTS = 64 };

tm_status pf_find_track(pf_reader *r, uint64_t uuid, uint32_t *out) {
  if (r->last_track != PF_NONE && r->last_track_uuid == uuid) {
    *out = r->last_track;
    return TM_OK;
  }
  *out = tm_idmap_get(&r->track_ids, uuid);
  if (*out == TM_IDMAP_NONE) {
    *out = (uint32_t)r->tracks.count;
    TM_TRY(tm_vec_push(r->ctx, &r->tracks,
                       (pf_track){.uuid = uuid, .top = PF_NONE, .unit_multiplier = 1}));
    TM_TRY(tm_idmap_put(r->ctx, &r->track_ids, uuid, *out));
  }
  r->last_track = *out;
  r->last_track_uuid = uuid;
  return TM_OK;
}

tm_status pf_thread_track(pf_reader *r, int64_t pid, int64_t tid, uint32_t *out) {
  uint64_t uuid =
      tm_hash_add(tm_hash_mix((uint64_t)pid ^ UINT64_C(0x7469646d61726b)), (uint64_t)tid);
  TM_TRY(pf_find_track(r, uuid, out));
  pf_track *t = &r->tracks.items[*out];
  if (t->kind != PF_TRACK_UNKNOWN) return TM_OK;
  t->kind = PF_TRACK_THREAD;
  t->pid = pid;
  t->tid = tid;
  return TM_OK;
}

static tm_status set_owner(pf_reader *r, uint32_t sequence, int64_t pid, int64_t tid) {
  pf_sequence *s = &r->sequences.items[sequence];
  if (s->owner != PF_NONE) {
    const pf_owner *o = &r->owners.items[s->owner];
    if (o->pid == pid && o->tid == tid) return TM_OK;
  }
  s->owner = (uint32_t)r->owners.count;
  return tm_vec_push(r->ctx, &r->owners, (pf_owner){pid, tid});
}

// ThreadDescriptor: 1 pid, 2 tid, 4 chrome_thread_type, 5 thread_name, 6 reference_timestamp_us.
typedef struct thread_words {
  int64_t pid, tid, reference_us;
  pf_span name;
} thread_words;

static thread_words words_of_thread(pf_span message) {
  thread_words t = {0};
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number == 1 && f.type == 0) t.pid = (int32_t)f.value;
    if (f.number == 2 && f.type == 0) t.tid = (int64_t)f.value;
    if (f.number == 5 && f.type == 2) t.name = pf_span_of(&f);
    if (f.number == 6 && f.type == 0) t.reference_us = (int64_t)f.value;
  }
  return t;
}

// Deltas of time count on from here: only where the writer still works without clock snapshots.
static tm_status describe_sequence(pf_reader *r, uint32_t sequence, const thread_words *t) {
  TM_TRY(set_owner(r, sequence, t->pid, t->tid));
  if (t->reference_us > 0 && t->reference_us < PF_MOST_NS / 1000)
    r->sequences.items[sequence].reference_ns = t->reference_us * 1000;
  return TM_OK;
}

tm_status pf_read_thread(pf_reader *r, pf_span message, uint32_t sequence) {
  thread_words t = words_of_thread(message);
  uint32_t track, name;
  TM_TRY(describe_sequence(r, sequence, &t));
  TM_TRY(pf_thread_track(r, t.pid, t.tid, &track));
  TM_TRY(pf_intern(r, t.name, &name));
  if (name) r->tracks.items[track].name = name;
  return TM_OK;
}

// ChromeProcessDescriptor.process_type: what Chrome calls processes that gave no name.
static const char *const process_types[] = {
    [1] = "Browser", [2] = "Renderer", [3] = "Utility", [4] = "Zygote", [6] = "GPU Process",
};

static pf_span type_name(pf_span message) {
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number != 1 || f.type != 0) continue;
    const char *name =
        f.value < sizeof process_types / sizeof *process_types ? process_types[f.value] : NULL;
    if (name) return (pf_span){(const uint8_t *)name, strlen(name)};
  }
  return (pf_span){0};
}

// ProcessDescriptor: 1 pid, 6 process_name. Early descriptors say nothing or the command line as
// name; those that come with a ChromeProcessDescriptor know better.
static tm_status read_process(pf_reader *r, pf_span message, pf_span chrome, pf_track *t) {
  wire w = pf_wire(message);
  pf_span name = {0};
  t->kind = PF_TRACK_PROCESS;
  for (wire_field f; pf_next(&w, &f);) {
    if (f.number == 1 && f.type == 0) t->pid = t->tid = (int32_t)f.value;
    if (f.number == 6 && f.type == 2) name = pf_span_of(&f);
  }
  if (!name.size) name = type_name(chrome);
  if (!name.size || (t->name && (t->well_named || !chrome.data))) return TM_OK;
  t->well_named = chrome.data != NULL;
  return pf_intern(r, name, &t->name);
}

// CounterDescriptor: 1 type, 4 unit_multiplier, 5 is_incremental.
static void read_counter(pf_span message, pf_track *t) {
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.type != 0) continue;
    if (f.number == 1) t->builtin_counter = f.value != 0;
    if (f.number == 4 && f.value) t->unit_multiplier = (int64_t)f.value;
    if (f.number == 5) t->incremental = f.value != 0;
  }
}

typedef struct track_words {
  uint64_t uuid, parent;
  pf_span name, process, chrome_process, thread, counter;
  bool has_parent;
} track_words;

// TrackDescriptor: 1 uuid, 2 name, 3 process, 4 thread, 5 parent_uuid, 6 chrome_process,
// 8 counter, 10 static_name, 13 atrace_name.
static track_words words_of_track(pf_span message) {
  track_words t = {0};
  wire w = pf_wire(message);
  for (wire_field f; pf_next(&w, &f);) {
    if (f.type == 0 && f.number == 1) t.uuid = f.value;
    if (f.type == 0 && f.number == 5) {
      t.parent = f.value;
      t.has_parent = true;
    }
    if (f.type != 2) continue;
    if (f.number == 2 || f.number == 10 || f.number == 13) t.name = pf_span_of(&f);
    if (f.number == 3) t.process = pf_span_of(&f);
    if (f.number == 4) t.thread = pf_span_of(&f);
    if (f.number == 6) t.chrome_process = pf_span_of(&f);
    if (f.number == 8) t.counter = pf_span_of(&f);
  }
  return t;
}

tm_status pf_read_track(pf_reader *r, const pf_packet *p, uint32_t sequence) {
  track_words words = words_of_track(p->payload);
  uint32_t at, name;
  TM_TRY(pf_find_track(r, words.uuid, &at));
  TM_TRY(pf_intern(r, words.name, &name));
  pf_track *t = &r->tracks.items[at];
  if (words.has_parent) t->parent_uuid = words.parent;
  if (t->kind == PF_TRACK_UNKNOWN) t->kind = PF_TRACK_PLAIN;
  if (name) t->name = name;
  if (words.counter.data) read_counter(words.counter, t);
  if (words.process.data) TM_TRY(read_process(r, words.process, words.chrome_process, t));
  if (!words.thread.data) return TM_OK;
  thread_words thread = words_of_thread(words.thread);
  t->kind = PF_TRACK_THREAD;
  t->pid = thread.pid;
  t->tid = thread.tid;
  TM_TRY(pf_intern(r, thread.name, &name));
  if (name) t->name = name;
  return r->sequences.items[sequence].valid ? describe_sequence(r, sequence, &thread) : TM_OK;
}

const pf_track *pf_resolve_track(pf_reader *r, uint32_t track) {
  pf_track *t = &r->tracks.items[track];
  if (t->resolved) return t;
  const pf_track *root = t;
  for (int i = 0; i < MOST_PARENTS; i++) {
    if (root->kind == PF_TRACK_THREAD || root->kind == PF_TRACK_PROCESS || !root->parent_uuid)
      break;
    uint32_t parent = tm_idmap_get(&r->track_ids, root->parent_uuid);
    if (parent == TM_IDMAP_NONE) break;
    root = &r->tracks.items[parent];
  }
  t->resolved = true;
  t->child = root != t;
  t->scope = root->kind;
  t->pid = root->pid;
  t->tid = root->tid;
  return t;
}

static tm_status send_name(pf_reader *r, const pf_track *t, const char *event, size_t size) {
  tm_tl_event e = {.phase = 'M', .pid = t->pid, .tid = t->tid};
  TM_TRY(tm_strtab_intern(r->ctx, &r->timeline->strings, event, size, &e.name));
  bool wants;
  TM_TRY(tm_tl_open(r->ctx, &r->builder, &e, &wants));
  tm_tl_field f = {.path = "name",
                   .path_size = 4,
                   .type = TM_TL_TEXT,
                   .text = tm_timeline_text(r->timeline, t->name),
                   .size = tm_strtab_length(&r->timeline->strings, t->name)};
  TM_TRY(tm_tl_add_field(r->ctx, &r->builder, &f));
  return tm_tl_close(r->ctx, &r->builder);
}

tm_status pf_send_names(pf_reader *r) {
  for (size_t i = 0; i < r->tracks.count; i++) {
    const pf_track *t = &r->tracks.items[i];
    if (!t->name) continue;
    if (t->kind == PF_TRACK_PROCESS) TM_TRY(send_name(r, t, "process_name", 12));
    if (t->kind == PF_TRACK_THREAD) TM_TRY(send_name(r, t, "thread_name", 11));
  }
  return TM_OK;
}
