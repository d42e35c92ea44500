// Series for tests, written in promtool's notation with sizes: "5s 500M+1Mx360 860Mx360 _x3 stale".
//   PERIOD            first word: time between samples
//   A+BxN, A-BxN      A, then N more steps of B;   AxN: A, then N times A again;   A: one sample
//   _, _xN            one or N samples left out;   stale: nothing more until the next number
// Numbers may carry K, M, G, T (powers of 1024) or %. A metric may name a key:
// "proc.handles{socket}".
#ifndef TM_HOST_TESTFEED_H
#define TM_HOST_TESTFEED_H

#include "base/ctx.h"

typedef struct tm_feed_sample {
  int64_t time_ns;
  double value;
  uint32_t metric; // index in metrics
} tm_feed_sample;

typedef struct tm_feed_metric {
  char name[64], key[64];
} tm_feed_metric;

typedef struct tm_feed {
  tm_feed_sample *samples;
  size_t count, room;
  tm_feed_metric metrics[32];
  size_t metric_count;
} tm_feed;

// Adds one metric's series, from start_ns on. TM_E_RULE names the word that is wrong; at most 1 M
// samples in all.
TM_NODISCARD tm_status tm_feed_parse(tm_ctx *ctx, tm_feed *feed, const char *metric,
                                     const char *text, int64_t start_ns);

// Orders all samples by time.
TM_NODISCARD tm_status tm_feed_sort(tm_ctx *ctx, tm_feed *feed);
void tm_feed_free(tm_ctx *ctx, tm_feed *feed);

#endif
