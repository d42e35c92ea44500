// A path of the endpoint is <prefix>/debug/pprof, or <prefix>/pprof, or <prefix> alone: the two
// last names are cut off or added, the rest is joined.
#include "net/endpoint.h"

#include <stdio.h>
#include <string.h>

static size_t cut_slashes(const char *path, size_t size) {
  while (size && path[size - 1] == '/') size--;
  return size;
}

static bool ends_with(const char *path, size_t size, const char *word) {
  size_t n = strlen(word);
  return size >= n && memcmp(path + size - n, word, n) == 0;
}

// Puts path[0..size) + rest into the target, the query behind it.
static tm_status set_path(tm_ctx *ctx, tm_url *url, size_t size, const char *rest) {
  char path[TM_URL_PATH_MAX];
  const char *token = strchr(url->target, '?');
  int n = snprintf(path, sizeof path, "%.*s%s%s", (int)size, url->target, rest, token ? token : "");
  if (n >= (int)sizeof path)
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the endpoint's path is too long");
  memcpy(url->target, path, (size_t)n + 1);
  return TM_OK;
}

tm_status tm_endpoint_address(tm_ctx *ctx, const char *endpoint, tm_endpoint_place place,
                              const char *name, const char *query, char out[TM_URL_FORMAT_MAX]) {
  tm_url url;
  TM_TRY(tm_url_parse(ctx, endpoint, &url));
  size_t size = cut_slashes(url.target, strcspn(url.target, "?"));
  bool is_base = ends_with(url.target, size, "pprof");
  if (place == TM_ENDPOINT_PROFILES) {
    TM_TRY(set_path(ctx, &url, size, is_base ? "/" : "/debug/pprof/"));
    if (name) TM_TRY(tm_url_join(ctx, &url, name, query, &url));
  } else {
    if (is_base) size = cut_slashes(url.target, size - strlen("pprof"));
    if (place == TM_ENDPOINT_VARS) {
      TM_TRY(set_path(ctx, &url, size, is_base ? "/vars" : "/debug/vars"));
    } else {
      if (is_base && ends_with(url.target, size, "/debug")) size -= strlen("/debug");
      TM_TRY(set_path(ctx, &url, size, "/metrics"));
    }
  }
  tm_url_format(&url, out);
  return TM_OK;
}

static const char *own_address(const tm_endpoint *endpoint, tm_endpoint_place place) {
  const char *own = place == TM_ENDPOINT_VARS      ? endpoint->vars
                    : place == TM_ENDPOINT_METRICS ? endpoint->metrics
                                                   : NULL;
  return own && *own ? own : NULL;
}

bool tm_endpoint_has(const tm_endpoint *endpoint, tm_endpoint_place place) {
  return own_address(endpoint, place) || (endpoint->address && *endpoint->address);
}

tm_status tm_endpoint_page(tm_ctx *ctx, const tm_endpoint *endpoint, tm_endpoint_place place,
                           char out[TM_URL_FORMAT_MAX]) {
  const char *own = own_address(endpoint, place);
  tm_url url;
  if (!tm_endpoint_has(endpoint, place))
    return tm_fail(ctx, TM_E_ARG, TM_NO_OFFSET, "the app's address is not known");
  if (!own) return tm_endpoint_address(ctx, endpoint->address, place, NULL, NULL, out);
  TM_TRY(tm_url_parse(ctx, own, &url));
  tm_url_format(&url, out);
  return TM_OK;
}
