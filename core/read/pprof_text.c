// pprof's legacy text forms: heap, count (goroutine, threadcreate, …), contention and threadz, each
// a header, lines of numbers with addresses, and an optional memory map. Unlike the reference this
// reads the symbol lines ("#\t0xPC\tfunc+0xOFF\tfile:line") that Go writes beside them. Addresses
// are return addresses, so 1 is subtracted. Cost: one pass; a known address costs one hash look-up.
// Source: behaviour of google/pprof's legacy parsers and of Go's runtime/pprof with debug=1.
#include "model/profile.h"
#include "read/lines.h"
#include "read/reader.h"

#include <math.h>

typedef struct text_reader {
  tm_ctx *ctx;
  tm_profile *p;
  lines l;
  tm_frames frames;
  tm_idmap addresses; // -> location
  uint32_t bytes_key;
  // of the sample being read: its stack begins at block_stack; locations from block_location on may
  // still get lines
  bool in_block, symbolized;
  int64_t values[4];
  int64_t block_size; // bytes of one object, for the label; -1 = no label
} text_reader;

static tm_status bad_line(text_reader *r, const char *what) {
  int shown = r->l.line.size < 60 ? (int)r->l.line.size : 60;
  return tm_fail(r->ctx, TM_E_FORMAT, lines_offset(&r->l), "%s at byte %llu: \"%.*s\"", what,
                 (unsigned long long)lines_offset(&r->l), shown, r->l.line.at);
}

static bool is_map_start(tm_text t) {
  return text_starts(t, "--- Memory map: ---") || text_starts(t, "MAPPED_LIBRARIES:");
}

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
  if (!r->in_block) return TM_OK;
  r->in_block = false;
  if (r->symbolized) drop_unnamed_ends(r->p, tm_profile_stack_begin(r->p, r->p->sample_count));
  r->symbolized = false;
  if (r->block_size >= 0) {
    tm_label l = {.key = r->bytes_key, .numeric = true, .number = r->block_size};
    if (r->block_size) TM_TRY(tm_vec_push(r->ctx, &r->p->labels, l));
  }
  return tm_profile_end_sample(r->ctx, r->p, r->values);
}

static tm_status push_address(text_reader *r, uint64_t address) {
  uint32_t loc = tm_idmap_get(&r->addresses, address);
  if (loc == TM_IDMAP_NONE) {
    loc = (uint32_t)r->p->locations.count;
    uint32_t at = (uint32_t)r->p->lines.count;
    tm_location l = {.id = loc + 1,
                     .address = address,
                     .mapping = TM_PROFILE_NONE,
                     .line_begin = at,
                     .line_end = at};
    TM_TRY(tm_vec_push(r->ctx, &r->p->locations, l));
    TM_TRY(tm_idmap_put(r->ctx, &r->addresses, address, loc));
  }
  return tm_vec_push(r->ctx, &r->p->stack, loc);
}

// " 0x1 0x2 …"; the leaf keeps its address when it is no return address.
static tm_status read_addresses(text_reader *r, tm_text t, bool exact_leaf) {
  bool first = true;
  for (text_spaces(&t); t.size; text_spaces(&t)) {
    uint64_t address;
    if (!text_starts(t, "0x") || !text_hex(&t, &address))
      return bad_line(r, "a stack is no list of addresses");
    TM_TRY(push_address(r, first && exact_leaf ? address : address - 1));
    first = false;
  }
  return TM_OK;
}

// "#\t0xPC\tfunc+0xOFF\tfile:line" below a sample.
static tm_status read_symbol(text_reader *r) {
  tm_text t = text_trim(text_skip(r->l.line, 1));
  uint64_t pc;
  if (!text_starts(t, "0x") || !text_hex(&t, &pc)) return TM_OK;
  r->symbolized = true;
  uint32_t loc = tm_idmap_get(&r->addresses, pc);
  if (loc == TM_IDMAP_NONE) return TM_OK;
  if (r->p->locations.items[loc].line_end > r->p->locations.items[loc].line_begin) return TM_OK;
  text_spaces(&t);
  const char *tab = memchr(t.at, '\t', t.size);
  tm_text name = {t.at, tab ? (size_t)(tab - t.at) : t.size};
  tm_text place = text_trim(text_skip(t, name.size));
  for (size_t i = name.size; i > 3; i--)
    if (memcmp(name.at + i - 3, "+0x", 3) == 0) {
      name.size = i - 3;
      break;
    }
  size_t colon = place.size;
  while (colon && place.at[colon - 1] != ':') colon--;
  tm_text number = text_skip(place, colon), file = {place.at, colon ? colon - 1 : place.size};
  int64_t line = 0;
  if (colon && !text_int(&number, &line)) line = 0;
  uint32_t function;
  TM_TRY(tm_frames_function(r->ctx, &r->frames, r->p, text_trim(name), file, &function));
  r->p->locations.items[loc].line_begin = (uint32_t)r->p->lines.count;
  r->p->locations.items[loc].line_end = (uint32_t)r->p->lines.count + 1;
  return tm_vec_push(r->ctx, &r->p->lines, (tm_line){function, line, 0});
}

// --- the memory map ---

static tm_status add_mapping(text_reader *r, tm_text t) {
  tm_mapping m = {.id = r->p->mappings.count + 1};
  tm_text perms;
  text_spaces(&t);
  if (!text_hex(&t, &m.start) || !text_take(&t, '-') || !text_hex(&t, &m.limit)) return TM_OK;
  text_take(&t, ':');
  t = text_trim(t);
  size_t word = 0;
  while (word < t.size && !text_is_space(t.at[word])) word++;
  perms = (tm_text){t.at, word};
  bool has_perms = word >= 3 && (t.at[0] == 'r' || t.at[0] == '-') && t.at[0] != '/';
  if (has_perms) {
    if (!memchr(perms.at, 'x', perms.size)) return TM_OK;
    t = text_trim(text_skip(t, word));
    uint64_t skipped;
    if (!text_hex(&t, &m.file_offset)) m.file_offset = 0;
    text_spaces(&t); // device major:minor, inode
    if (text_hex(&t, &skipped) && text_take(&t, ':') && text_hex(&t, &skipped)) {
      text_spaces(&t);
      if (!text_hex(&t, &skipped)) return TM_OK;
    }
    t = text_trim(t);
  }
  word = 0;
  while (word < t.size && !text_is_space(t.at[word])) word++;
  TM_TRY(tm_profile_intern(r->ctx, r->p, t.at, word, &m.file));
  t = text_trim(text_skip(t, word));
  if (text_starts(t, "(@")) {
    t = text_skip(t, 2);
    if (!text_hex(&t, &m.file_offset)) return TM_OK;
    t = text_trim(text_skip(t, 1));
  }
  if (t.size && !has_perms) TM_TRY(tm_profile_intern(r->ctx, r->p, t.at, t.size, &m.build_id));
  return tm_vec_push(r->ctx, &r->p->mappings, m);
}

// The mapping of every address; addresses outside all get one that holds everything.
static tm_status place_locations(text_reader *r) {
  tm_profile *p = r->p;
  uint32_t fake = TM_PROFILE_NONE;
  for (size_t i = 0; i < p->locations.count; i++) {
    tm_location *loc = &p->locations.items[i];
    if (!loc->address) continue;
    for (uint32_t k = 0; k < p->mappings.count && loc->mapping == TM_PROFILE_NONE; k++)
      if (p->mappings.items[k].start <= loc->address && loc->address < p->mappings.items[k].limit)
        loc->mapping = k;
    if (loc->mapping != TM_PROFILE_NONE) continue;
    if (fake == TM_PROFILE_NONE) {
      fake = (uint32_t)p->mappings.count;
      tm_mapping m = {.id = fake + 1, .limit = UINT64_MAX};
      TM_TRY(tm_vec_push(r->ctx, &p->mappings, m));
    }
    loc->mapping = fake;
  }
  return TM_OK;
}

static tm_status read_map(text_reader *r) {
  bool in_map = is_map_start(r->l.line);
  while (lines_next(&r->l)) {
    if (!in_map)
      in_map = is_map_start(r->l.line);
    else
      TM_TRY(add_mapping(r, r->l.line));
  }
  return place_locations(r);
}

// --- heap ---

typedef struct heap_header {
  int64_t in_use_count, in_use_bytes, alloc_count, alloc_bytes, rate;
  bool sampled, has_alloc;
} heap_header;

// "IO: IB [AO: AB] @"; t is left behind the @.
static bool read_counts(tm_text *t, heap_header *h) {
  text_spaces(t);
  if (!text_int(t, &h->in_use_count) || !text_take(t, ':')) return false;
  text_spaces(t);
  if (!text_int(t, &h->in_use_bytes)) return false;
  text_spaces(t);
  if (!text_take(t, '[')) return false;
  text_spaces(t);
  if (!text_int(t, &h->alloc_count) || !text_take(t, ':')) return false;
  text_spaces(t);
  if (!text_int(t, &h->alloc_bytes)) return false;
  text_spaces(t);
  if (!text_take(t, ']')) return false;
  text_spaces(t);
  return text_take(t, '@');
}

static bool read_heap_header(tm_text t, heap_header *h) {
  if (!text_starts(t, "heap profile:")) return false;
  t = text_skip(t, 13);
  if (!read_counts(&t, h)) return false;
  text_spaces(&t);
  size_t n = 0;
  while (n < t.size && t.at[n] != '/' && !text_is_space(t.at[n])) n++;
  tm_text kind = {t.at, n};
  t = text_skip(t, n);
  h->rate = 0;
  if (text_take(&t, '/') && !text_int(&t, &h->rate)) h->rate = 0;
  h->has_alloc = (h->alloc_count != h->in_use_count && h->alloc_count)
                 || (h->alloc_bytes != h->in_use_bytes && h->alloc_bytes);
#define IS(word) (kind.size == strlen(word) && memcmp(kind.at, word, kind.size) == 0)
  h->sampled = IS("heap") || IS("heap_v2") || IS("heapz_v2");
  if (IS("heap")) h->rate /= 2; // Go writes twice its rate
  if (!h->sampled) h->rate = 1;
  return h->sampled || IS("heapprofile") || text_starts(kind, "growth")
         || text_starts(kind, "fragmentation");
#undef IS
}

// What a sample of count objects and size bytes stands for, when one byte in `rate` is sampled.
static void unsample(int64_t *count, int64_t *size, int64_t rate) {
  if (!*count || !*size) {
    *count = *size = 0;
  } else if (rate > 1) {
    double mean = (double)*size / (double)*count;
    double scale = 1 / (1 - exp(-mean / (double)rate));
    double c = (double)*count * scale, s = (double)*size * scale;
    *count = fabs(c) < 9.2e18 ? (int64_t)c : INT64_MAX;
    *size = fabs(s) < 9.2e18 ? (int64_t)s : INT64_MAX;
  }
}

static tm_status heap_pair(text_reader *r, const heap_header *h, int64_t count, int64_t size,
                           int64_t *out) {
  if (!count && size) return bad_line(r, "bytes without objects");
  if (count) {
    r->block_size = size / count;
    if (h->sampled) unsample(&count, &size, h->rate);
  }
  out[0] = count;
  out[1] = size;
  return TM_OK;
}

static tm_status read_heap_sample(text_reader *r, const heap_header *header) {
  heap_header h = *header;
  tm_text t = r->l.line;
  if (!read_counts(&t, &h)) return bad_line(r, "a heap sample of another shape");
  r->block_size = 0;
  int64_t *at = r->values;
  if (header->has_alloc) {
    TM_TRY(heap_pair(r, header, h.alloc_count, h.alloc_bytes, at));
    at += 2;
  }
  TM_TRY(heap_pair(r, header, h.in_use_count, h.in_use_bytes, at));
  r->in_block = true;
  return read_addresses(r, t, false);
}

// Sets drop_frames to the allocators' own functions, which say nothing about who asked.
static tm_status name_allocators(text_reader *r) {
  static const char drop[] =
      "(c|re|pv|v)?alloc|malloc|c?free|(do_|(__)?posix_)?memalign|tcmalloc::.*|tc_.*|"
      "operator (new|delete).*|(__libc_|je_|do_|_)?(malloc|calloc|realloc|free).*|runtime\\..*";
  static const char keep[] = "runtime\\.(panic|reflectcall|call[0-9]*)";
  TM_TRY(tm_profile_intern(r->ctx, r->p, drop, sizeof drop - 1, &r->p->drop_frames));
  return tm_profile_intern(r->ctx, r->p, keep, sizeof keep - 1, &r->p->keep_frames);
}

static tm_status add_types(text_reader *r, const char *const *names, size_t count) {
  for (size_t i = 0; i < count; i += 2)
    TM_TRY(tm_profile_add_type(r->ctx, r->p, names[i], names[i + 1]));
  return TM_OK;
}

static tm_status set_period(text_reader *r, const char *type, const char *unit, int64_t period) {
  r->p->period = period;
  TM_TRY(tm_profile_intern(r->ctx, r->p, type, strlen(type), &r->p->period_type.type));
  return tm_profile_intern(r->ctx, r->p, unit, strlen(unit), &r->p->period_type.unit);
}

// Everything between samples: symbols, comments, blank lines. True when the line was one of these.
static tm_status between_samples(text_reader *r, bool *taken) {
  *taken = true;
  if (r->l.line.size && r->l.line.at[0] == '#') return read_symbol(r);
  if (text_trim(r->l.line).size == 0) return TM_OK;
  *taken = false;
  return end_block(r);
}

static tm_status read_heap(text_reader *r) {
  heap_header h = {0};
  if (!read_heap_header(r->l.line, &h)) return bad_line(r, "a heap header of another shape");
  static const char *const all[] = {"alloc_objects", "count", "alloc_space", "bytes",
                                    "inuse_objects", "count", "inuse_space", "bytes"};
  static const char *const two[] = {"objects", "count", "space", "bytes"};
  TM_TRY(add_types(r, h.has_alloc ? all : two, h.has_alloc ? 8 : 4));
  TM_TRY(set_period(r, "space", "bytes", h.rate));
  TM_TRY(name_allocators(r));
  while (lines_next(&r->l)) {
    bool taken;
    TM_TRY(between_samples(r, &taken));
    if (taken) continue;
    if (is_map_start(r->l.line)) break;
    TM_TRY(read_heap_sample(r, &h));
  }
  return TM_OK;
}

// --- counts ---

static tm_status read_count(text_reader *r) {
  tm_text t = r->l.line;
  size_t n = 0;
  while (n < t.size && t.at[n] != ' ') n++;
  uint32_t id;
  TM_TRY(tm_profile_intern(r->ctx, r->p, t.at, n, &id));
  TM_TRY(tm_profile_add_type(r->ctx, r->p, tm_profile_text(r->p, id), "count"));
  TM_TRY(set_period(r, tm_profile_text(r->p, id), "count", 1));
  while (lines_next(&r->l)) {
    bool taken;
    TM_TRY(between_samples(r, &taken));
    if (taken) continue;
    if (text_starts(r->l.line, "---")) break;
    t = r->l.line;
    if (!text_int(&t, &r->values[0])) return bad_line(r, "a count sample of another shape");
    text_spaces(&t);
    if (!text_take(&t, '@')) return bad_line(r, "a count sample without @");
    r->in_block = true;
    TM_TRY(read_addresses(r, t, false));
  }
  return TM_OK;
}

// --- contention ---

typedef struct contention {
  int64_t hz, period;
} contention;

// "key = value" lines in front of the samples; false at the first sample.
static tm_status read_attribute(text_reader *r, contention *c, bool *is_attribute) {
  tm_text t = text_trim(r->l.line);
  const char *equals = memchr(t.at, '=', t.size);
  *is_attribute = equals != NULL;
  if (!equals) return TM_OK;
  tm_text key = text_trim((tm_text){t.at, (size_t)(equals - t.at)});
  tm_text value = text_trim(text_skip(t, (size_t)(equals - t.at) + 1));
  int64_t number = 0;
  bool known = true, ok = text_int(&value, &number);
  if (text_starts(key, "cycles/second"))
    c->hz = number;
  else if (text_starts(key, "sampling period"))
    c->period = r->p->period = number;
  else if (text_starts(key, "ms since reset"))
    r->p->duration_ns = (int64_t)((uint64_t)number * 1000000);
  else
    known = text_starts(key, "discarded samples");
  if (known && (ok || text_starts(key, "discarded"))) return TM_OK;
  return bad_line(r, "an attribute that contention profiles lack");
}

static tm_status read_contention_sample(text_reader *r, const contention *c) {
  tm_text t = text_trim(r->l.line);
  int64_t cycles, count;
  if (!text_int(&t, &cycles)) return bad_line(r, "a contention sample of another shape");
  text_spaces(&t);
  if (!text_int(&t, &count)) return bad_line(r, "a contention sample without a count");
  text_spaces(&t);
  if (!text_take(&t, '@')) return bad_line(r, "a contention sample without @");
  if (c->period > 0) {
    double ns = (double)cycles * (double)c->period / ((double)c->hz / 1e9);
    if (c->hz > 0) cycles = fabs(ns) < 9.2e18 ? (int64_t)ns : INT64_MAX;
    count = (int64_t)((uint64_t)count * (uint64_t)c->period);
  }
  r->values[0] = count;
  r->values[1] = cycles;
  r->in_block = true;
  return read_addresses(r, t, false);
}

static tm_status read_contention(text_reader *r) {
  static const char *const types[] = {"contentions", "count", "delay", "nanoseconds"};
  contention c = {.period = 1};
  bool in_header = true;
  TM_TRY(add_types(r, types, 4));
  TM_TRY(set_period(r, "contentions", "count", 1));
  while (lines_next(&r->l)) {
    bool taken;
    TM_TRY(between_samples(r, &taken));
    if (taken) continue;
    if (text_starts(r->l.line, "---")) break;
    if (in_header) TM_TRY(read_attribute(r, &c, &in_header));
    if (!in_header) TM_TRY(read_contention_sample(r, &c));
  }
  return TM_OK;
}

// --- threadz ---

static tm_status read_threads(text_reader *r) {
  TM_TRY(tm_profile_add_type(r->ctx, r->p, "thread", "count"));
  TM_TRY(set_period(r, "thread", "count", 1));
  bool exact = false, same = false;
  do {
    tm_text t = text_trim(r->l.line);
    if (is_map_start(t) || text_starts(t, "---- no stack trace for")) break;
    if (text_starts(t, "--- Thread ")) {
      TM_TRY(end_block(r));
      r->values[0] = 1;
      r->in_block = exact = true;
    } else if (r->in_block && text_starts(t, "0x")) {
      TM_TRY(read_addresses(r, t, exact));
      exact = false;
    } else if (r->in_block && text_starts(text_trim(t), "[same as previous thread]")) {
      same = true;
    }
    if (same && r->p->sample_count) { // one more of the sample before
      r->p->values.items[r->p->values.count - 1]++;
      r->in_block = same = false;
    }
  } while (lines_next(&r->l));
  return TM_OK;
}

// --- choosing a form ---

static bool is_count_header(tm_text t) {
  size_t n = 0;
  while (n < t.size && t.at[n] != ' ') n++;
  if (!n || !text_starts(text_skip(t, n), " profile: total ")) return false;
  tm_text number = text_skip(t, n + 16);
  int64_t total;
  return text_int(&number, &total) && !number.size;
}

typedef tm_status form_reader(text_reader *r);

static form_reader *form_of(tm_text t) {
  heap_header h;
  if (text_starts(t, "heap profile:") && read_heap_header(t, &h)) return read_heap;
  if (text_starts(t, "--- threadz ") || text_starts(t, "--- Thread ")) return read_threads;
  if (text_starts(t, "--- contentionz ") || text_starts(t, "--- mutex:")
      || text_starts(t, "--- contention:"))
    return read_contention;
  return is_count_header(t) ? read_count : NULL;
}

static tm_status read_form(text_reader *r) {
  form_reader *form = NULL;
  while (!form && lines_next(&r->l)) {
    tm_text t = text_trim(r->l.line);
    if (!t.size || t.at[0] == '#') continue;
    form = form_of(t);
    if (!form) break;
  }
  if (!form) return tm_fail(r->ctx, TM_E_FORMAT, 0, "no legacy profile begins like this");
  TM_TRY(tm_profile_intern(r->ctx, r->p, "bytes", 5, &r->bytes_key));
  TM_TRY(form(r));
  TM_TRY(end_block(r));
  return read_map(r);
}

static void free_profile(void *model) {
  tm_profile_free(model);
}

static tm_status text_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  text_reader r = {.ctx = ctx, .l = lines_of(src->data, src->size), .block_size = -1};
  TM_TRY(tm_profile_new(ctx, &r.p));
  out->model = r.p;
  out->free_model = free_profile;
  tm_status status = read_form(&r);
  if (status != TM_OK) {
    out->partial = true;
    out->problem = ctx->error;
  }
  tm_frames_fini(ctx, &r.frames);
  tm_idmap_free(ctx, &r.addresses);
  return status;
}

static unsigned text_probe(const uint8_t *head, size_t head_bytes) {
  lines l = lines_of(head, head_bytes);
  while (lines_next(&l)) {
    tm_text t = text_trim(l.line);
    if (!t.size || t.at[0] == '#') continue;
    return form_of(t) ? 80 : 0;
  }
  return 0;
}

const tm_reader tm_reader_pprof_text = {.name = "pprof-text",
                                        .title = "legacy pprof text (heap, count, contention)",
                                        .kind = TM_KIND_PROFILE,
                                        .probe = text_probe,
                                        .read = text_read};
