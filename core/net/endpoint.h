// Where an app's profiles, counters and metrics stand, seen from the one address that people give.
#ifndef TM_NET_ENDPOINT_H
#define TM_NET_ENDPOINT_H

#include "net/url.h"

typedef enum tm_endpoint_place {
  TM_ENDPOINT_PROFILES, // <prefix>/debug/pprof/<name>
  TM_ENDPOINT_VARS,     // <prefix>/debug/vars (expvar)
  TM_ENDPOINT_METRICS,  // <prefix>/metrics (OpenMetrics)
} tm_endpoint_place;

// The whole address of a place. endpoint: as tm_url_parse reads it, with or without /debug/pprof
// (any path that ends in "pprof" is taken as it is); its query (a token) is kept. name and query
// belong to profiles: "heap", "gc=1"; NULL = none. TM_E_ARG as tm_url_parse.
TM_NODISCARD tm_status tm_endpoint_address(tm_ctx *ctx, const char *endpoint,
                                           tm_endpoint_place place, const char *name,
                                           const char *query, char out[TM_URL_FORMAT_MAX]);

#endif
