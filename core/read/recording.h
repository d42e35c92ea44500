// Reads a recording (.tmr) from front to back and calls a visitor for what stands in it, in the
// order in which it was written; samples of one batch come in order of time. Trusts nothing: a cut
// tail or a damaged record is left out and said, everything else is read.
#ifndef TM_READ_RECORDING_H
#define TM_READ_RECORDING_H

#include "base/ctx.h"
#include "model/recording.h"

// Any member may be NULL. A status other than TM_OK ends the reading and is returned. All pointers
// are valid for the call only. Numbers were announced before they are used.
typedef struct tm_recording_visitor {
  void *ud;
  tm_status (*meta)(void *ud, const char *json);
  tm_status (*target)(void *ud, uint32_t number, const tm_recording_target *target);
  tm_status (*series)(void *ud, uint32_t number, const tm_recording_series *series);
  tm_status (*sample)(void *ud, uint32_t series, int64_t time_ns, double value);
  tm_status (*event)(void *ud, const char *json);
  tm_status (*blob)(void *ud, const tm_recording_blob *blob);
  tm_status (*rules)(void *ud, const char *file_name, const char *text);
} tm_recording_visitor;

typedef struct tm_recording_summary {
  uint64_t records, samples; // read
  uint64_t damaged;          // records left out (checksum or content wrong, samples of no series)
  uint64_t read_bytes;       // everything before this offset was read
  bool cut;                  // the file ends inside a record, or nothing can be read any more
  char message[200]; // about the first damage or the cut, with its byte; "" when there is none
} tm_recording_summary;

// Reads a recording in memory. *out (NULL = not wanted) is filled in any case. TM_E_FORMAT when it
// is no recording at all, TM_E_NOMEM, TM_E_CANCELLED, or what the visitor answered; damage is no
// error.
TM_NODISCARD tm_status tm_recording_read(tm_ctx *ctx, const void *bytes, size_t size,
                                         const tm_recording_visitor *visitor,
                                         tm_recording_summary *out);

// The same from a file, which may be growing; memory stays at the size of the largest record.
// TM_E_IO, TM_E_PERM when it cannot be opened.
TM_NODISCARD tm_status tm_recording_read_file(tm_ctx *ctx, const char *path,
                                              const tm_recording_visitor *visitor,
                                              tm_recording_summary *out);

#endif
