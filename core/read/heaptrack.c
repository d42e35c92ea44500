// Recordings of KDE's heaptrack, interpreted (names are in it) and raw (addresses and modules): a
// line an event, numbers in hexadecimal. Versions 0 to 3. Allocations are counted by stack; a
// second pass up to the moment of the highest total gives each stack's share of it, so memory does
// not grow with the number of events.
// Source: heaptrack's libheaptrack.cpp (what is written), heaptrack_interpret.cpp,
// accumulatedtracedata.cpp (what is read; which frees end a temporary allocation).
#include "read/heaptrack.h"

#include "base/bytes.h"
#include "read/reader.h"

#include <inttypes.h>
#include <string.h>

enum { TICK = 1 << 16, VERSION_MAX = 3, COMMENTS_MAX = 1024, COMMENT_BYTES = 4096 };
#define OPERATOR_NEW "operator new(\\[\\])?"
#define BYTES_MAX    (UINT64_C(1) << 48) // a block larger than all addresses is none

static uint64_t line_number(const heaptrack *h) {
  uint64_t n = 1;
  for (const char *p = h->start; (p = memchr(p, '\n', (size_t)(h->line - p))); p++) n++;
  return n;
}

tm_status ht_bad(heaptrack *h, const char *what) {
  uint64_t offset = (uint64_t)(h->line - h->start), line = line_number(h);
  if (!memchr(h->line, '\n', (size_t)(h->end - h->line)))
    return tm_fail(h->ctx, TM_E_FORMAT, offset,
                   "the recording ends inside line %" PRIu64
                   "; what came before is counted: let the program end for a whole one",
                   line);
  return tm_fail(h->ctx, TM_E_FORMAT, offset,
                 "line %" PRIu64
                 ": %s is expected; what came before is counted: record it again for the rest",
                 line, what);
}

// ---- what happens ----

static tm_status allocate(heaptrack *h, ht_info *info, uint64_t id) {
  ht_cost *c = &h->costs.items[info->trace - 1];
  info->live_count++;
  h->live_bytes += info->bytes;
  if (h->is_second_pass) {
    c->peak_bytes += info->bytes;
    return TM_OK;
  }
  c->alloc_count++;
  c->alloc_bytes += info->bytes;
  c->live_count++;
  c->live_bytes += info->bytes;
  h->alloc_count++;
  h->last = id;
  if (h->live_bytes <= h->peak_bytes) return TM_OK;
  h->peak_bytes = h->live_bytes;
  h->peak_at = (uint64_t)(h->line - h->start);
  return TM_OK;
}

static tm_status release(heaptrack *h, ht_info *info, uint64_t id) {
  ht_cost *c = &h->costs.items[info->trace - 1];
  if (!info->live_count) return ht_bad(h, "a block that lives");
  info->live_count--;
  h->live_bytes -= info->bytes;
  if (h->is_second_pass) {
    c->peak_bytes -= info->bytes;
    return TM_OK;
  }
  c->live_count--;
  c->live_bytes -= info->bytes;
  bool is_temporary = h->last == id;
  c->temporary_count += is_temporary;
  h->temporary_count += is_temporary;
  h->last = 0; // as heaptrack: also where that is an allocation's number
  return TM_OK;
}

static bool has_pointers(const heaptrack *h) {
  return h->is_raw || h->version == 0;
}

static tm_status check_info(heaptrack *h, uint64_t bytes, uint64_t trace) {
  if (bytes > BYTES_MAX) return ht_bad(h, "a size that a block can have");
  return trace == 0 || trace > h->traces.count ? ht_bad(h, "a known stack") : TM_OK;
}

static tm_status take_info(heaptrack *h, uint32_t *out) {
  *out = h->free_info;
  if (h->free_info != UINT32_MAX) {
    h->free_info = h->infos.items[*out].next_free;
    return TM_OK;
  }
  *out = (uint32_t)h->infos.count;
  return tm_vec_push(h->ctx, &h->infos, (ht_info){0});
}

static void give_info(heaptrack *h, uint32_t number) {
  h->infos.items[number].next_free = h->free_info;
  h->free_info = number;
}

// "+ BYTES STACK POINTER". A pointer that lives already was freed unseen.
static tm_status allocate_pointer(heaptrack *h) {
  uint64_t bytes, trace, pointer;
  uint32_t number;
  if (!ht_hex(h, &bytes) || !ht_hex(h, &trace) || !ht_hex(h, &pointer))
    return ht_bad(h, "an allocation");
  TM_TRY(check_info(h, bytes, trace));
  uint32_t known = tm_idmap_get(&h->pointers, pointer);
  if (known != TM_IDMAP_NONE) {
    h->last = 0; // none of the program's frees, so never a temporary one
    TM_TRY(release(h, &h->infos.items[known], pointer));
    give_info(h, known);
  }
  TM_TRY(take_info(h, &number));
  h->infos.items[number] = (ht_info){.bytes = bytes, .trace = (uint32_t)trace};
  TM_TRY(tm_idmap_put(h->ctx, &h->pointers, pointer, number));
  return allocate(h, &h->infos.items[number], pointer);
}

// "- POINTER". One that is not known was allocated before heaptrack came.
static tm_status release_pointer(heaptrack *h) {
  uint64_t pointer;
  if (!ht_hex(h, &pointer)) return ht_bad(h, "a pointer");
  uint32_t number = tm_idmap_get(&h->pointers, pointer);
  if (number == TM_IDMAP_NONE) {
    if (h->is_raw) h->last = 0;
    return TM_OK;
  }
  tm_idmap_remove(&h->pointers, pointer);
  TM_TRY(release(h, &h->infos.items[number], pointer));
  give_info(h, number);
  return TM_OK;
}

static tm_status read_event(heaptrack *h, bool is_allocation) {
  uint64_t number;
  if (has_pointers(h)) return is_allocation ? allocate_pointer(h) : release_pointer(h);
  if (!ht_hex(h, &number) || number >= h->infos.count) return ht_bad(h, "a known allocation");
  ht_info *info = &h->infos.items[number];
  return is_allocation ? allocate(h, info, number) : release(h, info, number);
}

static tm_status read_info(heaptrack *h) { // "a BYTES STACK"
  uint64_t bytes, trace;
  if (!ht_hex(h, &bytes) || !ht_hex(h, &trace)) return ht_bad(h, "an allocation's kind");
  TM_TRY(check_info(h, bytes, trace));
  return tm_vec_push(h->ctx, &h->infos, (ht_info){.bytes = bytes, .trace = (uint32_t)trace});
}

// ---- the head ----

static tm_status read_version(heaptrack *h) { // "v HEAPTRACK FORMAT"
  uint64_t program;
  if (h->has_version) return ht_bad(h, "one version");
  if (!ht_hex(h, &program)) return ht_bad(h, "a version");
  if (!ht_has_more(h) || !ht_hex(h, &h->version)) h->version = program == 0x010200 ? 1 : 0;
  h->has_version = true;
  if (h->version > VERSION_MAX)
    return tm_fail(h->ctx, TM_E_UNSUPPORTED, 0,
                   "version %" PRIu64 " of heaptrack's format; 0 to 3 are known", h->version);
  return TM_OK;
}

// Raw and interpreted lines do not mix.
static tm_status be_raw(heaptrack *h) {
  if (!h->is_raw && (h->ips.count || h->traces.count || h->infos.count))
    return ht_bad(h, "a line of an interpreted recording");
  h->is_raw = true;
  return TM_OK;
}

static tm_status read_program(heaptrack *h) { // "x LENGTH FILE"
  TM_TRY(be_raw(h));
  if (h->strings.count) return ht_bad(h, "one program");
  return ht_read_string(h);
}

static tm_status read_module(heaptrack *h) {
  TM_TRY(be_raw(h));
  return ht_read_module(h);
}

static tm_status read_numbers(heaptrack *h, uint64_t *first, uint64_t *second) {
  uint64_t ignored;
  if (!ht_hex(h, first)) return ht_bad(h, "a number");
  if (ht_has_more(h) && !ht_hex(h, second ? second : &ignored)) return ht_bad(h, "a number");
  return TM_OK;
}

static tm_status read_time(heaptrack *h) {
  uint64_t ms;
  TM_TRY(read_numbers(h, &ms, NULL));
  if (ms > h->time_ms && ms < UINT64_C(1) << 40) h->time_ms = ms;
  return TM_OK;
}

static tm_status read_rss(heaptrack *h) {
  uint64_t pages;
  TM_TRY(read_numbers(h, &pages, NULL));
  if (pages > h->rss_pages) h->rss_pages = pages;
  return TM_OK;
}

// Texts to the end of the line, as comments of the profile: the command, known leaks.
static tm_status read_comment(heaptrack *h, const char *title) {
  const char *newline = memchr(h->at, '\n', (size_t)(h->end - h->at));
  tm_bytes text = {0};
  uint32_t id;
  if (h->p->comments.count >= COMMENTS_MAX || !newline) return TM_OK;
  int length = newline - h->at < COMMENT_BYTES ? (int)(newline - h->at) : COMMENT_BYTES;
  tm_status status = tm_bytes_printf(h->ctx, &text, "%s%.*s", title, length, h->at);
  if (status == TM_OK)
    status = tm_profile_intern(h->ctx, h->p, (const char *)text.data, text.size, &id);
  if (status == TM_OK) status = tm_vec_push(h->ctx, &h->p->comments, id);
  tm_bytes_free(h->ctx, &text);
  return status;
}

// ---- lines ----

static tm_status read_line(heaptrack *h, char mode) {
  switch (mode) {
  case 'v':
    return read_version(h);
  case 'x':
    return read_program(h);
  case 's':
    return ht_read_string(h);
  case 'i':
    return ht_read_ip(h);
  case 't':
    return ht_read_trace(h);
  case 'm':
    return read_module(h);
  case 'a':
    return has_pointers(h) ? TM_OK : read_info(h);
  case '+':
  case '-':
    return read_event(h, mode == '+');
  case 'c':
    return read_time(h);
  case 'R':
    return read_rss(h);
  case 'I':
    return read_numbers(h, &h->page_bytes, NULL);
  case 'X':
    return read_comment(h, "command:");
  case 'S':
    return read_comment(h, "suppression:");
  case 'A':
    return read_comment(h, "heaptrack came to it while it ran");
  default: // comments, what later versions say
    return TM_OK;
  }
}

// Strings of version 3 may hold line breaks: they must be read to be passed.
static tm_status pass_line(heaptrack *h, char mode) {
  uint64_t bytes;
  if (mode == '+' || mode == '-') return read_event(h, mode == '+');
  if (h->version >= 3 && (mode == 's' || mode == 'm' || mode == 'x') && ht_hex(h, &bytes)
      && bytes < (uint64_t)(h->end - h->at))
    h->at += 1 + bytes;
  return TM_OK;
}

// Reads lines up to `until`.
static tm_status read_lines(heaptrack *h, const char *until) {
  for (uint64_t n = 1; h->at < until; n++) {
    h->line = h->at;
    if (n % TICK == 0) TM_TRY(tm_ctx_tick(h->ctx, (uint64_t)(h->at - h->start)));
    char mode = *h->at++;
    if (mode == '\n' || mode == '\r') continue;
    if (!h->has_version && mode != 'v') return ht_bad(h, "the version");
    bool has_string = mode == 's' || mode == 'x' || mode == 'm';
    const char *newline = memchr(h->at, '\n', (size_t)(h->end - h->at));
    if (!newline) return ht_bad(h, "a line"); // a number that ends with the file may be cut
    TM_TRY(h->is_second_pass ? pass_line(h, mode) : read_line(h, mode));
    if (has_string) newline = memchr(h->at, '\n', (size_t)(h->end - h->at));
    if (!newline) return ht_bad(h, "a line");
    h->at = newline + 1;
  }
  return TM_OK;
}

// Each stack's share of the highest total.
static tm_status count_peak(heaptrack *h) {
  if (!h->alloc_count) return TM_OK;
  h->is_second_pass = true;
  h->live_bytes = 0;
  h->at = h->start;
  for (size_t i = 0; i < h->infos.count; i++) h->infos.items[i].live_count = 0;
  if (has_pointers(h)) {
    tm_idmap_free(h->ctx, &h->pointers);
    h->infos.count = 0;
    h->free_info = UINT32_MAX;
  }
  return read_lines(h, h->start + h->peak_at + 1);
}

static tm_status add_stat(heaptrack *h, const char *name, double value) {
  tm_profile_stat stat = {.value = value};
  TM_TRY(tm_profile_intern(h->ctx, h->p, name, strlen(name), &stat.name));
  return tm_vec_push(h->ctx, &h->p->stats, stat);
}

static tm_status add_types(heaptrack *h) {
  static const char *const types[][2] = {
      {"alloc_objects", "count"}, {"alloc_space", "bytes"}, {"inuse_objects", "count"},
      {"inuse_space", "bytes"},   {"peak_space", "bytes"},  {"temporary_objects", "count"}};
  for (size_t i = 0; i < TM_COUNT(types); i++)
    TM_TRY(tm_profile_add_type(h->ctx, h->p, types[i][0], types[i][1]));
  return tm_profile_intern(h->ctx, h->p, "inuse_space", strlen("inuse_space"), &h->p->default_type);
}

static tm_status finish(heaptrack *h) {
  uint64_t live_bytes = h->live_bytes;
  h->p->duration_ns = (int64_t)(h->time_ms * 1000000);
  TM_TRY(add_stat(h, "Allocations", (double)h->alloc_count));
  TM_TRY(add_stat(h, "TemporaryAllocations", (double)h->temporary_count));
  TM_TRY(add_stat(h, "LeakedBytes", (double)live_bytes));
  TM_TRY(add_stat(h, "PeakBytes", (double)h->peak_bytes));
  if (h->rss_pages) TM_TRY(add_stat(h, "MaxRSS", (double)h->rss_pages * (double)h->page_bytes));
  TM_TRY(count_peak(h));
  // Names come later to raw ones; operator new is no site in them either.
  if (h->is_raw)
    TM_TRY(tm_profile_intern(h->ctx, h->p, OPERATOR_NEW, strlen(OPERATOR_NEW), &h->p->drop_frames));
  return ht_make_samples(h);
}

// ---- the reader ----

static void free_profile(void *model) {
  tm_profile_free(model);
}

static void fini(heaptrack *h) {
  tm_frames_fini(h->ctx, &h->frames);
  tm_vec_free(h->ctx, &h->strings);
  tm_vec_free(h->ctx, &h->ips);
  tm_vec_free(h->ctx, &h->ip_is_new);
  tm_vec_free(h->ctx, &h->traces);
  tm_vec_free(h->ctx, &h->costs);
  tm_vec_free(h->ctx, &h->infos);
  tm_vec_free(h->ctx, &h->modules);
  tm_idmap_free(h->ctx, &h->mappings);
  tm_idmap_free(h->ctx, &h->raw_locations);
  tm_idmap_free(h->ctx, &h->pointers);
}

static tm_status heaptrack_read(tm_ctx *ctx, const tm_source *src, tm_snapshot *out) {
  heaptrack h = {.ctx = ctx, .page_bytes = 4096, .free_info = UINT32_MAX};
  h.start = h.at = h.line = (const char *)src->data;
  h.end = h.start + src->size;
  ctx->total = src->size;
  TM_TRY(tm_profile_new(ctx, &h.p));
  out->model = h.p;
  out->free_model = free_profile;
  tm_status status = add_types(&h);
  if (status == TM_OK) status = read_lines(&h, h.end);
  if (status != TM_OK) {
    out->partial = true;
    out->problem = ctx->error;
  }
  if (status == TM_OK || status == TM_E_FORMAT) { // what came before is counted
    tm_status made = finish(&h);
    if (status == TM_OK) status = made;
    if (made == TM_OK && out->partial) ctx->error = out->problem;
  }
  if (status != TM_OK && !out->partial) {
    out->partial = true;
    out->problem = ctx->error;
  }
  fini(&h);
  return status;
}

// "v 10400 3" and behind it a line of one letter that only heaptrack writes.
static unsigned heaptrack_probe(const uint8_t *head, size_t head_bytes) {
  size_t i = 2;
  if (head_bytes < 5 || head[0] != 'v' || head[1] != ' ') return 0;
  while (i < head_bytes && head[i] != '\n') {
    bool is_hex = (head[i] >= '0' && head[i] <= '9') || (head[i] >= 'a' && head[i] <= 'f');
    if (!is_hex && head[i] != ' ' && head[i] != '\r') return 0;
    i++;
  }
  if (i + 2 >= head_bytes || head[i + 2] != ' ' || !memchr("XxIsAcR#", head[i + 1], 8)) return 0;
  return 40;
}

const tm_reader tm_reader_heaptrack = {.name = "heaptrack",
                                       .title = "heaptrack recording",
                                       .kind = TM_KIND_PROFILE,
                                       .takes_part = true,
                                       .probe = heaptrack_probe,
                                       .read = heaptrack_read};
