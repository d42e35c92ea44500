// Interned strings: the same bytes always get the same small id, so that equality is one compare.
// Id 0 is the empty string. Texts are NUL-terminated copies and never move. Not thread-safe.
#ifndef TM_BASE_STRTAB_H
#define TM_BASE_STRTAB_H

#include "base/ctx.h"

typedef struct tm_str {
  const char *text; // NUL-terminated; may hold NUL bytes before its end
  uint32_t length;
  uint32_t hash;
} tm_str;

typedef struct tm_strtab {
  tm_arena arena;
  tm_str *items; // by id
  uint32_t count, room;
  uint32_t *slots; // open addressing: id + 1, or 0
  uint32_t slot_count;
} tm_strtab;

// Your storage; alloc NULL = malloc, cap_bytes 0 = no cap. The first intern allocates.
void tm_strtab_init(tm_strtab *table, const tm_allocator *alloc, uint64_t cap_bytes);
void tm_strtab_fini(tm_strtab *table);

// The id of length bytes of text, made if new. TM_E_NOMEM, TM_E_LIMIT past 2^31 strings.
TM_NODISCARD tm_status tm_strtab_intern(tm_ctx *ctx, tm_strtab *table, const void *text,
                                        size_t length, uint32_t *out_id);

// The id of a known string, or UINT32_MAX.
uint32_t tm_strtab_find(const tm_strtab *table, const void *text, size_t length);

static inline const char *tm_strtab_text(const tm_strtab *table, uint32_t id) {
  return id < table->count ? table->items[id].text : "";
}

static inline size_t tm_strtab_length(const tm_strtab *table, uint32_t id) {
  return id < table->count ? table->items[id].length : 0;
}

#endif
