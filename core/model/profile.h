// tm_profile: samples x value types over stacks, with functions, mappings and labels. One shape for
// pprof, legacy text, goroutine dumps and the formats of other makers. Filled by a reader, then
// sealed: immutable, readable from any thread, freed once.
//
// Everything points by index: samples -> stack[] -> locations -> lines[] -> functions -> strings.
// Strings are interned, so two equal names have one id. Stacks run from leaf to root.
// Source: github.com/google/pprof/proto/profile.proto (field meanings).
#ifndef TM_MODEL_PROFILE_H
#define TM_MODEL_PROFILE_H

#include "base/strtab.h"
#include "base/vec.h"

#define TM_PROFILE_NONE UINT32_MAX // no mapping

typedef struct tm_value_type {
  uint32_t type, unit; // string ids
} tm_value_type;

typedef struct tm_mapping {
  uint64_t id, start, limit, file_offset;
  uint32_t file, build_id; // string ids
  bool has_functions, has_filenames, has_line_numbers, has_inline_frames;
} tm_mapping;

typedef struct tm_function {
  uint64_t id;
  uint32_t name, system_name, file; // string ids
  int64_t start_line;
} tm_function;

typedef struct tm_line {
  uint32_t function; // index
  int64_t line, column;
} tm_line;

typedef struct tm_location {
  uint64_t id, address;
  uint32_t mapping;              // index or TM_PROFILE_NONE
  uint32_t line_begin, line_end; // range in lines, innermost callee first
  bool folded;
} tm_location;

typedef struct tm_label {
  uint32_t key;
  uint32_t text; // string id, when not numeric
  uint32_t unit; // string id of the unit, when numeric; 0 = none
  bool numeric;
  int64_t number;
} tm_label;

typedef struct tm_profile_stat {
  uint32_t name; // string id
  double value;
} tm_profile_stat;

typedef struct tm_profile {
  tm_allocator alloc;
  tm_strtab strings;
  TM_VEC(tm_value_type) types;
  TM_VEC(tm_mapping) mappings;
  TM_VEC(tm_function) functions;
  TM_VEC(tm_location) locations;
  TM_VEC(tm_line) lines;

  // Sample i: values[i * types.count ...], stack[stack_end[i-1] .. stack_end[i]],
  // labels[label_end[i-1] .. label_end[i]]. label_end is empty when there is no label at all.
  uint32_t sample_count;
  TM_VEC(int64_t) values;
  TM_VEC(uint32_t) stack; // location indexes
  TM_VEC(uint32_t) stack_end;
  TM_VEC(tm_label) labels;
  TM_VEC(uint32_t) label_end;

  TM_VEC(uint32_t) comments;         // string ids
  uint32_t drop_frames, keep_frames; // string ids
  uint32_t default_type, doc_url;    // string ids
  tm_value_type period_type;
  int64_t period, time_ns, duration_ns;

  // Numbers of the same instant that the file holds beside its samples: Go's MemStats by its own
  // names ("HeapAlloc", in bytes), "MaxRSS". Kept by no writer and no merge.
  TM_VEC(tm_profile_stat) stats;
} tm_profile;

TM_NODISCARD tm_status tm_profile_new(tm_ctx *ctx, tm_profile **out);
void tm_profile_free(tm_profile *profile);

// Builders. tm_profile_intern answers a string id.
TM_NODISCARD tm_status tm_profile_intern(tm_ctx *ctx, tm_profile *p, const char *text,
                                         size_t length, uint32_t *out_id);
TM_NODISCARD tm_status tm_profile_add_type(tm_ctx *ctx, tm_profile *p, const char *type,
                                           const char *unit);
// Ends one sample: values has types.count numbers; its frames and labels were pushed before.
TM_NODISCARD tm_status tm_profile_end_sample(tm_ctx *ctx, tm_profile *p, const int64_t *values);

// A copy with the samples for which kept (sample_count of them) is true. Free with tm_profile_free.
TM_NODISCARD tm_status tm_profile_keep(tm_ctx *ctx, const tm_profile *p, const bool *kept,
                                       tm_profile **out);

static inline uint32_t tm_profile_stack_begin(const tm_profile *p, uint32_t sample) {
  return sample ? p->stack_end.items[sample - 1] : 0;
}

static inline uint32_t tm_profile_label_begin(const tm_profile *p, uint32_t sample) {
  return sample && p->label_end.count ? p->label_end.items[sample - 1] : 0;
}

static inline uint32_t tm_profile_label_end(const tm_profile *p, uint32_t sample) {
  return p->label_end.count ? p->label_end.items[sample] : 0;
}

static inline const char *tm_profile_text(const tm_profile *p, uint32_t id) {
  return tm_strtab_text(&p->strings, id);
}

// The value column that a name or number chooses: "" = the default type, else the last one;
// "inuse_space" finds "space" too. TM_E_ARG names what there is.
TM_NODISCARD tm_status tm_profile_sample_index(tm_ctx *ctx, const tm_profile *p, const char *name,
                                               uint32_t *out_index);

#endif
