// One profile summed up by a key: function, path, site, creator, or the text of a label. What rules
// compare over snapshots: a pivot is a few numbers per key and outlives its profile.
#ifndef TM_ANALYZE_PIVOT_H
#define TM_ANALYZE_PIVOT_H

#include "analyze/focus.h"
#include "base/bytes.h"

typedef enum tm_pivot_by {
  TM_PIVOT_FUNCTION, // the leaf's function
  TM_PIVOT_PATH,     // all frames from the root, joined by ';'
  TM_PIVOT_SITE,     // function, file and line of the first frame that is no allocator's
  TM_PIVOT_CREATOR,  // who started the goroutine; the root's function where no profile says it
  TM_PIVOT_LABEL     // the label's text
} tm_pivot_by;

enum { TM_PIVOT_PARTS = 3, TM_PIVOT_CONDITIONS = 8 };

typedef struct tm_pivot_part {
  tm_pivot_by by;
  const char *label; // of TM_PIVOT_LABEL
} tm_pivot_part;

typedef struct tm_pivot_condition {
  const char *label, *glob; // samples without the label do not match
} tm_pivot_condition;

// Zero-initialise. Strings are borrowed for the call.
typedef struct tm_pivot_options {
  tm_pivot_part parts[TM_PIVOT_PARTS]; // several: a key is their texts, joined by ", "
  size_t part_count;
  const char *value;          // sample type; "" = the default; "count" = the only one that counts
  const char *focus, *ignore; // regexps on frames
  tm_pivot_condition conditions[TM_PIVOT_CONDITIONS];
  size_t condition_count;
  size_t depth; // of paths: so many frames from the root on, what is below counts there; 0 = all
  int blocked;  // 1: only goroutines that wait, -1: only those that do not, 0: all
} tm_pivot_options;

typedef struct tm_pivot {
  tm_allocator alloc;
  tm_strtab keys;           // id 0 = stacks without frames
  TM_VEC(int64_t) values;   // by key id
  TM_VEC(uint32_t) samples; // by key id: the sample with the largest value
  int64_t total;
  char type[64], unit[64];
} tm_pivot;

// TM_E_ARG: no such value in the profile, or a wrong regexp. Free with tm_pivot_fini, also on
// failure.
TM_NODISCARD tm_status tm_pivot_read(tm_ctx *ctx, const tm_profile *p,
                                     const tm_pivot_options *options, tm_pivot *out);
void tm_pivot_fini(tm_pivot *pivot);

// The stack of a sample, leaf first, one "function file:line" a line, at most max_frames.
TM_NODISCARD tm_status tm_pivot_stack(tm_ctx *ctx, const tm_profile *p, uint32_t sample,
                                      size_t max_frames, tm_bytes *out);

#endif
