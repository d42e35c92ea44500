// HPROF: two walks over records and sub-records. The first learns which strings are names: of
// classes, fields, methods, source files, threads and heaps. In the second the elements of
// primitive arrays become zeros and all other strings question marks: a JVM dumps its whole table
// of symbols, with the constants in the program's code. Source: hprof_b_spec.h and heapDumper.cpp
// of OpenJDK; Android's tags of perflib.
#include "base/cursor.h"
#include "write/redact_impl.h"

#include <string.h>

enum { UTF8 = 0x01, LOAD_CLASS = 0x02, STACK_FRAME = 0x04, START_THREAD = 0x0a };
enum { HEAP_DUMP = 0x0c, HEAP_SEGMENT = 0x1c, RECORD_HEAD = 9 };
enum { HEAP_INFO = 0xfe };
enum { CLASS_DUMP = 0x20, INSTANCE = 0x21, OBJECT_ARRAY = 0x22, PRIM_ARRAY = 0x23 };

// Bytes of a sub-record without contents: ids count in the first figure, fixed bytes in the second.
typedef struct layout {
  uint8_t tag, ids, bytes;
} layout;

static const layout roots[] = {
    {0xff, 1, 0}, {0x01, 2, 0}, {0x02, 1, 8}, {0x03, 1, 8}, {0x04, 1, 4}, {0x05, 1, 0},
    {0x06, 1, 4}, {0x07, 1, 0}, {0x08, 1, 8}, {0xfe, 1, 4}, {0x89, 1, 0}, {0x8a, 1, 0},
    {0x8b, 1, 0}, {0x8c, 1, 0}, {0x8d, 1, 0}, {0x90, 1, 0}, {0x8e, 1, 8}, {0xc3, 1, 9},
};

// Bytes of a value; 0 = no such type.
static size_t size_of(uint8_t type, size_t id_bytes) {
  switch (type) {
  case 2:
    return id_bytes;
  case 4:
  case 8:
    return 1;
  case 5:
  case 9:
    return 2;
  case 6:
  case 10:
    return 4;
  case 7:
  case 11:
    return 8;
  default:
    return 0;
  }
}

// A walk: of the first, r->out is left alone.
typedef struct walk {
  redactor *r;
  size_t id_bytes;
  bool is_first;
} walk;

static uint64_t get_id(tm_cursor *c, size_t id_bytes) {
  return id_bytes == 8 ? tm_get_u64be(c) : tm_get_u32be(c);
}

static tm_status take_name(walk *w, tm_cursor *c) {
  uint64_t id = get_id(c, w->id_bytes);
  if (!w->is_first || !c->ok) return TM_OK;
  return tm_idmap_put(w->r->ctx, &w->r->names, id, 1);
}

static tm_status take_names(walk *w, tm_cursor *c, uint8_t tag) {
  if (tag == LOAD_CLASS) {
    tm_get_bytes(c, 4 + w->id_bytes + 4);
    return take_name(w, c);
  }
  if (tag == STACK_FRAME) {
    tm_get_bytes(c, w->id_bytes);
    for (int i = 0; i < 3; i++) TM_TRY(take_name(w, c)); // method, signature, source file
    return TM_OK;
  }
  tm_get_bytes(c, 4 + w->id_bytes + 4);                // START_THREAD
  for (int i = 0; i < 3; i++) TM_TRY(take_name(w, c)); // thread, group, its parent
  return TM_OK;
}

static tm_status blank_string(walk *w, tm_cursor *c) {
  uint64_t id = get_id(c, w->id_bytes);
  if (w->is_first || !c->ok || tm_idmap_get(&w->r->names, id) == 1) return TM_OK;
  size_t size = tm_cursor_left(c), at = (size_t)tm_cursor_offset(c);
  if (!size) return TM_OK;
  w->r->out->blanked_count++;
  return redact_blank(w->r, at, size, size, '?');
}

static tm_status walk_class(walk *w, tm_cursor *c) {
  size_t id_bytes = w->id_bytes;
  tm_get_bytes(c, 7 * id_bytes + 8);
  for (uint16_t n = tm_get_u16be(c); n && c->ok; n--) {
    tm_get_u16be(c);
    size_t size = size_of(tm_get_u8(c), id_bytes);
    c->ok = c->ok && size;
    tm_get_bytes(c, size);
  }
  for (uint16_t n = tm_get_u16be(c); n && c->ok; n--) {
    TM_TRY(take_name(w, c));
    size_t size = size_of(tm_get_u8(c), id_bytes);
    c->ok = c->ok && size;
    tm_get_bytes(c, size);
  }
  for (uint16_t n = tm_get_u16be(c); n && c->ok; n--) {
    TM_TRY(take_name(w, c));
    tm_get_u8(c);
  }
  return TM_OK;
}

static tm_status blank_array(walk *w, tm_cursor *c) {
  redactor *r = w->r;
  size_t id_bytes = w->id_bytes;
  tm_get_bytes(c, id_bytes + 4);
  uint64_t count = tm_get_u32be(c);
  size_t element = size_of(tm_get_u8(c), id_bytes);
  if (!element || count * element > tm_cursor_left(c)) {
    c->ok = false;
    return TM_OK;
  }
  size_t at = (size_t)tm_cursor_offset(c);
  size_t size = (size_t)count * element;
  tm_get_bytes(c, size);
  if (w->is_first) return TM_OK;
  r->out->blanked_count++;
  return redact_blank(r, at, size, size, 0);
}

static bool skip_root(tm_cursor *c, uint8_t tag, size_t id_bytes) {
  for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
    if (roots[i].tag == tag) {
      tm_get_bytes(c, roots[i].ids * id_bytes + roots[i].bytes);
      return true;
    }
  return false;
}

static tm_status walk_heap(walk *w, tm_cursor *c) {
  redactor *r = w->r;
  size_t id_bytes = w->id_bytes;
  while (tm_cursor_left(c)) {
    uint64_t at = tm_cursor_offset(c);
    uint8_t tag = tm_get_u8(c);
    TM_TRY(redact_tick(r, at));
    if (tag == PRIM_ARRAY) {
      TM_TRY(blank_array(w, c));
    } else if (tag == INSTANCE) {
      tm_get_bytes(c, 2 * id_bytes + 4);
      tm_get_bytes(c, tm_get_u32be(c));
    } else if (tag == OBJECT_ARRAY) {
      tm_get_bytes(c, id_bytes + 4);
      uint64_t count = tm_get_u32be(c);
      tm_get_bytes(c, (size_t)(count + 1) * id_bytes);
    } else if (tag == CLASS_DUMP) {
      TM_TRY(walk_class(w, c));
    } else if (tag == HEAP_INFO) {
      tm_get_u32be(c);
      TM_TRY(take_name(w, c));
    } else if (!skip_root(c, tag, id_bytes)) {
      return redact_bad(r, at, "an unknown kind of sub-record");
    }
    if (!c->ok) return redact_bad(r, at, "a sub-record that runs past its end");
  }
  return TM_OK;
}

// One heap dump of over 4 GB says its length modulo 2^32; with nothing behind it, it is the rest.
static size_t length_of(const tm_cursor *c, uint8_t tag, uint32_t length) {
  size_t left = tm_cursor_left(c);
  bool wrapped = tag == HEAP_DUMP && left > UINT32_MAX && (uint32_t)left == length;
  return wrapped ? left : length;
}

static tm_status walk_record(walk *w, uint8_t tag, tm_cursor *body) {
  switch (tag) {
  case UTF8:
    return blank_string(w, body);
  case LOAD_CLASS:
  case STACK_FRAME:
  case START_THREAD:
    return take_names(w, body, tag);
  case HEAP_DUMP:
  case HEAP_SEGMENT:
    return walk_heap(w, body);
  default:
    return TM_OK;
  }
}

static tm_status walk_records(walk *w, tm_cursor c) {
  redactor *r = w->r;
  while (tm_cursor_left(&c)) {
    uint64_t at = tm_cursor_offset(&c);
    TM_TRY(redact_tick(r, at));
    if (tm_cursor_left(&c) < RECORD_HEAD) return redact_bad(r, at, "the dump ends in a record");
    uint8_t tag = tm_get_u8(&c);
    tm_get_u32be(&c);
    uint32_t said = tm_get_u32be(&c);
    size_t length = length_of(&c, tag, said);
    size_t start = (size_t)tm_cursor_offset(&c);
    if (!tm_get_bytes(&c, length)) return redact_bad(r, at, "the dump ends in a record");
    tm_cursor body = tm_cursor_of(r->data + start, length, start);
    TM_TRY(walk_record(w, tag, &body));
  }
  return TM_OK;
}

tm_status redact_hprof(redactor *r) {
  const uint8_t *end = memchr(r->data, 0, r->size < 64 ? r->size : 64);
  size_t head = end ? (size_t)(end - r->data) + 1 : 0;
  if (!end || r->size < head + 12) return redact_bad(r, 0, "the header ends early");
  tm_cursor c = tm_cursor_of(r->data + head, r->size - head, head);
  walk w = {.r = r, .id_bytes = tm_get_u32be(&c), .is_first = true};
  if (w.id_bytes != 4 && w.id_bytes != 8)
    return redact_bad(r, head, "ids of neither 4 nor 8 bytes");
  tm_get_bytes(&c, 8);
  r->out->format = "hprof";
  TM_TRY(walk_records(&w, c));
  w.is_first = false;
  return walk_records(&w, c);
}
