// Several profiles as one, and differences of profiles, by pprof's rules.
#ifndef TM_ANALYZE_MERGE_H
#define TM_ANALYZE_MERGE_H

#include "model/profile.h"

typedef struct tm_combine_options {
  bool diff_base; // bases keep their own samples (label pprof::base=true) instead of cancelling
  bool normalize; // scale the sources so that their totals are the bases'
} tm_combine_options;

// The sum of the sources minus the sum of the bases (base_count may be 0). Sample types present in
// all are kept, in the order of the first; units become the finest; equal stacks with equal labels
// add up; samples of zeros vanish. Locations are equal by offset in their mapping and lines, so
// that address randomisation does not matter. TM_E_ARG when types do not fit. Free with
// tm_profile_free.
TM_NODISCARD tm_status tm_profile_combine(tm_ctx *ctx, const tm_profile *const *sources,
                                          size_t source_count, const tm_profile *const *bases,
                                          size_t base_count, const tm_combine_options *options,
                                          tm_profile **out);

#endif
