// Opening a heap dump by its saved index, see model/graph_index.h.
#ifndef TM_READ_GRAPH_INDEX_H
#define TM_READ_GRAPH_INDEX_H

#include "model/columns.h"
#include "model/graph_index.h"
#include "model/snapshot.h"
#include "read/reader.h"

typedef struct tm_graph_index tm_graph_index;

// Maps an index and looks whether it is one, of the dump that `of` tells and of that reader (NULL =
// any), and whether each of its arrays is as it was written: one pass at the speed of memory.
// TM_E_IO when there is none; TM_E_VERSION when it is of another dump, program or machine;
// TM_E_FORMAT when it is damaged; TM_E_PERM when others may have written it.
TM_NODISCARD tm_status tm_graph_index_open(tm_ctx *ctx, const char *path,
                                           const tm_index_identity *of, const char *reader,
                                           tm_graph_index **out);
void tm_graph_index_close(tm_graph_index *index);

// The reader that made it.
const tm_reader *tm_graph_index_reader(const tm_graph_index *index);

// Takes the graph out of an index, over the source that it was read from. Nothing in the arrays is
// trusted: TM_E_FORMAT. The index must live as long as the model.
TM_NODISCARD tm_status tm_graph_index_take(tm_ctx *ctx, tm_graph_index *index, const tm_source *src,
                                           tm_snapshot *out);

// What stands behind the graph, for whoever stored it.
tm_columns *tm_graph_index_more(tm_ctx *ctx, tm_graph_index *index);

#endif
