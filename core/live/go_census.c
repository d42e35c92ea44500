// Four copies per look, each of many ranges at once: the list of goroutines, their addresses, their
// structs, the used part of the stacks of those that rest. Frames follow from saved frame pointers.
// Nothing is stopped, so each struct is checked for sense and left out when it has none.
// Source: runtime/runtime2.go (g, gobuf, waitReasonStrings), runtime/proc.go (allgs).
#include "live/go_census.h"

#include "analyze/goroutine_proof.h"
#include "base/clock.h"
#include "base/idmap.h"
#include "model/go_layout.h"
#include "symbol/binary.h"
#include "symbol/go_layout.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
  GOROUTINES_MAX = 4 << 20,
  REASONS_MAX = 256,
  REASON_ROOM = 64,
  STACK_ROOM = 8192, // copied of a stack, from its pointer up
  FRAMES_MAX = 100,
  BATCH = 2048, // goroutines whose stacks are held at once
};

// Source: runtime/runtime2.go.
enum { IDLE, RUNNABLE, RUNNING, SYSCALL, WAITING, DEAD = 6, COPYSTACK = 8, PREEMPTED, LEAKED };
enum { SCAN_BIT = 0x1000, DEAD_EXTRA = 0xb };

typedef struct rest { // since when looks saw a goroutine wait where it does
  uint64_t pc;
  int64_t since_ns;
  uint32_t look; // the last one that did
} rest;

struct tm_go_census {
  tm_allocator alloc;
  tm_plat *plat;
  tm_proc *proc;
  tm_binary *binary;
  tm_go_layout layout;
  uint64_t bias; // where the program was loaded, less where it was linked
  char reasons[REASONS_MAX][REASON_ROOM];
  uint32_t reason_count;
  tm_idmap rest_of; // goroutine id -> index in rests
  TM_VEC(rest) rests;
  uint32_t looks;
};

// ---- opening ----

typedef struct loaded {
  const char *exe;
  uint64_t start;
} loaded;

static bool find_program(void *ud, const tm_mapping_row *row) {
  loaded *l = ud;
  size_t n = strlen(l->exe);
  if (strncmp(row->name, l->exe, n) != 0 || (row->name[n] && row->name[n] != ' ')) return true;
  l->start = row->start;
  return false;
}

// The first mapping of the program begins with the file's head.
static tm_status find_bias(tm_ctx *ctx, tm_go_census *c) {
  tm_process_info info;
  uint64_t linked;
  TM_TRY(tm_plat_describe(ctx, c->plat, tm_proc_identity(c->proc).pid, &info));
  loaded l = {.exe = info.exe};
  TM_TRY(tm_proc_each_mapping(ctx, c->proc, find_program, &l));
  tm_mapping mapping = {.start = l.start, .limit = UINT64_MAX};
  if (l.start && tm_binary_address(c->binary, &mapping, l.start, &linked))
    c->bias = l.start - linked;
  return TM_OK;
}

static tm_status copy_one(tm_ctx *ctx, tm_go_census *c, uint64_t address, void *to, size_t bytes) {
  tm_memory_range range = {.address = address, .to = to, .bytes = bytes};
  TM_TRY(tm_proc_copy(ctx, c->proc, &range, 1));
  if (range.read) return TM_OK;
  return tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET,
                 "no memory at 0x%" PRIx64 ": the program in memory is another than the file",
                 address);
}

static tm_status read_reasons(tm_ctx *ctx, tm_go_census *c) {
  uint64_t heads[2 * REASONS_MAX];
  tm_memory_range ranges[REASONS_MAX];
  size_t count = c->layout.wait_reason_count, n = 0;
  if (!c->layout.wait_reasons || count > REASONS_MAX) return TM_OK;
  TM_TRY(copy_one(ctx, c, c->layout.wait_reasons + c->bias, heads, count * 2 * sizeof *heads));
  for (size_t i = 0; i < count; i++) {
    size_t size = heads[2 * i + 1] < REASON_ROOM ? heads[2 * i + 1] : REASON_ROOM - 1;
    if (size) ranges[n++] = (tm_memory_range){heads[2 * i], c->reasons[i], size, false};
  }
  c->reason_count = (uint32_t)count;
  return tm_proc_copy(ctx, c->proc, ranges, n);
}

// Whether every field that a look needs is there and within its struct.
static bool fits(const tm_go_layout *n) {
  const uint32_t needed[] = {n->g_stack + 8, n->g_sched_sp,   n->g_sched_pc, n->g_status,
                             n->g_goid,      n->g_waitreason, n->g_startpc};
  for (size_t i = 0; i < TM_COUNT(needed); i++)
    if (needed[i] > n->g_bytes - 8) return false;
  return n->g_stack != TM_GO_ABSENT;
}

// Data of another build lie elsewhere: a look would find nothing, or wrong names.
static tm_status check_same(tm_ctx *ctx, const tm_go_census *c, const char *exe, const char *own) {
  tm_binary *runs;
  TM_TRY(tm_binary_open(ctx, own, &runs));
  bool same = tm_binary_same_places(c->binary, runs);
  tm_binary_free(runs);
  if (same) return TM_OK;
  return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                 "%s is another build than the program that runs: name the file that was stripped "
                 "(other flags of the linker move the data, too)",
                 exe);
}

static tm_status open_census(tm_ctx *ctx, tm_go_census *c, int64_t pid, const char *exe) {
  char own[64];
  snprintf(own, sizeof own, "/proc/%" PRId64 "/exe", pid);
  bool named = exe != NULL;
  if (!named) exe = own;
  TM_TRY(tm_plat_open(ctx, NULL, NULL, &c->plat));
  TM_TRY(tm_proc_open(ctx, c->plat, pid, &c->proc));
  TM_TRY(tm_go_layout_of_binary(ctx, exe, &c->layout));
  if (c->layout.pointer_bytes != 8)
    return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "process %" PRId64 " is a 32-bit program",
                   pid);
  if (!c->layout.allgs || c->layout.g_bytes > 4096 || !fits(&c->layout))
    return tm_fail(ctx, TM_E_FORMAT, TM_NO_OFFSET, "%s does not say where its goroutines are", exe);
  TM_TRY(tm_binary_open(ctx, exe, &c->binary));
  if (named) TM_TRY(check_same(ctx, c, exe, own));
  TM_TRY(find_bias(ctx, c));
  return read_reasons(ctx, c);
}

tm_status tm_go_census_open(tm_ctx *ctx, int64_t pid, const char *exe, tm_go_census **out) {
  tm_go_census *c = tm_calloc(ctx, 1, sizeof *c);
  if (!c) return TM_E_NOMEM;
  c->alloc = ctx->alloc;
  tm_status status = open_census(ctx, c, pid, exe);
  if (status != TM_OK)
    tm_go_census_free(c);
  else
    *out = c;
  return status;
}

void tm_go_census_free(tm_go_census *c) {
  if (!c) return;
  tm_ctx ctx = {.alloc = c->alloc};
  tm_idmap_free(&ctx, &c->rest_of);
  tm_vec_free(&ctx, &c->rests);
  tm_binary_free(c->binary);
  tm_proc_close(c->proc);
  tm_plat_close(c->plat);
  tm_free(&ctx, c, sizeof *c);
}

// ---- a look ----

typedef struct look {
  tm_ctx *ctx;
  tm_go_census *c;
  tm_graph *out; // goroutines and frames only
  tm_go_look *told;
  bool with_system;
  int64_t now_ns;
  uint64_t *addresses; // of g structs
  size_t count;
  uint8_t *structs, *stacks; // of a batch
  tm_memory_range *ranges;
} look;

static uint64_t word(const uint8_t *g, uint32_t offset) {
  uint64_t v = 0;
  if (offset != TM_GO_ABSENT) memcpy(&v, g + offset, sizeof v);
  return v;
}

static tm_status read_list(look *l) {
  uint64_t head[3]; // pointer, length, capacity
  TM_TRY(copy_one(l->ctx, l->c, l->c->layout.allgs + l->c->bias, head, sizeof head));
  if (head[1] > head[2] || head[1] > GOROUTINES_MAX)
    return tm_fail(l->ctx, TM_E_FORMAT, TM_NO_OFFSET,
                   "the list of goroutines makes no sense: is the file the program that runs?");
  l->count = (size_t)head[1];
  l->told->seen = (uint32_t)l->count;
  l->addresses = tm_calloc(l->ctx, l->count + 1, sizeof *l->addresses);
  if (!l->addresses) return TM_E_NOMEM;
  return l->count ? copy_one(l->ctx, l->c, head[0], l->addresses, l->count * sizeof *l->addresses)
                  : TM_OK;
}

typedef struct stopped { // where a resting goroutine stopped
  uint64_t pc, sp, bp;
} stopped;

static bool where(const tm_go_layout *n, const uint8_t *g, uint32_t status, stopped *out) {
  bool in_call = word(g, n->g_syscallsp) != 0;
  *out = in_call
             ? (stopped){word(g, n->g_syscallpc), word(g, n->g_syscallsp), word(g, n->g_syscallbp)}
             : (stopped){word(g, n->g_sched_pc), word(g, n->g_sched_sp), word(g, n->g_sched_bp)};
  uint64_t low = word(g, n->g_stack), high = word(g, n->g_stack + 8);
  return status != RUNNING && low < high && out->sp >= low && out->sp < high;
}

static tm_status copy_structs(look *l, size_t from, size_t count) {
  size_t bytes = l->c->layout.g_bytes;
  for (size_t i = 0; i < count; i++)
    l->ranges[i] = (tm_memory_range){l->addresses[from + i], l->structs + i * bytes, bytes, false};
  TM_TRY(tm_proc_copy(l->ctx, l->c->proc, l->ranges, count));
  for (size_t i = 0; i < count; i++)
    if (!l->ranges[i].read) memset(l->structs + i * bytes, 0xff, bytes); // no such state
  return TM_OK;
}

static uint32_t state_of(const tm_go_layout *n, const uint8_t *g) {
  uint32_t state;
  memcpy(&state, g + n->g_status, sizeof state);
  return state & ~(uint32_t)SCAN_BIT;
}

static tm_status copy_stacks(look *l, size_t count) {
  const tm_go_layout *n = &l->c->layout;
  for (size_t i = 0; i < count; i++) {
    const uint8_t *g = l->structs + i * n->g_bytes;
    stopped s;
    l->ranges[i] = (tm_memory_range){.to = l->stacks + i * STACK_ROOM};
    if (!where(n, g, state_of(n, g), &s)) continue;
    uint64_t size = word(g, n->g_stack + 8) - s.sp;
    l->ranges[i].address = s.sp;
    l->ranges[i].bytes = size < STACK_ROOM ? (size_t)size : STACK_ROOM;
  }
  return tm_proc_copy(l->ctx, l->c->proc, l->ranges, count);
}

static tm_status push_frame(look *l, uint64_t pc) {
  tm_graph_frame f = {.pc = pc};
  const tm_code_symbol *symbol = tm_binary_symbol_at(l->c->binary, pc - 1 - l->c->bias);
  const char *name = symbol ? symbol->name : "unknown function";
  TM_TRY(tm_strtab_intern(l->ctx, &l->out->strings, name, strlen(name), &f.function));
  return tm_vec_push(l->ctx, &l->out->frames, f);
}

// Saved frame pointers lead up the stack: [bp] is the caller's, [bp + 8] the return address.
static tm_status walk_stack(look *l, const stopped *s, const tm_memory_range *stack) {
  TM_TRY(push_frame(l, s->pc));
  uint64_t bp = s->bp;
  for (int n = 0; n < FRAMES_MAX && stack->read && bp >= stack->address; n++) {
    uint64_t pair[2], at = bp - stack->address;
    if (at > stack->bytes - sizeof pair || stack->bytes < sizeof pair) break;
    memcpy(pair, (const uint8_t *)stack->to + at, sizeof pair);
    if (!pair[1] || !tm_binary_symbol_at(l->c->binary, pair[1] - 1 - l->c->bias)) break;
    TM_TRY(push_frame(l, pair[1]));
    if (pair[0] <= bp) break;
    bp = pair[0];
  }
  return TM_OK;
}

static const char *state_word(const look *l, const uint8_t *g, uint32_t state) {
  uint8_t reason = g[l->c->layout.g_waitreason];
  switch (state) {
  case RUNNABLE:
  case PREEMPTED:
    return "runnable";
  case RUNNING:
  case COPYSTACK:
    return "running";
  case SYSCALL:
    return "syscall";
  case WAITING:
  case LEAKED:
    return reason < l->c->reason_count && *l->c->reasons[reason] ? l->c->reasons[reason]
                                                                 : "waiting";
  default:
    return "idle";
  }
}

// How long it has waited: what the runtime noted, or what looks saw, whichever is longer. Who
// sleeps at one place again and again looks as if it slept on, so that is not told.
static tm_status measure_wait(look *l, tm_graph_goroutine *one, uint64_t pc, uint64_t since_ns) {
  tm_go_census *c = l->c;
  if (!one->waits || strcmp(tm_graph_text(l->out, one->state), "sleep") == 0) return TM_OK;
  uint32_t at = tm_idmap_get(&c->rest_of, one->id);
  if (at == TM_IDMAP_NONE) {
    at = (uint32_t)c->rests.count;
    TM_TRY(tm_vec_push(l->ctx, &c->rests, (rest){.pc = pc, .since_ns = l->now_ns}));
    TM_TRY(tm_idmap_put(l->ctx, &c->rest_of, one->id, at));
  }
  rest *r = &c->rests.items[at];
  if (r->pc != pc || r->look + 1 != c->looks) *r = (rest){.pc = pc, .since_ns = l->now_ns};
  r->look = c->looks;
  one->wait_ns = (uint64_t)(l->now_ns - r->since_ns);
  if (since_ns && (int64_t)since_ns < l->now_ns && (uint64_t)l->now_ns - since_ns > one->wait_ns)
    one->wait_ns = (uint64_t)l->now_ns - since_ns;
  return TM_OK;
}

static bool is_system(const look *l, const uint8_t *g) {
  uint64_t pc = word(g, l->c->layout.g_startpc);
  const tm_code_symbol *s = tm_binary_symbol_at(l->c->binary, pc - l->c->bias);
  return s && strncmp(s->name, "runtime.", 8) == 0 && strcmp(s->name, "runtime.main") != 0
         && strncmp(s->name, "runtime.handleAsync", 19) != 0;
}

static tm_status add_goroutine(look *l, size_t i) {
  const tm_go_layout *n = &l->c->layout;
  const uint8_t *g = l->structs + i * n->g_bytes;
  uint32_t state = state_of(n, g);
  stopped s;
  bool resting = where(n, g, state, &s);
  tm_graph_goroutine one = {.id = word(g, n->g_goid),
                            .created_pc = word(g, n->g_gopc),
                            .node = TM_NODE_NONE,
                            .frame_begin = (uint32_t)l->out->frames.count,
                            .waits = state == WAITING || state == LEAKED};
  if (state == DEAD || state == IDLE || state == DEAD_EXTRA) return TM_OK;
  if (state > LEAKED || !one.id || (one.waits && !resting)) {
    l->told->torn++;
    return TM_OK;
  }
  one.system = is_system(l, g);
  l->told->system += one.system;
  if (one.system && !l->with_system) return TM_OK;
  if (resting) TM_TRY(walk_stack(l, &s, &l->ranges[i]));
  one.frame_end = (uint32_t)l->out->frames.count;
  const char *text = state_word(l, g, state);
  TM_TRY(tm_strtab_intern(l->ctx, &l->out->strings, text, strlen(text), &one.state));
  TM_TRY(measure_wait(l, &one, resting ? s.pc ^ s.sp : 0, word(g, n->g_waitsince)));
  return tm_vec_push(l->ctx, &l->out->goroutines, one);
}

static tm_status add_batch(look *l, size_t from, size_t count) {
  TM_TRY(copy_structs(l, from, count));
  TM_TRY(copy_stacks(l, count));
  for (size_t i = 0; i < count; i++) TM_TRY(add_goroutine(l, i));
  return tm_ctx_tick(l->ctx, from);
}

static tm_status read_goroutines(look *l) {
  TM_TRY(read_list(l));
  l->structs = tm_alloc(l->ctx, (size_t)BATCH * l->c->layout.g_bytes);
  l->stacks = tm_alloc(l->ctx, (size_t)BATCH * STACK_ROOM);
  l->ranges = tm_calloc(l->ctx, BATCH, sizeof *l->ranges);
  if (!l->structs || !l->stacks || !l->ranges) return TM_E_NOMEM;
  for (size_t from = 0; from < l->count; from += BATCH)
    TM_TRY(add_batch(l, from, l->count - from < BATCH ? l->count - from : BATCH));
  return TM_OK;
}

static void look_fini(look *l) {
  tm_free(l->ctx, l->addresses, (l->count + 1) * sizeof *l->addresses);
  tm_free(l->ctx, l->structs, (size_t)BATCH * l->c->layout.g_bytes);
  tm_free(l->ctx, l->stacks, (size_t)BATCH * STACK_ROOM);
  tm_free(l->ctx, l->ranges, BATCH * sizeof *l->ranges);
  tm_graph_free(l->out);
}

static tm_status code_frames(tm_ctx *ctx, void *ud, uint64_t pc, tm_code_frame *frames,
                             uint32_t room, uint32_t *out_count) {
  tm_go_census *c = ud;
  return tm_binary_frames(ctx, c->binary, pc - 1 - c->bias, frames, room, out_count);
}

// Forgets goroutines that the last look did not see, once they are many.
static void forget_gone(tm_ctx *ctx, tm_go_census *c, size_t alive) {
  if (c->rests.count < 2 * alive + 1024) return;
  tm_idmap_free(ctx, &c->rest_of); // the next look begins anew
  c->rests.count = 0;
}

tm_status tm_go_census_look(tm_ctx *ctx, tm_go_census *census, bool with_system, tm_profile **out,
                            tm_go_look *out_look) {
  *out_look = (tm_go_look){0};
  look l = {.ctx = ctx,
            .c = census,
            .told = out_look,
            .with_system = with_system,
            .now_ns = (int64_t)tm_clock_mono_ns()};
  tm_goroutine_code code = {census, code_frames};
  census->looks++;
  TM_TRY(tm_graph_new(ctx, &l.out));
  tm_status status = read_goroutines(&l);
  out_look->took_ns = (int64_t)tm_clock_mono_ns() - l.now_ns;
  if (status == TM_OK) status = tm_goroutine_profile(ctx, l.out, &code, out);
  out_look->alive = (uint32_t)l.out->goroutines.count;
  if (status == TM_OK) forget_gone(ctx, census, l.out->goroutines.count);
  look_fini(&l);
  return status;
}
