// Who owns the resident memory of a process: every mapping has one owner by what it is, runtimes
// tell how theirs divide, and what nobody accounts for is left over by name. Rows add up to the sum
// of the mappings' RSS exactly. Pure: live/account_gather.h collects the input.
#ifndef TM_ANALYZE_ACCOUNTING_H
#define TM_ANALYZE_ACCOUNTING_H

#include "base/ctx.h"

typedef enum tm_owner {
#define TM_OWNER(id, name, group, title) TM_OWNER_##id,
#include "analyze/accounting.def"
#undef TM_OWNER
  TM_OWNER_COUNT
} tm_owner;

typedef struct tm_owner_info {
  const char *name;  // "go_heap_inuse"; its series is account.go_heap_inuse
  const char *group; // "go"; account.go sums it with its like; "" = none
  const char *title;
} tm_owner_info;

// The row of an owner; NULL for a number out of range.
const tm_owner_info *tm_owner_describe(tm_owner owner);

// The owner of a name, or TM_OWNER_COUNT.
tm_owner tm_owner_by_name(const char *name);

// Whose program it is: says what memory without a name can be.
typedef enum tm_account_runtime {
  TM_RUNTIME_NATIVE,
  TM_RUNTIME_GO,
  TM_RUNTIME_JVM,
  TM_RUNTIME_V8
} tm_account_runtime;

// What a mapping is, as seen from outside.
typedef enum tm_account_place {
  TM_PLACE_ANON, // private memory without a name: whose, the runtimes or the rest must say
  TM_PLACE_C_HEAP,
  TM_PLACE_GO_HEAP,
  TM_PLACE_V8_HEAP,
  TM_PLACE_V8_BUFFERS,
  TM_PLACE_BLINK_HEAP, // what a page's scripts hold outside of V8: nodes, layout
  TM_PLACE_STACK,
  TM_PLACE_EXECUTABLE,
  TM_PLACE_LIBRARY,
  TM_PLACE_FILE,
  TM_PLACE_SHARED,
  TM_PLACE_GPU,
  TM_PLACE_NO_ACCESS, // reserved or a guard; what is resident of it is ANON
  TM_PLACE_COUNT
} tm_account_place;

// One mapping; ascending by start in the input.
typedef struct tm_account_vma {
  uint64_t start, end;
  uint64_t rss_bytes, swap_bytes;
  tm_account_place place;
  bool writable;
  const char *name; // borrowed; "" = none
} tm_account_vma;

// An exact place of an owner: a JVM's heap or code cache, a chunk of malloc. Of a mapping that it
// covers in part it owns the same part of the resident bytes. Ascending, none overlaps another.
typedef struct tm_account_range {
  uint64_t start, end;
  tm_owner owner;
} tm_account_range;

typedef struct tm_account_input {
  const tm_account_vma *vmas;
  size_t vma_count;
  const tm_account_range *ranges;
  size_t range_count;
  // Bytes that the runtime tells, resident or not; NAN = not told. What ranges and places cover of
  // them is found there; the rest is taken from memory without a name.
  double told[TM_OWNER_COUNT];
  tm_account_runtime runtime; // a JVM's stacks are those of its threads
} tm_account_input;

typedef struct tm_account_row {
  double bytes, swap_bytes;
  double told_bytes;                     // NAN = nobody told
  uint32_t mapping_count;                // that are this owner's alone or by more than half
  uint64_t largest_start, largest_bytes; // of those; bytes resident
  const char *largest_name;              // borrowed from the input; "" = none
} tm_account_row;

typedef struct tm_account {
  tm_account_row rows[TM_OWNER_COUNT];
  double rss_bytes; // the sum over the mappings, and over the rows
} tm_account;

// Marks places that only neighbours and addresses tell: the arenas of glibc's malloc (64 MiB,
// aligned, used from below), data behind a file's own (bss), the heap of Go (runs of whole 64 MiB),
// of V8 (pages at random, or its sandbox), of Blink, and the pools of PartitionAlloc, all of which
// lie far below the libraries. In place, O(n).
//
// Source: HEAP_MAX_SIZE of glibc malloc/arena.c; heapArenaBytes of Go's runtime/malloc.go; V8's
// GetRandomMmapAddr, sandbox.h and cppgc's caged-heap.h; Chromium's partition_alloc_constants.h.
void tm_account_place_vmas(tm_account_vma *vmas, size_t count, tm_account_runtime runtime);

// Divides. O(vmas + ranges).
void tm_account_divide(const tm_account_input *input, tm_account *out);

// The bytes of all owners of a group ("c_heap").
double tm_account_group_bytes(const tm_account *account, const char *group);

#endif
