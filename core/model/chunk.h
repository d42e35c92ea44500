// A chunk: (time, value) samples of one series packed into bytes, appended one at a time, whole
// after each append. Lossless for every double (NaN payloads and -0.0 too) and, with tick 1, for
// every time. An idle series costs a byte per 128 samples.
//
// Layout: 0x01 (version), varint tick_ns, then tokens:
//   0nnnnnnn             n + 1 samples as predicted
//   1tttvvvv time value  one sample. ttt: bytes of the time part (0 = as predicted, 7 = 8 bytes).
//                        vvvv: 0 as predicted; 1-7 bytes of the integer part; 8 same bits as
//                        before; 9 XOR part; 10 same integer as the last one; others are errors.
// Time part: zigzag of (step - step before), in ticks, little-endian. Integer part: zigzag of
// (integer - last integer). XOR part: one byte lead << 4 | n, then n bytes of (bits ^ bits before)
// without its lead zero bytes at the top and its zero bytes at the bottom, little-endian.
// Prediction: the step of time is the one before; an integer moves by the same difference as
// before; anything else repeats its bits. Integers are doubles within 2^53 that are whole.
#ifndef TM_MODEL_CHUNK_H
#define TM_MODEL_CHUNK_H

#include "base/bytes.h"
#include "base/cursor.h"

// What both ends know after a sample; the next one is coded against it.
typedef struct tm_chunk_state {
  uint64_t ticks, step;   // time of the last sample in ticks, and its step from the one before
  uint64_t bits;          // of the last value
  int64_t integer, moved; // last whole value, and how it differed from the whole one before
  bool whole;             // the last value was whole
} tm_chunk_state;

typedef struct tm_chunk {
  tm_bytes bytes; // always complete: may be written out between appends
  uint32_t count;
  int64_t first_ns, last_ns; // as coded, on the tick; undefined while count is 0
  uint64_t tick_ns;
  size_t run_at; // index of a run token that may still grow; 0 = none
  tm_chunk_state state;
} tm_chunk;

// Begins an empty chunk in the caller's storage. Times are cut down to multiples of tick_ns;
// 1 (or 0) keeps them exact. Nothing is allocated before the first append.
void tm_chunk_init(tm_chunk *chunk, uint64_t tick_ns);
void tm_chunk_fini(tm_ctx *ctx, tm_chunk *chunk);

// Adds a sample. Times may come in any order; regular ones are cheap. TM_E_NOMEM, or TM_E_LIMIT
// past chunk->bytes.cap_bytes: the chunk stays as it was.
TM_NODISCARD tm_status tm_chunk_append(tm_ctx *ctx, tm_chunk *chunk, int64_t time_ns, double value);

typedef struct tm_chunk_reader {
  tm_cursor in; // in.ok is false once the bytes turned out to be damaged
  uint64_t tick_ns;
  uint32_t run_left;
  tm_chunk_state state;
} tm_chunk_reader;

// Reads size bytes in place. A blob of n bytes holds at most 128 n samples. Damage is not an error
// here but the end of the samples, with in.ok = false.
void tm_chunk_reader_init(tm_chunk_reader *reader, const void *bytes, size_t size);

// The next sample; false at the end or at damage.
bool tm_chunk_next(tm_chunk_reader *reader, int64_t *out_time_ns, double *out_value);

#endif
