// The classes of a JVM heap dump by how many objects they have and how large these are, without a
// graph: one pass over the file, which only the memory's speed bounds.
#ifndef TM_READ_HPROF_HISTOGRAM_H
#define TM_READ_HPROF_HISTOGRAM_H

#include "model/table.h"
#include "read/source.h"

// One row per class that has objects, the greatest shallow size first, ties by name; the numbers
// are those of a graph of the same dump, unless two objects have one address. Columns: type, count,
// shallow_bytes. Notes: objects, shallow_bytes. row_count 0 = all. TM_E_FORMAT for what is no JVM
// heap dump; a damaged one gives what is whole of it, with *out_partial.
TM_NODISCARD tm_status tm_hprof_histogram(tm_ctx *ctx, const tm_source *src, size_t row_count,
                                          tm_table *out, bool *out_partial);

#endif
