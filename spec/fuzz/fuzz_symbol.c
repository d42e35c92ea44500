// floors: symbol
// Any bytes as a binary, asked for the code at its own symbols and at arbitrary addresses, and as a
// mangled name: refused or answered within the caps.
#include "symbol/binary.h"
#include "symbol/demangle.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(tm_ctx *ctx, tm_binary *b, uint64_t address) {
  tm_code_frame frames[16];
  uint32_t count;
  if (tm_binary_frames(ctx, b, address, frames, 16, &count) != TM_OK) {
    if (!ctx->error.message[0]) abort();
    tm_ctx_clear(ctx);
    return;
  }
  for (uint32_t i = 0; i < count; i++)
    if (strlen(frames[i].function) + strlen(frames[i].file) > 1 << 26) abort();
}

static void check_binary(tm_ctx *ctx, const uint8_t *data, size_t size) {
  tm_binary *b = NULL;
  size_t count;
  uint8_t *copy = malloc(size + 1); // libelf swaps bytes in place
  if (!copy) return;
  memcpy(copy, data, size);
  if (tm_binary_from_buffer(ctx, copy, size, &b) == TM_OK) {
    const tm_code_symbol *s = tm_binary_symbols(b, &count);
    for (size_t i = 0; i < count && i < 64; i++) {
      ask(ctx, b, s[i].address);
      ask(ctx, b, s[i].address + s[i].size / 2);
    }
    for (uint64_t at = 0; at < UINT64_C(1) << 40; at = 3 * at + 4096) ask(ctx, b, at);
  } else if (!ctx->error.message[0]) {
    abort();
  }
  tm_ctx_clear(ctx);
  tm_binary_free(b);
  free(copy);
}

static void check_name(tm_ctx *ctx, const uint8_t *data, size_t size) {
  char *name = malloc(size + 3);
  if (!name) return;
  static const char *const prefixes[] = {"", "_Z", "_R"};
  for (size_t i = 0; i < TM_COUNT(prefixes); i++) {
    size_t n = strlen(prefixes[i]);
    memcpy(name, prefixes[i], n);
    memcpy(name + n, data, size);
    name[n + size] = '\0';
    for (int mode = TM_DEMANGLE_NAMES; mode <= TM_DEMANGLE_FULL; mode++) {
      tm_bytes text = {0};
      bool changed;
      if (tm_demangle(ctx, name, (tm_demangle_mode)mode, &text, &changed) != TM_OK) abort();
      if (text.size > 65536) abort();
      tm_bytes_free(ctx, &text);
    }
  }
  free(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_ctx_init(&ctx, NULL);
  if (size > 4
      && memcmp(data,
                "\x7f"
                "ELF",
                4)
             == 0)
    check_binary(&ctx, data, size);
  else
    check_name(&ctx, data, size);
  tm_ctx_fini(&ctx);
  return 0;
}
