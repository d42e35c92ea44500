// A profile as speedscope's JSON: one "sampled" profile per value type over shared frames.
#ifndef TM_WRITE_SPEEDSCOPE_H
#define TM_WRITE_SPEEDSCOPE_H

#include "base/bytes.h"
#include "model/profile.h"

// Appends the document. name = title of the whole (may be "").
// Source: speedscope's file format schema.
TM_NODISCARD tm_status tm_write_speedscope(tm_ctx *ctx, const tm_profile *p, const char *name,
                                           tm_bytes *out);

#endif
