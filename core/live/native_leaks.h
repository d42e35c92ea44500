// What of a native heap is lost, and who holds the rest, by the sites that allocated it: the sites
// of a snapshot with addresses (analyze/native_sites.h) and a look through the process
// (live/heap_scan.h) put together.
#ifndef TM_LIVE_NATIVE_LEAKS_H
#define TM_LIVE_NATIVE_LEAKS_H

#include "analyze/native_sites.h"
#include "live/heap_scan.h"

// Blocks of a site by what the look found. What was freed meanwhile stands in none, and lost ones
// that are younger than a second neither.
typedef struct tm_leak_states {
  int64_t count[TM_BLOCK_STATE_COUNT], bytes[TM_BLOCK_STATE_COUNT];
} tm_leak_states;

// Who holds blocks of a site: a root at once, or blocks of a site that hang on that root.
typedef struct tm_leak_holder {
  uint32_t site, from_site; // from_site: UINT32_MAX = the root itself
  uint32_t root;            // index in roots
  bool is_interior;         // by their middle only
  int64_t count, bytes;
} tm_leak_holder;

typedef struct tm_native_leaks {
  tm_native_sites sites;
  TM_VEC(tm_block) blocks;
  tm_heap_scan *scan;            // NULL before
  TM_VEC(tm_leak_states) states; // by site
  TM_VEC(tm_holder) roots;
  TM_VEC(tm_leak_holder) holders; // by site, the one that holds most bytes first
} tm_native_leaks;                // zero-initialise; fill sites by tm_native_sites_read

// Looks through the process for who refers to the blocks of the sites. See tm_heap_scan_run.
TM_NODISCARD tm_status tm_native_leaks_scan(tm_ctx *ctx, tm_native_leaks *leaks, int64_t pid,
                                            const tm_heap_scan_options *options);

// Sums up. later: the sites of a snapshot that was taken after the look; blocks that are not in it
// were freed under our eyes and count no more. NULL: all count.
TM_NODISCARD tm_status tm_native_leaks_settle(tm_ctx *ctx, tm_native_leaks *leaks,
                                              const tm_native_sites *later);
void tm_native_leaks_fini(tm_ctx *ctx, tm_native_leaks *leaks);

#endif
