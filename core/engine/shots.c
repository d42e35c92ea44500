// A target's book is a short list of rows, one per metric, each an array of retained profiles in
// order of time. Profiles outlive their row while a reader holds them.
#include "engine/shots.h"

#include "base/vec.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct kept {
  tm_shot shot; // first: a tm_shot is a kept
  tm_profile *owned;
  atomic_int references;
} kept;

typedef struct book_row {
  char *metric;
  const tm_shot *shots[TM_SHOTS_MAX];
  size_t count;
  uint64_t ordinal;
} book_row;

struct tm_shot_book {
  tm_ctx ctx; // of malloc: the book outlives its engine with its target
  TM_VEC(book_row *) rows;
};

const tm_shot *tm_shot_retain(const tm_shot *shot) {
  kept *k = (kept *)(uintptr_t)shot;
  atomic_fetch_add_explicit(&k->references, 1, memory_order_relaxed);
  return shot;
}

void tm_shot_release(const tm_shot *shot) {
  kept *k = (kept *)(uintptr_t)shot;
  if (!k || atomic_fetch_sub_explicit(&k->references, 1, memory_order_acq_rel) != 1) return;
  tm_profile_free(k->owned);
  free(k);
}

bool tm_shot_metric(const char *metric) {
  return strncmp(metric, "pprof.", 6) == 0 || strncmp(metric, "go.goroutines", 13) == 0
         || strncmp(metric, "dump.", 5) == 0 || strncmp(metric, "trace.", 6) == 0
         || strncmp(metric, "agent.handles", 13) == 0;
}

// ---- the book ----

static book_row *find_row(const tm_target *target, const char *metric) {
  const tm_shot_book *book = tm_target_get_slot(target, TM_SLOT_SHOTS);
  for (size_t i = 0; book && i < book->rows.count; i++)
    if (strcmp(book->rows.items[i]->metric, metric) == 0) return book->rows.items[i];
  return NULL;
}

static book_row *make_row(tm_target *target, const char *metric) {
  tm_shot_book *book = tm_target_get_slot(target, TM_SLOT_SHOTS);
  if (!book) {
    book = calloc(1, sizeof *book);
    if (!book) return NULL;
    tm_ctx_init(&book->ctx, NULL);
    tm_target_set_slot(target, TM_SLOT_SHOTS, book);
  }
  book_row *row = calloc(1, sizeof *row);
  if (row) row->metric = strdup(metric);
  if (row && row->metric && tm_vec_push(&book->ctx, &book->rows, row) == TM_OK) return row;
  if (row) free(row->metric);
  free(row);
  return NULL;
}

void tm_shot_book_free(tm_shot_book *book) {
  if (!book) return;
  for (size_t i = 0; i < book->rows.count; i++) {
    book_row *row = book->rows.items[i];
    for (size_t k = 0; k < row->count; k++) tm_shot_release(row->shots[k]);
    free(row->metric);
    free(row);
  }
  tm_vec_free(&book->ctx, &book->rows);
  tm_ctx_fini(&book->ctx);
  free(book);
}

// ---- data in ----

typedef struct longest {
  const char *metric;
  size_t keep;
} longest;

static void add_keep(void *ud, const tm_demand *demand) {
  longest *l = ud;
  if (strcmp(demand->metric, l->metric) == 0 && demand->keep > l->keep) l->keep = demand->keep;
}

static size_t wanted_keep(const tm_target *target, const char *metric) {
  longest l = {metric, 0};
  tm_target_each_demand(target, add_keep, &l);
  if (!l.keep) l.keep = 6;
  return l.keep < TM_SHOTS_MAX ? l.keep : TM_SHOTS_MAX;
}

// Drops the oldest until one fits under `keep`. They are freed by the caller, outside the lock.
static size_t make_place(book_row *row, size_t keep, const tm_shot *dropped[TM_SHOTS_MAX]) {
  size_t n = row->count + 1 > keep ? row->count + 1 - keep : 0;
  memcpy(dropped, row->shots, n * sizeof *dropped);
  memmove(row->shots, row->shots + n, (row->count - n) * sizeof *dropped);
  row->count -= n;
  return n;
}

tm_status tm_engine_feed_snapshot(tm_engine *engine, tm_target *target, const char *metric,
                                  int64_t time_ns, tm_profile *profile) {
  const tm_shot *dropped[TM_SHOTS_MAX];
  size_t keep = wanted_keep(target, metric), dropped_count = 0;
  kept *k = calloc(1, sizeof *k);
  bool late = false;
  tm_engine_lock(engine);
  book_row *row = find_row(target, metric);
  if (k && !row) row = make_row(target, metric);
  if (k && row) {
    late = row->count && row->shots[row->count - 1]->time_ns >= time_ns;
    k->shot = (tm_shot){profile, time_ns, row->ordinal + !late};
    k->owned = profile;
    atomic_init(&k->references, 1);
    if (!late) {
      dropped_count = make_place(row, keep, dropped);
      row->shots[row->count++] = &k->shot;
      row->ordinal = k->shot.ordinal;
    }
  }
  tm_engine_unlock(engine);
  for (size_t i = 0; i < dropped_count; i++) tm_shot_release(dropped[i]);
  if (!k || !row || late) {
    tm_profile_free(profile);
    free(k);
    return late ? TM_OK
                : tm_fail(tm_engine_ctx(engine), TM_E_NOMEM, TM_NO_OFFSET,
                          "out of memory for a snapshot of %s", metric);
  }
  tm_engine_tell_snapshot(engine, target, metric, &k->shot);
  return TM_OK;
}

// ---- data out ----

size_t tm_target_shots(tm_engine *engine, const tm_target *target, const char *metric,
                       const tm_shot **out, size_t room) {
  tm_engine_lock(engine);
  const book_row *row = find_row(target, metric);
  size_t n = row ? row->count : 0;
  if (n > room) n = room;
  for (size_t i = 0; i < n; i++) out[i] = tm_shot_retain(row->shots[row->count - n + i]);
  tm_engine_unlock(engine);
  return n;
}

uint64_t tm_target_shot_ordinal(tm_engine *engine, const tm_target *target, const char *metric) {
  tm_engine_lock(engine);
  const book_row *row = find_row(target, metric);
  uint64_t ordinal = row ? row->ordinal : 0;
  tm_engine_unlock(engine);
  return ordinal;
}
