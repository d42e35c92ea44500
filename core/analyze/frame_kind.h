// Whose code a function is: what costs are charged past.
#ifndef TM_ANALYZE_FRAME_KIND_H
#define TM_ANALYZE_FRAME_KIND_H

typedef enum tm_frame_kind {
  TM_FRAME_OWN,      // the program's, or a library's that it chose
  TM_FRAME_STANDARD, // the standard library of Go, C++ or Rust
  TM_FRAME_RUNTIME,  // Go's runtime, or an allocator of C, C++ or Rust
} tm_frame_kind;

// By name, and by file for the assembly of Go's runtime, whose names have no package ("memmove" in
// .../runtime/memmove_amd64.s). file may be NULL or "".
tm_frame_kind tm_frame_kind_of(const char *name, const char *file);

#endif
