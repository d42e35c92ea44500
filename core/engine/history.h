// The history: what was seen, found and done, in one SQLite file that survives kills, full disks
// and its own corruption. Everything that records returns at once: a thread of the history's own
// writes, in batches every 2 s, so that neither sampling nor rules ever wait for the disk.
//
// A killed process loses at most the last 2 s. While the disk refuses or stalls, samples wait in a
// queue of bounded size and the oldest are dropped and counted; entries (alerts, actions) and state
// are kept. A corrupt file is moved aside to NAME.corrupt-YYYYMMDD-HHMMSS and a new one begun; the
// log says so.
#ifndef TM_ENGINE_HISTORY_H
#define TM_ENGINE_HISTORY_H

#include "base/log.h"
#include "engine/finding.h"

typedef struct tm_history tm_history;

typedef struct tm_history_options {
  tm_log log;           // called from the history's thread and from recording threads
  uint64_t max_age_ns;  // older samples, entries and evidence are deleted; 0 = 30 days
  uint64_t max_bytes;   // of the file; the oldest samples make room; 0 = 256 MiB
  uint64_t queue_bytes; // of samples that wait for the disk; 0 = 8 MiB
  uint64_t commit_ns;   // between batches; 0 = 2 s
} tm_history_options;

// Opens or creates the file (mode 0600) and starts the thread. options NULL = defaults. A damaged
// file is moved aside. TM_E_FORMAT: an SQLite file of something else; TM_E_VERSION: written by a
// later tidemark; TM_E_IO, TM_E_PERM, TM_E_NOMEM.
TM_NODISCARD tm_status tm_history_open(tm_ctx *ctx, const char *path,
                                       const tm_history_options *options, tm_history **out);

// Writes what waits (one attempt), ends the thread, frees. NULL is fine.
void tm_history_close(tm_history *history);

// Waits until everything recorded before the call is in the file; false after timeout_ns. Any
// thread but the one that must not wait.
bool tm_history_sync(tm_history *history, uint64_t timeout_ns);

const char *tm_history_path(const tm_history *history);

// --- Recording. Any thread; never waits for the disk; strings are copied. ---

typedef struct tm_history_target {
  const char *id; // "4711:880211"
  int64_t pid, start_time_ns;
  const char *name, *command;
  const char *labels_json;   // "{}" when there are none
  int64_t first_ns, last_ns; // seen; for queries only
} tm_history_target;

// Announce a target and a series of it; the number stands for it in this history object. UINT32_MAX
// when memory is short: recording with it does nothing. A series known from before is continued.
uint32_t tm_history_add_target(tm_history *history, const tm_history_target *target);
uint32_t tm_history_add_series(tm_history *history, uint32_t target, const char *metric,
                               const char *key, tm_unit unit);

// The target is gone: what the history keeps of it in memory is freed.
void tm_history_forget(tm_history *history, uint32_t target);

// A sample; its time is cut to milliseconds.
void tm_history_sample(tm_history *history, uint32_t series, int64_t time_ns, double value);

typedef enum tm_entry_kind {
  TM_ENTRY_ALERT,  // state: pending, firing, resolved
  TM_ENTRY_ACTION, // the audit trail; state: done, failed, dry-run, refused
  TM_ENTRY_EVENT,  // attach, exit, mark, withheld...
  TM_ENTRY_RULES,  // a rule file was loaded or refused; text = its hash or error, json = what it
                   // holds
} tm_entry_kind;

// One line of what happened. NULL strings count as "".
typedef struct tm_history_entry {
  tm_entry_kind kind;
  int64_t time_ns;
  const char *state; // what became of it, see the kind
  tm_level level;
  const char *rule, *target, *key; // key: of the finding; of an action its name
  double value;                    // NAN = none
  tm_unit unit;
  const char *text;
  const char *json; // details as one JSON object
} tm_history_entry;
void tm_history_note(tm_history *history, const tm_history_entry *entry);

// Keeps a file as evidence (descriptor table, profile). Refused and counted past 64 MiB that wait.
void tm_history_evidence(tm_history *history, const char *target, int64_t time_ns, const char *name,
                         const void *data, size_t size);

// Small state by key (trusted rule files, alert states): put replaces, NULL data deletes.
void tm_history_put(tm_history *history, const char *key, const void *data, size_t size);

typedef struct tm_history_stats {
  uint64_t commits, samples; // written
  uint64_t dropped_samples;  // lost to a full queue
  uint64_t dropped_notes;    // entries, evidence or state lost (more than 64 MiB waited)
  uint64_t queued_bytes;     // waiting now
  bool failing;              // the last batch could not be written
} tm_history_stats;
tm_history_stats tm_history_get_stats(tm_history *history);

// --- Queries, on a connection of their own each: any thread, also without an open history. They
// see what was committed. Strings and arrays are valid for the callback; false ends the query. ---

// What is asked for.
typedef struct tm_history_query {
  const char *target;     // a glob for its id (of series: or its name); NULL = all
  const char *metric;     // a glob; NULL = all; not for entries
  int64_t from_ns, to_ns; // both inclusive; to_ns 0 = no end
} tm_history_query;

// The samples of one series, ascending in time, at least one.
typedef struct tm_history_samples {
  const char *target, *metric, *key;
  tm_unit unit;
  const int64_t *times_ns;
  const double *values;
  size_t count;
} tm_history_samples;

typedef bool (*tm_history_series_fn)(void *ud, const tm_history_samples *samples);
typedef bool (*tm_history_entry_fn)(void *ud, const tm_history_entry *entry);
typedef bool (*tm_history_target_fn)(void *ud, const tm_history_target *target);

// Calls fn once for each series that has samples in the window. TM_E_IO when there is no history,
// TM_E_FORMAT when it is damaged, TM_E_BUSY, TM_E_NOMEM; the same for the queries below.
TM_NODISCARD tm_status tm_history_series(tm_ctx *ctx, const char *path,
                                         const tm_history_query *query, tm_history_series_fn fn,
                                         void *ud);

// Entries of a kind, oldest first.
TM_NODISCARD tm_status tm_history_entries(tm_ctx *ctx, const char *path, tm_entry_kind kind,
                                          const tm_history_query *query, tm_history_entry_fn fn,
                                          void *ud);

// All targets known, the one seen last first.
TM_NODISCARD tm_status tm_history_targets(tm_ctx *ctx, const char *path, tm_history_target_fn fn,
                                          void *ud);

// The state of a key into ctx's scratch memory; *out_data NULL when there is none. And the newest
// evidence of a name.
TM_NODISCARD tm_status tm_history_get(tm_ctx *ctx, const char *path, const char *key,
                                      const void **out_data, size_t *out_size);
TM_NODISCARD tm_status tm_history_get_evidence(tm_ctx *ctx, const char *path, const char *target,
                                               const char *name, const void **out_data,
                                               size_t *out_size);

#endif
