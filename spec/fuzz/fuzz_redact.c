// floors: write
// Any bytes as a heap dump to be redacted: what is taken keeps its length (V8: is not longer), and
// doing it twice changes nothing more.
#include "base/bytes.h"
#include "write/redact.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct target {
  tm_ctx *ctx;
  tm_bytes bytes;
} target;

static tm_status take(void *ud, const void *data, size_t size) {
  target *t = ud;
  return tm_bytes_append(t->ctx, &t->bytes, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  target once = {&ctx, {0}}, twice = {&ctx, {0}};
  tm_redacted first, second;
  tm_status status = tm_redact(&ctx, data, size, take, &once, &first);
  if ((status != TM_OK) != (ctx.error.message[0] != '\0')) abort();
  if (status == TM_OK) {
    bool same_length = strcmp(first.format, "v8heap") != 0;
    if (same_length ? once.bytes.size != size : once.bytes.size > size) abort();
    status = tm_redact(&ctx, once.bytes.data, once.bytes.size, take, &twice, &second);
    if (status != TM_OK || first.blanked_count != second.blanked_count) abort();
    if (twice.bytes.size != once.bytes.size
        || memcmp(twice.bytes.data, once.bytes.data, once.bytes.size) != 0)
      abort();
  }
  tm_bytes_free(&ctx, &once.bytes);
  tm_bytes_free(&ctx, &twice.bytes);
  tm_ctx_fini(&ctx);
  return 0;
}
