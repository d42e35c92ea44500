// Reads of the history: one read-only connection per query, so that any thread and any process may
// ask while the writer goes on (WAL). Samples are those of the chunks that touch the window plus
// those of the tail, seen in one read transaction, so that a fold in between neither hides nor
// doubles them.
#include "engine/history_db.h"
#include "model/chunk.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BUSY_MS = 2000, QUERY_SAMPLES_MAX = 64 * 1024 * 1024 };

// A connection and its statement.
typedef struct asking {
  tm_ctx *ctx;
  const char *path;
  sqlite3 *sql;
  sqlite3_stmt *statement;
} asking;

static tm_status failed(asking *q, int rc) {
  tm_status status = TM_E_IO;
  if (rc == SQLITE_NOMEM) status = TM_E_NOMEM;
  if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB || rc == SQLITE_ERROR) status = TM_E_FORMAT;
  if (rc == SQLITE_BUSY || rc == SQLITE_LOCKED) status = TM_E_BUSY;
  return tm_fail(q->ctx, status, TM_NO_OFFSET, "history %s: %s", q->path, sqlite3_errstr(rc));
}

static tm_status open_query(asking *q, const char *text) {
  if (access(q->path, R_OK) != 0) return tm_fail_errno(q->ctx, errno, "no history at %s", q->path);
  int rc = sqlite3_open_v2(q->path, &q->sql, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_busy_timeout(q->sql, BUSY_MS);
  if (rc == SQLITE_OK) rc = sqlite3_exec(q->sql, "BEGIN", NULL, NULL, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_prepare_v2(q->sql, text, -1, &q->statement, NULL);
  return rc == SQLITE_OK ? TM_OK : failed(q, rc & 0xff);
}

// Frees the connection; status stays what it was.
static tm_status close_query(asking *q, tm_status status) {
  sqlite3_finalize(q->statement);
  sqlite3_close(q->sql);
  return status;
}

// The next row: true and SQLITE_ROW, or the end (TM_OK) or an error in *status.
static bool next_row(asking *q, tm_status *status) {
  int rc = sqlite3_step(q->statement);
  if (rc == SQLITE_ROW) return true;
  *status = rc == SQLITE_DONE ? TM_OK : failed(q, rc & 0xff);
  return false;
}

static const char *text_at(sqlite3_stmt *s, int column) {
  const char *text = (const char *)sqlite3_column_text(s, column);
  return text ? text : "";
}

static void bind_text(asking *q, int at, const char *text) {
  sqlite3_bind_text(q->statement, at, text, -1, SQLITE_STATIC); // NULL stays NULL
}

// --- Series ---

typedef struct point {
  int64_t time_ns;
  double value;
  uint64_t order;
} point;

typedef struct gather {
  tm_ctx *ctx;
  int64_t wanted; // row of the series
  int64_t from_ns, to_ns;
  TM_VEC(point) points;
  TM_VEC(int64_t) times_ns;
  TM_VEC(double) values;
  tm_status status;
} gather;

static void take_chunk(void *ud, int64_t series, const void *bytes, size_t size) {
  gather *g = ud;
  tm_chunk_reader reader;
  point p = {0};
  if (series != g->wanted || g->status != TM_OK) return;
  tm_chunk_reader_init(&reader, bytes, size);
  while (tm_chunk_next(&reader, &p.time_ns, &p.value)) {
    if (p.time_ns < g->from_ns || p.time_ns > g->to_ns) continue;
    p.order = g->points.count;
    if (g->points.count >= QUERY_SAMPLES_MAX) return;
    g->status = tm_vec_push(g->ctx, &g->points, p);
    if (g->status != TM_OK) return;
  }
}

static int by_time(const void *a, const void *b) {
  const point *x = a, *y = b;
  if (x->time_ns != y->time_ns) return x->time_ns < y->time_ns ? -1 : 1;
  return x->order < y->order ? -1 : x->order > y->order;
}

static tm_status each_blob(asking *q, const char *text, gather *g, bool tail) {
  asking rows = {q->ctx, q->path, q->sql, NULL};
  tm_status status = TM_OK;
  int rc = sqlite3_prepare_v2(q->sql, text, -1, &rows.statement, NULL);
  if (rc != SQLITE_OK) return failed(q, rc & 0xff);
  if (!tail) {
    sqlite3_bind_int64(rows.statement, 1, g->wanted);
    sqlite3_bind_int64(rows.statement, 2, g->to_ns);
    sqlite3_bind_int64(rows.statement, 3, g->from_ns);
  }
  while (next_row(&rows, &status)) {
    const void *data = sqlite3_column_blob(rows.statement, 0);
    size_t size = (size_t)sqlite3_column_bytes(rows.statement, 0);
    if (tail)
      tm_history_tail_each(data, size, take_chunk, g);
    else
      take_chunk(g, g->wanted, data, size);
  }
  sqlite3_finalize(rows.statement);
  return status == TM_OK ? g->status : status;
}

// Puts the points of one series in order and apart into arrays.
static tm_status arrange(gather *g) {
  bool sorted = true;
  for (size_t i = 1; sorted && i < g->points.count; i++)
    sorted = g->points.items[i - 1].time_ns <= g->points.items[i].time_ns;
  if (!sorted) qsort(g->points.items, g->points.count, sizeof *g->points.items, by_time);
  g->times_ns.count = g->values.count = 0;
  TM_TRY(tm_vec_reserve(g->ctx, &g->times_ns, g->points.count));
  TM_TRY(tm_vec_reserve(g->ctx, &g->values, g->points.count));
  for (size_t i = 0; i < g->points.count; i++) {
    g->times_ns.items[g->times_ns.count++] = g->points.items[i].time_ns;
    g->values.items[g->values.count++] = g->points.items[i].value;
  }
  return TM_OK;
}

static tm_status gather_series(asking *q, gather *g) {
  g->points.count = 0;
  TM_TRY(each_blob(q,
                   "SELECT data FROM chunk WHERE series = ?1 AND first_ns <= ?2 AND last_ns >= ?3"
                   " ORDER BY first_ns, id",
                   g, false));
  TM_TRY(each_blob(q, "SELECT data FROM tail ORDER BY id", g, true));
  return arrange(g);
}

static tm_status run_series(asking *q, gather *g, tm_history_series_fn fn, void *ud) {
  tm_status status = TM_OK;
  while (status == TM_OK && next_row(q, &status)) {
    sqlite3_stmt *s = q->statement;
    g->wanted = sqlite3_column_int64(s, 0);
    status = gather_series(q, g);
    if (status != TM_OK || !g->times_ns.count) continue;
    const tm_history_samples samples = {
        text_at(s, 1),     text_at(s, 2),   text_at(s, 3),    tm_unit_by_name(text_at(s, 4)),
        g->times_ns.items, g->values.items, g->times_ns.count};
    if (!fn(ud, &samples)) break;
  }
  return status;
}

static int64_t end_of(const tm_history_query *query) {
  return query->to_ns ? query->to_ns : INT64_MAX;
}

tm_status tm_history_series(tm_ctx *ctx, const char *path, const tm_history_query *query,
                            tm_history_series_fn fn, void *ud) {
  asking q = {ctx, path, NULL, NULL};
  gather g = {.ctx = ctx, .from_ns = query->from_ns, .to_ns = end_of(query)};
  tm_status status = open_query(
      &q,
      "SELECT s.id, t.ident, s.metric, s.key, s.unit FROM series s JOIN target t ON t.id = s.target"
      " WHERE (?1 IS NULL OR t.ident GLOB ?1 OR t.name GLOB ?1) AND (?2 IS NULL OR s.metric GLOB "
      "?2)"
      " ORDER BY t.id, s.id");
  if (status == TM_OK) {
    bind_text(&q, 1, query->target);
    bind_text(&q, 2, query->metric);
    status = run_series(&q, &g, fn, ud);
  }
  tm_vec_free(ctx, &g.points);
  tm_vec_free(ctx, &g.times_ns);
  tm_vec_free(ctx, &g.values);
  return close_query(&q, status);
}

// --- Entries, targets, state ---

tm_status tm_history_entries(tm_ctx *ctx, const char *path, tm_entry_kind kind,
                             const tm_history_query *query, tm_history_entry_fn fn, void *ud) {
  asking q = {ctx, path, NULL, NULL};
  tm_status status = open_query(
      &q, "SELECT time_ns, state, level, rule, target, key, value, unit, text, json FROM entry"
          " WHERE kind = ?1 AND time_ns BETWEEN ?2 AND ?3 AND (?4 IS NULL OR target GLOB ?4)"
          " ORDER BY time_ns, id");
  if (status != TM_OK) return close_query(&q, status);
  sqlite3_stmt *s = q.statement;
  sqlite3_bind_int64(s, 1, kind);
  sqlite3_bind_int64(s, 2, query->from_ns);
  sqlite3_bind_int64(s, 3, end_of(query));
  bind_text(&q, 4, query->target);
  while (next_row(&q, &status)) {
    bool none = sqlite3_column_type(s, 6) == SQLITE_NULL;
    tm_history_entry entry = {
        .kind = kind,
        .time_ns = sqlite3_column_int64(s, 0),
        .state = text_at(s, 1),
        .level = tm_level_by_name(text_at(s, 2)),
        .rule = text_at(s, 3),
        .target = text_at(s, 4),
        .key = text_at(s, 5),
        .value = none ? NAN : sqlite3_column_double(s, 6),
        .unit = tm_unit_by_name(text_at(s, 7)),
        .text = text_at(s, 8),
        .json = text_at(s, 9),
    };
    if (!fn(ud, &entry)) break;
  }
  return close_query(&q, status);
}

tm_status tm_history_targets(tm_ctx *ctx, const char *path, tm_history_target_fn fn, void *ud) {
  asking q = {ctx, path, NULL, NULL};
  tm_status status =
      open_query(&q, "SELECT ident, pid, start_ns, name, command, labels, first_ns, last_ns"
                     " FROM target ORDER BY last_ns DESC, id DESC");
  sqlite3_stmt *s = q.statement;
  while (status == TM_OK && next_row(&q, &status)) {
    tm_history_target target = {
        .id = text_at(s, 0),
        .pid = sqlite3_column_int64(s, 1),
        .start_time_ns = sqlite3_column_int64(s, 2),
        .name = text_at(s, 3),
        .command = text_at(s, 4),
        .labels_json = text_at(s, 5),
        .first_ns = sqlite3_column_int64(s, 6),
        .last_ns = sqlite3_column_int64(s, 7),
    };
    if (!fn(ud, &target)) break;
  }
  return close_query(&q, status);
}

// The blob of the first row into scratch memory.
static tm_status first_blob(asking *q, const void **out_data, size_t *out_size) {
  tm_status status = TM_OK;
  *out_data = NULL;
  *out_size = 0;
  if (!next_row(q, &status)) return status;
  const void *data = sqlite3_column_blob(q->statement, 0);
  size_t size = (size_t)sqlite3_column_bytes(q->statement, 0);
  char *copy = tm_arena_strndup(&q->ctx->scratch, data ? data : "", size);
  if (!copy) return tm_fail(q->ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (%zu bytes)", size);
  *out_data = copy;
  *out_size = size;
  return TM_OK;
}

tm_status tm_history_get(tm_ctx *ctx, const char *path, const char *key, const void **out_data,
                         size_t *out_size) {
  asking q = {ctx, path, NULL, NULL};
  tm_status status = open_query(&q, "SELECT data FROM state WHERE key = ?1");
  if (status == TM_OK) {
    bind_text(&q, 1, key);
    status = first_blob(&q, out_data, out_size);
  }
  return close_query(&q, status);
}

tm_status tm_history_get_evidence(tm_ctx *ctx, const char *path, const char *target,
                                  const char *name, const void **out_data, size_t *out_size) {
  asking q = {ctx, path, NULL, NULL};
  tm_status status = open_query(&q, "SELECT data FROM evidence WHERE target = ?1 AND name = ?2 "
                                    "ORDER BY time_ns DESC, id DESC LIMIT 1");
  if (status == TM_OK) {
    bind_text(&q, 1, target);
    bind_text(&q, 2, name);
    status = first_blob(&q, out_data, out_size);
  }
  return close_query(&q, status);
}
