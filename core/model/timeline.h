// tm_timeline: what the threads of a browser or of another program did over a while, as Chrome's
// tracing writes it: slices of work, operations that run beside them, counters, marks, CPU samples
// and memory dumps. Filled by a reader, then only read, from any thread.
//
// Times are nanoseconds from the first event. Strings are interned: equal ones have one id, 0 is
// the empty one.
#ifndef TM_MODEL_TIMELINE_H
#define TM_MODEL_TIMELINE_H

#include "base/strtab.h"
#include "base/vec.h"

#define TM_TIMELINE_NONE UINT32_MAX

typedef struct tm_tl_thread {
  int64_t pid, tid;
  uint32_t process, name; // strings
} tm_tl_thread;

// Work on a thread from begin to end. Order: as written, which is not by time.
typedef struct tm_tl_slice {
  int64_t begin_ns, duration_ns; // duration -1 = did not end within the trace
  uint64_t offset;               // of the event in the unpacked input
  uint32_t name, category, thread;
  uint32_t detail; // string: "function url:line", or a state; "" = the event does not say
} tm_tl_slice;

typedef enum tm_tl_kind {
  TM_TL_ASYNC, // begin and end events with an id: fetches, animations, console.time
  TM_TL_TIMER,
  TM_TL_ANIMATION_FRAME, // a request for one
  TM_TL_WEBSOCKET,
  TM_TL_REQUEST, // of a resource
  TM_TL_FETCH,   // a request that fetch() made
  TM_TL_XHR,
  TM_TL_EVENT_SOURCE, // a request that is open for as long as its source
  TM_TL_KIND_COUNT,
} tm_tl_kind;

typedef struct tm_tl_async {
  int64_t begin_ns, end_ns; // end -1 = did not end within the trace
  uint64_t offset;
  uint32_t name, category, thread;
  uint32_t detail; // string: url; of a timer "every 200 ms"
  uint32_t owner;  // string: "function url:line" that began it, where the event says so
  uint32_t page;   // string: url of the document that it is for, where the event says so
  uint32_t below;  // another open one of the same key, or TM_TIMELINE_NONE
  uint32_t fired_count;
  uint8_t kind;
  bool repeats; // a timer that fires until it is cleared
} tm_tl_async;

typedef struct tm_tl_series {
  uint32_t name;   // string: "jsHeapSizeUsed", "counter.argument"
  uint32_t thread; // who counted
} tm_tl_series;

typedef struct tm_tl_point {
  int64_t time_ns;
  double value;
  uint32_t series;
} tm_tl_point;

typedef struct tm_tl_mark { // something that happened at one moment: performance.mark, too
  int64_t time_ns;
  uint32_t name, thread, detail;
} tm_tl_mark;

typedef struct tm_tl_node { // of a CPU profile's call tree
  uint32_t parent;          // node, or TM_TIMELINE_NONE
  uint32_t function, url;   // strings
  uint32_t line;            // from 1; 0 = unknown
} tm_tl_node;

typedef struct tm_tl_sample {
  int64_t time_ns;
  uint32_t node, thread;
} tm_tl_sample;

typedef struct tm_tl_memory { // what one allocator of one process held at a dump
  int64_t time_ns;
  double bytes, objects; // objects -1 = not said
  uint32_t name, thread; // string "v8/main/heap"; a thread of the process
} tm_tl_memory;

typedef struct tm_timeline {
  tm_allocator alloc;
  tm_strtab strings;
  TM_VEC(tm_tl_thread) threads;
  TM_VEC(tm_tl_slice) slices;
  TM_VEC(tm_tl_async) asyncs;
  TM_VEC(tm_tl_series) series;
  TM_VEC(tm_tl_point) points;
  TM_VEC(tm_tl_mark) marks;
  TM_VEC(tm_tl_node) nodes;
  TM_VEC(tm_tl_sample) samples;
  TM_VEC(tm_tl_memory) memory;
  int64_t start_us; // the writer's clock at time 0
  int64_t duration_ns;
  uint64_t event_count, flow_count;
  uint64_t stray_count; // ends without a begin
} tm_timeline;

// An empty timeline. The caller frees it; NULL is fine.
TM_NODISCARD tm_status tm_timeline_new(tm_ctx *ctx, tm_timeline **out);
void tm_timeline_free(tm_timeline *timeline);

static inline const char *tm_timeline_text(const tm_timeline *timeline, uint32_t id) {
  return tm_strtab_text(&timeline->strings, id);
}

#endif
