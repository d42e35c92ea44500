// The allocation stacks of a V8 heap snapshot that was taken while allocations were recorded
// ("trace_tree"): a call tree whose nodes tell how many objects were allocated there, ever since
// recording began. What of them is alive is counted from the snapshot's own objects, which name
// their call. Source: v8/src/profiler/allocation-tracker.cc.
#include "read/frames.h"
#include "read/v8heap_impl.h"

enum { FRAMES_MAX = 128 }; // V8 records 64; a hostile tree may be as deep as it is long

typedef struct maker {
  tm_ctx *ctx;
  const v8heap *h;
  tm_profile *p;
  tm_frames frames;
  uint64_t *live; // by call: objects, and bytes behind them
} maker;

static void count_live(maker *m) {
  const v8heap *h = m->h;
  for (size_t node = 0; node < h->trace.count; node++) {
    if (!h->trace.items[node]) continue;
    uint32_t call = tm_idmap_get(&h->call_of_trace, h->trace.items[node]);
    if (call >= h->calls.count) continue;
    m->live[2 * (size_t)call]++;
    m->live[2 * (size_t)call + 1] += v8heap_raw_size(h, (uint32_t)node);
  }
}

static tm_status push_frame(maker *m, const v8heap_function *f) {
  char name[NAME_ROOM], file[NAME_ROOM];
  uint32_t location;
  tm_text function = {name, v8heap_decode(m->h, f->name, name, sizeof name)};
  tm_text script = {file, v8heap_decode(m->h, f->file, file, sizeof file)};
  if (!function.size) function = (tm_text){"(anonymous)", 11};
  TM_TRY(tm_frames_location(m->ctx, &m->frames, m->p, function, script, f->line, &location));
  return tm_vec_push(m->ctx, &m->p->stack, location);
}

static tm_status add_call(maker *m, uint32_t call) {
  const v8heap *h = m->h;
  const uint64_t *live = &m->live[2 * (size_t)call];
  const v8heap_call *c = &h->calls.items[call];
  if (!c->count && !c->bytes && !live[0]) return TM_OK;
  int64_t values[4] = {(int64_t)(c->count & INT64_MAX), (int64_t)(c->bytes & INT64_MAX),
                       (int64_t)live[0], (int64_t)live[1]};
  for (int i = 0; i < FRAMES_MAX && c->parent != TM_NODE_NONE; i++) { // the outermost is "(root)"
    if (c->function < h->functions.count) TM_TRY(push_frame(m, &h->functions.items[c->function]));
    c = &h->calls.items[c->parent];
  }
  return tm_profile_end_sample(m->ctx, m->p, values);
}

static tm_status fill(maker *m) {
  TM_TRY(tm_frames_allocation_types(m->ctx, m->p));
  count_live(m);
  for (size_t i = 0; i < m->h->calls.count; i++) TM_TRY(add_call(m, (uint32_t)i));
  return TM_OK;
}

tm_status v8heap_allocations(tm_ctx *ctx, const tm_graph *graph, tm_profile **out) {
  maker m = {.ctx = ctx, .h = graph->kept};
  size_t bytes = m.h->calls.count * 2 * sizeof *m.live;
  *out = NULL;
  if (!m.h->calls.count) return TM_OK; // nothing was recorded
  m.live = tm_calloc(ctx, m.h->calls.count * 2, sizeof *m.live);
  if (!m.live) return TM_E_NOMEM;
  tm_status status = tm_profile_new(ctx, &m.p);
  if (status == TM_OK) status = fill(&m);
  tm_frames_fini(ctx, &m.frames);
  tm_free(ctx, m.live, bytes);
  if (status != TM_OK)
    tm_profile_free(m.p);
  else
    *out = m.p;
  return status;
}
