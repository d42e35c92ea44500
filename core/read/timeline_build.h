// From events, one by one, to a timeline: what the readers of Chrome's two formats share. A reader
// opens an event, gives its arguments field by field when they are wanted, and closes it.
#ifndef TM_READ_TIMELINE_BUILD_H
#define TM_READ_TIMELINE_BUILD_H

#include "base/idmap.h"
#include "model/timeline.h"

typedef struct tm_tl_event {
  char phase; // as in Chrome's JSON: X B E b e n S T F I C M P v
  bool timed; // time_ns is set
  bool has_id;
  uint32_t name, category;      // strings of the timeline
  int64_t time_ns, duration_ns; // on the writer's clock
  int64_t pid, tid;
  uint64_t id; // within scope and, when local, process: a hash of those is fine
  uint64_t offset;
} tm_tl_event;

typedef enum tm_tl_type { TM_TL_TEXT, TM_TL_NUMBER, TM_TL_END } tm_tl_type;

// An argument. Its path has dots between names and "[]" for the place in an array: the third
// sample is "data.cpuProfile.samples[]". END closes an object that stood in an array.
typedef struct tm_tl_field {
  const char *path;
  size_t path_size;
  tm_tl_type type;
  const char *text;
  size_t size;
  double number; // of a text that is a number, too
} tm_tl_field;

// What the arguments of the open event said.
typedef struct tm_tl_args {
  uint32_t url, function, name, state, type; // strings
  uint32_t caller, caller_url, initiator;
  uint32_t line, caller_line;
  double key;           // timerId, identifier, id: which operation it is
  uint32_t request;     // string: requestId
  uint8_t request_kind; // tm_tl_kind, 0 = not said
  bool keyed, repeats, has_parent, has_timeout;
  double timeout_ms;
  double start_us, size_before, size_after, node, parent;
  bool after; // size_after was said
} tm_tl_args;

// TELL: what an operation under way is, that its begin did not say.
typedef enum tm_tl_step {
  TM_TL_STEP_NONE,
  TM_TL_BEGIN,
  TM_TL_FIRE,
  TM_TL_TELL,
  TM_TL_CLOSE
} tm_tl_step;

// What a name means to the builder, looked up once per string.
typedef struct tm_tl_meaning {
  uint8_t wants; // see timeline_build.c; 0 = arguments are not needed
  uint8_t kind;  // tm_tl_kind of an owner's event
  uint8_t step;  // tm_tl_step
} tm_tl_meaning;

typedef struct tm_tl_profile { // a CPU profile under way
  int64_t time_ns;
  uint32_t thread;
  tm_idmap nodes;           // the writer's id -> node
  TM_VEC(uint32_t) waiting; // samples whose time comes with timeDeltas
} tm_tl_profile;

typedef struct tm_tl_builder {
  tm_timeline *timeline;
  TM_VEC(tm_tl_meaning) meanings; // by string id
  tm_idmap threads;               // hash of pid and tid
  tm_idmap processes;             // hash of pid -> string
  tm_idmap open;                  // hash of what joins begin and end -> async
  tm_idmap series;
  tm_idmap profile_ids;
  TM_VEC(tm_tl_profile) profiles;
  TM_VEC(uint32_t) tops; // by thread: the innermost open slice
  tm_idmap under;        // slice -> the next outer open one
  uint32_t user_timing;  // string: the category of performance.mark
  int64_t least_ns, most_ns;
  int64_t last_pid, last_tid; // of last_thread, when that is not NONE
  uint32_t last_thread;
  // the open event
  tm_tl_event event;
  tm_tl_args args;
  uint32_t thread, profile;
  uint8_t wants;
  size_t first_sample, delta_count;
} tm_tl_builder;

TM_NODISCARD tm_status tm_tl_builder_init(tm_ctx *ctx, tm_tl_builder *b, tm_timeline *timeline);
void tm_tl_builder_fini(tm_ctx *ctx, tm_tl_builder *b);

// Opens an event; *wants_fields says whether its arguments matter.
TM_NODISCARD tm_status tm_tl_open(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_event *event,
                                  bool *wants_fields);
TM_NODISCARD tm_status tm_tl_add_field(tm_ctx *ctx, tm_tl_builder *b, const tm_tl_field *field);
TM_NODISCARD tm_status tm_tl_close(tm_ctx *ctx, tm_tl_builder *b);

// Makes times relative to the first event. Call once, after the last event.
void tm_tl_finish(tm_tl_builder *b);

#endif
