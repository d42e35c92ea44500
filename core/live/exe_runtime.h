// Which runtime a program was built with, by its file alone.
#ifndef TM_LIVE_EXE_RUNTIME_H
#define TM_LIVE_EXE_RUNTIME_H

#include "base/ctx.h"

typedef struct tm_exe_runtime {
  const char *name; // "go", or "native" for everything else; static
  char version[64]; // "go1.26.8"; "" when it is not told
} tm_exe_runtime;

// Reads the file at path (a program, also one that is stripped, or /proc/PID/exe): its tables and
// at most 1 MiB of its data. What is no ELF file is "native", too. TM_E_IO, TM_E_PERM. Any thread.
// Source: Go's debug/buildinfo (magic, flags, inline version) and the section .go.buildinfo.
TM_NODISCARD tm_status tm_exe_find_runtime(tm_ctx *ctx, const char *path, tm_exe_runtime *out);

#endif
