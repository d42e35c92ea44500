// Go execution traces. Version 1 (Go 1.11 to 1.21) is read by gotrace1.c. Version 2: a header, then
// batches of one generation after the other. A generation's batches are indexed first, because its
// strings and stacks stand at its end, then its events are decoded (gotrace_events.c); what is kept
// between generations is the goroutines alive. Batches that the runtime wrote twice (a bug of
// Go 1.25 and 1.26) are found by thread, time and contents. Cost: two passes over the headers, one
// over the events. Source: the Go project's internal/trace (reader) and internal/trace/tracev2
// (layout).
#include "read/gotrace.h"

#include "base/hash.h"
#include "read/gotrace_order.h"

#include <stdio.h>
#include <string.h>

void go_problem(go_reader *r, const uint8_t *at, const char *what) {
  if (r->problem.status != TM_OK) return;
  r->problem.status = TM_E_FORMAT;
  r->problem.offset_bytes = r->base_bytes + (uint64_t)(at - r->start);
  snprintf(r->problem.message, sizeof r->problem.message,
           "%s at byte %llu (generation %llu); what came before it was read", what,
           (unsigned long long)r->problem.offset_bytes, (unsigned long long)r->generation);
}

// ---- batches ----

static bool has_events(const go_header *h) {
  if (h->experimental || !h->batch.size) return false;
  uint8_t kind = h->batch.data[0];
  return kind != EV_STACKS && kind != EV_STRINGS && kind != EV_SAMPLES && kind != EV_FREQUENCY
         && kind != EV_SYNC;
}

bool go_next_batch(go_reader *r, const uint8_t **at, go_header *out) {
  const uint8_t *p = *at;
  uint64_t size;
  *out = (go_header){.at = p, .experimental = *p == EV_EXPERIMENT};
  if (*p != EV_BATCH && !out->experimental) {
    go_problem(r, p, "no batch begins here: the trace is damaged");
    return false;
  }
  p += out->experimental ? 2 : 1;
  bool whole = p <= r->end && go_varint(&p, r->end, &out->generation)
               && go_varint(&p, r->end, &out->batch.m) && go_varint(&p, r->end, &out->batch.time)
               && go_varint(&p, r->end, &size);
  if (!whole) {
    go_problem(r, out->at, "the trace ends within a batch's header");
    return false;
  }
  if (size > GO_MAX_BATCH_BYTES || !out->generation) {
    go_problem(r, out->at,
               "a batch is larger than 64 KiB or of no generation: the trace is damaged");
    return false;
  }
  if (size > (uint64_t)(r->end - p)) {
    r->whole_generation = out->generation != r->generation;
    go_problem(r, out->at, "the trace ends within a batch");
    return false;
  }
  out->batch.data = p;
  out->batch.size = (uint32_t)size;
  out->batch.events = has_events(out);
  *at = p + size;
  return true;
}

uint64_t go_batch_key(const go_batch *b) {
  uint64_t h = tm_hash_add(tm_hash_mix(b->m), b->time);
  size_t head = b->size < 64 ? b->size : 64;
  return tm_hash_add(h, tm_hash_bytes(b->data, head) ^ b->size);
}

bool go_same_batch(const go_batch *a, const go_batch *b) {
  return a->m == b->m && a->time == b->time && a->size == b->size
         && memcmp(a->data, b->data, a->size) == 0;
}

// Whether this generation (or the one before) has the batch already; remembers it if not.
static tm_status is_repeat(go_reader *r, const go_header *h, bool late, bool *repeat) {
  uint64_t key = go_batch_key(&h->batch);
  const tm_idmap *map = late ? &r->earlier_index : &r->batch_index;
  uint32_t slot = tm_idmap_get(map, key);
  const go_batch *items = late ? r->earlier.items : r->batches.items;
  bool forgotten = late && r->streams; // then its key alone must do
  *repeat = slot != TM_IDMAP_NONE && (forgotten || go_same_batch(&items[slot], &h->batch));
  if (*repeat || late) return TM_OK;
  if (r->batches.count >= TM_IDMAP_NONE)
    return tm_fail(r->ctx, TM_E_LIMIT, TM_NO_OFFSET, "a generation has too many batches");
  TM_TRY(tm_idmap_put(r->ctx, &r->batch_index, key, (uint32_t)r->batches.count));
  return tm_vec_push(r->ctx, &r->batches, h->batch);
}

static tm_status take_batch(go_reader *r, const go_header *h) {
  bool repeat;
  TM_TRY(is_repeat(r, h, false, &repeat));
  r->t->batch_count++;
  r->t->duplicate_count += repeat;
  const go_batch *b = &h->batch;
  if (repeat || h->experimental || !b->size || !r->decode) return TM_OK;
  const uint8_t *end = b->data + b->size;
  switch (b->data[0]) {
  case EV_STRINGS:
    return go_read_strings(r, b->data + 1, end);
  case EV_STACKS:
    return go_read_stacks(r, b->data + 1, end);
  case EV_FREQUENCY:
  case EV_SYNC:
    go_read_sync(r, b->time, b->data, end);
    return TM_OK;
  default:
    return TM_OK;
  }
}

// ---- generations ----

static void begin_zero(go_reader *r) {
  uint64_t first = UINT64_MAX;
  if (r->has_zero) return;
  for (size_t i = 0; i < r->batches.count; i++)
    if (r->batches.items[i].time < first) first = r->batches.items[i].time;
  r->zero_ns = go_time(r, first);
  r->has_zero = true;
  r->t->clock_at_ns -= r->has_clock ? r->zero_ns : 0;
}

static tm_status end_generation(go_reader *r, const uint8_t *at) {
  if (!r->batches.count) return TM_OK;
  if (r->order && r->version >= 26 && r->problem.status != TM_OK) return TM_OK; // not whole
  r->t->generation_count++;
  if (r->order) {
    if (!r->gave_frequency || (r->version >= 25 && !r->gave_clock))
      go_problem(r, at, "a generation does not say how its clock ran");
    TM_TRY(go_order_generation(r));
    go_forget_tables(r);
  } else if (r->decode) {
    if (!r->has_frequency) go_problem(r, at, "a generation does not say how fast its clock ran");
    begin_zero(r);
    TM_TRY(go_read_events(r));
    go_forget_tables(r);
  }
  r->gave_frequency = r->gave_clock = false;
  // The batches become those of the generation before.
  tm_vec_free(r->ctx, &r->earlier);
  tm_idmap_free(r->ctx, &r->earlier_index);
  memcpy(&r->earlier, &r->batches, sizeof r->earlier);
  memset(&r->batches, 0, sizeof r->batches);
  r->earlier_index = r->batch_index;
  r->batch_index = (tm_idmap){0};
  return TM_OK;
}

// A batch that is not of the current generation: the next one begins, or it came late.
static tm_status turn(go_reader *r, const go_header *h, bool *skip) {
  *skip = false;
  if (h->generation < r->generation) {
    TM_TRY(is_repeat(r, h, true, skip));
    r->t->duplicate_count += *skip;
    r->t->batch_count += *skip;
    if (!*skip) go_problem(r, h->at, "a batch came after the end of its generation");
    return TM_OK;
  }
  if (h->generation != r->generation + 1)
    go_problem(r, h->at, "a generation is missing: the trace is out of order");
  else if (r->version >= 26 && r->batches.count)
    go_problem(r, h->at, "a generation has no end");
  if (r->problem.status != TM_OK) return TM_OK;
  TM_TRY(end_generation(r, h->at));
  r->generation = h->generation;
  return TM_OK;
}

tm_status go_read_batches(go_reader *r, const uint8_t *at) {
  while (at < r->end && r->problem.status == TM_OK) {
    if (*at == EV_END && r->version >= 26) {
      TM_TRY(end_generation(r, at));
      at++;
      continue;
    }
    go_header h;
    bool skip = false;
    if (!go_next_batch(r, &at, &h)) break;
    if (!r->generation) r->generation = h.generation;
    if (h.generation != r->generation) TM_TRY(turn(r, &h, &skip));
    if (r->problem.status != TM_OK) break;
    if (!skip) TM_TRY(take_batch(r, &h));
    if (r->batches.count % 16 == 0) TM_TRY(tm_ctx_tick(r->ctx, (uint64_t)(at - r->start)));
  }
  if (r->version >= 26 && r->batches.count && !r->streams)
    go_problem(r, r->end, "the trace ends within a generation");
  return end_generation(r, r->end);
}

// ---- the reader ----

static void free_trace(void *model) {
  tm_trace_free(model);
}

void go_fini(go_reader *r) {
  tm_ctx *ctx = r->ctx;
  go_forget_tables(r);
  tm_vec_free(ctx, &r->batches);
  tm_vec_free(ctx, &r->earlier);
  tm_vec_free(ctx, &r->strings);
  tm_vec_free(ctx, &r->stacks);
  tm_vec_free(ctx, &r->goroutines);
  tm_vec_free(ctx, &r->touched);
  tm_vec_free(ctx, &r->free);
  tm_vec_free(ctx, &r->counted);
  tm_vec_free(ctx, &r->threads);
  tm_vec_free(ctx, &r->retries);
  tm_vec_free(ctx, &r->marks);
  tm_vec_free(ctx, &r->runs);
  tm_vec_free(ctx, &r->open_regions);
  tm_vec_free(ctx, &r->string_index.small);
  tm_vec_free(ctx, &r->stack_index.small);
  tm_idmap *maps[] = {&r->batch_index,  &r->earlier_index, &r->goroutine_index,
                      &r->thread_index, &r->task_index,    &r->pile_index};
  for (size_t i = 0; i < TM_COUNT(maps); i++) tm_idmap_free(ctx, maps[i]);
}

// The NN of "go 1.NN trace", or 0.
uint32_t go_version_of(const uint8_t *head, size_t size) {
  if (size < GO_HEADER_BYTES || memcmp(head, "go 1.", 5) != 0) return 0;
  uint32_t version = 0;
  size_t i = 5;
  for (; i < 8 && head[i] >= '0' && head[i] <= '9'; i++) version = version * 10 + head[i] - '0';
  static const char tail[] = " trace\0\0\0\0";
  return memcmp(head + i, tail, GO_HEADER_BYTES - i < 11 ? GO_HEADER_BYTES - i : 11) == 0 ? version
                                                                                          : 0;
}

static bool is_version_1(uint32_t version) {
  return version == 11 || version == 19 || version == 21;
}

static tm_status refuse_old(go_reader *r) {
  return tm_fail(r->ctx, TM_E_UNSUPPORTED, 0,
                 "this trace is of format 1.%u, which only Go 1.10 and older wrote; formats from "
                 "1.11 on can be read. Record it again with a newer Go",
                 (unsigned)r->version);
}

static tm_status read_all(go_reader *r) {
  r->version = go_version_of(r->start, (size_t)(r->end - r->start));
  if (!r->version) return tm_fail(r->ctx, TM_E_FORMAT, 0, "no header of a Go execution trace");
  r->t->format_version = r->version;
  if (r->version < 22 && !is_version_1(r->version)) return refuse_old(r);
  r->decode = r->version <= GO_NEWEST;
  r->ns_per_unit = 64; // what Linux uses; replaced by the first generation that says it
  go_set_args(r);
  TM_TRY(r->version < 22 ? go1_read(r) : go_read_batches(r, r->start + GO_HEADER_BYTES));
  TM_TRY(go_finish_goroutines(r));
  TM_TRY(go_finish_users(r));
  if (!r->decode)
    return tm_fail(
        r->ctx, TM_E_UNSUPPORTED, 0,
        "this trace is of format 1.%u, newer than this build knows (1.%d); counted only: "
        "%llu generations, %llu batches, %llu bytes",
        (unsigned)r->version, GO_NEWEST, (unsigned long long)r->t->generation_count,
        (unsigned long long)r->t->batch_count, (unsigned long long)(r->end - r->start));
  if (r->problem.status == TM_OK) return TM_OK;
  return tm_fail(r->ctx, r->problem.status, r->problem.offset_bytes, "%s", r->problem.message);
}

tm_status tm_gotrace_check(tm_ctx *ctx, const tm_source *src, tm_gotrace_verdict *out,
                           tm_trace **waits) {
  *out = (tm_gotrace_verdict){0};
  go_order order = {.collects = waits != NULL};
  go_reader r = {.ctx = ctx, .start = src->data, .end = src->data + src->size, .order = &order};
  TM_TRY(tm_trace_new(ctx, &r.t));
  tm_status status = read_all(&r);
  if (status == TM_OK && !r.t->generation_count) {
    go_problem(&r, r.end, "the trace has no generation");
    status = tm_fail(ctx, r.problem.status, r.problem.offset_bytes, "%s", r.problem.message);
  }
  out->valid = status == TM_OK;
  out->format_version = r.t->format_version;
  out->generation_count = r.t->generation_count;
  out->batch_count = r.t->batch_count;
  out->duplicate_count = r.t->duplicate_count;
  out->event_count = r.t->event_count;
  bool old = r.version < 22;
  out->created_count = old ? r.t->created_count : order.created_count;
  out->ended_count = old ? r.t->ended_count : order.ended_count;
  out->waited_count = order.waited_count;
  for (size_t i = 0; old && i < r.t->goroutines.count; i++)
    out->state_count[r.t->goroutines.items[i].state]++;
  for (size_t i = 0; i < order.gs.count; i++)
    if (order.gs.items[i].id != NO_ID) out->state_count[order.gs.items[i].status]++;
  go_fini(&r);
  go_order_fini(ctx, &order);
  if (waits && (status == TM_OK || status == TM_E_FORMAT) && out->format_version) {
    r.t->duration_ns = r.last_ns;
    *waits = r.t;
  } else {
    tm_trace_free(r.t);
  }
  if (status == TM_E_FORMAT && out->format_version) { // a verdict, not a failure
    out->problem = ctx->error;
    tm_ctx_clear(ctx);
    return TM_OK;
  }
  return status;
}

static tm_status gotrace_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  go_reader r = {.ctx = ctx, .start = src->data, .end = src->data + src->size};
  TM_TRY(tm_trace_new(ctx, &r.t));
  tm_status status = read_all(&r);
  go_fini(&r);
  if (status != TM_OK && !r.t->batch_count) { // nothing was read: no model
    tm_trace_free(r.t);
    return status;
  }
  out->model = r.t;
  out->free_model = free_trace;
  out->partial = status != TM_OK;
  if (out->partial) out->problem = ctx->error;
  return status;
}

static unsigned gotrace_probe(const uint8_t *head, size_t head_bytes) {
  return go_version_of(head, head_bytes) ? 120 : 0;
}

const tm_reader tm_reader_gotrace = {.name = "gotrace",
                                     .title = "Go execution trace",
                                     .kind = TM_KIND_TRACE,
                                     .takes_part = true,
                                     .probe = gotrace_probe,
                                     .read = gotrace_read};
