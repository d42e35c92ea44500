// Types, globals and functions of a Go program from the DWARF of its executable.
#ifndef TM_SYMBOL_GO_TYPES_H
#define TM_SYMBOL_GO_TYPES_H

#include "model/go_types.h"

// TM_E_IO, TM_E_FORMAT: no debug information; TM_E_LIMIT: more than 2^24 types; TM_E_UNSUPPORTED in
// builds without libdw. Addresses are the file's own. Free with tm_go_types_free. Two walks over
// the program's units: 0.2 s for 3 MB of debug information.
TM_NODISCARD tm_status tm_go_types_of_binary(tm_ctx *ctx, const char *path, tm_go_types **out);

#endif
