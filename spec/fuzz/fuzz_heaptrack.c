// floors: read analyze
// Any bytes as a heaptrack recording: read, read in part with an offset inside them, or refused;
// what is counted fits together.
#include "analyze/report.h"
#include "read/reader.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ALLOC_COUNT, ALLOC_SPACE, LIVE_COUNT, LIVE_SPACE, PEAK_SPACE, TEMPORARY, VALUES };

static void check(const tm_profile *p) {
  if (p->types.count != VALUES) abort();
  for (uint32_t i = 0; i < p->sample_count; i++) {
    const int64_t *v = &p->values.items[i * (size_t)VALUES];
    for (int k = 0; k < VALUES; k++)
      if (v[k] < 0) abort();
    if (v[LIVE_COUNT] > v[ALLOC_COUNT] || v[LIVE_SPACE] > v[ALLOC_SPACE]
        || v[PEAK_SPACE] > v[ALLOC_SPACE] || v[TEMPORARY] > v[ALLOC_COUNT])
      abort();
    for (uint32_t s = tm_profile_stack_begin(p, i); s < p->stack_end.items[i]; s++)
      if (p->stack.items[s] >= p->locations.count) abort();
  }
  for (size_t i = 0; i < p->locations.count; i++) {
    const tm_location *l = &p->locations.items[i];
    if (l->mapping != TM_PROFILE_NONE && l->mapping >= p->mappings.count) abort();
    if (l->line_begin > l->line_end || l->line_end > p->lines.count) abort();
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_snapshot s = {0};
  tm_ctx_init(&ctx, NULL);
  tm_status status = tm_read_buffer(&ctx, data, size, "heaptrack", &s);
  if (status != TM_OK && !*ctx.error.message) abort();
  if (s.model) check(s.model);
  tm_snapshot_fini(&s);
  tm_ctx_fini(&ctx);
  return 0;
}
