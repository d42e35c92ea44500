// Writes a recording (.tmr): samples, events and evidence of a watch, without loss, so that rules
// can be run over it again. Append-only: what was flushed survives a kill -9 of the writer. The
// owner calls tm_recording_flush at least every 2 s. One thread at a time.
#ifndef TM_WRITE_RECORDING_H
#define TM_WRITE_RECORDING_H

#include "base/ctx.h"
#include "model/recording.h"

typedef struct tm_recording tm_recording;

typedef struct tm_recording_stats {
  uint64_t written_bytes; // in the file
  uint64_t samples;       // taken
  uint64_t dropped;       // samples lost because the disk took nothing for too long
} tm_recording_stats;

// Creates the file (mode 0600) with its first record, meta: one JSON object that says who recorded
// what where (version, host, kernel, started_ns, command). An existing file is refused with TM_E_IO
// unless `overwrite`. End with tm_recording_close.
TM_NODISCARD tm_status tm_recording_create(tm_ctx *ctx, const char *path, bool overwrite,
                                           const char *meta_json, tm_recording **out);

// Flushes, syncs and closes; frees rec in any case. The status is that of the last flush.
tm_status tm_recording_close(tm_ctx *ctx, tm_recording *rec);

// Names a target, a series of it; the numbers given out identify them from then on.
TM_NODISCARD tm_status tm_recording_add_target(tm_ctx *ctx, tm_recording *rec,
                                               const tm_recording_target *target,
                                               uint32_t *out_number);
TM_NODISCARD tm_status tm_recording_add_series(tm_ctx *ctx, tm_recording *rec,
                                               const tm_recording_series *series,
                                               uint32_t *out_number);

// Adds a sample, exact to the bit. Buffered until the next flush or event.
TM_NODISCARD tm_status tm_recording_sample(tm_ctx *ctx, tm_recording *rec, uint32_t series,
                                           int64_t time_ns, double value);

// A finding, alert, action, mark, exit or withheld signal: one JSON object with "type" and
// "time_ns". It stands behind all samples that were added before it.
TM_NODISCARD tm_status tm_recording_event(tm_ctx *ctx, tm_recording *rec, const char *json);

// Evidence: a descriptor table, a profile. TM_E_LIMIT when it is larger than cap_bytes (or than
// TM_RECORDING_PAYLOAD_MAX): nothing is written then.
TM_NODISCARD tm_status tm_recording_add_blob(tm_ctx *ctx, tm_recording *rec,
                                             const tm_recording_blob *blob, size_t cap_bytes);

// The source text of a rule file that runs, so that a replay can show what ran.
TM_NODISCARD tm_status tm_recording_add_rules(tm_ctx *ctx, tm_recording *rec, const char *file_name,
                                              const char *text);

// Hands everything to the kernel. TM_E_IO when the disk refuses (full): the data is kept, up to 8
// MiB, and tried again by the next flush; beyond that samples are dropped and counted, all else is
// kept.
TM_NODISCARD tm_status tm_recording_flush(tm_ctx *ctx, tm_recording *rec);

tm_recording_stats tm_recording_get_stats(const tm_recording *rec);

#endif
