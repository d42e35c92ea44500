// A graph and its dominators to an index file, see model/graph_index.h.
#ifndef TM_WRITE_GRAPH_INDEX_H
#define TM_WRITE_GRAPH_INDEX_H

#include "model/columns.h"
#include "model/graph_index.h"
#include "model/snapshot.h"

// What stands behind the graph itself: the caller's.
typedef tm_status (*tm_index_more_fn)(tm_columns *columns, void *ud);

// Writes the index of `snapshot`, which was read from the dump that `of` tells, to path: under a
// name of its own first (0600), so that path is either whole or as before. Answers its size.
// TM_E_ARG when its reader keeps what cannot be stored; TM_E_IO; TM_E_CANCELLED.
TM_NODISCARD tm_status tm_graph_index_write(tm_ctx *ctx, const char *path,
                                            const tm_snapshot *snapshot,
                                            const tm_index_identity *of, tm_index_more_fn more,
                                            void *ud, uint64_t *out_bytes);

#endif
