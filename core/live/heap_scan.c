// The mappings become regions: what may hold pointers, each with its kind. A thread that waits
// tells its stack pointer; what lies below is dead and left out. All regions go through one stream
// of copies (platform.h) into the references. The agent's own tables keep no address as it is, so
// they need not be known.
#include "live/heap_scan.h"

#include "base/clock.h"
#include "base/vec.h"
#include "live/exe_runtime.h"
#include "platform/platform.h"
#include "symbol/data_symbols.h"

#include <stdio.h>
#include <string.h>

enum { PAGE = 4096, RED_ZONE = 128 };
#define GO_ENDS     UINT64_C(0x7e0000000000)
#define ARENA_BYTES (UINT64_C(64) << 20) // Source: glibc's malloc/arena.c, HEAP_MAX_SIZE on 64 bits

typedef struct module {
  char path[256];
  uint64_t start; // of its lowest mapping
  tm_data_symbols *symbols;
  bool was_asked;
} module;

typedef struct region {
  uint64_t start, end;
  uint64_t used_from; // a stack's: below it nothing counts
  tm_holder_kind kind;
  bool is_heap, is_books;
  int32_t module; // -1 = none
  int64_t tid;
  char thread[17];
} region;

struct tm_heap_scan {
  tm_allocator alloc;
  size_t block_count;
  tm_block_reference *rows;
  tm_heap_look look;
  uint64_t known_from;
  bool is_go;
  TM_VEC(tm_registers) registers;
  TM_VEC(region) regions; // of all passes
  size_t first;           // of this pass
  TM_VEC(module) modules;
};

const char *tm_holder_kind_name(tm_holder_kind kind) {
  static const char *const names[TM_HOLDER_COUNT] = {"data", "stack",  "go",
                                                     "heap", "shared", "memory"};
  return kind < TM_HOLDER_COUNT ? names[kind] : "";
}

// ---- regions ----

typedef struct listing {
  tm_ctx *ctx;
  tm_heap_scan *scan;
  int32_t module; // of the mapping before
  uint64_t end;   // of the mapping before, if that belonged to a module
  bool is_agent;  // the module is the agent's library
  tm_status status;
} listing;

static const char *last_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

// The module of a file's mapping: they stand together, the lowest first.
static int32_t module_of(listing *l, const tm_mapping_row *row) {
  tm_heap_scan *s = l->scan;
  for (size_t i = s->modules.count; i-- > 0;)
    if (strcmp(s->modules.items[i].path, row->name) == 0) return (int32_t)i;
  module m = {.start = row->start};
  memcpy(m.path, row->name, sizeof m.path);
  m.path[sizeof m.path - 1] = 0;
  l->status = tm_vec_push(l->ctx, &s->modules, m);
  return (int32_t)s->modules.count - 1;
}

// At 0xc000000000, or since 1.26 at a random address below where mappings are put.
// Source: Go's runtime/malloc.go, mallocinit.
static bool is_go_heap(const listing *l, const tm_mapping_row *row) {
  return l->scan->is_go && row->start % (4u << 20) == 0 && row->start < GO_ENDS;
}

static bool is_arena(const tm_mapping_row *row) {
  return row->start % ARENA_BYTES == 0 && row->end - row->start <= ARENA_BYTES;
}

// What the mapping can hold: TM_HOLDER_COUNT = no pointers.
static tm_holder_kind kind_of(const listing *l, const tm_mapping_row *row, bool follows_module) {
  bool is_writable = row->access[1] == 'w', is_shared = row->access[3] == 's';
  if (row->access[0] != 'r') return TM_HOLDER_COUNT;
  switch (row->kind) {
  case TM_MAPPING_FILE:
  case TM_MAPPING_DELETED:
    return is_writable && !is_shared ? TM_HOLDER_DATA : TM_HOLDER_COUNT;
  case TM_MAPPING_HEAP:
    return TM_HOLDER_HEAP;
  case TM_MAPPING_STACK:
    return TM_HOLDER_STACK;
  case TM_MAPPING_GO_ARENA:
    return TM_HOLDER_GO;
  case TM_MAPPING_ANON:
    if (follows_module) return TM_HOLDER_DATA; // its .bss
    if (is_go_heap(l, row)) return TM_HOLDER_GO;
    return is_arena(row) ? TM_HOLDER_HEAP : TM_HOLDER_MEMORY;
  case TM_MAPPING_NAMED:
    return strstr(row->name, "Go:") || strstr(row->name, "go:") ? TM_HOLDER_GO : TM_HOLDER_MEMORY;
  case TM_MAPPING_SHM:
  case TM_MAPPING_MEMFD:
    return is_writable ? TM_HOLDER_SHARED : TM_HOLDER_COUNT;
  default:
    return TM_HOLDER_COUNT;
  }
}

// The lower part of the brk heap, where blocks from before the agent's time live.
static void add_unknown(listing *l, region *heap) {
  uint64_t known = (l->scan->known_from + PAGE - 1) & ~(uint64_t)(PAGE - 1);
  if (known <= heap->start) return;
  region lower = *heap;
  lower.end = known < heap->end ? known : heap->end;
  lower.is_heap = false;
  heap->start = lower.end;
  if (l->status == TM_OK) l->status = tm_vec_push(l->ctx, &l->scan->regions, lower);
}

static bool add_mapping(void *ud, const tm_mapping_row *row) {
  listing *l = ud;
  bool is_file = row->kind == TM_MAPPING_FILE || row->kind == TM_MAPPING_DELETED;
  bool follows = !is_file && row->kind == TM_MAPPING_ANON && l->end == row->start;
  if (is_file) {
    l->module = module_of(l, row);
    l->is_agent = strstr(last_name(row->name), "libtidemark-malloc") != NULL;
  }
  l->end = is_file && row->access[1] == 'w' ? row->end : 0;
  tm_holder_kind kind = kind_of(l, row, follows);
  if (kind == TM_HOLDER_COUNT || (kind == TM_HOLDER_DATA && l->is_agent)) return l->status == TM_OK;
  region r = {.start = row->start, .end = row->end, .kind = kind, .module = -1};
  r.is_heap = kind == TM_HOLDER_HEAP && l->scan->known_from != UINT64_MAX;
  if (kind == TM_HOLDER_DATA) {
    r.module = l->module;
    r.is_books = strncmp(last_name(l->scan->modules.items[l->module].path), "libc.", 5) == 0;
  }
  if (row->kind == TM_MAPPING_HEAP && r.is_heap) add_unknown(l, &r);
  if (l->status == TM_OK) l->status = tm_vec_push(l->ctx, &l->scan->regions, r);
  return l->status == TM_OK;
}

// Of one that runs: where its stack pointer was when it was stopped, which tells whose stack it is.
static uint64_t was_stopped_at(const tm_heap_scan *s, int64_t tid) {
  for (size_t i = 0; i < s->registers.count; i++)
    if (s->registers.items[i].tid == tid) return s->registers.items[i].stack_pointer;
  return 0;
}

static bool add_thread(void *ud, const tm_thread_row *row) {
  tm_heap_scan *s = ud;
  bool is_running = row->stack_pointer == 0;
  uint64_t at = is_running ? was_stopped_at(s, row->tid) : row->stack_pointer;
  s->look.threads++;
  s->look.running += is_running;
  for (size_t i = s->first; i < s->regions.count; i++) {
    region *r = &s->regions.items[i];
    if (at < r->start || at >= r->end) continue;
    if (r->kind != TM_HOLDER_STACK || r->tid) break; // a coroutine's, or a stack over another
    r->tid = row->tid;
    memcpy(r->thread, row->name, sizeof r->thread);
    if (!is_running) r->used_from = row->stack_pointer - RED_ZONE;
    // What the agent's thread had in hand are all the blocks.
    if (strcmp(row->name, "tidemark-agent") == 0) r->used_from = r->end;
    break;
  }
  return true;
}

// A mapping that only looks like a stack, or the stack of a thread that ended or runs.
static void settle_stacks(tm_heap_scan *s) {
  for (size_t i = s->first; i < s->regions.count; i++) {
    region *r = &s->regions.items[i];
    if (r->kind == TM_HOLDER_STACK && !r->tid && !s->look.running) r->kind = TM_HOLDER_MEMORY;
  }
}

static tm_status list_regions(tm_ctx *ctx, tm_heap_scan *s, tm_proc *proc) {
  listing l = {.ctx = ctx, .scan = s, .module = -1};
  s->first = s->regions.count;
  s->look.threads = s->look.running = 0;
  TM_TRY(tm_proc_each_mapping(ctx, proc, add_mapping, &l));
  TM_TRY(l.status);
  TM_TRY(tm_proc_each_thread(ctx, proc, add_thread, s));
  settle_stacks(s);
  s->look.regions = (uint32_t)(s->regions.count - s->first);
  return TM_OK;
}

// ---- a pass ----

typedef struct pass {
  tm_ctx *ctx;
  tm_heap_scan *scan;
  tm_references *references;
  tm_status status;
} pass;

static bool add_words(void *ud, const tm_words *w) {
  pass *p = ud;
  size_t number = p->scan->first + w->span;
  const region *r = &p->scan->regions.items[number];
  const tm_memory_part part = {(uint32_t)number, r->kind, r->is_heap, r->is_books};
  uint64_t skip = r->used_from > w->address ? (r->used_from - w->address) / sizeof *w->words : 0;
  p->scan->look.bytes += w->count * sizeof *w->words;
  if (skip >= w->count) return true;
  p->status = tm_references_add(p->ctx, p->references, &part, w->address + skip * sizeof *w->words,
                                w->words + skip, (uint32_t)(w->count - skip));
  return p->status == TM_OK;
}

static tm_status look_through(tm_ctx *ctx, tm_heap_scan *s, tm_proc *proc, tm_references *refs) {
  pass p = {ctx, s, refs, TM_OK};
  size_t count = s->regions.count - s->first;
  tm_span *spans = tm_alloc(ctx, (count + 1) * sizeof *spans);
  if (!spans) return TM_E_NOMEM;
  for (size_t i = 0; i < count; i++) {
    const region *r = &s->regions.items[s->first + i];
    uint64_t from = r->used_from > r->start ? r->used_from & ~(uint64_t)(PAGE - 1) : r->start;
    spans[i] = (tm_span){from < r->end ? from : r->end, r->end};
  }
  tm_status status = tm_proc_each_resident(ctx, proc, spans, count, add_words, &p);
  tm_free(ctx, spans, (count + 1) * sizeof *spans);
  return p.status != TM_OK ? p.status : status;
}

// Registers stand at no address: a part of their own, named as the thread's stack is.
static tm_status look_at_registers(tm_ctx *ctx, tm_heap_scan *s, tm_references *refs) {
  for (size_t i = 0; i < s->registers.count; i++) {
    const tm_registers *r = &s->registers.items[i];
    uint32_t number = (uint32_t)s->regions.count;
    const tm_memory_part part = {number, TM_HOLDER_STACK, false, false};
    region of_thread = {.kind = TM_HOLDER_STACK, .module = -1, .tid = r->tid};
    for (size_t k = s->first; k < s->regions.count; k++)
      if (s->regions.items[k].tid == r->tid)
        memcpy(of_thread.thread, s->regions.items[k].thread, sizeof of_thread.thread);
    TM_TRY(tm_vec_push(ctx, &s->regions, of_thread));
    TM_TRY(tm_references_add(ctx, refs, &part, 0, r->words, (uint32_t)r->count));
  }
  return TM_OK;
}

// Held in one pass is held.
static void merge_rows(tm_heap_scan *s, const tm_block_reference *rows, bool is_first) {
  for (size_t i = 0; i < s->block_count; i++)
    if (is_first || rows[i].state > s->rows[i].state) s->rows[i] = rows[i];
}

static tm_status one_pass(tm_ctx *ctx, tm_heap_scan *s, tm_proc *proc, const tm_block *blocks,
                          bool is_first) {
  tm_references *refs;
  const tm_block_reference *rows = NULL;
  TM_TRY(tm_references_new(ctx, blocks, s->block_count, true, &refs));
  tm_status status = look_through(ctx, s, proc, refs);
  if (status == TM_OK) status = look_at_registers(ctx, s, refs);
  if (status == TM_OK) status = tm_references_settle(ctx, refs, &rows);
  if (status == TM_OK) merge_rows(s, rows, is_first);
  tm_references_free(ctx, refs);
  return status;
}

typedef struct keeping {
  tm_ctx *ctx;
  tm_heap_scan *scan;
  tm_status status;
} keeping;

static bool keep_registers(void *ud, const tm_registers *registers) {
  keeping *k = ud;
  k->status = tm_vec_push(k->ctx, &k->scan->registers, *registers);
  return k->status == TM_OK;
}

static tm_status read_registers(tm_ctx *ctx, tm_heap_scan *s, tm_proc *proc) {
  keeping k = {ctx, s, TM_OK};
  if (tm_proc_each_registers(ctx, proc, keep_registers, &k) != TM_OK) tm_ctx_clear(ctx);
  s->look.registers = (uint32_t)s->registers.count;
  return k.status;
}

static bool is_go_program(tm_ctx *ctx, int64_t pid) {
  char path[64];
  tm_exe_runtime runtime = {.name = ""};
  snprintf(path, sizeof path, "/proc/%lld/exe", (long long)pid);
  if (tm_exe_find_runtime(ctx, path, &runtime) != TM_OK) tm_ctx_clear(ctx);
  return strcmp(runtime.name, "go") == 0;
}

static tm_status run_passes(tm_ctx *ctx, tm_heap_scan *s, int64_t pid, const tm_block *blocks,
                            const tm_heap_scan_options *options) {
  tm_plat *plat;
  tm_proc *proc = NULL;
  uint64_t began_ns = tm_clock_mono_ns();
  TM_TRY(tm_plat_open(ctx, NULL, NULL, &plat));
  s->is_go = is_go_program(ctx, pid);
  tm_status status = tm_proc_open(ctx, plat, pid, &proc);
  if (status == TM_OK && options->with_registers) status = read_registers(ctx, s, proc);
  for (uint32_t i = 0; i < (options->passes ? options->passes : 1) && status == TM_OK; i++) {
    status = list_regions(ctx, s, proc);
    if (status == TM_OK) status = one_pass(ctx, s, proc, blocks, i == 0);
  }
  tm_proc_close(proc);
  tm_plat_close(plat);
  s->look.took_ns = tm_clock_mono_ns() - began_ns;
  return status;
}

tm_status tm_heap_scan_run(tm_ctx *ctx, int64_t pid, const tm_block *blocks, size_t count,
                           const tm_heap_scan_options *options, tm_heap_scan **out) {
  tm_heap_scan *s = tm_calloc(ctx, 1, sizeof *s);
  if (!s) return TM_E_NOMEM;
  s->alloc = ctx->alloc;
  s->block_count = count;
  s->known_from = options->known_from;
  s->rows = tm_calloc(ctx, count + 1, sizeof *s->rows);
  tm_status status = s->rows ? TM_OK : TM_E_NOMEM;
  if (status == TM_OK) status = run_passes(ctx, s, pid, blocks, options);
  if (status == TM_OK) *out = s;
  if (status != TM_OK) tm_heap_scan_free(s);
  return status;
}

void tm_heap_scan_free(tm_heap_scan *s) {
  if (!s) return;
  tm_ctx ctx = {.alloc = s->alloc};
  for (size_t i = 0; i < s->modules.count; i++) tm_data_symbols_free(s->modules.items[i].symbols);
  tm_vec_free(&ctx, &s->modules);
  tm_vec_free(&ctx, &s->regions);
  tm_vec_free(&ctx, &s->registers);
  tm_free(&ctx, s->rows, (s->block_count + 1) * sizeof *s->rows);
  tm_free(&ctx, s, sizeof *s);
}

// ---- what was found ----

const tm_block_reference *tm_heap_scan_rows(const tm_heap_scan *s) {
  return s->rows;
}

tm_heap_look tm_heap_scan_about(const tm_heap_scan *s) {
  return s->look;
}

static const tm_data_symbols *symbols_of(tm_heap_scan *s, module *m) {
  tm_ctx ctx;
  if (m->was_asked) return m->symbols;
  m->was_asked = true;
  tm_ctx_init(&ctx, &s->alloc);
  if (tm_data_symbols_open(&ctx, m->path, &m->symbols) != TM_OK) m->symbols = NULL;
  tm_ctx_fini(&ctx);
  return m->symbols;
}

static void name_variable(tm_heap_scan *s, const region *r, uint64_t at, tm_holder *out) {
  module *m = &s->modules.items[r->module];
  const tm_data_symbols *symbols = symbols_of(s, m);
  uint64_t bias = symbols ? m->start - tm_data_symbols_base(symbols) : 0;
  if (symbols && at - bias >= tm_data_symbols_end(symbols)) { // memory that follows its .bss
    out->kind = TM_HOLDER_MEMORY;
    return;
  }
  const char *name = symbols ? tm_data_symbols_at(symbols, at - bias, &out->offset) : NULL;
  if (name) snprintf(out->name, sizeof out->name, "%s", name);
  snprintf(out->module, sizeof out->module, "%.127s", last_name(m->path));
}

void tm_heap_scan_root(tm_heap_scan *s, const tm_block_reference *row, tm_holder *out) {
  const region *r = &s->regions.items[row->root_region];
  *out = (tm_holder){.kind = r->kind, .tid = r->tid};
  if (r->kind == TM_HOLDER_STACK) snprintf(out->name, sizeof out->name, "%s", r->thread);
  if (r->module >= 0) name_variable(s, r, row->root_at, out);
}
