// Budgets for a Lua state. Three places look at the clock: the count hook (every 250 VM
// instructions), the allocator (every 64 KiB, because one instruction can copy megabytes), and
// tm_sandbox_spend (every 8192 steps of a C loop). Whoever finds the call over its budget sets
// `stop` and re-arms the hook with count 1, so that every further instruction raises until the
// call has unwound. The hook costs x2.3 of pure Lua time at any count >= 100, hence nothing is
// gained by a longer one; a call that does not run has no hook.
#include "host/sandbox.h"

#include "base/clock.h"
#include "host/guarded.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
  HOOK_COUNT = 250,
  CHECK_ALLOC_BYTES = 64 << 10,
  CHECK_STEPS = 8192,
  HOST_BYTES = 1 << 20,
  RESERVE_BYTES = 64 << 10,
  SPARE_BYTES = 32 << 10, // for the host's work when the process has no memory at all
  SOURCE_MAX_BYTES = 1 << 20,
  PIECE_BYTES = 256,
  NODES_MAX = 1 << 15,
  NODE_BYTES = 24,  // of one entry in a Lua 5.4 table
  WHERE_WORDS = 10, // "file:line" in 80 bytes
};
#define WHERE_EVERY_NS 1000000u
#define DEFAULT_SEED   0x7469646d61726bll // "tidmark"

typedef enum stop_reason { STOP_NONE, STOP_BUDGET, STOP_INTERRUPT } stop_reason;

typedef struct budget {
  lua_State *running; // the thread that the call runs on; NULL = no call
  uint64_t start_ns;
  uint64_t deadline_ns;
  uint64_t cpu_start_ns; // 0 = nobody asked
  uint64_t instructions;
  stop_reason stop;
} budget;

// Memory that was taken in better times. Blocks are laid behind one another and never used twice,
// until none is left.
typedef struct spare {
  struct spare *next;
  size_t used, live; // bytes; blocks
  _Alignas(16) char bytes[SPARE_BYTES];
} spare;

struct tm_sandbox {
  spare *spares; // the first one is used
  lua_State *L;
  tm_allocator alloc;
  tm_sandbox_limits limits;
  tm_sandbox_outside outside;
  budget now;
  uint64_t unchecked_steps;
  uint64_t unchecked_alloc_bytes;
  uint64_t where_ns; // when `where` was written last
  int env_ref;
  bool table_refused; // by is_large_hash, in the running call
  atomic_bool interrupted;
  atomic_size_t memory_bytes, peak_bytes;
  int protected_depth; // host's work that may fail
  bool born; // the library is in: from then on the host may overdraw a little between calls
  atomic_uint_least64_t running_since_ns;
  atomic_uint where_turn; // odd while the words are being written
  atomic_uint_least64_t where[WHERE_WORDS];
};

static void on_count(lua_State *L, lua_Debug *ar);

tm_sandbox *tm_sandbox_of(lua_State *L) {
  tm_sandbox *sandbox;
  memcpy(&sandbox, lua_getextraspace(L), sizeof sandbox);
  return sandbox;
}

// --- time ----------------------------------------------------------------------------------------

static bool over_budget(tm_sandbox *sandbox) {
  budget *b = &sandbox->now;
  if (!b->running) return false;
  if (b->stop != STOP_NONE) return true;
  if (atomic_load_explicit(&sandbox->interrupted, memory_order_relaxed)) {
    b->stop = STOP_INTERRUPT;
  } else if (tm_clock_mono_ns() >= b->deadline_ns) {
    b->stop = STOP_BUDGET;
  }
  return b->stop != STOP_NONE;
}

static void stop_at_next_instruction(lua_State *L) {
  lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
}

static const char *stop_text(const tm_sandbox *sandbox) {
  return sandbox->now.stop == STOP_INTERRUPT ? "interrupted" : "stopped: over its time budget";
}

// `where` is written by the running thread and read by any: the reader takes what it copied when
// where_turn was even and the same before and after.
static void write_where(tm_sandbox *sandbox, const lua_Debug *ar) {
  char text[WHERE_WORDS * 8] = {0};
  uint64_t words[WHERE_WORDS];
  snprintf(text, sizeof text, "%s:%d", ar->short_src, ar->currentline);
  memcpy(words, text, sizeof words);
  atomic_fetch_add(&sandbox->where_turn, 1);
  for (int i = 0; i < WHERE_WORDS; i++) atomic_store(&sandbox->where[i], words[i]);
  atomic_fetch_add(&sandbox->where_turn, 1);
}

static void on_count(lua_State *L, lua_Debug *ar) {
  tm_sandbox *sandbox = tm_sandbox_of(L);
  sandbox->now.instructions += HOOK_COUNT;
  uint64_t most = sandbox->limits.instructions_count;
  if (most && sandbox->now.instructions >= most && sandbox->now.stop == STOP_NONE)
    sandbox->now.stop = STOP_BUDGET;
  bool over = over_budget(sandbox);
  uint64_t now_ns = over ? UINT64_MAX : tm_clock_mono_ns();
  if (!over && now_ns - sandbox->where_ns < WHERE_EVERY_NS) return;
  lua_getinfo(L, "Sl", ar);
  write_where(sandbox, ar);
  sandbox->where_ns = over ? 0 : now_ns;
  if (!over) return;
  stop_at_next_instruction(L);
  lua_pushfstring(L, "%s:%d: %s", ar->short_src, ar->currentline, stop_text(sandbox));
  lua_error(L);
}

void tm_sandbox_spend(lua_State *L, uint64_t steps) {
  tm_sandbox *sandbox = tm_sandbox_of(L);
  sandbox->unchecked_steps += steps;
  if (TM_LIKELY(sandbox->unchecked_steps < CHECK_STEPS)) return;
  sandbox->unchecked_steps = 0;
  if (!over_budget(sandbox)) return;
  stop_at_next_instruction(L);
  luaL_error(L, "%s", stop_text(sandbox));
}

void tm_sandbox_interrupt(tm_sandbox *sandbox) {
  atomic_store_explicit(&sandbox->interrupted, true, memory_order_relaxed);
}

uint64_t tm_sandbox_running_since_ns(const tm_sandbox *sandbox) {
  return atomic_load_explicit(&sandbox->running_since_ns, memory_order_relaxed);
}

void tm_sandbox_where(const tm_sandbox *sandbox, char *out, size_t size) {
  uint64_t words[WHERE_WORDS + 1] = {0};
  for (int attempt = 0; attempt < 100; attempt++) {
    unsigned before = atomic_load(&sandbox->where_turn);
    for (int i = 0; i < WHERE_WORDS; i++) words[i] = atomic_load(&sandbox->where[i]);
    if (before == atomic_load(&sandbox->where_turn) && before % 2 == 0) break;
    words[0] = 0;
  }
  const char *text = (const char *)words;
  snprintf(out, size, "%s", *text ? text : "?");
}

// --- memory --------------------------------------------------------------------------------------

static void check_clock_in_allocator(tm_sandbox *sandbox) {
  sandbox->unchecked_alloc_bytes = 0;
  if (over_budget(sandbox)) stop_at_next_instruction(sandbox->now.running); // may not raise here
}

// Is this block the hash part of a table with too many entries? Keys i * (2^k - 1) all collide at
// 2^k entries and at no smaller size: moving 65536 of them there takes 7 s inside one instruction,
// 16384 take half a second. Lua asks for hash parts as new blocks without a type, 24 * 2^k bytes.
static bool is_large_hash(const void *p, size_t tag, size_t size) {
  size_t nodes = size / NODE_BYTES;
  return !p && tag == 0 && nodes > NODES_MAX && size % NODE_BYTES == 0 && !(nodes & (nodes - 1));
}

// ---- without memory -----------------------------------------------------------------------------

static bool is_spare(const spare *s, const void *p) {
  return (const char *)p >= s->bytes && (const char *)p < s->bytes + SPARE_BYTES;
}

static spare *spare_of(const tm_sandbox *sandbox, const void *p) {
  spare *s = p ? sandbox->spares : NULL;
  while (s && !is_spare(s, p)) s = s->next;
  return s;
}

static void *take_spare(tm_sandbox *sandbox, size_t size) {
  spare *s = sandbox->spares;
  size_t room = (size + 15) & ~(size_t)15;
  if (!s || room > SPARE_BYTES - s->used) return NULL;
  void *p = s->bytes + s->used;
  s->used += room;
  s->live++;
  return p;
}

static void drop_from_spare(spare *s) {
  if (!--s->live) s->used = 0;
}

static void *grow_spare_block(tm_sandbox *sandbox, spare *from, void *p, size_t old_size,
                              size_t size, bool between_calls) {
  if (size && size <= old_size) return p;
  void *result = NULL;
  if (size) result = sandbox->alloc.realloc_fn(sandbox->alloc.ud, NULL, 0, size);
  if (size && !result && between_calls) result = take_spare(sandbox, size);
  if (size && !result) return NULL;
  if (size) memcpy(result, p, old_size);
  drop_from_spare(from);
  return result;
}

// What the process has, or between calls, where a refusal would end it, the spare.
static void *get(tm_sandbox *sandbox, void *p, size_t old_size, size_t size) {
  bool between_calls = sandbox->born && !sandbox->now.running && !sandbox->protected_depth;
  spare *from = spare_of(sandbox, p);
  if (from) return grow_spare_block(sandbox, from, p, old_size, size, between_calls);
  if (!size && !p) return NULL;
  void *result = sandbox->alloc.realloc_fn(sandbox->alloc.ud, p, old_size, size);
  if (!size || result || !between_calls) return result;
  result = take_spare(sandbox, size);
  if (!result || !p) return result;
  memcpy(result, p, old_size < size ? old_size : size);
  sandbox->alloc.realloc_fn(sandbox->alloc.ud, p, old_size, 0);
  return result;
}

static bool add_spare(tm_sandbox *sandbox) {
  spare *s = sandbox->alloc.realloc_fn(sandbox->alloc.ud, NULL, 0, sizeof *s);
  if (!s) return false;
  s->next = sandbox->spares;
  s->used = s->live = 0;
  sandbox->spares = s;
  return true;
}

// Gives back those that are empty again, but for the first.
static void free_empty_spares(tm_sandbox *sandbox) {
  for (spare **at = &sandbox->spares->next; *at;) {
    spare *s = *at;
    if (s->live) {
      at = &s->next;
      continue;
    }
    *at = s->next;
    sandbox->alloc.realloc_fn(sandbox->alloc.ud, s, sizeof *s, 0);
  }
}

tm_status tm_sandbox_ready(tm_sandbox *sandbox) {
  if (TM_LIKELY(sandbox->spares->used == 0)) return TM_OK;
  if (!add_spare(sandbox)) return TM_E_NOMEM;
  free_empty_spares(sandbox);
  return TM_OK;
}

static void *sandbox_realloc(void *ud, void *p, size_t old_size, size_t size) {
  tm_sandbox *sandbox = ud;
  if (is_large_hash(p, old_size, size)) {
    sandbox->table_refused = true;
    return NULL;
  }
  if (!p) old_size = 0; // Lua gives a type tag there
  size_t used = atomic_load_explicit(&sandbox->memory_bytes, memory_order_relaxed);
  if (size > old_size) {
    size_t cap = sandbox->limits.memory_bytes;
    if (sandbox->now.stop != STOP_NONE) cap += RESERVE_BYTES;
    // Between calls the host works, unprotected and in small bounded steps: it must not fail there.
    if (sandbox->born && !sandbox->now.running) cap += HOST_BYTES;
    sandbox->unchecked_alloc_bytes += size - old_size;
    bool refused = used > cap || size - old_size > cap - used;
    if (refused || sandbox->unchecked_alloc_bytes > CHECK_ALLOC_BYTES) {
      check_clock_in_allocator(sandbox);
    }
    if (refused) return NULL;
  }
  void *result = get(sandbox, p, old_size, size);
  if (size && !result) return NULL;
  used = used - old_size + size;
  atomic_store_explicit(&sandbox->memory_bytes, used, memory_order_relaxed);
  if (used > atomic_load_explicit(&sandbox->peak_bytes, memory_order_relaxed)) {
    atomic_store_explicit(&sandbox->peak_bytes, used, memory_order_relaxed);
  }
  return result;
}

size_t tm_sandbox_memory_bytes(const tm_sandbox *sandbox) {
  return atomic_load_explicit(&sandbox->memory_bytes, memory_order_relaxed);
}

size_t tm_sandbox_memory_peak_bytes(const tm_sandbox *sandbox) {
  return atomic_load_explicit(&sandbox->peak_bytes, memory_order_relaxed);
}

// --- errors --------------------------------------------------------------------------------------

// The message on top of L, without running a metamethod and without allocating.
static const char *error_text(lua_State *L, char *space, size_t size) {
  switch (lua_type(L, -1)) {
  case LUA_TSTRING:
    return lua_tostring(L, -1);
  case LUA_TNUMBER:
    snprintf(space, size, "%.14g", (double)lua_tonumber(L, -1));
    return space;
  default:
    snprintf(space, size, "the error is a %s value; raise a string", luaL_typename(L, -1));
    return space;
  }
}

static tm_status fail_from(tm_ctx *ctx, tm_sandbox *sandbox, lua_State *L, int lua_status,
                           stop_reason stop, uint64_t budget_ns) {
  char space[80];
  const char *text = lua_status == LUA_OK ? "stopped" : error_text(L, space, sizeof space);
  if (stop == STOP_INTERRUPT) return tm_fail(ctx, TM_E_CANCELLED, TM_NO_OFFSET, "%s", text);
  if (stop == STOP_BUDGET) {
    return tm_fail(ctx, TM_E_TIMEOUT, TM_NO_OFFSET, "%s (%.4g ms)", text, (double)budget_ns / 1e6);
  }
  if (lua_status == LUA_ERRMEM && sandbox->table_refused) {
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "Lua: a table with more than %d keyed entries",
                   (int)NODES_MAX);
  }
  if (lua_status == LUA_ERRMEM) {
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "Lua: not enough memory (cap %zu KiB)",
                   sandbox->limits.memory_bytes >> 10);
  }
  return tm_fail(ctx, TM_E_LUA, TM_NO_OFFSET, "%s", text);
}

// lua_atpanic: every entry is protected, so this says which bug of ours is about to end the
// process.
static int on_panic(lua_State *L) {
  char space[80];
  const char *text = error_text(L, space, sizeof space);
  tm_sandbox_print(L, "a Lua error outside of a protected call:", 40);
  tm_sandbox_print(L, text, strlen(text));
  return 0;
}

// --- life ----------------------------------------------------------------------------------------

static int build(lua_State *L) {
  tm_sandbox *sandbox = lua_touserdata(L, 1);
  tm_guarded_open(L);
  sandbox->env_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  tm_guarded_seed(L, DEFAULT_SEED);
  return 0;
}

static void set_limits(tm_sandbox_limits *own, const tm_sandbox_limits *given) {
  if (given) *own = *given;
  if (!own->memory_bytes) own->memory_bytes = (size_t)16 << 20;
  if (!own->load_ns) own->load_ns = 200000000;
  if (!own->soft_ns) own->soft_ns = 5000000;
  if (!own->hard_ns) own->hard_ns = 50000000;
}

static void free_spares(tm_sandbox *sandbox) {
  while (sandbox->spares) {
    spare *gone = sandbox->spares;
    sandbox->spares = gone->next;
    sandbox->alloc.realloc_fn(sandbox->alloc.ud, gone, sizeof *gone, 0);
  }
}

tm_status tm_sandbox_new(tm_ctx *ctx, const tm_sandbox_limits *limits, tm_sandbox **out) {
  tm_sandbox *sandbox = tm_calloc(ctx, 1, sizeof *sandbox);
  if (!sandbox) return TM_E_NOMEM;
  sandbox->alloc = ctx->alloc;
  set_limits(&sandbox->limits, limits);
  if (!add_spare(sandbox)) {
    tm_free(ctx, sandbox, sizeof *sandbox);
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "no memory for a Lua state");
  }
  sandbox->L = lua_newstate(sandbox_realloc, sandbox);
  if (!sandbox->L) {
    free_spares(sandbox);
    tm_free(ctx, sandbox, sizeof *sandbox);
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "no memory for a Lua state");
  }
  memcpy(lua_getextraspace(sandbox->L), &sandbox, sizeof sandbox);
  lua_atpanic(sandbox->L, on_panic);
  lua_pushcfunction(sandbox->L, build);
  lua_pushlightuserdata(sandbox->L, sandbox);
  int lua_status = lua_pcall(sandbox->L, 1, 0, 0);
  if (lua_status != LUA_OK) {
    tm_status status = fail_from(ctx, sandbox, sandbox->L, lua_status, STOP_NONE, 0);
    tm_sandbox_free(sandbox);
    return status;
  }
  sandbox->born = true;
  *out = sandbox;
  return TM_OK;
}

void tm_sandbox_free(tm_sandbox *sandbox) {
  if (!sandbox) return;
  lua_close(sandbox->L);
  free_spares(sandbox);
  tm_allocator alloc = sandbox->alloc;
  alloc.realloc_fn(alloc.ud, sandbox, sizeof *sandbox, 0);
}

lua_State *tm_sandbox_state(tm_sandbox *sandbox) {
  return sandbox->L;
}

void tm_sandbox_env(tm_sandbox *sandbox) {
  lua_rawgeti(sandbox->L, LUA_REGISTRYINDEX, sandbox->env_ref);
}

void tm_sandbox_set_outside(tm_sandbox *sandbox, const tm_sandbox_outside *outside) {
  sandbox->outside = *outside;
}

void tm_sandbox_print(lua_State *L, const char *text, size_t size) {
  const tm_sandbox_outside *outside = &tm_sandbox_of(L)->outside;
  if (outside->print_fn) outside->print_fn(outside->ud, text, size);
}

int64_t tm_sandbox_now_ns(lua_State *L) {
  const tm_sandbox_outside *outside = &tm_sandbox_of(L)->outside;
  return outside->now_ns_fn ? outside->now_ns_fn(outside->ud) : tm_clock_wall_ns();
}

static int seed(lua_State *L) {
  tm_guarded_seed(L, lua_tointeger(L, 1));
  return 0;
}

tm_status tm_sandbox_seed(tm_ctx *ctx, tm_sandbox *sandbox, int64_t value) {
  lua_pushcfunction(sandbox->L, seed);
  lua_pushinteger(sandbox->L, value);
  return tm_sandbox_call(ctx, sandbox, 1, 0, 0, NULL);
}

// --- calls ---------------------------------------------------------------------------------------

// Lua 5.4.4 compiles an assignment to a global under `local _ENV <const> = 11` into an access to
// stack slot 11, whatever lies there. Bytes are searched, not tokens: a comment counts as well.
static tm_status refuse_env(tm_ctx *ctx, const char *name, const char *source, size_t size) {
  const char *env = memmem(source, size, "_ENV", 4);
  if (!env) return TM_OK;
  size_t line = 1;
  for (const char *p = source; p < env; p++) line += *p == '\n';
  return tm_fail(ctx, TM_E_LUA, (uint64_t)(env - source),
                 "%s:%zu: _ENV cannot be used in a rule, not even in a comment", name, line);
}

// Starts a budget on L; the answer goes to budget_leave.
static budget budget_enter(tm_sandbox *sandbox, lua_State *L, uint64_t hard_ns, bool want_cpu) {
  budget outer = sandbox->now;
  budget *b = &sandbox->now;
  *b = (budget){.running = L, .start_ns = tm_clock_mono_ns(), .deadline_ns = UINT64_MAX};
  if (hard_ns < UINT64_MAX - b->start_ns) b->deadline_ns = b->start_ns + hard_ns;
  if (want_cpu) b->cpu_start_ns = tm_clock_thread_cpu_ns();
  if (outer.running) {
    if (outer.deadline_ns < b->deadline_ns) b->deadline_ns = outer.deadline_ns;
    b->stop = outer.stop;
    b->instructions = outer.instructions;
  } else {
    atomic_store_explicit(&sandbox->interrupted, false, memory_order_relaxed);
    atomic_store_explicit(&sandbox->running_since_ns, b->start_ns, memory_order_relaxed);
    sandbox->unchecked_steps = sandbox->unchecked_alloc_bytes = 0;
    sandbox->where_ns = 0;
    sandbox->table_refused = false;
  }
  lua_sethook(L, on_count, LUA_MASKCOUNT, b->stop != STOP_NONE ? 1 : HOOK_COUNT);
  return outer;
}

static stop_reason budget_leave(tm_sandbox *sandbox, const budget *outer, tm_sandbox_cost *cost) {
  budget ended = sandbox->now;
  lua_sethook(ended.running, NULL, 0, 0);
  if (cost) {
    cost->wall_ns = tm_clock_mono_ns() - ended.start_ns;
    cost->cpu_ns = tm_clock_thread_cpu_ns() - ended.cpu_start_ns;
    cost->soft_exceeded = cost->wall_ns > sandbox->limits.soft_ns;
    cost->killed = ended.stop != STOP_NONE;
  }
  sandbox->now = *outer;
  if (outer->running) {
    sandbox->now.instructions = ended.instructions;
    lua_sethook(outer->running, on_count, LUA_MASKCOUNT, over_budget(sandbox) ? 1 : HOOK_COUNT);
  } else {
    atomic_store_explicit(&sandbox->running_since_ns, 0, memory_order_relaxed);
  }
  return ended.stop;
}

typedef struct reading {
  tm_sandbox *sandbox;
  const char *next, *end;
} reading;

// lua_Reader in small pieces: the parser has no hook, and some sources take the square of their
// size.
static const char *read_piece(lua_State *L, void *ud, size_t *size) {
  reading *r = ud;
  if (over_budget(r->sandbox)) luaL_error(L, "%s", stop_text(r->sandbox));
  size_t left = (size_t)(r->end - r->next);
  const char *piece = r->next;
  *size = left < PIECE_BYTES ? left : PIECE_BYTES;
  r->next += *size;
  return piece;
}

tm_status tm_sandbox_load(tm_ctx *ctx, tm_sandbox *sandbox, const char *name, const char *source,
                          size_t size) {
  lua_State *L = sandbox->L;
  if (size > SOURCE_MAX_BYTES) {
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "%s: %zu bytes of source; at most 1 MiB", name,
                   size);
  }
  if (!lua_checkstack(L, 4)) {
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "%s: no Lua stack left", name);
  }
  char chunk[256];
  snprintf(chunk, sizeof chunk, "@%s", name);
  reading r = {sandbox, source, source + size};
  budget outer = budget_enter(sandbox, L, sandbox->limits.load_ns, false);
  int lua_status = lua_load(L, read_piece, &r, chunk, "t");
  stop_reason stop = budget_leave(sandbox, &outer, NULL);
  tm_status status = TM_OK;
  if (lua_status != LUA_OK) {
    status = fail_from(ctx, sandbox, L, lua_status, stop, sandbox->limits.load_ns);
    if (stop != STOP_NONE) status = tm_fail_in(ctx, "parsing %s", name);
  } else {
    status = refuse_env(ctx, name, source, size);
  }
  if (status != TM_OK) {
    lua_pop(L, 1);
    return status;
  }
  tm_sandbox_env(sandbox);
  lua_setupvalue(L, -2, 1);
  return TM_OK;
}

tm_status tm_sandbox_call(tm_ctx *ctx, tm_sandbox *sandbox, int nargs, int nresults,
                          uint64_t hard_ns, tm_sandbox_cost *cost) {
  lua_State *L = sandbox->L;
  int base = lua_gettop(L) - nargs - 1;
  if (!hard_ns) hard_ns = sandbox->limits.hard_ns;
  budget outer = budget_enter(sandbox, L, hard_ns, cost != NULL);
  int lua_status = lua_pcall(L, nargs, nresults, 0);
  stop_reason stop = budget_leave(sandbox, &outer, cost);
  if (lua_status == LUA_OK && stop == STOP_NONE) return TM_OK;
  // A stop that a pcall in tail position caught ends with LUA_OK; it is a stop all the same.
  tm_status status = fail_from(ctx, sandbox, L, lua_status, stop, hard_ns);
  lua_settop(L, base);
  return status;
}

tm_status tm_sandbox_protect(tm_ctx *ctx, tm_sandbox *sandbox, lua_CFunction fn, void *arg,
                             int nargs, int nresults) {
  lua_State *L = sandbox->L;
  int base = lua_gettop(L) - nargs;
  if (!lua_checkstack(L, LUA_MINSTACK))
    return tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of Lua stack");
  lua_pushcfunction(L, fn);
  lua_insert(L, base + 1);
  lua_pushlightuserdata(L, arg);
  tm_ctx_clear(ctx);
  sandbox->protected_depth++;
  int lua_status = lua_pcall(L, nargs + 1, nresults, 0);
  sandbox->protected_depth--;
  if (lua_status == LUA_OK) return TM_OK;
  tm_status status = ctx->error.status; // fn's own, when it said more
  if (status == TM_OK) status = fail_from(ctx, sandbox, L, lua_status, STOP_NONE, 0);
  lua_settop(L, base);
  return status;
}

tm_status tm_sandbox_run(tm_ctx *ctx, tm_sandbox *sandbox, int nresults, tm_sandbox_cost *cost) {
  return tm_sandbox_call(ctx, sandbox, 0, nresults, sandbox->limits.load_ns, cost);
}

tm_status tm_sandbox_resume(tm_ctx *ctx, tm_sandbox *sandbox, lua_State *co, int nargs,
                            int *nresults, bool *yielded, uint64_t hard_ns, tm_sandbox_cost *cost) {
  if (!hard_ns) hard_ns = sandbox->limits.hard_ns;
  budget outer = budget_enter(sandbox, co, hard_ns, cost != NULL);
  int count = 0;
  int lua_status = lua_resume(co, outer.running, nargs, &count);
  stop_reason stop = budget_leave(sandbox, &outer, cost);
  if ((lua_status != LUA_OK && lua_status != LUA_YIELD) || stop != STOP_NONE) {
    return fail_from(ctx, sandbox, co, lua_status == LUA_YIELD ? LUA_OK : lua_status, stop,
                     hard_ns);
  }
  *nresults = count;
  *yielded = lua_status == LUA_YIELD;
  return TM_OK;
}
