// Bytes, durations, percents, counts: one parser, one printer, the same for C, Lua and the CLI.
#ifndef TM_BASE_UNITS_H
#define TM_BASE_UNITS_H

#include "base/ctx.h"

typedef enum tm_unit {
  TM_UNIT_NONE,  // text, or a number without unit
  TM_UNIT_COUNT, // things
  TM_UNIT_BYTES, // printed in powers of 1024: 1.4 GiB
  TM_UNIT_NS,    // durations, printed as 3.2 ms, 4m 10s, 2h 5m
  TM_UNIT_RATIO, // 0.15 printed as 15 %
  TM_UNIT_BYTES_PER_SECOND,
  TM_UNIT_COUNT_PER_SECOND,
  TM_UNIT_TIME, // nanoseconds since the epoch, printed as a local time
} tm_unit;

// "512MB", "8MiB", "1.5G", "100 kB": all powers of 1024, as everywhere in the field. A bare number
// is refused (TM_E_ARG) unless it is 0: whoever means bytes says so ("100B").
TM_NODISCARD tm_status tm_parse_bytes(tm_ctx *ctx, const char *text, uint64_t *out_bytes);

// "10s", "250ms", "1h30m", "2d". A bare number is refused unless 0.
TM_NODISCARD tm_status tm_parse_duration(tm_ctx *ctx, const char *text, uint64_t *out_ns);

// "15%" or "0.15".
TM_NODISCARD tm_status tm_parse_ratio(tm_ctx *ctx, const char *text, double *out_ratio);

// Writes value for people into buf (always terminated); returns buf. Three significant digits.
const char *tm_format_value(char *buf, size_t size, tm_unit unit, double value);

// The unit's word in JSON and Lua: "bytes", "ns", "count", "ratio", "bytes/s", "count/s", "time",
// "".
const char *tm_unit_name(tm_unit unit);
tm_unit tm_unit_by_name(const char *name);

#endif
