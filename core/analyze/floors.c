// One pass puts the samples into some 5 slots per bucket (least, greatest, mean). The slots' means,
// freed from their line, give the autocorrelation; its first high peak behind a valley is the
// collection cycle. Buckets are then runs of slots, long enough for that cycle. A cycle shorter
// than a slot vanishes in the mean, as it should: any bucket spans it. Cost: n + slots * slots / 6.
#include "analyze/floors.h"

#include <math.h>

enum {
  SLOTS_PER_BUCKET = 5,
  MAX_SLOTS = TM_FLOORS_MAX * SLOTS_PER_BUCKET * 3 / 2, // a slot holds whole samples
  MIN_CYCLE_SLOTS = 16,
  MIN_EXPONENT = -1000,
};

#define CYCLE_PEAK       0.5 // autocorrelation of a cycle that deserves the name
#define CYCLE_VALLEY     0.1 // what it must have fallen below before
#define CYCLES_PER_FLOOR 1.2 // a bucket must see at least one whole collection

typedef struct samples {
  const int64_t *time_ns;
  const double *value;
  size_t n;
} samples;

// The index of the next sample that counts, from i on; n when none is left.
static size_t next_sample(const samples *in, size_t i, int64_t after_ns) {
  while (i < in->n && !(isfinite(in->value[i]) && in->time_ns[i] > after_ns)) i++;
  return i;
}

static double seconds(int64_t from_ns, int64_t to_ns) {
  return (double)((uint64_t)to_ns - (uint64_t)from_ns) / 1e9;
}

// Counts the samples, measures span and unit. Returns the time of the first sample.
static int64_t survey(const samples *in, tm_floors *out) {
  double greatest = 0;
  int exponent = 0;
  int64_t first_ns = 0, at_ns = INT64_MIN;
  for (size_t i = next_sample(in, 0, at_ns); i < in->n; i = next_sample(in, i + 1, at_ns)) {
    at_ns = in->time_ns[i];
    if (out->used++ == 0) first_ns = at_ns;
    if (fabs(in->value[i]) > greatest) greatest = fabs(in->value[i]);
  }
  frexp(greatest, &exponent);
  out->unit = ldexp(1, exponent > MIN_EXPONENT ? exponent - 1 : MIN_EXPONENT);
  out->span_s = out->used ? seconds(first_ns, at_ns) : 0;
  return first_ns;
}

typedef struct slots {
  double least[MAX_SLOTS], greatest[MAX_SLOTS];
  double mean[MAX_SLOTS]; // the sum while samples come in
  double count[MAX_SLOTS];
  double least_s[MAX_SLOTS];
  size_t least_at[MAX_SLOTS];
  size_t n;
  double slot_s;
} slots;

static void fill_slots(const samples *in, int64_t first_ns, const tm_floors *f, slots *s) {
  // A sample stands for the time around it: half a step more at both ends.
  double half_s = f->span_s / (double)(f->used - 1) / 2, per_unit = 1 / f->unit;
  s->slot_s = (f->span_s + 2 * half_s) / (double)s->n;
  double per_s = 1 / s->slot_s;
  for (size_t k = 0; k < s->n; k++) {
    s->least[k] = INFINITY;
    s->greatest[k] = -INFINITY;
    s->mean[k] = s->count[k] = 0;
  }
  int64_t at_ns = INT64_MIN;
  for (size_t i = next_sample(in, 0, at_ns); i < in->n; i = next_sample(in, i + 1, at_ns)) {
    at_ns = in->time_ns[i];
    double v = in->value[i] * per_unit, at_s = seconds(first_ns, at_ns);
    size_t k = (size_t)((at_s + half_s) * per_s);
    if (k >= s->n) k = s->n - 1;
    if (v < s->least[k]) {
      s->least[k] = v;
      s->least_s[k] = at_s;
      s->least_at[k] = i;
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
    if (fell && r < before && before > CYCLE_PEAK) return (double)(lag - 1);
    if (r < CYCLE_VALLEY) fell = true;
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
    size_t from = b * s->n / buckets, to = (b + 1) * s->n / buckets, low = from;
    double greatest = s->greatest[from];
    for (size_t k = from + 1; k < to; k++) {
      if (s->greatest[k] > greatest) greatest = s->greatest[k];
      if (s->least[k] < s->least[low]) low = k;
    }
    if (isinf(greatest)) continue; // no sample here
    out->time_s[out->n] = s->least_s[low];
    out->at[out->n] = s->least_at[low];
    out->ceiling[out->n] = greatest;
    out->value[out->n++] = s->least[low];
  }
}

tm_status tm_floors_compute(tm_ctx *ctx, const int64_t *time_ns, const double *value, size_t n,
                            uint32_t buckets, tm_floors *out) {
  samples in = {time_ns, value, n};
  *out = (tm_floors){.unit = 1};
  int64_t first_ns = survey(&in, out);
  if (out->used < 2) return TM_OK;
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  slots *s = tm_arena_alloc(&ctx->scratch, sizeof *s);
  if (!s) return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory for a trend's floors");
  size_t wanted = buckets && buckets < TM_FLOORS_MAX ? buckets : TM_FLOORS_MAX;
  if (wanted > out->used) wanted = out->used;
  // Whole samples per slot, lest slots of two and slots of three beat like a cycle.
  size_t slots_wanted = wanted * SLOTS_PER_BUCKET;
  size_t per_slot = (out->used + slots_wanted / 2) / slots_wanted;
  s->n = per_slot > 1 ? out->used / per_slot : out->used;
  fill_slots(&in, first_ns, out, s);
  detrend(s);
  double cycle = cycle_of(s);
  out->cycle_s = cycle * s->slot_s;
  make_floors(s, buckets_for(s, wanted, cycle), out);
  tm_arena_rewind(&ctx->scratch, mark);
  return TM_OK;
}
