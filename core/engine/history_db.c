// Writes batches. Samples of a batch become one row of the table `tail` (a chunk per series, one
// page or two), because rewriting the open chunk of every series each 2 s would write a hundred
// times as much; every 10 minutes the tail is folded into the table `chunk` (history_fold.c). After
// a kill the tail is simply still there. Errors of SQLite fall in three kinds: the disk (keep the
// batch, try again), damage (move the file aside, begin a new one, write the batch there), and
// anything else (this one row is skipped and said).
#include "engine/history_db.h"

#include "base/clock.h"
#include "model/chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TAIL_MAX_BYTES = 512 * 1024, CACHE_KIB = 512, BUSY_MS = 2000 };

#define FOLD_NS           UINT64_C(600000000000)
#define DEFAULT_AGE_NS    (UINT64_C(30) * 86400 * 1000000000)
#define DEFAULT_MAX_BYTES (UINT64_C(256) << 20)

static const char schema[] =
    "CREATE TABLE target(id INTEGER PRIMARY KEY, ident TEXT NOT NULL UNIQUE, pid INTEGER, start_ns "
    "INTEGER,"
    " name TEXT, command TEXT, labels TEXT, first_ns INTEGER, last_ns INTEGER);"
    "CREATE TABLE series(id INTEGER PRIMARY KEY, target INTEGER NOT NULL, metric TEXT NOT NULL,"
    " key TEXT NOT NULL, unit TEXT, UNIQUE(target, metric, key));"
    "CREATE TABLE chunk(id INTEGER PRIMARY KEY, series INTEGER NOT NULL, first_ns INTEGER, last_ns "
    "INTEGER,"
    " count INTEGER, data BLOB);"
    "CREATE INDEX chunk_series ON chunk(series, first_ns);"
    "CREATE INDEX chunk_age ON chunk(last_ns);"
    "CREATE TABLE tail(id INTEGER PRIMARY KEY, data BLOB);"
    "CREATE TABLE entry(id INTEGER PRIMARY KEY, kind INTEGER, time_ns INTEGER, state TEXT, level "
    "TEXT,"
    " rule TEXT, target TEXT, key TEXT, value REAL, unit TEXT, text TEXT, json TEXT);"
    "CREATE INDEX entry_time ON entry(kind, time_ns);"
    "CREATE TABLE evidence(id INTEGER PRIMARY KEY, target TEXT, time_ns INTEGER, name TEXT, data "
    "BLOB);"
    "CREATE TABLE state(key TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;";

// The statements that batches use, prepared once per opened file.
enum {
  ADD_TARGET,
  ADD_SERIES,
  ADD_TAIL,
  ADD_ENTRY,
  ADD_EVIDENCE,
  PUT_STATE,
  DROP_STATE,
  STATEMENTS
};
static const char *const statement_text[STATEMENTS] = {
    [ADD_TARGET] =
        "INSERT INTO target(ident, pid, start_ns, name, command, labels, first_ns, last_ns)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT(ident) DO UPDATE SET"
        " last_ns = max(last_ns, excluded.last_ns), command = excluded.command,"
        " labels = excluded.labels RETURNING id",
    [ADD_SERIES] =
        "INSERT INTO series(target, metric, key, unit) VALUES(?1, ?2, ?3, ?4)"
        " ON CONFLICT(target, metric, key) DO UPDATE SET unit = excluded.unit RETURNING id",
    [ADD_TAIL] = "INSERT INTO tail(data) VALUES(?1)",
    [ADD_ENTRY] =
        "INSERT INTO entry(kind, time_ns, state, level, rule, target, key, value, unit, text,"
        " json) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [ADD_EVIDENCE] = "INSERT INTO evidence(target, time_ns, name, data) VALUES(?1, ?2, ?3, ?4)",
    [PUT_STATE] = "INSERT OR REPLACE INTO state(key, data) VALUES(?1, ?2)",
    [DROP_STATE] = "DELETE FROM state WHERE key = ?1",
};

// A target or series as its note gave it, kept so that a new file can be told; row 0 = not in the
// file.
typedef struct definition {
  uint8_t *note;
  size_t size;
  int64_t row;
  uint32_t target; // of a series
} definition;

typedef struct definitions {
  definition *items;
  size_t count, room;
} definitions;

struct tm_history_db {
  tm_ctx ctx;
  char *path;
  tm_log log;
  uint64_t max_age_ns, max_bytes;
  sqlite3 *sql; // NULL while no file can be opened
  sqlite3_stmt *statements[STATEMENTS];
  definitions targets, series;
  TM_VEC(tm_chunk) chunks; // of the batch, by series number
  tm_bytes tail;
  uint64_t tail_bytes, folded_at_ns; // since the last fold
  bool failing;                      // said so in the log
};

static bool is_damage(int rc) {
  return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

static bool is_disk(int rc) {
  static const int codes[] = {SQLITE_FULL,  SQLITE_IOERR,    SQLITE_BUSY,     SQLITE_LOCKED,
                              SQLITE_NOMEM, SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_PERM};
  for (size_t i = 0; i < TM_COUNT(codes); i++)
    if ((rc & 0xff) == codes[i]) return true;
  return false;
}

static int execute(tm_history_db *db, const char *text) {
  return sqlite3_exec(db->sql, text, NULL, NULL, NULL);
}

int64_t tm_history_number(sqlite3 *sql, const char *statement, int64_t otherwise) {
  sqlite3_stmt *s = NULL;
  int64_t number = otherwise;
  if (sqlite3_prepare_v2(sql, statement, -1, &s, NULL) == SQLITE_OK
      && sqlite3_step(s) == SQLITE_ROW)
    number = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  return number;
}

static void close_file(tm_history_db *db) {
  for (int i = 0; i < STATEMENTS; i++) {
    sqlite3_finalize(db->statements[i]);
    db->statements[i] = NULL;
  }
  sqlite3_close(db->sql);
  db->sql = NULL;
}

static int prepare_all(tm_history_db *db) {
  for (int i = 0; i < STATEMENTS; i++) {
    int rc = sqlite3_prepare_v3(db->sql, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT,
                                &db->statements[i], NULL);
    if (rc != SQLITE_OK) return rc;
  }
  return SQLITE_OK;
}

static int create_schema(tm_history_db *db) {
  char text[160];
  snprintf(text, sizeof text, "PRAGMA application_id = %d; PRAGMA user_version = %d;",
           TM_HISTORY_APPLICATION_ID, TM_HISTORY_VERSION);
  int rc = execute(db, "BEGIN IMMEDIATE");
  if (rc == SQLITE_OK) rc = execute(db, text);
  if (rc == SQLITE_OK) rc = execute(db, schema);
  if (rc == SQLITE_OK) rc = execute(db, "COMMIT");
  return rc;
}

// Who wrote the file: TM_OK also for an empty one, which gets its tables.
static tm_status check_owner(tm_ctx *ctx, tm_history_db *db, int *rc) {
  int64_t tables = tm_history_number(db->sql, "SELECT count(*) FROM sqlite_master", -1);
  int64_t owner = tm_history_number(db->sql, "PRAGMA application_id", 0);
  int64_t version = tm_history_number(db->sql, "PRAGMA user_version", 0);
  if (tables < 0) {
    *rc = sqlite3_errcode(db->sql);
    return TM_OK;
  }
  if (tables == 0 && owner == 0) {
    *rc = create_schema(db);
    return TM_OK;
  }
  if (owner != TM_HISTORY_APPLICATION_ID)
    return tm_fail(ctx, TM_E_FORMAT, 0,
                   "%s is an SQLite file, but no history of tidemark; choose another name",
                   db->path);
  if (version > TM_HISTORY_VERSION)
    return tm_fail(ctx, TM_E_VERSION, TM_NO_OFFSET,
                   "%s was written by a later tidemark (version %d)", db->path, (int)version);
  return TM_OK;
}

static int set_up_connection(tm_history_db *db) {
  char text[400];
  snprintf(
      text, sizeof text,
      "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
      "PRAGMA cache_size = -%d; PRAGMA journal_size_limit = 4194304; PRAGMA trusted_schema = OFF;"
      "PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON",
      CACHE_KIB);
  return execute(db, text);
}

// Opens or creates the file. Damage is answered in *rc, everything else as a status.
static tm_status open_file(tm_ctx *ctx, tm_history_db *db, int *rc) {
  // Made here, because SQLite would make it 0644. An existing one is not opened: closing it again
  // would drop the locks of other connections of this process.
  int fd = open(db->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) close(fd);
  if (fd < 0 && (errno != EEXIST || access(db->path, R_OK | W_OK) != 0))
    return tm_fail_errno(ctx, errno, "history: cannot open %s", db->path);
  *rc = sqlite3_open_v2(db->path, &db->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
  if (*rc == SQLITE_OK) {
    sqlite3_extended_result_codes(db->sql, 1);
    sqlite3_busy_timeout(db->sql, BUSY_MS);
    *rc = set_up_connection(db);
  }
  if (*rc == SQLITE_OK) TM_TRY(check_owner(ctx, db, rc));
  if (*rc == SQLITE_OK) *rc = prepare_all(db);
  // Tables that are not there any more or not as they were: damage too.
  if ((*rc & 0xff) == SQLITE_ERROR) *rc = SQLITE_CORRUPT;
  if (*rc == SQLITE_OK || is_damage(*rc)) return TM_OK;
  return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "history: cannot open %s: %s", db->path,
                 sqlite3_errstr(*rc));
}

static bool move_aside(tm_history_db *db) {
  char when[32], name[4200], from[4200], to[4200];
  time_t now = (time_t)(tm_clock_wall_ns() / 1000000000);
  struct tm local;
  localtime_r(&now, &local);
  strftime(when, sizeof when, "%Y%m%d-%H%M%S", &local);
  snprintf(name, sizeof name, "%.4000s.corrupt-%s", db->path, when);
  for (int i = 2; access(name, F_OK) == 0 && i < 100; i++) // twice in a second
    snprintf(name, sizeof name, "%.4000s.corrupt-%s-%d", db->path, when, i);
  if (rename(db->path, name) != 0) {
    char why[128];
    tm_log_line(&db->log, TM_LOG_ERROR, "history", "%s is damaged and cannot be moved aside: %s",
                db->path, strerror_r(errno, why, sizeof why));
    return false;
  }
  static const char *const parts[] = {"-wal", "-shm"};
  for (size_t i = 0; i < TM_COUNT(parts); i++) {
    snprintf(from, sizeof from, "%.4000s%s", db->path, parts[i]);
    snprintf(to, sizeof to, "%.4100s%s", name, parts[i]);
    if (rename(from, to) != 0) unlink(from); // a journal of the old file must not meet the new one
  }
  tm_log_line(&db->log, TM_LOG_ERROR, "history",
              "%s is damaged; it was moved to %s and a new history begun", db->path, name);
  return true;
}

static void forget_rows(tm_history_db *db) {
  for (size_t i = 0; i < db->targets.count; i++) db->targets.items[i].row = 0;
  for (size_t i = 0; i < db->series.count; i++) db->series.items[i].row = 0;
}

static tm_status open_or_replace(tm_ctx *ctx, tm_history_db *db) {
  int rc = SQLITE_OK;
  tm_status status = open_file(ctx, db, &rc);
  if (status == TM_OK && is_damage(rc)) {
    close_file(db);
    if (!move_aside(db))
      return tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "%s is damaged and cannot be moved aside",
                     db->path);
    status = open_file(ctx, db, &rc);
    if (status == TM_OK && rc != SQLITE_OK)
      status = tm_fail(ctx, TM_E_IO, TM_NO_OFFSET, "history: cannot begin %s: %s", db->path,
                       sqlite3_errstr(rc));
  }
  if (status != TM_OK) close_file(db);
  return status;
}

// Replaces a damaged file by a new one.
static void heal(tm_history_db *db) {
  close_file(db);
  forget_rows(db);
  db->tail_bytes = 0;
  if (move_aside(db) && open_or_replace(&db->ctx, db) != TM_OK)
    tm_log_line(&db->log, TM_LOG_ERROR, "history", "%s", db->ctx.error.message);
  tm_ctx_clear(&db->ctx);
}

tm_status tm_history_db_open(tm_ctx *ctx, const char *path, const tm_history_options *options,
                             tm_history_db **out) {
  tm_history_db *db = tm_calloc(ctx, 1, sizeof *db);
  if (!db) return TM_E_NOMEM;
  tm_ctx_init(&db->ctx, &ctx->alloc);
  db->log = options->log;
  db->max_age_ns = options->max_age_ns ? options->max_age_ns : DEFAULT_AGE_NS;
  db->max_bytes = options->max_bytes ? options->max_bytes : DEFAULT_MAX_BYTES;
  db->folded_at_ns = tm_clock_mono_ns();
  db->path = tm_alloc(ctx, strlen(path) + 1);
  tm_status status = db->path ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK) memcpy(db->path, path, strlen(path) + 1);
  if (status == TM_OK) status = open_or_replace(ctx, db);
  if (status != TM_OK) {
    tm_history_db_close(db);
    return status;
  }
  *out = db;
  return TM_OK;
}

static void free_definitions(tm_ctx *ctx, definitions *all) {
  for (size_t i = 0; i < all->count; i++) tm_free(ctx, all->items[i].note, all->items[i].size);
  tm_vec_free(ctx, all);
}

void tm_history_db_close(tm_history_db *db) {
  if (!db) return;
  tm_ctx *ctx = &db->ctx;
  if (db->sql) {
    tm_history_fold(ctx, db->sql);
    execute(db, "PRAGMA incremental_vacuum"); // the room that the tail took
  }
  close_file(db);
  free_definitions(ctx, &db->targets);
  free_definitions(ctx, &db->series);
  for (size_t i = 0; i < db->chunks.count; i++) tm_chunk_fini(ctx, &db->chunks.items[i]);
  tm_vec_free(ctx, &db->chunks);
  tm_bytes_free(ctx, &db->tail);
  if (db->path) tm_free(ctx, db->path, strlen(db->path) + 1);
  tm_ctx_fini(ctx);
  tm_free(ctx, db, sizeof *db);
}

static int tidy(tm_history_db *db) {
  db->folded_at_ns = tm_clock_mono_ns();
  db->tail_bytes = 0;
  int rc = tm_history_fold(&db->ctx, db->sql);
  tm_ctx_clear(&db->ctx);
  if (rc == SQLITE_OK)
    rc = tm_history_retain(db->sql, tm_clock_wall_ns(), db->max_age_ns, db->max_bytes);
  forget_rows(db); // what was idle for the whole age is gone: asked again by the next batch
  return rc;
}

static bool checks_out(sqlite3 *sql) {
  sqlite3_stmt *s = NULL;
  bool ok = true;
  int rc = sqlite3_prepare_v2(sql, "PRAGMA quick_check(1)", -1, &s, NULL);
  if (rc == SQLITE_OK) rc = sqlite3_step(s);
  if (rc == SQLITE_ROW) ok = strcmp((const char *)sqlite3_column_text(s, 0), "ok") == 0;
  sqlite3_finalize(s);
  return ok && !is_damage(rc);
}

void tm_history_db_start(tm_history_db *db) {
  if (!checks_out(db->sql) || is_damage(tidy(db))) heal(db);
}

// --- Notes ---

// Strings of a note in place: not terminated, so they are bound with their size.
typedef struct span {
  const char *text;
  size_t size;
} span;

static span get_span(tm_cursor *c) {
  uint64_t size = tm_get_varint(c);
  const uint8_t *p = tm_get_bytes(c, size > SIZE_MAX ? SIZE_MAX : (size_t)size);
  return p ? (span){(const char *)p, (size_t)size} : (span){"", 0};
}

static void bind_span(sqlite3_stmt *s, int at, span v) {
  sqlite3_bind_text64(s, at, v.text, v.size, SQLITE_STATIC, SQLITE_UTF8);
}

static int64_t get_signed(tm_cursor *c) {
  return tm_unzigzag(tm_get_varint(c));
}

// Runs a prepared statement to its end; the first column of its answer into *out_number (may be
// NULL).
static int step_through(sqlite3_stmt *s, int64_t *out_number) {
  int rc = sqlite3_step(s);
  if (rc == SQLITE_ROW && out_number) *out_number = sqlite3_column_int64(s, 0);
  while (rc == SQLITE_ROW) rc = sqlite3_step(s);
  sqlite3_reset(s);
  sqlite3_clear_bindings(s);
  return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

// Remembers the rest of a note under its number; a repeated number (a batch tried again) is fine.
static void define(tm_ctx *ctx, definitions *all, uint64_t number, uint32_t target, span rest) {
  if (number > UINT32_MAX) return;
  while (all->count <= number)
    if (tm_vec_push(ctx, all, (definition){0}) != TM_OK) return;
  definition *d = &all->items[number];
  if (d->note) return;
  d->note = tm_alloc(ctx, rest.size);
  if (!d->note) return;
  memcpy(d->note, rest.text, rest.size);
  d->size = rest.size;
  d->target = target;
}

static void undefine(tm_ctx *ctx, definition *d) {
  tm_free(ctx, d->note, d->size);
  *d = (definition){0};
}

static int note_target(tm_history_db *db, tm_cursor *c) {
  uint64_t number = tm_get_varint(c);
  const uint8_t *start = c->at;
  get_span(c), get_signed(c), get_signed(c), get_span(c), get_span(c), get_span(c);
  if (c->ok)
    define(&db->ctx, &db->targets, number, 0, (span){(const char *)start, (size_t)(c->at - start)});
  return SQLITE_OK;
}

static int note_series(tm_history_db *db, tm_cursor *c) {
  uint64_t number = tm_get_varint(c), target = tm_get_varint(c);
  const uint8_t *start = c->at;
  get_span(c), get_span(c), get_span(c);
  if (c->ok)
    define(&db->ctx, &db->series, number, (uint32_t)target,
           (span){(const char *)start, (size_t)(c->at - start)});
  return SQLITE_OK;
}

static int note_entry(tm_history_db *db, tm_cursor *c) {
  sqlite3_stmt *s = db->statements[ADD_ENTRY];
  sqlite3_bind_int64(s, 1, (int64_t)tm_get_varint(c));
  sqlite3_bind_int64(s, 2, get_signed(c));
  for (int at = 3; at <= 7; at++) bind_span(s, at, get_span(c));
  uint64_t bits = tm_get_varint(c);
  double value;
  memcpy(&value, &bits, sizeof value);
  sqlite3_bind_double(s, 8, value); // NAN becomes NULL
  for (int at = 9; at <= 11; at++) bind_span(s, at, get_span(c));
  return step_through(s, NULL);
}

static int note_evidence(tm_history_db *db, tm_cursor *c) {
  sqlite3_stmt *s = db->statements[ADD_EVIDENCE];
  bind_span(s, 1, get_span(c));
  sqlite3_bind_int64(s, 2, get_signed(c));
  bind_span(s, 3, get_span(c));
  span data = get_span(c);
  sqlite3_bind_blob64(s, 4, data.text, data.size, SQLITE_STATIC);
  return step_through(s, NULL);
}

static int note_state(tm_history_db *db, tm_cursor *c) {
  span key = get_span(c);
  bool put = tm_get_varint(c) != 0;
  span data = get_span(c);
  sqlite3_stmt *s = db->statements[put ? PUT_STATE : DROP_STATE];
  bind_span(s, 1, key);
  if (put) sqlite3_bind_blob64(s, 2, data.text, data.size, SQLITE_STATIC);
  return step_through(s, NULL);
}

static int note_gone(tm_history_db *db, tm_cursor *c) {
  tm_get_varint(c); // acted upon after the commit: the batch's samples still need the definitions
  (void)db;
  return SQLITE_OK;
}

static int (*const note_handlers[])(tm_history_db *, tm_cursor *) = {
    [TM_NOTE_TARGET] = note_target,     [TM_NOTE_SERIES] = note_series,
    [TM_NOTE_GONE] = note_gone,         [TM_NOTE_ENTRY] = note_entry,
    [TM_NOTE_EVIDENCE] = note_evidence, [TM_NOTE_STATE] = note_state,
};

static int apply_notes(tm_history_db *db, const tm_bytes *notes) {
  tm_cursor c = tm_cursor_of(notes->size ? (const void *)notes->data : "", notes->size, 0);
  while (c.ok && tm_cursor_left(&c)) {
    uint8_t kind = tm_get_u8(&c);
    int rc = note_handlers[kind](db, &c);
    if (is_damage(rc) || is_disk(rc)) return rc;
    if (rc != SQLITE_OK)
      tm_log_line(&db->log, TM_LOG_WARN, "history", "an entry was left out: %s",
                  sqlite3_errstr(rc));
  }
  return SQLITE_OK;
}

// --- Samples ---

static int ensure_target(tm_history_db *db, uint32_t number, int64_t seen_ns, int64_t *out_row) {
  if (number >= db->targets.count || !db->targets.items[number].note) return SQLITE_MISUSE;
  definition *d = &db->targets.items[number];
  if (!d->row) {
    sqlite3_stmt *s = db->statements[ADD_TARGET];
    tm_cursor c = tm_cursor_of(d->note, d->size, 0);
    bind_span(s, 1, get_span(&c));
    sqlite3_bind_int64(s, 2, get_signed(&c));
    sqlite3_bind_int64(s, 3, get_signed(&c));
    for (int at = 4; at <= 6; at++) bind_span(s, at, get_span(&c));
    sqlite3_bind_int64(s, 7, seen_ns);
    int rc = step_through(s, &d->row);
    if (rc != SQLITE_OK) return rc;
  }
  *out_row = d->row;
  return SQLITE_OK;
}

static int ensure_series(tm_history_db *db, uint32_t number, int64_t seen_ns) {
  definition *d = &db->series.items[number];
  int64_t target;
  if (d->row) return SQLITE_OK;
  int rc = ensure_target(db, d->target, seen_ns, &target);
  if (rc != SQLITE_OK) return rc;
  sqlite3_stmt *s = db->statements[ADD_SERIES];
  tm_cursor c = tm_cursor_of(d->note, d->size, 0);
  sqlite3_bind_int64(s, 1, target);
  for (int at = 2; at <= 4; at++) bind_span(s, at, get_span(&c));
  return step_through(s, &d->row);
}

static tm_status pack_samples(tm_history_db *db, const tm_history_batch *batch) {
  for (size_t i = 0; i < db->chunks.count; i++) {
    tm_bytes kept = db->chunks.items[i].bytes;
    kept.size = 0;
    tm_chunk_init(&db->chunks.items[i], TM_HISTORY_TICK_NS);
    db->chunks.items[i].bytes = kept;
  }
  while (db->chunks.count < db->series.count) {
    TM_TRY(tm_vec_reserve(&db->ctx, &db->chunks, 1));
    tm_chunk_init(&db->chunks.items[db->chunks.count++], TM_HISTORY_TICK_NS);
  }
  for (size_t i = 0; i < batch->samples.count; i++) {
    const tm_history_sample_row *row = &batch->samples.items[i];
    if (row->series >= db->series.count || !db->series.items[row->series].note) continue;
    TM_TRY(tm_chunk_append(&db->ctx, &db->chunks.items[row->series], row->time_ns, row->value));
  }
  return TM_OK;
}

static int add_tail(tm_history_db *db, const tm_history_batch *batch) {
  if (!batch->samples.count) return SQLITE_OK;
  if (pack_samples(db, batch) != TM_OK) return SQLITE_NOMEM;
  db->tail.size = 0;
  for (uint32_t i = 0; i < db->chunks.count; i++) {
    const tm_chunk *chunk = &db->chunks.items[i];
    if (!chunk->count) continue;
    int rc = ensure_series(db, i, chunk->first_ns);
    if (rc == SQLITE_MISUSE) continue; // its target could not be remembered
    if (rc != SQLITE_OK) return rc;
    if (tm_bytes_varint(&db->ctx, &db->tail, (uint64_t)db->series.items[i].row) != TM_OK
        || tm_bytes_varint(&db->ctx, &db->tail, chunk->bytes.size) != TM_OK
        || tm_bytes_append(&db->ctx, &db->tail, chunk->bytes.data, chunk->bytes.size) != TM_OK)
      return SQLITE_NOMEM;
  }
  sqlite3_stmt *s = db->statements[ADD_TAIL];
  sqlite3_bind_blob64(s, 1, db->tail.data, db->tail.size, SQLITE_STATIC);
  return step_through(s, NULL);
}

static int write_batch(tm_history_db *db, const tm_history_batch *batch) {
  int rc = execute(db, "BEGIN IMMEDIATE");
  if (rc == SQLITE_OK) rc = apply_notes(db, &batch->notes);
  if (rc == SQLITE_OK) rc = add_tail(db, batch);
  if (rc == SQLITE_OK) rc = execute(db, "COMMIT");
  if (rc == SQLITE_OK) return rc;
  execute(db, "ROLLBACK");
  forget_rows(db); // rows given out in this transaction do not exist
  tm_ctx_clear(&db->ctx);
  return rc;
}

static void forget_target(tm_history_db *db, uint64_t number) {
  if (number >= db->targets.count) return;
  undefine(&db->ctx, &db->targets.items[number]);
  for (size_t i = 0; i < db->series.count; i++) {
    definition *d = &db->series.items[i];
    if (!d->note || d->target != number) continue;
    undefine(&db->ctx, d);
    if (i < db->chunks.count) tm_chunk_fini(&db->ctx, &db->chunks.items[i]);
    if (i < db->chunks.count) tm_chunk_init(&db->chunks.items[i], TM_HISTORY_TICK_NS);
  }
}

// Reads the notes once more for targets that are gone.
static void forget_gone(tm_history_db *db, const tm_bytes *notes) {
  static const uint8_t shapes[][12] = {
      // fields by kind: n = number, s = string
      [TM_NOTE_TARGET] = "nsnnsss",    [TM_NOTE_SERIES] = "nnsss",  [TM_NOTE_GONE] = "n",
      [TM_NOTE_ENTRY] = "nnsssssnsss", [TM_NOTE_EVIDENCE] = "snss", [TM_NOTE_STATE] = "sns",
  };
  tm_cursor c = tm_cursor_of(notes->size ? (const void *)notes->data : "", notes->size, 0);
  while (c.ok && tm_cursor_left(&c)) {
    uint8_t kind = tm_get_u8(&c);
    uint64_t number = 0;
    for (const uint8_t *field = shapes[kind]; *field; field++) {
      if (*field == 'n') number = tm_get_varint(&c);
      if (*field == 's') get_span(&c);
    }
    if (kind == TM_NOTE_GONE) forget_target(db, number);
  }
}

static void say_failing(tm_history_db *db, int rc) {
  if (!db->failing)
    tm_log_line(&db->log, TM_LOG_ERROR, "history",
                "%s cannot be written (%s): what happens is kept in memory; free disk space",
                db->path, sqlite3_errstr(rc));
  db->failing = true;
}

bool tm_history_db_commit(tm_history_db *db, const tm_history_batch *batch) {
  if (!db->sql && open_or_replace(&db->ctx, db) != TM_OK) {
    tm_ctx_clear(&db->ctx);
    say_failing(db, SQLITE_CANTOPEN);
    return false;
  }
  int rc = write_batch(db, batch);
  if (is_damage(rc)) {
    heal(db);
    rc = db->sql ? write_batch(db, batch) : SQLITE_CANTOPEN;
  }
  if (rc != SQLITE_OK) {
    say_failing(db, rc);
    return false;
  }
  if (db->failing) tm_log_line(&db->log, TM_LOG_INFO, "history", "%s is written again", db->path);
  db->failing = false;
  forget_gone(db, &batch->notes);
  db->tail_bytes += batch->samples.count ? db->tail.size : 0;
  if (db->tail_bytes > TAIL_MAX_BYTES || tm_clock_mono_ns() - db->folded_at_ns > FOLD_NS)
    if (is_damage(tidy(db))) heal(db);
  return true;
}
