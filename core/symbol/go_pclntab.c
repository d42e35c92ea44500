// Source: runtime/symtab.go and runtime/symtabinl.go of Go 1.18 to 1.26. A sorted list of (offset
// of the code from runtime.text, offset of the function's record) is searched by halves; a record
// names tables of (difference of a value, length of code) pairs, which are summed up to the
// address. All offsets are checked; a value table is left after its last byte.
#include "symbol/go_pclntab.h"

#include <string.h>

#define MAGIC_118 UINT32_C(0xfffffff0)
#define MAGIC_120 UINT32_C(0xfffffff1)

enum { HEAD_BYTES = 72, ROW_BYTES = 8, RECORD_BYTES = 44, CALL_BYTES = 16 };
enum { PCDATA_CALLS = 2, FUNCDATA_CALLS = 3, MAX_DEPTH = 64 };

static uint64_t read(const tm_go_pclntab *t, uint64_t at, uint32_t bytes) {
  uint64_t value = 0;
  if (at > t->size || t->size - at < bytes) return 0;
  memcpy(&value, t->data + at, bytes); // little-endian programs only
  return value;
}

bool tm_go_pclntab_open(const void *data, size_t size, tm_go_pclntab *out, uint64_t *out_text) {
  const uint8_t *head = data;
  *out = (tm_go_pclntab){.data = data, .size = size};
  if (size < HEAD_BYTES) return false;
  uint32_t magic = (uint32_t)read(out, 0, 4);
  if ((magic != MAGIC_118 && magic != MAGIC_120) || head[4] || head[5] || head[7] != 8)
    return false;
  out->step = head[6];
  out->has_inlined = magic == MAGIC_120;
  uint64_t count = read(out, 8, 8);
  *out_text = read(out, 24, 8);
  out->names = read(out, 32, 8);
  out->units = read(out, 40, 8);
  out->files = read(out, 48, 8);
  out->values = read(out, 56, 8);
  out->functions = read(out, 64, 8);
  if (out->functions > size || count > (size - out->functions) / ROW_BYTES || !out->step)
    return false;
  out->count = (uint32_t)count;
  return out->names < size && out->units <= size && out->files <= size && out->values <= size;
}

// A text that ends inside of the table, or "".
static const char *text(const tm_go_pclntab *t, uint64_t table, uint64_t offset) {
  if (table >= t->size || offset >= t->size - table) return "";
  const uint8_t *at = t->data + table + offset;
  return memchr(at, 0, t->size - table - offset) ? (const char *)at : "";
}

static uint64_t row(const tm_go_pclntab *t, uint32_t number, uint32_t column) {
  return read(t, t->functions + (uint64_t)number * ROW_BYTES + column * 4, 4);
}

bool tm_go_pclntab_function(const tm_go_pclntab *t, uint32_t number, const char **name,
                            uint64_t *begin, uint64_t *end) {
  uint64_t record = t->functions + row(t, number, 1);
  if (record > t->size || t->size - record < RECORD_BYTES) return false;
  *name = text(t, t->names, read(t, record + 4, 4));
  *begin = t->text + row(t, number, 0);
  *end = t->text + row(t, number + 1, 0); // behind the last row stands where the code ends
  return *end > *begin;
}

// ---- values along the code ----

static uint64_t varint(const tm_go_pclntab *t, uint64_t *at) {
  uint64_t value = 0;
  for (unsigned shift = 0; *at < t->size && shift < 35; shift += 7) {
    uint8_t byte = t->data[(*at)++];
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) break;
  }
  return value;
}

// The value at an offset from the function's begin; -1 = none.
static int64_t value_at(const tm_go_pclntab *t, uint64_t table, uint64_t offset) {
  uint64_t at = t->values + table, code = 0;
  int64_t value = -1;
  if (table == 0) return -1;
  for (bool is_first = true; at < t->size; is_first = false) {
    uint64_t step = varint(t, &at);
    if (step == 0 && !is_first) break;
    value += step & 1 ? -(int64_t)(step >> 1) - 1 : (int64_t)(step >> 1);
    code += varint(t, &at) * t->step;
    if (offset < code) return value;
  }
  return -1;
}

// ---- a function ----

typedef struct function {
  uint64_t record, begin;
  uint32_t unit, tables, values;
} function;

static bool find(const tm_go_pclntab *t, uint64_t address, function *out) {
  uint64_t offset = address - t->text;
  uint32_t low = 0, high = t->count;
  if (!t->count || address < t->text || offset >= row(t, t->count, 0)) return false;
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    if (row(t, middle, 0) <= offset)
      low = middle;
    else
      high = middle;
  }
  if (offset < row(t, low, 0)) return false;
  out->record = t->functions + row(t, low, 1);
  if (out->record > t->size || t->size - out->record < RECORD_BYTES) return false;
  out->begin = t->text + row(t, low, 0);
  out->values = (uint32_t)read(t, out->record + 28, 4);
  out->unit = (uint32_t)read(t, out->record + 32, 4);
  out->tables = (uint32_t)read(t, out->record + 43, 1);
  return true;
}

static void place(const tm_go_pclntab *t, const function *f, uint64_t offset, tm_code_frame *out) {
  int64_t file = value_at(t, read(t, f->record + 20, 4), offset);
  int64_t line = value_at(t, read(t, f->record + 24, 4), offset);
  uint64_t name = UINT32_MAX;
  if (file >= 0) name = read(t, t->units + ((uint64_t)f->unit + (uint64_t)file) * 4, 4);
  out->file = name == UINT32_MAX ? "" : text(t, t->files, name);
  out->line = line > 0 ? line : 0;
}

// The record of the inlined call that an instruction belongs to, or NULL.
static const uint8_t *call_at(const tm_go_pclntab *t, const function *f, uint64_t offset) {
  if (!t->has_inlined || !t->inlined || f->values <= PCDATA_CALLS || f->tables <= FUNCDATA_CALLS)
    return NULL;
  uint64_t lists = f->record + RECORD_BYTES;
  int64_t number = value_at(t, read(t, lists + PCDATA_CALLS * 4, 4), offset);
  uint64_t table = read(t, lists + f->values * UINT64_C(4) + FUNCDATA_CALLS * 4, 4);
  if (number < 0 || table == UINT32_MAX) return NULL;
  uint64_t at = table + (uint64_t)number * CALL_BYTES;
  return at <= t->inlined_size && t->inlined_size - at >= CALL_BYTES ? t->inlined + at : NULL;
}

uint32_t tm_go_pclntab_frames(const tm_go_pclntab *t, uint64_t address, tm_code_frame *frames,
                              uint32_t room) {
  function f;
  uint32_t count = 0;
  if (!room || !find(t, address, &f)) return 0;
  uint64_t offset = address - f.begin;
  for (const uint8_t *call;
       count + 1 < room && count < MAX_DEPTH && (call = call_at(t, &f, offset)) != NULL;) {
    uint32_t words[3]; // name, position of the caller, first line
    memcpy(words, call + 4, sizeof words);
    tm_code_frame *frame = &frames[count++];
    *frame = (tm_code_frame){.function = text(t, t->names, words[0]), .start_line = words[2]};
    place(t, &f, offset, frame);
    offset = words[1];
  }
  tm_code_frame *last = &frames[count++];
  *last = (tm_code_frame){.function = text(t, t->names, read(t, f.record + 4, 4))};
  if (t->has_inlined) last->start_line = (int64_t)read(t, f.record + 36, 4);
  place(t, &f, offset, last);
  return count;
}
