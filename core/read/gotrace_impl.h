// What the parts of the reader of Go execution traces (v2) share.
//   gotrace.c         header, batches, generations
//   gotrace_tables.c  strings, stacks and clock of one generation
//   gotrace_events.c  events of one batch; goroutines by thread, without a global order
//   gotrace_users.c   regions, tasks, logs and counters
//   gotrace_stream.c  a trace that is still being written
//   gotrace_order.c   the events of all threads in their true order (gotrace_order.h)
#ifndef TM_READ_GOTRACE_IMPL_H
#define TM_READ_GOTRACE_IMPL_H

#include "model/trace.h"
#include "read/reader.h"

#define NO_GOROUTINE UINT32_MAX

enum { GO_HEADER_BYTES = 16, GO_NEWEST = 26, GO_MAX_BATCH_BYTES = 1 << 16 };

// Types of events. Source: the Go project's internal/trace/tracev2.
enum {
  EV_BATCH = 1,
  EV_STACKS,
  EV_STACK,
  EV_STRINGS,
  EV_STRING,
  EV_SAMPLES,
  EV_SAMPLE,
  EV_FREQUENCY,
  EV_PROCS,
  EV_PROC_START,
  EV_PROC_STOP,
  EV_PROC_STEAL,
  EV_PROC_STATUS,
  EV_GO_CREATE,
  EV_GO_CREATE_SYSCALL,
  EV_GO_START,
  EV_GO_DESTROY,
  EV_GO_DESTROY_SYSCALL,
  EV_GO_STOP,
  EV_GO_BLOCK,
  EV_GO_UNBLOCK,
  EV_GO_SYSCALL_BEGIN,
  EV_GO_SYSCALL_END,
  EV_GO_SYSCALL_END_BLOCKED,
  EV_GO_STATUS,
  EV_STW_BEGIN,
  EV_STW_END,
  EV_GC_ACTIVE,
  EV_GC_BEGIN,
  EV_GC_END,
  EV_SWEEP_ACTIVE,
  EV_SWEEP_BEGIN,
  EV_SWEEP_END,
  EV_ASSIST_ACTIVE,
  EV_ASSIST_BEGIN,
  EV_ASSIST_END,
  EV_HEAP_ALLOC,
  EV_HEAP_GOAL,
  EV_GO_LABEL,
  EV_TASK_BEGIN,
  EV_TASK_END,
  EV_REGION_BEGIN,
  EV_REGION_END,
  EV_LOG,
  EV_GO_SWITCH,
  EV_GO_SWITCH_DESTROY,
  EV_GO_CREATE_BLOCKED,
  EV_GO_STATUS_STACK,
  EV_EXPERIMENT,
  EV_SYNC,
  EV_CLOCK,
  EV_END,
  EV_EXPERIMENTS = 128,
  MOST_ARGS = 5 // of any event, its time included
};

// Ids of a generation to slots: small ones (all that Go writes) by index, others by hash.
typedef struct go_ids {
  TM_VEC(uint32_t) small;
  tm_idmap others;
} go_ids;

static inline uint32_t go_ids_get(const go_ids *ids, uint64_t raw) {
  if (raw < ids->small.count) return ids->small.items[raw];
  return ids->others.count ? tm_idmap_get(&ids->others, raw) : TM_IDMAP_NONE;
}

typedef struct go_batch {
  uint64_t m, time;
  const uint8_t *data;
  uint32_t size;
  bool events; // events of a thread, not tables, samples or an experiment
} go_batch;

// A string or a stack of the generation: where it stands, and its id in the trace once asked for.
typedef struct go_entry {
  const uint8_t *data;
  uint32_t size;
  uint32_t id;    // UINT32_MAX = not interned yet
  uint32_t entry; // of a stack: the function at its root; UINT32_MAX = not asked for yet
} go_entry;

// A goroutine while the trace is read. Within a generation, events of one goroutine with the same
// sequence number stand on one thread in order, so (seq, file order) is their exact order.
typedef struct go_work {
  tm_goroutine g;
  uint64_t spent_ns[TM_GO_STATE_COUNT]; // leavings minus enterings; wraps
  uint64_t seq;
  uint32_t generation;                      // in which seq and the raw ids stand
  uint64_t raw_reason, raw_site, raw_start; // ids of this generation, 0 = none
  uint64_t raw_creation;
  int64_t ended_ns;
  uint64_t steps, last_step; // events with a sequence number that were read; the last one's number
  uint64_t born_in;          // generation of its creation, 0 = before the trace
  bool listed, ended;
  bool gone;          // folded: the slot is free
  uint64_t raw_call;  // v1: stack of its last syscall
  uint8_t step_state; // v1: its state in the order of events
} go_work;

typedef struct go_thread {
  uint64_t m, goroutine_id, seq;
  uint32_t goroutine; // index, or NO_GOROUTINE
  bool stuck;         // an event needs a goroutine that another thread's batch will name
} go_thread;

typedef struct go_mark { // begin or end of a region, paired at the end of the generation
  uint64_t goroutine, seq, task;
  int64_t time_ns;
  uint32_t name;
  bool begin;
} go_mark;

typedef struct go_run { // marks one behind the other of one goroutine at one number
  uint64_t goroutine, seq;
  uint32_t first, count;
} go_run;

typedef struct go_reader {
  tm_ctx *ctx;
  tm_trace *t;
  const uint8_t *start, *end;
  uint64_t base_bytes; // offset of `start` in the trace
  uint32_t version;
  bool needs_current[256]; // types of events about the goroutine that the thread runs
  uint8_t args[256]; // count of varints behind an event's type, its time included; 0 = unknown
  // the generation
  uint64_t generation;
  TM_VEC(go_batch) batches;
  TM_VEC(go_batch) earlier; // of the generation before: to know repeats that came late
  tm_idmap batch_index, earlier_index;
  TM_VEC(go_entry) strings;
  TM_VEC(go_entry) stacks;
  go_ids string_index, stack_index;
  double ns_per_unit;
  uint64_t whole_ns, most_units; // ns_per_unit when it is whole, for times up to so many units
  bool has_clock, has_frequency;
  bool gave_clock, gave_frequency; // this generation did
  bool whole_generation;           // what was cut belongs to the next one
  bool decode;                     // false: a newer version, only counted
  // over all generations
  int64_t zero_ns, last_ns;
  bool has_zero;
  bool streams;             // bytes of past generations are gone
  TM_VEC(uint32_t) counted; // piles in which an alive goroutine was counted as created
  TM_VEC(go_work) goroutines;
  TM_VEC(uint32_t) touched; // goroutines with raw ids
  TM_VEC(uint32_t) free;    // slots of goroutines that are gone
  tm_idmap goroutine_index;
  TM_VEC(go_thread) threads;
  tm_idmap thread_index;
  TM_VEC(go_batch) retries;
  TM_VEC(go_mark) marks;
  TM_VEC(go_run) runs;
  TM_VEC(tm_trace_region) open_regions;
  bool regions_full; // past their cap all later marks are dropped, since pairs would break
  tm_idmap task_index, pile_index;
  size_t sorted_points[TM_COUNTER_COUNT];
  tm_error problem;       // the first one; reading stops at the end of its generation
  struct go_order *order; // not NULL: only check the order, strictly
} go_reader;

// The NN of "go 1.NN trace", or 0.
uint32_t go_version_of(const uint8_t *head, size_t size);
// A batch with its header.
typedef struct go_header {
  const uint8_t *at; // where it begins
  uint64_t generation;
  go_batch batch;
  bool experimental;
} go_header;

// The batch at *at, which moves behind it. False (and a problem) when it is cut or damaged.
bool go_next_batch(go_reader *r, const uint8_t **at, go_header *out);
uint64_t go_batch_key(const go_batch *b);
bool go_same_batch(const go_batch *a, const go_batch *b);

// Reads batches from `at` to r->end and ends their last generation.
tm_status go_read_batches(go_reader *r, const uint8_t *at);
void go_fini(go_reader *r);

// Notes a problem of the file and goes on; the first one is kept.
void go_problem(go_reader *r, const uint8_t *at, const char *what);

// One unsigned LEB128, padded ones too. False when it is cut or longer than 10 bytes.
static inline bool go_varint(const uint8_t **at, const uint8_t *end, uint64_t *out) {
  const uint8_t *p = *at;
  uint64_t value = 0;
  for (uint32_t shift = 0; shift < 70 && p < end; shift += 7) {
    uint8_t byte = *p++;
    value |= (uint64_t)(byte & 0x7f) << (shift & 63);
    if (byte & 0x80) continue;
    *at = p;
    *out = value;
    return true;
  }
  return false;
}

// One event's numbers into args[MOST_ARGS]. False when it is cut or unknown.
static inline bool go_take_event(const go_reader *r, const uint8_t **at, const uint8_t *end,
                                 uint64_t *args) {
  const uint8_t *p = *at;
  uint32_t count = r->args[*p++];
  if (!count) return false;
  // Far from the end no number can pass it, as long as each stops after ten bytes.
  bool far = (size_t)(end - p) >= MOST_ARGS * 10;
  for (uint32_t i = 0; i < count; i++) {
    if ((far || p < end) && *p < 0x80) {
      args[i] = *p++;
    } else if ((far || p + 1 < end) && p[1] < 0x80) {
      args[i] = (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
      p += 2;
    } else if (!go_varint(&p, end, &args[i])) {
      return false;
    }
  }
  *at = p;
  return true;
}

// Nanoseconds since the start of the trace. Hostile times are clamped, not wrapped.
static inline int64_t go_time(const go_reader *r, uint64_t units) {
  if (TM_LIKELY(units < r->most_units)) return (int64_t)(units * r->whole_ns) - r->zero_ns;
  double ns = (double)units * r->ns_per_unit;
  return (ns < 4e18 ? (int64_t)ns : INT64_C(4000000000000000000)) - r->zero_ns;
}

// ---- tables ----
// Notes a string or a stack, whose frames stand at data.
tm_status go_add_string(go_reader *r, uint64_t id, const uint8_t *data, uint32_t size);
tm_status go_add_stack(go_reader *r, uint64_t id, const uint8_t *data, uint32_t size);
void go_set_frequency(go_reader *r, const uint8_t *at, uint64_t frequency);
tm_status go_read_strings(go_reader *r, const uint8_t *at, const uint8_t *end);
tm_status go_read_stacks(go_reader *r, const uint8_t *at, const uint8_t *end);
// For the strict mode: whether all that the stacks name is there; else a problem.
void go_check_tables(go_reader *r);
// The sync batch, whose first byte stands at `at`.
void go_read_sync(go_reader *r, uint64_t batch_time, const uint8_t *at, const uint8_t *end);
// Interned ids of this generation's ids; 0 for those that the file does not hold.
tm_status go_string(go_reader *r, uint64_t raw, uint32_t *out);
tm_status go_stack(go_reader *r, uint64_t raw, uint32_t *out);
// The function that a goroutine with this stack runs: its root without the runtime's own start.
tm_status go_entry_of(go_reader *r, uint64_t raw, uint32_t *out);
void go_forget_tables(go_reader *r);

// ---- events ----
void go_set_args(go_reader *r);
// Decodes the event batches of the generation and closes it: raw ids resolved, ended ones folded.
tm_status go_read_events(go_reader *r);
// What go_read_events does at the end, for a reader with events of its own.
tm_status go_close_generation(go_reader *r);

// The slot of a goroutine, made if new.
tm_status go_goroutine_find(go_reader *r, uint64_t id, uint32_t *out);
// It carries ids of this generation, to be resolved at its end.
tm_status go_goroutine_touch(go_reader *r, uint32_t index);
// Time leaves one state and enters another; the event with the greatest seq decides where the
// goroutine is. False when a later one was read before.
bool go_goroutine_move(go_reader *r, uint32_t index, uint64_t seq, tm_go_state from, tm_go_state to,
                       int64_t time_ns);
tm_status go_goroutine_create(go_reader *r, uint64_t id, tm_go_state state, int64_t time_ns,
                              uint64_t start, uint64_t creation);
tm_status go_goroutine_end(go_reader *r, uint32_t index, uint64_t seq, int64_t time_ns);

// Copies the goroutines into the trace, with their times closed at the end. May be called again.
tm_status go_finish_goroutines(go_reader *r);

// ---- users ----
tm_status go_user_event(go_reader *r, uint8_t type, const uint64_t *a, const go_thread *m,
                        int64_t time_ns);
tm_status go_log(go_reader *r, const tm_trace_log *log);
tm_status go_count(go_reader *r, tm_trace_counter counter, int64_t time_ns, uint64_t value);
tm_status go_close_users(go_reader *r); // at the end of a generation
tm_status go_finish_users(go_reader *r);

// ---- version 1 ----
// Reads all that stands behind the header of a trace of Go 1.11 to 1.21.
tm_status go1_read(go_reader *r);

#endif
