// The heap profile inside a Go heap dump: a record per allocation stack with how many objects of
// which size were sampled there, and how many of those are gone. Numbers are those of the samples,
// one in runtime.MemProfileRate bytes, as the dump has them. Source: runtime/heapdump.go
// (dumpmemprof_callback).
#include "read/frames.h"
#include "read/goheap_impl.h"

enum { FRAMES_MAX = 256 };

typedef struct maker {
  tm_ctx *ctx;
  const goheap *h;
  tm_profile *p;
  tm_frames frames;
} maker;

static bool read_text(wire *w, tm_text *out) {
  uint64_t size;
  if (!wire_varint(w, &size) || size > (uint64_t)(w->end - w->at)) return false;
  *out = (tm_text){(const char *)w->at, (size_t)size};
  w->at += size;
  return true;
}

// The record was read once already, so it is whole.
static tm_status add_bucket(maker *m, uint64_t at) {
  wire w = wire_of(m->h->data + at + 1, m->h->size - at - 1);
  uint64_t bucket, size, count, line, allocs = 0, frees = 0;
  tm_text name, file;
  if (!wire_varint(&w, &bucket) || !wire_varint(&w, &size) || !wire_varint(&w, &count))
    return TM_OK;
  for (uint64_t i = 0; i < count; i++) {
    uint32_t location;
    if (!read_text(&w, &name) || !read_text(&w, &file) || !wire_varint(&w, &line)) return TM_OK;
    if (i >= FRAMES_MAX) continue;
    TM_TRY(tm_frames_location(m->ctx, &m->frames, m->p, name, file, (int64_t)line, &location));
    TM_TRY(tm_vec_push(m->ctx, &m->p->stack, location));
  }
  if (!wire_varint(&w, &allocs) || !wire_varint(&w, &frees)) allocs = frees = 0;
  uint64_t live = allocs > frees ? allocs - frees : 0;
  int64_t values[4] = {(int64_t)allocs, (int64_t)(allocs * size), (int64_t)live,
                       (int64_t)(live * size)};
  return tm_profile_end_sample(m->ctx, m->p, values);
}

static tm_status fill(maker *m) {
  TM_TRY(tm_frames_allocation_types(m->ctx, m->p));
  for (size_t i = 0; i < m->h->buckets.count; i++) TM_TRY(add_bucket(m, m->h->buckets.items[i]));
  return TM_OK;
}

tm_status goheap_allocations(tm_ctx *ctx, const tm_graph *graph, tm_profile **out) {
  maker m = {.ctx = ctx, .h = graph->kept};
  TM_TRY(tm_profile_new(ctx, &m.p));
  tm_status status = fill(&m);
  tm_frames_fini(ctx, &m.frames);
  if (status != TM_OK)
    tm_profile_free(m.p);
  else
    *out = m.p;
  return status;
}
