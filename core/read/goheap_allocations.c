// The heap profile inside a Go heap dump: a record per allocation stack with how many objects of
// which size were sampled there, and how many of those are gone. Numbers are those of the samples,
// one in runtime.MemProfileRate bytes, as the dump has them. Source: runtime/heapdump.go
// (dumpmemprof_callback).
#include "model/profile.h"
#include "read/goheap_impl.h"

enum { FRAMES_MAX = 256 };

typedef struct maker {
  tm_ctx *ctx;
  const goheap *h;
  tm_profile *p;
  tm_idmap functions; // name and file -> function
  tm_idmap locations; // function and line -> location
} maker;

static bool read_text(wire *w, goheap_bytes *out) {
  uint64_t size;
  if (!wire_varint(w, &size) || size > (uint64_t)(w->end - w->at)) return false;
  *out = (goheap_bytes){w->at, (size_t)size};
  w->at += size;
  return true;
}

static tm_status location_of(maker *m, const goheap_bytes *name, const goheap_bytes *file,
                             uint64_t line, uint32_t *out) {
  tm_function f = {.id = m->p->functions.count + 1};
  TM_TRY(tm_profile_intern(m->ctx, m->p, (const char *)name->data, name->size, &f.name));
  TM_TRY(tm_profile_intern(m->ctx, m->p, (const char *)file->data, file->size, &f.file));
  f.system_name = f.name;
  uint64_t key = (uint64_t)f.name << 32 | f.file;
  uint32_t at = tm_idmap_get(&m->functions, key);
  if (at == TM_IDMAP_NONE) {
    at = (uint32_t)m->p->functions.count;
    TM_TRY(tm_vec_push(m->ctx, &m->p->functions, f));
    TM_TRY(tm_idmap_put(m->ctx, &m->functions, key, at));
  }
  key = (uint64_t)at << 32 | (uint32_t)line;
  *out = tm_idmap_get(&m->locations, key);
  if (*out != TM_IDMAP_NONE) return TM_OK;
  uint32_t first = (uint32_t)m->p->lines.count;
  tm_location l = {.id = m->p->locations.count + 1,
                   .mapping = TM_PROFILE_NONE,
                   .line_begin = first,
                   .line_end = first + 1};
  TM_TRY(tm_vec_push(m->ctx, &m->p->lines, (tm_line){.function = at, .line = (uint32_t)line}));
  *out = (uint32_t)m->p->locations.count;
  TM_TRY(tm_vec_push(m->ctx, &m->p->locations, l));
  return tm_idmap_put(m->ctx, &m->locations, key, *out);
}

// The record was read once already, so it is whole.
static tm_status add_bucket(maker *m, uint64_t at) {
  wire w = wire_of(m->h->data + at + 1, m->h->size - at - 1);
  uint64_t bucket, size, count, line, allocs = 0, frees = 0;
  goheap_bytes name, file;
  if (!wire_varint(&w, &bucket) || !wire_varint(&w, &size) || !wire_varint(&w, &count))
    return TM_OK;
  for (uint64_t i = 0; i < count; i++) {
    uint32_t location;
    if (!read_text(&w, &name) || !read_text(&w, &file) || !wire_varint(&w, &line)) return TM_OK;
    if (i >= FRAMES_MAX) continue;
    TM_TRY(location_of(m, &name, &file, line, &location));
    TM_TRY(tm_vec_push(m->ctx, &m->p->stack, location));
  }
  if (!wire_varint(&w, &allocs) || !wire_varint(&w, &frees)) allocs = frees = 0;
  uint64_t live = allocs > frees ? allocs - frees : 0;
  int64_t values[4] = {(int64_t)allocs, (int64_t)(allocs * size), (int64_t)live,
                       (int64_t)(live * size)};
  return tm_profile_end_sample(m->ctx, m->p, values);
}

static tm_status fill(maker *m) {
  TM_TRY(tm_profile_add_type(m->ctx, m->p, "alloc_objects", "count"));
  TM_TRY(tm_profile_add_type(m->ctx, m->p, "alloc_space", "bytes"));
  TM_TRY(tm_profile_add_type(m->ctx, m->p, "inuse_objects", "count"));
  TM_TRY(tm_profile_add_type(m->ctx, m->p, "inuse_space", "bytes"));
  TM_TRY(tm_profile_intern(m->ctx, m->p, "inuse_space", 11, &m->p->default_type));
  m->p->period_type = m->p->types.items[3];
  m->p->period = 1;
  for (size_t i = 0; i < m->h->buckets.count; i++) TM_TRY(add_bucket(m, m->h->buckets.items[i]));
  return TM_OK;
}

tm_status goheap_allocations(tm_ctx *ctx, const tm_graph *graph, tm_profile **out) {
  maker m = {.ctx = ctx, .h = graph->kept};
  TM_TRY(tm_profile_new(ctx, &m.p));
  tm_status status = fill(&m);
  tm_idmap_free(ctx, &m.functions);
  tm_idmap_free(ctx, &m.locations);
  if (status != TM_OK)
    tm_profile_free(m.p);
  else
    *out = m.p;
  return status;
}
