// Go execution traces, version 1: one flat sequence of records. Batches belong to processors;
// strings and stacks may stand anywhere and are global to the file. The first pass finds the
// batches, the strings and the stacks, the second one (gotrace1_merge.c) puts the events of all
// processors in order. Memory: the index of strings and stacks, and the goroutines alive.
// Source: the Go project's internal/trace/internal/tracev1.
#include "read/gotrace1.h"

enum { MOST_FRAMES = 1000, MOST_TEXT_BYTES = 1000000 };

// ---- records ----

// How many numbers a record has, its time included; 0 = as many as there are. Strings and batches
// are read apart.
static const uint8_t counts[V1_COUNT] = {[V1_BATCH] = 2,         [V1_FREQUENCY] = 1,
                                         [V1_PROCS] = 3,         [V1_PROC_START] = 2,
                                         [V1_PROC_STOP] = 1,     [V1_GC_START] = 3,
                                         [V1_GC_DONE] = 1,       [V1_STW_START] = 2,
                                         [V1_STW_DONE] = 1,      [V1_SWEEP_START] = 2,
                                         [V1_SWEEP_DONE] = 3,    [V1_GO_CREATE] = 4,
                                         [V1_GO_START] = 3,      [V1_GO_END] = 1,
                                         [V1_GO_STOP] = 2,       [V1_GO_SCHED] = 2,
                                         [V1_GO_PREEMPT] = 2,    [V1_GO_SLEEP] = 2,
                                         [V1_GO_BLOCK] = 2,      [V1_GO_UNBLOCK] = 4,
                                         [V1_BLOCK_SEND] = 2,    [V1_BLOCK_RECEIVE] = 2,
                                         [V1_BLOCK_SELECT] = 2,  [V1_BLOCK_SYNC] = 2,
                                         [V1_BLOCK_COND] = 2,    [V1_BLOCK_NET] = 2,
                                         [V1_SYSCALL] = 2,       [V1_SYSCALL_EXIT] = 4,
                                         [V1_SYSCALL_BLOCK] = 1, [V1_WAITING] = 2,
                                         [V1_IN_SYSCALL] = 2,    [V1_HEAP_ALLOC] = 2,
                                         [V1_HEAP_GOAL] = 2,     [V1_TIMER_GOROUTINE] = 1,
                                         [V1_FUTILE_WAKEUP] = 1, [V1_START_LOCAL] = 2,
                                         [V1_UNBLOCK_LOCAL] = 3, [V1_SYSCALL_EXIT_LOCAL] = 3,
                                         [V1_START_LABEL] = 4,   [V1_BLOCK_GC] = 2,
                                         [V1_ASSIST_START] = 2,  [V1_ASSIST_DONE] = 1,
                                         [V1_TASK_CREATE] = 5,   [V1_TASK_END] = 3,
                                         [V1_REGION] = 5,        [V1_LOG] = 4,
                                         [V1_CPU_SAMPLE] = 5};

static bool take_text(const uint8_t **at, const uint8_t *end, go1_record *out) {
  uint64_t size;
  if (!go_varint(at, end, &size) || size > MOST_TEXT_BYTES || size > (uint64_t)(end - *at))
    return false;
  out->data = *at;
  out->end = *at += size;
  return true;
}

// Numbers up to `end`, or so many as `count` says. What does not fit is walked over.
static bool take_numbers(const uint8_t **at, const uint8_t *end, uint32_t count, go1_record *out) {
  const uint8_t *p = *at;
  uint64_t value;
  out->count = 0;
  while (out->count < count && p < end) {
    if (*p < 0x80)
      value = *p++;
    else if (!go_varint(&p, end, &value))
      return false;
    if (out->type == V1_STACK && out->count == 2) { // frames: walked over, not kept
      out->data = *at;
      out->end = end;
    }
    if (out->count < V1_MOST_ARGS) out->args[out->count] = value;
    out->count++;
    *at = p;
  }
  return count == UINT32_MAX || out->count == count;
}

static bool take_parts(const uint8_t **at, const uint8_t *end, uint32_t narg, go1_record *out) {
  uint64_t size;
  if (out->type == V1_STRING) {
    if (!go_varint(at, end, &out->args[0])) return false;
    out->count = 1;
    return take_text(at, end, out);
  }
  if (narg < 3) return take_numbers(at, end, narg + 1, out);
  if (!go_varint(at, end, &size) || size > (uint64_t)(end - *at)) return false;
  const uint8_t *stop = *at + size;
  if (!take_numbers(at, stop, UINT32_MAX, out) || *at != stop) return false;
  return out->type != V1_LOG || take_text(at, end, out);
}

bool go1_take(go_reader *r, const uint8_t **at, const uint8_t *end, go1_record *out) {
  const uint8_t *start = *at;
  out->type = *start & 0x3f;
  out->data = out->end = NULL;
  if (!out->type || out->type >= V1_COUNT || (out->type == V1_CPU_SAMPLE && r->version < 19)) {
    go_problem(r, start, "a record is of no known type");
    return false;
  }
  *at = start + 1;
  if (!take_parts(at, end, *start >> 6, out)) {
    go_problem(r, start, "a record is cut or damaged");
    return false;
  }
  if (counts[out->type] && out->count != counts[out->type]) {
    go_problem(r, start, "a record has too few or too many numbers");
    return false;
  }
  return true;
}

// ---- the first pass ----

// Walks over an event, whose numbers only the second pass looks at. False for records of other
// kinds, and for those cut short.
static bool skip_event(const uint8_t **at, const uint8_t *end) {
  static const bool others[64] = {
      [0] = true,         [V1_BATCH] = true, [V1_FREQUENCY] = true,  [V1_STACK] = true,
      [V1_STRING] = true, [V1_LOG] = true,   [V1_CPU_SAMPLE] = true, [V1_COUNT] = true};
  const uint8_t *p = *at;
  uint8_t type = *p & 0x3f, narg = *p >> 6;
  uint64_t size;
  if (type > V1_COUNT || others[type]) return false;
  p++;
  if (narg == 3) {
    if (!go_varint(&p, end, &size) || size > (uint64_t)(end - p)) return false;
    *at = p + size;
    return true;
  }
  for (uint32_t left = narg + 1U; left; p++) {
    if (p == end) return false;
    left -= *p < 0x80;
  }
  *at = p;
  return true;
}

static tm_status add_batch(go1_reader *v, const go1_record *record, const uint8_t *at) {
  tm_ctx *ctx = v->r->ctx;
  uint32_t proc = tm_idmap_get(&v->proc_index, record->args[0]);
  if (v->batches.count >= UINT32_MAX)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "the trace has too many batches");
  uint32_t index = (uint32_t)v->batches.count;
  if (proc == TM_IDMAP_NONE) {
    go1_proc p = {.id = record->args[0], .first = index, .last = index};
    proc = (uint32_t)v->procs.count;
    TM_TRY(tm_vec_push(ctx, &v->procs, p));
    TM_TRY(tm_idmap_put(ctx, &v->proc_index, p.id, proc));
  } else {
    v->batches.items[v->procs.items[proc].last].next = index;
    v->procs.items[proc].last = index;
  }
  go1_batch b = {record->args[1], at, at, UINT32_MAX};
  v->r->t->batch_count++;
  return tm_vec_push(ctx, &v->batches, b);
}

static tm_status add_stack(go1_reader *v, const uint8_t *at, const go1_record *record) {
  uint64_t frames = record->count > 1 ? record->args[1] : 0;
  if (record->count < 2 || frames > MOST_FRAMES || record->count != 2 + 4 * frames) {
    go_problem(v->r, at, "a stack is damaged");
    return TM_OK;
  }
  if (!frames) return TM_OK;
  return go_add_stack(v->r, record->args[0], record->data, (uint32_t)(record->end - record->data));
}

static tm_status note_record(go1_reader *v, const uint8_t *at, const uint8_t *behind,
                             const go1_record *record) {
  go_reader *r = v->r;
  switch (record->type) {
  case V1_BATCH:
    return add_batch(v, record, behind);
  case V1_FREQUENCY:
    go_set_frequency(r, at, record->args[0]);
    return TM_OK;
  case V1_STRING:
    return go_add_string(r, record->args[0], record->data, (uint32_t)(record->end - record->data));
  case V1_STACK:
    return add_stack(v, at, record);
  case V1_CPU_SAMPLE:
    v->sample_count++;
    return TM_OK;
  default:
    if (!v->batches.count) go_problem(r, at, "an event stands before the first batch");
    return TM_OK;
  }
}

static tm_status index_records(go1_reader *v) {
  go_reader *r = v->r;
  const uint8_t *at = r->start + GO_HEADER_BYTES;
  go1_record record;
  uint64_t count = 0;
  while (at < r->end && r->problem.status == TM_OK) {
    const uint8_t *start = at;
    if (!v->batches.count || !skip_event(&at, r->end)) {
      if (!go1_take(r, &at, r->end, &record)) break;
      TM_TRY(note_record(v, start, at, &record));
    }
    if (v->batches.count) v->batches.items[v->batches.count - 1].end = at;
    if (++count % 65536 == 0) TM_TRY(tm_ctx_tick(r->ctx, (uint64_t)(at - r->start) / 2));
  }
  return TM_OK;
}

// ---- the reader ----

static tm_status read_all(go1_reader *v) {
  go_reader *r = v->r;
  r->generation = 1;
  TM_TRY(index_records(v));
  if (!v->batches.count) return TM_OK;
  r->t->generation_count = 1;
  if (!r->has_frequency) {
    go_problem(r, r->end, "the trace does not say how fast its clock ran: times are in its ticks");
    r->ns_per_unit = 1;
  }
  tm_error before = r->problem;
  r->problem.status = TM_OK;
  TM_TRY(go1_prepare(v));
  TM_TRY(go1_merge(v));
  if (before.status != TM_OK) r->problem = before;
  r->t->event_count += v->sample_count;
  TM_TRY(go_close_generation(r));
  go_forget_tables(r);
  return TM_OK;
}

tm_status go1_read(go_reader *r) {
  go1_reader v = {.r = r};
  tm_status status = read_all(&v);
  tm_vec_free(r->ctx, &v.batches);
  tm_vec_free(r->ctx, &v.procs);
  tm_vec_free(r->ctx, &v.heap);
  tm_vec_free(r->ctx, &v.waiting);
  tm_idmap_free(r->ctx, &v.proc_index);
  return status;
}
