// Moves the tail into chunks of two hours, and deletes what is too old or too much. Folding decodes
// all rows of the tail, groups them by series, and continues the newest chunk of a series when it
// is of the same two hours; a chunk is decoded and packed again for that, ~50 us each, once in 10
// minutes.
#include "base/units.h"
#include "engine/history_db.h"
#include "model/chunk.h"

#include <stdlib.h>

#define SLOT_NS INT64_C(7200000000000)

enum { FOLD_SAMPLES_MAX = 4 * 1024 * 1024, CHUNK_MAX_BYTES = 64 * 1024 };

typedef struct fold_sample {
  int64_t series, time_ns;
  double value;
  uint64_t order;
} fold_sample;

typedef struct fold {
  tm_ctx *ctx;
  sqlite3 *sql;
  TM_VEC(fold_sample) samples;
  int rc;
} fold;

bool tm_history_tail_each(const void *data, size_t size, tm_history_tail_fn fn, void *ud) {
  tm_cursor c = tm_cursor_of(size ? data : "", size, 0);
  while (c.ok && tm_cursor_left(&c)) {
    int64_t series = (int64_t)tm_get_varint(&c);
    uint64_t bytes = tm_get_varint(&c);
    const uint8_t *p = bytes <= tm_cursor_left(&c) ? tm_get_bytes(&c, (size_t)bytes) : NULL;
    if (!c.ok || !p) return false;
    fn(ud, series, p, (size_t)bytes);
  }
  return true;
}

static void collect(void *ud, int64_t series, const void *bytes, size_t size) {
  fold *f = ud;
  tm_chunk_reader reader;
  fold_sample s = {.series = series};
  tm_chunk_reader_init(&reader, bytes, size);
  while (f->samples.count < FOLD_SAMPLES_MAX && tm_chunk_next(&reader, &s.time_ns, &s.value)) {
    s.order = f->samples.count;
    if (tm_vec_push(f->ctx, &f->samples, s) != TM_OK) {
      f->rc = SQLITE_NOMEM;
      return;
    }
  }
}

static int by_series(const void *a, const void *b) {
  const fold_sample *x = a, *y = b;
  if (x->series != y->series) return x->series < y->series ? -1 : 1;
  return x->order < y->order ? -1 : x->order > y->order;
}

static int read_tail(fold *f) {
  sqlite3_stmt *s = NULL;
  int rc = sqlite3_prepare_v2(f->sql, "SELECT data FROM tail ORDER BY id", -1, &s, NULL);
  if (rc == SQLITE_OK)
    while ((rc = sqlite3_step(s)) == SQLITE_ROW && f->rc == SQLITE_OK)
      tm_history_tail_each(sqlite3_column_blob(s, 0), (size_t)sqlite3_column_bytes(s, 0), collect,
                           f);
  sqlite3_finalize(s);
  if (rc != SQLITE_DONE && rc != SQLITE_ROW) return rc;
  if (f->samples.count > 1)
    qsort(f->samples.items, f->samples.count, sizeof *f->samples.items, by_series);
  return f->rc;
}

static int64_t slot_of(int64_t time_ns) {
  return time_ns / SLOT_NS;
}

// Decodes the newest chunk of the series into *chunk when it is of this slot; *out_row is 0
// otherwise.
static int load_newest(fold *f, int64_t series, int64_t slot, tm_chunk *chunk, int64_t *out_row) {
  sqlite3_stmt *s = NULL;
  int rc = sqlite3_prepare_v2(
      f->sql,
      "SELECT id, first_ns, data FROM chunk WHERE series = ?1 ORDER BY first_ns DESC LIMIT 1", -1,
      &s, NULL);
  if (rc != SQLITE_OK) return rc;
  *out_row = 0;
  sqlite3_bind_int64(s, 1, series);
  rc = sqlite3_step(s);
  if (rc == SQLITE_ROW && slot_of(sqlite3_column_int64(s, 1)) == slot
      && sqlite3_column_bytes(s, 2) < CHUNK_MAX_BYTES) {
    tm_chunk_reader reader;
    int64_t time_ns;
    double value;
    *out_row = sqlite3_column_int64(s, 0);
    const void *data = sqlite3_column_blob(s, 2);
    tm_chunk_reader_init(&reader, data, (size_t)sqlite3_column_bytes(s, 2));
    while (chunk->count < FOLD_SAMPLES_MAX && tm_chunk_next(&reader, &time_ns, &value))
      if (tm_chunk_append(f->ctx, chunk, time_ns, value) != TM_OK) rc = SQLITE_NOMEM;
  }
  sqlite3_finalize(s);
  return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int store(fold *f, int64_t series, const tm_chunk *chunk, int64_t row) {
  sqlite3_stmt *s = NULL;
  const char *text =
      row ? "UPDATE chunk SET first_ns = ?2, last_ns = ?3, count = ?4, data = ?5 WHERE id = ?6"
          : "INSERT INTO chunk(series, first_ns, last_ns, count, data) VALUES(?1, ?2, ?3, ?4, ?5)";
  int rc = sqlite3_prepare_v2(f->sql, text, -1, &s, NULL);
  if (rc != SQLITE_OK) return rc;
  if (!row) sqlite3_bind_int64(s, 1, series);
  if (row) sqlite3_bind_int64(s, 6, row);
  sqlite3_bind_int64(s, 2, chunk->first_ns);
  sqlite3_bind_int64(s, 3, chunk->last_ns);
  sqlite3_bind_int64(s, 4, chunk->count);
  sqlite3_bind_blob64(s, 5, chunk->bytes.data, chunk->bytes.size, SQLITE_STATIC);
  sqlite3_step(s);
  rc = sqlite3_finalize(s);
  if (rc != SQLITE_OK) return rc;
  rc = sqlite3_prepare_v2(f->sql,
                          "UPDATE target SET last_ns = max(last_ns, ?1) WHERE id ="
                          " (SELECT target FROM series WHERE id = ?2)",
                          -1, &s, NULL);
  if (rc != SQLITE_OK) return rc;
  sqlite3_bind_int64(s, 1, chunk->last_ns);
  sqlite3_bind_int64(s, 2, series);
  sqlite3_step(s);
  return sqlite3_finalize(s);
}

// Samples [from, to) are of one series and one slot.
static int fold_group(fold *f, size_t from, size_t to) {
  const fold_sample *first = &f->samples.items[from];
  tm_chunk chunk;
  int64_t row;
  tm_chunk_init(&chunk, TM_HISTORY_TICK_NS);
  int rc = load_newest(f, first->series, slot_of(first->time_ns), &chunk, &row);
  for (size_t i = from; rc == SQLITE_OK && i < to; i++)
    if (tm_chunk_append(f->ctx, &chunk, f->samples.items[i].time_ns, f->samples.items[i].value)
        != TM_OK)
      rc = SQLITE_NOMEM;
  if (rc == SQLITE_OK) rc = store(f, first->series, &chunk, row);
  tm_chunk_fini(f->ctx, &chunk);
  return rc;
}

static int fold_all(fold *f) {
  int rc = read_tail(f);
  for (size_t from = 0, to; rc == SQLITE_OK && from < f->samples.count; from = to) {
    const fold_sample *first = &f->samples.items[from];
    for (to = from + 1; to < f->samples.count; to++) {
      const fold_sample *s = &f->samples.items[to];
      if (s->series != first->series || slot_of(s->time_ns) != slot_of(first->time_ns)) break;
    }
    rc = fold_group(f, from, to);
  }
  if (rc == SQLITE_OK) rc = sqlite3_exec(f->sql, "DELETE FROM tail", NULL, NULL, NULL);
  return rc;
}

int tm_history_fold(tm_ctx *ctx, sqlite3 *sql) {
  fold f = {.ctx = ctx, .sql = sql};
  int rc = sqlite3_exec(sql, "BEGIN IMMEDIATE", NULL, NULL, NULL);
  if (rc != SQLITE_OK) return rc;
  rc = fold_all(&f);
  if (rc == SQLITE_OK) rc = sqlite3_exec(sql, "COMMIT", NULL, NULL, NULL);
  if (rc != SQLITE_OK) sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL);
  tm_vec_free(ctx, &f.samples);
  return rc;
}

static int delete_older(sqlite3 *sql, int64_t before_ns) {
  static const char *const statements[] = {
      "DELETE FROM chunk WHERE last_ns < ?1",
      "DELETE FROM entry WHERE time_ns < ?1",
      "DELETE FROM evidence WHERE time_ns < ?1",
      "DELETE FROM series WHERE target IN (SELECT id FROM target WHERE last_ns < ?1)",
      "DELETE FROM target WHERE last_ns < ?1 AND id NOT IN (SELECT target FROM series)",
  };
  for (size_t i = 0; i < TM_COUNT(statements); i++) {
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(sql, statements[i], -1, &s, NULL);
    if (rc != SQLITE_OK) return rc;
    sqlite3_bind_int64(s, 1, before_ns);
    sqlite3_step(s);
    rc = sqlite3_finalize(s);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

static uint64_t content_bytes(sqlite3 *sql) {
  int64_t pages = tm_history_number(sql, "PRAGMA page_count", 0)
                  - tm_history_number(sql, "PRAGMA freelist_count", 0);
  return (uint64_t)(pages * tm_history_number(sql, "PRAGMA page_size", 4096));
}

// Evidence yields first when it takes more than a quarter, then samples, oldest first, then all the
// rest.
static int delete_some(sqlite3 *sql, uint64_t max_bytes, bool *out_more) {
  int64_t evidence = tm_history_number(sql, "SELECT sum(length(data)) FROM evidence", 0);
  bool chunks = tm_history_number(sql, "SELECT EXISTS(SELECT 1 FROM chunk)", 0) != 0;
  const char *text = "DELETE FROM entry WHERE id IN (SELECT id FROM entry ORDER BY id LIMIT 1000)";
  if (evidence > 0 && ((uint64_t)evidence > max_bytes / 4 || !chunks))
    text = "DELETE FROM evidence WHERE id = (SELECT min(id) FROM evidence)";
  else if (chunks)
    text = "DELETE FROM chunk WHERE id IN (SELECT id FROM chunk ORDER BY last_ns LIMIT"
           " (SELECT count(*) / 16 + 1 FROM chunk))";
  int rc = sqlite3_exec(sql, text, NULL, NULL, NULL);
  *out_more = rc == SQLITE_OK && sqlite3_changes(sql) > 0;
  return rc;
}

int tm_history_retain(sqlite3 *sql, int64_t now_ns, uint64_t max_age_ns, uint64_t max_bytes) {
  int64_t age_ns = max_age_ns > INT64_MAX / 2 ? INT64_MAX / 2 : (int64_t)max_age_ns;
  int rc = delete_older(sql, now_ns - age_ns);
  bool more = content_bytes(sql) > max_bytes, shrink = more;
  while (rc == SQLITE_OK && more && content_bytes(sql) > max_bytes / 10 * 9)
    rc = delete_some(sql, max_bytes, &more);
  // Otherwise free pages stay for the next tail.
  if (rc == SQLITE_OK && shrink)
    rc = sqlite3_exec(sql, "PRAGMA incremental_vacuum", NULL, NULL, NULL);
  return rc;
}
