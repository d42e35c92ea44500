// floors: net
// Any bytes as a server's WebSocket frames: whole, and byte by byte. Both must give the same items,
// and the cap must hold.
#include "net/frames.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_MAX = 512 };

// All items with their payloads, one behind the other. One copy per piece, so that ASan sees a
// read behind it.
static tm_status feed(tm_ctx *ctx, const uint8_t *data, size_t size, size_t step, tm_bytes *out) {
  tm_frames_reader r = {.max_message_bytes = MESSAGE_MAX};
  tm_status status = TM_OK;
  for (size_t at = 0; at < size && status == TM_OK;) {
    size_t used = 0, n = size - at < step ? size - at : step;
    tm_frames_item item;
    uint8_t *piece = malloc(n), tag;
    if (!piece) abort();
    memcpy(piece, data + at, n);
    status = tm_frames_feed(ctx, &r, piece, n, &used, &item);
    free(piece);
    if (r.message.size > MESSAGE_MAX || used > n) abort();
    if (status != TM_OK) break;
    if (item == TM_FRAMES_NOTHING && used != n) abort();
    at += used;
    if (item == TM_FRAMES_NOTHING) continue;
    tag = (uint8_t)item;
    if (tm_bytes_append(ctx, out, &tag, 1) != TM_OK) abort();
    bool is_message = item == TM_FRAMES_MESSAGE;
    size_t length = is_message ? r.message.size : r.control_size;
    const void *from = is_message ? (const void *)r.message.data : r.control;
    if (length && tm_bytes_append(ctx, out, from, length) != TM_OK) abort();
  }
  tm_frames_free(ctx, &r);
  return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_bytes whole = {0}, pieces = {0};
  tm_ctx_init(&ctx, NULL);
  tm_status first = size ? feed(&ctx, data, size, size, &whole) : TM_OK;
  if (first != TM_OK && !ctx.error.message[0]) abort();
  tm_ctx_clear(&ctx);
  tm_status second = feed(&ctx, data, size, 1, &pieces);
  if (first != second || whole.size != pieces.size) abort();
  if (whole.size && memcmp(whole.data, pieces.data, whole.size) != 0) abort();
  tm_bytes_free(&ctx, &whole);
  tm_bytes_free(&ctx, &pieces);
  tm_ctx_fini(&ctx);
  return 0;
}
