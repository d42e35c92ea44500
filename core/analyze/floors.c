// One pass puts the samples into some 5 slots per bucket (least, greatest, mean). The slots' means,
// freed from their line, give the autocorrelation; its first high peak behind a valley is the
// collection cycle. Buckets are then runs of slots, long enough for that cycle. A cycle shorter
// than a slot vanishes in the mean, as it should: any bucket spans it. Cost: n + slots * slots / 6.
#include "analyze/floors.h"

#include <math.h>

enum { SLOTS_PER_BUCKET = 5, MAX_SLOTS = TM_FLOORS_MAX * SLOTS_PER_BUCKET, MIN_CYCLE_SLOTS = 16 };

#define CYCLE_PEAK       0.5 // autocorrelation of a cycle that deserves the name
#define CYCLE_VALLEY     0.1 // what it must have fallen below before
#define CYCLES_PER_FLOOR 1.2 // a bucket must see at least one whole collection

typedef struct slots {
  double least[MAX_SLOTS], greatest[MAX_SLOTS], least_s[MAX_SLOTS];
  double mean[MAX_SLOTS]; // the sum while samples come in
  double count[MAX_SLOTS];
  size_t n;
  double slot_s;
} slots;

static void fill_slots(const int64_t *time_ns, const double *value, size_t n, slots *s) {
  double span_s = (double)(time_ns[n - 1] - time_ns[0]) / 1e9;
  double per_s = span_s > 0 ? (double)s->n / span_s : 0;
  s->slot_s = span_s / (double)s->n;
  for (size_t i = 0; i < s->n; i++) {
    s->least[i] = INFINITY;
    s->greatest[i] = -INFINITY;
    s->mean[i] = s->count[i] = 0;
  }
  int64_t before_ns = INT64_MIN;
  for (size_t i = 0; i < n; i++) {
    double v = value[i];
    if (!isfinite(v) || time_ns[i] <= before_ns || time_ns[i] > time_ns[n - 1]) continue;
    before_ns = time_ns[i];
    double at_s = (double)(time_ns[i] - time_ns[0]) / 1e9;
    size_t k = (size_t)(at_s * per_s);
    if (k >= s->n) k = s->n - 1;
    if (v < s->least[k]) {
      s->least[k] = v;
      s->least_s[k] = at_s;
    }
    if (v > s->greatest[k]) s->greatest[k] = v;
    s->mean[k] += v;
    s->count[k]++;
  }
}

// Turns sums into means and takes the least-squares line out; an empty slot repeats the one before.
static void detrend(slots *s) {
  double n = (double)s->n, middle = (n - 1) / 2, level = 0, tilt = 0;
  for (size_t i = 0; i < s->n; i++) {
    s->mean[i] = s->count[i] > 0 ? s->mean[i] / s->count[i] : i > 0 ? s->mean[i - 1] : s->least[0];
    level += s->mean[i] / n;
  }
  for (size_t i = 0; i < s->n; i++) tilt += ((double)i - middle) * (s->mean[i] - level);
  tilt *= 12 / (n * (n * n - 1));
  for (size_t i = 0; i < s->n; i++) s->mean[i] -= level + tilt * ((double)i - middle);
}

// Four sums side by side, since one would wait for itself.
static double lagged_product(const double *x, size_t n, size_t lag) {
  double a = 0, b = 0, c = 0, d = 0;
  size_t i = 0;
  for (; i + lag + 3 < n; i += 4) {
    a += x[i] * x[i + lag];
    b += x[i + 1] * x[i + 1 + lag];
    c += x[i + 2] * x[i + 2 + lag];
    d += x[i + 3] * x[i + 3 + lag];
  }
  for (; i + lag < n; i++) a += x[i] * x[i + lag];
  return a + b + c + d;
}

// In slots; 0 = no cycle.
static double cycle_of(const slots *s) {
  double variance = lagged_product(s->mean, s->n, 0), before = 1;
  if (s->n < MIN_CYCLE_SLOTS || !(variance > 0)) return 0;
  bool fell = false;
  for (size_t lag = 1; lag < s->n / 6; lag++) {
    double r = lagged_product(s->mean, s->n, lag) / variance;
    r *= (double)s->n / (double)(s->n - lag);
    if (r < CYCLE_VALLEY) fell = true;
    if (fell && r < before && before > CYCLE_PEAK) return (double)(lag - 1);
    before = r;
  }
  return 0;
}

static size_t buckets_for(const slots *s, size_t wanted, double cycle) {
  double most = (double)s->n / (CYCLES_PER_FLOOR * cycle);
  if (cycle <= 0 || most >= (double)wanted) return wanted;
  size_t fewer = most > TM_FLOORS_MIN ? (size_t)most : TM_FLOORS_MIN;
  return fewer < wanted ? fewer : wanted;
}

static void make_floors(const slots *s, size_t buckets, tm_floors *out) {
  for (size_t b = 0; b < buckets; b++) {
    double least = INFINITY, greatest = -INFINITY, least_s = 0;
    for (size_t i = b * s->n / buckets; i < (b + 1) * s->n / buckets; i++) {
      if (s->greatest[i] > greatest) greatest = s->greatest[i];
      if (s->least[i] >= least) continue;
      least = s->least[i];
      least_s = s->least_s[i];
    }
    if (!isfinite(least)) continue;
    out->time_s[out->n] = least_s;
    out->ceiling[out->n] = greatest;
    out->value[out->n++] = least;
  }
}

tm_status tm_floors_compute(tm_ctx *ctx, const int64_t *time_ns, const double *value, size_t n,
                            uint32_t buckets, tm_floors *out) {
  out->n = 0;
  out->cycle_s = 0;
  if (n == 0) return TM_OK;
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  slots *s = tm_arena_alloc(&ctx->scratch, sizeof *s);
  if (!s) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for a trend's floors");
  size_t wanted = buckets && buckets < TM_FLOORS_MAX ? buckets : TM_FLOORS_MAX;
  if (wanted > n) wanted = n;
  s->n = wanted * SLOTS_PER_BUCKET < n ? wanted * SLOTS_PER_BUCKET : n;
  if (s->n > MAX_SLOTS) s->n = MAX_SLOTS;
  fill_slots(time_ns, value, n, s);
  detrend(s);
  double cycle = cycle_of(s);
  out->cycle_s = cycle * s->slot_s;
  make_floors(s, buckets_for(s, wanted, cycle), out);
  tm_arena_rewind(&ctx->scratch, mark);
  return TM_OK;
}
