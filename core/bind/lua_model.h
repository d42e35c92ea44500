// Models for trusted Lua: what readers made and analyses answer, as userdata. A model is never
// copied into Lua tables; rows are made when asked for.
#ifndef TM_BIND_LUA_MODEL_H
#define TM_BIND_LUA_MODEL_H

#include "base/bytes.h"
#include "model/profile.h"
#include "model/snapshot.h"
#include "model/table.h"
#include "model/trace.h"

#include <lua.h>

// Adds core.read, core.combine, core.growth, core.report_options to the table on top of the stack.
void tm_lua_add_models(lua_State *L);

// What one call needs and must not leak when Lua raises: its ctx, some bytes, a table. It is a
// userdata on Lua's stack that frees what is left in it when it is collected (or by
// tm_lua_end_work, at once).
typedef struct tm_lua_work {
  tm_ctx ctx;
  tm_bytes bytes;
  tm_table *table;
} tm_lua_work;

tm_lua_work *tm_lua_push_work(lua_State *L);
void tm_lua_end_work(tm_lua_work *work);

// Moves the work's table into a Table userdata of its own and pushes that. May raise.
void tm_lua_push_table(lua_State *L, tm_lua_work *work);

// The profile of the Profile userdata at index, or Lua's argument error.
const tm_profile *tm_lua_check_profile(lua_State *L, int index);

// A Profile userdata over a new profile, which it owns from the call on. Push it (empty) before the
// profile is made and fill it afterwards, so that nothing leaks when Lua has no memory.
tm_snapshot *tm_lua_push_snapshot(lua_State *L);

// Moves a snapshot of a heap graph into a Graph userdata and pushes that.
void tm_lua_push_graph(lua_State *L, tm_snapshot *from);

// The same for a trace.
void tm_lua_push_trace(lua_State *L, tm_snapshot *from);

// The same for a timeline.
void tm_lua_push_timeline(lua_State *L, tm_snapshot *from);

// A Trace over a model that belongs to the value at index owner, which it keeps alive.
void tm_lua_push_trace_view(lua_State *L, tm_trace *trace, int owner);

// p:without(fn) -> Profile, count: the samples for which fn(site) is not true.
int tm_lua_profile_without(lua_State *L);

// core.goroutines(p, {stacks=, nodecount=}) -> Table: the goroutines of a dump or profile.
int tm_lua_profile_goroutines(lua_State *L);

// core.check_trace(path or {bytes=}) -> { valid=, problem=, offset=, events=, … }: the order of a
// Go trace.
int tm_lua_check_trace(lua_State *L);

// core.trace_stream() -> TraceStream: s:feed(bytes) -> generations, s:finish(), s:trace() -> Trace.
int tm_lua_trace_stream(lua_State *L);

// core.repair_trace(path or {bytes=}) -> bytes, { batches=, dropped=, moved= }; nil, err
int tm_lua_repair_trace(lua_State *L);

#endif
