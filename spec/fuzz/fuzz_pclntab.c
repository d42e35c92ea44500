// floors: symbol
// Any bytes as the table of functions of a Go program. First two bytes: how many of the following
// belong to the inlined calls. All that is named must end in the table, and an address within a
// function must be found again.
#include "symbol/go_pclntab.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 8 };

static void check_text(const tm_go_pclntab *t, const char *text) {
  if (!*text) return;
  const uint8_t *at = (const uint8_t *)text;
  if (at < t->data || at >= t->data + t->size) abort();
  if (!memchr(at, 0, t->size - (size_t)(at - t->data))) abort();
}

static void ask(const tm_go_pclntab *t, uint64_t address) {
  tm_code_frame frames[ROOM];
  uint32_t count = tm_go_pclntab_frames(t, address, frames, ROOM);
  if (count > ROOM) abort();
  for (uint32_t i = 0; i < count; i++) {
    check_text(t, frames[i].function);
    check_text(t, frames[i].file);
  }
}

static void ask_all(const tm_go_pclntab *t) {
  for (uint32_t i = 0; i < t->count && i < 64; i++) {
    uint64_t begin, end;
    const char *name;
    if (!tm_go_pclntab_function(t, i, &name, &begin, &end)) continue;
    check_text(t, name);
    ask(t, begin);
    ask(t, begin + (end - begin) / 2);
    ask(t, end - 1);
  }
  ask(t, 0);
  ask(t, t->text - 1);
  ask(t, UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  tm_go_pclntab t;
  uint64_t text;
  if (size < 2) return 0;
  size_t inlined = (size_t)data[0] | (size_t)data[1] << 8;
  data += 2;
  size -= 2;
  if (inlined > size) inlined = size;
  uint8_t *calls = malloc(inlined ? inlined : 1);
  uint8_t *table =
      malloc(size > inlined ? size - inlined : 1); // apart, so that ASan sees their ends
  if (!calls || !table) abort();
  memcpy(calls, data, inlined);
  memcpy(table, data + inlined, size - inlined);
  if (tm_go_pclntab_open(table, size - inlined, &t, &text)) {
    t.text = text;
    t.inlined = inlined ? calls : NULL;
    t.inlined_size = inlined;
    ask_all(&t);
  }
  free(calls);
  free(table);
  return 0;
}
