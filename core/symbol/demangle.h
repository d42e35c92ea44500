// Readable names for what C++ and Rust compilers put into symbol tables.
#ifndef TM_SYMBOL_DEMANGLE_H
#define TM_SYMBOL_DEMANGLE_H

#include "base/bytes.h"

// What is kept, as pprof's -symbolize=demangle= has it.
typedef enum tm_demangle_mode {
  TM_DEMANGLE_NONE,      // nothing is demangled
  TM_DEMANGLE_NAMES,     // names only: no parameters, no template arguments (pprof's default)
  TM_DEMANGLE_TEMPLATES, // names with template arguments
  TM_DEMANGLE_FULL       // with parameters and return types
} tm_demangle_mode;

// Appends the readable form of a mangled name: Itanium C++ (_Z, with macOS's extra _), Rust legacy
// (_ZN..17h<hash>E, whose hash is dropped) and Rust v0 (_R). *out_changed is false, and nothing is
// appended, for other names and for what does not parse. Names come from strangers: nesting, work
// and output are capped; a name past them stays as it is.
// Sources: itanium-cxx-abi.github.io/cxx-abi/abi.html#mangling; Rust RFC 2603.
TM_NODISCARD tm_status tm_demangle(tm_ctx *ctx, const char *name, tm_demangle_mode mode,
                                   tm_bytes *out, bool *out_changed);

#endif
