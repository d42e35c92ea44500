// floors: read analyze
// Answers for pprof_mutate: reads blocks of a 32-bit size and that many bytes from stdin, and
// prints "ok|no OFFSET FORMAT SIZE\n" and SIZE bytes for each: the raw report, or why it was
// refused.
#include "analyze/report.h"
#include "read/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer(tm_ctx *ctx, const void *data, size_t size) {
  tm_snapshot s = {0};
  tm_report_options o;
  tm_bytes text = {0};
  tm_report_options_init(&o);
  tm_status status = tm_read_buffer(ctx, data, size, NULL, &s);
  if (status == TM_OK) status = tm_report(ctx, s.model, "raw", &o, &text, NULL);
  const char *format = s.format ? s.format : "-";
  if (status == TM_OK) {
    printf("ok 0 %s %zu\n", format, text.size);
    fwrite(text.data, 1, text.size, stdout);
  } else {
    bool has_offset = ctx->error.offset_bytes != TM_NO_OFFSET;
    printf("no %lld %s %zu\n%s", has_offset ? (long long)ctx->error.offset_bytes : -1, format,
           strlen(ctx->error.message), ctx->error.message);
  }
  fflush(stdout);
  tm_bytes_free(ctx, &text);
  tm_snapshot_fini(&s);
}

int main(void) {
  uint8_t head[4];
  while (fread(head, 1, 4, stdin) == 4) {
    size_t size = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
    uint8_t *data = malloc(size + 1);
    if (!data || fread(data, 1, size, stdin) != size) return 1;
    tm_ctx ctx;
    tm_ctx_init(&ctx, NULL);
    ctx.max_output_bytes = UINT64_C(1) << 28;
    answer(&ctx, data, size);
    tm_ctx_fini(&ctx);
    free(data);
  }
  return 0;
}
