// A trace while it is written. Bytes are kept until they make up a whole generation, which shows by
// the end mark (format 26) or by the first batch of the next one; it is then read as in a file and
// its bytes are given up. Cost: one look at each batch's header more than a file.
// Source: the Go project's internal/trace/tracev2 (layout of the batches).
#include "base/bytes.h"
#include "read/gotrace.h"
#include "read/gotrace_impl.h"

#include <string.h>

enum { MOST_BYTES = 1 << 30 };

struct tm_gotrace_stream {
  tm_allocator alloc;
  go_reader r;
  tm_bytes bytes;      // from the first byte that was not read yet
  size_t seen;         // of these, up to the last batch that is known to be whole
  uint64_t generation; // of the batches seen, 0 = none yet
  tm_error error;      // the first one; nothing is read any more
};

tm_status tm_gotrace_stream_new(tm_ctx *ctx, tm_gotrace_stream **out) {
  tm_gotrace_stream *s = tm_calloc(ctx, 1, sizeof *s);
  if (!s) return TM_E_NOMEM;
  s->alloc = ctx->alloc;
  s->bytes.cap_bytes = MOST_BYTES;
  s->r.streams = true;
  if (tm_trace_new(ctx, &s->r.t) != TM_OK) {
    tm_free(ctx, s, sizeof *s);
    return TM_E_NOMEM;
  }
  *out = s;
  return TM_OK;
}

void tm_gotrace_stream_free(tm_gotrace_stream *s) {
  if (!s) return;
  tm_ctx ctx = {.alloc = s->alloc};
  s->r.ctx = &ctx;
  go_fini(&s->r);
  tm_trace_free(s->r.t);
  tm_bytes_free(&ctx, &s->bytes);
  tm_free(&ctx, s, sizeof *s);
}

// ---- header ----

static tm_status take_header(tm_ctx *ctx, tm_gotrace_stream *s) {
  go_reader *r = &s->r;
  r->version = go_version_of(s->bytes.data, s->bytes.size);
  r->t->format_version = r->version;
  if (!r->version) return tm_fail(ctx, TM_E_FORMAT, 0, "no header of a Go execution trace");
  if (r->version < 22)
    return tm_fail(ctx, TM_E_UNSUPPORTED, 0,
                   "traces of Go 1.21 and older name their functions only at the end: wait until "
                   "this one is written");
  if (r->version > GO_NEWEST)
    return tm_fail(ctx, TM_E_UNSUPPORTED, 0,
                   "this trace is of format 1.%u, newer than this build knows",
                   (unsigned)r->version);
  r->decode = true;
  r->ns_per_unit = 64;
  go_set_args(r);
  s->seen = GO_HEADER_BYTES;
  return TM_OK;
}

// ---- generations ----

// The batch at *at. False when it is not whole yet; one that is damaged counts as whole, since the
// reader says what is wrong with it. An end mark is a batch of generation 0.
static bool see_batch(const tm_gotrace_stream *s, size_t *at, uint64_t *generation) {
  const uint8_t *start = s->bytes.data + *at, *end = s->bytes.data + s->bytes.size, *p = start;
  uint64_t parts[4] = {0};
  *generation = 0;
  if (p == end) return false;
  if (*p == EV_END && s->r.version >= 26) {
    (*at)++;
    return true;
  }
  bool batch = *p == EV_BATCH || *p == EV_EXPERIMENT;
  p += *p == EV_EXPERIMENT ? 2 : 1;
  for (int i = 0; batch && i < 4; i++)
    if (p >= end || !go_varint(&p, end, &parts[i])) {
      if (p >= end || end - p < 10) return false;
      batch = false;
    }
  *generation = parts[0];
  if (batch && parts[3] <= GO_MAX_BATCH_BYTES) {
    if (parts[3] > (uint64_t)(end - p)) return false;
    *at = (size_t)(p - s->bytes.data) + (size_t)parts[3];
    return true;
  }
  *generation = UINT64_MAX; // damaged
  *at = s->bytes.size;
  return true;
}

// Reads the first `size` bytes, which end a generation, and gives them up.
static tm_status read_generation(tm_ctx *ctx, tm_gotrace_stream *s, size_t size) {
  go_reader *r = &s->r;
  size_t skip = r->base_bytes ? 0 : GO_HEADER_BYTES;
  r->ctx = ctx;
  r->start = s->bytes.data;
  r->end = s->bytes.data + size;
  TM_TRY(go_read_batches(r, r->start + skip));
  tm_vec_free(ctx, &r->earlier);
  if (r->problem.status != TM_OK)
    return tm_fail(ctx, r->problem.status, r->problem.offset_bytes, "%s", r->problem.message);
  memmove(s->bytes.data, s->bytes.data + size, s->bytes.size - size);
  s->bytes.size -= size;
  r->base_bytes += size;
  s->seen = 0;
  return TM_OK;
}

static tm_status read_whole(tm_ctx *ctx, tm_gotrace_stream *s) {
  for (;;) {
    size_t at = s->seen;
    uint64_t generation;
    if (!see_batch(s, &at, &generation)) return TM_OK;
    if (generation == UINT64_MAX) return read_generation(ctx, s, s->bytes.size);
    if (!generation) { // an end mark
      TM_TRY(read_generation(ctx, s, at));
      s->generation = 0;
      continue;
    }
    if (s->generation && generation > s->generation) {
      TM_TRY(read_generation(ctx, s, s->seen)); // this batch is the next one's
      s->generation = 0;
      continue;
    }
    if (!s->generation) s->generation = generation;
    s->seen = at;
  }
}

static tm_status keep_error(const tm_ctx *ctx, tm_gotrace_stream *s, tm_status status) {
  if (status != TM_OK) s->error = ctx->error;
  return status;
}

static tm_status failed_before(tm_ctx *ctx, const tm_gotrace_stream *s) {
  if (s->error.status == TM_OK) return TM_OK;
  return tm_fail(ctx, s->error.status, s->error.offset_bytes, "%s", s->error.message);
}

tm_status tm_gotrace_stream_feed(tm_ctx *ctx, tm_gotrace_stream *s, const void *data, size_t size) {
  TM_TRY(failed_before(ctx, s));
  tm_status status = tm_bytes_append(ctx, &s->bytes, data, size);
  if (status == TM_OK && !s->r.version) {
    if (s->bytes.size < GO_HEADER_BYTES) return TM_OK;
    status = take_header(ctx, s);
  }
  if (status == TM_OK) status = read_whole(ctx, s);
  return keep_error(ctx, s, status);
}

tm_status tm_gotrace_stream_end(tm_ctx *ctx, tm_gotrace_stream *s) {
  TM_TRY(failed_before(ctx, s));
  uint64_t left = s->r.base_bytes + s->bytes.size;
  if (!s->r.version) return tm_fail(ctx, TM_E_FORMAT, left, "the trace ends within its header");
  if (s->bytes.size && s->r.version < 26) { // the end of the file ends the generation
    tm_status status = read_generation(ctx, s, s->seen);
    if (status != TM_OK) return keep_error(ctx, s, status);
  }
  if (!s->bytes.size || (s->r.base_bytes == 0 && s->bytes.size == GO_HEADER_BYTES)) return TM_OK;
  return keep_error(ctx, s, tm_fail(ctx, TM_E_FORMAT, left, "the trace ends within a generation"));
}

tm_status tm_gotrace_stream_trace(tm_ctx *ctx, tm_gotrace_stream *s, const tm_trace **out) {
  s->r.ctx = ctx;
  TM_TRY(go_finish_goroutines(&s->r));
  *out = s->r.t;
  return TM_OK;
}
