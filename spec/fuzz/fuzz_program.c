// floors: live
// Any bytes as the file of a program: which runtime it has, its variables, and its Go types and
// layout. Damaged tables are refused or answered within their bounds.
#include "live/exe_runtime.h"
#include "symbol/data_symbols.h"
#include "symbol/go_layout.h"
#include "symbol/go_types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(tm_ctx *ctx, tm_status status) {
  if (status != TM_OK && !ctx->error.message[0]) abort();
  tm_ctx_clear(ctx);
}

static void ask_variables(tm_ctx *ctx, const char *path) {
  tm_data_symbols *symbols = NULL;
  tm_status status = tm_data_symbols_open(ctx, path, &symbols);
  check(ctx, status);
  if (status != TM_OK) return;
  uint64_t base = tm_data_symbols_base(symbols), end = tm_data_symbols_end(symbols);
  const uint64_t asked[] = {0, base, base + 0x2000, end / 2, end - 1, end, UINT64_MAX};
  for (size_t i = 0; i < TM_COUNT(asked); i++) {
    uint64_t offset = 0;
    const char *name = tm_data_symbols_at(symbols, asked[i], &offset);
    if (name && (!*name || offset > asked[i])) abort();
  }
  tm_data_symbols_free(symbols);
}

static void ask_go(tm_ctx *ctx, const char *path) {
  tm_go_types *types = NULL;
  tm_go_layout layout;
  check(ctx, tm_go_types_of_binary(ctx, path, &types));
  tm_go_types_free(types);
  check(ctx, tm_go_layout_of_binary(ctx, path, &layout));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_ctx ctx;
  tm_exe_runtime runtime;
  char path[64];
  int fd = memfd_create("program", MFD_CLOEXEC);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  tm_ctx_init(&ctx, NULL);
  ctx.max_output_bytes = 1 << 26;
  if (tm_exe_find_runtime(&ctx, path, &runtime) != TM_OK) abort();
  if (!memchr(runtime.version, 0, sizeof runtime.version)) abort();
  ask_variables(&ctx, path);
  ask_go(&ctx, path);
  tm_ctx_fini(&ctx);
  close(fd);
  return 0;
}
