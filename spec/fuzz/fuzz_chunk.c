// floors: model
// Any bytes as a chunk; what was read is packed again and must give the same samples.
#include "model/chunk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_chunk again;
  tm_chunk_reader reader, second;
  int64_t time_ns, second_ns;
  double value, second_value;
  tm_ctx_init(&ctx, NULL);
  tm_chunk_init(&again, 1);
  tm_chunk_reader_init(&reader, data, size);
  while (tm_chunk_next(&reader, &time_ns, &value))
    if (tm_chunk_append(&ctx, &again, time_ns, value) != TM_OK) abort();
  tm_chunk_reader_init(&reader, data, size);
  tm_chunk_reader_init(&second, again.bytes.data, again.bytes.size);
  while (tm_chunk_next(&reader, &time_ns, &value)) {
    if (!tm_chunk_next(&second, &second_ns, &second_value)) abort();
    if (time_ns != second_ns || memcmp(&value, &second_value, sizeof value) != 0) abort();
  }
  tm_chunk_fini(&ctx, &again);
  tm_ctx_fini(&ctx);
  return 0;
}
