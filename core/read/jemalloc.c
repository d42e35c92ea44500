// jemalloc's heap profiles: "heap_v2/RATE", the sums per thread, then for each stack "@ 0x…", its
// sum over threads ("t*:") and its share per thread ("t3:"), and the memory map. Each thread's
// share becomes a sample with the label thread. Sampled pairs are scaled up by the factor of the
// stack's sum, so that shares still add up to it. One pass. Source: jemalloc's prof_data.c
// (heap_v2).
#include "read/legacy.h"
#include "read/reader.h"

#define MAX_FRAMES (UINT32_C(1) << 26) // of all samples: hostile shares multiply their stack

typedef struct counts {
  int64_t objects, bytes, all_objects, all_bytes;
} counts;

typedef struct share {
  tm_text thread, name;
  counts n;
} share;

typedef struct je_reader {
  tm_legacy *lg;
  int64_t rate;
  bool has_alloc, in_stack, has_sum;
  counts sum;
  TM_VEC(share) shares;
  TM_VEC(uint32_t) stack; // of the samples being made: each has its own copy in the profile
  uint32_t thread_key, name_key;
} je_reader;

static void blanks(tm_text *t) {
  while (text_take(t, ' ')) continue;
}

static bool take_count(tm_text *t, int64_t *out) {
  blanks(t);
  return t->size && t->at[0] != '-' && text_int(t, out);
}

// "t3: 12: 6496 [0: 0] NAME"
static bool split_share(tm_text t, share *s) {
  t = text_trim(t);
  size_t n = 0;
  while (n < t.size && t.at[n] != ':') n++;
  s->thread = (tm_text){t.at, n};
  t = text_skip(t, n + 1);
  bool ok = n > 1 && s->thread.at[0] == 't' && take_count(&t, &s->n.objects) && text_take(&t, ':')
            && take_count(&t, &s->n.bytes);
  blanks(&t);
  ok = ok && text_take(&t, '[') && take_count(&t, &s->n.all_objects) && text_take(&t, ':')
       && take_count(&t, &s->n.all_bytes) && text_take(&t, ']');
  s->thread = text_skip(s->thread, 1);
  s->name = text_trim(t);
  return ok;
}

static bool is_sum(const share *s) {
  return s->thread.size == 1 && s->thread.at[0] == '*';
}

// --- a stack's samples ---

static tm_status scale_pair(je_reader *r, int64_t *objects, int64_t *bytes, double *ratio) {
  int64_t before = *bytes; // rounds less than objects
  TM_TRY(tm_legacy_unsample(r->lg, objects, bytes, r->rate));
  *ratio = before ? (double)*bytes / (double)before : 0;
  return TM_OK;
}

static tm_status add_label(je_reader *r, uint32_t key, tm_text text) {
  tm_label l = {.key = key};
  if (!text.size) return TM_OK;
  TM_TRY(tm_profile_intern(r->lg->ctx, r->lg->p, text.at, text.size, &l.text));
  return tm_vec_push(r->lg->ctx, &r->lg->p->labels, l);
}

static tm_status add_sample(je_reader *r, const share *s, const counts *n) {
  tm_profile *p = r->lg->p;
  int64_t values[4] = {n->all_objects, n->all_bytes, n->objects, n->bytes};
  if (!n->objects && !n->bytes && !n->all_objects && !n->all_bytes) return TM_OK;
  if (p->stack.count + r->stack.count > MAX_FRAMES)
    return tm_fail(r->lg->ctx, TM_E_LIMIT, lines_offset(&r->lg->l),
                   "the samples have more than %u frames", MAX_FRAMES);
  for (size_t i = 0; i < r->stack.count; i++)
    TM_TRY(tm_vec_push(r->lg->ctx, &p->stack, r->stack.items[i]));
  if (s) {
    TM_TRY(add_label(r, r->thread_key, s->thread));
    TM_TRY(add_label(r, r->name_key, s->name));
  }
  return tm_profile_end_sample(r->lg->ctx, p, values + (r->has_alloc ? 0 : 2));
}

static void subtract(counts *from, const counts *n) {
  from->objects -= n->objects;
  from->bytes -= n->bytes;
  from->all_objects -= n->all_objects;
  from->all_bytes -= n->all_bytes;
}

static counts scaled(const counts *n, double in_use, double all) {
  return (counts){(int64_t)((double)n->objects * in_use), (int64_t)((double)n->bytes * in_use),
                  (int64_t)((double)n->all_objects * all), (int64_t)((double)n->all_bytes * all)};
}

// The last thread gets what is left of the sum when the raw shares add up to it (so that rounding
// loses nothing); what no thread claims becomes a sample without label.
static tm_status end_stack(je_reader *r) {
  if (!r->in_stack) return TM_OK;
  r->in_stack = false;
  if (!r->has_sum) return tm_legacy_bad_line(r->lg, "a stack without its sum (t*)");
  counts raw = r->sum, rest = r->sum;
  double in_use, all;
  TM_TRY(scale_pair(r, &rest.objects, &rest.bytes, &in_use));
  TM_TRY(scale_pair(r, &rest.all_objects, &rest.all_bytes, &all));
  for (size_t i = 0; i < r->shares.count; i++) {
    const share *s = &r->shares.items[i];
    const counts *n = &s->n;
    if (n->objects > raw.objects || n->bytes > raw.bytes || n->all_objects > raw.all_objects
        || n->all_bytes > raw.all_bytes)
      return tm_legacy_bad_line(r->lg, "threads that hold more than their sum");
    subtract(&raw, n);
    bool last = !raw.objects && !raw.bytes && !raw.all_objects && !raw.all_bytes;
    counts part = last ? rest : scaled(n, in_use, all);
    subtract(&rest, &part);
    TM_TRY(add_sample(r, s, &part));
  }
  return add_sample(r, NULL, &rest);
}

// --- lines ---

static tm_status begin_stack(je_reader *r, tm_text t) {
  tm_profile *p = r->lg->p;
  TM_TRY(end_stack(r));
  uint32_t begin = (uint32_t)p->stack.count;
  TM_TRY(tm_legacy_stack(r->lg, text_skip(t, 1), 0));
  r->stack.count = 0;
  for (size_t i = begin; i < p->stack.count; i++)
    TM_TRY(tm_vec_push(r->lg->ctx, &r->stack, p->stack.items[i]));
  p->stack.count = begin;
  r->in_stack = true;
  r->has_sum = false;
  r->shares.count = 0;
  return TM_OK;
}

static tm_status read_share(je_reader *r, tm_text t) {
  share s = {0};
  if (!split_share(t, &s)) return tm_legacy_bad_line(r->lg, "a thread's share of another shape");
  if (!r->in_stack) { // the sums of the whole
    if (is_sum(&s)) r->has_alloc = s.n.all_objects || s.n.all_bytes;
    return TM_OK;
  }
  if (!is_sum(&s)) return tm_vec_push(r->lg->ctx, &r->shares, s);
  if (r->has_sum) return tm_legacy_bad_line(r->lg, "a second sum for one stack");
  r->has_sum = true;
  r->sum = s.n;
  return TM_OK;
}

static tm_status set_types(je_reader *r) {
  static const char *const all[] = {"alloc_objects", "count", "alloc_space", "bytes",
                                    "inuse_objects", "count", "inuse_space", "bytes"};
  return r->has_alloc ? tm_legacy_types(r->lg, all, 8) : tm_legacy_types(r->lg, all + 4, 4);
}

static bool read_header(tm_text t, int64_t *rate) {
  if (!text_starts(t, "heap_v2/")) return false;
  t = text_skip(t, 8);
  return take_count(&t, rate) && *rate > 0 && !t.size;
}

static tm_status read_lines(je_reader *r) {
  tm_legacy *lg = r->lg;
  if (!lines_next(&lg->l) || !read_header(lg->l.line, &r->rate))
    return tm_fail(lg->ctx, TM_E_FORMAT, 0, "no heap profile of jemalloc begins like this");
  TM_TRY(tm_legacy_period(lg, "space", "bytes", r->rate));
  TM_TRY(tm_legacy_leave_out(lg, TM_LEGACY_JEMALLOC));
  TM_TRY(tm_profile_intern(lg->ctx, lg->p, "thread", 6, &r->thread_key));
  TM_TRY(tm_profile_intern(lg->ctx, lg->p, "thread_name", 11, &r->name_key));
  while (lines_next(&lg->l)) {
    tm_text t = text_trim(lg->l.line);
    if (!t.size) continue;
    if (tm_legacy_is_map_start(t)) break;
    if (t.at[0] == '@') {
      if (!lg->p->types.count) TM_TRY(set_types(r));
      TM_TRY(begin_stack(r, t));
    } else {
      TM_TRY(read_share(r, t));
    }
  }
  if (!lg->p->types.count) TM_TRY(set_types(r));
  return end_stack(r);
}

static tm_status read_profile(tm_legacy *lg) {
  je_reader r = {.lg = lg};
  tm_status status = read_lines(&r);
  tm_vec_free(lg->ctx, &r.shares);
  tm_vec_free(lg->ctx, &r.stack);
  TM_TRY(status);
  return tm_legacy_read_map(lg, tm_legacy_is_map_start(lg->l.line));
}

static tm_status jemalloc_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  return tm_legacy_run(ctx, src, out, read_profile);
}

static unsigned jemalloc_probe(const uint8_t *head, size_t head_bytes) {
  lines l = lines_of(head, head_bytes);
  int64_t rate;
  return lines_next(&l) && read_header(l.line, &rate) ? 90 : 0;
}

const tm_reader tm_reader_jemalloc = {.name = "jemalloc",
                                      .title = "heap profile of jemalloc (heap_v2)",
                                      .kind = TM_KIND_PROFILE,
                                      .probe = jemalloc_probe,
                                      .read = jemalloc_read};
