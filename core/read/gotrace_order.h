// The order of the events of a Go trace (v2): what the rules of gotrace_rules.c know about
// goroutines, processors and threads between events and between generations. Records live in
// arrays and are found by index; freed ones are used again.
//   gotrace_order.c   which thread's event is tried next
//   gotrace_rules.c   whether an event may come now, and what it changes
//   gotrace_ranges.c  the same for collections, ranges, tasks and regions
#ifndef TM_READ_GOTRACE_ORDER_H
#define TM_READ_GOTRACE_ORDER_H

#include "read/gotrace_impl.h"

#define NO_ID UINT64_MAX

typedef enum go_step { GO_TAKEN, GO_WAITS, GO_BROKEN } go_step;

typedef struct go_g {
  uint64_t id, generation, seq;
  uint32_t regions;      // top of its open regions, or NO_NODE
  uint64_t since;        // it waits, in units of the trace
  uint32_t site, reason; // of its wait, when waits are collected
  bool waits;            // and when and where it began is known
  uint8_t status;        // as in the file: 1 runnable, 2 running, 3 syscall, 4 waiting
  bool assists;          // a mark assist is open
} go_g;

typedef struct go_p {
  uint64_t id, generation, seq;
  uint8_t status; // 1 running, 2 idle, 3 in a syscall, 4 syscall abandoned
  bool sweeps;
} go_p;

typedef struct go_m {
  uint64_t id;
  uint64_t g, p; // ids, or NO_ID
  uint32_t p_at; // where p stands; processors never go away
  uint32_t g_at; // where g stood
} go_m;

#define NO_NODE UINT32_MAX

typedef struct go_open_region {
  uint64_t task;
  uint32_t name, below; // below: the one around it; among free nodes the next free one
} go_open_region;

typedef struct go_stw {
  uint64_t g, kind;
} go_stw;

typedef struct go_cursor { // the batches of one thread in this generation
  uint64_t time;           // of the event at hand
  const uint8_t *event;    // where the event at hand stands
  const uint8_t *at, *end;
  uint32_t batch, last_batch; // in the chain of batches
  uint32_t thread;            // index, or NO_NODE for batches of no thread
  uint8_t type;
  uint64_t args[5];
} go_cursor;

typedef struct go_order {
  TM_VEC(go_g) gs;
  TM_VEC(uint32_t) free_gs;
  TM_VEC(go_p) ps;
  TM_VEC(go_m) ms;
  tm_idmap g_index, p_index, m_index, tasks, cursor_index;
  TM_VEC(go_open_region) regions;
  uint32_t free_regions;
  TM_VEC(go_stw) stws;
  TM_VEC(go_cursor) cursors;
  TM_VEC(uint32_t) next_batch; // by batch: the thread's next one, or NO_NODE
  TM_VEC(uint32_t) heap;       // cursors by time
  uint64_t first_generation, gc_seq;
  enum { GC_UNKNOWN, GC_OFF, GC_ON } gc;
  uint64_t created_count, ended_count, waited_count;
  bool collects;       // waits
  tm_idmap wait_index; // site and reason to a wait
  bool cut;            // the generation is: what its events name may be missing
  char why[160];       // of GO_BROKEN
  tm_status failed;    // of GO_BROKEN: not TM_OK when memory ran out
} go_order;

// ---- rules ----

enum { G_RUNNABLE = 1, G_RUNNING, G_SYSCALL, G_WAITING, G_STATES };
enum { P_RUNNING = 1, P_IDLE, P_SYSCALL, P_ABANDONED, P_STATES };

// What an event needs of its thread: a processor, a goroutine. OPTIONAL: either way.
typedef enum go_need { ABSENT, OPTIONAL, REQUIRED } go_need;

typedef struct go_try { // one event under way
  go_reader *r;
  go_order *o;
  const go_cursor *c;
  const uint64_t *a; // a[0] is its time
  go_m m;            // its thread, as it will be when the event is taken
  bool first;        // of the first generation
} go_try;

#define GO_TRY(call)                                                                               \
  do {                                                                                             \
    go_step go_try_step = (call);                                                                  \
    if (go_try_step != GO_TAKEN) return go_try_step;                                               \
  } while (0)

// GO_BROKEN, with the reason kept.
go_step go_broken(const go_try *s, const char *fmt, ...) TM_PRINTF(2, 3);
go_step go_needs(const go_try *s, go_need p, go_need g);

// NULL when it is not known.
go_g *go_find_g(const go_order *o, uint64_t id);
go_p *go_find_p(const go_order *o, uint64_t id);
go_g *go_current_g(const go_try *s); // of the thread
go_p *go_current_p(const go_try *s);

// Collections, ranges, counters, tasks, regions, logs, experiments.
go_step go_advance_range(go_try *s);

// ---- order ----

// Adds a wait to those of its place and reason.
tm_status go_add_wait(go_reader *r, uint32_t site, uint32_t reason, int64_t ns);

void go_order_fini(tm_ctx *ctx, go_order *o);

// Whether the event of the cursor may come now; GO_TAKEN has changed the state.
go_step go_advance(go_reader *r, go_order *o, const go_cursor *c);

// Takes all events of the generation in order. Problems of the file go to r->problem.
tm_status go_order_generation(go_reader *r);

#endif
