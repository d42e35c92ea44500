// tm_trace: what happened to the goroutines of a program over a while. Those alive at the end are
// kept one by one; those that ended are folded into piles by entry and creation, so that memory
// does not grow with how many came and went. Filled by a reader, then only read, from any thread.
//
// Times are nanoseconds from the first moment of the trace. Strings and stacks are interned: equal
// ones have one id. Stacks run from leaf to root; stack 0 has no frames ("unknown").
#ifndef TM_MODEL_TRACE_H
#define TM_MODEL_TRACE_H

#include "base/idmap.h"
#include "base/strtab.h"
#include "base/vec.h"

typedef enum tm_go_state {
  TM_GO_UNKNOWN, // seen, but the trace does not say in which state
  TM_GO_RUNNABLE,
  TM_GO_RUNNING,
  TM_GO_SYSCALL,
  TM_GO_WAITING,
  TM_GO_STATE_COUNT,
} tm_go_state;

typedef struct tm_trace_frame {
  uint32_t function, file; // string ids
  uint32_t line;
} tm_trace_frame;

typedef struct tm_trace_stack {
  uint32_t begin, end; // range in frames
  uint64_t hash;
} tm_trace_stack;

typedef struct tm_goroutine {
  uint64_t id;
  int64_t created_ns;                  // 0 when it is older than the trace
  int64_t since_ns;                    // in its last state since then; 0 = since before the trace
  int64_t state_ns[TM_GO_STATE_COUNT]; // time spent per state within the trace
  uint32_t entry;                      // string: its first function, "" = unknown
  uint32_t reason;                     // string: why it waits, "" = the trace does not say
  uint32_t site;                       // stack where it was last seen to stop
  uint32_t creation;                   // stack of the `go` statement
  tm_go_state state;
  bool born;    // its creation is in the trace
  bool foreign; // made by a C thread that called into Go; goes when the call returns
} tm_goroutine;

// All goroutines with one entry and one creation stack.
typedef struct tm_go_pile {
  uint32_t entry, creation;
  bool foreign;
  uint64_t created_count, ended_count; // within the trace
  int64_t lived_ns, longest_ns;        // of those that ended; from the trace's start if older
} tm_go_pile;

typedef struct tm_trace_point {
  int64_t time_ns;
  int64_t value;
} tm_trace_point;

typedef TM_VEC(tm_trace_point) tm_trace_points;

typedef enum tm_trace_counter {
  TM_COUNTER_HEAP_LIVE, // bytes
  TM_COUNTER_HEAP_GOAL, // bytes
  TM_COUNTER_PROCS,
  TM_COUNTER_GOROUTINES,  // alive at the end of each generation
  TM_COUNTER_COLLECTIONS, // when one ended; the value says nothing
  TM_COUNTER_COUNT,
} tm_trace_counter;

typedef struct tm_trace_region {
  uint64_t goroutine, task; // task 0 = background
  int64_t begin_ns, end_ns; // end_ns -1 = not ended; begin_ns 0 with `began` false = older
  uint32_t name;
  bool began;
} tm_trace_region;

typedef struct tm_trace_task {
  uint64_t id, parent; // parent 0 = none
  int64_t begin_ns, end_ns;
  uint32_t name;
  bool began;
} tm_trace_task;

typedef struct tm_trace_log {
  uint64_t goroutine, task;
  int64_t time_ns;
  uint32_t key, value;
} tm_trace_log;

// All waits at one place for one reason, from a goroutine's stop until another one woke it.
typedef struct tm_trace_wait {
  uint32_t site, reason; // stack; string
  uint64_t count;
  int64_t total_ns;
} tm_trace_wait;

typedef struct tm_trace {
  tm_allocator alloc;
  tm_strtab strings;
  TM_VEC(tm_trace_frame) frames;
  TM_VEC(tm_trace_stack) stacks;
  uint32_t *stack_slots; // open addressing: id + 1, or 0
  size_t stack_slot_count;
  TM_VEC(tm_goroutine) goroutines; // alive at the end, by id
  TM_VEC(tm_go_pile) piles;
  tm_trace_points counters[TM_COUNTER_COUNT]; // by time
  TM_VEC(tm_trace_region) regions;            // ended ones by end per generation, then open ones
  TM_VEC(tm_trace_task) tasks;
  TM_VEC(tm_trace_log) logs;
  TM_VEC(tm_trace_wait) waits; // only of a trace that was put in order
  int64_t duration_ns;
  uint64_t created_count, ended_count;
  uint64_t event_count, batch_count, duplicate_count, generation_count, gc_count;
  uint64_t dropped_count;  // regions, tasks, logs and points beyond the caps
  uint32_t format_version; // 22 = Go 1.22
  // The clock: at time `clock_at_ns` of the trace it was that late. clock_unix_ns 0 = unknown.
  int64_t clock_at_ns, clock_monotonic_ns, clock_unix_ns;
} tm_trace;

// An empty trace with the empty string and the empty stack. The caller frees it; NULL is fine.
TM_NODISCARD tm_status tm_trace_new(tm_ctx *ctx, tm_trace **out);
void tm_trace_free(tm_trace *trace);

TM_NODISCARD tm_status tm_trace_intern(tm_ctx *ctx, tm_trace *trace, const void *text, size_t size,
                                       uint32_t *out_id);

// The id of a stack of count frames, leaf first, made if new. TM_E_NOMEM, TM_E_LIMIT past 2^31.
TM_NODISCARD tm_status tm_trace_add_stack(tm_ctx *ctx, tm_trace *trace,
                                          const tm_trace_frame *frames, size_t count,
                                          uint32_t *out_id);

static inline const char *tm_trace_text(const tm_trace *trace, uint32_t id) {
  return tm_strtab_text(&trace->strings, id);
}

#endif
