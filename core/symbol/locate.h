// Finding a mapping's binary on this machine, where pprof's users keep them.
#ifndef TM_SYMBOL_LOCATE_H
#define TM_SYMBOL_LOCATE_H

#include "base/bytes.h"
#include "symbol/binary.h"

// The binary of that file name and build id (hexadecimal; either may be ""), with its separate
// debug file when there is one. search is a ':' list of folders; NULL = $PPROF_BINARY_PATH, else
// ~/pprof/binaries. Tried in every folder: <id>/<name>, anything in <id>/, <file>/<id>,
// ab/cdef.debug, <name>, <file>, and debug files beside it; then the file itself and
// /usr/lib/debug/.build-id. A file whose build id is another one is passed over with a line in
// notes (may be NULL). TM_E_IO when nothing fits, and why the file itself does not. Free with
// tm_binary_free.
TM_NODISCARD tm_status tm_binary_locate(tm_ctx *ctx, const char *file, const char *build_id,
                                        const char *search, tm_bytes *notes, tm_binary **out);

#endif
