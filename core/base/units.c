// Units: a table of suffixes each for bytes and durations, a loop over "number suffix" pairs.
#include "base/units.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct suffix {
  const char *word;
  double factor;
} suffix;

static const suffix byte_suffixes[] = {
    {"b", 1},       {"k", 0x1p10},   {"kb", 0x1p10}, {"kib", 0x1p10}, {"m", 0x1p20},
    {"mb", 0x1p20}, {"mib", 0x1p20}, {"g", 0x1p30},  {"gb", 0x1p30},  {"gib", 0x1p30},
    {"t", 0x1p40},  {"tb", 0x1p40},  {"tib", 0x1p40}};
static const suffix duration_suffixes[] = {
    {"ns", 1},   {"us", 1e3},   {"µs", 1e3},   {"ms", 1e6},    {"s", 1e9},
    {"m", 60e9}, {"min", 60e9}, {"h", 3600e9}, {"d", 86400e9}, {"w", 604800e9}};

// Reads "number suffix" once; answers 0 at a mistake. *factor is 0 for a bare number.
static const char *read_pair(const char *at, const suffix *table, size_t count, double *number,
                             double *factor) {
  char *end;
  while (*at == ' ') at++;
  if (!isdigit((unsigned char)*at) && *at != '.') return NULL;
  for (const char *p = at; *p; p++)
    if (*p == 'x' || *p == 'X') return NULL; // strtod would take hexadecimal
  *number = strtod(at, &end);
  if (end == at || !isfinite(*number)) return NULL;
  while (*end == ' ') end++;
  char word[8];
  size_t n = 0;
  while (end[n] && !isdigit((unsigned char)end[n]) && end[n] != ' ' && end[n] != '.'
         && n + 1 < sizeof word) {
    word[n] = (char)tolower((unsigned char)end[n]);
    n++;
  }
  word[n] = '\0';
  *factor = 0;
  for (size_t i = 0; i < count; i++)
    if (strcmp(word, table[i].word) == 0) *factor = table[i].factor;
  if (n > 0 && *factor == 0) return NULL;
  end += n;
  while (*end == ' ') end++;
  return end;
}

tm_status tm_parse_bytes(tm_ctx *ctx, const char *text, uint64_t *out_bytes) {
  double number, factor;
  const char *end = read_pair(text, byte_suffixes, TM_COUNT(byte_suffixes), &number, &factor);
  if (!end || *end)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "'%s' is no size; write it as 512MB or 8KiB", text);
  if (factor == 0 && number != 0)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "'%s' has no unit; write %sB, %sKB or %sMB", text,
                   text, text, text);
  double bytes = number * factor;
  if (bytes >= 0x1p63)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "'%s' is larger than 8 EiB", text);
  *out_bytes = (uint64_t)(bytes + 0.5);
  return TM_OK;
}

tm_status tm_parse_duration(tm_ctx *ctx, const char *text, uint64_t *out_ns) {
  double total = 0;
  const char *at = text;
  do {
    double number, factor;
    at = read_pair(at, duration_suffixes, TM_COUNT(duration_suffixes), &number, &factor);
    if (!at)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET,
                     "'%s' is no duration; write it as 250ms, 10s, 1h30m or 2d", text);
    if (factor == 0 && number != 0)
      return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "'%s' has no unit; write %ss or %sm", text, text,
                     text);
    total += number * factor;
  } while (*at);
  if (total >= 0x1p63)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "'%s' is longer than 292 years", text);
  *out_ns = (uint64_t)(total + 0.5);
  return TM_OK;
}

tm_status tm_parse_ratio(tm_ctx *ctx, const char *text, double *out_ratio) {
  char *end;
  double number = strtod(text, &end);
  if (end == text || !isfinite(number))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "'%s' is no ratio; write 15%% or 0.15", text);
  while (*end == ' ') end++;
  if (*end == '%') {
    number /= 100;
    end++;
  }
  if (*end)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "'%s' is no ratio; write 15%% or 0.15", text);
  *out_ratio = number;
  return TM_OK;
}

static void three_digits(char *buf, size_t size, double value, const char *unit) {
  double magnitude = fabs(value);
  int decimals = magnitude >= 99.95 || magnitude == floor(magnitude) ? 0
                 : magnitude >= 9.995                                ? 1
                                                                     : 2;
  snprintf(buf, size, "%.*f%s%s", decimals, value, *unit ? " " : "", unit);
}

static void format_bytes(char *buf, size_t size, double value, const char *per) {
  static const char *const words[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t i = 0;
  while (fabs(value) >= 1023.5 && i + 1 < TM_COUNT(words)) {
    value /= 1024;
    i++;
  }
  char word[8];
  snprintf(word, sizeof word, "%s%s", words[i], per);
  if (i == 0) value = round(value);
  three_digits(buf, size, value, word);
}

static void format_duration(char *buf, size_t size, double ns) {
  double s = fabs(ns) / 1e9;
  const char *sign = ns < 0 ? "-" : "";
  if (s <= 0)
    snprintf(buf, size, "0 s");
  else if (s < 1e-6)
    snprintf(buf, size, "%s%.0f ns", sign, s * 1e9);
  else if (s < 1e-3)
    three_digits(buf, size, ns / 1e3, "us");
  else if (s < 1)
    three_digits(buf, size, ns / 1e6, "ms");
  else if (s < 59.95)
    three_digits(buf, size, ns / 1e9, "s");
  else if (s < 3599.5)
    snprintf(buf, size, "%s%dm %02ds", sign, (int)((s + 0.5) / 60), (int)(s + 0.5) % 60);
  else if (s < 172800)
    snprintf(buf, size, "%s%dh %02dm", sign, (int)((s + 30) / 3600), (int)((s + 30) / 60) % 60);
  else if (s < 86400.0 * 36500)
    snprintf(buf, size, "%s%dd %02dh", sign, (int)(s / 86400), (int)(s / 3600) % 24);
  else
    snprintf(buf, size, "%s> 100 years", sign);
}

static void format_time(char *buf, size_t size, double ns) {
  char text[32] = "-"; // years beyond int64_t nanoseconds are nobody's clock
  struct tm parts;
  if (fabs(ns) < 0x1p63) {
    time_t seconds = (time_t)(ns / 1e9);
    if (localtime_r(&seconds, &parts)) strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  }
  snprintf(buf, size, "%s", text);
}

const char *tm_format_value(char *buf, size_t size, tm_unit unit, double value) {
  if (isnan(value)) {
    snprintf(buf, size, "-");
    return buf;
  }
  if (isinf(value)) {
    snprintf(buf, size, value > 0 ? "never" : "-inf");
    return buf;
  }
  switch (unit) {
  case TM_UNIT_BYTES:
    format_bytes(buf, size, value, "");
    break;
  case TM_UNIT_BYTES_PER_SECOND:
    format_bytes(buf, size, value, "/s");
    break;
  case TM_UNIT_NS:
    format_duration(buf, size, value);
    break;
  case TM_UNIT_RATIO:
    three_digits(buf, size, value * 100, "%");
    break;
  case TM_UNIT_COUNT_PER_SECOND:
    three_digits(buf, size, value, "/s");
    break;
  case TM_UNIT_TIME:
    format_time(buf, size, value);
    break;
  case TM_UNIT_COUNT:
  case TM_UNIT_NONE:
    if (value == floor(value) && fabs(value) < 1e15)
      snprintf(buf, size, "%.0f", value);
    else
      snprintf(buf, size, "%.4g", value);
    break;
  }
  return buf;
}

static const char *const unit_names[] = {[TM_UNIT_NONE] = "",
                                         [TM_UNIT_COUNT] = "count",
                                         [TM_UNIT_BYTES] = "bytes",
                                         [TM_UNIT_NS] = "ns",
                                         [TM_UNIT_RATIO] = "ratio",
                                         [TM_UNIT_BYTES_PER_SECOND] = "bytes/s",
                                         [TM_UNIT_COUNT_PER_SECOND] = "count/s",
                                         [TM_UNIT_TIME] = "time"};

const char *tm_unit_name(tm_unit unit) {
  return (size_t)unit < TM_COUNT(unit_names) ? unit_names[unit] : "";
}

tm_unit tm_unit_by_name(const char *name) {
  for (size_t i = 0; i < TM_COUNT(unit_names); i++)
    if (strcmp(name, unit_names[i]) == 0) return (tm_unit)i;
  return TM_UNIT_NONE;
}
