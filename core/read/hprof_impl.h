// Private to hprof*.c: what is known of a JVM heap dump while it is read, and what is kept for
// looking at single objects afterwards.
#ifndef TM_READ_HPROF_IMPL_H
#define TM_READ_HPROF_IMPL_H

#include "base/addr_rank.h"
#include "base/idmap.h"
#include "model/graph.h"
#include "model/snapshot.h"
#include "read/source.h"

#include <string.h>

// Element types of fields and arrays.
enum {
  HPROF_OBJECT = 2,
  HPROF_BOOLEAN = 4,
  HPROF_CHAR,
  HPROF_FLOAT,
  HPROF_DOUBLE,
  HPROF_BYTE,
  HPROF_SHORT,
  HPROF_INT,
  HPROF_LONG,
  HPROF_TYPES
};

// Sub-records of objects.
enum { HPROF_CLASS = 0x20, HPROF_INSTANCE, HPROF_OBJECT_ARRAY, HPROF_PRIMITIVE_ARRAY };
enum { HPROF_PRIMITIVE_NODATA = 0xc3 };

typedef struct hprof_field {
  uint64_t name_id;
  uint8_t type;
} hprof_field;

// A class: its own layout, and once all are known the places of all references of an instance.
typedef struct hprof_class {
  uint64_t id, super_id, loader_id;
  uint64_t offset;                 // of its CLASS_DUMP's body in the file, 0 = synthetic
  uint32_t type;                   // index in the graph's types
  uint32_t field_begin, field_end; // own fields, in hprof.fields
  uint32_t super;                  // index of a class or UINT32_MAX
  uint32_t depth;                  // classes above it
  uint32_t ref_begin, ref_end;     // in hprof.refs: offsets in the field bytes, referent first
  uint32_t field_bytes;            // of all fields, own and above
  uint32_t instance_bytes;         // shallow size of an instance, header and padding included
  uint32_t static_bytes;
  uint8_t strength; // tm_strength of its referent
  bool laid_out, laying_out;
  bool is_measured, is_grown; // while sizes are found: seen in the dump, and more than its fields
} hprof_class;

typedef struct hprof_segment {
  uint64_t begin, end; // of its sub-records in the file
} hprof_segment;

#define HPROF_NO_FRAME UINT32_MAX

typedef struct hprof_local {
  uint64_t id;
  uint32_t thread_serial;
  uint32_t frame; // its depth on the thread's stack, or HPROF_NO_FRAME
  uint8_t kind;
} hprof_local;

typedef struct hprof_thread {
  uint64_t object;
  uint32_t serial, trace;
  uint32_t node;
  uint32_t name; // string id: in quotes; 0 = not known
} hprof_thread;

// A root that its thread holds.
typedef struct hprof_held {
  tm_root root;
  uint32_t order;
} hprof_held;

typedef struct hprof_frame {
  char function[512], file[256];
  int32_t line; // 0 = not known
  bool is_native;
} hprof_frame;

typedef enum hprof_problem_kind {
  HPROF_CUT,
  HPROF_SKIPPED_RECORD,
  HPROF_BROKEN_SEGMENT,
  HPROF_MISSING_CLASS,
  HPROF_OPAQUE,
  HPROF_DUPLICATE,
  HPROF_CUT_CHAIN,
  HPROF_LOST_ROOT,
  HPROF_DANGLING,
  HPROF_ASSUMED_ROOT,
  HPROF_OTHER_DUMP,
  HPROF_PROBLEMS
} hprof_problem_kind;

typedef struct hprof_problem {
  uint64_t count, offset; // offset: of the first, or TM_NO_OFFSET
} hprof_problem;

enum { HPROF_HEAPS_MAX = 62, HPROF_HEAP_SHIFT = 2 }; // above TM_NODE_LINK

// The least distance from an instance of a class to the next object, and how often it was seen.
typedef struct hprof_measure {
  uint64_t at; // the first such instance
  uint32_t least_bytes, count;
} hprof_measure;

enum { HPROF_ARRAY_BASES = 4, HPROF_MEASURE_SLOTS = 256, HPROF_ALIGN_MAX = 16 };

typedef struct hprof {
  tm_ctx *ctx;
  tm_snapshot *out;
  tm_graph *graph;
  const tm_source *source; // while it is read
  const uint8_t *data;
  uint64_t size;
  uint32_t id_bytes;
  uint32_t oop_bytes, header_bytes, align; // how the VM lays objects out
  uint32_t array_base;                     // where the elements of an array begin
  bool android;

  TM_VEC(hprof_segment) segments;
  tm_idmap strings;           // id -> index in string_at
  TM_VEC(uint64_t) string_at; // offset of the UTF8 record's body (length stands 4 bytes before)
  tm_idmap class_names;       // class id -> index in string_at
  tm_idmap class_index;       // class id -> index in classes
  TM_VEC(hprof_class) classes;
  TM_VEC(hprof_field) fields;
  TM_VEC(uint32_t) refs;
  uint32_t array_class[HPROF_TYPES]; // type of primitive arrays, UINT32_MAX = none yet
  uint32_t class_type;               // type of class objects
  TM_VEC(hprof_local) root_ids;
  TM_VEC(hprof_thread) threads;
  TM_VEC(hprof_held) held;
  tm_idmap thread_index; // thread serial -> index in threads
  // Stacks: offsets of records' bodies, by their keys. See hprof_frames.c.
  TM_VEC(uint64_t) place_at;
  tm_idmap frame_index, trace_index, start_index;
  tm_idmap class_serials; // class serial -> index in string_at
  uint64_t sites_at;      // of the last ALLOC_SITES, 0 = none
  // Android: parts of the heap by name; objects have their index + 1 in the graph's flags.
  uint32_t heap_count;
  uint32_t heap_names[HPROF_HEAPS_MAX]; // string ids
  tm_addr_rank rank;
  uint32_t *at_low; // offset of each object's sub-record: low 32 bits, high 8
  uint8_t *at_high;

  // Evidence for sizes: see hprof_sizes.c.
  uint64_t wide_arrays, narrow_arrays;
  uint64_t base_votes[HPROF_ARRAY_BASES];
  uint64_t base_lengths[HPROF_ARRAY_BASES]; // a bit for each length of those arrays
  uint64_t address_bits;                    // of all addresses
  TM_VEC(hprof_measure) measures;
  tm_idmap measure_index; // class id -> index of measures
  struct {
    uint64_t id;
    uint32_t index; // + 1
  } measure_cache[HPROF_MEASURE_SLOTS];

  hprof_problem problems[HPROF_PROBLEMS];
  uint32_t dump_count; // that the file holds
  bool dump_open;      // more of the last one may follow
} hprof;

// One sub-record of a heap segment that is an object.
typedef struct hprof_object {
  uint8_t tag;
  uint8_t element; // of a primitive array
  uint64_t id;
  uint64_t class_id;   // of an instance; of an object array its array class
  uint32_t count;      // elements
  uint64_t body_bytes; // of fields or elements
  const uint8_t *body;
  uint64_t at; // of the tag
} hprof_object;

typedef struct hprof_walk {
  const hprof *h;
  size_t segment;
  const uint8_t *p, *end;
  uint64_t heap_name; // string id in the file of the part of the heap that it is in, 0 = none
  // Set by the first of several walks, which takes roots and notes problems.
  hprof *owner;
  tm_status status; // of taking roots
} hprof_walk;

extern const uint8_t hprof_type_bytes[HPROF_TYPES]; // 0 for objects and unknown types

static inline uint64_t hprof_be32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, sizeof v);
  return __builtin_bswap32(v);
}
static inline uint64_t hprof_be64(const uint8_t *p) {
  uint64_t v;
  memcpy(&v, p, sizeof v);
  return __builtin_bswap64(v);
}
static inline uint64_t hprof_id(const hprof *h, const uint8_t *p) {
  return h->id_bytes == 8 ? hprof_be64(p) : hprof_be32(p);
}
static inline uint32_t hprof_value_bytes(const hprof *h, uint8_t type) {
  return type == HPROF_OBJECT ? h->id_bytes : type < HPROF_TYPES ? hprof_type_bytes[type] : 0;
}

// hprof.c: the header and where strings, class names and segments lie.
tm_status hprof_open(hprof *h);
tm_status hprof_find_class_type(hprof *h); // sets class_type
// Steps to the next object (HPROF_CLASS, HPROF_INSTANCE, ...), over roots and over segments. A
// segment that cannot be read on is left and counted in broken. false at the end of all.
bool hprof_next(hprof_walk *w, hprof_object *out);

// Parses a CLASS_DUMP's body; *next behind it. TM_E_FORMAT when it does not fit.
typedef struct hprof_class_body {
  uint64_t id, super_id, loader_id, signers_id, domain_id;
  const uint8_t *constants, *statics, *fields; // their first entries
  uint32_t constant_count, static_count, field_count;
} hprof_class_body;
bool hprof_parse_class(const hprof *h, const uint8_t *p, const uint8_t *end, hprof_class_body *out,
                       const uint8_t **next);

// hprof_class.c: layouts, names, sizes.
tm_status hprof_add_class(hprof *h, const hprof_class_body *body, uint64_t at);
tm_status hprof_lay_out_classes(hprof *h);
uint32_t hprof_class_of(hprof *h,
                        uint64_t class_id); // index, made when missing; UINT32_MAX no memory
tm_status hprof_primitive_type(hprof *h, uint8_t element, uint32_t *out_type);
tm_status hprof_string(const hprof *h, uint64_t string_id, const char **out, size_t *out_size);

// hprof_sizes.c: how large the VM makes objects, by the distances of neighbours.
// Weighs an object by the one that follows it in the file.
tm_status hprof_weigh(hprof *h, const hprof_object *object, const hprof_object *next);
// Again by address, when neighbours in the file were none in the heap.
tm_status hprof_weigh_by_address(hprof *h);
void hprof_set_layout(hprof *h);     // header, oop, align and array_base from that evidence
void hprof_size_instances(hprof *h); // of classes that are laid out
uint64_t hprof_array_bytes(const hprof *h, uint8_t element, uint64_t count);

// The text of a string, by its index.
void hprof_text_at(const hprof *h, uint32_t index, const char **out, size_t *out_size);
// "[[I" and "java/lang/String" as int[][] and java.lang.String, into out; answers how many bytes.
size_t hprof_write_class_name(const char *raw, size_t size, char *out, size_t room);

// hprof_roots.c
tm_status hprof_add_root(hprof *h, uint8_t tag, uint8_t kind, uint8_t words, const uint8_t *body);
tm_status hprof_resolve_roots(hprof *h); // counts the edges of threads to their locals, too
void hprof_put_locals(hprof *h, uint32_t *used);
tm_status hprof_assume_roots(hprof *h);
// The name of a thread's index-th edge to a local.
void hprof_local_name(const tm_graph *g, uint32_t thread, uint32_t index, char *out, size_t size);

// hprof_frames.c
tm_status hprof_add_stack_record(hprof *h, uint8_t tag, uint64_t at, uint64_t length);
uint64_t hprof_start_name(const hprof *h, uint32_t thread_serial); // id of its name's string
uint32_t hprof_frame_count(const hprof *h, uint32_t trace_serial);
bool hprof_frame_of(const hprof *h, uint32_t trace_serial, uint32_t depth, hprof_frame *out);
void hprof_write_frame(const hprof_frame *f, char *out, size_t size);
tm_status hprof_stack(tm_ctx *ctx, const tm_graph *g, uint32_t node, tm_table *out);
struct tm_profile;
tm_status hprof_allocations(tm_ctx *ctx, const tm_graph *g, struct tm_profile **out);

// hprof_problems.c
void hprof_note(hprof *h, hprof_problem_kind kind, uint64_t offset);
tm_status hprof_problems(tm_ctx *ctx, const tm_graph *g, tm_table *out);

// hprof_columns.c: to and from a saved index.
struct tm_columns;
tm_status hprof_columns(struct tm_columns *c, tm_graph *g);
tm_status hprof_restore(tm_ctx *ctx, const tm_source *src, tm_graph **out);

// hprof_detail.c
extern const tm_graph_detail hprof_detail;
// The name of a Thread object, or "".
void hprof_thread_name(const tm_graph *g, uint32_t node, char *out, size_t size);

static inline uint64_t hprof_at(const hprof *h, uint32_t node) {
  return (uint64_t)h->at_high[node] << 32 | h->at_low[node];
}
// The object at a file offset; false when it does not fit (it did when the dump was read).
bool hprof_object_at(const hprof *h, uint64_t at, hprof_object *out);
void hprof_free_kept(hprof *h);

#endif
