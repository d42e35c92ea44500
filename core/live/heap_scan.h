// Who refers to blocks of a process's heap: a look through its readable memory from outside, while
// it runs on. What analyze/references.h decides, over the roots of a real process: data of modules,
// stacks above their stack pointers, Go's heap, other memory.
#ifndef TM_LIVE_HEAP_SCAN_H
#define TM_LIVE_HEAP_SCAN_H

#include "analyze/references.h"

// Where a root's word stands. In the order in which one of several is named.
typedef enum tm_holder_kind {
  TM_HOLDER_DATA,   // of a module: a global or static variable
  TM_HOLDER_STACK,  // of a thread, in use; what glibc keeps on top of it (thread-local data) too
  TM_HOLDER_GO,     // Go's heap and goroutine stacks
  TM_HOLDER_HEAP,   // the allocator's memory, outside of known blocks
  TM_HOLDER_SHARED, // shared memory
  TM_HOLDER_MEMORY, // other anonymous memory: mappings, pools, stacks of coroutines and ended
                    // threads
  TM_HOLDER_COUNT
} tm_holder_kind;

const char *tm_holder_kind_name(tm_holder_kind kind); // "data", "stack", "go", "heap", ...

typedef struct tm_holder {
  tm_holder_kind kind;
  char name[128];   // of the variable or the thread; "" = not known
  char module[128]; // data: the file's last name; "" = of no file
  int64_t tid;      // stack: whose
  uint64_t offset;  // data: into the variable
} tm_holder;

typedef struct tm_heap_scan tm_heap_scan;

typedef struct tm_heap_look {
  uint64_t bytes, took_ns;            // of all passes
  uint32_t regions, threads, running; // running: stacks whose used part is not known
  uint32_t registers;                 // threads whose registers were looked at
} tm_heap_look;

typedef struct tm_heap_scan_options {
  uint32_t passes;     // at least 1: a block counts as held when one pass finds it so, because a
                       // pointer that wanders may be missed
  uint64_t known_from; // the agent's value of that name, from which address on the allocator's
                       // memory outside of the blocks is free, so that words there are leftovers;
                       // UINT64_MAX = others may live too
  bool with_registers; // stop each thread for a moment, see tm_proc_each_registers
} tm_heap_scan_options;

// blocks: see tm_references_new; they must outlive the scan. The agent's thread and library are no
// roots. Registers that may not be looked at are no error (about says how many were). TM_E_GONE,
// TM_E_PERM, TM_E_NOMEM, TM_E_CANCELLED. Blocking; free with tm_heap_scan_free.
TM_NODISCARD tm_status tm_heap_scan_run(tm_ctx *ctx, int64_t pid, const tm_block *blocks,
                                        size_t count, const tm_heap_scan_options *options,
                                        tm_heap_scan **out);
void tm_heap_scan_free(tm_heap_scan *scan);

// One row for each block; root_region is for tm_heap_scan_root only.
const tm_block_reference *tm_heap_scan_rows(const tm_heap_scan *scan);
tm_heap_look tm_heap_scan_about(const tm_heap_scan *scan);
// The root that a held block hangs on. Opens modules when it first names one of their variables.
void tm_heap_scan_root(tm_heap_scan *scan, const tm_block_reference *row, tm_holder *out);

#endif
