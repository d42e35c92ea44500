// Strings, stacks and clock of one generation. The batches are only indexed; a string or stack is
// interned when an event that is kept names it, so that the work is bounded by what is answered.
// Source: the Go project's internal/trace/tracev2 (layout of the batches).
#include "read/gotrace_impl.h"

#include <string.h>

enum {
  MAX_STRING_BYTES = 1 << 16,
  STRICT_STRING_BYTES = 1024, // what the runtime cuts them to
  MAX_FRAMES = 128,
  SMALL_IDS = 1 << 18
};

static tm_status ids_put(tm_ctx *ctx, go_ids *ids, uint64_t raw, uint32_t slot) {
  if (raw >= SMALL_IDS) return tm_idmap_put(ctx, &ids->others, raw, slot);
  if (raw >= ids->small.count) {
    size_t more = (size_t)raw + 1 - ids->small.count;
    TM_TRY(tm_vec_reserve(ctx, &ids->small, more));
    memset(ids->small.items + ids->small.count, 0xff, more * sizeof *ids->small.items);
    ids->small.count += more;
  }
  ids->small.items[raw] = slot;
  return TM_OK;
}

// Notes a new id of one of the tables. A repeated id keeps its first meaning; the strict mode does
// not allow it. `at`: where it stands.
static tm_status add_entry(go_reader *r, bool string, uint64_t id, const uint8_t *data,
                           uint32_t size, const uint8_t *at) {
  go_ids *ids = string ? &r->string_index : &r->stack_index;
  size_t slot = string ? r->strings.count : r->stacks.count;
  go_entry entry = {data, size, UINT32_MAX, UINT32_MAX};
  if (go_ids_get(ids, id) != TM_IDMAP_NONE) {
    if (r->order) go_problem(r, at, "a generation has two strings or stacks of one id");
    return TM_OK;
  }
  if (slot >= TM_IDMAP_NONE) return tm_fail(r->ctx, TM_E_LIMIT, TM_NO_OFFSET, "too many strings");
  TM_TRY(ids_put(r->ctx, ids, id, (uint32_t)slot));
  return string ? tm_vec_push(r->ctx, &r->strings, entry) : tm_vec_push(r->ctx, &r->stacks, entry);
}

tm_status go_add_string(go_reader *r, uint64_t id, const uint8_t *data, uint32_t size) {
  return add_entry(r, true, id, data, size, data);
}

tm_status go_add_stack(go_reader *r, uint64_t id, const uint8_t *data, uint32_t size) {
  return add_entry(r, false, id, data, size, data);
}

tm_status go_read_strings(go_reader *r, const uint8_t *at, const uint8_t *end) {
  while (at < end) {
    const uint8_t *entry = at;
    uint64_t id, size;
    bool whole = *at++ == EV_STRING && go_varint(&at, end, &id) && go_varint(&at, end, &size);
    if (!whole || size > (r->order ? STRICT_STRING_BYTES : MAX_STRING_BYTES)
        || size > (uint64_t)(end - at)) {
      go_problem(r, entry, "a string is damaged");
      return TM_OK;
    }
    TM_TRY(add_entry(r, true, id, at, (uint32_t)size, entry));
    at += size;
  }
  return TM_OK;
}

tm_status go_read_stacks(go_reader *r, const uint8_t *at, const uint8_t *end) {
  while (at < end) {
    const uint8_t *entry = at;
    uint64_t id, count, part;
    bool whole = *at++ == EV_STACK && go_varint(&at, end, &id) && go_varint(&at, end, &count)
                 && count <= MAX_FRAMES;
    const uint8_t *frames = at;
    for (uint64_t i = 0; whole && i < count * 4; i++) whole = go_varint(&at, end, &part);
    if (!whole) {
      go_problem(r, entry, "a stack is damaged");
      return TM_OK;
    }
    TM_TRY(add_entry(r, false, id, frames, (uint32_t)(at - frames), entry));
  }
  return TM_OK;
}

void go_set_frequency(go_reader *r, const uint8_t *at, uint64_t frequency) {
  if (!frequency) {
    go_problem(r, at, "the clock has a frequency of 0");
    return;
  }
  r->ns_per_unit = 1e9 / (double)frequency;
  r->whole_ns = 1000000000 % frequency == 0 ? 1000000000 / frequency : 0;
  r->most_units = r->whole_ns ? UINT64_C(4000000000000000000) / r->whole_ns : 0;
  r->has_frequency = r->gave_frequency = true;
}

void go_read_sync(go_reader *r, uint64_t batch_time, const uint8_t *at, const uint8_t *end) {
  if (*at == EV_SYNC) at++;
  uint64_t snapshot[4] = {0};
  bool has_snapshot = false;
  while (at < end) {
    const uint8_t *entry = at;
    uint64_t value;
    uint8_t type = *at++;
    bool whole = type == EV_FREQUENCY ? go_varint(&at, end, &value) : type == EV_CLOCK;
    if (whole && type == EV_FREQUENCY) go_set_frequency(r, entry, value);
    for (int i = 0; whole && type == EV_CLOCK && i < 4; i++)
      whole = go_varint(&at, end, &snapshot[i]);
    if (!whole) {
      go_problem(r, entry, "the clock is damaged");
      return;
    }
    has_snapshot = has_snapshot || type == EV_CLOCK;
  }
  r->gave_clock = r->gave_clock || has_snapshot;
  if (!has_snapshot || r->has_clock || !r->has_frequency) return;
  if (snapshot[1] > INT64_MAX || snapshot[2] > INT64_MAX / 1000000000 - 1
      || snapshot[3] >= 1000000000)
    return; // a clock that cannot be; the trace stands without it
  r->has_clock = true;
  r->t->clock_at_ns = go_time(r, batch_time + snapshot[0]); // without the zero, which is taken off
  r->t->clock_monotonic_ns = (int64_t)snapshot[1];          // when the trace is done
  r->t->clock_unix_ns = (int64_t)(snapshot[2] * 1000000000 + snapshot[3]);
}

tm_status go_string(go_reader *r, uint64_t raw, uint32_t *out) {
  *out = 0;
  uint32_t slot = raw ? go_ids_get(&r->string_index, raw) : TM_IDMAP_NONE;
  if (slot == TM_IDMAP_NONE) return TM_OK;
  go_entry *e = &r->strings.items[slot];
  if (e->id == UINT32_MAX) TM_TRY(tm_trace_intern(r->ctx, r->t, e->data, e->size, &e->id));
  *out = e->id;
  return TM_OK;
}

tm_status go_stack(go_reader *r, uint64_t raw, uint32_t *out) {
  *out = 0;
  uint32_t slot = raw ? go_ids_get(&r->stack_index, raw) : TM_IDMAP_NONE;
  if (slot == TM_IDMAP_NONE) return TM_OK;
  go_entry *e = &r->stacks.items[slot];
  if (e->id == UINT32_MAX) {
    tm_trace_frame frames[MAX_FRAMES];
    size_t count = 0;
    const uint8_t *at = e->data, *end = at + e->size;
    while (at < end && count < MAX_FRAMES) {
      uint64_t part[4] = {0}; // pc, function, file, line; whole, since it was walked before
      for (int i = 0; i < 4; i++)
        if (!go_varint(&at, end, &part[i])) return TM_OK;
      tm_trace_frame *f = &frames[count++];
      TM_TRY(go_string(r, part[1], &f->function));
      TM_TRY(go_string(r, part[2], &f->file));
      f->line = part[3] < UINT32_MAX ? (uint32_t)part[3] : 0;
    }
    TM_TRY(tm_trace_add_stack(r->ctx, r->t, frames, count, &e->id));
  }
  *out = e->id;
  return TM_OK;
}

static uint32_t root_of(const tm_trace *t, uint32_t stack) {
  const tm_trace_stack *s = &t->stacks.items[stack];
  uint32_t at = s->end;
  while (at > s->begin + 1) {
    const char *name = tm_trace_text(t, t->frames.items[at - 1].function);
    if (strcmp(name, "runtime.goexit") != 0 && strcmp(name, "runtime.main") != 0) break;
    at--;
  }
  return at > s->begin ? t->frames.items[at - 1].function : 0;
}

tm_status go_entry_of(go_reader *r, uint64_t raw, uint32_t *out) {
  uint32_t slot = go_ids_get(&r->stack_index, raw), stack;
  *out = 0;
  if (!raw || slot == TM_IDMAP_NONE) return TM_OK;
  if (r->stacks.items[slot].entry == UINT32_MAX) {
    TM_TRY(go_stack(r, raw, &stack));
    r->stacks.items[slot].entry = root_of(r->t, stack);
  }
  *out = r->stacks.items[slot].entry;
  return TM_OK;
}

void go_forget_tables(go_reader *r) {
  r->strings.count = r->stacks.count = 0;
  r->string_index.small.count = r->stack_index.small.count = 0;
  tm_idmap_free(r->ctx, &r->string_index.others);
  tm_idmap_free(r->ctx, &r->stack_index.others);
}

void go_check_tables(go_reader *r) {
  for (size_t i = 0; i < r->stacks.count; i++) {
    const go_entry *e = &r->stacks.items[i];
    const uint8_t *at = e->data, *end = at + e->size;
    uint64_t part[4];
    while (at < end) {
      for (int k = 0; k < 4; k++)
        if (!go_varint(&at, end, &part[k])) return;
      for (int k = 1; k <= 2; k++)
        if (part[k] && go_ids_get(&r->string_index, part[k]) == TM_IDMAP_NONE) {
          go_problem(r, e->data, "a stack names a string that its generation does not have");
          return;
        }
    }
  }
}
