// The seam of formats: a reader turns the bytes of one format into one model. It knows neither
// files nor sockets nor Lua. New format = one .c file and one row in formats.def.
#ifndef TM_READ_READER_H
#define TM_READ_READER_H

#include "model/snapshot.h"
#include "read/source.h"

struct tm_graph;

typedef struct tm_reader {
  const char *name;  // stable id: `--format pprof`, snapshot.format
  const char *title; // for people
  tm_kind kind;      // the model it yields
  bool keeps_source; // the model looks into the source as long as it lives
  bool takes_part;   // packing that broke is read as far as it goes, and the model is partial

  // How sure it is: 0 = not mine, else the bits of evidence that matched (a 4-byte magic is 32).
  // Sees the start of the unpacked bytes, at most TM_READER_HEAD_BYTES.
  unsigned (*probe)(const uint8_t *head, size_t head_bytes);

  // Reads src to its end into out, which owns everything made here. On failure out may keep what
  // was read before, marked partial. Runs on a worker thread.
  tm_status (*read)(tm_ctx *ctx, const tm_source *src, tm_snapshot *out);

  // An empty graph over src whose contents a saved index will give (read/graph_index.h), by
  // tm_graph_columns and its detail's `columns`. NULL = has none.
  tm_status (*restore)(tm_ctx *ctx, const tm_source *src, struct tm_graph **out);
} tm_reader;

#define TM_READER_HEAD_BYTES 4096

// All readers, ended by a NULL.
extern const tm_reader *const tm_readers[];

// The reader of that name, or NULL.
const tm_reader *tm_reader_named(const char *name);

// The reader with the most evidence, or TM_E_FORMAT naming what the start looks like.
TM_NODISCARD tm_status tm_reader_choose(tm_ctx *ctx, const tm_source *src, const tm_reader **out);

// Opens path (or "-"), chooses a reader (format NULL = by evidence) and reads. The caller ends out
// with tm_snapshot_fini, also after a failure that left it partial.
TM_NODISCARD tm_status tm_read_file(tm_ctx *ctx, const char *path, const char *format,
                                    tm_snapshot *out);
// The same by a saved index of the dump (read/graph_index.h): a graph, with what stands behind it
// in out->more. Fails as tm_graph_index_open and _take do, and then out is empty.
TM_NODISCARD tm_status tm_read_by_index(tm_ctx *ctx, const char *path, const char *format,
                                        const char *index_path, tm_snapshot *out);
TM_NODISCARD tm_status tm_read_buffer(tm_ctx *ctx, const void *data, size_t size,
                                      const char *format, tm_snapshot *out);

#endif
