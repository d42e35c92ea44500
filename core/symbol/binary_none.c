// Builds without libdw: no binary can be opened, demangling still works.
#include "symbol/binary.h"

#ifndef TM_HAVE_DW
static tm_status unsupported(tm_ctx *ctx) {
  return tm_fail(ctx, TM_E_UNSUPPORTED, TM_NO_OFFSET, "built without libdw: binaries stay unread");
}

tm_status tm_binary_open(tm_ctx *ctx, const char *path, tm_binary **out) {
  return (void)path, (void)out, unsupported(ctx);
}

tm_status tm_binary_from_buffer(tm_ctx *ctx, void *data, size_t size, tm_binary **out) {
  return (void)data, (void)size, (void)out, unsupported(ctx);
}

void tm_binary_free(tm_binary *binary) {
  (void)binary;
}

void tm_binary_set_debug(tm_binary *binary, tm_binary *debug) {
  (void)binary, (void)debug;
}

const char *tm_binary_path(const tm_binary *binary) {
  return (void)binary, "";
}

const char *tm_binary_build_id(const tm_binary *binary) {
  return (void)binary, "";
}

const char *tm_binary_debug_link(const tm_binary *binary) {
  return (void)binary, "";
}

bool tm_binary_same_places(const tm_binary *a, const tm_binary *b) {
  return (void)a, (void)b, false;
}

bool tm_binary_address(const tm_binary *binary, const tm_mapping *mapping, uint64_t address,
                       uint64_t *out) {
  return (void)binary, (void)mapping, (void)address, (void)out, false;
}

const tm_code_symbol *tm_binary_symbols(const tm_binary *binary, size_t *out_count) {
  return (void)binary, *out_count = 0, NULL;
}

const tm_code_symbol *tm_binary_symbol_at(const tm_binary *binary, uint64_t address) {
  return (void)binary, (void)address, NULL;
}

tm_status tm_binary_frames(tm_ctx *ctx, tm_binary *binary, uint64_t address, tm_code_frame *frames,
                           uint32_t room, uint32_t *out_count) {
  (void)binary, (void)address, (void)frames, (void)room;
  return *out_count = 0, unsupported(ctx);
}
#endif
