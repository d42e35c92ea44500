// floors: read
// Any bytes as a recording: once as they are, once with the checksums made right, so that mutations
// reach what stands behind them.
#include "base/cursor.h"
#include "read/recording.h"

#include <stdlib.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static tm_status on_text(void *ud, const char *text) {
  *(size_t *)ud += strlen(text);
  return TM_OK;
}

static tm_status on_target(void *ud, uint32_t number, const tm_recording_target *t) {
  *(size_t *)ud +=
      number + strlen(t->id) + strlen(t->name) + strlen(t->command) + strlen(t->labels_json);
  return TM_OK;
}

static tm_status on_series(void *ud, uint32_t number, const tm_recording_series *s) {
  *(size_t *)ud += number + strlen(s->metric) + strlen(s->key) + strlen(s->unit);
  return TM_OK;
}

static tm_status on_sample(void *ud, uint32_t series, int64_t time_ns, double value) {
  *(size_t *)ud += series + (time_ns > 0) + (value > 0);
  return TM_OK;
}

static tm_status on_blob(void *ud, const tm_recording_blob *blob) {
  const uint8_t *bytes = blob->data;
  for (size_t i = 0; i < blob->size; i++) *(size_t *)ud += bytes[i];
  return TM_OK;
}

static tm_status on_rules(void *ud, const char *name, const char *text) {
  *(size_t *)ud += strlen(name) + strlen(text);
  return TM_OK;
}

static void mend_checksums(uint8_t *bytes, size_t size) {
  tm_cursor c = tm_cursor_of(bytes, size, 0);
  tm_get_bytes(&c, TM_RECORDING_MAGIC_SIZE);
  while (c.ok && tm_cursor_left(&c)) {
    size_t start = (size_t)tm_cursor_offset(&c);
    tm_get_u8(&c);
    uint64_t payload = tm_get_varint(&c);
    if (payload > tm_cursor_left(&c)) return;
    tm_get_bytes(&c, (size_t)payload);
    size_t end = (size_t)tm_cursor_offset(&c);
    if (!tm_get_bytes(&c, 4)) return;
    uint32_t sum = (uint32_t)crc32_z(0, bytes + start, end - start);
    for (int i = 0; i < 4; i++) bytes[end + (size_t)i] = (uint8_t)(sum >> (8 * i));
  }
}

static void read_once(const uint8_t *bytes, size_t size) {
  tm_ctx ctx;
  size_t seen = 0;
  tm_recording_summary summary;
  const tm_recording_visitor visitor = {&seen,     on_text, on_target, on_series,
                                        on_sample, on_text, on_blob,   on_rules};
  tm_ctx_init(&ctx, NULL);
  ctx.max_output_bytes = 8 * 1024 * 1024;
  tm_status status = tm_recording_read(&ctx, bytes, size, &visitor, &summary);
  if (status == TM_OK && summary.read_bytes > size) abort();
  if ((summary.cut || summary.damaged) && !summary.message[0]) abort();
  tm_ctx_fini(&ctx);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  read_once(data, size);
  uint8_t *mended = malloc(size + 1);
  if (!mended) return 0;
  if (size) memcpy(mended, data, size);
  mend_checksums(mended, size);
  read_once(mended, size);
  free(mended);
  return 0;
}
