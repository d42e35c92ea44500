// The file of the history, as its writer thread sees it: batches in, rows out. Private to
// history*.c.
#ifndef TM_ENGINE_HISTORY_DB_H
#define TM_ENGINE_HISTORY_DB_H

#include "base/bytes.h"
#include "base/cursor.h"
#include "base/vec.h"
#include "engine/history.h"

#include <sqlite3.h>

#define TM_HISTORY_APPLICATION_ID 0x746d6869 // "tmhi"
#define TM_HISTORY_VERSION        1
#define TM_HISTORY_TICK_NS        UINT64_C(1000000)

typedef struct tm_history_sample_row {
  uint32_t series; // number in the history object
  int64_t time_ns;
  double value;
} tm_history_sample_row;

// Notes are messages: kind, then fields (numbers as varints, strings and blobs with a varint size).
typedef enum tm_note_kind {
  TM_NOTE_TARGET,
  TM_NOTE_SERIES,
  TM_NOTE_GONE,
  TM_NOTE_ENTRY,
  TM_NOTE_EVIDENCE,
  TM_NOTE_STATE,
} tm_note_kind;

// What one commit writes: notes first, so that samples find their series.
typedef struct tm_history_batch {
  tm_bytes notes;
  TM_VEC(tm_history_sample_row) samples;
} tm_history_batch;

typedef struct tm_history_db tm_history_db;

TM_NODISCARD tm_status tm_history_db_open(tm_ctx *ctx, const char *path,
                                          const tm_history_options *options, tm_history_db **out);
void tm_history_db_close(tm_history_db *db);

// First work on the thread: looks for damage that opening does not see, folds what a killed process
// left, deletes what is too old.
void tm_history_db_start(tm_history_db *db);

// Writes the batch in one transaction. False: nothing of it was written, try again later.
bool tm_history_db_commit(tm_history_db *db, const tm_history_batch *batch);

// Splits one row of the tail table into its series: fn(ud, series row, bytes of a chunk, size).
// False when the row is damaged.
typedef void (*tm_history_tail_fn)(void *ud, int64_t series, const void *bytes, size_t size);
bool tm_history_tail_each(const void *data, size_t size, tm_history_tail_fn fn, void *ud);

// In a transaction of its own: moves all rows of the tail into the chunks of their series. Answers
// an SQLite code.
int tm_history_fold(tm_ctx *ctx, sqlite3 *sql);

// Deletes what is older than the age limit, then the oldest until the file's content fits its
// limit.
int tm_history_retain(sqlite3 *sql, int64_t now_ns, uint64_t max_age_ns, uint64_t max_bytes);

// One number as the answer of a statement; `otherwise` when there is none.
int64_t tm_history_number(sqlite3 *sql, const char *statement, int64_t otherwise);

#endif
