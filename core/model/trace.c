// Stacks are interned by open addressing over a hash of their frames; all frames stand in one
// array. Cost: O(frames) per new or known stack.
#include "model/trace.h"

#include "base/hash.h"

tm_status tm_trace_new(tm_ctx *ctx, tm_trace **out) {
  tm_trace *t = tm_calloc(ctx, 1, sizeof *t);
  if (!t) return TM_E_NOMEM;
  t->alloc = ctx->alloc;
  tm_strtab_init(&t->strings, &ctx->alloc, 0);
  uint32_t id;
  tm_status status = tm_trace_intern(ctx, t, "", 0, &id);
  if (status == TM_OK) status = tm_trace_add_stack(ctx, t, NULL, 0, &id);
  if (status != TM_OK) {
    tm_trace_free(t);
    return status;
  }
  *out = t;
  return TM_OK;
}

void tm_trace_free(tm_trace *t) {
  if (!t) return;
  tm_ctx ctx = {.alloc = t->alloc};
  tm_strtab_fini(&t->strings);
  tm_vec_free(&ctx, &t->frames);
  tm_vec_free(&ctx, &t->stacks);
  tm_free(&ctx, t->stack_slots, t->stack_slot_count * sizeof *t->stack_slots);
  tm_vec_free(&ctx, &t->goroutines);
  tm_vec_free(&ctx, &t->piles);
  for (size_t i = 0; i < TM_COUNTER_COUNT; i++) tm_vec_free(&ctx, &t->counters[i]);
  tm_vec_free(&ctx, &t->regions);
  tm_vec_free(&ctx, &t->tasks);
  tm_vec_free(&ctx, &t->logs);
  tm_vec_free(&ctx, &t->waits);
  tm_free(&ctx, t, sizeof *t);
}

tm_status tm_trace_intern(tm_ctx *ctx, tm_trace *t, const void *text, size_t size,
                          uint32_t *out_id) {
  return tm_strtab_intern(ctx, &t->strings, text, size, out_id);
}

static uint64_t hash_frames(const tm_trace_frame *frames, size_t count) {
  uint64_t h = tm_hash_mix(count + 1);
  for (size_t i = 0; i < count; i++) {
    h = tm_hash_add(h, ((uint64_t)frames[i].function << 32) | frames[i].file);
    h = tm_hash_add(h, frames[i].line);
  }
  return h;
}

static bool same_frames(const tm_trace *t, const tm_trace_stack *s, const tm_trace_frame *frames,
                        size_t count) {
  if (s->end - s->begin != count) return false;
  for (size_t i = 0; i < count; i++) {
    const tm_trace_frame *f = &t->frames.items[s->begin + i];
    if (f->function != frames[i].function || f->file != frames[i].file || f->line != frames[i].line)
      return false;
  }
  return true;
}

static tm_status grow_slots(tm_ctx *ctx, tm_trace *t) {
  size_t count = t->stack_slot_count ? t->stack_slot_count * 2 : 256;
  uint32_t *slots = tm_calloc(ctx, count, sizeof *slots);
  if (!slots) return TM_E_NOMEM;
  for (size_t id = 0; id < t->stacks.count; id++) {
    size_t at = t->stacks.items[id].hash & (count - 1);
    while (slots[at]) at = (at + 1) & (count - 1);
    slots[at] = (uint32_t)id + 1;
  }
  tm_free(ctx, t->stack_slots, t->stack_slot_count * sizeof *slots);
  t->stack_slots = slots;
  t->stack_slot_count = count;
  return TM_OK;
}

tm_status tm_trace_add_stack(tm_ctx *ctx, tm_trace *t, const tm_trace_frame *frames, size_t count,
                             uint32_t *out_id) {
  if ((t->stacks.count + 1) * 2 > t->stack_slot_count) TM_TRY(grow_slots(ctx, t));
  uint64_t hash = hash_frames(frames, count);
  size_t at = hash & (t->stack_slot_count - 1);
  for (; t->stack_slots[at]; at = (at + 1) & (t->stack_slot_count - 1)) {
    const tm_trace_stack *s = &t->stacks.items[t->stack_slots[at] - 1];
    if (s->hash != hash || !same_frames(t, s, frames, count)) continue;
    *out_id = t->stack_slots[at] - 1;
    return TM_OK;
  }
  if (t->frames.count + count > INT32_MAX || t->stacks.count >= INT32_MAX)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "the trace has more than 2^31 frames");
  tm_trace_stack s = {(uint32_t)t->frames.count, (uint32_t)(t->frames.count + count), hash};
  for (size_t i = 0; i < count; i++) TM_TRY(tm_vec_push(ctx, &t->frames, frames[i]));
  TM_TRY(tm_vec_push(ctx, &t->stacks, s));
  *out_id = (uint32_t)t->stacks.count - 1;
  t->stack_slots[at] = *out_id + 1;
  return TM_OK;
}
