// Where an app's profiles, counters and metrics stand, seen from the one address that people give.
#ifndef TM_NET_ENDPOINT_H
#define TM_NET_ENDPOINT_H

#include "net/url.h"

typedef enum tm_endpoint_place {
  TM_ENDPOINT_PROFILES, // <prefix>/debug/pprof/<name>
  TM_ENDPOINT_VARS,     // <prefix>/debug/vars (expvar)
  TM_ENDPOINT_METRICS,  // <prefix>/metrics (OpenMetrics)
} tm_endpoint_place;

// How an app is asked: where, and with which words. NULL or "" = none.
typedef struct tm_endpoint {
  const char *address; // as tm_endpoint_address reads it
  const char *vars;    // the page of expvar when it stands elsewhere: taken as it is
  const char *metrics; // the same of OpenMetrics
  const char *headers; // "Name: value\n" lines, as tm_http_request's header_lines
  const char *ca_file; // https: PEM file of trusted roots
} tm_endpoint;

// True when there is an address for that place.
bool tm_endpoint_has(const tm_endpoint *endpoint, tm_endpoint_place place);

// The whole address of counters or metrics. TM_E_ARG as tm_url_parse, or when there is none.
TM_NODISCARD tm_status tm_endpoint_page(tm_ctx *ctx, const tm_endpoint *endpoint,
                                        tm_endpoint_place place, char out[TM_URL_FORMAT_MAX]);

// The whole address of a place. endpoint: as tm_url_parse reads it, with or without /debug/pprof
// (any path that ends in "pprof" is taken as it is); its query (a token) is kept. name and query
// belong to profiles: "heap", "gc=1"; NULL = none. TM_E_ARG as tm_url_parse.
TM_NODISCARD tm_status tm_endpoint_address(tm_ctx *ctx, const char *endpoint,
                                           tm_endpoint_place place, const char *name,
                                           const char *query, char out[TM_URL_FORMAT_MAX]);

#endif
