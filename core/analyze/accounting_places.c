// Runtimes reserve address space in shapes of their own, at addresses that the kernel would not
// choose. A run is a row of neighbours without names; its ends, size and inner alignment say whose
// it is.
#include "analyze/accounting.h"

#include <string.h>

static const uint64_t arena_bytes = UINT64_C(64) << 20;
static const uint64_t gib = UINT64_C(1) << 30;

static bool is_private(const tm_account_vma *v) {
  return !*v->name
         && (v->place == TM_PLACE_ANON || v->place == TM_PLACE_NO_ACCESS
             || v->place == TM_PLACE_STACK);
}

// The end of the highest library or stack.
static uint64_t highest(const tm_account_vma *vmas, size_t count) {
  uint64_t top = 0;
  for (size_t i = 0; i < count; i++)
    if (vmas[i].place == TM_PLACE_STACK || vmas[i].place == TM_PLACE_LIBRARY) top = vmas[i].end;
  return top;
}

// Mappings of the kernel's choice lie in the last 16 TiB below the stack.
static bool is_below_mmap(const tm_account_vma *v, uint64_t top) {
  return v->end + (UINT64_C(16) << 40) < top;
}

static size_t run_end(const tm_account_vma *vmas, size_t count, size_t from) {
  size_t to = from + 1;
  while (to < count && is_private(&vmas[to]) && vmas[to].start == vmas[to - 1].end) to++;
  return to;
}

static void mark(tm_account_vma *vmas, size_t from, size_t to, tm_account_place place) {
  for (size_t i = from; i < to; i++) vmas[i].place = place;
}

// Thread stacks are the kernel's choice; with a guard below, but elsewhere, is somebody's heap.
static void unmark_stacks(tm_account_vma *vmas, size_t count, uint64_t top) {
  for (size_t i = 0; i < count; i++)
    if (vmas[i].place == TM_PLACE_STACK && !*vmas[i].name && is_below_mmap(&vmas[i], top))
      vmas[i].place = TM_PLACE_ANON;
}

// ---- Go ----

// At 0xc000000000, or since 1.26 at a random address.
static void place_go_run(tm_account_vma *vmas, size_t from, size_t to) {
  if (vmas[from].start % arena_bytes == 0 && vmas[to - 1].end % arena_bytes == 0)
    mark(vmas, from, to, TM_PLACE_GO_HEAP);
}

// ---- V8 and Chromium ----

// A super page of PartitionAlloc is 2 MiB; its first 16 KiB hold guards and metadata.
static bool is_super_page(const tm_account_vma *v) {
  return v->writable && v->start % (2u << 20) == 0x4000;
}

// The sandbox: a TiB, or what of it could be had, aligned to 4 GiB, between reservations; the first
// 4 GiB that are used hold the heap, the others the contents of array buffers. What else the kernel
// put next to it is below the first and above the last large reservation.
static bool place_sandbox(tm_account_vma *vmas, size_t from, size_t to) {
  uint64_t base = 0;
  while (from < to && vmas[from].start % (4 * gib) != 0) from++;
  while (to > from && vmas[to - 1].end - vmas[to - 1].start < gib) to--;
  if (from == to || vmas[to - 1].end - vmas[from].start < 256 * gib) return false;
  for (size_t i = from; i < to; i++) {
    if (vmas[i].place == TM_PLACE_NO_ACCESS) continue;
    if (!base) base = vmas[i].start - vmas[i].start % (4 * gib);
    vmas[i].place = vmas[i].start < base + 4 * gib ? TM_PLACE_V8_HEAP : TM_PLACE_V8_BUFFERS;
  }
  return base != 0;
}

static void place_pool(tm_account_vma *vmas, size_t from, size_t to) {
  size_t i = from;
  while (i < to && !is_super_page(&vmas[i])) i++;
  if (i < to) mark(vmas, from, to, TM_PLACE_C_HEAP);
}

static void place_blink_run(tm_account_vma *vmas, size_t from, size_t to) {
  if (vmas[to - 1].end - vmas[from].start >= 4 * gib && vmas[from].start % gib == 0)
    mark(vmas, from, to, TM_PLACE_BLINK_HEAP);
}

typedef enum step { FIND_SANDBOX, FIND_BLINK, FIND_GO, FIND_PAGES } step;

// True when the run is a sandbox. Reservations of a GiB and more are Chromium's, 4 GiB where the
// kernel chose the place; what is smaller is, in a program of V8, a page of its heap.
static bool place_run(tm_account_vma *vmas, size_t from, size_t to, bool below, step what) {
  uint64_t bytes = vmas[to - 1].end - vmas[from].start;
  bool large = bytes >= (below ? gib : 4 * gib);
  switch (what) {
  case FIND_GO:
    if (below) place_go_run(vmas, from, to);
    return false;
  case FIND_SANDBOX:
    if (large && place_sandbox(vmas, from, to)) return true;
    if (large) place_pool(vmas, from, to);
    return false;
  case FIND_BLINK:
    if (large) place_blink_run(vmas, from, to);
    return false;
  case FIND_PAGES:
    if (below && !large) mark(vmas, from, to, TM_PLACE_V8_HEAP);
    return false;
  }
  return false;
}

static bool each_run(tm_account_vma *vmas, size_t count, uint64_t top, step what) {
  bool found = false;
  for (size_t i = 0; i < count;) {
    if (!is_private(&vmas[i])) {
      i++;
      continue;
    }
    size_t to = run_end(vmas, count, i);
    bool of_file = i && vmas[i - 1].end == vmas[i].start && *vmas[i - 1].name;
    if (!of_file) found = place_run(vmas, i, to, is_below_mmap(&vmas[to - 1], top), what) || found;
    i = to;
  }
  return found;
}

// ---- all ----

// An arena is writable from its aligned start on and has no access above, up to 64 MiB; or all of
// it is in use. The unused end of the arena below it makes it look like a stack with its guard.
static bool is_malloc_arena(const tm_account_vma *v, const tm_account_vma *next) {
  bool nameless = v->place == TM_PLACE_ANON || (v->place == TM_PLACE_STACK && !*v->name);
  if (!nameless || !v->writable || v->start % arena_bytes != 0) return false;
  if (v->end % arena_bytes == 0) return true;
  return next && next->place == TM_PLACE_NO_ACCESS && next->start == v->end
         && next->end >= (v->end / arena_bytes + 1) * arena_bytes;
}

static bool is_of_file(const tm_account_vma *v) {
  return v->place == TM_PLACE_EXECUTABLE || v->place == TM_PLACE_LIBRARY;
}

static void place_neighbours(tm_account_vma *vmas, size_t count) {
  for (size_t i = 0; i < count; i++) {
    tm_account_vma *v = &vmas[i];
    const tm_account_vma *before = i ? &vmas[i - 1] : NULL;
    if (is_malloc_arena(v, i + 1 < count ? v + 1 : NULL))
      v->place = TM_PLACE_C_HEAP;
    else if (v->place == TM_PLACE_ANON && before && before->end == v->start && before->writable
             && is_of_file(before) && *before->name)
      v->place = before->place;
  }
}

void tm_account_place_vmas(tm_account_vma *vmas, size_t count, tm_account_runtime runtime) {
  uint64_t top = highest(vmas, count);
  unmark_stacks(vmas, count, top);
  if (runtime == TM_RUNTIME_GO) each_run(vmas, count, top, FIND_GO);
  if (runtime == TM_RUNTIME_NATIVE || runtime == TM_RUNTIME_V8)
    if (each_run(vmas, count, top, FIND_SANDBOX)) each_run(vmas, count, top, FIND_BLINK);
  if (runtime == TM_RUNTIME_V8) each_run(vmas, count, top, FIND_PAGES);
  place_neighbours(vmas, count);
}
