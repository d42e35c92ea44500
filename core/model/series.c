// Ring + minutes + chunks. A sample pushed out of the full ring goes into the open minute; when a
// sample of a later minute comes, the minute's two extremes are appended to the open chunk, at the
// minute's start and middle, so that their times are even and cost nothing. A chunk is closed after
// two hours and trimmed; the oldest goes when it is two days old or all together exceed the cap.
// Cost: a push is O(1); a copy decodes only chunks that reach into its window.
#include "model/series.h"

#include "base/vec.h"
#include "model/chunk.h"

#include <math.h>

enum { CHUNK_SAMPLES = 240 }; // two hours of minutes

static const int64_t time_max = INT64_MAX / 2;

typedef struct sample {
  int64_t time_ns;
  double value;
} sample;

// The minute that is being left by the ring. NAN extremes: only gaps so far.
typedef struct minute {
  int64_t start_ns; // -1 = none open
  int64_t least_ns, most_ns;
  double least, most;
} minute;

typedef struct closed_chunk {
  uint8_t *data;
  uint32_t size, count;
  int64_t last_ns;
} closed_chunk;

struct tm_series {
  tm_allocator alloc;
  sample *ring;
  size_t capacity, head, count; // head = index of the oldest
  minute open;
  tm_chunk tail;
  TM_VEC(closed_chunk) chunks; // oldest first
  size_t chunk_bytes, older_bytes;
};

tm_status tm_series_new(tm_ctx *ctx, size_t capacity, size_t older_bytes, tm_series **out) {
  tm_series *series = tm_calloc(ctx, 1, sizeof *series);
  if (!series) return TM_E_NOMEM;
  series->alloc = ctx->alloc;
  series->older_bytes = older_bytes;
  series->open.start_ns = -1;
  tm_chunk_init(&series->tail, (uint64_t)TM_SERIES_BUCKET_NS / 2);
  tm_status status = tm_series_reserve(ctx, series, capacity ? capacity : 1);
  if (status != TM_OK) {
    tm_series_free(series);
    return status;
  }
  *out = series;
  return TM_OK;
}

void tm_series_free(tm_series *series) {
  if (!series) return;
  tm_ctx ctx;
  tm_ctx_init(&ctx, &series->alloc);
  for (size_t i = 0; i < series->chunks.count; i++)
    tm_free(&ctx, series->chunks.items[i].data, series->chunks.items[i].size);
  tm_vec_free(&ctx, &series->chunks);
  tm_chunk_fini(&ctx, &series->tail);
  tm_free(&ctx, series->ring, series->capacity * sizeof *series->ring);
  tm_free(&ctx, series, sizeof *series);
  tm_ctx_fini(&ctx);
}

// Where the index-th oldest sample stands; index <= capacity.
static size_t slot_of(const tm_series *series, size_t index) {
  size_t at = series->head + index;
  return at < series->capacity ? at : at - series->capacity;
}

static const sample *raw_at(const tm_series *series, size_t index) {
  return &series->ring[slot_of(series, index)];
}

tm_status tm_series_reserve(tm_ctx *ctx, tm_series *series, size_t capacity) {
  if (capacity <= series->capacity) return TM_OK;
  sample *ring = tm_calloc(ctx, capacity, sizeof *ring);
  if (!ring) return TM_E_NOMEM;
  for (size_t i = 0; i < series->count; i++) ring[i] = *raw_at(series, i);
  tm_free(ctx, series->ring, series->capacity * sizeof *series->ring);
  series->ring = ring;
  series->capacity = capacity;
  series->head = 0;
  return TM_OK;
}

static void drop_oldest_chunk(tm_ctx *ctx, tm_series *series) {
  closed_chunk *items = series->chunks.items;
  series->chunk_bytes -= items[0].size;
  tm_free(ctx, items[0].data, items[0].size);
  series->chunks.count--;
  memmove(items, items + 1, series->chunks.count * sizeof *items);
}

// What the tier costs with the chunk that is open: data and the entries that point at it.
static size_t older_cost(const tm_series *series) {
  return series->chunk_bytes + series->chunks.count * sizeof(closed_chunk)
         + series->tail.bytes.size;
}

static tm_status close_chunk(tm_ctx *ctx, tm_series *series) {
  tm_bytes *bytes = &series->tail.bytes;
  closed_chunk chunk = {NULL, (uint32_t)bytes->size, series->tail.count, series->tail.last_ns};
  chunk.data = tm_alloc(ctx, bytes->size);
  if (!chunk.data) return TM_E_NOMEM;
  memcpy(chunk.data, bytes->data, bytes->size);
  if (tm_vec_push(ctx, &series->chunks, chunk) != TM_OK) {
    tm_free(ctx, chunk.data, chunk.size);
    return TM_E_NOMEM;
  }
  series->chunk_bytes += chunk.size;
  // The buffer stays for the next chunk: after warm-up closing allocates only the trimmed copy.
  tm_bytes kept = *bytes;
  kept.size = 0;
  tm_chunk_init(&series->tail, (uint64_t)TM_SERIES_BUCKET_NS / 2);
  series->tail.bytes = kept;
  return TM_OK;
}

static tm_status close_minute(tm_ctx *ctx, tm_series *series) {
  const minute *m = &series->open;
  bool least_first = m->least_ns <= m->most_ns;
  int64_t middle_ns = m->start_ns + TM_SERIES_BUCKET_NS / 2;
  if (series->tail.count >= CHUNK_SAMPLES || series->tail.bytes.size > series->older_bytes / 4)
    TM_TRY(close_chunk(ctx, series));
  TM_TRY(tm_chunk_append(ctx, &series->tail, m->start_ns, least_first ? m->least : m->most));
  TM_TRY(tm_chunk_append(ctx, &series->tail, middle_ns, least_first ? m->most : m->least));
  while (series->chunks.count
         && (older_cost(series) > series->older_bytes
             || series->chunks.items[0].last_ns < m->start_ns - TM_SERIES_OLDER_NS))
    drop_oldest_chunk(ctx, series);
  return TM_OK;
}

// Takes a sample that leaves the ring.
static tm_status thin(tm_ctx *ctx, tm_series *series, sample s) {
  if (!series->older_bytes) return TM_OK;
  minute *m = &series->open;
  tm_status status = TM_OK;
  int64_t start_ns = s.time_ns - s.time_ns % TM_SERIES_BUCKET_NS;
  if (m->start_ns != start_ns) {
    if (m->start_ns >= 0) status = close_minute(ctx, series);
    *m = (minute){start_ns, s.time_ns, s.time_ns, s.value, s.value};
    return status;
  }
  if (s.value < m->least || isnan(m->least)) {
    m->least = s.value;
    m->least_ns = s.time_ns;
  }
  if (s.value > m->most || isnan(m->most)) {
    m->most = s.value;
    m->most_ns = s.time_ns;
  }
  return TM_OK;
}

tm_status tm_series_push(tm_ctx *ctx, tm_series *series, int64_t time_ns, double value) {
  if (time_ns < 0 || time_ns > time_max)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the time of a sample is out of range");
  if (series->count) {
    sample *last = &series->ring[slot_of(series, series->count - 1)];
    if (time_ns < last->time_ns)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "a sample is older than the newest one");
    if (time_ns == last->time_ns) {
      last->value = value;
      return TM_OK;
    }
  }
  tm_status status = TM_OK;
  if (series->count == series->capacity) {
    status = thin(ctx, series, *raw_at(series, 0));
    series->head = slot_of(series, 1);
    series->count--;
  }
  series->ring[slot_of(series, series->count++)] = (sample){time_ns, value};
  return status;
}

static size_t minute_samples(const minute *m) {
  if (m->start_ns < 0) return 0;
  return m->least_ns == m->most_ns ? 1 : 2;
}

size_t tm_series_raw_count(const tm_series *series) {
  return series->count;
}

size_t tm_series_count(const tm_series *series) {
  size_t n = series->count + series->tail.count + minute_samples(&series->open);
  for (size_t i = 0; i < series->chunks.count; i++) n += series->chunks.items[i].count;
  return n;
}

bool tm_series_last(const tm_series *series, int64_t *out_time_ns, double *out_value) {
  if (!series->count) return false;
  const sample *last = raw_at(series, series->count - 1);
  *out_time_ns = last->time_ns;
  *out_value = last->value;
  return true;
}

typedef void (*sample_fn)(void *ud, sample s);

static void each_in_chunk(const uint8_t *bytes, size_t size, int64_t since_ns, sample_fn fn,
                          void *ud) {
  tm_chunk_reader reader;
  sample s;
  tm_chunk_reader_init(&reader, bytes, size);
  while (tm_chunk_next(&reader, &s.time_ns, &s.value))
    if (s.time_ns >= since_ns) fn(ud, s);
}

// All samples of the older tier at or after since_ns, ascending.
static void each_older(const tm_series *series, int64_t since_ns, sample_fn fn, void *ud) {
  for (size_t i = 0; i < series->chunks.count; i++) {
    const closed_chunk *chunk = &series->chunks.items[i];
    if (chunk->last_ns >= since_ns) each_in_chunk(chunk->data, chunk->size, since_ns, fn, ud);
  }
  if (series->tail.count && series->tail.last_ns >= since_ns)
    each_in_chunk(series->tail.bytes.data, series->tail.bytes.size, since_ns, fn, ud);
  const minute *m = &series->open;
  size_t n = minute_samples(m);
  if (!n) return;
  sample least = {m->least_ns, m->least}, most = {m->most_ns, m->most};
  bool least_first = m->least_ns <= m->most_ns;
  sample pair[2] = {least_first ? least : most, least_first ? most : least};
  for (size_t i = 0; i < n; i++)
    if (pair[i].time_ns >= since_ns) fn(ud, pair[i]);
}

// Index of the first raw sample at or after since_ns.
static size_t raw_from(const tm_series *series, int64_t since_ns) {
  size_t low = 0, high = series->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (raw_at(series, middle)->time_ns < since_ns)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

typedef struct copy_job {
  int64_t *times_ns;
  double *values;
  size_t skip, count;
} copy_job;

static void count_one(void *ud, sample s) {
  (void)s;
  (*(size_t *)ud)++;
}

static void copy_one(void *ud, sample s) {
  copy_job *job = ud;
  if (job->skip) {
    job->skip--;
    return;
  }
  job->times_ns[job->count] = s.time_ns;
  job->values[job->count++] = s.value;
}

size_t tm_series_copy(const tm_series *series, int64_t since_ns, int64_t *times_ns, double *values,
                      size_t max) {
  copy_job job = {0};
  job.times_ns = times_ns;
  job.values = values;
  size_t first = raw_from(series, since_ns), raw = series->count - first;
  if (raw >= max) {
    first += raw - max;
  } else if (first == 0) { // the window may begin before the ring
    size_t older = 0, room = max - raw;
    each_older(series, since_ns, count_one, &older);
    job.skip = older > room ? older - room : 0;
    if (older) each_older(series, since_ns, copy_one, &job);
  }
  for (size_t i = first; i < series->count; i++) copy_one(&job, *raw_at(series, i));
  return job.count;
}

typedef struct envelope_job {
  int64_t from_ns, to_ns;
  size_t buckets;
  double *min, *max;
} envelope_job;

static void envelope_one(void *ud, sample s) {
  const envelope_job *job = ud;
  if (s.time_ns < job->from_ns || s.time_ns >= job->to_ns || isnan(s.value)) return;
  double part =
      ((double)s.time_ns - (double)job->from_ns) / ((double)job->to_ns - (double)job->from_ns);
  size_t at = (size_t)(part * (double)job->buckets);
  if (at >= job->buckets) at = job->buckets - 1;
  if (!(job->min[at] <= s.value)) job->min[at] = s.value;
  if (!(job->max[at] >= s.value)) job->max[at] = s.value;
}

void tm_series_envelope(const tm_series *series, int64_t from_ns, int64_t to_ns, size_t buckets,
                        double *min, double *max) {
  if (to_ns <= from_ns || !buckets) return;
  envelope_job job = {from_ns, to_ns, buckets, min, max};
  for (size_t i = 0; i < buckets; i++) min[i] = max[i] = NAN;
  size_t first = raw_from(series, from_ns);
  if (first == 0) each_older(series, from_ns, envelope_one, &job);
  for (size_t i = first; i < series->count; i++) envelope_one(&job, *raw_at(series, i));
}

size_t tm_series_memory_bytes(const tm_series *series) {
  return sizeof *series + series->capacity * sizeof *series->ring + series->tail.bytes.room
         + series->chunks.room * sizeof *series->chunks.items + series->chunk_bytes;
}
