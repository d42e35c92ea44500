// One reading: smaps into an array, places by neighbours, chunks of malloc by their heads, the
// runtime's own numbers, division. Arrays are kept from reading to reading. smaps costs most: 1 us
// a mapping and 25-47 ns a resident page.
#include "live/account_gather.h"

#include "base/clock.h"
#include "live/account_impl.h"
#include "live/exe_runtime.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXE_ROOM = 512, ENDPOINT_TEXTS = 5 };

#define ASK_NS UINT64_C(2000000000)

struct tm_account_gather {
  tm_allocator alloc;
  tm_plat *plat;
  tm_proc *proc;
  int64_t pid;
  bool outside_only, gentle, go, v8;
  uint64_t timeout_ns;
  tm_endpoint endpoint;
  tm_arena texts, names; // names: of the last reading's mappings
  char exe[EXE_ROOM];
  tm_account_vmas vmas;
  tm_account_ranges ranges;
  tm_account_places places;
  double told[TM_OWNER_COUNT];
  uint32_t go_hint;
  tm_account_answer answer;
  tm_account_facts facts;
};

// ---- opening ----

static const char *keep(tm_account_gather *g, const char *text) {
  return text && *text ? tm_arena_strndup(&g->texts, text, strlen(text)) : NULL;
}

static bool is_v8(const char *exe) {
  static const char *const programs[] = {"node", "nodejs", "electron"};
  const char *slash = strrchr(exe, '/');
  for (size_t i = 0; i < TM_COUNT(programs); i++)
    if (strcmp(slash ? slash + 1 : exe, programs[i]) == 0) return true;
  return false;
}

static tm_status open_gather(tm_ctx *ctx, tm_account_gather *g) {
  char path[64];
  tm_process_info info;
  tm_exe_runtime runtime;
  TM_TRY(tm_plat_open(ctx, NULL, NULL, &g->plat));
  TM_TRY(tm_plat_describe(ctx, g->plat, g->pid, &info));
  TM_TRY(tm_proc_open(ctx, g->plat, g->pid, &g->proc));
  snprintf(g->exe, sizeof g->exe, "%s", info.exe);
  g->v8 = is_v8(info.exe);
  snprintf(path, sizeof path, "/proc/%lld/exe", (long long)g->pid);
  if (tm_exe_find_runtime(ctx, path, &runtime) == TM_OK)
    g->go = strcmp(runtime.name, "go") == 0;
  else
    tm_ctx_clear(ctx); // a program that cannot be read is accounted for from outside
  return TM_OK;
}

tm_status tm_account_gather_open(tm_ctx *ctx, const tm_account_gather_options *options,
                                 tm_account_gather **out) {
  tm_account_gather *g = tm_calloc(ctx, 1, sizeof *g);
  if (!g) return TM_E_NOMEM;
  g->alloc = ctx->alloc;
  g->pid = options->pid;
  g->outside_only = options->outside_only;
  g->gentle = options->gentle;
  g->timeout_ns = options->timeout_ns ? options->timeout_ns : ASK_NS;
  tm_arena_init(&g->texts, &ctx->alloc, 0);
  tm_arena_init(&g->names, &ctx->alloc, 0);
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) g->told[i] = NAN;
  g->facts.source = g->facts.problem = "";
  if (options->endpoint) {
    const tm_endpoint *e = options->endpoint;
    g->endpoint = (tm_endpoint){.address = keep(g, e->address),
                                .vars = keep(g, e->vars),
                                .metrics = keep(g, e->metrics),
                                .headers = keep(g, e->headers),
                                .ca_file = keep(g, e->ca_file)};
  }
  tm_status status = open_gather(ctx, g);
  if (status != TM_OK) {
    tm_account_gather_free(g);
    return status;
  }
  *out = g;
  return TM_OK;
}

void tm_account_gather_free(tm_account_gather *g) {
  if (!g) return;
  tm_ctx ctx;
  tm_ctx_init(&ctx, &g->alloc);
  tm_proc_close(g->proc);
  tm_plat_close(g->plat);
  tm_vec_free(&ctx, &g->vmas);
  tm_vec_free(&ctx, &g->ranges);
  tm_vec_free(&ctx, &g->places.ranges);
  tm_vec_free(&ctx, &g->answer.ranges);
  tm_arena_fini(&g->names);
  tm_arena_fini(&g->texts);
  tm_free(&ctx, g, sizeof *g);
  tm_ctx_fini(&ctx);
}

void tm_account_gather_tell(tm_account_gather *g, tm_owner owner, double bytes) {
  if ((size_t)owner < TM_OWNER_COUNT) g->told[owner] = bytes;
}

const tm_account_facts *tm_account_gather_facts(const tm_account_gather *g) {
  return &g->facts;
}

// ---- mappings ----

typedef struct adding {
  tm_ctx *ctx;
  tm_account_gather *g;
  tm_status status;
  const char *last_name;
  bool jvm;
} adding;

static bool is_program(const tm_account_gather *g, const char *name) {
  size_t n = strlen(g->exe);
  return n && strncmp(name, g->exe, n) == 0 && (!name[n] || name[n] == ' ');
}

static bool is_library(const char *name) {
  size_t n = strlen(name);
  return strstr(name, ".so.") || (n > 3 && strcmp(name + n - 3, ".so") == 0)
         || strstr(name, ".so (deleted)");
}

static tm_account_place place_of(const tm_account_gather *g, const tm_mapping_row *row) {
  switch (row->kind) {
  case TM_MAPPING_HEAP:
    return TM_PLACE_C_HEAP;
  case TM_MAPPING_STACK:
    return TM_PLACE_STACK;
  case TM_MAPPING_GO_ARENA:
    return g->go ? TM_PLACE_GO_HEAP : TM_PLACE_ANON;
  case TM_MAPPING_SHM:
  case TM_MAPPING_MEMFD:
    return TM_PLACE_SHARED;
  case TM_MAPPING_GPU:
    return TM_PLACE_GPU;
  case TM_MAPPING_SPECIAL:
    return TM_PLACE_LIBRARY;
  case TM_MAPPING_GUARD:
    return *row->name == '/' ? TM_PLACE_FILE : TM_PLACE_NO_ACCESS;
  case TM_MAPPING_FILE:
  case TM_MAPPING_DELETED:
    break;
  default:
    return TM_PLACE_ANON;
  }
  if (is_program(g, row->name)) return TM_PLACE_EXECUTABLE;
  return is_library(row->name) || row->access[2] == 'x' ? TM_PLACE_LIBRARY : TM_PLACE_FILE;
}

static bool add_vma(void *ud, const tm_memory_row *row) {
  adding *a = ud;
  const tm_mapping_row *m = &row->mapping;
  const char *name = "";
  if (strcmp(m->name, "[vsyscall]") == 0) return true; // listed for everybody, mapped by nobody
  if (*m->name && strcmp(m->name, a->last_name) == 0)
    name = a->last_name;
  else if (*m->name)
    name = tm_arena_strndup(&a->g->names, m->name, strlen(m->name));
  if (!name) {
    a->status = tm_fail(a->ctx, TM_E_NOMEM, TM_NO_OFFSET, "no memory for the names of mappings");
    return false;
  }
  if (*name) a->last_name = name;
  if (m->kind == TM_MAPPING_FILE && strstr(name, "/libjvm.so")) a->jvm = true;
  a->status = tm_vec_push(a->ctx, &a->g->vmas,
                          (tm_account_vma){.start = m->start,
                                           .end = m->end,
                                           .rss_bytes = row->rss_bytes,
                                           .swap_bytes = row->swap_bytes,
                                           .place = place_of(a->g, m),
                                           .writable = m->access[1] == 'w',
                                           .name = name});
  return a->status == TM_OK;
}

static tm_status read_vmas(tm_ctx *ctx, tm_account_gather *g) {
  tm_arena_rewind(&g->names, (tm_arena_mark){0});
  g->vmas.count = 0;
  adding a = {.ctx = ctx, .g = g, .last_name = ""};
  uint64_t began = tm_clock_thread_cpu_ns();
  TM_TRY(tm_proc_each_memory(ctx, g->proc, add_vma, &a));
  TM_TRY(a.status);
  g->facts.smaps_cpu_ns = tm_clock_thread_cpu_ns() - began;
  g->facts.mapping_count = g->vmas.count;
  g->facts.runtime = a.jvm   ? TM_RUNTIME_JVM
                     : g->go ? TM_RUNTIME_GO
                     : g->v8 ? TM_RUNTIME_V8
                             : TM_RUNTIME_NATIVE;
  tm_account_place_vmas(g->vmas.items, g->vmas.count, g->facts.runtime);
  return TM_OK;
}

// ---- answers ----

static void ask(tm_ctx *ctx, tm_account_gather *g) {
  tm_account_answer *a = &g->answer;
  a->ranges.count = 0;
  a->source = "";
  a->problem[0] = '\0';
  bool told = false;
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) {
    a->told[i] = g->told[i];
    told = told || !isnan(g->told[i]);
  }
  uint64_t began = tm_clock_mono_ns();
  if (!g->outside_only && g->facts.runtime == TM_RUNTIME_GO && g->endpoint.address)
    tm_account_ask_go(ctx, &g->endpoint, g->timeout_ns, &g->go_hint, a);
  if (!g->outside_only && g->facts.runtime == TM_RUNTIME_JVM)
    tm_account_ask_jvm(ctx, g->pid, g->timeout_ns, g->gentle, &g->places, a);
  g->facts.agent = !g->outside_only && tm_account_ask_agent(ctx, g->pid, g->timeout_ns, a);
  tm_ctx_clear(ctx);
  if (told && !*a->source) a->source = "told";
  g->facts.source = a->source;
  g->facts.problem = a->problem;
  g->facts.ask_ns = tm_clock_mono_ns() - began;
}

static int by_start(const void *a, const void *b) {
  const tm_account_range *x = a, *y = b;
  return (x->start > y->start) - (x->start < y->start);
}

// Ascending, and none over another: the lower one keeps what two of them claim.
static void order(tm_account_ranges *ranges) {
  size_t kept = 0;
  uint64_t end = 0;
  if (ranges->count) qsort(ranges->items, ranges->count, sizeof *ranges->items, by_start);
  for (size_t i = 0; i < ranges->count; i++) {
    tm_account_range r = ranges->items[i];
    if (r.start < end) r.start = end;
    if (r.start >= r.end) continue;
    end = r.end;
    ranges->items[kept++] = r;
  }
  ranges->count = kept;
}

static tm_status add_ranges(tm_ctx *ctx, tm_account_gather *g, const tm_account_ranges *from) {
  for (size_t i = 0; i < from->count; i++) TM_TRY(tm_vec_push(ctx, &g->ranges, from->items[i]));
  return TM_OK;
}

tm_status tm_account_gather_read(tm_ctx *ctx, tm_account_gather *g, tm_account *out) {
  uint64_t began = tm_clock_thread_cpu_ns();
  TM_TRY(read_vmas(ctx, g));
  tm_reading reading;
  tm_reading_clear(&reading);
  TM_TRY(tm_proc_read(ctx, g->proc, TM_GROUP_BIT(TM_GROUP_STATM), &reading));
  g->facts.rss_bytes = reading.value[TM_SIGNAL_RSS];
  ask(ctx, g);
  g->ranges.count = 0;
  TM_TRY(add_ranges(ctx, g, &g->answer.ranges));
  TM_TRY(add_ranges(ctx, g, &g->places.ranges));
  if (tm_account_find_chunks(ctx, g->proc, &g->vmas, &g->ranges, &g->facts.chunk_count) != TM_OK)
    tm_ctx_clear(ctx); // memory that may not be copied: large blocks stay unexplained
  order(&g->ranges);
  tm_account_input input = {.vmas = g->vmas.items,
                            .vma_count = g->vmas.count,
                            .ranges = g->ranges.items,
                            .range_count = g->ranges.count,

                            .runtime = g->facts.runtime};
  memcpy(input.told, g->answer.told, sizeof input.told);
  tm_account_divide(&input, out);
  g->facts.cpu_ns = tm_clock_thread_cpu_ns() - began;
  return TM_OK;
}
