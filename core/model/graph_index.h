// The file of a saved index: what a reader and the dominators made of a heap dump, so that opening
// the dump again costs a map of this file instead. write/graph_index.h writes it,
// read/graph_index.h opens it.
//
//   tm_index_head | arrays, each at a multiple of 64 bytes | tm_index_section for every array
//
// Numbers are the machine's own, which the head tells; an index of another machine, version, reader
// or dump is no index. All offsets are of the file.
#ifndef TM_MODEL_GRAPH_INDEX_H
#define TM_MODEL_GRAPH_INDEX_H

#include "base/ctx.h"

// Grows with every change of what readers keep or of how they see a dump.
enum { TM_INDEX_VERSION = 1, TM_INDEX_ALIGN = 64, TM_INDEX_ORDER = 0x01020304 };
#define TM_INDEX_MAGIC "TMINDEX\n"

// Which dump an index is of: a hash of samples beside size and time of change, because both of
// these survive a copy back or a rewrite within a tick of the clock.
typedef struct tm_index_identity {
  uint64_t size_bytes;
  int64_t changed_ns;   // since 1970
  uint64_t sample_hash; // of its first and last 64 KiB and 16 pages between
} tm_index_identity;

typedef struct tm_index_head {
  char magic[8];
  uint32_t version, order;
  char program[16]; // version of tidemark
  char reader[16];  // tm_reader.name
  tm_index_identity of;
  uint64_t table_offset; // of the sections
  uint64_t file_bytes;
  uint32_t section_count, word_bytes; // sizeof(void *)
  uint64_t table_hash;
  uint64_t head_hash; // of all before
} tm_index_head;

typedef struct tm_index_section {
  uint64_t offset, bytes, hash;
} tm_index_section;

// The first array: whether the dump was whole, and what was not.
typedef struct tm_index_problem {
  uint32_t partial, status;
  uint64_t offset_bytes;
  char message[480];
} tm_index_problem;

// XXH3 of some bytes.
uint64_t tm_index_hash(const void *data, size_t bytes);

// Looks at an open file. TM_E_IO when it is no regular file or cannot be read.
TM_NODISCARD tm_status tm_index_identify(tm_ctx *ctx, int fd, tm_index_identity *out);

#endif
