// What the files of the demanglers share; nobody else includes it.
#ifndef TM_SYMBOL_DEMANGLE_IMPL_H
#define TM_SYMBOL_DEMANGLE_IMPL_H

#include "symbol/demangle.h"

#define DEMANGLE_MAX_NAME   65536  // bytes of a mangled name
#define DEMANGLE_MAX_OUTPUT 65536  // bytes of a readable one
#define DEMANGLE_MAX_STEPS  200000 // rules applied; back references may repeat
#define DEMANGLE_MAX_DEPTH  256

// A reader over the name and a writer over a fixed buffer. Once failed, both do nothing more.
typedef struct demangler {
  const char *begin, *at, *end;
  char *out; // DEMANGLE_MAX_OUTPUT
  size_t size;
  uint32_t depth, steps;
  uint32_t mute; // > 0: read without writing
  bool failed;
  tm_demangle_mode mode;
  tm_ctx *ctx;
} demangler;

static inline bool demangle_fail(demangler *d) {
  d->failed = true;
  return false;
}

static inline char demangle_peek(const demangler *d) {
  return d->at < d->end ? *d->at : '\0';
}

static inline bool demangle_take(demangler *d, char c) {
  if (d->failed || d->at == d->end || *d->at != c) return false;
  d->at++;
  return true;
}

static inline bool demangle_take_text(demangler *d, const char *text) {
  const char *at = d->at;
  while (*text && at < d->end && *at == *text) at++, text++;
  if (d->failed || *text) return false;
  d->at = at;
  return true;
}

// One more rule within a rule; false when that is too deep. Pair it with demangle_leave.
static inline bool demangle_enter(demangler *d) {
  if (d->failed || d->depth >= DEMANGLE_MAX_DEPTH || ++d->steps > DEMANGLE_MAX_STEPS)
    return demangle_fail(d);
  d->depth++;
  return true;
}

static inline void demangle_leave(demangler *d) {
  d->depth--;
}

void demangle_put(demangler *d, const char *text, size_t length);
void demangle_puts(demangler *d, const char *text);
void demangle_number(demangler *d, uint64_t value);
// A decimal number without sign; false when there is none or it is past 2^31.
bool demangle_read_number(demangler *d, uint64_t *out);

bool demangle_rust_legacy(demangler *d); // at: behind "_ZN"
bool demangle_rust_v0(demangler *d);     // at: behind "_R"
bool demangle_cxx(demangler *d);         // at: behind "_Z"

#endif
