// What a rule sees of the engine's data: c.rss and its kin, as userdata over one input of one
// target; and Lua values as JSON.
//
// Each method copies the samples it needs under the engine's lock and computes on the copy, so that
// sampling waits for no rule. Samples from before the rule's warm-up are not in the views.
#ifndef TM_BIND_LUA_SERIES_H
#define TM_BIND_LUA_SERIES_H

#include "base/bytes.h"
#include "engine/engine.h"

#include <lua.h>

// One declared input of a rule.
typedef struct tm_rule_input {
  char *name;   // as the rule calls it: c.rss
  char *kind;   // series, gauge, ring, snapshots, runs, dumps, trace
  char *metric; // "proc.rss"
  char *key;    // of a family; "" = all
  bool by_kind; // one ring per key
  bool arm;     // not sampled until c:arm
  uint64_t every_ns, window_ns;
  uint64_t declared_every_ns; // as the file says it; overrides change every_ns of snapshots
  size_t keep;
} tm_rule_input;

// Pushes the userdata of an input. It borrows input, warm_ns and now_ns, which must live as long as
// the Lua state uses it, and retains target. May raise Lua's memory error.
void tm_lua_push_series(lua_State *L, tm_engine *engine, tm_target *target,
                        const tm_rule_input *input, const int64_t *warm_ns, const int64_t *now_ns);

// Appends the value at index as JSON: tables with 1..n keys (or a metatable named tidemark.Array)
// as arrays, others as objects with sorted keys, NaN and infinities as null, functions and userdata
// as null, nesting beyond 16 as null. Raises no Lua error; allocates from ctx.
TM_NODISCARD tm_status tm_lua_json(tm_ctx *ctx, lua_State *L, int index, tm_bytes *out);

#endif
