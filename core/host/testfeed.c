// One word at a time; each word is a number, then perhaps a step, then perhaps a count.
#include "host/testfeed.h"

#include "base/units.h"
#include "base/vec.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SAMPLES = 1000000 };

static tm_status add(tm_ctx *ctx, tm_feed *feed, int64_t time_ns, double value, uint32_t metric) {
  if (feed->count >= MAX_SAMPLES)
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "a feed may have %d samples", MAX_SAMPLES);
  tm_feed_sample sample = {time_ns, value, metric};
  TM_VEC(tm_feed_sample) v = {feed->samples, feed->count, feed->room};
  TM_TRY(tm_vec_push(ctx, &v, sample));
  feed->samples = v.items;
  feed->count = v.count;
  feed->room = v.room;
  return TM_OK;
}

// A number with a size suffix; *end is behind it. NaN when there is none.
static double number(const char *text, char **end) {
  bool zero = text[0] == '0' && text[1] == 'x'; // so many zeros, not a number in hexadecimal
  double value = zero ? 0 : strtod(text, end);
  if (zero) *end = (char *)(uintptr_t)text + 1;
  if (*end == text) return NAN;
  static const char suffixes[] = "KMGT";
  const char *at = **end ? strchr(suffixes, **end) : NULL;
  if (at) {
    for (const char *s = suffixes; s <= at; s++) value *= 1024;
    (*end)++;
    if (**end == 'B') (*end)++;
  } else if (**end == '%') {
    value /= 100;
    (*end)++;
  }
  return value;
}

static bool count_of(const char *text, size_t *out) {
  if (*text == '\0') {
    *out = 0;
    return true;
  }
  if (*text != 'x' || !isdigit((unsigned char)text[1])) return false;
  char *end;
  unsigned long long n = strtoull(text + 1, &end, 10);
  *out = (size_t)n;
  return *end == '\0' && n <= MAX_SAMPLES;
}

typedef struct position {
  int64_t time_ns, step_ns;
  uint32_t metric;
} position;

static tm_status add_word(tm_ctx *ctx, tm_feed *feed, const char *word, position *at) {
  size_t n = 0;
  if (strcmp(word, "stale") == 0) return TM_OK;
  if (word[0] == '_' && count_of(word + 1, &n)) {
    at->time_ns += at->step_ns * (int64_t)(n ? n : 1);
    return TM_OK;
  }
  char *end;
  double value = number(word, &end), step = 0;
  if (*end == '+' || *end == '-') {
    double sign = *end == '-' ? -1 : 1;
    char *rest;
    step = sign * number(end + 1, &rest);
    end = rest;
  }
  if (value != value || step != step || !count_of(end, &n))
    return tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET,
                   "feed: '%s' is no sample; write 500M, 500M+1Mx60, 500Mx60, _ or _x5", word);
  for (size_t i = 0; i <= n; i++) {
    TM_TRY(add(ctx, feed, at->time_ns, value + step * (double)i, at->metric));
    at->time_ns += at->step_ns;
  }
  return TM_OK;
}

static tm_status add_metric(tm_ctx *ctx, tm_feed *feed, const char *metric) {
  if (feed->metric_count == TM_COUNT(feed->metrics))
    return tm_fail(ctx, TM_E_LIMIT, TM_NO_OFFSET, "a feed may have %zu metrics",
                   TM_COUNT(feed->metrics));
  tm_feed_metric *m = &feed->metrics[feed->metric_count];
  *m = (tm_feed_metric){{0}, {0}};
  const char *brace = strchr(metric, '{');
  size_t name = brace ? (size_t)(brace - metric) : strlen(metric);
  size_t key = brace ? strlen(brace) : 0;
  if (name == 0 || name >= sizeof m->name || key >= sizeof m->key
      || (brace && brace[key - 1] != '}'))
    return tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET,
                   "feed: '%s' is no metric; write proc.rss or proc.handles{socket}", metric);
  memcpy(m->name, metric, name);
  if (key > 2) memcpy(m->key, brace + 1, key - 2);
  feed->metric_count++;
  return TM_OK;
}

tm_status tm_feed_parse(tm_ctx *ctx, tm_feed *feed, const char *metric, const char *text,
                        int64_t start_ns) {
  TM_TRY(add_metric(ctx, feed, metric));
  position at = {.time_ns = start_ns, .metric = (uint32_t)feed->metric_count - 1};
  while (*text) {
    while (isspace((unsigned char)*text)) text++;
    size_t length = strcspn(text, " \t\r\n");
    char word[64];
    if (length >= sizeof word)
      return tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET, "feed: '%.60s...' is no sample", text);
    memcpy(word, text, length);
    word[length] = '\0';
    text += length;
    if (!length) break;
    if (at.step_ns) {
      TM_TRY(add_word(ctx, feed, word, &at));
      continue;
    }
    uint64_t step;
    TM_TRY(tm_parse_duration(ctx, word, &step));
    if (!step)
      return tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET,
                     "feed: the first word must be a period such as 5s");
    at.step_ns = (int64_t)step;
  }
  return TM_OK;
}

static int by_time(const void *a, const void *b) {
  const tm_feed_sample *x = a, *y = b;
  if (x->time_ns != y->time_ns) return x->time_ns < y->time_ns ? -1 : 1;
  return x->metric < y->metric ? -1 : x->metric > y->metric;
}

tm_status tm_feed_sort(tm_ctx *ctx, tm_feed *feed) {
  if (!feed->count) return tm_fail(ctx, TM_E_RULE, TM_NO_OFFSET, "the feed has no samples");
  qsort(feed->samples, feed->count, sizeof *feed->samples, by_time);
  return TM_OK;
}

void tm_feed_free(tm_ctx *ctx, tm_feed *feed) {
  tm_free(ctx, feed->samples, feed->room * sizeof *feed->samples);
  *feed = (tm_feed){0};
}
