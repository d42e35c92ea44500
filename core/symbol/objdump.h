// Disassembly by the system's objdump: running it, and reading what it says.
#ifndef TM_SYMBOL_OBJDUMP_H
#define TM_SYMBOL_OBJDUMP_H

#include "base/bytes.h"
#include "model/code.h"

// Appends what objdump prints for begin .. end of the file. The program is looked for in the
// folders of $PPROF_TOOLS (separated by ':'), then in PATH. No shell; it is killed after 60 s or 64
// MiB. TM_E_UNSUPPORTED when there is no objdump, TM_E_IO when it fails.
TM_NODISCARD tm_status tm_objdump_run(tm_ctx *ctx, const char *file, uint64_t begin, uint64_t end,
                                      bool intel_syntax, tm_bytes *out);

// Appends the instructions of such a text: address and text; texts are copied to the arena.
TM_NODISCARD tm_status tm_objdump_parse(tm_ctx *ctx, const char *text, size_t size, tm_arena *arena,
                                        tm_instructions *out);

#endif
