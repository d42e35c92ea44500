// floors: live
// Texts of other programs: objdump's ('o'), a HotSpot JVM's about its parts ('j') and about the
// places of its memory ('p'). The first byte picks one, the rest is the text.
#include "live/account_impl.h"
#include "symbol/objdump.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_objdump(tm_ctx *ctx, const char *text, size_t size) {
  tm_arena arena;
  tm_instructions code = {0};
  tm_arena_init(&arena, &ctx->alloc, 0);
  if (tm_objdump_parse(ctx, text, size, &arena, &code) != TM_OK && !ctx->error.message[0]) abort();
  for (size_t i = 0; i < code.count; i++)
    if (strlen(code.items[i].text) > size || strchr(code.items[i].text, '\n')) abort();
  tm_vec_free(ctx, &code);
  tm_arena_fini(&arena);
}

static void check_ranges(tm_ctx *ctx, tm_account_ranges *ranges, size_t size) {
  if (ranges->count > size) abort();
  for (size_t i = 0; i < ranges->count; i++)
    if (ranges->items[i].start >= ranges->items[i].end) abort();
  tm_vec_free(ctx, ranges);
}

static void check_jvm(tm_ctx *ctx, const char *text, size_t size, bool places) {
  tm_account_answer answer = {0};
  tm_account_ranges ranges = {0};
  char *copy = malloc(size + 1);
  if (!copy) abort();
  if (size) memcpy(copy, text, size);
  copy[size] = '\0';
  for (size_t i = 0; i < TM_OWNER_COUNT; i++) answer.told[i] = NAN;
  if (tm_account_read_jvm(ctx, copy, &answer, places ? &ranges : NULL) != TM_OK) abort();
  check_ranges(ctx, &answer.ranges, size);
  check_ranges(ctx, &ranges, size);
  free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  if (!size) return 0;
  const char *text = (const char *)data + 1;
  tm_ctx_init(&ctx, NULL);
  if (data[0] == 'o') check_objdump(&ctx, text, size - 1);
  if (data[0] == 'j' || data[0] == 'p') check_jvm(&ctx, text, size - 1, data[0] == 'p');
  tm_ctx_fini(&ctx);
  return 0;
}
