// Writes a trace anew without the batches that Go 1.25 and 1.26 wrote twice, and with those that
// came after the end of their generation among their like. Batches are indexed, sorted by
// generation (in the order of the file within one), and copied. Cost: one pass and one copy.
#include "base/hash.h"
#include "read/gotrace.h"
#include "read/gotrace_impl.h"

#include <stdlib.h>

typedef struct piece {
  const uint8_t *at, *end;
  uint64_t generation;
  go_batch batch;
} piece;

typedef struct repair {
  go_reader r; // for its problem only
  TM_VEC(piece) pieces;
  tm_idmap index;
  uint64_t newest; // generation
  tm_gotrace_repair done;
} repair;

static int by_generation(const void *a, const void *b) {
  const piece *x = a, *y = b;
  if (x->generation != y->generation) return x->generation < y->generation ? -1 : 1;
  return x->at < y->at ? -1 : x->at > y->at;
}

static tm_status take(repair *w, const go_header *h, const uint8_t *end) {
  tm_ctx *ctx = w->r.ctx;
  uint64_t key = tm_hash_add(go_batch_key(&h->batch), h->generation);
  uint32_t slot = tm_idmap_get(&w->index, key);
  if (slot != TM_IDMAP_NONE && w->pieces.items[slot].generation == h->generation
      && go_same_batch(&w->pieces.items[slot].batch, &h->batch)) {
    w->done.dropped_count++;
    return TM_OK;
  }
  if (w->pieces.count >= TM_IDMAP_NONE)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "the trace has too many batches");
  TM_TRY(tm_idmap_put(ctx, &w->index, key, (uint32_t)w->pieces.count));
  if (h->generation < w->newest)
    w->done.moved_count++;
  else
    w->newest = h->generation;
  w->done.batch_count++;
  return tm_vec_push(ctx, &w->pieces, (piece){h->at, end, h->generation, h->batch});
}

static tm_status index_batches(repair *w) {
  const uint8_t *at = w->r.start + GO_HEADER_BYTES;
  while (at < w->r.end) {
    if (*at == EV_END && w->r.version >= 26) {
      at++;
      continue;
    }
    go_header h;
    if (!go_next_batch(&w->r, &at, &h)) {
      w->done.cut_bytes = (uint64_t)(w->r.end - at);
      break;
    }
    TM_TRY(take(w, &h, at));
    if (w->pieces.count % 1024 == 0) TM_TRY(tm_ctx_tick(w->r.ctx, (uint64_t)(at - w->r.start)));
  }
  if (w->pieces.count)
    qsort(w->pieces.items, w->pieces.count, sizeof *w->pieces.items, by_generation);
  return TM_OK;
}

static tm_status write_all(const repair *w, tm_bytes *out) {
  static const uint8_t mark = EV_END;
  tm_ctx *ctx = w->r.ctx;
  TM_TRY(tm_bytes_append(ctx, out, w->r.start, GO_HEADER_BYTES));
  for (size_t i = 0; i < w->pieces.count; i++) {
    const piece *p = &w->pieces.items[i];
    TM_TRY(tm_bytes_append(ctx, out, p->at, (size_t)(p->end - p->at)));
    bool last = i + 1 == w->pieces.count || p[1].generation != p->generation;
    if (last && w->r.version >= 26) TM_TRY(tm_bytes_append(ctx, out, &mark, 1));
  }
  return TM_OK;
}

tm_status tm_gotrace_repaired(tm_ctx *ctx, const tm_source *src, tm_bytes *out,
                              tm_gotrace_repair *done) {
  repair w = {.r = {.ctx = ctx, .start = src->data, .end = src->data + src->size}};
  w.r.version = go_version_of(src->data, src->size);
  if (!w.r.version) return tm_fail(ctx, TM_E_FORMAT, 0, "no header of a Go execution trace");
  if (w.r.version < 22 || w.r.version > GO_NEWEST)
    return tm_fail(ctx, TM_E_UNSUPPORTED, 0,
                   "traces of format 1.%u are not written twice, or not known: 1.22 to 1.%d can "
                   "be repaired",
                   (unsigned)w.r.version, (int)GO_NEWEST);
  tm_status status = index_batches(&w);
  if (status == TM_OK) status = write_all(&w, out);
  *done = w.done;
  tm_vec_free(ctx, &w.pieces);
  tm_idmap_free(ctx, &w.index);
  return status;
}
