// Offsets in the structs of one version of Go's runtime: what reading goroutines out of raw memory
// needs, of a heap dump or of a live process.
#ifndef TM_MODEL_GO_LAYOUT_H
#define TM_MODEL_GO_LAYOUT_H

#include <stdint.h>

#define TM_GO_ABSENT UINT32_MAX // this version has no such field

typedef struct tm_go_layout {
  uint32_t pointer_bytes;
#define TM_GO_FIELD(name, type, path) uint32_t name;
#include "model/go_layout.def"
#undef TM_GO_FIELD
  // Of one executable; 0 when the layout is of a version only.
  uint64_t allgs;             // address of runtime.allgs, a slice of *g
  uint64_t wait_reasons;      // address of runtime.waitReasonStrings, an array of strings
  uint32_t wait_reason_count; // its length
  char version[32];           // "go1.26.8"
} tm_go_layout;

#endif
