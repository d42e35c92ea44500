// The layout of Go's runtime from the DWARF of an executable.
#ifndef TM_SYMBOL_GO_LAYOUT_H
#define TM_SYMBOL_GO_LAYOUT_H

#include "base/ctx.h"
#include "model/go_layout.h"

// TM_E_IO, TM_E_FORMAT: no Go program, stripped, or without runtime.g; TM_E_UNSUPPORTED in builds
// without libdw. Addresses are those of the file: a position-independent program is loaded
// elsewhere.
TM_NODISCARD tm_status tm_go_layout_of_binary(tm_ctx *ctx, const char *path, tm_go_layout *out);

#endif
