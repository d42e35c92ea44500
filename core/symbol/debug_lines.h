// DWARF of one file, asked by address; the inside of tm_binary_frames.
#ifndef TM_SYMBOL_DEBUG_LINES_H
#define TM_SYMBOL_DEBUG_LINES_H

#include "symbol/binary.h"

typedef struct tm_debug_lines tm_debug_lines;

// elf is a libelf descriptor that outlives the result. *out stays NULL when there is no DWARF.
TM_NODISCARD tm_status tm_debug_lines_new(tm_ctx *ctx, void *elf, tm_debug_lines **out);
void tm_debug_lines_free(tm_debug_lines *d);

// As tm_binary_frames.
TM_NODISCARD tm_status tm_debug_lines_frames(tm_ctx *ctx, tm_debug_lines *d, uint64_t address,
                                             tm_code_frame *frames, uint32_t room,
                                             uint32_t *out_count);

#endif
