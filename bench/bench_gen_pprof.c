// floors: base
// Writes a synthetic raw profile for benches: gen_pprof SAMPLES LOCATIONS FUNCTIONS DEPTH > file.
// Stacks share their root-side half in groups, as real ones do; numbers come from a fixed seed.
#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 88172645463325252u;

static uint64_t next_random(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static tm_status put_int(tm_ctx *ctx, tm_bytes *out, uint32_t field, uint64_t value) {
  TM_TRY(tm_bytes_varint(ctx, out, (uint64_t)field << 3));
  return tm_bytes_varint(ctx, out, value);
}

static tm_status put_bytes(tm_ctx *ctx, tm_bytes *out, uint32_t field, const void *data,
                           size_t size) {
  TM_TRY(tm_bytes_varint(ctx, out, (uint64_t)field << 3 | 2));
  TM_TRY(tm_bytes_varint(ctx, out, size));
  return tm_bytes_append(ctx, out, data, size);
}

static void flush(tm_bytes *out) {
  fwrite(out->data, 1, out->size, stdout);
  out->size = 0;
}

static tm_status write_sample(tm_ctx *ctx, tm_bytes *out, tm_bytes *body, tm_bytes *list,
                              uint64_t locations, uint64_t depth) {
  body->size = list->size = 0;
  uint64_t group = next_random() % (locations / 16 + 1);
  for (uint64_t i = 0; i < depth; i++) {
    uint64_t id = i < depth / 2 ? next_random() : group * 2654435761u + i * 40503u;
    TM_TRY(tm_bytes_varint(ctx, list, id % locations + 1));
  }
  TM_TRY(put_bytes(ctx, body, 1, list->data, list->size));
  list->size = 0;
  uint64_t count = next_random() % 100 + 1;
  TM_TRY(tm_bytes_varint(ctx, list, count));
  TM_TRY(tm_bytes_varint(ctx, list, count * (next_random() % 4096 + 16)));
  TM_TRY(put_bytes(ctx, body, 2, list->data, list->size));
  TM_TRY(put_bytes(ctx, out, 2, body->data, body->size));
  if (out->size > (1u << 20)) flush(out);
  return TM_OK;
}

static tm_status write_tables(tm_ctx *ctx, tm_bytes *out, tm_bytes *body, tm_bytes *list,
                              uint64_t locations, uint64_t functions) {
  for (uint64_t i = 1; i <= locations; i++) {
    body->size = 0;
    TM_TRY(put_int(ctx, body, 1, i));
    TM_TRY(put_int(ctx, body, 3, 0x400000 + i * 16));
    for (uint64_t k = 0; k < (i % 4 == 0 ? 2u : 1u); k++) {
      list->size = 0;
      TM_TRY(put_int(ctx, list, 1, (i * 7 + k * 13) % functions + 1));
      TM_TRY(put_int(ctx, list, 2, i % 1000 + 1));
      TM_TRY(put_bytes(ctx, body, 4, list->data, list->size));
    }
    TM_TRY(put_bytes(ctx, out, 4, body->data, body->size));
    if (out->size > (1u << 20)) flush(out);
  }
  for (uint64_t i = 1; i <= functions; i++) {
    body->size = 0;
    TM_TRY(put_int(ctx, body, 1, i));
    TM_TRY(put_int(ctx, body, 2, 4 + i));
    TM_TRY(put_int(ctx, body, 3, 4 + i));
    TM_TRY(put_bytes(ctx, out, 5, body->data, body->size));
  }
  static const char *const words[] = {"", "objects", "count", "space", "bytes"};
  for (size_t i = 0; i < 5; i++) TM_TRY(put_bytes(ctx, out, 6, words[i], strlen(words[i])));
  for (uint64_t i = 1; i <= functions; i++) {
    char name[64];
    int n = snprintf(name, sizeof name, "example.com/app/pkg%llu.(*Type%llu).Method%llu",
                     (unsigned long long)(i % 97), (unsigned long long)(i % 1009),
                     (unsigned long long)i);
    TM_TRY(put_bytes(ctx, out, 6, name, (size_t)n));
  }
  return TM_OK;
}

static tm_status write_profile(tm_ctx *ctx, const uint64_t *n, tm_bytes *out, tm_bytes *body,
                               tm_bytes *list) {
  for (uint32_t i = 0; i < 2; i++) {
    body->size = 0;
    TM_TRY(put_int(ctx, body, 1, 1 + 2 * i));
    TM_TRY(put_int(ctx, body, 2, 2 + 2 * i));
    TM_TRY(put_bytes(ctx, out, 1, body->data, body->size));
  }
  for (uint64_t i = 0; i < n[0]; i++) TM_TRY(write_sample(ctx, out, body, list, n[1], n[3]));
  return write_tables(ctx, out, body, list, n[1], n[2]);
}

int main(int argc, char **argv) {
  uint64_t n[4] = {1000000, 200000, 50000, 30};
  for (int i = 1; i < argc && i <= 4; i++) n[i - 1] = strtoull(argv[i], NULL, 10);
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  tm_bytes out = {0}, body = {0}, list = {0};
  tm_status status = write_profile(&ctx, n, &out, &body, &list);
  flush(&out);
  tm_bytes_free(&ctx, &out);
  tm_bytes_free(&ctx, &body);
  tm_bytes_free(&ctx, &list);
  tm_ctx_fini(&ctx);
  return status == TM_OK ? 0 : 1;
}
