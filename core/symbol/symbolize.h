// Functions and lines for profiles that only have addresses.
#ifndef TM_SYMBOL_SYMBOLIZE_H
#define TM_SYMBOL_SYMBOLIZE_H

#include "base/bytes.h"
#include "model/profile.h"

typedef struct tm_symbolize_options {
  const char *mode; // as pprof's -symbolize, joined by ':': none, local, fastlocal (symbol tables
                    // only), remote (nothing here), force, demangle=none|templates|full|default
  const char *binary_path; // ':' list of folders; NULL = $PPROF_BINARY_PATH, else ~/pprof/binaries
  const char *main_binary; // stands for the first mapping's file; NULL = as the profile says
} tm_symbolize_options;

// Fills the lines of locations whose mapping has no functions yet (all mappings with force), from
// the binaries on this machine, and demangles C++ and Rust names. Addresses, mappings and samples
// stay. Changes the profile: call it before anybody else sees it. What could not be found is no
// error: it is a line each in problems (may be NULL). TM_E_ARG for a wrong mode.
TM_NODISCARD tm_status tm_symbolize(tm_ctx *ctx, tm_profile *profile,
                                    const tm_symbolize_options *options, tm_bytes *problems);

#endif
