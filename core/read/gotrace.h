// Go execution traces beyond the reader of the table: is every event of it in an order that can be?
#ifndef TM_READ_GOTRACE_H
#define TM_READ_GOTRACE_H

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
TM_NODISCARD tm_status tm_gotrace_check(tm_ctx *ctx, const tm_source *src, tm_gotrace_verdict *out);

#endif
