// The profile as it leaves: written once through from the tables, with no more memory than a map
// from addresses to locations and one from (stack, labels) to sums. Blocks of one stack, thread,
// age and epoch become one sample with in-use values; what a stack ever allocated is one more
// sample. Sums are rounded with the remainder carried on, so that totals are right.
#include "agent_handles.h"
#include "agent_images.h"
#include "agent_proto.h"
#include "agent_tables.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { // fields of pprof's messages. Source: google/pprof, proto/profile.proto
  PROFILE_TYPE = 1,
  PROFILE_SAMPLE,
  PROFILE_MAPPING,
  PROFILE_LOCATION,
  PROFILE_FUNCTION,
  PROFILE_STRING,
  PROFILE_DROP,
  PROFILE_KEEP,
  PROFILE_TIME,
  PROFILE_DURATION,
  PROFILE_PERIOD_TYPE,
  PROFILE_PERIOD,
  PROFILE_COMMENT,
  PROFILE_DEFAULT_TYPE
};

enum { VALUES = 6, NAME_BYTES = 64 };
enum { FIRST_HANDLE = TM_AGENT_FD + 1, KIND_TEXTS = FIRST_HANDLE + TM_AGENT_HANDLE_KINDS };

typedef struct sum { // one row of in-use values
  uint32_t stack;    // 0 with no row: a free place
  uint16_t slot, epoch;
  uint32_t age_s;
  uint32_t kind;   // number of its text
  uintptr_t block; // only if addresses were asked for
  double count, bytes;
  bool is_unseen; // a handle of which nobody knows the opener
} sum;

typedef struct location {
  uintptr_t address;
  uint32_t id;
} location;

typedef struct writer {
  tm_agent_sink *sink;
  bool ok, is_full, is_of_handles;
  const tm_agent_filter_ask *ask;
  uint32_t strings, mappings, locations, location_room, sums, sum_room;
  location *location_rows;
  sum *sum_rows;
  double carried[VALUES];
  uint32_t thread_names[TM_THREADS]; // string numbers, 0 = not said yet
  uint32_t mapping_ids[TM_IMAGES];
  uint32_t text_thread, text_age, text_epoch, text_kind, text_state, text_seconds, text_live,
      text_unseen;
  uint32_t text_address, text_bytes, text_kinds[KIND_TEXTS];
  tm_message inner, outer;
} writer;

// ---- out ----

static void put(writer *w, uint32_t field, const tm_message *message) {
  tm_message *o = &w->outer;
  o->size = 0;
  tm_message_varint(o, (uint64_t)field << 3 | 2);
  tm_message_varint(o, message->size);
  if (w->ok) w->ok = w->sink->write(w->sink->ud, o->data, o->size);
  if (w->ok) w->ok = w->sink->write(w->sink->ud, message->data, message->size);
}

static void put_number(writer *w, uint32_t field, uint64_t value) {
  w->outer.size = 0;
  tm_message_number(&w->outer, field, value);
  if (w->ok) w->ok = w->sink->write(w->sink->ud, w->outer.data, w->outer.size);
}

static uint32_t put_string(writer *w, const char *text) {
  tm_message_clear(&w->outer);
  tm_message_text(&w->outer, PROFILE_STRING, text);
  if (w->ok) w->ok = w->sink->write(w->sink->ud, w->outer.data, w->outer.size);
  return w->strings++;
}

static tm_message *fresh(writer *w) {
  tm_message_clear(&w->inner);
  return &w->inner;
}

// ---- mappings and locations ----

static void put_image(writer *w, uint32_t number) {
  static const char digits[] = "0123456789abcdef";
  const tm_image *image = tm_image_at(number);
  const char *path = tm_image_path(image);
  char id[2 * TM_IMAGE_ID + 1] = "";
  if (w->mapping_ids[number]) return;
  for (uint32_t i = 0; i < image->id_bytes; i++) {
    id[2 * i] = digits[image->id[i] >> 4];
    id[2 * i + 1] = digits[image->id[i] & 15];
    id[2 * i + 2] = 0;
  }
  uint32_t path_text = put_string(w, *path ? path : "//anon"), id_text = put_string(w, id);
  w->mapping_ids[number] = ++w->mappings;
  tm_message *m = fresh(w);
  tm_message_number(m, 1, w->mappings);
  tm_message_number(m, 2, image->begin);
  tm_message_number(m, 3, image->end);
  tm_message_number(m, 4, image->file_offset);
  tm_message_number(m, 5, path_text);
  tm_message_number(m, 6, id_text);
  put(w, PROFILE_MAPPING, m);
}

static bool grow_locations(writer *w) {
  uint32_t room = w->location_room ? w->location_room * 2 : 4096;
  location *rows = tm_pages_get(room * sizeof *rows);
  if (!rows) return false;
  for (uint32_t i = 0; i < w->location_room; i++) {
    if (!w->location_rows[i].id) continue;
    uint32_t at = (uint32_t)(tm_agent_hash((void *)(w->location_rows[i].address << 4))
                             >> 32); // NOLINT(performance-no-int-to-ptr): only hashed
    for (at &= room - 1; rows[at].id;) at = (at + 1) & (room - 1);
    rows[at] = w->location_rows[i];
  }
  tm_pages_drop(w->location_rows, w->location_room * sizeof *rows);
  w->location_rows = rows;
  w->location_room = room;
  return true;
}

// The id of a frame's location, written when it is first met. 0: no code is there.
static uint32_t location_of(writer *w, uintptr_t address) {
  if (w->locations * 2 >= w->location_room && !grow_locations(w)) w->ok = false;
  if (!w->ok) return 0;
  uint32_t mask = w->location_room - 1;
  uint32_t at = (uint32_t)(tm_agent_hash((void *)(address << 4)) >> 32)
                & mask; // NOLINT(performance-no-int-to-ptr): only hashed
  for (; w->location_rows[at].id; at = (at + 1) & mask)
    if (w->location_rows[at].address == address) return w->location_rows[at].id;
  uint32_t image = tm_image_of(address);
  if (image == UINT32_MAX) return 0;
  put_image(w, image);
  w->location_rows[at] = (location){address, ++w->locations};
  tm_message *m = fresh(w);
  tm_message_number(m, 1, w->locations);
  tm_message_number(m, 2, w->mapping_ids[image]);
  tm_message_number(m, 3, address);
  put(w, PROFILE_LOCATION, m);
  return w->locations;
}

// ---- samples ----

static void label(tm_message *m, uint32_t key, uint32_t text, uint64_t value, uint32_t unit) {
  tm_message inner;
  tm_message_clear(&inner);
  tm_message_number(&inner, 1, key);
  if (text) tm_message_number(&inner, 2, text);
  if (!text) tm_message_number(&inner, 3, value);
  if (unit) tm_message_number(&inner, 4, unit);
  tm_message_block(m, 3, inner.data, inner.size);
}

static uint64_t rounded(writer *w, uint32_t index, double value) {
  w->carried[index] += value;
  if (w->carried[index] < 0.5) return 0;
  uint64_t whole = (uint64_t)(w->carried[index] + 0.5);
  w->carried[index] -= (double)whole;
  return whole;
}

static uint32_t thread_text(writer *w, uint32_t slot) {
  const tm_thread_row *row = tm_thread_at(slot);
  char name[TM_THREAD_NAME + 1] = "", path[NAME_BYTES], text[NAME_BYTES] = "other";
  if (w->thread_names[slot]) return w->thread_names[slot];
  if (slot) {
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", row->tid);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    long got = fd < 0 ? 0 : syscall(SYS_read, fd, name, (size_t)TM_THREAD_NAME);
    if (fd >= 0) syscall(SYS_close, fd);
    name[strcspn(name, "\n")] = 0;
    snprintf(text, sizeof text, "%s %d", got > 0 ? name : row->name, row->tid);
  }
  w->thread_names[slot] = put_string(w, text);
  return w->thread_names[slot];
}

static uint32_t values_of(const writer *w) {
  if (w->is_of_handles) return 2;
  return w->is_full ? VALUES : 4;
}

// The stack goes first: its locations are written, as messages of their own, before the sample is.
static void put_sample(writer *w, const tm_stack *stack, const double values[VALUES],
                       const sum *live) {
  uint32_t count = stack->kind_and_count & 0xffff, known = 0;
  uint32_t kind = live ? live->kind : stack->kind_and_count >> 16;
  bool is_unseen = live && live->is_unseen;
  if (is_unseen) count = 0;
  const uintptr_t *frames = tm_stack_frames(stack);
  uint32_t ids[TM_AGENT_FRAMES];
  tm_message packed, *m;
  tm_message_clear(&packed);
  while (known < count && (ids[known] = location_of(w, frames[known] - 1))) known++;
  for (uint32_t i = 0; i < known; i++) tm_message_varint(&packed, ids[i]);
  uint32_t thread = live && !is_unseen ? thread_text(w, live->slot) : 0;
  m = fresh(w);
  tm_message_block(m, 1, packed.data, packed.size);
  packed.size = 0;
  for (uint32_t i = 0; i < values_of(w); i++) tm_message_varint(&packed, rounded(w, i, values[i]));
  tm_message_block(m, 2, packed.data, packed.size);
  label(m, w->text_kind, w->text_kinds[kind], 0, 0);
  if (is_unseen) label(m, w->text_state, w->text_unseen, 0, 0);
  if (live && !is_unseen) {
    label(m, w->text_thread, thread, 0, 0);
    label(m, w->text_age, 0, live->age_s, w->text_seconds);
    label(m, w->text_epoch, 0, live->epoch, w->text_epoch); // a 0 without a unit is no label
    label(m, w->text_state, w->text_live, 0, 0);
    if (live->block) label(m, w->text_address, 0, live->block, 0);
    if (live->block) label(m, w->text_bytes, 0, (uint64_t)(live->bytes / live->count), 0);
  }
  put(w, PROFILE_SAMPLE, m);
}

static uint64_t sum_hash(const sum *s) {
  uint64_t key = (uint64_t)s->stack << 32 | (uint32_t)s->slot << 16 | s->epoch;
  return ((key ^ (uint64_t)s->age_s << 20 ^ (uint64_t)s->kind << 40 ^ (uint64_t)s->block)
          * UINT64_C(0x9e3779b97f4a7c15))
         >> 32;
}

static sum *sum_place(sum *rows, uint32_t room, const sum *key) {
  uint32_t at = (uint32_t)sum_hash(key) & (room - 1);
  for (; rows[at].count > 0; at = (at + 1) & (room - 1))
    if (rows[at].stack == key->stack && rows[at].slot == key->slot && rows[at].epoch == key->epoch
        && rows[at].age_s == key->age_s && rows[at].block == key->block
        && rows[at].kind == key->kind && rows[at].is_unseen == key->is_unseen)
      break;
  return &rows[at];
}

static bool add(writer *w, const sum *row) {
  if (w->sums * 2 >= w->sum_room) {
    uint32_t room = w->sum_room ? w->sum_room * 2 : 4096;
    sum *rows = tm_pages_get(room * sizeof *rows);
    if (!rows) return false;
    for (uint32_t i = 0; i < w->sum_room; i++)
      if (w->sum_rows[i].count > 0) *sum_place(rows, room, &w->sum_rows[i]) = w->sum_rows[i];
    tm_pages_drop(w->sum_rows, w->sum_room * sizeof *rows);
    w->sum_rows = rows;
    w->sum_room = room;
  }
  sum *place = sum_place(w->sum_rows, w->sum_room, row);
  double count = place->count, bytes = place->bytes;
  if (count == 0) w->sums++;
  *place = *row;
  place->count += count;
  place->bytes += bytes;
  return true;
}

static uint32_t step_of(uint32_t age_ms) {
  static const uint32_t ages_s[] = {86400, 21600, 3600, 600, 60, 10, 1, 0};
  uint32_t i = 0;
  while (age_ms / 1000 < ages_s[i]) i++;
  return ages_s[i];
}

static void add_block(writer *w, const tm_agent_live *live, uint32_t now_ms) {
  uint32_t age_ms = now_ms - live->born_ms;
  if (live->epoch < w->ask->since_epoch || age_ms < w->ask->min_age_ms) return;
  if (!(w->ask->kinds & 1u << live->kind)) return;
  bool is_apart = w->ask->flags & TM_AGENT_ADDRESSES;
  sum row = {.stack = live->stack,
             .slot = live->slot,
             .epoch = live->epoch,
             .age_s = step_of(age_ms),
             .kind = live->kind,
             .block = is_apart ? live->block : 0,
             .count = (double)live->weight,
             .bytes = (double)live->weight * (double)live->bytes};
  if (!add(w, &row)) w->ok = false;
}

// Those whose opener nobody saw are as old as nobody knows: part of what is held at all only.
static void add_handle(void *ud, const tm_handle_row *handle) {
  writer *w = ud;
  uint32_t age_ms = tm_agent_now_ms() - handle->born_ms;
  bool is_chosen = w->ask->since_epoch || w->ask->min_age_ms;
  if (is_chosen
      && (!handle->is_seen || handle->epoch < w->ask->since_epoch || age_ms < w->ask->min_age_ms))
    return;
  sum row = {.kind = FIRST_HANDLE + handle->kind,
             .is_unseen = !handle->is_seen,
             .count = 1,
             .bytes = (double)handle->bytes};
  if (handle->is_seen) {
    row.stack = handle->stack;
    row.slot = handle->slot;
    row.epoch = handle->epoch;
    row.age_s = step_of(age_ms);
  }
  if (!add(w, &row)) w->ok = false;
}

static void put_sums(writer *w) {
  for (uint32_t i = 0; i < w->sum_room && w->ok; i++) {
    const sum *s = &w->sum_rows[i];
    const double values[VALUES] = {s->count, s->bytes, 0, 0, 0, 0};
    if (s->count > 0) put_sample(w, tm_stack_at(s->stack), values, s);
  }
}

static void put_live(writer *w) {
  tm_agent_live *rows = NULL;
  size_t room = 0;
  uint32_t now_ms = tm_agent_now_ms();
  for (uint32_t shard = 0; shard < TM_SHARDS; shard++) {
    uint32_t count = tm_live_copy(shard, &rows, &room);
    for (uint32_t i = 0; i < count; i++) add_block(w, &rows[i], now_ms);
  }
  tm_pages_drop(rows, room * sizeof *rows);
  put_sums(w);
}

static void put_stacks(writer *w) {
  uint32_t end = tm_stack_number_end();
  for (uint32_t i = 0; i < end && w->ok; i++) {
    const tm_stack *s = tm_stack_at(i);
    uint64_t made = atomic_load_explicit(&s->made_count, memory_order_relaxed);
    if (!made || !(w->ask->kinds & 1u << (s->kind_and_count >> 16))) continue;
    const double values[VALUES] = {
        0,
        0,
        (double)made / TM_WEIGHT_ONE,
        (double)atomic_load_explicit(&s->made_bytes, memory_order_relaxed),
        (double)atomic_load_explicit(&s->temporary_count, memory_order_relaxed),
        (double)atomic_load_explicit(&s->lived_ms, memory_order_relaxed) * 1e6};
    put_sample(w, s, values, NULL);
  }
}

// ---- the head ----

static void put_type(writer *w, uint32_t field, uint32_t type, uint32_t unit) {
  tm_message *m = fresh(w);
  tm_message_number(m, 1, type);
  tm_message_number(m, 2, unit);
  put(w, field, m);
}

static void put_types_of_handles(writer *w) {
  uint32_t handles = put_string(w, "handles"), count = put_string(w, "count");
  put_type(w, PROFILE_TYPE, handles, count);
  put_type(w, PROFILE_TYPE, put_string(w, "space"), put_string(w, "bytes"));
  put_number(w, PROFILE_DEFAULT_TYPE, handles);
  put_type(w, PROFILE_PERIOD_TYPE, handles, count);
  put_number(w, PROFILE_PERIOD, 1);
}

static void put_types(writer *w) {
  uint32_t count = put_string(w, "count"), bytes = put_string(w, "bytes");
  put_type(w, PROFILE_TYPE, put_string(w, "inuse_objects"), count);
  uint32_t in_use = put_string(w, "inuse_space");
  put_type(w, PROFILE_TYPE, in_use, bytes);
  put_type(w, PROFILE_TYPE, put_string(w, "alloc_objects"), count);
  put_type(w, PROFILE_TYPE, put_string(w, "alloc_space"), bytes);
  if (w->is_full) {
    put_type(w, PROFILE_TYPE, put_string(w, "temporary_objects"), count);
    put_type(w, PROFILE_TYPE, put_string(w, "lifetime"), put_string(w, "nanoseconds"));
  }
  put_number(w, PROFILE_DEFAULT_TYPE, in_use);
  put_type(w, PROFILE_PERIOD_TYPE, put_string(w, "space"), bytes);
  put_number(w, PROFILE_PERIOD, w->is_full ? 1 : atomic_load(&tm_agent.rate_bytes));
}

static void put_head(writer *w) {
  struct timespec now;
  put_string(w, "");
  if (w->is_of_handles)
    put_types_of_handles(w);
  else
    put_types(w);
  clock_gettime(CLOCK_REALTIME, &now);
  put_number(w, PROFILE_TIME, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
  put_number(w, PROFILE_DURATION, (uint64_t)tm_agent_now_ms() * 1000000u);
  w->text_thread = put_string(w, "thread");
  w->text_age = put_string(w, "age");
  w->text_epoch = put_string(w, "epoch");
  w->text_kind = put_string(w, "kind");
  w->text_state = put_string(w, "state");
  w->text_seconds = put_string(w, "seconds");
  w->text_live = put_string(w, "live");
  w->text_address = put_string(w, "address");
  w->text_bytes = put_string(w, "bytes");
  w->text_kinds[TM_AGENT_MALLOC] = put_string(w, "malloc");
  w->text_kinds[TM_AGENT_MMAP] = put_string(w, "mmap");
  w->text_kinds[TM_AGENT_FD] = put_string(w, "fd");
  for (uint32_t i = 0; w->is_of_handles && i < TM_AGENT_HANDLE_KINDS; i++)
    w->text_kinds[FIRST_HANDLE + i] = put_string(w, tm_handle_kind_text(i));
  if (w->is_of_handles) w->text_unseen = put_string(w, "unseen");
  if (atomic_load(&tm_counters.dropped))
    put_number(w, PROFILE_COMMENT, put_string(w, "the tables were full: blocks are missing"));
}

bool tm_pprof_write(const tm_agent_filter_ask *ask, tm_agent_sink *sink) {
  writer *w = tm_pages_get(sizeof *w);
  if (!w) return false;
  w->sink = sink;
  w->ask = ask;
  w->ok = true;
  w->is_full = tm_agent_sees_all();
  w->is_of_handles = ask->kinds == 1u << TM_AGENT_FD;
  tm_images_update();
  put_head(w);
  for (uint32_t i = 0; i < tm_images_count(); i++) // the program itself is the first mapping
    if (tm_image_at(i)->is_main && tm_image_at(i)->is_here) put_image(w, i);
  if (w->is_of_handles) {
    tm_handles_list(add_handle, w);
    put_sums(w);
  } else {
    put_live(w);
    put_stacks(w);
  }
  bool ok = w->ok;
  tm_pages_drop(w->location_rows, w->location_room * sizeof *w->location_rows);
  tm_pages_drop(w->sum_rows, w->sum_room * sizeof *w->sum_rows);
  tm_pages_drop(w, sizeof *w);
  return ok;
}
