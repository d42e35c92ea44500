// A Lua 5.4 state in which a file that nobody vouches for may run: it sees an allow-list of names,
// uses at most so much memory and so much time, and reaches nothing outside.
//
// What holds it:
//   - memory: an allocator counts bytes and refuses; the state lives on after "not enough memory";
//   - time: a count hook while a call runs, the allocator, and tm_sandbox_spend in every C function
//     with a loop. Past its budget a call is stopped at each further instruction, so that pcall
//     cannot keep it alive. The worst single instructions take about half a second;
//   - names: an environment built from an allow-list, with read-only library tables; no coroutines,
//     load, debug, io, package (core/host/guarded.c lists all that there is);
//   - metatables: read by setmetatable, each time; fields added later wait until then;
//   - tables: 32768 keyed entries at most; the array part is bounded by memory only;
//   - source: text, 1 MiB at most, without the word _ENV (Lua 5.4.4 lets `local _ENV <const>` read
//     foreign stack slots).
//
// What the host keeps to:
//   - one state per rule package; one thread at a time per state;
//   - every metatable of its own that a rule's value can carry has `__metatable = false`;
//   - its C functions call tm_sandbox_spend in loops over sizes that a rule can choose (64 for
//     each lua_next over a rule's table);
//   - it gives rules no weak-keyed table to fill (their collection can cost the square of their
//     size, with no hook), and drops a coroutine that it abandons: lua_resetthread would run code.
#ifndef TM_HOST_SANDBOX_H
#define TM_HOST_SANDBOX_H

#include "base/ctx.h"

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tm_sandbox_limits {
  size_t memory_bytes;         // 0 = 16 MiB; 64 KiB more are kept for the way out of a stopped call
  uint64_t load_ns;            // parsing a file, and again running its top level; 0 = 200 ms
  uint64_t soft_ns;            // a call beyond it is reported in its cost; 0 = 5 ms
  uint64_t hard_ns;            // a call beyond it is stopped; 0 = 50 ms
  uint64_t instructions_count; // of one call, rounded up to 250s, then it is stopped; 0 = no limit
} tm_sandbox_limits;

// What one call cost. A stopped call with little cpu_ns was kept waiting by a busy machine.
typedef struct tm_sandbox_cost {
  uint64_t wall_ns;
  uint64_t cpu_ns;
  bool soft_exceeded; // wall_ns > soft_ns
  bool killed;        // stopped, over its budget or by tm_sandbox_interrupt
} tm_sandbox_cost;

// What the host gives to a rule's print and clock. Both may be NULL: silence, and the wall clock.
typedef struct tm_sandbox_outside {
  void (*print_fn)(void *ud, const char *text, size_t size); // one line, no newline, <= 4 KiB
  int64_t (*now_ns_fn)(void *ud);                            // ns since the epoch: os.time, os.date
  void *ud;
} tm_sandbox_outside;

typedef struct tm_sandbox tm_sandbox;

// A new state with the guarded library. limits NULL = all defaults. TM_E_NOMEM when the memory of
// the process or memory_bytes (a state takes about 21 KB at birth) does not suffice. Free with
// tm_sandbox_free; NULL is fine there. The allocator of ctx must outlive the sandbox.
TM_NODISCARD tm_status tm_sandbox_new(tm_ctx *ctx, const tm_sandbox_limits *limits,
                                      tm_sandbox **out);
void tm_sandbox_free(tm_sandbox *sandbox);

// outside is copied. Call before rules run.
void tm_sandbox_set_outside(tm_sandbox *sandbox, const tm_sandbox_outside *outside);

// Seeds math.random, which begins with the same seed in every new state: runs can be repeated.
TM_NODISCARD tm_status tm_sandbox_seed(tm_ctx *ctx, tm_sandbox *sandbox, int64_t seed);

// Asks before the host works in the state outside of a call, where a refused allocation would end
// the process: TM_OK, or TM_E_NOMEM when the process is out of memory and the spare of the state
// (32 KiB for such moments) has been used. Then leave the state alone and ask again later.
TM_NODISCARD tm_status tm_sandbox_ready(tm_sandbox *sandbox);

// The main thread. Its global table holds the same guarded functions, unfrozen, for Lua code of
// the host (loaded with luaL_loadbufferx); rules cannot reach it.
lua_State *tm_sandbox_state(tm_sandbox *sandbox);

// The sandbox of a running state, for C functions: any of its coroutines will do.
tm_sandbox *tm_sandbox_of(lua_State *L);

// Pushes the environment of rules, a plain table: the host adds `tm` and `require` to it.
void tm_sandbox_env(tm_sandbox *sandbox);

// Compiles source and pushes it as a function of no arguments with the rules' environment. name
// is what messages call the file. Takes at most limits.load_ns. TM_E_LUA with file:line for what
// does not parse, TM_E_LIMIT beyond 1 MiB, TM_E_NOMEM beyond the memory cap, TM_E_TIMEOUT; nothing
// is pushed then.
TM_NODISCARD tm_status tm_sandbox_load(tm_ctx *ctx, tm_sandbox *sandbox, const char *name,
                                       const char *source, size_t size);

// lua_pcall on the main thread with a budget of wall-clock time: function and nargs arguments are
// popped, nresults results pushed; nothing on failure. hard_ns 0 = limits.hard_ns; UINT64_MAX = no
// end. cost may be NULL and is filled on failure too. A call inside a call keeps the outer
// one's deadline. TM_E_LUA: the rule raised; TM_E_TIMEOUT: over budget; TM_E_CANCELLED:
// interrupted; TM_E_NOMEM: over the memory cap. The message begins with file:line where Lua knew
// it.
TM_NODISCARD tm_status tm_sandbox_call(tm_ctx *ctx, tm_sandbox *sandbox, int nargs, int nresults,
                                       uint64_t hard_ns, tm_sandbox_cost *cost);

// The host's own work in the state, without a budget: calls fn with the nargs values on top and
// then arg as a light userdata. Raises nothing: what would need memory that is not there is
// TM_E_NOMEM, any other error TM_E_LUA, or what fn left in ctx before it raised. Values and results
// as of tm_sandbox_call.
TM_NODISCARD tm_status tm_sandbox_protect(tm_ctx *ctx, tm_sandbox *sandbox, lua_CFunction fn,
                                          void *arg, int nargs, int nresults);

// The same as tm_sandbox_call with limits.load_ns, for the function that tm_sandbox_load pushed.
TM_NODISCARD tm_status tm_sandbox_run(tm_ctx *ctx, tm_sandbox *sandbox, int nresults,
                                      tm_sandbox_cost *cost);

// lua_resume of a coroutine of this state (made by lua_newthread) with a budget for this one
// resume. On TM_OK *nresults values are on top of co's stack, and *yielded says whether it waits
// or has ended. After a failure co is dead: drop it.
TM_NODISCARD tm_status tm_sandbox_resume(tm_ctx *ctx, tm_sandbox *sandbox, lua_State *co, int nargs,
                                         int *nresults, bool *yielded, uint64_t hard_ns,
                                         tm_sandbox_cost *cost);

// Accounts for steps (about one array element or 16 bytes each) of work in a C function, and raises
// a Lua error when the running call is over its budget. Costs an addition, mostly.
void tm_sandbox_spend(lua_State *L, uint64_t steps);

// Stops the running call soon. For any thread and for signal handlers. Without effect when no
// call runs.
void tm_sandbox_interrupt(tm_sandbox *sandbox);

// Memory that the state holds now, and the most it held. For any thread.
size_t tm_sandbox_memory_bytes(const tm_sandbox *sandbox);
size_t tm_sandbox_memory_peak_bytes(const tm_sandbox *sandbox);

// Since when (monotone clock) the running call runs; 0 = none. For a watchdog on any thread.
uint64_t tm_sandbox_running_since_ns(const tm_sandbox *sandbox);

// Writes "file:line" of where the hook last saw the call (within 1 ms of its last Lua
// instruction); "?" when it never did. For any thread.
void tm_sandbox_where(const tm_sandbox *sandbox, char *out, size_t size);

// For core/host/guarded.c: one line for print_fn, and the time that rules see.
void tm_sandbox_print(lua_State *L, const char *text, size_t size);
int64_t tm_sandbox_now_ns(lua_State *L);

#endif
