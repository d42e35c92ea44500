// Snapshots for tests, written as Lua tables in a test of a rule:
//
//   snapshots = { ["pprof.heap"] = { every = "5m",
//     { ["main.main;main.leak"] = "10MB" },                      -- stack, root first = value
//     { { stack = "main.loop", value = 4, state = "select", created_by = "main.main" } },
//     "main.main;main.leak 20971520\n" } }                       -- text of any profile format
//
// The key is the metric, or the name of the rule's input. type and unit beside every say what the
// values are; heap profiles default to inuse_space in bytes, allocs to alloc_space, others to
// goroutine, count.
#ifndef TM_HOST_TESTSHOTS_H
#define TM_HOST_TESTSHOTS_H

#include "bind/lua_series.h"
#include "model/profile.h"

typedef struct tm_test_shot {
  int64_t time_ns;
  const char *metric;  // of the rule's inputs
  tm_profile *profile; // NULL once it was fed
} tm_test_shot;

typedef struct tm_test_shots {
  tm_test_shot *items;
  size_t count, next; // next: not fed yet
} tm_test_shots;      // zero-initialise

// Reads the field `snapshots` of the test at index; none is fine. TM_E_RULE says what is wrong.
TM_NODISCARD tm_status tm_test_shots_read(tm_ctx *ctx, lua_State *L, int index,
                                          const tm_rule_input *inputs, size_t input_count,
                                          int64_t start_ns, tm_test_shots *out);
void tm_test_shots_free(tm_test_shots *shots);

#endif
