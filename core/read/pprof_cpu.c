// gperftools' binary CPU profiles: words of 4 or 8 bytes in either byte order. Header 0, 3, 0 (1 =
// from Java), period in µs, 0; then {count, depth, addresses…}; {0, 1, 0} ends them. Behind stands
// the memory map, or for Java the lines that name the addresses. Frames of the signal handler are
// taken out of the stacks. One pass. Source: gperftools' cpuprofile format; behaviour of
// google/pprof's parser.
#include "read/java_names.h"
#include "read/reader.h"

enum { SIMILAR = 32, HANDLER_FRAMES = 2 };

typedef struct words {
  const uint8_t *start, *at, *end;
  unsigned size; // 4 or 8
  bool big_endian;
} words;

static bool take(words *w, uint64_t *out) {
  if ((size_t)(w->end - w->at) < w->size) return false;
  uint64_t value = 0;
  for (unsigned i = 0; i < w->size; i++)
    value = value << 8 | w->at[w->big_endian ? i : w->size - 1 - i];
  w->at += w->size;
  *out = value;
  return true;
}

typedef struct header {
  uint64_t period_us;
  bool java;
} header;

// Finds the word size and byte order in which the header makes sense.
static bool read_header(const uint8_t *data, size_t size, words *w, header *h) {
  for (unsigned form = 0; form < 4; form++) {
    *w = (words){data, data, data + size, form < 2 ? 4 : 8, form & 1};
    uint64_t n[5] = {1, 0, 0, 0, 1};
    bool whole = true;
    for (unsigned i = 0; i < 5 && whole; i++) whole = take(w, &n[i]);
    if (!whole || n[0] || n[1] != 3 || n[2] > 1 || !n[3] || n[4]) continue;
    if (n[3] > INT64_MAX) continue;
    *h = (header){.period_us = n[3], .java = n[2] == 1};
    return true;
  }
  return false;
}

static tm_status cut(tm_legacy *lg, const words *w) {
  uint64_t at = (uint64_t)(w->at - w->start);
  return tm_fail(lg->ctx, TM_E_FORMAT, at, "the sample at byte %llu runs past the end",
                 (unsigned long long)at);
}

static tm_status read_samples(tm_legacy *lg, words *w, const header *h) {
  uint64_t period_ns = (uint64_t)lg->p->period;
  while (w->at < w->end) {
    uint64_t count, depth, address = 0;
    const words before = *w;
    if (!take(w, &count) || !take(w, &depth) || depth > (uint64_t)(w->end - w->at) / w->size)
      return cut(lg, &before);
    for (uint64_t i = 0; i < depth; i++) {
      uint32_t location;
      take(w, &address);
      if (!count && depth == 1 && !address) return TM_OK;
      if (!h->java && i) address--;
      TM_TRY(tm_legacy_location(lg, address, &location));
      TM_TRY(tm_vec_push(lg->ctx, &lg->p->stack, location));
    }
    int64_t values[2] = {(int64_t)count, (int64_t)(count * period_ns)};
    TM_TRY(tm_profile_end_sample(lg->ctx, lg->p, values));
  }
  return TM_OK;
}

// --- the signal handler's frames ---

// The location that is second in nearly all stacks, or TM_PROFILE_NONE.
static tm_status find_handler(tm_legacy *lg, uint32_t *out) {
  const tm_profile *p = lg->p;
  size_t locations = p->locations.count, margin = p->sample_count / SIMILAR;
  uint32_t *seen = tm_calloc(lg->ctx, locations + 1, sizeof *seen);
  if (!seen) return TM_E_NOMEM;
  *out = TM_PROFILE_NONE;
  for (uint32_t s = 0; s < p->sample_count; s++) {
    uint32_t begin = tm_profile_stack_begin(p, s);
    if (p->stack_end.items[s] - begin > 1) {
      uint32_t second = p->stack.items[begin + 1];
      if (++seen[second] >= p->sample_count - margin) *out = second;
    }
  }
  tm_free(lg->ctx, seen, (locations + 1) * sizeof *seen);
  return TM_OK;
}

static void drop_second(tm_profile *p, uint32_t location) {
  uint32_t to = 0, begin = 0;
  for (uint32_t s = 0; s < p->sample_count; s++) {
    uint32_t end = p->stack_end.items[s];
    for (uint32_t i = begin; i < end; i++)
      if (i != begin + 1 || p->stack.items[i] != location) p->stack.items[to++] = p->stack.items[i];
    begin = end;
    p->stack_end.items[s] = to;
  }
  p->stack.count = to;
}

static tm_status drop_handler(tm_legacy *lg) {
  for (int i = 0; i < HANDLER_FRAMES; i++) {
    uint32_t location;
    TM_TRY(find_handler(lg, &location));
    if (location != TM_PROFILE_NONE) drop_second(lg->p, location);
  }
  return TM_OK;
}

static tm_status read_profile(tm_legacy *lg) {
  static const char *const types[] = {"samples", "count", "cpu", "nanoseconds"};
  words w;
  header h;
  const uint8_t *data = (const uint8_t *)lg->l.start;
  if (!read_header(data, (size_t)(lg->l.end - lg->l.start), &w, &h))
    return tm_fail(lg->ctx, TM_E_FORMAT, 0, "no binary CPU profile begins like this");
  TM_TRY(tm_legacy_types(lg, types, 4));
  TM_TRY(tm_legacy_period(lg, "cpu", "nanoseconds", (int64_t)(h.period_us * 1000)));
  TM_TRY(tm_legacy_leave_out(lg, TM_LEGACY_OTHER));
  TM_TRY(read_samples(lg, &w, &h));
  lg->l.next = (const char *)w.at;
  if (h.java) return tm_java_read_names(lg);
  TM_TRY(drop_handler(lg));
  TM_TRY(tm_legacy_read_map(lg, true));
  tm_legacy_drop_double_leaves(lg->p);
  return TM_OK;
}

static tm_status cpu_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  return tm_legacy_run(ctx, src, out, read_profile);
}

static unsigned cpu_probe(const uint8_t *head, size_t head_bytes) {
  words w;
  header h;
  return read_header(head, head_bytes, &w, &h) ? 100 : 0;
}

const tm_reader tm_reader_pprof_cpu = {.name = "pprof-cpu",
                                       .title = "binary CPU profile (gperftools)",
                                       .kind = TM_KIND_PROFILE,
                                       .probe = cpu_probe,
                                       .read = cpu_read};
