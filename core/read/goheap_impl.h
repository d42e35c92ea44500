// Private to goheap*.c: the records of a Go heap dump, what is known while one is read, and what is
// kept for looking at single objects afterwards.
// Source: runtime/heapdump.go of Go 1.7 to 1.26.
#ifndef TM_READ_GOHEAP_IMPL_H
#define TM_READ_GOHEAP_IMPL_H

#include "base/addr_rank.h"
#include "base/idmap.h"
#include "model/go_types.h"
#include "model/graph.h"
#include "model/snapshot.h"
#include "read/source.h"
#include "read/wire.h"

#include <string.h>

enum {
  GOHEAP_EOF,
  GOHEAP_OBJECT,
  GOHEAP_ROOT,
  GOHEAP_TYPE,
  GOHEAP_GOROUTINE,
  GOHEAP_FRAME,
  GOHEAP_PARAMS,
  GOHEAP_FINALIZER,
  GOHEAP_ITAB,
  GOHEAP_THREAD,
  GOHEAP_MEMSTATS,
  GOHEAP_QUEUED, // a finalizer that is about to run
  GOHEAP_DATA,
  GOHEAP_BSS,
  GOHEAP_DEFER,
  GOHEAP_PANIC,
  GOHEAP_BUCKET, // of the heap profile: a stack
  GOHEAP_SAMPLE, // an object and its bucket
  GOHEAP_TAGS
};

enum { GOHEAP_NUMBERS = 13, GOHEAP_MAGIC_BYTES = 16 };

typedef struct goheap_bytes {
  const uint8_t *data;
  size_t size;
} goheap_bytes;

// One record: its numbers and byte strings in the order of the file, and where its field list is.
typedef struct goheap_record {
  uint32_t tag;
  uint64_t number[GOHEAP_NUMBERS];
  goheap_bytes text[2];
  const uint8_t *fields;
} goheap_record;

// An object: contents and the list of the offsets that may hold pointers.
typedef struct goheap_object {
  uint64_t address;
  goheap_bytes contents;
  const uint8_t *fields;
} goheap_object;

// Says something of a node: see goheap.held and goheap.names. Ordered by node, then value.
typedef struct goheap_mark {
  uint32_t node, value;
} goheap_mark;

// Globals of the dumped program: their bytes and pointer slots.
typedef struct goheap_segment {
  uint64_t address;
  goheap_bytes contents;
  const uint8_t *fields;
  size_t first_root; // in graph->roots, of the first slot that points to an object
} goheap_segment;

// A frame of the goroutine at hand.
typedef struct goheap_stack_frame {
  uint64_t sp;
  goheap_bytes contents;
  const uint8_t *fields;
  uint32_t function, label;    // string ids; label: "main.f, goroutine 12 [chan receive]"
  bool looked_into, all_of_it; // see goheap_goroutine.c
} goheap_stack_frame;

typedef struct goheap {
  tm_ctx *ctx;
  tm_snapshot *out;
  tm_graph *graph;
  const uint8_t *data;
  uint64_t size;
  uint32_t pointer_bytes;
  bool big_endian, has_params;
  char version[32];       // "go1.26.8"
  uint32_t go_minor;      // 26 of "go1.26.8"; 0 = not said
  uint32_t reserve_bytes; // at the end of a page of small objects: bits of the collector

  TM_VEC(uint64_t) objects; // offsets in the file, in its order; freed once they are numbered
  TM_VEC(uint64_t) others;  // offsets of the records that name or hold objects
  uint64_t pointer_count;   // pointer slots of objects
  tm_addr_rank rank;
  uint64_t *at; // by node: offset of its record

  TM_VEC(goheap_mark) held; // value = index of a root on the stack of goroutine `node`
  TM_VEC(goheap_segment) segments;
  TM_VEC(uint64_t) buckets;    // offsets of the heap profile's records
  tm_idmap itabs;              // address -> index in itab_types
  TM_VEC(uint64_t) itab_types; // addresses of the runtime's descriptors
  tm_go_types *types;          // of the program, or NULL; owned
  uint32_t *typed;             // with types, by node: its type, or TM_GO_NO_TYPE
  TM_VEC(uint32_t) finalized;  // nodes with a finalizer
  TM_VEC(goheap_mark) names;   // value = string id of the type's name
  tm_idmap type_names;         // runtime type's address -> string id
  tm_idmap sites;              // bucket -> string id
  tm_idmap type_of_name;       // string id -> index in graph->types
  tm_idmap type_of_shape;      // hash of size and field list -> index in graph->types

  // the goroutine whose frames are being read: the last of graph->goroutines
  bool in_goroutine;
  uint32_t goroutine;       // its node, or TM_NODE_NONE
  uint64_t next_closure;    // which it runs next, in the heap or on its stack
  char goroutine_text[160]; // "goroutine 12 [chan receive]"
  TM_VEC(goheap_stack_frame) frames;
} goheap;

// Reads the record at w. false with w->fault when it is damaged.
bool goheap_read_record(wire *w, goheap_record *out);
// Reads an object whose tag was read already, its field list included.
bool goheap_read_object(wire *w, goheap_object *out, uint32_t *out_fields);

// ---- goheap_graph.c ----
// Makes columns, edges and roots of the numbered objects.
tm_status goheap_fill_graph(goheap *h);
// The node whose object holds the address, inside too, or TM_NODE_NONE.
uint32_t goheap_find(const goheap *h, uint64_t address);

// A root that a pointer makes; one that points to no object is passed over.
tm_status goheap_add_root(goheap *h, uint64_t pointer, tm_root_kind kind, const char *label);

// ---- goheap_goroutine.c ----
tm_status goheap_open_goroutine(goheap *h, const goheap_record *r);
tm_status goheap_add_frame(goheap *h, const goheap_record *r);
// A deferred call or a panic of the goroutine at hand.
tm_status goheap_add_call(goheap *h, const goheap_record *r);
tm_status goheap_close_goroutine(goheap *h); // none at hand is fine
// Behind the last: turns the times since when they wait into how long that is.
void goheap_count_waits(goheap *h);

enum { GOHEAP_HEADER_BYTES = 8 }; // of the type in front of an object, also where pointers have 4

// ---- goheap_types.c ----
// The type of an object that has no name of its own: by the runtime's type, or by its shape.
tm_status goheap_type_of(goheap *h, const goheap_object *o, const uint8_t *fields_end,
                         uint32_t *out_type);
tm_status goheap_type_named(goheap *h, uint32_t name, uint32_t *out_type);
// The address of the runtime's descriptor that stands in front of an object, or 0.
uint64_t goheap_header_of(const goheap *h, const goheap_object *o);
// Takes the stack of a bucket, and names a sampled object after it.
tm_status goheap_add_bucket(goheap *h, uint64_t at);
tm_status goheap_add_sample(goheap *h, uint64_t address, uint64_t bucket);

// ---- goheap_allocations.c ----
tm_status goheap_allocations(tm_ctx *ctx, const tm_graph *graph, struct tm_profile **out);

// ---- goheap_typing.c ----
// Where in a value of a type (of h->types) an offset lies: ".next", "[3].name". Answers its length.
size_t goheap_write_place(const goheap *h, uint32_t type, uint64_t offset, char *out, size_t size);

// ---- goheap_columns.c: to and from a saved index ----
struct tm_columns;
tm_status goheap_columns(struct tm_columns *c, tm_graph *g);
tm_status goheap_restore(tm_ctx *ctx, const tm_source *src, tm_graph **out);

// A type's name without sizes: tables and slices that grew are of one family, see tm_graph_detail.
bool goheap_family(const tm_graph *graph, uint32_t type, char *out, size_t size);
extern const tm_graph_detail goheap_detail;
void goheap_free_kept(goheap *h);

static inline bool goheap_object_of(const goheap *h, uint32_t node, goheap_object *out) {
  if (node >= h->rank.count) return false;
  wire w = wire_of(h->data + h->at[node] + 1, h->size - h->at[node] - 1);
  uint64_t size;
  if (!wire_varint(&w, &out->address) || !wire_varint(&w, &size)) return false;
  if (size > (uint64_t)(w.end - w.at)) return false;
  out->contents = (goheap_bytes){w.at, (size_t)size};
  out->fields = w.at + size;
  return true;
}

// A pointer of the program that was dumped.
static inline uint64_t goheap_pointer(const goheap *h, const uint8_t *p) {
  if (h->pointer_bytes == 8) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return h->big_endian ? __builtin_bswap64(v) : v;
  }
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return h->big_endian ? __builtin_bswap32(v) : v;
}

// The pointer slots of a record, in ascending order: slots that overlap, go back or reach out of
// the contents are passed over, so that no list makes more of them than its contents hold.
typedef struct goheap_slots {
  wire w;
  uint64_t from, size;
  uint32_t pointer_bytes;
} goheap_slots;

static inline goheap_slots goheap_slots_of(const goheap *h, const uint8_t *fields, size_t size) {
  return (goheap_slots){wire_of(fields, (size_t)(h->data + h->size - fields)), 0, size,
                        h->pointer_bytes};
}

static inline bool goheap_next_slot(goheap_slots *s, uint64_t *out) {
  uint64_t kind, offset;
  while (wire_small_varint(&s->w, &kind) && kind && wire_small_varint(&s->w, &offset)) {
    if (kind != 1 && offset < s->size) offset += s->pointer_bytes; // an interface's second word
    if (offset < s->from || s->size < s->pointer_bytes || offset > s->size - s->pointer_bytes)
      continue;
    s->from = offset + s->pointer_bytes;
    *out = offset;
    return true;
  }
  return false;
}

#endif
