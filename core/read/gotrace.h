// Go execution traces beyond the reader of the table: is every event of it in an order that can be?
#ifndef TM_READ_GOTRACE_H
#define TM_READ_GOTRACE_H

#include "base/bytes.h"
#include "model/trace.h"
#include "read/source.h"

typedef struct tm_gotrace_verdict {
  bool valid;
  tm_error problem; // why not, with its offset
  uint32_t format_version;
  uint64_t generation_count, batch_count;
  uint64_t duplicate_count; // batches that the runtime wrote twice; left out
  uint64_t event_count;     // put in order
  uint64_t waited_count;    // events that had to wait for one of another thread with a later time
  uint64_t created_count, ended_count;     // goroutines, within the trace
  uint64_t state_count[TM_GO_STATE_COUNT]; // goroutines alive at the end of what is in order
} tm_gotrace_verdict;

// Puts the events of a whole trace into one order by the runtime's sequence numbers and says
// whether that is possible, as strictly as the Go project's own reader. A trace that is damaged,
// cut or out of order is an answer (valid = false). TM_E_FORMAT when it is no Go trace,
// TM_E_UNSUPPORTED for versions that are not known, TM_E_NOMEM, TM_E_CANCELLED. Memory: one
// generation's index and the goroutines alive.
// waits may be NULL; else it takes a trace that holds only what goroutines waited for
// (tm_trace.waits), up to the first problem; the caller frees it.
TM_NODISCARD tm_status tm_gotrace_check(tm_ctx *ctx, const tm_source *src, tm_gotrace_verdict *out,
                                        tm_trace **waits);

typedef struct tm_gotrace_repair {
  uint64_t batch_count;   // that are in the repaired trace
  uint64_t dropped_count; // that were there already
  uint64_t moved_count;   // that stood behind the end of their generation
  uint64_t cut_bytes;     // at the end, of a batch that is damaged or not whole
} tm_gotrace_repair;

// The trace (v2) as the runtime should have written it: each batch once, among those of its
// generation, generations by number. What stands behind damage is left out. Appends to out.
// TM_E_FORMAT when it is no Go trace, TM_E_UNSUPPORTED for versions but 1.22 to 1.26.
TM_NODISCARD tm_status tm_gotrace_repaired(tm_ctx *ctx, const tm_source *src, tm_bytes *out,
                                           tm_gotrace_repair *done);

typedef struct tm_gotrace_stream tm_gotrace_stream;

// A trace (v2) that is still being written: feed it what there is, look at it in between. It holds
// the bytes of the generation under way and the goroutines, nothing of what is past. The caller
// frees it; NULL is fine.
TM_NODISCARD tm_status tm_gotrace_stream_new(tm_ctx *ctx, tm_gotrace_stream **out);
void tm_gotrace_stream_free(tm_gotrace_stream *stream);

// Takes the next bytes and reads the generations that they complete. TM_E_FORMAT with the offset in
// the whole trace when it is damaged, and from then on: what was read before stays.
// TM_E_UNSUPPORTED for version 1 (which tells its strings last) and for versions not known;
// TM_E_LIMIT when a generation passes 1 GiB; TM_E_NOMEM.
TM_NODISCARD tm_status tm_gotrace_stream_feed(tm_ctx *ctx, tm_gotrace_stream *stream,
                                              const void *data, size_t size);

// No more will come: reads the last generation. TM_E_FORMAT when it is cut.
TM_NODISCARD tm_status tm_gotrace_stream_end(tm_ctx *ctx, tm_gotrace_stream *stream);

// The goroutines alive behind the last whole generation; valid until the next call. Regions that
// are open are not in it.
TM_NODISCARD tm_status tm_gotrace_stream_trace(tm_ctx *ctx, tm_gotrace_stream *stream,
                                               const tm_trace **out);

#endif
