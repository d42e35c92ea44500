// floors: read
// Any bytes as expvar and as OpenMetrics: no read outside, names within their bound, finite values.
#include "read/counters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(void *ud, const tm_counter *counter) {
  uint64_t *sum = ud;
  if (!counter->name_size || !isfinite(counter->value)) abort();
  for (size_t i = 0; i < counter->name_size; i++) *sum += (uint8_t)counter->name[i];
  for (size_t i = 0; i < counter->labels_size; i++) *sum += (uint8_t)counter->labels[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  typedef tm_status (*read_fn)(tm_ctx * ctx, const void *data, size_t size, tm_counter_fn fn,
                               void *ud);
  static const read_fn readers[] = {tm_read_expvar, tm_read_metrics, tm_read_pprof_index};
  uint8_t *copy = malloc(size ? size : 1); // so that ASan sees a read behind it
  if (!copy) return 0;
  memcpy(copy, data, size);
  for (size_t i = 0; i < TM_COUNT(readers); i++) {
    tm_ctx ctx;
    uint64_t sum = 0;
    tm_ctx_init(&ctx, NULL);
    tm_status status = readers[i](&ctx, copy, size, check, &sum);
    if (status != TM_OK && !ctx.error.message[0]) abort();
    if (status == TM_E_FORMAT && ctx.error.offset_bytes != TM_NO_OFFSET
        && ctx.error.offset_bytes > size)
      abort();
    tm_ctx_fini(&ctx);
  }
  free(copy);
  return 0;
}
