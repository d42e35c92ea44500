// The front of the history: a queue that any thread may fill and one thread empties. Notes
// (entries, evidence, state, who is who) and samples wait in two lists; the thread swaps both for
// empty ones and writes them in one transaction. What could not be written goes back to the front
// of the queue. An empty queue means no wakeups at all.
#include "engine/history.h"

#include "engine/history_db.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

enum { NOTES_MAX_BYTES = 64 * 1024 * 1024, EVIDENCE_MAX_BYTES = 32 * 1024 * 1024 };

#define DEFAULT_COMMIT_NS   UINT64_C(2000000000)
#define DEFAULT_QUEUE_BYTES (UINT64_C(8) << 20)

struct tm_history {
  tm_history_db *db; // the thread's
  char *path;
  tm_log log;
  uint64_t commit_ns;
  size_t samples_max;
  pthread_t thread;
  pthread_mutex_t mutex; // guards all below
  pthread_cond_t work, done;
  tm_ctx ctx;
  tm_history_batch queue;
  uint32_t target_count, series_count;
  uint64_t asked, answered; // tickets of tm_history_sync
  bool stop;
  bool dropping; // said so in the log
  tm_history_stats stats;
};

static void free_batch(tm_ctx *ctx, tm_history_batch *batch) {
  tm_bytes_free(ctx, &batch->notes);
  tm_vec_free(ctx, &batch->samples);
}

static bool is_empty(const tm_history_batch *batch) {
  return !batch->notes.size && !batch->samples.count;
}

// Puts an unwritten batch in front of what came meanwhile; the oldest samples go when both are too
// many.
static void put_back(tm_history *h, tm_history_batch *batch) {
  tm_history_batch *queue = &h->queue;
  size_t total = batch->samples.count + queue->samples.count;
  size_t drop = total > h->samples_max ? total - h->samples_max : 0;
  if (drop > batch->samples.count) drop = batch->samples.count;
  if (drop)
    memmove(batch->samples.items, batch->samples.items + drop,
            (batch->samples.count - drop) * sizeof *batch->samples.items);
  batch->samples.count -= drop;
  h->stats.dropped_samples += drop;
  size_t newer = queue->samples.count;
  if (newer && tm_vec_reserve(&h->ctx, &batch->samples, newer) == TM_OK) {
    memcpy(batch->samples.items + batch->samples.count, queue->samples.items,
           newer * sizeof *queue->samples.items);
    batch->samples.count += newer;
  } else {
    h->stats.dropped_samples += newer;
  }
  if (tm_bytes_append(&h->ctx, &batch->notes, queue->notes.data, queue->notes.size) != TM_OK)
    h->stats.dropped_notes++;
  tm_ctx_clear(&h->ctx);
  free_batch(&h->ctx, queue);
  *queue = *batch;
  *batch = (tm_history_batch){0};
}

static struct timespec after(uint64_t ns) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  t.tv_sec += (time_t)(ns / 1000000000u);
  t.tv_nsec += (int32_t)(ns % 1000000000u);
  if (t.tv_nsec >= 1000000000) {
    t.tv_nsec -= 1000000000;
    t.tv_sec++;
  }
  return t;
}

// Waits, with the mutex held, until there is a batch that is due.
static void wait_for_work(tm_history *h) {
  while (!h->stop && h->asked == h->answered && is_empty(&h->queue))
    pthread_cond_wait(&h->work, &h->mutex);
  struct timespec due = after(h->commit_ns);
  while (!h->stop && h->asked == h->answered)
    if (pthread_cond_timedwait(&h->work, &h->mutex, &due) != 0) return;
}

static void *write_batches(void *ud) {
  tm_history *h = ud;
  tm_history_db_start(h->db);
  pthread_mutex_lock(&h->mutex);
  for (bool last = false; !last;) {
    wait_for_work(h);
    last = h->stop;
    uint64_t ticket = h->asked;
    tm_history_batch batch = h->queue;
    h->queue = (tm_history_batch){0};
    pthread_mutex_unlock(&h->mutex);
    bool written = is_empty(&batch) || tm_history_db_commit(h->db, &batch);
    pthread_mutex_lock(&h->mutex);
    h->stats.failing = !written;
    if (written) {
      h->stats.commits += !is_empty(&batch);
      h->stats.samples += batch.samples.count;
      h->dropping = false;
    } else {
      put_back(h, &batch);
    }
    free_batch(&h->ctx, &batch);
    h->answered = ticket; // also when it failed: the asker looks at stats.failing
    pthread_cond_broadcast(&h->done);
  }
  pthread_mutex_unlock(&h->mutex);
  return NULL;
}

static void free_history(tm_history *h) {
  tm_ctx *ctx = &h->ctx;
  tm_history_db_close(h->db);
  free_batch(ctx, &h->queue);
  if (h->path) tm_free(ctx, h->path, strlen(h->path) + 1);
  pthread_cond_destroy(&h->work);
  pthread_cond_destroy(&h->done);
  pthread_mutex_destroy(&h->mutex);
  tm_ctx_fini(ctx);
  tm_free(ctx, h, sizeof *h);
}

tm_status tm_history_open(tm_ctx *ctx, const char *path, const tm_history_options *options,
                          tm_history **out) {
  static const tm_history_options defaults;
  if (!options) options = &defaults;
  tm_history *h = tm_calloc(ctx, 1, sizeof *h);
  if (!h) return TM_E_NOMEM;
  tm_ctx_init(&h->ctx, &ctx->alloc);
  pthread_condattr_t monotone;
  pthread_condattr_init(&monotone);
  pthread_condattr_setclock(&monotone, CLOCK_MONOTONIC);
  pthread_mutex_init(&h->mutex, NULL);
  pthread_cond_init(&h->work, &monotone);
  pthread_cond_init(&h->done, &monotone);
  pthread_condattr_destroy(&monotone);
  h->log = options->log;
  h->commit_ns = options->commit_ns ? options->commit_ns : DEFAULT_COMMIT_NS;
  uint64_t queue_bytes = options->queue_bytes ? options->queue_bytes : DEFAULT_QUEUE_BYTES;
  h->samples_max = (size_t)(queue_bytes / sizeof(tm_history_sample_row)) + 16;
  h->path = tm_alloc(ctx, strlen(path) + 1);
  tm_status status = h->path ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK) memcpy(h->path, path, strlen(path) + 1);
  if (status == TM_OK) status = tm_history_db_open(ctx, path, options, &h->db);
  if (status == TM_OK) {
    int error = pthread_create(&h->thread, NULL, write_batches, h);
    if (error) status = tm_fail_errno(ctx, error, "history: cannot start its thread");
  }
  if (status != TM_OK) {
    free_history(h);
    return status;
  }
  *out = h;
  return TM_OK;
}

void tm_history_close(tm_history *h) {
  if (!h) return;
  pthread_mutex_lock(&h->mutex);
  h->stop = true;
  pthread_cond_signal(&h->work);
  pthread_mutex_unlock(&h->mutex);
  pthread_join(h->thread, NULL);
  free_history(h);
}

bool tm_history_sync(tm_history *h, uint64_t timeout_ns) {
  struct timespec due = after(timeout_ns);
  pthread_mutex_lock(&h->mutex);
  uint64_t ticket = ++h->asked;
  pthread_cond_signal(&h->work);
  bool in_time = true;
  while (in_time && h->answered < ticket)
    in_time = pthread_cond_timedwait(&h->done, &h->mutex, &due) == 0;
  bool written = in_time && !h->stats.failing;
  pthread_mutex_unlock(&h->mutex);
  return written;
}

const char *tm_history_path(const tm_history *h) {
  return h->path;
}

tm_history_stats tm_history_get_stats(tm_history *h) {
  pthread_mutex_lock(&h->mutex);
  tm_history_stats stats = h->stats;
  stats.queued_bytes = h->queue.notes.size + h->queue.samples.count * sizeof(tm_history_sample_row);
  pthread_mutex_unlock(&h->mutex);
  return stats;
}

// One note being written into the queue; a failure on the way takes it back as a whole.
typedef struct note {
  tm_history *h;
  size_t start;
  bool first, ok;
} note;

static note begin_note(tm_history *h, tm_note_kind kind, size_t max_bytes) {
  pthread_mutex_lock(&h->mutex);
  note n = {h, h->queue.notes.size, is_empty(&h->queue), h->queue.notes.size < max_bytes};
  uint8_t byte = (uint8_t)kind;
  if (n.ok) n.ok = tm_bytes_append(&h->ctx, &h->queue.notes, &byte, 1) == TM_OK;
  return n;
}

static void put_number(note *n, uint64_t value) {
  if (n->ok) n->ok = tm_bytes_varint(&n->h->ctx, &n->h->queue.notes, value) == TM_OK;
}

static void put_blob(note *n, const void *data, size_t size) {
  put_number(n, size);
  if (n->ok) n->ok = tm_bytes_append(&n->h->ctx, &n->h->queue.notes, data, size) == TM_OK;
}

static void put_text(note *n, const char *text) {
  put_blob(n, text, text ? strlen(text) : 0);
}

static bool end_note(note *n) {
  tm_history *h = n->h;
  if (!n->ok) {
    h->queue.notes.size = n->start;
    h->stats.dropped_notes++;
    tm_ctx_clear(&h->ctx);
  }
  if (n->ok && n->first) pthread_cond_signal(&h->work);
  pthread_mutex_unlock(&h->mutex);
  return n->ok;
}

uint32_t tm_history_add_target(tm_history *h, const tm_history_target *target) {
  note n = begin_note(h, TM_NOTE_TARGET, NOTES_MAX_BYTES);
  uint32_t number = h->target_count;
  put_number(&n, number);
  put_text(&n, target->id);
  put_number(&n, tm_zigzag(target->pid));
  put_number(&n, tm_zigzag(target->start_time_ns));
  put_text(&n, target->name);
  put_text(&n, target->command);
  put_text(&n, target->labels_json);
  if (n.ok) h->target_count++;
  return end_note(&n) ? number : UINT32_MAX;
}

uint32_t tm_history_add_series(tm_history *h, uint32_t target, const char *metric, const char *key,
                               tm_unit unit) {
  note n = begin_note(h, TM_NOTE_SERIES, NOTES_MAX_BYTES);
  uint32_t number = h->series_count;
  if (target >= h->target_count) n.ok = false;
  put_number(&n, number);
  put_number(&n, target);
  put_text(&n, metric);
  put_text(&n, key);
  put_text(&n, tm_unit_name(unit));
  if (n.ok) h->series_count++;
  return end_note(&n) ? number : UINT32_MAX;
}

void tm_history_forget(tm_history *h, uint32_t target) {
  note n = begin_note(h, TM_NOTE_GONE, NOTES_MAX_BYTES);
  put_number(&n, target);
  end_note(&n);
}

void tm_history_note(tm_history *h, const tm_history_entry *entry) {
  uint64_t bits;
  memcpy(&bits, &entry->value, sizeof bits);
  note n = begin_note(h, TM_NOTE_ENTRY, NOTES_MAX_BYTES);
  put_number(&n, (uint64_t)entry->kind);
  put_number(&n, tm_zigzag(entry->time_ns));
  put_text(&n, entry->state);
  put_text(&n, tm_level_name(entry->level));
  put_text(&n, entry->rule);
  put_text(&n, entry->target);
  put_text(&n, entry->key);
  put_number(&n, bits);
  put_text(&n, tm_unit_name(entry->unit));
  put_text(&n, entry->text);
  put_text(&n, entry->json);
  end_note(&n);
}

void tm_history_evidence(tm_history *h, const char *target, int64_t time_ns, const char *name,
                         const void *data, size_t size) {
  note n = begin_note(h, TM_NOTE_EVIDENCE, EVIDENCE_MAX_BYTES);
  if (size > EVIDENCE_MAX_BYTES) n.ok = false;
  put_text(&n, target);
  put_number(&n, tm_zigzag(time_ns));
  put_text(&n, name);
  put_blob(&n, data, size);
  end_note(&n);
}

void tm_history_put(tm_history *h, const char *key, const void *data, size_t size) {
  note n = begin_note(h, TM_NOTE_STATE, NOTES_MAX_BYTES);
  put_text(&n, key);
  put_number(&n, data != NULL);
  put_blob(&n, data, data ? size : 0);
  end_note(&n);
}

// Makes room by forgetting the oldest quarter; true when that has to be said.
static bool drop_oldest(tm_history *h) {
  size_t drop = h->queue.samples.count / 4 + 1;
  tm_history_sample_row *items = h->queue.samples.items;
  h->queue.samples.count -= drop;
  memmove(items, items + drop, h->queue.samples.count * sizeof *items);
  h->stats.dropped_samples += drop;
  bool news = !h->dropping;
  h->dropping = true;
  return news;
}

void tm_history_sample(tm_history *h, uint32_t series, int64_t time_ns, double value) {
  tm_history_sample_row row = {series, time_ns, value};
  pthread_mutex_lock(&h->mutex);
  bool news = false, first = is_empty(&h->queue);
  if (series < h->series_count) {
    if (h->queue.samples.count >= h->samples_max) news = drop_oldest(h);
    if (tm_vec_push(&h->ctx, &h->queue.samples, row) != TM_OK) {
      h->stats.dropped_samples++;
      tm_ctx_clear(&h->ctx);
    }
    if (first) pthread_cond_signal(&h->work);
  }
  pthread_mutex_unlock(&h->mutex);
  if (news)
    tm_log_line(&h->log, TM_LOG_WARN, "history",
                "%s: the disk does not keep up; the oldest waiting samples are dropped", h->path);
}
