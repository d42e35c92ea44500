// Chooses the language by the prefix and holds the caps that all demanglers work under: they write
// into one fixed buffer of the scratch memory, so no name can make them grow.
#include "symbol/demangle_impl.h"

#include <stdio.h>
#include <string.h>

void demangle_put(demangler *d, const char *text, size_t length) {
  if (d->failed || d->mute || !length) return;
  if (length > DEMANGLE_MAX_OUTPUT - d->size) {
    d->failed = true;
    return;
  }
  memcpy(d->out + d->size, text, length);
  d->size += length;
}

void demangle_puts(demangler *d, const char *text) {
  demangle_put(d, text, strlen(text));
}

void demangle_number(demangler *d, uint64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)value);
  demangle_puts(d, text);
}

bool demangle_read_number(demangler *d, uint64_t *out) {
  uint64_t value = 0;
  const char *begin = d->at;
  while (d->at < d->end && *d->at >= '0' && *d->at <= '9' && value < INT32_MAX) {
    value = value * 10 + (uint64_t)(*d->at++ - '0');
    if (!value) break; // "012" is 0 and then 12
  }
  if (d->failed || d->at == begin || value >= INT32_MAX) return false;
  *out = value;
  return true;
}

typedef bool (*language)(demangler *d);

static bool run(demangler *d, const char *begin, language of) {
  d->begin = d->at = begin;
  d->size = d->depth = d->steps = d->mute = 0;
  d->failed = false;
  return of(d) && !d->failed && d->size;
}

// macOS puts one more _ in front of every name.
static bool demangle(demangler *d, const char *name) {
  if (strncmp(name, "__Z", 3) == 0 || strncmp(name, "__R", 3) == 0) name++;
  if (strncmp(name, "_ZN", 3) == 0 && run(d, name + 3, demangle_rust_legacy)) return true;
  if (strncmp(name, "_Z", 2) == 0) return run(d, name + 2, demangle_cxx);
  return strncmp(name, "_R", 2) == 0 && run(d, name + 2, demangle_rust_v0);
}

tm_status tm_demangle(tm_ctx *ctx, const char *name, tm_demangle_mode mode, tm_bytes *out,
                      bool *out_changed) {
  *out_changed = false;
  if (mode == TM_DEMANGLE_NONE || name[0] != '_') return TM_OK;
  size_t length = strlen(name);
  if (length > DEMANGLE_MAX_NAME) return TM_OK;
  tm_arena_mark mark = tm_arena_save(&ctx->scratch);
  demangler d = {.end = name + length, .mode = mode, .ctx = ctx};
  d.out = tm_arena_alloc(&ctx->scratch, DEMANGLE_MAX_OUTPUT);
  tm_status status = TM_OK;
  if (!d.out) status = tm_fail(ctx, TM_E_NOMEM, TM_NO_OFFSET, "out of memory (demangling)");
  if (d.out && demangle(&d, name)) {
    status = tm_bytes_append(ctx, out, d.out, d.size);
    *out_changed = status == TM_OK;
  }
  tm_arena_rewind(&ctx->scratch, mark);
  return status;
}
