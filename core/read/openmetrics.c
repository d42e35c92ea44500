// One line at a time: name, labels between braces (quoted values may hold anything), value. Both
// formats share what matters here. Linear in the input.
#include "read/counters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct line {
  const char *at, *end;
} line;

static bool is_name(char c, bool first) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':'
         || (!first && c >= '0' && c <= '9');
}

static void skip_blanks(line *l) {
  while (l->at < l->end && (*l->at == ' ' || *l->at == '\t')) l->at++;
}

static bool take_name(line *l, tm_counter *out) {
  const char *start = l->at;
  while (l->at < l->end && is_name(*l->at, l->at == start)) l->at++;
  out->name = start;
  out->name_size = (size_t)(l->at - start);
  return out->name_size > 0;
}

// Up to the brace that stands outside of quotes.
static bool take_labels(line *l, tm_counter *out) {
  bool quoted = false;
  out->labels = "";
  out->labels_size = 0;
  if (l->at == l->end || *l->at != '{') return true;
  const char *start = ++l->at;
  for (; l->at < l->end; l->at++) {
    if (quoted && *l->at == '\\' && l->at + 1 < l->end) {
      l->at++;
    } else if (*l->at == '"') {
      quoted = !quoted;
    } else if (*l->at == '}' && !quoted) {
      out->labels = start;
      out->labels_size = (size_t)(l->at - start);
      if (out->labels_size && start[out->labels_size - 1] == ',') out->labels_size--;
      l->at++;
      return true;
    }
  }
  return false;
}

// A number as both formats write it: decimal, or +Inf, -Inf, NaN, which give NAN here.
static bool take_value(line *l, double *out) {
  char text[64], *stop;
  const char *start = l->at;
  while (l->at < l->end && *l->at != ' ' && *l->at != '\t') l->at++;
  size_t size = (size_t)(l->at - start);
  if (!size || size >= sizeof text) return false;
  memcpy(text, start, size);
  text[size] = '\0';
  *out = NAN;
  const char *bare = text + (text[0] == '+' || text[0] == '-');
  if (strcmp(bare, "Inf") == 0 || strcmp(bare, "NaN") == 0) return true;
  if (strspn(bare, "0123456789.eE+-") != strlen(bare)) return false;
  *out = strtod(text, &stop);
  return *stop == '\0';
}

// {"any name",labels}: names beyond letters stand first between the braces.
static bool take_quoted_name(tm_counter *counter) {
  const char *start = counter->labels + 1, *end = counter->labels + counter->labels_size;
  const char *stop = start;
  if (!counter->labels_size || *counter->labels != '"') return false;
  while (stop < end && *stop != '"') stop += *stop == '\\' ? 2 : 1;
  if (stop >= end) return false;
  counter->name = start;
  counter->name_size = (size_t)(stop - start);
  if (++stop < end && *stop == ',') stop++;
  counter->labels = stop;
  counter->labels_size = (size_t)(end - stop);
  return counter->name_size > 0;
}

static bool read_line(line l, tm_counter_fn fn, void *ud) {
  tm_counter counter = {0};
  skip_blanks(&l);
  if (l.at == l.end || *l.at == '#') return true;
  bool named = take_name(&l, &counter);
  skip_blanks(&l);
  if (!take_labels(&l, &counter) || (!named && !take_quoted_name(&counter))) return false;
  skip_blanks(&l);
  if (!take_value(&l, &counter.value)) return false;
  counter.unit = tm_counter_unit(counter.name, counter.name_size);
  if (isfinite(counter.value)) fn(ud, &counter);
  return true;
}

tm_status tm_read_metrics(tm_ctx *ctx, const void *data, size_t size, tm_counter_fn fn, void *ud) {
  const char *start = data, *at = start, *end = start + size;
  while (at < end) {
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    line l = {at, stop ? stop : end};
    if (l.end > l.at && l.end[-1] == '\r') l.end--;
    if (!read_line(l, fn, ud))
      return tm_fail(ctx, TM_E_FORMAT, (uint64_t)(at - start),
                     "no line of OpenMetrics: a name, labels and a value are expected");
    at = stop ? stop + 1 : end;
  }
  return TM_OK;
}
