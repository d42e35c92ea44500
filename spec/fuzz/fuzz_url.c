// floors: net
// Any text as an address, and as a Location seen from it. What is read must be sendable, and must
// read the same when written again.
#include "net/url.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(tm_ctx *ctx, const tm_url *url) {
  char text[TM_URL_FORMAT_MAX], host[TM_URL_ORIGIN_MAX];
  tm_url again;
  if (url->target[0] != '/' || !url->host[0]) abort();
  for (const char *p = url->target; *p; p++)
    if (*p <= ' ' || *p >= 0x7f || *p == '#') abort();
  for (const char *p = tm_url_host_header(url, host); *p; p++)
    if (*p <= ' ' || *p >= 0x7f) abort();
  if (tm_url_parse(ctx, tm_url_format(url, text), &again) != TM_OK) abort();
  if (!tm_url_same_origin(url, &again) || strcmp(url->target, again.target) != 0) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_url url, next;
  char *text = malloc(size + 1);
  if (!text) return 0;
  if (size) memcpy(text, data, size);
  text[size] = '\0';
  char *location = strchr(text, '\n'); // a second line is a Location and a name to join
  if (location) *location++ = '\0';
  tm_ctx_init(&ctx, NULL);
  if (tm_url_parse(&ctx, text, &url) == TM_OK) {
    check(&ctx, &url);
    if (location && tm_url_resolve(&ctx, &url, location, &next) == TM_OK) check(&ctx, &next);
    tm_ctx_clear(&ctx);
    if (location && tm_url_join(&ctx, &url, location, "a=1", &next) == TM_OK) check(&ctx, &next);
  } else if (!ctx.error.message[0]) {
    abort();
  }
  tm_ctx_fini(&ctx);
  free(text);
  return 0;
}
