// A profile as collapsed stacks, one line each: "root;…;leaf value\n".
#ifndef TM_WRITE_COLLAPSED_H
#define TM_WRITE_COLLAPSED_H

#include "base/bytes.h"
#include "model/profile.h"

// Appends one line per sample with a value that is not 0; a frame's ';' and line breaks become '_'.
// value_index from tm_profile_sample_index. Frames without a name are their address.
TM_NODISCARD tm_status tm_write_collapsed(tm_ctx *ctx, const tm_profile *p, uint32_t value_index,
                                          tm_bytes *out);

#endif
