// Values as pprof users read them: units by pprof's names and factors (kB = 1024 B), so that every
// figure is the one that they know.
#ifndef TM_ANALYZE_PPROF_UNITS_H
#define TM_ANALYZE_PPROF_UNITS_H

#include <stddef.h>
#include <stdint.h>

typedef struct tm_scaled {
  double value;
  const char *unit; // a static name, or one of the arguments
} tm_scaled;

// value in `from` as `to`; "minimum" and "auto" choose the largest unit that keeps it >= 1. A unit
// of another family gives the family's default; unknown units stay as they are.
tm_scaled tm_pprof_scale(int64_t value, const char *from, const char *to);

// "1.50MB", "0": two decimals unless whole.
void tm_pprof_label(char *buf, size_t size, int64_t value, const char *from, const char *to);

// "  100%", "12.34%", " 0.5%": at least two digits.
void tm_pprof_percent(char *buf, size_t size, int64_t value, int64_t total);

// The whole part; what does not fit gives INT64_MIN, as Go's conversion does on amd64.
int64_t tm_pprof_whole(double value);

#endif
