// Who allocates on a native heap, from a snapshot of the malloc agent: what lives of each site, how
// old it is, and how much of what the site ever made was freed. A site is the code from the leaf of
// a stack to the first frame that is the program's own (analyze/frame_kind.h) and by its name no
// wrapper of an allocator; behind cgo, to the Go function that called C.
#ifndef TM_ANALYZE_NATIVE_SITES_H
#define TM_ANALYZE_NATIVE_SITES_H

#include "analyze/pointers.h"
#include "base/idmap.h"
#include "model/profile.h"

// The steps of the label `age`, in seconds: see agent/agent_pprof.c.
enum { TM_AGE_STEPS = 8 };
extern const uint32_t tm_age_steps_s[TM_AGE_STEPS];

typedef struct tm_native_frame {
  uint32_t name, file; // string ids of the profile; name 0: unknown code
  uint32_t mapping;    // index or TM_PROFILE_NONE
  uint64_t address;    // of the code, as the profile has it
  int64_t line;        // 0 = not known
} tm_native_frame;

typedef struct tm_native_site {
  uint64_t key;                      // of its frames; the same in other snapshots of the program
  uint32_t frame_begin, frame_count; // in frames
  uint32_t frame_end;                // of the first of its stacks, which goes on to its root
  uint32_t owner;                    // of the site's frames: the one that is the program's own
  uint32_t caller;                   // the Go function behind cgo; UINT32_MAX = none
  uint32_t sample_count;             // of its live blocks: what an estimate rests on
  int64_t live_count, live_bytes, made_count, made_bytes;
  int64_t age_count[TM_AGE_STEPS], age_bytes[TM_AGE_STEPS];
} tm_native_site;

// One live block that a snapshot with addresses lists.
typedef struct tm_native_block {
  uint64_t start, bytes;       // as allocated
  int64_t count, weight_bytes; // what it stands for
  uint32_t site, age;          // age: step
} tm_native_block;

typedef struct tm_native_sites {
  TM_VEC(tm_native_site) sites;
  TM_VEC(tm_native_frame) frames;
  TM_VEC(tm_native_block) blocks; // ascending by start; empty without addresses
  tm_idmap by_key;
} tm_native_sites; // zero-initialise

// Fills *out from a profile that the agent wrote (symbolized or not). is_whole: each stack is a
// site of its own. TM_E_ARG: the profile has no values or labels of the malloc agent; TM_E_NOMEM.
// Free with tm_native_sites_fini, also after a failure. O(frames of all samples).
TM_NODISCARD tm_status tm_native_sites_read(tm_ctx *ctx, const tm_profile *p, bool is_whole,
                                            tm_native_sites *out);
void tm_native_sites_fini(tm_ctx *ctx, tm_native_sites *sites);

#endif
