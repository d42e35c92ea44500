// Go heap dumps: a walk over the records; of what has contents and a list of pointers, the words
// that are no pointer become zeros (lengths of slices and strings are such words), but for those
// that the reader needs: see keep_addresses and keep_header. Source: runtime/heapdump.go of Go 1.7
// to 1.26.
#include "write/redact_impl.h"

#include <string.h>

enum { MAGIC_BYTES = 16, MEMSTATS_NUMBERS = 24 + 256 + 1, BYTES_OF_POINTER = 1 };
enum { OBJECT = 1, FRAME = 5, PARAMS = 6 }; // records
enum { HEADER_FROM = 512, HEADER_TO = 32 << 10 };

// Of each record: v a number, s bytes, c bytes whose pointers the list f names, m the numbers of
// memstats, k a stack.
static const char *const parts_of[] = {
    "",    "vcf", "sv",    "vvsv", "vvvvvvvvsvvvv", "vvvcvvvsf", "vvvvssv", "vvvvv", "vv",
    "vvv", "m",   "vvvvv", "vcf",  "vcf",           "vvvvvvv",   "vvvvvv",  "vvk",   "vv"};

typedef struct walk {
  redactor *r;
  size_t at, pointer_bytes;
  bool writes; // the second walk; the first one looks where objects and frames are
  uint64_t lowest, end;
  uint32_t go_minor;
  size_t contents_at, contents_size; // of the record
} walk;

static tm_status number(walk *w, uint64_t *out) {
  redactor *r = w->r;
  uint64_t value = 0;
  for (uint32_t shift = 0; shift < 70 && w->at < r->size; shift += 7) {
    uint8_t byte = r->data[w->at++];
    if (shift < 64) value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *out = value;
      return TM_OK;
    }
  }
  return redact_bad(
      r, w->at, w->at < r->size ? "a number of more than 10 bytes" : "the dump ends in a number");
}

static tm_status skip_numbers(walk *w, uint64_t count) {
  uint64_t ignored;
  for (uint64_t i = 0; i < count; i++) TM_TRY(number(w, &ignored));
  return TM_OK;
}

static tm_status bytes(walk *w, size_t *out_at, size_t *out_size) {
  uint64_t size;
  TM_TRY(number(w, &size));
  if (size > w->r->size - w->at) return redact_bad(w->r, w->at, "bytes that run past the end");
  *out_at = w->at;
  *out_size = (size_t)size;
  w->at += (size_t)size;
  return TM_OK;
}

// Of a stack frame every word that points at an object or a frame stays: variables whose address
// was taken are in no list.
static void keep_addresses(const walk *w, const uint8_t *from, uint8_t *kept) {
  for (size_t i = 0; i + 8 <= w->contents_size && w->pointer_bytes == 8; i += 8) {
    uint64_t value;
    memcpy(&value, from + i, 8);
    if (value >= w->lowest && value < w->end) memcpy(kept + i, from + i, 8);
  }
}

// Since Go 1.22 objects of 512 bytes to 32 KiB with pointers begin with the address of their type.
static void keep_header(const walk *w, const uint8_t *from, uint8_t *kept, uint64_t first_field) {
  size_t size = w->contents_size;
  if (w->go_minor >= 22 && size > HEADER_FROM && size <= HEADER_TO && first_field >= 8)
    memcpy(kept, from, 8);
}

// The list of pointers: kind and offset, in any order, ended by kind 0; kinds 2 and 3 are
// interfaces, two words.
static tm_status keep_pointers(walk *w, const uint8_t *from, uint8_t *kept, uint64_t *out_first) {
  *out_first = UINT64_MAX;
  for (;;) {
    uint64_t kind, offset;
    TM_TRY(number(w, &kind));
    if (!kind) return TM_OK;
    if (kind > 3) return redact_bad(w->r, w->at, "a field of no known kind");
    TM_TRY(number(w, &offset));
    if (offset < *out_first) *out_first = offset;
    if (offset >= w->contents_size) continue;
    size_t left = w->contents_size - (size_t)offset;
    size_t size = w->pointer_bytes * (kind == 1 ? 1 : 2);
    memcpy(kept + offset, from + offset, size < left ? size : left);
  }
}

// What stands in the contents' place is built aside: zeros, and the words that stay.
static tm_status fields(walk *w, uint64_t tag) {
  redactor *r = w->r;
  size_t size = w->contents_size, start = w->contents_at;
  const uint8_t *from = r->data + start;
  r->out->blanked_count++;
  if (tag != FRAME && w->at < r->size && !r->data[w->at]) { // no pointers at all
    w->at++;
    return redact_blank(r, start, size, size, 0);
  }
  uint8_t *kept = size ? tm_calloc(r->ctx, size, 1) : NULL;
  if (size && !kept) return TM_E_NOMEM;
  uint64_t first;
  tm_status status = keep_pointers(w, from, kept, &first);
  if (status == TM_OK && tag == OBJECT) keep_header(w, from, kept, first);
  if (status == TM_OK && tag == FRAME) keep_addresses(w, from, kept);
  if (status == TM_OK) status = redact_copy(r, start);
  if (status == TM_OK && size) status = redact_put(r, kept, size);
  r->copied = start + size;
  r->out->blanked_bytes += size;
  tm_free(r->ctx, kept, size);
  return status;
}

static tm_status skip_fields(walk *w) {
  for (;;) {
    uint64_t kind, offset;
    TM_TRY(number(w, &kind));
    if (!kind) return TM_OK;
    TM_TRY(number(w, &offset));
  }
}

static tm_status skip_stack(walk *w) {
  uint64_t count, line;
  size_t at, size;
  TM_TRY(number(w, &count));
  for (uint64_t i = 0; i < count; i++) {
    TM_TRY(bytes(w, &at, &size));
    TM_TRY(bytes(w, &at, &size));
    TM_TRY(number(w, &line));
  }
  return skip_numbers(w, 2);
}

// "go1.26.8" or "go1.27-devel_...": 26, 27; "devel" alone is new.
static void note_version(walk *w, const uint8_t *text, size_t size) {
  if (size >= 5 && memcmp(text, "devel", 5) == 0) w->go_minor = 22;
  if (size < 5 || memcmp(text, "go1.", 4) != 0) return;
  w->go_minor = 0;
  for (size_t i = 4; i < size && text[i] >= '0' && text[i] <= '9' && w->go_minor < 1000; i++)
    w->go_minor = w->go_minor * 10 + (uint32_t)(text[i] - '0');
}

static tm_status part(walk *w, uint64_t tag, char kind, uint64_t *out_number) {
  size_t at = 0, size = 0;
  switch (kind) {
  case 'v':
    return number(w, out_number);
  case 's':
    TM_TRY(bytes(w, &at, &size));
    if (tag == PARAMS) note_version(w, w->r->data + at, size);
    return TM_OK;
  case 'c':
    return bytes(w, &w->contents_at, &w->contents_size);
  case 'f':
    return w->writes ? fields(w, tag) : skip_fields(w);
  case 'm':
    return skip_numbers(w, MEMSTATS_NUMBERS);
  default:
    return skip_stack(w);
  }
}

static tm_status record(walk *w, uint64_t tag) {
  const char *parts = parts_of[tag];
  uint64_t value = 0, first = 0;
  for (size_t i = 0; parts[i]; i++) {
    TM_TRY(part(w, tag, parts[i], &value));
    if (i == 0) first = value;
    if (tag != PARAMS || i != BYTES_OF_POINTER) continue;
    if (value != 4 && value != 8)
      return redact_bad(w->r, w->at, "pointers of neither 4 nor 8 bytes");
    w->pointer_bytes = (size_t)value;
  }
  if (tag != OBJECT && tag != FRAME) return TM_OK;
  if (first < w->lowest) w->lowest = first;
  if (first + w->contents_size > w->end) w->end = first + w->contents_size;
  return TM_OK;
}

static tm_status walk_records(walk *w) {
  w->at = MAGIC_BYTES;
  for (;;) {
    uint64_t tag;
    TM_TRY(redact_tick(w->r, w->at));
    TM_TRY(number(w, &tag));
    if (tag >= sizeof parts_of / sizeof *parts_of)
      return redact_bad(w->r, w->at, "an unknown record");
    if (!tag) break;
    TM_TRY(record(w, tag));
  }
  return w->at == w->r->size ? TM_OK : redact_bad(w->r, w->at, "bytes behind the end of the dump");
}

tm_status redact_go(redactor *r) {
  walk w = {.r = r, .pointer_bytes = 8, .lowest = UINT64_MAX};
  r->out->format = "goheap";
  tm_status status = walk_records(&w);
  w.writes = true;
  return status == TM_OK ? walk_records(&w) : status;
}
