// pprof's legacy text forms: heap, count (goroutine, threadcreate, …), contention and threadz, each
// a header, lines of numbers with addresses, and an optional memory map. Unlike the reference this
// reads the symbol lines ("#\t0xPC\tfunc+0xOFF\tfile:line"), labels and MemStats that Go writes
// beside them. Addresses are return addresses, so 1 is subtracted. Cost: one pass; a known address
// costs one hash look-up.
// Source: behaviour of google/pprof's legacy parsers and of Go's runtime/pprof with debug=1.
#include "read/legacy.h"
#include "read/reader.h"

#include <math.h>
#include <stdlib.h>

typedef struct text_reader {
  tm_legacy *lg;
  uint32_t bytes_key;
  // of the sample being read, whose locations may still get lines
  bool in_block, symbolized;
  int64_t values[4];
  bool sized;         // of a heap: has the label
  int64_t block_size; // bytes of one object, for the label; 0 = no object
} text_reader;

// --- samples ---

static bool is_named(const tm_profile *p, uint32_t at) {
  const tm_location *loc = &p->locations.items[p->stack.items[at]];
  return loc->line_end > loc->line_begin;
}

// Go leaves the runtime's own frames at both ends without symbols (the allocator, goexit): with the
// others named they say nothing, and debug=0 has none of them either.
static void drop_unnamed_ends(tm_profile *p, uint32_t begin) {
  uint32_t first = begin, end = (uint32_t)p->stack.count;
  while (first < end && !is_named(p, first)) first++;
  while (end > first && !is_named(p, end - 1)) end--;
  if (first == end) return;
  memmove(p->stack.items + begin, p->stack.items + first, (end - first) * sizeof *p->stack.items);
  p->stack.count = begin + (end - first);
}

static tm_status end_block(text_reader *r) {
  tm_profile *p = r->lg->p;
  if (!r->in_block) return TM_OK;
  r->in_block = false;
  if (r->symbolized) drop_unnamed_ends(p, tm_profile_stack_begin(p, p->sample_count));
  r->symbolized = false;
  if (r->sized) {
    tm_label l = {.key = r->bytes_key, .numeric = true, .number = r->block_size};
    TM_TRY(tm_vec_push(r->lg->ctx, &p->labels, l));
  }
  return tm_profile_end_sample(r->lg->ctx, p, r->values);
}

static tm_status add_stat(text_reader *r, tm_text name, const char *suffix, double value) {
  char text[64];
  size_t size = name.size + strlen(suffix);
  if (size > sizeof text) return TM_OK;
  memcpy(text, name.at, name.size);
  memcpy(text + name.size, suffix, size - name.size);
  tm_profile_stat stat = {.value = value};
  TM_TRY(tm_profile_intern(r->lg->ctx, r->lg->p, text, size, &stat.name));
  return tm_vec_push(r->lg->ctx, &r->lg->p->stats, stat);
}

// "# Name = value" of MemStats, MaxRSS and the like, or "# Name = in use / from the system". Lists
// ("[…]") and words are left.
static tm_status read_stat(text_reader *r, tm_text t) {
  const char *equals = memchr(t.at, '=', t.size);
  if (!equals) return TM_OK;
  tm_text name = text_trim((tm_text){t.at, (size_t)(equals - t.at)});
  tm_text digits = text_trim(text_skip(t, (size_t)(equals - t.at) + 1));
  char copy[64], *end;
  if (!name.size || !digits.size || digits.size >= sizeof copy) return TM_OK;
  memcpy(copy, digits.at, digits.size);
  copy[digits.size] = '\0';
  if (!strchr("0123456789-", copy[0])) return TM_OK;
  double value = strtod(copy, &end);
  if (end == copy || (*end && strncmp(end, " / ", 3) != 0)) return TM_OK;
  TM_TRY(add_stat(r, name, "", value));
  return *end ? add_stat(r, name, "Sys", strtod(end + 3, NULL)) : TM_OK;
}

// Cuts "func+0xOFF" to its function and "file:line" to its file and line.
static int64_t split_symbol(tm_text *name, tm_text *place) {
  for (size_t i = name->size; i > 3; i--)
    if (memcmp(name->at + i - 3, "+0x", 3) == 0) {
      name->size = i - 3;
      break;
    }
  *name = text_trim(*name);
  size_t colon = place->size;
  while (colon && place->at[colon - 1] != ':') colon--;
  tm_text number = text_skip(*place, colon);
  if (colon) place->size = colon - 1;
  int64_t line = 0;
  return colon && text_int(&number, &line) ? line : 0;
}

// A line that begins with '#': a symbol "#\t0xPC\tfunc+0xOFF\tfile:line", or a number.
static tm_status read_comment(text_reader *r) {
  tm_profile *p = r->lg->p;
  tm_text t = text_trim(text_skip(r->lg->l.line, 1));
  uint64_t pc;
  if (!text_starts(t, "0x")) return read_stat(r, t);
  if (!text_hex(&t, &pc)) return TM_OK;
  r->symbolized = true;
  uint32_t location = tm_idmap_get(&r->lg->addresses, pc);
  if (location == TM_IDMAP_NONE) return TM_OK;
  tm_location *loc = &p->locations.items[location];
  if (loc->line_end > loc->line_begin) return TM_OK;
  text_spaces(&t);
  const char *tab = memchr(t.at, '\t', t.size);
  tm_text name = {t.at, tab ? (size_t)(tab - t.at) : t.size};
  tm_text place = text_trim(text_skip(t, name.size));
  int64_t line = split_symbol(&name, &place);
  uint32_t function;
  TM_TRY(tm_frames_function(r->lg->ctx, &r->lg->frames, p, name, place, &function));
  loc->line_begin = (uint32_t)p->lines.count;
  loc->line_end = loc->line_begin + 1;
  return tm_vec_push(r->lg->ctx, &p->lines, (tm_line){function, line, 0});
}

// Everything between samples: symbols, comments, blank lines. True when the line was one of these.
static tm_status between_samples(text_reader *r, bool *taken) {
  tm_text t = text_trim(r->lg->l.line);
  *taken = !t.size || t.at[0] == '#';
  if (*taken) return t.size ? read_comment(r) : TM_OK;
  return end_block(r);
}

// --- heap ---

typedef struct heap_header {
  int64_t in_use_count, in_use_bytes, alloc_count, alloc_bytes, rate;
  bool sampled, has_alloc;
} heap_header;

static bool take_blanks(tm_text *t) {
  while (text_take(t, ' ')) continue;
  return true;
}

static bool take_pair(tm_text *t, int64_t *count, int64_t *bytes) {
  return text_int(t, count) && text_take(t, ':') && take_blanks(t) && text_int(t, bytes)
         && take_blanks(t);
}

// "IO: IB [AO: AB] @"; t is left behind the @.
static bool read_counts(tm_text *t, heap_header *h) {
  return take_blanks(t) && take_pair(t, &h->in_use_count, &h->in_use_bytes) && text_take(t, '[')
         && take_blanks(t) && take_pair(t, &h->alloc_count, &h->alloc_bytes) && text_take(t, ']')
         && text_take(t, ' ') && text_take(t, '@') && h->alloc_count >= 0 && h->alloc_bytes >= 0;
}

// The reference compares the header's numbers as texts.
static bool has_leading_zero(tm_text t) {
  for (size_t i = 1; i + 1 < t.size && t.at[i] != '@'; i++)
    if (t.at[i] == '0' && (t.at[i - 1] < '0' || t.at[i - 1] > '9') && t.at[i + 1] >= '0'
        && t.at[i + 1] <= '9')
      return true;
  return false;
}

static bool read_heap_header(tm_text t, heap_header *h) {
  if (!text_starts(t, "heap profile:") || has_leading_zero(t)) return false;
  t = text_skip(t, 13);
  if (!read_counts(&t, h) || h->in_use_count < 0 || h->in_use_bytes < 0) return false;
  take_blanks(&t);
  size_t n = 0;
  while (n < t.size && t.at[n] != '/' && t.at[n] != ' ') n++;
  tm_text kind = {t.at, n};
  t = text_skip(t, n);
  bool has_rate = text_take(&t, '/') && t.size;
  h->rate = 0;
  if (has_rate && (!text_int(&t, &h->rate) || h->rate < 0)) return false;
  h->has_alloc = (h->alloc_count != h->in_use_count && h->alloc_count)
                 || (h->alloc_bytes != h->in_use_bytes && h->alloc_bytes);
#define IS(word) (kind.size == strlen(word) && memcmp(kind.at, word, kind.size) == 0)
  h->sampled = IS("heap") || IS("heap_v2") || IS("heapz_v2");
  if (IS("heap")) h->rate /= 2; // Go writes twice its rate
  if (!h->sampled) h->rate = 1;
  bool growth = text_starts(kind, "growth") || text_starts(kind, "fragmentation");
  if (growth) h->has_alloc = false;
  return h->sampled || IS("heapprofile") || growth;
#undef IS
}

static tm_status heap_pair(text_reader *r, const heap_header *h, int64_t count, int64_t size,
                           int64_t *out) {
  if (!count && size) return tm_legacy_bad_line(r->lg, "bytes without objects");
  if (count) {
    r->block_size = size / count;
    if (h->sampled) TM_TRY(tm_legacy_unsample(r->lg, &count, &size, h->rate));
  }
  out[0] = count;
  out[1] = size;
  return TM_OK;
}

static tm_status read_heap_sample(text_reader *r, const heap_header *header) {
  heap_header h = {0};
  tm_text t = text_trim(r->lg->l.line);
  if (!read_counts(&t, &h)) return tm_legacy_bad_line(r->lg, "a heap sample of another shape");
  r->block_size = 0;
  r->sized = true;
  int64_t *at = r->values;
  if (header->has_alloc) {
    TM_TRY(heap_pair(r, header, h.alloc_count, h.alloc_bytes, at));
    at += 2;
  }
  TM_TRY(heap_pair(r, header, h.in_use_count, h.in_use_bytes, at));
  r->in_block = true;
  return tm_legacy_stack(r->lg, t, 0);
}

static tm_status read_heap(text_reader *r) {
  heap_header h = {0};
  if (!read_heap_header(r->lg->l.line, &h))
    return tm_legacy_bad_line(r->lg, "a heap header of another shape");
  static const char *const all[] = {"alloc_objects", "count", "alloc_space", "bytes",
                                    "inuse_objects", "count", "inuse_space", "bytes"};
  static const char *const two[] = {"objects", "count", "space", "bytes"};
  TM_TRY(tm_legacy_types(r->lg, h.has_alloc ? all : two, h.has_alloc ? 8 : 4));
  TM_TRY(tm_legacy_period(r->lg, "space", "bytes", h.rate));
  TM_TRY(tm_legacy_leave_out(r->lg, TM_LEGACY_HEAP));
  while (lines_next(&r->lg->l)) {
    bool taken;
    TM_TRY(between_samples(r, &taken));
    if (taken) continue;
    if (tm_legacy_is_map_start(r->lg->l.line)) break;
    TM_TRY(read_heap_sample(r, &h));
  }
  return TM_OK;
}

// --- counts ---

// A number without a sign and without leading zeros (which the reference takes for octal).
static bool take_plain(tm_text *t, int64_t *out) {
  bool zero = t->size > 1 && t->at[0] == '0' && t->at[1] >= '0' && t->at[1] <= '9';
  return t->size && t->at[0] != '-' && !zero && text_int(t, out);
}

static tm_status read_count(text_reader *r) {
  tm_text t = r->lg->l.line;
  size_t n = 0;
  while (n < t.size && t.at[n] != ' ') n++;
  uint32_t id;
  TM_TRY(tm_profile_intern(r->lg->ctx, r->lg->p, t.at, n, &id));
  const char *name = tm_profile_text(r->lg->p, id);
  TM_TRY(tm_profile_add_type(r->lg->ctx, r->lg->p, name, "count"));
  TM_TRY(tm_legacy_period(r->lg, name, "count", 1));
  TM_TRY(tm_legacy_leave_out(r->lg, TM_LEGACY_OTHER));
  while (lines_next(&r->lg->l)) {
    bool taken;
    TM_TRY(between_samples(r, &taken));
    if (taken) continue;
    t = r->lg->l.line;
    if (text_starts(t, "---")) break;
    bool loose = memmem(t.at, t.size, "  ", 2) || t.at[t.size - 1] == ' ';
    if (loose || !take_plain(&t, &r->values[0]) || !text_starts(t, " @ 0x"))
      return tm_legacy_bad_line(r->lg, "a count sample of another shape");
    r->in_block = true;
    TM_TRY(tm_legacy_stack(r->lg, text_skip(t, 2), 0));
  }
  return TM_OK;
}

// --- contention ---

typedef struct contention {
  int64_t hz, period;
} contention;

static bool key_is(tm_text key, const char *word) {
  return key.size == strlen(word) && memcmp(key.at, word, key.size) == 0;
}

// "key = value" lines in front of the samples; false at the first sample.
static tm_status read_attribute(text_reader *r, contention *c, bool *is_attribute) {
  tm_text t = text_trim(r->lg->l.line);
  const char *equals = memchr(t.at, '=', t.size);
  *is_attribute = equals != NULL;
  if (!equals) return TM_OK;
  tm_text key = text_trim((tm_text){t.at, (size_t)(equals - t.at)});
  tm_text value = text_trim(text_skip(t, (size_t)(equals - t.at) + 1));
  int64_t number = 0;
  if (key_is(key, "discarded samples")) return TM_OK;
  bool ok = take_plain(&value, &number) && !value.size;
  if (ok && key_is(key, "cycles/second"))
    c->hz = number;
  else if (ok && key_is(key, "sampling period"))
    c->period = r->lg->p->period = number;
  else if (ok && key_is(key, "ms since reset"))
    r->lg->p->duration_ns = (int64_t)((uint64_t)number * 1000000);
  else
    return tm_legacy_bad_line(r->lg, "an attribute that contention profiles lack");
  return TM_OK;
}

static tm_status read_contention_sample(text_reader *r, const contention *c) {
  tm_text t = text_trim(r->lg->l.line);
  int64_t cycles, count;
  bool shaped = t.size && t.at[0] != '-' && text_int(&t, &cycles) && text_take(&t, ' ')
                && take_blanks(&t) && t.size && t.at[0] != '-' && text_int(&t, &count)
                && text_take(&t, ' ') && text_take(&t, '@');
  if (!shaped) return tm_legacy_bad_line(r->lg, "a contention sample of another shape");
  if (c->period > 0) {
    double ns = (double)cycles * (double)c->period / ((double)c->hz / 1e9);
    if (c->hz > 0 && !(fabs(ns) < 9.2e18))
      return tm_legacy_bad_line(r->lg, "a delay of more than 64 bits of nanoseconds");
    if (c->hz > 0) cycles = (int64_t)ns;
    count = (int64_t)((uint64_t)count * (uint64_t)c->period);
  }
  r->values[0] = count;
  r->values[1] = cycles;
  r->in_block = true;
  return tm_legacy_stack(r->lg, t, 0);
}

static tm_status read_contention(text_reader *r) {
  static const char *const types[] = {"contentions", "count", "delay", "nanoseconds"};
  contention c = {.period = 1};
  bool in_header = true;
  TM_TRY(tm_legacy_types(r->lg, types, 4));
  TM_TRY(tm_legacy_period(r->lg, "contentions", "count", 1));
  TM_TRY(tm_legacy_leave_out(r->lg, TM_LEGACY_LOCKS));
  while (lines_next(&r->lg->l)) {
    bool taken;
    TM_TRY(between_samples(r, &taken));
    if (taken) continue;
    if (text_starts(text_trim(r->lg->l.line), "---")) break;
    if (in_header) TM_TRY(read_attribute(r, &c, &in_header));
    if (!in_header) TM_TRY(read_contention_sample(r, &c));
  }
  return TM_OK;
}

// --- threadz ---

// "--- Thread HEX (name: NAME/TID) stack: ---"
static bool is_thread(tm_text t) {
  static const char tail[] = ") stack: ---";
  if (!text_starts(t, "--- Thread ")) return false;
  t = text_skip(t, 11);
  uint64_t id;
  if (text_starts(t, "0x") || !text_hex(&t, &id) || !text_starts(t, " (name: ")) return false;
  if (t.size < sizeof tail || memcmp(t.at + t.size - (sizeof tail - 1), tail, sizeof tail - 1) != 0)
    return false;
  t.size -= sizeof tail - 1;
  size_t digits = t.size;
  while (digits && t.at[digits - 1] >= '0' && t.at[digits - 1] <= '9') digits--;
  return digits < t.size && digits && t.at[digits - 1] == '/';
}

// A thread without addresses is one more of the thread before.
static tm_status end_thread(text_reader *r, bool same) {
  tm_profile *p = r->lg->p;
  if (!r->in_block) return TM_OK;
  uint32_t begin = tm_profile_stack_begin(p, p->sample_count);
  if (!same && p->stack.count > begin) return end_block(r);
  r->in_block = false;
  p->stack.count = begin;
  if (p->sample_count) p->values.items[p->values.count - 1]++;
  return TM_OK;
}

static bool is_low_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

// Every "0x…" of a line is an address; words between them ("PC:", a function) are left.
static tm_status read_thread_line(text_reader *r, tm_text t) {
  tm_profile *p = r->lg->p;
  uint32_t begin = tm_profile_stack_begin(p, p->sample_count);
  for (size_t i = 0; i + 2 < t.size; i++) {
    if (t.at[i] != '0' || t.at[i + 1] != 'x') continue;
    size_t n = 0;
    while (i + 2 + n < t.size && is_low_hex(t.at[i + 2 + n])) n++;
    tm_text digits = {t.at + i + 2, n};
    uint64_t address;
    uint32_t location;
    if (!n) continue;
    if (!text_hex(&digits, &address))
      return tm_legacy_bad_line(r->lg, "an address of more than 64 bits");
    if (p->stack.count > begin) address--; // but the leaf's
    TM_TRY(tm_legacy_location(r->lg, address, &location));
    TM_TRY(tm_vec_push(r->lg->ctx, &p->stack, location));
    i += n + 1;
  }
  return TM_OK;
}

static tm_status read_threads(text_reader *r) {
  tm_profile *p = r->lg->p;
  lines *l = &r->lg->l;
  bool same = false, started = false;
  TM_TRY(tm_profile_add_type(r->lg->ctx, p, "thread", "count"));
  TM_TRY(tm_legacy_period(r->lg, "thread", "count", 1));
  TM_TRY(tm_legacy_leave_out(r->lg, TM_LEGACY_OTHER));
  bool more = !text_starts(l->line, "--- threadz ") || lines_next(l);
  for (; more; more = lines_next(l)) {
    tm_text t = started ? text_trim(l->line) : l->line;
    if (text_starts(t, started ? "---" : "-")) {
      started = true;
      TM_TRY(end_thread(r, same));
      same = false;
      if (tm_legacy_is_map_start(t) || text_starts(t, "---- no stack trace for")) break;
      if (!is_thread(t)) return tm_legacy_bad_line(r->lg, "a thread's headline of another shape");
      r->values[0] = 1;
      r->in_block = true;
    } else if (memmem(t.at, t.size, "same as previous thread", 23)) {
      same = true;
    } else if (r->in_block) {
      TM_TRY(read_thread_line(r, t));
    }
  }
  if (more) return TM_OK;
  TM_TRY(end_thread(r, same));
  return tm_fail(r->lg->ctx, TM_E_FORMAT, (uint64_t)(l->end - l->start),
                 "the list of threads is cut: no memory map ends it");
}

// --- choosing a form ---

static bool is_count_header(tm_text t) {
  size_t n = 0;
  while (n < t.size && !text_is_space(t.at[n])) n++;
  if (!n || !text_starts(text_skip(t, n), " profile: total ")) return false;
  tm_text number = text_skip(t, n + 16);
  int64_t total;
  return number.size && number.at[0] != '-' && text_int(&number, &total) && !number.size;
}

static bool is_threadz(tm_text t) {
  int64_t count;
  if (!text_starts(t, "--- threadz ")) return is_thread(t);
  t = text_skip(t, 12);
  return t.size && t.at[0] != '-' && text_int(&t, &count) && text_starts(t, " ---");
}

typedef tm_status form_reader(text_reader *r);

// Heap and contention profiles begin at the first byte; the others may have comments in front.
static form_reader *form_of(tm_text t, bool first) {
  heap_header h = {0};
  if (first && read_heap_header(t, &h)) return read_heap;
  if (is_threadz(t)) return read_threads;
  bool locks = text_starts(t, "--- contentionz ") || text_starts(t, "--- mutex:")
               || text_starts(t, "--- contention:");
  if (first && locks) return read_contention;
  return is_count_header(t) ? read_count : NULL;
}

static form_reader *find_form(lines *l) {
  for (bool first = true; lines_next(l); first = false) {
    tm_text t = text_trim(l->line);
    if (t.size && t.at[0] != '#') return form_of(l->line, first);
  }
  return NULL;
}

static tm_status read_form(tm_legacy *lg) {
  text_reader r = {.lg = lg};
  form_reader *form = find_form(&lg->l);
  if (!form) return tm_fail(lg->ctx, TM_E_FORMAT, 0, "no legacy profile begins like this");
  TM_TRY(tm_profile_intern(lg->ctx, lg->p, "bytes", 5, &r.bytes_key));
  TM_TRY(form(&r));
  TM_TRY(end_block(&r));
  TM_TRY(tm_legacy_read_map(lg, tm_legacy_is_map_start(lg->l.line)));
  if (form == read_threads) tm_legacy_drop_double_leaves(lg->p);
  return TM_OK;
}

static tm_status text_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  return tm_legacy_run(ctx, src, out, read_form);
}

static unsigned text_probe(const uint8_t *head, size_t head_bytes) {
  lines l = lines_of(head, head_bytes);
  return find_form(&l) ? 80 : 0;
}

const tm_reader tm_reader_pprof_text = {.name = "pprof-text",
                                        .title = "legacy pprof text (heap, count, contention)",
                                        .kind = TM_KIND_PROFILE,
                                        .probe = text_probe,
                                        .read = text_read};
