// A profile as profile.proto bytes, for `go tool pprof` and every other reader of the format.
#ifndef TM_WRITE_PPROF_H
#define TM_WRITE_PPROF_H

#include "base/bytes.h"
#include "model/profile.h"

// Appends the profile to out; gzip as Go writes it (level 1). Ids, order and every field of a
// profile that was read from pprof are kept.
TM_NODISCARD tm_status tm_write_pprof(tm_ctx *ctx, const tm_profile *p, bool gzip, tm_bytes *out);

#endif
