// floors: live write
// Any bytes as what an app answers when a rule asks for it. First byte: the metric. What is taken
// is a whole profile.
#include "live/shot_read.h"
#include "write/pprof.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const metrics[] = {"pprof.heap", "go.goroutines", "trace.go?seconds=2",
                                        "trace.chrome"};
  tm_ctx ctx;
  tm_profile *profile = NULL;
  tm_bytes out = {0};
  if (!size) return 0;
  tm_ctx_init(&ctx, NULL);
  ctx.max_output_bytes = 1 << 24;
  tm_status status =
      tm_shot_read(&ctx, metrics[data[0] % TM_COUNT(metrics)], data + 1, size - 1, &profile);
  if (status != TM_OK && (profile || !ctx.error.message[0])) abort();
  if (status == TM_OK && tm_write_pprof(&ctx, profile, false, &out) != TM_OK) abort();
  tm_bytes_free(&ctx, &out);
  tm_profile_free(profile);
  tm_ctx_fini(&ctx);
  return 0;
}
