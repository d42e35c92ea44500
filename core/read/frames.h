// Frames by name for formats that have no ids: the same function, or function and line, is made
// once per profile. For readers only.
#ifndef TM_READ_FRAMES_H
#define TM_READ_FRAMES_H

#include "base/idmap.h"
#include "model/profile.h"

typedef struct tm_frames {
  tm_idmap functions; // name << 32 | file -> function
  tm_idmap locations; // function << 32 | line -> location
} tm_frames;          // zero-initialise

typedef struct tm_text {
  const char *at;
  size_t size;
} tm_text;

void tm_frames_fini(tm_ctx *ctx, tm_frames *frames);

// The index of the function of that name and file (made if new).
TM_NODISCARD tm_status tm_frames_function(tm_ctx *ctx, tm_frames *frames, tm_profile *p,
                                          tm_text name, tm_text file, uint32_t *out);

// The index of the location that is that line of that function (made if new), with one line and no
// address.
TM_NODISCARD tm_status tm_frames_location(tm_ctx *ctx, tm_frames *frames, tm_profile *p,
                                          tm_text name, tm_text file, int64_t line, uint32_t *out);

// The four values of a heap profile, in this order: alloc_objects, alloc_space, inuse_objects,
// inuse_space, the last by default.
TM_NODISCARD tm_status tm_frames_allocation_types(tm_ctx *ctx, tm_profile *p);

#endif
