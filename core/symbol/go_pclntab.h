// Functions, files, lines and inlined calls of a Go program out of the table that its own runtime
// uses: it is there in stripped programs, too. Of Go 1.18 and later; inlined calls since 1.20.
#ifndef TM_SYMBOL_GO_PCLNTAB_H
#define TM_SYMBOL_GO_PCLNTAB_H

#include "model/code.h"

// The table as bytes. text: the address of runtime.text. inlined: the data that functions' tables
// of inlined calls are in (go:func.*), NULL = none. The bytes are kept, not copied, and may be
// hostile.
typedef struct tm_go_pclntab {
  const uint8_t *data, *inlined;
  size_t size, inlined_size;
  uint64_t text;
  uint64_t names, units, files, values, functions; // offsets
  uint32_t count;                                  // of functions
  uint8_t step;                                    // bytes of the shortest instruction
  bool has_inlined;
} tm_go_pclntab;

// Looks at the head; false: another version, or damaged. *out_text: what the head says of text, 0
// = nothing (since 1.26). text and inlined are to be set by the caller.
bool tm_go_pclntab_open(const void *data, size_t size, tm_go_pclntab *out, uint64_t *out_text);

// The function of that number (in the order of addresses); false: damaged. Names end in the table.
bool tm_go_pclntab_function(const tm_go_pclntab *table, uint32_t number, const char **name,
                            uint64_t *begin, uint64_t *end);

// The frames at an address, innermost first: at most room; 0 = it is no Go code.
uint32_t tm_go_pclntab_frames(const tm_go_pclntab *table, uint64_t address, tm_code_frame *frames,
                              uint32_t room);

#endif
