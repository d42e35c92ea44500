// While memory comes in, words of roots are counted at once and words between blocks are kept as
// edges. Then the edges are sorted by their source (counting), and a walk in breadth from the
// blocks that roots refer to finds all that is held; the others are lost. An edge of a block that
// is not held counts for nothing.
#include "analyze/references.h"

#include "base/vec.h"

enum { HITS = 256, RANKS = 16 };
#define IS_START UINT32_C(0x80000000)

typedef struct edge {
  uint32_t from, to; // to: IS_START or not
} edge;

struct tm_references {
  const tm_block *blocks;
  size_t count;
  bool is_complete;
  tm_pointers *pointers;
  tm_block_reference *rows;
  uint8_t *orders; // the best root of a block: is_interior << 4 | rank; UINT8_MAX = none
  TM_VEC(edge) edges;
  uint32_t last; // the block that stood at or before the last word: words come in order
};

tm_status tm_references_new(tm_ctx *ctx, const tm_block *blocks, size_t count, bool is_complete,
                            tm_references **out) {
  tm_references *r = tm_calloc(ctx, 1, sizeof *r);
  if (!r) return TM_E_NOMEM;
  *r = (tm_references){.blocks = blocks, .count = count, .is_complete = is_complete};
  r->rows = tm_calloc(ctx, count + 1, sizeof *r->rows);
  r->orders = r->rows ? tm_calloc(ctx, count + 1, 1) : NULL;
  tm_status status = r->orders ? tm_pointers_new(ctx, blocks, count, &r->pointers) : TM_E_NOMEM;
  if (status != TM_OK) {
    tm_references_free(ctx, r);
    return status;
  }
  for (size_t i = 0; i < count; i++) {
    r->rows[i].from_block = TM_BLOCK_NONE;
    r->orders[i] = UINT8_MAX;
  }
  *out = r;
  return TM_OK;
}

void tm_references_free(tm_ctx *ctx, tm_references *r) {
  if (!r) return;
  tm_pointers_free(ctx, r->pointers);
  tm_free(ctx, r->rows, (r->count + 1) * sizeof *r->rows);
  tm_free(ctx, r->orders, r->count + 1);
  tm_vec_free(ctx, &r->edges);
  tm_free(ctx, r, sizeof *r);
}

// ---- adding ----

static void count_word(tm_block_reference *row, bool is_start) {
  uint32_t *count = is_start ? &row->start_count : &row->interior_count;
  if (*count < UINT32_MAX) ++*count;
}

static bool is_book(const tm_memory_part *part, const tm_block *block, uint64_t word) {
  return part->is_books && word % 16 == 0 && block->start + block->bytes - word <= 8;
}

static bool is_in(const tm_block *block, uint64_t address) {
  return address >= block->start && address - block->start < block->bytes;
}

// The block in which a word stands.
static uint32_t block_at(tm_references *r, uint64_t at) {
  uint32_t next = r->last + 1;
  if (r->last < r->count && is_in(&r->blocks[r->last], at)) return r->last;
  if (next < r->count && is_in(&r->blocks[next], at)) return r->last = next;
  uint32_t found = tm_pointers_find(r->pointers, at);
  if (found == TM_BLOCK_NONE || !is_in(&r->blocks[found], at)) return TM_BLOCK_NONE;
  return r->last = found;
}

static tm_status take(tm_ctx *ctx, tm_references *r, const tm_memory_part *part, uint64_t at,
                      uint64_t word, uint32_t block) {
  bool is_start = word == r->blocks[block].start;
  uint32_t from = block_at(r, at);
  tm_block_reference *row = &r->rows[block];
  if (from == block) return TM_OK;
  if (from != TM_BLOCK_NONE)
    return tm_vec_push(ctx, &r->edges, (edge){from, block | (is_start ? IS_START : 0)});
  if (!is_start && is_book(part, &r->blocks[block], word)) return TM_OK;
  if (part->is_heap && r->is_complete) {
    if (row->free_count < UINT32_MAX) row->free_count++;
    return TM_OK;
  }
  count_word(row, is_start);
  uint8_t order = (uint8_t)((is_start ? 0 : RANKS) | (part->rank & (RANKS - 1)));
  if (order < r->orders[block]) {
    r->orders[block] = order;
    row->root_region = part->region;
    row->root_at = at;
  }
  return TM_OK;
}

tm_status tm_references_add(tm_ctx *ctx, tm_references *r, const tm_memory_part *part, uint64_t at,
                            const uint64_t *words, uint32_t count) {
  tm_pointer_hit hits[HITS];
  for (uint32_t from = 0; from < count;) {
    size_t found = tm_pointers_scan(r->pointers, words, count, &from, hits, HITS);
    for (size_t i = 0; i < found; i++) {
      uint32_t word = hits[i].word, block = hits[i].block;
      TM_TRY(take(ctx, r, part, at + (uint64_t)word * sizeof *words, words[word], block));
    }
  }
  return TM_OK;
}

// ---- settling ----

typedef struct walk {
  size_t *ends;                // of a block's edges in `to`, after sorting
  uint32_t *to, *queue;        // the edges by source; blocks that are held, in order
  size_t queued, count, edges; // sizes of what was allocated
  bool *is_held;
} walk;

static void walk_fini(tm_ctx *ctx, walk *w) {
  tm_free(ctx, w->ends, (w->count + 1) * sizeof *w->ends);
  tm_free(ctx, w->to, (w->edges + 1) * sizeof *w->to);
  tm_free(ctx, w->queue, (w->count + 1) * sizeof *w->queue);
  tm_free(ctx, w->is_held, (w->count + 1) * sizeof *w->is_held);
}

static tm_status walk_init(tm_ctx *ctx, const tm_references *r, walk *w) {
  *w = (walk){.count = r->count, .edges = r->edges.count};
  w->ends = tm_calloc(ctx, w->count + 1, sizeof *w->ends);
  w->to = w->ends ? tm_alloc(ctx, (w->edges + 1) * sizeof *w->to) : NULL;
  w->queue = w->to ? tm_alloc(ctx, (w->count + 1) * sizeof *w->queue) : NULL;
  w->is_held = w->queue ? tm_calloc(ctx, w->count + 1, sizeof *w->is_held) : NULL;
  return w->is_held ? TM_OK : TM_E_NOMEM;
}

static void sort_edges(const tm_references *r, walk *w) {
  for (size_t i = 0; i < w->edges; i++) w->ends[r->edges.items[i].from + 1]++;
  for (size_t i = 1; i <= w->count; i++) w->ends[i] += w->ends[i - 1];
  // ends[b] is where block b begins; after the filling it is where b ends.
  for (size_t i = 0; i < w->edges; i++) {
    const edge *e = &r->edges.items[i];
    w->to[w->ends[e->from]++] = e->to;
  }
}

static void hold(walk *w, uint32_t block) {
  if (w->is_held[block]) return;
  w->is_held[block] = true;
  w->queue[w->queued++] = block;
}

static void follow(tm_references *r, walk *w, uint32_t block) {
  for (size_t i = block ? w->ends[block - 1] : 0; i < w->ends[block]; i++) {
    uint32_t to = w->to[i] & ~IS_START;
    count_word(&r->rows[to], w->to[i] & IS_START);
    if (w->is_held[to]) continue;
    r->rows[to].from_block = block;
    r->rows[to].root_region = r->rows[block].root_region;
    r->rows[to].root_at = r->rows[block].root_at;
    hold(w, to);
  }
}

static void judge(tm_references *r, const walk *w) {
  for (size_t i = 0; i < r->count; i++) {
    tm_block_reference *row = &r->rows[i];
    if (w->is_held[i])
      row->state = row->start_count ? TM_BLOCK_REFERENCED : TM_BLOCK_INTERIOR;
    else
      row->state = TM_BLOCK_LOST;
  }
  for (size_t i = 0; i < r->edges.count; i++) {
    const edge *e = &r->edges.items[i];
    uint32_t to = e->to & ~IS_START;
    if (w->is_held[to]) continue;
    r->rows[to].state = TM_BLOCK_LOST_TOO;
    r->rows[to].from_block = e->from;
  }
}

tm_status tm_references_settle(tm_ctx *ctx, tm_references *r, const tm_block_reference **out_rows) {
  walk w;
  tm_status status = walk_init(ctx, r, &w);
  if (status == TM_OK) {
    sort_edges(r, &w);
    for (uint32_t order = 0; order < 2 * RANKS; order++)
      for (uint32_t i = 0; i < r->count; i++)
        if (r->orders[i] == order) hold(&w, i);
    for (size_t at = 0; at < w.queued; at++) follow(r, &w, w.queue[at]);
    judge(r, &w);
    *out_rows = r->rows;
  }
  walk_fini(ctx, &w);
  return status;
}
