// Two passes. First each mapping goes to its owner, or to one of three pools whose owners only a
// runtime can tell apart: Go's heap, malloc's, and anonymous memory. Exact ranges are cut out of
// the mappings before. Then what runtimes tell is taken from the pools, never more than is resident
// there; a pool's rest is the owner that holds the pages (Go, malloc), or unexplained.
#include "analyze/accounting.h"

#include <math.h>
#include <string.h>

static const tm_owner_info owners[] = {
#define TM_OWNER(id, name, group, title) {name, group, title},
#include "analyze/accounting.def"
#undef TM_OWNER
};

const tm_owner_info *tm_owner_describe(tm_owner owner) {
  return (size_t)owner < TM_OWNER_COUNT ? &owners[owner] : NULL;
}

tm_owner tm_owner_by_name(const char *name) {
  size_t i = 0;
  while (i < TM_OWNER_COUNT && strcmp(owners[i].name, name) != 0) i++;
  return (tm_owner)i;
}

// ---- division ----

enum { POOL_ANON, POOL_C, POOL_GO, POOL_COUNT };

typedef struct pool {
  double bytes, swap_bytes;
  uint32_t mapping_count;
  uint64_t largest_start, largest_bytes;
  const char *largest_name;
} pool;

typedef struct division {
  const tm_account_input *input;
  tm_account *out;
  pool pools[POOL_COUNT];
  double covered[TM_OWNER_COUNT]; // bytes of mappings, resident or not
  size_t next_range;
} division;

static void give(tm_account_row *row, const tm_account_vma *v, double bytes, double swap) {
  row->bytes += bytes;
  row->swap_bytes += swap;
  if (bytes * 2 < (double)v->rss_bytes) return;
  row->mapping_count++;
  if (v->rss_bytes > row->largest_bytes) {
    row->largest_bytes = v->rss_bytes;
    row->largest_start = v->start;
    row->largest_name = v->name;
  }
}

static void give_pool(pool *p, const tm_account_vma *v, double bytes, double swap) {
  p->bytes += bytes;
  p->swap_bytes += swap;
  p->mapping_count++;
  if (v->rss_bytes > p->largest_bytes) {
    p->largest_bytes = v->rss_bytes;
    p->largest_start = v->start;
    p->largest_name = v->name;
  }
}

// The bytes of a mapping that exact ranges own are given to them; answers the share that is left.
// Ranges come in order, as mappings do: those that end before this mapping are behind us.
static double cut_ranges(division *d, const tm_account_vma *v) {
  const tm_account_input *in = d->input;
  double size = (double)(v->end - v->start), left = 1;
  while (d->next_range < in->range_count && in->ranges[d->next_range].end <= v->start)
    d->next_range++;
  for (size_t i = d->next_range; i < in->range_count && in->ranges[i].start < v->end; i++) {
    const tm_account_range *r = &in->ranges[i];
    uint64_t from = r->start > v->start ? r->start : v->start;
    uint64_t to = r->end < v->end ? r->end : v->end;
    double share = (double)(to - from) / size;
    if (v->place != TM_PLACE_NO_ACCESS) d->covered[r->owner] += (double)(to - from);
    if (r->owner == TM_OWNER_C_HEAP)
      give_pool(&d->pools[POOL_C], v, share * (double)v->rss_bytes, share * (double)v->swap_bytes);
    else
      give(&d->out->rows[r->owner], v, share * (double)v->rss_bytes, share * (double)v->swap_bytes);
    left -= share;
  }
  return left > 1e-9 ? left : 0;
}

static void place(division *d, const tm_account_vma *v) {
  static const tm_owner by_place[TM_PLACE_COUNT] = {
      [TM_PLACE_STACK] = TM_OWNER_STACKS,
      [TM_PLACE_V8_HEAP] = TM_OWNER_V8_HEAP,
      [TM_PLACE_V8_BUFFERS] = TM_OWNER_V8_ARRAY_BUFFERS,
      [TM_PLACE_BLINK_HEAP] = TM_OWNER_V8_EXTERNAL,
      [TM_PLACE_EXECUTABLE] = TM_OWNER_EXECUTABLE,
      [TM_PLACE_LIBRARY] = TM_OWNER_LIBRARIES,
      [TM_PLACE_FILE] = TM_OWNER_FILES,
      [TM_PLACE_SHARED] = TM_OWNER_SHARED,
      [TM_PLACE_GPU] = TM_OWNER_GPU,
  };
  d->out->rss_bytes += (double)v->rss_bytes;
  double left = cut_ranges(d, v);
  if (left <= 0 || (!v->rss_bytes && !v->swap_bytes)) return;
  double bytes = left * (double)v->rss_bytes, swap = left * (double)v->swap_bytes;
  switch (v->place) {
  case TM_PLACE_ANON:
  case TM_PLACE_NO_ACCESS:
    give_pool(&d->pools[POOL_ANON], v, bytes, swap);
    return;
  case TM_PLACE_C_HEAP:
    give_pool(&d->pools[POOL_C], v, bytes, swap);
    return;
  case TM_PLACE_GO_HEAP:
    give_pool(&d->pools[POOL_GO], v, bytes, swap);
    return;
  default:
    break;
  }
  tm_owner owner = by_place[v->place];
  if (owner == TM_OWNER_STACKS && d->input->runtime == TM_RUNTIME_JVM
      && strncmp(v->name, "[stack", 6) != 0)
    owner = TM_OWNER_JVM_THREADS;
  d->covered[owner] += left * (double)(v->end - v->start);
  give(&d->out->rows[owner], v, bytes, swap);
}

// Takes from a pool what an owner is told to have and does not have yet, at most what is there.
static void claim(division *d, tm_owner owner, size_t from) {
  double told = d->input->told[owner];
  tm_account_row *row = &d->out->rows[owner];
  pool *p = &d->pools[from];
  if (isnan(told) || told <= d->covered[owner] || p->bytes <= 0) return;
  double take = fmin(told - d->covered[owner], p->bytes);
  d->covered[owner] += take;
  double swap = p->swap_bytes * (take / p->bytes);
  row->bytes += take;
  row->swap_bytes += swap;
  p->bytes -= take;
  p->swap_bytes -= swap;
}

static void rest(division *d, tm_owner owner, size_t from) {
  tm_account_row *row = &d->out->rows[owner];
  const pool *p = &d->pools[from];
  row->bytes += p->bytes;
  row->swap_bytes += p->swap_bytes;
  row->mapping_count = p->mapping_count;
  row->largest_start = p->largest_start;
  row->largest_bytes = p->largest_bytes;
  row->largest_name = p->largest_name;
}

static void divide_pools(division *d) {
  const double *told = d->input->told;
  claim(d, TM_OWNER_GO_HEAP_INUSE, POOL_GO);
  claim(d, TM_OWNER_GO_STACKS, POOL_GO);
  rest(d, isnan(told[TM_OWNER_GO_HEAP_INUSE]) ? TM_OWNER_GO_HEAP : TM_OWNER_GO_HEAP_IDLE, POOL_GO);
  // Buffers of scripts lie in malloc's memory, or have mappings of their own.
  claim(d, TM_OWNER_V8_ARRAY_BUFFERS, POOL_C);
  claim(d, TM_OWNER_V8_EXTERNAL, POOL_C);
  static const tm_owner from_anon[] = {
      TM_OWNER_GO_RUNTIME, TM_OWNER_JVM_HEAP, TM_OWNER_JVM_METASPACE,    TM_OWNER_JVM_CODE,
      TM_OWNER_JVM_OTHER,  TM_OWNER_V8_HEAP,  TM_OWNER_V8_ARRAY_BUFFERS, TM_OWNER_V8_EXTERNAL,
  };
  for (size_t i = 0; i < sizeof from_anon / sizeof *from_anon; i++)
    claim(d, from_anon[i], POOL_ANON);
  bool c_told = !isnan(told[TM_OWNER_C_HEAP_INUSE]);
  claim(d, TM_OWNER_C_HEAP_INUSE, POOL_C);
  rest(d, c_told ? TM_OWNER_C_HEAP_FREE : TM_OWNER_C_HEAP, POOL_C);
  bool jvm_silent = d->input->runtime == TM_RUNTIME_JVM && isnan(told[TM_OWNER_JVM_HEAP])
                    && d->covered[TM_OWNER_JVM_HEAP] <= 0;
  rest(d, jvm_silent ? TM_OWNER_JVM : TM_OWNER_UNEXPLAINED, POOL_ANON);
}

void tm_account_divide(const tm_account_input *input, tm_account *out) {
  *out = (tm_account){0};
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) {
    out->rows[i].told_bytes = input->told[i];
    out->rows[i].largest_name = "";
  }
  division d = {.input = input, .out = out};
  for (size_t i = 0; i < POOL_COUNT; i++) d.pools[i].largest_name = "";
  for (size_t i = 0; i < input->vma_count; i++) place(&d, &input->vmas[i]);
  divide_pools(&d);
}

double tm_account_group_bytes(const tm_account *account, const char *group) {
  double sum = 0;
  for (size_t i = 0; i < TM_OWNER_COUNT; i++)
    if (strcmp(owners[i].group, group) == 0) sum += account->rows[i].bytes;
  return sum;
}
