// What actions.c (requests and runs), actions_gate.c (who may, how often) and actions_books.c
// (verdicts, records) share.
#ifndef TM_ENGINE_ACTIONS_IMPL_H
#define TM_ENGINE_ACTIONS_IMPL_H

#include "base/vec.h"
#include "engine/actions.h"

enum { PER_HOUR_MAX = 120, QUEUE_MAX = 64, WHY_SIZE = 200 };

#define SECOND_NS UINT64_C(1000000000)

typedef struct action {
  tm_action_def def; // its strings are copies
} action;

typedef struct grant {
  char *package, *capability;
} grant;

// One action of one rule on one target.
typedef struct trial {
  char *name;
  int64_t last_run_ns;
  bool has_run;
  uint32_t fruitless_count; // in a row
  bool disabled;
  char why[WHY_SIZE];
} trial;

// What one rule did on one target.
typedef struct ledger {
  char *rule, *target;
  TM_VEC(trial) trials;
  int64_t runs_ns[PER_HOUR_MAX]; // ring of the last ones
  uint64_t run_count;
} ledger;

typedef struct evidence {
  char *target;
  int64_t time_ns;
} evidence;

typedef struct rule_hash {
  char *rule;
  uint64_t hash;
} rule_hash;

typedef enum run_state { RUN_QUEUED, RUN_RUNNING, RUN_SETTLING } run_state;

typedef struct run {
  struct run *next;
  run_state state;
  tm_action_call call; // its strings are copies
  const action *action;
  uint64_t tag, timeout_ns;
  int64_t requested_ns, started_ns, finished_ns;
  int64_t due_ns; // deadline in the queue, of the run, or time of measurement
  bool has_before;
  tm_action_probe before;
} run;

struct tm_actions {
  tm_ctx *ctx;
  tm_actions_options options;
  tm_action_probe_fn probe;
  void *probe_ud;
  TM_VEC(action *) defs;
  TM_VEC(grant) grants;
  TM_VEC(ledger *) ledgers;
  TM_VEC(evidence) evidences;
  TM_VEC(rule_hash) hashes;
  run *runs; // in order of request
  size_t queued_count, running_count;
  uint64_t last_id;
  bool starting; // runs are being taken from the queue
};

static inline uint64_t elapsed_ns(int64_t now_ns, int64_t since_ns) {
  return now_ns > since_ns ? (uint64_t)now_ns - (uint64_t)since_ns : 0;
}

static inline int64_t after_ns(int64_t now_ns, uint64_t wait_ns) {
  return wait_ns > (uint64_t)INT64_MAX || now_ns > INT64_MAX - (int64_t)wait_ns
             ? INT64_MAX
             : now_ns + (int64_t)wait_ns;
}

// A copy of text, "" for NULL; freed by tm_actions_free_text. NULL: no memory.
char *tm_actions_copy_text(tm_ctx *ctx, const char *text);
void tm_actions_free_text(tm_ctx *ctx, const char *text);

const action *tm_actions_find(const tm_actions *actions, const char *name);

// The ledger and the trial of a request; made when missing (NULL: no memory).
ledger *tm_actions_ledger(tm_actions *actions, const char *rule, const char *target);
trial *tm_actions_trial(tm_actions *actions, ledger *l, const char *name);
const ledger *tm_actions_find_ledger(const tm_actions *actions, const char *rule,
                                     const char *target);
void tm_actions_drop_target(tm_actions *actions, const char *target);
void tm_actions_drop_books(tm_actions *actions);

// Whether a request may run, and why not. Written into why (WHY_SIZE bytes).
tm_action_outcome tm_actions_gate(const tm_actions *actions, int64_t now_ns,
                                  const tm_action_request *request, const action *def,
                                  const ledger *l, const trial *t, char *why);

// Judges a measured run; true when it was disabled by this.
bool tm_actions_judge(tm_actions *actions, const run *r, int64_t gained_bytes);

#endif
