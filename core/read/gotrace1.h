// What the parts of the reader of Go execution traces, version 1, share (Go 1.11 to 1.21).
//   gotrace1.c         records; strings, stacks and batches
//   gotrace1_merge.c   the batches of all processors as one order of events
//   gotrace1_events.c  what an event says of goroutines
#ifndef TM_READ_GOTRACE1_H
#define TM_READ_GOTRACE1_H

#include "read/gotrace_impl.h"

// Types of records. Source: the Go project's internal/trace/internal/tracev1 (parser.go).
enum {
  V1_BATCH = 1,
  V1_FREQUENCY,
  V1_STACK,
  V1_PROCS,
  V1_PROC_START,
  V1_PROC_STOP,
  V1_GC_START,
  V1_GC_DONE,
  V1_STW_START,
  V1_STW_DONE,
  V1_SWEEP_START,
  V1_SWEEP_DONE,
  V1_GO_CREATE,
  V1_GO_START,
  V1_GO_END,
  V1_GO_STOP,
  V1_GO_SCHED,
  V1_GO_PREEMPT,
  V1_GO_SLEEP,
  V1_GO_BLOCK,
  V1_GO_UNBLOCK,
  V1_BLOCK_SEND,
  V1_BLOCK_RECEIVE,
  V1_BLOCK_SELECT,
  V1_BLOCK_SYNC,
  V1_BLOCK_COND,
  V1_BLOCK_NET,
  V1_SYSCALL,
  V1_SYSCALL_EXIT,
  V1_SYSCALL_BLOCK,
  V1_WAITING,
  V1_IN_SYSCALL,
  V1_HEAP_ALLOC,
  V1_HEAP_GOAL,
  V1_TIMER_GOROUTINE,
  V1_FUTILE_WAKEUP,
  V1_STRING,
  V1_START_LOCAL,
  V1_UNBLOCK_LOCAL,
  V1_SYSCALL_EXIT_LOCAL,
  V1_START_LABEL,
  V1_BLOCK_GC,
  V1_ASSIST_START,
  V1_ASSIST_DONE,
  V1_TASK_CREATE,
  V1_TASK_END,
  V1_REGION,
  V1_LOG,
  V1_CPU_SAMPLE,
  V1_COUNT,
  V1_MOST_ARGS = 5
};

typedef struct go1_record {
  uint8_t type;
  uint32_t count;              // of args
  uint64_t args[V1_MOST_ARGS]; // the first ones; the time's delta is the first
  const uint8_t *data, *end;   // of a stack: its frames; of a string or a log: the text
} go1_record;

typedef struct go1_batch {
  uint64_t ticks;
  const uint8_t *data, *end;
  uint32_t next; // of the same processor, or UINT32_MAX
} go1_batch;

typedef struct go1_proc { // one stream of events
  uint64_t id;
  uint32_t first, last; // batches
  // where it is
  const uint8_t *event; // the event at hand, or NULL at the end
  const uint8_t *at, *end;
  uint32_t batch;
  uint64_t ticks;
  uint64_t current; // goroutine that runs here after the event at hand, 0 = none
  uint64_t g;       // of the event at hand
  go1_record record;
} go1_proc;

typedef struct go1_reader {
  go_reader *r;
  TM_VEC(go1_batch) batches;
  TM_VEC(go1_proc) procs;
  TM_VEC(uint32_t) heap;    // procs whose event may come, by time
  TM_VEC(uint32_t) waiting; // procs whose event may not come yet
  tm_idmap proc_index;
  uint64_t gc_seq, zero_ticks, last_ticks, sample_count;
  bool started; // behind the list of goroutines that were there before
  bool has_zero;
  const uint8_t *last_event;  // taken
  const uint8_t *backwards;   // the first event whose time is earlier than one before, or NULL
  uint32_t reasons[V1_COUNT]; // strings: why a goroutine waits, by the event that stops it
} go1_reader;

// The record at *at, which moves behind it. False, with a problem, when it is cut or unknown.
bool go1_take(go_reader *r, const uint8_t **at, const uint8_t *end, go1_record *out);
tm_status go1_merge(go1_reader *v);
tm_status go1_prepare(go1_reader *v);                  // before the first event
tm_status go1_event(go1_reader *v, const go1_proc *p); // in order

#endif
